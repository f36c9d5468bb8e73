//! Every way data arrives: copies, renames, bulk puts, extractions, trees, replicas. Whatever the route, the data is
//! imported once, and what is no arrival leaves no trace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::json;
use std::fs;
use std::process::Command;
use support::zone::TestZone;

const WATCHED: &str = "/tempZone/home/alice/watched";
const STAGING: &str = "/tempZone/home/alice/staging";

/// A zone in which only one collection of alice's is watched, and one beside it is not.
fn zone() -> TestZone {
    let zone = TestZone::with(|c| c["watch"] = json!([WATCHED]));
    for collection in [WATCHED, STAGING] {
        zone.does("alice", &["mkdir", collection]);
    }
    zone
}

fn assert_imported_once(zone: &TestZone, paths: &[&str]) {
    for path in paths {
        zone.wait_for(path, "imported");
    }
    zone.wait_until_nothing_is_due();
    assert_eq!(zone.omero.count("filesets"), paths.len(), "{paths:?}");
    assert_eq!(zone.errors(), Vec::<String>::new());
}

fn watched(name: &str) -> String {
    format!("{WATCHED}/{name}")
}

/// A directory of the client with images at two depths.
fn tree(zone: &TestZone, name: &str) -> String {
    let root = zone.path(name);
    fs::create_dir_all(root.join("deep/er")).unwrap();
    for image in ["1.tif", "deep/2.tif", "deep/er/3.tif"] {
        zone.omero.admin(&["make", "tiff", root.join(image).to_str().unwrap()]);
    }
    root.to_str().unwrap().to_owned()
}

const TREE: [&str; 3] = [
    "/tempZone/home/alice/watched/run/1.tif",
    "/tempZone/home/alice/watched/run/deep/2.tif",
    "/tempZone/home/alice/watched/run/deep/er/3.tif",
];

#[test]
fn a_copy_into_a_watched_collection_is_imported() {
    let zone = zone();
    let image = zone.image("a.tif");
    let _delay = zone.delay_server();
    zone.does("alice", &["put", &image, &format!("{STAGING}/a.tif")]);
    zone.does("alice", &["cp", &format!("{STAGING}/a.tif"), &watched("copy.tif")]);
    assert_imported_once(&zone, &[&watched("copy.tif")]);
}

#[test]
fn an_object_moved_into_a_watched_collection_is_imported_and_one_moved_out_is_not() {
    let zone = zone();
    let image = zone.image("a.tif");
    let _delay = zone.delay_server();
    zone.does("alice", &["put", &image, &format!("{STAGING}/a.tif")]);
    zone.does("alice", &["mv", &format!("{STAGING}/a.tif"), &watched("moved.tif")]);
    assert_imported_once(&zone, &[&watched("moved.tif")]);
}

#[test]
fn a_collection_moved_into_a_watched_one_is_imported_with_all_below_it() {
    let zone = zone();
    let local = tree(&zone, "run");
    let _delay = zone.delay_server();
    zone.does("alice", &["put", "-r", &local, &format!("{STAGING}/run")]);
    zone.does("alice", &["mv", &format!("{STAGING}/run"), &watched("run")]);
    assert_imported_once(&zone, &TREE);
}

#[test]
fn a_recursive_put_is_imported() {
    let zone = zone();
    let local = tree(&zone, "run");
    let _delay = zone.delay_server();
    zone.does("alice", &["put", "-r", &local, &watched("run")]);
    assert_imported_once(&zone, &TREE);
}

#[test]
fn a_bulk_put_names_the_collection_only_and_is_imported_with_all_below_it() {
    let zone = zone();
    let local = tree(&zone, "run");
    let _delay = zone.delay_server();
    zone.does("alice", &["put", "-r", "-b", &local, &watched("run")]);
    assert_imported_once(&zone, &TREE);
}

#[test]
fn a_registered_tree_is_imported_where_it_lies() {
    let zone = TestZone::with(|c| {
        c["watch"] = json!([WATCHED]);
        c["users"]["table"]["rods#tempZone"] = json!("carol");
    });
    zone.does("alice", &["mkdir", WATCHED]);
    zone.does("alice", &["chmod", "own", "rods", WATCHED]);
    let local = tree(&zone, "run");
    let _delay = zone.delay_server();
    zone.does("rods", &["reg", "-r", &local, &watched("run")]);
    assert_imported_once(&zone, &TREE);
}

#[test]
fn an_extracted_tar_is_imported() {
    let zone = zone();
    let local = tree(&zone, "run");
    let tar = zone.path("run.tar");
    let packed = Command::new("tar").arg("-cf").arg(&tar).arg("-C").arg(&local).arg(".").status().unwrap();
    assert!(packed.success());
    let _delay = zone.delay_server();
    zone.does("alice", &["put", tar.to_str().unwrap(), &format!("{STAGING}/run.tar")]);
    zone.does("alice", &["bun", "-x", &format!("{STAGING}/run.tar"), &watched("run")]);
    assert_imported_once(&zone, &TREE);
}

