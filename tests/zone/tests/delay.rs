// SPDX-License-Identifier: BSD-3-Clause
//! The delay queue: when a rule runs, as whom, how often, and what is left of it.

mod common;

use std::process::Command;
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
    zone.must(&["delay-server", "--once", "--killed-agent", "failed"]);
    assert_eq!(runs(&zone).len(), 2);
    let left = queue(&zone);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["lock_host"], "");
}

#[test]
fn a_killed_agent_leaves_a_repeating_rule_locked_and_another_is_gone() {
    let mut zone = Zone::new();
    zone.set("TRACE_EXPRESSION", "kill");
    zone.as_user("alice", &["delay", "<INST_NAME>trace</INST_NAME><EF>1s REPEAT FOR EVER</EF>", "x"]);
    zone.as_user("alice", &["delay", "<INST_NAME>trace</INST_NAME>", "once"]);
    zone.must(&["delay-server", "--once"]);
    assert_eq!(runs(&zone).len(), 2);
    let left = queue(&zone);
    assert_eq!((left.len(), &left[0]["lock_host"]), (1, &json!("provider")));
    zone.must(&["delay-server", "--once"]);
    assert!(runs(&zone).is_empty(), "never again");
}

#[test]
fn a_delay_server_that_dies_leaves_its_rules_locked_and_its_agents_go_on() {
    let mut zone = Zone::new();
    let go = zone.path("go");
    zone.set("TRACE_EXPRESSION", &format!("wait {}", common::text(&go)));
    for i in 0..3 {
        zone.as_user("alice", &["delay", "<INST_NAME>trace</INST_NAME>", &format!("rule {i}")]);
    }
    let mut server =
        zone.command(&["delay-server", "--executors", "2", "--sleep", "0.05"]).spawn().expect("starts");
    let pid = server.id().to_string();
    let begun = |zone: &Zone| {
        std::fs::read_to_string(zone.path("trace.log")).unwrap_or_default().matches(" expression ").count()
    };
    zone.wait_until("two rules run", |zone| begun(zone) == 2);
    server.kill().expect("killed");
    server.wait().expect("ends");

    let locks = |zone: &Zone| -> Vec<(String, String)> {
        let pair = |rule: &Value| {
            let word = |name: &str| rule[name].as_str().expect("text").to_owned();
            (word("lock_host"), word("lock_pid"))
        };
        queue(zone).iter().map(pair).collect()
    };
    let held = ("provider".to_owned(), pid.clone());
    assert_eq!(locks(&zone), [held.clone(), held.clone(), (String::new(), String::new())]);

    // The agents come to the end of their rules; nobody is left to take them off the queue.
    std::fs::write(&go, "").expect("write");
    zone.wait_until("both agents have ended", |zone| {
        let costs: Value = serde_json::from_str(&zone.must(&["costs"])).expect("JSON");
        costs["rules"]["agents"] == 2
    });
    assert_eq!(locks(&zone).len(), 3);

    until_idle(&zone);
    assert_eq!(runs(&zone).len(), 3, "the one that nobody had begun");
    assert_eq!(locks(&zone), [held.clone(), held]);

    // Whose they are may delete them.
    zone.as_user("alice", &["qdel", "-a"]);
    assert!(queue(&zone).is_empty());
}

#[test]
fn a_delay_server_that_is_asked_to_end_settles_what_runs_and_begins_nothing() {
    let mut zone = Zone::new();
    let go = zone.path("go");
    zone.set("TRACE_EXPRESSION", &format!("wait {}", common::text(&go)));
    for i in 0..3 {
        zone.as_user("alice", &["delay", "<INST_NAME>trace</INST_NAME>", &format!("rule {i}")]);
    }
    let mut server =
        zone.command(&["delay-server", "--executors", "1", "--sleep", "0.05"]).spawn().expect("starts");
    zone.wait_until("one rule runs", |zone| queue(zone)[0]["lock_host"] == "provider");
    let status = Command::new("kill").arg(server.id().to_string()).status().expect("kill");
    assert!(status.success());
    std::fs::write(&go, "").expect("write");
    assert!(server.wait().expect("ends").success());
    let left = queue(&zone);
    assert_eq!(left.len(), 2);
    assert!(left.iter().all(|rule| rule["lock_host"] == ""), "{left:?}");
}

