//! What is written, each act inside the transaction of its group.

use super::fair::Shares;
use super::read::{self, COLUMNS, Scope, job_of};
use super::{Job, JobId, NewJob, QueueError, Settings};
use irods_omero_importer::wire::JobState;
use irods_omero_model::clock::UnixTime;
use rusqlite::{Connection, OptionalExtension, Params, Result, params};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// It is queued.
    New(Job),
    /// The same had been submitted before.
    Same(Job),
    /// Something else had been submitted with its key.
    Conflict(Job),
}

/// What the next job to be started has to keep to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Turn {
    /// Servers no job may be started for.
    pub closed: BTreeSet<String>,
    /// The most jobs that may run for one OMERO user.
    pub per_user: u32,
    /// The most large jobs that may run.
    pub large: u32,
    /// Jobs that may not be started now.
    pub not: BTreeSet<JobId>,
    /// Servers and users no job may be started for.
    pub paused: BTreeSet<(String, String)>,
    /// How many of the running jobs of a server and user do not count: they hang.
    pub stuck: BTreeMap<(String, String), u32>,
    /// Whether jobs are left that another agent may have as well.
    pub not_shared: bool,
}

/// A job that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The job, running.
    pub job: Job,
    /// The body it was submitted with.
    pub body: Vec<u8>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Every file has an outcome.
    Done {
        /// JSON of all of them.
        outcomes: Vec<u8>,
        /// How many files failed.
        failed: u32,
    },
    /// The batch is refused, and why.
    Refused(String),
    /// It is tried again.
    Waiting {
        /// Why.
        reason: String,
        /// When.
        next: UnixTime,
        /// Whether the fault may be its own. Else it costs its user no turn, and its age does not grow by it.
        counts: bool,
    },
    /// It was not tried, or broken off by the agent, and is queued again; what the history says.
    Back(String),
    /// It was not tried after all: no attempt is counted and nothing is said.
    NotNow,
}

/// What became of the wish to cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cancelled {
    /// It is cancelled.
    Now(Job),
    /// It runs, and whoever runs it is to end it.
    Running(Job),
    /// It had ended before.
    Ended(Job),
}

/// Whose jobs a share is of.
type Account = (String, String, String);

/// What the writer knows by heart: enough to find whose turn it is without looking through the jobs.
#[derive(Debug, Default)]
pub struct Memory {
    /// Number of the newest change.
    pub change: u64,
    /// (server, zone, user) → queued jobs.
    queued: HashMap<Account, u64>,
    /// (server, user) → running jobs.
    running: HashMap<(String, String), u32>,
    large: u32,
    open: u64,
    zones: Shares<String>,
    users: Shares<(String, String)>,
}

