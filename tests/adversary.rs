//! Carol tries every route she has to import as alice, or to have OMERO show her a file that the site has not opened.
//! Each is refused with its reason, and nothing of it is imported.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use support::zone::{INSTANCE, TestZone};

const CAROL: &str = "/tempZone/home/carol";
const ALICE: &str = "/tempZone/home/alice";
const SCOPES: &str = "/tempZone/home/scope/scopes";

/// A zone in which alice and carol are mapped, and a microscope's account puts data for others. The vault and the
/// directory `opened` are opened.
fn zone() -> TestZone {
    let zone = TestZone::with(|c| {
        let dir = c["visibility"]["vaults"][0]["prefix"].as_str().unwrap().to_owned();
        let prefixes = ["zone/Vault", "opened"].map(|p| json!({"prefix": format!("{dir}/{p}")}));
        c["visibility"] = json!({"vaults": prefixes});
        c["users"]["on_behalf_of"] = json!([
            {"account": "scope#tempZone", "from": "collection_avu"},
            {"account": "scope#tempZone", "from": "path", "below": SCOPES, "zone": "tempZone"}]);
        c["target"] = json!("Project:name:{avu:project|none}/Dataset:name:{collection[-1]}");
    });
    zone.admin(&["user", "add", "scope"]);
    zone.does("scope", &["mkdir", SCOPES]);
    fs::create_dir(zone.path("opened")).unwrap();
    fs::create_dir(zone.path("outside")).unwrap();
    zone
}

/// What carol does must fail, with one of iRODS's or our codes, and a word of the reason.
fn refused(zone: &TestZone, words: &[&str], part: &str) {
    let seen = zone.act("carol", words);
    let told = format!("{}{}", seen.output, seen.error);
    assert!(!seen.ok && told.contains(part), "{words:?} was let through, or said: {told}");
}

/// What the records say of some data objects, once they say anything, and that OMERO has nothing of it.
fn not_imported(zone: &TestZone, expected: &[(&str, &str, &str)]) {
    for (path, state, part) in expected {
        zone.wait_for(path, state);
        let reason = zone.value(path, "reason").unwrap();
        assert!(reason.contains(part), "{path}: {reason}");
    }
    assert_eq!(zone.omero.count("filesets"), 0);
}

/// Owner and place of everything in OMERO.
fn images(zone: &TestZone) -> Vec<(String, String)> {
    let all = zone.omero.show();
    let of = |image: &Value| {
        (image["owner"].as_str().unwrap().to_owned(), image["dataset"].as_str().unwrap_or("").to_owned())
    };
    all["filesets"].as_array().unwrap().iter().flat_map(|f| f["images"].as_array().unwrap()).map(of).collect()
}

/// The file of a data object in the vault.
fn in_vault(zone: &TestZone, path: &str) -> PathBuf {
    let query = format!(
        "select d.data_path from R_DATA_MAIN d join R_COLL_MAIN c on c.coll_id = d.coll_id where \
         c.coll_name || '/' || d.data_name = '{path}'"
    );
    PathBuf::from(zone.admin(&["sql", &query]).trim())
}

#[test]
fn no_avu_makes_her_alice() {
    let zone = zone();
    let (run, of_scope) = (format!("{CAROL}/run"), format!("{SCOPES}/shared"));
    zone.does("carol", &["mkdir", &run]);
    zone.does("scope", &["mkdir", &of_scope]);
    for (words, part) in [
        (vec!["meta", "add", "-u", "carol", "irods::omero::user", "alice"], "is reserved"),
        (vec!["meta", "set", "-u", "carol#tempZone", "irods::omero::user", "alice"], "is reserved"),
        (vec!["meta", "add", "-C", &run, "irods::omero::on_behalf_of", "alice"], "is reserved"),
        (vec!["meta", "add", "-C", &of_scope, "irods::omero::on_behalf_of", "carol"], "is reserved"),
        (vec!["meta", "add", "-R", "demoResc", "irods::omero::user", "alice"], "is reserved"),
        (vec!["meta", "add", "-C", ALICE, "irods::omero::import", "on"], "zone:"),
        (vec!["microservice", "meta", "add", "-u", "carol", "irods::omero::user", "alice"], "is reserved"),
        (
            vec![
                "microservice",
                "atomic",
                r#"{"entity_name":"carol","entity_type":"user","operations":[
            {"operation":"add","attribute":"irods::omero::user","value":"alice"}]}"#,
            ],
            "zone:",
        ),
    ] {
        refused(&zone, &words, part);
    }
    // Whose data it is is said by who made it, not by who may have it.
    let path = format!("{run}/a.tif");
    zone.does("carol", &["put", &zone.image("a.tif"), &path]);
    zone.does("carol", &["chmod", "own", "alice", &path]);
    let _delay = zone.delay_server();
    zone.wait_for(&path, "imported");
    assert_eq!(images(&zone), [("carol".to_owned(), "run".to_owned())]);
}

