// SPDX-License-Identifier: BSD-3-Clause
//! A catalog consumer: what it forwards to the provider fires enforcement points on both servers, and what a
//! plugin asks of the catalog there is asked with the rights the user really has.

mod common;

use common::{HOME, Zone, server_config};
use serde_json::json;

fn object() -> String {
    format!("{HOME}/x.tif")
}

/// A zone with a consumer called `edge`, whose plugin instance is `edge` too.
fn with_consumer() -> Zone {
    let zone = Zone::new();
    let config = zone.path("consumer.json");
    std::fs::write(&config, server_config("consumer", &["edge"]).to_string()).expect("write");
    zone.must(&["server", "add", "edge", "--config", &common::text(&config)]);
    zone
}

/// What fired, without the life calls and the finally ones: instance and name.
fn fired(zone: &Zone) -> Vec<String> {
    zone.trace()
        .into_iter()
        .filter(|line| line.contains(" pep_") && !line.contains("_finally") && !line.contains("_obj_stat_"))
        .map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn a_forwarded_call_fires_on_both_servers() {
    let zone = with_consumer();
    zone.trace();
    zone.must(&["--server", "edge", "as", "alice", "meta", "add", "-C", HOME, "a", "v"]);
    assert_eq!(
        fired(&zone),
        [
            "edge pep_api_mod_avu_metadata_pre",
            "trace pep_api_mod_avu_metadata_pre",
            "trace pep_database_add_avu_metadata_pre",
            "trace pep_database_add_avu_metadata_post",
            "trace pep_api_mod_avu_metadata_post",
            "edge pep_api_mod_avu_metadata_post",
        ]
    );
    assert_eq!(zone.query("alice", "select META_COLL_ATTR_VALUE where META_COLL_ATTR_NAME = 'a'"), [["v"]]);
}

#[test]
fn a_put_fires_its_api_points_here_and_its_catalog_points_there() {
    let zone = with_consumer();
    let file = zone.file("x.tif", "contents");
    zone.trace();
    zone.must(&["--server", "edge", "as", "alice", "put", &file, &object()]);
    assert_eq!(
        fired(&zone),
        [
            "edge pep_api_data_obj_put_pre",
            "trace pep_database_reg_data_obj_pre",
            "trace pep_database_reg_data_obj_post",
            "trace pep_database_mod_coll_pre",
            "trace pep_database_mod_coll_post",
            "edge pep_resource_modified_pre",
            "edge pep_resource_modified_post",
            "trace pep_database_mod_coll_pre",
            "trace pep_database_mod_coll_post",
            "edge pep_api_data_obj_put_post",
        ]
    );
    assert_eq!(zone.query("alice", "select DATA_NAME"), [["x.tif"]]);
}

#[test]
fn every_forwarded_verb_does_its_work() {
    let zone = with_consumer();
    let file = zone.file("x.tif", "contents");
    let edge = |words: &[&str]| {
        let mut all = vec!["--server", "edge", "as", "alice"];
        all.extend_from_slice(words);
        zone.must(&all)
    };
    edge(&["mkdir", "-p", &format!("{HOME}/d/e")]);
    edge(&["put", &file, &object()]);
    edge(&["cp", &object(), &format!("{HOME}/y.tif")]);
    edge(&["mv", &object(), &format!("{HOME}/d")]);
    edge(&["chmod", "read", "bob", &format!("{HOME}/y.tif")]);
    edge(&["chmod", "inherit", HOME]);
    edge(&["rm", &format!("{HOME}/y.tif")]);
    edge(&["rm", "-r", "-f", &format!("{HOME}/d/e")]);
    assert_eq!(
        zone.query("alice", "select COLL_NAME, DATA_NAME order by DATA_NAME"),
        [[format!("{HOME}/d"), "x.tif".into()], ["/tempZone/trash/home/alice".into(), "y.tif".into()]]
    );
    assert_eq!(
        zone.query("alice", "select COLL_INHERITANCE where COLL_NAME = '/tempZone/home/alice'"),
        [["1"]]
    );
}

#[test]
fn a_flag_raised_here_means_nothing_there() {
    let zone = with_consumer();
    let file = zone.file("x.tif", "contents");
    zone.as_user("alice", &["put", &file, &object()]);
    let request = json!({"admin_mode": true, "entity_name": object(), "entity_type": "data_object",
        "operations": [{"operation": "add", "attribute": "a", "value": "v"}]})
    .to_string();
    let on = |server: &[&str], words: &[&str]| {
        let mut all = server.to_vec();
        all.extend_from_slice(&["as", "bob", "call-rule"]);
        all.extend_from_slice(words);
        zone.must(&all)
    };
    let query = "select DATA_NAME";
    assert!(on(&[], &["trace_genquery2_admin", query]).contains("x.tif"));
    assert!(!on(&["--server", "edge"], &["trace_genquery2_admin", query]).contains("x.tif"));
    assert!(on(&["--server", "edge"], &["trace_atomic_admin", &request]).contains("-130000"));
    let words = ["trace_modavu_admin", "add", "-d", &object(), "a", "v"];
    assert!(on(&["--server", "edge"], &words).contains("-830000"));
}

#[test]
fn a_plugins_own_calls_come_back_as_enforcement_points_on_the_provider() {
    let zone = with_consumer();
    zone.trace();
    let request = json!({"entity_name": HOME, "entity_type": "collection",
        "operations": [{"operation": "add", "attribute": "a", "value": "v"}]})
    .to_string();
    zone.must(&["--server", "edge", "as", "alice", "call-rule", "trace_atomic", &request]);
    assert_eq!(
        fired(&zone),
        [
            "trace pep_api_atomic_apply_metadata_operations_pre",
            "trace pep_api_atomic_apply_metadata_operations_post",
        ]
    );
}
