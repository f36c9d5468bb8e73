//! `{"operation":"status"}`: how things stand, in the whole zone for an administrator, among what they may read for
//! everybody else.

use super::audit::patrol;
use super::subject::things;
use super::{Context, OperationError};
use crate::catalog::{Jobs, QueuedJob, Sight, UnixTime, Which};
use crate::due;
use irods_omero_model::attributes::Attributes;
use irods_omero_model::names::{CollectionId, DataId, LogicalPath};
use irods_omero_model::record::{Record, State, Triple};
use irods_omero_model::watch::agreed;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How many errors, locks and tags are listed.
const LISTED: usize = 20;

/// How many data objects that failed are looked at to find those: some have been told to be left alone.
const LOOKED_AT: usize = 200;

/// Answers.
///
/// # Errors
/// The catalog failed.
pub fn answer(context: &Context<'_>) -> Result<Value, OperationError> {
    let Context { config, catalog, sweeper, .. } = *context;
    let names = &config.attributes;
    let (sight, scope) =
        if catalog.client_is_admin() { (Sight::All, "zone") } else { (Sight::Own, "what you may read") };
    let now = sweeper.clock.now();
    let marks = Marks::read(context, sight)?;
    let jobs: Jobs = catalog.jobs()?;
    let jobs = jobs.all();
    let mut directories = BTreeMap::new();
    for (_, triple) in marks.of(&names.state) {
        *directories.entry(triple.value.clone()).or_insert(0) += 1;
    }
    // Times of our days have ten digits each, so the first of the texts is the first of the times.
    let (retries, first) = catalog.first_of(&names.retry, sight)?;
    let next = first.and_then(|next| next.parse::<UnixTime>().ok());
    Ok(json!({
        "scope": scope,
        "data_objects": by_state(&catalog.counts(&names.state, sight)?),
        "directories": by_state(&directories),
        "due": due(context, &marks, jobs, now)?,
        "queue": queue(jobs),
        "recurring": {
            "installed": due::is_recurring(catalog, names)?,
            "queued": jobs.iter().filter(|j| j.text == due::SWEEP_ALL).count(),
            "interval_in_seconds": config.sweep_all_interval.as_secs(),
        },
        "patrol": match sight {
            Sight::All => patrol::status(context)?,
            Sight::Own => Value::Null,
        },
        "expired_locks": expired(context, sight, now)?,
        "retries": {"waiting": retries, "next_at": next},
        "last_errors": errors(context, &marks, sight)?,
        "unclear_tags": unclear(context, &marks)?,
    }))
}

/// The AVUs of ours on collections, read at once.
struct Marks(Vec<(CollectionId, Triple)>);

impl Marks {
    fn read(context: &Context<'_>, sight: Sight) -> Result<Self, OperationError> {
        let Attributes { due, due_tree, state, import, .. } = &context.config.attributes;
        let wanted = [due, due_tree, state, import].map(String::as_str);
        Ok(Self(context.catalog.collection_avus(&wanted, sight)?))
    }

    fn of(&self, attribute: &str) -> impl Iterator<Item = &(CollectionId, Triple)> {
        self.0.iter().filter(move |(_, t)| t.attribute == attribute)
    }
}

/// A count for each state, also where it is none.
fn by_state(counts: &BTreeMap<String, u64>) -> Value {
    let count =
        |state: State| (state.as_str().to_owned(), counts.get(state.as_str()).copied().unwrap_or(0).into());
    Value::Object(State::ALL.into_iter().map(count).collect::<Map<String, Value>>())
}

/// The marked collections. Since when one is marked the catalog cannot tell; when its sweep is, or was to be, the queue
/// can.
fn due(
    context: &Context<'_>,
    marks: &Marks,
    jobs: &[QueuedJob],
    now: UnixTime,
) -> Result<Value, OperationError> {
    let names = &context.config.attributes;
    let marked: BTreeSet<CollectionId> =
        marks.of(&names.due).chain(marks.of(&names.due_tree)).map(|(id, _)| *id).collect();
    let sweep_of = |id: &CollectionId| {
        let text = due::sweep_text(*id);
        jobs.iter().filter(|j| j.text == text).map(|j| j.due_at).min()
    };
    let sweeps: Vec<(Option<UnixTime>, CollectionId)> = marked.iter().map(|id| (sweep_of(id), *id)).collect();
    let oldest = match sweeps.iter().filter_map(|(at, id)| Some(((*at)?, *id))).min() {
        None => Value::Null,
        Some((at, id)) => json!({
            "collection": shown(context, id)?,
            "sweep_at": at,
            "overdue_in_seconds": now.saturating_sub(at),
        }),
    };
    Ok(json!({
        "collections": marked.len(),
        "without_sweep": sweeps.iter().filter(|(at, _)| at.is_none()).count(),
        "oldest": oldest,
    }))
}

