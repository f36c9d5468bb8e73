//! By which rules the data in a due collection is treated.

use super::Sweeper;
use crate::catalog::CatalogError;
use irods_omero_model::names::{CollectionId, LogicalPath};
use irods_omero_model::watch::{Rules, Tag, Watching};
use std::borrow::Cow;
use std::sync::Arc;

/// What of a collection is looked at, and how.
pub(super) struct Scope {
    /// The rules.
    pub rules: Arc<Rules>,
    /// How many elements of the path name the watched collection.
    pub root: usize,
    /// Whether all data is meant, and not only what is tagged itself.
    pub covers_all: bool,
    /// Why nothing is imported although it is watched.
    pub unclear: Option<String>,
}

impl Scope {
    /// Whether a file of that name, and with that tag of its own, is data.
    pub fn admits(&self, name: &[u8], tag: Option<&Result<Tag, String>>) -> bool {
        match tag {
            Some(Ok(Tag::Off)) => false,
            Some(Ok(Tag::On(_)) | Err(_)) => true,
            None => self.covers_all && self.rules.files.admit(name),
        }
    }

    /// Why the tags of a data object, or of its collection, are no choice; `None` where they are.
    pub fn why_unclear<'a>(&'a self, tag: Option<&'a Result<Tag, String>>) -> Option<&'a String> {
        match tag {
            Some(Err(why)) => Some(why),
            Some(Ok(Tag::On(_))) => None,
            Some(Ok(Tag::Off)) | None => self.unclear.as_ref(),
        }
    }

    /// The rules for a data object that may have a tag of its own.
    pub fn rules_of(&self, tag: Option<&Result<Tag, String>>) -> Cow<'_, Rules> {
        match tag {
            Some(Ok(Tag::On(wishes))) => Cow::Owned(wishes.over(&self.rules)),
            Some(Ok(Tag::Off) | Err(_)) | None => Cow::Borrowed(&self.rules),
        }
    }
}

impl Sweeper<'_> {
    /// What of a collection is looked at; `None` for nothing.
    pub(super) fn scope(
        &self,
        id: CollectionId,
        collection: &LogicalPath,
    ) -> Result<Option<Scope>, CatalogError> {
        let itself = collection.elements().count();
        let defaults = || Arc::clone(&self.config.defaults);
        let scope = |rules, root, covers_all, unclear| Some(Scope { rules, root, covers_all, unclear });
        Ok(match self.watching(collection)? {
            Watching::Yes { rules, root } => scope(rules, root, true, None),
            Watching::Unclear(why) => scope(defaults(), itself, true, Some(why)),
            Watching::No => {
                let attribute = &self.config.attributes.import;
                let tagged = self.config.tags && !self.catalog.tagged_objects(id, attribute)?.is_empty();
                // A marker says of a whole collection that it is complete, not of one file.
                let rules = Rules { complete_marker: None, ..Rules::clone(&self.config.defaults) };
                if tagged { scope(Arc::new(rules), itself, false, None) } else { None }
            }
        })
    }
}