#[test]
fn both_genqueries_tell_the_lock() {
    let zone = Zone::new();
    zone.must(&[
        "queue",
        "--lock",
        "other.example.org",
        "--lock-pid",
        "77",
        "--lock-time",
        "01700000000",
        "x",
    ]);
    let columns =
        "DELAY_RULE_LOCK_HOST, DELAY_RULE_LOCK_HOST_PID, DELAY_RULE_LOCK_TIME, DELAY_RULE_USER_NAME";
    assert_eq!(
        zone.query("bob", &format!("select {columns}")),
        [["other.example.org", "77", "01700000000", "rods"]]
    );
    for (column, value) in [("1013", "other.example.org"), ("1014", "77"), ("1015", "01700000000")] {
        assert_eq!(zone.plugin_answer("bob", &["trace_column", column]), (0, value.to_owned()));
    }
    let context = zone.plugin_answer("bob", &["trace_column", "1012"]).1;
    let context: Value = serde_json::from_str(&context).expect("JSON");
    assert_eq!(context["user_info_client"]["zone"], "tempZone");
}

#[test]
fn the_owner_that_can_be_queried_has_no_zone() {
    let zone = Zone::new();
    zone.must(&["user", "add", "rods#otherZone", "--type", "rodsadmin"]);
    let id = zone.as_user("rods#otherZone", &["delay", "<INST_NAME>trace</INST_NAME>", "a stranger's"]);
    assert_eq!(zone.query("bob", "select DELAY_RULE_USER_NAME"), [["rods"]]);
    assert_eq!(zone.fails("alice", &["qdel", id.trim()]), -350_000);
    until_idle(&zone);
    assert_eq!(runs(&zone), ["trace expression rods#otherZone/2 rods#tempZone/5 a stranger's"]);
}

#[test]
fn whoever_queues_a_rule_as_another_user_has_become_that_user() {
    let zone = Zone::new();
    let as_rods = json!([
        "call-rule",
        "trace_delay_as",
        "x",
        "<INST_NAME>trace</INST_NAME>",
        "rods",
        "tempZone",
        "rodsadmin",
        5
    ]);
    let answers = zone.script(
        "alice",
        &[
            json!(["call-rule", "trace_identity", ""]),
            as_rods,
            json!(["call-rule", "trace_identity", ""]),
            json!(["ls", "/tempZone/home/bob"]),
        ],
    );
    assert_eq!(answers[0].of_plugin().1, "alice#tempZone/3");
    assert_eq!(answers[1].of_plugin().0, 0);
    assert_eq!(answers[2].of_plugin().1, "rods#tempZone/5");
    assert_eq!(answers[3].code, 0, "for what follows in her connection, too");
    let waiting = queue(&zone);
    assert_eq!((&waiting[0]["user"], &waiting[0]["listed_user"]), (&json!("rods"), &json!("rods")));
    until_idle(&zone);
    assert_eq!(runs(&zone), ["trace expression rods#tempZone/5 rods#tempZone/5 x"]);
}

