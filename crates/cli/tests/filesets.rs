//! What callers ask about filesets that are in OMERO, and which they may have deleted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::{Value, json};
use std::path::Path;
use support::{Answer, TestAgent};

const A: &str = "token of the servers of zone a";
const B: &str = "token of the servers of zone b";
const READS: &str = "token of somebody who only reads";

/// An agent with a fileset of alice's data object 1 of zone za; its id.
fn with_a_fileset() -> (TestAgent, String) {
    let mut agent = TestAgent::new();
    agent.write_callers(&format!(
        "[a]\ntoken = \"{A}\"\nzones = [\"za\", \"z\"]\nroots = ['{0}']\nusers = {{allow = [\"alice\"]}}\n\
         [b]\ntoken = \"{B}\"\nzones = [\"zb\", \"z\"]\nroots = ['{0}']\nusers = {{allow = [\"carol\", \"alice\"]}}\n\
         [reader]\ntoken = \"{READS}\"\nzones = [\"z\"]\nmay = \"read\"\n",
        agent.vault.display()
    ));
    agent.start();
    let image = agent.image("a.tif");
    let mut body = agent.body("k", 1, &[image]);
    body["zone"] = json!("za");
    body["files"][0]["logical_path"] = json!("/za/home/alice/a.tif");
    assert_eq!(agent.post_as(A, "/v1/jobs", &body).status, 201);
    let job = support::wait_until("it is imported", || {
        Some(agent.get_as(A, "/v1/jobs?key=k").json()).filter(|job| job["state"] == "done")
    });
    let fileset = job["outcomes"][0]["fileset"].as_str().unwrap_or_else(|| panic!("{job}")).to_owned();
    (agent, fileset)
}

fn look(agent: &TestAgent, token: &str, zone: &str, user: &str, filesets: &[&str]) -> Answer {
    let body = json!({"zone": zone, "user": user, "group": null, "filesets": filesets});
    agent.post_as(token, "/v1/filesets/look", &body)
}

fn delete(agent: &TestAgent, token: &str, zone: &str, user: &str, fileset: &str, subject: &str) -> Answer {
    let filesets = json!([{"fileset": fileset, "subjects": [subject]}]);
    let body = json!({"zone": zone, "user": user, "group": null, "filesets": filesets});
    agent.post_as(token, "/v1/filesets/delete", &body)
}

fn left(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let json = answer.json();
    let reason = |one: &Value| one["reason"].as_str().unwrap().to_owned();
    json["left"].as_array().unwrap().iter().map(reason).collect()
}

#[test]
fn filesets_are_found_and_deleted_as_the_user_only_where_our_annotation_names_the_data_and_the_zone() {
    let (agent, fileset) = with_a_fileset();
    assert_eq!(look(&agent, A, "za", "alice", &[&fileset, "4711"]).json()["present"], json!([fileset]));
    // Another data object, the directory of that number, and the data object of that number of another zone.
    for (token, zone, subject) in [(A, "za", "d2"), (A, "za", "c1"), (B, "zb", "d1")] {
        let why = left(&delete(&agent, token, zone, "alice", &fileset, subject));
        assert!(why.len() == 1 && why[0].contains("our annotation"), "{zone} {subject}: {why:?}");
    }
    // To somebody who does not see it, it is not there; and it stays.
    assert_eq!(look(&agent, B, "zb", "carol", &[&fileset]).json()["present"], json!([]));
    assert_eq!(left(&delete(&agent, B, "zb", "carol", &fileset, "d1")), Vec::<String>::new());
    assert_eq!(agent.omero.count("filesets"), 1);
    assert_eq!(left(&delete(&agent, A, "za", "alice", &fileset, "d1")), Vec::<String>::new());
    assert_eq!((agent.omero.count("filesets"), agent.omero.count("images")), (0, 0));
    // Once more is no fault.
    assert_eq!(left(&delete(&agent, A, "za", "alice", &fileset, "d1")), Vec::<String>::new());
    assert_eq!(look(&agent, A, "za", "alice", &[&fileset]).json()["present"], json!([]));
}

#[test]
fn a_caller_asks_for_its_own_zones_and_users_only_and_whoever_may_only_read_asks_nothing() {
    let (agent, fileset) = with_a_fileset();
    let refused =
        |answer: &Answer| (answer.status, answer.json()["pointer"].as_str().unwrap_or_default().to_owned());
    for (token, zone, user, status, pointer) in [
        (A, "zb", "alice", 403, "/zone"),
        (A, "za", "carol", 422, "/user"),
        (READS, "z", "alice", 403, ""),
        ("nobody", "za", "alice", 401, ""),
    ] {
        let wanted = (status, pointer.to_owned());
        assert_eq!(refused(&look(&agent, token, zone, user, &[&fileset])), wanted, "{token}");
        assert_eq!(refused(&delete(&agent, token, zone, user, &fileset, "d1")), wanted, "{token}");
    }
    assert_eq!(refused(&look(&agent, A, "za", "alice", &[])), (400, "/filesets".to_owned()));
    assert_eq!(refused(&look(&agent, A, "za", "alice", &["1", "1"])), (400, "/filesets/1".to_owned()));
    let twelve: Vec<Value> =
        (1..=12).map(|n| json!({"fileset": n.to_string(), "subjects": ["d1"]})).collect();
    let many = json!({"zone": "za", "user": "alice", "group": null, "filesets": twelve});
    assert_eq!(refused(&agent.post_as(A, "/v1/filesets/delete", &many)), (400, "/filesets".to_owned()));
    assert_eq!(agent.omero.count("filesets"), 1);
    assert!(Path::new(&agent.vault).exists());
}

#[test]
fn while_omero_is_away_a_caller_is_told_to_ask_again_and_nothing_is_said_to_be_gone() {
    let (agent, fileset) = with_a_fileset();
    agent.omero.admin(&["fault", "set", "server-down"]);
    for answer in
        [look(&agent, A, "za", "alice", &[&fileset]), delete(&agent, A, "za", "alice", &fileset, "d1")]
    {
        assert_eq!(answer.status, 503, "{answer:?}");
    }
    agent.omero.admin(&["fault", "clear"]);
    assert_eq!(look(&agent, A, "za", "alice", &[&fileset]).json()["present"], json!([fileset]));
}
