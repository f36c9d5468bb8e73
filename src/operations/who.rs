//! `{"operation":"who","user":"alice#tempZone","path":"/tempZone/home/alice/run1"}`: as whom somebody's data would
//! be imported, and how that comes about, step by step. `{"operation":"who","omero_user":"a.smith"}`: the same backwards, who
//! somebody of OMERO is in iRODS, and so in whose name their saves are written.

use super::OperationError;
use crate::catalog::{Catalog, CatalogError, Writing};
use crate::watch;
use irods_omero_config::Config;
use irods_omero_config::identity::{Asked, Sought};
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
    /// Of whom in OMERO it is asked who they are in iRODS, instead of all that.
    pub omero_user: Option<OmeroName>,
}

impl Who {
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

/// Who somebody of OMERO is in iRODS. Whoever may not ask about others gets an answer about themselves only.
///
/// # Errors
/// The client may not ask, or the catalog failed.
pub(super) fn back(
    config: &Config,
    catalog: &dyn Writing,
    service: Option<&IrodsUser>,
    omero: &OmeroName,
) -> Result<Value, OperationError> {
    let sought = Sought { people: catalog, metadata: catalog, names: &config.attributes, service, omero };
    let origin = config.identities.back(&sought)?;
    let is_asker = origin.user.as_ref().ok().is_some_and(|user| catalog.client().as_ref() == Some(user));
    if !is_asker && !catalog.client_is_admin() {
        return Err(OperationError::Refused(format!(
            "only an administrator (rodsadmin) may ask who the OMERO user '{omero}' is, and whoever that is"
        )));
    }
    Ok(json!({
        "omero_user": omero.as_str(),
        "user": origin.user.as_ref().ok().map(ToString::to_string),
        "reason": origin.user.as_ref().err().map(ToString::to_string),
        "steps": origin.steps,
    }))
}

/// The collection at a path, or the one that holds what is there.
fn collection_of(catalog: &dyn Catalog, path: &LogicalPath) -> Result<LogicalPath, CatalogError> {
    let is_collection = catalog.collection_id(path)?.is_some();
    Ok(if is_collection { path.clone() } else { path.parent().unwrap_or_else(|| path.clone()) })
}
