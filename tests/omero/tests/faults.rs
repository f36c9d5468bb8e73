//! Faults on demand, and what an import leaves behind when it dies.

mod common;

use common::{Omero, finish, wait_for};

fn ready() -> (Omero, String) {
    let o = Omero::new();
    o.login("alice");
    let path = o.tiff("a.tif");
    (o, path)
}

#[test]
fn ways_not_to_reach_the_server() {
    let o = Omero::new();
    for (kind, code, message) in [
        ("server-down", 42, "Ice.ConnectionRefusedException: localhost:4064 isn't running"),
        ("bad-host", 43, "Ice.DNSException: bad host name: 'localhost'"),
        ("connect-failure", 44, "InternalException: Failed to connect: "),
        ("wrong-password", 44, "Password check failed"),
        ("sudo-refused", 45, "SecurityViolation: "),
    ] {
        o.standin(&["fault", "set", kind, "--times", "1"]);
        let ran = o.login_to("alice", "lab1");
        assert_eq!(ran.code, code, "{kind}");
        assert!(ran.err.starts_with(message), "{kind}: {}", ran.err);
        assert_eq!(o.login_to("alice", "lab1").code, 0, "{kind} happens once only");
    }
}

#[test]
fn a_fault_is_limited_to_command_user_path_and_number() {
    let (o, a) = ready();
    let b = o.tiff("b.tif");
    o.standin(&["fault", "set", "server-down", "--command", "obj"]);
    o.standin(&["fault", "set", "import-error", "--user", "bob"]);
    o.standin(&["fault", "set", "import-error", "--path", "*/b.tif", "--times", "1"]);
    let ran = o.import(&["-c"], &[&a, &b]);
    assert_eq!(ran.out.matches("Fileset").count(), 1);
    assert_eq!(o.import(&[], &[&b]).code, 0);
    assert_eq!(o.run(&["obj", "-q", "-s", "localhost", "-u", "alice", "get", "Image:1", "name"]).code, 44);
    o.standin(&["fault", "clear", "server-down"]);
    o.login("bob");
    assert_eq!(o.import(&[], &[&a]).code, 2);
    o.standin(&["fault", "clear"]);
    assert_eq!(o.import(&[], &[&a]).code, 0);
}

