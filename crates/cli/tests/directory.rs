//! The plugin asks the site's directory through the command.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

use irods_omero_config::Config;
use irods_omero_config::identity::Source;
use irods_omero_config::identity::ldap::{Directory, Trouble};
use irods_omero_model::names::IrodsUser;
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

const COMMAND: &str = env!("CARGO_BIN_EXE_irods-omero");

/// A directory as the configuration describes it.
fn directory(port: u16, command: &str) -> Directory {
    let stanza = json!({"users": {"ldap": {
        "url": format!("ldap://127.0.0.1:{port}"), "base": "dc=x", "filter": "(uid={user})", "zones": ["z"],
        "user_attribute": "uid", "group_attribute": "ou", "timeout_in_seconds": 5, "command": command}}});
    let config = Config::parse(&stanza).unwrap();
    let found = config.identities.sources.into_iter().find_map(|source| match source {
        Source::Ldap(directory) => Some(*directory),
        _ => None,
    });
    found.unwrap()
}

/// A value of BER.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag, u8::try_from(content.len()).unwrap()], content].concat()
}

fn attribute(name: &str, value: &str) -> Vec<u8> {
    tlv(0x30, &[tlv(0x04, name.as_bytes()), tlv(0x31, &tlv(0x04, value.as_bytes()))].concat())
}

/// A server that answers one search with one entry, whatever is searched for.
fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1_000]);
        let number = tlv(0x02, &[1]);
        let attributes = tlv(0x30, &[attribute("uid", "a.smith"), attribute("ou", "Lab 1")].concat());
        let entry = tlv(0x64, &[tlv(0x04, b"uid=alice,dc=x"), attributes].concat());
        let done = tlv(0x65, &[tlv(0x0a, &[0]), tlv(0x04, b""), tlv(0x04, b"")].concat());
        for message in [entry, done] {
            stream.write_all(&tlv(0x30, &[number.clone(), message].concat())).unwrap();
        }
        let _ = stream.read(&mut [0; 1_000]);
    });
    port
}

fn alice() -> IrodsUser {
    IrodsUser::parse("alice#z").unwrap()
}

#[test]
fn the_entry_comes_back_through_the_command() {
    let entry = directory(server(), COMMAND).look_up(&alice()).unwrap().unwrap();
    assert_eq!((entry.dn.as_str(), entry.user.as_str()), ("uid=alice,dc=x", "a.smith"));
    assert_eq!(entry.group.unwrap().as_str(), "Lab 1");
}

#[test]
fn a_directory_or_a_command_that_is_not_there_will_pass_and_says_what_to_do() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (command, part) in [
        (COMMAND, "ldap://127.0.0.1"),
        ("/nonexistent/irods-omero", "users/ldap/command"),
        ("/bin/echo", "version"),
        ("/bin/false", "users/ldap/command"),
    ] {
        let told = directory(closed, command).look_up(&alice()).unwrap_err();
        let Trouble::WillPass(why) = told else { panic!("{told:?}") };
        assert!(why.contains("the LDAP directory cannot be asked") && why.contains(part), "{why}");
    }
}

#[test]
fn what_is_no_question_is_refused() {
    for question in [
        "",
        "{}",
        r#"{"user": "alice"}"#,
        r#"{"user": "alice#z"}"#,
        r#"{"user": "alice#z", "ldap": {"url": 5}}"#,
    ] {
        let mut child = Command::new(COMMAND)
            .arg("directory")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(question.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{question}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{question}");
    }
}
