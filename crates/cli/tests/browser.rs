//! The page in a browser, over a port that leads to the agent's socket.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

#[path = "support/browser.rs"]
mod browser;
mod support;

use browser::Browser;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use support::{TOKEN, TestAgent, forward, wait_until};

/// An agent, the address of its page, and a browser.
fn before_the_page(agent: TestAgent) -> (TestAgent, String, Browser) {
    let url = forward(agent.dir.path().join("agent.sock"));
    let browser = Browser::start(agent.dir.path());
    (agent, url, browser)
}

fn sign_in(browser: &mut Browser, url: &str) {
    browser.open(url);
    browser.tab_to("input[name=token]");
    browser.type_text(TOKEN);
    browser.follow(|b| b.press("Enter", 13, "\r"));
}

/// Nothing was asked of another host, and the browser has nothing to complain of.
fn all_is_well(browser: &Browser, url: &str) {
    assert_eq!(browser.complaints(), [&Value::Null; 0]);
    let foreign: Vec<_> = browser.requests().into_iter().filter(|r| !r.starts_with(url)).collect();
    assert_eq!(foreign, ["about:blank"; 0]);
}

/// The links of the list's jobs.
fn listed(browser: &mut Browser) -> Vec<String> {
    let rows =
        browser.eval("[...document.querySelectorAll('#jobs a[href^=\"/jobs/\"]')].map(a => a.pathname)");
    rows.as_array().unwrap().iter().map(|r| r.as_str().unwrap()["/jobs/".len()..].to_owned()).collect()
}

