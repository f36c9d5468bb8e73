//! Tags, completeness, sets, new versions and retries, from the catalog to the record.

use super::*;

/// A world in which nothing is watched but by tags.
fn tagged_world() -> World {
    world_of(|c| c["watch"] = json!([]))
}

pub(super) fn due_anyway(w: &World) {
    w.catalog.set_mark(&collection(), &w.config.attributes.due, "alice#z").unwrap();
}

fn batches(w: &World) -> Vec<Vec<String>> {
    let name =
        |f: &irods_omero_importer::BatchFile| String::from_utf8_lossy(f.logical_path.name()).into_owned();
    w.importer.batches.borrow().iter().map(|b| b.files.iter().map(name).collect()).collect()
}

#[test]
fn a_tagged_tree_is_imported_by_the_tags_rules_until_the_tag_goes() {
    let w = tagged_world();
    w.catalog.tag("/z/home/alice", "Dataset:name:x", "quiet=5");
    w.put(1, "a.tif", "alice");
    w.wait(5);
    assert_eq!(w.sweep().unwrap().imported, 1);
    assert_eq!(w.importer.batches.borrow()[0].target.as_str(), "Dataset:name:x");
    w.catalog.untag("/z/home/alice");
    w.put(2, "b.tif", "alice");
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap(), Report::default());
    assert_eq!((w.catalog.state("a.tif"), w.catalog.state("b.tif")), (Some(State::Imported), None));
}

#[test]
fn off_nearer_than_a_watch_ends_it_and_what_waited_is_gone() {
    let w = world_of(|_| {});
    w.put(1, "a.tif", "alice");
    w.wait(QUIET);
    *w.importer.answer.borrow_mut() = Some(ImporterError::WillPass("down".to_owned()));
    assert_eq!(w.sweep().unwrap().pending, 1);
    w.catalog.tag(COLLECTION, "off", "");
    w.wait(3_600);
    let report = w.sweep().unwrap();
    assert_eq!((report.gone, report.again_in), (1, None));
    assert_eq!(w.catalog.state("a.tif"), Some(State::Gone));
    w.catalog.untag(COLLECTION);
    *w.importer.answer.borrow_mut() = None;
    due_anyway(&w);
    assert_eq!(w.sweep().unwrap().imported, 1, "watched again, it is imported");
}

#[test]
fn a_tag_on_one_data_object_imports_just_that_one() {
    let w = tagged_world();
    w.catalog.put(1, "a.tif", "alice");
    w.catalog.put(2, "b.log", "alice");
    w.catalog.tag(&format!("{COLLECTION}/b.log"), "on", "");
    w.wait(QUIET);
    due_anyway(&w);
    assert_eq!(w.sweep().unwrap().imported, 1);
    assert_eq!(batches(&w), [["b.log"]], "whatever it is called");
}

#[test]
fn tags_that_are_no_choice_leave_data_skipped_with_both_named() {
    let w = world_of(|_| {});
    w.catalog.tag("/z/home/alice", "on", "");
    w.catalog.tag("/z/home/alice", "off", "");
    w.put(1, "a.tif", "alice");
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().skipped, 1);
    let reason = w.catalog.value("a.tif", "::reason").unwrap();
    assert!(
        reason.contains("/z/home/alice") && reason.contains("'on'") && reason.contains("'off'"),
        "{reason}"
    );
    assert!(w.importer.batches.borrow().is_empty());
}

