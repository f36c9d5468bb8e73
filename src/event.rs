//! From a policy enforcement point to an event: something a client did that concerns a path.
//!
//! The PEPs and their arguments are those a 5.0.2 server was recorded to fire (`docs/events.md`). Close PEPs
//! carry a descriptor only, and in the post PEP the server has forgotten it, so the path is asked for in the
//! pre PEP, and only when this agent has opened something interesting for writing.

use crate::names::{LogicalPath, NameError, parent_bytes};
use std::collections::HashMap;

/// `METADATA_INCLUDED_KW`: AVUs along with data.
const METADATA_INCLUDED: &str = "metadataIncluded";

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
    /// `pep_api_data_obj_copy_post`
    CopyPost,
    /// `pep_api_data_obj_rename_post`
    RenamePost,
    /// `pep_api_bulk_data_obj_put_post`
    BulkPutPost,
    /// `pep_api_struct_file_ext_and_reg_post`
    StructFilePost,
    /// `pep_api_data_obj_repl_post`
    ReplPost,
    /// `pep_api_data_obj_phymv_post`
    PhymvPost,
    /// `pep_api_data_obj_put_pre`
    PutPre,
    /// `pep_api_mod_avu_metadata_pre`
    ModAvuPre,
    /// `pep_api_atomic_apply_metadata_operations_pre`
    AtomicMetadataPre,
    /// `pep_api_data_obj_open_pre`
    OpenPre,
    /// `pep_api_data_obj_create_pre`
    CreatePre,
    /// `pep_api_data_obj_open_and_stat_pre`
    OpenAndStatPre,
    /// `pep_api_data_obj_create_and_stat_pre`
    CreateAndStatPre,
    /// `pep_api_data_obj_get_pre`
    GetPre,
    /// `pep_api_replica_open_pre`
    ReplicaOpenPre,
    /// `pep_api_data_obj_copy_pre`
    CopyPre,
    /// `pep_api_data_obj_repl_pre`
    ReplPre,
    /// `pep_api_data_obj_phymv_pre`
    PhymvPre,
    /// `pep_api_data_obj_rsync_pre`
    RsyncPre,
    /// `pep_api_struct_file_bundle_pre`
    BundlePre,
    /// `pep_api_struct_file_ext_and_reg_pre`
    StructFilePre,
    /// `acPreProcForModifyAVUMetadata`
    StaticModAvuPre,
    /// `pep_api_mod_avu_metadata_post`
    ModAvuPost,
    /// `pep_api_atomic_apply_metadata_operations_post`
    AtomicMetadataPost,
}

