//! Data that came by a route no PEP tells of: a microservice, a policy or another plugin wrote it within the server.
//!
//! The PEPs of the database would tell, but not at a time at which anything may be written: they fire within the
//! transaction of the connection our marks would be written by (`rsBulkDataObjReg` registers with `NO_COMMIT_FLAG` and
//! may roll back), and before a replica is whole. So the catalog is asked, every time marks are looked for, what has
//! changed since the last time and has no record of it.

//!
//! What is new has an id after those given at the look before. What was changed in place bears no such sign: a round through
//! all data objects finds it, of which each look does a part.

use super::Sweeper;
use super::look::{Look, NewIds, Round, WINDOW};
use crate::catalog::{CatalogError, Changed, UnixTime, Which};
use crate::due;
use irods_omero_model::names::{CollectionId, DataId, LogicalPath};
use irods_omero_model::record::Version;
use irods_omero_model::watch::Watching;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::ops::RangeInclusive;

/// For how long data objects with new ids are looked at again, and how much of the time of a round belongs to the one before
/// too, in seconds: servers' clocks differ, and what was registered in one long transaction is seen only at its end.
const OVERLAP: u64 = 300;

/// How many windows of new ids one look goes through.
const NEW_WINDOWS: u64 = 50;

/// How many windows of a round through all data objects one look goes through.
const ROUND_WINDOWS: usize = 10;

/// What a collection with changed data is to us.
struct Seen {
    /// The collection that is marked: itself, or the directory format it lies in.
    due: LogicalPath,
    watching: Watching,
    /// How much of a directory format is in OMERO already.
    recorded: Option<Version>,
}

impl Look<'_> {
    /// Marks the watched collections in which data has changed that has neither a record nor a mark, as far as there is
    /// room in the queue. Gives how many were marked.
    pub(super) fn notice(&mut self) -> Result<usize, CatalogError> {
        let (sweeper, now) = (self.sweeper, self.now);
        let is_any_watched = !sweeper.config.watches.is_empty()
            || (sweeper.config.tags
                && !sweeper.catalog.marked(&[&sweeper.config.attributes.import])?.is_empty());
        if !is_any_watched {
            return Ok(0);
        }
        self.marked.extend(sweeper.at_work()?);
        let room = sweeper.limits().room(&sweeper.catalog.jobs()?, now);
        let mut found = Found { sweeper, seen: BTreeMap::new(), room, new: 0 };
        let new = self.progress.new.unwrap_or(NewIds { from: self.top, last: self.top, since: now });
        self.progress.new = Some(self.look_at_new(new, &mut found)?);
        let first = now.saturating_sub(sweeper.config.sweep_all_interval.as_secs());
        let round = self.progress.changes.unwrap_or(Round { since: first, began: now, reached: 0 });
        self.progress.changes = Some(self.look_at_changed(round, &mut found)?);
        Ok(found.new)
    }

    fn look_at_new(&mut self, mut new: NewIds, found: &mut Found<'_>) -> Result<NewIds, CatalogError> {
        let mut reached = new.from;
        let end = self.top.min(new.from.saturating_add(NEW_WINDOWS * WINDOW));
        while reached < end {
            let ids = reached + 1..=end.min(reached + WINDOW);
            // Where there is no room the next look begins again here.
            if !self.is_ours()? || !self.mark_changed(&ids, None, found)? {
                new.from = reached;
                return Ok(new);
            }
            reached = *ids.end();
        }
        if reached < self.top {
            new.from = reached;
        } else if self.now.saturating_sub(new.since) >= OVERLAP {
            new = NewIds { from: new.last, last: self.top, since: self.now };
        }
        Ok(new)
    }

    fn look_at_changed(&mut self, mut round: Round, found: &mut Found<'_>) -> Result<Round, CatalogError> {
        for _ in 0..ROUND_WINDOWS {
            let ids = self.window(round.reached);
            if !self.is_ours()?
                || !self.mark_changed(&ids, Some(round.since.saturating_sub(OVERLAP)), found)?
            {
                return Ok(round);
            }
            round.reached = *ids.end();
            if round.reached >= self.top {
                return Ok(Round { since: round.began, began: self.now, reached: 0 });
            }
        }
        Ok(round)
    }

    /// Marks the collections of the data objects with an id of a range that have changed. `false`: there was no room for all.
    fn mark_changed(
        &mut self,
        ids: &RangeInclusive<u64>,
        since: Option<UnixTime>,
        found: &mut Found<'_>,
    ) -> Result<bool, CatalogError> {
        if found.room == 0 {
            return Ok(false);
        }
        let mut by_collection: BTreeMap<CollectionId, Vec<Changed>> = BTreeMap::new();
        for changed in self.sweeper.catalog.changed_between(ids, since)? {
            if !self.marked.contains(&changed.collection) {
                by_collection.entry(changed.collection).or_default().push(changed);
            }
        }
        for (collection, changed) in by_collection {
            if found.room == 0 {
                return Ok(false);
            }
            if found.mark(collection, changed)? {
                self.marked.insert(collection);
            }
        }
        Ok(true)
    }
}