#[test]
fn a_backfill_never_has_more_sweeps_queued_than_allowed_and_goes_on_where_it_died() {
    let mut w = tagged_world();
    w.config.max_queued_sweeps = 5;
    w.catalog.tag("/z/home/alice", "on", "");
    for n in 0..40 {
        w.catalog.make(1_000 + n, &format!("/z/home/alice/old/{n}"));
        w.catalog.put_into(1_000 + n, 5_000 + n, "a.tif");
    }
    let root = w.catalog.make(900, "/z/home/alice");
    let path = w.catalog.path_of(root).unwrap();
    w.wait(10_000);
    due::mark(
        &w.catalog,
        &w.config.attributes.due_tree,
        &path,
        w.clock.now(),
        Duration::ZERO,
        due::Limits::of(&w.config),
    )
    .unwrap();
    let (mut most, mut rounds) = (0, 0);
    while w.catalog.has_mark("::due") || w.catalog.has_mark("::due_tree") {
        rounds += 1;
        assert!(rounds < 1_000, "it never ends");
        let job = {
            let mut queued = w.catalog.queued.borrow_mut();
            queued.retain(|j| due::is_sweep(&j.text));
            queued.sort_by_key(|j| j.due_at);
            (!queued.is_empty()).then(|| queued.remove(0))
        };
        let Some(job) = job else {
            w.wait(w.config.sweep_expiry.as_secs() + 1);
            w.sweeper().sweep_all().unwrap();
            continue;
        };
        w.clock.set(w.clock.now().max(job.due_at));
        let id = job.text.rsplit('"').nth(1).unwrap();
        if rounds == 3 {
            // The third sweep dies at its second call.
            die_at(&w, w.catalog.calls.get() + 2);
        }
        let _ = w.sweeper().sweep(CollectionId::parse(id).unwrap());
        w.catalog.interrupt.borrow_mut().take();
        most = most.max(w.catalog.sweeps());
    }
    assert!(most <= 5, "{most} sweeps were queued");
    assert_eq!(w.filesets(), 40);
}

#[test]
fn a_marker_above_a_collection_that_waits_for_it_brings_its_sweep_forward() {
    let w = world_of(|c| c["complete_marker"] = json!("avu:complete"));
    let above = w.catalog.make(900, "/z/home/alice/run");
    let below = w.catalog.make(901, "/z/home/alice/run/deep");
    w.catalog.put_into(901, 5_000, "a.tif");
    w.wait(QUIET);
    let mark = |attribute: &str, id| {
        let path = w.catalog.path_of(id).unwrap();
        due::mark(&w.catalog, attribute, &path, w.clock.now(), Duration::ZERO, due::Limits::of(&w.config))
            .unwrap();
    };
    mark(&w.config.attributes.due, below);
    w.catalog.queued.borrow_mut().clear();
    let report = w.sweeper().sweep(below).unwrap();
    assert!(report.again_in.unwrap().as_secs() >= 3_600, "it waits for the marker: {report:?}");
    let avu = Triple::new("complete", "yes", "");
    w.catalog.avus.borrow_mut().entry(b"/z/home/alice/run".to_vec()).or_default().insert(avu);
    mark(&w.config.attributes.due_tree, above);
    w.sweeper().sweep(above).unwrap();
    let soon = w.clock.now() + 60;
    let text = due::sweep_text(below);
    let times: Vec<UnixTime> =
        w.catalog.queued.borrow().iter().filter(|j| j.text == text).map(|j| j.due_at).collect();
    assert!(times.iter().any(|at| *at <= soon), "{times:?}");
    assert_eq!(w.sweeper().sweep(below).unwrap().imported, 1);
}

#[test]
fn what_lies_beside_the_data_gets_no_record_and_keeps_nothing_waiting() {
    let w = world_of(|_| {});
    w.put(1, "a.tif", "alice");
    w.wait(QUIET);
    w.put(2, "run.log", "alice");
    w.put(3, ".hidden.tif", "alice");
    assert_eq!(w.sweep().unwrap().imported, 1);
    assert_eq!((w.catalog.state("run.log"), w.catalog.state(".hidden.tif")), (None, None));
    assert_eq!(batches(&w), [["a.tif"]]);
}

