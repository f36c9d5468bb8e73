//! Imported data whose bytes move in iRODS: the links in OMERO's repository lead to where they are.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use irods_omero_model::record::Print;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use support::zone::{DelayServer, TestZone};

const HOME: &str = "/tempZone/home/alice";
const TRASH: &str = "/tempZone/trash/home/alice";

fn at(name: &str) -> String {
    format!("{HOME}/{name}")
}

/// One file of a fileset as OMERO has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    /// What OMERO says it was imported from, as an absolute path.
    client_path: String,
    /// Where its link leads.
    target: String,
    /// In the repository.
    link: PathBuf,
}

/// The files of all filesets.
fn stored(zone: &TestZone) -> Vec<Stored> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let filesets = zone.omero.show()["filesets"].as_array().unwrap().clone();
    let files = filesets.iter().flat_map(|f| f["files"].as_array().unwrap().clone());
    files
        .map(|file| Stored {
            client_path: format!("/{}", text(&file["client_path"])),
            target: text(&file["target"]),
            link: text(&file["link"]).into(),
        })
        .collect()
}

/// The only file of the only fileset.
fn only(zone: &TestZone) -> Stored {
    let [one] = stored(zone).try_into().unwrap();
    one
}

/// Where a data object lies on the server's disk, of its replica with the highest number.
fn lies(zone: &TestZone, path: &str) -> String {
    let (collection, name) = path.rsplit_once('/').unwrap();
    let query = format!(
        "select d.data_path from R_DATA_MAIN d join R_COLL_MAIN c on c.coll_id = d.coll_id where \
         c.coll_name = '{collection}' and d.data_name = '{name}' order by d.data_repl_num desc limit 1"
    );
    zone.admin(&["sql", &query]).trim().to_owned()
}

/// What our annotation of a fileset says under a key.
fn annotated(zone: &TestZone, key: &str) -> Option<String> {
    let show = zone.omero.show();
    let annotations = show["filesets"][0]["annotations"].as_array().unwrap().clone();
    let pairs = annotations.iter().flat_map(|a| a["pairs"].as_array().cloned().unwrap_or_default());
    pairs.into_iter().find(|pair| pair[0] == key).map(|pair| pair[1].as_str().unwrap().to_owned())
}

/// An image with bytes that no other has.
fn image(zone: &TestZone, name: &str, more: usize) -> String {
    let path = zone.image(name);
    let bytes = [fs::read(&path).unwrap(), vec![7; more]].concat();
    fs::write(&path, bytes).unwrap();
    path
}

/// Waits until OMERO sees a data object where it is, and nothing is left to do.
fn assert_followed(zone: &TestZone, path: &str) {
    // The record is written last.
    zone.wait_until(&format!("the link leads to {path}, and the record says so"), |z| {
        let link = format!(" link={}", Print::of(lies(z, path).as_bytes()));
        z.value(path, "version").is_some_and(|version| version.contains(&link))
    });
    zone.wait_until_nothing_is_due();
    let place = lies(zone, path);
    let file = stored(zone).into_iter().find(|file| file.target == place).unwrap();
    assert_eq!(file.client_path, place, "OMERO knows where it is");
    assert!(fs::read(&file.link).is_ok_and(|bytes| bytes == fs::read(&place).unwrap()));
    assert_eq!(zone.value(path, "state").as_deref(), Some("imported"));
    assert_eq!(zone.value(path, "reason"), None);
}

/// `a.tif`, imported from the collection `run`.
fn with_an_image(zone: &TestZone) -> DelayServer {
    let delay = zone.delay_server();
    zone.does("alice", &["mkdir", &at("run")]);
    zone.does("alice", &["put", &image(zone, "a.tif", 3), &at("run/a.tif")]);
    zone.wait_for(&at("run/a.tif"), "imported");
    zone.wait_until_nothing_is_due();
    delay
}

