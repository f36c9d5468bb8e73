//! Having an agent that runs finish what it does and take nothing new: before an upgrade, a restart of OMERO, a move.
//!
//! The agent writes its process id into the file whose lock it holds. It is asked by a signal, and what it does is seen in
//! its queue.

use crate::queue::Queue;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// The time between two looks at the queue.
const LOOK: Duration = Duration::from_millis(200);

/// Where an agent with this configuration keeps its state; nothing else in the file is looked at.
///
/// # Errors
/// The file cannot be read, or is no TOML.
pub fn state_directory(config: &Path) -> Result<PathBuf, String> {
    let about = |e: &dyn std::fmt::Display| format!("{}: {e}", config.display());
    let text = fs::read_to_string(config).map_err(|e| about(&e))?;
    let value: Value = toml::from_str(&text).map_err(|e| about(&e))?;
    let named = value.get("state_directory").and_then(Value::as_str);
    Ok(named.unwrap_or(crate::config::STATE_DIRECTORY).into())
}

/// Asks the agent that uses a state directory. Where it is waited for, until none of its jobs runs. Gives what to do next.
///
/// # Errors
/// No agent runs there, or it cannot be asked.
pub fn drain(directory: &Path, undo: bool, wait: bool) -> Result<String, String> {
    let process = agent_of(directory)?;
    let signal = if undo { Signal::USR2 } else { Signal::USR1 };
    kill_process(process, signal).map_err(|e| {
        format!("the agent (process {process}) cannot be asked: {e}; run this as root or as its account")
    })?;
    if undo {
        return Ok("The agent takes up new work again.".to_owned());
    }
    let queue = directory.join("queue.sqlite");
    let mut running = Queue::running_in(&queue)?;
    if !wait {
        return Ok(format!(
            "The agent takes nothing new. {running} jobs run; 'irods-omero agent drain' waits for them."
        ));
    }
    let mut told = None;
    while running > 0 {
        if told != Some(running) {
            eprintln!("{running} jobs run...");
            told = Some(running);
        }
        sleep(LOOK);
        agent_of(directory)?;
        running = Queue::running_in(&queue)?;
    }
    Ok("Nothing runs any more, and nothing new is taken. What is queued stays queued. Now stop the agent; a start of it, or \
        'irods-omero agent drain --undo', goes on."
        .to_owned())
}

/// The process of the agent that uses a state directory.
fn agent_of(directory: &Path) -> Result<Pid, String> {
    let path = directory.join("agent.lock");
    let none = || format!("no agent runs with the state directory {}", directory.display());
    let file = OpenOptions::new().read(true).open(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return Err(none());
    }
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    text.trim().parse().ok().and_then(Pid::from_raw).ok_or_else(none)
}