#[test]
fn with_a_marker_nothing_goes_before_it_and_all_at_once_when_it_comes() {
    for marker in ["*.done", "avu:complete"] {
        let w = world_of(|c| c["complete_marker"] = json!(marker));
        w.put(1, "a.tif", "alice");
        w.wait(QUIET * 2);
        let report = w.sweep().unwrap();
        assert_eq!((report.imported, report.pending, w.catalog.state("a.tif")), (0, 0, None));
        assert!(w.catalog.has_mark("::due") && report.again_in.unwrap().as_secs() >= 3_600);
        w.wait(3_600);
        assert_eq!(w.sweep().unwrap().pending, 1);
        assert!(w.catalog.value("a.tif", "::reason").unwrap().starts_with("waits for the "));
        assert_eq!(w.sweep().unwrap().pending, 0, "and that is said once");
        w.catalog.queued.borrow_mut().retain(|j| j.due_at > w.clock.now() + 60);
        if marker == "*.done" {
            w.put(2, "run.done", "alice");
        } else {
            let avu = Triple::new("complete", "yes", "");
            w.catalog.avus.borrow_mut().entry(b"/z/home/alice".to_vec()).or_default().insert(avu);
            w.catalog.event(&w.config);
        }
        assert!(
            w.catalog.waits().contains(&QUIET),
            "the event brings the sweep forward: {:?}",
            w.catalog.waits()
        );
        assert!(w.sweep().unwrap().imported >= 1, "{marker}: without waiting for the quiet period");
    }
}

#[test]
fn a_set_that_never_goes_quiet_is_not_imported_in_parts() {
    let w = world_of(|_| {});
    w.put(1, "x.companion.ome", "alice");
    w.put(2, "x_0.ome.tif", "alice");
    w.wait(3_600);
    w.put(3, "x_1.ome.tif", "alice");
    let report = w.sweep().unwrap();
    assert_eq!((report.imported, report.pending), (0, 2));
    assert!(w.catalog.value("x_0.ome.tif", "::reason").unwrap().contains("x.companion.ome"));
    assert_eq!(w.catalog.state("x_1.ome.tif"), None);
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().imported, 3);
    assert_eq!(batches(&w).len(), 1);
}

#[test]
fn a_late_sidecar_is_recorded_with_the_fileset_it_came_too_late_for() {
    let w = world_of(|_| {});
    w.put(1, "x.companion.ome", "alice");
    w.wait(QUIET);
    w.sweep().unwrap();
    w.put(2, "x_9.ome.tif", "alice");
    w.importer
        .late
        .borrow_mut()
        .insert("/vault/home/alice/run1/x_9.ome.tif".to_owned(), OmeroId::parse("1").unwrap());
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().stale, 1);
    assert_eq!(w.catalog.value("x_9.ome.tif", "::member_of").as_deref(), Some("1"));
    assert!(w.catalog.value("x_9.ome.tif", "::reason").unwrap().contains("fileset 1"));
    due_anyway(&w);
    assert_eq!((w.sweep().unwrap(), w.filesets()), (Report::default(), 1));
}

/// A world with an OME-Zarr of two chunks, not yet looked at.
pub(super) fn zarr_world(change: impl FnOnce(&mut Value)) -> (World, CollectionId) {
    let w = world_of(change);
    let root = w.catalog.make(500, &format!("{COLLECTION}/x.ome.zarr"));
    w.catalog.make(501, &format!("{COLLECTION}/x.ome.zarr/0"));
    w.catalog.put_into(500, 10, ".zattrs");
    w.catalog.put_into(501, 11, "0.0");
    w.catalog.put_into(501, 12, "0.1");
    let path = w.catalog.path_of(root).unwrap();
    w.catalog.set_mark(&path, &w.config.attributes.due, "alice#z").unwrap();
    (w, root)
}

#[test]
fn a_directory_format_is_one_unit_with_its_record_on_the_collection() {
    let (w, root) = zarr_world(|_| {});
    w.wait(20);
    w.catalog.others.borrow_mut().get_mut(&501).unwrap().1[1].modify_time = w.clock.now();
    w.wait(10);
    let wait = w.sweeper().sweep(root).unwrap().again_in;
    assert_eq!(wait, Some(Duration::from_secs(20)), "the newest change anywhere below counts");
    w.wait(20);
    assert_eq!(w.sweeper().sweep(root).unwrap().imported, 1);
    let batches = w.importer.batches.borrow();
    let file = &batches[0].files[0];
    assert_eq!((batches.len(), batches[0].target.as_str()), (1, "Dataset:name:run1"));
    assert_eq!(file.importer_path, "/vault/home/alice/run1/x.ome.zarr");
    assert_eq!((file.subject, file.version.size), (Subject::Collection(root), 30));
    let avus = w.catalog.avus_of(format!("{COLLECTION}/x.ome.zarr").as_bytes());
    assert!(avus.iter().any(|t| t.attribute == "irods::omero::fileset"));
    assert_eq!(w.catalog.avus.borrow().len(), 1, "no chunk has an AVU");
    drop(batches);
    run_queue(&w);
    assert!(!w.catalog.has_mark("::due"));
}

