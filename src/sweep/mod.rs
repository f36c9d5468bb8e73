//! One short job that looks at one due collection and decides what to import: what is there, is it settled,
//! whose is it, can it be seen, where does it go; then batches, the importer, and the records.
//!
//! The mark's protocol (no lost wake-up): take the collection (`sweeping`, a test-and-set), remove `due`, and
//! only then read the catalog. An event after the reading sets `due` anew. At the end release the collection,
//! and look once more for `due`: an event's sweep that found the collection taken has left it to us. An agent may
//! remember a mark that is removed here, so there is one more sweep when none can any longer.

mod collect;
mod explain;
mod notice;
mod plan;
mod run;
mod scribe;
mod spread;
mod stage;
mod strays;
mod survey;
mod unit;
mod usable;
mod watched;

pub use collect::{Bookmarks, Collected};
pub use explain::{Explanation, Outlook};
pub use plan::{Decider, Import, Object, Planned, Verdict};
pub use survey::Survey;

use crate::catalog::{Catalog, CatalogError, UnixTime, Which};
use crate::due;
use crate::watch;
use irods_omero_config::Config;
use irods_omero_importer::{Importing, Subject};
use irods_omero_model::clock::Clock;
use irods_omero_model::names::{CollectionId, DataId, LogicalPath};
use irods_omero_model::record::{self, Entry, State};
use irods_omero_model::watch::{Marker, Place, Tag, Watching};
use run::Run;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;
use survey::Reading;
use unit::Unit;
use watched::Scope;

/// The value of the `sweeping` mark that is the lock. It is the same for all who compete for a free collection,
/// as the test-and-set wants it. Who takes over from a dead sweep adds when that one gave its last sign of life,
/// so that of several heirs of the same dead sweep only one succeeds.
const SWEEPING: &str = "sweep";

/// The value of the `sweeping` mark that is the sign of life: this and the time, by the sweeping host's clock.
const ALIVE: &str = "alive ";

/// The value of a due mark that is no event's: a sweep has removed the marks, but an agent may remember one still.
const LAST_LOOK: &str = "last look";

/// When there are more marks than sweeps may be queued, how soon the rest is looked for.
const NEXT_LOOK_WHEN_FULL: Duration = Duration::from_secs(30);

/// How many data objects are read again at a time to be decided on.
const PAGE: usize = 1_000;

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
    /// Data objects that changed after their import, or came too late for it.
    pub stale: usize,
    /// Data objects that went before their import.
    pub gone: usize,
    /// When the collection is looked at again; `None` if it is done.
    pub again_in: Option<Duration>,
}

impl Report {
    /// Notes that there is something to look at again by then.
    fn again(&mut self, wait: Duration) {
        self.again_in = Some(self.again_in.map_or(wait, |w| w.min(wait)));
    }

    /// Adds what another did.
    fn add(&mut self, other: &Self) {
        self.imported += other.imported;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.pending += other.pending;
        self.stale += other.stale;
        self.gone += other.gone;
        if let Some(wait) = other.again_in {
            self.again(wait);
        }
    }