#[test]
fn a_renamed_data_object_is_seen_under_its_new_name_and_nothing_is_imported_anew() {
    let zone = TestZone::new();
    let _delay = with_an_image(&zone);
    let bytes = fs::read(only(&zone).link).unwrap();
    zone.does("alice", &["mv", &at("run/a.tif"), &at("run/b.tif")]);
    assert_followed(&zone, &at("run/b.tif"));
    assert_eq!(fs::read(only(&zone).link).unwrap(), bytes);
    assert_eq!(annotated(&zone, "iRODS path").as_deref(), Some(at("run/b.tif").as_str()));
    zone.does("alice", &["mkdir", &at("other")]);
    zone.does("alice", &["mv", &at("run/b.tif"), &at("other/c.tif")]);
    assert_followed(&zone, &at("other/c.tif"));
    assert_eq!((zone.omero.count("filesets"), zone.errors()), (1, vec![]));
}

#[test]
fn a_renamed_collection_has_all_below_it_followed() {
    let zone = TestZone::new();
    let delay = zone.delay_server();
    for (i, name) in ["run/a.tif", "run/x/b.tif", "run/x/y/c.tif"].iter().enumerate() {
        let (collection, file) = name.rsplit_once('/').unwrap();
        zone.does("alice", &["mkdir", "-p", &at(collection)]);
        zone.does("alice", &["put", &image(&zone, file, i), &at(name)]);
    }
    for name in ["run/a.tif", "run/x/b.tif", "run/x/y/c.tif"] {
        zone.wait_for(&at(name), "imported");
    }
    zone.wait_until_nothing_is_due();
    zone.does("alice", &["mv", &at("run"), &at("moved")]);
    for name in ["moved/a.tif", "moved/x/b.tif", "moved/x/y/c.tif"] {
        assert_followed(&zone, &at(name));
    }
    assert_eq!((zone.omero.count("filesets"), zone.errors()), (3, vec![]));
    drop(delay);
}

#[test]
fn what_goes_into_the_trash_is_seen_there_and_where_it_comes_out_again() {
    let zone = TestZone::new();
    let _delay = with_an_image(&zone);
    zone.does("alice", &["rm", &at("run/a.tif")]);
    assert_followed(&zone, &format!("{TRASH}/run/a.tif"));
    zone.does("alice", &["mv", &format!("{TRASH}/run/a.tif"), &at("run/a.tif")]);
    assert_followed(&zone, &at("run/a.tif"));
    zone.does("alice", &["rm", "-r", &at("run")]);
    // The name is taken in the trash, so the server has put a number behind it.
    let query = "select c.coll_name from R_DATA_MAIN d join R_COLL_MAIN c on c.coll_id = d.coll_id where d.data_name = 'a.tif'";
    let trash = zone.admin(&["sql", query]).trim().to_owned();
    assert!(trash.starts_with(&format!("{TRASH}/run.")), "{trash}");
    assert_followed(&zone, &format!("{trash}/a.tif"));
    zone.does("alice", &["mv", &trash, &at("back")]);
    assert_followed(&zone, &at("back/a.tif"));
    assert_eq!((zone.omero.count("filesets"), zone.errors()), (1, vec![]));
}

#[test]
fn what_leaves_the_watched_collections_is_followed_there_too() {
    let zone = TestZone::with(|c| c["watch"] = json!([format!("{HOME}/run")]));
    let _delay = with_an_image(&zone);
    zone.does("alice", &["mkdir", &at("out")]);
    zone.does("alice", &["mv", &at("run/a.tif"), &at("out/a.tif")]);
    assert_followed(&zone, &at("out/a.tif"));
    // And where nothing was ever watched.
    zone.does("alice", &["mv", &at("out/a.tif"), &at("out/b.tif")]);
    assert_followed(&zone, &at("out/b.tif"));
    zone.does("alice", &["mv", &at("out"), &at("further")]);
    assert_followed(&zone, &at("further/b.tif"));
    assert_eq!((zone.omero.count("filesets"), zone.errors()), (1, vec![]));
}

/// A zone with a second resource that OMERO sees, and a third that it does not.
fn with_resources(zone: &TestZone) {
    for name in ["otherResc", "hiddenResc"] {
        let vault = if name == "hiddenResc" {
            zone.omero.store.with_file_name("hidden")
        } else {
            zone.path("other_vault")
        };
        fs::create_dir(&vault).unwrap();
        zone.admin(&["resource", "add", name, vault.to_str().unwrap()]);
    }
}

