//! What the agent does when OMERO, its repository or a directory is of no use, and how it is taken out of service.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use support::{TOKEN, TestAgent, outcomes, request, wait_until};

/// Submits so many jobs of one file, each of another user; gives their names.
fn submit_many(agent: &TestAgent, jobs: usize) -> Vec<String> {
    let image = agent.image("a.tif");
    let submit = |n: usize| {
        let mut body = agent.body(&format!("k{n}"), n, std::slice::from_ref(&image));
        body["user"] = json!(format!("user{n}"));
        agent.submit(&body)
    };
    (1..=jobs).map(submit).collect()
}

fn checks(agent: &TestAgent) -> Vec<Value> {
    let checks = agent.get("/readyz").json()["checks"].as_array().unwrap().clone();
    checks.into_iter().filter(|check| check["ok"] == false).collect()
}

#[test]
fn a_password_that_cannot_be_used_closes_the_server_for_all_jobs_and_a_probe_opens_it() {
    let mut agent = TestAgent::new();
    agent.config["limits"]["imports"] = json!(1);
    agent.config["limits"]["retry_wait_in_seconds"] = json!(3_600);
    let password = agent.omero.password_file.clone();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o644)).unwrap();
    agent.start();
    let ids = submit_many(&agent, 20);
    wait_until("the server is closed", || agent.log().contains("act=\"close\"").then_some(()));
    let held = wait_until("a job says why it is held", || {
        let job = agent.job(&ids[19]);
        job["reason"].as_str().filter(|r| r.contains("chmod 0600")).map(str::to_owned)
    });
    assert!(held.contains("password file"), "{held}");
    let tried = ids.iter().filter(|id| agent.job(id)["attempts"].as_u64() > Some(0)).count();
    assert!(tried <= 2, "one finds out for all: {tried} were tried");
    assert!(agent.get("/metrics").body.contains("agent_omero_reachable{server=\"main\"} 0"));
    assert!(checks(&agent).iter().any(|c| c["name"] == "password of main"));
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    wait_until("the server is opened", || agent.log().contains("act=\"open\"").then_some(()));
}

#[test]
fn a_repository_that_cannot_be_written_closes_the_server_before_each_job_fails_of_it() {
    let mut agent = TestAgent::new();
    let repository = agent.dir.path().join("no repository");
    agent.config["omero"][0]["managed_repository"] = json!(repository);
    agent.config["limits"]["imports"] = json!(1);
    agent.config["limits"]["retry_wait_in_seconds"] = json!(3_600);
    agent.start();
    agent.omero.admin(&["fault", "set", "repository-not-writable"]);
    let image = agent.image("a.tif");
    let ids: Vec<String> = (1..=10)
        .map(|n| agent.submit(&agent.body(&format!("k{n}"), n, std::slice::from_ref(&image))))
        .collect();
    wait_until("the server is closed", || agent.log().contains("act=\"close\"").then_some(()));
    let tried = ids.iter().filter(|id| agent.job(id)["attempts"].as_u64() > Some(0)).count();
    assert!(tried <= 2, "one finds out for all: {tried} were tried");
    assert!(checks(&agent).iter().any(|c| c["name"] == "repository of main"));
    agent.omero.admin(&["fault", "clear"]);
    fs::create_dir(&repository).unwrap();
    for id in &ids {
        assert_eq!(outcomes(&agent.wait_for(id, "done")), ["imported"]);
    }
    assert_eq!(agent.job(&ids[0])["reason"], Value::Null);
}

/// The command `agent drain` of an agent.
fn drain(agent: &TestAgent, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_irods-omero"));
    command.args(["agent", "drain", "--config"]).arg(agent.dir.path().join("agent.toml")).args(words);
    command
}

