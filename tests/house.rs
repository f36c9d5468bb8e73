//! The rooms of the house: no room imports one above it, and no two import each other.

#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on has failed

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}

/// The text of a source file without its own tests.
fn source(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]").next().unwrap().to_owned()
}

/// What a text names behind a prefix.
fn named<'t>(text: &'t str, prefix: &str) -> BTreeSet<&'t str> {
    let word =
        |rest: &'t str| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or("");
    text.split(prefix).skip(1).map(word).filter(|w| !w.is_empty()).collect()
}

#[test]
fn no_crate_imports_one_above_it() {
    let floors = ["model", "importer", "config", "agent", "cli"];
    for (floor, name) in floors.iter().enumerate() {
        for path in rust_files(&root().join("crates").join(name).join("src")) {
            let text = source(&path);
            assert!(
                !text.contains("irods_rule_engine_plugin_omero::"),
                "{}: the plugin is above",
                path.display()
            );
            for other in named(&text, "irods_omero_") {
                let Some(of) = floors.iter().position(|f| *f == other) else { continue };
                assert!(of < floor || other == *name, "{}: {other} is above {name}", path.display());
            }
        }
    }
}

#[test]
fn the_bottom_of_the_house_has_no_io_and_no_unsafe() {
    for path in rust_files(&root().join("crates/model/src")) {
        let text = source(&path);
        for word in ["std::fs", "std::net", "std::process", "std::env", "unsafe {"] {
            assert!(!text.contains(word), "{}: {word}", path.display());
        }
    }
    assert!(source(&root().join("crates/model/src/lib.rs")).contains("#![forbid(unsafe_code)]"));
}

#[test]
fn unsafe_stands_at_the_boundaries_only() {
    let mut all = rust_files(&root().join("src"));
    for name in ["importer", "config", "agent", "cli"] {
        all.extend(rust_files(&root().join("crates").join(name).join("src")));
    }
    for path in all {
        let is_boundary = path.components().any(|c| c.as_os_str() == "ffi");
        assert!(is_boundary || !source(&path).contains("unsafe {"), "{}", path.display());
    }
}

#[test]
fn no_two_rooms_of_the_plugin_import_each_other() {
    // The boundary is the door: what the server calls leads in there, and what we ask of the server leads out.
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let src = root().join("src");
    for path in rust_files(&src) {
        let inside = path.strip_prefix(&src).unwrap();
        let room = inside.components().next().unwrap().as_os_str().to_string_lossy().replace(".rs", "");
        if path.components().any(|c| c.as_os_str() == "tests" || c.as_os_str() == "tests.rs") {
            continue;
        }
        let text = source(&path);
        let others: Vec<String> =
            named(&text, "crate::").into_iter().filter(|other| *other != room).map(str::to_owned).collect();
        imports.entry(room).or_default().extend(others);
    }
    for (room, others) in &imports {
        for other in others {
            let back = imports.get(other).is_some_and(|back| back.contains(room));
            let is_door = room == "ffi" || other == "ffi";
            assert!(is_door || !back, "{room} and {other} import each other");
        }
    }
}
