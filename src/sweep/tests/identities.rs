//! Whose data is imported as whom, from the catalog to the record.

use super::*;
use crate::catalog::Holder;
use crate::operations::{Operation, OperationError, Reading, Who};
use irods_omero_config::identity::Mapping;
use irods_omero_model::target::Target;
use proptest::prelude::*;

fn tag(w: &World, user: &str, holder: Holder, attribute: &str, value: &str) {
    let attribute = format!("irods::omero::{attribute}");
    let tag = UserTag { holder, attribute, value: value.to_owned() };
    w.catalog.tags.borrow_mut().push((user.to_owned(), tag));
}

fn collection_avu(w: &World, path: &str, attribute: &str, value: &str) {
    let mut avus = w.catalog.avus.borrow_mut();
    avus.entry(path.as_bytes().to_vec()).or_default().insert(Triple::new(attribute, value, ""));
}

fn mapped_by(w: &World, name: &str) -> Option<(String, String)> {
    let path = format!("{COLLECTION}/{name}").into_bytes();
    let avus = w.catalog.avus.borrow();
    let triples = avus.get(&path)?.iter().cloned().collect();
    let mapped_by = Record { triples, ..Record::default() }.mapped_by(&w.config.attributes)?;
    Some((mapped_by.value, mapped_by.units))
}

#[test]
fn the_source_and_the_person_are_recorded_with_the_data() {
    let w = world_with(|c| {
        c["users"] = json!({
            "table": {"bob#z": "robert"}, "rules": [{"match": "x_(.+)#z", "user": "$1"}], "same_name": ["z"],
            "on_behalf_of": [{"account": "scope#z", "from": "path", "element": -1, "zone": "z"}],
        });
    });
    tag(&w, "alice", Holder::Group("lab1".to_owned()), "user", "a.smith");
    for (n, owner) in ["alice", "bob", "x_carol", "dora", "scope"].iter().enumerate() {
        w.put(n as u64 + 1, &format!("{owner}.tif"), owner);
    }
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().imported, 5);
    for (name, by, person) in [
        ("alice.tif", "avu on group lab1", "alice#z"),
        ("bob.tif", "table", "bob#z"),
        ("x_carol.tif", "rule 1", "x_carol#z"),
        ("dora.tif", "same_name", "dora#z"),
        ("scope.tif", "same_name", "run1#z"),
    ] {
        assert_eq!(mapped_by(&w, name), Some((by.to_owned(), person.to_owned())), "{name}");
    }
    assert_eq!(w.catalog.value("alice.tif", "::owner").as_deref(), Some("a.smith"));
}

#[test]
fn a_table_that_cannot_be_read_leaves_data_pending_until_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let table = dir.path().join("table.json");
    std::fs::write(&table, "{\"alice#z\": ").unwrap();
    let w = world_with(|c| c["users"] = json!({"table_file": table}));
    w.put(1, "a.tif", "alice");
    w.wait(QUIET);
    for expected in [60, 120] {
        let report = w.sweep().unwrap();
        assert_eq!((report.pending, report.again_in), (1, Some(Duration::from_secs(expected))));
        assert_eq!(w.catalog.state("a.tif"), Some(State::Pending));
        assert!(w.catalog.value("a.tif", "::reason").unwrap().contains("table.json"));
        assert!(w.catalog.has_mark("::due"));
        w.wait(expected);
    }
    assert!(w.importer.batches.borrow().is_empty());
    std::fs::write(&table, "{\"alice#z\": \"alice\"}").unwrap();
    assert_eq!(w.sweep().unwrap().imported, 1);
}

#[test]
fn a_directory_that_is_down_leaves_data_pending() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let w = world_with(|c| {
        c["users"] = json!({"same_name": ["z"], "ldap": {
            "url": format!("ldap://127.0.0.1:{port}"), "base": "dc=x", "filter": "(uid={user})", "zones": ["z"],
            "user_attribute": "uid",
        }});
    });
    w.put(1, "a.tif", "alice");
    w.wait(QUIET);
    let report = w.sweep().unwrap();
    assert_eq!((report.pending, report.skipped), (1, 0), "and same_name does not decide in its place");
    assert!(w.catalog.value("a.tif", "::reason").unwrap().contains("LDAP directory cannot be asked"));
}

