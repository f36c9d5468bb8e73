//! A command line and its answer, without a process.

use clap::{CommandFactory, Parser};
use irods_omero_cli::{Answer, Command, answer};

#[derive(Debug, Parser)]
#[command(name = "irods-omero")]
struct Line {
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// What is answered to the words after `irods-omero`.
pub fn ask(words: &[&str]) -> Answer {
    let line = Line::try_parse_from(["irods-omero"].iter().chain(words)).unwrap_or_else(|e| panic!("{e}"));
    answer(&line.command, line.json, Line::command())
}

/// The same as text, where it ends with 0.
#[allow(dead_code, reason = "not every test wants it")]
pub fn text(words: &[&str]) -> String {
    let answer = ask(words);
    assert_eq!((answer.code, answer.complaint.as_str()), (0, ""), "{words:?}");
    String::from_utf8(answer.output).unwrap()
}
