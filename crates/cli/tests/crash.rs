//! The agent ends in every way at every point, and every file is imported exactly once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::json;
use std::fs;
use support::{TOKEN, TestAgent, outcomes, request, wait_until};

/// Stops the import at a point; gives when it is there.
fn until_import_is_at(agent: &TestAgent, point: &str) {
    let gate = agent.dir.path().join(format!("gate at {point}"));
    agent.omero.admin(&[
        "fault",
        "set",
        "gate",
        "--command",
        "import",
        "--times",
        "1",
        "--where",
        point,
        "--until",
        gate.to_str().unwrap(),
    ]);
    let body = agent.body(
        &format!("k-{point}"),
        1,
        &[agent.image("a.tif"), agent.image("b.tif"), agent.image("c.tif")],
    );
    agent.submit(&body);
    let reached = format!("{}.reached", gate.display());
    wait_until(&format!("the import is at {point}"), || fs::exists(&reached).unwrap().then_some(()));
}

fn job_id(agent: &TestAgent, key: &str) -> String {
    agent.get(&format!("/v1/jobs?key={key}")).json()["id"].as_str().unwrap().to_owned()
}

#[test]
fn killed_at_any_point_of_an_import_everything_is_imported_exactly_once() {
    for point in ["start", "before-fileset", "after-transfer", "after-images", "after-result", "end"] {
        let mut agent = TestAgent::new();
        agent.config["limits"]["session_idle_in_seconds"] = json!(4);
        agent.start();
        until_import_is_at(&agent, point);
        agent.kill();
        agent.start();
        let id = job_id(&agent, &format!("k-{point}"));
        let done = agent.wait_until_all_is_told(&id);
        assert_eq!(outcomes(&done), ["imported"; 3], "{point}");
        assert_eq!(agent.omero.count("images"), 3, "{point}");
        let history = agent.job(&id)["history"].to_string();
        assert!(history.contains("the agent ended while it ran"), "{point}: {history}");
        assert_eq!(agent.omero.runs(), 0, "{point}: what was left behind is removed");
        wait_until("the session of the killed agent is ended", || {
            // That of this agent is ended too when nobody has used it for a while.
            (agent.omero.sessions().len() <= 1).then_some(())
        });
    }
}

#[test]
fn killed_with_a_job_queued_waiting_or_done_nothing_is_lost_and_nothing_done_again() {
    let mut agent = TestAgent::new();
    agent.config["limits"]["imports"] = json!(1);
    agent.config["limits"]["retry_wait_in_seconds"] = json!(3_600);
    agent.start();
    let done = agent.submit(&agent.body("done", 1, &[agent.image("a.tif")]));
    let told = agent.wait_for(&done, "done");
    agent.omero_down();
    let waiting = agent.submit(&agent.body("waiting", 2, &[agent.image("b.tif")]));
    agent.wait_for(&waiting, "waiting");
    let queued = agent.submit(&agent.body("queued", 3, &[agent.image("c.tif")]));
    agent.kill();
    // Before the start: what the new agent takes from the queue at once would find OMERO down, and wait.
    agent.omero_up();
    agent.start();
    assert_eq!(agent.job(&done)["outcomes"], told["outcomes"]);
    assert_eq!(agent.job(&waiting)["state"], "waiting");
    for id in [&queued, &waiting] {
        if agent.job(id)["state"] == "waiting" {
            agent.post(&format!("/v1/jobs/{id}/retry"), &serde_json::Value::Null);
        }
        assert_eq!(outcomes(&agent.wait_for(id, "done")), ["imported"]);
    }
    assert_eq!((agent.omero.count("images"), agent.job(&done)["attempts"].as_u64()), (3, Some(1)));
}

