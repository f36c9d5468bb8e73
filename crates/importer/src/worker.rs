//! Asking OMERO: through the worker, a Python program beside the `omero` command (`docs/worker.md`).
//!
//! Whoever asks knows the trait [`Worker`] and the types here; that there is a process, and a protocol of lines, only
//! [`WorkerProcess`] knows. A question is answered within its limit, or it fails; each may be asked again.

mod answers;
mod launch;
mod process;
mod visits;

pub use answers::{
    Annotated, Annotation, AnnotationState, Container, DeleteState, Deleted, DeletedFileset, Deletions,
    Entry, Fileset, FilesetFiles, Hello, Leftover, Leftovers, LoggedOut, Opened, Probe, Repository,
    StoredFile,
};
pub use launch::{LaunchError, command_of, python_of};
pub use process::WorkerProcess;
pub use visits::{ChosenAttachment, ChosenEntry, ChosenFiles, ChosenFileset, ChosenObjects, Place, Visited};

use crate::ImporterError;
use crate::process::Observer;
use crate::settings::Server;
use crate::wire::OmeroObject;
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::OmeroId;
use irods_omero_model::target::{By, Form, Target};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// The program: built in, so that it always speaks as this client does.
pub const TEXT: &str = include_str!("../../../omero/irods_omero_worker.py");

/// The version of the protocol that is spoken here.
pub const PROTOCOL: u64 = 1;

/// The most client paths, directories or ids in one question for filesets.
pub const MAX_PATHS: usize = 10_000;

/// The most filesets that are annotated with one request.
pub const MAX_ITEMS: usize = 500;

/// How long one waits for an answer, and what one does meanwhile.
pub struct Waiting<'a> {
    /// How long the worker may take.
    pub limit: Duration,
    /// Called every few seconds.
    pub alive: &'a mut dyn FnMut(),
    /// May end the waiting.
    pub observer: &'a dyn Observer,
}

impl fmt::Debug for Waiting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Waiting({:?})", self.limit)
    }
}

/// What kind of answer a refused request got (`docs/worker.md`, Errors).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// OMERO cannot be reached.
    Connection,
    /// The session is not there any more.
    SessionExpired,
    /// The server is overloaded.
    Busy,
    /// Not done within the limit.
    TimeLimit,
    /// The password file, or the password.
    Password,
    /// The Python has no omero-py.
    OmeroPy,
    /// Anything that is not known.
    Internal,
    /// No such OMERO user.
    NoUser,
    /// No such group, or the user is not in it.
    NoGroup,
    /// The sudo user may not open a session for the user.
    NoPrivilege,
    /// What was named by its id is not there.
    NotFound,
    /// The user may not put anything into the container.
    NotLinkable,
    /// Refused for another reason of rights.
    Refused,
    /// The request was no good: a fault of ours.
    Request,
}

impl Kind {
    fn read(kind: &str, class: &str) -> Self {
        match kind {
            "connection" => Self::Connection,
            "session_expired" => Self::SessionExpired,
            "busy" => Self::Busy,
            "time_limit" => Self::TimeLimit,
            "password" => Self::Password,
            "omero_py" => Self::OmeroPy,
            "no_user" => Self::NoUser,
            "no_group" => Self::NoGroup,
            "no_privilege" => Self::NoPrivilege,
            "not_found" => Self::NotFound,
            "not_linkable" => Self::NotLinkable,
            "refused" => Self::Refused,
            _ if class == "request" => Self::Request,
            _ if class == "final" => Self::Refused,
            _ => Self::Internal,
        }
    }

