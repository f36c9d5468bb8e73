//! `irods-omero check` finds exactly what is wrong with a server's configuration, and nothing where nothing is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod site;

use serde_json::json;
use site::{LIBRARY, STANZA, Site};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, SystemTime};

#[test]
fn where_everything_is_right_nothing_is_found() {
    let site = Site::new();
    assert_eq!(site.found(), (Vec::new(), 0));
    let said = String::from_utf8(site.check(&[]).output).unwrap();
    assert!(said.starts_with("0 errors, 0 warnings in /"), "{said}");
}

/// The demo's configuration as `script/demo` writes it.
#[test]
fn the_configuration_of_the_demo_is_right() {
    let mut site = Site::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../script/demo");
    let script = fs::read_to_string(script).unwrap();
    let between = |start: &str| script.split_once(start).unwrap().1.split_once("\nJSON\n").unwrap().0;
    let way_to_omero = between("else cat <<JSON\n");
    let text = between("server_config.json\" <<JSON\n").replace("$(way_to_omero)", way_to_omero);
    let demo = site.text("");
    let demo = demo.trim_end_matches('/');
    let text = text.replace("$demo/zone/Vault", "$demo/vault").replace("$demo", demo).replace("$built", demo);
    fs::rename(site.path("logback.xml"), site.path("logback-import.xml")).unwrap();
    site.config = serde_json::from_str(&text).unwrap();
    assert!(site.config.pointer(&format!("{STANZA}/importer/command")).is_some());
    assert_eq!(site.found(), (Vec::new(), 0));
}

type Break = fn(&mut Site);

