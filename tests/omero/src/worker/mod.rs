//! `omero standin-worker`: a worker over the store, which speaks the protocol of docs/worker.md as the one in `omero/`
//! does with a real server.
//!
//! One JSON object a line comes in, exactly one goes out for each. Eight requests are worked on at a time, each with a
//! connection of its own to the store; a request whose limit is over is answered, and its work goes on.
//!
//! Faults apply with `--command worker` or the name of a method. Points: `start` (a request was read), `answer` (the
//! server answers: once for a request, and once for each object that is saved or deleted, with `--path` against
//! `Fileset:55`), `end` (all is done, the answer is not written yet).

mod annotate;
mod chosen;
mod containers;
mod filesets;
mod sessions;

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::fault::Faults;
use crate::record;
use crate::store::{Context, Refusal, Store};

/// The longest line in and out, with its line break, in bytes.
const MAX_LINE: usize = 16 << 20;
const AT_A_TIME: usize = 8;

/// What a request is answered with instead of a result.
#[derive(Clone, Debug)]
pub struct Failed {
    kind: &'static str,
    message: String,
}

impl Failed {
    fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    fn as_json(&self) -> Value {
        let class = match self.kind {
            "connection" | "session_expired" | "busy" | "time_limit" | "password" | "omero_py"
            | "internal" => "retry",
            "no_user" | "no_group" | "no_privilege" | "not_found" | "not_linkable" | "refused" => "final",
            _ => "request",
        };
        let message: String = self.message.split_whitespace().collect::<Vec<_>>().join(" ");
        let message: String = message.chars().take(1000).collect();
        json!({ "kind": self.kind, "class": class, "message": message })
    }
}

impl From<rusqlite::Error> for Failed {
    fn from(e: rusqlite::Error) -> Self {
        Self::new("internal", format!("InternalException: {e}"))
    }
}

type Answer = Result<Value, Failed>;

/// When a request has to be answered.
#[derive(Clone, Copy)]
struct Deadline(Instant);

impl Deadline {
    fn check(self) -> Result<(), Failed> {
        if Instant::now() < self.0 { Ok(()) } else { Err(time_limit()) }
    }

    fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

fn time_limit() -> Failed {
    Failed::new("time_limit", "not done within the time limit of the request")
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What all threads share.
struct Shared {
    dir: PathBuf,
    /// Keys of the sessions that are kept alive, with the seconds that each may be idle.
    sessions: Mutex<HashMap<String, u64>>,
    /// Keys of the sessions of people that are visited, with how many visit each.
    visits: Mutex<HashMap<String, u64>>,
    /// Filesets whose annotation is being saved, by the number of the save.
    saving: annotate::Savings,
    out: Mutex<std::io::Stdout>,
    /// Requests that are not answered yet.
    open: Mutex<HashMap<u64, Instant>>,
}

/// One request on its way.
struct Asked {
    id: u64,
    method: String,
    params: Value,
    deadline: Deadline,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: u64,
    method: String,
    limit: f64,
    #[serde(default)]
    params: Option<Value>,
}

/// Runs until the end of standard input, or `shutdown`.
pub fn main(words: &[String]) -> i32 {
    let Some(dir) = Store::directory() else {
        complain!("stand-in: OMERO_STANDIN names no directory");
        return 99;
    };
    record::started(&dir, words);
    let shared = Arc::new(Shared {
        dir,
        sessions: Mutex::default(),
        visits: Mutex::default(),
        saving: annotate::Savings::default(),
        out: Mutex::new(std::io::stdout()),
        open: Mutex::default(),
    });
    let (sender, receiver) = channel::<Asked>();
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..AT_A_TIME {
        let (shared, receiver) = (Arc::clone(&shared), Arc::clone(&receiver));
        std::thread::spawn(move || work(&shared, &receiver));
    }
    for watch in [Shared::answer_late_ones as fn(&Shared), Shared::keep_alive] {
        let shared = Arc::clone(&shared);
        std::thread::spawn(move || watch(&shared));
    }
    shared.read(&sender);
    // Whoever started it is gone. The sessions are left: an import may go on in them at the server.
    record::finished(&shared.dir, words, None, 0);
    0
}

fn work(shared: &Arc<Shared>, receiver: &Mutex<Receiver<Asked>>) {
    loop {
        let Ok(asked) = held(receiver).recv() else { return };
        // Its time may have been over before its turn.
        if held(&shared.open).contains_key(&asked.id) {
            shared.handle(&asked);
        }
    }
}

impl Shared {
    fn read(&self, sender: &Sender<Asked>) {
        let mut stdin = std::io::stdin().lock();
        loop {
            let mut line = Vec::new();
            match stdin.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if line.len() > MAX_LINE => {
                    while !line.is_empty() && !line.ends_with(b"\n") {
                        line.clear();
                        let _ = stdin.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut line);
                    }
                    self.refuse(None, "a line is longer than 16777216 bytes");
                }
                Ok(_) if line.iter().all(u8::is_ascii_whitespace) => {}
                Ok(_) => self.request(&line, sender),
            }
        }
    }

