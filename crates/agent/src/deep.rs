//! A look that does what an import would do, short of importing: before the first data, and when something is wrong. Each
//! finding says what to do.
//!
//! It opens a session for an OMERO user by the account that has `Sudo`, runs a program in the work directory, writes and
//! removes a file in the repository, and has the importer forecast a small file.

use crate::config::Config;
use crate::probe::Finding;
use irods_omero_importer::secret;
use irods_omero_importer::settings::{ImporterCommand, Omero};
use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// How long one command may take: a Java that starts on a busy host needs a minute.
const LIMIT: Duration = Duration::from_secs(180);

/// How much of what a command says is looked at, in bytes.
const MAX_SAID: u64 = 64 << 10;

/// Numbers the directories of this process.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Looks at every OMERO server as an import for a user would find it; for `None` as the account with `Sudo` itself.
pub fn look(config: &Config, user: Option<&str>) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(user) = user {
        let allowed = config.users.check(user);
        let is_allowed = allowed.is_ok();
        found.push(Finding::of(format!("imports as {user}"), allowed));
        if !is_allowed {
            return found;
        }
    }
    for (name, omero) in &config.servers {
        let place = match Place::new(&omero.importer.work_directory) {
            Ok(place) => place,
            Err(why) => {
                found.push(Finding::of(format!("work directory of {name}"), Err(why)));
                continue;
            }
        };
        found.push(Finding::of(format!("work directory of {name}"), place.runs_programs()));
        if let Some(repository) = config.repositories.get(name) {
            found.push(Finding::of(format!("repository of {name}"), write_and_remove(repository)));
        }
        let who = user.map_or_else(|| omero.server.sudo_user.to_string(), str::to_owned);
        found.push(Finding::of(format!("session in {name} for {who}"), session(omero, user, &place)));
        found.push(Finding::of(format!("forecast of {name}"), forecast(&omero.importer, &place)));
    }
    found.push(Finding::of("umask".to_owned(), umask()));
    found
}

/// A directory of one look, removed with it.
struct Place(PathBuf);

impl Place {
    fn new(work_directory: &Path) -> Result<Self, String> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = work_directory.join(format!("check-{}-{number}", std::process::id()));
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|e| {
            format!(
                "{} cannot be written by this account ({e}): make it, owned by the account of the service",
                work_directory.display()
            )
        })?;
        Ok(Self(path))
    }

    /// Formats that bring libraries of their own put them here and load them.
    fn runs_programs(&self) -> Result<(), String> {
        let path = self.0.join("program");
        let remedy = |e: &dyn std::fmt::Display| {
            format!(
                "no program can be run in {} ({e}): importers unpack libraries there; choose a work_directory whose file \
                 system is not mounted noexec",
                self.0.parent().unwrap_or(&self.0).display()
            )
        };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o700)
            .open(&path)
            .map_err(|e| remedy(&e))?;
        file.write_all(b"#!/bin/sh\nexit 0\n").map_err(|e| remedy(&e))?;
        drop(file);
        match Command::new(&path).stdin(Stdio::null()).status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(remedy(&status)),
            Err(e) => Err(remedy(&e)),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(act = "check", left = %self.0.display(), failed = %error);
        }
    }
}

fn write_and_remove(repository: &Path) -> Result<(), String> {
    let path = repository.join(format!(".irods-omero-check-{}", std::process::id()));
    let about = |what: &str, e: std::io::Error| {
        format!(
            "a file {what} in {} ({e}): the account of the service has to be in the group of the repository (SupplementaryGroups=), \
             the group has to have the right to write, and ReadWritePaths= has to name it",
            repository.display()
        )
    };
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(b"irods-omero agent --check\n"))
        .map_err(|e| about("cannot be written", e))?;
    fs::remove_file(&path).map_err(|e| about("cannot be removed", e))
}

