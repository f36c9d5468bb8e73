//! What the integration tests share: where the built things are.
#![allow(dead_code)]

pub mod agent;
pub mod omero;
pub mod threads;
pub mod tls;
pub mod zone;

use std::path::{Path, PathBuf};

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The directory the test's own profile builds into (`target/debug` or `target/release`).
pub fn target_dir() -> PathBuf {
    let test = std::env::current_exe().expect("the test knows its own path");
    test.ancestors().nth(2).expect("tests are built into target/PROFILE/deps").to_path_buf()
}

/// The plugin as cargo built it for this test.
pub fn library() -> PathBuf {
    // `cargo test` leaves it beside the test; only `cargo build` copies it one directory up.
    let path = target_dir().join("deps/libirods_rule_engine_plugin_omero.so");
    assert!(path.is_file(), "{} is not built", path.display());
    path
}

/// A program of another package of the workspace.
pub fn program(package: &str, name: &str) -> PathBuf {
    let path = target_dir().join(name);
    if !path.is_file() {
        let status = std::process::Command::new(env!("CARGO")).args(["build", "-q", "-p", package]).status();
        assert!(status.is_ok_and(|s| s.success()), "cargo build -p {package} failed");
    }
    path
}
