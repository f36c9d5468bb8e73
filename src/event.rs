//! From a policy enforcement point to an event: something a client did that concerns a path.
//!
//! The PEPs and their arguments are those a 5.0.2 server was recorded to fire (`docs/events.md`). Close PEPs
//! carry a descriptor only, and in the post PEP the server has forgotten it, so the path is asked for in the
//! pre PEP, and only when this agent has opened something interesting for writing.

use crate::names::{LogicalPath, NameError};
use std::collections::HashMap;

/// The PEPs we ask for. Nothing below the event knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pep {
    /// `pep_api_data_obj_put_post`
    PutPost,
    /// `pep_api_data_obj_open_post`
    OpenPost,
    /// `pep_api_data_obj_create_post`
    CreatePost,
    /// `pep_api_replica_open_post`
    ReplicaOpenPost,
    /// `pep_api_data_obj_close_pre`
    ClosePre,
    /// `pep_api_data_obj_close_post`
    ClosePost,
    /// `pep_api_replica_close_pre`
    ReplicaClosePre,
    /// `pep_api_replica_close_post`
    ReplicaClosePost,
    /// `pep_api_phy_path_reg_post`
    PhyPathRegPost,
    /// `pep_api_register_physical_path_post`
    RegisterPhysicalPathPost,
}

impl Pep {
    /// Every PEP we ask for, with its name in the server.
    pub const ALL: [(Self, &'static str); 10] = [
        (Self::PutPost, "pep_api_data_obj_put_post"),
        (Self::OpenPost, "pep_api_data_obj_open_post"),
        (Self::CreatePost, "pep_api_data_obj_create_post"),
        (Self::ReplicaOpenPost, "pep_api_replica_open_post"),
        (Self::ClosePre, "pep_api_data_obj_close_pre"),
        (Self::ClosePost, "pep_api_data_obj_close_post"),
        (Self::ReplicaClosePre, "pep_api_replica_close_pre"),
        (Self::ReplicaClosePost, "pep_api_replica_close_post"),
        (Self::PhyPathRegPost, "pep_api_phy_path_reg_post"),
        (Self::RegisterPhysicalPathPost, "pep_api_register_physical_path_post"),
    ];

    /// The PEP of that name. This is the hottest code of the plugin: the server asks several times for every
    /// operation. The compiler turns the match into a comparison of lengths and one of bytes.
    #[inline]
    pub fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"pep_api_data_obj_put_post" => Self::PutPost,
            b"pep_api_data_obj_open_post" => Self::OpenPost,
            b"pep_api_data_obj_create_post" => Self::CreatePost,
            b"pep_api_replica_open_post" => Self::ReplicaOpenPost,
            b"pep_api_data_obj_close_pre" => Self::ClosePre,
            b"pep_api_data_obj_close_post" => Self::ClosePost,
            b"pep_api_replica_close_pre" => Self::ReplicaClosePre,
            b"pep_api_replica_close_post" => Self::ReplicaClosePost,
            b"pep_api_phy_path_reg_post" => Self::PhyPathRegPost,
            b"pep_api_register_physical_path_post" => Self::RegisterPhysicalPathPost,
            _ => return None,
        })
    }

    /// Whether the PEP is of a registration of physical paths.
    pub fn is_registration(self) -> bool {
        matches!(self, Self::PhyPathRegPost | Self::RegisterPhysicalPathPost)
    }

    /// A regular expression that names just our PEPs, for the server's own filter.
    pub fn regex() -> String {
        let names: Vec<&str> = Self::ALL.iter().map(|(_, name)| *name).collect();
        format!("({})", names.join("|"))
    }
}

/// The operation's own arguments, as the shim unpacked them. Borrowed from the server for one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument<'a> {
    /// `DataObjInp*`
    DataObject {
        /// `objPath`
        path: &'a [u8],
        /// `openFlags`
        open_flags: i32,
        /// Whether `condInput` names a collection to register (`collection`).
        is_tree: bool,
    },
    /// `OpenedDataObjInp*`
    Descriptor(i32),
    /// `BytesBuf*`, which holds JSON in the calls we hear
    Json(&'a [u8]),
    /// Anything else.
    Other,
}

/// Something a client did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A data object was written and closed.
    Written(LogicalPath),
    /// A file was registered as a data object.
    Registered(LogicalPath),
    /// A directory tree was registered as a collection.
    TreeRegistered(LogicalPath),
}

impl Event {
    /// The collection in which something is to be looked at.
    pub fn collection(&self) -> Option<LogicalPath> {
        match self {
            Self::Written(path) | Self::Registered(path) => path.parent(),
            Self::TreeRegistered(path) => Some(path.clone()),
        }
    }
}

/// What a PEP leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing that concerns us.
    Nothing,
    /// A client did something.
    Event(Event),
}

