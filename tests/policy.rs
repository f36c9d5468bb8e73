//! The functions policies call, called as the native rule language does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::Value;
use support::zone::TestZone;

/// Calls a function; gives the arguments afterwards, or what the client was told.
fn call(zone: &TestZone, client: &str, words: &[&str]) -> Result<Vec<String>, String> {
    let seen = zone.act(client, &[&["call-rule"], words].concat());
    if seen.ok { Ok(serde_json::from_str(seen.output.trim()).unwrap()) } else { Err(seen.error) }
}

#[test]
fn omero_who_puts_its_answer_into_the_last_argument_and_leaves_the_others() {
    let zone = TestZone::new();
    let arguments = call(&zone, "alice", &["omero_who", "alice#tempZone", "whatever"]).unwrap();
    assert_eq!(arguments[0], "alice#tempZone");
    let answer: Value = serde_json::from_str(&arguments[1]).unwrap();
    assert_eq!((&answer["omero_user"], &answer["mapped_by"]), (&"alice".into(), &"table".into()));
}

#[test]
fn a_function_that_is_refused_or_called_wrongly_fails_with_a_code_and_a_sentence() {
    let zone = TestZone::new();
    for (words, code, sentence) in [
        (&["omero_who", "bob#tempZone", ""][..], "-830000", "only an administrator"),
        (&["omero_who", "alice#tempZone"], "-130000", "takes 2 arguments, not 1"),
        (&["omero_who", "alice#tempZone", "", ""], "-130000", "takes 2 arguments, not 3"),
        (&["omero_who", "alice", ""], "-130000", "/user: "),
    ] {
        let told = call(&zone, "alice", words).unwrap_err();
        assert!(told.contains(code) && told.contains(sentence), "{words:?}: {told}");
    }
    assert!(call(&zone, "alice", &["omero_whose", "alice#tempZone", ""]).is_err());
}

#[test]
fn functions_answer_where_nothing_is_watched_and_none_where_the_configuration_is_wrong() {
    let nothing_watched = TestZone::with(|c| c["watch"] = serde_json::json!([]));
    assert!(call(&nothing_watched, "alice", &["omero_who", "alice#tempZone", ""]).is_ok());
    let wrong = TestZone::with(|c| c["wotch"] = serde_json::json!([]));
    assert!(call(&wrong, "alice", &["omero_who", "alice#tempZone", ""]).is_err());
}
