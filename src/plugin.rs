//! One configured instance of the plugin: what the shim's calls lead to.

use crate::catalog::Catalog;
use crate::catalog::irods::IrodsCatalog;
use crate::due::{self, Memory};
use crate::event::mapping;
use crate::event::{Argument, OpenObjects, Pep, Surroundings};
use crate::ffi::{RULE_ENGINE_CONTINUE, Session};
use crate::guard::{self, Refusal};
use crate::operations::{self, Context, Format, Function, OperationError, Reading, Request};
use crate::sweep::Sweeper;
use crate::watch;
use irods_omero_config::Config;
use irods_omero_importer::command::CommandImporter;
use irods_omero_importer::{Importing, agent_client};
use irods_omero_model::attributes::Attributes;
use irods_omero_model::clock::{Clock, SystemClock};
use irods_omero_model::event::{Affected, Event};
use irods_omero_model::form::Problem;
use irods_omero_model::names::LogicalPath;
use irods_omero_model::watch::{Marker, Watching};
use once_cell::sync::OnceCell;
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// `SYS_INTERNAL_ERR`
const NOT_CONFIGURED: i64 = -154_000;

/// One instance, from load to unload. The agent factory makes it and sets it up; every agent has a copy.
pub struct Plugin {
    instance: String,
    /// Set by `setup`; `None` inside where the configuration is invalid.
    config: OnceCell<Option<Config>>,
    /// Whether this server has the catalog; elsewhere we cannot write with the server's own privilege.
    on_provider: Cell<bool>,
    /// Whether PEPs concern us: a valid configuration that watches something.
    active: Cell<bool>,
    regex: String,
    agent: RefCell<Agent>,
}

/// What one agent process remembers.
#[derive(Default)]
struct Agent {
    open: OpenObjects,
    memory: Memory,
    watches: RefCell<watch::Memory>,
}

/// The answer to a rule text.
pub struct Answer {
    /// What the operation ends with.
    pub code: i64,
    /// What the client is to read.
    pub output: Option<String>,
}

/// Why an operation was not done.
struct Failed {
    /// iRODS error code.
    code: i64,
    /// What the client reads.
    sentence: String,
}

impl Plugin {
    /// An instance of that name, not yet set up.
    pub fn new(instance: String) -> Self {
        Self {
            instance,
            config: OnceCell::new(),
            on_provider: Cell::new(true),
            active: Cell::new(false),
            regex: Pep::regex(),
            agent: RefCell::default(),
        }
    }

    /// Reads the configuration from the server's directory. Never fails: an instance without a valid
    /// configuration declines everything.
    pub fn setup(&self, directory: &Path) {
        let config = match read_config(&directory.join("server_config.json"), &self.instance) {
            Ok((config, role)) => {
                self.on_provider.set(role == Role::Provider);
                Some(config)
            }
            Err(problems) => {
                for problem in &problems {
                    log::error!("act=setup instance={} pointer={problem}", self.instance);
                }
                log::error!(
                    "act=setup instance={} errors={} why=\"the plugin does nothing until they are mended\"",
                    self.instance,
                    problems.len()
                );
                None
            }
        };
        self.active.set(config.as_ref().is_some_and(Config::watches_anything));
        if let Some(config) = &config {
            let (instance, watches) = (&self.instance, config.watches.len());
            log::info!(
                "act=setup instance={instance} version={} watches={watches}",
                env!("CARGO_PKG_VERSION")
            );
        }
        let _ = self.config.set(config);
    }

    /// A client connection begins.
    pub fn start(&self) {
        if let Ok(mut agent) = self.agent.try_borrow_mut() {
            *agent = Agent::default();
        }
    }

    /// Whether PEPs concern us.
    pub fn is_active(&self) -> bool {
        self.active.get()
    }

    /// The regular expression of our PEPs.
    pub fn regex(&self) -> &str {
        &self.regex
    }

    /// Whether `rule` is one of ours.
    #[inline]
    pub fn rule_exists(&self, rule: &[u8]) -> bool {
        self.active.get() && Pep::of(rule).is_some() || self.function(rule).is_some()
    }

    /// The function of that name, if policies may call it: the configuration is in order.
    pub fn function(&self, name: &[u8]) -> Option<Function> {
        Function::of(name).filter(|_| self.config().is_some())
    }

