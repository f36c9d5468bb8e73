//! The bottom of the house: names, times, records, sets and what is decided about them, as pure values.
//!
//! Nothing here does I/O or knows how iRODS or OMERO is reached, so everything can be tested by calling it.

#![forbid(unsafe_code)]

pub mod attributes;
pub mod catalog;
pub mod clock;
pub mod decide;
pub mod doctor;
pub mod event;
pub mod form;
pub mod guard;
pub mod identity;
pub mod names;
pub mod record;
pub mod release;
pub mod target;
mod text;
pub mod visibility;
pub mod watch;

/// The iRODS version that a build of these sources is for, as its environment says (`OMERO_IRODS_VERSION`). What the
/// library itself was compiled against stands in its own bytes: see [`BUILT_FOR_MARK`].
pub const BUILT_FOR: &str = match option_env!("OMERO_IRODS_VERSION") {
    Some(version) if !version.is_empty() => version,
    Some(_) | None => "5.0.2",
};

/// The words before the version in the plugin library's own bytes, by which a library that is not loaded can be asked.
pub const BUILT_FOR_MARK: &str = "irods_rule_engine_plugin-omero built for iRODS ";
