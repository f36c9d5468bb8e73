//! Who is at work on something: a lock that exactly one of several takers gets, and whose owner finds out when it has been
//! taken over.
//!
//! An AVU is no lock: a catalog on `PostgreSQL` lets several clients add a triple that it never held, all of them with
//! success. A collection's name is unique. A lock is therefore an empty collection `KEY.GENERATION` in the service
//! account's home. Whoever finds none makes generation 1; whoever finds one that is older than a dead owner's could be makes
//! the next one, and of several such heirs one succeeds. An owner gives a sign of life by making the next generation
//! itself. What identifies an owner is the id of its collection, which the catalog gives once: a name may be used again.

use crate::catalog::{CatalogError, LockRow, Locks, UnixTime};
use irods_omero_model::names::CollectionId;
use std::time::Duration;

/// A lock that is ours, for as long as [`Lock::is_held`] says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    key: String,
    row: Row,
}

/// What a taker got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// The lock; `true` if its owner before has died.
    Ours(Lock, bool),
    /// Somebody else's, who has to give a sign of life within that time.
    Others(Duration),
}

/// One generation of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    generation: u64,
    found: LockRow,
}

impl Row {
    fn name(key: &str, generation: u64) -> String {
        format!("{key}.{generation}")
    }

    fn of(key: &str, found: LockRow) -> Option<Self> {
        let (of, generation) = found.name.rsplit_once('.')?;
        let generation = generation.parse().ok().filter(|_| of == key)?;
        Some(Self { generation, found })
    }

    /// How long its owner may still be silent, in seconds; `None` once it counts as dead. A time that is further ahead than
    /// that is a wrong clock's, and holds nothing up.
    fn patience(&self, now: UnixTime, expiry: u64) -> Option<u64> {
        let end = self.found.since.saturating_add(expiry);
        (now <= end && self.found.since <= now.saturating_add(expiry)).then(|| end - now)
    }
}

fn generations(catalog: &dyn Locks, key: &str) -> Result<Vec<Row>, CatalogError> {
    let mut rows: Vec<Row> = catalog.locks()?.into_iter().filter_map(|row| Row::of(key, row)).collect();
    rows.sort_by_key(|row| row.generation);
    Ok(rows)
}

impl Lock {
    /// Takes the lock of that name, if nobody has it or its owner has been silent for longer than `expiry`.
    ///
    /// # Errors
    /// The catalog failed. A lock may be left behind then; it is taken over when it has expired.
    pub fn take(
        catalog: &dyn Locks,
        key: &str,
        now: UnixTime,
        expiry: Duration,
    ) -> Result<Taken, CatalogError> {
        let expiry = expiry.as_secs();
        let before = generations(catalog, key)?;
        let generation = match before.last() {
            None => 1,
            Some(last) => match last.patience(now, expiry) {
                Some(left) => return Ok(Taken::Others(Duration::from_secs(left + 1))),
                None => last.generation.saturating_add(1),
            },
        };
        let others = Ok(Taken::Others(Duration::from_secs(1)));
        if !catalog.make_lock(&Row::name(key, generation))? {
            return others;
        }
        let after = generations(catalog, key)?;
        let Some(row) = after.iter().find(|row| row.generation == generation).cloned() else {
            return others; // removed by somebody who may do anything
        };
        // A slow heir may have made its generation when the lock was free again, and another the first one.
        let is_rival = |other: &Row| {
            other.generation != generation && other.patience(now, expiry).is_some() && !before.contains(other)
        };
        if after.iter().any(is_rival) {
            catalog.remove_lock(&row.found.name)?;
            return others;
        }
        for dead in &before {
            catalog.remove_lock(&dead.found.name)?;
        }
        Ok(Taken::Ours(Self { key: key.to_owned(), row }, !before.is_empty()))
    }

    /// The id of its collection, the newest in the catalog when it was taken.
    pub fn id(&self) -> CollectionId {
        self.row.found.id
    }

    /// Whether nobody has taken the lock over.
    ///
    /// # Errors
    /// The catalog failed.
    pub fn is_held(&self, catalog: &dyn Locks) -> Result<bool, CatalogError> {
        let rows = generations(catalog, &self.key)?;
        Ok(rows.last().is_some_and(|last| last.found.id == self.row.found.id))
    }

    /// Gives a sign of life. `false`: it has been taken over.
    ///
    /// # Errors
    /// The catalog failed.
    pub fn renew(&mut self, catalog: &dyn Locks) -> Result<bool, CatalogError> {
        if !self.is_held(catalog)? {
            return Ok(false);
        }
        let generation = self.row.generation.saturating_add(1);
        if !catalog.make_lock(&Row::name(&self.key, generation))? {
            return Ok(false);
        }
        let before = self.row.found.name.clone();
        match generations(catalog, &self.key)?.into_iter().find(|row| row.generation == generation) {
            Some(row) => self.row = row,
            None => return Ok(false),
        }
        catalog.remove_lock(&before)?;
        Ok(true)
    }

    /// Gives the lock back. One that has been taken over stays its heir's.
    ///
    /// # Errors
    /// The catalog failed.
    pub fn release(&self, catalog: &dyn Locks) -> Result<(), CatalogError> {
        let rows = generations(catalog, &self.key)?;
        if rows.iter().any(|row| row.found.id == self.row.found.id) {
            catalog.remove_lock(&self.row.found.name)?;
        }
        Ok(())
    }
}
