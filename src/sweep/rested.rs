//! What of a large collection need not be read again. A sweep of a hundred thousand recorded files and one new one asks for
//! what is new or has changed since all of it was read, and for nothing else.
//!
//! The AVU `rested` on the collection says so: which data objects, by id and time, were at rest, under which rules, and when all
//! of them were last read. What changes without a sign of it in the catalog's times (data that is moved in with its old time,
//! a record that somebody has reopened) leaves the mark [`ALL`](crate::due::ALL) there. The order is that of the due mark: a sweep takes the mark
//! away before it reads, and writes no such AVU while a new one is there.

use super::watched::Scope;
use super::{Survey, Sweeper};
use crate::catalog::{CatalogError, UnixTime};
use crate::due::ALL;
use irods_omero_config::Config;
use irods_omero_model::names::{DataId, LogicalPath};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Collections with fewer data objects are read as a whole, which is a few pages.
const WORTH: usize = if cfg!(test) { 3 } else { 1_000 };

/// After a day, in seconds, all is read again, whatever the AVU says: it finds what an administrator has changed by hand.
const VALID: u64 = 86_400;

/// How much of the time before a reading belongs to what has changed since, in seconds: the server that data is written through
/// may have a clock that is an hour behind, and what is registered in one long transaction is seen only at its end.
const OVERLAP: u64 = 7_200;

/// What was at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rested {
    /// Data objects with higher ids are new.
    pub last: u64,
    /// Data objects with a replica that was modified then, or later, have changed.
    pub before: UnixTime,
    /// Stands for the rules by which that was decided.
    rules: u64,
    /// When all of the collection was read.
    read: UnixTime,
}

impl fmt::Display for Rested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:016x} {}", self.last, self.before, self.rules, self.read)
    }
}

impl Rested {
    /// From the value of the AVU.
    pub fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let [last, before, rules, read] = words[..] else { return None };
        Some(Self {
            last: last.parse().ok()?,
            before: before.parse().ok()?,
            rules: u64::from_str_radix(rules, 16).ok()?,
            read: read.parse().ok()?,
        })
    }

    /// What was seen to be at rest by a reading of a whole collection (or of a part of it, after one of the whole). `last`: the
    /// highest id seen; `restless`: when the data that is not at rest was last changed, of each the newest time.
    pub fn of(
        reading: (UnixTime, u64),
        whole: Option<&Self>,
        last: Option<DataId>,
        objects: usize,
        quiet: u64,
        restless: impl Iterator<Item = UnixTime>,
    ) -> Option<Self> {
        let (now, rules) = reading;
        if whole.is_none() && objects < WORTH {
            return None;
        }
        let settled = now.saturating_sub(quiet).saturating_sub(OVERLAP);
        let before = restless.fold(settled, UnixTime::min);
        let last = last.map_or(0, DataId::number).max(whole.map_or(0, |whole| whole.last));
        let read = whole.map_or(now, |whole| whole.read);
        (before > 0 && last > 0).then_some(Self { last, before, rules, read })
    }

    /// Whether it can be relied on.
    fn holds(&self, rules: u64, now: UnixTime) -> bool {
        self.rules == rules && self.is_new(now)
    }

    /// Whether all of the collection was read less than a day ago.
    pub fn is_new(&self, now: UnixTime) -> bool {
        self.read <= now && now - self.read < VALID
    }
}

/// Stands for all by which it is decided what is at rest, but for the data and its records.
pub(super) fn print_of(config: &Config, scope: &Scope) -> u64 {
    let mut hasher = DefaultHasher::new();
    let Scope { rules, root, covers_all, unclear } = scope;
    format!("{rules:?} {root} {covers_all} {unclear:?} {:?}", config.multi_file_formats).hash(&mut hasher);
    (config.agents.is_some(), config.tags, env!("CARGO_PKG_VERSION")).hash(&mut hasher);
    hasher.finish()
}

impl Sweeper<'_> {
    /// What of a collection is at rest, if that is known; a mark that asks for all is taken away.
    pub(super) fn rested(
        &self,
        collection: &LogicalPath,
        scope: &Scope,
    ) -> Result<Option<Rested>, CatalogError> {
        let attribute = &self.config.attributes.rested;
        let said = self.catalog.marks_at(collection, attribute)?;
        let (rules, now) = (print_of(self.config, scope), self.clock.now());
        let rested: Vec<Rested> = said.iter().filter_map(|text| Rested::parse(text)).collect();
        match rested[..] {
            [rested] if said.len() == 1 && rested.holds(rules, now) => Ok(Some(rested)),
            // The mark goes last: should we die before that, all is read.
            _ => {
                let (marks, others): (Vec<&String>, Vec<&String>) =
                    said.iter().partition(|text| *text == ALL);
                for text in others.into_iter().chain(marks) {
                    self.catalog.remove_mark(collection, attribute, text)?;
                }
                Ok(None)
            }
        }
    }

    /// Writes what is at rest, if all was read, or much; `known`: what was written before.
    pub(super) fn keep_rested(
        &self,
        collection: &LogicalPath,
        known: Option<&Rested>,
        survey: &Survey,
    ) -> Result<(), CatalogError> {
        let attribute = &self.config.attributes.rested;
        let Some(rested) = survey.rested else {
            return known
                .map_or(Ok(()), |known| self.catalog.remove_mark(collection, attribute, &known.to_string()));
        };
        if known.is_some() && survey.seen < WORTH / 2 {
            return Ok(());
        }
        // What has been moved in while we were reading.
        let is_asked = self.catalog.marks_at(collection, attribute)?.iter().any(|text| text == ALL);
        if let Some(known) = known {
            self.catalog.remove_mark(collection, attribute, &known.to_string())?;
        }
        if !is_asked {
            self.catalog.set_mark(collection, attribute, &rested.to_string())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_at_rest_reads_back() {
        let rested = Rested { last: 10_045, before: 1_700_000_000, rules: 0xf, read: 1_700_000_500 };
        assert_eq!(Rested::parse(&rested.to_string()), Some(rested));
        for bad in ["", ALL, "1 2 3", "1 2 x 4", "1 2 3 4 5"] {
            assert_eq!(Rested::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_not_at_rest_is_after_the_time_that_is_kept() {
        let last = DataId::from_number(9);
        let of = |restless: &[UnixTime], objects| {
            Rested::of((100_000, 1), None, last, objects, 60, restless.iter().copied())
        };
        assert_eq!(of(&[], WORTH).map(|r| (r.last, r.before, r.read)), Some((9, 92_740, 100_000)));
        assert_eq!(of(&[90_000, 99_990], WORTH).map(|r| r.before), Some(90_000));
        // A time that cannot be read is no time: all is read again.
        assert_eq!(of(&[90_000, 0], WORTH), None);
        assert_eq!(of(&[], WORTH - 1), None);
    }

    #[test]
    fn it_holds_for_a_day_under_the_same_rules() {
        let rested = Rested { last: 9, before: 50, rules: 7, read: 100 };
        assert!(rested.holds(7, 100) && rested.holds(7, 100 + VALID - 1));
        assert!(!rested.holds(7, 100 + VALID) && !rested.holds(8, 100) && !rested.holds(7, 99));
    }
}
