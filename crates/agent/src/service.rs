//! The agent as a service: what is started in which order, and what signals do.

use crate::api::{self, App};
use crate::live::{Live, Loaded};
use crate::metrics::Metrics;
use crate::mounts::Mounts;
use crate::orphans;
use crate::queue::{Queue, Settings};
use crate::runner::{Runner, Steady};
use crate::server::{self, Listener};
use irods_omero_model::clock::{Clock, SystemClock};
use rustix::fs::{FlockOperation, flock};
use sd_notify::NotifyState;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// The time between two removals of jobs that ended long ago.
const RETENTION_LOOK: Duration = Duration::from_secs(3_600);

/// For how long nothing is removed after the clock was set.
const AFTER_JUMP: Duration = Duration::from_secs(86_400);

/// An agent that has written nothing for so long was away long enough for its callers to turn to another.
const AWAY: Duration = Duration::from_secs(60);

/// The most threads for what waits for a disk: imports have threads of their own.
const BLOCKING_THREADS: usize = 64;

/// How much longer than the imports everything else may take to end.
const STOP_SLACK: Duration = Duration::from_secs(60);

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// A sentence that says why it cannot run, with the remedy.
pub fn run(path: &Path, loaded: Loaded) -> Result<(), String> {
    refuse_root()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(|e| format!("no threads can be started: {e}"))?;
    let done = runtime.block_on(serve(path, loaded));
    // An import that would not end is not waited for: the next agent ends it.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

/// What `omero` would refuse later is refused now.
fn refuse_root() -> Result<(), String> {
    if rustix::process::geteuid().is_root() {
        return Err(
            "the agent never runs as root: start it as the account that may write into OMERO's repository \
                    (User= of the systemd unit, or runuser -u ACCOUNT)"
                .to_owned(),
        );
    }
    Ok(())
}

async fn serve(path: &Path, loaded: Loaded) -> Result<(), String> {
    let _lock = lock(&loaded.config.state_directory)?;
    let limits = loaded.config.limits.clone();
    end_orphans(&loaded)?;
    let settings = Settings {
        large_files: limits.large_files,
        max_bytes: limits.queue_bytes,
        max_open: limits.queued_jobs,
    };
    let file = loaded.config.state_directory.join("queue.sqlite");
    let was_away = away(&file);
    let queue = open(file, settings).await?;
    let hold = hold(&queue, was_away, limits.hand_over).await?;
    let listener = Listener::bind(&loaded.config.listen).await?;
    let mut signals = Signals::new().map_err(|e| format!("signals cannot be received: {e}"))?;
    let (end, ending) = watch::channel(false);
    let live = Live::new(path, loaded);
    let metrics = Metrics::default();
    if let Some(at) = queue.last_success().await.map_err(|e| e.to_string())? {
        metrics.succeeded(at);
    }
    let runner = Runner::new(queue.clone(), live.clone(), metrics.clone(), Mounts::default(), hold);
    let (damage_in, damage) = watch::channel(None);
    let app = App::new(live.clone(), queue.clone(), runner.clone(), metrics.clone(), ending.clone(), damage);
    let checking = tokio::spawn(check(queue.clone(), damage_in));
    let running = tokio::spawn(runner.clone().run());
    let sessions = tokio::spawn(runner.clone().keep_sessions());
    let retention = tokio::spawn(retain(queue.clone(), live.clone()));
    let watchdog = tokio::spawn(watchdog(queue));
    let answering = tokio::spawn(server::serve(listener, api::router(app), live.clone(), metrics, ending));
    notify(&[NotifyState::Ready]);
    tracing::info!(act = "start", version = env!("CARGO_PKG_VERSION"));
    loop {
        match signals.next().await {
            Wish::Reload => reload(&live),
            Wish::Drain(draining) => {
                runner.drain(draining);
                notify(&[NotifyState::Status(if draining { "Takes nothing new" } else { "" })]);
            }
            Wish::End => break,
        }
    }
    let stop = live.get().config.limits.stop;
    let micros = u32::try_from((stop + STOP_SLACK).as_micros()).unwrap_or(u32::MAX);
    notify(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(micros)]);
    tracing::info!(act = "stop", running = runner.running(), limit_in_seconds = stop.as_secs());
    // Until the imports have ended it still answers how far they are.
    runner.stop(stop).await;
    let _ = end.send(true); // nobody listens any more if the server has ended
    let _ = timeout(STOP_SLACK, answering).await; // who is still connected is cut off
    for task in [running, sessions, retention, watchdog, checking] {
        task.abort();
    }
    Ok(())
}

/// How much longer systemd is asked to wait, each time, while the queue is opened.
const START_SLACK: Duration = Duration::from_secs(60);

/// The longest the queue may take to be opened, as far as systemd goes: a long one of a version before is made anew.
const LONGEST_START: Duration = Duration::from_secs(3_600);

/// Opens the queue, and has systemd wait meanwhile.
async fn open(file: PathBuf, settings: Settings) -> Result<Queue, String> {
    let opening = tokio::task::spawn_blocking(move || Queue::open(&file, settings, SystemClock.now()));
    tokio::pin!(opening);
    let begun = Instant::now();
    loop {
        match timeout(START_SLACK / 3, &mut opening).await {
            Ok(opened) => {
                return opened
                    .map_err(|e| format!("the queue cannot be opened: {e}"))?
                    .map_err(|e| e.to_string());
            }
            Err(_) if begun.elapsed() < LONGEST_START => {
                let micros = u32::try_from(START_SLACK.as_micros()).unwrap_or(u32::MAX);
                notify(&[NotifyState::ExtendTimeoutUsec(micros), NotifyState::Status("Opens the queue")]);
            }
            Err(_) => {}
        }
    }
}

