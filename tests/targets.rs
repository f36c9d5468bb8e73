//! Where images and plates end up in the stand-in OMERO, and that nobody makes a container twice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use irods_omero_config::Config;
use irods_omero_importer::command::CommandImporter;
use irods_omero_importer::{Batch, BatchFile, FileOutcome, Importer, ImporterError, Subject, UsableFile};
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::{DataId, IrodsUser, LogicalPath, OmeroName};
use irods_omero_model::record::Version;
use irods_omero_model::target::Target;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::omero::TestOmero;
use tempfile::TempDir;

struct World {
    dir: TempDir,
    omero: TestOmero,
    vault: PathBuf,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let vault = dir.path().join("vault");
    fs::create_dir(&vault).unwrap();
    let omero = TestOmero::new(dir.path());
    // Bob is in alice's group, which everybody in it may read.
    omero.admin(&["user", "add", "bob", "--group", "lab"]);
    World { dir, omero, vault }
}

impl World {
    fn image(&self, name: &str) -> PathBuf {
        self.make("tiff", name)
    }

    fn plate(&self, name: &str) -> PathBuf {
        self.make("plate", name)
    }

    fn make(&self, kind: &str, name: &str) -> PathBuf {
        let path = self.vault.join(name);
        let mut words = vec!["make", kind, path.to_str().unwrap()];
        if kind == "plate" {
            words.extend(["--files", "2"]);
        }
        self.omero.admin(&words);
        path
    }

    fn config(&self) -> Config {
        Config::parse(&json!({"omero": self.omero.server_json(), "importer": self.omero.importer_json()}))
            .unwrap()
    }

    fn run(&self, batch: &Batch) -> Result<Vec<FileOutcome>, ImporterError> {
        let omero = self.config().omero.unwrap();
        CommandImporter::new(&omero).import(batch, 1, &mut || {})
    }

    /// Imports paths as a user and wants every one of them imported.
    fn import(&self, user: &str, target: &str, plates: Option<&str>, paths: &[PathBuf]) {
        for outcome in self.run(&batch(user, target, plates, paths)).unwrap().iter().take(paths.len()) {
            assert!(matches!(outcome, FileOutcome::Imported(_)), "{outcome:?}");
        }
    }

