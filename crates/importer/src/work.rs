//! One batch at work, in one session of its OMERO user.
//!
//! 1. What OMERO has already and bears our mark of just this data is taken as it is.
//! 2. The other files are looked at, then Bio-Formats says which of them belong together and what each set uses: the
//!    forecast. A set that uses a file the catalog was not asked for goes no further, so nothing of it reaches OMERO.
//! 3. OMERO is asked for each set: what fits in every size is adopted, what may still be in the making is waited for, what
//!    a failed import left behind is removed.
//! 4. The sets that are left are imported by their keys, each file looked at once more just before and after.
//! 5. What each new fileset holds is compared with the forecast. One that holds a stranger is deleted at once.
//! 6. The filesets are put where they belong and annotated.
//!
//! Where the importer's Java dies or stops without a reason that names a file, the files are tried once more, then in
//! halves, until the one that does it stands alone. Nobody's neighbours pay for it.

use crate::causes::{Causes, Told};
use crate::client_path;
use crate::command::{CommandImporter, JavaRun};
use crate::containers::NoContainer;
use crate::fence::NoFence;
use crate::files::{self, Expected, Wrong};
use crate::forecast::{Allowed, Known, NotAllowed, Set};
use crate::inventory::{Entry, Fileset, Left, Removal, Standing, Wanted, mark_of};
use crate::outcome::{self, Verdict};
use crate::process::Finished;
use crate::replaced::{self, Link, has_other_bytes, read_mark};
use crate::workplace::Workplace;
use crate::{Batch, FileOutcome, ImporterError, Subject};
use irods_omero_model::clock::UnixTime;
use irods_omero_model::names::OmeroId;
use irods_omero_model::record::{Imported, Version};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How many runs of the importer one batch may take until those are found that it dies over.
const MAX_RUNS: u32 = 64;

/// After so many files that failed alone, while nothing has come to its end, it is not the files.
const ENOUGH_ALONE: usize = 3;

/// What is said of a file that was another one after its import than before.
const EXCHANGED: &str = "the file was exchanged for another while it was imported, so what was made of it in OMERO was \
                         removed: ask the administrator to look into it";

/// What is said of a file that is in OMERO without our annotation.
const NOT_ANNOTATED: &str = "the image is in OMERO, but OMERO did not take the annotation that says which file of iRODS it is: \
                             it is tried again";

/// What is said of files that others were tried instead of.
const LATER: &str =
    "other files of this batch made the importer fail again and again: this file is tried again later";

/// What is said of files that change under the importer.
const CHANGED: &str = "the file changed while it was looked at for its import";

/// Why a file or a set did not get through a run.
struct Rest<T> {
    what: T,
    verdict: Verdict,
    /// Whether what was said names it, or it was the only one in hand.
    is_named: bool,
}

/// The files of a batch, and those it may use, by what filesets say of them.
#[derive(Default)]
struct Index {
    /// By their client paths.
    files: HashMap<String, Known>,
    /// The client paths of the directories that are images.
    directories: Vec<(String, Known)>,
    /// By our annotation.
    marks: HashMap<String, Known>,
    subjects: HashMap<Subject, Known>,
}

impl Index {
    fn of(batch: &Batch) -> Self {
        let mut index = Self::default();
        let usable = batch.may_use.iter().enumerate();
        let usable = usable.map(|(i, f)| (Known::Usable(i), f.subject, f.version, f.importer_path.as_str()));
        let files = batch.files.iter().enumerate();
        let files = files.map(|(i, f)| (Known::File(i), f.subject, f.version, f.importer_path.as_str()));
        for (known, subject, version, path) in usable.chain(files) {
            index.marks.insert(mark_of(subject, version), known);
            index.subjects.insert(subject, known);
            if matches!(subject, Subject::Collection(_)) {
                index.directories.push((client_path::of(path), known));
            } else {
                index.files.insert(client_path::of(path), known);
            }
        }
        index
    }

    /// The files, and directories, at an entry's path.
    fn at(&self, path: &str) -> impl Iterator<Item = Known> + use<'_> {
        let path = path.to_owned();
        let file = self.files.get(&path).copied();
        let directories = self.directories.iter().filter(move |(directory, _)| is_below(&path, directory));
        file.into_iter().chain(directories.map(|(_, known)| *known))
    }

    /// What of the batch a fileset has, with the entries of each.
    fn contents<'f>(&self, fileset: &'f Fileset) -> BTreeMap<Known, Vec<(u64, &'f Entry)>> {
        let mut contents: BTreeMap<Known, Vec<(u64, &Entry)>> = BTreeMap::new();
        for (id, entry) in &fileset.entries {
            for known in self.at(&entry.path) {
                contents.entry(known).or_default().push((*id, entry));
            }
        }
        contents
    }

    /// What a fileset is of, if that is of the batch, in its present version.
    fn bearer(&self, fileset: &Fileset) -> Option<Known> {
        self.marks.get(fileset.mark.as_ref()?).copied()
    }
}

/// A batch at work.
pub(crate) struct Work<'a> {
    importer: &'a CommandImporter<'a>,
    batch: &'a Batch,
    place: &'a Workplace,
    alive: &'a mut dyn FnMut(),
    now: UnixTime,
    roots: Vec<PathBuf>,
    allowed: Allowed<'a>,
    outcomes: BTreeMap<Known, FileOutcome>,
    /// Filesets that are not what is looked for: of versions before, there before we came, or done with.
    passed: BTreeSet<OmeroId>,
    /// What OMERO was asked for already, and what it had of it.
    asked: Wanted,
    had: BTreeMap<OmeroId, Fileset>,
    index: Index,
    /// All that OMERO had at the paths, of whatever data.
    seen: BTreeMap<OmeroId, Fileset>,
    /// The filesets of other data, or of other versions, at the paths of files.
    previous: BTreeMap<Known, BTreeSet<OmeroId>>,
    /// The entries whose links have been looked at.
    cut: BTreeSet<(OmeroId, u64)>,
    /// Filesets of this batch's data, and the file of the batch that bears each, where that is known.
    kept: BTreeMap<OmeroId, (Fileset, Option<usize>)>,
    /// Whether a run of the importer has come to its end.
    is_working: bool,
    runs: u32,
}