    fn request(&self, line: &[u8], sender: &Sender<Asked>) {
        let Ok(value) = serde_json::from_slice::<Value>(line) else {
            return self.refuse(None, "a line is not JSON");
        };
        let id = value.get("id").and_then(Value::as_u64).filter(|id| *id >= 1);
        let line = match serde_json::from_value::<Line>(value) {
            Ok(line) if id.is_some() && (0.001..=86400.0).contains(&line.limit) => line,
            Ok(_) => return self.refuse(id, "a request has no id, or no limit from 0.001 to 86400 seconds"),
            Err(e) => return self.refuse(id, &e.to_string()),
        };
        let deadline = Instant::now() + Duration::from_secs_f64(line.limit);
        {
            let mut open = held(&self.open);
            if open.contains_key(&line.id) {
                drop(open);
                return self.refuse(id, "a request of this id is being worked on");
            }
            open.insert(line.id, deadline);
        }
        let params = line.params.unwrap_or_else(|| json!({}));
        let _ = sender.send(Asked { id: line.id, method: line.method, params, deadline: Deadline(deadline) });
    }

    fn refuse(&self, id: Option<u64>, why: &str) {
        self.write(&json!({ "id": id, "error": Failed::new("bad_request", why).as_json() }));
    }

    fn handle(self: &Arc<Self>, asked: &Asked) {
        let mut faults = Faults::of(&self.dir, &format!("worker {}", asked.method));
        if let Some(Value::String(user)) = asked.params.get("user") {
            faults.user.clone_from(user);
        }
        let result = Request { shared: self, asked, faults: &mut faults }.answer();
        let kind = result.as_ref().err().map(|f| f.kind);
        record::asked(&self.dir, &asked.method, &asked.params, kind);
        faults.strike("end", None);
        if let Some(f) = faults.take("garbage", None, None) {
            self.write_text(&f.text.unwrap_or_else(|| "%$ not: [a result".to_owned()));
        }
        if let Some(f) = faults.take("huge-output", None, None) {
            let length = usize::try_from(f.bytes.unwrap_or(17 << 20)).unwrap_or(MAX_LINE);
            self.write_text(&"x".repeat(length));
        }
        let last = asked.method == "shutdown" && result.is_ok();
        if faults.take("no-output", None, None).is_some() {
            // The watch is not to answer in its stead.
            held(&self.open).remove(&asked.id);
        } else {
            self.finish(
                asked.id,
                match result {
                    Ok(v) => json!({ "id": asked.id, "result": v }),
                    Err(f) => json!({ "id": asked.id, "error": f.as_json() }),
                },
            );
        }
        if last {
            std::process::exit(0);
        }
    }

    /// Writes an answer, if its request still waits for one.
    fn finish(&self, id: u64, answer: Value) {
        let answer = if answer.to_string().len() + 1 > MAX_LINE {
            let f = Failed::new("too_large", "the answer is longer than 16777216 bytes: ask for less");
            json!({ "id": id, "error": f.as_json() })
        } else {
            answer
        };
        let mut open = held(&self.open);
        if open.remove(&id).is_some() {
            self.write(&answer);
        }
    }

