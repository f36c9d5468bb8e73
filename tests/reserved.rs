//! Our attributes can be trusted: nobody but the plugin and the administrators writes them, by any route.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::json;
use support::zone::TestZone;

const PATH: &str = "/tempZone/home/alice/a.tif";
const HOME: &str = "/tempZone/home/alice";

fn zone() -> TestZone {
    let zone = TestZone::with(|c| c["quiet_period_in_seconds"] = json!(3_600));
    let image = zone.image("a.tif");
    zone.does("alice", &["put", &image, PATH]);
    zone
}

fn assert_refused(zone: &TestZone, words: &[&str]) {
    let seen = zone.act("alice", words);
    assert!(!seen.ok, "{words:?} was let through");
    let told = format!("{}{}", seen.output, seen.error);
    assert!(told.contains("-830000") && told.contains("is reserved"), "{words:?}: {told}");
}

#[test]
fn an_owner_cannot_forge_a_record_by_any_metadata_route() {
    let zone = zone();
    zone.does("alice", &["meta", "add", "-d", PATH, "harmless", "x"]);
    let state = "irods::omero::state";
    assert_refused(&zone, &["meta", "add", "-d", PATH, state, "imported"]);
    assert_refused(&zone, &["meta", "set", "-d", PATH, state, "imported"]);
    assert_refused(&zone, &["meta", "add", "-C", HOME, "irods::omero::due", "carol#tempZone"]);
    assert_refused(&zone, &["meta", "rm", "-C", HOME, "irods::omero::due", "alice#tempZone"]);
    assert_refused(&zone, &["meta", "mod", "-d", PATH, "harmless", "x", "n:irods::omero::owner"]);
    let atomic = |entity: &str, kind: &str| {
        json!({"entity_name": entity, "entity_type": kind, "operations": [
            {"operation": "add", "attribute": "a", "value": "b"},
            {"operation": "add", "attribute": state, "value": "imported"}]})
        .to_string()
    };
    assert_refused(&zone, &["atomic", &atomic(PATH, "data_object")]);
    let image = zone.image("b.tif");
    let along = format!("{state};imported;");
    assert_refused(&zone, &["put", "--metadata", &along, &image, &format!("{HOME}/b.tif")]);
    assert_eq!(zone.avus("-d", PATH), vec![]);
}

#[test]
fn a_record_cannot_be_copied_to_other_data() {
    let zone = zone();
    zone.does("rods", &["meta", "-M", "add", "-d", PATH, "irods::omero::state", "imported"]);
    let image = zone.image("b.tif");
    let other = format!("{HOME}/b.tif");
    zone.does("alice", &["put", &image, &other]);
    assert_refused(&zone, &["meta", "cp", "-d", "-d", PATH, &other]);
    zone.does("alice", &["meta", "cp", "-d", "-d", &other, PATH]);
}

#[test]
fn administrators_may_and_the_tag_is_the_owners_to_set() {
    let zone = zone();
    zone.does("rods", &["meta", "-M", "add", "-d", PATH, "irods::omero::state", "failed"]);
    zone.does("alice", &["meta", "add", "-C", HOME, "irods::omero::import", "on"]);
    zone.does("alice", &["meta", "add", "-d", PATH, "irods", "omero"]);
}
