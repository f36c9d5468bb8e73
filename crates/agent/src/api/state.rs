//! What all answers need.

use crate::auth::Rates;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::page::Sessions;
use crate::probe::{self, Finding};
use crate::queue::Queue;
use crate::runner::Runner;
use irods_omero_importer::wire::MAX_BODY_BYTES;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, Semaphore, watch};

/// What was found, and when.
type Findings = Option<(Instant, Arc<Vec<Finding>>)>;

/// What all answers need; a copy is the same.
#[derive(Debug, Clone)]
pub struct App {
    /// The configuration in force.
    pub live: Live,
    /// The jobs.
    pub queue: Queue,
    /// What runs them.
    pub runner: Runner,
    /// What is counted.
    pub metrics: Metrics,
    /// How much each caller asks.
    pub rates: Arc<Rates>,
    /// Room for bodies that are being read, in bytes.
    pub room: Arc<Semaphore>,
    /// Who has signed in on the page.
    pub sessions: Arc<Sessions>,
    /// Becomes true when the agent ends.
    pub ending: watch::Receiver<bool>,
    findings: Arc<Mutex<Findings>>,
}

/// How long what was found is told again.
const FINDINGS_AGE: Duration = Duration::from_secs(5);

/// Bodies of together so many bytes are read at once.
const ROOM: usize = 2 * MAX_BODY_BYTES;

impl App {
    /// Of these parts.
    pub fn new(
        live: Live,
        queue: Queue,
        runner: Runner,
        metrics: Metrics,
        ending: watch::Receiver<bool>,
    ) -> Self {
        let (rates, room, findings) = (Arc::default(), Arc::new(Semaphore::new(ROOM)), Arc::default());
        Self { live, queue, runner, metrics, rates, room, sessions: Arc::default(), ending, findings }
    }

    /// What is found by looking at everything the agent needs, a few seconds old at most: whoever asks often makes
    /// no connections to OMERO by it.
    pub async fn findings(&self) -> Arc<Vec<Finding>> {
        let mut last = self.findings.lock().await;
        if let Some((when, found)) = &*last
            && when.elapsed() < FINDINGS_AGE
        {
            return Arc::clone(found);
        }
        let found = Arc::new(probe::all(&self.live.get().config, &self.queue).await);
        *last = Some((Instant::now(), Arc::clone(&found)));
        found
    }
}