impl<'a> Work<'a> {
    /// A batch that is to be imported in a session's directory.
    pub fn new(
        importer: &'a CommandImporter<'a>,
        batch: &'a Batch,
        place: &'a Workplace,
        now: UnixTime,
        alive: &'a mut dyn FnMut(),
    ) -> Self {
        let passed = batch.files.iter().flat_map(|f| f.previous.iter().copied()).collect();
        Self {
            importer,
            batch,
            place,
            alive,
            now,
            roots: importer.roots(),
            allowed: Allowed::of(batch),
            outcomes: BTreeMap::new(),
            passed,
            asked: Wanted::default(),
            had: BTreeMap::new(),
            index: Index::of(batch),
            seen: BTreeMap::new(),
            previous: BTreeMap::new(),
            cut: BTreeSet::new(),
            kept: BTreeMap::new(),
            is_working: false,
            runs: MAX_RUNS,
        }
    }

    /// Does all of it. Gives the outcomes in the order of the batch.
    pub fn perform(mut self) -> Result<Vec<FileOutcome>, ImporterError> {
        self.adopt_marked()?;
        let imported = self.import_the_rest();
        if let Err(error) = &imported
            && (self.kept.is_empty() || self.importer.is_to_end())
        {
            return Err(error.clone());
        }
        self.finish()?;
        if let Err(error) = imported {
            let open: Vec<usize> = self.open_files().collect();
            for i in open {
                self.settle(Known::File(i), FileOutcome::Postponed(error.to_string()));
            }
        }
        Ok(self.in_order())
    }

    fn in_order(mut self) -> Vec<FileOutcome> {
        let silence = || FileOutcome::Postponed("OMERO gave no answer about this file".to_owned());
        let mut outcomes = Vec::with_capacity(self.batch.files.len() + self.batch.may_use.len());
        for i in 0..self.batch.files.len() {
            outcomes.push(self.outcomes.remove(&Known::File(i)).unwrap_or_else(silence));
        }
        for i in 0..self.batch.may_use.len() {
            outcomes.push(self.outcomes.remove(&Known::Usable(i)).unwrap_or(FileOutcome::NotUsed));
        }
        outcomes
    }

    /// The files that have no outcome yet.
    fn open_files(&self) -> impl Iterator<Item = usize> + use<'a, '_> {
        (0..self.batch.files.len()).filter(|i| !self.outcomes.contains_key(&Known::File(*i)))
    }

    fn settle(&mut self, file: Known, outcome: FileOutcome) {
        self.outcomes.insert(file, outcome);
    }

    fn settle_all(&mut self, files: impl IntoIterator<Item = usize>, outcome: &FileOutcome) {
        for i in files {
            self.settle(Known::File(i), outcome.clone());
        }
    }

    fn inventory(&mut self, wanted: &Wanted) -> Result<BTreeMap<OmeroId, Fileset>, ImporterError> {
        let mut found = self.importer.inventory(self.place, wanted, self.alive)?;
        found.retain(|id, _| !self.passed.contains(id));
        Ok(found)
    }

    /// What OMERO has at the paths of files before anything is imported. Gives what is not passed over.
    fn look_up(&mut self, wanted: &Wanted) -> Result<BTreeMap<OmeroId, Fileset>, ImporterError> {
        let mut found = self.importer.inventory(self.place, wanted, self.alive)?;
        self.seen.extend(found.clone());
        found.retain(|id, _| !self.passed.contains(id));
        Ok(found)
    }

    /// Whether what lies at an entry's path now is of other bytes than the fileset. Of the files of a directory that is one image
    /// this is not asked.
    fn is_other(&mut self, fileset: &Fileset, entry: &Entry, known: Known) -> bool {
        self.is_directory(known)
            || has_other_bytes(entry, fileset, known, &self.allowed, &self.roots, self.alive).unwrap_or(false)
    }

    fn is_directory(&self, known: Known) -> bool {
        matches!(known, Known::File(i) if self.batch.files[i].is_directory())
    }

    /// Finds the filesets that are of other data, or of other versions, than what lies at their paths now. They are named, and
    /// their links are cut where they would show other bytes.
    fn retire(&mut self, files: &BTreeSet<Known>) {
        let seen = std::mem::take(&mut self.seen);
        let present: BTreeSet<Known> =
            seen.values().filter_map(|fileset| self.index.bearer(fileset)).collect();
        for (id, fileset) in &seen {
            let contents = self.index.contents(fileset);
            let Some((subject, _)) = fileset.mark.as_deref().and_then(read_mark) else {
                self.tell_of_unmarked(*id, fileset, &contents, files);
                continue;
            };
            let bearer = self.index.bearer(fileset);
            let mut links = BTreeMap::new();
            for (known, entries) in contents {
                if !files.contains(&known) || Some(known) == bearer {
                    continue;
                }
                let (by, ..) = self.allowed.about(known);
                let is_same_data = by == subject;
                if is_same_data && !self.passed.contains(id) && !present.contains(&known) {
                    // Nobody noted its import: the record that is written now is about its version.
                    continue;
                }
                let is_alone = entries.len() == fileset.entries.len();
                let others: Vec<(u64, &Entry)> =
                    entries.into_iter().filter(|(_, entry)| self.is_other(fileset, entry, known)).collect();
                if bearer.is_none() && (is_same_data || is_alone || !others.is_empty()) {
                    self.previous.entry(known).or_default().insert(*id);
                }
                for (entry, about) in others {
                    if self.cut.insert((*id, entry)) {
                        links.insert(entry, Link { shown: self.shown(known, &about.path), by });
                    }
                }
            }
            if !links.is_empty() {
                replaced::cut(self.importer, self.place, *id, &links, self.alive);
                replaced::tell(self.importer, self.place, *id, fileset, &links, self.alive);
            }
        }
        self.seen = seen;
    }

