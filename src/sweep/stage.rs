//! The delayed step before an import of data that OMERO cannot see where it is: a replica is made on a resource of
//! which it can see the vault (`visibility/stage_to`), and the next sweep imports that one.
//!
//! It is a job of its own, because a copy may take long: the sweep does not hold its collection meanwhile. The sweep
//! leaves the collection due, so a job that is lost is queued again by the next sweep, and a copy that fails is tried
//! again with growing waits.

use super::scribe::NOT_THERE;
use super::{Planned, Sweeper, Verdict};
use crate::catalog::{CatalogError, Kind};
use irods_omero_model::names::CollectionId;
use irods_omero_model::record::{self, Details, Entry};
use std::time::Duration;

/// What a stage job did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Staged {
    /// Data objects that have a replica on the resource now.
    pub copied: usize,
    /// Data objects that could not be copied; their records say why.
    pub failed: usize,
}

/// What the record says until there is a replica.
pub(super) fn waits_for(resource: &str) -> String {
    format!("OMERO cannot see the data where it is: it is being copied to the resource {resource} first")
}

impl Sweeper<'_> {
    /// Copies what a collection holds that OMERO cannot see, for as long as a sweep may be silent.
    ///
    /// # Errors
    /// The catalog failed.
    pub fn stage(&self, id: CollectionId) -> Result<Staged, CatalogError> {
        let Some(collection) = self.catalog.collection_path(id)? else {
            return Ok(Staged::default());
        };
        let Some(scope) = self.scope(id, &collection)? else {
            return Ok(Staged::default());
        };
        let until = self.clock.now().saturating_add(self.config.sweep_expiry.as_secs());
        let mut staged = Staged::default();
        let survey = self.survey(id, &collection, &scope)?;
        self.decide(id, &collection, &scope, &survey, &mut |page| {
            for object in &page {
                let Verdict::Stage(resource) = &object.verdict else { continue };
                match self.catalog.replicate(&object.path, resource) {
                    Ok(()) => staged.copied += 1,
                    Err(CatalogError::Call { code, .. }) if NOT_THERE.contains(&code) => {}
                    Err(error) => {
                        staged.failed += 1;
                        self.write_failure(object, resource, &error)?;
                    }
                }
                if self.clock.now() >= until {
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        if staged.copied > 0 {
            self.mark(&collection, Duration::from_secs(1))?;
        }
        log::info!("act=stage collection={collection} copied={} failed={}", staged.copied, staged.failed);
        Ok(staged)
    }

    fn write_failure(
        &self,
        object: &Planned,
        resource: &str,
        error: &CatalogError,
    ) -> Result<(), CatalogError> {
        let names = &self.config.attributes;
        let reason =
            format!("OMERO cannot see the data where it is, and it cannot be copied to {resource}: {error}");
        log::warn!("act=stage path={} failed=\"{error}\"", object.path);
        let previous = object.record.previous(names);
        let details = Details {
            attempts: object.attempts + 1,
            version: Some(object.version),
            proof: object.proof.as_ref(),
            subject: Some(object.subject.number()),
            whereabouts: object.whereabouts,
            previous: &previous,
            ..Details::default()
        };
        let triples = record::triples(names, &Entry::Pending(reason), &details);
        self.catalog.replace(Kind::DataObject, &object.path, &object.record.triples, &triples)
    }
}
