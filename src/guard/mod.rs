//! What is refused, before it is done, and the sentence the client reads.
//!
//! - [`reserved`]: nobody but the plugin and administrators writes our attributes.
//! - [`imported`]: what would break an image in OMERO is refused, allowed, or followed, as the site says.
//!
//! [`act`] reads what a client is about to do out of an operation's arguments.

pub mod act;
pub mod imported;
pub mod reserved;

pub use reserved::{Reserved, unable};

/// A refused operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// iRODS error code.
    pub code: i64,
    /// What the client reads.
    pub sentence: String,
}
