//! The agents together: which of them gets a batch, and what is known of those that cannot be reached.

use crate::follow::{Follow, Followed};
use crate::wire::{self, Changes, Job, Key, Submit};
use crate::{Deletions, FilesetToDelete, ImporterError};
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::{OmeroId, OmeroName};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// Why an agent did not do what was asked. Each is a sentence that names the agent and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// It did not take what it was asked for: it cannot be reached, or said no.
    #[error("{0}")]
    NotTaken(String),
    /// It may or may not have taken it: its answer did not arrive, or cannot be read.
    #[error("{0}")]
    Unclear(String),
    /// It said that the job cannot be imported as it is.
    #[error("{0}")]
    Refused(String),
    /// Its answer is longer than we take; fewer jobs have to be asked for.
    #[error("{0}")]
    TooLong(String),
}

/// One agent.
pub trait Agent {
    /// Its name.
    fn name(&self) -> &str;

    /// The job of that key; `None` if it has none.
    ///
    /// # Errors
    /// It did not answer.
    fn job(&self, key: &Key) -> Result<Option<Job>, AgentError>;

    /// Gives it a job. One it has already is answered as it is.
    ///
    /// # Errors
    /// It did not take it, or that is unclear.
    fn submit(&self, submit: &Submit) -> Result<Job, AgentError>;

    /// The jobs that it has not ended, of all zones that we may ask about.
    ///
    /// # Errors
    /// It did not answer.
    fn open(&self) -> Result<Vec<Job>, AgentError>;

    /// Has a job ended.
    ///
    /// # Errors
    /// It did not do it, or that is unclear.
    fn cancel(&self, job: &Job) -> Result<(), AgentError>;

    /// Has a job that has ended done once more.
    ///
    /// # Errors
    /// It did not take it, or that is unclear.
    fn retry(&self, job: &Job) -> Result<(), AgentError>;

    /// Has OMERO see the files of a fileset where they are now. Gives what became of each, in their order.
    ///
    /// # Errors
    /// It did not answer, or does not know how.
    fn follow(&self, _body: &wire::Follow) -> Result<Vec<Followed>, AgentError> {
        Err(AgentError::NotTaken(format!(
            "the agent '{}' cannot point OMERO's links to another place",
            self.name()
        )))
    }

    /// Tells it what the zone has not imported, for its page.
    ///
    /// # Errors
    /// It did not take it, or does not know how.
    fn tell_backlog(&self, _backlog: &wire::Backlog) -> Result<(), AgentError> {
        Err(AgentError::NotTaken(format!(
            "the agent '{}' has no page for what the zone holds back",
            self.name()
        )))
    }

    /// Which of some filesets are in OMERO.
    ///
    /// # Errors
    /// It did not answer, or does not know how.
    fn look(&self, _body: &wire::FilesetsLook) -> Result<BTreeSet<OmeroId>, AgentError> {
        Err(AgentError::NotTaken(format!("the agent '{}' cannot look for filesets", self.name())))
    }

    /// Has filesets deleted in OMERO. Gives those that were left, each with the reason.
    ///
    /// # Errors
    /// It did not answer, or does not know how. Some may be gone.
    fn delete(&self, _body: &wire::FilesetsDelete) -> Result<BTreeMap<OmeroId, String>, AgentError> {
        Err(AgentError::NotTaken(format!("the agent '{}' cannot delete filesets", self.name())))
    }

    /// The filesets that were deleted in OMERO since its log of events was last read up to a cursor.
    ///
    /// # Errors
    /// It did not answer, or does not know how.
    fn deletions(&self, _after: Option<u64>, _server: Option<&str>) -> Result<Deletions, AgentError> {
        Err(AgentError::NotTaken(format!("the agent '{}' cannot read OMERO's log of events", self.name())))
    }

    /// The jobs that changed after a cursor, at most `limit` of them, the longest unchanged first. A cursor in the
    /// answer below that in the question says that the agent has begun anew.
    ///
    /// # Errors
    /// It did not answer.
    fn changes(&self, after: u64, limit: usize) -> Result<Changes, AgentError>;
}

/// All agents of the configuration.
pub struct Agents<'a> {
    members: Vec<Box<dyn Agent + 'a>>,
    server: Option<&'a str>,
    /// For how long one may be out of reach before another does its work.
    fallback_after: Duration,
    /// Those that did not answer since we began, and why: they are waited for once.
    silent: RefCell<HashMap<String, String>>,
}

