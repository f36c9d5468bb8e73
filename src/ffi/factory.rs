//! The C symbol the server looks up. A Rust cdylib exports Rust's functions only, so the door is here and the
//! room behind it is in the shim.

use std::ffi::c_void;

unsafe extern "C" {
    fn omero_shim_factory(instance_name: *const c_void, context: *const c_void) -> *mut c_void;
}

/// Makes a plugin: `irods::pluggable_rule_engine<irods::default_re_ctx>*`, which the server deletes; null if
/// that failed (the reason is in the log).
///
/// # Safety
/// Both arguments must point to a `std::string`, as the server passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plugin_factory(instance_name: *const c_void, context: *const c_void) -> *mut c_void {
    // SAFETY: passed on as they came; the shim's function is noexcept.
    unsafe { omero_shim_factory(instance_name, context) }
}
