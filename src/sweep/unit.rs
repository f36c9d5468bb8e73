//! A directory format: a collection that is one image with all below it (`x.zarr`). It is judged as a whole and then
//! treated like a file whose replica is the directory.

use super::plan::Object;
use super::watched::Scope;
use crate::catalog::{Catalog, CatalogError, Replica, ReplicaStatus, UnixTime, Which};
use irods_omero_model::names::{CollectionId, DataId, LogicalPath, parent_bytes};
use std::collections::BTreeMap;
use std::time::Duration;

/// The state of a whole tree.
pub(super) struct Unit {
    /// The newest change of any replica.
    pub newest: UnixTime,
    /// The newest change of a replica that is being written.
    pub in_flux: Option<UnixTime>,
    /// The tree as if it were one data object; a sentence where it cannot be seen as one.
    pub object: Result<Object, String>,
}

/// A directory on a resource in which all files of the tree may lie.
struct Candidate {
    replica: Replica,
    directory: Vec<u8>,
    resource: String,
    files: u64,
    size: u64,
    newest: UnixTime,
}

impl Unit {
    /// Reads the tree of a collection. What is held does not grow with the tree.
    pub fn read(
        catalog: &dyn Catalog,
        id: CollectionId,
        collection: &LogicalPath,
    ) -> Result<Self, CatalogError> {
        let mut candidates = candidates(catalog, id)?;
        let mut unit = Self { newest: 0, in_flux: None, object: Err(String::new()) };
        let (mut files, mut bad) = (0_u64, 0_u64);
        let mut current: Option<(DataId, bool)> = None;
        // Whether the data object being read has been counted for a candidate.
        let mut counted = vec![false; candidates.len()];
        catalog.tree(collection, &mut |replica| {
            if current.map(|(id, _)| id) != Some(replica.data_id) {
                bad += u64::from(current.is_some_and(|(_, good)| !good));
                current = Some((replica.data_id, false));
                files += 1;
                counted.fill(false);
            }
            unit.newest = unit.newest.max(replica.modify_time);
            match replica.status {
                ReplicaStatus::Intermediate | ReplicaStatus::Locked => {
                    unit.in_flux = unit.in_flux.max(Some(replica.modify_time));
                }
                ReplicaStatus::Good => {
                    current = Some((replica.data_id, true));
                    for (candidate, counted) in candidates.iter_mut().zip(&mut counted) {
                        let inside = replica.physical_path.strip_prefix(candidate.directory.as_slice());
                        if !*counted
                            && replica.resource == candidate.resource
                            && inside.is_some_and(|rest| rest.first() == Some(&b'/'))
                        {
                            *counted = true;
                            candidate.files += 1;
                            candidate.size += replica.size;
                            candidate.newest = candidate.newest.max(replica.modify_time);
                        }
                    }
                }
                ReplicaStatus::Stale | ReplicaStatus::Unknown => {}
            }
        })?;
        bad += u64::from(current.is_some_and(|(_, good)| !good));
        unit.object = object_of(candidates, files, bad);
        Ok(unit)
    }

    /// For how long the directory is not settled; it is never imported in parts, however long it takes.
    pub fn unsettled(
        &self,
        now: UnixTime,
        scope: &Scope,
        max_wait: Duration,
        lacks_marker: bool,
    ) -> Option<Duration> {
        let quiet = scope.rules.quiet_period.as_secs();
        if lacks_marker {
            // The marker's arrival is an event, which brings this sweep forward.
            return Some(max_wait.max(scope.rules.quiet_period));
        }
        let is_whole = scope.rules.complete_marker.is_some();
        let seconds = match self.in_flux {
            Some(since) if now.saturating_sub(since) >= max_wait.as_secs() => max_wait.as_secs(),
            Some(_) => quiet.max(1),
            None if is_whole || self.newest > now.saturating_add(quiet) => 0,
            None => (self.newest + quiet).saturating_sub(now),
        };
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }
}

/// The directories of the replicas that lie directly in the collection: those of its first data object.
fn candidates(catalog: &dyn Catalog, id: CollectionId) -> Result<Vec<Candidate>, CatalogError> {
    let mut first: BTreeMap<DataId, Vec<Replica>> = BTreeMap::new();
    catalog.replicas(id, Which::All, &mut |replica| {
        if replica.status != ReplicaStatus::Good {
            return;
        }
        let is_first = first.keys().next().is_none_or(|id| replica.data_id <= *id);
        if is_first {
            first.retain(|id, _| *id == replica.data_id);
            first.entry(replica.data_id).or_default().push(replica);
        }
    })?;
    let candidate = |replica: Replica| {
        let directory = parent_bytes(&replica.physical_path)?.to_vec();
        let resource = replica.hierarchy.rsplit(';').next().unwrap_or_default().to_owned();
        Some(Candidate { replica, directory, resource, files: 0, size: 0, newest: 0 })
    };
    Ok(first.into_values().flatten().filter_map(candidate).collect())
}

fn object_of(candidates: Vec<Candidate>, files: u64, bad: u64) -> Result<Object, String> {
    if bad > 0 {
        return Err(format!(
            "{bad} of the {files} files in this directory have no good replica: repair them in iRODS"
        ));
    }
    if candidates.is_empty() {
        return Err("this directory is named like one image, but no file lies directly in it: is it whole?"
            .to_owned());
    }
    let mut replicas = Vec::new();
    for candidate in candidates.into_iter().filter(|c| c.files == files) {
        replicas.push(Replica {
            size: candidate.size,
            modify_time: candidate.newest,
            physical_path: candidate.directory,
            checksum: None,
            ..candidate.replica
        });
    }
    if replicas.is_empty() {
        return Err(format!(
            "the {files} files of this directory do not lie together on one resource, so OMERO cannot see it as one \
             image: move or replicate them to one"
        ));
    }
    Ok(Object { replicas })
}
