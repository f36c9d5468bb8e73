//! What the iRODS catalog says, as values, and the questions about people that more than one room asks it.

use crate::clock::UnixTime;
use crate::names::{CollectionId, DataId, IrodsUser, LogicalPath};
use std::collections::BTreeSet;

/// Why the catalog did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// A server call returned an error code.
    #[error("{call} on {subject} returned iRODS error {code}")]
    Call {
        /// Name of the server's function.
        call: &'static str,
        /// The path or id it was about.
        subject: String,
        /// iRODS error code (negative).
        code: i64,
    },
    /// The answer was not of the form the server documents.
    #[error("{call} on {subject} gave an answer that cannot be read: {detail}")]
    Answer {
        /// Name of the server's function.
        call: &'static str,
        /// The path or id it was about.
        subject: String,
        /// What was wrong.
        detail: String,
    },
}

/// `DATA_REPL_STATUS`, as `irods::replica_status` numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaStatus {
    /// 1: complete and current.
    Good,
    /// 0: superseded, or left by a failed write.
    Stale,
    /// 2: being written.
    Intermediate,
    /// 3 and 4: another replica is being written or read under a lock.
    Locked,
    /// A number this version does not know: not to be touched.
    Unknown,
}

impl ReplicaStatus {
    /// From the digit in the catalog.
    pub fn parse(text: &str) -> Self {
        match text {
            "0" => Self::Stale,
            "1" => Self::Good,
            "2" => Self::Intermediate,
            "3" | "4" => Self::Locked,
            _ => Self::Unknown,
        }
    }
}

/// One replica of one data object, as the catalog holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Which data object.
    pub data_id: DataId,
    /// The collection it is in.
    pub collection: CollectionId,
    /// Name of the data object within its collection.
    pub name: Vec<u8>,
    /// Replica number.
    pub number: u32,
    /// Its status.
    pub status: ReplicaStatus,
    /// Size in bytes.
    pub size: u64,
    /// Last modification; 0 where it cannot be read.
    pub modify_time: UnixTime,
    /// What of it cannot be read, in words: a user may write some of it (the modify time may be any text).
    pub fault: Option<String>,
    /// Physical path on the host of the resource.
    pub physical_path: Vec<u8>,
    /// Resource hierarchy, `root;child;leaf`.
    pub hierarchy: String,
    /// Checksum, if one is registered.
    pub checksum: Option<String>,
    /// Name of the data object's owner.
    pub owner_name: String,
    /// Zone of the data object's owner.
    pub owner_zone: String,
}

/// What bears AVUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A data object.
    DataObject,
    /// A collection.
    Collection,
}

/// Who bears an AVU that says something about a user.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// The user.
    User,
    /// A group the user is a member of.
    Group(String),
}

/// One AVU on a user or on one of its groups.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UserTag {
    /// Who bears it.
    pub holder: Holder,
    /// Its attribute.
    pub attribute: String,
    /// Its value.
    pub value: String,
}

/// What the AVUs of users, groups, collections and data objects say to whoever decides for whom and where to.
/// Asked with the server's own privilege, as the rest of the catalog.
pub trait Metadata {
    /// The AVUs of some attributes on a user and on its groups; `None` if the catalog knows no such user.
    fn user_tags(&self, user: &IrodsUser, attributes: &[&str]) -> Result<Option<Vec<UserTag>>, CatalogError>;

    /// The values of one attribute on a collection; none if there is no such collection.
    fn collection_values(
        &self,
        collection: &LogicalPath,
        attribute: &str,
    ) -> Result<Vec<String>, CatalogError>;

    /// The users and groups, other than administrators, whose permission on a collection lets them set AVUs on it.
    fn may_set_avus(&self, collection: &LogicalPath) -> Result<BTreeSet<IrodsUser>, CatalogError>;

    /// The collections that directly hold a data object with this AVU, whatever its units.
    fn collections_with(&self, attribute: &str, value: &str) -> Result<BTreeSet<CollectionId>, CatalogError>;

    /// The values of one attribute on the collection itself or else on its nearest ancestor that has any, with
    /// that collection. Collections of fewer than `depth` elements are not asked.
    fn nearest_values(
        &self,
        collection: &LogicalPath,
        attribute: &str,
        depth: usize,
    ) -> Result<Option<(LogicalPath, Vec<String>)>, CatalogError> {
        let mut here = Some(collection.clone());
        while let Some(path) = here.filter(|p| p.elements().count() >= depth) {
            let values = self.collection_values(&path, attribute)?;
            if !values.is_empty() {
                return Ok(Some((path, values)));
            }
            here = path.parent();
        }
        Ok(None)
    }
}

/// What kind of user somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserKind {
    /// An ordinary user (`rodsuser`).
    Ordinary,
    /// An administrator, of the zone or of its groups.
    Administrator,
}

/// What the catalog says about its users as a whole: whoever goes from OMERO to iRODS has to look for them.
pub trait People: Metadata {
    /// What kind of user somebody is; `None` if the catalog knows no such user.
    fn user_kind(&self, user: &IrodsUser) -> Result<Option<UserKind>, CatalogError>;

    /// All users.
    fn users(&self) -> Result<BTreeSet<IrodsUser>, CatalogError>;

    /// The users who bear an AVU themselves, or through a group.
    fn users_with(&self, attribute: &str, value: &str) -> Result<BTreeSet<IrodsUser>, CatalogError>;
}
