//! Directories in which `omero` commands run: their store of sessions, their temporary files, their standard input.
//!
//! A directory is locked for as long as it is used and removed at its end, so one that nobody holds the lock of was
//! left behind by a process that was killed.

use crate::session::Session;
use crate::settings::ImporterCommand;
use crate::worker::{SessionKey, Waiting, Worker, WorkerError};
use irods_omero_model::clock::UnixTime;
use rustix::fs::{FlockOperation, flock};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a directory is for; its name begins with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A session is opened and ended in it.
    Session,
    /// One batch is imported in it, in a session that has a directory of its own.
    Run,
    /// The worker runs in it.
    Worker,
}

impl Purpose {
    const ALL: [Self; 3] = [Self::Session, Self::Run, Self::Worker];

    fn prefix(self) -> &'static str {
        match self {
            Self::Session => "session-",
            Self::Run => "run-",
            Self::Worker => "worker-",
        }
    }
}

/// The part of a directory with the store of sessions of the `omero` command.
const STORE: &str = "sessions";

/// The file with the note of a session.
const NOTE: &str = "session.json";

/// A directory in use.
#[derive(Debug)]
pub(super) struct Workplace {
    directory: PathBuf,
    purpose: Purpose,
    _lock: File,
    /// Whether a command here has found its session lost.
    pub lost: AtomicBool,
    /// Whether an import has been begun here.
    pub has_imported: AtomicBool,
    /// Whether the directory is left to who looks later.
    left: AtomicBool,
    /// The session that is used here, and that has a directory of its own.
    session: Option<Arc<Session>>,
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

impl Workplace {
    /// Makes one below `parent`, which is made too.
    pub fn new(parent: &Path, purpose: Purpose, now: UnixTime) -> io::Result<Self> {
        if !parent.is_dir() {
            DirBuilder::new().mode(0o700).recursive(true).create(parent)?;
        }
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{now}-{}-{number}", purpose.prefix(), std::process::id());
        let directory = parent.join(name);
        let _gate = gate(parent)?;
        builder.create(&directory)?;
        for part in ["user", STORE, "tmp"] {
            builder.create(directory.join(part))?;
        }
        let lock = lock(&directory)?;
        Ok(Self::locked(directory, purpose, lock))
    }

    fn locked(directory: PathBuf, purpose: Purpose, lock: File) -> Self {
        let (lost, has_imported) = (AtomicBool::new(false), AtomicBool::new(false));
        let left = AtomicBool::new(false);
        Self { directory, purpose, _lock: lock, lost, has_imported, left, session: None }
    }

    /// Takes over the directory of somebody who is no more; `None` if it is in use, or no such directory.
    pub fn adopt(directory: PathBuf) -> Option<Self> {
        let name = directory.file_name()?.to_str()?;
        let purpose = Purpose::ALL.into_iter().find(|p| name.starts_with(p.prefix()))?;
        let _gate = gate(directory.parent()?).ok()?;
        let lock = lock(&directory).ok()?;
        Some(Self::locked(directory, purpose, lock))
    }

    /// The note of the session that was opened here, and may live.
    pub fn note(&self) -> Option<Vec<u8>> {
        (self.purpose == Purpose::Session).then(|| fs::read(self.directory.join(NOTE)).ok()).flatten()
    }

    /// Keeps a note of the session that was opened here, for the case that we die.
    pub fn set_note(&self, note: &[u8]) -> io::Result<()> {
        self.keep(NOTE, note).map(drop)
    }

    /// Leaves the directory when its use is over, as one that was left by a killed process.
    pub fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    /// Has a session used here.
    pub fn set_session(&mut self, session: Arc<Session>) {
        self.session = Some(session);
    }

    /// Asks OMERO in the session that is used here.
    ///
    /// # Errors
    /// OMERO refused, or gave no answer.
    pub fn ask<T>(
        &self,
        waiting: &mut Waiting<'_>,
        question: impl Fn(&dyn Worker, &SessionKey, &mut Waiting<'_>) -> Result<T, WorkerError>,
    ) -> Result<T, WorkerError> {
        let Some(session) = &self.session else {
            return Err(WorkerError::no_session());
        };
        let answer = session.ask(waiting, question);
        if session.is_lost() {
            self.lost.store(true, Ordering::Relaxed);
        }
        answer
    }

    /// The words of the `omero` command that have it use the session, if one is used here.
    pub fn session_words(&self) -> Vec<OsString> {
        self.session.as_ref().map(|session| session.words()).unwrap_or_default()
    }

    /// Has a command run here, with the environment of the configuration and nothing of ours but the path.
    pub fn prepare(&self, command: &mut Command, importer: &ImporterCommand) {
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        command.env_clear().env("PATH", path).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        command.current_dir(&self.directory).env("HOME", &self.directory);
        command.env("OMERO_USERDIR", self.directory.join("user"));
        command.env("OMERO_SESSIONDIR", self.directory.join(STORE));
        command.env("OMERO_TMPDIR", self.directory.join("tmp"));
        command.envs(importer.environment.iter().map(|(name, value)| (name, value)));
    }

    /// A new file that only we can read and write. Gives its path.
    pub fn keep(&self, name: &str, text: &[u8]) -> io::Result<PathBuf> {
        let path = self.directory.join(name);
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path)?;
        file.write_all(text)?;
        Ok(path)
    }

