//! Whether a metadata operation changes who somebody is, so that data which was skipped is to be looked at again.

use crate::event::{self, Argument};
use irods_omero_model::attributes::Attributes;
use serde_json::Value;

/// Whether something of a kind (as `imeta` names it) and name bears one of some attributes.
pub type Bears<'a> = &'a dyn Fn(&[u8], &[u8], &[&str]) -> bool;

/// Whether the operation (see the guard for its words) changes an AVU that says who somebody is. What cannot be read
/// changes nothing: the server has refused it. A copy does not say which AVUs it copied: then `bears` is asked whether
/// there is such a one now.
pub fn is_change(names: &Attributes, argument: &Argument<'_>, bears: Bears<'_>) -> bool {
    let of_kind = |kind: &[u8]| match kind {
        b"-u" | b"-U" | b"user" => vec![names.user.as_str(), names.group.as_str()],
        b"-c" | b"-C" | b"collection" => vec![names.on_behalf_of.as_str()],
        _ => Vec::new(),
    };
    let concerns = |kind: &[u8], attribute: &[u8]| of_kind(kind).iter().any(|n| n.as_bytes() == attribute);
    match argument {
        Argument::Avu([b"cp", _, kind, _, name, ..]) => {
            let names = of_kind(kind);
            !names.is_empty() && bears(kind, name, &names)
        }
        Argument::Avu([b"rmi", kind, ..]) => matches!(*kind, b"-u" | b"-U"),
        Argument::Avu([_, kind, _, attribute, _, more @ ..]) => {
            concerns(kind, attribute)
                || more.iter().filter_map(|w| w.strip_prefix(b"n:")).any(|new| concerns(kind, new))
        }
        Argument::Json(json) => {
            let Ok(request) = event::json(json) else { return false };
            let kind = request.get("entity_type").and_then(Value::as_str).unwrap_or_default();
            let operations = request.get("operations").and_then(Value::as_array);
            operations
                .into_iter()
                .flatten()
                .filter_map(|o| o.get("attribute")?.as_str())
                .any(|attribute| concerns(kind.as_bytes(), attribute.as_bytes()))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn avu(words: &[&'static str]) -> bool {
        let words = std::array::from_fn(|i| words.get(i).copied().unwrap_or_default().as_bytes());
        let bears = |_: &[u8], name: &[u8], names: &[&str]| {
            name == b"bob" && names.contains(&"irods::omero::user")
                || name == b"/z/scopes" && names == ["irods::omero::on_behalf_of"]
        };
        is_change(&Attributes::default(), &Argument::Avu(words), &bears)
    }

    #[test]
    fn what_says_who_somebody_is_is_a_change_and_nothing_else() {
        assert!(avu(&["add", "-u", "alice", "irods::omero::user", "a.smith"]));
        assert!(avu(&["rm", "-u", "lab1", "irods::omero::group", "Lab 1"]));
        assert!(avu(&["mod", "-u", "alice", "x", "y", "n:irods::omero::user"]));
        assert!(avu(&["set", "-C", "/z/scopes", "irods::omero::on_behalf_of", "dora"]));
        assert!(avu(&["rmi", "-u", "alice", "10001"]));
        assert!(!avu(&["add", "-d", "/z/a", "irods::omero::user", "x"]));
        assert!(!avu(&["add", "-u", "alice", "phone", "5"]) && !avu(&["cp", "-d", "-d", "/z/a", "/z/b"]));
    }

    #[test]
    fn a_copy_is_one_only_where_there_is_such_an_avu_now() {
        assert!(avu(&["cp", "-u", "-u", "alice", "bob"]) && avu(&["cp", "-C", "-C", "/z/a", "/z/scopes"]));
        assert!(!avu(&["cp", "-u", "-u", "bob", "alice"]) && !avu(&["cp", "-C", "-C", "/z/scopes", "/z/b"]));
        assert!(!avu(&["cp", "-C", "-d", "/z/scopes", "/z/scopes"]));
    }

    #[test]
    fn an_atomic_request_is_one_if_any_of_its_operations_is() {
        let request = |kind: &str, attribute: &str| {
            let json = serde_json::json!({"entity_type": kind, "operations": [
                {"attribute": "x"}, {"attribute": attribute}]})
            .to_string();
            is_change(&Attributes::default(), &Argument::Json(json.as_bytes()), &|_, _, _| false)
        };
        assert!(request("user", "irods::omero::user") && request("collection", "irods::omero::on_behalf_of"));
        assert!(!request("data_object", "irods::omero::user") && !request("user", "y"));
        assert!(!is_change(&Attributes::default(), &Argument::Json(b"not json"), &|_, _, _| false));
    }
}
