//! The importer in mode `command` against the stand-in OMERO: what is imported, as whom, and what every way of
//! failing becomes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use irods_omero_config::Config;
use irods_omero_importer::command::CommandImporter;
use irods_omero_importer::{Batch, BatchFile, FileOutcome, Importer, ImporterError, Subject};
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::{DataId, IrodsUser, LogicalPath, OmeroName};
use irods_omero_model::record::Version;
use irods_omero_model::target::Target;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use support::omero::TestOmero;
use tempfile::TempDir;

struct World {
    _dir: TempDir,
    vault: PathBuf,
    omero: TestOmero,
    importer: Value,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let vault = dir.path().join("vault");
    fs::create_dir(&vault).unwrap();
    let omero = TestOmero::new(dir.path());
    let importer = omero.importer_json();
    World { vault, omero, importer, _dir: dir }
}

impl World {
    fn image(&self, name: &str) -> PathBuf {
        let path = self.vault.join(name);
        self.omero.admin(&["make", "tiff", path.to_str().unwrap()]);
        path
    }

    /// How many annotations hang on nothing: of all but ours, the importer makes one for each fileset (how it was
    /// transferred).
    fn orphans(&self) -> usize {
        self.omero.count("annotations") - self.omero.count("filesets") - self.map_annotations()
    }

    /// How many different map annotations of ours are linked to filesets.
    fn map_annotations(&self) -> usize {
        let shown = self.omero.show();
        let filesets = shown["filesets"].as_array().unwrap();
        let linked = filesets.iter().flat_map(|f| f["annotations"].as_array().unwrap());
        linked.filter(|a| a["ns"] == "irods.org/omero").count()
    }

    fn run(&self, batch: &Batch) -> Result<Vec<FileOutcome>, ImporterError> {
        let config =
            Config::parse(&json!({"omero": self.omero.server_json(), "importer": self.importer})).unwrap();
        let omero = config.omero.unwrap();
        CommandImporter::new(&omero).import(batch, 1, &mut || {})
    }
}

fn file(number: u64, path: &Path) -> BatchFile {
    BatchFile {
        subject: Subject::DataObject(DataId::parse(&number.to_string()).unwrap()),
        logical_path: LogicalPath::parse(format!("/z/home/alice/run1/{number} it's a \"b\" #c").as_bytes())
            .unwrap(),
        importer_path: path.to_str().unwrap().to_owned(),
        version: Version { modify_time: 1_700_000_000, size: fs::metadata(path).map_or(0, |m| m.len()) },
        checksum: Some("sha2:abc=".to_owned()),
        owner: IrodsUser::parse("alice#z").unwrap(),
        previous: vec![],
    }
}

fn batch_of(user: &str, paths: &[PathBuf]) -> Batch {
    Batch {
        identity: OmeroIdentity { user: OmeroName::parse(user).unwrap(), group: None },
        target: Target::parse("Dataset:name:run1").unwrap(),
        plate_target: None,
        may_join: false,
        files: paths.iter().enumerate().map(|(i, p)| file(i as u64 + 1, p)).collect(),
    }
}

fn imported(outcome: &FileOutcome) -> &irods_omero_model::record::Imported {
    match outcome {
        FileOutcome::Imported(imported) => imported,
        other => panic!("{other:?}"),
    }
}

fn reason(outcome: &FileOutcome) -> &str {
    match outcome {
        FileOutcome::Failed(reason) | FileOutcome::Postponed(reason) => reason,
        other @ (FileOutcome::Imported(_) | FileOutcome::Joined(_)) => panic!("{other:?}"),
    }
}

#[test]
fn a_batch_is_imported_in_place_as_the_mapped_user_and_annotated() {
    let w = world();
    let paths = [w.image("a.tif"), w.image("b c.tif")];
    let outcomes = w.run(&batch_of("alice", &paths)).unwrap();
    for outcome in &outcomes {
        assert_eq!(imported(outcome).images.len(), 1);
        assert!(!imported(outcome).adopted && !imported(outcome).is_member);
    }
    let shown = w.omero.show().to_string();
    assert!(shown.contains("alice") && shown.contains("run1") && shown.contains("iRODS data id"), "{shown}");
    assert!(shown.contains("it's a \\\"b\\\" #c"), "{shown}");
    for path in &paths {
        assert!(shown.contains(&format!("\"{}\"", path.display())), "no link to {}: {shown}", path.display());
    }
    assert_eq!(fs::read_dir(&w.omero.work).unwrap().count(), 0, "the run's directory is removed");
}

