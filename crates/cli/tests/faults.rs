//! The world at its worst: full disks, commands that leave something behind, callers that read nothing, and several
//! OMERO servers of which one is away.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::json;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use support::omero::TestOmero;
use support::{PATIENCE, TOKEN, TestAgent, outcomes, request, wait_until};

#[test]
fn what_the_command_leaves_behind_is_ended_with_its_run() {
    let mut agent = TestAgent::new();
    let (command, left) = (agent.dir.path().join("leaving-omero"), agent.dir.path().join("left"));
    // As a Java that nobody waits for, and that does not end when it is asked to.
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = import ]; then\n  sh -c 'trap \"\" TERM; echo $$ > {}; while :; do sleep 60; done' &\n\
         fi\nexec {} \"$@\"\n",
        left.display(),
        agent.omero.command.display()
    );
    fs::write(&command, script).unwrap();
    fs::set_permissions(&command, fs::Permissions::from_mode(0o755)).unwrap();
    agent.config["omero"][0]["importer"]["command"] = json!(command);
    agent.start();
    let id = agent.submit(&agent.body("k", 1, &[agent.image("a.tif")]));
    assert_eq!(outcomes(&agent.wait_for(&id, "done")), ["imported"]);
    let pid = fs::read_to_string(&left).unwrap();
    wait_until("it is gone", || match fs::read_to_string(format!("/proc/{}/stat", pid.trim())) {
        Ok(stat) => stat.contains(") Z").then_some(()),
        Err(_) => Some(()),
    });
}

#[test]
fn a_caller_that_does_not_read_its_answer_is_cut_off() {
    let mut agent = TestAgent::new();
    agent.config["limits"]["header_timeout_in_seconds"] = json!(1);
    agent.omero_down();
    agent.start();
    // More than a socket takes that nobody reads.
    let path = [agent.image("a.tif")];
    for n in 0..3 {
        let mut body = agent.body(&format!("k{n}"), 1, &path);
        let file = body["files"][0].clone();
        body["files"] = (1..3).map(|_| file.clone()).collect();
        body["files"][1]["subject"] = json!("d2");
        agent.submit(&body);
    }
    let mut silent = agent.connect().unwrap();
    silent.set_write_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..2_000 {
        // One after the other on one connection, of which no answer is read.
        let asked = request("GET", "/v1/jobs", Some(TOKEN), "").replace("Connection: close\r\n", "");
        if silent.write_all(asked.as_bytes()).is_err() {
            break;
        }
    }
    let connections = || {
        let metrics = agent.get("/metrics").body;
        let line =
            metrics.lines().find(|l| l.starts_with("irods_omero_agent_connections ")).unwrap().to_owned();
        line.rsplit(' ').next().unwrap().parse::<u32>().unwrap()
    };
    // That of the question itself is left.
    wait_until("it is cut off", || (connections() == 1).then_some(()));
}

#[test]
fn a_job_goes_to_the_omero_server_it_names_and_one_that_is_away_holds_up_no_other() {
    let mut agent = TestAgent::new();
    let dir = agent.dir.path().join("second");
    fs::create_dir(&dir).unwrap();
    let second = TestOmero::new(&dir);
    let mut importer = second.importer_json();
    importer.as_object_mut().unwrap().remove("mode");
    let mut other = agent.config["omero"][0].clone();
    other["name"] = json!("second");
    other["password_file"] = json!(second.password_file);
    other["importer"] = importer;
    agent.config["omero"].as_array_mut().unwrap().push(other);
    agent.start();
    let submit = |number: usize, server: &str| {
        let mut body =
            agent.body(&format!("{server}{number}"), number, &[agent.image(&format!("{number}.tif"))]);
        body["server"] = json!(server);
        agent.submit(&body)
    };
    for (number, server) in [(1, "main"), (2, "second"), (3, "second")] {
        let done = agent.wait_for(&submit(number, server), "done");
        assert_eq!((done["server"].as_str(), outcomes(&done)), (Some(server), vec!["imported"]));
    }
    assert_eq!((agent.omero.count("images"), second.count("images")), (1, 2));
    let mut nameless = agent.body("k", 9, &[agent.vault.join("1.tif")]);
    let refused = agent.post("/v1/jobs", &nameless);
    assert_eq!((refused.status, refused.json()["pointer"].as_str()), (422, Some("/server")));
    nameless["server"] = json!("third");
    assert_eq!(agent.post("/v1/jobs", &nameless).status, 422);

    agent.omero.admin(&["fault", "set", "server-down"]);
    agent.omero.admin(&["session", "expire", "--all"]);
    let waits = submit(4, "main");
    agent.wait_for(&waits, "waiting");
    assert_eq!(outcomes(&agent.wait_for(&submit(5, "second"), "done")), ["imported"]);
    agent.omero.admin(&["fault", "clear"]);
    assert_eq!(outcomes(&agent.wait_for(&waits, "done")), ["imported"]);
    assert_eq!((agent.omero.count("images"), second.count("images")), (2, 3));
}