#[test]
fn no_place_makes_her_data_alices() {
    let zone = zone();
    let image = zone.image("a.tif");
    let hers = format!("{CAROL}/alice");
    zone.does("carol", &["mkdir", &hers]);
    zone.does("carol", &["put", &image, &format!("{hers}/a.tif")]);
    for words in [
        vec!["mkdir", "/tempZone/home/scope/scopes/alice"],
        vec!["put", &image, "/tempZone/home/scope/scopes/a.tif"],
        vec!["mv", &hers, "/tempZone/home/scope/scopes"],
        vec!["rename", &hers, "/tempZone/home/scope/scopes/alice"],
        vec!["put", &image, "/tempZone/home/alice/a.tif"],
        vec!["put", &image, "/tempZone/home/carol/../alice/a.tif"],
    ] {
        refused(&zone, &words, "zone:");
    }
    // A place that alice has opened to her makes it no more alice's than before.
    zone.does("alice", &["mkdir", &format!("{ALICE}/shared")]);
    zone.does("alice", &["chmod", "write", "carol", &format!("{ALICE}/shared")]);
    let put = format!("{ALICE}/shared/a.tif");
    zone.does("carol", &["put", &image, &put]);
    let _delay = zone.delay_server();
    zone.wait_for(&put, "imported");
    zone.wait_for(&format!("{hers}/a.tif"), "imported");
    assert!(images(&zone).iter().all(|(owner, _)| owner == "carol"), "{:?}", images(&zone));
}

#[test]
fn no_link_shows_her_another_file() {
    let zone = zone();
    let image = zone.image("a.tif");
    let put = |user: &str, path: &str| zone.does(user, &["put", &image, path]);
    let [planted, climbing] = ["planted.tif", "climbing.tif"].map(|n| format!("{CAROL}/{n}"));
    put("carol", &planted);
    put("carol", &climbing);
    // As if she had an account on the server and could write where her part of the vault is.
    let secret = zone.path("outside/secret.tif");
    fs::copy(&image, &secret).unwrap();
    let exchange = |path: &str, target: &Path| {
        let file = in_vault(&zone, path);
        fs::remove_file(&file).unwrap();
        symlink(target, file).unwrap();
    };
    let in_alices_vault = {
        let file = in_vault(&zone, &planted);
        file.parent().unwrap().parent().unwrap().join("alice/secret.tif")
    };
    fs::create_dir_all(in_alices_vault.parent().unwrap()).unwrap();
    fs::copy(&image, &in_alices_vault).unwrap();
    exchange(&planted, &in_alices_vault);
    exchange(&climbing, &secret);
    // Registered: a link, what is behind one, and what is outside.
    symlink(&secret, zone.path("opened/link.tif")).unwrap();
    symlink(zone.path("outside"), zone.path("opened/out")).unwrap();
    let [linked, behind, outside] =
        ["linked.tif", "behind.tif", "outside.tif"].map(|n| format!("{CAROL}/{n}"));
    zone.does("carol", &["chmod", "own", "rods", CAROL]);
    for (path, file) in
        [(&linked, "opened/link.tif"), (&behind, "opened/out/secret.tif"), (&outside, "outside/secret.tif")]
    {
        zone.does("rods", &["reg", zone.path(file).to_str().unwrap(), path]);
    }
    zone.admin(&[
        "sql",
        "update R_DATA_MAIN set data_owner_name = 'carol' where data_name like '%d.tif' or 1",
    ]);
    let _delay = zone.delay_server();
    not_imported(
        &zone,
        &[
            (&planted, "failed", "symbolic link"),
            (&climbing, "failed", "symbolic link"),
            (&linked, "failed", "symbolic link"),
            (&behind, "failed", "symbolic link"),
            (&outside, "skipped", "OMERO cannot see the data where it is"),
        ],
    );
}

