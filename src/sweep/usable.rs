//! What the sets of a batch may use besides its files: what lies below directories that are images, and the data objects in
//! some collections that their owners may read and that are complete and visible.

use crate::catalog::{Catalog, CatalogError, Replica, ReplicaStatus, UnixTime, Which};
use irods_omero_config::Config;
use irods_omero_importer::{Batch, Subject, UsableFile, check_path};
use irods_omero_model::names::{CollectionId, IrodsUser};
use irods_omero_model::record::Version;
use irods_omero_model::visibility::Location;
use std::collections::{BTreeMap, BTreeSet};

/// The most data objects of others whose permissions are looked at for one batch.
const MAX_OF_OTHERS: usize = 200;

/// The files that a batch may use: those of some collections, of its owners or readable to them, besides what lies below its
/// directories. `settled`: what has been changed since is not complete.
pub(super) fn usable(
    catalog: &dyn Catalog,
    config: &Config,
    collections: &BTreeSet<CollectionId>,
    batch: &Batch,
    settled: UnixTime,
) -> Result<Vec<UsableFile>, CatalogError> {
    let given: BTreeSet<Subject> = batch.files.iter().map(|f| f.subject).collect();
    let mut usable: BTreeMap<Subject, UsableFile> = BTreeMap::new();
    let mut add = |subject: Subject, seen: Option<Vec<u8>>, version: Version, checksum: Option<String>| {
        if let Some(seen) = seen
            && !given.contains(&subject)
            && let Ok(path) = String::from_utf8(seen)
        {
            let file = UsableFile { subject, importer_path: path, version, checksum };
            usable.entry(subject).or_insert(file);
        }
    };
    let visible = |physical_path: &[u8], hierarchy: &str| {
        config.visibility.through_vault(&Location { physical_path, hierarchy })
    };
    for directory in batch.files.iter().filter(|f| f.is_directory()) {
        let start = format!("{}/", directory.importer_path);
        catalog.tree(&directory.logical_path, &mut |replica| {
            let seen = visible(&replica.physical_path, &replica.resource)
                .filter(|seen| seen.starts_with(start.as_bytes()));
            if replica.status == ReplicaStatus::Good {
                let version = Version { modify_time: replica.modify_time, size: replica.size };
                add(Subject::DataObject(replica.data_id), seen, version, None);
            }
        })?;
    }
    let owners: BTreeSet<&IrodsUser> = batch.files.iter().map(|f| &f.owner).collect();
    let mut asked = 0;
    for id in collections {
        let Some(collection) = catalog.collection_path(*id)? else { continue };
        let mut found: Vec<(Option<IrodsUser>, Replica)> = Vec::new();
        catalog.replicas(*id, Which::All, &mut |replica| {
            if replica.status == ReplicaStatus::Good
                && replica.fault.is_none()
                && replica.modify_time <= settled
            {
                found.push((IrodsUser::new(&replica.owner_name, &replica.owner_zone).ok(), replica));
            }
        })?;
        for (owner, replica) in found {
            let is_theirs = owner.as_ref().is_some_and(|owner| owners.contains(owner));
            // Files of others: only where the batch is one owner's can be said who has to be able to read them.
            if !is_theirs {
                let [reader] = owners.iter().collect::<Vec<_>>()[..] else { continue };
                asked += 1;
                if asked > MAX_OF_OTHERS || !catalog.may_read(reader, replica.data_id, *id)? {
                    continue;
                }
            }
            let mounted = || config.visibility.through_mount(&collection.join(&replica.name).ok()?);
            let seen = visible(&replica.physical_path, &replica.hierarchy)
                .or_else(mounted)
                .filter(|seen| check_path(seen).is_ok());
            let version = Version { modify_time: replica.modify_time, size: replica.size };
            add(Subject::DataObject(replica.data_id), seen, version, replica.checksum);
        }
    }
    Ok(usable.into_values().collect())
}
