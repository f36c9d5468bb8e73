//! Every key wrong in turn, and what a right configuration means.

use super::*;
use serde_json::json;

fn right() -> Value {
    json!({
        "watch": ["/z/home/alice", {"collection": "/z/home/lab-*", "quiet_period_in_seconds": "5",
                   "target": "Project:name:{collection[-2]}/Dataset:name:{collection[-1]}",
                   "include": ["*.czi"], "exclude": ["*_mip.czi"], "exclude_collections": [], "complete_marker": "*.done",
                   "on_overwrite": "reimport"}],
        "tags": true, "tag_cache_in_seconds": 20, "max_queued_sweeps": 50, "retry_max_age_in_seconds": 86_400,
        "include": ["*.tif"], "exclude": ["*_backup.tif"], "exclude_collections": [".*", "scratch"], "complete_marker": "avu:complete", "on_overwrite": "report",
        "on_delete_in_omero": "import_again",
        "directory_formats": ["*.zarr", "*.d"], "multi_file_formats": ["*.companion.ome"],
        "quiet_period_in_seconds": 10,
        "max_wait_in_seconds": 600,
        "retry_wait_in_seconds": 5,
        "sweep_expiry_in_seconds": 60,
        "max_files_per_sweep": 100,
        "target": "Dataset:name:{collection[-1]}",
        "plate_target": "Screen:name:{collection[-1]}",
        "users": {"table": {"alice#z": "alice", "bob#z": {"user": "bob", "group": "lab"}},
                  "table_file": "/etc/irods/omero-users.json",
                  "rules": [{"match": "(.+)#lab", "user": "$1", "group": "lab_$1"}],
                  "ldap": {"url": ["ldaps://ldap.example.org", "ldaps://ldap2.example.org:6360"],
                           "base": "ou=people,dc=example,dc=org", "filter": "(uid={user})", "zones": ["z"],
                           "user_attribute": "uid", "group_attribute": "ou",
                           "bind_dn": "cn=irods,dc=example,dc=org", "bind_password_file": "/etc/irods/ldap.password",
                           "starttls": false, "ca_file": "/etc/ssl/certs/site.pem", "timeout_in_seconds": 5,
                           "cache_in_seconds": 600, "command": "/usr/bin/irods-omero"},
                  "same_name": ["z"], "sources": ["avu", "table", "rules", "ldap", "same_name"],
                  "on_behalf_of": [{"account": "scope#z", "from": "path", "element": -2, "zone": "z"},
                                   {"account": "scope#z", "from": "path", "below": "/z/scopes", "zone": "z"},
                                   {"account": "scope#z", "from": "collection_avu", "zone": "z",
                                    "attribute": "irods::omero::on_behalf_of"}],
                  "denied": ["facility"], "default_group": "everyone", "recheck_skipped_in_seconds": 600},
        "visibility": {"vaults": [{"prefix": "/vault", "importer_prefix": "/mnt/vault", "resource": "r"}],
                       "mounts": [{"zone_prefix": "/z/home", "mount": "/mnt/irods"}]},
        "omero": {"server": "omero.example.org", "port": "4064", "sudo_user": "importer",
                  "password_file": "/etc/irods/omero.password", "annotation_namespace": "example.org/irods"},
        "importer": {"mode": "command", "command": "/opt/omero/bin/omero", "jars": "/opt/omero/lib",
                     "logback": "/opt/omero/logback.xml", "timeout_in_seconds": 3600,
                     "command_timeout_in_seconds": 60, "unfinished_wait_in_seconds": 60, "transfer": "ln_s", "options": ["--skip=upgrade"],
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
    let rules: Vec<&Rules> = config.watches.iter().map(|w| &*w.rules).collect();
    assert_eq!((rules[0].quiet_period.as_secs(), rules[1].quiet_period.as_secs()), (10, 5));
    assert_eq!((rules[0].on_overwrite, rules[1].on_overwrite), (OnOverwrite::Report, OnOverwrite::Reimport));
    assert_eq!(rules[0].complete_marker, Some(Marker::Avu("complete".to_owned())));
    assert!(rules[0].files.admit(b"a.tif") && !rules[0].files.admit(b"a_backup.tif"));
    assert!(
        rules[1].files.admit(b"a.czi") && !rules[1].files.admit(b"a.tif"),
        "its own lists replace the others"
    );
    let watched =
        |path: &str| config.watching(&LogicalPath::parse(path.as_bytes()).unwrap()).is_of_interest();
    assert!(watched("/z/home/alice/run") && watched("/z/home/alice/__MACOSX") && watched("/z/home/lab-1/.x"));
    assert!(!watched("/z/home/alice/.x/run") && !watched("/z/home/alice/run/Scratch"));
    assert!(config.tags && config.tag_cache.as_secs() == 20 && config.max_queued_sweeps == 50);
    assert_eq!(config.unit_of(b"/z/home/a.d/x.zarr/0"), Some(&b"/z/home/a.d"[..]), "the outermost");
    assert_eq!((config.unit_of(b"/z/home/a"), config.unit_of(b"/x.zarr/home")), (None, None));
    let omero = config.omero.as_ref().unwrap();
    assert_eq!((omero.server.port, omero.importer.transfer), (4064, "ln_s"));
    assert_eq!(config.attributes.state, "lab::omero::state");
    assert_eq!(config.attributes.due, "irods::omero::due");
    assert_eq!(config.identities.sources.len(), 5);
    assert_eq!((config.identities.on_behalf_of.len(), config.recheck_skipped.as_secs()), (3, 600));
    assert!(config.watches.iter().all(|w| w.rules.plate_target.is_some()));
    assert_eq!(config.watch_of(b"/z/home/lab-1/run/a.tif").unwrap().1, 3);
    assert!(config.watch_of(b"/z/home/bob/a.tif").is_none());
}

#[test]
fn an_empty_configuration_is_valid_and_watches_nothing() {
    let config = Config::parse(&json!({})).unwrap();
    assert!(config.watches.is_empty() && config.omero.is_none() && !config.watches_anything());
}

#[test]
fn tags_are_followed_where_there_is_an_omero_unless_they_are_switched_off() {
    let mut value = right();
    value["watch"] = json!([]);
    value["tags"] = Value::Null;
    assert!(Config::parse(&value).unwrap().watches_anything());
    value["tags"] = json!(false);
    assert!(!Config::parse(&value).unwrap().watches_anything());
    let found = problems(&json!({"tags": true}));
    assert!(found.iter().any(|p| p.starts_with("/omero: is missing")), "{found:?}");
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

/// A configuration in which agents import.
fn right_with_agents() -> Value {
    let mut value = right();
    value["omero"] = json!({"server": "omero.example.org", "sudo_user": "importer"});
    value["importer"] = json!({
        "mode": "agent", "timeout_in_seconds": 5, "fallback_after_in_seconds": 60, "collect_interval_in_seconds": 5,
        "agents": [
            {"name": "a1", "url": "https://omero.example.org:4443", "token_file": "/etc/irods/agent.token",
             "ca_file": "/etc/irods/ca.pem", "cert_file": "/etc/irods/cert.pem", "key_file": "/etc/irods/key.pem"},
            {"name": "a2", "url": "unix:/run/irods-omero/agent.sock"},
        ],
    });
    value
}

#[test]
fn agents_need_neither_the_command_nor_its_password() {
    let config = Config::parse(&right_with_agents()).unwrap();
    let agents = config.agents.unwrap();
    assert!(config.omero.is_none() && config.tags);
    assert_eq!((agents.agents.len(), agents.server.as_deref()), (2, Some("omero.example.org")));
    assert_eq!(
        agents.agents[1].address,
        irods_omero_importer::settings::Address::Unix("/run/irods-omero/agent.sock".into())
    );
    let mut value = right_with_agents();
    value["omero"] = Value::Null;
    assert_eq!(Config::parse(&value).unwrap().agents.unwrap().server, None);
}

#[test]
fn every_key_of_an_agent_of_a_wrong_type_is_an_error_at_its_pointer() {
    let mut pointers = Vec::new();
    collect(&right_with_agents()["importer"], "/importer", &mut pointers);
    assert!(pointers.len() > 12);
    for pointer in pointers {
        for wrong in [json!(-1.5), json!([[]]), json!({"no such key": {}}), json!("\n"), json!("")] {
            let mut value = right_with_agents();
            *value.pointer_mut(&pointer).unwrap() = wrong.clone();
            let found = problems(&value);
            assert!(found.iter().any(|p| p.starts_with(&pointer)), "{pointer} = {wrong} gave {found:?}");
        }
    }
}

#[test]
fn agents_that_cannot_be_right_are_named() {
    for (pointer, wrong, at, says) in [
        ("/importer/agents", json!([]), "/importer/agents", "at least one"),
        ("/importer/agents", Value::Null, "/importer/agents", "is missing"),
        ("/importer/agents/1/name", json!("a1"), "/importer/agents/1/name", "two agents"),
        ("/importer/agents/0/url", json!("http://omero.example.org"), "/importer/agents/0/url", "use https"),
        ("/importer/agents/0/key_file", Value::Null, "/importer/agents/0/key_file", "is missing"),
        ("/importer/agents/0/cert_file", Value::Null, "/importer/agents/0/cert_file", "is missing"),
        ("/max_files_per_sweep", json!(200_000), "/max_files_per_sweep", "at most 100000"),
        ("/omero/sudo_user", json!("-x"), "/omero/sudo_user", "cannot be the name"),
    ] {
        let mut value = right_with_agents();
        *value.pointer_mut(pointer).unwrap() = wrong;
        let found = problems(&value);
        assert!(found.iter().any(|p| p.starts_with(at) && p.contains(says)), "{pointer}: {found:?}");
    }
    let mut value = right_with_agents();
    value["importer"]["agents"][0]["token"] = json!("hunter2");
    let found = problems(&value).join("\n");
    assert!(found.contains("token_file") && !found.contains("hunter2"), "{found}");
}

#[test]
fn an_unknown_key_is_an_error_with_a_suggestion() {
    for (pointer, wrong, meant) in [
        ("", "quiet_periode_in_seconds", "quiet_period_in_seconds"),
        ("/omero", "sudouser", "sudo_user"),
        ("/importer", "comand", "command"),
        ("/users", "tabel", "table"),
        ("/users/ldap", "filtr", "filter"),
        ("/users/rules/0", "mach", "match"),
        ("/users/on_behalf_of/0", "elemnt", "element"),
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
    let mut value = right();
    value["users"] = json!({});
    assert!(problems(&value).is_empty(), "AVUs on the users are enough");
    let found = problems(&json!({"watch": ["/z/home"]}));
    for key in ["/omero", "/importer", "/visibility", "/users"] {
        assert!(found.iter().any(|p| p.starts_with(&format!("{key}: is missing"))), "{key}: {found:?}");
    }
}

/// The problems of one change to the object `users`, which has no other.
fn users_problem(change: impl FnOnce(&mut Value)) -> String {
    let mut value = right();
    change(&mut value["users"]);
    let found = problems(&value);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[test]
fn a_source_that_is_unknown_doubled_unconfigured_or_never_asked_is_an_error() {
    let order = |words: &[&str]| json!(words);
    for (words, pointer, part) in [
        (&["avu", "tabel", "table", "rules", "ldap", "same_name"][..], "/1", "did you mean 'table'"),
        (&["avu", "table", "rules", "ldap", "same_name", "avu"], "/5", "twice"),
        (&["avu", "table", "rules", "same_name"], "", "'ldap' is configured, but never asked"),
    ] {
        let found = users_problem(|users| users["sources"] = order(words));
        assert!(found.starts_with(&format!("/users/sources{pointer}: ")) && found.contains(part), "{found}");
    }
    for (key, word) in [("rules", "rules"), ("ldap", "ldap"), ("same_name", "same_name")] {
        let found = users_problem(|users| users[key] = Value::Null);
        assert!(found.contains(&format!("'{word}' is to be asked, but")), "{found}");
    }
}

#[test]
fn whom_a_directory_or_an_avu_names_cannot_be_said_by_somebody_else() {
    let found = users_problem(|u| u["ldap"]["zones"] = Value::Null);
    assert!(found.starts_with("/users/ldap/zones: ") && found.contains("somebody else"), "{found}");
    for open in ["person", "irods::omero::import", "irods::omero::other"] {
        let found = users_problem(|u| u["on_behalf_of"][2]["attribute"] = json!(open));
        assert!(found.contains("only administrators can set"), "{found}");
    }
    let found = users_problem(|u| u["ldap"]["url"] = json!("ldap://ldap.example.org"));
    assert!(found.starts_with("/users/ldap/bind_dn: ") && found.contains("in the clear"), "{found}");
    let found = users_problem(|u| u["ldap"]["bind_password"] = json!("hunter2"));
    assert!(found.contains("bind_password_file") && !found.contains("hunter2"), "{found}");
}

#[test]
fn what_a_way_to_a_person_needs_is_asked_for() {
    for (way, pointer) in [
        (json!({"from": "path", "element": 0, "zone": "z"}), "/account: is missing"),
        (json!({"account": "scope#z", "element": 0, "zone": "z"}), "/from: is missing"),
        (json!({"account": "scope#z", "from": "path", "zone": "z"}), "/element: is missing"),
        (json!({"account": "scope#z", "from": "path", "element": 0}), "/zone: is missing"),
        (
            json!({"account": "scope#z", "from": "path", "element": 0, "below": "/z", "zone": "z"}),
            "/below: either",
        ),
        (json!({"account": "scope", "from": "collection_avu"}), "/account: 'scope'"),
    ] {
        let found = users_problem(|users| users["on_behalf_of"] = json!([way]));
        assert!(found.starts_with(&format!("/users/on_behalf_of/0{pointer}")), "{found}");
    }
}

#[test]
fn a_rule_that_cannot_be_is_an_error_at_its_part() {
    for (rule, pointer) in [
        (json!({"match": "(", "user": "$1"}), "/match: "),
        (json!({"match": "(.+)#z", "user": "$2"}), "/user: "),
        (json!({"match": "(.+)#z", "user": "$1", "group": "$x"}), "/group: "),
        (json!({"match": "(.+)#z"}), "/user: is missing"),
    ] {
        let found = users_problem(|users| users["rules"] = json!([rule]));
        assert!(found.starts_with(&format!("/users/rules/0{pointer}")), "{found}");
    }
}

#[test]
fn plates_go_to_screens_and_images_beside_them_to_datasets() {
    for (key, wrong) in [("plate_target", "Dataset:name:x"), ("target", "Screen:name:x")] {
        let mut value = right();
        value["watch"] = json!(["/z/home/alice"]);
        value[key] = json!(wrong);
        let found = problems(&value);
        assert!(found.len() == 1 && found[0].starts_with("/plate_target: "), "{found:?}");
    }
    let mut value = right();
    value["watch"] = json!([{"collection": "/z/a", "target": "Screen:id:5"}]);
    assert!(problems(&value)[0].starts_with("/watch/0/plate_target: "));
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
