//! *Save to iRODS*, the script that people start in OMERO.web: run as OMERO's Processor runs it, against an agent over the stand-in
//! OMERO. That omero-py takes its parameters is seen in the contract tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod saving;
mod support;

use saving::{DATASET, agent, agent_with, as_person, image, images, import, session};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use support::{TestAgent, root};

/// What a start of the script ended with.
#[derive(Debug)]
struct Ended {
    message: String,
    log: String,
}

struct Start<'a> {
    agent: &'a TestAgent,
    session: String,
    address: String,
    environment: Vec<(&'static str, String)>,
}

impl<'a> Start<'a> {
    fn of(agent: &'a TestAgent, session: &str) -> Self {
        let address = format!("unix:{}", agent.dir.path().join("agent.sock").display());
        Self { agent, session: session.to_owned(), address, environment: Vec::new() }
    }

    fn with(&self, inputs: &Value) -> Ended {
        let output = self.agent.dir.path().join("output.json");
        let ran = Command::new("python3")
            .arg("-B")
            .arg(root().join("omero/scripts/irods/Save_to_iRODS.py"))
            .env("PYTHONPATH", root().join("crates/cli/tests/processor"))
            .env("SCRIPT_INPUTS", inputs.to_string())
            .env("SCRIPT_SESSION", &self.session)
            .env("SCRIPT_OUTPUT", &output)
            .env("OMERO_IRODS_AGENT", &self.address)
            .envs(self.environment.iter().map(|(key, value)| (*key, value)))
            .output()
            .unwrap();
        let log = String::from_utf8(ran.stdout).unwrap();
        assert!(ran.status.success(), "{log}{}", String::from_utf8_lossy(&ran.stderr));
        assert!(!log.contains(&self.session), "the key of the session is in no log");
        let output: Value = serde_json::from_slice(&fs::read(output).unwrap()).unwrap();
        Ended { message: output["Message"].as_str().unwrap().to_owned(), log }
    }
}

#[test]
fn a_first_start_asks_a_second_looks_and_nothing_is_asked_twice() {
    let agent = agent();
    import(&agent, "alice", "run1", &[&agent.image("a.tif"), &agent.image("b.tif")], "ln_s");
    let start = Start::of(&agent, &session(&agent, "alice"));
    let nothing = start.with(&json!({"Only_Show_Progress": true}));
    assert_eq!(nothing.message, "You have not asked for anything to be saved in iRODS.");
    let inputs = json!({"Data_Type": "Dataset", "IDs": [DATASET], "Wait_Seconds": 0, "Collection": "/z/home/alice/x/"});
    let asked = start.with(&inputs);
    assert!(asked.message.contains("(2 files, 408 bytes) waits for iRODS: 2 to come."), "{asked:?}");
    assert!(asked.message.contains("You need not wait"), "{asked:?}");
    assert_eq!(start.with(&inputs).message, asked.message, "the same is asked for once");
    let saves = agent.get("/v1/saves").json();
    assert_eq!(
        (saves["saves"].as_array().unwrap().len(), &saves["saves"][0]["collection"]),
        (1, &json!("/z/home/alice/x"))
    );

    let id = saves["saves"][0]["id"].as_str().unwrap();
    agent.post(&format!("/v1/saves/{id}/begin"), &json!({}));
    let report = json!({"files": [
        {"n": 1, "state": "saved", "path": "/z/home/alice/x/a.tif"},
        {"n": 2, "state": "refused", "reason": "the quota of alice is used up: ask your administrator"},
    ]});
    agent.post(&format!("/v1/saves/{id}/files"), &report);
    let half = start.with(&inputs);
    assert!(half.message.contains("is being saved: 1 saved, 1 refused."), "{half:?}");
    let end = json!({"state": "refused", "reason": "some files were refused"});
    agent.post(&format!("/v1/saves/{id}/end"), &end);
    let over = start.with(&json!({"Only_Show_Progress": true}));
    assert!(over.message.contains("has ended: 1 saved, 1 refused. some files were refused"), "{over:?}");
    for line in ["a.tif: saved: /z/home/alice/x/a.tif", "b.tif: not saved: the quota of alice is used up"] {
        assert!(over.log.contains(line), "{over:?}");
    }
    // What has ended is asked for anew.
    start.with(&inputs);
    assert_eq!(agent.get("/v1/saves").json()["saves"].as_array().unwrap().len(), 2);
}

#[test]
fn whatever_is_wrong_is_a_sentence_for_the_person_who_started_it() {
    let agent = agent();
    import(&agent, "alice", "run1", &[&image(&agent, "a.tif")], "ln_s");
    let alice = session(&agent, "alice");
    let start = Start::of(&agent, &alice);
    let said = |inputs: Value| start.with(&inputs).message;
    assert!(said(json!({})).contains("Select something in OMERO.web first"));
    let none = json!({"IDs": [1], "Original_Files": false});
    assert!(said(none).contains("Choose at least one of"));
    assert!(said(json!({"IDs": [4711]})).contains("there is no Image:4711 in OMERO that you can see"));
    assert!(said(json!({"IDs": [1], "Collection": "home"})).contains("must begin with '/'"));
    let image = images(&agent)[0];
    let carol = Start::of(&agent, &session(&agent, "carol"));
    assert!(carol.with(&json!({"IDs": [image]})).message.contains("that you can see"));
    let mut lost = Start::of(&agent, &alice);
    agent.omero.admin(&["session", "expire", &alice]);
    assert!(lost.with(&json!({"IDs": [image]})).message.contains("log in again"));
    lost.address = "unix:/nowhere.sock".to_owned();
    assert!(lost.with(&json!({"IDs": [image]})).message.contains("cannot be reached at unix:/nowhere.sock"));
    // The key goes to nobody who could be anybody.
    for address in ["http://127.0.0.1:1", "127.0.0.1", "https://", "file:///etc/passwd"] {
        lost.address = address.to_owned();
        let message = lost.with(&json!({"IDs": [image]})).message;
        assert!(message.contains("has to be unix:/PATH or https://HOST:PORT"), "{address}: {message}");
    }
    assert_eq!(agent.get("/v1/saves").json()["saves"], json!([]));
}

#[test]
fn where_the_agent_is_stands_in_omeros_configuration_too() {
    let agent = agent_with(|config| {
        let mut second = config["omero"][0].clone();
        second["name"] = json!("other");
        config["omero"].as_array_mut().unwrap().push(second);
    });
    import(&agent, "alice", "run1", &[&image(&agent, "a.tif")], "ln_s");
    let alice = session(&agent, "alice");
    let mut start = Start::of(&agent, &alice);
    let inputs = json!({"IDs": [images(&agent)[0]], "Wait_Seconds": 0});
    assert!(start.with(&inputs).message.contains("several OMERO servers"), "which one is not said");
    let address = std::mem::take(&mut start.address);
    let config = json!({"omero.client.irods.agent": address, "omero.client.irods.server": "other"});
    start.environment.push(("SCRIPT_CONFIG", config.to_string()));
    assert!(start.with(&inputs).message.contains("waits for iRODS"));
    let head = as_person(&agent, &alice, "GET", "/v1/saves", &Value::Null);
    assert_eq!(head.status, 422, "a person names the server where there are several");
    assert_eq!(agent.get("/v1/saves").json()["saves"][0]["server"], "other");
}
