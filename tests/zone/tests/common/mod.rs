// SPDX-License-Identifier: BSD-3-Clause
//! A zone in a temporary directory, with the tracing plugin loaded.

#![allow(dead_code)] // each test file uses its part

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

pub const HOME: &str = "/tempZone/home/alice";

/// The directory that holds `libtrace.so`, built from the fixture when it or an interface header is newer.
pub fn plugin_directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let library = directory.join("libtrace.so");
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let source = package.join("fixtures/trace_plugin.cpp");
        let headers = package.join("../../include/irods_abi");
        let changed = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).expect("there");
        let newest = fs::read_dir(headers.join("irods"))
            .expect("headers")
            .map(|entry| changed(&entry.expect("header").path()))
            .chain([changed(&source)])
            .max()
            .expect("some");
        if !library.exists() || changed(&library) < newest {
            let fresh = directory.join(format!("libtrace.{}.so", std::process::id()));
            let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
            let status = Command::new(compiler)
                .args(["-std=c++17", "-O1", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror"])
                .arg("-I")
                .arg(&headers)
                .arg(&source)
                .arg("-o")
                .arg(&fresh)
                .status()
                .expect("a C++ compiler");
            assert!(status.success(), "the tracing plugin does not compile");
            fs::rename(&fresh, &library).expect("move into place");
        }
        directory
    })
}

pub struct Zone {
    pub directory: TempDir,
    environment: BTreeMap<String, String>,
}

/// What one verb of a script ended with.
#[derive(Debug)]
pub struct Answer {
    pub code: i64,
    pub output: String,
    pub messages: Vec<String>,
    pub failure: String,
    /// What plugins cost during the verb, by name; what was not done is not there.
    pub cost: BTreeMap<String, i64>,
}

impl Answer {
    /// One of the costs, 0 if there was none.
    pub fn cost(&self, name: &str) -> i64 {
        self.cost.get(name).copied().unwrap_or_default()
    }

    /// What a rule of the tracing plugin answered: a code and text.
    pub fn of_plugin(&self) -> (i64, String) {
        assert_eq!(self.code, 0, "{self:?}");
        let arguments: Vec<String> = serde_json::from_str(&self.output).expect("JSON");
        let (code, text) = arguments[0].split_once(' ').expect("a code");
        (code.parse().expect("number"), text.to_owned())
    }
}

impl Zone {
    /// A zone with users alice and bob and the tracing plugin as the instance `trace`.
    pub fn new() -> Self {
        Self::with_instances(&["trace"])
    }

