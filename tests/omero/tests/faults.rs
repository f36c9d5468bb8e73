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
        assert!(ran.err.contains("1 error in"), "{kind}");
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
