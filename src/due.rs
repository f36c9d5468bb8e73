//! The due mark: the durable note that a collection holds something to look at, and the sweep that follows it.
//!
//! A burst of puts costs one mark. Within one agent the mark is remembered for at most half the quiet period,
//! counted from the marking. A sweep may remove it meanwhile: one that was queued long before, or one whose clock or
//! whose look at the data says that all is quiet (a file whose collection was moved keeps its old time). So whoever removes a mark
//! looks once more when nobody can remember it any longer.

use crate::catalog::{Catalog, CatalogError, QueuedJob, UnixTime};
use crate::watch;
use irods_omero_config::Config;
use irods_omero_model::attributes::Attributes;
use irods_omero_model::clock::{Clock, SystemClock};
use irods_omero_model::names::{CollectionId, IrodsUser, LogicalPath};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The longest memory of one agent; when it is full it starts anew.
const MAX_REMEMBERED: usize = 4_096;

/// The marks an agent has set or seen lately.
#[derive(Debug, Default)]
pub struct Memory {
    marked: HashMap<LogicalPath, Instant>,
    /// When a look for records of data that is no longer watched was queued.
    strays: Option<Instant>,
}

/// How long an agent remembers a mark.
fn memory_of(quiet: Duration) -> Duration {
    quiet / 2
}

/// How long after the removal of a mark nobody remembers it; `None` where marks are not remembered.
pub fn forgotten_after(quiet: Duration) -> Option<Duration> {
    // The queue counts in whole seconds.
    (!quiet.is_zero()).then(|| Duration::from_secs(memory_of(quiet).as_secs() + 1))
}

impl Memory {
    /// Whether the collection was marked by this agent so lately that a look at it is still to come.
    pub fn holds(&self, collection: &[u8], quiet: Duration, now: Instant) -> bool {
        self.marked.get(collection).is_some_and(|since| now.duration_since(*since) < memory_of(quiet))
    }

    /// Remembers that the collection is marked.
    pub fn remember(&mut self, collection: LogicalPath, now: Instant) {
        if self.marked.len() >= MAX_REMEMBERED {
            self.marked.clear();
        }
        self.marked.insert(collection, now);
    }

    /// Queues a look for records of data that is no longer watched, a quiet period from now, unless there is one to
    /// come: a burst of removals costs one.
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
        if self.strays.is_some_and(|since| moment.duration_since(since) < memory_of(quiet)) {
            return Ok(());
        }
        let wanted = now.saturating_add(memory_of(quiet).as_secs())..=now.saturating_add(quiet.as_secs());
        if !catalog.queued_for(SWEEP_ALL)?.iter().any(|due_at| wanted.contains(due_at)) {
            catalog.queue(SWEEP_ALL, quiet)?;
        }
        self.strays = Some(moment);
        Ok(())
    }
}

/// What marking came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marked {
    /// The mark is new and a sweep is queued.
    New,
    /// Somebody else had set it, and a sweep is to come.
    Already,
}

/// A sweep that is to come at most this much later than an event wants it will do.
const NEAR: u64 = 60;

/// Sets a due mark (`attribute`: that of the collection, or of its whole tree) and queues one sweep, if the mark is
/// new or its sweep is far off: what waits for OMERO, or for a marker, must not hold up what has just come.
pub fn mark(
    catalog: &dyn Catalog,
    attribute: &str,
    collection: &LogicalPath,
    user: &IrodsUser,
    now: UnixTime,
    delay: Duration,
) -> Result<Marked, CatalogError> {
    let Some(id) = catalog.collection_id(collection)? else {
        return Ok(Marked::Already); // removed since: nothing to look at
    };
    let value = user.to_string();
    // Looked at first, because the server logs an error for every test-and-set that finds the mark there.
    if catalog.marks(id, attribute)?.contains(&value) || !catalog.set_mark(collection, attribute, &value)? {
        bring_forward(catalog, id, now, delay)?;
        return Ok(Marked::Already);
    }
    queue_sweep(catalog, id, delay)?;
    Ok(Marked::New)
}

