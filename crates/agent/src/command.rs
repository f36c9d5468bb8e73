//! The command line of the agent.

use crate::live::Loaded;
use crate::service;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// The words after `irods-omero agent`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The agent's configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/irods-omero/agent.toml")]
    config: PathBuf,
    /// Only look at the configuration and what it names, and say all that is wrong
    #[arg(long)]
    check: bool,
}

/// Runs the agent, or checks its configuration.
pub fn run(arguments: &Arguments) -> ExitCode {
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
        println!("{}: nothing is wrong", arguments.config.display());
        return ExitCode::SUCCESS;
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

fn failed(why: &str) -> ExitCode {
    eprintln!("irods-omero agent: {why}");
    ExitCode::FAILURE
}