#[test]
fn with_a_token_and_the_keyboard_jobs_are_looked_at_found_and_tried_again() {
    let mut agent = TestAgent::new();
    agent.config["limits"]["imports_per_user"] = json!(1);
    agent.config["limits"]["retry_wait_in_seconds"] = json!(3_600);
    agent.start();
    let (good, text) = (agent.image("a.tif"), agent.vault.join("notes.txt"));
    std::fs::write(&text, "no image\n").unwrap();
    let gate = agent.dir.path().join("gate");
    let done = agent.submit(&agent.body("k-done", 1, &[good.clone(), text]));
    agent.wait_for(&done, "done");
    let mut body = agent.body("k-refused", 3, std::slice::from_ref(&good));
    body["user"] = json!("user7");
    let refused = agent.submit(&body);
    agent.wait_for(&refused, "refused");
    agent.omero.admin(&["fault", "set", "disk-full", "--path", "*full.tif"]);
    let waiting = agent.submit(&agent.body("k-waiting", 4, &[agent.image("full.tif")]));
    agent.wait_for(&waiting, "waiting");
    let gate_path = gate.to_str().unwrap();
    agent.omero.admin(&[
        "fault",
        "set",
        "gate",
        "--where",
        "after-transfer",
        "--path",
        "*b.tif",
        "--until",
        gate_path,
    ]);
    let running = agent.submit(&agent.body("k-running", 5, &[agent.image("b.tif"), agent.image("c.tif")]));
    wait_until("the gate is reached", || gate.with_extension("reached").exists().then_some(()));
    let queued = agent.submit(&agent.body("k-queued", 7, std::slice::from_ref(&good)));
    let cancelled = agent.submit(&agent.body("k-cancelled", 8, &[good]));
    agent.post(&format!("/v1/jobs/{cancelled}/cancel"), &Value::Null);

    let (agent, url, mut browser) = before_the_page(agent);
    browser.open(&url);
    assert!(!browser.text().contains(&done), "who has not signed in sees no job");
    sign_in(&mut browser, &url);
    let text = browser.text();
    for part in [
        "caller-of-z",
        "1 running",
        "1 queued",
        "1 waiting",
        "1 done",
        "1 refused",
        "1 cancelled",
        "1 of its files failed",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(browser.eval("document.querySelector('progress').max"), 2);
    let all = [&cancelled, &queued, &running, &waiting, &refused, &done].map(Clone::clone);
    assert_eq!(listed(&mut browser), all);

    for (field, words, found) in [
        ("input[name=user]", "user7", vec![&refused]),
        ("input[name=text]", "K-WAIT", vec![&waiting]),
        ("input[name=zone]", "elsewhere", vec![]),
    ] {
        browser.open(&url);
        browser.tab_to(field);
        browser.type_text(words);
        browser.follow(|b| b.press("Enter", 13, "\r"));
        assert_eq!(listed(&mut browser).iter().collect::<Vec<_>>(), found, "{field}");
    }
    browser.open(&url);
    browser.tab_to("select[name=state]");
    for letter in ["c", "a"] {
        browser.press(letter, 0, letter);
    }
    browser.tab_to("form[role=search] button");
    browser.follow(|b| b.press("Enter", 13, "\r"));
    assert_eq!(listed(&mut browser), [cancelled]);

    browser.open(&format!("{url}/jobs/{done}"));
    let text = browser.text();
    for part in ["started, attempt 1", "/z/home/alice/k-done/1", "imported", "failed", "IMPORT_DONE"] {
        assert!(text.contains(part), "{part}: {text}");
    }

    browser.open(&format!("{url}/jobs/{refused}"));
    agent.omero.admin(&["user", "add", "user7", "--group", "lab"]);
    browser.tab_to("form[action$='/retry'] button");
    browser.follow(|b| b.press("Enter", 13, "\r"));
    assert!(browser.text().contains("queued again by caller-of-z"), "{}", browser.text());
    agent.wait_for(&refused, "done");

    browser.follow(|b| b.click("form[action='/logout'] button"));
    assert!(!browser.text().contains(&refused), "{}", browser.text());
    all_is_well(&browser, &url);
    fs::write(&gate, "").unwrap();
}

#[test]
fn without_tokens_the_page_can_be_read_and_nothing_be_pressed() {
    let mut agent = TestAgent::new();
    agent.config.as_object_mut().unwrap().remove("tokens_file");
    agent.omero_down();
    agent.start();
    let body = agent.body("k", 1, &[agent.image("a.tif")]).to_string();
    let submitted = agent.send(&support::request("POST", "/v1/jobs", None, &body)).json();
    let id = submitted["id"].as_str().unwrap();
    agent.send(&support::request("POST", &format!("/v1/jobs/{id}/cancel"), None, ""));
    let (_agent, url, mut browser) = before_the_page(agent);
    for path in ["/".to_owned(), format!("/jobs/{id}")] {
        browser.open(&format!("{url}{path}"));
        assert!(browser.text().contains("cancelled"), "{}", browser.text());
        assert_eq!(browser.eval("document.querySelectorAll('form[method=post]').length"), 0);
    }
    let sent = format!(
        "fetch('/jobs/{id}/retry', {{method: 'POST', body: new URLSearchParams('csrf=')}}).then(r => r.status)"
    );
    // The page's own policy would forbid it.
    browser.open(&format!("{url}/healthz"));
    assert_eq!(browser.eval(&sent), 401);
    all_is_well(&browser, &url);
}

#[test]
fn hostile_names_are_text_and_run_nothing() {
    let mut agent = TestAgent::new();
    agent.omero_down();
    agent.start();
    let long = "x".repeat(1_000);
    let names = [
        "<script>alert(1)</script>.tif",
        "\"'><img src=x onerror=alert(2)>.tif",
        "</title></style></pre><svg onload=alert(3)>.tif",
        "\u{202e}fit.exe",
        "javascript:alert(4)",
        "{{7*7}}${7*7}<!--",
        &long,
    ];
    let mut body = agent.body("k", 1, &vec![agent.image("a.tif"); names.len()]);
    for (file, name) in body["files"].as_array_mut().unwrap().iter_mut().zip(names) {
        file["logical_path"] = json!(format!("/z/home/{name}"));
    }
    body["group"] = json!("<b>lab</b>\"onmouseover=alert(5)");
    let id = agent.submit(&body);
    let (_agent, url, mut browser) = before_the_page(agent);
    sign_in(&mut browser, &url);
    for (width, path) in
        [(1_280, "/".to_owned()), (1_280, format!("/jobs/{id}")), (360, format!("/jobs/{id}"))]
    {
        browser.screen(width, 800, false);
        browser.open(&format!("{url}{path}?"));
        assert_eq!(browser.eval("document.querySelectorAll('img, b, pre svg, td svg').length"), 0, "{path}");
        assert_eq!(
            browser.eval("document.documentElement.scrollWidth <= innerWidth"),
            true,
            "{path}, {width}"
        );
    }
    let text = browser.text();
    for name in &names[..3] {
        assert!(text.contains(name), "{name}: {text}");
    }
    assert!(
        text.contains("\\u{202e}fit.exe") && text.contains(&long) && text.contains("<b>lab</b>"),
        "{text}"
    );
    browser.open(&format!("{url}/?text=%22%3E%3Cscript%3Ealert(6)%3C/script%3E"));
    assert_eq!(
        browser.eval("document.querySelector('input[name=text]').value"),
        "\"><script>alert(6)</script>"
    );
    browser.picture("hostile");
    all_is_well(&browser, &url);
}

/// Makes the queue of an agent that does not run look as after a busy week: jobs of several people in every state,
/// ended over the last days.
fn paint_a_week(queue: &Path, jobs: usize) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut file = rusqlite::Connection::open(queue).unwrap();
    let mut change: u64 =
        file.query_row("SELECT value FROM meta WHERE name = 'change'", [], |r| r.get(0)).unwrap();
    let work = file.transaction().unwrap();
    let body: Vec<u8> = work.query_row("SELECT json FROM body LIMIT 1", [], |r| r.get(0)).unwrap();
    for n in 1..=jobs {
        let (user, group) =
            [("alice", "lab"), ("carol", "carols"), ("user7", "facility"), ("user12", "lab")][n * 7 % 4];
        let (state, reason) = match n * 13 % 20 {
            0 => ("refused", Some(format!("OMERO does not know the user '{user}' or its group"))),
            1 => ("cancelled", Some("cancelled by irods.example.org".to_owned())),
            2 => (
                "waiting",
                Some("1 of 12 files: the disk of the OMERO server or of the importer is full".to_owned()),
            ),
            3 | 4 => ("queued", None),
            _ => ("done", None),
        };
        let ended = !["queued", "waiting"].contains(&state);
        // More by day than by night.
        let age = (jobs - n) as u64 * 9_000 % 600_000 + 1_000 * (n as u64 % 7);
        change += 1;
        work.execute(
            "INSERT INTO job (key, digest, caller, zone, server, user, \"group\", collection, priority, files, large, rank, state,
                              reason, attempts, submitted, started, next, change, place, failed)
             VALUES (?1, x'', 'caller-of-z', 'z', 'main', ?2, ?3, ?4, 0, ?5, 0, 0, ?6, ?7, 1, ?8, ?9, ?10, ?11, ?12, ?13)",
            rusqlite::params![
                format!("sha256:{n:064x}"), user, group, (10_000 + n).to_string(), (n * n * 37) % 900 + 1, state, reason,
                now - age - 600, ended.then_some(now - age - 300), (state == "waiting").then_some(now + 1_500), change,
                format!("/z/home/{user}/microscopy/2026-11-{:02}", n % 27 + 1), u32::from(state == "done" && n % 9 == 0),
            ],
        )
        .unwrap();
        let job = work.last_insert_rowid();
        work.execute("INSERT INTO body VALUES (?1, ?2)", rusqlite::params![job, body]).unwrap();
        let ended = ended.then_some(now - age);
        work.execute("UPDATE job SET ended = ?2 WHERE id = ?1", rusqlite::params![job, ended]).unwrap();
    }
    work.execute("UPDATE meta SET value = ?1 WHERE name = 'change'", [change]).unwrap();
    work.commit().unwrap();
}

