//! What a burst costs, counted: the bounds that `script/bench` measures on a larger scale.

use super::*;

/// A burst of puts, before any sweep of it runs.
struct Burst {
    /// How often an agent asked the catalog anything.
    attempts: usize,
    seconds: u64,
    w: World,
}

/// So many connections put so many files each, in turn.
fn burst(connections: usize, puts_of_each: usize, puts_in_a_second: usize) -> Burst {
    let w = world();
    let mut memories: Vec<Memory> = (0..connections).map(|_| Memory::default()).collect();
    let mut attempts = 0;
    for put in 0..connections * puts_of_each {
        let before = w.catalog.calls.get();
        event(&w.catalog, &w.config, &mut memories[put % connections], w.clock.now());
        attempts += usize::from(w.catalog.calls.get() > before);
        if (put + 1).is_multiple_of(puts_in_a_second) {
            w.wait(1);
        }
    }
    Burst { attempts, seconds: w.clock.now() - NOW, w }
}

#[test]
fn ten_thousand_puts_of_one_connection_try_to_mark_once_in_half_a_quiet_period() {
    let Burst { attempts, seconds, w } = burst(1, 10_000, 100);
    assert_eq!(seconds, 100);
    assert_eq!(attempts, 7, "in 100 s of halves of {} s", QUIET / 2);
    assert_eq!((w.catalog.marks.borrow().len(), w.catalog.sweeps()), (1, 1));
}

#[test]
fn ten_thousand_puts_of_a_hundred_connections_are_one_mark_and_one_attempt_of_each() {
    let Burst { attempts, seconds, w } = burst(100, 100, 1_000);
    assert!(seconds < QUIET / 2);
    assert_eq!(attempts, 100);
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