impl Memory {
    /// Learns what is in the file. The shares of the past are kept.
    pub fn load(&mut self, connection: &Connection) -> Result<()> {
        self.queued.clear();
        self.running.clear();
        (self.large, self.open) = (0, 0);
        self.change =
            connection.query_row("SELECT value FROM meta WHERE name = 'change'", [], |r| r.get(0))?;
        let mut statement = connection.prepare(
            "SELECT server, zone, user, large, state, count(*) FROM job WHERE state IN ('queued', 'running', 'waiting')
             GROUP BY 1, 2, 3, 4, 5",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (server, zone, user): Account = (row.get(0)?, row.get(1)?, row.get(2)?);
            let (large, state, count): (bool, String, u64) = (row.get(3)?, row.get(4)?, row.get(5)?);
            self.open += count;
            match state.as_str() {
                "queued" => *self.queued.entry((server, zone, user)).or_default() += count,
                "running" => {
                    let count = u32::try_from(count).unwrap_or(u32::MAX);
                    *self.running.entry((server, user)).or_default() += count;
                    self.large += if large { count } else { 0 };
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Follows a job from one state (`None`: it is new) to another.
    fn moved(&mut self, job: &Job, from: Option<JobState>, to: JobState) {
        let account = || (job.server.clone(), job.zone.clone(), job.user.clone());
        let open = |state: JobState| !state.is_final();
        match from {
            Some(JobState::Queued) => {
                let account = account();
                if let Some(count) = self.queued.get_mut(&account) {
                    *count -= 1;
                    if *count == 0 {
                        self.queued.remove(&account);
                    }
                }
            }
            Some(JobState::Running) => {
                let user = (job.server.clone(), job.user.clone());
                if let Some(count) = self.running.get_mut(&user) {
                    *count -= 1;
                    if *count == 0 {
                        self.running.remove(&user);
                    }
                }
                self.large -= u32::from(job.large);
            }
            Some(JobState::Waiting | JobState::Done | JobState::Refused | JobState::Cancelled) | None => {}
        }
        match to {
            JobState::Queued => *self.queued.entry(account()).or_default() += 1,
            JobState::Running => {
                *self.running.entry((job.server.clone(), job.user.clone())).or_default() += 1;
                self.large += u32::from(job.large);
            }
            JobState::Waiting | JobState::Done | JobState::Refused | JobState::Cancelled => {}
        }
        self.open = self.open + u64::from(open(to)) - u64::from(from.is_some_and(open));
    }

    /// The accounts that may start a job, the one whose turn it is first.
    fn turns(&self, turn: &Turn) -> Vec<Account> {
        let may = |(server, _, user): &&Account| {
            let account = (server.clone(), user.clone());
            let stuck = turn.stuck.get(&account).copied().unwrap_or_default();
            let running = self.running.get(&account).copied().unwrap_or_default();
            !turn.closed.contains(server)
                && !turn.paused.contains(&account)
                && running.saturating_sub(stuck) < turn.per_user
        };
        let mut accounts: Vec<Account> = self.queued.keys().filter(may).cloned().collect();
        accounts.sort_by_cached_key(|(server, zone, user)| {
            let of_user = self.users.time(&(zone.clone(), user.clone()));
            (self.zones.time(zone), zone.clone(), of_user, user.clone(), server.clone())
        });
        accounts
    }
}

/// How many files weigh as much as starting the importer.
const FILES_OF_A_START: u64 = 100;

/// What a run of a job weighs.
fn weight_of(job: &Job) -> u64 {
    FILES_OF_A_START + u64::from(job.files)
}

/// For each so many files a job stands one second further back among those of its user, but never more than an hour: a
/// short batch overtakes a long one, and no long one waits for ever.
const FILES_A_SECOND: u64 = 10;
const LONGEST_HANDICAP: u64 = 3_600;

/// How many jobs are removed in one transaction.
const PRUNED_AT_ONCE: usize = 500;

/// How many saves are removed in one transaction: each may have a row for each of 100,000 files.
const SAVES_PRUNED_AT_ONCE: usize = 5;

/// How many jobs that have ended are removed at a time where room is needed.
const REMOVED_FOR_ROOM: usize = 20;

/// From how many deaths of the agent on a job waits before it is started again: it may be what the agent dies of.
const CRASHES: u32 = 3;

/// The first of those waits, in seconds; each is twice the one before, up to the last.
const CRASH_WAIT: u64 = 15;
const LONGEST_CRASH_WAIT: u64 = 1_800;

/// How much longer than the jobs their throughput is kept, in seconds.
const THROUGHPUT_KEPT: u64 = 31 * 86_400;

/// How many free pages are given back in one transaction.
const PAGES_AT_ONCE: u32 = 2_000;

/// A transaction, and what goes with it.
pub struct Writing<'a> {
    /// Inside the transaction.
    pub connection: &'a Connection,
    /// What the writer knows by heart.
    pub memory: &'a mut Memory,
    /// How the queue is kept.
    pub settings: &'a Settings,
}

impl Writing<'_> {
    pub(super) fn run(&self, sql: &str, params: impl Params) -> Result<usize> {
        self.connection.prepare_cached(sql)?.execute(params)
    }

    fn note(&self, id: JobId, now: UnixTime, what: &str) -> Result<()> {
        self.run("INSERT INTO history (job, at, what) VALUES (?1, ?2, ?3)", params![id.0, now, what])?;
        Ok(())
    }

    fn next_change(&mut self) -> u64 {
        self.memory.change += 1;
        self.memory.change
    }

    /// Writes what is new of a job, and gives it.
    fn put(&mut self, mut job: Job, from: JobState) -> Result<Job> {
        job.change = self.next_change();
        self.run(
            "UPDATE job SET state = ?2, stopping = ?3, reason = ?4, attempts = ?5, started = ?6, ended = ?7, next = ?8,
                            since = ?9, change = ?10, failed = ?11, crashes = ?12
             WHERE id = ?1",
            params![
                job.id.0,
                job.state.as_str(),
                job.stopping,
                job.reason,
                job.attempts,
                job.started,
                job.ended,
                job.next,
                job.since,
                job.change,
                job.failed,
                job.crashes,
            ],
        )?;
        self.memory.moved(&job, Some(from), job.state);
        Ok(job)
    }

    /// See [`super::Queue::submit`]. That there is no room is no error of the transaction.
    pub fn submit(
        &mut self,
        new: &NewJob,
        now: UnixTime,
    ) -> Result<std::result::Result<Submitted, QueueError>> {
        let digest = Sha256::digest(&new.body);
        let own = Scope { zones: Some(vec![new.zone.clone()]), ..new.peers.clone() };
        if let Some(job) = read::find(self.connection, &new.key, &own)? {
            let was: Vec<u8> = self
                .connection
                .prepare_cached("SELECT digest FROM job WHERE id = ?1")?
                .query_row([job.id.0], |r| r.get(0))?;
            let same = was == digest.as_slice();
            return Ok(Ok(if same { Submitted::Same(job) } else { Submitted::Conflict(job) }));
        }
        if let Some(full) = self.full(new.body.len())? {
            return Ok(Err(QueueError::Full(full)));
        }
        let change = self.next_change();
        let large = new.files > self.settings.large_files;
        let handicap = (u64::from(new.files) / FILES_A_SECOND).min(LONGEST_HANDICAP);
        self.run(
            "INSERT INTO job (key, digest, zone, server, user, \"group\", collection, priority, files, large, rank,
                              state, submitted, change, place, caller, shared)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 'queued', ?12, ?13, ?14, ?15, ?16)",
            params![
                new.key,
                digest.as_slice(),
                new.zone,
                new.server,
                new.user,
                new.group,
                new.collection,
                new.priority,
                new.files,
                large,
                now + handicap,
                now,
                change,
                new.place,
                new.caller,
                new.shared,
            ],
        )?;
        let id = JobId(self.connection.last_insert_rowid());
        self.run("INSERT INTO body (job, json) VALUES (?1, ?2)", params![id.0, new.body])?;
        self.note(id, now, &format!("submitted by {}", new.caller))?;
        let job = Job {
            id,
            key: new.key.clone(),
            caller: new.caller.clone(),
            zone: new.zone.clone(),
            server: new.server.clone(),
            user: new.user.clone(),
            group: new.group.clone(),
            collection: new.collection.clone(),
            place: new.place.clone(),
            priority: new.priority,
            files: new.files,
            large,
            failed: 0,
            state: JobState::Queued,
            stopping: false,
            reason: None,
            attempts: 0,
            submitted: now,
            started: None,
            ended: None,
            next: None,
            since: None,
            crashes: 0,
            change,
        };
        self.memory.moved(&job, None, JobState::Queued);
        Ok(Ok(Submitted::New(job)))
    }

