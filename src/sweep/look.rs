//! The regular look: what is due and has no job, what changed without anybody's telling, which records wait where nobody is to
//! look. Its cost is that of what has changed and of a bounded part of what there is: a zone may hold a hundred million data
//! objects, and `R_DATA_MAIN` has no index on its times.
//!
//! What there is is gone through by the ids of data objects, which have an index, a part at a time. How far that has come is an
//! AVU on the zone's collection, so that the next look goes on there, whoever looks.

use super::lock::{Lock, Taken};
use super::{Hold, Sweeper};
use crate::catalog::{CatalogError, UnixTime};
use crate::due;
use irods_omero_model::names::CollectionId;
use irods_omero_model::record::State;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

/// How many ids of data objects one query spans.
pub(super) const WINDOW: u64 = 20_000;

/// How far the look has come, as it stands on the zone's collection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Progress {
    /// When this was written.
    pub at: UnixTime,
    /// The new data objects, by their ids.
    pub new: Option<NewIds>,
    /// The round through all data objects that finds what has been changed in place.
    pub changes: Option<Round>,
    /// The round through all records that finds those that wait where nobody is to look: the last id that was looked at.
    pub records: u64,
    /// The collection that was last given a sweep.
    pub queued: u64,
}

/// Which data objects are new. Ids are given in order but may be seen late, when a long transaction ends; so those given
/// since the look before the last one are looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NewIds {
    /// The ids up to this one have been looked at for good.
    pub from: u64,
    /// The last id that was given at `since`.
    pub last: u64,
    /// When `last` was noted.
    pub since: UnixTime,
}

/// One round through all data objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Round {
    /// Since when changes count: the beginning of the round before.
    pub since: UnixTime,
    /// When this one began.
    pub began: UnixTime,
    /// The last id that was looked at.
    pub reached: u64,
}

impl Progress {
    /// From the value of an AVU. What cannot be read costs no more than a round from the beginning.
    fn read(text: &str) -> Option<Self> {
        // A version before this one wrote until when changes were known.
        let before = |at: UnixTime| {
            let changes = Some(Round { since: at, began: at, reached: 0 });
            Self { at, changes, ..Self::default() }
        };
        text.parse().ok().map(before).or_else(|| serde_json::from_str(text).ok())
    }
}

/// One regular look at work.
pub(super) struct Look<'a> {
    pub sweeper: &'a Sweeper<'a>,
    hold: &'a Hold,
    /// How far it has come.
    pub progress: Progress,
    /// What the zone's collection said.
    before: Vec<String>,
    /// When it began.
    pub now: UnixTime,
    /// The last id that the catalog had given when it began.
    pub top: u64,
    /// The collections that bear a mark.
    pub marked: BTreeSet<CollectionId>,
}

impl<'a> Look<'a> {
    pub fn begin(sweeper: &'a Sweeper<'a>, hold: &'a Hold) -> Result<Self, CatalogError> {
        let (catalog, names) = (sweeper.catalog, &sweeper.config.attributes);
        let zone = catalog.zone()?;
        let mut before = catalog.marks_at(&zone, &names.noticed)?;
        before.retain(|mark| !mark.starts_with(SKIPPED) && !mark.starts_with(due::DELETIONS_MARK));
        let progress = before.iter().filter_map(|mark| Progress::read(mark)).max_by_key(|p| p.at);
        // The lock's collection is the newest thing in the catalog, and all things have their ids from one sequence.
        let top = hold.lock.borrow().id().number();
        let marked = catalog.marked(&[&names.due, &names.due_tree])?;
        let (progress, now) = (progress.unwrap_or_default(), sweeper.clock.now());
        Ok(Self { sweeper, hold, progress, before, now, top, marked })
    }

    /// Gives a sign of life where it is time for one. `false`: somebody else is at it now.
    pub fn is_ours(&self) -> Result<bool, CatalogError> {
        self.sweeper.is_alive(self.hold)
    }

    /// The ids that one query spans next.
    pub fn window(&self, reached: u64) -> RangeInclusive<u64> {
        window(reached, self.top)
    }

    /// Writes how far it has come.
    pub fn end(mut self) -> Result<(), CatalogError> {
        let catalog = self.sweeper.catalog;
        let (zone, attribute) = (catalog.zone()?, &self.sweeper.config.attributes.noticed);
        if catalog.collection_id(&zone)?.is_none() || !self.is_ours()? {
            return Ok(());
        }
        self.progress.at = self.now;
        keep(
            self.sweeper,
            attribute,
            &self.before,
            &serde_json::to_string(&self.progress).unwrap_or_default(),
        )
    }

    /// Which of the collections that are due get a job now: after those that got one last, so that each has its turn.
    pub fn next(&mut self, without: &BTreeSet<CollectionId>, room: usize) -> Vec<CollectionId> {
        let after = |id: &&CollectionId| id.number() > self.progress.queued;
        let turns = without.iter().filter(after).chain(without.iter().filter(|id| !after(id)));
        let next: Vec<CollectionId> = turns.take(room).copied().collect();
        // Where there is room for all nobody has to wait for a turn.
        let last = next.last().filter(|_| next.len() < without.len());
        self.progress.queued = last.map_or(0, |id| id.number());
        next
    }
}

