//! The guard of our attributes.
//!
//! Our attributes are reserved: a record or a mapping can be trusted only if nobody but the plugin and the
//! administrators can write it. The one exception is the tag to import, which the owner of a collection may set.
//!
//! The guard does not depend on a valid configuration. Where it cannot find an answer, metadata that is about to be
//! written is refused, and everything else goes on.

use super::Refusal;
use crate::catalog::{Catalog, CatalogError};
use crate::event::{self, Argument, Pep};
use irods_omero_model::attributes::Attributes;
use irods_omero_model::names::MAX_PATH_BYTES;
use irods_omero_model::watch::shown;
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// `CAT_INSUFFICIENT_PRIVILEGE_LEVEL`
const NOT_ALLOWED: i64 = -830_000;

/// `RULE_ENGINE_CONTINUE`
const GO_ON: i64 = 5_000_000;

/// The start of the names that are reserved whatever the configuration calls our AVUs.
const NAMESPACE: &str = "irods::omero::";

/// The longest atomic request that is looked at, in bytes; a value read from JSON takes several times its length. The
/// C library packs a hundred thousand AVUs into less.
const MAX_REQUEST: usize = 32 << 20;

/// Whether the server is of the time when `imeta` knew more operations.
const IS_4: bool = matches!(crate::BUILT_FOR.as_bytes(), [b'4', b'.', ..]);

/// The attributes that nobody but the plugin and administrators writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    names: Vec<String>,
    /// The tag, which is free although its name may be of our namespace.
    tag: String,
}

impl Default for Reserved {
    fn default() -> Self {
        Self::of(&Attributes::default())
    }
}

impl Reserved {
    /// Those of a valid configuration.
    pub fn of(names: &Attributes) -> Self {
        let reserved = names.reserved();
        Self { names: reserved.into_iter().map(str::to_owned).collect(), tag: names.import.clone() }
    }

    /// Those of a configuration with mistakes: by their default names, and by whatever name can be read.
    pub fn read(stanza: &Value) -> Self {
        let Self { mut names, mut tag } = Self::default();
        for (key, value) in stanza.get("attributes").and_then(Value::as_object).into_iter().flatten() {
            match value.as_str() {
                Some(text) if key == "import" => text.clone_into(&mut tag),
                // Also under a key that is mistyped: it was meant to be one of ours.
                Some(text) => names.push(text.to_owned()),
                None => {}
            }
        }
        Self { names, tag }
    }

    /// Whether an attribute is one of them. Case and blanks at the end make no difference to some catalogs' databases.
    fn has(&self, attribute: &[u8]) -> bool {
        let attribute = attribute.trim_ascii_end();
        let is = |name: &str| attribute.eq_ignore_ascii_case(name.as_bytes());
        let in_namespace =
            attribute.get(..NAMESPACE.len()).is_some_and(|n| n.eq_ignore_ascii_case(NAMESPACE.as_bytes()));
        self.names.iter().any(|n| is(n)) || in_namespace && !is(&self.tag)
    }

    /// The first of them of which `among` says that it is among some; it is asked for ever smaller parts.
    fn first(
        &self,
        among: impl Fn(&[&str]) -> Result<bool, CatalogError>,
    ) -> Result<Option<&str>, CatalogError> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        if !among(&names)? {
            return Ok(None);
        }
        let mut rest = names.as_slice();
        while rest.len() > 1 {
            let (left, right) = rest.split_at(rest.len() / 2);
            rest = if among(left)? { left } else { right };
        }
        Ok(self.names.iter().find(|n| Some(&n.as_str()) == rest.first()).map(String::as_str))
    }
}

/// What the guard objects to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Objection {
    /// It would write this attribute.
    Reserved(String),
    /// It would copy this attribute from that place.
    Copied(String, String),
    /// It cannot be told what would be written: a clause.
    Unclear(String),
}