    /// Why no job whose request has so many bytes is taken, if so. An eighth of the file is kept free for what has to be
    /// written of the jobs that are in it. What has ended goes before anything is turned away.
    pub(super) fn full(&mut self, bytes: usize) -> Result<Option<String>> {
        if self.memory.open >= self.settings.max_open {
            return Ok(Some(format!("{} jobs are queued", self.memory.open)));
        }
        let own = u64::try_from(bytes).unwrap_or(u64::MAX);
        let most = (self.settings.max_bytes / 8 * 7).saturating_sub(own);
        let used = self.make_room(most)?;
        Ok((used >= most).then(|| format!("{used} bytes of {}", self.settings.max_bytes)))
    }

    /// How many bytes of the file are in use.
    fn used(&self) -> Result<u64> {
        let number = |sql| self.connection.prepare_cached(sql)?.query_row([], |r| r.get::<_, u64>(0));
        let pages = number("PRAGMA page_count")? - number("PRAGMA freelist_count")?;
        Ok(pages * number("PRAGMA page_size")?)
    }

    /// Removes jobs that have ended, the longest ended first, until less of the file is in use than so many bytes or none
    /// is left. Gives how many bytes are in use.
    fn make_room(&mut self, most: u64) -> Result<u64> {
        loop {
            let used = self.used()?;
            if used < most {
                return Ok(used);
            }
            let removed = self.remove_ended(UnixTime::MAX, REMOVED_FOR_ROOM)?;
            if removed + self.remove_ended_saves(UnixTime::MAX, REMOVED_FOR_ROOM)? == 0 {
                return Ok(used);
            }
        }
    }

