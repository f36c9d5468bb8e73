//! One configured instance of the plugin: what the shim's calls lead to.

use crate::catalog::irods::IrodsCatalog;
use crate::catalog::{Catalog, Holdings};
use crate::due::{self, Expected};
use crate::event::mapping;
use crate::event::{Argument, OpenObjects, Pep, Surroundings};
use crate::ffi::{RULE_ENGINE_CONTINUE, Session};
use crate::guard::act::Input;
use crate::guard::{self, Refusal, Reserved};
use crate::operations::{self, Context, Format, Function, OperationError, Reading, Request};
use crate::sweep::Sweeper;
use crate::watch;
use irods_omero_config::Config;
use irods_omero_importer::command::CommandImporter;
use irods_omero_importer::{Importing, agent_client, installation};
use irods_omero_model::attributes::Attributes;
use irods_omero_model::clock::{Clock, SystemClock};
use irods_omero_model::event::{Affected, Event};
use irods_omero_model::form::Problem;
use irods_omero_model::names::{IrodsUser, LogicalPath};
use irods_omero_model::watch::{Marker, Watching};
use once_cell::sync::OnceCell;
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// `SYS_INTERNAL_ERR`
const NOT_CONFIGURED: i64 = -154_000;

/// How long a job waits that meets a configuration with mistakes, in seconds.
const LATER: u64 = 300;

/// One instance, from load to unload. The agent factory makes it and sets it up; every agent has a copy.
pub struct Plugin {
    instance: String,
    /// Set by `setup`; `None` inside where the configuration is invalid.
    config: OnceCell<Option<Config>>,
    /// The account the server runs as in its zone, whose jobs are ours.
    service: OnceCell<IrodsUser>,
    /// Whether this server has the catalog; elsewhere we cannot write with the server's own privilege.
    on_provider: Cell<bool>,
    /// Whether PEPs other than the guard's concern us: a valid configuration that watches something.
    active: Cell<bool>,
    /// The PEPs about which the guard of imported data is asked, a bit for each.
    minded: Cell<u64>,
    /// What can be read of a configuration with mistakes, for that guard; `None` inside where there is nothing to go by.
    readable: OnceCell<Option<Config>>,
    /// The attributes that the guard keeps; set by `setup`, the default ones before.
    reserved: OnceCell<Reserved>,
    regex: OnceCell<String>,
    agent: RefCell<Agent>,
}

/// Who sent a rule text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// Somebody who meant whoever understands it.
    Anybody,
    /// A client, who meant this instance by name.
    Client,
    /// The delay server: a job of this instance.
    Queue,
}

