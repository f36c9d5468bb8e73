//! What happens with time: retries that go on for days, the age of what is kept, and clocks that are set. Time passes in
//! the queue's file, while the agent is down.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use rusqlite::Connection;
use serde_json::{Value, json};
use std::fs;
use support::{TestAgent, outcomes, wait_until};

/// Ends an agent and changes its queue.
fn in_queue<T>(agent: &mut TestAgent, change: impl FnOnce(&Connection) -> T) -> T {
    assert!(agent.terminate().success(), "{}", agent.log());
    let queue = Connection::open(agent.state().join("queue.sqlite")).unwrap();
    let changed = change(&queue);
    queue.close().unwrap();
    changed
}

#[test]
fn of_a_job_that_is_partly_done_the_caller_hears_at_once_and_the_rest_is_postponed() {
    let agent = TestAgent::started();
    agent.omero.admin(&["fault", "set", "disk-full", "--path", "*bad.tif"]);
    let id = agent.submit(&agent.body("k", 1, &[agent.image("good.tif"), agent.image("bad.tif")]));
    let done = agent.wait_for(&id, "done");
    assert_eq!(outcomes(&done), ["imported", "postponed"]);
    assert!(done["outcomes"][1]["reason"].as_str().unwrap().contains("full"), "{done}");
    assert_eq!(agent.omero.count("images"), 1);
}

#[test]
fn omero_away_for_a_week_loses_nothing_and_is_not_asked_without_end() {
    let mut agent = TestAgent::new();
    agent.config["limits"]["retry_wait_in_seconds"] = json!(1);
    agent.config["limits"]["hand_over_in_seconds"] = json!(0);
    agent.omero_down();
    agent.start();
    let ids: Vec<String> = (1..=3)
        .map(|n| agent.submit(&agent.body(&format!("k{n}"), n, &[agent.image(&format!("{n}.tif"))])))
        .collect();
    wait_until("one has been tried", || {
        ids.iter().any(|id| agent.job(id)["attempts"].as_u64() > Some(0)).then_some(())
    });
    in_queue(&mut agent, |q| {
        q.execute("UPDATE job SET submitted = submitted - 604800, since = since - 604800, next = 0", [])
            .unwrap()
    });
    // Not before the first agent has ended, which asks again every second.
    let before = agent.omero.asked("login");
    agent.start();
    let start = std::time::Instant::now();
    wait_until("some seconds pass", || (start.elapsed().as_secs() >= 5).then_some(()));
    let asked = agent.omero.asked("login") - before;
    assert!(asked <= 4, "each job at most once, then a bare connection now and then: {asked}");
    for id in &ids {
        let job = agent.job(id);
        assert!(["queued", "waiting"].contains(&job["state"].as_str().unwrap()), "{job}");
        assert!(job["reason"].as_str().unwrap().contains("cannot be reached"), "{job}");
    }
    agent.omero_up();
    for id in &ids {
        assert_eq!(outcomes(&agent.wait_for(id, "done")), ["imported"]);
    }
    assert_eq!(agent.omero.count("images"), 3);
}

#[test]
fn a_job_that_could_not_be_done_for_as_long_as_is_configured_is_refused_with_the_reason() {
    let mut agent = TestAgent::new();
    agent.config["limits"]["retry_wait_in_seconds"] = json!(3_600);
    // Of this user alone: while a server is of no use to anybody, no job's time runs.
    agent.omero.admin(&["fault", "set", "connect-failure", "--user", "alice"]);
    agent.start();
    let id = agent.submit(&agent.body("k", 1, &[agent.image("a.tif")]));
    agent.wait_for(&id, "waiting");
    in_queue(&mut agent, |q| q.execute("UPDATE job SET since = since - 15 * 86400, next = 0", []).unwrap());
    agent.start();
    let refused = agent.wait_for(&id, "refused");
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.starts_with("given up after 15 days: "), "{reason}");
}

#[test]
fn a_clock_that_was_ahead_and_is_set_back_holds_no_job_up() {
    let mut agent = TestAgent::new();
    agent.config["limits"]["retry_wait_in_seconds"] = json!(3_600);
    agent.omero_down();
    agent.start();
    let id = agent.submit(&agent.body("k", 1, &[agent.image("a.tif")]));
    agent.wait_for(&id, "waiting");
    let ahead = 10 * 365 * 86_400;
    let set_back = format!(
        "UPDATE job SET submitted = submitted + {ahead}, since = since + {ahead}, next = next + {ahead}"
    );
    in_queue(&mut agent, |q| q.execute(&set_back, []).unwrap());
    agent.omero_up();
    agent.start();
    assert_eq!(outcomes(&agent.wait_for(&id, "done")), ["imported"]);
    // What is submitted now does not wait behind what has an age of minus ten years.
    let next = agent.submit(&agent.body("k2", 2, &[agent.image("b.tif")]));
    agent.wait_for(&next, "done");
}

#[test]
fn jobs_that_ended_long_ago_are_removed_and_the_file_becomes_smaller() {
    let mut agent = TestAgent::started();
    let old = agent.submit(&agent.body("old", 1, &[agent.image("a.tif")]));
    agent.wait_for(&old, "done");
    let mut large = agent.body("large", 10, &[agent.dir.path().join("outside.tif")]);
    let file = large["files"][0].clone();
    let numbered = |n: usize| {
        let mut file = file.clone();
        file["subject"] = json!(format!("d{n}"));
        file
    };
    large["files"] = (10..20_010).map(numbered).collect();
    let large = agent.submit(&large);
    agent.wait_for(&large, "done");
    let young = agent.submit(&agent.body("young", 2, &[agent.image("b.tif")]));
    agent.wait_for(&young, "done");
    let size = |agent: &TestAgent| fs::metadata(agent.state().join("queue.sqlite")).unwrap().len();
    let before = in_queue(&mut agent, |q| {
        let back = "UPDATE job SET ended = ended - 31 * 86400 WHERE key <> 'young'";
        assert_eq!(q.execute(back, []), Ok(2));
        q.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        fs::metadata(q.path().unwrap()).unwrap().len()
    });
    agent.start();
    wait_until("they are removed", || (agent.get(&format!("/v1/jobs/{old}")).status == 404).then_some(()));
    wait_until("the large one is removed", || {
        (agent.get(&format!("/v1/jobs/{large}")).status == 404).then_some(())
    });
    assert_eq!(agent.job(&young)["state"], "done");
    wait_until("their room is given back", || agent.log().contains("act=\"retain\"").then_some(()));
    // How much of the log is in the file yet is SQLite's to choose, until it is told.
    in_queue(&mut agent, |q| q.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap());
    assert!(size(&agent) < before / 2, "{} of {before} bytes", size(&agent));
    agent.start();
    // It is asked about again, and OMERO knows.
    let again = agent.submit(&agent.body("old", 1, &[agent.vault.join("a.tif")]));
    let done = agent.wait_for(&again, "done");
    assert_eq!(done["outcomes"][0]["adopted"], Value::Bool(true));
}
