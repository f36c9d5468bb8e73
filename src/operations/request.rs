//! Reading a request: the JSON of a rule text as a typed operation, every field checked, every mistake told with its
//! JSON pointer.

use super::audit::{LARGEST_PAGE, PAGE};
use super::{
    Audit, Cursor, Deletion, Explain, Ignore, Images, Import, Operation, Release, Retry, Scope, Verify, Who,
};
use irods_omero_model::form::suggestion;
use irods_omero_model::form::{Form, Problems};
use irods_omero_model::names::{CollectionId, DataId, IrodsUser, LogicalPath};
use serde_json::Value;

/// The version of the requests that is understood.
const VERSION: u64 = 1;

/// Longest rule text that is looked at, in bytes; `irule` takes 20 KiB.
const MAX_TEXT: usize = 64 << 10;

/// Longest text in a field, in bytes.
const MAX_FIELD: usize = 2_000;

/// The operations anybody may name, in the order of the documentation.
const OPERATIONS: &[&str] = &[
    "status",
    "explain",
    "import",
    "retry",
    "ignore",
    "release",
    "state",
    "verify",
    "audit",
    "who",
    "install_recurring",
    "remove_recurring",
    "sweep",
    "sweep_stage",
    "mark",
    "sweep_all",
    "collect",
    "save",
    "sweep_skipped",
    "deletions",
    "patrol",
    "look_in_omero",
    "delete_in_omero",
];

/// How an answer is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// One line of JSON.
    #[default]
    Json,
    /// For people.
    Table,
}

/// An operation and how it is to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is asked for.
    pub operation: Operation,
    /// How the answer is written.
    pub format: Format,
    /// The request as it came.
    pub json: Value,
}

/// What a rule text turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// Not for us; the sentence says why, for somebody who meant us.
    NotOurs(String),
    /// For us, but wrong; the sentence names the place.
    Wrong(String),
    /// For us.
    Ours(Box<Request>),
}

/// Reads a rule text.
pub fn read(text: &[u8]) -> Reading {
    let Ok(text) = std::str::from_utf8(text) else {
        return Reading::NotOurs("the rule text is not UTF-8".to_owned());
    };
    if text.len() > MAX_TEXT {
        return Reading::NotOurs(format!("the rule text is longer than {MAX_TEXT} bytes"));
    }
    match json_of(text) {
        Ok(value) => read_json(&value),
        Err(why) => Reading::NotOurs(format!("the rule text is not JSON ({why}): {}", example())),
    }
}

/// Reads the JSON of a rule text, or what a function called by a policy asks for.
pub fn read_json(value: &Value) -> Reading {
    let name = match value.get("operation") {
        Some(Value::String(name)) => name.as_str(),
        Some(_) => return Reading::NotOurs(format!("/operation: must be a text: {}", example())),
        None => return Reading::NotOurs(format!("/operation: is missing: {}", example())),
    };
    if !OPERATIONS.contains(&name) {
        let shown: String = name.chars().take(100).filter(|c| !c.is_control()).collect();
        return Reading::NotOurs(format!(
            "/operation: there is no operation '{shown}' (but {}){}",
            OPERATIONS.join(", "),
            suggestion(name, OPERATIONS)
        ));
    }
    let problems = Problems::default();
    let request = Form::open(String::new(), value, &problems).and_then(|form| {
        form.value("operation");
        let format = match form.choice("format", &["json", "table"], "json") {
            "table" => Format::Table,
            _ => Format::Json,
        };
        if form.value("version").is_some_and(|v| v.as_u64() != Some(VERSION)) {
            form.problem("version", format_args!("must be the number {VERSION}: no other version is known"));
        }
        let operation = operation(name, &form);
        form.close();
        Some(Request { operation: operation?, format, json: value.clone() })
    });
    match (request, problems.into_inner()) {
        (Some(request), problems) if problems.is_empty() => Reading::Ours(Box::new(request)),
        (_, problems) => {
            let sentences: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Reading::Wrong(sentences.join("; "))
        }
    }
}

fn example() -> &'static str {
    r#"give an operation such as {"operation":"status"}"#
}