impl Objection {
    fn sentence(&self) -> String {
        let only = "only administrators and the OMERO plugin write it";
        match self {
            Self::Reserved(attribute) => format!("omero: the attribute '{attribute}' is reserved: {only}"),
            Self::Copied(attribute, source) => format!(
                "omero: the attribute '{attribute}' is reserved: {only}, and what it says is true of '{source}' alone. \
                 No AVU was copied: add the others one by one (imeta add)"
            ),
            Self::Unclear(why) => format!(
                "omero: the server could not check whether this call writes OMERO metadata, so it was refused ({why}). \
                 Try again, or ask your administrator to look at the server's log"
            ),
        }
    }
}

/// What a PEP ends with where an internal error comes before it is known what it is about: metadata is not written,
/// everything else goes on.
pub fn unable(pep: Pep) -> i64 {
    if pep.writes_metadata() { NOT_ALLOWED } else { GO_ON }
}

/// Asks the guard about a pre PEP; `None` allows. Administrators are not asked, and what the plugin itself writes is
/// written with their right. Without a catalog (there is no session) nobody is an administrator.
///
/// What cannot be read or looked up is refused: the server's reader may understand what ours does not.
pub fn check(
    reserved: &Reserved,
    catalog: Option<&dyn Catalog>,
    pep: Pep,
    argument: Argument<'_>,
) -> Option<Refusal> {
    // Mostly there is none: then nobody is asked who the client is.
    if !pep.is_guarded() || matches!(argument, Argument::Carried([None, None])) {
        return None;
    }
    let checked = catch_unwind(AssertUnwindSafe(|| {
        if catalog.is_some_and(Catalog::client_is_admin) {
            return None;
        }
        objection(reserved, catalog, pep, argument)
    }));
    let objection = checked.unwrap_or_else(|_| Some(Objection::Unclear("internal error".to_owned())))?;
    let user = catalog.and_then(Catalog::client).map_or(String::new(), |u| u.to_string());
    let sentence = objection.sentence();
    log::warn!("act=refuse user={user} why=\"{}\"", sentence.escape_debug());
    Some(Refusal { code: NOT_ALLOWED, sentence })
}

fn objection(
    reserved: &Reserved,
    catalog: Option<&dyn Catalog>,
    pep: Pep,
    argument: Argument<'_>,
) -> Option<Objection> {
    match (pep, argument) {
        (Pep::ModAvuPre | Pep::StaticModAvuPre, Argument::Avu(words)) => modified(reserved, catalog, &words),
        (Pep::AtomicMetadataPre, Argument::Json(json)) => atomic(reserved, json),
        (_, Argument::Carried(metadata)) => metadata.into_iter().flatten().find_map(|m| carried(reserved, m)),
        _ if pep.writes_metadata() => Some(Objection::Unclear("its argument cannot be read".to_owned())),
        _ => None,
    }
}

/// `imeta`: `arg0` operation, `arg1` kind, `arg2` name, `arg3` attribute; for `mod` the new attribute is among
/// `arg5` to `arg8` as `n:NAME`; for `cp` `arg1` and `arg2` are kinds, `arg3` and `arg4` names; for `rmi` `arg3` is
/// the AVU's number. An operation that the server does not know is the server's to refuse (`_rsModAVUMetadata` of
/// 5.0.2 knows these six).
fn modified(reserved: &Reserved, catalog: Option<&dyn Catalog>, words: &[&[u8]; 9]) -> Option<Objection> {
    let named = |attribute: &[u8]| {
        reserved.has(attribute).then(|| Objection::Reserved(shown(&String::from_utf8_lossy(attribute))))
    };
    match words[0] {
        b"add" | b"set" | b"rm" => named(words[3]),
        b"mod" => named(words[3]).or_else(|| words[5..].iter().find_map(|w| named(w.strip_prefix(b"n:")?))),
        b"cp" => {
            let source = || shown(&String::from_utf8_lossy(words[3]));
            let found = looked_up(reserved, catalog, words[3], |c, names| c.bears(words[1], words[3], names));
            found.map_or_else(Some, |name| name.map(|attribute| Objection::Copied(attribute, source())))
        }
        b"rmi" => {
            let found =
                looked_up(reserved, catalog, words[3], |c, names| c.avu_is_one_of(words[1], words[3], names));
            found.map_or_else(Some, |name| name.map(Objection::Reserved))
        }
        b"adda" | b"addw" if IS_4 => named(words[3]),
        b"rmw" if IS_4 => Some(Objection::Unclear("it removes AVUs by a pattern".to_owned())),
        _ => None,
    }
}

