//! Saves, end to end in the stand-in zone: a job fetches files from an agent and writes them as the person they belong to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use irods_omero_importer::wire::{
    self, FileKind, Key, OnConflict, Save, SaveBegin, SaveEnd, SaveFile, SaveFileState, SaveFiles,
    SaveReport, SaveState, Saves, What,
};
use irods_omero_model::names::{OmeroId, OmeroName};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use support::zone::{INSTANCE, TestZone};

/// An agent that has saves and nothing else.
#[derive(Clone, Default)]
struct SaveAgent(Arc<Mutex<Vec<Kept>>>);

struct Kept {
    save: Save,
    files: Vec<SaveFile>,
    contents: Vec<Vec<u8>>,
    /// Every reason that was given while it waited.
    reasons: Vec<String>,
}

impl SaveAgent {
    fn on_socket(path: &Path) -> Self {
        let (agent, listener) = (Self::default(), UnixListener::bind(path).unwrap());
        let served = agent.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = served.serve(stream);
            }
        });
        agent
    }

    /// Somebody in OMERO asks for files to be saved.
    fn ask(&self, user: &str, files: &[(&str, &[u8])], change: impl FnOnce(&mut Save)) -> usize {
        let mut all = self.0.lock().unwrap();
        let mut save = Save {
            id: Key::parse(&format!("s{}", all.len() + 1)).unwrap(),
            server: "omero.example.org".to_owned(),
            user: OmeroName::parse(user).unwrap(),
            state: SaveState::Queued,
            reason: None,
            objects: vec![],
            what: vec![What::Files],
            collection: None,
            again: false,
            on_conflict: OnConflict::Rename,
            created: 1,
            changed: 1,
            notes: vec![],
            files: files.len() as u64,
            bytes: 0,
            saved: 0,
            already: 0,
            refused: 0,
        };
        change(&mut save);
        let file = |(i, (name, bytes)): (usize, &(&str, &[u8]))| SaveFile {
            n: i as u64 + 1,
            fileset: OmeroId::from_number(5),
            images: vec![OmeroId::from_number(7).unwrap()],
            kind: FileKind::File,
            group: "lab 1".to_owned(),
            project: Some("p".to_owned()),
            dataset: Some("d".to_owned()),
            screen: None,
            plate: None,
            name: (*name).to_owned(),
            size: bytes.len() as u64,
            sha1: None,
            host_path: None,
            in_irods: None,
            state: SaveFileState::Queued,
            path: None,
            reason: None,
        };
        let contents = files.iter().map(|(_, bytes)| bytes.to_vec()).collect();
        let files = files.iter().enumerate().map(file).collect();
        all.push(Kept { save, files, contents, reasons: vec![] });
        all.len() - 1
    }

    fn look<T>(&self, at: usize, look: impl FnOnce(&Kept) -> T) -> T {
        look(&self.0.lock().unwrap()[at])
    }

    fn state(&self, at: usize) -> SaveState {
        self.look(at, |kept| kept.save.state)
    }

    fn path(&self, at: usize, file: usize) -> String {
        self.look(at, |kept| kept.files[file].path.as_ref().unwrap().display().into_owned())
    }

    fn serve(&self, mut stream: UnixStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let (mut first, mut length, mut range) = (String::new(), 0, String::new());
        reader.read_line(&mut first)?;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap(),
                "range" => value.clone_into(&mut range),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let path = first.split_whitespace().nth(1).unwrap_or_default();
        let (status, body) = self.answer(path, &range, &body);
        write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len())?;
        stream.write_all(&body)
    }

    fn answer(&self, path: &str, range: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut all = self.0.lock().unwrap();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let words: Vec<&str> = path.split('/').skip(2).collect();
        if words.first() != Some(&"saves") {
            return (404, b"{}".to_vec());
        }
        let Some(id) = words.get(1) else {
            let saves = all.iter().map(|k| k.save.clone()).filter(|s| !s.state.is_final()).collect();
            return (200, wire::to_json(&Saves { saves, after: None }));
        };
        let kept = all.iter_mut().find(|k| k.save.id.as_str() == *id).unwrap();
        match words.get(2..) {
            Some([]) => {}
            Some(["begin"]) => {
                let begin = SaveBegin::read(body).unwrap();
                kept.reasons.extend(begin.reason);
                kept.save.state = SaveState::Running;
            }
            Some(["end"]) => {
                let end = SaveEnd::read(body).unwrap();
                (kept.save.state, kept.save.reason) = (end.state, end.reason);
            }
            Some(["files"]) if body.is_empty() => {
                let after = query.split('&').find_map(|p| p.strip_prefix("after=")).unwrap();
                let after: u64 = after.parse().unwrap();
                let queued = kept.files.iter().filter(|f| f.n > after && f.state == SaveFileState::Queued);
                return (200, wire::to_json(&SaveFiles { files: queued.cloned().collect(), after: None }));
            }
            Some(["files"]) => {
                for said in SaveReport::read(body).unwrap().files {
                    let file = kept.files.iter_mut().find(|f| f.n == said.n).unwrap();
                    (file.state, file.path, file.reason) = (said.state, said.path, said.reason);
                    match said.state {
                        SaveFileState::Saved => kept.save.saved += 1,
                        SaveFileState::AlreadyInIrods => kept.save.already += 1,
                        SaveFileState::Refused => kept.save.refused += 1,
                        SaveFileState::Queued => {}
                    }
                }
            }
            Some(["files", n, "content"]) => {
                let (from, to) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
                let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
                let content = &kept.contents[n.parse::<usize>().unwrap() - 1];
                return (206, content[from..=to].to_vec());
            }
            _ => return (404, b"{}".to_vec()),
        }
        (200, wire::to_json(&kept.save))
    }
}

