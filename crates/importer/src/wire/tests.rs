use super::*;
use crate::check_path;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

fn id() -> impl Strategy<Value = OmeroId> {
    (1..=u64::MAX).prop_map(|n| OmeroId::parse(&n.to_string()).unwrap())
}

fn omero_name() -> impl Strategy<Value = OmeroName> {
    "\\PC{1,40}".prop_filter_map("is no name", |text| OmeroName::parse(&text).ok())
}

fn user() -> impl Strategy<Value = IrodsUser> {
    ("\\PC{1,15}", "\\PC{1,15}")
        .prop_filter_map("is no user", |(name, zone)| IrodsUser::new(&name, &zone).ok())
}

fn logical_path() -> impl Strategy<Value = LogicalPath> {
    vec(any::<u8>(), 1..60).prop_filter_map("is no path", |mut bytes| {
        bytes.insert(0, b'/');
        LogicalPath::parse(&bytes).ok()
    })
}

fn target() -> impl Strategy<Value = Target> {
    (prop_oneof!["Dataset:name:", "Screen:name:", "Project:name:p/Dataset:name:"], "\\PC{1,300}")
        .prop_filter_map("is no target", |(form, name)| Target::parse(&format!("{form}{name}")).ok())
}

fn subject() -> impl Strategy<Value = Subject> {
    (any::<bool>(), 1..=u64::MAX).prop_map(|(is_object, n)| {
        Subject::parse(&format!("{}{n}", if is_object { 'd' } else { 'c' })).unwrap()
    })
}

fn file() -> impl Strategy<Value = BatchFile> {
    let path = "/mnt/\\PC{0,80}".prop_filter("is no path", |p| check_host_path(p).is_ok());
    let version = (any::<u64>(), any::<u64>()).prop_map(|(modify_time, size)| Version { modify_time, size });
    (subject(), logical_path(), path, version, option::of("\\PC{1,60}"), user(), vec(id(), 0..3)).prop_map(
        |(subject, logical_path, importer_path, version, checksum, owner, previous)| BatchFile {
            subject,
            logical_path,
            importer_path,
            version,
            checksum,
            owner,
            previous,
        },
    )
}

fn usable() -> impl Strategy<Value = UsableFile> {
    file().prop_map(|BatchFile { subject, importer_path, version, checksum, .. }| UsableFile {
        subject,
        importer_path,
        version,
        checksum,
    })
}

fn batch() -> impl Strategy<Value = Batch> {
    let identity = (omero_name(), option::of(omero_name()));
    let files = (vec(file(), 1..5), vec(usable(), 0..5));
    (identity, target(), option::of(target()), any::<bool>(), files).prop_filter_map(
        "names a file twice",
        |((user, group), target, plate_target, may_join, (files, may_use))| {
            let mut seen = HashSet::new();
            let subjects = files.iter().map(|f| f.subject).chain(may_use.iter().map(|f| f.subject));
            let each_once = subjects.into_iter().all(|subject| seen.insert(subject));
            let identity = OmeroIdentity { user, group };
            each_once.then_some(Batch { identity, target, plate_target, may_join, files, may_use })
        },
    )
}

/// Filesets of what was imported from the path before, and another version.
fn before() -> impl Strategy<Value = (Vec<OmeroId>, Option<Version>)> {
    let version = (any::<u64>(), any::<u64>()).prop_map(|(modify_time, size)| Version { modify_time, size });
    (vec(id(), 0..3), option::of(version))
}

fn outcome() -> impl Strategy<Value = FileOutcome> {
    prop_oneof![
        (id(), vec(id(), 0..4), vec(id(), 0..2), any::<bool>(), any::<bool>(), before()).prop_map(
            |(fileset, mut images, mut plates, is_member, adopted, (previous, version))| {
                if is_member {
                    images.clear();
                    plates.clear();
                }
                FileOutcome::Imported(Imported {
                    fileset,
                    images,
                    plates,
                    is_member,
                    adopted,
                    previous,
                    version,
                })
            }
        ),
        any::<String>().prop_map(FileOutcome::Failed),
        (any::<String>(), any::<String>())
            .prop_map(|(target, reason)| FileOutcome::NoTarget { target, reason }),
        any::<String>().prop_map(FileOutcome::Postponed),
        prop::collection::vec(id(), 1..4).prop_map(FileOutcome::Joined),
        (any::<String>(), any::<bool>())
            .prop_map(|(reason, is_alone)| FileOutcome::Unknown { reason, is_alone }),
        prop::collection::vec(any::<String>(), 1..4).prop_map(|paths| FileOutcome::UsesUnknown { paths }),
        Just(FileOutcome::NotUsed),
    ]
}

