//! What a metadata operation changed on data objects and collections.

use super::{Argument, json};
use irods_omero_model::event::Event;
use irods_omero_model::names::NameError;
use serde_json::Value;

/// What bears the AVU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearer {
    /// A data object.
    DataObject,
    /// A collection.
    Collection,
}

impl Bearer {
    /// From the kind as `imeta` (`-d`, `-C`) or an atomic request names it; `None` for users, resources and groups.
    fn of(kind: &[u8]) -> Option<Self> {
        match kind {
            b"-d" | b"-D" | b"data_object" => Some(Self::DataObject),
            b"-c" | b"-C" | b"collection" => Some(Self::Collection),
            _ => None,
        }
    }

    /// The kind as `imeta` names it.
    pub fn kind(self) -> &'static [u8] {
        match self {
            Self::DataObject => b"-d",
            Self::Collection => b"-C",
        }
    }
}

/// One change.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// What bears the AVU.
    pub bearer: Bearer,
    /// Its path, as the client wrote it.
    pub name: &'a [u8],
    /// What happened.
    pub what: What<'a>,
}

/// What happened to an AVU.
#[derive(Debug, Clone, Copy)]
pub enum What<'a> {
    /// It is there now.
    Set {
        /// Its attribute.
        attribute: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
    /// It is gone.
    Removed {
        /// Its attribute.
        attribute: &'a [u8],
    },
    /// One that the client named by its number is gone.
    RemovedByNumber,
    /// All AVUs of something else are there now.
    Copied,
}

/// Calls `read` for every change of a metadata operation and gives all the events. What cannot be read has been refused
/// by the server, and changed nothing.
///
/// # Errors
/// The first of `read`.
pub fn changes(
    argument: &Argument<'_>,
    mut read: impl FnMut(&Change<'_>) -> Result<Vec<Event>, NameError>,
) -> Result<Vec<Event>, NameError> {
    let mut events = Vec::new();
    match argument {
        Argument::Avu(words) => {
            for change in by_words(words) {
                events.extend(read(&change)?);
            }
        }
        Argument::Json(request) => {
            let Ok(request) = json(request) else { return Ok(events) };
            for change in by_request(&request) {
                events.extend(read(&change)?);
            }
        }
        _ => {}
    }
    Ok(events)
}

/// `ModifyAVUMetadataInput`; for its words see the guard.
fn by_words<'a>(words: &[&'a [u8]; 9]) -> Vec<Change<'a>> {
    let [operation, kind, name, attribute, value, more @ ..] = *words;
    let is_copy = operation == b"cp";
    let (kind, name) = if is_copy { (name, value) } else { (kind, name) };
    let Some(bearer) = Bearer::of(kind) else {
        return Vec::new();
    };
    let new = |letter: &[u8], old| more.iter().find_map(|w| w.strip_prefix(letter)).unwrap_or(old);
    let whats = match operation {
        b"cp" => vec![What::Copied],
        b"rmi" => vec![What::RemovedByNumber],
        b"rm" => vec![What::Removed { attribute }],
        b"mod" if new(b"n:", attribute) != attribute => {
            let set = What::Set { attribute: new(b"n:", attribute), value: new(b"v:", value) };
            vec![What::Removed { attribute }, set]
        }
        b"mod" => vec![What::Set { attribute, value: new(b"v:", value) }],
        _ => vec![What::Set { attribute, value }],
    };
    whats.into_iter().map(|what| Change { bearer, name, what }).collect()
}

/// `rc_atomic_apply_metadata_operations`.
fn by_request(request: &Value) -> Vec<Change<'_>> {
    let bearer = text_of(request, "entity_type").and_then(Bearer::of);
    let (Some(bearer), Some(name)) = (bearer, text_of(request, "entity_name")) else {
        return Vec::new();
    };
    let operations = request.get("operations").and_then(Value::as_array).into_iter().flatten();
    let change = |operation| {
        let attribute = text_of(operation, "attribute")?;
        let what = match text_of(operation, "operation")? {
            b"remove" => What::Removed { attribute },
            _ => What::Set { attribute, value: text_of(operation, "value").unwrap_or_default() },
        };
        Some(Change { bearer, name, what })
    };
    operations.filter_map(change).collect()
}

fn text_of<'a>(value: &'a Value, key: &str) -> Option<&'a [u8]> {
    value.get(key).and_then(Value::as_str).map(str::as_bytes)
}

/// The parts of `iput --metadata`: `attribute;value;units;attribute;value;units...`, where a backslash takes away the
/// meaning of the character after it, whatever that is (`irods::deserialize_list`). One part is held at a time.
pub fn carried(metadata: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let mut rest = Some(metadata);
    std::iter::from_fn(move || {
        let mut bytes = rest.take()?;
        let mut part = Vec::new();
        while let [byte, after @ ..] = bytes {
            bytes = after;
            match byte {
                b';' => {
                    rest = Some(bytes);
                    break;
                }
                b'\\' => {
                    if let [meant, after @ ..] = bytes {
                        part.push(*meant);
                        bytes = after;
                    }
                }
                other => part.push(*other),
            }
        }
        Some(part)
    })
}