/// What one agent process remembers.
#[derive(Default)]
struct Agent {
    open: OpenObjects,
    expected: Expected,
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
            service: OnceCell::new(),
            on_provider: Cell::new(true),
            active: Cell::new(false),
            minded: Cell::new(0),
            readable: OnceCell::new(),
            reserved: OnceCell::new(),
            regex: OnceCell::new(),
            agent: RefCell::default(),
        }
    }

    /// Reads the configuration from the server's directory, and looks at what it points at. Never fails: an instance
    /// without a valid configuration declines everything, except that its guard refuses to write our attributes.
    pub fn setup(&self, directory: &Path) {
        let instance = &self.instance;
        let stanza = read_stanza(&directory.join("server_config.json"), instance);
        let reserved = stanza.as_ref().map_or_else(|_| Reserved::default(), |s| Reserved::read(&s.value));
        let readable = stanza.as_ref().ok().filter(|s| s.value.as_object().is_some_and(|o| !o.is_empty()));
        let readable = readable.and_then(|stanza| Config::read(&stanza.value).0);
        let read = stanza
            .and_then(|stanza| Ok((Config::parse(&stanza.value).map_err(|p| stanza.place(p))?, stanza)));
        let config = match read {
            Ok((config, stanza)) => {
                self.on_provider.set(stanza.role == Role::Provider);
                let _ = self.service.set(stanza.service.clone());
                self.say_what_is_set_up(&config, &stanza);
                Some(config)
            }
            Err(problems) => {
                for problem in &problems {
                    log::error!("act=setup instance={instance} pointer={problem}");
                }
                log::error!(
                    "act=setup instance={instance} errors={} why=\"the plugin does nothing until they are mended, except \
                     that nobody but administrators can write its attributes; jobs wait in the queue\"",
                    problems.len()
                );
                None
            }
        };
        self.active.set(config.as_ref().is_some_and(Config::watches_anything));
        let reserved = config.as_ref().map_or(reserved, |config| Reserved::of(&config.attributes));
        let _ = self.reserved.set(reserved);
        let guarded = match &config {
            Some(config) => Some(config).filter(|config| config.watches_anything()),
            None => readable.as_ref(),
        };
        let bits =
            guarded.map_or(0, |c| guard::imported::minded(c).into_iter().fold(0, |all, pep| all | bit(pep)));
        self.minded.set(bits);
        let _ = self.readable.set(readable.filter(|_| config.is_none()));
        let _ = self.config.set(config);
    }

    /// One line about the instance, and one for everything that is broken around it.
    fn say_what_is_set_up(&self, config: &Config, stanza: &Stanza) {
        let instance = &self.instance;
        let watches = config.watches.len();
        log::info!("act=setup instance={instance} version={} watches={watches}", env!("CARGO_PKG_VERSION"));
        if config.watches_anything() {
            let directory = config.identities.directory().map(|directory| {
                let password = directory.bind.as_ref().map(|(_, file)| file.as_path());
                installation::problems_of_directory(&directory.command, password)
            });
            let importers = installation::problems(config.omero.as_ref(), config.agents.as_ref());
            for problem in
                stanza.place(importers.into_iter().chain(directory.into_iter().flatten()).collect())
            {
                log::error!("act=setup instance={instance} pointer={problem}");
            }
        }
    }

    /// A client connection begins.
    pub fn start(&self) {
        if let Ok(mut agent) = self.agent.try_borrow_mut() {
            *agent = Agent::default();
        }
    }

    /// Whether a PEP concerns us: those of the guard of our attributes always do.
    #[inline]
    fn hears(&self, pep: Pep) -> bool {
        self.active.get() && !pep.is_of_data_guard() || pep.is_guarded() || self.minds(pep)
    }

    /// Whether the guard of imported data is asked about a PEP.
    #[inline]
    fn minds(&self, pep: Pep) -> bool {
        self.minded.get() & bit(pep) != 0
    }

    /// The regular expression of the PEPs that concern us, to be asked for after `setup`.
    pub fn regex(&self) -> &str {
        self.regex.get_or_init(|| Pep::regex(|pep| self.hears(pep)))
    }

    /// Whether `rule` is one of ours.
    #[inline]
    pub fn rule_exists(&self, rule: &[u8]) -> bool {
        match Pep::of(rule) {
            Some(pep) => self.hears(pep),
            None => self.function(rule).is_some(),
        }
    }

    /// The function of that name, if policies may call it: the configuration is in order.
    #[inline]
    pub fn function(&self, name: &[u8]) -> Option<Function> {
        Function::of(name).filter(|_| self.config().is_some())
    }

    /// The i-th rule's name.
    pub fn rule_name(&self, i: usize) -> Option<&'static str> {
        let peps = Pep::ALL.iter().filter(|(pep, _)| self.hears(*pep)).map(|(_, name)| *name);
        let functions = Function::ALL.iter().map(|f| f.name).filter(|_| self.config().is_some());
        functions.chain(peps).nth(i)
    }

    fn config(&self) -> Option<&Config> {
        self.config.get().and_then(Option::as_ref)
    }

    /// A PEP fired. Only the guard of a pre PEP refuses; whatever else happens here, the client's operation is
    /// not touched. `argument` unpacks the operation's argument, `input` what the guard of imported data asks of it. Without a
    /// session only the guard has an answer.
    pub fn pep<'a>(
        &self,
        session: Option<&Session<'_>>,
        pep: Pep,
        argument: impl FnOnce() -> Argument<'a>,
        input: impl FnOnce() -> Option<Input<'a>>,
    ) -> Option<Refusal> {
        let service = self.service.get();
        if pep.is_guarded() || pep.is_of_data_guard() {
            let reserved =
                if pep.is_guarded() { self.about_attributes(session, pep, argument) } else { None };
            return reserved.or_else(|| self.about_data(session, pep, input));
        }
        let (config, session) = self.config().zip(session)?;
        let argument = argument();
        let catalog = IrodsCatalog::new(session, &config.attributes, &self.instance, service);
        let on_provider = self.on_provider.get();
        let is_static = pep == Pep::StaticModAvuPost;
        // What cannot be looked up may be a change: the look at skipped data is the lesser harm.
        let bears =
            |kind: &[u8], name: &[u8], names: &[&str]| catalog.bears(kind, name, names).unwrap_or(true);
        if on_provider
            && (is_static || pep == Pep::AtomicMetadataPost)
            && mapping::is_change(&config.attributes, &argument, &bears)
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
        let Agent { open, expected, watches } = &mut *agent;
        let around = Around { config, session, catalog: &catalog, watches };
        match open.read(pep, argument, &around) {
            Ok(events) => {
                for event in events {
                    if event.changes_watching() {
                        around.forget();
                    }
                    if !is_heard_twice {
                        self.event(&around, expected, pep, &event);
                    }
                }
            }
            Err(error) => log::warn!("act=event pep={} failed=\"{error}\"", pep.name()),
        }
        None
    }

    /// The guard of our attributes.
    fn about_attributes<'a>(
        &self,
        session: Option<&Session<'_>>,
        pep: Pep,
        argument: impl FnOnce() -> Argument<'a>,
    ) -> Option<Refusal> {
        let names = Attributes::default(); // the guard says itself which attributes it asks for
        let catalog =
            session.map(|session| IrodsCatalog::new(session, &names, &self.instance, self.service.get()));
        let catalog = catalog.as_ref().map(|c| -> &dyn Catalog { c });
        guard::reserved::check(self.reserved.get_or_init(Reserved::default), catalog, pep, argument())
    }

    /// The guard of imported data.
    fn about_data<'a>(
        &self,
        session: Option<&Session<'_>>,
        pep: Pep,
        input: impl FnOnce() -> Option<Input<'a>>,
    ) -> Option<Refusal> {
        if !self.minds(pep) {
            return None;
        }
        let config = self.config().or_else(|| self.readable.get().and_then(Option::as_ref))?;
        let service = self.service.get();
        let catalog =
            session.map(|session| IrodsCatalog::new(session, &config.attributes, &self.instance, service));
        let catalog = catalog.as_ref().map(|c| -> &dyn Holdings { c });
        let can_write = self.on_provider.get() && self.config().is_some();
        guard::imported::check(config, catalog, can_write, pep, input().as_ref())
    }

    fn event(&self, around: &Around<'_>, expected: &mut Expected, pep: Pep, event: &Event) {
        let Some(place) = event.affected() else { return };
        let Around { config, catalog, .. } = *around;
        let anyway = matches!(place, Affected::Unwatched(_) | Affected::Abandoned(_));
        // A consumer forwards what takes data away, so the provider hears it too.
        if matches!(place, Affected::Abandoned(_) | Affected::Strays) && !self.on_provider.get() {
            return;
        }
        // What is moved may keep its time, so its new collection is read as a whole.
        let is_moved = matches!(place, Affected::TreeOrParent(_) | Affected::Abandoned(_))
            || matches!(pep, Pep::PhymvPost | Pep::TrimPost);
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
                if let Event::Removed(path) = event {
                    Self::follow_into_trash(config, catalog, pep, path);
                }
                let quiet = config.defaults.quiet_period;
                if let Err(error) =
                    expected.look_for_strays(catalog, SystemClock.now(), quiet, Instant::now())
                {
                    log::error!("act=look_for_strays failed=\"{error}\"");
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
        let marked = if self.on_provider.get() {
            if is_moved && let Err(error) = due::ask_for_all(catalog, &config.attributes, &collection) {
                log::error!("act=mark collection={collection} failed=\"{error}\"");
            }
            due::announce(config, catalog, &collection, tree, SystemClock.now(), quiet).map(drop)
        } else {
            // Here a catalog call is the user's own, with the user's rights. The job runs on the provider.
            expected.mark(catalog, &collection, tree, quiet, Instant::now())
        };
        if let Err(error) = marked {
            log::error!(
                "act=mark collection={collection} failed=\"{error}\" remedy=\"the data is imported after the next \
                 recurring scan; a policy of the site that refuses AVUs has to allow those of the service account\""
            );
        }
    }

    /// What was removed may be in the trash of whoever removed it, and OMERO is to see it there.
    fn follow_into_trash(config: &Config, catalog: &dyn Catalog, pep: Pep, path: &LogicalPath) {
        let marked = || -> Result<(), irods_omero_model::catalog::CatalogError> {
            let Some(trash) = catalog.client().and_then(|user| in_trash(path, &user)) else { return Ok(()) };
            let mut places = Vec::new();
            match pep {
                Pep::RmCollPost => places = catalog.in_omero_like(&trash)?,
                // It may have been removed for good.
                _ => places
                    .extend(trash.parent().filter(|p| catalog.collection_id(p).is_ok_and(|id| id.is_some()))),
            }
            let quiet = config.defaults.quiet_period;
            places.iter().try_for_each(|place| {
                due::ask_for_all(catalog, &config.attributes, place)?;
                due::announce(config, catalog, place, false, SystemClock.now(), quiet).map(drop)
            })
        };
        if let Err(error) = marked() {
            log::error!("act=mark path={path} failed=\"{error}\" why=\"it may be in the trash\"");
        }
    }

    /// A rule text. What is not understood is answered where this instance was meant by name, and else declined quietly.
    pub fn rule_text(&self, session: &Session<'_>, text: &[u8], sender: Sender) -> Answer {
        let declined = || Answer { code: RULE_ENGINE_CONTINUE, output: None };
        let answer = match (self.config(), sender, operations::read(text)) {
            (None, Sender::Anybody, _) | (Some(_), Sender::Anybody, Reading::NotOurs(_)) => {
                return declined();
            }
            (None, Sender::Queue, reading) => return self.leave_for_later(session, reading),
            (None, Sender::Client, _) => told(
                session,
                NOT_CONFIGURED,
                "the plugin's configuration is not valid: see the server's log".to_owned(),
            ),
            (Some(config), _, reading) => self.answer(config, session, reading),
        };
        match answer {
            Ok((answer, Format::Json)) => Answer { code: 0, output: Some(format!("{answer}\n")) },
            Ok((answer, Format::Table)) => {
                Answer { code: 0, output: Some(format!("{}\n", operations::table(&answer))) }
            }
            Err(Failed { code, sentence }) => Answer { code, output: Some(format!("{sentence}\n")) },
        }
    }

    /// A job that meets a configuration with mistakes comes again, as the same user's, so that what is to be done is done
    /// once they are mended. `setup` has said what is wrong; the delay server runs each job in a process of its own, so
    /// here it would be said as often as there are jobs.
    fn leave_for_later(&self, session: &Session<'_>, reading: Reading) -> Answer {
        if let Reading::Ours(request) = reading {
            let conditions = format!("<INST_NAME>{}</INST_NAME><PLUSET>{LATER}s</PLUSET>", self.instance);
            match session.delay(None, &request.text(), &conditions) {
                Ok(()) => {
                    log::debug!("act=job operation={:?} left_for_seconds={LATER}", request.operation);
                }
                Err(code) => {
                    log::warn!("act=job operation={:?} failed=\"iRODS error {code}\"", request.operation);
                }
            }
        }
        Answer { code: 0, output: None }
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
        let service = self.service.get();
        let catalog = IrodsCatalog::new(session, &config.attributes, &self.instance, service);
        let roots = config.visibility.roots();
        let importer = config.omero.as_ref().map(|omero| CommandImporter::new(omero).within(&roots));
        let agents = config.agents.as_ref().map(agent_client::all);
        let importing = match &agents {
            Some(agents) => Some(Importing::ByAgents(agents)),
            None => importer.as_ref().map(|i| Importing::Here(i)),
        };
        let sweeper = Sweeper { config, catalog: &catalog, importing, clock: &SystemClock };
        let on_provider = self.on_provider.get();
        request.answer(&Context { config, catalog: &catalog, sweeper: &sweeper, on_provider, service })
    }
}

