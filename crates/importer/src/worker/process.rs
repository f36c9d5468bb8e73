//! The worker as a process: started when it is needed, asked by several at a time, replaced when it fails.
//!
//! No thread reads for the others: of those who wait for an answer one reads, and wakes the others.

use super::answers::Refusal;
use super::launch::{LaunchError, command_of};
use super::{Waiting, Worker, WorkerError};
use crate::ffi::isolate_resident;
use crate::settings::Omero;
use crate::workplace::{Purpose, Workplace};
use irods_omero_model::clock::{Clock, SystemClock};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Its name in the worker's directory.
const FILE: &str = "irods_omero_worker.py";

/// The variable in which systemd names the directory of the credentials that it hands over.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// The longest line, with its end, in bytes.
const MAX_LINE: usize = 64 << 20;

/// How long after the limit of a request the worker may still answer that the limit is over.
const GRACE: Duration = Duration::from_secs(10);

/// The longest time between two looks at whether the waiting is to end.
const LOOK: Duration = Duration::from_millis(200);

/// The longest time between two signs of life.
const TICK: Duration = Duration::from_secs(2);

/// How many lines may be no answers before the worker is taken to be none.
const MAX_GARBAGE: u32 = 1_000;

/// How much is read at once, in bytes: whoever reads looks at its own clock in between.
const READ_AT_ONCE: usize = 1 << 20;

/// How much of the last words on standard error is kept, in bytes.
const MAX_WORDS: usize = 2_048;

/// How many characters of them an error repeats.
const SHOWN_WORDS: usize = 300;

/// The worker of one OMERO server.
#[derive(Debug)]
pub struct WorkerProcess {
    omero: Omero,
    current: Mutex<Option<Arc<Running>>>,
}

impl WorkerProcess {
    /// A worker that is started with the first question.
    pub fn new(omero: &Omero) -> Self {
        Self { omero: omero.clone(), current: Mutex::default() }
    }

    /// The number of the process, if one runs.
    pub fn process(&self) -> Option<u32> {
        lock(&self.current).as_ref().map(|running| lock(&running.child).id())
    }

    /// The process, which is started if there is none that can be asked.
    fn running(&self) -> Result<Arc<Running>, LaunchError> {
        let mut current = lock(&self.current);
        if let Some(running) = current.as_ref().filter(|running| !running.is_broken()) {
            return Ok(Arc::clone(running));
        }
        // Whoever still waits for the old one is told so.
        *current = None;
        let running = Arc::new(Running::start(&self.omero)?);
        *current = Some(Arc::clone(&running));
        Ok(running)
    }
}

impl Worker for WorkerProcess {
    fn ask(
        &self,
        method: &'static str,
        params: Value,
        waiting: &mut Waiting<'_>,
    ) -> Result<Value, WorkerError> {
        self.running()?.ask(method, &params, waiting)
    }
}

/// One process.
#[derive(Debug)]
struct Running {
    command: String,
    child: Mutex<Child>,
    input: Mutex<ChildStdin>,
    output: Mutex<Output>,
    inbox: Mutex<Inbox>,
    changed: Condvar,
    next: AtomicU64,
    _place: Workplace,
}

/// What the process says.
#[derive(Debug)]
struct Output {
    stdout: ChildStdout,
    stderr: ChildStderr,
    stderr_open: bool,
    /// What was read of a line that has not ended.
    line: Vec<u8>,
    /// The end of standard error.
    words: Vec<u8>,
}

/// What was answered, and to whom.
#[derive(Debug, Default)]
struct Inbox {
    /// Questions that somebody waits for the answer of.
    open: HashMap<u64, Option<Answer>>,
    /// Questions that nobody waits for any more.
    forgotten: HashSet<u64>,
    /// Whether somebody reads.
    reading: bool,
    garbage: u32,
    /// Why the process cannot be asked any more.
    broken: Option<String>,
}

type Answer = Result<Value, Refusal>;

/// One line of the worker.
#[derive(Debug, Deserialize)]
struct Line {
    id: Option<u64>,
    #[serde(default)]
    result: Option<Value>,
    #[serde(default)]
    error: Option<Refusal>,
}

