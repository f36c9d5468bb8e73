//! The two processes of an import, signals, descriptors, and many runs at once.

mod common;

use common::{Omero, finish, wait_for};
use std::path::Path;
use std::process::{Command, Stdio};

fn ready() -> (Omero, String) {
    let o = Omero::new();
    o.login("alice");
    let path = o.tiff("a.tif");
    (o, path)
}

fn signal(name: &str, to: &str) {
    assert!(Command::new("kill").args([name, "--", to]).status().unwrap().success());
}

/// The one process that `hanging.PID` in the store tells of.
fn hanging(o: &Omero) -> Option<String> {
    std::fs::read_dir(o.store())
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().into_string().ok())
        .find_map(|n| n.strip_prefix("hanging.").map(str::to_owned))
}

fn alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|s| !matches!(s.rsplit(") ").next().and_then(|r| r.chars().next()), Some('Z' | 'X')))
}

#[test]
fn a_signal_to_the_python_half_leaves_java_working() {
    let (o, path) = ready();
    let gate = o.path("gate");
    o.standin(&["fault", "set", "gate", "--where", "before-transfer", "--until", gate.to_str().unwrap()]);
    let mut child = o.start_import(&[], &[&path]);
    let reached = o.path("gate.reached");
    wait_for("java works", || reached.exists());
    signal("-TERM", &child.id().to_string());
    assert!(child.wait().unwrap().code().is_none(), "killed by the signal");
    assert_eq!(o.count("images"), 0);
    std::fs::write(gate, "").unwrap();
    wait_for("java finishes the import alone", || o.count("images") == 1);
}

#[test]
fn an_interrupt_of_the_python_half_gives_1_and_leaves_java_working() {
    let (o, path) = ready();
    let gate = o.path("gate");
    o.standin(&["fault", "set", "gate", "--where", "before-transfer", "--until", gate.to_str().unwrap()]);
    let mut child = o.start_import(&[], &[&path]);
    let reached = o.path("gate.reached");
    wait_for("java works", || reached.exists());
    signal("-INT", &child.id().to_string());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    std::fs::write(gate, "").unwrap();
    wait_for("java finishes the import alone", || o.count("images") == 1);
}

#[test]
fn a_signal_to_the_process_group_ends_both() {
    let (o, path) = ready();
    o.standin(&["fault", "set", "hang", "--where", "before-transfer"]);
    let mut child = o.start_import(&[], &[&path]);
    wait_for("java hangs", || hanging(&o).is_some());
    let java = hanging(&o).unwrap();
    assert_ne!(java, child.id().to_string());
    signal("-TERM", &format!("-{}", child.id()));
    child.wait().unwrap();
    wait_for("java has ended", || !alive(&java));
    assert_eq!(o.count("images"), 0);
    assert!(o.calls().iter().all(|c| c["argv"][0] != "import"), "no end was recorded");
    let started = std::fs::read_to_string(o.store().join("started.jsonl")).unwrap();
    assert!(started.contains("\"import\""), "but its beginning was");
}

#[test]
fn java_inherits_no_descriptor_but_the_first_three() {
    let (o, path) = ready();
    o.standin(&["fault", "set", "hang", "--where", "before-transfer"]);
    let marker = std::fs::File::create(o.path("marker")).unwrap();
    let inherited = Command::new("/bin/sh")
        .args(["-c", "exec 9>>\"$0\"; exec \"$@\""])
        .arg(o.path("marker"))
        .arg(env!("CARGO_BIN_EXE_omero"))
        .args(["import", "-q", "--clientdir"])
        .arg(o.path("jars"))
        .arg("--logback")
        .arg(o.path("logback.xml"))
        .arg(&path)
        .env_clear()
        .envs(o.command().get_envs().filter_map(|(k, v)| Some((k, v?))))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    drop(marker);
    let mut child = inherited.unwrap();
    wait_for("java hangs", || hanging(&o).is_some());
    let java = hanging(&o).unwrap();
    let open = |pid: &str| {
        std::fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .filter_map(|e| std::fs::read_link(e.unwrap().path()).ok())
            .any(|t| t.ends_with("marker"))
    };
    assert!(open(&child.id().to_string()), "Python itself still has it");
    assert!(!open(&java));
    signal("-KILL", &java);
    assert_eq!(child.wait().unwrap().code(), Some(247));
}

#[test]
fn many_imports_at_once_lose_nothing_and_share_nothing() {
    let (o, _) = ready();
    let paths: Vec<String> = (0..24).map(|i| o.tiff(&format!("n{i}.tif"))).collect();
    let children: Vec<_> = paths
        .iter()
        .enumerate()
        .map(|(i, p)| o.start_import_apart(i, &["-T", "Dataset:name:D"], p))
        .collect();
    let mut ids = Vec::new();
    for c in children {
        let ran = finish(c.wait_with_output().unwrap());
        assert_eq!(ran.code, 0, "{}", ran.err);
        ids.push(ran.out);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 24);
    let all = o.contents();
    let mut links: Vec<&str> =
        all["filesets"].as_array().unwrap().iter().map(|f| f["files"][0]["link"].as_str().unwrap()).collect();
    links.sort_unstable();
    links.dedup();
    assert_eq!(links.len(), 24);
    assert!(links.iter().all(|l| Path::new(l).exists()));
    assert_eq!(o.calls().iter().filter(|c| c["argv"][0] == "import").count(), 24);
}

#[test]
fn a_reader_that_goes_away_does_not_stop_the_import() {
    let (o, path) = ready();
    let mut child = o.start_import(&[], &[&path]);
    drop(child.stdout.take());
    drop(child.stderr.take());
    child.wait().unwrap();
    assert_eq!(o.count("images"), 1);
}

#[test]
fn a_reader_that_goes_away_does_not_stop_object_commands() {
    let (o, _) = ready();
    let text: String = (0..20).map(|i| format!("new Dataset name=d{i}\n")).collect();
    let mut child = o.start(&["obj", "-q", "--file", "-"], &text);
    drop(child.stdout.take());
    child.wait().unwrap();
    assert_eq!(o.count("datasets"), 20);
}

#[test]
fn a_run_takes_milliseconds() {
    let (o, _) = ready();
    let start = std::time::Instant::now();
    for _ in 0..50 {
        assert_eq!(o.run(&["hql", "-q", "select count(*) from Image i"]).code, 0);
    }
    let each = start.elapsed().as_millis() / 50;
    assert!(each < 200, "{each} ms a run");
}
