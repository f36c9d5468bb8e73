// SPDX-License-Identifier: BSD-3-Clause
//! Compiles the C++ server and makes the executable export its symbols, so that the undefined symbols of a
//! loaded plugin resolve against it as they do against the real server's libraries.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let abi = here.join("../../include/irods_abi");
    let sqlite = env::var_os("DEP_SQLITE3_INCLUDE").expect("libsqlite3-sys gives its include directory");

    let mut build = cc::Build::new();
    build
        .cpp(true)
        // The linker drops unreferenced sections; without one section a function, an exported function of a
        // file that is otherwise used stays.
        .no_default_flags(true)
        .flag("-std=c++17")
        .flag("-O1")
        .flag("-g")
        .flag("-fPIC")
        .flag("-Wall")
        .flag("-Wextra")
        .include(here.join("src"))
        .include(&abi)
        .include(here.join("../../include"))
        .include(Path::new(&sqlite));

    let mut sources: Vec<PathBuf> = fs::read_dir(here.join("src"))
        .expect("src is there")
        .map(|entry| entry.expect("src is readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "cpp"))
        .collect();
    sources.sort();
    build.files(&sources);

    println!("cargo:rerun-if-changed={}", here.join("src").display());
    println!("cargo:rerun-if-changed={}", abi.display());

    // Linked into the program only: the integration tests of this package have a main of their own.
    build.cargo_metadata(false);
    build.compile("zone");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for argument in [
        format!("-Wl,--whole-archive,{},--no-whole-archive", out.join("libzone.a").display()),
        "-lstdc++".into(),
        "-rdynamic".into(),
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
