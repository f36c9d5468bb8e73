//! What people in OMERO ask to have saved in iRODS: asked over HTTP with a session of the stand-in OMERO, and fetched as a zone
//! does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod saving;
mod support;

use saving::{
    DATASET, LOOKER, agent, agent_with, as_person, ask, bytes, image, images, import, names, session,
};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use support::{Answer, OTHER_TOKEN, TOKEN, form, request, request_with};

#[test]
fn a_dataset_is_asked_for_in_omero_fetched_by_the_zone_and_told_of_to_the_person() {
    let agent = agent();
    let (a, b) = (agent.image("a.tif"), agent.image("b.tif"));
    import(&agent, "alice", "run1", &[&a, &b], "ln_s");
    let alice = session(&agent, "alice");
    let asked = json!({"objects": [format!("Dataset:{DATASET}")], "collection": "/z/home/{user}/x"});
    let save = ask(&agent, &alice, &asked);
    let id = save["id"].as_str().unwrap();
    assert_eq!((save["user"].as_str(), save["state"].as_str()), (Some("alice"), Some("queued")));
    assert_eq!((save["files"].as_u64(), save["server"].as_str()), (Some(2), Some("main")));

    let open = agent.get("/v1/saves?state=open").json();
    assert_eq!(open["saves"][0]["id"], id);
    let files = agent.get(&format!("/v1/saves/{id}/files?state=queued&limit=1000")).json();
    assert_eq!(names(&files), ["a.tif", "b.tif"]);
    let first = &files["files"][0];
    assert_eq!((first["group"].as_str(), first["dataset"].as_str()), (Some("lab"), Some("run1")));
    assert_eq!(first["host_path"].as_str().map(PathBuf::from), Some(fs::canonicalize(&a).unwrap()));
    assert!(
        first["fileset"].is_string() && first["images"][0].is_string() && first["sha1"].is_string(),
        "{first}"
    );

    // The bytes come to nobody who has not begun.
    assert_eq!(bytes(&agent, TOKEN, id, 1, "0-3").status, 409);
    assert_eq!(agent.post(&format!("/v1/saves/{id}/begin"), &json!({})).json()["state"], "running");
    let whole = fs::read(&a).unwrap();
    let answer = bytes(&agent, TOKEN, id, 1, &format!("0-{}", whole.len() - 1));
    assert_eq!((answer.status, answer.body.len()), (206, String::from_utf8_lossy(&whole).len()));
    assert!(answer.head.to_lowercase().contains(&format!(
        "content-range: bytes 0-{}/{}",
        whole.len() - 1,
        whole.len()
    )));
    assert_eq!(bytes(&agent, TOKEN, id, 1, "0-3").body, String::from_utf8_lossy(&whole[..4]));
    assert_eq!(bytes(&agent, TOKEN, id, 1, &format!("{}-", whole.len())).status, 416);
    assert_eq!(bytes(&agent, TOKEN, id, 3, "0-3").status, 404);

    let waits = agent.post(&format!("/v1/saves/{id}/begin"), &json!({"reason": "the quota is used up"}));
    assert_eq!(waits.json()["reason"], "the quota is used up");
    let report = json!({"files": [
        {"n": 1, "state": "saved", "path": "/z/home/alice/x/a.tif"},
        {"n": 2, "state": "already_in_irods", "path": "/z/home/alice/b.tif"},
    ]});
    let early = agent.post(&format!("/v1/saves/{id}/end"), &json!({"state": "done"}));
    assert_eq!((early.status, early.json()["pointer"].as_str()), (422, Some("/state")));
    for _ in 0..2 {
        let told = agent.post(&format!("/v1/saves/{id}/files"), &report).json();
        assert_eq!((told["saved"].as_u64(), told["already"].as_u64()), (Some(1), Some(1)));
    }
    let stranger = json!({"files": [{"n": 3, "state": "refused", "reason": "no"}]});
    assert_eq!(agent.post(&format!("/v1/saves/{id}/files"), &stranger).status, 422);
    for _ in 0..2 {
        assert_eq!(
            agent.post(&format!("/v1/saves/{id}/end"), &json!({"state": "done"})).json()["state"],
            "done"
        );
    }
    assert_eq!(agent.get("/v1/saves?state=open").json()["saves"], json!([]));

    let page = agent.send(&form("/login", "", &format!("token={}", LOOKER.replace(' ', "+"))));
    let cookie = page.head.split("set-cookie: ").nth(1).unwrap().split(';').next().unwrap();
    let page =
        agent.send(&request_with("GET", "/", &format!("Host: agent\r\nCookie: {cookie}\r\n"), "")).body;
    assert!(page.contains("From OMERO to iRODS") && page.contains(id), "{page}");
    let own = as_person(&agent, &alice, "GET", &format!("/v1/saves/{id}"), &Value::Null).json();
    assert_eq!((own["state"].as_str(), own["saved"].as_u64()), (Some("done"), Some(1)));
    let files = as_person(&agent, &alice, "GET", &format!("/v1/saves/{id}/files"), &Value::Null).json();
    assert_eq!(files["files"][0]["path"], "/z/home/alice/x/a.tif");
    assert_eq!(files["files"][0]["host_path"], Value::Null, "where it lies is nobody's business");
    let metrics = agent.get("/metrics").body;
    assert!(metrics.contains("irods_omero_agent_saves{state=\"done\"} 1"), "{metrics}");
    assert!(!agent.log().contains(&alice), "the key of the session is in no journal");
    let queue = fs::read(agent.state().join("queue.sqlite")).unwrap();
    assert!(!queue.windows(alice.len()).any(|w| w == alice.as_bytes()), "nor in the queue");
}