    /// Names the filesets that are of just the files of a set, when all these were other data.
    fn retire_whole(&mut self, sets: &[Set]) {
        let set_of: HashMap<Known, &Set> =
            sets.iter().flat_map(|set| members(set).into_iter().map(move |known| (known, set))).collect();
        for (id, fileset) in &self.seen {
            let is_ours = fileset.mark.as_deref().and_then(read_mark).is_some();
            if !is_ours || self.index.bearer(fileset).is_some() {
                continue;
            }
            let first = fileset.entries.values().next();
            let known = first.and_then(|entry| self.index.at(&entry.path).next());
            let Some(set) = known.and_then(|known| set_of.get(&known)) else { continue };
            if fileset.paths() == set.client_paths() {
                for i in set.files() {
                    self.previous.entry(Known::File(i)).or_default().insert(*id);
                }
            }
        }
    }

    /// The path on this host of what an entry of a fileset shows.
    fn shown(&self, known: Known, entry: &str) -> String {
        let path = self.allowed.path(known);
        let rest = entry.strip_prefix(&client_path::of(path)).unwrap_or_default();
        format!("{path}{rest}")
    }

    /// Says that somebody has imported a file by other means, and that its bytes are others now.
    fn tell_of_unmarked(
        &self,
        id: OmeroId,
        fileset: &Fileset,
        contents: &BTreeMap<Known, Vec<(u64, &Entry)>>,
        files: &BTreeSet<Known>,
    ) {
        if fileset.mark.is_some() || fileset.images.is_empty() {
            return;
        }
        let other = contents.iter().find(|(known, entries)| {
            let size = self.allowed.about(**known).1.size;
            let is_other = |entry: &Entry| entry.size.is_some_and(|s| s != size);
            let is_asked_for = files.contains(*known) && !self.is_directory(**known);
            is_asked_for && entries.iter().any(|(_, entry)| is_other(entry))
        });
        if let Some((known, _)) = other {
            log::warn!(
                "act=adopt fileset={id} path={:?} refused=\"of another size\" why=\"somebody imported this path without iRODS, \
                 and other data lies there now: if the fileset is a link to it, delete it in OMERO\"",
                self.allowed.path(*known)
            );
        }
    }

    /// Takes what bears our mark of just this data in just this version.
    fn adopt_marked(&mut self) -> Result<(), ImporterError> {
        let (mut wanted, files) = (Wanted::default(), &self.batch.files);
        for file in files {
            let path = client_path::of(&file.importer_path);
            if file.is_directory() {
                wanted.below.insert(path)
            } else {
                wanted.paths.insert(path)
            };
        }
        let found = self.look_up(&wanted)?;
        self.asked = wanted;
        self.had.clone_from(&found);
        self.retire(&(0..files.len()).map(Known::File).collect());
        for (id, fileset) in found {
            if self.is_in_the_making(&fileset) {
                // The forecast would only cost time: it may be the data itself that takes so long.
                let first = fileset.entries.values().next().map(|entry| entry.path.clone());
                let inside: Vec<usize> = (0..files.len()).filter(|i| self.is_in(&fileset, *i)).collect();
                if inside.iter().any(|i| Some(client_path::of(&files[*i].importer_path)) == first) {
                    let bound = self.importer.unfinished_wait();
                    self.settle_all(inside, &FileOutcome::Postponed(finishing(bound)));
                }
                continue;
            }
            let Some(mark) = fileset.mark.as_ref().filter(|_| !fileset.images.is_empty()) else { continue };
            let contents = self.index.contents(&fileset);
            if let Some(bearer) = self.index.bearer(&fileset).filter(|known| contents.contains_key(known)) {
                let of = contents.into_keys().collect();
                self.adopt(id, fileset, bearer, of, None);
                continue;
            }
            // The same data in another version, of whose import nobody took note.
            let Some((subject, version)) = read_mark(mark) else { continue };
            let bearer = self.index.subjects.get(&subject).copied();
            let Some((bearer, entries)) = bearer.and_then(|known| contents.get_key_value(&known)) else {
                continue;
            };
            let bearer = *bearer;
            if self.outcomes.contains_key(&bearer) || self.previous_of(bearer).contains(&id) {
                continue;
            }
            let mut others = entries.iter();
            let is_other = others.any(|(_, entry)| self.is_other(&fileset, entry, bearer));
            let of = contents.into_keys().collect();
            self.adopt(id, fileset, bearer, of, is_other.then_some(version));
        }
        Ok(())
    }

    fn previous_of(&self, known: Known) -> Vec<OmeroId> {
        self.previous.get(&known).into_iter().flatten().copied().collect()
    }

    /// Takes a fileset that was there as that of some files, of the present version or of another one. A file whose bytes are
    /// others now is not shown by it.
    fn adopt(
        &mut self,
        id: OmeroId,
        fileset: Fileset,
        bearer: Known,
        of: Vec<Known>,
        version: Option<Version>,
    ) {
        let mut shown = Vec::with_capacity(of.len());
        for known in of {
            let is_file = matches!(known, Known::File(_)) && !self.is_directory(known);
            let path = client_path::of(self.allowed.path(known));
            let entry = fileset.entries.values().find(|entry| entry.path == path).cloned();
            let is_other = known != bearer
                && is_file
                && entry.is_some_and(|entry| self.is_other(&fileset, &entry, known));
            if is_other {
                self.settle(known, FileOutcome::Joined(vec![id]));
            } else {
                shown.push(known);
            }
        }
        self.keep(id, fileset, bearer, shown, true);
        if let (Some(_), Some(FileOutcome::Imported(imported))) = (version, self.outcomes.get_mut(&bearer)) {
            imported.version = version;
        }
    }

