//! The thread that writes.

use super::write::{Memory, Writing};
use super::{OpenError, QueueError, Settings};
use irods_omero_model::clock::UnixTime;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// What makes each version of the schema out of the one before; the first out of nothing.
const SCHEMAS: [&str; 4] = [
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
];

/// The version of the schema.
const VERSION: i64 = 4;

/// A file up to so many bytes is looked through before anything else; a longer one beside the work.
const CHECKED_AT_START: u64 = 64 << 20;

/// By how much the numbers of jobs go on above those of a copy.
const COPY_GAP: i64 = 1 << 32;

/// How many acts share one commit at most.
const GROUP: usize = 1_024;

/// After how many commits what is in the log is brought into the file.
const COMMITS_OF_A_CHECKPOINT: u32 = 64;

/// The pages of a log that has grown so long that the writer itself has to stop and do that.
const LONG_LOG: u32 = 24_000;

/// How many acts wait for the writer at most; more wait for room.
const WAITING: usize = 4_096;

/// An act, and who waits for it. It may be applied more than once: what is answered is the last time.
trait Act: Send {
    fn apply(&mut self, writing: &mut Writing<'_>) -> rusqlite::Result<()>;
    fn answer(self: Box<Self>, result: Result<(), QueueError>);
}

struct Call<T, F> {
    act: F,
    value: Option<T>,
    reply: oneshot::Sender<Result<T, QueueError>>,
}

impl<T: Send, F: FnMut(&mut Writing<'_>) -> rusqlite::Result<T> + Send> Act for Call<T, F> {
    fn apply(&mut self, writing: &mut Writing<'_>) -> rusqlite::Result<()> {
        self.value = Some((self.act)(writing)?);
        Ok(())
    }

    fn answer(self: Box<Self>, result: Result<(), QueueError>) {
        let Self { value, reply, .. } = *self;
        let answer = result.and_then(|()| value.ok_or(QueueError::Ended));
        let _ = reply.send(answer); // whoever asked may be gone
    }
}

/// The way to the thread.
#[derive(Clone)]
pub struct Writer(mpsc::Sender<Box<dyn Act>>);

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    /// Has something written, and waits until it is on the disk.
    pub async fn write<T: Send + 'static>(
        &self,
        act: impl FnMut(&mut Writing<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, QueueError> {
        let (reply, answer) = oneshot::channel();
        let call = Box::new(Call { act, value: None, reply });
        self.0.send(call).await.map_err(|_| QueueError::Ended)?;
        answer.await.map_err(|_| QueueError::Ended)?
    }
}

/// What opening gives.
pub struct Opened {
    /// The way to the thread.
    pub writer: Writer,
    /// What makes the names of this queue's jobs its own.
    pub epoch: String,
    /// Tells of the newest change.
    pub newest: watch::Receiver<u64>,
}

/// The error of opening that an error of SQLite is.
pub fn open_error(path: &Path, error: &rusqlite::Error) -> OpenError {
    let (path, why) = (path.display().to_string(), error.to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => OpenError::Damaged { path, why },
        _ => OpenError::Unusable { path, why },
    }
}

/// Opens the file, checks it, and starts the thread.
pub fn open(path: &Path, settings: Settings, now: UnixTime) -> Result<Opened, OpenError> {
    let wrong = |e: rusqlite::Error| open_error(path, &e);
    let mut connection = Connection::open(path).map_err(wrong)?;
    prepare(&connection).map_err(wrong)?;
    // Of a long file only what is read of it now: the rest is looked through beside the work.
    if connection.path().and_then(|p| std::fs::metadata(p).ok()).is_none_or(|m| m.len() <= CHECKED_AT_START) {
        check(path, &connection)?;
    }
    let version: i64 = connection.pragma_query_value(None, "user_version", |r| r.get(0)).map_err(wrong)?;
    if version > VERSION {
        let path = path.display().to_string();
        return Err(OpenError::Newer { path, found: version, known: VERSION });
    }
    if version < VERSION {
        upgrade(&mut connection, version, now).map_err(wrong)?;
    }
    mark(path, &connection, version < VERSION).map_err(wrong)?;
    limit(&connection, &settings).map_err(wrong)?;
    let epoch = connection
        .query_row("SELECT value FROM meta WHERE name = 'epoch'", [], |r| r.get(0))
        .map_err(wrong)?;
    let mut memory = Memory::default();
    memory.load(&connection).map_err(wrong)?;
    let (newest, newest_seen) = watch::channel(memory.change);
    let checkpoints = checkpoints(path).map_err(wrong)?;
    let path_of_thread = path.to_owned();
    let mut thread =
        Thread { path: path_of_thread, connection, memory, settings, newest, checkpoints, commits: 0 };
    let recovered = thread.commit_with(|w| w.recover(now)).map_err(wrong)?;
    if recovered > 0 {
        tracing::warn!(act = "recover", jobs = recovered, "the agent ended while they ran");
    }
    let (writer, acts) = mpsc::channel(WAITING);
    std::thread::Builder::new().name("queue".to_owned()).spawn(move || thread.run(acts)).map_err(|e| {
        OpenError::Unusable {
            path: path.display().to_string(),
            why: format!("no thread can be started: {e}"),
        }
    })?;
    Ok(Opened { writer: Writer(writer), epoch, newest: newest_seen })
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(10))?;
    // Before the first table only: later it would need a full vacuum.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.pragma_update(None, "wal_autocheckpoint", LONG_LOG)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Starts a thread that brings the log into the file each time it is told to: the writer goes on meanwhile, and nobody who
/// submits waits for it. It ends with the writer.
fn checkpoints(path: &Path) -> rusqlite::Result<SyncSender<()>> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let (wanted, wishes) = sync_channel::<()>(1);
    let work = move || {
        for () in wishes {
            if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
                tracing::warn!(act = "checkpoint", failed = %error, "the log grows");
            }
        }
    };
    let started = std::thread::Builder::new().name("checkpoint".to_owned()).spawn(work);
    // Without it the writer does it.
    started.inspect_err(|error| tracing::warn!(act = "checkpoint", failed = %error)).ok();
    Ok(wanted)
}