/// The jobs of ours in the queue, by operation.
fn queue(jobs: &[QueuedJob]) -> Value {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for job in jobs {
        let json: Value = serde_json::from_str(&job.text).unwrap_or_default();
        let name = json.get("operation").and_then(Value::as_str).unwrap_or("unknown").to_owned();
        *counts.entry(name).or_default() += 1;
    }
    json!({"length": jobs.len(), "jobs": counts})
}

/// The collections whose sweep has given no sign of life for too long. Told to administrators only: a lock does not say
/// who may see the collection.
fn expired(context: &Context<'_>, sight: Sight, now: UnixTime) -> Result<Value, OperationError> {
    if sight != Sight::All {
        return Ok(json!([]));
    }
    let expiry = context.config.sweep_expiry.as_secs();
    let mut expired = Vec::new();
    for lock in context.catalog.locks()? {
        let silent = now.saturating_sub(lock.since);
        let id = lock.collection();
        if let Some(id) = id.filter(|_| silent > expiry && expired.len() < LISTED) {
            expired.push(json!({"collection": shown(context, id)?, "silent_for_in_seconds": silent}));
        }
    }
    Ok(expired.into())
}

/// What failed or was skipped, the data modified last first.
fn errors(context: &Context<'_>, marks: &Marks, sight: Sight) -> Result<Value, OperationError> {
    let Context { config, catalog, .. } = *context;
    let names = &config.attributes;
    let states = [State::Failed, State::Skipped].map(State::as_str);
    let mut errors = Vec::new();
    for (id, collection) in catalog.newest_with(&names.state, &states, sight, LOOKED_AT)? {
        if errors.len() == LISTED {
            break;
        }
        errors.extend(error_of_object(context, id, collection)?);
    }
    let directories = marks.of(&names.state).filter(|(_, t)| states.contains(&t.value.as_str()));
    for (id, _) in directories.take(LISTED - errors.len()) {
        let record = catalog.collection_record(*id)?;
        errors.extend(error_of(names, &shown(context, *id)?, &record));
    }
    Ok(errors.into())
}

fn error_of_object(
    context: &Context<'_>,
    id: DataId,
    collection: CollectionId,
) -> Result<Option<Value>, OperationError> {
    let Some(parent) = context.catalog.collection_path(collection)? else { return Ok(None) };
    let found = things(context, collection, &parent, Which::Between(id, id))?;
    let names = &context.config.attributes;
    Ok(found.first().and_then(|thing| error_of(names, &thing.path.display(), &thing.record)))
}

fn error_of(names: &Attributes, path: &str, record: &Record) -> Option<Value> {
    let state = record.state(names).filter(|_| record.ignored_by(names).is_none())?;
    Some(json!({"path": path, "state": state.as_str(), "reason": record.reason(names)}))
}

/// The collections whose tags cannot be followed. That tags above or below say something else is in order: the nearest
/// wins.
fn unclear(context: &Context<'_>, marks: &Marks) -> Result<Value, OperationError> {
    let mut tags: BTreeMap<CollectionId, Vec<&Triple>> = BTreeMap::new();
    for (id, tag) in marks.of(&context.config.attributes.import) {
        tags.entry(*id).or_default().push(tag);
    }
    let mut unclear = Vec::new();
    for (id, tags) in tags {
        if unclear.len() == LISTED {
            break;
        }
        let Some(path) = context.catalog.collection_path(id)? else { continue };
        let agreed = agreed(&path, tags.iter().map(|t| (t.value.as_str(), t.units.as_str())));
        if let Err(why) = agreed {
            unclear.push(json!({"collection": path.display(), "reason": why}));
        }
    }
    Ok(unclear.into())
}

fn shown(context: &Context<'_>, id: CollectionId) -> Result<String, OperationError> {
    let path: Option<LogicalPath> = context.catalog.collection_path(id)?;
    Ok(path.map_or_else(|| format!("collection {id}"), |p| p.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_counted_by_their_operation_and_what_is_no_json_too() {
        let job = |text: &str| QueuedJob { text: text.to_owned(), due_at: 0 };
        let sweep = due::sweep_text(CollectionId::parse("10").unwrap());
        let jobs = [job(&sweep), job(&sweep), job(due::SWEEP_ALL), job(r#"{"operation":"#)];
        let want = json!({"length": 4, "jobs": {"sweep": 2, "sweep_all": 1, "unknown": 1}});
        assert_eq!(queue(&jobs), want);
    }

    #[test]
    fn every_state_has_a_count() {
        let counts = BTreeMap::from([("failed".to_owned(), 3)]);
        let shown = by_state(&counts);
        assert_eq!((&shown["failed"], &shown["imported"]), (&json!(3), &json!(0)));
        assert_eq!(shown.as_object().unwrap().len(), State::ALL.len());
    }
}
