//! The jobs of ours in the delay queue, and the one place that answers whether one of them is to come.
//!
//! Only jobs that the service account owns are ours: everybody may queue any text for our instance. Nothing of a text is
//! believed but what it asks to look at. A delay server that dies leaves the rows of the jobs it had claimed in the queue,
//! locked for ever; an age tells them from those at work, because a row shows its lock on no column that every version has.

use super::UnixTime;
use std::ops::RangeInclusive;
use std::time::Duration;

/// A job of ours in the delay queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedJob {
    /// Its rule text.
    pub text: String,
    /// When it is to run, or was to run if it is at work (or was, when its process died).
    pub due_at: UnixTime,
}

/// The jobs of ours, as the queue was at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Jobs {
    all: Vec<QueuedJob>,
}

impl Jobs {
    /// What the queue holds of ours.
    pub fn new(all: Vec<QueuedJob>) -> Self {
        Self { all }
    }

    /// Every row, those of dead delay servers too.
    pub fn all(&self) -> &[QueuedJob] {
        &self.all
    }

    /// When the last of the jobs is to begin whose text is wanted and whose time lies within a range; `None` for none. Give
    /// a range that starts after now: a job whose time has come may have read the marks already, or belong to a delay
    /// server that died.
    pub fn to_come(
        &self,
        is_wanted: impl Fn(&str) -> bool,
        within: &RangeInclusive<UnixTime>,
    ) -> Option<UnixTime> {
        let wanted = self.all.iter().filter(|job| within.contains(&job.due_at) && is_wanted(&job.text));
        wanted.map(|job| job.due_at).max()
    }

    /// Whether there is such a job.
    pub fn is_to_come(&self, is_wanted: impl Fn(&str) -> bool, within: &RangeInclusive<UnixTime>) -> bool {
        self.to_come(is_wanted, within).is_some()
    }

    /// The jobs that wait, or are at work since not longer than `expiry`.
    pub fn living(&self, now: UnixTime, expiry: Duration) -> impl Iterator<Item = &QueuedJob> {
        let oldest = now.saturating_sub(expiry.as_secs());
        self.all.iter().filter(move |job| job.due_at >= oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(times: &[UnixTime]) -> Jobs {
        Jobs::new(times.iter().map(|at| QueuedJob { text: "x".to_owned(), due_at: *at }).collect())
    }

    #[test]
    fn a_job_whose_time_has_come_is_not_to_come() {
        assert!(jobs(&[100, 130]).is_to_come(|t| t == "x", &(101..=160)));
        assert!(!jobs(&[100]).is_to_come(|t| t == "x", &(101..=160)));
        assert!(!jobs(&[130]).is_to_come(|t| t == "y", &(101..=160)));
        assert!(!jobs(&[161]).is_to_come(|t| t == "x", &(101..=160)));
    }

    #[test]
    fn a_job_that_a_dead_delay_server_had_claimed_counts_no_longer_after_its_time() {
        let all = jobs(&[10, 99, 100, 500]);
        let living: Vec<UnixTime> = all.living(400, Duration::from_secs(300)).map(|j| j.due_at).collect();
        assert_eq!(living, [100, 500]);
    }
}
