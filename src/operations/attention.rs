//! `import`, `retry` and `ignore`: what a person asks for about data of their own.

use super::subject::{Subject, Thing};
use super::{Context, OperationError, Request};
use crate::catalog::{Item, Kind, Level};
use crate::due;
use crate::watch;
use irods_omero_model::decide::{Decision, Facts, Recorded, Rest, Wish, decide};
use irods_omero_model::names::{IrodsUser, LogicalPath};
use irods_omero_model::record::{Record, Triple};
use irods_omero_model::watch::{OnOverwrite, Tag, agreed, is_trash};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// `{"operation":"import","path":...,"target":...}`: tag it and look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// What to import: a data object, or a collection with all below it.
    pub path: LogicalPath,
    /// Where to, as a template that can be parsed; `None` for what the configuration or a tag says.
    pub target: Option<String>,
}

/// `{"operation":"retry","path":...,"recursive":...}`: try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// A data object, or a collection with what is directly in it.
    pub path: LogicalPath,
    /// Whether all below it is meant too.
    pub recursive: bool,
}

/// `{"operation":"ignore","path":...,"reason":...}`: leave it alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignore {
    /// A data object, or a collection with what is directly in it.
    pub path: LogicalPath,
    /// Why.
    pub reason: String,
    /// Whether all below it is meant too.
    pub recursive: bool,
}

impl Import {
    /// Sets the tag and the due mark.
    ///
    /// # Errors
    /// The client may not write there, tags are not followed, or the catalog failed.
    pub fn answer(&self, context: &Context<'_>, request: &Request) -> Result<Value, OperationError> {
        let Context { config, catalog, .. } = *context;
        let subject = Subject::find(context, &self.path, Level::WRITE)?;
        if !config.tags {
            return Err(OperationError::Impossible(
                "nothing is imported by tags here: /tags, /omero, /importer and /visibility of the configuration say \
                 whether and how"
                    .to_owned(),
            ));
        }
        if is_trash(subject.path.as_bytes()) {
            return Err(OperationError::Impossible(format!(
                "{} is in the trash: nothing there is imported",
                subject.path
            )));
        }
        if !context.on_provider {
            context.leave_to_provider(request)?;
            return Ok(about(&subject, json!({"queued": true})));
        }
        let (collection, _) = place(&subject)?;
        let old = tags_on(context, &subject)?;
        let new = self.tag(context, &subject.path, &old);
        catalog.replace(subject.kind(), &subject.path, &old, std::slice::from_ref(&new))?;
        let tree = subject.kind() == Kind::Collection && !subject.is_unit;
        let quiet = watch::watching(config, catalog, &collection)?.quiet_period(config.defaults.quiet_period);
        due::set(config, catalog, &collection, tree, quiet)?;
        Ok(about(&subject, json!({"tag": new.value, "options": new.units})))
    }

    /// The tag that is to be on it. A tag that is there stays if no target is asked for, and so do the options of one.
    fn tag(&self, context: &Context<'_>, path: &LogicalPath, old: &[Triple]) -> Triple {
        let there = old.iter().map(|t| (t.value.as_str(), t.units.as_str()));
        let followed = matches!(agreed(path, there), Ok(Tag::On(_)));
        let first = old.first().filter(|_| followed);
        let value = self.target.as_deref().or(first.map(|t| t.value.as_str())).unwrap_or("on");
        Triple::new(&context.config.attributes.import, value, first.map_or("", |t| t.units.as_str()))
    }
}

impl Retry {
    /// Turns records of what was given up into pending ones, and sets the due mark.
    ///
    /// # Errors
    /// The client may not write there, it is not watched, there is nothing to try again, or the catalog failed.
    pub fn answer(&self, context: &Context<'_>, request: &Request) -> Result<Value, OperationError> {
        let Context { config, catalog, .. } = *context;
        let names = &config.attributes;
        let subject = Subject::find(context, &self.path, Level::WRITE)?;
        let (collection, id) = place(&subject)?;
        if due::interest(config, catalog, &collection, id, self.recursive)?.is_none() {
            return Err(OperationError::Impossible(format!(
                "{collection} is not watched: nothing there is imported; ask for its import, or tag it"
            )));
        }
        if !context.on_provider {
            context.leave_to_provider(request)?;
            return Ok(about(&subject, json!({"queued": true})));
        }
        let user = client(context)?;
        let reason = format!("is tried again: {user} asked for it");
        let (mut retried, mut unchanged) = (0_u64, Vec::new());
        let mut reopened = BTreeSet::new();
        subject.each(context, self.recursive, &mut |Thing { path, kind, record, .. }| {
            match answer_to(context, &record, Wish::TryAgain) {
                Ok(()) => {
                    catalog.replace(kind, &path, &record.triples, &record.asked_again(names, &reason))?;
                    retried += 1;
                    reopened.extend(path.parent().filter(|_| kind == Kind::DataObject));
                }
                Err(why) => unchanged.push((path, why)),
            }
            Ok(())
        })?;
        if let ([(path, why)], Item::DataObject(..)) = (unchanged.as_slice(), subject.item) {
            return Err(nothing_to_do(path, *why, "try again"));
        }
        // Its data has not changed, so nothing else shows that there is something to look at.
        for collection in &reopened {
            due::ask_for_all(catalog, names, collection)?;
        }
        if retried > 0 {
            let tree = self.recursive && !subject.is_unit && subject.item == Item::Collection(id);
            due::set(config, catalog, &collection, tree, Duration::from_secs(1))?;
        }
        Ok(about(&subject, json!({"retried": retried, "unchanged": unchanged.len()})))
    }
}

