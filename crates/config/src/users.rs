//! The object `users`: whose OMERO user is who.

use super::Attributes;
use crate::identity::ldap::{Directory, Filter, Server, Settings};
use crate::identity::{self, Denied, Identities, OnBehalf, Rule, Source, Table, TableFile};
use irods_omero_model::form::{Form, suggestion, text_of};
use irods_omero_model::names::{IrodsUser, LogicalPath, OmeroName};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// The sources in the order in which they are asked where the site names none.
const SOURCES: &[&str] = &["avu", "table", "rules", "ldap", "same_name"];

/// How often skipped data is looked at again, in seconds.
const RECHECK_SECONDS: u64 = 3_600;

/// What the object says.
pub struct Users {
    /// The mapping.
    pub identities: Identities,
    /// How often skipped data is looked at again; zero means never.
    pub recheck_skipped: Duration,
}

impl Default for Users {
    fn default() -> Self {
        Self { identities: Identities::default(), recheck_skipped: Duration::from_secs(RECHECK_SECONDS) }
    }
}

/// Reads the object. `sudo_user` is the account that opens sessions for others: nobody is mapped to it.
pub fn read(form: Form<'_>, names: &Attributes, sudo_user: Option<OmeroName>) -> Users {
    let mut denied = Denied::default();
    for (pointer, value) in form.list("denied") {
        match text_of(value).and_then(|t| OmeroName::parse(t).map_err(|e| e.to_string())) {
            Ok(name) => denied.add(name),
            Err(message) => form.problems().add(&pointer, message),
        }
    }
    if let Some(name) = sudo_user {
        denied.add(name);
    }
    let mut known = known(&form, &denied);
    let sources = order(&form)
        .into_iter()
        .filter_map(|(word, pointer)| {
            let at = known.iter().position(|s| s.word() == word);
            if at.is_none() && pointer.is_some() {
                let message = format!("'{word}' is to be asked, but {}", without(word));
                form.problems().add(&pointer.unwrap_or_default(), message);
            }
            at.map(|i| known.remove(i))
        })
        .collect();
    for source in known.iter().filter(|s| !matches!(s, Source::Avu)) {
        form.problem("sources", format_args!("'{}' is configured, but never asked: add it", source.word()));
    }
    let on_behalf_of =
        form.list("on_behalf_of").into_iter().filter_map(|(at, v)| on_behalf(at, v, &form, names)).collect();
    let default_group = form.omero_name("default_group", false);
    let recheck = form.seconds("recheck_skipped_in_seconds", RECHECK_SECONDS, 0..=2_592_000);
    form.close();
    Users {
        identities: Identities { sources, on_behalf_of, denied, default_group },
        recheck_skipped: recheck,
    }
}

/// The sources that are configured, in no order.
fn known(form: &Form<'_>, denied: &Denied) -> Vec<Source> {
    let mut known = vec![Source::Avu];
    let rows = identity::rows(form.map("table").into_iter(), form.problems());
    for (user, row) in &rows {
        if denied.covers(&row.user).is_some() {
            let pointer = form.at("table");
            let name = user.to_string().replace('~', "~0").replace('/', "~1");
            let message = format!("imports never run as the OMERO account '{}'", row.user);
            form.problems().add(&format!("{pointer}/{name}"), message);
        }
    }
    let file = form.host_path("table_file").map(|path| TableFile::new(PathBuf::from(path)));
    if form.value("table").is_some() || file.is_some() {
        known.push(Source::Table(Box::new(Table { rows, file })));
    }
    let rules: Vec<Rule> = form.list("rules").into_iter().filter_map(|(at, v)| rule(at, v, form)).collect();
    if form.value("rules").is_some() {
        known.push(Source::Rules(rules));
    }
    known.extend(ldap(form));
    let mut zones = Vec::new();
    for (pointer, value) in form.list("same_name") {
        zones.extend(zone(value).map_err(|message| form.problems().add(&pointer, message)).ok());
    }
    if form.value("same_name").is_some() {
        known.push(Source::SameName(zones));
    }
    known
}

