//! One sweep at work: what it was decided to do is written down or gathered in batches, the batches go to the
//! importer, and what came of them is recorded.

use super::{ALIVE, Hold, Planned, Report, Sweeper, Verdict, stage};
use crate::catalog::{CatalogError, Kind, UnixTime, Which};
use crate::due;
use crate::identity::{Mapping, OmeroIdentity};
use crate::importer::{Batch, BatchFile, FileOutcome, ImporterError, Subject};
use crate::names::{CollectionId, LogicalPath, OmeroId};
use crate::record::{self, Details, Entry, Record, Retry, State, Triple, Version};
use crate::target::Target;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// The longest wait between two tries while OMERO is away.
const LONGEST_RETRY: Duration = Duration::from_secs(3_600);

/// What the files of one batch have in common.
type Common = (OmeroIdentity, Target, Option<Target>);

/// One sweep at work.
pub(super) struct Run<'a> {
    sweeper: &'a Sweeper<'a>,
    id: CollectionId,
    collection: &'a LogicalPath,
    hold: &'a Hold,
    report: &'a mut Report,
    may_join: bool,
    room: usize,
    /// Whether data has to be copied first.
    stages: bool,
    batches: BTreeMap<Common, Vec<BatchFile>>,
    about: HashMap<Subject, About>,
}

/// What a record needs beside its entry.
struct About {
    subject: Subject,
    path: LogicalPath,
    record: Record,
    version: Version,
    checksum: Option<String>,
    attempts: u32,
    /// Since when the import is tried.
    since: UnixTime,
    /// Whom the import runs as, and why; `None` where there is no import.
    mapping: Option<Mapping>,
    previous: Vec<OmeroId>,
}

impl<'a> Run<'a> {
    pub fn new(
        sweeper: &'a Sweeper<'a>,
        id: CollectionId,
        collection: &'a LogicalPath,
        hold: &'a Hold,
        report: &'a mut Report,
        may_join: bool,
    ) -> Self {
        let room = sweeper.config.max_files_per_sweep;
        let (batches, about) = (BTreeMap::new(), HashMap::new());
        Self { sweeper, id, collection, hold, report, may_join, room, stages: false, batches, about }
    }

    /// Whether as much has been gathered as one sweep takes.
    pub fn is_full(&self) -> bool {
        self.room == 0
    }

    /// Leaves what is not gathered to the next sweep.
    pub fn leave_rest(&mut self) {
        self.report.again(Duration::from_secs(1));
    }

    /// Writes down what is said, and gathers what is imported.
    pub fn take(&mut self, planned: Planned) -> Result<(), CatalogError> {
        let names = &self.sweeper.config.attributes;
        let Planned { subject, path, version, checksum, record, attempts, verdict } = planned;
        let now = self.sweeper.clock.now();
        let since = record.retry(names).filter(|_| attempts > 0).map_or(now, |r| r.since);
        let previous = record.previous(names);
        let mut this =
            About { subject, path, record, version, checksum, attempts, since, mapping: None, previous };
        match verdict {
            Verdict::Say(entry) => drop(self.write(&this, &entry, None, None)?),
            Verdict::Touched => self.touch(&this)?,
            Verdict::Postpone(why) => {
                this.attempts += 1;
                self.postpone(&this, &why, None)?;
            }
            Verdict::Stage(resource) => {
                self.stages = true;
                // What an earlier try came to is not written over.
                if this.record.state(names) == Some(State::Pending) {
                    self.report.pending += 1;
                } else {
                    self.write(&this, &Entry::Pending(stage::waits_for(&resource)), None, None)?;
                }
                self.report.again(retry_wait(self.sweeper.config.retry_wait, attempts + 1));
            }
            Verdict::Import(_) if self.room == 0 => self.leave_rest(),
            Verdict::Import(import) => {
                self.room -= 1;
                this.previous.clone_from(&import.previous);
                let key = (import.mapping.identity.clone(), import.target, import.plate_target);
                self.batches.entry(key).or_default().push(BatchFile {
                    subject,
                    logical_path: this.path.clone(),
                    importer_path: import.importer_path,
                    version: this.version,
                    checksum: this.checksum.clone(),
                    owner: import.owner,
                    previous: import.previous,
                });
                this.mapping = Some(import.mapping);
                self.about.insert(subject, this);
            }
        }
        self.alive()
    }