    /// Notes a fileset as that of some files.
    fn keep(
        &mut self,
        id: OmeroId,
        fileset: Fileset,
        bearer: Known,
        files: impl IntoIterator<Item = Known>,
        adopted: bool,
    ) {
        for file in files {
            let imported = Imported {
                fileset: id,
                images: fileset.images.clone(),
                plates: fileset.plates.clone(),
                is_member: file != bearer,
                adopted,
                previous: self.previous_of(file),
                version: None,
            };
            self.settle(file, FileOutcome::Imported(imported));
        }
        let bearer = match bearer {
            Known::File(i) => Some(i),
            Known::Usable(_) => None,
        };
        self.passed.insert(id);
        self.kept.insert(id, (fileset, bearer));
    }

    fn import_the_rest(&mut self) -> Result<(), ImporterError> {
        self.look();
        let wanted: Vec<usize> = self.open_files().collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let sets = self.forecast(wanted)?;
        let sets = self.compare(sets)?;
        if sets.is_empty() {
            return Ok(());
        }
        match self.importer.target_for(self.batch, self.place, self.alive) {
            Ok(target) => self.import_all(sets, target.as_deref()),
            Err(NoContainer::Importer(error)) => Err(error),
            Err(NoContainer::Refused(why)) => {
                let refused = FileOutcome::NoTarget { target: self.target(), reason: why };
                for set in sets {
                    self.settle_all(set.files(), &refused);
                }
                Ok(())
            }
        }
    }

    /// The batch's target, as a text by which another is told from it.
    fn target(&self) -> String {
        self.batch.target.with_plates(self.batch.plate_target.as_ref())
    }

    /// Looks at the files that have no outcome yet: why those are not imported that will not be.
    fn look(&mut self) {
        let open: Vec<usize> = self.open_files().collect();
        for i in open {
            let file = &self.batch.files[i];
            let expected =
                if file.is_directory() { Expected::Directory } else { Expected::File(file.version.size) };
            let outcome = match files::check(&file.importer_path, expected, &self.roots) {
                Ok(_) => continue,
                Err(Wrong::File(why)) => {
                    log::warn!("act=check path={} failed=\"{why}\"", file.logical_path);
                    FileOutcome::Failed(why)
                }
                Err(Wrong::Late(why) | Wrong::Root(why)) => FileOutcome::Postponed(why),
            };
            self.settle(Known::File(i), outcome);
        }
    }

    /// Runs Java once.
    fn run_forecast(&mut self, files: &[usize]) -> Result<(Finished, Causes), ImporterError> {
        let paths: String =
            files.iter().flat_map(|i| [self.batch.files[*i].importer_path.as_str(), "\n"]).collect();
        self.run_forecast_of(&paths, files.len(), files.iter().any(|i| self.batch.files[*i].is_directory()))
    }

    fn run_forecast_of(
        &mut self,
        paths: &str,
        count: usize,
        directories: bool,
    ) -> Result<(Finished, Causes), ImporterError> {
        self.runs = self.runs.saturating_sub(1);
        let words = self.importer.forecast_words(directories);
        let seconds = 600 + 2 * u64::try_from(count).unwrap_or(u64::MAX / 4);
        let limit = self.importer.import_timeout().min(Duration::from_secs(seconds));
        let run = JavaRun { words: &words, paths, limit, bytes: 0, fence: None };
        let run = self.importer.run_java(self.place, run, self.alive)?;
        self.is_working |= outcome::is_whole_forecast(&run.0);
        Ok(run)
    }

    /// Which files belong together. Files that are in no set, or in one that is not allowed, have their outcomes then.
    fn forecast(&mut self, files: Vec<usize>) -> Result<Vec<Set>, ImporterError> {
        let (mut done, mut causes) = self.run_forecast(&files)?;
        let mut files = files;
        if !outcome::is_whole_forecast(&done) && outcome::ended_by_rule(&done).is_none() {
            (done, causes) = self.run_forecast(&files)?;
        }
        if !outcome::is_whole_forecast(&done)
            && let Some(Verdict::Postponed(why)) = outcome::ended_by_rule(&done)
        {
            self.settle_all(files, &FileOutcome::Postponed(why));
            return Ok(Vec::new());
        }
        if !outcome::is_whole_forecast(&done) {
            // Sets may be torn by looking at halves: only who dies alone is found out so.
            self.find_culprits(&files, &done, &causes)?;
            files.retain(|i| !self.outcomes.contains_key(&Known::File(*i)));
            if files.is_empty() {
                return Ok(Vec::new());
            }
            (done, causes) = self.run_forecast(&files)?;
        }
        if !outcome::is_whole_forecast(&done) {
            for i in files {
                let path = self.batch.files[i].importer_path.clone();
                let verdict = outcome::missing(&done, &causes, &path, false);
                self.judge(i, verdict, false);
            }
            return Ok(Vec::new());
        }
        let mut sets = Vec::new();
        for (key, group) in outcome::groups(&done.stdout) {
            let concerned = self.allowed.concerned(&group);
            match self.allowed.set(&key, &group, &self.roots) {
                Ok(set) => sets.push(set),
                Err(refused) => {
                    log::warn!("act=forecast key={key:?} refused={refused:?}");
                    let outcome = match refused {
                        NotAllowed::Strangers(paths) => FileOutcome::UsesUnknown { paths },
                        NotAllowed::Late(why) => FileOutcome::Postponed(why),
                        NotAllowed::Wrong(why) => FileOutcome::Failed(why),
                    };
                    self.settle_all(concerned, &outcome);
                }
            }
        }
        // A file of a refused set is not imported in another one either.
        sets.retain(|set| {
            !set.files().iter().any(|i| self.outcomes.contains_key(&Known::File(*i)) && files.contains(i))
        });
        let in_sets: BTreeSet<usize> = sets.iter().flat_map(Set::files).collect();
        for i in files {
            if !in_sets.contains(&i) && !self.outcomes.contains_key(&Known::File(i)) {
                let verdict = outcome::no_set(&causes, &self.batch.files[i].importer_path);
                self.judge(i, verdict, true);
            }
        }
        Ok(sets)
    }

