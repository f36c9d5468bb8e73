//! The command `irods-omero`.

use clap::{CommandFactory, Parser, Subcommand};
use std::io::Write;
use std::process::ExitCode;

/// Data that arrives in iRODS appears in OMERO
#[derive(Debug, Parser)]
#[command(name = "irods-omero", version)]
struct Cli {
    /// Answer in JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Ask(irods_omero_cli::Command),
    /// Run beside OMERO: take batches from iRODS servers and import them as the right user
    Agent(irods_omero_agent::command::Arguments),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match &cli.command {
        Command::Ask(question) => answer(question, cli.json),
        Command::Agent(arguments) => irods_omero_agent::command::run(arguments),
    }
}

fn answer(question: &irods_omero_cli::Command, as_json: bool) -> ExitCode {
    let answer = irods_omero_cli::answer(question, as_json, Cli::command());
    // Whoever does not want to read on closes the pipe.
    let _ = std::io::stdout().write_all(&answer.output);
    if !answer.complaint.is_empty() {
        eprintln!("irods-omero: {}", answer.complaint);
    }
    ExitCode::from(answer.code)
}
