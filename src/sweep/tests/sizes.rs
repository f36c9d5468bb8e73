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
