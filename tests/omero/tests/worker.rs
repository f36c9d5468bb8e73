//! The stand-in worker speaks the protocol of docs/worker.md over the store.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use common::{Omero, wait_for};
use serde_json::{Value, json};

const NS: &str = "irods.org/omero";

/// A worker and the lines to and from it.
struct Worker {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    id: u64,
}

impl Worker {
    fn of(o: &Omero) -> Self {
        let mut child = o
            .command()
            .args(["standin-worker", "/some/where/irods_omero_worker.py"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let requests = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, requests, answers, id: 0 }
    }

    fn send(&mut self, method: &str, limit: f64, params: &Value) -> u64 {
        self.id += 1;
        let line = json!({ "id": self.id, "method": method, "limit": limit, "params": params });
        writeln!(self.requests.as_ref().unwrap(), "{line}").unwrap();
        self.id
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line
    }

    fn answer(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))
    }

    fn within(&mut self, limit: f64, method: &str, params: &Value) -> Value {
        let id = self.send(method, limit, params);
        let answer = self.answer();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    /// The result of a request.
    fn ask(&mut self, method: &str, params: &Value) -> Value {
        let answer = self.within(60.0, method, params);
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// Class and kind of the error that a request is answered with.
    fn refusal(&mut self, method: &str, params: &Value) -> String {
        let answer = self.within(60.0, method, params);
        let error = &answer["error"];
        assert!(error["message"].as_str().is_some_and(|m| !m.is_empty() && !m.contains('\n')), "{answer}");
        format!("{} {}", error["class"].as_str().unwrap(), error["kind"].as_str().unwrap())
    }

    fn login(&mut self, o: &Omero, user: &str) -> String {
        let group = if user == "carol" { Value::Null } else { json!("lab1") };
        self.ask("login", &login(o, user, &group))["session"].as_str().unwrap().to_owned()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn server() -> Value {
    json!({ "host": "omero.example.org", "port": 4064 })
}

fn login(o: &Omero, user: &str, group: &Value) -> Value {
    let file = o.path("sudo-password");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    json!({
        "server": server(), "sudo_user": "importer", "password_file": file, "user": user, "group": group,
        "idle": 900
    })
}

/// A store with `number` imported files of alice's, and their client paths.
fn imported(number: usize) -> (Omero, Vec<String>) {
    let o = Omero::new();
    o.login("alice");
    let files: Vec<String> = (0..number).map(|i| o.tiff(&format!("dd/n{i:03}.tif"))).collect();
    if number > 0 {
        let paths: Vec<&str> = files.iter().map(String::as_str).collect();
        assert_eq!(o.import(&[], &paths).code, 0);
    }
    let paths = files.iter().map(|f| f.trim_start_matches('/').to_owned()).collect();
    (o, paths)
}

fn items(ids: std::ops::RangeInclusive<i64>) -> Value {
    ids.map(|id| json!({ "fileset": id, "description": format!("d{id}"), "pairs": [["k", "v"], ["k", "w"]] }))
        .collect()
}

fn states(answer: &Value) -> Vec<String> {
    answer["items"].as_array().unwrap().iter().map(|i| i["state"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn hello_names_the_protocol_and_shutdown_ends_it() {
    let o = Omero::new();
    let mut w = Worker::of(&o);
    assert_eq!(w.ask("hello", &json!({}))["protocol"], 1);
    let key = w.login(&o, "alice");
    assert_eq!(w.ask("shutdown", &json!({})), json!({}));
    assert!(w.child.wait().unwrap().success());
    let mut next = Worker::of(&o);
    assert_eq!(next.refusal("join", &json!({ "server": server(), "session": key })), "retry session_expired");
}

#[test]
fn the_end_of_its_input_ends_it_and_leaves_the_session() {
    let o = Omero::new();
    let mut w = Worker::of(&o);
    let key = w.login(&o, "alice");
    drop(w.requests.take());
    assert!(w.child.wait().unwrap().success());
    let mut next = Worker::of(&o);
    let joined = next.ask("join", &json!({ "server": server(), "session": key }));
    assert_eq!((joined["user"].as_str(), joined["group"].as_str()), (Some("alice"), Some("lab1")));
    assert_eq!(next.ask("logout", &json!({ "session": key }))["closed"], true);
    assert_eq!(next.ask("logout", &json!({ "session": key }))["closed"], false);
}

#[test]
fn lines_that_are_no_requests_are_answered_and_it_lives_on() {
    let o = Omero::new();
    let mut w = Worker::of(&o);
    for (line, id) in [
        ("nonsense", Value::Null),
        ("[]", Value::Null),
        ("{\"id\": 0, \"method\": \"hello\", \"limit\": 1}", Value::Null),
        ("{\"id\": 7, \"limit\": 1}", json!(7)),
        ("{\"id\": 8, \"method\": \"hello\"}", json!(8)),
        ("{\"id\": 9, \"method\": \"hello\", \"limit\": 1, \"more\": 1}", json!(9)),
    ] {
        writeln!(w.requests.as_ref().unwrap(), "{line}").unwrap();
        let answer = w.answer();
        assert_eq!((&answer["id"], &answer["error"]["kind"]), (&id, &json!("bad_request")), "{line}");
    }
    assert_eq!(w.refusal("frobnicate", &json!({})), "request unknown_method");
    assert_eq!(w.refusal("hello", &json!({ "x": 1 })), "request bad_params");
    assert_eq!(w.refusal("logout", &json!({ "session": "a\0b" })), "request bad_params");
    w.ask("hello", &json!({}));
}

#[test]
fn why_a_session_is_refused() {
    let o = Omero::new();
    o.standin(&["user", "add", "carol", "--group", "other"]);
    o.standin(&["user", "add", "gone", "--group", "lab1"]);
    o.standin(&["user", "lock", "gone"]);
    let mut w = Worker::of(&o);
    for (user, group, kind) in [
        ("nobody", json!("lab1"), "final no_user"),
        ("gone", json!("lab1"), "final no_user"),
        ("alice", json!("none"), "final no_group"),
        ("carol", json!("lab1"), "final no_group"),
    ] {
        assert_eq!(w.refusal("login", &login(&o, user, &group)), kind, "{user}");
    }
    let carol = w.ask("login", &login(&o, "carol", &Value::Null));
    assert_eq!(carol["group"], "other");
    o.standin(&["revoke", "importer", "Sudo"]);
    assert_eq!(w.refusal("login", &login(&o, "alice", &json!("lab1"))), "final no_privilege");
    let mut wrong = login(&o, "alice", &json!("lab1"));
    std::fs::write(o.path("wrong"), "wrong\n").unwrap();
    wrong["password_file"] = json!(o.path("wrong"));
    assert_eq!(w.refusal("login", &wrong), "retry password", "the file can be read by others");
    std::fs::set_permissions(o.path("wrong"), std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(w.refusal("login", &wrong), "retry password");
    let mut url = login(&o, "alice", &json!("lab1"));
    url["server"]["host"] = json!("gopher://h");
    url["server"]["port"] = Value::Null;
    assert_eq!(w.refusal("login", &url), "request bad_params");
}

#[test]
fn probe_tells_the_privileges_and_leaves_no_session() {
    let o = Omero::new();
    let mut w = Worker::of(&o);
    let mut params = login(&o, "alice", &Value::Null);
    for key in ["user", "group", "idle"] {
        params.as_object_mut().unwrap().remove(key);
    }
    let probed = w.ask("probe", &params);
    assert_eq!((&probed["privileges"], &probed["is_admin"]), (&json!(["Sudo"]), &json!(true)));
    assert_eq!(o.contents()["sessions"], json!([]));
    o.standin(&["fault", "set", "server-down", "--command", "probe"]);
    assert_eq!(w.refusal("probe", &params), "retry connection");
}

#[test]
fn filesets_are_found_by_path_by_directory_and_by_id_and_are_the_users_own() {
    let (o, paths) = imported(3);
    let mut w = Worker::of(&o);
    let key = w.login(&o, "alice");
    let directory = paths[0].rsplit_once('/').unwrap().0;
    let found = w.ask("filesets", &json!({ "session": key, "paths": [paths[1]], "namespace": NS }));
    let f = &found["filesets"][0];
    assert_eq!((&f["id"], &f["owner"], &f["entry_count"]), (&json!(2), &json!("alice"), &json!(1)));
    assert_eq!((&f["images"], &f["plates"], &f["annotation"]), (&json!([2]), &json!([]), &Value::Null));
    assert_eq!((&f["uploaded"], &f["entries"][0]["path"]), (&json!(true), &json!(paths[1])));
    assert!(f["entries"][0]["size"].as_u64().unwrap() > 0 && f["entries"][0]["hasher"] == "SHA1-160");
    let found =
        w.ask("filesets", &json!({ "session": key, "below": [directory, "no/such"], "namespace": NS }));
    assert_eq!(found["filesets"].as_array().unwrap().len(), 3);
    assert_eq!(
        (&found["filesets"][0]["directories"], &found["filesets"][0]["entries"]),
        (&json!([directory]), &json!([]))
    );
    let half = &directory[..directory.len() - 1];
    assert_eq!(
        w.ask("filesets", &json!({ "session": key, "below": [half], "namespace": NS }))["filesets"],
        json!([])
    );
    let found = w.ask("filesets", &json!({ "session": key, "ids": [3, 99], "namespace": NS }));
    assert_eq!(found["filesets"].as_array().unwrap().len(), 1);
    let bobs = w.login(&o, "bob");
    assert_eq!(
        w.ask("filesets", &json!({ "session": bobs, "paths": paths, "namespace": NS }))["filesets"],
        json!([])
    );
}

#[test]
fn the_whereabouts_of_files_come_in_pages() {
    let o = Omero::new();
    o.login("alice");
    o.standin(&["make", "htd", &o.data("p.HTD"), "--files", "3"]);
    o.import(&[], &[&o.data("p.HTD")]);
    let mut w = Worker::of(&o);
    let key = w.login(&o, "alice");
    let first = w.ask("files", &json!({ "session": key, "fileset": 1, "count": 2 }));
    assert_eq!((&first["more"], first["entries"].as_array().unwrap().len()), (&json!(true), 2));
    let root = first["repository"]["root"].as_str().unwrap();
    let stored = first["entries"][1]["stored"].as_str().unwrap();
    assert!(
        stored.starts_with(first["prefix"].as_str().unwrap()) && stored.ends_with("/TimePoint_1/p_A01.TIF")
    );
    assert!(std::path::Path::new(root).join(stored).exists());
    let rest = w.ask("files", &json!({ "session": key, "fileset": 1, "after": first["entries"][1]["id"] }));
    assert_eq!((&rest["more"], rest["entries"].as_array().unwrap().len()), (&json!(false), 2));
    assert_eq!(w.refusal("files", &json!({ "session": key, "fileset": 9 })), "final not_found");
}

#[test]
fn containers_are_made_once_and_by_the_rights_of_the_group() {
    let o = Omero::new();
    let mut w = Worker::of(&o);
    let (alice, bob) = (w.login(&o, "alice"), w.login(&o, "bob"));
    let named = json!({ "kind": "Dataset", "name": "run" });
    let ask = |w: &mut Worker, key: &str, target: &Value| {
        w.ask("container", &json!({ "session": key, "target": target }))
    };
    let looked = w.ask("container", &json!({ "session": alice, "target": named, "make": false }));
    assert_eq!(looked["id"], Value::Null);
    assert_eq!(ask(&mut w, &alice, &named), json!({ "kind": "Dataset", "id": 1, "made": true }));
    assert_eq!(ask(&mut w, &alice, &named), json!({ "kind": "Dataset", "id": 1, "made": false }));
    assert_eq!(ask(&mut w, &bob, &named)["made"], true, "the group is read-only");
    let by_id = json!({ "session": bob, "target": { "kind": "Dataset", "id": 1 } });
    assert_eq!(w.refusal("container", &by_id), "final not_linkable");
    o.standin(&["group", "permissions", "lab1", "rwrw--"]);
    assert_eq!(w.ask("container", &by_id)["id"], 1);
    let missing = json!({ "session": bob, "target": { "kind": "Screen", "id": 1 } });
    assert_eq!(w.refusal("container", &missing), "final not_found");
    for wrong in [
        json!({ "kind": "Plate", "id": 1 }),
        json!({ "kind": "Dataset" }),
        json!({ "kind": "Dataset", "name": "" }),
    ] {
        assert_eq!(w.refusal("container", &json!({ "session": bob, "target": wrong })), "request bad_params");
    }
}

#[test]
fn a_dataset_in_a_project_is_made_with_its_link_or_takes_one_that_is_free() {
    let o = Omero::new();
    let mut w = Worker::of(&o);
    let key = w.login(&o, "alice");
    w.ask("container", &json!({ "session": key, "target": { "kind": "Dataset", "name": "free" } }));
    let target = |name: &str| json!({ "kind": "Dataset", "name": name, "project": { "name": "P" } });
    for (name, id, made) in [("free", 1, false), ("free", 1, false), ("new", 2, true)] {
        let got = w.ask("container", &json!({ "session": key, "target": target(name) }));
        assert_eq!((&got["id"], &got["made"]), (&json!(id), &json!(made)), "{name}");
    }
    let links = o.contents()["project_datasets"].clone();
    assert_eq!(links.as_array().unwrap().len(), 2);
    assert_eq!(o.contents()["projects"].as_array().unwrap().len(), 1);
    o.standin(&["fault", "set", "save-error", "--times", "1"]);
    assert_eq!(
        w.refusal("container", &json!({ "session": key, "target": target("third") })),
        "retry internal"
    );
    assert_eq!(o.count("datasets"), 2, "all or nothing");
}

#[test]
fn images_are_put_into_a_dataset_once() {
    let (o, _) = imported(3);
    let mut w = Worker::of(&o);
    let key = w.login(&o, "alice");
    let dataset =
        w.ask("container", &json!({ "session": key, "target": { "kind": "Dataset", "name": "D" } }));
    let put = |children: Value| json!({ "session": key, "kind": "Dataset", "id": dataset["id"], "children": children });
    assert_eq!(w.ask("put", &put(json!([1, 2]))), json!({ "linked": 2, "there": 0 }));
    assert_eq!(w.ask("put", &put(json!([1, 2, 3, 3]))), json!({ "linked": 1, "there": 2 }));
    let lonely = w.ask("lonely", &json!({ "session": key, "images": [3, 1, 77], "plates": [5] }));
    assert_eq!(lonely, json!({ "images": [77], "plates": [5] }));
    let other = json!({ "session": key, "kind": "Dataset", "id": 9, "children": [1] });
    assert_eq!(w.refusal("put", &other), "final not_found");
}

#[test]
fn hundreds_of_filesets_are_annotated_once_with_their_images() {
    let (o, paths) = imported(3);
    let mut w = Worker::of(&o);
    let key = w.login(&o, "alice");
    let annotate = json!({ "session": key, "namespace": NS, "items": items(1..=4) });
    let first = w.ask("annotate", &annotate);
    assert_eq!(states(&first), ["made", "made", "made", "failed"]);
    assert_eq!(first["items"][3]["error"]["kind"], "not_found");
    assert_eq!(states(&w.ask("annotate", &annotate)), ["there", "there", "there", "failed"]);
    let f = &o.contents()["filesets"][0];
    assert_eq!(f["annotations"][0]["pairs"], json!([["k", "v"], ["k", "w"]]));
    assert_eq!(f["images"][0]["annotations"][0]["id"], f["annotations"][0]["id"]);
    let changed = json!([{ "fileset": 1, "description": "new", "pairs": [["k", "x"]] }]);
    let update = json!({ "session": key, "namespace": NS, "items": changed, "update": true });
    assert_eq!(states(&w.ask("annotate", &update)), ["updated"]);
    assert_eq!(states(&w.ask("annotate", &update)), ["there"]);
    let found = w.ask("filesets", &json!({ "session": key, "paths": [paths[0]], "namespace": NS }));
    assert_eq!(found["filesets"][0]["annotation"]["pairs"], json!([["k", "x"]]));
    assert_eq!(found["filesets"][0]["annotation"]["description"], "new");
    let bobs = w.login(&o, "bob");
    let not_his = w.ask("annotate", &json!({ "session": bobs, "namespace": NS, "items": items(1..=1) }));
    assert_eq!(not_his["items"][0]["error"]["kind"], "not_found");
}

#[test]
fn a_plate_is_annotated_in_place_of_its_images() {
    let o = Omero::new();
    o.login("alice");
    o.standin(&["make", "plate", &o.data("p.plate-test"), "--files", "2"]);
    o.import(&[], &[&o.data("p.plate-test")]);
    let mut w = Worker::of(&o);
    let key = w.login(&o, "alice");
    w.ask("annotate", &json!({ "session": key, "namespace": NS, "items": items(1..=1) }));
    let f = &o.contents()["filesets"][0];
    assert_eq!(f["plates"][0]["annotations"][0]["ns"], NS);
    assert_eq!(f["images"][0]["annotations"], json!([]));
}

#[test]
fn one_fileset_that_cannot_be_annotated_is_not_the_price_of_its_neighbours() {
    let (o, _) = imported(3);
    let mut w = Worker::of(&o);
    let key = w.login(&o, "alice");
    o.standin(&["fault", "set", "save-error", "--path", "Fileset:2"]);
    let answer = w.ask("annotate", &json!({ "session": key, "namespace": NS, "items": items(1..=3) }));
    assert_eq!(states(&answer), ["made", "failed", "made"]);
    assert_eq!(answer["items"][1]["error"]["class"], "retry");
    assert_eq!(o.count("annotations"), 2 + 3, "the importer's own notes beside them");
}

#[test]
fn what_the_limit_cut_off_is_told_and_finishes_all_the_same() {
    let (o, _) = imported(3);
    let mut w = Worker::of(&o);
    let key = w.login(&o, "alice");
    let gate = o.path("gate");
    o.standin(&[
        "fault",
        "set",
        "gate",
        "--command",
        "annotate",
        "--where",
        "answer",
        "--path",
        "Fileset:3",
        "--until",
        gate.to_str().unwrap(),
    ]);
    let annotate = json!({ "session": key, "namespace": NS, "items": items(1..=3) });
    let answer = w.within(0.3, "annotate", &annotate);
    assert_eq!(states(&answer["result"]), ["failed"; 3]);
    assert_eq!(answer["result"]["items"][0]["error"]["kind"], "time_limit");
    std::fs::write(gate, "").unwrap();
    assert_eq!(
        states(&w.ask("annotate", &annotate)),
        ["there"; 3],
        "it waits for the save before, and makes no second"
    );
}

#[test]
fn a_request_that_hangs_is_answered_in_time_and_stands_in_nobodys_way() {
    let o = Omero::new();
    let mut w = Worker::of(&o);
    let key = w.login(&o, "alice");
    o.standin(&["fault", "set", "hang", "--command", "lonely", "--where", "answer", "--times", "1"]);
    let hanging = w.send("lonely", 0.2, &json!({ "session": key }));
    w.ask("hello", &json!({}));
    let late = w.answer();
    assert_eq!((&late["id"], &late["error"]["kind"]), (&json!(hanging), &json!("time_limit")));
    w.ask("lonely", &json!({ "session": key }));
}

#[test]
fn failed_imports_are_leftovers_and_can_be_deleted() {
    let (o, _) = imported(1);
    let (b, c) = (o.tiff("d/b.tif"), o.tiff("e/c.tif"));
    o.standin(&["fault", "set", "import-error", "--times", "1"]);
    o.standin(&["fault", "set", "disk-full", "--path", "c.tif"]);
    assert_eq!((o.import(&[], &[&b]).code, o.import(&[], &[&c]).code), (2, 2));
    let mut w = Worker::of(&o);
    let key = w.login(&o, "alice");
    let below = o.data("").trim_matches('/').to_owned();
    let ask = |w: &mut Worker, below: &str, age: i64| {
        w.ask("leftovers", &json!({ "session": key, "below": [below], "older_than": age }))["filesets"]
            .clone()
    };
    // What is made this very moment is no older than nothing.
    let mut left = ask(&mut w, &below, 0);
    for _ in 0..1000 {
        if left.as_array().unwrap().len() == 2 {
            break;
        }
        left = ask(&mut w, &below, 0);
    }
    assert_eq!(left.as_array().unwrap().len(), 2);
    assert_eq!(
        (&left[0]["id"], &left[0]["uploaded"], &left[1]["uploaded"]),
        (&json!(2), &json!(true), &json!(false))
    );
    assert_eq!(ask(&mut w, &below, 3600), json!([]));
    assert_eq!(ask(&mut w, &format!("{below}/e"), 0).as_array().unwrap().len(), 1);
    let bobs = w.login(&o, "bob");
    let answer = w.ask("delete", &json!({ "session": bobs, "filesets": [2] }));
    assert_eq!(states(&answer), ["not_own"]);
    let answer = w.ask("delete", &json!({ "session": key, "filesets": [1, 2, 3, 9] }));
    assert_eq!(states(&answer), ["has_images", "deleted", "deleted", "gone"]);
    assert_eq!(
        states(&w.ask("delete", &json!({ "session": key, "filesets": [1], "with_images": true }))),
        ["deleted"]
    );
    assert_eq!((o.count("filesets"), o.count("images")), (0, 0));
    assert!(std::path::Path::new(&b).exists(), "the link goes, not the file");
}

#[test]
fn a_fileset_that_the_server_works_on_is_uploaded_and_has_no_images_yet() {
    let (o, _) = imported(0);
    let a = o.tiff("a.tif");
    let gate = o.path("gate");
    o.standin(&["fault", "set", "gate", "--where", "server-import", "--until", gate.to_str().unwrap()]);
    let mut child = o.start_import(&[], &[&a]);
    let reached = o.path("gate.reached");
    wait_for("the server works", || reached.exists());
    common::kill_group(&mut child);
    let mut w = Worker::of(&o);
    let key = w.login(&o, "alice");
    let look = json!({ "session": key, "paths": [a.trim_start_matches('/')], "namespace": NS });
    let f = w.ask("filesets", &look)["filesets"][0].clone();
    assert_eq!((&f["uploaded"], &f["images"]), (&json!(true), &json!([])));
    std::fs::write(gate, "").unwrap();
    wait_for("the server finishes", || o.count("images") == 1);
    assert_eq!(w.ask("filesets", &look)["filesets"][0]["images"], json!([1]));
}

#[test]
fn faults_of_the_way_the_server_and_the_worker_itself() {
    let (o, _) = imported(1);
    let mut w = Worker::of(&o);
    let key = w.login(&o, "alice");
    let ask = json!({ "session": key });
    for (fault, kind) in [
        (&["server-down"][..], "retry connection"),
        (&["connection-lost", "--command", "worker"], "retry connection"),
        (&["bad-query", "--command", "lonely"], "retry internal"),
    ] {
        let mut words = vec!["fault", "set"];
        words.extend_from_slice(fault);
        words.extend(["--times", "1"]);
        o.standin(&words);
        assert_eq!(w.refusal("lonely", &ask), kind, "{fault:?}");
        w.ask("lonely", &ask);
    }
    o.standin(&["fault", "set", "garbage", "--text", "no JSON", "--command", "worker", "--times", "1"]);
    w.send("lonely", 60.0, &ask);
    assert_eq!(w.line(), "no JSON\n");
    assert!(w.answer()["result"].is_object());
    o.standin(&["fault", "set", "no-output", "--command", "lonely", "--times", "1"]);
    w.send("lonely", 60.0, &ask);
    assert_eq!(w.ask("hello", &json!({}))["protocol"], 1, "no answer came before this one");
    o.standin(&["fault", "set", "session-lost", "--where", "answer", "--times", "1"]);
    assert_eq!(w.refusal("lonely", &ask), "retry session_expired");
    assert_eq!(w.refusal("lonely", &ask), "retry session_expired");
    let key = w.login(&o, "alice");
    o.standin(&["fault", "set", "kill", "--command", "annotate", "--where", "end"]);
    w.send("annotate", 60.0, &json!({ "session": key, "namespace": NS, "items": items(1..=1) }));
    assert_eq!(w.line(), "", "it died before it answered");
    assert_eq!(o.contents()["filesets"][0]["annotations"].as_array().unwrap().len(), 1, "and after it saved");
}

#[test]
fn what_a_person_chose_is_found_in_their_own_session_at_its_place_and_the_session_goes_on() {
    let (o, _) = imported(2);
    o.standin(&["make", "plate", &o.data("p.plate-test"), "--files", "2"]);
    o.import(&[], &[&o.data("p.plate-test")]);
    let mut w = Worker::of(&o);
    let ours = w.login(&o, "alice");
    let project = json!({ "kind": "Dataset", "name": "d", "project": { "name": "P" } });
    let dataset = w.ask("container", &json!({ "session": ours, "target": project }))["id"].clone();
    w.ask("put", &json!({ "session": ours, "kind": "Dataset", "id": dataset, "children": [1] }));
    let screen = json!({ "kind": "Screen", "name": "s" });
    let screen = w.ask("container", &json!({ "session": ours, "target": screen }))["id"].clone();
    w.ask("put", &json!({ "session": ours, "kind": "Screen", "id": screen, "children": [1] }));

    let key = o.standin(&["session", "open", "alice"]).trim().to_owned();
    let chosen = |w: &mut Worker, objects: Value| {
        w.ask("chosen", &json!({ "session": key, "objects": objects, "namespace": NS, "most": 10 }))
    };
    assert_eq!(
        w.refusal("chosen", &json!({ "session": key, "objects": [], "namespace": NS, "most": 1 })),
        "retry session_expired"
    );
    assert_eq!(w.ask("visit", &json!({ "server": server(), "session": key }))["user"], "alice");
    let found = chosen(&mut w, json!([["Project", 1], ["Screen", 1], ["Image", 2], ["Image", 99]]));
    assert_eq!(found["missing"], json!(["Image:99"]));
    let place = |n: usize| {
        let fileset = &found["filesets"][n];
        let place = &found["places"][usize::try_from(fileset["place"].as_u64().unwrap()).unwrap()];
        let names =
            ["group", "project", "dataset", "screen", "plate"].map(|k| place[k].as_str().unwrap_or("-"));
        (fileset["id"].as_i64().unwrap(), names.map(str::to_owned))
    };
    assert_eq!(place(0), (1, ["lab1", "P", "d", "-", "-"].map(str::to_owned)));
    assert_eq!(place(1), (2, ["lab1", "-", "-", "-", "-"].map(str::to_owned)));
    let (plate, names) = place(2);
    assert!(plate == 3 && names[3] == "s" && names[4] != "-", "{found}");
    // An image of the plate brings the whole fileset.
    let of_plate = found["filesets"][2]["images"][0].clone();
    assert_eq!(chosen(&mut w, json!([["Image", of_plate]]))["filesets"][0]["id"], 3);
    let entries = w.ask("chosen_files", &json!({ "session": key, "filesets": [1, 3], "count": 2 }));
    assert_eq!((entries["entries"][0]["fileset"].as_i64(), entries["after"].is_null()), (Some(1), false));
    let too_much =
        json!({ "session": key, "objects": [["Image", 1], ["Image", 2]], "namespace": NS, "most": 1 });
    assert_eq!(w.refusal("chosen", &too_much), "request too_large");
    // carol is in no group of alice's.
    o.standin(&["group", "add", "carols"]);
    o.standin(&["user", "add", "carol", "--group", "carols"]);
    let carol = o.standin(&["session", "open", "carol"]).trim().to_owned();
    w.ask("visit", &json!({ "server": server(), "session": carol }));
    let hers = json!({ "session": carol, "objects": [["Image", 1], ["Project", 1], ["Screen", 1]], "namespace": NS, "most": 9 });
    assert_eq!(w.ask("chosen", &hers)["missing"].as_array().unwrap().len(), 3);
    let files = w.ask("chosen_files", &json!({ "session": carol, "filesets": [1, 2, 3] }));
    assert_eq!(files["entries"], json!([]));
    // It is left, and is still there.
    assert_eq!(w.ask("leave", &json!({ "session": key }))["left"], true);
    assert_eq!(w.ask("leave", &json!({ "session": key }))["left"], false);
    assert_eq!(w.ask("visit", &json!({ "server": server(), "session": key }))["user"], "alice");
    for bad in ["alice", "root", "00000000-0000-4000-8000-000000000000"] {
        let visit = json!({ "server": server(), "session": bad });
        assert_eq!(w.refusal("visit", &visit), "retry session_expired", "{bad}");
    }
}
