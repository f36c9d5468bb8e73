//! The importer on this host: the `omero import` command, and the worker for all else that is asked of OMERO.
//!
//! A batch is, in one session of the mapped user, opened by the restricted administrator unless the session of an import
//! before is still open (see `session`):
//!
//! 1. Which of the files does OMERO have already? (see `inventory`)
//! 2. `omero import -f ... -`: which files belong together? (see `forecast`)
//! 3. The container they go to, which is made if it is not there (see `containers`)
//! 4. `omero import ... -` with the keys of the sets on standard input
//! 5. What is there now? This, not the exit code, is the outcome.
//! 6. The map annotations that tie each fileset to its data object
//!
//! What is done in which order, and what becomes of each file, is in `work`.

use crate::causes::{Causes, Log};
use crate::containers::{Containers, Contents, NoContainer};
use crate::fence::{NoFence, Readable};
use crate::ffi::Ruleset;
use crate::files::Identity;
use crate::follow::{Follow, Followed};
use crate::inspect::{Inspected, Inspection};
use crate::inventory::{Fileset, mark_of};
use crate::outcome;
use crate::process::{self, Finished, Nobody, Observer};
use crate::session::{self, Lease, Sessions};
use crate::settings::Omero;
use crate::work::Work;
use crate::worker::{Kind, MAX_ITEMS, Note, Waiting};
use crate::workplace::{Purpose, Workplace};
use crate::{
    Batch, BatchFile, Deletions, FileOutcome, FilesetToDelete, Importer, ImporterError, Subject, check_path,
};
use irods_omero_model::clock::UnixTime;
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::OmeroId;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How deep a directory that is one image is searched for a file that Bio-Formats can begin with.
const DIRECTORY_DEPTH: u32 = 16;

/// How often in all one asks OMERO for annotations and gets none of them done.
const NOTE_CHANCES: u32 = 3;

/// Up to how many bytes of files a run of Java ends sooner without the optimizing compiler: 128 MiB. Measured with the
/// importer of OMERO 5.6.12 (docs/benchmarks.md): half of the processor time of a forecast or of 20 small files, and a
/// second more for one file of 200 MB.
const LIGHT: u64 = 128 << 20;

/// One run of the importer's Java.
pub(crate) struct JavaRun<'a> {
    /// The words after `omero`.
    pub words: &'a [OsString],
    /// The paths on its standard input, one on a line.
    pub paths: &'a str,
    /// How long it may take.
    pub limit: Duration,
    /// The bytes of the files whose pixels it reads; 0 for a forecast.
    pub bytes: u64,
    /// The files it may read, where the kernel can hold it to them.
    pub fence: Option<Ruleset>,
}

/// `JAVA_OPTS` of a run that reads the pixels of so many bytes. What the site wrote comes last, so that it decides.
fn java_options(of_the_site: &str, bytes: u64) -> String {
    let ours = if bytes <= LIGHT { "-XX:TieredStopAtLevel=1" } else { "" };
    format!("{ours} {of_the_site}").trim().to_owned()
}

/// Imports by running the `omero` command.
#[derive(Debug, Clone, Copy)]
pub struct CommandImporter<'a> {
    omero: &'a Omero,
    /// The directories below which the files have to be; unchecked without.
    roots: Option<&'a [PathBuf]>,
    observer: &'a dyn Observer,
    /// Sessions that are kept; without, each batch has its own.
    sessions: Option<&'a Sessions>,
}

impl<'a> CommandImporter<'a> {
    /// An importer as configured.
    pub fn new(omero: &'a Omero) -> Self {
        Self { omero, roots: None, observer: &Nobody, sessions: None }
    }

    /// The same, giving the importer only what lies below these directories, without a link below them, and is what
    /// the catalog says.
    #[must_use]
    pub fn within(self, roots: &'a [PathBuf]) -> Self {
        Self { roots: Some(roots), ..self }
    }

    /// The same, with somebody who looks on and may end it: what was begun then is found at the next import.
    #[must_use]
    pub fn observed(self, observer: &'a dyn Observer) -> Self {
        Self { observer, ..self }
    }

    /// The same, in sessions that all batches of a user share, and that are kept open between them.
    #[must_use]
    pub fn sharing(self, sessions: &'a Sessions) -> Self {
        Self { sessions: Some(sessions), ..self }
    }

