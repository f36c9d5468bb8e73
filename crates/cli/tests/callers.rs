//! Who may ask the agent for what: each caller its own files and users, and no page of another site anything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use support::{Answer, TOKEN, TestAgent, form, forward, outcomes, request, request_with};

const A: &str = "token of the caller that has vault a";
const B: &str = "token of the caller that has vault b";
const PEER: &str = "token of another server of the same zone as a";
const LOOKS: &str = "token of somebody who only looks at zone za";
const OPERATES: &str = "token of somebody who operates zone za";
const COUNTS: &str = "token of the one that counts, Prometheus";

/// An agent with two vaults, each of which is one caller's.
fn two_callers() -> TestAgent {
    let agent = TestAgent::new();
    let vault = |name: &str| {
        let path = agent.vault.join(name);
        fs::create_dir(&path).unwrap();
        path.display().to_string()
    };
    let (a, b) = (vault("a"), vault("b"));
    agent.write_callers(&format!(
        r#"
        [a]
        token = "{A}"
        zones = ["za"]
        roots = ["{a}"]
        users = {{ allow = ["alice"] }}
        [peer]
        token = "{PEER}"
        zones = ["za"]
        roots = ["{a}"]
        users = {{ allow = ["alice"] }}
        [b]
        token = "{B}"
        zones = ["za", "zb"]
        roots = ["{b}"]
        users = {{ match = "carol|user[0-9]" }}
        [looks]
        token = "{LOOKS}"
        may = "read"
        zones = ["za"]
        [operates]
        token = "{OPERATES}"
        may = "operate"
        zones = ["za"]
        [counts]
        token = "{COUNTS}"
        may = "metrics"
        "#
    ));
    agent
}

/// A body for one file of a vault.
fn body(agent: &TestAgent, key: &str, zone: &str, user: &str, path: &Path) -> Value {
    let mut body = agent.body(key, 1, &[path.to_owned()]);
    (body["zone"], body["user"]) = (json!(zone), json!(user));
    body
}

#[test]
fn a_caller_submits_files_and_users_of_its_own_only() {
    let mut agent = two_callers();
    agent.start();
    let (in_a, in_b) = (agent.image("a/a.tif"), agent.image("b/b.tif"));
    let refused = |token: &str, body: &Value| {
        let answer = agent.post_as(token, "/v1/jobs", body);
        (answer.status, answer.json()["pointer"].as_str().unwrap_or_default().to_owned())
    };
    // Another's vault, in whatever way the path says so.
    assert_eq!(refused(B, &body(&agent, "k1", "zb", "carol", &in_a)), (403, "/files/0/path".to_owned()));
    let doubled = in_a.display().to_string().replace("/a/", "//a//");
    assert_eq!(refused(B, &body(&agent, "k2", "zb", "carol", Path::new(&doubled))).0, 403);
    let longer = agent.vault.join("bb/x.tif");
    assert_eq!(refused(B, &body(&agent, "k3", "zb", "carol", &longer)).0, 403);
    // Another's users, and what only looks like one of its own.
    for user in ["alice", "xcarol", "carolx", "user1x"] {
        assert_eq!(refused(B, &body(&agent, "k4", "zb", user, &in_b)), (422, "/user".to_owned()), "{user}");
    }
    assert_eq!(refused(A, &body(&agent, "k5", "za", "carol", &in_a)), (422, "/user".to_owned()));
    assert_eq!(refused(A, &body(&agent, "k6", "zb", "alice", &in_a)), (403, "/zone".to_owned()));
    // A link in its own vault that leads to another's is followed nowhere.
    std::os::unix::fs::symlink(&in_a, agent.vault.join("b/link.tif")).unwrap();
    let link = body(&agent, "k7", "zb", "carol", &agent.vault.join("b/link.tif"));
    assert_eq!(refused(B, &link).0, 201);
    let detail = || agent.get_as(B, "/v1/jobs?key=k7").json();
    let job = support::wait_until("it is done", || Some(detail()).filter(|j| j["state"] == "done"));
    assert_eq!(outcomes(&job), ["failed"]);
    assert_eq!(agent.omero.count("filesets"), 0);
    // Its own is taken.
    assert_eq!(refused(B, &body(&agent, "k8", "zb", "carol", &in_b)).0, 201);
}