/// A zone whose people save, and the agent. Nothing has asked for a turn yet.
fn zone(change: impl FnOnce(&mut Value)) -> (TestZone, SaveAgent) {
    let zone = TestZone::with_dir(|dir, c| {
        let token = dir.join("token");
        fs::write(&token, "t").unwrap();
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
        let url = format!("unix:{}", dir.join("a1.sock").display());
        c["omero"] = json!({"server": "omero.example.org"});
        c["importer"] = json!({"mode": "agent", "agents": [{"name": "a1", "url": url, "token_file": token}]});
        c["users"]["table"]["alice#tempZone"]["user"] = json!("ann");
        c["users"]["table"]["rods#tempZone"] = json!("chief");
        c["save"] = json!({"enabled": true, "interval_in_seconds": 1});
        change(c);
    });
    let agent = SaveAgent::on_socket(&zone.path("a1.sock"));
    (zone, agent)
}

fn operation(zone: &TestZone, user: &str, operation: &Value) -> Value {
    let seen = zone.act(user, &["rule", "-r", INSTANCE, &operation.to_string()]);
    serde_json::from_str(seen.output.trim())
        .unwrap_or_else(|_| json!(format!("{}{}", seen.output, seen.error)))
}

fn start(zone: &TestZone) {
    let told = operation(zone, "rods", &json!({"operation": "install_recurring"}));
    assert_eq!(told["installed"], true, "{told}");
}

fn ended(zone: &TestZone, agent: &SaveAgent, at: usize) {
    zone.wait_until("the save has ended", |_| agent.state(at).is_final());
}

/// What the catalog has: path, owner and status of each replica, without what was put before.
fn objects(zone: &TestZone) -> Vec<String> {
    let rows = zone.admin(&[
        "sql",
        "select c.coll_name || '/' || d.data_name || ' ' || d.data_owner_name || ' ' || d.data_is_dirty from R_DATA_MAIN d \
         join R_COLL_MAIN c on c.coll_id = d.coll_id order by 1",
    ]);
    rows.lines().map(str::to_owned).collect()
}

const D: &str = "/tempZone/home/alice/omero/lab 1/p/d";