/// Every visible text whose contrast with what is behind it is less than 4.5, the least that WCAG AA allows; and what a
/// reader of the screen would miss.
const UNREADABLE: &str = r"(() => {
    const wrong = [];
    const rgb = text => text.match(/[\d.]+/g).map(Number);
    const light = c => c.slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = e => {
        for (; e; e = e.parentElement) {
            const c = rgb(getComputedStyle(e).backgroundColor);
            if (c.length === 3 || c[3] === 1) return c;
        }
        return [255, 255, 255];
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const e = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !e.checkVisibility() || ['SCRIPT', 'STYLE'].includes(e.tagName)) continue;
        const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < 4.5) wrong.push(`${contrast.toFixed(2)}: ${walker.currentNode.data.trim().slice(0, 40)}`);
    }
    let level = 0;
    for (const h of document.querySelectorAll('h1, h2, h3')) {
        if (+h.tagName[1] > level + 1) wrong.push(`heading ${h.innerText}`);
        level = +h.tagName[1];
    }
    if (!document.documentElement.lang || document.querySelectorAll('main').length !== 1) wrong.push('language or main');
    return wrong;
})()";

/// What can be used or looked at has a name for who cannot see it.
fn nameless(browser: &mut Browser) -> Vec<String> {
    let tree = browser.call("Accessibility.getFullAXTree", json!({}));
    let roles = [
        "button",
        "link",
        "textbox",
        "searchbox",
        "combobox",
        "progressbar",
        "progressIndicator",
        "image",
        "region",
    ];
    let nodes = tree["nodes"].as_array().unwrap().iter().filter(|n| n["ignored"] == false);
    let named = |n: &Value| n["name"]["value"].as_str().is_some_and(|name| !name.trim().is_empty());
    let role = |n: &Value| n["role"]["value"].as_str().unwrap_or_default().to_owned();
    let found: Vec<String> =
        nodes.filter(|n| !named(n)).map(role).filter(|r| roles.contains(&r.as_str())).collect();
    found
}