#[test]
fn skipped_data_is_imported_once_the_mapping_knows_its_owner() {
    let w = world_with(|_| {});
    w.put(1, "a.tif", "alice");
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().skipped, 1);
    w.catalog.queued.borrow_mut().retain(|j| j.text == due::SWEEP_SKIPPED);
    assert_eq!(w.catalog.waits(), [3_600], "one look waits, an hour from now");
    for _ in 0..3 {
        w.wait(3_600);
        w.catalog.queued.borrow_mut().clear();
        assert_eq!(w.sweeper().sweep_skipped().unwrap(), 1);
        assert_eq!(w.sweep().unwrap().skipped, 0, "nothing new to say");
        let queued = w.catalog.queued.borrow();
        assert_eq!(queued.iter().filter(|j| j.text == due::SWEEP_SKIPPED).count(), 1);
    }
    tag(&w, "alice", Holder::User, "user", "a.smith");
    run_queue(&w);
    assert_eq!(w.catalog.state("a.tif"), Some(State::Imported));
    assert_eq!(w.sweeper().sweep_skipped().unwrap(), 0);
    assert!(w.catalog.queued.borrow().is_empty(), "nothing is skipped any more, so nobody looks");
}

fn ctime_of(path: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    u64::try_from(std::fs::metadata(path).unwrap().ctime()).unwrap()
}

#[test]
fn the_recurring_sweep_notices_a_table_file_that_has_changed() {
    let dir = tempfile::tempdir().unwrap();
    let table = dir.path().join("users.json");
    std::fs::write(&table, "{}").unwrap();
    let w = world_with(|c| c["users"] = json!({"table_file": table}));
    w.put(1, "a.tif", "alice");
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().skipped, 1);
    w.clock.set(ctime_of(&table) + 10_000);
    let soon = || {
        w.catalog.queued.borrow_mut().clear();
        w.catalog.set_mark(&collection(), "irods::omero::due", "alice#z").unwrap();
        w.sweeper().sweep_all().unwrap();
        let queued = w.catalog.queued.borrow();
        let wanted = w.clock.now() + 2;
        queued.iter().any(|j| j.text == due::SWEEP_SKIPPED && j.due_at <= wanted)
    };
    assert!(!soon(), "the table is as it was when the data was skipped");
    w.clock.set(ctime_of(&table) + 200);
    assert!(soon(), "it was changed since the look before");
}

#[test]
fn a_lost_look_at_skipped_data_is_queued_again_and_zero_means_never() {
    for (seconds, looks) in [(600, 1), (0, 0)] {
        let w = world_with(|c| c["users"]["recheck_skipped_in_seconds"] = json!(seconds));
        w.put(1, "a.tif", "alice");
        w.wait(QUIET);
        w.sweep().unwrap();
        w.catalog.queued.borrow_mut().clear();
        w.catalog.event(&w.config);
        w.sweeper().sweep_all().unwrap();
        let queued = w.catalog.queued.borrow();
        assert_eq!(queued.iter().filter(|j| j.text == due::SWEEP_SKIPPED).count(), looks);
    }
}

#[test]
fn files_of_one_collection_go_to_the_targets_their_values_give() {
    let w = world_with(|c| {
        c["users"] = json!({"same_name": ["z"]});
        c["target"] = json!("Project:name:{avu:project|none}/Dataset:name:{collection[0]} {user} {date}");
        c["plate_target"] = json!("Screen:name:{user}");
    });
    collection_avu(&w, "/z/home/alice", "project", "Mitosis");
    collection_avu(&w, "/z/home", "project", "not asked: above the watched collection");
    w.put(1, "a.tif", "alice");
    w.put(2, "b.tif", "bob");
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().imported, 2);
    let batches = w.importer.batches.borrow();
    let targets: Vec<&str> = batches.iter().map(|b| b.target.as_str()).collect();
    let expected = |user| format!("Project:name:Mitosis/Dataset:name:run1 {user} 2023-11-14");
    assert_eq!(targets, [expected("alice"), expected("bob")]);
    assert_eq!(batches[1].plate_target.as_ref().map(Target::as_str), Some("Screen:name:bob"));
}

