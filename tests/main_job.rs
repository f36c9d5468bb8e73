//! The main job, end to end: a client puts data into the (stand-in) zone through the real library, and it appears
//! in the (stand-in) OMERO, in place, as the person it belongs to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use support::zone::TestZone;

const HOME: &str = "/tempZone/home/alice";

fn target(name: &str) -> String {
    format!("{HOME}/{name}")
}

/// Asserts that one image was made for each path, and nothing else.
fn assert_imported_once(zone: &TestZone, paths: &[String]) {
    for path in paths {
        zone.wait_for(path, "imported");
        assert!(zone.value(path, "fileset").is_some() && zone.told("-d", path, "images").is_some());
    }
    zone.wait_until_nothing_is_due();
    assert_eq!(zone.omero.count("filesets"), paths.len());
    assert_eq!(zone.errors(), Vec::<String>::new());
}

#[test]
fn a_put_is_imported_in_place_as_the_owner_and_recorded() {
    let zone = TestZone::new();
    let image = zone.image("a.tif");
    zone.does("alice", &["put", &image, &target("a.tif")]);
    assert!(zone.avus("-C", HOME).contains(&("due".to_owned(), "new".to_owned(), String::new())));
    let _delay = zone.delay_server();
    assert_imported_once(&zone, &[target("a.tif")]);
    let avus = zone.avus("-d", &target("a.tif"));
    assert!(avus.contains(&("owner".to_owned(), "alice".to_owned(), "lab".to_owned())), "{avus:?}");
    assert_eq!(avus.len(), 4, "{avus:?}");
    let id = zone.admin(&["sql", "select data_id from R_DATA_MAIN where data_name = 'a.tif'"]);
    assert_eq!(zone.told("-d", &target("a.tif"), "id").as_deref(), Some(id.trim()));
    let shown = zone.omero.show();
    let fileset = &shown["filesets"][0];
    assert_eq!((fileset["owner"].as_str(), fileset["group"].as_str()), (Some("alice"), Some("lab")));
    let link = fileset["files"][0]["target"].as_str().unwrap();
    assert_eq!(fs::read(link).unwrap(), fs::read(&image).unwrap());
    assert!(link.ends_with("/Vault/home/alice/a.tif"), "{link}");
}

#[test]
fn every_route_of_this_version_gives_exactly_one_import() {
    let zone = TestZone::new();
    let image = zone.image("a.tif");
    let _delay = zone.delay_server();
    zone.does("alice", &["put", &image, &target("put.tif")]);
    zone.does("alice", &["put", "--parallel", &image, &target("parallel.tif")]);
    zone.does("alice", &["stream-put", &image, &target("stream.tif")]);
    zone.does("alice", &["stream-put", "--parallel", &image, &target("streams.tif")]);
    zone.does("alice", &["istream", &image, &target("istream.tif")]);
    let all = ["put.tif", "parallel.tif", "stream.tif", "streams.tif", "istream.tif"].map(target);
    assert_imported_once(&zone, &all);
}

#[test]
fn a_registered_file_is_imported_where_it_lies_for_its_owner() {
    let zone = TestZone::with(|c| {
        c["users"]["table"]["rods#tempZone"] = json!("carol");
    });
    let image = zone.image("registered.tif");
    let _delay = zone.delay_server();
    zone.does("alice", &["chmod", "own", "rods", HOME]);
    zone.does("rods", &["reg", &image, &target("registered.tif")]);
    zone.wait_for(&target("registered.tif"), "imported");
    let shown = zone.omero.show();
    assert_eq!(shown["filesets"][0]["files"][0]["target"].as_str(), Some(image.as_str()));
    assert_eq!(shown["filesets"][0]["owner"].as_str(), Some("carol"));
}

