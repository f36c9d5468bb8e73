//! What is to be done with each data object of a collection, decided from one reading of the catalog.

use crate::catalog::{Catalog, CatalogError, Replica, ReplicaStatus, UnixTime};
use crate::config::Config;
use crate::identity::OmeroIdentity;
use crate::importer::check_path;
use crate::names::{CollectionId, DataId, IrodsUser, LogicalPath};
use crate::record::{Entry, Record, State, Version, sentence};
use crate::visibility::Location;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// What is to be done with one data object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Write this into its record.
    Say(Entry),
    /// Give it to the importer.
    Import {
        /// As whom.
        identity: OmeroIdentity,
        /// Under which path.
        importer_path: String,
        /// Its checksum, if registered.
        checksum: Option<String>,
        /// Whose it is in iRODS.
        owner: IrodsUser,
    },
}

/// One data object and its verdict.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Its id.
    pub data_id: DataId,
    /// Its logical path.
    pub path: LogicalPath,
    /// Modify time and size of the replica meant.
    pub version: Version,
    /// What its record says now.
    pub record: Record,
    /// What to do.
    pub verdict: Verdict,
}

/// The work of one sweep.
#[derive(Debug, Default)]
pub struct Plan {
    /// The data objects for which something is to be done.
    pub objects: Vec<Planned>,
    /// If the collection is not settled: how long until it may be.
    pub unsettled_for: Option<Duration>,
}

/// The replicas of one data object.
struct Object {
    replicas: Vec<Replica>,
}

impl Object {
    fn newest_change(&self) -> UnixTime {
        self.replicas.iter().map(|r| r.modify_time).max().unwrap_or(0)
    }

    fn in_flux(&self) -> bool {
        self.replicas.iter().any(|r| matches!(r.status, ReplicaStatus::Intermediate | ReplicaStatus::Locked))
    }

    fn good(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(|r| r.status == ReplicaStatus::Good)
    }
}

impl Plan {
    /// Reads a collection and decides.
    ///
    /// The collection is settled when no replica is being written and nothing has changed for the quiet period.
    /// A time in the future, by more than that period, is a wrong clock and holds nothing up. What has been
    /// quiet itself for `max_wait` goes even if the rest never settles; what has been in flux for as long is the
    /// leftover of a client that died and is left out.
    pub fn read(
        config: &Config,
        catalog: &dyn Catalog,
        id: CollectionId,
        now: UnixTime,
        quiet: Duration,
    ) -> Result<Self, CatalogError> {
        let Some(collection) = catalog.collection_path(id)? else {
            return Ok(Self::default());
        };
        let mut objects: BTreeMap<DataId, Object> = BTreeMap::new();
        catalog.replicas(id, &mut |replica| {
            objects
                .entry(replica.data_id)
                .or_insert_with(|| Object { replicas: Vec::new() })
                .replicas
                .push(replica);
        })?;
        let mut records: HashMap<DataId, Record> = catalog.records(id)?;
        let quiet = quiet.as_secs();
        let max_wait = config.max_wait.as_secs();
        let age = |object: &Object| now.saturating_sub(object.newest_change());
        let in_future = |object: &Object| object.newest_change() > now.saturating_add(quiet);
        let wait_for = |object: &Object| -> u64 {
            if in_future(object) {
                0
            } else if object.in_flux() {
                if age(object) >= max_wait { 0 } else { quiet.max(1) }
            } else {
                (object.newest_change() + quiet).saturating_sub(now)
            }
        };
        let unsettled = objects.values().map(wait_for).max().unwrap_or(0);
        let mut plan = Self {
            objects: Vec::new(),
            unsettled_for: (unsettled > 0).then(|| Duration::from_secs(unsettled)),
        };
        for (data_id, object) in objects {
            if object.in_flux() || (unsettled > 0 && age(&object) < max_wait) {
                continue;
            }
            let record = records.remove(&data_id).unwrap_or_default();
            plan.objects.extend(planned(config, &collection, data_id, &object, record));
        }
        Ok(plan)
    }
}