#[test]
fn who_shows_no_session_or_anothers_or_something_that_is_none_saves_nothing() {
    let agent = agent();
    import(&agent, "alice", "run1", &[&image(&agent, "a.tif")], "ln_s");
    let body = json!({"objects": [format!("Image:{}", images(&agent)[0])]});
    let without = agent.send(&request("POST", "/v1/saves", Some(TOKEN), &body.to_string()));
    assert_eq!(without.status, 401, "a token is no person: {without:?}");
    let ended = session(&agent, "alice");
    agent.omero.admin(&["session", "expire", &ended]);
    for bad in ["", "alice", "root", "00000000-0000-4000-8000-000000000000", &ended] {
        let answer = as_person(&agent, bad, "POST", "/v1/saves", &body);
        assert_eq!(answer.status, 401, "{bad}: {answer:?}");
    }
    // A name and its password would be a login, not a session: it never reaches OMERO.
    assert!(!fs::read_to_string(agent.omero.store.join("worker.jsonl")).unwrap().contains("\"root\""));
    // alice's image is none for carol, who is in another group: like one that is not there.
    let carol = session(&agent, "carol");
    let not_there = as_person(&agent, &carol, "POST", "/v1/saves", &json!({"objects": ["Image:999999"]}));
    let not_hers = as_person(&agent, &carol, "POST", "/v1/saves", &body);
    assert_eq!((not_there.status, not_hers.status), (422, 422));
    let said = |answer: &Answer| answer.json()["detail"].as_str().unwrap().replace(char::is_numeric, "");
    assert_eq!(said(&not_there), said(&not_hers));
    // An administrator of OMERO is nobody in iRODS.
    let root = session(&agent, "root");
    assert_eq!(as_person(&agent, &root, "POST", "/v1/saves", &body).status, 403);
    // Nobody says who they are.
    let named = json!({"objects": ["Image:1"], "user": "alice"});
    assert_eq!(as_person(&agent, &carol, "POST", "/v1/saves", &named).status, 400);
    assert_eq!(agent.get("/v1/saves").json()["saves"], json!([]));
}

#[test]
fn a_save_is_its_persons_own_and_of_the_zone_that_began_with_it() {
    let agent = agent();
    import(&agent, "alice", "run1", &[&image(&agent, "a.tif")], "ln_s");
    let (alice, carol) = (session(&agent, "alice"), session(&agent, "carol"));
    let body = json!({"objects": [format!("Image:{}", images(&agent)[0])]});
    let id = ask(&agent, &alice, &body)["id"].as_str().unwrap().to_owned();
    let about = |rest: &str| format!("/v1/saves/{id}{rest}");
    for (method, rest) in [("GET", ""), ("GET", "/files"), ("POST", "/cancel")] {
        assert_eq!(
            as_person(&agent, &carol, method, &about(rest), &Value::Null).status,
            404,
            "{method} {rest}"
        );
    }
    let guessed = id.replace("-s1", "-s2");
    assert_eq!(as_person(&agent, &carol, "GET", &format!("/v1/saves/{guessed}"), &Value::Null).status, 404);
    assert_eq!(as_person(&agent, &carol, "GET", "/v1/saves", &Value::Null).json()["saves"], json!([]));
    // What only a zone does is nothing for a person, or for somebody who looks on.
    for rest in ["/begin", "/end", "/files"] {
        assert_eq!(as_person(&agent, &alice, "POST", &about(rest), &json!({})).status, 401, "{rest}");
        assert_eq!(agent.post_as(LOOKER, &about(rest), &json!({})).status, 403, "{rest}");
    }
    assert_eq!(agent.get_as(LOOKER, &about("")).status, 200);
    let looked = agent.get_as(LOOKER, &about("/files")).json();
    assert_eq!(looked["files"][0]["host_path"], Value::Null);
    assert_eq!(bytes(&agent, LOOKER, &id, 1, "0-3").status, 403);
    // Both zones see it until one begins.
    assert_eq!(agent.get_as(OTHER_TOKEN, &about("")).status, 200);
    assert_eq!(agent.post(&about("/begin"), &json!({})).status, 200);
    assert_eq!(agent.post_as(OTHER_TOKEN, &about("/begin"), &json!({})).status, 404);
    assert_eq!(agent.get_as(OTHER_TOKEN, &about("")).status, 404);
    assert_eq!(agent.get_as(OTHER_TOKEN, "/v1/saves").json()["saves"], json!([]));
    assert_eq!(bytes(&agent, OTHER_TOKEN, &id, 1, "0-3").status, 404);
    // One that names a zone is for that zone alone.
    let mut named = body.clone();
    named["collection"] = json!("/z/home/alice");
    let other = ask(&agent, &alice, &named)["id"].as_str().unwrap().to_owned();
    assert_eq!(agent.get_as(OTHER_TOKEN, &format!("/v1/saves/{other}")).status, 404);
    assert_eq!(agent.get(&format!("/v1/saves/{other}")).status, 200);
    let cancelled = as_person(&agent, &alice, "POST", &format!("/v1/saves/{other}/cancel"), &Value::Null);
    assert_eq!(cancelled.json()["state"], "cancelled");
    assert_eq!(agent.post(&format!("/v1/saves/{other}/begin"), &json!({})).json()["state"], "cancelled");
}