fn window(reached: u64, top: u64) -> RangeInclusive<u64> {
    reached.saturating_add(1)..=top.min(reached.saturating_add(WINDOW))
}

/// Writes one value in the place of others.
fn keep(sweeper: &Sweeper<'_>, attribute: &str, before: &[String], text: &str) -> Result<(), CatalogError> {
    let zone = sweeper.catalog.zone()?;
    if !text.is_empty() && !before.iter().any(|mark| mark == text) {
        sweeper.catalog.set_mark(&zone, attribute, text)?;
    }
    let others = before.iter().filter(|mark| *mark != text);
    others.into_iter().try_for_each(|mark| sweeper.catalog.remove_mark(&zone, attribute, mark))
}

/// The start of the AVU that says how far skipped data has been looked at again: `skipped after 10023`.
const SKIPPED: &str = "skipped after ";

/// How many ids of data objects one look at skipped data spans.
const SKIPPED_IDS: u64 = 5 * WINDOW;

/// The most collections that one look at skipped data marks.
const SKIPPED_COLLECTIONS: usize = 500;

impl Sweeper<'_> {
    /// Looks at data that was skipped again: a mapping or a resource may have changed since. Gives how many
    /// collections were marked. One such look waits in the queue for as long as any data is skipped.
    ///
    /// It takes the records by their ids, a part at a time, and of the room in the queue half at most: a hundred thousand
    /// collections of people who have left must not keep those who work waiting. The next look goes on soon.
    pub fn sweep_skipped(&self) -> Result<usize, CatalogError> {
        if !self.is_any_skipped()? {
            return Ok(0);
        }
        let (catalog, now) = (self.catalog, self.clock.now());
        let lock = match Lock::take(catalog, due::SWEEP_SKIPPED_LOCK, now, self.config.sweep_expiry)? {
            Taken::Ours(lock, _) => lock,
            // Whoever is at it goes on by itself.
            Taken::Others(for_at_most) => {
                due::ensure_sweep_skipped(catalog, now, for_at_most.max(due::NEXT_LOOK_WHEN_FULL))?;
                return Ok(0);
            }
        };
        // One look is short: it is bounded.
        let marked = self.mark_skipped(lock.id().number(), now);
        lock.release(catalog)?;
        marked
    }

    /// Whether any data is skipped.
    pub(super) fn is_any_skipped(&self) -> Result<bool, CatalogError> {
        self.catalog.is_borne(&self.config.attributes.state, State::Skipped.as_str())
    }

    fn mark_skipped(&self, top: u64, now: UnixTime) -> Result<usize, CatalogError> {
        let (config, catalog) = (self.config, self.catalog);
        let (names, zone) = (&config.attributes, catalog.zone()?);
        let mut before = catalog.marks_at(&zone, &names.noticed)?;
        before.retain(|mark| mark.starts_with(SKIPPED));
        let has_place = catalog.collection_id(&zone)?.is_some();
        let start =
            before.iter().filter_map(|mark| mark.strip_prefix(SKIPPED)?.parse().ok()).max().unwrap_or(0);
        let limits = self.limits();
        let mut room = limits.room_of_rechecks(&catalog.jobs()?, now).min(SKIPPED_COLLECTIONS);
        let (mut reached, mut marked) = (start, 0);
        while reached < top && reached < start.saturating_add(SKIPPED_IDS) && room > 0 {
            let ids = window(reached, top);
            reached = *ids.end();
            let mut last = None;
            for (id, first) in self.skipped_between(&ids)? {
                if room == 0 {
                    // What begins here is the next look's.
                    reached = last.unwrap_or(first.saturating_sub(1));
                    break;
                }
                last = Some(first);
                let Some(collection) = catalog.collection_path(id)? else { continue };
                // Also where nothing is watched any more: then the sweep says that it is gone.
                match self.mark(&collection, Duration::from_secs(1)) {
                    Ok(due::Marked::New) => (marked, room) = (marked + 1, room - 1),
                    Ok(due::Marked::Already) => {}
                    Err(error) => log::error!("act=mark collection={collection} failed=\"{error}\""),
                }
            }
        }
        let is_done = reached >= top;
        if has_place {
            let text = if is_done { String::new() } else { format!("{SKIPPED}{reached}") };
            keep(self, &names.noticed, &before, &text)?;
        }
        if !is_done {
            due::ensure_sweep_skipped(catalog, now, due::NEXT_LOOK_WHEN_FULL)?;
        } else if !config.recheck_skipped.is_zero() {
            due::ensure_sweep_skipped(catalog, now, config.recheck_skipped)?;
        }
        Ok(marked)
    }

    /// The collections in which data objects with ids of a range were skipped, each with the first of those, in the order of
    /// that.
    fn skipped_between(&self, ids: &RangeInclusive<u64>) -> Result<Vec<(CollectionId, u64)>, CatalogError> {
        let names = &self.config.attributes;
        let mut found: BTreeMap<CollectionId, u64> = BTreeMap::new();
        self.catalog.records_between(ids, &mut |id, collection, triple| {
            if triple.attribute == names.state && triple.value == State::Skipped.as_str() {
                let first = found.entry(collection).or_insert(id.number());
                *first = (*first).min(id.number());
            }
        })?;
        let mut found: Vec<_> = found.into_iter().collect();
        found.sort_by_key(|(_, first)| *first);
        Ok(found)
    }
}