impl Running {
    fn start(omero: &Omero) -> Result<Self, LaunchError> {
        let importer = &omero.importer;
        let words = command_of(importer)?;
        let no_directory = |e: io::Error| LaunchError::WorkDirectory {
            directory: importer.work_directory.clone(),
            why: e.to_string(),
        };
        let place = Workplace::new(&importer.work_directory, Purpose::Worker, SystemClock.now())
            .map_err(no_directory)?;
        let text = place.keep(FILE, super::TEXT.as_bytes()).map_err(no_directory)?;
        let (mut command, shown) = command(&words, text);
        place.prepare(&mut command, importer);
        // Where systemd hands over the password file.
        command.envs(std::env::var_os(CREDENTIALS).map(|directory| (CREDENTIALS, directory)));
        let not_run = |e: io::Error| LaunchError::NotRun { program: shown.clone(), why: e.to_string() };
        let mut child = command.spawn().map_err(not_run)?;
        match Self::connect(&mut child) {
            Ok((input, output)) => Ok(Self {
                command: shown,
                child: Mutex::new(child),
                input: Mutex::new(input),
                output: Mutex::new(output),
                inbox: Mutex::default(),
                changed: Condvar::new(),
                next: AtomicU64::new(1),
                _place: place,
            }),
            Err(e) => {
                end(&mut child);
                Err(not_run(e))
            }
        }
    }

