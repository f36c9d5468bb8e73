//! What an administrator asks of the plugin on the command line. Nothing here but [`doctor`] talks to iRODS or OMERO: the answers
//! come from the configuration, read by the plugin's own reader, and from this host.

#![forbid(unsafe_code)]

pub mod account;
pub mod as_account;
pub mod check;
pub mod doctor;
pub mod explain;
pub mod finding;
mod pages;
pub mod reference;
pub mod server_config;

use clap::Subcommand;
use clap_complete::Shell;
use irods_omero_config::identity::ldap::here;
use irods_omero_model::BUILT_FOR;
use serde_json::{Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at server_config.json and at everything it points at
    ///
    /// Nothing is changed, and neither iRODS nor OMERO is asked. Run it as root or as the server's service account: root
    /// becomes that account first. Ends with 0 if nothing was found, 1 if something was, 2 if the configuration could not
    /// be looked at.
    Check(check::Arguments),
    /// Tell what would become of a path, from the configuration alone
    Explain(explain::Arguments),
    /// Print the schema or an example of the configuration
    Config {
        /// Which of them.
        #[command(subcommand)]
        what: ConfigCommand,
    },
    /// Ask the site's directory (LDAP) for the plugin: a question on standard input, an answer on standard output
    #[command(hide = true)]
    Directory,
    /// Print the version, and for which iRODS the plugin of this version is built
    Version,
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write all pages into a directory
    Man {
        /// Write a page for each command here
        #[arg(long, value_name = "DIRECTORY")]
        directory: Option<PathBuf>,
    },
}

impl Command {
    /// The server's configuration that the answer comes from, and the account that was named, if one was.
    pub fn reads(&self) -> Option<(&Path, Option<&str>)> {
        match self {
            Self::Check(check::Arguments { config, account, .. })
            | Self::Explain(explain::Arguments { config, account, .. }) => Some((config, account.as_deref())),
            Self::Config { .. }
            | Self::Directory
            | Self::Version
            | Self::Completions { .. }
            | Self::Man { .. } => None,
        }
    }

    /// Names the server's account, where none is named.
    pub fn set_account(&mut self, name: &str) {
        if let Self::Check(check::Arguments { account, .. })
        | Self::Explain(explain::Arguments { account, .. }) = self
        {
            account.get_or_insert_with(|| name.to_owned());
        }
    }

    /// Says where the configuration's bytes come from.
    pub fn set_source(&mut self, from: server_config::Source) {
        if let Self::Check(check::Arguments { source, .. })
        | Self::Explain(explain::Arguments { source, .. }) = self
        {
            *source = from;
        }
    }
}

/// What can be asked about the configuration.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ConfigCommand {
    /// Print the JSON Schema (2020-12) of the stanza, for editors
    Schema,
    /// Print a stanza with every key
    Example {
        /// One for imports by agents, with the keys of these
        #[arg(long)]
        agent: bool,
    },
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// What goes to standard output.
    pub output: Vec<u8>,
    /// What goes to standard error; empty for nothing.
    pub complaint: String,
    /// The exit code: 0 if all is well, 1 if something is wrong, 2 if the question could not be answered.
    pub code: u8,
}

impl Answer {
    fn of(output: impl Into<Vec<u8>>) -> Self {
        Self { output: output.into(), complaint: String::new(), code: 0 }
    }

    fn json(value: &Value) -> Self {
        Self::of(format!("{value:#}\n"))
    }

    /// The question could not be answered.
    pub fn none(complaint: impl Into<String>) -> Self {
        Self { output: Vec::new(), complaint: complaint.into(), code: 2 }
    }
}

/// The longest question about the directory, in bytes.
const MAX_QUESTION: u64 = 1 << 20;

/// Asks the site's directory what the plugin wants to know: it does not speak LDAP itself.
fn ask_directory() -> Answer {
    let mut question = String::new();
    let read = std::io::stdin().lock().take(MAX_QUESTION).read_to_string(&mut question);
    match read.map_err(|e| e.to_string()).and_then(|_| here::answer(&question)) {
        Ok(answer) => Answer::of(format!("{answer}\n")),
        Err(why) => Answer::none(why),
    }
}

/// Answers a question. `program` is the whole command line, for completions and the manual; with `as_json` the answer
/// is JSON. Root is not answered what comes from a configuration: see [`as_account`].
pub fn answer(command: &Command, as_json: bool, program: clap::Command) -> Answer {
    if command.reads().is_some() && as_account::is_root() {
        return Answer::none("a configuration is never looked at as root");
    }
    match command {
        Command::Check(arguments) => check::answer(arguments, as_json),
        Command::Explain(arguments) => match explain::explain(arguments) {
            Err(why) => Answer::none(as_account::printable(&why)),
            Ok(told) if as_json => Answer::json(&told.json()),
            Ok(told) => Answer::of(as_account::printable(&told.text())),
        },
        Command::Config { what: ConfigCommand::Schema } => Answer::json(&reference::schema()),
        Command::Config { what: ConfigCommand::Example { agent: false } } => Answer::of(reference::EXAMPLE),
        Command::Config { what: ConfigCommand::Example { agent: true } } => {
            Answer::of(reference::AGENT_EXAMPLE)
        }
        Command::Directory => ask_directory(),
        Command::Version => {
            let version = env!("CARGO_PKG_VERSION");
            if as_json {
                return Answer::json(&json!({"version": version, "irods": BUILT_FOR}));
            }
            Answer::of(format!("irods-omero {version}, for iRODS {BUILT_FOR}\n"))
        }
        Command::Completions { shell } => Answer::of(pages::completions(*shell, program)),
        Command::Man { directory: None } => match pages::manual(program) {
            Ok(page) => Answer::of(page),
            Err(e) => Answer::none(e.to_string()),
        },
        Command::Man { directory: Some(directory) } => match pages::write_manual(program, directory) {
            Ok(()) => Answer::of(""),
            Err(e) => Answer::none(format!("cannot write into {}: {e}", directory.display())),
        },
    }
}
