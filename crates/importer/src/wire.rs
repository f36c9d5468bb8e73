//! What plugin and agent say to each other: JSON over HTTP, version 1. Both are built with these types, so neither
//! sends what the other does not know.
//!
//! A [`Submit`] is checked completely while it is read: it holds the same types as a [`Batch`], into which the agent
//! turns it. What comes back is a [`Job`], to whose fields a newer agent may add.

mod backlog;
mod deletions;
mod filesets;
mod follow;
mod save;

pub use backlog::{Backlog, Held, MAX_HELD, MAX_REASON_BYTES};
pub use deletions::{Deleted, Deletions, DeletionsAfter};
pub use filesets::{
    FilesetLeft, FilesetOf, FilesetsDelete, FilesetsFound, FilesetsLeft, FilesetsLook, MAX_DELETED,
    MAX_LOOKED_FOR,
};
pub use follow::{Became as FollowBecame, Follow, FollowAnswer, FollowState, MAX_MOVED, Moved};
pub use save::{
    FileKind, FileReport, InIrods, MAX_CONTENT_BYTES, MAX_IMAGES, MAX_OBJECTS, MAX_SAVE_FILES, ObjectKind,
    OmeroObject, OnConflict, Save, SaveBegin, SaveEnd, SaveFile, SaveFileState, SaveFiles, SaveReport,
    SaveRequest, SaveState, Saves, What, check_collection, clean_name,
};

use crate::{Batch, BatchFile, FileOutcome, Subject, UsableFile};
use irods_omero_model::as_text;
use irods_omero_model::clock::UnixTime;
use irods_omero_model::form::{Problem, check_host_path};
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::{CollectionId, IrodsUser, LogicalPath, OmeroId, OmeroName};
use irods_omero_model::record::{Imported, Version};
use irods_omero_model::target::Target;
use serde::de::{self, DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_path_to_error::Segment;
use std::collections::HashSet;
use std::fmt;

/// The most files one job may have.
pub const MAX_FILES: usize = 100_000;

/// The most files that the sets of one job may use besides: the directory of one image may have a chunk in each.
pub const MAX_MAY_USE: usize = 400_000;

/// The longest body, in bytes: room for [`MAX_FILES`] with paths of usual length.
pub const MAX_BODY_BYTES: usize = 64 << 20;

/// The longest path under which the importer sees a file, in bytes: `PATH_MAX` less the terminating NUL.
const MAX_HOST_PATH_BYTES: usize = 4_095;

/// The longest word that is no name of ours (zone, server, checksum), in bytes.
const MAX_WORD_BYTES: usize = 255;

/// The most filesets of earlier versions one file may have.
const MAX_PREVIOUS: usize = 1_000;

/// How a key begins that is a digest.
const DIGEST: &str = "sha256:";

/// What a job is about, as one word: a digest, so that the same work has the same key whenever it is submitted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    /// Takes 1 to 128 of `0-9 A-Z a-z _ . : -`.
    ///
    /// # Errors
    /// A sentence that says so.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"_.:-".contains(&b);
        if (1..=128).contains(&text.len()) && text.bytes().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err("a key is 1 to 128 letters, digits, '_', '.', ':' and '-'".to_owned())
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is one that [`Submit::new`] makes.
    pub fn is_digest(&self) -> bool {
        self.0.starts_with(DIGEST)
    }

    fn digest(bytes: &[u8]) -> Self {
        use fmt::Write;
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        let mut text = DIGEST.to_owned();
        for byte in digest.as_ref() {
            let _ = write!(text, "{byte:02x}"); // writing to a String does not fail
        }
        Self(text)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How urgent a job is among those of its user: -10 to 10, 0 is usual.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i64")]
pub struct Priority(i8);

impl Priority {
    /// The number.
    pub fn get(self) -> i8 {
        self.0
    }
}

impl TryFrom<i64> for Priority {
    type Error = String;

    fn try_from(number: i64) -> Result<Self, String> {
        match i8::try_from(number) {
            Ok(priority @ -10..=10) => Ok(Self(priority)),
            _ => Err(format!("{number} is not a whole number from -10 to 10")),
        }
    }
}

/// The body of `POST /v1/jobs`: a batch, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submit {
    /// A digest of all that follows. The same key with the same body is the same job.
    pub key: Key,
    /// The zone whose data it is.
    #[serde(deserialize_with = "word")]
    pub zone: String,
    /// Which of the agent's OMERO servers is meant; `None` for its only one.
    #[serde(default, deserialize_with = "maybe_word", skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// As whom it is imported.
    pub user: OmeroName,
    /// Into which group; `None` for the user's default group.
    pub group: Option<OmeroName>,
    /// Where to.
    pub target: Target,
    /// Where plates go, if not there too.
    pub plate_target: Option<Target>,
    /// Whether the files may belong to filesets that are in OMERO already.
    pub may_join: bool,
    /// How urgent it is.
    #[serde(default)]
    pub priority: Priority,
    /// The collection whose sweep submits it. It is given back with the job.
    pub collection: CollectionId,
    /// What is imported: 1 to [`MAX_FILES`], each subject once.
    pub files: Vec<File>,
    /// What else a set may use: at most [`MAX_MAY_USE`], each subject once, none of `files`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub may_use: Vec<Usable>,
}

/// One file that a set of a [`Submit`] may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usable {
    /// Its id in the catalog: `d10234`.
    pub subject: Subject,
    /// The path under which the importer sees it.
    #[serde(deserialize_with = "importer_path")]
    pub path: String,
    /// Modify time of the replica, in seconds since 1970.
    pub modified: UnixTime,
    /// Its size in bytes.
    pub size: u64,
    /// Its checksum, if one is registered.
    #[serde(default, deserialize_with = "maybe_word", skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
}

