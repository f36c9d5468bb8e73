//! `/v1/saves`: a person in OMERO asks for files to be written to iRODS, and the zone fetches them.
//!
//! A [`SaveRequest`] names no person: the agent asks OMERO whose session comes with it. It becomes a [`Save`] with a
//! [`SaveFile`] for each file, which the zone reads in pages, and of which it says in a [`SaveReport`] what became.

use super::{Key, problem, read, to_json};
use crate::Subject;
use irods_omero_model::clock::UnixTime;
use irods_omero_model::form::Problem;
use irods_omero_model::names::{LogicalPath, OmeroId, OmeroName};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::HashSet;
use std::fmt;

/// The most objects of one request.
pub const MAX_OBJECTS: usize = 1_000;

/// The most files of one report, and of one page.
pub const MAX_SAVE_FILES: usize = 1_000;

/// The most bytes of the content of a file that one answer holds.
pub const MAX_CONTENT_BYTES: u64 = 64 << 20;

/// The longest collection, in bytes: what the catalog holds.
const MAX_COLLECTION_BYTES: usize = 1_000;

/// The longest name of a file below the collection, in bytes: what the catalog holds.
const MAX_NAME_BYTES: usize = 1_000;

/// The longest element of such a name, in bytes.
const MAX_ELEMENT_BYTES: usize = 255;

/// The longest reason, in bytes.
const MAX_REASON_BYTES: usize = 4_000;

/// Something in OMERO whose files are saved: `Image:12`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OmeroObject {
    /// What it is.
    pub kind: ObjectKind,
    /// Its number.
    pub id: OmeroId,
}

/// What can be saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// One image; with it all images of its fileset.
    Image,
    /// A dataset with its images.
    Dataset,
    /// A project with its datasets.
    Project,
    /// One plate.
    Plate,
    /// A screen with its plates.
    Screen,
}

impl ObjectKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Image, Self::Dataset, Self::Project, Self::Plate, Self::Screen];

    /// OMERO's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "Image",
            Self::Dataset => "Dataset",
            Self::Project => "Project",
            Self::Plate => "Plate",
            Self::Screen => "Screen",
        }
    }
}

impl OmeroObject {
    /// From `Image:12`.
    ///
    /// # Errors
    /// A sentence that says what is right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split_once(':').and_then(|(kind, id)| {
            let kind = ObjectKind::ALL.into_iter().find(|known| known.as_str() == kind)?;
            // OMERO's numbers are signed.
            let id = OmeroId::parse(id).ok().filter(|id| i64::try_from(id.number()).is_ok())?;
            Some(Self { kind, id })
        });
        let words = ObjectKind::ALL.map(ObjectKind::as_str).join(", ");
        parts.ok_or_else(|| format!("must be one of {words} with its id, as in Image:12"))
    }
}

impl fmt::Display for OmeroObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.as_str(), self.id)
    }
}

irods_omero_model::as_text!(OmeroObject, ToString::to_string, OmeroObject::parse);

/// What is saved of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// The original files of its filesets, as they were imported.
    Files,
    /// The files that are attached to it, and to the images in it.
    Attachments,
}

impl What {
    /// All of it.
    pub const ALL: [Self; 2] = [Self::Files, Self::Attachments];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Attachments => "attachments",
        }
    }

    /// From the word on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|what| what.as_str() == text)
    }
}

/// What is done where other data has the name of a file already. It is never overwritten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnConflict {
    /// The file gets another name: `a (2).tif`.
    #[default]
    Rename,
    /// The file is refused.
    Refuse,
}

impl OnConflict {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rename => "rename",
            Self::Refuse => "refuse",
        }
    }

    /// From the word on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Rename, Self::Refuse].into_iter().find(|c| c.as_str() == text)
    }
}

/// The body of `POST /v1/saves`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaveRequest {
    /// What is saved: 1 to [`MAX_OBJECTS`], each once.
    pub objects: Vec<OmeroObject>,
    /// What of it.
    #[serde(default = "files_only")]
    pub what: Vec<What>,
    /// Where to: an absolute path in iRODS, which may hold the words of a template (`{user}`, `{dataset}`); `None` for the
    /// site's own.
    #[serde(default, deserialize_with = "maybe_collection", skip_serializing_if = "Option::is_none")]
    pub collection: Option<String>,
    /// Whether files are copied that are in iRODS already, because they were imported from there.
    #[serde(default)]
    pub again: bool,
    /// What is done where other data has the name.
    #[serde(default)]
    pub on_conflict: OnConflict,
}

