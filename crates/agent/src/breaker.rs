//! When a server, or one user's jobs on it, is left alone for a time: what fails for one job after the other is not tried
//! by each of a hundred thousand. One probe closes a server, and one opens it.
//!
//! Where the probe finds nothing wrong and jobs fail all the same, before anything of them was imported (a repository that
//! cannot be written), the jobs themselves are the probe: after some failures in a row one job at a time is tried, after
//! waits that double, until one is done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A server and one of its users.
type Account = (String, String);

/// So many failures in a row of one user, or of so many users of a server, close the way.
const FAILURES: usize = 3;

/// The first wait before one job is tried; it doubles...
const WAIT: Duration = Duration::from_secs(15);
/// ...up to this.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// Failures in a row.
#[derive(Debug, Default)]
struct Trouble {
    failures: usize,
    users: BTreeSet<String>,
    wait: Duration,
    /// When one job may be tried; `None` before there were enough failures.
    trial: Option<Instant>,
    why: String,
}

impl Trouble {
    fn failed(&mut self, user: &str, enough: impl Fn(&Self) -> bool, now: Instant, why: &str) {
        self.failures += 1;
        self.users.insert(user.to_owned());
        why.clone_into(&mut self.why);
        if enough(self) {
            self.wait = (self.wait * 2).clamp(WAIT, MAX_WAIT);
            self.trial = Some(now + self.wait);
        }
    }

    fn is_shut(&self, now: Instant) -> bool {
        self.trial.is_some_and(|trial| trial > now)
    }
}

/// What is left alone now.
#[derive(Debug, Default)]
pub struct Breaker {
    /// Closed by a probe, and why.
    closed: BTreeMap<String, String>,
    servers: BTreeMap<String, Trouble>,
    accounts: BTreeMap<Account, Trouble>,
}

impl Breaker {
    /// A probe found that a server is of no use now. False if that was known.
    pub fn close(&mut self, server: &str, why: &str) -> bool {
        self.closed.insert(server.to_owned(), why.to_owned()).is_none()
    }

    /// A probe found that a server is of use again.
    pub fn open(&mut self, server: &str) {
        self.closed.remove(server);
        self.succeeded_all(server);
    }

    fn succeeded_all(&mut self, server: &str) {
        self.servers.remove(server);
        self.accounts.retain(|(of, _), _| of != server);
    }

    /// A job as a whole could not be done, though the probe finds nothing wrong.
    pub fn failed(&mut self, server: &str, user: &str, now: Instant, why: &str) {
        let many_users = |t: &Trouble| t.users.len() >= FAILURES;
        self.servers.entry(server.to_owned()).or_default().failed(user, many_users, now, why);
        let account = (server.to_owned(), user.to_owned());
        let many = |t: &Trouble| t.failures >= FAILURES;
        self.accounts.entry(account).or_default().failed(user, many, now, why);
    }

    /// A job of a user was done: the server works, and for this user too.
    pub fn succeeded(&mut self, server: &str, user: &str) {
        self.servers.remove(server);
        self.accounts.remove(&(server.to_owned(), user.to_owned()));
    }

    /// A job was started: where one at a time is tried, this is it.
    pub fn started(&mut self, server: &str, user: &str, now: Instant) {
        let account = (server.to_owned(), user.to_owned());
        let troubles = self.servers.get_mut(server).into_iter().chain(self.accounts.get_mut(&account));
        for trouble in troubles {
            if trouble.trial.is_some() {
                // Nothing else until it has ended one way or the other; should it be lost, another one later.
                trouble.trial = Some(now + MAX_WAIT.max(trouble.wait) * 2);
            }
        }
    }

    /// The servers for which nothing is started, and why.
    pub fn shut_servers(&self, now: Instant) -> BTreeMap<String, String> {
        let troubled = self.servers.iter().filter(|(_, t)| t.is_shut(now));
        let troubled = troubled.map(|(server, t)| (server.clone(), failing(&t.why)));
        troubled.chain(self.closed.clone()).collect()
    }

    /// The users for whom nothing is started, and why.
    pub fn shut_accounts(&self, now: Instant) -> BTreeMap<Account, String> {
        let troubled = self.accounts.iter().filter(|(_, t)| t.is_shut(now));
        troubled.map(|(account, t)| (account.clone(), failing(&t.why))).collect()
    }

    /// When the next job may be tried; `None` if none waits for that.
    pub fn next_trial(&self) -> Option<Instant> {
        self.servers.values().chain(self.accounts.values()).filter_map(|t| t.trial).min()
    }

    /// The servers closed by a probe, and why.
    pub fn closed(&self) -> &BTreeMap<String, String> {
        &self.closed
    }
}

fn failing(why: &str) -> String {
    format!("the last jobs failed one after the other, so that one at a time is tried: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_many_users_shut_a_server_and_of_one_user_that_users_jobs_only() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..10 {
            breaker.failed("s", "ann", now, "no");
        }
        assert!(breaker.shut_servers(now).is_empty());
        assert!(breaker.shut_accounts(now).contains_key(&("s".to_owned(), "ann".to_owned())));
        breaker.failed("s", "bob", now, "no");
        breaker.failed("s", "cid", now, "no");
        assert!(breaker.shut_servers(now)["s"].contains("no"));
        breaker.succeeded("s", "bob");
        assert!(breaker.shut_servers(now).is_empty());
        assert_eq!(breaker.shut_accounts(now).len(), 1, "ann's still fail");
    }

    #[test]
    fn one_job_is_tried_after_waits_that_double_until_one_is_done() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        let shut = |breaker: &Breaker, now| !breaker.shut_accounts(now).is_empty();
        let mut waits = Vec::new();
        for _ in 0..FAILURES - 1 {
            breaker.failed("s", "ann", now, "no");
            assert!(!shut(&breaker, now));
        }
        for _ in 0..8 {
            breaker.failed("s", "ann", now, "no");
            let trial = breaker.next_trial().unwrap();
            waits.push(trial.duration_since(now).as_secs());
            assert!(shut(&breaker, now));
            now = trial;
            assert!(!shut(&breaker, now), "one may be tried");
            breaker.started("s", "ann", now);
            assert!(shut(&breaker, now), "and no second one beside it");
        }
        assert_eq!(waits, [15, 30, 60, 120, 240, 300, 300, 300]);
        breaker.succeeded("s", "ann");
        assert!(!shut(&breaker, now) && breaker.next_trial().is_none());
    }

    #[test]
    fn what_a_probe_has_closed_only_a_probe_opens() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        assert!(breaker.close("s", "away") && !breaker.close("s", "away still"));
        breaker.succeeded("s", "ann");
        assert_eq!(breaker.shut_servers(now)["s"], "away still");
        breaker.open("s");
        assert!(breaker.shut_servers(now).is_empty());
    }
}
