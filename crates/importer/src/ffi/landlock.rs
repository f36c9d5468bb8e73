//! Landlock (Linux 5.13 and later): a process gives up the right to read files for good, with all it starts, but for those
//! it names. Interface: `linux/landlock.h` and landlock(7), version 1 of it; the C library has no functions for it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// `LANDLOCK_ACCESS_FS_READ_FILE`.
const READ_FILE: u64 = 1 << 2;
/// `LANDLOCK_CREATE_RULESET_VERSION`.
const VERSION: u32 = 1;
/// `LANDLOCK_RULE_PATH_BENEATH`.
const PATH_BENEATH: u32 = 1;

/// `struct landlock_ruleset_attr`, as far as version 1 has it.
#[repr(C)]
struct RulesetAttr {
    handled_access_fs: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneathAttr {
    allowed_access: u64,
    parent_fd: i32,
}

/// The files that a process may read.
#[derive(Debug)]
pub struct Ruleset(OwnedFd);

/// Whether the kernel offers Landlock.
pub fn is_landlock_offered() -> bool {
    // SAFETY: with this flag the kernel takes neither a pointer nor a size, and only answers with a number.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<RulesetAttr>(), 0_usize, VERSION)
    };
    version >= 1
}

impl Ruleset {
    /// One that allows nothing yet.
    ///
    /// # Errors
    /// The kernel does not offer it, or has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let attr = RulesetAttr { handled_access_fs: READ_FILE };
        // SAFETY: the structure is alive during the call, and its size is given.
        let descriptor = unsafe {
            libc::syscall(
                libc::SYS_landlock_create_ruleset,
                &raw const attr,
                std::mem::size_of::<RulesetAttr>(),
                0_u32,
            )
        };
        match RawFd::try_from(descriptor) {
            // SAFETY: the kernel has just given us this descriptor, close-on-exec, and nobody else has it.
            Ok(descriptor) if descriptor >= 0 => Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) })),
            Ok(_) | Err(_) => Err(io::Error::last_os_error()),
        }
    }

    /// Allows to read a file, or all files below a directory. The descriptor may be one that only names it (`O_PATH`).
    ///
    /// # Errors
    /// As the kernel says.
    pub fn allow(&self, what: &impl AsFd) -> io::Result<()> {
        let attr = PathBeneathAttr { allowed_access: READ_FILE, parent_fd: what.as_fd().as_raw_fd() };
        // SAFETY: the structure is alive during the call, and both descriptors are open.
        let result = unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                self.0.as_raw_fd(),
                PATH_BENEATH,
                &raw const attr,
                0_u32,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Has a command hold to it, with all it starts. It cannot gain rights by a set-user-id program then.
    pub fn confine(self, command: &mut Command) {
        let before_exec = move || {
            // SAFETY: only system calls, on a descriptor that the closure owns.
            let result = unsafe {
                if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
                    return Err(io::Error::last_os_error());
                }
                libc::syscall(libc::SYS_landlock_restrict_self, self.0.as_raw_fd(), 0_u32)
            };
            if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        };
        // SAFETY: the closure only makes system calls and allocates nothing.
        unsafe { command.pre_exec(before_exec) };
    }
}
