//! An agent for one test: the program, over the stand-in OMERO, in a temporary directory.
#![allow(dead_code)]

#[path = "../../../../tests/support/omero.rs"]
pub mod omero;

use omero::TestOmero;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{Read, Write, copy};
use std::net::{Shutdown, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What a test waits for comes within this, or never.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// The token of the caller of zone `z`.
pub const TOKEN: &str = "token of the caller of zone z";
/// The token of a caller of another zone.
pub const OTHER_TOKEN: &str = "token of the caller of zone y";

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A program of another package of the workspace.
pub fn program(package: &str, name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join(name);
    if !path.is_file() {
        let status = Command::new(env!("CARGO")).args(["build", "-q", "-p", package]).status().unwrap();
        assert!(status.success(), "cargo build -p {package} failed");
    }
    path
}

/// The agent does not run as root, so the test does not either, with all it starts.
fn leave_root() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        program("omero-standin", "omero");
        if rustix::process::geteuid().is_root() {
            // SAFETY: calls of the C library that change this process's accounts, on all its threads.
            let left =
                unsafe { libc::setgroups(0, std::ptr::null()) + libc::setgid(65_534) + libc::setuid(65_534) };
            assert_eq!(left, 0);
        }
    });
}

/// Waits until a condition gives something.
pub fn wait_until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// From the bytes of a connection that was closed.
    pub fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// The bytes of a request.
pub fn request(method: &str, path: &str, token: Option<&str>, body: &str) -> String {
    let authorization = token.map(|t| format!("Authorization: Bearer {t}\r\n")).unwrap_or_default();
    let kind = if method == "POST" { "Content-Type: application/json\r\n" } else { "" };
    request_with(method, path, &format!("Host: agent\r\n{kind}{authorization}"), body)
}