    fn refused(&self, user: &str, target: &str, plates: Option<&str>, path: PathBuf) -> String {
        let outcomes = self.run(&batch(user, target, plates, &[path])).unwrap();
        match outcomes.as_slice() {
            [FileOutcome::NoTarget { reason, .. }, ..] => reason.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// An `omero` command as a user.
    fn as_user(&self, user: &str, words: &[&str]) -> String {
        let run = |words: &[&str]| {
            let output = Command::new(&self.omero.command)
                .args(words)
                .envs(self.omero.environment())
                .env("OMERO_SESSIONDIR", self.dir.path().join("sessions").join(user))
                .env("OMERO_PASSWORD", "secret of the importer")
                .output()
                .unwrap();
            assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        run(&["login", "-q", "-C", "--sudo", "importer", "-u", user, "-s", "omero.example.org"]);
        run(words)
    }

    fn query(&self, user: &str, query: &str) -> Vec<Vec<String>> {
        let table = self.as_user(user, &["hql", "-q", "--all", "--style", "json", "--limit", "1000", query]);
        let rows: Vec<serde_json::Map<String, Value>> = serde_json::from_str(&table).unwrap();
        let cells = |row: serde_json::Map<String, Value>| {
            (1..row.len()).map(|i| row[&format!("Col{i}")].as_str().unwrap().to_owned()).collect()
        };
        rows.into_iter().map(cells).collect()
    }

    fn new_object(&self, user: &str, class: &str, name: &str) -> String {
        let made = self.as_user(user, &["obj", "-q", "new", class, &format!("name={name}")]);
        made.split_once(':').unwrap().1.to_owned()
    }

    fn count(&self, class: &str) -> usize {
        self.query("alice", &format!("select o.id from {class} o")).len()
    }

    /// Datasets and how many images each has.
    fn datasets(&self) -> Vec<(String, usize)> {
        let datasets = self.query("alice", "select d.name, d.id from Dataset d order by d.id");
        let count = |id: &str| {
            let links = format!("select l.id from DatasetImageLink l where l.parent.id = {id}");
            self.query("alice", &links).len()
        };
        datasets.into_iter().map(|row| (row[0].clone(), count(&row[1]))).collect()
    }

    fn screens(&self) -> Vec<Vec<String>> {
        self.query("alice", "select l.parent.name, l.child.name from ScreenPlateLink l order by l.id")
    }
}

fn batch(user: &str, target: &str, plates: Option<&str>, paths: &[PathBuf]) -> Batch {
    let file = |(i, path): (usize, &PathBuf)| BatchFile {
        subject: Subject::DataObject(DataId::parse(&(i + 1).to_string()).unwrap()),
        logical_path: LogicalPath::parse(format!("/z/home/{user}/{i}").as_bytes()).unwrap(),
        importer_path: path.to_str().unwrap().to_owned(),
        version: Version { modify_time: 1, size: fs::metadata(path).map_or(0, |m| m.len()) },
        checksum: None,
        owner: IrodsUser::new(user, "z").unwrap(),
        previous: vec![],
    };
    Batch {
        identity: OmeroIdentity { user: OmeroName::parse(user).unwrap(), group: None },
        target: Target::parse(target).unwrap(),
        plate_target: plates.map(|p| Target::parse(p).unwrap()),
        may_join: false,
        may_use: beside(paths),
        files: paths.iter().enumerate().map(file).collect(),
    }
}

/// The other files of the same directories: the wells of a plate.
fn beside(paths: &[PathBuf]) -> Vec<UsableFile> {
    let directories: BTreeSet<&Path> = paths.iter().filter_map(|path| path.parent()).collect();
    let others = directories.into_iter().flat_map(|d| fs::read_dir(d).unwrap().flatten().map(|e| e.path()));
    let usable = |(i, path): (usize, PathBuf)| UsableFile {
        subject: Subject::DataObject(DataId::parse(&(i + 1_000).to_string()).unwrap()),
        importer_path: path.to_str().unwrap().to_owned(),
        version: Version { modify_time: 1, size: fs::metadata(&path).unwrap().len() },
        checksum: None,
    };
    others.filter(|path| path.is_file() && !paths.contains(path)).enumerate().map(usable).collect()
}

fn named(name: &str, images: usize) -> (String, usize) {
    (name.to_owned(), images)
}

#[test]
fn a_dataset_is_made_once_and_found_again_whatever_its_name() {
    let w = world();
    for name in ["run1", "it's a \"b\" #c; 100% \\ =x", "-C", "ünï 😀"] {
        for number in 0..2 {
            let path = w.image(&format!("{}-{number}.tif", name.len()));
            w.import("alice", &format!("Dataset:name:{name}"), None, &[path]);
        }
        assert_eq!(w.datasets().last(), Some(&named(name, 2)), "{name}");
    }
    assert_eq!(w.omero.count("datasets"), 4);
}

#[test]
fn a_dataset_in_a_project_is_looked_for_in_that_project() {
    let w = world();
    for (number, project) in ["P", "Q", "P", "Q"].iter().enumerate() {
        let path = w.image(&format!("{number}.tif"));
        w.import("alice", &format!("Project:name:{project}/Dataset:name:images"), None, &[path]);
    }
    assert_eq!(w.datasets(), [named("images", 2), named("images", 2)]);
    let links =
        w.query("alice", "select l.parent.name, l.child.name from ProjectDatasetLink l order by l.id");
    assert_eq!(links, [["P", "images"], ["Q", "images"]]);
    let id = w.new_object("alice", "Project", "R");
    w.import("alice", &format!("Project:id:{id}/Dataset:name:images"), None, &[w.image("r.tif")]);
    assert_eq!(w.datasets().len(), 3);
}

#[test]
fn a_dataset_left_by_a_run_cut_off_before_its_project_is_used() {
    let w = world();
    w.new_object("alice", "Dataset", "D");
    w.import("alice", "Project:name:P/Dataset:name:D", None, &[w.image("a.tif")]);
    assert_eq!(w.datasets(), [named("D", 1)]);
}

#[test]
fn somebody_elses_dataset_is_used_only_where_the_group_may_write() {
    let w = world();
    w.new_object("bob", "Dataset", "shared");
    w.import("alice", "Dataset:name:shared", None, &[w.image("a.tif")]);
    assert_eq!(w.datasets(), [named("shared", 0), named("shared", 1)]);
    w.omero.admin(&["group", "permissions", "lab", "rwrw--"]);
    w.new_object("bob", "Dataset", "of the lab");
    w.import("alice", "Dataset:name:of the lab", None, &[w.image("b.tif")]);
    assert_eq!(w.datasets().last(), Some(&named("of the lab", 1)));
    assert_eq!(w.omero.count("datasets"), 3);
    // And the own one comes first even if there is a newer one.
    w.new_object("bob", "Dataset", "shared");
    w.import("alice", "Dataset:name:shared", None, &[w.image("c.tif")]);
    assert_eq!(w.datasets()[1], named("shared", 2));
}

#[test]
fn a_target_that_cannot_be_used_fails_before_any_file_is_touched() {
    let w = world();
    let of_bob = w.new_object("bob", "Dataset", "bob's");
    let of_carol = w.new_object("carol", "Dataset", "in another group");
    let project = w.new_object("bob", "Project", "bob's");
    for (target, plates, part) in [
        (format!("Dataset:id:{of_bob}"), None, "belongs to 'bob'"),
        (format!("Dataset:id:{of_bob}"), Some("Screen:name:S"), "belongs to 'bob'"),
        (format!("Dataset:id:{of_carol}"), None, "does not exist in the group"),
        ("Dataset:id:4711".to_owned(), None, "does not exist"),
        ("Screen:id:4711".to_owned(), None, "does not exist"),
        ("Dataset:name:d".to_owned(), Some("Screen:id:4711"), "does not exist"),
        (format!("Project:id:{project}/Dataset:name:d"), None, "belongs to 'bob'"),
    ] {
        let reason = w.refused("alice", &target, plates, w.image("a.tif"));
        assert!(reason.contains(part), "{target}: {reason}");
    }
    assert_eq!((w.omero.count("filesets"), w.omero.count("datasets")), (0, 2));
    let imports = fs::read_to_string(w.omero.store.join("calls.jsonl")).unwrap();
    assert!(!imports.contains("--transfer"), "only the forecast was run");
}

#[test]
fn who_leads_a_group_may_fill_the_datasets_in_it() {
    let w = world();
    let of_bob = w.new_object("bob", "Dataset", "bob's");
    w.omero.admin(&["user", "add", "lead", "--group", "lab", "--owner-of", "lab"]);
    w.import("lead", &format!("Dataset:id:{of_bob}"), None, &[w.image("a.tif")]);
    assert_eq!(w.datasets(), [named("bob's", 1)]);
}

#[test]
fn plates_go_to_the_screen_and_images_to_the_dataset() {
    let w = world();
    let paths = [w.image("a.tif"), w.plate("p.plate-test"), w.image("b.tif")];
    w.import("alice", "Project:name:P/Dataset:name:D", Some("Screen:name:S"), &paths);
    assert_eq!(w.datasets(), [named("D", 2)]);
    let screens = w.screens();
    assert_eq!((screens.len(), screens[0][0].as_str()), (1, "S"));
    w.import("alice", "Project:name:P/Dataset:name:D", Some("Screen:name:S"), &[w.plate("q.plate-test")]);
    assert_eq!((w.datasets(), w.screens().len()), (vec![named("D", 2)], 2));
    assert_eq!(w.count("Screen"), 1);
}

#[test]
fn a_container_is_made_only_if_something_goes_into_it() {
    let w = world();
    w.import("alice", "Dataset:name:D", Some("Screen:name:S"), &[w.plate("p.plate-test")]);
    assert_eq!((w.omero.count("datasets"), w.count("Screen")), (0, 1));
    w.import("alice", "Dataset:name:D", Some("Screen:name:T"), &[w.image("a.tif")]);
    assert_eq!((w.omero.count("datasets"), w.count("Screen")), (1, 1));
}

#[test]
fn without_a_target_of_their_own_plates_images_go_to_the_dataset() {
    let w = world();
    w.import("alice", "Dataset:name:D", None, &[w.plate("p.plate-test")]);
    assert_eq!((w.datasets(), w.screens().len()), (vec![named("D", 2)], 0));
}

#[test]
fn what_was_cut_off_before_it_was_linked_is_linked_by_the_next_run() {
    let w = world();
    let paths = [w.image("a.tif"), w.plate("p.plate-test")];
    let batch = batch("alice", "Dataset:name:D", Some("Screen:name:S"), &paths);
    w.omero.admin(&["fault", "set", "save-error", "--times", "1"]);
    let cut_off = w.run(&batch).unwrap_err();
    assert!(matches!(cut_off, ImporterError::WillPass(_)), "{cut_off}");
    assert_eq!(w.omero.count("filesets"), 2);
    w.import("alice", "Dataset:name:D", Some("Screen:name:S"), &paths);
    assert_eq!((w.datasets(), w.screens().len()), (vec![named("D", 1)], 1));
    assert_eq!(w.omero.count("filesets"), 2);
}

#[test]
fn what_somebody_has_moved_in_omero_stays_where_it_is() {
    let w = world();
    let path = w.image("a.tif");
    w.import("alice", "Dataset:name:D", None, std::slice::from_ref(&path));
    w.import("alice", "Dataset:name:E", Some("Screen:name:S"), &[path]);
    assert_eq!(w.datasets(), [named("D", 1)]);
}

#[test]
fn runs_at_the_same_time_make_a_container_once() {
    let w = world();
    let omero = w.config().omero.unwrap();
    let batches: Vec<Batch> = (0..6)
        .map(|i| {
            let path = w.image(&format!("{i}.tif"));
            batch("alice", &format!("Project:name:P/Dataset:name:D{}", i % 2), None, &[path])
        })
        .collect();
    std::thread::scope(|scope| {
        for batch in &batches {
            let omero = &omero;
            scope.spawn(move || {
                let outcomes = CommandImporter::new(omero).import(batch, 1, &mut || {}).unwrap();
                assert!(matches!(outcomes[0], FileOutcome::Imported(_)), "{outcomes:?}");
            });
        }
    });
    assert_eq!(w.count("Project"), 1);
    let mut datasets = w.datasets();
    datasets.sort();
    assert_eq!(datasets, [named("D0", 3), named("D1", 3)]);
    assert_eq!(fs::read_dir(&w.omero.work).unwrap().count(), 0, "no lock and no run is left");
}

#[test]
fn few_questions_are_asked_where_all_is_there_already() {
    let w = world();
    let target = "Project:name:P/Dataset:name:D";
    w.import("alice", target, None, &[w.image("a.tif")]);
    let asked = || {
        let text = fs::read_to_string(w.omero.store.join("worker.jsonl")).unwrap();
        let method =
            |line| serde_json::from_str::<Value>(line).unwrap()["method"].as_str().unwrap().to_owned();
        text.lines().map(method).collect::<Vec<String>>()
    };
    let before = asked().len();
    w.import("alice", target, None, &[w.image("b.tif")]);
    let expected = ["login", "filesets", "container", "filesets", "filesets", "annotate", "logout"];
    assert_eq!(asked()[before..], expected);
}
