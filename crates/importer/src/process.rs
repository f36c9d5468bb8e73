//! Running one `omero` command to its end: own process group, bounded time, bounded output, no thread.
//!
//! The command runs below coreutils' `timeout`, which bounds it even when we are gone, and which the kernel
//! tells when we die: signalling the `omero` command alone would leave its Java running.

use crate::ffi::isolate;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How much of standard output is kept, in bytes. Results beyond it are found by asking OMERO.
const MAX_STDOUT: usize = 64 << 20;
/// How much of standard error is kept, in bytes: its beginning and its end.
const MAX_STDERR: usize = 1 << 20;
/// How long a process group has to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);
/// The longest time between two signs of life.
const TICK: Duration = Duration::from_secs(2);

/// Looks on while commands run.
pub trait Observer: std::fmt::Debug + Sync {
    /// Takes what a command wrote on standard error since the last time.
    fn stderr(&self, bytes: &[u8]);
    /// Whether the command is to be ended, with all it started.
    fn stop(&self) -> bool;
}

/// Nobody looks on.
#[derive(Debug)]
pub struct Nobody;

impl Observer for Nobody {
    fn stderr(&self, _: &[u8]) {}

    fn stop(&self) -> bool {
        false
    }
}

/// What a command was and did.
#[derive(Debug)]
pub struct Finished {
    /// `None` where the status could not be had (a parent that ignores SIGCHLD).
    pub status: Option<ExitStatus>,
    /// Standard output, up to [`MAX_STDOUT`].
    pub stdout: String,
    /// Standard error, up to [`MAX_STDERR`].
    pub stderr: String,
    /// Whether it was ended because its time was over, or because it was to be.
    pub timed_out: bool,
    /// Whether standard output was longer than is kept.
    pub is_cut: bool,
}

impl Finished {
    /// The exit code as a shell would see it; signals are 128 + n.
    pub fn code(&self) -> Option<i32> {
        let status = self.status?;
        status.code().or_else(|| status.signal().map(|n| 128 + n))
    }
}

/// Keeps the beginning and the end of a stream.
struct Kept {
    head: Vec<u8>,
    tail: Vec<u8>,
    limit: usize,
    dropped: bool,
}

impl Kept {
    fn new(limit: usize) -> Self {
        Self { head: Vec::new(), tail: Vec::new(), limit, dropped: false }
    }

    fn add(&mut self, bytes: &[u8]) {
        let room = (self.limit / 2).saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        self.tail.extend_from_slice(&bytes[room..]);
        if self.tail.len() > self.limit {
            self.tail.drain(..self.tail.len() - self.limit / 2);
            self.dropped = true;
        }
    }

    fn text(self) -> String {
        let mut text = String::from_utf8_lossy(&self.head).into_owned();
        if self.dropped {
            text.push_str("\n[...]\n");
        }
        text.push_str(&String::from_utf8_lossy(&self.tail));
        text
    }
}

/// Runs `program` with `arguments` for at most `limit`. `prepare` sets environment and directory.
/// `observer` is asked several times a second.
///
/// # Errors
/// The command could not be started.
pub fn run(
    program: &OsString,
    arguments: &[OsString],
    input: File,
    limit: Duration,
    prepare: impl FnOnce(&mut Command),
    alive: &mut dyn FnMut(),
    observer: &dyn Observer,
) -> io::Result<Finished> {
    run_heard(program, arguments, input, limit, prepare, alive, observer, &mut |_| {})
}

/// The same. `hear` takes all that is said on standard error, while it is said.
///
/// # Errors
/// The command could not be started.
#[allow(clippy::too_many_arguments)] // one process has that many sides
pub fn run_heard(
    program: &OsString,
    arguments: &[OsString],
    input: File,
    limit: Duration,
    prepare: impl FnOnce(&mut Command),
    alive: &mut dyn FnMut(),
    observer: &dyn Observer,
    hear: &mut dyn FnMut(&[u8]),
) -> io::Result<Finished> {
    let mut command = Command::new("timeout");
    // A little later than our own limit, for the case that we are not there to keep it.
    command.arg(format!("--kill-after={}", GRACE.as_secs())).arg((limit + GRACE).as_secs().to_string());
    command.arg(program).args(arguments);
    prepare(&mut command);
    command.process_group(0).stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    isolate(&mut command);
    let mut child = command.spawn()?;
    let result = attend(&mut child, Instant::now() + limit, alive, observer, hear);
    end_group(&mut child);
    result
}

