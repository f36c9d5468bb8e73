//! The importer against the real `omero` command (omero-py 5.23.0), run by the plugin's own code: what it makes of
//! our command lines, what of them reaches Java, and what we make of its answers.
//!
//! Two things are not real: the server behind the command (`tests/omero/contract/run-real-omero`), and Java, which
//! writes down how it was called. The command is installed by `tests/contract/environment`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

#[path = "contract/environment.rs"]
mod environment;

use environment::environment;
use irods_omero_config::Config;
use irods_omero_importer::command::CommandImporter;
use irods_omero_importer::settings::Omero;
use irods_omero_importer::{
    Batch, BatchFile, FileOutcome, Importer, ImporterError, Sessions, Subject, UsableFile,
};
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::{CollectionId, DataId, IrodsUser, LogicalPath, OmeroName};
use irods_omero_model::record::Version;
use irods_omero_model::target::Target;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const PASSWORD: &str = "correct horse battery";
const JAVA_MAIN: &str = "ome.formats.importer.cli.CommandLineImporter";

/// One real `omero` command with its simulated server, and what the plugin is told about them.
struct World {
    dir: TempDir,
    importer: Value,
}

impl World {
    fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap(), importer: Value::Null };
        // The command runs as somebody else where we are root.
        world.mode("", 0o755);
        for name in ["bin", "jars", "sim", "work"] {
            fs::create_dir(world.path(name)).unwrap();
            world.mode(name, 0o755);
        }
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let copy = |from: &str, to: &str| {
            fs::copy(sources.join(from), world.path(to)).unwrap();
            world.mode(to, 0o755);
        };
        copy("omero/contract/run-real-omero", "bin/run-real-omero");
        copy("omero/contract/java-standin/java", "bin/java");
        copy("contract/worker", "bin/worker");
        let command = fs::read_to_string(sources.join("contract/omero")).unwrap();
        world.write("bin/omero", &format!("#!{}/bin/python\n{command}", environment().display()), 0o755);
        world.write("bin/answers.json", "[]", 0o644);
        world.write("jars/importer.jar", "", 0o644);
        world.write("logback.xml", "<configuration/>", 0o644);
        world.write("password", &format!("{PASSWORD}\n"), 0o600);
        let importer = json!({
            "mode": "command", "command": world.path("bin/omero"),
            "worker": [environment().join("bin/python"), world.path("bin/worker")], "jars": world.path("jars"),
            "logback": world.path("logback.xml"), "java_options": "-Xmx2g '-Dx=a b'",
            "options": ["--skip=upgrade", "--parallel-upload=4"], "work_directory": world.path("work"),
            "environment": {
                "PATH": format!("{}:/usr/bin:/bin", world.path("bin").display()),
                "OMERO_SIM": world.path("sim"),
                "JAVA_RECORD": world.path("sim/java.jsonl"),
            },
        });
        Self { importer, ..world }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn text(&self, below: &str) -> String {
        self.path(below).to_str().unwrap().to_owned()
    }

    fn mode(&self, below: &str, mode: u32) {
        fs::set_permissions(self.path(below), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn write(&self, below: &str, text: &str, mode: u32) {
        fs::write(self.path(below), text).unwrap();
        self.mode(below, mode);
    }

    /// What the simulated server answers to queries that hold a text, before or after an import, or both.
    fn answers(&self, rows: &[(&str, Option<bool>, Value)]) {
        self.answers_of(&[], rows);
    }

    /// The same, and to queries about one id.
    fn answers_of(&self, of_id: &[(&str, usize, Value)], rows: &[(&str, Option<bool>, Value)]) {
        let of_id = of_id
            .iter()
            .map(|(part, id, rows)| json!({"in": part, "id": id, "after_import": null, "rows": rows}));
        let others =
            rows.iter().map(|(part, after, rows)| json!({"in": part, "after_import": after, "rows": rows}));
        let answers: Vec<Value> = of_id.chain(others).collect();
        self.write("bin/answers.json", &Value::Array(answers).to_string(), 0o644);
    }

    /// The configuration as the plugin reads it.
    fn omero(&self) -> Omero {
        let server = json!({
            "server": "omero.example.org", "port": 4064, "sudo_user": "importer", "password_file": self.path("password"),
        });
        Config::parse(&json!({"omero": server, "importer": self.importer})).unwrap().omero.unwrap()
    }

    fn import(&self, batch: &Batch) -> Result<Vec<FileOutcome>, ImporterError> {
        CommandImporter::new(&self.omero()).import(batch, 1, &mut || {})
    }

    /// The commands run, in their order, but for forecasts.
    fn calls(&self) -> Vec<Value> {
        lines(&self.path("bin/calls.jsonl")).into_iter().filter(|call| !is_forecast(call)).collect()
    }

    /// The words of the commands run.
    fn words(&self) -> Vec<Vec<OsString>> {
        self.calls()
            .iter()
            .map(|call| strings(&call["argv"]).into_iter().map(OsString::from).collect())
            .collect()
    }

    /// The words of all commands run, forecasts too.
    fn all_words(&self) -> Vec<Vec<OsString>> {
        let calls = lines(&self.path("bin/calls.jsonl"));
        calls.iter().map(|call| strings(&call["argv"]).into_iter().map(OsString::from).collect()).collect()
    }

    /// What the simulated server was asked to do.
    fn events(&self, kind: &str) -> Vec<Value> {
        lines(&self.path("sim/events.jsonl")).into_iter().filter(|event| event["event"] == kind).collect()
    }

    /// Java's runs but for forecasts: how the importer proper was called.
    fn java(&self) -> Vec<Value> {
        lines(&self.path("sim/java.jsonl")).into_iter().filter(|run| !is_forecast(run)).collect()
    }

    /// The words of Java's one run from the class on, which are the importer's own, with KEY for the session's key.
    fn java_words(&self, key: &str) -> Vec<String> {
        let runs = self.java();
        assert_eq!(runs.len(), 1, "{runs:?}");
        let argv = strings(&runs[0]["argv"]);
        let class = argv.iter().position(|word| word == JAVA_MAIN).unwrap();
        argv[class + 1..]
            .iter()
            .map(|word| if word == key { "KEY".to_owned() } else { word.clone() })
            .collect()
    }

    /// The simulated server ends all sessions.
    fn forget_sessions(&self) {
        let path = self.path("sim/sim.json");
        let mut server: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        server["sessions"] = json!({});
        fs::write(path, server.to_string()).unwrap();
    }

    /// The key of the session that was opened for the user.
    fn session(&self) -> String {
        self.events("detachOnDestroy").first().unwrap()["session"].as_str().unwrap().to_owned()
    }
}

/// Whether a command, or a run of Java, asked for the groups only.
fn is_forecast(run: &Value) -> bool {
    strings(&run["argv"]).iter().any(|word| word == "-f")
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// The file of a batch, as the catalog has it: a forecast is asked only of what is there.
fn lay(path: &str) {
    static LAYING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _laying = LAYING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let path = Path::new(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    if path.extension().is_some_and(|e| e == "zarr") {
        fs::create_dir_all(path).unwrap();
        fs::write(path.join("zarr.json"), [b'x'; SIZE]).unwrap();
    } else if !path.exists() {
        fs::write(path, [b'x'; SIZE]).unwrap();
    }
}

/// How many bytes each file of a batch has.
const SIZE: usize = 204;

fn batch(user: &str, group: Option<&str>, target: &str, paths: &[&str]) -> Batch {
    for path in paths {
        lay(path);
    }
    let file = |(i, path): (usize, &&str)| BatchFile {
        subject: Subject::DataObject(DataId::parse(&(10_001 + i).to_string()).unwrap()),
        logical_path: LogicalPath::parse(format!("/z/home/alice/{i} it's a \"b\" #c \\ é $x").as_bytes())
            .unwrap(),
        importer_path: (*path).to_owned(),
        version: Version { modify_time: 1_700_000_000, size: 204 },
        checksum: Some("sha2:abc+/=".to_owned()),
        // Somebody whose name looks like an option.
        owner: IrodsUser::parse("-x#z").unwrap(),
        previous: vec![],
    };
    Batch {
        identity: OmeroIdentity {
            user: OmeroName::parse(user).unwrap(),
            group: group.map(|g| OmeroName::parse(g).unwrap()),
        },
        target: Target::parse(target).unwrap(),
        plate_target: None,
        may_join: false,
        may_use: vec![],
        files: paths.iter().enumerate().map(file).collect(),
    }
}

fn imported(outcome: &FileOutcome) -> (String, Vec<String>) {
    match outcome {
        FileOutcome::Imported(i) => {
            (i.fileset.to_string(), i.images.iter().map(ToString::to_string).collect())
        }
        other => panic!("{other:?}"),
    }
}

/// Names that a shell, an option parser or a query would take for something else.
const PATHS: [&str; 3] = [
    "/tmp/irods-omero-contract/a.tif",
    "/tmp/irods-omero-contract/it's \"b\" é #1 $objPath %s.tif",
    "/tmp/irods-omero-contract/-dash/--help.tif",
];

/// A dataset that is there.
const DATASET: &str = "Dataset:name:run1; 'a' & -b";

/// A time, in milliseconds since 1970.
const TIME: u64 = 1_764_337_000_000;

/// A world in which the importer finds a fileset with one image for each of `PATHS` after it has imported.
fn world_that_imports() -> World {
    let world = World::new();
    let entries = json!([
        [55, 1, "tmp/irods-omero-contract/a.tif", 204, "ab12", "SHA1-160"],
        [56, 2, "tmp/irods-omero-contract/it's 'b' é #1 $objPath %s.tif", 204, null, null],
        [57, 3, "tmp/irods-omero-contract/-dash/--help.tif", 204, "ab12", "SHA1-160"],
    ]);
    let about =
        json!([[55, "alice", 3, TIME, null], [56, "alice", 3, TIME, null], [57, "alice", 3, TIME, null]]);
    let path = |n: usize| ["a.tif", "it's 'b' é #1 $objPath %s.tif", "-dash/--help.tif"][n];
    let of_fileset = |n: usize| {
        let file = json!([[
            n + 1,
            format!("tmp/irods-omero-contract/{}", path(n)),
            n + 1,
            "alice_2/",
            path(n),
            204,
            "ab12",
            "SHA1-160",
            null
        ]]);
        let about = json!([["alice_2/x", "alice", 2, 3]]);
        [("fe.fileset.id = :id and fe.id > :after", 55 + n, file), ("select f.templatePrefix", 55 + n, about)]
    };
    world.answers_of(
        &(0..3).flat_map(of_fileset).collect::<Vec<_>>(),
        &[
            ("from Dataset c where c.name = :name", Some(false), json!([[7, 2, -120, "alice"]])),
            ("fe.clientPath in (:paths)", Some(true), entries),
            ("from Fileset f join f.details.owner o", Some(true), about),
            ("select fe.fileset.id, count(fe.id)", Some(true), json!([[55, 1], [56, 1], [57, 1]])),
            ("from Image i", Some(true), json!([[55, 101], [56, 102], [57, 103]])),
            (
                "select f.id, f.details.group.id from Fileset f",
                Some(true),
                json!([[55, 3], [56, 3], [57, 3]]),
            ),
        ],
    );
    world
}

#[test]
fn an_import_is_one_command_and_one_worker_and_the_real_ones_accept_all() {
    let world = world_that_imports();
    let batch = batch("alice", Some("lab1"), DATASET, &PATHS);
    let outcomes = world.import(&batch).unwrap();

    let of = |fileset: &str, image: &str| (fileset.to_owned(), vec![image.to_owned()]);
    let found: Vec<_> = outcomes.iter().map(imported).collect();
    assert_eq!(found, [of("55", "101"), of("56", "102"), of("57", "103")]);

    let omero = world.omero();
    let mut words = CommandImporter::new(&omero).import_words(Some("Dataset:id:7"), false);
    let key = world.session();
    words.splice(1..1, ["-k", &key, "-s", "omero.example.org", "-p", "4064"].map(OsString::from));
    assert_eq!(world.words(), [words]);
    for call in world.calls() {
        assert_eq!(call["exit"], 0, "{call}");
        assert_eq!(call["fds"], json!([0, 1, 2]), "{call}");
    }
    let workers = lines(&world.path("bin/workers.jsonl"));
    assert_eq!(workers.len(), 1, "{workers:?}");
    assert_eq!(workers[0]["fds"], json!([0, 1, 2]));
    assert!(strings(&workers[0]["argv"])[0].starts_with(&world.text("work/worker-")), "{workers:?}");
    assert_eq!(fs::read_dir(world.path("work")).unwrap().count(), 0, "nothing is left of the run");
}

#[test]
fn java_gets_the_target_the_paths_and_no_password() {
    let world = world_that_imports();
    world.import(&batch("alice", Some("lab1"), DATASET, &PATHS)).unwrap();

    let key = world.session();
    assert_eq!(
        world.java_words(&key),
        [
            "-s",
            "omero.example.org",
            "-p",
            "4064",
            "-k",
            "KEY",
            "--no-upgrade-check",
            "-c",
            "--target=Dataset:id:7",
            "--output=yaml",
            "--transfer=ln_s",
            "--parallel-upload=4",
            "-",
        ]
    );
    let run = &world.java()[0];
    let argv = strings(&run["argv"]);
    let machine: Vec<_> = argv.iter().take_while(|word| *word != JAVA_MAIN).collect();
    let temporary = machine.iter().find_map(|word| word.strip_prefix("-Djava.io.tmpdir=")).unwrap();
    let cwd = run["cwd"].as_str().unwrap();
    assert!(cwd.starts_with(&world.text("work/run-")) && temporary.starts_with(cwd), "{cwd} {temporary}");
    let machine: Vec<_> = machine.into_iter().filter(|word| !word.ends_with(temporary)).collect();
    assert_eq!(
        machine,
        [
            "-Dlog4j.configuration=etc/log4j.xml",
            &format!("-Dlogback.configurationFile={}", world.text("logback.xml")),
            "-Xmx1024M",
            "-cp",
            &world.text("jars/importer.jar"),
            "-Domero.import.depth=4",
            "-XX:TieredStopAtLevel=1",
            "-Xmx2g",
            "-Dx=a b",
            "-Djava.awt.headless=true",
        ]
    );
    assert_eq!(run["stdin"], PATHS.map(|path| format!("{path}\n")).concat(), "Python takes nothing of it");
    assert_eq!(run["fds"], json!([0, 1, 2]));
    assert_eq!(
        strings(&run["env"]),
        [
            "HOME",
            "JAVA_OPTS",
            "JAVA_RECORD",
            "LC_ALL",
            "OMERO_SESSIONDIR",
            "OMERO_SIM",
            "OMERO_TMPDIR",
            "OMERO_USERDIR",
            "PATH",
            "TZ",
        ]
    );
}

#[test]
fn the_password_opens_the_session_and_goes_nowhere_else() {
    let world = world_that_imports();
    world.import(&batch("alice", Some("lab1"), DATASET, &PATHS)).unwrap();

    let opened = world.events("createSession");
    assert_eq!(opened.len(), 1, "{opened:?}");
    assert_eq!(
        (&opened[0]["name"], &opened[0]["password_length"]),
        (&json!("importer"), &json!(PASSWORD.len()))
    );
    let given = world.events("createSessionWithTimeouts");
    assert_eq!(given.len(), 1, "{given:?}");
    assert_eq!((&given[0]["name"], &given[0]["group"]), (&json!("alice"), &json!("lab1")));
    // A session whose owner died ends after 15 minutes.
    assert_eq!((&given[0]["live"], &given[0]["idle"]), (&json!(0), &json!(900_000)));

    for file in ["bin/calls.jsonl", "bin/workers.jsonl", "sim/java.jsonl"] {
        let text = fs::read_to_string(world.path(file)).unwrap();
        assert!(!text.contains(PASSWORD) && !text.contains("OMERO_PASSWORD"), "{file}: {text}");
    }
}

#[test]
fn the_worker_and_the_command_use_one_session_and_it_is_ended() {
    let world = world_that_imports();
    world.import(&batch("alice", Some("lab1"), DATASET, &PATHS)).unwrap();

    let key = world.session();
    let joined = world.events("joinSession");
    assert!(joined.len() >= 2, "{joined:?}");
    assert!(joined.iter().all(|event| event["key"] == key.as_str()), "{joined:?}");
    let killed = world.events("killSession");
    assert!(killed.iter().any(|event| event["session"] == key.as_str()), "{killed:?}");
    let server: Value =
        serde_json::from_str(&fs::read_to_string(world.path("sim/sim.json")).unwrap()).unwrap();
    assert!(server["sessions"].get(&key).is_none(), "{server}");
}

#[test]
fn imports_that_share_a_session_open_it_once_and_an_expired_one_is_opened_anew() {
    let world = world_that_imports();
    let (omero, sessions) = (world.omero(), Sessions::default());
    let importer = CommandImporter::new(&omero).sharing(&sessions);
    let batch = batch("alice", Some("lab1"), DATASET, &PATHS);
    importer.import(&batch, 1, &mut || {}).unwrap();
    importer.import(&batch, 1, &mut || {}).unwrap();
    let count = |event: &str| world.events(event).len();
    assert_eq!((count("createSessionWithTimeouts"), count("killSession"), sessions.count()), (1, 0, 1));
    for call in world.calls() {
        assert_eq!(call["exit"], 0, "{call}");
    }
    let key = world.session();
    assert!(world.events("joinSession").iter().all(|event| event["key"] == key.as_str()));

    // The server forgets it: the next import's first question says so, and the import begins anew.
    world.forget_sessions();
    importer.import(&batch, 1, &mut || {}).unwrap();
    assert_eq!((count("createSessionWithTimeouts"), sessions.count()), (2, 1));
    assert_eq!(lines(&world.path("bin/workers.jsonl")).len(), 1, "it is the same worker");

    sessions.end_all();
    assert_eq!((count("killSession"), sessions.count()), (1, 0), "one was gone already");
    assert_eq!(fs::read_dir(world.path("work")).unwrap().count(), 0);
}

#[test]
fn imports_at_one_time_share_a_session_and_a_worker() {
    let world = World::new();
    // Whether another has imported already makes no difference.
    world.answers(&[("from Dataset c where c.id = :id", None, json!([[7, 2, -120, "alice"]]))]);
    let (omero, sessions) = (world.omero(), Sessions::default());
    let importer = CommandImporter::new(&omero).sharing(&sessions);
    std::thread::scope(|scope| {
        for path in PATHS {
            scope.spawn(move || {
                let outcomes = importer.import(&batch("alice", None, "Dataset:id:7", &[path]), 1, &mut || {});
                assert_eq!(outcomes.unwrap().len(), 1);
            });
        }
    });
    let words = world.words();
    let commands = |word: &str| words.iter().filter(|w| w[0] == word).count();
    assert_eq!((words.len(), commands("import")), (PATHS.len(), PATHS.len()));
    assert_eq!(world.events("createSessionWithTimeouts").len(), 1);
    assert_eq!(lines(&world.path("bin/workers.jsonl")).len(), 1);
    for call in world.calls() {
        assert_eq!(call["exit"], 0, "{call}");
    }
    let key = world.session();
    assert!(world.java().iter().all(|run| strings(&run["argv"]).contains(&key)));
    sessions.end_all();
    assert_eq!((sessions.count(), fs::read_dir(world.path("work")).unwrap().count()), (0, 0));
}

#[test]
fn a_directory_is_forecast_and_imported_to_its_depth_and_put_where_its_kind_belongs() {
    let world = World::new();
    // A forecast is an import too, as far as the answers are concerned.
    let stored = "tmp/irods-omero-contract/a.zarr/zarr.json";
    let entries = json!([[1, stored, 1, "alice_2/", "zarr.json", 204, null, null, null]]);
    let about = json!([["alice_2/x", "alice", 2, 3]]);
    let of_fileset =
        [("fe.fileset.id = :id and fe.id > :after", 55, entries), ("select f.templatePrefix", 55, about)];
    world.answers_of(
        &of_fileset,
        &[
            ("fe.clientPath in (:paths)", Some(true), json!([[55, 1, stored, 204, null, null]])),
            ("select fe.fileset.id, count(fe.id)", Some(true), json!([[55, 1]])),
            ("substring(fe.clientPath, 1, 32) = :start", Some(true), json!([[55]])),
            ("from Fileset f join f.details.owner o", Some(true), json!([[55, "alice", 3, TIME, null]])),
            ("from Image i", Some(true), json!([[55, 101]])),
            ("from Dataset c where c.name = :name", Some(true), json!([[7, 2, -120, "alice"]])),
            ("select c.details.group.id from Dataset c", Some(true), json!([[3]])),
            ("select f.id, f.details.group.id from Fileset f", Some(true), json!([[55, 3]])),
        ],
    );
    let mut batch = batch("alice", Some("lab1"), "Dataset:name:run1", &["/tmp/irods-omero-contract/a.zarr"]);
    batch.files[0].subject = Subject::Collection(CollectionId::parse("77").unwrap());
    batch.may_use = vec![UsableFile {
        subject: Subject::DataObject(DataId::parse("10002").unwrap()),
        importer_path: format!("{}/zarr.json", batch.files[0].importer_path),
        version: batch.files[0].version,
        checksum: None,
    }];
    (batch.may_join, batch.plate_target) = (true, Some(Target::parse("Screen:name:plates").unwrap()));
    assert_eq!(imported(&world.import(&batch).unwrap()[0]), ("55".to_owned(), vec!["101".to_owned()]));

    let (omero, words) = (world.omero(), world.all_words());
    let importer = CommandImporter::new(&omero);
    let imports: Vec<_> = words.iter().filter(|w| w[0] == "import").collect();
    let key = world.session();
    let mut import = importer.import_words(None, true);
    import.splice(1..1, ["-k", &key, "-s", "omero.example.org", "-p", "4064"].map(OsString::from));
    assert_eq!(imports, [&importer.forecast_words(true), &import]);
    for call in world.calls() {
        assert_eq!(call["exit"], 0, "{call}");
    }
    let java: Vec<Vec<String>> =
        lines(&world.path("sim/java.jsonl")).iter().map(|run| strings(&run["argv"])).collect();
    let own = |argv: &[String]| argv.split(|word| word == JAVA_MAIN).nth(1).unwrap().to_vec();
    assert_eq!(own(&java[0]), ["-f", "--output=yaml", "-"], "no server is asked");
    let logged_in = ["-s", "omero.example.org", "-p", "4064", "-k", &key];
    let given = ["--no-upgrade-check", "-c", "--output=yaml", "--transfer=ln_s", "--parallel-upload=4", "-"];
    assert_eq!(own(&java[1]), [&logged_in[..], &given[..]].concat());
    assert!(java[0].contains(&"-Domero.import.depth=16".to_owned()), "{java:?}");
    let linked = json!({"parent": "DatasetI:7", "child": "ImageI:101"});
    let saved = world.events("save");
    assert!(saved.iter().any(|e| e["klass"] == "DatasetImageLink" && e["fields"] == linked), "{saved:?}");
}

#[test]
fn a_project_and_a_dataset_that_are_not_there_are_made_and_linked() {
    let world = World::new();
    let target = "Project:name:it's P; #1/Dataset:name:-d é";
    world.import(&batch("alice", Some("lab1"), target, &["/tmp/irods-omero-contract/a.tif"])).unwrap();
    let saved = world.events("save");
    let of = |class: &str| saved.iter().find(|e| e["klass"] == class).unwrap_or_else(|| panic!("{saved:?}"));
    let (project, dataset, link) = (of("Project"), of("Dataset"), of("ProjectDatasetLink"));
    assert_eq!(
        (&project["fields"]["name"], &dataset["fields"]["name"]),
        (&json!("it's P; #1"), &json!("-d é"))
    );
    let (parent, child) = (format!("ProjectI:{}", project["id"]), format!("DatasetI:{}", dataset["id"]));
    assert_eq!(link["fields"], json!({"parent": parent, "child": child}));
    let key = world.session();
    let into = format!("--target=Dataset:id:{}", dataset["id"]);
    assert!(world.java_words(&key).contains(&into), "{into}");
}

#[test]
fn queries_and_annotations_arrive_letter_by_letter() {
    let world = world_that_imports();
    world.import(&batch("alice", Some("lab1"), DATASET, &PATHS)).unwrap();

    let asked = world.events("projection");
    let paths = json!([
        "tmp/irods-omero-contract/-dash/--help.tif",
        "tmp/irods-omero-contract/a.tif",
        "tmp/irods-omero-contract/it's 'b' é #1 $objPath %s.tif"
    ]);
    let by_path = asked.iter().filter(|event| event["params"]["paths"] == paths);
    assert_eq!(by_path.count(), 2, "asked before and after: {asked:?}");
    assert!(asked.iter().any(|event| event["params"]["name"] == "run1; 'a' & -b"), "{asked:?}");

    // The last state of each annotation, as it was saved.
    let saved = world.events("save");
    let of_class = |class: &'static str| saved.iter().filter(move |event| event["klass"] == class);
    for (number, (fileset, image)) in [(55, 101), (56, 102), (57, 103)].into_iter().enumerate() {
        let data_id = 10_001 + number;
        let description = format!("iRODS data object {data_id} version ");
        let annotation = of_class("MapAnnotation")
            .rfind(|event| {
                event["fields"]["description"].as_str().is_some_and(|d| d.starts_with(&description))
            })
            .unwrap_or_else(|| panic!("no annotation of {data_id}: {saved:?}"));
        assert_eq!(annotation["fields"]["ns"], "irods.org/omero");
        let path = format!("/z/home/alice/{number} it's a \"b\" #c \\ é $x");
        assert_eq!(
            annotation["fields"]["mapValue"],
            json!([
                ["iRODS zone", "z"],
                ["iRODS path", path],
                ["iRODS data id", data_id.to_string()],
                ["iRODS checksum", "sha2:abc+/="],
                ["iRODS user", "-x#z"],
            ])
        );
        let child = format!("MapAnnotationI:{}", annotation["id"]);
        for (class, parent) in [
            ("ImageAnnotationLink", format!("ImageI:{image}")),
            ("FilesetAnnotationLink", format!("FilesetI:{fileset}")),
        ] {
            assert!(
                of_class(class).any(|e| e["fields"]["parent"] == parent && e["fields"]["child"] == child),
                "no {class} of {parent} to {child}: {saved:?}"
            );
        }
    }
}

#[test]
fn what_the_configuration_may_change_reaches_java_too() {
    let mut world = World::new();
    world.importer["transfer"] = "ln".into();
    world.importer["options"] = json!([
        "--skip=minmax",
        "--checksum-algorithm=SHA1-160",
        "--parallel-upload=2",
        "--parallel-fileset=3",
        "--depth=7",
        "--encrypted=true",
        format!("--readers={}", world.text("logback.xml")),
    ]);
    world.answers(&[("from Screen c where c.id = :id", Some(false), json!([[12, 2, -120, "alice"]]))]);
    // No group: the user's own default.
    world.import(&batch("alice", None, "Screen:id:12", &["/tmp/irods-omero-contract/plate.xdce"])).unwrap();
    let key = world.session();
    assert_eq!(
        world.java_words(&key),
        [
            "-s",
            "omero.example.org",
            "-p",
            "4064",
            "-k",
            "KEY",
            "--no-stats-info",
            "--no-upgrade-check",
            "-c",
            &format!("--readers={}", world.text("logback.xml")),
            "--target=Screen:id:12",
            "--output=yaml",
            "--encrypted=true",
            "--transfer=ln",
            "--checksum-algorithm=SHA1-160",
            "--parallel-upload=2",
            "--parallel-fileset=3",
            "-",
        ]
    );
    assert!(strings(&world.java()[0]["argv"]).contains(&"-Domero.import.depth=7".to_owned()));
}

#[test]
fn a_batch_of_thousands_fits_the_command_lines() {
    let world = World::new();
    let paths: Vec<String> =
        (0..2_000).map(|i| format!("/tmp/irods-omero-contract/{i:0>90}/it's {i}.tif")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let outcomes = world.import(&batch("alice", Some("lab1"), "Dataset:name:D", &paths)).unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(
        outcome,
        FileOutcome::Failed(_) | FileOutcome::Postponed(_) | FileOutcome::Unknown { .. }
    )));
    assert!(world.calls().iter().all(|call| call["exit"] == 0));
    let asked: String = world.events("projection").iter().map(|event| event["params"].to_string()).collect();
    for i in [0, 1, 999, 1_999] {
        // Before, after, and once more when those without an outcome are tried again.
        assert!(asked.matches(&format!("/it's {i}.tif\"")).count() >= 2, "asked before and after: {i}");
    }
    assert_eq!(world.java()[0]["stdin"].as_str().unwrap().lines().count(), paths.len());
}

#[test]
fn what_java_says_and_its_exit_code_pass_through() {
    let mut world = World::new();
    world.importer["environment"]["JAVA_EXIT"] = "3".into();
    let failed = world
        .import(&batch("alice", Some("lab1"), "Dataset:name:D", &["/tmp/irods-omero-contract/a.tif"]))
        .unwrap();
    assert!(matches!(&failed[..], [FileOutcome::Unknown { is_alone: true, .. }]), "{failed:?}");
    let import = world.calls().into_iter().find(|call| call["argv"][0] == "import").unwrap();
    assert_eq!(import["exit"], 3);
}

#[test]
fn what_a_server_says_to_a_login_is_told_apart() {
    // Whether it will pass, and a word the reason must hold.
    for (answer, will_pass, word) in [
        ("refused", true, "connection refused"),
        ("dns", true, "host name"),
        ("security", false, "Sudo"),
        ("denied", true, "password of 'importer'"),
        ("hung", true, "router"),
        ("other", true, "simulated"),
    ] {
        let mut world = World::new();
        world.importer["environment"]["OMERO_SIM_LOGIN"] = answer.into();
        let error = world
            .import(&batch("alice", Some("lab1"), "Dataset:name:D", &["/tmp/irods-omero-contract/a.tif"]))
            .unwrap_err();
        assert_eq!(matches!(error, ImporterError::WillPass(_)), will_pass, "{answer}: {error:?}");
        assert!(error.to_string().contains(word), "{answer}: {error}");
        assert!(world.calls().is_empty(), "{answer}");
        assert!(world.java().is_empty());
    }
}

#[test]
fn omero_py_takes_the_parameters_of_the_script_that_saves_to_irods() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("omero/scripts/irods/Save_to_iRODS.py");
    let text = r#"
import importlib.util, json, sys
import omero
import omero.scripts as scripts
from omero.rtypes import unwrap
spec = importlib.util.spec_from_file_location("script", sys.argv[1])
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
params = script.parameters()
assert all(isinstance(p, scripts.Type) for p in params)
print(json.dumps([[p._name, type(p.prototype).__name__, bool(p.optional), unwrap(p.prototype) if p.useDefault else None,
                   unwrap(p.values), bool(p.description)] for p in params]))
"#;
    let python = environment().join("bin/python");
    let ran = Command::new(python).args(["-B", "-c", text]).arg(script).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let found: Vec<Value> = serde_json::from_slice(&ran.stdout).unwrap();
    let of = |name: &str| found.iter().find(|p| p[0] == name).unwrap_or_else(|| panic!("{name}: {found:?}"));
    // Under these names OMERO.web fills in what is selected.
    assert_eq!((of("Data_Type")[3].as_str(), of("Data_Type")[2].as_bool()), (Some("Image"), Some(false)));
    assert_eq!(of("Data_Type")[4], json!(["Image", "Dataset", "Project", "Plate", "Screen"]));
    assert_eq!(of("IDs")[1], "RListI");
    assert_eq!((&of("Original_Files")[3], &of("Attachments")[3]), (&json!(true), &json!(false)));
    assert_eq!((&of("If_the_Name_is_Taken")[3], &of("Wait_Seconds")[3]), (&json!("rename"), &json!(20)));
    assert!(found.iter().all(|p| p[5] == true), "each says what it is: {found:?}");
}

#[test]
fn the_command_omero_loads_the_script_as_its_plugin() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("omero/scripts/irods/Save_to_iRODS.py");
    let text = r#"
import json, sys
import omero.cli
cli = omero.cli.CLI()
cli.loadpath(omero.cli.path(sys.argv[1]))
cli.configure_plugins()
args = cli.parser.parse_args(["irods", "save", "Dataset:4", "Image:12", "--attachments", "--wait", "3"])
print(json.dumps([args.objects, args.attachments, args.no_files, args.wait]))
"#;
    let python = environment().join("bin/python");
    let ran = Command::new(python).args(["-B", "-c", text]).arg(script).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let found: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(found, json!([["Dataset:4", "Image:12"], true, false, 3]));
}
