//! Measures a running agent: how many submissions it takes over TLS, how long they and the page take, and how much memory it
//! needs. `script/bench --agent` runs it; the method is written down in `docs/benchmarks.md`.
//!
//! It starts the agent it measures: `load IRODS_OMERO OMERO DIRECTORY CASE...`, where OMERO is the stand-in.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a measurement that cannot go on has failed

use rcgen::{CertificateParams, KeyPair};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep_until;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const TOKEN: &str = "token of the caller that measures";
/// Connections that submit, as of a busy site's executors.
const CONNECTIONS: usize = 64;
/// Image files there are; jobs beyond name them again.
const IMAGES: usize = 2_000;

struct Place {
    agent: PathBuf,
    omero: PathBuf,
    dir: PathBuf,
    /// The store of the stand-in, in memory: it is instant, and does not wait for the disk that is measured.
    store: tempfile::TempDir,
    port: u16,
    missed: bool,
}

impl Place {
    fn new(agent: &str, omero: &str, dir: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let store = tempfile::tempdir_in("/dev/shm").unwrap();
        let (agent, omero, dir) = (agent.into(), omero.into(), dir.into());
        let place = Self { agent, omero, dir, store, port, missed: false };
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        place.file("agent.pem", &certificate.pem());
        place.file("agent.key", &key.serialize_pem());
        place.file("tokens.toml", &format!("[measuring]\ntoken = \"{TOKEN}\"\nzones = [\"*\"]\n"));
        place.file("password", "secret of the importer\n");
        place.file("jars/importer.jar", "");
        place.file("logback.xml", include_str!("../../../packaging/logback-import.xml"));
        let password = place.dir.join("password");
        let words = ["init", "--root-password", "root", "--sudo-user", "importer", "--sudo-password-file"];
        place.admin(&[&words[..], &[password.to_str().unwrap()]].concat());
        place.admin(&["group", "add", "lab"]);
        for user in 0..20 {
            place.admin(&["user", "add", &format!("user{user}"), "--group", "lab"]);
        }
        let one = place.dir.join("one.tif");
        place.admin(&["make", "tiff", one.to_str().unwrap()]);
        fs::create_dir(place.dir.join("vault")).unwrap();
        for n in 0..IMAGES {
            fs::hard_link(&one, place.image(n)).unwrap();
        }
        place
    }

