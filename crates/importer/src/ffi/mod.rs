//! What std does not offer to a process inside a server's agent that starts children and writes to sockets. With the
//! plugin's boundary the only `unsafe` code.

mod child;
mod landlock;
mod pipe;

pub use child::{isolate, isolate_resident};
pub use landlock::{Ruleset, is_landlock_offered};
pub use pipe::ignoring_broken_pipes;