/// Where something is put when a user removes it (`rsMkTrashPath` of 5.0.2); a name that is taken there gets a number more.
fn in_trash(path: &LogicalPath, user: &IrodsUser) -> Option<LogicalPath> {
    let mut elements = path.elements();
    let zone = elements.next()?.to_vec();
    let mut rest: Vec<&[u8]> = elements.collect();
    if rest.first() == Some(&b"trash".as_slice()) {
        return None;
    }
    let owner = if user.zone().as_bytes() == zone { user.name().to_owned() } else { user.to_string() };
    if rest.first() == Some(&b"home".as_slice()) {
        rest.remove(0);
        if rest.len() > 1 && rest.first() == Some(&owner.as_bytes()) {
            rest.remove(0);
        }
    }
    let mut trash = [b"/", zone.as_slice(), b"/trash/home/", owner.as_bytes()].concat();
    for element in rest {
        trash.push(b'/');
        trash.extend(element);
    }
    LogicalPath::parse(&trash).ok()
}

/// The place of a PEP in a set of them.
#[inline]
fn bit(pep: Pep) -> u64 {
    1 << (pep as u64)
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

/// The instance's part of a server_config.json.
#[derive(Debug, Clone)]
struct Stanza {
    /// Its `plugin_specific_configuration`.
    value: Value,
    /// Where that is in the file, as a JSON pointer.
    pointer: String,
    role: Role,
    /// The account the server runs as in its zone.
    service: IrodsUser,
}

impl Stanza {
    /// Problems with their place in the file instead of in the stanza.
    fn place(&self, problems: Vec<Problem>) -> Vec<Problem> {
        let place = |p: Problem| Problem { pointer: format!("{}{}", self.pointer, p.pointer), ..p };
        problems.into_iter().map(place).collect()
    }
}

/// Finds the instance's stanza in a server_config.json.
fn read_stanza(path: &Path, instance: &str) -> Result<Stanza, Vec<Problem>> {
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
    let value =
        engine.get("plugin_specific_configuration").cloned().unwrap_or(Value::Object(serde_json::Map::new()));
    let consumer = json.get("catalog_service_role").and_then(Value::as_str) == Some("consumer");
    let role = if consumer { Role::Consumer } else { Role::Provider };
    let named = |key: &str| json.get(key).and_then(Value::as_str).unwrap_or_default();
    let service = IrodsUser::new(named("zone_user"), named("zone_name")).map_err(|_| {
        let message = "/zone_user and /zone_name do not name the account the server runs as: give both";
        whole(message.to_owned())
    })?;
    let pointer = format!("/plugin_configuration/rule_engines/{i}/plugin_specific_configuration");
    Ok(Stanza { value, pointer, role, service })
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
            let path = LogicalPath::parse(collection);
            Arc::new(path.map_or(Watching::No, |path| self.config.watching(&path)))
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

    fn is_in_omero(&self, path: &[u8]) -> bool {
        let names = &self.config.attributes;
        let fileset = [names.fileset.as_str(), names.member_of.as_str()];
        let asked = self.catalog.bears(b"-d", path, &fileset).and_then(|object| {
            if object {
                return Ok(true);
            }
            let Ok(path) = LogicalPath::parse(path) else { return Ok(false) };
            self.catalog.is_any_in_omero(&path)
        });
        asked.unwrap_or_else(|error| {
            log::error!("act=event path={} failed=\"{error}\"", String::from_utf8_lossy(path));
            false
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