#[test]
fn no_file_of_another_size_is_taken_for_hers() {
    let zone = zone();
    let path = format!("{CAROL}/a.tif");
    zone.does("carol", &["put", &zone.image("a.tif"), &path]);
    fs::write(in_vault(&zone, &path), "another file").unwrap();
    let _delay = zone.delay_server();
    not_imported(&zone, &[(&path, "pending", "the catalog of iRODS says")]);
}

#[test]
fn no_name_is_read_as_something_else() {
    let zone = zone();
    let image = zone.image("a.tif");
    let secret = zone.path("outside/secret.tif");
    fs::copy(&image, &secret).unwrap();
    let line = format!("{CAROL}/a.tif\n{}", secret.to_str().unwrap().replace('/', "\u{2215}"));
    let blank = format!("{CAROL}/b.tif ");
    zone.does("carol", &["put", &image, &line]);
    zone.does("carol", &["put", &image, &blank]);
    let _delay = zone.delay_server();
    not_imported(&zone, &[(&line, "failed", "a line break"), (&blank, "failed", "ends with a blank")]);
    // And what can be imported goes where its name says, as hers.
    for collection in ["Dataset:id:1", "--target=Dataset:id:1", "x' or 1=1 --", "regex:.*", "$(id)"] {
        let collection = format!("{CAROL}/{collection}");
        zone.does("carol", &["mkdir", &collection]);
        zone.does("carol", &["put", &image, &format!("{collection}/-Dx.tif")]);
        zone.wait_for(&format!("{collection}/-Dx.tif"), "imported");
    }
    let mut datasets: Vec<String> = images(&zone).into_iter().map(|(_, dataset)| dataset).collect();
    datasets.sort();
    assert_eq!(datasets, ["$(id)", "--target=Dataset;id;1", "Dataset;id;1", "regex;.*", "x' or 1=1 --"]);
    assert!(images(&zone).iter().all(|(owner, _)| owner == "carol"));
}

#[test]
fn no_template_leads_her_into_alices_dataset() {
    let zone = zone();
    let image = zone.image("a.tif");
    let mine = format!("{ALICE}/hers");
    zone.does("alice", &["mkdir", &mine]);
    zone.does("alice", &["put", &image, &format!("{mine}/a.tif")]);
    let _delay = zone.delay_server();
    zone.wait_for(&format!("{mine}/a.tif"), "imported");
    for (n, value) in ["x/Dataset:id:1", "none/Dataset:name:hers", "{omero_user}", "\n"].iter().enumerate() {
        let collection = format!("{CAROL}/hers{n}");
        zone.does("carol", &["mkdir", &collection]);
        zone.does("carol", &["meta", "add", "-C", &collection, "project", value]);
        zone.does("carol", &["put", &image, &format!("{collection}/a.tif")]);
        zone.wait_for(&format!("{collection}/a.tif"), "imported");
    }
    let all = images(&zone);
    assert_eq!(all.iter().filter(|(_, dataset)| dataset == "hers").count(), 1, "{all:?}");
    assert_eq!(all.iter().filter(|(owner, _)| owner == "alice").count(), 1, "{all:?}");
}