#[test]
fn the_same_batch_again_is_adopted_and_makes_nothing_new() {
    let w = world();
    let batch = batch_of("alice", &[w.image("a.tif")]);
    let first = w.run(&batch).unwrap();
    let second = w.run(&batch).unwrap();
    assert_eq!(imported(&first[0]).fileset, imported(&second[0]).fileset);
    assert!(imported(&second[0]).adopted);
    assert_eq!((w.omero.count("filesets"), w.map_annotations()), (1, 1));
}

#[test]
fn images_that_somebody_else_made_of_the_same_file_are_not_adopted() {
    let w = world();
    w.omero.admin(&["group", "permissions", "lab", "rwra--"]);
    w.omero.admin(&["user", "add", "bob", "--group", "lab"]);
    let path = w.image("a.tif");
    let others = w.run(&batch_of("bob", std::slice::from_ref(&path))).unwrap();
    let alices = w.run(&batch_of("alice", &[path])).unwrap();
    assert!(!imported(&alices[0]).adopted);
    assert_ne!(imported(&alices[0]).fileset, imported(&others[0]).fileset);
    assert_eq!(w.omero.count("filesets"), 2);
}

#[test]
fn images_of_an_earlier_data_object_of_the_same_path_are_not_adopted() {
    let w = world();
    let mut batch = batch_of("alice", &[w.image("a.tif")]);
    w.run(&batch).unwrap();
    batch.files[0].subject = Subject::DataObject(DataId::parse("999").unwrap());
    let second = w.run(&batch).unwrap();
    assert!(!imported(&second[0]).adopted);
    assert_eq!(w.omero.count("filesets"), 2);
}

#[test]
fn an_unknown_format_fails_alone_with_a_sentence() {
    let w = world();
    let notes = w.vault.join("notes.txt");
    fs::write(&notes, "no image").unwrap();
    let outcomes = w.run(&batch_of("alice", &[notes, w.image("a.tif")])).unwrap();
    assert!(matches!(&outcomes[0], FileOutcome::Failed(r) if r.contains("no image format")), "{outcomes:?}");
    imported(&outcomes[1]);
}

#[test]
fn a_damaged_image_fails_and_the_others_do_not() {
    let w = world();
    let broken = w.vault.join("broken.tif");
    w.omero.admin(&["make", "broken", broken.to_str().unwrap()]);
    let outcomes = w.run(&batch_of("alice", &[broken, w.image("a.tif")])).unwrap();
    assert!(matches!(&outcomes[0], FileOutcome::Failed(r) if r.contains("damaged")), "{outcomes:?}");
    imported(&outcomes[1]);
}

#[test]
fn only_damaged_images_exit_0_and_are_failed_all_the_same() {
    let w = world();
    let broken = w.vault.join("broken.tif");
    w.omero.admin(&["make", "broken", broken.to_str().unwrap()]);
    let outcomes = w.run(&batch_of("alice", &[broken])).unwrap();
    assert!(matches!(&outcomes[0], FileOutcome::Failed(_)), "{outcomes:?}");
}

#[test]
fn the_files_of_a_multi_file_set_share_one_fileset() {
    let w = world();
    let set = w.vault.join("set.companion.ome");
    w.omero.admin(&["make", "companion", set.to_str().unwrap(), "--files", "3"]);
    let mut paths: Vec<PathBuf> = fs::read_dir(&w.vault).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 4, "{paths:?}");
    let outcomes = w.run(&batch_of("alice", &paths)).unwrap();
    let key: Vec<_> = outcomes.iter().filter(|o| !imported(o).is_member).collect();
    assert_eq!(key.len(), 1, "{outcomes:?}");
    assert_eq!(w.omero.count("filesets"), 1);
}

#[test]
fn omero_down_will_pass() {
    let w = world();
    w.omero.admin(&["fault", "set", "server-down"]);
    let error = w.run(&batch_of("alice", &[w.image("a.tif")])).unwrap_err();
    assert!(matches!(&error, ImporterError::WillPass(r) if r.contains("cannot be reached")), "{error}");
}

#[test]
fn a_user_omero_does_not_know_is_refused() {
    let w = world();
    let error = w.run(&batch_of("nobody", &[w.image("a.tif")])).unwrap_err();
    assert!(matches!(error, ImporterError::Refused(_)), "{error}");
}

