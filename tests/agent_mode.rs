//! Importer mode `agent`, end to end: a client puts data into the (stand-in) zone, an agent is given it over HTTP, no
//! delay executor waits for the import, and what came of it is written down.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use irods_omero_importer::FileOutcome;
use irods_omero_importer::agent_client::Client;
use irods_omero_importer::agents::{Agent, AgentError};
use irods_omero_importer::settings::{Address, AgentSettings};
use irods_omero_importer::wire::{File, Key};
use irods_omero_model::names::OmeroId;
use irods_omero_model::record::Imported;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::agent::{StandInAgent, TOKEN};
use support::threads::threads_during;
use support::tls::Authority;
use support::zone::TestZone;

/// A file that only its owner can read.
fn secret(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn settings(address: Address, token_file: Option<PathBuf>) -> AgentSettings {
    AgentSettings { name: "a1".to_owned(), address, token_file, ca_file: None, certificate: None }
}

fn key() -> Key {
    Key::parse("k").unwrap()
}

#[test]
fn whatever_an_agent_answers_is_a_sentence_and_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let (agent, url) = StandInAgent::on_port();
    let settings = settings(Address::Url(url), Some(secret(dir.path(), "token", TOKEN)));
    let client = Client::new(&settings, Duration::from_secs(5));
    assert_eq!(client.job(&key()).unwrap(), None);
    let long = format!("HTTP/1.1 200 x\r\ncontent-length: 5\r\nx: {}\r\n\r\nhello", "y".repeat(1 << 20));
    let nested = format!("HTTP/1.1 200 x\r\nconnection: close\r\n\r\n{}", "[".repeat(100_000));
    for answer in [
        "",
        "\0\0\0\0",
        "HTTP/1.1 200 x\r\n\r\n",
        "HTTP/1.1 200 x\r\ncontent-length: 99\r\n\r\n{}",
        "HTTP/1.1 200 x\r\ncontent-length: 99999999999999999999\r\n\r\n{}",
        "HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n",
        "HTTP/1.1 301 x\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 404 x\r\ncontent-length: 9\r\n\r\nnot found",
        "HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 999999 x\r\n\r\n",
        "HTTP/1.1 200 x\r\ncontent-length: 2\r\n\r\n{}",
        &long,
        &nested,
    ] {
        agent.answer_with(Some(answer.as_bytes()));
        for said in [client.job(&key()).map(drop), client.changes(0, 10).map(drop)] {
            let why = said.expect_err(&answer[..answer.len().min(60)]).to_string();
            assert!(why.starts_with("the agent 'a1' ") && !why.contains(['\r', '\n']), "{why}");
        }
    }
}

#[test]
fn what_stands_in_the_way_is_named_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let (agent, url) = StandInAgent::on_port();
    let asked = |address: &Address, token: Option<PathBuf>| {
        let settings = settings(address.clone(), token);
        Client::new(&settings, Duration::from_secs(2)).job(&key()).map(drop).unwrap_err()
    };
    let (url, token) = (Address::Url(url), Some(secret(dir.path(), "token", TOKEN)));
    let says = |error: AgentError, part: &str| {
        assert!(matches!(&error, AgentError::NotTaken(why) if why.contains(part)), "{error:?}");
    };
    says(asked(&url, Some(secret(dir.path(), "other", "guess"))), "check token_file");
    says(asked(&url, None), "check token_file");
    let open = secret(dir.path(), "open", TOKEN);
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    says(asked(&url, Some(open)), "chmod 0600");
    says(asked(&url, Some(dir.path().join("none"))), "No such file");
    says(asked(&Address::Url("http://127.0.0.1:1".to_owned()), token.clone()), "cannot be reached");
    says(asked(&Address::Url("https://none.invalid".to_owned()), token.clone()), "host name is not known");
    says(asked(&Address::Unix(dir.path().join("none.sock")), token.clone()), "cannot be reached");
    says(asked(&Address::Unix("/x".repeat(200).into()), token.clone()), "cannot be reached");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = Address::Url(format!("http://{}", silent.local_addr().unwrap()));
    let started = Instant::now();
    assert!(asked(&silent, token).to_string().contains("cannot be reached"));
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(!agent.seen().is_empty());
}

