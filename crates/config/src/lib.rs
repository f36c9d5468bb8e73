//! The stanza `plugin_specific_configuration`, read once in `setup` into values the rest need not check again.
//!
//! All mistakes are found in one reading, each with its JSON pointer and a remedy. An empty stanza is valid:
//! the plugin then loads and does nothing but answer operations.

mod agents;
mod guard;
pub mod identity;
mod save;
mod users;

pub use save::Saving;

use identity::Identities;
use irods_omero_importer::settings::{AgentMode, ImporterCommand, Omero, Server, port_of};
use irods_omero_model::attributes::Attributes;
use irods_omero_model::form::{Asked, Form, Problem, Problems, check_host_path, suggestion, text_of};
use irods_omero_model::names::LogicalPath;
use irods_omero_model::target::Template;
use irods_omero_model::visibility::{Mount, Vault, Visibility};
use irods_omero_model::watch::{
    CollectionPattern, FileRules, Marker, NamePattern, OnOverwrite, Rules, Verdict, Watch, Watching,
    as_configured, is_trash, patterns,
};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The whole configuration of one plugin instance.
#[derive(Debug, Clone)]
pub struct Config {
    /// What to watch.
    pub watches: Vec<Watch>,
    /// Whether collections and data objects may be tagged to be imported.
    pub tags: bool,
    /// How long an agent remembers whether a collection is watched.
    pub tag_cache: Duration,
    /// How data is treated where neither a watch nor a tag says otherwise.
    pub defaults: Arc<Rules>,
    /// Names of collections that are one image each, with all below them.
    pub directory_formats: Vec<NamePattern>,
    /// Names of files that show that a collection's files may belong together.
    pub multi_file_formats: Vec<NamePattern>,
    /// At most this many sweeps wait in the queue when a whole tree is looked at.
    pub max_queued_sweeps: usize,
    /// How iRODS users become OMERO users.
    pub identities: Identities,
    /// How replicas become paths the importer can read.
    pub visibility: Visibility,
    /// How OMERO is reached and the importer is run on this host; `None` as long as nothing is watched, and where
    /// agents do it.
    pub omero: Option<Omero>,
    /// The agents that import, where they do.
    pub agents: Option<AgentMode>,
    /// How what people in OMERO want to have saved is written; `None` where nothing is.
    pub saving: Option<Saving>,
    /// The names of our AVUs.
    pub attributes: Attributes,
    /// A `sweeping` mark older than this belongs to a sweep that died.
    pub sweep_expiry: Duration,
    /// How often marks without a sweep are looked for.
    pub sweep_all_interval: Duration,
    /// What has been quiet for this long is imported even if its collection never settles.
    pub max_wait: Duration,
    /// The first wait before an import is tried again while OMERO is away; it doubles up to an hour.
    pub retry_wait: Duration,
    /// For how long an import that cannot be done for now is tried again.
    pub retry_max_age: Duration,
    /// At most this many data objects go to OMERO in one sweep; the rest follow in the next.
    pub max_files_per_sweep: usize,
    /// How often data that was skipped is looked at again by itself; zero means never.
    pub recheck_skipped: Duration,
    /// What becomes of data whose images somebody deletes in OMERO.
    pub on_delete_in_omero: OnDelete,
    /// In which time the doctor's patrol looks at everything; `None`: there is none.
    pub patrol: Option<Duration>,
}

/// What becomes of data whose images somebody deletes in OMERO.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnDelete {
    /// Its record says so, and it is not imported again unless somebody asks.
    #[default]
    Record,
    /// It is imported again, where it is still watched.
    ImportAgain,
}

impl OnDelete {
    /// The words of the configuration.
    pub const WORDS: [&'static str; 2] = ["record", "import_again"];
}

/// Importer options a site may add, by what stands before `=`. Everything else could change who imports,
/// where to, or what we can read from the output.
const ALLOWED_OPTIONS: &[&str] = &[
    "--skip",
    "--checksum-algorithm",
    "--parallel-upload",
    "--parallel-fileset",
    "--depth",
    "--encrypted",
    "--readers",
];

/// Without it each import asks a host of the internet for a newer version, and waits for it where there is none.
const NO_UPGRADE_CHECK: &str = "--skip=upgrade";

/// The transfer kinds that leave the source in place or copy it; those that delete it are not offered.
const TRANSFERS: &[&str] = &["ln_s", "ln", "cp", "upload"];

/// Environment names that are ours to set, or that change what the `omero` command prints.
const FORBIDDEN_ENVIRONMENT: &[&str] = &[
    "OMERO_PASSWORD",
    "OMERO_SESSIONDIR",
    "OMERO_USERDIR",
    "OMERO_TMPDIR",
    "DEBUG",
    "LC_ALL",
    "JAVA_OPTS",
    "LD_PRELOAD",
];

impl Config {
    /// Reads the value of `plugin_specific_configuration`.
    ///
    /// # Errors
    /// Every problem found, each with its JSON pointer below the stanza.
    pub fn parse(value: &Value) -> Result<Self, Vec<Problem>> {
        match Self::read(value) {
            (Some(config), problems) if problems.is_empty() => Ok(config),
            (_, problems) => Err(problems),
        }
    }