#[test]
fn a_user_without_an_omero_user_is_skipped_with_the_reason() {
    let zone = TestZone::new();
    let image = zone.image("a.tif");
    let _delay = zone.delay_server();
    zone.does("bob", &["put", &image, "/tempZone/home/bob/a.tif"]);
    zone.wait_for("/tempZone/home/bob/a.tif", "skipped");
    assert!(
        zone.value("/tempZone/home/bob/a.tif", "reason").unwrap().contains("bob#tempZone has no OMERO user")
    );
    assert_eq!(zone.omero.count("filesets"), 0);
}

#[test]
fn reading_and_what_is_not_watched_leave_no_trace() {
    let zone = TestZone::with(|c| c["watch"] = json!(["/tempZone/home/alice/watched"]));
    let image = zone.image("a.tif");
    zone.does("alice", &["put", &image, &target("a.tif")]);
    zone.does("alice", &["get", &target("a.tif"), zone.path("back.tif").to_str().unwrap()]);
    assert!(zone.avus("-C", HOME).is_empty());
    assert_eq!(zone.log().matches("act=mark").count(), 0);
}

#[test]
fn a_hundred_puts_in_one_connection_are_one_mark_one_sweep_and_one_importer_run() {
    let zone = TestZone::with(|c| c["quiet_period_in_seconds"] = json!(60));
    let image = zone.image("a.tif");
    let puts: Vec<_> = (0..100).map(|i| json!(["put", image, target(&format!("{i}.tif"))])).collect();
    let answers = zone.script("alice", &puts);
    assert!(answers.iter().all(|a| a["code"] == 0), "{answers:?}");
    assert_eq!(zone.avus("-C", HOME).len(), 1);
    let queue =
        zone.does("rods", &["query", "select DELAY_RULE_NAME where DELAY_RULE_NAME like '%\"sweep\"%'"]);
    assert_eq!(queue.matches("\\\"sweep\\\"").count().max(queue.matches("\"sweep\"").count()), 1, "{queue}");
}

#[test]
fn hostile_names_are_put_and_imported_or_refused_with_a_reason_and_lose_nothing() {
    let zone = TestZone::new();
    let image = zone.image("a.tif");
    let _delay = zone.delay_server();
    // A path of 1,023 bytes, which no element of makes the file system refuse.
    let deep = format!("{HOME}/{}", vec!["d".repeat(120); 8].join("/"));
    zone.does("alice", &["mkdir", "-p", &deep]);
    let long = format!("{deep}/{}.tif", "x".repeat(1_023 - deep.len() - 5));
    assert_eq!(long.len(), 1_023);
    let good = ["it's.tif", "\"q\".tif", "100%.tif", "$objPath.tif", "a b;c&d|e.tif", "ünï.tif"];
    let puts: Vec<_> = good
        .iter()
        .map(|n| json!(["put", image, target(n)]))
        .chain([
            json!(["put", image, target("line\nbreak.tif")]),
            json!(["put", image, {"hex": format!("{}2fff2e746966", hex(HOME))}]),
            json!(["put", image, long]),
        ])
        .collect();
    for answer in zone.script("alice", &puts) {
        assert_eq!(answer["code"], 0, "{answer}");
    }
    zone.wait_for(&long, "imported");
    for name in good {
        zone.wait_for(&target(name), "imported");
    }
    zone.wait_for(&target("line\nbreak.tif"), "failed");
    assert!(zone.value(&target("line\nbreak.tif"), "reason").unwrap().contains("line break"));
    zone.wait_until_nothing_is_due();
    assert_eq!(zone.omero.count("filesets"), good.len() + 1);
}

fn hex(text: &str) -> String {
    text.bytes().map(|b| format!("{b:02x}")).collect::<Vec<_>>().concat()
}

