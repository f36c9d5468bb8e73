//! `irods-omero doctor`: what differs between iRODS, OMERO and OMERO's repository, as the operation `audit` finds it.
//!
//! The plugin in the server looks; this asks for one page after the other through `irule`, tells what was found as it comes, and
//! asks for repairs page by page, each told before it is done.

use crate::as_account::printable;
use crate::server_config::{self, ENGINES, PLUGIN, Source};
use irods_omero_model::names::IrodsUser;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The instance's name where no configuration can be read.
const USUAL_INSTANCE: &str = "irods_rule_engine_plugin-omero-instance";

/// What is asked.
#[derive(Debug, Clone, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(false).args(["path", "of_user", "zone"])))]
pub struct Arguments {
    /// The logical path of a data object, or of a collection with all below it
    #[arg(value_name = "PATH")]
    pub path: Option<String>,
    /// All data of a user, and the user's filesets in OMERO
    #[arg(long = "user", id = "of_user", value_name = "NAME#ZONE", value_parser = IrodsUser::parse)]
    pub user: Option<IrodsUser>,
    /// The whole zone, and all filesets of ours in OMERO
    #[arg(long)]
    pub zone: bool,
    /// Mend what can be mended; without it nothing is changed
    #[arg(long)]
    pub repair: bool,
    /// Of a collection only what is directly in it
    #[arg(long, requires = "path")]
    pub shallow: bool,
    /// The plugin's instance; else the one of the server's configuration, or the usual name
    #[arg(long, value_name = "NAME")]
    pub instance: Option<String>,
    /// The server's configuration, which names the instance
    #[arg(long, value_name = "FILE", default_value = "/etc/irods/server_config.json")]
    pub config: PathBuf,
    /// The iCommand that asks the server
    #[arg(long, value_name = "COMMAND", default_value = "irule")]
    pub irule: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// `irule` could not be run.
    #[error("{command} cannot be run: {why}; install the iCommands, or name it with --irule")]
    Run {
        /// Which.
        command: String,
        /// Why.
        why: io::Error,
    },
    /// The server refused.
    #[error(
        "the server did not answer: {0}; run it as the server's service account (sudo -u irods irods-omero doctor ...), or as a \
         person about what they may change"
    )]
    Refused(String),
    /// The answer is none of ours.
    #[error("the server's answer cannot be read ({0}): is the plugin there of the same version?")]
    Garbled(String),
    /// Nobody reads on.
    #[error("the findings cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// What has been found so far.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Summary {
    looked_at: u64,
    codes: BTreeMap<String, u64>,
    findings: u64,
    mended: u64,
    asked: u64,
}

impl Summary {
    fn is_well(&self) -> bool {
        self.findings == self.mended
    }

    fn json(&self) -> Value {
        let Self { looked_at, codes, findings, mended, asked } = self;
        json!({"summary": {
            "looked_at": looked_at, "findings": findings, "codes": codes, "mended": mended, "asked": asked,
        }})
    }

    fn text(&self) -> String {
        let Self { looked_at, codes, findings, mended, asked } = self;
        let noun = if *findings == 1 { "finding" } else { "findings" };
        let mut text = format!("looked at {looked_at}, {findings} {noun}");
        let counts: Vec<String> = codes.iter().map(|(code, count)| format!("{count} {code}")).collect();
        if !counts.is_empty() {
            text = format!("{text} ({})", counts.join(", "));
        }
        if *mended > 0 {
            text = format!("{text}; {mended} mended");
        }
        if *asked > 0 {
            text = format!("{text}; {asked} given to a job: look again later");
        }
        text
    }
}

/// Looks, and tells what is found. Gives the exit code: 0 if nothing is left, 1 if something is, 2 if one could not look.
pub fn run(arguments: &Arguments, as_json: bool, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let ask = |request: &Value| irule(arguments, request);
    match look(arguments, as_json, &ask, out, err) {
        Ok(summary) => u8::from(!summary.is_well()),
        Err(why) => {
            let _ = writeln!(err, "irods-omero: {}", plain(&why.to_string()));
            2
        }
    }
}