    /// The same with what could be read in spite of the problems; nothing if it is no object.
    pub fn read(value: &Value) -> (Option<Self>, Vec<Problem>) {
        let problems = Problems::default();
        let config = Form::open(String::new(), value, &problems).map(|form| read(form));
        (config, problems.into_inner())
    }

    /// Every key that the reader asks for while it reads a value: the reference of the configuration, if the value
    /// holds every key and every kind of element.
    pub fn asked(value: &Value) -> Vec<Asked> {
        let problems = Problems::and_asked();
        if let Some(form) = Form::open(String::new(), value, &problems) {
            read(form);
        }
        problems.into_asked()
    }

    /// The watch that covers a logical path, if any: the first in the order of the configuration.
    /// Gives the number of leading elements that name the watched root.
    pub fn watch_of(&self, path: &[u8]) -> Option<(&Watch, usize)> {
        self.watches.iter().find_map(|w| w.pattern.matches(path).map(|depth| (w, depth)))
    }

    /// Whether a collection is watched, as far as the configuration says. Collections in the trash are not.
    pub fn watching(&self, collection: &LogicalPath) -> Watching {
        self.verdict(collection).watching
    }

    /// The same, and whether the collection is left out because of a name.
    pub fn verdict(&self, collection: &LogicalPath) -> Verdict {
        if is_trash(collection.as_bytes()) {
            return Verdict::from(Watching::No);
        }
        as_configured(self.watch_of(collection.as_bytes()), collection)
    }

    /// Whether anything can be watched at all.
    pub fn watches_anything(&self) -> bool {
        !self.watches.is_empty() || self.tags
    }

    /// The collection of a directory format that a collection is or lies in: the outermost.
    pub fn unit_of<'a>(&self, collection: &'a [u8]) -> Option<&'a [u8]> {
        let mut end = 0;
        // The zone's own name is none of a format.
        for element in collection.split(|b| *b == b'/').skip(1) {
            let start = end + 1;
            end = start + element.len();
            if start > 1 && self.directory_formats.iter().any(|p| p.fits(element)) {
                return Some(&collection[..end]);
            }
        }
        None
    }
}

/// [`irods_omero_importer::wire::MAX_FILES`], as a number of the configuration.
const MAX_FILES_PER_JOB: u64 = irods_omero_importer::wire::MAX_FILES as u64;

/// Names of collections that are one image each.
const DIRECTORY_FORMATS: &[&str] = &["*.zarr", "*.ome.zarr"];

/// Names of the files that hold a set of several files together.
const MULTI_FILE_FORMATS: &[&str] = &[
    "*.companion.ome",
    "*.mvd2",
    "*.nd",
    "*.lei",
    "*.vsi",
    "*.xdce",
    "*.mrxs",
    "*.htd",
    "*.mea",
    "*.ids",
    "*.pattern",
    "index.xml",
    "index.idx.xml",
    "metadata.txt",
];

