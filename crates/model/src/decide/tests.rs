//! The tables, row by row and as a whole: every value of every fact with every value of every other.

use super::*;

const NOW: UnixTime = 1_000;

fn standings() -> Vec<Standing> {
    let causes: Vec<Option<Cause>> = Cause::ALL.into_iter().map(Some).chain([None]).collect();
    let mut all = vec![
        Standing::New,
        Standing::Pending(None),
        Standing::Pending(Some(NOW - 1)),
        Standing::Pending(Some(NOW)),
        Standing::Pending(Some(NOW + 1)),
        Standing::Importing,
        Standing::AtAgent,
        Standing::Imported,
        Standing::Skipped,
        Standing::Gone,
    ];
    all.extend(causes.iter().map(|c| Standing::Failed(*c)));
    all.extend(causes.iter().map(|c| Standing::Stale(*c)));
    all
}

const BYTES: [Bytes; 7] = [
    Bytes::Recorded,
    Bytes::SameBytes,
    Bytes::Other,
    Bytes::Unrecorded,
    Bytes::Empty,
    Bytes::Unreadable,
    Bytes::NoGood,
];
const WATCHED: [Watched; 3] = [Watched::Yes, Watched::Unclear, Watched::No];
const QUIET: [Quiet; 4] = [Quiet::Settled, Quiet::Unsettled, Quiet::InSet, Quiet::Ahead];
const WISHES: [Option<Wish>; 3] = [None, Some(Wish::TryAgain), Some(Wish::LeaveAlone)];
const RULES: [OnOverwrite; 2] = [OnOverwrite::Report, OnOverwrite::Reimport];
const BOTH: [bool; 2] = [false, true];

/// Calls with everything there may be.
fn each(mut visit: impl FnMut(Facts, OnOverwrite)) {
    for standing in standings() {
        for bytes in BYTES {
            for (watched, quiet) in WATCHED.iter().flat_map(|w| QUIET.map(|q| (*w, q))) {
                for bits in 0..8 {
                    let (ignored, written, renewed) = (bits & 1 > 0, bits & 2 > 0, bits & 4 > 0);
                    for (wish, rule) in WISHES.iter().flat_map(|w| RULES.map(|r| (*w, r))) {
                        visit(
                            Facts { standing, ignored, bytes, written, watched, renewed, quiet, wish },
                            rule,
                        );
                    }
                }
            }
        }
    }
}

fn state_of(standing: Standing) -> Option<State> {
    Some(match standing {
        Standing::New => return None,
        Standing::Pending(_) => State::Pending,
        Standing::Importing | Standing::AtAgent => State::Importing,
        Standing::Imported => State::Imported,
        Standing::Failed(_) => State::Failed,
        Standing::Skipped => State::Skipped,
        Standing::Stale(_) => State::Stale,
        Standing::Gone => State::Gone,
    })
}

/// The record after a decision was followed: its state and whether it says why.
fn after(facts: &Facts, decision: Decision) -> (Option<State>, bool) {
    match decision {
        // The record stays, and whoever asks is told why.
        Decision::Rest(rest) => (state_of(facts.standing), !rest.sentence().is_empty()),
        // A mark and a job stay.
        Decision::Wait(_) => (state_of(facts.standing), true),
        Decision::Say(state, why) => {
            let needs_cause = matches!(state, State::Failed | State::Skipped | State::Stale);
            (Some(state), why.cause().is_some() == needs_cause)
        }
        Decision::Confirm => (Some(State::Imported), true),
        Decision::Wanted { .. } => (Some(State::Importing), true),
        Decision::Reopen => (Some(State::Pending), true),
        Decision::LeaveAlone => (Some(State::Skipped), true),
    }
}

#[test]
fn from_every_state_every_event_ends_in_a_state_that_says_why() {
    let mut seen = 0_u32;
    each(|facts, rule| {
        let decision = decide(&facts, rule, NOW);
        let (state, says_why) = after(&facts, decision);
        assert!(says_why, "{facts:?} {rule:?} {decision:?}");
        // Without a record there is only what is empty, or waits under a mark, or is not watched, or was asked for.
        if state.is_none() {
            let has_no_need = matches!(
                decision,
                Decision::Rest(Rest::Empty | Rest::NotWatched | Rest::NoRecord | Rest::Ignored)
                    | Decision::Wait(_)
            );
            assert!(has_no_need, "{facts:?} {decision:?}");
        }
        seen += 1;
    });
    assert_eq!(seen, u32::try_from(standings().len()).unwrap() * 7 * 12 * 8 * 6);
}