/// The data objects an agent has open for writing, as far as they are watched.
#[derive(Debug, Default)]
pub struct OpenObjects {
    /// Watched objects opened for writing and not yet closed. As long as it is 0 a close costs nothing.
    writers: usize,
    /// Descriptors about to be closed whose close will be an event.
    closing: HashMap<i32, LogicalPath>,
}

/// What is asked of the world while a PEP is read.
pub trait Surroundings {
    /// Whether a path is watched.
    fn is_watched(&self, path: &[u8]) -> bool;
    /// The JSON description of an open descriptor (`rs_get_file_descriptor_info`), if there is one.
    fn descriptor(&self, descriptor: i32) -> Option<Vec<u8>>;
}

impl OpenObjects {
    /// Reads one PEP.
    ///
    /// # Errors
    /// The path the server passed is not a logical path; the caller logs it.
    pub fn read(
        &mut self,
        pep: Pep,
        argument: Argument<'_>,
        around: &dyn Surroundings,
    ) -> Result<Step, NameError> {
        let watched = |path: &[u8]| around.is_watched(path);
        match (pep, argument) {
            (Pep::PutPost, Argument::DataObject { path, .. }) if watched(path) => {
                Ok(Step::Event(Event::Written(LogicalPath::parse(path)?)))
            }
            (
                Pep::PhyPathRegPost | Pep::RegisterPhysicalPathPost,
                Argument::DataObject { path, is_tree, .. },
            ) if watched(path) => {
                let path = LogicalPath::parse(path)?;
                Ok(Step::Event(if is_tree { Event::TreeRegistered(path) } else { Event::Registered(path) }))
            }
            (Pep::OpenPost | Pep::ReplicaOpenPost, Argument::DataObject { path, open_flags, .. })
                if writes(open_flags) && watched(path) =>
            {
                self.writers += 1;
                Ok(Step::Nothing)
            }
            (Pep::CreatePost, Argument::DataObject { path, .. }) if watched(path) => {
                self.writers += 1;
                Ok(Step::Nothing)
            }
            (Pep::ClosePre, Argument::Descriptor(descriptor)) => {
                self.remember(descriptor, around)?;
                Ok(Step::Nothing)
            }
            (Pep::ReplicaClosePre, Argument::Json(json)) => {
                if let Some(descriptor) = finalising_close(json) {
                    self.remember(descriptor, around)?;
                }
                Ok(Step::Nothing)
            }
            (Pep::ClosePost, Argument::Descriptor(descriptor)) => Ok(self.closed(descriptor)),
            (Pep::ReplicaClosePost, Argument::Json(json)) => {
                Ok(finalising_close(json).map_or(Step::Nothing, |descriptor| self.closed(descriptor)))
            }
            (
                Pep::PutPost
                | Pep::PhyPathRegPost
                | Pep::RegisterPhysicalPathPost
                | Pep::OpenPost
                | Pep::ReplicaOpenPost
                | Pep::CreatePost
                | Pep::ClosePre
                | Pep::ReplicaClosePre
                | Pep::ClosePost
                | Pep::ReplicaClosePost,
                _,
            ) => Ok(Step::Nothing),
        }
    }

    fn remember(&mut self, descriptor: i32, around: &dyn Surroundings) -> Result<(), NameError> {
        // A descriptor number is used again: what an earlier close left must not be taken for this one.
        self.closing.remove(&descriptor);
        if self.writers == 0 {
            return Ok(());
        }
        let Some(open) = around.descriptor(descriptor).as_deref().and_then(parse_descriptor) else {
            return Ok(());
        };
        if writes(open.flags) && around.is_watched(&open.path) {
            self.closing.insert(descriptor, LogicalPath::parse(&open.path)?);
        }
        Ok(())
    }

    fn closed(&mut self, descriptor: i32) -> Step {
        match self.closing.remove(&descriptor) {
            Some(path) => {
                self.writers = self.writers.saturating_sub(1);
                Step::Event(Event::Written(path))
            }
            None => Step::Nothing,
        }
    }
}

/// Whether an open with these flags can change the data.
fn writes(flags: i32) -> bool {
    flags & libc::O_ACCMODE != libc::O_RDONLY || flags & (libc::O_CREAT | libc::O_TRUNC) != 0
}

/// The descriptor of a `replica_close` that ends the writing; `None` for a stream that is not the last
/// (`"update_status": false`) and for what is not JSON.
fn finalising_close(json: &[u8]) -> Option<i32> {
    let value: serde_json::Value = serde_json::from_slice(json).ok()?;
    if value.get("update_status").and_then(serde_json::Value::as_bool) == Some(false) {
        return None;
    }
    value.get("fd")?.as_i64().and_then(|fd| i32::try_from(fd).ok())
}

struct OpenDescriptor {
    path: Vec<u8>,
    flags: i32,
}

