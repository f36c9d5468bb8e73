//! The doctor: what differs between iRODS, OMERO and OMERO's repository is found, and mended where that is asked for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use support::zone::{DelayServer, INSTANCE, Seen, TestZone};

const HOME: &str = "/tempZone/home/alice";
const FILE: &str = "/tempZone/home/alice/a.tif";

fn at(name: &str) -> String {
    format!("{HOME}/{name}")
}

fn ask(zone: &TestZone, user: &str, request: &Value) -> Seen {
    let mut request = request.clone();
    request["operation"] = "audit".into();
    zone.act(user, &["rule", "-r", INSTANCE, &request.to_string()])
}

/// The answer of one page.
fn page(zone: &TestZone, user: &str, request: &Value) -> Value {
    let seen = ask(zone, user, request);
    assert!(seen.ok, "{user} {request}: {}", seen.error);
    serde_json::from_str(seen.output.trim()).unwrap_or_else(|e| panic!("{request}: {e}: {}", seen.output))
}

/// All pages.
fn audit(zone: &TestZone, user: &str, request: &Value) -> Vec<Value> {
    let mut request = request.clone();
    let mut found = Vec::new();
    loop {
        let answer = page(zone, user, &request);
        found.extend(answer["findings"].as_array().unwrap().clone());
        match answer["next"].as_str() {
            Some(next) => request["after"] = next.into(),
            None => return found,
        }
    }
}

/// Code, repair and outcome of each finding.
fn codes(found: &[Value]) -> Vec<(&str, Option<&str>, Option<&str>)> {
    let of = |f: &'_ Value| {
        let word = |key: &str| f[key].as_str().map(|w| w.to_owned().leak() as &str);
        (word("code").unwrap(), word("repair"), word("outcome"))
    };
    found.iter().map(of).collect()
}

fn of_file() -> Value {
    json!({"path": FILE})
}

fn mending() -> Value {
    json!({"path": FILE, "repair": true})
}

/// An image with bytes that no other has.
fn image(zone: &TestZone, name: &str, more: usize) -> String {
    let path = zone.image(name);
    let bytes = [fs::read(&path).unwrap(), vec![7; more]].concat();
    fs::write(&path, bytes).unwrap();
    path
}

/// `a.tif` and `b.tif`, imported.
fn imported(zone: &TestZone) -> DelayServer {
    let delay = zone.delay_server();
    for (more, name) in ["a.tif", "b.tif"].iter().enumerate() {
        zone.does("alice", &["put", &image(zone, name, more), &at(name)]);
        zone.wait_for(&at(name), "imported");
    }
    zone.wait_until_nothing_is_due();
    delay
}

/// The link of the first file of the fileset that a data object's record names, and where it leads.
fn link(zone: &TestZone, path: &str) -> (PathBuf, PathBuf) {
    let id: u64 = zone.value(path, "fileset").unwrap().parse().unwrap();
    let filesets = zone.omero.show()["filesets"].as_array().unwrap().clone();
    let one = filesets.into_iter().find(|f| f["id"] == id).unwrap();
    let file = &one["files"][0];
    let text = |key: &str| PathBuf::from(file[key].as_str().unwrap());
    (text("link"), text("target"))
}

fn point(link: &Path, target: &Path) {
    fs::remove_file(link).unwrap();
    symlink(target, link).unwrap();
}

/// Everything that a repair could change.
fn all_there_is(zone: &TestZone) -> (Value, String, String) {
    let mut omero = zone.omero.show();
    omero["sessions"] = Value::Null; // to look is to log in
    let sql = |query: &str| zone.admin(&["sql", query]);
    let avus =
        sql("select o.object_id, m.meta_attr_name, m.meta_attr_value, m.meta_attr_unit from R_META_MAIN m \
                    join R_OBJT_METAMAP o on o.meta_id = m.meta_id order by 1, 2, 3, 4");
    (omero, avus, sql("select rule_name from R_RULE_EXEC order by 1"))
}

