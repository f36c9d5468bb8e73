// SPDX-License-Identifier: BSD-3-Clause
//! Where the bytes are: what moves on disk when names, replicas and resources change, and what stays.

mod common;

use std::path::Path;

use common::{HOME, Zone, recorded};
use serde_json::{Value, json};

fn object() -> String {
    format!("{HOME}/x.tif")
}

/// A zone where alice has one data object, and a second resource.
fn with_object() -> Zone {
    let zone = Zone::new();
    zone.must(&["resource", "add", "other", &common::text(zone.path("other"))]);
    let file = zone.file("x.tif", "contents");
    zone.as_user("alice", &["put", &file, &object()]);
    zone
}

/// Number, status and physical path of each replica, wherever the data object is.
fn replicas(zone: &Zone) -> Vec<(i64, i64, String)> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('\t').collect();
        (cells[0].parse().expect("number"), cells[1].parse().expect("status"), cells[2].to_owned())
    };
    zone.sql("select data_repl_num, data_is_dirty, data_path from R_DATA_MAIN order by data_repl_num")
        .lines()
        .map(row)
        .collect()
}

fn names(peps: &[String]) -> Vec<&str> {
    peps.iter().filter_map(|pep| pep.split(' ').next()).collect()
}

#[test]
fn out_of_the_trash_the_file_comes_back_to_where_the_name_says() {
    let zone = with_object();
    let before = replicas(&zone);
    zone.as_user("alice", &["rm", &object()]);
    let trashed = replicas(&zone);
    assert!(trashed[0].2.contains("/trash/home/alice/x.tif"), "{trashed:?}");
    assert!(Path::new(&trashed[0].2).exists() && !Path::new(&before[0].2).exists());
    zone.trace();
    zone.as_user("alice", &["mv", "/tempZone/trash/home/alice/x.tif", HOME]);
    assert_eq!(replicas(&zone), before);
    let fired = zone.peps();
    assert_eq!(
        names(&fired)[..2],
        ["pep_api_data_obj_rename_pre", "pep_database_mod_data_obj_meta_pre"],
        "{fired:?}"
    );
}

#[test]
fn the_trash_is_emptied_in_one_call() {
    let zone = with_object();
    zone.as_user("alice", &["rm", &object()]);
    let file = zone.file("y/z.tif", "z");
    let folder = common::text(Path::new(&file).parent().expect("has one"));
    zone.as_user("alice", &["put", "-r", &folder, &format!("{HOME}/y")]);
    zone.as_user("alice", &["rm", "-r", &format!("{HOME}/y")]);
    let files: Vec<String> = replicas(&zone).into_iter().map(|replica| replica.2).collect();
    assert_eq!(files.len(), 2);
    zone.trace();
    zone.as_user("alice", &["rmtrash"]);
    let fired = zone.peps();
    assert_eq!(fired.iter().filter(|pep| pep.starts_with("pep_api_")).count(), 2, "{fired:?}");
    assert_eq!(fired.iter().filter(|pep| pep.starts_with("pep_database_unreg_replica_post")).count(), 2);
    assert!(files.iter().all(|file| !Path::new(file).exists()));
    zone.as_user("alice", &["ls", "/tempZone/trash/home/alice"]);
}

#[test]
fn an_administrator_empties_the_trash_of_others() {
    let zone = with_object();
    zone.as_user("alice", &["rm", &object()]);
    assert_eq!(zone.fails("bob", &["rmtrash", "-M", "-u", "alice"]), -830_000);
    assert_eq!(replicas(&zone).len(), 1);
    zone.as_user("rods", &["rmtrash", "-M", "-u", "bob"]);
    assert_eq!(replicas(&zone).len(), 1);
    zone.as_user("rods", &["rmtrash", "-M"]);
    assert!(replicas(&zone).is_empty());
}

