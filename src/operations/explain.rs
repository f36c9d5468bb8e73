//! `{"operation":"explain","user":...,"path":...,"event":...}`: what would happen to data, and why, step by step.
//! Nothing is done.

use super::subject::{Subject, things};
use super::{Context, OperationError};
use crate::catalog::{Item, Level, Which};
use crate::event::Pep;
use crate::guard::imported::{guard_at, is_in_omero};
use crate::sweep::{Explanation, Outlook};
use irods_omero_model::guard::{Act, Doer};
use irods_omero_model::names::{CollectionId, DataId, IrodsUser, LogicalPath, OmeroName};
use irods_omero_model::record::{Record, State};
use serde_json::{Value, json};

/// The question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explain {
    /// Who puts data that is not there yet; without one whoever asks. What is there is its owner's.
    pub user: Option<IrodsUser>,
    /// A data object, there or not, or a collection.
    pub path: LogicalPath,
    /// The name of a policy enforcement point: is it heard?
    pub event: Option<String>,
}

impl Explain {
    /// Answers whoever may read what is there; about others' data that is not there yet, administrators.
    ///
    /// # Errors
    /// The client may not ask, there is no such collection, or the catalog failed.
    pub fn answer(&self, context: &Context<'_>) -> Result<Value, OperationError> {
        let user = self.user(context)?;
        let (subject, mut explanation, record) = match Subject::find(context, &self.path, Level::READ) {
            Ok(subject) => {
                let (explanation, record) = explain_subject(context, &subject, &user)?;
                (Some(subject), explanation, record)
            }
            Err(OperationError::NotThere(_)) => (None, self.explain_new(context, &user)?, Record::default()),
            Err(error) => return Err(error),
        };
        if let Some(event) = &self.event {
            explanation.steps.insert(0, event_step(event));
        }
        let names = &context.config.attributes;
        let mut answer = json!({
            "path": subject.as_ref().map_or(&self.path, |s| &s.path).display(),
            "kind": subject.as_ref().map(Subject::kind_word),
            "id": subject.as_ref().map(Subject::id),
            "state": record.state(names).map(State::as_str),
            "state_reason": record.reason(names),
            "steps": explanation.steps,
        });
        if let (Some(answer), Value::Object(more)) = (answer.as_object_mut(), shown(&explanation.outlook)) {
            answer.extend(more);
        }
        if let Some((collection, _)) = subject.as_ref().and_then(Subject::collection)
            && is_in_omero(names, &record)
        {
            answer["guard"] = guard(context, &collection);
        }
        Ok(answer)
    }

    /// Whose data is meant where none is there.
    fn user(&self, context: &Context<'_>) -> Result<IrodsUser, OperationError> {
        let client = context.catalog.client();
        match (&self.user, client) {
            (Some(user), client) if client.as_ref() == Some(user) || context.catalog.client_is_admin() => {
                Ok(user.clone())
            }
            (Some(user), _) => Err(OperationError::Refused(format!(
                "only an administrator (rodsadmin) may ask about the data of {user}; you may ask about your own"
            ))),
            (None, Some(client)) => Ok(client),
            (None, None) => {
                Err(OperationError::Refused("/user: the session has no user: name one".to_owned()))
            }
        }
    }

    /// About data that is not there yet.
    fn explain_new(&self, context: &Context<'_>, user: &IrodsUser) -> Result<Explanation, OperationError> {
        let Context { config, sweeper, .. } = *context;
        let nothing = || OperationError::NotThere(self.path.clone());
        let parent = self.path.parent().ok_or_else(nothing)?;
        let Item::Collection(id) = Subject::find(context, &parent, Level::READ)?.item else {
            return Err(nothing());
        };
        let mut explanation = sweeper.explain_new((&parent, id), self.path.name(), user)?;
        explanation.steps.insert(0, format!("there is no {} yet", self.path));
        if config.unit_of(parent.as_bytes()).is_some() {
            explanation.steps.push("it would be part of a directory that is one image".to_owned());
        }
        Ok(explanation)
    }
}

/// What the guard answers to whoever asks, for each act on imported data in a collection.
fn guard(context: &Context<'_>, collection: &LogicalPath) -> Value {
    let user = context.catalog.client();
    let doer = Doer { user: user.as_ref(), is_admin: context.catalog.client_is_admin() };
    let guard = guard_at(context.config, collection);
    let answers = Act::ALL.map(|act| (act.as_str().to_owned(), guard.stance(act, doer).as_str().into()));
    Value::Object(answers.into_iter().collect())
}