#[test]
fn with_omero_off_the_data_waits_with_the_reason_and_is_imported_when_it_is_on_again() {
    let zone = TestZone::new();
    let image = zone.image("a.tif");
    zone.omero.admin(&["fault", "set", "server-down"]);
    zone.does("alice", &["put", &image, &target("a.tif")]);
    let _delay = zone.delay_server();
    zone.wait_for(&target("a.tif"), "pending");
    assert!(zone.value(&target("a.tif"), "reason").unwrap().contains("OMERO cannot be reached"));
    assert!(zone.avus("-C", HOME).iter().any(|(a, _, _)| a == "due"));
    zone.omero.admin(&["fault", "clear"]);
    assert_imported_once(&zone, &[target("a.tif")]);
}

#[test]
fn the_put_succeeds_and_the_data_waits_whatever_is_wrong_with_the_importer() {
    for wrong in ["command", "password_file"] {
        let zone = TestZone::with(|c| {
            if wrong == "command" {
                c["importer"]["command"] = json!("/nonexistent/omero");
            } else {
                let file = c["omero"]["password_file"].as_str().unwrap().to_owned();
                fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
            }
        });
        let image = zone.image("a.tif");
        zone.does("alice", &["put", &image, &target("a.tif")]);
        let _delay = zone.delay_server();
        zone.wait_for(&target("a.tif"), "pending");
    }
}

#[test]
fn an_invalid_configuration_stops_nothing_and_is_logged_with_its_place() {
    let zone = TestZone::with(|c| {
        c["quiet_period"] = json!(5);
        c["omero"]["port"] = json!("x");
    });
    let image = zone.image("a.tif");
    zone.does("alice", &["put", &image, &target("a.tif")]);
    let log = zone.log();
    let place = "/plugin_configuration/rule_engines/0/plugin_specific_configuration";
    assert!(log.contains(&format!("{place}/omero/port")), "{log}");
    assert!(log.contains(&format!("{place}/quiet_period: is not a key")), "{log}");
    assert!(zone.avus("-C", HOME).is_empty());
}

#[test]
fn a_vault_outside_every_root_is_skipped_with_the_roots() {
    let zone = TestZone::with(|c| c["visibility"] = json!({"vaults": [{"prefix": "/srv/elsewhere"}]}));
    let image = zone.image("a.tif");
    let _delay = zone.delay_server();
    zone.does("alice", &["put", &image, &target("a.tif")]);
    zone.wait_for(&target("a.tif"), "skipped");
    assert!(zone.value(&target("a.tif"), "reason").unwrap().contains("/srv/elsewhere"));
}

/// Kills the sweep's process, with all it started, when the importer has reached a point; the next sweep must
/// find exactly one image set.
fn killed_at(point: &str) {
    let zone = TestZone::new();
    let image = zone.image("a.tif");
    let gate = zone.path("gate");
    let gate_path = gate.to_str().unwrap();
    zone.omero.admin(&[
        "fault",
        "set",
        "gate",
        "--command",
        "import",
        "--where",
        point,
        "--until",
        gate_path,
        "--times",
        "1",
    ]);
    zone.does("alice", &["put", &image, &target("a.tif")]);
    let delay = zone.delay_server();
    zone.wait_until("the import is at its gate", |z| z.path("gate.reached").exists());
    assert_eq!(zone.value(&target("a.tif"), "state").as_deref(), Some("importing"));
    drop(delay); // kill -9 of the delay server and its executors; the importer has a process group of its own
    fs::write(&gate, "").unwrap();
    let _again = zone.delay_server();
    // Nobody repeats the killed job: the client's next put finds the mark gone and sets it anew.
    zone.does("alice", &["put", &image, &target("b.tif")]);
    zone.wait_for(&target("a.tif"), "imported");
    zone.wait_for(&target("b.tif"), "imported");
    zone.wait_until_nothing_is_due();
    assert_eq!(zone.omero.count("images"), 2);
}

#[test]
fn killed_before_the_fileset_is_made_the_data_is_imported_once() {
    killed_at("before-fileset");
}

#[test]
fn killed_between_import_and_record_the_data_is_imported_once() {
    killed_at("after-images");
}
