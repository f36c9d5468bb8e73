//! Every way data arrives or leaves, as `event::matrix` lists them. Whatever the route, the data is imported once, what
//! is no arrival leaves no trace, and what left before its import waits for none.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use irods_rule_engine_plugin_omero::event::Pep;
use irods_rule_engine_plugin_omero::event::matrix::{self, MATRIX};
use serde_json::json;
use std::fs;
use std::process::Command;
use support::zone::{DelayServer, INSTANCE, TestZone};

const WATCHED: &str = "/tempZone/home/alice/watched";
const STAGING: &str = "/tempZone/home/alice/staging";
const HOME: &str = "/tempZone/home/alice";
const TAG: &str = "irods::omero::import";

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

/// A zone in which only tags make anything be imported.
fn untagged_zone() -> TestZone {
    TestZone::with(|c| {
        c["watch"] = json!([]);
        c["max_queued_sweeps"] = json!(5);
    })
}

/// Puts images that are given the paths; collections are made.
fn put_all(zone: &TestZone, paths: &[&str]) {
    let image = zone.image("one.tif");
    for path in paths {
        let parent = path.rsplit_once('/').unwrap().0;
        zone.does("alice", &["mkdir", "-p", parent]);
        zone.does("alice", &["put", &image, path]);
    }
}

fn state(zone: &TestZone, path: &str) -> Option<String> {
    zone.value(path, "state")
}