#[test]
fn a_value_that_is_missing_for_the_target_fails_the_data_with_the_reason() {
    let w = world_with(|c| {
        c["users"] = json!({"same_name": ["z"]});
        c["target"] = json!("Dataset:name:{avu:project}");
    });
    w.put(1, "a.tif", "alice");
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().failed, 1);
    assert!(w.catalog.value("a.tif", "::reason").unwrap().contains("{avu:project}"));
    assert!(w.importer.batches.borrow().is_empty());
}

/// Answers `who` as the client of the test's catalog, alice, unless she is made an administrator.
fn ask(w: &World, text: &Value, admin: bool) -> Result<Value, OperationError> {
    let Reading::Ours(request) = crate::operations::read(text.to_string().as_bytes()) else {
        panic!("{text} is not read as a question");
    };
    let Operation::Who(who) = request.operation else { panic!("{text} is another question") };
    w.catalog.admin.set(admin);
    who.answer(&w.config, &w.catalog)
}

#[test]
fn who_explains_the_answer_step_by_step() {
    let w = world_with(|c| {
        c["users"] = json!({"table": {"alice#z": {"user": "a.smith", "group": "lab1"}}, "on_behalf_of":
            [{"account": "scope#z", "from": "path", "element": 0, "zone": "z"}]});
    });
    let answer = ask(&w, &json!({"operation": "who"}), false).unwrap();
    assert_eq!((&answer["user"], &answer["omero_user"]), (&json!("alice#z"), &json!("a.smith")));
    assert_eq!((&answer["omero_group"], &answer["mapped_by"]), (&json!("lab1"), &json!("table")));
    assert_eq!(answer["reason"], Value::Null);
    assert!(answer["steps"][0].as_str().unwrap().starts_with("avu: neither"), "{answer}");
    let unmapped = ask(&w, &json!({"operation": "who", "user": "bob#z"}), true).unwrap();
    assert_eq!(unmapped["omero_user"], Value::Null);
    assert!(unmapped["reason"].as_str().unwrap().contains("bob#z has no OMERO user"));
    let path = json!({"operation": "who", "user": "scope#z", "path": "/z/home/alice/alice"});
    let behalf = ask(&w, &path, true).unwrap();
    assert_eq!((&behalf["user"], &behalf["person"]), (&json!("scope#z"), &json!("alice#z")));
    let path = json!({"operation": "who", "user": "alice#z", "path": "/z/elsewhere"});
    assert!(ask(&w, &path, true).unwrap()["steps"][0].as_str().unwrap().contains("is not watched"));
}

#[test]
fn only_administrators_may_ask_about_others() {
    let w = world_with(|c| c["users"] = json!({"same_name": ["z"]}));
    assert!(ask(&w, &json!({"operation": "who", "user": "alice#z"}), false).is_ok());
    for other in ["bob#z", "alice#other"] {
        let refused = ask(&w, &json!({"operation": "who", "user": other}), false).unwrap_err();
        assert!(matches!(&refused, OperationError::Refused(s) if s.contains("rodsadmin")), "{refused}");
        assert!(ask(&w, &json!({"operation": "who", "user": other}), true).is_ok());
    }
}

/// Names somebody could think of, and names that are denied.
fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-c]{1,2}",
        2 => prop::sample::select(vec!["root", "Root", "guest", "facility", "importer", "rооt", "ｇｕｅｓｔ"]).prop_map(str::to_owned),
        1 => "[ -~&&[^#/]]{1,8}".prop_filter("a name of iRODS", |n| IrodsUser::new(n, "z").is_ok()),
        1 => "\\PC{1,6}".prop_filter("a name of iRODS", |n| IrodsUser::new(n, "z").is_ok()),
    ]
}