/// One file of a [`Submit`], or one directory that is an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its id in the catalog: `d10234` for a data object, `c10234` for a collection.
    pub subject: Subject,
    /// Its logical path; `%` and bytes that are no printable UTF-8 are written as `%XX`.
    pub logical_path: LogicalPath,
    /// The path under which the importer sees it. One that the importer cannot take has the file fail alone.
    #[serde(deserialize_with = "importer_path")]
    pub path: String,
    /// Modify time of the replica, in seconds since 1970.
    pub modified: UnixTime,
    /// Its size in bytes.
    pub size: u64,
    /// Its checksum, if one is registered.
    #[serde(default, deserialize_with = "maybe_word")]
    pub checksum: Option<String>,
    /// Whose data it is in iRODS.
    pub owner: IrodsUser,
    /// Filesets of versions before.
    #[serde(default)]
    pub previous: Vec<OmeroId>,
}

impl Submit {
    /// Says what `batch` is about. `server` is needed where the agent has several.
    pub fn new(zone: &str, server: Option<&str>, collection: CollectionId, batch: &Batch) -> Self {
        let mut submit = Self {
            key: Key("-".to_owned()),
            zone: zone.to_owned(),
            server: server.map(str::to_owned),
            user: batch.identity.user.clone(),
            group: batch.identity.group.clone(),
            target: batch.target.clone(),
            plate_target: batch.plate_target.clone(),
            may_join: batch.may_join,
            priority: Priority::default(),
            collection,
            files: batch.files.iter().map(File::of).collect(),
            may_use: batch.may_use.iter().map(Usable::of).collect(),
        };
        submit.key = Key::digest(&submit.to_json());
        submit
    }

    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong first, with its JSON pointer.
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        let submit: Self = read(body)?;
        if submit.files.is_empty() || submit.files.len() > MAX_FILES {
            return Err(problem("/files", format!("must be 1 to {MAX_FILES} files")));
        }
        let mut seen = HashSet::new();
        for (i, file) in submit.files.iter().enumerate() {
            if !seen.insert(file.subject) {
                return Err(problem(
                    &format!("/files/{i}/subject"),
                    format!("{} is named twice", file.subject),
                ));
            }
            if file.previous.len() > MAX_PREVIOUS {
                let pointer = format!("/files/{i}/previous");
                return Err(problem(&pointer, format!("must be at most {MAX_PREVIOUS} filesets")));
            }
        }
        if submit.may_use.len() > MAX_MAY_USE {
            return Err(problem("/may_use", format!("must be at most {MAX_MAY_USE} files")));
        }
        for (i, file) in submit.may_use.iter().enumerate() {
            if !seen.insert(file.subject) {
                let pointer = format!("/may_use/{i}/subject");
                return Err(problem(&pointer, format!("{} is named twice", file.subject)));
            }
        }
        Ok(submit)
    }

    /// The body.
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }

    /// The batch it is about.
    pub fn into_batch(self) -> Batch {
        Batch {
            identity: OmeroIdentity { user: self.user, group: self.group },
            target: self.target,
            plate_target: self.plate_target,
            may_join: self.may_join,
            files: self.files.into_iter().map(File::into_batch_file).collect(),
            may_use: self.may_use.into_iter().map(Usable::into_usable_file).collect(),
        }
    }
}