#[test]
fn jobs_of_others_are_not_there_for_a_caller_even_in_its_own_zone() {
    let mut agent = two_callers();
    agent.omero_down();
    agent.start();
    let job = body(&agent, "k", "za", "alice", &agent.image("a/a.tif"));
    let answer = agent.post_as(A, "/v1/jobs", &job);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    for (path, empty) in
        [("/v1/jobs", json!([])), ("/v1/changes", json!([])), ("/v1/jobs?zone=za", json!([]))]
    {
        assert_eq!(agent.get_as(B, path).json()["jobs"], empty, "{path}");
        assert_eq!(agent.get_as(A, path).json()["jobs"][0]["id"], json!(id), "{path}");
        // The other servers of a zone hear of the same jobs: iRODS asks from any of them.
        assert_eq!(agent.get_as(PEER, path).json()["jobs"][0]["id"], json!(id), "{path}");
    }
    assert_eq!(agent.get_as(B, "/v1/jobs?key=k").status, 404);
    assert_eq!(agent.get_as(B, &format!("/v1/jobs/{id}")).status, 404);
    for what in ["cancel", "retry"] {
        assert_eq!(agent.post_as(B, &format!("/v1/jobs/{id}/{what}"), &Value::Null).status, 404);
    }
    // Nor does another's key stand in its way, or tell that it is taken.
    let same_key = body(&agent, "k", "za", "carol", &agent.image("b/b.tif"));
    assert_eq!(agent.post_as(B, "/v1/jobs", &same_key).status, 201);
    assert_eq!(agent.post_as(PEER, "/v1/jobs", &job).json()["id"], json!(id), "a peer's is the same job");
}

#[test]
fn a_token_does_no_more_than_its_section_says() {
    let mut agent = two_callers();
    agent.omero_down();
    agent.start();
    let job = body(&agent, "k", "za", "alice", &agent.image("a/a.tif"));
    let id = agent.post_as(A, "/v1/jobs", &job).json()["id"].as_str().unwrap().to_owned();
    let (cancel, retry) = (format!("/v1/jobs/{id}/cancel"), format!("/v1/jobs/{id}/retry"));
    for token in [LOOKS, OPERATES] {
        assert_eq!(agent.get_as(token, &format!("/v1/jobs/{id}")).status, 200);
        assert_eq!(agent.post_as(token, "/v1/jobs", &job).status, 403);
    }
    assert_eq!(
        (
            agent.post_as(LOOKS, &cancel, &Value::Null).status,
            agent.post_as(LOOKS, &retry, &Value::Null).status
        ),
        (403, 403)
    );
    assert_eq!(agent.post_as(OPERATES, &cancel, &Value::Null).status, 200);
    let counted = agent.get_as(COUNTS, "/metrics");
    assert!(counted.status == 200 && counted.body.contains("irods_omero_agent_jobs"), "{counted:?}");
    for path in ["/v1/jobs", "/v1/changes", &format!("/v1/jobs/{id}")] {
        assert_eq!(agent.get_as(COUNTS, path).status, 403, "{path}");
    }
    assert_eq!(agent.post_as(COUNTS, "/v1/jobs", &job).status, 403);
    // On the page likewise.
    let sign_in =
        |token: &str| agent.send(&form("/login", "", &format!("token={}", token.replace(' ', "+"))));
    assert_eq!(sign_in(COUNTS).status, 401);
    let cookie = |answer: &Answer| {
        let line = answer.head.lines().find(|l| l.to_lowercase().starts_with("set-cookie: ")).unwrap();
        format!("Cookie: {}\r\n", line[12..].split(';').next().unwrap())
    };
    let looks = cookie(&sign_in(LOOKS));
    let page =
        agent.send(&request_with("GET", &format!("/jobs/{id}"), &format!("Host: agent\r\n{looks}"), ""));
    assert!(page.status == 200 && !page.body.contains("Try again"), "{page:?}");
    let csrf = page.body.split_once("name=\"csrf\" value=\"").unwrap().1.split_once('"').unwrap().0;
    assert_eq!(agent.send(&form(&format!("/jobs/{id}/retry"), &looks, &format!("csrf={csrf}"))).status, 403);
}

#[test]
fn what_was_submitted_by_a_caller_that_is_gone_is_not_done() {
    let mut agent = two_callers();
    agent.omero_down();
    agent.config["limits"]["retry_wait_in_seconds"] = json!(3_600);
    agent.start();
    let job = body(&agent, "k", "za", "alice", &agent.image("a/a.tif"));
    let id = agent.post_as(A, "/v1/jobs", &job).json()["id"].as_str().unwrap().to_owned();
    support::wait_until("it waits", || {
        Some(agent.get_as(A, &format!("/v1/jobs/{id}")).json()).filter(|j| j["state"] == "waiting")
    });
    agent.write_callers(&format!("[new]\ntoken = \"{B}\"\nzones = [\"*\"]\n"));
    agent.signal(rustix::process::Signal::HUP);
    support::wait_until("the new token is taken", || {
        (agent.get_as(B, "/v1/jobs").status == 200).then_some(())
    });
    agent.omero_up();
    let job = support::wait_until("it ends", || {
        Some(agent.get_as(B, &format!("/v1/jobs/{id}")).json()).filter(|j| j["state"] == "refused")
    });
    assert!(job["reason"].as_str().unwrap().contains("'a'"), "{job}");
    assert_eq!(agent.omero.count("filesets"), 0);
}

/// What a web page in the browser of somebody with an `ssh -L` sends, and the answer.
fn browser(agent: &TestAgent, method: &str, path: &str, head: &str, body: &str) -> u16 {
    agent.send(&request_with(method, path, head, body)).status
}