    /// Gives the batches to the importer, one after the other.
    pub fn import_all(mut self) -> Result<(), CatalogError> {
        if self.stages {
            due::ensure_stage(self.sweeper.catalog, self.id, self.sweeper.clock.now())?;
        }
        let may_join = self.may_join;
        for ((identity, target, plate_target), files) in std::mem::take(&mut self.batches) {
            self.import(&Batch { identity, target, plate_target, may_join, files })?;
        }
        Ok(())
    }

    fn import(&mut self, batch: &Batch) -> Result<(), CatalogError> {
        let Some(omero) = self.sweeper.importer else {
            return Ok(());
        };
        if self.sweeper.is_contested(self.id, self.hold)? {
            // We were held up for so long that another took over; the files are its now.
            log::warn!("act=import collection={} why=\"taken over by another sweep\"", self.collection);
            self.report.again(self.sweeper.config.sweep_expiry);
            return Ok(());
        }
        for file in &batch.files {
            if let Some(mut this) = self.about.remove(&file.subject) {
                this.attempts += 1;
                let now = self.sweeper.clock.now();
                let retry = Some(Retry { next: now, since: this.since });
                let entry = Entry::Importing;
                this.record.triples = self.write(&this, &entry, Some(&batch.identity), retry)?;
                self.about.insert(file.subject, this);
            }
            self.alive()?;
        }
        let mut lost = None;
        let done = omero.import(batch, self.sweeper.clock.now(), &mut || {
            if let Err(error) = self.alive() {
                lost = Some(error);
            }
        });
        if let Some(error) = lost {
            log::warn!("act=renew collection={} failed=\"{error}\"", self.collection);
        }
        let outcomes = match done {
            Ok(outcomes) => outcomes,
            Err(ImporterError::WillPass(reason)) => vec![FileOutcome::Postponed(reason); batch.files.len()],
            Err(ImporterError::Refused(reason)) => {
                for file in &batch.files {
                    self.record(file, &Entry::Skipped(reason.clone()), &batch.identity)?;
                }
                return Ok(());
            }
        };
        for (file, outcome) in batch.files.iter().zip(outcomes) {
            match outcome {
                FileOutcome::Imported(what) => {
                    self.record(file, &Entry::Imported(what), &batch.identity)?;
                }
                FileOutcome::Failed(reason) => self.record(file, &Entry::Failed(reason), &batch.identity)?,
                FileOutcome::Joined(fileset) => self.record(file, &Entry::Late(fileset), &batch.identity)?,
                FileOutcome::Postponed(reason) => {
                    if let Some(this) = self.about.remove(&file.subject) {
                        self.postpone(&this, &reason, Some(&batch.identity))?;
                    }
                }
            }
            self.alive()?;
        }
        Ok(())
    }

    fn record(&mut self, file: &BatchFile, entry: &Entry, who: &OmeroIdentity) -> Result<(), CatalogError> {
        match self.about.remove(&file.subject) {
            Some(this) => self.write(&this, entry, Some(who), None).map(drop),
            None => Ok(()),
        }
    }

    /// Writes that an import could not be done for now and when it is tried again, or that it is given up.
    fn postpone(&mut self, this: &About, why: &str, who: Option<&OmeroIdentity>) -> Result<(), CatalogError> {
        let config = self.sweeper.config;
        let now = self.sweeper.clock.now();
        let age = Duration::from_secs(now.saturating_sub(this.since));
        if !config.retry_max_age.is_zero() && age >= config.retry_max_age && this.attempts > 1 {
            let reason = format!("given up after {} tries in {}: {why}", this.attempts, in_words(age));
            return self.write(this, &Entry::Failed(reason), who, None).map(drop);
        }
        let wait = retry_wait(config.retry_wait, this.attempts);
        let retry = Some(Retry { next: now.saturating_add(wait.as_secs()), since: this.since });
        self.write(this, &Entry::Pending(why.to_owned()), who, retry)?;
        self.report.again(wait);
        Ok(())
    }