    /// The words after `omero` that import the paths on standard input, into a container or into none. `directories`:
    /// there is one among the paths.
    pub fn import_words(&self, target: Option<&str>, directories: bool) -> Vec<OsString> {
        let mut words = strings(&["import", "-q", "-c"]);
        words.extend(["--clientdir".into(), self.omero.importer.jars.clone().into()]);
        words.extend(["--logback".into(), self.omero.importer.logback.clone().into()]);
        words.extend(strings(&["--transfer", self.omero.importer.transfer, "--output", "yaml"]));
        words.extend(self.omero.importer.options.iter().map(OsString::from));
        self.add_depth(&mut words, directories);
        words.extend(target.map(|t| OsString::from(format!("--target={t}"))));
        words.push("-".into());
        words
    }

    fn add_depth(&self, words: &mut Vec<OsString>, directories: bool) {
        if directories && !self.omero.importer.options.iter().any(|o| o.starts_with("--depth")) {
            // The first file that is not hidden may lie deep: in OME-Zarr 0.4 it is a chunk, below a directory for
            // each axis. The importer's own default is 4.
            words.push(format!("--depth={DIRECTORY_DEPTH}").into());
        }
    }

    /// The words after `omero` that say which of the paths on standard input belong together. No server is asked.
    pub fn forecast_words(&self, directories: bool) -> Vec<OsString> {
        let mut words = strings(&["import", "-q", "-f"]);
        words.extend(["--clientdir".into(), self.omero.importer.jars.clone().into()]);
        words.extend(["--logback".into(), self.omero.importer.logback.clone().into()]);
        words.extend(strings(&["--output", "yaml"]));
        // It has to see what the import sees.
        let shared = |option: &&String| ["--readers", "--depth"].iter().any(|name| option.starts_with(name));
        words.extend(self.omero.importer.options.iter().filter(shared).map(OsString::from));
        self.add_depth(&mut words, directories);
        words.push("-".into());
        words
    }

    /// Runs the importer's Java, behind a fence where there is one. What it says is read while it speaks.
    pub(crate) fn run_java(
        &self,
        place: &Workplace,
        run: JavaRun<'_>,
        alive: &mut dyn FnMut(),
    ) -> Result<(Finished, Causes), ImporterError> {
        let JavaRun { words, paths, limit, bytes, fence } = run;
        let is_mixed = self.omero.importer.options.iter().any(|o| o.starts_with("--parallel-fileset"));
        let mut log = if is_mixed { Log::mixed() } else { Log::default() };
        let prepare = |command: &mut Command| {
            self.prepare(command, place, bytes);
            if let Some(fence) = fence {
                fence.confine(command);
            }
        };
        let done =
            self.run_heard(place, words, paths, limit, prepare, alive, &mut |bytes| log.take(bytes))?;
        Ok((done, log.end()))
    }

    #[allow(clippy::too_many_arguments)] // one process has that many sides
    fn run_heard(
        &self,
        place: &Workplace,
        words: &[OsString],
        input: &str,
        limit: Duration,
        prepare: impl FnOnce(&mut Command),
        alive: &mut dyn FnMut(),
        hear: &mut dyn FnMut(&[u8]),
    ) -> Result<Finished, ImporterError> {
        let program = self.omero.importer.command.clone().into_os_string();
        let start = || -> io::Result<File> {
            let mut file = place.file("input")?;
            file.write_all(input.as_bytes())?;
            file.rewind()?;
            Ok(file)
        };
        let what = |e: io::Error| {
            ImporterError::WillPass(format!("cannot run {}: {e}", Path::new(&program).display()))
        };
        let stdin = start().map_err(what)?;
        let done = process::run_heard(&program, words, stdin, limit, prepare, alive, self.observer, hear)
            .map_err(what)?;
        if self.is_to_end() {
            return Err(Self::ended());
        }
        if outcome::is_session_lost(&done) {
            place.lost.store(true, Ordering::Relaxed);
        }
        Ok(done)
    }

    /// The fence around an import: below the opened directories it can read these files only.
    pub(crate) fn fence(&self, roots: &[PathBuf], files: &[(&str, Identity)]) -> Result<Ruleset, NoFence> {
        let importer = &self.omero.importer;
        let mut needed = vec![importer.work_directory.as_path(), importer.command.as_path()];
        needed.extend(importer.command.parent());
        needed.extend([importer.jars.as_path(), importer.logback.as_path()]);
        Readable { roots, needed: &needed, files }.ruleset()
    }