fn files_only() -> Vec<What> {
    vec![What::Files]
}

impl SaveRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong first, with its JSON pointer.
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        let request: Self = read(body)?;
        if request.objects.is_empty() || request.objects.len() > MAX_OBJECTS {
            return Err(problem("/objects", format!("must be 1 to {MAX_OBJECTS} objects")));
        }
        let mut seen = HashSet::new();
        for (i, object) in request.objects.iter().enumerate() {
            if !seen.insert(object) {
                return Err(problem(&format!("/objects/{i}"), format!("{object} is named twice")));
            }
        }
        let different: HashSet<_> = request.what.iter().collect();
        if request.what.is_empty() || different.len() < request.what.len() {
            let words = What::ALL.map(What::as_str).join(", ");
            return Err(problem("/what", format!("must be one or more of {words}, each once")));
        }
        Ok(request)
    }

    /// The body.
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}

/// A save as the agent tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Save {
    /// The agent's own name of it. It fits into a path of the interface.
    pub id: Key,
    /// The agent's name of the OMERO server.
    pub server: String,
    /// Who asked, as OMERO says.
    pub user: OmeroName,
    /// How far it is.
    pub state: SaveState,
    /// Why it was refused, or what it waits for.
    #[serde(default)]
    pub reason: Option<String>,
    /// What was asked for.
    pub objects: Vec<OmeroObject>,
    /// What of it.
    pub what: Vec<What>,
    /// Where to; `None` for the site's own.
    #[serde(default)]
    pub collection: Option<String>,
    /// Whether files are copied that are in iRODS already.
    pub again: bool,
    /// What is done where other data has the name.
    pub on_conflict: OnConflict,
    /// What of the chosen is not in it, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// When it was asked for.
    pub created: UnixTime,
    /// When something last became of it.
    pub changed: UnixTime,
    /// How many files it has.
    pub files: u64,
    /// The bytes of all of them.
    pub bytes: u64,
    /// How many are saved.
    pub saved: u64,
    /// How many were in iRODS already.
    pub already: u64,
    /// How many were refused.
    pub refused: u64,
}

impl Save {
    /// How many files nothing has become of yet.
    pub fn queued(&self) -> u64 {
        self.files.saturating_sub(self.saved).saturating_sub(self.already).saturating_sub(self.refused)
    }
}

/// How far a save is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SaveState {
    /// The zone has not begun with it.
    Queued,
    /// The zone has begun with it.
    Running,
    /// Every file is saved, or was in iRODS already.
    Done,
    /// It ended, and something was refused.
    Refused,
    /// Somebody ended it.
    Cancelled,
}

impl SaveState {
    /// All states, in the order of a life.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Done, Self::Refused, Self::Cancelled];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
        }
    }

    /// From the word on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// Whether nothing more becomes of it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Refused | Self::Cancelled)
    }
}

/// A page of saves, oldest first: the answer to `GET /v1/saves`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saves {
    /// The saves.
    pub saves: Vec<Save>,
    /// What `after` is for the next page; `None` on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Key>,
}

