//! What is known of some data: from the catalog at once, from OMERO in one question for each of its users.

use super::{About, Batch, Found, Page, is_in_omero};
use crate::catalog::{CatalogError, Kind, Replica, ReplicaStatus};
use crate::operations::subject::Thing;
use crate::operations::{Context, OperationError};
use crate::sweep::Awaited;
use crate::watch;
use irods_omero_config::identity::Asked;
use irods_omero_importer::inspect::Inspection;
use irods_omero_importer::{Importing, check_path};
use irods_omero_model::decide::{Recorded, Replicas};
use irods_omero_model::doctor::{Code, Facts, Fileset, Finding, Mapped, Omero, Repair, Seen, examine};
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::{CollectionId, DataId, IrodsUser, LogicalPath, OmeroId};
use irods_omero_model::watch::{Place, Watching};
use std::collections::{BTreeMap, BTreeSet};

/// One thing of which all is known but OMERO's side.
pub(super) struct Looked {
    facts: Facts,
    about: About,
    path: LogicalPath,
    fileset: Option<OmeroId>,
}

/// One page's look.
pub(super) struct Look<'c> {
    awaited: Awaited,
    /// As whom the data of somebody in a collection would be imported.
    mapped: BTreeMap<(IrodsUser, CollectionId), Mapped>,
    /// What OMERO is to be asked about, by its users.
    batch: Batch,
    context: &'c Context<'c>,
}

impl<'c> Look<'c> {
    pub fn new(context: &'c Context<'c>) -> Result<Self, OperationError> {
        let awaited = context.sweeper.awaited()?;
        Ok(Self { awaited, mapped: BTreeMap::new(), batch: BTreeMap::new(), context })
    }

    /// Why OMERO's side is not looked at, where it cannot be.
    pub fn no_omero(context: &Context<'_>) -> String {
        match context.sweeper.importing {
            Some(Importing::ByAgents(_)) => {
                "OMERO's filesets and links: agents import here, and an agent does not tell of them; \
                                             iRODS' side was looked at all the same"
                    .to_owned()
            }
            Some(Importing::Here(_)) | None => {
                "OMERO's filesets and links: no OMERO is configured".to_owned()
            }
        }
    }

    /// Takes in things of one collection. What needs no OMERO is told at once.
    pub fn take(
        &mut self,
        context: &Context<'_>,
        (id, collection): (CollectionId, &LogicalPath),
        all: Vec<Thing>,
        page: &mut Page,
    ) -> Result<(), OperationError> {
        if all.is_empty() {
            return Ok(());
        }
        let watching = watch::watching(context.config, context.catalog, collection)?;
        let is_awaited = self.awaited.holds(id, collection);
        for thing in all {
            let names = &context.config.attributes;
            let state = thing.record.state(names);
            let has_record = state.is_some() || thing.record.copied_from(names).is_some();
            let is_wanted = match &watching {
                Watching::Yes { rules, .. } => rules.files.admit(thing.path.name()),
                Watching::No | Watching::Unclear(_) => false,
            };
            let is_looked_at = has_record || (is_wanted && thing.kind == Kind::DataObject);
            if !is_looked_at {
                continue;
            }
            page.looked_at += 1;
            let mut looked = self.facts(context, (id, collection), thing, &watching)?;
            looked.facts.is_awaited = is_awaited;
            let identity = match (&looked.facts.owner, &looked.facts.mapped) {
                (Some(owner), _) => Some(owner.clone()),
                (None, Mapped::To(identity)) => Some(identity.clone()),
                (None, Mapped::Unknown | Mapped::Nobody(_)) => None,
            };
            match identity.filter(|_| !looked.facts.seen.is_empty() || is_in_omero(state)) {
                Some(identity) => self.batch.entry(identity).or_default().push(looked),
                None => tell(&looked, page),
            }
        }
        Ok(())
    }

