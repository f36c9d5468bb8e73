//! The server's configuration as a whole: JSON in which no key is overlooked, and the plugin's stanza in it.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::RefCell;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The plugin's name as `plugin_name` gives it.
pub const PLUGIN: &str = "irods_rule_engine_plugin-omero";

/// The list of rule engines.
pub const ENGINES: &str = "/plugin_configuration/rule_engines";

/// The largest configuration that is read, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// Where the bytes of a configuration come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// From the file that is named.
    #[default]
    File,
    /// From standard input, for which root has opened the file: it and its directory are root's own.
    StandardInput,
}

/// The bytes of a configuration.
///
/// # Errors
/// It is not there, no regular file, or larger than any configuration.
pub fn read(path: &Path, source: Source) -> io::Result<Vec<u8>> {
    match source {
        Source::File => read_regular(path, MAX_BYTES),
        Source::StandardInput => read_bounded(io::stdin(), MAX_BYTES),
    }
}

/// The bytes of a regular file of at most `limit` bytes; what is none is not waited for.
///
/// # Errors
/// It is not there, not regular, or larger.
pub fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_bounded(open_regular(path)?, limit)
}

fn read_bounded(from: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// A regular file, open for reading; what is none is not waited for.
///
/// # Errors
/// It is not there, or not regular.
pub fn open_regular(path: &Path) -> io::Result<File> {
    // A pipe that nobody writes to would be waited for.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(file)
}

/// A JSON text, and the pointers of keys that stand twice in one object (of which the last counts).
///
/// # Errors
/// Why it is not JSON, with line and column.
pub fn parse(text: &[u8]) -> Result<(Value, Vec<String>), serde_json::Error> {
    let twins = RefCell::default();
    let mut json = serde_json::Deserializer::from_slice(text);
    let value = Place { pointer: String::new(), twins: &twins }.deserialize(&mut json)?;
    json.end()?;
    Ok((value, twins.into_inner()))
}

/// Reads the value at a place.
struct Place<'a> {
    pointer: String,
    twins: &'a RefCell<Vec<String>>,
}

impl Place<'_> {
    fn below(&self, key: &str) -> Self {
        Self { pointer: join(&self.pointer, key), twins: self.twins }
    }
}

/// The pointer of a key of the object at a pointer (RFC 6901).
pub fn join(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.below(&list.len().to_string()))? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let place = self.below(&key);
            let pointer = place.pointer.clone();
            if object.insert(key, entries.next_value_seed(place)?).is_some() {
                self.twins.borrow_mut().push(pointer);
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_stands_twice_is_named_and_the_last_counts() {
        let text = br#"{"a": [{"b/c": 1, "b/c": 2}], "d": null, "e": -1, "f": 1.5, "g": true}"#;
        let (value, twins) = parse(text).unwrap();
        assert_eq!(twins, ["/a/0/b~1c"]);
        assert_eq!(value, serde_json::from_slice::<Value>(text).unwrap());
    }

    #[test]
    fn what_is_no_json_has_a_line_and_a_column() {
        let error = parse(b"{\n  \"a\": 1,\n}").unwrap_err();
        assert_eq!((error.line(), error.column()), (3, 1));
        assert!(parse(b"{} {}").is_err());
    }
}
