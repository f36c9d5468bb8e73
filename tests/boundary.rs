//! The C boundary, called from C: the real library, a host table written in C, every pointer that may be null.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use std::fs;
use std::process::Command;

/// A C file that defines every function the library expects of the server, so that it can be loaded without one.
/// None of them may be called: the C test passes its own host table.
fn stubs(undefined: &str) -> String {
    undefined
        .lines()
        .filter_map(|line| line.trim().strip_prefix("U "))
        .filter(|symbol| !symbol.contains('@'))
        .enumerate()
        .map(|(i, symbol)| {
            format!("void abort(void); void stub_{i}(void) __asm__(\"{symbol}\"); void stub_{i}(void) {{ abort(); }}\n")
        })
        .collect::<Vec<_>>()
        .concat()
}

fn engine(stanza: &str) -> String {
    format!(
        r#"{{"zone_name": "tempZone", "zone_user": "rods", "plugin_configuration": {{"rule_engines": [{{"instance_name": "omero-instance",
            "plugin_name": "irods_rule_engine_plugin-omero", "plugin_specific_configuration": {stanza}}}]}}}}"#
    )
}

/// Whatever the server throws into a call of ours ends there: the bench's harness plays a server of which every
/// function throws.
#[test]
fn no_exception_of_the_server_passes_through_the_plugin() {
    let dir = tempfile::tempdir().unwrap();
    let harness = dir.path().join("harness");
    let built = Command::new(std::env::var_os("CXX").unwrap_or_else(|| "c++".into()))
        .args(["-std=c++17", "-rdynamic", "-I"])
        .arg(support::root().join("include"))
        .arg("-I")
        .arg(support::root().join("include/irods_abi"))
        .arg(support::root().join("benches/harness.cpp"))
        .args(["-ldl", "-o"])
        .arg(&harness)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let stanza = r#"{"watch": ["/tempZone/home"], "users": {"same_name": ["tempZone"]},
        "visibility": {"vaults": [{"prefix": "/vault"}]},
        "omero": {"server": "localhost", "sudo_user": "importer", "password_file": "/nonexistent"},
        "importer": {"command": "/nonexistent", "jars": "/nonexistent", "logback": "/nonexistent"}}"#;
    fs::write(dir.path().join("server_config.json"), engine(stanza)).unwrap();
    let run = Command::new(&harness)
        .arg(support::library())
        .arg(dir.path())
        .args(["exceptions", "3"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{}: {said}", run.status);
}

#[test]
fn the_boundary_holds_for_every_pointer_and_answer() {
    let dir = tempfile::tempdir().unwrap();
    let library = support::library();
    let nm = Command::new("nm").args(["-D", "--undefined-only"]).arg(&library).output().unwrap();
    let server_stubs = dir.path().join("stubs.c");
    fs::write(&server_stubs, stubs(&String::from_utf8_lossy(&nm.stdout))).unwrap();
    let program = dir.path().join("boundary_test");
    let built = Command::new("cc")
        .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-rdynamic", "-I"])
        .arg(support::root().join("include"))
        .arg(support::root().join("tests/boundary/boundary_test.c"))
        .arg(&server_stubs)
        .args(["-ldl", "-o"])
        .arg(&program)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));

    let config = |name: &str, text: Option<&str>| {
        let path = dir.path().join(name);
        fs::create_dir(&path).unwrap();
        if let Some(text) = text {
            fs::write(path.join("server_config.json"), text).unwrap();
        }
        path
    };
    let good = r#"{"watch": ["/tempZone/home"], "users": {"same_name": ["tempZone"]},
        "visibility": {"vaults": [{"prefix": "/vault"}]},
        "omero": {"server": "localhost", "sudo_user": "importer", "password_file": "/nonexistent"},
        "importer": {"mode": "command", "command": "/nonexistent", "jars": "/opt/omero/jars", "logback": "/opt/omero/logback.xml"}}"#;
    let run = Command::new(&program)
        .arg(&library)
        .arg(config("missing", None))
        .arg(config(
            "broken",
            Some(&engine(r#"{"watch": 5, "quiet": 1, "attributes": {"state": "lab::state"}}"#)),
        ))
        .arg(config("good", Some(&engine(good))))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{}: {said}", run.status);
    assert!(String::from_utf8_lossy(&run.stdout).contains("checks"));
}