    /// See [`super::Queue::take`].
    pub fn take(&mut self, turn: &Turn, now: UnixTime) -> Result<Option<Taken>> {
        for account in self.memory.turns(turn) {
            if let Some(job) = self.best_of(&account, turn)? {
                let body = read::blob(self.connection, "SELECT json FROM body WHERE job = ?1", job.id)?;
                let weight = weight_of(&job);
                self.memory.zones.charge(&account.1, weight);
                self.memory.users.charge(&(account.1.clone(), account.2.clone()), weight);
                let attempts = job.attempts + 1;
                self.note(job.id, now, &format!("started, attempt {attempts}"))?;
                let started = Job {
                    state: JobState::Running,
                    attempts,
                    started: Some(now),
                    next: None,
                    reason: None,
                    ..job
                };
                let job = self.put(started, JobState::Queued)?;
                return Ok(Some(Taken { job, body: body.unwrap_or_default() }));
            }
        }
        Ok(None)
    }

    /// The job of one account that is next: the most urgent, then the oldest, where long ones count as younger.
    fn best_of(&self, (server, zone, user): &Account, turn: &Turn) -> Result<Option<Job>> {
        let mut sql = format!(
            "SELECT {COLUMNS} FROM job INDEXED BY job_ready
             WHERE state = 'queued' AND server = ?1 AND zone = ?2 AND user = ?3"
        );
        if self.memory.large >= turn.large {
            sql.push_str(" AND large = 0");
        }
        if !turn.not.is_empty() {
            let not: Vec<String> = turn.not.iter().map(|id| id.0.to_string()).collect();
            let _ = write!(sql, " AND id NOT IN ({})", not.join(",")); // a String takes everything
        }
        if turn.not_shared {
            sql.push_str(" AND shared = 0");
        }
        sql.push_str(" ORDER BY priority DESC, rank LIMIT 1");
        self.connection.prepare_cached(&sql)?.query_row([server, zone, user], job_of).optional()
    }

