//! The functions policies call, called as the native rule language does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use irods_rule_engine_plugin_omero::operations::Function;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
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

const FILE: &str = "/tempZone/home/alice/a.tif";

#[test]
fn every_function_is_listed_and_answers_a_policy() {
    let zone = TestZone::with(|c| c["quiet_period_in_seconds"] = serde_json::json!(3_600));
    zone.does("alice", &["put", &zone.image("a.tif"), FILE]);
    let listed = zone.admin(&["rules", "alice"]);
    for function in Function::ALL {
        assert!(listed.lines().any(|l| l.contains(function.name)), "{}: {listed}", function.name);
    }
    let id = zone.admin(&["sql", "select data_id from R_DATA_MAIN where data_name = 'a.tif'"]);
    let imported = call(&zone, "alice", &["omero_import", FILE, "Dataset:name:x", ""]).unwrap();
    assert_eq!(imported, [FILE, "Dataset:name:x", id.trim()]);
    let ignored = call(&zone, "alice", &["omero_ignore", FILE, "out of focus"]).unwrap();
    assert_eq!(ignored, [FILE, "out of focus"]);
    let state = call(&zone, "alice", &["omero_state", FILE, ""]).unwrap();
    let record: Value = serde_json::from_str(&state[1]).unwrap();
    assert_eq!((&record["state"], &record["ignored_by"]), (&"skipped".into(), &"alice#tempZone".into()));
    assert_eq!(call(&zone, "alice", &["omero_retry", FILE]).unwrap(), [FILE]);
    assert_eq!(zone.value(FILE, "state").as_deref(), Some("pending"));
    let explained = call(&zone, "alice", &["omero_explain", "", FILE, ""]).unwrap();
    let answer: Value = serde_json::from_str(&explained[2]).unwrap();
    assert_eq!(answer["outcome"], "wait");
}

#[test]
fn a_function_about_the_data_of_somebody_else_fails_with_a_code_a_rule_can_catch() {
    let zone = TestZone::new();
    zone.does("alice", &["put", &zone.image("a.tif"), FILE]);
    for words in [
        &["omero_import", FILE, "", ""][..],
        &["omero_retry", FILE],
        &["omero_ignore", FILE, "because"],
        &["omero_release", FILE, ""],
        &["omero_state", FILE, ""],
    ] {
        let told = call(&zone, "bob", words).unwrap_err();
        assert!(told.contains("-358000") && told.contains("or you may not see it"), "{words:?}: {told}");
    }
    let told = call(&zone, "alice", &["omero_import", FILE, "Datset:name:x", ""]).unwrap_err();
    assert!(told.contains("-130000") && told.contains("/target: "), "{told}");
    for words in [&["omero_import", FILE, ""][..], &["omero_retry"], &["omero_ignore", FILE]] {
        assert!(call(&zone, "alice", words).unwrap_err().contains("argument"), "{words:?}");
    }
}

/// The calls of our functions in a text: each name and its arguments.
fn calls(text: &str) -> Vec<(String, Vec<String>)> {
    let code: String =
        text.lines().filter(|l| !l.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("omero_") {
        let rest = &code[at..];
        let Some((name, arguments)) = rest.split_once('(') else { continue };
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            continue;
        }
        found.push((name.to_owned(), arguments_of(arguments)));
    }
    found
}

/// The arguments up to the parenthesis that closes the call; commas and parentheses within quotes count as text.
fn arguments_of(text: &str) -> Vec<String> {
    let (mut arguments, mut depth, mut quoted) = (vec![String::new()], 0, false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            '(' | '[' if !quoted => depth += 1,
            ')' if !quoted && depth == 0 => break,
            ')' | ']' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                arguments.push(String::new());
                continue;
            }
            _ => {}
        }
        arguments.last_mut().unwrap().push(c);
    }
    arguments.into_iter().map(|a| a.trim().to_owned()).collect()
}

fn rules() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect()
}

#[test]
fn every_example_calls_functions_that_there_are_with_the_arguments_they_take() {
    let mut number = 0;
    for path in rules() {
        let text = fs::read_to_string(&path).unwrap();
        for (name, arguments) in calls(&text).into_iter().filter(|(name, _)| name != "omero_policies") {
            let function = Function::of(name.as_bytes());
            let function = function.unwrap_or_else(|| panic!("{}: there is no {name}", path.display()));
            let texts: Vec<&[u8]> = arguments.iter().map(|_| &b"x"[..]).collect();
            let taken = function.request(&texts);
            assert!(taken.is_ok(), "{}: {name}{arguments:?}: {taken:?}", path.display());
            number += 1;
        }
    }
    assert!(number >= 8, "only {number} calls were found");
}

#[test]
fn every_example_is_told_of_in_the_readme_and_the_python_one_compiles() {
    let readme = rules().into_iter().find(|p| p.ends_with("README.md")).unwrap();
    let told = fs::read_to_string(readme).unwrap();
    for path in rules() {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name == "README.md" || told.contains(&format!("`{name}`")), "{name}");
        if path.extension().is_some_and(|e| e == "py") {
            let source = "import sys; compile(open(sys.argv[1]).read(), sys.argv[1], 'exec')";
            let checked =
                std::process::Command::new("python3").arg("-c").arg(source).arg(&path).output().unwrap();
            assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        }
    }
}

#[test]
fn a_target_that_lacks_its_avu_is_what_the_example_refuses() {
    let zone =
        TestZone::with(|c| c["target"] = serde_json::json!("Project:name:{avu:project}/Dataset:name:x"));
    let new = "/tempZone/home/alice/new.tif";
    let explained = call(&zone, "alice", &["omero_explain", "", new, ""]).unwrap();
    assert!(explained[2].contains(r#""outcome":"failed""#), "{}", explained[2]);
    zone.does("alice", &["meta", "add", "-C", "/tempZone/home/alice", "project", "p1"]);
    let explained = call(&zone, "alice", &["omero_explain", "", new, ""]).unwrap();
    assert!(explained[2].contains(r#""outcome":"import""#), "{}", explained[2]);
}