fn look(
    arguments: &Arguments,
    as_json: bool,
    ask: &dyn Fn(&Value) -> Result<Value, NoAnswer>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<Summary, NoAnswer> {
    let mut request = json!({"operation": "audit", "recursive": !arguments.shallow});
    if let Some(path) = &arguments.path {
        request["path"] = path.as_str().into();
    }
    if let Some(user) = &arguments.user {
        request["user"] = user.to_string().into();
    }
    let mut summary = Summary::default();
    loop {
        let mut page = ask(&request)?;
        let can_mend = |page: &Value| findings(page).iter().any(|f| f["repair"].is_string());
        if arguments.repair && can_mend(&page) {
            for finding in findings(&page).iter().filter(|f| f["repair"].is_string()) {
                let (path, code, repair) =
                    (text(finding, "path"), text(finding, "code"), text(finding, "repair"));
                writeln!(err, "irods-omero: mending {path}: {code}, by '{repair}'")?;
            }
            request["repair"] = true.into();
            let mended = ask(&request)?;
            if mended["queued"] == true {
                writeln!(err, "irods-omero: left to the catalog provider: look again later")?;
            } else {
                page = mended;
            }
            request["repair"] = false.into();
        }
        summary.looked_at += page["looked_at"].as_u64().unwrap_or_default();
        for finding in findings(&page) {
            *summary.codes.entry(text(finding, "code")).or_default() += 1;
            summary.findings += 1;
            summary.mended += u64::from(finding["outcome"] == "done");
            summary.asked += u64::from(finding["outcome"] == "asked");
            if as_json { writeln!(out, "{finding}")? } else { out.write_all(shown(finding).as_bytes())? }
        }
        out.flush()?;
        match page["next"].as_str() {
            // One that leads nowhere would go on for ever.
            Some(next) if request["after"] == *next => {
                return Err(NoAnswer::Garbled("its cursor stands still".to_owned()));
            }
            Some(next) => request["after"] = next.into(),
            None => break,
        }
        writeln!(err, "irods-omero: {}", summary.text())?;
    }
    if as_json {
        writeln!(out, "{}", summary.json())?;
    } else {
        writeln!(out, "{}", summary.text())?;
    }
    Ok(summary)
}

fn findings(page: &Value) -> &[Value] {
    page["findings"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A text of a finding, as one line that a terminal obeys nothing of.
fn text(finding: &Value, key: &str) -> String {
    plain(finding[key].as_str().unwrap_or_default())
}

fn plain(text: &str) -> String {
    printable(text).replace('\n', " ")
}

/// A finding for people.
fn shown(finding: &Value) -> String {
    let path = text(finding, "path");
    let mut shown = format!("{} {path}", text(finding, "code")).trim_end().to_owned();
    let mut lines = Vec::new();
    let mut add = |line: String| lines.push(line);
    add(text(finding, "sentence"));
    add(text(finding, "remedy"));
    match (finding["outcome"].as_str(), finding["repair"].as_str()) {
        (Some("done"), _) => add("mended".to_owned()),
        (Some("asked"), _) => add("given to a job".to_owned()),
        (Some(_), _) => add(format!("not mended: {}", text(finding, "why"))),
        (None, Some(_)) => add("--repair mends it".to_owned()),
        (None, None) => {}
    }
    for line in lines {
        shown += "\n    ";
        shown += &line;
    }
    shown.push('\n');
    shown
}

/// Asks the plugin in the server.
fn irule(arguments: &Arguments, request: &Value) -> Result<Value, NoAnswer> {
    let instance = match &arguments.instance {
        Some(name) => name.clone(),
        None => instance_of(&arguments.config).unwrap_or_else(|| USUAL_INSTANCE.to_owned()),
    };
    // The server refuses texts in which a dollar is followed by one of some words.
    let rule = request.to_string().replace('$', "\\u0024");
    let done = Command::new(&arguments.irule)
        .args(["-r", &instance, &rule, "null", "ruleExecOut"])
        .stdin(Stdio::null())
        .output()
        .map_err(|why| NoAnswer::Run { command: arguments.irule.display().to_string(), why })?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if !done.status.success() {
        return Err(NoAnswer::Refused([said(&done.stdout), said(&done.stderr)].join(" ").trim().to_owned()));
    }
    let answer: Value =
        serde_json::from_str(&said(&done.stdout)).map_err(|e| NoAnswer::Garbled(e.to_string()))?;
    if answer.is_object() { Ok(answer) } else { Err(NoAnswer::Garbled("it is no object".to_owned())) }
}

/// The name of the plugin's instance in the server's configuration.
fn instance_of(config: &Path) -> Option<String> {
    let text = server_config::read(config, Source::default()).ok()?;
    let (json, _) = server_config::parse(&text).ok()?;
    let engines = json.pointer(ENGINES)?.as_array()?;
    let ours =
        engines.iter().find(|engine| engine.get("plugin_name").and_then(Value::as_str) == Some(PLUGIN))?;
    ours.get("instance_name").and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn arguments(repair: bool) -> Arguments {
        Arguments {
            path: Some("/z/home".to_owned()),
            user: None,
            zone: false,
            repair,
            shallow: false,
            instance: Some("i".to_owned()),
            config: PathBuf::from("/none"),
            irule: PathBuf::from("irule"),
        }
    }

    fn finding(outcome: Option<&str>) -> Value {
        json!({
            "code": "link-dangles", "path": "/z/home/a\u{1b}[1m\nb", "sentence": "it leads nowhere", "remedy": "mend it",
            "repair": "point", "outcome": outcome, "why": null,
        })
    }

    /// Looks with answers that are given; tells the requests, what was written, and the summary.
    fn looked(
        repair: bool,
        as_json: bool,
        answers: &[Value],
    ) -> (Vec<Value>, String, Result<Summary, NoAnswer>) {
        let (requests, answers) = (RefCell::new(Vec::new()), RefCell::new(answers.iter()));
        let ask = |request: &Value| {
            requests.borrow_mut().push(request.clone());
            Ok(answers.borrow_mut().next().cloned().unwrap())
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let summary = look(&arguments(repair), as_json, &ask, &mut out, &mut err);
        (requests.into_inner(), String::from_utf8(out).unwrap(), summary)
    }

    #[test]
    fn pages_are_asked_for_until_the_last_and_added_up() {
        let first = json!({"looked_at": 2, "findings": [finding(None)], "next": "c1"});
        let last = json!({"looked_at": 1, "findings": [], "next": null});
        let (requests, out, summary) = looked(false, false, &[first, last]);
        assert_eq!((requests[0].get("after"), &requests[1]["after"]), (None, &json!("c1")));
        assert!(requests.iter().all(|r| r.get("repair").is_none_or(|repair| repair == false)));
        assert!(
            out.contains("--repair mends it") && out.contains("looked at 3, 1 finding (1 link-dangles)"),
            "{out}"
        );
        assert!(!out.contains('\u{1b}') && !out.contains("a\n"), "a terminal obeys nothing of it: {out:?}");
        assert!(!summary.unwrap().is_well());
    }

    #[test]
    fn a_repair_is_asked_for_after_it_was_told() {
        let dry = json!({"looked_at": 1, "findings": [finding(None)], "next": null});
        let done = json!({"looked_at": 1, "findings": [finding(Some("done"))], "next": null});
        let (requests, out, summary) = looked(true, true, &[dry, done]);
        let repairs: Vec<Option<bool>> =
            requests.iter().map(|r| r.get("repair").and_then(Value::as_bool)).collect();
        assert_eq!(repairs, [None, Some(true)]);
        let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[0]["outcome"], &lines[1]["summary"]["mended"]), (&json!("done"), &json!(1)));
        assert!(summary.unwrap().is_well());
    }

    #[test]
    fn what_a_job_is_to_do_is_still_to_be_done() {
        let dry = json!({"looked_at": 1, "findings": [finding(None)], "next": null});
        let asked = json!({"looked_at": 1, "findings": [finding(Some("asked"))], "next": null});
        let (_, out, summary) = looked(true, false, &[dry, asked]);
        assert!(out.contains("given to a job"), "{out}");
        assert!(!summary.unwrap().is_well());
    }

    #[test]
    fn a_cursor_that_stands_still_ends_it() {
        let page = json!({"looked_at": 0, "findings": [], "next": "c1"});
        let (requests, _, summary) = looked(false, false, &[page.clone(), page.clone(), page]);
        assert!(matches!(summary, Err(NoAnswer::Garbled(_))));
        assert_eq!(requests.len(), 2);
    }
}