impl File {
    fn of(file: &BatchFile) -> Self {
        Self {
            subject: file.subject,
            logical_path: file.logical_path.clone(),
            path: file.importer_path.clone(),
            modified: file.version.modify_time,
            size: file.version.size,
            checksum: file.checksum.clone(),
            owner: file.owner.clone(),
            previous: file.previous.clone(),
        }
    }

    fn into_batch_file(self) -> BatchFile {
        BatchFile {
            subject: self.subject,
            logical_path: self.logical_path,
            importer_path: self.path,
            version: Version { modify_time: self.modified, size: self.size },
            checksum: self.checksum,
            owner: self.owner,
            previous: self.previous,
        }
    }
}

impl Usable {
    fn of(file: &UsableFile) -> Self {
        Self {
            subject: file.subject,
            path: file.importer_path.clone(),
            modified: file.version.modify_time,
            size: file.version.size,
            checksum: file.checksum.clone(),
        }
    }

    fn into_usable_file(self) -> UsableFile {
        UsableFile {
            subject: self.subject,
            importer_path: self.path,
            version: Version { modify_time: self.modified, size: self.size },
            checksum: self.checksum,
        }
    }
}

/// A job as the agent tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The agent's own name of the job.
    pub id: String,
    /// The key it was submitted with.
    pub key: Key,
    /// The zone whose data it is.
    pub zone: String,
    /// The name of the OMERO server, the units of its ids.
    pub server: String,
    /// As whom it is imported.
    pub user: OmeroName,
    /// Into which group.
    pub group: Option<OmeroName>,
    /// The collection whose sweep submitted it.
    pub collection: CollectionId,
    /// How far it is.
    pub state: JobState,
    /// Why it is refused or waits.
    pub reason: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was submitted.
    pub submitted: Option<UnixTime>,
    /// When it was last started.
    pub started: Option<UnixTime>,
    /// When it ended.
    pub ended: Option<UnixTime>,
    /// When one that waits is tried again.
    pub next: Option<UnixTime>,
    /// How far a running one is.
    pub progress: Option<Progress>,
    /// How many files it has.
    pub files: u64,
    /// What became of each file; of a job that has ended, where it is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outcomes: Vec<Outcome>,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Its turn is to come.
    Queued,
    /// It is being imported.
    Running,
    /// The agent will try it again by itself.
    Waiting,
    /// Every file has an outcome.
    Done,
    /// It cannot be imported as it is, by [`super::ImporterError::Refused`].
    Refused,
    /// Somebody ended it.
    Cancelled,
}

impl JobState {
    /// All states, in the order of a life.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Running, Self::Waiting, Self::Done, Self::Refused, Self::Cancelled];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
        }
    }

    /// From the word on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// Whether the agent does nothing more about it by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Refused | Self::Cancelled)
    }
}

/// How many files of a running job are linked into OMERO's repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// So many,
    pub linked: u64,
    /// of so many.
    pub of: u64,
}

