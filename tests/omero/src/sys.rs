//! The few things the standard library has no safe call for.

use std::fs::File;
use std::os::fd::AsRawFd;

/// The effective user id.
pub fn euid() -> u32 {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() }
}

/// Marks every descriptor above standard error as close-on-exec, as Python's
/// `Popen` (close_fds) does for the java process.
pub fn close_on_exec_above_stderr() {
    // SAFETY: only flags are changed; no descriptor is closed in this process.
    unsafe {
        libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed());
    }
}

/// Takes an exclusive lock that ends when the file is closed.
pub fn lock(file: &File) -> std::io::Result<()> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed.
    match unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Ends this process by a signal, as an out-of-memory killer or an operator would.
pub fn die_by_signal(signal: i32) -> ! {
    // SAFETY: both calls take plain integers; the default action is restored
    // first so that the signal is not ignored.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
    std::process::exit(128 + signal)
}

extern "C" fn cancelled(_: libc::c_int) {
    let word = b"Cancelled\n";
    // SAFETY: both calls are allowed in a signal handler; the buffer is static.
    unsafe {
        libc::write(1, word.as_ptr().cast(), word.len());
        libc::_exit(1);
    }
}

/// Ctrl-C ends the Python half with a word on standard output and exit code 1;
/// a started program does not inherit this.
pub fn end_with_1_when_interrupted() {
    // SAFETY: the handler only makes calls that are safe in a signal handler.
    unsafe {
        libc::signal(libc::SIGINT, cancelled as *const () as libc::sighandler_t);
    }
}

/// Broken-down time: year, month 1-12, day, hour, minute, second, weekday (0 = Sunday).
pub struct Clock {
    pub year: i32,
    pub month: i32,
    pub day: i32,
    pub hour: i32,
    pub minute: i32,
    pub second: i32,
    pub weekday: i32,
}

/// Local time of a moment given in seconds since 1970.
pub fn local_time(seconds: i64) -> Clock {
    // SAFETY: all-zero is a valid `tm`, and both pointers are to live locals.
    let tm = unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        libc::localtime_r(&raw const seconds, &raw mut tm);
        tm
    };
    Clock {
        year: tm.tm_year + 1900,
        month: tm.tm_mon + 1,
        day: tm.tm_mday,
        hour: tm.tm_hour,
        minute: tm.tm_min,
        second: tm.tm_sec,
        weekday: tm.tm_wday,
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// A random UUID from the system's generator.
pub fn uuid() -> String {
    use std::io::Read;
    let mut b = [0u8; 16];
    if let Ok(mut f) = File::open("/dev/urandom") {
        let _ = f.read_exact(&mut b);
    }
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    let h: String = b.iter().fold(String::new(), |s, x| s + &format!("{x:02x}"));
    format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
}

/// Whether the locale in force is a UTF-8 one: Java decodes arguments and
/// standard input by it.
pub fn utf8_locale() -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .filter_map(|n| std::env::var(n).ok())
        .find(|v| !v.is_empty())
        .is_some_and(|v| v.to_ascii_lowercase().replace('-', "").contains("utf8"))
}

/// Writes at once; a reader that has gone away is no reason to stop.
pub fn put(out: &mut dyn std::io::Write, text: &str) {
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