#[test]
fn what_somebody_saves_is_theirs_in_irods_and_never_imported_again() {
    let (zone, agent) = zone(|_| {});
    let _server = zone.delay_server();
    let big: Vec<u8> = (0..9_000_000_u32).map(|i| (i % 251) as u8).collect();
    let odd = "it's $objPath \"q\".tif";
    let at = agent.ask("ann", &[("a.tif", &big), (odd, b"odd"), ("s/empty.ids", b"")], |_| {});
    start(&zone);
    ended(&zone, &agent, at);
    assert_eq!(agent.state(at), SaveState::Done, "{:?}", agent.look(at, |k| k.files.clone()));
    assert_eq!(
        objects(&zone),
        [format!("{D}/a.tif alice 1"), format!("{D}/{odd} alice 1"), format!("{D}/s/empty.ids alice 1")]
    );
    let got = zone.path("got");
    zone.does("alice", &["get", &format!("{D}/a.tif"), got.to_str().unwrap()]);
    assert!(fs::read(&got).unwrap() == big);
    // Where it lies is watched, and it has the name of an image.
    let moved = "/tempZone/home/alice/moved.tif";
    zone.does("alice", &["mv", &format!("{D}/a.tif"), moved]);
    zone.does("alice", &["put", &zone.image("own.tif"), "/tempZone/home/alice/own.tif"]);
    zone.wait_until("somebody's own data is wanted", |z| {
        z.value("/tempZone/home/alice/own.tif", "state").is_some()
    });
    zone.wait_until_nothing_is_due();
    for path in [moved.to_owned(), format!("{D}/{odd}")] {
        assert_eq!(zone.value(&path, "state").as_deref(), Some("skipped"), "{path}");
        assert!(
            zone.value(&path, "reason").unwrap().contains("saved from OMERO by ann (fileset 5, images 7")
        );
        assert_eq!(zone.value(&path, "ignored").as_deref(), Some("alice#tempZone"));
    }
    assert_eq!(zone.errors(), Vec::<String>::new());
}

#[test]
fn nothing_is_overwritten_and_what_is_there_is_told() {
    let (zone, agent) = zone(|_| {});
    let _server = zone.delay_server();
    zone.does("alice", &["mkdir", "-p", D]);
    for (name, bytes) in [("a.tif", "old"), ("b.tif", "same")] {
        let file = zone.path(name);
        fs::write(&file, bytes).unwrap();
        zone.does("alice", &["put", file.to_str().unwrap(), &format!("{D}/{name}")]);
    }
    let at = agent.ask("ann", &[("a.tif", b"new"), ("b.tif", b"same")], |_| {});
    start(&zone);
    ended(&zone, &agent, at);
    assert_eq!(agent.path(at, 0), format!("{D}/a (2).tif"));
    assert_eq!(
        (agent.path(at, 1), agent.look(at, |k| k.files[1].state)),
        (format!("{D}/b.tif"), SaveFileState::AlreadyInIrods)
    );
    assert_eq!(objects(&zone).len(), 3);
}

#[test]
fn a_directory_that_is_one_image_has_the_record_itself() {
    let (zone, agent) = zone(|_| {});
    let _server = zone.delay_server();
    let at = agent.ask("ann", &[("x.zarr/.zattrs", b"{}"), ("x.zarr/0/0", b"chunk")], |_| {});
    start(&zone);
    ended(&zone, &agent, at);
    zone.wait_until_nothing_is_due();
    let record = zone.avus("-C", &format!("{D}/x.zarr"));
    assert!(record.contains(&("state".to_owned(), "skipped".to_owned(), "0".to_owned())), "{record:?}");
    assert_eq!(zone.value(&format!("{D}/x.zarr/.zattrs"), "state"), None);
}

#[test]
fn who_may_not_write_there_or_is_nobody_is_refused_and_nothing_is_made() {
    let (zone, agent) = zone(|_| {});
    let _server = zone.delay_server();
    zone.does("bob", &["mkdir", "-p", "/tempZone/home/bob/x"]);
    let cases = [
        ("ann", "/tempZone/home/bob/x/y", "may not write into /tempZone/home/bob/x"),
        ("ann", "/otherZone/home/ann", "not in the zone tempZone"),
        ("bob", "/tempZone/home/bob/x", "no iRODS user is mapped"),
        ("chief", "/tempZone/home/alice", "is the account that the server runs as"),
        ("root", "/tempZone/home/alice", "never used"),
    ];
    let asked: Vec<usize> = cases
        .iter()
        .map(|(user, collection, _)| {
            agent.ask(user, &[("a.tif", b"a")], |save| save.collection = Some((*collection).to_owned()))
        })
        .collect();
    start(&zone);
    for (at, (user, _, part)) in asked.into_iter().zip(cases) {
        ended(&zone, &agent, at);
        let why = agent.look(at, |k| {
            format!(
                "{} {}",
                k.save.reason.clone().unwrap_or_default(),
                k.files[0].reason.clone().unwrap_or_default()
            )
        });
        assert!(agent.state(at) == SaveState::Refused && why.contains(part), "{user}: {why}");
    }
    assert_eq!(objects(&zone), Vec::<String>::new());
}