#[test]
fn on_a_consumer_it_is_the_connection_to_the_provider_that_becomes_that_user() {
    let zone = Zone::new();
    let config = zone.path("consumer.json");
    std::fs::write(&config, common::server_config("consumer", &["edge"]).to_string()).expect("write");
    zone.must(&["server", "add", "edge", "--config", &common::text(&config)]);
    let see =
        json!(["call-rule", "trace_genquery2", "select COLL_NAME where COLL_NAME = '/tempZone/home/bob'"]);
    let as_rods = json!([
        "call-rule",
        "trace_delay_as",
        "x",
        "<INST_NAME>edge</INST_NAME>",
        "rods",
        "tempZone",
        "rodsadmin",
        5
    ]);
    let answers = zone.script_on(
        "edge",
        "alice",
        &[see.clone(), as_rods, json!(["call-rule", "trace_identity", ""]), see],
    );
    assert_eq!(answers[0].of_plugin(), (0, "[]".into()));
    assert_eq!(answers[1].of_plugin().0, 0);
    assert_eq!(answers[2].of_plugin().1, "alice#tempZone/3");
    assert_eq!(answers[3].of_plugin(), (0, r#"[["/tempZone/home/bob"]]"#.into()));
    assert_eq!(queue(&zone)[0]["user"], "rods");
}

#[test]
fn a_rule_of_a_user_who_is_gone_runs_as_that_user() {
    let zone = Zone::new();
    zone.as_user("bob", &["delay", "<INST_NAME>trace</INST_NAME>", "x"]);
    zone.as_user("rods", &["rmuser", "bob"]);
    until_idle(&zone);
    assert_eq!(runs(&zone), ["trace expression bob#tempZone/3 rods#tempZone/5 x"]);
}

#[test]
fn times_of_the_queue_are_compared_as_text() {
    let zone = Zone::new();
    // Eleven digits: a day of the year 2300, which sorts before all ten-digit times of this decade.
    zone.as_user("alice", &["delay", "<INST_NAME>trace</INST_NAME><ET>10413792000</ET>", "far"]);
    zone.as_user("alice", &["delay", "<INST_NAME>trace</INST_NAME><ET>4102444800</ET>", "2100"]);
    zone.must(&["delay-server", "--once"]);
    assert_eq!(runs(&zone), ["trace expression alice#tempZone/3 rods#tempZone/5 far"]);
    assert_eq!(zone.fails("alice", &["delay", "<INST_NAME>trace</INST_NAME><ET>soon</ET>", "x"]), -1_100_000);
}

#[test]
fn the_most_urgent_of_what_is_due_begins_first() {
    let mut zone = Zone::new();
    zone.set("TRACE_EXPRESSION", "0");
    for priority in ["1", "9", "5"] {
        let conditions = format!("<INST_NAME>trace</INST_NAME><PRIORITY>{priority}</PRIORITY>");
        zone.as_user("alice", &["delay", &conditions, priority]);
    }
    zone.must(&["delay-server", "--once", "--executors", "1"]);
    let order: Vec<String> =
        runs(&zone).iter().filter_map(|run| run.chars().last()).map(String::from).collect();
    assert_eq!(order, ["9", "5", "1"]);
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
fn a_plugin_deletes_a_rule_with_the_right_of_its_session() {
    let zone = Zone::new();
    let id = zone.as_user("alice", &["delay", "<INST_NAME>trace</INST_NAME>", "x"]);
    assert_eq!(zone.plugin_answer("bob", &["trace_undelay", id.trim()]).0, -350_000);
    assert_eq!(zone.plugin_answer("bob", &["trace_undelay_admin", id.trim()]).0, 0);
    assert_eq!(zone.plugin_answer("alice", &["trace_undelay", id.trim()]).0, -808_000);
    assert!(queue(&zone).is_empty());
}

#[test]
fn the_owner_may_delete_a_rule_and_a_stranger_not() {
    let zone = Zone::new();
    let id = zone.as_user("alice", &["delay", "<INST_NAME>trace</INST_NAME>", "x"]);
    assert_eq!(zone.fails("bob", &["qdel", id.trim()]), -350_000);
    assert!(zone.as_user("bob", &["qstat"]).contains('x'), "everybody may read it");
    zone.as_user("alice", &["qdel", id.trim()]);
    assert!(queue(&zone).is_empty());
}
