//! The description of the interface says what the program does.

#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on has failed

use irods_omero_agent::api::{OPENAPI, ROUTES};
use irods_omero_importer::FileOutcome;
use irods_omero_importer::wire::{
    Changes, Job, JobState, Outcome, Progress, Refusal, SaveFileState, SaveFiles, SaveRequest, SaveState,
    Saves, Submit, What,
};
use irods_omero_model::record::{Imported, Version};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn description() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

fn schema(name: &str) -> Value {
    description()["components"]["schemas"][name].clone()
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

fn submit() -> Value {
    json!({
        "key": "k", "zone": "z", "server": "main", "user": "alice", "group": null,
        "target": "Dataset:name:d", "plate_target": null, "may_join": false, "priority": 3, "collection": "77",
        "files": [{
            "subject": "d1", "logical_path": "/z/a", "path": "/v/a", "modified": 1, "size": 2, "checksum": "sha2:x",
            "owner": "alice#z", "previous": ["5"],
        }],
        "may_use": [{"subject": "d2", "path": "/v/b", "modified": 1, "size": 2, "checksum": "sha2:x"}],
    })
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let described: BTreeSet<(String, String)> = description()["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            let methods: Vec<String> = keys(methods).into_iter().filter(|m| m != "parameters").collect();
            methods.into_iter().map(|method| (method, path.clone()))
        })
        .collect();
    let routes: BTreeSet<(String, String)> =
        ROUTES.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(described, routes);
}

#[test]
fn what_is_submitted_has_the_keys_described_and_needs_those_said_to_be() {
    for (name, place) in [("Submit", ""), ("File", "/files/0"), ("Usable", "/may_use/0")] {
        let example = submit();
        assert_eq!(keys(example.pointer(place).unwrap()), keys(&schema(name)["properties"]), "{name}");
        for key in keys(&schema(name)["properties"]) {
            let mut without = submit();
            without.pointer_mut(place).unwrap().as_object_mut().unwrap().remove(&key);
            let needed = schema(name)["required"].as_array().unwrap().contains(&json!(key));
            // Where null is allowed, a reader may take nothing for it.
            let nullable = schema(name)["properties"][&key]["type"].is_array();
            let read = Submit::read(without.to_string().as_bytes());
            assert!(read.is_err() == needed || nullable, "{name}/{key}: {read:?}");
        }
        let mut more = submit();
        more.pointer_mut(place).unwrap()["colour"] = json!("red");
        assert!(Submit::read(more.to_string().as_bytes()).is_err());
    }
}

#[test]
fn what_is_answered_has_the_keys_described() {
    let submitted = Submit::read(submit().to_string().as_bytes()).unwrap();
    let outcome_of = |outcome| Outcome::of(submitted.files[0].subject, &outcome);
    let outcome = outcome_of(FileOutcome::Failed("why".to_owned()));
    let id = |id: &str| irods_omero_model::names::OmeroId::parse(id).unwrap();
    let imported = Imported {
        fileset: id("5"),
        images: vec![],
        plates: vec![],
        is_member: false,
        adopted: true,
        previous: vec![id("4")],
        version: Some(Version { modify_time: 1, size: 2 }),
    };
    let others = [
        outcome_of(FileOutcome::Imported(imported)),
        outcome_of(FileOutcome::NoTarget { target: "Dataset:id:1".to_owned(), reason: "why".to_owned() }),
        outcome_of(FileOutcome::Joined(["5", "6"].map(id).to_vec())),
        outcome_of(FileOutcome::UsesUnknown { paths: vec!["/v/c".to_owned(), "/v/d/e".to_owned()] }),
        outcome_of(FileOutcome::Unknown { reason: "why".to_owned(), is_alone: true }),
    ];
    let job = Job {
        id: "a-1".to_owned(),
        key: submitted.key,
        zone: submitted.zone,
        server: "main".to_owned(),
        user: submitted.user,
        group: None,
        collection: submitted.collection,
        state: JobState::Done,
        reason: None,
        attempts: 1,
        submitted: Some(1),
        started: None,
        ended: None,
        next: None,
        progress: Some(Progress { linked: 1, of: 2 }),
        files: 1,
        outcomes: vec![outcome],
    };
    let job_json = serde_json::to_value(&job).unwrap();
    assert_eq!(keys(&job_json), keys(&schema("Job")["properties"]));
    assert_eq!(keys(&job_json["progress"]), keys(&schema("Job")["properties"]["progress"]["properties"]));
    // Some keys are there for some outcomes only.
    let mut told = keys(&job_json["outcomes"][0]);
    told.extend(others.iter().flat_map(|other| keys(&serde_json::to_value(other).unwrap())));
    assert_eq!(told, keys(&schema("Outcome")["properties"]));
    let changes = serde_json::to_value(Changes { cursor: 1, jobs: vec![job] }).unwrap();
    assert_eq!(keys(&changes), keys(&schema("Changes")["properties"]));
    let refusal = Refusal {
        kind: String::new(),
        title: String::new(),
        status: 400,
        detail: String::new(),
        pointer: Some("/x".to_owned()),
    };
    assert_eq!(keys(&serde_json::to_value(refusal).unwrap()), keys(&schema("Refusal")["properties"]));
    let states: Vec<Value> = schema("Job")["properties"]["state"]["enum"].as_array().unwrap().clone();
    let states: BTreeSet<&str> = states.iter().map(|s| s.as_str().unwrap()).collect();
    assert_eq!(states, JobState::ALL.map(JobState::as_str).into());
}

