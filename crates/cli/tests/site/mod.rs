//! A server's files and its configuration, as `irods-omero check` looks at them.
#![allow(dead_code, missing_docs)] // not every test wants all of it

#[path = "../line/mod.rs"]
pub mod line;

use irods_omero_cli::Answer;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

/// The stanza's place in the configurations here.
pub const STANZA: &str = "/plugin_configuration/rule_engines/0/plugin_specific_configuration";

/// The plugin's library in a site.
pub const LIBRARY: &str = "lib/irods/plugins/rule_engines/libirods_rule_engine_plugin-omero.so";

/// A server's files, all of them right. Run by root, the server's account is `nobody`.
pub struct Site {
    dir: tempfile::TempDir,
    /// Its configuration, written when it is looked at first.
    pub config: Value,
    /// Whether root runs the test.
    pub as_root: bool,
}

impl Site {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let as_root = rustix::process::geteuid().is_root();
        let mut site = Self { dir, config: Value::Null, as_root };
        site.mode("", 0o755);
        for directory in ["lib/irods/plugins/rule_engines", "vault", "jars", "mount/home", "work"] {
            fs::create_dir_all(site.path(directory)).unwrap();
        }
        // A program of this machine that ends as the library does.
        let mut library = fs::read("/bin/true").unwrap();
        library.extend_from_slice(b"irods_rule_engine_plugin-omero built for iRODS 5.0.2\n");
        fs::write(site.path(LIBRARY), library).unwrap();
        fs::write(site.path("lib/libirods_common.so.5.0.2"), "").unwrap();
        for (name, text, mode) in [
            ("omero.password", "secret\n", 0o600),
            ("ldap.password", "secret\n", 0o600),
            ("ca.pem", "", 0o644),
            ("table.json", r#"{"bob#tempZone": "bob"}"#, 0o644),
            ("jars/importer.jar", "PK\u{3}\u{4}", 0o644),
            ("logback.xml", "<target>System.err</target>", 0o644),
            ("omero", "#!/bin/sh\n[ \"$1\" = version ] && echo 5.23.0\n", 0o755),
        ] {
            site.file(name, text, mode);
        }
        site.own("work", 0o700);
        site.config = json!({"plugin_configuration": {"rule_engines": [
            {"instance_name": "irods_rule_engine_plugin-omero-instance",
             "plugin_name": "irods_rule_engine_plugin-omero", "plugin_specific_configuration": {
                "watch": ["/tempZone/home/*/microscopy"],
                "users": {"table_file": site.text("table.json"), "denied": ["facility"],
                          "ldap": {"url": "ldaps://ldap.example.org", "base": "dc=example,dc=org",
                                   "filter": "(uid={user})", "zones": ["tempZone"], "user_attribute": "uid",
                                   "bind_dn": "cn=irods,dc=example,dc=org",
                                   "bind_password_file": site.text("ldap.password"),
                                   "ca_file": site.text("ca.pem")}},
                "visibility": {"vaults": [{"prefix": "/srv/elsewhere", "importer_prefix": site.text("vault")},
                                          {"prefix": site.text("vault")}],
                               "mounts": [{"zone_prefix": "/tempZone/home", "mount": site.text("mount")}]},
                "omero": {"server": "omero.example.org", "sudo_user": "importer",
                          "password_file": site.text("omero.password")},
                "importer": {"mode": "command", "command": site.text("omero"), "jars": site.text("jars"),
                             "logback": site.text("logback.xml"), "work_directory": site.text("work")}}},
            {"instance_name": "native", "plugin_name": "irods_rule_engine_plugin-irods_rule_language"}]}});
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Gives something to the server's account.
    pub fn own(&self, name: &str, mode: u32) {
        if self.as_root {
            chown(self.path(name), Some(65_534), Some(65_534)).unwrap();
        }
        self.mode(name, mode);
    }

    pub fn file(&self, name: &str, text: &str, mode: u32) {
        fs::write(self.path(name), text).unwrap();
        self.own(name, mode);
    }

    pub fn stanza(&mut self) -> &mut Value {
        self.config.pointer_mut(STANZA).unwrap()
    }

    pub fn engines(&mut self) -> &mut Vec<Value> {
        self.config["plugin_configuration"]["rule_engines"].as_array_mut().unwrap()
    }

    /// The words of a check, with some more.
    pub fn line(&self, words: &[&str]) -> Vec<String> {
        let config = self.path("server_config.json");
        if config.symlink_metadata().is_err() {
            fs::write(&config, self.config.to_string()).unwrap();
        }
        let (config, plugins) = (self.text("server_config.json"), self.text("lib/irods/plugins"));
        let mut line = vec!["check", "--config", &config, "--plugin-dir", &plugins];
        if self.as_root {
            line.extend(["--account", "nobody"]);
        }
        line.extend(words);
        line.into_iter().map(str::to_owned).collect()
    }

    pub fn check(&self, words: &[&str]) -> Answer {
        let line = self.line(words);
        line::ask(&line.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Code and place of every finding, and the exit code, where everything can be looked at.
    pub fn found(&self) -> (Vec<(String, String)>, u8) {
        let (found, unchecked, code) = self.report();
        assert_eq!(unchecked, json!([]));
        (found, code)
    }

    pub fn report(&self) -> (Vec<(String, String)>, Value, u8) {
        let answer = self.check(&["--json"]);
        let text = String::from_utf8(answer.output).unwrap();
        let report: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert!(!text.contains("secret\\n") && !text.contains("hunter2"), "{text}");
        let findings = report["findings"].as_array().unwrap().iter().map(|finding| {
            let part = |key: &str| finding[key].as_str().unwrap().to_owned();
            assert!(!part("remedy").is_empty() && part("sentence").len() > 10, "{finding}");
            (part("code"), part("place").replace(self.dir.path().to_str().unwrap(), "@"))
        });
        (findings.collect(), report["unchecked"].clone(), answer.code)
    }
}
