//! The reference of the configuration is what the reader asks for, and the documents show it.
//!
//! `WRITE_DOCS=1 cargo test -p irods-omero --test reference` writes the tables into the documents.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod line;

use irods_omero_cli::check::PATHS;
use irods_omero_cli::reference::{
    Key, attribute_table, code_table, examples, key_table, keys, meanings, parsed, schema,
};
use irods_omero_config::Config;
use irods_omero_model::attributes::Attributes;
use irods_omero_model::form::Kind;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_key_the_reader_asks_for_is_described_and_every_described_key_is_asked_for() {
    let asked: BTreeSet<String> = parsed().into_iter().map(|(pointer, _)| pointer).collect();
    let described: Vec<String> = meanings::MEANINGS
        .iter()
        .map(|(key, ..)| (*key).to_owned())
        .chain(meanings::of_attributes().map(|m| m.key))
        .collect();
    assert_eq!(described.len(), described.iter().collect::<BTreeSet<_>>().len(), "a key is described twice");
    assert_eq!(asked, described.into_iter().collect::<BTreeSet<_>>());
}

#[test]
fn the_example_holds_every_key_and_is_right() {
    for example in examples() {
        Config::parse(&example).unwrap();
    }
    let absent: Vec<String> = keys().into_iter().filter(|k| k.example.is_null()).map(|k| k.pointer).collect();
    assert_eq!(absent, Vec::<String>::new());
    let printed: Value = serde_json::from_str(&line::text(&["config", "example"])).unwrap();
    assert_eq!(printed["plugin_specific_configuration"], examples()[0]);
}

#[test]
fn what_is_said_to_be_needed_is_missed_by_the_reader() {
    for key in keys().into_iter().filter(is_needed) {
        let (object, name) = key.pointer.rsplit_once('/').unwrap();
        let is_missed = examples().into_iter().any(|mut example| {
            let Some((at, object)) =
                objects(&mut example, object).into_iter().find(|(_, o)| o.contains_key(name))
            else {
                return false;
            };
            object.remove(name);
            let place = format!("{at}/{name}");
            Config::parse(&example).is_err_and(|problems| problems.iter().any(|p| p.pointer == place))
        });
        assert!(is_missed, "{}", key.pointer);
    }
}

fn is_needed(key: &Key) -> bool {
    [meanings::NEEDED, meanings::NEEDED_WITH_COMMAND].contains(&key.meaning.default)
}

/// The objects at a pointer with `*`, each with its own pointer.
fn objects<'v>(value: &'v mut Value, pointer: &str) -> Vec<(String, &'v mut serde_json::Map<String, Value>)> {
    let mut found = vec![(String::new(), value)];
    for word in pointer.split('/').skip(1) {
        found = found
            .into_iter()
            .flat_map(|(at, value)| -> Vec<(String, &mut Value)> {
                match value {
                    Value::Array(items) => {
                        items.iter_mut().enumerate().map(|(i, v)| (format!("{at}/{i}"), v)).collect()
                    }
                    Value::Object(map) => {
                        let meant = map.iter_mut().filter(|(k, _)| word == "*" || *k == word);
                        meant.map(|(k, v)| (format!("{at}/{k}"), v)).collect()
                    }
                    _ => Vec::new(),
                }
            })
            .collect();
    }
    found.into_iter().filter_map(|(at, v)| Some((at, v.as_object_mut()?))).collect()
}

#[test]
fn check_looks_at_every_key_that_is_a_path_of_the_host() {
    let paths: BTreeSet<String> =
        parsed().into_iter().filter(|(_, kind)| *kind == Kind::Path).map(|(pointer, _)| pointer).collect();
    assert_eq!(paths, PATHS.iter().map(|(pattern, _)| (*pattern).to_owned()).collect());
}

#[test]
fn the_documents_show_the_keys_as_they_are() {
    let tables = |name: &str| match name.strip_prefix("keys of ") {
        Some("the stanza") => Some(key_table("")),
        Some(object) => Some(key_table(object)),
        None => None,
    };
    let shown = generated("docs/configuration.md", "end of keys", tables);
    let objects: BTreeSet<String> =
        keys().iter().map(|k| k.pointer.rsplit_once('/').unwrap().0.to_owned()).collect();
    let shown: BTreeSet<String> =
        shown.iter().map(|name| name["keys of ".len()..].replace("the stanza", "")).collect();
    assert_eq!(shown, objects, "objects with a table");
}

#[test]
fn the_documents_show_the_avus_as_the_code_names_them() {
    generated("docs/attributes.md", "end of attributes", |name| (name == "attributes").then(attribute_table));
    let table = attribute_table();
    let names = Attributes::default();
    let all: BTreeSet<&str> = names.reserved().into_iter().chain([names.import.as_str()]).collect();
    let shown: BTreeSet<&str> = table.lines().skip(2).map(|line| line.split('`').nth(3).unwrap()).collect();
    assert_eq!(shown, all);
}

#[test]
fn the_documents_show_everything_that_check_can_find() {
    let names =
        generated("docs/troubleshooting.md", "end of codes", |name| (name == "codes").then(code_table));
    assert_eq!(names, ["codes"]);
}