    /// Whether the same request may be answered otherwise later.
    pub fn will_pass(self) -> bool {
        match self {
            Self::Connection
            | Self::SessionExpired
            | Self::Busy
            | Self::TimeLimit
            | Self::Password
            | Self::OmeroPy
            | Self::Internal
            | Self::Request => true,
            Self::NoUser
            | Self::NoGroup
            | Self::NoPrivilege
            | Self::NotFound
            | Self::NotLinkable
            | Self::Refused => false,
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkerError {
    /// The worker, or OMERO, refused.
    #[error("{message}")]
    Answered {
        /// In which way.
        kind: Kind,
        /// In which words.
        message: String,
    },
    /// The worker could not be started.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The worker ended, said nothing in time, or said what nobody can read. The next question starts a new one.
    #[error("the OMERO worker ({command}) {why}")]
    Died {
        /// What was run.
        command: String,
        /// What it did.
        why: String,
    },
    /// An answer was not of the form it should have.
    #[error("the OMERO worker answered '{method}' with something unknown ({why}): is it of another version?")]
    Garbled {
        /// What was asked.
        method: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Whoever waited has ended it.
    #[error("the import was ended")]
    Stopped,
}

impl WorkerError {
    /// What is said where no session is open.
    pub(crate) fn no_session() -> Self {
        Self::Answered { kind: Kind::SessionExpired, message: "no session in OMERO is open".to_owned() }
    }

    /// In which way the request was refused, if it was.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::Answered { kind, .. } => Some(*kind),
            Self::Launch(_) | Self::Died { .. } | Self::Garbled { .. } | Self::Stopped => None,
        }
    }

    /// Whether the same request may be answered otherwise later.
    pub fn will_pass(&self) -> bool {
        self.kind().is_none_or(Kind::will_pass)
    }

    /// Whether the session has to be joined again, or opened anew, before anything else is asked in it.
    pub fn has_no_session(&self) -> bool {
        matches!(self, Self::Died { .. }) || self.kind() == Some(Kind::SessionExpired)
    }
}

impl From<WorkerError> for ImporterError {
    fn from(error: WorkerError) -> Self {
        if error.will_pass() { Self::WillPass(error.to_string()) } else { Self::Refused(error.to_string()) }
    }
}

/// The key of a session in OMERO: whoever has it acts as its user.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionKey(String);

impl SessionKey {
    /// Takes a key as OMERO makes it: 1 to 128 of `0-9 A-Z a-z -`.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        let fine = (1..=128).contains(&text.len()) && text.bytes().all(fits) && !text.starts_with('-');
        fine.then(|| Self(text.to_owned()))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(…)")
    }
}

/// Where an OMERO server is, and who opens sessions on it for others.
#[derive(Debug, Clone, Copy)]
pub struct Login<'a> {
    /// The server and the account.
    pub server: &'a Server,
    /// Whose session.
    pub identity: &'a OmeroIdentity,
    /// After how many seconds without a sign of life OMERO ends it.
    pub idle: u32,
}

/// Which filesets are asked for: the session's user's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct FilesetQuery<'a> {
    /// Those with an entry at one of these client paths.
    pub paths: &'a [String],
    /// Those with an entry below one of these directories, as client paths.
    pub below: &'a [String],
    /// Those.
    pub ids: &'a [OmeroId],
    /// Whether all their entries are told, and not only those at `paths`.
    pub all_entries: bool,
}

/// What a fileset is annotated with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The fileset.
    pub fileset: OmeroId,
    /// Which data object in which version it is of.
    pub description: String,
    /// What a person reads.
    pub pairs: Vec<(String, String)>,
}

/// Asks OMERO. Every method takes at most the limit of its [`Waiting`], and a little for the worker itself.
///
/// # Errors
/// Each method gives [`WorkerError`]: OMERO refused, or there was no answer.
pub trait Worker: fmt::Debug + Send + Sync {
    /// Sends one request and gives the result of its answer.
    ///
    /// # Errors
    /// There is none.
    fn ask(
        &self,
        method: &'static str,
        params: Value,
        waiting: &mut Waiting<'_>,
    ) -> Result<Value, WorkerError>;

    /// The versions of the worker and of what it is built on.
    fn hello(&self, waiting: &mut Waiting<'_>) -> Result<Hello, WorkerError> {
        self.read("hello", json!({}), waiting)
    }

    /// Whether the account that opens sessions for others can log in, and what it may do.
    fn probe(&self, server: &Server, waiting: &mut Waiting<'_>) -> Result<Probe, WorkerError> {
        let params = json!({
            "server": address(server),
            "sudo_user": server.sudo_user.as_str(),
            "password_file": text(&server.password_file),
        });
        self.read("probe", params, waiting)
    }

