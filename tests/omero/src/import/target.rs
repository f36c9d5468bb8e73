//! The container that an import goes to (`-T`, `-d`, `-r`).

use regex::Regex;
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::store::{Context, Store};

/// A container found or made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Container {
    Dataset(i64),
    Screen(i64),
}

/// How to choose among several of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Id,
    Newest,
    Oldest,
    Unique,
    New,
}

/// A target as written, checked.
#[derive(Clone, Debug)]
pub enum Target {
    Model(Model),
    /// A regular expression over the directory of the first file, applied by
    /// the server when the images are made.
    Template {
        which: String,
        pattern: String,
    },
}

#[derive(Clone, Debug)]
pub struct Model {
    class: &'static str,
    which: Result<Which, String>,
    name: String,
}

/// The class names that are known to the importer but are no containers.
const OTHER_CLASSES: &[&str] = &["Image", "Plate", "Fileset", "Experimenter", "Well", "Roi", "Annotation"];

impl Target {
    /// Parses the text; an error here ends the whole run, even with `-c`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let invalid = || format!("java.lang.IllegalStateException: Target string not valid: {text}");
        let (prefix, rest) = text.split_once(':').ok_or_else(invalid)?;
        let class = prefix.strip_prefix("omero.model.").unwrap_or(prefix);
        if ["Dataset", "Project", "Screen"].contains(&class) {
            return Ok(Self::Model(Model::parse(text)?));
        }
        if OTHER_CLASSES.contains(&class) {
            return Err(format!(
                "java.lang.RuntimeException: Not a valid container class:omero.model.{class}"
            ));
        }
        if prefix != "regex" && !prefix.is_empty() {
            return Err(invalid());
        }
        let (which, pattern) = match rest.split_once(':') {
            Some((d, p)) if ["name", "+name", "-name", "%name", "@name"].contains(&d) => (d, p),
            _ => ("+name", rest),
        };
        Ok(Self::Template { which: which.to_owned(), pattern: pattern.to_owned() })
    }
}

fn which(discriminator: &str) -> Result<Which, String> {
    Ok(match discriminator {
        "id" => Which::Id,
        "name" | "+name" => Which::Newest,
        "-name" => Which::Oldest,
        "%name" => Which::Unique,
        "@name" => Which::New,
        other => return Err(format!("Unknown discriminator {other}")),
    })
}

