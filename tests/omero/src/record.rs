//! What was run, for tests to look at afterwards: `calls.jsonl` has one line for
//! each finished call, `started.jsonl` one for each begun (a killed one is only
//! there), `java.jsonl` one for each start of the Java half.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Appends one line in one write, so that lines of several processes stay whole.
fn append(dir: &Path, file: &str, entry: &Value) {
    let line = format!("{entry}\n");
    if let Ok(mut f) = OpenOptions::new().create(true).append(true).open(dir.join(file)) {
        let _ = f.write_all(line.as_bytes());
    }
}

/// Arguments without what must not be written down: a password never stays.
fn without_password(argv: &[String]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut hide = false;
    for a in argv {
        if hide {
            out.push("***".to_owned());
            hide = false;
        } else if a == "-w" || a == "--password" {
            out.push(a.clone());
            hide = true;
        } else if a.starts_with("--password=") {
            out.push("--password=***".to_owned());
        } else if a.starts_with("-w") && !a.starts_with("--") {
            out.push("-w***".to_owned());
        } else {
            out.push(a.clone());
        }
    }
    out
}

/// The beginning of a call.
pub fn started(dir: &Path, argv: &[String]) {
    append(dir, "started.jsonl", &json!({ "pid": std::process::id(), "argv": without_password(argv) }));
}

/// The end of a call.
pub fn finished(dir: &Path, argv: &[String], stdin: Option<String>, exit: i32) {
    let names: Vec<String> = std::env::vars_os()
        .map(|(k, _)| k.to_string_lossy().into_owned())
        .filter(|k| {
            k.starts_with("OMERO")
                || ["LC_ALL", "LANG", "JAVA_OPTS", "HOME", "PATH", "DEBUG", "ICE_CONFIG"]
                    .contains(&k.as_str())
        })
        .collect();
    let mut names = names;
    names.sort();
    let stdin = stdin.or_else(|| {
        let path = handed(dir, std::process::id());
        let text = std::fs::read_to_string(&path).ok();
        let _ = std::fs::remove_file(path);
        text
    });
    let entry = json!({
        "argv": without_password(argv),
        "env": names,
        "stdin": stdin,
        "pid": std::process::id(),
        "exit": exit.rem_euclid(256),
    });
    append(dir, "calls.jsonl", &entry);
}

/// One request to the worker: what was asked, and the kind of error it was answered with.
pub fn asked(dir: &Path, method: &str, params: &Value, error: Option<&str>) {
    let entry = json!({ "pid": std::process::id(), "method": method, "params": params, "error": error });
    append(dir, "worker.jsonl", &entry);
}

/// The beginning of a run of the Java half, with its whole argument list: the
/// session key is in it.
pub fn java(dir: &Path, argv: &[String]) {
    append(dir, "java.jsonl", &json!({ "pid": std::process::id(), "argv": argv }));
}

fn handed(dir: &Path, pid: u32) -> PathBuf {
    dir.join(format!("stdin.{pid}"))
}

/// The Java half reads standard input, the Python half writes the record.
pub fn hand_over_stdin(dir: &Path, parent: u32, text: &str) {
    let _ = std::fs::write(handed(dir, parent), text);
}
