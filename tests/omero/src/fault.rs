//! Faults on demand: what an OMERO server, its network or the importer may do
//! at the worst moment. They are listed in `$OMERO_STANDIN/faults.json`, which
//! a test may write itself or through `omero standin fault set`.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sys;

/// One fault and to whom it happens.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// What happens; see `omero standin fault`.
    pub kind: String,
    /// Only in this sub-command (`login`, `import`, `hql`, `obj`, ...).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Only this many times, then never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// Only for paths holding this text (`*` matches anything).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Only for this OMERO user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// At which point: see `POINTS`.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub point: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<i64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// For `gate`: go on when this file exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<PathBuf>,
}

/// Every kind of fault, with what it does.
pub const KINDS: &[(&str, &str)] = &[
    ("server-down", "connecting is refused (exit 42)"),
    ("bad-host", "the host name is unknown (exit 43)"),
    ("connect-failure", "connecting fails in another way (exit 44)"),
    ("wrong-password", "the password is refused (exit 44)"),
    ("sudo-refused", "the sudo is refused (exit 45)"),
    ("session-lost", "at a point of an import, the session is gone"),
    ("connection-lost", "from filesets with --path on, an import has no connection any more"),
    ("slow", "wait --seconds at a point"),
    ("gate", "at a point, wait until the file --until exists; UNTIL.reached tells that it was reached"),
    ("hang", "at a point, never go on"),
    ("kill", "at a point, the java process dies of --signal"),
    ("kill-python", "at a point of starting, the omero process dies of --signal"),
    ("exit", "end at once with --code"),
    ("no-output", "print no results"),
    ("garbage", "print --text on standard output before the results"),
    ("foreign-results", "also print results for the filesets --ids"),
    ("huge-output", "print --bytes of log lines on standard error, before the scan or at a point"),
    ("unreadable", "files --path cannot be read"),
    ("scan-error", "the reader of files --path throws --text (FILE_EXCEPTION, counted)"),
    ("missing-library", "the reader of files --path lacks a library (MISSING_LIBRARY, not counted)"),
    ("disk-full", "no space left when files --path are transferred"),
    ("import-error", "the server fails to import filesets with --path; --text is the exception"),
    ("repository-not-writable", "the importer cannot write where the server made the file"),
    ("exists", "the place of the file in the repository is taken"),
    ("checksum", "the server's checksum differs"),
    ("cleanup-failure", "sources cannot be removed after *_rm (exit 3)"),
    ("bad-query", "an HQL query is refused (exit 52)"),
    ("save-error", "creating or updating an object fails (exit 80)"),
];

/// The points at which `slow`, `gate`, `hang`, `kill` and `session-lost` may strike.
///
/// `scan` is each file that is looked at, in `import -f` as well. `server-import` is in the server, which goes on when
/// the importer is dead; `while-server-imports` is in the importer that waits for it. `answer` is each answer of the
/// server to a command other than `import`: one for a query, one for each line of `obj`, one for each object that the
/// worker saves.
pub const POINTS: &[&str] = &[
    "start",
    "before-scan",
    "scan",
    "before-fileset",
    "after-fileset",
    "before-transfer",
    "after-transfer",
    "server-import",
    "while-server-imports",
    "after-images",
    "after-result",
    "between-filesets",
    "end",
    "answer",
];

/// The command that `omero import -f` is to faults: those for `import` strike there only where files are looked at.
pub const FORECAST: &str = "import-f";

/// The faults file of a store, and who is running now.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Faults {
    file: Option<PathBuf>,
    pub command: String,
    pub user: String,
}

impl Faults {
    pub fn of(dir: &Path, command: &str) -> Self {
        Self { file: Some(dir.join("faults.json")), command: command.to_owned(), user: String::new() }
    }

    /// The first fault of this kind that applies now; one of its `times` is used up.
    pub fn take(&self, kind: &str, point: Option<&str>, path: Option<&str>) -> Option<Fault> {
        self.find(kind, point, path.as_slice(), true)
    }

    /// Like `take`, for something that concerns all of `paths`.
    pub fn take_for(&self, kind: &str, point: Option<&str>, paths: &[&str]) -> Option<Fault> {
        self.find(kind, point, paths, true)
    }

    /// Whether anything at all is planned for a point.
    pub fn planned(&self, point: &str, path: &str) -> bool {
        ["slow", "gate", "hang", "kill", "huge-output"]
            .iter()
            .any(|kind| self.find(kind, Some(point), &[path], false).is_some())
    }

