//! What an administrator asks of the plugin on the command line. Nothing here talks to iRODS or OMERO: the answers come
//! from the configuration, read by the plugin's own reader, and from this host.

#![forbid(unsafe_code)]

pub mod account;
pub mod check;
pub mod finding;
pub mod server_config;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The command line of `irods-omero`.
#[derive(Debug, Parser)]
#[command(name = "irods-omero", version, about = "Data that arrives in iRODS appears in OMERO")]
pub struct Cli {
    /// Answer in JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// What is asked.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at server_config.json and at everything it points at
    ///
    /// Nothing is changed, and neither iRODS nor OMERO is asked. Ends with 0 if nothing was found, 1 if something was,
    /// 2 if the configuration could not be looked at.
    Check(check::Arguments),
}

/// Does what is asked; the answer goes to standard output.
pub fn run(cli: &Cli) -> ExitCode {
    match &cli.command {
        Command::Check(arguments) => check::run(arguments, cli.json),
    }
}
