//! `POST /v1/backlog`: what iRODS has not imported and why, for the agent's page.

use super::{Problem, problem, read, to_json, word};
use irods_omero_model::clock::UnixTime;
use irods_omero_model::names::LogicalPath;
use irods_omero_model::record::State;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most rows of one backlog.
pub const MAX_HELD: usize = 500;

/// The longest reason, in bytes.
pub const MAX_REASON_BYTES: usize = 1_000;

/// The body: the backlog of one zone. It takes the place of the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backlog {
    /// The zone.
    #[serde(deserialize_with = "word")]
    pub zone: String,
    /// When the catalog was read.
    pub at: UnixTime,
    /// How many data objects and directories have a record of each state, by the state's word.
    pub states: BTreeMap<String, u64>,
    /// Data with a reason, by cause, reason and collection; at most [`MAX_HELD`] rows.
    pub held: Vec<Held>,
    /// Whether there are more rows than these.
    pub is_cut: bool,
}

/// Data in one collection that is held back for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// The word of the cause; empty while the data waits to be tried again.
    pub cause: String,
    /// The sentence.
    pub reason: String,
    /// The collection that holds the data, or the directory itself.
    pub collection: LogicalPath,
    /// How many data objects or directories.
    pub objects: u64,
}

impl Backlog {
    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong first, with its JSON pointer.
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        let backlog: Self = read(body)?;
        if backlog.held.len() > MAX_HELD {
            return Err(problem("/held", format!("must be {MAX_HELD} rows at most")));
        }
        if let Some(word) = backlog.states.keys().find(|word| State::parse(word).is_none()) {
            return Err(problem("/states", format!("'{}' is no state", word.escape_debug())));
        }
        for (i, held) in backlog.held.iter().enumerate() {
            if held.cause.len() > 64 {
                return Err(problem(&format!("/held/{i}/cause"), "is longer than 64 bytes".to_owned()));
            }
            if held.reason.len() > MAX_REASON_BYTES {
                let why = format!("is longer than {MAX_REASON_BYTES} bytes");
                return Err(problem(&format!("/held/{i}/reason"), why));
            }
        }
        Ok(backlog)
    }

    /// The body.
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backlog(held: Vec<Held>) -> Backlog {
        let states = BTreeMap::from([("skipped".to_owned(), 3)]);
        Backlog { zone: "z".to_owned(), at: 7, states, held, is_cut: false }
    }

    fn held(reason: String) -> Held {
        let collection = LogicalPath::parse(b"/z/home/a").unwrap();
        Held { cause: "mapping".to_owned(), reason, collection, objects: 3 }
    }

    #[test]
    fn a_backlog_reads_back() {
        let one = backlog(vec![held("alice has no OMERO user".to_owned())]);
        assert_eq!(Backlog::read(&one.to_json()).unwrap(), one);
    }

    #[test]
    fn what_is_too_much_or_no_state_is_refused_with_its_place() {
        let pointer = |backlog: &Backlog| Backlog::read(&backlog.to_json()).unwrap_err().pointer;
        assert_eq!(pointer(&backlog(vec![held(String::new()); MAX_HELD + 1])), "/held");
        assert_eq!(pointer(&backlog(vec![held("x".repeat(MAX_REASON_BYTES + 1))])), "/held/0/reason");
        let cause = Held { cause: "y".repeat(65), ..held(String::new()) };
        assert_eq!(pointer(&backlog(vec![cause])), "/held/0/cause");
        let mut other = backlog(Vec::new());
        other.states.insert("<b>".to_owned(), 1);
        assert_eq!(pointer(&other), "/states");
    }
}
