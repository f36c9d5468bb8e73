//! `{"operation":"state","path":...}`: the record of a data object or of a directory that is one image; of another
//! collection how many of the data objects directly in it are in which state.

use super::subject::Subject;
use super::{Context, OperationError};
use crate::catalog::{Item, Level};
use irods_omero_model::attributes::Attributes;
use irods_omero_model::names::{LogicalPath, OmeroId};
use irods_omero_model::record::{Cause, Proof, Record, State, Triple};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Answers whoever may read it.
///
/// # Errors
/// There is nothing, the client may not see it, or the catalog failed.
pub fn answer(context: &Context<'_>, path: &LogicalPath) -> Result<Value, OperationError> {
    let names = &context.config.attributes;
    let subject = Subject::find(context, path, Level::READ)?;
    let mut answer = json!({
        "path": subject.path.display(),
        "kind": subject.kind_word(),
        "id": subject.id(),
    });
    let more = if matches!(subject.item, Item::Collection(_)) && !subject.is_unit {
        let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
        subject.each(context, false, &mut |thing| {
            *counts.entry(thing.record.state(names).map_or("none", |s| s.as_str())).or_default() += 1;
            Ok(())
        })?;
        json!({"data_objects": counts})
    } else {
        let mut record = None;
        subject.each(context, false, &mut |thing| {
            record = Some(thing.record);
            Ok(())
        })?;
        shown(names, &record.unwrap_or_default())
    };
    if let (Some(answer), Value::Object(more)) = (answer.as_object_mut(), more) {
        answer.extend(more);
    }
    Ok(answer)
}

/// A record as JSON. Ids are texts, as everywhere in our answers.
pub fn shown(names: &Attributes, record: &Record) -> Value {
    let copied_from = record.copied_from(names);
    let first = |attribute: &str| {
        record.triples.iter().find(|t| t.attribute == attribute).filter(|_| copied_from.is_none())
    };
    let one = |attribute: &str| first(attribute).map(|t| t.value.clone());
    let texts = |ids: &[OmeroId]| -> Vec<String> { ids.iter().map(ToString::to_string).collect() };
    let pair = |triple: Option<&Triple>, value: &str, units: &str| {
        triple.map(|t| {
            let text = |s: &str| if s.is_empty() { Value::Null } else { s.into() };
            let fields = [(value.to_owned(), text(&t.value)), (units.to_owned(), text(&t.units))];
            Value::Object(fields.into_iter().collect::<Map<String, Value>>())
        })
    };
    let proof = record.proof(names);
    let checksum = proof.as_ref().and_then(Proof::checksum);
    let (images, plates) = (record.images(names), record.plates(names));
    json!({
        "state": record.state(names).map(State::as_str),
        "attempts": record.attempts(names),
        "reason": record.reason(names),
        "cause": record.cause(names).map(Cause::as_str),
        "fileset": one(&names.fileset),
        "images": texts(&images.named),
        "images_not_named": images.more,
        "plates": texts(&plates.named),
        "member_of": one(&names.member_of),
        "owner": pair(first(&names.owner), "user", "group"),
        "mapped_by": pair(record.mapped_by(names).as_ref(), "source", "person"),
        "version": record.version(names).map(|v| json!({
            "modify_time": v.modify_time, "size": v.size, "checksum": checksum,
        })),
        "retry": record.retry(names).map(|r| json!({"next_at": r.next, "since": r.since})),
        "previous": texts(&record.previous(names)),
        "ignored_by": record.ignored_by(names),
        "copied_from": copied_from.map(|id| id.to_string()),
    })
}
