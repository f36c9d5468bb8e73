//! Sets whose files lie in several collections.
//!
//! The importer tells before an import which files a set uses that it was not told of. Each is looked for in iRODS: the set
//! waits for one that is not there yet or is being written, is refused for one that its owner may not read, and is given to
//! the importer again with those that it may have. Where the others lie stands in the record of its key file
//! (`irods::omero::awaits`) until it is imported or given up. As long as it stands there, their collections wait.

use super::Sweeper;
use super::follow;
use super::plan;
use super::scribe::{About, Scribe};
use super::watched::Scope;
use crate::catalog::{CatalogError, LockRow, Replica, ReplicaStatus, UnixTime, Which};
use crate::due;
use irods_omero_importer::Subject;
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::{CollectionId, DataId, IrodsUser, LogicalPath, parent_bytes};
use irods_omero_model::record::{Awaited, Entry, Imported, Print, Proof, Version, Whereabouts};
use irods_omero_model::visibility::{Location, Origin};
use irods_omero_model::watch::{RawTag, Watching};
use std::collections::BTreeSet;
use std::time::Duration;

/// The most collections that one set may be spread over.
const MAX_COLLECTIONS: usize = 500;

/// How late a sweep may come, in seconds, because others come first.
const QUEUE_TIME: u64 = 60;

/// How long a collection waits that lies below one that is about to be swept, at a time.
const WAIT_FOR_ABOVE: Duration = Duration::from_secs(5);

/// What became of the search for files that a set uses.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sought {
    /// The set may not have one of them, and why.
    Refused(String),
    /// They are all there: in these collections.
    There(BTreeSet<Awaited>),
    /// One is not there yet, or not whole; and where they are or would be.
    Late(String, BTreeSet<Awaited>),
}

/// The key file of a set, as the catalog knows it.
struct KeyFile {
    owner: IrodsUser,
    /// How far its watched collection reaches.
    root: LogicalPath,
    /// Its replicas' paths, and its own.
    physical: Vec<Vec<u8>>,
    path: LogicalPath,
}

impl KeyFile {
    /// Where a file would lie in iRODS that lies beside this one on the disk, as far as can be told: files of a vault are
    /// laid out as their data objects are.
    fn path_beside(&self, physical: &[u8]) -> Option<LogicalPath> {
        self.physical.iter().find_map(|own| {
            let same =
                own.iter().rev().zip(self.path.as_bytes().iter().rev()).take_while(|(a, b)| a == b).count();
            // The last element that is not the same ends where both say so.
            let tail = own.len().checked_sub(same)?;
            let cut = own.get(tail..)?.iter().position(|b| *b == b'/')?;
            let (base, logical) = (
                own.get(..tail + cut)?,
                self.path.as_bytes().get(..self.path.as_bytes().len() - same + cut)?,
            );
            let rest = physical.strip_prefix(base).filter(|rest| rest.first() == Some(&b'/'))?;
            LogicalPath::parse(&[logical, rest].concat()).ok()
        })
    }
}

