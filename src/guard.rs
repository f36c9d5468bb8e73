//! What is refused, before it is done, and the sentence the client reads.
//!
//! Our attributes are reserved: a record or a mapping can be trusted only if nobody but the plugin and the
//! administrators can write it. The one exception is the tag to import, which the owner of a collection may set.

use crate::catalog::{Catalog, CatalogError};
use crate::event::{self, Argument, Pep};
use irods_omero_model::attributes::Attributes;
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

/// What the guard objects to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Objection {
    /// It would write this attribute.
    Reserved(String),
    /// It cannot be told what would be written: a clause.
    Unclear(String),
}

/// Asks the guard about a pre PEP; `None` allows. Administrators are not asked, and what the plugin itself writes is
/// written with their right.
///
/// What cannot be read or looked up is refused: the server's reader may understand what ours does not.
pub fn check(names: &Attributes, catalog: &dyn Catalog, pep: Pep, argument: Argument<'_>) -> Option<Refusal> {
    if !pep.is_guarded() {
        return None;
    }
    let objection = match (pep, argument) {
        // Mostly there is none: then nobody is asked who the client is.
        (_, Argument::Carried([None, None])) => return None,
        _ if catalog.client_is_admin() => return None,
        (Pep::ModAvuPre | Pep::StaticModAvuPre, Argument::Avu(words)) => modified(names, catalog, &words)?,
        (Pep::AtomicMetadataPre, Argument::Json(json)) => atomic(names, json)?,
        (_, Argument::Carried(metadata)) => metadata.into_iter().flatten().find_map(|m| carried(names, m))?,
        _ => return None,
    };
    let (what, sentence) = match objection {
        Objection::Reserved(attribute) => {
            let only = "only administrators and the OMERO plugin write it";
            let sentence = format!("omero: the attribute '{attribute}' is reserved: {only}");
            (attribute, sentence)
        }
        Objection::Unclear(why) => {
            let sentence =
                format!("omero: whether reserved attributes would be written cannot be told: {why}");
            (why, sentence)
        }
    };
    let user = catalog.client().map_or(String::new(), |u| u.to_string());
    log::warn!("act=refuse user={user} what=\"{}\"", what.escape_debug());
    Some(Refusal { code: NOT_ALLOWED, sentence })
}

/// Whether an attribute is ours to write. Case and blanks at the end make no difference to some catalogs' databases.
fn is_reserved(names: &Attributes, attribute: &[u8]) -> bool {
    let attribute = attribute.trim_ascii_end();
    let is = |name: &str| attribute.eq_ignore_ascii_case(name.as_bytes());
    let in_namespace =
        attribute.get(..NAMESPACE.len()).is_some_and(|n| n.eq_ignore_ascii_case(NAMESPACE.as_bytes()));
    !is(&names.import) && (in_namespace || names.reserved().iter().any(|n| is(n)))
}

/// `imeta`: `arg0` operation, `arg1` kind, `arg2` name, `arg3` attribute; for `mod` the new attribute is among
/// `arg5` to `arg8` as `n:NAME`; for `cp` `arg1` and `arg2` are kinds, `arg3` and `arg4` names; for `rmi` `arg3` is
/// the AVU's number.
fn modified(names: &Attributes, catalog: &dyn Catalog, words: &[&[u8]; 9]) -> Option<Objection> {
    let reserved = |attribute: &[u8]| {
        let name = || String::from_utf8_lossy(attribute).into_owned();
        is_reserved(names, attribute).then(|| Objection::Reserved(name()))
    };
    let looked_up = |found: Result<bool, CatalogError>| match found {
        Ok(true) => Some(Objection::Reserved(format!("{NAMESPACE}*"))),
        Ok(false) => None,
        Err(error) => Some(Objection::Unclear(error.to_string())),
    };
    match words[0] {
        b"cp" => looked_up(catalog.bears(words[1], words[3], &names.reserved())),
        b"rmi" => looked_up(catalog.avu_is_one_of(words[1], words[3], &names.reserved())),
        // A pattern that fits one of our names.
        b"rmw" => names
            .reserved()
            .iter()
            .find(|n| like(words[3], n.as_bytes()))
            .map(|n| Objection::Reserved((*n).to_owned())),
        b"mod" => {
            reserved(words[3]).or_else(|| words[5..].iter().find_map(|w| reserved(w.strip_prefix(b"n:")?)))
        }
        _ => reserved(words[3]),
    }
}

/// `rc_atomic_apply_metadata_operations`: every operation names its attribute.
fn atomic(names: &Attributes, request: &[u8]) -> Option<Objection> {
    let request = match event::json(request) {
        Ok(request) => request,
        Err(error) => return Some(Objection::Unclear(format!("the request is not JSON: {error}"))),
    };
    let Some(operations) = request.get("operations").and_then(Value::as_array) else {
        return Some(Objection::Unclear("the request has no list 'operations'".to_owned()));
    };
    operations
        .iter()
        .filter_map(|o| o.get("attribute")?.as_str())
        .find(|a| is_reserved(names, a.as_bytes()))
        .map(|a| Objection::Reserved(a.to_owned()))
}

/// `iput --metadata`: every part is looked at, not every third.
fn carried(names: &Attributes, metadata: &[u8]) -> Option<Objection> {
    let found = event::carried(metadata).find(|part| is_reserved(names, part))?;
    Some(Objection::Reserved(String::from_utf8_lossy(&found).into_owned()))
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

    fn reserved(found: Option<Objection>) -> Option<String> {
        match found {
            Some(Objection::Reserved(attribute)) => Some(attribute),
            Some(Objection::Unclear(_)) | None => None,
        }
    }

    #[test]
    fn ours_are_reserved_by_whatever_name_and_the_tag_is_not() {
        for reserved in
            ["irods::omero::due", "irods::omero::anything", "lab::state", "IRODS::Omero::user", "lab::state "]
        {
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
        let marked = [b"\xef\xbb\xbf".as_slice(), request].concat();
        let ended = [request.as_slice(), b"\0{}"].concat();
        for request in [request.to_vec(), marked, ended] {
            assert_eq!(reserved(atomic(&names(), &request)).as_deref(), Some("irods::omero::state"));
        }
        assert_eq!(atomic(&names(), b"{\"operations\":[]}\0"), None);
    }

    #[test]
    fn an_atomic_request_that_only_the_server_might_read_is_refused() {
        let deep = format!("{{\"x\":{}{},\"operations\":[]}}", "[".repeat(500), "]".repeat(500));
        for request in [deep.as_bytes(), b"not json", b"{}", b"{\"operations\":{}}", b"\xff"] {
            assert!(matches!(atomic(&names(), request), Some(Objection::Unclear(_))));
        }
    }

    #[test]
    fn metadata_carried_along_is_read_as_the_server_does() {
        for bad in [
            "a;b;c;irods::omero::owner;root;",
            "irods::omero::owner;root",
            "\\irods::omero::owner;root",
            "a;\\;;c;irods\\:\\:omero::owner;root",
        ] {
            assert!(reserved(carried(&names(), bad.as_bytes())).is_some(), "{bad}");
        }
        for fine in ["a;b;c", "a;b\\;irods::omero::owner;c", "", "a;b\\"] {
            assert_eq!(carried(&names(), fine.as_bytes()), None, "{fine}");
        }
    }

    #[test]
    fn patterns_are_compared_as_sql_does() {
        assert!(like(b"irods::%::due", b"irods::omero::due") && like(b"%", b"x") && like(b"a_c", b"abc"));
        assert!(!like(b"a_c", b"ac") && !like(b"b%", b"abc"));
    }
}