#[test]
fn what_is_in_omero_is_never_forgotten_and_only_told_as_stale_or_imported_anew() {
    each(|facts, rule| {
        if !matches!(facts.standing, Standing::Imported | Standing::Stale(_)) || facts.wish.is_some() {
            return;
        }
        match decide(&facts, rule, NOW) {
            Decision::Rest(_)
            | Decision::Wait(_)
            | Decision::Confirm
            | Decision::Wanted { anew: true }
            | Decision::Say(State::Stale, _) => {}
            // It is to be imported anew, and that cannot be done now: the fileset is one of a version before.
            Decision::Say(State::Skipped | State::Pending, _) => {
                assert!(
                    facts.renewed || rule == OnOverwrite::Reimport || facts.bytes == Bytes::Unrecorded,
                    "{facts:?}"
                );
            }
            other => panic!("{facts:?} {rule:?} {other:?}"),
        }
    });
}

#[test]
fn nothing_is_imported_that_is_empty_unreadable_written_unquiet_unwatched_or_with_somebody_else() {
    each(|facts, rule| {
        if let Decision::Wanted { .. } = decide(&facts, rule, NOW) {
            let can_be = !matches!(facts.bytes, Bytes::Empty | Bytes::Unreadable | Bytes::NoGood)
                && !facts.written
                && (facts.quiet == Quiet::Settled
                    || (facts.quiet == Quiet::Ahead && facts.bytes == Bytes::Recorded))
                && facts.watched == Watched::Yes
                && !facts.ignored
                && facts.standing != Standing::AtAgent;
            assert!(can_be, "{facts:?}");
        }
    });
}

#[test]
fn only_a_wish_reopens_or_leaves_alone_and_none_touches_what_is_in_omero_or_on_its_way() {
    each(|facts, rule| {
        let decision = decide(&facts, rule, NOW);
        let of_a_wish = matches!(decision, Decision::Reopen | Decision::LeaveAlone);
        let is_safe = matches!(facts.standing, Standing::Imported | Standing::Importing | Standing::AtAgent);
        match facts.wish {
            None => assert!(!of_a_wish, "{facts:?} {decision:?}"),
            Some(_) if is_safe => assert!(matches!(decision, Decision::Rest(_)), "{facts:?} {decision:?}"),
            // Whatever else is so, a wish is answered by the state alone.
            Some(wish) => {
                let plain = Facts { bytes: Bytes::Other, quiet: Quiet::Settled, ..facts };
                assert_eq!(decide(&plain, rule, NOW), decision, "{wish:?} {facts:?}");
            }
        }
    });
}

#[test]
fn a_decision_that_was_followed_is_not_made_again() {
    each(|facts, rule| {
        if facts.wish.is_some() || facts.quiet != Quiet::Settled {
            return;
        }
        let first = decide(&facts, rule, NOW);
        let standing = match first {
            Decision::Say(State::Stale, why) => Standing::Stale(why.cause()),
            Decision::Say(State::Failed, why) => Standing::Failed(why.cause()),
            Decision::Say(State::Gone, _) => Standing::Gone,
            Decision::Say(State::Skipped, _) => Standing::Skipped,
            Decision::Confirm => Standing::Imported,
            _ => return,
        };
        // The record is about these bytes then, but for stale data, whose record is about those in OMERO.
        let bytes = match (first, facts.bytes) {
            (
                Decision::Confirm | Decision::Say(State::Failed, _),
                Bytes::SameBytes | Bytes::Other | Bytes::Unrecorded,
            ) => Bytes::Recorded,
            (_, bytes) => bytes,
        };
        let second = decide(&Facts { standing, bytes, ..facts }, rule, NOW);
        assert!(second == first || !second.acts(), "{facts:?} {first:?} {second:?}");
    });
}

#[test]
fn data_whose_time_is_ahead_of_our_clock_waits_once_for_each_version() {
    let facts = |standing, bytes| Facts {
        quiet: Quiet::Ahead,
        bytes,
        standing,
        ..Facts::of_record(&Recorded::default(), false)
    };
    for rule in RULES {
        let told = |standing, bytes| decide(&facts(standing, bytes), rule, NOW);
        let waits = Decision::Say(State::Pending, Why::Ahead);
        assert_eq!(told(Standing::New, Bytes::Unrecorded), waits);
        let (soon, over) = (Standing::Pending(Some(NOW + 1)), Standing::Pending(Some(NOW)));
        assert_eq!(told(soon, Bytes::Recorded), Decision::Wait(Wait::Until(NOW + 1)));
        assert_eq!(told(soon, Bytes::Other), waits, "it was written again");
        assert_eq!(told(over, Bytes::Recorded), Decision::Wanted { anew: false });
        assert_eq!(told(over, Bytes::Other), waits);
    }
}

