//! What people and policies ask of us: JSON operations (`irule -r INSTANCE '{"operation":...}'`), the functions that
//! policies call, and the jobs of the delay queue, which are such operations too.

mod attention;
mod audit;
mod deletions;
mod explain;
mod functions;
mod recurring;
mod release;
mod request;
mod state;
mod status;
mod subject;
mod table;
mod verify;
mod who;

pub use attention::{Ignore, Import, Retry};
pub use audit::{Audit, Cursor};
pub use explain::Explain;
pub use functions::Function;
pub use release::{Deletion, Images, Release, Scope};
pub use request::{Format, Reading, Request, read, read_json};
pub use table::table;
pub use verify::Verify;
pub use who::Who;

use crate::catalog::{CatalogError, Writing};
use crate::due;
use crate::save::{self, Turn};
use crate::sweep::Sweeper;
use irods_omero_config::Config;
use irods_omero_model::names::{CollectionId, IrodsUser, LogicalPath};
use serde_json::{Value, json};

/// What a rule text asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// How things stand.
    Status,
    /// What would happen to data, and why.
    Explain(Explain),
    /// Import a data object or a collection.
    Import(Import),
    /// Try again what was given up.
    Retry(Retry),
    /// Leave data alone.
    Ignore(Ignore),
    /// End the tie of data to OMERO.
    Release(Release),
    /// The record of a data object or collection.
    State(LogicalPath),
    /// Compare records with the catalog.
    Verify(Verify),
    /// Compare iRODS, OMERO and OMERO's repository, and mend what differs.
    Audit(Audit),
    /// As whom somebody's data would be imported, and why.
    Who(Who),
    /// Look for marks without a sweep for ever. For administrators.
    InstallRecurring,
    /// No longer. For administrators.
    RemoveRecurring,
    /// Sweep one collection. For jobs of the service account, as the others that follow, but for [`Operation::Mark`].
    Sweep(CollectionId),
    /// Copy what OMERO cannot see in a collection to where it can.
    Stage(CollectionId),
    /// Note that a collection, or all below it, holds something to look at. Anybody may ask: that is all that a server
    /// without the catalog can leave behind for its clients, and it is done to watched collections only.
    Mark {
        /// The collection.
        collection: CollectionId,
        /// Whether all below it is meant.
        tree: bool,
    },
    /// Queue a sweep for every marked collection that has none.
    SweepAll,
    /// Ask the agents what they have done.
    Collect,
    /// Write what people in OMERO want to have saved.
    Save,
    /// Look at skipped data again.
    SweepSkipped,
    /// Ask OMERO what was deleted there, and write down what data that concerns.
    Deletions,
    /// Go on with the doctor's patrol.
    Patrol,
    /// Ask OMERO whether images are still there, and write down which are not.
    LookInOmero(Scope),
    /// Delete images in OMERO, and end the tie of what they were made of.
    DeleteInOmero(Deletion),
}

impl Operation {
    /// Whether only jobs of the service account do it.
    fn is_of_jobs(&self) -> bool {
        match self {
            Self::Sweep(_)
            | Self::Stage(_)
            | Self::SweepAll
            | Self::Collect
            | Self::Save
            | Self::SweepSkipped
            | Self::Deletions
            | Self::Patrol
            | Self::LookInOmero(_)
            | Self::DeleteInOmero(_) => true,
            Self::Status
            | Self::Explain(_)
            | Self::Import(_)
            | Self::Retry(_)
            | Self::Ignore(_)
            | Self::Release(_)
            | Self::State(_)
            | Self::Verify(_)
            | Self::Audit(_)
            | Self::Who(_)
            | Self::InstallRecurring
            | Self::RemoveRecurring
            | Self::Mark { .. } => false,
        }
    }
}

/// Why an operation was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// The client may not ask for it.
    #[error("{0}")]
    Refused(String),
    /// The client may not change what it is about.
    #[error("{0}")]
    NotPermitted(String),
    /// What it is about is not there, or the client may not see it.
    #[error("there is no data object or collection {0}, or you may not see it")]
    NotThere(LogicalPath),
    /// It makes no sense for what it is about.
    #[error("{0}")]
    Impossible(String),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl OperationError {
    /// The iRODS error code a client or a rule gets.
    pub fn code(&self) -> i64 {
        match self {
            // CAT_INSUFFICIENT_PRIVILEGE_LEVEL
            Self::Refused(_) => -830_000,
            // CAT_NO_ACCESS_PERMISSION
            Self::NotPermitted(_) => -818_000,
            // OBJ_PATH_DOES_NOT_EXIST
            Self::NotThere(_) => -358_000,
            // SYS_INVALID_INPUT_PARAM
            Self::Impossible(_) => INVALID_INPUT,
            // SYS_INTERNAL_ERR
            Self::Catalog(_) => -154_000,
        }
    }
}

/// `SYS_INVALID_INPUT_PARAM`
pub const INVALID_INPUT: i64 = -130_000;