#[test]
fn a_quota_that_is_used_up_is_waited_for() {
    let (zone, agent) = zone(|_| {});
    let server = zone.delay_server_with(&[("ZONE_FAIL", Path::new("write=-110000:1"))]);
    let at = agent.ask("ann", &[("a.tif", b"bytes")], |_| {});
    start(&zone);
    zone.wait_until("the person is told of the quota", |_| {
        agent.look(at, |k| k.reasons.iter().any(|r| r.contains("quota")))
    });
    assert!(objects(&zone).iter().all(|o| o.contains("/.omero-save-")), "{:?}", objects(&zone));
    drop(server);
    let _server = zone.delay_server();
    start(&zone);
    ended(&zone, &agent, at);
    assert_eq!(objects(&zone), [format!("{D}/a.tif alice 1")]);
}

#[test]
fn an_agent_process_that_dies_before_any_call_leaves_nothing_visible_and_the_next_one_goes_on() {
    let (zone, agent) = zone(|_| {});
    let killed = || zone.log().matches("(agent killed)").count();
    for (i, calls) in (3..).step_by(9).enumerate() {
        let (name, before) = (format!("f{i}.tif"), killed());
        let at = agent.ask("ann", &[(name.as_str(), b"bytes")], |_| {});
        let deaths = zone.path(&format!("deaths{i}"));
        fs::write(&deaths, format!("{calls} \"save\"\n")).unwrap();
        let is_over = {
            let _dying = zone.delay_server_with(&[("ZONE_DIE", &deaths)]);
            start(&zone);
            zone.wait_until("the process has died, or the save has ended", |_| {
                killed() > before || agent.state(at).is_final()
            });
            agent.state(at).is_final()
        };
        for object in objects(&zone).iter().filter(|o| o.contains(&format!("/{name} "))) {
            assert_eq!(*object, format!("{D}/{name} alice 1"), "before call {calls}");
            assert!(zone.value(&format!("{D}/{name}"), "ignored").is_some(), "before call {calls}");
        }
        // As if the dead one's time were over.
        let locks = "select coll_name from R_COLL_MAIN where coll_name like '%locks/save.%'";
        for lock in zone.admin(&["sql", locks]).lines() {
            zone.does("rods", &["rm", "-r", "-f", lock]);
        }
        for _ in 0..3 {
            let told = operation(&zone, "rods", &json!({"operation": "save"}));
            assert!(told["saved"].is_u64(), "{told}");
        }
        let why = agent.look(at, |k| k.reasons.clone());
        assert_eq!(agent.state(at), SaveState::Done, "before call {calls}: {why:?}");
        assert!(objects(&zone).contains(&format!("{D}/{name} alice 1")), "{calls}: {:?}", objects(&zone));
        assert!(objects(&zone).iter().all(|o| !o.contains("/.omero-save-")), "{calls}");
        if is_over {
            assert!(calls > 20, "{calls} calls are no save");
            break;
        }
    }
}

#[test]
fn whoever_asks_is_told_who_an_omero_user_is() {
    let (zone, _agent) = zone(|_| {});
    let ask =
        |user: &str, omero: &str| operation(&zone, user, &json!({"operation": "who", "omero_user": omero}));
    let told = ask("rods", "ann");
    assert_eq!((&told["user"], &told["reason"]), (&json!("alice#tempZone"), &Value::Null), "{told}");
    assert_eq!(ask("alice", "ann")["user"], "alice#tempZone");
    assert!(ask("bob", "ann").as_str().unwrap().contains("only an administrator"));
    assert!(ask("bob", "nobody").as_str().unwrap().contains("only an administrator"));
    assert!(ask("rods", "root")["reason"].as_str().unwrap().contains("never used"));
}