    /// The i-th rule's name.
    pub fn rule_name(&self, i: usize) -> Option<&'static str> {
        let peps = Pep::ALL.iter().map(|(_, name)| *name).filter(|_| self.active.get());
        let functions = Function::ALL.iter().map(|f| f.name).filter(|_| self.config().is_some());
        functions.chain(peps).nth(i)
    }

    fn config(&self) -> Option<&Config> {
        self.config.get().and_then(Option::as_ref)
    }

    /// A PEP fired. Only the guard of a pre PEP refuses; whatever else happens here, the client's operation is
    /// not touched. `argument` unpacks the operation's argument, once it is known that the PEP is ours.
    pub fn pep<'a>(
        &self,
        session: &Session<'_>,
        rule: &[u8],
        argument: impl FnOnce(Pep) -> Argument<'a>,
    ) -> Option<Refusal> {
        let (config, pep) = (self.config()?, Pep::of(rule)?);
        let argument = argument(pep);
        if pep.is_guarded() {
            let catalog = IrodsCatalog::new(session, &config.attributes, &self.instance);
            return guard::check(&config.attributes, &catalog, pep, argument);
        }
        let catalog = IrodsCatalog::new(session, &config.attributes, &self.instance);
        let on_provider = self.on_provider.get();
        let is_static = pep == Pep::StaticModAvuPost;
        if on_provider
            && (is_static || pep == Pep::AtomicMetadataPost)
            && mapping::is_change(&config.attributes, &argument)
            && let Err(error) = due::queue_sweep_skipped(&catalog, SystemClock.now())
        {
            log::error!("act=mapping_changed failed=\"{error}\"");
        }
        // The static PEP tells the provider of all that the API's does, and of what microservices do; and of our own
        // marks.
        if on_provider && pep == Pep::ModAvuPost || is_static && is_our_own(&config.attributes, argument) {
            return None;
        }
        // What is written by another server's catalog is heard there too.
        let is_heard_twice = !on_provider && matches!(pep, Pep::ModAvuPost | Pep::AtomicMetadataPost);
        let mut agent = self.agent.try_borrow_mut().ok()?;
        let Agent { open, memory, watches } = &mut *agent;
        let around = Around { config, session, catalog: &catalog, watches };
        match open.read(pep, argument, &around) {
            Ok(events) => {
                for event in events {
                    if event.changes_watching() {
                        around.forget();
                    }
                    if !is_heard_twice {
                        self.event(&around, memory, &event);
                    }
                }
            }
            Err(error) => log::warn!("act=event pep={} failed=\"{error}\"", String::from_utf8_lossy(rule)),
        }
        None
    }

    fn event(&self, around: &Around<'_>, memory: &mut Memory, event: &Event) {
        let Some(place) = event.affected() else { return };
        let Around { config, catalog, .. } = *around;
        let anyway = matches!(place, Affected::Unwatched(_) | Affected::Abandoned(_));
        // A consumer forwards what takes data away, so the provider hears it too.
        if matches!(place, Affected::Abandoned(_) | Affected::Strays) && !self.on_provider.get() {
            return;
        }
        let (collection, tree) = match place {
            Affected::Collection(path) | Affected::Unwatched(path) => (path, false),
            Affected::Tree(path) => (path, true),
            Affected::TreeOrParent(path) | Affected::Abandoned(path) => match catalog.collection_id(&path) {
                Ok(Some(_)) => (path, true),
                Ok(None) => match path.parent() {
                    Some(parent) => (parent, false),
                    None => return,
                },
                Err(error) => {
                    log::error!("act=mark path={path} failed=\"{error}\"");
                    return;
                }
            },
            Affected::Strays => {
                let quiet = config.defaults.quiet_period;
                match memory.look_for_strays(catalog, SystemClock.now(), quiet, Instant::now()) {
                    Ok(()) => {}
                    Err(error) => log::error!("act=look_for_strays failed=\"{error}\""),
                }
                return;
            }
        };
        // A directory format is looked at as a whole, so its chunks are one mark.
        let (collection, tree) = match config.unit_of(collection.as_bytes()).map(LogicalPath::parse) {
            Some(Ok(unit)) => (unit, false),
            Some(Err(_)) | None => (collection, tree),
        };
        let watching = around.watching(collection.as_bytes());
        // That something below a tree is watched has been asked when the event was read.
        if !watching.is_of_interest() && !tree && !anyway {
            return;
        }
        let quiet = watching.quiet_period(config.defaults.quiet_period);
        let now = Instant::now();
        // A tree's mark is not remembered: trees come one at a time.
        if !tree && memory.holds(collection.as_bytes(), quiet, now) {
            return;
        }
        let Some(user) = catalog.client() else {
            log::warn!("act=mark collection={collection} failed=\"the session has no user\"");
            return;
        };
        let marked = if self.on_provider.get() {
            due::set(config, catalog, &collection, tree, &user, quiet)
        } else {
            // Here a catalog call is the user's own, with the user's rights. The job runs on the provider.
            due::queue_mark(catalog, &collection, tree)
        };
        match marked {
            Ok(()) if tree => {}
            Ok(()) => memory.remember(collection, now),
            Err(error) => log::error!("act=mark collection={collection} user={user} failed=\"{error}\""),
        }
    }

    /// A rule text, from a client or the delay server. `addressed` says whether it was meant for this instance by name:
    /// then what is not understood is answered, and else declined quietly.
    pub fn rule_text(&self, session: &Session<'_>, text: &[u8], addressed: bool) -> Answer {
        let declined = || Answer { code: RULE_ENGINE_CONTINUE, output: None };
        let answer = match (self.config(), operations::read(text)) {
            (None, _) | (Some(_), Reading::NotOurs(_)) if !addressed => return declined(),
            (None, _) => told(
                session,
                NOT_CONFIGURED,
                "the plugin's configuration is not valid: see the server's log".to_owned(),
            ),
            (Some(config), reading) => self.answer(config, session, reading),
        };
        match answer {
            Ok((answer, Format::Json)) => Answer { code: 0, output: Some(format!("{answer}\n")) },
            Ok((answer, Format::Table)) => {
                Answer { code: 0, output: Some(format!("{}\n", operations::table(&answer))) }
            }
            Err(Failed { code, sentence }) => Answer { code, output: Some(format!("{sentence}\n")) },
        }
    }

    /// A function called by a policy; `assign` takes a new value for one of its arguments (counted from 0). Gives 0 or
    /// an iRODS error code, whose sentence is on the client's error stack then.
    pub fn call(
        &self,
        session: &Session<'_>,
        function: Function,
        arguments: &[&[u8]],
        assign: &mut dyn FnMut(usize, &str),
    ) -> i64 {
        let Some(config) = self.config() else { return RULE_ENGINE_CONTINUE };
        let reading = match function.request(arguments) {
            Ok(request) => operations::read_json(&request),
            Err(sentence) => Reading::Wrong(sentence),
        };
        match self.answer(config, session, reading) {
            Err(Failed { code, .. }) => code,
            Ok((answer, _)) => {
                if let Some((argument, value)) = function.answer(&answer) {
                    assign(argument, &value);
                }
                0
            }
        }
    }

    /// Does what is asked for. What fails is told to the client.
    fn answer(
        &self,
        config: &Config,
        session: &Session<'_>,
        reading: Reading,
    ) -> Result<(Value, Format), Failed> {
        match reading {
            Reading::NotOurs(sentence) | Reading::Wrong(sentence) => {
                told(session, operations::INVALID_INPUT, sentence)
            }
            Reading::Ours(request) => match self.operate(config, session, &request) {
                Ok(answer) => Ok((answer, request.format)),
                Err(error) => {
                    // A job of the delay queue has no client who would read it.
                    if let OperationError::Catalog(error) = &error {
                        log::error!("act=operation operation={:?} failed=\"{error}\"", request.operation);
                    }
                    told(session, error.code(), error.to_string())
                }
            },
        }
    }

    fn operate(
        &self,
        config: &Config,
        session: &Session<'_>,
        request: &Request,
    ) -> Result<Value, OperationError> {
        let catalog = IrodsCatalog::new(session, &config.attributes, &self.instance);
        let roots = config.visibility.roots();
        let importer = config.omero.as_ref().map(|omero| CommandImporter::new(omero).within(&roots));
        let agents = config.agents.as_ref().map(agent_client::all);
        let importing = match &agents {
            Some(agents) => Some(Importing::ByAgents(agents)),
            None => importer.as_ref().map(|i| Importing::Here(i)),
        };
        let sweeper = Sweeper { config, catalog: &catalog, importing, clock: &SystemClock };
        let on_provider = self.on_provider.get();
        request.answer(&Context { config, catalog: &catalog, sweeper: &sweeper, on_provider })
    }
}

