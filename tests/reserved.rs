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
    assert_refused(&zone, &["atomic", &format!("\u{feff}{}", atomic(PATH, "data_object"))]);
    assert_refused(&zone, &["meta", "add", "-d", PATH, "IRODS::OMERO::state", "imported"]);
    let image = zone.image("b.tif");
    let along = format!("{state};imported;");
    assert_refused(&zone, &["put", "--metadata", &along, &image, &format!("{HOME}/b.tif")]);
    assert_eq!(zone.avus("-d", PATH), vec![]);
}

/// The server sets AVUs that come along with any operation that opens a data object, when it closes it again.
#[test]
fn an_owner_cannot_forge_a_record_along_with_any_operation() {
    let zone = zone();
    let here = |name: &str| format!("{HOME}/{name}");
    let local = zone.path("local").to_str().unwrap().to_owned();
    let (copy, made) = (here("copy.tif"), here("made.tif"));
    zone.admin(&["resource", "add", "other", zone.path("other").to_str().unwrap()]);
    for verb in [
        vec!["get", PATH, &local],
        vec!["cp", PATH, &copy],
        vec!["open", "-r", PATH],
        vec!["open", "-w", "-c", &made],
        vec!["replica-open", "-w", PATH],
        vec!["create", &made],
        vec!["repl", "-R", "other", PATH],
        vec!["phymv", "-R", "other", PATH],
    ] {
        for along in ["irods::omero::state;imported;", "a;b;c;\\irods::omero::owner;root"] {
            assert_refused(&zone, &[&["along", along], verb.as_slice()].concat());
        }
    }
    zone.does("alice", &["along", "harmless;x;", "get", PATH, &local]);
    assert_eq!(zone.avus("-d", PATH), vec![]);
}

/// Microservices fire no API enforcement point, but the static one.
#[test]
fn an_owner_cannot_forge_a_record_from_a_rule_text() {
    let zone = zone();
    let meta = |operation: &'static str| {
        vec!["microservice", "meta", operation, "-d", PATH, "irods::omero::state", "imported"]
    };
    assert_refused(&zone, &meta("add"));
    assert_refused(&zone, &meta("set"));
    zone.does("alice", &["microservice", "meta", "add", "-d", PATH, "harmless", "x"]);
    assert_refused(
        &zone,
        &["microservice", "meta", "mod", "-d", PATH, "harmless", "x", "", "n:irods::omero::owner"],
    );
}

#[test]
fn a_record_cannot_be_removed_by_its_number() {
    let zone = zone();
    zone.does("rods", &["meta", "-M", "add", "-d", PATH, "irods::omero::state", "failed"]);
    zone.does("alice", &["meta", "add", "-d", PATH, "harmless", "x"]);
    let id = |attribute: &str| {
        let query = format!("select meta_id from R_META_MAIN where meta_attr_name = '{attribute}'");
        zone.admin(&["sql", &query]).trim().to_owned()
    };
    assert_refused(&zone, &["meta", "rmi", "-d", PATH, &id("irods::omero::state")]);
    assert_refused(&zone, &["meta", "rmi", "-D", PATH, &id("irods::omero::state")]);
    zone.does("alice", &["meta", "rmi", "-d", PATH, &id("harmless")]);
    assert_eq!(zone.value(PATH, "state").as_deref(), Some("failed"));
}