#[test]
fn nothing_is_found_where_all_is_well() {
    let zone = TestZone::new();
    let _delay = imported(&zone);
    let before = zone.omero.count("filesets");
    for request in [of_file(), json!({"path": HOME}), json!({"user": "alice#tempZone"}), json!({})] {
        assert_eq!(audit(&zone, "rods", &request), Vec::<Value>::new(), "{request}");
    }
    let answer = page(&zone, "alice", &json!({"path": HOME}));
    assert_eq!((&answer["looked_at"], &answer["next"]), (&json!(2), &Value::Null));
    assert_eq!((zone.omero.count("filesets"), zone.errors()), (before, vec![]));
}

#[test]
fn a_broken_link_is_found_and_pointed_and_a_dry_run_changes_nothing() {
    let zone = TestZone::new();
    let delay = imported(&zone);
    let (link_of_a, right) = link(&zone, FILE);
    point(&link_of_a, Path::new("/nowhere/a.tif"));
    drop(delay); // nobody else changes anything meanwhile
    let before = all_there_is(&zone);
    for request in [of_file(), json!({"path": HOME}), json!({"user": "alice#tempZone"}), json!({})] {
        let found = audit(&zone, "rods", &request);
        assert_eq!(codes(&found), [("link-dangles", Some("point"), None)], "{request}");
        assert_eq!(found[0]["path"], json!(FILE));
        assert!(found[0]["sentence"].as_str().unwrap().contains("/nowhere/a.tif"), "{found:?}");
    }
    assert_eq!(all_there_is(&zone), before);
    assert_eq!(codes(&audit(&zone, "alice", &mending())), [("link-dangles", Some("point"), Some("done"))]);
    assert_eq!(link(&zone, FILE), (link_of_a, right));
    assert!(zone.log().contains("act=audit repair=point code=link-dangles"), "a line before it is done");
    assert_eq!(audit(&zone, "alice", &mending()), Vec::<Value>::new());
    assert_eq!(zone.value(FILE, "state").as_deref(), Some("imported"));
}

#[test]
fn a_link_that_somebody_pointed_to_another_file_is_told_and_left() {
    let zone = TestZone::new();
    let _delay = imported(&zone);
    let (link_of_a, _) = link(&zone, FILE);
    let secret = zone.path("secret.tif");
    fs::write(&secret, "of somebody else").unwrap();
    point(&link_of_a, &secret);
    assert_eq!(codes(&audit(&zone, "alice", &mending())), [("link-elsewhere", None, None)]);
    assert_eq!(link(&zone, FILE).1, secret);
}

#[test]
fn links_of_a_set_are_pointed_each_to_its_own_file() {
    let zone = TestZone::new();
    let set = zone.path("set");
    fs::create_dir(&set).unwrap();
    zone.omero.admin(&["make", "htd-flat", set.join("x.HTD").to_str().unwrap(), "--files", "2"]);
    let delay = zone.delay_server();
    zone.does("alice", &["put", "-r", set.to_str().unwrap(), &at("set")]);
    let names = ["x.HTD", "x_A01.TIF", "x_A02.TIF"];
    for name in names {
        zone.wait_for(&at(&format!("set/{name}")), "imported");
    }
    zone.wait_until_nothing_is_due();
    drop(delay);
    let files = |z: &TestZone| z.omero.show()["filesets"][0]["files"].as_array().unwrap().clone();
    let before = files(&zone);
    for file in &before {
        let link = Path::new(file["link"].as_str().unwrap());
        point(link, Path::new("/nowhere").join(link.file_name().unwrap()).as_path());
    }
    let request = json!({"path": at("set"), "repair": true});
    let found = audit(&zone, "alice", &request);
    assert_eq!(codes(&found), vec![("link-dangles", Some("point"), Some("done")); 3]);
    assert_eq!(files(&zone), before);
    assert_eq!(audit(&zone, "alice", &request), Vec::<Value>::new());
}

