//! The command `irods-omero`.

use clap::Parser;
use irods_omero_tool::Cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    irods_omero_tool::run(&Cli::parse())
}
