//! The page for people: who sees what, who may press a button, and that nothing of others becomes markup.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::{Value, json};
use support::{Answer, OTHER_TOKEN, TOKEN, TestAgent, request};

const HOSTILE: &str = "<script>alert(1)</script>\"'&\u{202e}gpj.tif";

/// A look at the page, with further lines of the head.
fn look(agent: &TestAgent, path: &str, head: &str) -> Answer {
    let plain = request("GET", path, None, "");
    agent.send(&plain.replacen("Host: agent\r\n", &format!("Host: agent\r\n{head}"), 1))
}

/// A form that is sent.
fn send(agent: &TestAgent, path: &str, head: &str, form: &str) -> Answer {
    agent.send(&support::form(path, head, form))
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let line = answer.head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    });
    line.unwrap_or_else(|| panic!("no {name}: {answer:?}"))
}

/// Signs in; gives the head's line that shows the session.
fn sign_in(agent: &TestAgent, token: &str) -> String {
    let answer = send(agent, "/login", "", &format!("token={}", token.replace(' ', "+")));
    assert_eq!((answer.status, header(&answer, "location")), (303, "/"), "{answer:?}");
    let cookie = header(&answer, "set-cookie");
    assert!(cookie.contains("; HttpOnly; SameSite=Strict; Max-Age="), "{cookie}");
    format!("Cookie: other=1; {}\r\n", cookie.split(';').next().unwrap())
}

/// What the forms of a page bear.
fn csrf(page: &str) -> &str {
    let start = page.split_once("name=\"csrf\" value=\"").expect("no form").1;
    start.split_once('"').unwrap().0
}

/// An agent whose OMERO is away, with jobs of zone `z`, of which the last is cancelled; gives their names.
fn with_jobs(keys: &[&str]) -> (TestAgent, Vec<String>) {
    let mut agent = TestAgent::new();
    agent.omero_down();
    agent.start();
    let image = [agent.image("a.tif")];
    let ids: Vec<String> =
        (1..).zip(keys).map(|(n, key)| agent.submit(&agent.body(key, n, &image))).collect();
    let last = ids.last().unwrap();
    agent.post(&format!("/v1/jobs/{last}/cancel"), &Value::Null);
    agent.wait_for(last, "cancelled");
    (agent, ids)
}

#[test]
fn who_has_not_signed_in_sees_no_job_and_presses_no_button() {
    let (agent, ids) = with_jobs(&["k"]);
    let (page, retry) = (format!("/jobs/{}", ids[0]), format!("/jobs/{}/retry", ids[0]));
    for head in ["", "Cookie: irods_omero_session=\r\n", "Cookie: irods_omero_session=00\r\n"] {
        for path in ["/", "/?state=done", &page] {
            let answer = look(&agent, path, head);
            assert_eq!(answer.status, 401, "{path}");
            assert!(
                answer.body.contains("action=\"/login\"") && !answer.body.contains(&ids[0]),
                "{answer:?}"
            );
        }
        assert_eq!(send(&agent, &retry, head, "csrf=0").status, 401);
    }
    let wrong = send(&agent, "/login", "", "token=token+of+nobody+we+know+of");
    assert_eq!(wrong.status, 401);
    assert!(
        !wrong.head.to_lowercase().contains("set-cookie") && wrong.body.contains("no token of this agent")
    );
    assert_eq!(agent.job(&ids[0])["state"], "cancelled");
}

#[test]
fn a_button_works_only_from_a_page_of_the_session_and_until_it_has_signed_out() {
    let (agent, ids) = with_jobs(&["k"]);
    let (page, retry) = (format!("/jobs/{}", ids[0]), format!("/jobs/{}/retry", ids[0]));
    let (session, second) = (sign_in(&agent, TOKEN), sign_in(&agent, TOKEN));
    let body = look(&agent, &page, &session).body;
    assert!(body.contains("Try again") && body.contains("cancelled by caller-of-z"), "{body}");
    let foreign = look(&agent, &page, &second).body;
    assert_ne!(csrf(&body), csrf(&foreign));
    for form in ["", "csrf=", &format!("csrf={}", csrf(&foreign))] {
        assert_eq!(send(&agent, &retry, &session, form).status, 403, "{form}");
    }
    let form = format!("csrf={}", csrf(&body));
    let elsewhere = format!("{session}Sec-Fetch-Site: cross-site\r\n");
    assert_eq!(send(&agent, &retry, &elsewhere, &form).status, 403);
    assert_eq!(agent.job(&ids[0])["state"], "cancelled");

    let again = send(&agent, &retry, &format!("{session}Sec-Fetch-Site: same-origin\r\n"), &form);
    assert_eq!((again.status, header(&again, "location")), (303, page.as_str()));
    let history = agent.job(&ids[0])["history"].to_string();
    assert!(history.contains("queued again by caller-of-z"), "{history}");

    assert_eq!(send(&agent, "/logout", &session, "csrf=0").status, 403);
    assert_eq!(send(&agent, "/logout", &session, &form).status, 303);
    assert_eq!((look(&agent, "/", &session).status, look(&agent, "/", &second).status), (401, 200));
}

