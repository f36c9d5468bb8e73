//! Running jobs: so many at once, each as its OMERO user, each ended when it is to end.

use crate::access::May;
use crate::background;
use crate::breaker::Breaker;
use crate::config::{Config, Limits};
use crate::live::Live;
use crate::metrics::Metrics;
use crate::mounts::Mounts;
use crate::observer::Watching;
use crate::probe;
use crate::queue::{End, Job, JobId, Queue, QueueError, Taken, Turn};
use irods_omero_importer::command::CommandImporter;
use irods_omero_importer::follow::{Follow, Followed};
use irods_omero_importer::secret;
use irods_omero_importer::settings::Omero;
use irods_omero_importer::wire::{Became, JobState, Outcome, Submit, to_json};
use irods_omero_importer::worker::Worker;
use irods_omero_importer::{
    Batch, Deletions, FileOutcome, FilesetToDelete, Importer, ImporterError, Sessions, Subject,
};
use irods_omero_model::clock::UnixTime;
use irods_omero_model::clock::{Clock, SystemClock};
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::OmeroId;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

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
    /// What is left alone for a time.
    breaker: Breaker,
    /// Nothing new is started, until the agent ends or is told otherwise.
    draining: bool,
}

#[derive(Debug)]
struct Running {
    watching: Arc<Watching>,
    /// Whose it is.
    account: (String, String),
    /// The directories its files lie below, once they are known.
    roots: Vec<PathBuf>,
    /// The zone and the files, once they are known.
    files: Option<(String, HashSet<Subject>)>,
}

/// Why a run ended as it did, for metrics and journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Every file has its outcome.
    Done,
    /// The batch cannot be imported as it is.
    Refused,
    /// The importer could do nothing of it, for a reason that passes.
    Importer,
    /// The OMERO server, by a probe.
    Server,
    /// A directory of its files does not answer.
    Directory,
    /// A running job has one of its files.
    Busy,
    /// The agent ends.
    Stopped,
    /// The agent failed inside.
    Agent,
}

impl Cause {
    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Importer => "importer",
            Self::Server => "server",
            Self::Directory => "directory",
            Self::Busy => "busy",
            Self::Stopped => "stopped",
            Self::Agent => "agent",
        }
    }
}

/// Knows when the clock was set: it goes on otherwise than time does.
#[derive(Debug)]
pub struct Steady {
    begun: Instant,
    clock: UnixTime,
}

/// A clock that differs by less is only corrected, in seconds.
const SET: u64 = 60;

impl Steady {
    /// From now on.
    pub fn new(clock: UnixTime) -> Self {
        Self { begun: Instant::now(), clock }
    }

    /// By how many seconds the clock was set since it was last asked; `None` if it was not.
    pub fn jump(&mut self, clock: UnixTime) -> Option<i64> {
        let expected = self.clock.saturating_add(self.begun.elapsed().as_secs());
        if clock.abs_diff(expected) < SET {
            return None;
        }
        *self = Self::new(clock);
        i64::try_from(clock).ok()?.checked_sub(i64::try_from(expected).ok()?)
    }
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
    mounts: Mounts,
    /// No job that another agent may have as well starts before.
    start: Instant,
}

fn now() -> UnixTime {
    SystemClock.now()
}