impl<'a> Agents<'a> {
    /// These agents, whose OMERO server has that name.
    pub fn new(members: Vec<Box<dyn Agent + 'a>>, server: Option<&'a str>, fallback_after: Duration) -> Self {
        Self { members, server, fallback_after, silent: RefCell::default() }
    }

    /// Name of the OMERO server; empty where the agents have only one.
    pub fn server(&self) -> &str {
        self.server.unwrap_or_default()
    }

    /// The OMERO server to name to the agents; `None` where they have only one.
    pub fn wanted_server(&self) -> Option<&str> {
        self.server
    }

    /// For how long an agent may be out of reach before another does its work.
    pub fn fallback_after(&self) -> Duration {
        self.fallback_after
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &dyn Agent> {
        self.members.iter().map(|agent| &**agent as &dyn Agent)
    }

    /// The agent of that name.
    pub fn get(&self, name: &str) -> Option<&dyn Agent> {
        self.all().find(|agent| agent.name() == name)
    }

    /// Has OMERO see the files of a fileset where they are now, by the first agent that does it.
    ///
    /// # Errors
    /// None does; a sentence that says why.
    pub fn follow(&self, zone: &str, follow: &Follow) -> Result<Vec<Followed>, String> {
        let body = wire::Follow::new(zone, self.wanted_server(), follow);
        let done = self.first(&follow.identity.user, "follow", |agent| match agent.follow(&body) {
            Ok(outcomes) if outcomes.len() != follow.files.len() => Err(AgentError::Unclear(format!(
                "the agent '{}' did not say what became of each file",
                agent.name()
            ))),
            answer => answer,
        });
        done.map_err(|error| error.to_string())
    }

    /// Which of some filesets are in OMERO, as far as a user sees them.
    ///
    /// # Errors
    /// None can be asked: nothing is known of them.
    pub fn present(
        &self,
        zone: &str,
        identity: &OmeroIdentity,
        ids: &BTreeSet<OmeroId>,
    ) -> Result<BTreeSet<OmeroId>, ImporterError> {
        let all: Vec<OmeroId> = ids.iter().copied().collect();
        let mut present = BTreeSet::new();
        for some in all.chunks(wire::MAX_LOOKED_FOR) {
            let body = wire::FilesetsLook::new(zone, self.wanted_server(), identity, some);
            present.extend(self.first(&identity.user, "look", |agent| agent.look(&body))?);
        }
        Ok(present)
    }

    /// Deletes filesets with the rights of a user. Gives those that were left, each with the reason.
    ///
    /// # Errors
    /// None can be asked. Some may be gone.
    pub fn delete(
        &self,
        zone: &str,
        identity: &OmeroIdentity,
        filesets: &[FilesetToDelete],
    ) -> Result<BTreeMap<OmeroId, String>, ImporterError> {
        let mut left = BTreeMap::new();
        for some in filesets.chunks(wire::MAX_DELETED) {
            let body = wire::FilesetsDelete::new(zone, self.wanted_server(), identity, some);
            left.extend(self.first(&identity.user, "delete", |agent| agent.delete(&body))?);
        }
        Ok(left)
    }

    /// The filesets that were deleted in OMERO since its log of events was last read up to a cursor; without one only how far
    /// it goes. All agents tell of the same log.
    ///
    /// # Errors
    /// None can be asked: nothing is known of them.
    pub fn deletions(&self, after: Option<u64>) -> Result<Deletions, ImporterError> {
        let server = self.wanted_server();
        self.first_of(self.all().collect(), "deletions", |agent| agent.deletions(after, server))
    }

    /// The answer of the first agent that gives one, in the order of a user.
    fn first<T>(
        &self,
        user: &OmeroName,
        act: &str,
        ask: impl Fn(&dyn Agent) -> Result<T, AgentError>,
    ) -> Result<T, ImporterError> {
        let mut agents: Vec<&dyn Agent> = self.all().collect();
        agents.sort_by_key(|agent| std::cmp::Reverse(weight(agent.name(), user)));
        self.first_of(agents, act, ask)
    }

    fn first_of<T>(
        &self,
        agents: Vec<&dyn Agent>,
        act: &str,
        ask: impl Fn(&dyn Agent) -> Result<T, AgentError>,
    ) -> Result<T, ImporterError> {
        let (mut whys, mut is_refused) = (Vec::new(), true);
        for agent in agents {
            if let Some(why) = self.silent.borrow().get(agent.name()) {
                is_refused = false;
                whys.push(why.clone());
                continue;
            }
            match ask(agent) {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    log::warn!("act={act} agent={} failed=\"{error}\"", agent.name());
                    is_refused &= matches!(error, AgentError::Refused(_));
                    whys.push(error.to_string());
                }
            }
        }
        let why = whys.join("; ");
        Err(if is_refused { ImporterError::Refused(why) } else { ImporterError::WillPass(why) })
    }