/// The sources in the order to ask, each with its pointer if the site names it.
fn order(form: &Form<'_>) -> Vec<(&'static str, Option<String>)> {
    if form.value("sources").is_none() {
        return SOURCES.iter().map(|s| (*s, None)).collect();
    }
    let mut order: Vec<(&'static str, Option<String>)> = Vec::new();
    for (pointer, value) in form.list("sources") {
        let word = text_of(value).and_then(|text| {
            SOURCES.iter().find(|s| **s == text).copied().ok_or_else(|| {
                format!("'{text}' is none of {}{}", SOURCES.join(", "), suggestion(text, SOURCES))
            })
        });
        match word {
            Ok(word) if order.iter().any(|(w, _)| *w == word) => {
                form.problems().add(&pointer, format_args!("'{word}' is there twice"));
            }
            Ok(word) => order.push((word, Some(pointer))),
            Err(message) => form.problems().add(&pointer, message),
        }
    }
    order
}

/// What is missing for a source.
fn without(word: &str) -> &'static str {
    match word {
        "table" => "there is neither 'table' nor 'table_file'",
        "rules" => "there are no 'rules'",
        "ldap" => "there is no (valid) 'ldap'",
        _ => "'same_name' names no zone",
    }
}

fn zone(value: &Value) -> Result<String, String> {
    match text_of(value)? {
        zone if zone.contains(['/', '#']) => Err(format!("'{zone}' is not the name of a zone")),
        zone => Ok(zone.to_owned()),
    }
}

fn rule(pointer: String, value: &Value, form: &Form<'_>) -> Option<Rule> {
    let entry = Form::open(pointer, value, form.problems())?;
    let expression = needed(&entry, "match", "a regular expression over name#zone, e.g. \"(.+)#labZone\"")
        .and_then(|text| Rule::expression(text).map_err(|e| entry.problem("match", e)).ok());
    let user = needed(&entry, "user", "the OMERO user, e.g. \"$1\"");
    let group = entry.text("group");
    let rule = expression.zip(user).and_then(|(expression, user)| {
        Rule::new(expression, user, group).map_err(|(key, why)| entry.problem(key, why)).ok()
    });
    entry.close();
    rule
}

fn needed<'a>(form: &Form<'a>, key: &'static str, what: &str) -> Option<&'a str> {
    if form.value(key).is_none() {
        form.missing(key, what);
        return None;
    }
    form.text(key)
}

fn on_behalf(pointer: String, value: &Value, form: &Form<'_>, names: &Attributes) -> Option<OnBehalf> {
    let entry = Form::open(pointer, value, form.problems())?;
    let account = needed(&entry, "account", "the service account, e.g. \"microscope#tempZone\"")
        .and_then(|t| IrodsUser::parse(t).map_err(|e| entry.problem("account", e)).ok());
    let kind = entry.choice("from", &["path", "collection_avu"], "");
    let zone = entry.value("zone").and_then(|v| zone(v).map_err(|e| entry.problem("zone", e)).ok());
    let from = match kind {
        "path" => from_path(&entry),
        "collection_avu" => from_attribute(&entry, names),
        _ => {
            // What belongs to either is not also called unknown.
            let _ = ["element", "below", "attribute"].map(|key| entry.value(key));
            if entry.value("from").is_none() {
                entry.missing("from", "where the person is named: \"path\" or \"collection_avu\"");
            }
            None
        }
    };
    if kind == "path" && entry.value("zone").is_none() {
        entry.missing("zone", "the zone whose users the path names, e.g. \"tempZone\"");
    }
    entry.close();
    let account = account?;
    let zone = zone.unwrap_or_else(|| account.zone().to_owned());
    Some(OnBehalf { account, from: from?, zone })
}

fn from_path(entry: &Form<'_>) -> Option<identity::From> {
    let element = entry.value("element").and_then(|v| {
        let index = v.as_i64().or_else(|| v.as_str()?.parse().ok());
        let index = index.and_then(|i| i32::try_from(i).ok()).filter(|i| (-64..=64).contains(i));
        if index.is_none() {
            entry.problem("element", format_args!("must be a whole number from -64 to 64, not {v}"));
        }
        index.map(identity::From::Element)
    });
    let below = entry.text("below").and_then(|t| {
        let path = LogicalPath::parse(t.as_bytes()).map_err(|e| entry.problem("below", e)).ok();
        path.map(identity::From::Below)
    });
    match (entry.value("element").is_some(), entry.value("below").is_some()) {
        (true, true) => {
            entry.problem("below", "either 'element' or 'below' says which element it is, not both");
            None
        }
        (false, false) => {
            entry.missing(
                "element",
                "which element of the collection's path names the person (-1 is the last), or 'below'",
            );
            None
        }
        (true, false) | (false, true) => element.or(below),
    }
}

/// The one attribute that the guard keeps others from writing, by every route. Anybody can set any other on a
/// collection of their own, and name whomever they like.
fn from_attribute(entry: &Form<'_>, names: &Attributes) -> Option<identity::From> {
    let reserved = &names.on_behalf_of;
    if entry.value("attribute").is_some() && entry.text("attribute")? != reserved {
        entry.problem(
            "attribute",
            format_args!(
                "must be '{reserved}', which only administrators can set; give that another name in \
                 attributes/on_behalf_of"
            ),
        );
        return None;
    }
    Some(identity::From::Attribute(reserved.clone()))
}

