//! Names as texts in JSON: each is written as it shows itself and read by its own parser, so that what was read is in
//! order.

use crate::names::{CollectionId, DataId, IrodsUser, LogicalPath, OmeroId, OmeroName};
use crate::target::Target;
use std::fmt;

/// Writes a type as the text it shows, and reads it with its own parser.
#[macro_export]
macro_rules! as_text {
    ($type:ty, $show:expr, $parse:expr) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&$show(self))
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $parse(&<String as serde::Deserialize>::deserialize(deserializer)?)
                    .map_err(serde::de::Error::custom)
            }
        }
    };
}

as_text!(OmeroName, OmeroName::as_str, OmeroName::parse);
as_text!(OmeroId, ToString::to_string, OmeroId::parse);
as_text!(CollectionId, ToString::to_string, CollectionId::parse);
as_text!(DataId, ToString::to_string, DataId::parse);
as_text!(IrodsUser, ToString::to_string, IrodsUser::parse);
as_text!(Target, Target::as_str, Target::parse);
as_text!(LogicalPath, encode, decode);

/// A path as text without loss: `%`, control characters and bytes that are not UTF-8 become `%XX`.
fn encode(path: &LogicalPath) -> String {
    use fmt::Write;
    let mut text = String::new();
    let escape = |text: &mut String, bytes: &[u8]| {
        for byte in bytes {
            let _ = write!(text, "%{byte:02X}"); // writing to a String does not fail
        }
    };
    for chunk in path.as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '%' || c.is_control() {
                escape(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                text.push(c);
            }
        }
        escape(&mut text, chunk.invalid());
    }
    text
}

fn decode(text: &str) -> Result<LogicalPath, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let digits = after.get(..2).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = digits.and_then(|d| u8::from_str_radix(d, 16).ok());
        bytes.push(byte.ok_or("a '%' is not followed by two hexadecimal digits: write '%25' for itself")?);
        rest = &after[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    LogicalPath::parse(&bytes).map_err(|e| e.to_string())
}