    /// The agent that is to have a user's job: the same for all jobs of a user, so that their order and OMERO's
    /// sessions are in one hand, unless that one cannot be reached.
    ///
    /// # Errors
    /// None can be reached; a sentence that says why.
    pub fn choose(&self, user: &OmeroName, key: &Key) -> Result<&dyn Agent, String> {
        let mut agents: Vec<&dyn Agent> = self.all().collect();
        agents.sort_by_key(|agent| std::cmp::Reverse(weight(agent.name(), user)));
        let mut whys = Vec::new();
        for agent in agents {
            if let Some(why) = self.silent.borrow().get(agent.name()) {
                whys.push(why.clone());
                continue;
            }
            // A question that costs nothing tells whether it is there and believes us.
            match agent.job(key) {
                Ok(_) => return Ok(agent),
                Err(error) => {
                    log::warn!("act=choose agent={} failed=\"{error}\"", agent.name());
                    self.silent.borrow_mut().insert(agent.name().to_owned(), error.to_string());
                    whys.push(error.to_string());
                }
            }
        }
        Err(whys.join("; "))
    }
}

/// Rendezvous hashing: each user has an order of the agents of its own, and an agent that comes or goes moves no user
/// between the others.
fn weight(agent: &str, user: &OmeroName) -> [u8; 32] {
    let text = format!("{agent}\0{user}");
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let mut weight = [0; 32];
    weight.copy_from_slice(digest.as_ref());
    weight
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named(&'static str, bool);

    impl Agent for Named {
        fn name(&self) -> &str {
            self.0
        }
        fn job(&self, _: &Key) -> Result<Option<Job>, AgentError> {
            if self.1 { Ok(None) } else { Err(AgentError::NotTaken(format!("'{}' is down", self.0))) }
        }
        fn submit(&self, _: &Submit) -> Result<Job, AgentError> {
            Err(AgentError::NotTaken(String::new()))
        }
        fn open(&self) -> Result<Vec<Job>, AgentError> {
            Ok(Vec::new())
        }
        fn cancel(&self, _: &Job) -> Result<(), AgentError> {
            Ok(())
        }
        fn retry(&self, _: &Job) -> Result<(), AgentError> {
            Ok(())
        }
        fn changes(&self, after: u64, _: usize) -> Result<Changes, AgentError> {
            Ok(Changes { cursor: after, jobs: Vec::new() })
        }
    }

    fn agents(names: &[(&'static str, bool)]) -> Agents<'static> {
        let boxed = |(name, up): &(&'static str, bool)| Box::new(Named(name, *up)) as Box<dyn Agent>;
        Agents::new(names.iter().map(boxed).collect(), None, Duration::ZERO)
    }

    fn chosen(agents: &Agents<'_>, user: &str) -> Result<String, String> {
        let key = Key::parse("k").unwrap();
        agents.choose(&OmeroName::parse(user).unwrap(), &key).map(|a| a.name().to_owned())
    }

    #[test]
    fn users_are_spread_and_an_agent_that_goes_moves_only_its_own() {
        let (all, fewer) = (
            agents(&[("a", true), ("b", true), ("c", true)]),
            agents(&[("c", true), ("a", true), ("b", false)]),
        );
        let mut counts: HashMap<String, usize> = HashMap::new();
        for i in 0..300 {
            let user = format!("user{i}");
            let (with, without) = (chosen(&all, &user).unwrap(), chosen(&fewer, &user).unwrap());
            assert!(without == with || with == "b", "{user} moved from {with} to {without}");
            *counts.entry(with).or_default() += 1;
        }
        assert!(counts.len() == 3 && counts.values().all(|n| *n > 60), "{counts:?}");
    }

    #[test]
    fn where_none_answers_all_are_named() {
        let why = chosen(&agents(&[("a", false), ("b", false)]), "alice").unwrap_err();
        assert!(why.contains("'a' is down") && why.contains("'b' is down"), "{why}");
    }
}
