//! Which Python runs the worker: that of the `omero` command, because it has omero-py.

use crate::settings::ImporterCommand;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// How much of the command is looked at for its first lines, in bytes: more than a kernel looks at.
const HEAD: u64 = 4_096;

/// Why the worker cannot be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// The command cannot be read.
    #[error("the OMERO worker cannot be started: {path} cannot be read: {why}; check importer/command")]
    Unreadable {
        /// The `omero` command.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// The command is no Python script.
    #[error(
        "the OMERO worker cannot be started: {path} does not say which Python runs it; set importer/worker to the Python \
         that has omero-py, for example [\"/opt/omero/venv/bin/python\"]"
    )]
    NoPython {
        /// The `omero` command.
        path: PathBuf,
    },
    /// The program cannot be run.
    #[error(
        "the OMERO worker cannot be started: {program}: {why}; check importer/worker, or importer/command"
    )]
    NotRun {
        /// The first word.
        program: String,
        /// What the system said.
        why: String,
    },
    /// The work directory cannot be used.
    #[error("cannot use the importer's work directory {directory}: {why}")]
    WorkDirectory {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        why: String,
    },
}

/// The words that start a Python with omero-py; the worker's text is the word after them. They are those of the
/// configuration, else they follow from the first lines of the `omero` command.
///
/// # Errors
/// The command cannot be read, or is no Python script.
pub fn command_of(importer: &ImporterCommand) -> Result<Vec<OsString>, LaunchError> {
    if !importer.worker.is_empty() {
        return Ok(importer.worker.iter().map(OsString::from).collect());
    }
    let path = &importer.command;
    let head = head(path).map_err(|e| LaunchError::Unreadable { path: path.clone(), why: e.to_string() })?;
    python_of(&head).ok_or_else(|| LaunchError::NoPython { path: path.clone() })
}

fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD).read_to_end(&mut head)?;
    Ok(head)
}

/// The words of the Python that a script names in its first line, or, where that line would be longer than a kernel
/// takes, in its second: pip then writes a shell script that is Python too (`'''exec' PYTHON "$0" "$@"`). `head` is the
/// beginning of the script, of which the kernel looks at 256 bytes. Nothing for what is no Python script.
#[must_use]
pub fn python_of(head: &[u8]) -> Option<Vec<OsString>> {
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = lines.next()?.strip_prefix(b"#!")?;
    let mut words: Vec<&[u8]> = words_of(first);
    if words.first().is_some_and(|program| name_of(program) == b"sh") {
        let rest = lines.next()?.strip_prefix(b"'''exec' ")?;
        let quoted = rest.strip_prefix(b"\"").and_then(|rest| rest.split(|byte| *byte == b'"').next());
        let program = quoted.or_else(|| words_of(rest).into_iter().next())?;
        words = vec![program];
    }
    let mut python = words.as_slice();
    if let [env, rest @ ..] = python
        && name_of(env) == b"env"
    {
        python = match rest {
            [b"-S", rest @ ..] | rest => rest,
        };
    }
    let is_python =
        |program: &&[u8]| [b"python".as_slice(), b"pypy"].iter().any(|p| name_of(program).starts_with(p));
    let absolute = words.first().is_some_and(|program| program.starts_with(b"/"));
    (absolute && python.first().is_some_and(is_python))
        .then(|| words.iter().map(|word| OsString::from_vec(word.to_vec())).collect())
}

fn words_of(line: &[u8]) -> Vec<&[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect()
}

fn name_of(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(head: &str) -> Option<Vec<String>> {
        let words = python_of(head.as_bytes())?;
        Some(words.into_iter().map(|word| word.into_string().unwrap()).collect())
    }

    #[test]
    fn the_python_of_a_script_is_found_in_its_first_lines() {
        for (head, python) in [
            ("#!/opt/omero/venv/bin/python\nimport x\n", &["/opt/omero/venv/bin/python"][..]),
            ("#! /usr/bin/python3.11 -I \n", &["/usr/bin/python3.11", "-I"]),
            ("#!/usr/bin/env python3\n", &["/usr/bin/env", "python3"]),
            ("#!/usr/bin/env -S python3 -E\n", &["/usr/bin/env", "-S", "python3", "-E"]),
            (
                "#!/bin/sh\n'''exec' /long/venv/bin/python3 \"$0\" \"$@\"\n' '''\n",
                &["/long/venv/bin/python3"],
            ),
            ("#!/bin/sh\n'''exec' \"/a b/bin/python3\" \"$0\" \"$@\"\n", &["/a b/bin/python3"]),
        ] {
            assert_eq!(words(head).unwrap(), python, "{head}");
        }
    }

    #[test]
    fn what_is_no_python_script_names_no_python() {
        for head in [
            "",
            "\u{7f}ELF\n",
            "#!/bin/bash\nexec /opt/omero/bin/omero \"$@\"\n",
            "#!/bin/sh\nexec python x\n",
            "#!python\n",
            "#!/usr/bin/env\n",
            "#!/usr/bin/env -S\n",
            "import sys\n#!/usr/bin/python\n",
        ] {
            assert_eq!(words(head), None, "{head}");
        }
    }
}
