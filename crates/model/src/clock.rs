//! The time of day, as a port so that tests can set it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970-01-01 UTC, as the catalog counts.
pub type UnixTime = u64;

/// Tells the time.
pub trait Clock {
    /// Seconds since 1970-01-01 UTC.
    fn now(&self) -> UnixTime;
}

/// The clock of this host.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixTime {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
    }
}