#[test]
fn what_is_told_of_a_save_has_the_keys_described() {
    let save = json!({
        "id": "a-s1", "server": "main", "user": "alice", "state": "queued", "reason": null, "objects": ["Image:1"],
        "what": ["files"], "collection": null, "again": false, "on_conflict": "rename", "notes": ["left out: 1"],
        "created": 1, "changed": 1, "files": 1, "bytes": 1, "saved": 0, "already": 0, "refused": 0,
    });
    let page = json!({"saves": [save], "after": "a-s1"});
    let page: Saves = serde_json::from_value(page).unwrap();
    let page = serde_json::to_value(page).unwrap();
    assert_eq!(keys(&page), keys(&schema("Saves")["properties"]));
    assert_eq!(keys(&page["saves"][0]), keys(&schema("Save")["properties"]));
    let file = json!({
        "n": 1, "fileset": "5", "images": ["6"], "kind": "file", "group": "lab", "project": null, "dataset": "d",
        "screen": null, "plate": null, "name": "a.tif", "size": 1, "sha1": null, "host_path": "/v/a",
        "in_irods": {"zone": "z", "subject": "d7", "path": "/z/a"}, "state": "queued", "path": null, "reason": null,
    });
    let files: SaveFiles = serde_json::from_value(json!({"files": [file], "after": 1})).unwrap();
    let files = serde_json::to_value(files).unwrap();
    assert_eq!(keys(&files), keys(&schema("SaveFiles")["properties"]));
    assert_eq!(keys(&files["files"][0]), keys(&schema("SaveFile")["properties"]));
    let data = &files["files"][0]["in_irods"];
    assert_eq!(keys(data), keys(&schema("SaveFile")["properties"]["in_irods"]["properties"]));
    let request = json!({
        "objects": ["Image:1"], "what": ["files"], "collection": "/z/a", "again": true, "on_conflict": "refuse"
    });
    assert_eq!(keys(&request), keys(&schema("SaveRequest")["properties"]));
    assert!(SaveRequest::read(request.to_string().as_bytes()).is_ok());
    let states = schema("Save")["properties"]["state"]["enum"].clone();
    assert_eq!(states, json!(SaveState::ALL.map(SaveState::as_str)));
    let states = schema("SaveFile")["properties"]["state"]["enum"].clone();
    assert_eq!(states, json!(SaveFileState::ALL.map(SaveFileState::as_str)));
    let what = schema("SaveRequest")["properties"]["what"]["items"]["enum"].clone();
    assert_eq!(what, json!(What::ALL.map(What::as_str)));
}

#[test]
fn every_reference_leads_somewhere() {
    let description = description();
    let mut todo = vec![&description];
    while let Some(value) = todo.pop() {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(reference)) = map.get("$ref") {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(description.pointer(pointer).is_some(), "{reference}");
                }
                todo.extend(map.values());
            }
            Value::Array(items) => todo.extend(items),
            _ => {}
        }
    }
}