#[test]
fn a_replica_that_is_moved_or_copied_to_another_resource_and_trimmed_is_followed() {
    let zone = TestZone::new();
    with_resources(&zone);
    let _delay = with_an_image(&zone);
    zone.does("alice", &["phymv", "-R", "otherResc", &at("run/a.tif")]);
    assert_followed(&zone, &at("run/a.tif"));
    assert!(only(&zone).target.contains("/other_vault/"));
    zone.does("alice", &["repl", "-R", "demoResc", &at("run/a.tif")]);
    zone.wait_until_nothing_is_due();
    assert!(only(&zone).target.contains("/other_vault/"), "it is still there");
    zone.does("alice", &["trim", "-S", "otherResc", "-N", "1", &at("run/a.tif")]);
    assert_followed(&zone, &at("run/a.tif"));
    assert!(!only(&zone).target.contains("/other_vault/"));
    assert_eq!((zone.omero.count("filesets"), zone.errors()), (1, vec![]));
}

#[test]
fn what_is_moved_out_of_omeros_sight_says_so_and_is_followed_when_it_is_back() {
    let zone = TestZone::with(|c| c["guard"] = json!({"people": {"trim": "allow"}}));
    with_resources(&zone);
    let _delay = with_an_image(&zone);
    zone.does("alice", &["phymv", "-R", "hiddenResc", &at("run/a.tif")]);
    zone.wait_until("its record says so", |z| {
        z.value(&at("run/a.tif"), "reason").is_some_and(|reason| reason.contains("Move it back"))
    });
    assert!(zone.value(&at("run/a.tif"), "reason").unwrap().contains("hiddenResc"));
    assert_eq!(zone.value(&at("run/a.tif"), "state").as_deref(), Some("imported"));
    zone.does("alice", &["phymv", "-R", "otherResc", &at("run/a.tif")]);
    assert_followed(&zone, &at("run/a.tif"));
    assert_eq!(zone.errors(), Vec::<String>::new());
}

/// A plate of several files on the client's disk.
fn plate(zone: &TestZone) -> String {
    let directory = zone.path("set");
    fs::create_dir(&directory).unwrap();
    zone.omero.admin(&["make", "htd-flat", directory.join("x.HTD").to_str().unwrap(), "--files", "2"]);
    directory.to_str().unwrap().to_owned()
}

#[test]
fn a_set_that_is_moved_is_followed_whole_and_one_that_is_torn_apart_is_said_to_be() {
    let zone = TestZone::new();
    let set = plate(&zone);
    let _delay = zone.delay_server();
    zone.does("alice", &["put", "-r", &set, &at("set")]);
    let names = ["x.HTD", "x_A01.TIF", "x_A02.TIF"];
    for name in names {
        zone.wait_for(&at(&format!("set/{name}")), "imported");
    }
    zone.wait_until_nothing_is_due();
    zone.does("alice", &["mv", &at("set"), &at("whole")]);
    for name in names {
        assert_followed(&zone, &at(&format!("whole/{name}")));
    }
    assert_eq!(annotated(&zone, "iRODS files apart"), None);
    zone.does("alice", &["mkdir", &at("apart")]);
    zone.does("alice", &["mv", &at("whole/x_A02.TIF"), &at("apart/x_A02.TIF")]);
    assert_followed(&zone, &at("apart/x_A02.TIF"));
    let apart = annotated(&zone, "iRODS files apart").unwrap();
    assert!(apart.contains("/whole") && apart.contains("/apart"), "{apart}");
    zone.does("alice", &["mv", &at("apart/x_A02.TIF"), &at("whole/x_A02.TIF")]);
    assert_followed(&zone, &at("whole/x_A02.TIF"));
    assert_eq!(annotated(&zone, "iRODS files apart"), None);
    assert_eq!((zone.omero.count("filesets"), zone.errors()), (1, vec![]));
}