    /// The directories below which the files have to be.
    pub(crate) fn roots(&self) -> Vec<PathBuf> {
        self.roots.map_or_else(|| vec![PathBuf::from("/")], <[PathBuf]>::to_vec)
    }

    /// How long one importer run may take.
    pub(crate) fn import_timeout(&self) -> Duration {
        self.omero.importer.timeout
    }

    /// For how long OMERO is waited for that may still be finishing an import.
    pub(crate) fn unfinished_wait(&self) -> Duration {
        self.omero.importer.unfinished_wait
    }

    /// Marks filesets as none that may ever be taken for the data's.
    pub(crate) fn refuse(
        &self,
        place: &Workplace,
        ids: &BTreeSet<OmeroId>,
        why: &str,
        alive: &mut dyn FnMut(),
    ) -> Result<(), ImporterError> {
        let note = |id: &OmeroId| {
            let description = format!("iRODS refused: {why}");
            Note { fileset: *id, description, pairs: Vec::new() }
        };
        let left = self.write_notes(place, ids.iter().map(note).collect(), true, alive);
        match left.first() {
            None => Ok(()),
            Some(id) => {
                Err(ImporterError::WillPass(format!("OMERO could not mark the fileset {id} as refused")))
            }
        }
    }

    /// Whether the import is to be ended.
    pub(super) fn is_to_end(&self) -> bool {
        self.observer.stop()
    }

    /// What is said of an import that was ended.
    pub(super) fn ended() -> ImporterError {
        ImporterError::WillPass("the import was ended".to_owned())
    }

    fn prepare(&self, command: &mut Command, place: &Workplace, bytes: u64) {
        place.prepare(command, &self.omero.importer);
        let options = java_options(&self.omero.importer.java_options, bytes);
        if !options.is_empty() {
            command.env("JAVA_OPTS", options);
        }
    }

    /// How long one waits for the worker, and who looks on.
    pub(super) fn waiting<'w>(&'w self, alive: &'w mut dyn FnMut()) -> Waiting<'w> {
        Waiting { limit: self.omero.importer.command_timeout, alive, observer: self.observer }
    }

    /// The OMERO server and the command.
    pub(super) fn omero(&self) -> &Omero {
        self.omero
    }

    /// Where running imports keep their files.
    pub(super) fn work_directory(&self) -> &Path {
        &self.omero.importer.work_directory
    }

    /// How long a command that is no import may take.
    pub(super) fn command_timeout(&self) -> Duration {
        self.omero.importer.command_timeout
    }

    /// Ties filesets to their data objects. Gives those that are not tied, but may be when it is tried again.
    pub(crate) fn annotate(
        &self,
        place: &Workplace,
        keyed: &[(OmeroId, &Fileset, &BatchFile)],
        alive: &mut dyn FnMut(),
    ) -> BTreeSet<OmeroId> {
        let note = |(id, _, file): &(OmeroId, &Fileset, &BatchFile)| {
            let pairs = pairs(file).into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            Note { fileset: *id, description: mark_of(file.subject, file.version), pairs }
        };
        self.write_notes(place, keyed.iter().map(note).collect(), false, alive)
    }

    /// Writes annotations, in as many requests as it takes for as long as each gets some of them done. What is there
    /// already is asked by the worker, so none is made twice; it is changed only with `update`. Gives the filesets that may get theirs when it is tried
    /// again.
    pub(crate) fn write_notes(
        &self,
        place: &Workplace,
        mut notes: Vec<Note>,
        update: bool,
        alive: &mut dyn FnMut(),
    ) -> BTreeSet<OmeroId> {
        let namespace = &self.omero.server.namespace;
        let (mut chances, mut at_once) = (NOTE_CHANCES, MAX_ITEMS);
        while !notes.is_empty() && chances > 0 && !self.is_to_end() {
            let some = &notes[..notes.len().min(at_once)];
            let answer = place.ask(&mut self.waiting(alive), |worker, key, waiting| {
                worker.annotate(key, namespace, some, update, waiting)
            });
            let is_slow;
            let done: BTreeSet<OmeroId> = match &answer {
                Ok(items) => {
                    for item in items.iter().filter(|item| !item.is_done() && !item.will_pass()) {
                        let why = item.error.as_ref().map_or("", |(_, why)| why.as_str());
                        log::warn!("act=annotate fileset={} failed={why:?}", item.fileset);
                    }
                    is_slow = items
                        .iter()
                        .any(|item| item.error.as_ref().is_some_and(|(kind, _)| *kind == Kind::TimeLimit));
                    items.iter().filter(|item| !item.will_pass()).map(|item| item.fileset).collect()
                }
                Err(error) => {
                    is_slow = error.kind() == Some(Kind::TimeLimit);
                    log::warn!("act=annotate filesets={} failed={:?}", some.len(), error.to_string());
                    BTreeSet::new()
                }
            };
            let asked = some.len();
            notes.retain(|note| !done.contains(&note.fileset));
            if done.is_empty() {
                // A server that is slow gets less at a time; one that fails gets a few chances.
                if is_slow && asked > 1 {
                    at_once = (asked / 8).max(1);
                } else {
                    chances -= 1;
                }
            }
        }
        if !notes.is_empty() {
            log::warn!("act=annotate filesets={} failed=\"OMERO did not take the annotations\"", notes.len());
        }
        notes.into_iter().map(|note| note.fileset).collect()
    }

