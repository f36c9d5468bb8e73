//! Sessions in OMERO: shared by a user's jobs, kept open between them, ended in the end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use support::{TestAgent, outcomes, wait_until};

/// Stops the next imports at a point until a file is made; gives the file.
fn gate(agent: &TestAgent, name: &str, imports: usize, path: &str) -> PathBuf {
    let gate = agent.dir.path().join(name);
    agent.omero.admin(&[
        "fault",
        "set",
        "gate",
        "--command",
        "import",
        "--times",
        &imports.to_string(),
        "--where",
        "before-transfer",
        "--path",
        path,
        "--until",
        gate.to_str().unwrap(),
    ]);
    gate
}

fn is_reached(gate: &Path) {
    let reached = PathBuf::from(format!("{}.reached", gate.display()));
    wait_until("the gate is reached", || reached.exists().then_some(()));
}

/// Submits a job of one file.
fn submit(agent: &TestAgent, user: &str, group: Option<&str>, number: usize) -> String {
    let name = format!("{user}{number}");
    let mut body = agent.body(&name, number, &[agent.image(&format!("{name}.tif"))]);
    body["user"] = json!(user);
    body["group"] = json!(group);
    agent.submit(&body)
}

fn done(agent: &TestAgent, id: &str) -> Value {
    let job = agent.wait_for(id, "done");
    assert_eq!(outcomes(&job), ["imported"], "{job}");
    job
}

#[test]
fn jobs_of_a_user_share_one_session_also_at_one_time_and_other_users_have_their_own() {
    let mut agent = TestAgent::new();
    agent.config["limits"]["imports_per_user"] = json!(4);
    agent.start();
    // Three at one time.
    let gates: Vec<PathBuf> =
        (1..4).map(|n| gate(&agent, &format!("gate{n}"), 1, &format!("*alice{n}.tif"))).collect();
    let ids: Vec<String> = (1..4).map(|n| submit(&agent, "alice", None, n)).collect();
    for gate in &gates {
        is_reached(gate);
    }
    assert_eq!(agent.omero.sessions(), ["alice"]);
    for gate in &gates {
        fs::write(gate, "").unwrap();
    }
    for id in &ids {
        done(&agent, id);
    }
    // Two one after the other, of which one is for a group that is named; and another user.
    done(&agent, &submit(&agent, "alice", None, 4));
    done(&agent, &submit(&agent, "alice", Some("lab"), 5));
    done(&agent, &submit(&agent, "carol", None, 6));
    assert_eq!(agent.omero.sessions(), ["alice", "alice", "carol"]);
    assert_eq!((agent.omero.asked("login"), agent.omero.asked("logout")), (3, 0));
    assert!(agent.get("/metrics").body.contains("agent_omero_sessions 3"));
    assert_eq!(agent.omero.count("images"), 6);

    assert!(agent.terminate().success(), "{}", agent.log());
    assert_eq!((agent.omero.sessions(), agent.omero.asked("logout")), (vec![], 3));
    assert_eq!(fs::read_dir(&agent.omero.work).unwrap().count(), 0);
}

#[test]
fn a_session_nobody_uses_is_ended_after_its_time_and_opened_again_for_the_next_job() {
    let mut agent = TestAgent::new();
    agent.config["limits"]["session_idle_in_seconds"] = json!(1);
    agent.start();
    let gate = gate(&agent, "gate", 1, "*");
    let id = submit(&agent, "alice", None, 1);
    is_reached(&gate);
    // Longer than a session may be idle: one that is used is not.
    let start = std::time::Instant::now();
    wait_until("time passes", || (start.elapsed().as_secs() >= 3).then_some(()));
    assert_eq!(agent.omero.sessions(), ["alice"]);
    fs::write(gate, "").unwrap();
    done(&agent, &id);
    wait_until("the session is ended", || agent.omero.sessions().is_empty().then_some(()));
    wait_until("that is counted", || {
        agent.get("/metrics").body.contains("agent_omero_sessions 0").then_some(())
    });
    wait_until("its directory is removed", || {
        (fs::read_dir(&agent.omero.work).unwrap().count() == 0).then_some(())
    });
    done(&agent, &submit(&agent, "alice", None, 2));
    assert_eq!(agent.omero.asked("login"), 2);
}

#[test]
fn a_session_that_omero_does_not_know_any_more_is_opened_anew_within_the_attempt() {
    let agent = TestAgent::started();
    done(&agent, &submit(&agent, "alice", None, 1));
    agent.omero.admin(&["session", "expire", "--all"]);
    let job = done(&agent, &submit(&agent, "alice", None, 2));
    assert_eq!((job["attempts"].as_u64(), agent.omero.asked("login")), (Some(1), 2));
    done(&agent, &submit(&agent, "alice", None, 3));
    assert_eq!((agent.omero.sessions(), agent.omero.asked("login")), (vec!["alice".to_owned()], 2));
}

#[test]
fn a_session_lost_during_an_import_costs_the_attempt_and_nothing_is_imported_twice() {
    let agent = TestAgent::started();
    done(&agent, &submit(&agent, "alice", None, 1));
    agent.omero.admin(&[
        "fault",
        "set",
        "session-lost",
        "--command",
        "import",
        "--times",
        "1",
        "--where",
        "after-images",
    ]);
    let job = done(&agent, &submit(&agent, "alice", None, 2));
    assert_eq!((job["attempts"].as_u64(), agent.omero.asked("login")), (Some(2), 2), "{job}");
    assert_eq!(agent.omero.count("images"), 2);
}

#[test]
fn the_session_of_a_killed_agent_is_ended_when_the_next_starts() {
    let mut agent = TestAgent::started();
    done(&agent, &submit(&agent, "alice", None, 1));
    agent.kill();
    assert_eq!(agent.omero.sessions(), ["alice"]);
    agent.start();
    wait_until("the session is ended", || agent.omero.sessions().is_empty().then_some(()));
    wait_until("its directory is removed", || {
        (fs::read_dir(&agent.omero.work).unwrap().count() == 0).then_some(())
    });
}

#[test]
fn a_job_that_is_cancelled_leaves_the_session_to_the_others() {
    let agent = TestAgent::started();
    let (first, second) = (gate(&agent, "first", 1, "*alice1.tif"), gate(&agent, "second", 1, "*alice2.tif"));
    let ids = [submit(&agent, "alice", None, 1), submit(&agent, "alice", None, 2)];
    is_reached(&first);
    is_reached(&second);
    agent.post(&format!("/v1/jobs/{}/cancel", ids[1]), &Value::Null);
    agent.wait_for(&ids[1], "cancelled");
    assert_eq!(agent.omero.sessions(), ["alice"]);
    fs::write(first, "").unwrap();
    let job = done(&agent, &ids[0]);
    assert_eq!((job["attempts"].as_u64(), agent.omero.asked("login")), (Some(1), 1));
}

#[test]
fn a_session_is_not_used_any_more_when_the_account_that_opened_it_has_another_password() {
    let agent = TestAgent::started();
    done(&agent, &submit(&agent, "alice", None, 1));
    agent.omero.admin(&["user", "password", "importer", "another secret"]);
    fs::write(&agent.omero.password_file, "another secret\n").unwrap();
    done(&agent, &submit(&agent, "alice", None, 2));
    assert_eq!((agent.omero.sessions(), agent.omero.asked("login")), (vec!["alice".to_owned()], 2));
    assert_eq!(agent.omero.asked("logout"), 1);
}
