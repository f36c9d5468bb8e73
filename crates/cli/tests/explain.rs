//! `irods-omero explain` says what the plugin would do, and what cannot be known without the catalog.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod line;

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// The facility of `docs/paths.md`, with a table and a network that must not be needed.
fn facility() -> Value {
    json!({
        "watch": [{"collection": "/tempZone/home/*/microscopy", "quiet_period_in_seconds": 7, "exclude": ["*_mip.tif"],
                   "target": "Project:name:{collection[0]}/Dataset:name:{collection[-1]}"},
                  {"collection": "/tempZone/scopes", "target": "Dataset:name:{avu:project}",
                   "plate_target": "Screen:name:{omero_user}"}],
        "users": {
            "table": {"alice#tempZone": {"user": "a.smith", "group": "lab1"}},
            "ldap": {"url": "ldaps://192.0.2.1", "base": "dc=example", "filter": "(uid={user})", "zones": ["tempZone"],
                     "user_attribute": "uid"},
            "on_behalf_of": [{"account": "scope#tempZone", "from": "path", "below": "/tempZone/scopes",
                              "zone": "tempZone"}]},
        "visibility": {"vaults": [{"prefix": "/vault", "importer_prefix": "/mnt/vault", "resource": "scopes"}],
                       "mounts": [{"zone_prefix": "/tempZone/home", "mount": "/mnt/nfs"}], "stage_to": "scopes"},
        "omero": {"server": "omero.example.org", "sudo_user": "importer", "password_file": "/etc/irods/p"},
        "importer": {"command": "/opt/omero", "jars": "/opt/omero/jars", "logback": "/opt/omero/logback.xml"},
    })
}

/// Root has the configuration read by another account.
fn readable_directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn told(config: &Value, words: &[&str]) -> Value {
    let dir = readable_directory();
    let path = dir.path().join("server_config.json");
    let engines = json!([{"instance_name": "i", "plugin_name": "irods_rule_engine_plugin-omero",
                          "plugin_specific_configuration": config}]);
    fs::write(&path, json!({"plugin_configuration": {"rule_engines": engines}}).to_string()).unwrap();
    let line = [&["explain", "--json", "--config", path.to_str().unwrap()], words].concat();
    serde_json::from_str(&line::text(&line)).unwrap()
}

fn of(told: &Value, part: &str) -> String {
    let sentences = told[part].as_array().unwrap_or_else(|| panic!("no {part} in {told:#}"));
    sentences.iter().map(|s| s.as_str().unwrap()).collect::<Vec<_>>().join("; ")
}

#[test]
fn a_watched_path_is_followed_to_its_target() {
    let path = "/tempZone/home/alice/microscopy/day 1/run1/a.tif";
    let told = told(&facility(), &["--user", "alice#tempZone", "--path", path]);
    assert_eq!(of(&told, "looked at"), "/tempZone/home/alice/microscopy/day 1/run1");
    let watched = of(&told, "watched");
    assert!(
        watched.contains("'/tempZone/home/*/microscopy', which fits /tempZone/home/alice/microscopy"),
        "{watched}"
    );
    assert!(watched.contains("7 s"), "{watched}");
    assert!(of(&told, "data").contains("that of data"));
    let identity = of(&told, "identity");
    assert!(identity.ends_with("imports run as the OMERO user 'a.smith' in the group 'lab1'"), "{identity}");
    assert_eq!(of(&told, "target"), "Project:name:day 1/Dataset:name:run1");
    let visible = of(&told, "visible");
    assert!(visible.contains("on the resource scopes at /vault/home/alice/microscopy/day 1/run1/a.tif is /mnt/vault/home/alice/"), "{visible}");
    assert!(visible.contains("through the mount: /mnt/nfs/alice/microscopy/day 1/run1/a.tif"), "{visible}");
    assert!(visible.ends_with("copied to the resource scopes first"), "{visible}");
    let unknown = of(&told, "unknown");
    assert!(
        unknown.contains("'avu' is asked before") && unknown.contains("'ldap' is asked if no other"),
        "{unknown}"
    );
    assert!(
        unknown.contains(r#"{"operation":"who""#) && unknown.contains("irods::omero::import"),
        "{unknown}"
    );
}

#[test]
fn what_only_the_catalog_knows_is_said_to_be_unknown() {
    let words =
        ["--user", "scope#tempZone", "--path", "/tempZone/scopes/dora/run1/a.tif", "--event", "register"];
    let told = told(&facility(), &words);
    let identity = of(&told, "identity");
    assert!(
        identity.contains("names dora#tempZone") && identity.contains("by the configuration alone nobody"),
        "{identity}"
    );
    assert_eq!(of(&told, "target"), "'Dataset:name:{avu:project}', with AVUs of the collection");
    assert_eq!(of(&told, "plates"), "Screen:name:(unknown)");
    let unknown = of(&told, "unknown");
    assert!(unknown.contains("the AVU project of the collection"), "{unknown}");
    assert!(unknown.contains("whether dora#tempZone is a user of the catalog"), "{unknown}");
}

#[test]
fn what_is_not_watched_or_no_data_is_said_so() {
    let ask = |path: &str, event: &str| {
        told(&facility(), &["--user", "alice#tempZone", "--path", path, "--event", event])
    };
    assert!(of(&ask("/tempZone/home/alice/other/a.tif", "put"), "watched").starts_with("no: no watch"));
    assert!(
        of(&ask("/tempZone/trash/home/alice/a.tif", "put"), "watched")
            .starts_with("no: collections in the trash")
    );
    let microscopy = "/tempZone/home/alice/microscopy";
    assert!(
        of(&ask(&format!("{microscopy}/a_mip.tif"), "put"), "data").starts_with("no: files of such a name")
    );
    assert!(
        of(&ask(&format!("{microscopy}/x.zarr/0/0"), "put"), "data")
            .contains("microscopy/x.zarr, which is one image")
    );
    assert!(of(&ask(microscopy, "bulk-put"), "looked at").contains("with all below it"));
}

#[test]
fn a_configuration_that_is_wrong_is_not_explained() {
    let dir = readable_directory();
    let path = dir.path().join("server_config.json");
    fs::write(&path, "{").unwrap();
    let words = ["explain", "--user", "a#z", "--path", "/z/a", "--config", path.to_str().unwrap()];
    let answer = line::ask(&words);
    assert!(answer.code == 2 && answer.complaint.contains("irods-omero check"), "{answer:?}");
}

#[test]
fn the_command_tells_its_version_its_completions_and_its_manual() {
    let version = line::text(&["version"]);
    assert!(version.contains(env!("CARGO_PKG_VERSION")) && version.contains("iRODS 5.0.2"), "{version}");
    let version: Value = serde_json::from_str(&line::text(&["version", "--json"])).unwrap();
    assert_eq!(version["irods"], "5.0.2");
    for shell in ["bash", "zsh", "fish"] {
        let text = line::text(&["completions", shell]);
        assert!(text.contains("explain") && text.contains("check"), "{shell}");
    }
    assert!(line::text(&["man"]).contains(".TH irods-omero 1"));
    let dir = tempfile::tempdir().unwrap();
    line::text(&["man", "--directory", dir.path().to_str().unwrap()]);
    assert!(dir.path().join("irods-omero-check.1").is_file() && dir.path().join("irods-omero.1").is_file());
}
