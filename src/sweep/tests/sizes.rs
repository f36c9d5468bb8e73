//! What a burst costs, counted: the bounds that `script/bench` measures on a larger scale.

use super::*;

#[test]
fn a_put_into_a_marked_collection_costs_one_look_at_the_mark_and_the_first_one_a_few_calls() {
    let w = world();
    event(&w.catalog, &w.config, w.clock.now());
    let first = w.catalog.calls.get();
    assert!(first <= 8, "{first} calls");
    for _ in 0..10_000 {
        event(&w.catalog, &w.config, w.clock.now());
    }
    assert_eq!(w.catalog.calls.get() - first, 10_000);
    assert_eq!((w.catalog.marks.borrow().len(), w.catalog.sweeps()), (1, 1));
}

#[test]
fn the_calls_of_a_sweep_grow_no_faster_than_its_data() {
    let calls = |files: u64| {
        let w = world();
        for n in 1..=files {
            w.catalog.put(n, &format!("{n}.tif"), "bob");
        }
        w.catalog.event(&w.config);
        w.wait(QUIET);
        let before = w.catalog.calls.get();
        assert_eq!(w.sweep().unwrap().skipped, usize::try_from(files).unwrap());
        w.catalog.calls.get() - before
    };
    let (few, many) = (calls(1_000), calls(10_000));
    // Ten times the data is ten times the records and the pages; what is once for the sweep stays once.
    assert!(many < 10 * few, "{few} calls for 1,000 files, {many} for 10,000");
    assert!(few < 1_100, "{few} calls for 1,000 files of which each gets one record");
}

/// So many recorded files of a collection, the last of which was imported so long ago that nothing of it is looked at again.
fn recorded(w: &World, files: u64) {
    for n in 1..=files {
        w.put(n, &format!("{n}.tif"), "alice");
    }
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().imported as u64, files);
    w.wait(100_000);
    // All is read once more: now it is at rest.
    super::rules::due_anyway(w);
    w.sweep().unwrap();
}

#[test]
fn a_new_file_beside_many_that_are_at_rest_is_read_alone() {
    let w = world();
    recorded(&w, 20);
    w.put(21, "new.tif", "alice");
    w.wait(QUIET);
    w.catalog.read.set(0);
    assert_eq!(w.sweep().unwrap().imported, 1);
    // The survey reads it, and so does the decision.
    assert!(w.catalog.read.get() <= 4, "{} replicas were read", w.catalog.read.get());
    assert_eq!(w.catalog.state("new.tif"), Some(State::Imported));
}

#[test]
fn an_overwrite_beside_many_that_are_at_rest_is_seen() {
    let w = world();
    recorded(&w, 20);
    {
        let mut replicas = w.catalog.replicas.borrow_mut();
        (replicas[3].modify_time, replicas[3].size) = (w.clock.now(), replicas[3].size + 1);
    }
    w.catalog.event(&w.config);
    w.wait(QUIET);
    w.catalog.read.set(0);
    assert_eq!(w.sweep().unwrap().stale, 1);
    assert!(w.catalog.read.get() <= 4, "{} replicas were read", w.catalog.read.get());
}

#[test]
fn what_was_changed_without_a_sign_of_it_is_found_when_all_is_read() {
    for (what, asks, wait) in [("moved in", true, QUIET), ("changed by hand", false, 90_000)] {
        let w = world();
        recorded(&w, 20);
        // With the number and the time of old data.
        let mut replica = w.catalog.replica(21, &format!("{COLLECTION}/old.tif"), "alice");
        replica.data_id = DataId::from_number(500_000).unwrap();
        replica.modify_time = NOW - 100_000;
        w.put(1_000_000, "a.tif", "alice");
        w.wait(QUIET);
        w.sweep().unwrap();
        w.wait(100_000 * u64::from(!asks) + 1);
        super::rules::due_anyway(&w);
        w.sweep().unwrap();
        w.catalog.replicas.borrow_mut().push(replica);
        if asks {
            due::ask_for_all(&w.catalog, &w.config.attributes, &collection()).unwrap();
        }
        w.wait(wait);
        super::rules::due_anyway(&w);
        assert_eq!(w.sweep().unwrap().imported, 1, "{what}");
        assert_eq!(w.catalog.state("old.tif"), Some(State::Imported), "{what}");
    }
}

#[test]
fn where_files_may_belong_together_all_are_read() {
    let w = world();
    recorded(&w, 20);
    w.put(21, "x.companion.ome", "alice");
    w.put(22, "x.ome.tif", "alice");
    w.importer.sets.borrow_mut().insert(
        "/vault/home/alice/run1/x.ome.tif".to_owned(),
        "/vault/home/alice/run1/x.companion.ome".to_owned(),
    );
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().imported, 2);
    assert_eq!(w.catalog.value("x.ome.tif", "::member_of"), w.catalog.value("x.companion.ome", "::fileset"));
}

#[test]
fn what_agents_left_is_taken_back_in_as_many_collections_as_there_is_room_for() {
    const COLLECTIONS: u64 = 12;
    let w = world_of(|c| c["max_queued_sweeps"] = json!(4));
    let path = |n: u64| LogicalPath::parse(format!("/z/home/alice/left{n}").as_bytes()).unwrap();
    for n in 0..COLLECTIONS {
        w.catalog.others.borrow_mut().insert(600 + n, (path(n), Vec::new()));
        w.catalog.put_into(600 + n, 100 + n, "a.tif");
        let importing = Triple::new("irods::omero::state", "importing", 1);
        let object = path(n).join(b"a.tif").unwrap();
        w.catalog.avus.borrow_mut().insert(object.as_bytes().to_vec(), BTreeSet::from([importing]));
    }
    let mut rounds = 0;
    while w.sweeper().collect().unwrap().goes_on {
        assert!(w.catalog.sweeps() <= 4, "{} sweeps", w.catalog.sweeps());
        assert!(
            w.catalog.queued.borrow().iter().any(|job| job.text == due::COLLECT),
            "the next look is queued"
        );
        // They wait for an OMERO that is away, so the records stay; but their turn is over.
        w.catalog.queued.borrow_mut().clear();
        rounds += 1;
        assert!(rounds < 20, "it comes to an end");
    }
    assert!(rounds > 1);
    let marked = w.catalog.marks.borrow().iter().filter(|(_, a, _)| a.ends_with("::due")).count();
    assert_eq!(marked as u64, COLLECTIONS);
}
