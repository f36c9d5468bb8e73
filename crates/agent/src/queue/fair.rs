//! Whose turn it is. Each claimant has a virtual time that grows with the work it is given; the one with the lowest
//! is next. One that comes, or comes back, starts where the others are: nobody saves up turns.

use std::collections::HashMap;
use std::hash::Hash;

/// The virtual times of claimants.
#[derive(Debug)]
pub struct Shares<K> {
    times: HashMap<K, u64>,
    /// The time of the last one who had a turn.
    now: u64,
}

impl<K> Default for Shares<K> {
    fn default() -> Self {
        Self { times: HashMap::new(), now: 0 }
    }
}

/// How many claimants are remembered that may have nothing to do any more.
const MAX_REMEMBERED: usize = 10_000;

impl<K: Eq + Hash + Clone> Shares<K> {
    /// The time of a claimant: the lowest is next.
    pub fn time(&self, claimant: &K) -> u64 {
        self.times.get(claimant).map_or(self.now, |t| *t.max(&self.now))
    }

    /// Gives a claimant work of some weight.
    pub fn charge(&mut self, claimant: &K, weight: u64) {
        let start = self.time(claimant);
        self.now = self.now.max(start);
        self.times.insert(claimant.clone(), start + weight);
        self.forget();
    }

    /// Takes back what a claimant was charged for work that was not done after all.
    pub fn refund(&mut self, claimant: &K, weight: u64) {
        if let Some(time) = self.times.get_mut(claimant) {
            *time = time.saturating_sub(weight);
        }
    }

    fn forget(&mut self) {
        if self.times.len() > MAX_REMEMBERED {
            // Who is behind the present is treated as one who comes anew anyway.
            let now = self.now;
            self.times.retain(|_, time| *time > now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(shares: &mut Shares<char>, claimants: &[(char, u64)], n: usize) -> String {
        let mut order = String::new();
        for _ in 0..n {
            let (who, weight) = claimants.iter().min_by_key(|(c, _)| (shares.time(c), *c)).unwrap();
            shares.charge(who, *weight);
            order.push(*who);
        }
        order
    }

    #[test]
    fn claimants_get_the_same_work_however_large_their_jobs_are() {
        let order = turns(&mut Shares::default(), &[('a', 1), ('b', 4)], 50);
        let count = |c| order.chars().filter(|o| *o == c).count();
        assert_eq!((count('a'), count('b')), (40, 10));
    }

    #[test]
    fn work_that_was_not_done_costs_no_turn() {
        let mut shares = Shares::default();
        turns(&mut shares, &[('a', 1), ('b', 1)], 10);
        let before = (shares.time(&'a'), shares.time(&'b'));
        for _ in 0..100 {
            shares.charge(&'a', 7);
            shares.refund(&'a', 7);
        }
        assert_eq!((shares.time(&'a'), shares.time(&'b')), before);
    }

    #[test]
    fn one_who_comes_late_gets_no_turns_for_the_time_before() {
        let mut shares = Shares::default();
        turns(&mut shares, &[('a', 1)], 1_000);
        assert!(["ababab", "bababa"].contains(&&*turns(&mut shares, &[('a', 1), ('b', 1)], 6)));
    }
}