#[test]
fn a_drained_agent_finishes_what_runs_takes_nothing_new_and_goes_on_when_told() {
    let agent = TestAgent::started();
    let gate = agent.dir.path().join("gate");
    let until = gate.to_str().unwrap();
    agent.omero.admin(&[
        "fault",
        "set",
        "gate",
        "--command",
        "import",
        "--times",
        "1",
        "--where",
        "before-transfer",
        "--until",
        until,
    ]);
    let image = agent.image("a.tif");
    let running = agent.submit(&agent.body("k1", 1, std::slice::from_ref(&image)));
    wait_until("the gate is reached", || gate.with_extension("reached").exists().then_some(()));
    // It has a file in common with the one that runs, so that it is queued.
    let queued = agent.submit(&agent.body("k2", 1, std::slice::from_ref(&image)));
    let asked = drain(&agent, &["--no-wait"]).output().unwrap();
    assert!(asked.status.success(), "{asked:?}");
    assert!(String::from_utf8_lossy(&asked.stdout).contains("jobs run"), "{asked:?}");
    // The agent is asked by a signal, so that it may still take one or two.
    let mut number = 3;
    let refused = wait_until("nothing is taken", || {
        number += 1;
        let body = agent.body(&format!("k{number}"), 3, std::slice::from_ref(&image)).to_string();
        let answer = agent.send(&request("POST", "/v1/jobs", Some(TOKEN), &body));
        (answer.status == 503).then_some(answer)
    });
    assert!(refused.head.to_lowercase().contains("retry-after"), "{refused:?}");
    assert!(checks(&agent).iter().any(|c| c["name"] == "drain"));
    let mut waiting = drain(&agent, &[]).spawn().unwrap();
    assert!(waiting.try_wait().unwrap().is_none());
    fs::write(&gate, "").unwrap();
    assert!(waiting.wait().unwrap().success());
    assert_eq!(
        (agent.job(&running)["state"].as_str(), agent.job(&queued)["state"].as_str()),
        (Some("done"), Some("queued"))
    );
    assert!(drain(&agent, &["--undo"]).status().unwrap().success());
    assert_eq!(outcomes(&agent.wait_for(&queued, "done")), ["imported"]);
    agent.submit(&agent.body("k3", 3, std::slice::from_ref(&image)));
}

#[test]
fn an_agent_that_does_not_run_cannot_be_drained() {
    let mut agent = TestAgent::started();
    agent.terminate();
    let said = drain(&agent, &[]).output().unwrap();
    let complaint = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success() && complaint.contains("no agent runs"), "{complaint}");
}

#[test]
fn the_journal_says_who_submitted_tried_again_and_cancelled_what() {
    let mut agent = TestAgent::new();
    agent.omero_down();
    agent.start();
    let id = agent.submit(&agent.body("k", 1, &[agent.image("a.tif")]));
    agent.post(&format!("/v1/jobs/{id}/retry"), &Value::Null);
    agent.post(&format!("/v1/jobs/{id}/cancel"), &Value::Null);
    let log = agent.log();
    for act in ["submit", "retry", "cancel"] {
        let line = log.lines().find(|l| l.contains(&format!("act=\"{act}\"")) && l.contains(&id));
        assert!(line.is_some_and(|l| l.contains("caller-of-z")), "{act}: {log}");
    }
}

