//! What the command says about itself: completions for shells, and its manual.

use clap::Command;
use clap_complete::Shell;
use std::io;
use std::path::Path;

/// The completions of a shell.
pub fn completions(shell: Shell, mut program: Command) -> Vec<u8> {
    let name = program.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut program, name, &mut text);
    text
}

/// The manual's first page.
///
/// # Errors
/// None that can happen in memory.
pub fn manual(program: Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(program).render(&mut page)?;
    Ok(page)
}

/// Writes the whole manual, a page for each command.
///
/// # Errors
/// The directory cannot be written.
pub fn write_manual(program: Command, directory: &Path) -> io::Result<()> {
    clap_mangen::generate_to(program, directory)
}