#[test]
fn a_new_replica_where_omero_can_see_it_makes_skipped_data_imported() {
    let zone = TestZone::with(|c| {
        let seen = c["visibility"]["vaults"][0]["prefix"].as_str().unwrap().to_owned();
        c["visibility"]["vaults"] = json!([{"prefix": format!("{seen}/seen")}]);
    });
    let seen = zone.path("seen");
    fs::create_dir(&seen).unwrap();
    zone.admin(&["resource", "add", "seenResc", seen.to_str().unwrap()]);
    let image = zone.image("a.tif");
    let _delay = zone.delay_server();
    let path = "/tempZone/home/alice/a.tif";
    zone.does("alice", &["put", &image, path]);
    zone.wait_for(path, "skipped");
    zone.does("alice", &["repl", "-R", "seenResc", path]);
    zone.wait_until("it is imported", |z| z.value(path, "state").as_deref() == Some("imported"));
    let shown = zone.omero.show().to_string();
    assert!(shown.contains(seen.to_str().unwrap()), "{shown}");
}

#[test]
fn replicating_imported_data_imports_nothing_new() {
    let zone = TestZone::new();
    let other = zone.path("other");
    fs::create_dir(&other).unwrap();
    zone.admin(&["resource", "add", "otherResc", other.to_str().unwrap()]);
    let image = zone.image("a.tif");
    let _delay = zone.delay_server();
    let path = "/tempZone/home/alice/a.tif";
    zone.does("alice", &["put", &image, path]);
    assert_imported_once(&zone, &[path]);
    zone.does("alice", &["repl", "-R", "otherResc", path]);
    assert_imported_once(&zone, &[path]);
}

#[test]
fn a_touched_object_is_empty_and_never_imported() {
    let zone = zone();
    let image = zone.image("a.tif");
    let _delay = zone.delay_server();
    zone.does("alice", &["touch", &watched("empty.tif")]);
    zone.does("alice", &["put", &image, &watched("a.tif")]);
    assert_imported_once(&zone, &[&watched("a.tif")]);
    assert_eq!(zone.value(&watched("empty.tif"), "state"), None);
}

#[test]
fn an_overwrite_of_imported_data_is_reported_stale() {
    let zone = zone();
    let image = zone.image("a.tif");
    let _delay = zone.delay_server();
    zone.does("alice", &["put", &image, &watched("a.tif")]);
    assert_imported_once(&zone, &[&watched("a.tif")]);
    let longer = zone.path("longer.tif");
    fs::write(&longer, [fs::read(&image).unwrap(), vec![0; 100]].concat()).unwrap();
    zone.does("alice", &["put", "-f", longer.to_str().unwrap(), &watched("a.tif")]);
    zone.wait_for(&watched("a.tif"), "stale");
    zone.wait_until_nothing_is_due();
    assert_eq!(zone.omero.count("filesets"), 1);
    assert!(zone.value(&watched("a.tif"), "fileset").is_some());
}

#[test]
fn a_client_that_dies_midway_imports_nothing_and_holds_up_nobody_for_ever() {
    let zone = TestZone::with(|c| {
        c["watch"] = json!([WATCHED]);
        c["max_wait_in_seconds"] = json!(2);
    });
    zone.does("alice", &["mkdir", WATCHED]);
    zone.script(
        "alice",
        &[
            json!(["open", "-w", "-c", watched("half.tif")]),
            json!(["write", "3", "II*"]),
            json!(["die", "--agent"]),
        ],
    );
    let image = zone.image("a.tif");
    let _delay = zone.delay_server();
    zone.does("alice", &["put", &image, &watched("a.tif")]);
    assert_imported_once(&zone, &[&watched("a.tif")]);
}

#[test]
fn data_put_through_a_consumer_is_imported_once() {
    let zone = TestZone::new();
    zone.add_consumer("edge");
    let image = zone.image("a.tif");
    let local = tree(&zone, "run");
    let _delay = zone.delay_server();
    for words in [
        vec!["put", image.as_str(), "/tempZone/home/alice/a.tif"],
        vec!["mkdir", WATCHED],
        vec!["put", "-r", "-b", local.as_str(), "/tempZone/home/alice/watched/run"],
    ] {
        zone.admin(&[&["--server", "edge", "as", "alice"], words.as_slice()].concat());
    }
    assert_imported_once(&zone, &[&["/tempZone/home/alice/a.tif"], TREE.as_slice()].concat());
}

#[test]
fn the_table_of_events_names_every_pep_we_hear() {
    let table = fs::read_to_string(support::root().join("docs/events.md")).unwrap();
    for (_, name) in irods_rule_engine_plugin_omero::event::Pep::ALL {
        let short = name.strip_prefix("pep_api_").unwrap_or(name);
        let both = short.trim_end_matches("_pre").trim_end_matches("_post");
        let told = [format!("`{short}`"), format!("`{both}_pre` and `_post`")];
        assert!(told.iter().any(|words| table.contains(words)), "{name} is missing in docs/events.md");
    }
}
