// SPDX-License-Identifier: BSD-3-Clause
//! What administrators and hostile users do to a zone that has data.

mod common;

use common::{HOME, Zone};
use serde_json::json;

fn object() -> String {
    format!("{HOME}/x.tif")
}

/// A zone where alice has one data object.
fn with_object() -> Zone {
    let zone = Zone::new();
    let file = zone.file("x.tif", "contents");
    zone.as_user("alice", &["put", &file, &object()]);
    zone
}

fn modify_time(zone: &Zone) -> String {
    zone.query("alice", "select DATA_MODIFY_TIME").remove(0).remove(0)
}

#[test]
fn the_modify_time_of_a_data_object_is_what_its_owner_says() {
    let zone = with_object();
    for (said, kept) in [
        ("zzzzzzzzzzz", "zzzzzzzzzzz"),
        ("-1", "-0000000001"),
        ("", "00000000000"),
        ("soon", "00000000000"),
        ("99999999999", "99999999999"),
        ("1700000000", "01700000000"),
    ] {
        zone.as_user("alice", &["modify-info", &object(), "dataModify", said]);
        assert_eq!(modify_time(&zone), kept, "{said}");
    }
    assert_eq!(zone.fails("alice", &["modify-info", &object(), "dataModify", &"z".repeat(33)]), -806_000);
}

#[test]
fn other_keywords_of_the_catalog_are_refused_to_users() {
    let zone = with_object();
    for keyword in ["filePath", "dataOwner", "dataSize", "replStatus", "chksum"] {
        assert_eq!(zone.fails("alice", &["modify-info", &object(), keyword, "1"]), -315_000, "{keyword}");
        assert_eq!(zone.fails("alice", &["modrepl", &object(), keyword, "1"]), -830_000, "{keyword}");
    }
    zone.as_user("rods", &["modrepl", &object(), "replStatus", "0"]);
    assert_eq!(zone.query("alice", "select DATA_REPL_STATUS"), [["0"]]);
}

#[test]
fn a_stranger_changes_the_time_of_any_data_object_by_saying_irods_admin() {
    let zone = with_object();
    assert_eq!(zone.fails("bob", &["modify-info", &object(), "dataModify", "1"]), -818_000);
    zone.as_user("bob", &["modify-info", "-M", &object(), "dataModify", "1"]);
    assert_eq!(modify_time(&zone), "00000000001");
    // Lent for the call only.
    let answers = zone.script(
        "bob",
        &[json!(["modify-info", "-M", object(), "dataModify", "2"]), json!(["query", "select DATA_NAME"])],
    );
    assert_eq!((answers[0].code, answers[1].output.trim()), (0, "[]"));
}

#[test]
fn modifying_fires_its_enforcement_points() {
    let zone = with_object();
    zone.trace();
    zone.as_user("alice", &["modify-info", &object(), "dataModify", "1"]);
    assert_eq!(
        zone.peps(),
        [
            "pep_api_data_object_modify_info_pre (ModDataObjMetaInp*)",
            "pep_database_mod_data_obj_meta_pre (std::string* | DataObjInfo* | KeyValPair*)",
            "pep_database_mod_data_obj_meta_post (std::string* | DataObjInfo* | KeyValPair*)",
            "pep_api_data_object_modify_info_post (ModDataObjMetaInp*)",
        ]
    );
}

#[test]
fn an_operation_that_is_none_is_refused_whatever_it_says() {
    let zone = with_object();
    for (operation, attribute) in [("rmw", "%".repeat(100_000)), ("", "a".into()), ("ADD", "a".into())] {
        assert_eq!(zone.fails("bob", &["meta", operation, "-d", &object(), &attribute, "v"]), -816_000);
    }
}