#[test]
fn no_rule_text_lets_her_ask_or_act_for_alice() {
    let zone = zone();
    let path = format!("{CAROL}/a.tif");
    zone.does("carol", &["put", &zone.image("a.tif"), &path]);
    let id = zone.admin(&["sql", &format!("select coll_id from R_COLL_MAIN where coll_name = '{CAROL}'")]);
    let rule = |text: &Value| vec!["rule".to_owned(), "-r".to_owned(), INSTANCE.to_owned(), text.to_string()];
    let who = rule(&json!({"operation": "who", "user": "alice#tempZone"}));
    refused(&zone, &who.iter().map(String::as_str).collect::<Vec<_>>(), "only an administrator");
    for text in [
        json!({"operation": "sweep", "collection": id.trim(), "user": "alice#tempZone", "owner": "alice"}),
        json!({"operation": "mark", "collection": id.trim(), "user": "alice#tempZone"}),
        json!({"operation": "sweep_stage", "collection": id.trim(), "resource": "demoResc", "user": "alice"}),
    ] {
        // It does what is to be done anyway, as whom the data belongs to.
        let words = rule(&text);
        zone.act("carol", &words.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let _delay = zone.delay_server();
    zone.wait_for(&path, "imported");
    assert_eq!(images(&zone), [("carol".to_owned(), "carol".to_owned())]);
    // Nor do the secrets of the plugin stand anywhere she can read.
    let queue = zone.does("carol", &["qstat"]);
    assert!(!queue.contains("secret of the importer") && !zone.log().contains("secret of the importer"));
}

/// Her agent answers whatever she sends, and goes on: no depth, length or pattern ends it or holds it up.
#[test]
fn nothing_she_sends_along_ends_her_agent() {
    let zone = zone();
    let path = format!("{CAROL}/a.tif");
    let many = |part: &str| part.repeat(100_000);
    let deep = format!("{{\"operations\":{}", many("["));
    let verbs = [
        json!(["put", zone.image("a.tif"), path]),
        json!(["atomic", deep]),
        json!(["atomic", format!("{{\"entity_name\":\"{}\",\"operations\":[]}}", many("/a"))]),
        json!(["along", many(";"), "open", "-r", path]),
        json!(["along", many("\\"), "open", "-r", path]),
        json!(["meta", "cp", "-d", "-d", many("/a"), path]),
        json!(["meta", "mod", "-d", path, many("%"), "x", format!("n:{}", many("_"))]),
        json!(["meta", "rmi", "-d", path, many("9")]),
        json!(["meta", many("rmw"), "-d", path, "%"]),
        json!(["rule", "-r", INSTANCE, format!("{{\"operation\":{}", many("["))]),
        json!(["rule", "-r", INSTANCE, format!("{{\"operation\":\"status\",\"{}\":1}}", "x".repeat(50_000))]),
        json!(["ls", CAROL]),
    ];
    let answers = zone.script("carol", &verbs);
    assert_eq!(answers.len(), verbs.len(), "her agent ended after {} answers", answers.len());
    assert!(answers.first().is_some_and(|a| a["code"] == 0), "{:?}", answers.first());
    assert!(answers.last().is_some_and(|a| a["code"] == 0), "{:?}", answers.last());
    // What could not be read was refused, and no line of the log is as long as what she sent.
    assert_eq!(answers[1]["code"], -830_000, "{}", answers[1]);
    let of_ours = |l: &&str| l.contains("omero: ");
    assert!(zone.log().lines().filter(of_ours).all(|l| l.len() < 5_000));
    assert!(!zone.log().contains("act=panic"));
}

/// The queue's column of owners has names without zones.
#[test]
fn a_user_of_another_zone_called_as_the_service_account_has_no_job_of_ours() {
    let zone = TestZone::new();
    for text in [r#"{"operation":"sweep_all"}"#, r#"{"operation":"sweep","collection":"99999999"}"#] {
        zone.admin(&["queue", "--in", "3600", "--count", "200", "--instance", INSTANCE, text]);
    }
    let queued = || {
        let status = zone.does("rods", &["rule", "-r", INSTANCE, r#"{"operation":"status"}"#]);
        let status: Value = serde_json::from_str(status.trim()).unwrap();
        status["queue"]["length"].as_u64().unwrap()
    };
    assert_eq!(queued(), 400);
    let of_other = r#"replace(exe_context, '"zone":"tempZone"', '"zone":"otherZone"')"#;
    zone.admin(&["sql", &format!("update R_RULE_EXEC set exe_context = {of_other}")]);
    assert_eq!(queued(), 0);
    let path = format!("{ALICE}/a.tif");
    zone.does("alice", &["put", &zone.image("a.tif"), &path]);
    assert!(queued() >= 2, "a sweep of ours, and a look for marks");
}
