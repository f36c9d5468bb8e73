//! The plugin in the (stand-in) zone and the real agent over the (stand-in) OMERO: data that is put appears in OMERO
//! exactly once, whatever becomes of the agent meanwhile, and no delay executor waits for it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU16, Ordering};
use support::tls::Authority;
use support::zone::{DelayServer, INSTANCE, TestZone};

const TOKEN: &str = "the token of the zone's servers";
const ALICES: &str = "/tempZone/home/alice/a.tif";
const CAROLS: &str = "/tempZone/home/carol/c.tif";

/// How the agent is reached.
#[derive(Clone, Copy)]
enum Way {
    Socket,
    MutualTls,
}

/// A zone that knows an agent, and the agent, which is not started yet.
struct Site {
    zone: TestZone,
    agent: Option<Child>,
    /// Where the agent listens, as it is told.
    listen: String,
    /// Stands for the port of OMERO: the agent looks whether anything listens there.
    omero_port: TcpListener,
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

/// The agent does not run as root, and has to read what the zone writes: so nothing here runs as root.
fn leave_root() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        support::program("irods-zone-standin", "zone");
        support::program("omero-standin", "omero");
        support::program("irods-omero", "irods-omero");
        if rustix::process::geteuid().is_root() {
            // SAFETY: calls of the C library that change this process's accounts, on all its threads.
            let left =
                unsafe { libc::setgroups(0, std::ptr::null()) + libc::setgid(65_534) + libc::setuid(65_534) };
            assert_eq!(left, 0);
        }
    });
}

