// SPDX-License-Identifier: BSD-3-Clause
//! Each client operation fires the policy enforcement points recorded on a real server, with arguments of the
//! recorded types.

mod common;

use common::{HOME, Zone, recorded};
use serde_json::json;

fn home(name: &str) -> String {
    format!("{HOME}/{name}")
}

/// Runs one verb and compares what it fired.
fn fires(zone: &Zone, user: &str, words: &[&str], section: &str) {
    zone.trace();
    zone.as_user(user, words);
    assert_eq!(zone.peps(), recorded(section), "{words:?}");
}

/// Top collection with three files and a sub-collection with one, as the recording used.
fn tree(zone: &Zone) -> String {
    zone.file("tree/sub/deep.tif", "deep");
    for name in ["a.tif", "b.tif", "c.tif"] {
        zone.file(&format!("tree/{name}"), name);
    }
    common::text(zone.path("tree"))
}

#[test]
fn put_and_its_variants() {
    let zone = Zone::new();
    let file = zone.file("x.tif", "contents");
    fires(&zone, "alice", &["put", &file, &home("x.tif")], "iput");
    fires(&zone, "alice", &["put", "-f", &file, &home("x.tif")], "iput_force");
    fires(&zone, "alice", &["put", "--parallel", &file, &home("y.tif")], "iput_parallel");
    fires(&zone, "alice", &["put", "-r", &tree(&zone), HOME], "iput_recursive");
}

#[test]
fn bulk_put() {
    let zone = Zone::new();
    fires(&zone, "alice", &["put", "-b", "-r", &tree(&zone), HOME], "iput_bulk");
    assert_eq!(zone.query("alice", "select DATA_NAME order by DATA_NAME").len(), 4);
}

#[test]
fn streams_of_the_python_client() {
    let zone = Zone::new();
    let file = zone.file("x.tif", "contents");
    fires(&zone, "alice", &["stream-put", &file, &home("x.tif")], "prc_put");
    fires(&zone, "alice", &["create", &home("empty.tif")], "prc_create");
    fires(&zone, "alice", &["istream", &file, &home("z.tif")], "istream");

    zone.trace();
    zone.script(
        "alice",
        &[
            json!(["open", "-w", "-c", home("w.tif")]),
            json!(["lseek", 3, 0]),
            json!(["write", 3, "abc"]),
            json!(["lseek", 3, 0]),
            json!(["close", 3]),
        ],
    );
    assert_eq!(zone.peps(), recorded("prc_open_write_close"));

    zone.script(
        "alice",
        &[
            json!(["open", "-r", home("w.tif")]),
            json!(["lseek", 3, 0]),
            json!(["lseek", 3, 0]),
            json!(["read", 3, 100]),
            json!(["read", 3, 100]),
            json!(["lseek", 3, 0]),
            json!(["close", 3]),
        ],
    );
    assert_eq!(zone.peps(), recorded("prc_open_read_close"));
}

#[test]
fn parallel_stream_of_the_python_client() {
    // The recording has the writes of several connections interleaved; what is opened and closed is compared.
    let essential = |lines: Vec<String>| -> Vec<String> {
        lines.into_iter().filter(|line| !line.contains("_lseek_") && !line.contains("_write_")).collect()
    };
    let zone = Zone::new();
    let file = zone.file("big.tif", vec![7_u8; 100_000]);
    zone.trace();
    zone.as_user("alice", &["stream-put", "--parallel", &file, &home("big.tif")]);
    assert_eq!(essential(zone.peps()), essential(recorded("prc_put_parallel")));
    assert_eq!(zone.query("alice", "select DATA_SIZE, DATA_REPL_STATUS"), [["100000", "1"]]);
}

#[test]
fn copying_and_moving() {
    let zone = Zone::new();
    let file = zone.file("x.tif", "contents");
    zone.as_user("alice", &["put", &file, &home("x.tif")]);
    fires(&zone, "alice", &["cp", &home("x.tif"), &home("y.tif")], "icp");
    fires(&zone, "alice", &["cp", &home("x.tif"), &home("z.tif")], "prc_copy");
    fires(&zone, "alice", &["mv", &home("y.tif"), &home("moved.tif")], "imv_object");

    zone.as_user("alice", &["put", "-r", &tree(&zone), HOME]);
    fires(&zone, "alice", &["mv", &home("tree"), &home("forest")], "imv_collection");

    zone.as_user("alice", &["mkdir", &home("one")]);
    zone.as_user("alice", &["put", &file, &home("one/x.tif")]);
    fires(&zone, "alice", &["mv", &home("one"), &home("two")], "prc_coll_move");
    fires(&zone, "alice", &["rm", "-r", &home("two")], "prc_coll_remove");
}

#[test]
fn removing() {
    let zone = Zone::new();
    let file = zone.file("x.tif", "contents");
    for name in ["a", "b", "c", "d"] {
        zone.as_user("alice", &["put", &file, &home(name)]);
    }
    fires(&zone, "alice", &["rm", &home("a")], "irm");
    fires(&zone, "alice", &["rm", &home("b")], "prc_unlink");
    fires(&zone, "alice", &["rm", "-f", &home("c")], "irm_force");
    fires(&zone, "alice", &["rm", "-f", &home("d")], "prc_unlink_force");

    zone.as_user("alice", &["put", "-r", &tree(&zone), HOME]);
    fires(&zone, "alice", &["rm", "-r", &home("tree")], "irm_recursive");
    zone.as_user("alice", &["put", "-r", &tree(&zone), HOME]);
    fires(&zone, "alice", &["rm", "-r", "-f", &home("tree")], "irm_recursive_force");
}