/// Queues a sweep of a collection that is marked, if those there are to come are far off.
///
/// # Errors
/// The catalog failed.
pub fn bring_forward(
    catalog: &dyn Catalog,
    id: CollectionId,
    now: UnixTime,
    delay: Duration,
) -> Result<(), CatalogError> {
    let wanted = now.saturating_add(delay.as_secs()).saturating_add(NEAR);
    let times = catalog.queued_for(&sweep_text(id))?;
    // None at all: the one that set the mark is about to queue it, or died, which `sweep_all` finds out.
    if times.is_empty() || times.iter().any(|at| *at <= wanted) {
        return Ok(());
    }
    queue_sweep(catalog, id, delay)
}

/// Sets the due mark of a collection or tree, and makes sure that somebody looks for it.
///
/// # Errors
/// The catalog failed.
pub fn set(
    config: &Config,
    catalog: &dyn Catalog,
    collection: &LogicalPath,
    tree: bool,
    user: &IrodsUser,
    quiet: Duration,
) -> Result<(), CatalogError> {
    let attribute = if tree { &config.attributes.due_tree } else { &config.attributes.due };
    let now = SystemClock.now();
    let marked = announce(catalog, attribute, collection, user, now, quiet, config.sweep_all_interval)?;
    log::debug!("act=mark collection={collection} tree={tree} user={user} new={marked:?}");
    Ok(())
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

/// What an event does: makes sure that somebody looks for marks whose process died, then marks.
///
/// In this order, so that one that dies in between leaves no mark behind that nobody looks for.
pub fn announce(
    catalog: &dyn Catalog,
    attribute: &str,
    collection: &LogicalPath,
    user: &IrodsUser,
    now: UnixTime,
    delay: Duration,
    expiry: Duration,
) -> Result<Marked, CatalogError> {
    ensure_sweep_all(catalog, now, expiry)?;
    mark(catalog, attribute, collection, user, now, delay)
}

/// Makes sure that a `sweep_all` runs in about the time given, and another after as much again: a crash may end one
/// with the sweep whose mark it would have found. One that comes sooner than in half the time does not count: it may
/// have read the marks before the one is set for which it is wanted. Nor does one that is over its time: it is at work,
/// or its process died.
pub fn ensure_sweep_all(catalog: &dyn Catalog, now: UnixTime, within: Duration) -> Result<(), CatalogError> {
    let times = catalog.queued_for(SWEEP_ALL)?;
    let half = within.as_secs() / 2;
    for delay in [within, within * 2] {
        let wanted = now.saturating_add(delay.as_secs());
        if !times.iter().any(|at| wanted.abs_diff(*at) <= half) {
            catalog.queue(SWEEP_ALL, delay)?;
        }
    }
    Ok(())
}

/// Makes sure that somebody looks at skipped data again: one `sweep_skipped` waits in the queue. One that is at
/// work, or whose process died, is over its time and does not count.
pub fn ensure_sweep_skipped(
    catalog: &dyn Catalog,
    now: UnixTime,
    interval: Duration,
) -> Result<(), CatalogError> {
    let waits = |due_at: &UnixTime| *due_at > now;
    if catalog.queued_for(SWEEP_SKIPPED)?.iter().any(waits) {
        Ok(())
    } else {
        catalog.queue(SWEEP_SKIPPED, interval)
    }
}

/// Queues a look at skipped data now, unless one is about to begin.
pub fn queue_sweep_skipped(catalog: &dyn Catalog, now: UnixTime) -> Result<(), CatalogError> {
    let begins = |due_at: &UnixTime| (now..=now.saturating_add(2)).contains(due_at);
    if catalog.queued_for(SWEEP_SKIPPED)?.iter().any(begins) {
        Ok(())
    } else {
        catalog.queue(SWEEP_SKIPPED, Duration::from_secs(1))
    }
}

/// Makes sure that somebody asks the agents what they have done: one such job waits in the queue, or is at work. One
/// that is over its time by more than `overdue` died with its process.
pub fn ensure_collect(
    catalog: &dyn Catalog,
    now: UnixTime,
    text: &str,
    delay: Duration,
    overdue: Duration,
) -> Result<(), CatalogError> {
    let waits = |job: &QueuedJob| job.due_at.saturating_add(overdue.as_secs()) > now;
    if catalog.queued()?.iter().filter(|job| job.text.starts_with(COLLECT)).any(waits) {
        Ok(())
    } else {
        catalog.queue(text, delay)
    }
}

/// Queues a sweep of one collection. The text names the collection by its id only: it is short, anybody may
/// read it, and no path can be taken for something else in it.
pub fn queue_sweep(catalog: &dyn Catalog, id: CollectionId, delay: Duration) -> Result<(), CatalogError> {
    catalog.queue(&sweep_text(id), delay)
}

/// Makes sure that a collection's data is copied to where OMERO can see it: one such job waits in the queue, or is at
/// work. One that is over its time by more than an hour died with its process.
pub fn ensure_stage(catalog: &dyn Catalog, id: CollectionId, now: UnixTime) -> Result<(), CatalogError> {
    let text = stage_text(id);
    let waits = |due_at: &UnixTime| due_at.saturating_add(3_600) > now;
    if catalog.queued_for(&text)?.iter().any(waits) {
        Ok(())
    } else {
        catalog.queue(&text, Duration::from_secs(1))
    }
}

/// The rule text that copies a collection's data to where OMERO can see it.
pub fn stage_text(id: CollectionId) -> String {
    format!(r#"{{"operation":"sweep_stage","collection":"{id}"}}"#)
}

/// Queues a job that sets the mark, for a server that cannot.
pub fn queue_mark(catalog: &dyn Catalog, collection: &LogicalPath, tree: bool) -> Result<(), CatalogError> {
    match catalog.collection_id(collection)? {
        Some(id) => catalog.queue(
            &format!(r#"{{"operation":"mark","collection":"{id}","tree":{tree}}}"#),
            Duration::from_secs(1),
        ),
        None => Ok(()), // removed since: nothing to look at
    }
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

/// The start of the rule text that asks the agents what they have done.
pub const COLLECT: &str = r#"{"operation":"collect""#;

/// The rule text that looks at skipped data again.
pub const SWEEP_SKIPPED: &str = r#"{"operation":"sweep_skipped"}"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_remembered_for_half_the_quiet_period() {
        let path = LogicalPath::parse(b"/z/a").unwrap();
        let quiet = Duration::from_secs(30);
        let start = Instant::now();
        let mut memory = Memory::default();
        assert!(!memory.holds(b"/z/a", quiet, start));
        memory.remember(path, start);
        assert!(memory.holds(b"/z/a", quiet, start + Duration::from_millis(14_999)));
        assert!(!memory.holds(b"/z/a", quiet, start + Duration::from_secs(15)));
        assert!(!memory.holds(b"/z/b", quiet, start));
    }

    #[test]
    fn without_a_quiet_period_nothing_is_remembered() {
        let mut memory = Memory::default();
        let now = Instant::now();
        memory.remember(LogicalPath::parse(b"/z/a").unwrap(), now);
        assert!(!memory.holds(b"/z/a", Duration::ZERO, now));
    }

    #[test]
    fn a_full_memory_starts_anew() {
        let mut memory = Memory::default();
        let now = Instant::now();
        for i in 0..=MAX_REMEMBERED {
            memory.remember(LogicalPath::parse(format!("/z/{i}").as_bytes()).unwrap(), now);
        }
        assert_eq!(memory.marked.len(), 1);
    }
}
