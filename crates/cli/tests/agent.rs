//! The agent over HTTP and the stand-in OMERO: what it answers, and what it imports.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;
use support::{Answer, OTHER_TOKEN, TOKEN, TestAgent, outcomes, request, wait_until};

#[test]
fn a_job_is_submitted_once_imported_and_told_of_in_the_feed() {
    let agent = TestAgent::started();
    let body = agent.body("k", 1, &[agent.image("a.tif"), agent.image("b c.tif")]);
    let id = agent.submit(&body);
    let again = agent.post("/v1/jobs", &body);
    assert_eq!((again.status, again.json()["id"].as_str()), (200, Some(id.as_str())));
    let mut other = body.clone();
    other["target"] = json!("Dataset:name:other");
    let conflict = agent.post("/v1/jobs", &other);
    assert_eq!((conflict.status, conflict.json()["pointer"].as_str()), (409, Some("/key")));
    assert!(conflict.head.contains("application/problem+json"), "{conflict:?}");

    let done = agent.wait_for(&id, "done");
    assert_eq!(outcomes(&done), ["imported", "imported"]);
    assert_eq!((done["files"].as_u64(), done["attempts"].as_u64()), (Some(2), Some(1)));
    assert_eq!(done["outcomes"][1]["subject"], "d2");
    assert!(done["outcomes"][0]["fileset"].is_string() && done["outcomes"][0]["images"][0].is_string());
    assert_eq!(agent.omero.count("filesets"), 2);
    let by_key = agent.get("/v1/jobs?key=k").json();
    assert_eq!((by_key["id"].as_str(), &by_key["outcomes"]), (Some(id.as_str()), &done["outcomes"]));
    assert_eq!(agent.get("/v1/jobs?key=none").status, 404);

    let detail = agent.job(&id);
    let history: Vec<&str> =
        detail["history"].as_array().unwrap().iter().map(|e| e["what"].as_str().unwrap()).collect();
    assert_eq!(history, ["submitted by caller-of-z", "started, attempt 1", "done"]);
    let log = detail["log"].as_str().unwrap();
    assert!(log.contains("IMPORT_DONE") && !log.contains("secret of the importer"), "{log}");
    let metrics = agent.get("/metrics").body;
    for line in ["agent_files_total{outcome=\"imported\"} 2", "agent_jobs{state=\"done\"} 1"] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[test]
fn jobs_are_listed_in_pages_without_outcomes() {
    let mut agent = TestAgent::new();
    agent.omero_down();
    agent.start();
    let paths = [agent.image("a.tif")];
    let ids: Vec<String> =
        (0..3).map(|n| agent.submit(&agent.body(&format!("k{n}"), n + 1, &paths))).collect();
    agent.post(&format!("/v1/jobs/{}/cancel", ids[2]), &Value::Null);
    // One that had just begun ends first.
    agent.wait_for(&ids[2], "cancelled");
    let list = |query: &str| {
        let page = agent.get(&format!("/v1/jobs?{query}")).json();
        let jobs = page["jobs"].as_array().unwrap().iter();
        (jobs.map(|j| j["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>(), page["before"].clone())
    };
    let (first, before) = list("limit=2");
    assert_eq!(first, [ids[2].clone(), ids[1].clone()]);
    assert_eq!(list(&format!("limit=2&before={}", before.as_str().unwrap())).0, [ids[0].clone()]);
    assert_eq!(list("state=cancelled,done").0, [ids[2].clone()]);
    // As iRODS asks an agent that it has not heard of for some time.
    assert_eq!(list("state=queued,running,waiting&limit=1000").0, [ids[1].clone(), ids[0].clone()]);
    assert_eq!(list("text=K1").0, [ids[1].clone()]);
    assert_eq!(list("zone=y").0, [""; 0]);
    for wrong in ["state=ended", "limit=0", "limit=1001", "colour=red", "limit=many"] {
        assert_eq!(agent.get(&format!("/v1/jobs?{wrong}")).status, 400, "{wrong}");
    }
}

#[test]
fn who_shows_no_token_or_a_wrong_one_learns_nothing_and_a_caller_sees_its_zone_only() {
    let agent = TestAgent::started();
    let id = agent.submit(&agent.body("k", 1, &[agent.image("a.tif")]));
    let paths =
        ["/v1/jobs".to_owned(), format!("/v1/jobs/{id}"), "/v1/changes".to_owned(), "/metrics".to_owned()];
    for path in &paths {
        for token in [None, Some("token of nobody we know of")] {
            let answer = agent.send(&request("GET", path, token, ""));
            assert_eq!(answer.status, 401, "{path}");
            assert!(answer.head.to_lowercase().contains("www-authenticate: bearer"), "{answer:?}");
        }
    }
    let other =
        |method: &str, path: &str, body: &str| agent.send(&request(method, path, Some(OTHER_TOKEN), body));
    for (method, path) in [("GET", ""), ("POST", "/cancel"), ("POST", "/retry")] {
        assert_eq!(other(method, &format!("/v1/jobs/{id}{path}"), "").status, 404);
    }
    assert_eq!(other("GET", "/v1/jobs", "").json()["jobs"], json!([]));
    assert_eq!(other("GET", "/v1/changes", "").json()["jobs"], json!([]));
    let body = agent.body("k2", 1, &[agent.vault.join("a.tif")]).to_string();
    let foreign = other("POST", "/v1/jobs", &body);
    assert_eq!((foreign.status, foreign.json()["pointer"].as_str()), (403, Some("/zone")));
}

#[test]
fn what_cannot_be_taken_is_refused_with_the_place_in_the_body() {
    let agent = TestAgent::started();
    let good = agent.body("k", 1, &[agent.image("a.tif")]);
    let refused = |place: &str, value: Value| {
        let mut body = good.clone();
        match body.pointer_mut(place) {
            Some(slot) => *slot = value,
            None => body[&place[1..]] = value,
        }
        let answer = agent.post("/v1/jobs", &body);
        let pointer = answer.json()["pointer"].as_str().unwrap_or_default().to_owned();
        (answer.status, pointer)
    };
    for user in ["root", "guest", "importer", "mallory"] {
        assert_eq!(refused("/user", json!(user)), (422, "/user".to_owned()), "{user}");
    }
    assert_eq!(refused("/server", json!("other")), (422, "/server".to_owned()));
    assert_eq!(refused("/files/0/path", json!("../etc/passwd")), (400, "/files/0/path".to_owned()));
    assert_eq!(refused("/files/0/size", json!(-1)).0, 400);
    assert_eq!(refused("/colour", json!("red")).0, 400);
    assert_eq!(agent.send(&request("POST", "/v1/jobs", Some(TOKEN), "{")).status, 400);
    assert_eq!(agent.get("/v1/nothing").status, 404);
    assert_eq!(agent.send(&request("DELETE", "/v1/jobs", Some(TOKEN), "")).status, 405);
    assert_eq!(agent.get("/v1/jobs").json()["jobs"], json!([]));
}

#[test]
fn a_body_that_is_too_long_is_refused_before_it_is_read_and_one_of_100000_files_is_not() {
    let mut agent = TestAgent::new();
    agent.omero_down();
    agent.start();
    let mut stream = agent.connect().unwrap();
    let head =
        request("POST", "/v1/jobs", Some(TOKEN), "").replace("Content-Length: 0", "Content-Length: 70000000");
    stream.write_all(head.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert_eq!(Answer::of(&bytes).status, 413);

    let mut body = agent.body("k", 1, &[agent.image("a.tif")]);
    let file = body["files"][0].clone();
    let numbered = |n: usize| {
        let mut file = file.clone();
        file["subject"] = json!(format!("d{n}"));
        file
    };
    body["files"] = (1..=100_000).map(numbered).collect();
    let answer = agent.post("/v1/jobs", &body);
    assert_eq!((answer.status, answer.json()["files"].as_u64()), (201, Some(100_000)), "{}", answer.head);
}

#[test]
fn a_job_is_refused_or_fails_by_file_with_a_sentence_and_the_others_are_imported() {
    let agent = TestAgent::started();
    let outside = agent.dir.path().join("outside.tif");
    fs::copy(agent.image("a.tif"), &outside).unwrap();
    let link = agent.vault.join("link.tif");
    std::os::unix::fs::symlink(&outside, &link).unwrap();
    let body =
        agent.body("k", 1, &[agent.vault.join("a.tif"), outside, link, agent.vault.join("missing.tif")]);
    let done = agent.wait_for(&agent.submit(&body), "done");
    // One that is not there may come: iRODS submits it again.
    assert_eq!(outcomes(&done), ["imported", "failed", "failed", "postponed"]);
    assert!(done["outcomes"][2]["reason"].as_str().unwrap().contains("symbolic link"), "{done}");
    assert_eq!(agent.omero.count("filesets"), 1);

    let mut body = agent.body("k2", 9, &[agent.vault.join("a.tif")]);
    body["user"] = json!("user7");
    let refused = agent.wait_for(&agent.submit(&body), "refused");
    assert!(refused["reason"].as_str().unwrap().contains("user7"), "{refused}");
}

#[test]
fn names_that_the_importer_cannot_take_fail_alone_with_the_reason() {
    let agent = TestAgent::started();
    let good = agent.image("a.tif");
    let names = ["line\nbreak.tif", "blank.tif ", ".hidden.tif", "latin-SURROGATE.tif"];
    let paths: Vec<_> = names.iter().map(|name| agent.vault.join(name)).chain([good]).collect();
    let body = agent.body("k", 1, &paths).to_string().replace("SURROGATE", r"\udce9");
    let answer = agent.send(&request("POST", "/v1/jobs", Some(TOKEN), &body));
    assert_eq!(answer.status, 201, "{answer:?}");
    let again = agent.send(&request("POST", "/v1/jobs", Some(TOKEN), &body));
    assert_eq!(again.status, 200, "the same job: {again:?}");
    let done = agent.wait_for(answer.json()["id"].as_str().unwrap(), "done");
    assert_eq!(outcomes(&done), ["failed", "failed", "failed", "failed", "imported"]);
    for (i, word) in
        ["line break", "ends with a blank", "starts with a dot", "not valid UTF-8"].iter().enumerate()
    {
        let reason = done["outcomes"][i]["reason"].as_str().unwrap();
        assert!(reason.contains(word), "{reason}");
    }
    // Where no other file is left OMERO is not asked.
    let job = agent.submit(&agent.body("k2", 9, &[agent.vault.join("blank.tif ")]));
    assert_eq!(outcomes(&agent.wait_for(&job, "done")), ["failed"]);
    assert_eq!(agent.omero.calls("import"), 2, "the forecast and the import of the first job");
}

#[test]
fn a_running_job_is_cancelled_with_all_it_started_and_imported_when_tried_again() {
    let agent = TestAgent::started();
    let body = agent.body("k", 1, &[agent.image("a.tif"), agent.image("b.tif")]);
    agent.omero.admin(&[
        "fault",
        "set",
        "hang",
        "--command",
        "import",
        "--times",
        "1",
        "--where",
        "after-transfer",
    ]);
    let id = agent.submit(&body);
    let hanging = wait_until("the import hangs", || {
        let files = fs::read_dir(&agent.omero.store).unwrap().flatten();
        let mut names = files.filter_map(|f| f.file_name().into_string().ok());
        names.find_map(|n| n.strip_prefix("hanging.").map(str::to_owned))
    });
    assert_eq!(agent.job(&id)["state"], "running");
    let asked = agent.post(&format!("/v1/jobs/{id}/cancel"), &Value::Null);
    assert_eq!((asked.status, asked.json()["state"].as_str()), (200, Some("running")));
    let cancelled = agent.wait_for(&id, "cancelled");
    assert_eq!(cancelled["reason"], "cancelled by caller-of-z");
    let gone = |pid: &str| match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.contains(") Z").then_some(()),
        Err(_) => Some(()),
    };
    wait_until("the importer is gone", || gone(&hanging));
    assert_eq!(agent.omero.runs(), 0, "the directory is removed");

    let again = agent.post(&format!("/v1/jobs/{id}/retry"), &Value::Null);
    assert_eq!((again.status, again.json()["state"].as_str()), (200, Some("queued")));
    assert_eq!(outcomes(&agent.wait_until_all_is_told(&id)), ["imported", "imported"]);
    assert_eq!(agent.omero.count("images"), 2);
    assert_eq!(agent.post("/v1/jobs/x-1/cancel", &Value::Null).status, 404);
}

#[test]
fn a_running_job_says_how_far_it_is() {
    let agent = TestAgent::started();
    let gate = agent.dir.path().join("gate");
    let body = agent.body("k", 1, &[agent.image("a.tif"), agent.image("b.tif")]);
    agent.omero.admin(&[
        "fault",
        "set",
        "gate",
        "--command",
        "import",
        "--times",
        "1",
        "--where",
        "after-transfer",
        "--path",
        "*b.tif",
        "--until",
        gate.to_str().unwrap(),
    ]);
    let id = agent.submit(&body);
    wait_until("the gate is reached", || gate.with_extension("reached").exists().then_some(()));
    wait_until("a file is linked", || (agent.job(&id)["progress"]["linked"].as_u64()? >= 1).then_some(()));
    assert_eq!(agent.job(&id)["progress"]["of"], 2);
    fs::write(&gate, "").unwrap();
    assert_eq!(agent.wait_for(&id, "done")["progress"], Value::Null);
}

#[test]
fn two_jobs_with_a_file_in_common_never_run_at_once() {
    let agent = TestAgent::started();
    let gate = agent.dir.path().join("gate");
    let path = [agent.image("a.tif")];
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
        gate.to_str().unwrap(),
    ]);
    let first = agent.submit(&agent.body("k1", 1, &path));
    wait_until("the gate is reached", || gate.with_extension("reached").exists().then_some(()));
    let mut body = agent.body("k2", 1, &path);
    body["collection"] = json!("78");
    let second = agent.submit(&body);
    // One that shares nothing passes it by.
    let third = agent.submit(&agent.body("k3", 2, &[agent.image("b.tif")]));
    agent.wait_for(&third, "done");
    wait_until("the second waits its turn", || (agent.job(&second)["state"] == "queued").then_some(()));
    fs::write(&gate, "").unwrap();
    agent.wait_for(&first, "done");
    let done = agent.wait_for(&second, "done");
    assert_eq!((done["attempts"].as_u64(), done["outcomes"][0]["adopted"].as_bool()), (Some(1), Some(true)));
    assert_eq!(agent.omero.count("filesets"), 2);
}

#[test]
fn jobs_wait_while_omero_is_away_and_are_done_when_it_is_back() {
    let mut agent = TestAgent::new();
    agent.config["limits"]["imports"] = json!(1);
    agent.config["limits"]["retry_wait_in_seconds"] = json!(3_600);
    agent.omero_down();
    agent.start();
    let first = agent.submit(&agent.body("k1", 1, &[agent.image("a.tif")]));
    let waiting = agent.wait_for(&first, "waiting");
    assert!(
        waiting["reason"].as_str().unwrap().contains("cannot be reached") && waiting["next"].is_u64(),
        "{waiting}"
    );
    let second = agent.submit(&agent.body("k2", 2, &[agent.image("b.tif")]));
    let why = wait_until("the second says why it stays queued", || {
        agent.job(&second)["reason"].as_str().map(str::to_owned)
    });
    assert!(why.contains("cannot be reached"), "{why}");
    let not_ready = agent.get("/readyz");
    assert_eq!(not_ready.status, 503);
    let checks = not_ready.json()["checks"].as_array().unwrap().clone();
    let wrong: Vec<&Value> = checks.iter().filter(|c| c["ok"] == false).collect();
    assert!(wrong.len() == 1 && wrong[0]["name"] == "server main", "{checks:?}");
    agent.omero_up();
    for id in [&first, &second] {
        assert_eq!(outcomes(&agent.wait_for(id, "done")), ["imported"]);
    }
    assert!(
        agent.job(&second)["attempts"].as_u64().unwrap() <= 2,
        "no job is started for an OMERO that is away"
    );
    assert_eq!(agent.omero.count("filesets"), 2);
}

#[test]
fn a_caller_that_is_slow_is_cut_off_and_nobody_waits_for_it() {
    let mut agent = TestAgent::new();
    agent.config["limits"]["header_timeout_in_seconds"] = json!(1);
    agent.config["limits"]["body_timeout_in_seconds"] = json!(1);
    agent.start();
    let whole = request("POST", "/v1/jobs", Some(TOKEN), &"x".repeat(10_000));
    let body_starts = whole.find("\r\n\r\n").unwrap() + 4;
    for sent_at_once in [10, body_starts] {
        let mut stream = agent.connect().unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        stream.write_all(&whole.as_bytes()[..sent_at_once]).unwrap();
        let mut answer = Vec::new();
        let mut drip = whole.as_bytes()[sent_at_once..].iter();
        wait_until("the connection ends", || {
            // To wait for an answer is the pause between two bytes.
            match stream.read_to_end(&mut answer) {
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    let _ = stream.write_all(&[*drip.next().unwrap()]); // it may be closed by now
                    None
                }
                Ok(_) | Err(_) => Some(()),
            }
        });
        let status = Answer::of(&answer).status;
        assert!([0, 408].contains(&status), "{status}");
        assert!(drip.len() > 9_000, "it was cut off long before the end");
        assert_eq!(agent.get("/v1/jobs").status, 200);
    }
}

#[test]
fn idle_connections_hold_nobody_up_and_one_too_many_is_turned_away() {
    let mut agent = TestAgent::new();
    agent.config["limits"]["connections"] = json!(300);
    agent.start();
    let mut idle: Vec<_> = (0..299).map(|_| agent.connect().unwrap()).collect();
    assert_eq!(agent.get("/v1/jobs").status, 200);
    idle.extend((0..10).map(|_| agent.connect().unwrap()));
    wait_until("one too many is turned away", || {
        let answered = agent.try_send(&request("GET", "/healthz", None, "")).is_some_and(|a| a.status == 200);
        (!answered).then_some(())
    });
    drop(idle);
    wait_until("there is room again", || {
        agent.try_send(&request("GET", "/healthz", None, "")).filter(|a| a.status == 200)
    });
}

#[test]
fn tokens_are_read_again_on_sighup_and_a_mistake_changes_nothing() {
    let agent = TestAgent::started();
    let new = "a new token for the same zone";
    let status = |token| agent.send(&request("GET", "/v1/jobs", Some(token), "")).status;
    assert_eq!((status(TOKEN), status(new)), (200, 401));
    agent.write_tokens(&[(new, "z")]);
    agent.signal(Signal::HUP);
    wait_until("the new token is taken", || (status(new) == 200).then_some(()));
    assert_eq!(status(TOKEN), 401);
    agent.write_tokens(&[("short", "z")]);
    agent.signal(Signal::HUP);
    wait_until("the mistake is told", || agent.log().contains("is shorter than").then_some(()));
    assert_eq!(status(new), 200);
}
