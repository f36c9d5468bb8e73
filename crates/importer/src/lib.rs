//! What performs a batch. Nothing above this trait knows how OMERO is reached.

#![deny(unsafe_code)]

pub mod agent_client;
pub mod agents;
pub mod causes;
pub mod client_path;
pub mod command;
mod containers;
mod fence;
#[allow(unsafe_code)]
pub mod ffi;
pub mod files;
pub mod follow;
mod forecast;
pub mod inspect;
pub mod installation;
mod inventory;
mod links;
pub mod outcome;
pub mod process;
mod replaced;
pub mod saves;
pub mod secret;
mod session;
pub mod settings;
pub mod tls;
mod upkeep;
pub mod wire;
mod work;
pub mod worker;
mod workplace;

pub use links::NOWHERE;
pub use process::Observer;
pub use session::{LONGEST_IDLE, Sessions};
pub use workplace::is_below;

use agents::Agents;
use follow::{Follow, Followed};
use inspect::{Inspected, Inspection};

use irods_omero_model::catalog::Kind;
use irods_omero_model::clock::UnixTime;
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::{CollectionId, DataId, IrodsUser, LogicalPath, NameError, OmeroId, OmeroName};
use irods_omero_model::record::{Imported, Version};
use irods_omero_model::target::Target;
use std::collections::{BTreeMap, BTreeSet};

/// What in iRODS is imported: a file, or the directory of a format that is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A file.
    DataObject(DataId),
    /// A directory with all below it.
    Collection(CollectionId),
}

impl Subject {
    /// From its short form, `d10234` for a data object and `c10234` for a collection.
    ///
    /// # Errors
    /// The text is neither.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        match text.split_at_checked(1) {
            Some(("d", id)) => DataId::parse(id).map(Self::DataObject),
            Some(("c", id)) => CollectionId::parse(id).map(Self::Collection),
            Some(_) | None => Err(NameError::Id(text.to_owned())),
        }
    }

    /// The short form that [`Self::parse`] takes.
    pub fn short(self) -> String {
        match self {
            Self::DataObject(id) => format!("d{id}"),
            Self::Collection(id) => format!("c{id}"),
        }
    }

    /// The catalog's number of it.
    pub fn number(self) -> u64 {
        match self {
            Self::DataObject(id) => id.number(),
            Self::Collection(id) => id.number(),
        }
    }

    /// What bears the record.
    pub fn kind(self) -> Kind {
        match self {
            Self::DataObject(_) => Kind::DataObject,
            Self::Collection(_) => Kind::Collection,
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::DataObject(id) => write!(f, "data object {id}"),
            Self::Collection(id) => write!(f, "collection {id}"),
        }
    }
}

/// One file, or one directory that is an image, that goes to OMERO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchFile {
    /// The data object or collection.
    pub subject: Subject,
    /// Its logical path.
    pub logical_path: LogicalPath,
    /// The path under which the importer sees the replica; absolute. A file whose path the importer cannot take (see
    /// [`check_path`]) fails.
    pub importer_path: String,
    /// The replica's modify time and size.
    pub version: Version,
    /// Its checksum, if one is registered.
    pub checksum: Option<String>,
    /// Whose data it is in iRODS.
    pub owner: IrodsUser,
    /// Filesets of versions before, which are not what is looked for.
    pub previous: Vec<OmeroId>,
}

impl BatchFile {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.subject, Subject::Collection(_))
    }
}

/// The files of one importer run: same OMERO user, group, target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Who imports.
    pub identity: OmeroIdentity,
    /// Where to.
    pub target: Target,
    /// Where plates go, if not there too.
    pub plate_target: Option<Target>,
    /// Whether the files may belong to filesets that are in OMERO already, so that this is found out first.
    pub may_join: bool,
    /// What.
    pub files: Vec<BatchFile>,
    /// What else a set may use: the other files that the catalog was asked for. All are data objects that the owner
    /// may read, visible, good and complete. Files that are neither here nor in `files` never reach OMERO.
    pub may_use: Vec<UsableFile>,
}

/// A file that a set may use although it is not asked to be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsableFile {
    /// The data object.
    pub subject: Subject,
    /// The path under which the importer sees the replica; absolute.
    pub importer_path: String,
    /// The replica's modify time and size.
    pub version: Version,
    /// Its checksum, if one is registered.
    pub checksum: Option<String>,
}

/// A fileset that is to be deleted in OMERO, and what in iRODS it may be of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesetToDelete {
    /// The fileset.
    pub fileset: OmeroId,
    /// The files of its set.
    pub subjects: BTreeSet<Subject>,
}