#[test]
fn a_fileset_that_is_gone_is_found_and_its_record_says_so_then() {
    let zone = TestZone::new();
    let _delay = imported(&zone);
    let id = zone.value(FILE, "fileset").unwrap();
    zone.omero.act("alice", &["delete", &format!("Fileset:{id}")]);
    assert_eq!(codes(&audit(&zone, "alice", &of_file())), [("fileset-gone", Some("look"), None)]);
    assert_eq!(codes(&audit(&zone, "alice", &mending())), [("fileset-gone", Some("look"), Some("asked"))]);
    zone.wait_until("its record says so", |z| {
        z.value(FILE, "reason").is_some_and(|reason| reason.contains("removed in OMERO"))
    });
    assert_eq!(zone.value(FILE, "state").as_deref(), Some("skipped"));
    assert_eq!(audit(&zone, "alice", &mending()), Vec::<Value>::new());
}

#[test]
fn data_that_nobody_followed_is_found_and_followed_by_a_sweep() {
    let zone = TestZone::new();
    let delay = imported(&zone);
    drop(delay);
    // A rename whose event brought nobody.
    zone.does("alice", &["mv", FILE, &at("c.tif")]);
    let moved = json!({"path": at("c.tif")});
    let found = audit(&zone, "alice", &moved);
    assert_eq!(codes(&found), [("moved", Some("sweep"), None)], "{found:?}");
    let _delay = zone.delay_server();
    let mending = json!({"path": at("c.tif"), "repair": true});
    let codes_now = audit(&zone, "alice", &mending);
    assert!(codes_now.iter().all(|f| f["outcome"] == "asked"), "{codes_now:?}");
    zone.wait_until("it is followed", |z| audit(z, "alice", &moved).is_empty());
    assert!(link(&zone, &at("c.tif")).1.ends_with("c.tif"));
}

#[test]
fn another_path_in_omero_is_found_and_written_anew_also_after_a_death_in_the_middle() {
    let zone = TestZone::new();
    let delay = imported(&zone);
    drop(delay);
    // The link is pointed, and OMERO does not take the rest.
    zone.omero.admin(&["fault", "set", "exit", "--command", "relocate"]);
    point(&link(&zone, FILE).0, Path::new("/nowhere"));
    zone.does("alice", &["mv", FILE, &at("c.tif")]);
    let (moved, mending) = (json!({"path": at("c.tif")}), json!({"path": at("c.tif"), "repair": true}));
    let found = audit(&zone, "alice", &mending);
    let wanted =
        |found: &[Value], outcome| codes(found).contains(&("link-dangles", Some("point"), Some(outcome)));
    assert!(wanted(&found, "failed"), "{found:?}");
    let found = audit(&zone, "alice", &moved);
    assert!(codes(&found).contains(&("other-path", Some("point"), None)), "{found:?}");
    zone.omero.admin(&["fault", "clear"]);
    let found = audit(&zone, "alice", &mending);
    assert!(codes(&found).contains(&("other-path", Some("point"), Some("done"))), "{found:?}");
    assert_eq!(audit(&zone, "alice", &moved), Vec::<Value>::new());
    assert_eq!(zone.omero.count("filesets"), 2);
}

#[test]
fn a_repair_whose_agent_is_killed_in_the_middle_is_done_by_the_next() {
    let zone = TestZone::new();
    let delay = imported(&zone);
    drop(delay);
    let (link_of_a, right) = link(&zone, FILE);
    point(&link_of_a, Path::new("/nowhere"));
    zone.does("alice", &["mv", FILE, &at("c.tif")]);
    zone.omero.admin(&["fault", "set", "hang", "--command", "annotate", "--times", "1"]);
    let request = json!({"operation": "audit", "path": at("c.tif"), "repair": true}).to_string();
    let killed = zone.start("alice", &["rule", "-r", INSTANCE, &request]);
    zone.wait_until("the link is pointed", |z| link(z, &at("c.tif")).1 != Path::new("/nowhere"));
    killed.kill_with_agents();
    zone.omero.admin(&["fault", "clear"]);
    // The lock of the dead expires. Where only the record is left to write, a sweep does it.
    let _delay = zone.delay_server();
    zone.wait_until("the next mends what is left", |z| {
        audit(z, "alice", &json!({"path": at("c.tif"), "repair": true}));
        z.told("-d", &at("c.tif"), "link").is_some()
            && audit(z, "alice", &json!({"path": at("c.tif")})).is_empty()
    });
    assert_eq!(link(&zone, &at("c.tif")).1, right.with_file_name("c.tif"));
}

