//! One short job that looks at one due collection and decides what to import: what is there, is it settled,
//! whose is it, can it be seen, where does it go; then batches, the importer, and the records.
//!
//! The mark's protocol (no lost wake-up): take the collection (see [`lock`]), remove the marks, and only then read the
//! catalog. An event after the reading sets its mark anew. At the end release the collection, and look once more for a
//! mark: an event's sweep that found the collection taken has left it to us.

mod backlog;
mod collect;
mod explain;
mod follow;
pub mod lock;
mod look;
mod members;
mod mend;
mod notice;
mod plan;
mod rested;
mod run;
mod scribe;
mod spread;
mod stage;
mod strays;
mod survey;
mod unit;
mod usable;
mod watched;

pub use collect::Collected;
pub use explain::{Explanation, Outlook};
pub use mend::{Awaited, Pointed};
pub use plan::{Decider, Import, Object, Plan, Planned, Verdict};
pub use survey::Survey;

use crate::catalog::{Catalog, CatalogError, LockRow, UnixTime, Which};
use crate::due;
use crate::watch;
use irods_omero_config::Config;
use irods_omero_importer::{Importing, Subject};
use irods_omero_model::clock::Clock;
use irods_omero_model::decide::{Quiet, Recorded, Wait};
use irods_omero_model::names::{CollectionId, DataId, LogicalPath};
use irods_omero_model::record::{self, Cause, Entry, State};
use irods_omero_model::watch::{Marker, Place, Tag, Watching};
use lock::{Lock, Taken};
use look::Look;
use run::Run;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;
use survey::Reading;
use unit::Unit;
use watched::Scope;

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
    /// Imported data that lies elsewhere now, where OMERO sees it again.
    pub followed: usize,
    /// When the collection is looked at again; `None` if it is done.
    pub again_in: Option<Duration>,
    /// Nothing was done, because its files may belong to sets of other collections.
    pub is_held: bool,
}

impl Report {
    /// Notes that there is something to look at again by then.
    fn again(&mut self, wait: Duration) {
        self.again_in = Some(self.again_in.map_or(wait, |w| w.min(wait)));
    }

    /// Whether it has nothing to tell.
    fn is_empty(&self) -> bool {
        let Self { imported, failed, skipped, pending, stale, gone, followed, again_in: _, is_held: _ } =
            self;
        imported + failed + skipped + pending + stale + gone + followed == 0
    }

    /// Adds what another did.
    fn add(&mut self, other: &Self) {
        self.imported += other.imported;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.pending += other.pending;
        self.stale += other.stale;
        self.gone += other.gone;
        self.followed += other.followed;
        if let Some(wait) = other.again_in {
            self.again(wait);
        }
    }

    fn count(&mut self, entry: &Entry) {
        match entry {
            Entry::Imported(_) => self.imported += 1,
            Entry::Failed(..) | Entry::Refused { .. } => self.failed += 1,
            Entry::Skipped(..) => self.skipped += 1,
            Entry::Pending(_) => self.pending += 1,
            Entry::Stale(..) | Entry::Late(_) => self.stale += 1,
            Entry::Gone(_) => self.gone += 1,
            Entry::Importing | Entry::Waiting(_) => {}
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { imported, failed, skipped, pending, stale, gone, followed, again_in: _, is_held: _ } =
            self;
        write!(
            f,
            "imported={imported} failed={failed} skipped={skipped} pending={pending} stale={stale} gone={gone} \
             followed={followed}"
        )
    }
}

/// A collection that is ours for as long as nobody takes it over.
struct Hold {
    lock: RefCell<Lock>,
    /// The time of our last sign of life.
    alive: Cell<UnixTime>,
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
        let Some(collection) = self.catalog.collection_path(id)? else {
            return Ok(Report::default()); // removed since: nothing to look at
        };
        // Should we die, somebody has to find what is left.
        let now = self.clock.now();
        due::ensure_sweep_all(self.catalog, &self.catalog.jobs()?, now, self.config.sweep_expiry)?;
        let hold = match self.take(id, &collection)? {
            Ok(hold) => hold,
            Err(for_at_most) => {
                // Whoever has it looks for the mark again when done. Should it be dead, this look finds out.
                due::bring_forward(self.catalog, id, now, for_at_most, self.limits())?;
                return Ok(Report::default());
            }
        };
        let swept = self.sweep_taken(id, &collection, &hold);
        self.finish(id, &collection, &hold, swept)
    }

