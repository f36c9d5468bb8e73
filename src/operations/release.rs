//! `{"operation":"release","path":...,"recursive":...,"images":"keep"}`: the tie of data to OMERO ends, and with it what the
//! guard refuses. The images stay, or are deleted with the rights of whoever asks.
//!
//! Nothing in a client's process talks to OMERO: the deletion is a job's. So is the look after a refusal, and for the same
//! data: `{"operation":"look_in_omero",...}` asks which filesets are still there, and writes down which are not.

use super::attention::{about, client};
use super::subject::{Subject, Thing, things};
use super::{Context, OperationError, Request};
use crate::catalog::{Item, Kind, Level, RecordHolder, Which};
use crate::guard::imported::{is_in_omero, look_text};
use irods_omero_config::identity::Asked;
use irods_omero_importer::{self as importer, FilesetToDelete, ImporterError, Importing};
use irods_omero_model::attributes::Attributes;
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::{CollectionId, DataId, IrodsUser, LogicalPath, OmeroId};
use irods_omero_model::record::Record;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How many data objects one job looks at; a refusal after it queues another.
const MOST: usize = 20_000;

/// How the text of a job begins that deletes.
pub(super) const DELETES: &str = r#"{"operation":"delete_in_omero""#;

/// How often a job that deletes is tried again while OMERO is away, and after how long.
const TRIES: u32 = 20;
const WAIT: Duration = Duration::from_secs(60);

/// What becomes of the images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Images {
    /// They stay in OMERO.
    Keep,
    /// They are deleted there.
    Delete,
}

impl Images {
    /// The words of a request.
    pub const WORDS: [&'static str; 2] = ["keep", "delete"];
}

/// A request to end a tie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// A data object, with all files of its set, or a collection.
    pub path: LogicalPath,
    /// Whether all below a collection is meant too.
    pub recursive: bool,
    /// What becomes of the images.
    pub images: Images,
}

/// What a job is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The collection; a directory that is one image, or the one that holds the data object.
    pub collection: CollectionId,
    /// One data object in it.
    pub data: Option<DataId>,
    /// Whether all below is meant.
    pub tree: bool,
}

/// A job that deletes images and ends the tie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// Of what.
    pub scope: Scope,
    /// Who asked.
    pub by: IrodsUser,
    /// Whether that is an administrator: then the images go with their owner's rights.
    pub is_admin: bool,
    /// How often it has been tried.
    pub tries: u32,
}

/// Something with images in OMERO.
pub(super) struct Tied {
    pub path: LogicalPath,
    pub kind: Kind,
    pub record: Record,
}

impl Release {
    /// Ends the tie.
    ///
    /// # Errors
    /// The client may not write there, there is nothing to release, or the catalog failed.
    pub fn answer(&self, context: &Context<'_>, request: &Request) -> Result<Value, OperationError> {
        let Context { config, catalog, .. } = *context;
        let names = &config.attributes;
        let subject = Subject::find(context, &self.path, Level::WRITE)?;
        if !context.on_provider {
            context.leave_to_provider(request)?;
            return Ok(about(&subject, json!({"queued": true})));
        }
        let user = client(context)?;
        let (mut sets, mut tied) = (BTreeSet::new(), Vec::new());
        subject.each(context, self.recursive, &mut |thing| {
            if is_in_omero(names, &thing.record) {
                sets.extend(thing.record.fileset(names));
                tied.push(Tied::from(thing));
            }
            Ok(())
        })?;
        // A set ends as a whole: what is left of one shows nothing.
        let (tied, unchanged) = with_their_sets(context, tied, &sets)?;
        if let (true, Item::DataObject(..)) = (tied.is_empty() && unchanged == 0, subject.item) {
            return Err(OperationError::Impossible(format!(
                "there is nothing to release at {}: no images in OMERO are made of it",
                subject.path
            )));
        }
        if self.images == Images::Delete {
            can_ask(context)?;
            let deletion = Deletion {
                scope: scope_of(&subject, self.recursive),
                by: user,
                is_admin: catalog.client_is_admin(),
                tries: 0,
            };
            catalog.queue(&deletion.text(), Duration::from_secs(1))?;
            let answer = json!({"queued": true, "to_delete": sets.len(), "unchanged": unchanged});
            return Ok(about(&subject, answer));
        }
        for Tied { path, kind, record } in &tied {
            catalog.replace(*kind, path, &record.triples, &record.released(names, &user, false))?;
            log::info!("act=release path={path} user={user} images=kept");
        }
        Ok(about(&subject, json!({"released": tied.len(), "unchanged": unchanged})))
    }
}