#[test]
fn of_a_tree_everything_goes_that_may() {
    let zone = with_object();
    zone.as_user("alice", &["mkdir", &format!("{HOME}/tree")]);
    for name in ["a.tif", "b.tif", "c.tif"] {
        let file = zone.file(name, name);
        zone.as_user("alice", &["put", &file, &format!("{HOME}/tree/{name}")]);
    }
    zone.must(&["sql", "update R_DATA_MAIN set data_is_dirty = 2 where data_name = 'b.tif'"]);
    assert_eq!(zone.fails("alice", &["rm", "-r", "-f", &format!("{HOME}/tree")]), -405_000);
    let left = zone.query("alice", "select DATA_NAME where COLL_NAME like '%/tree'");
    assert_eq!(left, [["b.tif"]]);
}

#[test]
fn a_file_that_is_not_there_fails_the_rename_and_nothing_is_renamed() {
    let zone = with_object();
    let file = replicas(&zone).remove(0).2;
    std::fs::remove_file(&file).expect("removed");
    for words in [["mv", &object(), &format!("{HOME}/y.tif")], ["rm", &object(), ""]] {
        let words: Vec<&str> = words.iter().copied().filter(|word| !word.is_empty()).collect();
        assert_eq!(zone.fails("alice", &words), -528_002, "{words:?}");
    }
    assert_eq!(zone.query("alice", "select COLL_NAME, DATA_NAME"), [[HOME, "x.tif"]]);
    zone.as_user("alice", &["rm", "-f", &object()]);
}

#[test]
fn a_file_in_the_way_is_moved_aside_unless_it_is_another_data_objects() {
    let zone = with_object();
    let vault = zone.path("zone/Vault");
    std::fs::write(vault.join("home/alice/y.tif"), "nobody knows me").expect("write");
    zone.as_user("alice", &["mv", &object(), &format!("{HOME}/y.tif")]);
    let orphans = std::fs::read_dir(vault.join("orphan/home/alice")).expect("orphans").count();
    assert_eq!(orphans, 1);
    assert!(replicas(&zone)[0].2.ends_with("/home/alice/y.tif"));

    // Registered where another will want to be.
    let taken = common::text(vault.join("home/alice/x.tif"));
    std::fs::write(&taken, "registered").expect("write");
    zone.as_user("rods", &["reg", &taken, "/tempZone/home/rods/r.tif"]);
    assert_eq!(zone.fails("alice", &["mv", &format!("{HOME}/y.tif"), &object()]), -120_000);
    let file = zone.file("new.tif", "new");
    zone.as_user("alice", &["put", &file, &object()]);
    assert_eq!(std::fs::read_to_string(&taken).expect("there"), "registered");
    assert_eq!(std::fs::read_to_string(format!("{taken}.0")).expect("there"), "new");
}

#[test]
fn by_the_random_scheme_a_path_has_nothing_to_do_with_the_collection_and_stays() {
    let zone = Zone::new();
    zone.must(&["vault-scheme", "random"]);
    let file = zone.file("x.tif", "contents");
    zone.as_user("alice", &["put", &file, &object()]);
    let before = replicas(&zone);
    let name = before[0].2.rsplit('/').next().expect("name");
    assert!(name.starts_with("x.tif.") && !before[0].2.contains("/home/"), "{before:?}");
    zone.as_user("alice", &["mv", &object(), &format!("{HOME}/y.tif")]);
    assert_eq!(replicas(&zone), before);
    zone.as_user("alice", &["get", &format!("{HOME}/y.tif"), &common::text(zone.path("got"))]);
}

#[test]
fn moving_a_replica_needs_a_source_and_keeps_number_and_time() {
    let zone = with_object();
    zone.as_user("alice", &["modify-info", &object(), "dataModify", "1700000000"]);
    let before = replicas(&zone);
    zone.as_user("alice", &["phymv", "-S", "demoResc", "-R", "other", &object()]);
    let after = replicas(&zone);
    assert_eq!(after, [(0, 1, common::text(zone.path("other/home/alice/x.tif")))]);
    assert!(!Path::new(&before[0].2).exists());
    assert_eq!(zone.query("alice", "select DATA_MODIFY_TIME"), [["01700000000"]]);
}