fn read(form: Form<'_>) -> Config {
    let defaults = rules(&form, &Rules::default());
    let targets_wrong = check_targets(&form, &defaults);
    let attributes = form.form("attributes").map(attributes).unwrap_or_default();
    let watches: Vec<Watch> = form
        .list("watch")
        .into_iter()
        .filter_map(|(pointer, value)| watch(&pointer, value, &defaults, targets_wrong, form.problems()))
        .collect();
    // Tags are followed as soon as there is an OMERO to import into; who asks for them needs one.
    let tags = form.flag("tags", true);
    let needed = !watches.is_empty() || (tags && form.value("tags").is_some());
    let visibility = form.form("visibility").map(visibility).unwrap_or_default();
    let (omero, agents) = importers(&form, needed);
    let sudo_user = match &agents {
        Some(agents) => agents.sudo_user.clone(),
        None => omero.as_ref().map(|o| o.server.sudo_user.clone()),
    };
    let users =
        form.form("users").map(|users| users::read(users, &attributes, sudo_user)).unwrap_or_default();
    let saving = form.form("save").and_then(|save| save::read(save, agents.is_some()));
    let tags = tags && (omero.is_some() || agents.is_some()) && !visibility.is_empty();
    let tag_cache = form.seconds("tag_cache_in_seconds", 30, 0..=3_600);
    let names = |key, usual| form.value(key).map_or_else(|| patterns(usual), |_| name_patterns(&form, key));
    let directory_formats = names("directory_formats", DIRECTORY_FORMATS);
    let multi_file_formats = names("multi_file_formats", MULTI_FILE_FORMATS);
    let sweep_expiry = form.seconds("sweep_expiry_in_seconds", 300, 10..=86_400);
    let sweep_all_interval = form.seconds("sweep_all_interval_in_seconds", 300, 1..=86_400);
    let max_wait = form.seconds("max_wait_in_seconds", 3_600, 1..=2_592_000);
    let retry_wait = form.seconds("retry_wait_in_seconds", 60, 1..=3_600);
    let retry_max_age = form.seconds("retry_max_age_in_seconds", 604_800, 0..=31_536_000);
    let max_files = form.number("max_files_per_sweep", 10_000, 1..=1_000_000);
    if agents.is_some() && max_files > MAX_FILES_PER_JOB {
        form.problem(
            "max_files_per_sweep",
            format_args!("an agent takes at most {MAX_FILES_PER_JOB} files in one job"),
        );
    }
    let max_queued = form.number("max_queued_sweeps", 100, 2..=100_000);
    let on_delete_in_omero = match form.choice("on_delete_in_omero", &OnDelete::WORDS, OnDelete::WORDS[0]) {
        word if word == OnDelete::WORDS[1] => OnDelete::ImportAgain,
        _ => OnDelete::Record,
    };
    let patrol = form.form("patrol").and_then(patrol);
    if needed {
        if visibility.is_empty() {
            form.missing(
                "visibility",
                "say under which path the importer sees a vault (vaults) or a zone's collections (mounts)",
            );
        }
        if form.value("users").is_none() {
            form.missing(
                "users",
                "say which OMERO user an iRODS user is (table, rules, ldap), or for which zones the names are the \
                 same (same_name); {} is enough where AVUs on the iRODS users say so",
            );
        }
    }
    form.close();
    Config {
        watches,
        tags,
        tag_cache,
        defaults: Arc::new(defaults),
        directory_formats,
        multi_file_formats,
        max_queued_sweeps: usize::try_from(max_queued).unwrap_or(usize::MAX),
        identities: users.identities,
        visibility,
        omero,
        agents,
        saving,
        attributes,
        sweep_expiry,
        sweep_all_interval,
        max_wait,
        retry_wait,
        retry_max_age,
        max_files_per_sweep: usize::try_from(max_files).unwrap_or(usize::MAX),
        recheck_skipped: users.recheck_skipped,
        on_delete_in_omero,
        patrol,
    }
}

/// In which time the patrol looks at everything. It asks OMERO about every fileset, so it is the site's to switch on.
fn patrol(form: Form<'_>) -> Option<Duration> {
    let days = form.number("days", 0, 0..=3_650);
    form.close();
    (days > 0).then(|| Duration::from_secs(days * 86_400))
}

/// The keys that say how data is treated, of the whole stanza or of one watch; `base` holds for what is not there.
fn rules(form: &Form<'_>, base: &Rules) -> Rules {
    let names = |key, base: &Vec<NamePattern>| {
        form.value(key).map_or_else(|| base.clone(), |_| name_patterns(form, key))
    };
    let files = FileRules::new(names("include", &base.files.include), names("exclude", &base.files.exclude));
    let marker = form
        .text("complete_marker")
        .and_then(|text| Marker::parse(text).map_err(|m| form.problem("complete_marker", m)).ok());
    let usual = OnOverwrite::WORDS[usize::from(base.on_overwrite == OnOverwrite::Reimport)];
    let on_overwrite = OnOverwrite::parse(form.choice("on_overwrite", &OnOverwrite::WORDS, usual));
    Rules {
        quiet_period: form.seconds("quiet_period_in_seconds", base.quiet_period.as_secs(), 0..=86_400),
        complete_marker: marker.or_else(|| base.complete_marker.clone()),
        files,
        exclude_collections: names("exclude_collections", &base.exclude_collections),
        target: template(form, "target").unwrap_or_else(|| base.target.clone()),
        plate_target: template(form, "plate_target").or_else(|| base.plate_target.clone()),
        on_overwrite: on_overwrite.unwrap_or_default(),
        guard: form.form("guard").map_or_else(|| base.guard.clone(), |form| guard::read(form, &base.guard)),
    }
}

