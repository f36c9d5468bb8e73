//! What a sweep would do with a data object, a collection or a directory that is one image, and why: asked of the very
//! code that decides, and nothing is done.

use super::watched::Scope;
use super::{Decider, Plan, Survey, Sweeper, UnitPlan, Verdict};
use crate::catalog::CatalogError;
use crate::watch;
use irods_omero_config::identity::{Asked, Mapping};
use irods_omero_model::names::{CollectionId, DataId, IrodsUser, LogicalPath};
use irods_omero_model::record::State;
use irods_omero_model::target::Target;
use irods_omero_model::watch::{Place, Tag};
use std::time::Duration;

/// What would happen to data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outlook {
    /// Nothing: a sentence says why.
    Nothing(String),
    /// It waits, for so long at least if that is known; a sentence says for what.
    Waits(Option<Duration>, String),
    /// Its record would say this, with the reason.
    Record(State, Option<String>),
    /// It would be copied to this resource, and be imported from there.
    Copy(String),
    /// It would be imported.
    Import {
        /// As whom, and why.
        mapping: Box<Mapping>,
        /// Where to.
        target: Target,
        /// Where to, if it is a plate and that is another place.
        plate_target: Option<Target>,
        /// Under which path; `None` if it is not there yet.
        importer_path: Option<String>,
    },
}

/// An outlook, and how it comes about.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// What would happen.
    pub outlook: Outlook,
    /// Every step in words.
    pub steps: Vec<String>,
}

impl Explanation {
    fn nothing(steps: Vec<String>, why: String) -> Self {
        Self { outlook: Outlook::Nothing(why), steps }
    }
}