    /// Queues a sweep for every marked collection that has none waiting, and itself once more if there is any or it
    /// is to go on for ever ([`due::is_recurring`]). Gives how many were queued. This is what finds the marks whose
    /// sweep died with its process.
    ///
    /// Two never overlap. What fails in one part is told and does not keep the others from being done.
    pub fn sweep_all(&self) -> Result<usize, CatalogError> {
        let now = self.clock.now();
        let lock = match Lock::take(self.catalog, due::SWEEP_ALL_LOCK, now, self.config.sweep_expiry)? {
            Taken::Ours(lock, _) => lock,
            // Whoever is at it looks again by itself.
            Taken::Others(_) => {
                let within = self.config.sweep_all_interval;
                due::ensure_sweep_all(self.catalog, &self.catalog.jobs()?, now, within)?;
                return Ok(0);
            }
        };
        let hold = Hold { lock: RefCell::new(lock), alive: Cell::new(now) };
        let looked = self.look_at_all(&hold);
        hold.lock.borrow().release(self.catalog)?;
        looked
    }

    fn look_at_all(&self, hold: &Hold) -> Result<usize, CatalogError> {
        let names = &self.config.attributes;
        let mut look = Look::begin(self, hold)?;
        if let Err(error) = look.mark_strays() {
            log::error!("act=strays failed=\"{error}\"");
        }
        if let Err(error) = look.notice() {
            log::error!("act=notice failed=\"{error}\"");
        }
        if let Err(error) = self.tell_backlog() {
            log::error!("act=tell_backlog failed=\"{error}\"");
        }
        if let Err(error) = self.forget_old_locks() {
            log::error!("act=forget_old_locks failed=\"{error}\"");
        }
        if !look.is_ours()? {
            // We were held up for so long that somebody else is at it.
            log::warn!("act=sweep_all why=\"taken over by another\"");
            return Ok(0);
        }
        let mut marked = self.catalog.marked(&[&names.due, &names.due_tree])?;
        marked.extend(self.expired_locks()?);
        let is_with_agents = self.is_any_with_an_agent()?;
        if is_with_agents {
            self.ensure_collect()?;
        }
        if self.config.patrol.is_some() {
            due::begin_patrol(self.catalog, self.clock.now())?;
        }
        if marked.is_empty() && !is_with_agents && !due::is_recurring(self.catalog, names)? {
            look.end()?;
            return Ok(0);
        }
        let (jobs, now, limits) = (self.catalog.jobs()?, self.clock.now(), self.limits());
        let waiting: BTreeSet<&str> =
            jobs.living(now, self.config.sweep_expiry).map(|j| j.text.as_str()).collect();
        let without: BTreeSet<CollectionId> =
            marked.into_iter().filter(|id| !waiting.contains(due::sweep_text(*id).as_str())).collect();
        let trees = self.catalog.marked(&[&names.due_tree])?;
        let trees: BTreeSet<CollectionId> = trees.intersection(&without).copied().collect();
        let room = limits.room(&jobs, now);
        // First of all the next look, which comes sooner where there is no room for all.
        let interval = self.config.sweep_all_interval;
        let next = if without.len() > room { interval.min(due::NEXT_LOOK_WHEN_FULL) } else { interval };
        due::ensure_sweep_all(self.catalog, &jobs, now, next)?;
        if self.importing.is_some() && self.catalog.is_borne(&names.state, State::Imported.as_str())? {
            due::ensure_deletions(self.catalog, now, Duration::from_secs(1))?;
        }
        if !self.config.recheck_skipped.is_zero() && self.is_any_skipped()? {
            // What changed up to two looks ago: the look before may have come just too early to see it.
            let since = now.saturating_sub(2 * interval.as_secs());
            if self.config.identities.changed_at().is_some_and(|changed| changed >= since) {
                due::queue_sweep_skipped(self.catalog, now)?;
            }
            due::ensure_sweep_skipped(self.catalog, now, self.config.recheck_skipped)?;
        }
        // Trees have a part of the room to themselves.
        let mut next: Vec<CollectionId> =
            trees.iter().copied().take(limits.for_tree(true).room(&jobs, now)).collect();
        let others: BTreeSet<CollectionId> = without.difference(&trees).copied().collect();
        next.extend(look.next(&others, room.saturating_sub(next.len())));
        look.end()?;
        for id in &next {
            due::queue_sweep(self.catalog, *id, Duration::from_secs(1))?;
        }
        Ok(next.len())
    }

