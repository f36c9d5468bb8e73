//! The `omero` command, and the directory it works in.

use super::places;
use crate::account::{Account, Wish};
use crate::finding::{Code, Report};
use irods_omero_importer::ffi::is_landlock_offered;
use irods_omero_importer::process::{self, Finished, Nobody};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, IsTerminal, stderr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long `omero version` may take: it starts Python, but no Java.
const VERSION_LIMIT: Duration = Duration::from_secs(60);

/// Whether the command is there, can be run and says its version.
pub fn look_at_command(
    place: &str,
    path: &Path,
    environment: &[(&str, &str)],
    account: &Account,
    report: &mut Report,
) {
    let (shown, who) = (path.display(), &account.name);
    let wrong = match fs::metadata(path) {
        Err(e) => e.to_string(),
        Ok(about) if !about.is_file() => "it is not a file".to_owned(),
        Ok(about) if about.mode() & 0o111 == 0 => "it is not executable".to_owned(),
        Ok(_) if !account.may(Wish::Run, path) => format!("{who} may not run it"),
        Ok(_) => return look_at_version(place, path, environment, account, report),
    };
    let remedy = format!("name the 'omero' command of an OMERO.py that {who} may run");
    report.add(Code::Command, place, format_args!("the command {shown} cannot be used: {wrong}"), remedy);
}

fn look_at_version(
    place: &str,
    path: &Path,
    environment: &[(&str, &str)],
    account: &Account,
    report: &mut Report,
) {
    if stderr().is_terminal() {
        eprintln!("running '{} version' ...", path.display());
    }
    let wrong = match run(path, &["version"], environment) {
        Err(e) => format!("it cannot be run: {e}"),
        Ok(done) => {
            let text = |text: &str| text.trim().chars().take(300).collect::<String>();
            let said = text(&done.stdout);
            if done.code() == Some(0) && said.starts_with(|c: char| c.is_ascii_digit()) {
                return;
            }
            match (done.timed_out, done.code()) {
                (true, _) => format!("it did not end within {} seconds", VERSION_LIMIT.as_secs()),
                (false, code) => {
                    let code = code.map_or_else(|| "no exit code".to_owned(), |c| format!("exit code {c}"));
                    format!("it ended with {code}: {said} {}", text(&done.stderr))
                }
            }
        }
    };
    let sentence = format!("'{} version' does not say a version: {}", path.display(), wrong.trim_end());
    let remedy = format!("run it by hand as {} and mend what it says", account.name);
    report.add(Code::CommandVersion, place, sentence, remedy);
}

/// Runs a program of the configuration with the environment of the importer. We are the service account.
fn run(program: &Path, words: &[&str], environment: &[(&str, &str)]) -> io::Result<Finished> {
    let words: Vec<OsString> = words.iter().map(OsString::from).collect();
    let prepare = |command: &mut Command| {
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        command.env_clear().env("PATH", path).env("LC_ALL", "C.UTF-8").current_dir("/");
        command.envs(environment.iter().copied());
    };
    let input = File::open("/dev/null")?;
    process::run(&program.into(), &words, input, VERSION_LIMIT, prepare, &mut || {}, &Nobody)
}

/// Whether the kernel keeps the importer from other files.
fn look_at_fence(report: &mut Report) {
    if !is_landlock_offered() {
        report.skip(format_args!(
            "the fence around the importer: this kernel offers no Landlock, so the importer's Java can read all files \
             below the opened directories"
        ));
    }
}

/// Whether the importer can make its files there.
pub fn look_at_work_directory(place: &str, path: &Path, account: &Account, report: &mut Report) {
    look_at_fence(report);
    let who = &account.name;
    if places::is_noexec(path) {
        report.add(
            Code::WorkNoexec,
            place,
            format_args!(
                "{} lies on a file system that is mounted noexec: Java unpacks libraries there and cannot load them, so \
                 that formats fail",
                path.display()
            ),
            "name a directory on another file system (importer/work_directory), or mount it with 'exec'",
        );
    }
    places::look_at_clock(place, path, report);
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