/// Compares what stands between `<!-- NAME -->` and `<!-- END -->` with what is to stand there, or writes it. Gives the
/// names.
fn generated(document: &str, end: &str, text: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let path = root().join(document);
    let before = fs::read_to_string(&path).unwrap();
    let (mut after, mut names) = (String::new(), Vec::new());
    let mut rest = before.as_str();
    while let Some((head, tail)) = rest.split_once("<!-- ") {
        let (name, tail) = tail.split_once(" -->\n").unwrap();
        after.push_str(head);
        match text(name) {
            Some(text) => {
                after.extend(["<!-- ", name, " -->\n", &text, "<!-- ", end, " -->"]);
                rest = tail.split_once(&format!("<!-- {end} -->")).unwrap().1;
                names.push(name.to_owned());
            }
            None => panic!("{document}: nothing is known of '{name}'"),
        }
    }
    after.push_str(rest);
    if std::env::var_os("WRITE_DOCS").is_some() {
        fs::write(&path, &after).unwrap();
    } else {
        assert!(before == after, "{document} is out of date: run this test with WRITE_DOCS=1");
    }
    names
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_schema_takes_the_example_and_nothing_the_reader_would_not_take() {
    let schema: Value = serde_json::from_str(&line::text(&["config", "schema"])).unwrap();
    assert_eq!(schema, irods_omero_cli::reference::schema());
    let example: Value = serde_json::from_str(&line::text(&["config", "example"])).unwrap();
    assert_eq!(wrong(&schema, &example, ""), Vec::<String>::new());
    let agents: Value = serde_json::from_str(&line::text(&["config", "example", "--agent"])).unwrap();
    assert_eq!(wrong(&schema, &agents, ""), Vec::<String>::new());
    let base = "/plugin_specific_configuration";
    for (pointer, value) in [
        ("/omero/port", json!(70_000)),
        ("/omero/port", json!("soon")),
        ("/importer/transfer", json!("ln_rm")),
        ("/importer/command", json!("omero")),
        ("/tags", json!("yes")),
        ("/users/table/alice#tempZone", json!({"usr": "a"})),
        ("/visibility/vaults/0", json!({})),
        ("/watch/0", json!(5)),
        ("/users/ldap/url", json!([])),
    ] {
        let mut example = example.clone();
        *example.pointer_mut(&format!("{base}{pointer}")).unwrap() = value.clone();
        assert!(Config::parse(&example["plugin_specific_configuration"]).is_err(), "{pointer} = {value}");
        let found = wrong(&schema, &example, "");
        assert!(found.iter().any(|at| at.starts_with(&format!("{base}{pointer}"))), "{pointer}: {found:?}");
    }
    let mut unknown = example;
    unknown["plugin_specific_configuration"]["wacth"] = json!([]);
    assert_eq!(wrong(&schema, &unknown, ""), [format!("{base}/wacth")]);
}

/// Pointers at which a value does not fit a schema, for the words that ours uses.
fn wrong(schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (word, rule) in schema.as_object().unwrap() {
        let text = value.as_str();
        let number = value.as_i64();
        let length = text.map_or(1, |t| i64::try_from(t.chars().count()).unwrap());
        let fits = match word.as_str() {
            "$schema" | "title" | "description" | "default" | "examples" => true,
            "type" => match rule {
                Value::Array(types) => types.iter().any(|t| is_of(value, t)),
                one => is_of(value, one),
            },
            "const" => value == rule,
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => number.is_none_or(|n| n >= rule.as_i64().unwrap()),
            "maximum" => number.is_none_or(|n| n <= rule.as_i64().unwrap()),
            "minLength" => length >= rule.as_i64().unwrap(),
            "maxLength" => length <= rule.as_i64().unwrap(),
            "minItems" => value.as_array().is_none_or(|a| a.len() as u64 >= rule.as_u64().unwrap()),
            "pattern" => text.is_none_or(|text| match rule.as_str().unwrap() {
                "^/" => text.starts_with('/'),
                "^[^-]" => !text.starts_with('-'),
                "^ *-?[0-9]+ *$" => text.trim().parse::<i64>().is_ok(),
                other => panic!("what does {other} mean?"),
            }),
            "anyOf" => rule.as_array().unwrap().iter().any(|s| wrong(s, value, at).is_empty()),
            "required" => value
                .as_object()
                .is_none_or(|o| rule.as_array().unwrap().iter().all(|k| o.contains_key(k.as_str().unwrap()))),
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(wrong(rule, item, &format!("{at}/{i}")));
                }
                true
            }
            "properties" => {
                for (key, schema) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(key) {
                        found.extend(wrong(schema, value, &format!("{at}/{key}")));
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = |key: &str| schema["properties"].get(key).is_some();
                for (key, value) in value.as_object().into_iter().flatten().filter(|(key, _)| !known(key)) {
                    match rule {
                        Value::Bool(_) => found.push(format!("{at}/{key}")),
                        rule => found.extend(wrong(rule, value, &format!("{at}/{key}"))),
                    }
                }
                true
            }
            other => panic!("what does {other} mean?"),
        };
        if !fits {
            found.push(at.to_owned());
        }
    }
    found
}

fn is_of(value: &Value, kind: &Value) -> bool {
    match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        other => panic!("what is {other}?"),
    }
}

#[test]
fn the_schema_describes_every_object_of_the_stanza() {
    let schema = schema().to_string();
    for key in keys() {
        assert!(schema.contains(&json!(key.meaning.meaning).to_string()), "{}", key.pointer);
    }
}
