//! `GET /v1/deletions`: which filesets were deleted in OMERO, by its own log of events. The log is OMERO's, so it tells also of
//! what was deleted while nobody asked; the caller keeps the cursor.

use super::maybe_word;
use crate::DeletedFileset;
use irods_omero_model::clock::UnixTime;
use irods_omero_model::names::{OmeroId, OmeroName};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// The query.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeletionsAfter {
    /// The cursor of the answer before; `None` asks only how far the log goes.
    pub after: Option<u64>,
    /// Which of the agent's OMERO servers is meant; `None` for its only one.
    #[serde(default, deserialize_with = "maybe_word")]
    pub server: Option<String>,
}

impl DeletionsAfter {
    /// The query of the address, with its question mark; empty where nothing is said.
    pub fn to_query(&self) -> String {
        let mut query = String::new();
        let mut add = |key: &str, value: &str| {
            let _ = write!(query, "{}{key}={value}", if query.is_empty() { '?' } else { '&' });
        };
        if let Some(after) = self.after {
            add("after", &after.to_string());
        }
        if let Some(server) = &self.server {
            add("server", &escaped(server));
        }
        query
    }
}

/// A text as it stands in a query: all but letters, digits and `-._~` as `%XX` (RFC 3986).
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletions {
    /// Up to where the log was read: `after` of the next question.
    pub cursor: u64,
    /// The filesets, in the order in which they were deleted.
    pub filesets: Vec<Deleted>,
    /// Whether there are more behind the cursor.
    pub more: bool,
}

/// A fileset that was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// Its id.
    pub fileset: OmeroId,
    /// The OMERO user who deleted it, if it is one that the caller may submit for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<OmeroName>,
    /// When, in seconds since 1970, by OMERO's clock.
    pub at: UnixTime,
}

impl Deletions {
    /// Says what was deleted. `may_know`: whether the caller may be told that it was somebody.
    pub fn of(deletions: crate::Deletions, may_know: impl Fn(&OmeroName) -> bool) -> Self {
        let one = |told: DeletedFileset| Deleted {
            fileset: told.fileset,
            by: told.by.filter(&may_know),
            at: told.at,
        };
        let filesets = deletions.filesets.into_iter().map(one).collect();
        Self { cursor: deletions.cursor, filesets, more: deletions.is_more }
    }

    /// What was deleted.
    pub fn into_deletions(self) -> crate::Deletions {
        let one = |told: Deleted| DeletedFileset { fileset: told.fileset, by: told.by, at: told.at };
        let filesets = self.filesets.into_iter().map(one).collect();
        crate::Deletions { cursor: self.cursor, filesets, is_more: self.more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{read, to_json};

    #[test]
    fn what_was_deleted_reads_back_and_names_only_whom_the_caller_may_know() {
        let one = |id: &str, by: &str| DeletedFileset {
            fileset: OmeroId::parse(id).unwrap(),
            by: OmeroName::parse(by).ok(),
            at: 7,
        };
        let told = crate::Deletions {
            cursor: 9,
            filesets: vec![one("5", "alice"), one("6", "boss")],
            is_more: true,
        };
        let all = Deletions::of(told.clone(), |_| true);
        assert_eq!(read::<Deletions>(&to_json(&all)).unwrap().into_deletions(), told);
        let some = Deletions::of(told, |name| name.as_str() == "alice").into_deletions();
        let by: Vec<_> = some.filesets.iter().map(|one| one.by.as_ref().map(OmeroName::as_str)).collect();
        assert_eq!(by, [Some("alice"), None]);
    }

    #[test]
    fn a_query_says_what_is_asked() {
        let query = |after, server: Option<&str>| {
            DeletionsAfter { after, server: server.map(str::to_owned) }.to_query()
        };
        assert_eq!(query(None, None), "");
        assert_eq!(query(Some(5), None), "?after=5");
        assert_eq!(query(Some(5), Some("a b&c")), "?after=5&server=a%20b%26c");
    }
}