    /// A small image that is in order: one grey pixel in a TIFF.
    pub fn sample(&self) -> io::Result<PathBuf> {
        // Tag, type (3: 16 bits, 4: 32 bits) and value, each once. The pixel comes after them.
        const FIELDS: [(u16, u16, u32); 9] = [
            (256, 3, 1),
            (257, 3, 1),
            (258, 3, 8),
            (259, 3, 1),
            (262, 3, 1),
            (273, 4, 10 + 9 * 12 + 4),
            (277, 3, 1),
            (278, 3, 1),
            (279, 4, 1),
        ];
        let mut bytes = b"II*\0\x08\0\0\0\x09\0".to_vec();
        for (tag, kind, value) in FIELDS {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend(1_u32.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend([0, 0, 0, 0, 128]);
        let path = self.directory.join("test.tif");
        fs::write(&path, bytes)?;
        Ok(path)
    }

    /// A new file that only we can read and that has no name any more.
    pub fn file(&self, name: &str) -> io::Result<File> {
        let path = self.directory.join(name);
        let file =
            OpenOptions::new().create(true).truncate(true).read(true).write(true).mode(0o600).open(&path)?;
        fs::remove_file(path)?;
        Ok(file)
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        if self.left.load(Ordering::Relaxed) {
            return;
        }
        if let Err(e) = fs::remove_dir_all(&self.directory) {
            log::warn!("act=clean_up directory={} failed=\"{e}\"", self.directory.display());
        }
    }
}

/// Whether a process whose `OMERO_SESSIONDIR` is `store` runs in a directory below `parent`.
pub fn is_below(store: &Path, parent: &Path) -> bool {
    let Some(name) = store.parent().and_then(Path::file_name).and_then(|n| n.to_str()) else {
        return false;
    };
    let ours = Purpose::ALL.into_iter().any(|p| name.starts_with(p.prefix()));
    ours && store.parent().and_then(Path::parent) == Some(parent)
}

/// Held while a directory is made or taken over: one whose lock is not yet held would look like a dead process's.
fn gate(parent: &Path) -> io::Result<File> {
    let gate = File::open(parent)?;
    flock(&gate, FlockOperation::LockExclusive)?;
    Ok(gate)
}

/// Holds the lock of a directory, which has none if its process died while it was made.
fn lock(directory: &Path) -> io::Result<File> {
    let path = directory.join("lock");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn run(parent: &Path) -> Workplace {
        Workplace::new(parent, Purpose::Run, 1).unwrap()
    }

    #[test]
    fn a_run_that_begins_is_not_taken_for_a_dead_one() {
        let parent = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let beginner = scope.spawn(|| {
                for _ in 0..500 {
                    assert!(run(parent.path()).directory.join("lock").exists());
                }
            });
            while !beginner.is_finished() {
                for entry in fs::read_dir(parent.path()).unwrap().flatten() {
                    Workplace::adopt(entry.path());
                }
            }
        });
    }

    #[test]
    fn a_run_that_died_while_it_began_is_cleaned_up() {
        let parent = tempfile::tempdir().unwrap();
        let half_made = parent.path().join("run-1-1-1");
        fs::create_dir(&half_made).unwrap();
        drop(Workplace::adopt(half_made.clone()).unwrap());
        assert!(!half_made.exists());
    }

    #[test]
    fn a_run_that_lives_is_not_cleaned_up() {
        let parent = tempfile::tempdir().unwrap();
        let place = run(&parent.path().join("deep/er"));
        assert!(Workplace::adopt(place.directory.clone()).is_none());
        let directory = place.directory.clone();
        assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
        drop(place);
        assert!(!directory.exists());
    }

    #[test]
    fn the_note_of_a_session_is_only_ours_and_only_a_sessions() {
        let parent = tempfile::tempdir().unwrap();
        let session = Workplace::new(parent.path(), Purpose::Session, 1).unwrap();
        assert_eq!(session.note(), None);
        session.set_note(b"key").unwrap();
        let file = session.directory.join(NOTE);
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(session.note().as_deref(), Some(&b"key"[..]));
        let run = run(parent.path());
        run.set_note(b"key").unwrap();
        assert_eq!(run.note(), None);
    }

    #[test]
    fn a_process_is_ours_by_the_directory_of_its_store_alone() {
        let work = Path::new("/work");
        for ours in ["/work/run-1-2-3/sessions", "/work/worker-1-2-3/sessions"] {
            assert!(is_below(Path::new(ours), work), "{ours}");
        }
        for other in
            ["/work/other/sessions", "/works/run-1-2-3/sessions", "/work/a/run-1/sessions", "sessions"]
        {
            assert!(!is_below(Path::new(other), work), "{other}");
        }
    }
}
