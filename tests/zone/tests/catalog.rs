// SPDX-License-Identifier: BSD-3-Clause
//! Permissions, metadata and queries, from clients and from plugins.

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

// ---- permissions -----------------------------------------------------------------------------------------------

#[test]
fn strangers_see_and_change_nothing() {
    let zone = with_object();
    let file = zone.file("y.tif", "y");
    assert_eq!(zone.fails("bob", &["get", &object(), "/dev/null"]), -818_000);
    assert_eq!(zone.fails("bob", &["put", &file, &format!("{HOME}/y.tif")]), -818_000);
    assert_eq!(zone.fails("bob", &["put", "-f", &file, &object()]), -818_000);
    assert_eq!(zone.fails("bob", &["rm", &object()]), -818_000);
    assert_eq!(zone.fails("bob", &["meta", "add", "-d", &object(), "a", "v"]), -818_000);
    assert_eq!(zone.fails("bob", &["chmod", "own", "bob", &object()]), -818_000);
    assert_eq!(zone.fails("bob", &["reg", &file, "/tempZone/home/bob/y.tif"]), -129_000);
    assert!(zone.query("bob", "select DATA_NAME").is_empty());
}

#[test]
fn levels_of_permission() {
    let zone = with_object();
    zone.as_user("alice", &["chmod", "read", "bob", &object()]);
    zone.as_user("bob", &["get", &object(), &common::text(zone.path("got"))]);
    assert_eq!(zone.fails("bob", &["meta", "add", "-d", &object(), "a", "v"]), -818_000);
    zone.as_user("alice", &["chmod", "write", "bob", &object()]);
    zone.as_user("bob", &["meta", "add", "-d", &object(), "a", "v"]);
    assert_eq!(zone.fails("bob", &["rm", &object()]), -818_000);
    zone.as_user("alice", &["chmod", "own", "bob", &object()]);
    zone.as_user("bob", &["rm", "-f", &object()]);
}

#[test]
fn permissions_through_a_group_and_by_inheritance() {
    let zone = Zone::new();
    zone.must(&["group", "add", "lab"]);
    zone.must(&["group", "member", "lab", "bob"]);
    let file = zone.file("x.tif", "contents");
    zone.as_user("alice", &["chmod", "read", "lab", HOME]);
    zone.as_user("alice", &["chmod", "inherit", HOME]);
    zone.as_user("alice", &["put", &file, &object()]);
    zone.as_user("alice", &["mkdir", &format!("{HOME}/sub")]);
    zone.as_user("alice", &["put", &file, &format!("{HOME}/sub/y.tif")]);
    assert_eq!(zone.query("bob", "select DATA_NAME order by DATA_NAME"), [["x.tif"], ["y.tif"]]);
    let listing = zone.as_user("alice", &["ls", "-A", HOME]);
    assert!(
        listing.contains("Inheritance - Enabled") && listing.contains("lab#tempZone:read_object"),
        "{listing}"
    );
}

// ---- metadata --------------------------------------------------------------------------------------------------

#[test]
fn adding_twice_is_a_test_and_set() {
    let zone = with_object();
    zone.as_user("alice", &["meta", "add", "-d", &object(), "a", "v", "u"]);
    assert_eq!(zone.fails("alice", &["meta", "add", "-d", &object(), "a", "v", "u"]), -809_000);
    zone.as_user("alice", &["meta", "add", "-d", &object(), "a", "v"]);
    assert_eq!(
        zone.plugin_answer("alice", &["trace_modavu", "add", "-d", &object(), "a", "v", "u"]).0,
        -809_000
    );
}

