//! What is shipped for Prometheus and Grafana asks for numbers that the agent has, and loads.

#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use support::{TestAgent, root};

fn shipped(name: &str) -> PathBuf {
    root().join("packaging/monitoring").join(name)
}

/// The numbers of the agent that a text asks for.
fn numbers(text: &str) -> BTreeSet<&str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_word(c)).filter(|word| word.starts_with("irods_omero_agent_")).collect()
}

#[test]
fn every_number_that_is_asked_for_is_one_the_agent_tells() {
    let agent = TestAgent::started();
    let id = agent.submit(&agent.body("k", 1, &[agent.image("a.tif")]));
    agent.wait_for(&id, "done");
    let told = agent.get("/metrics").body;
    let told = numbers(&told);
    for name in ["alerts.yml", "dashboard.json"] {
        let text = fs::read_to_string(shipped(name)).unwrap();
        let asked = numbers(&text);
        assert!(asked.len() > 5, "{name}");
        assert!(asked.is_subset(&told), "{name}: {:?}", asked.difference(&told));
    }
}

#[test]
fn the_alert_rules_load_and_fire_as_their_tests_say() {
    for words in [["check", "rules"].as_slice(), &["test", "rules"]] {
        let file = if words[0] == "check" { "alerts.yml" } else { "alerts_test.yml" };
        let said = Command::new("promtool").args(words).arg(shipped(file)).output();
        let said = said.unwrap_or_else(|e| panic!("promtool: {e}; script/bootstrap installs it"));
        assert!(said.status.success(), "{said:?}");
    }
    let check = Command::new("promtool")
        .args(["check", "config", "--syntax-only"])
        .arg(shipped("scrape.yml"))
        .output();
    assert!(check.as_ref().is_ok_and(|c| c.status.success()), "{check:?}");
}

#[test]
fn the_dashboard_is_one_and_every_panel_asks_the_chosen_source() {
    let text = fs::read_to_string(shipped("dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|p| p["id"].as_u64().unwrap()).collect();
    assert!(panels.len() >= 8 && ids.len() == panels.len());
    for panel in panels {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
        for target in panel["targets"].as_array().unwrap() {
            assert!(target["expr"].as_str().unwrap().contains("$instance"), "{target}");
        }
    }
}
