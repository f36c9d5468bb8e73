//! The command lines that the documents show can be typed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every command line that a document shows: in a block, after a `$ ` or in a block of `sh`, and in running text.
fn shown() -> BTreeSet<String> {
    let documents = fs::read_dir(root().join("docs")).unwrap().map(|e| e.unwrap().path());
    let roots = ["README.md", "CONTRIBUTING.md"].map(|name| root().join(name));
    let mut lines = BTreeSet::new();
    for path in documents.chain(roots).filter(|p| p.extension().is_some_and(|e| e == "md")) {
        let mut block = None;
        for line in fs::read_to_string(&path).unwrap().lines() {
            if let Some(kind) = line.strip_prefix("```") {
                block = if block.is_some() { None } else { Some(kind.to_owned()) };
                continue;
            }
            match (&block, line.strip_prefix("$ ")) {
                (Some(_), Some(command)) => lines.extend(command.split(" && ").map(str::to_owned)),
                (Some(kind), None) if kind == "sh" => lines.extend(line.split(" && ").map(str::to_owned)),
                (Some(_), None) => {}
                (None, _) => {
                    let quoted = line.split('`').skip(1).step_by(2);
                    let is_command = |q: &&str| q.starts_with("irods-omero ") || q.starts_with("script/");
                    lines.extend(quoted.filter(is_command).map(str::to_owned));
                }
            }
        }
    }
    lines
}

#[test]
fn every_script_a_document_names_is_there_and_can_be_run() {
    let scripts: Vec<String> = shown().into_iter().filter(|l| l.starts_with("script/")).collect();
    assert!(scripts.len() >= 3, "{scripts:?}");
    for line in scripts {
        let script = root().join(line.split(' ').next().unwrap());
        let mode = fs::metadata(&script).unwrap_or_else(|e| panic!("{line}: {e}")).permissions().mode();
        assert!(mode & 0o111 != 0, "{line}");
    }
}

#[test]
fn every_command_line_of_irods_omero_in_a_document_can_be_typed() {
    let lines: Vec<String> = shown().into_iter().filter(|l| l.contains("irods-omero ")).collect();
    assert!(lines.len() >= 3, "{lines:?}");
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().skip_while(|w| *w != "irods-omero").skip(1).collect();
        let commands = words
            .iter()
            .take_while(|w| w.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') && !w.starts_with('-'));
        let commands: Vec<&str> = commands.copied().collect();
        let help =
            Command::new(env!("CARGO_BIN_EXE_irods-omero")).args(&commands).arg("--help").output().unwrap();
        assert!(help.status.success(), "{line}: {}", String::from_utf8_lossy(&help.stderr));
        let help = String::from_utf8(help.stdout).unwrap();
        for option in words.iter().filter(|w| w.starts_with("--")) {
            let option = option.split('=').next().unwrap();
            assert!(help.contains(option), "{line}: {option}");
        }
    }
}

#[test]
fn other_commands_of_the_blocks_for_a_shell_are_known() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for block in readme.split("```sh\n").skip(1).map(|rest| rest.split("\n```").next().unwrap()) {
        for command in block.lines().flat_map(|line| line.split(" && ")) {
            let mut words = command.split_whitespace().skip_while(|w| *w == "sudo");
            let program = words.next().unwrap();
            let is_known = ["cmake", "cargo", "install", "cpack", "cd", "omero-stanza", "irods-omero"]
                .contains(&program)
                || program.starts_with("script/");
            assert!(is_known, "{command}");
        }
    }
}