    fn facts(
        &mut self,
        context: &Context<'_>,
        (id, collection): (CollectionId, &LogicalPath),
        thing: Thing,
        watching: &Watching,
    ) -> Result<Looked, OperationError> {
        let Context { config, sweeper, .. } = *context;
        let names = &config.attributes;
        let Thing { path, kind, record, replicas } = thing;
        let is_collection = kind == Kind::Collection;
        let recorded = Recorded::of(names, &record);
        let state = recorded.state;
        let replicas =
            if is_collection && is_in_omero(state) { sweeper.directory(id, &path)? } else { replicas };
        let told = Replicas::of(&recorded, &replicas);
        let data = if is_collection { None } else { replicas.first().map(|r| r.data_id) };
        let number = data.map_or_else(|| id.number(), DataId::number);
        let filesets =
            record.triples.iter().filter(|t| t.attribute == names.fileset || t.attribute == names.member_of);
        let owner = owner_of(&replicas);
        let mapped = match owner.filter(|_| !is_collection && (is_in_omero(state) || state.is_none())) {
            Some(user) => self.mapped(context, user, id, collection, watching)?,
            None => Mapped::Unknown,
        };
        let facts = Facts {
            path: path.display().into_owned(),
            number,
            is_collection,
            filesets: filesets.count(),
            previous: record.previous(names),
            owner: record.owner(names),
            copied_from: record.copied_from(names),
            bytes: (!is_collection).then(|| told.bytes(Some(&recorded))),
            written: told.written,
            seen: seen(context, &replicas, &path),
            is_watched: watching.is_of_interest(),
            is_awaited: false,
            mapped,
            omero: Omero::NotAsked,
            recorded,
        };
        let fileset = record.fileset(names).filter(|_| is_in_omero(state));
        let about = About::Data { collection: id, collection_path: collection.clone(), data };
        Ok(Looked { facts, about, path, fileset })
    }

    fn mapped(
        &mut self,
        context: &Context<'_>,
        user: IrodsUser,
        id: CollectionId,
        collection: &LogicalPath,
        watching: &Watching,
    ) -> Result<Mapped, OperationError> {
        let key = (user, id);
        if let Some(known) = self.mapped.get(&key) {
            return Ok(known.clone());
        }
        let root = match watching {
            Watching::Yes { root, .. } => *root,
            Watching::No | Watching::Unclear(_) => collection.elements().count(),
        };
        let place = Some(Place { collection, root });
        let asked =
            Asked { metadata: context.catalog, names: &context.config.attributes, owner: &key.0, place };
        let mapped = match context.config.identities.resolve(&asked)?.mapping {
            Ok(mapping) => Mapped::To(mapping.identity),
            Err(why) if why.will_pass() => Mapped::Unknown,
            Err(why) => Mapped::Nobody(why.to_string()),
        };
        self.mapped.insert(key, mapped.clone());
        Ok(mapped)
    }

    /// Asks OMERO about all that was taken in, and tells what was found.
    pub fn finish(self, page: &mut Page) {
        let sweeper = self.context.sweeper;
        for (identity, all) in self.batch {
            let Some(Importing::Here(importer)) = sweeper.importing else {
                page.blind.insert(Self::no_omero(self.context));
                tell_all(&all, page);
                continue;
            };
            let ids: BTreeSet<OmeroId> = all.iter().filter_map(|looked| looked.fileset).collect();
            let paths = all.iter().flat_map(|l| l.facts.seen.iter().map(|seen| seen.path.clone())).collect();
            let inspection = Inspection { ids: ids.clone(), paths, below: BTreeSet::new() };
            let now = sweeper.clock.now();
            let inspected = importer.inspect(&identity, &inspection, now, &mut || {});
            let (filesets, mut gone) = match inspected {
                Ok(inspected) => {
                    page.blind.extend(inspected.blind.map(|why| format!("where OMERO's links lead: {why}")));
                    let filesets: BTreeMap<OmeroId, Fileset> =
                        inspected.filesets.into_iter().map(|f| (f.id, f)).collect();
                    let gone: BTreeSet<OmeroId> =
                        ids.iter().filter(|id| !filesets.contains_key(id)).copied().collect();
                    (filesets, gone)
                }
                Err(error) => {
                    page.blind.insert(format!("the filesets of '{}' in OMERO: {error}", identity.user));
                    tell_all(&all, page);
                    continue;
                }
            };
            // Who gave a fileset to another OMERO user has not removed it.
            let mut strangers = BTreeSet::new();
            if !gone.is_empty() {
                match importer.present(&identity, &gone, now, &mut || {}) {
                    Ok(present) => {
                        gone.retain(|id| !present.contains(id));
                        strangers = present;
                    }
                    Err(error) => {
                        page.blind.insert(format!("the filesets of '{}' in OMERO: {error}", identity.user));
                        strangers = std::mem::take(&mut gone);
                    }
                }
            }
            for mut looked in all {
                if looked.fileset.is_some_and(|id| strangers.contains(&id)) {
                    tell(&looked, page);
                    continue;
                }
                looked.facts.omero = Omero::Asked {
                    own: looked.fileset.and_then(|id| filesets.get(&id)).cloned(),
                    others: others(&looked, &filesets),
                };
                tell(&looked, page);
            }
        }
    }
}