    /// See [`super::Queue::finish`].
    pub fn finish(&mut self, id: JobId, end: &End, log: &str, now: UnixTime) -> Result<Option<Job>> {
        let Some(job) = read::get(self.connection, id)?.filter(|j| j.state == JobState::Running) else {
            return Ok(None);
        };
        if matches!(end, End::NotNow | End::Back(_) | End::Waiting { counts: false, .. }) {
            let weight = weight_of(&job);
            self.memory.zones.refund(&job.zone, weight);
            self.memory.users.refund(&(job.zone.clone(), job.user.clone()), weight);
        }
        self.make_room(self.settings.max_bytes / 16 * 15)?;
        let plain = Job { stopping: false, reason: None, next: None, crashes: 0, ..job };
        let after = match end {
            End::Waiting { .. } | End::Back(_) | End::NotNow if job.stopping => {
                self.note(id, now, "ended as asked")?;
                Job { state: JobState::Cancelled, reason: job.reason, ended: Some(now), ..plain }
            }
            End::Done { outcomes, failed } => {
                self.run(
                    "INSERT OR REPLACE INTO outcome (job, json) VALUES (?1, ?2)",
                    params![id.0, outcomes],
                )?;
                self.note(id, now, "done")?;
                Job { state: JobState::Done, failed: *failed, ended: Some(now), since: None, ..plain }
            }
            End::Refused(reason) => {
                self.note(id, now, &format!("refused: {reason}"))?;
                Job { state: JobState::Refused, reason: Some(reason.clone()), ended: Some(now), ..plain }
            }
            End::Waiting { reason, next, counts } => {
                self.note(id, now, &format!("waits: {reason}"))?;
                let since = if *counts { Some(job.since.unwrap_or(now)) } else { job.since };
                Job {
                    state: JobState::Waiting,
                    reason: Some(reason.clone()),
                    next: Some(*next),
                    since,
                    ..plain
                }
            }
            End::Back(what) => {
                self.note(id, now, what)?;
                Job { state: JobState::Queued, ..plain }
            }
            End::NotNow => {
                self.run(
                    "DELETE FROM history WHERE id = (SELECT max(id) FROM history WHERE job = ?1)",
                    [id.0],
                )?;
                Job { state: JobState::Queued, attempts: job.attempts.saturating_sub(1), ..plain }
            }
        };
        if !log.is_empty() {
            self.run("INSERT OR REPLACE INTO log (job, text) VALUES (?1, ?2)", params![id.0, log])?;
        }
        self.put(after, JobState::Running).map(Some)
    }

    /// See [`super::Queue::cancel`].
    pub fn cancel(&mut self, id: JobId, by: &str, now: UnixTime) -> Result<Option<Cancelled>> {
        let Some(job) = read::get(self.connection, id)? else {
            return Ok(None);
        };
        if job.state.is_final() {
            return Ok(Some(Cancelled::Ended(job)));
        }
        let from = job.state;
        let reason = Some(format!("cancelled by {by}"));
        if from == JobState::Running {
            if job.stopping {
                return Ok(Some(Cancelled::Running(job)));
            }
            self.note(id, now, &format!("{by} asks to end it"))?;
            return self
                .put(Job { stopping: true, reason, ..job }, from)
                .map(|j| Some(Cancelled::Running(j)));
        }
        self.note(id, now, &format!("cancelled by {by}"))?;
        let job = Job { state: JobState::Cancelled, reason, ended: Some(now), next: None, ..job };
        self.put(job, from).map(|j| Some(Cancelled::Now(j)))
    }

    /// See [`super::Queue::retry`].
    pub fn retry(&mut self, id: JobId, by: &str, now: UnixTime) -> Result<Option<Job>> {
        let Some(job) = read::get(self.connection, id)? else {
            return Ok(None);
        };
        if matches!(job.state, JobState::Queued | JobState::Running) {
            return Ok(Some(job));
        }
        let from = job.state;
        self.run("DELETE FROM outcome WHERE job = ?1", [id.0])?;
        self.note(id, now, &format!("queued again by {by}"))?;
        let again = Job { state: JobState::Queued, failed: 0, reason: None, ended: None, ..job };
        self.put(Job { next: None, since: None, ..again }, from).map(Some)
    }

    /// See [`super::Queue::wake`].
    pub fn wake(&mut self, server: &str, now: UnixTime) -> Result<usize> {
        self.run(
            "UPDATE job SET next = ?2 WHERE state = 'waiting' AND server = ?1 AND next > ?2",
            params![server, now],
        )
    }