/// What became of one file of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Which file.
    pub subject: Subject,
    /// What became of it.
    pub outcome: Became,
    /// Why, of one that failed or was postponed.
    pub reason: Option<String>,
    /// The fileset it is in, or would belong to.
    pub fileset: Option<OmeroId>,
    /// Its images; none of one of the others of a multi-file fileset.
    #[serde(default)]
    pub images: Vec<OmeroId>,
    /// Its plates.
    #[serde(default)]
    pub plates: Vec<OmeroId>,
    /// Whether it is one of the others of a multi-file fileset, not its key file.
    #[serde(default)]
    pub is_member: bool,
    /// Whether the fileset was there before the import.
    #[serde(default)]
    pub adopted: bool,
    /// A file that its set uses and that is neither among the files nor among those that may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The target that OMERO refused, of one that failed for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// More filesets that a file would belong to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_filesets: Vec<OmeroId>,
    /// More such files, each in a directory of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_paths: Vec<String>,
    /// Whether one that is unknown was imported alone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_alone: bool,
    /// The filesets of other data, or of other versions, that were imported from the same path before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous: Vec<OmeroId>,
    /// The version that was imported, where it is not the one of the job: modify time and size, `1700000000:204`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<ImportedVersion>,
}

/// A [`Version`] as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportedVersion(pub Version);

impl ImportedVersion {
    fn parse(text: &str) -> Result<Self, String> {
        let version = Version::parse(text).map(Self);
        version.ok_or_else(|| format!("{text:?} is no modify time and size, such as 1700000000:204"))
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // what serde asks for
fn is_false(value: &bool) -> bool {
    !value
}

/// The kinds of [`FileOutcome`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Became {
    /// [`FileOutcome::Imported`]
    Imported,
    /// [`FileOutcome::Failed`] and [`FileOutcome::NoTarget`]
    Failed,
    /// [`FileOutcome::Postponed`]
    Postponed,
    /// [`FileOutcome::Joined`]
    Joined,
    /// [`FileOutcome::Unknown`]
    Unknown,
    /// [`FileOutcome::UsesUnknown`]
    #[serde(rename = "uses_unknown")]
    UsesUnknown,
    /// [`FileOutcome::NotUsed`]
    #[serde(rename = "not_used")]
    NotUsed,
}

impl Outcome {
    /// Says what became of a file.
    pub fn of(subject: Subject, outcome: &FileOutcome) -> Self {
        let nothing = |outcome| Self {
            subject,
            outcome,
            reason: None,
            fileset: None,
            images: Vec::new(),
            plates: Vec::new(),
            is_member: false,
            adopted: false,
            path: None,
            target: None,
            more_paths: Vec::new(),
            more_filesets: Vec::new(),
            is_alone: false,
            previous: Vec::new(),
            version: None,
        };
        match outcome {
            // The images of a set of files are said once, for its key file.
            FileOutcome::Imported(Imported {
                fileset, is_member: true, adopted, previous, version, ..
            }) => Self {
                fileset: Some(*fileset),
                is_member: true,
                adopted: *adopted,
                previous: previous.clone(),
                version: version.map(ImportedVersion),
                ..nothing(Became::Imported)
            },
            FileOutcome::Imported(imported) => Self {
                fileset: Some(imported.fileset),
                images: imported.images.clone(),
                plates: imported.plates.clone(),
                adopted: imported.adopted,
                previous: imported.previous.clone(),
                version: imported.version.map(ImportedVersion),
                ..nothing(Became::Imported)
            },
            FileOutcome::Failed(why) => Self { reason: Some(why.clone()), ..nothing(Became::Failed) },
            FileOutcome::NoTarget { target, reason } => {
                Self { reason: Some(reason.clone()), target: Some(target.clone()), ..nothing(Became::Failed) }
            }
            FileOutcome::Postponed(why) => Self { reason: Some(why.clone()), ..nothing(Became::Postponed) },
            FileOutcome::Joined(filesets) => Self {
                fileset: filesets.first().copied(),
                more_filesets: filesets.iter().skip(1).copied().collect(),
                ..nothing(Became::Joined)
            },
            FileOutcome::Unknown { reason, is_alone } => {
                Self { reason: Some(reason.clone()), is_alone: *is_alone, ..nothing(Became::Unknown) }
            }
            FileOutcome::UsesUnknown { paths } => Self {
                path: paths.first().cloned(),
                more_paths: paths.iter().skip(1).cloned().collect(),
                ..nothing(Became::UsesUnknown)
            },
            FileOutcome::NotUsed => nothing(Became::NotUsed),
        }
    }

