//! What is to be done with a data object, or with a directory that is one image, decided from what the catalog says
//! of it.

use super::survey::Survey;
use super::watched::Scope;
use crate::catalog::{Catalog, CatalogError, Replica, ReplicaStatus, UnixTime, Which};
use irods_omero_config::Config;
use irods_omero_config::identity::{Asked, Mapping, NoIdentity};
use irods_omero_importer::{Subject, check_path};
use irods_omero_model::attributes::Attributes;
use irods_omero_model::decide::{
    Aim, Bytes, Decision, Facts, Mapped, Question, Recorded, Replicas, Rest, Settlement, Sight, Wait, Why,
    decide, settle,
};
use irods_omero_model::names::{CollectionId, DataId, IrodsUser, LogicalPath, OmeroId};
use irods_omero_model::record::{Cause, Entry, Proof, Record, State, Version, Whereabouts};
use irods_omero_model::target::{Filling, NoTarget, Target};
use irods_omero_model::visibility::Location;
use irods_omero_model::watch::{Place, Rules};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// What is to be done with a data object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Write this into its record.
    Say(Entry),
    /// Write that it was imported in this version too: its bytes are the same.
    Touched,
    /// Write that it waits to see whether it changes.
    Await {
        /// For how long.
        wait: Duration,
        /// Why.
        why: String,
    },
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
    /// Where they lie.
    pub whereabouts: Option<Whereabouts>,
    /// What its record says now.
    pub record: Record,
    /// How often the import of this version was tried.
    pub attempts: u32,
    /// What to do.
    pub verdict: Verdict,
}

/// What the decision about a data object, or a directory that is one image, came to.
#[derive(Debug, Clone)]
pub enum Plan {
    /// Nothing is done, or nothing new is said.
    Rest(Rest),
    /// It waits.
    Waits(Wait),
    /// This is done.
    Do(Box<Planned>),
}

/// The replicas of one data object.
#[derive(Debug, Default)]
pub struct Object {
    /// All of them.
    pub replicas: Vec<Replica>,
}

impl Object {
    /// Whether a good replica is of the version that the record is about.
    pub(super) fn is_recorded(&self, names: &Attributes, record: &Record) -> bool {
        let recorded = Recorded::of(names, record);
        Replicas::of(&recorded, &self.replicas).bytes(Some(&recorded)) == Bytes::Recorded
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

/// Where OMERO sees data, with what is needed for the next step.
enum Seen<'o> {
    /// Under a path.
    At(&'o Replica, String),
    /// Under a path that the importer cannot take; a sentence says why.
    BadName(String),
    /// After a copy to a resource.
    AfterCopy(String),
    /// Nowhere; a sentence says why.
    Nowhere(String),
}

impl Seen<'_> {
    fn sight(&self) -> Sight {
        match self {
            Self::At(..) => Sight::Visible,
            Self::BadName(_) => Sight::BadName,
            Self::AfterCopy(_) => Sight::AfterCopy,
            Self::Nowhere(_) => Sight::Nowhere,
        }
    }
}

/// The answers to the questions of [`settle`], with what is needed for the next step.
type Targets = (Target, Option<Target>);

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

    /// What is to be done with some of the data objects the survey found, in the order of their ids. Those of which
    /// nothing is to be said are left out.
    pub fn page(&mut self, id: CollectionId, ids: &[DataId]) -> Result<Vec<Planned>, CatalogError> {
        let plans = self.plans(id, ids)?.into_iter();
        let planned = plans.filter_map(|plan| match plan {
            Plan::Do(planned) => Some(*planned),
            Plan::Rest(_) | Plan::Waits(_) => None,
        });
        Ok(planned.collect())
    }

    /// The same with those of which nothing is to be said.
    pub(super) fn plans(&mut self, id: CollectionId, ids: &[DataId]) -> Result<Vec<Plan>, CatalogError> {
        let mut plans = Vec::new();
        for (id, (object, record)) in read(self.config, self.catalog, id, ids)? {
            let Some(name) = object.replicas.first().map(|r| &r.name) else { continue };
            let Ok(path) = self.place.collection.join(name) else { continue };
            plans.push(self.plan(Subject::DataObject(id), &path, &object, record)?);
        }
        Ok(plans)
    }

