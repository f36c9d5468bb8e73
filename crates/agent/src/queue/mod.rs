//! What the agent was asked to do and what became of it, in one SQLite file that survives every crash.
//!
//! One thread writes: it takes what has come in since its last commit, applies all of it in one transaction, and
//! answers after the commit. What was answered is therefore on the disk, and a thousand submissions cost little more
//! than one. Everybody else reads, through connections that see committed work only.
//!
//! A job is `queued`, `running`, and then `done`, `refused` or `cancelled`; one that OMERO was not there for is
//! `waiting` until its time comes. A job that was running when the agent died is queued again: the importer asks OMERO
//! what is there before it imports anything.

mod fair;
mod read;
mod saves;
mod write;
mod writer;

pub use read::{Filter, Scope};
pub use saves::{NewSave, Save, SaveCounts, SaveFile, SaveFilter, SaveId, Told};
pub use write::{Cancelled, End, Submitted, Taken, Turn};

use irods_omero_importer::wire::JobState;
use irods_omero_model::clock::UnixTime;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

/// The number of a job within one queue file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(i64);

/// What is known of a job, without its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// The caller's key.
    pub key: String,
    /// Who submitted it.
    pub caller: String,
    /// The zone whose data it is.
    pub zone: String,
    /// The agent's name of the OMERO server.
    pub server: String,
    /// The OMERO user.
    pub user: String,
    /// The OMERO group; `None` for the user's default group.
    pub group: Option<String>,
    /// The collection whose sweep submitted it.
    pub collection: String,
    /// The path of the collection of its first file.
    pub place: String,
    /// How urgent it is among the jobs of its user.
    pub priority: i8,
    /// How many files it has.
    pub files: u32,
    /// Whether it counts as large: decided when it was submitted.
    pub large: bool,
    /// How many of them failed, once it is done.
    pub failed: u32,
    /// How far it is.
    pub state: JobState,
    /// Whether it runs and is to be ended.
    pub stopping: bool,
    /// Why it waits, was refused or was cancelled.
    pub reason: Option<String>,
    /// How often it was started.
    pub attempts: u32,
    /// When it was submitted.
    pub submitted: UnixTime,
    /// When it was last started.
    pub started: Option<UnixTime>,
    /// When it ended.
    pub ended: Option<UnixTime>,
    /// When one that waits is tried again.
    pub next: Option<UnixTime>,
    /// Since when it has been failing for a reason that will pass.
    pub since: Option<UnixTime>,
    /// How often the agent died while it ran, since it last ended in order.
    pub crashes: u32,
    /// The number of its newest change; numbers grow over all jobs.
    pub change: u64,
}

/// A job to be queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// The caller's key.
    pub key: String,
    /// Who submitted it.
    pub caller: String,
    /// The zone whose data it is.
    pub zone: String,
    /// The agent's name of the OMERO server.
    pub server: String,
    /// The OMERO user.
    pub user: String,
    /// The OMERO group.
    pub group: Option<String>,
    /// The collection whose sweep submits it.
    pub collection: String,
    /// The path of the collection of its first file.
    pub place: String,
    /// How urgent it is among the jobs of its user.
    pub priority: i8,
    /// How many files it has.
    pub files: u32,
    /// The body as it is kept, from which the batch is read again.
    pub body: Vec<u8>,
    /// Whether the caller may have given it to another agent, or will.
    pub shared: bool,
    /// Whose jobs the caller sees: one of them with this key is not queued a second time.
    pub peers: Scope,
}

/// A line of a job's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: UnixTime,
    /// What happened, as a sentence.
    pub what: String,
}

/// How the queue is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// A job of more files than this is large: large jobs never take all places.
    pub large_files: u32,
    /// The longest the file may grow, in bytes; submissions are turned away before.
    pub max_bytes: u64,
    /// The most jobs that may be queued or waiting.
    pub max_open: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { large_files: 1_000, max_bytes: 64 << 30, max_open: 1_000_000 }
    }
}

/// Why the queue does not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// The disk or the file is at fault; nothing was changed.
    #[error("the queue {path} cannot be used: {why}")]
    Unusable {
        /// The file.
        path: String,
        /// What SQLite says.
        why: String,
    },
    /// No more jobs are taken.
    #[error("the queue is full ({0}): try again later")]
    Full(String),
    /// The agent is ending.
    #[error("the agent is ending")]
    Ended,
}

/// Why the queue cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is not a sound database.
    #[error(
        "the queue {path} is damaged ({why}). Move it away together with {path}-wal and {path}-shm and start the agent \
         again with an empty queue. Nothing is lost by it: the iRODS servers submit again what they have no answer for, \
         and what is in OMERO already is found there and not imported twice."
    )]
    Damaged {
        /// The file.
        path: String,
        /// What SQLite says.
        why: String,
    },
    /// A newer agent made it.
    #[error(
        "the queue {path} has version {found}, and this agent knows version {known}: install the newer agent"
    )]
    Newer {
        /// The file.
        path: String,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Something else keeps us from it.
    #[error("the queue {path} cannot be opened: {why}")]
    Unusable {
        /// The file.
        path: String,
        /// What the system says.
        why: String,
    },
}

