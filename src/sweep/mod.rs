//! One short job that looks at one due collection and decides what to import: what is there, is it settled,
//! whose is it, can it be seen, where does it go; then batches, the importer, and the records.
//!
//! The mark's protocol (no lost wake-up): take the collection (`sweeping`, a test-and-set), remove `due`, and
//! only then read the catalog. An event after the reading sets `due` anew. At the end release the collection,
//! and look once more for `due`: an event's sweep that found the collection taken has left it to us.

mod plan;
mod stage;

pub use plan::{Import, Plan, Planned, Verdict};

use crate::catalog::{Catalog, CatalogError, UnixTime};
use crate::clock::Clock;
use crate::config::Config;
use crate::due;
use crate::identity::{Mapping, OmeroIdentity};
use crate::importer::{Batch, BatchFile, FileOutcome, Importer, ImporterError};
use crate::names::{CollectionId, DataId, LogicalPath};
use crate::record::{self, Entry, Record, State, Triple, Version};
use crate::target::Target;
use crate::watch::{self, Watching};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// The value of the `sweeping` mark that is the lock. It is the same for all who compete for a free collection,
/// as the test-and-set wants it. Who takes over from a dead sweep adds when that one gave its last sign of life,
/// so that of several heirs of the same dead sweep only one succeeds.
const SWEEPING: &str = "sweep";

/// The value of the `sweeping` mark that is the sign of life: this and the time, by the sweeping host's clock.
const ALIVE: &str = "alive ";

/// The value of a tree's due mark while its collections are being marked.
const SPREADING: &str = "spreading";

/// The longest wait between two tries while OMERO is away.
const LONGEST_RETRY: Duration = Duration::from_secs(3_600);

/// What a sweep did, for the log.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// Data objects with images in OMERO now that had none recorded before.
    pub imported: usize,
    /// Data objects given up.
    pub failed: usize,
    /// Data objects left alone for want of an OMERO user or a visible path.
    pub skipped: usize,
    /// Data objects that wait.
    pub pending: usize,
    /// When the collection is looked at again; `None` if it is done.
    pub again_in: Option<Duration>,
}

/// A collection that is ours for now: the lock we set, and the locks of dead sweeps beside it.
struct Hold {
    lock: String,
    inherited: Vec<String>,
    /// The time in our last sign of life.
    alive: Cell<UnixTime>,
}

/// Whose a collection is after the test-and-set.
enum Taken {
    Ours(Hold),
    NothingToDo,
    Others { for_at_most: Duration },
}

/// Sweeps collections.
pub struct Sweeper<'a> {
    /// The plugin's configuration.
    pub config: &'a Config,
    /// The catalog.
    pub catalog: &'a dyn Catalog,
    /// What imports; `None` where the configuration names none.
    pub importer: Option<&'a dyn Importer>,
    /// The time.
    pub clock: &'a dyn Clock,
}