    /// What is to be done with one data object or directory.
    pub fn plan(
        &mut self,
        subject: Subject,
        path: &LogicalPath,
        object: &Object,
        record: Record,
    ) -> Result<Plan, CatalogError> {
        let Some(first) = object.good().next().or_else(|| object.replicas.first()) else {
            return Ok(Plan::Rest(Rest::Empty));
        };
        let recorded = Recorded::of(&self.config.attributes, &record);
        let replicas = Replicas::of(&recorded, &object.replicas);
        let (scope, survey) = (self.scope, self.survey);
        let data = match subject {
            Subject::DataObject(id) => Some(id),
            Subject::Collection(_) => None,
        };
        let facts = survey.facts(self.config, scope, data, &recorded, replicas);
        let tag = data.and_then(|id| survey.tagged.get(&id));
        let rules = scope.rules_of(tag);
        let (replica, verdict) = match decide(&facts, rules.on_overwrite, survey.now) {
            Decision::Rest(rest) => return Ok(Plan::Rest(rest)),
            Decision::Wait(wait) => return Ok(Plan::Waits(wait)),
            // Nobody asks for that here.
            Decision::Reopen | Decision::LeaveAlone => return Ok(Plan::Rest(Rest::AtWork)),
            Decision::Confirm => {
                let same = object.good().find(|r| recorded.version == Some(version_of(r)));
                let same = same.or_else(|| recorded.find(&object.replicas));
                (same, Verdict::Touched)
            }
            Decision::Say(State::Pending, Why::Ahead) => {
                (None, Verdict::Await { wait: rules.quiet_period, why: AHEAD.to_owned() })
            }
            Decision::Say(state, why) => {
                let tag = scope.why_unclear(tag).map(String::as_str);
                (None, Verdict::Say(entry(state, why, &self.reason(why, object, tag))))
            }
            Decision::Wanted { .. } => match self.settled(subject, path, object, &record, &facts, &rules)? {
                Ok(settled) => settled,
                Err(rest) => return Ok(Plan::Rest(rest)),
            },
        };
        let replica = replica.unwrap_or(first);
        let is_counted = facts.bytes == Bytes::Recorded || recorded.version.is_none();
        let planned = Planned {
            subject,
            path: path.clone(),
            version: version_of(replica),
            proof: data.map(|_| Proof::of(replica)),
            whereabouts: data.map(|_| Whereabouts::of(replica)),
            attempts: if is_counted { recorded.attempts } else { 0 },
            record,
            verdict,
        };
        if says_so_already(self.config, &planned) {
            return Ok(Plan::Rest(Rest::Failed));
        }
        Ok(Plan::Do(Box::new(planned)))
    }

    /// A reason in words, of what is said without a question to anybody.
    fn reason(&self, why: Why, object: &Object, unclear: Option<&str>) -> String {
        match why {
            Why::Changed => STALE.to_owned(),
            Why::Empty => {
                "the data object is empty: there is nothing to import until it has bytes".to_owned()
            }
            Why::NoGood => "no replica of the data object is good: repair it in iRODS".to_owned(),
            Why::Unreadable => format!(
                "the catalog's entry cannot be read, {}: set it anew, for example with itouch",
                object.fault().unwrap_or("which was another a moment ago")
            ),
            Why::Tag => unclear.unwrap_or_default().to_owned(),
            Why::Set => self.survey.waits_for.clone().unwrap_or_default(),
            Why::Ahead => AHEAD.to_owned(),
            Why::Left | Why::Mapping | Why::Place | Why::Name | Why::Target => String::new(),
        }
    }