/// What became of one file of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileOutcome {
    /// It has images in OMERO.
    Imported(Imported),
    /// It cannot be imported as it is; a sentence for the person whose data it is.
    Failed(String),
    /// OMERO refused the target; to be tried again with another.
    NoTarget {
        /// The target, see [`irods_omero_model::target::Target::with_plates`].
        target: String,
        /// Why, in a sentence.
        reason: String,
    },
    /// It was not imported for a reason that will pass.
    Postponed(String),
    /// It belongs to files that were imported without it: in these filesets, one or more.
    Joined(Vec<OmeroId>),
    /// Nobody can say why it was not imported. To be tried again some times, and then to be given up by itself.
    Unknown {
        /// What the importer said.
        reason: String,
        /// Whether nothing else was imported with it, so that it is this file that does it.
        is_alone: bool,
    },
    /// Its set uses files that are neither in the batch nor among those that may be used, so nothing of the set is in
    /// OMERO.
    UsesUnknown {
        /// The paths of such files on the importer's host, as Bio-Formats names them: of each directory one.
        paths: Vec<String>,
    },
    /// Of a file that may be used: no set that was imported uses it.
    NotUsed,
}

/// Why a whole batch did not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImporterError {
    /// Ours or OMERO's fault; to be tried again.
    #[error("{0}")]
    WillPass(String),
    /// The mapping's or the target's fault; no use in trying again as it is.
    #[error("{0}")]
    Refused(String),
}

/// Performs batches.
pub trait Importer {
    /// Imports a batch, or finds that OMERO has it already. Gives an outcome for every file of the batch, in
    /// the order of the batch, and then one for every file that may be used: as a member of a fileset, or
    /// [`FileOutcome::NotUsed`]. `alive` is called every few seconds for as long as it takes.
    ///
    /// # Errors
    /// The batch as a whole did not run; nothing is known of its files.
    fn import(
        &self,
        batch: &Batch,
        now: UnixTime,
        alive: &mut dyn FnMut(),
    ) -> Result<Vec<FileOutcome>, ImporterError>;

    /// Has OMERO see the files of a fileset where they are now. Gives what became of each, in their order.
    ///
    /// # Errors
    /// Nothing was done, and nothing is known of the files.
    fn follow(
        &self,
        _follow: &Follow,
        _now: UnixTime,
        _alive: &mut dyn FnMut(),
    ) -> Result<Vec<Followed>, ImporterError> {
        Err(ImporterError::WillPass(
            "what imports here cannot point OMERO's links to another place".to_owned(),
        ))
    }

    /// Which of some filesets are there, as far as a user sees them.
    ///
    /// # Errors
    /// OMERO cannot be asked: nothing is known of them.
    fn present(
        &self,
        _identity: &OmeroIdentity,
        _ids: &BTreeSet<OmeroId>,
        _now: UnixTime,
        _alive: &mut dyn FnMut(),
    ) -> Result<BTreeSet<OmeroId>, ImporterError> {
        Err(ImporterError::Refused("this importer cannot ask for filesets".to_owned()))
    }

    /// Deletes filesets of a user with their images, with that user's rights, if our annotation says that they are of what in
    /// a zone they are said to be of. Gives those that were not deleted, each with the reason.
    ///
    /// # Errors
    /// OMERO cannot be asked. Some of them may be gone.
    fn delete(
        &self,
        _identity: &OmeroIdentity,
        _zone: &str,
        _filesets: &[FilesetToDelete],
        _now: UnixTime,
        _alive: &mut dyn FnMut(),
    ) -> Result<BTreeMap<OmeroId, String>, ImporterError> {
        Err(ImporterError::Refused("this importer cannot delete filesets".to_owned()))
    }

    /// The filesets that were deleted in OMERO since its log of events was last read up to a cursor; without one only how far
    /// it goes.
    ///
    /// # Errors
    /// OMERO cannot be asked: nothing is known of them.
    fn deletions(&self, _after: Option<u64>, _alive: &mut dyn FnMut()) -> Result<Deletions, ImporterError> {
        Err(ImporterError::Refused("this importer cannot read OMERO's log of events".to_owned()))
    }

    /// What OMERO has of a user's filesets, and where their links lead. Nothing is changed.
    ///
    /// # Errors
    /// OMERO cannot be asked: nothing is known of them.
    fn inspect(
        &self,
        _identity: &OmeroIdentity,
        _inspection: &Inspection,
        _now: UnixTime,
        _alive: &mut dyn FnMut(),
    ) -> Result<Inspected, ImporterError> {
        Err(ImporterError::Refused("this importer cannot look at filesets".to_owned()))
    }

