// SPDX-License-Identifier: BSD-3-Clause
//! Clients at the same moment: what the catalog keeps unique, and what it does not.

mod common;

use std::process::{Child, Stdio};

use common::{HOME, Zone};
use serde_json::json;

fn object() -> String {
    format!("{HOME}/x.tif")
}

/// A zone where alice has one data object.
fn with_object() -> Zone {
    let zone = Zone::new();
    let file = zone.file("x.tif", "contents");
    zone.as_user("alice", &["put", &file, &object()]);
    zone
}

/// Runs one verb in several connections at once; gives how many succeeded.
fn winners(zone: &Zone, clients: usize, words: &[&str]) -> usize {
    let line: Vec<&str> = ["as", "alice"].into_iter().chain(words.iter().copied()).collect();
    let children: Vec<Child> = (0..clients)
        .map(|_| {
            let mut command = zone.command(&line);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts")
        })
        .collect();
    children.into_iter().filter_map(|mut child| child.wait().ok()).filter(|status| status.success()).count()
}

/// How often the object has the lock, and how many rows the catalog has of it.
fn locks(zone: &Zone) -> (String, String) {
    let rows = "from R_META_MAIN m";
    let attached = format!("{rows} join R_OBJT_METAMAP o on o.meta_id = m.meta_id");
    let count = |from: &str| zone.sql(&format!("select count(*) {from} where m.meta_attr_name = 'lock'"));
    (count(&attached), count(rows))
}

fn atomic(operation: &str, attribute: &str) -> String {
    json!({"entity_name": object(), "entity_type": "data_object", "operations": [
        {"operation": "add", "attribute": "beside", "value": "v"},
        {"operation": operation, "attribute": attribute, "value": "held"}]})
    .to_string()
}

const ADD: [&str; 2] = ["lock", "held"];

fn add(zone: &Zone, clients: usize) -> usize {
    let object = object();
    winners(zone, clients, &["meta", "add", "-d", &object, ADD[0], ADD[1]])
}

#[test]
fn of_many_who_add_a_triple_the_catalog_never_held_all_win() {
    let zone = with_object();
    zone.must(&["meeting", "avu", "4", "lock"]);
    assert_eq!(add(&zone, 4), 4);
    assert_eq!(locks(&zone), ("4".into(), "4".into()));
}

#[test]
fn of_many_who_add_a_triple_that_has_a_row_one_wins() {
    let zone = with_object();
    zone.as_user("alice", &["meta", "add", "-C", HOME, ADD[0], ADD[1]]);
    zone.must(&["meeting", "avu", "4", "lock"]);
    assert_eq!(add(&zone, 4), 1);
    assert_eq!(locks(&zone), ("2".into(), "1".into()), "hers on the collection, and one on the object");
}

#[test]
fn a_row_that_no_object_has_is_found_until_it_is_removed_as_unused() {
    let zone = with_object();
    zone.as_user("alice", &["meta", "add", "-d", &object(), ADD[0], ADD[1]]);
    zone.as_user("alice", &["meta", "rm", "-d", &object(), ADD[0], ADD[1]]);
    zone.must(&["meeting", "avu", "2", "lock"]);
    assert_eq!(add(&zone, 2), 1);
    zone.as_user("alice", &["meta", "rm", "-d", &object(), ADD[0], ADD[1]]);
    zone.must(&["rum"]);
    zone.must(&["meeting", "avu", "2", "lock"]);
    assert_eq!(add(&zone, 2), 2);
}

#[test]
fn a_meeting_is_about_its_subject_and_holds_nobody_who_comes_late() {
    let zone = with_object();
    zone.must(&["meeting", "avu", "2", "lock"]);
    zone.as_user("alice", &["meta", "add", "-d", &object(), "other", "v"]);
    assert_eq!(add(&zone, 2), 2);
    assert_eq!(zone.fails("alice", &["meta", "add", "-d", &object(), ADD[0], ADD[1]]), -809_000);
}

#[test]
fn an_atomic_remove_takes_off_the_first_of_several_equal_triples_and_rm_all() {
    let zone = with_object();
    zone.must(&["meeting", "avu", "3", "lock"]);
    assert_eq!(add(&zone, 3), 3);
    for left in ["2", "2"] {
        // The second time the first row is found again, which the object has no longer.
        zone.as_user("alice", &["atomic", &atomic("remove", "lock")]);
        assert_eq!(locks(&zone).0, left);
    }
    zone.as_user("alice", &["meta", "rm", "-d", &object(), ADD[0], ADD[1]]);
    assert_eq!(locks(&zone).0, "0");
}

