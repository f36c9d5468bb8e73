//! Sessions in OMERO: opened for a user by the restricted administrator, used by that user's imports, ended by us.
//!
//! The worker opens them, keeps them alive and ends them; each knows the worker it was opened by. A worker that died is
//! replaced with the next question, and the new one takes the session up again. The `omero import` of a batch is told the
//! session by its key.
//!
//! Without [`Sessions`] each batch has a session and a worker of its own. A session has a directory with a note of its
//! key: what a killed process leaves behind (a directory nobody holds the lock of) is logged out and removed by the next
//! one.

use crate::ImporterError;
use crate::command::CommandImporter;
use crate::process::{Nobody, Observer};
use crate::secret;
use crate::settings::{Omero, Server};
use crate::worker::{Kind, Login, SessionKey, Waiting, Worker, WorkerError, WorkerProcess};
use crate::workplace::{Purpose, Workplace};
use irods_omero_model::clock::UnixTime;
use irods_omero_model::identity::OmeroIdentity;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

/// Idle time after which OMERO closes a session whose owner died, in seconds. The worker knocks three times in it, and
/// Java every 300 s while it works.
pub(super) const SESSION_IDLE_SECONDS: u32 = 900;

/// The longest a session may be kept that nobody uses: well before OMERO closes it.
pub const LONGEST_IDLE: Duration = Duration::from_secs(600);

/// How long after its opening a session is given to further imports: what OMERO's administrator takes from a user, or
/// from the account that opens the sessions, holds after this at the latest.
const LENT_FOR: Duration = Duration::from_secs(3_600);

/// How often one waits again for another's login.
const LOGIN_LOOK: Duration = Duration::from_millis(50);

/// How many sessions are ended at once.
const ENDED_AT_ONCE: usize = 8;

/// An open session, ended when it is dropped.
#[derive(Debug)]
pub(super) struct Session {
    /// How it was opened: the configuration may be another one when it is ended.
    omero: Omero,
    worker: Arc<dyn Worker>,
    key: SessionKey,
    /// Removed after it is ended.
    place: Workplace,
    opened: Instant,
    last_used: Mutex<Instant>,
    /// OMERO does not know it any more.
    lost: AtomicBool,
    /// How many there are of its kind.
    open: Arc<AtomicUsize>,
}

/// What is noted of a session, for the case that we die.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    host: String,
    port: u16,
    key: String,
}

impl Session {
    fn open(
        importer: &CommandImporter<'_>,
        worker: Arc<dyn Worker>,
        identity: &OmeroIdentity,
        open: &Arc<AtomicUsize>,
        now: UnixTime,
        alive: &mut dyn FnMut(),
    ) -> Result<Self, ImporterError> {
        let server = &importer.omero().server;
        let place = importer.workplace(Purpose::Session, now)?;
        let login = Login { server, identity, idle: SESSION_IDLE_SECONDS };
        let opened = worker.login(&login, &mut importer.waiting(alive))?;
        let session = Self {
            omero: importer.omero().clone(),
            worker,
            key: opened.session.clone(),
            place,
            opened: Instant::now(),
            last_used: Mutex::new(Instant::now()),
            lost: AtomicBool::new(false),
            open: Arc::clone(open),
        };
        open.fetch_add(1, Ordering::Relaxed);
        let key = session.key.as_str().to_owned();
        let note = Note { host: server.host.clone(), port: server.port, key };
        let noted = serde_json::to_vec(&note).map_err(std::io::Error::from);
        noted.and_then(|note| session.place.set_note(&note)).map_err(|e| importer.no_workplace(&e))?;
        if opened.is_of(&identity.user) {
            return Ok(session);
        }
        let (user, other) = (&identity.user, opened.user);
        Err(ImporterError::Refused(format!("OMERO opened a session of '{other}' instead of '{user}'")))
    }

