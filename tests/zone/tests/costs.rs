// SPDX-License-Identifier: BSD-3-Clause
//! What a plugin costs: counted for each verb, for each connection, and for the zone.

mod common;

use common::{HOME, Zone, server_config};
use serde_json::{Value, json};

fn atomic_add(attribute: &str) -> String {
    json!({"entity_name": HOME, "entity_type": "collection", "operations": [
        {"operation": "add", "attribute": attribute, "value": "v"}]})
    .to_string()
}

/// The sums of the zone's ledger.
fn costs(zone: &Zone) -> Value {
    serde_json::from_str(&zone.must(&["costs"])).expect("JSON")
}

#[test]
fn what_opens_a_connection_to_the_database_is_told_from_what_uses_the_agents_own() {
    let zone = Zone::new();
    let answers = zone.script(
        "alice",
        &[
            json!(["call-rule", "trace_genquery1", "nothing"]),
            json!(["call-rule", "trace_modavu", "add", "-C", HOME, "a", "v"]),
            json!(["call-rule", "trace_delay", "x", "<INST_NAME>trace</INST_NAME>"]),
            json!(["call-rule", "trace_genquery2", format!("select COLL_ID where COLL_NAME = '{HOME}'")]),
            json!(["call-rule", "trace_atomic", atomic_add("b")]),
        ],
    );
    assert!(answers.iter().all(|answer| answer.code == 0), "{answers:?}");
    let counted: Vec<_> = ["genquery1", "modavu", "delayexec", "genquery2", "atomic"]
        .iter()
        .zip(&answers)
        .map(|(name, answer)| (answer.cost(name), answer.cost("database_connections")))
        .collect();
    assert_eq!(counted, [(1, 0), (1, 0), (1, 0), (1, 1), (1, 1)]);
    assert!(answers.iter().all(|answer| answer.cost("statements") >= 1), "{answers:?}");
    assert_eq!(answers[3].cost("rows"), 1);
}

#[test]
fn a_verb_whose_plugin_asks_nothing_costs_nothing() {
    let zone = Zone::new();
    let file = zone.file("x.tif", "contents");
    let answers = zone.script("alice", &[json!(["put", file, format!("{HOME}/x.tif")])]);
    assert_eq!((answers[0].code, answers[0].cost("statements")), (0, 0));
    assert_eq!(answers[0].cost("database_connections"), 0);
    assert!(answers[0].cost("pep_executed") > 0);
}

#[test]
fn the_zone_sums_up_clients_and_delayed_rules_also_of_agents_that_died() {
    let zone = Zone::new();
    let ask = json!(["call-rule", "trace_genquery2", "select COLL_NAME"]);
    zone.script("alice", std::slice::from_ref(&ask));
    zone.script("alice", &[ask.clone(), json!(["die"])]);
    zone.script("alice", &[ask, json!(["die", "--agent"])]);
    zone.as_user("alice", &["delay", "<INST_NAME>trace</INST_NAME>", "x"]);
    zone.must(&["delay-server", "--sleep", "0.05", "--until-idle", "--timeout", "60"]);
    let sums = costs(&zone);
    assert_eq!(sums["clients"]["database_connections"], 3);
    assert_eq!(sums["clients"]["agents"], 4);
    assert_eq!(sums["rules"]["agents"], 1);
}

#[test]
fn what_a_consumer_forwards_opens_its_connection_on_the_provider() {
    let zone = Zone::new();
    let config = zone.path("consumer.json");
    std::fs::write(&config, server_config("consumer", &["edge"]).to_string()).expect("write");
    zone.must(&["server", "add", "edge", "--config", &common::text(&config)]);
    zone.must(&["--server", "edge", "as", "alice", "call-rule", "trace_genquery2", "select COLL_NAME"]);
    let sums = costs(&zone);
    assert_eq!(
        (&sums["clients"]["forwarded"], &sums["clients"]["database_connections"]),
        (&json!(1), &json!(1))
    );
}