#[test]
fn an_open_password_file_is_refused_before_omero_is_asked() {
    let w = world();
    fs::set_permissions(&w.omero.password_file, fs::Permissions::from_mode(0o644)).unwrap();
    let error = w.run(&batch_of("alice", &[w.image("a.tif")])).unwrap_err();
    assert!(error.to_string().contains("chmod 0600"), "{error}");
    assert!(!error.to_string().contains("secret"));
}

#[test]
fn a_wrong_password_is_said_to_be_one() {
    let w = world();
    fs::write(&w.omero.password_file, "wrong\n").unwrap();
    let error = w.run(&batch_of("alice", &[w.image("a.tif")])).unwrap_err();
    assert!(error.to_string().contains("password_file"), "{error}");
}

#[test]
fn a_command_that_is_missing_or_prints_garbage_loses_nothing() {
    let mut w = world();
    let batch = batch_of("alice", &[w.image("a.tif")]);
    let script = w.vault.parent().unwrap().join("odd-omero");
    for text in ["#!/bin/sh\nexit 0\n", "#!/bin/sh\nhead -c 100000 /dev/urandom\n", "#!/bin/sh\nkill -9 $$\n"]
    {
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        w.importer["command"] = json!(script);
        let outcomes = w.run(&batch).unwrap();
        assert!(matches!(&outcomes[..], [FileOutcome::Postponed(_)]), "{text}: {outcomes:?}");
    }
    w.importer["command"] = json!("/nonexistent/omero");
    let outcomes = w.run(&batch).unwrap();
    assert!(reason(&outcomes[0]).contains("cannot be run"), "{outcomes:?}");
}

#[test]
fn a_worker_that_is_missing_or_prints_garbage_loses_nothing() {
    let mut w = world();
    let batch = batch_of("alice", &[w.image("a.tif")]);
    let script = w.vault.parent().unwrap().join("odd-python");
    for text in ["#!/bin/sh\nexit 0\n", "#!/bin/sh\nhead -c 100000 /dev/urandom\n", "#!/bin/sh\nkill -9 $$\n"]
    {
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        w.importer["worker"] = json!([script]);
        assert!(matches!(w.run(&batch), Err(ImporterError::WillPass(_))), "{text}");
    }
    w.importer["worker"] = json!(["/nonexistent/python"]);
    let error = w.run(&batch).unwrap_err();
    assert!(matches!(&error, ImporterError::WillPass(r) if r.contains("importer/worker")), "{error}");
    assert_eq!(w.omero.count("filesets"), 0);
}

#[test]
fn a_worker_that_dies_at_any_question_costs_nothing() {
    for (method, place) in [
        ("filesets", "start"),
        ("container", "end"),
        ("annotate", "start"),
        ("annotate", "end"),
        ("logout", "start"),
    ] {
        let w = world();
        let image = w.image("a.tif");
        w.omero.admin(&["fault", "set", "kill", "--command", method, "--where", place, "--times", "1"]);
        let outcomes = w.run(&batch_of("alice", &[image])).unwrap();
        assert_eq!(imported(&outcomes[0]).images.len(), 1, "{method} {place}");
        assert_eq!((w.omero.count("filesets"), w.omero.count("datasets")), (1, 1), "{method} {place}");
        assert_eq!((w.map_annotations(), w.orphans()), (1, 0), "{method} {place}");
        assert_eq!(fs::read_dir(&w.omero.work).unwrap().count(), 0, "{method} {place}");
    }
}

#[test]
fn hundreds_of_filesets_are_annotated_over_a_slow_server_and_no_annotation_is_orphaned() {
    let mut w = world();
    // A request may take a second, all of them together take two.
    w.importer["command_timeout_in_seconds"] = json!(1);
    let paths: Vec<PathBuf> = (0..100).map(|i| w.image(&format!("{i}.tif"))).collect();
    w.omero.admin(&[
        "fault",
        "set",
        "slow",
        "--command",
        "annotate",
        "--where",
        "answer",
        "--seconds",
        "0.02",
    ]);
    let outcomes = w.run(&batch_of("alice", &paths)).unwrap();
    assert!(outcomes.iter().all(|o| matches!(o, FileOutcome::Imported(_))), "{outcomes:?}");
    assert!(w.omero.asked("annotate") > 1);
    assert_eq!((w.map_annotations(), w.orphans()), (100, 0));
}