#[test]
fn a_faults_file_may_be_written_by_hand() {
    let (o, path) = ready();
    std::fs::write(o.store().join("faults.json"), r#"[{"kind": "exit", "code": 7, "command": "import"}]"#)
        .unwrap();
    assert_eq!(o.import(&[], &[&path]).code, 7);
}

#[test]
fn a_session_lost_in_between_gives_2() {
    let (o, a) = ready();
    let b = o.tiff("b.tif");
    o.standin(&["fault", "set", "session-lost", "--where", "before-transfer", "--path", "b.tif"]);
    let ran = o.import(&[], &[&a, &b]);
    assert_eq!(ran.code, 2);
    assert_eq!(ran.out.matches("Fileset").count(), 1);
    assert_eq!((o.count("filesets"), o.count("images")), (2, 1), "the second is left without images");
}

#[test]
fn java_killed_at_any_point_shows_as_256_minus_the_signal_and_leaves_what_it_did() {
    for (point, filesets, images, links) in [
        ("start", 0, 0, 0),
        ("before-fileset", 0, 0, 0),
        ("after-fileset", 1, 0, 0),
        ("before-transfer", 1, 0, 0),
        ("after-transfer", 1, 0, 1),
        ("after-images", 1, 1, 1),
    ] {
        let (o, path) = ready();
        o.standin(&["fault", "set", "kill", "--signal", "9", "--where", point]);
        let ran = o.import(&[], &[&path]);
        assert_eq!((ran.code, ran.out.as_str()), (247, ""), "{point}");
        assert_eq!((o.count("filesets"), o.count("images")), (filesets, images), "{point}");
        let present = o.contents()["filesets"][0]["files"][0]["present"] == true;
        assert_eq!(usize::from(present), links, "{point}");
    }
    let (o, path) = ready();
    o.standin(&["fault", "set", "kill", "--signal", "15", "--where", "after-result"]);
    let ran = o.import(&[], &[&path]);
    assert_eq!((ran.code, ran.out.matches("Fileset").count()), (241, 1));
}

#[test]
fn no_output_garbage_and_results_of_others() {
    let (o, path) = ready();
    o.standin(&["fault", "set", "no-output", "--times", "1"]);
    let ran = o.import(&[], &[&path]);
    assert_eq!((ran.code, ran.out.as_str(), o.count("images")), (0, "", 1));
    o.standin(&["fault", "set", "garbage", "--text", "- [not: yaml", "--times", "1"]);
    assert!(o.import(&[], &[&path]).out.starts_with("- [not: yaml---\n- Fileset: 2"));
    o.standin(&["fault", "set", "foreign-results", "--ids", "1", "--times", "1"]);
    assert_eq!(
        o.import(&[], &[&path]).out,
        "---\n- Fileset: 3\n  Image: [3]\n---\n- Fileset: 1\n  Image: [1]\n"
    );
}

#[test]
fn failures_of_the_transfer_give_2_and_their_words() {
    let (o, path) = ready();
    for (kind, words) in [
        ("disk-full", &["No space left on device"][..]),
        ("exists", &[" exists!"]),
        ("checksum", &["A checksum mismatch has occurred."]),
        (
            "repository-not-writable",
            &[
                "Check failed: ",
                " cannot be modified locally!\nYou likely do not have access to the ManagedRepository for in-place import.\nAborting...",
            ],
        ),
    ] {
        o.standin(&["fault", "set", kind, "--times", "1"]);
        let ran = o.import(&[], &[&path]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{kind}");
        for w in words {
            assert!(ran.err.contains(w), "{kind}: {}", ran.err);
        }
        let counted = if kind == "checksum" { "0 errors in" } else { "1 error in" };
        assert!(ran.err.contains(counted), "{kind}: {}", ran.err);
        assert_eq!(o.count("images"), 0);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_told_and_not_counted() {
    let (o, a) = ready();
    let b = o.tiff("b.tif");
    o.standin(&["fault", "set", "unreadable", "--path", "a.tif"]);
    let ran = o.import(&[], &[&a, &b]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "---\n- Fileset: 1\n  Image: [1]\n"));
    assert!(ran.err.contains(&format!("UNREADABLE_FILE: {a}")) && ran.err.contains("0 errors"));
}

#[test]
fn a_flood_of_log_lines_does_not_stand_in_the_way_of_results() {
    let (o, path) = ready();
    o.standin(&["fault", "set", "huge-output", "--bytes", "3000000"]);
    let ran = o.import(&[], &[&path]);
    assert_eq!(ran.code, 0);
    assert!(ran.err.len() > 2_500_000);
    assert_eq!(ran.out, "---\n- Fileset: 1\n  Image: [1]\n");
}

#[test]
fn a_gate_holds_an_import_until_it_is_opened() {
    let (o, path) = ready();
    let gate = o.path("gate");
    o.standin(&["fault", "set", "gate", "--where", "after-fileset", "--until", gate.to_str().unwrap()]);
    let child = o.start_import(&[], &[&path]);
    let reached = o.path("gate.reached");
    wait_for("the gate is reached", || reached.exists());
    assert_eq!((o.count("filesets"), o.count("images")), (1, 0));
    std::fs::write(gate, "").unwrap();
    let ran = finish(child.wait_with_output().unwrap());
    assert_eq!((ran.code, o.count("images")), (0, 1));
}

#[test]
fn slow_waits_at_its_point() {
    let (o, path) = ready();
    o.standin(&["fault", "set", "slow", "--seconds", "0.2", "--where", "end"]);
    let start = std::time::Instant::now();
    assert_eq!(o.import(&[], &[&path]).code, 0);
    assert!(start.elapsed().as_millis() >= 200);
}

#[test]
fn queries_and_saves_fail_on_demand() {
    let (o, _) = ready();
    o.standin(&["fault", "set", "bad-query", "--times", "1"]);
    assert_eq!(o.run(&["hql", "-q", "select 1 from Image i"]).code, 52);
    o.standin(&["fault", "set", "save-error", "--times", "1"]);
    assert_eq!(o.run(&["obj", "-q", "new", "Dataset", "name=D"]).code, 80);
    assert_eq!(o.run(&["obj", "-q", "new", "Dataset", "name=D"]).code, 0);
}

#[test]
fn java_dies_over_one_file_wherever_it_stands_in_the_list_and_in_a_forecast_too() {
    let (o, a) = ready();
    let b = o.tiff("b_bad.tif");
    o.standin(&["fault", "set", "kill", "--where", "scan", "--path", "b_bad.tif"]);
    assert_eq!(o.import(&[], &[&a, &b]).code, 247);
    assert_eq!(o.plain_import(&["-f", &a, &b]).code, 247);
    assert_eq!((o.import(&[], &[&a]).code, o.count("filesets")), (0, 1));
    o.standin(&["fault", "clear"]);
    o.standin(&["fault", "set", "kill", "--where", "before-scan", "--path", "b_bad.tif"]);
    assert_eq!(o.import(&[], &[&a, &b]).code, 247);
    assert_eq!(o.plain_import(&["-f", &a, &b]).code, 0, "only the scan itself is common to both");
}

#[test]
fn a_forecast_has_faults_of_its_own() {
    let (o, a) = ready();
    o.standin(&["fault", "set", "exit", "--code", "7", "--command", "import-f"]);
    assert_eq!((o.plain_import(&["-f", &a]).code, o.import(&[], &[&a]).code), (7, 0));
}

#[test]
fn a_lost_connection_fails_the_fileset_and_all_that_follow() {
    let (o, a) = ready();
    let (b, c) = (o.tiff("b.tif"), o.tiff("c.tif"));
    o.standin(&["fault", "set", "connection-lost", "--path", "b.tif", "--times", "1"]);
    let ran = o.import(&["-c", "-T", "Dataset:name:D"], &[&a, &b, &c]);
    assert_eq!((ran.code, ran.out.matches("Fileset").count()), (0, 1));
    assert_eq!(ran.err.matches("Could not load target: ").count(), 2, "{}", ran.err);
    assert!(ran.err.contains("Caused by: Ice.ConnectionLostException"));
    assert_eq!(o.count("filesets"), 1);
    assert_eq!(o.import(&["-T", "Dataset:name:D"], &[&b, &c]).code, 0, "the next run has a new connection");
}

#[test]
fn reasons_of_the_server_and_of_readers_are_whatever_a_test_says() {
    let (o, a) = ready();
    let exhausted = "java.io.IOException: Too many open files";
    o.standin(&["fault", "set", "import-error", "--times", "1", "--text", exhausted]);
    let ran = o.import(&[], &[&a]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains(&format!("INTERNAL_EXCEPTION: {a}")) && ran.err.contains(exhausted));
    let heap = "java.lang.OutOfMemoryError: Java heap space";
    o.standin(&["fault", "set", "scan-error", "--times", "1", "--text", heap]);
    let ran = o.import(&[], &[&a]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""));
    assert!(
        ran.err.contains(&format!("FILE_EXCEPTION: {a}\n{heap}"))
            && ran.err.contains("No imports due to errors!")
    );
    o.standin(&["fault", "set", "missing-library", "--times", "1"]);
    let ran = o.import(&[], &[&a]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "it is not counted as an error");
    assert!(ran.err.contains(&format!("MISSING_LIBRARY: {a}")) && ran.err.contains("No imports found"));
    assert_eq!(o.import(&[], &[&a]).code, 0);
}

#[test]
fn a_failed_transfer_is_told_as_an_exception_of_the_file() {
    let (o, a) = ready();
    o.standin(&["fault", "set", "disk-full", "--times", "1"]);
    let ran = o.import(&[], &[&a]);
    assert!(ran.err.contains(&format!("FILE_EXCEPTION: {a}\njava.io.IOException: No space left on device")));
}

#[test]
fn a_flood_may_come_between_filesets() {
    let (o, a) = ready();
    let (b, c) = (o.tiff("b.tif"), o.tiff("c.tif"));
    for path in ["b.tif", "c.tif"] {
        o.standin(&[
            "fault",
            "set",
            "huge-output",
            "--bytes",
            "300000",
            "--where",
            "between-filesets",
            "--path",
            path,
        ]);
    }
    o.standin(&["fault", "set", "import-error", "--path", "b.tif"]);
    let ran = o.import(&["-c"], &[&a, &b, &c]);
    let at = ran.err.find("Error on import").unwrap();
    assert!(at > 250_000 && ran.err.len() - at > 250_000, "{at} of {}", ran.err.len());
    assert_eq!(ran.out.matches("Fileset").count(), 2);
}

#[test]
fn the_server_goes_on_when_the_importer_is_dead() {
    let (o, a) = ready();
    let gate = o.path("gate");
    o.standin(&["fault", "set", "gate", "--where", "server-import", "--until", gate.to_str().unwrap()]);
    let mut child = o.start_import(&["-T", "Dataset:name:D"], &[&a]);
    let reached = o.path("gate.reached");
    wait_for("the server works", || reached.exists());
    common::kill_group(&mut child);
    assert_eq!((o.count("filesets"), o.count("images")), (1, 0));
    std::fs::write(gate, "").unwrap();
    wait_for("the server finishes alone", || o.count("images") == 1);
    let all = o.contents();
    assert_eq!(all["filesets"][0]["images"][0]["dataset"], "D");
    assert_eq!(all["filesets"][0]["images"][0]["owner"], "alice");
}

#[test]
fn an_importer_that_waits_for_the_server_gets_its_answer() {
    let (o, a) = ready();
    o.standin(&["fault", "set", "slow", "--seconds", "0.05", "--where", "server-import"]);
    assert_eq!(o.import(&[], &[&a]).out, "---\n- Fileset: 1\n  Image: [1]\n");
    o.standin(&["fault", "set", "import-error", "--text", "no luck"]);
    let ran = o.import(&[], &[&a]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains(", message=no luck}"));
    let fake = o.data("x&sleepInitFile=50.fake");
    o.standin(&["make", "fake", &fake]);
    o.standin(&["fault", "clear"]);
    assert_eq!(o.import(&[], &[&fake]).code, 0);
}

#[test]
fn an_importer_killed_while_it_waits_changes_nothing_for_the_server() {
    let (o, a) = ready();
    o.standin(&["fault", "set", "kill", "--where", "while-server-imports"]);
    assert_eq!(o.import(&[], &[&a]).code, 247);
    wait_for("the server finishes alone", || o.count("images") == 1);
}

#[test]
fn a_server_that_dies_leaves_the_fileset_without_images() {
    let (o, a) = ready();
    o.standin(&["fault", "set", "kill", "--where", "server-import"]);
    let ran = o.import(&[], &[&a]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("Ice.ConnectionLostException"), "{}", ran.err);
    assert_eq!((o.count("filesets"), o.count("images")), (1, 0));
}

#[test]
fn two_imports_at_one_time_of_sets_with_a_path_in_common_are_two_filesets() {
    let (o, _) = ready();
    let shared = o.tiff("shared.tif");
    for key in ["x", "y"] {
        std::fs::write(o.data(&format!("{key}.plate-test")), "well A1 shared.tif\n").unwrap();
    }
    let gate = o.path("gate");
    o.standin(&["fault", "set", "gate", "--where", "server-import", "--until", gate.to_str().unwrap()]);
    let one = o.start_import_apart(1, &[], &o.data("x.plate-test"));
    let two = o.start_import_apart(2, &[], &o.data("y.plate-test"));
    wait_for("both are in the server", || o.count("filesets") == 2);
    std::fs::write(gate, "").unwrap();
    for child in [one, two] {
        let ran = finish(child.wait_with_output().unwrap());
        assert_eq!(ran.code, 0, "{}", ran.err);
    }
    let path = shared.trim_start_matches('/');
    let rows = o.query(&format!(
        "select e.fileset.id from FilesetEntry e where e.clientPath = '{path}' order by e.id"
    ));
    assert_eq!(rows, [["1"], ["2"]]);
}

#[test]
fn every_line_of_object_commands_is_an_answer_that_may_be_slow() {
    let (o, _) = ready();
    o.standin(&["fault", "set", "slow", "--seconds", "0", "--where", "answer", "--times", "100"]);
    let ran = o.run_with_stdin(&["obj", "-q", "--file", "-"], &"new Dataset name=d\n".repeat(10));
    assert_eq!(ran.code, 0);
    let left: serde_json::Value = serde_json::from_str(&o.standin(&["fault", "list"])).unwrap();
    assert_eq!(left[0]["times"], 90, "ten lines, ten answers");
}
