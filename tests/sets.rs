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

/// A plate on the client's disk whose images lie in a collection below that of its key file.
fn plate_with_subdirectory(zone: &TestZone) -> String {
    let directory = zone.path("plate");
    fs::create_dir_all(directory.join("sub")).unwrap();
    fs::write(directory.join("x.plate-test"), "name P\nwell A1 sub/a1.tif\nwell A2 sub/a2.tif\n").unwrap();
    for name in ["a1.tif", "a2.tif", "unrelated.tif"] {
        let path = directory.join("sub").join(name);
        zone.omero.admin(&["make", "tiff", path.to_str().unwrap()]);
    }
    directory.to_str().unwrap().to_owned()
}

/// One fileset of the plate, which its key file bears, and one of the file beside its images.
fn assert_one_plate(zone: &TestZone) {
    zone.wait_for(&at("plate/x.plate-test"), "imported");
    for name in ["a1.tif", "a2.tif", "unrelated.tif"] {
        zone.wait_for(&at(&format!("plate/sub/{name}")), "imported");
    }
    zone.wait_until_nothing_is_due();
    let fileset = zone.value(&at("plate/x.plate-test"), "fileset");
    assert!(fileset.is_some());
    for name in ["a1.tif", "a2.tif"] {
        let path = at(&format!("plate/sub/{name}"));
        assert_eq!(
            (zone.value(&path, "member_of"), zone.value(&path, "fileset")),
            (fileset.clone(), None),
            "{name}"
        );
        assert_eq!(zone.value(&path, "awaits"), None);
    }
    assert_ne!(zone.value(&at("plate/sub/unrelated.tif"), "fileset"), fileset);
    assert_eq!(zone.value(&at("plate/x.plate-test"), "awaits"), None);
    assert_eq!((zone.omero.count("filesets"), zone.errors()), (2, vec![]));
}

#[test]
fn a_set_whose_files_lie_in_collections_below_its_key_is_one_fileset() {
    let zone = TestZone::new();
    let plate = plate_with_subdirectory(&zone);
    let _delay = zone.delay_server();
    zone.does("alice", &["put", "-r", &plate, &at("plate")]);
    assert_one_plate(&zone);
}

#[test]
fn a_key_waits_for_files_of_its_set_that_come_later_and_says_for_which() {
    let zone = TestZone::new();
    let plate = plate_with_subdirectory(&zone);
    let _delay = zone.delay_server();
    zone.does("alice", &["mkdir", &at("plate")]);
    zone.does("alice", &["mkdir", &at("plate/sub")]);
    let put = |name: &str| {
        zone.does("alice", &["put", &format!("{plate}/{name}"), &at(&format!("plate/{name}"))]);
    };
    put("x.plate-test");
    zone.wait_until("the key waits", |z| {
        let reason = z.value(&at("plate/x.plate-test"), "reason").unwrap_or_default();
        reason.contains(&at("plate/sub/a1.tif")) && reason.contains("not there yet")
    });
    assert!(zone.value(&at("plate/x.plate-test"), "awaits").is_some());
    put("sub/a1.tif");
    zone.wait_until("the key waits for the other", |z| {
        z.value(&at("plate/x.plate-test"), "reason").unwrap_or_default().contains(&at("plate/sub/a2.tif"))
    });
    assert_eq!(zone.omero.count("filesets"), 0, "its member is not imported by itself");
    put("sub/a2.tif");
    put("sub/unrelated.tif");
    assert_one_plate(&zone);
}

#[test]
fn a_key_that_comes_after_its_members_says_which_filesets_are_in_its_way_and_following_that_ends_clean() {
    let zone = TestZone::new();
    let plate = plate_with_subdirectory(&zone);
    let _delay = zone.delay_server();
    zone.does("alice", &["mkdir", &at("plate")]);
    zone.does("alice", &["put", "-r", &format!("{plate}/sub"), &at("plate/sub")]);
    let member = |name: &str| at(&format!("plate/sub/{name}"));
    for name in ["a1.tif", "a2.tif", "unrelated.tif"] {
        zone.wait_for(&member(name), "imported");
    }
    let key = at("plate/x.plate-test");
    zone.does("alice", &["put", &format!("{plate}/x.plate-test"), &key]);
    zone.wait_until("it is late", |z| z.value(&key, "state").as_deref() == Some("stale"));
    let reason = zone.value(&key, "reason").unwrap();
    for name in ["a1.tif", "a2.tif"] {
        let fileset = zone.value(&member(name), "fileset").unwrap();
        assert!(reason.contains(&fileset), "{reason} does not name {fileset}");
        zone.omero.act("alice", &["delete", "-q", &format!("Fileset:{fileset}")]);
    }
    let retry = json!({"operation": "retry", "path": key}).to_string();
    zone.does("alice", &["rule", "-r", INSTANCE, &retry]);
    zone.wait_until("it is imported", |z| z.value(&key, "state").as_deref() == Some("imported"));
    zone.wait_until("its members say so", |z| {
        ["a1.tif", "a2.tif"].iter().all(|n| z.value(&member(n), "member_of") == z.value(&key, "fileset"))
    });
    assert_one_plate(&zone);
}

