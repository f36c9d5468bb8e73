//! Data that leaves before its import or while it runs, and data that comes without anybody's telling.

use super::*;
use std::time::Instant;

const ELSEWHERE: u64 = 200;

/// Moves a data object with its AVUs from the usual collection to another.
fn move_to(catalog: &TestCatalog, name: &str, to: u64) {
    let mut replicas = catalog.replicas.borrow_mut();
    let at = replicas.iter().position(|r| r.name == name.as_bytes()).unwrap();
    let replica = replicas.remove(at);
    catalog.left.borrow_mut().insert(collection().join(name.as_bytes()).unwrap());
    let mut others = catalog.others.borrow_mut();
    let (path, there) = others.get_mut(&to).unwrap();
    there.push(replica);
    let mut avus = catalog.avus.borrow_mut();
    let moved = avus.remove(format!("{COLLECTION}/{name}").as_bytes()).unwrap_or_default();
    avus.insert(format!("{path}/{name}").into_bytes(), moved);
}

fn state_at(w: &World, path: &str) -> Option<State> {
    let avus = w.catalog.avus_of(path.as_bytes());
    avus.iter().find(|t| t.attribute.ends_with("::state")).and_then(|t| State::parse(&t.value))
}

#[test]
fn data_moved_during_its_import_gets_its_record_where_it_is() {
    let w = world();
    w.catalog.make(ELSEWHERE, "/z/home/alice/elsewhere");
    w.put(1, "a.tif", "alice");
    w.wait(QUIET);
    *w.catalog.interrupt.borrow_mut() = Some(Box::new(|_, catalog| {
        if catalog.state("a.tif") == Some(State::Importing) {
            move_to(catalog, "a.tif", ELSEWHERE);
        }
        Ok(())
    }));
    let report = w.sweep().unwrap();
    assert_eq!((report.imported, report.gone), (1, 0));
    assert_eq!(state_at(&w, "/z/home/alice/elsewhere/a.tif"), Some(State::Imported));
    assert_eq!(w.catalog.state("a.tif"), None);
}

#[test]
fn what_waits_without_a_mark_is_found_wherever_it_is_and_gone_where_nothing_is_watched() {
    let w = World { config: agents::config(&["a1"]), ..world() };
    let trash = w.catalog.make(ELSEWHERE, "/z/trash/home/alice");
    for (number, name) in [(1, "pending.tif"), (2, "failed.tif"), (3, "imported.tif"), (4, "importing.tif")] {
        w.catalog.put(number, name, "alice");
        let state = Triple::new("irods::omero::state", name.strip_suffix(".tif").unwrap(), "1");
        let reason = Triple::new("irods::omero::reason", "no reader", "");
        let job = (number == 4).then(|| Triple::new("irods::omero::job", "k", "a1"));
        let path = format!("{COLLECTION}/{name}").into_bytes();
        w.catalog.avus.borrow_mut().insert(path, [state, reason].into_iter().chain(job).collect());
        move_to(&w.catalog, name, ELSEWHERE);
    }
    w.sweeper().sweep_all().unwrap();
    let queued: Vec<String> = w.catalog.queued.borrow().iter().map(|j| j.text.clone()).collect();
    assert!(queued.contains(&due::sweep_text(trash)), "{queued:?}");
    let report = w.sweeper().sweep(trash).unwrap();
    assert_eq!(report.gone, 2);
    let at = |name: &str| state_at(&w, &format!("/z/trash/home/alice/{name}"));
    assert_eq!([at("pending.tif"), at("failed.tif")], [Some(State::Gone); 2]);
    assert_eq!(at("imported.tif"), Some(State::Imported));
    assert_eq!(at("importing.tif"), Some(State::Importing), "an agent is at it");
    let failed = w.catalog.avus_of(b"/z/trash/home/alice/failed.tif");
    assert!(failed.iter().any(|t| t.value.contains("no reader")), "what failed keeps its reason: {failed:?}");
}

/// A world whose catalog tells what has changed, and holds the zone's collection.
fn telling_world(change: impl FnOnce(&mut serde_json::Value)) -> World {
    let w = world_of(change);
    w.catalog.tells_changes.set(true);
    w.catalog.make(1, "/z");
    w
}

