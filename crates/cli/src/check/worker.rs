//! The worker's Python: whether it has omero-py, and the one of the `omero` command.
//!
//! The worker is started as an importer starts it, and asked what it is (its method `hello`). Its words are
//! `importer/worker`, else those of the first line of the `omero` command. OMERO is not asked.

use super::importer;
use crate::finding::{Code, Report};
use crate::server_config::{open_regular, read_regular};
use irods_omero_importer::worker::{self, PROTOCOL, TEXT};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How much of a script is looked at for its first line, in bytes: as much as the kernel looks at.
const HEAD: u64 = 256;

/// How long the worker may take to say what it is: it imports omero-py.
const LIMIT: Duration = Duration::from_secs(60);

/// The longest answer, in bytes.
const MAX_ANSWER: u64 = 1 << 20;

/// Asks the worker what it is. `command` is the `omero` command, and `version` what it says; `environment` is what the stanza
/// adds to the importer's.
pub fn look(
    pointer: &str,
    stanza: &Value,
    command: &Path,
    version: &str,
    environment: &[(&str, &str)],
    report: &mut Report,
) {
    let configured =
        stanza.pointer("/importer/worker").and_then(Value::as_array).filter(|words| !words.is_empty());
    let (key, words) = match configured {
        Some(words) => ("worker", words.iter().filter_map(|w| w.as_str().map(str::to_owned)).collect()),
        // What is no Python script says nothing of a Python: such a site names it.
        None => ("command", interpreter(command).unwrap_or_default()),
    };
    let Some((program, words)) = words.split_first() else { return };
    let place = format!("{pointer}/importer/{key}");
    match ask(program, words, environment) {
        Err(why) => report.add(
            Code::Worker,
            &place,
            format_args!("{program} cannot run the worker, through which OMERO is asked: {why}"),
            "let importer/worker name a Python that has OMERO.py, for example [\"/opt/omero/venv/bin/python\"]",
        ),
        Ok(hello) => {
            let omero_py = hello.get("omero_py").and_then(Value::as_str).unwrap_or("unknown");
            if omero_py != version && omero_py != "unknown" {
                report.add(
                    Code::WorkerVersion,
                    &place,
                    format_args!("the Python {program} has omero-py {omero_py}, and the 'omero' command is {version}"),
                    "let importer/worker be the Python of importer/command, or leave it out",
                );
            }
        }
    }
}

/// What the worker says of itself.
fn ask(program: &str, words: &[String], environment: &[(&str, &str)]) -> Result<Value, String> {
    let no_place = |e: io::Error| format!("no temporary file can be made: {e}");
    let place = tempfile::tempdir().map_err(no_place)?;
    let (text, complaints) = (place.path().join("irods_omero_worker.py"), place.path().join("complaints"));
    fs::write(&text, TEXT).map_err(no_place)?;
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", &LIMIT.as_secs().to_string(), program]).args(words).arg(&text);
    importer::set_environment(&mut command, environment);
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(File::create(&complaints).map_err(no_place)?);
    let mut child = command.spawn().map_err(|e| format!("it cannot be started: {e}"))?;
    let answer = converse(&mut child);
    // Ended by us: it would wait for more questions. What it started ends with it.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
    let Some(answer) = answer else {
        let complaints = read_regular(&complaints, MAX_ANSWER).unwrap_or_default();
        return Err(format!(
            "it does not answer: {}",
            importer::start_of(&String::from_utf8_lossy(&complaints))
        ));
    };
    if let Some(error) = answer.pointer("/error/message").and_then(Value::as_str) {
        return Err(error.to_owned());
    }
    match answer.pointer("/result/protocol").and_then(Value::as_u64) {
        Some(PROTOCOL) => Ok(answer.get("result").cloned().unwrap_or_default()),
        Some(other) => Err(format!("it speaks version {other} of the protocol instead of {PROTOCOL}")),
        None => Err("its answer cannot be understood".to_owned()),
    }
}

/// Asks one question, and gives its answer if it comes in time. The worker lives as long as its standard input is open.
fn converse(child: &mut Child) -> Option<Value> {
    let (mut input, output) = (child.stdin.take()?, child.stdout.take()?);
    let hello = json!({"id": 1, "method": "hello", "limit": 30});
    writeln!(input, "{hello}").ok()?;
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(output.take(MAX_ANSWER)).lines().map_while(Result::ok);
        let mut answers = lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        let _ = tell.send(answers.find(|answer| answer.get("id") == Some(&json!(1))));
    });
    let answer = told.recv_timeout(LIMIT).ok().flatten();
    drop(input);
    answer
}

/// The words of the Python that a script names, by the same rule as an importer's.
fn interpreter(script: &Path) -> Option<Vec<String>> {
    let mut head = Vec::new();
    open_regular(script).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
    worker::python_of(&head)?.into_iter().map(|word| word.into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_python_is_the_one_that_an_importer_takes() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("omero");
        fs::write(&script, "#!/usr/bin/env -S python3 -E\nimport x\n").unwrap();
        assert_eq!(interpreter(&script).unwrap().join(" "), "/usr/bin/env -S python3 -E");
        fs::write(&script, "\u{7f}ELF").unwrap();
        assert_eq!(interpreter(&script), None);
        assert_eq!(interpreter(dir.path()), None, "no file");
    }
}