impl Tied {
    /// What it is to the importer.
    fn subject(&self) -> Option<importer::Subject> {
        let number = self.record.found_on?.to_string();
        Some(match self.kind {
            Kind::DataObject => importer::Subject::DataObject(DataId::parse(&number).ok()?),
            Kind::Collection => importer::Subject::Collection(CollectionId::parse(&number).ok()?),
        })
    }
}

impl From<Thing> for Tied {
    fn from(thing: Thing) -> Self {
        Self { path: thing.path, kind: thing.kind, record: thing.record }
    }
}

/// The text of the job that asks OMERO about something.
pub(super) fn look_of(subject: &Subject, recursive: bool) -> String {
    let Scope { collection, data, tree } = scope_of(subject, recursive);
    look_text(collection, data, tree)
}

fn scope_of(subject: &Subject, recursive: bool) -> Scope {
    match subject.item {
        Item::DataObject(id, collection) => Scope { collection, data: Some(id), tree: false },
        Item::Collection(collection) => Scope { collection, data: None, tree: recursive && !subject.is_unit },
    }
}

/// The same with all other files of the same sets. A set of which the client may not change a file is left out as a whole;
/// also gives how many data objects that are.
fn with_their_sets(
    context: &Context<'_>,
    mut tied: Vec<Tied>,
    sets: &BTreeSet<OmeroId>,
) -> Result<(Vec<Tied>, usize), OperationError> {
    let Context { config, catalog, .. } = *context;
    let names = &config.attributes;
    let user = catalog.client();
    let mut refused = BTreeSet::new();
    for set in sets {
        for (id, collection) in catalog.data_of_fileset(*set)? {
            let Some((_, path)) = catalog.object_path(id)? else { continue };
            if tied.iter().any(|one| one.path == path) {
                continue;
            }
            let may = catalog.client_is_admin()
                || match &user {
                    Some(user) => catalog
                        .permission(user, Item::DataObject(id, collection))?
                        .is_some_and(|level| level >= Level::WRITE),
                    None => false,
                };
            if !may {
                refused.insert(*set);
                break;
            }
            let Some(parent) = path.parent() else { continue };
            let found = things(context, collection, &parent, Which::Between(id, id))?;
            tied.extend(found.into_iter().filter(|t| is_in_omero(names, &t.record)).map(Tied::from));
        }
    }
    let before = tied.len();
    tied.retain(|one| one.record.fileset(names).is_none_or(|set| !refused.contains(&set)));
    let unchanged = before - tied.len();
    Ok((tied, unchanged))
}

/// The data objects of some sets that are not among others.
fn files_of(
    context: &Context<'_>,
    sets: &BTreeSet<OmeroId>,
    known: &[Tied],
) -> Result<Vec<Tied>, OperationError> {
    let (catalog, names) = (context.catalog, &context.config.attributes);
    let mut found = Vec::new();
    for set in sets {
        for (id, collection) in catalog.data_of_fileset(*set)? {
            let Some((_, path)) = catalog.object_path(id)? else { continue };
            let Some(parent) = path.parent().filter(|_| !known.iter().any(|one| one.path == path)) else {
                continue;
            };
            let all = things(context, collection, &parent, Which::Between(id, id))?;
            found.extend(all.into_iter().filter(|t| is_in_omero(names, &t.record)).map(Tied::from));
        }
    }
    Ok(found)
}

/// What speaks to OMERO: this host, or agents.
pub(super) fn can_ask<'c>(context: &Context<'c>) -> Result<Importing<'c>, OperationError> {
    context.sweeper.importing.ok_or_else(|| OperationError::Impossible("no OMERO is configured".to_owned()))
}

/// The name of the zone.
pub(super) fn zone_of(context: &Context<'_>) -> Result<String, OperationError> {
    let zone = context.catalog.zone()?;
    Ok(String::from_utf8_lossy(zone.elements().next().unwrap_or_default()).into_owned())
}