#[test]
fn what_failed_is_looked_at_again_when_what_it_failed_for_may_have_changed() {
    let failed = |cause, bytes| Facts {
        standing: Standing::Failed(cause),
        ignored: false,
        bytes,
        written: false,
        watched: Watched::Yes,
        renewed: false,
        quiet: Quiet::Settled,
        wish: None,
    };
    let wanted = Decision::Wanted { anew: false };
    for rule in RULES {
        let told = |cause, bytes| decide(&failed(cause, bytes), rule, NOW);
        // The bytes, and what is not known: other bytes.
        for cause in [None, Some(Cause::Bytes), Some(Cause::Ours), Some(Cause::Set)] {
            assert_eq!(told(cause, Bytes::Recorded), Decision::Rest(Rest::Failed), "{cause:?}");
            assert_eq!(told(cause, Bytes::Other), wanted, "{cause:?}");
        }
        // What settle is asked about anew, which costs nothing where the same is found.
        for cause in [Cause::Name, Cause::Place, Cause::Target, Cause::Mapping, Cause::Tag, Cause::Catalog] {
            assert_eq!(told(Some(cause), Bytes::Recorded), wanted, "{cause:?}");
        }
    }
}

#[test]
fn the_rules_of_a_new_version() {
    let imported = |bytes, renewed| Facts {
        standing: Standing::Imported,
        ignored: false,
        bytes,
        written: false,
        watched: Watched::Yes,
        renewed,
        quiet: Quiet::Settled,
        wish: None,
    };
    let stale = |why| Decision::Say(State::Stale, why);
    for (bytes, renewed, report, reimport) in [
        (Bytes::Recorded, false, Decision::Rest(Rest::InOmero), Decision::Rest(Rest::InOmero)),
        (Bytes::Recorded, true, Decision::Wanted { anew: true }, Decision::Wanted { anew: true }),
        (Bytes::SameBytes, false, Decision::Confirm, Decision::Confirm),
        (Bytes::Other, false, stale(Why::Changed), Decision::Wanted { anew: true }),
        (Bytes::Empty, false, stale(Why::Empty), stale(Why::Empty)),
        (Bytes::NoGood, false, stale(Why::NoGood), stale(Why::NoGood)),
        (Bytes::Unreadable, false, stale(Why::Unreadable), stale(Why::Unreadable)),
    ] {
        let facts = imported(bytes, renewed);
        assert_eq!(decide(&facts, OnOverwrite::Report, NOW), report, "{facts:?}");
        assert_eq!(decide(&facts, OnOverwrite::Reimport, NOW), reimport, "{facts:?}");
    }
    // Data that was out of order and is again what was imported is imported, and what came late stays so.
    for cause in [Some(Cause::Catalog), Some(Cause::Bytes), Some(Cause::Set), None] {
        let facts = Facts { standing: Standing::Stale(cause), ..imported(Bytes::Recorded, false) };
        let is_back = matches!(cause, Some(Cause::Catalog | Cause::Bytes));
        let wanted = if is_back { Decision::Confirm } else { Decision::Rest(Rest::Stale) };
        assert_eq!(decide(&facts, OnOverwrite::Report, NOW), wanted, "{cause:?}");
    }
}

#[test]
fn a_fileset_is_renewed_only_by_what_is_itself_imported_anew() {
    each(|facts, rule| {
        let calm =
            Facts { watched: Watched::Yes, quiet: Quiet::Settled, written: false, wish: None, ..facts };
        if renews(&facts, rule) == Renews::Fileset {
            assert_eq!(decide(&calm, rule, NOW), Decision::Wanted { anew: true }, "{calm:?}");
        }
    });
}

#[test]
fn the_catalog_is_asked_only_for_what_the_settlement_needs() {
    let mapped = [Mapped::Yes, Mapped::No, Mapped::NotNow];
    let sights = [Sight::Visible, Sight::AfterCopy, Sight::BadName, Sight::Nowhere];
    let aims = [Aim::Known, Aim::RefusedBefore, Aim::Unknown];
    let pairs = mapped.iter().flat_map(|m| sights.map(|s| (*m, s)));
    for ((m, s), a) in pairs.flat_map(|pair| aims.map(|a| (pair, a))) {
        let whole = settle(Some(m), s, Some(a));
        assert!(!matches!(whole, Settlement::Ask(_)), "{m:?} {s:?} {a:?}");
        // What was not asked for does not matter, and what is asked for does.
        assert_eq!(settle(None, s, Some(a)), Settlement::Ask(Question::Mapping));
        match settle(Some(m), s, None) {
            Settlement::Ask(question) => assert_eq!(question, Question::Target),
            settled => assert!(aims.iter().all(|a| settle(Some(m), s, Some(*a)) == settled), "{m:?} {s:?}"),
        }
        if whole == Settlement::Import {
            assert_eq!((m, s, a), (Mapped::Yes, Sight::Visible, Aim::Known));
        }
        if let Settlement::Say(state, why) = whole {
            assert!(matches!(state, State::Failed | State::Skipped) && why.cause().is_some(), "{whole:?}");
        }
    }
}

