//! A configuration that is wrong, or that points at what is not there, is said once, and nothing is lost of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use support::zone::TestZone;

const PATH: &str = "/tempZone/home/alice/a.tif";

/// Changes the stanza that the server reads from now on.
fn change_stanza(zone: &TestZone, change: impl FnOnce(&mut Value)) {
    let path = zone.path("zone/config/server_config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut config["plugin_configuration"]["rule_engines"][0]["plugin_specific_configuration"]);
    fs::write(&path, config.to_string()).unwrap();
}

fn set_up(zone: &TestZone) -> Vec<String> {
    let log = zone.log();
    log.lines().filter(|l| l.contains(" error: ") && l.contains("act=setup")).map(str::to_owned).collect()
}

#[test]
fn jobs_wait_without_a_word_until_a_mistake_is_mended() {
    let zone = TestZone::new();
    zone.does("alice", &["put", &zone.image("a.tif"), PATH]);
    let job = || {
        let query = "select rule_name || ' ' || exe_time from R_RULE_EXEC where rule_name like '%\"sweep\"%'";
        zone.admin(&["sql", query]).trim().to_owned()
    };
    let (before, mut quiet_period) = (job(), Value::Null);
    assert!(before.contains("sweep"), "{before}");
    change_stanza(&zone, |stanza| {
        quiet_period = stanza["quiet_period_in_seconds"].take();
        stanza["quiet_period_in_seconds"] = json!("soon");
    });
    {
        let _delay = zone.delay_server();
        zone.wait_until("the job has left itself for later", |_| job() != before && !job().is_empty());
    }
    let errors = zone.errors();
    assert!(errors.iter().all(|l| l.contains("act=setup")), "{errors:?}");
    assert!(
        errors.iter().any(|l| l.contains("/quiet_period_in_seconds: must be a whole number")),
        "{errors:?}"
    );
    assert!(!zone.log().contains("error: delayed rule"), "{}", zone.log());
    change_stanza(&zone, |stanza| stanza["quiet_period_in_seconds"] = quiet_period);
    zone.admin(&["sql", "update R_RULE_EXEC set exe_time = '01600000000'"]);
    let _delay = zone.delay_server();
    zone.wait_for(PATH, "imported");
}

#[test]
fn what_the_configuration_points_at_and_is_not_usable_is_one_line_each_at_setup() {
    let zone = TestZone::with_dir(|dir, stanza| {
        fs::write(dir.join("password"), "secret").unwrap();
        fs::set_permissions(dir.join("password"), fs::Permissions::from_mode(0o644)).unwrap();
        stanza["omero"]["password_file"] = json!(dir.join("password"));
        stanza["importer"]["command"] = json!("/nonexistent/omero");
    });
    zone.does("alice", &["ls", "/tempZone/home/alice"]);
    let told = set_up(&zone);
    let one = |pointer: &str, part: &str| {
        let lines: Vec<_> = told.iter().filter(|l| l.contains(pointer)).collect();
        // Each server that starts says so once.
        assert!(!lines.is_empty() && lines.iter().all(|l| l.contains(part)), "{pointer}: {told:?}");
    };
    one("plugin_specific_configuration/omero/password_file: ", "chmod 0600");
    one("plugin_specific_configuration/importer/command: ", "name the 'omero' command");
    assert!(told.iter().all(|l| !l.contains("secret\"")));
}

#[test]
fn a_sound_installation_is_set_up_without_an_error() {
    let zone = TestZone::new();
    zone.does("alice", &["ls", "/tempZone/home/alice"]);
    assert_eq!(set_up(&zone), Vec::<String>::new());
}
