//! What the sets of a batch may use besides its files: what lies below directories that are images, and the data objects of
//! the same owners in the same collection that are complete and visible.

use crate::catalog::{Catalog, CatalogError, ReplicaStatus, Which};
use irods_omero_config::Config;
use irods_omero_importer::{Batch, Subject, UsableFile, check_path};
use irods_omero_model::names::{CollectionId, IrodsUser, LogicalPath};
use irods_omero_model::record::Version;
use irods_omero_model::visibility::Location;
use std::collections::{BTreeMap, BTreeSet};

/// The files that a batch may use. `siblings`: the collection has sets, some of whose files may be in OMERO already.
pub(super) fn usable(
    catalog: &dyn Catalog,
    config: &Config,
    (id, collection): (CollectionId, &LogicalPath),
    batch: &Batch,
    siblings: bool,
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
    if siblings {
        let owners: BTreeSet<&IrodsUser> = batch.files.iter().map(|f| &f.owner).collect();
        catalog.replicas(id, Which::All, &mut |replica| {
            let is_theirs = IrodsUser::new(&replica.owner_name, &replica.owner_zone)
                .is_ok_and(|owner| owners.contains(&owner));
            if replica.status != ReplicaStatus::Good || !is_theirs {
                return;
            }
            let mounted = || config.visibility.through_mount(&collection.join(&replica.name).ok()?);
            let seen = visible(&replica.physical_path, &replica.hierarchy)
                .or_else(mounted)
                .filter(|seen| check_path(seen).is_ok());
            let version = Version { modify_time: replica.modify_time, size: replica.size };
            add(Subject::DataObject(replica.data_id), seen, version, replica.checksum.clone());
        })?;
    }
    Ok(usable.into_values().collect())
}