    pub fn with_instances(instances: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let zone = Self { directory, environment: BTreeMap::new() };
        let config = zone.path("config.json");
        fs::write(&config, server_config("provider", instances).to_string()).expect("write");
        zone.must(&["init", "--config", &text(&config), "--plugin-dir", &text(plugin_directory())]);
        zone.must(&["user", "add", "alice"]);
        zone.must(&["user", "add", "bob"]);
        zone
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.into(), value.into());
    }

    pub fn unset(&mut self, name: &str) {
        self.environment.remove(name);
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zone"));
        command.arg("-d").arg(self.path("zone")).args(words);
        command.env("TRACE_FILE", self.path("trace.log"));
        command.envs(&self.environment);
        command
    }

    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("the zone runs")
    }

    /// The output of a command that must succeed.
    pub fn must(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// One verb as a user.
    pub fn as_user(&self, user: &str, words: &[&str]) -> String {
        let mut all = vec!["as", user];
        all.extend_from_slice(words);
        self.must(&all)
    }

    /// The code a verb fails with.
    pub fn fails(&self, user: &str, words: &[&str]) -> i64 {
        let mut all = vec!["as", user];
        all.extend_from_slice(words);
        let output = self.run(&all);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{words:?} succeeded");
        stderr
            .split_whitespace()
            .find_map(|word| word.parse().ok())
            .unwrap_or_else(|| panic!("no code in [{stderr}]"))
    }

    /// Several verbs in one connection.
    pub fn script(&self, user: &str, lines: &[Value]) -> Vec<Answer> {
        self.script_on("provider", user, lines)
    }

    /// The same on one of the zone's servers.
    pub fn script_on(&self, server: &str, user: &str, lines: &[Value]) -> Vec<Answer> {
        let mut child = self
            .command(&["--server", server, "as", user, "script", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the zone runs");
        let mut input = child.stdin.take().expect("piped");
        for line in lines {
            writeln!(input, "{line}").expect("write");
        }
        drop(input);
        let output = child.wait_with_output().expect("ends");
        String::from_utf8(output.stdout)
            .expect("UTF-8")
            .lines()
            .map(|line| {
                let value: Value = serde_json::from_str(line).expect("JSON");
                Answer {
                    code: value["code"].as_i64().expect("code"),
                    output: value["output"].as_str().unwrap_or_default().to_owned(),
                    messages: value["messages"]
                        .as_array()
                        .expect("list")
                        .iter()
                        .map(|m| m.as_str().unwrap_or_default().to_owned())
                        .collect(),
                    failure: value["failure"].as_str().unwrap_or_default().to_owned(),
                    cost: serde_json::from_value(value["cost"].clone()).expect("counts"),
                }
            })
            .collect()
    }

    /// A local file to upload.
    pub fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("has one")).expect("mkdir");
        fs::write(&path, contents).expect("write");
        text(&path)
    }

    /// What the tracing plugin wrote since the last call.
    pub fn trace(&self) -> Vec<String> {
        let path = self.path("trace.log");
        let lines = fs::read_to_string(&path).unwrap_or_default().lines().map(str::to_owned).collect();
        fs::write(&path, "").expect("write");
        lines
    }

    /// The PEPs among it, as the recording has them: name and argument types.
    pub fn peps(&self) -> Vec<String> {
        self.trace()
            .into_iter()
            .filter_map(|line| line.split_once(' ').map(|(_, rest)| rest.to_owned()))
            .filter(|line| is_recorded(line))
            .collect()
    }

    /// What a rule of the tracing plugin answers: a code and text.
    pub fn plugin_answer(&self, user: &str, words: &[&str]) -> (i64, String) {
        let mut line = vec!["call-rule"];
        line.extend_from_slice(words);
        self.script(user, &[json!(line)])[0].of_plugin()
    }

    /// Ends when the condition holds; panics after a minute.
    pub fn wait_until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !condition(self) {
            assert!(started.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn query(&self, user: &str, query: &str) -> Vec<Vec<String>> {
        serde_json::from_str(&self.as_user(user, &["query", query])).expect("rows")
    }

    pub fn sql(&self, query: &str) -> String {
        self.must(&["sql", query]).trim_end().to_owned()
    }
}

/// Whether the recording would have this line.
fn is_recorded(line: &str) -> bool {
    let name = line.split(' ').next().unwrap_or_default();
    if !name.starts_with("pep_") || name.ends_with("_finally") {
        return false;
    }
    if let Some(operation) = name.strip_prefix("pep_database_") {
        return ["reg_", "mod_", "unreg_", "del_"].iter().any(|kind| operation.starts_with(kind));
    }
    !["authenticate", "gen_query", "genquery2", "obj_stat", "general_admin"]
        .iter()
        .any(|operation| name.strip_prefix("pep_api_").is_some_and(|rest| rest.starts_with(operation)))
}

/// The sections of the recording.
pub fn recorded(section: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/recorded-peps.txt"))
        .expect("the recording");
    let heading = format!("[{section}]");
    let lines: Vec<String> = text
        .lines()
        .skip_while(|line| *line != heading)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .map(str::to_owned)
        .collect();
    assert!(!lines.is_empty(), "nothing recorded for {section}");
    lines
}

pub fn server_config(role: &str, instances: &[&str]) -> Value {
    let engines: Vec<Value> = instances
        .iter()
        .map(|instance| {
            json!({"instance_name": instance, "plugin_name": "trace", "plugin_specific_configuration": {}})
        })
        .collect();
    json!({
        "zone_name": "tempZone",
        "zone_user": "rods",
        "catalog_service_role": role,
        "default_resource_name": "demoResc",
        "plugin_configuration": {"rule_engines": engines},
    })
}

pub fn text(path: impl AsRef<OsStr>) -> String {
    path.as_ref().to_str().expect("UTF-8").to_owned()
}
