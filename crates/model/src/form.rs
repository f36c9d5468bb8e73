//! Reading a JSON object like a form: every key is asked for by name, every mistake is kept with its JSON
//! pointer, and what nobody asked for is a mistake too, with the nearest known key as a suggestion.

use crate::names::OmeroName;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

/// One mistake in the configuration: where it is (RFC 6901) and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {message}")]
pub struct Problem {
    /// JSON pointer below `plugin_specific_configuration`; the empty pointer is shown as `/`.
    pub pointer: String,
    /// A sentence with the remedy.
    pub message: String,
}

/// One key the reader has asked for, and what it takes there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// JSON pointer below `plugin_specific_configuration`.
    pub pointer: String,
    /// What it takes.
    pub kind: Kind,
}

/// What the reader takes for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Something of several kinds.
    Any,
    /// An object with keys of ours.
    Object,
    /// An object whose keys are the site's own words.
    Map,
    /// A list.
    List,
    /// A text.
    Text {
        /// What holds without one.
        default: Option<String>,
    },
    /// An absolute path of this host.
    Path,
    /// The name of an OMERO user or group.
    Name,
    /// True or false.
    Flag {
        /// What holds without one.
        default: bool,
    },
    /// A whole number.
    Number {
        /// What holds without one.
        default: u64,
        /// The smallest.
        low: u64,
        /// The largest.
        high: u64,
    },
    /// One of a few words.
    Choice {
        /// The words.
        words: Vec<&'static str>,
        /// What holds without one.
        default: &'static str,
    },
}

/// Collects problems while a configuration is read, and on demand what was asked for.
#[derive(Default)]
pub struct Problems {
    found: RefCell<Vec<Problem>>,
    asked: Option<RefCell<Vec<Asked>>>,
}

impl Problems {
    /// The same, which also keeps what is asked for.
    pub fn and_asked() -> Self {
        Self { asked: Some(RefCell::default()), ..Self::default() }
    }

    /// Notes a problem at a place.
    pub fn add(&self, pointer: &str, message: impl fmt::Display) {
        let pointer = if pointer.is_empty() { "/".to_owned() } else { pointer.to_owned() };
        self.found.borrow_mut().push(Problem { pointer, message: message.to_string() });
    }

    /// All problems noted, in the order they were found.
    pub fn into_inner(self) -> Vec<Problem> {
        self.found.into_inner()
    }

    /// What was asked for, in order; some of it more than once, and the later may be the more exact.
    pub fn into_asked(self) -> Vec<Asked> {
        self.asked.map(RefCell::into_inner).unwrap_or_default()
    }
}

/// One JSON object and the keys asked of it so far.
pub struct Form<'a> {
    pointer: String,
    object: &'a Map<String, Value>,
    known: RefCell<Vec<&'static str>>,
    problems: &'a Problems,
}

impl<'a> Form<'a> {
    /// Opens the value at `pointer` as an object; anything else is a problem.
    pub fn open(pointer: String, value: &'a Value, problems: &'a Problems) -> Option<Self> {
        if let Some(object) = value.as_object() {
            return Some(Self { pointer, object, known: RefCell::default(), problems });
        }
        problems.add(&pointer, format_args!("must be an object {{...}}, not {}", kind(value)));
        None
    }

    /// The pointer of `key` in this object.
    pub fn at(&self, key: &str) -> String {
        format!("{}/{}", self.pointer, key.replace('~', "~0").replace('/', "~1"))
    }

    /// Notes a problem with `key`.
    pub fn problem(&self, key: &str, message: impl fmt::Display) {
        self.problems.add(&self.at(key), message);
    }

    /// Notes that `key` is missing.
    pub fn missing(&self, key: &str, why: &str) {
        self.problem(key, format_args!("is missing: {why}"));
    }