impl Scope {
    /// What of it is in OMERO.
    fn tied(&self, context: &Context<'_>) -> Result<Vec<Tied>, OperationError> {
        let Context { config, catalog, .. } = *context;
        let names = &config.attributes;
        let Some(path) = catalog.collection_path(self.collection)? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        let mut take = |all: Vec<Thing>| {
            found.extend(all.into_iter().filter(|t| is_in_omero(names, &t.record)).map(Tied::from));
            found.len() < MOST
        };
        if let Some(id) = self.data {
            take(things(context, self.collection, &path, Which::Between(id, id))?);
            return Ok(found);
        }
        let directory = |path: &LogicalPath| -> Result<Vec<Thing>, OperationError> {
            let record = catalog.record_of(path)?;
            Ok(record
                .into_iter()
                .filter(|(holder, _)| matches!(holder, RecordHolder::Collection(_)))
                .map(|(_, record)| Thing {
                    path: path.clone(),
                    kind: Kind::Collection,
                    record,
                    replicas: Vec::new(),
                })
                .collect())
        };
        let is_unit = config.unit_of(path.as_bytes()) == Some(path.as_bytes());
        if is_unit || self.tree {
            let directories = if self.tree {
                catalog.directories_in_omero(&path)?
            } else {
                [(path.clone(), self.collection)].into()
            };
            for path in directories.keys() {
                if !take(directory(path)?) {
                    return Ok(found);
                }
            }
        }
        if is_unit {
            return Ok(found);
        }
        let collections = if self.tree {
            catalog.collections_in_omero(&path)?
        } else {
            [(path.clone(), self.collection)].into()
        };
        for (path, id) in &collections {
            if !take(things(context, *id, path, Which::All)?) {
                break;
            }
        }
        Ok(found)
    }

    /// Asks OMERO which filesets are still there, and writes down which are not.
    ///
    /// # Errors
    /// The catalog failed. That OMERO does not answer is told in the log: whoever is refused again has it asked again.
    pub fn look(&self, context: &Context<'_>) -> Result<Value, OperationError> {
        let Context { config, catalog, .. } = *context;
        let names = &config.attributes;
        let (importing, zone) = (can_ask(context)?, zone_of(context)?);
        let (mut looked_at, mut removed) = (0_usize, 0_usize);
        for (identity, tied) in by_owner(context, self.tied(context)?) {
            let ids: BTreeSet<OmeroId> = tied.iter().filter_map(|t| t.record.fileset(names)).collect();
            let now = context.sweeper.clock.now();
            let present = match importing.present(&zone, &identity, &ids, now) {
                Ok(present) => present,
                Err(error) => {
                    log::warn!("act=look_in_omero user={} failed=\"{error}\"", identity.user);
                    continue;
                }
            };
            // Of a set that is gone no file is shown, wherever it lies.
            let gone: BTreeSet<OmeroId> = ids.difference(&present).copied().collect();
            let others = files_of(context, &gone, &tied)?;
            for Tied { path, kind, record } in tied.into_iter().chain(others) {
                looked_at += 1;
                if record.fileset(names).is_none_or(|id| present.contains(&id)) {
                    continue;
                }
                catalog.replace(kind, &path, &record.triples, &record.removed_in_omero(names, None))?;
                removed += 1;
                log::info!("act=look_in_omero path={path} removed_in_omero=yes");
            }
        }
        Ok(json!({"looked_at": looked_at, "removed_in_omero": removed}))
    }
}

/// What is tied to OMERO by the OMERO user whose images it is.
pub(super) fn by_owner(context: &Context<'_>, tied: Vec<Tied>) -> BTreeMap<OmeroIdentity, Vec<Tied>> {
    let mut all: BTreeMap<OmeroIdentity, Vec<Tied>> = BTreeMap::new();
    for one in tied {
        if let Some(identity) = one.record.owner(&context.config.attributes) {
            all.entry(identity).or_default().push(one);
        } else {
            log::warn!(
                "act=look_in_omero path={} failed=\"its record does not say whose images it is\"",
                one.path
            );
        }
    }
    all
}