/// One file of a save.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaveFile {
    /// Its number in the save, from 1.
    pub n: u64,
    /// The fileset it belongs to; none of an attachment.
    #[serde(default)]
    pub fileset: Option<OmeroId>,
    /// Images of that fileset, at most [`MAX_IMAGES`].
    #[serde(default)]
    pub images: Vec<OmeroId>,
    /// What it is.
    pub kind: FileKind,
    /// The group in OMERO.
    pub group: String,
    /// The project that it is found in. Names are as OMERO has them: whoever makes a path of them cleans them.
    #[serde(default)]
    pub project: Option<String>,
    /// The dataset.
    #[serde(default)]
    pub dataset: Option<String>,
    /// The screen.
    #[serde(default)]
    pub screen: Option<String>,
    /// The plate.
    #[serde(default)]
    pub plate: Option<String>,
    /// The path below the collection, with `/` between its elements. The files of a fileset of several keep their directories.
    #[serde(deserialize_with = "relative_name")]
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-1 in lower-case hexadecimal digits, where OMERO has one.
    #[serde(default, deserialize_with = "maybe_sha1")]
    pub sha1: Option<String>,
    /// Where the bytes are on the OMERO host, with links resolved; none where the agent cannot tell.
    #[serde(default)]
    pub host_path: Option<String>,
    /// The data it was imported from, where that was in iRODS. Every file of a fileset says the same: that of the key file.
    #[serde(default)]
    pub in_irods: Option<InIrods>,
    /// What became of it.
    pub state: SaveFileState,
    /// Where it is in iRODS.
    #[serde(default)]
    pub path: Option<LogicalPath>,
    /// Why it was refused.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The most images that are named of a fileset.
pub const MAX_IMAGES: usize = 100;

/// What a file of a save is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// A file of a fileset.
    File,
    /// A file attached to something.
    Attachment,
}

impl FileKind {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Attachment => "attachment",
        }
    }

    /// From the word on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::File, Self::Attachment].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// The data in iRODS that a fileset was imported from, by the annotation that the import left in OMERO. It can be old, and its
/// owner can have changed it: ask the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InIrods {
    /// The zone.
    pub zone: String,
    /// The data object, or the collection of a directory that is one image.
    pub subject: Subject,
    /// The logical path at the time of the import, for people.
    pub path: String,
}

/// How far a file of a save is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SaveFileState {
    /// Nothing has become of it yet.
    Queued,
    /// It is in iRODS.
    Saved,
    /// It was in iRODS already.
    AlreadyInIrods,
    /// It is not saved.
    Refused,
}

impl SaveFileState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Queued, Self::Saved, Self::AlreadyInIrods, Self::Refused];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Saved => "saved",
            Self::AlreadyInIrods => "already_in_irods",
            Self::Refused => "refused",
        }
    }

    /// From the word on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

/// A page of the files of a save, by number: the answer to `GET /v1/saves/{id}/files`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaveFiles {
    /// The files.
    pub files: Vec<SaveFile>,
    /// What `after` is for the next page; `None` on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// The body of `POST /v1/saves/{id}/files`: what became of some files. The same report again changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaveReport {
    /// The files: 1 to [`MAX_SAVE_FILES`], each once.
    pub files: Vec<FileReport>,
}

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileReport {
    /// Its number.
    pub n: u64,
    /// What became of it.
    pub state: SaveFileState,
    /// Where it is in iRODS; needed of one that is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<LogicalPath>,
    /// Why it was refused; needed of one that was.
    #[serde(default, deserialize_with = "maybe_reason", skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl SaveReport {
    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong first, with its JSON pointer.
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        let report: Self = read(body)?;
        if report.files.is_empty() || report.files.len() > MAX_SAVE_FILES {
            return Err(problem("/files", format!("must be 1 to {MAX_SAVE_FILES} files")));
        }
        let mut seen = HashSet::new();
        for (i, file) in report.files.iter().enumerate() {
            if !seen.insert(file.n) {
                return Err(problem(&format!("/files/{i}/n"), format!("{} is named twice", file.n)));
            }
            let missing = match file.state {
                SaveFileState::Saved | SaveFileState::AlreadyInIrods if file.path.is_none() => "path",
                SaveFileState::Refused if file.reason.is_none() => "reason",
                _ => continue,
            };
            let pointer = format!("/files/{i}/{missing}");
            return Err(problem(&pointer, format!("is needed of a file that is {}", file.state.as_str())));
        }
        Ok(report)
    }

    /// The body.
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}

/// The body of `POST /v1/saves/{id}/begin`: the zone works on it. Again with a reason: it waits for something that will pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaveBegin {
    /// What it waits for; `None` for nothing.
    #[serde(default, deserialize_with = "maybe_reason", skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl SaveBegin {
    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong first, with its JSON pointer.
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        read(body)
    }

    /// The body.
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}

