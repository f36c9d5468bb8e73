//! Sessions in OMERO: opened for a user by the restricted administrator, used by that user's imports, ended by us.
//!
//! The `omero` command keeps a session in a directory of files, its store. Every command rewrites the notes of what
//! was last used there, and throws a session away that it could not join, if only because the network failed for a
//! moment. So commands that run at one time never share a store: a session has a directory of its own in which it is
//! opened and ended, and each import works with a copy of its store. They all use the one session nevertheless.
//!
//! Without [`Sessions`] each batch has a session of its own. What a killed process leaves behind (a directory nobody
//! holds the lock of) is logged out and removed by the next one.

use crate::ImporterError;
use crate::command::CommandImporter;
use crate::outcome;
use crate::process::Nobody;
use crate::secret;
use crate::settings::Omero;
use crate::workplace::{Purpose, Workplace};
use irods_omero_model::clock::UnixTime;
use irods_omero_model::identity::OmeroIdentity;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

/// Idle time after which OMERO closes a session whose owner died, in seconds. Both the command and its Java
/// knock every 300 s while they work.
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
    place: Workplace,
    opened: Instant,
    last_used: Mutex<Instant>,
    /// OMERO does not know it any more.
    lost: AtomicBool,
    /// How many there are of its kind.
    open: Arc<AtomicUsize>,
}

impl Session {
    fn open(
        importer: &CommandImporter<'_>,
        identity: &OmeroIdentity,
        password: &str,
        open: &Arc<AtomicUsize>,
        now: UnixTime,
        alive: &mut dyn FnMut(),
    ) -> Result<Self, ImporterError> {
        let place = importer.workplace(Purpose::Session, now)?;
        open.fetch_add(1, Ordering::Relaxed);
        let session = Self {
            omero: importer.omero().clone(),
            place,
            opened: Instant::now(),
            last_used: Mutex::new(Instant::now()),
            lost: AtomicBool::new(false),
            open: Arc::clone(open),
        };
        let limit = importer.command_timeout();
        let words = importer.login_words(identity);
        let done = importer.run(&session.place, &words, "", Some(password), limit, alive)?;
        if done.code() == Some(0) {
            return Ok(session);
        }
        let sudo = importer.omero().server.sudo_user.as_str();
        Err(outcome::login_failure(&done, sudo, identity.user.as_str()))
    }

    fn used(&self) -> MutexGuard<'_, Instant> {
        self.last_used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it may be given to a further import.
    fn is_good(&self) -> bool {
        !self.lost.load(Ordering::Relaxed) && self.opened.elapsed() < LENT_FOR
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        log_out(&CommandImporter::new(&self.omero), &self.place);
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn log_out(importer: &CommandImporter<'_>, place: &Workplace) {
    // An import that is ended has its session ended all the same.
    let importer = importer.observed(&Nobody);
    let (words, limit) = (CommandImporter::logout_words(), importer.command_timeout());
    if place.has_session() && importer.run(place, &words, "", None, limit, &mut || {}).is_err() {
        log::warn!("act=logout failed=\"the session ends by itself after {SESSION_IDLE_SECONDS} s\"");
    }
}

/// Logs out and removes what killed processes left in the work directory.
pub(super) fn clean_up(importer: &CommandImporter<'_>, work_directory: &Path) {
    let Ok(entries) = std::fs::read_dir(work_directory) else {
        return;
    };
    for place in entries.flatten().filter_map(|entry| Workplace::adopt(entry.path())) {
        log_out(importer, &place);
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
    /// Copies the session into the directory of a run.
    pub fn lend(&self, run: &Workplace) -> io::Result<()> {
        self.session.place.lend(run)
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
    let session = Session::open(importer, identity, &password(importer)?, &Arc::default(), now, alive)?;
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

/// The session of an account; locked while it is opened.
type Slot = Arc<Mutex<Option<Kept>>>;

/// Open sessions, one for each OMERO server, user and group, which that user's imports share. They stay open for some
/// time after the last of them.
#[derive(Default)]
pub struct Sessions {
    slots: Mutex<HashMap<Account, Slot>>,
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
        let session = Session::open(importer, identity, &password, &self.open, now, alive).map(Arc::new)?;
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
    }

    /// Ends all that nobody uses.
    pub fn end_all(&self) {
        self.end_idle(Duration::ZERO);
    }
}

/// Ends sessions, some at a time: each takes a command.
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