#[test]
fn a_due_mark_within_a_directory_format_is_handed_to_its_root() {
    let (w, root) = zarr_world(|_| {});
    let inner = CollectionId::parse("501").unwrap();
    let path = w.catalog.path_of(inner).unwrap();
    w.catalog.set_mark(&path, &w.config.attributes.due, "alice#z").unwrap();
    w.wait(QUIET);
    assert_eq!(w.sweeper().sweep(inner).unwrap(), Report::default());
    assert_eq!(w.sweeper().sweep(root).unwrap().imported, 1);
}

#[test]
fn a_directory_whose_files_lie_apart_fails_with_the_reason_once() {
    let (w, root) = zarr_world(|_| {});
    w.catalog.others.borrow_mut().get_mut(&501).unwrap().1[0].hierarchy = "otherResc".to_owned();
    w.wait(QUIET);
    assert_eq!(w.sweeper().sweep(root).unwrap().failed, 1);
    let avus = w.catalog.avus_of(format!("{COLLECTION}/x.ome.zarr").as_bytes());
    assert!(avus.iter().any(|t| t.value.contains("do not lie together")), "{avus:?}");
    assert!(w.importer.batches.borrow().is_empty());
}

#[test]
fn a_chunk_written_after_the_import_makes_the_directory_stale() {
    let (w, root) = zarr_world(|_| {});
    w.wait(QUIET);
    w.sweeper().sweep(root).unwrap();
    w.wait(100);
    w.catalog.put_into(501, 13, "1.0");
    let path = w.catalog.path_of(root).unwrap();
    w.catalog.set_mark(&path, &w.config.attributes.due, "alice#z").unwrap();
    w.wait(QUIET);
    assert_eq!(w.sweeper().sweep(root).unwrap().stale, 1);
    assert_eq!(w.importer.batches.borrow().len(), 1);
}

/// Overwrites a data object of the usual collection.
fn overwrite(w: &World, i: usize) {
    w.wait(100);
    let mut replicas = w.catalog.replicas.borrow_mut();
    (replicas[i].modify_time, replicas[i].size) = (w.clock.now(), replicas[i].size + 1);
    drop(replicas);
    w.catalog.event(&w.config);
    w.wait(QUIET);
}

#[test]
fn under_reimport_a_new_version_makes_a_new_image_set_and_names_the_old_one() {
    let w = world_of(|c| c["on_overwrite"] = json!("reimport"));
    w.put(1, "a.tif", "alice");
    w.wait(QUIET);
    w.sweep().unwrap();
    overwrite(&w, 0);
    assert_eq!((w.sweep().unwrap().imported, w.filesets()), (1, 2));
    assert_eq!(w.catalog.value("a.tif", "::fileset").as_deref(), Some("2"));
    assert_eq!(w.catalog.previous("a.tif"), [1]);
    due_anyway(&w);
    assert_eq!((w.sweep().unwrap(), w.filesets()), (Report::default(), 2));
}

