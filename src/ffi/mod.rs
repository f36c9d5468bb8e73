//! The boundary to the C++ shim: the only `unsafe` code. The header `include/omero_plugin.h` states who owns
//! what; this module keeps to it.
//!
//! What soundness leans on:
//! - The shim passes pointers it has just made; texts live until the call returns.
//! - A plugin is used by one thread at a time (an iRODS agent has one thread that runs policy), but a call of
//!   ours may lead back to us within that thread, so a plugin is only ever borrowed shared.
//! - Every function called from C++ runs inside [`boundary`], so no panic unwinds into C++.
//! - Every function of the host is `noexcept` (`omero_shim::callback`), so no exception unwinds into Rust.

mod session;
mod writing;

pub mod factory;

pub use session::{Account, Entity, Session};
pub use writing::Opening;

/// What bindgen makes of `include/omero_plugin.h`.
#[allow(missing_docs, clippy::pedantic, non_camel_case_types, dead_code)]
mod raw {
    include!(concat!(env!("OUT_DIR"), "/boundary.rs"));
}

use crate::event::{Argument, Pep};
use crate::guard::{self, act::Input};
use crate::plugin::{Plugin, Sender};
use once_cell::sync::OnceCell;
use raw::{omero_argument, omero_argument_kind, omero_host, omero_level, omero_session, omero_text};
use std::any::Any;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};

/// `RULE_ENGINE_CONTINUE`: the next plugin is asked.
pub const RULE_ENGINE_CONTINUE: i64 = 5_000_000;

/// `SYS_INTERNAL_ERR`: a policy that calls us is told so.
const INTERNAL_ERROR: i64 = -154_000;

/// The longest line of the log, in bytes. What clients send may be of any length.
const MAX_LINE: usize = 4_000;

/// Runs the body of a function called from C++; a panic becomes `otherwise`. What it said has been logged by
/// [`log_panic`] when it began.
fn boundary<T>(name: &str, otherwise: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        log::error!(
            "act={name} failed=\"internal error: the line before this one says which; please report it\""
        );
        otherwise
    })
}

/// The text of a panic; everything that is written with `panic!` has one.
fn text_of_panic(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no text)")
}

/// Every panic reaches the log with its text and place, whoever catches it: an agent's standard error is not kept.
fn log_panic(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    log::error!("act=panic at={place} why=\"{}\"", text_of_panic(info.payload()));
}

/// The bytes of a text of the boundary.
///
/// # Safety
/// `text` must be valid for reads for as long as `'a`.
unsafe fn bytes<'a>(text: omero_text) -> &'a [u8] {
    if text.data.is_null() || text.size == 0 {
        return &[];
    }
    // SAFETY: not null, and the caller vouches for the length and the lifetime.
    unsafe { std::slice::from_raw_parts(text.data.cast(), text.size) }
}

fn borrowed(bytes: &[u8]) -> omero_text {
    omero_text { data: bytes.as_ptr().cast(), size: bytes.len() }
}

/// The plugin behind an opaque pointer.
///
/// # Safety
/// `plugin` must come from `omero_plugin_new` and not have been freed.
unsafe fn plugin_of<'a>(plugin: *const c_void) -> Option<&'a Plugin> {
    // SAFETY: the caller's promise; null is handled by as_ref.
    unsafe { plugin.cast::<Plugin>().as_ref() }
}

/// Writes to the server's log through the shim.
struct ServerLog(&'static omero_host);

// SAFETY: the host table is immutable data and its log function (rodsLog) may be called from any thread.
unsafe impl Sync for ServerLog {}
// SAFETY: as above.
unsafe impl Send for ServerLog {}

static SERVER_LOG: OnceCell<ServerLog> = OnceCell::new();

/// One line. Names of files come from clients: a line break in one must not look like a line of the log.
fn log_line(text: &std::fmt::Arguments<'_>) -> String {
    let mut line = format!("omero: {text}");
    if line.len() > MAX_LINE {
        line.truncate((0..=MAX_LINE).rev().find(|i| line.is_char_boundary(*i)).unwrap_or(0));
        line.push('…');
    }
    line.replace(|c: char| c.is_control(), " ")
}

impl log::Log for ServerLog {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let level = match record.level() {
            log::Level::Error => omero_level::OMERO_LEVEL_ERROR,
            log::Level::Warn => omero_level::OMERO_LEVEL_WARN,
            log::Level::Info => omero_level::OMERO_LEVEL_INFO,
            log::Level::Debug | log::Level::Trace => omero_level::OMERO_LEVEL_DEBUG,
        };
        let line = log_line(record.args());
        if let Some(write) = self.0.log {
            // SAFETY: the text lives until the call returns.
            unsafe { write(level, borrowed(line.as_bytes())) };
        }
    }

    fn flush(&self) {}
}