/// The reserved attribute that something of a name bears, by what the catalog says.
///
/// # Errors
/// That it cannot be told.
fn looked_up(
    reserved: &Reserved,
    catalog: Option<&dyn Catalog>,
    name: &[u8],
    ask: impl Fn(&dyn Catalog, &[&str]) -> Result<bool, CatalogError>,
) -> Result<Option<String>, Objection> {
    let unclear = |why: &str| Objection::Unclear(why.to_owned());
    let catalog = catalog.ok_or_else(|| unclear("there is no session"))?;
    // No path, user or number is longer, and a query of any length is not worth a query.
    if name.len() > MAX_PATH_BYTES {
        return Err(unclear("the name is longer than iRODS allows"));
    }
    let found = reserved.first(|names| ask(catalog, names)).map_err(|e| unclear(&e.to_string()))?;
    Ok(found.map(str::to_owned))
}

/// `rc_atomic_apply_metadata_operations`: every operation names its attribute.
fn atomic(reserved: &Reserved, request: &[u8]) -> Option<Objection> {
    if request.len() > MAX_REQUEST {
        return Some(Objection::Unclear(format!("the request is longer than {MAX_REQUEST} bytes")));
    }
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
        .find(|a| reserved.has(a.as_bytes()))
        .map(|a| Objection::Reserved(shown(a)))
}

