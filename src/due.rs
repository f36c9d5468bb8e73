//! The mark: the durable note that a collection holds something to look at; and the jobs that follow it.
//!
//! A burst of puts costs one mark: whoever finds it there does nothing more, because whoever set it has seen to a job. The
//! mark is all that counts. A job is a wake-up call of the service account that carries nothing; losing every job loses
//! nothing as long as the mark is there, because a `sweep_all` finds it.
//!
//! A mark has one of two values, the same for all, so that the catalog has them for ever and exactly one of several that
//! set one at a time is told that it is new. [`NEW`] is an event's: its job is near. [`LATER`] is what a sweep leaves where it
//! has to come back: its job may be far, and an event does not lean on it.

use crate::catalog::{Catalog, CatalogError, Jobs, UnixTime};
use crate::watch;
use irods_omero_config::Config;
use irods_omero_model::attributes::Attributes;
use irods_omero_model::clock::{Clock, SystemClock};
use irods_omero_model::names::{CollectionId, LogicalPath};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The value of an event's mark.
pub const NEW: &str = "new";

/// The value of the mark that a sweep leaves where it has to look again.
pub const LATER: &str = "later";

/// The value of the AVU `rested` that asks for all of a collection to be read, and not only what its times and ids show to be
/// new.
pub const ALL: &str = "all";

/// A sweep that is to come at most this much later than an event wants it will do.
const NEAR: u64 = 60;

/// What comes later than this is far: it may wait for room. Much shorter than that, and the sweeps of a usual quiet period
/// would be far themselves.
const FAR: u64 = 300;

/// When there are more marks than sweeps may be queued, how soon the rest is looked for.
pub const NEXT_LOOK_WHEN_FULL: Duration = Duration::from_secs(30);

/// The longest memory of one agent; when it is full it starts anew.
const MAX_REMEMBERED: usize = 4_096;

/// Which jobs an agent knows to come. It remembers each until its time only: what happened before that is there when the
/// job looks.
#[derive(Debug, Default)]
pub struct Expected {
    /// On a server without the catalog: the collections of which a job of the user is to set the mark.
    marks: HashMap<(LogicalPath, bool), Instant>,
    /// The look for records of data that is no longer watched.
    strays: Option<Instant>,
}

impl Expected {
    /// Makes sure that a look for records of data that is no longer watched comes within a quiet period: a burst of
    /// removals costs one.
    ///
    /// # Errors
    /// The catalog failed.
    pub fn look_for_strays(
        &mut self,
        catalog: &dyn Catalog,
        now: UnixTime,
        quiet: Duration,
        moment: Instant,
    ) -> Result<(), CatalogError> {
        if self.strays.is_some_and(|until| moment < until) {
            return Ok(());
        }
        let quiet = quiet.max(Duration::from_secs(1));
        let wanted = now + 1..=now.saturating_add(quiet.as_secs());
        let wait = if let Some(due_at) = catalog.jobs()?.to_come(|job| job == SWEEP_ALL, &wanted) {
            Duration::from_secs(due_at - now)
        } else {
            catalog.queue(SWEEP_ALL, quiet)?;
            quiet
        };
        self.strays = Some(moment + wait.saturating_sub(Duration::from_secs(1)));
        Ok(())
    }

    /// Queues a job of the session's user that sets the mark, unless one is to come.
    ///
    /// # Errors
    /// The catalog failed.
    pub fn mark(
        &mut self,
        catalog: &dyn Catalog,
        collection: &LogicalPath,
        tree: bool,
        quiet: Duration,
        now: Instant,
    ) -> Result<(), CatalogError> {
        let key = (collection.clone(), tree);
        if self.marks.get(&key).is_some_and(|until| now < *until) {
            return Ok(());
        }
        let Some(id) = catalog.collection_id(collection)? else {
            return Ok(()); // removed since: nothing to look at
        };
        let delay = (quiet / 2).max(Duration::from_secs(1));
        let text = format!(r#"{{"operation":"mark","collection":"{id}","tree":{tree}}}"#);
        catalog.queue_as_client(&text, delay)?;
        if self.marks.len() >= MAX_REMEMBERED {
            self.marks.clear();
        }
        // The queue counts in whole seconds, and its server may be a little ahead.
        self.marks.insert(key, now + delay.saturating_sub(Duration::from_secs(1)));
        Ok(())
    }
}

/// What marking came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marked {
    /// The mark is new.
    New,
    /// Somebody else had set it.
    Already,
}

