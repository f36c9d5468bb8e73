//! An OMERO for one test: the stand-in `omero` command over a store in a temporary directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A store with the users alice (group lab) and carol (group carols), and the restricted administrator.
pub struct TestOmero {
    /// The `omero` command.
    pub command: PathBuf,
    /// The directory of the store.
    pub store: PathBuf,
    /// The file with the restricted administrator's password.
    pub password_file: PathBuf,
    /// A logback file, and a directory with a jar.
    pub logback: PathBuf,
    /// Directory of the importer's jars.
    pub jars: PathBuf,
    /// Where the importer works.
    pub work: PathBuf,
}

impl TestOmero {
    /// Makes the store below `dir`.
    pub fn new(dir: &Path) -> Self {
        let file = |name: &str, text: &str| {
            let path = dir.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            path
        };
        let jars = dir.join("jars");
        fs::create_dir(&jars).unwrap();
        fs::write(jars.join("importer.jar"), "").unwrap();
        let omero = Self {
            command: super::program("omero-standin", "omero"),
            store: dir.join("omero"),
            password_file: file("omero.password", "secret of the importer\n"),
            logback: super::root().join("packaging/logback-import.xml"),
            jars,
            work: dir.join("work"),
        };
        let password = omero.password_file.to_str().unwrap().to_owned();
        omero.admin(&[
            "init",
            "--root-password",
            "root secret",
            "--sudo-user",
            "importer",
            "--sudo-password-file",
            &password,
        ]);
        for (user, group) in [("alice", "lab"), ("carol", "carols")] {
            omero.admin(&["group", "add", group]);
            omero.admin(&["user", "add", user, "--group", group]);
        }
        omero
    }

    /// The environment in which the stand-in finds its store.
    pub fn environment(&self) -> Vec<(String, String)> {
        vec![
            ("OMERO_STANDIN".to_owned(), self.store.to_str().unwrap().to_owned()),
            ("OMERO_STANDIN_ALLOW_ROOT".to_owned(), "1".to_owned()),
        ]
    }

    /// An administration command of the stand-in; gives what it printed.
    pub fn admin(&self, words: &[&str]) -> String {
        let output =
            Command::new(&self.command).arg("standin").args(words).envs(self.environment()).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What a user does with the `omero` command in a session of their own.
    pub fn act(&self, user: &str, words: &[&str]) {
        let sessions = self.work.with_file_name("sessions");
        let login = ["login", "-q", "--sudo", "importer", "-s", "omero.example.org", "-u", user];
        for words in [&login[..], words] {
            let output = Command::new(&self.command)
                .args(words)
                .envs(self.environment())
                .env("OMERO_SESSIONDIR", &sessions)
                .env("OMERO_PASSWORD", "secret of the importer")
                .output()
                .unwrap();
            assert!(output.status.success(), "{words:?}: {output:?}");
        }
    }

    /// How many objects of a kind there are.
    pub fn count(&self, kind: &str) -> usize {
        self.admin(&["count", kind]).trim().parse().unwrap()
    }

    /// Everything in the store.
    pub fn show(&self) -> serde_json::Value {
        serde_json::from_str(&self.admin(&["show", "--json"])).unwrap()
    }

    /// The words that start a worker over this store.
    pub fn worker(&self) -> Vec<String> {
        vec![self.command.to_str().unwrap().to_owned(), "standin-worker".to_owned()]
    }

    /// How often the worker was asked with a method.
    pub fn asked(&self, method: &str) -> usize {
        let text = fs::read_to_string(self.store.join("worker.jsonl")).unwrap_or_default();
        let requests = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        requests.filter(|request| request["method"] == method).count()
    }

    /// How often a command has been run to its end.
    pub fn calls(&self, command: &str) -> usize {
        let text = fs::read_to_string(self.store.join("calls.jsonl")).unwrap_or_default();
        let calls = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        calls.filter(|call| call["argv"][0] == command).count()
    }

    /// Whose sessions are open, in the order of their opening.
    pub fn sessions(&self) -> Vec<String> {
        let all = self.show()["sessions"].as_array().unwrap().clone();
        all.iter().map(|s| s["owner"].as_str().unwrap().to_owned()).collect()
    }

    /// The directories of runs that have not ended.
    pub fn runs(&self) -> usize {
        let entries = fs::read_dir(&self.work).unwrap().flatten();
        entries.filter(|e| e.file_name().to_str().unwrap().starts_with("run-")).count()
    }

    /// The `importer` object of the plugin's configuration.
    pub fn importer_json(&self) -> serde_json::Value {
        let environment: serde_json::Map<String, serde_json::Value> =
            self.environment().into_iter().map(|(k, v)| (k, v.into())).collect();
        serde_json::json!({
            "mode": "command", "command": self.command, "worker": self.worker(), "jars": self.jars, "logback": self.logback,
            "timeout_in_seconds": 60, "command_timeout_in_seconds": 30, "options": ["--skip=upgrade"],
            "environment": environment, "work_directory": self.work,
            // The stand-in's server ends with its client where a test asks for nothing else: nothing comes of waiting.
            "unfinished_wait_in_seconds": 1,
        })
    }

    /// The `omero` object of the plugin's configuration.
    pub fn server_json(&self) -> serde_json::Value {
        serde_json::json!({
            "server": "omero.example.org", "port": 4064, "sudo_user": "importer",
            "password_file": self.password_file,
        })
    }
}