#[test]
fn a_fileset_of_many_files_comes_whole_with_its_directories_and_knows_the_data_it_came_from() {
    let agent = agent();
    let zarr = agent.dir.path().join("x.zarr");
    agent.omero.admin(&["make", "zarr", zarr.to_str().unwrap()]);
    import(&agent, "alice", "run1", &[&zarr], "ln_s");
    // And one that came from iRODS.
    let job = agent.submit(&agent.body("k", 7, &[agent.image("v.tif")]));
    agent.wait_for(&job, "done");
    let alice = session(&agent, "alice");
    let objects: Vec<String> = images(&agent).iter().map(|id| format!("Image:{id}")).collect();
    let save = ask(&agent, &alice, &json!({"objects": objects}));
    let files = agent.get(&format!("/v1/saves/{}/files?limit=1000", save["id"].as_str().unwrap())).json();
    let (of_zarr, others): (Vec<&Value>, Vec<&Value>) =
        files["files"].as_array().unwrap().iter().partition(|f| f["name"].as_str().unwrap().contains('/'));
    assert!(
        of_zarr.len() > 2 && of_zarr.iter().all(|f| f["name"].as_str().unwrap().starts_with("x.zarr/")),
        "{files}"
    );
    assert!(of_zarr.iter().all(|f| f["in_irods"].is_null()));
    assert_eq!(others.len(), 1);
    assert_eq!(others[0]["in_irods"], json!({"zone": "z", "subject": "d7", "path": "/z/home/alice/k/0"}));
}

#[test]
fn attachments_are_saved_where_they_are_asked_for() {
    let agent = agent();
    import(&agent, "alice", "run1", &[&image(&agent, "a.tif")], "ln_s");
    let image = images(&agent)[0];
    let table = agent.dir.path().join("results.csv");
    fs::write(&table, "a,b\n1,2\n").unwrap();
    agent.omero.admin(&["attach", table.to_str().unwrap(), &format!("Dataset:{DATASET}"), "--user", "alice"]);
    agent.omero.admin(&["attach", table.to_str().unwrap(), &format!("Image:{image}"), "--user", "alice"]);
    let alice = session(&agent, "alice");
    let body = json!({"objects": [format!("Dataset:{DATASET}")], "what": ["attachments"]});
    let id = ask(&agent, &alice, &body)["id"].as_str().unwrap().to_owned();
    let files = agent.get(&format!("/v1/saves/{id}/files")).json();
    let second = names(&files)[1].to_owned();
    assert_eq!(names(&files)[0], "attachments/results.csv");
    assert!(second.starts_with("attachments/results (file ") && second.ends_with(").csv"), "{second}");
    assert!(files["files"][0]["kind"] == "attachment" && files["files"][0]["fileset"].is_null(), "{files}");
    agent.post(&format!("/v1/saves/{id}/begin"), &json!({}));
    assert_eq!(bytes(&agent, TOKEN, &id, 1, "0-").body, "a,b\n1,2\n");
    let both = json!({"objects": [format!("Dataset:{DATASET}")], "what": ["files", "attachments"]});
    assert_eq!(ask(&agent, &alice, &both)["files"], 3);
}

