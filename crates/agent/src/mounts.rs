//! Whether directories answer. A file system that hangs (an NFS server that is away) keeps whoever asks it for ever: each
//! directory is asked by a thread of its own, one at a time, and nobody waits for it longer than some seconds.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a directory may take to answer.
const LIMIT: Duration = Duration::from_secs(5);

/// How long an answer is told again.
const AGE: Duration = Duration::from_secs(5);

/// How a directory is looked at.
type Look = dyn Fn(&Path) -> Result<(), String> + Send + Sync;

/// Directories, and when each of them last answered; a copy is the same.
#[derive(Clone)]
pub struct Mounts(Arc<Inner>);

struct Inner {
    look: Box<Look>,
    limit: Duration,
    state: Mutex<BTreeMap<PathBuf, Mount>>,
    answered: Condvar,
}

#[derive(Default)]
struct Mount {
    /// Since when an answer is waited for.
    asked: Option<Instant>,
    last: Option<(Instant, Result<(), String>)>,
}

impl fmt::Debug for Mounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mounts, of which hang {:?}", self.hung())
    }
}

impl Default for Mounts {
    fn default() -> Self {
        Self::new(readable, LIMIT)
    }
}

fn readable(directory: &Path) -> Result<(), String> {
    let found = std::fs::read_dir(directory).and_then(|mut entries| entries.next().transpose());
    found.map(drop).map_err(|e| format!("{} cannot be read by the agent's account: {e}", directory.display()))
}

impl Mounts {
    /// Looks at directories in this way, each within a time.
    pub fn new(look: impl Fn(&Path) -> Result<(), String> + Send + Sync + 'static, limit: Duration) -> Self {
        let (look, state, answered) = (Box::new(look), Mutex::default(), Condvar::new());
        Self(Arc::new(Inner { look, limit, state, answered }))
    }

    fn state(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Mount>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a directory answers and can be read, as it was some seconds ago at most. Waits for it no longer than the
    /// limit; where it is waited for already, not at all beyond that.
    ///
    /// # Errors
    /// A sentence with the remedy.
    pub fn look(&self, directory: &Path) -> Result<(), String> {
        let mut state = self.state();
        let mount = state.entry(directory.to_owned()).or_default();
        if let Some((when, answer)) = &mount.last
            && mount.asked.is_none()
            && when.elapsed() < AGE
        {
            return answer.clone();
        }
        if mount.asked.is_none() {
            mount.asked = Some(Instant::now());
            self.ask(directory.to_owned())?;
        }
        loop {
            let mount = state.entry(directory.to_owned()).or_default();
            match (mount.asked, &mount.last) {
                (None, Some((_, answer))) => return answer.clone(),
                (Some(since), _) if since.elapsed() < self.0.limit => {
                    let left = self.0.limit.saturating_sub(since.elapsed());
                    state =
                        self.0.answered.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                }
                (Some(since), _) => {
                    return Err(format!(
                        "{} has not answered for {} s: its file system hangs; look at the mount and its server",
                        directory.display(),
                        since.elapsed().as_secs()
                    ));
                }
                (None, None) => return Err(format!("{} was not looked at", directory.display())),
            }
        }
    }

    fn ask(&self, directory: PathBuf) -> Result<(), String> {
        let mounts = self.clone();
        let work = move || {
            let answer = (mounts.0.look)(&directory);
            let mount = Mount { asked: None, last: Some((Instant::now(), answer)) };
            mounts.state().insert(directory, mount);
            mounts.0.answered.notify_all();
        };
        let started = std::thread::Builder::new().name("mount".to_owned()).spawn(work);
        started.map(drop).map_err(|e| format!("no thread can be started: {e}"))
    }

    /// The directories that have been asked and do not answer.
    pub fn hung(&self) -> Vec<PathBuf> {
        let hangs = |mount: &Mount| mount.asked.is_some_and(|since| since.elapsed() >= self.0.limit);
        self.state().iter().filter(|(_, mount)| hangs(mount)).map(|(path, _)| path.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_directory_that_hangs_keeps_nobody_and_is_known_again_when_it_answers() {
        let (answer, answers) = channel();
        let answers = Mutex::new(answers);
        let look = move |path: &Path| {
            if path.ends_with("hangs") {
                answers.lock().unwrap().recv().unwrap();
            }
            Ok(())
        };
        let mounts = Mounts::new(look, Duration::from_millis(20));
        for _ in 0..3 {
            assert!(mounts.look(Path::new("/hangs")).unwrap_err().contains("/hangs has not answered"));
        }
        assert_eq!(mounts.look(Path::new("/fine")), Ok(()));
        assert_eq!(mounts.hung(), [PathBuf::from("/hangs")]);
        // Only one thread waits for it: one answer is enough.
        answer.send(()).unwrap();
        while !mounts.hung().is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(mounts.look(Path::new("/hangs")), Ok(()));
    }

    #[test]
    fn a_directory_that_cannot_be_read_is_told_with_its_path() {
        let mounts = Mounts::default();
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(mounts.look(dir.path()), Ok(()));
        assert!(mounts.look(&dir.path().join("none")).unwrap_err().contains("none cannot be read"));
    }
}
