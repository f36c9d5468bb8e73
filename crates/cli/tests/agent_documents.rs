//! The command lines that the documents show can be typed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

use irods_omero_agent::config::{Config, Listen};
use irods_omero_model::form::{Asked, Kind};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every command line that a document shows: in a block, after a `$ ` or in a block of `sh`, and in running text.
fn shown() -> BTreeSet<String> {
    let documents = fs::read_dir(root().join("docs")).unwrap().map(|e| e.unwrap().path());
    let roots = ["README.md", "CONTRIBUTING.md"].map(|name| root().join(name));
    let mut lines = BTreeSet::new();
    for path in documents.chain(roots).filter(|p| p.extension().is_some_and(|e| e == "md")) {
        let mut block = None;
        for line in fs::read_to_string(&path).unwrap().lines() {
            if let Some(kind) = line.strip_prefix("```") {
                block = if block.is_some() { None } else { Some(kind.to_owned()) };
                continue;
            }
            match (&block, line.strip_prefix("$ ")) {
                (Some(_), Some(command)) => lines.extend(command.split(" && ").map(str::to_owned)),
                (Some(kind), None) if kind == "sh" => lines.extend(line.split(" && ").map(str::to_owned)),
                (Some(_), None) => {}
                (None, _) => {
                    let quoted = line.split('`').skip(1).step_by(2);
                    let is_command = |q: &&str| q.starts_with("irods-omero ") || q.starts_with("script/");
                    lines.extend(quoted.filter(is_command).map(str::to_owned));
                }
            }
        }
    }
    lines
}

/// What the reader takes for a key, as the table of the agent's document says it: the value and the default.
fn in_words(kind: &Kind) -> Option<(String, String)> {
    let (value, default) = match kind {
        Kind::Any => return None,
        Kind::Object | Kind::Map => ("table", String::new()),
        Kind::List => ("list", String::new()),
        Kind::Text { .. } | Kind::Name | Kind::Choice { .. } => ("text", String::new()),
        Kind::Path => ("path", String::new()),
        Kind::Flag { default } => ("true or false", default.to_string()),
        Kind::Number { default, low, high } => {
            return Some((format!("{low} to {high}"), default.to_string()));
        }
    };
    Some((value.to_owned(), default))
}

#[test]
fn the_table_of_the_agents_keys_is_what_its_reader_asks_for() {
    let text = fs::read_to_string(root().join("docs/agent.md")).unwrap();
    let table = text.split_once("<!-- keys -->\n").unwrap().1.split_once("<!-- end of keys -->").unwrap().0;
    let mut shown = BTreeMap::new();
    for row in table.lines().skip(2) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [key, value, default, _] = cells[..] else { panic!("{row}") };
        shown.insert(key.trim_matches('`').to_owned(), (value.to_owned(), default.to_owned()));
    }
    // The document's own example holds every table.
    let example = text.split_once("```toml\n").unwrap().1.split_once("\n```").unwrap().0;
    let mut asked: BTreeMap<String, Option<(String, String)>> = BTreeMap::new();
    for Asked { pointer, kind } in Config::asked(example).unwrap() {
        let key = pointer.trim_start_matches('/').replace("/0/", "[].").replace('/', ".");
        let known = asked.entry(key).or_default();
        *known = known.take().or(in_words(&kind));
    }
    assert_eq!(shown.keys().collect::<Vec<_>>(), asked.keys().collect::<Vec<_>>());
    for (key, (value, default)) in &shown {
        match &asked[key] {
            // The plugin's reader takes these.
            None => assert!(value.starts_with("as in ") || value == "table", "{key}"),
            Some((expected, _)) if default.starts_with('`') || default == "the host" => {
                assert_eq!(value, expected, "{key}");
            }
            Some(expected) => assert_eq!((value, default), (&expected.0, &expected.1), "{key}"),
        }
    }
    // Those whose default is a text hold it without the key.
    let short = Config::parse(SHORT).unwrap();
    assert_eq!(shown["listen"].1, format!("`{}`", "unix:/run/irods-omero/agent.sock"));
    assert_eq!(short.listen, Listen::Unix("/run/irods-omero/agent.sock".into()));
    assert_eq!(shown["state_directory"].1, format!("`{}`", short.state_directory.display()));
    assert_eq!(short.servers.keys().collect::<Vec<_>>(), ["omero.example.org"]);
}

/// A configuration that leaves everything to its default.
const SHORT: &str = "roots = [\"/v\"]\n[users]\nallow = [\"a\"]\n[[omero]]\nserver = \"omero.example.org\"\n\
                     sudo_user = \"s\"\npassword_file = \"/p\"\n[omero.importer]\ncommand = \"/c\"\njars = \"/j\"\nlogback = \"/l\"\n";

#[test]
fn every_script_a_document_names_is_there_and_can_be_run() {
    let scripts: Vec<String> = shown().into_iter().filter(|l| l.starts_with("script/")).collect();
    assert!(scripts.len() >= 3, "{scripts:?}");
    for line in scripts {
        let script = root().join(line.split(' ').next().unwrap());
        let mode = fs::metadata(&script).unwrap_or_else(|e| panic!("{line}: {e}")).permissions().mode();
        assert!(mode & 0o111 != 0, "{line}");
    }
}

#[test]
fn every_command_line_of_irods_omero_in_a_document_can_be_typed() {
    let lines: Vec<String> = shown().into_iter().filter(|l| l.contains("irods-omero ")).collect();
    assert!(lines.len() >= 3, "{lines:?}");
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().skip_while(|w| *w != "irods-omero").skip(1).collect();
        let commands = words
            .iter()
            .take_while(|w| w.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') && !w.starts_with('-'));
        let commands: Vec<&str> = commands.copied().collect();
        let help =
            Command::new(env!("CARGO_BIN_EXE_irods-omero")).args(&commands).arg("--help").output().unwrap();
        assert!(help.status.success(), "{line}: {}", String::from_utf8_lossy(&help.stderr));
        let help = String::from_utf8(help.stdout).unwrap();
        for option in words.iter().filter(|w| w.starts_with("--")) {
            let option = option.split('=').next().unwrap();
            assert!(help.contains(option), "{line}: {option}");
        }
    }
}
