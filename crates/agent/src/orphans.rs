//! What an agent that was killed left running. An importer of its may still be at work when the next agent asks OMERO what
//! is there, and what it has not finished would be imported twice: it is ended first.

use irods_omero_importer::is_below;
use rustix::process::{Pid, Signal, getpgid, kill_process_group};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The variable of the environment by which an importer of ours is known.
const MARK: &[u8] = b"OMERO_SESSIONDIR=";

/// How long they may take to end by themselves.
const GRACE: Duration = Duration::from_secs(10);

/// The time between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Ends every process whose sessions are kept below one of some work directories. Gives how many groups there were.
///
/// # Errors
/// They do not end.
pub fn end(work_directories: &[&Path]) -> Result<usize, String> {
    let groups = groups(work_directories);
    let found = groups.len();
    let start = Instant::now();
    let mut left = groups;
    let mut signal = Signal::TERM;
    while !left.is_empty() {
        for group in &left {
            let _ = kill_process_group(*group, signal); // it may have ended
        }
        sleep(LOOK);
        left = self::groups(work_directories);
        match start.elapsed() {
            passed if passed > 2 * GRACE => {
                return Err(format!("{} importers of an agent before do not end", left.len()));
            }
            passed if passed > GRACE => signal = Signal::KILL,
            _ => {}
        }
    }
    Ok(found)
}

fn groups(work_directories: &[&Path]) -> HashSet<Pid> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return HashSet::new();
    };
    processes
        .flatten()
        .filter_map(|entry| {
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            // Of other accounts it cannot be read.
            let environment = std::fs::read(entry.path().join("environ")).ok()?;
            let ours = environment.split(|b| *b == 0).filter_map(|variable| variable.strip_prefix(MARK)).any(
                |value| work_directories.iter().any(|d| is_below(Path::new(OsStr::from_bytes(value)), d)),
            );
            if ours { getpgid(Some(pid)).ok() } else { None }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    #[test]
    fn importers_of_this_work_directory_are_ended_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let sleeper = |sessions: &Path| {
            Command::new("sleep")
                .arg("600")
                .env("OMERO_SESSIONDIR", sessions)
                .process_group(0)
                .spawn()
                .unwrap()
        };
        let mut ours = sleeper(&dir.path().join("run-1-2-3/sessions"));
        let mut other = sleeper(&dir.path().with_extension("other").join("run-1-2-3/sessions"));
        // The child is a zombie, with no environment, until it is waited for.
        while std::fs::read(format!("/proc/{}/environ", ours.id())).unwrap().is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(end(&[dir.path()]), Ok(1));
        assert!(!ours.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