#[test]
fn the_command_tells_what_it_found_mends_it_and_ends_with_a_code() {
    let zone = TestZone::new();
    let delay = imported(&zone);
    drop(delay);
    let irule = zone.irule("rods");
    let doctor = |words: &[&str]| {
        let done = std::process::Command::new(support::program("irods-omero", "irods-omero"))
            .args([&["doctor", "--irule", irule.to_str().unwrap(), "--instance", INSTANCE], words].concat())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    };
    let (code, out, _) = doctor(&["--zone"]);
    assert_eq!((code, out.trim()), (Some(0), "looked at 4, 0 findings"), "two data objects, two filesets");
    point(&link(&zone, FILE).0, Path::new("/nowhere"));
    let (code, out, _) = doctor(&[HOME]);
    assert_eq!(code, Some(1));
    assert!(out.starts_with(&format!("link-dangles {FILE}\n")) && out.contains("--repair mends it"), "{out}");
    let (code, out, err) = doctor(&["--json", "--user", "alice#tempZone", "--repair"]);
    assert_eq!(code, Some(0), "{out} {err}");
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["outcome"], &lines[1]["summary"]["mended"]), (&json!("done"), &json!(1)));
    assert!(err.contains(&format!("mending {FILE}: link-dangles, by 'point'")), "{err}");
    let (code, _, err) = doctor(&["/tempZone/home/alice/none"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("-358000"), "{err}");
}

#[test]
fn a_record_that_was_lost_is_found_and_the_fileset_is_taken_for_its_own_again() {
    let zone = TestZone::new();
    let _delay = imported(&zone);
    let id = zone.value(FILE, "fileset").unwrap();
    for (attribute, value, units) in zone.avus("-d", FILE) {
        zone.does(
            "rods",
            &["meta", "-M", "rm", "-d", FILE, &format!("irods::omero::{attribute}"), &value, &units],
        );
    }
    let found = audit(&zone, "alice", &json!({"path": HOME}));
    assert_eq!(codes(&found), [("fileset-without-record", Some("sweep"), None)], "{found:?}");
    assert!(found[0]["sentence"].as_str().unwrap().contains(&id));
    let of_zone = audit(&zone, "rods", &json!({}));
    assert_eq!(codes(&of_zone), [("fileset-without-record", Some("sweep"), None)], "from OMERO's end");
    audit(&zone, "alice", &mending());
    zone.wait_for(FILE, "imported");
    assert_eq!(zone.value(FILE, "fileset"), Some(id));
    assert_eq!(zone.omero.count("filesets"), 2, "nothing is imported anew");
}

#[test]
fn a_fileset_whose_data_was_removed_is_found_from_omeros_end() {
    let zone = TestZone::with(|c| c["guard"] = json!({"people": {"remove": "allow"}}));
    let _delay = imported(&zone);
    let id = zone.value(FILE, "fileset").unwrap();
    zone.does("alice", &["rm", "-f", FILE]);
    zone.wait_until_nothing_is_due();
    for request in [json!({}), json!({"user": "alice#tempZone", "limit": 1})] {
        let found = audit(&zone, "rods", &request);
        assert_eq!(codes(&found), [("fileset-without-data", None, None)], "{request}");
        let sentence = found[0]["sentence"].as_str().unwrap();
        assert!(sentence.contains(&format!("fileset {id} ")), "{sentence}");
    }
}

