//! The fuzzer: `OMERO_FUZZ` names which of the functions it calls.

#![no_main]

mod targets;

use std::sync::LazyLock;

static CHOSEN: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("OMERO_FUZZ").unwrap_or_default();
    let found = targets::ALL.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("OMERO_FUZZ is none of the functions of targets.rs: '{name}'")).1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| CHOSEN(data));