#[test]
fn other_data_that_comes_to_the_old_path_is_imported_by_itself_and_shows_in_no_old_image() {
    let zone = TestZone::new();
    let _delay = with_an_image(&zone);
    let bytes = fs::read(only(&zone).link).unwrap();
    zone.does("alice", &["mv", &at("run/a.tif"), &at("run/b.tif")]);
    zone.does("alice", &["put", &image(&zone, "new.tif", 50), &at("run/a.tif")]);
    zone.wait_for(&at("run/a.tif"), "imported");
    assert_followed(&zone, &at("run/b.tif"));
    let old = stored(&zone).into_iter().find(|file| file.target.ends_with("/run/b.tif")).unwrap();
    assert_eq!(fs::read(old.link).unwrap(), bytes);
    assert_ne!(zone.value(&at("run/a.tif"), "fileset"), zone.value(&at("run/b.tif"), "fileset"));
    assert_eq!(zone.value(&at("run/a.tif"), "previous"), None);
    assert_eq!((zone.omero.count("filesets"), zone.errors()), (2, vec![]));
}

#[test]
fn a_link_that_somebody_has_changed_is_left_and_the_record_says_so() {
    let zone = TestZone::new();
    let _delay = with_an_image(&zone);
    let file = only(&zone);
    let secret = zone.path("secret.tif");
    fs::write(&secret, "of somebody else").unwrap();
    fs::remove_file(&file.link).unwrap();
    std::os::unix::fs::symlink(&secret, &file.link).unwrap();
    zone.does("alice", &["mv", &at("run/a.tif"), &at("run/b.tif")]);
    zone.wait_until("its record says so", |z| z.value(&at("run/b.tif"), "reason").is_some());
    assert!(zone.value(&at("run/b.tif"), "reason").unwrap().contains("somebody has changed it"));
    assert_eq!(PathBuf::from(only(&zone).target), secret);
}

#[test]
fn a_link_is_not_pointed_behind_another_link_in_the_vault() {
    let zone = TestZone::new();
    let _delay = with_an_image(&zone);
    let (secret, size) = (zone.path("secret.tif"), fs::metadata(only(&zone).link).unwrap().len());
    fs::write(&secret, vec![1; usize::try_from(size).unwrap()]).unwrap();
    let before = only(&zone).target;
    zone.does("alice", &["mkdir", &at("other")]);
    zone.does("alice", &["mv", &at("run/a.tif"), &at("other/a.tif")]);
    let place = lies(&zone, &at("other/a.tif"));
    fs::remove_file(&place).unwrap();
    std::os::unix::fs::symlink(&secret, &place).unwrap();
    zone.wait_until("something is said of it", |z| {
        z.value(&at("other/a.tif"), "reason").is_some() || only(z).target == place
    });
    // Where the link was followed before the file was exchanged, it leads to the data object's own place.
    if only(&zone).target == before {
        assert!(zone.value(&at("other/a.tif"), "reason").unwrap().contains("symbolic link"));
    }
}

#[test]
fn a_repository_that_cannot_be_written_to_is_said_with_the_remedy_and_followed_later() {
    let zone = TestZone::new();
    let _delay = with_an_image(&zone);
    let root = zone.omero.store.join("ManagedRepository");
    let aside = zone.omero.store.join("aside");
    fs::rename(&root, &aside).unwrap();
    zone.does("alice", &["mv", &at("run/a.tif"), &at("run/b.tif")]);
    zone.wait_until("its record says so", |z| z.value(&at("run/b.tif"), "reason").is_some());
    let reason = zone.value(&at("run/b.tif"), "reason").unwrap();
    assert!(reason.contains("ManagedRepository") && reason.contains("docs/agent.md"), "{reason}");
    fs::rename(&aside, &root).unwrap();
    assert_followed(&zone, &at("run/b.tif"));
    assert_eq!(zone.value(&at("run/b.tif"), "retry"), None);
}

#[test]
fn omero_that_fails_at_any_step_is_asked_again_and_nothing_is_done_twice() {
    for fault in [
        &["bad-query", "--command", "filesets", "--times", "1"][..],
        &["connection-lost", "--command", "files", "--times", "1"],
        &["exit", "--command", "relocate", "--times", "1"],
        &["connection-lost", "--command", "annotate", "--times", "4"],
    ] {
        let zone = TestZone::new();
        let _delay = with_an_image(&zone);
        zone.omero.admin(&[&["fault", "set"][..], fault].concat());
        zone.does("alice", &["mv", &at("run/a.tif"), &at("run/b.tif")]);
        zone.wait_until("its new place is known to all", |z| {
            annotated(z, "iRODS path").as_deref() == Some(at("run/b.tif").as_str())
                && z.value(&at("run/b.tif"), "reason").is_none()
        });
        assert_followed(&zone, &at("run/b.tif"));
        assert_eq!(zone.omero.count("filesets"), 1, "{fault:?}");
    }
}