    /// Finds the files over which the forecast does not come to its end: what is left without an outcome is not at fault.
    fn find_culprits(
        &mut self,
        files: &[usize],
        done: &Finished,
        causes: &Causes,
    ) -> Result<(), ImporterError> {
        let verdict = |work: &Self, i: usize, done: &Finished, causes: &Causes| {
            outcome::missing(done, causes, &work.batch.files[i].importer_path, true)
        };
        let mut alone: Vec<(usize, Verdict)> = Vec::new();
        let mut parts = Vec::new();
        if let [one] = files {
            alone.push((*one, verdict(self, *one, done, causes)));
        } else {
            parts.extend(halves(files));
        }
        while let Some(part) = parts.pop() {
            let is_hopeless = !self.is_working && alone.len() >= ENOUGH_ALONE;
            if self.runs == 0 || is_hopeless {
                self.settle_all(part, &FileOutcome::Postponed(LATER.to_owned()));
                continue;
            }
            let (done, causes) = self.run_forecast(&part)?;
            if outcome::is_whole_forecast(&done) {
                continue;
            }
            match part.as_slice() {
                [one] => alone.push((*one, verdict(self, *one, &done, &causes))),
                part => parts.extend(halves(part)),
            }
        }
        if !alone.is_empty() && !self.is_working {
            self.check_importer()?;
        }
        for (i, verdict) in alone {
            self.judge(i, verdict, true);
        }
        Ok(())
    }

    /// Whether the importer works at all: it is given a small image that is in order.
    ///
    /// # Errors
    /// It fails over that too.
    fn check_importer(&mut self) -> Result<(), ImporterError> {
        let path = self
            .place
            .sample()
            .map_err(|e| ImporterError::WillPass(format!("cannot use the importer's work directory: {e}")))?;
        let (done, causes) = self.run_forecast_of(&format!("{}\n", path.display()), 1, false)?;
        if outcome::is_whole_forecast(&done) {
            return Ok(());
        }
        let why = match outcome::missing(&done, &causes, &path.display().to_string(), true) {
            Verdict::Failed(why) | Verdict::Postponed(why) | Verdict::Unknown(why) | Verdict::Uses(why) => {
                why
            }
        };
        Err(ImporterError::WillPass(format!(
            "the importer fails with a test image too, so this file is not the cause: {why}"
        )))
    }

    /// Notes what a file came to that is in no fileset.
    fn judge(&mut self, i: usize, verdict: Verdict, is_alone: bool) {
        let outcome = match verdict {
            Verdict::Failed(why) => FileOutcome::Failed(why),
            Verdict::Postponed(why) => FileOutcome::Postponed(why),
            Verdict::Unknown(reason) => FileOutcome::Unknown { reason, is_alone },
            Verdict::Uses(path) => self.uses(path),
        };
        self.settle(Known::File(i), outcome);
    }

    /// What a file comes to that needs another one. Only of one below the opened directories the catalog can be asked.
    fn uses(&self, path: String) -> FileOutcome {
        if self.roots.iter().any(|root| std::path::Path::new(&path).starts_with(root)) {
            FileOutcome::UsesUnknown { paths: vec![path] }
        } else {
            FileOutcome::Unknown { reason: format!("the importer cannot read {path}"), is_alone: true }
        }
    }

    /// Asks OMERO about the sets. Gives those that are to be imported.
    fn compare(&mut self, sets: Vec<Set>) -> Result<Vec<Set>, ImporterError> {
        let is_new = |path: &String| {
            let Wanted { paths, below, .. } = &self.asked;
            !paths.contains(path) && !below.iter().any(|directory| is_below(path, directory))
        };
        let paths: BTreeSet<String> = sets.iter().flat_map(Set::client_paths).filter(is_new).collect();
        let mut found = std::mem::take(&mut self.had);
        found.retain(|id, _| !self.passed.contains(id) || self.kept.contains_key(id));
        if !paths.is_empty() {
            found.extend(self.look_up(&Wanted { paths, ..Wanted::default() })?);
        }
        let mut leftovers = BTreeSet::new();
        let mut left = Vec::new();
        for set in sets {
            // The newest first.
            let by = |standing: Standing| {
                found.iter().rev().find(|(_, fileset)| fileset.standing(&set, &self.allowed) == standing)
            };
            if let Some((id, fileset)) = by(Standing::Same) {
                let files = members(&set);
                self.keep(*id, fileset.clone(), set.bearer, files, true);
                continue;
            }
            let parts: Vec<(OmeroId, Fileset)> = found
                .iter()
                .filter(|(_, fileset)| fileset.standing(&set, &self.allowed) == Standing::Part)
                .map(|(id, fileset)| (*id, fileset.clone()))
                .collect();
            if !parts.is_empty() {
                self.keep_parts(&set, parts);
                continue;
            }
            let unfinished: Vec<_> = found
                .iter()
                .filter(|(_, f)| f.standing(&set, &self.allowed) == Standing::Unfinished)
                .collect();
            let bound = self.importer.unfinished_wait();
            if unfinished.iter().any(|(_, fileset)| self.is_in_the_making(fileset)) {
                self.settle_all(set.files(), &FileOutcome::Postponed(finishing(bound)));
                continue;
            }
            if matches!(set.bearer, Known::Usable(_)) {
                let why = format!(
                    "it belongs to the set of {}, which is not in OMERO: it is imported with that file",
                    set.key
                );
                self.settle_all(set.files(), &FileOutcome::Postponed(why));
                continue;
            }
            leftovers.extend(unfinished.iter().map(|(id, _)| **id));
            left.push(set);
        }
        self.passed.extend(found.keys().copied());
        let grown = self.remove(&leftovers, "left by an import that failed", Removal::Leftovers)?;
        if !grown.is_empty() {
            // OMERO has come to its end after all: the next try adopts what it made.
            let bound = self.importer.unfinished_wait();
            let has_grown = |set: &Set| {
                let mut all = found.iter().filter(|(id, _)| grown.contains(id));
                all.any(|(_, fileset)| fileset.standing(set, &self.allowed) == Standing::Unfinished)
            };
            let (done, rest): (Vec<Set>, Vec<Set>) = left.into_iter().partition(has_grown);
            for set in done {
                self.settle_all(set.files(), &FileOutcome::Postponed(finishing(bound)));
            }
            left = rest;
        }
        self.retire(&left.iter().flat_map(members).collect());
        self.retire_whole(&left);
        Ok(left)
    }