fn omero_names() -> impl Strategy<Value = String> {
    names().prop_filter("a name of OMERO", |n| irods_omero_model::names::OmeroName::parse(n).is_ok())
}

/// A random object `users`, and AVUs of users.
fn mappings() -> impl Strategy<Value = (Value, Vec<(String, bool, bool, String)>)> {
    let table = prop::collection::btree_map("[a-c]{1,2}#z", omero_names(), 0..4);
    let rule = ("(\\(\\.\\+\\)|[a-c]\\.\\*|\\(\\.\\)\\.\\*)#(z|\\.\\+)", any::<bool>(), omero_names());
    let rules = prop::collection::vec(rule, 0..3);
    let tags = prop::collection::vec(("[a-c]{1,2}", any::<bool>(), any::<bool>(), names()), 0..5);
    let order = Just(vec!["avu", "table", "rules", "same_name"]).prop_shuffle();
    (table, rules, tags, order, any::<bool>(), -2..3_i32).prop_map(|(table, rules, tags, order, zone, element)| {
        let denied = |name: &String| {
            let users = json!({"users": {"table": {"x#z": name}, "denied": ["facility", "importer"]}});
            Config::parse(&users).is_err()
        };
        let table: serde_json::Map<String, Value> =
            table.into_iter().filter(|(_, name)| !denied(name)).map(|(k, v)| (k, v.into())).collect();
        let rules: Vec<Value> = rules
            .into_iter()
            .map(|(expression, captured, name)| {
                let captures = expression.contains('(') && captured;
                let user = if captures { "$1".to_owned() } else { name.replace('$', "$$") };
                json!({"match": expression, "user": user})
            })
            .collect();
        let users = json!({
            "sources": order, "table": table, "rules": rules, "same_name": if zone { json!(["z"]) } else { json!([]) },
            "denied": ["facility"],
            "on_behalf_of": [{"account": "a#z", "from": "path", "element": element, "zone": "z"}],
        });
        (users, tags)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn who_and_the_import_agree_and_nobody_becomes_a_denied_account(
        (users, tags) in mappings(),
        owners in prop::collection::btree_set(names(), 1..4),
    ) {
        let w = world_with(|c| c["users"] = users);
        for (user, on_group, is_user, value) in tags {
            let holder = if on_group { Holder::Group(format!("g{value}")) } else { Holder::User };
            tag(&w, &user, holder, if is_user { "user" } else { "group" }, &value);
        }
        for (n, owner) in owners.iter().enumerate() {
            w.put(n as u64 + 1, &format!("{n}.tif"), owner);
        }
        w.wait(QUIET);
        let objects = decided(&w);
        prop_assert_eq!(objects.len(), owners.len());
        for (planned, owner) in objects.iter().zip(&owners) {
            let question = Who { user: IrodsUser::new(owner, "z").ok(), path: Some(collection()), omero_user: None };
            w.catalog.admin.set(true);
            let answer = question.answer(&w.config, &w.catalog).unwrap();
            match &planned.verdict {
                Verdict::Import(import) => {
                    let Mapping { identity, person, by } = &import.mapping;
                    prop_assert_eq!(&answer["omero_user"], identity.user.as_str());
                    let group = identity.group.as_ref().map(irods_omero_model::names::OmeroName::as_str);
                    prop_assert_eq!(&answer["omero_group"], &json!(group));
                    prop_assert_eq!(&answer["mapped_by"], by);
                    prop_assert_eq!(&answer["person"], &person.to_string());
                    let plain = identity.user.as_str().to_lowercase();
                    prop_assert!(!["root", "guest", "facility", "importer"].contains(&plain.as_str()));
                    prop_assert!(w.config.identities.denied.covers(&identity.user).is_none());
                }
                Verdict::Say(Entry::Skipped(_, reason)) => {
                    prop_assert_eq!(&answer["omero_user"], &Value::Null);
                    prop_assert_eq!(&answer["reason"], reason);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
        w.sweep().unwrap();
        for batch in w.importer.batches.borrow().iter() {
            prop_assert!(w.config.identities.denied.covers(&batch.identity.user).is_none());
        }
    }
}