/// What is asked for by that name; what is wrong is noted in the form.
fn operation(name: &str, form: &Form<'_>) -> Option<Operation> {
    Some(match name {
        "status" => Operation::Status,
        "install_recurring" => Operation::InstallRecurring,
        "remove_recurring" => Operation::RemoveRecurring,
        "explain" => {
            let (user, event) = (user(form), limited(form, "event"));
            let path = needed_path(form);
            Operation::Explain(Explain { user, path: path?, event: event.map(str::to_owned) })
        }
        "import" => {
            let target = target(form);
            let path = needed_path(form);
            Operation::Import(Import { path: path?, target })
        }
        "retry" => {
            let recursive = form.flag("recursive", false);
            Operation::Retry(Retry { path: needed_path(form)?, recursive })
        }
        "ignore" => {
            let recursive = form.flag("recursive", false);
            if form.value("reason").is_none() {
                form.missing("reason", "say why, for whoever wonders later");
            }
            let (path, reason) = (needed_path(form), limited(form, "reason"));
            Operation::Ignore(Ignore { path: path?, reason: reason?.to_owned(), recursive })
        }
        "release" => {
            let recursive = form.flag("recursive", true);
            let images = match form.choice("images", &Images::WORDS, "keep") {
                "delete" => Images::Delete,
                _ => Images::Keep,
            };
            Operation::Release(Release { path: needed_path(form)?, recursive, images })
        }
        "state" => Operation::State(needed_path(form)?),
        "verify" => {
            let (recursive, omero) = (form.flag("recursive", false), form.flag("omero", false));
            Operation::Verify(Verify { path: needed_path(form)?, recursive, omero })
        }
        "who" => {
            let omero_user = form.omero_name("omero_user", false);
            let (user, path) = (user(form), path(form));
            if omero_user.is_some() && (user.is_some() || path.is_some()) {
                form.problem("omero_user", "is asked for alone, without 'user' and 'path'");
            }
            Operation::Who(Who { user, path, omero_user })
        }
        "audit" => Operation::Audit(audit(form)?),
        // The jobs of the delay queue.
        "sweep" => Operation::Sweep(collection(form)?),
        "sweep_stage" => Operation::Stage(collection(form)?),
        "mark" => {
            let tree = form.flag("tree", false);
            Operation::Mark { collection: collection(form)?, tree }
        }
        "sweep_all" => Operation::SweepAll,
        "collect" => {
            // A job of a version before this one says here how far it was.
            form.value("agents");
            form.value("checked");
            Operation::Collect
        }
        "save" => Operation::Save,
        "deletions" => Operation::Deletions,
        "patrol" => Operation::Patrol,
        "look_in_omero" => Operation::LookInOmero(scope(form)?),
        "delete_in_omero" => {
            let scope = scope(form);
            let (is_admin, tries) = (form.flag("admin", false), form.number("tries", 0, 0..=1_000));
            if form.value("by").is_none() {
                form.missing("by", "name who asked for it");
            }
            let by = limited(form, "by")
                .and_then(|text| IrodsUser::parse(text).map_err(|e| form.problem("by", e)).ok());
            let tries = u32::try_from(tries).unwrap_or(u32::MAX);
            Operation::DeleteInOmero(Deletion { scope: scope?, by: by?, is_admin, tries })
        }
        _ => Operation::SweepSkipped,
    })
}

/// What the doctor is to look at.
fn audit(form: &Form<'_>) -> Option<Audit> {
    let (recursive, repair) = (form.flag("recursive", true), form.flag("repair", false));
    let limit = form.number("limit", PAGE, 1..=LARGEST_PAGE);
    let after = match limited(form, "after") {
        None => None,
        Some(text) => {
            let cursor = Cursor::parse(text);
            if cursor.is_none() {
                let why = "is no cursor: give what 'next' of the last answer says, or begin without one";
                form.problem("after", why);
            }
            Some(cursor?)
        }
    };
    let (path, user) = (path(form), user(form));
    Some(Audit { path, recursive, user, repair, after, limit: usize::try_from(limit).unwrap_or(usize::MAX) })
}

/// What a job about images is about.
fn scope(form: &Form<'_>) -> Option<Scope> {
    let (tree, data) = (form.flag("tree", false), limited(form, "data"));
    let data = match data {
        Some(text) => Some(DataId::parse(text).map_err(|e| form.problem("data", e)).ok()?),
        None => None,
    };
    Some(Scope { collection: collection(form)?, data, tree })
}

/// A text that is not longer than a field may be.
fn limited<'a>(form: &Form<'a>, key: &'static str) -> Option<&'a str> {
    let text = form.text(key)?;
    if text.len() > MAX_FIELD {
        form.problem(key, format_args!("must not be longer than {MAX_FIELD} bytes"));
        return None;
    }
    Some(text)
}

fn user(form: &Form<'_>) -> Option<IrodsUser> {
    let text = limited(form, "user")?;
    IrodsUser::parse(text).map_err(|e| form.problem("user", e)).ok()
}

