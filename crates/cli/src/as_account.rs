//! What root asks of a configuration is answered by a process of the service account.
//!
//! The configuration is the service account's: it names programs, libraries and files, and its directories may hold
//! links and pipes. So nothing of it reaches a process of root. Root starts this program anew, with an empty environment,
//! and that process becomes the service account for good before it opens the configuration. It has no terminal (a program
//! that shares root's could type into it), and what it says is shown without control characters.

use crate::Answer;
use crate::account::Account;
use crate::server_config::Source;
use irods_omero_importer::process::{self, Nobody};
use rustix::fs::OFlags;
use rustix::process::{Gid, Uid, geteuid, setsid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, set_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid, set_thread_uid,
};
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The hidden command by which the program is started anew.
pub const COMMAND: &str = "as-account";

/// How long an answer may take. What hangs is a file system that does not answer: programs have shorter limits.
const LIMIT: Duration = Duration::from_secs(600);

/// The number of `nobody`, for a configuration whose account is not known: its text alone is looked at then.
const NOBODY: u32 = 65_534;

/// Whose answer is wanted.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Asked {
    #[arg(long)]
    uid: u32,
    #[arg(long)]
    gid: u32,
    #[arg(long, value_delimiter = ',')]
    groups: Vec<u32>,
    /// The name of the server's account, where that is known
    #[arg(long)]
    name: Option<String>,
    /// Whether standard input is the configuration
    #[arg(long)]
    opened: bool,
    /// The command line that was given
    #[arg(last = true)]
    pub line: Vec<OsString>,
}

/// Why this process did not become the account.
#[derive(Debug, thiserror::Error)]
pub enum StayError {
    /// A call of the system failed.
    #[error("cannot become the account {uid}: {why}")]
    Refused {
        /// The account's number.
        uid: u32,
        /// What the system says.
        why: io::Error,
    },
    /// Threads have accounts of their own.
    #[error("cannot become the account {0}: this process has several threads")]
    Threads(u32),
    /// It is still root, or could be again.
    #[error("cannot become the account {0}: root can be had back")]
    Root(u32),
}

/// Whether this process is root.
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Has a command line answered by a process of the server's account.
pub fn ask(config: &Path, named: Option<&str>, line: &[OsString]) -> Answer {
    let account = match (Account::of(config, named), named) {
        (Ok(account), _) => Some(account),
        // Whoever names an account means it.
        (Err(why), Some(_)) => return Answer::none(format!("{why}; name another with --account")),
        (Err(_), None) => None,
    };
    match run(account.as_ref(), roots_own(config), line) {
        Ok(answer) => answer,
        Err(e) => Answer::none(format!("the check cannot be started as the server's account: {e}")),
    }
}

/// A configuration that nobody but root can have put there, opened: a draft, which the account may not be able to read.
fn roots_own(config: &Path) -> Option<File> {
    let is_roots = |about: &Metadata| about.uid() == 0 && about.mode() & 0o022 == 0;
    let directory = config.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).ok()?;
    if !is_roots(&fs::metadata(directory).ok()?) {
        return None;
    }
    let file = OpenOptions::new().read(true).custom_flags(flags).open(config).ok()?;
    let about = file.metadata().ok()?;
    (about.is_file() && about.nlink() == 1 && is_roots(&about)).then_some(file)
}

/// This program; by its first word where no /proc is mounted.
fn program() -> io::Result<OsString> {
    let named = || std::env::args_os().next().map(PathBuf::from);
    match (std::env::current_exe(), named()) {
        (Ok(path), _) => Ok(path.into_os_string()),
        (Err(_), Some(name)) if name.components().count() == 1 => Ok(name.into_os_string()),
        (Err(_), Some(name)) => Ok(fs::canonicalize(name)?.into_os_string()),
        (Err(why), None) => Err(why),
    }
}