/// What an importer makes has to be readable for OMERO's server, which is another account of the same group.
fn umask() -> Result<(), String> {
    // To ask the system for it is to set it, for all threads: the kernel's own account of the process says it too.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let digits = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap_or_default().trim();
    match u32::from_str_radix(digits, 8) {
        Ok(bits) if bits & 0o070 != 0 => Err(format!(
            "the umask is {digits}: with UMask=0002 in the service OMERO's server can use what an importer makes"
        )),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Opens a session and ends it.
fn session(omero: &Omero, user: Option<&str>, place: &Place) -> Result<(), String> {
    let server = &omero.server;
    let password = secret::read(&server.password_file).map_err(|e| e.to_string())?;
    let port = server.port.to_string();
    let sudo = server.sudo_user.as_str();
    let mut words = vec!["login", "-q", "-C"];
    match user {
        Some(user) => words.extend(["--sudo", sudo, "-u", user]),
        None => words.extend(["-u", sudo]),
    }
    words.extend(["-s", &server.host, "-p", &port, "-t", "60"]);
    let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
    let said = run(&omero.importer, &words, "", Some(&password), place)?;
    // The codes of omero-py's session plugin, as 8 bits (523 and more are cut by the system).
    let remedy = match said.code {
        Some(0) => {
            let _ = run(&omero.importer, &["logout".into()], "", None, place); // it ends by itself after a minute
            return Ok(());
        }
        Some(42 | 43) => {
            format!("OMERO at {} cannot be reached: look at 'server' and 'port', and at OMERO", server.host)
        }
        Some(44) => format!(
            "OMERO refuses the password of '{sudo}': put its password, alone, into {}",
            server.password_file.display()
        ),
        Some(45) => format!(
            "OMERO lets '{sudo}' open no session for '{}': give '{sudo}' the privilege Sudo, and look whether the user is there and active",
            user.unwrap_or(sudo)
        ),
        code => format!(
            "'omero login' ended with {}",
            code.map_or_else(|| "a signal".to_owned(), |c| format!("code {c}"))
        ),
    };
    let last = last_line(&said.stderr.replace(&password, "***"));
    Err(format!("{remedy} ({last})"))
}

/// Has the importer say what a small file is.
fn forecast(importer: &ImporterCommand, place: &Place) -> Result<(), String> {
    let path = place.0.join("check.tif");
    fs::write(&path, TIFF).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut words: Vec<OsString> = ["import", "-q", "-f"].map(OsString::from).into();
    for (option, value) in [("--clientdir", &importer.jars), ("--logback", &importer.logback)] {
        words.extend([option.into(), value.into()]);
    }
    words.extend(["--output", "yaml", "-"].map(OsString::from));
    let path = path.display().to_string();
    let said = run(importer, &words, &format!("{path}\n"), None, place)?;
    if said.code == Some(0) && said.stdout.contains(&path) {
        return Ok(());
    }
    Err(format!(
        "the importer did not recognise a small TIFF: look at 'command', 'jars' and 'logback', and whether 'java' is on the PATH of the \
         service ({})",
        last_line(&said.stderr)
    ))
}

/// What a command said.
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs the `omero` command as an import does: with no environment but what it needs, in a directory of its own, and in a
/// process group that is ended when its time is over.
fn run(
    importer: &ImporterCommand,
    words: &[OsString],
    input: &str,
    password: Option<&str>,
    place: &Place,
) -> Result<Said, String> {
    let program = importer.command.display();
    let cannot = |e: std::io::Error| format!("{program} cannot be run: {e}");
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let mut command = Command::new(&importer.command);
    command.args(words).current_dir(&place.0).process_group(0).env_clear();
    command.env("PATH", path).env("LC_ALL", "C.UTF-8").env("HOME", &place.0);
    command.env("OMERO_USERDIR", place.0.join("user")).env("OMERO_SESSIONDIR", place.0.join("sessions"));
    command.env("OMERO_TMPDIR", place.0.join("tmp")).envs(importer.environment.iter().map(|(k, v)| (k, v)));
    if let Some(password) = password {
        command.env("OMERO_PASSWORD", password);
    }
    let stdin = place.0.join("input");
    fs::write(&stdin, input).map_err(cannot)?;
    command.stdin(File::open(&stdin).map_err(cannot)?).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(cannot)?;
    let (stdout, stderr) = (read_all(child.stdout.take()), read_all(child.stderr.take()));
    let (tell, told) = channel();
    let group = Pid::from_child(&child);
    let waiting = thread::spawn(move || {
        let _ = tell.send(wait(&mut child)); // it is not waited for any more
    });
    let code = match told.recv_timeout(LIMIT) {
        Ok(code) => code,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            let _ = kill_process_group(group, Signal::KILL); // it may have ended
            return Err(format!("{program} did not end within {} s", LIMIT.as_secs()));
        }
    };
    let _ = waiting.join(); // it has sent
    let text = |reader: thread::JoinHandle<String>| reader.join().unwrap_or_default();
    Ok(Said { code, stdout: text(stdout), stderr: text(stderr) })
}

fn wait(child: &mut Child) -> Option<i32> {
    child.wait().ok().and_then(|status| status.code())
}

fn read_all(source: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let (mut bytes, mut rest) = (Vec::new(), Vec::new());
        if let Some(source) = source {
            let mut source = source.take(MAX_SAID);
            let _ = source.read_to_end(&mut bytes); // what has come counts
            let _ = source.into_inner().read_to_end(&mut rest); // so that nobody waits for room in the pipe
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn last_line(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    line.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// One grey pixel: header, one directory with nine entries, the pixel (TIFF 6.0, baseline).
const TIFF: &[u8] = &[
    b'I', b'I', 42, 0, 8, 0, 0, 0, // the directory is at byte 8
    9, 0, // entries
    0, 1, 3, 0, 1, 0, 0, 0, 1, 0, 0, 0, // ImageWidth 1
    1, 1, 3, 0, 1, 0, 0, 0, 1, 0, 0, 0, // ImageLength 1
    2, 1, 3, 0, 1, 0, 0, 0, 8, 0, 0, 0, // BitsPerSample 8
    3, 1, 3, 0, 1, 0, 0, 0, 1, 0, 0, 0, // Compression none
    6, 1, 3, 0, 1, 0, 0, 0, 1, 0, 0, 0, // PhotometricInterpretation black is zero
    17, 1, 4, 0, 1, 0, 0, 0, 122, 0, 0, 0, // StripOffsets 122
    21, 1, 3, 0, 1, 0, 0, 0, 1, 0, 0, 0, // SamplesPerPixel 1
    22, 1, 3, 0, 1, 0, 0, 0, 1, 0, 0, 0, // RowsPerStrip 1
    23, 1, 4, 0, 1, 0, 0, 0, 1, 0, 0, 0, // StripByteCounts 1
    0, 0, 0, 0, // no further directory
    0, // the pixel
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_written_and_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(write_and_remove(dir.path()), Ok(()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let why = write_and_remove(&dir.path().join("none")).unwrap_err();
        assert!(why.contains("SupplementaryGroups="), "{why}");
    }

    #[test]
    fn the_directory_of_a_look_runs_programs_and_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path()).unwrap();
        assert_eq!(place.runs_programs(), Ok(()));
        drop(place);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_small_file_is_as_long_as_its_directory_says() {
        assert_eq!(TIFF.len(), 123);
    }
}