#[test]
fn the_numbers_an_operator_asks_for_are_there() {
    let agent = TestAgent::started();
    let id = agent.submit(&agent.body("k", 1, &[agent.image("a.tif")]));
    agent.wait_for(&id, "done");
    let metrics = agent.get("/metrics").body;
    let (state, vault) = (agent.state().display().to_string(), agent.vault.display().to_string());
    for line in [
        "irods_omero_agent_runs_total{state=\"done\",cause=\"done\"} 1".to_owned(),
        "irods_omero_agent_oldest_queued_seconds 0".to_owned(),
        "irods_omero_agent_draining 0".to_owned(),
        "irods_omero_agent_phase_seconds_count{phase=\"queued\"} 1".to_owned(),
        "irods_omero_agent_phase_seconds_count{phase=\"running\"} 1".to_owned(),
        format!("irods_omero_agent_free_bytes{{directory=\"{state}\"}} "),
        format!("irods_omero_agent_hung{{directory=\"{vault}\"}} 0"),
    ] {
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    let last = metrics.lines().find_map(|l| l.strip_prefix("irods_omero_agent_last_success_timestamp "));
    assert!(last.unwrap().parse::<u64>().unwrap() > 1_700_000_000, "{metrics}");
}

#[test]
fn what_the_first_plugin_sent_is_taken_and_what_a_newer_one_adds_is_named() {
    let mut agent = TestAgent::new();
    agent.omero_down();
    agent.start();
    let body = agent.body("k", 1, &[agent.image("a.tif")]);
    assert_eq!(agent.post("/v1/jobs", &body).status, 201);
    let mut newer = agent.body("k2", 2, &[agent.vault.join("a.tif")]);
    newer["of_a_later_version"] = json!(true);
    let answer = agent.post("/v1/jobs", &newer);
    assert_eq!(answer.status, 400);
    assert!(answer.json()["detail"].as_str().unwrap().contains("of_a_later_version"), "{answer:?}");
}

/// What `agent --check --as USER` says, line by line, and whether it found nothing wrong.
fn check_as(agent: &TestAgent, user: &str) -> (bool, String) {
    let config = agent.write_config();
    let mut command = Command::new(env!("CARGO_BIN_EXE_irods-omero"));
    // As the service does: what an importer makes is open to the group.
    command.args(["agent", "--check", "--as", user, "--config"]).arg(config);
    let said = command.output().unwrap();
    (said.status.success(), String::from_utf8_lossy(&said.stdout).into_owned())
}

#[test]
fn before_the_first_import_a_check_does_all_but_the_import_and_says_what_is_missing() {
    let mut agent = TestAgent::new();
    let repository = agent.dir.path().join("repository");
    fs::create_dir(&repository).unwrap();
    agent.config["omero"][0]["managed_repository"] = json!(repository);
    let wrong = |said: &str| -> Vec<String> {
        let lines =
            said.lines().filter_map(|line| line.strip_prefix("wrong  ")).filter(|l| !l.starts_with("umask"));
        lines.map(str::to_owned).collect()
    };
    let (_, said) = check_as(&agent, "alice");
    assert_eq!(wrong(&said), [""; 0], "{said}");
    for name in
        ["session in main for alice", "forecast of main", "repository of main", "work directory of main"]
    {
        assert!(said.contains(&format!("ok     {name}")), "{name}: {said}");
    }
    assert_eq!(
        (agent.omero.sessions().len(), agent.omero.count("filesets")),
        (0, 0),
        "nothing is left or imported"
    );
    assert_eq!(fs::read_dir(&repository).unwrap().count(), 0);

    // Each fault with its remedy, and with no other.
    for (fault, remedy) in [
        ("wrong-password", "refuses the password"),
        ("sudo-refused", "the privilege Sudo"),
        ("server-down", "cannot be reached"),
    ] {
        agent.omero.admin(&["fault", "set", fault]);
        let (fine, said) = check_as(&agent, "alice");
        let found = wrong(&said);
        assert!(!fine && found.len() == 1 && found[0].contains(remedy), "{fault}: {said}");
        assert!(!said.contains("secret of the importer"), "{said}");
        agent.omero.admin(&["fault", "clear"]);
    }
    agent.config["omero"][0]["managed_repository"] = json!(agent.dir.path().join("none"));
    assert!(wrong(&check_as(&agent, "alice").1)[0].contains("SupplementaryGroups="));
    let (fine, said) = check_as(&agent, "mallory");
    assert!(!fine && said.contains("[users]"), "{said}");
}

#[test]
fn a_deep_look_over_http_is_for_whoever_may_operate() {
    let agent = TestAgent::started();
    let deep = |token| agent.send(&request("GET", "/readyz?deep=alice", token, ""));
    assert_eq!(deep(None).status, 401);
    let found = deep(Some(TOKEN)).json()["checks"].to_string();
    assert!(found.contains("session in main for alice") && found.contains("forecast of main"), "{found}");
    assert_eq!(agent.send(&request("GET", "/readyz?deep=-x%0a", Some(TOKEN), "")).status, 400);
    assert_eq!(agent.send(&request("GET", "/readyz", None, "")).status, 200);
}
