//! Every key wrong in turn, and what a right configuration means.

use super::*;
use serde_json::json;

fn right() -> Value {
    json!({
        "watch": ["/z/home/alice", {"collection": "/z/home/lab-*", "quiet_period_in_seconds": "5",
                   "target": "Project:name:{collection[-2]}/Dataset:name:{collection[-1]}"}],
        "quiet_period_in_seconds": 10,
        "max_wait_in_seconds": 600,
        "retry_wait_in_seconds": 5,
        "sweep_expiry_in_seconds": 60,
        "max_files_per_sweep": 100,
        "target": "Dataset:name:{collection[-1]}",
        "users": {"table": {"alice#z": "alice", "bob#z": {"user": "bob", "group": "lab"}},
                  "same_name": ["z"], "denied": ["facility"], "default_group": "everyone"},
        "visibility": {"vaults": [{"prefix": "/vault", "importer_prefix": "/mnt/vault", "resource": "r"}],
                       "mounts": [{"zone_prefix": "/z/home", "mount": "/mnt/irods"}]},
        "omero": {"server": "omero.example.org", "port": "4064", "sudo_user": "importer",
                  "password_file": "/etc/irods/omero.password", "annotation_namespace": "example.org/irods"},
        "importer": {"mode": "command", "command": "/opt/omero/bin/omero", "jars": "/opt/omero/lib",
                     "logback": "/opt/omero/logback.xml", "timeout_in_seconds": 3600,
                     "command_timeout_in_seconds": 60, "transfer": "ln_s", "options": ["--skip=upgrade"],
                     "java_options": "-Xmx4g", "environment": {"JAVA_HOME": "/opt/java"},
                     "work_directory": "/var/lib/irods/omero"},
        "attributes": {"state": "lab::omero::state"},
    })
}

fn problems(value: &Value) -> Vec<String> {
    Config::parse(value).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test]
fn a_full_configuration_is_read() {
    let config = Config::parse(&right()).unwrap();
    assert_eq!(config.watches.len(), 2);
    assert_eq!(config.watches[0].quiet_period, Duration::from_secs(10));
    assert_eq!(config.watches[1].quiet_period, Duration::from_secs(5));
    let omero = config.omero.as_ref().unwrap();
    assert_eq!((omero.server.port, omero.importer.transfer), (4064, "ln_s"));
    assert_eq!(config.attributes.state, "lab::omero::state");
    assert_eq!(config.attributes.due, "irods::omero::due");
    assert_eq!(config.watch_of(b"/z/home/lab-1/run/a.tif").unwrap().1, 3);
    assert!(config.watch_of(b"/z/home/bob/a.tif").is_none());
}

#[test]
fn an_empty_configuration_is_valid_and_watches_nothing() {
    let config = Config::parse(&json!({})).unwrap();
    assert!(config.watches.is_empty() && config.omero.is_none());
}

/// Sets every value of the right configuration to every kind of wrong one, and wants an error at its place.
#[test]
fn every_key_of_a_wrong_type_is_an_error_at_its_pointer() {
    let mut pointers = Vec::new();
    collect(&right(), "", &mut pointers);
    assert!(pointers.len() > 30);
    for pointer in pointers {
        for wrong in [json!(-1.5), json!([[]]), json!({"no such key": {}}), json!("\n"), json!("")] {
            let mut value = right();
            *value.pointer_mut(&pointer).unwrap() = wrong.clone();
            let found = problems(&value);
            let same_kind = pointer.ends_with("/table") && wrong.is_object();
            assert!(
                same_kind || found.iter().any(|p| p.starts_with(&pointer)),
                "{pointer} = {wrong} gave {found:?}"
            );
        }
    }
}

fn collect(value: &Value, pointer: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(k, v)| {
            let next = format!("{pointer}/{}", k.replace('/', "~1"));
            out.push(next.clone());
            collect(v, &next, out);
        }),
        Value::Array(items) => items.iter().enumerate().for_each(|(i, v)| {
            let next = format!("{pointer}/{i}");
            out.push(next.clone());
            collect(v, &next, out);
        }),
        _ => {}
    }
}

#[test]
fn an_unknown_key_is_an_error_with_a_suggestion() {
    for (pointer, wrong, meant) in [
        ("", "quiet_periode_in_seconds", "quiet_period_in_seconds"),
        ("/omero", "sudouser", "sudo_user"),
        ("/importer", "comand", "command"),
        ("/users", "tabel", "table"),
        ("/visibility/vaults/0", "importer_prefx", "importer_prefix"),
    ] {
        let mut value = right();
        value.pointer_mut(pointer).unwrap()[wrong] = json!(1);
        let found = problems(&value);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("{pointer}/{wrong}: ")), "{found:?}");
        assert!(found[0].contains(&format!("did you mean '{meant}'")), "{found:?}");
    }
}

#[test]
fn all_mistakes_are_found_in_one_reading() {
    let mut value = right();
    value["quiet_period_in_seconds"] = json!("soon");
    value["omero"]["port"] = json!(70_000);
    value["importer"]["transfer"] = json!("ln_rm");
    value["users"]["table"]["eve#z"] = json!("root");
    value["watch"][0] = json!("/*/home");
    assert_eq!(problems(&value).len(), 5);
}

#[test]
fn what_a_watch_needs_is_asked_for() {
    let found = problems(&json!({"watch": ["/z/home"]}));
    for key in ["/omero", "/importer", "/visibility", "/users"] {
        assert!(found.iter().any(|p| p.starts_with(&format!("{key}: is missing"))), "{key}: {found:?}");
    }
}

#[test]
fn a_secret_in_the_configuration_is_refused() {
    let mut value = right();
    value["omero"]["password"] = json!("hunter2");
    let found = problems(&value);
    assert!(found[0].contains("password_file") && !found[0].contains("hunter2"), "{found:?}");
}

#[test]
fn only_harmless_importer_options_are_allowed() {
    for bad in
        ["-u", "--sudo=root", "--transfer=ln_rm", "-T=Dataset:1", "--skip", "--file=/etc/x", "--", "-c"]
    {
        let mut value = right();
        value["importer"]["options"] = json!([bad]);
        assert_eq!(problems(&value).len(), 1, "{bad}");
    }
}

#[test]
fn environment_that_is_ours_or_dangerous_cannot_be_set() {
    for bad in ["OMERO_PASSWORD", "OMERO_SESSIONDIR", "DEBUG", "LD_PRELOAD", "A=B"] {
        let mut value = right();
        value["importer"]["environment"] = json!({bad: "x"});
        assert_eq!(problems(&value).len(), 1, "{bad}");
    }
}

#[test]
fn two_attributes_of_one_name_are_refused() {
    let mut value = right();
    value["attributes"] = json!({"state": "x", "reason": "x"});
    assert_eq!(problems(&value).len(), 1);
}