    fn connect(child: &mut Child) -> io::Result<(ChildStdin, Output)> {
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("its streams are not connected"));
        };
        for fd in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
            fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?;
        }
        Ok((stdin, Output { stdout, stderr, stderr_open: true, line: Vec::new(), words: Vec::new() }))
    }

    fn is_broken(&self) -> bool {
        lock(&self.inbox).broken.is_some()
    }

    fn died(&self, why: &str) -> WorkerError {
        WorkerError::Died { command: self.command.clone(), why: why.to_owned() }
    }

    /// Has nobody ask the process any more, and ends it.
    fn give_up(&self, why: &str) -> WorkerError {
        let mut inbox = lock(&self.inbox);
        let why = inbox.broken.get_or_insert_with(|| why.to_owned()).clone();
        drop(inbox);
        self.changed.notify_all();
        end(&mut lock(&self.child));
        self.died(&why)
    }

    fn ask(
        &self,
        method: &'static str,
        params: &Value,
        waiting: &mut Waiting<'_>,
    ) -> Result<Value, WorkerError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let limit = waiting.limit.as_secs_f64().clamp(0.001, 86_400.0);
        let request = json!({"id": id, "method": method, "limit": limit, "params": params});
        let line = format!("{request}\n");
        if line.len() > MAX_LINE {
            return Err(WorkerError::Garbled {
                method,
                why: "the question is longer than a line".to_owned(),
            });
        }
        let patience = Patience::new(waiting);
        lock(&self.inbox).open.insert(id, None);
        let answer = self.send(line.as_bytes(), patience).and_then(|patience| self.receive(id, patience));
        let mut inbox = lock(&self.inbox);
        if inbox.open.remove(&id).is_some() && answer.is_err() && inbox.broken.is_none() {
            inbox.forgotten.insert(id);
        }
        drop(inbox);
        match answer? {
            Ok(result) => Ok(result),
            Err(refusal) => Err(WorkerError::Answered { kind: refusal.kind(), message: refusal.message }),
        }
    }

    /// Writes a line. A worker that does not read is as good as none.
    fn send<'w, 'p>(
        &self,
        line: &[u8],
        mut patience: Patience<'w, 'p>,
    ) -> Result<Patience<'w, 'p>, WorkerError> {
        let mut input = lock(&self.input);
        let mut rest = line;
        while !rest.is_empty() {
            match input.write(rest) {
                Ok(n) => rest = &rest[n..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    wait(&mut [PollFd::new(&*input, PollFlags::OUT)], LOOK);
                    // It may not read because nobody reads what it says.
                    self.read_in_passing();
                    match patience.look() {
                        Look::Go => {}
                        Look::Stop if rest.len() == line.len() => return Err(WorkerError::Stopped),
                        // A line that was begun cannot be taken back.
                        Look::Stop => {
                            drop(self.give_up("was given half a question"));
                            return Err(WorkerError::Stopped);
                        }
                        Look::Over => return Err(self.give_up("did not take a question in time")),
                    }
                }
                Err(_) => return Err(self.give_up(&self.last_words())),
            }
        }
        Ok(patience)
    }

    fn receive(&self, id: u64, mut patience: Patience<'_, '_>) -> Result<Answer, WorkerError> {
        loop {
            let mut inbox = lock(&self.inbox);
            if let Some(answer) = inbox.open.get_mut(&id).and_then(Option::take) {
                return Ok(answer);
            }
            if let Some(why) = &inbox.broken {
                return Err(self.died(why));
            }
            if inbox.reading {
                drop(self.changed.wait_timeout(inbox, LOOK).unwrap_or_else(PoisonError::into_inner));
            } else {
                inbox.reading = true;
                drop(inbox);
                self.read_for_all(LOOK);
            }
            match patience.look() {
                Look::Go => {}
                Look::Stop => return Err(WorkerError::Stopped),
                Look::Over => return Err(self.give_up("did not answer in time")),
            }
        }
    }

    /// Reads while one writes, unless somebody reads anyway.
    fn read_in_passing(&self) {
        let mut inbox = lock(&self.inbox);
        if !inbox.reading && inbox.broken.is_none() {
            inbox.reading = true;
            drop(inbox);
            self.read_for_all(Duration::ZERO);
        }
    }

    /// Reads what is there, or comes within some time, and gives it to those who wait. The caller has set `reading`.
    fn read_for_all(&self, limit: Duration) {
        let read = lock(&self.output).read(limit);
        let broken = match read {
            Ok((lines, is_open)) => {
                let mut inbox = lock(&self.inbox);
                for line in lines {
                    inbox.take(&line);
                }
                if inbox.garbage > MAX_GARBAGE {
                    Some(
                        "says what is no answer: does importer/worker name a Python with omero-py?"
                            .to_owned(),
                    )
                } else {
                    drop(inbox);
                    (!is_open).then(|| self.last_words())
                }
            }
            Err(e) => Some(format!("cannot be read: {e}")),
        };
        let mut inbox = lock(&self.inbox);
        inbox.reading = false;
        drop(inbox);
        if let Some(why) = broken {
            drop(self.give_up(&why));
        }
        self.changed.notify_all();
    }

    /// How a process that closed its streams ended.
    fn last_words(&self) -> String {
        let mut child = lock(&self.child);
        // It is about to end; what it leaves behind is ended with it.
        let status = wait_for_end(&mut child, Duration::from_secs(2));
        drop(child);
        let mut output = lock(&self.output);
        let _ = output.read(Duration::ZERO); // its last words; a stream that ended has none
        let words = String::from_utf8_lossy(&output.words).into_owned();
        let line = words.lines().rev().map(str::trim).find(|line| !line.is_empty());
        let line: String = line.unwrap_or("it said nothing").chars().take(SHOWN_WORDS).collect();
        format!("ended ({}): {line}", status.as_deref().unwrap_or("its output did"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        end(&mut lock(&self.child));
    }
}

impl Output {
    /// Reads for at most some time. Gives the whole lines, and whether more may come.
    fn read(&mut self, limit: Duration) -> io::Result<(Vec<Vec<u8>>, bool)> {
        let mut fds = vec![PollFd::new(&self.stdout, PollFlags::IN)];
        if self.stderr_open {
            fds.push(PollFd::new(&self.stderr, PollFlags::IN));
        }
        wait(&mut fds, limit);
        let words = &mut self.words;
        if self.stderr_open {
            self.stderr_open = drain(&mut self.stderr, READ_AT_ONCE, |bytes| {
                words.extend_from_slice(bytes);
                words.drain(..words.len().saturating_sub(MAX_WORDS));
            })?;
        }
        let mut lines = Vec::new();
        let line = &mut self.line;
        let is_open = drain(&mut self.stdout, READ_AT_ONCE, |mut bytes| {
            while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
                line.extend_from_slice(&bytes[..end]);
                lines.push(std::mem::take(line));
                bytes = &bytes[end + 1..];
            }
            line.extend_from_slice(bytes);
        })?;
        if self.line.len() > MAX_LINE {
            return Err(io::Error::other("its line does not end"));
        }
        Ok((lines, is_open))
    }
}

