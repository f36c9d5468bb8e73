//! Nothing of a configuration reaches a process of root: `irods-omero check` and `explain`, run by root, become the
//! service account first. Run by another account, the tests hold as well, for less.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod site;

use serde_json::{Value, json};
use site::{STANZA, Site, line};
use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::process::Command;

/// Programs that a check might start, planted in a directory of the service account.
const PLANTED: &[&str] = &[
    "env",
    "id",
    "irods-omero",
    "ld.so",
    "nsenter",
    "python3",
    "setpriv",
    "sh",
    "su",
    "sudo",
    "test",
    "timeout",
];

/// The accounts that a file of the site tells of, one a line.
fn accounts(site: &Site, name: &str) -> Vec<u32> {
    let text = fs::read_to_string(site.path(name)).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn service(site: &Site) -> u32 {
    if site.as_root { 65_534 } else { rustix::process::geteuid().as_raw() }
}

/// A library that notes each account into whose process it is loaded.
fn library(site: &Site) {
    let log = site.text("loaded");
    site.file("loaded", "", 0o666);
    site.file(
        "planted.c",
        &format!(
            "#include <fcntl.h>\n#include <stdio.h>\n#include <unistd.h>\n\
             __attribute__((constructor)) static void loaded(void) {{\n\
             int log = open(\"{log}\", O_WRONLY | O_APPEND);\n\
             dprintf(log, \"%u\\n\", (unsigned) geteuid());\nclose(log);\n}}\n"
        ),
        0o644,
    );
    let mut compile = Command::new("c++");
    compile
        .args(["-x", "c", "-shared", "-fPIC", "-o"])
        .arg(site.path("planted.so"))
        .arg(site.path("planted.c"));
    assert!(compile.status().unwrap().success());
    site.mode("planted.so", 0o755);
}

#[test]
fn the_environment_of_the_configuration_reaches_no_process_of_root() {
    let mut site = Site::new();
    library(&site);
    site.file("ran", "", 0o666);
    fs::create_dir(site.path("bin")).unwrap();
    for name in PLANTED {
        let script = format!(
            "#!/bin/sh\n/usr/bin/id -u >>{}\nPATH=/usr/bin:/bin exec {name} \"$@\"\n",
            site.text("ran")
        );
        site.file(&format!("bin/{name}"), &script, 0o755);
    }
    let (bin, planted) = (site.text("bin"), site.text("planted.so"));
    site.stanza()["importer"]["environment"] = json!({
        "PATH": format!("{bin}:/usr/bin:/bin"), "LD_PRELOAD": planted, "LD_AUDIT": planted,
        "LD_LIBRARY_PATH": bin, "PYTHONPATH": bin, "PYTHONHOME": "/usr", "PYTHONSTARTUP": planted,
        "JAVA_TOOL_OPTIONS": format!("-agentpath:{planted}"), "GCONV_PATH": bin, "BASH_ENV": planted,
        "ENV": planted, "LOCPATH": bin, "NLSPATH": bin, "MALLOC_TRACE": planted, "TMPDIR": bin});
    let refused = |name| ("key-wrong".to_owned(), format!("{STANZA}/importer/environment/{name}"));
    assert_eq!(site.found(), (vec![refused("LD_PRELOAD")], 1));
    let ran = accounts(&site, "ran");
    assert!(!ran.is_empty(), "the environment is that of the command");
    for account in ran.into_iter().chain(accounts(&site, "loaded")) {
        assert_eq!(account, service(&site));
    }
}

#[test]
fn the_command_gets_nothing_of_roots_environment_terminal_or_groups() {
    let site = Site::new();
    site.file("told", "", 0o666);
    let script = format!(
        "#!/bin/sh\n{{ env; echo stdin=$(readlink /proc/$$/fd/0); echo session=$(cut -d' ' -f6 /proc/$$/stat)\n\
         grep -e ^Uid -e ^Gid -e ^Groups -e ^Cap /proc/$$/status; ls /proc/$$/fd | tr '\\n' ' '; }} >>{}\necho 5.23.0\n",
        site.text("told")
    );
    site.file("omero", &script, 0o755);
    let session_of = |stat: &str| stat.split(' ').nth(5).unwrap().to_owned();
    let ours = session_of(&fs::read_to_string("/proc/self/stat").unwrap());
    let mut check = line::program();
    check.args(site.line(&["--json"])).env("AWS_SECRET_ACCESS_KEY", "hunter2").env("LD_DEBUG", "");
    let output = check.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    let told = fs::read_to_string(site.path("told")).unwrap();
    assert!(told.contains("stdin=/dev/null") && !told.contains("hunter2"), "{told}");
    if site.as_root {
        assert!(!told.contains(&format!("session={ours}\n")), "{told}");
        for line in told.lines().filter(|l| l.starts_with("Uid:") || l.starts_with("Gid:")) {
            assert!(line.split_whitespace().skip(1).all(|n| n == "65534"), "{told}");
        }
        for line in told
            .lines()
            .filter(|l| ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"].iter().any(|c| l.starts_with(c)))
        {
            assert!(line.ends_with("0000000000000000"), "{told}");
        }
        let groups = told.lines().find(|l| l.starts_with("Groups:")).unwrap();
        assert!(!groups.split_whitespace().any(|group| group == "0"), "{told}");
    }
}

#[test]
fn a_command_that_leaves_something_behind_does_not_hold_the_check() {
    let site = Site::new();
    site.file("omero", "#!/bin/sh\nsleep 3600 &\necho 5.23.0\n", 0o755);
    assert_eq!(site.found(), (Vec::new(), 0));
}

/// A key, and what is found where a pipe stands that nobody writes to.
const PIPES: &[(&str, &str, &str)] = &[
    ("omero.password", "secret-file", "~/omero/password_file"),
    ("ldap.password", "secret-file", "~/users/ldap/bind_password_file"),
    ("ca.pem", "file", "~/users/ldap/ca_file"),
    ("table.json", "table-file", "~/users/table_file"),
    ("logback.xml", "file", "~/importer/logback"),
    ("omero", "command", "~/importer/command"),
    ("server_config.json", "config-unreadable", "@/server_config.json"),
    (site::LIBRARY, "library", "@/lib/irods/plugins/rule_engines/libirods_rule_engine_plugin-omero.so"),
];

fn make_pipe(site: &Site, name: &str) {
    let path = site.path(name);
    let _ = fs::remove_file(&path);
    assert!(Command::new("mkfifo").args(["-m", "0600"]).arg(&path).status().unwrap().success());
    site.own(name, 0o600);
}

#[test]
fn a_pipe_in_the_place_of_a_file_is_not_waited_for() {
    for (name, code, place) in PIPES {
        let site = Site::new();
        make_pipe(&site, name);
        assert_eq!(site.found().0, [((*code).to_owned(), place.replace('~', STANZA))], "{name}");
    }
}

#[test]
fn a_link_to_what_only_root_can_read_tells_nothing_of_it() {
    for (name, code, place) in PIPES {
        let site = Site::new();
        if !site.as_root {
            return assert!(!rustix::process::geteuid().is_root());
        }
        let secret = site.path("roots");
        fs::write(&secret, r#"{"facility-secret#tempZone": "facility"}"#).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o700)).unwrap();
        let _ = fs::remove_file(site.path(name));
        symlink(&secret, site.path(name)).unwrap();
        let said = String::from_utf8(site.check(&["--json"]).output).unwrap();
        assert!(!said.contains("facility-secret"), "{name}: {said}");
        assert_eq!(site.found().0, [((*code).to_owned(), place.replace('~', STANZA))], "{name}");
    }
}

#[test]
fn a_file_of_a_terabyte_is_not_read() {
    for (name, code, place) in [
        ("server_config.json", "config-unreadable", "@/server_config.json"),
        ("logback.xml", "logback-stdout", "~/importer/logback"),
        ("table.json", "table-file", "~/users/table_file"),
        ("omero.password", "secret-file", "~/omero/password_file"),
    ] {
        let site = Site::new();
        let _ = fs::remove_file(site.path(name));
        let file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(site.path(name));
        file.unwrap().set_len(1 << 40).unwrap();
        site.own(name, 0o600);
        assert_eq!(site.found().0, [(code.to_owned(), place.replace('~', STANZA))], "{name}");
    }
}

#[test]
fn what_the_configuration_holds_does_not_drive_a_terminal() {
    let mut site = Site::new();
    site.stanza()["\u{1b}]0;planted\u{7}"] = Value::Null;
    site.engines()[1]["instance_name"] = json!("\u{9b}2J");
    site.engines()[0]["instance_name"] = json!("\u{9b}2J");
    for words in [&[][..], &["--json"]] {
        let said = String::from_utf8(site.check(words).output).unwrap();
        assert!(said.contains("]0;planted") && said.contains("2J"), "{said}");
        assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{said:?}");
    }
}

#[test]
fn where_the_account_is_not_known_only_the_text_is_looked_at() {
    let mut site = Site::new();
    site.stanza()["wacth"] = json!([]);
    fs::write(site.path("server_config.json"), site.config.to_string()).unwrap();
    let config = site.text("server_config.json");
    if !site.as_root {
        return assert_eq!(line::ask(&["check", "--config", &config]).code, 1);
    }
    let answer = line::ask(&["check", "--json", "--config", &config]);
    let report: Value = serde_json::from_slice(&answer.output).unwrap();
    assert_eq!(report["findings"].as_array().unwrap().len(), 1, "{report:#}");
    let why = report["unchecked"][0].as_str().unwrap();
    assert!(why.contains("belongs to root; name it with --account"), "{why}");
}

#[test]
fn a_draft_of_roots_own_is_read_where_no_other_account_can_read_it() {
    let mut site = Site::new();
    site.stanza()["wacth"] = json!([]);
    site.mode("", 0o700);
    site.file("server_config.json", &site.config.to_string(), 0o600);
    let config = site.text("server_config.json");
    if site.as_root {
        std::os::unix::fs::chown(site.path("server_config.json"), Some(0), Some(0)).unwrap();
    }
    let answer = line::ask(&["check", "--json", "--config", &config]);
    let report: Value = serde_json::from_slice(&answer.output).unwrap();
    assert_eq!((answer.code, report["findings"][0]["code"].as_str()), (1, Some("key-wrong")), "{report:#}");
    // Not where another account could have put it.
    site.own("", 0o700);
    let answer = line::ask(&["check", "--json", "--config", &config]);
    assert_eq!(answer.code, if site.as_root { 2 } else { 1 });
}

#[test]
fn nobody_is_asked_to_look_as_root() {
    let site = Site::new();
    fs::write(site.path("server_config.json"), site.config.to_string()).unwrap();
    let config = site.text("server_config.json");
    if !site.as_root {
        return assert_eq!(line::ask(&["check", "--config", &config, "--account", "root"]).code, 1);
    }
    let answer = line::ask(&["check", "--config", &config, "--account", "root"]);
    assert_eq!((answer.code, answer.output.len()), (2, 0));
    assert!(answer.complaint.contains("never used as root"), "{}", answer.complaint);
}
