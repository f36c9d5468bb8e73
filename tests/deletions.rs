//! What somebody deletes in OMERO is noticed by itself: the record says who did it, and the data is imported again only where
//! the site says so, or somebody asks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::json;
use std::fs;
use support::zone::{DelayServer, INSTANCE, TestZone};

const HOME: &str = "/tempZone/home/alice";

fn at(name: &str) -> String {
    format!("{HOME}/{name}")
}

/// A zone that looks every second, in which some of alice's data is imported, and its delay server.
fn zone_with(names: &[&str], on_delete: Option<&str>) -> (TestZone, DelayServer) {
    let zone = TestZone::with(|c| {
        c["sweep_all_interval_in_seconds"] = json!(1);
        if let Some(word) = on_delete {
            c["on_delete_in_omero"] = json!(word);
        }
    });
    let image = zone.image("a.tif");
    let delay = zone.delay_server();
    for name in names {
        zone.does("alice", &["put", &image, &at(name)]);
    }
    for name in names {
        zone.wait_for(&at(name), "imported");
    }
    zone.wait_until_nothing_is_due();
    zone.does("rods", &["rule", "-r", INSTANCE, r#"{"operation":"install_recurring"}"#]);
    zone.wait_until("the log of OMERO is read from here on", |z| cursor(z).is_some());
    (zone, delay)
}

/// What the zone's collection says of how far OMERO's log of events is read.
fn cursor(zone: &TestZone) -> Option<String> {
    let all = zone.avus("-C", "/tempZone").into_iter();
    all.map(|(_, value, _)| value).find(|value| value.starts_with("deletions "))
}

fn fileset(zone: &TestZone, name: &str) -> String {
    zone.value(&at(name), "fileset").unwrap_or_else(|| panic!("{name} has no fileset"))
}

/// Waits until data says that it is left alone.
fn wait_until_removed(zone: &TestZone, path: &str) {
    zone.wait_until(&format!("{path} is skipped"), |z| z.value(path, "state").as_deref() == Some("skipped"));
}

fn delete(zone: &TestZone, user: &str, name: &str) {
    let object = format!("Fileset:{}", fileset(zone, name));
    zone.omero.act(user, &["delete", "-q", &object]);
}

#[test]
fn what_is_deleted_in_omero_is_said_with_who_did_it_and_is_not_imported_again_unless_asked() {
    let (zone, _delay) = zone_with(&["a.tif", "b.tif"], None);
    delete(&zone, "alice", "a.tif");
    wait_until_removed(&zone, &at("a.tif"));
    let reason = zone.value(&at("a.tif"), "reason").unwrap();
    assert!(reason.starts_with("removed in OMERO by alice: fileset"), "{reason}");
    assert_eq!(zone.value(&at("b.tif"), "state").as_deref(), Some("imported"));
    // It may go now, and is not imported again by anything that looks.
    let mark = json!({"operation": "import", "path": HOME}).to_string();
    zone.act("alice", &["rule", "-r", INSTANCE, &mark]);
    zone.wait_until_nothing_is_due();
    assert_eq!(zone.omero.count("filesets"), 1);
    let retry = json!({"operation": "retry", "path": at("a.tif")}).to_string();
    zone.does("alice", &["rule", "-r", INSTANCE, &retry]);
    zone.wait_for(&at("a.tif"), "imported");
    // What the log said of the fileset before is no word about the new one.
    let first = cursor(&zone);
    zone.does("rods", &["rule", "-r", INSTANCE, r#"{"operation":"sweep_all"}"#]);
    zone.wait_until_nothing_is_due();
    assert_eq!(zone.value(&at("a.tif"), "state").as_deref(), Some("imported"), "{first:?}");
    delete(&zone, "alice", "b.tif");
    wait_until_removed(&zone, &at("b.tif"));
    zone.does("alice", &["rm", "-f", &at("b.tif")]);
    assert_eq!(zone.errors(), Vec::<String>::new());
}

#[test]
fn what_is_deleted_while_nobody_looks_is_noticed_afterwards() {
    let (zone, delay) = zone_with(&["a.tif", "b.tif"], None);
    drop(delay);
    delete(&zone, "alice", "a.tif");
    assert_eq!(zone.value(&at("a.tif"), "state").as_deref(), Some("imported"));
    let delay = zone.delay_server();
    wait_until_removed(&zone, &at("a.tif"));
    // While OMERO is away nothing is said to be gone, and nothing is forgotten.
    zone.omero.admin(&["fault", "set", "server-down", "--command", "worker"]);
    drop(delay);
    delete(&zone, "alice", "b.tif");
    let _delay = zone.delay_server();
    zone.wait_until("it was tried", |z| z.log().contains("act=deletions failed="));
    assert_eq!(zone.value(&at("b.tif"), "state").as_deref(), Some("imported"));
    zone.omero.admin(&["fault", "clear"]);
    wait_until_removed(&zone, &at("b.tif"));
}

#[test]
fn of_a_set_that_is_deleted_in_omero_every_file_says_so() {
    let (zone, _delay) = zone_with(&["other.tif"], None);
    fs::write(zone.path("x.plate-test"), "name P\nwell A1 a1.tif\nwell A2 a2.tif\n").unwrap();
    for name in ["a1.tif", "a2.tif"] {
        zone.does("alice", &["put", &zone.image(name), &at(name)]);
    }
    zone.does("alice", &["put", zone.path("x.plate-test").to_str().unwrap(), &at("x.plate-test")]);
    let all = ["x.plate-test", "a1.tif", "a2.tif"];
    for name in all {
        zone.wait_for(&at(name), "imported");
    }
    zone.omero.act("alice", &["delete", "-q", "Plate:1"]);
    for name in all {
        wait_until_removed(&zone, &at(name));
        let reason = zone.value(&at(name), "reason").unwrap();
        assert!(reason.starts_with("removed in OMERO by alice"), "{name}: {reason}");
    }
}

#[test]
fn a_directory_that_is_one_image_says_that_its_images_were_deleted() {
    let (zone, _delay) = zone_with(&["other.tif"], None);
    zone.omero.admin(&["make", "zarr", zone.path("x.ome.zarr").to_str().unwrap()]);
    zone.does("alice", &["put", "-r", zone.path("x.ome.zarr").to_str().unwrap(), HOME]);
    let said = |z: &TestZone, attribute: &str| {
        let avus = z.avus("-C", &at("x.ome.zarr")).into_iter();
        avus.filter(|(name, _, _)| name == attribute).map(|(_, value, _)| value).next().unwrap_or_default()
    };
    zone.wait_until("it is imported", |z| said(z, "state") == "imported");
    let object = format!("Fileset:{}", said(&zone, "fileset"));
    zone.omero.act("alice", &["delete", "-q", &object]);
    zone.wait_until("it is said to be gone", |z| said(z, "state") == "skipped");
    assert!(said(&zone, "reason").starts_with("removed in OMERO by alice"), "{}", said(&zone, "reason"));
}

#[test]
fn where_the_site_says_so_it_is_imported_again() {
    let (zone, _delay) = zone_with(&["a.tif"], Some("import_again"));
    let old = fileset(&zone, "a.tif");
    delete(&zone, "alice", "a.tif");
    zone.wait_until("it has another fileset", |z| {
        z.value(&at("a.tif"), "state").as_deref() == Some("imported")
            && z.value(&at("a.tif"), "fileset").is_some_and(|new| new != old)
    });
    assert_eq!((zone.omero.count("filesets"), zone.omero.count("images")), (1, 1));
    // Where it is not watched any more the record says so.
    zone.does("alice", &["rm", &at("a.tif")]);
    let trashed = "/tempZone/trash/home/alice/a.tif";
    zone.wait_until_nothing_is_due();
    let object = format!("Fileset:{}", zone.value(trashed, "fileset").unwrap());
    zone.omero.act("alice", &["delete", "-q", &object]);
    zone.wait_until("the record says so", |z| z.value(trashed, "state").as_deref() == Some("skipped"));
    assert_eq!(zone.omero.count("filesets"), 0);
}

#[test]
fn images_that_are_deleted_by_a_release_are_said_to_be_released() {
    let (zone, _delay) = zone_with(&["a.tif"], Some("import_again"));
    let release = json!({"operation": "release", "path": at("a.tif"), "images": "delete"}).to_string();
    zone.does("alice", &["rule", "-r", INSTANCE, &release]);
    wait_until_removed(&zone, &at("a.tif"));
    let before = cursor(&zone);
    zone.does("rods", &["rule", "-r", INSTANCE, r#"{"operation":"sweep_all"}"#]);
    zone.wait_until_nothing_is_due();
    let reason = zone.value(&at("a.tif"), "reason").unwrap();
    assert!(reason.starts_with("released by alice#tempZone"), "{before:?}: {reason}");
    assert_eq!(zone.omero.count("filesets"), 0);
}

#[test]
fn an_older_database_in_omero_is_no_deletion_and_is_read_on_from_its_end() {
    let (zone, delay) = zone_with(&["a.tif"], None);
    drop(delay);
    let ahead = r#"deletions {"from":4711,"last":4711,"since":1}"#;
    let known = cursor(&zone).unwrap();
    let noticed = zone
        .admin(&["sql", "select meta_attr_name from R_META_MAIN where meta_attr_value like 'deletions %'"]);
    let noticed = noticed.lines().last().unwrap().trim().to_owned();
    zone.does("rods", &["meta", "-M", "rm", "-C", "/tempZone", &noticed, &known]);
    zone.does("rods", &["meta", "-M", "add", "-C", "/tempZone", &noticed, ahead]);
    let _delay = zone.delay_server();
    zone.wait_until("it is read from its end", |z| cursor(z).is_some_and(|text| !text.contains("4711")));
    assert!(zone.log().contains("an older database was restored"));
    assert_eq!(zone.value(&at("a.tif"), "state").as_deref(), Some("imported"));
    delete(&zone, "alice", "a.tif");
    wait_until_removed(&zone, &at("a.tif"));
}

#[test]
fn only_the_plugins_own_jobs_read_the_log() {
    let zone = TestZone::new();
    let seen = zone.act("alice", &["rule", "-r", INSTANCE, r#"{"operation":"deletions"}"#]);
    assert!(!seen.ok && seen.output.contains("only the plugin's own jobs"), "{}{}", seen.output, seen.error);
}
