//! The importer on this host: the `omero import` command, and the worker for all else that is asked of OMERO.
//!
//! A batch is, in one session of the mapped user, opened by the restricted administrator unless the session of an import
//! before is still open (see `session`):
//!
//! 1. Which of the files does OMERO have already? Those are adopted.
//! 2. The container they go to, which is made if it is not there (see `containers`)
//! 3. `omero import ... -` with the other paths on standard input
//! 4. What is there now? This, not the exit code, is the outcome.
//! 5. The map annotations that tie each fileset to its data object

use crate::containers::{Containers, Contents, NoContainer};
use crate::files::{self, Expected, Identity, Wrong};
use crate::outcome::{self, Missing};
use crate::process::{self, Finished, Nobody, Observer};
use crate::session::{self, Lease, Sessions};
use crate::settings::Omero;
use crate::worker::{self, FilesetQuery, Kind, MAX_ITEMS, Note, Waiting};
use crate::workplace::{Purpose, Workplace};
use crate::{Batch, BatchFile, FileOutcome, Importer, ImporterError, Subject, check_path, client_path};
use irods_omero_model::clock::UnixTime;
use irods_omero_model::names::OmeroId;
use irods_omero_model::record::Imported;
use std::collections::{BTreeMap, BTreeSet, HashMap};
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

/// What is said of a file that is in OMERO without our annotation.
const NOT_ANNOTATED: &str = "the image is in OMERO, but OMERO did not take the annotation that says which file of iRODS it is: it is tried again";

/// What is said of a file that was another one after its import than before.
const EXCHANGED: &str = "the file was exchanged for another while it was imported: ask the administrator to look into \
                         it, and to delete the image in OMERO if there is one";

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

/// A fileset in OMERO, as far as it concerns one batch.
#[derive(Debug, Default, Clone)]
struct Fileset {
    /// Entries of the batch's paths: entry id → client path; the lowest id is the key file.
    entries: BTreeMap<u64, String>,
    images: Vec<OmeroId>,
    plates: Vec<OmeroId>,
    /// What our map annotation says it is of, where it has one.
    mark: Option<String>,
}

impl Fileset {
    fn of(found: worker::Fileset) -> Self {
        let mut entries: BTreeMap<u64, String> =
            found.entries.into_iter().map(|entry| (entry.id, entry.path)).collect();
        // A directory stands for all its files: before any of them.
        entries.extend(found.directories.into_iter().next().map(|directory| (0, directory)));
        let mark = found.annotation.map(|annotation| annotation.description);
        Self { entries, images: found.images, plates: found.plates, mark }
    }
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

    /// The words after `omero` that import the paths on standard input, into a container or into none.
    pub fn import_words(&self, target: Option<&str>, directories: bool) -> Vec<OsString> {
        let mut words = strings(&["import", "-q", "-c"]);
        words.extend(["--clientdir".into(), self.omero.importer.jars.clone().into()]);
        words.extend(["--logback".into(), self.omero.importer.logback.clone().into()]);
        words.extend(strings(&["--transfer", self.omero.importer.transfer, "--output", "yaml"]));
        words.extend(self.omero.importer.options.iter().map(OsString::from));
        if directories && !self.omero.importer.options.iter().any(|o| o.starts_with("--depth")) {
            // The first file that is not hidden may lie deep: in OME-Zarr 0.4 it is a chunk, below a directory for
            // each axis. The importer's own default is 4.
            words.push(format!("--depth={DIRECTORY_DEPTH}").into());
        }
        words.extend(target.map(|t| OsString::from(format!("--target={t}"))));
        words.push("-".into());
        words
    }

    /// The words after `omero` that say which of the paths on standard input belong together. No server is asked.
    pub fn forecast_words(&self) -> Vec<OsString> {
        let mut words = strings(&["import", "-q", "-f"]);
        words.extend(["--clientdir".into(), self.omero.importer.jars.clone().into()]);
        words.extend(["--logback".into(), self.omero.importer.logback.clone().into()]);
        words.extend(strings(&["--output", "yaml", "-"]));
        words
    }

    /// Runs a command to its end in a directory.
    pub(super) fn run(
        &self,
        place: &Workplace,
        words: &[OsString],
        input: &str,
        limit: Duration,
        alive: &mut dyn FnMut(),
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
        let prepare = |command: &mut Command| self.prepare(command, place);
        let done =
            process::run(&program, words, stdin, limit, prepare, alive, self.observer).map_err(what)?;
        if self.is_to_end() {
            return Err(Self::ended());
        }
        if outcome::is_session_lost(&done) {
            place.lost.store(true, Ordering::Relaxed);
        }
        Ok(done)
    }