#[test]
fn set_modify_remove_and_copy() {
    let zone = with_object();
    let list = |name: &str| zone.as_user("alice", &["meta", "ls", "--json", "-d", name]).trim().to_owned();
    zone.as_user("alice", &["meta", "add", "-d", &object(), "a", "1"]);
    zone.as_user("alice", &["meta", "add", "-d", &object(), "a", "2"]);
    zone.as_user("alice", &["meta", "set", "-d", &object(), "a", "3", "u"]);
    assert_eq!(list(&object()), r#"[["a","3","u"]]"#);
    zone.as_user("alice", &["meta", "mod", "-d", &object(), "a", "3", "u", "v:4"]);
    assert_eq!(list(&object()), r#"[["a","4","u"]]"#);
    zone.as_user("alice", &["meta", "cp", "-d", "-C", &object(), HOME]);
    assert_eq!(
        zone.query("alice", "select META_COLL_ATTR_VALUE where COLL_NAME = '/tempZone/home/alice'"),
        [["4"]]
    );
    assert_eq!(zone.fails("alice", &["meta", "rm", "-d", &object(), "a", "4"]), -819_000);
    zone.as_user("alice", &["meta", "rm", "-d", &object(), "a", "4", "u"]);
    assert_eq!(list(&object()), "[]");
    for gone in ["adda", "addw", "rmw"] {
        assert_eq!(
            zone.fails("alice", &["meta", gone, "-d", &object(), "a", "v"]),
            -816_000,
            "5.0 has no {gone}"
        );
    }
}

#[test]
fn copying_onto_an_object_that_has_one_of_them_copies_nothing() {
    let zone = with_object();
    for (attribute, kind, name) in
        [("a", "-d", object()), ("b", "-d", object()), ("b", "-C", HOME.to_owned())]
    {
        zone.as_user("alice", &["meta", "add", kind, &name, attribute, "1"]);
    }
    assert_eq!(zone.fails("alice", &["meta", "cp", "-d", "-C", &object(), HOME]), -809_000);
    assert_eq!(zone.as_user("alice", &["meta", "ls", "--json", "-C", HOME]).trim(), r#"[["b","1",""]]"#);
}

#[test]
fn set_takes_its_attribute_for_a_pattern_where_it_has_to_replace() {
    let zone = with_object();
    for (attribute, value) in [("a_b", "1"), ("a_b", "2"), ("axb", "3")] {
        zone.as_user("alice", &["meta", "add", "-d", &object(), attribute, value]);
    }
    zone.as_user("alice", &["meta", "set", "-d", &object(), "a_b", "4"]);
    let list = zone.as_user("alice", &["meta", "ls", "--json", "-d", &object()]);
    assert_eq!(list.trim(), r#"[["a_b","4",""]]"#, "axb is gone too");
}

#[test]
fn only_administrators_change_metadata_of_users_and_resources() {
    let zone = Zone::new();
    assert_eq!(zone.fails("alice", &["meta", "add", "-u", "alice", "a", "v"]), -830_000);
    zone.as_user("rods", &["meta", "add", "-u", "alice", "a", "v"]);
    zone.as_user("rods", &["meta", "add", "-R", "demoResc", "a", "v"]);
    assert_eq!(
        zone.query("alice", "select USER_NAME, META_USER_ATTR_VALUE where META_USER_ATTR_NAME = 'a'"),
        [["alice", "v"]]
    );
    assert_eq!(zone.query("alice", "select META_RESC_ATTR_VALUE where RESC_NAME = 'demoResc'"), [["v"]]);
}

#[test]
fn atomic_operations_are_all_or_none() {
    let zone = with_object();
    let request = |last: &str| {
        json!({"entity_name": object(), "entity_type": "data_object", "operations": [
            {"operation": "add", "attribute": "a", "value": "v", "units": "u"},
            {"operation": last, "attribute": "b", "value": "v"},
        ]})
        .to_string()
    };
    let (code, text) = zone.plugin_answer("alice", &["trace_atomic", &request("burn")]);
    assert_eq!(code, -1_811_000);
    assert!(text.contains("\"operation_index\":1"), "{text}");
    assert_eq!(zone.as_user("alice", &["meta", "ls", "-d", &object()]), "None\n");
    for _ in 0..2 {
        assert_eq!(zone.plugin_answer("alice", &["trace_atomic", &request("add")]), (0, "{}".into()));
    }
    let (code, _) = zone.plugin_answer("alice", &["trace_atomic", "{\"entity_name\": "]);
    assert_eq!(code, -1_084_000);
}

#[test]
fn the_sessions_flag_is_what_decides_on_the_provider() {
    let zone = with_object();
    let request = |admin: bool| {
        json!({"admin_mode": admin, "entity_name": object(), "entity_type": "data_object", "operations": [
            {"operation": "add", "attribute": "a", "value": "v"}]})
        .to_string()
    };
    let (code, text) = zone.plugin_answer("bob", &["trace_atomic", &request(true)]);
    assert_eq!(code, -130_000);
    assert!(text.contains("Entity does not exist"), "{text}");
    assert_eq!(zone.plugin_answer("bob", &["trace_genquery2", "select DATA_NAME"]), (0, "[]".into()));
    let answer = zone.plugin_answer("bob", &["trace_genquery2_admin", "select DATA_NAME"]);
    assert_eq!(answer, (0, "[[\"x.tif\"]]".into()));
    assert_eq!(zone.plugin_answer("bob", &["trace_atomic_admin", &request(true)]).0, 0);
    assert_eq!(zone.plugin_answer("alice", &["trace_atomic", &request(true)]).0, -830_000);
    // The classic call wants irodsAdmin as well, and that wants the flag.
    assert_eq!(zone.plugin_answer("bob", &["trace_modavu", "add", "-d", &object(), "b", "v"]).0, -818_000);
    assert_eq!(zone.plugin_answer("bob", &["trace_modavu_admin", "add", "-d", &object(), "b", "v"]).0, 0);
}

#[test]
fn the_times_of_an_avu_are_those_of_the_row_all_objects_share() {
    let zone = with_object();
    let file = zone.file("y.tif", "y");
    zone.as_user("alice", &["put", &file, &format!("{HOME}/y.tif")]);
    zone.as_user("alice", &["meta", "add", "-d", &object(), "mark", "same"]);
    zone.as_user("alice", &["meta", "rm", "-d", &object(), "mark", "same"]);
    let id = zone.sql("select meta_id from R_META_MAIN where meta_attr_name = 'mark'");
    assert!(!id.is_empty(), "the row outlives its last use");
    zone.as_user("alice", &["meta", "add", "-d", &format!("{HOME}/y.tif"), "mark", "same"]);
    let rows = zone.query("alice", "select META_DATA_ATTR_ID where META_DATA_ATTR_NAME = 'mark'");
    assert_eq!(rows, [[id]]);
}

// ---- GenQuery2 -------------------------------------------------------------------------------------------------

#[test]
fn genquery2_conditions() {
    let zone = Zone::new();
    for (name, size) in [("a.tif", 1), ("b.tif", 20), ("c'd.tif", 300), ("e_f.TIF", 4000)] {
        let file = zone.file("some", "x".repeat(size));
        zone.as_user("alice", &["put", &file, &format!("{HOME}/{name}")]);
    }
    let names = |condition: &str| -> String {
        zone.query("alice", &format!("select DATA_NAME where {condition} order by DATA_NAME"))
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(names("DATA_NAME = 'a.tif'"), "a.tif");
    assert_eq!(names("DATA_NAME = 'c''d.tif'"), "c'd.tif");
    assert_eq!(names("DATA_NAME = 'c\\x27d.tif'"), "c'd.tif");
    assert_eq!(names("DATA_NAME != 'a.tif' and not (DATA_SIZE > '20')"), "b.tif");
    assert_eq!(names("DATA_NAME <> 'a.tif' and DATA_SIZE <= '20'"), "b.tif");
    assert_eq!(names("DATA_SIZE > '100'"), "c'd.tif e_f.TIF");
    assert_eq!(names("DATA_SIZE between '20' and '300'"), "b.tif c'd.tif");
    assert_eq!(names("DATA_NAME in ('a.tif', 'b.tif', 'z')"), "a.tif b.tif");
    assert_eq!(names("DATA_NAME not in ('a.tif') and DATA_NAME like '%.tif'"), "b.tif c'd.tif");
    assert_eq!(names("DATA_NAME like 'e\\_f%'"), "e_f.TIF");
    assert_eq!(names("(DATA_NAME = 'a.tif' or DATA_NAME = 'b.tif') and DATA_SIZE = '20'"), "b.tif");
    assert_eq!(names("META_DATA_ATTR_NAME is null and DATA_SIZE = '1'"), "a.tif");
    assert_eq!(names("lower(DATA_NAME) = 'e_f.tif'"), "e_f.TIF");
}

#[test]
fn genquery2_selection() {
    let zone = with_object();
    zone.as_user("alice", &["meta", "add", "-d", &object(), "a", "1"]);
    zone.as_user("alice", &["meta", "add", "-d", &object(), "a", "2"]);
    let one = |query: &str| zone.query("alice", query);
    assert_eq!(
        one("select DATA_NAME, META_DATA_ATTR_VALUE order by META_DATA_ATTR_VALUE desc"),
        [["x.tif", "2"], ["x.tif", "1"]]
    );
    assert_eq!(one("select count(META_DATA_ATTR_VALUE), max(META_DATA_ATTR_VALUE)"), [["2", "2"]]);
    assert_eq!(one("select DATA_NAME, count(META_DATA_ATTR_ID) group by DATA_NAME"), [["x.tif", "2"]]);
    assert_eq!(
        one("select META_COLL_ATTR_NAME, COLL_NAME where COLL_NAME = '/tempZone/home/alice'"),
        [["", HOME]]
    );
    assert_eq!(one("select META_DATA_ATTR_VALUE order by META_DATA_ATTR_VALUE limit 1 offset 1"), [["2"]]);
    assert_eq!(
        one("select META_DATA_ATTR_VALUE order by META_DATA_ATTR_VALUE offset 1 fetch first 5 rows only"),
        [["2"]]
    );
    assert_eq!(
        one("SELECT distinct COLL_NAME, DATA_RESC_HIER, RESC_VAULT_PATH WHERE DATA_NAME = 'x.tif'"),
        [[HOME, "demoResc", &common::text(zone.path("zone/Vault"))]]
    );
    let time = &one("select DATA_MODIFY_TIME")[0][0];
    assert_eq!((time.len(), &time[..1]), (11, "0"));
    assert_eq!(one("select ZONE_NAME, ZONE_TYPE"), [["tempZone", "local"]]);
}

#[test]
fn genquery2_gives_256_rows_unless_told() {
    let zone = Zone::new();
    let lines: Vec<_> = (0..300).map(|i| json!(["mkdir", format!("{HOME}/c{i:03}")])).collect();
    assert!(zone.script("alice", &lines).iter().all(|answer| answer.code == 0));
    assert_eq!(zone.query("alice", "select COLL_NAME").len(), 256);
    assert_eq!(zone.query("alice", "select COLL_NAME limit 400").len(), 303);
}

#[test]
fn genquery2_repeats_rows_for_permissions() {
    let zone = with_object();
    zone.as_user("alice", &["chmod", "read", "bob", &object()]);
    let query = "select DATA_NAME where DATA_NAME = 'x.tif'";
    assert_eq!(zone.query("alice", query).len(), 1, "one for her own permission");
    assert_eq!(zone.query("rods", query).len(), 2, "one for each permission");
    assert_eq!(zone.query("rods", &query.replace("select", "select distinct")).len(), 1);
    assert_eq!(
        zone.query(
            "rods",
            "select DATA_ACCESS_USER_NAME, DATA_ACCESS_PERM_NAME order by DATA_ACCESS_USER_NAME"
        ),
        [["alice", "own"], ["bob", "read_object"]]
    );
}

#[test]
fn genquery2_refuses_what_the_server_and_its_database_refuse() {
    let zone = Zone::new();
    let refused = |query: &str| zone.fails("alice", &["query", query]);
    assert_eq!(refused("select NO_SUCH_COLUMN"), -130_000);
    assert_eq!(refused("select DATA_OWNER_NAME"), -130_000);
    assert_eq!(refused("select DATA_NAME, USER_NAME"), -130_000);
    assert_eq!(refused("select DATA_NAME where"), -167_000);
    assert_eq!(refused("select DATA_NAME where DATA_NAME = 'x"), -167_000);
    assert_eq!(refused("select DATA_NAME where DATA_NAME = \"x\""), -167_000);
    assert_eq!(refused("select DATA_NAME where DATA_SIZE > 5"), -167_000);
    assert_eq!(refused("select DATA_NAME where DATA_ID = 'ten'"), -167_000);
    assert_eq!(refused("select DATA_NAME where DATA_ID like '1%'"), -167_000);
    assert_eq!(refused("select DATA_NAME, count(DATA_ID)"), -167_000);
    assert_eq!(refused("select distinct DATA_NAME order by DATA_ID"), -167_000);
    assert_eq!(refused("select DATA_NAME order by COLL_NAME"), -130_000);
    assert_eq!(refused("select no distinct DATA_NAME"), -167_000);
}

#[test]
fn genquery2_fails_as_a_whole_for_a_name_that_is_not_utf8() {
    let zone = with_object();
    let bad = json!({"hex": "2f74656d705a6f6e652f686f6d652f616c6963652fff2e746966"});
    let answers = zone.script("alice", &[json!(["create", bad]), json!(["query", "select DATA_NAME"])]);
    assert_eq!((answers[0].code, answers[1].code), (0, -167_000));
    assert_eq!(zone.query("alice", "select DATA_ID").len(), 2);
}

#[test]
fn genquery1_knows_the_owner() {
    let zone = with_object();
    assert_eq!(zone.plugin_answer("alice", &["trace_genquery1", "x.tif"]), (0, "alice".into()));
    assert_eq!(zone.plugin_answer("bob", &["trace_genquery1", "x.tif"]).0, -808_000);
    assert_eq!(zone.plugin_answer("bob", &["trace_genquery1_admin", "x.tif"]), (0, "alice".into()));
}

// ---- names -----------------------------------------------------------------------------------------------------

#[test]
fn hostile_names_survive_a_round_trip() {
    let zone = Zone::new();
    let file = zone.file("x.tif", "contents");
    for name in
        ["a b", "it's", "100%_", "new\nline", "ünïcode", "select", "{\"json\":1}", "-r", "a;b|c&d", "\\back"]
    {
        let path = format!("{HOME}/{name}");
        let answers = zone.script(
            "alice",
            &[
                json!(["put", file, path]),
                json!(["meta", "add", "-d", path, "a", name]),
                json!(["mv", path, format!("{path}.moved")]),
                json!(["rm", "-f", format!("{path}.moved")]),
            ],
        );
        assert!(answers.iter().all(|answer| answer.code == 0), "{name:?}: {answers:?}");
    }
    let longest = format!("{HOME}/{}/{}", ["d"; 60].map(|d| d.repeat(15)).join("/"), "f".repeat(42));
    assert_eq!(longest.len(), 1023);
    let parent = longest.rsplit_once('/').expect("has one").0;
    zone.as_user("alice", &["mkdir", "-p", parent]);
    zone.as_user("alice", &["put", &file, &longest]);
    assert_eq!(zone.fails("alice", &["put", &file, &format!("{longest}f")]), -306_000);
}

#[test]
fn vault_files_follow_their_logical_path_and_registered_ones_stay() {
    let zone = with_object();
    zone.as_user("alice", &["mkdir", &format!("{HOME}/d")]);
    zone.as_user("alice", &["mv", &object(), &format!("{HOME}/d")]);
    assert!(zone.path("zone/Vault/home/alice/d/x.tif").exists());
    zone.as_user("alice", &["rm", "-r", &format!("{HOME}/d")]);
    assert!(zone.path("zone/Vault/trash/home/alice/d/x.tif").exists());
    zone.as_user("alice", &["mv", "/tempZone/trash/home/alice/d", HOME]);
    assert!(zone.path("zone/Vault/home/alice/d/x.tif").exists());
    zone.as_user("alice", &["rm", "-r", &format!("{HOME}/d")]);
    zone.as_user("alice", &["rmtrash"]);
    assert!(!zone.path("zone/Vault/trash/home/alice/d/x.tif").exists());

    let outside = zone.file("outside/y.tif", "y");
    zone.as_user("rods", &["reg", &outside, "/tempZone/home/rods/y.tif"]);
    zone.as_user("rods", &["mv", "/tempZone/home/rods/y.tif", "/tempZone/home/rods/z.tif"]);
    assert_eq!(zone.query("rods", "select distinct DATA_NAME, DATA_PATH"), [["z.tif", &outside]]);
}

#[test]
fn removing_registered_data_leaves_the_file_and_unregistering_wants_an_administrator() {
    let zone = with_object();
    let outside = zone.file("outside/y.tif", "y");
    let registered = "/tempZone/home/rods/y.tif";
    zone.as_user("rods", &["reg", &outside, registered]);
    zone.as_user("rods", &["rm", registered]);
    zone.as_user("rods", &["rmtrash"]);
    assert_eq!(zone.query("rods", "select DATA_NAME where DATA_NAME = 'y.tif'").len(), 0);
    assert!(std::path::Path::new(&outside).exists());
    assert_eq!(zone.fails("alice", &["unreg", &object()]), -355_000);
    zone.as_user("alice", &["chmod", "own", "rods", &object()]);
    zone.as_user("rods", &["unreg", &object()]);
    assert!(zone.path("zone/Vault/home/alice/x.tif").exists());
}

#[test]
fn a_resource_hierarchy_replicates_what_is_put() {
    let zone = Zone::new();
    zone.must(&["resource", "add", "repl", "-", "--type", "replication"]);
    for name in ["one", "two"] {
        zone.must(&["resource", "add", name, &common::text(zone.path(name)), "--parent", "repl"]);
    }
    let file = zone.file("x.tif", "contents");
    zone.as_user("alice", &["put", "-R", "repl", &file, &object()]);
    let listing: serde_json::Value =
        serde_json::from_str(&zone.as_user("alice", &["ls", "--json", &object()])).expect("JSON");
    let replicas = listing[0]["replicas"].as_array().expect("list");
    let hierarchies: Vec<_> = replicas.iter().map(|r| r["hierarchy"].as_str().expect("text")).collect();
    assert_eq!(hierarchies, ["repl;one", "repl;two"]);
    assert!(zone.path("two/home/alice/x.tif").exists());
    assert_eq!(zone.fails("alice", &["put", "-f", "-R", "one", &file, &object()]), -1_816_000);
}
