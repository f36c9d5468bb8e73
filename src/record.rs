//! What became of a data object: the AVUs that say so, read and written as one value.

use crate::catalog::UnixTime;
use crate::config::Attributes;
use crate::identity::OmeroIdentity;
use crate::names::OmeroId;
use std::fmt;

/// One AVU.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Triple {
    /// Attribute.
    pub attribute: String,
    /// Value.
    pub value: String,
    /// Units; empty for none.
    pub units: String,
}

impl Triple {
    /// An AVU from its three parts.
    pub fn new(attribute: &str, value: impl fmt::Display, units: impl fmt::Display) -> Self {
        Self { attribute: attribute.to_owned(), value: value.to_string(), units: units.to_string() }
    }
}

/// What the record says of a data object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// To be imported; the reason says what it waits for.
    Pending,
    /// The importer is at work.
    Importing,
    /// Images are in OMERO.
    Imported,
    /// Cannot be imported until the data or the target changes.
    Failed,
    /// Is not imported: no OMERO user, or no path the importer can see.
    Skipped,
    /// Changed in iRODS after the import.
    Stale,
    /// Removed before the import.
    Gone,
}

impl State {
    /// All states, in the order of a life.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Importing,
        Self::Imported,
        Self::Failed,
        Self::Skipped,
        Self::Stale,
        Self::Gone,
    ];

    /// The word in the AVU.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Importing => "importing",
            Self::Imported => "imported",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Stale => "stale",
            Self::Gone => "gone",
        }
    }

    /// From the word in the AVU.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

/// Which state of the bytes was imported: modify time and size of the replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
    /// Modify time of the replica.
    pub modify_time: UnixTime,
    /// Size in bytes.
    pub size: u64,
}

impl Version {
    /// From the value of the AVU, `modify time:size`.
    pub fn parse(text: &str) -> Option<Self> {
        let (time, size) = text.split_once(':')?;
        Some(Self { modify_time: time.parse().ok()?, size: size.parse().ok()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.modify_time, self.size)
    }
}

/// The record of one data object as it is in the catalog.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Every AVU of ours on the object.
    pub triples: Vec<Triple>,
}

impl Record {
    fn value(&self, attribute: &str) -> Option<&Triple> {
        self.triples.iter().find(|t| t.attribute == attribute)
    }

    /// The state, if there is one we know.
    pub fn state(&self, names: &Attributes) -> Option<State> {
        self.value(&names.state).and_then(|t| State::parse(&t.value))
    }

    /// How often the import was tried.
    pub fn attempts(&self, names: &Attributes) -> u32 {
        self.value(&names.state).and_then(|t| t.units.parse().ok()).unwrap_or(0)
    }

    /// The version the state is about.
    pub fn version(&self, names: &Attributes) -> Option<Version> {
        self.value(&names.version).and_then(|t| Version::parse(&t.value))
    }
}

/// What is in OMERO for a data object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The fileset.
    pub fileset: OmeroId,
    /// Its images.
    pub images: Vec<OmeroId>,
    /// Its plates.
    pub plates: Vec<OmeroId>,
    /// Whether this file is one of the others of a multi-file fileset, not its key file.
    pub is_member: bool,
    /// Whether the fileset was there before we imported.
    pub adopted: bool,
}

/// What is to be written about a data object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The importer starts.
    Importing,
    /// Images are in OMERO.
    Imported(Imported),
    /// Waits, and why.
    Pending(String),
    /// Given up, and why.
    Failed(String),
    /// Left alone, and why.
    Skipped(String),
    /// Changed after the import, and what to do.
    Stale(String),
}

impl Entry {
    /// The state of the entry.
    pub fn state(&self) -> State {
        match self {
            Self::Importing => State::Importing,
            Self::Imported(_) => State::Imported,
            Self::Pending(_) => State::Pending,
            Self::Failed(_) => State::Failed,
            Self::Skipped(_) => State::Skipped,
            Self::Stale(_) => State::Stale,
        }
    }
}

/// Longest AVU value that is written, in bytes; the column holds 2,700 characters.
const MAX_VALUE_BYTES: usize = 2_000;

/// The AVUs that say `entry`.
///
/// `server` is the OMERO server's name (units of its ids), `who` the identity used, `version` the bytes meant.
pub fn triples(
    names: &Attributes,
    entry: &Entry,
    attempts: u32,
    version: Option<Version>,
    server: &str,
    who: Option<&OmeroIdentity>,
) -> Vec<Triple> {
    let mut triples = vec![Triple::new(&names.state, entry.state().as_str(), attempts)];
    triples.extend(version.map(|v| Triple::new(&names.version, v, "")));
    if let Some(who) = who {
        let group = who.group.as_ref().map_or("", |g| g.as_str());
        triples.push(Triple::new(&names.owner, &who.user, group));
    }
    match entry {
        Entry::Importing => {}
        Entry::Imported(Imported { fileset, is_member: true, .. }) => {
            triples.push(Triple::new(&names.member_of, fileset, server));
        }
        Entry::Imported(imported) => {
            triples.push(Triple::new(&names.fileset, imported.fileset, server));
            triples.extend(imported.images.iter().map(|id| Triple::new(&names.image, id, server)));
            triples.extend(imported.plates.iter().map(|id| Triple::new(&names.plate, id, server)));
        }
        Entry::Pending(reason) | Entry::Failed(reason) | Entry::Skipped(reason) | Entry::Stale(reason) => {
            triples.push(Triple::new(&names.reason, sentence(reason), ""));
        }
    }
    triples
}

/// A reason as one line that fits an AVU.
pub fn sentence(reason: &str) -> String {
    let mut text: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.len() > MAX_VALUE_BYTES {
        let mut end = MAX_VALUE_BYTES;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    if text.trim().is_empty() { "no reason was given".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: &str) -> OmeroId {
        OmeroId::parse(n).unwrap()
    }

    #[test]
    fn a_record_reads_back_what_was_written() {
        let names = Attributes::default();
        let version = Version { modify_time: 1_700_000_000, size: 42 };
        let imported = Imported {
            fileset: id("5"),
            images: vec![id("7"), id("8")],
            plates: vec![],
            is_member: false,
            adopted: false,
        };
        let triples = triples(&names, &Entry::Imported(imported), 2, Some(version), "omero", None);
        let record = Record { triples };
        assert_eq!(record.state(&names), Some(State::Imported));
        assert_eq!(record.attempts(&names), 2);
        assert_eq!(record.version(&names), Some(version));
        assert_eq!(record.triples.iter().filter(|t| t.attribute == names.image).count(), 2);
    }

    #[test]
    fn a_member_names_its_fileset_only() {
        let names = Attributes::default();
        let imported = Imported {
            fileset: id("5"),
            images: vec![id("7")],
            plates: vec![],
            is_member: true,
            adopted: true,
        };
        let triples = triples(&names, &Entry::Imported(imported), 1, None, "omero", None);
        assert!(triples.iter().any(|t| t.attribute == names.member_of && t.value == "5"));
        assert!(!triples.iter().any(|t| t.attribute == names.fileset || t.attribute == names.image));
    }

    #[test]
    fn a_reason_is_one_line_that_fits() {
        assert_eq!(sentence("a\nb"), "a b");
        assert_eq!(sentence(""), "no reason was given");
        let long = sentence(&"ä".repeat(5_000));
        assert!(long.len() <= MAX_VALUE_BYTES + '…'.len_utf8());
    }

    #[test]
    fn every_state_has_its_own_word() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
        assert_eq!(State::parse("done"), None);
    }
}
