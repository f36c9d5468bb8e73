//! The client against interpreters that do not do what they should: shell scripts that are given the worker's text.

use super::*;
use crate::process::{Nobody, Observer};
use crate::settings::{ImporterCommand, Server};
use crate::worker::Kind;
use irods_omero_model::names::OmeroName;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

/// Reads requests and answers each with its id: `$id` is that of the request just read.
const READ: &str = r#"read -r request || exit 0; id=${request#*\"id\":}; id=${id%%,*}; id=${id%%\}*}"#;

struct World {
    dir: TempDir,
    worker: WorkerProcess,
}

/// A worker that is a shell script.
fn world(script: &str) -> World {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("python-fake");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let server = Server {
        host: "omero.example.org".to_owned(),
        port: 4064,
        sudo_user: OmeroName::parse("importer").unwrap(),
        password_file: dir.path().join("password"),
        namespace: "irods.org/omero".to_owned(),
    };
    let importer = ImporterCommand {
        command: dir.path().join("omero"),
        worker: vec![program.to_str().unwrap().to_owned()],
        jars: dir.path().join("jars"),
        logback: dir.path().join("logback.xml"),
        timeout: Duration::from_secs(60),
        command_timeout: Duration::from_secs(60),
        unfinished_wait: Duration::from_secs(60),
        transfer: "ln_s",
        options: vec![],
        java_options: String::new(),
        environment: vec![],
        work_directory: dir.path().join("work"),
    };
    World { worker: WorkerProcess::new(&Omero { server, importer }), dir }
}

fn ask_within(worker: &dyn Worker, limit: Duration, observer: &dyn Observer) -> Result<Value, WorkerError> {
    worker.ask("hello", json!({}), &mut Waiting { limit, alive: &mut || {}, observer })
}

fn ask(worker: &dyn Worker) -> Result<Value, WorkerError> {
    ask_within(worker, Duration::from_secs(60), &Nobody)
}

fn why(answer: Result<Value, WorkerError>) -> String {
    let error = answer.unwrap_err();
    assert!(matches!(error, WorkerError::Died { .. }), "{error:?}");
    error.to_string()
}

#[test]
fn an_answer_is_given_to_the_question_of_its_id_in_whatever_order_they_come() {
    // Answers the first two questions the other way round.
    let w = world(&format!(
        "{READ}; first=$id; {READ}; echo '{{\"id\":'$id',\"result\":'$id'}}'; echo '{{\"id\":'$first',\"result\":'$first'}}'; cat"
    ));
    let running = w.worker.running().unwrap();
    std::thread::scope(|scope| {
        let answers: Vec<_> = (0..2).map(|_| scope.spawn(|| ask(&w.worker).unwrap())).collect();
        let mut ids: Vec<u64> = answers.into_iter().map(|a| a.join().unwrap().as_u64().unwrap()).collect();
        ids.sort_unstable();
        assert_eq!(ids, [1, 2]);
    });
    assert!(!running.is_broken());
}

#[test]
fn garbage_between_the_answers_is_passed_over_and_a_second_answer_changes_nothing() {
    let w = world(&format!(
        "while :; do {READ}; echo 'Deprecated: x'; echo '[1]'; echo '{{\"id\":99,\"result\":1}}'; printf '\\377\\n'; echo noise >&2; \
         echo '{{\"id\":'$id',\"result\":true}}'; echo '{{\"id\":'$id',\"result\":false}}'; done"
    ));
    for _ in 0..3 {
        assert_eq!(ask(&w.worker).unwrap(), json!(true));
    }
    let first = w.worker.process();
    assert_eq!(ask(&w.worker).unwrap(), json!(true));
    assert_eq!(w.worker.process(), first, "it is the same process");
}

#[test]
fn a_refusal_keeps_its_kind_and_its_words() {
    let w = world(&format!(
        "{READ}; echo '{{\"id\":'$id',\"error\":{{\"kind\":\"no_user\",\"class\":\"final\",\"message\":\"no such user\"}}}}'; \
         {READ}; echo '{{\"id\":'$id',\"error\":{{\"kind\":\"new\",\"class\":\"retry\",\"message\":\"later\"}}}}'; cat"
    ));
    let error = ask(&w.worker).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (Some(Kind::NoUser), "no such user"));
    assert!(!error.will_pass());
    let error = ask(&w.worker).unwrap_err();
    assert_eq!((error.kind(), error.will_pass()), (Some(Kind::Internal), true));
}

#[test]
fn a_worker_that_dies_says_how_and_the_next_question_starts_another() {
    let w = world(&format!(
        "if mkdir started 2>/dev/null; then {READ}; echo 'Traceback: no memory' >&2; exit 3; fi; \
         while :; do {READ}; echo '{{\"id\":'$id',\"result\":\"second\"}}'; done"
    ));
    // The directory of a worker is its own: this one's is where the first left its note.
    let script = w.dir.path().join("python-fake");
    let text = fs::read_to_string(&script).unwrap();
    let text = text.replace("mkdir started", &format!("mkdir {}/started", w.dir.path().display()));
    fs::write(&script, text).unwrap();

    let said = why(ask(&w.worker));
    assert!(said.contains("exit status: 3") && said.contains("Traceback: no memory"), "{said}");
    assert_eq!(ask(&w.worker).unwrap(), json!("second"));
}

