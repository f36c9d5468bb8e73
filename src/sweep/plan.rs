//! What is to be done with each data object of a collection, decided from one reading of the catalog.

use crate::catalog::{Catalog, CatalogError, Replica, ReplicaStatus, UnixTime};
use crate::config::Config;
use crate::identity::{Asked, Mapping, NoIdentity};
use crate::importer::check_path;
use crate::names::{CollectionId, DataId, IrodsUser, LogicalPath};
use crate::record::{Entry, Record, State, Version, sentence};
use crate::target::{Filling, NoTarget, Target};
use crate::visibility::Location;
use crate::watch::{Place, Rules};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// What is to be done with one data object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Write this into its record.
    Say(Entry),
    /// Copy it to this resource first.
    Stage(String),
    /// Give it to the importer.
    Import(Box<Import>),
}

/// How a data object is imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// As whom, and why.
    pub mapping: Mapping,
    /// Where to.
    pub target: Target,
    /// Where to, if it is a plate; `None` for the same.
    pub plate_target: Option<Target>,
    /// Under which path.
    pub importer_path: String,
    /// Its checksum, if registered.
    pub checksum: Option<String>,
    /// Whose it is in iRODS.
    pub owner: IrodsUser,
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
        watch: &Rules,
        root: usize,
    ) -> Result<Self, CatalogError> {
        let Some(collection) = catalog.collection_path(id)? else {
            return Ok(Self::default());
        };
        let place = Place { collection: &collection, root };
        let mut deciding =
            Deciding { config, catalog, watch, place, mappings: HashMap::new(), avus: HashMap::new() };
        let mut objects: BTreeMap<DataId, Object> = BTreeMap::new();
        catalog.replicas(id, &mut |replica| {
            objects
                .entry(replica.data_id)
                .or_insert_with(|| Object { replicas: Vec::new() })
                .replicas
                .push(replica);
        })?;
        let mut records: HashMap<DataId, Record> = catalog.records(id)?;
        let quiet = watch.quiet_period.as_secs();
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
            plan.objects.extend(deciding.planned(data_id, &object, record)?);
        }
        Ok(plan)
    }
}

/// What a person is told of data that changed after its import.
const STALE: &str = "the data changed in iRODS after it was imported; the images in OMERO show the new bytes with \
                     the old metadata: delete them in OMERO and import the data again";

/// Decides on the data objects of one collection. What is the same for all of one owner is asked once.
struct Deciding<'a> {
    config: &'a Config,
    catalog: &'a dyn Catalog,
    watch: &'a Rules,
    place: Place<'a>,
    mappings: HashMap<IrodsUser, Result<Mapping, NoIdentity>>,
    avus: HashMap<String, Vec<String>>,
}

/// Why a data object is not imported now.
enum Not {
    /// Its record is to say so.
    Say(Entry),
    /// The catalog failed.
    Catalog(CatalogError),
}

impl From<CatalogError> for Not {
    fn from(error: CatalogError) -> Self {
        Self::Catalog(error)
    }
}

