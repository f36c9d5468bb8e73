//! What is to be done with a data object, or with a directory that is one image, decided from what the catalog says
//! of it.

use super::survey::Survey;
use super::watched::Scope;
use crate::catalog::{Catalog, CatalogError, Replica, ReplicaStatus, UnixTime, Which};
use irods_omero_config::Config;
use irods_omero_config::identity::{Asked, Mapping, NoIdentity};
use irods_omero_importer::{Subject, check_path};
use irods_omero_model::names::{CollectionId, DataId, IrodsUser, LogicalPath, OmeroId};
use irods_omero_model::record::{Entry, Proof, Record, State, Version};
use irods_omero_model::target::{Filling, NoTarget, Target};
use irods_omero_model::visibility::Location;
use irods_omero_model::watch::{OnOverwrite, Place, Rules, Tag};
use std::collections::{BTreeMap, HashMap};

/// What is to be done with a data object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Write this into its record.
    Say(Entry),
    /// Write that it was imported in this version too: its bytes are the same.
    Touched,
    /// Copy it to this resource first.
    Stage(String),
    /// It could not be decided on for now; to be tried again.
    Postpone(String),
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
    /// Whose it is in iRODS.
    pub owner: IrodsUser,
    /// Filesets of versions before.
    pub previous: Vec<OmeroId>,
}

/// A data object, or a directory that is one image, and its verdict.
#[derive(Debug, Clone)]
pub struct Planned {
    /// What it is.
    pub subject: Subject,
    /// Its logical path.
    pub path: LogicalPath,
    /// Modify time and size of the replica meant.
    pub version: Version,
    /// What proves these bytes; nothing for a directory, whose bytes are those of many data objects.
    pub proof: Option<Proof>,
    /// What its record says now.
    pub record: Record,
    /// How often the import of this version was tried.
    pub attempts: u32,
    /// What to do.
    pub verdict: Verdict,
}

/// The replicas of one data object.
#[derive(Debug, Default)]
pub struct Object {
    /// All of them.
    pub replicas: Vec<Replica>,
}

impl Object {
    pub(super) fn has_good(&self, version: Version) -> bool {
        self.good().any(|r| version_of(r) == version)
    }

    pub(super) fn good(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(|r| r.status == ReplicaStatus::Good && r.fault.is_none())
    }

    /// What of a good replica cannot be read.
    fn fault(&self) -> Option<&str> {
        let mut good = self.replicas.iter().filter(|r| r.status == ReplicaStatus::Good);
        good.find_map(|r| r.fault.as_deref())
    }
}

/// What a person is told of data that changed after its import.
const STALE: &str = "the data changed in iRODS after it was imported; the images in OMERO show the new bytes with \
                     the old metadata: delete them in OMERO and import the data again";

/// Decides on the data objects of one collection. What is the same for all of one owner is asked once.
pub struct Decider<'a> {
    config: &'a Config,
    catalog: &'a dyn Catalog,
    scope: &'a Scope,
    survey: &'a Survey,
    place: Place<'a>,
    mappings: HashMap<IrodsUser, Result<Mapping, NoIdentity>>,
    avus: HashMap<String, Vec<String>>,
}

/// Why a data object is not imported now.
enum Not {
    /// Its record is to say so.
    Say(Entry),
    /// It cannot be decided for now.
    WillPass(String),
    /// The catalog failed.
    Catalog(CatalogError),
}

impl From<CatalogError> for Not {
    fn from(error: CatalogError) -> Self {
        Self::Catalog(error)
    }
}

impl<'a> Decider<'a> {
    /// A decider for the data in a place.
    pub(super) fn new(
        config: &'a Config,
        catalog: &'a dyn Catalog,
        scope: &'a Scope,
        survey: &'a Survey,
        place: Place<'a>,
    ) -> Self {
        Self { config, catalog, scope, survey, place, mappings: HashMap::new(), avus: HashMap::new() }
    }

    /// The verdicts on some of the data objects the survey found, in the order of their ids. Those of which nothing
    /// is to be said are left out.
    pub fn page(&mut self, id: CollectionId, ids: &[DataId]) -> Result<Vec<Planned>, CatalogError> {
        let mut page = Vec::new();
        for (id, (object, record)) in read(self.config, self.catalog, id, ids)? {
            let Some(name) = object.replicas.first().map(|r| &r.name) else { continue };
            let Ok(path) = self.place.collection.join(name) else { continue };
            page.extend(self.planned(Subject::DataObject(id), &path, &object, record)?);
        }
        Ok(page)
    }