/// Where the package installs the command.
const COMMAND: &str = "/usr/bin/irods-omero";

fn ldap(form: &Form<'_>) -> Option<Source> {
    Some(Source::Ldap(Box::new(directory_of(form.form("ldap")?, form.value("ldap")?)?)))
}

/// The directory that an object of the configuration, which has been found to be right, describes.
#[cfg(feature = "ldap")]
pub(crate) fn directory(source: &Value) -> Option<Directory> {
    let problems = irods_omero_model::form::Problems::default();
    let directory = directory_of(Form::open(String::new(), source, &problems)?, source)?;
    problems.into_inner().is_empty().then_some(directory)
}

fn directory_of(entry: Form<'_>, source: &Value) -> Option<Directory> {
    let servers = servers(&entry);
    let base = needed(&entry, "base", "where the search begins, e.g. \"ou=people,dc=example,dc=org\"");
    if base.is_some_and(|b| b.contains(['{', '}'])) {
        entry.problem("base", "names are filled into the filter only");
    }
    let filter = needed(&entry, "filter", "what is searched for, e.g. \"(uid={user})\"")
        .and_then(|t| Filter::parse(t).map_err(|e| entry.problem("filter", e)).ok());
    let mut zones = Vec::new();
    for (pointer, value) in entry.list("zones") {
        zones.extend(zone(value).map_err(|message| entry.problems().add(&pointer, message)).ok());
    }
    if zones.is_empty()
        && entry.value("zones").is_none()
        && filter.as_ref().is_some_and(|f| !f.asks_for_zone())
    {
        entry.missing(
            "zones",
            "name the zones whose users are in the directory, or ask for {zone} in the filter: an 'alice' of another \
             zone is somebody else",
        );
    }
    let user_attribute = needed(&entry, "user_attribute", "the attribute with the OMERO user, e.g. \"uid\"");
    let group_attribute = entry.text("group_attribute").map(str::to_owned);
    let starttls = entry.flag("starttls", false);
    let bind = bind(&entry);
    let in_the_clear = |s: &&Server| !s.is_secure() && !s.is_local() && !starttls;
    if bind.is_some() && servers.iter().any(|s| in_the_clear(&s)) {
        entry.problem("bind_dn", "the password would be sent in the clear: use ldaps:// or 'starttls'");
    }
    let ca_file = entry.host_path("ca_file").map(PathBuf::from);
    let timeout = entry.seconds("timeout_in_seconds", 5, 1..=60);
    let cache = entry.seconds("cache_in_seconds", 600, 0..=86_400);
    let command = entry.host_path("command").unwrap_or(COMMAND).into();
    entry.close();
    let settings = Settings {
        servers,
        base: base?.to_owned(),
        filter: filter?,
        zones,
        user_attribute: user_attribute?.to_owned(),
        group_attribute,
        bind,
        starttls,
        ca_file,
        timeout,
        cache,
        command,
        source: source.clone(),
    };
    Some(Directory::new(settings))
}

/// One URL, or a list of them.
fn servers(entry: &Form<'_>) -> Vec<Server> {
    let urls = match entry.value("url") {
        None => {
            entry.missing("url", "the directory's server, e.g. \"ldaps://ldap.example.org\"");
            return Vec::new();
        }
        Some(Value::Array(items)) if !items.is_empty() => {
            items.iter().enumerate().map(|(i, v)| (format!("{}/{i}", entry.at("url")), v)).collect()
        }
        Some(one) => vec![(entry.at("url"), one)],
    };
    urls.into_iter()
        .filter_map(|(pointer, value)| {
            text_of(value).and_then(Server::parse).map_err(|e| entry.problems().add(&pointer, e)).ok()
        })
        .collect()
}

fn bind(entry: &Form<'_>) -> Option<(String, PathBuf)> {
    entry.refuse(
        "bind_password",
        "secrets do not belong in server_config.json: put it into a file of mode 0600 and name that file in \
         'bind_password_file'",
    );
    let dn = entry.text("bind_dn").map(str::to_owned);
    let file = entry.host_path("bind_password_file").map(PathBuf::from);
    match (entry.value("bind_dn").is_some(), entry.value("bind_password_file").is_some()) {
        (true, false) => {
            entry.missing("bind_password_file", "the file (mode 0600) with the password of bind_dn");
        }
        (false, true) => entry.missing("bind_dn", "the distinguished name whose password it is"),
        (true, true) | (false, false) => {}
    }
    dn.zip(file)
}
