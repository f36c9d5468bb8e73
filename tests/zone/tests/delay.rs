// SPDX-License-Identifier: BSD-3-Clause
//! The delay queue: when a rule runs, as whom, how often, and what is left of it.

mod common;

use std::time::{Duration, Instant};

use common::Zone;
use serde_json::{Value, json};

fn queue(zone: &Zone) -> Vec<Value> {
    serde_json::from_str(&zone.as_user("alice", &["qstat", "--json"])).expect("JSON")
}

fn runs(zone: &Zone) -> Vec<String> {
    zone.trace().into_iter().filter(|line| line.contains(" expression ")).collect()
}

fn until_idle(zone: &Zone) {
    zone.must(&["delay-server", "--sleep", "0.1", "--until-idle", "--timeout", "60"]);
}

#[test]
fn a_rule_runs_as_the_user_who_queued_it() {
    let zone = Zone::new();
    zone.as_user("alice", &["delay", "<INST_NAME>trace</INST_NAME>", "{\"do\": \"it\"}"]);
    until_idle(&zone);
    assert_eq!(runs(&zone), ["trace expression alice#tempZone/3 rods#tempZone/5 {\"do\": \"it\"}"]);
    assert!(queue(&zone).is_empty());
}

#[test]
fn a_plugin_queues_with_delay_exec() {
    let zone = Zone::new();
    let answers = zone.script(
        "alice",
        &[json!(["call-rule", "trace_delay", "text", "<INST_NAME>trace</INST_NAME><PLUSET>1s</PLUSET>"])],
    );
    assert!(answers[0].output.starts_with("[\"0 "), "{answers:?}");
    let waiting = queue(&zone);
    assert_eq!(waiting[0]["user"], "alice");
    assert_eq!(waiting[0]["instance"], "trace");
    until_idle(&zone);
    assert_eq!(runs(&zone).len(), 1);
}

#[test]
fn without_repetition_a_failed_rule_is_gone_too() {
    let mut zone = Zone::new();
    zone.set("TRACE_EXPRESSION", "-169000");
    zone.as_user("alice", &["delay", "<INST_NAME>trace</INST_NAME>", "x"]);
    until_idle(&zone);
    assert_eq!(runs(&zone).len(), 1);
    assert!(queue(&zone).is_empty());
}

#[test]
fn double_until_success_tries_as_often_as_it_says_then_is_deleted() {
    let mut zone = Zone::new();
    zone.set("TRACE_EXPRESSION", "-169000");
    zone.as_user(
        "alice",
        &["delay", "<INST_NAME>trace</INST_NAME><EF>1s DOUBLE UNTIL SUCCESS OR 3 TIMES</EF>", "x"],
    );
    let started = Instant::now();
    until_idle(&zone);
    assert_eq!(runs(&zone).len(), 3);
    assert!(started.elapsed() >= Duration::from_millis(1900), "one second, then two");
    assert!(queue(&zone).is_empty());
}

#[test]
fn success_ends_the_repetition_and_continue_counts_as_success() {
    let mut zone = Zone::new();
    for code in ["0", "5000000"] {
        zone.set("TRACE_EXPRESSION", code);
        zone.as_user(
            "alice",
            &["delay", "<INST_NAME>trace</INST_NAME><EF>1s REPEAT UNTIL SUCCESS</EF>", "x"],
        );
        until_idle(&zone);
        assert_eq!(runs(&zone).len(), 1, "{code}");
        assert!(queue(&zone).is_empty());
    }
}

#[test]
fn the_count_is_written_into_the_frequency() {
    let mut zone = Zone::new();
    zone.set("TRACE_EXPRESSION", "-169000");
    zone.as_user(
        "alice",
        &["delay", "<INST_NAME>trace</INST_NAME><EF>60s DOUBLE UNTIL SUCCESS OR 5 TIMES</EF>", "x"],
    );
    zone.must(&["delay-server", "--once"]);
    let left = queue(&zone);
    assert_eq!(left[0]["frequency"], "120s DOUBLE UNTIL SUCCESS OR 4 TIMES. ORIGINAL TIMES=5");
    assert_eq!(left[0]["lock_host"], "");
}