    /// Asks OMERO in it. A worker that does not know it, because it took the place of one that died, takes it up first.
    pub fn ask<T>(
        &self,
        waiting: &mut Waiting<'_>,
        question: impl Fn(&dyn Worker, &SessionKey, &mut Waiting<'_>) -> Result<T, WorkerError>,
    ) -> Result<T, WorkerError> {
        match question(&*self.worker, &self.key, waiting) {
            Err(error) if error.has_no_session() => {
                log::warn!("act=worker failed={:?}", error.to_string());
                let joined = self.worker.join(&self.omero.server, &self.key, waiting);
                if joined.as_ref().is_err_and(|e| e.kind() == Some(Kind::SessionExpired)) {
                    self.lost.store(true, Ordering::Relaxed);
                }
                joined.and_then(|_| question(&*self.worker, &self.key, waiting))
            }
            answer => answer,
        }
    }

    /// Whether OMERO does not know it any more.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// The words of the `omero` command that have it use the session.
    pub fn words(&self) -> Vec<OsString> {
        let server = &self.omero.server;
        ["-k", self.key.as_str(), "-s", &server.host, "-p", &server.port.to_string()]
            .map(OsString::from)
            .into()
    }

    fn used(&self) -> MutexGuard<'_, Instant> {
        self.last_used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it may be given to a further import.
    fn is_good(&self) -> bool {
        !self.is_lost() && self.opened.elapsed() < LENT_FOR
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if log_out(&*self.worker, &self.omero, &self.omero.server, &self.key) == Ending::Left {
            self.place.leave();
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What became of a session that nobody needs any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It is ended, or ends by itself.
    Ended,
    /// OMERO is still at work in it: it is ended by a later look.
    Left,
}

fn log_out(worker: &dyn Worker, omero: &Omero, server: &Server, key: &SessionKey) -> Ending {
    // An import that is ended has its session ended all the same.
    let observer: &dyn Observer = &Nobody;
    let mut waiting = Waiting { limit: omero.importer.command_timeout, alive: &mut || {}, observer };
    match worker.logout(server, key, omero.importer.unfinished_wait, &mut waiting) {
        Ok(out) if out.unfinished => {
            log::info!("act=logout left=\"OMERO is still at work on what was imported in this session\"");
            Ending::Left
        }
        Ok(_) => Ending::Ended,
        Err(error) => {
            log::warn!(
                "act=logout failed={:?} why=\"it ends by itself after {SESSION_IDLE_SECONDS} s\"",
                error.to_string()
            );
            Ending::Ended
        }
    }
}

/// Logs out and removes what killed processes left in the work directory.
pub(super) fn clean_up(importer: &CommandImporter<'_>, work_directory: &Path) {
    let Ok(entries) = std::fs::read_dir(work_directory) else {
        return;
    };
    let mut worker = None;
    for place in entries.flatten().filter_map(|entry| Workplace::adopt(entry.path())) {
        let Some(note) = place.note().and_then(|note| serde_json::from_slice::<Note>(&note).ok()) else {
            continue;
        };
        let Some(key) = SessionKey::parse(&note.key) else { continue };
        let omero = importer.omero();
        let server = Server { host: note.host, port: note.port, ..omero.server.clone() };
        let worker = worker.get_or_insert_with(|| WorkerProcess::new(omero));
        if log_out(worker, omero, &server, &key) == Ending::Left {
            place.leave();
        }
    }
}

/// A session in use.
#[derive(Debug)]
pub(super) struct Lease {
    session: Arc<Session>,
    /// Whether it was open before.
    pub is_old: bool,
}

impl Lease {
    /// Has the session used in the directory of a run.
    pub fn lend(&self, run: &mut Workplace) {
        run.set_session(Arc::clone(&self.session));
    }

    /// Has nobody else use the session: OMERO does not know it any more.
    pub fn discard(&self) {
        self.session.lost.store(true, Ordering::Relaxed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        *self.session.used() = Instant::now();
    }
}

/// A session of one user for one batch.
pub(super) fn for_one_batch(
    importer: &CommandImporter<'_>,
    identity: &OmeroIdentity,
    now: UnixTime,
    alive: &mut dyn FnMut(),
) -> Result<Lease, ImporterError> {
    // What is wrong with the file is said before anything is started.
    password(importer)?;
    let worker = Arc::new(WorkerProcess::new(importer.omero()));
    let session = Session::open(importer, worker, identity, &Arc::default(), now, alive)?;
    Ok(Lease { session: Arc::new(session), is_old: false })
}

fn password(importer: &CommandImporter<'_>) -> Result<String, ImporterError> {
    secret::read(&importer.omero().server.password_file).map_err(|e| ImporterError::WillPass(e.to_string()))
}

/// Whose session it is: server, port, and the user with the group.
type Account = (String, u16, OmeroIdentity);

/// A session and what it was opened with.
#[derive(Debug)]
struct Kept {
    session: Arc<Session>,
    terms: u64,
}

/// How a worker is started, and for which server.
type Launch = String;

/// The session of an account; locked while it is opened.
type Slot = Arc<Mutex<Option<Kept>>>;

/// Open sessions, one for each OMERO server, user and group, which that user's imports share. They stay open for some
/// time after the last of them.
#[derive(Default)]
pub struct Sessions {
    slots: Mutex<HashMap<Account, Slot>>,
    workers: Mutex<HashMap<Launch, Arc<WorkerProcess>>>,
    open: Arc<AtomicUsize>,
    /// Of what a session was opened with only a digest is kept, with a key of this process.
    digest: RandomState,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sessions({})", self.count())
    }
}

impl Sessions {
    /// How many are open.
    pub fn count(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// The worker of an OMERO server, which all its sessions share.
    pub fn worker(&self, omero: &Omero) -> Arc<dyn Worker> {
        let (server, importer) = (&omero.server, &omero.importer);
        let launch = format!(
            "{:?}",
            (&server.host, server.port, &importer.command, &importer.worker, &importer.environment)
        );
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let worker = workers.entry(launch).or_insert_with(|| Arc::new(WorkerProcess::new(omero)));
        Arc::clone(worker) as Arc<dyn Worker>
    }

    /// Ends the workers that no session uses.
    fn end_idle_workers(&self) {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.retain(|_, worker| Arc::strong_count(worker) > 1);
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Account, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session of a user; one that is not there, or was opened in another way than is configured now, is opened.
    pub(super) fn lease(
        &self,
        importer: &CommandImporter<'_>,
        identity: &OmeroIdentity,
        now: UnixTime,
        alive: &mut dyn FnMut(),
    ) -> Result<Lease, ImporterError> {
        let server = &importer.omero().server;
        let password = password(importer)?;
        let terms = self.digest.hash_one((server.sudo_user.as_str(), &password));
        let account = (server.host.clone(), server.port, identity.clone());
        let slot = Arc::clone(self.slots().entry(account).or_default());
        let mut kept = wait_for(&slot, importer, alive)?;
        if let Some(kept) = kept.as_ref().filter(|k| k.terms == terms && k.session.is_good()) {
            return Ok(Lease { session: Arc::clone(&kept.session), is_old: true });
        }
        let before = kept.take();
        let worker = self.worker(importer.omero());
        let session = Session::open(importer, worker, identity, &self.open, now, alive).map(Arc::new)?;
        *kept = Some(Kept { session: Arc::clone(&session), terms });
        drop(kept);
        // It is ended when the last import that uses it has ended.
        drop(before);
        Ok(Lease { session, is_old: false })
    }

    /// Ends the sessions that nobody has used for some time.
    pub fn end_idle(&self, limit: Duration) {
        let mut idle = Vec::new();
        self.slots().retain(|_, slot| {
            // Of one that is locked somebody opens the session.
            let Ok(mut kept) = slot.try_lock() else { return true };
            let is_idle = |session: &Arc<Session>| {
                let for_long = session.used().elapsed() >= limit || !session.is_good();
                for_long && Arc::strong_count(session) == 1
            };
            idle.extend(kept.take_if(|k| is_idle(&k.session)));
            kept.is_some() || Arc::strong_count(slot) > 1
        });
        end(idle);
        self.end_idle_workers();
    }

    /// Ends all that nobody uses.
    pub fn end_all(&self) {
        self.end_idle(Duration::ZERO);
    }
}

/// Ends sessions, some at a time: OMERO may be slow.
fn end(mut sessions: Vec<Kept>) {
    while !sessions.is_empty() {
        let some = sessions.split_off(sessions.len().saturating_sub(ENDED_AT_ONCE));
        thread::scope(|scope| {
            for session in some {
                scope.spawn(move || drop(session));
            }
        });
    }
}

/// Locks a slot; another import of the same user may be logging in.
fn wait_for<'s>(
    slot: &'s Slot,
    importer: &CommandImporter<'_>,
    alive: &mut dyn FnMut(),
) -> Result<MutexGuard<'s, Option<Kept>>, ImporterError> {
    loop {
        match slot.try_lock() {
            Ok(kept) => return Ok(kept),
            Err(TryLockError::Poisoned(kept)) => return Ok(kept.into_inner()),
            Err(TryLockError::WouldBlock) if importer.is_to_end() => {
                return Err(CommandImporter::ended());
            }
            Err(TryLockError::WouldBlock) => {
                alive();
                thread::sleep(LOGIN_LOOK);
            }
        }
    }
}