impl Sweeper<'_> {
    /// Looks for files that the set of a key file uses, by the paths under which the importer sees them.
    pub(super) fn look_for(&self, this: &About, paths: &[String]) -> Result<Sought, CatalogError> {
        let Some(key) = self.key_file(this)? else {
            let what = paths.first().map_or("", String::as_str);
            return Ok(Sought::Refused(format!("its set uses the file {what}, which does not lie in it")));
        };
        let mut awaits = BTreeSet::new();
        let mut late = None;
        for path in paths {
            let refused = |why: &str| Ok(Sought::Refused(format!("its set uses the file {path}, {why}")));
            let origins = self.config.visibility.origins(path.as_bytes());
            if origins.is_empty() {
                return refused("which lies below no directory that is opened to OMERO");
            }
            let found = self.replicas_of(&origins, path)?;
            let Some((collection, first)) = found.first().map(|(id, replica)| (*id, replica)) else {
                let beside = origins.iter().find_map(|origin| match origin {
                    Origin::Replica(physical) => key.path_beside(physical),
                    Origin::DataObject(path) => Some(path.clone()),
                });
                late.get_or_insert_with(|| {
                    let name = beside.as_ref().map_or_else(|| path.clone(), ToString::to_string);
                    format!("its set uses the file {name}, which is not there yet as a data object")
                });
                if let Some(parent) = beside.and_then(|p| p.parent())
                    && let Some(id) = self.catalog.collection_id(&parent)?
                {
                    awaits.insert(Awaited { collection: id, claims: key.claims(&parent) });
                }
                continue;
            };
            let Some(parent) = self.catalog.collection_path(collection)? else { continue };
            let owner = IrodsUser::new(&first.owner_name, &first.owner_zone);
            let is_own = owner.as_ref() == Ok(&key.owner);
            if !is_own && !self.catalog.may_read(&key.owner, first.data_id, collection)? {
                return refused(&format!("a data object that {} may not read", key.owner));
            }
            if !found.iter().any(|(_, r)| r.status == ReplicaStatus::Good && r.fault.is_none()) {
                late.get_or_insert_with(|| {
                    format!("its set uses the file {path}, which is being written, or has no good replica")
                });
            }
            awaits.insert(Awaited { collection, claims: is_own && key.claims(&parent) });
        }
        if awaits.len() > MAX_COLLECTIONS {
            return Ok(Sought::Refused(format!(
                "its set uses files of more than {MAX_COLLECTIONS} collections"
            )));
        }
        Ok(match late {
            Some(why) => Sought::Late(why, awaits),
            None => Sought::There(awaits),
        })
    }

    fn key_file(&self, this: &About) -> Result<Option<KeyFile>, CatalogError> {
        let Subject::DataObject(id) = this.subject else { return Ok(None) };
        let Some((collection, path)) = self.catalog.object_path(id)? else { return Ok(None) };
        let replicas = self.replicas_by_id(collection, id)?;
        let Some(owner) = replicas.first().and_then(|r| IrodsUser::new(&r.owner_name, &r.owner_zone).ok())
        else {
            return Ok(None);
        };
        let parent = path.parent().unwrap_or_else(|| path.clone());
        let root = match self.watching(&parent)? {
            Watching::Yes { root, .. } => {
                upwards(Some(parent.clone())).find(|path| path.elements().count() == root).unwrap_or(parent)
            }
            Watching::Unclear(_) | Watching::No => parent,
        };
        let physical = replicas.into_iter().map(|r| r.physical_path).collect();
        Ok(Some(KeyFile { owner, root, physical, path }))
    }

    fn replicas_by_id(&self, collection: CollectionId, id: DataId) -> Result<Vec<Replica>, CatalogError> {
        let mut replicas = Vec::new();
        self.catalog.replicas(collection, Which::Between(id, id), &mut |r| replicas.push(r))?;
        Ok(replicas)
    }

    /// The replicas that the importer sees at a path.
    fn replicas_of(
        &self,
        origins: &[Origin],
        seen: &str,
    ) -> Result<Vec<(CollectionId, Replica)>, CatalogError> {
        let mut found = Vec::new();
        for origin in origins {
            match origin {
                Origin::Replica(physical) => {
                    for (id, collection) in self.catalog.objects_at(physical)? {
                        let of_path = |r: &Replica| {
                            let location =
                                Location { physical_path: &r.physical_path, hierarchy: &r.hierarchy };
                            let through = self.config.visibility.through_vault(&location);
                            r.physical_path == *physical && through.is_some_and(|p| is_same(&p, seen))
                        };
                        let all = self.replicas_by_id(collection, id)?;
                        found.extend(all.into_iter().filter(of_path).map(|r| (collection, r)));
                    }
                }
                Origin::DataObject(path) => {
                    let parent = parent_bytes(path.as_bytes()).and_then(|p| LogicalPath::parse(p).ok());
                    let Some(parent) = parent else { continue };
                    let Some(collection) = self.catalog.collection_id(&parent)? else { continue };
                    self.catalog.replicas(collection, Which::All, &mut |r| {
                        if r.name == path.name() {
                            found.push((collection, r));
                        }
                    })?;
                }
            }
        }
        Ok(found)
    }

    /// Those of some data objects of a collection that a set in another one waits for, or may: those of the owner of its key
    /// file. Nobody holds up what is somebody else's.
    pub(super) fn claimed_by_sets(
        &self,
        id: CollectionId,
        objects: &BTreeSet<DataId>,
    ) -> Result<BTreeSet<DataId>, CatalogError> {
        if objects.is_empty() {
            return Ok(BTreeSet::new());
        }
        let (awaits, claimed) = (self.config.attributes.awaits.as_str(), Awaited::claimed(id));
        let mut waiting = self.catalog.collections_with(awaits, &claimed)?;
        waiting.remove(&id);
        let mut owners = BTreeSet::new();
        for there in waiting {
            let mut keys = BTreeSet::new();
            self.catalog.object_avus(there, Which::All, &[awaits], &mut |key, triple| {
                if triple.value == claimed {
                    keys.insert(key);
                }
            })?;
            self.owners_of(there, &keys, &mut |_, owner| {
                owners.insert(owner);
            })?;
        }
        let mut held = BTreeSet::new();
        if !owners.is_empty() {
            self.owners_of(id, objects, &mut |object, owner| {
                if owners.contains(&owner) {
                    held.insert(object);
                }
            })?;
        }
        Ok(held)
    }

    /// Calls `visit` with the owner of each replica of some data objects of a collection.
    pub(super) fn owners_of(
        &self,
        collection: CollectionId,
        objects: &BTreeSet<DataId>,
        visit: &mut dyn FnMut(DataId, (String, String)),
    ) -> Result<(), CatalogError> {
        let (Some(first), Some(last)) = (objects.first(), objects.last()) else { return Ok(()) };
        self.catalog.replicas(collection, Which::Between(*first, *last), &mut |replica| {
            if objects.contains(&replica.data_id) {
                visit(replica.data_id, (replica.owner_name, replica.owner_zone));
            }
        })
    }

    /// For how long a collection waits whose files may belong to a set of another one: a collection above it is about to be
    /// swept or is at work. `age`: of its youngest file, in seconds.
    ///
    /// A key file that comes within the quiet period of its members is looked at within the next one. A collection above
    /// holds nothing up for longer, but for one at work in which a file is by its name the key file of a set: that for
    /// `max_wait` at most.
    pub(super) fn waits_for_sets(
        &self,
        id: CollectionId,
        collection: &LogicalPath,
        scope: &Scope,
        age: u64,
    ) -> Result<Option<Duration>, CatalogError> {
        let names = &self.config.attributes;
        if age >= self.config.max_wait.as_secs() {
            return Ok(None);
        }
        let above: Vec<LogicalPath> =
            upwards(collection.parent()).take_while(|path| path.elements().count() >= scope.root).collect();
        if above.is_empty() {
            return Ok(None);
        }
        let wait = Some(self.config.retry_wait.min(WAIT_FOR_ABOVE));
        let is_near = age < scope.rules.quiet_period.as_secs() * 2 + QUEUE_TIME;
        let is_marked = |mark: &RawTag| mark.value == due::NEW;
        if is_near && self.catalog.import_tags(&above, &names.due)?.iter().any(is_marked) {
            return Ok(wait);
        }
        let mut busy = BTreeSet::new();
        for locked in self.locked()? {
            if self.catalog.collection_path(locked)?.is_some_and(|path| above.contains(&path)) {
                busy.insert(locked);
            }
        }
        if self.config.agents.is_some() {
            for path in above {
                if let Some(there) = self.catalog.collection_id(&path)?.filter(|there| *there != id)
                    && self.is_with_agent(there)?
                {
                    busy.insert(there);
                }
            }
        }
        for above in busy {
            if is_near || self.has_key_files(above)? {
                return Ok(wait);
            }
        }
        Ok(None)
    }

    /// Whether a collection holds a file that by its name is the key file of a set of several.
    fn has_key_files(&self, id: CollectionId) -> Result<bool, CatalogError> {
        let mut found = false;
        let is_key = |name: &[u8]| self.config.multi_file_formats.iter().any(|pattern| pattern.fits(name));
        self.catalog.replicas(id, Which::All, &mut |replica| found |= is_key(&replica.name))?;
        Ok(found)
    }

    /// The collections that are at work, by their locks.
    fn locked(&self) -> Result<BTreeSet<CollectionId>, CatalogError> {
        let oldest = self.clock.now().saturating_sub(self.config.sweep_expiry.as_secs());
        let locks = self.catalog.locks()?;
        let living = locks.iter().filter(|lock| lock.since >= oldest);
        Ok(living.filter_map(LockRow::collection).collect())
    }

    fn is_with_agent(&self, id: CollectionId) -> Result<bool, CatalogError> {
        let mut found = false;
        let job = self.config.attributes.job.as_str();
        self.catalog.object_avus(id, Which::All, &[job], &mut |_, _| found = true)?;
        Ok(found)
    }

    /// Those of some collections in which imports are at work.
    pub(super) fn busy_of(
        &self,
        collections: &BTreeSet<CollectionId>,
    ) -> Result<BTreeSet<CollectionId>, CatalogError> {
        if collections.is_empty() {
            return Ok(BTreeSet::new());
        }
        let locked = self.locked()?;
        let mut busy = BTreeSet::new();
        for id in collections {
            if locked.contains(id) || (self.config.agents.is_some() && self.is_with_agent(*id)?) {
                busy.insert(*id);
            }
        }
        Ok(busy)
    }

    /// Writes that a file belongs to a fileset which was made of a set in another place than its own sweep, if it is data of
    /// one of `owners` below the watched collection. `version`: that of the file that was used; without it, the present one if
    /// it is not younger than `before`.
    pub(super) fn record_member(
        &self,
        scribe: &mut Scribe<'_>,
        id: DataId,
        what: Imported,
        (version, before): (Option<Version>, UnixTime),
        owners: &BTreeSet<IrodsUser>,
        who: Option<&OmeroIdentity>,
    ) -> Result<(), CatalogError> {
        let names = &self.config.attributes;
        let Some((collection, path)) = self.catalog.object_path(id)? else { return Ok(()) };
        let read = plan::read(self.config, self.catalog, collection, &[id])?;
        let Some((object, record)) = read.into_values().next() else { return Ok(()) };
        let is_theirs = |r: &&Replica| {
            let owner = IrodsUser::new(&r.owner_name, &r.owner_zone);
            owner.is_ok_and(|owner| owners.contains(&owner))
        };
        let used = object.good().filter(is_theirs).find(|r| match version {
            Some(version) => plan::version_of(r) == version,
            None => r.modify_time <= before,
        });
        let Some(replica) = used else { return Ok(()) };
        if record.fileset(names) == Some(what.fileset)
            || record.ignored_by(names).is_some()
            || record.job(names).is_some()
            || !self.watching(&path.parent().unwrap_or_else(|| path.clone()))?.is_of_interest()
        {
            return Ok(());
        }
        let mut previous = record.previous(names);
        previous.extend(record.fileset(names));
        previous.sort();
        previous.dedup();
        let this = About {
            subject: Subject::DataObject(id),
            version: plan::version_of(replica),
            proof: Some(Proof::of(replica)),
            whereabouts: Some(Whereabouts::of(replica)),
            place: follow::seen(self.config, replica, &path).map(|seen| Print::of(&seen)),
            path,
            attempts: record.attempts(names),
            since: self.clock.now(),
            mapped_by: record.mapped_by(names),
            previous,
            record,
        };
        scribe.say(&this, &Entry::Imported(Imported { is_member: true, ..what }), who)
    }
}

impl KeyFile {
    /// Whether files of its owner in a collection are its own, and not only used.
    fn claims(&self, collection: &LogicalPath) -> bool {
        upwards(Some(collection.clone())).any(|path| path == self.root)
    }
}

/// A collection and those above it, upwards.
fn upwards(from: Option<LogicalPath>) -> impl Iterator<Item = LogicalPath> {
    std::iter::successors(from, LogicalPath::parent)
}

/// Whether two paths of the importer's host are the same by their words.
fn is_same(one: &[u8], other: &str) -> bool {
    irods_omero_model::visibility::resolved(one) == irods_omero_model::visibility::resolved(other.as_bytes())
}
