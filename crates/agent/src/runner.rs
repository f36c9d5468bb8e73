//! Running jobs: so many at once, each as its OMERO user, each ended when it is to end.

use crate::access::May;
use crate::background;
use crate::config::Limits;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::observer::Watching;
use crate::probe;
use crate::queue::{End, Job, JobId, Queue, QueueError, Taken, Turn};
use irods_omero_importer::command::CommandImporter;
use irods_omero_importer::secret;
use irods_omero_importer::wire::{Became, JobState, Outcome, Submit, to_json};
use irods_omero_importer::{Batch, FileOutcome, Importer, ImporterError, Sessions, Subject};
use irods_omero_model::clock::UnixTime;
use irods_omero_model::clock::{Clock, SystemClock};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// A job some of whose files are in OMERO is not held back for the others for longer than this, in seconds: the caller
/// hears of the ones and submits the others again.
const PARTLY_DONE_WAIT: u64 = 900;

/// The first wait before a server that cannot be reached is tried again; it doubles...
const PROBE_WAIT: Duration = Duration::from_secs(2);
/// ...up to this.
const PROBE_MAX_WAIT: Duration = Duration::from_secs(60);

/// The longest time between two looks at the clock: it may be set.
const LOOK: Duration = Duration::from_secs(60);

/// The shortest time between two looks for sessions that nobody uses.
const SESSION_LOOK: Duration = Duration::from_secs(1);

/// How long the sessions may take to end at the agent's end: those that have not are ended at its next start.
const SESSIONS_GRACE: Duration = Duration::from_secs(20);

/// How long imports that are ended at the agent's end may take to end.
const END_GRACE: Duration = Duration::from_secs(20);

/// The wait of a job in which the agent failed.
const PANIC_WAIT: Duration = Duration::from_secs(60);

/// Waits after the queue could not be written.
const QUEUE_WAIT: Duration = Duration::from_secs(2);

/// What is running now.
#[derive(Debug, Default)]
struct State {
    running: BTreeMap<JobId, Running>,
    /// Queued jobs that share a file with a running one, and with which.
    blocked: BTreeMap<JobId, JobId>,
    /// Servers that cannot be reached.
    closed: BTreeSet<String>,
}

#[derive(Debug)]
struct Running {
    watching: Arc<Watching>,
    /// The zone and the files, once they are known.
    files: Option<(String, HashSet<Subject>)>,
}

/// Runs the jobs of a queue.
#[derive(Debug, Clone)]
pub struct Runner(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    queue: Queue,
    live: Live,
    metrics: Metrics,
    sessions: Sessions,
    state: Mutex<State>,
    changed: Notify,
    ending: AtomicBool,
    /// No job starts before.
    start: Instant,
}

fn now() -> UnixTime {
    SystemClock.now()
}