#[test]
fn a_token_of_another_zone_sees_and_retries_its_own_only_and_ends_when_it_is_taken_back() {
    let (agent, ids) = with_jobs(&["k"]);
    let session = sign_in(&agent, OTHER_TOKEN);
    for path in ["/", "/?zone=z", "/?text=k"] {
        let answer = look(&agent, path, &session);
        assert_eq!(answer.status, 200, "{path}");
        assert!(!answer.body.contains(&ids[0]), "{path}");
    }
    let start = look(&agent, "/", &session).body;
    assert!(start.contains("<strong>0</strong> cancelled<"), "{start}");
    assert_eq!(look(&agent, &format!("/jobs/{}", ids[0]), &session).status, 404);
    let form = format!("csrf={}", csrf(&start));
    assert_eq!(send(&agent, &format!("/jobs/{}/retry", ids[0]), &session, &form).status, 404);
    assert_eq!(agent.job(&ids[0])["state"], "cancelled");

    agent.write_tokens(&[(TOKEN, "z")]);
    agent.signal(rustix::process::Signal::HUP);
    support::wait_until("the session ends", || (look(&agent, "/", &session).status == 401).then_some(()));
}

#[test]
fn names_of_others_are_text_and_the_page_may_load_and_run_nothing_else() {
    let mut agent = TestAgent::new();
    agent.omero_down();
    agent.start();
    let mut body = agent.body("k", 1, &[agent.image("a.tif")]);
    body["files"][0]["logical_path"] = json!(format!("/z/home/alice/{HOSTILE}"));
    body["group"] = json!("<b>lab</b>");
    let id = agent.submit(&body);
    let session = sign_in(&agent, TOKEN);
    let query = "/?text=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&user=%27%22%3Cb%3E";
    for path in [&format!("/jobs/{id}"), query, "/"] {
        let answer = look(&agent, path, &session);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(!answer.body.contains("<script>") && !answer.body.contains("<b>"), "{}", answer.body);
        assert!(!answer.body.contains('\u{202e}'), "{}", answer.body);
        let policy = header(&answer, "content-security-policy");
        let nonce = policy.split_once("script-src 'nonce-").unwrap().1.split_once('\'').unwrap().0;
        assert!(nonce.len() >= 32 && answer.body.contains(&format!("<style nonce=\"{nonce}\">")));
        assert!(policy.starts_with("default-src 'none'; ") && policy.contains("frame-ancestors 'none'"));
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
        assert_eq!(header(&answer, "referrer-policy"), "same-origin");
        assert_eq!(header(&answer, "cache-control"), "no-store");
    }
    let page = look(&agent, &format!("/jobs/{id}"), &session).body;
    let shown = "/z/home/alice/&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;";
    assert!(page.contains(shown) && page.contains("&lt;b&gt;lab&lt;/b&gt;"), "{page}");
    let reflected = look(&agent, query, &session).body;
    assert!(reflected.contains("value=\"&quot;&gt;&lt;script&gt;alert(1)"), "{reflected}");
    assert_eq!(look(&agent, "/?colour=red", &session).status, 400);
    assert_eq!(look(&agent, "/?state=%3Cscript%3E", &session).status, 400);
}