    /// Notes that some files of a set are in OMERO without the others: those have come too late.
    fn keep_parts(&mut self, set: &Set, parts: Vec<(OmeroId, Fileset)>) {
        let files: Vec<usize> = set.files().into_iter().collect();
        let ids: Vec<OmeroId> = parts.iter().map(|(id, _)| *id).collect();
        let is_late = |i: &&usize| !parts.iter().any(|(_, fileset)| self.is_in(fileset, **i));
        let late: Vec<usize> = files.iter().filter(is_late).copied().collect();
        self.settle_all(late, &FileOutcome::Joined(ids));
        for (id, fileset) in parts {
            let inside: Vec<Known> =
                files.iter().filter(|i| self.is_in(&fileset, **i)).map(|i| Known::File(*i)).collect();
            let bears = |known: &&Known| {
                let (subject, version, _) = self.allowed.about(**known);
                Some(mark_of(subject, version)) == fileset.mark
            };
            let bearer = members(set).iter().find(bears).copied().unwrap_or(Known::Usable(usize::MAX));
            self.keep(id, fileset, bearer, inside, true);
        }
    }

    /// Whether OMERO may still be at work on a fileset.
    fn is_in_the_making(&self, fileset: &Fileset) -> bool {
        let bound = self.importer.unfinished_wait().as_secs();
        let is_young = fileset.created.is_none_or(|at| self.now.saturating_sub(at) < bound);
        fileset.mark.is_none() && fileset.images.is_empty() && is_young && !fileset.is_given_up
    }

    /// Whether a file of the batch is in a fileset.
    fn is_in(&self, fileset: &Fileset, i: usize) -> bool {
        let file = &self.batch.files[i];
        let path = client_path::of(&file.importer_path);
        if file.is_directory() {
            fileset.paths().iter().any(|p| is_below(p, &path))
        } else {
            fileset.has(&path)
        }
    }

    /// Deletes filesets. One that cannot be deleted is marked, so that nobody takes it for the data's. Gives those that were to be
    /// deleted only without images, and have got some.
    fn remove(
        &mut self,
        ids: &BTreeSet<OmeroId>,
        why: &str,
        what: Removal,
    ) -> Result<BTreeSet<OmeroId>, ImporterError> {
        if ids.is_empty() {
            return Ok(BTreeSet::new());
        }
        let shown = |ids: &BTreeSet<OmeroId>| {
            let list: Vec<String> = ids.iter().map(ToString::to_string).collect();
            list.join(",")
        };
        log::warn!("act=delete filesets={} why=\"{why}\"", shown(ids));
        self.passed.extend(ids.iter().copied());
        let Left { failed, grown } = self.importer.delete(self.place, ids, what, self.alive)?;
        if !grown.is_empty() {
            log::warn!("act=delete filesets={} left=\"they have images now\"", shown(&grown));
        }
        if !failed.is_empty() {
            log::error!(
                "act=delete filesets={} failed=\"still there: delete them in OMERO\" why=\"{why}\"",
                shown(&failed)
            );
            self.importer.refuse(self.place, &failed, why, self.alive)?;
        }
        Ok(grown)
    }

    /// Imports sets until each is in OMERO, or it is known of each why not.
    fn import_all(&mut self, sets: Vec<Set>, target: Option<&str>) -> Result<(), ImporterError> {
        let mut tried: BTreeSet<String> = BTreeSet::new();
        let mut parts = vec![sets];
        while let Some(part) = parts.pop() {
            if self.runs == 0 {
                for set in part {
                    self.settle_all(set.files(), &FileOutcome::Postponed(LATER.to_owned()));
                }
                continue;
            }
            let (count, is_alone) = (part.len(), part.len() == 1);
            let rest = self.import_part(part, target)?;
            let mut again = Vec::new();
            for Rest { what: set, verdict, is_named } in rest {
                if matches!(verdict, Verdict::Unknown(_)) && !is_named && !is_alone {
                    again.push(set);
                } else {
                    for i in set.files() {
                        self.judge(i, verdict.clone(), true);
                    }
                }
            }
            if again.is_empty() {
                continue;
            }
            let is_new = again.iter().map(|set| tried.insert(set.key.clone())).fold(false, |a, b| a | b);
            // As long as something gets done the others are tried as they are.
            if again.len() < count || again.len() == 1 || is_new {
                parts.push(again);
            } else {
                let right = again.split_off(again.len() / 2);
                parts.extend([again, right]);
            }
        }
        Ok(())
    }