impl Runner {
    /// A runner that does nothing yet, and starts no job for some time.
    pub fn new(queue: Queue, live: Live, metrics: Metrics, hold: Duration) -> Self {
        Self(Arc::new(Inner {
            queue,
            live,
            metrics,
            sessions: Sessions::default(),
            state: Mutex::default(),
            changed: Notify::new(),
            ending: AtomicBool::new(false),
            start: Instant::now() + hold,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far a running job is: files linked, of so many.
    pub fn progress(&self, id: JobId) -> Option<(u64, u64)> {
        self.state().running.get(&id).map(|r| r.watching.progress())
    }

    /// How many jobs run.
    pub fn running(&self) -> usize {
        self.state().running.len()
    }

    /// Ends a running job; what becomes of it is noted when it has ended.
    pub fn end(&self, id: JobId) {
        if let Some(running) = self.state().running.get(&id) {
            running.watching.end();
        }
    }

    /// Why a job that is queued cannot start, if that is for more than its turn.
    pub fn holds(&self, job: &Job) -> Option<String> {
        let is_held = job.state == JobState::Queued && self.state().closed.contains(&job.server);
        is_held.then(|| format!("OMERO server '{}' cannot be reached", job.server))
    }

    /// The servers that cannot be reached.
    pub fn closed(&self) -> BTreeSet<String> {
        self.state().closed.clone()
    }

    /// How many sessions are open in OMERO.
    pub fn sessions(&self) -> usize {
        self.0.sessions.count()
    }

    /// Ends what an agent that was killed left in OMERO, then, for ever, sessions that nobody has used for some time.
    pub async fn keep_sessions(self) {
        let loaded = self.0.live.get();
        let clean_up = move || {
            for omero in loaded.config.servers.values() {
                CommandImporter::new(omero).clean_up();
            }
        };
        let _ = spawn_blocking(clean_up).await; // a panic there costs sessions that end by themselves
        loop {
            let limit = self.0.live.get().config.limits.session_idle;
            sleep((limit / 4).clamp(SESSION_LOOK, LOOK)).await;
            let runner = self.clone();
            let _ = spawn_blocking(move || runner.0.sessions.end_idle(limit)).await; // likewise
        }
    }

    /// Starts jobs as their turn comes, until [`Runner::stop`].
    pub async fn run(self) {
        sleep_until(self.0.start).await;
        let mut newest = self.0.queue.newest();
        while !self.0.ending.load(Ordering::Relaxed) {
            newest.mark_unchanged();
            let wait = match self.start_all().await {
                Ok(wait) => wait,
                Err(QueueError::Ended) => return,
                Err(error) => {
                    tracing::error!(act = "start", failed = %error);
                    QUEUE_WAIT
                }
            };
            tokio::select! {
                () = self.0.changed.notified() => {}
                changed = newest.changed() => if changed.is_err() { return },
                () = sleep(wait) => {}
            }
        }
    }

    /// Starts what may start. Gives the time until the next waiting job is due.
    async fn start_all(&self) -> Result<Duration, QueueError> {
        let limits = self.0.live.get().config.limits.clone();
        let next = self.0.queue.promote(now(), longest_wait(&limits).max(PANIC_WAIT.as_secs())).await?;
        while self.running() < limits.imports as usize && !self.0.ending.load(Ordering::Relaxed) {
            let turn = {
                let state = self.state();
                Turn {
                    closed: state.closed.clone(),
                    per_user: limits.imports_per_user,
                    large: limits.large(),
                    not: state.blocked.keys().copied().collect(),
                }
            };
            let Some(taken) = self.0.queue.take(turn, now()).await? else {
                break;
            };
            self.start(taken, limits.log_bytes);
        }
        let wait = next.map_or(LOOK, |next| Duration::from_secs(next.saturating_sub(now())));
        Ok(wait.clamp(Duration::from_millis(100), LOOK))
    }

    fn start(&self, taken: Taken, log_bytes: usize) {
        let id = taken.job.id;
        let watching = Arc::new(Watching::new(taken.job.files.into(), log_bytes));
        self.state().running.insert(id, Running { watching: Arc::clone(&watching), files: None });
        let runner = self.clone();
        tokio::spawn(async move {
            let job = taken.job.clone();
            let worker = runner.clone();
            let work = background::run(move || worker.perform(&taken, &watching));
            let (end, log) = work.await.unwrap_or_else(|_| {
                (
                    End::Waiting {
                        reason: "the agent failed inside".to_owned(),
                        next: now() + PANIC_WAIT.as_secs(),
                    },
                    String::new(),
                )
            });
            runner.finish(&job, end, log).await;
        });
    }

    /// Notes how a run ended, however long that takes: until then the job counts as running.
    async fn finish(&self, job: &Job, end: End, log: String) {
        let unreachable = matches!(end, End::Waiting { .. }) && !self.reachable(&job.server).await;
        let not_now = end == End::NotNow;
        let noted = loop {
            match self.0.queue.finish(job.id, end.clone(), log.clone(), now()).await {
                Ok(job) => break job,
                Err(QueueError::Ended) => break None,
                Err(error) => {
                    tracing::error!(act = "finish", job = self.0.queue.name(job.id), failed = %error);
                    sleep(QUEUE_WAIT).await;
                }
            }
        };
        if let Some(job) = noted.filter(|_| !not_now) {
            let (name, state) = (self.0.queue.name(job.id), job.state.as_str());
            let reason = job.reason.as_deref().unwrap_or_default();
            tracing::info!(act = "run", job = name, user = job.user, files = job.files, state, reason);
            self.0.metrics.ended(job.state, job.started.map(|s| now().saturating_sub(s)));
        }
        {
            let mut state = self.state();
            state.running.remove(&job.id);
            state.blocked.retain(|_, by| *by != job.id);
        }
        if unreachable {
            self.close(&job.server);
        }
        self.0.changed.notify_one();
    }

    async fn reachable(&self, server: &str) -> bool {
        match self.0.live.get().config.servers.get(server) {
            Some(omero) => probe::connect(&omero.server).await.is_ok(),
            None => true,
        }
    }

    /// Starts no job of a server until it can be reached again.
    fn close(&self, server: &str) {
        if !self.state().closed.insert(server.to_owned()) {
            return;
        }
        tracing::warn!(act = "close", server, "OMERO cannot be reached: its jobs stay queued");
        let (runner, server) = (self.clone(), server.to_owned());
        tokio::spawn(async move {
            let mut wait = PROBE_WAIT;
            loop {
                sleep(wait).await;
                if runner.reachable(&server).await {
                    break;
                }
                wait = (wait * 2).min(PROBE_MAX_WAIT);
            }
            tracing::info!(act = "open", server, "OMERO can be reached again");
            runner.state().closed.remove(&server);
            if let Err(error) = runner.0.queue.wake(server, now()).await {
                tracing::warn!(act = "open", failed = %error, "waiting jobs keep their times");
            }
            runner.0.changed.notify_one();
        });
    }

    /// Starts no more jobs; gives those that run some time, then ends them. They are queued again.
    pub async fn stop(&self, limit: Duration) {
        self.0.ending.store(true, Ordering::Relaxed);
        self.0.changed.notify_one();
        self.stop_jobs(limit).await;
        let runner = self.clone();
        let ended = spawn_blocking(move || runner.0.sessions.end_all());
        if timeout(SESSIONS_GRACE, ended).await.is_err() {
            tracing::warn!(act = "stop", sessions = self.sessions(), "the next agent ends them");
        }
    }

    async fn stop_jobs(&self, limit: Duration) {
        if timeout(limit, self.idle()).await.is_ok() {
            return;
        }
        for running in self.state().running.values() {
            running.watching.end();
        }
        if timeout(END_GRACE, self.idle()).await.is_err() {
            tracing::warn!(
                act = "stop",
                jobs = self.running(),
                "imports did not end in time: they are queued again"
            );
        }
    }

    /// Waits until nothing runs.
    async fn idle(&self) {
        while self.running() > 0 {
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Performs a job, on a thread of its own. Gives how it ended and what the importer said.
    fn perform(&self, taken: &Taken, watching: &Watching) -> (End, String) {
        let loaded = self.0.live.get();
        let refused = |why: String| (End::Refused(why), String::new());
        let submit = match Submit::read(&taken.body) {
            Ok(submit) => submit,
            Err(problem) => return refused(format!("what was submitted cannot be read any more: {problem}")),
        };
        // The configuration may have changed since it was submitted.
        let Some(caller) = loaded.clients.named(&taken.job.caller).filter(|c| c.grant.may == May::Submit)
        else {
            return refused(format!(
                "the caller '{}' that submitted it is not in the agent's configuration any more",
                taken.job.caller
            ));
        };
        let user = &taken.job.user;
        if let Err(why) = loaded.config.users.check(user).and_then(|()| caller.check_user(user)) {
            return refused(why);
        }
        if !caller.grant.zones.allow(&taken.job.zone) {
            return refused(format!(
                "{} may not submit for the zone '{}' any more",
                caller.name, taken.job.zone
            ));
        }
        let Some(omero) = loaded.config.servers.get(&taken.job.server) else {
            return refused(format!("this agent has no OMERO server '{}' any more", taken.job.server));
        };
        let zone = submit.zone.clone();
        let batch = submit.into_batch();
        if !self.claim(taken.job.id, &zone, &batch) {
            return (End::NotNow, String::new());
        }
        let importer = CommandImporter::new(omero)
            .within(caller.roots(&loaded.config.roots))
            .observed(watching)
            .sharing(&self.0.sessions);
        // A panic here must cost one attempt, not the job's place.
        let result = catch_unwind(AssertUnwindSafe(|| importer.import(&batch, now(), &mut || {})));
        let result =
            result.unwrap_or_else(|_| Err(ImporterError::WillPass("the agent failed inside".to_owned())));
        let end = match result {
            Ok(outcomes) => self.end_of(&taken.job, &batch, &outcomes),
            Err(ImporterError::Refused(why)) => End::Refused(why),
            Err(ImporterError::WillPass(_)) if self.0.ending.load(Ordering::Relaxed) => {
                End::Back("the agent ends: the job is queued again".to_owned())
            }
            Err(ImporterError::WillPass(why)) => self.wait(&taken.job, why, None),
        };
        let password = secret::read(&omero.server.password_file).ok();
        (end, watching.log(password.as_deref()))
    }

    /// Notes which files a job is about; false if one of them is being imported by another job, for which it has to wait.
    fn claim(&self, id: JobId, zone: &str, batch: &Batch) -> bool {
        let files: HashSet<Subject> = batch.files.iter().map(|f| f.subject).collect();
        let mut state = self.state();
        let shares = |running: &Running| {
            running.files.as_ref().is_some_and(|(other, theirs)| other == zone && !files.is_disjoint(theirs))
        };
        let by = state.running.iter().find(|(_, running)| shares(running)).map(|(by, _)| *by);
        if let Some(by) = by {
            state.blocked.insert(id, by);
        } else if let Some(running) = state.running.get_mut(&id) {
            running.files = Some((zone.to_owned(), files));
        }
        by.is_none()
    }

    fn end_of(&self, job: &Job, batch: &Batch, outcomes: &[FileOutcome]) -> End {
        let all: Vec<Outcome> = batch
            .files
            .iter()
            .zip(outcomes)
            .map(|(file, outcome)| Outcome::of(file.subject, outcome))
            .collect();
        let failed = all.iter().filter(|o| o.outcome == Became::Failed).count();
        let done = End::Done { outcomes: to_json(&all), failed: u32::try_from(failed).unwrap_or(u32::MAX) };
        let postponed: Vec<&String> = outcomes
            .iter()
            .filter_map(|o| match o {
                FileOutcome::Postponed(why) => Some(why),
                FileOutcome::Imported(_) | FileOutcome::Failed(_) | FileOutcome::Joined(_) => None,
            })
            .collect();
        let Some(why) = postponed.first() else {
            self.0.metrics.files(&all);
            return done;
        };
        let age = job.since.map_or(0, |since| now().saturating_sub(since));
        if postponed.len() < outcomes.len() && age >= PARTLY_DONE_WAIT {
            self.0.metrics.files(&all);
            return done;
        }
        let reason = format!("{} of {} files: {why}", postponed.len(), outcomes.len());
        self.wait(job, reason, Some(done))
    }

    /// Has a job wait for as long as it has been failing, within bounds: the waits double. In the end it ends with what
    /// is known, or refused.
    fn wait(&self, job: &Job, reason: String, known: Option<End>) -> End {
        let age = job.since.map_or(0, |since| now().saturating_sub(since));
        let Some(wait) = wait_after(age, &self.0.live.get().config.limits) else {
            let days = age / 86_400;
            return known.unwrap_or_else(|| End::Refused(format!("given up after {days} days: {reason}")));
        };
        End::Waiting { reason, next: now() + wait }
    }
}

/// The longest a job waits before it is tried again, in seconds.
fn longest_wait(limits: &Limits) -> u64 {
    limits.retry_max_wait.max(limits.retry_wait).as_secs()
}

/// How long a job waits that has been failing for some time, in seconds; `None` if it has been for too long.
fn wait_after(age: u64, limits: &Limits) -> Option<u64> {
    let longest = longest_wait(limits);
    (age < limits.give_up_after.as_secs()).then(|| age.clamp(limits.retry_wait.as_secs(), longest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_the_age() {
        let text = "roots = [\"/v\"]\n[users]\nallow = [\"a\"]\n[limits]\nretry_wait_in_seconds = 15\n\
                    retry_max_wait_in_seconds = 1800\ngive_up_after_in_days = 14\n[[omero]]\nserver = \"h\"\n\
                    sudo_user = \"s\"\npassword_file = \"/p\"\n[omero.importer]\ncommand = \"/c\"\njars = \"/j\"\nlogback = \"/l\"\n";
        let limits = Config::parse(text).unwrap().limits;
        let (mut age, mut waits) = (0, Vec::new());
        while let Some(wait) = wait_after(age, &limits) {
            waits.push(wait);
            age += wait;
        }
        assert_eq!(waits[..5], [15, 15, 30, 60, 120]);
        assert!(waits.is_sorted() && waits.last() == Some(&1_800));
        assert!(age >= 14 * 86_400 && waits.len() < 700, "{} attempts", waits.len());
    }
}