#[test]
fn after_a_busy_week_the_page_can_be_read_on_a_desk_and_a_phone_by_day_and_by_night() {
    let mut agent = TestAgent::new();
    agent.config["limits"]["retention_in_days"] = json!(3_650);
    agent.omero_down();
    agent.start();
    let images: Vec<_> = (0..12).map(|n| agent.image(&format!("image-{n:02}.tif"))).collect();
    agent.submit(&agent.body("k-1", 1, &images));
    agent.kill();
    paint_a_week(&agent.state().join("queue.sqlite"), 58);
    agent.omero_up();
    let gate = agent.dir.path().join("gate");
    let gate_path = gate.to_str().unwrap();
    agent.omero.admin(&[
        "fault",
        "set",
        "gate",
        "--where",
        "after-transfer",
        "--path",
        "*07.tif",
        "--until",
        gate_path,
    ]);
    agent.start();
    let submitted = agent.submit(&agent.body("k-2", 100, &images));
    wait_until("the gate is reached", || gate.with_extension("reached").exists().then_some(()));
    let (agent, url, mut browser) = before_the_page(agent);
    sign_in(&mut browser, &url);
    let mut grounds = Vec::new();
    for (device, width, height) in [("desk", 1_280, 1_400), ("phone", 360, 1_400)] {
        for dark in [false, true] {
            browser.screen(width, height, dark);
            for (page, path) in [("first", "/".to_owned()), ("job", format!("/jobs/{submitted}"))] {
                browser.open(&format!("{url}{path}"));
                let what = format!("{page}-{device}-{}", if dark { "dark" } else { "light" });
                browser.picture(&what);
                assert_eq!(
                    browser.eval("document.documentElement.scrollWidth <= innerWidth"),
                    true,
                    "{what}"
                );
                assert_eq!(browser.eval(UNREADABLE), json!([]), "{what}");
                assert_eq!(nameless(&mut browser), [""; 0], "{what}");
            }
            grounds.push(browser.eval("getComputedStyle(document.body).backgroundColor").to_string());
        }
    }
    assert!(grounds[0] != grounds[1] && grounds[0] == grounds[2] && grounds[1] == grounds[3], "{grounds:?}");
    browser.open(&url);
    assert!(browser.eval("document.querySelectorAll('rect.done').length").as_u64().unwrap() >= 20);
    all_is_well(&browser, &url);
    fs::write(&gate, "").unwrap();
    drop(agent);
}