impl Ignore {
    /// Writes records that the sweep never looks at again.
    ///
    /// # Errors
    /// The client may not write there, it is in OMERO already, or the catalog failed.
    pub fn answer(&self, context: &Context<'_>, request: &Request) -> Result<Value, OperationError> {
        let Context { config, catalog, .. } = *context;
        let names = &config.attributes;
        let subject = Subject::find(context, &self.path, Level::WRITE)?;
        if !context.on_provider {
            context.leave_to_provider(request)?;
            return Ok(about(&subject, json!({"queued": true})));
        }
        let user = client(context)?;
        let (mut ignored, mut unchanged) = (0_u64, Vec::new());
        subject.each(context, self.recursive, &mut |Thing { path, kind, record, .. }| {
            if let Err(why) = answer_to(context, &record, Wish::LeaveAlone) {
                unchanged.push((path, why));
            } else {
                let new = record.left_alone(names, &user, &self.reason);
                catalog.replace(kind, &path, &record.triples, &new)?;
                ignored += 1;
            }
            Ok(())
        })?;
        if let ([(path, why)], Item::DataObject(..)) = (unchanged.as_slice(), subject.item) {
            return Err(nothing_to_do(path, *why, "ignore"));
        }
        Ok(about(&subject, json!({"ignored": ignored, "unchanged": unchanged.len()})))
    }
}

/// The answer with what it is about.
pub(super) fn about(subject: &Subject, mut answer: Value) -> Value {
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("path".to_owned(), subject.path.display().into());
        fields.insert("kind".to_owned(), subject.kind_word().into());
        fields.insert("id".to_owned(), subject.id().into());
    }
    answer
}

/// Whether a wish is followed; else why not.
fn answer_to(context: &Context<'_>, record: &Record, wish: Wish) -> Result<(), Rest> {
    let config = context.config;
    let recorded = Recorded::of(&config.attributes, record);
    let facts = Facts { wish: Some(wish), ..Facts::of_record(&recorded, config.agents.is_some()) };
    // A wish is answered by the record alone: neither the rules nor the time matter.
    match decide(&facts, OnOverwrite::Report, 0) {
        Decision::Rest(why) => Err(why),
        Decision::Reopen
        | Decision::LeaveAlone
        | Decision::Wait(_)
        | Decision::Say(..)
        | Decision::Confirm
        | Decision::Wanted { .. } => Ok(()),
    }
}

fn nothing_to_do(path: &LogicalPath, why: Rest, act: &str) -> OperationError {
    OperationError::Impossible(format!("there is nothing to {act} at {path}: {}", why.sentence()))
}

fn place(subject: &Subject) -> Result<(LogicalPath, irods_omero_model::names::CollectionId), OperationError> {
    subject.collection().ok_or_else(|| OperationError::NotThere(subject.path.clone()))
}

pub(super) fn client(context: &Context<'_>) -> Result<IrodsUser, OperationError> {
    let nobody = || OperationError::Refused("the session has no user".to_owned());
    context.catalog.client().ok_or_else(nobody)
}

/// The tags to import on something itself.
fn tags_on(context: &Context<'_>, subject: &Subject) -> Result<Vec<Triple>, OperationError> {
    let attribute = &context.config.attributes.import;
    Ok(match subject.item {
        Item::DataObject(id, collection) => {
            let tagged = context.catalog.tagged_objects(collection, attribute)?.into_iter();
            tagged.filter(|(d, _, _)| *d == id).map(|(_, v, u)| Triple::new(attribute, v, u)).collect()
        }
        Item::Collection(_) => {
            let tags = context.catalog.import_tags(std::slice::from_ref(&subject.path), attribute)?;
            tags.into_iter().map(|t| Triple::new(attribute, t.value, t.units)).collect()
        }
    })
}