/// Looks through the whole file once: what is damaged shows now, not when a job is lost.
fn check(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let said: String =
        connection.query_row("PRAGMA quick_check(1)", [], |r| r.get(0)).map_err(|e| open_error(path, &e))?;
    if said == "ok" {
        return Ok(());
    }
    Err(OpenError::Damaged { path: path.display().to_string(), why: said })
}

/// Looks through the whole file, on a connection of its own.
pub fn check_beside(path: &Path) -> Result<(), OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| open_error(path, &e))?;
    check(path, &connection)
}

/// The file beside the queue that has the queue's own mark.
fn mark_file(path: &Path) -> PathBuf {
    path.with_extension("mark")
}

/// Marks file and queue anew at each start. Where the marks differ this is a copy of an earlier state of the queue, or of
/// another one: the numbers of jobs that were given since must not be given again, so that they begin far above.
fn mark(path: &Path, connection: &Connection, is_new: bool) -> rusqlite::Result<()> {
    let inside: Option<String> =
        connection.query_row("SELECT value FROM meta WHERE name = 'mark'", [], |r| r.get(0)).optional()?;
    let outside = std::fs::read_to_string(mark_file(path)).ok();
    if !is_new && inside != outside {
        tracing::warn!(act = "restore", queue = %path.display(), "it is a copy: its numbers of jobs go on far above");
        connection
            .execute("UPDATE sqlite_sequence SET seq = seq + ?1 WHERE name IN ('job', 'save')", [COPY_GAP])?;
    }
    let new: String = connection.query_row("SELECT lower(hex(randomblob(16)))", [], |r| r.get(0))?;
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('mark', ?1)", [&new])?;
    if let Err(error) = std::fs::write(mark_file(path), new) {
        tracing::warn!(act = "mark", queue = %path.display(), failed = %error);
    }
    Ok(())
}

fn upgrade(connection: &mut Connection, version: i64, now: UnixTime) -> rusqlite::Result<()> {
    // A table that is made anew must not take with it what belongs to its rows. Inside a transaction this does nothing.
    connection.pragma_update(None, "foreign_keys", false)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for schema in SCHEMAS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        transaction.execute_batch(schema)?;
    }
    if version == 0 {
        transaction.execute("INSERT INTO meta VALUES ('epoch', lower(hex(randomblob(4))))", [])?;
        // Numbers of changes start above those of every queue made before, which callers may still remember.
        transaction.execute("INSERT INTO meta VALUES ('change', ?1), ('touched', 0)", [now << 20])?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    connection.pragma_update(None, "foreign_keys", true)
}

/// Bounds the file itself. Submissions end at `max_bytes`; the end of a job that was taken is written beyond it, since a
/// job whose end cannot be written runs again and again. That is bounded too: outcomes are by what was asked for.
fn limit(connection: &Connection, settings: &Settings) -> rusqlite::Result<()> {
    let page: u64 = connection.pragma_query_value(None, "page_size", |r| r.get(0))?;
    let pages = (settings.max_bytes.saturating_mul(2) / page).clamp(1, u64::from(u32::MAX - 2));
    connection.pragma_update(None, "max_page_count", pages)
}

struct Thread {
    path: PathBuf,
    connection: Connection,
    memory: Memory,
    settings: Settings,
    newest: watch::Sender<u64>,
    checkpoints: SyncSender<()>,
    commits: u32,
}

impl Thread {
    fn run(mut self, mut acts: mpsc::Receiver<Box<dyn Act>>) {
        let mut group = Vec::new();
        while acts.blocking_recv_many(&mut group, GROUP) > 0 {
            self.commit(std::mem::take(&mut group));
            self.commits = self.commits.wrapping_add(1);
            if self.commits.is_multiple_of(COMMITS_OF_A_CHECKPOINT) {
                let _ = self.checkpoints.try_send(()); // one that is wished for already will do
            }
        }
    }

    /// Commits acts together; one of them that cannot be written keeps none of the others from it.
    fn commit(&mut self, mut group: Vec<Box<dyn Act>>) {
        match self.commit_with(|w| group.iter_mut().try_for_each(|act| act.apply(w))) {
            Ok(()) => group.into_iter().for_each(|act| act.answer(Ok(()))),
            Err(_) if group.len() > 1 => group.into_iter().for_each(|act| self.commit(vec![act])),
            Err(error) => {
                tracing::error!(act = "write", queue = %self.path.display(), failed = %error);
                let error = super::unusable(&self.path, &error);
                for act in group {
                    act.answer(Err(error.clone()));
                }
            }
        }
    }

    fn commit_with<T>(
        &mut self,
        act: impl FnOnce(&mut Writing<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let done = (|| {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut writing =
                Writing { connection: &transaction, memory: &mut self.memory, settings: &self.settings };
            let before = writing.memory.change;
            let value = act(&mut writing)?;
            // A transaction that writes nothing costs no waiting for the disk.
            if writing.memory.change != before {
                writing.close()?;
            }
            transaction.commit()?;
            Ok(value)
        })();
        if done.is_err()
            && let Err(error) = self.memory.load(&self.connection)
        {
            tracing::error!(act = "read", queue = %self.path.display(), failed = %error);
        }
        self.newest
            .send_if_modified(|newest| std::mem::replace(newest, self.memory.change) != self.memory.change);
        done
    }
}