/// The other filesets that have a file at the path of data.
fn others(looked: &Looked, filesets: &BTreeMap<OmeroId, Fileset>) -> Vec<Fileset> {
    let is_at = |client_path: &str| {
        let inside = |seen: &Seen| {
            let at = irods_omero_importer::client_path::of(&seen.path);
            let rest = client_path.strip_prefix(&at);
            rest.is_some_and(|rest| rest.is_empty() || (looked.facts.is_collection && rest.starts_with('/')))
        };
        looked.facts.seen.iter().any(inside)
    };
    let is_other = |fileset: &&Fileset| {
        Some(fileset.id) != looked.fileset && fileset.files.iter().any(|file| is_at(&file.client_path))
    };
    filesets.values().filter(is_other).cloned().collect()
}

fn tell_all(all: &[Looked], page: &mut Page) {
    for looked in all {
        tell(looked, page);
    }
}

fn tell(looked: &Looked, page: &mut Page) {
    for finding in examine(&looked.facts) {
        page.add(&looked.path, looked.about.clone(), finding);
    }
}

fn owner_of(replicas: &[Replica]) -> Option<IrodsUser> {
    let first = replicas.first()?;
    IrodsUser::parse(&format!("{}#{}", first.owner_name, first.owner_zone)).ok()
}

/// The replicas that OMERO sees, those in vaults first, as they are followed.
fn seen(context: &Context<'_>, replicas: &[Replica], path: &LogicalPath) -> Vec<Seen> {
    let see = |replica: &Replica| {
        let at = context.sweeper.seen(replica, path)?;
        Some(Seen {
            path: check_path(&at).ok()?.to_owned(),
            size: replica.size,
            checksum: replica.checksum.clone(),
            is_good: replica.status == ReplicaStatus::Good && replica.fault.is_none(),
        })
    };
    replicas.iter().filter_map(see).collect()
}

/// Who somebody is in OMERO, if they are anybody.
pub(super) fn identity_of(
    context: &Context<'_>,
    user: &IrodsUser,
    place: Option<Place<'_>>,
) -> Result<Option<OmeroIdentity>, CatalogError> {
    let asked = Asked { metadata: context.catalog, names: &context.config.attributes, owner: user, place };
    Ok(context.config.identities.resolve(&asked)?.mapping.ok().map(|mapping| mapping.identity))
}

/// What is wrong with a fileset that bears our annotation, seen from OMERO's end.
pub(super) fn without_data(
    context: &Context<'_>,
    fileset: &Fileset,
) -> Result<Option<Found>, OperationError> {
    let Context { config, catalog, .. } = *context;
    let Some(mark) = fileset.mark else { return Ok(None) };
    let id = fileset.id;
    let (there, kind) = if mark.is_collection {
        let number = CollectionId::from_number(mark.number);
        let path = number.map(|number| catalog.collection_path(number)).transpose()?.flatten();
        (number.zip(path), "collection")
    } else {
        let number = DataId::from_number(mark.number);
        (number.map(|number| catalog.object_path(number)).transpose()?.flatten(), "data object")
    };
    let Some((collection, path)) = there else {
        let sentence = format!(
            "the fileset {id} is of the {kind} {}, which is not in iRODS any more: its images cannot be opened unless OMERO has \
             the bytes",
            mark.number
        );
        let remedy = format!("delete the fileset {id} in OMERO if nobody needs it, or restore the data");
        let finding = Finding::new(Code::FilesetWithoutData, sentence, remedy);
        let path = fileset.path.clone().unwrap_or_default();
        return Ok(Some(Found { finding, path, about: About::Other, outcome: None }));
    };
    // What has a record has been looked at from iRODS' end.
    let record = if mark.is_collection { catalog.record_of(&path)? } else { catalog.record_at(&path)? };
    let Some(parent) = path.parent().filter(|_| record.is_none()) else { return Ok(None) };
    let (holder, data) =
        if mark.is_collection { (path.clone(), None) } else { (parent, DataId::from_number(mark.number)) };
    let finding = Finding::new(
        Code::FilesetWithoutRecord,
        format_args!("the fileset {id} is of this {kind}, which has no record"),
        "a sweep of the collection takes it for the data's if it is of this version; else delete it in OMERO if nobody needs its \
         images",
    );
    let is_watched = watch::watching(config, catalog, &holder)?.is_of_interest();
    let finding = if is_watched { finding.mended_by(Repair::Sweep) } else { finding };
    let about = About::Data { collection, collection_path: holder, data };
    Ok(Some(Found { finding, path: path.display().into_owned(), about, outcome: None }))
}