/// The body of `POST /v1/saves/{id}/end`: the zone does nothing more about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaveEnd {
    /// `done` or `refused`.
    pub state: SaveState,
    /// Why it was refused.
    #[serde(default, deserialize_with = "maybe_reason", skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl SaveEnd {
    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong first, with its JSON pointer.
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        let end: Self = read(body)?;
        match (end.state, &end.reason) {
            (SaveState::Done, _) | (SaveState::Refused, Some(_)) => Ok(end),
            (SaveState::Refused, None) => {
                Err(problem("/reason", "is needed of one that is refused".to_owned()))
            }
            _ => Err(problem("/state", "must be done or refused".to_owned())),
        }
    }

    /// The body.
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}

/// Makes the name of a file below its collection: what cannot be an element of a path in iRODS, or would lead elsewhere, is
/// replaced by `_`.
pub fn clean_name(raw: &str) -> String {
    let element = |element: &str| -> String {
        let mut text: String = element.chars().map(|c| if c.is_control() { '_' } else { c }).collect();
        let mut end = text.len().min(MAX_ELEMENT_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        if matches!(text.as_str(), "." | "..") { text.replace('.', "_") } else { text }
    };
    let elements: Vec<String> = raw.split('/').filter(|e| !e.is_empty()).map(element).collect();
    if elements.is_empty() { "_".to_owned() } else { elements.join("/") }
}

fn check_elements(path: &str, most: usize) -> Result<(), String> {
    if path.is_empty() || path.len() > most || path.chars().any(char::is_control) {
        return Err(format!("must be 1 to {most} bytes without control characters"));
    }
    if path.split('/').any(|e| matches!(e, "" | "." | "..")) {
        return Err("must have no element that is empty, '.' or '..'".to_owned());
    }
    Ok(())
}

fn maybe_collection<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| check_collection(&text).map_err(D::Error::custom).map(|()| text)).transpose()
}

/// Whether a text can be the collection of a request: an absolute path, in whose elements words of a template may stand.
///
/// # Errors
/// A sentence that says what is right.
pub fn check_collection(text: &str) -> Result<(), String> {
    let rest =
        text.strip_prefix('/').ok_or("must begin with '/' and the name of a zone, or with '/{zone}'")?;
    check_elements(rest, MAX_COLLECTION_BYTES)
}

fn relative_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    check_elements(&text, MAX_NAME_BYTES).map_err(D::Error::custom)?;
    Ok(text)
}

fn maybe_sha1<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let fits = |t: &String| t.len() == 40 && t.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match text {
        Some(text) if !fits(&text) => Err(D::Error::custom("must be 40 hexadecimal digits in lower case")),
        text => Ok(text),
    }
}