fn name_patterns(form: &Form<'_>, key: &'static str) -> Vec<NamePattern> {
    let pattern = |(pointer, value): (String, &Value)| {
        text_of(value).and_then(NamePattern::parse).map_err(|m| form.problems().add(&pointer, m)).ok()
    };
    form.list(key).into_iter().filter_map(pattern).collect()
}

/// Whether the targets do not fit each other, which is noted.
fn check_targets(form: &Form<'_>, rules: &Rules) -> bool {
    let Some(plates) = &rules.plate_target else {
        return false;
    };
    if !plates.is_screen() {
        form.problem("plate_target", "a plate goes to a screen: write 'Screen:name:NAME' or 'Screen:id:N'");
    }
    if rules.target.is_screen() {
        form.problem(
            "plate_target",
            "there is one for plates, so 'target' must name a dataset for the images",
        );
    }
    !plates.is_screen() || rules.target.is_screen()
}

fn template(form: &Form<'_>, key: &'static str) -> Option<Template> {
    let text = form.text(key)?;
    Template::parse(text).map_err(|m| form.problem(key, m)).ok()
}

fn watch(
    pointer: &str,
    value: &Value,
    defaults: &Rules,
    targets_wrong: bool,
    problems: &Problems,
) -> Option<Watch> {
    if let Some(text) = value.as_str() {
        let pattern = CollectionPattern::parse(text).map_err(|m| problems.add(pointer, m)).ok()?;
        return Some(Watch { pattern, rules: Arc::new(defaults.clone()) });
    }
    let form = Form::open(pointer.to_owned(), value, problems)?;
    let text = form.text("collection");
    if text.is_none() && form.value("collection").is_none() {
        form.missing("collection", "name the collection to watch, e.g. \"/tempZone/home/*/microscopy\"");
    }
    let pattern =
        text.and_then(|t| CollectionPattern::parse(t).map_err(|m| form.problem("collection", m)).ok());
    let rules = rules(&form, defaults);
    // What is wrong above has been said there.
    if !targets_wrong || form.value("target").is_some() || form.value("plate_target").is_some() {
        check_targets(&form, &rules);
    }
    form.close();
    Some(Watch { pattern: pattern?, rules: Arc::new(rules) })
}

fn visibility(form: Form<'_>) -> Visibility {
    let mut visibility = Visibility::default();
    for (pointer, value) in form.list("vaults") {
        let Some(entry) = Form::open(pointer, value, form.problems()) else {
            continue;
        };
        let prefix = needed_path(&entry, "prefix", "the vault's path on the iRODS server");
        let importer = if entry.value("importer_prefix").is_none() {
            prefix // the same path on both hosts
        } else {
            entry.host_path("importer_prefix")
        };
        let resource = entry.text("resource").map(str::to_owned);
        let opens_all =
            all_of_the_host(&entry, "prefix", prefix) || all_of_the_host(&entry, "importer_prefix", importer);
        entry.close();
        if let (Some(prefix), Some(importer), false) = (prefix, importer, opens_all) {
            visibility.vaults.push(Vault::new(prefix, importer, resource));
        }
    }
    for (pointer, value) in form.list("mounts") {
        let Some(entry) = Form::open(pointer, value, form.problems()) else {
            continue;
        };
        let zone = entry.text("zone_prefix").and_then(|text| {
            LogicalPath::parse(text.as_bytes()).map_err(|e| entry.problem("zone_prefix", e)).ok()
        });
        if entry.value("zone_prefix").is_none() {
            entry.missing("zone_prefix", "the collection that is mounted, e.g. \"/tempZone/home\"");
        }
        let mount = needed_path(&entry, "mount", "where NFSRODS is mounted on the importer's host");
        let opens_all = all_of_the_host(&entry, "mount", mount);
        entry.close();
        if let (Some(zone), Some(mount), false) = (zone, mount, opens_all) {
            visibility.mounts.push(Mount::new(zone, mount));
        }
    }
    visibility.stage_to = form.text("stage_to").map(str::to_owned);
    if let Some(resource) = &visibility.stage_to {
        if resource.contains(';') {
            form.problem("stage_to", format_args!("'{resource}' is a hierarchy: name its first resource"));
        }
        if visibility.vaults.is_empty() && form.value("vaults").is_none() {
            form.missing("vaults", "say where the importer sees the vault of the resource in 'stage_to'");
        }
    }
    form.close();
    visibility
}

