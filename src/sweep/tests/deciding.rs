//! One decision, whoever asks: the sweep reads again whatever the decision acts on, and what failed is tried again when
//! what it failed for has changed.

use super::*;
use irods_omero_model::record::Cause;

/// Sets the AVUs of a data object.
fn set(w: &World, name: &str, triples: &[(&str, &str, &str)]) {
    let triples = triples.iter().map(|(a, v, u)| Triple::new(&format!("irods::omero::{a}"), v, u));
    w.catalog.avus.borrow_mut().insert(format!("{COLLECTION}/{name}").into_bytes(), triples.collect());
}

/// The cause in the record.
fn cause(w: &World, name: &str) -> Option<Cause> {
    let triples = w.catalog.avus_of(format!("{COLLECTION}/{name}").as_bytes());
    Record { triples, ..Record::default() }.cause(&w.config.attributes)
}

/// Records of every kind, of a data object that was written at [`NOW`] with 10 bytes.
fn records() -> Vec<Vec<(&'static str, &'static str, &'static str)>> {
    let far = "1900000000";
    let states = [None].into_iter().chain(State::ALL.map(Some));
    let mut all = Vec::new();
    for (state, cause) in states.flat_map(|s| ["", "bytes", "target 0"].map(|c| (s, c))) {
        for version in ["", "1700000000:10", "1600000000:10", "1700000000:11", "x"] {
            for proof in ["", "replica 0 in 100", "replica 0 in 7", "sha2:x"] {
                for more in [
                    None,
                    Some(("retry", far, "1700000000")),
                    Some(("ignored", "alice#z", "")),
                    Some(("fileset", "5", "o")),
                    Some(("job", "k", "a1")),
                ] {
                    let mut record = vec![("reason", "why", cause)];
                    record.extend(state.map(|s| ("state", s.as_str(), "0")));
                    record.extend((!version.is_empty()).then_some(("version", version, proof)));
                    record.extend(more);
                    all.push(record);
                }
            }
        }
    }
    all
}

/// What the replicas of such a data object may be like.
fn replicas(w: &World) -> Vec<Vec<Replica>> {
    let good = w.catalog.replica(1, &format!("{COLLECTION}/a.tif"), "alice");
    let second = |status| Replica { number: 1, status, ..good.clone() };
    vec![
        vec![good.clone()],
        vec![Replica { fault: Some("x".to_owned()), modify_time: 0, ..good.clone() }],
        vec![Replica { size: 0, ..good.clone() }],
        vec![second(ReplicaStatus::Stale)],
        vec![second(ReplicaStatus::Intermediate)],
        vec![good.clone(), second(ReplicaStatus::Intermediate)],
        vec![Replica { number: 1, ..good.clone() }],
        vec![Replica { modify_time: NOW + 1_000_000, ..good.clone() }],
    ]
}

#[test]
fn nothing_that_the_decision_would_act_on_is_left_out_when_a_collection_is_read() {
    let (mut acted, mut rested) = (0, 0);
    for rule in ["report", "reimport"] {
        let w = world_of(|c| c["on_overwrite"] = json!(rule));
        w.wait(QUIET);
        let sweeper = w.sweeper();
        let scope = sweeper.scope(id(), &collection()).unwrap().unwrap();
        let at = collection();
        let place = Place { collection: &at, root: scope.root };
        for there in replicas(&world()) {
            *w.catalog.replicas.borrow_mut() = there;
            for record in records() {
                set(&w, "a.tif", &record);
                let survey = sweeper.survey(id(), &collection(), &scope).unwrap();
                let one = DataId::parse("1").unwrap();
                let mut decider = Decider::new(&w.config, &w.catalog, &scope, &survey, place);
                let plan = decider.plans(id(), &[one]).unwrap().remove(0);
                let (is_todo, is_later) = (survey.todo.contains(&one), survey.later.contains(&one));
                assert!(!(is_todo && is_later), "{record:?}");
                match plan {
                    Plan::Do(_) => assert!(is_todo, "{record:?} {:?}", w.catalog.replicas.borrow()),
                    Plan::Waits(_) => assert!(is_later, "{record:?} {:?}", w.catalog.replicas.borrow()),
                    // Of what is read again there may be nothing new to say.
                    Plan::Rest(_) => assert!(!is_later, "{record:?} {:?}", w.catalog.replicas.borrow()),
                }
                acted += u32::from(is_todo);
                rested += u32::from(!is_todo);
            }
        }
    }
    assert!(acted > 1_000 && rested > 1_000, "{acted} {rested}");
}