/// What one look has found.
struct Found<'a> {
    sweeper: &'a Sweeper<'a>,
    seen: BTreeMap<CollectionId, Option<Seen>>,
    room: usize,
    new: usize,
}

impl Found<'_> {
    /// Marks a collection if it is watched and what changed in it has no record. `true`: it is marked.
    fn mark(&mut self, id: CollectionId, changed: Vec<Changed>) -> Result<bool, CatalogError> {
        let sweeper = self.sweeper;
        let seen = match self.seen.entry(id) {
            Entry::Occupied(seen) => seen.into_mut(),
            Entry::Vacant(unseen) => unseen.insert(sweeper.see(id)?),
        };
        let Some(Seen { due, watching, recorded }) = seen else { return Ok(false) };
        let is_data = |changed: &Changed| match (&*watching, &*recorded) {
            (_, Some(recorded)) => changed.in_flux || recorded.modify_time < changed.version.modify_time,
            (Watching::Yes { rules, .. }, None) => rules.files.admit(&changed.name),
            // What is in OMERO is followed wherever it lies.
            (Watching::Unclear(_) | Watching::No, None) => true,
        };
        let mut data: Vec<Changed> = changed.into_iter().filter(is_data).collect();
        if recorded.is_none() {
            let is_watched = watching.is_of_interest();
            sweeper.without_recorded(id, &mut data, is_watched)?;
        }
        if data.is_empty() {
            return Ok(false);
        }
        let quiet = watching.quiet_period(sweeper.config.defaults.quiet_period);
        match sweeper.mark(due, quiet) {
            Ok(due::Marked::New) => {
                log::info!("act=notice collection={due} why=\"data came by a route that tells nobody\"");
                self.new += 1;
                self.room -= 1;
            }
            Ok(due::Marked::Already) => {}
            Err(error) => log::error!("act=mark collection={due} failed=\"{error}\""),
        }
        Ok(true)
    }
}

impl Sweeper<'_> {
    /// Leaves out the data objects of which a replica is recorded in the version that it has, and where nothing is watched those
    /// without a record.
    fn without_recorded(
        &self,
        id: CollectionId,
        data: &mut Vec<Changed>,
        is_watched: bool,
    ) -> Result<(), CatalogError> {
        let ids = data.iter().map(|c| c.data_id);
        let (Some(first), Some(last)) = (ids.clone().min(), ids.max()) else { return Ok(()) };
        let mut recorded: HashSet<(DataId, Version)> = HashSet::new();
        let version = &self.config.attributes.version;
        self.catalog.object_avus(id, Which::Between(first, last), &[version], &mut |id, triple| {
            recorded.extend(Version::parse(&triple.value).map(|version| (id, version)));
        })?;
        // Of the replicas of one data object one that is recorded will do.
        let known: HashSet<DataId> =
            data.iter().filter(|c| recorded.contains(&(c.data_id, c.version))).map(|c| c.data_id).collect();
        let has_record: HashSet<DataId> = recorded.iter().map(|(id, _)| *id).collect();
        data.retain(|c| !known.contains(&c.data_id) && (is_watched || has_record.contains(&c.data_id)));
        Ok(())
    }

    fn see(&self, id: CollectionId) -> Result<Option<Seen>, CatalogError> {
        let Some(path) = self.catalog.collection_path(id)? else { return Ok(None) };
        let unit = self.config.unit_of(path.as_bytes()).and_then(|unit| LogicalPath::parse(unit).ok());
        let recorded = match unit.as_ref().map(|unit| self.catalog.collection_id(unit)).transpose()?.flatten()
        {
            Some(unit) => self.catalog.collection_record(unit)?.version(&self.config.attributes),
            None => None,
        };
        let due = unit.unwrap_or(path);
        let watching = self.watching(&due)?;
        Ok(Some(Seen { due, watching, recorded }))
    }
}