fn all_of_the_host(form: &Form<'_>, key: &'static str, path: Option<&str>) -> bool {
    let is_all = path.is_some_and(|p| p.bytes().all(|b| b == b'/'));
    if is_all {
        form.problem(key, "'/' would open every file of the host: name the vault or directory");
    }
    is_all
}

fn needed_path<'a>(form: &Form<'a>, key: &'static str, what: &str) -> Option<&'a str> {
    if form.value(key).is_none() {
        form.missing(key, what);
        return None;
    }
    form.host_path(key)
}

fn needed_text<'a>(form: &Form<'a>, key: &'static str, what: &str) -> Option<&'a str> {
    if form.value(key).is_none() {
        form.missing(key, what);
        return None;
    }
    form.text(key)
}

/// What imports: the command on this host, or agents.
fn importers(form: &Form<'_>, needed: bool) -> (Option<Omero>, Option<AgentMode>) {
    let importing = form.form("importer");
    let mode = importing.as_ref().map(|i| i.choice("mode", &["command", "agent"], "command"));
    if mode == Some("agent") {
        let known = form.form("omero").map(agents::known_server);
        return (None, importing.and_then(|i| agents::read(i, known.unwrap_or_default())));
    }
    for key in ["omero", "importer"] {
        if needed && form.value(key).is_none() {
            form.missing(key, "a watched collection needs it");
        }
    }
    // Both are read before either is given up, so that all mistakes are found at once.
    let server = form.form("omero").and_then(server);
    let importer = importing.and_then(importer);
    let omero = server.zip(importer).map(|(server, importer)| Omero { server, importer });
    (omero, None)
}

fn server(form: Form<'_>) -> Option<Server> {
    let host = needed_text(&form, "server", "the OMERO server's host name").map(str::to_owned);
    if let Some(host) = &host
        && (host.starts_with('-') || host.contains(['@', ' ']))
    {
        form.problem("server", format_args!("'{host}' is not a host name or wss:// URL"));
    }
    let usual = host.as_deref().map_or(4064, |host| port_of(host, None));
    let given = u16::try_from(form.number("port", usual.into(), 1..=65_535)).unwrap_or(usual);
    let port = host.as_deref().map_or(given, |host| port_of(host, Some(given)));
    if port != given && form.value("port").is_some() {
        form.problem(
            "port",
            format_args!("the URL in 'server' names another port, {port}: leave one of them out"),
        );
    }
    let sudo_user = form.omero_name("sudo_user", true);
    for secret in ["password", "sudo_password"] {
        form.refuse(
            secret,
            "secrets do not belong in server_config.json: put it into a file of mode 0600 and name that file in \
             'password_file'",
        );
    }
    let password_file = needed_path(&form, "password_file", "the file (mode 0600) with sudo_user's password");
    let namespace = form.text_or("annotation_namespace", "irods.org/omero").to_owned();
    form.close();
    Some(Server {
        host: host?,
        port,
        sudo_user: sudo_user?,
        password_file: PathBuf::from(password_file?),
        namespace,
    })
}