#[test]
fn whatever_a_record_says_the_sweep_ends_and_the_record_says_why() {
    for rule in ["report", "reimport"] {
        let w = world_of(|c| c["on_overwrite"] = json!(rule));
        w.wait(QUIET);
        let all =
            replicas(&world()).into_iter().flat_map(|t| records().into_iter().map(move |r| (t.clone(), r)));
        // Some of each: the decision itself is tried with all of them.
        for (there, record) in all.step_by(17) {
            *w.catalog.replicas.borrow_mut() = there;
            w.importer.has.borrow_mut().clear();
            set(&w, "a.tif", &record);
            w.sweep().unwrap();
            let (state, reason) = (w.catalog.state("a.tif"), w.catalog.value("a.tif", "::reason"));
            let is_quiet = matches!(state, None | Some(State::Imported));
            assert!(is_quiet || reason.is_some(), "{state:?} without a reason, of {record:?}");
        }
    }
}

#[test]
fn a_target_that_could_not_be_told_is_tried_again_when_it_can() {
    let target = |text: &str| {
        let text = json!(text);
        world_of(move |c| c["target"] = text.clone())
    };
    let w = target("Dataset:name:{avu:project}");
    w.put(1, "a.tif", "alice");
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().failed, 1);
    assert_eq!(cause(&w, "a.tif"), Some(Cause::Target));
    // Looked at again, and nothing is new: nothing is written.
    assert_eq!(w.sweep().unwrap(), Report::default());
    let w = World { config: target("Dataset:name:{user}").config, ..w };
    assert_eq!(w.sweep().unwrap().imported, 1);
}

#[test]
fn a_target_that_omero_refused_is_tried_again_when_it_is_another() {
    let w = world_of(|c| c["target"] = json!("Dataset:id:7"));
    *w.importer.refused.borrow_mut() = Some("Dataset:id:7".to_owned());
    w.put(1, "a.tif", "alice");
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().failed, 1);
    assert_eq!(cause(&w, "a.tif"), Some(Cause::Target));
    for _ in 0..3 {
        assert_eq!(w.sweep().unwrap(), Report::default());
    }
    assert_eq!(w.importer.batches.borrow().len(), 1, "the same target is not asked for again");
    let w = World { config: world_of(|c| c["target"] = json!("Dataset:id:8")).config, ..w };
    assert_eq!(w.sweep().unwrap().imported, 1);
}

#[test]
fn what_failed_for_its_name_is_imported_once_it_is_renamed_with_the_same_time() {
    let w = world_of(|_| ());
    w.put(1, "a\nb.tif", "alice");
    let (old, new) = (w.catalog.replicas.borrow()[0].clone(), format!("{COLLECTION}/a.tif"));
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().failed, 1);
    assert_eq!(cause(&w, "a\nb.tif"), Some(Cause::Name));
    let record = w.catalog.avus.borrow_mut().remove(format!("{COLLECTION}/a\nb.tif").as_bytes()).unwrap();
    w.catalog.avus.borrow_mut().insert(new.clone().into_bytes(), record);
    let moved = Replica { modify_time: old.modify_time, ..w.catalog.replica(1, &new, "alice") };
    *w.catalog.replicas.borrow_mut() = vec![moved];
    assert_eq!(w.sweep().unwrap().imported, 1);
}

#[test]
fn what_failed_for_its_bytes_waits_for_others_and_says_so_in_a_word() {
    let w = world_of(|_| ());
    w.importer.unknown_format.set(true);
    w.put(1, "a.tif", "alice");
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().failed, 1);
    assert_eq!(cause(&w, "a.tif"), Some(Cause::Bytes));
    w.importer.unknown_format.set(false);
    assert_eq!(w.sweep().unwrap(), Report::default());
    w.catalog.replicas.borrow_mut()[0].size = 11;
    assert_eq!(w.sweep().unwrap().imported, 1);
}

#[test]
fn a_record_of_an_older_version_without_a_cause_is_as_final_as_it_was() {
    let w = world_of(|_| ());
    w.put(1, "a.tif", "alice");
    set(
        &w,
        "a.tif",
        &[("state", "failed", "1"), ("reason", "no", ""), ("version", "1700000000:10", "replica 0 in 100")],
    );
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap(), Report::default());
    assert_eq!(w.catalog.state("a.tif"), Some(State::Failed));
}