/// A path may hold any character, unlike other texts.
fn path(form: &Form<'_>) -> Option<LogicalPath> {
    let Some(text) = form.value("path")?.as_str() else {
        form.problem("path", "must be a text \"...\": the path of a data object or collection");
        return None;
    };
    LogicalPath::parse(text.as_bytes()).map_err(|e| form.problem("path", e)).ok()
}

fn needed_path(form: &Form<'_>) -> Option<LogicalPath> {
    let path = path(form);
    if form.value("path").is_none() {
        form.missing("path", "name a data object or a collection");
    }
    path
}

/// The target; none, or an empty text, is that of the configuration.
fn target(form: &Form<'_>) -> Option<String> {
    form.value("target").filter(|v| v.as_str() != Some(""))?;
    let text = limited(form, "target")?;
    irods_omero_model::target::Template::parse(text).map_err(|why| form.problem("target", why)).ok()?;
    Some(text.to_owned())
}

fn collection(form: &Form<'_>) -> Option<CollectionId> {
    if form.value("collection").is_none() {
        form.missing("collection", "give the id of a collection as text");
        return None;
    }
    let text = limited(form, "collection")?;
    CollectionId::parse(text).map_err(|e| form.problem("collection", e)).ok()
}

/// The JSON within a rule text: alone, or wrapped as the server does (`@external rule { ... }`).
fn json_of(text: &str) -> Result<Value, String> {
    let text = text.trim();
    let text = text.strip_prefix("@external").map_or(text, str::trim);
    let inner = text.strip_prefix("rule").and_then(|t| t.trim().strip_prefix('{')?.strip_suffix('}'));
    let json = inner.map_or(text, str::trim);
    serde_json::from_str(json).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn operation_of(text: &str) -> Option<Operation> {
        match read(text.as_bytes()) {
            Reading::Ours(request) => Some(request.operation),
            Reading::NotOurs(_) | Reading::Wrong(_) => None,
        }
    }

    fn wrong(value: &Value) -> String {
        match read_json(value) {
            Reading::Wrong(sentence) => sentence,
            other => panic!("{value}: {other:?}"),
        }
    }

    #[test]
    fn the_servers_wrapping_is_taken_off() {
        let want = Operation::Sweep(CollectionId::parse("10").unwrap());
        for text in [
            r#"{"operation":"sweep","collection":"10"}"#,
            r#"@external rule { {"operation":"sweep","collection":"10"} }"#,
            "@external\n{\"operation\":\"sweep\",\"collection\":\"10\"}",
        ] {
            assert_eq!(operation_of(text).as_ref(), Some(&want), "{text}");
        }
    }

    #[test]
    fn what_is_not_ours_is_declined_with_a_sentence_for_whom_meant_us() {
        for (text, said) in [
            ("", "is not JSON"),
            ("{}", "/operation: is missing"),
            ("writeLine(\"stdout\", 1);", "is not JSON"),
            ("[]", "/operation: is missing"),
            ("{\"operation\":5}", "/operation: must be a text"),
            ("{\"operation\":\"tier\"}", "there is no operation 'tier'"),
            ("{\"operation\":\"statsu\"}", "did you mean 'status'"),
            ("\u{0}", "is not JSON"),
        ] {
            assert!(matches!(read(text.as_bytes()), Reading::NotOurs(why) if why.contains(said)), "{text}");
        }
        assert!(matches!(read(b"\xff\xfe"), Reading::NotOurs(_)));
        assert!(matches!(read(&vec![b' '; MAX_TEXT + 1]), Reading::NotOurs(_)));
    }

    /// Whether an operation may be asked for without a path.
    fn needs_no_path(name: &Value) -> bool {
        name == "who" || name == "audit"
    }

    /// A request of each operation with every field it knows.
    fn whole() -> Vec<Value> {
        let path = "/z/home/alice/a.tif";
        vec![
            json!({"operation": "status"}),
            json!({"operation": "explain", "user": "alice#z", "path": path, "event": "pep_api_data_obj_put_post"}),
            json!({"operation": "import", "path": path, "target": "Dataset:name:{user}"}),
            json!({"operation": "retry", "path": path, "recursive": true}),
            json!({"operation": "ignore", "path": path, "reason": "out of focus", "recursive": true}),
            json!({"operation": "release", "path": path, "recursive": true, "images": "delete"}),
            json!({"operation": "state", "path": path}),
            json!({"operation": "verify", "path": path, "recursive": true, "omero": true}),
            json!({"operation": "audit", "path": path, "recursive": true, "user": "alice#z", "repair": true, "limit": 10,
                "after": r#"{"phase":"directories","after":7}"#}),
            json!({"operation": "who", "user": "alice#z", "path": path}),
            json!({"operation": "install_recurring"}),
            json!({"operation": "remove_recurring"}),
            json!({"operation": "sweep", "collection": "10"}),
            json!({"operation": "sweep_stage", "collection": "10"}),
            json!({"operation": "mark", "collection": "10", "tree": true}),
            json!({"operation": "sweep_all"}),
            json!({"operation": "collect"}),
            json!({"operation": "save"}),
            json!({"operation": "sweep_skipped"}),
            json!({"operation": "deletions"}),
            json!({"operation": "patrol"}),
            json!({"operation": "look_in_omero", "collection": "10", "data": "11", "tree": true}),
            json!({"operation": "delete_in_omero", "collection": "10", "data": "11", "tree": false,
                "by": "alice#z", "admin": false, "tries": 1}),
        ]
    }

    #[test]
    fn every_operation_is_read_with_all_its_fields_and_without_those_that_may_lack() {
        let needed = ["operation", "path", "reason", "collection", "by"];
        for mut request in whole() {
            request["version"] = json!(1);
            request["format"] = json!("table");
            let Reading::Ours(read) = read_json(&request) else { panic!("{request}") };
            assert_eq!(read.format, Format::Table);
            let name = request["operation"].clone();
            let fields = request.as_object_mut().unwrap();
            fields.retain(|k, _| needed.contains(&k.as_str()) && !(needs_no_path(&name) && k == "path"));
            assert!(matches!(read_json(&request), Reading::Ours(r) if r.format == Format::Json), "{request}");
        }
        let read: Vec<String> = whole().iter().map(|r| r["operation"].as_str().unwrap().to_owned()).collect();
        assert_eq!(read, OPERATIONS);
    }

    #[test]
    fn every_field_that_is_missing_or_of_the_wrong_kind_or_unknown_is_named() {
        let needed = ["path", "reason", "collection", "by"];
        for request in whole() {
            let name = request["operation"].clone();
            for key in request.as_object().unwrap().keys().filter(|k| *k != "operation") {
                let mut changed = request.clone();
                changed[key] = json!({"a": 1});
                assert!(wrong(&changed).starts_with(&format!("/{key}: must be")), "{changed}");
                changed.as_object_mut().unwrap().remove(key);
                if needed.contains(&key.as_str()) && !needs_no_path(&name) {
                    assert!(wrong(&changed).starts_with(&format!("/{key}: is missing")), "{changed}");
                }
            }
            let mut unknown = request.clone();
            unknown["colour"] = json!("red");
            assert!(wrong(&unknown).starts_with("/colour: is not a key"), "{unknown}");
            for (key, value) in [("version", json!(2)), ("version", json!("1")), ("format", json!("xml"))] {
                let mut changed = request.clone();
                changed[key] = value;
                assert!(wrong(&changed).starts_with(&format!("/{key}: ")), "{changed}");
            }
        }
    }

    #[test]
    fn every_text_that_is_too_long_or_no_name_is_named() {
        let long = "x".repeat(MAX_FIELD + 1);
        for request in whole() {
            for (key, value) in
                request.as_object().unwrap().iter().filter(|(k, v)| *k != "operation" && v.is_string())
            {
                let mut changed = request.clone();
                let start = if key == "path" { "/" } else { "" };
                changed[key] = json!(format!("{start}{long}"));
                assert!(wrong(&changed).starts_with(&format!("/{key}: ")), "{value}");
            }
        }
        for (key, value) in [
            ("user", "alice"),
            ("path", "../x"),
            ("path", "relative"),
            ("target", "Dataset"),
            ("reason", ""),
            ("reason", "a\nb"),
            ("collection", "x"),
            ("event", ""),
        ] {
            let mut request = whole().into_iter().find(|r| r.get(key).is_some()).unwrap();
            request[key] = json!(value);
            if key == "path" && value == "relative" {
                assert!(wrong(&request).contains("absolute"));
            }
            assert!(wrong(&request).starts_with(&format!("/{key}: ")), "{key} {value}");
        }
    }

    #[test]
    fn an_empty_target_is_that_of_the_configuration_and_a_path_may_hold_a_line_break() {
        let request = json!({"operation": "import", "path": "/z/a\nb", "target": ""});
        let Reading::Ours(request) = read_json(&request) else { panic!() };
        let Operation::Import(import) = request.operation else { panic!() };
        assert_eq!((import.path.as_bytes(), import.target), (&b"/z/a\nb"[..], None));
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let said = wrong(&json!({"operation": "ignore", "pth": "/z/a", "recursive": "yes"}));
        for place in
            ["/path: is missing", "/reason: is missing", "/recursive: must be", "did you mean 'path'"]
        {
            assert!(said.contains(place), "{said}");
        }
    }
}