#[test]
fn bytes_that_changed_on_the_disk_and_in_the_catalog_are_found() {
    let zone = TestZone::new();
    let delay = imported(&zone);
    drop(delay);
    let (_, target) = link(&zone, FILE);
    let bytes = fs::read(&target).unwrap();
    fs::write(&target, [&bytes[..], b"more"].concat()).unwrap();
    assert_eq!(codes(&audit(&zone, "alice", &mending())), [("other-bytes", None, None)]);
    fs::write(&target, &bytes).unwrap();
    assert_eq!(audit(&zone, "alice", &of_file()), Vec::<Value>::new());
    // As if an event had been lost.
    zone.admin(&[
        "sql",
        "update R_DATA_MAIN set data_size = '99', modify_ts = '01600000000' where data_name = 'a.tif'",
    ]);
    let found = audit(&zone, "alice", &of_file());
    assert!(codes(&found).contains(&("other-bytes", Some("sweep"), None)), "{found:?}");
}

#[test]
fn marks_without_a_job_locks_of_the_dead_and_records_that_wait_for_nobody_are_found_and_swept() {
    let zone = TestZone::new();
    let delay = imported(&zone);
    drop(delay);
    let id = zone.admin(&["sql", &format!("select coll_id from R_COLL_MAIN where coll_name = '{HOME}'")]);
    zone.does("alice", &["mkdir", &at("run")]);
    zone.does("rods", &["meta", "-M", "add", "-C", &at("run"), "irods::omero::due", "new"]);
    zone.does("rods", &["mkdir", "-p", &format!("/tempZone/home/rods/.irods_omero_locks/{}.1", id.trim())]);
    let old = "update R_COLL_MAIN set create_ts = '01700000000' where coll_name like '%irods_omero_locks/%'";
    zone.admin(&["sql", old]);
    zone.admin(&["sql", "delete from R_RULE_EXEC"]);
    let found = audit(&zone, "rods", &json!({"path": HOME}));
    let mut told = codes(&found);
    told.sort_unstable();
    let want = [("dead-lock", Some("sweep"), None), ("mark-without-job", Some("sweep"), None)];
    assert_eq!(told, want, "{found:?}");
    assert_eq!(codes(&audit(&zone, "rods", &json!({}))).len(), 2, "and in the whole zone");
    let mended = audit(&zone, "rods", &json!({"path": HOME, "repair": true}));
    assert!(mended.iter().all(|f| f["outcome"] == "asked"), "{mended:?}");
    let _delay = zone.delay_server();
    zone.wait_until_nothing_is_due();
    zone.wait_until("nothing is left", |z| audit(z, "rods", &json!({"path": HOME})).is_empty());
}

#[test]
fn a_record_that_waits_for_nobody_is_found_and_swept() {
    let zone = TestZone::new();
    zone.does("alice", &["put", &zone.image("a.tif"), FILE]);
    let _delay = zone.delay_server();
    zone.wait_for(FILE, "imported");
    zone.wait_until_nothing_is_due();
    for (attribute, value, units) in zone.avus("-d", FILE) {
        zone.does(
            "rods",
            &["meta", "-M", "rm", "-d", FILE, &format!("irods::omero::{attribute}"), &value, &units],
        );
    }
    zone.does("rods", &["meta", "-M", "add", "-d", FILE, "irods::omero::state", "pending", "0"]);
    let found = audit(&zone, "alice", &of_file());
    assert!(codes(&found).contains(&("abandoned", Some("sweep"), None)), "{found:?}");
    audit(&zone, "alice", &mending());
    zone.wait_for(FILE, "imported");
    assert_eq!(zone.omero.count("filesets"), 1);
}

