// SPDX-License-Identifier: BSD-3-Clause
//! The states a replica goes through while it is written, and what is left when a writer dies.

mod common;

use common::{HOME, Zone};
use serde_json::json;

fn object() -> String {
    format!("{HOME}/x.tif")
}

fn statuses(zone: &Zone) -> Vec<Vec<String>> {
    zone.query("alice", "select DATA_REPL_NUM, DATA_REPL_STATUS order by DATA_REPL_NUM")
}

/// The status column as another process sees it while this script runs: the script asks itself, in between.
const STATUS: &str = "select DATA_REPL_NUM, DATA_REPL_STATUS order by DATA_REPL_NUM";

#[test]
fn a_new_replica_is_intermediate_until_it_is_closed() {
    let zone = Zone::new();
    let answers = zone.script(
        "alice",
        &[
            json!(["open", "-w", "-c", object()]),
            json!(["write", 3, "abc"]),
            json!(["query", STATUS]),
            json!(["close", 3]),
            json!(["query", STATUS]),
        ],
    );
    assert_eq!(answers[2].output.trim(), r#"[["0","2"]]"#);
    assert_eq!(answers[4].output.trim(), r#"[["0","1"]]"#);
}

#[test]
fn siblings_are_write_locked_then_stale() {
    let zone = Zone::new();
    zone.must(&["resource", "add", "other", &common::text(zone.path("other"))]);
    let file = zone.file("x.tif", "contents");
    zone.as_user("alice", &["put", &file, &object()]);
    zone.as_user("alice", &["repl", "-R", "other", &object()]);
    let answers = zone.script(
        "alice",
        &[
            json!(["open", "-w", object()]),
            json!(["query", STATUS]),
            json!(["rm", object()]),
            json!(["open", "-w", object()]),
            json!(["write", 3, "new"]),
            json!(["close", 3]),
            json!(["query", STATUS]),
        ],
    );
    assert_eq!(answers[1].output.trim(), r#"[["0","2"],["1","4"]]"#);
    assert_eq!(answers[2].code, -405_000);
    assert_eq!(answers[3].code, -405_000);
    assert_eq!(answers[6].output.trim(), r#"[["0","1"],["1","0"]]"#);
}

#[test]
fn closing_without_having_written_restores_everything() {
    let zone = Zone::new();
    zone.must(&["resource", "add", "other", &common::text(zone.path("other"))]);
    let file = zone.file("x.tif", "contents");
    zone.as_user("alice", &["put", &file, &object()]);
    zone.as_user("alice", &["repl", "-R", "other", &object()]);
    zone.script("alice", &[json!(["open", "-w", object()]), json!(["close", 3])]);
    assert_eq!(statuses(&zone), [["0", "1"], ["1", "1"]]);
}

#[test]
fn only_the_last_of_several_streams_finishes_the_replica() {
    let zone = Zone::new();
    let mut first = zone.script(
        "alice",
        &[
            json!(["replica-open", "-rw", "-c", object()]),
            json!(["write", 3, "first"]),
            json!(["query", STATUS]),
        ],
    );
    assert_eq!(first.remove(2).output.trim(), r#"[["0","2"]]"#);

    // In one connection: two descriptors, the second one told apart by the token.
    let zone = Zone::new();
    let answers =
        zone.script("alice", &[json!(["replica-open", "-rw", "-c", object()]), json!(["die", "--agent"])]);
    let opened: serde_json::Value = serde_json::from_str(&answers[0].output).expect("JSON");
    let token = opened["token"].as_str().expect("token");
    let answers = zone.script(
        "alice",
        &[
            json!(["replica-open", "-rw", object()]),
            json!(["replica-open", "-rw", "--token", token, object()]),
            json!(["replica-open", "-rw", "--token", token, object()]),
            json!(["write", 3, "aaa"]),
            json!(["replica-close", "--no-size", "--no-status", "--no-notify", 3]),
            json!(["query", STATUS]),
            json!(["replica-close", 4]),
            json!(["query", STATUS]),
        ],
    );
    assert_eq!(answers[0].code, -405_000, "no token, no entry");
    assert_eq!((answers[1].code, answers[2].code), (3, 4));
    assert_eq!(answers[5].output.trim(), r#"[["0","2"]]"#);
    assert_eq!(answers[7].output.trim(), r#"[["0","1"]]"#);
    let closes: Vec<_> = zone.peps().into_iter().filter(|p| p.contains("replica_close_post")).collect();
    assert_eq!(closes.len(), 2);
}

#[test]
fn the_client_dies() {
    let zone = Zone::new();
    zone.trace();
    zone.script(
        "alice",
        &[json!(["open", "-w", "-c", object()]), json!(["write", 3, "abc"]), json!(["die"])],
    );
    let lines = zone.trace();
    assert!(!lines.iter().any(|line| line.contains("close")), "nobody closes");
    assert!(lines.iter().any(|line| line == "trace stop"));
    assert_eq!(statuses(&zone), [["0", "0"]], "stale");
}

#[test]
fn the_agent_dies() {
    let zone = Zone::new();
    zone.trace();
    zone.script(
        "alice",
        &[json!(["open", "-w", "-c", object()]), json!(["write", 3, "abc"]), json!(["die", "--agent"])],
    );
    assert!(!zone.trace().iter().any(|line| line == "trace stop"));
    assert_eq!(statuses(&zone), [["0", "2"]], "intermediate for ever");
    assert_eq!(zone.fails("alice", &["open", "-r", &object()]), -405_000);
}

#[test]
fn a_descriptor_tells_its_path_until_it_is_closed() {
    let zone = Zone::new();
    let answers = zone.script(
        "alice",
        &[
            json!(["open", "-w", "-c", object()]),
            json!(["call-rule", "trace_fdinfo", "{\"fd\": 3}"]),
            json!(["close", 3]),
            json!(["call-rule", "trace_fdinfo", "{\"fd\": 3}"]),
        ],
    );
    let words: Vec<String> = serde_json::from_str(&answers[1].output).expect("JSON");
    let info: serde_json::Value =
        serde_json::from_str(words[0].strip_prefix("0 ").expect("success")).expect("JSON");
    assert_eq!(info["data_object_info"]["object_path"], object());
    assert_eq!(info["data_object_input"]["open_flags"], 0o101, "O_WRONLY | O_CREAT");
    assert_eq!(info["open_type"], 1);
    assert!(answers[3].output.contains("-130000"));
}