    /// The verdict on one data object or directory; `None` where there is nothing to do, or nothing new to say.
    pub fn planned(
        &mut self,
        subject: Subject,
        path: &LogicalPath,
        object: &Object,
        record: Record,
    ) -> Result<Option<Planned>, CatalogError> {
        let Some(first) = object.good().next().or_else(|| object.replicas.first()) else {
            return Ok(None);
        };
        let names = &self.config.attributes;
        let recorded = record.version(names);
        let same = object.good().find(|r| recorded == Some(version_of(r)));
        let attempts = if same.is_some() || recorded.is_none() { record.attempts(names) } else { 0 };
        let planned = |replica: &Replica, record, attempts, verdict| Planned {
            subject,
            path: path.clone(),
            version: version_of(replica),
            proof: matches!(subject, Subject::DataObject(_)).then(|| Proof::of(replica)),
            record,
            attempts,
            verdict,
        };
        let found = match self.verdict(subject, path, object, &record, same.is_some()) {
            Ok(Some((replica, verdict))) => planned(replica.unwrap_or(first), record, attempts, verdict),
            Ok(None) => return Ok(None),
            Err(Not::Say(entry)) => planned(first, record, attempts, Verdict::Say(entry)),
            Err(Not::WillPass(why)) => planned(first, record, attempts, Verdict::Postpone(why)),
            Err(Not::Catalog(error)) => return Err(error),
        };
        Ok((!says_so_already(self.config, &found)).then_some(found))
    }