#[test]
fn over_tls_both_sides_show_a_certificate_or_nothing_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, others) = (Authority::new(dir.path(), "ours"), Authority::new(dir.path(), "others"));
    let (agent, url) = StandInAgent::on_tls_port(&ours);
    let asked = |url: &str, ca: &Authority, certificate: Option<(PathBuf, PathBuf)>| {
        let token_file = Some(secret(dir.path(), "token", TOKEN));
        let address = Address::Url(url.to_owned());
        let settings =
            AgentSettings { ca_file: Some(ca.file.clone()), certificate, ..settings(address, token_file) };
        Client::new(&settings, Duration::from_secs(5)).job(&key()).map_err(|e| e.to_string())
    };
    let own = ours.certificate("irods.example.org");
    assert_eq!(asked(&url, &ours, Some(own.clone())), Ok(None));
    let heard = agent.seen().len();
    let why = asked(&url, &others, Some(own.clone())).unwrap_err();
    assert!(why.contains("invalid peer certificate"), "{why}");
    let why = asked(&url.replace("localhost", "127.0.0.1"), &ours, Some(own.clone())).unwrap_err();
    assert!(why.contains("not valid for name"), "{why}");
    let strange = others.certificate("irods.example.net");
    assert!(asked(&url, &ours, None).is_err() && asked(&url, &ours, Some(strange.clone())).is_err());
    let why = asked(&url, &ours, Some((own.0.clone(), strange.1))).unwrap_err();
    assert!(why.contains("key_file"), "{why}");
    fs::set_permissions(&own.1, fs::Permissions::from_mode(0o640)).unwrap();
    let why = asked(&url, &ours, Some(own)).unwrap_err();
    assert!(why.contains("chmod 0600"), "{why}");
    assert_eq!(agent.seen().len(), heard, "the token went nowhere");
}

/// In a process of its own, because the other tests start threads.
#[test]
fn asking_an_agent_starts_no_thread() {
    const INNER: &str = "AGENT_THREADS_PLACES";
    let Ok(places) = std::env::var(INNER) else {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new(dir.path(), "ours");
        let (_, secure) = StandInAgent::on_tls_port(&authority);
        let (_, plain) = StandInAgent::on_port();
        let plain = plain.replace("127.0.0.1", "localhost");
        StandInAgent::on_socket(&dir.path().join("agent.sock"));
        authority.certificate("client");
        secret(dir.path(), "token", TOKEN);
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["asking_an_agent_starts_no_thread", "--exact", "--test-threads=1"])
            .env(INNER, format!("{} {secure} {plain}", dir.path().display()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    };
    let [dir, secure, plain] = places.split(' ').collect::<Vec<_>>()[..] else { panic!("{places}") };
    let dir = Path::new(dir);
    // A thread may come and go between two looks: often enough, it is seen.
    let often = |act: &dyn Fn()| threads_during(|| (0..50).for_each(|_| act()));
    let of_the_library = often(&|| {
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(5)));
        let _ = ureq::Agent::new_with_config(config.build()).get(plain).call();
    });
    assert!(
        of_the_library > 0,
        "the library no longer looks a name up in a thread, or the watcher sees none"
    );
    for address in [
        Address::Url(secure.to_owned()),
        Address::Url(plain.to_owned()),
        Address::Unix(dir.join("agent.sock")),
    ] {
        let settings = AgentSettings {
            ca_file: Some(dir.join("ours.pem")),
            certificate: Some((dir.join("client.cert.pem"), dir.join("client.key.pem"))),
            ..settings(address, Some(dir.join("token")))
        };
        let ask = || assert_eq!(Client::new(&settings, Duration::from_secs(5)).job(&key()), Ok(None));
        assert_eq!(often(&ask), 0, "{settings:?}");
    }
}

/// A zone whose agents listen on sockets.
fn zone_with(agents: &[&str], change: impl FnOnce(&mut Value)) -> TestZone {
    TestZone::with_dir(|dir, c| {
        let token = secret(dir, "agent.token", TOKEN);
        let url = |name: &str| format!("unix:{}", dir.join(format!("{name}.sock")).display());
        let agents: Vec<Value> =
            agents.iter().map(|a| json!({"name": a, "url": url(a), "token_file": token})).collect();
        c["omero"] = json!({"server": "omero.example.org"});
        c["importer"] = json!({"mode": "agent", "agents": agents, "collect_interval_in_seconds": 1});
        change(c);
    })
}

fn stand_in(zone: &TestZone, name: &str) -> StandInAgent {
    StandInAgent::on_socket(&zone.path(&format!("{name}.sock")))
}