fn importer(form: Form<'_>) -> Option<ImporterCommand> {
    let command = needed_path(&form, "command", "the path of the 'omero' command");
    let worker = words(&form, "worker");
    let jars = needed_path(
        &form,
        "jars",
        "name the directory of OMERO's Java client jars ('libs' of an unpacked OMERO.java): without it the omero command \
         downloads them anew for each batch",
    );
    let logback = needed_path(
        &form,
        "logback",
        "with 'jars' the omero command finds no logback file by itself and mixes its log with the results: name the \
         logback-import.xml of this package",
    );
    let timeout = form.seconds("timeout_in_seconds", 86_400, 1..=2_592_000);
    let command_timeout = form.seconds("command_timeout_in_seconds", 120, 1..=3_600);
    let unfinished_wait = form.seconds("unfinished_wait_in_seconds", 3_600, 0..=604_800);
    let transfer = form.choice("transfer", TRANSFERS, "ln_s");
    let mut options: Vec<String> = form
        .list("options")
        .into_iter()
        .filter_map(|(pointer, value)| {
            text_of(value).and_then(allowed_option).map_err(|m| form.problems().add(&pointer, m)).ok()
        })
        .collect();
    if !options.iter().any(|option| option == NO_UPGRADE_CHECK || option == "--skip=all") {
        options.insert(0, NO_UPGRADE_CHECK.to_owned());
    }
    let java_options = form.text("java_options").unwrap_or_default().to_owned();
    let environment = form
        .map("environment")
        .into_iter()
        .filter_map(|(name, pointer, value)| {
            let checked = if FORBIDDEN_ENVIRONMENT.contains(&name) || name.is_empty() || name.contains('=') {
                Err(format!("'{name}' cannot be set here"))
            } else {
                text_of(value).map(|v| (name.to_owned(), v.to_owned()))
            };
            checked.map_err(|m| form.problems().add(&pointer, m)).ok()
        })
        .collect();
    let work_directory = form.host_path("work_directory").unwrap_or("/var/lib/irods/omero").into();
    form.close();
    Some(ImporterCommand {
        command: PathBuf::from(command?),
        worker,
        jars: PathBuf::from(jars?),
        logback: PathBuf::from(logback?),
        timeout,
        command_timeout,
        unfinished_wait,
        transfer,
        options,
        java_options,
        environment,
        work_directory,
    })
}

/// The words of a command, of which the first is an absolute path.
fn words(form: &Form<'_>, key: &'static str) -> Vec<String> {
    let words: Vec<(String, &str)> = form
        .list(key)
        .into_iter()
        .filter_map(|(pointer, value)| match text_of(value) {
            Ok(word) if !word.contains('\0') => Some((pointer, word)),
            Ok(_) => {
                form.problems().add(&pointer, "holds a NUL");
                None
            }
            Err(message) => {
                form.problems().add(&pointer, message);
                None
            }
        })
        .collect();
    if let Some((pointer, Err(message))) =
        words.first().map(|(pointer, program)| (pointer, check_host_path(program)))
    {
        form.problems().add(pointer, message);
    }
    words.into_iter().map(|(_, word)| word.to_owned()).collect()
}

fn allowed_option(text: &str) -> Result<String, String> {
    let name = text.split('=').next().unwrap_or_default();
    if !ALLOWED_OPTIONS.contains(&name) {
        let hint = suggestion(name, ALLOWED_OPTIONS);
        return Err(format!(
            "'{name}' is not one of the options allowed: {}{hint}",
            ALLOWED_OPTIONS.join(", ")
        ));
    }
    match text.split_once('=') {
        Some((_, value)) if !value.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("write '{name}=VALUE' as one text")),
    }
}

fn attributes(form: Form<'_>) -> Attributes {
    let mut names = Attributes::default();
    for (key, slot) in [
        ("import", &mut names.import),
        ("due", &mut names.due),
        ("due_tree", &mut names.due_tree),
        ("sweeping", &mut names.sweeping),
        ("noticed", &mut names.noticed),
        ("rested", &mut names.rested),
        ("collected", &mut names.collected),
        ("saving", &mut names.saving),
        ("patrol", &mut names.patrol),
        ("state", &mut names.state),
        ("reason", &mut names.reason),
        ("fileset", &mut names.fileset),
        ("image", &mut names.image),
        ("plate", &mut names.plate),
        ("member_of", &mut names.member_of),
        ("owner", &mut names.owner),
        ("mapped_by", &mut names.mapped_by),
        ("version", &mut names.version),
        ("retry", &mut names.retry),
        ("previous", &mut names.previous),
        ("ignored", &mut names.ignored),
        ("recurring", &mut names.recurring),
        ("job", &mut names.job),
        ("awaits", &mut names.awaits),
        ("user", &mut names.user),
        ("group", &mut names.group),
        ("on_behalf_of", &mut names.on_behalf_of),
    ] {
        *slot = form.text_or(key, slot).to_owned();
    }
    let mut all = vec![
        &names.import,
        &names.due,
        &names.due_tree,
        &names.sweeping,
        &names.noticed,
        &names.rested,
        &names.collected,
        &names.saving,
        &names.patrol,
        &names.recurring,
    ];
    all.extend([&names.user, &names.group, &names.on_behalf_of]);
    let record = names.record().map(str::to_owned);
    all.extend(&record);
    all.sort();
    if all.windows(2).any(|w| w[0] == w[1]) {
        form.problems().add(&form.at(""), "two of our attributes have the same name");
    }
    form.close();
    names
}

#[cfg(test)]
mod tests;
