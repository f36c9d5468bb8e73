// SPDX-License-Identifier: BSD-3-Clause
//! How rule engines are asked, in which order, and what their answers do to the client.

mod common;

use common::{HOME, Zone};
use serde_json::json;

const CONTINUE: &str = "5000000";
const SKIP: &str = "5001000";

fn object() -> String {
    format!("{HOME}/x.tif")
}

fn names(zone: &Zone, part: &str) -> Vec<String> {
    zone.trace().into_iter().filter(|line| line.contains(part)).collect()
}

#[test]
fn life_of_a_plugin() {
    let zone = Zone::new();
    zone.trace();
    zone.as_user("alice", &["mkdir", &object()]);
    let lines = zone.trace();
    let config = zone.path("zone/config");
    assert_eq!(lines.first().expect("some"), &format!("trace setup {}", common::text(config)));
    assert_eq!(lines[1], "trace start");
    assert_eq!(lines[lines.len() - 2], "trace stop");
    assert_eq!(lines.last().expect("some"), "trace teardown");
}

#[test]
fn a_failing_pre_stops_the_operation_and_its_code_reaches_the_client() {
    let mut zone = Zone::new();
    let file = zone.file("x.tif", "contents");
    zone.set("TRACE_ANSWERS", "trace/pep_api_data_obj_put_pre=-818000");
    zone.trace();
    assert_eq!(zone.fails("alice", &["put", &file, &object()]), -818_000);
    let fired = names(&zone, "data_obj_put");
    assert_eq!(fired.len(), 3, "{fired:?}");
    assert!(fired[0].contains("_pre") && fired[1].contains("_except") && fired[2].contains("_finally"));
    assert!(!zone.path("zone/Vault/home/alice/x.tif").exists());
}

#[test]
fn a_failing_post_fails_for_the_client_although_the_data_is_stored() {
    let mut zone = Zone::new();
    let file = zone.file("x.tif", "contents");
    zone.set("TRACE_ANSWERS", "trace/pep_api_data_obj_put_post=-169000");
    assert_eq!(zone.fails("alice", &["put", &file, &object()]), -169_000);
    assert!(zone.path("zone/Vault/home/alice/x.tif").exists());
    assert_eq!(zone.query("alice", "select DATA_REPL_STATUS"), [["1"]]);
}

#[test]
fn a_skipped_operation_still_fires_post() {
    let mut zone = Zone::new();
    let file = zone.file("x.tif", "contents");
    zone.set("TRACE_ANSWERS", &format!("trace/pep_api_data_obj_put_pre={SKIP}"));
    zone.trace();
    zone.as_user("alice", &["put", &file, &object()]);
    assert!(!zone.path("zone/Vault/home/alice/x.tif").exists());
    assert_eq!(names(&zone, "data_obj_put_post").len(), 1);
}

#[test]
fn continue_asks_the_next_engine_and_success_does_not() {
    let mut zone = Zone::with_instances(&["first", "second"]);
    let pep = "pep_api_coll_create_pre";
    for (answer, heard) in [(CONTINUE, 2), ("-66000", 2), ("0", 1)] {
        zone.set("TRACE_ANSWERS", &format!("first/{pep}={answer}"));
        zone.trace();
        let path = format!("{HOME}/made{answer}");
        let output = zone.run(&["as", "alice", "mkdir", &path]);
        assert_eq!(names(&zone, pep).len(), heard, "after {answer}");
        assert!(output.status.success());
    }
    // The last engine's SYS_NOT_SUPPORTED is no failure either.
    zone.set("TRACE_ANSWERS", &format!("second/{pep}=-66000"));
    zone.as_user("alice", &["mkdir", &format!("{HOME}/last")]);
}

#[test]
fn an_operation_that_matches_no_registered_regex_is_not_offered() {
    let mut zone = Zone::new();
    zone.set("TRACE_REGEX", "pep_api_coll_create_(pre|post)");
    zone.trace();
    zone.as_user("alice", &["mkdir", &object()]);
    let fired: Vec<String> = names(&zone, " pep_");
    assert_eq!(
        fired,
        ["trace pep_api_coll_create_pre (CollInp*)", "trace pep_api_coll_create_post (CollInp*)"]
    );
}

#[test]
fn messages_reach_the_client() {
    let zone = Zone::new();
    let answers = zone.script("alice", &[json!(["call-rule", "trace_message", "why not"])]);
    assert_eq!(answers[0].code, 0, "{answers:?}");
    assert_eq!(answers[0].messages, ["why not"]);
}

#[test]
fn rule_text_reaches_the_instance_it_is_for() {
    let zone = Zone::with_instances(&["first", "second"]);
    zone.trace();
    let printed = zone.as_user("alice", &["rule", "-r", "second", "{\"a\": 1}"]);
    assert_eq!(printed, "heard: @external rule { {\"a\": 1} }\n");
    assert_eq!(
        names(&zone, " text "),
        ["second text ruleExecOut alice#tempZone/3 @external rule { {\"a\": 1} }"]
    );
    let file = zone.file("rule.r", "{\"b\": 2}");
    assert_eq!(
        zone.as_user("alice", &["rule", "-r", "second", "-F", &file]),
        "heard: @external\n{\"b\": 2}\n"
    );

    zone.trace();
    zone.as_user("alice", &["rule", "for all"]);
    assert_eq!(names(&zone, " text ").len(), 2, "without an instance every engine hears it");
    assert_eq!(zone.fails("alice", &["rule", "-r", "nobody", "x"]), -130_000);
}

#[test]
fn a_plugin_that_cannot_be_loaded_is_named() {
    let zone = Zone::new();
    let config = zone.path("zone/config/server_config.json");
    let text = std::fs::read_to_string(&config).expect("read").replace("\"trace\"", "\"absent\"");
    std::fs::write(&config, text).expect("write");
    let output = zone.run(&["as", "alice", "ls", HOME]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("libabsent.so"));
}

#[test]
fn statistics_count_what_plugins_ask_of_the_server() {
    let zone = Zone::new();
    let file = zone.path("stats.json");
    let stats = common::text(&file);
    zone.must(&["--stats", &stats, "as", "alice", "call-rule", "trace_genquery2", "select COLL_NAME"]);
    let line: serde_json::Value =
        serde_json::from_str(std::fs::read_to_string(&file).expect("there").trim()).expect("JSON");
    assert_eq!(line["user"], "alice");
    assert_eq!(line["counts"]["genquery2"], 1);
}

#[test]
fn faults_on_demand() {
    let mut zone = Zone::new();
    zone.set("ZONE_FAIL", "genquery2=-806000:1");
    let answers = zone.script(
        "alice",
        &[
            json!(["call-rule", "trace_genquery2", "select ZONE_NAME"]),
            json!(["call-rule", "trace_genquery2", "select ZONE_NAME"]),
        ],
    );
    assert!(answers[0].output.contains("-806000"));
    assert!(answers[1].output.contains("tempZone"));
}