    fn write(&self, answer: &Value) {
        self.write_text(&answer.to_string());
    }

    fn write_text(&self, line: &str) {
        let mut out = held(&self.out);
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            // Nobody listens any more.
            std::process::exit(0);
        }
    }

    /// Answers what is over its time.
    fn answer_late_ones(&self) {
        loop {
            std::thread::sleep(Duration::from_millis(20));
            // A method that notices by itself says more.
            let late: Vec<u64> = held(&self.open)
                .iter()
                .filter(|(_, end)| **end + Duration::from_millis(500) <= Instant::now())
                .map(|(id, _)| *id)
                .collect();
            for id in late {
                self.finish(id, json!({ "id": id, "error": time_limit().as_json() }));
            }
        }
    }

    /// Knocks for every session, for ever.
    fn keep_alive(&self) {
        let mut knocked: HashMap<String, Instant> = HashMap::new();
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let sessions = held(&self.sessions).clone();
            knocked.retain(|key, _| sessions.contains_key(key));
            for (key, idle) in sessions {
                let last = knocked.entry(key.clone()).or_insert_with(Instant::now);
                if last.elapsed() < Duration::from_secs(idle) / 3 {
                    continue;
                }
                *last = Instant::now();
                let gone =
                    Store::open(&self.dir).is_ok_and(|s| matches!(s.join(&key), Err(Refusal::Denied(_))));
                if gone {
                    held(&self.sessions).remove(&key);
                }
            }
        }
    }
}

/// A request being worked on.
struct Request<'a> {
    shared: &'a Arc<Shared>,
    asked: &'a Asked,
    faults: &'a mut Faults,
}

/// Somebody's session, and the store as they see it.
struct Seat {
    store: Store,
    context: Context,
}

impl Request<'_> {
    fn answer(&mut self) -> Answer {
        self.faults.strike("start", None);
        if let Some(f) = self.faults.take("exit", None, None) {
            std::process::exit(f.code.unwrap_or(1));
        }
        self.asked.deadline.check()?;
        if holds_nul(&self.asked.params) {
            return Err(Failed::new("bad_params", "a parameter is not a text"));
        }
        match self.asked.method.as_str() {
            "hello" => self.hello(),
            "probe" => self.probe(),
            "login" => self.login(),
            "join" => self.join(),
            "logout" => self.logout(),
            "filesets" => self.filesets(),
            "files" => self.files(),
            "relocate" => self.relocate(),
            "container" => self.container(),
            "lonely" => self.lonely(),
            "put" => self.put(),
            "annotate" => self.annotate(),
            "delete" => self.delete(),
            "deletions" => self.deletions(),
            "leftovers" => self.leftovers(),
            "visit" => self.visit(),
            "leave" => self.leave(),
            "chosen" => self.chosen(),
            "chosen_files" => self.chosen_files(),
            "shutdown" => self.shutdown(),
            other => Err(Failed::new("unknown_method", format!("there is no method {other}"))),
        }
    }

    /// The parameters as `T` has them; what it does not know is a mistake.
    fn params<T: DeserializeOwned>(&self) -> Result<T, Failed> {
        serde_json::from_value(self.asked.params.clone())
            .map_err(|e| Failed::new("bad_params", e.to_string()))
    }

    /// The way to the server, with all that may be wrong with it.
    fn reach(&self) -> Result<Store, Failed> {
        for (kind, message) in [
            ("server-down", "OMERO cannot be reached: connection refused"),
            ("bad-host", "OMERO cannot be reached: the host name cannot be found"),
            ("connect-failure", "OMERO cannot be reached: no connection within the time limit"),
            ("connection-lost", "the connection to OMERO was lost (ConnectionLostException)"),
        ] {
            if self.faults.take(kind, None, None).is_some() {
                return Err(Failed::new("connection", message));
            }
        }
        Store::open(&self.shared.dir).map_err(|e| Failed::new("connection", e))
    }

    /// The session of a request.
    fn seat(&mut self, key: &str) -> Result<Seat, Failed> {
        let expired = |why: &str| Failed::new("session_expired", why);
        if !held(&self.shared.sessions).contains_key(key) {
            return Err(expired("the worker does not have this session"));
        }
        let store = self.reach()?;
        if let Ok(context) = store.join(key) {
            self.faults.user.clone_from(&context.user_name);
        }
        if self.faults.take("session-lost", Some("answer"), None).is_some() {
            store.close_session(key)?;
        }
        self.faults.strike("answer", None);
        if self.faults.take("bad-query", None, None).is_some() {
            return Err(Failed::new("internal", "QueryException: stand-in fault"));
        }
        match store.join(key) {
            Ok(context) => Ok(Seat { store, context }),
            Err(_) => {
                held(&self.shared.sessions).remove(key);
                Err(expired("RemovedSessionException: the session is gone"))
            }
        }
    }

    fn hello(&self) -> Answer {
        self.params::<Nothing>()?;
        Ok(json!({
            "protocol": 1, "worker": "1", "omero_py": crate::VERSION, "ice": "3.6.5", "python": "3.11.2"
        }))
    }

    fn shutdown(&self) -> Answer {
        self.params::<Nothing>()?;
        let keys: Vec<String> = held(&self.shared.sessions).drain().map(|(key, _)| key).collect();
        if let Ok(store) = self.reach() {
            for key in keys {
                store.close_session(&key)?;
            }
        }
        Ok(json!({}))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(s) => s.contains('\0'),
        Value::Array(all) => all.iter().any(holds_nul),
        Value::Object(all) => all.iter().any(|(k, v)| k.contains('\0') || holds_nul(v)),
        _ => false,
    }
}

