//! The dataset, project or screen of a batch: found or made before anything is imported, then used by its number.
//!
//! Left to itself the importer looks a name up once a fileset and makes what it does not find, so that two runs at
//! one time make two containers of one name. Here that is done once a batch, under a lock per container that holds
//! for all processes of this host. (Several hosts that make the same new container in the same second may still
//! make two; both are used then, the newer by later imports.)
//!
//! A name stands for the newest container of that name in the group of the session which is the OMERO user's own,
//! else the newest in a group whose members may write (there everybody may link to it), else a new one. In a
//! project a dataset is looked for among the project's, because datasets of several projects may have one name. A
//! number that is not there, or that the user may not link to, is refused before any file is touched.
//!
//! **Plates.** Only OMERO knows for sure what is a plate: the importer's own forecast (`-f`) costs a second reading
//! of all data, and says what the reader could be, so that images would end in a screen, which has no place for
//! them, without an error. So where plates have a target of their own the import runs without any, and what came of
//! each fileset is linked afterwards: plates to the screen, images to the dataset. Should that be cut off, the next
//! sweep finds the filesets, adopts them, and links what lies in no container; what somebody has put elsewhere in
//! the meantime is left there. A container is made only if something goes into it.

use crate::ImporterError;
use crate::command::CommandImporter;
use crate::worker::{Container, Kind, WorkerError};
use crate::workplace::Workplace;
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::OmeroId;
use irods_omero_model::target::{By, Form, Target};
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a lock that somebody else holds is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// Why there is no container.
#[derive(Debug)]
pub(super) enum NoContainer {
    /// The target's fault: a sentence for the record.
    Refused(String),
    /// OMERO gave no answer.
    Importer(ImporterError),
}

impl From<WorkerError> for NoContainer {
    fn from(error: WorkerError) -> Self {
        match error.kind() {
            Some(Kind::NotFound | Kind::NotLinkable | Kind::Refused) => Self::Refused(error.to_string()),
            Some(_) | None => Self::Importer(error.into()),
        }
    }
}

/// Filesets' images and plates that are to be in a container.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Images that belong to no plate.
    pub images: BTreeSet<OmeroId>,
    /// Plates.
    pub plates: BTreeSet<OmeroId>,
}

/// A session of one user in which containers are looked for and made.
pub(super) struct Containers<'a> {
    /// Runs the commands.
    pub importer: &'a CommandImporter<'a>,
    /// The session.
    pub place: &'a Workplace,
    /// Whose it is.
    pub identity: &'a OmeroIdentity,
    /// Called now and then.
    pub alive: &'a mut dyn FnMut(),
}

impl Containers<'_> {
    /// The container of a target; one that is not there is made.
    pub fn ensure(&mut self, target: &Target) -> Result<Container, NoContainer> {
        let _lock = self.lock(target)?;
        let mut waiting = self.importer.waiting(self.alive);
        Ok(self.place.ask(&mut waiting, |worker, key, waiting| worker.container(key, target, waiting))?)
    }

    /// Refuses a target that is given by its number and cannot be used; nothing is made.
    pub fn check(&mut self, target: &Target) -> Result<(), NoContainer> {
        let (kind, id) = match target.form() {
            Form::Dataset(By::Id(id)) => ("Dataset", *id),
            Form::Screen(By::Id(id)) => ("Screen", *id),
            Form::InProject { project: By::Id(id), .. } => ("Project", *id),
            Form::Dataset(By::Name(_))
            | Form::Screen(By::Name(_))
            | Form::InProject { project: By::Name(_), .. } => return Ok(()),
        };
        let mut waiting = self.importer.waiting(self.alive);
        Ok(self
            .place
            .ask(&mut waiting, |worker, key, waiting| worker.check_container(key, kind, id, waiting))?)
    }

    /// Links images to the container of `images` and plates to that of `plates`, as far as they are in none.
    pub fn fill(&mut self, contents: &Contents, images: &Target, plates: &Target) -> Result<(), NoContainer> {
        if contents.images.is_empty() && contents.plates.is_empty() {
            return Ok(());
        }
        let of = |ids: &BTreeSet<OmeroId>| ids.iter().copied().collect::<Vec<OmeroId>>();
        let (all_images, all_plates) = (of(&contents.images), of(&contents.plates));
        let mut waiting = self.importer.waiting(self.alive);
        let (lonely_images, lonely_plates) = self.place.ask(&mut waiting, |worker, key, waiting| {
            worker.lonely(key, &all_images, &all_plates, waiting)
        })?;
        self.put(&lonely_images, images)?;
        self.put(&lonely_plates, plates)
    }

    fn put(&mut self, children: &[OmeroId], target: &Target) -> Result<(), NoContainer> {
        if children.is_empty() {
            return Ok(());
        }
        let container = self.ensure(target)?;
        let mut waiting = self.importer.waiting(self.alive);
        Ok(self
            .place
            .ask(&mut waiting, |worker, key, waiting| worker.put(key, &container, children, waiting))?)
    }

    /// Holds all other runs on this host off the container, or off the project it is in.
    fn lock(&mut self, target: &Target) -> Result<Lock, NoContainer> {
        let outermost = match target.form() {
            Form::Dataset(by) => ("Dataset", by),
            Form::Screen(by) => ("Screen", by),
            Form::InProject { project, .. } => ("Project", project),
        };
        // Without a group it is that of the user, which we do not know the name of.
        let whose = self.identity.group.as_ref().unwrap_or(&self.identity.user);
        let mut hasher = DefaultHasher::new();
        (&self.importer.omero().server.host, whose, outermost).hash(&mut hasher);
        let path = self.importer.work_directory().join(format!("target-{:016x}.lock", hasher.finish()));
        let limit = self.importer.command_timeout();
        Lock::wait(&path, limit, self.alive).map_err(|e| {
            let why = format!("waiting for another import into the same target: {}: {e}", path.display());
            NoContainer::Importer(ImporterError::WillPass(why))
        })
    }
}

/// A lock file that is there only while somebody holds it or waits for it.
struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    fn wait(path: &Path, limit: Duration, alive: &mut dyn FnMut()) -> io::Result<Self> {
        let deadline = Instant::now() + limit;
        loop {
            let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // Whoever had it may have removed the file between our opening and our locking.
                Ok(()) if is_at(&file, path) => return Ok(Self { file, path: path.to_owned() }),
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    alive();
                    std::thread::sleep(LOCK_RETRY);
                }
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is still locked: see `wait`.
        if is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_holds_until_it_is_dropped_and_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let mut knocks = 0;
        let first = Lock::wait(&path, Duration::ZERO, &mut || {}).unwrap();
        assert!(Lock::wait(&path, Duration::from_millis(120), &mut || knocks += 1).is_err());
        assert!(knocks > 0);
        drop(first);
        assert!(!path.exists());
        drop(Lock::wait(&path, Duration::ZERO, &mut || {}).unwrap());
    }
}
