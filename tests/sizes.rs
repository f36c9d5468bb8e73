//! What a zone with processes makes of many files at once. These take minutes: `script/bench` runs them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::zone::{INSTANCE, TestZone};

const HOME: &str = "/tempZone/home/alice";
/// How many sweeps the configuration lets be queued at a time.
const MAX_QUEUED: usize = 100;
/// How often is looked.
const SAMPLING: Duration = Duration::from_secs(2);
const AN_HOUR: Duration = Duration::from_secs(3_600);

/// How many there are to be, as `script/bench` says, or fewer.
fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

fn count(zone: &TestZone, query: &str) -> usize {
    zone.admin(&["sql", query]).trim().parse().unwrap()
}

/// Sweeps that wait; those at work are locked.
fn queued_sweeps(zone: &TestZone) -> usize {
    count(zone, "select count(*) from R_RULE_EXEC where rule_name like '%\"sweep\"%' and lock_host = ''")
}

fn with_state(zone: &TestZone, state: &str) -> usize {
    let query = "select count(*) from R_META_MAIN m join R_OBJT_METAMAP o on o.meta_id = m.meta_id where \
                 m.meta_attr_name = 'irods::omero::state' and m.meta_attr_value =";
    count(zone, &format!("{query} '{state}'"))
}

/// An `omero` command that notes each import.
fn noting_omero(stanza: &mut Value) {
    let directory = stanza["visibility"]["vaults"][0]["prefix"].as_str().unwrap().to_owned();
    let omero = stanza["importer"]["command"].as_str().unwrap();
    let script = format!(
        "#!/bin/sh\n[ \"$1\" != import ] || echo import >>{directory}/imports\nexec {omero} \"$@\"\n"
    );
    let path = format!("{directory}/noting-omero");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    stanza["importer"]["command"] = json!(path);
    stanza["importer"]["timeout_in_seconds"] = json!(3_600);
    stanza["importer"]["command_timeout_in_seconds"] = json!(600);
}

#[test]
#[ignore = "takes minutes: script/bench"]
fn a_burst_of_puts_in_one_connection_is_one_mark_one_sweep_and_one_importer_run() {
    let puts = number("OMERO_BENCH_PUTS", 1_000);
    let zone = TestZone::with(|c| {
        noting_omero(c);
        c["quiet_period_in_seconds"] = json!(20);
        c["sweep_expiry_in_seconds"] = json!(300);
    });
    let image = zone.image("a.tif");
    let verbs: Vec<Value> = (0..puts).map(|n| json!(["put", image, format!("{HOME}/{n}.tif")])).collect();
    let start = Instant::now();
    let answers = zone.script("alice", &verbs);
    let took = start.elapsed();
    assert!(answers.iter().all(|a| a["code"] == 0));
    let (marks, sweeps) = (zone.avus("-C", HOME).len(), queued_sweeps(&zone));
    assert_eq!((marks, sweeps), (1, 1));
    let _delay = zone.delay_server();
    let start = Instant::now();
    zone.wait_patiently_until("all is imported", AN_HOUR, |z| with_state(z, "imported") == puts);
    let imported = start.elapsed();
    let runs = fs::read_to_string(zone.path("imports")).unwrap().lines().count();
    assert_eq!(runs, 1, "importer runs");
    println!(
        "burst: {puts} puts in {:.1} s, {marks} mark, {sweeps} sweep queued, {runs} importer run, imported {:.1} s later",
        took.as_secs_f64(),
        imported.as_secs_f64()
    );
}

