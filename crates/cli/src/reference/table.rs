//! The tables of the documents.

use super::meanings::{ATTRIBUTES, NEEDED, Shape};
use super::{Key, keys};
use crate::finding::Code;
use irods_omero_model::attributes::Attributes;
use irods_omero_model::form::Kind;
use serde_json::{Value, json};

/// Longest example that is shown, in characters.
const LONGEST_EXAMPLE: usize = 100;

/// The table of the keys directly in an object (the empty pointer for the stanza itself).
pub fn key_table(object: &str) -> String {
    let is_direct = |key: &Key| {
        let name = key.pointer.strip_prefix(object).and_then(|rest| rest.strip_prefix('/'));
        name.is_some_and(|name| !name.contains('/'))
    };
    let mut lines = vec![
        "| key | type | default | example | meaning | what is an error |".to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    for key in keys().iter().filter(|key| is_direct(key)) {
        let name = key.pointer.rsplit('/').next().unwrap_or_default();
        let cells = [type_of(key), default_of(key), example_of(key), key.meaning.meaning.clone()];
        lines.push(format!(
            "| `{name}` | {} | {} |",
            cells.map(|c| c.replace('|', "\\|")).join(" | "),
            key.meaning.error
        ));
    }
    lines.join("\n") + "\n"
}

/// The table of the AVUs.
pub fn attribute_table() -> String {
    let mut lines = vec![
        "| key | attribute | on | value | units | meaning | who may write it |".to_owned(),
        "|---|---|---|---|---|---|---|".to_owned(),
    ];
    let names = Attributes::default();
    let (reserved, keys) = (names.reserved(), keys());
    for (key, bearer, value, units, meaning) in ATTRIBUTES {
        let pointer = format!("/attributes/{key}");
        let name = keys.iter().find(|k| k.pointer == pointer).and_then(|k| match &k.kind {
            Kind::Text { default } => default.clone(),
            _ => None,
        });
        let name = name.unwrap_or_default();
        let writer = match (*key, reserved.contains(&name.as_str())) {
            ("user" | "group" | "on_behalf_of", _) => "administrators",
            (_, true) => "the plugin, administrators",
            (_, false) => "whoever may write metadata there",
        };
        lines.push(format!("| `{key}` | `{name}` | {bearer} | {value} | {units} | {meaning} | {writer} |"));
    }
    lines.join("\n") + "\n"
}

/// The table of what `irods-omero check` can find.
pub fn code_table() -> String {
    let row =
        |code: &Code| format!("| `{}` | {} | {} |\n", code.word(), code.severity().word(), code.meaning());
    "| code | severity | meaning |\n|---|---|---|\n".to_owned()
        + &Code::ALL.iter().map(row).collect::<String>()
}

/// What a key takes, in words.
fn type_of(key: &Key) -> String {
    match key.meaning.shape {
        Shape::AsRead => match &key.kind {
            Kind::Any => "see its meaning".to_owned(),
            Kind::Object | Kind::Map => "object".to_owned(),
            Kind::List => "list".to_owned(),
            Kind::Text { .. } => "text".to_owned(),
            Kind::Path => "path".to_owned(),
            Kind::Name => "name in OMERO".to_owned(),
            Kind::Flag { .. } => "`true` or `false`".to_owned(),
            Kind::Number { low, high, .. } => format!("{low} to {high}"),
            Kind::Choice { words, .. } => {
                words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ")
            }
        },
        Shape::Texts => "list of texts".to_owned(),
        Shape::Objects => "list of objects".to_owned(),
        Shape::TextsOrObjects => "list of texts or objects".to_owned(),
        Shape::TextOrTexts => "text or list of texts".to_owned(),
        Shape::MapOfTexts => "object of texts".to_owned(),
        Shape::MapOfTextsOrObjects => "object of texts or objects".to_owned(),
        Shape::Text => "text".to_owned(),
        Shape::Integer(low, high) => format!("{low} to {high}"),
    }
}

/// What holds without a key.
pub(super) fn default_value(key: &Key) -> Option<Value> {
    if !key.meaning.default.is_empty() {
        return None;
    }
    match &key.kind {
        Kind::Text { default } => default.as_ref().map(|d| json!(d)),
        Kind::Flag { default } => Some(json!(default)),
        Kind::Number { default, .. } => Some(json!(default)),
        Kind::Choice { default, .. } if !default.is_empty() => Some(json!(default)),
        Kind::Choice { .. } | Kind::Any | Kind::Object | Kind::Map | Kind::List | Kind::Path | Kind::Name => {
            None
        }
    }
}

fn default_of(key: &Key) -> String {
    match (default_value(key), key.meaning.default) {
        (Some(Value::String(text)), _) => format!("`{text}`"),
        (Some(value), _) => format!("`{value}`"),
        (None, NEEDED) => "**needed**".to_owned(),
        (None, words) => words.to_owned(),
    }
}

fn example_of(key: &Key) -> String {
    let text = key.example.to_string();
    let is_plain = !matches!(key.kind, Kind::Object);
    if is_plain && text.chars().count() <= LONGEST_EXAMPLE { format!("`{text}`") } else { String::new() }
}
