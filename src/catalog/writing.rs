//! What is written into iRODS as a user: in that user's name, with that user's rights and no more.

use super::irods::{IrodsCatalog, failed};
use super::{CatalogError, Holdings, People};
use crate::ffi::{Account, Opening};
use irods_omero_model::names::{IrodsUser, LogicalPath};

/// What is at work on one open data object of one user. It is to be closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    number: i32,
    user: IrodsUser,
    path: LogicalPath,
}

impl Descriptor {
    /// Of a number that the server gave.
    pub fn new(number: i32, user: &IrodsUser, path: &LogicalPath) -> Self {
        Self { number, user: user.clone(), path: path.clone() }
    }

    /// The server's number of it.
    pub fn number(&self) -> i32 {
        self.number
    }
}

/// How a data object is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How<'t> {
    /// To read it from a byte on.
    Read(u64),
    /// To go on writing it at a byte.
    Write(u64),
    /// Made, on that resource or else on the user's default. One that is there is an error.
    Create(Option<&'t str>),
}

/// Writes as a user. None of these calls fires an API PEP; those of resources and of the catalog fire.
pub trait Writing: Holdings + People {
    /// Makes a collection and those above it; one that is there is no error.
    ///
    /// # Errors
    /// The user may not, or the catalog failed.
    fn make_collection_as(&self, user: &IrodsUser, path: &LogicalPath) -> Result<(), CatalogError>;

    /// Opens a data object.
    ///
    /// # Errors
    /// As above.
    fn open_as(&self, user: &IrodsUser, path: &LogicalPath, how: How<'_>)
    -> Result<Descriptor, CatalogError>;

    /// Reads on; how many bytes there were, 0 at the end.
    ///
    /// # Errors
    /// The resource failed.
    fn read(&self, open: &Descriptor, into: &mut [u8]) -> Result<usize, CatalogError>;

    /// Writes all bytes.
    ///
    /// # Errors
    /// The resource failed, or is full.
    fn write(&self, open: &Descriptor, bytes: &[u8]) -> Result<(), CatalogError>;

    /// Ends the work: what was written is good from now on.
    ///
    /// # Errors
    /// The catalog failed.
    fn close(&self, open: Descriptor) -> Result<(), CatalogError>;

    /// Renames a data object; nothing that is there is replaced.
    ///
    /// # Errors
    /// As above.
    fn rename_as(&self, user: &IrodsUser, from: &LogicalPath, to: &LogicalPath) -> Result<(), CatalogError>;

    /// Removes a data object for good.
    ///
    /// # Errors
    /// As above.
    fn remove_as(&self, user: &IrodsUser, path: &LogicalPath) -> Result<(), CatalogError>;

    /// Has the server compute and register the checksum of a data object, and gives it as the catalog writes it.
    ///
    /// # Errors
    /// As above.
    fn checksum_as(&self, user: &IrodsUser, path: &LogicalPath) -> Result<String, CatalogError>;

    /// Makes a replica stale that a process was writing when it died, so that the data object can be opened and removed.
    ///
    /// # Errors
    /// The catalog failed.
    fn mark_stale(&self, path: &LogicalPath, replica: u32) -> Result<(), CatalogError>;
}

fn account(user: &IrodsUser) -> Account<'_> {
    Account { name: user.name(), zone: user.zone() }
}

impl Writing for IrodsCatalog<'_> {
    fn make_collection_as(&self, user: &IrodsUser, path: &LogicalPath) -> Result<(), CatalogError> {
        let made = self.session.make_collection_as(account(user), path.as_bytes());
        made.map_err(|code| failed("rsCollCreate", &path.display(), code))
    }

    fn open_as(
        &self,
        user: &IrodsUser,
        path: &LogicalPath,
        how: How<'_>,
    ) -> Result<Descriptor, CatalogError> {
        let how = match how {
            How::Read(offset) => Opening::Read(offset),
            How::Write(offset) => Opening::Write(offset),
            How::Create(resource) => Opening::Create(resource),
        };
        let opened = self.session.open_as(account(user), path.as_bytes(), how);
        let number = opened.map_err(|code| failed("rsDataObjOpen", &path.display(), code))?;
        Ok(Descriptor::new(number, user, path))
    }

    fn read(&self, open: &Descriptor, into: &mut [u8]) -> Result<usize, CatalogError> {
        let read = self.session.read_as(account(&open.user), open.number, into);
        read.map_err(|code| failed("rsDataObjRead", &open.path.display(), code))
    }

    fn write(&self, open: &Descriptor, bytes: &[u8]) -> Result<(), CatalogError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = self.session.write_as(account(&open.user), open.number, rest);
            let written = written.map_err(|code| failed("rsDataObjWrite", &open.path.display(), code))?;
            rest = rest.get(written.max(1)..).unwrap_or_default();
            if written == 0 {
                return Err(failed("rsDataObjWrite", &open.path.display(), NOTHING_WRITTEN));
            }
        }
        Ok(())
    }

    fn close(&self, open: Descriptor) -> Result<(), CatalogError> {
        let closed = self.session.close_as(account(&open.user), open.number);
        closed.map_err(|code| failed("rsDataObjClose", &open.path.display(), code))
    }

    fn rename_as(&self, user: &IrodsUser, from: &LogicalPath, to: &LogicalPath) -> Result<(), CatalogError> {
        let renamed = self.session.rename_as(account(user), from.as_bytes(), to.as_bytes());
        renamed.map_err(|code| failed("rsDataObjRename", &to.display(), code))
    }

    fn remove_as(&self, user: &IrodsUser, path: &LogicalPath) -> Result<(), CatalogError> {
        let removed = self.session.remove_as(account(user), path.as_bytes());
        removed.map_err(|code| failed("rsDataObjUnlink", &path.display(), code))
    }

    fn checksum_as(&self, user: &IrodsUser, path: &LogicalPath) -> Result<String, CatalogError> {
        let checksum = self.session.checksum_as(account(user), path.as_bytes());
        checksum.map_err(|code| failed("rsDataObjChksum", &path.display(), code))
    }

    fn mark_stale(&self, path: &LogicalPath, replica: u32) -> Result<(), CatalogError> {
        let replica = i32::try_from(replica).unwrap_or(i32::MAX);
        let marked = self.session.mark_stale(self.service(), path.as_bytes(), replica);
        marked.map_err(|code| failed("rsModDataObjMeta", &path.display(), code))
    }
}

/// `UNIX_FILE_WRITE_ERR`: the server says that it wrote nothing.
const NOTHING_WRITTEN: i64 = -513_000;