fn attend(
    child: &mut Child,
    deadline: Instant,
    alive: &mut dyn FnMut(),
    observer: &dyn Observer,
    hear: &mut dyn FnMut(&[u8]),
) -> io::Result<Finished> {
    let (Some(mut out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::Error::other("the command's output is not connected"));
    };
    for fd in [out.as_fd(), err.as_fd()] {
        fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?;
    }
    let (mut stdout, mut stderr) = (Kept::new(MAX_STDOUT), Kept::new(MAX_STDERR));
    let mut take_stderr = |bytes: &[u8]| {
        stderr.add(bytes);
        observer.stderr(bytes);
        hear(bytes);
    };
    let (mut out_open, mut err_open) = (true, true);
    let mut deadline = deadline;
    let mut timed_out = false;
    let mut killed = false;
    let mut last_sign = Instant::now();
    let status = loop {
        wait_readable(&out, &err, out_open, err_open);
        out_open = out_open && drain(&mut out, |bytes| stdout.add(bytes))?;
        err_open = err_open && drain(&mut err, &mut take_stderr)?;
        match child.try_wait() {
            // Whoever still holds the pipes (a Java left behind) is ended by the caller; what has been said
            // until now is all that counts.
            Ok(Some(status)) => break Some(status),
            // Nobody waits for children here (SIGCHLD ignored): the closed pipes are the end.
            Err(_) if !out_open && !err_open => break None,
            Ok(None) | Err(_) => {}
        }
        let now = Instant::now();
        let over = now >= deadline || (!timed_out && observer.stop());
        if over && !killed {
            let signal = if timed_out { Signal::KILL } else { Signal::TERM };
            killed = timed_out;
            timed_out = true;
            deadline = now + GRACE;
            signal_group(child, signal);
        }
        if now.duration_since(last_sign) >= TICK {
            last_sign = now;
            alive();
        }
    };
    drain(&mut out, |bytes| stdout.add(bytes))?;
    drain(&mut err, &mut take_stderr)?;
    // `timeout` says 124 (or 137) when it was the one who ended the command.
    let timed_out = timed_out || status.and_then(|s| s.code()) == Some(124);
    let is_cut = stdout.dropped;
    Ok(Finished { status, stdout: stdout.text(), stderr: stderr.text(), timed_out, is_cut })
}

fn wait_readable(out: &impl AsFd, err: &impl AsFd, out_open: bool, err_open: bool) {
    let mut fds = Vec::with_capacity(2);
    if out_open {
        fds.push(PollFd::new(out, PollFlags::IN));
    }
    if err_open {
        fds.push(PollFd::new(err, PollFlags::IN));
    }
    // With both pipes closed only the exit is waited for, which takes moments.
    let nanos = if fds.is_empty() { 5_000_000 } else { 200_000_000 };
    let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: nanos }));
}

/// Reads what is there. Gives false at the end of the stream.
fn drain(stream: &mut impl Read, mut take: impl FnMut(&[u8])) -> io::Result<bool> {
    let mut buffer = [0_u8; 16_384];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(n) => take(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn signal_group(child: &Child, signal: Signal) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, signal);
    }
}

/// Ends whatever the command left behind in its process group.
fn end_group(child: &mut Child) {
    signal_group(child, Signal::KILL);
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Finished {
        let program = OsString::from("sh");
        let arguments = [OsString::from("-c"), OsString::from(script)];
        let input = File::open("/dev/null").unwrap();
        run(&program, &arguments, input, limit, |_| {}, &mut || {}, &Nobody).unwrap()
    }

    /// Has a command ended as soon as it has said something.
    #[derive(Debug, Default)]
    struct Impatient(std::sync::Mutex<Vec<u8>>);

    impl Observer for Impatient {
        fn stderr(&self, bytes: &[u8]) {
            self.0.lock().unwrap().extend_from_slice(bytes);
        }

        fn stop(&self) -> bool {
            !self.0.lock().unwrap().is_empty()
        }
    }

    #[test]
    fn an_observer_sees_what_is_said_and_ends_the_command() {
        let observer = Impatient::default();
        let arguments = ["-c", "echo said >&2; sleep 300"].map(OsString::from);
        let (program, input) = (OsString::from("sh"), File::open("/dev/null").unwrap());
        let limit = Duration::from_secs(250);
        let done = run(&program, &arguments, input, limit, |_| {}, &mut || {}, &observer).unwrap();
        assert!(done.timed_out);
        assert_eq!((observer.0.into_inner().unwrap(), done.stderr.as_str()), (b"said\n".to_vec(), "said\n"));
    }

    #[test]
    fn both_streams_and_the_exit_code_are_kept() {
        let done = shell("echo out; echo err >&2; exit 3", Duration::from_secs(20));
        assert_eq!((done.stdout.as_str(), done.stderr.as_str(), done.code()), ("out\n", "err\n", Some(3)));
        assert!(!done.timed_out);
    }

    #[test]
    fn a_command_over_its_time_is_ended_with_all_it_started() {
        let done = shell("sleep 300 & echo $!; sleep 300", Duration::from_millis(300));
        assert!(done.timed_out);
        let left_behind: i32 = done.stdout.trim().parse().unwrap();
        let gone = || match std::fs::read_to_string(format!("/proc/{left_behind}/stat")) {
            Ok(stat) => stat.contains(") Z"),
            Err(_) => true,
        };
        while !gone() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_child_left_behind_with_the_pipes_open_does_not_hold_us() {
        let done = shell("sleep 300 & echo done", Duration::from_secs(20));
        assert_eq!(done.stdout, "done\n");
        assert_eq!(done.code(), Some(0));
    }

    #[test]
    fn the_child_inherits_no_descriptor_of_the_agent() {
        let open = File::open("/dev/null").unwrap();
        rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).unwrap();
        let done = shell("ls /proc/self/fd | wc -l", Duration::from_secs(20));
        // The standard three and the directory being listed.
        assert_eq!(done.stdout.trim(), "4");
    }

    #[test]
    fn endless_output_is_cut_and_its_ends_are_kept() {
        let done = shell(
            "echo first >&2; head -c 5000000 /dev/zero | tr '\\0' 'x' >&2; echo last >&2",
            Duration::from_secs(60),
        );
        assert!(done.stderr.len() <= 2 * MAX_STDERR);
        assert!(done.stderr.starts_with("first\n") && done.stderr.ends_with("last\n"));
    }
}