/// The queue, shared by all parts of the agent.
#[derive(Debug, Clone)]
pub struct Queue {
    path: Arc<PathBuf>,
    epoch: Arc<str>,
    writer: writer::Writer,
    readers: Arc<read::Readers>,
    newest: watch::Receiver<u64>,
}

/// How many files the jobs had that ended within an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throughput {
    /// The hour, counted since 1970.
    pub hour: u64,
    /// Files of jobs that are done.
    pub done: u64,
    /// Files of jobs that were refused or cancelled.
    pub others: u64,
}

/// How many jobs there are in a state.
pub type Counts = Vec<(JobState, u64)>;

impl Queue {
    /// Opens the queue, or makes it. What was running when the agent last ended is queued again.
    ///
    /// # Errors
    /// What is wrong with the file and what to do about it.
    pub fn open(path: &Path, settings: Settings, now: UnixTime) -> Result<Self, OpenError> {
        let opened = writer::open(path, settings, now)?;
        let readers = read::Readers::open(path).map_err(|e| writer::open_error(path, &e))?;
        Ok(Self {
            path: Arc::new(path.to_owned()),
            epoch: opened.epoch.into(),
            writer: opened.writer,
            readers: Arc::new(readers),
            newest: opened.newest,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The public name of a job: no other queue file gives the same name.
    pub fn name(&self, id: JobId) -> String {
        format!("{}-{}", self.epoch, id.0)
    }

    /// From the public name; `None` if it is of another queue.
    pub fn id(&self, name: &str) -> Option<JobId> {
        let number = name.strip_prefix(&*self.epoch)?.strip_prefix('-')?;
        let id: i64 = number.parse().ok()?;
        (id > 0 && number == id.to_string()).then_some(JobId(id))
    }

    /// Tells of the number of the newest change.
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.clone()
    }

    /// How many jobs of a queue file run, as an agent that has it open noted last.
    ///
    /// # Errors
    /// A sentence with the file.
    pub fn running_in(path: &Path) -> Result<u64, String> {
        let about = |e: rusqlite::Error| format!("{}: {e}", path.display());
        let readers = read::Readers::open(path).map_err(about)?;
        let counts = readers.with(|c| read::counts(c, &Scope::default())).map_err(about)?;
        Ok(counts.iter().find(|(state, _)| *state == JobState::Running).map_or(0, |(_, count)| *count))
    }

    /// Queues a job, or finds it by its key.
    ///
    /// # Errors
    /// The queue is full or cannot be written; the job is not queued.
    pub async fn submit(&self, job: NewJob, now: UnixTime) -> Result<Submitted, QueueError> {
        self.writer.write(move |w| w.submit(&job, now)).await?
    }

    /// Starts the job whose turn it is; `None` if none may start.
    ///
    /// # Errors
    /// The queue cannot be used; nothing is started.
    pub async fn take(&self, turn: Turn, now: UnixTime) -> Result<Option<Taken>, QueueError> {
        self.writer.write(move |w| w.take(&turn, now)).await
    }

    /// Notes how a run ended.
    ///
    /// # Errors
    /// The queue cannot be written; the job is still noted as running.
    pub async fn finish(
        &self,
        id: JobId,
        end: End,
        log: String,
        now: UnixTime,
    ) -> Result<Option<Job>, QueueError> {
        self.writer.write(move |w| w.finish(id, &end, &log, now)).await
    }

    /// Cancels a job. One that runs is noted as to be ended.
    ///
    /// # Errors
    /// The queue cannot be used.
    pub async fn cancel(
        &self,
        id: JobId,
        by: String,
        now: UnixTime,
    ) -> Result<Option<Cancelled>, QueueError> {
        self.writer.write(move |w| w.cancel(id, &by, now)).await
    }

    /// Queues a job again that has ended or waits; leaves others as they are.
    ///
    /// # Errors
    /// The queue cannot be used.
    pub async fn retry(&self, id: JobId, by: String, now: UnixTime) -> Result<Option<Job>, QueueError> {
        self.writer.write(move |w| w.retry(id, &by, now)).await
    }

    /// Ends the waiting of all jobs of a server. Gives how many there were.
    ///
    /// # Errors
    /// The queue cannot be used.
    pub async fn wake(&self, server: String, now: UnixTime) -> Result<usize, QueueError> {
        self.writer.write(move |w| w.wake(&server, now)).await
    }

    /// Queues the waiting jobs whose time has come. Gives when the next one's comes. None waits longer than `longest`
    /// seconds from now.
    ///
    /// # Errors
    /// The queue cannot be used.
    pub async fn promote(&self, now: UnixTime, longest: u64) -> Result<Option<UnixTime>, QueueError> {
        self.writer.write(move |w| w.promote(now, longest)).await
    }

    /// Removes jobs that ended before a time and gives their room back. At most some are removed at once; gives how
    /// many.
    ///
    /// # Errors
    /// The queue cannot be used.
    pub async fn prune(&self, before: UnixTime) -> Result<usize, QueueError> {
        self.writer.write(move |w| w.prune(before)).await
    }

    /// Writes nothing and waits for its commit: whether the queue can be written.
    ///
    /// # Errors
    /// It cannot.
    pub async fn probe(&self) -> Result<(), QueueError> {
        let touch = |w: &mut write::Writing<'_>| {
            w.touch()?;
            Ok(())
        };
        self.writer.write(touch).await
    }

    /// The clock was set by so many seconds: what is counted from times before goes on as if it had not been.
    ///
    /// # Errors
    /// The queue cannot be written.
    pub async fn clock_was_set(&self, seconds: i64, now: UnixTime) -> Result<(), QueueError> {
        self.writer.write(move |w| w.clock_was_set(seconds, now)).await
    }

    /// Looks through the whole file for damage, beside all else that is asked of it. Gives what is wrong.
    ///
    /// # Errors
    /// What is wrong, with the remedy.
    pub async fn check(&self) -> Result<(), String> {
        let path = Arc::clone(&self.path);
        let check = move || writer::check_beside(&path).map_err(|e| e.to_string());
        tokio::task::spawn_blocking(check).await.unwrap_or(Ok(()))
    }

    /// When the job was submitted that has been queued longest; `None` if none is.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn oldest_queued(&self) -> Result<Option<UnixTime>, QueueError> {
        self.read(read::oldest_queued).await
    }

