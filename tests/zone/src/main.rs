// SPDX-License-Identifier: BSD-3-Clause
//! The `zone` program. Everything is C++ because the iRODS plugin interface is; `main` itself is in
//! `main.cpp`. This crate only makes cargo build and link it.
#![no_main]

/// Named so that SQLite is linked: nothing else in Rust refers to it.
#[used]
static SQLITE: unsafe extern "C" fn() -> *const std::ffi::c_char = libsqlite3_sys::sqlite3_libversion;
