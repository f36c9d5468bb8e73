//! A command line and its answer, as a shell has it.

use irods_omero_cli::Answer;
use std::process::Command;

/// The program.
pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_irods-omero"))
}

/// What is answered to the words after `irods-omero`.
pub fn ask(words: &[&str]) -> Answer {
    let output = program().args(words).output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(!complaint.starts_with("error:"), "{words:?}: {complaint}");
    let complaint = complaint.trim_end().trim_start_matches("irods-omero: ").to_owned();
    let code = output.status.code().and_then(|code| u8::try_from(code).ok());
    Answer { output: output.stdout, complaint, code: code.unwrap_or_else(|| panic!("{}", output.status)) }
}

/// The same as text, where it ends with 0.
#[allow(dead_code, reason = "not every test wants it")]
pub fn text(words: &[&str]) -> String {
    let answer = ask(words);
    assert_eq!((answer.code, answer.complaint.as_str()), (0, ""), "{words:?}");
    String::from_utf8(answer.output).unwrap()
}
