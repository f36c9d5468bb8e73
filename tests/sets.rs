//! Tags, sets of several files, directory formats, markers and new versions, end to end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::json;
use std::fs;
use support::zone::{INSTANCE, TestZone};

const HOME: &str = "/tempZone/home/alice";

fn at(name: &str) -> String {
    format!("{HOME}/{name}")
}

/// A set on the client's disk: a `MetaXpress` plate, of which some images may be missing.
fn plate(zone: &TestZone, files: &str) -> String {
    let directory = zone.path("set");
    fs::create_dir(&directory).unwrap();
    let key = directory.join("x.HTD");
    zone.omero.admin(&["make", "htd-flat", key.to_str().unwrap(), "--files", files]);
    directory.to_str().unwrap().to_owned()
}

#[test]
fn a_tag_on_an_old_collection_imports_what_is_there_and_what_comes_and_off_ends_it() {
    let zone = TestZone::with(|c| {
        c["watch"] = json!([]);
        c["max_queued_sweeps"] = json!(5);
    });
    let image = zone.image("a.tif");
    for collection in ["old", "old/1", "old/2", "old/private"] {
        zone.does("alice", &["mkdir", &at(collection)]);
        zone.does("alice", &["put", &image, &at(&format!("{collection}/a.tif"))]);
    }
    assert!(zone.avus("-C", &at("old")).is_empty(), "nothing is watched");
    zone.does("alice", &["meta", "add", "-C", &at("old/private"), "irods::omero::import", "off"]);
    zone.does("alice", &["meta", "add", "-C", &at("old"), "irods::omero::import", "on", "quiet=1"]);
    let _delay = zone.delay_server();
    zone.does("alice", &["put", &image, &at("old/2/b.tif")]);
    for name in ["old/a.tif", "old/1/a.tif", "old/2/a.tif", "old/2/b.tif"] {
        zone.wait_for(&at(name), "imported");
    }
    zone.wait_until_nothing_is_due();
    assert_eq!(zone.value(&at("old/private/a.tif"), "state"), None);
    assert_eq!(zone.omero.count("filesets"), 4);
    assert_eq!(zone.errors(), Vec::<String>::new());
}

#[test]
fn a_tag_that_is_not_understood_says_so_on_the_data() {
    let zone = TestZone::with(|c| c["watch"] = json!([]));
    let image = zone.image("a.tif");
    zone.does("alice", &["meta", "add", "-C", HOME, "irods::omero::import", "yes please", "quiet=1"]);
    let _delay = zone.delay_server();
    zone.does("alice", &["put", &image, &at("a.tif")]);
    zone.wait_until("it is skipped", |z| z.value(&at("a.tif"), "state").as_deref() == Some("skipped"));
    let reason = zone.value(&at("a.tif"), "reason").unwrap();
    assert!(reason.contains("'yes please' on /tempZone/home/alice is not understood"), "{reason}");
}

#[test]
fn a_set_put_in_bulk_is_one_fileset_and_a_late_sidecar_is_recorded_and_not_imported() {
    let zone = TestZone::new();
    let set = plate(&zone, "3");
    let late = zone.path("late.tif");
    fs::rename(format!("{set}/x_A03.TIF"), &late).unwrap();
    let _delay = zone.delay_server();
    zone.does("alice", &["put", "-r", "-b", &set, &at("set")]);
    for name in ["x.HTD", "x_A01.TIF", "x_A02.TIF"] {
        zone.wait_for(&at(&format!("set/{name}")), "imported");
    }
    zone.wait_until_nothing_is_due();
    let fileset = zone.value(&at("set/x.HTD"), "fileset").unwrap();
    assert_eq!(zone.value(&at("set/x_A02.TIF"), "member_of"), Some(fileset.clone()));
    zone.does("alice", &["put", late.to_str().unwrap(), &at("set/x_A03.TIF")]);
    zone.wait_until("it is stale", |z| z.value(&at("set/x_A03.TIF"), "state").as_deref() == Some("stale"));
    zone.wait_until_nothing_is_due();
    assert_eq!(zone.value(&at("set/x_A03.TIF"), "member_of"), Some(fileset));
    assert_eq!(zone.omero.count("filesets"), 1);
}