    /// What becomes of data that is wanted: which replica goes to OMERO and how.
    fn settled<'o>(
        &mut self,
        subject: Subject,
        path: &LogicalPath,
        object: &'o Object,
        record: &Record,
        facts: &Facts,
        rules: &Rules,
    ) -> Result<Result<(Option<&'o Replica>, Verdict), Rest>, CatalogError> {
        let names = &self.config.attributes;
        let Some(first) = object.good().next() else { return Ok(Err(Rest::Empty)) };
        let owner = IrodsUser::new(&first.owner_name, &first.owner_zone);
        let seen = self.seen(subject, path, object, first);
        let replica = if let Seen::At(replica, _) = &seen { *replica } else { first };
        let mut mapping: Option<Result<Mapping, (String, bool)>> = None;
        let mut targets: Option<Result<Targets, String>> = None;
        loop {
            let mapped = mapping.as_ref().map(|mapping| match mapping {
                Ok(_) => Mapped::Yes,
                Err((_, will_pass)) => {
                    if *will_pass {
                        Mapped::NotNow
                    } else {
                        Mapped::No
                    }
                }
            });
            let is_refused = |(target, plates): &Targets| {
                facts.bytes == Bytes::Recorded
                    && record.refused_target(names, &target.with_plates(plates.as_ref()))
            };
            let aim = targets.as_ref().map(|targets| match targets {
                Ok(targets) if is_refused(targets) => Aim::RefusedBefore,
                Ok(_) => Aim::Known,
                Err(_) => Aim::Unknown,
            });
            let verdict = match settle(mapped, seen.sight(), aim) {
                Settlement::Ask(Question::Mapping) => {
                    mapping = Some(match &owner {
                        Ok(owner) => self.mapping(owner)?.map_err(|no| (no.to_string(), no.will_pass())),
                        Err(error) => Err((error.to_string(), false)),
                    });
                    continue;
                }
                Settlement::Ask(Question::Target) => {
                    if let Some(Ok(mapping)) = &mapping {
                        targets = Some(self.targets(mapping, rules, replica.modify_time)?);
                    }
                    continue;
                }
                Settlement::Rest(rest) => return Ok(Err(rest)),
                Settlement::Postpone => Verdict::Postpone(reason_of(mapping.as_ref(), |(why, _)| why)),
                Settlement::Say(state, why) => {
                    let reason = match (&seen, why) {
                        (_, Why::Mapping) => reason_of(mapping.as_ref(), |(why, _)| why),
                        (_, Why::Target) => reason_of(targets.as_ref(), |why| why),
                        (Seen::BadName(why) | Seen::Nowhere(why), _) => why.clone(),
                        (Seen::At(..) | Seen::AfterCopy(_), _) => String::new(),
                    };
                    Verdict::Say(entry(state, why, &reason))
                }
                Settlement::Copy | Settlement::Import => match (seen, mapping, targets, owner) {
                    (Seen::AfterCopy(resource), ..) => Verdict::Stage(resource),
                    (Seen::At(_, importer_path), Some(Ok(mapping)), Some(Ok(targets)), Ok(owner)) => {
                        let ((target, plate_target), previous) = (targets, record.filesets_before(names));
                        let import = Import { mapping, target, plate_target, importer_path, owner, previous };
                        Verdict::Import(Box::new(import))
                    }
                    _ => return Ok(Err(Rest::Failed)),
                },
            };
            return Ok(Ok((Some(replica), verdict)));
        }
    }

    /// Where OMERO sees the data.
    fn seen<'o>(
        &self,
        subject: Subject,
        path: &LogicalPath,
        object: &'o Object,
        first: &'o Replica,
    ) -> Seen<'o> {
        let visibility = &self.config.visibility;
        let in_vault =
            object.good().find_map(|r| visibility.through_vault(&location_of(r)).map(|seen| (r, seen)));
        let visible = in_vault.or_else(|| visibility.through_mount(path).map(|seen| (first, seen)));
        if let Some((replica, seen)) = visible {
            return match check_path(&seen) {
                Ok(path) => Seen::At(replica, path.to_owned()),
                Err(why) => Seen::BadName(why),
            };
        }
        // A whole directory is not copied file by file.
        if let (Some(resource), Subject::DataObject(_)) = (&visibility.stage_to, subject)
            && !object.good().any(|r| location_of(r).is_on(resource))
        {
            return Seen::AfterCopy(resource.clone());
        }
        let resources: Vec<&str> = object.good().map(|r| r.hierarchy.as_str()).collect();
        Seen::Nowhere(format!(
            "OMERO cannot see the data where it is ({}); it would see: {}",
            resources.join(", "),
            visibility.describe()
        ))
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
            Err(no) => return Ok(Err(Verdict::Say(Entry::Skipped(Cause::Mapping, no.to_string())))),
        };
        let rules = &self.scope.rules;
        Ok(match self.targets(&mapping, rules, now)? {
            Ok((target, _)) => Ok((mapping, target)),
            Err(why) => Err(Verdict::Say(Entry::Failed(Cause::Target, why))),
        })
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

    /// Where the images go, and where a plate would; else a sentence says why that cannot be told.
    fn targets(
        &mut self,
        mapping: &Mapping,
        rules: &Rules,
        modify_time: UnixTime,
    ) -> Result<Result<Targets, String>, CatalogError> {
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
        match filled {
            Ok(targets) => Ok(Ok(targets)),
            Err(NoTarget::Reason(reason)) => Ok(Err(reason)),
            Err(NoTarget::Catalog(error)) => Err(error),
        }
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
    for (ids, which) in runs(ids) {
        read_run(config, catalog, id, (ids, which), &mut objects)?;
    }
    Ok(objects)
}

