//! Broken pipes, in a process whose host does not ignore them.

/// Puts the signal's disposition back when dropped, also after a panic.
struct Before(libc::sighandler_t);

impl Drop for Before {
    fn drop(&mut self) {
        if self.0 != libc::SIG_ERR {
            // SAFETY: the disposition is the one the process had.
            unsafe { libc::signal(libc::SIGPIPE, self.0) };
        }
    }
}

/// Runs `act` with SIGPIPE ignored. An iRODS agent leaves that signal deadly, and of the ways in which a library
/// writes to a socket not all ask the kernel for none (`writev` cannot), so a server that hangs up at the wrong
/// moment would end the agent.
pub fn ignoring_broken_pipes<T>(act: impl FnOnce() -> T) -> T {
    // SAFETY: changes one disposition of a process with one thread, and keeps the old one.
    let _before = Before(unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) });
    act()
}
