//! Data that OMERO cannot see where it is, and replicas of which it sees one.

use super::*;

/// A world in which OMERO sees the vault of `seen` only, to which data may be copied.
fn world_that_stages() -> World {
    let config = Config::parse(&json!({
        "watch": ["/z/home/alice"],
        "quiet_period_in_seconds": QUIET,
        "users": {"same_name": ["z"]},
        "visibility": {"vaults": [{"prefix": "/seen"}], "stage_to": "seen"},
        "omero": {"server": "omero.example.org", "sudo_user": "importer", "password_file": "/etc/pw"},
        "importer": {"mode": "command", "command": "/usr/bin/omero", "jars": "/opt/omero/jars", "logback": "/opt/omero/logback.xml"},
    }))
    .unwrap();
    World { config, ..world() }
}

fn stage_jobs(w: &World) -> usize {
    w.catalog.queued.borrow().iter().filter(|j| j.text == due::stage_text(id())).count()
}

fn replica(w: &World, number: u32, hierarchy: &str, path: &str, status: ReplicaStatus) {
    let mut replicas = w.catalog.replicas.borrow_mut();
    let (physical_path, modify_time) = (path.as_bytes().to_vec(), NOW + u64::from(number));
    let hierarchy = hierarchy.to_owned();
    let first = replicas[0].clone();
    replicas.push(Replica { number, status, modify_time, physical_path, hierarchy, ..first });
}

#[test]
fn what_omero_cannot_see_is_copied_in_a_job_of_its_own_and_the_copy_is_imported() {
    let w = world_that_stages();
    w.put(1, "a.tif", "alice");
    w.wait(QUIET);
    let report = w.sweep().unwrap();
    assert_eq!((report.pending, report.imported), (1, 0));
    assert!(w.catalog.value("a.tif", "::reason").unwrap().contains("copied to the resource seen first"));
    assert_eq!((stage_jobs(&w), w.catalog.has_mark("::due")), (1, true), "and a lost job is queued again");
    assert_eq!(w.sweep().unwrap().pending, 1);
    assert_eq!(stage_jobs(&w), 1, "one job waits");

    let staged = w.sweeper().stage(id()).unwrap();
    assert_eq!((staged.copied, staged.failed), (1, 0));
    assert!(w.catalog.waits().contains(&1), "a sweep is queued for what was copied");
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().imported, 1);
    assert_eq!(w.importer.batches.borrow()[0].files[0].importer_path, "/seen/a.tif");
    assert_eq!(w.sweeper().stage(id()).unwrap().copied, 0);
    assert_eq!((w.sweep().unwrap(), w.catalog.state("a.tif")), (Report::default(), Some(State::Imported)));
}

#[test]
fn a_copy_that_fails_says_why_and_is_tried_again_with_growing_waits() {
    let w = world_that_stages();
    w.put(1, "a.tif", "alice");
    w.wait(QUIET);
    let mut waits = Vec::new();
    for _ in 0..3 {
        waits.push(w.sweep().unwrap().again_in.unwrap().as_secs());
        w.catalog.queued.borrow_mut().clear();
        let broken = |_: usize, c: &TestCatalog| {
            let full = CatalogError::Call { call: "rsDataObjRepl", subject: "a.tif".into(), code: -516_028 };
            if c.copying.get() { Err(full) } else { Ok(()) }
        };
        *w.catalog.interrupt.borrow_mut() = Some(Box::new(broken));
        assert_eq!(w.sweeper().stage(id()).unwrap().failed, 1);
        w.catalog.interrupt.borrow_mut().take();
        let reason = w.catalog.value("a.tif", "::reason").unwrap();
        assert!(reason.contains("cannot be copied to seen") && reason.contains("-516028"), "{reason}");
    }
    assert_eq!(waits, [60, 120, 240]);
    assert!(w.catalog.has_mark("::due"));
    w.sweeper().stage(id()).unwrap();
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().imported, 1);
}

#[test]
fn nothing_is_copied_for_somebody_without_an_omero_user_or_a_target() {
    let w = world_that_stages();
    w.put(1, "a.tif", "root");
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().skipped, 1);
    assert_eq!((stage_jobs(&w), w.sweeper().stage(id()).unwrap().copied), (0, 0));
}

#[test]
fn a_copy_omero_cannot_see_either_is_not_made_twice() {
    let w = world_that_stages();
    w.put(1, "a.tif", "alice");
    replica(&w, 1, "seen;leaf", "/elsewhere/a.tif", ReplicaStatus::Good);
    w.wait(QUIET * 2);
    assert_eq!(w.sweep().unwrap().skipped, 1);
    assert!(w.catalog.value("a.tif", "::reason").unwrap().contains("replicas below /seen"));
    assert_eq!(stage_jobs(&w), 0);
}

#[test]
fn of_several_replicas_the_first_good_one_that_omero_sees_is_imported() {
    let w = world_that_stages();
    w.put(1, "a.tif", "alice");
    replica(&w, 1, "seen;stale", "/seen/stale/a.tif", ReplicaStatus::Stale);
    replica(&w, 2, "seen;good", "/seen/good/a.tif", ReplicaStatus::Good);
    replica(&w, 3, "other", "/seen/more/a.tif", ReplicaStatus::Good);
    w.wait(QUIET * 2);
    assert_eq!(w.sweep().unwrap().imported, 1);
    assert_eq!(w.importer.batches.borrow()[0].files[0].importer_path, "/seen/good/a.tif");
    // Its time is not the first replica's, and the data is not taken for changed.
    w.catalog.event(&w.config);
    assert_eq!(w.sweep().unwrap(), Report::default());
    assert_eq!(w.catalog.state("a.tif"), Some(State::Imported));
}