impl Pep {
    /// Every PEP we ask for, with its name in the server.
    pub const ALL: [(Self, &'static str); 34] = [
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
        (Self::CopyPost, "pep_api_data_obj_copy_post"),
        (Self::RenamePost, "pep_api_data_obj_rename_post"),
        (Self::BulkPutPost, "pep_api_bulk_data_obj_put_post"),
        (Self::StructFilePost, "pep_api_struct_file_ext_and_reg_post"),
        (Self::ReplPost, "pep_api_data_obj_repl_post"),
        (Self::PhymvPost, "pep_api_data_obj_phymv_post"),
        (Self::PutPre, "pep_api_data_obj_put_pre"),
        (Self::ModAvuPre, "pep_api_mod_avu_metadata_pre"),
        (Self::AtomicMetadataPre, "pep_api_atomic_apply_metadata_operations_pre"),
        (Self::OpenPre, "pep_api_data_obj_open_pre"),
        (Self::CreatePre, "pep_api_data_obj_create_pre"),
        (Self::OpenAndStatPre, "pep_api_data_obj_open_and_stat_pre"),
        (Self::CreateAndStatPre, "pep_api_data_obj_create_and_stat_pre"),
        (Self::GetPre, "pep_api_data_obj_get_pre"),
        (Self::ReplicaOpenPre, "pep_api_replica_open_pre"),
        (Self::CopyPre, "pep_api_data_obj_copy_pre"),
        (Self::ReplPre, "pep_api_data_obj_repl_pre"),
        (Self::PhymvPre, "pep_api_data_obj_phymv_pre"),
        (Self::RsyncPre, "pep_api_data_obj_rsync_pre"),
        (Self::BundlePre, "pep_api_struct_file_bundle_pre"),
        (Self::StructFilePre, "pep_api_struct_file_ext_and_reg_pre"),
        (Self::StaticModAvuPre, "acPreProcForModifyAVUMetadata"),
        (Self::ModAvuPost, "pep_api_mod_avu_metadata_post"),
        (Self::AtomicMetadataPost, "pep_api_atomic_apply_metadata_operations_post"),
    ];

    /// The PEP of that name. This is the hottest code of the plugin: the server asks several times for every
    /// operation. The compiler turns the match into a comparison of lengths and one of bytes.
    #[inline]
    pub fn of(name: &[u8]) -> Option<Self> {
        /// Bit n is set if one of our names has n bytes.
        const LENGTHS: u64 = {
            let (mut lengths, mut i) = (0, 0);
            while i < Pep::ALL.len() {
                lengths |= 1 << Pep::ALL[i].1.len();
                i += 1;
            }
            lengths
        };
        if name.len() >= 64 || LENGTHS >> name.len() & 1 == 0 {
            return None;
        }
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
            b"pep_api_data_obj_copy_post" => Self::CopyPost,
            b"pep_api_data_obj_rename_post" => Self::RenamePost,
            b"pep_api_bulk_data_obj_put_post" => Self::BulkPutPost,
            b"pep_api_struct_file_ext_and_reg_post" => Self::StructFilePost,
            b"pep_api_data_obj_repl_post" => Self::ReplPost,
            b"pep_api_data_obj_phymv_post" => Self::PhymvPost,
            b"pep_api_data_obj_put_pre" => Self::PutPre,
            b"pep_api_mod_avu_metadata_pre" => Self::ModAvuPre,
            b"pep_api_atomic_apply_metadata_operations_pre" => Self::AtomicMetadataPre,
            b"pep_api_data_obj_open_pre" => Self::OpenPre,
            b"pep_api_data_obj_create_pre" => Self::CreatePre,
            b"pep_api_data_obj_open_and_stat_pre" => Self::OpenAndStatPre,
            b"pep_api_data_obj_create_and_stat_pre" => Self::CreateAndStatPre,
            b"pep_api_data_obj_get_pre" => Self::GetPre,
            b"pep_api_replica_open_pre" => Self::ReplicaOpenPre,
            b"pep_api_data_obj_copy_pre" => Self::CopyPre,
            b"pep_api_data_obj_repl_pre" => Self::ReplPre,
            b"pep_api_data_obj_phymv_pre" => Self::PhymvPre,
            b"pep_api_data_obj_rsync_pre" => Self::RsyncPre,
            b"pep_api_struct_file_bundle_pre" => Self::BundlePre,
            b"pep_api_struct_file_ext_and_reg_pre" => Self::StructFilePre,
            b"acPreProcForModifyAVUMetadata" => Self::StaticModAvuPre,
            b"pep_api_mod_avu_metadata_post" => Self::ModAvuPost,
            b"pep_api_atomic_apply_metadata_operations_post" => Self::AtomicMetadataPost,
            _ => return None,
        })
    }

    /// The words of the argument's conditions we want to know.
    pub fn keyword(self) -> Option<&'static str> {
        match self {
            Self::PhyPathRegPost | Self::RegisterPhysicalPathPost => Some("collection"),
            Self::PutPre
            | Self::OpenPre
            | Self::CreatePre
            | Self::OpenAndStatPre
            | Self::CreateAndStatPre
            | Self::GetPre
            | Self::ReplicaOpenPre
            | Self::CopyPre
            | Self::ReplPre
            | Self::PhymvPre
            | Self::RsyncPre
            | Self::BundlePre
            | Self::StructFilePre => Some(METADATA_INCLUDED),
            Self::PutPost
            | Self::OpenPost
            | Self::CreatePost
            | Self::ReplicaOpenPost
            | Self::ClosePre
            | Self::ClosePost
            | Self::ReplicaClosePre
            | Self::ReplicaClosePost
            | Self::CopyPost
            | Self::RenamePost
            | Self::BulkPutPost
            | Self::StructFilePost
            | Self::ReplPost
            | Self::PhymvPost
            | Self::ModAvuPre
            | Self::AtomicMetadataPre
            | Self::StaticModAvuPre
            | Self::ModAvuPost
            | Self::AtomicMetadataPost => None,
        }
    }

    /// Whether the operation sets AVUs that are given along with it. The server does so whenever it closes a data
    /// object, whatever that was opened for, reading included (`irods::apply_metadata_from_cond_input` of 5.0.2).
    pub fn carries_metadata(self) -> bool {
        self.keyword() == Some(METADATA_INCLUDED)
    }

    /// Whether the guard is asked: the PEPs that may refuse an operation. All others never do.
    pub fn is_guarded(self) -> bool {
        self.carries_metadata()
            || matches!(self, Self::ModAvuPre | Self::AtomicMetadataPre | Self::StaticModAvuPre)
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

/// Something a client did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A data object was written and closed, or copied.
    Written(LogicalPath),
    /// A file was registered as a data object.
    Registered(LogicalPath),
    /// A directory tree was registered as a collection.
    TreeRegistered(LogicalPath),
    /// Data objects were put in bulk, or extracted, somewhere below a collection.
    TreeWritten(LogicalPath),
    /// A data object or a collection has a new path: the server does not say which of the two it is.
    Renamed(LogicalPath),
    /// A data object has a replica in a new place.
    ReplicaMoved(LogicalPath),
}

