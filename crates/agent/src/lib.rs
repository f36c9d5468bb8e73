//! The agent: a program beside OMERO that takes batches of files from iRODS servers, imports them in place as the
//! OMERO user they belong to, and tells what became of them.
//!
//! A request comes in over [`server`], is answered by [`api`], and what is asked is kept by the [`queue`]; the [`runner`]
//! performs it with the plugin's own importer. [`service`] starts and ends all of it.

#![deny(unsafe_code)]

pub mod access;
pub mod api;
pub mod auth;
pub mod background;
pub mod backlog;
pub mod breaker;
pub mod command;
pub mod config;
pub mod deep;
pub mod drain;
pub mod live;
pub mod metrics;
pub mod mounts;
pub mod observer;
pub mod originals;
pub mod orphans;
pub mod page;
pub mod probe;
pub mod queue;
pub mod runner;
pub mod server;
pub mod service;