impl Deletion {
    /// The text of the job.
    pub fn text(&self) -> String {
        let rest = json!({
            "collection": self.scope.collection.to_string(),
            "data": self.scope.data.map(|id| id.to_string()),
            "tree": self.scope.tree,
            "by": self.by.to_string(),
            "admin": self.is_admin,
            "tries": self.tries,
        });
        // Our jobs are known by their beginning. The server refuses texts in which a dollar is followed by one of some words.
        let rest = rest.to_string().replace('$', "\\u0024");
        format!("{DELETES},{}", rest.trim_start_matches('{'))
    }

    /// Deletes the images and ends the tie of what they were made of.
    ///
    /// # Errors
    /// The catalog failed.
    pub fn perform(&self, context: &Context<'_>) -> Result<Value, OperationError> {
        let Context { config, catalog, .. } = *context;
        let names = &config.attributes;
        let (importing, zone) = (can_ask(context)?, zone_of(context)?);
        let own = if self.is_admin { None } else { Some(self.identity(context)?) };
        let (mut released, mut left, mut waits) = (0_usize, 0_usize, false);
        for (owner, tied) in by_owner(context, self.scope.tied(context)?) {
            let sets: BTreeSet<OmeroId> = tied.iter().filter_map(|t| t.record.fileset(names)).collect();
            let (tied, unchanged) = with_their_sets(context, tied, &sets)?;
            left += unchanged;
            let identity = own.as_ref().unwrap_or(&owner);
            let now = context.sweeper.clock.now();
            let filesets = of_filesets(names, &sets, &tied);
            if filesets.is_empty() {
                continue;
            }
            let deleted = importing.delete(&zone, identity, &filesets, now).and_then(|mut left| {
                // Of what somebody else may not see OMERO says that it is gone: its owner is asked.
                if *identity != owner {
                    for id in importing.present(&zone, &owner, &sets, now)? {
                        let why = format!("it is still there: may OMERO user {} delete it?", identity.user);
                        left.entry(id).or_insert(why);
                    }
                }
                Ok(left)
            });
            let there = match deleted {
                Ok(there) => there,
                Err(error) => {
                    waits |= matches!(error, ImporterError::WillPass(_));
                    log::warn!("act=delete_in_omero by={} failed=\"{error}\"", self.by);
                    continue;
                }
            };
            for Tied { path, kind, record } in tied {
                if let Some((id, why)) = record.fileset(names).and_then(|id| there.get_key_value(&id)) {
                    left += 1;
                    log::warn!("act=delete_in_omero by={} path={path} fileset={id} failed={why:?}", self.by);
                    continue;
                }
                catalog.replace(kind, &path, &record.triples, &record.released(names, &self.by, true))?;
                released += 1;
                log::info!("act=release path={path} user={} images=deleted", self.by);
            }
        }
        if waits && self.tries < TRIES {
            let again = Self { tries: self.tries + 1, ..self.clone() };
            catalog.queue(&again.text(), WAIT)?;
        }
        Ok(json!({"released": released, "left": left}))
    }

    /// Who asked, in OMERO.
    fn identity(&self, context: &Context<'_>) -> Result<OmeroIdentity, OperationError> {
        let Context { config, catalog, .. } = *context;
        let asked = Asked { metadata: catalog, names: &config.attributes, owner: &self.by, place: None };
        let answer = config.identities.resolve(&asked)?;
        let mapping = answer.mapping.map_err(|why| {
            log::warn!("act=delete_in_omero by={} failed=\"{why}\"", self.by);
            OperationError::Impossible(format!("{} has no OMERO user: {why}", self.by))
        })?;
        Ok(mapping.identity)
    }
}

/// Some filesets, each with the files of its set.
fn of_filesets(names: &Attributes, sets: &BTreeSet<OmeroId>, tied: &[Tied]) -> Vec<FilesetToDelete> {
    let mut subjects: BTreeMap<OmeroId, BTreeSet<importer::Subject>> = BTreeMap::new();
    for one in tied {
        if let (Some(fileset), Some(subject)) = (one.record.fileset(names), one.subject()) {
            subjects.entry(fileset).or_default().insert(subject);
        }
    }
    // Of the others there is nothing that the client may change.
    subjects.retain(|fileset, _| sets.contains(fileset));
    subjects.into_iter().map(|(fileset, subjects)| FilesetToDelete { fileset, subjects }).collect()
}
