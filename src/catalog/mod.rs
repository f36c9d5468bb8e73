//! What we ask of the iRODS catalog, in our words. The sweep and the due mark know this trait only.

mod backlog;
mod holdings;
mod inquiry;
pub mod irods;
mod jobs;

pub use backlog::{Backlog, Held};
pub use holdings::{Holdings, RecordHolder, Resource};
pub use inquiry::{Inquiry, Item, Level, Sight};
pub use irods_omero_model::catalog::{CatalogError, Holder, Kind, Metadata, Replica, ReplicaStatus, UserTag};
pub use irods_omero_model::clock::UnixTime;
pub use jobs::{Jobs, QueuedJob};

use irods_omero_model::names::{CollectionId, DataId, IrodsUser, LogicalPath};
use irods_omero_model::record::{Record, Triple, Version};
use irods_omero_model::watch::RawTag;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Which data objects of a collection are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    All,
    /// Those with an id from the first to the last.
    Between(DataId, DataId),
}

impl Which {
    /// Whether a data object is meant.
    pub fn means(self, id: DataId) -> bool {
        match self {
            Self::All => true,
            Self::Between(first, last) => (first..=last).contains(&id),
        }
    }
}

/// One replica somewhere below a collection, as far as the state of the whole tree is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeReplica {
    /// Which data object.
    pub data_id: DataId,
    /// Its status.
    pub status: ReplicaStatus,
    /// Size in bytes.
    pub size: u64,
    /// Last modification.
    pub modify_time: UnixTime,
    /// Physical path on the host of the resource.
    pub physical_path: Vec<u8>,
    /// Name of the resource it is on, the leaf of its hierarchy.
    pub resource: String,
}

/// A lock, as the catalog shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockRow {
    /// What the catalog gives once.
    pub id: CollectionId,
    /// Its name.
    pub name: String,
    /// When it was made, by the catalog provider's clock.
    pub since: UnixTime,
}

impl LockRow {
    /// The collection that it locks; `None` for one of something else.
    pub fn collection(&self) -> Option<CollectionId> {
        CollectionId::parse(self.name.split('.').next()?).ok()
    }
}

/// A replica that has been made or changed lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Which data object.
    pub data_id: DataId,
    /// The collection that directly holds it.
    pub collection: CollectionId,
    /// Name of the data object.
    pub name: Vec<u8>,
    /// Time of its last modification and size.
    pub version: Version,
    /// Whether it is being written.
    pub in_flux: bool,
}

/// The locks, which are empty collections in the service account's home: what is unique in the catalog is a collection's name.
pub trait Locks {
    /// The locks there are.
    fn locks(&self) -> Result<Vec<LockRow>, CatalogError>;

    /// Makes a lock. `false`: there is one of that name. Of several that make it at one moment one gets `true`.
    fn make_lock(&self, name: &str) -> Result<bool, CatalogError>;

    /// Removes a lock; one that is gone already is no error.
    fn remove_lock(&self, name: &str) -> Result<(), CatalogError>;
}

/// The catalog. Every write is made with the server's own privilege: a user who may only read still gets a
/// record, and none of these calls fires an API PEP.
pub trait Catalog: Metadata + Locks {
    /// The collection of the zone this server is in.
    fn zone(&self) -> Result<LogicalPath, CatalogError>;

    /// The path of a collection; `None` if it is gone.
    fn collection_path(&self, id: CollectionId) -> Result<Option<LogicalPath>, CatalogError>;

    /// The id of a collection; `None` if there is none of that path.
    fn collection_id(&self, path: &LogicalPath) -> Result<Option<CollectionId>, CatalogError>;

    /// The collection a data object is in, and its path; `None` if it is gone.
    fn object_path(&self, id: DataId) -> Result<Option<(CollectionId, LogicalPath)>, CatalogError>;

    /// The values of one attribute on a collection, by its path and over the connection that the session has.
    fn marks_at(&self, collection: &LogicalPath, attribute: &str) -> Result<Vec<String>, CatalogError>;

    /// Sets a mark: gives true if it was not there before, false if somebody else has set it. Two that set one which the
    /// catalog has never held at one moment may both get true.
    fn set_mark(&self, collection: &LogicalPath, attribute: &str, value: &str) -> Result<bool, CatalogError>;

    /// The values of one attribute on a collection. (The catalog keeps one row for an AVU that several objects
    /// bear, so it cannot tell since when *this* collection has it: a time has to be part of the value.)
    fn marks(&self, id: CollectionId, attribute: &str) -> Result<Vec<String>, CatalogError>;

    /// Removes a mark; one that is gone already is no error.
    fn remove_mark(&self, collection: &LogicalPath, attribute: &str, value: &str)
    -> Result<(), CatalogError>;

    /// The collections below a collection, at any depth, in the order of their ids: at most `limit` of those whose id
    /// comes after `after`.
    fn subcollections(
        &self,
        collection: &LogicalPath,
        after: Option<CollectionId>,
        limit: usize,
    ) -> Result<Vec<(CollectionId, LogicalPath)>, CatalogError>;

    /// The tags of that attribute on any of some collections, in one query.
    fn import_tags(&self, collections: &[LogicalPath], attribute: &str) -> Result<Vec<RawTag>, CatalogError>;

    /// Whether any collection below one, at any depth, bears a tag of that attribute.
    fn is_tagged_below(&self, collection: &LogicalPath, attribute: &str) -> Result<bool, CatalogError>;

    /// Whether a collection, or anything in it at any depth, is in OMERO.
    fn is_any_in_omero(&self, collection: &LogicalPath) -> Result<bool, CatalogError>;