fn explain_subject(
    context: &Context<'_>,
    subject: &Subject,
    user: &IrodsUser,
) -> Result<(Explanation, Record), OperationError> {
    let Context { sweeper, catalog, .. } = *context;
    let path = &subject.path;
    Ok(match subject.item {
        Item::DataObject(id, collection) => {
            let parent = path.parent().ok_or_else(|| OperationError::NotThere(path.clone()))?;
            let (owner, record) = object(context, id, collection, &parent)?;
            let owner = owner.unwrap_or_else(|| user.clone());
            (sweeper.explain_object((&parent, collection), (id, path.name()), &owner)?, record)
        }
        Item::Collection(id) if subject.is_unit => {
            let record = catalog.collection_record(id)?;
            (sweeper.explain_unit((path, id), first_owner(context, id)?.as_ref())?, record)
        }
        Item::Collection(id) => (sweeper.explain_collection(path, id)?, Record::default()),
    })
}

fn object(
    context: &Context<'_>,
    id: DataId,
    collection: CollectionId,
    parent: &LogicalPath,
) -> Result<(Option<IrodsUser>, Record), OperationError> {
    let thing = things(context, collection, parent, Which::Between(id, id))?.into_iter().next();
    Ok(thing.map_or_else(Default::default, |thing| {
        let replica = thing.replicas.first();
        (replica.and_then(|r| IrodsUser::new(&r.owner_name, &r.owner_zone).ok()), thing.record)
    }))
}

/// Whose a directory that is one image is: the owner of the first file in it.
fn first_owner(context: &Context<'_>, id: CollectionId) -> Result<Option<IrodsUser>, OperationError> {
    let mut first: Option<(DataId, IrodsUser)> = None;
    context.catalog.replicas(id, Which::All, &mut |replica| {
        if let Ok(owner) = IrodsUser::new(&replica.owner_name, &replica.owner_zone)
            && first.as_ref().is_none_or(|(known, _)| replica.data_id < *known)
        {
            first = Some((replica.data_id, owner));
        }
    })?;
    Ok(first.map(|(_, owner)| owner))
}

fn event_step(event: &str) -> String {
    match Pep::of(event.as_bytes()) {
        Some(pep) if pep.is_guarded() => {
            format!("{event} is heard: the guard refuses what would write our reserved attributes")
        }
        Some(pep) if pep.is_of_data_guard() => {
            format!(
                "{event} is heard if 'guard' has a rule for it: the guard may refuse it to protect an image in OMERO"
            )
        }
        Some(_) => format!("{event} is heard: what it is about is looked at"),
        None => {
            format!("{event} is not heard: the data is found when something else happens in its collection")
        }
    }
}

/// The outlook as JSON.
fn shown(outlook: &Outlook) -> Value {
    let (outcome, reason) = match outlook {
        Outlook::Nothing(why) => ("nothing", Some(why.clone())),
        Outlook::Waits(_, why) => ("wait", Some(why.clone())),
        Outlook::Record(state, why) => (state.as_str(), why.clone()),
        Outlook::Copy(resource) => ("copy", Some(format!("OMERO sees it on the resource {resource} only"))),
        Outlook::Import { .. } => ("import", None),
    };
    let mut answer = json!({"outcome": outcome, "reason": reason});
    match outlook {
        Outlook::Waits(wait, _) => answer["again_in_seconds"] = wait.map(|w| w.as_secs()).into(),
        Outlook::Import { mapping, target, plate_target, importer_path } => {
            answer["omero_user"] = mapping.identity.user.as_str().into();
            answer["omero_group"] = mapping.identity.group.as_ref().map(OmeroName::as_str).into();
            answer["mapped_by"] = mapping.by.as_str().into();
            answer["person"] = mapping.person.to_string().into();
            answer["target"] = target.as_str().into();
            answer["plate_target"] =
                plate_target.as_ref().map(irods_omero_model::target::Target::as_str).into();
            answer["importer_path"] = importer_path.as_deref().into();
        }
        Outlook::Nothing(_) | Outlook::Record(..) | Outlook::Copy(_) => {}
    }
    answer
}
