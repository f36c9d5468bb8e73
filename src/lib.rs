//! iRODS notices that image data has arrived, and the data appears in OMERO, in place, owned by the right person.
//!
//! Data goes one way: a client's verb fires a PEP, the shim hands it over, it becomes an [`event`], a watched one
//! sets the [`due`] mark and queues a [`sweep`]; the sweep decides what is settled, whose it is
//! ([`irods_omero_config::identity`]), where it can be seen and where it goes, and gives batches to the importer
//! ([`irods_omero_importer`]); what became of them is the record ([`irods_omero_model::record`]). Nothing below `event`
//! knows which PEP fired, nothing above the importer how OMERO is reached, and `unsafe` is in [`ffi`] only.

#![deny(unsafe_code)]

pub mod catalog;
pub mod due;
pub mod event;
#[allow(unsafe_code)]
pub mod ffi;
pub mod guard;
pub mod operations;
pub mod plugin;
pub mod save;
pub mod sweep;
pub mod watch;

/// The iRODS version whose plugin interface this build has.
pub const BUILT_FOR: &str = env!("OMERO_BUILT_FOR");

#[used]
static MARK: [&str; 1] =
    [concat!("irods_rule_engine_plugin-omero built for iRODS ", env!("OMERO_BUILT_FOR"), "\n")];