/// What bounds the queue, of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// At most this many sweeps wait in the queue.
    pub sweeps: usize,
    /// A job that is over its time for longer belongs to a process that died.
    pub expiry: Duration,
    /// How often marks without a sweep are looked for.
    pub interval: Duration,
    /// Whether the sweep is one of a tree, for which a part of the queue is kept.
    pub of_tree: bool,
}

impl Limits {
    /// Of a configuration.
    pub fn of(config: &Config) -> Self {
        Self {
            sweeps: config.max_queued_sweeps,
            expiry: config.sweep_expiry,
            interval: config.sweep_all_interval,
            of_tree: false,
        }
    }

    /// The same for the sweep of a tree: it goes on where events, or data that waits for OMERO, have filled their part.
    #[must_use]
    pub fn for_tree(self, of_tree: bool) -> Self {
        Self { of_tree, ..self }
    }

    /// How many sweeps events may queue: a part of the room is kept for trees, which would never find any where events
    /// fill it again and again.
    fn of_events(self) -> usize {
        if self.of_tree {
            return self.sweeps;
        }
        self.sweeps.saturating_sub((self.sweeps / 4).max(1)).max(1)
    }

    /// How many more sweeps may be queued.
    pub fn room(self, jobs: &Jobs, now: UnixTime) -> usize {
        self.of_events().saturating_sub(self.waiting(jobs, now))
    }

    /// How many of those may be of data that was skipped before: half of what events may queue is kept for these.
    pub fn room_of_rechecks(self, jobs: &Jobs, now: UnixTime) -> usize {
        (self.of_events().div_ceil(2)).saturating_sub(self.waiting(jobs, now))
    }

    /// Whether one more sweep may be queued that begins after `delay`. Those that are far fill half of what events may queue:
    /// long quiet periods, or data that waits for OMERO, do not hold up what could be done now.
    fn has_room(self, jobs: &Jobs, now: UnixTime, delay: Duration) -> bool {
        let horizon = now.saturating_add(FAR);
        let far = || jobs.all().iter().filter(|job| job.due_at > horizon && is_sweep(&job.text)).count();
        self.waiting(jobs, now) < self.of_events()
            && (delay.as_secs() <= FAR || far() < self.of_events().div_ceil(2))
    }

    /// How many sweeps wait or are at work.
    pub fn waiting(self, jobs: &Jobs, now: UnixTime) -> usize {
        jobs.living(now, self.expiry).filter(|job| is_sweep(&job.text)).count()
    }
}

/// Makes sure that a sweep of a collection is to come. Where the queue is full the mark alone has to do, and a look for marks
/// without a sweep comes soon.
fn ensure_sweep(
    catalog: &dyn Catalog,
    jobs: &Jobs,
    id: CollectionId,
    now: UnixTime,
    delay: Duration,
    limits: Limits,
) -> Result<(), CatalogError> {
    let delay = delay.max(Duration::from_secs(1));
    let text = sweep_text(id);
    let wanted = now + 1..=now.saturating_add(delay.as_secs()).saturating_add(NEAR);
    if jobs.is_to_come(|job| job == text, &wanted) {
        return Ok(());
    }
    if limits.has_room(jobs, now, delay) {
        return catalog.queue(&text, delay);
    }
    let next = if limits.waiting(jobs, now) < limits.of_events() { delay } else { NEXT_LOOK_WHEN_FULL };
    if jobs.is_to_come(|job| job == SWEEP_ALL, &(now + 1..=now.saturating_add(next.as_secs()))) {
        return Ok(());
    }
    catalog.queue(SWEEP_ALL, next)
}

