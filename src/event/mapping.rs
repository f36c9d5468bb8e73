//! Whether a metadata operation changes who somebody is, so that data which was skipped is to be looked at again.

use crate::event::Argument;
use irods_omero_model::attributes::Attributes;
use serde_json::Value;

/// Whether the operation (see the guard for its words) changes an AVU that says who somebody is. What cannot be read
/// changes nothing: the server has refused it.
pub fn is_change(names: &Attributes, argument: &Argument<'_>) -> bool {
    let concerns = |kind: &[u8], attribute: &[u8]| match kind {
        b"-u" | b"-U" | b"user" => [&names.user, &names.group].iter().any(|n| n.as_bytes() == attribute),
        b"-c" | b"-C" | b"collection" => names.on_behalf_of.as_bytes() == attribute,
        _ => false,
    };
    match argument {
        // The target's kind; which AVUs were copied is not said.
        Argument::Avu([b"cp", _, kind, ..]) => matches!(*kind, b"-u" | b"-U" | b"-c" | b"-C"),
        Argument::Avu([b"rmi", kind, ..]) => matches!(*kind, b"-u" | b"-U"),
        Argument::Avu([_, kind, _, attribute, _, more @ ..]) => {
            concerns(kind, attribute)
                || more.iter().filter_map(|w| w.strip_prefix(b"n:")).any(|new| concerns(kind, new))
        }
        Argument::Json(json) => {
            let json = json.split(|b| *b == 0).next().unwrap_or_default();
            let Ok(request) = serde_json::from_slice::<Value>(json) else { return false };
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
        is_change(&Attributes::default(), &Argument::Avu(words))
    }

    #[test]
    fn what_says_who_somebody_is_is_a_change_and_nothing_else() {
        assert!(avu(&["add", "-u", "alice", "irods::omero::user", "a.smith"]));
        assert!(avu(&["rm", "-u", "lab1", "irods::omero::group", "Lab 1"]));
        assert!(avu(&["mod", "-u", "alice", "x", "y", "n:irods::omero::user"]));
        assert!(avu(&["set", "-C", "/z/scopes", "irods::omero::on_behalf_of", "dora"]));
        assert!(avu(&["cp", "-u", "-u", "alice", "bob"]) && avu(&["rmi", "-u", "alice", "10001"]));
        assert!(!avu(&["add", "-d", "/z/a", "irods::omero::user", "x"]));
        assert!(!avu(&["add", "-u", "alice", "phone", "5"]) && !avu(&["cp", "-d", "-d", "/z/a", "/z/b"]));
    }

    #[test]
    fn an_atomic_request_is_one_if_any_of_its_operations_is() {
        let request = |kind: &str, attribute: &str| {
            let json = serde_json::json!({"entity_type": kind, "operations": [
                {"attribute": "x"}, {"attribute": attribute}]})
            .to_string();
            is_change(&Attributes::default(), &Argument::Json(json.as_bytes()))
        };
        assert!(request("user", "irods::omero::user") && request("collection", "irods::omero::on_behalf_of"));
        assert!(!request("data_object", "irods::omero::user") && !request("user", "y"));
        assert!(!is_change(&Attributes::default(), &Argument::Json(b"not json")));
    }
}
