//! What one agent remembers of which collections are watched, so that the second put into a collection asks nobody.

use super::watching;
use crate::catalog::{Catalog, CatalogError};
use irods_omero_config::Config;
use irods_omero_model::names::LogicalPath;
use irods_omero_model::watch::Watching;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// The longest memory of one agent; when it is full it starts anew.
const MAX_REMEMBERED: usize = 4_096;

/// What has been asked lately, by collection.
#[derive(Debug, Default)]
pub struct Memory {
    known: HashMap<LogicalPath, (Instant, Arc<Watching>)>,
}

impl Memory {
    /// Whether a collection is watched, from memory if it was asked within the configured time.
    ///
    /// # Errors
    /// The catalog failed.
    pub fn watching(
        &mut self,
        config: &Config,
        catalog: &dyn Catalog,
        collection: &[u8],
        now: Instant,
    ) -> Result<Arc<Watching>, CatalogError> {
        if let Some((since, watching)) = self.known.get(collection)
            && now.duration_since(*since) < config.tag_cache
        {
            return Ok(Arc::clone(watching));
        }
        let Ok(path) = LogicalPath::parse(collection) else {
            return Ok(Arc::new(Watching::No));
        };
        let found = Arc::new(watching(config, catalog, &path)?);
        if self.known.len() >= MAX_REMEMBERED {
            self.known.clear();
        }
        self.known.insert(path, (now, Arc::clone(&found)));
        Ok(found)
    }

    /// Forgets everything: a tag has been set or removed.
    pub fn forget(&mut self) {
        self.known.clear();
    }
}