#[test]
fn a_record_cannot_be_copied_to_other_data() {
    let zone = zone();
    zone.does("rods", &["meta", "-M", "add", "-d", PATH, "irods::omero::state", "imported"]);
    let image = zone.image("b.tif");
    let other = format!("{HOME}/b.tif");
    zone.does("alice", &["put", &image, &other]);
    assert_refused(&zone, &["meta", "cp", "-d", "-d", PATH, &other]);
    assert_refused(&zone, &["meta", "cp", "-D", "-D", PATH, &other]);
    zone.does("alice", &["meta", "cp", "-d", "-d", &other, PATH]);
    assert_eq!(zone.avus("-d", &other), vec![]);
    // She is told which attribute it is, of which data, and what to do.
    let told = zone.act("alice", &["meta", "cp", "-d", "-d", PATH, &other]);
    let told = format!("{}{}", told.output, told.error);
    for part in ["'irods::omero::state'", PATH, "imeta add"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn a_copy_between_harmless_collections_has_nobody_elses_data_looked_at() {
    let zone = zone();
    let [from, to] = ["from", "to"].map(|name| format!("{HOME}/{name}"));
    for collection in [&from, &to] {
        zone.does("alice", &["mkdir", collection]);
    }
    zone.does("alice", &["meta", "add", "-C", &from, "colour", "red"]);
    let looks =
        || zone.admin(&["sql", "select count(*) from R_RULE_EXEC where rule_name like '%sweep_skipped%'"]);
    zone.does("alice", &["meta", "cp", "-C", "-C", &from, &to]);
    assert_eq!(looks().trim(), "0");
    // For whom data is put may have changed where such an AVU is copied, which only an administrator can.
    zone.does("rods", &["meta", "-M", "add", "-C", &from, "irods::omero::on_behalf_of", "carol"]);
    let looks_before = looks();
    zone.admin(&["sql", "delete from R_RULE_EXEC where rule_name like '%sweep_skipped%'"]);
    // The server copies nothing onto an object that has one of the AVUs.
    zone.does("alice", &["meta", "rm", "-C", &to, "colour", "red"]);
    zone.does("rods", &["meta", "-M", "cp", "-C", "-C", &from, &to]);
    assert_eq!((looks_before.trim(), looks().trim()), ("1", "1"));
}

/// W3: patterns are none of the guard's business, and neither is their length.
#[test]
fn an_operation_that_the_server_does_not_know_is_answered_by_the_server() {
    let zone = zone();
    let burning = format!("{}z", "%".repeat(12));
    let deep = "%".repeat(200_000);
    let verbs: Vec<_> = [burning.as_str(), &deep, "irods::omero::%", "irods::omero::state"]
        .iter()
        .map(|pattern| json!(["meta", "rmw", "-d", PATH, pattern]))
        .collect();
    let answers = zone.script("alice", &verbs);
    assert_eq!(answers.len(), verbs.len(), "the agent is still there");
    for answer in answers {
        // CAT_INVALID_ARGUMENT
        assert_eq!(answer["code"], -816_000, "{answer}");
    }
    assert!(!zone.log().contains("act=refuse"));
}

/// W9: a mistake in the stanza, or an empty one, opens nothing.
#[test]
fn an_owner_cannot_forge_a_record_while_the_configuration_is_empty_or_wrong() {
    for stanza in [json!({}), json!({"watch": 5, "attributes": {"state": "lab::state"}})] {
        let zone = TestZone::with(|c| *c = stanza.clone());
        let image = zone.image("a.tif");
        zone.does("alice", &["put", &image, PATH]);
        let state = "irods::omero::state";
        assert_refused(&zone, &["meta", "add", "-d", PATH, state, "imported"]);
        assert_refused(&zone, &["microservice", "meta", "set", "-d", PATH, state, "imported"]);
        let atomic = json!({"entity_name": PATH, "entity_type": "data_object", "operations": [
            {"operation": "add", "attribute": state, "value": "imported"}]});
        assert_refused(&zone, &["atomic", &atomic.to_string()]);
        let along = format!("{state};imported;");
        assert_refused(&zone, &["put", "--metadata", &along, &image, &format!("{HOME}/b.tif")]);
        assert_eq!(zone.avus("-d", PATH), vec![]);
        if stanza != json!({}) {
            assert_refused(&zone, &["meta", "add", "-d", PATH, "lab::state", "imported"]);
        }
        // Everything else is as without the plugin.
        zone.does("alice", &["meta", "add", "-d", PATH, "harmless", "x"]);
        zone.does("alice", &["meta", "add", "-C", HOME, "irods::omero::import", "on"]);
        zone.does("alice", &["meta", "cp", "-d", "-C", PATH, HOME]);
        zone.does("rods", &["meta", "-M", "add", "-d", PATH, state, "failed"]);
    }
}

#[test]
fn administrators_may_and_the_tag_is_the_owners_to_set() {
    let zone = zone();
    zone.does("rods", &["meta", "-M", "add", "-d", PATH, "irods::omero::state", "failed"]);
    zone.does("alice", &["meta", "add", "-C", HOME, "irods::omero::import", "on"]);
    zone.does("alice", &["meta", "add", "-d", PATH, "irods", "omero"]);
}
