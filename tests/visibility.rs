//! What of the data OMERO can see, in a (stand-in) zone with several resources and the real library.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::{Value, json};
use std::fs;
use support::zone::TestZone;

const HOME: &str = "/tempZone/home/alice";

/// A zone whose OMERO sees the vault of the resource `seen` only.
fn zone(change: impl FnOnce(&mut Value)) -> TestZone {
    let zone = TestZone::with(|c| {
        let dir = c["visibility"]["vaults"][0]["prefix"].as_str().unwrap().to_owned();
        c["visibility"] = json!({"vaults": [{"prefix": format!("{dir}/seen"), "resource": "seen"}]});
        change(c);
    });
    zone.admin(&["resource", "add", "seen", zone.path("seen").to_str().unwrap()]);
    zone
}

/// The files OMERO's links lead to.
fn links(zone: &TestZone) -> Vec<String> {
    let all = zone.omero.show();
    let files = all["filesets"].as_array().unwrap().iter().flat_map(|f| f["files"].as_array().unwrap());
    files.map(|f| f["target"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn data_omero_cannot_see_is_skipped_with_the_resources_that_would_do() {
    let zone = zone(|_| {});
    let path = format!("{HOME}/a.tif");
    zone.does("alice", &["put", &zone.image("a.tif"), &path]);
    let _delay = zone.delay_server();
    zone.wait_for(&path, "skipped");
    let reason = zone.value(&path, "reason").unwrap();
    assert!(reason.contains("(demoResc)") && reason.contains("resource seen below"), "{reason}");
    // And with a replica there it is imported: that one.
    zone.does("alice", &["repl", "-R", "seen", &path]);
    zone.wait_until("the replica is imported", |z| z.value(&path, "state").as_deref() == Some("imported"));
    let seen = zone.path("seen").to_str().unwrap().to_owned();
    assert!(
        links(&zone).iter().all(|l| l.starts_with(&seen)) && links(&zone).len() == 1,
        "{:?}",
        links(&zone)
    );
}

#[test]
fn data_is_copied_to_a_resource_omero_sees_and_imported_from_there() {
    let zone = zone(|c| c["visibility"]["stage_to"] = json!("seen"));
    let path = format!("{HOME}/a.tif");
    let image = zone.image("a.tif");
    zone.does("alice", &["put", &image, &path]);
    // Whoever may only read it gets it copied all the same: it is the server that copies.
    zone.does("alice", &["chmod", "read", "alice", &path]);
    let _delay = zone.delay_server();
    zone.wait_until("the copy is imported", |z| z.value(&path, "state").as_deref() == Some("imported"));
    let copies = links(&zone);
    assert_eq!(copies.len(), 1);
    assert!(copies[0].starts_with(zone.path("seen").to_str().unwrap()), "{copies:?}");
    assert_eq!(fs::read(&copies[0]).unwrap(), fs::read(&image).unwrap());
    let checksums = zone.admin(&["sql", "select distinct data_checksum from R_DATA_MAIN"]);
    assert!(checksums.trim().starts_with("fnv1a:") && checksums.trim().lines().count() == 1, "{checksums}");
    assert_eq!(zone.errors(), Vec::<String>::new());
}

/// A vault path that ends in a slash gives data paths with an empty element.
#[test]
fn data_of_a_resource_whose_vault_path_ends_in_a_slash_is_visible() {
    let zone = TestZone::with(|c| {
        let dir = c["visibility"]["vaults"][0]["prefix"].as_str().unwrap().to_owned();
        c["visibility"] = json!({"vaults": [{"prefix": format!("{dir}/slash")}]});
    });
    zone.admin(&["resource", "add", "slash", &format!("{}/", zone.path("slash").to_str().unwrap())]);
    let path = format!("{HOME}/a.tif");
    zone.does("alice", &["put", "-R", "slash", &zone.image("a.tif"), &path]);
    let data_path = zone.admin(&["sql", "select data_path from R_DATA_MAIN"]);
    assert!(data_path.contains("/slash//"), "{data_path}");
    let _delay = zone.delay_server();
    zone.wait_for(&path, "imported");
    assert_eq!(links(&zone).len(), 1);
}

/// What programs keep beside the data is not imported, whatever the file is called.
#[test]
fn scratch_collections_are_left_out_and_explain_says_so() {
    let zone = TestZone::new();
    let image = zone.image("a.tif");
    let run = format!("{HOME}/run");
    let scratch = [".gocmd_staging", ".Trash-1000/files", ".ipynb_checkpoints", "__MACOSX"]
        .map(|s| format!("{HOME}/{s}"));
    zone.does("alice", &["mkdir", &run]);
    zone.does("alice", &["mkdir", &format!("{HOME}/.Trash-1000")]);
    for collection in &scratch {
        zone.does("alice", &["mkdir", collection]);
        zone.does("alice", &["put", &image, &format!("{collection}/a.tif")]);
    }
    zone.does("alice", &["put", &image, &format!("{run}/a.tif")]);
    let _delay = zone.delay_server();
    zone.wait_for(&format!("{run}/a.tif"), "imported");
    // A look at everything finds nothing more to do.
    zone.does("rods", &["rule", "-r", support::zone::INSTANCE, r#"{"operation":"sweep_all"}"#]);
    zone.wait_until_nothing_is_due();
    for collection in &scratch {
        let path = format!("{collection}/a.tif");
        assert_eq!(zone.avus("-d", &path), vec![], "{path}");
        let request = json!({"operation": "explain", "path": path}).to_string();
        let told = zone.does("alice", &["rule", "-r", support::zone::INSTANCE, &request]);
        assert!(told.contains("exclude_collections"), "{told}");
    }
    assert_eq!(zone.omero.count("filesets"), 1);
    // What is moved out of there is data as any other.
    let moved = format!("{run}/b.tif");
    zone.does("alice", &["mv", &format!("{}/a.tif", scratch[0]), &moved]);
    zone.wait_for(&moved, "imported");
    // And a tag names what it stands on.
    zone.does("alice", &["meta", "add", "-C", &scratch[2], "irods::omero::import", "on"]);
    zone.wait_for(&format!("{}/a.tif", scratch[2]), "imported");
}
