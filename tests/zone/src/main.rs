// SPDX-License-Identifier: BSD-3-Clause
//! The `zone` program. Everything is C++ because the iRODS plugin interface is; `main` itself is in
//! `main.cpp`. This crate only makes cargo build and link it.
#![no_main]

// Named so that its SQLite is linked.
use libsqlite3_sys as _;
