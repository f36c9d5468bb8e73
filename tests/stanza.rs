//! `omero-stanza` puts the plugin into an iRODS server's configuration and takes it out, and nothing else changes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
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

    /// The backups, the oldest first.
    fn backups(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(self.dir.path()).unwrap().map(|e| e.unwrap().path());
        let mut ours: Vec<PathBuf> = all.filter(|p| p.to_string_lossy().contains(".before-omero-")).collect();
        ours.sort();
        ours
    }

    /// The names in the directory that are neither the configuration nor a backup.
    fn leftovers(&self) -> usize {
        fs::read_dir(self.dir.path()).unwrap().count() - 1 - self.backups().len()
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
    assert_eq!((server.read(), server.backups().len()), (usual(), 0));
    assert_eq!(server.run(&["check"]).status.code(), Some(1));

    server.does(&["insert"]);
    let mut expected = usual();
    expected["plugin_configuration"]["rule_engines"].as_array_mut().unwrap().insert(0, stanza(&json!({})));
    assert_eq!(server.read(), expected);
    assert_eq!(fs::metadata(server.config()).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(server.does(&["insert"]).contains("nothing to do"));
    assert_eq!(server.backups().len(), 1);
    server.does(&["check"]);

    server.does(&["remove"]);
    assert_eq!(server.read(), usual());
    assert!(server.does(&["remove"]).contains("nothing to do"));
    assert_eq!(server.backups().len(), 2);
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

#[test]
fn the_words_may_stand_in_any_order() {
    for words in
        [["insert", "--replace", "FILE"], ["insert", "FILE", "--replace"], ["--replace", "insert", "FILE"]]
    {
        let server = Server::usual();
        server.does(&["insert"]);
        let new = server.file("new.json", &stanza(&json!({"watch": []})));
        let said = server.does(&words.map(|w| if w == "FILE" { new.as_str() } else { w }));
        assert!(said.contains("replaced"), "{words:?}: {said}");
        assert_eq!(server.read()["plugin_configuration"]["rule_engines"][0], stanza(&json!({"watch": []})));
    }
}

#[test]
fn the_newest_backups_are_kept_and_nobody_else_reads_them() {
    let server = Server::usual();
    // Whoever keeps a copy under a like name keeps it.
    let copies =
        ["server_config.json.before-omero-upgrade", "other.json.before-omero-20260101T000000.000000"];
    for copy in copies {
        fs::write(server.dir.path().join(copy), "mine").unwrap();
    }
    let backups = || {
        let ours = |p: &PathBuf| !copies.contains(&p.file_name().unwrap().to_str().unwrap());
        server.backups().into_iter().filter(ours).collect::<Vec<_>>()
    };
    for _ in 0..4 {
        server.does(&["insert"]);
        server.does(&["remove"]);
    }
    assert_eq!(backups().len(), 5);
    for backup in backups() {
        assert_eq!(
            fs::metadata(&backup).unwrap().permissions().mode() & 0o777,
            0o600,
            "{}",
            backup.display()
        );
    }
    // The last was made before the last removal.
    let last: Value = serde_json::from_slice(&fs::read(backups().pop().unwrap()).unwrap()).unwrap();
    assert_eq!(last["plugin_configuration"]["rule_engines"][0], stanza(&json!({})));
    assert!(copies.iter().all(|c| server.dir.path().join(c).exists()));
    assert_eq!(server.leftovers(), 0);
}

/// Whoever may write the directory of the configuration must not have root write, or give away, another file.
#[test]
fn a_link_in_place_of_the_configuration_is_not_followed() {
    let server = Server::usual();
    let elsewhere = server.dir.path().join("elsewhere.json");
    fs::rename(server.config(), &elsewhere).unwrap();
    symlink(&elsewhere, server.config()).unwrap();
    let said = server.refuses(&["insert"]);
    assert!(said.contains("is a link") && said.contains("--config"), "{said}");
    assert_eq!(serde_json::from_slice::<Value>(&fs::read(&elsewhere).unwrap()).unwrap(), usual());
    assert!(server.backups().is_empty());

    // A link where the new file is about to be made is replaced, not written through.
    let server = Server::usual();
    let victim = server.dir.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    let planted = format!(
        "import os, sys; sys.argv = ['omero-stanza', 'insert', '--config', {0:?}]; \
         os.symlink({1:?}, os.path.join(os.path.dirname({0:?}), '.server_config.json.%d.new' % os.getpid())); \
         exec(compile(open({2:?}).read(), 'omero-stanza', 'exec'))",
        server.config(),
        victim,
        support::root().join("packaging/omero-stanza")
    );
    let output = Command::new("python3").args(["-c", &planted]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("inserted"), "{output:?}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    assert!(!fs::symlink_metadata(server.config()).unwrap().is_symlink());
    assert_eq!(server.read()["plugin_configuration"]["rule_engines"][0], stanza(&json!({})));
}

/// A link to a directory is followed only where nobody else can have put it.
#[test]
fn a_directory_on_the_way_is_followed_only_where_it_was_put_by_whom_is_trusted() {
    let server = Server::usual();
    let open = server.dir.path().join("open");
    fs::create_dir(&open).unwrap();
    let link = open.join("etc");
    symlink(server.dir.path(), &link).unwrap();
    let run = || {
        Command::new("python3")
            .arg(support::root().join("packaging/omero-stanza"))
            .args(["check", "--config"])
            .arg(link.join("server_config.json"))
            .output()
            .unwrap()
    };
    assert_eq!(run().status.code(), Some(1), "nobody else can write there: the stanza is looked for");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let refused = run();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another account"), "{refused:?}");
}