#[test]
fn a_sweep_that_dies_before_the_record_is_written_is_done_again() {
    let zone = TestZone::new();
    let delay = with_an_image(&zone);
    zone.omero.admin(&["fault", "set", "hang", "--command", "annotate", "--times", "1"]);
    zone.does("alice", &["mv", &at("run/a.tif"), &at("run/b.tif")]);
    let place = lies(&zone, &at("run/b.tif"));
    zone.wait_until("the link is pointed", |z| only(z).target == place);
    delay.kill_with_agents();
    zone.omero.admin(&["fault", "clear"]);
    let _delay = zone.delay_server();
    zone.wait_until("its new place is known to all", |z| {
        annotated(z, "iRODS path").as_deref() == Some(at("run/b.tif").as_str())
    });
    assert_followed(&zone, &at("run/b.tif"));
}

#[test]
fn data_that_is_renamed_while_it_is_imported_is_followed_afterwards() {
    let zone = TestZone::new();
    let _delay = zone.delay_server();
    zone.does("alice", &["mkdir", &at("run")]);
    let words = ["fault", "set", "hang", "--command", "annotate", "--where", "start", "--times", "1"];
    zone.omero.admin(&words);
    zone.does("alice", &["put", &image(&zone, "a.tif", 3), &at("run/a.tif")]);
    zone.wait_until("it is being imported", |z| z.omero.count("images") == 1);
    zone.does("alice", &["mv", &at("run/a.tif"), &at("run/b.tif")]);
    zone.omero.admin(&["fault", "clear"]);
    zone.wait_until("it is imported", |z| z.value(&at("run/b.tif"), "state").as_deref() == Some("imported"));
    assert_followed(&zone, &at("run/b.tif"));
    assert_eq!(zone.omero.count("filesets"), 1);
}

#[test]
fn a_directory_that_is_one_image_is_followed_with_all_its_files() {
    let zone = TestZone::new();
    let directory = zone.path("x.zarr");
    zone.omero.admin(&["make", "zarr", directory.to_str().unwrap()]);
    let _delay = zone.delay_server();
    zone.does("alice", &["put", "-r", directory.to_str().unwrap(), &at("x.zarr")]);
    let state = |z: &TestZone, path: &str| z.avus("-C", path).into_iter().find(|(a, _, _)| a == "state");
    zone.wait_until("it is imported", |z| state(z, &at("x.zarr")).is_some_and(|(_, v, _)| v == "imported"));
    zone.wait_until_nothing_is_due();
    let count = stored(&zone).len();
    assert!(count > 1);
    zone.does("alice", &["mv", &at("x.zarr"), &at("y.zarr")]);
    zone.wait_until("all its links are pointed", |z| {
        stored(z).iter().all(|file| file.target.contains("/y.zarr/") && Path::new(&file.target).exists())
    });
    zone.wait_until_nothing_is_due();
    assert_eq!(stored(&zone).len(), count);
    assert_eq!(state(&zone, &at("y.zarr")).map(|(_, v, _)| v).as_deref(), Some("imported"));
    assert_eq!((zone.omero.count("filesets"), zone.errors()), (1, vec![]));
}

#[test]
fn data_that_lies_where_it_lay_costs_no_question_to_omero() {
    let zone = TestZone::new();
    let _delay = with_an_image(&zone);
    let asked = zone.omero.asked("files");
    zone.does("alice", &["put", &image(&zone, "b.tif", 9), &at("run/b.tif")]);
    zone.wait_for(&at("run/b.tif"), "imported");
    zone.wait_until_nothing_is_due();
    assert_eq!(zone.omero.asked("files"), asked);
    assert_eq!(zone.omero.asked("relocate"), 0);
}