/// One broken thing each: what is done, and code and place of what is to be found. `~` is the stanza, `@` the site.
const BROKEN: &[(&str, Break, &str, &str)] = &[
    ("no list of engines", |s| s.config = json!({}), "engines-missing", "/plugin_configuration/rule_engines"),
    (
        "engines are no list",
        |s| s.config["plugin_configuration"]["rule_engines"] = json!({}),
        "engines-missing",
        "/plugin_configuration/rule_engines",
    ),
    (
        "no stanza",
        |s| {
            s.engines().remove(0);
        },
        "stanza-missing",
        "/plugin_configuration/rule_engines",
    ),
    (
        "two stanzas",
        |s| {
            let twin = s.engines()[0].clone();
            s.engines().push(twin);
        },
        "stanza-twice",
        "/plugin_configuration/rule_engines/2",
    ),
    (
        "another has our instance name",
        |s| {
            s.engines()[1]["instance_name"] = json!("irods_rule_engine_plugin-omero-instance");
        },
        "instance-taken",
        "/plugin_configuration/rule_engines/0/instance_name",
    ),
    (
        "no instance name",
        |s| {
            s.engines()[0].as_object_mut().unwrap().remove("instance_name");
        },
        "stanza-wrong",
        "/plugin_configuration/rule_engines/0/instance_name",
    ),
    (
        "nothing specific",
        |s| {
            s.engines()[0].as_object_mut().unwrap().remove("plugin_specific_configuration");
        },
        "stanza-wrong",
        "~",
    ),
    ("specific is a list", |s| *s.stanza() = json!([]), "key-wrong", "~"),
    ("an unknown key", |s| s.stanza()["wacth"] = json!([]), "key-wrong", "~/wacth"),
    ("a number out of range", |s| s.stanza()["omero"]["port"] = json!(70_000), "key-wrong", "~/omero/port"),
    (
        "a password in the configuration",
        |s| s.stanza()["omero"]["password"] = json!("hunter2"),
        "key-wrong",
        "~/omero/password",
    ),
    (
        "no server",
        |s| {
            s.stanza()["omero"].as_object_mut().unwrap().remove("server");
        },
        "key-wrong",
        "~/omero/server",
    ),
    (
        "a relative path",
        |s| s.stanza()["importer"]["command"] = json!("omero"),
        "key-wrong",
        "~/importer/command",
    ),
    (
        "the root as a vault",
        |s| s.stanza()["visibility"]["vaults"][0]["prefix"] = json!("/"),
        "key-wrong",
        "~/visibility/vaults/0/prefix",
    ),
    (
        "an option that is not allowed",
        |s| s.stanza()["importer"]["options"] = json!(["-c"]),
        "key-wrong",
        "~/importer/options/0",
    ),
    (
        "a directory in the clear",
        |s| s.stanza()["users"]["ldap"]["url"] = json!("ldap://ldap.example.org"),
        "key-wrong",
        "~/users/ldap/bind_dn",
    ),
    (
        "a password others can read",
        |s| s.mode("omero.password", 0o640),
        "secret-file",
        "~/omero/password_file",
    ),
    ("an empty password", |s| s.file("omero.password", "\n", 0o600), "secret-file", "~/omero/password_file"),
    (
        "no password file",
        |s| fs::remove_file(s.path("omero.password")).unwrap(),
        "secret-file",
        "~/omero/password_file",
    ),
    (
        "a directory's password others can read",
        |s| s.mode("ldap.password", 0o604),
        "secret-file",
        "~/users/ldap/bind_password_file",
    ),
    ("no certificates", |s| fs::remove_file(s.path("ca.pem")).unwrap(), "file", "~/users/ldap/ca_file"),
    ("a table that is no JSON", |s| s.file("table.json", "{", 0o644), "table-file", "~/users/table_file"),
    ("a table anybody may write", |s| s.mode("table.json", 0o646), "table-file", "~/users/table_file"),
    (
        "a row for a denied account",
        |s| s.file("table.json", r#"{"eve#tempZone": "Facility"}"#, 0o644),
        "table-row",
        "@/table.json#/eve#tempZone",
    ),
    ("an empty jar", |s| s.file("jars/importer.jar", "", 0o644), "jar-file", "~/importer/jars"),
    (
        "a jar that cannot be read",
        |s| s.file("jars/model.jar", "PK\u{3}\u{4}", 0o000),
        "jar-file",
        "~/importer/jars",
    ),
    (
        "two versions of a jar",
        |s| {
            for name in ["jars/formats-gpl-6.7.0.jar", "jars/formats-gpl-7.3.1.jar"] {
                s.file(name, "PK\u{3}\u{4}", 0o644);
            }
        },
        "jars-mixed",
        "~/importer/jars",
    ),
    (
        "vaults of two resources below one prefix",
        |s| {
            fs::create_dir_all(s.path("vault/one/home"))
                .and(fs::create_dir_all(s.path("vault/two/home")))
                .unwrap()
        },
        "several-vaults",
        "~/visibility/vaults/1/prefix ~/visibility/vaults/0/importer_prefix",
    ),
    (
        "one vault twice",
        |s| {
            let twin = json!({"prefix": format!("{}/", s.text("vault"))});
            s.stanza()["visibility"]["vaults"].as_array_mut().unwrap().push(twin);
        },
        "prefix-unused",
        "~/visibility/vaults/1/prefix",
    ),
    (
        "a prefix that no path has",
        |s| s.stanza()["visibility"]["vaults"][0]["prefix"] = json!("/srv//elsewhere"),
        "prefix-unused",
        "~/visibility/vaults/0/prefix",
    ),
    (
        "one collection mounted twice",
        |s| {
            let twin = s.stanza()["visibility"]["mounts"][0].clone();
            s.stanza()["visibility"]["mounts"].as_array_mut().unwrap().push(twin);
        },
        "prefix-unused",
        "~/visibility/mounts/0/zone_prefix",
    ),
    (
        "a vault whose new files only the server can read",
        |s| s.config["default_file_mode"] = json!("0600"),
        "vault-mode",
        "/default_file_mode",
    ),
    (
        "a vault whose new directories only the server can enter",
        |s| s.config["default_dir_mode"] = json!("0700"),
        "vault-mode",
        "/default_dir_mode",
    ),
    (
        "a file server whose clock is ahead",
        |s| {
            let ahead = SystemTime::now() + Duration::from_secs(600);
            fs::File::open(s.path("mount")).unwrap().set_modified(ahead).unwrap();
        },
        "clock",
        "~/visibility/mounts/0/mount",
    ),
    ("no jars", |s| fs::remove_file(s.path("jars/importer.jar")).unwrap(), "jars-empty", "~/importer/jars"),
    ("no logback file", |s| fs::remove_file(s.path("logback.xml")).unwrap(), "file", "~/importer/logback"),
    (
        "a logback file to standard output",
        |s| s.file("logback.xml", "System.out", 0o644),
        "logback-stdout",
        "~/importer/logback",
    ),
    (
        "a vault that is not there",
        |s| s.stanza()["visibility"]["vaults"][0]["importer_prefix"] = json!("/nowhere"),
        "directory",
        "~/visibility/vaults/0/importer_prefix",
    ),
    (
        "a vault that is a file",
        |s| s.stanza()["visibility"]["vaults"][1]["prefix"] = json!(s.text("omero")),
        "directory",
        "~/visibility/vaults/1/prefix",
    ),
    (
        "nothing mounted",
        |s| fs::remove_dir(s.path("mount/home")).unwrap(),
        "mount-empty",
        "~/visibility/mounts/0/mount",
    ),
    (
        "a vault that cannot be read",
        |s| s.own("vault", 0o000),
        "directory",
        "~/visibility/vaults/1/prefix ~/visibility/vaults/0/importer_prefix",
    ),
    (
        "a command that is not there",
        |s| fs::remove_file(s.path("omero")).unwrap(),
        "command",
        "~/importer/command",
    ),
    ("a command that is not executable", |s| s.mode("omero", 0o644), "command", "~/importer/command"),
    (
        "a command that is none of OMERO's",
        |s| s.file("omero", "#!/bin/sh\necho hello\n", 0o755),
        "command-version",
        "~/importer/command",
    ),
    (
        "a command that fails",
        |s| s.file("omero", "#!/bin/sh\necho 5; exit 1\n", 0o755),
        "command-version",
        "~/importer/command",
    ),
    (
        "a work directory others can look into",
        |s| s.mode("work", 0o755),
        "work-directory",
        "~/importer/work_directory",
    ),
    (
        "a work directory that cannot be made",
        |s| s.stanza()["importer"]["work_directory"] = json!("/nowhere/omero"),
        "work-directory",
        "~/importer/work_directory",
    ),
    (
        "no library",
        |s| fs::remove_dir_all(s.path("lib/irods")).unwrap(),
        "library",
        "@/lib/irods/plugins/rule_engines/libirods_rule_engine_plugin-omero.so",
    ),
    (
        "a library for another iRODS",
        |s| {
            fs::rename(s.path("lib/libirods_common.so.5.0.2"), s.path("lib/libirods_common.so.5.0.1"))
                .unwrap();
        },
        "library-version",
        "@/lib/irods/plugins/rule_engines/libirods_rule_engine_plugin-omero.so",
    ),
    (
        "a library that is none",
        |s| s.file(LIBRARY, "x", 0o755),
        "library",
        "@/lib/irods/plugins/rule_engines/libirods_rule_engine_plugin-omero.so",
    ),
];

#[test]
fn each_broken_thing_is_found_at_its_place_and_nothing_else() {
    assert!(BROKEN.len() >= 30);
    for (what, break_it, code, places) in BROKEN {
        let mut site = Site::new();
        break_it(&mut site);
        let expected = places.split(' ').map(|p| ((*code).to_owned(), p.replace('~', STANZA))).collect();
        assert_eq!(site.found(), (expected, 1), "{what}");
    }
}

#[test]
fn modes_that_omero_can_read_and_copies_of_bytes_are_not_told_of() {
    for (file, directory, transfer) in
        [("0640", "0750", "ln_s"), ("0604", "0701", "ln"), ("0600", "0700", "upload")]
    {
        let mut site = Site::new();
        site.config["default_file_mode"] = json!(file);
        site.config["default_dir_mode"] = json!(directory);
        site.stanza()["importer"]["transfer"] = json!(transfer);
        assert_eq!(site.found(), (Vec::new(), 0), "{file} {transfer}");
    }
}

/// What Java unpacks in its work directory it has to load.
#[test]
fn a_work_directory_from_which_nothing_can_be_run_is_told_of() {
    // Linux mounts /proc so nearly everywhere; elsewhere the other finding is all there is.
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let of_proc = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/proc")).unwrap();
    let is_noexec = of_proc.split(' ').nth(5).unwrap().split(',').any(|option| option == "noexec");
    let mut site = Site::new();
    site.stanza()["importer"]["work_directory"] = json!("/proc/omero");
    let (found, _) = site.found();
    let codes: Vec<&str> = found.iter().map(|(code, _)| code.as_str()).collect();
    let expected: &[&str] = if is_noexec { &["work-noexec", "work-directory"] } else { &["work-directory"] };
    assert_eq!(codes, expected);
}

#[test]
fn an_engine_that_ends_the_loop_before_ours_is_named() {
    for name in ["irods_rule_language", "python", "cpp_default_policy", "audit_amqp"] {
        let mut site = Site::new();
        let plugin = format!("irods_rule_engine_plugin-{name}");
        site.engines().insert(0, json!({"instance_name": "first", "plugin_name": plugin}));
        let (found, code) = site.found();
        let order = ("stanza-order".to_owned(), "/plugin_configuration/rule_engines/1".to_owned());
        let expected = if name == "audit_amqp" { (Vec::new(), 0) } else { (vec![order], 1) };
        assert_eq!((found, code), expected, "{name}");
    }
}

#[test]
fn many_mistakes_are_found_at_once() {
    let mut site = Site::new();
    site.stanza()["watch"] = json!(["/*/home"]);
    site.stanza()["omero"]["port"] = json!("many");
    site.mode("omero.password", 0o644);
    site.mode("omero", 0o600);
    let (found, code) = site.found();
    let codes: Vec<&str> = found.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!((codes.as_slice(), code), (&["key-wrong", "key-wrong", "secret-file", "command"][..], 1));
}

#[test]
fn what_is_no_json_is_named_with_line_and_column() {
    let site = Site::new();
    site.file("server_config.json", "{\n    \"a\": 1,\n}\n", 0o644);
    assert_eq!(
        site.found(),
        (vec![("config-not-json".to_owned(), "@/server_config.json:3:1".to_owned())], 1)
    );
}

#[test]
fn a_file_that_is_no_configuration_at_all_is_named() {
    let engines = "/plugin_configuration/rule_engines";
    for (text, code, place) in [
        (&b""[..], "config-not-json", "@/server_config.json:1:0"),
        (b"\xef\xbb\xbf{}", "config-not-json", "@/server_config.json:1:1"),
        (b"{\"zone_name\": \"\xff\"}", "config-not-json", "@/server_config.json:1:16"),
        (b"{\"plugin_configuration\": {", "config-not-json", "@/server_config.json:1:26"),
        (b"[]", "engines-missing", engines),
        (b"null", "engines-missing", engines),
        (b"{\"plugin_configuration\": {\"rule_engines\": [7]}}", "stanza-missing", engines),
    ] {
        let site = Site::new();
        fs::write(site.path("server_config.json"), text).unwrap();
        assert_eq!(site.found(), (vec![(code.to_owned(), place.to_owned())], 1), "{text:?}");
    }
}

#[test]
fn a_key_that_stands_twice_is_named() {
    let site = Site::new();
    let text = site.config.to_string().replacen('{', r#"{"zone_name": "a", "zone_name": "b","#, 1);
    site.file("server_config.json", &text, 0o644);
    assert_eq!(site.found(), (vec![("key-twice".to_owned(), "/zone_name".to_owned())], 1));
}

#[test]
fn a_configuration_that_cannot_be_read_ends_with_2() {
    let site = Site::new();
    let unreadable = (vec![("config-unreadable".to_owned(), "@/server_config.json".to_owned())], 2);
    fs::create_dir(site.path("server_config.json")).unwrap();
    assert_eq!(site.found(), unreadable);
    fs::remove_dir(site.path("server_config.json")).unwrap();
    symlink("/nowhere", site.path("server_config.json")).unwrap();
    assert_eq!(site.found(), unreadable);
}

/// The site, with an agent on this host instead of the command.
fn with_an_agent() -> (Site, UnixListener) {
    let mut site = Site::new();
    for (name, mode) in [("agent.token", 0o600), ("agent.pem", 0o644), ("agent.key", 0o600)] {
        site.file(name, "secret\n", mode);
    }
    let socket = UnixListener::bind(site.path("agent.sock")).unwrap();
    site.own("agent.sock", 0o600);
    let agent = json!({"name": "a1", "url": format!("unix:{}", site.text("agent.sock")),
        "token_file": site.text("agent.token"), "ca_file": site.text("ca.pem"),
        "cert_file": site.text("agent.pem"), "key_file": site.text("agent.key")});
    site.stanza()["importer"] = json!({"mode": "agent", "agents": [agent]});
    site.stanza()["omero"] = json!({"server": "omero.example.org"});
    (site, socket)
}

#[test]
fn what_an_agent_needs_is_looked_at() {
    let (site, _socket) = with_an_agent();
    assert_eq!(site.found(), (Vec::new(), 0));
    let broken: &[(Break, &str, &str)] = &[
        (|s| fs::remove_file(s.path("agent.sock")).unwrap(), "agent-socket", "url"),
        (
            |s| s.stanza()["importer"]["agents"][0]["url"] = json!(format!("unix:{}", s.text("omero"))),
            "agent-socket",
            "url",
        ),
        (
            |s| s.stanza()["importer"]["agents"][0]["url"] = json!("http://omero.example.org"),
            "key-wrong",
            "url",
        ),
        (|s| s.mode("agent.token", 0o644), "secret-file", "token_file"),
        (|s| s.mode("agent.key", 0o640), "secret-file", "key_file"),
        (|s| fs::remove_file(s.path("agent.pem")).unwrap(), "file", "cert_file"),
    ];
    for (break_it, code, key) in broken {
        let (mut site, _socket) = with_an_agent();
        break_it(&mut site);
        let place = format!("{STANZA}/importer/agents/0/{key}");
        assert_eq!(site.report().0, [((*code).to_owned(), place)], "{code} {key}");
    }
}

#[test]
fn what_an_agent_elsewhere_sees_is_not_looked_for_here() {
    let (mut site, _socket) = with_an_agent();
    site.stanza()["importer"]["agents"][0]["url"] = json!("https://omero.example.org:4443");
    site.stanza()["visibility"]["vaults"][0]["importer_prefix"] = json!("/nowhere");
    let (found, unchecked, code) = site.report();
    assert_eq!((found, code), (Vec::new(), 0));
    assert!(unchecked[0].as_str().unwrap().contains("irods-omero agent --check"), "{unchecked}");
}
