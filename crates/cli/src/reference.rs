//! The reference of the configuration, derived from the reader: which keys there are, what each takes and what holds
//! without it is what the reader asks for while it reads an example that holds every key. What a key means is in
//! [`meanings`].

pub mod meanings;
mod schema;
mod table;

pub use schema::schema;
pub use table::{attribute_table, code_table, key_table};

use irods_omero_config::Config;
use irods_omero_model::form::{Asked, Kind};
use meanings::{MEANINGS, Meaning};
use serde_json::Value;
use std::collections::BTreeSet;

/// A stanza with every key, as `irods-omero config example` prints it.
pub const EXAMPLE: &str = include_str!("../../../packaging/example.json");

/// The same for imports by agents, as far as it is another.
pub const AGENT_EXAMPLE: &str = include_str!("../../../packaging/example-agent.json");

/// One key of the configuration.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its pointer below `plugin_specific_configuration`; `*` stands for a place in a list or a word of the site.
    pub pointer: String,
    /// What the reader takes.
    pub kind: Kind,
    /// What it means.
    pub meaning: Meaning,
    /// Its value in the example.
    pub example: Value,
}

/// The `plugin_specific_configuration` of every example; together they hold every key.
pub fn examples() -> Vec<Value> {
    let stanza = |text| serde_json::from_str::<Value>(text).unwrap_or_default();
    let configuration = |text| stanza(text).get("plugin_specific_configuration").cloned();
    [EXAMPLE, AGENT_EXAMPLE].into_iter().filter_map(configuration).collect()
}

/// What the reader asks for, each key once, with the most exact of what it takes; `*` as in [`Key`].
pub fn parsed() -> Vec<(String, Kind)> {
    let asked: Vec<Asked> = examples().iter().flat_map(Config::asked).collect();
    let maps: BTreeSet<String> = asked
        .iter()
        .filter(|a| a.kind == Kind::Map)
        .map(|a| generalised(&a.pointer, &BTreeSet::new()))
        .collect();
    let mut keys: Vec<(String, Kind)> = Vec::new();
    for Asked { pointer, kind } in asked {
        let pointer = generalised(&pointer, &maps);
        match keys.iter_mut().find(|(known, _)| *known == pointer) {
            Some((_, known)) if exactness(&kind) > exactness(known) => *known = kind,
            Some(_) => {}
            None => keys.push((pointer, kind)),
        }
    }
    keys
}

/// A pointer with `*` for the places in lists and for the keys of the objects named.
fn generalised(pointer: &str, maps: &BTreeSet<String>) -> String {
    pointer.split('/').skip(1).fold(String::new(), |above, word| {
        let is_place = maps.contains(&above) || word.bytes().all(|b| b.is_ascii_digit());
        format!("{above}/{}", if is_place { "*" } else { word })
    })
}

/// A key may be asked for more than once, first in general terms.
fn exactness(kind: &Kind) -> u8 {
    match kind {
        Kind::Any => 0,
        Kind::Text { default: None } => 1,
        Kind::Object | Kind::Map | Kind::List | Kind::Text { default: Some(_) } => 2,
        Kind::Path | Kind::Name | Kind::Flag { .. } | Kind::Number { .. } | Kind::Choice { .. } => 3,
    }
}

/// Every key in the order of its description. A key without a description, and a description without a key, are not
/// among them; a test sees to it that there are none.
pub fn keys() -> Vec<Key> {
    let (parsed, examples) = (parsed(), examples());
    let key = |meaning: Meaning| {
        let kind = parsed.iter().find(|(pointer, _)| *pointer == meaning.key)?.1.clone();
        let example = examples.iter().find_map(|e| value_at(e, &meaning.key)).cloned().unwrap_or_default();
        Some(Key { pointer: meaning.key.clone(), kind, meaning, example })
    };
    MEANINGS.iter().map(Meaning::from).chain(meanings::of_attributes()).filter_map(key).collect()
}

/// The first value at a pointer with `*`.
fn value_at<'v>(value: &'v Value, pointer: &str) -> Option<&'v Value> {
    let Some(rest) = pointer.strip_prefix('/') else {
        return Some(value);
    };
    let (word, rest) = rest.split_once('/').map_or((rest, String::new()), |(w, r)| (w, format!("/{r}")));
    match (word, value) {
        ("*", Value::Array(items)) => items.iter().find_map(|item| value_at(item, &rest)),
        ("*", Value::Object(map)) => map.values().find_map(|item| value_at(item, &rest)),
        (word, Value::Object(map)) => map.get(word).and_then(|item| value_at(item, &rest)),
        _ => None,
    }
}
