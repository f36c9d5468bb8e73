//! Counts threads, for the promise that none is started in an iRODS process.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The highest number of threads while `act` runs, beyond those before. To be called in a process whose other threads
/// do not come and go.
pub fn threads_during(act: impl FnOnce()) -> usize {
    static DONE: AtomicBool = AtomicBool::new(false);
    static HIGHEST: AtomicUsize = AtomicUsize::new(0);
    static LOOKS: AtomicUsize = AtomicUsize::new(0);
    let count = || fs::read_dir("/proc/self/task").unwrap().count();
    DONE.store(false, Ordering::SeqCst);
    HIGHEST.store(0, Ordering::SeqCst);
    LOOKS.store(0, Ordering::SeqCst);
    let watcher = std::thread::spawn(move || {
        while !DONE.load(Ordering::SeqCst) {
            HIGHEST.fetch_max(count(), Ordering::SeqCst);
            LOOKS.fetch_add(1, Ordering::SeqCst);
        }
    });
    while LOOKS.load(Ordering::SeqCst) < 2 {
        std::thread::yield_now();
    }
    let before = count();
    act();
    let looks = LOOKS.load(Ordering::SeqCst);
    while LOOKS.load(Ordering::SeqCst) < looks + 2 {
        std::thread::yield_now();
    }
    DONE.store(true, Ordering::SeqCst);
    watcher.join().unwrap();
    HIGHEST.load(Ordering::SeqCst) - before
}