    /// When a job was last done some of whose files are in OMERO; `None` if none is kept.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn last_success(&self) -> Result<Option<UnixTime>, QueueError> {
        self.read(read::last_success).await
    }

    /// A job by its number.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn get(&self, id: JobId) -> Result<Option<Job>, QueueError> {
        self.read(move |c| read::get(c, id)).await
    }

    /// The newest job with a key within a scope.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn find(&self, key: String, scope: Scope) -> Result<Option<Job>, QueueError> {
        self.read(move |c| read::find(c, &key, &scope)).await
    }

    /// Jobs, newest first.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn list(&self, filter: Filter) -> Result<Vec<Job>, QueueError> {
        self.read(move |c| read::list(c, &filter)).await
    }

    /// The jobs that changed after a change, in the order of their newest change, and where to go on.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn changes(
        &self,
        after: u64,
        scope: Scope,
        limit: usize,
    ) -> Result<(u64, Vec<Job>), QueueError> {
        self.read(move |c| read::changes(c, after, &scope, limit)).await
    }

    /// Files of the jobs that ended since a time, by the hour.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn throughput(&self, since: UnixTime, scope: Scope) -> Result<Vec<Throughput>, QueueError> {
        self.read(move |c| read::throughput(c, since, &scope)).await
    }

    /// What happened to a job, in order.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn history(&self, id: JobId) -> Result<Vec<Event>, QueueError> {
        self.read(move |c| read::history(c, id)).await
    }

    /// The body a job was submitted with, as kept.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn body(&self, id: JobId) -> Result<Option<Vec<u8>>, QueueError> {
        self.read(move |c| read::blob(c, "SELECT json FROM body WHERE job = ?1", id)).await
    }

    /// The outcomes of a job that has ended, as JSON.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn outcomes(&self, id: JobId) -> Result<Option<Vec<u8>>, QueueError> {
        self.read(move |c| read::blob(c, "SELECT json FROM outcome WHERE job = ?1", id)).await
    }

    /// What the importer said at the last attempt.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn log(&self, id: JobId) -> Result<Option<String>, QueueError> {
        self.read(move |c| read::log(c, id)).await
    }

    /// How many jobs there are in each state, within a scope.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn counts(&self, scope: Scope) -> Result<Counts, QueueError> {
        self.read(move |c| read::counts(c, &scope)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, QueueError> {
        let readers = Arc::clone(&self.readers);
        let answer = tokio::task::spawn_blocking(move || readers.with(ask)).await;
        answer.map_err(|_| QueueError::Ended)?.map_err(|e| unusable(&self.path, &e))
    }
}

fn unusable(path: &Path, error: &rusqlite::Error) -> QueueError {
    QueueError::Unusable { path: path.display().to_string(), why: error.to_string() }
}

#[cfg(test)]
mod tests;