fn run(account: Option<&Account>, opened: Option<File>, line: &[OsString]) -> io::Result<Answer> {
    let groups = |of: &[u32]| of.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let mut words: Vec<OsString> = vec![COMMAND.into()];
    let (uid, gid, groups, name) = match account {
        Some(a) => (a.uid, a.gid, groups(&a.groups), Some(&a.name)),
        None => (NOBODY, NOBODY, NOBODY.to_string(), None),
    };
    words.extend(
        [format!("--uid={uid}"), format!("--gid={gid}"), format!("--groups={groups}")].map(Into::into),
    );
    words.extend(name.map(|name| format!("--name={name}").into()));
    words.extend(opened.is_some().then(|| "--opened".into()));
    words.push("--".into());
    words.extend_from_slice(line);
    let program = program()?;
    let prepare = |command: &mut std::process::Command| {
        command.env_clear().current_dir("/");
    };
    let input = opened.map_or_else(|| File::open("/dev/null"), Ok)?;
    let done = process::run(&program, &words, input, LIMIT, prepare, &mut || {}, &Nobody)?;
    if done.timed_out {
        return Ok(Answer::none(format!(
            "no answer within {} s: a file system that the configuration points at may not answer (look at 'mount')",
            LIMIT.as_secs()
        )));
    }
    let complaint = done.stderr.trim_end().trim_start_matches("irods-omero: ");
    let code = done.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(2);
    Ok(Answer { output: printable(&done.stdout).into_bytes(), complaint: printable(complaint), code })
}

/// A text without characters that a terminal obeys.
pub fn printable(text: &str) -> String {
    let is_plain = |c: char| !c.is_control() || c == '\n' || c == '\t';
    let shown = |c: char| if is_plain(c) { c.to_string() } else { format!("\\u{:04x}", u32::from(c)) };
    text.chars().map(shown).collect()
}

impl Asked {
    /// Becomes the account, for good, and leaves the terminal.
    ///
    /// # Errors
    /// The process is not wholly that account; it must do nothing then.
    pub fn become_it(&self) -> Result<(), StayError> {
        let uid = self.uid;
        let refused = |why: io::Error| StayError::Refused { uid, why };
        // Where no /proc is mounted it cannot be told; this is called before any thread is made.
        if fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() != 1) {
            return Err(StayError::Threads(uid));
        }
        if uid == 0 {
            return Err(StayError::Root(uid));
        }
        // Fails where the process leads a group, which `timeout` above it does in its place.
        setsid().map_err(|e| refused(e.into()))?;
        let groups: Vec<Gid> = self.groups.iter().map(|g| Gid::from_raw(*g)).collect();
        let (user, group) = (Uid::from_raw(uid), Gid::from_raw(self.gid));
        set_thread_groups(&groups).map_err(|e| refused(e.into()))?;
        set_thread_res_gid(group, group, group).map_err(|e| refused(e.into()))?;
        set_thread_res_uid(user, user, user).map_err(|e| refused(e.into()))?;
        let none = CapabilitySet::empty();
        let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
        set_capabilities(None, none).map_err(|e| refused(e.into()))?;
        if set_thread_uid(Uid::ROOT).is_ok() || geteuid() != user {
            return Err(StayError::Root(uid));
        }
        Ok(())
    }

    /// Where the configuration's bytes come from.
    pub fn source(&self) -> Source {
        if self.opened { Source::StandardInput } else { Source::File }
    }

    /// The server's account, where it is known.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing_that_is_shown() {
        assert_eq!(printable("a\tb\nü"), "a\tb\nü");
        assert_eq!(printable("\u{1b}]0;x\u{7}\r\u{9b}1m\u{7f}"), "\\u001b]0;x\\u0007\\u000d\\u009b1m\\u007f");
    }

    #[test]
    fn a_process_with_threads_becomes_nobody_else() {
        let asked = Asked { uid: 1, gid: 1, groups: Vec::new(), name: None, opened: false, line: Vec::new() };
        // The tests' runner has threads.
        assert!(matches!(asked.become_it(), Err(StayError::Threads(1))));
    }
}
