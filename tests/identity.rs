//! Whose OMERO user is who, in a (stand-in) zone with the real library: AVUs on users and groups, a service account,
//! the question `who`, and what an ordinary user can do about any of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::{Value, json};
use support::zone::{INSTANCE, TestZone};

const HOME: &str = "/tempZone/home";
const SCOPES: &str = "/tempZone/home/scope/scopes";

/// A zone in which AVUs decide, with a microscope's account and a group `lab1`.
fn zone() -> TestZone {
    let zone = TestZone::with(|c| {
        c["users"] = json!({
            "same_name": ["otherZone"],
            "on_behalf_of": [{"account": "scope#tempZone", "from": "collection_avu"},
                             {"account": "scope#tempZone", "from": "path", "below": SCOPES, "zone": "tempZone"}],
        });
    });
    zone.admin(&["user", "add", "scope"]);
    zone.admin(&["group", "add", "lab1"]);
    for user in ["alice", "bob"] {
        zone.admin(&["group", "member", "lab1", user]);
    }
    for words in [
        ["meta", "add", "-u", "alice", "irods::omero::user", "alice"],
        ["meta", "add", "-u", "lab1", "irods::omero::user", "carol"],
    ] {
        zone.does("rods", &words);
    }
    zone
}

fn who(zone: &TestZone, client: &str, question: &Value) -> Result<Value, String> {
    let seen = zone.act(client, &["rule", "-r", INSTANCE, &question.to_string()]);
    let told = format!("{}{}", seen.output, seen.error);
    if seen.ok { Ok(serde_json::from_str(seen.output.trim()).unwrap()) } else { Err(told) }
}

#[test]
fn avus_on_users_and_groups_and_a_service_accounts_persons_decide_as_whom_data_is_imported() {
    let zone = zone();
    let image = zone.image("a.tif");
    zone.does("scope", &["mkdir", SCOPES]);
    for person in ["alice", "nobody"] {
        zone.does("scope", &["mkdir", &format!("{SCOPES}/{person}")]);
        zone.does("scope", &["put", &image, &format!("{SCOPES}/{person}/a.tif")]);
    }
    zone.does("alice", &["put", &image, &format!("{HOME}/alice/a.tif")]);
    zone.does("bob", &["put", &image, &format!("{HOME}/bob/a.tif")]);
    zone.does("carol", &["put", &image, &format!("{HOME}/carol/a.tif")]);
    let _delay = zone.delay_server();
    for (path, owner, by, person) in [
        (format!("{HOME}/alice/a.tif"), "alice", "avu on user", "alice#tempZone"),
        (format!("{HOME}/bob/a.tif"), "carol", "avu on group lab1", "bob#tempZone"),
        (format!("{SCOPES}/alice/a.tif"), "alice", "avu on user", "alice#tempZone"),
    ] {
        zone.wait_for(&path, "imported");
        assert_eq!(zone.told("-d", &path, "by"), Some(format!("{by} for {person}")), "{path}");
        assert_eq!(zone.value(&path, "owner").as_deref(), Some(owner), "{path}");
    }
    for (path, part) in [
        (format!("{HOME}/carol/a.tif"), "imeta add -u carol#tempZone irods::omero::user NAME"),
        (format!("{SCOPES}/nobody/a.tif"), "nobody#tempZone, who is no user of the iRODS catalog"),
    ] {
        zone.wait_for(&path, "skipped");
        let reason = zone.value(&path, "reason").unwrap();
        assert!(reason.contains(part), "{path}: {reason}");
    }
    // Once there is an AVU the data is looked at again, without anybody's asking for it.
    zone.does("rods", &["meta", "add", "-u", "carol", "irods::omero::user", "carol"]);
    let path = format!("{HOME}/carol/a.tif");
    zone.wait_until("carol's data is imported", |z| z.value(&path, "state").as_deref() == Some("imported"));
    assert_eq!(zone.errors(), Vec::<String>::new());
}

#[test]
fn who_tells_users_about_themselves_and_administrators_about_anybody() {
    let zone = zone();
    let about = |user: &str| json!({"operation": "who", "user": format!("{user}#tempZone")});
    let own = who(&zone, "bob", &about("bob")).unwrap();
    assert_eq!((&own["omero_user"], &own["mapped_by"]), (&json!("carol"), &json!("avu on group lab1")));
    assert!(own["steps"][0].as_str().unwrap().starts_with("avu: bob#tempZone is 'carol'"), "{own}");
    assert_eq!(who(&zone, "rods", &about("alice")).unwrap()["omero_user"], "alice");
    let refused = who(&zone, "bob", &about("alice")).unwrap_err();
    assert!(refused.contains("-830000") && refused.contains("only an administrator"), "{refused}");
    let account = about("scope");
    assert!(
        who(&zone, "scope", &account).unwrap()["reason"].as_str().unwrap().contains("depends on the path")
    );
    let mut at = account;
    at["path"] = json!(format!("{SCOPES}/alice/a.tif"));
    assert_eq!(who(&zone, "scope", &at).unwrap()["person"], "alice#tempZone");
    at["path"] = json!(format!("{HOME}/scope/a.tif"));
    assert_eq!(who(&zone, "scope", &at).unwrap()["omero_user"], Value::Null);
}

#[test]
fn nobody_but_an_administrator_says_who_somebody_is() {
    let zone = zone();
    zone.does("alice", &["mkdir", &format!("{HOME}/alice/x")]);
    for words in [
        vec!["meta", "add", "-u", "bob", "irods::omero::user", "alice"],
        vec!["meta", "add", "-u", "lab1", "irods::omero::user", "alice"],
        vec!["meta", "add", "-C", "/tempZone/home/alice/x", "irods::omero::on_behalf_of", "carol"],
        vec!["meta", "set", "-u", "bob", "irods::omero::user", "alice"],
    ] {
        for user in ["alice", "bob"] {
            assert!(!zone.act(user, &words).ok, "{user} {words:?}");
        }
    }
    let about = json!({"operation": "who", "user": "bob#tempZone"});
    assert_eq!(who(&zone, "bob", &about).unwrap()["omero_user"], "carol");
}

/// A rule text may call a microservice that no enforcement point hears, so where an ordinary user may set AVUs the AVU
/// is not believed.
#[test]
fn a_service_accounts_data_in_somebodys_collection_is_not_that_persons_to_give_away() {
    let zone = zone();
    let place = format!("{HOME}/carol/scope");
    zone.does("carol", &["mkdir", &place]);
    zone.does("carol", &["chmod", "write", "scope", &place]);
    let atomic = json!({"entity_name": place, "entity_type": "collection", "operations": [
        {"operation": "add", "attribute": "irods::omero::on_behalf_of", "value": "alice"}]});
    zone.does("carol", &["microservice", "atomic", &atomic.to_string()]);
    let path = format!("{place}/a.tif");
    zone.does("scope", &["put", &zone.image("a.tif"), &path]);
    let _delay = zone.delay_server();
    zone.wait_for(&path, "skipped");
    let reason = zone.value(&path, "reason").unwrap();
    assert!(reason.contains("carol#tempZone may set AVUs on"), "{reason}");
    assert_eq!(zone.omero.count("filesets"), 0);
}
