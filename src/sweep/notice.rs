//! Data that came by a route no PEP tells of: a microservice, a policy or another plugin wrote it within the server.
//!
//! The PEPs of the database would tell, but not at a time at which anything may be written: they fire within the
//! transaction of the connection our marks would be written by (`rsBulkDataObjReg` registers with `NO_COMMIT_FLAG` and
//! may roll back), and before a replica is whole. So the catalog is asked, every time marks are looked for, what has
//! changed since the last time and has no record of it.

use super::Sweeper;
use crate::catalog::{CatalogError, Changed, UnixTime};
use crate::due;
use irods_omero_model::names::{CollectionId, DataId, LogicalPath};
use irods_omero_model::record::Version;
use irods_omero_model::watch::Watching;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// How much of the time looked at before is looked at again, in seconds: servers' clocks differ, and what was
/// registered in one long transaction bears the time at which that began.
const OVERLAP: u64 = 300;

/// How many replicas are read at a time.
const PAGE: usize = 1_000;

/// How many collections one query names.
const ROOTS: usize = 20;

/// What a collection with changed data is to us.
struct Seen {
    /// The collection that is marked: itself, or the directory format it lies in.
    due: LogicalPath,
    watching: Watching,
    /// How much of a directory format is in OMERO already.
    recorded: Option<Version>,
}

impl Sweeper<'_> {
    /// Marks the watched collections in which data has changed that has neither a record nor a mark, as far as there is
    /// room in the queue. Gives how many were marked.
    pub(super) fn notice(&self) -> Result<usize, CatalogError> {
        let (catalog, names) = (self.catalog, &self.config.attributes);
        let roots = self.roots()?;
        let Some(zone) = roots.first().and_then(zone_of) else { return Ok(0) };
        let zone_id = catalog.collection_id(&zone)?;
        let before = zone_id.map_or(Ok(Vec::new()), |id| catalog.marks(id, &names.noticed))?;
        let last: Option<UnixTime> = before.iter().filter_map(|mark| mark.parse().ok()).max();
        let now = self.clock.now();
        let since = last.unwrap_or_else(|| now.saturating_sub(self.config.sweep_all_interval.as_secs()));
        let mut look = Look {
            sweeper: self,
            marked: catalog
                .marked(&[&names.due, &names.due_tree])?
                .into_iter()
                .chain(self.at_work()?)
                .collect(),
            seen: BTreeMap::new(),
            room: self.limits().room(&catalog.jobs()?, now),
            new: 0,
        };
        for roots in roots.chunks(ROOTS) {
            look.changes(roots, since.saturating_sub(OVERLAP))?;
        }
        // Where there was no room the next look begins again where this one did.
        let until = if look.room > 0 { now } else { since }.to_string();
        if zone_id.is_some() {
            catalog.set_mark(&zone, &names.noticed, &until)?;
            for mark in before.iter().filter(|mark| **mark != until) {
                catalog.remove_mark(&zone, &names.noticed, mark)?;
            }
        }
        Ok(look.new)
    }

    /// The collections below which data may be watched; none lies below another.
    fn roots(&self) -> Result<Vec<LogicalPath>, CatalogError> {
        let prefixes = self.config.watches.iter().map(|w| w.pattern.prefix());
        let mut roots: BTreeSet<LogicalPath> = prefixes.filter_map(|p| LogicalPath::parse(p).ok()).collect();
        if self.config.tags {
            for id in self.catalog.marked(&[&self.config.attributes.import])? {
                roots.extend(self.catalog.collection_path(id)?);
            }
        }
        let is_covered = |path: &LogicalPath| {
            std::iter::successors(path.parent(), LogicalPath::parent).any(|above| roots.contains(&above))
        };
        Ok(roots.iter().filter(|path| !is_covered(path)).cloned().collect())
    }
}

/// One look at what has changed.
struct Look<'a> {
    sweeper: &'a Sweeper<'a>,
    marked: BTreeSet<CollectionId>,
    seen: BTreeMap<CollectionId, Option<Seen>>,
    room: usize,
    new: usize,
}

impl Look<'_> {
    fn changes(&mut self, roots: &[LogicalPath], since: UnixTime) -> Result<(), CatalogError> {
        let (catalog, names) = (self.sweeper.catalog, &self.sweeper.config.attributes);
        let mut after = None;
        while self.room > 0 {
            let page = catalog.changed_since(roots, since, after, PAGE)?;
            let (Some(first), Some(last)) = (page.first(), page.last()) else { return Ok(()) };
            let recorded = catalog.data_values(&names.version, first.data_id, last.data_id)?;
            let recorded: HashSet<(DataId, Version)> =
                recorded.into_iter().filter_map(|(id, value)| Some((id, Version::parse(&value)?))).collect();
            // Of the replicas of one data object one that is recorded will do.
            let known: HashSet<DataId> = page
                .iter()
                .filter(|c| recorded.contains(&(c.data_id, c.version)))
                .map(|c| c.data_id)
                .collect();
            for changed in page.iter().filter(|c| !known.contains(&c.data_id)) {
                self.mark(changed)?;
            }
            // The page may end within a data object; its other replicas do not matter.
            after = Some(last.data_id);
        }
        Ok(())
    }

    /// Marks the collection of changed data, if it is watched and not marked.
    fn mark(&mut self, changed: &Changed) -> Result<(), CatalogError> {
        let sweeper = self.sweeper;
        if self.room == 0 || self.marked.contains(&changed.collection) {
            return Ok(());
        }
        let seen = match self.seen.entry(changed.collection) {
            Entry::Occupied(seen) => seen.into_mut(),
            Entry::Vacant(unseen) => unseen.insert(sweeper.see(changed.collection)?),
        };
        let Some(Seen { due, watching, recorded }) = seen else { return Ok(()) };
        let is_data = match (&*watching, &changed.name, recorded) {
            (_, _, Some(recorded)) => recorded.modify_time < changed.version.modify_time,
            (Watching::Yes { rules, .. }, Some(name), None) => rules.files.admit(name),
            (Watching::Yes { .. } | Watching::Unclear(_), _, None) => true,
            (Watching::No, _, None) => false,
        };
        if !is_data {
            return Ok(());
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
        self.marked.insert(changed.collection);
        Ok(())
    }
}

impl Sweeper<'_> {
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

/// The collection of the zone a path is in.
fn zone_of(path: &LogicalPath) -> Option<LogicalPath> {
    std::iter::successors(Some(path.clone()), LogicalPath::parent).last()
}
