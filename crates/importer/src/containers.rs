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
use crate::command::{CommandImporter, chunks, literal, word};
use crate::workplace::Workplace;
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::{OmeroId, OmeroName};
use irods_omero_model::target::{By, Form, Target};
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Group members may write: a bit of OMERO's permissions.
const GROUP_MAY_WRITE: i64 = 1 << 5;

/// How often a lock that somebody else holds is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// A container of one kind and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Container {
    /// `Dataset`, `Project` or `Screen`.
    pub kind: &'static str,
    /// Its number.
    pub id: OmeroId,
}

impl std::fmt::Display for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:id:{}", self.kind, self.id)
    }
}

/// Why there is no container.
#[derive(Debug)]
pub(super) enum NoContainer {
    /// The target's fault: a sentence for the record.
    Refused(String),
    /// OMERO gave no answer.
    Importer(ImporterError),
}

impl From<ImporterError> for NoContainer {
    fn from(error: ImporterError) -> Self {
        Self::Importer(error)
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
        match target.form() {
            Form::Dataset(By::Id(id)) => self.by_id("Dataset", *id),
            Form::Screen(By::Id(id)) => self.by_id("Screen", *id),
            Form::Dataset(By::Name(name)) => self.by_name("Dataset", name),
            Form::Screen(By::Name(name)) => self.by_name("Screen", name),
            Form::InProject { project, dataset } => self.in_project(project, dataset),
        }
    }

    /// Refuses a target that is given by its number and cannot be used; nothing is made.
    pub fn check(&mut self, target: &Target) -> Result<(), NoContainer> {
        match target.form() {
            Form::Dataset(By::Id(id)) => self.by_id("Dataset", *id).map(drop),
            Form::Screen(By::Id(id)) => self.by_id("Screen", *id).map(drop),
            Form::InProject { project: By::Id(id), .. } => self.by_id("Project", *id).map(drop),
            Form::Dataset(By::Name(_))
            | Form::Screen(By::Name(_))
            | Form::InProject { project: By::Name(_), .. } => Ok(()),
        }
    }

    /// Links images to the container of `images` and plates to that of `plates`, as far as they are in none.
    pub fn fill(&mut self, contents: &Contents, images: &Target, plates: &Target) -> Result<(), NoContainer> {
        let lonely = self.without_container("DatasetImageLink", &contents.images)?;
        self.link(&lonely, images, "DatasetImageLink", "Image")?;
        let lonely = self.without_container("ScreenPlateLink", &contents.plates)?;
        self.link(&lonely, plates, "ScreenPlateLink", "Plate")
    }

    fn without_container(
        &mut self,
        link: &str,
        children: &BTreeSet<OmeroId>,
    ) -> Result<BTreeSet<OmeroId>, NoContainer> {
        let mut lonely = children.clone();
        for ids in chunks(children) {
            let query = format!("select distinct l.child.id from {link} l where l.child.id in ({ids})");
            for row in self.importer.ask(self.place, &query, self.alive)? {
                if let [id] = row.as_slice()
                    && let Ok(id) = OmeroId::parse(id)
                {
                    lonely.remove(&id);
                }
            }
        }
        Ok(lonely)
    }

    fn link(
        &mut self,
        children: &BTreeSet<OmeroId>,
        target: &Target,
        link: &str,
        child: &str,
    ) -> Result<(), NoContainer> {
        if children.is_empty() {
            return Ok(());
        }
        let Container { kind, id } = self.ensure(target)?;
        let lines: Vec<String> =
            children.iter().map(|c| format!("new {link} parent={kind}:{id} child={child}:{c}")).collect();
        let linked = self.make(&lines, link)?.len();
        if linked < children.len() {
            return Err(ImporterError::WillPass(format!(
                "the images are in OMERO, but only {linked} of {} could be put into {kind}:{id}",
                children.len()
            ))
            .into());
        }
        Ok(())
    }

    fn by_id(&mut self, kind: &'static str, id: OmeroId) -> Result<Container, NoContainer> {
        let found = self.find(kind, &format!("c.id = {id}"))?;
        let Some(container) = found.first() else {
            return Err(NoContainer::Refused(format!(
                "the target {kind}:{id} does not exist in the group {} of OMERO, or '{}' may not see it",
                self.group(),
                self.identity.user
            )));
        };
        if !container.may_link(&self.identity.user) && !self.leads_group_of(kind, id)? {
            return Err(NoContainer::Refused(format!(
                "the OMERO user '{}' may not put anything into the target {kind}:{id}, which belongs to '{}'",
                self.identity.user, container.owner
            )));
        }
        Ok(Container { kind, id })
    }

    fn by_name(&mut self, kind: &'static str, name: &str) -> Result<Container, NoContainer> {
        let found = self.find(kind, &format!("c.name = {}", literal(name)))?;
        if let Some(id) = choose(&found, &self.identity.user) {
            return Ok(Container { kind, id });
        }
        let line = format!("new {kind} {}", word(&format!("name={name}")));
        let made = self.make(&[line], kind)?;
        self.made(kind, name, &made)
    }