/// Writes a tree of old data into the catalog: so many collections with so many files each, whose owner has no OMERO
/// user, so that each gets a record and no import.
fn old_tree(zone: &TestZone, collections: usize, files: usize) {
    zone.does("alice", &["mkdir", &format!("{HOME}/old")]);
    let numbers = |n: usize| {
        format!("with recursive n(i) as (select 0 union all select i + 1 from n where i + 1 < {n})")
    };
    for statement in [
        "update R_OBJECTID set next = 100000000".to_owned(),
        format!(
            "insert into R_COLL_MAIN (coll_id, parent_coll_name, coll_name, coll_owner_name, coll_owner_zone, \
             coll_inheritance, create_ts, modify_ts) {} select 1000000 + i, '{HOME}/old', '{HOME}/old/' || i, \
             'alice', 'tempZone', '', '01600000000', '01600000000' from n",
            numbers(collections)
        ),
        format!(
            "insert into R_DATA_MAIN (data_id, coll_id, data_name, data_repl_num, data_type_name, data_size, resc_id, \
             data_path, data_owner_name, data_owner_zone, data_is_dirty, create_ts, modify_ts, access_ts) {} select \
             10000000 + i, 1000000 + i / {files}, i || '.tif', 0, 'generic', 1000, (select resc_id from R_RESC_MAIN \
             where resc_name = 'demoResc'), '/old/' || i || '.tif', 'bob', 'tempZone', 1, '01600000000', \
             '01600000000', '01600000000' from n",
            numbers(collections * files)
        ),
        "insert into R_OBJT_ACCESS select object, user_id, 1200, '01600000000', '01600000000' from R_USER_MAIN, \
         (select coll_id as object from R_COLL_MAIN where coll_id >= 1000000 union all select data_id from R_DATA_MAIN \
         where data_id >= 10000000) where user_name = 'alice'"
            .to_owned(),
    ] {
        zone.admin(&["sql", &statement]);
    }
}

/// The most memory that any of the processes with this directory on its command line has had, in KiB.
fn most_memory(directory: &Path) -> u64 {
    let directory = directory.to_str().unwrap();
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok).map(|e| e.path());
    let of_zone = processes.filter(|p| {
        fs::read(p.join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(directory))
    });
    let peak = |p: &Path| {
        let status = fs::read_to_string(p.join("status")).ok()?;
        let line = status.lines().find(|l| l.starts_with("VmHWM:"))?.to_owned();
        line.split_whitespace().nth(1)?.parse().ok()
    };
    of_zone.filter_map(|p| peak(&p)).max().unwrap_or(0)
}

#[test]
#[ignore = "takes minutes: script/bench"]
fn a_backfill_never_queues_more_sweeps_than_configured() {
    let collections = number("OMERO_BENCH_COLLECTIONS", 200);
    let files = number("OMERO_BENCH_FILES", 100);
    let zone = TestZone::with(|c| {
        c["watch"] = json!([]);
        c["max_queued_sweeps"] = json!(MAX_QUEUED);
        c["sweep_expiry_in_seconds"] = json!(300);
    });
    old_tree(&zone, collections, files);
    zone.does("alice", &["meta", "add", "-C", &format!("{HOME}/old"), "irods::omero::import", "on"]);
    let _delay = zone.delay_server();
    let start = Instant::now();
    let (mut most_sweeps, mut most_kib) = (0, 0);
    zone.wait_patiently_until("all has its record", 3 * AN_HOUR, |z| {
        let queued = queued_sweeps(z);
        most_sweeps = most_sweeps.max(queued);
        most_kib = most_kib.max(most_memory(z.dir()));
        std::thread::sleep(SAMPLING);
        // To count a million records is work.
        queued == 0 && with_state(z, "skipped") == collections * files
    });
    assert!(most_sweeps <= MAX_QUEUED, "{most_sweeps} sweeps were queued");
    println!(
        "backfill: {} files in {collections} collections in {:.0} s, at most {most_sweeps} of {MAX_QUEUED} sweeps queued, at most \
         {most_kib} KiB in a process",
        collections * files,
        start.elapsed().as_secs_f64()
    );
}

