//! The reference as a JSON Schema, for editors.

use super::meanings::{NEEDED, Shape};
use super::table::default_value;
use super::{EXAMPLE, Key, keys};
use crate::server_config::PLUGIN;
use irods_omero_model::form::Kind;
use serde_json::{Map, Value, json};

/// The schema (draft 2020-12) of the stanza that `irods-omero config example` prints and `omero-stanza insert` takes.
pub fn schema() -> Value {
    let keys = keys();
    let example: Value = serde_json::from_str(EXAMPLE).unwrap_or_default();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Stanza of irods_rule_engine_plugin-omero in server_config.json",
        "type": "object",
        "required": ["instance_name", "plugin_name", "plugin_specific_configuration"],
        "properties": {
            "instance_name": {"type": "string", "minLength": 1, "default": example["instance_name"],
                              "description": "the same on every server of the zone"},
            "plugin_name": {"const": PLUGIN},
            "plugin_specific_configuration": object(&keys, ""),
        },
    })
}

/// The object at a pointer with the keys directly in it.
fn object(keys: &[Key], pointer: &str) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for key in keys {
        let name = key.pointer.strip_prefix(pointer).and_then(|rest| rest.strip_prefix('/'));
        let Some(name) = name.filter(|name| !name.contains('/')) else {
            continue;
        };
        properties.insert(name.to_owned(), property(keys, key));
        if key.meaning.default == NEEDED {
            required.push(name);
        }
    }
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn property(keys: &[Key], key: &Key) -> Value {
    let mut schema = shape(keys, key);
    schema["description"] = json!(key.meaning.meaning);
    if let Some(default) = default_value(key) {
        schema["default"] = default;
    }
    schema["examples"] = json!([key.example]);
    schema
}

fn shape(keys: &[Key], key: &Key) -> Value {
    let text = json!({"type": "string", "minLength": 1});
    let items = format!("{}/*", key.pointer);
    match key.meaning.shape {
        Shape::AsRead => as_read(keys, key),
        Shape::Text => text,
        Shape::Texts => json!({"type": "array", "items": text}),
        Shape::Objects => json!({"type": "array", "items": object(keys, &items)}),
        Shape::TextsOrObjects => json!({"type": "array", "items": {"anyOf": [text, object(keys, &items)]}}),
        Shape::TextOrTexts => json!({"anyOf": [text, {"type": "array", "items": text, "minItems": 1}]}),
        Shape::MapOfTexts => json!({"type": "object", "additionalProperties": text}),
        Shape::MapOfTextsOrObjects => {
            json!({"type": "object", "additionalProperties": {"anyOf": [text, object(keys, &items)]}})
        }
        Shape::Integer(low, high) => whole_number(&json!(low), &json!(high)),
    }
}

fn as_read(keys: &[Key], key: &Key) -> Value {
    match &key.kind {
        Kind::Any => json!({}),
        Kind::Object => object(keys, &key.pointer),
        Kind::Map => json!({"type": "object"}),
        Kind::List => json!({"type": "array"}),
        Kind::Text { .. } => json!({"type": "string", "minLength": 1}),
        Kind::Path => json!({"type": "string", "pattern": "^/"}),
        Kind::Name => json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^-]"}),
        Kind::Flag { .. } => json!({"type": "boolean"}),
        Kind::Number { low, high, .. } => whole_number(&json!(low), &json!(high)),
        Kind::Choice { words, .. } => json!({"enum": words}),
    }
}

/// A number, or a text of digits, as in iRODS's own configuration.
fn whole_number(low: &Value, high: &Value) -> Value {
    json!({"type": ["integer", "string"], "minimum": low, "maximum": high, "pattern": "^ *-?[0-9]+ *$"})
}
