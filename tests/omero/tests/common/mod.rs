//! A stand-in OMERO of one's own for each test.
#![allow(dead_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

pub const SUDO_PASSWORD: &str = "correct horse";

/// A store with two people of one group, a place for data and one for a client.
pub struct Omero {
    dir: tempfile::TempDir,
}

/// What a command did.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Omero {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let me = Self { dir };
        for d in ["data", "client", "jars"] {
            std::fs::create_dir(me.path(d)).unwrap();
        }
        std::fs::write(me.path("jars/a.jar"), "").unwrap();
        std::fs::write(me.path("logback.xml"), "<target>System.err</target>").unwrap();
        std::fs::write(me.path("sudo-password"), format!("{SUDO_PASSWORD}\n")).unwrap();
        let password = me.path("sudo-password");
        me.standin(&[
            "init",
            "--root-password",
            "rootpw",
            "--sudo-user",
            "importer",
            "--sudo-password-file",
            password.to_str().unwrap(),
        ]);
        me.standin(&["user", "add", "alice", "--group", "lab1", "--group", "lab2"]);
        me.standin(&["user", "add", "bob", "--group", "lab1"]);
        me
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// A path below the data directory as text.
    pub fn data(&self, name: &str) -> String {
        self.path("data").join(name).to_str().unwrap().to_owned()
    }

    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// The command with an environment of its own: nothing of the tester's shell.
    pub fn command(&self) -> Command {
        let mut c = Command::new(env!("CARGO_BIN_EXE_omero"));
        let client = self.path("client");
        c.env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", &client)
            .env("LC_ALL", "C.UTF-8")
            .env("OMERO_STANDIN", self.store())
            .env("OMERO_STANDIN_ALLOW_ROOT", "1")
            .env("OMERO_SESSIONDIR", client.join("sessions"))
            .env("OMERO_USERDIR", &client)
            .env("OMERO_TMPDIR", client.join("tmp"))
            .stdin(Stdio::null());
        c
    }

    pub fn standin(&self, args: &[&str]) -> String {
        let ran = finish(self.command().arg("standin").args(args).output().unwrap());
        assert_eq!(ran.code, 0, "standin {args:?}: {}", ran.err);
        ran.out
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        finish(self.command().args(args).output().unwrap())
    }

    pub fn run_with_stdin(&self, args: &[&str], stdin: &str) -> Ran {
        let child = self.start(args, stdin);
        finish(child.wait_with_output().unwrap())
    }

    /// Starts a command in a process group of its own.
    pub fn start(&self, args: &[&str], stdin: &str) -> Child {
        use std::os::unix::process::CommandExt;
        let mut child = self
            .command()
            .args(args)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        child
    }

    /// Logs in as the importing service for `user`.
    pub fn login(&self, user: &str) {
        let ran = self.login_to(user, "lab1");
        assert_eq!(ran.code, 0, "{}", ran.err);
    }

    pub fn login_to(&self, user: &str, group: &str) -> Ran {
        finish(
            self.command()
                .env("OMERO_PASSWORD", SUDO_PASSWORD)
                .args(["login", "-q", "-C", "--sudo", "importer", "-u", user, "-g", group])
                .args(["-s", "localhost", "-p", "4064", "-t", "3600"])
                .output()
                .unwrap(),
        )
    }

    fn import_words(&self, more: &[&str]) -> Vec<String> {
        let jars = self.path("jars");
        let logback = self.path("logback.xml");
        let mut words: Vec<String> = ["import", "-q"].map(str::to_owned).to_vec();
        words.extend(["--clientdir".to_owned(), jars.to_str().unwrap().to_owned()]);
        words.extend(["--logback".to_owned(), logback.to_str().unwrap().to_owned()]);
        words.extend(more.iter().map(|m| (*m).to_owned()));
        words
    }

    /// Imports the paths given on standard input, in place, results as YAML.
    pub fn import(&self, more: &[&str], paths: &[&str]) -> Ran {
        let child = self.start_import(more, paths);
        finish(child.wait_with_output().unwrap())
    }

    pub fn start_import(&self, more: &[&str], paths: &[&str]) -> Child {
        let mut all = vec!["--transfer", "ln_s", "--output", "yaml"];
        all.extend_from_slice(more);
        all.push("-");
        let words = self.import_words(&all);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.start(&words, &(paths.join("\n") + "\n"))
    }

    /// Like `start_import`, with a session directory of its own for this run, as
    /// runs at the same time need: in a shared one they overwrite each other's
    /// notes of the last session, and may find them half-written.
    pub fn start_import_apart(&self, number: usize, more: &[&str], path: &str) -> Child {
        let sessions = self.path(&format!("client/sessions-{number}"));
        copy_dir(&self.path("client/sessions"), &sessions);
        let list = self.path(&format!("client/list-{number}"));
        std::fs::write(&list, format!("{path}\n")).unwrap();
        let mut all = vec!["--transfer", "ln_s", "--output", "yaml"];
        all.extend_from_slice(more);
        all.push("-");
        self.command()
            .env("OMERO_SESSIONDIR", sessions)
            .args(self.import_words(&all))
            .stdin(std::fs::File::open(list).unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Any import, with whatever options and paths.
    pub fn plain_import(&self, more: &[&str]) -> Ran {
        let words = self.import_words(more);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.run(&words)
    }

    pub fn tiff(&self, name: &str) -> String {
        let path = self.data(name);
        let seed = name.bytes().map(u64::from).sum::<u64>().to_string();
        self.standin(&["make", "tiff", &path, "--seed", &seed]);
        path
    }

    /// Columns of a query's rows.
    pub fn query(&self, hql: &str) -> Vec<Vec<String>> {
        let ran = self.run(&["hql", "-q", "--style", "json", "--limit", "-1", "--all", hql]);
        assert_eq!(ran.code, 0, "{hql}: {}", ran.err);
        let rows: Vec<serde_json::Map<String, Value>> = serde_json::from_str(&ran.out).unwrap();
        rows.into_iter()
            .map(|r| r.into_iter().skip(1).map(|(_, v)| v.as_str().unwrap().to_owned()).collect())
            .collect()
    }

    pub fn contents(&self) -> Value {
        serde_json::from_str(&self.standin(&["show", "--json"])).unwrap()
    }

    pub fn count(&self, what: &str) -> usize {
        self.standin(&["count", what]).trim().parse().unwrap()
    }

    /// The recorded calls.
    pub fn calls(&self) -> Vec<Value> {
        lines(&self.store().join("calls.jsonl"))
    }

    /// Java's command lines.
    pub fn java_runs(&self) -> Vec<Value> {
        lines(&self.store().join("java.jsonl"))
    }

    pub fn session_files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(&self.path("client/sessions"), &mut found);
        found.retain(|p| !p.file_name().unwrap().to_str().unwrap().starts_with('.'));
        found
    }
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for e in std::fs::read_dir(from).unwrap() {
        let e = e.unwrap();
        let target = to.join(e.file_name());
        if e.path().is_dir() {
            copy_dir(&e.path(), &target);
        } else {
            std::fs::copy(e.path(), target).unwrap();
        }
    }
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for e in entries {
        let path = e.unwrap().path();
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

fn lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

/// Kills a command that `start` started and all that it started in its group.
pub fn kill_group(child: &mut Child) {
    let group = format!("-{}", child.id());
    assert!(Command::new("kill").args(["-KILL", "--", &group]).status().unwrap().success());
    child.wait().unwrap();
}

pub fn finish(o: Output) -> Ran {
    use std::os::unix::process::ExitStatusExt;
    let code = o.status.code().unwrap_or_else(|| -o.status.signal().unwrap_or(0));
    Ran { code, out: String::from_utf8(o.stdout).unwrap(), err: String::from_utf8(o.stderr).unwrap() }
}

/// Waits for a condition; a test that waits longer than this has failed.
pub fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed().as_secs() < 20, "never happened: {what}");
        std::thread::yield_now();
    }
}

pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}