#[test]
fn an_agent_that_was_away_holds_what_another_may_have_until_it_can_be_cancelled_and_nothing_else() {
    let mut agent = TestAgent::new();
    agent.config["limits"]["hand_over_in_seconds"] = json!(4);
    agent.omero_down();
    agent.start();
    // As the plugin submits where it knows of two agents, and where this is its only one.
    let ids: Vec<String> = (1..4)
        .map(|n| {
            let body = agent.body(&format!("k{n}"), n, &[agent.image(&format!("{n}.tif"))]).to_string();
            let head = format!("Connection: close\r\nIrods-Omero-Agents: {}\r\n", if n < 3 { 2 } else { 1 });
            let plain = request("POST", "/v1/jobs", Some(TOKEN), &body);
            let answer = agent.send(&plain.replacen("Connection: close\r\n", &head, 1));
            answer.json()["id"].as_str().unwrap().to_owned()
        })
        .collect();
    agent.kill();
    agent.omero_up();
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(700);
    for name in ["queue.sqlite", "queue.sqlite-wal"] {
        fs::File::options()
            .write(true)
            .open(agent.state().join(name))
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
    }
    agent.start();
    assert!(agent.log().contains("act=\"hold\""), "{}", agent.log());
    let cancelled = agent.post(&format!("/v1/jobs/{}/cancel", ids[0]), &serde_json::Value::Null);
    assert_eq!(cancelled.json()["state"], "cancelled", "it does not run yet");
    assert_eq!(outcomes(&agent.wait_for(&ids[2], "done")), ["imported"]);
    let (own, shared) = (agent.job(&ids[2])["started"].clone(), agent.wait_for(&ids[1], "done"));
    assert!(own.as_u64() < shared["started"].as_u64(), "{own}: {shared}");
    assert_eq!(agent.omero.count("images"), 2);
}

#[test]
fn ended_by_systemd_a_running_job_is_handed_back_and_finished_by_the_next_agent() {
    let mut agent = TestAgent::started();
    until_import_is_at(&agent, "after-transfer");
    assert!(agent.terminate().success(), "{}", agent.log());
    // The session stays while OMERO may be at work in it: what ends it stands in its directory.
    let left =
        fs::read_dir(&agent.omero.work).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = left.filter(|name| !name.starts_with("session-")).collect();
    assert!(left.is_empty(), "what ran is ended and its directory removed: {left:?}");
    agent.start();
    let id = job_id(&agent, "k-after-transfer");
    assert_eq!(outcomes(&agent.wait_until_all_is_told(&id)), ["imported"; 3]);
    assert!(agent.job(&id)["history"].to_string().contains("the agent ends"));
    assert_eq!(agent.omero.count("images"), 3);
}

#[test]
fn a_damaged_queue_is_refused_with_its_name_and_the_remedy_and_done_with_an_empty_one() {
    let mut agent = TestAgent::started();
    let body = agent.body("k", 1, &[agent.image("a.tif")]);
    agent.wait_for(&agent.submit(&body), "done");
    assert!(agent.terminate().success());
    let queue = agent.state().join("queue.sqlite");
    // The file alone: its pages may all be in the write-ahead log too, from which SQLite mends it.
    let _ = fs::remove_file(agent.state().join("queue.sqlite-wal")); // it may not be there
    fs::write(&queue, vec![0xff; 20_000]).unwrap();
    let (status, said) = agent.start_in_vain();
    assert!(!status.success());
    let expected = format!("the queue {} is damaged", queue.display());
    assert!(said.contains(&expected) && said.contains("Move it away"), "{said}");
    for name in ["queue.sqlite", "queue.sqlite-wal", "queue.sqlite-shm"] {
        let _ = fs::remove_file(agent.state().join(name)); // not all are there
    }
    agent.start();
    let done = agent.wait_for(&agent.submit(&body), "done");
    assert_eq!((&done["outcomes"][0]["adopted"], agent.omero.count("images")), (&json!(true), 1));
}

#[test]
fn a_second_agent_on_the_same_queue_is_refused() {
    let agent = TestAgent::started();
    let (status, said) = agent.second();
    assert!(!status.success() && said.contains("another agent runs"), "{said}");
    assert_eq!(agent.get("/v1/jobs").status, 200);
}

#[test]
fn a_full_queue_says_so_and_goes_on_with_what_it_has() {
    let mut agent = TestAgent::new();
    agent.config["limits"]["queue_megabytes"] = json!(1);
    agent.start();
    let path = [agent.image("a.tif")];
    let first = agent.submit(&agent.body("first", 1, &path));
    let mut big = agent.body("big", 1, &path);
    let refused = (0..).find_map(|n| {
        big["key"] = json!(format!("big{n}"));
        let file = |i: usize| {
            let mut file = big["files"][0].clone();
            file["subject"] = json!(format!("d{}", 1_000 + n * 1_000 + i));
            file
        };
        big["files"] = (0..500).map(file).collect();
        let answer = agent.post("/v1/jobs", &big);
        (answer.status != 201).then_some(answer)
    });
    let refused = refused.unwrap();
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.head.to_lowercase().contains("retry-after"), "{refused:?}");
    // It may have made room already for what came later: what has ended goes first.
    wait_until("the first is imported", || (agent.omero.count("images") >= 1).then_some(()));
    if agent.get(&format!("/v1/jobs/{first}")).status != 404 {
        assert_eq!(outcomes(&agent.wait_for(&first, "done")), ["imported"]);
    }
}