impl Deciding<'_> {
    /// The verdict on one data object; `None` where there is nothing to do, or nothing new to say.
    fn planned(
        &mut self,
        data_id: DataId,
        object: &Object,
        record: Record,
    ) -> Result<Option<Planned>, CatalogError> {
        let Some(first) = object.good().next().or_else(|| object.replicas.first()) else {
            return Ok(None);
        };
        let Ok(path) = self.place.collection.join(&first.name) else {
            return Ok(None);
        };
        let version = version_of(first);
        // Each replica has a time of its own, and any of them may have been imported.
        let versions: Vec<Version> = object.good().map(version_of).collect();
        if !needs_work(self.config, &record, &versions) {
            return Ok(None);
        }
        let changed_after_import =
            matches!(record.state(&self.config.attributes), Some(State::Imported | State::Stale));
        let (version, verdict) = if changed_after_import {
            (version, Verdict::Say(Entry::Stale(STALE.to_owned())))
        } else {
            match self.import_of(&path, object) {
                Ok(Some((replica, verdict))) => (version_of(replica), verdict),
                Ok(None) => return Ok(None),
                Err(Not::Say(entry)) => (version, Verdict::Say(entry)),
                Err(Not::Catalog(error)) => return Err(error),
            }
        };
        let planned = Planned { data_id, path, version, record, verdict };
        Ok((!says_so_already(self.config, &planned)).then_some(planned))
    }

    /// Which replica of a data object goes to OMERO and how; `None` for an empty one, the beginning of a file or a
    /// marker, which is looked at again when it changes.
    fn import_of<'o>(
        &mut self,
        path: &LogicalPath,
        object: &'o Object,
    ) -> Result<Option<(&'o Replica, Verdict)>, Not> {
        let config = self.config;
        let skipped = |reason: String| Not::Say(Entry::Skipped(reason));
        let Some(first) = object.good().next() else {
            let reason = "no replica of the data object is good: repair it in iRODS".to_owned();
            return Err(Not::Say(Entry::Failed(reason)));
        };
        if first.size == 0 {
            return Ok(None);
        }
        let owner =
            IrodsUser::new(&first.owner_name, &first.owner_zone).map_err(|e| skipped(e.to_string()))?;
        let mapping = self.mapping(&owner)?.map_err(|no| {
            let reason = no.to_string();
            Not::Say(if no.will_pass() { Entry::Pending(reason) } else { Entry::Skipped(reason) })
        })?;
        let in_vault = object
            .good()
            .find_map(|r| config.visibility.through_vault(&location_of(r)).map(|seen| (r, seen)));
        let visible = in_vault.or_else(|| config.visibility.through_mount(path).map(|seen| (first, seen)));
        let Some((replica, seen)) = visible else {
            if let Some(resource) = &config.visibility.stage_to
                && !object.good().any(|r| location_of(r).is_on(resource))
            {
                self.targets(&mapping, first.modify_time)?;
                return Ok(Some((first, Verdict::Stage(resource.clone()))));
            }
            let resources: Vec<&str> = object.good().map(|r| r.hierarchy.as_str()).collect();
            return Err(skipped(format!(
                "OMERO cannot see the data where it is ({}); it would see: {}",
                resources.join(", "),
                config.visibility.describe()
            )));
        };
        let importer_path = check_path(&seen).map_err(|reason| Not::Say(Entry::Failed(reason)))?.to_owned();
        let (target, plate_target) = self.targets(&mapping, replica.modify_time)?;
        let checksum = replica.checksum.clone();
        let import = Import { mapping, target, plate_target, importer_path, checksum, owner };
        Ok(Some((replica, Verdict::Import(Box::new(import)))))
    }

    fn mapping(&mut self, owner: &IrodsUser) -> Result<Result<Mapping, NoIdentity>, CatalogError> {
        if let Some(known) = self.mappings.get(owner) {
            return Ok(known.clone());
        }
        let names = &self.config.attributes;
        let asked = Asked { metadata: self.catalog, names, owner, place: Some(self.place) };
        let mapping = self.config.identities.resolve(&asked)?.mapping;
        self.mappings.insert(owner.clone(), mapping.clone());
        Ok(mapping)
    }

    /// Where the images go, and where a plate would.
    fn targets(&mut self, mapping: &Mapping, modify_time: UnixTime) -> Result<(Target, Option<Target>), Not> {
        let Self { catalog, watch, place, avus, .. } = self;
        let mut avu = |name: &str| {
            if let Some(known) = avus.get(name) {
                return Ok(known.clone());
            }
            let found = catalog.nearest_values(place.collection, name, place.root)?;
            let values = found.map(|(_, values)| values).unwrap_or_default();
            avus.insert(name.to_owned(), values.clone());
            Ok(values)
        };
        let Mapping { identity, person, .. } = mapping;
        let mut filling = Filling { place: *place, person, identity, modify_time, avu: &mut avu };
        let plates = watch.plate_target.as_ref();
        let filled = watch.target.fill(&mut filling).and_then(|target| {
            let plate_target = plates.map(|p| p.fill(&mut filling)).transpose()?;
            Ok((target, plate_target))
        });
        filled.map_err(|no| match no {
            NoTarget::Reason(reason) => Not::Say(Entry::Failed(reason)),
            NoTarget::Catalog(error) => Not::Catalog(error),
        })
    }
}

fn version_of(replica: &Replica) -> Version {
    Version { modify_time: replica.modify_time, size: replica.size }
}

fn location_of(replica: &Replica) -> Location<'_> {
    Location { physical_path: &replica.physical_path, hierarchy: &replica.hierarchy }
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
        Verdict::Say(Entry::Importing | Entry::Imported(_) | Entry::Pending(_))
        | Verdict::Stage(_)
        | Verdict::Import(_) => false,
    }
}

/// Whether a data object has to be looked at: it has no record, its record is not final, or it has changed.
fn needs_work(config: &Config, record: &Record, versions: &[Version]) -> bool {
    match record.state(&config.attributes) {
        None | Some(State::Pending | State::Importing | State::Skipped | State::Gone) => true,
        Some(State::Imported | State::Failed | State::Stale) => {
            record.version(&config.attributes).is_some_and(|v| !versions.contains(&v))
        }
    }
}