/// Where something is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The data objects directly in a collection.
    Collection(LogicalPath),
    /// A collection and all below it.
    Tree(LogicalPath),
    /// If the path is a collection's, its tree; else the collection it is in.
    TreeOrParent(LogicalPath),
    /// The data objects directly in a collection, whether it is watched or not: one of them is tagged.
    Unwatched(LogicalPath),
}

impl Event {
    /// Where something is to be looked at; `None` for a zone.
    pub fn place(&self) -> Option<Place> {
        match self {
            Self::Written(path) | Self::Registered(path) | Self::ReplicaMoved(path) => {
                path.parent().map(Place::Collection)
            }
            Self::TreeRegistered(path) | Self::TreeWritten(path) => Some(Place::Tree(path.clone())),
            Self::Renamed(path) => Some(Place::TreeOrParent(path.clone())),
        }
    }
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
    /// The JSON description of an open descriptor (`rs_get_file_descriptor_info`), if there is one.
    fn descriptor(&self, descriptor: i32) -> Option<Vec<u8>>;
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
            (Pep::PutPost, Argument::DataObject { path, .. }) => one(Event::Written, path),
            (Pep::CopyPost, Argument::Copy { destination, .. }) => one(Event::Written, destination),
            (Pep::RenamePost, Argument::Copy { destination, .. }) => tree(Event::Renamed, destination),
            (Pep::BulkPutPost | Pep::StructFilePost, Argument::Collection(path)) => {
                tree(Event::TreeWritten, path)
            }
            (Pep::ReplPost | Pep::PhymvPost, Argument::DataObject { path, .. }) => {
                one(Event::ReplicaMoved, path)
            }
            (
                Pep::PhyPathRegPost | Pep::RegisterPhysicalPathPost,
                Argument::DataObject { path, keyword, .. },
            ) => match keyword {
                Some(_) => tree(Event::TreeRegistered, path),
                None => one(Event::Registered, path),
            },
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
            (
                Pep::PutPost
                | Pep::CopyPost
                | Pep::RenamePost
                | Pep::BulkPutPost
                | Pep::StructFilePost
                | Pep::ReplPost
                | Pep::PhymvPost
                | Pep::PhyPathRegPost
                | Pep::RegisterPhysicalPathPost
                | Pep::OpenPost
                | Pep::ReplicaOpenPost
                | Pep::CreatePost
                | Pep::ClosePre
                | Pep::ReplicaClosePre
                | Pep::ClosePost
                | Pep::ReplicaClosePost
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
                | Pep::AtomicMetadataPost,
                _,
            ) => Ok(Vec::new()),
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
        assert_eq!(events[0].place(), Some(Place::Tree(path("/z/watched/run"))));
    }

    #[test]
    fn a_copy_counts_where_it_arrives_and_a_rename_may_be_a_collections() {
        let mut open = OpenObjects::default();
        let argument = Argument::Copy { source: b"/z/other/a", destination: b"/z/watched/a" };
        let copied = open.read(Pep::CopyPost, argument, &world(0)).unwrap();
        assert_eq!(copied[0].place(), Some(Place::Collection(path("/z/watched"))));
        let renamed = open.read(Pep::RenamePost, argument, &world(0)).unwrap();
        assert_eq!(renamed[0].place(), Some(Place::TreeOrParent(path("/z/watched/a"))));
        let out = Argument::Copy { source: b"/z/watched/a", destination: b"/z/other/a" };
        assert_eq!(open.read(Pep::RenamePost, out, &world(0)), Ok(vec![]));
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