    fn verdict<'o>(
        &mut self,
        subject: Subject,
        path: &LogicalPath,
        object: &'o Object,
        record: &Record,
        is_same: bool,
    ) -> Result<Option<(Option<&'o Replica>, Verdict)>, Not> {
        let names = &self.config.attributes;
        let (scope, survey) = (self.scope, self.survey);
        let (tag, waits) = match subject {
            Subject::DataObject(id) => (survey.tagged.get(&id), survey.waiting.contains(&id)),
            Subject::Collection(_) => (None, false),
        };
        if record.ignored_by(names).is_some() {
            return Ok(None);
        }
        let rules = scope.rules_of(tag);
        let state = record.state(names);
        if self.config.is_with_an_agent(record) {
            return Ok(None);
        }
        let is_renewed = record.fileset(names).is_some_and(|f| survey.renewed.contains(&f));
        let touched = record.replica_of_same_bytes(names, &object.replicas);
        match state {
            Some(State::Imported | State::Stale) if is_same => {
                if !is_renewed {
                    return Ok(None);
                }
            }
            Some(State::Imported) if touched.is_some() && !is_renewed => {
                return Ok(touched.map(|replica| (Some(replica), Verdict::Touched)));
            }
            Some(State::Imported | State::Stale) if rules.on_overwrite == OnOverwrite::Report => {
                return Err(Not::Say(Entry::Stale(STALE.to_owned())));
            }
            Some(State::Failed) if is_same => return Ok(None),
            Some(_) | None => {}
        }
        let unclear = match tag {
            Some(Err(why)) => Some(why),
            Some(Ok(Tag::On(_))) => None,
            Some(Ok(Tag::Off)) | None => scope.unclear.as_ref(),
        };
        if let Some(why) = unclear {
            return Err(Not::Say(Entry::Skipped(why.clone())));
        }
        if let Some(why) = survey.waits_for.as_ref().filter(|_| waits) {
            return Err(Not::Say(Entry::Pending(why.clone())));
        }
        let mut previous = record.previous(names);
        if matches!(state, Some(State::Imported | State::Stale)) {
            previous.extend(record.fileset(names));
        }
        previous.sort();
        previous.dedup();
        let import = self.import_of(subject, path, object, &rules, previous)?;
        Ok(import.map(|(replica, verdict)| (Some(replica), verdict)))
    }

    /// Which replica of a data object goes to OMERO and how; `None` for an empty one, the beginning of a file or a
    /// marker, which is looked at again when it changes.
    fn import_of<'o>(
        &mut self,
        subject: Subject,
        path: &LogicalPath,
        object: &'o Object,
        rules: &Rules,
        previous: Vec<OmeroId>,
    ) -> Result<Option<(&'o Replica, Verdict)>, Not> {
        let config = self.config;
        let skipped = |reason: String| Not::Say(Entry::Skipped(reason));
        let Some(first) = object.good().next() else {
            let reason = match object.fault() {
                Some(fault) => format!(
                    "the catalog's entry cannot be read, {fault}: set it anew, for example with itouch"
                ),
                None => "no replica of the data object is good: repair it in iRODS".to_owned(),
            };
            return Err(Not::Say(Entry::Failed(reason)));
        };
        if first.size == 0 {
            return Ok(None);
        }
        let owner =
            IrodsUser::new(&first.owner_name, &first.owner_zone).map_err(|e| skipped(e.to_string()))?;
        let mapping = self.mapping(&owner)?.map_err(|no| {
            let reason = no.to_string();
            if no.will_pass() { Not::WillPass(reason) } else { skipped(reason) }
        })?;
        let in_vault = object
            .good()
            .find_map(|r| config.visibility.through_vault(&location_of(r)).map(|seen| (r, seen)));
        let visible = in_vault.or_else(|| config.visibility.through_mount(path).map(|seen| (first, seen)));
        let Some((replica, seen)) = visible else {
            // A whole directory is not copied file by file.
            if let (Some(resource), Subject::DataObject(_)) = (&config.visibility.stage_to, subject)
                && !object.good().any(|r| location_of(r).is_on(resource))
            {
                self.targets(&mapping, rules, first.modify_time)?;
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
        let (target, plate_target) = self.targets(&mapping, rules, replica.modify_time)?;
        let import = Import { mapping, target, plate_target, importer_path, owner, previous };
        Ok(Some((replica, Verdict::Import(Box::new(import)))))
    }

    /// As whom and where to data of somebody would be imported that is not there yet; else what its record would say.
    ///
    /// # Errors
    /// The catalog failed.
    pub(super) fn outlook(
        &mut self,
        owner: &IrodsUser,
        now: UnixTime,
    ) -> Result<Result<(Mapping, Target), Verdict>, CatalogError> {
        let mapping = match self.mapping(owner)? {
            Ok(mapping) => mapping,
            Err(no) if no.will_pass() => return Ok(Err(Verdict::Postpone(no.to_string()))),
            Err(no) => return Ok(Err(Verdict::Say(Entry::Skipped(no.to_string())))),
        };
        let rules = &self.scope.rules;
        match self.targets(&mapping, rules, now) {
            Ok((target, _)) => Ok(Ok((mapping, target))),
            Err(Not::Say(entry)) => Ok(Err(Verdict::Say(entry))),
            Err(Not::WillPass(why)) => Ok(Err(Verdict::Postpone(why))),
            Err(Not::Catalog(error)) => Err(error),
        }
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
    fn targets(
        &mut self,
        mapping: &Mapping,
        rules: &Rules,
        modify_time: UnixTime,
    ) -> Result<(Target, Option<Target>), Not> {
        let Self { catalog, place, avus, .. } = self;
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
        let plates = rules.plate_target.as_ref();
        let filled = rules.target.fill(&mut filling).and_then(|target| {
            let plate_target = plates.map(|p| p.fill(&mut filling)).transpose()?;
            Ok((target, plate_target))
        });
        filled.map_err(|no| match no {
            NoTarget::Reason(reason) => Not::Say(Entry::Failed(reason)),
            NoTarget::Catalog(error) => Not::Catalog(error),
        })
    }
}

/// The replicas and records of some data objects (in the order of their ids) of a collection, as far as they are there.
pub(super) fn read(
    config: &Config,
    catalog: &dyn Catalog,
    id: CollectionId,
    ids: &[DataId],
) -> Result<BTreeMap<DataId, (Object, Record)>, CatalogError> {
    let mut objects: BTreeMap<DataId, (Object, Record)> = BTreeMap::new();
    let (Some(first), Some(last)) = (ids.first(), ids.last()) else {
        return Ok(objects);
    };
    let which = Which::Between(*first, *last);
    catalog.replicas(id, which, &mut |replica| {
        if ids.binary_search(&replica.data_id).is_ok() {
            objects.entry(replica.data_id).or_default().0.replicas.push(replica);
        }
    })?;
    catalog.object_avus(id, which, &config.attributes.record(), &mut |id, triple| {
        if let Some((_, record)) = objects.get_mut(&id) {
            record.triples.push(triple);
        }
    })?;
    Ok(objects)
}

pub(super) fn version_of(replica: &Replica) -> Version {
    Version { modify_time: replica.modify_time, size: replica.size }
}

fn location_of(replica: &Replica) -> Location<'_> {
    Location { physical_path: &replica.physical_path, hierarchy: &replica.hierarchy }
}

/// Whether the record has the verdict's state and reason, so that writing it would change nothing but a number.
fn says_so_already(config: &Config, planned: &Planned) -> bool {
    let names = &config.attributes;
    match &planned.verdict {
        Verdict::Say(entry) => {
            planned.record.state(names) == Some(entry.state())
                && entry.reason().as_deref() == planned.record.reason(names)
                && (matches!(entry, Entry::Stale(_))
                    || planned.record.version(names) == Some(planned.version))
        }
        Verdict::Touched | Verdict::Stage(_) | Verdict::Postpone(_) | Verdict::Import(_) => false,
    }
}
