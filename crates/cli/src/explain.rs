//! `irods-omero explain`: what would become of a path, from the configuration alone.
//!
//! The plugin's own code decides. What only the catalog or the site's directory knows is said to be unknown, with the
//! question to ask a running server.

mod offline;

use crate::server_config::{self, ENGINES, PLUGIN, Source};
use irods_omero_config::Config;
use irods_omero_config::identity::{Asked, Mapping, NoIdentity};
use irods_omero_model::clock::UnixTime;
use irods_omero_model::event::{Affected, Event};
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::{IrodsUser, LogicalPath, OmeroName};
use irods_omero_model::target::{Filling, NoTarget, Template};
use irods_omero_model::visibility::Location;
use irods_omero_model::watch::{self, Place, Rules, Watching};
use offline::Offline;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is asked.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// The iRODS user who owns the data
    #[arg(long, value_name = "NAME#ZONE", value_parser = IrodsUser::parse)]
    pub user: IrodsUser,
    /// The logical path of the data object
    #[arg(long, value_name = "PATH", value_parser = logical_path)]
    pub path: LogicalPath,
    /// What is done to it
    #[arg(long, value_enum, default_value_t = Act::Put)]
    pub event: Act,
    /// The server's configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/irods/server_config.json")]
    pub config: PathBuf,
    /// For root: the account the server runs as, if it is not the one that 'check' would take
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,
    /// Where the configuration's bytes come from
    #[arg(skip)]
    pub source: Source,
}

/// What can be done to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Act {
    /// `iput`, a written stream
    Put,
    /// `iput -b -r`
    BulkPut,
    /// `icp`
    Copy,
    /// `ireg`
    Register,
    /// `ireg -r`
    RegisterTree,
    /// `ibun -x`
    Extract,
    /// `imv`
    Rename,
    /// `irepl`, `iphymv`
    Replicate,
}

impl Act {
    fn event(self, path: LogicalPath) -> Event {
        match self {
            Self::Put | Self::Copy => Event::Written(path),
            Self::BulkPut | Self::Extract => Event::TreeWritten(path),
            Self::Register => Event::Registered(path),
            Self::RegisterTree => Event::TreeRegistered(path),
            Self::Rename => Event::Renamed(path),
            Self::Replicate => Event::ReplicaMoved(path),
        }
    }
}

fn logical_path(text: &str) -> Result<LogicalPath, String> {
    LogicalPath::parse(text.as_bytes()).map_err(|e| e.to_string())
}