/// Tells the client why something was not done.
fn told<T>(session: &Session<'_>, code: i64, sentence: String) -> Result<T, Failed> {
    session.client_message(code, &sentence);
    Err(Failed { code, sentence })
}

/// Whether a metadata operation is about one of the attributes that nobody but us, and administrators, writes.
fn is_our_own(names: &Attributes, argument: Argument<'_>) -> bool {
    match argument {
        Argument::Avu([b"add" | b"rm", _, _, attribute, ..]) => {
            names.reserved().iter().any(|name| name.as_bytes() == attribute)
        }
        _ => false,
    }
}

/// What a server is in its zone (`catalog_service_role`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It has the catalog.
    Provider,
    /// It asks another server.
    Consumer,
}

/// Reads the instance's stanza out of a server_config.json.
///
/// # Errors
/// Every problem; one that concerns the file as a whole has the file's path as its place.
pub fn read_config(path: &Path, instance: &str) -> Result<(Config, Role), Vec<Problem>> {
    let whole = |message: String| vec![Problem { pointer: path.display().to_string(), message }];
    let text = std::fs::read(path).map_err(|e| whole(format!("cannot be read: {e}")))?;
    let json: Value = serde_json::from_slice(&text).map_err(|e| whole(format!("is not JSON: {e}")))?;
    let engines = json.pointer("/plugin_configuration/rule_engines").and_then(Value::as_array);
    let mut ours = engines
        .into_iter()
        .flatten()
        .enumerate()
        .filter(|(_, engine)| engine.get("instance_name").and_then(Value::as_str) == Some(instance));
    let Some((i, engine)) = ours.next() else {
        return Err(whole(format!("has no rule engine instance '{instance}'")));
    };
    let stanza =
        engine.get("plugin_specific_configuration").cloned().unwrap_or(Value::Object(serde_json::Map::new()));
    let consumer = json.get("catalog_service_role").and_then(Value::as_str) == Some("consumer");
    let role = if consumer { Role::Consumer } else { Role::Provider };
    let config = Config::parse(&stanza).map_err(|problems| {
        let base = format!("/plugin_configuration/rule_engines/{i}/plugin_specific_configuration");
        let place = |p: Problem| Problem { pointer: format!("{base}{}", p.pointer), ..p };
        problems.into_iter().map(place).collect::<Vec<_>>()
    })?;
    Ok((config, role))
}