#[test]
fn the_last_good_replica_is_not_trimmed() {
    let zone = with_object();
    zone.as_user("alice", &["repl", "-R", "other", &object()]);
    let file = zone.file("x.tif", "new contents");
    zone.as_user("alice", &["put", "-f", &file, &object()]);
    assert_eq!(zone.fails("alice", &["trim", "-n", "0", &object()]), -402_000);
    assert_eq!(zone.fails("alice", &["trim", "-n", "7", &object()]), -164_000);
    assert_eq!(zone.fails("alice", &["trim", "-n", "0", "-S", "demoResc", &object()]), -402_000);
    // With as many as are to be kept nothing is done, and that is no error.
    zone.as_user("alice", &["trim", "-N", "2", &object()]);
    assert_eq!(replicas(&zone).len(), 2);
    zone.as_user("alice", &["trim", &object()]);
    let left = replicas(&zone);
    assert_eq!((left.len(), left[0].0, left[0].1), (1, 0, 1), "the stale one went");
    assert!(!zone.path("other/home/alice/x.tif").exists());
}

#[test]
fn tiering_replicates_then_trims_in_a_session_of_the_service_account() {
    let zone = with_object();
    zone.trace();
    zone.as_user("rods", &["tier", &object(), "demoResc", "other"]);
    let wanted: Vec<String> = [recorded("irepl"), recorded("itrim")].concat();
    assert_eq!(zone.peps(), wanted);
    assert_eq!(replicas(&zone), [(1, 1, common::text(zone.path("other/home/alice/x.tif")))]);
    assert_eq!(zone.query("alice", "select DATA_NAME, DATA_RESC_HIER"), [["x.tif", "other"]]);
}

#[test]
fn truncating_is_done_in_place_and_makes_the_other_replicas_stale() {
    let zone = with_object();
    zone.as_user("alice", &["repl", "-R", "other", &object()]);
    assert_eq!(zone.fails("bob", &["truncate", &object(), "3"]), -818_000);
    zone.trace();
    zone.as_user("alice", &["truncate", &object(), "3"]);
    assert_eq!(
        names(&zone.peps()),
        [
            "pep_api_replica_truncate_pre",
            "pep_database_mod_data_obj_meta_pre",
            "pep_database_mod_data_obj_meta_post",
            "pep_resource_modified_pre",
            "pep_resource_modified_post",
            "pep_api_replica_truncate_post",
        ]
    );
    let after = replicas(&zone);
    assert_eq!((after[0].1, after[1].1), (1, 0));
    assert_eq!(std::fs::read_to_string(&after[0].2).expect("there"), "con");
    assert_eq!(zone.query("alice", "select DATA_SIZE where DATA_REPL_NUM = '0'"), [["3"]]);
}

#[test]
fn a_record_goes_with_a_copy_of_the_metadata_and_not_with_the_data() {
    let zone = with_object();
    zone.as_user("alice", &["meta", "add", "-d", &object(), "record", "42"]);
    let copy = format!("{HOME}/y.tif");
    zone.as_user("alice", &["cp", &object(), &copy]);
    let metadata = |path: &str| -> Value {
        serde_json::from_str(&zone.as_user("alice", &["meta", "ls", "--json", "-d", path])).expect("JSON")
    };
    assert_eq!(metadata(&copy), json!([]));
    zone.trace();
    zone.as_user("alice", &["meta", "cp", "-d", "-d", &object(), &copy]);
    assert_eq!(metadata(&copy), json!([["record", "42", ""]]));
    let fired = zone.peps();
    assert_eq!(names(&fired), ["pep_api_mod_avu_metadata_pre", "pep_api_mod_avu_metadata_post"], "{fired:?}");
    // The same row, so the same record to whoever looks only at the triple.
    assert_eq!(zone.sql("select count(distinct meta_id) from R_OBJT_METAMAP"), "1");
}