    /// What became of the file; `None` where the agent leaves out the fileset that belongs to it.
    pub fn into_file_outcome(self) -> Option<FileOutcome> {
        let reason = self.reason.unwrap_or_default();
        Some(match self.outcome {
            Became::Imported => FileOutcome::Imported(Imported {
                fileset: self.fileset?,
                images: self.images,
                plates: self.plates,
                is_member: self.is_member,
                adopted: self.adopted,
                previous: self.previous,
                version: self.version.map(|ImportedVersion(version)| version),
            }),
            Became::Failed => match self.target {
                Some(target) => FileOutcome::NoTarget { target, reason },
                None => FileOutcome::Failed(reason),
            },
            Became::Postponed => FileOutcome::Postponed(reason),
            Became::Joined => {
                FileOutcome::Joined([self.fileset?].into_iter().chain(self.more_filesets).collect())
            }
            Became::Unknown => FileOutcome::Unknown { reason, is_alone: self.is_alone },
            Became::UsesUnknown => {
                FileOutcome::UsesUnknown { paths: [self.path?].into_iter().chain(self.more_paths).collect() }
            }
            Became::NotUsed => FileOutcome::NotUsed,
        })
    }
}

/// A page of jobs, newest first: the answer to `GET /v1/jobs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jobs {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// What `before` is for the next page; `None` on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

/// The answer to `GET /v1/changes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Where the next question goes on.
    pub cursor: u64,
    /// The jobs that changed after the cursor asked with, each as it is now.
    pub jobs: Vec<Job>,
}

/// An answer that is an error: `application/problem+json` of RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The kind of error, as a URI; `about:blank` where the status says it all.
    #[serde(rename = "type", default = "about_blank")]
    pub kind: String,
    /// The kind of error in words.
    #[serde(default)]
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// A sentence with the remedy.
    #[serde(default)]
    pub detail: String,
    /// The JSON pointer of what is wrong in the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
}

fn about_blank() -> String {
    "about:blank".to_owned()
}

/// Reads JSON.
///
/// # Errors
/// What is wrong first, with its JSON pointer.
pub fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, Problem> {
    let mut source = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut source)
        .map_err(|e| problem(&pointer(e.path()), e.inner().to_string()))?;
    source.end().map_err(|e| problem("", e.to_string()))?;
    Ok(value)
}

/// Writes JSON.
pub fn to_json(value: &impl Serialize) -> Vec<u8> {
    // Fails only for maps whose keys are no texts and for types that refuse; there are none here.
    serde_json::to_vec(value).unwrap_or_default()
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    let step = |segment: &Segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { .. } | Segment::Unknown => String::new(),
    };
    path.iter().map(step).collect()
}

fn problem(pointer: &str, message: String) -> Problem {
    let pointer = if pointer.is_empty() { "/" } else { pointer };
    Problem { pointer: pointer.to_owned(), message }
}

as_text!(Key, Key::as_str, Key::parse);
as_text!(ImportedVersion, |v: &ImportedVersion| v.0.to_string(), ImportedVersion::parse);
as_text!(Subject, |s: &Subject| s.short(), Subject::parse);

fn word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    check_word(&text).map_err(D::Error::custom)?;
    Ok(text)
}

fn maybe_word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.as_deref().map_or(Ok(()), check_word).map_err(D::Error::custom)?;
    Ok(text)
}

fn check_word(text: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > MAX_WORD_BYTES || text.chars().any(char::is_control) {
        return Err(format!("must be 1 to {MAX_WORD_BYTES} bytes without control characters"));
    }
    Ok(())
}

/// A path of the host, also one that the importer cannot take: that file fails alone, when its batch is imported. What
/// is no UTF-8 in it (as it is, or a lone surrogate, as which JSON can say it) becomes a NUL, which no path holds.
fn importer_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = deserializer.deserialize_bytes(PathText)?;
    if text.len() > MAX_HOST_PATH_BYTES {
        return Err(D::Error::custom(format!("is longer than {MAX_HOST_PATH_BYTES} bytes")));
    }
    check_host_path(&text).map_err(D::Error::custom)?;
    Ok(text)
}

struct PathText;

impl de::Visitor<'_> for PathText {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path as text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<String, E> {
        let mut text = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            if !chunk.invalid().is_empty() {
                text.push('\0');
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests;