    /// Writes a record and gives what it says now. A data object that is gone is no error.
    fn write(
        &mut self,
        this: &About,
        entry: &Entry,
        who: Option<&OmeroIdentity>,
        retry: Option<Retry>,
    ) -> Result<Vec<Triple>, CatalogError> {
        let names = &self.sweeper.config.attributes;
        let details = Details {
            attempts: this.attempts,
            version: Some(this.version),
            checksum: this.checksum.as_deref(),
            server: self.sweeper.importer.map_or("", |i| i.server()),
            who,
            retry,
            previous: &this.previous,
        };
        let mut triples = record::triples(names, entry, &details);
        // By which source, and for whom: a service account's data is somebody else's.
        let by =
            this.mapping.as_ref().map(|m| Triple::new(&names.mapped_by, record::sentence(&m.by), &m.person));
        triples.extend(by);
        if matches!(entry, Entry::Stale(_)) {
            // The images in OMERO are still those of the old version: keep what names them.
            let replaced = [&names.state, &names.reason];
            triples.retain(|t| replaced.contains(&&t.attribute));
            triples.extend(this.record.triples.iter().filter(|t| !replaced.contains(&&t.attribute)).cloned());
        }
        let is_final = matches!(entry, Entry::Imported(_) | Entry::Late(_));
        if self.replace(this, &triples)? || (is_final && self.follow(this, &triples)?) {
            self.report.count(entry);
        } else {
            log::info!("act=record path={} why=\"gone before its record\"", this.path);
            self.report.gone += 1;
        }
        Ok(triples)
    }

    /// Writes that data was imported in this version too.
    fn touch(&mut self, this: &About) -> Result<(), CatalogError> {
        let names = &self.sweeper.config.attributes;
        let mut triples = this.record.triples.clone();
        triples.retain(|t| t.attribute != names.version);
        triples.push(record::version_triple(names, this.version, this.checksum.as_deref()));
        self.replace(this, &triples).map(drop)
    }

    /// Writes the record of images that are in OMERO on data that has been moved in the meantime; whether it is still
    /// anywhere.
    fn follow(&self, this: &About, triples: &[Triple]) -> Result<bool, CatalogError> {
        let (catalog, names) = (self.sweeper.catalog, &self.sweeper.config.attributes);
        let Subject::DataObject(id) = this.subject else { return Ok(false) };
        let Some((collection, path)) = catalog.object_path(id)? else { return Ok(false) };
        let mut there = Vec::new();
        catalog
            .object_avus(collection, Which::Between(id, id), &names.record(), &mut |_, t| there.push(t))?;
        log::info!("act=record path={path} why=\"moved from {} during its import\"", this.path);
        catalog.replace(Kind::DataObject, &path, &there, triples)?;
        Ok(true)
    }

    /// Whether what the record is about is still there.
    fn replace(&self, this: &About, triples: &[Triple]) -> Result<bool, CatalogError> {
        let kind = this.subject.kind();
        match self.sweeper.catalog.replace(kind, &this.path, &this.record.triples, triples) {
            Ok(()) => Ok(true),
            Err(CatalogError::Call { code, .. }) if NOT_THERE.contains(&code) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives a sign of life when a third of the time without one is over.
    fn alive(&self) -> Result<(), CatalogError> {
        let (now, last) = (self.sweeper.clock.now(), self.hold.alive.get());
        if now.saturating_sub(last) >= self.sweeper.config.sweep_expiry.as_secs() / 3 {
            let attribute = &self.sweeper.config.attributes.sweeping;
            let (old, new) = (format!("{ALIVE}{last}"), format!("{ALIVE}{now}"));
            self.sweeper.catalog.change_mark(self.collection, attribute, &old, &new)?;
            self.hold.alive.set(now);
        }
        Ok(())
    }
}

/// `OBJ_PATH_DOES_NOT_EXIST`, `CAT_UNKNOWN_FILE`, `CAT_INVALID_ARGUMENT`-like answers to a path that is gone:
/// the atomic call says "Entity does not exist" with -130000.
pub(super) const NOT_THERE: [i64; 4] = [-130_000, -358_000, -814_000, -817_000];

/// The wait before the next try: doubling with every attempt, an hour at most.
pub(super) fn retry_wait(first: Duration, attempts: u32) -> Duration {
    let factor = 1_u32 << attempts.saturating_sub(1).min(16);
    first.saturating_mul(factor).min(LONGEST_RETRY.max(first))
}

/// A length of time as a person says it.
fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    let (number, unit) = match seconds {
        0..=7_199 => (seconds / 60, "minutes"),
        7_200..=172_799 => (seconds / 3_600, "hours"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{number} {unit}")
}
