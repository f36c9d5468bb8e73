//! Compiles the C++ shim and makes Rust declarations of the boundary header.
//!
//! - `OMERO_IRODS_VERSION` says which server the plugin is for: `5.0.2` (the default) or `4.3.5`. The packages of 4.3
//!   are built with libc++, so a plugin for 4.3 is too: set `CXX` to a clang++ then.
//! - `IRODS_INCLUDE_DIR` names the directory that holds `irods/` of a real iRODS development tree; the same shim
//!   is then compiled against that instead of our own declarations.
//! - `OMERO_SHIM_CXXFLAGS` adds flags (blank separated).

use std::env;
use std::path::PathBuf;

fn main() {
    for watched in ["include", "src/shim"] {
        println!("cargo:rerun-if-changed={watched}");
    }
    for watched in ["OMERO_IRODS_VERSION", "IRODS_INCLUDE_DIR", "OMERO_SHIM_CXXFLAGS"] {
        println!("cargo:rerun-if-env-changed={watched}");
    }
    compile_shim();
    generate_bindings();
}

const SHIM: [&str; 3] = ["src/shim/host.cpp", "src/shim/operations.cpp", "src/shim/version.cpp"];

fn compile_shim() {
    let mut build = cc::Build::new();
    build.cpp(true).files(SHIM).include("include");
    let version = env::var("OMERO_IRODS_VERSION").ok().filter(|v| !v.is_empty());
    let version = version.as_deref().unwrap_or("5.0.2");
    match version {
        "5.0.2" => {}
        "4.3.5" => {
            build.define("OMERO_FOR_IRODS_4_3", None).cpp_set_stdlib("c++");
        }
        other => println!(
            "cargo:error=OMERO_IRODS_VERSION is '{other}': this source builds for iRODS 5.0.2 and 4.3.5"
        ),
    }
    // What the library itself says comes from the same headers (version.cpp).
    let headers = env::var_os("IRODS_INCLUDE_DIR").and_then(|dir| version_of(&PathBuf::from(dir)));
    println!("cargo:rustc-env=OMERO_BUILT_FOR={}", headers.as_deref().unwrap_or(version));
    // What the wrong server lacks must not keep the plugin from being loaded far enough to say so.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,lazy");
    match env::var_os("IRODS_INCLUDE_DIR") {
        Some(dir) => {
            // The server's own headers include each other with and without their directory. They are not ours to
            // mend: no warnings from them.
            let dir = PathBuf::from(dir);
            build.std("c++20").include(&dir).flag("-isystem").flag(dir.join("irods").as_os_str());
        }
        None => {
            build.std("c++17").include("include/irods_abi");
        }
    }
    build.warnings(true).extra_warnings(true).flag_if_supported("-fvisibility=hidden");
    for flag in env::var("OMERO_SHIM_CXXFLAGS").unwrap_or_default().split_whitespace() {
        build.flag(flag);
    }
    build.compile("omero_shim");
}

/// The version that the headers of an iRODS development tree are of.
fn version_of(include: &std::path::Path) -> Option<String> {
    let text = std::fs::read_to_string(include.join("irods/irods_version.h")).ok()?;
    let part = |name: &str| {
        let rest = text.lines().find_map(|l| l.strip_prefix("#define IRODS_VERSION_")?.strip_prefix(name))?;
        Some(rest.trim().to_owned()).filter(|n| n.parse::<u32>().is_ok())
    };
    Some(format!("{}.{}.{}", part("MAJOR")?, part("MINOR")?, part("PATCHLEVEL")?))
}

fn generate_bindings() {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("boundary.rs");
    let bindings = bindgen::Builder::default()
        .header("include/omero_plugin.h")
        .allowlist_item("(omero|OMERO)_.*")
        .blocklist_function("omero_.*")
        .newtype_enum("omero_.*")
        .derive_default(true)
        .layout_tests(false)
        .generate();
    match bindings.map_err(|e| e.to_string()).and_then(|b| b.write_to_file(&out).map_err(|e| e.to_string())) {
        Ok(()) => {}
        Err(message) => {
            println!(
                "cargo:error=cannot read include/omero_plugin.h with bindgen (libclang needed): {message}"
            );
        }
    }
}