#[test]
fn under_reimport_all_files_of_a_set_go_together_and_once_wherever_the_sweep_dies() {
    for point in 0..60 {
        let w = world_of(|c| c["on_overwrite"] = json!("reimport"));
        for (n, name) in ["x.companion.ome", "x_0.ome.tif", "x_1.ome.tif"].iter().enumerate() {
            w.put(n as u64 + 1, name, "alice");
            w.importer.sets.borrow_mut().insert(
                format!("/vault/home/alice/run1/{name}"),
                "/vault/home/alice/run1/x.companion.ome".to_owned(),
            );
        }
        w.wait(QUIET);
        w.sweep().unwrap();
        assert_eq!(w.filesets(), 1);
        overwrite(&w, 1);
        die_at(&w, w.catalog.calls.get() + point);
        let _ = w.sweep();
        w.catalog.interrupt.borrow_mut().take();
        w.catalog.queue(due::SWEEP_ALL, w.config.sweep_expiry).unwrap();
        run_queue(&w);
        assert_eq!(w.filesets(), 2, "died at call {point}");
        for name in ["x.companion.ome", "x_0.ome.tif", "x_1.ome.tif"] {
            assert_eq!(w.catalog.state(name), Some(State::Imported), "{name}, died at call {point}");
            let of = w.catalog.value(name, "::member_of").or_else(|| w.catalog.value(name, "::fileset"));
            assert_eq!(of.as_deref(), Some("2"), "{name}, died at call {point}");
            assert_eq!(w.catalog.previous(name), [1], "{name}, {point}");
        }
    }
}

#[test]
fn a_touch_that_the_checksum_proves_changed_nothing_is_no_new_version() {
    for rule in ["report", "reimport"] {
        let w = world_of(|c| c["on_overwrite"] = json!(rule));
        w.put(1, "a.tif", "alice");
        w.catalog.replicas.borrow_mut()[0].checksum = Some("sha2:abc".to_owned());
        w.wait(QUIET);
        w.sweep().unwrap();
        w.wait(100);
        w.catalog.replicas.borrow_mut()[0].modify_time = w.clock.now();
        w.catalog.event(&w.config);
        w.wait(QUIET);
        assert_eq!(w.sweep().unwrap(), Report::default());
        assert_eq!((w.catalog.state("a.tif"), w.filesets()), (Some(State::Imported), 1));
        let version = w.catalog.value("a.tif", "::version").unwrap();
        assert!(version.starts_with(&(w.clock.now() - QUIET).to_string()), "{version}");
    }
}

#[test]
fn what_waits_says_when_it_is_tried_next_and_is_given_up_at_the_age() {
    let w = world_of(|c| c["retry_max_age_in_seconds"] = json!(1_000));
    w.put(1, "a.tif", "alice");
    w.wait(QUIET);
    *w.importer.answer.borrow_mut() = Some(ImporterError::WillPass("OMERO cannot be reached".to_owned()));
    let first = w.clock.now();
    w.sweep().unwrap();
    let retry = w.catalog.avus_of(format!("{COLLECTION}/a.tif").as_bytes());
    let retry = retry.iter().find(|t| t.attribute == "irods::omero::retry").unwrap();
    assert_eq!((retry.value.parse(), retry.units.parse()), (Ok(first + 60), Ok(first)));
    w.put(2, "b.tif", "alice");
    w.wait(QUIET);
    w.sweep().unwrap();
    assert_eq!(batches(&w), [["a.tif"], ["b.tif"]], "what came later does not wait for it, nor hasten it");
    let mut tries = 1;
    while w.catalog.state("a.tif") == Some(State::Pending) {
        let wait = w.catalog.waits().into_iter().max().unwrap();
        w.wait(wait);
        w.sweep().unwrap();
        tries += 1;
        assert!(tries < 20);
    }
    assert_eq!(w.catalog.state("a.tif"), Some(State::Failed));
    let reason = w.catalog.value("a.tif", "::reason").unwrap();
    assert!(reason.contains("given up after") && reason.contains("cannot be reached"), "{reason}");
}

#[test]
fn an_event_brings_a_far_off_sweep_forward_once() {
    let w = world_of(|_| {});
    w.put(1, "a.tif", "alice");
    // As a sweep leaves it that comes back after long.
    w.catalog.queued.borrow_mut().last_mut().unwrap().due_at = NOW + 3_000;
    w.catalog.marks.borrow_mut()[0].2 = due::LATER.to_owned();
    w.put(2, "b.tif", "alice");
    w.put(3, "c.tif", "alice");
    assert_eq!(w.catalog.waits(), [3_000, QUIET]);
}