/// What operations are done with.
pub struct Context<'a> {
    /// The plugin's configuration.
    pub config: &'a Config,
    /// The catalog.
    pub catalog: &'a dyn Writing,
    /// What decides and imports.
    pub sweeper: &'a Sweeper<'a>,
    /// Whether this server has the catalog; elsewhere we cannot write with the server's own privilege.
    pub on_provider: bool,
    /// The account that the server runs as.
    pub service: Option<&'a IrodsUser>,
}

impl Context<'_> {
    /// Refuses all but administrators.
    fn administrators_only(&self, what: &str) -> Result<(), OperationError> {
        if self.catalog.client_is_admin() {
            return Ok(());
        }
        Err(OperationError::Refused(format!("only an administrator (rodsadmin) may {what}")))
    }

    /// Refuses all but the jobs of the service account: what they do is nobody's wish.
    fn jobs_only(&self) -> Result<(), OperationError> {
        if self.catalog.client_is_service() {
            return Ok(());
        }
        Err(OperationError::Refused(
            "only the plugin's own jobs may ask for that; ask for \"import\" or \"retry\" of a path, or an administrator \
             for \"install_recurring\""
                .to_owned(),
        ))
    }

    /// Makes sure that agents are asked what is to be saved, where anything is.
    fn ensure_save(&self) -> Result<(), OperationError> {
        if let Some(saving) = &self.config.saving {
            due::ensure_save(self.catalog, self.sweeper.clock.now(), saving.interval)?;
        }
        Ok(())
    }

    /// Leaves a request that writes to the catalog provider, as a job of the session's user.
    fn leave_to_provider(&self, request: &Request) -> Result<(), OperationError> {
        Ok(self.catalog.queue_as_client(&request.text(), std::time::Duration::from_secs(1))?)
    }
}

impl Request {
    /// The request as the text of a job.
    pub fn text(&self) -> String {
        let mut json = self.json.clone();
        if let Some(fields) = json.as_object_mut() {
            fields.remove("format");
        }
        // The server refuses texts in which a dollar is followed by one of some words.
        json.to_string().replace('$', "\\u0024")
    }

    /// Does what is asked for.
    ///
    /// # Errors
    /// The client may not ask for it, it is about nothing, or the catalog failed.
    pub fn answer(&self, context: &Context<'_>) -> Result<Value, OperationError> {
        let Context { config, catalog, sweeper, .. } = *context;
        if self.operation.is_of_jobs() {
            context.jobs_only()?;
        }
        Ok(match &self.operation {
            Operation::Status => status::answer(context)?,
            Operation::Explain(explain) => explain.answer(context)?,
            Operation::Import(import) => import.answer(context, self)?,
            Operation::Retry(retry) => retry.answer(context, self)?,
            Operation::Ignore(ignore) => ignore.answer(context, self)?,
            Operation::Release(release) => release.answer(context, self)?,
            Operation::LookInOmero(scope) => scope.look(context)?,
            Operation::DeleteInOmero(deletion) => deletion.perform(context)?,
            Operation::State(path) => state::answer(context, path)?,
            Operation::Verify(verify) => verify.answer(context)?,
            Operation::Who(who) => match &who.omero_user {
                Some(omero) => who::back(config, catalog, context.service, omero)?,
                None => who.answer(config, catalog)?,
            },
            Operation::Audit(audit) => audit.answer(context, self)?,
            Operation::InstallRecurring => recurring::install(context, self)?,
            Operation::RemoveRecurring => recurring::remove(context, self)?,
            Operation::Sweep(id) => {
                let report = sweeper.sweep(*id)?;
                let again = report.again_in.map_or(Value::Null, |d| d.as_secs().into());
                json!({
                    "collection": id.to_string(), "imported": report.imported, "failed": report.failed,
                    "skipped": report.skipped, "pending": report.pending, "stale": report.stale, "gone": report.gone,
                    "again_in_seconds": again,
                })
            }
            Operation::Stage(id) => {
                let staged = sweeper.stage(*id)?;
                json!({"collection": id.to_string(), "copied": staged.copied, "failed": staged.failed})
            }
            Operation::Mark { collection, tree } => {
                if let Some(path) = catalog.collection_path(*collection)?
                    && let Some(quiet) = due::interest(config, catalog, &path, *collection, *tree)?
                {
                    due::announce(config, catalog, &path, *tree, sweeper.clock.now(), quiet)?;
                }
                json!({"collection": collection.to_string()})
            }
            Operation::SweepAll => {
                context.ensure_save()?;
                json!({"queued": sweeper.sweep_all()?})
            }
            Operation::Save => {
                let turn = Turn { config, catalog, service: context.service, clock: sweeper.clock };
                let done = save::turn(&turn)?.unwrap_or_default();
                json!({
                    "saved": done.saved, "already_in_irods": done.already, "refused": done.refused, "goes_on": done.is_more,
                })
            }
            Operation::Collect => {
                let collected = sweeper.collect()?;
                json!({"imported": collected.written.imported, "goes_on": collected.goes_on})
            }
            Operation::Patrol => audit::patrol::go_on(context)?,
            Operation::SweepSkipped => json!({"marked": sweeper.sweep_skipped()?}),
            Operation::Deletions => deletions::answer(context)?,
        })
    }
}