#[test]
fn a_user_who_is_another_in_omero_now_is_told() {
    let zone = TestZone::new();
    let _delay = imported(&zone);
    let config = zone.path("server_config.json");
    let mut server: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    let stanza = "/plugin_configuration/rule_engines/0/plugin_specific_configuration";
    let user = server.pointer_mut(&format!("{stanza}/users/table/alice#tempZone")).unwrap();
    *user = json!("carol");
    // The stand-in has a copy of its own.
    let own = zone.path("zone");
    fs::write(own.join("config/server_config.json"), server.to_string())
        .or_else(|_| fs::write(own.join("server_config.json"), server.to_string()))
        .unwrap();
    let found = audit(&zone, "alice", &of_file());
    assert_eq!(codes(&found), [("other-user", None, None)], "{found:?}");
    assert!(found[0]["sentence"].as_str().unwrap().contains("'carol'"));
}

#[test]
fn pages_go_on_where_the_last_ended_and_find_each_thing_once() {
    let zone = TestZone::new();
    let delay = zone.delay_server();
    let names: Vec<String> = (0..5).map(|i| format!("run/x{}/{i}.tif", i % 2)).collect();
    for (i, name) in names.iter().enumerate() {
        let (collection, file) = name.rsplit_once('/').unwrap();
        zone.does("alice", &["mkdir", "-p", &at(collection)]);
        zone.does("alice", &["put", &image(&zone, file, i), &at(name)]);
    }
    for name in &names {
        zone.wait_for(&at(name), "imported");
    }
    zone.wait_until_nothing_is_due();
    drop(delay);
    for name in &names {
        point(&link(&zone, &at(name)).0, Path::new("/nowhere"));
    }
    let paths = |found: &[Value]| {
        let mut paths: Vec<String> = found.iter().map(|f| f["path"].as_str().unwrap().to_owned()).collect();
        paths.sort();
        paths
    };
    let mut want: Vec<String> = names.iter().map(|name| at(name)).collect();
    want.sort();
    for request in [
        json!({"path": at("run"), "limit": 2}),
        json!({"limit": 2}),
        json!({"user": "alice#tempZone", "limit": 1}),
    ] {
        let first = page(&zone, "rods", &request);
        assert!(first["next"].is_string() && first["looked_at"].as_u64() <= Some(2), "{request}: {first}");
        assert_eq!(paths(&audit(&zone, "rods", &request)), want, "{request}");
    }
    let not_below = audit(&zone, "rods", &json!({"path": at("run"), "recursive": false}));
    assert_eq!(not_below, Vec::<Value>::new());
    // A cursor leads nowhere but below what was asked for.
    let other = zone
        .admin(&["sql", &format!("select coll_id from R_COLL_MAIN where coll_name = '{}'", at("run/x1"))]);
    let cursor =
        json!({"phase": "tree", "collection": other.trim(), "after": 0, "span": 100_000}).to_string();
    let found = page(&zone, "alice", &json!({"path": at("run/x0"), "after": cursor}));
    assert!(paths(found["findings"].as_array().unwrap()).iter().all(|path| path.contains("/x0/")), "{found}");
}