#[test]
fn no_page_of_another_site_has_anything_done_through_a_socket_that_anybody_may_open() {
    let mut agent = TestAgent::new();
    agent.config.as_object_mut().unwrap().remove("tokens_file");
    agent.omero_down();
    agent.start();
    let submit = agent.body("k", 1, &[agent.image("a.tif")]).to_string();
    let (json, text) = ("Content-Type: application/json\r\n", "Content-Type: text/plain\r\n");
    let host = "Host: localhost:8080\r\n";
    let post = |head: &str| browser(&agent, "POST", "/v1/jobs", head, &submit);
    let evil =
        format!("Host: evil.example\r\n{text}Origin: http://evil.example\r\nSec-Fetch-Site: cross-site\r\n");
    assert!([403, 421].contains(&post(&evil)));
    // Each of it alone.
    assert_eq!(post(&format!("Host: evil.example\r\n{json}")), 421);
    assert_eq!(post(&format!("{host}{json}Sec-Fetch-Site: cross-site\r\n")), 403);
    assert_eq!(post(&format!("{host}{json}Sec-Fetch-Site: same-site\r\n")), 403);
    assert_eq!(post(&format!("{host}{json}Origin: http://evil.example\r\n")), 403);
    assert_eq!(post(&format!("{host}{json}Origin: null\r\n")), 403);
    assert_eq!(post(&format!("{host}{json}Origin: http://localhost:8081\r\n")), 403);
    for kind in [
        text,
        "",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: multipart/form-data\r\n",
    ] {
        assert_eq!(post(&format!("{host}{kind}")), 415, "{kind}");
    }
    // Hosts that are said twice, not at all, or differently.
    assert_eq!(post(json), 400);
    assert_eq!(post(&format!("{host}Host: evil.example\r\n{json}")), 400);
    assert_eq!(post(&format!("Host: localhost@evil.example\r\n{json}")), 400);
    assert_eq!(browser(&agent, "GET", "http://evil.example/healthz", host, ""), 400);
    for path in ["/healthz", "/readyz", "/openapi.json", "/", "/v1/jobs", "/metrics", "/nothing"] {
        assert_eq!(browser(&agent, "GET", path, "Host: evil.example\r\n", ""), 421, "{path}");
    }
    // Nothing is read for another site's page either: what it shows of itself, who asks is the browser's owner.
    for path in ["/", "/v1/jobs", "/v1/changes", "/metrics"] {
        assert_eq!(
            browser(&agent, "GET", path, &format!("{host}Sec-Fetch-Site: cross-site\r\n"), ""),
            403,
            "{path}"
        );
    }
    assert_eq!(agent.send(&request("GET", "/v1/jobs", None, "")).json()["jobs"], json!([]));
    // The plugin, curl and a forwarded port go on as before.
    assert_eq!(browser(&agent, "POST", "/v1/jobs", &format!("Host: agent\r\n{json}"), &submit), 201);
    let id =
        agent.send(&request("GET", "/v1/jobs?key=k", None, "")).json()["id"].as_str().unwrap().to_owned();
    for what in ["cancel", "retry"] {
        let path = format!("/v1/jobs/{id}/{what}");
        assert_eq!(browser(&agent, "POST", &path, &format!("{host}{text}"), ""), 415);
        assert_eq!(
            browser(&agent, "POST", &path, &format!("{host}{json}Sec-Fetch-Site: cross-site\r\n"), ""),
            403
        );
        assert_eq!(
            browser(&agent, "POST", &path, &format!("{host}{json}Sec-Fetch-Site: same-origin\r\n"), ""),
            200
        );
    }
}

#[test]
fn a_token_is_no_leave_for_another_sites_page_and_a_name_in_hosts_is_the_agents() {
    let mut agent = TestAgent::new();
    agent.config["hosts"] = json!(["omero.example.org"]);
    agent.start();
    let head = |host: &str, more: &str| format!("Host: {host}\r\nAuthorization: Bearer {TOKEN}\r\n{more}");
    let get = |host: &str| browser(&agent, "GET", "/v1/jobs", &head(host, ""), "");
    assert_eq!(
        (get("omero.example.org"), get("OMERO.example.org:8080"), get("xomero.example.org")),
        (200, 200, 421)
    );
    let submit = agent.body("k", 1, &[agent.image("a.tif")]).to_string();
    let more = "Content-Type: application/json\r\nOrigin: http://evil.example\r\n";
    assert_eq!(browser(&agent, "POST", "/v1/jobs", &head("agent", more), &submit), 403);
    let login = format!("token={}", TOKEN.replace(' ', "+"));
    assert_eq!(agent.send(&form("/login", "Origin: http://evil.example\r\n", &login)).status, 403);
    assert_eq!(agent.send(&form("/login", "Sec-Fetch-Site: cross-site\r\n", &login)).status, 403);
    let url = forward(agent.dir.path().join("agent.sock"));
    let own = url.strip_prefix("http://").unwrap();
    let head = format!("Host: {own}\r\nContent-Type: application/x-www-form-urlencoded\r\nOrigin: {url}\r\n");
    assert_eq!(browser(&agent, "POST", "/login", &head, &login), 303);
}
