use super::*;
use crate::names::OmeroName;
use crate::record::Proof;
use proptest::prelude::*;

const PATH: &str = "/tempZone/home/alice/a.tif";
const AT: &str = "/vault/home/alice/a.tif";
const NUMBER: u64 = 10_007;
const VERSION: Version = Version { modify_time: 1_700_000_000, size: 5 };

fn id(number: u64) -> OmeroId {
    OmeroId::from_number(number).unwrap()
}

fn identity(user: &str) -> OmeroIdentity {
    OmeroIdentity { user: OmeroName::parse(user).unwrap(), group: None }
}

fn seen(path: &str) -> Seen {
    Seen { path: path.to_owned(), size: 5, checksum: None, is_good: true }
}

fn link(target: &str, leads: Leads) -> Link {
    Link::To { target: target.to_owned(), leads }
}

fn fileset(number: u64) -> Fileset {
    let file = File {
        client_path: AT.trim_start_matches('/').to_owned(),
        is_client_path_of_link: true,
        size: Some(5),
        hash: Some("da39a3ee5e6b4b0d3255bfef95601890afd80709".to_owned()),
        link: link(AT, Leads::File(5)),
    };
    Fileset {
        id: id(number),
        mark: Some(Mark { is_collection: false, number: NUMBER, version: VERSION }),
        is_refused: false,
        path: Some(PATH.to_owned()),
        has_images: true,
        is_open: false,
        files: vec![file],
        count: 1,
    }
}

/// Imported data that all agree on.
fn healthy() -> Facts {
    Facts {
        path: PATH.to_owned(),
        number: NUMBER,
        is_collection: false,
        recorded: Recorded {
            state: Some(State::Imported),
            version: Some(VERSION),
            proof: Some(Proof::Checksum("sha2:x".to_owned())),
            place: Some(Print::of(AT.as_bytes())),
            fileset: Some(id(7)),
            ..Recorded::default()
        },
        filesets: 1,
        previous: Vec::new(),
        owner: Some(identity("alice")),
        copied_from: None,
        bytes: Some(Bytes::Recorded),
        written: false,
        seen: vec![seen(AT)],
        is_watched: true,
        is_awaited: false,
        mapped: Mapped::To(identity("alice")),
        omero: Omero::Asked { own: Some(fileset(7)), others: Vec::new() },
    }
}

fn own(facts: &mut Facts) -> &mut Fileset {
    match &mut facts.omero {
        Omero::Asked { own: Some(fileset), .. } => fileset,
        other => panic!("{other:?}"),
    }
}

fn others(facts: &mut Facts) -> &mut Vec<Fileset> {
    match &mut facts.omero {
        Omero::Asked { others, .. } => others,
        Omero::NotAsked => panic!(),
    }
}

/// What is found after a change: the words of the codes and of the repairs.
fn found(change: impl FnOnce(&mut Facts)) -> Vec<(&'static str, Option<&'static str>)> {
    let mut facts = healthy();
    change(&mut facts);
    examine(&facts).iter().map(|f| (f.code.word(), f.repair.map(Repair::word))).collect()
}

#[test]
fn nothing_is_found_where_all_agree() {
    assert_eq!(examine(&healthy()), []);
}

#[test]
fn every_code_has_a_word_of_its_own() {
    let words: std::collections::BTreeSet<&str> = Code::ALL.iter().map(|code| code.word()).collect();
    assert_eq!(words.len(), Code::ALL.len());
}

#[test]
fn a_link_that_leads_nowhere_is_pointed_to_a_good_replica() {
    let want = [("link-dangles", Some("point"))];
    assert_eq!(found(|f| own(f).files[0].link = link("/vault/gone.tif", Leads::Nowhere)), want);
    // Not without one, not without our annotation, and not to other bytes.
    let dangling = |f: &mut Facts| own(f).files[0].link = link("/vault/gone.tif", Leads::Nowhere);
    assert_eq!(
        found(|f| {
            dangling(f);
            f.seen.clear();
        }),
        [("moved", None), ("link-dangles", None)]
    );
    let others = Mark { is_collection: false, number: NUMBER + 1, version: VERSION };
    for mark in [None, Some(others)] {
        let found = found(|f| {
            dangling(f);
            own(f).mark = mark;
        });
        assert_eq!(found, [("other-annotation", None), ("link-dangles", None)]);
    }
    let found = found(|f| {
        dangling(f);
        f.bytes = Some(Bytes::Other);
    });
    assert_eq!(found, [("other-bytes", Some("sweep")), ("link-dangles", None)]);
}