impl Sweeper<'_> {
    /// Sweeps one collection.
    ///
    /// # Errors
    /// The catalog failed; the due mark is there, or is set again, so nothing is lost.
    pub fn sweep(&self, id: CollectionId) -> Result<Report, CatalogError> {
        let names = &self.config.attributes;
        let Some(collection) = self.catalog.collection_path(id)? else {
            return Ok(Report::default()); // removed since: nothing to look at
        };
        let mut due = self.catalog.marks(id, &names.due)?;
        due.extend(self.catalog.marks(id, &names.due_tree)?);
        let hold = match self.take(id, &collection, !due.is_empty())? {
            Taken::Ours(hold) => hold,
            Taken::NothingToDo => return Ok(Report::default()),
            Taken::Others { for_at_most } => {
                // Whoever has it looks for the due mark again when done. Should it be dead, this look finds out.
                due::queue_sweep(self.catalog, id, for_at_most)?;
                return Ok(Report::default());
            }
        };
        let swept = self.sweep_taken(id, &collection, &hold);
        self.finish(id, &collection, &hold, swept, due.first().map(String::as_str))
    }

    /// Queues a sweep for every marked collection that has none waiting, and itself once more if there is any.
    /// Gives how many were queued. This is what finds the marks whose sweep died with its process.
    pub fn sweep_all(&self) -> Result<usize, CatalogError> {
        let names = &self.config.attributes;
        let expiry = self.config.sweep_expiry;
        let marked = self.catalog.marked(&[&names.due, &names.due_tree, &names.sweeping])?;
        if marked.is_empty() {
            return Ok(0);
        }
        // First of all the next look, for the case that this one dies. Itself is in the queue still, but over
        // its time already.
        due::ensure_sweep_all(self.catalog, self.clock.now(), expiry, Duration::ZERO)?;
        if !self.config.recheck_skipped.is_zero() && !self.skipped()?.is_empty() {
            due::ensure_sweep_skipped(self.catalog, self.clock.now(), self.config.recheck_skipped)?;
        }
        let oldest = self.clock.now().saturating_sub(expiry.as_secs());
        let waiting: BTreeSet<String> =
            self.catalog.queued()?.into_iter().filter(|j| j.due_at >= oldest).map(|j| j.text).collect();
        let mut queued = 0;
        for id in marked {
            if !waiting.contains(&due::sweep_text(id)) {
                due::queue_sweep(self.catalog, id, Duration::from_secs(1))?;
                queued += 1;
            }
        }
        Ok(queued)
    }

    /// Looks at data that was skipped again: a mapping or a resource may have changed since. Gives how many
    /// collections were marked. One such look waits in the queue for as long as any data is skipped.
    pub fn sweep_skipped(&self) -> Result<usize, CatalogError> {
        let skipped = self.skipped()?;
        if skipped.is_empty() {
            return Ok(0);
        }
        if !self.config.recheck_skipped.is_zero() {
            due::ensure_sweep_skipped(self.catalog, self.clock.now(), self.config.recheck_skipped)?;
        }
        let Some(user) = self.catalog.client() else {
            return Ok(0);
        };
        let mut marked = 0;
        for id in skipped {
            let Some(collection) = self.catalog.collection_path(id)? else { continue };
            if self.watching(&collection)?.is_of_interest() {
                let (due, now) = (&self.config.attributes.due, self.clock.now());
                let new = due::mark(self.catalog, due, &collection, &user, now, Duration::from_secs(1))?;
                marked += usize::from(new == due::Marked::New);
            }
        }
        Ok(marked)
    }

    /// The collections with data that was skipped.
    fn skipped(&self) -> Result<BTreeSet<CollectionId>, CatalogError> {
        self.catalog.collections_with(&self.config.attributes.state, State::Skipped.as_str())
    }

    /// After a sweep that skipped data: makes sure that somebody looks at it again.
    fn ensure_recheck(&self, report: &Report) -> Result<(), CatalogError> {
        if report.skipped == 0 || self.config.recheck_skipped.is_zero() {
            return Ok(());
        }
        due::ensure_sweep_skipped(self.catalog, self.clock.now(), self.config.recheck_skipped)
    }

    fn watching(&self, collection: &LogicalPath) -> Result<Watching, CatalogError> {
        watch::watching(self.config, self.catalog, collection)
    }

    fn is_due(&self, id: CollectionId) -> Result<bool, CatalogError> {
        let names = &self.config.attributes;
        Ok(!self.catalog.marks(id, &names.due)?.is_empty()
            || !self.catalog.marks(id, &names.due_tree)?.is_empty())
    }

    /// Marks every collection below one whose whole tree is due. While that is done the mark says so, and not whose
    /// it is: an event in the meantime sets it anew, and a sweep that dies over it leaves it behind.
    fn spread(&self, id: CollectionId, collection: &LogicalPath) -> Result<(), CatalogError> {
        let names = &self.config.attributes;
        let marks = self.catalog.marks(id, &names.due_tree)?;
        let Some(user) = marks.iter().find(|m| *m != SPREADING).or(marks.first()).cloned() else {
            return Ok(());
        };
        for mark in marks.iter().filter(|m| *m != SPREADING) {
            self.catalog.change_mark(collection, &names.due_tree, mark, SPREADING)?;
        }
        for below in self.catalog.subcollections(collection)? {
            let Some(path) = self.catalog.collection_path(below)? else { continue };
            if self.watching(&path)?.is_of_interest() && self.catalog.set_mark(&path, &names.due, &user)? {
                due::queue_sweep(self.catalog, below, Duration::from_secs(1))?;
            }
        }
        self.catalog.remove_mark(collection, &names.due_tree, SPREADING)
    }

    /// Takes a collection, if there is something to do in it: it is due, or an earlier sweep died in it (which
    /// may have removed the due mark already).
    ///
    /// Every taker looks once more after its own lock is set and steps back if there is another: of two that
    /// overlap at least one sees the other, so never do both go on.
    fn take(&self, id: CollectionId, collection: &LogicalPath, is_due: bool) -> Result<Taken, CatalogError> {
        let attribute = &self.config.attributes.sweeping;
        let (expiry, now) = (self.config.sweep_expiry.as_secs(), self.clock.now());
        let marks = self.catalog.marks(id, attribute)?;
        let locks: Vec<String> = marks.iter().filter(|m| is_lock(m)).cloned().collect();
        let last_sign = marks.iter().filter_map(|m| sign_of_life(m)).max();
        let others = |wait| Ok(Taken::Others { for_at_most: Duration::from_secs(wait) });
        let lock = match (locks.is_empty(), last_sign) {
            (true, _) if !is_due => return Ok(Taken::NothingToDo),
            (true, _) => SWEEPING.to_owned(),
            (false, None) => {
                // Taken a moment ago, or by one that died at once: its time runs from now.
                self.catalog.set_mark(collection, attribute, &format!("{ALIVE}{now}"))?;
                return others(expiry + 1);
            }
            (false, Some(sign)) if sign.saturating_add(expiry) >= now => {
                return others(sign.saturating_add(expiry).saturating_sub(now).min(expiry) + 1);
            }
            (false, Some(sign)) => {
                log::warn!("act=take collection={collection} why=\"an earlier sweep died\"");
                format!("{SWEEPING} after {sign}")
            }
        };
        if !self.catalog.set_mark(collection, attribute, &lock)? {
            return others(1);
        }
        let hold = Hold { lock, inherited: locks, alive: Cell::new(now) };
        self.catalog.set_mark(collection, attribute, &format!("{ALIVE}{now}"))?;
        if self.is_contested(id, &hold)? {
            self.catalog.remove_mark(collection, attribute, &hold.lock)?;
            return others(1);
        }
        Ok(Taken::Ours(hold))
    }

    /// Whether somebody else has taken the collection too.
    fn is_contested(&self, id: CollectionId, hold: &Hold) -> Result<bool, CatalogError> {
        let marks = self.catalog.marks(id, &self.config.attributes.sweeping)?;
        Ok(marks.iter().any(|m| is_lock(m) && *m != hold.lock && !hold.inherited.contains(m)))
    }

    /// Gives the collection back. If another has taken it over, only what is ours goes.
    fn release(&self, id: CollectionId, collection: &LogicalPath, hold: &Hold) -> Result<(), CatalogError> {
        let attribute = &self.config.attributes.sweeping;
        let contested = self.is_contested(id, hold)?;
        // The signs of life go first: a lock without one is given a full time by whoever finds it.
        let mut marks = self.catalog.marks(id, attribute)?;
        marks.sort_by_key(|m| is_lock(m));
        for mark in marks.iter().filter(|m| !contested || **m == hold.lock) {
            self.catalog.remove_mark(collection, attribute, mark)?;
        }
        Ok(())
    }

    /// Releases the collection and leaves a due mark and a job where something is left to do.
    fn finish(
        &self,
        id: CollectionId,
        collection: &LogicalPath,
        hold: &Hold,
        swept: Result<Report, CatalogError>,
        user: Option<&str>,
    ) -> Result<Report, CatalogError> {
        let names = &self.config.attributes;
        let again_in = match &swept {
            Ok(report) => report.again_in,
            Err(_) => Some(Duration::from_secs(60)),
        };
        if again_in.is_some() {
            let client = self.catalog.client().map(|c| c.to_string());
            let user = user.or(client.as_deref()).unwrap_or("unknown#unknown");
            self.catalog.set_mark(collection, &names.due, user)?;
        }
        self.release(id, collection, hold)?;
        match again_in {
            Some(wait) => due::queue_sweep(self.catalog, id, wait)?,
            // An event came while we were at work, and its sweep may have found the collection taken.
            None if self.is_due(id)? => {
                let quiet = self.watching(collection)?.quiet_period(Duration::ZERO);
                due::queue_sweep(self.catalog, id, quiet)?;
            }
            None => {}
        }
        swept
    }

    /// What is to be done in a collection; `None` if it is not watched.
    fn plan(&self, id: CollectionId, collection: &LogicalPath) -> Result<Option<Plan>, CatalogError> {
        let Watching::Yes { rules, root } = self.watching(collection)? else {
            return Ok(None);
        };
        Plan::read(self.config, self.catalog, id, self.clock.now(), &rules, root).map(Some)
    }

    fn sweep_taken(
        &self,
        id: CollectionId,
        collection: &LogicalPath,
        hold: &Hold,
    ) -> Result<Report, CatalogError> {
        let names = &self.config.attributes;
        for mark in self.catalog.marks(id, &names.due)? {
            self.catalog.remove_mark(collection, &names.due, &mark)?;
        }
        self.spread(id, collection)?;
        let Some(plan) = self.plan(id, collection)? else {
            return Ok(Report::default()); // no longer watched
        };
        let mut report = Report { again_in: plan.unsettled_for, ..Report::default() };
        if plan.objects.is_empty() {
            return Ok(report);
        }
        let mut run = Run { sweeper: self, id, collection, hold, report: &mut report };
        run.carry_out(plan)?;
        self.ensure_recheck(&report)?;
        log::info!(
            "act=sweep collection={collection} imported={} failed={} skipped={} pending={}",
            report.imported,
            report.failed,
            report.skipped,
            report.pending
        );
        Ok(report)
    }
}

