//! The command `irods-omero`.

use clap::{CommandFactory, Parser, Subcommand};
use irods_omero_cli::{Answer, as_account, doctor};
use std::ffi::OsString;
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
    /// Find what differs between iRODS, OMERO and OMERO's repository, and mend it with --repair
    ///
    /// Run it as the server's service account, or as a person about what they may change. Ends with 0 if nothing is left,
    /// 1 if something is, 2 if one could not look.
    Doctor(doctor::Arguments),
    /// Run beside OMERO: take batches from iRODS servers and import them as the right user
    Agent(irods_omero_agent::command::Arguments),
    #[command(name = as_account::COMMAND, hide = true)]
    AsAccount(as_account::Asked),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match &cli.command {
        Command::Agent(arguments) => irods_omero_agent::command::run(arguments),
        Command::Doctor(arguments) => {
            let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr());
            ExitCode::from(doctor::run(arguments, cli.json, &mut out, &mut err))
        }
        Command::AsAccount(asked) => tell(&answer_as(asked)),
        Command::Ask(question) => tell(&match question.reads() {
            Some((config, account)) if as_account::is_root() => as_account::ask(config, account, &given()),
            _ => irods_omero_cli::answer(question, cli.json, Cli::command()),
        }),
    }
}

/// The words after the program's name.
fn given() -> Vec<OsString> {
    std::env::args_os().skip(1).collect()
}

/// What root had asked by a process of the server's account.
fn answer_as(asked: &as_account::Asked) -> Answer {
    if let Err(why) = asked.become_it() {
        return Answer::none(why.to_string());
    }
    match Cli::try_parse_from(std::iter::once(OsString::from("irods-omero")).chain(asked.line.clone())) {
        Ok(Cli { json, command: Command::Ask(mut question) }) => {
            if let Some(name) = asked.name() {
                question.set_account(name);
            }
            question.set_source(asked.source());
            irods_omero_cli::answer(&question, json, Cli::command())
        }
        Ok(_) => Answer::none("only what comes from a configuration is asked as another account"),
        Err(why) => Answer::none(why.to_string()),
    }
}

fn tell(answer: &Answer) -> ExitCode {
    // Whoever does not want to read on closes the pipe.
    let _ = std::io::stdout().write_all(&answer.output);
    if !answer.complaint.is_empty() {
        eprintln!("irods-omero: {}", answer.complaint);
    }
    ExitCode::from(answer.code)
}