#[test]
fn an_object_that_has_a_triple_by_a_later_row_is_given_the_first_as_well() {
    let zone = with_object();
    zone.as_user("alice", &["meta", "add", "-C", HOME, "lock", "held"]);
    // In place, because nothing else has that row: now there are two rows of one triple.
    zone.as_user("alice", &["meta", "add", "-d", &object(), "lock", "free"]);
    zone.as_user("alice", &["meta", "set", "-d", &object(), "lock", "held"]);
    zone.as_user("alice", &["meta", "add", "-d", &object(), "lock", "held"]);
    let list = zone.as_user("alice", &["meta", "ls", "--json", "-d", &object()]);
    assert_eq!(list.trim(), r#"[["lock","held",""],["lock","held",""]]"#);
}

#[test]
fn atomic_adds_of_a_new_triple_all_succeed_with_a_row_each() {
    let zone = with_object();
    zone.as_user("alice", &["meta", "add", "-d", &object(), "beside", "v"]);
    zone.must(&["meeting", "avu", "2", "lock"]);
    assert_eq!(winners(&zone, 2, &["atomic", &atomic("add", "lock")]), 2);
    assert_eq!(locks(&zone), ("2".into(), "2".into()));
    // One after the other there is nothing to do for the second.
    zone.as_user("alice", &["atomic", &atomic("add", "lock")]);
    assert_eq!(locks(&zone), ("2".into(), "2".into()));
}

#[test]
fn of_atomic_adds_of_a_known_triple_at_once_one_fails_as_a_whole() {
    let zone = with_object();
    zone.as_user("alice", &["meta", "add", "-C", HOME, ADD[0], ADD[1]]);
    zone.as_user("alice", &["meta", "add", "-C", HOME, "beside", "v"]);
    zone.must(&["meeting", "avu", "2", "lock"]);
    let object = object();
    let request = json!({"entity_name": object, "entity_type": "data_object", "operations": [
        {"operation": "add", "attribute": "lock", "value": "held"},
        {"operation": "add", "attribute": "mine", "value": "v"}]})
    .to_string();
    assert_eq!(winners(&zone, 2, &["atomic", &request]), 1);
    let list = zone.as_user("alice", &["meta", "ls", "--json", "-d", &object]);
    assert_eq!(list.trim(), r#"[["lock","held",""],["mine","v",""]]"#);
}

#[test]
fn a_test_holds_a_plugin_before_a_call_until_it_lets_it_go() {
    let zone = with_object();
    zone.must(&["meeting", "before-modavu", "2", "alice"]);
    let mut held = zone
        .command(&["as", "alice", "call-rule", "trace_modavu", "add", "-d", &object(), "lock", "held"])
        .stdout(Stdio::null())
        .spawn()
        .expect("starts");
    zone.wait_until("it is there", |zone| zone.must(&["meeting", "present", "before-modavu"]).trim() == "1");
    // Others are not held, and what they do is done first.
    zone.plugin_answer("rods", &["trace_modavu_admin", "add", "-d", &object(), "lock", "taken"]);
    assert_eq!(locks(&zone).0, "1");
    zone.must(&["meeting", "join", "before-modavu"]);
    assert!(held.wait().expect("ends").success());
    assert_eq!(locks(&zone).0, "2");
}

#[test]
fn of_many_who_make_a_collection_one_wins() {
    let zone = Zone::new();
    let path = format!("{HOME}/lock");
    zone.must(&["meeting", "collection", "8", &path]);
    assert_eq!(winners(&zone, 8, &["mkdir", &path]), 1);
    assert_eq!(zone.fails("alice", &["mkdir", &path]), -809_000);
    assert_eq!(zone.query("alice", &format!("select COLL_ID where COLL_NAME = '{path}'")).len(), 1);
}

#[test]
fn a_plugin_locks_with_a_collection_that_it_makes_and_removes() {
    let zone = Zone::new();
    let path = format!("{HOME}/lock");
    zone.trace();
    assert_eq!(zone.plugin_answer("alice", &["trace_mkcoll", &path]).0, 0);
    assert_eq!(zone.plugin_answer("rods", &["trace_mkcoll", &path]).0, -809_000);
    assert_eq!(
        zone.plugin_answer("bob", &["trace_mkcoll", &path]).0,
        -818_000,
        "sees neither it nor the parent"
    );
    assert_eq!(zone.plugin_answer("bob", &["trace_rmcoll", &path]).0, -818_000);
    assert_eq!(zone.plugin_answer("alice", &["trace_rmcoll", &path]).0, 0);
    assert_eq!(zone.plugin_answer("alice", &["trace_rmcoll", &path]).0, -814_000);
    assert!(!zone.peps().iter().any(|pep| pep.starts_with("pep_api_")), "server-side calls");
}