#[test]
fn a_good_replica_without_a_file_is_nothing_that_a_link_can_mend() {
    assert_eq!(found(|f| own(f).files[0].link = link(AT, Leads::Nowhere)), [("link-dangles", None)]);
    assert_eq!(found(|f| own(f).files[0].link = Link::Missing), [("link-dangles", None)]);
}

#[test]
fn a_link_to_a_bad_replica_is_pointed_and_one_to_a_strange_file_is_left() {
    let stale = |f: &mut Facts| {
        f.seen.push(Seen { is_good: false, ..seen("/vault/2/a.tif") });
        own(f).files[0].link = link("/vault/2/a.tif", Leads::File(5));
    };
    assert_eq!(found(stale), [("link-elsewhere", Some("point"))]);
    let strange = |f: &mut Facts| own(f).files[0].link = link("/vault/secret.tif", Leads::File(5));
    assert_eq!(found(strange), [("link-elsewhere", None)]);
}

#[test]
fn data_that_has_moved_is_followed_by_a_sweep() {
    assert_eq!(found(|f| f.seen = vec![seen("/vault/b.tif")]), [("moved", Some("sweep"))]);
    assert_eq!(found(|f| f.seen.clear()), [("moved", None)]);
    let another_good_one = |f: &mut Facts| f.seen.insert(0, seen("/vault/2/a.tif"));
    assert_eq!(found(another_good_one), []);
}

#[test]
fn other_bytes_are_found_by_what_the_catalog_the_disk_and_omero_say() {
    assert_eq!(found(|f| f.bytes = Some(Bytes::Other)), [("other-bytes", Some("sweep"))]);
    assert_eq!(found(|f| f.bytes = Some(Bytes::NoGood)), [("no-good-replica", Some("sweep"))]);
    assert_eq!(found(|f| own(f).files[0].link = link(AT, Leads::File(6))), [("other-bytes", None)]);
    assert_eq!(found(|f| own(f).files[0].size = Some(6)), [("other-bytes", None)]);
    let checksum = |text: &str| found(|f| f.seen[0].checksum = Some(text.to_owned()));
    assert_eq!(checksum("sha1:2jmj7l5rSw0yVb/vlWAYkK/YBwk="), []);
    assert_eq!(checksum("sha1:AAmj7l5rSw0yVb/vlWAYkK/YBwk="), [("other-bytes", None)]);
    assert_eq!(checksum("sha2:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="), [], "of another kind");
    assert_eq!(
        found(|f| {
            f.written = true;
            f.bytes = Some(Bytes::NoGood);
        }),
        []
    );
}

#[test]
fn a_fileset_that_is_gone_and_filesets_that_no_record_names_are_found() {
    let gone = found(|f| f.omero = Omero::Asked { own: None, others: Vec::new() });
    assert_eq!(gone, [("fileset-gone", Some("look"))]);
    assert_eq!(found(|f| others(f).push(fileset(9))), [("duplicate", None)]);
    let another_version = |f: &mut Facts| {
        let mark = Mark { is_collection: false, number: NUMBER, version: Version { size: 4, ..VERSION } };
        others(f).push(Fileset { mark: Some(mark), ..fileset(9) });
    };
    assert_eq!(found(another_version), [("fileset-without-record", None)]);
    let known_before = |f: &mut Facts| {
        another_version(f);
        f.previous.push(id(9));
    };
    assert_eq!(found(known_before), []);
    let without_record = |f: &mut Facts| {
        f.recorded = Recorded::default();
        f.omero = Omero::Asked { own: None, others: vec![fileset(9)] };
    };
    assert_eq!(found(without_record), [("fileset-without-record", Some("sweep"))]);
    let not_watched = |f: &mut Facts| {
        without_record(f);
        f.is_watched = false;
    };
    assert_eq!(found(not_watched), [("fileset-without-record", None)]);
    let awaited = |f: &mut Facts| {
        without_record(f);
        f.is_awaited = true;
    };
    assert_eq!(found(awaited), []);
}