/// See `include/omero_plugin.h`.
///
/// # Safety
/// `host` must be null or point to a table that is never changed nor freed; `instance` must be a valid text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn omero_plugin_new(host: *const omero_host, instance: omero_text) -> *mut c_void {
    boundary("load", std::ptr::null_mut(), || {
        // SAFETY: the caller's promise.
        if let Some(host) = unsafe { host.as_ref() } {
            let log = SERVER_LOG.get_or_init(|| ServerLog(host));
            if log::set_logger(log).is_ok() {
                log::set_max_level(log::LevelFilter::Info);
                // The hook of this library's own copy of std: no other plugin's panics pass here.
                std::panic::set_hook(Box::new(log_panic));
            }
        }
        // SAFETY: the caller's promise.
        let instance = String::from_utf8_lossy(unsafe { bytes(instance) }).into_owned();
        Box::into_raw(Box::new(Plugin::new(instance))).cast()
    })
}

/// See `include/omero_plugin.h`.
///
/// # Safety
/// `plugin` must be null or come from `omero_plugin_new`, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn omero_plugin_free(plugin: *mut c_void) {
    boundary("unload", (), || {
        if !plugin.is_null() {
            // SAFETY: made by Box::into_raw in omero_plugin_new, and this is its only end.
            drop(unsafe { Box::from_raw(plugin.cast::<Plugin>()) });
        }
    });
}

/// See `include/omero_plugin.h`.
///
/// # Safety
/// `plugin` must come from `omero_plugin_new`; `directory` must be a valid text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn omero_plugin_setup(plugin: *mut c_void, directory: omero_text) -> i64 {
    boundary("setup", 0, || {
        // SAFETY: the caller's promise.
        if let (Some(plugin), directory) = unsafe { (plugin_of(plugin), bytes(directory)) } {
            plugin.setup(std::path::Path::new(std::ffi::OsStr::new(&*String::from_utf8_lossy(directory))));
        }
        0
    })
}

/// See `include/omero_plugin.h`.
///
/// # Safety
/// `plugin` must come from `omero_plugin_new`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn omero_plugin_start(plugin: *mut c_void) -> i64 {
    boundary("start", 0, || {
        // SAFETY: the caller's promise.
        if let Some(plugin) = unsafe { plugin_of(plugin) } {
            plugin.start();
        }
        0
    })
}

/// See `include/omero_plugin.h`.
///
/// # Safety
/// `plugin` must come from `omero_plugin_new`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn omero_plugin_stop(_plugin: *mut c_void) -> i64 {
    0
}

/// See `include/omero_plugin.h`.
///
/// # Safety
/// `plugin` must come from `omero_plugin_new`; the text is borrowed from it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn omero_plugin_regex(plugin: *const c_void) -> omero_text {
    boundary("setup", omero_text::default(), || {
        // SAFETY: the caller's promise.
        match unsafe { plugin_of(plugin) } {
            Some(plugin) => borrowed(plugin.regex().as_bytes()),
            None => omero_text::default(),
        }
    })
}

/// See `include/omero_plugin.h`.
///
/// # Safety
/// `plugin` must come from `omero_plugin_new`; `rule` must be a valid text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn omero_plugin_rule_exists(plugin: *const c_void, rule: omero_text) -> bool {
    boundary("rule_exists", false, || {
        // SAFETY: the caller's promise.
        match unsafe { (plugin_of(plugin), bytes(rule)) } {
            (Some(plugin), rule) => plugin.rule_exists(rule),
            (None, _) => false,
        }
    })
}

/// See `include/omero_plugin.h`.
///
/// # Safety
/// `plugin` must come from `omero_plugin_new`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn omero_plugin_rule_name(plugin: *const c_void, i: usize) -> omero_text {
    boundary("list_rules", omero_text::default(), || {
        // SAFETY: the caller's promise.
        let name = unsafe { plugin_of(plugin) }.and_then(|p| p.rule_name(i));
        name.map_or_else(omero_text::default, |n| borrowed(n.as_bytes()))
    })
}