fn maybe_reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let fits = |t: &String| !t.is_empty() && t.len() <= MAX_REASON_BYTES && !t.chars().any(char::is_control);
    match text {
        Some(text) if !fits(&text) => {
            Err(D::Error::custom(format!("must be 1 to {MAX_REASON_BYTES} bytes on one line")))
        }
        text => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_says_only_what_is_saved_has_the_defaults() {
        let request = SaveRequest::read(br#"{"objects":["Image:12","Plate:3"]}"#).unwrap();
        assert_eq!(
            request.objects.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["Image:12", "Plate:3"]
        );
        assert_eq!((request.what.as_slice(), request.again), (&[What::Files][..], false));
        assert_eq!((request.collection.as_deref(), request.on_conflict), (None, OnConflict::Rename));
        assert_eq!(SaveRequest::read(&request.to_json()).unwrap(), request);
    }

    #[test]
    fn a_request_with_a_mistake_is_refused_at_its_place() {
        let many: Vec<String> = (1..=1_001).map(|n| format!("\"Image:{n}\"")).collect();
        let many = format!(r#"{{"objects":[{}]}}"#, many.join(","));
        for (body, pointer) in [
            (r#"{"objects":[]}"#, "/objects"),
            (&many, "/objects"),
            (r#"{"objects":["Image:1","Image:1"]}"#, "/objects/1"),
            (r#"{"objects":["Image:0"]}"#, "/objects/0"),
            (r#"{"objects":["Image:9223372036854775808"]}"#, "/objects/0"),
            (r#"{"objects":["Experimenter:1"]}"#, "/objects/0"),
            (r#"{"objects":["Image:1 or 1=1"]}"#, "/objects/0"),
            (r#"{"objects":["Image:1"],"user":"bob"}"#, "/user"),
            (r#"{"objects":["Image:1"],"what":[]}"#, "/what"),
            (r#"{"objects":["Image:1"],"what":["files","files"]}"#, "/what"),
            (r#"{"objects":["Image:1"],"what":["everything"]}"#, "/what/0"),
            (r#"{"objects":["Image:1"],"collection":"home/alice"}"#, "/collection"),
            (r#"{"objects":["Image:1"],"collection":"/z/home/alice/../bob"}"#, "/collection"),
            (r#"{"objects":["Image:1"],"collection":"/z/a\u0000b"}"#, "/collection"),
            (r#"{"objects":["Image:1"],"on_conflict":"overwrite"}"#, "/on_conflict"),
        ] {
            assert_eq!(SaveRequest::read(body.as_bytes()).unwrap_err().pointer, pointer, "{body}");
        }
        let good = r#"{"objects":["Image:1"],"collection":"/{zone}/home/{user}/x"}"#;
        assert!(SaveRequest::read(good.as_bytes()).is_ok());
    }

    #[test]
    fn a_report_says_where_each_file_is_or_why_it_is_not() {
        let saved = r#"{"n":1,"state":"saved","path":"/z/home/alice/a.tif"}"#;
        let body = |files: &str| format!(r#"{{"files":[{files}]}}"#).into_bytes();
        let report = SaveReport::read(&body(saved)).unwrap();
        assert_eq!(SaveReport::read(&report.to_json()).unwrap(), report);
        for (files, pointer) in [
            (String::new(), "/files"),
            (format!("{saved},{saved}"), "/files/1/n"),
            (r#"{"n":1,"state":"saved"}"#.to_owned(), "/files/0/path"),
            (r#"{"n":1,"state":"already_in_irods"}"#.to_owned(), "/files/0/path"),
            (r#"{"n":1,"state":"refused"}"#.to_owned(), "/files/0/reason"),
            (r#"{"n":1,"state":"refused","reason":"a\nb"}"#.to_owned(), "/files/0/reason"),
            (r#"{"n":1,"state":"gone"}"#.to_owned(), "/files/0/state"),
        ] {
            assert_eq!(SaveReport::read(&body(&files)).unwrap_err().pointer, pointer, "{files}");
        }
        let many = (1..=1_001).map(|n| saved.replace("\"n\":1", &format!("\"n\":{n}"))).collect::<Vec<_>>();
        assert_eq!(SaveReport::read(&body(&many.join(","))).unwrap_err().pointer, "/files");
    }

    #[test]
    fn an_end_is_done_or_refused_with_a_reason() {
        assert!(SaveEnd::read(br#"{"state":"done"}"#).is_ok());
        assert!(SaveEnd::read(br#"{"state":"refused","reason":"no"}"#).is_ok());
        assert_eq!(SaveEnd::read(br#"{"state":"refused"}"#).unwrap_err().pointer, "/reason");
        assert_eq!(SaveEnd::read(br#"{"state":"cancelled"}"#).unwrap_err().pointer, "/state");
        assert_eq!(SaveBegin::read(b"{}").unwrap(), SaveBegin::default());
    }

    #[test]
    fn a_hostile_name_becomes_one_that_stays_below_its_collection() {
        for (raw, clean) in [
            ("a.tif", "a.tif"),
            ("x.zarr/.zattrs", "x.zarr/.zattrs"),
            ("../../etc/passwd", "__/__/etc/passwd"),
            ("/etc//passwd", "etc/passwd"),
            ("./a", "_/a"),
            ("", "_"),
            ("///", "_"),
            ("a\nb\0c", "a_b_c"),
            ("ä ö.tif", "ä ö.tif"),
        ] {
            assert_eq!(clean_name(raw), clean, "{raw:?}");
            assert!(check_elements(&clean_name(raw), MAX_NAME_BYTES).is_ok(), "{raw:?}");
        }
        let long = clean_name(&"ä".repeat(300));
        assert!(long.len() <= MAX_ELEMENT_BYTES && long.chars().all(|c| c == 'ä'), "{long}");
    }
}
