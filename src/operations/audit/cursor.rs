//! How far an audit has come, as a text that whoever asks hands back. Nothing of it is believed but where to go on.

use irods_omero_model::names::CollectionId;
use serde_json::{Value, json};

/// The longest cursor, in bytes.
const LONGEST: usize = 400;

/// Where an audit goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub(super) phase: Phase,
}

/// What is looked at next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// Data objects of the zone by their ids.
    Data {
        /// After this one.
        after: u64,
        /// How many ids the next question spans.
        span: u64,
    },
    /// Directories that are one image, by the ids of their collections.
    Directories {
        /// After this one.
        after: u64,
    },
    /// Filesets in OMERO, user by user.
    Omero {
        /// The user that was looked at last.
        user: Option<String>,
        /// That user's filesets after this one; 0: the next user's.
        after: u64,
    },
    /// Data objects of a tree.
    Tree {
        /// The collection; the uppermost if it is none.
        collection: Option<CollectionId>,
        /// Its data objects after this one.
        after: u64,
        /// How many ids the next question spans.
        span: u64,
    },
}

impl Cursor {
    pub(super) fn at(phase: Phase) -> Self {
        Self { phase }
    }

    /// From a text that an answer gave.
    pub fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok().filter(|_| text.len() <= LONGEST)?;
        let number = |key: &str| value.get(key).and_then(Value::as_u64);
        let word = |key: &str| value.get(key).and_then(Value::as_str);
        let after = number("after")?;
        // Ids are positive, and none is near the largest number.
        let after = Some(after).filter(|after| *after < i64::MAX.unsigned_abs())?;
        let span = || number("span").filter(|span| *span > 0);
        let phase = match word("phase")? {
            "data" => Phase::Data { after, span: span()?.min(super::WIDEST_SPAN) },
            "directories" => Phase::Directories { after },
            "omero" => Phase::Omero { user: word("user").map(str::to_owned), after },
            "tree" => {
                let collection = match value.get("collection") {
                    None | Some(Value::Null) => None,
                    Some(id) => Some(CollectionId::parse(id.as_str()?).ok()?),
                };
                Phase::Tree { collection, after, span: span()? }
            }
            _ => return None,
        };
        Some(Self { phase })
    }

    /// The text that [`Self::parse`] takes.
    pub fn text(&self) -> String {
        let value = match &self.phase {
            Phase::Data { after, span } => json!({"phase": "data", "after": after, "span": span}),
            Phase::Directories { after } => json!({"phase": "directories", "after": after}),
            Phase::Omero { user, after } => json!({"phase": "omero", "user": user, "after": after}),
            Phase::Tree { collection, after, span } => json!({
                "phase": "tree", "collection": collection.map(|id| id.to_string()), "after": after, "span": span,
            }),
        };
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_other_texts_are_none() {
        let collection = CollectionId::parse("10").ok();
        for phase in [
            Phase::Data { after: 7, span: 9 },
            Phase::Directories { after: 7 },
            Phase::Omero { user: None, after: 0 },
            Phase::Omero { user: Some("alice".to_owned()), after: 7 },
            Phase::Tree { collection: None, after: 0, span: u64::MAX },
            Phase::Tree { collection, after: 7, span: 9 },
        ] {
            let cursor = Cursor::at(phase);
            assert_eq!(Cursor::parse(&cursor.text()), Some(cursor));
        }
        for wrong in [
            "",
            "7",
            r#"{"phase":"data","after":7}"#,
            r#"{"phase":"data","after":7,"span":0}"#,
            r#"{"phase":"data","after":-1,"span":1}"#,
            r#"{"phase":"data","after":18446744073709551615,"span":1}"#,
            r#"{"phase":"tree","collection":"x","after":7,"span":1}"#,
            r#"{"phase":"other","after":7}"#,
        ] {
            assert_eq!(Cursor::parse(wrong), None, "{wrong}");
        }
    }
}
