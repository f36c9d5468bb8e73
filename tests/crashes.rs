//! kill -9 at every step: of a sweep at each of its calls of the server and each of its commands of OMERO, of the
//! delay server, of a client in the middle of a put. Each ends with one image set or none, the record that says so,
//! and no mark left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use support::zone::TestZone;

const HOME: &str = "/tempZone/home/alice";

/// Puts one file into each of so many collections; gives the paths.
fn put_into_collections(zone: &TestZone, image: &str, count: usize) -> Vec<String> {
    let paths: Vec<String> = (1..=count).map(|n| format!("{HOME}/c{n}/a.tif")).collect();
    let verbs: Vec<Value> = (1..=count)
        .flat_map(|n| [json!(["mkdir", format!("{HOME}/c{n}")]), json!(["put", image, paths[n - 1]])])
        .collect();
    for answer in zone.script("alice", &verbs) {
        assert_eq!(answer["code"], 0, "{answer}");
    }
    paths
}

fn assert_each_imported_once(zone: &TestZone, paths: &[String]) {
    for path in paths {
        zone.wait_for(path, "imported");
        assert!(zone.told("-d", path, "images").is_some(), "{path}");
    }
    zone.wait_until_nothing_is_due();
    assert_eq!((zone.omero.count("filesets"), zone.omero.count("images")), (paths.len(), paths.len()));
}

fn killed_agents(zone: &TestZone) -> usize {
    zone.log().matches("(agent killed)").count()
}

/// How many calls of the server a sweep makes that imports one file.
fn calls_of_a_sweep(zone: &TestZone, image: &str) -> u64 {
    let path = format!("{HOME}/undisturbed/a.tif");
    // The first sweep of a zone makes the collection of the locks too.
    zone.does("rods", &["mkdir", "-p", "/tempZone/home/rods/.irods_omero_locks"]);
    zone.does("alice", &["mkdir", &format!("{HOME}/undisturbed")]);
    zone.does("alice", &["put", image, &path]);
    let _delay = zone.delay_server();
    zone.wait_for(&path, "imported");
    zone.wait_until_nothing_is_due();
    let calls = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["counts"]["calls"].as_u64().unwrap_or_default()
    };
    fs::read_to_string(zone.path("stats")).unwrap().lines().map(calls).max().unwrap()
}

