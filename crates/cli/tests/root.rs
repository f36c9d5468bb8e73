//! The agent does not run as root.

#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

use std::fs;
use std::process::Command;

#[test]
fn as_root_it_says_under_which_account_to_start_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("agent.toml");
    let text = format!(
        "listen = \"unix:{0}/socket\"\nstate_directory = \"{0}/no/state\"\nroots = [\"{0}\"]\n[users]\nallow = [\"alice\"]\n\
         [[omero]]\nserver = \"localhost\"\nsudo_user = \"importer\"\npassword_file = \"{0}/password\"\n\
         [omero.importer]\ncommand = \"/bin/false\"\njars = \"/j\"\nlogback = \"/l\"\n",
        dir.path().display()
    );
    fs::write(&config, text).unwrap();
    // Where the test itself is not root, the state directory cannot be made: it does not start either.
    if !rustix::process::geteuid().is_root() {
        fs::write(dir.path().join("no"), "").unwrap();
    }
    let output = Command::new(env!("CARGO_BIN_EXE_irods-omero"))
        .args(["agent", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let expected = if rustix::process::geteuid().is_root() { "never runs as root" } else { "cannot be made" };
    assert!(!output.status.success() && said.contains(expected), "{said}");
}
