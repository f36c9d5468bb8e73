//! What fuzzing has found, and what it began with, once more.

#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on has failed

#[path = "../fuzz/targets.rs"]
mod targets;

use std::fs;
use std::path::Path;

#[test]
fn nothing_of_the_corpus_breaks_a_promise() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in targets::ALL {
        let files = fs::read_dir(corpus.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let inputs: Vec<_> = files.map(|f| f.unwrap().path()).collect();
        assert!(inputs.len() >= 3, "{name} has nothing to begin with");
        for input in inputs {
            let bytes = fs::read(&input).unwrap();
            let kept = std::panic::catch_unwind(|| target(&bytes));
            assert!(kept.is_ok(), "{}: see above", input.display());
        }
    }
}