impl Model {
    fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ':');
        let prefix = parts.next().unwrap_or_default();
        let class = match prefix.strip_prefix("omero.model.").unwrap_or(prefix) {
            "Dataset" => "Dataset",
            "Project" => "Project",
            "Screen" => "Screen",
            other => return Err(format!("java.lang.RuntimeException: Unknown class:{other}")),
        };
        let second = parts.next().unwrap_or_default();
        // Two parts are always an id; so `Project:5/Dataset:name:D` has three.
        let (discriminator, name) = parts.next().map_or(("id", second), |third| (second, third));
        Ok(Self { class, which: which(discriminator), name: name.to_owned() })
    }

    fn table(&self) -> &'static str {
        match self.class {
            "Dataset" => "dataset",
            "Project" => "project",
            _ => "screen",
        }
    }

    /// Finds or makes the container; `log` gets what the importer would log.
    pub fn load(
        &self,
        store: &Store,
        context: &Context,
        log: &mut dyn FnMut(&str, String),
    ) -> Result<Container, String> {
        if self.class == "Project" {
            let (name, sub) = self.name.split_once("/Dataset:").ok_or_else(|| {
                format!("java.lang.RuntimeException: Project name must include '/Dataset:' ({})", self.name)
            })?;
            log("info", format!("Creating sub-target: Dataset:{sub}"));
            let sub = Self::parse(&format!("Dataset:{sub}"))?;
            let project = Self { class: "Project", which: self.which.clone(), name: name.to_owned() };
            let id = project.id(store, context, log)?;
            log("info", format!("Super-target loaded: Project:{id}"));
            let Container::Dataset(dataset) = sub.load(store, context, log)? else {
                return Err("java.lang.RuntimeException: not a dataset".to_owned());
            };
            let event = store.event(context).map_err(|e| e.to_string())?;
            let linked = store
                .db
                .prepare("select 1 from project_dataset_link where parent = ?1 and child = ?2")
                .and_then(|mut q| q.exists([id, dataset]))
                .map_err(|e| e.to_string())?;
            if !linked {
                store
                    .db
                    .execute(
                        "insert into project_dataset_link (parent, child, owner_id, group_id, creation_event, update_event)
                         values (?1, ?2, ?3, ?4, ?5, ?5)",
                        params![id, dataset, context.user, context.group, event],
                    )
                    .map_err(|e| e.to_string())?;
                log("info", "Linked targets".to_owned());
            }
            return Ok(Container::Dataset(dataset));
        }
        let id = self.id(store, context, log)?;
        Ok(if self.class == "Dataset" { Container::Dataset(id) } else { Container::Screen(id) })
    }

    fn id(&self, store: &Store, context: &Context, log: &mut dyn FnMut(&str, String)) -> Result<i64, String> {
        let table = self.table();
        let sql = |e: rusqlite::Error| e.to_string();
        let which = self.which.clone().map_err(|e| {
            log("error", e.clone());
            format!("java.lang.RuntimeException: {e}")
        })?;
        let readable = store.readable(context, "o", false).map_err(sql)?;
        if which == Which::Id {
            let id: i64 = self.name.parse().map_err(|_| {
                format!("java.lang.NumberFormatException: For input string: \"{}\"", self.name)
            })?;
            return store
                .db
                .query_row(&format!("select id from {table} o where o.id = ?1 and {readable}"), [id], |r| {
                    r.get(0)
                })
                .optional()
                .map_err(sql)?
                .ok_or_else(|| {
                    format!(
                        "omero.ValidationException: The requested object ({}, {id}) could not be found. \
                         Please check the id again.",
                        self.class
                    )
                });
        }
        let order = if which == Which::Oldest { "asc" } else { "desc" };
        let mut candidates = Vec::new();
        if which != Which::New {
            let text = format!(
                "select o.id, o.owner_id, o.group_id from {table} o where o.name = ?1 and {readable} order by o.id {order}"
            );
            let mut q = store.db.prepare(&text).map_err(sql)?;
            let rows: Vec<(i64, i64, i64)> = q
                .query_map([&self.name], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
                .and_then(Iterator::collect)
                .map_err(sql)?;
            for (id, owner, group) in rows {
                if store.may_link(context, owner, group, false).map_err(sql)? {
                    candidates.push(id);
                }
            }
        }
        if which == Which::Unique && candidates.len() > 1 {
            log("error", format!("No unique {} called {}", self.class, self.name));
            return Err(format!("java.lang.RuntimeException: No unique {} available", self.class));
        }
        match candidates.first() {
            Some(id) => Ok(*id),
            None => create(store, context, table, &self.name).map_err(sql),
        }
    }
}

/// A new, empty container that belongs to the session's user.
fn create(store: &Store, context: &Context, table: &str, name: &str) -> rusqlite::Result<i64> {
    let event = store.event(context)?;
    store.db.execute(
        &format!(
            "insert into {table} (name, owner_id, group_id, creation_event, update_event) values (?1, ?2, ?3, ?4, ?4)"
        ),
        params![name, context.user, context.group, event],
    )?;
    Ok(store.db.last_insert_rowid())
}

/// Applies a template target to a directory, on the server. Whatever goes wrong
/// is only a warning there, and the images stay without a container.
pub fn template(
    store: &Store,
    context: &Context,
    which: &str,
    pattern: &str,
    directory: &str,
    plate: bool,
) -> Option<Container> {
    let regex = Regex::new(&format!("^(?:{pattern})$")).ok()?;
    let name = regex.captures(directory)?.name("Container1")?.as_str().to_owned();
    if name.trim().is_empty() {
        return None;
    }
    let class = if plate { "Screen" } else { "Dataset" };
    let model = Model::parse(&format!("{class}:{which}:{name}")).ok()?;
    model.load(store, context, &mut |_, _| {}).ok()
}
