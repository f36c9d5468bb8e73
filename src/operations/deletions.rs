//! `{"operation":"deletions"}`: what somebody deleted in OMERO is noticed by itself. Every `sweep_all` sees to one such job.
//!
//! OMERO keeps a log of events, which says of each fileset that was deleted by whom and when. It is read on from a cursor, which is
//! an AVU on the zone's collection; so nothing is missed that was deleted while nobody looked. The log only says where to look:
//! what is not there any more OMERO is asked as the owner, as after a refusal.
//!
//! Entries of the log get their numbers before they can be seen, and a long transaction shows its late. So the cursor stays behind
//! what has been read for [`SETTLED`] seconds; what is read twice finds no record the second time.

use super::release::{DELETES, Tied, by_owner, can_ask, zone_of};
use super::subject::things;
use super::{Context, OperationError};
use crate::catalog::{CatalogError, Kind, UnixTime, Which};
use crate::due;
use crate::guard::imported::is_in_omero;
use crate::sweep::lock::{Lock, Taken};
use irods_omero_config::OnDelete;
use irods_omero_importer::{DeletedFileset, ImporterError};
use irods_omero_model::names::{LogicalPath, OmeroId, OmeroName};
use irods_omero_model::record::Record;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// After so many seconds an entry of OMERO's log that is to be seen is seen.
const SETTLED: u64 = 600;

/// The most questions of one look; the next goes on.
const MAX_QUESTIONS: usize = 20;

/// How far OMERO's log of events is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    /// All up to here is read for good.
    from: u64,
    /// So far it went when it was read at `since`.
    last: u64,
    since: UnixTime,
}

impl Cursor {
    fn read(mark: &str) -> Option<Self> {
        serde_json::from_str(mark.strip_prefix(due::DELETIONS_MARK)?).ok()
    }

    fn text(self) -> String {
        format!("{}{}", due::DELETIONS_MARK, serde_json::to_string(&self).unwrap_or_default())
    }

    /// Of a log that has been read up to `reached`.
    fn moved(self, reached: u64, now: UnixTime) -> Self {
        let is_settled = now.saturating_sub(self.since) >= SETTLED || self.since > now;
        if is_settled { Self { from: self.last, last: reached, since: now } } else { self }
    }
}

/// What one look came to.
#[derive(Default)]
struct Looked {
    deleted: usize,
    removed: usize,
}

/// Looks, unless somebody else is at it.
///
/// # Errors
/// The catalog failed. That OMERO cannot be asked is in the log and in the answer. The next look begins where this one did.
pub fn answer(context: &Context<'_>) -> Result<Value, OperationError> {
    let (catalog, now) = (context.catalog, context.sweeper.clock.now());
    let lock = match Lock::take(catalog, due::DELETIONS_LOCK, now, context.config.sweep_expiry)? {
        Taken::Ours(lock, _) => lock,
        Taken::Others(_) => return Ok(json!({"deleted": 0, "removed_in_omero": 0})),
    };
    let looked = look(context, now);
    lock.release(catalog)?;
    match looked {
        Ok(Looked { deleted, removed }) => Ok(json!({"deleted": deleted, "removed_in_omero": removed})),
        Err(OperationError::Impossible(why)) => {
            log::warn!("act=deletions failed=\"{why}\"");
            Ok(json!({"failed": why}))
        }
        Err(other) => Err(other),
    }
}

fn look(context: &Context<'_>, now: UnixTime) -> Result<Looked, OperationError> {
    let (catalog, importing) = (context.catalog, can_ask(context)?);
    let mut looked = Looked::default();
    // What we delete for somebody is said by whoever does it.
    if catalog.jobs()?.all().iter().any(|job| job.text.starts_with(DELETES)) {
        return Ok(looked);
    }
    let (zone, attribute) = (catalog.zone()?, &context.config.attributes.noticed);
    let mut before = catalog.marks_at(&zone, attribute)?;
    before.retain(|mark| mark.starts_with(due::DELETIONS_MARK));
    let known = before.iter().filter_map(|mark| Cursor::read(mark)).min_by_key(|cursor| cursor.from);
    let asked = |after| importing.deletions(after).map_err(|error| away(&error));
    let Some(cursor) = known else {
        let last = asked(None)?.cursor;
        keep(context, &before, Cursor { from: last, last, since: now })?;
        return Ok(looked);
    };
    let mut reached = cursor.from;
    for _ in 0..MAX_QUESTIONS {
        let told = asked(Some(reached))?;
        if told.cursor < cursor.from {
            log::warn!(
                "act=deletions why=\"OMERO's log of events ends before where it was read to: an older database was restored; \
                 what was deleted in between is not noticed\""
            );
            keep(context, &before, Cursor { from: told.cursor, last: told.cursor, since: now })?;
            return Ok(looked);
        }
        take_in(context, &told.filesets, &mut looked)?;
        reached = told.cursor;
        if !told.is_more {
            keep(context, &before, cursor.moved(reached, now))?;
            return Ok(looked);
        }
    }
    keep(context, &before, Cursor { from: reached, last: reached, since: now })?;
    due::ensure_deletions(catalog, now, Duration::from_secs(1))?;
    Ok(looked)
}

/// OMERO is away: the next look begins where this one did.
fn away(error: &ImporterError) -> OperationError {
    OperationError::Impossible(error.to_string())
}