/// Sets a mark (`attribute`: that of the collection, or of its whole tree) and makes sure that a sweep is to come.
///
/// Somebody looks for marks without a sweep before the mark is set: whoever dies in between leaves no mark behind that
/// nobody looks for.
///
/// # Errors
/// The catalog failed.
pub fn mark(
    catalog: &dyn Catalog,
    attribute: &str,
    collection: &LogicalPath,
    now: UnixTime,
    delay: Duration,
    limits: Limits,
) -> Result<Marked, CatalogError> {
    let Some(id) = catalog.collection_id(collection)? else {
        return Ok(Marked::Already); // removed since: nothing to look at
    };
    let jobs = catalog.jobs()?;
    ensure_sweep_all(catalog, &jobs, now, limits.expiry)?;
    // Looked at first, because the server logs an error for every mark that is set twice.
    let is_there = catalog.marks_at(collection, attribute)?.iter().any(|mark| mark == NEW);
    let is_new = !is_there && catalog.set_mark(collection, attribute, NEW)?;
    ensure_sweep(catalog, &jobs, id, now, delay, limits)?;
    Ok(if is_new { Marked::New } else { Marked::Already })
}

/// What an event does: nothing but one look where the mark is there, and else as [`mark`].
///
/// # Errors
/// The catalog failed.
pub fn announce(
    config: &Config,
    catalog: &dyn Catalog,
    collection: &LogicalPath,
    tree: bool,
    now: UnixTime,
    delay: Duration,
) -> Result<Marked, CatalogError> {
    let attribute = if tree { &config.attributes.due_tree } else { &config.attributes.due };
    if catalog.marks_at(collection, attribute)?.iter().any(|mark| mark == NEW) {
        return Ok(Marked::Already);
    }
    mark(catalog, attribute, collection, now, delay, Limits::of(config).for_tree(tree))
}

/// Asks the next sweep of a collection to read all of it: something has changed there that its times and ids do not show. It
/// goes before the mark, so that the sweep that the mark brings sees it.
///
/// # Errors
/// The catalog failed.
pub fn ask_for_all(
    catalog: &dyn Catalog,
    names: &Attributes,
    collection: &LogicalPath,
) -> Result<(), CatalogError> {
    if !catalog.marks_at(collection, &names.rested)?.iter().any(|mark| mark == ALL) {
        catalog.set_mark(collection, &names.rested, ALL)?;
    }
    Ok(())
}

/// Sets the mark of a collection or tree at somebody's wish, and makes sure that a sweep comes as soon as wished.
///
/// # Errors
/// The catalog failed.
pub fn set(
    config: &Config,
    catalog: &dyn Catalog,
    collection: &LogicalPath,
    tree: bool,
    delay: Duration,
) -> Result<(), CatalogError> {
    let attribute = if tree { &config.attributes.due_tree } else { &config.attributes.due };
    let limits = Limits::of(config).for_tree(tree);
    let marked = mark(catalog, attribute, collection, SystemClock.now(), delay, limits)?;
    log::debug!("act=mark collection={collection} tree={tree} marked={marked:?}");
    Ok(())
}

/// Makes sure that a sweep of a collection that is marked comes soon.
///
/// # Errors
/// The catalog failed.
pub fn bring_forward(
    catalog: &dyn Catalog,
    id: CollectionId,
    now: UnixTime,
    delay: Duration,
    limits: Limits,
) -> Result<(), CatalogError> {
    ensure_sweep(catalog, &catalog.jobs()?, id, now, delay, limits)
}