/// The answer: what is known, and what is not.
#[derive(Debug, Default)]
pub struct Explanation {
    /// Headings, each with a sentence or several.
    pub parts: Vec<(&'static str, Vec<String>)>,
    /// What only a running server knows.
    pub unknown: Vec<String>,
}

impl Explanation {
    fn say(&mut self, heading: &'static str, sentence: impl Into<String>) {
        match self.parts.last_mut() {
            Some((last, sentences)) if *last == heading => sentences.push(sentence.into()),
            _ => self.parts.push((heading, vec![sentence.into()])),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let unknown = (!self.unknown.is_empty()).then_some(("unknown", &self.unknown));
        let parts = self.parts.iter().map(|(heading, sentences)| (*heading, sentences)).chain(unknown);
        parts
            .flat_map(|(heading, sentences)| {
                let label = move |i| if i == 0 { format!("{heading}:") } else { String::new() };
                sentences.iter().enumerate().map(move |(i, s)| format!("{:12}{s}\n", label(i)))
            })
            .collect()
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let parts = self.parts.iter().map(|(heading, sentences)| ((*heading).to_owned(), json!(sentences)));
        let mut object: serde_json::Map<String, Value> = parts.collect();
        object.insert("unknown".to_owned(), json!(self.unknown));
        Value::Object(object)
    }
}

/// Explains what would become of the path.
///
/// # Errors
/// The configuration cannot be read, or is wrong: `irods-omero check` says where.
pub fn explain(arguments: &Arguments) -> Result<Explanation, String> {
    let config = read(&arguments.config, arguments.source)?;
    let mut told = Explanation::default();
    let path = &arguments.path;
    match arguments.event.event(path.clone()).affected() {
        None => told.say("looked at", format!("nothing: {path} is a zone")),
        Some(Affected::Tree(tree) | Affected::TreeOrParent(tree)) => {
            told.say(
                "looked at",
                format!("{tree} with all below it, or the collection it is in if it is a data object"),
            );
        }
        Some(_) => told.say("looked at", path.parent().map(|p| p.to_string()).unwrap_or_default()),
    }
    let Some(collection) = path.parent() else {
        return Ok(told);
    };
    if config.tags {
        told.unknown.push(format!(
            "tags: the AVU {} on the collection or above it may say something else than the configuration",
            config.attributes.import
        ));
    }
    let watching = config.watching(&collection);
    let root = match &watching {
        Watching::Yes { root, .. } => *root,
        Watching::No | Watching::Unclear(_) => collection.elements().count(),
    };
    let rules = match &watching {
        Watching::Yes { rules, .. } => rules.clone(),
        Watching::No | Watching::Unclear(_) => config.defaults.clone(),
    };
    let place = Place { collection: &collection, root };
    say_watched(&mut told, &config, &watching, &collection);
    say_data(&mut told, &config, &rules, path, &collection);
    let mapping = say_identity(&mut told, &config, &arguments.user, place);
    for (heading, template) in [("target", Some(&rules.target)), ("plates", rules.plate_target.as_ref())] {
        if let Some(template) = template {
            say_target(&mut told, heading, template, place, &arguments.user, mapping.as_ref());
        }
    }
    say_visibility(&mut told, &config, path);
    Ok(told)
}

fn read(path: &std::path::Path, source: Source) -> Result<Config, String> {
    let shown = path.display();
    let wrong = |why: String| format!("{shown} {why}; run 'irods-omero check --config {shown}'");
    let text = server_config::read(path, source).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    let (json, _) = server_config::parse(&text).map_err(|e| wrong(format!("is not JSON: {e}")))?;
    let engines = json.pointer(ENGINES).and_then(Value::as_array);
    let is_ours = |engine: &&Value| engine.get("plugin_name").and_then(Value::as_str) == Some(PLUGIN);
    let stanza = engines.into_iter().flatten().find(is_ours);
    let stanza = stanza.and_then(|engine| engine.get("plugin_specific_configuration"));
    let stanza = stanza.ok_or_else(|| wrong("has no stanza of the plugin".to_owned()))?;
    Config::parse(stanza).map_err(|problems| wrong(format!("has {} mistakes in the stanza", problems.len())))
}

fn say_watched(told: &mut Explanation, config: &Config, watching: &Watching, collection: &LogicalPath) {
    match (watching, config.watch_of(collection.as_bytes())) {
        (Watching::Yes { rules, root }, Some((watch, _))) => {
            let named: Vec<String> =
                collection.elements().take(*root).map(|e| String::from_utf8_lossy(e).into_owned()).collect();
            let quiet = rules.quiet_period.as_secs();
            told.say(
                "watched",
                format!("yes, by the watch '{}', which fits /{}", watch.pattern.as_str(), named.join("/")),
            );
            told.say("watched", format!("it is looked at when nothing has changed there for {quiet} s"));
        }
        _ if watch::is_trash(collection.as_bytes()) => {
            told.say("watched", "no: collections in the trash never are");
        }
        _ => match config.verdict(collection).left_out {
            Some(left_out) => told.say("watched", format!("no: {left_out}")),
            None => told.say("watched", format!("no: no watch of the configuration fits {collection}")),
        },
    }
}

fn say_data(
    told: &mut Explanation,
    config: &Config,
    rules: &Rules,
    path: &LogicalPath,
    collection: &LogicalPath,
) {
    if let Some(unit) = config.unit_of(collection.as_bytes()) {
        let unit = String::from_utf8_lossy(unit).into_owned();
        told.say("data", format!("it is a part of {unit}, which is one image (directory_formats)"));
    } else if rules.files.admit(path.name()) {
        told.say("data", "the name is that of data (include, exclude)");
    } else {
        told.say("data", "no: files of such a name are left out (include, exclude); they get no record");
    }
    if config.multi_file_formats.iter().any(|p| p.fits(path.name())) {
        told.say(
            "data",
            "the name is that of a set of several files: the collection is imported when it is quiet",
        );
    }
    if let Some(marker) = &rules.complete_marker {
        told.say("data", format!("nothing is imported before {} is there", marker.describe()));
    }
}

fn say_identity(
    told: &mut Explanation,
    config: &Config,
    user: &IrodsUser,
    place: Place<'_>,
) -> Option<Mapping> {
    let (identities, left_out) = offline::identities(&config.identities);
    let metadata = Offline::default();
    let asked = Asked { metadata: &metadata, names: &config.attributes, owner: user, place: Some(place) };
    let answer = identities.resolve(&asked);
    for (word, before) in &left_out {
        let rest = if *before {
            "is asked before and decides if it knows the user"
        } else {
            "is asked if no other source knows the user"
        };
        told.unknown.push(format!("identity: the source '{word}' {rest}"));
    }
    told.unknown.extend(metadata.questions().into_iter().map(|q| format!("identity: {q}")));
    if !left_out.is_empty() {
        told.unknown.push(format!(
            "identity: ask the server: irule -r INSTANCE '{}' null ruleExecOut",
            json!({"operation": "who", "user": user.to_string(), "path": place.collection.display()})
        ));
    }
    match answer {
        Ok(mut answer) => {
            if matches!(answer.mapping, Err(NoIdentity::Unmapped { .. })) && !left_out.is_empty() {
                let open =
                    "by the configuration alone nobody; it depends on the sources that are unknown here";
                answer.steps.pop();
                answer.steps.push(open.to_owned());
            }
            for step in answer.steps {
                told.say("identity", step);
            }
            answer.mapping.ok()
        }
        Err(e) => {
            told.say("identity", e.to_string());
            None
        }
    }
}

fn say_target(
    told: &mut Explanation,
    heading: &'static str,
    template: &Template,
    place: Place<'_>,
    user: &IrodsUser,
    mapping: Option<&Mapping>,
) {
    let written = template.as_str();
    let stand_in = || OmeroName::parse("(unknown)").ok().map(|user| OmeroIdentity { user, group: None });
    let Some(identity) = mapping.map(|m| m.identity.clone()).or_else(stand_in) else {
        return;
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let mut avus = Vec::new();
    let filled = template.fill(&mut Filling {
        place,
        person: mapping.map_or(user, |m| &m.person),
        identity: &identity,
        modify_time: UnixTime::try_from(now).unwrap_or_default(),
        avu: &mut |name| {
            avus.push(name.to_owned());
            Ok(Vec::new())
        },
    });
    match filled {
        Ok(target) => told.say(heading, target.as_str()),
        Err(NoTarget::Reason(why)) if avus.is_empty() => told.say(heading, format!("none: {why}")),
        Err(_) => told.say(heading, format!("'{written}', with AVUs of the collection")),
    }
    for name in avus {
        told.unknown.push(format!("{heading}: the AVU {name} of the collection, which '{written}' asks for"));
    }
}

/// Where the importer would see the data, for each way there is.
fn say_visibility(told: &mut Explanation, config: &Config, path: &LogicalPath) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // A vault keeps a data object under its logical path without the zone, unless the site says otherwise.
    let in_vault: Vec<u8> = path.elements().skip(1).flat_map(|e| [b"/", e].concat()).collect();
    for vault in &config.visibility.vaults {
        let physical_path = [vault.prefix(), &in_vault].concat();
        let hierarchy = vault.resource().unwrap_or_default();
        let replica = Location { physical_path: &physical_path, hierarchy };
        let on = vault.resource().map(|r| format!(" on the resource {r}")).unwrap_or_default();
        let seen = config.visibility.through_vault(&replica).map_or("not seen".to_owned(), |p| text(&p));
        told.say("visible", format!("a good replica{on} at {} is {seen}", text(&physical_path)));
    }
    if let Some(seen) = config.visibility.through_mount(path) {
        told.say("visible", format!("without one, through the mount: {}", text(&seen)));
    }
    match &config.visibility.stage_to {
        Some(resource) => told.say("visible", format!("else it is copied to the resource {resource} first")),
        None if config.visibility.is_empty() => {
            told.say("visible", "nowhere: 'visibility' names no vault and no mount");
        }
        None => told.say("visible", "else it is skipped"),
    }
    told.unknown.push("visible: which replicas there are, and whether they are good".to_owned());
}