#[test]
fn what_a_failed_import_left_is_found_and_what_others_have_is_theirs() {
    let leftover = Fileset { mark: None, has_images: false, ..fileset(9) };
    let with = |fileset: Fileset| found(|f| others(f).push(fileset));
    assert_eq!(with(leftover.clone()), [("leftover", None)]);
    assert_eq!(with(Fileset { is_open: true, ..leftover.clone() }), []);
    assert_eq!(with(Fileset { has_images: true, ..leftover.clone() }), []);
    assert_eq!(with(Fileset { is_refused: true, ..leftover }), []);
}

#[test]
fn another_path_in_omero_is_written_anew_with_the_link() {
    let want = [("other-path", Some("point"))];
    assert_eq!(found(|f| own(f).path = Some("/tempZone/old.tif".to_owned())), want);
    assert_eq!(found(|f| own(f).files[0].is_client_path_of_link = false), want);
    let member = |f: &mut Facts| {
        f.recorded.is_member = true;
        let fileset = own(f);
        fileset.path = Some("/tempZone/key".to_owned());
        fileset.mark = Some(Mark { is_collection: false, number: NUMBER - 1, version: VERSION });
    };
    assert_eq!(found(member), [], "the annotation names the key file");
}

#[test]
fn records_that_contradict_themselves_are_found() {
    assert_eq!(found(|f| f.copied_from = Some(9)), [("record-broken", Some("sweep"))]);
    let none = |f: &mut Facts| {
        f.filesets = 0;
        f.recorded.fileset = None;
        f.omero = Omero::NotAsked;
    };
    assert_eq!(found(none), [("record-broken", None)]);
    assert_eq!(found(|f| f.filesets = 2), [("record-broken", None)]);
    let waits = |f: &mut Facts| {
        f.recorded = Recorded { state: Some(State::Pending), ..Recorded::default() };
        f.omero = Omero::NotAsked;
    };
    assert_eq!(found(waits), [("abandoned", Some("sweep"))]);
    let with_agent = |f: &mut Facts| {
        waits(f);
        f.recorded.has_job = true;
    };
    assert_eq!(found(with_agent), []);
}

#[test]
fn a_user_that_is_another_now_is_told() {
    assert_eq!(found(|f| f.mapped = Mapped::To(identity("carol"))), [("other-user", None)]);
    assert_eq!(found(|f| f.mapped = Mapped::Nobody("no rule".to_owned())), [("other-user", None)]);
    assert_eq!(found(|f| f.mapped = Mapped::Unknown), []);
}

fn any_path() -> impl Strategy<Value = String> {
    prop::sample::select(vec![AT, "/vault/b.tif", "/vault/2/a.tif", "/vault/secret.tif"])
        .prop_map(str::to_owned)
}

fn any_link() -> impl Strategy<Value = Link> {
    let leads = prop_oneof![Just(Leads::Nowhere), (4_u64..7).prop_map(Leads::File), Just(Leads::Unclear)];
    prop_oneof![
        Just(Link::Unknown),
        Just(Link::Copy),
        Just(Link::Missing),
        (any_path(), leads).prop_map(|(target, leads)| Link::To { target, leads })
    ]
}