#[test]
fn registering() {
    let zone = Zone::new();
    let file = zone.file("outside/x.tif", "contents");
    zone.file("flat/a.tif", "a");
    zone.file("flat/b.tif", "b");
    let target = "/tempZone/home/rods";
    fires(&zone, "rods", &["reg", &file, &format!("{target}/x.tif")], "ireg");
    fires(&zone, "rods", &["reg", &file, &format!("{target}/y.tif")], "prc_register");
    let flat = common::text(zone.path("flat"));
    fires(&zone, "rods", &["reg", "-r", &flat, &format!("{target}/flat")], "ireg_recursive");
    zone.trace();
    zone.as_user("rods", &["unreg", &format!("{target}/x.tif")]);
    assert_eq!(zone.peps(), recorded("iunreg"));
    assert!(zone.path("outside/x.tif").exists(), "iunreg leaves the file");
}

#[test]
fn replicas() {
    let zone = Zone::new();
    zone.must(&["resource", "add", "other", &common::text(zone.path("other"))]);
    let file = zone.file("x.tif", "contents");
    zone.as_user("alice", &["put", &file, &home("x.tif")]);
    fires(&zone, "alice", &["repl", "-R", "other", &home("x.tif")], "irepl");
    fires(&zone, "alice", &["trim", "-n", "1", &home("x.tif")], "itrim");
    fires(&zone, "alice", &["phymv", "-R", "other", &home("x.tif")], "iphymv");
    assert!(zone.path("other/home/alice/x.tif").exists());
}

#[test]
fn touching() {
    let zone = Zone::new();
    fires(&zone, "alice", &["touch", &home("new.tif")], "itouch");
    fires(&zone, "alice", &["touch", &home("newer.tif")], "prc_touch");
}

#[test]
fn metadata_collections_and_permissions() {
    let zone = Zone::new();
    let file = zone.file("x.tif", "contents");
    zone.as_user("alice", &["put", &file, &home("x.tif")]);
    fires(&zone, "alice", &["meta", "add", "-d", &home("x.tif"), "a", "v"], "imeta_add");
    fires(&zone, "alice", &["meta", "set", "-C", HOME, "a", "v"], "imeta_set");
    fires(&zone, "alice", &["meta", "add", "-d", &home("x.tif"), "b", "v"], "prc_metadata_add");
    let request = json!({
        "entity_name": home("x.tif"), "entity_type": "data_object",
        "operations": [{"operation": "add", "attribute": "c", "value": "v", "units": "u"}]
    });
    fires(&zone, "alice", &["atomic", &request.to_string()], "prc_atomic");
    fires(&zone, "alice", &["mkdir", &home("d")], "imkdir");
    fires(&zone, "alice", &["chmod", "read", "bob", &home("x.tif")], "ichmod");
    fires(&zone, "alice", &["rule", "-r", "trace", "anything"], "irule");
    fires(&zone, "alice", &["delay", "<PLUSET>1h</PLUSET>", "anything"], "irule_delay");
}

#[test]
fn extracting_an_archive() {
    let zone = Zone::new();
    tree(&zone);
    // Three collections are new: the target, and two in the archive.
    std::fs::create_dir(zone.path("tree/empty")).expect("mkdir");
    let status = std::process::Command::new("tar")
        .arg("-C")
        .arg(zone.path("tree"))
        .arg("-cf")
        .arg(zone.path("tree.tar"))
        .args(["sub", "empty", "a.tif", "b.tif", "c.tif"])
        .status()
        .expect("tar");
    assert!(status.success());
    zone.trace();
    let tar = common::text(zone.path("tree.tar"));
    zone.as_user("alice", &["put", &tar, &home("tree.tar")]);
    zone.as_user("alice", &["bun", "-x", &home("tree.tar"), &home("out")]);
    // The order of collections and files is the archive's; the recording's archive had the collections first.
    let mut fired = zone.peps();
    let mut wanted = recorded("ibun");
    fired.sort();
    wanted.sort();
    assert_eq!(fired, wanted);
    assert_eq!(zone.query("alice", "select DATA_NAME where COLL_NAME like '%/out/sub'"), [["deep.tif"]]);
}

#[test]
fn finally_follows_every_operation_also_a_failed_one() {
    let zone = Zone::new();
    zone.fails("alice", &["rm", &home("nothing")]);
    let fired: Vec<String> = zone
        .trace()
        .into_iter()
        .filter(|line| line.contains("pep_api_data_obj_unlink"))
        .map(|line| line.split(' ').nth(1).expect("name").to_owned())
        .collect();
    assert_eq!(
        fired,
        ["pep_api_data_obj_unlink_pre", "pep_api_data_obj_unlink_except", "pep_api_data_obj_unlink_finally"]
    );
}
