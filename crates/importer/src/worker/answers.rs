//! What the worker answers, as `docs/worker.md` says. A newer worker may say more.

use super::{Kind, SessionKey};
use irods_omero_model::names::{OmeroId, OmeroName};
use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer};

/// Versions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Hello {
    /// Of the protocol.
    pub protocol: u64,
    /// Of the worker.
    pub worker: String,
    /// Of omero-py.
    pub omero_py: String,
    /// Of Ice.
    pub ice: String,
    /// Of Python.
    pub python: String,
}

/// What the account that opens sessions for others may do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Probe {
    /// Of OMERO.
    pub server_version: String,
    /// Of the account.
    pub privileges: Vec<String>,
    /// Whether it is an administrator.
    pub is_admin: bool,
}

/// What was deleted, by OMERO's own log of events.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Deletions {
    /// Up to where the log was read.
    pub cursor: u64,
    /// The filesets, in the order in which they were deleted.
    pub filesets: Vec<DeletedFileset>,
    /// Whether there are more behind the cursor.
    pub more: bool,
}

/// A fileset that was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DeletedFileset {
    /// Its id.
    #[serde(deserialize_with = "id")]
    pub fileset: OmeroId,
    /// Who deleted it; `None` where OMERO does not tell.
    pub by: Option<String>,
    /// When, in seconds since 1970, by the server's clock.
    pub at: i64,
}

/// A session that is open.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Opened {
    /// Its key.
    #[serde(deserialize_with = "key")]
    pub session: SessionKey,
    /// Whose it is, as OMERO writes the name.
    pub user: String,
    /// That user's id.
    pub user_id: i64,
    /// The group it is in.
    pub group: String,
    /// That group's id.
    pub group_id: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Filesets {
    pub filesets: Vec<Fileset>,
}

/// A fileset of the session's user.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Fileset {
    /// Its id.
    #[serde(deserialize_with = "id")]
    pub id: OmeroId,
    /// Whose it is.
    pub owner: String,
    /// The group it is in.
    pub group_id: i64,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// The entries at the client paths that were asked for; the one with the lowest id is the key file.
    pub entries: Vec<Entry>,
    /// How many entries it has.
    pub entry_count: u64,
    /// Those of the directories asked for that it has entries below of.
    pub directories: Vec<String>,
    /// Whether the upload has ended.
    pub uploaded: bool,
    /// Whether the session is open that it was made in: OMERO gives up what it does in one that is closed.
    #[serde(default = "yes")]
    pub open: bool,
    /// Its images; none is what a failed import, or one that goes on, has.
    #[serde(deserialize_with = "ids")]
    pub images: Vec<OmeroId>,
    /// Its plates.
    #[serde(deserialize_with = "ids")]
    pub plates: Vec<OmeroId>,
    /// Our annotation, where it has one.
    pub annotation: Option<Annotation>,
}

fn yes() -> bool {
    true
}

/// Whether a session was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct LoggedOut {
    /// It is left open, because OMERO may still make the images of what was imported in it.
    #[serde(default)]
    pub unfinished: bool,
}

/// One file of a fileset.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Entry {
    /// Its number: files come in the order in which the importer gave them.
    pub id: u64,
    /// The path the importer was given, as OMERO keeps it.
    pub path: String,
    /// In bytes; none as long as nothing was uploaded.
    pub size: Option<u64>,
    /// The checksum in hexadecimal digits.
    pub hash: Option<String>,
    /// How it was made, for example `SHA1-160`.
    pub hasher: Option<String>,
}

/// A map annotation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Annotation {
    /// Its id.
    #[serde(deserialize_with = "id")]
    pub id: OmeroId,
    /// Which data object in which version it is of.
    pub description: String,
    /// What a person reads.
    pub pairs: Vec<(String, String)>,
}

/// Where the files of a fileset are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FilesetFiles {
    /// The fileset.
    #[serde(deserialize_with = "id")]
    pub fileset: OmeroId,
    /// Whose it is.
    pub owner: String,
    /// The directory of the fileset, below the repository's root.
    pub prefix: String,
    /// The repository, where it is known.
    pub repository: Option<Repository>,
    /// The files.
    pub entries: Vec<StoredFile>,
    /// Whether there are more.
    pub more: bool,
}

/// A repository of an OMERO server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Repository {
    /// Its identity.
    pub uuid: String,
    /// Its directory on the server, absolute.
    pub root: String,
}

/// One file of a fileset in the repository.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StoredFile {
    /// The number of the entry.
    pub id: u64,
    /// The path the importer was given, as OMERO keeps it.
    pub path: String,
    /// The number of the `OriginalFile`.
    pub file: u64,
    /// Its name.
    pub name: String,
    /// Where it is, below the repository's root.
    pub stored: String,
    /// In bytes.
    pub size: Option<u64>,
    /// The checksum in hexadecimal digits.
    pub hash: Option<String>,
    /// How it was made.
    pub hasher: Option<String>,
}

