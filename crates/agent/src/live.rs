//! The configuration in force, which SIGHUP replaces.

use crate::auth::Clients;
use crate::config::Config;
use crate::server::Terms;
use irods_omero_model::form::Problem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

/// A configuration with the callers it names.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The callers.
    pub clients: Clients,
    /// What each connection needs.
    pub terms: Terms,
}

impl Loaded {
    /// Reads the file and what it names.
    ///
    /// # Errors
    /// Every problem found.
    pub fn read(path: &Path) -> Result<Self, Vec<Problem>> {
        let config = Config::read(path)?;
        let clients = Clients::read(&config)?;
        let terms = Terms::read(&config).map_err(|p| vec![p])?;
        Ok(Self { config, clients, terms })
    }
}

/// The configuration in force.
#[derive(Debug, Clone)]
pub struct Live {
    path: Arc<PathBuf>,
    loaded: Arc<watch::Sender<Arc<Loaded>>>,
}

impl Live {
    /// The configuration of a file.
    pub fn new(path: &Path, loaded: Loaded) -> Self {
        Self { path: Arc::new(path.to_owned()), loaded: Arc::new(watch::Sender::new(Arc::new(loaded))) }
    }

    /// What is in force now.
    pub fn get(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded.borrow())
    }

    /// Tells when another configuration is in force.
    pub fn changes(&self) -> watch::Receiver<Arc<Loaded>> {
        self.loaded.subscribe()
    }

    /// Reads the file again, with all it names. Either all of it is in force from now on, or, with a mistake in it,
    /// nothing of it.
    ///
    /// # Errors
    /// Every problem found.
    pub fn reload(&self) -> Result<(), Vec<Problem>> {
        let loaded = Loaded::read(&self.path)?;
        let fixed = loaded.config.changed_but_fixed(&self.get().config);
        if !fixed.is_empty() {
            return Err(fixed);
        }
        self.loaded.send_replace(Arc::new(loaded));
        Ok(())
    }
}
