//! What a child process needs that std does not offer.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Has the kernel send SIGTERM to the child when this process dies, however it dies.
pub fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    let before_exec = move || {
        // SAFETY: prctl and getppid are async-signal-safe and touch no memory of ours.
        let (asked, parent_now) =
            unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM), libc::getppid()) };
        if asked != 0 {
            return Err(std::io::Error::last_os_error());
        }
        // The parent may have died before the request.
        if u32::try_from(parent_now) == Ok(parent) {
            Ok(())
        } else {
            Err(std::io::Error::from_raw_os_error(libc::ESRCH))
        }
    };
    // SAFETY: the closure only makes async-signal-safe calls and allocates nothing.
    unsafe { command.pre_exec(before_exec) };
}