    /// The session a batch is imported in, and a directory to do it in.
    fn begin(
        &self,
        batch: &Batch,
        now: UnixTime,
        alive: &mut dyn FnMut(),
    ) -> Result<(Lease, Workplace), ImporterError> {
        self.begin_for(&batch.identity, now, alive)
    }

    /// A session of a user, and a directory to use it in.
    pub(crate) fn begin_for(
        &self,
        identity: &OmeroIdentity,
        now: UnixTime,
        alive: &mut dyn FnMut(),
    ) -> Result<(Lease, Workplace), ImporterError> {
        let lease = match self.sessions {
            Some(sessions) => sessions.lease(self, identity, now, alive)?,
            None => session::for_one_batch(self, identity, now, alive)?,
        };
        let mut place = self.workplace(Purpose::Run, now)?;
        lease.lend(&mut place);
        Ok((lease, place))
    }

    /// A directory of its own below the work directory.
    pub(super) fn workplace(&self, purpose: Purpose, now: UnixTime) -> Result<Workplace, ImporterError> {
        Workplace::new(self.work_directory(), purpose, now).map_err(|e| self.no_workplace(&e))
    }

    pub(super) fn no_workplace(&self, error: &io::Error) -> ImporterError {
        let directory = self.work_directory().display();
        ImporterError::WillPass(format!("cannot use the importer's work directory {directory}: {error}"))
    }

    /// Logs out and removes what killed processes left behind.
    pub fn clean_up(&self) {
        session::clean_up(self, self.work_directory());
    }

    fn containers<'p>(
        &'p self,
        batch: &'p Batch,
        place: &'p Workplace,
        alive: &'p mut dyn FnMut(),
    ) -> Containers<'p> {
        Containers { importer: self, place, identity: &batch.identity, alive }
    }

    /// What the importer is to be told of the batch's target: the container, which is there then; nothing where it
    /// is decided afterwards what goes where.
    pub(crate) fn target_for(
        &self,
        batch: &Batch,
        place: &Workplace,
        alive: &mut dyn FnMut(),
    ) -> Result<Option<String>, NoContainer> {
        let mut containers = self.containers(batch, place, alive);
        match &batch.plate_target {
            None => containers.ensure(&batch.target).map(|c| Some(c.to_string())),
            Some(plates) => {
                containers.check(&batch.target)?;
                containers.check(plates)?;
                Ok(None)
            }
        }
    }

    /// Puts what was imported without a target where it belongs.
    pub(crate) fn fill_containers(
        &self,
        batch: &Batch,
        place: &Workplace,
        filesets: &BTreeMap<OmeroId, Fileset>,
        alive: &mut dyn FnMut(),
    ) -> Result<(), NoContainer> {
        let Some(plates) = &batch.plate_target else {
            return Ok(());
        };
        let mut contents = Contents::default();
        for fileset in filesets.values() {
            contents.plates.extend(&fileset.plates);
            if fileset.plates.is_empty() {
                contents.images.extend(&fileset.images);
            }
        }
        self.containers(batch, place, alive).fill(&contents, &batch.target, plates)
    }

    /// Imports files whose paths the importer can take.
    fn import_files(
        &self,
        batch: &Batch,
        now: UnixTime,
        alive: &mut dyn FnMut(),
    ) -> Result<Vec<FileOutcome>, ImporterError> {
        self.clean_up();
        let (lease, place) = self.begin(batch, now, alive)?;
        let outcome = Work::new(self, batch, &place, now, alive).perform();
        if !place.lost.load(Ordering::Relaxed) {
            return outcome;
        }
        lease.discard();
        let has_imported = place.has_imported.load(Ordering::Relaxed);
        if outcome.is_ok() || has_imported || !lease.is_old || self.is_to_end() {
            return outcome;
        }
        // It ended while nobody used it: OMERO was started anew, or its administrator ended it.
        drop((lease, place));
        let (lease, place) = self.begin(batch, now, alive)?;
        let outcome = Work::new(self, batch, &place, now, alive).perform();
        if place.lost.load(Ordering::Relaxed) {
            lease.discard();
        }
        outcome
    }
}