#[test]
fn data_nobody_told_of_is_noticed_imported_and_not_noticed_again() {
    let w = telling_world(|_| {});
    w.catalog.make(ELSEWHERE, "/z/home/bob");
    w.catalog.put_into(ELSEWHERE, 9, "not_watched.tif");
    w.catalog.put(1, "a.tif", "alice");
    w.catalog.put(2, "thumbs.db", "alice");
    assert_eq!(w.sweeper().sweep_all().unwrap(), 0, "it queues its sweep itself");
    assert_eq!((w.catalog.sweeps(), w.catalog.has_mark("::due")), (1, true));
    run_queue(&w);
    assert_eq!((w.catalog.state("a.tif"), w.filesets()), (Some(State::Imported), 1));
    w.sweeper().sweep_all().unwrap();
    assert_eq!((w.catalog.sweeps(), w.catalog.has_mark("::due")), (0, false));
}

#[test]
fn what_was_overwritten_without_anybodys_telling_is_noticed() {
    let w = telling_world(|_| {});
    w.put(1, "a.tif", "alice");
    w.wait(QUIET);
    run_queue(&w);
    w.catalog.replicas.borrow_mut()[0].modify_time = w.clock.now();
    w.sweeper().sweep_all().unwrap();
    assert_eq!(w.catalog.sweeps(), 1);
}

#[test]
fn a_directory_format_is_noticed_as_a_whole_until_it_is_in_omero() {
    let w = telling_world(|_| {});
    let unit = w.catalog.make(300, "/z/home/alice/x.zarr");
    w.catalog.make(301, "/z/home/alice/x.zarr/0");
    w.catalog.put_into(300, 1, ".zattrs");
    w.catalog.put_into(301, 2, "0.0");
    w.sweeper().sweep_all().unwrap();
    assert_eq!(jobs(&w, &due::sweep_text(unit)), 1);
    assert_eq!(w.catalog.sweeps(), 1);
    run_queue(&w);
    assert_eq!(w.filesets(), 1);
    w.sweeper().sweep_all().unwrap();
    assert_eq!(w.catalog.sweeps(), 0);
}

#[test]
fn what_there_is_no_room_for_is_noticed_by_a_later_look() {
    // A quarter, or at least one, of the room is kept for trees.
    let w = telling_world(|c| c["max_queued_sweeps"] = json!(3));
    for number in 0..5 {
        w.catalog.make(300 + number, &format!("/z/home/alice/{number}"));
        w.catalog.put_into(300 + number, 1 + number, "a.tif");
    }
    w.sweeper().sweep_all().unwrap();
    assert_eq!(w.catalog.sweeps(), 2);
    for _ in 0..3 {
        w.wait(3_600);
        run_queue(&w);
        w.sweeper().sweep_all().unwrap();
    }
    assert_eq!(w.filesets(), 5);
}

/// Writes a record as a sweep would have left it.
fn record(w: &World, path: &str, state: State) {
    let triple = Triple::new("irods::omero::state", state.as_str(), "1");
    w.catalog.avus.borrow_mut().entry(path.as_bytes().to_vec()).or_default().insert(triple);
}

#[test]
fn what_somebody_asked_to_be_left_alone_stays_so_in_the_trash_and_costs_no_sweep() {
    let w = world();
    let trash = w.catalog.make(ELSEWHERE, "/z/trash/home/alice");
    w.catalog.put_into(ELSEWHERE, 1, "a.tif");
    record(&w, "/z/trash/home/alice/a.tif", State::Skipped);
    let ignored = Triple::new("irods::omero::ignored", "alice#z", "");
    w.catalog.avus.borrow_mut().get_mut(b"/z/trash/home/alice/a.tif".as_slice()).unwrap().insert(ignored);
    w.sweeper().sweep_all().unwrap();
    assert_eq!(w.catalog.sweeps(), 0);
    w.sweeper().sweep(trash).unwrap();
    assert_eq!(state_at(&w, "/z/trash/home/alice/a.tif"), Some(State::Skipped));
}

