//! The configurations that are shown and shipped are configurations.

#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on has failed

use irods_omero_agent::config::{Config, Listen};
use std::fs;
use std::path::Path;

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

fn parsed(text: &str) -> Config {
    Config::parse(text).unwrap_or_else(|problems| panic!("{problems:?}"))
}

#[test]
fn the_worked_example_is_valid() {
    let document = text("docs/agent.md");
    let example = document.split_once("```toml\n").unwrap().1.split_once("\n```").unwrap().0;
    let config = parsed(example);
    assert!(matches!(config.listen, Listen::Tcp(_)) && config.certificates.len() == 1);
    assert!(config.users.check("alice").is_ok() && config.users.check("boss").is_err());
}

#[test]
fn what_is_installed_is_valid_where_the_service_has_its_credential() {
    let installed = text("packaging/irods-omero-agent.toml");
    let with_file = installed.replace("credential = \"omero\"", "password_file = \"/run/password\"");
    assert_ne!(installed, with_file);
    let config = parsed(&with_file);
    let service = text("packaging/irods-omero-agent.service");
    assert!(service.contains("LoadCredential=omero:") && service.contains("StateDirectory=irods-omero"));
    assert_eq!(config.state_directory, Path::new("/var/lib/irods-omero"));
    assert_eq!(config.listen, Listen::Unix("/run/irods-omero/agent.sock".into()));
}