impl Importer for CommandImporter<'_> {
    fn import(
        &self,
        batch: &Batch,
        now: UnixTime,
        alive: &mut dyn FnMut(),
    ) -> Result<Vec<FileOutcome>, ImporterError> {
        let failed = |file: &BatchFile| check_path(file.importer_path.as_bytes()).err();
        if batch.files.iter().all(|f| failed(f).is_none()) {
            return self.import_files(batch, now, alive);
        }
        let files: Vec<BatchFile> = batch.files.iter().filter(|f| failed(f).is_none()).cloned().collect();
        let others = if files.is_empty() {
            Vec::new()
        } else {
            self.import_files(&Batch { files, ..batch.clone() }, now, alive)?
        };
        let mut others = others.into_iter();
        let outcome = |file| failed(file).map(FileOutcome::Failed).or_else(|| others.next());
        Ok(batch.files.iter().filter_map(outcome).collect())
    }

    fn follow(
        &self,
        follow: &Follow,
        now: UnixTime,
        alive: &mut dyn FnMut(),
    ) -> Result<Vec<Followed>, ImporterError> {
        self.follow_files(follow, now, alive)
    }

    fn present(
        &self,
        identity: &OmeroIdentity,
        ids: &BTreeSet<OmeroId>,
        now: UnixTime,
        alive: &mut dyn FnMut(),
    ) -> Result<BTreeSet<OmeroId>, ImporterError> {
        self.present_in_omero(identity, ids, now, alive)
    }

    fn delete(
        &self,
        identity: &OmeroIdentity,
        zone: &str,
        filesets: &[FilesetToDelete],
        now: UnixTime,
        alive: &mut dyn FnMut(),
    ) -> Result<BTreeMap<OmeroId, String>, ImporterError> {
        self.delete_in_omero(identity, zone, filesets, now, alive)
    }

    fn deletions(&self, after: Option<u64>, alive: &mut dyn FnMut()) -> Result<Deletions, ImporterError> {
        self.deletions_in_omero(after, alive)
    }

    fn inspect(
        &self,
        identity: &OmeroIdentity,
        inspection: &Inspection,
        now: UnixTime,
        alive: &mut dyn FnMut(),
    ) -> Result<Inspected, ImporterError> {
        self.inspect_in_omero(identity, inspection, now, alive)
    }

    fn server(&self) -> &str {
        &self.omero.server.host
    }
}

fn strings(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// The key-value pairs a person reads in OMERO.
fn pairs(file: &BatchFile) -> Vec<(&'static str, String)> {
    let zone = file.logical_path.elements().next().unwrap_or_default();
    let mut pairs = vec![
        ("iRODS zone", String::from_utf8_lossy(zone).into_owned()),
        ("iRODS path", file.logical_path.display().into_owned()),
        match file.subject {
            Subject::DataObject(id) => ("iRODS data id", id.to_string()),
            Subject::Collection(id) => ("iRODS collection id", id.to_string()),
        },
    ];
    pairs.extend(file.checksum.iter().map(|c| ("iRODS checksum", c.clone())));
    pairs.push(("iRODS user", file.owner.to_string()));
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_run_of_java_does_without_the_optimizing_compiler_unless_the_site_says_otherwise() {
        assert_eq!(java_options("", 0), "-XX:TieredStopAtLevel=1");
        assert_eq!(java_options("-Xmx4g", LIGHT), "-XX:TieredStopAtLevel=1 -Xmx4g");
        let last_word_is_the_sites = java_options("-XX:TieredStopAtLevel=4", 0);
        assert_eq!(last_word_is_the_sites, "-XX:TieredStopAtLevel=1 -XX:TieredStopAtLevel=4");
        assert_eq!(java_options("-Xmx4g", LIGHT + 1), "-Xmx4g");
        assert_eq!(java_options("", u64::MAX), "");
    }
}
