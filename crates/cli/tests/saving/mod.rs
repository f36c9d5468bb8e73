//! An agent that lets people save, and what a person and a zone ask of it.
#![allow(dead_code)]

use super::support::{Answer, OTHER_TOKEN, TOKEN, TestAgent, request_with};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// The token of somebody who only looks.
pub const LOOKER: &str = "token of somebody who looks on";

/// An agent that lets people save, with alice's two images in the dataset run1.
pub fn agent_with(change: impl FnOnce(&mut Value)) -> TestAgent {
    let mut agent = TestAgent::new();
    let repository = agent.omero.store.join("ManagedRepository");
    agent.config["omero"][0]["managed_repository"] = json!(repository);
    agent.config["omero"][0]["files_directory"] = json!(agent.omero.store.join("Files"));
    agent.config["save"] = json!({"enabled": true});
    change(&mut agent.config);
    let vault = agent.vault.display().to_string();
    let submitting = |zone: &str, token: &str| {
        format!(
            "[caller-of-{zone}]\ntoken = \"{token}\"\nzones = [\"{zone}\"]\nroots = [\"{vault}\"]\nusers = {{ match = \".+\" }}\n"
        )
    };
    agent.write_callers(&format!(
        "{}{}[looker]\ntoken = \"{LOOKER}\"\nzones = [\"*\"]\nmay = \"read\"\n",
        submitting("z", TOKEN),
        submitting("y", OTHER_TOKEN)
    ));
    fs::create_dir_all(agent.omero.store.join("Files")).unwrap();
    agent.start();
    agent
}

pub fn agent() -> TestAgent {
    agent_with(|_| ())
}

/// Imports files as alice into a dataset, by hand.
pub fn import(agent: &TestAgent, user: &str, dataset: &str, paths: &[&Path], transfer: &str) {
    let jars = agent.omero.jars.to_str().unwrap();
    let logback = agent.omero.logback.to_str().unwrap();
    let target = format!("Dataset:name:{dataset}");
    for path in paths {
        let words = [
            "import",
            "-q",
            "--clientdir",
            jars,
            "--logback",
            logback,
            "--transfer",
            transfer,
            "-T",
            &target,
        ];
        agent.omero.act(user, &[&words[..], &[path.to_str().unwrap()]].concat());
    }
}

pub fn session(agent: &TestAgent, user: &str) -> String {
    agent.omero.admin(&["session", "open", user]).trim().to_owned()
}

pub fn as_person(agent: &TestAgent, session: &str, method: &str, path: &str, body: &Value) -> Answer {
    let kind = if method == "POST" { "Content-Type: application/json\r\n" } else { "" };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let head = format!("Host: agent\r\nOMERO-Session: {session}\r\n{kind}");
    agent.send(&request_with(method, path, &head, &body))
}

pub fn ask(agent: &TestAgent, session: &str, body: &Value) -> Value {
    let answer = as_person(agent, session, "POST", "/v1/saves", body);
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

pub fn bytes(agent: &TestAgent, token: &str, save: &str, n: u64, range: &str) -> Answer {
    let path = format!("/v1/saves/{save}/files/{n}/content");
    let head = format!("Host: agent\r\nAuthorization: Bearer {token}\r\nRange: bytes={range}\r\n");
    agent.send(&request_with("GET", &path, &head, ""))
}

pub fn image(agent: &TestAgent, name: &str) -> PathBuf {
    let path = agent.dir.path().join(name);
    agent.omero.admin(&["make", "tiff", path.to_str().unwrap()]);
    path
}

/// The ids of all images.
pub fn images(agent: &TestAgent) -> Vec<i64> {
    let filesets = agent.omero.show()["filesets"].as_array().unwrap().clone();
    let all = filesets.iter().flat_map(|fileset| fileset["images"].as_array().unwrap());
    all.map(|image| image["id"].as_i64().unwrap()).collect()
}

/// The id of the first dataset that was made.
pub const DATASET: i64 = 1;

pub fn names(files: &Value) -> Vec<&str> {
    files["files"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect()
}
