//! `irods-omero check`: everything that can be found wrong before the server is started.
//!
//! The stanza is read by the plugin's own reader. What it points at is looked at as the server's service account sees
//! it, so the command is to be run as that account, or as root, who becomes that account first.

mod agents;
mod files;
mod importer;
mod library;
mod places;
mod stanza;

pub use files::PATHS;

use crate::Answer;
use crate::account::Account;
use crate::as_account;
use crate::finding::{Code, Report};
use crate::server_config::{self, Source};
use irods_omero_config::Config;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Where a server's plugins are if its configuration does not say.
const PLUGIN_DIRECTORY: &str = "/usr/lib/irods/plugins";

/// What is to be looked at.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// The server's configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/irods/server_config.json")]
    pub config: PathBuf,
    /// Where the server's plugins are, if not where its configuration says
    #[arg(long, value_name = "DIRECTORY")]
    pub plugin_dir: Option<PathBuf>,
    /// The account the server runs as; without it the one that `service_account.config` beside the configuration
    /// names, or else the configuration's owner
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,
    /// Where the configuration's bytes come from
    #[arg(skip)]
    pub source: Source,
}

/// What came of it.
#[derive(Debug)]
pub struct Checked {
    /// What was found.
    pub report: Report,
    /// Whether the configuration could be looked at at all.
    pub could_look: bool,
}

/// Looks, and reports with 0, 1 or 2.
pub fn answer(arguments: &Arguments, as_json: bool) -> Answer {
    let Checked { report, could_look } = look(arguments);
    let text = if as_json {
        let mut answer = report.json();
        answer["config"] = json!(arguments.config);
        format!("{answer:#}\n")
    } else {
        as_account::printable(&format!("{report} in {}\n", arguments.config.display()))
    };
    let code = match (could_look, report.findings.is_empty()) {
        (false, _) => 2,
        (true, false) => 1,
        (true, true) => 0,
    };
    Answer { code, ..Answer::of(text) }
}

/// Looks at the configuration and at everything it points at.
pub fn look(arguments: &Arguments) -> Checked {
    let mut report = Report::default();
    let path = &arguments.config;
    let place = path.display().to_string();
    let text = match server_config::read(path, arguments.source) {
        Ok(text) => text,
        Err(e) => {
            let remedy = "name the file with --config, and let the server's service account read it; run this as that \
                          account or as root, who becomes that account";
            report.add(Code::ConfigUnreadable, &place, format_args!("the file cannot be read: {e}"), remedy);
            return Checked { report, could_look: false };
        }
    };
    match server_config::parse(&text) {
        Ok((json, twins)) => {
            for pointer in twins {
                report.add(
                    Code::KeyTwice,
                    &pointer,
                    "this key stands twice in one object; the server takes the last",
                    "remove one of the two",
                );
            }
            look_at(&json, arguments, &mut report);
        }
        Err(e) => {
            let at = format!("{place}:{}:{}", e.line(), e.column());
            let remedy = "mend the text there, or a little before; the server does not start with it";
            report.add(Code::ConfigNotJson, &at, format_args!("the file is not JSON: {e}"), remedy);
        }
    }
    Checked { report, could_look: true }
}

fn look_at(json: &Value, arguments: &Arguments, report: &mut Report) {
    let account = match Account::of(&arguments.config, arguments.account.as_deref()) {
        Ok(account) => Some(account),
        Err(why) => {
            report.skip(format_args!("the files the configuration points at: {why}; name it with --account"));
            None
        }
    };
    let account = account.filter(|account| {
        let can = account.is_us();
        if !can {
            report.skip(format_args!(
                "the files the configuration points at: run this as root or as {}",
                account.name
            ));
        }
        can
    });
    if let Some(account) = &account {
        library::look(&plugin_directory(json, arguments), account, report);
    }
    let Some((pointer, stanza)) = stanza::find(json, report) else {
        return;
    };
    let (config, problems) = Config::read(stanza);
    let mut wrong = Vec::new();
    for problem in problems {
        // The empty pointer is shown as "/", which here would be a key without a name.
        let below = if problem.pointer == "/" { "" } else { &problem.pointer };
        let at = format!("{pointer}{below}");
        report.add(Code::KeyWrong, &at, problem.message, stanza::remedy_of(below));
        wrong.push(below.to_owned());
    }
    places::look_at_modes(json, stanza, report);
    places::look_at_prefixes(stanza, &pointer, report);
    if let Some(account) = account {
        let denied = config.map(|c| c.identities.denied).unwrap_or_default();
        files::Look { stanza, pointer: &pointer, wrong: &wrong, account: &account, denied: &denied }
            .at_all(report);
    }
}

fn plugin_directory(json: &Value, arguments: &Arguments) -> PathBuf {
    let configured = json.get("plugin_directory").and_then(Value::as_str);
    let configured = configured.map_or_else(|| PathBuf::from(PLUGIN_DIRECTORY), PathBuf::from);
    arguments.plugin_dir.clone().unwrap_or(configured)
}