/// One sweep at work on its plan.
struct Run<'a> {
    sweeper: &'a Sweeper<'a>,
    id: CollectionId,
    collection: &'a LogicalPath,
    hold: &'a Hold,
    report: &'a mut Report,
}

/// What a file's record needs beside its outcome.
struct About {
    path: LogicalPath,
    record: Record,
    version: Version,
    attempts: u32,
    /// Whom the import runs as, and why; `None` where there is no import.
    mapping: Option<Mapping>,
}

impl Run<'_> {
    fn carry_out(&mut self, plan: Plan) -> Result<(), CatalogError> {
        let config = self.sweeper.config;
        let mut batches: BTreeMap<(OmeroIdentity, Target, Option<Target>), Vec<BatchFile>> = BTreeMap::new();
        let mut about: HashMap<DataId, About> = HashMap::new();
        let mut room = config.max_files_per_sweep;
        let mut staging = false;
        for object in plan.objects {
            let attempts = object.record.attempts(&config.attributes);
            let Planned { path, record, version, .. } = object;
            let mut this = About { path, record, version, attempts, mapping: None };
            match object.verdict {
                Verdict::Say(entry @ Entry::Pending(_)) => {
                    this.attempts += 1;
                    self.write(&this, &entry, this.attempts, None)?;
                    self.try_again(this.attempts);
                }
                Verdict::Say(entry) => self.write(&this, &entry, attempts, None)?,
                Verdict::Stage(resource) => {
                    staging = true;
                    // What an earlier try came to is not written over.
                    if this.record.state(&config.attributes) == Some(State::Pending) {
                        self.report.pending += 1;
                    } else {
                        self.write(&this, &Entry::Pending(stage::waits_for(&resource)), attempts, None)?;
                    }
                    self.try_again(attempts + 1);
                }
                Verdict::Import(_) if room == 0 => {
                    self.report.again_in = Some(Duration::from_secs(1));
                }
                Verdict::Import(import) => {
                    room -= 1;
                    let key = (import.mapping.identity.clone(), import.target, import.plate_target);
                    batches.entry(key).or_default().push(BatchFile {
                        data_id: object.data_id,
                        logical_path: this.path.clone(),
                        importer_path: import.importer_path,
                        version: this.version,
                        checksum: import.checksum,
                        owner: import.owner,
                    });
                    this.mapping = Some(import.mapping);
                    about.insert(object.data_id, this);
                }
            }
            self.alive()?;
        }
        if staging {
            due::ensure_stage(self.sweeper.catalog, self.id, self.sweeper.clock.now())?;
        }
        for ((identity, target, plate_target), files) in batches {
            self.import(&Batch { identity, target, plate_target, files }, &mut about)?;
        }
        Ok(())
    }

    fn import(&mut self, batch: &Batch, about: &mut HashMap<DataId, About>) -> Result<(), CatalogError> {
        let Some(importer) = self.sweeper.importer else {
            return Ok(());
        };
        if self.sweeper.is_contested(self.id, self.hold)? {
            // We were held up for so long that another took over; the files are its now.
            log::warn!("act=import collection={} why=\"taken over by another sweep\"", self.collection);
            self.report.again_in = Some(self.sweeper.config.sweep_expiry);
            return Ok(());
        }
        for file in &batch.files {
            if let Some(this) = about.get_mut(&file.data_id) {
                this.attempts += 1;
                let triples = self.write(this, &Entry::Importing, this.attempts, Some(&batch.identity));
                this.record.triples =
                    triples.map(|()| self.triples(this, &Entry::Importing, Some(&batch.identity)))?;
            }
            self.alive()?;
        }
        let mut lost = None;
        let outcomes = importer.import(batch, self.sweeper.clock.now(), &mut || {
            if let Err(error) = self.alive() {
                lost = Some(error);
            }
        });
        if let Some(error) = lost {
            log::warn!("act=renew collection={} failed=\"{error}\"", self.collection);
        }
        let entries: Vec<Entry> = match outcomes {
            Ok(outcomes) => outcomes.into_iter().map(entry_of).collect(),
            Err(ImporterError::WillPass(reason)) => vec![Entry::Pending(reason); batch.files.len()],
            Err(ImporterError::Refused(reason)) => vec![Entry::Skipped(reason); batch.files.len()],
        };
        for (file, entry) in batch.files.iter().zip(entries) {
            if let Some(this) = about.get(&file.data_id) {
                self.write(this, &entry, this.attempts, Some(&batch.identity))?;
                if matches!(entry, Entry::Pending(_)) {
                    self.try_again(this.attempts);
                }
            }
            self.alive()?;
        }
        Ok(())
    }

    fn try_again(&mut self, attempts: u32) {
        let wait = retry_wait(self.sweeper.config.retry_wait, attempts);
        self.report.again_in = Some(self.report.again_in.map_or(wait, |w| w.max(wait)));
    }

    fn triples(&self, this: &About, entry: &Entry, who: Option<&OmeroIdentity>) -> Vec<record::Triple> {
        let names = &self.sweeper.config.attributes;
        let server = self.sweeper.importer.map_or("", |i| i.server());
        let mut triples = record::triples(names, entry, this.attempts, Some(this.version), server, who);
        // By which source, and for whom: a service account's data is somebody else's.
        let by =
            this.mapping.as_ref().map(|m| Triple::new(&names.mapped_by, record::sentence(&m.by), &m.person));
        triples.extend(by);
        triples
    }

    /// Writes a record, if it says anything new. A data object that is gone is no error.
    fn write(
        &mut self,
        this: &About,
        entry: &Entry,
        attempts: u32,
        who: Option<&OmeroIdentity>,
    ) -> Result<(), CatalogError> {
        match entry {
            Entry::Imported(_) => self.report.imported += 1,
            Entry::Failed(_) => self.report.failed += 1,
            Entry::Skipped(_) => self.report.skipped += 1,
            Entry::Pending(_) => self.report.pending += 1,
            Entry::Importing | Entry::Stale(_) => {}
        }
        debug_assert_eq!(attempts, this.attempts);
        let mut triples = self.triples(this, entry, who);
        if matches!(entry, Entry::Stale(_)) {
            // The images in OMERO are still those of the old version: keep what names them.
            let names = &self.sweeper.config.attributes;
            let replaced = [&names.state, &names.reason];
            triples.retain(|t| replaced.contains(&&t.attribute));
            triples.extend(this.record.triples.iter().filter(|t| !replaced.contains(&&t.attribute)).cloned());
        }
        match self.sweeper.catalog.replace(&this.path, &this.record.triples, &triples) {
            Err(CatalogError::Call { code, .. }) if NOT_THERE.contains(&code) => {
                log::info!("act=record path={} why=\"gone before its record\"", this.path);
                Ok(())
            }
            other => other,
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

fn is_lock(mark: &str) -> bool {
    !mark.starts_with(ALIVE)
}

fn sign_of_life(mark: &str) -> Option<UnixTime> {
    mark.strip_prefix(ALIVE)?.parse().ok()
}

/// `OBJ_PATH_DOES_NOT_EXIST`, `CAT_UNKNOWN_FILE`, `CAT_INVALID_ARGUMENT`-like answers to a path that is gone:
/// the atomic call says "Entity does not exist" with -130000.
const NOT_THERE: [i64; 4] = [-130_000, -358_000, -814_000, -817_000];

fn entry_of(outcome: FileOutcome) -> Entry {
    match outcome {
        FileOutcome::Imported(imported) => Entry::Imported(imported),
        FileOutcome::Failed(reason) => Entry::Failed(reason),
        FileOutcome::Postponed(reason) => Entry::Pending(reason),
    }
}

/// The wait before the next try: doubling with every attempt, an hour at most.
fn retry_wait(first: Duration, attempts: u32) -> Duration {
    let factor = 1_u32 << attempts.saturating_sub(1).min(16);
    first.saturating_mul(factor).min(LONGEST_RETRY.max(first))
}

#[cfg(test)]
mod tests;