#[test]
fn jobs_are_found_by_filters_and_listed_in_pages() {
    let keys: Vec<String> = (0..60).map(|n| format!("key-{n}-")).collect();
    let (agent, ids) = with_jobs(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    let session = sign_in(&agent, TOKEN);
    let listed = |query: &str| -> Vec<String> {
        let page = look(&agent, &format!("/?{query}"), &session).body;
        let links = page.split("<td class=\"job\"><a href=\"/jobs/").skip(1);
        links.map(|rest| rest.split_once('"').unwrap().0.to_owned()).collect()
    };
    let mut newest = ids.clone();
    newest.reverse();
    assert_eq!(listed("zone=z"), newest[..50]);
    assert_eq!(listed(&format!("zone=z&before={}", newest[49])), newest[50..]);
    assert_eq!(listed("state=cancelled&zone=&user=&text=&before="), newest[..1]);
    assert_eq!(listed("state=cancelled,done"), newest[..1]);
    assert_eq!(listed("text=KEY-7-"), [ids[7].clone()]);
    assert_eq!(listed("user=carol"), [""; 0]);
    assert_eq!(listed("user=alice").len(), 50);
    let first = look(&agent, "/?zone=z&text=key", &session).body;
    assert!(first.contains(&format!("name=\"before\" value=\"{}\"", newest[49])), "{first}");
    assert!(first.contains("type=\"hidden\" name=\"text\" value=\"key\""), "{first}");
    let start = look(&agent, "/", &session).body;
    assert!(
        start.contains("<strong>1</strong> cancelled<") && start.contains("1 in jobs refused or cancelled"),
        "{start}"
    );
}

#[test]
fn the_page_of_a_job_shows_its_files_in_pages_what_became_of_them_and_the_log() {
    let agent = TestAgent::started();
    let images = [agent.image("a.tif"), agent.vault.join("missing.tif")];
    let id = agent.submit(&agent.body("k", 1, &images));
    agent.wait_for(&id, "done");
    let session = sign_in(&agent, TOKEN);
    let page = look(&agent, &format!("/jobs/{id}"), &session).body;
    for part in [
        "<dd>started, attempt 1</dd>",
        "/z/home/alice/k/0",
        ">imported</span> fileset",
        ">comes later</span> ",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(page.contains("IMPORT_DONE"), "{page}");
    assert!(!page.contains("secret of the importer"), "{page}");

    let mut body = agent.body("many", 1, &images[..1]);
    let file = body["files"][0].clone();
    body["files"] = (1..=150)
        .map(|n| {
            let mut file = file.clone();
            file["subject"] = json!(format!("d{n}"));
            file["logical_path"] = json!(format!("/z/home/alice/many/{n}."));
            file
        })
        .collect();
    let many = agent.submit(&body);
    let first = look(&agent, &format!("/jobs/{many}"), &session).body;
    assert!(first.contains("/many/100.") && !first.contains("/many/101."), "{first}");
    let further = format!("/jobs/{many}?from=100");
    assert!(first.contains(&format!("href=\"{further}\"")), "{first}");
    let second = look(&agent, &further, &session).body;
    assert!(second.contains("/many/101.") && second.contains("/many/150."), "{second}");
    assert!(!second.contains("Further files") && second.contains("?from=0"), "{second}");
}

#[test]
fn a_socket_without_tokens_can_be_read_and_has_no_button() {
    let mut agent = TestAgent::new();
    agent.config.as_object_mut().unwrap().remove("tokens_file");
    agent.omero_down();
    agent.start();
    let body = agent.body("k", 1, &[agent.image("a.tif")]).to_string();
    let id = agent.send(&request("POST", "/v1/jobs", None, &body)).json()["id"].as_str().unwrap().to_owned();
    agent.send(&request("POST", &format!("/v1/jobs/{id}/cancel"), None, ""));
    let page = look(&agent, &format!("/jobs/{id}"), "");
    assert_eq!(page.status, 200);
    assert!(page.body.contains("/z/home/alice/k/0") && !page.body.contains("<form"), "{}", page.body);
    assert!(look(&agent, "/", "").body.contains(&id));
    assert_eq!(send(&agent, &format!("/jobs/{id}/retry"), "", "csrf=").status, 401);
}

#[test]
fn what_a_zone_holds_back_is_shown_to_those_who_may_see_the_zone_with_links_and_no_markup_of_others() {
    let mut agent = TestAgent::new();
    agent.omero_down();
    agent.config["web"] = json!({
        "omero": "https://omero.example.org/webclient/?show=image-{id}", "irods": "https://irods.example.org/browse{path}",
    });
    agent.start();
    let held = |cause: &str, reason: &str, name: &str, objects: u64| json!({"cause": cause, "reason": reason, "collection": format!("/z/home/{name}"), "objects": objects});
    let backlog = json!({
        "zone": "z", "at": 1_700_000_000, "states": {"skipped": 12_345, "failed": 2},
        "held": [held("mapping", "alice has no OMERO user", "alice", 12_345), held("bytes", HOSTILE, HOSTILE, 2)],
        "is_cut": false,
    });
    assert_eq!(agent.post_as(OTHER_TOKEN, "/v1/backlog", &backlog).status, 403, "of another zone");
    assert_eq!(agent.post("/v1/backlog", &json!({"zone": "z"})).status, 400);
    assert_eq!(agent.post("/v1/backlog", &backlog).status, 204);

    let session = sign_in(&agent, TOKEN);
    for path in ["/", "/backlog"] {
        let page = look(&agent, path, &session).body;
        assert!(page.contains("12,345 skipped, ") && page.contains("alice has no OMERO user"), "{page}");
        assert!(page.contains("no OMERO user</td>") && page.contains(">12,345</td>"), "{page}");
        assert!(page.contains("href=\"https://irods.example.org/browse/z/home/alice\""), "{page}");
        let encoded = "/browse/z/home/%3Cscript%3Ealert%281%29%3C/script%3E%22%27%26%E2%80%AEgpj.tif\"";
        assert!(page.contains(encoded) && !page.contains("<script>") && !page.contains('\u{202e}'), "{page}");
    }
    let of_mapping = look(&agent, "/backlog?cause=mapping&text=", &session).body;
    assert!(of_mapping.contains("alice has no") && !of_mapping.contains("gpj.tif"), "{of_mapping}");
    let by_text = look(&agent, "/backlog?text=gpj", &session).body;
    assert!(by_text.contains("gpj.tif") && !by_text.contains("alice has no"), "{by_text}");

    let other = sign_in(&agent, OTHER_TOKEN);
    for path in ["/", "/backlog", "/backlog?zone=z"] {
        let page = look(&agent, path, &other).body;
        assert!(!page.contains("alice has no OMERO user"), "{page}");
    }
    assert_eq!(look(&agent, "/backlog", "").status, 401);
}