    /// Some of the collections of which anything directly in them, or they themselves, is in OMERO: of the collection of that
    /// path, those below it, and those of the same name with a dot and more behind it.
    fn in_omero_like(&self, collection: &LogicalPath) -> Result<Vec<LogicalPath>, CatalogError>;

    /// The tags of that attribute on the data objects directly in a collection: id, value, units.
    fn tagged_objects(
        &self,
        id: CollectionId,
        attribute: &str,
    ) -> Result<Vec<(DataId, String, String)>, CatalogError>;

    /// Whether anything of a kind (`-d`, `-C`, ... as `imeta` names it) and name bears one of some attributes.
    fn bears(&self, kind: &[u8], name: &[u8], attributes: &[&str]) -> Result<bool, CatalogError>;

    /// Whether the AVU of that number, on something of a kind, has one of some attributes.
    fn avu_is_one_of(&self, kind: &[u8], id: &[u8], attributes: &[&str]) -> Result<bool, CatalogError>;

    /// Replaces the value of a mark, without a moment in which neither is there.
    fn change_mark(
        &self,
        collection: &LogicalPath,
        attribute: &str,
        old: &str,
        new: &str,
    ) -> Result<(), CatalogError>;

    /// The collections that bear any of some attributes.
    fn marked(&self, attributes: &[&str]) -> Result<BTreeSet<CollectionId>, CatalogError>;

    /// Calls `visit` for every replica of the data objects directly in a collection, read in pages. Replicas of one
    /// object need not follow each other.
    fn replicas(
        &self,
        id: CollectionId,
        which: Which,
        visit: &mut dyn FnMut(Replica),
    ) -> Result<(), CatalogError>;

    /// The data objects with a replica at a physical path, on whatever resource, each with its collection.
    fn objects_at(&self, physical_path: &[u8]) -> Result<Vec<(DataId, CollectionId)>, CatalogError>;

    /// Whether a user may read a data object, by name or through a group.
    fn may_read(&self, user: &IrodsUser, id: DataId, collection: CollectionId) -> Result<bool, CatalogError>;

    /// Calls `visit` for every AVU of some attributes on the data objects directly in a collection, read in pages.
    fn object_avus(
        &self,
        id: CollectionId,
        which: Which,
        attributes: &[&str],
        visit: &mut dyn FnMut(DataId, Triple),
    ) -> Result<(), CatalogError>;

    /// The record of a collection.
    fn collection_record(&self, id: CollectionId) -> Result<Record, CatalogError>;

    /// Calls `visit` for every replica in a collection and at any depth below it, read in pages; those of one data
    /// object follow each other.
    fn tree(&self, collection: &LogicalPath, visit: &mut dyn FnMut(TreeReplica)) -> Result<(), CatalogError>;

    /// The replicas of the data objects with an id in a range, wherever they are, that are being written, or are good and
    /// not empty; with `since`, those with a modify time from then on.
    ///
    /// What is read is as much as the range is wide: the catalog has an index on the ids of data objects, and none on their
    /// times.
    fn changed_between(
        &self,
        ids: &RangeInclusive<u64>,
        since: Option<UnixTime>,
    ) -> Result<Vec<Changed>, CatalogError>;

    /// The data objects directly in a collection with an id after one, or with a replica that was modified at a time or
    /// later, or that is being written.
    ///
    /// What is given is no more than that. To find those of a time the catalog goes through the rows of the collection.
    fn changed_in(
        &self,
        id: CollectionId,
        after: u64,
        since: UnixTime,
    ) -> Result<BTreeSet<DataId>, CatalogError>;

    /// Calls `visit` for the state and the version that the records of the data objects with an id in a range say, with the
    /// collection that holds the data object.
    fn records_between(
        &self,
        ids: &RangeInclusive<u64>,
        visit: &mut dyn FnMut(DataId, CollectionId, Triple),
    ) -> Result<(), CatalogError>;

    /// How many data objects and directories have each state, and those with a reason by reason and collection; at most
    /// `limit` rows of either kind.
    fn backlog(&self, limit: usize) -> Result<Backlog, CatalogError>;

    /// Whether any data object has an AVU of that attribute and value.
    fn is_borne(&self, attribute: &str, value: &str) -> Result<bool, CatalogError>;

    /// Replaces AVUs of a data object or collection in one step.
    fn replace(
        &self,
        kind: Kind,
        path: &LogicalPath,
        remove: &[Triple],
        add: &[Triple],
    ) -> Result<(), CatalogError>;

    /// Gives a data object a good replica on a resource, verified by checksum; none is made where one is there.
    fn replicate(&self, object: &LogicalPath, resource: &str) -> Result<(), CatalogError>;

    /// The jobs of ours in the delay queue: those that the service account owns.
    fn jobs(&self) -> Result<Jobs, CatalogError>;

    /// Queues a rule text for our own instance, as a job of the service account. It runs once: a job that repeats itself
    /// stays locked in the queue for ever if its process dies.
    fn queue(&self, text: &str, delay: Duration) -> Result<(), CatalogError>;

    /// The same as a job of the session's user, for a server that has no catalog. It may only ask to look at something.
    fn queue_as_client(&self, text: &str, delay: Duration) -> Result<(), CatalogError>;

    /// Whether the session's user is the service account, whose jobs are ours.
    fn client_is_service(&self) -> bool;

    /// Who the session's user is.
    fn client(&self) -> Option<IrodsUser>;

    /// Whether the session's user is a rodsadmin (or the service account).
    fn client_is_admin(&self) -> bool;
}