    /// The filesets that were deleted since the log of events was last read up to a cursor; without one only how far it goes.
    fn deletions(
        &self,
        server: &Server,
        after: Option<u64>,
        waiting: &mut Waiting<'_>,
    ) -> Result<Deletions, WorkerError> {
        let mut params = json!({
            "server": address(server),
            "sudo_user": server.sudo_user.as_str(),
            "password_file": text(&server.password_file),
        });
        if let Some(after) = after {
            params["after"] = json!(after);
        }
        self.read("deletions", params, waiting)
    }

    /// Opens a session for a user. The worker keeps it alive until [`Worker::logout`].
    fn login(&self, login: &Login<'_>, waiting: &mut Waiting<'_>) -> Result<Opened, WorkerError> {
        let params = json!({
            "server": address(login.server),
            "sudo_user": login.server.sudo_user.as_str(),
            "password_file": text(&login.server.password_file),
            "user": login.identity.user.as_str(),
            "group": login.identity.group.as_ref().map(irods_omero_model::names::OmeroName::as_str),
            "idle": login.idle,
        });
        self.read("login", params, waiting)
    }

    /// Takes up a session that a worker before had.
    fn join(
        &self,
        server: &Server,
        key: &SessionKey,
        waiting: &mut Waiting<'_>,
    ) -> Result<Opened, WorkerError> {
        self.read("join", json!({"server": address(server), "session": key.as_str()}), waiting)
    }

    /// Ends a session for everybody, unless OMERO may still be making the images of a fileset in it that is younger than
    /// `spare`. One that is not there any more is no error.
    fn logout(
        &self,
        server: &Server,
        key: &SessionKey,
        spare: Duration,
        waiting: &mut Waiting<'_>,
    ) -> Result<LoggedOut, WorkerError> {
        let params = json!({"server": address(server), "session": key.as_str(), "spare": spare.as_secs()});
        self.read("logout", params, waiting)
    }

