//! The `omero` command, and the directory it works in.

use crate::account::{Account, Wish};
use crate::finding::{Code, Report};
use serde_json::Value;
use std::fs;
use std::io::{IsTerminal, stderr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// How long `omero version` may take, in seconds: it starts Python, but no Java.
const VERSION_SECONDS: &str = "60";

/// Whether the command is there, can be run and says its version.
pub fn look_at_command(place: &str, path: &Path, stanza: &Value, account: &Account, report: &mut Report) {
    let (shown, who) = (path.display(), &account.name);
    let wrong = match fs::metadata(path) {
        Err(e) => e.to_string(),
        Ok(about) if !about.is_file() => "it is not a file".to_owned(),
        Ok(about) if about.mode() & 0o111 == 0 => "it is not executable".to_owned(),
        Ok(_) if !account.may(Wish::Run, path) => format!("{who} may not run it"),
        Ok(_) => return look_at_version(place, path, stanza, account, report),
    };
    let remedy = format!("name the 'omero' command of an OMERO.py that {who} may run");
    report.add(Code::Command, place, format_args!("the command {shown} cannot be used: {wrong}"), remedy);
}

fn look_at_version(place: &str, path: &Path, stanza: &Value, account: &Account, report: &mut Report) {
    if account.uid == 0 {
        // The omero command refuses to run as root.
        report.skip(format_args!("'{} version': it does not run as root", path.display()));
        return;
    }
    if stderr().is_terminal() {
        eprintln!("running '{} version' ...", path.display());
    }
    let mut command = account.command(Path::new("timeout"));
    command.args(["--kill-after=5", VERSION_SECONDS]).arg(path).arg("version");
    set_environment(&mut command, stanza);
    let wrong = match command.stdin(Stdio::null()).output() {
        Err(e) => format!("it cannot be run: {e}"),
        Ok(output) => {
            let text =
                |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().chars().take(300).collect::<String>();
            let said = text(&output.stdout);
            if output.status.success() && said.starts_with(|c: char| c.is_ascii_digit()) {
                return;
            }
            match (output.status.code(), text(&output.stderr)) {
                (Some(124 | 137), _) => format!("it did not end within {VERSION_SECONDS} seconds"),
                (_, complaint) => format!("it ended with {}: {said} {complaint}", output.status),
            }
        }
    };
    let sentence = format!("'{} version' does not say a version: {}", path.display(), wrong.trim_end());
    let remedy = format!("run it by hand as {} and mend what it says", account.name);
    report.add(Code::CommandVersion, place, sentence, remedy);
}

/// The environment that the stanza gives the command.
fn set_environment(command: &mut Command, stanza: &Value) {
    let variables = stanza.pointer("/importer/environment").and_then(Value::as_object);
    for (name, value) in variables.into_iter().flatten() {
        if let (Some(value), false) = (value.as_str(), name.is_empty() || name.contains(['=', '\0'])) {
            command.env(name, value);
        }
    }
}

/// Whether the importer can make its files there.
pub fn look_at_work_directory(place: &str, path: &Path, account: &Account, report: &mut Report) {
    let who = &account.name;
    let wrong = match fs::metadata(path) {
        Ok(about) if !about.is_dir() => "it is not a directory".to_owned(),
        Ok(_) if !account.may(Wish::Write, path) => format!("{who} may not write in it"),
        Ok(about) if about.mode() & 0o077 != 0 => {
            "others may look into it, and sessions are kept there".to_owned()
        }
        Ok(_) => return,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let there = path.ancestors().skip(1).find(|p| p.exists()).unwrap_or(Path::new("/"));
            if there.is_dir() && account.may(Wish::Write, there) {
                return; // it is made when it is needed
            }
            format!("it is not there, and {who} may not make it in {}", there.display())
        }
        Err(e) => e.to_string(),
    };
    let shown = path.display();
    let sentence = format!("the importer cannot work in {shown}: {wrong}");
    report.add(
        Code::WorkDirectory,
        place,
        sentence,
        format_args!("sudo install -d -o {who} -m 0700 {shown}"),
    );
}