fn secret(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// A value as TOML writes it in one line.
fn toml(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let pairs: Vec<_> = map.iter().map(|(k, v)| format!("{k} = {}", toml(v))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// A port that nobody has, and that no client of another test is given while an agent that was killed is away.
fn lasting_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    // Clients are given those from 32768 on.
    let first = u16::try_from(std::process::id() % 10_000).unwrap() + 20_000;
    loop {
        let port = first + GIVEN.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Site {
    fn new(way: Way) -> Self {
        leave_root();
        let omero = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = lasting_port();
        let mut listen = format!("127.0.0.1:{port}");
        let zone = TestZone::with_dir(|dir, c| {
            let agent = match way {
                Way::Socket => {
                    let url = format!("unix:{}", dir.join("agent.sock").display());
                    listen.clone_from(&url);
                    json!({"name": "a1", "url": url, "token_file": secret(dir, "agent.token", TOKEN)})
                }
                Way::MutualTls => {
                    let authority = Authority::new(dir, "authority");
                    authority.certificate("localhost");
                    let (certificate, key) = authority.certificate("irods.example.org");
                    json!({
                        "name": "a1", "url": format!("https://localhost:{port}"), "ca_file": authority.file,
                        "cert_file": certificate, "key_file": key,
                    })
                }
            };
            c["omero"] = json!({"server": "omero.example.org"});
            c["importer"] = json!({"mode": "agent", "agents": [agent], "collect_interval_in_seconds": 1});
        });
        let site = Self { zone, agent: None, listen, omero_port: omero };
        site.configure(way);
        site
    }

    fn configure(&self, way: Way) {
        let dir = self.zone.dir();
        let mut importer = self.zone.omero.importer_json();
        importer.as_object_mut().unwrap().remove("mode");
        let mut config = json!({
            "listen": self.listen, "state_directory": dir.join("state"), "roots": [dir],
            "users": {"allow": ["alice", "carol"]},
            "limits": {"retry_wait_in_seconds": 1, "stop_in_seconds": 0},
            "omero": [{
                "name": "omero.example.org", "server": "127.0.0.1",
                "port": self.omero_port.local_addr().unwrap().port(), "sudo_user": "importer",
                "password_file": self.zone.omero.password_file, "importer": importer,
            }],
        });
        match way {
            Way::Socket => {
                let text = format!("[servers]\ntoken = \"{TOKEN}\"\nzones = [\"tempZone\"]\n");
                config["tokens_file"] = json!(secret(dir, "tokens.toml", &text));
            }
            Way::MutualTls => {
                config["tls"] = json!({
                    "certificate": dir.join("localhost.cert.pem"), "key": dir.join("localhost.key.pem"),
                    "client_ca": dir.join("authority.pem"),
                });
                config["certificates"] = json!([{"name": "irods.example.org", "zones": ["tempZone"]}]);
            }
        }
        let lines: Vec<_> =
            config.as_object().unwrap().iter().map(|(k, v)| format!("{k} = {}\n", toml(v))).collect();
        fs::write(dir.join("agent.toml"), lines.concat()).unwrap();
    }

    /// Starts the agent and waits until it listens.
    fn start_agent(&mut self) {
        let dir = self.zone.dir();
        let log = File::options().create(true).append(true).open(dir.join("agent.log")).unwrap();
        let child = Command::new(support::program("irods-omero", "irods-omero"))
            .args(["agent", "--config"])
            .arg(dir.join("agent.toml"))
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.agent = Some(child);
        let listen = self.listen.clone();
        let ended = self.agent.as_mut().unwrap();
        self.zone.wait_until("the agent listens", |zone| {
            if let Some(status) = ended.try_wait().unwrap() {
                panic!("{status}: {}", fs::read_to_string(zone.path("agent.log")).unwrap());
            }
            match listen.strip_prefix("unix:") {
                Some(path) => UnixStream::connect(path).is_ok(),
                None => TcpStream::connect(&listen).is_ok(),
            }
        });
    }

    /// Ends the agent as a power cut would.
    fn kill_agent(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    /// Stops every import before anything of it is in OMERO; gives the file that lets it go on.
    fn stop_imports(&self) -> PathBuf {
        let gate = self.zone.path("gate");
        let until = gate.to_str().unwrap();
        self.zone.omero.admin(&["fault", "set", "gate", "--command", "import", "--until", until]);
        gate
    }

    /// Sends a request over the agent's socket and gives all that is answered.
    fn exchange(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(self.listen.strip_prefix("unix:").unwrap()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn queue(&self) -> String {
        self.zone.does("rods", &["query", "select DELAY_RULE_NAME"])
    }
}

/// Two users put data; the agent dies while it imports, and is started again.
fn imported_exactly_once(way: Way) {
    let mut site = Site::new(way);
    site.start_agent();
    let image = site.zone.image("a.tif");
    let gate = site.stop_imports();
    let _delay = site.zone.delay_server();
    site.zone.does("alice", &["put", &image, ALICES]);
    site.zone.does("carol", &["put", &image, CAROLS]);
    site.zone.wait_for(ALICES, "importing");
    site.zone.wait_for(CAROLS, "importing");
    let reached = format!("{}.reached", gate.display());
    site.zone.wait_until("an import has begun", |_| fs::exists(&reached).unwrap());
    site.zone.wait_until_nothing_is_due();
    site.zone.wait_until("no executor waits for OMERO", |_| {
        let queue = site.queue();
        queue.contains(r#""collect\""#) && !queue.contains(r#"\"sweep\""#)
    });
    site.kill_agent();
    fs::write(&gate, "").unwrap();
    site.start_agent();
    for (path, user) in [(ALICES, "alice"), (CAROLS, "carol")] {
        site.zone.wait_for(path, "imported");
        let avus = site.zone.avus("-d", path);
        let is = |attribute: &str| avus.iter().find(|(a, _, _)| a == attribute).cloned();
        assert_eq!(is("owner").unwrap().1, user);
        assert_eq!(is("fileset").unwrap().2, "omero.example.org");
        assert_eq!(is("job"), None, "{avus:?}");
    }
    // What the killed imports left behind are filesets without images.
    assert_eq!(site.zone.omero.count("images"), 2);
    assert_eq!(site.zone.errors(), Vec::<String>::new());
}

#[test]
fn through_a_socket_data_is_imported_exactly_once_though_the_agent_dies() {
    imported_exactly_once(Way::Socket);
}

#[test]
fn over_mutual_tls_data_is_imported_exactly_once_though_the_agent_dies() {
    imported_exactly_once(Way::MutualTls);
}

#[test]
fn while_the_agent_is_down_data_waits_with_the_reason_and_nothing_is_lost() {
    let mut site = Site::new(Way::Socket);
    let image = site.zone.image("a.tif");
    let _delay = site.zone.delay_server();
    site.zone.does("alice", &["put", &image, ALICES]);
    site.zone.wait_for(ALICES, "pending");
    let reason = site.zone.value(ALICES, "reason").unwrap();
    assert!(reason.contains("the agent 'a1' cannot be reached"), "{reason}");
    site.start_agent();
    site.zone.wait_for(ALICES, "imported");
    assert_eq!(site.zone.omero.count("filesets"), 1);
}

#[test]
fn while_omero_is_away_the_record_of_what_the_agent_has_says_why() {
    let mut site = Site::new(Way::Socket);
    site.start_agent();
    let image = site.zone.image("a.tif");
    site.zone.omero.admin(&["fault", "set", "server-down"]);
    let _delay = site.zone.delay_server();
    site.zone.does("alice", &["put", &image, ALICES]);
    site.zone.wait_until("the record says why", |zone| zone.value(ALICES, "reason").is_some());
    let reason = site.zone.value(ALICES, "reason").unwrap();
    assert!(
        reason.starts_with("OMERO cannot be reached") && reason.contains("by the agent 'a1'"),
        "{reason}"
    );
    assert_eq!(site.zone.value(ALICES, "state").as_deref(), Some("importing"));
    assert!(site.zone.value(ALICES, "retry").is_some() && site.zone.value(ALICES, "job").is_some());
    site.zone.omero.admin(&["fault", "clear"]);
    site.zone.wait_for(ALICES, "imported");
    assert_eq!((site.zone.value(ALICES, "reason"), site.zone.omero.count("images")), (None, 1));
}

#[test]
fn an_agent_that_lost_its_file_finds_in_omero_what_it_imported() {
    let mut site = Site::new(Way::Socket);
    site.start_agent();
    let image = site.zone.image("a.tif");
    let gate = site.stop_imports();
    {
        let _delay = site.zone.delay_server();
        site.zone.does("alice", &["put", &image, ALICES]);
        site.zone.wait_for(ALICES, "importing");
        let reached = format!("{}.reached", gate.display());
        site.zone.wait_until("the import has begun", |_| fs::exists(&reached).unwrap());
    }
    fs::write(&gate, "").unwrap();
    site.zone.wait_until("it is in OMERO", |z| z.omero.count("images") == 1);
    assert_eq!(site.zone.value(ALICES, "state").as_deref(), Some("importing"), "nobody has asked");
    site.kill_agent();
    fs::remove_dir_all(site.zone.path("state")).unwrap();
    site.start_agent();
    let _delay = site.zone.delay_server();
    site.zone.wait_for(ALICES, "imported");
    assert_eq!((site.zone.omero.count("filesets"), site.zone.omero.count("images")), (1, 1));
    assert!(
        site.zone.log().contains("act=collect imported=0 failed=0 skipped=0 pending=1"),
        "it was found lost"
    );
}

#[test]
fn a_set_whose_files_lie_in_collections_below_its_key_is_one_fileset() {
    let mut site = Site::new(Way::Socket);
    site.start_agent();
    let local = site.zone.path("plate");
    fs::create_dir_all(local.join("sub")).unwrap();
    fs::write(local.join("x.plate-test"), "name P\nwell A1 sub/a1.tif\nwell A2 sub/a2.tif\n").unwrap();
    for name in ["a1.tif", "a2.tif", "unrelated.tif"] {
        site.zone.omero.admin(&["make", "tiff", local.join("sub").join(name).to_str().unwrap()]);
    }
    let at = |name: &str| format!("/tempZone/home/alice/plate/{name}");
    let _delay = site.zone.delay_server();
    site.zone.does("alice", &["put", "-r", local.to_str().unwrap(), "/tempZone/home/alice/plate"]);
    for name in ["x.plate-test", "sub/a1.tif", "sub/a2.tif", "sub/unrelated.tif"] {
        site.zone.wait_for(&at(name), "imported");
    }
    site.zone.wait_until_nothing_is_due();
    let fileset = site.zone.value(&at("x.plate-test"), "fileset");
    assert!(fileset.is_some());
    for name in ["sub/a1.tif", "sub/a2.tif"] {
        assert_eq!(site.zone.value(&at(name), "member_of"), fileset, "{name}");
    }
    assert_eq!((site.zone.omero.count("filesets"), site.zone.errors()), (2, vec![]));
}

#[test]
fn the_agent_points_the_link_to_where_the_data_has_moved_also_after_it_was_away() {
    let mut site = Site::new(Way::Socket);
    site.start_agent();
    let image = site.zone.image("a.tif");
    let _delay = site.zone.delay_server();
    site.zone.does("alice", &["put", &image, ALICES]);
    site.zone.wait_for(ALICES, "imported");
    site.zone.wait_until_nothing_is_due();
    let leads_to = |zone: &TestZone, name: &str| {
        let shown = zone.omero.show();
        let file = &shown["filesets"][0]["files"][0];
        file["readable"] == true && file["target"].as_str().is_some_and(|to| to.ends_with(name))
    };
    let (second, third) = ("/tempZone/home/alice/b.tif", "/tempZone/home/alice/c.tif");
    site.zone.does("alice", &["mv", ALICES, second]);
    site.zone.wait_until("the link leads to the new name", |z| leads_to(z, "/alice/b.tif"));
    site.kill_agent();
    site.zone.does("alice", &["mv", second, third]);
    site.zone.wait_until("the record says why not", |z| {
        z.value(third, "reason").is_some_and(|why| why.contains("the agent 'a1' cannot be reached"))
    });
    assert_eq!(site.zone.value(third, "state").as_deref(), Some("imported"));
    site.start_agent();
    site.zone.wait_until("the link leads to the last name", |z| leads_to(z, "/alice/c.tif"));
    site.zone.wait_until("nothing is said any more", |z| z.value(third, "reason").is_none());
    assert_eq!(site.zone.omero.count("filesets"), 1);
}

#[test]
fn the_page_of_the_agent_shows_what_the_zone_holds_back() {
    let mut site = Site::new(Way::Socket);
    site.start_agent();
    let image = site.zone.image("a.tif");
    let path = "/tempZone/home/bob/microscopy/a.tif";
    let _delay = site.zone.delay_server();
    site.zone.does("bob", &["mkdir", "/tempZone/home/bob/microscopy"]);
    site.zone.does("bob", &["put", &image, path]);
    site.zone.wait_for(path, "skipped");
    let reason = site.zone.value(path, "reason").unwrap();
    site.zone.does("rods", &["rule", "-r", INSTANCE, r#"{"operation":"install_recurring"}"#]);
    let sign_in = format!(
        "POST /login HTTP/1.1\r\nHost: agent\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\ntoken={TOKEN}",
        6 + TOKEN.len()
    );
    let answer = site.exchange(&sign_in);
    let cookie = answer.split("irods_omero_session=").nth(1).and_then(|rest| rest.split(';').next()).unwrap();
    let ask = format!(
        "GET /backlog HTTP/1.1\r\nHost: agent\r\nConnection: close\r\nCookie: irods_omero_session={cookie}\r\n\r\n"
    );
    let shown = reason.replace('\'', "&#39;");
    site.zone.wait_until("the page shows it", |_| {
        let page = site.exchange(&ask);
        page.contains("1 skipped") && page.contains("/tempZone/home/bob/microscopy") && page.contains(&shown)
    });
}

/// A site with data of alice that is imported.
fn with_an_image() -> (Site, DelayServer) {
    let mut site = Site::new(Way::Socket);
    site.start_agent();
    let image = site.zone.image("a.tif");
    let delay = site.zone.delay_server();
    site.zone.does("alice", &["put", &image, ALICES]);
    site.zone.wait_for(ALICES, "imported");
    site.zone.wait_until_nothing_is_due();
    (site, delay)
}

#[test]
fn what_is_deleted_in_omero_is_free_a_moment_later_in_agent_mode_too() {
    let (mut site, _delay) = with_an_image();
    let refused = |zone: &TestZone| {
        let seen = zone.act("alice", &["rm", "-f", ALICES]);
        let told = format!("{}{}", seen.output, seen.error);
        assert!(!seen.ok && told.contains("-169000"), "{told}");
        told
    };
    assert!(refused(&site.zone).contains("try again a minute later"));
    site.zone.wait_until("OMERO was asked", |z| !looks(z));
    assert_eq!(site.zone.value(ALICES, "state").as_deref(), Some("imported"), "its images are there");
    let fileset = site.zone.value(ALICES, "fileset").unwrap();
    site.zone.omero.act("alice", &["delete", "-q", &format!("Fileset:{fileset}")]);
    // An agent that cannot be reached is no word of OMERO.
    site.kill_agent();
    refused(&site.zone);
    site.zone.wait_until("the job has failed", |z| !looks(z));
    assert_eq!(site.zone.value(ALICES, "state").as_deref(), Some("imported"), "nobody knows");
    site.start_agent();
    refused(&site.zone);
    site.zone.wait_until("the record says so", |z| z.value(ALICES, "state").as_deref() == Some("skipped"));
    let reason = site.zone.value(ALICES, "reason").unwrap();
    assert!(reason.starts_with("removed in OMERO"), "{reason}");
    site.zone.does("alice", &["rm", "-f", ALICES]);
}

/// Whether a job waits that asks OMERO for filesets.
fn looks(zone: &TestZone) -> bool {
    zone.admin(&["sql", "select count(*) from R_RULE_EXEC where rule_name like '%look_in_omero%'"]).trim()
        != "0"
}

#[test]
fn images_are_deleted_through_the_agent_with_the_rights_of_whoever_asks() {
    let (site, _delay) = with_an_image();
    let release = json!({"operation": "release", "path": ALICES, "images": "delete"}).to_string();
    let asks = |user: &str| {
        let seen = site.zone.act(user, &["rule", "-r", INSTANCE, &release]);
        assert!(seen.ok, "{user}: {}{}", seen.output, seen.error);
    };
    site.zone.does("alice", &["chmod", "own", "carol", ALICES]);
    asks("carol");
    site.zone.wait_until("it is said why not", |z| z.log().contains("may OMERO user carol delete it?"));
    assert_eq!(site.zone.omero.count("filesets"), 1);
    assert_eq!(site.zone.value(ALICES, "state").as_deref(), Some("imported"));
    asks("alice");
    site.zone.wait_until("it is released", |z| z.value(ALICES, "state").as_deref() == Some("skipped"));
    assert_eq!(site.zone.omero.count("filesets"), 0);
    let log = fs::read_to_string(site.zone.path("agent.log")).unwrap();
    assert!(log.contains("act=\"delete_in_omero\""), "{log}");
    site.zone.does("alice", &["rm", "-f", ALICES]);
    assert_eq!(site.zone.errors(), Vec::<String>::new());
}
