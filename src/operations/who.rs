//! `{"operation":"who","user":"alice#tempZone","path":"/tempZone/home/alice/run1"}`: as whom somebody's data would
//! be imported, and how that comes about, step by step.

use super::OperationError;
use crate::catalog::{Catalog, CatalogError};
use crate::watch;
use irods_omero_config::Config;
use irods_omero_config::identity::Asked;
use irods_omero_model::names::{IrodsUser, LogicalPath, OmeroName};
use irods_omero_model::watch::{Place, Watching};
use serde_json::{Value, json};

/// The question; without a user about whoever asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// Whose data.
    pub user: Option<IrodsUser>,
    /// Where: a collection, or a data object in it.
    pub path: Option<LogicalPath>,
}

impl Who {
    /// Reads the fields beside `operation`.
    ///
    /// # Errors
    /// A sentence that begins with the field's JSON pointer.
    pub fn read(value: &Value) -> Result<Self, String> {
        let text = |key: &str| match value.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(format!("/{key}: must be a text")),
        };
        let user =
            text("user")?.map(|t| IrodsUser::parse(t).map_err(|e| format!("/user: {e}"))).transpose()?;
        let path = text("path")?
            .map(|t| LogicalPath::parse(t.as_bytes()).map_err(|e| format!("/path: {e}")))
            .transpose()?;
        Ok(Self { user, path })
    }

    /// Answers; everybody may ask about themselves, an administrator about anybody.
    ///
    /// # Errors
    /// The client may not ask, or the catalog failed.
    pub fn answer(&self, config: &Config, catalog: &dyn Catalog) -> Result<Value, OperationError> {
        let client = catalog.client();
        let user = match (&self.user, &client) {
            (Some(user), _) => user,
            (None, Some(client)) => client,
            (None, None) => {
                return Err(OperationError::Refused("/user: the session has no user: name one".to_owned()));
            }
        };
        if client.as_ref() != Some(user) && !catalog.client_is_admin() {
            return Err(OperationError::Refused(format!(
                "only an administrator (rodsadmin) may ask who {user} is; you may ask about yourself"
            )));
        }
        let collection = self.path.as_ref().map(|path| collection_of(catalog, path)).transpose()?;
        let mut steps = Vec::new();
        let place = match &collection {
            None => None,
            Some(collection) => {
                let root = match watch::watching(config, catalog, collection)? {
                    Watching::Yes { root, .. } => root,
                    not => {
                        steps.push(match not {
                            Watching::Unclear(why) => format!("nothing in {collection} is imported: {why}"),
                            _ => format!("{collection} is not watched: nothing there is imported"),
                        });
                        // Nothing lies below a watched collection that is not there.
                        collection.elements().count()
                    }
                };
                Some(Place { collection, root })
            }
        };
        let asked = Asked { metadata: catalog, names: &config.attributes, owner: user, place };
        let answer = config.identities.resolve(&asked)?;
        steps.extend(answer.steps);
        let mapping = answer.mapping.as_ref().ok();
        Ok(json!({
            "user": user.to_string(),
            "person": mapping.map(|m| m.person.to_string()),
            "omero_user": mapping.map(|m| m.identity.user.as_str()),
            "omero_group": mapping.and_then(|m| m.identity.group.as_ref()).map(OmeroName::as_str),
            "mapped_by": mapping.map(|m| m.by.as_str()),
            "reason": answer.mapping.as_ref().err().map(ToString::to_string),
            "steps": steps,
        }))
    }
}

/// The collection at a path, or the one that holds what is there.
fn collection_of(catalog: &dyn Catalog, path: &LogicalPath) -> Result<LogicalPath, CatalogError> {
    let is_collection = catalog.collection_id(path)?.is_some();
    Ok(if is_collection { path.clone() } else { path.parent().unwrap_or_else(|| path.clone()) })
}
