//! The command `irods-omero` as a shell runs it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

use std::process::{Command, Output};

fn run(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_irods-omero")).args(words).output().unwrap()
}

#[test]
fn an_answer_goes_to_standard_output_and_a_complaint_to_standard_error() {
    let version = run(&["version"]);
    assert_eq!(version.status.code(), Some(0));
    assert!(String::from_utf8(version.stdout).unwrap().starts_with("irods-omero 0."));
    let nothing = run(&["check", "--config", "/nothing/server_config.json"]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(String::from_utf8(nothing.stdout).unwrap().starts_with("error config-unreadable /nothing/"));
    let nothing =
        run(&["explain", "--user", "a#z", "--path", "/z/a", "--config", "/nothing/server_config.json"]);
    assert_eq!((nothing.status.code(), nothing.stdout.as_slice()), (Some(2), &b""[..]));
    assert!(
        String::from_utf8(nothing.stderr).unwrap().contains("/nothing/server_config.json cannot be read")
    );
}

#[test]
fn a_name_that_is_none_is_refused_with_its_form() {
    let refused = run(&["explain", "--user", "alice", "--path", "/z/a"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("not an iRODS user of the form name#zone"));
}