/// Writes the records that imports of the tree of old data would have left, without the images.
fn records(zone: &TestZone, collections: usize, files: usize) {
    let n = collections * files;
    let numbers =
        format!("with recursive n(i) as (select 0 union all select i + 1 from n where i + 1 < {n})");
    for statement in [
        "insert into R_META_MAIN (meta_id, meta_attr_name, meta_attr_value, meta_attr_unit) values \
         (1, 'irods::omero::state', 'imported', '1'), (2, 'irods::omero::owner', 'bob', 'lab')"
            .to_owned(),
        format!(
            "insert into R_META_MAIN (meta_id, meta_attr_name, meta_attr_value, meta_attr_unit) {numbers} \
             select 20000000 + i, 'irods::omero::version', '1600000000:1000 id=' || (10000000 + i) || \
             ' at=0/0123456789abcdef images=' || (2000000 + i) || ' by=table for bob#tempZone', 'replica 0 in ' || (1000000 + i / {files}) from n"
        ),
        format!(
            "insert into R_META_MAIN (meta_id, meta_attr_name, meta_attr_value, meta_attr_unit) {numbers} \
             select 40000000 + i, 'irods::omero::fileset', 1000000 + i, 'omero.example.org' from n"
        ),
        format!("insert into R_OBJT_METAMAP (object_id, meta_id) {numbers} select 10000000 + i, 1 from n"),
        format!("insert into R_OBJT_METAMAP (object_id, meta_id) {numbers} select 10000000 + i, 2 from n"),
        format!(
            "insert into R_OBJT_METAMAP (object_id, meta_id) {numbers} select 10000000 + i, 20000000 + i from n"
        ),
        format!(
            "insert into R_OBJT_METAMAP (object_id, meta_id) {numbers} select 10000000 + i, 40000000 + i from n"
        ),
        "analyze".to_owned(),
    ] {
        zone.admin(&["sql", &statement]);
    }
}

/// What an operation cost, and the most memory of a process over it in KiB.
fn spent(zone: &TestZone, text: &str) -> (BTreeMap<String, i64>, u64) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let most = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(most_memory(zone.dir()));
                std::thread::sleep(Duration::from_millis(5));
            }
            most
        });
        let cost = zone.cost("rods", &["rule", "-r", INSTANCE, text]);
        done.store(true, Ordering::Relaxed);
        (cost, most.join().unwrap())
    })
}

fn told(what: &str, (cost, kib): &(BTreeMap<String, i64>, u64), took: Duration) {
    let of = |name: &str| cost.get(name).copied().unwrap_or(0);
    println!(
        "{what}: {} calls, {} database connections, {} statements, {} rows given, {} steps, {kib} KiB, {:.2} s",
        of("calls"),
        of("database_connections"),
        of("statements"),
        of("rows"),
        of("steps"),
        took.as_secs_f64()
    );
}