fn parse_descriptor(json: &[u8]) -> Option<OpenDescriptor> {
    let value: serde_json::Value = serde_json::from_slice(json).ok()?;
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
    use std::cell::Cell;

    struct World {
        calls: Cell<usize>,
        flags: i32,
    }

    impl Surroundings for World {
        fn is_watched(&self, path: &[u8]) -> bool {
            path.starts_with(b"/z/watched/")
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
    }

    fn world(flags: i32) -> World {
        World { calls: Cell::new(0), flags }
    }

    fn object(path: &str, open_flags: i32) -> Argument<'_> {
        Argument::DataObject { path: path.as_bytes(), open_flags, is_tree: false }
    }

    fn written(path: &str) -> Step {
        Step::Event(Event::Written(LogicalPath::parse(path.as_bytes()).unwrap()))
    }

    #[test]
    fn every_name_is_found_and_no_other() {
        for (pep, name) in Pep::ALL {
            assert_eq!(Pep::of(name.as_bytes()), Some(pep));
            assert_eq!(Pep::of(&name.as_bytes()[1..]), None);
            assert!(Pep::regex().contains(name));
        }
        assert_eq!(Pep::of(b""), None);
    }

    #[test]
    fn a_put_into_a_watched_collection_is_an_event() {
        let mut open = OpenObjects::default();
        let around = world(0);
        assert_eq!(open.read(Pep::PutPost, object("/z/watched/a", 0), &around), Ok(written("/z/watched/a")));
        assert_eq!(open.read(Pep::PutPost, object("/z/other/a", 0), &around), Ok(Step::Nothing));
    }

    #[test]
    fn a_stream_is_an_event_when_it_is_closed() {
        let mut open = OpenObjects::default();
        let around = world(libc::O_WRONLY);
        open.read(Pep::OpenPost, object("/z/watched/3.tif", libc::O_WRONLY), &around).unwrap();
        assert_eq!(open.read(Pep::ClosePre, Argument::Descriptor(3), &around), Ok(Step::Nothing));
        assert_eq!(
            open.read(Pep::ClosePost, Argument::Descriptor(3), &around),
            Ok(written("/z/watched/3.tif"))
        );
        assert_eq!(open.read(Pep::ClosePost, Argument::Descriptor(3), &around), Ok(Step::Nothing));
    }

    #[test]
    fn reading_costs_no_look_at_the_descriptor() {
        let mut open = OpenObjects::default();
        let around = world(libc::O_RDONLY);
        open.read(Pep::OpenPost, object("/z/watched/3.tif", libc::O_RDONLY), &around).unwrap();
        open.read(Pep::ClosePre, Argument::Descriptor(3), &around).unwrap();
        assert_eq!(open.read(Pep::ClosePost, Argument::Descriptor(3), &around), Ok(Step::Nothing));
        assert_eq!(around.calls.get(), 0);
    }

    #[test]
    fn a_read_close_after_a_write_open_is_no_event() {
        let mut open = OpenObjects::default();
        open.read(Pep::OpenPost, object("/z/watched/3.tif", libc::O_RDWR), &world(0)).unwrap();
        let around = world(libc::O_RDONLY);
        open.read(Pep::ClosePre, Argument::Descriptor(4), &around).unwrap();
        assert_eq!(open.read(Pep::ClosePost, Argument::Descriptor(4), &around), Ok(Step::Nothing));
    }

    #[test]
    fn only_the_last_stream_of_a_parallel_write_counts() {
        let mut open = OpenObjects::default();
        let around = world(libc::O_WRONLY);
        open.read(Pep::ReplicaOpenPost, object("/z/watched/3.tif", libc::O_WRONLY), &around).unwrap();
        let first = br#"{"fd": 3, "update_status": false}"#;
        open.read(Pep::ReplicaClosePre, Argument::Json(first), &around).unwrap();
        assert_eq!(open.read(Pep::ReplicaClosePost, Argument::Json(first), &around), Ok(Step::Nothing));
        let last = br#"{"fd": 3}"#;
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
            assert_eq!(open.read(Pep::ReplicaClosePost, Argument::Json(json), &around), Ok(Step::Nothing));
        }
    }

    #[test]
    fn an_argument_of_another_type_is_nothing() {
        let mut open = OpenObjects::default();
        for (pep, _) in Pep::ALL {
            assert_eq!(open.read(pep, Argument::Other, &world(0)), Ok(Step::Nothing));
        }
    }

    #[test]
    fn a_registered_tree_is_looked_at_as_a_collection() {
        let mut open = OpenObjects::default();
        let argument = Argument::DataObject { path: b"/z/watched/run", open_flags: 0, is_tree: true };
        let Ok(Step::Event(event)) = open.read(Pep::PhyPathRegPost, argument, &world(0)) else { panic!() };
        assert_eq!(event.collection().unwrap().as_bytes(), b"/z/watched/run");
    }
}