    /// Gives a sign of life when a third of the time without one is over. `false`: somebody has taken over.
    fn is_alive(&self, hold: &Hold) -> Result<bool, CatalogError> {
        let (now, last) = (self.clock.now(), hold.alive.get());
        if now.saturating_sub(last) < self.config.sweep_expiry.as_secs() / 3 {
            return Ok(true);
        }
        let is_ours = hold.lock.borrow_mut().renew(self.catalog)?;
        if is_ours {
            hold.alive.set(now);
        }
        Ok(is_ours)
    }

    /// The collections whose sweep has died: their marks may be gone already.
    fn expired_locks(&self) -> Result<BTreeSet<CollectionId>, CatalogError> {
        let oldest = self.clock.now().saturating_sub(self.config.sweep_expiry.as_secs());
        let locks = self.catalog.locks()?;
        let dead = locks.iter().filter(|lock| lock.since < oldest);
        Ok(dead.filter_map(LockRow::collection).collect())
    }

    /// Removes the marks by which versions before this one locked a collection, and sweeps what bears one.
    fn forget_old_locks(&self) -> Result<(), CatalogError> {
        let names = &self.config.attributes;
        for id in self.catalog.marked(&[&names.sweeping])? {
            let Some(path) = self.catalog.collection_path(id)? else { continue };
            self.catalog.set_mark(&path, &names.due, due::LATER)?;
            for mark in self.catalog.marks(id, &names.sweeping)? {
                self.catalog.remove_mark(&path, &names.sweeping, &mark)?;
            }
        }
        Ok(())
    }

    fn limits(&self) -> due::Limits {
        due::Limits::of(self.config)
    }

