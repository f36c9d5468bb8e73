//! What the doctor needs of the sweep: what it looks at through the sweep's eyes, and the repairs that the sweep's own steps do.
//!
//! A repair takes the collection as a sweep does, reads everything anew, and writes the record last: it can be killed at any
//! point and done again.

use super::follow::{MovedLink, seen};
use super::plan;
use super::unit::Unit;
use super::{Report, Sweeper};
use crate::catalog::{CatalogError, Replica, UnixTime};
use crate::due;
use irods_omero_importer::Subject;
use irods_omero_model::names::{CollectionId, DataId, LogicalPath};
use irods_omero_model::record::Print;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Which collections somebody is going to look at, or is looking at.
#[derive(Debug, Default)]
pub struct Awaited {
    collections: BTreeSet<CollectionId>,
    trees: Vec<LogicalPath>,
}

impl Awaited {
    /// Whether a collection is one of them.
    pub fn holds(&self, id: CollectionId, path: &LogicalPath) -> bool {
        let is_below = |tree: &LogicalPath| {
            path.as_bytes().strip_prefix(tree.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'/'))
        };
        self.collections.contains(&id) || self.trees.iter().any(is_below)
    }
}

/// What became of a link that was to be pointed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pointed {
    /// It leads to where the data is, and OMERO and the record say so.
    Done,
    /// It does not, and why.
    Left(String),
}

impl Sweeper<'_> {
    /// Where the importer sees a replica of a data object.
    pub fn seen(&self, replica: &Replica, path: &LogicalPath) -> Option<Vec<u8>> {
        seen(self.config, replica, path)
    }

    /// A directory that is one image, as if it were a data object: where OMERO may see it.
    ///
    /// # Errors
    /// The catalog failed.
    pub fn directory(&self, id: CollectionId, path: &LogicalPath) -> Result<Vec<Replica>, CatalogError> {
        Ok(Unit::read(self.catalog, id, path)?.object.map(|object| object.replicas).unwrap_or_default())
    }

    /// The collections that bear a mark, have a job, or are taken.
    ///
    /// # Errors
    /// The catalog failed.
    pub fn awaited(&self) -> Result<Awaited, CatalogError> {
        let (catalog, names) = (self.catalog, &self.config.attributes);
        let mut collections = catalog.marked(&[&names.due, &names.due_tree])?;
        collections.extend(self.at_work()?);
        let mut trees = Vec::new();
        for id in catalog.marked(&[&names.due_tree])? {
            trees.extend(catalog.collection_path(id)?);
        }
        Ok(Awaited { collections, trees })
    }

    /// The marked collections that nobody is going to look at: they have no job, and no `sweep_all` is to come.
    ///
    /// # Errors
    /// The catalog failed.
    pub fn forgotten_marks(&self, now: UnixTime) -> Result<BTreeSet<CollectionId>, CatalogError> {
        let (catalog, names) = (self.catalog, &self.config.attributes);
        // Who sets a mark queues its job: jobs are read after the marks.
        let mut marked = catalog.marked(&[&names.due, &names.due_tree])?;
        let (at_work, jobs) = (self.at_work()?, catalog.jobs()?);
        let living: BTreeSet<&str> =
            jobs.living(now, self.config.sweep_expiry).map(|job| job.text.as_str()).collect();
        if living.contains(due::SWEEP_ALL) {
            return Ok(BTreeSet::new());
        }
        marked.retain(|id| !at_work.contains(id) && !living.contains(due::sweep_text(*id).as_str()));
        Ok(marked)
    }

    /// The collections taken by sweeps that have died.
    ///
    /// # Errors
    /// The catalog failed.
    pub fn dead_locks(&self) -> Result<BTreeSet<CollectionId>, CatalogError> {
        self.expired_locks()
    }

    /// Marks a collection, and has all of it read by a sweep that comes at once.
    ///
    /// # Errors
    /// The catalog failed.
    pub fn sweep_again(&self, collection: &LogicalPath) -> Result<(), CatalogError> {
        due::ask_for_all(self.catalog, &self.config.attributes, collection)?;
        self.mark(collection, Duration::from_secs(1)).map(drop)
    }

    /// Points links of data objects directly in a collection to where these are. Of each is given where its link leads now.
    ///
    /// # Errors
    /// The catalog failed.
    pub fn point(
        &self,
        id: CollectionId,
        collection: &LogicalPath,
        links: &BTreeMap<DataId, Print>,
    ) -> Result<BTreeMap<DataId, Pointed>, CatalogError> {
        let hold = match self.take(id, collection)? {
            Ok(hold) => hold,
            Err(for_at_most) => {
                let why = format!(
                    "a sweep is at work in the collection: ask again later, in {} s at most",
                    for_at_most.as_secs()
                );
                return Ok(links.keys().map(|data| (*data, Pointed::Left(why.clone()))).collect());
            }
        };
        let pointed = self.point_taken(id, collection, links, &hold);
        // The collection is given back as after a sweep.
        self.finish(id, collection, &hold, Ok(Report::default()))?;
        pointed
    }

    fn point_taken(
        &self,
        id: CollectionId,
        collection: &LogicalPath,
        links: &BTreeMap<DataId, Print>,
        hold: &super::Hold,
    ) -> Result<BTreeMap<DataId, Pointed>, CatalogError> {
        let ids: Vec<DataId> = links.keys().copied().collect();
        let mut pointed: BTreeMap<DataId, Pointed> =
            ids.iter().map(|data| (*data, Pointed::Left("it is not there any more".to_owned()))).collect();
        for (data, (object, record)) in plan::read(self.config, self.catalog, id, &ids)? {
            let Some(from) = links.get(&data) else { continue };
            let Some(name) = object.replicas.first().map(|r| &r.name) else { continue };
            let Ok(path) = collection.join(name) else { continue };
            if self.is_taken_over(hold)? {
                let why = "another sweep has taken the collection over: ask again later";
                pointed.insert(data, Pointed::Left(why.to_owned()));
                continue;
            }
            let link = MovedLink { subject: Subject::DataObject(data), path, record, from: *from };
            pointed.insert(data, self.point_one(collection, link, &object, hold)?);
        }
        Ok(pointed)
    }
}