    /// The bytes of a set's files; nobody knows how many a directory holds.
    fn bytes_of(&self, set: &Set) -> u64 {
        let bytes =
            |known| if self.is_directory(known) { u64::MAX } else { self.allowed.about(known).1.size };
        set.members.iter().map(|(_, known, _)| bytes(*known)).fold(0, u64::saturating_add)
    }

    /// Imports sets in one run. Gives those that are not in OMERO afterwards and have no outcome yet.
    fn import_part(&mut self, sets: Vec<Set>, target: Option<&str>) -> Result<Vec<Rest<Set>>, ImporterError> {
        let mut going = Vec::new();
        for set in sets {
            if self.is_unchanged(&set) {
                going.push(set);
            } else {
                self.settle_all(set.files(), &FileOutcome::Postponed(CHANGED.to_owned()));
            }
        }
        let looked_at: Vec<(&str, files::Identity)> = going
            .iter()
            .flat_map(|set| set.members.iter().map(|(path, _, identity)| (path.as_str(), *identity)))
            .collect();
        let fence = match self.importer.fence(&self.roots, &looked_at) {
            Ok(fence) => Some(fence),
            Err(NoFence::Kernel(why)) => {
                log::debug!("act=fence failed=\"{why}\"");
                None
            }
            Err(NoFence::File(why)) => {
                log::warn!("act=fence failed=\"{why}\"");
                for set in &going {
                    self.settle_all(set.files(), &FileOutcome::Postponed(CHANGED.to_owned()));
                }
                return Ok(Vec::new());
            }
        };
        if going.is_empty() {
            return Ok(Vec::new());
        }
        self.runs = self.runs.saturating_sub(1);
        let directories = going.iter().any(|set| set.given != set.key);
        let mut known = BTreeSet::new();
        let given = going.iter().map(|set| set.given.as_str()).filter(|given| known.insert(*given));
        let keys: String = given.flat_map(|given| [given, "\n"]).collect();
        let mut words = self.importer.import_words(target, directories);
        words.splice(1..1, self.place.session_words());
        self.place.has_imported.store(true, Ordering::Relaxed);
        let limit = self.importer.import_timeout();
        let bytes = going.iter().map(|set| self.bytes_of(set)).fold(0, u64::saturating_add);
        let run = JavaRun { words: &words, paths: &keys, limit, bytes, fence };
        let run = self.importer.run_java(self.place, run, self.alive);
        if self.importer.is_to_end() {
            let paths = going.iter().flat_map(Set::client_paths).collect();
            self.importer.remove_cut_off(self.place, paths, &self.passed, self.alive);
            return Err(CommandImporter::ended());
        }
        let (done, causes) = run?;
        let ours: BTreeSet<OmeroId> = outcome::filesets(&done.stdout).into_iter().collect();
        let paths = going.iter().flat_map(Set::client_paths).collect();
        let wanted = Wanted { paths, ids: ours.clone(), ..Wanted::default() };
        let mut found = match self.inventory(&wanted) {
            Ok(found) => found,
            // The run may have imported everything: the next sweep asks again and adopts.
            Err(error) => {
                log::warn!("act=import files={} failed=\"{error}\"", going.len());
                return Err(error);
            }
        };
        found.retain(|_, fileset| fileset.mark.is_none());
        let mut doomed: BTreeMap<&str, (Removal, BTreeSet<OmeroId>)> = BTreeMap::new();
        let mut rest = Vec::new();
        let is_alone = going.len() == 1;
        for set in going {
            if let Some(left) = self.attribute(set, &found, &ours, &done, &causes, is_alone, &mut doomed) {
                rest.push(left);
            }
        }
        for (why, (what, ids)) in doomed {
            self.remove(&ids, why, what)?;
        }
        let strangers = ours.iter().filter(|id| !self.passed.contains(id)).count();
        if strangers > 0 {
            log::warn!("act=import ignored_results={strangers} why=\"not of the files asked for\"");
        }
        Ok(rest)
    }