/// See `include/omero_plugin.h`.
///
/// # Safety
/// `plugin` must come from `omero_plugin_new`; `rule` and what `argument` points to must be valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn omero_plugin_pep(
    plugin: *mut c_void,
    session: *mut omero_session,
    rule: omero_text,
    argument: *const omero_argument,
) -> i64 {
    // SAFETY: the caller's promise.
    let (plugin, argument, rule) = unsafe { (plugin_of(plugin), argument.as_ref(), bytes(rule)) };
    let Some((plugin, pep)) = plugin.zip(Pep::of(rule)) else {
        return RULE_ENGINE_CONTINUE;
    };
    boundary("exec_rule", guard::unable(pep), || {
        let host = SERVER_LOG.get().map(|log| log.0);
        let session = host.and_then(|host| Session::new(host, session));
        // SAFETY: the argument's texts live until this call returns.
        let read = || argument.map_or(Argument::Other, |a| unsafe { argument_of(host, pep, a) });
        // SAFETY: as above.
        let input = || argument.and_then(|a| unsafe { input_of(host, a) });
        match plugin.pep(session.as_ref(), pep, read, input) {
            None => RULE_ENGINE_CONTINUE,
            Some(refusal) => {
                if let Some(session) = &session {
                    session.client_message(refusal.code, &refusal.sentence);
                }
                refusal.code
            }
        }
    })
}

/// See `include/omero_plugin.h`.
///
/// # Safety
/// `plugin` must come from `omero_plugin_new`; `name` must be a valid text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn omero_plugin_is_function(plugin: *const c_void, name: omero_text) -> bool {
    boundary("rule_exists", false, || {
        // SAFETY: the caller's promise.
        let (plugin, name) = unsafe { (plugin_of(plugin), bytes(name)) };
        plugin.is_some_and(|p| p.function(name).is_some())
    })
}

/// See `include/omero_plugin.h`.
///
/// # Safety
/// `plugin` must come from `omero_plugin_new`; `name` and the `count` texts at `arguments` must be valid; `assign` must
/// be safe to call with `context`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn omero_plugin_function(
    plugin: *mut c_void,
    session: *mut omero_session,
    name: omero_text,
    arguments: *const omero_text,
    count: usize,
    assign: Option<unsafe extern "C" fn(*mut c_void, usize, omero_text)>,
    context: *mut c_void,
) -> i64 {
    boundary("function", INTERNAL_ERROR, || {
        // SAFETY: the caller's promise.
        let (plugin, name) = unsafe { (plugin_of(plugin), bytes(name)) };
        let (Some(plugin), Some(log)) = (plugin, SERVER_LOG.get()) else {
            return RULE_ENGINE_CONTINUE;
        };
        let (Some(session), Some(function)) = (Session::new(log.0, session), plugin.function(name)) else {
            return RULE_ENGINE_CONTINUE;
        };
        let arguments: Vec<&[u8]> = if arguments.is_null() {
            Vec::new()
        } else {
            // SAFETY: the caller's promise; the texts live until this call returns.
            unsafe { std::slice::from_raw_parts(arguments, count).iter().map(|t| bytes(*t)).collect() }
        };
        let mut put = |argument: usize, value: &str| {
            if let Some(assign) = assign {
                // SAFETY: the caller's promise for `assign`; the text lives until it returns.
                unsafe { assign(context, argument, borrowed(value.as_bytes())) };
            }
        };
        plugin.call(&session, function, &arguments, &mut put)
    })
}

/// # Safety
/// The texts of `argument` must live as long as it is borrowed.
unsafe fn argument_of<'a>(host: Option<&omero_host>, pep: Pep, argument: &'a omero_argument) -> Argument<'a> {
    // SAFETY: the caller's promise.
    let text = |i: usize| unsafe { bytes(argument.text[i]) };
    let keyword = |condition| {
        // SAFETY: the condition is the server's, and lives as long as the argument.
        host.zip(pep.keyword()).and_then(|(host, key)| unsafe { session::keyword(host, condition, key) })
    };
    if pep.carries_metadata() {
        return Argument::Carried([keyword(argument.condition), keyword(argument.source_condition)]);
    }
    match argument.kind {
        omero_argument_kind::OMERO_ARGUMENT_DATA_OBJECT => Argument::DataObject {
            path: text(0),
            open_flags: argument.number,
            keyword: keyword(argument.condition),
        },
        omero_argument_kind::OMERO_ARGUMENT_COPY => Argument::Copy { source: text(0), destination: text(1) },
        omero_argument_kind::OMERO_ARGUMENT_BULK | omero_argument_kind::OMERO_ARGUMENT_COLLECTION => {
            Argument::Collection(text(0))
        }
        omero_argument_kind::OMERO_ARGUMENT_STRUCT_FILE => Argument::Collection(text(1)),
        omero_argument_kind::OMERO_ARGUMENT_DESCRIPTOR => Argument::Descriptor(argument.number),
        omero_argument_kind::OMERO_ARGUMENT_BYTES => Argument::Json(text(0)),
        omero_argument_kind::OMERO_ARGUMENT_AVU => Argument::Avu(std::array::from_fn(text)),
        _ => Argument::Other,
    }
}

