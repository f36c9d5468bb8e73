//! The agent as a service: what is started in which order, and what signals do.

use crate::api::{self, App};
use crate::live::{Live, Loaded};
use crate::metrics::Metrics;
use crate::orphans;
use crate::queue::{Queue, Scope, Settings};
use crate::runner::Runner;
use crate::server::{self, Listener};
use irods_omero_model::clock::{Clock, SystemClock};
use rustix::fs::{FlockOperation, flock};
use sd_notify::NotifyState;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// The time between two removals of jobs that ended long ago.
const RETENTION_LOOK: Duration = Duration::from_secs(3_600);

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
    let queue = Queue::open(&file, settings, SystemClock.now()).map_err(|e| e.to_string())?;
    let hold = hold(&queue, was_away, limits.hand_over).await;
    let listener = Listener::bind(&loaded.config.listen).await?;
    let mut signals = Signals::new().map_err(|e| format!("signals cannot be received: {e}"))?;
    let (end, ending) = watch::channel(false);
    let live = Live::new(path, loaded);
    let metrics = Metrics::default();
    let runner = Runner::new(queue.clone(), live.clone(), metrics.clone(), hold);
    let app = App::new(live.clone(), queue.clone(), runner.clone(), metrics.clone(), ending.clone());
    let running = tokio::spawn(runner.clone().run());
    let sessions = tokio::spawn(runner.clone().keep_sessions());
    let retention = tokio::spawn(retain(queue.clone(), live.clone()));
    let watchdog = tokio::spawn(watchdog(queue));
    let answering = tokio::spawn(server::serve(listener, api::router(app), live.clone(), metrics, ending));
    notify(&[NotifyState::Ready]);
    tracing::info!(act = "start", version = env!("CARGO_PKG_VERSION"));
    while signals.reload_or_end().await {
        reload(&live);
    }
    let stop = live.get().config.limits.stop;
    let micros = u32::try_from((stop + STOP_SLACK).as_micros()).unwrap_or(u32::MAX);
    notify(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(micros)]);
    tracing::info!(act = "stop", running = runner.running(), limit_in_seconds = stop.as_secs());
    // Until the imports have ended it still answers how far they are.
    runner.stop(stop).await;
    let _ = end.send(true); // nobody listens any more if the server has ended
    let _ = timeout(STOP_SLACK, answering).await; // who is still connected is cut off
    for task in [running, sessions, retention, watchdog] {
        task.abort();
    }
    Ok(())
}

/// How long ago an agent last wrote in the queue.
fn away(file: &Path) -> Duration {
    let log = file.with_extension("sqlite-wal");
    let written = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
    let last = written(file).max(written(&log));
    last.and_then(|last| last.elapsed().ok()).unwrap_or_default()
}

/// How long the jobs of before are held: while the agent was away callers may have given them to others.
async fn hold(queue: &Queue, was_away: Duration, hand_over: Duration) -> Duration {
    let open = match queue.counts(Scope::default()).await {
        Ok(counts) => counts.iter().filter(|(state, _)| !state.is_final()).map(|(_, count)| count).sum(),
        Err(_) => 1_u64,
    };
    if was_away < AWAY || open == 0 {
        return Duration::ZERO;
    }
    let (away_for, seconds) = (was_away.as_secs(), hand_over.as_secs());
    tracing::info!(act = "hold", jobs = open, away_for, seconds, "their callers may have others do them");
    hand_over
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

struct Signals {
    reload: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            reload: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// True for the signal to read the configuration again, false for one to end.
    async fn reload_or_end(&mut self) -> bool {
        tokio::select! {
            _ = self.reload.recv() => true,
            _ = self.terminate.recv() => false,
            _ = self.interrupt.recv() => false,
        }
    }
}

/// Removes what ended long ago.
async fn retain(queue: Queue, live: Live) {
    loop {
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