    /// Marks a collection and sees to a sweep of it.
    fn mark(&self, collection: &LogicalPath, delay: Duration) -> Result<due::Marked, CatalogError> {
        let (due, now) = (&self.config.attributes.due, self.clock.now());
        due::mark(self.catalog, due, collection, now, delay, self.limits())
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

    /// Takes a collection; `Err`: another sweep has it, for so long at most. Whether it is due does not matter: a sweep
    /// that died may have removed the mark already.
    fn take(
        &self,
        id: CollectionId,
        collection: &LogicalPath,
    ) -> Result<Result<Hold, Duration>, CatalogError> {
        let now = self.clock.now();
        Ok(match Lock::take(self.catalog, &id.to_string(), now, self.config.sweep_expiry)? {
            Taken::Others(for_at_most) => Err(for_at_most),
            Taken::Ours(lock, died) => {
                if died {
                    log::warn!("act=take collection={collection} why=\"an earlier sweep died\"");
                }
                Ok(Hold { lock: RefCell::new(lock), alive: Cell::new(now) })
            }
        })
    }

    /// Whether another sweep has taken the collection over.
    fn is_taken_over(&self, hold: &Hold) -> Result<bool, CatalogError> {
        Ok(!hold.lock.borrow().is_held(self.catalog)?)
    }

    /// Releases the collection and leaves a mark and a job where something is left to do.
    fn finish(
        &self,
        id: CollectionId,
        collection: &LogicalPath,
        hold: &Hold,
        swept: Result<Report, CatalogError>,
    ) -> Result<Report, CatalogError> {
        let names = &self.config.attributes;
        let again_in = match &swept {
            Ok(report) => report.again_in,
            Err(_) => Some(Duration::from_secs(60)),
        };
        if again_in.is_some() {
            // What lies below waits for what waits itself.
            let is_held = swept.as_ref().is_ok_and(|report| report.is_held);
            let mark = if is_held { due::NEW } else { due::LATER };
            self.catalog.set_mark(collection, &names.due, mark)?;
        }
        hold.lock.borrow().release(self.catalog)?;
        let now = self.clock.now();
        match again_in {
            Some(wait) => {
                let of_tree = !self.catalog.marks(id, &names.due_tree)?.is_empty();
                due::bring_forward(self.catalog, id, now, wait, self.limits().for_tree(of_tree))?;
            }
            // An event came while we were at work, and its sweep may have found the collection taken.
            None if self.is_due(id)? => {
                let quiet = self.watching(collection)?.quiet_period(Duration::ZERO);
                due::bring_forward(self.catalog, id, now, quiet, self.limits())?;
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
            self.catalog.remove_mark(collection, &names.due, &mark)?;
        }
        let mut report = Report::default();
        if let Some(wait) = self.spread(id, collection)? {
            report.again(wait);
        }
        match self.config.unit_of(collection.as_bytes()).map(LogicalPath::parse) {
            Some(Ok(unit)) if unit == *collection => {
                self.follow_directory(id, collection, hold, &mut report)?;
                self.sweep_unit(id, collection, hold, &mut report)?;
            }
            Some(Ok(unit)) => self.mark_unit(&unit)?,
            Some(Err(_)) | None => {
                // First of all: what comes to where it lay must not be taken for it.
                let waits = self.follow_objects(id, collection, hold, &mut report)?;
                self.sweep_objects(id, collection, hold, &mut report)?;
                if waits {
                    due::ask_for_all(self.catalog, names, collection)?;
                }
            }
        }
        self.ensure_recheck(&report)?;
        if !report.is_empty() {
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

    /// The same, of a large collection that is at rest only what may not be, and notes what is.
    fn survey_what_changed(
        &self,
        id: CollectionId,
        collection: &LogicalPath,
        scope: &Scope,
    ) -> Result<Survey, CatalogError> {
        let known = self.rested(collection, scope)?;
        let (config, catalog, now) = (self.config, self.catalog, self.clock.now());
        let reading = Reading { config, catalog, id, collection, scope, now };
        let part = known.as_ref().map(|rested| reading.survey_part(rested)).transpose()?.flatten();
        let survey = match part {
            Some(survey) => survey,
            None => reading.survey()?,
        };
        self.keep_rested(collection, known.as_ref(), &survey)?;
        Ok(survey)
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
        let mut survey = self.survey_what_changed(id, collection, &scope)?;
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
        let claimed = self.claimed_by_sets(id, &survey.todo)?;
        if !claimed.is_empty() {
            survey.todo.retain(|object| !claimed.contains(object));
            survey.later.extend(claimed);
            report.again(self.config.retry_wait);
        }
        if !survey.todo.is_empty()
            && let Some(wait) = self.waits_for_sets(id, collection, &scope, survey.age)?
        {
            report.is_held = true;
            report.again(wait);
            return Ok(());
        }
        let quiet = scope.rules.quiet_period;
        let mut run = Run::new(self, id, collection, hold, report, survey.may_join, quiet);
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
                let quiet = scope.rules.quiet_period;
                let mut run = Run::new(self, id, collection, hold, report, false, quiet);
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
        let survey = self.survey_of_unit(&unit, &record, scope);
        // It lies in the collection above it, as a file would, unless it is itself what is watched.
        let parent = collection.parent().filter(|p| p.elements().count() >= scope.root);
        let place = Place { collection: parent.as_ref().unwrap_or(collection), root: scope.root };
        let subject = Subject::Collection(id);
        let why = match unit.object {
            Ok(object) => {
                let mut decider = Decider::new(self.config, self.catalog, scope, &survey, place);
                return Ok(match decider.plan(subject, collection, &object, record)? {
                    Plan::Rest(_) => UnitPlan::Nothing,
                    Plan::Waits(Wait::Until(next)) => {
                        UnitPlan::Unsettled(Duration::from_secs(next.saturating_sub(survey.now)), None)
                    }
                    Plan::Waits(Wait::Written | Wait::Quiet) => {
                        UnitPlan::Unsettled(scope.rules.quiet_period, None)
                    }
                    Plan::Do(planned) => UnitPlan::Settled(planned),
                });
            }
            Err(why) => why,
        };
        let said = record.reason(&self.config.attributes) == Some(record::sentence(&why).as_str());
        if said || record.ignored_by(&self.config.attributes).is_some() {
            return Ok(UnitPlan::Nothing);
        }
        Ok(UnitPlan::Settled(Box::new(Planned {
            subject,
            path: collection.clone(),
            version: record::Version { modify_time: unit.newest, size: 0 },
            proof: None,
            whereabouts: None,
            record,
            attempts: 0,
            verdict: Verdict::Say(Entry::Failed(Cause::Place, why)),
        })))
    }

    /// What is known of a directory that is one image, in place of a reading: whether its time is ahead of our clock.
    fn survey_of_unit(&self, unit: &Unit, record: &record::Record, scope: &Scope) -> Survey {
        let now = self.clock.now();
        let mut survey = Survey::at(now);
        let is_ahead = unit.newest > now.saturating_add(scope.rules.quiet_period.as_secs());
        let waits = Recorded::of(&self.config.attributes, record).waits_for_clock();
        let is_over = waits.is_some_and(|r| now.saturating_sub(r.since) >= self.config.max_wait.as_secs());
        if is_ahead && !is_over && scope.rules.complete_marker.is_none() {
            survey.directory = Quiet::Ahead;
        }
        survey
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
        if watching.is_of_interest() {
            self.mark(unit, watching.quiet_period(self.config.defaults.quiet_period))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