/// The quiet period of a collection, or of a tree, in which there may be something to do.
///
/// # Errors
/// The catalog failed.
pub fn interest(
    config: &Config,
    catalog: &dyn Catalog,
    collection: &LogicalPath,
    id: CollectionId,
    tree: bool,
) -> Result<Option<Duration>, CatalogError> {
    let watching = watch::watching(config, catalog, collection)?;
    let otherwise = config.defaults.quiet_period;
    let of_interest = watching.is_of_interest()
        || if tree {
            watch::reaches(config, catalog, collection)?
        } else {
            config.tags && !catalog.tagged_objects(id, &config.attributes.import)?.is_empty()
        };
    Ok(of_interest.then(|| watching.quiet_period(otherwise)))
}

/// The value of the mark, on the zone's collection, that says that the look for marks without a sweep goes on for
/// ever.
pub const RECURRING: &str = "sweep_all";

/// Whether the look for marks without a sweep is to go on for ever.
///
/// # Errors
/// The catalog failed.
pub fn is_recurring(catalog: &dyn Catalog, names: &Attributes) -> Result<bool, CatalogError> {
    Ok(!catalog.marked(&[&names.recurring])?.is_empty())
}

/// Makes sure that a `sweep_all` runs in about the time given, and another after as much again: a crash may end one
/// with the sweep whose mark it would have found. One that comes sooner than in half the time does not count: it may
/// have read the marks before the one is set for which it is wanted.
///
/// # Errors
/// The catalog failed.
pub fn ensure_sweep_all(
    catalog: &dyn Catalog,
    jobs: &Jobs,
    now: UnixTime,
    within: Duration,
) -> Result<(), CatalogError> {
    let half = within.as_secs() / 2;
    for delay in [within, within * 2] {
        let wanted = now.saturating_add(delay.as_secs());
        if !jobs.is_to_come(|job| job == SWEEP_ALL, &(wanted - half..=wanted.saturating_add(half))) {
            catalog.queue(SWEEP_ALL, delay)?;
        }
    }
    Ok(())
}

/// Makes sure that somebody looks at skipped data again: one `sweep_skipped` is to come.
///
/// # Errors
/// The catalog failed.
pub fn ensure_sweep_skipped(
    catalog: &dyn Catalog,
    now: UnixTime,
    interval: Duration,
) -> Result<(), CatalogError> {
    ensure(catalog, SWEEP_SKIPPED, now, interval)
}

/// Queues a look at skipped data now, unless one is about to begin.
///
/// # Errors
/// The catalog failed.
pub fn queue_sweep_skipped(catalog: &dyn Catalog, now: UnixTime) -> Result<(), CatalogError> {
    ensure(catalog, SWEEP_SKIPPED, now, Duration::from_secs(1))
}

/// Makes sure that OMERO is asked what was deleted there: one such job is to come.
///
/// # Errors
/// The catalog failed.
pub fn ensure_deletions(catalog: &dyn Catalog, now: UnixTime, delay: Duration) -> Result<(), CatalogError> {
    ensure(catalog, DELETIONS, now, delay)
}

/// Makes sure that somebody asks the agents what they have done: one such job is to come.
///
/// # Errors
/// The catalog failed.
pub fn ensure_collect(catalog: &dyn Catalog, now: UnixTime, delay: Duration) -> Result<(), CatalogError> {
    ensure(catalog, COLLECT, now, delay)
}

/// Makes sure that somebody asks the agents what is to be saved: one such job is to come.
///
/// # Errors
/// The catalog failed.
pub fn ensure_save(catalog: &dyn Catalog, now: UnixTime, delay: Duration) -> Result<(), CatalogError> {
    ensure(catalog, SAVE, now, delay)
}

/// Has the doctor's patrol begin, or go on after its job was lost: where none is to come, one comes at once.
///
/// # Errors
/// The catalog failed.
pub fn begin_patrol(catalog: &dyn Catalog, now: UnixTime) -> Result<(), CatalogError> {
    let wanted = now + 1..=now.saturating_add(LONGEST_REST.as_secs());
    if catalog.jobs()?.is_to_come(|job| job == PATROL, &wanted) {
        Ok(())
    } else {
        catalog.queue(PATROL, Duration::from_secs(1))
    }
}