fn collection() -> CollectionId {
    CollectionId::parse("1234").unwrap()
}

proptest! {
    #[test]
    fn a_batch_arrives_as_it_was_sent(batch in batch(), server in option::of("\\PC{1,30}")) {
        let sent = Submit::new("tempZone", server.as_deref(), collection(), &batch);
        let read = Submit::read(&sent.to_json()).unwrap();
        prop_assert_eq!(&read, &sent);
        prop_assert_eq!(read.into_batch(), batch);
    }

    #[test]
    fn an_outcome_arrives_as_it_was_sent(subject in subject(), outcome in outcome()) {
        let read: Outcome = read(&to_json(&Outcome::of(subject, &outcome))).unwrap();
        prop_assert_eq!(read.subject, subject);
        prop_assert_eq!(read.into_file_outcome(), Some(outcome));
    }

    #[test]
    fn whatever_bytes_come_are_read_or_refused(bytes in vec(any::<u8>(), 0..200), text in "[\\[\\]{}\":,0-9a-z]{0,80}") {
        for bytes in [bytes.as_slice(), text.as_bytes()] {
            prop_assert!(Submit::read(bytes).is_err());
        }
    }

    #[test]
    fn a_path_is_printable_and_comes_back(path in logical_path()) {
        let text = serde_json::to_string(&path).unwrap();
        prop_assert!(!text.chars().any(char::is_control));
        prop_assert_eq!(serde_json::from_str::<LogicalPath>(&text).unwrap(), path);
    }
}

/// A body that is in order, to be spoiled.
fn body() -> Value {
    json!({
        "key": "k:1", "zone": "tempZone", "user": "alice", "group": null, "target": "Dataset:name:x",
        "plate_target": null, "may_join": false, "priority": 0, "collection": "1234",
        "files": [{
            "subject": "d10234", "logical_path": "/tempZone/home/a%FF.tif", "path": "/mnt/a.tif", "modified": 5,
            "size": 7, "checksum": null, "owner": "alice#tempZone", "previous": ["3"],
        }],
    })
}

fn refusal(pointer: &str, value: Value) -> Problem {
    let mut body = body();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let place = body.pointer_mut(parent).unwrap();
    if let Some(list) = place.as_array_mut() {
        list[key.parse::<usize>().unwrap()] = value;
    } else {
        place[key] = value;
    }
    Submit::read(&serde_json::to_vec(&body).unwrap()).unwrap_err()
}

#[test]
fn a_body_as_the_contract_shows_it_is_read() {
    let submit = Submit::read(&serde_json::to_vec(&body()).unwrap()).unwrap();
    assert_eq!(submit.files[0].logical_path.as_bytes(), b"/tempZone/home/a\xff.tif");
    assert_eq!((submit.priority.get(), submit.server), (0, None));
}

#[test]
fn what_is_wrong_is_named_by_its_pointer() {
    let file = body()["files"][0].clone();
    for (pointer, value) in [
        ("/key", json!("a b")),
        ("/key", json!("")),
        ("/zone", json!("a\nb")),
        ("/server", json!("")),
        ("/user", json!("-u")),
        ("/user", Value::Null),
        ("/target", json!("Image:5")),
        ("/may_join", json!("yes")),
        ("/priority", json!(11)),
        ("/collection", json!(1234)),
        ("/files", json!([])),
        ("/files/0/subject", json!("x1")),
        ("/files/0/subject", json!("d0")),
        ("/files/0/logical_path", json!("/tempZone/../x")),
        ("/files/0/logical_path", json!("/tempZone/%+1")),
        ("/files/0/logical_path", json!("/tempZone/%ü")),
        ("/files/0/path", json!("mnt/a.tif")),
        ("/files/0/path", json!("/mnt/../a.tif")),
        ("/files/0/path", json!("/".repeat(5_000))),
        ("/files/0/modified", json!(-1)),
        ("/files/0/size", json!(1.5)),
        ("/files/0/checksum", json!("x".repeat(300))),
        ("/files/0/owner", json!("alice")),
        ("/files/0/previous/0", json!("0")),
        ("/files/0/previous", json!(vec!["1"; MAX_PREVIOUS + 1])),
        ("/surprise", json!(1)),
        ("/files/0/surprise", json!(1)),
    ] {
        assert_eq!(refusal(pointer, value).pointer, pointer);
    }
    assert_eq!(refusal("/files", json!([file, file])).pointer, "/files/1/subject");
}