impl Inbox {
    fn take(&mut self, line: &[u8]) {
        let Some((id, answer)) = read_line(line) else {
            self.garbage += 1;
            if self.garbage == 1 {
                let shown: String = String::from_utf8_lossy(line).chars().take(80).collect();
                log::warn!("act=worker failed=\"not an answer\" line={shown:?}");
            }
            return;
        };
        match self.open.get_mut(&id) {
            Some(slot @ None) => *slot = Some(answer),
            // The first answer counts.
            None if self.forgotten.remove(&id) => {}
            Some(Some(_)) | None => self.garbage += 1,
        }
    }
}

fn read_line(line: &[u8]) -> Option<(u64, Answer)> {
    let line: Line = serde_json::from_slice(line).ok()?;
    match (line.id, line.result, line.error) {
        (Some(id), Some(result), None) => Some((id, Ok(result))),
        (Some(id), None, Some(refusal)) => Some((id, Err(refusal))),
        (None, None, Some(refusal)) => {
            log::warn!("act=worker failed={:?}", refusal.message);
            None
        }
        (_, _, _) => None,
    }
}

/// How long one still waits.
struct Patience<'w, 'p> {
    waiting: &'w mut Waiting<'p>,
    end: Instant,
    last_sign: Instant,
}

enum Look {
    Go,
    Stop,
    Over,
}

impl<'w, 'p> Patience<'w, 'p> {
    fn new(waiting: &'w mut Waiting<'p>) -> Self {
        let now = Instant::now();
        Self { end: now + waiting.limit + GRACE, waiting, last_sign: now }
    }

    fn look(&mut self) -> Look {
        let now = Instant::now();
        if self.waiting.observer.stop() {
            return Look::Stop;
        }
        if now >= self.end {
            return Look::Over;
        }
        if now.duration_since(self.last_sign) >= TICK {
            self.last_sign = now;
            (self.waiting.alive)();
        }
        Look::Go
    }
}

/// The command of the worker, and its words as they are shown.
fn command(words: &[OsString], text: PathBuf) -> (Command, String) {
    let (program, arguments) =
        words.split_first().map_or((Path::new(""), &[][..]), |(p, a)| (Path::new(p), a));
    let mut command = Command::new(program);
    command.args(arguments).arg(text);
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    isolate_resident(&mut command);
    let shown: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    (command, shown.join(" "))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait(fds: &mut [PollFd<'_>], limit: Duration) {
    let nanos = i64::from(limit.subsec_nanos());
    let seconds = i64::try_from(limit.as_secs()).unwrap_or(i64::MAX);
    // A signal may end it early: it is waited for again.
    let _ = poll(fds, Some(&Timespec { tv_sec: seconds, tv_nsec: nanos }));
}

/// Reads what is there, about so many bytes at most. Gives false at the end of the stream.
fn drain(stream: &mut impl Read, most: usize, mut take: impl FnMut(&[u8])) -> io::Result<bool> {
    let mut buffer = [0_u8; 16_384];
    let mut taken = 0;
    while taken < most {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(n) => {
                taken += n;
                take(&buffer[..n]);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

/// Ends a process with all it started.
fn end(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // Once it has been waited for its number may be another's.
        if !matches!(child.try_wait(), Ok(Some(_))) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
    let _ = child.wait();
}

/// How a process ended, if it does within some time.
fn wait_for_end(child: &mut Child, limit: Duration) -> Option<String> {
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.to_string()),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) | Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests;
