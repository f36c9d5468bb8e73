//! `omero-stanza` puts the plugin into an iRODS server's configuration and takes it out, and nothing else changes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

struct Server {
    dir: tempfile::TempDir,
}

impl Server {
    fn with(text: &str) -> Self {
        let server = Self { dir: tempfile::tempdir().unwrap() };
        fs::write(server.config(), text).unwrap();
        fs::set_permissions(server.config(), fs::Permissions::from_mode(0o640)).unwrap();
        server
    }

    fn usual() -> Self {
        Self::with(&usual().to_string())
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("server_config.json")
    }

    fn run(&self, words: &[&str]) -> Output {
        let script = support::root().join("packaging/omero-stanza");
        Command::new("python3").arg(script).args(words).arg("--config").arg(self.config()).output().unwrap()
    }

    fn does(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn refuses(&self, words: &[&str]) -> String {
        let before = fs::read(self.config()).unwrap();
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert_eq!(fs::read(self.config()).unwrap(), before, "{words:?} changed the file");
        String::from_utf8(output.stderr).unwrap()
    }

    fn file(&self, name: &str, value: &Value) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, value.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn read(&self) -> Value {
        serde_json::from_slice(&fs::read(self.config()).unwrap()).unwrap()
    }

    fn backups(&self) -> usize {
        let names = fs::read_dir(self.dir.path()).unwrap().map(|e| e.unwrap().file_name());
        names.filter(|n| n.to_string_lossy().contains(".before-omero-")).count()
    }
}

fn usual() -> Value {
    json!({"zone_name": "tempZone", "advanced_settings": {"x": 1.5, "ü": null}, "plugin_configuration": {"rule_engines": [
        {"instance_name": "native", "plugin_name": "irods_rule_engine_plugin-irods_rule_language"}]}})
}

fn stanza(specific: &Value) -> Value {
    json!({"instance_name": "irods_rule_engine_plugin-omero-instance",
        "plugin_name": "irods_rule_engine_plugin-omero", "plugin_specific_configuration": specific})
}

#[test]
fn the_stanza_is_inserted_once_before_all_others_and_removed_without_a_trace() {
    let server = Server::usual();
    assert!(server.does(&["insert", "--dry-run"]).contains("would have inserted"));
    assert_eq!((server.read(), server.backups()), (usual(), 0));
    assert_eq!(server.run(&["check"]).status.code(), Some(1));

    server.does(&["insert"]);
    let mut expected = usual();
    expected["plugin_configuration"]["rule_engines"].as_array_mut().unwrap().insert(0, stanza(&json!({})));
    assert_eq!(server.read(), expected);
    assert_eq!(fs::metadata(server.config()).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(server.does(&["insert"]).contains("nothing to do"));
    assert_eq!(server.backups(), 1);
    server.does(&["check"]);

    server.does(&["remove"]);
    assert_eq!(server.read(), usual());
    assert!(server.does(&["remove"]).contains("nothing to do"));
    assert_eq!(server.backups(), 2);
}

#[test]
fn another_stanza_is_replaced_only_when_asked() {
    let server = Server::usual();
    let new = server.file("new.json", &stanza(&json!({"watch": []})));
    server.does(&["insert"]);
    assert!(server.refuses(&["insert", &new]).contains("use --replace"));
    assert!(server.does(&["insert", &new, "--replace"]).contains("replaced"));
    assert_eq!(server.read()["plugin_configuration"]["rule_engines"][0], stanza(&json!({"watch": []})));
    assert_eq!(server.read()["plugin_configuration"]["rule_engines"].as_array().unwrap().len(), 2);
}

#[test]
fn what_is_wrong_is_named_and_nothing_is_written() {
    for (text, says) in [
        ("{", "is not JSON: line 1"),
        ("[]", "has no list /plugin_configuration/rule_engines"),
        (r#"{"plugin_configuration":{"rule_engines":[1]}}"#, "rule_engines/0 is not an object"),
        (r#"{"a":1,"a":2,"plugin_configuration":{"rule_engines":[]}}"#, "the key 'a' stands twice"),
    ] {
        let said = Server::with(text).refuses(&["insert"]);
        assert!(said.contains(says), "{text}: {said}");
    }
    let server = Server::usual();
    for (bad, says) in [
        (json!([]), "is not an object"),
        (json!({"instance_name": "x"}), "/plugin_name: is missing"),
        (json!({"instance_name": "x", "plugin_name": "y", "plugin_specific_configuration": {}}), "must be"),
        (
            json!({"instance_name": "native", "plugin_name": "irods_rule_engine_plugin-omero",
            "plugin_specific_configuration": {}}),
            "choose another instance_name",
        ),
    ] {
        let path = server.file("bad.json", &bad);
        let said = server.refuses(&["insert", &path]);
        assert!(said.contains(says), "{bad}: {said}");
    }
    let missing = server.refuses(&["insert", "/nothing/here.json"]);
    assert!(missing.contains("cannot be read"), "{missing}");
}
