//! Records of data that is no longer watched: it went to the trash, or elsewhere, before its import. Its former
//! collection's due mark says nothing about where it is now, so it is looked for by the records themselves.

use super::look::Look;
use super::{Report, Sweeper};
use crate::catalog::{CatalogError, Kind, LockRow, Which};
use crate::due;
use irods_omero_model::decide::{Decision, Facts, Recorded, Watched, decide};
use irods_omero_model::names::{CollectionId, DataId, LogicalPath};
use irods_omero_model::record::{self, Details, Entry, Record, State};
use irods_omero_model::watch::{OnOverwrite, is_trash};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::RangeInclusive;
use std::time::Duration;

/// Which of the data objects in a collection are let go.
pub(super) type IsLeft<'a> = &'a dyn Fn(DataId) -> bool;

/// How many windows of ids one look goes through.
const WINDOWS: usize = 2;

impl Look<'_> {
    /// Marks the collections in which a record waits although nobody is to look there, so that the sweep says what
    /// became of it: what is `pending` without a due mark anywhere, and what has not been imported in the trash.
    /// Gives how many were marked.
    pub(super) fn mark_strays(&mut self) -> Result<usize, CatalogError> {
        let mut new = 0;
        for _ in 0..WINDOWS {
            if self.progress.records >= self.top {
                self.progress.records = 0;
            }
            let ids = self.window(self.progress.records);
            new += self.mark_strays_between(&ids)?;
            self.progress.records = *ids.end();
            if self.progress.records >= self.top || !self.is_ours()? {
                break;
            }
        }
        Ok(new)
    }

    fn mark_strays_between(&self, ids: &RangeInclusive<u64>) -> Result<usize, CatalogError> {
        let sweeper = self.sweeper;
        let (catalog, names) = (sweeper.catalog, &sweeper.config.attributes);
        // Whether anything is pending in it.
        let mut found: BTreeMap<CollectionId, bool> = BTreeMap::new();
        catalog.records_between(ids, &mut |_, collection, triple| {
            if triple.attribute != names.state || self.marked.contains(&collection) {
                return;
            }
            match State::parse(&triple.value) {
                Some(State::Pending) => drop(found.insert(collection, true)),
                Some(State::Failed | State::Skipped) => drop(found.entry(collection).or_insert(false)),
                _ => {}
            }
        })?;
        let mut new = 0;
        for (id, is_pending) in found {
            let Some(path) = catalog.collection_path(id)? else { continue };
            // A sweep that writes a record has its lock, and leaves its mark: those are read after the records.
            let is_left = if is_pending {
                !sweeper.at_work()?.contains(&id) && !sweeper.is_due(id)?
            } else {
                is_trash(path.as_bytes()) && sweeper.has_open_record(id)?
            };
            if !is_left {
                continue;
            }
            match sweeper.mark(&path, Duration::from_secs(1)) {
                Ok(set) => new += usize::from(set == due::Marked::New),
                Err(error) => log::error!("act=mark collection={path} failed=\"{error}\""),
            }
        }
        Ok(new)
    }
}