/// A list that is not longer than `most`.
fn bounded<T>(name: &str, list: &[T], most: usize) -> Result<(), Failed> {
    if list.len() > most {
        return Err(Failed::new("bad_params", format!("{name} has more than {most} elements")));
    }
    Ok(())
}

/// The rows of a query whose values stand in it, as columns of JSON.
fn rows(store: &Store, query: &str, values: &[&dyn rusqlite::ToSql]) -> Result<Vec<Vec<Value>>, Failed> {
    let mut q = store.db.prepare_cached(query)?;
    let columns = q.column_count();
    let mut found = q.query(values)?;
    let mut all = Vec::new();
    while let Some(row) = found.next()? {
        let line = (0..columns)
            .map(|i| {
                Ok(match row.get_ref(i)? {
                    rusqlite::types::ValueRef::Integer(n) => json!(n),
                    rusqlite::types::ValueRef::Text(t) => json!(String::from_utf8_lossy(t)),
                    _ => Value::Null,
                })
            })
            .collect::<rusqlite::Result<Vec<Value>>>()?;
        all.push(line);
    }
    Ok(all)
}

/// Ids as they stand in SQL.
fn listed(ids: impl IntoIterator<Item = i64>) -> String {
    let distinct: HashSet<i64> = ids.into_iter().collect();
    distinct.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Whether a file can be the one that holds a password.
fn password(path: &str) -> Result<String, Failed> {
    use std::os::unix::fs::MetadataExt;
    let refuse = |why: String| Failed::new("password", format!("the password file {path} {why}"));
    let about = std::fs::metadata(Path::new(path)).map_err(|e| refuse(format!("cannot be read: {e}")))?;
    if !about.is_file() {
        return Err(refuse("is not a regular file".to_owned()));
    }
    let credentials = std::env::var("CREDENTIALS_DIRECTORY").unwrap_or_default();
    let is_credential = credentials.starts_with('/')
        && Path::new(path).parent() == Some(Path::new(credentials.trim_end_matches('/')));
    if about.mode() & if is_credential { 0o027 } else { 0o077 } != 0 {
        return Err(refuse("can be read by others; run chmod 0600 on it".to_owned()));
    }
    if ![crate::sys::euid(), 0].contains(&about.uid()) {
        return Err(refuse("belongs to another account".to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(|e| refuse(format!("cannot be read: {e}")))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() || text.contains(['\n', '\0']) {
        return Err(refuse("must hold the password in its one line".to_owned()));
    }
    Ok(text.to_owned())
}
