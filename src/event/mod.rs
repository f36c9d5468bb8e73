//! From a policy enforcement point to an event: something a client did that concerns a path.
//!
//! The PEPs and their arguments are those a 5.0.2 server was recorded to fire (`docs/events.md`). Close PEPs
//! carry a descriptor only, and in the post PEP the server has forgotten it, so the path is asked for in the
//! pre PEP, and only when this agent has opened something interesting for writing.

mod json;
pub mod mapping;
pub mod matrix;
mod metadata;
mod pep;

pub use json::json;
pub use metadata::carried;
pub use pep::Pep;

use irods_omero_model::event::Event;
use irods_omero_model::names::{LogicalPath, NameError, parent_bytes};
use metadata::{Bearer, Change, What};
use std::collections::HashMap;

/// The operation's own arguments, as the shim unpacked them. Borrowed from the server for one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument<'a> {
    /// `DataObjInp*`
    DataObject {
        /// `objPath`
        path: &'a [u8],
        /// `openFlags`
        open_flags: i32,
        /// The value of [`Pep::keyword`] in `condInput`, if it is there.
        keyword: Option<&'a [u8]>,
    },
    /// `DataObjCopyInp*`
    Copy {
        /// `srcDataObjInp.objPath`
        source: &'a [u8],
        /// `destDataObjInp.objPath`
        destination: &'a [u8],
    },
    /// `BulkOperationInp*`, or the collection of a `StructFileExtAndRegInp*`
    Collection(&'a [u8]),
    /// `OpenedDataObjInp*`
    Descriptor(i32),
    /// `BytesBuf*`, which holds JSON in the calls we hear
    Json(&'a [u8]),
    /// `ModifyAVUMetadataInput*`: `arg0` to `arg8`; the words of `acPreProcForModifyAVUMetadata` are the same
    Avu([&'a [u8]; 9]),
    /// The values of [`Pep::keyword`] in the conditions of an operation that [`Pep::carries_metadata`]: its own, and
    /// those of a copy's source
    Carried([Option<&'a [u8]>; 2]),
    /// Anything else.
    Other,
}

/// The data objects an agent has open for writing, as far as they are watched.
#[derive(Debug, Default)]
pub struct OpenObjects {
    /// Watched objects opened for writing and not yet closed. As long as there is none a close costs nothing.
    writers: Vec<LogicalPath>,
    /// Descriptors about to be closed, and the objects whose writing that ends: usually one, but all open ones
    /// where the server cannot say which (it cannot describe a path that is not UTF-8).
    closing: HashMap<i32, Vec<LogicalPath>>,
}

/// What is asked of the world while a PEP is read.
pub trait Surroundings {
    /// Whether the data objects directly in a collection are watched.
    fn is_watched(&self, collection: &[u8]) -> bool;
    /// Whether data in a collection, or somewhere below it, may be watched.
    fn may_hold_watched(&self, collection: &[u8]) -> bool;
    /// Whether a data object, or the collection of that path with all below it, is in OMERO.
    fn is_in_omero(&self, _path: &[u8]) -> bool {
        false
    }
    /// The JSON description of an open descriptor (`rs_get_file_descriptor_info`), if there is one.
    fn descriptor(&self, descriptor: i32) -> Option<Vec<u8>>;
    /// The attribute of the tag to import; `None` where tags are not followed.
    fn tag(&self) -> Option<&str> {
        None
    }
    /// The attribute on a collection that says that the data in it is complete, if it is asked for.
    fn marker(&self, _collection: &[u8]) -> Option<String> {
        None
    }
    /// Whether something of a kind (as `imeta` names it) and name bears an attribute.
    fn bears(&self, _kind: &[u8], _name: &[u8], _attribute: &str) -> bool {
        false
    }
}

impl OpenObjects {
    /// Reads one PEP: the events it means, usually none.
    ///
    /// # Errors
    /// The path the server passed is not a logical path; the caller logs it.
    pub fn read(
        &mut self,
        pep: Pep,
        argument: Argument<'_>,
        around: &dyn Surroundings,
    ) -> Result<Vec<Event>, NameError> {
        // Read before it is asked whether it is watched: what is no path is told, not passed over.
        let one = |make: fn(LogicalPath) -> Event, path: &[u8]| {
            let parsed = LogicalPath::parse(path)?;
            Ok(if object_is_watched(around, path) { vec![make(parsed)] } else { Vec::new() })
        };
        let tree = |make: fn(LogicalPath) -> Event, path: &[u8]| {
            let parsed = LogicalPath::parse(path)?;
            Ok(if around.may_hold_watched(path) { vec![make(parsed)] } else { Vec::new() })
        };
        match (pep, argument) {
            (Pep::PutPost, Argument::DataObject { path, keyword, .. }) => {
                let written = one(Event::Written, path)?;
                Ok(if written.is_empty() { tagged_along(path, keyword, around)? } else { written })
            }
            (Pep::CopyPost, Argument::Copy { destination, .. }) => one(Event::Written, destination),
            // Of the other two kinds of synchronisation the client does the transfer, as a put or a get; their
            // destination is a path of the client's.
            (Pep::RsyncPost, Argument::DataObject { keyword: Some(destination), .. })
                if object_is_watched(around, destination) =>
            {
                Ok(vec![Event::Written(LogicalPath::parse(destination)?)])
            }
            (Pep::RenamePost, Argument::Copy { source, destination }) => {
                let renamed = tree(Event::Renamed, destination)?;
                Ok(if renamed.is_empty() { moved_out(source, destination, around)? } else { renamed })
            }
            (Pep::UnlinkPost, Argument::DataObject { path, .. }) => one(Event::Removed, path),
            (Pep::RmCollPost, Argument::Collection(path)) => {
                if_it_was_watched(path, around, || Ok(Event::Removed(LogicalPath::parse(path)?)))
            }
            (Pep::ModAvuPost | Pep::StaticModAvuPost, Argument::Avu(_))
            | (Pep::AtomicMetadataPost, Argument::Json(_)) => {
                metadata::changes(&argument, |change| tagging(change, around))
            }
            (Pep::BulkPutPost | Pep::StructFilePost, Argument::Collection(path)) => {
                tree(Event::TreeWritten, path)
            }
            (Pep::ReplPost | Pep::PhymvPost | Pep::TrimPost, Argument::DataObject { path, .. }) => {
                let moved = one(Event::ReplicaMoved, path)?;
                Ok(if moved.is_empty() { displaced(path, around)? } else { moved })
            }
            (
                Pep::PhyPathRegPost | Pep::RegisterPhysicalPathPost,
                Argument::DataObject { path, keyword, .. },
            ) => match keyword {
                Some(_) => tree(Event::TreeRegistered, path),
                None => one(Event::Registered, path),
            },
            (
                Pep::OpenPost
                | Pep::ReplicaOpenPost
                | Pep::CreatePost
                | Pep::ClosePre
                | Pep::ReplicaClosePre
                | Pep::ClosePost
                | Pep::ReplicaClosePost,
                _,
            ) => self.stream(pep, argument, around),
            (
                Pep::PutPost
                | Pep::CopyPost
                | Pep::RenamePost
                | Pep::BulkPutPost
                | Pep::StructFilePost
                | Pep::ReplPost
                | Pep::PhymvPost
                | Pep::TrimPost
                | Pep::RsyncPost
                | Pep::UnlinkPost
                | Pep::RmCollPost
                | Pep::PhyPathRegPost
                | Pep::RegisterPhysicalPathPost
                | Pep::PutPre
                | Pep::ModAvuPre
                | Pep::AtomicMetadataPre
                | Pep::OpenPre
                | Pep::CreatePre
                | Pep::OpenAndStatPre
                | Pep::CreateAndStatPre
                | Pep::GetPre
                | Pep::ReplicaOpenPre
                | Pep::CopyPre
                | Pep::ReplPre
                | Pep::PhymvPre
                | Pep::RsyncPre
                | Pep::BundlePre
                | Pep::StructFilePre
                | Pep::StaticModAvuPre
                | Pep::ModAvuPost
                | Pep::StaticModAvuPost
                | Pep::AtomicMetadataPost
                | Pep::UnlinkPre
                | Pep::RmCollPre
                | Pep::RenamePre
                | Pep::TrimPre
                | Pep::ReplicaTruncatePre
                | Pep::TruncatePre,
                _,
            ) => Ok(Vec::new()),
        }
    }

    /// The PEPs of streams: what is opened for writing is an event when it is closed.
    fn stream(
        &mut self,
        pep: Pep,
        argument: Argument<'_>,
        around: &dyn Surroundings,
    ) -> Result<Vec<Event>, NameError> {
        match (pep, argument) {
            (Pep::OpenPost | Pep::ReplicaOpenPost, Argument::DataObject { path, open_flags, .. })
                if writes(open_flags) && object_is_watched(around, path) =>
            {
                self.writers.push(LogicalPath::parse(path)?);
                Ok(Vec::new())
            }
            (Pep::CreatePost, Argument::DataObject { path, .. }) if object_is_watched(around, path) => {
                self.writers.push(LogicalPath::parse(path)?);
                Ok(Vec::new())
            }
            (Pep::ClosePre, Argument::Descriptor(descriptor)) => {
                self.remember(descriptor, around)?;
                Ok(Vec::new())
            }
            (Pep::ReplicaClosePre, Argument::Json(json)) => {
                if let Some(descriptor) = finalising_close(json) {
                    self.remember(descriptor, around)?;
                }
                Ok(Vec::new())
            }
            (Pep::ClosePost, Argument::Descriptor(descriptor)) => Ok(self.closed(descriptor)),
            (Pep::ReplicaClosePost, Argument::Json(json)) => {
                Ok(finalising_close(json).map(|descriptor| self.closed(descriptor)).unwrap_or_default())
            }
            // Opened for reading, or not watched.
            (_, _) => Ok(Vec::new()),
        }
    }

    fn remember(&mut self, descriptor: i32, around: &dyn Surroundings) -> Result<(), NameError> {
        // A descriptor number is used again: what an earlier close left must not be taken for this one.
        self.closing.remove(&descriptor);
        if self.writers.is_empty() {
            return Ok(());
        }
        let ended = match around.descriptor(descriptor).as_deref().and_then(parse_descriptor) {
            Some(open) if writes(open.flags) && object_is_watched(around, &open.path) => {
                vec![LogicalPath::parse(&open.path)?]
            }
            Some(_) => return Ok(()),
            None => self.writers.clone(),
        };
        self.closing.insert(descriptor, ended);
        Ok(())
    }

    fn closed(&mut self, descriptor: i32) -> Vec<Event> {
        let ended = self.closing.remove(&descriptor).unwrap_or_default();
        for path in &ended {
            if let Some(i) = self.writers.iter().position(|w| w == path) {
                self.writers.swap_remove(i);
            }
        }
        ended.into_iter().map(Event::Written).collect()
    }
}

/// Whether a data object is in a watched collection.
fn object_is_watched(around: &dyn Surroundings, path: &[u8]) -> bool {
    parent_bytes(path).is_some_and(|collection| around.is_watched(collection))
}

/// An event, if a path that may be a collection's too, and need not exist any more, was in a watched collection or was
/// one itself.
fn if_it_was_watched(
    path: &[u8],
    around: &dyn Surroundings,
    event: impl FnOnce() -> Result<Event, NameError>,
) -> Result<Vec<Event>, NameError> {
    if object_is_watched(around, path) || around.is_watched(path) {
        Ok(vec![event()?])
    } else {
        Ok(Vec::new())
    }
}

fn moved_out(source: &[u8], destination: &[u8], around: &dyn Surroundings) -> Result<Vec<Event>, NameError> {
    let out = if_it_was_watched(source, around, || Ok(Event::MovedOut(LogicalPath::parse(destination)?)))?;
    Ok(if out.is_empty() { displaced(destination, around)? } else { out })
}

/// What was imported is followed wherever it lies.
fn displaced(path: &[u8], around: &dyn Surroundings) -> Result<Vec<Event>, NameError> {
    Ok(if around.is_in_omero(path) { vec![Event::Displaced(LogicalPath::parse(path)?)] } else { Vec::new() })
}

/// A tag among the AVUs that came along with a data object.
fn tagged_along(
    path: &[u8],
    along: Option<&[u8]>,
    around: &dyn Surroundings,
) -> Result<Vec<Event>, NameError> {
    let is_tagged = along
        .zip(around.tag())
        .is_some_and(|(along, tag)| carried(along).step_by(3).any(|attribute| attribute == tag.as_bytes()));
    if is_tagged { Ok(vec![Event::ObjectTagged(LogicalPath::parse(path)?)]) } else { Ok(Vec::new()) }
}

/// What a change of an AVU means for the imports.
fn tagging(change: &Change<'_>, around: &dyn Surroundings) -> Result<Vec<Event>, NameError> {
    let Change { bearer, name, .. } = *change;
    let tagged = || -> Result<Vec<Event>, NameError> {
        let path = LogicalPath::parse(name)?;
        Ok(vec![match bearer {
            Bearer::DataObject => Event::ObjectTagged(path),
            Bearer::Collection => Event::TreeTagged(path),
        }])
    };
    let untagged = || LogicalPath::parse(name).map(|path| vec![Event::Untagged(path)]);
    let is_tag = |attribute: &[u8]| around.tag().is_some_and(|tag| tag.as_bytes() == attribute);
    let marker = || (bearer == Bearer::Collection).then(|| around.marker(name)).flatten();
    let completed = || LogicalPath::parse(name).map(|path| vec![Event::Completed(path)]);
    match change.what {
        What::Set { attribute, value } if is_tag(attribute) => {
            if value.trim_ascii().eq_ignore_ascii_case(b"off") { untagged() } else { tagged() }
        }
        What::Set { attribute, .. } if marker().is_some_and(|m| m.as_bytes() == attribute) => completed(),
        What::Removed { attribute } if is_tag(attribute) => untagged(),
        What::Set { .. } | What::Removed { .. } => Ok(Vec::new()),
        // Which one it was is not known any more.
        What::RemovedByNumber => around
            .tag()
            .map_or_else(|| Ok(Vec::new()), |_| Ok(vec![Event::PerhapsUntagged(LogicalPath::parse(name)?)])),
        What::Copied => {
            if around.tag().is_some_and(|tag| around.bears(bearer.kind(), name, tag)) {
                tagged()
            } else if marker().is_some_and(|m| around.bears(bearer.kind(), name, &m)) {
                completed()
            } else {
                Ok(Vec::new())
            }
        }
    }
}

/// Whether an open with these flags can change the data.
pub fn writes(flags: i32) -> bool {
    flags & libc::O_ACCMODE != libc::O_RDONLY || flags & (libc::O_CREAT | libc::O_TRUNC) != 0
}

/// The descriptor of a `replica_close` that ends the writing; `None` for a stream that is not the last
/// (`"update_status": false`) and for what is not JSON.
fn finalising_close(request: &[u8]) -> Option<i32> {
    let value = json(request).ok()?;
    if value.get("update_status").and_then(serde_json::Value::as_bool) == Some(false) {
        return None;
    }
    value.get("fd")?.as_i64().and_then(|fd| i32::try_from(fd).ok())
}

struct OpenDescriptor {
    path: Vec<u8>,
    flags: i32,
}

fn parse_descriptor(description: &[u8]) -> Option<OpenDescriptor> {
    let value = json(description).ok()?;
    let input = value.get("data_object_input");
    let path = value
        .pointer("/data_object_info/object_path")
        .or_else(|| input?.get("object_path"))?
        .as_str()?
        .as_bytes()
        .to_vec();
    let flags = input?.get("open_flags")?.as_i64().and_then(|f| i32::try_from(f).ok())?;
    Some(OpenDescriptor { path, flags })
}

#[cfg(test)]
mod tests {
    use super::*;
    use irods_omero_model::event::Affected;
    use std::cell::Cell;

    struct World {
        calls: Cell<usize>,
        flags: i32,
    }

    impl Surroundings for World {
        fn is_watched(&self, collection: &[u8]) -> bool {
            collection.starts_with(b"/z/watched")
        }
        fn may_hold_watched(&self, collection: &[u8]) -> bool {
            self.is_watched(collection)
        }
        fn descriptor(&self, descriptor: i32) -> Option<Vec<u8>> {
            self.calls.set(self.calls.get() + 1);
            let path = format!("/z/watched/{descriptor}.tif");
            let json = serde_json::json!({
                "data_object_info": {"object_path": path},
                "data_object_input": {"object_path": path, "open_flags": self.flags},
            });
            Some(json.to_string().into_bytes())
        }
        fn tag(&self) -> Option<&str> {
            Some("import")
        }
        fn marker(&self, collection: &[u8]) -> Option<String> {
            self.is_watched(collection).then(|| "done".to_owned())
        }
        fn bears(&self, _: &[u8], name: &[u8], attribute: &str) -> bool {
            name.ends_with(attribute.as_bytes())
        }
    }

    fn world(flags: i32) -> World {
        World { calls: Cell::new(0), flags }
    }

    fn object(path: &str, open_flags: i32) -> Argument<'_> {
        Argument::DataObject { path: path.as_bytes(), open_flags, keyword: None }
    }

    fn path(text: &str) -> LogicalPath {
        LogicalPath::parse(text.as_bytes()).unwrap()
    }

    fn written(text: &str) -> Vec<Event> {
        vec![Event::Written(path(text))]
    }

    #[test]
    fn a_put_into_a_watched_collection_is_an_event() {
        let mut open = OpenObjects::default();
        let around = world(0);
        assert_eq!(open.read(Pep::PutPost, object("/z/watched/a", 0), &around), Ok(written("/z/watched/a")));
        assert_eq!(open.read(Pep::PutPost, object("/z/other/a", 0), &around), Ok(vec![]));
    }

    #[test]
    fn a_stream_is_an_event_when_it_is_closed() {
        let mut open = OpenObjects::default();
        let around = world(libc::O_WRONLY);
        open.read(Pep::OpenPost, object("/z/watched/3.tif", libc::O_WRONLY), &around).unwrap();
        assert_eq!(open.read(Pep::ClosePre, Argument::Descriptor(3), &around), Ok(vec![]));
        assert_eq!(
            open.read(Pep::ClosePost, Argument::Descriptor(3), &around),
            Ok(written("/z/watched/3.tif"))
        );
        assert_eq!(open.read(Pep::ClosePost, Argument::Descriptor(3), &around), Ok(vec![]));
    }

    #[test]
    fn reading_costs_no_look_at_the_descriptor() {
        let mut open = OpenObjects::default();
        let around = world(libc::O_RDONLY);
        open.read(Pep::OpenPost, object("/z/watched/3.tif", libc::O_RDONLY), &around).unwrap();
        open.read(Pep::ClosePre, Argument::Descriptor(3), &around).unwrap();
        assert_eq!(open.read(Pep::ClosePost, Argument::Descriptor(3), &around), Ok(vec![]));
        assert_eq!(around.calls.get(), 0);
    }

    #[test]
    fn a_read_close_after_a_write_open_is_no_event() {
        let mut open = OpenObjects::default();
        open.read(Pep::OpenPost, object("/z/watched/3.tif", libc::O_RDWR), &world(0)).unwrap();
        let around = world(libc::O_RDONLY);
        open.read(Pep::ClosePre, Argument::Descriptor(4), &around).unwrap();
        assert_eq!(open.read(Pep::ClosePost, Argument::Descriptor(4), &around), Ok(vec![]));
    }

    #[test]
    fn only_the_last_stream_of_a_parallel_write_counts() {
        let mut open = OpenObjects::default();
        let around = world(libc::O_WRONLY);
        open.read(Pep::ReplicaOpenPost, object("/z/watched/3.tif", libc::O_WRONLY), &around).unwrap();
        let first = br#"{"fd": 3, "update_status": false}"#;
        open.read(Pep::ReplicaClosePre, Argument::Json(first), &around).unwrap();
        assert_eq!(open.read(Pep::ReplicaClosePost, Argument::Json(first), &around), Ok(vec![]));
        // What is sent through the C library ends with a NUL.
        let last = b"{\"fd\": 3}\0";
        open.read(Pep::ReplicaClosePre, Argument::Json(last), &around).unwrap();
        assert_eq!(
            open.read(Pep::ReplicaClosePost, Argument::Json(last), &around),
            Ok(written("/z/watched/3.tif"))
        );
    }

    #[test]
    fn a_close_that_is_not_json_is_nothing() {
        let mut open = OpenObjects::default();
        let around = world(libc::O_WRONLY);
        for json in [&b""[..], b"{", b"[]", b"{\"fd\":\"x\"}", b"\xff"] {
            assert_eq!(open.read(Pep::ReplicaClosePost, Argument::Json(json), &around), Ok(vec![]));
        }
    }

    #[test]
    fn an_argument_of_another_type_is_nothing() {
        let mut open = OpenObjects::default();
        for (pep, _) in Pep::ALL {
            assert_eq!(open.read(pep, Argument::Other, &world(0)), Ok(vec![]));
        }
    }

    #[test]
    fn a_registered_tree_is_looked_at_as_a_collection() {
        let mut open = OpenObjects::default();
        let argument = Argument::DataObject { path: b"/z/watched/run", open_flags: 0, keyword: Some(b"") };
        let events = open.read(Pep::PhyPathRegPost, argument, &world(0)).unwrap();
        assert_eq!(events[0].affected(), Some(Affected::Tree(path("/z/watched/run"))));
    }

    #[test]
    fn a_copy_counts_where_it_arrives_and_a_rename_may_be_a_collections() {
        let mut open = OpenObjects::default();
        let argument = Argument::Copy { source: b"/z/other/a", destination: b"/z/watched/a" };
        let copied = open.read(Pep::CopyPost, argument, &world(0)).unwrap();
        assert_eq!(copied[0].affected(), Some(Affected::Collection(path("/z/watched"))));
        let renamed = open.read(Pep::RenamePost, argument, &world(0)).unwrap();
        assert_eq!(renamed[0].affected(), Some(Affected::TreeOrParent(path("/z/watched/a"))));
        let elsewhere = Argument::Copy { source: b"/z/other/a", destination: b"/z/other/b" };
        assert_eq!(open.read(Pep::RenamePost, elsewhere, &world(0)), Ok(vec![]));
    }

    #[test]
    fn what_leaves_a_watched_collection_is_told_apart_from_what_was_never_in_one() {
        let mut open = OpenObjects::default();
        let out = Argument::Copy { source: b"/z/watched/a", destination: b"/z/other/a" };
        let moved = open.read(Pep::RenamePost, out, &world(0)).unwrap();
        assert_eq!(moved, [Event::MovedOut(path("/z/other/a"))]);
        assert_eq!(moved[0].affected(), Some(Affected::Abandoned(path("/z/other/a"))));
        let removed = open.read(Pep::UnlinkPost, object("/z/watched/a", 0), &world(0)).unwrap();
        assert_eq!((removed.len(), removed[0].affected()), (1, Some(Affected::Strays)));
        assert_eq!(open.read(Pep::UnlinkPost, object("/z/other/a", 0), &world(0)), Ok(vec![]));
        let whole = open.read(Pep::RmCollPost, Argument::Collection(b"/z/watched"), &world(0));
        assert_eq!(whole, Ok(vec![Event::Removed(path("/z/watched"))]));
        assert_eq!(open.read(Pep::RmCollPost, Argument::Collection(b"/z/other"), &world(0)), Ok(vec![]));
    }

    #[test]
    fn a_tag_that_comes_along_with_data_counts_where_nothing_else_does() {
        let mut open = OpenObjects::default();
        let put = |path: &'static str, along: &'static str| Argument::DataObject {
            path: path.as_bytes(),
            open_flags: 0,
            keyword: Some(along.as_bytes()),
        };
        let mut read = |argument| open.read(Pep::PutPost, argument, &world(0)).unwrap();
        assert_eq!(read(put("/z/other/a", "x;y;z;import;on;")), [Event::ObjectTagged(path("/z/other/a"))]);
        assert_eq!(read(put("/z/other/a", "x;import;z;")), []);
        assert_eq!(read(put("/z/watched/a", "import;on;")), written("/z/watched/a"));
    }

    #[test]
    fn a_synchronisation_within_irods_counts_where_it_arrives() {
        let mut open = OpenObjects::default();
        let rsync = |keyword| Argument::DataObject { path: b"/z/other/a", open_flags: 0, keyword };
        let mut read = |argument| open.read(Pep::RsyncPost, argument, &world(0)).unwrap();
        assert_eq!(read(rsync(Some(b"/z/watched/a"))), written("/z/watched/a"));
        assert_eq!(read(rsync(None)), []);
        assert_eq!(read(rsync(Some(b"run/a.tif"))), []);
    }

    fn avu(words: &[&'static str]) -> Vec<Event> {
        let words = std::array::from_fn(|i| words.get(i).copied().unwrap_or_default().as_bytes());
        let read = |pep| OpenObjects::default().read(pep, Argument::Avu(words), &world(0)).unwrap();
        assert_eq!(read(Pep::ModAvuPost), read(Pep::StaticModAvuPost));
        read(Pep::ModAvuPost)
    }

    #[test]
    fn a_tag_set_or_removed_by_any_metadata_operation_is_an_event() {
        let tree = [Event::TreeTagged(path("/z/run"))];
        let object = [Event::ObjectTagged(path("/z/a"))];
        let no_more = [Event::Untagged(path("/z/run"))];
        for operation in ["add", "set"] {
            assert_eq!(avu(&[operation, "-C", "/z/run", "import", "on"]), tree);
            assert_eq!(avu(&[operation, "-d", "/z/a", "import", "on"]), object);
            assert_eq!(avu(&[operation, "-C", "/z/run", "import", " OFF "]), no_more);
        }
        assert_eq!(avu(&["mod", "-C", "/z/run", "x", "y", "n:import"]), tree);
        assert_eq!(avu(&["mod", "-C", "/z/run", "import", "off", "units", "v:on"]), tree);
        assert_eq!(avu(&["mod", "-C", "/z/run", "import", "on", "v:off"]), no_more);
        assert_eq!(avu(&["mod", "-C", "/z/run", "import", "on", "n:x"]), no_more);
        assert_eq!(avu(&["rm", "-C", "/z/run", "import", "on"]), no_more);
        assert_eq!(no_more[0].affected(), Some(Affected::Abandoned(path("/z/run"))));
        let perhaps = avu(&["rmi", "-C", "/z/run", "10023"]);
        assert_eq!((perhaps[0].affected(), perhaps[0].changes_watching()), (Some(Affected::Strays), true));
        assert_eq!(avu(&["cp", "-d", "-C", "/z/a", "/z/import"]), [Event::TreeTagged(path("/z/import"))]);
        assert_eq!(avu(&["cp", "-d", "-C", "/z/a", "/z/run"]), []);
        assert_eq!(avu(&["add", "-u", "alice", "import", "on"]), []);
        assert_eq!(avu(&["add", "-d", "/z/a", "other", "on"]), []);
    }

    #[test]
    fn the_avu_that_says_that_data_is_complete_is_an_event_where_it_is_waited_for() {
        let whole = [Event::Completed(path("/z/watched/run"))];
        assert_eq!(avu(&["add", "-C", "/z/watched/run", "done", "yes"]), whole);
        assert_eq!(avu(&["mod", "-C", "/z/watched/run", "x", "y", "n:done"]), whole);
        assert_eq!(
            avu(&["cp", "-C", "-C", "/z/x", "/z/watched/done"]),
            [Event::Completed(path("/z/watched/done"))]
        );
        assert_eq!(avu(&["rm", "-C", "/z/watched/run", "done", "yes"]), []);
        assert_eq!(avu(&["add", "-C", "/z/other/run", "done", "yes"]), []);
        assert_eq!(avu(&["add", "-d", "/z/watched/a", "done", "yes"]), []);
    }

    #[test]
    fn every_operation_of_an_atomic_request_counts() {
        let request = |operations: serde_json::Value| {
            let json = serde_json::json!({"entity_name": "/z/run", "entity_type": "collection",
                "operations": operations})
            .to_string();
            let mut open = OpenObjects::default();
            open.read(Pep::AtomicMetadataPost, Argument::Json(json.as_bytes()), &world(0)).unwrap()
        };
        let one = |operation: &str, attribute: &str, value: &str| serde_json::json!({"operation": operation, "attribute": attribute, "value": value});
        let both = serde_json::json!([one("remove", "import", "on"), one("add", "import", "Dataset:name:x")]);
        assert_eq!(request(both), [Event::Untagged(path("/z/run")), Event::TreeTagged(path("/z/run"))]);
        assert_eq!(request(serde_json::json!([one("add", "x", "y")])), []);
        assert_eq!(request(serde_json::json!("nothing")), []);
    }

    #[test]
    fn a_bulk_put_and_an_extraction_name_the_tree_only() {
        let mut open = OpenObjects::default();
        for pep in [Pep::BulkPutPost, Pep::StructFilePost] {
            let events = open.read(pep, Argument::Collection(b"/z/watched/run"), &world(0)).unwrap();
            assert_eq!(events, [Event::TreeWritten(path("/z/watched/run"))]);
        }
    }

    #[test]
    fn a_descriptor_the_server_cannot_describe_ends_all_open_writings() {
        struct Mute;
        impl Surroundings for Mute {
            fn is_watched(&self, _: &[u8]) -> bool {
                true
            }
            fn may_hold_watched(&self, _: &[u8]) -> bool {
                true
            }
            fn descriptor(&self, _: i32) -> Option<Vec<u8>> {
                None
            }
        }
        let mut open = OpenObjects::default();
        let strange =
            Argument::DataObject { path: b"/z/watched/\xff", open_flags: libc::O_WRONLY, keyword: None };
        open.read(Pep::OpenPost, strange, &Mute).unwrap();
        open.read(Pep::ClosePre, Argument::Descriptor(3), &Mute).unwrap();
        let events = open.read(Pep::ClosePost, Argument::Descriptor(3), &Mute).unwrap();
        assert_eq!(events, [Event::Written(LogicalPath::parse(b"/z/watched/\xff").unwrap())]);
    }
}
