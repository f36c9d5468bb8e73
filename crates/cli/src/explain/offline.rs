//! The catalog where there is none: it answers that there is nothing, and remembers what it was asked.

use irods_omero_config::identity::{Identities, Source};
use irods_omero_model::catalog::{CatalogError, Metadata, UserTag};
use irods_omero_model::names::{CollectionId, IrodsUser, LogicalPath};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// No catalog.
#[derive(Default)]
pub struct Offline {
    asked: RefCell<Vec<String>>,
}

impl Offline {
    /// What was asked, each question once.
    pub fn questions(self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        self.asked.into_inner().into_iter().filter(|question| seen.insert(question.clone())).collect()
    }

    fn ask(&self, question: String) {
        self.asked.borrow_mut().push(question);
    }
}

impl Metadata for Offline {
    fn user_tags(&self, user: &IrodsUser, _: &[&str]) -> Result<Option<Vec<UserTag>>, CatalogError> {
        self.ask(format!(
            "whether {user} is a user of the catalog, and the AVUs of that user and the user's groups"
        ));
        Ok(Some(Vec::new()))
    }

    fn collection_values(
        &self,
        collection: &LogicalPath,
        attribute: &str,
    ) -> Result<Vec<String>, CatalogError> {
        let _ = collection; // one question for the collection and all above it
        self.ask(format!("the AVU {attribute} of the collection or the nearest above it that has it"));
        Ok(Vec::new())
    }

    fn may_set_avus(&self, _: &LogicalPath) -> Result<BTreeSet<IrodsUser>, CatalogError> {
        Ok(BTreeSet::new())
    }

    fn collections_with(&self, _: &str, _: &str) -> Result<BTreeSet<CollectionId>, CatalogError> {
        Ok(BTreeSet::new())
    }
}

/// The sources that need neither catalog nor directory; and those that do, each with whether it is asked before any of
/// them.
pub fn identities(all: &Identities) -> (Identities, Vec<(&'static str, bool)>) {
    let mut left_out = Vec::new();
    let mut sources: Vec<Source> = Vec::new();
    for source in &all.sources {
        match source {
            Source::Avu | Source::Ldap(_) => left_out.push((source.word(), sources.is_empty())),
            Source::Table(_) | Source::Rules(_) | Source::SameName(_) => sources.push(source.clone()),
        }
    }
    (Identities { sources, ..all.clone() }, left_out)
}
