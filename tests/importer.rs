//! The importer in mode `command` against the stand-in OMERO: what is imported, as whom, and what every way of
//! failing becomes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use irods_omero_config::Config;
use irods_omero_importer::command::CommandImporter;
use irods_omero_importer::process::Nobody;
use irods_omero_importer::{
    Batch, BatchFile, FileOutcome, Importer, ImporterError, Observer, Subject, UsableFile,
};
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::{DataId, IrodsUser, LogicalPath, OmeroName};
use irods_omero_model::record::Version;
use irods_omero_model::target::Target;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
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

/// Puts other bytes at a path, as a new file.
fn replace(path: &Path, more: &str) {
    let bytes = [fs::read(path).unwrap(), more.as_bytes().to_vec()].concat();
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
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
        self.run_observed(batch, &Nobody)
    }

    fn run_observed(
        &self,
        batch: &Batch,
        observer: &dyn Observer,
    ) -> Result<Vec<FileOutcome>, ImporterError> {
        let config =
            Config::parse(&json!({"omero": self.omero.server_json(), "importer": self.importer})).unwrap();
        let omero = config.omero.unwrap();
        let roots = [self.vault.clone()];
        CommandImporter::new(&omero).within(&roots).observed(observer).import(batch, now(), &mut || {})
    }

    /// Imports a file as alice without us, killed at a point; without one to the end.
    fn import_by_hand(&self, path: &Path, killed: &str) {
        if !killed.is_empty() {
            self.fault(&["kill", "--command", "import", "--where", killed, "--signal", "9", "--times", "1"]);
        }
        let sessions = self.vault.parent().unwrap().join("sessions by hand");
        let omero = |words: &[&str]| {
            let mut command = Command::new(&self.omero.command);
            command.args(words).envs(self.omero.environment()).env("OMERO_SESSIONDIR", &sessions);
            command.env("OMERO_PASSWORD", "secret of the importer").env("LC_ALL", "C.UTF-8");
            command.output().unwrap()
        };
        let server = ["-s", "omero.example.org", "-p", "4064", "-u", "alice"];
        omero(&[&["login", "-q", "-C", "--sudo", "importer"][..], &server].concat());
        let (jars, logback) = (self.omero.jars.to_str().unwrap(), self.omero.logback.to_str().unwrap());
        let options = ["--clientdir", jars, "--logback", logback, "--transfer", "ln_s", "--skip=upgrade"];
        omero(&[&["import", "-q"][..], &server, &options, &[path.to_str().unwrap()]].concat());
        assert!(self.omero.count("filesets") > 0, "it has begun");
    }

    /// The links of OMERO's repository: where they lead.
    fn links(&self) -> Vec<String> {
        let (mut directories, mut links) = (vec![self.omero.store.join("ManagedRepository")], Vec::new());
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap().flatten() {
                let kind = entry.file_type().unwrap();
                if kind.is_symlink() {
                    links.push(fs::read_link(entry.path()).unwrap().to_str().unwrap().to_owned());
                } else if kind.is_dir() {
                    directories.push(entry.path());
                }
            }
        }
        links.sort();
        links
    }

    /// Sets a fault of the stand-in.
    fn fault(&self, words: &[&str]) {
        self.omero.admin(&[&["fault", "set"], words].concat());
    }

    /// Writes a file of one line, which a reader takes for the pattern of a set.
    fn pattern(&self, name: &str, line: &str) -> PathBuf {
        let path = self.vault.join(name);
        fs::write(&path, format!("{line}\n")).unwrap();
        path
    }

    /// All client paths of all filesets.
    fn client_paths(&self) -> String {
        self.omero.show()["filesets"].to_string()
    }
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// A file that sets may use.
fn usable(number: u64, path: &Path) -> UsableFile {
    let BatchFile { subject, importer_path, version, checksum, .. } = file(number, path);
    UsableFile { subject, importer_path, version, checksum }
}