    /// Finds what a run made of a set. Gives it back where nothing was made of it and nothing is known yet.
    #[allow(clippy::too_many_arguments)] // all that is known of one run
    fn attribute(
        &mut self,
        set: Set,
        found: &BTreeMap<OmeroId, Fileset>,
        ours: &BTreeSet<OmeroId>,
        done: &Finished,
        causes: &Causes,
        is_alone: bool,
        doomed: &mut BTreeMap<&'static str, (Removal, BTreeSet<OmeroId>)>,
    ) -> Option<Rest<Set>> {
        let (paths, key) = (set.client_paths(), client_path::of(&set.key));
        let is_first = |f: &Fileset| f.entries.values().next().is_some_and(|e| paths.contains(&e.path));
        let of_set = |(id, f): &(&OmeroId, &Fileset)| f.has(&key) && (ours.contains(id) || is_first(f));
        let all: Vec<(&OmeroId, &Fileset)> = found.iter().filter(of_set).collect();
        // Made by this run for certain, and holding what was not asked for.
        let stranger = all.iter().find_map(|(id, f)| {
            let is_ours = ours.contains(id) || !causes.ended;
            f.paths().into_iter().find(|p| is_ours && !paths.contains(p)).map(|path| (**id, path))
        });
        if let Some((id, path)) = stranger {
            log::error!("act=import key={:?} fileset={id} stranger={path:?} failed=\"removed\"", set.key);
            let why = "it held a file that its forecast did not name";
            doomed.entry(why).or_insert_with(|| (Removal::WithImages, BTreeSet::new())).1.insert(id);
            let why = format!(
                "while it was being imported, its set began to use the file /{path}, which had not been checked: what was \
                 made of it in OMERO was removed. Find out who changed the set"
            );
            self.settle_all(set.files(), &FileOutcome::Failed(why));
            return None;
        }
        let whole = |f: &Fileset| f.paths() == paths;
        let mine = all
            .iter()
            .filter(|(id, f)| !f.images.is_empty() && (whole(f) || ours.contains(id)))
            .max_by_key(|(id, _)| (ours.contains(id), **id));
        if self.is_exchanged(&set) {
            log::error!("act=import key={:?} failed=\"exchanged during the import\"", set.key);
            let why = "a file of it was exchanged during the import";
            let doomed = doomed.entry(why).or_insert_with(|| (Removal::WithImages, BTreeSet::new()));
            doomed.1.extend(all.iter().map(|(id, _)| **id));
            self.settle_all(set.files(), &FileOutcome::Failed(EXCHANGED.to_owned()));
            return None;
        }
        if let Some((id, fileset)) = mine {
            let files: Vec<Known> = members(&set)
                .into_iter()
                .filter(|known| {
                    fileset.has(&client_path::of(self.allowed.path(*known)))
                        || !matches!(known, Known::File(_))
                })
                .chain([set.bearer])
                .collect();
            self.keep(**id, (*fileset).clone(), set.bearer, files, false);
            return None;
        }
        let verdict = outcome::missing(done, causes, &set.key, is_alone);
        let told = causes.of.get(&set.key);
        let unfinished: Vec<OmeroId> =
            all.iter().filter(|(_, f)| f.images.is_empty()).map(|(id, _)| **id).collect();
        if !unfinished.is_empty() {
            // The server has said that it is done with it, or was never told to begin.
            let has_begun = set.members.iter().any(|(path, ..)| causes.begun.contains(path));
            let loose = if is_alone { causes.loose.as_slice() } else { &[] };
            // The importer is no more, so what has not come will not come.
            let is_cut_off = all.iter().all(|(_, f)| f.images.is_empty() && !f.is_uploaded);
            let is_over = is_cut_off
                || told.into_iter().flatten().chain(loose).any(|cause| match cause.told {
                    Told::Internal | Told::FileException => true,
                    Told::OnImport => !has_begun && causes.ended,
                    Told::Unreadable | Told::MissingLibrary | Told::Target | Told::Other => false,
                });
            if is_over {
                let leftovers = || (Removal::Leftovers, BTreeSet::new());
                doomed.entry("its import failed").or_insert_with(leftovers).1.extend(unfinished);
            } else {
                let bound = self.importer.unfinished_wait();
                self.settle_all(set.files(), &FileOutcome::Postponed(finishing(bound)));
                self.passed.extend(unfinished);
                return None;
            }
        }
        let in_hand = causes.in_hand.as_ref().is_some_and(|path| set.members.iter().any(|(m, ..)| m == path));
        Some(Rest { what: set, verdict, is_named: told.is_some() || in_hand })
    }

    /// Whether all files of a set are as they were at the forecast.
    fn is_unchanged(&self, set: &Set) -> bool {
        set.members
            .iter()
            .all(|(path, _, before)| files::check_used(path, &self.roots).as_ref() == Ok(before))
    }

    /// Whether another file is in the place of one of a set now. (One that was written to is the same, and one that is gone
    /// is no other: the catalog tells of both.)
    fn is_exchanged(&self, set: &Set) -> bool {
        set.members.iter().any(|(path, _, before)| match files::check_used(path, &self.roots) {
            Ok(now) => !now.is_same_file(before),
            Err(Wrong::File(_)) => true,
            Err(Wrong::Late(_) | Wrong::Root(_)) => false,
        })
    }

    /// Puts the filesets where they belong and ties them to their data.
    fn finish(&mut self) -> Result<(), ImporterError> {
        let all: BTreeMap<OmeroId, Fileset> =
            self.kept.iter().map(|(id, (fileset, _))| (*id, fileset.clone())).collect();
        if all.is_empty() {
            return Ok(());
        }
        let filled = self.importer.fill_containers(self.batch, self.place, &all, self.alive);
        let unmarked: Vec<_> = self
            .kept
            .iter()
            .filter(|(_, (fileset, _))| fileset.mark.is_none())
            .filter_map(|(id, (fileset, bearer))| Some((*id, fileset, &self.batch.files[(*bearer)?])))
            .collect();
        let bare = self.importer.annotate(self.place, &unmarked, self.alive);
        // Found again by the next try, which annotates it: without its annotation it could be taken for other data.
        for outcome in self.outcomes.values_mut() {
            if matches!(outcome, FileOutcome::Imported(imported) if bare.contains(&imported.fileset)) {
                *outcome = FileOutcome::Postponed(NOT_ANNOTATED.to_owned());
            }
        }
        match filled {
            Ok(()) => Ok(()),
            Err(NoContainer::Importer(error)) => Err(error),
            Err(NoContainer::Refused(why)) => {
                let refused = FileOutcome::NoTarget { target: self.target(), reason: why };
                let imported = self.outcomes.values_mut().filter(|o| matches!(o, FileOutcome::Imported(_)));
                imported.for_each(|outcome| outcome.clone_from(&refused));
                Ok(())
            }
        }
    }
}

/// The files of a set.
fn members(set: &Set) -> Vec<Known> {
    let others = set.members.iter().map(|(_, known, _)| *known).filter(|known| *known != set.bearer);
    others.chain([set.bearer]).collect()
}

/// What is said of what OMERO may still be at work on.
fn finishing(bound: Duration) -> String {
    format!(
        "an import of this file was cut off, and OMERO may still be finishing it: it is looked for again. If nothing comes of \
         it in {} minutes, what is left of it is removed and the file is imported anew",
        bound.as_secs().div_ceil(60)
    )
}

fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

fn halves(files: &[usize]) -> [Vec<usize>; 2] {
    let (left, right) = files.split_at(files.len() / 2);
    [left.to_vec(), right.to_vec()]
}