    /// The filesets of the session's user that are asked for, by their ids. At most [`MAX_PATHS`] of each kind at once
    /// go into one request; what is more is asked in several.
    fn filesets(
        &self,
        key: &SessionKey,
        query: FilesetQuery<'_>,
        namespace: &str,
        waiting: &mut Waiting<'_>,
    ) -> Result<Vec<Fileset>, WorkerError> {
        let mut found: Vec<Fileset> = Vec::new();
        let ask = |params: Value, found: &mut Vec<Fileset>, waiting: &mut Waiting<'_>| {
            let answer: answers::Filesets = self.read("filesets", params, waiting)?;
            answers::merge(found, answer.filesets);
            Ok::<(), WorkerError>(())
        };
        let base = |name: &str, list: Value| {
            let mut params = json!({"session": key.as_str(), "namespace": namespace});
            if query.all_entries {
                params["entries"] = "all".into();
            }
            params[name] = list;
            params
        };
        for paths in query.paths.chunks(MAX_PATHS) {
            ask(base("paths", json!(paths)), &mut found, waiting)?;
        }
        for below in query.below.chunks(MAX_PATHS) {
            ask(base("below", json!(below)), &mut found, waiting)?;
        }
        for ids in query.ids.chunks(MAX_PATHS) {
            ask(base("ids", numbers(ids)), &mut found, waiting)?;
        }
        Ok(found)
    }

    /// Where the files of a fileset are, with the paths the importer was given: all of them.
    fn files(
        &self,
        key: &SessionKey,
        fileset: OmeroId,
        waiting: &mut Waiting<'_>,
    ) -> Result<FilesetFiles, WorkerError> {
        let page = |after: u64, waiting: &mut Waiting<'_>| {
            let params = json!({"session": key.as_str(), "fileset": fileset.number(), "after": after});
            self.read::<FilesetFiles>("files", params, waiting)
        };
        let mut all = page(0, waiting)?;
        while all.more {
            let Some(last) = all.entries.last().map(|entry| entry.id) else { break };
            let next = page(last, waiting)?;
            all.more = next.more && next.entries.last().is_some_and(|entry| entry.id > last);
            all.entries.extend(next.entries);
        }
        Ok(all)
    }

    /// Tells OMERO under which client paths files of a fileset of the session's user lie now, by the ids of their entries.
    fn relocate(
        &self,
        key: &SessionKey,
        fileset: OmeroId,
        paths: &[(u64, String)],
        waiting: &mut Waiting<'_>,
    ) -> Result<(), WorkerError> {
        for some in paths.chunks(MAX_PATHS) {
            let params = json!({"session": key.as_str(), "fileset": fileset.number(), "paths": some});
            self.ask("relocate", params, waiting)?;
        }
        Ok(())
    }

    /// The container of a target, which is made if it is not there.
    fn container(
        &self,
        key: &SessionKey,
        target: &Target,
        waiting: &mut Waiting<'_>,
    ) -> Result<Container, WorkerError> {
        let by = |by: &By<String>| match by {
            By::Id(id) => json!({"id": id.number()}),
            By::Name(name) => json!({"name": name}),
        };
        let of = |kind: &str, place: &By<String>| {
            let mut target = by(place);
            target["kind"] = kind.into();
            target
        };
        let target = match target.form() {
            Form::Dataset(place) => of("Dataset", place),
            Form::Screen(place) => of("Screen", place),
            Form::InProject { project, dataset } => {
                json!({"kind": "Dataset", "name": dataset, "project": by(project)})
            }
        };
        self.read("container", json!({"session": key.as_str(), "target": target}), waiting)
    }

    /// Refuses a container that is named by its id and cannot be used; nothing is made.
    fn check_container(
        &self,
        key: &SessionKey,
        kind: &str,
        id: OmeroId,
        waiting: &mut Waiting<'_>,
    ) -> Result<(), WorkerError> {
        let target = json!({"kind": kind, "id": id.number()});
        let params = json!({"session": key.as_str(), "target": target, "make": false});
        self.ask("container", params, waiting).map(drop)
    }

    /// Which images lie in no dataset, and which plates in no screen.
    fn lonely(
        &self,
        key: &SessionKey,
        images: &[OmeroId],
        plates: &[OmeroId],
        waiting: &mut Waiting<'_>,
    ) -> Result<(Vec<OmeroId>, Vec<OmeroId>), WorkerError> {
        let params = json!({"session": key.as_str(), "images": numbers(images), "plates": numbers(plates)});
        let answer: answers::Lonely = self.read("lonely", params, waiting)?;
        Ok((answer.images, answer.plates))
    }

    /// Puts images into a dataset, or plates into a screen.
    fn put(
        &self,
        key: &SessionKey,
        container: &Container,
        children: &[OmeroId],
        waiting: &mut Waiting<'_>,
    ) -> Result<(), WorkerError> {
        let params = json!({
            "session": key.as_str(), "kind": container.kind, "id": container.id.number(),
            "children": numbers(children),
        });
        self.ask("put", params, waiting).map(drop)
    }

    /// Annotates filesets, at most [`MAX_ITEMS`]; what is there is left as it is, unless `update`. Gives what became of
    /// each, in their order.
    fn annotate(
        &self,
        key: &SessionKey,
        namespace: &str,
        notes: &[Note],
        update: bool,
        waiting: &mut Waiting<'_>,
    ) -> Result<Vec<Annotated>, WorkerError> {
        let items: Vec<Value> = notes
            .iter()
            .map(|note| {
                json!({
                    "fileset": note.fileset.number(), "description": note.description, "pairs": note.pairs,
                })
            })
            .collect();
        let params =
            json!({"session": key.as_str(), "namespace": namespace, "items": items, "update": update});
        let answer: answers::Items<Annotated> = self.read("annotate", params, waiting)?;
        if answer.items.len() == notes.len() {
            Ok(answer.items)
        } else {
            let why = format!("{} items for {}", answer.items.len(), notes.len());
            Err(WorkerError::Garbled { method: "annotate", why })
        }
    }

    /// Deletes filesets of the session's user; those with images only if that is said.
    fn delete(
        &self,
        key: &SessionKey,
        filesets: &[OmeroId],
        with_images: bool,
        waiting: &mut Waiting<'_>,
    ) -> Result<Vec<Deleted>, WorkerError> {
        let params = json!({
            "session": key.as_str(), "filesets": numbers(filesets), "with_images": with_images,
        });
        let answer: answers::Items<Deleted> = self.read("delete", params, waiting)?;
        Ok(answer.items)
    }

    /// Joins the session of a person, to ask with their rights. [`Worker::leave`] ends that.
    fn visit(
        &self,
        server: &Server,
        key: &SessionKey,
        waiting: &mut Waiting<'_>,
    ) -> Result<Visited, WorkerError> {
        self.read("visit", json!({"server": address(server), "session": key.as_str()}), waiting)
    }

    /// Ends a visit. The session goes on.
    fn leave(&self, key: &SessionKey, waiting: &mut Waiting<'_>) -> Result<(), WorkerError> {
        self.ask("leave", json!({"session": key.as_str()}), waiting).map(drop)
    }

    /// The filesets of what a person chose, at most `most`, and the files attached to it where these are asked for.
    fn chosen(
        &self,
        key: &SessionKey,
        objects: &[OmeroObject],
        namespace: &str,
        attachments: bool,
        most: u64,
        waiting: &mut Waiting<'_>,
    ) -> Result<ChosenObjects, WorkerError> {
        let objects: Vec<Value> = objects.iter().map(|o| json!([o.kind.as_str(), o.id.number()])).collect();
        let params = json!({
            "session": key.as_str(), "objects": objects, "namespace": namespace, "attachments": attachments, "most": most,
        });
        self.read("chosen", params, waiting)
    }

    /// A page of the files of filesets, by the numbers of their entries.
    fn chosen_files(
        &self,
        key: &SessionKey,
        filesets: &[OmeroId],
        after: u64,
        waiting: &mut Waiting<'_>,
    ) -> Result<ChosenFiles, WorkerError> {
        let params = json!({"session": key.as_str(), "filesets": numbers(filesets), "after": after});
        self.read("chosen_files", params, waiting)
    }

    /// Filesets of the session's user that have no images and are older than some time, all of whose files lie below one
    /// of some directories, given as client paths.
    fn leftovers(
        &self,
        key: &SessionKey,
        below: &[String],
        older_than: Duration,
        waiting: &mut Waiting<'_>,
    ) -> Result<Leftovers, WorkerError> {
        let params = json!({"session": key.as_str(), "below": below, "older_than": older_than.as_secs()});
        self.read("leftovers", params, waiting)
    }
}