/// Waits until something has come about.
fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !is() {
        assert!(start.elapsed().as_secs() < 120, "{what}");
        std::thread::yield_now();
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
        may_use: vec![],
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
        FileOutcome::Failed(reason)
        | FileOutcome::NoTarget { reason, .. }
        | FileOutcome::Postponed(reason)
        | FileOutcome::Unknown { reason, .. } => reason,
        other @ (FileOutcome::Imported(_)
        | FileOutcome::Joined(_)
        | FileOutcome::UsesUnknown { .. }
        | FileOutcome::NotUsed) => panic!("{other:?}"),
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

fn data(id: &str) -> Subject {
    Subject::DataObject(DataId::parse(id).unwrap())
}

#[test]
fn data_replaced_at_its_path_names_the_old_fileset_whose_link_shows_nothing_then() {
    let w = world();
    let path = w.image("a.tif");
    let mut batch = batch_of("alice", std::slice::from_ref(&path));
    let old = imported(&w.run(&batch).unwrap()[0]).fileset;
    replace(&path, "more");
    batch.files[0] = file(200, &path);
    let new = w.run(&batch).unwrap();
    assert_eq!(imported(&new[0]).previous, [old]);
    assert!(!imported(&new[0]).adopted);
    let nowhere = format!("/irods-data-replaced/by-data-id-200{}", path.display());
    let here = path.to_str().unwrap().to_owned();
    let mut expected = vec![nowhere.clone(), here.clone()];
    expected.sort();
    assert_eq!(w.links(), expected);
    let shown = w.omero.show()["filesets"].to_string();
    assert!(shown.contains("iRODS replaced by") && shown.contains("data object 200"), "{shown}");
    // A third one, and a look at what is there: each old one is named, and the cut link is left as it is.
    let again = w.run(&batch).unwrap();
    assert_eq!((imported(&again[0]).adopted, &imported(&again[0]).previous), (true, &vec![old]));
    replace(&path, "still more");
    batch.files[0] = file(300, &path);
    let third = w.run(&batch).unwrap();
    assert_eq!(imported(&third[0]).previous, [old, imported(&new[0]).fileset]);
    let mut expected = vec![nowhere, format!("/irods-data-replaced/by-data-id-300{here}"), here];
    expected.sort();
    assert_eq!(w.links(), expected);
}

#[test]
fn the_same_size_does_not_hide_that_the_bytes_are_others() {
    let w = world();
    let path = w.image("a.tif");
    replace(&path, "one");
    let mut batch = batch_of("alice", std::slice::from_ref(&path));
    let old = imported(&w.run(&batch).unwrap()[0]).fileset;
    let bytes = fs::read(&path).unwrap();
    let other: Vec<u8> = [&bytes[..bytes.len() - 3], b"two"].concat();
    fs::remove_file(&path).unwrap();
    fs::write(&path, other).unwrap();
    batch.files[0] = file(200, &path);
    assert_eq!(imported(&w.run(&batch).unwrap()[0]).previous, [old]);
    assert!(w.links().iter().any(|to| to.starts_with("/irods-data-replaced/")), "{:?}", w.links());
}

#[test]
fn the_same_bytes_under_a_new_data_id_name_the_old_fileset_and_leave_its_link() {
    let w = world();
    let path = w.image("a.tif");
    let mut batch = batch_of("alice", std::slice::from_ref(&path));
    let old = imported(&w.run(&batch).unwrap()[0]).fileset;
    replace(&path, "");
    batch.files[0] = file(200, &path);
    assert_eq!(imported(&w.run(&batch).unwrap()[0]).previous, [old]);
    assert_eq!(w.links(), [path.to_str().unwrap(), path.to_str().unwrap()]);
}

#[test]
fn a_link_of_an_old_version_that_is_imported_anew_shows_nothing_then() {
    let w = world();
    let path = w.image("a.tif");
    let mut batch = batch_of("alice", std::slice::from_ref(&path));
    let old = imported(&w.run(&batch).unwrap()[0]).fileset;
    fs::write(&path, [fs::read(&path).unwrap(), b"more".to_vec()].concat()).unwrap();
    batch.files[0] = BatchFile { previous: vec![old], ..file(1, &path) };
    let new = w.run(&batch).unwrap();
    assert_ne!(imported(&new[0]).fileset, old);
    assert!(
        w.links().iter().any(|to| to.starts_with("/irods-data-replaced/by-data-id-1/")),
        "{:?}",
        w.links()
    );
}

#[test]
fn an_import_of_another_version_that_no_record_tells_of_is_taken_as_of_that_version() {
    let w = world();
    let path = w.image("a.tif");
    let mut batch = batch_of("alice", std::slice::from_ref(&path));
    let before = batch.files[0].version;
    let old = imported(&w.run(&batch).unwrap()[0]).fileset;
    fs::write(&path, [fs::read(&path).unwrap(), b"more".to_vec()].concat()).unwrap();
    batch.files[0] = file(1, &path);
    let outcomes = w.run(&batch).unwrap();
    let found = imported(&outcomes[0]);
    assert_eq!((found.fileset, found.version, found.adopted), (old, Some(before), true));
    assert_eq!(w.omero.count("filesets"), 1);
    assert_eq!(w.links(), [path.to_str().unwrap()], "its record decides what is done with it");
    // Only its time is another: it is what it was.
    let other = w.image("b.tif");
    let mut batch = batch_of("alice", std::slice::from_ref(&other));
    batch.files[0].subject = data("2");
    w.run(&batch).unwrap();
    batch.files[0].version.modify_time += 100;
    let same = w.run(&batch).unwrap();
    assert_eq!((imported(&same[0]).adopted, imported(&same[0]).version), (true, None));
}

#[test]
fn a_member_that_was_replaced_is_not_taken_for_what_its_set_shows() {
    let w = world();
    let [a1, a2] = ["a1.tif", "a2.tif"].map(|name| w.image(name));
    let key = w.pattern("x.pattern", "a<1-2>.tif");
    let batch = batch_of("alice", &[key.clone(), a1.clone(), a2.clone()]);
    let set = imported(&w.run(&batch).unwrap()[0]).fileset;
    replace(&a2, "more");
    let mut late = batch_of("alice", std::slice::from_ref(&a2));
    late.files[0].subject = data("200");
    late.may_use = vec![usable(1, &key), usable(2, &a1)];
    let outcomes = w.run(&late).unwrap();
    assert_eq!(outcomes[0], FileOutcome::Joined(vec![set]));
    let cut: Vec<String> =
        w.links().into_iter().filter(|to| to.starts_with("/irods-data-replaced/")).collect();
    assert_eq!(cut, [format!("/irods-data-replaced/by-data-id-200{}", a2.display())]);
    assert_eq!(w.omero.count("filesets"), 1);
}

#[test]
fn a_set_that_was_replaced_as_a_whole_names_the_old_one() {
    let w = world();
    let [a1, a2] = ["a1.tif", "a2.tif"].map(|name| w.image(name));
    let key = w.pattern("x.pattern", "a<1-2>.tif");
    let paths = [key, a1, a2];
    let old = imported(&w.run(&batch_of("alice", &paths)).unwrap()[0]).fileset;
    for path in &paths[1..] {
        replace(path, "more");
    }
    let mut batch = batch_of("alice", &paths);
    for (file, id) in batch.files.iter_mut().zip(["201", "202", "203"]) {
        file.subject = data(id);
    }
    for outcome in w.run(&batch).unwrap() {
        assert_eq!(imported(&outcome).previous, [old]);
        assert_ne!(imported(&outcome).fileset, old);
    }
    assert_eq!(w.links().iter().filter(|to| to.starts_with("/irods-data-replaced/")).count(), 2);
}

#[test]
fn a_file_in_two_sets_is_old_in_neither() {
    let w = world();
    let [a1, a2, a3] = ["a1.tif", "a2.tif", "a3.tif"].map(|name| w.image(name));
    let (x, y) = (w.pattern("x.pattern", "a<1-2>.tif"), w.pattern("y.pattern", "a<2-3>.tif"));
    let (mut one, mut two) = (batch_of("alice", &[x, a1]), batch_of("alice", &[y, a3]));
    two.files[0].subject = data("21");
    two.files[1].subject = data("22");
    (one.may_use, two.may_use) = (vec![usable(30, &a2)], vec![usable(30, &a2)]);
    imported(&w.run(&one).unwrap()[0]);
    let second = w.run(&two).unwrap();
    assert!(imported(&second[0]).previous.is_empty(), "{second:?}");
    assert!(!w.links().iter().any(|to| to.starts_with("/irods-data-replaced/")), "{:?}", w.links());
}

#[test]
fn what_somebody_imported_by_hand_is_neither_adopted_nor_touched_when_the_data_is_another() {
    let w = world();
    let path = w.image("a.tif");
    w.import_by_hand(&path, "");
    replace(&path, "more");
    let batch = batch_of("alice", std::slice::from_ref(&path));
    let outcomes = w.run(&batch).unwrap();
    assert_eq!((imported(&outcomes[0]).adopted, imported(&outcomes[0]).previous.len()), (false, 0));
    assert_eq!(w.links(), [path.to_str().unwrap(), path.to_str().unwrap()]);
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
        let error = w.run(&batch).unwrap_err();
        assert!(matches!(error, ImporterError::WillPass(_)), "{text}: {error}");
    }
    w.importer["command"] = json!("/nonexistent/omero");
    let outcomes = w.run(&batch).unwrap();
    assert!(
        matches!(&outcomes[..], [FileOutcome::Postponed(why)] if why.contains("cannot be run")),
        "{outcomes:?}"
    );
    assert_eq!(w.omero.count("filesets"), 0);
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
    w.omero.admin(&["fault", "set", "hang", "--command", "import", "--where", "before-fileset"]);
    let outcomes = w.run(&batch_of("alice", &[image])).unwrap();
    let is_late =
        |o: &FileOutcome| matches!(o, FileOutcome::Unknown { reason, .. } if reason.contains("time limit"));
    assert!(is_late(&outcomes[0]), "{outcomes:?}");
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
fn what_an_import_left_that_was_cut_off_in_its_upload_is_removed_at_once() {
    let w = world();
    let batch = batch_of("alice", &[w.image("a.tif")]);
    let kill = ["kill", "--command", "import", "--where", "after-fileset", "--signal", "9", "--times", "1"];
    w.fault(&kill);
    let first = w.run(&batch).unwrap();
    assert!(matches!(&first[0], FileOutcome::Unknown { .. }), "{first:?}");
    assert_eq!(w.omero.count("filesets"), 0, "its importer is no more, so nothing will come of it");
    imported(&w.run(&batch).unwrap()[0]);
    assert_eq!((w.omero.count("images"), w.omero.count("filesets")), (1, 1));
}

#[test]
fn what_somebody_elses_import_has_begun_is_waited_for_and_then_removed_only_without_images() {
    let mut w = world();
    w.importer["unfinished_wait_in_seconds"] = json!(3600);
    let path = w.image("a.tif");
    let batch = batch_of("alice", std::slice::from_ref(&path));
    w.import_by_hand(&path, "after-fileset");
    for _ in 0..2 {
        let outcomes = w.run(&batch).unwrap();
        assert!(reason(&outcomes[0]).contains("may still be finishing"), "{outcomes:?}");
    }
    w.importer["unfinished_wait_in_seconds"] = json!(0);
    imported(&w.run(&batch).unwrap()[0]);
    assert_eq!((w.omero.count("images"), w.omero.count("filesets")), (1, 1), "what was left is removed");
    let asked = fs::read_to_string(w.omero.store.join("worker.jsonl")).unwrap();
    let requests = asked.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let removals: Vec<Value> = requests.filter(|r| r["method"] == "delete").collect();
    assert!(!removals.is_empty());
    for removal in removals {
        assert_eq!(removal["params"]["with_images"], false, "images that came meanwhile are kept");
    }
}

/// Ends an import when a file is there.
#[derive(Debug)]
struct EndsWhen(PathBuf);

impl Observer for EndsWhen {
    fn stderr(&self, _: &[u8]) {}

    fn stop(&self) -> bool {
        self.0.exists()
    }
}

#[test]
fn an_import_that_is_ended_in_its_upload_leaves_nothing_and_can_be_asked_for_again_at_once() {
    let w = world();
    let batch = batch_of("alice", &[w.image("a.tif")]);
    let until = w.vault.parent().unwrap().join("go on");
    let word = until.to_str().unwrap();
    w.fault(&["gate", "--command", "import", "--where", "after-fileset", "--until", word]);
    let reached = PathBuf::from(format!("{}.reached", until.display()));
    let ended = w.run_observed(&batch, &EndsWhen(reached)).unwrap_err();
    assert!(ended.to_string().contains("ended"), "{ended}");
    assert_eq!(w.omero.count("filesets"), 0);
    w.omero.admin(&["fault", "clear"]);
    imported(&w.run(&batch).unwrap()[0]);
    assert_eq!((w.omero.count("images"), w.omero.count("filesets")), (1, 1));
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
    assert_eq!(commands, ["import", "import"], "the forecast and the import; the worker does all else");
}

#[test]
fn a_set_that_uses_what_the_catalog_was_not_asked_for_leaves_nothing_in_omero() {
    let w = world();
    fs::create_dir(w.vault.join("alice")).unwrap();
    let secrets = [w.image("alice/secret_1.tif"), w.image("alice/secret_2.tif")];
    let line = w.vault.join("alice/secret_<1-2>.tif").to_str().unwrap().to_owned();
    let up = w.vault.join("../vault/alice/secret_<1-2>.tif").to_str().unwrap().to_owned();
    for (name, line) in [("x.pattern", line), ("up.pattern", up)] {
        let pattern = w.pattern(name, &line);
        let outcomes = w.run(&batch_of("carol", &[pattern])).unwrap();
        let FileOutcome::UsesUnknown { paths } = &outcomes[0] else { panic!("{name}: {outcomes:?}") };
        assert_eq!(paths.len(), 1, "of each directory one: {paths:?}");
        assert!(paths[0].ends_with("alice/secret_1.tif"), "{paths:?}");
        assert_eq!(w.omero.count("filesets"), 0, "{name}");
        assert!(!w.omero.show().to_string().contains("secret_"), "{name}: no OriginalFile");
    }
    // The catalog has said that they may be used.
    let mut batch = batch_of("carol", &[w.pattern("alice/y.pattern", "secret_<1-2>.tif")]);
    batch.may_use = secrets.iter().zip(100..).map(|(path, n)| usable(n, path)).collect();
    let outcomes = w.run(&batch).unwrap();
    assert!(!imported(&outcomes[0]).is_member);
    for member in &outcomes[1..] {
        assert!(imported(member).is_member && imported(member).fileset == imported(&outcomes[0]).fileset);
    }
    assert_eq!((outcomes.len(), w.omero.count("filesets")), (3, 1));
}

#[test]
fn a_file_that_may_be_used_and_is_not_is_said_to_be_none() {
    let w = world();
    let mut batch = batch_of("alice", &[w.image("a.tif")]);
    batch.may_use = vec![usable(9, &w.image("b.tif"))];
    let outcomes = w.run(&batch).unwrap();
    imported(&outcomes[0]);
    assert_eq!(outcomes[1..], [FileOutcome::NotUsed]);
}

#[test]
fn a_key_that_is_rewritten_between_forecast_and_import_takes_nobody_elses_files_to_omero() {
    let w = world();
    fs::create_dir(w.vault.join("alice")).unwrap();
    w.image("alice/s1.tif");
    w.image("own1.tif");
    let own = w.vault.join("own<1-1>.tif").to_str().unwrap().to_owned();
    let secret = w.vault.join("alice/s<1-1>.tif").to_str().unwrap().to_owned();
    let pattern = w.pattern("x.pattern", &own);
    let mut batch = batch_of("carol", std::slice::from_ref(&pattern));
    batch.may_use = vec![usable(9, &w.vault.join("own1.tif"))];
    let until = w.vault.parent().unwrap().join("go on");
    w.fault(&["gate", "--command", "import", "--where", "before-scan", "--until", until.to_str().unwrap()]);
    let outcomes = std::thread::scope(|scope| {
        let run = scope.spawn(|| w.run(&batch).unwrap());
        let reached = PathBuf::from(format!("{}.reached", until.display()));
        wait_until("the importer has started", || reached.exists());
        fs::write(&pattern, format!("{secret}\n")).unwrap();
        fs::write(&until, "").unwrap();
        run.join().unwrap()
    });
    assert!(!matches!(outcomes[0], FileOutcome::Imported(_)), "{outcomes:?}");
    assert!(!w.client_paths().contains("s1.tif"), "{}", w.client_paths());
    assert_eq!(w.omero.count("filesets"), 0, "{outcomes:?}");
}

#[test]
fn one_file_that_kills_java_is_found_out_and_its_neighbours_are_imported() {
    for words in [
        &["kill", "--where", "scan", "--path", "*/b_bad.tif", "--signal", "9"][..],
        &["kill", "--where", "before-fileset", "--path", "*/b_bad.tif", "--signal", "9"],
    ] {
        let w = world();
        let mut paths: Vec<PathBuf> = (0..10).map(|i| w.image(&format!("good{i}.tif"))).collect();
        paths.insert(4, w.image("b_bad.tif"));
        w.fault(words);
        let outcomes = w.run(&batch_of("alice", &paths)).unwrap();
        for (path, outcome) in paths.iter().zip(&outcomes) {
            if path.ends_with("b_bad.tif") {
                let FileOutcome::Unknown { reason, is_alone: true } = outcome else { panic!("{outcome:?}") };
                assert!(reason.contains("signal 9"), "{reason}");
            } else {
                imported(outcome);
            }
        }
        assert_eq!(w.omero.count("images"), 10);
    }
}

#[test]
fn a_fault_of_the_server_that_names_no_cause_is_tried_again_and_leaves_nothing() {
    let w = world();
    let paths: Vec<PathBuf> = (0..6).map(|i| w.image(&format!("{i}.tif"))).collect();
    w.fault(&["import-error", "--path", "*/3.tif", "--times", "1"]);
    let batch = batch_of("alice", &paths);
    let first = w.run(&batch).unwrap();
    assert_eq!(first.iter().filter(|o| matches!(o, FileOutcome::Imported(_))).count(), 5, "{first:?}");
    assert!(matches!(first[3], FileOutcome::Unknown { .. }), "{first:?}");
    assert_eq!(w.omero.count("filesets"), 5, "what failed is removed");
    let second = w.run(&batch).unwrap();
    assert!(second.iter().all(|o| matches!(o, FileOutcome::Imported(_))), "{second:?}");
    assert_eq!(w.omero.count("filesets"), 6);
}

#[test]
fn a_lack_of_the_host_or_the_server_is_named_and_passes() {
    for (kind, text, part) in [
        ("scan-error", "java.lang.Exception: java.lang.OutOfMemoryError: Java heap space", "java_options"),
        ("missing-library", "loci.formats.MissingLibraryException: no libjpeg", "library"),
        ("import-error", "java.io.IOException: Too many open files", "open files"),
        ("import-error", "could not obtain a connection", "connection"),
    ] {
        let w = world();
        let paths = [w.image("bad.tif"), w.image("good.tif")];
        w.fault(&[kind, "--path", "*/bad.tif", "--text", text]);
        let outcomes = w.run(&batch_of("alice", &paths)).unwrap();
        let is_named = matches!(&outcomes[0], FileOutcome::Postponed(why) if why.contains(part));
        assert!(is_named, "{kind} {text}: {outcomes:?}");
        imported(&outcomes[1]);
    }
}

#[test]
fn a_file_that_is_not_there_yet_or_short_is_late_and_not_wrong() {
    let w = world();
    let good = w.image("good.tif");
    let short = w.image("short.tif");
    let mut batch = batch_of("alice", &[good, short, w.vault.join("away.tif")]);
    batch.files[1].version.size += 7;
    let outcomes = w.run(&batch).unwrap();
    imported(&outcomes[0]);
    assert!(matches!(&outcomes[1], FileOutcome::Postponed(why) if why.contains("bytes")), "{outcomes:?}");
    assert!(matches!(&outcomes[2], FileOutcome::Postponed(why) if why.contains("not there")), "{outcomes:?}");
}

#[test]
fn what_is_left_when_the_connection_is_lost_is_tried_again() {
    let w = world();
    let paths: Vec<PathBuf> = (0..8).map(|i| w.image(&format!("{i}.tif"))).collect();
    w.fault(&["connection-lost", "--path", "*/4.tif", "--times", "1"]);
    let batch = batch_of("alice", &paths);
    let first = w.run(&batch).unwrap();
    let is_final = |o: &&FileOutcome| matches!(o, FileOutcome::Failed(_));
    assert_eq!(first.iter().filter(is_final).count(), 0, "{first:?}");
    w.omero.admin(&["fault", "clear"]);
    let mut w = w;
    w.importer["unfinished_wait_in_seconds"] = json!(0);
    let second = w.run(&batch).unwrap();
    assert!(second.iter().all(|o| matches!(o, FileOutcome::Imported(_))), "{second:?}");
    assert_eq!(w.omero.count("filesets"), 8);
}

#[test]
fn a_cause_in_the_middle_of_megabytes_is_the_files_own() {
    let w = world();
    let paths: Vec<PathBuf> =
        ["a.tif", "run1.tif", "run1.tiff", "z.tif"].iter().map(|n| w.image(n)).collect();
    let text = "loci.formats.FormatException: bad bytes";
    w.fault(&["import-error", "--path", "*/run1.tiff", "--text", text]);
    for point in ["before-fileset", "after-images"] {
        w.fault(&["huge-output", "--bytes", "3000000", "--where", point, "--times", "4"]);
    }
    let outcomes = w.run(&batch_of("alice", &paths)).unwrap();
    for i in [0, 1, 3] {
        imported(&outcomes[i]);
    }
    assert!(matches!(&outcomes[2], FileOutcome::Failed(why) if why.contains("damaged")), "{outcomes:?}");
}

#[test]
fn images_without_our_mark_are_adopted_only_if_the_sizes_fit() {
    let w = world();
    let path = w.image("a.tif");
    let batch = batch_of("alice", std::slice::from_ref(&path));
    imported(&w.run(&batch_of("alice", &[w.image("first.tif")])).unwrap()[0]);
    w.fault(&["save-error", "--command", "annotate"]);
    let first = w.run(&batch).unwrap();
    assert!(matches!(&first[..], [FileOutcome::Postponed(why)] if why.contains("annotation")), "{first:?}");
    w.omero.admin(&["fault", "clear"]);
    assert_eq!((w.omero.count("filesets"), w.map_annotations()), (2, 1), "nothing says whose it is");
    let fits = w.run(&batch).unwrap();
    assert!(imported(&fits[0]).adopted);
    assert_eq!((w.omero.count("filesets"), w.map_annotations()), (2, 2));
    w.fault(&["save-error", "--command", "annotate"]);
    let other = w.image("b.tif");
    w.run(&batch_of("alice", std::slice::from_ref(&other))).unwrap();
    w.omero.admin(&["fault", "clear"]);
    let path = other;
    let mut others = batch.clone();
    fs::write(&path, [fs::read(&path).unwrap(), b"more".to_vec()].concat()).unwrap();
    others.files[0] = file(7, &path);
    let second = w.run(&others).unwrap();
    assert!(!imported(&second[0]).adopted);
    assert_eq!(w.omero.count("filesets"), 4);
}

#[test]
fn what_the_server_goes_on_with_is_waited_for_and_adopted() {
    let mut w = world();
    w.importer["unfinished_wait_in_seconds"] = json!(3600);
    let batch = batch_of("alice", &[w.image("a.tif")]);
    let until = w.vault.parent().unwrap().join("go on");
    w.fault(&["gate", "--where", "server-import", "--until", until.to_str().unwrap()]);
    w.fault(&[
        "kill",
        "--command",
        "import",
        "--where",
        "while-server-imports",
        "--signal",
        "9",
        "--times",
        "1",
    ]);
    for _ in 0..2 {
        let outcomes = w.run(&batch).unwrap();
        assert!(reason(&outcomes[0]).contains("may still be finishing"), "{outcomes:?}");
        assert_eq!(w.omero.count("filesets"), 1);
    }
    fs::write(&until, "").unwrap();
    wait_until("the server is done", || w.omero.count("images") == 1);
    assert!(imported(&w.run(&batch).unwrap()[0]).adopted);
    assert_eq!((w.omero.count("filesets"), w.map_annotations()), (1, 1));
    assert!(w.omero.sessions().is_empty(), "the session that was left for the server is ended");
}

#[test]
fn an_import_whose_session_was_ended_is_not_waited_for() {
    let mut w = world();
    w.importer["unfinished_wait_in_seconds"] = json!(3600);
    let batch = batch_of("alice", &[w.image("a.tif")]);
    let until = w.vault.parent().unwrap().join("go on");
    w.fault(&["gate", "--where", "server-import", "--until", until.to_str().unwrap()]);
    let point = "while-server-imports";
    w.fault(&["kill", "--command", "import", "--where", point, "--signal", "9", "--times", "1"]);
    let first = w.run(&batch).unwrap();
    assert!(reason(&first[0]).contains("may still be finishing"), "{first:?}");
    assert_eq!(w.omero.sessions(), ["alice"], "OMERO would give up what it does in it");
    // As an administrator does, or OMERO when it is started anew.
    w.omero.admin(&["session", "expire", "--all"]);
    w.omero.admin(&["fault", "clear"]);
    let second = w.run(&batch).unwrap();
    assert!(!imported(&second[0]).adopted);
    fs::write(&until, "").unwrap();
    assert_eq!((w.omero.count("images"), w.omero.count("filesets")), (1, 1));
    assert!(w.omero.sessions().is_empty());
    assert_eq!(fs::read_dir(&w.omero.work).unwrap().count(), 0, "the session's directory is removed");
}

#[test]
fn what_was_exchanged_during_its_import_is_neither_annotated_nor_adopted_later() {
    let w = world();
    let path = w.image("a.tif");
    let batch = batch_of("alice", std::slice::from_ref(&path));
    let until = w.vault.parent().unwrap().join("go on");
    w.fault(&[
        "gate",
        "--command",
        "import",
        "--where",
        "after-transfer",
        "--until",
        until.to_str().unwrap(),
    ]);
    let outcomes = std::thread::scope(|scope| {
        let run = scope.spawn(|| w.run(&batch).unwrap());
        let reached = PathBuf::from(format!("{}.reached", until.display()));
        wait_until("the file is linked", || reached.exists());
        let other = w.vault.join("other");
        fs::copy(&path, &other).unwrap();
        fs::rename(&other, &path).unwrap();
        fs::write(&until, "").unwrap();
        run.join().unwrap()
    });
    assert!(matches!(&outcomes[0], FileOutcome::Failed(why) if why.contains("exchanged")), "{outcomes:?}");
    assert_eq!((w.omero.count("filesets"), w.map_annotations()), (0, 0));
    let again = w.run(&batch).unwrap();
    assert!(!imported(&again[0]).adopted, "it is imported anew: {again:?}");
}

#[test]
fn two_that_import_sets_with_one_file_in_common_have_each_its_own() {
    let w = world();
    let [a1, a2, a3] = ["a1.tif", "a2.tif", "a3.tif"].map(|name| w.image(name));
    let (x, y) = (w.pattern("x.pattern", "a<1-2>.tif"), w.pattern("y.pattern", "a<2-3>.tif"));
    let (mut one, mut two) = (batch_of("alice", &[x, a1]), batch_of("alice", &[y, a3]));
    two.files[0].subject = Subject::DataObject(DataId::parse("21").unwrap());
    two.files[1].subject = Subject::DataObject(DataId::parse("22").unwrap());
    (one.may_use, two.may_use) = (vec![usable(30, &a2)], vec![usable(30, &a2)]);
    let until = w.vault.parent().unwrap().join("go on");
    let until_word = until.to_str().unwrap();
    w.fault(&[
        "gate",
        "--command",
        "import",
        "--where",
        "after-images",
        "--path",
        "*/x.pattern",
        "--until",
        until_word,
    ]);
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| w.run(&one).unwrap());
        let reached = PathBuf::from(format!("{}.reached", until.display()));
        wait_until("the first has its images", || reached.exists());
        let second = w.run(&two).unwrap();
        fs::write(&until, "").unwrap();
        (first.join().unwrap(), second)
    });
    assert_ne!(imported(&first[0]).fileset, imported(&second[0]).fileset);
    for outcomes in [&first, &second] {
        assert!(!imported(&outcomes[0]).adopted && imported(&outcomes[1]).is_member, "{outcomes:?}");
    }
    assert_eq!((w.omero.count("filesets"), w.map_annotations()), (2, 2));
}