    fn in_project(&mut self, project: &By<String>, dataset: &str) -> Result<Container, NoContainer> {
        let kind = "Dataset";
        let in_it = match project {
            By::Name(name) => format!("p.name = {}", literal(name)),
            By::Id(id) => {
                self.by_id("Project", *id)?;
                format!("p.id = {id}")
            }
        };
        let name = literal(dataset);
        // Mostly all is there already, and one question finds it.
        let query = format!(
            "select d.id, d.details.owner.omeName, d.details.permissions.perm1 from ProjectDatasetLink l \
             join l.parent p join l.child d where {in_it} and d.name = {name} order by d.id desc"
        );
        if let Some(id) = choose(&self.rows(&query)?, &self.identity.user) {
            return Ok(Container { kind, id });
        }
        let project = match project {
            By::Id(id) => *id,
            By::Name(name) => self.by_name("Project", name)?.id,
        };
        // One that is in no project is what is left of a run that was cut off before the link.
        let free = self.find(kind, &format!("c.name = {name} and c.projectLinks is empty"))?;
        let free: Vec<Found> = free.into_iter().filter(|f| f.owner == self.identity.user.as_str()).collect();
        let mut lines = Vec::new();
        let child = if let Some(id) = choose(&free, &self.identity.user) {
            format!("child=Dataset:{id}")
        } else {
            lines.push(format!("d = new Dataset {}", word(&format!("name={dataset}"))));
            "child@=d".to_owned()
        };
        lines.push(format!("new ProjectDatasetLink parent=Project:{project} {child}"));
        let made = self.make(&lines, kind)?;
        match choose(&free, &self.identity.user) {
            Some(id) => Ok(Container { kind, id }),
            None => self.made(kind, dataset, &made),
        }
    }

    fn made(&self, kind: &'static str, name: &str, made: &[OmeroId]) -> Result<Container, NoContainer> {
        made.first().map(|id| Container { kind, id: *id }).ok_or_else(|| {
            let user = &self.identity.user;
            let why = format!("OMERO did not make the {kind} '{name}' for '{user}'");
            NoContainer::Importer(ImporterError::WillPass(why))
        })
    }

    /// Runs `obj` commands and gives the objects of one class that were made.
    fn make(&mut self, lines: &[String], class: &str) -> Result<Vec<OmeroId>, ImporterError> {
        self.importer.objects(self.place, &lines.join("\n"), class, self.alive)
    }

    fn find(&mut self, kind: &str, condition: &str) -> Result<Vec<Found>, ImporterError> {
        self.rows(&format!(
            "select c.id, c.details.owner.omeName, c.details.permissions.perm1 from {kind} c where {condition} \
             order by c.id desc"
        ))
    }

    fn rows(&mut self, query: &str) -> Result<Vec<Found>, ImporterError> {
        let rows = self.importer.ask_in_group(self.place, query, self.alive)?;
        Ok(rows.iter().filter_map(|row| Found::read(row)).collect())
    }

    /// Whether the user leads the group that a container is in.
    fn leads_group_of(&mut self, kind: &str, id: OmeroId) -> Result<bool, ImporterError> {
        let query = format!(
            "select m.id from {kind} c, GroupExperimenterMap m where c.id = {id} and m.parent.id = c.details.group.id \
             and m.owner = true and m.child.omeName = {}",
            literal(self.identity.user.as_str())
        );
        Ok(!self.importer.ask_in_group(self.place, &query, self.alive)?.is_empty())
    }

    fn group(&self) -> String {
        self.identity.group.as_ref().map_or_else(|| "of the user".to_owned(), |g| format!("'{g}'"))
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

/// A container that OMERO told of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    id: OmeroId,
    owner: String,
    group_may_write: bool,
}

impl Found {
    fn read(row: &[String]) -> Option<Self> {
        let [id, owner, permissions] = row else { return None };
        let permissions: i64 = permissions.parse().ok()?;
        let group_may_write = permissions & GROUP_MAY_WRITE != 0;
        Some(Self { id: OmeroId::parse(id).ok()?, owner: owner.clone(), group_may_write })
    }

    fn may_link(&self, user: &OmeroName) -> bool {
        self.group_may_write || self.owner == user.as_str()
    }
}

/// The newest of the user's own, else the newest the user may link to. (The list begins with the newest.)
fn choose(found: &[Found], user: &OmeroName) -> Option<OmeroId> {
    let own = found.iter().find(|f| f.owner == user.as_str());
    own.or_else(|| found.iter().find(|f| f.may_link(user))).map(|f| f.id)
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

    fn found(id: &str, owner: &str, permissions: &str) -> Found {
        Found::read(&[id, owner, permissions].map(str::to_owned)).unwrap()
    }

    fn chosen(all: &[Found]) -> Option<String> {
        choose(all, &OmeroName::parse("alice").unwrap()).map(|id| id.to_string())
    }

    #[test]
    fn the_own_container_comes_before_a_newer_one_of_somebody_else() {
        let all = [found("9", "carol", "-8"), found("7", "alice", "-8"), found("5", "alice", "-8")];
        assert_eq!(chosen(&all).as_deref(), Some("7"));
    }

    #[test]
    fn a_container_of_somebody_else_is_used_only_where_the_group_may_write() {
        for (permissions, name) in [("-120", "rw----"), ("-56", "rwr---"), ("-40", "rwra--")] {
            assert_eq!(chosen(&[found("9", "carol", permissions)]), None, "{name}");
        }
        assert_eq!(chosen(&[found("9", "carol", "-8")]).as_deref(), Some("9"));
    }

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