#[test]
fn the_patrol_goes_round_by_itself_and_status_tells_what_it_found() {
    let zone = TestZone::with(|c| c["patrol"] = json!({"days": 1}));
    let _delay = imported(&zone);
    let (link_of_a, _) = link(&zone, FILE);
    point(&link_of_a, Path::new("/nowhere/a.tif"));
    let status = |z: &TestZone, user: &str| -> Value {
        let words = ["rule", "-r", INSTANCE, r#"{"operation":"status"}"#];
        serde_json::from_str(z.does(user, &words).trim()).unwrap()
    };
    // Its first round is at its own pace: a day for the ids there are. It is begun anew with the clock put forward.
    zone.wait_until("the patrol has begun", |z| status(z, "rods")["patrol"]["this_round"].is_object());
    let all = status(&zone, "rods");
    assert_eq!(all["patrol"]["days"], json!(1));
    assert_eq!(status(&zone, "alice")["patrol"], Value::Null, "what the whole zone holds is none of hers");
    zone.does("rods", &["meta", "-M", "add", "-C", "/tempZone", "irods::omero::patrol", "nonsense"]);
    zone.wait_until("its first round has ended", |z| {
        z.does("rods", &["rule", "-r", INSTANCE, r#"{"operation":"patrol"}"#]);
        status(z, "rods")["patrol"]["this_round"]["ended"].is_u64()
    });
    let round = &status(&zone, "rods")["patrol"]["this_round"];
    assert_eq!(round["codes"]["link-dangles"], json!(1), "{round}");
    assert!(round["looked_at"].as_u64() >= Some(2), "{round}");
    assert_eq!(link(&zone, FILE).1, Path::new("/nowhere/a.tif"), "it mends nothing");
}

#[test]
fn only_administrators_have_the_zone_looked_at_and_people_what_they_may_change() {
    let zone = TestZone::new();
    zone.does("alice", &["put", &zone.image("a.tif"), FILE]);
    for (user, request, code) in [
        ("alice", json!({}), "-830000"),
        ("alice", json!({"user": "bob#tempZone"}), "-830000"),
        ("carol", of_file(), "-358000"),
        ("rods", json!({"after": "nonsense"}), "-130000"),
    ] {
        let seen = ask(&zone, user, &request);
        assert!(!seen.ok && seen.error.contains(code), "{user} {request}: {} {}", seen.output, seen.error);
    }
    assert!(ask(&zone, "alice", &json!({"user": "alice#tempZone"})).ok);
}

#[test]
fn omero_that_does_not_answer_is_told_and_the_rest_is_looked_at_all_the_same() {
    let zone = TestZone::new();
    let delay = imported(&zone);
    drop(delay);
    zone.does("alice", &["mv", FILE, &at("c.tif")]);
    zone.omero.admin(&["fault", "set", "bad-query", "--command", "filesets"]);
    let found = audit(&zone, "alice", &json!({"path": at("c.tif")}));
    let mut told = codes(&found);
    told.sort_unstable();
    assert_eq!(told, [("moved", Some("sweep"), None), ("not-looked-at", None, None)], "{found:?}");
}

#[test]
fn where_agents_import_irods_side_is_looked_at_and_omeros_side_is_said_not_to_be() {
    let zone = TestZone::with_dir(|dir, c| {
        let url = format!("unix:{}", dir.join("agent.sock").display());
        c["omero"] = json!({"server": "omero.example.org", "sudo_user": "importer"});
        c["importer"] = json!({"mode": "agent", "agents": [{"name": "a1", "url": url}]});
    });
    zone.does("alice", &["put", &zone.image("a.tif"), FILE]);
    zone.does("rods", &["chmod", "-M", "own", "rods", FILE]);
    for (attribute, value, units) in [
        ("state", "imported", "1"),
        ("version", "1600000000:1", "replica 0 in 1"),
        ("fileset", "7", "omero.example.org"),
        ("owner", "alice", "lab"),
    ] {
        zone.does(
            "rods",
            &["meta", "-M", "add", "-d", FILE, &format!("irods::omero::{attribute}"), value, units],
        );
    }
    let found = audit(&zone, "alice", &of_file());
    assert_eq!(
        codes(&found),
        [("other-bytes", Some("sweep"), None), ("not-looked-at", None, None)],
        "{found:?}"
    );
    assert!(found[1]["sentence"].as_str().unwrap().contains("agents import here"));
}

#[test]
fn a_repository_that_this_host_does_not_see_is_told_and_no_link_is_called_broken() {
    let zone = TestZone::new();
    let delay = imported(&zone);
    drop(delay);
    let root = zone.omero.store.join("ManagedRepository");
    fs::rename(&root, zone.omero.store.join("aside")).unwrap();
    let found = audit(&zone, "alice", &json!({"path": HOME}));
    assert_eq!(codes(&found), [("not-looked-at", None, None)], "{found:?}");
    assert!(found[0]["sentence"].as_str().unwrap().contains("ManagedRepository"));
}