#[test]
fn imported_data_without_a_good_replica_is_stale_until_it_has_one_again() {
    let w = world_of(|_| ());
    w.put(1, "a.tif", "alice");
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().imported, 1);
    for broken in [
        |r: &mut Replica| r.status = ReplicaStatus::Stale,
        |r: &mut Replica| r.fault = Some("its modify time is no number".to_owned()),
    ] {
        let whole = w.catalog.replicas.borrow()[0].clone();
        broken(&mut w.catalog.replicas.borrow_mut()[0]);
        assert_eq!(w.sweep().unwrap().stale, 1);
        assert_eq!(
            (w.catalog.state("a.tif"), cause(&w, "a.tif")),
            (Some(State::Stale), Some(Cause::Catalog))
        );
        assert!(w.catalog.value("a.tif", "::fileset").is_some(), "what names the images is kept");
        *w.catalog.replicas.borrow_mut() = vec![whole];
        w.sweep().unwrap();
        assert_eq!(
            (w.catalog.state("a.tif"), w.catalog.value("a.tif", "::reason")),
            (Some(State::Imported), None)
        );
    }
    assert_eq!(w.filesets(), 1);
}

#[test]
fn imported_data_that_was_truncated_is_stale_under_each_rule() {
    for rule in ["report", "reimport"] {
        let w = world_of(|c| c["on_overwrite"] = json!(rule));
        w.put(1, "a.tif", "alice");
        w.wait(QUIET);
        assert_eq!(w.sweep().unwrap().imported, 1);
        w.catalog.replicas.borrow_mut()[0].size = 0;
        assert_eq!(w.sweep().unwrap().stale, 1, "{rule}");
        assert!(w.catalog.value("a.tif", "::reason").unwrap().contains("empty"), "{rule}");
    }
}

#[test]
fn a_directory_whose_time_is_ahead_of_our_clock_waits_too() {
    let (w, image) = super::rules::zarr_world(|_| ());
    let far = NOW + 1_000_000;
    for (_, (_, replicas)) in w.catalog.others.borrow_mut().iter_mut() {
        for replica in replicas {
            replica.modify_time = far;
        }
    }
    w.wait(QUIET);
    let report = w.sweeper().sweep(image).unwrap();
    assert_eq!((report.imported, report.pending, report.again_in), (0, 1, Some(Duration::from_secs(QUIET))));
    w.wait(QUIET - 1);
    let early = w.sweeper().sweep(image).unwrap();
    assert_eq!((early.imported, early.again_in), (0, Some(Duration::from_secs(1))));
    w.wait(1);
    assert_eq!(w.sweeper().sweep(image).unwrap().imported, 1);
}

#[test]
fn a_record_that_was_copied_from_other_data_is_replaced_by_one_of_its_own() {
    let w = world();
    w.put(1, "a.tif", "alice");
    w.put(2, "b.tif", "alice");
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().imported, 2);
    let of = |name: &str| w.catalog.avus_of(format!("{COLLECTION}/{name}").as_bytes());
    let (a, b) = (of("a.tif"), of("b.tif"));
    assert_eq!((a.len(), b.len()), (4, 4), "{a:?}");
    // As `imeta cp` of an administrator leaves it on new data.
    w.put(3, "c.tif", "alice");
    let path = format!("{COLLECTION}/c.tif").into_bytes();
    w.catalog.avus.borrow_mut().insert(path, a.iter().cloned().collect());
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().imported, 1);
    let c = of("c.tif");
    assert_eq!((c.len(), w.filesets()), (4, 3), "{c:?}");
    assert!(c.iter().any(|t| t.attribute.ends_with("::version") && t.value.contains(" id=3 ")), "{c:?}");
    // Beside a record of its own too.
    w.catalog.avus.borrow_mut().get_mut(format!("{COLLECTION}/b.tif").as_bytes()).unwrap().extend(a);
    super::rules::due_anyway(&w);
    w.wait(QUIET);
    w.sweep().unwrap();
    let again = of("b.tif");
    assert_eq!((again.len(), w.catalog.state("b.tif")), (4, Some(State::Imported)), "{again:?}");
    assert!(again.iter().any(|t| t.value.contains(" id=2 ")), "{again:?}");
}