/// `iput --metadata`: every part is looked at, not every third.
fn carried(reserved: &Reserved, metadata: &[u8]) -> Option<Objection> {
    let found = event::carried(metadata).find(|part| reserved.has(part))?;
    Some(Objection::Reserved(shown(&String::from_utf8_lossy(&found))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Reserved {
        Reserved::of(&Attributes { state: "lab::state".to_owned(), ..Attributes::default() })
    }

    fn reserved(found: Option<Objection>) -> Option<String> {
        match found {
            Some(Objection::Reserved(attribute)) => Some(attribute),
            Some(Objection::Copied(..) | Objection::Unclear(_)) | None => None,
        }
    }

    #[test]
    fn ours_are_reserved_by_whatever_name_and_the_tag_is_not() {
        for reserved in
            ["irods::omero::due", "irods::omero::anything", "lab::state", "IRODS::Omero::user", "lab::state "]
        {
            assert!(names().has(reserved.as_bytes()), "{reserved}");
        }
        for free in ["irods::omero::import", "lab::other", "irods::omero", ""] {
            assert!(!names().has(free.as_bytes()), "{free}");
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

    /// What is asked of the guard without a session.
    fn asked(pep: Pep, argument: Argument<'_>) -> Option<String> {
        check(&names(), None, pep, argument).map(|refusal| refusal.sentence)
    }

    fn avu<'a>(words: &[&'a str]) -> Argument<'a> {
        Argument::Avu(std::array::from_fn(|i| words.get(i).copied().unwrap_or_default().as_bytes()))
    }

    #[test]
    fn an_operation_the_server_does_not_know_is_the_servers_to_refuse_whatever_its_pattern() {
        let burning = format!("{}z", "%".repeat(12));
        let deep = "%".repeat(200_000);
        for pattern in [burning.as_str(), &deep, "irods::omero::%", "irods::omero::state"] {
            for operation in ["rmw", "adda", "", "ADD"] {
                assert_eq!(
                    asked(Pep::ModAvuPre, avu(&[operation, "-d", "/z/a", pattern])),
                    None,
                    "{operation}"
                );
            }
        }
    }

    #[test]
    fn names_that_can_be_read_of_a_wrong_configuration_are_reserved_beside_the_default_ones() {
        let stanza = serde_json::json!({"watch": 5, "attributes":
            {"state": "lab::state", "sttae": "lab::typo", "due": 7, "import": "lab::import"}});
        let reserved = Reserved::read(&stanza);
        for name in
            ["lab::state", "lab::typo", "irods::omero::state", "irods::omero::due", "irods::omero::import"]
        {
            assert!(reserved.has(name.as_bytes()), "{name}");
        }
        assert!(!reserved.has(b"lab::import") && !reserved.has(b"lab::due"));
        for nothing in [serde_json::json!(null), serde_json::json!({"attributes": "lab::state"})] {
            assert_eq!(Reserved::read(&nothing), Reserved::default());
        }
        let same = Reserved::read(&serde_json::json!({"attributes": {"import": "x", "state": "x"}}));
        assert!(same.has(b"x"), "what is one of ours too is no tag");
    }

    #[test]
    fn without_a_session_what_names_no_attribute_of_ours_goes_on() {
        let harmless = [
            (Pep::ModAvuPre, avu(&["add", "-d", "/z/a", "colour", "red"])),
            (Pep::AtomicMetadataPre, Argument::Json(b"{\"operations\":[]}")),
            (Pep::PutPre, Argument::Carried([Some(b"a;b;c"), None])),
            (Pep::PutPre, Argument::Carried([None, None])),
            (Pep::PutPre, Argument::Other),
            (Pep::PutPost, Argument::Other),
        ];
        for (pep, argument) in harmless {
            assert_eq!(asked(pep, argument), None, "{pep:?} {argument:?}");
        }
    }

    #[test]
    fn where_it_cannot_be_told_what_metadata_would_be_written_it_is_refused_with_a_sentence() {
        let long = "/".to_owned() + &"x".repeat(2_000);
        for (pep, argument) in [
            (Pep::ModAvuPre, Argument::Other),
            (Pep::StaticModAvuPre, Argument::Other),
            (Pep::AtomicMetadataPre, Argument::Other),
            (Pep::AtomicMetadataPre, Argument::Json(b"")),
            (Pep::ModAvuPre, avu(&["cp", "-d", "-d", "/z/a", "/z/b"])),
            (Pep::ModAvuPre, avu(&["cp", "-d", "-d", &long, "/z/b"])),
            (Pep::ModAvuPre, avu(&["rmi", "-d", "/z/a", "10023"])),
        ] {
            let said = asked(pep, argument).unwrap();
            assert!(said.contains("so it was refused") && said.contains("administrator"), "{said}");
        }
        let said =
            asked(Pep::ModAvuPre, avu(&["add", "-d", "/z/a", &"irods::omero::".repeat(10_000)])).unwrap();
        assert!(said.contains("is reserved") && said.len() < 1_000, "{said}");
        for (pep, _) in Pep::ALL {
            let closed = [Pep::ModAvuPre, Pep::StaticModAvuPre, Pep::AtomicMetadataPre].contains(&pep);
            assert_eq!(unable(pep) < 0, closed, "{pep:?}");
        }
    }

    #[test]
    fn the_one_attribute_that_is_there_is_found_by_halving() {
        let reserved = names();
        for name in &reserved.names {
            let asked = std::cell::Cell::new(0);
            let found = reserved.first(|part| {
                asked.set(asked.get() + 1);
                Ok(part.contains(&name.as_str()))
            });
            assert_eq!(found.unwrap(), Some(name.as_str()));
            assert!(asked.get() <= 6, "{name}: {}", asked.get());
        }
        assert_eq!(reserved.first(|_| Ok(false)).unwrap(), None);
    }
}