impl dyn Worker + '_ {
    /// Whether the worker speaks our version of the protocol.
    ///
    /// # Errors
    /// It does not, or there is no answer.
    pub fn check_version(&self, waiting: &mut Waiting<'_>) -> Result<Hello, WorkerError> {
        let hello = self.hello(waiting)?;
        if hello.protocol == PROTOCOL {
            return Ok(hello);
        }
        let why = format!("protocol {} instead of {PROTOCOL}", hello.protocol);
        Err(WorkerError::Garbled { method: "hello", why })
    }
}

/// Reading a result into its type; apart from [`Worker`], which stays usable as a trait object.
trait Read {
    fn read<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
        waiting: &mut Waiting<'_>,
    ) -> Result<T, WorkerError>;
}

impl<W: Worker + ?Sized> Read for W {
    fn read<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
        waiting: &mut Waiting<'_>,
    ) -> Result<T, WorkerError> {
        let result = self.ask(method, params, waiting)?;
        serde_path_to_error::deserialize(result)
            .map_err(|e| WorkerError::Garbled { method, why: e.to_string() })
    }
}

fn address(server: &Server) -> Value {
    json!({"host": server.host, "port": server.port})
}

/// A path of the configuration, which is UTF-8.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn numbers(ids: &[OmeroId]) -> Value {
    ids.iter().map(|id| id.number()).collect()
}