#[test]
fn an_ome_zarr_is_one_fileset_with_its_record_on_the_collection() {
    let zone = TestZone::new();
    let local = zone.path("x.ome.zarr");
    zone.omero.admin(&["make", "zarr", local.to_str().unwrap(), "--files", "3"]);
    let _delay = zone.delay_server();
    zone.does("alice", &["put", "-r", local.to_str().unwrap(), &at("x.ome.zarr")]);
    zone.wait_until("it is imported", |z| {
        z.avus("-C", &at("x.ome.zarr")).iter().any(|(a, v, _)| a == "state" && v == "imported")
    });
    zone.wait_until_nothing_is_due();
    assert!(zone.avus("-C", &at("x.ome.zarr")).iter().any(|(a, _, _)| a == "image"));
    assert!(zone.avus("-d", &at("x.ome.zarr/0/0.0")).is_empty());
    assert_eq!((zone.omero.count("filesets"), zone.errors()), (1, vec![]));
}

#[test]
fn with_a_marker_a_run_is_imported_when_it_says_so() {
    let zone = TestZone::with(|c| {
        c["watch"] = json!([{"collection": HOME, "complete_marker": "*.done", "exclude": ["*.done"]}]);
    });
    let image = zone.image("a.tif");
    let _delay = zone.delay_server();
    zone.does("alice", &["put", &image, &at("a.tif")]);
    zone.wait_until("it was looked at", |z| z.avus("-C", HOME).iter().any(|(a, _, _)| a == "due"));
    assert_eq!(zone.value(&at("a.tif"), "state"), None);
    fs::write(zone.path("run.done"), "1").unwrap();
    zone.does("alice", &["put", zone.path("run.done").to_str().unwrap(), &at("run.done")]);
    zone.wait_for(&at("a.tif"), "imported");
    assert_eq!(zone.value(&at("run.done"), "state"), None);
}

#[test]
fn under_reimport_an_overwrite_makes_new_images_beside_the_old() {
    let zone = TestZone::with(|c| c["on_overwrite"] = json!("reimport"));
    let image = zone.image("a.tif");
    let _delay = zone.delay_server();
    zone.does("alice", &["put", &image, &at("a.tif")]);
    zone.wait_for(&at("a.tif"), "imported");
    zone.wait_until_nothing_is_due();
    let old = zone.value(&at("a.tif"), "fileset").unwrap();
    zone.does("alice", &["put", "-f", &longer(&zone, &image), &at("a.tif")]);
    zone.wait_until("the old fileset is named", |z| z.value(&at("a.tif"), "previous") == Some(old.clone()));
    zone.wait_for(&at("a.tif"), "imported");
    zone.wait_until_nothing_is_due();
    assert_ne!(zone.value(&at("a.tif"), "fileset"), Some(old));
    assert_eq!(zone.omero.count("filesets"), 2);
}

/// Another image of the name, as a file of the client.
fn longer(zone: &TestZone, image: &str) -> String {
    let longer = zone.path("longer.tif");
    fs::write(&longer, [fs::read(image).unwrap(), vec![0; 100]].concat()).unwrap();
    longer.to_str().unwrap().to_owned()
}

#[test]
fn data_replaced_at_its_path_names_the_old_fileset_however_it_went_and_verify_says_so() {
    let ways: [&[&[&str]]; 3] = [
        &[&["rm", "-f", "/tempZone/home/alice/a.tif"]],
        &[&["rm", "/tempZone/home/alice/a.tif"]],
        &[&["mv", "/tempZone/home/alice/a.tif", "/tempZone/home/alice/b.tif"]],
    ];
    for way in ways {
        let zone = TestZone::new();
        let image = zone.image("a.tif");
        let _delay = zone.delay_server();
        zone.does("alice", &["put", &image, &at("a.tif")]);
        zone.wait_for(&at("a.tif"), "imported");
        zone.wait_until_nothing_is_due();
        let old = zone.value(&at("a.tif"), "fileset").unwrap();
        for words in way {
            zone.does("alice", words);
        }
        zone.does("alice", &["put", &longer(&zone, &image), &at(".tmp-a")]);
        zone.does("alice", &["mv", &at(".tmp-a"), &at("a.tif")]);
        zone.wait_for(&at("a.tif"), "imported");
        zone.wait_until_nothing_is_due();
        assert_eq!(zone.value(&at("a.tif"), "previous"), Some(old.clone()), "{way:?}");
        assert_ne!(zone.value(&at("a.tif"), "fileset"), Some(old));
        assert_eq!(zone.omero.count("filesets"), 2, "{way:?}");
        let ask = json!({"operation": "verify", "path": at("a.tif")}).to_string();
        let verified = zone.does("alice", &["rule", "-r", INSTANCE, &ask]);
        assert!(verified.contains("was at this path before"), "{way:?}: {verified}");
    }
}
