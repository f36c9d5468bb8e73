//! What a configuration points at on this host is looked at when the plugin is set up.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

use irods_omero_config::Config;
use irods_omero_importer::installation;
use irods_omero_model::form::Problem;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn problems(config: &Config) -> Vec<Problem> {
    installation::problems(config.omero.as_ref(), config.agents.as_ref())
}

/// A configuration whose files are in a directory of their own.
fn config(dir: &Path) -> Config {
    let at = |name: &str| dir.join(name).display().to_string();
    let stanza = json!({
        "watch": ["/tempZone/home"], "users": {}, "visibility": {"vaults": [{"prefix": "/vault"}]},
        "omero": {"server": "localhost", "sudo_user": "importer", "password_file": at("password")},
        "importer": {"command": at("omero"), "jars": at("jars"), "logback": at("logback.xml"),
            "work_directory": at("work/of/ours")},
    });
    Config::parse(&stanza).unwrap()
}

fn put(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn each_thing_that_is_missing_is_named_with_its_place_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("jars")).unwrap();
    put(&dir.path().join("work"), "", 0o600);
    let found = problems(&config(dir.path()));
    let pointers: Vec<&str> = found.iter().map(|p| p.pointer.as_str()).collect();
    let expected = [
        "/omero/password_file",
        "/importer/command",
        "/importer/jars",
        "/importer/logback",
        "/importer/work_directory",
    ];
    assert_eq!(pointers, expected);
    for (problem, part) in
        found.iter().zip(["mode 0600", "may run", "no .jar", "install it", "not a directory"])
    {
        assert!(problem.message.contains(part), "{problem}");
        assert!(problem.message.contains(dir.path().to_str().unwrap()), "{problem}");
    }
}

#[test]
fn a_secret_that_others_can_read_is_named_and_what_is_in_order_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    put(&at("password"), "hunter2\n", 0o644);
    put(&at("omero"), "#!/usr/bin/python3\n", 0o755);
    put(&at("logback.xml"), "<configuration/>", 0o644);
    fs::create_dir(at("jars")).unwrap();
    put(&at("jars/importer.jar"), "", 0o644);
    let found = problems(&config(dir.path()));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].message.contains("chmod 0600") && !found[0].message.contains("hunter2"), "{}", found[0]);
    fs::set_permissions(at("password"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(problems(&config(dir.path())), []);
}

#[test]
fn tokens_and_certificates_of_agents_are_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    put(&dir.path().join("ca.pem"), "no certificate", 0o644);
    let stanza = json!({
        "watch": ["/tempZone/home"], "users": {}, "visibility": {"vaults": [{"prefix": "/vault"}]},
        "importer": {"mode": "agent", "agents": [
            {"name": "a", "url": "unix:/run/a.sock"},
            {"name": "b", "url": "https://o:4443", "token_file": at("token"), "ca_file": at("ca.pem"),
                "cert_file": at("c.pem"), "key_file": at("k.pem")}]},
    });
    let found = problems(&Config::parse(&stanza).unwrap());
    let pointers: Vec<&str> = found.iter().map(|p| p.pointer.as_str()).collect();
    let b = |key: &str| format!("/importer/agents/1/{key}");
    assert_eq!(pointers, [b("token_file"), b("ca_file"), b("cert_file")], "{found:?}");
}