#[test]
fn filesets_whose_annotation_was_cut_off_are_annotated_by_the_next_try() {
    let mut w = world();
    w.importer["command_timeout_in_seconds"] = json!(5);
    let paths: Vec<PathBuf> = (0..3).map(|i| w.image(&format!("{i}.tif"))).collect();
    let batch = batch_of("alice", &paths);
    w.omero.admin(&["fault", "set", "kill", "--command", "annotate", "--where", "start"]);
    let outcomes = w.run(&batch).unwrap();
    assert!(outcomes.iter().all(|o| reason(o).contains("annotation")), "{outcomes:?}");
    assert_eq!((w.omero.count("filesets"), w.map_annotations()), (3, 0));
    w.omero.admin(&["fault", "clear"]);
    let outcomes = w.run(&batch).unwrap();
    assert!(outcomes.iter().all(|o| imported(o).adopted));
    assert_eq!((w.omero.count("filesets"), w.map_annotations(), w.orphans()), (3, 3, 0));
}

#[test]
fn results_for_files_never_asked_for_are_not_believed() {
    let w = world();
    let image = w.image("a.tif");
    w.omero.admin(&["fault", "set", "foreign-results", "--command", "import", "--ids", "4711"]);
    let outcomes = w.run(&batch_of("alice", &[image])).unwrap();
    let ids: Vec<String> = outcomes
        .iter()
        .filter_map(|o| match o {
            FileOutcome::Imported(i) => Some(i.fileset.to_string()),
            _ => None,
        })
        .collect();
    assert!(!ids.contains(&"4711".to_owned()), "{outcomes:?}");
}

#[test]
fn an_importer_that_hangs_is_ended_and_its_files_wait() {
    let mut w = world();
    w.importer["timeout_in_seconds"] = json!(1);
    let image = w.image("a.tif");
    w.omero.admin(&["fault", "set", "hang", "--command", "import"]);
    let outcomes = w.run(&batch_of("alice", &[image])).unwrap();
    assert!(matches!(&outcomes[0], FileOutcome::Postponed(r) if r.contains("time limit")), "{outcomes:?}");
}

#[test]
fn an_import_cut_off_after_the_images_were_made_is_adopted() {
    let w = world();
    let batch = batch_of("alice", &[w.image("a.tif")]);
    w.omero.admin(&[
        "fault",
        "set",
        "kill",
        "--command",
        "import",
        "--where",
        "after-images",
        "--signal",
        "9",
        "--times",
        "1",
    ]);
    let first = w.run(&batch).unwrap();
    imported(&first[0]); // OMERO has it, whatever the importer's end was
    assert_eq!(imported(&w.run(&batch).unwrap()[0]).fileset, imported(&first[0]).fileset);
    assert_eq!(w.omero.count("filesets"), 1);
}

#[test]
fn what_a_failed_import_left_behind_is_not_taken_for_images() {
    let w = world();
    let batch = batch_of("alice", &[w.image("a.tif")]);
    w.omero.admin(&[
        "fault",
        "set",
        "kill",
        "--command",
        "import",
        "--where",
        "after-fileset",
        "--signal",
        "9",
        "--times",
        "1",
    ]);
    let first = w.run(&batch).unwrap();
    assert!(reason(&first[0]).contains("signal 9"), "{first:?}");
    imported(&w.run(&batch).unwrap()[0]);
    assert_eq!(w.omero.count("images"), 1);
}

#[test]
fn a_repository_that_cannot_be_written_is_said_to_be_one() {
    let w = world();
    let image = w.image("a.tif");
    w.omero.admin(&["fault", "set", "repository-not-writable"]);
    let outcomes = w.run(&batch_of("alice", &[image])).unwrap();
    assert!(reason(&outcomes[0]).contains("ManagedRepository"), "{outcomes:?}");
}

#[test]
fn the_session_is_closed_and_the_password_is_in_its_file_only() {
    let w = world();
    w.run(&batch_of("alice", &[w.image("a.tif")])).unwrap();
    let notes = |name: &str| fs::read_to_string(w.omero.store.join(name)).unwrap();
    for name in ["calls.jsonl", "worker.jsonl", "java.jsonl"] {
        assert!(!notes(name).contains("secret of the importer"), "{name}");
        assert!(!notes(name).contains("OMERO_PASSWORD"), "{name}");
    }
    assert_eq!((w.omero.asked("login"), w.omero.asked("logout")), (1, 1));
    assert!(w.omero.sessions().is_empty());
    let calls: Vec<Value> =
        notes("calls.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let commands: Vec<&Value> =
        calls.iter().map(|call| &call["argv"][0]).filter(|word| *word != "standin").collect();
    assert_eq!(commands, ["import"], "the worker does all else");
}