#[test]
fn a_disk_that_is_full_at_any_write_loses_nothing_that_was_answered_and_imports_nothing_twice() {
    let mut agent = TestAgent::new();
    agent.start();
    let first = agent.submit(&agent.body("first", 1, &[agent.image("first.tif")]));
    agent.wait_for(&first, "done");
    let mut images = 1;
    let mut taken = Vec::new();
    // From less than the queue has to more than it needs: what cannot be written is the queue's log, the queue, the
    // work directory's files, OMERO's, the journal, in turn.
    let mut refused = 0;
    for kilobytes in [4, 64].into_iter().chain((100..360).step_by(20)) {
        agent.kill();
        fs::remove_file(agent.dir.path().join("agent.log")).unwrap();
        let key = format!("k{kilobytes}");
        let image = agent.image(&format!("{key}.tif"));
        let body = agent.body(&key, 10 + kilobytes, &[image]);
        if agent.start_with_largest_file(kilobytes) {
            let answer = agent.try_send(&request("POST", "/v1/jobs", Some(TOKEN), &body.to_string()));
            match answer.map(|a| a.status) {
                Some(201) => taken.push(key),
                Some(status) => {
                    assert!([500, 503].contains(&status), "{status}");
                    refused += 1;
                }
                None => refused += 1,
            }
            // What was begun comes as far as it can: to its end, or to what cannot be noted of it.
            wait_until("nothing goes on", || {
                let answer =
                    agent.try_send(&request("GET", "/v1/jobs?state=running,queued", Some(TOKEN), ""));
                let is_idle = answer.is_some_and(|a| a.status != 200 || a.json()["jobs"] == json!([]));
                (is_idle || agent.log().contains("cannot be used")).then_some(())
            });
        } else {
            refused += 1;
        }
    }
    agent.kill();
    agent.start();
    assert_eq!(agent.job(&first)["state"], "done");
    for key in &taken {
        let job = agent.get(&format!("/v1/jobs?key={key}")).json();
        let id = job["id"].as_str().unwrap();
        let done = wait_until("it is done", || Some(agent.job(id)).filter(|j| j["state"] == "done"));
        assert_eq!(outcomes(&done), ["imported"], "{key}: {done}");
        images += 1;
    }
    assert!(refused > 0 && !taken.is_empty(), "{refused} {taken:?}");
    assert_eq!(agent.omero.count("images"), images);
}

#[test]
fn a_journal_that_takes_nothing_costs_only_what_would_stand_in_it() {
    let mut agent = TestAgent::new();
    agent.journal = "/dev/full".into();
    agent.start();
    let done = agent.wait_for(&agent.submit(&agent.body("k", 1, &[agent.image("a.tif")])), "done");
    assert_eq!((outcomes(&done), done["attempts"].as_u64()), (vec!["imported"], Some(1)));
    assert!(agent.terminate().success());
}

#[test]
fn a_work_directory_that_cannot_be_written_has_jobs_wait_with_the_reason() {
    let agent = TestAgent::started();
    let (mode, work) = (|mode| fs::Permissions::from_mode(mode), &agent.omero.work);
    fs::create_dir(work).unwrap();
    fs::set_permissions(work, mode(0o500)).unwrap();
    let id = agent.submit(&agent.body("k", 1, &[agent.image("a.tif")]));
    let reason = agent.wait_for(&id, "waiting")["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("cannot use the importer's work directory"), "{reason}");
    fs::set_permissions(work, mode(0o700)).unwrap();
    assert_eq!(outcomes(&agent.wait_for(&id, "done")), ["imported"]);
}
