//! What a save asks of the zone. The real zone and the one of the tests have the same rules.

use crate::catalog::{CatalogError, Descriptor, How, UnixTime};
use irods_omero_config::identity::NoUser;
use irods_omero_importer::Subject;
use irods_omero_model::names::{DataId, IrodsUser, LogicalPath, OmeroId, OmeroName};
use serde::{Deserialize, Serialize};

/// What is at a path, as the catalog says with its own privilege.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum There {
    /// Nothing.
    Nothing,
    /// A collection.
    Collection,
    /// A data object.
    Object(Object),
}

/// A data object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its number in the catalog.
    pub id: DataId,
    /// Its owner.
    pub owner: IrodsUser,
    /// The size of the best replica in bytes.
    pub size: u64,
    /// Number of that replica.
    pub replica: u32,
    /// Whether that replica is complete and current.
    pub is_good: bool,
    /// Whether it is being written, or was when its writer died.
    pub is_being_written: bool,
}

/// The data object that is written before it gets its name, as it stands on the zone's collection: whoever comes after a
/// process that died finds it by that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Working {
    /// The agent.
    pub agent: String,
    /// The save.
    pub save: String,
    /// The file.
    pub n: u64,
    /// In whose name.
    pub user: String,
    /// Where.
    pub path: LogicalPath,
}

/// What the record of a saved file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Who saved it.
    pub user: &'a IrodsUser,
    /// Who that is in OMERO.
    pub omero_user: &'a OmeroName,
    /// The agent's name of the OMERO server.
    pub server: &'a str,
    /// The fileset; none of an attachment.
    pub fileset: Option<OmeroId>,
    /// Its images.
    pub images: &'a [OmeroId],
}

/// The zone.
pub trait Zone {
    /// Unix time.
    fn now(&self) -> UnixTime;

    /// Gives a sign of life. `false`: somebody else is at it.
    fn is_alive(&self) -> Result<bool, CatalogError>;

    /// Its name.
    fn name(&self) -> &str;

    /// Who an OMERO user is.
    fn who(&self, omero: &OmeroName) -> Result<Result<IrodsUser, NoUser>, CatalogError>;

    /// The present path of data of that number, if it is there and readable to a user.
    fn readable(&self, user: &IrodsUser, subject: Subject) -> Result<Option<LogicalPath>, CatalogError>;

    /// What is at a path.
    fn there(&self, path: &LogicalPath) -> Result<There, CatalogError>;

    /// Whether a user may write into a collection, or into the nearest one above it that is there: that one, if not.
    fn may_not_write(
        &self,
        user: &IrodsUser,
        path: &LogicalPath,
    ) -> Result<Option<LogicalPath>, CatalogError>;

    /// Makes a collection as a user; one that is a directory format, or in one, is marked so that it is never imported.
    fn make_collection(&self, path: &LogicalPath, origin: &Origin<'_>) -> Result<(), CatalogError>;

    /// Opens a data object as a user.
    fn open(&self, user: &IrodsUser, path: &LogicalPath, how: How<'_>) -> Result<Descriptor, CatalogError>;

    /// Reads on; 0 at the end.
    fn read(&self, open: &Descriptor, into: &mut [u8]) -> Result<usize, CatalogError>;

    /// Writes.
    fn write(&self, open: &Descriptor, bytes: &[u8]) -> Result<(), CatalogError>;

    /// Closes.
    fn close(&self, open: Descriptor) -> Result<(), CatalogError>;

    /// Renames a data object as a user; nothing is replaced.
    fn rename(&self, user: &IrodsUser, from: &LogicalPath, to: &LogicalPath) -> Result<(), CatalogError>;

    /// Removes a data object as a user, for good.
    fn remove(&self, user: &IrodsUser, path: &LogicalPath) -> Result<(), CatalogError>;

    /// The checksum that the server computes.
    fn checksum(&self, user: &IrodsUser, path: &LogicalPath) -> Result<String, CatalogError>;

    /// Frees a replica whose writer died.
    fn mark_stale(&self, path: &LogicalPath, replica: u32) -> Result<(), CatalogError>;

    /// Writes the record of a saved file on a data object, whatever its name is now.
    fn record(&self, path: &LogicalPath, origin: &Origin<'_>) -> Result<(), CatalogError>;

    /// What a process before was writing.
    fn noted(&self) -> Result<Option<Working>, CatalogError>;

    /// Notes what is being written; `None`: nothing.
    fn note(&self, working: Option<&Working>) -> Result<(), CatalogError>;
}