impl Sweeper<'_> {
    /// What would happen to a data object directly in a collection; `owner` is whose it is.
    ///
    /// # Errors
    /// The catalog failed.
    pub fn explain_object(
        &self,
        (collection, id): (&LogicalPath, CollectionId),
        (object, name): (DataId, &[u8]),
        owner: &IrodsUser,
    ) -> Result<Explanation, CatalogError> {
        let (scope, mut steps) = self.explained_scope(collection, id)?;
        let Some(scope) = scope else {
            return Ok(Explanation::nothing(steps, "it is not watched".to_owned()));
        };
        let survey = self.survey(id, collection, &scope)?;
        let tag = survey.tagged.get(&object);
        steps.extend(tag_step(tag));
        if !scope.admits(name, tag) {
            let why = "its name, or a tag on it, says that it is no data (include, exclude)".to_owned();
            return Ok(Explanation::nothing(steps, why));
        }
        self.explain_identity(owner, Place { collection, root: scope.root }, &mut steps)?;
        if survey.later.contains(&object) {
            let quiet = scope.rules_of(tag).quiet_period.as_secs();
            let until = format!("until nothing has changed for {quiet} s, or its next try is due");
            let why = survey.waits_for.clone().unwrap_or(until);
            return Ok(Explanation { outlook: Outlook::Waits(survey.again_in, why), steps });
        }
        let place = Place { collection, root: scope.root };
        let mut decider = Decider::new(self.config, self.catalog, &scope, &survey, place);
        let plan = decider.plans(id, &[object])?.into_iter().next();
        Ok(Explanation { outlook: outlook_of_plan(plan), steps })
    }

    /// What would happen to a directory that is one image.
    ///
    /// # Errors
    /// The catalog failed.
    pub fn explain_unit(
        &self,
        (collection, id): (&LogicalPath, CollectionId),
        owner: Option<&IrodsUser>,
    ) -> Result<Explanation, CatalogError> {
        let (scope, mut steps) = self.explained_scope(collection, id)?;
        steps.push("the directory is one image, with all below it".to_owned());
        let Some(scope) = scope.filter(|s| s.covers_all) else {
            return Ok(Explanation::nothing(steps, "it is not watched".to_owned()));
        };
        if let Some(owner) = owner {
            self.explain_identity(owner, Place { collection, root: scope.root }, &mut steps)?;
        }
        let outlook = match self.plan_unit(id, collection, &scope)? {
            UnitPlan::Nothing => outlook_of_plan(None),
            UnitPlan::Unsettled(wait, marker) => {
                let why = marker.map_or_else(
                    || "until nothing in it changes any more".to_owned(),
                    |marker| format!("waits for {marker}, which says that the data is complete"),
                );
                Outlook::Waits(Some(wait), why)
            }
            UnitPlan::Settled(planned) => outlook_of(planned.verdict),
        };
        Ok(Explanation { outlook, steps })
    }

    /// What would happen to data of that name that somebody puts into a collection.
    ///
    /// # Errors
    /// The catalog failed.
    pub fn explain_new(
        &self,
        (collection, id): (&LogicalPath, CollectionId),
        name: &[u8],
        owner: &IrodsUser,
    ) -> Result<Explanation, CatalogError> {
        let (scope, mut steps) = self.explained_scope(collection, id)?;
        let Some(scope) = scope else {
            return Ok(Explanation::nothing(steps, "it would not be watched".to_owned()));
        };
        if let Some(why) = &scope.unclear {
            let outlook = Outlook::Record(State::Skipped, Some(why.clone()));
            return Ok(Explanation { outlook, steps });
        }
        if !scope.admits(name, None) {
            let why = "its name says that it is no data (include, exclude)".to_owned();
            return Ok(Explanation::nothing(steps, why));
        }
        let place = Place { collection, root: scope.root };
        self.explain_identity(owner, place, &mut steps)?;
        let survey = Survey::at(self.clock.now());
        let mut decider = Decider::new(self.config, self.catalog, &scope, &survey, place);
        steps.push("whether OMERO sees it depends on the resource it is put on".to_owned());
        let outlook = match decider.outlook(owner, self.clock.now())? {
            Ok((mapping, target)) => Outlook::Import {
                mapping: Box::new(mapping),
                target,
                plate_target: None,
                importer_path: None,
            },
            Err(verdict) => outlook_of(verdict),
        };
        Ok(Explanation { outlook, steps })
    }

    /// What would happen in a collection; how many data objects are to be decided on, now and later.
    ///
    /// # Errors
    /// The catalog failed.
    pub fn explain_collection(
        &self,
        collection: &LogicalPath,
        id: CollectionId,
    ) -> Result<Explanation, CatalogError> {
        let (scope, mut steps) = self.explained_scope(collection, id)?;
        let Some(scope) = scope else {
            return Ok(Explanation::nothing(steps, "it is not watched".to_owned()));
        };
        let survey = self.survey(id, collection, &scope)?;
        let (todo, later) = (survey.todo.len(), survey.later.len());
        steps.push(format!("data objects to be decided on: {todo} now, {later} later"));
        let outlook = match (todo, survey.again_in) {
            (0, None) => Outlook::Nothing("there is nothing to be done directly in it".to_owned()),
            (0, wait) => Outlook::Waits(
                wait,
                survey.waits_for.unwrap_or_else(|| "until nothing in it changes any more".to_owned()),
            ),
            (_, _) => Outlook::Waits(None, format!("{todo} data objects are looked at by the next sweep")),
        };
        Ok(Explanation { outlook, steps })
    }

    /// The scope of a collection, and how it comes about.
    fn explained_scope(
        &self,
        collection: &LogicalPath,
        id: CollectionId,
    ) -> Result<(Option<Scope>, Vec<String>), CatalogError> {
        let (_, steps) = watch::explain(self.config, self.catalog, collection)?;
        Ok((self.scope(id, collection)?, steps))
    }

    fn explain_identity(
        &self,
        owner: &IrodsUser,
        place: Place<'_>,
        steps: &mut Vec<String>,
    ) -> Result<(), CatalogError> {
        let names = &self.config.attributes;
        let asked = Asked { metadata: self.catalog, names, owner, place: Some(place) };
        steps.push(format!("the data is {owner}'s"));
        steps.extend(self.config.identities.resolve(&asked)?.steps);
        Ok(())
    }
}

fn tag_step(tag: Option<&Result<Tag, String>>) -> Option<String> {
    Some(match tag? {
        Ok(Tag::Off) => "it is tagged itself: not to be imported".to_owned(),
        Ok(Tag::On(_)) => "it is tagged itself: to be imported".to_owned(),
        Err(why) => why.clone(),
    })
}

fn outlook_of_plan(plan: Option<Plan>) -> Outlook {
    match plan {
        None => Outlook::Nothing("there is nothing new to say of it".to_owned()),
        Some(Plan::Rest(rest)) => Outlook::Nothing(rest.sentence().to_owned()),
        Some(Plan::Waits(_)) => Outlook::Waits(None, "until nothing in it changes any more".to_owned()),
        Some(Plan::Do(planned)) => outlook_of(planned.verdict),
    }
}

fn outlook_of(verdict: Verdict) -> Outlook {
    match verdict {
        Verdict::Say(entry) => Outlook::Record(entry.state(), entry.reason()),
        Verdict::Touched => Outlook::Record(State::Imported, None),
        Verdict::Stage(resource) => Outlook::Copy(resource),
        Verdict::Await { wait, why } => Outlook::Waits(Some(wait), why),
        Verdict::Postpone(why) => Outlook::Record(State::Pending, Some(why)),
        Verdict::Import(import) => Outlook::Import {
            mapping: Box::new(import.mapping),
            target: import.target,
            plate_target: import.plate_target,
            importer_path: Some(import.importer_path),
        },
    }
}