/// The bytes of a request with these lines of the head.
pub fn request_with(method: &str, path: &str, head: &str, body: &str) -> String {
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\n{head}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// The bytes of a form that is sent.
pub fn form(path: &str, head: &str, form: &str) -> String {
    let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
    request_with("POST", path, &format!("Host: agent\r\n{kind}{head}"), form)
}

pub struct TestAgent {
    pub dir: TempDir,
    pub omero: TestOmero,
    pub vault: PathBuf,
    /// Stands for the port of OMERO: it can be reached while this listens.
    port: Option<TcpListener>,
    pub config: Value,
    /// Where the agent writes what it has to say.
    pub journal: PathBuf,
    child: Option<Child>,
}

impl TestAgent {
    /// A configuration and an OMERO; the agent is not started yet.
    pub fn new() -> Self {
        leave_root();
        let dir = tempfile::tempdir().unwrap();
        let omero = TestOmero::new(dir.path());
        let vault = dir.path().join("vault");
        fs::create_dir(&vault).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut importer = omero.importer_json();
        importer.as_object_mut().unwrap().remove("mode");
        let config = json!({
            "listen": format!("unix:{}", dir.path().join("agent.sock").display()),
            "tokens_file": dir.path().join("tokens.toml"),
            "state_directory": dir.path().join("state"),
            "roots": [&vault],
            "users": {"allow": ["alice", "carol"], "match": "user[0-9]+"},
            "limits": {"retry_wait_in_seconds": 1, "stop_in_seconds": 0},
            "omero": [{
                "name": "main", "server": "127.0.0.1", "port": port.local_addr().unwrap().port(),
                "sudo_user": "importer", "password_file": omero.password_file, "importer": importer,
            }],
        });
        let journal = dir.path().join("agent.log");
        let agent = Self { dir, omero, vault, port: Some(port), config, journal, child: None };
        agent.write_tokens(&[(TOKEN, "z"), (OTHER_TOKEN, "y")]);
        agent
    }

    /// A started agent.
    pub fn started() -> Self {
        let mut agent = Self::new();
        agent.start();
        agent
    }

    /// Callers that may submit what lies in the vault, each for its zone.
    pub fn write_tokens(&self, tokens: &[(&str, &str)]) {
        let vault = self.vault.display();
        let table = |(token, zone): &(&str, &str)| {
            format!(
                "[caller-of-{zone}]\ntoken = \"{token}\"\nzones = [\"{zone}\"]\nroots = [\"{vault}\"]\n\
                 users = {{ match = \".+\" }}\n"
            )
        };
        self.write_callers(&tokens.iter().map(table).collect::<String>());
    }

    pub fn write_callers(&self, text: &str) {
        let path = self.dir.path().join("tokens.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("agent.log")).unwrap_or_default()
    }

    pub fn write_config(&self) -> PathBuf {
        let config = self.dir.path().join("agent.toml");
        fs::write(&config, toml::to_string(&self.config).unwrap()).unwrap();
        config
    }

    fn spawn(&self) -> Child {
        self.spawn_by(Command::new(env!("CARGO_BIN_EXE_irods-omero")))
    }

    fn spawn_by(&self, mut command: Command) -> Child {
        let config = self.write_config();
        let log = File::options().create(true).append(true).open(&self.journal).unwrap();
        command.args(["agent", "--config"]).arg(config).env("RUST_LOG", "debug");
        command.stderr(log).stdout(Stdio::null()).spawn().unwrap()
    }

    /// Starts the agent so that no file, of its own or of what it starts, can become longer, as on a full disk. Gives
    /// whether it answers; else it has ended.
    pub fn start_with_largest_file(&mut self, kilobytes: usize) -> bool {
        let mut command = Command::new("bash");
        command.args(["-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\""]).arg(kilobytes.to_string());
        command.arg(env!("CARGO_BIN_EXE_irods-omero"));
        let mut child = self.spawn_by(command);
        let answers = wait_until("it answers or ends", || {
            if child.try_wait().unwrap().is_some() {
                return Some(false);
            }
            self.try_send(&request("GET", "/healthz", None, "")).map(|_| true)
        });
        self.child = answers.then_some(child);
        answers
    }

    /// Starts the agent; the test waits for it itself.
    pub fn start_unattended(&mut self) {
        self.child = Some(self.spawn());
    }

    /// Starts the agent and waits until it answers.
    pub fn start(&mut self) {
        self.child = Some(self.spawn());
        wait_until("the agent answers", || {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("{status}: {}", self.log());
            }
            self.try_send(&request("GET", "/healthz", None, ""))
        });
    }

    /// Starts the agent and waits until it ends; gives how, and what it said.
    pub fn start_in_vain(&mut self) -> (ExitStatus, String) {
        self.child = Some(self.spawn());
        let ended = || self.child.as_mut().unwrap().try_wait().unwrap();
        let status = wait_until("the agent does not start", ended);
        self.child = None;
        (status, self.log())
    }

    /// Starts a second agent, which ends; gives how, and what both said.
    pub fn second(&self) -> (ExitStatus, String) {
        let status = self.spawn().wait().unwrap();
        (status, self.log())
    }

    fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(self.child.as_ref().unwrap())
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    /// Ends the agent as a power cut would, if it runs.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Ends the agent as systemd would.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.child.take().unwrap().wait().unwrap()
    }

    /// OMERO can no longer be reached.
    pub fn omero_down(&mut self) {
        self.omero.admin(&["fault", "set", "server-down"]);
        self.port = None;
    }

    /// OMERO can be reached again.
    pub fn omero_up(&mut self) {
        self.omero.admin(&["fault", "clear"]);
        let port = self.config["omero"][0]["port"].as_u64().unwrap();
        self.port = Some(TcpListener::bind(("127.0.0.1", u16::try_from(port).unwrap())).unwrap());
    }

    pub fn connect(&self) -> Option<UnixStream> {
        let stream = UnixStream::connect(self.dir.path().join("agent.sock")).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Some(stream)
    }

    pub fn try_send(&self, request: &str) -> Option<Answer> {
        let mut stream = self.connect()?;
        stream.write_all(request.as_bytes()).ok()?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).ok()?;
        Some(Answer::of(&bytes))
    }

    pub fn send(&self, request: &str) -> Answer {
        self.try_send(request).unwrap_or_else(|| panic!("no answer: {}", self.log()))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send(&request("GET", path, Some(TOKEN), ""))
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(&request("POST", path, Some(TOKEN), &body))
    }

    /// An image in the vault.
    pub fn image(&self, name: &str) -> PathBuf {
        let path = self.vault.join(name);
        self.omero.admin(&["make", "tiff", path.to_str().unwrap()]);
        path
    }

    /// The body that submits files, whose subjects are numbered from `first` on.
    pub fn body(&self, key: &str, first: usize, paths: &[PathBuf]) -> Value {
        let files: Vec<Value> = paths
            .iter()
            .enumerate()
            .map(|(i, path)| {
                let path = self.vault.join(path);
                json!({
                    "subject": format!("d{}", first + i), "logical_path": format!("/z/home/alice/{key}/{i}"),
                    "path": path, "modified": 1_700_000_000,
                    "size": fs::metadata(&path).map_or(0, |m| m.len()), "checksum": null, "owner": "alice#z", "previous": [],
                })
            })
            .collect();
        json!({
            "key": key, "zone": "z", "user": "alice", "group": null, "target": "Dataset:name:run1",
            "plate_target": null, "may_join": false, "priority": 0, "collection": "77", "files": files,
        })
    }

    /// The same for a caller of another token.
    pub fn get_as(&self, token: &str, path: &str) -> Answer {
        self.send(&request("GET", path, Some(token), ""))
    }

    /// The same for a caller of another token.
    pub fn post_as(&self, token: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(&request("POST", path, Some(token), &body))
    }

    /// Submits a new job; gives its id.
    pub fn submit(&self, body: &Value) -> String {
        let answer = self.post("/v1/jobs", body);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    pub fn job(&self, id: &str) -> Value {
        self.get(&format!("/v1/jobs/{id}")).json()
    }

    /// Waits until a job is done with nothing postponed: what was, is given to it again, as iRODS does.
    pub fn wait_until_all_is_told(&self, id: &str) -> Value {
        wait_until(&format!("nothing of {id} is postponed"), || {
            let done = self.wait_for(id, "done");
            if !outcomes(&done).contains(&"postponed") {
                return Some(done);
            }
            self.post(&format!("/v1/jobs/{id}/retry"), &Value::Null);
            None
        })
    }

    /// Follows the feed until a job is in a state.
    pub fn wait_for(&self, id: &str, state: &str) -> Value {
        let mut cursor = 0;
        wait_until(&format!("{id} is {state}; {}", self.job(id)), || {
            let page = self.get(&format!("/v1/changes?after={cursor}&wait=5")).json();
            cursor = page["cursor"].as_u64().unwrap();
            page["jobs"].as_array().unwrap().iter().find(|j| j["id"] == id && j["state"] == state).cloned()
        })
    }
}

impl Drop for TestAgent {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

/// The outcomes of a job, one word each.
pub fn outcomes(job: &Value) -> Vec<&str> {
    job["outcomes"].as_array().unwrap().iter().map(|o| o["outcome"].as_str().unwrap()).collect()
}

/// Brings what comes to a TCP port to a Unix socket, as `ssh -L` does. Gives the address for a browser.
pub fn forward(socket: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for from in listener.incoming().map_while(Result::ok) {
            let Ok(to) = UnixStream::connect(&socket) else { continue };
            let (mut there, mut back) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let (mut from, mut to) = (from, to);
            std::thread::spawn(move || {
                let _ = copy(&mut from, &mut to); // either side may end first
                let _ = to.shutdown(Shutdown::Write);
            });
            std::thread::spawn(move || {
                let _ = copy(&mut back, &mut there);
                let _ = there.shutdown(Shutdown::Write);
            });
        }
    });
    format!("http://localhost:{port}")
}