#[test]
fn a_site_policy_refuses_what_a_plugin_does_in_a_users_session_with_a_borrowed_right() {
    let zone = with_object();
    zone.must(&["policy", "administrators"]);
    let add = ["meta", "add", "-d", &object(), "a", "v"];
    let output = zone.run(&[&["as", "alice"], &add[..]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("-830000") && stderr.contains("policy of this site"), "{stderr}");
    let by_plugin = ["trace_modavu_admin", "add", "-d", &object(), "a", "v"];
    assert_eq!(zone.plugin_answer("alice", &by_plugin).0, -830_000);
    assert_eq!(zone.plugin_answer("rods", &by_plugin).0, 0);
    // That policy is asked by the classic call alone.
    let request = json!({"entity_name": object(), "entity_type": "data_object", "operations": [
        {"operation": "add", "attribute": "b", "value": "v"}]});
    assert_eq!(zone.plugin_answer("alice", &["trace_atomic", &request.to_string()]).0, 0);
    zone.must(&["policy", "everybody"]);
    zone.as_user("alice", &["meta", "add", "-d", &object(), "c", "v"]);
}

#[test]
fn a_user_is_removed_only_with_empty_collections_and_leaves_no_permission_behind() {
    let zone = with_object();
    let file = zone.file("y.tif", "y");
    zone.as_user("alice", &["chmod", "own", "bob", HOME]);
    zone.as_user("bob", &["put", &file, &format!("{HOME}/y.tif")]);
    assert_eq!(zone.fails("alice", &["rmuser", "bob"]), -830_000);
    assert_eq!(zone.fails("rods", &["rmuser", "alice"]), -821_000);
    zone.as_user("rods", &["rmuser", "bob"]);
    assert_eq!(
        zone.sql("select count(*) from R_OBJT_ACCESS where user_id not in (select user_id from R_USER_MAIN)"),
        "0"
    );
    assert_eq!(zone.sql("select data_owner_name from R_DATA_MAIN where data_name = 'y.tif'"), "bob");
    assert!(!zone.run(&["as", "bob", "ls", HOME]).status.success());
    zone.as_user("rods", &["rmuser", "--leave-collections", "alice"]);
    assert_eq!(zone.sql("select count(*) from R_DATA_MAIN"), "2");
}

#[test]
fn a_new_vault_path_moves_nothing_and_the_paths_in_the_catalog_follow_on_demand() {
    let zone = with_object();
    let old = common::text(zone.path("zone/Vault"));
    let new = common::text(zone.path("elsewhere"));
    zone.as_user("rods", &["modresc", "demoResc", "path", &new]);
    assert_eq!(
        zone.query("rods", "select distinct RESC_VAULT_PATH where RESC_NAME = 'demoResc'"),
        [[new.clone()]]
    );
    let path = |zone: &Zone| zone.sql("select data_path from R_DATA_MAIN where data_name = 'x.tif'");
    assert!(path(&zone).starts_with(&old));
    std::fs::rename(&old, &new).expect("moved");
    assert!(!zone.run(&["as", "alice", "get", &object(), "/dev/null"]).status.success());
    zone.as_user("rods", &["modrescdatapaths", "demoResc", &format!("{old}/"), &format!("{new}/")]);
    assert!(path(&zone).starts_with(&new));
    zone.as_user("alice", &["get", &object(), &common::text(zone.path("got"))]);
    assert_eq!(zone.fails("alice", &["modresc", "demoResc", "path", "/x/y"]), -830_000);
}

#[test]
fn rebalancing_gives_each_child_its_replica() {
    let zone = Zone::new();
    zone.must(&["resource", "add", "pair", "-", "--type", "replication"]);
    zone.must(&["resource", "add", "one", &common::text(zone.path("one")), "--parent", "pair"]);
    let file = zone.file("x.tif", "contents");
    zone.as_user("alice", &["put", "-R", "pair", &file, &object()]);
    zone.must(&["resource", "add", "two", &common::text(zone.path("two")), "--parent", "pair"]);
    zone.trace();
    zone.as_user("rods", &["modresc", "pair", "rebalance"]);
    assert_eq!(
        zone.sql("select data_repl_num, data_is_dirty from R_DATA_MAIN order by data_repl_num"),
        "0\t1\n1\t1"
    );
    assert!(zone.path("two/home/alice/x.tif").exists());
    assert!(zone.peps().iter().any(|pep| pep.starts_with("pep_database_reg_replica_post")));
}
