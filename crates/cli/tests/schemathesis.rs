//! The description of the interface against the agent: schemathesis makes requests from it, sound ones and broken ones,
//! and looks whether each answer is one that is described.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use std::io::Write;
use std::process::{Command, Stdio};
use support::{TOKEN, TestAgent, form, forward, root};

#[test]
fn every_answer_to_requests_made_from_the_description_is_described() {
    // A long look takes minutes: `script/fuzz` has one.
    let long = std::env::var("OMERO_EXAMPLES").ok();
    let phases = if long.is_some() { "coverage,fuzzing,stateful" } else { "coverage,fuzzing" };
    let file = |path: &str| root().join(path).to_str().unwrap().to_owned();
    // Before the test leaves root, whose Python others may not be able to run: it waits for the address.
    let mut schemathesis = Command::new("sh")
        .args(["-c", "read -r url && read -r cookie && exec \"$@\" --url \"$url\" -H \"$cookie\"", "sh"])
        .args([&file("script/schemathesis"), "--config-file", &file("agent/tests/schemathesis.toml"), "run"])
        .args([
            &file("agent/openapi.json"),
            "--seed",
            "1",
            "--generation-database",
            "none",
            "--phases",
            phases,
        ])
        .args(["--max-examples", long.as_deref().unwrap_or("5"), "--warnings", "off"])
        .args(["-H", &format!("Authorization: Bearer {TOKEN}")])
        .current_dir(env!("CARGO_TARGET_TMPDIR")) // it leaves notes where it runs
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let agent = TestAgent::started();
    // The agent is ready, and no job ends.
    agent.omero.admin(&["fault", "set", "server-down"]);
    let image = agent.image("a.tif");
    for n in 1..4 {
        agent.submit(&agent.body(&format!("k{n}"), n, std::slice::from_ref(&image)));
    }
    let head = agent.send(&form("/login", "", &format!("token={}", TOKEN.replace(' ', "+")))).head;
    let cookie = head.split("set-cookie: ").nth(1).unwrap().split(';').next().unwrap();
    let url = forward(agent.dir.path().join("agent.sock"));
    writeln!(schemathesis.stdin.take().unwrap(), "{url}\nCookie: {cookie}").unwrap();
    let output = schemathesis.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