/// A dataset or a screen.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Container {
    /// `Dataset` or `Screen`.
    pub kind: String,
    /// Its id.
    #[serde(deserialize_with = "id")]
    pub id: OmeroId,
    /// Whether it was made just now.
    pub made: bool,
}

impl std::fmt::Display for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:id:{}", self.kind, self.id)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Lonely {
    #[serde(deserialize_with = "ids")]
    pub images: Vec<OmeroId>,
    #[serde(deserialize_with = "ids")]
    pub plates: Vec<OmeroId>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Items<T> {
    pub items: Vec<T>,
}

/// What became of a fileset that was to be annotated.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Annotated {
    /// The fileset.
    #[serde(deserialize_with = "id")]
    pub fileset: OmeroId,
    /// What became of it.
    pub state: AnnotationState,
    /// Why it has no annotation.
    #[serde(default, deserialize_with = "refusal")]
    pub error: Option<(Kind, String)>,
}

impl Annotated {
    /// Whether it has its annotation now.
    pub fn is_done(&self) -> bool {
        match self.state {
            AnnotationState::Made
            | AnnotationState::There
            | AnnotationState::Linked
            | AnnotationState::Updated => true,
            AnnotationState::Failed => false,
        }
    }

    /// Whether it has none and may have one when it is asked for again.
    pub fn will_pass(&self) -> bool {
        !self.is_done() && self.error.as_ref().is_none_or(|(kind, _)| kind.will_pass())
    }
}

/// How a fileset has its annotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnnotationState {
    /// It was made.
    Made,
    /// It was there.
    There,
    /// It was there, and links of it were missing.
    Linked,
    /// It was there and said something else.
    Updated,
    /// There is none.
    Failed,
}

/// What became of a fileset that was to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Deleted {
    /// The fileset.
    #[serde(deserialize_with = "id")]
    pub fileset: OmeroId,
    /// What became of it.
    pub state: DeleteState,
    /// Why it could not be deleted.
    #[serde(default, deserialize_with = "refusal")]
    pub error: Option<(Kind, String)>,
}

/// Whether a fileset is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeleteState {
    /// It was, and is not there any more.
    Deleted,
    /// It was not there.
    Gone,
    /// It has images and was left.
    HasImages,
    /// It is somebody else's and was left.
    NotOwn,
    /// OMERO did not do it.
    Failed,
}

/// Filesets without images.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Leftovers {
    /// The filesets.
    pub filesets: Vec<Leftover>,
    /// Whether there are more.
    pub more: bool,
}

/// A fileset without images.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Leftover {
    /// Its id.
    #[serde(deserialize_with = "id")]
    pub id: OmeroId,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// How many files it has.
    pub entry_count: u64,
    /// The client path of one of them.
    pub path: String,
    /// Whether the upload has ended.
    pub uploaded: bool,
}

/// Adds filesets to those that are known; one that is known gets what is new.
pub(super) fn merge(known: &mut Vec<Fileset>, more: Vec<Fileset>) {
    for fileset in more {
        match known.binary_search_by_key(&fileset.id, |f| f.id) {
            Ok(i) => {
                known[i].entries.extend(fileset.entries);
                known[i].entries.sort_by_key(|entry| entry.id);
                known[i].entries.dedup_by_key(|entry| entry.id);
                known[i].directories.extend(fileset.directories);
            }
            Err(i) => known.insert(i, fileset),
        }
    }
}

pub(super) fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OmeroId, D::Error> {
    to_id(u64::deserialize(deserializer)?)
}

pub(super) fn ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<OmeroId>, D::Error> {
    Vec::<u64>::deserialize(deserializer)?.into_iter().map(to_id).collect()
}

fn to_id<E: Error>(number: u64) -> Result<OmeroId, E> {
    OmeroId::from_number(number)
        .ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &"the id of an OMERO object"))
}

fn key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SessionKey, D::Error> {
    let text = String::deserialize(deserializer)?;
    // The text is not repeated: it may be a secret.
    SessionKey::parse(&text).ok_or_else(|| D::Error::custom("not the key of a session"))
}

/// An error of one item.
fn refusal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<(Kind, String)>, D::Error> {
    let refusal = Option::<Refusal>::deserialize(deserializer)?;
    Ok(refusal.map(|r| (r.kind(), r.message)))
}

/// An error as it stands in an answer.
#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    kind: String,
    class: String,
    pub message: String,
}

impl Refusal {
    pub fn kind(&self) -> Kind {
        Kind::read(&self.kind, &self.class)
    }
}

impl Opened {
    /// Whether the session is that of a user. An OMERO with LDAP may keep names in lower case.
    pub fn is_of(&self, user: &OmeroName) -> bool {
        self.user.to_lowercase() == user.as_str().to_lowercase()
    }
}
