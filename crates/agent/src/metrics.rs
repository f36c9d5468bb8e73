//! What Prometheus is told.

use crate::queue::Counts;
use irods_omero_importer::wire::{Became, JobState, Outcome};
use irods_omero_model::clock::UnixTime;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    state: &'static str,
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
    ended: Family<OfState, Counter>,
    files: Family<OfOutcome, Counter>,
    reachable: Family<OfServer, Gauge>,
    requests: Family<OfAnswer, Counter>,
    seconds: Histogram,
    connections: Gauge,
    sessions: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("irods_omero_agent");
        let (jobs, ended, files) = (Family::default(), Family::default(), Family::default());
        let (reachable, requests) = (Family::default(), Family::default());
        let (connections, sessions) = (Gauge::default(), Gauge::default());
        // From one second to a day and a half.
        let seconds = Histogram::new(exponential_buckets(1.0, 2.0, 18));
        registry.register("jobs", "Jobs in the queue by state", Family::clone(&jobs));
        registry.register("runs", "Runs of jobs that ended, by the state after", Family::clone(&ended));
        registry.register("files", "Files of jobs that are done, by outcome", Family::clone(&files));
        registry.register("omero_reachable", "Whether OMERO can be reached", Family::clone(&reachable));
        registry.register("requests", "Requests answered", Family::clone(&requests));
        registry.register_with_unit("run", "Length of a run", Unit::Seconds, seconds.clone());
        registry.register("connections", "Open connections", connections.clone());
        registry.register("omero_sessions", "Open sessions in OMERO", sessions.clone());
        Self(Arc::new(Inner {
            registry,
            jobs,
            ended,
            files,
            reachable,
            requests,
            seconds,
            connections,
            sessions,
        }))
    }
}

impl Metrics {
    /// A run has ended.
    pub fn ended(&self, state: JobState, seconds: Option<UnixTime>) {
        self.0.ended.get_or_create(&OfState { state: state.as_str() }).inc();
        if let Some(seconds) = seconds.and_then(|s| u32::try_from(s).ok()) {
            self.0.seconds.observe(seconds.into());
        }
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
    pub fn text<'s>(
        &self,
        counts: &Counts,
        servers: impl Iterator<Item = &'s String>,
        closed: &BTreeSet<String>,
        sessions: usize,
    ) -> Result<String, std::fmt::Error> {
        self.0.sessions.set(i64::try_from(sessions).unwrap_or(i64::MAX));
        for (state, count) in counts {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            self.0.jobs.get_or_create(&OfState { state: state.as_str() }).set(count);
        }
        for server in servers {
            let reachable = i64::from(!closed.contains(server));
            self.0.reachable.get_or_create(&OfServer { server: server.clone() }).set(reachable);
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