    fn count(&mut self, entry: &Entry) {
        match entry {
            Entry::Imported(_) => self.imported += 1,
            Entry::Failed(_) => self.failed += 1,
            Entry::Skipped(_) => self.skipped += 1,
            Entry::Pending(_) => self.pending += 1,
            Entry::Stale(_) | Entry::Late(_) => self.stale += 1,
            Entry::Gone(_) => self.gone += 1,
            Entry::Importing | Entry::Waiting(_) => {}
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { imported, failed, skipped, pending, stale, gone, again_in: _ } = self;
        write!(
            f,
            "imported={imported} failed={failed} skipped={skipped} pending={pending} stale={stale} gone={gone}"
        )
    }
}

/// A collection that is ours for now: the lock we set, and the locks of dead sweeps beside it.
struct Hold {
    lock: String,
    inherited: Vec<String>,
    /// The time in our last sign of life.
    alive: Cell<UnixTime>,
    /// Whether a mark was removed that an agent may remember.
    removed_mark: Cell<bool>,
}

/// Whose a collection is after the test-and-set.
enum Taken {
    Ours(Hold),
    Others { for_at_most: Duration },
}

/// What is to be done with a directory that is one image.
enum UnitPlan {
    /// Nothing, or nothing new is to be said.
    Nothing,
    /// It is not complete: for how long at least, and which marker it waits for.
    Unsettled(Duration, Option<String>),
    /// It has been decided on.
    Settled(Box<Planned>),
}

/// Sweeps collections.
pub struct Sweeper<'a> {
    /// The plugin's configuration.
    pub config: &'a Config,
    /// The catalog.
    pub catalog: &'a dyn Catalog,
    /// What imports; `None` where the configuration names none.
    pub importing: Option<Importing<'a>>,
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
        // Should we die, somebody has to find what is left.
        due::ensure_sweep_all(self.catalog, self.clock.now(), self.config.sweep_expiry)?;
        let hold = match self.take(id, &collection)? {
            Taken::Ours(hold) => hold,
            Taken::Others { for_at_most } => {
                // Whoever has it looks for the due mark again when done. Should it be dead, this look finds out.
                due::queue_sweep(self.catalog, id, for_at_most)?;
                return Ok(Report::default());
            }
        };
        let swept = self.sweep_taken(id, &collection, &hold);
        let user = due.iter().map(String::as_str).find(|mark| *mark != LAST_LOOK);
        self.finish(id, &collection, &hold, swept, user)
    }

    /// Queues a sweep for every marked collection that has none waiting, and itself once more if there is any or it
    /// is to go on for ever ([`due::is_recurring`]). Gives how many were queued. This is what finds the marks whose
    /// sweep died with its process.
    pub fn sweep_all(&self) -> Result<usize, CatalogError> {
        let names = &self.config.attributes;
        let expiry = self.config.sweep_expiry;
        self.mark_strays()?;
        if let Err(error) = self.notice() {
            log::error!("act=notice failed=\"{error}\"");
        }
        let marked = self.catalog.marked(&[&names.due, &names.due_tree, &names.sweeping])?;
        let is_with_agents = self.is_any_with_an_agent()?;
        if is_with_agents {
            self.ensure_collect()?;
        }
        if marked.is_empty() && !is_with_agents && !due::is_recurring(self.catalog, names)? {
            return Ok(0);
        }
        let queued = self.catalog.queued()?;
        let oldest = self.clock.now().saturating_sub(expiry.as_secs());
        let waiting: BTreeSet<&str> =
            queued.iter().filter(|j| j.due_at >= oldest).map(|j| j.text.as_str()).collect();
        let without: Vec<CollectionId> =
            marked.into_iter().filter(|id| !waiting.contains(due::sweep_text(*id).as_str())).collect();
        let sweeps = waiting.iter().filter(|text| due::is_sweep(text)).count();
        let room = self.config.max_queued_sweeps.saturating_sub(sweeps);
        // First of all the next look, which comes sooner where there is no room for all.
        let interval = self.config.sweep_all_interval;
        let next = if without.len() > room { interval.min(NEXT_LOOK_WHEN_FULL) } else { interval };
        due::ensure_sweep_all(self.catalog, self.clock.now(), next)?;
        if !self.config.recheck_skipped.is_zero() && !self.skipped()?.is_empty() {
            // What changed up to two looks ago: the look before may have come just too early to see it.
            let since = self.clock.now().saturating_sub(2 * interval.as_secs());
            if self.config.identities.changed_at().is_some_and(|changed| changed >= since) {
                due::queue_sweep_skipped(self.catalog, self.clock.now())?;
            }
            due::ensure_sweep_skipped(self.catalog, self.clock.now(), self.config.recheck_skipped)?;
        }
        let mut queued = 0;
        for id in without.into_iter().take(room) {
            due::queue_sweep(self.catalog, id, Duration::from_secs(1))?;
            queued += 1;
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
            // Also where nothing is watched any more: then the sweep says that it is gone.
            let (due, now) = (&self.config.attributes.due, self.clock.now());
            let new = due::mark(self.catalog, due, &collection, &user, now, Duration::from_secs(1))?;
            marked += usize::from(new == due::Marked::New);
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

    /// Takes a collection. Whether it is due does not matter: a sweep that died may have removed the mark already,
    /// and the last look after a mark comes without one.
    ///
    /// Every taker looks once more after its own lock is set and steps back if there is another: of two that
    /// overlap at least one sees the other, so never do both go on.
    fn take(&self, id: CollectionId, collection: &LogicalPath) -> Result<Taken, CatalogError> {
        let attribute = &self.config.attributes.sweeping;
        let (expiry, now) = (self.config.sweep_expiry.as_secs(), self.clock.now());
        let marks = self.catalog.marks(id, attribute)?;
        let locks: Vec<String> = marks.iter().filter(|m| is_lock(m)).cloned().collect();
        let last_sign = marks.iter().filter_map(|m| sign_of_life(m)).max();
        let others = |wait| Ok(Taken::Others { for_at_most: Duration::from_secs(wait) });
        let lock = match (locks.is_empty(), last_sign) {
            (true, _) => SWEEPING.to_owned(),
            (false, None) => {
                // Taken a moment ago, or by one that died at once: its time runs from now.
                self.catalog.set_mark(collection, attribute, &format!("{ALIVE}{now}"))?;
                return others(expiry + 1);
            }
            (false, Some(sign)) if sign > now.saturating_add(expiry) => {
                // By a clock that is wrong. If it lives it says so again; if not, its time runs from now.
                let said = format!("{ALIVE}{sign}");
                self.catalog.change_mark(collection, attribute, &said, &format!("{ALIVE}{now}"))?;
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
        let hold = Hold { lock, inherited: locks, alive: Cell::new(now), removed_mark: Cell::new(false) };
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
        let last_look = if again_in.is_none() && hold.removed_mark.get() {
            due::forgotten_after(self.watching(collection)?.quiet_period(self.config.defaults.quiet_period))
        } else {
            None
        };
        if again_in.is_some() {
            let client = self.catalog.client().map(|c| c.to_string());
            let user = user.or(client.as_deref()).unwrap_or("unknown#unknown");
            self.catalog.set_mark(collection, &names.due, user)?;
        } else if last_look.is_some() {
            self.catalog.set_mark(collection, &names.due, LAST_LOOK)?;
        }
        self.release(id, collection, hold)?;
        match again_in.or(last_look) {
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

    fn sweep_taken(
        &self,
        id: CollectionId,
        collection: &LogicalPath,
        hold: &Hold,
    ) -> Result<Report, CatalogError> {
        let names = &self.config.attributes;
        for mark in self.catalog.marks(id, &names.due)? {
            if mark != LAST_LOOK && !spread::is_of_tree(&mark) {
                hold.removed_mark.set(true);
            }
            self.catalog.remove_mark(collection, &names.due, &mark)?;
        }
        let mut report = Report::default();
        if let Some(wait) = self.spread(id, collection)? {
            report.again(wait);
        }
        match self.config.unit_of(collection.as_bytes()).map(LogicalPath::parse) {
            Some(Ok(unit)) if unit == *collection => self.sweep_unit(id, collection, hold, &mut report)?,
            Some(Ok(unit)) => self.mark_unit(&unit)?,
            Some(Err(_)) | None => self.sweep_objects(id, collection, hold, &mut report)?,
        }
        self.ensure_recheck(&report)?;
        if report != Report::default() {
            log::info!("act=sweep collection={collection} {report}");
        }
        Ok(report)
    }

    /// The verdicts on the data objects directly in a collection, one page after the other for as long as `visit`
    /// wants more.
    fn decide(
        &self,
        id: CollectionId,
        collection: &LogicalPath,
        scope: &Scope,
        survey: &Survey,
        visit: &mut dyn FnMut(Vec<Planned>) -> Result<bool, CatalogError>,
    ) -> Result<(), CatalogError> {
        let todo: Vec<DataId> = survey.todo.iter().copied().collect();
        let place = Place { collection, root: scope.root };
        let mut decider = Decider::new(self.config, self.catalog, scope, survey, place);
        for page in todo.chunks(PAGE) {
            if !visit(decider.page(id, page)?)? {
                break;
            }
        }
        Ok(())
    }

    /// Reads what is directly in a collection.
    fn survey(
        &self,
        id: CollectionId,
        collection: &LogicalPath,
        scope: &Scope,
    ) -> Result<Survey, CatalogError> {
        let (config, catalog, now) = (self.config, self.catalog, self.clock.now());
        Reading { config, catalog, id, collection, scope, now }.survey()
    }

    /// Imports the data objects directly in a collection.
    fn sweep_objects(
        &self,
        id: CollectionId,
        collection: &LogicalPath,
        hold: &Hold,
        report: &mut Report,
    ) -> Result<(), CatalogError> {
        let Some(scope) = self.scope(id, collection)? else {
            return self.let_go(id, collection, &|_| true, report);
        };
        let survey = self.survey(id, collection, &scope)?;
        let is_left = |id: DataId| match survey.tagged.get(&id) {
            Some(Ok(tag)) => *tag == Tag::Off,
            Some(Err(_)) => false,
            None => !scope.covers_all,
        };
        if !scope.covers_all || survey.tagged.values().any(|tag| *tag == Ok(Tag::Off)) {
            self.let_go(id, collection, &is_left, report)?;
        }
        if let Some(wait) = survey.again_in {
            report.again(wait);
        }
        let mut run = Run::new(self, id, collection, hold, report, survey.may_join);
        self.decide(id, collection, &scope, &survey, &mut |page| {
            page.into_iter().try_for_each(|planned| run.take(planned))?;
            if run.is_full() {
                run.leave_rest();
            }
            Ok(!run.is_full())
        })?;
        run.import_all()
    }

    /// Imports a directory that is one image.
    fn sweep_unit(
        &self,
        id: CollectionId,
        collection: &LogicalPath,
        hold: &Hold,
        report: &mut Report,
    ) -> Result<(), CatalogError> {
        let Some(scope) = self.scope(id, collection)?.filter(|s| s.covers_all) else {
            return self.let_unit_go(id, collection, report);
        };
        match self.plan_unit(id, collection, &scope)? {
            UnitPlan::Nothing => Ok(()),
            UnitPlan::Unsettled(wait, _) => {
                report.again(wait);
                Ok(())
            }
            UnitPlan::Settled(planned) => {
                let mut run = Run::new(self, id, collection, hold, report, false);
                run.take(*planned)?;
                run.import_all()
            }
        }
    }

    /// What is to be done with a directory that is one image.
    fn plan_unit(
        &self,
        id: CollectionId,
        collection: &LogicalPath,
        scope: &Scope,
    ) -> Result<UnitPlan, CatalogError> {
        let unit = Unit::read(self.catalog, id, collection)?;
        if unit.newest == 0 {
            return Ok(UnitPlan::Nothing); // nothing in it yet
        }
        let marker = match &scope.rules.complete_marker {
            Some(marker) if !self.is_marked(id, collection, scope)? => Some(marker.describe()),
            Some(_) | None => None,
        };
        if let Some(wait) = unit.unsettled(self.clock.now(), scope, self.config.max_wait, marker.is_some()) {
            return Ok(UnitPlan::Unsettled(wait, marker));
        }
        let record = self.catalog.collection_record(id)?;
        if record.ignored_by(&self.config.attributes).is_some() {
            return Ok(UnitPlan::Nothing);
        }
        let survey = Survey::default();
        // It lies in the collection above it, as a file would, unless it is itself what is watched.
        let parent = collection.parent().filter(|p| p.elements().count() >= scope.root);
        let place = Place { collection: parent.as_ref().unwrap_or(collection), root: scope.root };
        let subject = Subject::Collection(id);
        let planned = match unit.object {
            Ok(object) => Decider::new(self.config, self.catalog, scope, &survey, place)
                .planned(subject, collection, &object, record)?,
            Err(why) => {
                let version = record::Version { modify_time: unit.newest, size: 0 };
                let said = record.reason(&self.config.attributes) == Some(record::sentence(&why).as_str());
                let verdict = Verdict::Say(Entry::Failed(why));
                (!said).then(|| Planned {
                    subject,
                    path: collection.clone(),
                    version,
                    proof: None,
                    record,
                    attempts: 0,
                    verdict,
                })
            }
        };
        Ok(planned.map_or(UnitPlan::Nothing, |planned| UnitPlan::Settled(Box::new(planned))))
    }

    /// Whether the marker that a directory format waits for is there: an AVU on it or above it, or a file in it.
    fn is_marked(
        &self,
        id: CollectionId,
        collection: &LogicalPath,
        scope: &Scope,
    ) -> Result<bool, CatalogError> {
        match &scope.rules.complete_marker {
            None => Ok(true),
            Some(Marker::Avu(attribute)) => {
                Ok(self.catalog.nearest_values(collection, attribute, scope.root)?.is_some())
            }
            Some(Marker::File(pattern)) => {
                let mut found = false;
                self.catalog.replicas(id, Which::All, &mut |r| found |= pattern.fits(&r.name))?;
                Ok(found)
            }
        }
    }

    /// Marks the directory of a format that a collection lies in.
    fn mark_unit(&self, unit: &LogicalPath) -> Result<(), CatalogError> {
        let watching = self.watching(unit)?;
        if let Some(user) = self.catalog.client().filter(|_| watching.is_of_interest()) {
            let quiet = watching.quiet_period(self.config.defaults.quiet_period);
            let (due, now) = (&self.config.attributes.due, self.clock.now());
            due::mark(self.catalog, due, unit, &user, now, quiet)?;
        }
        Ok(())
    }
}

fn is_lock(mark: &str) -> bool {
    !mark.starts_with(ALIVE)
}

/// The time in a mark that is a sweep's sign of life.
pub fn sign_of_life(mark: &str) -> Option<UnixTime> {
    mark.strip_prefix(ALIVE)?.parse().ok()
}

#[cfg(test)]
mod tests;