#[test]
fn in_a_tree_that_was_moved_out_only_collections_with_open_records_are_swept() {
    let w = world();
    let root = w.catalog.make(ELSEWHERE, "/z/elsewhere");
    for number in 1..4 {
        let path = format!("/z/elsewhere/{number}");
        w.catalog.make(ELSEWHERE + number, &path);
        w.catalog.put_into(ELSEWHERE + number, number, "a.tif");
    }
    record(&w, "/z/elsewhere/2/a.tif", State::Failed);
    record(&w, "/z/elsewhere/3/a.tif", State::Imported);
    let path = w.catalog.path_of(root).unwrap();
    w.catalog.set_mark(&path, &w.config.attributes.due_tree, "alice#z").unwrap();
    w.sweeper().sweep(root).unwrap();
    assert_eq!(w.catalog.sweeps(), 1);
    run_queue(&w);
    assert_eq!(state_at(&w, "/z/elsewhere/2/a.tif"), Some(State::Gone));
    assert_eq!(state_at(&w, "/z/elsewhere/3/a.tif"), Some(State::Imported));
}

#[test]
fn what_waits_and_is_tagged_off_itself_is_gone() {
    let w = world();
    w.put(1, "a.tif", "alice");
    w.put(2, "b.tif", "alice");
    record(&w, &format!("{COLLECTION}/a.tif"), State::Pending);
    w.catalog.tag(&format!("{COLLECTION}/a.tif"), "off", "");
    w.wait(QUIET);
    let report = w.sweep().unwrap();
    assert_eq!((report.gone, report.imported), (1, 1));
    assert_eq!((w.catalog.state("a.tif"), w.filesets()), (Some(State::Gone), 1));
}

#[test]
fn a_directory_format_that_was_moved_out_before_its_import_is_gone() {
    let w = world();
    let unit = w.catalog.make(ELSEWHERE, "/z/elsewhere/x.zarr");
    record(&w, "/z/elsewhere/x.zarr", State::Pending);
    assert_eq!(w.sweeper().sweep(unit).unwrap().gone, 1);
    assert_eq!(state_at(&w, "/z/elsewhere/x.zarr"), Some(State::Gone));
}

#[test]
fn a_burst_of_removals_costs_one_look_for_what_they_left() {
    let w = world();
    let (quiet, start) = (Duration::from_secs(QUIET), Instant::now());
    let mut expected = due::Expected::default();
    let mut look = |after| expected.look_for_strays(&w.catalog, w.clock.now(), quiet, start + after).unwrap();
    (0..1_000).for_each(|_| look(Duration::ZERO));
    assert_eq!((jobs(&w, due::SWEEP_ALL), w.catalog.calls.get()), (1, 2));
    look(quiet);
    assert_eq!(jobs(&w, due::SWEEP_ALL), 1, "that one is still to come");
    w.wait(QUIET);
    look(quiet * 2);
    assert_eq!(jobs(&w, due::SWEEP_ALL), 2);
}

/// How many jobs of just this text there are.
fn jobs(w: &World, text: &str) -> usize {
    w.catalog.queued.borrow().iter().filter(|job| job.text == text).count()
}

#[test]
fn what_is_registered_with_an_old_time_or_still_being_written_is_noticed_by_its_new_id() {
    for (modify_time, status, size) in
        [(NOW - 1_000_000, ReplicaStatus::Good, 10), (NOW - 1_000_000, ReplicaStatus::Intermediate, 0)]
    {
        let w = telling_world(|_| {});
        w.sweeper().sweep_all().unwrap();
        // The next thing gets the next id.
        w.catalog.locked.set(w.catalog.locked.get() + 1);
        w.catalog.put(50_000 + w.catalog.locked.get(), "a.tif", "alice");
        let replica = Replica { modify_time, status, size, ..w.catalog.replicas.borrow()[0].clone() };
        w.catalog.replicas.borrow_mut()[0] = replica;
        w.wait(300);
        w.sweeper().sweep_all().unwrap();
        assert_eq!(w.catalog.sweeps(), 1, "{status:?}");
    }
}

/// What the zone's collection says about how far the look has come.
fn progress(w: &World) -> Vec<String> {
    let marks = w.catalog.marks.borrow();
    marks.iter().filter(|(_, a, _)| a.ends_with("::noticed")).map(|(_, _, value)| value.clone()).collect()
}