/// Makes sure that the doctor's patrol goes on: one such job is to come.
///
/// # Errors
/// The catalog failed.
pub fn ensure_patrol(catalog: &dyn Catalog, now: UnixTime, delay: Duration) -> Result<(), CatalogError> {
    ensure(catalog, PATROL, now, delay)
}

/// Makes sure that a job of this text begins after now and within the delay.
fn ensure(catalog: &dyn Catalog, text: &str, now: UnixTime, delay: Duration) -> Result<(), CatalogError> {
    let wanted = now + 1..=now.saturating_add(delay.as_secs().max(1));
    if catalog.jobs()?.is_to_come(|job| job == text, &wanted) { Ok(()) } else { catalog.queue(text, delay) }
}

/// Queues a sweep of one collection. The text names the collection by its id only: it is short, anybody may
/// read it, and no path can be taken for something else in it.
///
/// # Errors
/// The catalog failed.
pub fn queue_sweep(catalog: &dyn Catalog, id: CollectionId, delay: Duration) -> Result<(), CatalogError> {
    catalog.queue(&sweep_text(id), delay)
}

/// Makes sure that a collection's data is copied to where OMERO can see it: one such job is to come, or began less than
/// an hour ago.
///
/// # Errors
/// The catalog failed.
pub fn ensure_stage(catalog: &dyn Catalog, id: CollectionId, now: UnixTime) -> Result<(), CatalogError> {
    let text = stage_text(id);
    let an_hour = Duration::from_secs(3_600);
    if catalog.jobs()?.living(now, an_hour).any(|job| job.text == text) {
        Ok(())
    } else {
        catalog.queue(&text, Duration::from_secs(1))
    }
}

/// The rule text that copies a collection's data to where OMERO can see it.
pub fn stage_text(id: CollectionId) -> String {
    format!(r#"{{"operation":"sweep_stage","collection":"{id}"}}"#)
}

/// The rule text of the sweep of one collection.
pub fn sweep_text(id: CollectionId) -> String {
    format!(r#"{{"operation":"sweep","collection":"{id}"}}"#)
}

/// Whether a rule text is the sweep of one collection.
pub fn is_sweep(text: &str) -> bool {
    text.starts_with(r#"{"operation":"sweep","collection":"#)
}

/// The rule text that looks for marks without a sweep.
pub const SWEEP_ALL: &str = r#"{"operation":"sweep_all"}"#;

/// The rule text that goes on with the doctor's patrol.
pub const PATROL: &str = r#"{"operation":"patrol"}"#;

/// The longest time between two looks of the patrol.
pub const LONGEST_REST: Duration = Duration::from_secs(3_600);

/// The name of the lock of whoever is on patrol.
pub const PATROL_LOCK: &str = "patrol";

/// The name of the lock of whoever looks for marks without a sweep.
pub const SWEEP_ALL_LOCK: &str = "sweep_all";

/// The name of the lock of whoever looks at skipped data again.
pub const SWEEP_SKIPPED_LOCK: &str = "sweep_skipped";

/// The name of the lock of whoever asks the agents what they have done.
pub const COLLECT_LOCK: &str = "collect";

/// The rule text that asks the agents what they have done.
pub const COLLECT: &str = r#"{"operation":"collect"}"#;

/// The name of the lock of whoever saves what people in OMERO want to have in iRODS.
pub const SAVE_LOCK: &str = "save";

/// The rule text that does so.
pub const SAVE: &str = r#"{"operation":"save"}"#;

/// The name of the lock of whoever asks OMERO what was deleted there.
pub const DELETIONS_LOCK: &str = "deletions";

/// The rule text that asks OMERO what was deleted there.
pub const DELETIONS: &str = r#"{"operation":"deletions"}"#;

/// The start of the AVU that says how far OMERO's log of events is read: it stands beside those of the regular look.
pub const DELETIONS_MARK: &str = "deletions ";

/// The rule text that looks at skipped data again.
pub const SWEEP_SKIPPED: &str = r#"{"operation":"sweep_skipped"}"#;
