//! Threads that stand back: an import may take every processor there is, but whoever asks the agent is answered first.

use rustix::process::nice;
use std::future::Future;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::RecvError;

/// How much further back than the agent the importers stand, as of `nice(1)`.
const NICE: i32 = 10;

/// Runs work on a thread of its own. Whatever it starts stands back with it.
///
/// # Errors
/// The work panicked, or there is no thread for it.
pub fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T, RecvError>> + Send {
    let (tell, told) = oneshot::channel();
    let stand_back_and_work = move || {
        if let Err(error) = nice(NICE) {
            tracing::debug!(act = "stand back", failed = %error);
        }
        let _ = tell.send(work()); // whoever waited may be gone
    };
    let started = std::thread::Builder::new().name("import".to_owned()).spawn(stand_back_and_work);
    if let Err(error) = started {
        tracing::error!(act = "start", failed = %error, "no thread");
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_and_what_it_starts_stand_back_and_others_do_not() {
        let nice_of = || {
            let said = std::process::Command::new("nice").output().unwrap();
            String::from_utf8(said.stdout).unwrap().trim().parse::<i32>().unwrap()
        };
        let before = nice_of();
        let inside = run(nice_of).await.unwrap();
        assert_eq!((inside, nice_of()), ((before + NICE).min(19), before));
        assert!(run(|| panic!("as it should")).await.is_err());
    }
}