#[test]
#[ignore = "takes minutes: script/bench"]
fn a_regular_look_and_a_sweep_cost_by_what_has_changed() {
    const SWEEP_ALL: &str = r#"{"operation":"sweep_all"}"#;
    let collections = number("OMERO_BENCH_COLLECTIONS", 200);
    let files = number("OMERO_BENCH_FILES", 100);
    let big = number("OMERO_BENCH_BIG", 10_000);
    let zone = TestZone::with(|c| {
        c["sweep_expiry_in_seconds"] = json!(300);
        c["sweep_all_interval_in_seconds"] = json!(300);
    });
    // The last of them is big.
    old_tree(&zone, collections, files);
    records(&zone, collections, files);
    zone.admin(&[
        "sql",
        &format!("update R_DATA_MAIN set coll_id = 1000000 where data_id < 10000000 + {big}"),
    ]);
    let timed = |text: &str| {
        let start = Instant::now();
        (spent(&zone, text), start.elapsed())
    };
    let measure = |what: &str, text: &str| {
        let (cost, took) = timed(text);
        told(what, &cost, took);
        cost.0
    };
    // As far round as where the records are.
    let reached = 10_000_000 + collections * files / 4;
    let progress = json!({"changes": {"since": 1_700_000_000, "began": 1_700_000_000, "reached": reached}, "records": reached});
    zone.does("rods", &["meta", "add", "-C", "/tempZone", "irods::omero::noticed", &progress.to_string()]);
    measure("the first look", SWEEP_ALL);
    let idle = measure("a look after which nothing has changed", SWEEP_ALL);
    let image = zone.image("a.tif");
    // Not above what is swept below, which would wait for it.
    zone.does("alice", &["mkdir", &format!("{HOME}/else")]);
    zone.does("alice", &["put", &image, &format!("{HOME}/else/b.tif")]);
    zone.admin(&["sql", "delete from R_RULE_EXEC"]);
    zone.does(
        "alice",
        &["microservice", "copy", &format!("{HOME}/else/b.tif"), &format!("{HOME}/old/5/new.tif")],
    );
    let one = measure("a look after one new file that nobody told of", SWEEP_ALL);
    assert_eq!(zone.avus("-C", &format!("{HOME}/old/5")).len(), 1, "it is noticed");
    let rows = |cost: &BTreeMap<String, i64>| cost.get("rows").copied().unwrap_or(0);
    // A part of what there is, and what one file costs.
    let part = 2 * 2 * 20_000 + 1_000;
    assert!(rows(&idle) <= part, "{idle:?}");
    assert!(rows(&one) <= rows(&idle) + 1_000, "{one:?} after {idle:?}");
    zone.admin(&["sql", "delete from R_RULE_EXEC"]);
    let sweep = r#"{"operation":"sweep","collection":"1000000"}"#;
    measure(&format!("a sweep of a collection of {big} recorded files"), sweep);
    zone.does("alice", &["put", &image, &format!("{HOME}/old/0/new.tif")]);
    std::thread::sleep(Duration::from_secs(2)); // the quiet period
    let one = measure("the same with one new file", sweep);
    assert!(rows(&one) <= 1_000, "it reads what is new: {one:?}");
    assert_eq!(zone.value(&format!("{HOME}/old/0/new.tif"), "state").as_deref(), Some("imported"));
}

#[test]
#[ignore = "takes minutes: script/bench"]
fn a_tagged_tree_is_looked_at_while_hundreds_of_sweeps_wait_for_an_omero_that_is_away() {
    let waiting = number("OMERO_BENCH_WAITING", 20);
    let tree = number("OMERO_BENCH_TREE", 100);
    let zone = TestZone::with(|c| {
        c["watch"] = json!([format!("{HOME}/waiting")]);
        c["max_queued_sweeps"] = json!(waiting);
        c["sweep_expiry_in_seconds"] = json!(300);
        c["retry_wait_in_seconds"] = json!(600);
    });
    zone.omero.admin(&["fault", "set", "server-down"]);
    let image = zone.image("a.tif");
    zone.does("alice", &["mkdir", &format!("{HOME}/waiting")]);
    let verbs: Vec<Value> = (0..waiting)
        .flat_map(|n| {
            let collection = format!("{HOME}/waiting/{n}");
            [json!(["mkdir", collection]), json!(["put", image, format!("{collection}/a.tif")])]
        })
        .collect();
    assert!(zone.script("alice", &verbs).iter().all(|a| a["code"] == 0));
    let _delay = zone.delay_server();
    zone.wait_patiently_until("all wait for OMERO", AN_HOUR, |z| with_state(z, "pending") == waiting);
    let before = queued_sweeps(&zone);
    old_tree(&zone, tree, 1);
    let start = Instant::now();
    zone.does("alice", &["meta", "add", "-C", &format!("{HOME}/old"), "irods::omero::import", "on"]);
    let mut most = 0;
    zone.wait_patiently_until("the tree has its records", AN_HOUR, |z| {
        most = most.max(queued_sweeps(z));
        with_state(z, "skipped") == tree
    });
    assert!(most <= waiting, "{most} sweeps were queued");
    println!(
        "tree: {tree} collections were looked at {:.1} s after the tag, while {before} of {waiting} sweeps waited for OMERO",
        start.elapsed().as_secs_f64()
    );
}
