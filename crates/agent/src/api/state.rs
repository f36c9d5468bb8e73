//! What all answers need.

use super::person::People;
use crate::auth::Rates;
use crate::backlog::Backlogs;
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
    /// What is wrong with the file of the queue.
    pub damage: watch::Receiver<Option<String>>,
    /// Room for one deep look at a time: each starts programs.
    pub deep: Arc<Semaphore>,
    /// Room for links that are being pointed: each takes a thread and a session in OMERO.
    pub follows: Arc<Semaphore>,
    /// Room for questions about filesets that are in OMERO: likewise.
    pub filesets: Arc<Semaphore>,
    /// Room for questions whose a session in OMERO is.
    pub visits: Arc<Semaphore>,
    /// Room for questions what belongs to what a person chose: these take longer.
    pub choices: Arc<Semaphore>,
    /// Room for files of OMERO's that are being read: each takes a thread.
    pub contents: Arc<Semaphore>,
    /// Whose sessions in OMERO are, for some seconds.
    pub people: Arc<People>,
    /// What the zones have not imported.
    pub backlogs: Arc<Backlogs>,
    findings: Arc<Mutex<Findings>>,
}

/// How long what was found is told again.
const FINDINGS_AGE: Duration = Duration::from_secs(5);

/// So many filesets have their links pointed at a time.
const FOLLOWS: usize = 4;

/// So many callers ask for filesets, or have them deleted, at a time.
const FILESETS: usize = 4;

/// So many questions are asked at a time in the sessions of people.
const VISITS: usize = 6;

/// Of so many people the choice is looked through at a time.
const CHOICES: usize = 4;

/// So many files of OMERO's are read at a time.
const CONTENTS: usize = 16;

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
        damage: watch::Receiver<Option<String>>,
    ) -> Self {
        let (rates, room, findings) = (Arc::default(), Arc::new(Semaphore::new(ROOM)), Arc::default());
        Self {
            live,
            queue,
            runner,
            metrics,
            rates,
            room,
            sessions: Arc::default(),
            ending,
            damage,
            deep: Arc::new(Semaphore::new(1)),
            follows: Arc::new(Semaphore::new(FOLLOWS)),
            filesets: Arc::new(Semaphore::new(FILESETS)),
            visits: Arc::new(Semaphore::new(VISITS)),
            choices: Arc::new(Semaphore::new(CHOICES)),
            contents: Arc::new(Semaphore::new(CONTENTS)),
            people: Arc::default(),
            backlogs: Arc::default(),
            findings,
        }
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
        let found = Arc::new(self.look().await);
        *last = Some((Instant::now(), Arc::clone(&found)));
        found
    }

    async fn look(&self) -> Vec<Finding> {
        let mut found = probe::all(&self.live.get().config, &self.queue, self.runner.mounts()).await;
        // What the probe has found is said once.
        let closed = self.runner.closed().into_iter();
        let news: Vec<_> =
            closed.filter(|(_, why)| found.iter().all(|f| f.why.as_ref() != Some(why))).collect();
        for (server, why) in news {
            found.push(Finding::of(format!("imports into {server}"), Err(why)));
        }
        let wrong = self.damage.borrow().clone();
        found.extend(wrong.map(|why| Finding::of("file of the queue".to_owned(), Err(why))));
        if self.runner.is_draining() {
            let why = "nothing new is taken: 'irods-omero agent drain' was called; a restart ends it, or 'drain --undo'";
            found.push(Finding::of("drain".to_owned(), Err(why.to_owned())));
        }
        found
    }
}