    /// See [`super::Queue::promote`].
    pub fn promote(&mut self, now: UnixTime, longest: u64) -> Result<Option<UnixTime>> {
        // No job waits for so long: the clock was ahead when that was noted.
        self.run(
            "UPDATE job SET next = ?1 WHERE state = 'waiting' AND next > ?2",
            [now, now.saturating_add(longest)],
        )?;
        let due: Vec<Job> = self
            .connection
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM job INDEXED BY job_waiting WHERE state = 'waiting' AND next <= ?1
                 ORDER BY next LIMIT 1000"
            ))?
            .query_map([now], job_of)?
            .collect::<Result<_>>()?;
        for job in due {
            self.put(Job { state: JobState::Queued, next: None, ..job }, JobState::Waiting)?;
        }
        self.connection
            .prepare_cached("SELECT min(next) FROM job INDEXED BY job_waiting WHERE state = 'waiting'")?
            .query_row([], |r| r.get(0))
    }

    /// Queues again what was running when the agent ended, and sets right what a clock that was ahead has left.
    pub fn recover(&mut self, now: UnixTime) -> Result<usize> {
        // Numbers of changes start above all that were given before, also by a queue of which this is an older copy.
        self.memory.change = self.memory.change.max(now << 20);
        let running: Vec<Job> = self
            .connection
            .prepare(&format!("SELECT {COLUMNS} FROM job WHERE state = 'running'"))?
            .query_map([], job_of)?
            .collect::<Result<_>>()?;
        for job in &running {
            let what =
                "the agent ended while it ran: OMERO is asked what is there before anything is imported";
            let crashes = job.crashes + 1;
            let end = match crashes.checked_sub(CRASHES) {
                None => End::Back(what.to_owned()),
                Some(more) => {
                    let wait = CRASH_WAIT.saturating_mul(1 << more.min(16)).min(LONGEST_CRASH_WAIT);
                    let reason = format!("the agent ended {crashes} times while it ran");
                    End::Waiting { reason, next: now + wait, counts: false }
                }
            };
            self.finish(job.id, &end, "", now)?;
            self.run("UPDATE job SET crashes = ?2 WHERE id = ?1", params![job.id.0, crashes])?;
        }
        self.clock_was_set(0, now)?;
        Ok(running.len())
    }

    /// See [`super::Queue::clock_was_set`].
    pub fn clock_was_set(&mut self, seconds: i64, now: UnixTime) -> Result<()> {
        let open = "state IN ('queued', 'running', 'waiting')";
        if seconds != 0 {
            self.run(
                &format!("UPDATE job SET since = max(since + ?1, 0) WHERE {open} AND since IS NOT NULL"),
                [seconds],
            )?;
        }
        self.run(&format!("UPDATE job SET since = ?1 WHERE {open} AND since > ?1"), [now])?;
        let latest = now.saturating_add(LONGEST_HANDICAP);
        self.run(&format!("UPDATE job SET rank = ?1 WHERE {open} AND rank > ?1"), [latest])?;
        Ok(())
    }

    /// See [`super::Queue::prune`].
    pub fn prune(&mut self, before: UnixTime) -> Result<usize> {
        let removed = self
            .remove_ended(before, PRUNED_AT_ONCE)?
            .max(self.remove_ended_saves(before, SAVES_PRUNED_AT_ONCE)?);
        let hour = before.saturating_sub(THROUGHPUT_KEPT) / 3_600;
        self.run("DELETE FROM throughput WHERE hour < ?1", [hour])?;
        // Gives pages back one row at a time.
        let mut vacuum = self.connection.prepare(&format!("PRAGMA incremental_vacuum({PAGES_AT_ONCE})"))?;
        let mut rows = vacuum.query([])?;
        while rows.next()?.is_some() {}
        Ok(removed)
    }

    /// Removes jobs that ended before a time, the longest ended first.
    fn remove_ended(&mut self, before: UnixTime, most: usize) -> Result<usize> {
        let before = i64::try_from(before).unwrap_or(i64::MAX);
        let old: HashSet<i64> = self
            .connection
            .prepare_cached("SELECT id FROM job WHERE ended < ?1 ORDER BY ended LIMIT ?2")?
            .query_map(params![before, most], |r| r.get(0))?
            .collect::<Result<_>>()?;
        for id in &old {
            self.run("DELETE FROM job WHERE id = ?1", [id])?;
        }
        Ok(old.len())
    }

    /// Writes something that changes nothing.
    pub fn touch(&mut self) -> Result<()> {
        self.run("UPDATE meta SET value = value + 1 WHERE name = 'touched'", [])?;
        Ok(())
    }

    /// Notes the number of the newest change; the last act of a transaction.
    pub fn close(&mut self) -> Result<()> {
        self.run("UPDATE meta SET value = ?1 WHERE name = 'change'", [self.memory.change])?;
        Ok(())
    }
}
