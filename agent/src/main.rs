//! The command `irods-omero`.

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Data that arrives in iRODS appears in OMERO
#[derive(Debug, Parser)]
#[command(name = "irods-omero", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run beside OMERO: take batches from iRODS servers and import them as the right user
    Agent(irods_omero::command::Arguments),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Agent(arguments) => irods_omero::command::run(&arguments),
    }
}