    fn file(&self, name: &str, text: &str) {
        let path = self.dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn image(&self, n: usize) -> PathBuf {
        self.dir.join(format!("vault/{:06}.tif", n % IMAGES))
    }

    fn admin(&self, words: &[&str]) {
        let mut command = Command::new(&self.omero);
        command.arg("standin").args(words).env("OMERO_STANDIN", self.store.path().join("omero"));
        let status = command.stdout(Stdio::null()).status().unwrap();
        assert!(status.success(), "{words:?}");
    }

    /// The result of a measurement, beside what it should be at most (or at least).
    fn tell(&mut self, what: &str, target: &str, measured: &str, met: bool) {
        self.missed |= !met;
        println!("{what:<64} {target:>14} {measured:>14} {}", if met { "ok" } else { "MISSED" });
    }

    /// Starts an agent with a queue of its own; with OMERO or without. Gives how long it took until it answered.
    async fn start(&self, queue: &str, omero_port: u16) -> (Agent, Duration) {
        let path = |name: &str| self.dir.join(name).display().to_string();
        let config = json!({
            "listen": format!("127.0.0.1:{}", self.port), "tokens_file": path("tokens.toml"),
            "state_directory": path(queue), "roots": [path("vault")],
            "tls": {"certificate": path("agent.pem"), "key": path("agent.key")},
            "users": {"match": "user[0-9]+"}, "limits": {"requests_per_second": 1_000_000},
            "omero": [{
                "name": "main", "server": "127.0.0.1", "port": omero_port, "sudo_user": "importer",
                "password_file": path("password"),
                "importer": {
                    "command": self.omero, "jars": path("jars"), "work_directory": path("work"),
                    "logback": path("logback.xml"),
                    "environment": {"OMERO_STANDIN": self.store.path().join("omero"), "OMERO_STANDIN_ALLOW_ROOT": "1"},
                },
            }],
        });
        self.file("agent.toml", &toml::to_string(&config).unwrap());
        let log = fs::File::options().create(true).append(true).open(self.dir.join("agent.log")).unwrap();
        let start = Instant::now();
        let child = Command::new(&self.agent)
            .args(["agent", "--config", &path("agent.toml")])
            .env("RUST_LOG", "warn")
            .stderr(log)
            .spawn()
            .unwrap();
        let mut agent = Agent { child };
        loop {
            assert!(agent.child.try_wait().unwrap().is_none(), "the agent ended: see {}", path("agent.log"));
            if let Some(mut line) = self.try_connect().await
                && line.ask("GET", "/healthz", "").await.0 == 200
            {
                return (agent, start.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn try_connect(&self) -> Option<Line> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.dir.join("agent.pem")).unwrap()).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        stream.set_nodelay(true).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
        Some(Line { stream, buffer: Vec::new(), head: String::new() })
    }

    async fn connect(&self) -> Line {
        self.try_connect().await.expect("the agent takes a connection")
    }

    /// The body that submits some files, numbered from `first` on.
    fn body(&self, key: &str, first: usize, files: usize) -> String {
        let file = |n: usize| {
            let path = self.image(n);
            json!({
                "subject": format!("d{}", n + 1), "logical_path": format!("/tempZone/home/alice/run1/{n:06}.tif"),
                "path": path, "modified": 1_700_000_000, "size": fs::metadata(&path).unwrap().len(), "checksum": null,
                "owner": "alice#tempZone", "previous": [],
            })
        };
        json!({
            "key": key, "zone": "tempZone", "user": format!("user{}", first % 20), "group": null,
            "target": "Dataset:name:run1", "plate_target": null, "may_join": false, "priority": 0, "collection": "77",
            "files": (first..first + files).map(file).collect::<Vec<_>>(),
        })
        .to_string()
    }

    fn queue(&self, queue: &str) -> Connection {
        Connection::open(self.dir.join(queue).join("queue.sqlite")).unwrap()
    }
}

struct Agent {
    child: Child,
}

impl Agent {
    /// A line of the status of its process, in KiB.
    fn kib(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The processor time it has used, without that of the importers.
    fn milliseconds(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        // In hundredths of a second, as Linux tells it to all programs.
        fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A connection that is kept.
struct Line {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
    /// Further lines of each request's head.
    head: String,
}

impl Line {
    /// Signs in, as a browser does.
    async fn sign_in(&mut self) {
        "Content-Type: application/x-www-form-urlencoded\r\n".clone_into(&mut self.head);
        let (status, _) = self.ask("POST", "/login", &format!("token={}", TOKEN.replace(' ', "+"))).await;
        assert_eq!(status, 303);
        let head = String::from_utf8_lossy(&self.buffer).into_owned();
        let cookie = head.lines().find_map(|l| l.strip_prefix("set-cookie: ")).unwrap();
        self.head = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    }

    /// Asks, and waits for the whole answer.
    async fn ask(&mut self, method: &str, path: &str, body: &str) -> (u16, Vec<u8>) {
        let kind = if method == "POST" && !self.head.contains("Content-Type") {
            "Content-Type: application/json\r\n"
        } else {
            ""
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n{kind}{}Content-Length: {}\r\n\r\n",
            self.head,
            body.len()
        );
        self.stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await.unwrap();
        self.stream.flush().await.unwrap();
        self.buffer.clear();
        let mut end = None;
        loop {
            if end.is_none() {
                end = self.buffer.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4);
            }
            if let Some(end) = end {
                let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
                let length = head.lines().find_map(|l| l.strip_prefix("content-length:")).map(str::trim);
                let length: usize = length.expect("an answer says its length").parse().unwrap();
                if self.buffer.len() >= end + length {
                    let status = head[9..12].parse().unwrap();
                    return (status, self.buffer[end..].to_vec());
                }
            }
            assert!(self.stream.read_buf(&mut self.buffer).await.unwrap() > 0, "the agent hung up");
        }
    }
}

/// How long requests took.
struct Times(Vec<Duration>);

impl Times {
    fn at(&self, part: f64) -> Duration {
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        self.0[((self.0.len() as f64 * part) as usize).min(self.0.len() - 1)]
    }
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}

/// Submits jobs of one file through all connections. With a `rate` each has a time at which it is due, and the time it
/// takes counts from then: who comes late because of those before is not counted as quick. Gives the times and how
/// long it all took.
async fn submit(place: &Arc<Place>, prefix: &str, jobs: usize, rate: Option<usize>) -> (Times, Duration) {
    let mut lines = Vec::new();
    for _ in 0..CONNECTIONS {
        lines.push(place.connect().await);
    }
    let start = tokio::time::Instant::now();
    let tasks = lines.into_iter().enumerate().map(|(first, mut line)| {
        let (place, prefix) = (Arc::clone(place), prefix.to_owned());
        tokio::spawn(async move {
            let mut times = Vec::new();
            for n in (first..jobs).step_by(CONNECTIONS) {
                let body = place.body(&format!("{prefix}-{n}"), n, 1);
                let mut due = tokio::time::Instant::now();
                if let Some(rate) = rate {
                    due = start + Duration::from_micros((n * 1_000_000 / rate) as u64);
                    sleep_until(due).await;
                }
                let (status, answer) = line.ask("POST", "/v1/jobs", &body).await;
                assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
                times.push(due.elapsed());
            }
            times
        })
    });
    let mut times = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        times.extend(task.await.unwrap());
    }
    let took = start.elapsed();
    times.sort_unstable();
    (Times(times), took)
}

/// Everything that was answered is in the file, though the agent was killed right after the last answer.
fn lost(place: &Place, queue: &str, jobs: usize) -> i64 {
    let there: i64 = place.queue(queue).query_row("SELECT count(*) FROM job", [], |r| r.get(0)).unwrap();
    i64::try_from(jobs).unwrap() - there
}

async fn submissions(mut place: Place) -> Place {
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let omero = port.local_addr().unwrap().port();
    let (agent, _) = place.start("sustained", omero).await;
    let idle = agent.kib("VmRSS") / 1024;
    place.tell("resident when idle", "<= 64 MiB", &format!("{idle} MiB"), idle <= 64);
    let shared = Arc::new(place);
    let jobs = 60_000;
    let (times, took) = submit(&shared, "s", jobs, Some(2_000)).await;
    agent.kill();
    place = Arc::into_inner(shared).unwrap();
    let lost = lost(&place, "sustained", jobs);
    let imported: i64 = place
        .queue("sustained")
        .query_row("SELECT count(*) FROM job WHERE state = 'done' AND failed = 0", [], |r| r.get(0))
        .unwrap();
    let rate = u128::try_from(jobs).unwrap() * 1_000 / took.as_millis();
    place.tell(
        "submissions a second for 30 s, while imports run",
        ">= 2000",
        &rate.to_string(),
        rate >= 1_990,
    );
    place.tell("  p50 from when it was due", "", &ms(times.at(0.5)), true);
    place.tell("  p99", "<= 20 ms", &ms(times.at(0.99)), times.at(0.99) <= Duration::from_millis(20));
    place.tell("  the slowest", "", &ms(times.at(1.0)), true);
    place.tell("  lost when the agent is killed after the last answer", "0", &lost.to_string(), lost == 0);
    place.tell("  jobs imported meanwhile", "> 0", &imported.to_string(), imported > 0);
    place
}

async fn queued(mut place: Place) -> Place {
    // Nothing listens at this port: all stays queued.
    place.admin(&["fault", "set", "server-down"]);
    let (agent, _) = place.start("queued", 9).await;
    let before = agent.milliseconds();
    let shared = Arc::new(place);
    let jobs = 100_000;
    let (times, took) = submit(&shared, "q", jobs, None).await;
    place = Arc::into_inner(shared).unwrap();
    let rate = u128::try_from(jobs).unwrap() * 1_000 / took.as_millis();
    place.tell("submissions a second, as many as it takes, OMERO away", "", &rate.to_string(), true);
    place.tell("  p99", "", &ms(times.at(0.99)), true);
    let each = (agent.milliseconds() - before) * 1_000 / u64::try_from(jobs).unwrap();
    place.tell("  the agent's processor time for each", "", &format!("{each} µs"), true);
    let (now, peak) = (agent.kib("VmRSS") / 1024, agent.kib("VmHWM") / 1024);
    place.tell("resident with 100,000 jobs queued", "<= 256 MiB", &format!("{now} MiB"), now <= 256);
    place.tell("  at most so far", "", &format!("{peak} MiB"), true);
    let body = place.body("large", 0, 100_000);
    let mut line = place.connect().await;
    let start = Instant::now();
    let (status, answer) = line.ask("POST", "/v1/jobs", &body).await;
    let took = start.elapsed();
    let files = serde_json::from_slice::<Value>(&answer).unwrap()["files"].as_u64();
    let what = format!("a batch of 100,000 paths, {} MiB", body.len() >> 20);
    place.tell(&what, "201", &status.to_string(), status == 201 && files == Some(100_000));
    place.tell("  it took", "", &ms(took), true);
    let peak = agent.kib("VmHWM") / 1024;
    place.tell("  resident at most", "", &format!("{peak} MiB"), true);
    agent.kill();
    place.admin(&["fault", "clear"]);
    place
}

/// Fills a queue with jobs that have ended over the last weeks.
fn fill(place: &Place, queue: &str, jobs: u64) {
    let body = place.body("finished", 0, 1);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut file = place.queue(queue);
    file.pragma_update(None, "synchronous", "OFF").unwrap();
    let work = file.transaction().unwrap();
    let mut change: u64 =
        work.query_row("SELECT value FROM meta WHERE name = 'change'", [], |r| r.get(0)).unwrap();
    let outcome = json!([{
        "subject": "d1", "outcome": "imported", "reason": null, "fileset": "5", "images": ["6"], "plates": [],
        "is_member": false, "adopted": false,
    }])
    .to_string();
    for n in 0..jobs {
        change += 1;
        let ended = now - (jobs - n) * 2_500_000 / jobs;
        let state = if n % 500 == 0 { "refused" } else { "done" };
        work.prepare_cached(
            "INSERT INTO job (key, digest, caller, zone, server, user, collection, priority, files, large, rank, state,
                              attempts, submitted, started, change, place)
             VALUES (?1, zeroblob(32), 'measuring', ?2, 'main', ?3, '77', 0, 1, 0, ?4, ?5, 1, ?4, ?4, ?6,
                     '/tempZone/home/alice/run1')",
        )
        .unwrap()
        .execute(rusqlite::params![
            format!("f{n}"), format!("zone{}", n % 4), format!("user{}", n % 200), ended, state, change
        ])
        .unwrap();
        let job = work.last_insert_rowid();
        for (sql, text) in [
            ("INSERT INTO body VALUES (?1, ?2)", body.as_bytes()),
            ("INSERT INTO outcome VALUES (?1, ?2)", outcome.as_bytes()),
        ] {
            work.prepare_cached(sql).unwrap().execute(rusqlite::params![job, text]).unwrap();
        }
        for what in ["submitted by measuring", "started, attempt 1", "done"] {
            let mut note =
                work.prepare_cached("INSERT INTO history (job, at, what) VALUES (?1, ?2, ?3)").unwrap();
            note.execute(rusqlite::params![job, ended, what]).unwrap();
        }
        let mut end = work.prepare_cached("UPDATE job SET ended = ?2 WHERE id = ?1").unwrap();
        end.execute(rusqlite::params![job, ended]).unwrap();
    }
    work.execute("UPDATE meta SET value = ?1 WHERE name = 'change'", [change]).unwrap();
    work.commit().unwrap();
}

async fn finished(mut place: Place) -> Place {
    place.admin(&["fault", "set", "server-down"]);
    let (agent, _) = place.start("finished", 9).await;
    agent.kill();
    let start = Instant::now();
    fill(&place, "finished", 1_000_000);
    // Or the agent's first wait for the disk would be for what was written here.
    fs::File::open(place.dir.join("finished/queue.sqlite")).unwrap().sync_all().unwrap();
    eprintln!("load: 1,000,000 jobs were made in {} s", start.elapsed().as_secs());
    let (agent, started) = place.start("finished", 9).await;
    let size = fs::metadata(place.dir.join("finished/queue.sqlite")).unwrap().len() >> 20;
    let what = format!("start with 1,000,000 finished jobs, {size} MiB");
    place.tell(&what, "", &ms(started), true);
    let now = agent.kib("VmRSS") / 1024;
    place.tell("  resident", "", &format!("{now} MiB"), true);
    let mut line = place.connect().await;
    line.sign_in().await;
    for (what, path) in [
        ("the first page", "/"),
        ("  of one zone", "/?zone=zone3"),
        ("  of one state", "/?state=refused"),
        ("  of one user", "/?user=user7"),
        ("  of a zone that has no job", "/?zone=nowhere"),
        ("  of a text that no job has", "/?text=nothing"),
        ("a page of the list, far back", "/?before=OLD"),
    ] {
        let mut worst = Duration::ZERO;
        for _ in 0..20 {
            let path = match path.strip_suffix("OLD") {
                Some(path) => format!("{path}{}", oldest(&place)),
                None => path.to_owned(),
            };
            let start = Instant::now();
            let (status, _) = line.ask("GET", &path, "").await;
            assert_eq!(status, 200, "{path}");
            worst = worst.max(start.elapsed());
        }
        let all = path.contains("text=");
        let target = if all { "" } else { "<= 300 ms" };
        place.tell(what, target, &ms(worst), all || worst <= Duration::from_millis(300));
    }
    for (rate, prefix) in [(200, "slow"), (2_000, "fast")] {
        let shared = Arc::new(place);
        let (times, _) = submit(&shared, prefix, rate * 10, Some(rate)).await;
        place = Arc::into_inner(shared).unwrap();
        let p99 = times.at(0.99);
        let what = format!("{rate} submissions a second beside them, p99");
        place.tell(&what, "<= 20 ms", &ms(p99), p99 <= Duration::from_millis(20));
        place.tell("  p50", "", &ms(times.at(0.5)), true);
    }
    agent.kill();
    place.admin(&["fault", "clear"]);
    place
}

/// The name of a job near the beginning.
fn oldest(place: &Place) -> String {
    let file = place.queue("finished");
    let epoch: String =
        file.query_row("SELECT value FROM meta WHERE name = 'epoch'", [], |r| r.get(0)).unwrap();
    format!("{epoch}-1000")
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() {
    let words: Vec<String> = std::env::args().collect();
    let [_, agent, omero, dir, cases @ ..] = words.as_slice() else {
        panic!("load IRODS_OMERO OMERO DIRECTORY CASE...");
    };
    let mut place = Place::new(agent, omero, dir);
    for case in cases {
        place = match case.as_str() {
            "submissions" => submissions(place).await,
            "queued" => queued(place).await,
            "finished" => finished(place).await,
            other => panic!("there is no case '{other}'"),
        };
    }
    let missed = place.missed;
    drop(place); // with the store
    std::process::exit(i32::from(missed));
}
