//! What Prometheus is told.

use crate::queue::{Counts, SaveCounts};
use irods_omero_importer::wire::{Became, JobState, Outcome};
use irods_omero_model::clock::UnixTime;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRun {
    state: &'static str,
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPhase {
    phase: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfDirectory {
    directory: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOutcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfServer {
    server: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfAnswer {
    method: &'static str,
    path: String,
    status: u16,
}

/// All numbers; a copy counts into the same.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    jobs: Family<OfState, Gauge>,
    ended: Family<OfRun, Counter>,
    phases: Family<OfPhase, Histogram, fn() -> Histogram>,
    free: Family<OfDirectory, Gauge>,
    hung: Family<OfDirectory, Gauge>,
    oldest: Gauge,
    last_success: Gauge,
    draining: Gauge,
    files: Family<OfOutcome, Counter>,
    reachable: Family<OfServer, Gauge>,
    requests: Family<OfAnswer, Counter>,
    connections: Gauge,
    sessions: Gauge,
    saves: Family<OfState, Gauge>,
    save_files: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("irods_omero_agent");
        let (jobs, ended, files) = (Family::default(), Family::default(), Family::default());
        let (reachable, requests) = (Family::default(), Family::default());
        let (connections, sessions) = (Gauge::default(), Gauge::default());
        // From one second to a day and a half.
        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(1.0, 2.0, 18));
        let phases = Family::new_with_constructor(seconds);
        let (free, hung) = (Family::default(), Family::default());
        let (oldest, last_success, draining) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("jobs", "Jobs in the queue by state", Family::clone(&jobs));
        registry.register(
            "runs",
            "Runs of jobs that ended, by the state after and its cause",
            Family::clone(&ended),
        );
        registry.register("files", "Files of jobs that are done, by outcome", Family::clone(&files));
        registry.register(
            "omero_reachable",
            "Whether imports into an OMERO server are started",
            Family::clone(&reachable),
        );
        registry.register("requests", "Requests answered", Family::clone(&requests));
        let about = "Time of a job in a phase: queued before its first run, running";
        registry.register_with_unit("phase", about, Unit::Seconds, Family::clone(&phases));
        registry.register_with_unit("free", "Room in a directory", Unit::Bytes, Family::clone(&free));
        registry.register("hung", "Whether a directory does not answer", Family::clone(&hung));
        let about = "Age of the job that has been queued longest, 0 if none is";
        registry.register_with_unit("oldest_queued", about, Unit::Seconds, oldest.clone());
        let about = "When a job was last done with a file in OMERO, as seconds since 1970; 0 if none was";
        registry.register("last_success_timestamp", about, last_success.clone());
        registry.register("draining", "Whether nothing new is taken", draining.clone());
        registry.register("connections", "Open connections", connections.clone());
        registry.register("omero_sessions", "Open sessions in OMERO", sessions.clone());
        let (saves, save_files) = (Family::default(), Gauge::default());
        let about = "Requests of people in OMERO to save in iRODS, by state";
        registry.register("saves", about, Family::clone(&saves));
        let about = "Files of such requests that are still to be saved";
        registry.register("save_files_queued", about, save_files.clone());
        Self(Arc::new(Inner {
            registry,
            jobs,
            ended,
            phases,
            free,
            hung,
            oldest,
            last_success,
            draining,
            files,
            reachable,
            requests,
            connections,
            sessions,
            saves,
            save_files,
        }))
    }
}

/// What is looked at when the numbers are asked for.
#[derive(Debug)]
pub struct Now<'a> {
    /// Jobs in each state.
    pub counts: &'a Counts,
    /// Saves in each state, and their files.
    pub saves: &'a SaveCounts,
    /// The OMERO servers.
    pub servers: Vec<&'a String>,
    /// Those for which nothing is started, and why.
    pub closed: BTreeMap<String, String>,
    /// Open sessions in OMERO.
    pub sessions: usize,
    /// For how many seconds the oldest queued job has been.
    pub oldest_queued: Option<u64>,
    /// Whether nothing new is taken.
    pub draining: bool,
    /// The directories of files, and whether they hang.
    pub directories: Vec<(PathBuf, bool)>,
    /// Free bytes in the directories that are written to.
    pub free: Vec<(PathBuf, u64)>,
}

impl Metrics {
    /// A run has ended, for a cause, after some time.
    pub fn ended(&self, state: JobState, cause: &'static str, took: Duration) {
        self.0.ended.get_or_create(&OfRun { state: state.as_str(), cause }).inc();
        self.0.phases.get_or_create(&OfPhase { phase: "running" }).observe(took.as_secs_f64());
    }

    /// A job begins its first run so many seconds after it was submitted.
    pub fn waited(&self, seconds: u64) {
        let seconds = Duration::from_secs(seconds).as_secs_f64();
        self.0.phases.get_or_create(&OfPhase { phase: "queued" }).observe(seconds);
    }

    /// A job was done some of whose files are in OMERO.
    pub fn succeeded(&self, now: UnixTime) {
        self.0.last_success.set(i64::try_from(now).unwrap_or(i64::MAX));
    }

    /// Files have their outcomes.
    pub fn files(&self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            let outcome = match outcome.outcome {
                Became::Imported => "imported",
                Became::Failed => "failed",
                Became::Postponed => "postponed",
                Became::Joined => "joined",
                Became::Unknown => "unknown",
                Became::UsesUnknown => "uses_unknown",
                Became::NotUsed => "not_used",
            };
            self.0.files.get_or_create(&OfOutcome { outcome }).inc();
        }
    }

    /// A request was answered. `path` is the route, not what was asked for.
    pub fn answered(&self, method: &'static str, path: String, status: u16) {
        self.0.requests.get_or_create(&OfAnswer { method, path, status }).inc();
    }

    /// A connection was opened; it counts until what is given is dropped.
    pub fn connection(&self) -> Connection {
        self.0.connections.inc();
        Connection(self.clone())
    }

    /// Everything, as OpenMetrics text.
    ///
    /// # Errors
    /// It cannot be written, which no buffer in memory does.
    pub fn text(&self, now: &Now<'_>) -> Result<String, std::fmt::Error> {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.0.sessions.set(i64::try_from(now.sessions).unwrap_or(i64::MAX));
        self.0.oldest.set(number(now.oldest_queued.unwrap_or_default()));
        self.0.draining.set(i64::from(now.draining));
        for (directory, hung) in &now.directories {
            let directory = OfDirectory { directory: directory.display().to_string() };
            self.0.hung.get_or_create(&directory).set(i64::from(*hung));
        }
        for (directory, bytes) in &now.free {
            let directory = OfDirectory { directory: directory.display().to_string() };
            self.0.free.get_or_create(&directory).set(number(*bytes));
        }
        let Now { counts, servers, closed, .. } = now;
        for (state, count) in *counts {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            self.0.jobs.get_or_create(&OfState { state: state.as_str() }).set(count);
        }
        for (state, count) in &now.saves.saves {
            self.0.saves.get_or_create(&OfState { state: state.as_str() }).set(number(*count));
        }
        self.0.save_files.set(number(now.saves.queued_files));
        for server in servers {
            let reachable = i64::from(!closed.contains_key(*server));
            self.0.reachable.get_or_create(&OfServer { server: (*server).clone() }).set(reachable);
        }
        let mut text = String::new();
        encode(&mut text, &self.0.registry)?;
        Ok(text)
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Connection(Metrics);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.0.connections.dec();
    }
}
