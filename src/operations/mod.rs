//! Rule text addressed to us: JSON with an `operation`. It comes from clients (`irule -r INSTANCE`) and from the
//! delay server; what is not ours is declined quietly.

mod functions;
mod who;

pub use functions::Function;
pub use who::Who;

use crate::catalog::CatalogError;
use crate::names::CollectionId;
use serde_json::Value;

/// What a rule text asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Sweep one collection. Anybody may ask: it does what is to be done anyway.
    Sweep(CollectionId),
    /// Copy what OMERO cannot see in a collection to where it can. Anybody may ask, as above.
    Stage(CollectionId),
    /// Note that a collection, or all below it, holds something to look at. Anybody may ask, as above.
    Mark {
        /// The collection.
        collection: CollectionId,
        /// Whether all below it is meant.
        tree: bool,
    },
    /// Queue a sweep for every marked collection that has none. Anybody may ask, as above.
    SweepAll,
    /// Look at skipped data again. Anybody may ask, as above.
    SweepSkipped,
    /// As whom somebody's data would be imported, and why.
    Who(Who),
}

/// Why an operation was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// The client may not ask for it.
    #[error("{0}")]
    Refused(String),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// What a rule text turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// Not for us.
    NotOurs,
    /// For us, but wrong; the sentence names the place.
    Wrong(String),
    /// For us.
    Ours(Operation),
}

/// Longest rule text that is looked at, in bytes; `irule` takes 20 KiB.
const MAX_TEXT: usize = 64 << 10;

/// Reads a rule text.
pub fn read(text: &[u8]) -> Reading {
    let value = std::str::from_utf8(text).ok().filter(|t| t.len() <= MAX_TEXT).and_then(json_of);
    value.map_or(Reading::NotOurs, |value| read_json(&value))
}

/// Reads the JSON of a rule text, or what a function called by a policy asks for.
pub fn read_json(value: &Value) -> Reading {
    let Some(name) = value.get("operation").and_then(Value::as_str) else {
        return Reading::NotOurs;
    };
    match name {
        "sweep" => collection_of(value).map_or_else(Reading::Wrong, |id| Reading::Ours(Operation::Sweep(id))),
        "sweep_stage" => {
            collection_of(value).map_or_else(Reading::Wrong, |id| Reading::Ours(Operation::Stage(id)))
        }
        "mark" => {
            let tree = value.get("tree").and_then(Value::as_bool).unwrap_or(false);
            collection_of(value)
                .map_or_else(Reading::Wrong, |collection| Reading::Ours(Operation::Mark { collection, tree }))
        }
        "sweep_all" => Reading::Ours(Operation::SweepAll),
        "sweep_skipped" => Reading::Ours(Operation::SweepSkipped),
        "who" => match Who::read(value) {
            Ok(who) => Reading::Ours(Operation::Who(who)),
            Err(sentence) => Reading::Wrong(sentence),
        },
        _ => Reading::NotOurs,
    }
}

fn collection_of(value: &Value) -> Result<CollectionId, String> {
    match value.get("collection").and_then(Value::as_str).map(CollectionId::parse) {
        Some(Ok(id)) => Ok(id),
        Some(Err(e)) => Err(format!("/collection: {e}")),
        None => Err("/collection: is missing: give the id of a collection as text".to_owned()),
    }
}

/// The JSON within a rule text: alone, or wrapped as the server does (`@external rule { ... }`).
fn json_of(text: &str) -> Option<Value> {
    let text = text.trim();
    let text = text.strip_prefix("@external").map_or(text, str::trim);
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    let inner = text.strip_prefix("rule")?.trim().strip_prefix('{')?.strip_suffix('}')?;
    serde_json::from_str(inner.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_wrapping_is_taken_off() {
        let want = Reading::Ours(Operation::Sweep(CollectionId::parse("10").unwrap()));
        for text in [
            r#"{"operation":"sweep","collection":"10"}"#,
            r#"@external rule { {"operation":"sweep","collection":"10"} }"#,
            "@external\n{\"operation\":\"sweep\",\"collection\":\"10\"}",
        ] {
            assert_eq!(read(text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn what_is_not_ours_is_declined() {
        for text in ["", "{}", "writeLine(\"stdout\", 1);", "[]", "{\"operation\":\"tier\"}", "\u{0}"] {
            assert_eq!(read(text.as_bytes()), Reading::NotOurs, "{text}");
        }
        assert_eq!(read(b"\xff\xfe"), Reading::NotOurs);
    }

    #[test]
    fn a_wrong_field_is_named() {
        for (text, start) in [
            (r#"{"operation":"who","user":"alice"}"#, "/user: "),
            (r#"{"operation":"who","user":5}"#, "/user: "),
            (r#"{"operation":"who","path":"../x"}"#, "/path: "),
        ] {
            assert!(matches!(read(text.as_bytes()), Reading::Wrong(m) if m.starts_with(start)), "{text}");
        }
        for text in [r#"{"operation":"sweep"}"#, r#"{"operation":"sweep","collection":"x"}"#] {
            assert!(matches!(read(text.as_bytes()), Reading::Wrong(m) if m.starts_with("/collection")));
        }
    }
}