impl Sweeper<'_> {
    /// The collections in which a sweep is at work.
    pub(super) fn at_work(&self) -> Result<BTreeSet<CollectionId>, CatalogError> {
        let locks = self.catalog.locks()?;
        let ids = locks.iter().filter_map(LockRow::collection);
        Ok(ids.collect())
    }

    /// Whether there is a record, of data directly in a collection, that an import may still be expected for.
    pub(super) fn has_open_record(&self, id: CollectionId) -> Result<bool, CatalogError> {
        let names = &self.config.attributes;
        let mut records: BTreeMap<DataId, Record> = BTreeMap::new();
        let wanted = [&names.state, &names.ignored, &names.job, &names.version].map(String::as_str);
        self.catalog.object_avus(id, Which::All, &wanted, &mut |id, triple| {
            records.entry(id).or_insert_with(|| Record::on(id.number())).triples.push(triple);
        })?;
        Ok(records.values().any(|record| self.is_open(record)))
    }

    /// Whether there is a record of the collection itself or of data directly in it.
    pub(super) fn has_record(&self, id: CollectionId) -> Result<bool, CatalogError> {
        let mut found = false;
        let version = self.config.attributes.version.as_str();
        self.catalog.object_avus(id, Which::All, &[version], &mut |_, _| found = true)?;
        Ok(found
            || self.has_open_record(id)?
            || self.catalog.collection_record(id)?.version(&self.config.attributes).is_some())
    }

    /// Writes `gone` on what was to be imported but is no longer watched: it was moved, or the tag was removed. Of the
    /// data objects with a record only those for which `is_left` holds.
    pub(super) fn let_go(
        &self,
        id: CollectionId,
        collection: &LogicalPath,
        is_left: IsLeft<'_>,
        report: &mut Report,
    ) -> Result<(), CatalogError> {
        let names = &self.config.attributes;
        let mut waiting: BTreeMap<DataId, Record> = BTreeMap::new();
        self.catalog.object_avus(id, Which::All, &names.record(), &mut |id, triple| {
            if is_left(id) {
                waiting.entry(id).or_insert_with(|| Record::on(id.number())).triples.push(triple);
            }
        })?;
        waiting.retain(|_, record| self.is_open(record));
        if waiting.is_empty() {
            return Ok(());
        }
        let mut paths: HashSet<(DataId, Vec<u8>)> = HashSet::new();
        self.catalog.replicas(id, Which::All, &mut |replica| {
            if waiting.contains_key(&replica.data_id) {
                paths.insert((replica.data_id, replica.name));
            }
        })?;
        for (id, name) in paths {
            let (Some(record), Ok(path)) = (waiting.get(&id), collection.join(&name)) else { continue };
            self.write_gone(Kind::DataObject, &path, record, report)?;
        }
        Ok(())
    }

    /// The same of a directory that is one image.
    pub(super) fn let_unit_go(
        &self,
        id: CollectionId,
        collection: &LogicalPath,
        report: &mut Report,
    ) -> Result<(), CatalogError> {
        let record = self.catalog.collection_record(id)?;
        if self.is_open(&record) {
            self.write_gone(Kind::Collection, collection, &record, report)
        } else {
            Ok(())
        }
    }

    /// Whether nothing has become of an import yet, and nobody is at work on it (what an agent has will be collected)
    /// or has asked that the data is left alone.
    fn is_open(&self, record: &Record) -> bool {
        let recorded = Recorded::of(&self.config.attributes, record);
        is_let_go(&recorded, self.config.agents.is_some())
    }

    fn write_gone(
        &self,
        kind: Kind,
        path: &LogicalPath,
        record: &Record,
        report: &mut Report,
    ) -> Result<(), CatalogError> {
        let names = &self.config.attributes;
        let reason = match (record.state(names), record.reason(names)) {
            (Some(State::Failed), Some(why)) => format!("it left the watched collection unimported: {why}"),
            _ => "it was no longer in a watched collection when its turn came".to_owned(),
        };
        let (gone, previous) = (Entry::Gone(reason), record.previous(names));
        let details = Details { attempts: record.attempts(names), previous: &previous, ..Details::default() };
        self.catalog.replace(kind, path, &record.triples, &record::triples(names, &gone, &details))?;
        report.count(&gone);
        Ok(())
    }
}

/// Whether the record of data that is no longer watched is to say that it is gone.
fn is_let_go(recorded: &Recorded, agents: bool) -> bool {
    let facts = Facts { watched: Watched::No, ..Facts::of_record(recorded, agents) };
    // Neither the rules nor the time matter where nothing is watched.
    matches!(decide(&facts, OnOverwrite::Report, 0), Decision::Say(State::Gone, _))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_import_may_still_be_expected_for_is_let_go_and_nothing_else() {
        let open = [State::Pending, State::Importing, State::Failed, State::Skipped];
        for state in State::ALL {
            let recorded = Recorded { state: Some(state), ..Recorded::default() };
            assert_eq!(is_let_go(&recorded, true), open.contains(&state), "{state:?}");
        }
        assert!(!is_let_go(&Recorded::default(), true));
    }
}