/// Looks through the file of the queue once, beside the work.
async fn check(queue: Queue, damage: watch::Sender<Option<String>>) {
    if let Err(why) = queue.check().await {
        tracing::error!(act = "check", failed = why);
        let _ = damage.send(Some(why)); // nobody asks any more
    }
}

/// How long ago an agent last wrote in the queue.
fn away(file: &Path) -> Duration {
    let log = file.with_extension("sqlite-wal");
    let written = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
    let last = written(file).max(written(&log));
    last.and_then(|last| last.elapsed().ok()).unwrap_or_default()
}

/// How long those jobs of before are held that another agent may have: while this one was away callers may have given them
/// to it, and cancel them here as soon as they are heard of. What counts by the clock does not count while it was away.
async fn hold(queue: &Queue, was_away: Duration, hand_over: Duration) -> Result<Duration, String> {
    if was_away < AWAY {
        return Ok(Duration::ZERO);
    }
    let (away_for, seconds) = (was_away.as_secs(), hand_over.as_secs());
    let shift = i64::try_from(away_for).unwrap_or(i64::MAX);
    queue.clock_was_set(shift, SystemClock.now()).await.map_err(|e| e.to_string())?;
    tracing::info!(
        act = "hold",
        away_for,
        seconds,
        "jobs of callers that have other agents wait for so long"
    );
    Ok(hand_over)
}

/// Makes sure that no other agent uses the state directory.
fn lock(directory: &Path) -> Result<File, String> {
    let about = |what: &str, e: &dyn std::fmt::Display| format!("{}: {what}: {e}", directory.display());
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|e| about("cannot be made", &e))?;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(directory.join("agent.lock"))
        .map_err(|e| about("cannot be written to", &e))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| format!("another agent runs with the state directory {}", directory.display()))?;
    // For `drain`, which asks this process.
    file.set_len(0)
        .and_then(|()| (&file).write_all(std::process::id().to_string().as_bytes()))
        .map_err(|e| about("cannot be written to", &e))?;
    Ok(file)
}

fn end_orphans(loaded: &Loaded) -> Result<(), String> {
    let directories: Vec<&Path> =
        loaded.config.servers.values().map(|s| s.importer.work_directory.as_path()).collect();
    let ended = orphans::end(&directories)?;
    if ended > 0 {
        tracing::warn!(act = "recover", importers = ended, "ended what an agent before had left running");
    }
    Ok(())
}

fn reload(live: &Live) {
    let micros = NotifyState::monotonic_usec_now();
    if let Ok(micros) = micros {
        notify(&[NotifyState::Reloading, micros]);
    }
    match live.reload() {
        Ok(()) => tracing::info!(act = "reload"),
        Err(problems) => {
            for problem in problems {
                tracing::error!(act = "reload", failed = %problem, "the configuration stays as it was");
            }
        }
    }
    notify(&[NotifyState::Ready]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(act = "notify", failed = %error);
    }
}

/// What a signal asks for.
enum Wish {
    /// To read the configuration again.
    Reload,
    /// To start nothing new from now on, or to do so again.
    Drain(bool),
    /// To end.
    End,
}

struct Signals {
    reload: Signal,
    drain: Signal,
    undo_drain: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            reload: signal(SignalKind::hangup())?,
            drain: signal(SignalKind::user_defined1())?,
            undo_drain: signal(SignalKind::user_defined2())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.reload.recv() => Wish::Reload,
            _ = self.drain.recv() => Wish::Drain(true),
            _ = self.undo_drain.recv() => Wish::Drain(false),
            _ = self.terminate.recv() => Wish::End,
            _ = self.interrupt.recv() => Wish::End,
        }
    }
}

/// Removes what ended long ago.
async fn retain(queue: Queue, live: Live) {
    let mut clock = Steady::new(SystemClock.now());
    loop {
        // A clock that was set is looked at for some time before it is believed.
        if clock.jump(SystemClock.now()).is_some() {
            tracing::warn!(act = "retain", "the clock was set: nothing is removed for a day");
            sleep(AFTER_JUMP).await;
            clock = Steady::new(SystemClock.now());
            continue;
        }
        let age = live.get().config.limits.retention.as_secs();
        loop {
            match queue.prune(SystemClock.now().saturating_sub(age)).await {
                Ok(0) => break,
                Ok(jobs) => tracing::info!(act = "retain", removed = jobs),
                Err(error) => {
                    tracing::error!(act = "retain", failed = %error);
                    break;
                }
            }
        }
        sleep(RETENTION_LOOK).await;
    }
}

/// Tells systemd that the agent lives, as long as its queue answers.
async fn watchdog(queue: Queue) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut ticks = interval(limit / 3);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // A queue that refuses answers too: a full disk is no reason to be killed.
        if timeout(limit / 3, queue.probe()).await.is_ok() {
            notify(&[NotifyState::Watchdog]);
        }
    }
}