    /// Whether the import is to be ended.
    pub(super) fn is_to_end(&self) -> bool {
        self.observer.stop()
    }

    /// What is said of an import that was ended.
    pub(super) fn ended() -> ImporterError {
        ImporterError::WillPass("the import was ended".to_owned())
    }

    fn prepare(&self, command: &mut Command, place: &Workplace) {
        place.prepare(command, &self.omero.importer);
        if !self.omero.importer.java_options.is_empty() {
            command.env("JAVA_OPTS", &self.omero.importer.java_options);
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

    /// The filesets of the batch's user that hold any of the files and have images, by fileset id.
    fn filesets(
        &self,
        place: &Workplace,
        batch: &Batch,
        alive: &mut dyn FnMut(),
    ) -> Result<BTreeMap<OmeroId, Fileset>, ImporterError> {
        let of = |f: &BatchFile| client_path::of(&f.importer_path);
        let (directories, files): (Vec<&BatchFile>, Vec<&BatchFile>) =
            batch.files.iter().partition(|f| f.is_directory());
        let files: BTreeSet<String> = files.into_iter().map(of).collect();
        let below: Vec<String> = directories.into_iter().map(of).collect();
        let mut found = self.filesets_of(place, &files, &below, alive)?;
        // A fileset without images is what a failed import left behind.
        found.retain(|_, fileset| !fileset.images.is_empty());
        Ok(found)
    }

    /// The filesets of the session's user that hold any of some client paths, or lie below some directories. Those of
    /// others, which the user may be able to read, are none of the user's data: a client path is what its importer said
    /// it is.
    fn filesets_of(
        &self,
        place: &Workplace,
        paths: &BTreeSet<String>,
        below: &[String],
        alive: &mut dyn FnMut(),
    ) -> Result<BTreeMap<OmeroId, Fileset>, ImporterError> {
        let paths: Vec<String> = paths.iter().cloned().collect();
        let query = FilesetQuery { paths: &paths, below, ids: &[], all_entries: false };
        let namespace = &self.omero.server.namespace;
        let found = place.ask(&mut self.waiting(alive), |worker, key, waiting| {
            worker.filesets(key, query, namespace, waiting)
        })?;
        Ok(found.into_iter().map(|fileset| (fileset.id, Fileset::of(fileset))).collect())
    }

    /// Which of the wanted files belong, by what Bio-Formats says, to filesets that are in OMERO already without
    /// them: path → fileset. The importer looks at the files for it once more than it would.
    fn joined(
        &self,
        place: &Workplace,
        wanted: &[&BatchFile],
        alive: &mut dyn FnMut(),
    ) -> Result<HashMap<String, OmeroId>, ImporterError> {
        let input = paths_of(wanted);
        let limit = self.omero.importer.timeout;
        let done = self.run(place, &self.forecast_words(), &input, limit, alive)?;
        let ours: HashMap<&str, &BatchFile> = wanted.iter().map(|f| (f.importer_path.as_str(), *f)).collect();
        let mut joined = HashMap::new();
        for group in outcome::groups(&done.stdout) {
            let new: Vec<&BatchFile> =
                group.iter().filter_map(|path| ours.get(path.as_str()).copied()).collect();
            let others: BTreeSet<String> = group
                .iter()
                .filter(|path| !ours.contains_key(path.as_str()))
                .map(|path| client_path::of(path))
                .collect();
            if new.is_empty() || others.is_empty() {
                continue;
            }
            let mut found = self.filesets_of(place, &others, &[], alive)?;
            found.retain(|id, _| !new.iter().any(|f| f.previous.contains(id)));
            if let Some((fileset, _)) = found.iter().rev().find(|(_, f)| !f.images.is_empty()) {
                joined.extend(new.iter().map(|f| (f.importer_path.clone(), *fileset)));
            }
        }
        Ok(joined)
    }

    /// Ties filesets to their data objects. Gives those that are not tied, but may be when it is tried again.
    fn annotate(
        &self,
        place: &Workplace,
        filesets: &BTreeMap<OmeroId, Fileset>,
        files: &HashMap<String, &BatchFile>,
        alive: &mut dyn FnMut(),
    ) -> BTreeSet<OmeroId> {
        let note = |(id, fileset): (&OmeroId, &Fileset)| {
            let file = *files.get(fileset.entries.values().next()?)?;
            let pairs = pairs(file).into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            Some(Note { fileset: *id, description: mark_of(file), pairs })
        };
        let notes = filesets.iter().filter(|(_, fileset)| fileset.mark.is_none()).filter_map(note).collect();
        self.write_notes(place, notes, alive)
    }

    /// Writes annotations, in as many requests as it takes for as long as each gets some of them done. What is there
    /// already is asked by the worker, so none is made twice. Gives the filesets that may get theirs when it is tried
    /// again.
    pub(crate) fn write_notes(
        &self,
        place: &Workplace,
        mut notes: Vec<Note>,
        alive: &mut dyn FnMut(),
    ) -> BTreeSet<OmeroId> {
        let namespace = &self.omero.server.namespace;
        let (mut chances, mut at_once) = (NOTE_CHANCES, MAX_ITEMS);
        while !notes.is_empty() && chances > 0 && !self.is_to_end() {
            let some = &notes[..notes.len().min(at_once)];
            let answer = place.ask(&mut self.waiting(alive), |worker, key, waiting| {
                worker.annotate(key, namespace, some, false, waiting)
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
        let lease = match self.sessions {
            Some(sessions) => sessions.lease(self, &batch.identity, now, alive)?,
            None => session::for_one_batch(self, &batch.identity, now, alive)?,
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
    fn target_for(
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
    fn fill_containers(
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

    /// Looks at the files that are about to be imported: which they are, and why those are not that will not be.
    fn look_at(&self, files: &[&BatchFile]) -> (HashMap<String, Identity>, HashMap<String, FileOutcome>) {
        let (mut seen, mut refused) = (HashMap::new(), HashMap::new());
        let Some(roots) = self.roots else {
            return (seen, refused);
        };
        for file in files {
            let path = file.importer_path.clone();
            let expected =
                if file.is_directory() { Expected::Directory } else { Expected::File(file.version.size) };
            match files::check(&path, expected, roots) {
                Ok(identity) => drop(seen.insert(path, identity)),
                Err(Wrong::File(why)) => {
                    log::warn!("act=check path={} failed=\"{why}\"", file.logical_path);
                    refused.insert(path, FileOutcome::Failed(why));
                }
                Err(Wrong::Root(why)) => drop(refused.insert(path, FileOutcome::Postponed(why))),
            }
        }
        (seen, refused)
    }

    fn import_in(
        &self,
        batch: &Batch,
        place: &Workplace,
        alive: &mut dyn FnMut(),
    ) -> Result<Vec<FileOutcome>, ImporterError> {
        let by_client_path: HashMap<String, &BatchFile> =
            batch.files.iter().map(|f| (client_path::of(&f.importer_path), f)).collect();
        let old: BTreeSet<OmeroId> = batch.files.iter().flat_map(|f| f.previous.iter().copied()).collect();
        let mut before = self.filesets(place, batch, alive)?;
        before.retain(|id, _| !old.contains(id));
        // What carries our mark for other data, or for another version of it, is not what we look for.
        let adopted: BTreeMap<OmeroId, Fileset> = before
            .iter()
            .filter(|(_, f)| is_ours(f, &by_client_path))
            .map(|(id, f)| (*id, f.clone()))
            .collect();
        let known: BTreeSet<&String> = adopted.values().flat_map(|f| f.entries.values()).collect();
        let mut wanted: Vec<&BatchFile> =
            batch.files.iter().filter(|f| !known.contains(&client_path::of(&f.importer_path))).collect();
        let (seen, mut not_given) = self.look_at(&wanted);
        wanted.retain(|f| !not_given.contains_key(&f.importer_path));
        if !wanted.is_empty() && (batch.may_join || !adopted.is_empty()) {
            let joined = self.joined(place, &wanted, alive)?;
            wanted.retain(|f| !joined.contains_key(&f.importer_path));
            not_given.extend(joined.into_iter().map(|(path, id)| (path, FileOutcome::Joined(id))));
        }
        let mut all = adopted.clone();
        let mut run = None;
        if !wanted.is_empty() {
            let target = match self.target_for(batch, place, alive) {
                Ok(target) => target,
                Err(NoContainer::Importer(error)) => return Err(error),
                Err(NoContainer::Refused(why)) => return Ok(refused(batch, &adopted, &why)),
            };
            let directories = wanted.iter().any(|f| f.is_directory());
            let mut words = self.import_words(target.as_deref(), directories);
            words.splice(1..1, place.session_words());
            place.has_imported.store(true, Ordering::Relaxed);
            let done = self.run(place, &words, &paths_of(&wanted), self.omero.importer.timeout, alive)?;
            let (seen_after, _) = self.look_at(&wanted);
            for file in
                wanted.iter().filter(|f| seen.get(&f.importer_path) != seen_after.get(&f.importer_path))
            {
                log::error!("act=check path={} failed=\"exchanged during the import\"", file.logical_path);
                not_given.insert(file.importer_path.clone(), FileOutcome::Failed(EXCHANGED.to_owned()));
            }
            let after = match self.filesets(place, batch, alive) {
                Ok(after) => after,
                // The run may have imported everything: the next sweep asks again and adopts.
                Err(error) => {
                    log::warn!("act=import files={} failed=\"{error}\"", wanted.len());
                    return Err(error);
                }
            };
            let strangers =
                outcome::filesets(&done.stdout).iter().filter(|id| !after.contains_key(id)).count();
            if strangers > 0 {
                log::warn!("act=import ignored_results={strangers} why=\"not of the files asked for\"");
            }
            all.extend(after.into_iter().filter(|(id, _)| !before.contains_key(id) && !old.contains(id)));
            run = Some(done);
        }
        let filled = self.fill_containers(batch, place, &all, alive);
        let bare = self.annotate(place, &all, &by_client_path, alive);
        match filled {
            Ok(()) => {}
            Err(NoContainer::Importer(error)) => return Err(error),
            Err(NoContainer::Refused(why)) => return Ok(refused(batch, &BTreeMap::new(), &why)),
        }
        let there = by_path(&all);
        let outcome = |file: &BatchFile| match not_given.get(&file.importer_path) {
            Some(outcome) => outcome.clone(),
            None => match outcome_of(file, &there, &adopted, run.as_ref()) {
                // Found again by the next try, which annotates it: without its annotation it could be taken for other
                // data.
                FileOutcome::Imported(imported) if bare.contains(&imported.fileset) => {
                    FileOutcome::Postponed(NOT_ANNOTATED.to_owned())
                }
                outcome => outcome,
            },
        };
        Ok(batch.files.iter().map(outcome).collect())
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
        let outcome = self.import_in(batch, &place, alive);
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
        let outcome = self.import_in(batch, &place, alive);
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

    fn server(&self) -> &str {
        &self.omero.server.host
    }
}

/// The outcomes of a batch whose target cannot be used: only what is in OMERO already is not affected.
fn refused(batch: &Batch, adopted: &BTreeMap<OmeroId, Fileset>, why: &str) -> Vec<FileOutcome> {
    let there = by_path(adopted);
    let outcome = |file| match outcome_of(file, &there, adopted, None) {
        FileOutcome::Imported(imported) => FileOutcome::Imported(imported),
        FileOutcome::Failed(_) | FileOutcome::Postponed(_) | FileOutcome::Joined(_) => {
            FileOutcome::Failed(why.to_owned())
        }
    };
    batch.files.iter().map(outcome).collect()
}

/// The paths of files, one a line.
fn paths_of(files: &[&BatchFile]) -> String {
    files.iter().flat_map(|f| [f.importer_path.as_str(), "\n"]).collect()
}

fn strings(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// Whether a fileset is of just these data objects in just this version, or bears no mark of ours at all (its
/// import was cut off before the annotation, or somebody imported it by hand).
fn is_ours(fileset: &Fileset, files: &HashMap<String, &BatchFile>) -> bool {
    match &fileset.mark {
        None => true,
        Some(mark) => {
            fileset.entries.values().any(|path| files.get(path).is_some_and(|f| mark_of(f) == *mark))
        }
    }
}

/// The fileset of each path; the newest, should there be several.
fn by_path(filesets: &BTreeMap<OmeroId, Fileset>) -> HashMap<&str, (OmeroId, &Fileset)> {
    let mut newest = HashMap::new();
    for (id, fileset) in filesets {
        newest.extend(fileset.entries.values().map(|path| (path.as_str(), (*id, fileset))));
    }
    newest
}

fn outcome_of(
    file: &BatchFile,
    there: &HashMap<&str, (OmeroId, &Fileset)>,
    adopted: &BTreeMap<OmeroId, Fileset>,
    run: Option<&Finished>,
) -> FileOutcome {
    let path = client_path::of(&file.importer_path);
    if let Some((id, fileset)) = there.get(path.as_str()) {
        return FileOutcome::Imported(Imported {
            fileset: *id,
            images: fileset.images.clone(),
            plates: fileset.plates.clone(),
            is_member: fileset.entries.values().next() != Some(&path),
            adopted: adopted.contains_key(id),
        });
    }
    match run.map(|done| outcome::missing(done, &file.importer_path)) {
        Some(Missing::Failed(reason)) => FileOutcome::Failed(reason),
        Some(Missing::Postponed(reason)) => FileOutcome::Postponed(reason),
        None => FileOutcome::Postponed("OMERO gave no answer about this file".to_owned()),
    }
}

/// What the annotation's description says: which data object in which version. Adoption compares it.
fn mark_of(file: &BatchFile) -> String {
    format!("iRODS {} version {}", file.subject, file.version)
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