#[test]
fn a_worker_that_hangs_is_ended_after_its_time_with_all_it_started() {
    let w = world("sleep 600 & echo $! > ../../child; wait");
    let mut signs = 0;
    let running = w.worker.running().unwrap();
    let mut waiting =
        Waiting { limit: Duration::from_millis(1), alive: &mut || signs += 1, observer: &Nobody };
    let said = why(w.worker.ask("hello", json!({}), &mut waiting));
    assert!(said.contains("did not answer in time"), "{said}");
    assert!(signs > 0);
    assert!(running.is_broken());
    let child = fs::read_to_string(w.dir.path().join("child")).unwrap();
    let gone = || match fs::read_to_string(format!("/proc/{}/stat", child.trim())) {
        Ok(stat) => stat.contains(") Z"),
        Err(_) => true,
    };
    while !gone() {
        std::thread::yield_now();
    }
}

#[test]
fn a_flood_of_garbage_is_cut_off() {
    let w = world("yes nonsense");
    assert!(why(ask(&w.worker)).contains("says what is no answer"));
    let w = world("cat /dev/zero");
    assert!(why(ask(&w.worker)).contains("its line does not end"));
}

#[test]
fn a_worker_that_does_not_read_is_given_up_and_one_that_only_talks_meanwhile_is_not() {
    let big = |w: &World| {
        let params = json!({"x": "y".repeat(1 << 20)});
        let mut waiting = Waiting { limit: Duration::from_millis(1), alive: &mut || {}, observer: &Nobody };
        w.worker.ask("hello", params, &mut waiting)
    };
    assert!(why(big(&world("sleep 600"))).contains("did not take a question in time"));
    // It fills its standard error before it reads a word.
    let w = world(&format!(
        "head -c 300000 /dev/zero | tr '\\0' 'x' >&2; {READ}; echo '{{\"id\":1,\"result\":true}}'; cat"
    ));
    assert_eq!(big(&w).unwrap(), json!(true));
}

/// Wants the end as soon as it is asked.
#[derive(Debug)]
struct Impatient;

impl Observer for Impatient {
    fn stderr(&self, _: &[u8]) {}

    fn stop(&self) -> bool {
        true
    }
}

#[test]
fn whoever_stops_waiting_leaves_the_worker_to_the_others() {
    let w = world(&format!(
        "{READ}; {READ}; echo '{{\"id\":1,\"result\":1}}'; echo '{{\"id\":2,\"result\":2}}'; cat"
    ));
    let stopped = ask_within(&w.worker, Duration::from_secs(60), &Impatient);
    assert_eq!(stopped, Err(WorkerError::Stopped));
    assert_eq!(ask(&w.worker).unwrap(), json!(2));
}

#[test]
fn the_worker_has_three_descriptors_a_directory_of_its_own_and_leaves_nothing() {
    let mut w = world(&format!(
        "{READ}; pwd > ../../pwd; ls /proc/self/fd | wc -l > ../../fds; env > ../../env; cat > /dev/null"
    ));
    let open = fs::File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).unwrap();
    w.worker.omero.importer.environment = vec![("SITE".to_owned(), "x".to_owned())];
    // It ends without an answer when its input does.
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&w.worker));
        let text = |name: &str| fs::read_to_string(w.dir.path().join(name)).unwrap_or_default();
        while !text("env").contains("SITE=x\n") || !text("env").ends_with('\n') {
            std::thread::yield_now();
        }
        // The standard three and the directory being listed.
        assert_eq!(text("fds").trim(), "4");
        let directory = PathBuf::from(text("pwd").trim());
        assert!(directory.join(FILE).is_file());
        assert!(text("env").lines().all(|line| !line.starts_with("CARGO")), "{}", text("env"));
        let running = w.worker.running().unwrap();
        drop(running.give_up("is ended by the test"));
        assert!(asking.join().unwrap().is_err());
        drop(running);
        *lock(&w.worker.current) = None;
        assert!(!directory.exists());
    });
}

#[test]
fn what_cannot_be_started_says_what_to_do() {
    let mut w = world("");
    w.worker.omero.importer.worker = vec!["/nowhere/python".to_owned()];
    let error = ask(&w.worker).unwrap_err().to_string();
    assert!(error.contains("/nowhere/python") && error.contains("importer/worker"), "{error}");
    w.worker.omero.importer.worker.clear();
    let error = ask(&w.worker).unwrap_err().to_string();
    assert!(error.contains("importer/command"), "{error}");
    fs::write(w.dir.path().join("omero"), "#!/bin/sh\nexec /opt/omero/bin/omero \"$@\"\n").unwrap();
    let error = ask(&w.worker).unwrap_err();
    assert!(error.will_pass() && error.to_string().contains("set importer/worker"), "{error}");
}
