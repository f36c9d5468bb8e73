//! What is refused, before it is done, and the sentence the client reads.
//!
//! Our attributes are reserved: a record or a mapping can be trusted only if nobody but the plugin and the
//! administrators can write it. The one exception is the tag to import, which the owner of a collection may set.

use crate::catalog::Catalog;
use crate::config::Attributes;
use crate::event::{Argument, Pep};
use serde_json::Value;

/// `CAT_INSUFFICIENT_PRIVILEGE_LEVEL`
const NOT_ALLOWED: i64 = -830_000;

/// The start of the names that are reserved whatever the configuration calls our AVUs.
const NAMESPACE: &str = "irods::omero::";

/// A refused operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// iRODS error code.
    pub code: i64,
    /// What the client reads.
    pub sentence: String,
}

/// Asks the guard about a pre PEP; `None` allows. Administrators are not asked.
///
/// A metadata request that cannot be read is left to the server, which reads it in the same way and refuses it.
pub fn check(names: &Attributes, catalog: &dyn Catalog, pep: Pep, argument: Argument<'_>) -> Option<Refusal> {
    if !pep.is_guarded() || catalog.client_is_admin() {
        return None;
    }
    let attribute = match (pep, argument) {
        (Pep::ModAvuPre, Argument::Avu(words)) => modified(names, catalog, &words)?,
        (Pep::AtomicMetadataPre, Argument::Json(json)) => atomic(names, json)?,
        (Pep::PutPre, Argument::DataObject { keyword: Some(metadata), .. }) => put_along(names, metadata)?,
        _ => return None,
    };
    let sentence = format!(
        "omero: the attribute '{attribute}' is reserved: only administrators and the OMERO plugin write it"
    );
    log::warn!(
        "act=refuse user={} attribute={attribute}",
        catalog.client().map_or(String::new(), |u| u.to_string())
    );
    Some(Refusal { code: NOT_ALLOWED, sentence })
}

/// Whether an attribute is ours to write.
fn is_reserved(names: &Attributes, attribute: &[u8]) -> bool {
    attribute != names.import.as_bytes()
        && (attribute.starts_with(NAMESPACE.as_bytes())
            || names.reserved().iter().any(|n| n.as_bytes() == attribute))
}

/// `imeta`: `arg0` operation, `arg1` kind, `arg2` name, `arg3` attribute; for `mod` the new attribute is among
/// `arg5` to `arg8` as `n:NAME`; for `cp` `arg1` and `arg2` are kinds, `arg3` and `arg4` names.
fn modified(names: &Attributes, catalog: &dyn Catalog, words: &[&[u8]; 9]) -> Option<String> {
    let found = |attribute: &[u8]| {
        is_reserved(names, attribute).then(|| String::from_utf8_lossy(attribute).into_owned())
    };
    match words[0] {
        b"cp" => {
            let kind = std::str::from_utf8(words[1]).ok()?;
            match catalog.bears(kind, words[3], &names.reserved()) {
                Ok(true) => Some(format!("{NAMESPACE}*")),
                Ok(false) => None,
                // What cannot be looked at cannot be copied by us either: the server decides.
                Err(error) => {
                    log::warn!("act=guard failed=\"{error}\"");
                    None
                }
            }
        }
        // A pattern that fits one of our names.
        b"rmw" => names.reserved().iter().find(|n| like(words[3], n.as_bytes())).map(|n| (*n).to_owned()),
        b"mod" => found(words[3]).or_else(|| words[5..].iter().find_map(|w| found(w.strip_prefix(b"n:")?))),
        _ => found(words[3]),
    }
}

/// `rc_atomic_apply_metadata_operations`: every operation names its attribute.
fn atomic(names: &Attributes, json: &[u8]) -> Option<String> {
    // The buffer may end with the NUL of a C string.
    let json = json.split(|b| *b == 0).next().unwrap_or_default();
    let request: Value = serde_json::from_slice(json).ok()?;
    let operations = request.get("operations")?.as_array()?;
    operations
        .iter()
        .filter_map(|o| o.get("attribute")?.as_str())
        .find(|a| is_reserved(names, a.as_bytes()))
        .map(str::to_owned)
}

/// `iput --metadata`: `attribute;value;units;attribute;value;units...`
fn put_along(names: &Attributes, metadata: &[u8]) -> Option<String> {
    // A value may hold an escaped separator; every part is looked at rather than guessing which are attributes.
    metadata
        .split(|b| *b == b';')
        .find(|part| is_reserved(names, part))
        .map(|part| String::from_utf8_lossy(part).into_owned())
}

/// SQL `like`: `%` is any run of bytes, `_` any byte.
fn like(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'%', rest)) => (0..=text.len()).any(|i| like(rest, &text[i..])),
        Some((b'_', rest)) => !text.is_empty() && like(rest, &text[1..]),
        Some((c, rest)) => text.first() == Some(c) && like(rest, &text[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Attributes {
        Attributes { state: "lab::state".to_owned(), ..Attributes::default() }
    }

    #[test]
    fn ours_are_reserved_by_whatever_name_and_the_tag_is_not() {
        for reserved in ["irods::omero::due", "irods::omero::anything", "lab::state"] {
            assert!(is_reserved(&names(), reserved.as_bytes()), "{reserved}");
        }
        for free in ["irods::omero::import", "lab::other", "irods::omero", ""] {
            assert!(!is_reserved(&names(), free.as_bytes()), "{free}");
        }
    }

    #[test]
    fn every_operation_of_an_atomic_request_is_looked_at() {
        let request = br#"{"operations":[{"operation":"add","attribute":"x","value":"y"},
            {"operation":"remove","attribute":"irods::omero::state","value":"imported"}]}"#;
        assert_eq!(atomic(&names(), request).as_deref(), Some("irods::omero::state"));
        assert_eq!(atomic(&names(), b"{\"operations\":[]}\0"), None);
        assert_eq!(atomic(&names(), b"not json"), None);
    }

    #[test]
    fn metadata_put_along_is_looked_at_part_by_part() {
        assert!(put_along(&names(), b"a;b;c;irods::omero::owner;root;").is_some());
        assert!(put_along(&names(), b"a;b;c").is_none());
    }

    #[test]
    fn patterns_are_compared_as_sql_does() {
        assert!(like(b"irods::%::due", b"irods::omero::due") && like(b"%", b"x") && like(b"a_c", b"abc"));
        assert!(!like(b"a_c", b"ac") && !like(b"b%", b"abc"));
    }
}