#[test]
fn a_look_goes_on_where_the_one_before_it_stopped_and_comes_round() {
    let w = telling_world(|_| {});
    w.catalog.put(1, "a.tif", "alice");
    w.sweeper().sweep_all().unwrap();
    assert_eq!(w.catalog.sweeps(), 1);
    run_queue(&w);
    // Ids come from all that iRODS makes: this look has a million of them to go through.
    w.catalog.locked.set(1_000_000);
    w.catalog.replicas.borrow_mut()[0].modify_time = w.clock.now();
    let mut looks = 0;
    while w.catalog.sweeps() == 0 {
        w.sweeper().sweep_all().unwrap();
        assert_eq!(progress(&w).len(), 1, "{:?}", progress(&w));
        looks += 1;
        assert!(looks < 20, "the round never comes to its beginning: {:?}", progress(&w));
        w.wait(300);
    }
}

#[test]
fn until_when_a_version_before_this_one_had_looked_is_where_this_one_begins() {
    for (looked_until, sweeps) in [(NOW - 5_000, 1), (NOW + 1_000, 0)] {
        let w = telling_world(|_| {});
        w.catalog.put(1, "a.tif", "alice");
        w.wait(2_000);
        let zone = LogicalPath::parse(b"/z").unwrap();
        w.catalog.set_mark(&zone, "irods::omero::noticed", &looked_until.to_string()).unwrap();
        w.sweeper().sweep_all().unwrap();
        assert_eq!(w.catalog.sweeps(), sweeps, "{looked_until}");
        assert_eq!(progress(&w).len(), 1);
    }
}

#[test]
fn a_look_that_takes_long_gives_signs_of_life_and_one_that_was_taken_over_stops() {
    for taken_over in [false, true] {
        let w = telling_world(|_| {});
        w.catalog.put(1, "a.tif", "alice");
        let expiry = w.config.sweep_expiry.as_secs();
        let mut calls = 0;
        *w.catalog.interrupt.borrow_mut() = Some(Box::new(move |_, catalog| {
            if catalog.locks.borrow().iter().any(|lock| lock.name.starts_with("sweep_all.")) {
                calls += 1;
                // Every call takes long, but none longer than a third of the time without a sign.
                catalog.clock.set(catalog.clock.now() + expiry / 4);
                if taken_over && calls == 6 {
                    let id = CollectionId::parse("49999").unwrap();
                    let heir = LockRow { id, name: "sweep_all.99".to_owned(), since: catalog.clock.now() };
                    *catalog.locks.borrow_mut() = vec![heir];
                }
            }
            Ok(())
        }));
        w.sweeper().sweep_all().unwrap();
        let made = w.catalog.locked.get();
        assert_eq!(taken_over, made < 3, "{made} generations of the lock");
        let left = w.catalog.locks.borrow().iter().map(|lock| lock.name.clone()).collect::<Vec<_>>();
        assert_eq!(left, if taken_over { vec!["sweep_all.99"] } else { vec![] });
        assert_eq!(progress(&w).is_empty(), taken_over, "whoever was taken over writes nothing");
    }
}

#[test]
fn collections_without_a_sweep_get_one_in_turns() {
    let w = world_of(|c| c["max_queued_sweeps"] = json!(4));
    w.catalog.make(1, "/z");
    let mut swept: BTreeMap<String, usize> = BTreeMap::new();
    for number in 0..7 {
        let id = w.catalog.make(300 + number, &format!("/z/home/alice/{number}"));
        let path = w.catalog.path_of(id).unwrap();
        w.catalog.set_mark(&path, &w.config.attributes.due, due::LATER).unwrap();
    }
    for _ in 0..7 {
        w.catalog.queued.borrow_mut().clear();
        w.sweeper().sweep_all().unwrap();
        for job in w.catalog.queued.borrow().iter().filter(|job| due::is_sweep(&job.text)) {
            *swept.entry(job.text.clone()).or_default() += 1;
        }
    }
    assert_eq!(swept.len(), 7);
    assert!(swept.values().all(|times| *times == 3), "{swept:?}");
}