/// The same for the guard of imported data, of the operations that name a path.
///
/// # Safety
/// The texts of `argument` must live as long as it is borrowed.
unsafe fn input_of<'a>(host: Option<&'a omero_host>, argument: &'a omero_argument) -> Option<Input<'a>> {
    // SAFETY: the caller's promise.
    let text = |i: usize| unsafe { bytes(argument.text[i]) };
    match argument.kind {
        omero_argument_kind::OMERO_ARGUMENT_DATA_OBJECT
        | omero_argument_kind::OMERO_ARGUMENT_COPY
        | omero_argument_kind::OMERO_ARGUMENT_COLLECTION
        | omero_argument_kind::OMERO_ARGUMENT_STRUCT_FILE => {}
        _ => return None,
    }
    let word = move |key: &'static str| {
        // SAFETY: the condition is the server's, and lives as long as the argument.
        host.and_then(|host| unsafe { session::keyword(host, argument.condition, key) })
    };
    Some(Input {
        path: text(0),
        other: text(1),
        open_flags: argument.number,
        operation: argument.operation,
        word: Box::new(word),
    })
}

/// See `include/omero_plugin.h`.
///
/// # Safety
/// `plugin` must come from `omero_plugin_new`; `text` must be valid; `write` must be safe to call with `context`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn omero_plugin_rule_text(
    plugin: *mut c_void,
    session: *mut omero_session,
    text: omero_text,
    addressed: bool,
    is_job: bool,
    write: Option<unsafe extern "C" fn(*mut c_void, omero_text)>,
    context: *mut c_void,
) -> i64 {
    boundary("exec_rule_text", RULE_ENGINE_CONTINUE, || {
        // SAFETY: the caller's promise.
        let (plugin, text) = unsafe { (plugin_of(plugin), bytes(text)) };
        let (Some(plugin), Some(log)) = (plugin, SERVER_LOG.get()) else {
            return RULE_ENGINE_CONTINUE;
        };
        let Some(session) = Session::new(log.0, session) else {
            return RULE_ENGINE_CONTINUE;
        };
        let sender = match (addressed, is_job) {
            (true, true) => Sender::Queue,
            (true, false) => Sender::Client,
            (false, _) => Sender::Anybody,
        };
        let answer = plugin.rule_text(&session, text, sender);
        if let (Some(write), Some(output)) = (write, &answer.output) {
            // SAFETY: the caller's promise for `write`; the text lives until it returns.
            unsafe { write(context, borrowed(output.as_bytes())) };
        }
        answer.code
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    thread_local!(static SAID: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) });

    struct Lines;

    impl log::Log for Lines {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            SAID.with_borrow_mut(|said| said.push(log_line(record.args())));
        }
        fn flush(&self) {}
    }

    #[test]
    fn a_panic_ends_at_the_boundary_and_its_text_and_place_are_in_the_log() {
        let _ = log::set_logger(&Lines).map(|()| log::set_max_level(log::LevelFilter::Info));
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(log_panic));
        let number = RefCell::new(5);
        let formatted = boundary("exec_rule", 7, || panic!("the {} of it", number.borrow()));
        let plain = boundary("start", 8, || panic!("alone"));
        let other = boundary("stop", 9, || std::panic::panic_any(1_u8));
        std::panic::set_hook(before);
        assert_eq!((formatted, plain, other), (7, 8, 9));
        let said = SAID.with_borrow(Clone::clone);
        for (place, text) in
            [("src/ffi/mod.rs", "why=\"the 5 of it\""), ("act=panic", "why=\"alone\""), ("act=stop", "")]
        {
            assert!(said.iter().any(|l| l.contains(place) && l.contains(text)), "{text}: {said:?}");
        }
    }

    #[test]
    fn a_line_of_the_log_is_one_line_and_not_longer_than_a_log_bears() {
        let line = log_line(&format_args!("act=x path=a\nomero: act=forged {}", "ü".repeat(MAX_LINE)));
        assert!(!line.contains('\n') && line.ends_with('…') && line.len() <= MAX_LINE + '…'.len_utf8());
    }
}