/// Writes how far the log is read.
fn keep(context: &Context<'_>, before: &[String], cursor: Cursor) -> Result<(), CatalogError> {
    let (catalog, attribute) = (context.catalog, &context.config.attributes.noticed);
    let (zone, text) = (catalog.zone()?, cursor.text());
    if !before.contains(&text) {
        catalog.set_mark(&zone, attribute, &text)?;
    }
    let others = before.iter().filter(|mark| **mark != text);
    others.into_iter().try_for_each(|mark| catalog.remove_mark(&zone, attribute, mark))
}

/// Writes down of what data the filesets were, if OMERO says that they are gone.
fn take_in(
    context: &Context<'_>,
    deleted: &[DeletedFileset],
    looked: &mut Looked,
) -> Result<(), OperationError> {
    let names = &context.config.attributes;
    let by: BTreeMap<OmeroId, Option<&OmeroName>> =
        deleted.iter().map(|one| (one.fileset, one.by.as_ref())).collect();
    looked.deleted += by.len();
    let mut tied = Vec::new();
    for fileset in by.keys() {
        tied.extend(tied_to(context, *fileset)?);
    }
    if tied.is_empty() {
        return Ok(());
    }
    let (importing, zone) = (can_ask(context)?, zone_of(context)?);
    for (identity, tied) in by_owner(context, tied) {
        let ids: BTreeSet<OmeroId> = tied.iter().filter_map(|one| one.record.fileset(names)).collect();
        let present = match importing.present(&zone, &identity, &ids, context.sweeper.clock.now()) {
            Ok(present) => present,
            Err(error @ ImporterError::WillPass(_)) => return Err(away(&error)),
            Err(error @ ImporterError::Refused(_)) => {
                log::warn!("act=deletions user={} failed=\"{error}\"", identity.user);
                continue;
            }
        };
        for one in tied {
            let Some(fileset) = one.record.fileset(names).filter(|id| !present.contains(id)) else {
                continue;
            };
            let by = by.get(&fileset).copied().flatten();
            write(context, one, by)?;
            looked.removed += 1;
        }
    }
    Ok(())
}

/// What is said to be in OMERO as one fileset: data objects, or a directory that is one image.
fn tied_to(context: &Context<'_>, fileset: OmeroId) -> Result<Vec<Tied>, OperationError> {
    let Context { config, catalog, .. } = *context;
    let names = &config.attributes;
    let mut found = Vec::new();
    for (id, collection) in catalog.data_of_fileset(fileset)? {
        let Some(path) = catalog.collection_path(collection)? else { continue };
        let all = things(context, collection, &path, Which::Between(id, id))?;
        found.extend(all.into_iter().map(Tied::from));
    }
    if !config.directory_formats.is_empty() {
        for path in catalog.directories_of_fileset(fileset)? {
            let Some((_, record)) = catalog.record_of(&path)? else { continue };
            found.push(Tied { path, kind: Kind::Collection, record });
        }
    }
    found.retain(|one| is_in_omero(names, &one.record) && one.record.fileset(names) == Some(fileset));
    Ok(found)
}

fn write(context: &Context<'_>, one: Tied, by: Option<&OmeroName>) -> Result<(), OperationError> {
    let Context { config, catalog, .. } = *context;
    let (names, Tied { path, kind, record }) = (&config.attributes, one);
    let removed = record.removed_in_omero(names, by);
    let who = by.map_or("", OmeroName::as_str);
    let place = if config.on_delete_in_omero == OnDelete::ImportAgain {
        watched(context, &path, kind)?
    } else {
        None
    };
    let Some(collection) = place else {
        catalog.replace(kind, &path, &record.triples, &removed)?;
        log::info!("act=deletions path={path} removed_in_omero=yes by={who:?}");
        return Ok(());
    };
    let reason = "is imported again: its images were deleted in OMERO";
    let again = Record { triples: removed, found_on: record.found_on }.asked_again(names, reason);
    catalog.replace(kind, &path, &record.triples, &again)?;
    log::info!("act=deletions path={path} import_again=yes by={who:?}");
    if kind == Kind::DataObject {
        due::ask_for_all(catalog, names, &collection)?;
    }
    due::set(config, catalog, &collection, false, Duration::from_secs(1))?;
    Ok(())
}

/// The collection whose sweep imports something, if it is watched.
fn watched(
    context: &Context<'_>,
    path: &LogicalPath,
    kind: Kind,
) -> Result<Option<LogicalPath>, OperationError> {
    let collection = match kind {
        Kind::Collection => Some(path.clone()),
        Kind::DataObject => path.parent(),
    };
    let Some(collection) = collection else { return Ok(None) };
    let Some(id) = context.catalog.collection_id(&collection)? else { return Ok(None) };
    let is_watched = due::interest(context.config, context.catalog, &collection, id, false)?.is_some();
    Ok(Some(collection).filter(|_| is_watched))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_stays_behind_what_was_read_until_late_entries_must_have_come() {
        let begun = Cursor { from: 10, last: 10, since: 1_000 };
        assert_eq!(begun.moved(20, 1_300), begun, "an entry below 20 may still come");
        let moved = begun.moved(30, 1_600);
        assert_eq!(moved, Cursor { from: 10, last: 30, since: 1_600 });
        assert_eq!(moved.moved(40, 2_199), moved);
        assert_eq!(moved.moved(40, 2_200), Cursor { from: 30, last: 40, since: 2_200 });
        // A clock that was set back holds nothing up.
        assert_eq!(moved.moved(40, 5).from, 30);
        assert_eq!(Cursor::read(&moved.text()), Some(moved));
        assert_eq!(Cursor::read("skipped after 7"), None);
    }
}