#[test]
fn a_sweep_killed_before_any_of_its_calls_of_the_server_ends_in_one_image_set() {
    let zone = TestZone::new();
    let image = zone.image("a.tif");
    let calls = calls_of_a_sweep(&zone, &image);
    assert!(calls > 20, "{calls} calls are no sweep with an import");
    let count = usize::try_from(calls).unwrap();
    let mut paths = put_into_collections(&zone, &image, count);
    let id = |n: usize| {
        zone.admin(&["sql", &format!("select coll_id from R_COLL_MAIN where coll_name = '{HOME}/c{n}'")])
    };
    let deaths: Vec<String> =
        (1..=count).map(|n| format!(r#"{n} "operation":"sweep","collection":"{}""#, id(n).trim())).collect();
    fs::write(zone.path("deaths"), deaths.join("\n")).unwrap();
    let _delay = zone.delay_server_with(&[("ZONE_DIE", &zone.path("deaths"))]);
    paths.push(format!("{HOME}/undisturbed/a.tif"));
    assert_each_imported_once(&zone, &paths);
    assert_eq!(killed_agents(&zone), count);
}

/// An `omero` command and a worker that kill the agent whose run they are part of: the agent of the first run before the
/// first command or question, that of the second before the second, and so on.
fn deadly_omero(stanza: &mut Value) {
    let directory = stanza["visibility"]["vaults"][0]["prefix"].as_str().unwrap().to_owned();
    let notes = format!("{directory}/notes");
    fs::create_dir(&notes).unwrap();
    let script = |name: &str, text: &str| {
        let path = format!("{directory}/{name}");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let step = script(
        "step",
        &format!(
            r#"#!/bin/sh
agent=$1
exec 9>>{notes}/lock
flock 9
run={notes}/$agent
if [ ! -e "$run" ]; then
    echo "$(($(cat {notes}/runs 2>/dev/null || echo 0) + 1))" >{notes}/runs
    echo "$(cat {notes}/runs) 0" >"$run"
fi
read -r number step <"$run"
step=$((step + 1))
echo "$number $step" >"$run"
if [ "$number" -eq "$step" ]; then
    kill -9 "$agent"
    exit 1
fi
"#
        ),
    );
    let importer = &mut stanza["importer"];
    let omero = importer["command"].as_str().unwrap();
    // The name of an import's directory ends with the agent's process id and a number.
    let command = format!(
        "#!/bin/sh\nagent=${{PWD%-*}}\nagent=${{agent##*-}}\n{step} \"$agent\" || exit 1\nexec {omero} \"$@\"\n"
    );
    let command = script("deadly-omero", &command);
    let worker: Vec<&str> =
        importer["worker"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    let questions = format!(
        "#!/bin/sh\nagent=$PPID\nwhile IFS= read -r line; do\n    {step} \"$agent\" || exit 1\n    printf '%s\\n' \"$line\"\n\
         done | {}\n",
        worker.join(" ")
    );
    importer["worker"] = json!([script("deadly-worker", &questions)]);
    importer["command"] = json!(command);
}

#[test]
fn a_sweep_killed_before_any_of_its_commands_and_questions_of_omero_ends_in_one_image_set() {
    let zone = TestZone::with(deadly_omero);
    let image = zone.image("a.tif");
    let paths = put_into_collections(&zone, &image, 16);
    let _delay = zone.delay_server();
    assert_each_imported_once(&zone, &paths);
    // Of the sixteen runs all those that have a command or a question of their number.
    assert!(killed_agents(&zone) >= 8, "{} agents were killed", killed_agents(&zone));
}

#[test]
fn a_delay_server_killed_again_and_again_ends_in_one_image_set_each() {
    let zone = TestZone::new();
    let image = zone.image("a.tif");
    let paths = put_into_collections(&zone, &image, 8);
    for most in [7, 5, 3, 1] {
        let _delay = zone.delay_server();
        zone.wait_until("some of it is at work or done", |z| {
            let started = z.admin(&[
                "sql",
                "select count(*) from R_META_MAIN m join R_OBJT_METAMAP o on o.meta_id = m.meta_id where \
                 m.meta_attr_name = 'irods::omero::state' and m.meta_attr_value in ('importing', 'imported')",
            ]);
            started.trim().parse::<usize>().unwrap() + most > paths.len()
        });
    }
    let _delay = zone.delay_server();
    assert_each_imported_once(&zone, &paths);
}

#[test]
fn a_client_killed_at_any_step_of_a_put_leaves_no_image_and_the_next_put_gives_one() {
    let zone = TestZone::with(|c| c["max_wait_in_seconds"] = json!(2));
    let image = zone.image("a.tif");
    let path = |who: &str, step: usize| format!("{HOME}/{who}{step}.tif");
    let (write, close) = (json!(["write", 3, "abc"]), json!(["close", 3]));
    let steps = [vec![], vec![write.clone()], vec![write.clone(), write.clone()], vec![write, close]];
    for (who, die) in [("client", json!(["die"])), ("agent", json!(["die", "--agent"]))] {
        for (step, done) in steps.iter().enumerate() {
            let mut verbs = vec![json!(["open", "-w", "-c", path(who, step)])];
            verbs.extend(done.iter().cloned());
            verbs.push(die.clone());
            zone.script("alice", &verbs);
        }
    }
    let _delay = zone.delay_server();
    // Killed when all was done: that is a put like any other, of what is no image.
    zone.wait_for(&path("client", 3), "failed");
    zone.wait_for(&path("agent", 3), "failed");
    zone.wait_until_nothing_is_due();
    assert_eq!(zone.omero.count("filesets"), 0);
    let again: Vec<String> = (0..4).map(|step| path("client", step)).collect();
    for path in &again {
        zone.does("alice", &["put", "-f", &image, path]);
    }
    for path in &again {
        zone.wait_until("it is imported", |z| z.value(path, "state").as_deref() == Some("imported"));
    }
    assert_each_imported_once(&zone, &again);
}