    /// Name of the OMERO server, the units of its ids.
    fn server(&self) -> &str;
}

/// Filesets that were deleted in OMERO.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deletions {
    /// Up to where OMERO's log of events was read.
    pub cursor: u64,
    /// The filesets, in the order in which they were deleted.
    pub filesets: Vec<DeletedFileset>,
    /// Whether there are more behind the cursor.
    pub is_more: bool,
}

/// A fileset that was deleted in OMERO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedFileset {
    /// Its id.
    pub fileset: OmeroId,
    /// The OMERO user who deleted it; `None` where that is not told.
    pub by: Option<OmeroName>,
    /// When, by OMERO's clock.
    pub at: UnixTime,
}

/// How batches are performed.
#[derive(Clone, Copy)]
pub enum Importing<'a> {
    /// By this process, which waits for the end.
    Here(&'a dyn Importer),
    /// By agents, which are asked later what became of it.
    ByAgents(&'a Agents<'a>),
}

impl Importing<'_> {
    /// Name of the OMERO server, the units of its ids; empty where only the agent knows it.
    pub fn server(&self) -> &str {
        match self {
            Self::Here(importer) => importer.server(),
            Self::ByAgents(agents) => agents.server(),
        }
    }

    /// See [`Importer::present`].
    ///
    /// # Errors
    /// OMERO cannot be asked: nothing is known of them.
    pub fn present(
        &self,
        zone: &str,
        identity: &OmeroIdentity,
        ids: &BTreeSet<OmeroId>,
        now: UnixTime,
    ) -> Result<BTreeSet<OmeroId>, ImporterError> {
        match self {
            Self::Here(importer) => importer.present(identity, ids, now, &mut || {}),
            Self::ByAgents(agents) => agents.present(zone, identity, ids),
        }
    }

    /// See [`Importer::deletions`].
    ///
    /// # Errors
    /// OMERO cannot be asked: nothing is known of them.
    pub fn deletions(&self, after: Option<u64>) -> Result<Deletions, ImporterError> {
        match self {
            Self::Here(importer) => importer.deletions(after, &mut || {}),
            Self::ByAgents(agents) => agents.deletions(after),
        }
    }

    /// See [`Importer::delete`].
    ///
    /// # Errors
    /// OMERO cannot be asked. Some of them may be gone.
    pub fn delete(
        &self,
        zone: &str,
        identity: &OmeroIdentity,
        filesets: &[FilesetToDelete],
        now: UnixTime,
    ) -> Result<BTreeMap<OmeroId, String>, ImporterError> {
        match self {
            Self::Here(importer) => importer.delete(identity, zone, filesets, now, &mut || {}),
            Self::ByAgents(agents) => agents.delete(zone, identity, filesets),
        }
    }
}

/// Whether a path can be given to the importer at all: it reads one path a line, trims each, and cannot open
/// names that are not UTF-8.
///
/// # Errors
/// The sentence for the record.
pub fn check_path(path: &[u8]) -> Result<&str, String> {
    // A NUL, which no name holds, stands for bytes that JSON had no text for.
    let Some(text) = std::str::from_utf8(path).ok().filter(|text| !text.contains('\0')) else {
        return Err(
            "the file's name is not valid UTF-8, which the OMERO importer cannot open: rename it".into()
        );
    };
    if text.contains(['\n', '\r']) {
        return Err(
            "the file's name holds a line break, which the OMERO importer cannot take: rename it".into()
        );
    }
    if text.trim() != text {
        return Err(
            "the file's name ends with a blank, which the OMERO importer cannot take: rename it".into()
        );
    }
    if text.rsplit('/').next().is_some_and(|name| name.starts_with('.')) {
        return Err("the file's name starts with a dot: the OMERO importer ignores such files".into());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::check_path;

    #[test]
    fn names_the_importer_cannot_take_are_refused_with_a_sentence() {
        for bad in [&b"/a/\xff.tif"[..], b"/a/x\ny.tif", b"/a/x.tif ", b"/a/.hidden.tif"] {
            assert!(check_path(bad).unwrap_err().contains("importer"));
        }
        for good in ["/a/x y.tif", "/a/-dash.tif", "/a/'q\"$objPath%.tif", "/a/ü.tif"] {
            assert_eq!(check_path(good.as_bytes()), Ok(good));
        }
    }
}
