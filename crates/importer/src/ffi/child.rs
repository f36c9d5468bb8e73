//! What a child process of a server's agent needs that std does not offer.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// The highest descriptor that is looked at where the kernel has no `close_range`.
const LAST_DESCRIPTOR: i32 = 4_096;

/// Makes a command fit to be started from an agent:
/// - it gets SIGTERM from the kernel when this process dies, however it dies;
/// - signals an agent ignores (INT, TERM, HUP) have their usual effect again;
/// - it inherits no descriptor but the standard three: the socket to the client is not close-on-exec, and a
///   long import must not hold it.
pub fn isolate(command: &mut Command) {
    isolate_with(command, true);
}

/// The same for a process that outlives the thread that starts it: the kernel would signal it at the end of that
/// thread. It has to notice by itself that we died, by the end of its standard input.
pub fn isolate_resident(command: &mut Command) {
    isolate_with(command, false);
}

fn isolate_with(command: &mut Command, ends_with_thread: bool) {
    let parent = std::process::id();
    let before_exec = move || {
        // SAFETY: only async-signal-safe calls, on no memory of ours.
        let parent_now = unsafe {
            for signal in
                [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE, libc::SIGUSR1, libc::SIGQUIT]
            {
                libc::signal(signal, libc::SIG_DFL);
            }
            // Close-on-exec, not closed: std reports a failing exec through a pipe of its own.
            let flag = libc::CLOSE_RANGE_CLOEXEC;
            if libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, flag) != 0 {
                for descriptor in 3..LAST_DESCRIPTOR {
                    libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
                }
            }
            if ends_with_thread && libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            libc::getppid()
        };
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