    fn find(&self, kind: &str, point: Option<&str>, paths: &[&str], use_up: bool) -> Option<Fault> {
        let file = self.file.as_deref()?;
        // Most runs have no faults at all: do not lock for nothing.
        if !file.exists() {
            return None;
        }
        let mut f = OpenOptions::new().read(true).write(true).open(file).ok()?;
        sys::lock(&f).ok()?;
        let mut all = read(&mut f);
        let at = all.iter().position(|x| {
            x.kind == kind
                && x.times != Some(0)
                && self.is_meant(x, point)
                && x.user.as_deref().is_none_or(|u| u == self.user)
                && point.is_none_or(|p| x.point.as_deref().unwrap_or("before-transfer") == p)
                && x.path.as_deref().is_none_or(|pattern| paths.iter().any(|p| matches(pattern, p)))
        })?;
        let found = all[at].clone();
        if use_up && let Some(n) = all[at].times.as_mut() {
            *n -= 1;
            write(&mut f, &all).ok()?;
        }
        Some(found)
    }

    /// Whether a fault is one of the running command.
    fn is_meant(&self, fault: &Fault, point: Option<&str>) -> bool {
        match fault.command.as_deref() {
            // The worker goes by its own name and by that of the method.
            Some(c) if self.command.split(' ').any(|mine| mine == c) => true,
            // A forecast looks at files as an import does, and has nothing else in common with it.
            None | Some("import") if self.command == FORECAST => point.is_none_or(|p| p == "scan"),
            None => true,
            Some(_) => false,
        }
    }

    /// Lets happen what is planned for this point of the run.
    pub fn strike(&self, point: &str, path: Option<&str>) {
        self.strike_for(point, path.as_slice());
    }

    /// Like `strike`, at a point that concerns all of `paths`.
    pub fn strike_for(&self, point: &str, paths: &[&str]) {
        if let Some(f) = self.take_for("slow", Some(point), paths) {
            std::thread::sleep(Duration::from_secs_f64(f.seconds.unwrap_or(1.0)));
        }
        if let Some(f) = self.take_for("gate", Some(point), paths)
            && let Some(until) = f.until
        {
            let reached = PathBuf::from(format!("{}.reached", until.display()));
            let _ = File::create(reached);
            while !until.exists() && self.file.as_deref().and_then(Path::parent).is_some_and(Path::exists) {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        if self.take_for("hang", Some(point), paths).is_some() {
            self.announce("hanging");
            loop {
                std::thread::sleep(Duration::from_secs(3600));
            }
        }
        if let Some(f) = self.take_for("kill", Some(point), paths) {
            sys::die_by_signal(f.signal.unwrap_or(libc::SIGKILL));
        }
    }

    /// Leaves a file `NAME.PID` beside the store, so that a test need not guess
    /// when a run has come so far.
    fn announce(&self, name: &str) {
        if let Some(dir) = self.file.as_deref().and_then(Path::parent) {
            let _ = File::create(dir.join(format!("{name}.{}", std::process::id())));
        }
    }
}

fn read(f: &mut File) -> Vec<Fault> {
    let mut text = String::new();
    if f.read_to_string(&mut text).is_err() || text.trim().is_empty() {
        return Vec::new();
    }
    match serde_json::from_str(&text) {
        Ok(all) => all,
        Err(e) => {
            complain!("faults.json: {e}");
            std::process::exit(99)
        }
    }
}

fn write(f: &mut File, all: &[Fault]) -> std::io::Result<()> {
    let text = serde_json::to_string_pretty(all)?;
    f.rewind()?;
    f.set_len(0)?;
    f.write_all(text.as_bytes())
}

/// Adds a fault to the store's list.
pub fn add(dir: &Path, fault: Fault) -> std::io::Result<()> {
    let mut f = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join("faults.json"))?;
    sys::lock(&f)?;
    let mut all = read(&mut f);
    all.push(fault);
    write(&mut f, &all)
}

/// Removes all faults, or those of one kind.
pub fn clear(dir: &Path, kind: Option<&str>) -> std::io::Result<()> {
    let path = dir.join("faults.json");
    if !path.exists() {
        return Ok(());
    }
    let mut f = OpenOptions::new().read(true).write(true).open(path)?;
    sys::lock(&f)?;
    let mut all = read(&mut f);
    all.retain(|x| kind.is_some_and(|k| x.kind != k));
    write(&mut f, &all)
}

/// `*` matches anything; a pattern without one must be part of the path.
pub fn matches(pattern: &str, path: &str) -> bool {
    if !pattern.contains('*') {
        return path.contains(pattern);
    }
    let parts: Vec<&str> = pattern.split('*').collect();
    let (first, last) = (parts[0], parts[parts.len() - 1]);
    let Some(mut rest) = path.strip_prefix(first) else { return false };
    for part in &parts[1..parts.len() - 1] {
        match rest.find(part) {
            Some(i) => rest = &rest[i + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