    /// The problems this form reports to.
    pub fn problems(&self) -> &'a Problems {
        self.problems
    }

    /// Keeps what is asked for, where that is wanted.
    fn note(&self, key: &str, kind: impl FnOnce() -> Kind) {
        if let Some(asked) = &self.problems.asked {
            asked.borrow_mut().push(Asked { pointer: self.at(key), kind: kind() });
        }
    }

    /// The value of `key`; JSON null counts as absent.
    pub fn value(&self, key: &'static str) -> Option<&'a Value> {
        self.note(key, || Kind::Any);
        self.known.borrow_mut().push(key);
        self.object.get(key).filter(|v| !v.is_null())
    }

    /// A key that a site could think of, and must not use: what to do instead.
    pub fn refuse(&self, key: &'static str, message: &str) {
        self.known.borrow_mut().push(key);
        if self.object.get(key).is_some_and(|v| !v.is_null()) {
            self.problem(key, message);
        }
    }

    /// The object under `key`.
    pub fn form(&self, key: &'static str) -> Option<Form<'a>> {
        self.note(key, || Kind::Object);
        self.value(key).and_then(|v| Form::open(self.at(key), v, self.problems))
    }

    /// A text that is not empty and holds no control character.
    pub fn text(&self, key: &'static str) -> Option<&'a str> {
        self.note(key, || Kind::Text { default: None });
        let value = self.value(key)?;
        text_of(value).map_err(|m| self.problem(key, m)).ok()
    }

    /// The same, or else what holds without one.
    pub fn text_or<'t>(&self, key: &'static str, default: &'t str) -> &'t str
    where
        'a: 't,
    {
        self.note(key, || Kind::Text { default: Some(default.to_owned()) });
        self.text(key).unwrap_or(default)
    }

    /// An absolute path of this host, without `..`, as bytes of UTF-8.
    pub fn host_path(&self, key: &'static str) -> Option<&'a str> {
        self.note(key, || Kind::Path);
        let text = self.text(key)?;
        match check_host_path(text) {
            Ok(()) => Some(text),
            Err(message) => {
                self.problem(key, message);
                None
            }
        }
    }

    /// A whole number within a range; a text of digits will do, as in iRODS's own configuration.
    pub fn number(&self, key: &'static str, default: u64, range: std::ops::RangeInclusive<u64>) -> u64 {
        self.note(key, || Kind::Number { default, low: *range.start(), high: *range.end() });
        let Some(value) = self.value(key) else {
            return default;
        };
        let number = match value {
            Value::Number(n) => n.as_u64(),
            Value::String(s) => s.trim().parse().ok(),
            _ => None,
        };
        number.filter(|n| range.contains(n)).unwrap_or_else(|| {
            let (low, high) = (range.start(), range.end());
            self.problem(key, format_args!("must be a whole number from {low} to {high}, not {value}"));
            default
        })
    }

    /// A length of time in whole seconds.
    pub fn seconds(&self, key: &'static str, default: u64, range: std::ops::RangeInclusive<u64>) -> Duration {
        Duration::from_secs(self.number(key, default, range))
    }

    /// True or false.
    pub fn flag(&self, key: &'static str, default: bool) -> bool {
        self.note(key, || Kind::Flag { default });
        match self.value(key) {
            None => default,
            Some(Value::Bool(flag)) => *flag,
            Some(other) => {
                self.problem(key, format_args!("must be true or false, not {}", kind(other)));
                default
            }
        }
    }

    /// The name of an OMERO user or group.
    pub fn omero_name(&self, key: &'static str, needed: bool) -> Option<OmeroName> {
        self.note(key, || Kind::Name);
        if self.value(key).is_none() {
            if needed {
                self.missing(key, "name the OMERO user");
            }
            return None;
        }
        let text = self.text(key)?;
        OmeroName::parse(text).map_err(|e| self.problem(key, e)).ok()
    }

    /// One of a few words.
    pub fn choice(&self, key: &'static str, words: &[&'static str], default: &'static str) -> &'static str {
        self.note(key, || Kind::Choice { words: words.to_vec(), default });
        let Some(text) = self.text(key) else {
            return default;
        };
        if let Some(word) = words.iter().find(|w| **w == text) {
            return word;
        }
        let hint = suggestion(text, words);
        self.problem(key, format_args!("'{text}' is none of {}{hint}", words.join(", ")));
        default
    }

    /// The elements of an array, each with its pointer.
    pub fn list(&self, key: &'static str) -> Vec<(String, &'a Value)> {
        self.note(key, || Kind::List);
        match self.value(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                items.iter().enumerate().map(|(i, v)| (format!("{}/{i}", self.at(key)), v)).collect()
            }
            Some(other) => {
                self.problem(key, format_args!("must be a list [...], not {}", kind(other)));
                Vec::new()
            }
        }
    }

    /// The entries of an object whose keys are the site's own words.
    pub fn map(&self, key: &'static str) -> Vec<(&'a str, String, &'a Value)> {
        self.note(key, || Kind::Map);
        match self.value(key) {
            None => Vec::new(),
            Some(Value::Object(map)) => map
                .iter()
                .map(|(k, v)| {
                    let escaped = k.replace('~', "~0").replace('/', "~1");
                    (k.as_str(), format!("{}/{escaped}", self.at(key)), v)
                })
                .collect(),
            Some(other) => {
                self.problem(key, format_args!("must be an object {{...}}, not {}", kind(other)));
                Vec::new()
            }
        }
    }

    /// Ends the reading: what was never asked for is unknown.
    pub fn close(self) {
        let known = self.known.borrow();
        for key in self.object.keys().filter(|k| !known.contains(&k.as_str())) {
            self.problem(key, format_args!("is not a key of this object{}", suggestion(key, &known)));
        }
    }
}

/// The text of a JSON string that is not empty and holds no control character.
pub fn text_of(value: &Value) -> Result<&str, String> {
    match value.as_str() {
        Some("") => Err("must not be empty".to_owned()),
        Some(s) if s.chars().any(char::is_control) => Err("must not hold control characters".to_owned()),
        Some(s) => Ok(s),
        None => Err(format!("must be a text \"...\", not {}", kind(value))),
    }
}

/// Whether a text is a path of this host that needs no resolving.
pub fn check_host_path(text: &str) -> Result<(), String> {
    if !text.starts_with('/') {
        return Err(format!("'{text}' must be an absolute path (start with '/')"));
    }
    if text.split('/').any(|e| e == ".." || e == ".") {
        return Err(format!("'{text}' must not hold '.' or '..' elements"));
    }
    Ok(())
}

/// The kind of a JSON value in words.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// " (did you mean 'x'?)" for the nearest word, if one is near.
pub fn suggestion(word: &str, known: &[&str]) -> String {
    known
        .iter()
        .map(|k| (strsim::jaro_winkler(word, k), *k))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| format!(" (did you mean '{k}'?)"))
        .unwrap_or_default()
}
