//! The configuration in force, which SIGHUP replaces.

use crate::auth::Clients;
use crate::config::Config;
use irods_omero_model::form::Problem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// A configuration with the callers it names.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The callers.
    pub clients: Clients,
}

impl Loaded {
    /// Reads the file and what it names.
    ///
    /// # Errors
    /// Every problem found.
    pub fn read(path: &Path) -> Result<Self, Vec<Problem>> {
        let config = Config::read(path)?;
        let clients = Clients::read(&config)?;
        Ok(Self { config, clients })
    }
}

/// The configuration in force.
#[derive(Debug, Clone)]
pub struct Live {
    path: Arc<PathBuf>,
    loaded: Arc<RwLock<Arc<Loaded>>>,
}

impl Live {
    /// The configuration of a file.
    pub fn new(path: &Path, loaded: Loaded) -> Self {
        Self { path: Arc::new(path.to_owned()), loaded: Arc::new(RwLock::new(Arc::new(loaded))) }
    }

    /// What is in force now.
    pub fn get(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the file again. With a mistake in it, everything stays as it is.
    ///
    /// # Errors
    /// Every problem found.
    pub fn reload(&self) -> Result<(), Vec<Problem>> {
        let loaded = Loaded::read(&self.path)?;
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
        Ok(())
    }
}