/// The verdict on one data object; `None` where there is nothing to do, or nothing new to say.
fn planned(
    config: &Config,
    collection: &LogicalPath,
    data_id: DataId,
    object: &Object,
    record: Record,
) -> Option<Planned> {
    let first = object.good().next().or_else(|| object.replicas.first())?;
    let path = collection.join(&first.name).ok()?;
    let version = Version { modify_time: first.modify_time, size: first.size };
    if !needs_work(config, &record, version) {
        return None;
    }
    let changed_after_import =
        matches!(record.state(&config.attributes), Some(State::Imported | State::Stale));
    let (version, verdict) = if changed_after_import {
        (version, Verdict::Say(Entry::Stale(STALE.to_owned())))
    } else {
        match import_of(config, &path, object) {
            Ok(Some((replica, verdict))) => {
                (Version { modify_time: replica.modify_time, size: replica.size }, verdict)
            }
            Ok(None) => return None,
            Err(entry) => (version, Verdict::Say(entry)),
        }
    };
    let planned = Planned { data_id, path, version, record, verdict };
    (!says_so_already(config, &planned)).then_some(planned)
}

/// What a person is told of data that changed after its import.
const STALE: &str = "the data changed in iRODS after it was imported; the images in OMERO show the new bytes with \
                     the old metadata: delete them in OMERO and import the data again";

/// Which replica of a data object goes to OMERO and how; `None` for an empty one, the beginning of a file or a
/// marker, which is looked at again when it changes.
///
/// # Errors
/// What its record is to say instead.
fn import_of<'o>(
    config: &Config,
    path: &LogicalPath,
    object: &'o Object,
) -> Result<Option<(&'o Replica, Verdict)>, Entry> {
    let Some(first) = object.good().next() else {
        return Err(Entry::Failed("no replica of the data object is good: repair it in iRODS".to_owned()));
    };
    if first.size == 0 {
        return Ok(None);
    }
    let owner =
        IrodsUser::new(&first.owner_name, &first.owner_zone).map_err(|e| Entry::Skipped(e.to_string()))?;
    let identity = config.identities.resolve(&owner).map_err(|e| Entry::Skipped(e.to_string()))?;
    let in_vault = object.good().find_map(|r| {
        let location = Location { physical_path: &r.physical_path, hierarchy: &r.hierarchy };
        config.visibility.through_vault(&location).map(|seen| (r, seen))
    });
    let visible = in_vault.or_else(|| config.visibility.through_mount(path).map(|seen| (first, seen)));
    let Some((replica, seen)) = visible else {
        let resources: Vec<&str> = object.good().map(|r| r.hierarchy.as_str()).collect();
        return Err(Entry::Skipped(format!(
            "OMERO cannot see the data where it is ({}); it would see: {}",
            resources.join(", "),
            config.visibility.describe()
        )));
    };
    let importer_path = check_path(&seen).map_err(Entry::Failed)?.to_owned();
    let verdict = Verdict::Import { identity, importer_path, checksum: replica.checksum.clone(), owner };
    Ok(Some((replica, verdict)))
}

/// Whether the record has the verdict's state and reason, so that writing it would change nothing but a number.
fn says_so_already(config: &Config, planned: &Planned) -> bool {
    let names = &config.attributes;
    match &planned.verdict {
        Verdict::Say(entry @ (Entry::Failed(reason) | Entry::Skipped(reason) | Entry::Stale(reason))) => {
            let said = planned.record.triples.iter().find(|t| t.attribute == names.reason);
            planned.record.state(names) == Some(entry.state())
                && said.is_some_and(|t| t.value == sentence(reason))
        }
        Verdict::Say(Entry::Importing | Entry::Imported(_) | Entry::Pending(_)) | Verdict::Import { .. } => {
            false
        }
    }
}

/// Whether a data object has to be looked at: it has no record, its record is not final, or it has changed.
fn needs_work(config: &Config, record: &Record, version: Version) -> bool {
    match record.state(&config.attributes) {
        None | Some(State::Pending | State::Importing | State::Skipped | State::Gone) => true,
        Some(State::Imported | State::Failed | State::Stale) => {
            record.version(&config.attributes).is_some_and(|v| v != version)
        }
    }
}