/// The marks of ours on a collection.
fn marks(zone: &TestZone, collection: &str) -> Vec<String> {
    zone.avus("-C", collection).into_iter().map(|(a, _, _)| a).filter(|a| a != "import").collect()
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
fn an_object_moved_into_a_watched_collection_is_imported() {
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
    zone.does("alice", &["trim", "-n", "1", path]);
    assert_imported_once(&zone, &[path]);
}

/// As `irepl` and `itrim` do it, or a storage tiering policy.
#[test]
fn imported_data_that_is_copied_to_another_resource_and_trimmed_is_the_same_data() {
    let zone = TestZone::with(|c| c["on_overwrite"] = json!("reimport"));
    let other = zone.path("other");
    fs::create_dir(&other).unwrap();
    zone.admin(&["resource", "add", "otherResc", other.to_str().unwrap()]);
    let path = "/tempZone/home/alice/microscopy/a.tif";
    put_all(&zone, &[path]);
    let _delay = zone.delay_server();
    assert_imported_once(&zone, &[path]);
    let before = zone.value(path, "version");
    zone.does("alice", &["repl", "-R", "otherResc", path]);
    zone.does("alice", &["trim", "-n", "0", path]);
    // Replicas made within one second have the same time.
    zone.admin(&["sql", "update R_DATA_MAIN set modify_ts = modify_ts + 1 where data_repl_num = 1"]);
    sweep_all(&zone);
    zone.wait_until("the new replica's time is recorded", |z| z.value(path, "version") != before);
    assert_imported_once(&zone, &[path]);
    // The new replica is what a later overwrite is told from.
    zone.admin(&["sql", "update R_DATA_MAIN set modify_ts = modify_ts + 1 where data_repl_num = 1"]);
    sweep_all(&zone);
    zone.wait_until("it is imported again", |z| z.omero.count("filesets") == 2);
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
fn a_new_time_of_imported_data_is_noticed_and_the_checksum_proves_that_nothing_changed() {
    let zone = zone();
    let path = watched("a.tif");
    put_all(&zone, &[&path]);
    zone.does("alice", &["chksum", &path]);
    let _delay = zone.delay_server();
    assert_imported_once(&zone, &[&path]);
    let before = zone.value(&path, "version");
    zone.does("alice", &["touch", &path]);
    assert_eq!(marks(&zone, WATCHED), Vec::<String>::new());
    sweep_all(&zone);
    zone.wait_until("its new time is recorded", |z| z.value(&path, "version") != before);
    assert_imported_once(&zone, &[&path]);
    assert_eq!(state(&zone, &path).as_deref(), Some("imported"));
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
fn data_put_or_streamed_in_any_way_is_imported_once() {
    let zone = zone();
    let image = zone.image("a.tif");
    let _delay = zone.delay_server();
    let names = ["put", "parallel", "stream", "streams", "replica", "created"];
    let paths: Vec<String> = names.iter().map(|n| watched(&format!("{n}.tif"))).collect();
    zone.does("alice", &["put", &image, &paths[0]]);
    zone.does("alice", &["put", "--parallel", &image, &paths[1]]);
    zone.does("alice", &["stream-put", &image, &paths[2]]);
    zone.does("alice", &["stream-put", "--parallel", &image, &paths[3]]);
    zone.does("alice", &["istream", &image, &paths[4]]);
    zone.does("alice", &["create", &paths[5]]);
    zone.script(
        "alice",
        &[json!(["open", "-w", &paths[5]]), json!(["write-file", "3", image]), json!(["close", "3"])],
    );
    assert_imported_once(&zone, &paths.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn only_the_close_that_finalises_ends_a_parallel_write() {
    let zone = zone();
    let image = zone.image("a.tif");
    let write = |path: &str, close: &[&str]| {
        let open = json!(["replica-open", "-w", "-c", path]);
        let close = [&["replica-close"], close, &["3"]].concat();
        zone.script("alice", &[open, json!(["write-file", "3", image]), json!(close)]);
    };
    write(&watched("one_of_several.tif"), &["--no-size", "--no-status", "--no-notify"]);
    assert_eq!(marks(&zone, WATCHED), Vec::<String>::new(), "a stream that is not the last ends nothing");
    write(&watched("a.tif"), &[]);
    assert_eq!(marks(&zone, WATCHED), ["due"]);
}

#[test]
fn a_tag_put_along_with_data_imports_just_that_object() {
    let zone = untagged_zone();
    let image = zone.image("a.tif");
    let (tagged, beside) = (format!("{HOME}/tagged.tif"), format!("{HOME}/beside.tif"));
    let _delay = zone.delay_server();
    zone.does("alice", &["put", &image, &beside]);
    zone.does("alice", &["put", "--metadata", &format!("{TAG};on;;"), &image, &tagged]);
    assert_imported_once(&zone, &[&tagged]);
    assert_eq!(state(&zone, &beside), None);
}

#[test]
fn a_synchronisation_within_irods_is_imported() {
    let zone = zone();
    let source = format!("{STAGING}/a.tif");
    put_all(&zone, &[&source]);
    let _delay = zone.delay_server();
    zone.does("alice", &["rsync", &source, &watched("a.tif")]);
    assert_imported_once(&zone, &[&watched("a.tif")]);
    zone.does("alice", &["rsync", &source, &watched("a.tif")]);
    assert_imported_once(&zone, &[&watched("a.tif")]);
}

#[test]
fn data_moved_within_watched_collections_is_imported_once() {
    let zone = zone();
    put_all(&zone, &[&watched("one/a.tif"), &watched("tree/b.tif")]);
    zone.does("alice", &["mkdir", &watched("two")]);
    zone.does("alice", &["mv", &watched("one/a.tif"), &watched("two/a.tif")]);
    zone.does("alice", &["mv", &watched("tree"), &watched("two/tree")]);
    let _delay = zone.delay_server();
    assert_imported_once(&zone, &[&watched("two/a.tif"), &watched("two/tree/b.tif")]);
}

/// The server gives a data object that is moved to another collection a new time.
#[test]
fn imported_data_that_is_moved_or_taken_out_of_the_trash_is_the_same_data() {
    let zone = TestZone::with(|c| {
        c["watch"] = json!([WATCHED]);
        c["on_overwrite"] = json!("reimport");
    });
    let (first, second) = (watched("one/a.tif"), watched("two/b.tif"));
    put_all(&zone, &[&first]);
    zone.does("alice", &["mkdir", &watched("two")]);
    let _delay = zone.delay_server();
    assert_imported_once(&zone, &[&first]);
    let version = zone.value(&first, "version").unwrap();
    zone.does("alice", &["mv", &first, &second]);
    zone.wait_until("its new time is recorded", |z| {
        z.value(&second, "version").is_some_and(|v| v != version)
    });
    zone.does("alice", &["rm", &second]);
    zone.does("alice", &["mv", "/tempZone/trash/home/alice/watched/two/b.tif", &first]);
    zone.wait_until_nothing_is_due();
    assert_imported_once(&zone, &[&first]);
    let longer = zone.path("longer.tif");
    fs::write(&longer, [fs::read(zone.image("one.tif")).unwrap(), vec![0; 100]].concat()).unwrap();
    zone.does("alice", &["put", "-f", longer.to_str().unwrap(), &first]);
    zone.wait_until("new bytes are imported", |z| z.omero.count("filesets") == 2);
}

/// A zone whose data waits for a marker, and has a record that says so.
fn waiting_zone(paths: &[&str]) -> (TestZone, DelayServer) {
    let zone = TestZone::with(|c| {
        c["watch"] = json!([{"collection": WATCHED, "complete_marker": "*.done", "exclude": ["*.done"]}]);
        c["max_wait_in_seconds"] = json!(1);
    });
    zone.does("alice", &["mkdir", WATCHED]);
    put_all(&zone, paths);
    let delay = zone.delay_server();
    for path in paths {
        zone.wait_for(path, "pending");
    }
    (zone, delay)
}

#[test]
fn data_moved_out_before_its_import_is_gone_and_comes_back() {
    let (object, in_tree) = (watched("a.tif"), watched("tree/b.tif"));
    let (zone, _delay) = waiting_zone(&[&object, &in_tree]);
    zone.does("alice", &["mkdir", STAGING]);
    zone.does("alice", &["mv", &object, &format!("{STAGING}/a.tif")]);
    zone.does("alice", &["mv", &watched("tree"), &format!("{STAGING}/tree")]);
    for path in ["a.tif", "tree/b.tif"] {
        zone.wait_for(&format!("{STAGING}/{path}"), "gone");
    }
    fs::write(zone.path("run.done"), "1").unwrap();
    zone.does("alice", &["put", zone.path("run.done").to_str().unwrap(), &watched("run.done")]);
    zone.does("alice", &["mv", &format!("{STAGING}/a.tif"), &object]);
    zone.wait_until("it is imported", |z| state(z, &object).as_deref() == Some("imported"));
    assert_eq!((zone.omero.count("filesets"), zone.errors()), (1, vec![]));
}

#[test]
fn data_removed_before_its_import_leaves_nothing_pending() {
    let paths = ["for_good.tif", "trash.tif", "tree/a.tif", "tree_for_good/a.tif"].map(watched);
    let (zone, _delay) = waiting_zone(&paths.each_ref().map(String::as_str));
    zone.does("alice", &["rm", "-f", &paths[0]]);
    zone.does("alice", &["rm", &paths[1]]);
    zone.does("alice", &["rm", "-r", &watched("tree")]);
    zone.does("alice", &["rm", "-r", "-f", &watched("tree_for_good")]);
    let trash = "/tempZone/trash/home/alice/watched";
    for name in ["trash.tif", "tree/a.tif"] {
        zone.wait_for(&format!("{trash}/{name}"), "gone");
    }
    let pending = zone.admin(&[
        "sql",
        "select count(*) from R_META_MAIN m join R_OBJT_METAMAP o on o.meta_id = m.meta_id where \
         m.meta_attr_name = 'irods::omero::state' and m.meta_attr_value = 'pending'",
    ]);
    assert_eq!(pending.trim(), "0");
    // And back again.
    fs::write(zone.path("run.done"), "1").unwrap();
    zone.does("alice", &["put", zone.path("run.done").to_str().unwrap(), &watched("run.done")]);
    zone.does("alice", &["mv", &format!("{trash}/trash.tif"), &paths[1]]);
    zone.wait_until("it is imported", |z| state(z, &paths[1]).as_deref() == Some("imported"));
    zone.does("alice", &["rmtrash"]);
    zone.wait_until_nothing_is_due();
    assert_eq!((zone.omero.count("filesets"), zone.errors()), (1, vec![]));
}

/// A zone of which OMERO sees the resource `seenResc` only, and that resource's directory.
fn half_visible_zone() -> TestZone {
    let zone = TestZone::with(|c| {
        let seen = c["visibility"]["vaults"][0]["prefix"].as_str().unwrap().to_owned();
        c["visibility"]["vaults"] = json!([{"prefix": format!("{seen}/seen")}]);
    });
    let seen = zone.path("seen");
    fs::create_dir(&seen).unwrap();
    zone.admin(&["resource", "add", "seenResc", seen.to_str().unwrap()]);
    zone
}

#[test]
fn a_registered_file_and_a_registered_replica_are_imported_where_they_lie() {
    let zone = half_visible_zone();
    let (new, replica) = (format!("{HOME}/new.tif"), format!("{HOME}/replica.tif"));
    zone.does("alice", &["chmod", "own", "rods", HOME]);
    zone.does("rods", &["meta", "add", "-u", "rods", "irods::omero::user", "carol"]);
    for name in ["new.tif", "replica.tif"] {
        zone.omero.admin(&["make", "tiff", zone.path("seen").join(name).to_str().unwrap()]);
    }
    let lies = |name: &str| zone.path("seen").join(name).to_str().unwrap().to_owned();
    let _delay = zone.delay_server();
    zone.does("alice", &["put", &lies("replica.tif"), &replica]);
    zone.wait_for(&replica, "skipped");
    zone.does("rods", &["reg", "-R", "seenResc", &lies("new.tif"), &new]);
    zone.does("rods", &["reg", "--repl", "-R", "seenResc", &lies("replica.tif"), &replica]);
    zone.wait_until("it is imported", |z| state(z, &replica).as_deref() == Some("imported"));
    assert_imported_once(&zone, &[&new, &replica]);
    zone.does("rods", &["unreg", &new]);
    zone.wait_until_nothing_is_due();
    assert_eq!((zone.omero.count("filesets"), zone.errors()), (2, vec![]));
}

#[test]
fn a_replica_moved_to_where_omero_sees_it_is_imported_once() {
    let zone = half_visible_zone();
    let path = format!("{HOME}/a.tif");
    put_all(&zone, &[&path]);
    let _delay = zone.delay_server();
    zone.wait_for(&path, "skipped");
    zone.does("alice", &["phymv", "-R", "seenResc", &path]);
    zone.wait_until("it is imported", |z| state(z, &path).as_deref() == Some("imported"));
    assert_imported_once(&zone, &[&path]);
}

#[test]
fn permissions_are_no_event() {
    let zone = zone();
    put_all(&zone, &[&watched("a.tif")]);
    let _delay = zone.delay_server();
    assert_imported_once(&zone, &[&watched("a.tif")]);
    zone.does("alice", &["chmod", "read", "bob", &watched("a.tif")]);
    zone.does("alice", &["chmod", "-r", "read", "bob", WATCHED]);
    assert_eq!(marks(&zone, WATCHED), Vec::<String>::new());
    assert_imported_once(&zone, &[&watched("a.tif")]);
}

/// Tags a collection as `imeta` and atomic requests can.
fn tag(zone: &TestZone, way: &str, collection: &str) {
    match way {
        "mod" => {
            zone.does("alice", &["meta", "add", "-C", collection, "later", "x"]);
            zone.does("alice", &["meta", "mod", "-C", collection, "later", "x", &format!("n:{TAG}"), "v:on"]);
        }
        "cp" => {
            let tagged = format!("{HOME}/only_tagged");
            zone.does("alice", &["mkdir", &tagged]);
            zone.does("alice", &["meta", "add", "-C", &tagged, TAG, "on"]);
            zone.wait_until_nothing_is_due();
            zone.does("alice", &["meta", "cp", "-C", "-C", &tagged, collection]);
        }
        "atomic" => {
            let add = json!({"operation": "add", "attribute": TAG, "value": "on", "units": ""});
            let request =
                json!({"entity_name": collection, "entity_type": "collection", "operations": [add]});
            zone.does("alice", &["atomic", &request.to_string()]);
        }
        other => drop(zone.does("alice", &["meta", other, "-C", collection, TAG, "on"])),
    }
}

#[test]
fn a_tag_set_by_any_operation_imports_what_is_there() {
    let zone = untagged_zone();
    let ways = ["add", "set", "mod", "cp", "atomic"];
    let paths: Vec<String> = ways.iter().map(|way| format!("{HOME}/{way}/deep/a.tif")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    put_all(&zone, &paths);
    let _delay = zone.delay_server();
    for way in ways {
        tag(&zone, way, &format!("{HOME}/{way}"));
    }
    assert_imported_once(&zone, &paths);
}

#[test]
fn a_tag_on_one_object_imports_just_that_one() {
    let zone = untagged_zone();
    let paths = ["a.tif", "b.tif", "c.tif"].map(|n| format!("{HOME}/{n}"));
    put_all(&zone, &paths.each_ref().map(String::as_str));
    let _delay = zone.delay_server();
    zone.does("alice", &["meta", "add", "-d", &paths[0], TAG, "on"]);
    let add = json!({"operation": "add", "attribute": TAG, "value": "on", "units": ""});
    let request = json!({"entity_name": paths[1], "entity_type": "data_object", "operations": [add]});
    zone.does("alice", &["atomic", &request.to_string()]);
    assert_imported_once(&zone, &[&paths[0], &paths[1]]);
    assert_eq!(state(&zone, &paths[2]), None);
}

#[test]
fn of_two_tags_the_nearest_wins_and_off_ends_inheritance() {
    let zone = untagged_zone();
    let at = |name: &str| format!("{HOME}/run/{name}");
    put_all(&zone, &[&at("a.tif"), &at("private/b.tif"), &at("private/public/c.tif")]);
    for (name, value) in [("run/private/public", "on"), ("run/private", "off"), ("run", "on")] {
        zone.does("alice", &["meta", "add", "-C", &format!("{HOME}/{name}"), TAG, value]);
    }
    let _delay = zone.delay_server();
    assert_imported_once(&zone, &[&at("a.tif"), &at("private/public/c.tif")]);
    assert_eq!(state(&zone, &at("private/b.tif")), None);
}

/// Waits until sweeps have looked at all data and left it to its marker.
fn wait_until_only_the_marker_is_waited_for(zone: &TestZone) {
    zone.wait_until("only the time is left that the marker is waited for", |z| {
        let count = "select count(*) from R_RULE_EXEC where rule_name like '%\"sweep\"%' and cast(exe_time as integer)";
        let now = "cast(strftime('%s', 'now') as integer) + 600";
        let of = |op: &str| z.admin(&["sql", &format!("{count} {op} {now}")]).trim().to_owned();
        of("<") == "0" && of(">") != "0"
    });
}

#[test]
fn removing_a_tag_stops_imports_and_removes_nothing() {
    let zone = untagged_zone();
    let run = format!("{HOME}/run");
    let (before, after) = (format!("{run}/before.tif"), format!("{run}/after.tif"));
    put_all(&zone, &[&before]);
    let _delay = zone.delay_server();
    zone.does("alice", &["meta", "add", "-C", &run, TAG, "on"]);
    assert_imported_once(&zone, &[&before]);
    let record = zone.avus("-d", &before);
    // What waits when the tag is removed no longer does.
    zone.does("alice", &["meta", "set", "-C", &run, TAG, "on", "complete_marker=avu:never"]);
    put_all(&zone, &[&after]);
    wait_until_only_the_marker_is_waited_for(&zone);
    zone.does("alice", &["meta", "rm", "-C", &run, TAG, "on", "complete_marker=avu:never"]);
    put_all(&zone, &[&format!("{run}/later.tif")]);
    zone.wait_until_nothing_is_due();
    assert_ne!(state(&zone, &after).as_deref(), Some("pending"));
    assert_eq!(state(&zone, &format!("{run}/later.tif")), None);
    assert_eq!(zone.avus("-d", &before), record);
    assert_eq!((zone.omero.count("filesets"), zone.errors()), (1, vec![]));
}

#[test]
fn the_avu_that_says_that_data_is_complete_makes_its_collection_due() {
    let zone = TestZone::with(|c| {
        c["watch"] = json!([{"collection": WATCHED, "complete_marker": "avu:complete"}]);
    });
    let paths = [watched("one/a.tif"), watched("two/deep/b.tif")];
    put_all(&zone, &paths.each_ref().map(String::as_str));
    let _delay = zone.delay_server();
    wait_until_only_the_marker_is_waited_for(&zone);
    assert_eq!(zone.omero.count("filesets"), 0);
    zone.does("alice", &["meta", "add", "-C", &watched("one"), "complete", "yes"]);
    let add = json!({"operation": "add", "attribute": "complete", "value": "yes", "units": ""});
    let request = json!({"entity_name": watched("two"), "entity_type": "collection", "operations": [add]});
    zone.does("alice", &["atomic", &request.to_string()]);
    assert_imported_once(&zone, &paths.each_ref().map(String::as_str));
}

/// Does something as a client of the consumer.
fn does_at_edge(zone: &TestZone, words: &[&str]) {
    zone.admin(&[&["--server", "edge", "as", "alice"], words].concat());
}

#[test]
fn renames_and_copies_through_a_consumer_have_one_effect() {
    let zone = zone();
    zone.add_consumer("edge");
    let at = |name: &str| format!("{STAGING}/{name}");
    put_all(&zone, &[&at("moved.tif"), &at("copied.tif"), &at("tree/a.tif"), &watched("out.tif")]);
    does_at_edge(&zone, &["mv", &at("moved.tif"), &watched("moved.tif")]);
    does_at_edge(&zone, &["mv", &at("tree"), &watched("tree")]);
    does_at_edge(&zone, &["cp", &at("copied.tif"), &watched("copied.tif")]);
    does_at_edge(&zone, &["mv", &watched("out.tif"), &at("out.tif")]);
    let _delay = zone.delay_server();
    assert_imported_once(
        &zone,
        &["moved.tif", "tree/a.tif", "copied.tif"].map(watched).each_ref().map(String::as_str),
    );
    assert_eq!(state(&zone, &at("out.tif")), None);
}

#[test]
fn tags_set_and_removed_through_a_consumer_have_one_effect() {
    let zone = untagged_zone();
    zone.add_consumer("edge");
    let paths = ["one/a.tif", "two/deep/b.tif", "c.tif"].map(|n| format!("{HOME}/{n}"));
    put_all(&zone, &paths.each_ref().map(String::as_str));
    let _delay = zone.delay_server();
    does_at_edge(&zone, &["meta", "add", "-C", &format!("{HOME}/one"), TAG, "on"]);
    does_at_edge(&zone, &["meta", "add", "-d", &paths[2], TAG, "on"]);
    let add = json!({"operation": "add", "attribute": TAG, "value": "on", "units": ""});
    let request =
        json!({"entity_name": format!("{HOME}/two"), "entity_type": "collection", "operations": [add]});
    does_at_edge(&zone, &["atomic", &request.to_string()]);
    assert_imported_once(&zone, &paths.each_ref().map(String::as_str));
    does_at_edge(&zone, &["meta", "rm", "-C", &format!("{HOME}/one"), TAG, "on"]);
    let image = zone.image("later.tif");
    does_at_edge(&zone, &["put", &image, &format!("{HOME}/one/later.tif")]);
    assert_imported_once(&zone, &paths.each_ref().map(String::as_str));
    assert_eq!(state(&zone, &format!("{HOME}/one/later.tif")), None);
}

#[test]
fn a_tag_put_along_with_data_through_a_consumer_is_followed() {
    let zone = untagged_zone();
    zone.add_consumer("edge");
    let image = zone.image("a.tif");
    let (tagged, beside) = (format!("{HOME}/tagged.tif"), format!("{HOME}/beside.tif"));
    let _delay = zone.delay_server();
    does_at_edge(&zone, &["put", &image, &beside]);
    does_at_edge(&zone, &["put", "--metadata", &format!("{TAG};on;;"), &image, &tagged]);
    assert_imported_once(&zone, &[&tagged]);
    assert_eq!(state(&zone, &beside), None);
}

#[test]
fn data_removed_through_a_consumer_leaves_nothing_pending() {
    let paths = ["for_good.tif", "trash.tif", "tree/a.tif"].map(watched);
    let (zone, _delay) = waiting_zone(&paths.each_ref().map(String::as_str));
    zone.add_consumer("edge");
    does_at_edge(&zone, &["rm", "-f", &paths[0]]);
    does_at_edge(&zone, &["rm", &paths[1]]);
    does_at_edge(&zone, &["rm", "-r", &watched("tree")]);
    for name in ["trash.tif", "tree/a.tif"] {
        zone.wait_for(&format!("/tempZone/trash/home/alice/watched/{name}"), "gone");
    }
    assert_eq!((zone.omero.count("filesets"), zone.errors()), (0, vec![]));
}

/// Lets the recurring look for marks and for unnoticed data run now.
fn sweep_all(zone: &TestZone) {
    zone.does("rods", &["rule", "-r", INSTANCE, r#"{"operation":"sweep_all"}"#]);
}

#[test]
fn data_a_microservice_brings_is_found_by_the_recurring_sweep() {
    let zone = zone();
    let source = format!("{STAGING}/a.tif");
    put_all(&zone, &[&source]);
    sweep_all(&zone); // from now on what changes is known
    zone.does("alice", &["microservice", "copy", &source, &watched("a.tif")]);
    zone.does("alice", &["microservice", "copy", &source, &watched("thumbs.db")]);
    zone.does("alice", &["microservice", "copy", &source, &format!("{STAGING}/b.tif")]);
    assert_eq!(marks(&zone, WATCHED), Vec::<String>::new(), "no PEP tells of it");
    let _delay = zone.delay_server();
    sweep_all(&zone);
    assert_imported_once(&zone, &[&watched("a.tif")]);
    sweep_all(&zone);
    assert_eq!(marks(&zone, WATCHED), Vec::<String>::new(), "what has a record is not noticed again");
    let until = zone.avus("-C", "/tempZone");
    assert!(matches!(until.as_slice(), [(a, _, _)] if a == "noticed"), "{until:?}");
}

#[test]
fn data_a_microservice_brings_into_a_tagged_collection_is_found_too() {
    let zone = untagged_zone();
    let (source, run) = (format!("{HOME}/a.tif"), format!("{HOME}/run"));
    put_all(&zone, &[&source, &format!("{run}/before.tif")]);
    let _delay = zone.delay_server();
    zone.does("alice", &["meta", "add", "-C", &run, TAG, "on"]);
    assert_imported_once(&zone, &[&format!("{run}/before.tif")]);
    zone.does("alice", &["microservice", "copy", &source, &format!("{run}/copy.tif")]);
    sweep_all(&zone);
    assert_imported_once(&zone, &[&format!("{run}/before.tif"), &format!("{run}/copy.tif")]);
}

#[test]
fn once_installed_the_recurring_sweep_finds_it_by_itself() {
    let zone = TestZone::with(|c| {
        c["watch"] = json!([WATCHED]);
        c["sweep_all_interval_in_seconds"] = json!(1);
    });
    zone.does("alice", &["mkdir", WATCHED]);
    let source = format!("{HOME}/a.tif");
    put_all(&zone, &[&source]);
    zone.does("rods", &["rule", "-r", INSTANCE, r#"{"operation":"install_recurring"}"#]);
    let _delay = zone.delay_server();
    zone.does("alice", &["microservice", "copy", &source, &watched("a.tif")]);
    zone.wait_until("it is imported", |z| state(z, &watched("a.tif")).as_deref() == Some("imported"));
    assert_eq!((zone.omero.count("filesets"), zone.errors()), (1, vec![]));
}

#[test]
fn a_tag_that_a_microservice_sets_imports_what_is_there() {
    let zone = untagged_zone();
    let (run, object) = (format!("{HOME}/run"), format!("{HOME}/c.tif"));
    put_all(&zone, &[&format!("{run}/a.tif"), &format!("{run}/deep/b.tif"), &object]);
    let _delay = zone.delay_server();
    zone.does("alice", &["microservice", "meta", "add", "-C", &run, TAG, "on"]);
    zone.does("alice", &["microservice", "meta", "set", "-d", &object, TAG, "on"]);
    assert_imported_once(&zone, &[&format!("{run}/a.tif"), &format!("{run}/deep/b.tif"), &object]);
}

#[test]
fn what_a_microservice_moves_out_before_its_import_is_gone() {
    let path = watched("a.tif");
    let (zone, _delay) = waiting_zone(&[&path]);
    let out = format!("{HOME}/a.tif");
    zone.does("alice", &["microservice", "move", &path, &out]);
    sweep_all(&zone);
    zone.wait_for(&out, "gone");
    assert_eq!(zone.errors(), Vec::<String>::new());
}

#[test]
fn the_table_of_events_is_that_of_the_code_and_complete() {
    let path = support::root().join("docs/events.md");
    let text = fs::read_to_string(&path).unwrap();
    let (start, end) =
        ("<!-- made of src/event/matrix.rs by WRITE_DOCS=1 cargo test --test routes -->\n", "<!-- end -->");
    let (before, rest) = text.split_once(start).unwrap();
    let (table, after) = rest.split_once(end).unwrap();
    if std::env::var_os("WRITE_DOCS").is_some() {
        fs::write(&path, format!("{before}{start}{}{end}{after}", matrix::table())).unwrap();
    } else {
        assert!(table == matrix::table(), "write it anew: WRITE_DOCS=1 cargo test --test routes the_table");
    }
    for (pep, name) in Pep::ALL {
        let is_the_guards = pep.is_guarded() || pep.is_of_data_guard();
        assert!(is_the_guards || MATRIX.iter().any(|row| row.heard.contains(&pep)), "{name} is in no row");
    }
    for row in MATRIX {
        assert!(!row.tests.is_empty(), "nothing plays '{}'", row.does);
        for test in row.tests {
            let (file, name) = test.split_once("::").unwrap();
            let source = fs::read_to_string(support::root().join(format!("tests/{file}.rs"))).unwrap();
            assert!(source.contains(&format!("#[test]\nfn {name}() {{")), "there is no test {test}");
        }
    }
}
