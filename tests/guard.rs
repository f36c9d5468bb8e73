//! What would break an image in OMERO is refused before it is done, or goes on, as the site says; and whoever ends the tie
//! to OMERO is free.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::{Value, json};
use std::fs;
use support::zone::{DelayServer, INSTANCE, TestZone};

const HOME: &str = "/tempZone/home/alice";
const TRASH: &str = "/tempZone/trash/home/alice";

fn at(name: &str) -> String {
    format!("{HOME}/{name}")
}

/// Changes the stanza that the server reads from now on.
fn change_stanza(zone: &TestZone, change: impl FnOnce(&mut Value)) {
    let path = zone.path("zone/config/server_config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut config["plugin_configuration"]["rule_engines"][0]["plugin_specific_configuration"]);
    fs::write(&path, config.to_string()).unwrap();
}

/// A zone in which some of alice's data is imported, and `new.tif` is not.
fn zone_with(names: &[&str]) -> TestZone {
    let zone = TestZone::with(|c| c["watch"] = json!([{"collection": HOME, "exclude": ["new.tif"]}]));
    let image = zone.image("a.tif");
    for name in names {
        if let Some((collection, _)) = name.rsplit_once('/') {
            zone.does("alice", &["mkdir", "-p", &at(collection)]);
        }
        zone.does("alice", &["put", &image, &at(name)]);
    }
    zone.does("alice", &["put", &image, &at("new.tif")]);
    let delay = zone.delay_server();
    for name in names {
        zone.wait_for(&at(name), "imported");
    }
    zone.wait_until_nothing_is_due();
    drop(delay);
    zone
}

/// What a client that is refused reads.
fn refused(zone: &TestZone, user: &str, words: &[&str]) -> String {
    let seen = zone.act(user, words);
    let told = format!("{}{}", seen.output, seen.error);
    assert!(!seen.ok, "{user} {words:?} was let through");
    assert!(told.contains("-169000"), "{user} {words:?}: {told}");
    told
}

fn is_there(zone: &TestZone, path: &str) -> bool {
    zone.act("rods", &["ls", path]).ok
}

fn answer(zone: &TestZone, user: &str, request: &Value) -> Value {
    let seen = zone.act(user, &["rule", "-r", INSTANCE, &request.to_string()]);
    assert!(seen.ok, "{user} {request}: {}{}", seen.output, seen.error);
    serde_json::from_str(seen.output.trim()).unwrap()
}

#[test]
fn imported_data_is_not_removed_for_good_by_people_and_the_sentence_says_whose_image_it_is_and_what_to_do() {
    let zone = zone_with(&["a.tif", "run/b.tif"]);
    let told = refused(&zone, "alice", &["rm", "-f", &at("a.tif")]);
    let fileset = zone.value(&at("a.tif"), "fileset").unwrap();
    for part in [
        at("a.tif").as_str(),
        &format!("fileset {fileset}"),
        "user alice",
        "Delete these images in OMERO",
        "omero_release",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    for words in [
        vec!["rm", "-r", "-f", HOME],
        vec!["rm", "-rf", &at("run")],
        vec!["unreg", &at("a.tif")],
        vec!["unreg", "-r", &at("run")],
    ] {
        let words: Vec<&str> = if words[1] == "-rf" { vec!["rm", "-r", "-f", words[2]] } else { words };
        refused(&zone, "alice", &words);
    }
    for path in [at("a.tif"), at("run/b.tif"), at("new.tif")] {
        assert!(is_there(&zone, &path), "{path} is left as it was");
    }
    assert_eq!(zone.value(&at("a.tif"), "state").as_deref(), Some("imported"));
    // What is not imported goes, as do names beside an imported one.
    zone.does("alice", &["rm", "-f", &at("new.tif")]);
    zone.does("alice", &["mkdir", &at("ru_")]);
    zone.does("alice", &["rm", "-r", "-f", &at("ru_")]);
    assert_eq!(zone.errors(), Vec::<String>::new());
}

#[test]
fn a_record_that_an_administrator_has_copied_to_other_data_guards_nothing() {
    let zone = zone_with(&["a.tif"]);
    zone.does("rods", &["meta", "-M", "cp", "-d", "-d", &at("a.tif"), &at("new.tif")]);
    assert_eq!(zone.value(&at("new.tif"), "state").as_deref(), Some("imported"));
    zone.does("alice", &["rm", "-f", &at("new.tif")]);
    refused(&zone, "alice", &["rm", "-f", &at("a.tif")]);
}

#[test]
fn the_trash_takes_imported_data_and_is_not_emptied_of_it() {
    let zone = zone_with(&["a.tif", "run/b.tif"]);
    zone.does("alice", &["rm", &at("a.tif")]);
    zone.does("alice", &["rm", "-r", &at("run")]);
    zone.does("alice", &["rm", &at("new.tif")]);
    let trashed = format!("{TRASH}/a.tif");
    let told = refused(&zone, "alice", &["rmtrash"]);
    assert!(told.contains(TRASH), "{told}");
    refused(&zone, "alice", &["rm", &trashed]);
    refused(&zone, "alice", &["rm", "-f", &trashed]);
    assert!(is_there(&zone, &trashed) && is_there(&zone, &format!("{TRASH}/run/b.tif")));
    // Out of the trash again, and what is not imported may go.
    zone.does("alice", &["mv", &trashed, &at("a.tif")]);
    zone.does("alice", &["rm", "-f", &format!("{TRASH}/new.tif")]);
    zone.does("rods", &["rmtrash", "-M", "-u", "alice"]);
    assert!(!is_there(&zone, &format!("{TRASH}/run/b.tif")));
    assert!(zone.log().contains("act=guard allowed=remove user=rods#tempZone"), "{}", zone.log());
}

/// Each act that the guard knows, on an imported data object.
fn acts(zone: &TestZone, path: &str) -> Vec<(&'static str, Vec<String>)> {
    let local = zone.path("a.tif").to_str().unwrap().to_owned();
    let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    vec![
        ("rename", words(&["mv", path, &format!("{path}.moved")])),
        ("trash", words(&["rm", path])),
        ("overwrite", words(&["put", "-f", &local, path])),
        ("overwrite", words(&["open", "-w", path])),
        ("overwrite", words(&["open", "-rw", "-t", path])),
        ("overwrite", words(&["replica-open", "-w", path])),
        ("overwrite", words(&["create", "-f", path])),
        ("overwrite", words(&["cp", "-f", &at("new.tif"), path])),
        ("overwrite", words(&["rsync", &at("new.tif"), path])),
        ("overwrite", words(&["istream", &local, path])),
        ("truncate", words(&["truncate", path, "1"])),
        ("remove", words(&["rm", "-f", path])),
    ]
}

#[test]
fn each_act_is_answered_as_the_site_says_for_people_administrators_and_named_accounts() {
    let names: Vec<String> = (0..13).map(|n| format!("{n}.tif")).collect();
    let zone = zone_with(&names.iter().map(String::as_str).collect::<Vec<_>>());
    zone.image("a.tif");
    for user in ["rods", "bob"] {
        zone.does("alice", &["chmod", "-r", "own", user, HOME]);
    }
    for (name, i) in names.iter().zip(0..) {
        let path = at(name);
        let Some((act, words)) = acts(&zone, &path).into_iter().nth(i) else { break };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        change_stanza(&zone, |c| {
            c["guard"] = json!({
                "people": {act: "refuse"}, "administrators": {act: "refuse"},
                "accounts": {"bob#tempZone": {act: "refuse"}},
            });
            c["watch"][0]["guard"] = json!(null);
        });
        let before = zone.does("alice", &["ls", "-L", &path]);
        for user in ["alice", "rods", "bob"] {
            let told = refused(&zone, user, &words);
            assert!(told.contains("omero: ") && told.contains("fileset"), "{words:?}: {told}");
        }
        // Nothing is half done.
        assert_eq!(zone.does("alice", &["ls", "-L", &path]), before, "{words:?}");
        assert_eq!(zone.value(&path, "state").as_deref(), Some("imported"), "{words:?}");
        // A watch says otherwise than the zone of people; a named account keeps its answer.
        change_stanza(&zone, |c| c["watch"][0]["guard"] = json!({"people": {act: "allow"}}));
        refused(&zone, "rods", &words);
        refused(&zone, "bob", &words);
        let allowed = |zone: &TestZone| {
            zone.log().lines().filter(|l| l.contains(&format!("act=guard allowed={act} "))).count()
        };
        let lines = allowed(&zone);
        zone.does("alice", &words);
        assert!(allowed(&zone) > lines, "{words:?} is in the log");
        // Nobody minds what is not imported.
        change_stanza(&zone, |c| c["watch"][0]["guard"] = json!({"people": {act: "refuse"}}));
        let fresh = at(&format!("fresh-{i}.tif"));
        let (_, words) = acts(&zone, &fresh).into_iter().nth(i).unwrap();
        zone.does("alice", &["cp", &at("new.tif"), &fresh]);
        zone.does("alice", &words.iter().map(String::as_str).collect::<Vec<_>>());
    }
    assert_eq!(acts(&zone, "").len() + 1, names.len(), "every act has its data object");
}

#[test]
fn without_a_word_of_the_site_what_can_be_followed_goes_on_and_what_is_lost_for_good_is_for_administrators() {
    let names: Vec<String> = (0..12).map(|n| format!("{n}.tif")).collect();
    let zone = zone_with(&names.iter().map(String::as_str).collect::<Vec<_>>());
    zone.does("alice", &["chmod", "-r", "own", "rods", HOME]);
    for (name, i) in names.iter().zip(0..) {
        let (act, words) = acts(&zone, &at(name)).into_iter().nth(i).unwrap();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if act == "remove" {
            refused(&zone, "alice", &words);
            zone.does("rods", &words);
        } else {
            zone.does("alice", &words);
        }
    }
}

#[test]
fn a_collection_is_refused_as_a_whole_if_anything_below_it_is_imported_and_refused() {
    let zone = zone_with(&["run/deep/a.tif"]);
    zone.does("alice", &["mkdir", &at("other")]);
    zone.does("alice", &["put", &zone.image("x.txt"), &at("other/x.txt")]);
    zone.does("alice", &["put", &zone.image("y.txt"), &at("run/y.txt")]);
    change_stanza(&zone, |c| c["guard"] = json!({"people": {"trash": "refuse", "rename": "refuse"}}));
    for words in [
        vec!["rm", "-r", &at("run")],
        vec!["rm", "-r", "-f", &at("run")],
        vec!["mv", &at("run"), &at("moved")],
        vec!["mv", &at("run/deep"), &at("moved")],
    ] {
        let told = refused(&zone, "alice", &words);
        assert!(told.contains(&at("run/deep/a.tif")), "{words:?}: {told}");
    }
    assert!(is_there(&zone, &at("run/y.txt")), "not even what is not imported has gone");
    zone.does("alice", &["mv", &at("other"), &at("else")]);
    zone.does("alice", &["rm", "-r", "-f", &at("else")]);
    // A watch below says what holds for its data.
    change_stanza(&zone, |c| {
        let below = json!({"collection": at("run/deep"), "guard": {"people": {"remove": "allow", "rename": "follow"}}});
        c["watch"].as_array_mut().unwrap().insert(0, below);
    });
    zone.does("alice", &["mv", &at("run"), &at("moved")]);
    refused(&zone, "alice", &["mv", &at("moved"), &at("run")]);
}

#[test]
fn nobody_is_told_of_data_that_they_may_not_read() {
    let zone = zone_with(&["a.tif", "shared/b.tif"]);
    let seen = zone.act("bob", &["rm", "-f", &at("a.tif")]);
    let told = format!("{}{}", seen.output, seen.error);
    assert!(!seen.ok && !told.contains("omero") && !told.contains("fileset"), "{told}");
    change_stanza(&zone, |c| c["guard"] = json!({"people": {"rename": "refuse", "overwrite": "refuse"}}));
    let seen = zone.act("bob", &["open", "-w", &at("a.tif")]);
    let told = format!("{}{}", seen.output, seen.error);
    assert!(!seen.ok && told.contains("-818000") && !told.contains("fileset"), "{told}");
    // Who owns a collection may move it with what is in it, read or not.
    zone.does("alice", &["chmod", "own", "bob", &at("shared")]);
    let told = refused(&zone, "bob", &["mv", &at("shared"), "/tempZone/home/bob/mine"]);
    assert!(told.contains("may not read") && !told.contains("b.tif") && !told.contains("alice in"), "{told}");
    zone.does("alice", &["chmod", "read", "bob", &at("shared/b.tif")]);
    let told = refused(&zone, "bob", &["mv", &at("shared"), "/tempZone/home/bob/mine"]);
    assert!(told.contains("shared/b.tif"), "{told}");
}

#[test]
fn the_last_good_replica_that_omero_sees_is_not_trimmed_or_moved_out_of_sight() {
    let zone = TestZone::with(|c| {
        let dir = c["visibility"]["vaults"][0]["prefix"].as_str().unwrap().to_owned();
        c["visibility"]["vaults"] =
            json!([{"prefix": format!("{dir}/seen")}, {"prefix": format!("{dir}/too")}]);
    });
    for name in ["seen", "too", "dark"] {
        fs::create_dir(zone.path(name)).unwrap();
        zone.admin(&["resource", "add", name, zone.path(name).to_str().unwrap()]);
    }
    let image = zone.image("a.tif");
    let path = at("a.tif");
    let delay = zone.delay_server();
    zone.does("alice", &["put", "-R", "seen", &image, &path]);
    zone.wait_for(&path, "imported");
    zone.wait_until_nothing_is_due();
    drop(delay);
    zone.does("alice", &["repl", "-R", "dark", &path]);
    for words in [
        vec!["trim", "-n", "0", &path],
        vec!["trim", "-S", "seen", &path],
        vec!["trim", &path],
        vec!["phymv", "-S", "seen", "-R", "dark", &path],
    ] {
        let told = refused(&zone, "alice", &words);
        assert!(told.contains("trimmed or moved out of OMERO's sight"), "{told}");
    }
    // What OMERO does not see may go, and what it does if it sees another.
    zone.does("alice", &["trim", "-n", "1", &path]);
    zone.does("alice", &["phymv", "-S", "seen", "-R", "too", &path]);
    zone.does("alice", &["repl", "-R", "seen", &path]);
    zone.does("alice", &["trim", "-S", "too", &path]);
    // Tiering is an account of its own.
    let told = refused(&zone, "alice", &["phymv", "-R", "dark", &path]);
    assert!(told.contains("fileset"), "{told}");
    change_stanza(&zone, |c| c["guard"] = json!({"administrators": {"trim": "refuse"}}));
    refused(&zone, "rods", &["tier", &path, "seen", "dark"]);
    change_stanza(&zone, |c| c["guard"]["accounts"] = json!({"rods#tempZone": {"trim": "allow"}}));
    zone.does("rods", &["tier", &path, "seen", "dark"]);
    let reason = zone.value(&path, "reason").unwrap();
    assert!(reason.contains("rods#tempZone was allowed"), "{reason}");
}

#[test]
fn what_is_deleted_in_omero_is_free_a_moment_later_and_not_imported_again_unless_asked() {
    let zone = zone_with(&["a.tif", "run/b.tif", "run/c.tif"]);
    let delete = |zone: &TestZone, name: &str| {
        let fileset = zone.value(&at(name), "fileset").unwrap();
        zone.omero.act("alice", &["delete", "-q", &format!("Fileset:{fileset}")]);
    };
    let _delay = zone.delay_server();
    delete(&zone, "a.tif");
    refused(&zone, "alice", &["rm", "-f", &at("a.tif")]);
    zone.wait_until("the record says so", |z| z.value(&at("a.tif"), "state").as_deref() == Some("skipped"));
    let reason = zone.value(&at("a.tif"), "reason").unwrap();
    assert!(reason.starts_with("removed in OMERO: fileset"), "{reason}");
    let again = json!({"operation": "retry", "path": at("a.tif")});
    assert_eq!(answer(&zone, "alice", &again)["retried"], json!(1));
    zone.wait_for(&at("a.tif"), "imported");
    zone.wait_until_nothing_is_due();
    delete(&zone, "a.tif");
    refused(&zone, "alice", &["rm", "-f", &at("a.tif")]);
    zone.wait_until("it goes", |z| z.act("alice", &["rm", "-f", &at("a.tif")]).ok);
    // A collection, when all its images are gone.
    delete(&zone, "run/b.tif");
    refused(&zone, "alice", &["rm", "-r", "-f", &at("run")]);
    zone.wait_until("one is free", |z| z.value(&at("run/b.tif"), "state").as_deref() == Some("skipped"));
    let told = refused(&zone, "alice", &["rm", "-r", "-f", &at("run")]);
    assert!(told.contains("run/c.tif"), "{told}");
    assert_eq!(zone.value(&at("run/c.tif"), "state").as_deref(), Some("imported"), "its images are there");
    delete(&zone, "run/c.tif");
    refused(&zone, "alice", &["rm", "-r", "-f", &at("run")]);
    zone.wait_until("all is free", |z| z.act("alice", &["rm", "-r", "-f", &at("run")]).ok);
    assert_eq!(zone.errors(), Vec::<String>::new());
}

/// A zone with a set of three files, which is imported, and its delay server.
fn zone_with_a_set() -> (TestZone, DelayServer) {
    let zone = TestZone::new();
    fs::write(zone.path("x.plate-test"), "name P\nwell A1 a1.tif\nwell A2 a2.tif\n").unwrap();
    for name in ["a1.tif", "a2.tif"] {
        zone.does("alice", &["put", &zone.image(name), &at(name)]);
    }
    zone.does("alice", &["put", zone.path("x.plate-test").to_str().unwrap(), &at("x.plate-test")]);
    let delay = zone.delay_server();
    for name in ["x.plate-test", "a1.tif", "a2.tif"] {
        zone.wait_for(&at(name), "imported");
    }
    zone.wait_until_nothing_is_due();
    (zone, delay)
}

#[test]
fn of_a_set_whose_images_are_deleted_in_omero_every_file_is_free() {
    let (zone, _delay) = zone_with_a_set();
    zone.omero.act("alice", &["delete", "-q", "Plate:1"]);
    assert_eq!(zone.omero.count("filesets"), 0);
    refused(&zone, "alice", &["rm", "-f", &at("a2.tif")]);
    zone.wait_until("all of it is free", |z| {
        ["x.plate-test", "a1.tif", "a2.tif"]
            .iter()
            .all(|n| z.value(&at(n), "state").as_deref() == Some("skipped"))
    });
    zone.does("alice", &["rm", "-f", &at("a1.tif")]);
}

#[test]
fn a_client_of_a_catalog_consumer_is_refused_too() {
    let zone = zone_with(&["a.tif", "run/b.tif"]);
    zone.add_consumer("edge");
    let at_edge = |words: &[&str]| zone.act_on("edge", "alice", words);
    for words in [vec!["rm", "-f", &at("a.tif")], vec!["rm", "-r", "-f", &at("run")]] {
        let seen = at_edge(&words);
        let told = format!("{}{}", seen.output, seen.error);
        assert!(!seen.ok && told.contains("-169000") && told.contains("fileset"), "{words:?}: {told}");
    }
    assert!(at_edge(&["rm", "-f", &at("new.tif")]).ok);
    assert!(is_there(&zone, &at("a.tif")) && is_there(&zone, &at("run/b.tif")));
}

#[test]
fn verify_has_omero_asked_where_that_is_wanted() {
    let zone = zone_with(&["a.tif", "b.tif"]);
    let fileset = zone.value(&at("a.tif"), "fileset").unwrap();
    zone.omero.act("alice", &["delete", "-q", &format!("Fileset:{fileset}")]);
    let ask = json!({"operation": "verify", "path": HOME});
    assert_eq!(answer(&zone, "alice", &ask)["omero_is_asked"], json!(false));
    let ask = json!({"operation": "verify", "path": HOME, "omero": true});
    assert_eq!(answer(&zone, "alice", &ask)["omero_is_asked"], json!(true));
    let _delay = zone.delay_server();
    zone.wait_until("the record says so", |z| z.value(&at("a.tif"), "state").as_deref() == Some("skipped"));
    assert!(zone.value(&at("a.tif"), "reason").unwrap().starts_with("removed in OMERO"));
    assert_eq!(zone.value(&at("b.tif"), "state").as_deref(), Some("imported"));
    // Nobody else may have it asked about what is not theirs.
    let seen = zone.act("bob", &["rule", "-r", INSTANCE, &ask.to_string()]);
    assert!(!seen.ok, "{}", seen.output);
    let forged = json!({"operation": "look_in_omero", "collection": "10"}).to_string();
    let seen = zone.act("alice", &["rule", "-r", INSTANCE, &forged]);
    assert!(!seen.ok && seen.output.contains("only the plugin's own jobs"), "{}", seen.output);
}

#[test]
fn what_is_released_is_not_guarded_and_its_images_stay_unless_they_are_to_go() {
    let zone = zone_with(&["a.tif", "run/b.tif", "run/deep/c.tif", "d.tif"]);
    let ask = |path: &str| json!({"operation": "release", "path": path});
    let seen = zone.act("bob", &["rule", "-r", INSTANCE, &ask(&at("a.tif")).to_string()]);
    assert!(!seen.ok && seen.output.contains("you may not see it"), "{}{}", seen.output, seen.error);
    assert_eq!(answer(&zone, "alice", &ask(&at("a.tif")))["released"], json!(1));
    let reason = zone.value(&at("a.tif"), "reason").unwrap();
    assert!(reason.starts_with("released by alice#tempZone: its images in OMERO are kept"), "{reason}");
    zone.does("alice", &["rm", "-f", &at("a.tif")]);
    let nothing = zone.act("alice", &["rule", "-r", INSTANCE, &ask(&at("new.tif")).to_string()]);
    assert!(!nothing.ok && nothing.output.contains("nothing to release"), "{}", nothing.output);
    assert_eq!(answer(&zone, "alice", &ask(&at("run")))["released"], json!(2));
    zone.does("alice", &["rm", "-r", "-f", &at("run")]);
    assert_eq!(zone.omero.count("filesets"), 4, "the images stay");
    let delete = json!({"operation": "release", "path": at("d.tif"), "images": "delete"});
    let told = answer(&zone, "alice", &delete);
    assert_eq!((&told["queued"], &told["to_delete"]), (&json!(true), &json!(1)));
    let _delay = zone.delay_server();
    zone.wait_until("it is released", |z| z.value(&at("d.tif"), "state").as_deref() == Some("skipped"));
    let reason = zone.value(&at("d.tif"), "reason").unwrap();
    assert!(reason.contains("images in OMERO were deleted"), "{reason}");
    assert_eq!(zone.omero.count("filesets"), 3);
    zone.does("alice", &["rm", "-f", &at("d.tif")]);
    assert_eq!(zone.errors(), Vec::<String>::new());
}

#[test]
fn images_are_deleted_with_the_rights_of_whoever_asks_and_of_their_owner_if_that_is_an_administrator() {
    let zone = zone_with(&["a.tif"]);
    zone.does("alice", &["chmod", "own", "carol", &at("a.tif")]);
    let delete = json!({"operation": "release", "path": at("a.tif"), "images": "delete"});
    let _delay = zone.delay_server();
    let waits = |z: &TestZone| {
        z.admin(&["sql", "select count(*) from R_RULE_EXEC where rule_name like '%delete_in_omero%'"]).trim()
            != "0"
    };
    answer(&zone, "carol", &delete);
    zone.wait_until("the job has run", |z| !waits(z));
    zone.wait_until("that is in the log", |z| z.log().contains("act=delete_in_omero by=carol"));
    assert_eq!(zone.value(&at("a.tif"), "state").as_deref(), Some("imported"));
    assert_eq!(zone.omero.count("filesets"), 1);
    refused(&zone, "alice", &["rm", "-f", &at("a.tif")]);
    answer(&zone, "rods", &delete);
    zone.wait_until("it is released", |z| z.value(&at("a.tif"), "state").as_deref() == Some("skipped"));
    assert_eq!(zone.omero.count("filesets"), 0);
}

#[test]
fn a_set_is_released_as_a_whole() {
    let (zone, delay) = zone_with_a_set();
    drop(delay);
    refused(&zone, "alice", &["rm", "-f", &at("a1.tif")]);
    let explained = answer(&zone, "alice", &json!({"operation": "explain", "path": at("a1.tif")}));
    assert_eq!(
        (&explained["guard"]["remove"], &explained["guard"]["rename"]),
        (&json!("refuse"), &json!("follow"))
    );
    let ask = json!({"operation": "release", "path": at("a1.tif")});
    assert_eq!(answer(&zone, "alice", &ask)["released"], json!(3));
    for name in ["a1.tif", "a2.tif", "x.plate-test"] {
        zone.does("alice", &["rm", "-f", &at(name)]);
    }
}

#[test]
fn a_set_that_is_a_plate_is_released_with_its_images() {
    let (zone, _delay) = zone_with_a_set();
    let ask = json!({"operation": "release", "path": at("a2.tif"), "images": "delete"});
    assert_eq!(answer(&zone, "alice", &ask)["to_delete"], json!(1));
    zone.wait_until("all of it is released", |z| {
        ["x.plate-test", "a1.tif", "a2.tif"]
            .iter()
            .all(|n| z.value(&at(n), "state").as_deref() == Some("skipped"))
    });
    assert_eq!((zone.omero.count("plates"), zone.omero.count("filesets")), (0, 0));
    zone.does("alice", &["rm", "-f", &at("a1.tif")]);
}

#[test]
fn a_directory_that_is_one_image_is_guarded_with_all_its_chunks() {
    let zone = TestZone::new();
    zone.omero.admin(&["make", "zarr", zone.path("x.ome.zarr").to_str().unwrap()]);
    let delay = zone.delay_server();
    zone.does("alice", &["put", "-r", zone.path("x.ome.zarr").to_str().unwrap(), HOME]);
    let directory = at("x.ome.zarr");
    let state =
        |z: &TestZone| z.avus("-C", &directory).into_iter().find(|(a, _, _)| a == "state").map(|(_, v, _)| v);
    zone.wait_until("it is imported", |z| state(z).as_deref() == Some("imported"));
    zone.wait_until_nothing_is_due();
    drop(delay);
    refused(&zone, "alice", &["rm", "-r", "-f", &directory]);
    refused(&zone, "alice", &["rm", "-r", "-f", &at("x.ome.zarr/0")]);
    refused(&zone, "alice", &["rm", "-f", &at("x.ome.zarr/0/0.0")]);
    refused(&zone, "alice", &["rm", "-r", "-f", HOME]);
    let ask = json!({"operation": "release", "path": directory});
    assert_eq!(answer(&zone, "alice", &ask)["released"], json!(1));
    zone.does("alice", &["rm", "-r", "-f", &directory]);
}

#[test]
fn where_the_guard_cannot_tell_it_refuses_what_it_would_refuse_and_lets_all_else_go_on() {
    let zone = zone_with(&["a.tif"]);
    let failing =
        |user: &str, words: &[&str]| zone.act_with(&[("ZONE_FAIL", "genquery1=-806000")], user, words);
    let seen = failing("alice", &["rm", "-f", &at("new.tif")]);
    let told = format!("{}{}", seen.output, seen.error);
    assert!(!seen.ok && told.contains("-169000") && told.contains("could not check"), "{told}");
    let seen = failing("alice", &["rm", &at("new.tif")]);
    assert!(seen.ok, "{}{}", seen.output, seen.error);
    zone.does("alice", &["mv", &format!("{TRASH}/new.tif"), &at("new.tif")]);
    let seen = failing("rods", &["rm", "-M", "-f", &at("new.tif")]);
    assert!(seen.ok, "an administrator is asked nothing: {}{}", seen.output, seen.error);
}

#[test]
fn names_that_the_short_query_cannot_ask_for_are_guarded_too() {
    let zone = zone_with(&["it's.tif", "100%/a_b.tif", "q'q/c.tif"]);
    for words in [
        vec!["rm", "-f", &at("it's.tif")],
        vec!["rm", "-r", "-f", &at("100%")],
        vec!["rm", "-r", "-f", &at("q'q")],
    ] {
        refused(&zone, "alice", &words);
    }
    // What only looks alike as a pattern is not theirs.
    zone.does("alice", &["mkdir", &at("100_")]);
    zone.does("alice", &["rm", "-r", "-f", &at("100_")]);
}

#[test]
fn mistakes_in_the_stanza_leave_imported_data_guarded_and_an_empty_one_guards_nothing() {
    let zone = zone_with(&["a.tif", "b.tif"]);
    change_stanza(&zone, |c| c["quiet_period_in_seconds"] = json!("soon"));
    refused(&zone, "alice", &["rm", "-f", &at("a.tif")]);
    zone.does("alice", &["rm", "-f", &at("new.tif")]);
    change_stanza(&zone, |c| *c = json!({}));
    zone.does("alice", &["rm", "-f", &at("a.tif")]);
    zone.does("alice", &["rm", "-f", &at("b.tif")]);
}

#[test]
fn a_look_costs_one_short_query_and_what_nobody_minds_costs_none() {
    let zone = zone_with(&["a.tif"]);
    let image = zone.image("a.tif");
    let cost = |words: &[&str]| {
        let cost = zone.cost("alice", words);
        let of = |name: &str| cost.get(name).copied().unwrap_or(0);
        (of("genquery1"), of("database_connections"))
    };
    zone.does("alice", &["mkdir", "-p", &at("other/deep")]);
    zone.does("alice", &["put", &image, &at("other/new.tif")]);
    // Without tags nothing else is asked of what is not watched.
    change_stanza(&zone, |c| {
        c["watch"] = json!([{"collection": "/tempZone/home/carol"}]);
        c["tags"] = json!(false);
    });
    assert_eq!(cost(&["rm", "-f", &at("new.tif")]), (1, 0), "one look at the data object");
    assert_eq!(cost(&["rm", &at("other/new.tif")]), (0, 0), "the trash is followed");
    assert_eq!(cost(&["rm", "-r", "-f", &at("other")]), (2, 0), "at data and at directories");
}