#[test]
fn a_recurring_rule_stays_whatever_it_answers() {
    let mut zone = Zone::new();
    for code in ["0", "-169000"] {
        zone.set("TRACE_EXPRESSION", code);
        zone.as_user(
            "alice",
            &["delay", "<INST_NAME>trace</INST_NAME><EF>5m REPEAT FOR EVER</EF>", "recurring"],
        );
    }
    until_idle(&zone);
    assert_eq!(runs(&zone).len(), 2);
    assert_eq!(queue(&zone).len(), 2);
    until_idle(&zone);
    assert!(runs(&zone).is_empty(), "not due again for five minutes");
}

#[test]
fn a_rule_is_not_run_before_it_is_due() {
    let zone = Zone::new();
    zone.as_user("alice", &["delay", "<INST_NAME>trace</INST_NAME><PLUSET>1h</PLUSET>", "x"]);
    zone.must(&["delay-server", "--once"]);
    assert!(runs(&zone).is_empty());
    assert_eq!(queue(&zone).len(), 1);
}

#[test]
fn a_killed_agent_is_a_failed_run() {
    let mut zone = Zone::new();
    zone.set("TRACE_EXPRESSION", "kill");
    zone.as_user("alice", &["delay", "<INST_NAME>trace</INST_NAME><EF>1h REPEAT UNTIL SUCCESS</EF>", "x"]);
    zone.as_user("alice", &["delay", "<INST_NAME>trace</INST_NAME>", "once"]);
    zone.must(&["delay-server", "--once"]);
    assert_eq!(runs(&zone).len(), 2);
    let left = queue(&zone);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["lock_host"], "");
}

#[test]
fn a_killed_agent_may_leave_its_rule_locked_as_5_0_2_does() {
    let mut zone = Zone::new();
    zone.set("TRACE_EXPRESSION", "kill");
    zone.as_user("alice", &["delay", "<INST_NAME>trace</INST_NAME><EF>1s REPEAT FOR EVER</EF>", "x"]);
    zone.must(&["delay-server", "--once", "--killed-agent", "stuck"]);
    assert_eq!(queue(&zone)[0]["lock_host"], "provider");
    zone.must(&["delay-server", "--once"]);
    assert_eq!(runs(&zone).len(), 1, "never again");
}

#[test]
fn several_executors_work_at_once() {
    let mut zone = Zone::new();
    zone.set("TRACE_EXPRESSION", "hang");
    for _ in 0..3 {
        zone.as_user("alice", &["delay", "<INST_NAME>trace</INST_NAME>", "x"]);
    }
    // Each hangs; the time-out ends them. All that may start have started.
    let output = zone.run(&["delay-server", "--executors", "2", "--sleep", "0.1", "--timeout", "2"]);
    assert!(!output.status.success());
    assert_eq!(runs(&zone).len(), 2);
}

#[test]
fn two_delay_servers_do_not_run_a_rule_twice() {
    let zone = Zone::new();
    for i in 0..20 {
        zone.as_user("alice", &["delay", "<INST_NAME>trace</INST_NAME>", &format!("rule {i}")]);
    }
    let mut servers: Vec<_> = (0..2)
        .map(|_| {
            zone.command(&["delay-server", "--sleep", "0.05", "--until-idle", "--timeout", "60"])
                .spawn()
                .expect("starts")
        })
        .collect();
    for server in &mut servers {
        assert!(server.wait().expect("ends").success());
    }
    let mut heard = runs(&zone);
    heard.sort();
    heard.dedup();
    assert_eq!(heard.len(), 20);
}

#[test]
fn limits_of_the_text() {
    let zone = Zone::new();
    let condition = "<INST_NAME>trace</INST_NAME>";
    zone.as_user("alice", &["delay", condition, &"x".repeat(2700)]);
    assert_eq!(zone.fails("alice", &["delay", condition, &"x".repeat(2701)]), -806_000);
    assert_eq!(zone.fails("alice", &["delay", condition, "a file called $objPath.tif"]), -1_209_000);
    zone.as_user("alice", &["delay", condition, "a file called $object.tif"]);
}

#[test]
fn the_owner_may_delete_a_rule_and_a_stranger_not() {
    let zone = Zone::new();
    let id = zone.as_user("alice", &["delay", "<INST_NAME>trace</INST_NAME>", "x"]);
    assert_eq!(zone.fails("bob", &["qdel", id.trim()]), -830_000);
    assert!(zone.as_user("bob", &["qstat"]).contains('x'), "everybody may read it");
    zone.as_user("alice", &["qdel", id.trim()]);
    assert!(queue(&zone).is_empty());
}