fn any_fileset() -> impl Strategy<Value = Fileset> {
    let file = (any_path(), any::<bool>(), prop::option::of(4_u64..7), any_link());
    let file = file.prop_map(|(path, is_client_path_of_link, size, link)| File {
        client_path: path.trim_start_matches('/').to_owned(),
        is_client_path_of_link,
        size,
        hash: None,
        link,
    });
    let mark = (any::<bool>(), NUMBER..NUMBER + 2, 4_u64..6).prop_map(|(is_collection, number, size)| Mark {
        is_collection,
        number,
        version: Version { size, ..VERSION },
    });
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (
        7_u64..10,
        prop::option::of(mark),
        prop::option::of(any_path()),
        prop::collection::vec(file, 0..3),
        flags,
    )
        .prop_map(|(number, mark, path, files, (is_refused, has_images, is_open))| Fileset {
            id: id(number),
            mark,
            is_refused,
            path,
            has_images,
            is_open,
            count: files.len() as u64,
            files,
        })
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let state = prop::option::of(prop::sample::select(State::ALL.to_vec()));
    let bytes = prop::option::of(prop::sample::select(vec![
        Bytes::Recorded,
        Bytes::SameBytes,
        Bytes::Other,
        Bytes::Unrecorded,
        Bytes::Empty,
        Bytes::Unreadable,
        Bytes::NoGood,
    ]));
    let seen = prop::collection::vec((any_path(), 4_u64..7, any::<bool>()), 0..3);
    let omero =
        prop::option::of((prop::option::of(any_fileset()), prop::collection::vec(any_fileset(), 0..3)));
    let flags = prop::collection::vec(any::<bool>(), 6);
    (state, bytes, seen, omero, prop::option::of(7_u64..10), prop::option::of(any_path()), flags).prop_map(
        |(state, bytes, seen, omero, fileset, place, flags)| Facts {
            is_collection: flags[0],
            recorded: Recorded {
                state,
                version: flags[1].then_some(VERSION),
                place: place.map(|place| Print::of(place.as_bytes())),
                fileset: fileset.and_then(OmeroId::from_number),
                is_member: flags[2],
                ..Recorded::default()
            },
            filesets: usize::from(fileset.is_some()),
            bytes,
            written: flags[3],
            seen: seen
                .into_iter()
                .map(|(path, size, is_good)| Seen { path, size, checksum: None, is_good })
                .collect(),
            is_watched: flags[4],
            is_awaited: flags[5],
            omero: omero.map_or(Omero::NotAsked, |(own, others)| Omero::Asked { own, others }),
            ..healthy()
        },
    )
}

proptest! {
    #[test]
    fn a_link_is_pointed_only_if_it_is_ours_and_a_good_replica_has_the_imported_bytes(facts in any_facts()) {
        for finding in examine(&facts) {
            prop_assert!(!finding.sentence.is_empty() && !finding.remedy.is_empty());
            let Some(Repair::Point { from }) = finding.repair else { continue };
            prop_assert!(facts.good().next().is_some() && facts.has_recorded_bytes());
            let Omero::Asked { own: Some(own), .. } = &facts.omero else { panic!("{finding:?}") };
            prop_assert!(own.mark.is_some() && (facts.recorded.is_member || facts.is_ours(own)));
            // A strange file that is there is never taken from under an image.
            let is_free = |target: &String, leads: Leads| {
                leads == Leads::Nowhere
                    || facts.seen.iter().any(|seen| seen.path == *target)
                    || finding.code == Code::OtherPath
            };
            let is_meant = own.files.iter().any(|file| match &file.link {
                Link::To { target, leads } => Print::of(target.as_bytes()) == from && is_free(target, *leads),
                Link::Unknown | Link::Copy | Link::Missing => false,
            });
            prop_assert!(is_meant);
        }
    }

    #[test]
    fn nothing_is_said_of_omero_where_it_was_not_asked(facts in any_facts()) {
        let of_irods = [
            Code::Moved, Code::OtherBytes, Code::NoGoodReplica, Code::RecordBroken, Code::Abandoned, Code::OtherUser,
        ];
        let found = examine(&Facts { omero: Omero::NotAsked, ..facts });
        prop_assert!(found.iter().all(|f| of_irods.contains(&f.code)), "{found:?}");
    }

    #[test]
    fn of_one_data_object_nothing_is_found_twice(facts in any_facts()) {
        let found = examine(&facts);
        for (i, finding) in found.iter().enumerate() {
            prop_assert!(!found[..i].contains(finding) || finding.code == Code::Leftover || others_twice(&facts));
        }
    }
}

/// Whether one fileset was given several times, as OMERO never does.
fn others_twice(facts: &Facts) -> bool {
    let Omero::Asked { others, .. } = &facts.omero else { return false };
    others.iter().enumerate().any(|(i, one)| others[..i].iter().any(|other| other.id == one.id))
}
