//! Two delay servers at a time, jobs about what is gone, tags that nobody can follow: in a zone, with processes.
//! (Every order of calls of several sweeps and clients is gone through in `src/sweep/tests/races.rs`.)

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::{Value, json};
use support::zone::{INSTANCE, TestZone};

const HOME: &str = "/tempZone/home/alice";

fn queued(zone: &TestZone) -> usize {
    zone.admin(&["sql", "select count(*) from R_RULE_EXEC"]).trim().parse().unwrap()
}

fn id_of(zone: &TestZone, collection: &str) -> String {
    let query = format!("select coll_id from R_COLL_MAIN where coll_name = '{collection}'");
    zone.admin(&["sql", &query]).trim().to_owned()
}

fn delay(text: &str) -> Value {
    json!(["delay", format!("<INST_NAME>{INSTANCE}</INST_NAME>"), text])
}

#[test]
fn two_delay_servers_that_sweep_the_same_collections_import_each_file_once() {
    let zone = TestZone::new();
    let image = zone.image("a.tif");
    let collections: Vec<String> = (0..6).map(|n| format!("{HOME}/c{n}")).collect();
    let mut verbs = Vec::new();
    for collection in &collections {
        verbs.push(json!(["mkdir", collection]));
        verbs.push(json!(["put", image, format!("{collection}/a.tif")]));
        verbs.push(json!(["put", image, format!("{collection}/b.tif")]));
    }
    zone.script("alice", &verbs);
    // More sweeps of each, so that several are at work on one collection at the same time.
    let sweeps: Vec<Value> = collections
        .iter()
        .flat_map(|c| {
            vec![delay(&format!(r#"{{"operation":"sweep","collection":"{}"}}"#, id_of(&zone, c))); 4]
        })
        .collect();
    zone.script("alice", &sweeps);
    let _servers = [zone.delay_server(), zone.delay_server()];
    for collection in &collections {
        zone.wait_for(&format!("{collection}/a.tif"), "imported");
        zone.wait_for(&format!("{collection}/b.tif"), "imported");
    }
    zone.wait_until_nothing_is_due();
    assert_eq!(zone.omero.count("filesets"), 2 * collections.len());
    assert_eq!(zone.errors(), Vec::<String>::new());
}

#[test]
fn a_job_about_what_is_gone_or_never_was_ends_and_is_not_run_again() {
    let zone = TestZone::new();
    zone.does("alice", &["mkdir", &format!("{HOME}/gone")]);
    let gone = id_of(&zone, &format!("{HOME}/gone"));
    zone.does("alice", &["rm", "-r", "-f", &format!("{HOME}/gone")]);
    let ids = [gone.as_str(), "0", "999999999", "99999999999999999999999", "-1", "x", "1' or '1'='1"];
    let mut jobs = Vec::new();
    for operation in ["sweep", "sweep_stage", "mark"] {
        for id in ids {
            jobs.push(delay(&json!({"operation": operation, "collection": id}).to_string()));
        }
        jobs.push(delay(&json!({"operation": operation}).to_string()));
    }
    let ended = |z: &TestZone| z.log().matches(" ended with ").count();
    let _delay = zone.delay_server();
    zone.wait_until("the queue is empty", |z| queued(z) == 0);
    let before = ended(&zone);
    for answer in zone.script("alice", &jobs) {
        assert_eq!(answer["code"], 0, "{answer}");
    }
    zone.wait_until("the queue is empty", |z| queued(z) == 0);
    let jobs_run = ended(&zone) - before;
    assert_eq!(jobs_run, jobs.len(), "each ran once and queued nothing: {}", zone.log());
    assert_eq!(zone.errors(), Vec::<String>::new());
}

#[test]
fn a_tag_that_cannot_be_followed_is_named_in_the_record_and_stops_nothing_else() {
    let zone = TestZone::with(|c| c["watch"] = json!([]));
    let image = zone.image("a.tif");
    let long = "x".repeat(2_700);
    let tags = [
        ("yes", ""),
        ("Dataset:name:", ""),
        ("Dataset:name:{nothing}", ""),
        ("Dataset:id:-1", ""),
        ("Screen", ""),
        ("\u{1}\u{7f}", ""),
        (long.as_str(), ""),
        ("on", long.as_str()),
        ("on", "quiet"),
        ("on", "quiet=-1"),
        ("on", "quiet=1 quiet=2"),
        ("on", "quite=1"),
        ("on", "on_overwrite=never"),
        ("on", "complete_marker=a/b"),
    ];
    let mut verbs = Vec::new();
    for (n, (value, units)) in tags.iter().enumerate() {
        let collection = format!("{HOME}/t{n}");
        verbs.push(json!(["mkdir", collection]));
        verbs.push(json!(["put", image, format!("{collection}/a.tif")]));
        verbs.push(json!(["meta", "add", "-C", collection, "irods::omero::import", value, units]));
    }
    let good = format!("{HOME}/good");
    verbs.push(json!(["mkdir", good]));
    verbs.push(json!(["meta", "add", "-C", good, "irods::omero::import", "on"]));
    verbs.push(json!(["put", image, format!("{good}/a.tif")]));
    for answer in zone.script("alice", &verbs) {
        assert_eq!(answer["code"], 0, "{answer}");
    }
    let _delay = zone.delay_server();
    zone.wait_for(&format!("{good}/a.tif"), "imported");
    for (n, (value, units)) in tags.iter().enumerate() {
        let path = format!("{HOME}/t{n}/a.tif");
        zone.wait_for(&path, "skipped");
        let reason = zone.value(&path, "reason").unwrap();
        let names_it = reason.contains("is not understood") && reason.contains(&format!("{HOME}/t{n}"));
        assert!(names_it, "{value} {units}: {reason}");
    }
    zone.wait_until_nothing_is_due();
    assert_eq!(zone.omero.count("filesets"), 1);
    assert!(!zone.log().contains("(agent killed)"));
}

#[test]
fn a_record_whose_words_the_catalog_has_twice_says_one_thing() {
    let zone = TestZone::with(|c| c["retry_wait_in_seconds"] = json!(1));
    let (image, path) = (zone.image("a.tif"), format!("{HOME}/a.tif"));
    zone.omero.admin(&["fault", "set", "wrong-password"]);
    zone.does("alice", &["put", &image, &path]);
    let _delay = zone.delay_server();
    zone.wait_for(&path, "pending");
    // As where two servers wrote the same words at one moment: the catalog has two rows of each, and the data object hangs on
    // the later one.
    zone.admin(&[
        "sql",
        "insert into R_META_MAIN select -meta_id, meta_namespace, meta_attr_name, meta_attr_value, meta_attr_unit, r_comment, \
         create_ts, modify_ts from R_META_MAIN where meta_attr_name like 'irods::omero::%'",
    ]);
    zone.omero.admin(&["fault", "clear"]);
    zone.wait_for(&path, "imported");
    zone.wait_until_nothing_is_due();
    let avus = zone.avus("-d", &path);
    let said = |attribute: &str| -> Vec<&str> {
        avus.iter().filter(|(a, ..)| a == attribute).map(|(_, value, _)| value.as_str()).collect()
    };
    assert_eq!(said("state"), ["imported"]);
    assert_eq!([said("reason"), said("retry")].concat(), Vec::<&str>::new());
}
