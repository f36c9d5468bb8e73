//! What the documents say is so: sentences that they quote are in the source, configurations are configurations, links
//! lead somewhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

use irods_omero_config::Config;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The documents, each with its text.
fn documents() -> Vec<(PathBuf, String)> {
    let files = fs::read_dir(root().join("docs")).unwrap().map(|e| e.unwrap().path());
    let roots = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root().join(name));
    let documents = files.chain(roots).filter(|path| path.extension().is_some_and(|e| e == "md"));
    documents.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// Every source file of ours below a directory as one text; a literal over several lines is one line.
fn source(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()) {
        if entry.is_dir() {
            source(&entry, text);
        } else if let Ok(file) = fs::read_to_string(&entry) {
            let mut lines = file.lines();
            while let Some(line) = lines.next() {
                let mut line = line.trim().to_owned();
                // Rust: the line goes on after its backslash. C++: literals side by side are one.
                while line.ends_with('\\') || (line.ends_with('"') && line.starts_with('"')) {
                    let Some(next) = lines.next() else { break };
                    let (end, start) = if line.ends_with('\\') { ('\\', ' ') } else { ('"', '"') };
                    line = format!("{}{}", line.trim_end_matches(end), next.trim().trim_start_matches(start));
                }
                text.push_str(&line);
                text.push('\n');
            }
        }
    }
}

#[test]
fn every_sentence_that_the_documents_quote_by_symptom_is_in_the_source() {
    let mut all = String::new();
    let crates = fs::read_dir(root().join("crates")).unwrap().map(|e| e.unwrap().path().join("src"));
    for directory in crates.chain([root().join("src")]) {
        source(&directory, &mut all);
    }
    source(&root().join("omero"), &mut all);
    let all = all.replace("\\\"", "\"");
    let text = |name: &str| fs::read_to_string(root().join("docs").join(name)).unwrap();
    let agent = text("agent.md");
    let (_, agent) = agent.split_once("| message | remedy |").unwrap();
    let document = format!("{}{agent}", text("troubleshooting.md"));
    let rows = document.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| look |"));
    let mut quoted = 0;
    for row in rows {
        let cell = row.trim_start_matches("| ").split(" | ").next().unwrap();
        for sentence in cell.split('`').skip(1).step_by(2).filter(|s| s.contains(' ')) {
            // What is typed is no sentence; what stands for it in a template is in braces.
            if ["irods-omero ", "imeta ", "irule "].iter().any(|command| sentence.starts_with(command)) {
                continue;
            }
            quoted += 1;
            for part in
                sentence.split("...").map(|p| p.trim_matches(['{', '}'])).filter(|p| p.trim().len() > 2)
            {
                assert!(all.contains(part), "'{part}' of '{sentence}' is nowhere in the source");
            }
        }
    }
    assert!(quoted > 40, "{quoted}");
}

#[test]
fn every_configuration_that_a_document_shows_is_right() {
    let mut shown = 0;
    for (path, text) in documents() {
        for block in text.split("```json\n").skip(1) {
            let block = block.split("\n```").next().unwrap();
            let value: Value =
                serde_json::from_str(block).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            if value.get("operation").is_some() || value.is_array() {
                continue; // what is said to the plugin, and its answers
            }
            let stanza = value.get("plugin_specific_configuration").unwrap_or(&value);
            Config::parse(stanza).unwrap_or_else(|problems| panic!("{}: {problems:?}", path.display()));
            shown += 1;
        }
    }
    assert!(shown >= 3, "{shown}");
}

#[test]
fn every_link_leads_to_a_file_and_every_anchor_to_a_heading() {
    for (path, text) in documents() {
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').map_or((link, None), |(f, a)| (f, Some(a)));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.is_file(), "{}: {link}", path.display());
            let headings = || {
                let text = fs::read_to_string(&target).unwrap();
                let titles = text
                    .lines()
                    .filter(|l| l.starts_with('#'))
                    .map(|l| l.trim_start_matches(['#', ' ']).to_lowercase());
                titles
                    .map(|t| {
                        t.replace(' ', "-")
                            .replace(|c: char| !c.is_alphanumeric() && c != '-' && c != '_', "")
                    })
                    .collect::<Vec<_>>()
            };
            assert!(anchor.is_none_or(|a| headings().iter().any(|h| h == a)), "{}: {link}", path.display());
        }
    }
}

#[test]
fn the_tests_that_the_security_model_names_exist() {
    let text = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let named: Vec<&str> =
        text.split('`').filter(|word| Path::new(word).extension().is_some_and(|e| e == "rs")).collect();
    assert!(named.len() > 8);
    for file in named {
        let text = fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(text.contains("#[test]") || text.contains("#[tokio::test"), "{file} holds no test");
    }
}

#[test]
fn the_diagrams_are_what_their_texts_say() {
    let output =
        Command::new("python3").arg(root().join("docs/diagrams/draw")).arg("--check").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