#[test]
fn skipped_data_is_looked_at_again_a_part_at_a_time_and_leaves_half_the_queue_to_others() {
    let w = world_of(|c| c["max_queued_sweeps"] = json!(16));
    w.catalog.make(1, "/z");
    for number in 0..20 {
        w.catalog.make(300 + number, &format!("/z/home/alice/{number}"));
        w.catalog.put_into(300 + number, 1 + number, "a.tif");
        record(&w, &format!("/z/home/alice/{number}/a.tif"), State::Skipped);
    }
    let marked = || w.catalog.marks.borrow().iter().filter(|(_, a, _)| a.ends_with("::due")).count();
    let mut looks = Vec::new();
    while looks.iter().sum::<usize>() < 20 {
        w.catalog.queued.borrow_mut().clear();
        looks.push(w.sweeper().sweep_skipped().unwrap());
        assert!(looks.len() < 10, "{looks:?}");
        let again = w.catalog.queued.borrow().iter().any(|job| {
            job.text == due::SWEEP_SKIPPED && job.due_at <= w.clock.now() + due::NEXT_LOOK_WHEN_FULL.as_secs()
        });
        assert_eq!(again, marked() < 20, "{looks:?}");
    }
    // Of twelve sweeps that events may queue, six.
    assert_eq!(looks, [6, 6, 6, 2]);
    assert_eq!(w.catalog.locks.borrow().len(), 0);
}

#[test]
fn a_tree_goes_on_where_sweeps_that_wait_for_omero_fill_the_part_of_events() {
    let w = world_of(|c| c["max_queued_sweeps"] = json!(8));
    w.catalog.make(1, "/z");
    let tree = w.catalog.make(300, "/z/home/alice/tree");
    let path = w.catalog.path_of(tree).unwrap();
    w.catalog.set_mark(&path, &w.config.attributes.due_tree, due::NEW).unwrap();
    for number in 0..20 {
        let id = w.catalog.make(400 + number, &format!("/z/home/alice/waits/{number}"));
        let path = w.catalog.path_of(id).unwrap();
        w.catalog.set_mark(&path, &w.config.attributes.due, due::LATER).unwrap();
        if number < 6 {
            due::queue_sweep(&w.catalog, id, Duration::from_secs(3_000)).unwrap();
        }
        w.catalog.make(500 + number, &format!("/z/home/alice/tree/{number}"));
    }
    w.sweeper().sweep_all().unwrap();
    assert_eq!(jobs(&w, &due::sweep_text(tree)), 1, "a look gives the tree a sweep");
    w.catalog.queued.borrow_mut().retain(|job| job.text != due::sweep_text(tree));
    w.sweeper().sweep(tree).unwrap();
    assert_eq!(jobs(&w, &due::sweep_text(tree)), 1, "its sweep sees to the next");
    assert_eq!(w.catalog.sweeps(), 8);
}

#[test]
fn sweeps_that_are_far_leave_half_the_queue_to_those_that_are_near() {
    let w = world_of(|c| c["max_queued_sweeps"] = json!(16));
    w.catalog.make(1, "/z");
    let limits = due::Limits::of(&w.config);
    let mark = |number: u64, delay: u64| {
        let id = w.catalog.make(300 + number, &format!("/z/home/alice/{number}"));
        let path = w.catalog.path_of(id).unwrap();
        let delay = Duration::from_secs(delay);
        due::mark(&w.catalog, &w.config.attributes.due, &path, w.clock.now(), delay, limits).unwrap();
        jobs(&w, &due::sweep_text(id))
    };
    // Of twelve sweeps that events may queue, six.
    assert_eq!((0..20).map(|number| mark(number, 3_600)).sum::<usize>(), 6);
    let looks = || {
        let all = w.catalog.queued.borrow();
        all.iter().filter(|job| job.text == due::SWEEP_ALL).map(|job| job.due_at).collect::<Vec<_>>()
    };
    let before = looks();
    assert!(
        before.iter().any(|at| *at <= w.clock.now() + 3_600),
        "the others are found by a look: {before:?}"
    );
    assert!(before.iter().all(|at| *at > w.clock.now() + due::NEXT_LOOK_WHEN_FULL.as_secs()), "{before:?}");
    assert_eq!((20..40).map(|number| mark(number, 5)).sum::<usize>(), 6);
    let soon = w.clock.now() + due::NEXT_LOOK_WHEN_FULL.as_secs();
    assert!(looks().iter().any(|at| *at <= soon), "the rest as soon as there is room");
    assert_eq!(w.catalog.sweeps(), 12);
}
