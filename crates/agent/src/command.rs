//! The command line of the agent.

use crate::config::Config;
use crate::live::Loaded;
use crate::service;
use crate::{deep, drain};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// The words after `irods-omero agent`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The agent's configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/irods-omero/agent.toml", global = true)]
    config: PathBuf,
    /// Only look at the configuration and what it names, and say all that is wrong
    #[arg(long)]
    check: bool,
    /// With --check: log in for this OMERO user, write and remove in the repository, and have a small file forecast
    #[arg(long = "as", value_name = "USER", requires = "check")]
    user: Option<String>,
    #[command(subcommand)]
    act: Option<Act>,
}

/// What is asked of an agent that runs.
#[derive(Debug, Subcommand)]
enum Act {
    /// Have the running agent finish what it does and take nothing new; wait until nothing runs any more
    Drain {
        /// Take up new work again
        #[arg(long)]
        undo: bool,
        /// Do not wait
        #[arg(long)]
        no_wait: bool,
    },
}

/// Runs the agent, or checks its configuration.
pub fn run(arguments: &Arguments) -> ExitCode {
    if let Some(act) = &arguments.act {
        return ask(act, &arguments.config);
    }
    let loaded = match Loaded::read(&arguments.config) {
        Ok(loaded) => loaded,
        Err(problems) => {
            for problem in problems {
                eprintln!("{problem}");
            }
            return ExitCode::FAILURE;
        }
    };
    if arguments.check {
        let Some(user) = &arguments.user else {
            println!("{}: nothing is wrong", arguments.config.display());
            return ExitCode::SUCCESS;
        };
        return look(&loaded.config, user);
    }
    // Standard error is the journal, which has the time itself.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let journal =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time();
    // That a line could not be written would be said in the same place, by a call that does not bear it.
    journal.log_internal_errors(false).init();
    match service::run(&arguments.config, loaded) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => failed(&why),
    }
}

/// Looks as an import for a user would, and says all that was found.
fn look(config: &Config, user: &str) -> ExitCode {
    if rustix::process::geteuid().is_root() {
        return failed(
            "root may do what the service may not: run this as the account of the service, with its groups, as in \
             'sudo -u irods-omero -g irods-omero irods-omero agent --check --as USER'",
        );
    }
    let found = deep::look(config, Some(user));
    for finding in &found {
        match &finding.why {
            None => println!("ok     {}", finding.name),
            Some(why) => println!("wrong  {}: {why}", finding.name),
        }
    }
    if found.iter().all(|f| f.ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn ask(act: &Act, config: &Path) -> ExitCode {
    let Act::Drain { undo, no_wait } = act;
    // Of the file no more is needed than where the agent has its lock: it may be one that the agent is to read next.
    match drain::state_directory(config).and_then(|directory| drain::drain(&directory, *undo, !no_wait)) {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(why) => failed(&why),
    }
}

fn failed(why: &str) -> ExitCode {
    eprintln!("irods-omero agent: {why}");
    ExitCode::FAILURE
}