/// Whether the names of the jobs in the queue, as JSON or not, hold that of the one which reads what agents have done.
fn is_collecting(queue: &str) -> bool {
    [r#""collect""#, r#""collect\""#].iter().any(|word| queue.contains(word))
}

/// A fileset and an image, both with the number of the data.
fn imported(file: &File) -> FileOutcome {
    let id = OmeroId::parse(&file.subject.short()[1..]).unwrap();
    FileOutcome::Imported(Imported {
        fileset: id,
        images: vec![id],
        plates: vec![],
        is_member: false,
        adopted: false,
        previous: vec![],
        version: None,
    })
}

#[test]
fn two_users_data_is_given_to_the_agent_and_no_executor_waits() {
    let zone = zone_with(&["a1"], |_| {});
    let agent = stand_in(&zone, "a1");
    let image = zone.image("a.tif");
    let _delay = zone.delay_server();
    let (alices, carols) = ("/tempZone/home/alice/a.tif", "/tempZone/home/carol/c.tif");
    zone.does("alice", &["put", &image, alices]);
    zone.does("carol", &["put", &image, carols]);
    zone.wait_for(alices, "importing");
    zone.wait_for(carols, "importing");
    zone.wait_until_nothing_is_due();
    zone.wait_until("nothing but the collecting is queued", |z| {
        let queue = z.does("rods", &["query", "select DELAY_RULE_NAME"]);
        is_collecting(&queue) && !queue.contains(r#""sweep\""#) && !queue.contains(r#""sweep""#)
    });
    let mut users: Vec<String> = agent.jobs().iter().map(|j| j.user.to_string()).collect();
    users.sort();
    assert_eq!(users, ["alice", "carol"]);
    let avus = zone.avus("-d", alices);
    assert!(avus.iter().any(|(a, v, u)| a == "job" && v.starts_with("sha256:") && u == "a1"), "{avus:?}");
    agent.finish(imported);
    zone.wait_for(alices, "imported");
    zone.wait_for(carols, "imported");
    let avus = zone.avus("-d", alices);
    assert!(avus.contains(&("owner".to_owned(), "alice".to_owned(), "lab".to_owned())), "{avus:?}");
    assert!(avus.iter().any(|(a, _, u)| a == "fileset" && u == "omero.example.org"), "{avus:?}");
    assert!(!avus.iter().any(|(a, _, _)| a == "job"), "{avus:?}");
    zone.wait_until("the collecting ends", |z| {
        !is_collecting(&z.does("rods", &["query", "select DELAY_RULE_NAME"]))
    });
    assert_eq!(zone.errors(), Vec::<String>::new());
}

#[test]
fn an_agent_that_is_down_is_a_reason_to_wait_and_nothing_is_lost() {
    let zone = zone_with(&["a1"], |_| {});
    let image = zone.image("a.tif");
    let _delay = zone.delay_server();
    let path = "/tempZone/home/alice/a.tif";
    zone.does("alice", &["put", &image, path]);
    zone.wait_for(path, "pending");
    let reason = zone.value(path, "reason").unwrap();
    assert!(reason.contains("the agent 'a1' cannot be reached"), "{reason}");
    let agent = stand_in(&zone, "a1");
    zone.wait_for(path, "importing");
    agent.finish(imported);
    zone.wait_for(path, "imported");
    assert_eq!(agent.jobs().len(), 1);
}

#[test]
fn another_agent_takes_over_from_one_that_stays_silent() {
    let zone = zone_with(&["a1", "a2"], |c| c["importer"]["fallback_after_in_seconds"] = json!(3));
    let agents = [stand_in(&zone, "a1"), stand_in(&zone, "a2")];
    let image = zone.image("a.tif");
    let path = "/tempZone/home/alice/a.tif";
    let _delay = zone.delay_server();
    zone.does("alice", &["put", &image, path]);
    zone.wait_for(path, "importing");
    zone.wait_until("an agent has it", |_| agents.iter().any(|a| a.jobs().len() == 1));
    let first = agents.iter().position(|a| a.jobs().len() == 1).unwrap();
    agents[first].answer_with(Some(b""));
    zone.wait_until("the other has it", |_| agents[1 - first].jobs().len() == 1);
    // Back while the other is at work, it is told not to do the same.
    agents[first].answer_with(None);
    zone.wait_until("the first has nothing to do any more", |_| !agents[first].is_busy());
    assert!(agents[1 - first].is_busy());
    assert_eq!(zone.value(path, "state").as_deref(), Some("importing"));
    agents[1 - first].finish(imported);
    zone.wait_for(path, "imported");
}
