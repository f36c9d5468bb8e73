//! iRODS notices that image data has arrived, and the data appears in OMERO, in place, owned by the right person.
//!
//! Data goes one way: a client's verb fires a PEP, the shim hands it over, it becomes an [`event`], a watched one
//! sets the [`due`] mark and queues a [`sweep`]; the sweep decides what is settled, whose it is ([`identity`]),
//! where it can be seen ([`visibility`]) and where it goes ([`target`]), and gives batches to the [`importer`];
//! what became of them is the [`record`]. Nothing below `event` knows which PEP fired, nothing above `importer`
//! how OMERO is reached, and `unsafe` is in [`ffi`] only.

#![deny(unsafe_code)]

pub mod catalog;
pub mod clock;
pub mod config;
pub mod due;
pub mod event;
#[allow(unsafe_code)]
pub mod ffi;
pub mod guard;
pub mod identity;
pub mod importer;
mod installation;
pub mod names;
pub mod operations;
pub mod plugin;
pub mod record;
pub mod secret;
pub mod sweep;
pub mod target;
pub mod tls;
pub mod visibility;
pub mod watch;

/// The iRODS version whose plugin interface this build has.
pub const BUILT_FOR: &str = env!("OMERO_BUILT_FOR");

/// The words before that version in the library's own bytes, by which a library that is not loaded can be asked.
pub const BUILT_FOR_MARK: &str = "irods_rule_engine_plugin-omero built for iRODS ";

#[used]
static MARK: [&str; 1] =
    [concat!("irods_rule_engine_plugin-omero built for iRODS ", env!("OMERO_BUILT_FOR"), "\n")];