#[test]
fn bytes_that_are_not_what_omero_lists_or_lie_elsewhere_are_not_given() {
    let agent = agent();
    let (inside, outside) = (agent.image("v.tif"), image(&agent, "a.tif"));
    import(&agent, "alice", "run1", &[&inside, &outside], "ln_s");
    let alice = session(&agent, "alice");
    let body = json!({"objects": [format!("Dataset:{DATASET}")]});
    let id = ask(&agent, &alice, &body)["id"].as_str().unwrap().to_owned();
    agent.post(&format!("/v1/saves/{id}/begin"), &json!({}));
    // The vault is one of the agent's roots; the directory of the other file is not.
    let files = agent.get(&format!("/v1/saves/{id}/files")).json();
    let n = |name: &str| {
        let all = files["files"].as_array().unwrap();
        all.iter().find(|f| f["name"] == name).unwrap()["n"].as_u64().unwrap()
    };
    assert_eq!(bytes(&agent, TOKEN, &id, n("v.tif"), "0-3").status, 206);
    let elsewhere = bytes(&agent, TOKEN, &id, n("a.tif"), "0-3");
    assert_eq!(elsewhere.status, 422);
    assert!(elsewhere.json()["detail"].as_str().unwrap().contains("'roots' in [save]"), "{elsewhere:?}");
    // Longer than OMERO says, then a link to a secret in its place.
    fs::write(&inside, "other bytes of another length").unwrap();
    let changed = bytes(&agent, TOKEN, &id, n("v.tif"), "0-3");
    assert!(
        changed.status == 422 && changed.json()["detail"].as_str().unwrap().contains("was changed"),
        "{changed:?}"
    );
    fs::remove_file(&inside).unwrap();
    assert_eq!(bytes(&agent, TOKEN, &id, n("v.tif"), "0-3").status, 503, "what is away may come back");
    symlink(agent.dir.path().join("tokens.toml"), &inside).unwrap();
    assert_eq!(bytes(&agent, TOKEN, &id, n("v.tif"), "0-3").status, 422);
}

#[test]
fn what_was_asked_survives_a_power_cut_and_is_bounded_for_each_person() {
    let mut agent = agent_with(|config| {
        config["save"]["open_per_user"] = json!(2);
        config["save"]["files"] = json!(2);
    });
    let (a, b, c) = (image(&agent, "a.tif"), image(&agent, "b.tif"), image(&agent, "c.tif"));
    import(&agent, "alice", "run1", &[&a, &b, &c], "ln_s");
    let alice = session(&agent, "alice");
    let whole = json!({"objects": [format!("Dataset:{DATASET}")]});
    let much = as_person(&agent, &alice, "POST", "/v1/saves", &whole);
    assert!(
        much.status == 422 && much.json()["detail"].as_str().unwrap().contains("more than 2"),
        "{much:?}"
    );
    let one = json!({"objects": [format!("Image:{}", images(&agent)[0])]});
    let id = ask(&agent, &alice, &one)["id"].as_str().unwrap().to_owned();
    ask(&agent, &alice, &one);
    let third = as_person(&agent, &alice, "POST", "/v1/saves", &one);
    assert!(
        third.status == 429 && third.json()["detail"].as_str().unwrap().contains("have not ended"),
        "{third:?}"
    );
    agent.post(&format!("/v1/saves/{id}/begin"), &json!({}));
    agent.kill();
    agent.start();
    let after = agent.get(&format!("/v1/saves/{id}")).json();
    assert_eq!((after["state"].as_str(), after["files"].as_u64()), (Some("running"), Some(1)));
    assert_eq!(agent.get("/v1/saves?state=open").json()["saves"].as_array().unwrap().len(), 2);
}

#[test]
fn nothing_is_saved_where_the_configuration_does_not_say_so() {
    let agent = agent_with(|config| _ = config.as_object_mut().unwrap().remove("save"));
    let alice = session(&agent, "alice");
    let answer = as_person(&agent, &alice, "POST", "/v1/saves", &json!({"objects": ["Image:1"]}));
    assert!(
        answer.status == 403 && answer.json()["detail"].as_str().unwrap().contains("[save]"),
        "{answer:?}"
    );
    assert_eq!(agent.omero.asked("visit"), 0, "OMERO is not even asked");
    assert_eq!(agent.get("/v1/saves?state=open").status, 403);
}

#[test]
fn the_directory_of_other_files_is_needed_for_attachments_alone() {
    let agent =
        agent_with(|config| _ = config["omero"][0].as_object_mut().unwrap().remove("files_directory"));
    import(&agent, "alice", "run1", &[&image(&agent, "a.tif")], "ln_s");
    let alice = session(&agent, "alice");
    let mut body = json!({"objects": [format!("Image:{}", images(&agent)[0])]});
    ask(&agent, &alice, &body);
    body["what"] = json!(["attachments"]);
    let answer = as_person(&agent, &alice, "POST", "/v1/saves", &body);
    assert!(
        answer.status == 422 && answer.json()["detail"].as_str().unwrap().contains("files_directory"),
        "{answer:?}"
    );
}