#[test]
fn a_set_that_uses_data_its_owner_may_not_read_is_refused_with_its_name_and_nothing_of_it_is_in_omero() {
    let zone = TestZone::new();
    let secret = zone.image("secret_1.tif");
    zone.does("alice", &["mkdir", &at("private")]);
    for name in ["secret_1.tif", "secret_2.tif"] {
        zone.does("alice", &["put", &secret, &at(&format!("private/{name}"))]);
    }
    let vault = zone.path("zone/Vault/home/alice/private");
    for (name, line) in [
        ("x.pattern", format!("{}/secret_<1-2>.tif", vault.display())),
        ("y.pattern", "../alice/private/secret_<1-2>.tif".to_owned()),
        ("z.pattern", format!("{}/nothing_<1-2>.tif", zone.dir().display())),
        ("p.pattern", "/etc/pass<w-w>d".to_owned()),
    ] {
        fs::write(zone.path(name), line).unwrap();
        zone.does(
            "carol",
            &["put", zone.path(name).to_str().unwrap(), &format!("/tempZone/home/carol/{name}")],
        );
    }
    let _delay = zone.delay_server();
    for name in ["x.pattern", "y.pattern"] {
        let path = format!("/tempZone/home/carol/{name}");
        zone.wait_for(&path, "failed");
        let reason = zone.value(&path, "reason").unwrap();
        let is_found = name == "x.pattern";
        assert!(
            !is_found || reason.contains("secret_1.tif") && reason.contains("carol#tempZone may not read"),
            "{reason}"
        );
    }
    zone.wait_for(&at("private/secret_1.tif"), "imported");
    zone.wait_for(&at("private/secret_2.tif"), "imported");
    let shown = zone.omero.show();
    let owners =
        shown["filesets"].as_array().unwrap().iter().map(|f| f["owner"].as_str().unwrap().to_owned());
    assert_eq!(owners.collect::<Vec<_>>(), ["alice", "alice"]);
}

#[test]
fn a_set_may_use_what_its_owner_may_read_and_that_stays_its_owners_data() {
    let zone = TestZone::new();
    let plate = plate_with_subdirectory(&zone);
    let there = |name: &str| format!("/tempZone/home/carol/plate/{name}");
    zone.does("carol", &["mkdir", "-p", &there("sub")]);
    zone.does("carol", &["chmod", "write", "alice", &there("sub")]);
    for name in ["sub/a1.tif", "sub/a2.tif"] {
        zone.does("alice", &["put", &format!("{plate}/{name}"), &there(name)]);
        zone.does("alice", &["chmod", "read", "carol", &there(name)]);
    }
    let key = there("x.plate-test");
    zone.does("carol", &["put", &format!("{plate}/x.plate-test"), &key]);
    let _delay = zone.delay_server();
    zone.wait_for(&key, "imported");
    for name in ["sub/a1.tif", "sub/a2.tif"] {
        zone.wait_for(&there(name), "imported");
        assert_ne!(zone.value(&there(name), "fileset"), zone.value(&key, "fileset"), "alice's own");
        assert_eq!(zone.value(&there(name), "member_of"), None);
    }
    zone.wait_until_nothing_is_due();
    let shown = zone.omero.show();
    let mut owners: Vec<&str> =
        shown["filesets"].as_array().unwrap().iter().map(|f| f["owner"].as_str().unwrap()).collect();
    owners.sort_unstable();
    assert_eq!((owners, zone.errors()), (vec!["alice", "alice", "carol"], vec![]));
}

#[test]
fn what_is_not_watched_is_used_by_a_set_and_gets_no_record() {
    let zone = TestZone::new();
    let plate = plate_with_subdirectory(&zone);
    zone.does("alice", &["mkdir", "-p", &at("plate/sub")]);
    zone.does("alice", &["meta", "add", "-C", &at("plate/sub"), "irods::omero::import", "off"]);
    let files = ["sub/a1.tif", "sub/a2.tif", "x.plate-test"];
    for name in files {
        zone.does("alice", &["put", &format!("{plate}/{name}"), &at(&format!("plate/{name}"))]);
    }
    let _delay = zone.delay_server();
    zone.wait_for(&at("plate/x.plate-test"), "imported");
    zone.wait_until_nothing_is_due();
    for name in &files[..2] {
        assert_eq!(zone.avus("-d", &at(&format!("plate/{name}"))), [], "{name}");
    }
    assert_eq!((zone.omero.count("filesets"), zone.errors()), (1, vec![]));
}

