//! The command `irods-omero`.

use clap::{CommandFactory, Parser};
use irods_omero_tool::{Command, answer};
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

fn main() -> ExitCode {
    let cli = Cli::parse();
    let answer = answer(&cli.command, cli.json, Cli::command());
    // Whoever does not want to read on closes the pipe.
    let _ = std::io::stdout().write_all(&answer.output);
    if !answer.complaint.is_empty() {
        eprintln!("irods-omero: {}", answer.complaint);
    }
    ExitCode::from(answer.code)
}
