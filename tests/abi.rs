//! The layouts our own interface declarations give are those of the server they are for: a table of measured
//! sizes and offsets is checked by the compiler, so that a wrong layout does not build.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

use std::path::Path;
use std::process::{Command, Output};

fn compile(extra: &[&str], standard: &str) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    Command::new(std::env::var_os("CXX").unwrap_or_else(|| "c++".into()))
        .arg(standard)
        .args(["-fsyntax-only", "-Wall", "-Wextra", "-Werror"])
        .args(extra)
        .arg("-I")
        .arg(root.join("include/irods_abi"))
        .arg("-I")
        .arg(root.join("include"))
        .arg(root.join("tests/abi/abi_test.cpp"))
        .output()
        .expect("a C++ compiler is needed (script/bootstrap installs one)")
}

#[test]
fn every_measured_size_and_offset_holds() {
    for standard in ["-std=c++17", "-std=c++20"] {
        for variant in [&[][..], &["-DOMERO_FOR_IRODS_4_3"]] {
            let output = compile(variant, standard);
            assert!(output.status.success(), "{variant:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

#[test]
fn a_wrong_layout_does_not_build() {
    // Member alignment of one byte is a wrong layout for nearly every type of the table.
    let output = compile(&["-fpack-struct=1"], "-std=c++17");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("static assertion failed"), "{said}");
}