/// How far apart two ids may be that are read together: rows that are not wanted cost less than one more question.
const NEAR: u64 = 1_000;

/// Ids (in their order) that lie near each other, with what is to be read for them.
pub(super) fn runs(ids: &[DataId]) -> impl Iterator<Item = (&[DataId], Which)> {
    let is_near = |one: &DataId, next: &DataId| next.number().saturating_sub(one.number()) <= NEAR;
    ids.chunk_by(is_near).filter_map(|run| Some((run, Which::Between(*run.first()?, *run.last()?))))
}

fn read_run(
    config: &Config,
    catalog: &dyn Catalog,
    id: CollectionId,
    (ids, which): (&[DataId], Which),
    objects: &mut BTreeMap<DataId, (Object, Record)>,
) -> Result<(), CatalogError> {
    catalog.replicas(id, which, &mut |replica| {
        if ids.binary_search(&replica.data_id).is_ok() {
            let new = || (Object::default(), Record::on(replica.data_id.number()));
            objects.entry(replica.data_id).or_insert_with(new).0.replicas.push(replica);
        }
    })?;
    catalog.object_avus(id, which, &config.attributes.record(), &mut |id, triple| {
        if let Some((_, record)) = objects.get_mut(&id) {
            record.triples.push(triple);
        }
    })
}

/// What a person is told of data whose modify time says nothing about when it was written.
const AHEAD: &str = "the modify time of the data is ahead of this server's clock, so it cannot be told whether it is \
                     still being written: it is imported when it has stayed the same for the quiet period";

/// What a record says.
fn entry(state: State, why: Why, reason: &str) -> Entry {
    let reason = reason.to_owned();
    match (state, why.cause()) {
        (State::Stale, Some(cause)) => Entry::Stale(cause, reason),
        (State::Skipped, Some(cause)) => Entry::Skipped(cause, reason),
        (State::Failed, Some(cause)) => Entry::Failed(cause, reason),
        (State::Gone, _) => Entry::Gone(reason),
        (_, _) => Entry::Pending(reason),
    }
}

fn reason_of<T, E>(answer: Option<&Result<T, E>>, why: fn(&E) -> &String) -> String {
    answer.and_then(|answer| answer.as_ref().err()).map(|error| why(error).clone()).unwrap_or_default()
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
                && (matches!(entry, Entry::Stale(..))
                    || planned.record.version(names) == Some(planned.version))
        }
        Verdict::Touched
        | Verdict::Await { .. }
        | Verdict::Stage(_)
        | Verdict::Postpone(_)
        | Verdict::Import(_) => false,
    }
}