#[test]
fn a_path_the_importer_cannot_take_is_read_and_known_for_what_it_is() {
    let text = body().to_string();
    let path = |escaped: &[u8]| {
        let (before, after) = text.split_once("/mnt/a.tif").unwrap();
        let body = [before.as_bytes(), escaped, after.as_bytes()].concat();
        let read = Submit::read(&body).unwrap();
        // The agent keeps it as it writes it.
        assert_eq!(Submit::read(&read.to_json()).unwrap(), read);
        read.files[0].path.clone()
    };
    for (escaped, word) in [
        (&b"/mnt/a\\nb.tif"[..], "line break"),
        (b"/mnt/a.tif ", "ends with a blank"),
        (b"/mnt/.a.tif", "starts with a dot"),
        (b"/mnt/a\xff.tif", "UTF-8"),
        (b"/mnt/a\\udcff.tif", "UTF-8"),
    ] {
        let path = path(escaped);
        assert!(check_path(path.as_bytes()).unwrap_err().contains(word), "{path:?}");
    }
    assert_eq!(path(b"/mnt/\\u00e9\xc3\xa9\\ud83d\\ude00.tif"), "/mnt/éé😀.tif");
}

#[test]
fn what_follows_a_body_is_refused() {
    let mut bytes = serde_json::to_vec(&body()).unwrap();
    bytes.extend_from_slice(b" {}");
    assert_eq!(Submit::read(&bytes).unwrap_err().pointer, "/");
}

#[test]
fn a_key_tells_apart_what_is_not_the_same_work() {
    let batch = Submit::read(&serde_json::to_vec(&body()).unwrap()).unwrap().into_batch();
    let key = |batch: &Batch| Submit::new("tempZone", None, collection(), batch).key;
    assert_eq!(key(&batch), key(&batch.clone()));
    let mut newer = batch.clone();
    newer.files[0].version.size += 1;
    let mut others = batch.clone();
    others.identity.user = OmeroName::parse("bob").unwrap();
    let keys = [key(&batch), key(&newer), key(&others), Submit::new("z", None, collection(), &batch).key];
    assert_eq!(keys.iter().collect::<HashSet<_>>().len(), 4);
    assert_eq!(Key::parse(keys[0].as_str()), Ok(keys[0].clone()));
}

#[test]
fn fields_a_newer_agent_adds_are_passed_over() {
    let job = json!({
        "id": "7", "key": "k", "zone": "z", "server": "o", "user": "a", "group": null, "collection": "1",
        "state": "running", "reason": null, "attempts": 1, "submitted": 1, "started": 2, "ended": null,
        "next": null, "progress": {"linked": 1, "of": 2, "rate": 3}, "files": 2, "mood": "good",
    });
    let changes: Changes = read(&serde_json::to_vec(&json!({"cursor": 9, "jobs": [job]})).unwrap()).unwrap();
    assert_eq!((changes.cursor, changes.jobs[0].state), (9, JobState::Running));
    assert!(changes.jobs[0].outcomes.is_empty());
}

#[test]
fn a_job_that_was_imported_without_a_fileset_is_no_outcome() {
    let outcome: Outcome = read(br#"{"subject":"d1","outcome":"imported"}"#).unwrap();
    assert_eq!(outcome.into_file_outcome(), None);
}

#[test]
fn every_state_has_its_own_word_on_the_wire() {
    for state in JobState::ALL {
        assert_eq!(JobState::parse(state.as_str()), Some(state));
        assert_eq!(to_json(&state), format!("\"{}\"", state.as_str()).into_bytes());
    }
}
