//! The agent: a program beside OMERO that takes batches of files from iRODS servers, imports them in place as the
//! OMERO user they belong to, and tells what became of them.
//!
//! The [`queue`] keeps what was asked.

#![deny(unsafe_code)]

pub mod queue;
