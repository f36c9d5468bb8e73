// SPDX-License-Identifier: BSD-3-Clause
//! The program exports what plugins link against, under the names the server's libraries have.

use std::path::Path;
use std::process::Command;

/// Those a plugin has use for; the fixture says which library of iRODS 5.0.2 has each.
fn wanted() -> Vec<String> {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/server-symbols.txt"))
        .expect("the list")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_whitespace().nth(1).map(str::to_owned))
        .collect()
}

#[test]
fn every_symbol_of_the_server_is_exported() {
    let output =
        Command::new("nm").args(["-D", "--defined-only", env!("CARGO_BIN_EXE_zone")]).output().expect("nm");
    let exported = String::from_utf8(output.stdout).expect("UTF-8");
    let exported: std::collections::BTreeSet<&str> =
        exported.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    let wanted = wanted();
    assert!(wanted.len() > 35);
    let missing: Vec<_> = wanted.iter().filter(|symbol| !exported.contains(symbol.as_str())).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