#[test]
fn a_set_that_names_files_of_others_that_are_not_there_holds_up_nobody() {
    let zone = TestZone::new();
    let image = zone.image("a.tif");
    zone.does("alice", &["mkdir", &at("data")]);
    let key = "/tempZone/home/carol/x.plate-test";
    fs::write(zone.path("x.plate-test"), "name P\nwell A1 ../alice/data/none.tif\n").unwrap();
    let _delay = zone.delay_server();
    zone.does("carol", &["put", zone.path("x.plate-test").to_str().unwrap(), key]);
    zone.wait_until("the key waits", |z| z.value(key, "awaits").is_some());
    zone.does("alice", &["put", &image, &at("data/a.tif")]);
    zone.wait_for(&at("data/a.tif"), "imported");
    assert_eq!(zone.value(key, "state").as_deref(), Some("pending"));
    assert_eq!(zone.omero.count("filesets"), 1);
}

#[test]
fn a_file_of_two_sets_is_in_both_and_names_one() {
    let zone = TestZone::new();
    let plate = plate_with_subdirectory(&zone);
    fs::copy(format!("{plate}/x.plate-test"), format!("{plate}/y.plate-test")).unwrap();
    let _delay = zone.delay_server();
    zone.does("alice", &["put", "-r", &plate, &at("plate")]);
    let [x, y] = ["x", "y"].map(|key| at(&format!("plate/{key}.plate-test")));
    zone.wait_for(&x, "imported");
    zone.wait_for(&y, "imported");
    zone.wait_for(&at("plate/sub/unrelated.tif"), "imported");
    zone.wait_until_nothing_is_due();
    let keys = [x, y].map(|key| zone.value(&key, "fileset").unwrap());
    assert_ne!(keys[0], keys[1]);
    assert!(keys.contains(&zone.value(&at("plate/sub/a1.tif"), "member_of").unwrap()));
    assert_eq!((zone.omero.count("filesets"), zone.errors()), (3, vec![]));
}

#[test]
fn a_set_one_of_whose_files_has_left_is_given_up_after_its_time_and_the_others_go_by_themselves() {
    let zone = TestZone::with(|c| c["max_wait_in_seconds"] = json!(4));
    let plate = plate_with_subdirectory(&zone);
    let _delay = zone.delay_server();
    fs::remove_file(format!("{plate}/sub/a2.tif")).unwrap();
    zone.does("alice", &["put", "-r", &plate, &at("plate")]);
    zone.wait_for(&at("plate/x.plate-test"), "failed");
    let reason = zone.value(&at("plate/x.plate-test"), "reason").unwrap();
    assert!(reason.contains(&at("plate/sub/a2.tif")) && reason.contains("did not come within"), "{reason}");
    for name in ["a1.tif", "unrelated.tif"] {
        zone.wait_for(&at(&format!("plate/sub/{name}")), "imported");
    }
    zone.wait_until_nothing_is_due();
    assert_eq!((zone.omero.count("filesets"), zone.errors()), (2, vec![]));
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
    assert!(zone.told("-C", &at("x.ome.zarr"), "images").is_some());
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
    let is_named = |z: &TestZone| z.told("-d", &at("a.tif"), "previous") == Some(old.clone());
    zone.wait_until("the old fileset is named", is_named);
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
        // The first way is one that the guard refuses by default.
        let zone = TestZone::with(|c| c["guard"] = json!({"people": {"remove": "allow"}}));
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
        assert_ne!(zone.value(&at("a.tif"), "fileset"), Some(old.clone()));
        assert_eq!(zone.omero.count("filesets"), 2, "{way:?}");
        if way[0] != ["rm", "-f", "/tempZone/home/alice/a.tif"] {
            // The old data is still there, and the old images show it (tests/follow.rs).
            zone.wait_until("the old images show the old data", |z| {
                let filesets = z.omero.show()["filesets"].as_array().unwrap().clone();
                let of_old = filesets.iter().find(|f| f["id"].as_u64() == old.parse().ok()).unwrap();
                let link = of_old["files"][0]["link"].as_str().unwrap();
                fs::read(link).is_ok_and(|bytes| bytes == fs::read(&image).unwrap())
            });
            continue;
        }
        assert_eq!(zone.told("-d", &at("a.tif"), "previous"), Some(old.clone()), "{way:?}");
        let ask = json!({"operation": "verify", "path": at("a.tif")}).to_string();
        let verified = zone.does("alice", &["rule", "-r", INSTANCE, &ask]);
        assert!(verified.contains("was at this path before"), "{way:?}: {verified}");
    }
}
