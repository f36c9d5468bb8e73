//! The configurations that the documents show are configurations.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

use irods_omero_config::Config;
use irods_omero_model::names::LogicalPath;
use irods_omero_model::visibility::Location;
use irods_rule_engine_plugin_omero::operations::{Function, Reading, read};
use std::path::Path;

/// The one JSON block of a document.
fn example(document: &str) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(document);
    let text = std::fs::read_to_string(path).unwrap();
    let block = text.split_once("```json\n").unwrap().1.split_once("\n```").unwrap().0;
    Config::parse(&serde_json::from_str(block).unwrap())
        .unwrap_or_else(|problems| panic!("{document}: {problems:?}"))
}

#[test]
fn the_worked_example_of_identities_is_valid() {
    let config = example("identity.md");
    assert_eq!((config.watches.len(), config.identities.on_behalf_of.len()), (2, 2));
}

#[test]
fn the_worked_example_of_paths_leads_where_its_table_says() {
    let visibility = example("paths.md").visibility;
    let seen = |path: &str, hierarchy| {
        let replica = Location { physical_path: path.as_bytes(), hierarchy };
        visibility.through_vault(&replica).map(|p| String::from_utf8(p).unwrap())
    };
    let here = "/srv/scopes/vault/microscopes/dora/run1/a.tif";
    assert_eq!(seen(here, "scopes").unwrap(), "/mnt/scopes/vault/microscopes/dora/run1/a.tif");
    assert_eq!(seen(here, "labs"), None);
    assert_eq!(seen("/srv/other/c.tif", "scopes"), None);
    let mounted = |path: &str| visibility.through_mount(&LogicalPath::parse(path.as_bytes()).unwrap());
    assert_eq!(
        mounted("/tempZone/home/alice/microscopy/b.tif").unwrap(),
        b"/mnt/nfsrods/home/alice/microscopy/b.tif"
    );
    assert_eq!((mounted("/tempZone/archive/c.tif"), visibility.stage_to.as_deref()), (None, Some("scopes")));
}

#[test]
fn the_operations_that_the_document_shows_are_understood_and_every_function_is_told_of() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let text = std::fs::read_to_string(path).unwrap();
    let blocks: Vec<&str> =
        text.split("```json\n").skip(1).map(|rest| rest.split_once("\n```").unwrap().0).collect();
    assert!(blocks.len() >= 10, "{blocks:?}");
    for block in blocks {
        assert!(matches!(read(block.as_bytes()), Reading::Ours(_)), "{block}: {:?}", read(block.as_bytes()));
    }
    for function in Function::ALL {
        let call = format!("`{}({})`", function.name, function.signature());
        assert!(text.contains(&call), "{call}");
    }
}
