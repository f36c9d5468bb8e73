//! A server of another version than the plugin was built for is told so, and nothing of it is touched.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

fn compile(words: &[&str], from: &Path, to: &Path) {
    let output = Command::new("cc").args(words).arg(from).args(["-ldl", "-o"]).arg(to).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What the plugin says to a server whose library has this name, loaded with nothing but a log to write to.
fn said_to(library: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.c");
    fs::write(&empty, "").unwrap();
    let server = dir.path().join(library);
    compile(&["-shared"], &empty, &server);
    let host = dir.path().join("host");
    compile(&["-Wall", "-Wextra", "-rdynamic"], &support::root().join("tests/version/host.c"), &host);
    let output = Command::new(&host).arg(support::library()).env("LD_PRELOAD", &server).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_server_of_another_version_is_refused_before_its_data_is_touched() {
    for (library, version) in [
        ("libirods_server.so.4.3.5", "4.3.5"),
        ("libirods_common.so.5.0.1", "5.0.1"),
        ("libirods_server.so.6", "6"),
    ] {
        let said = said_to(library);
        let built_for = irods_rule_engine_plugin_omero::BUILT_FOR;
        assert!(said.contains(&format!("this plugin was built for iRODS {built_for} and")), "{said}");
        assert!(said.contains(&format!("the server is iRODS {version}: install the package")), "{said}");
        assert!(said.ends_with("made: nothing\n"), "{said}");
    }
}

#[test]
fn a_library_that_is_not_loaded_tells_its_version_too() {
    use irods_omero_model::BUILT_FOR_MARK;
    use irods_rule_engine_plugin_omero::BUILT_FOR;

    let mark = format!("{BUILT_FOR_MARK}{BUILT_FOR}\n");
    let library = fs::read(support::library()).unwrap();
    assert!(library.windows(mark.len()).any(|window| window == mark.as_bytes()));
}