#[test]
fn a_record_read_avu_by_avu_is_the_record() {
    let names = Attributes::default();
    let id = |n: &str| OmeroId::parse(n).unwrap();
    let triples = vec![
        Triple::new(&names.state, "failed", 3),
        Triple::new(&names.reason, "why", "target 0123"),
        Triple::new(&names.version, "5:6", "sha2:x"),
        Triple::new(&names.retry, 9, 8),
        Triple::new(&names.member_of, 4, "o"),
        Triple::new(&names.previous, 2, "o"),
        Triple::new(&names.previous, 3, "o"),
        Triple::new(&names.ignored, "a#z", ""),
    ];
    let record = Record { triples, ..Record::default() };
    let read = Recorded::of(&names, &record);
    assert_eq!((read.state, read.attempts), (record.state(&names), record.attempts(&names)));
    assert_eq!((read.version, &read.proof), (record.version(&names), &record.proof(&names)));
    assert_eq!((read.cause, read.retry), (Some(Cause::Target), record.retry(&names)));
    assert_eq!((read.fileset, read.is_member, read.previous), (Some(id("4")), true, Some(id("3"))));
    assert!(read.is_ignored && !read.has_job);
    assert_eq!(read.standing(true), Standing::Failed(Some(Cause::Target)));
    let importing = Recorded { state: Some(State::Importing), has_job: true, ..Recorded::default() };
    assert_eq!(
        (importing.standing(true), importing.standing(false)),
        (Standing::AtAgent, Standing::Importing)
    );
    for both in BOTH {
        assert_eq!(Recorded::default().standing(both), Standing::New);
    }
}

#[test]
fn replicas_say_the_same_bytes_where_the_record_can_find_them() {
    use crate::names::{CollectionId, DataId};
    let collection = |n: &str| CollectionId::parse(n).unwrap();
    let replica = |number: u32, status, modify_time, size, checksum: Option<&str>| Replica {
        data_id: DataId::parse("1").unwrap(),
        collection: collection("7"),
        name: b"a.tif".to_vec(),
        number,
        status,
        size,
        modify_time,
        fault: None,
        physical_path: Vec::new(),
        hierarchy: String::new(),
        checksum: checksum.map(str::to_owned),
        owner_name: "alice".to_owned(),
        owner_zone: "z".to_owned(),
    };
    let statuses = [ReplicaStatus::Good, ReplicaStatus::Stale, ReplicaStatus::Intermediate];
    let mut singles = Vec::new();
    for (number, status) in (0..2).flat_map(|n| statuses.map(|s| (n, s))) {
        for (time, size) in [(1, 2), (3, 2), (3, 4), (3, 0)] {
            singles.extend([None, Some("x"), Some("y")].map(|sum| replica(number, status, time, size, sum)));
        }
        singles.push(Replica { fault: Some("x".to_owned()), ..replica(number, status, 0, 2, None) });
    }
    let names = Attributes::default();
    let proofs = ["", "x", "replica 0 in 7", "replica 0 in 8"];
    let mut counted = std::collections::BTreeMap::new();
    for proof in proofs {
        let record = Record { triples: vec![Triple::new(&names.version, "1:2", proof)], ..Record::default() };
        let recorded = Recorded::of(&names, &record);
        for (a, b) in singles.iter().flat_map(|a| singles.iter().map(move |b| (a, b))) {
            let all = [a.clone(), b.clone()];
            let seen = Replicas::of(&recorded, &all);
            let bytes = seen.bytes(Some(&recorded));
            *counted.entry(format!("{bytes:?}")).or_insert(0) += 1;
            let good: Vec<&Replica> =
                all.iter().filter(|r| r.status == ReplicaStatus::Good && r.fault.is_none()).collect();
            assert_eq!(
                bytes == Bytes::Recorded,
                good.iter().any(|r| (r.modify_time, r.size) == (1, 2)),
                "{all:?}"
            );
            assert_eq!(matches!(bytes, Bytes::NoGood | Bytes::Unreadable), good.is_empty(), "{all:?}");
            assert_eq!(
                bytes == Bytes::Empty,
                !good.is_empty() && good.iter().all(|r| r.size == 0),
                "{all:?}"
            );
            if bytes == Bytes::SameBytes {
                assert!(recorded.find(&all).is_some(), "{proof} {all:?}");
            }
            if bytes == Bytes::Other {
                assert_eq!(recorded.find(&all), None, "{proof} {all:?}");
            }
            assert_eq!(seen.written, all.iter().any(|r| r.status == ReplicaStatus::Intermediate));
        }
    }
    assert_eq!(counted.len(), 6, "{counted:?}");
}