impl Runner {
    /// A runner that does nothing yet, and for some time starts no job that another agent may have as well.
    pub fn new(queue: Queue, live: Live, metrics: Metrics, mounts: Mounts, hold: Duration) -> Self {
        Self(Arc::new(Inner {
            queue,
            live,
            metrics,
            sessions: Sessions::default(),
            state: Mutex::default(),
            changed: Notify::new(),
            ending: AtomicBool::new(false),
            mounts,
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
        if job.state != JobState::Queued {
            return None;
        }
        let (state, now) = (self.state(), Instant::now().into_std());
        let of_server = state.breaker.shut_servers(now).remove(&job.server);
        let account = (job.server.clone(), job.user.clone());
        let why = of_server.or_else(|| state.breaker.shut_accounts(now).remove(&account));
        let draining =
            || state.draining.then(|| "the agent takes up nothing new: it is to be stopped".to_owned());
        why.or_else(draining)
    }

    /// The servers for which nothing is started, and why.
    pub fn closed(&self) -> BTreeMap<String, String> {
        self.state().breaker.shut_servers(Instant::now().into_std())
    }

    /// Starts nothing new from now on, or does so again.
    pub fn drain(&self, draining: bool) {
        self.state().draining = draining;
        tracing::info!(act = "drain", draining, running = self.running());
        self.0.changed.notify_one();
    }

    /// Whether nothing new is started.
    pub fn is_draining(&self) -> bool {
        self.state().draining
    }

    /// Whether directories answer.
    pub fn mounts(&self) -> &Mounts {
        &self.0.mounts
    }

    /// Has the links of a fileset lead to where its files are now.
    ///
    /// # Errors
    /// OMERO or the repository could not be asked: nothing is known.
    pub fn follow(
        &self,
        config: &Config,
        server: &str,
        roots: &[PathBuf],
        follow: &Follow,
    ) -> Result<Vec<Followed>, ImporterError> {
        let importer = self.importer(config, server)?.within(roots);
        importer.follow(follow, now(), &mut || {})
    }

    /// Which of some filesets are in OMERO, as far as a user sees them.
    ///
    /// # Errors
    /// OMERO could not be asked: nothing is known.
    pub fn present(
        &self,
        config: &Config,
        server: &str,
        identity: &OmeroIdentity,
        ids: &BTreeSet<OmeroId>,
    ) -> Result<BTreeSet<OmeroId>, ImporterError> {
        self.importer(config, server)?.present(identity, ids, now(), &mut || {})
    }

    /// The filesets that were deleted in OMERO since its log of events was last read up to a cursor.
    ///
    /// # Errors
    /// OMERO could not be asked: nothing is known.
    pub fn deletions(
        &self,
        config: &Config,
        server: &str,
        after: Option<u64>,
    ) -> Result<Deletions, ImporterError> {
        self.importer(config, server)?.deletions(after, &mut || {})
    }

    /// Deletes filesets with the rights of a user. Gives those that were left, each with the reason.
    ///
    /// # Errors
    /// OMERO could not be asked. Some may be gone.
    pub fn delete(
        &self,
        config: &Config,
        server: &str,
        identity: &OmeroIdentity,
        zone: &str,
        filesets: &[FilesetToDelete],
    ) -> Result<BTreeMap<OmeroId, String>, ImporterError> {
        self.importer(config, server)?.delete(identity, zone, filesets, now(), &mut || {})
    }

    /// What asks an OMERO server.
    fn importer<'c>(
        &'c self,
        config: &'c Config,
        server: &str,
    ) -> Result<CommandImporter<'c>, ImporterError> {
        let omero = config.servers.get(server).ok_or_else(|| {
            ImporterError::WillPass(format!("this agent has no OMERO server '{server}' any more"))
        })?;
        Ok(CommandImporter::new(omero).sharing(&self.0.sessions))
    }

    /// The worker of an OMERO server, which imports share.
    pub fn worker(&self, omero: &Omero) -> Arc<dyn Worker> {
        self.0.sessions.worker(omero)
    }

    /// How many sessions are open in OMERO.
    pub fn sessions(&self) -> usize {
        self.0.sessions.count()
    }

    /// Ends, for ever, sessions that nobody has used for some time, and what an agent that was killed left in OMERO, or this
    /// one left to OMERO until it is done.
    pub async fn keep_sessions(self) {
        loop {
            let (loaded, runner) = (self.0.live.get(), self.clone());
            let limit = loaded.config.limits.session_idle;
            let look = move || {
                runner.0.sessions.end_idle(limit);
                for omero in loaded.config.servers.values() {
                    CommandImporter::new(omero).clean_up();
                }
            };
            let _ = spawn_blocking(look).await; // a panic there costs sessions that end by themselves
            sleep((limit / 4).clamp(SESSION_LOOK, LOOK)).await;
        }
    }

    /// Starts jobs as their turn comes, until [`Runner::stop`].
    pub async fn run(self) {
        let mut newest = self.0.queue.newest();
        let (mut clock, mut hung) = (Steady::new(now()), Vec::new());
        while !self.0.ending.load(Ordering::Relaxed) {
            newest.mark_unchanged();
            if let Some(seconds) = clock.jump(now()) {
                tracing::warn!(
                    act = "clock",
                    seconds,
                    "the clock was set: waits go on as if it had not been"
                );
                if let Err(error) = self.0.queue.clock_was_set(seconds, now()).await {
                    tracing::error!(act = "clock", failed = %error);
                }
            }
            self.wake_mounted(&mut hung).await;
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

    /// Has the jobs tried again whose directories answer again.
    async fn wake_mounted(&self, before: &mut Vec<PathBuf>) {
        let hung = self.0.mounts.hung();
        if before.iter().any(|root| !hung.contains(root)) {
            let servers: Vec<String> = self.0.live.get().config.servers.keys().cloned().collect();
            for server in servers {
                if let Err(error) = self.0.queue.wake(server, now()).await {
                    tracing::warn!(act = "wake", failed = %error, "waiting jobs keep their times");
                }
            }
        }
        *before = hung;
    }

    /// Starts what may start. Gives the time until the next waiting job is due.
    async fn start_all(&self) -> Result<Duration, QueueError> {
        let limits = self.0.live.get().config.limits.clone();
        let next = self.0.queue.promote(now(), longest_wait(&limits).max(PANIC_WAIT.as_secs())).await?;
        while !self.0.ending.load(Ordering::Relaxed)
            && let Some(turn) = self.turn(&limits)
        {
            let Some(taken) = self.0.queue.take(turn, now()).await? else {
                break;
            };
            self.start(taken, limits.log_bytes);
        }
        let of_queue = next.map_or(LOOK, |next| Duration::from_secs(next.saturating_sub(now())));
        let at =
            |time: Option<Instant>| time.map_or(LOOK, |time| time.saturating_duration_since(Instant::now()));
        let of_trial = at(self.state().breaker.next_trial().map(Instant::from_std));
        let of_start = at(Some(self.0.start).filter(|start| *start > Instant::now()));
        Ok(of_queue.min(of_trial).min(of_start).clamp(Duration::from_millis(100), LOOK))
    }

    /// What the next job has to keep to; `None` if none may start now.
    fn turn(&self, limits: &Limits) -> Option<Turn> {
        let (hung, now) = (self.0.mounts.hung(), Instant::now());
        let state = self.state();
        let is_stuck = |running: &&Running| running.roots.iter().any(|root| hung.contains(root));
        let mut stuck = BTreeMap::new();
        for running in state.running.values().filter(is_stuck) {
            *stuck.entry(running.account.clone()).or_insert(0) += 1;
        }
        let stuck_jobs = state.running.values().filter(is_stuck).count();
        if state.draining || state.running.len() - stuck_jobs >= limits.imports as usize {
            return None;
        }
        Some(Turn {
            closed: state.breaker.shut_servers(now.into_std()).into_keys().collect(),
            paused: state.breaker.shut_accounts(now.into_std()).into_keys().collect(),
            stuck,
            per_user: limits.imports_per_user,
            large: limits.large(),
            not: state.blocked.keys().copied().collect(),
            not_shared: now < self.0.start,
        })
    }

    fn start(&self, taken: Taken, log_bytes: usize) {
        let id = taken.job.id;
        let watching = Arc::new(Watching::new(taken.job.files.into(), log_bytes));
        let account = (taken.job.server.clone(), taken.job.user.clone());
        let running = Running { watching: Arc::clone(&watching), account, roots: Vec::new(), files: None };
        {
            let mut state = self.state();
            state.breaker.started(&taken.job.server, &taken.job.user, Instant::now().into_std());
            state.running.insert(id, running);
        }
        self.0.metrics.waited(now().saturating_sub(taken.job.submitted));
        let runner = self.clone();
        tokio::spawn(async move {
            // Who asked to end it before it stood among the running ones is heard now.
            if runner.0.queue.get(id).await.is_ok_and(|job| job.is_some_and(|job| job.stopping)) {
                watching.end();
            }
            let (job, begun) = (taken.job.clone(), Instant::now());
            let worker = runner.clone();
            let work = background::run(move || worker.perform(&taken, &watching));
            let (end, cause, log) = work.await.unwrap_or_else(|_| {
                let reason = "the agent failed inside".to_owned();
                let end = End::Waiting { reason, next: now() + PANIC_WAIT.as_secs(), counts: true };
                (end, Cause::Agent, String::new())
            });
            runner.finish(&job, end, cause, log, begun.elapsed()).await;
        });
    }

    /// Notes how a run ended, however long that takes: until then the job counts as running.
    async fn finish(&self, job: &Job, mut end: End, mut cause: Cause, log: String, took: Duration) {
        // One probe says whether it is the server, for all its jobs.
        let mut closing = None;
        if let (End::Waiting { reason, counts, .. }, Cause::Importer) = (&mut end, cause)
            && let Err(why) = self.probe(&job.server).await
        {
            (*counts, cause) = (false, Cause::Server);
            reason.clone_from(&why);
            closing = Some(why);
        }
        let not_now = end == End::NotNow;
        self.judge(job, &end, cause);
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
            let (reason, cause) = (job.reason.as_deref().unwrap_or_default(), cause.as_str());
            let (caller, attempt) = (&job.caller, job.attempts);
            tracing::info!(
                act = "run",
                job = name,
                caller,
                user = job.user,
                files = job.files,
                attempt,
                state,
                cause,
                reason
            );
            self.0.metrics.ended(job.state, cause, took);
            if job.state == JobState::Done && job.failed < job.files {
                self.0.metrics.succeeded(now());
            }
        }
        {
            let mut state = self.state();
            state.running.remove(&job.id);
            state.blocked.retain(|_, by| *by != job.id);
        }
        if let Some(why) = closing {
            self.close(&job.server, &why);
        }
        self.0.changed.notify_one();
    }

    /// Learns from how a run ended whether the next ones are of use.
    fn judge(&self, job: &Job, end: &End, cause: Cause) {
        let mut state = self.state();
        match (end, cause) {
            (End::Waiting { reason, .. }, Cause::Importer) => {
                state.breaker.failed(&job.server, &job.user, Instant::now().into_std(), reason);
            }
            (End::Done { .. } | End::Refused(_), _) => {
                state.breaker.succeeded(&job.server, &job.user);
            }
            (End::Waiting { .. } | End::Back(_) | End::NotNow, _) => {}
        }
    }

    /// Whether imports into a server are of use at all.
    async fn probe(&self, server: &str) -> Result<(), String> {
        let loaded = self.0.live.get();
        match loaded.config.servers.get(server) {
            Some(omero) => {
                let repository = loaded.config.repositories.get(server);
                probe::server(omero, repository.map(PathBuf::as_path)).await
            }
            None => Ok(()),
        }
    }

    /// Starts no job of a server until a probe finds it of use again.
    fn close(&self, server: &str, why: &str) {
        if !self.state().breaker.close(server, why) {
            return;
        }
        tracing::warn!(
            act = "close",
            server,
            why,
            "no job of this OMERO server is started until it works again"
        );
        let (runner, server) = (self.clone(), server.to_owned());
        tokio::spawn(async move {
            let mut wait = PROBE_WAIT;
            loop {
                sleep(wait).await;
                match runner.probe(&server).await {
                    Ok(()) => break,
                    Err(why) => runner.state().breaker.close(&server, &why),
                };
                wait = (wait * 2).min(PROBE_MAX_WAIT);
            }
            tracing::info!(act = "open", server, "the OMERO server works again");
            runner.state().breaker.open(&server);
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
    fn perform(&self, taken: &Taken, watching: &Watching) -> (End, Cause, String) {
        let loaded = self.0.live.get();
        let refused = |why: String| (End::Refused(why), Cause::Refused, String::new());
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
            return (End::NotNow, Cause::Busy, String::new());
        }
        let roots = caller.roots(&loaded.config.roots);
        if let Err(why) = self.reach(taken.job.id, &batch, roots) {
            return (self.wait(&taken.job, why, None), Cause::Directory, String::new());
        }
        let importer = CommandImporter::new(omero).within(roots).observed(watching).sharing(&self.0.sessions);
        // A panic here must cost one attempt, not the job's place.
        let result = catch_unwind(AssertUnwindSafe(|| importer.import(&batch, now(), &mut || {})));
        let result =
            result.unwrap_or_else(|_| Err(ImporterError::WillPass("the agent failed inside".to_owned())));
        let (end, cause) = match result {
            Ok(outcomes) => self.end_of(&taken.job, &batch, &outcomes),
            Err(ImporterError::Refused(why)) => (End::Refused(why), Cause::Refused),
            Err(ImporterError::WillPass(_)) if self.0.ending.load(Ordering::Relaxed) => {
                (End::Back("the agent ends: the job is queued again".to_owned()), Cause::Stopped)
            }
            Err(ImporterError::WillPass(why)) => (self.wait(&taken.job, why, None), Cause::Importer),
        };
        let password = secret::read(&omero.server.password_file).ok();
        (end, cause, watching.log(password.as_deref()))
    }

    /// Makes sure that the directories answer in which the files of a job are.
    fn reach(&self, id: JobId, batch: &Batch, roots: &[PathBuf]) -> Result<(), String> {
        let holds =
            |root: &&PathBuf| batch.files.iter().any(|f| Path::new(&f.importer_path).starts_with(root));
        let own: Vec<PathBuf> = roots.iter().filter(holds).cloned().collect();
        if let Some(running) = self.state().running.get_mut(&id) {
            running.roots.clone_from(&own);
        }
        // One that cannot be listed may still be passed through: the importer says what it cannot open.
        let hangs = |root: &PathBuf, why| if self.0.mounts.hung().contains(root) { Err(why) } else { Ok(()) };
        own.iter().try_for_each(|root| self.0.mounts.look(root).or_else(|why| hangs(root, why)))
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

    fn end_of(&self, job: &Job, batch: &Batch, outcomes: &[FileOutcome]) -> (End, Cause) {
        let subjects = batch.files.iter().map(|f| f.subject).chain(batch.may_use.iter().map(|f| f.subject));
        let all: Vec<Outcome> = subjects
            .zip(outcomes)
            .map(|(subject, outcome)| Outcome::of(subject, outcome))
            .filter(|outcome| outcome.outcome != Became::NotUsed)
            .collect();
        let failed = all.iter().filter(|o| o.outcome == Became::Failed).count();
        let done = End::Done { outcomes: to_json(&all), failed: u32::try_from(failed).unwrap_or(u32::MAX) };
        let postponed: Vec<&String> = outcomes
            .iter()
            .filter_map(|o| match o {
                FileOutcome::Postponed(why) => Some(why),
                FileOutcome::Imported(_)
                | FileOutcome::Failed(_)
                | FileOutcome::NoTarget { .. }
                | FileOutcome::Joined(_)
                | FileOutcome::Unknown { .. }
                | FileOutcome::UsesUnknown { .. }
                | FileOutcome::NotUsed => None,
            })
            .collect();
        // Nobody's neighbours wait: where there is anything to tell the caller hears it, and submits the rest again. It
        // counts, too, how often nobody could say why.
        let why = match postponed.first() {
            Some(why) if postponed.len() == batch.files.len() => why,
            Some(_) | None => {
                self.0.metrics.files(&all);
                return (done, Cause::Done);
            }
        };
        let reason = format!("{} of {} files: {why}", postponed.len(), batch.files.len());
        // Where no file was taken, it may be no file's fault.
        (self.wait(job, reason, Some(done)), Cause::Importer)
    }

    /// Has a job wait for as long as it has been failing, within bounds: the waits double. In the end it ends with what
    /// is known, or refused.
    fn wait(&self, job: &Job, reason: String, known: Option<End>) -> End {
        let age = job.since.map_or(0, |since| now().saturating_sub(since));
        let Some(wait) = wait_after(age, &self.0.live.get().config.limits) else {
            let days = age / 86_400;
            return known.unwrap_or_else(|| End::Refused(format!("given up after {days} days: {reason}")));
        };
        End::Waiting { reason, next: now() + wait, counts: true }
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

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_goes_with_time_was_not_set() {
        let mut clock = Steady::new(1_000);
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!(clock.jump(4_600), None);
        assert_eq!(clock.jump(4_600 + 21 * 86_400), Some(21 * 86_400));
        assert_eq!(clock.jump(4_600 + 21 * 86_400), None, "once");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(clock.jump(4_610), Some(-21 * 86_400));
    }
}