/// What the event reader asks of the world.
struct Around<'a> {
    config: &'a Config,
    session: &'a Session<'a>,
    catalog: &'a dyn Catalog,
    watches: &'a RefCell<watch::Memory>,
}

impl Around<'_> {
    /// How a collection is watched, from memory if it was asked lately. Where the catalog fails, what the
    /// configuration says must do.
    fn watching(&self, collection: &[u8]) -> Arc<Watching> {
        let found = match self.watches.try_borrow_mut() {
            Ok(mut watches) => watches.watching(self.config, self.catalog, collection, Instant::now()),
            Err(_) => return Arc::new(Watching::No), // cannot be: nothing here calls back
        };
        found.unwrap_or_else(|error| {
            log::error!("act=watch collection={} failed=\"{error}\"", String::from_utf8_lossy(collection));
            Arc::new(self.config.watching(collection))
        })
    }
}

impl Around<'_> {
    /// Forgets how collections are watched: a tag has been set or removed.
    fn forget(&self) {
        if let Ok(mut watches) = self.watches.try_borrow_mut() {
            watches.forget();
        }
    }
}

impl Surroundings for Around<'_> {
    fn is_watched(&self, collection: &[u8]) -> bool {
        self.watching(self.config.unit_of(collection).unwrap_or(collection)).is_of_interest()
    }

    fn may_hold_watched(&self, collection: &[u8]) -> bool {
        self.is_watched(collection)
            || LogicalPath::parse(collection).is_ok_and(|path| {
                watch::reaches(self.config, self.catalog, &path).unwrap_or_else(|error| {
                    log::error!("act=watch collection={path} failed=\"{error}\"");
                    false
                })
            })
    }

    fn descriptor(&self, descriptor: i32) -> Option<Vec<u8>> {
        self.session
            .descriptor(descriptor)
            .inspect_err(|code| {
                log::warn!("act=descriptor descriptor={descriptor} failed=\"iRODS error {code}\"");
            })
            .ok()
    }

    fn tag(&self) -> Option<&str> {
        self.config.tags.then_some(&self.config.attributes.import)
    }

    fn marker(&self, collection: &[u8]) -> Option<String> {
        match &*self.watching(collection) {
            Watching::Yes { rules, .. } => match &rules.complete_marker {
                Some(Marker::Avu(attribute)) => Some(attribute.clone()),
                Some(Marker::File(_)) | None => None,
            },
            Watching::No | Watching::Unclear(_) => None,
        }
    }

    fn bears(&self, kind: &[u8], name: &[u8], attribute: &str) -> bool {
        self.catalog.bears(kind, name, &[attribute]).unwrap_or_else(|error| {
            log::error!("act=event path={} failed=\"{error}\"", String::from_utf8_lossy(name));
            false
        })
    }
}
