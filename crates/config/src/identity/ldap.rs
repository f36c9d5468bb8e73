//! The site's directory: one entry for the user, and an attribute of it with the OMERO name.
//!
//! Asked while a collection is swept or somebody asks `who`, never while a client waits for its own operation; and not by
//! the plugin's own process: the command `irods-omero` is started for it and asks (`here`). What speaks LDAP would be a
//! sixth of the library that every agent of the server loads.
//!
//! A directory that is down or slow is an error that passes. It is remembered for a moment, so that a sweep over
//! the data of many users waits for it once. An answer is remembered for `cache_in_seconds`, one that there is
//! nobody for a minute at most. Of an answer's entries two are asked for: more than one is no choice.

mod helper;
#[cfg(feature = "ldap")]
pub mod here;

use irods_omero_model::names::{IrodsUser, OmeroName};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use unicode_normalization::UnicodeNormalization;

/// How long a directory that failed is not asked again.
const DOWN_FOR: Duration = Duration::from_secs(30);
/// The longest memory of an answer that there is nobody.
const NOBODY_FOR: Duration = Duration::from_secs(60);
/// The most answers remembered; when it is full the memory starts anew.
const MAX_REMEMBERED: usize = 10_000;

/// How the directory is reached and asked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The servers, in the order in which they are tried.
    pub servers: Vec<Server>,
    /// Where the search begins.
    pub base: String,
    /// What is searched for.
    pub filter: Filter,
    /// Users of which zones are looked up; of all zones, if there is none (the filter then asks for the zone). An
    /// `alice` of another zone is somebody else.
    pub zones: Vec<String>,
    /// The attribute that holds the OMERO user.
    pub user_attribute: String,
    /// The attribute that holds the OMERO group.
    pub group_attribute: Option<String>,
    /// Distinguished name to bind as, and the file with its password; without it the search is anonymous.
    pub bind: Option<(String, PathBuf)>,
    /// Whether an `ldap://` connection is made secure before anything else is said.
    pub starttls: bool,
    /// The certificates that vouch for the server's; those of the system without it.
    pub ca_file: Option<PathBuf>,
    /// How long connecting, binding and searching may take, each.
    pub timeout: Duration,
    /// How long an answer is remembered.
    pub cache: Duration,
    /// The command `irods-omero`, which asks the directory for us.
    pub command: PathBuf,
    /// The object of the configuration that all this was read from: what the command is told.
    pub source: Value,
}

/// One server of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    url: String,
    host: String,
    port: u16,
    secure: bool,
}

impl Server {
    /// Takes `ldap://host`, `ldaps://host`, each with a port if need be.
    ///
    /// # Errors
    /// A sentence about what is wrong.
    pub fn parse(url: &str) -> Result<Self, String> {
        let wrong = || format!("'{url}' is not of the form ldap://HOST, ldap://HOST:PORT or ldaps://HOST");
        let (secure, rest) = match url.split_once("://") {
            Some(("ldap", rest)) => (false, rest),
            Some(("ldaps", rest)) => (true, rest),
            Some(_) | None => return Err(wrong()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            Some(_) | None => (rest, None),
        };
        let default = if secure { 636 } else { 389 };
        let port = port.map_or(Ok(default), |p| p.parse().map_err(|_| wrong()))?;
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let is_host = match bare {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(fine),
        };
        if !is_host {
            return Err(wrong());
        }
        let scheme = if secure { "ldaps" } else { "ldap" };
        let url = format!("{scheme}://{host}:{port}");
        Ok(Self { url, host: bare.unwrap_or(host).to_owned(), port, secure })
    }

    /// Whether what is said stays on this host.
    pub fn is_local(&self) -> bool {
        self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Whether the connection is secure from its beginning (`ldaps://`).
    pub fn is_secure(&self) -> bool {
        self.secure
    }
}

/// A search filter with places for the user's name and zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    User,
    Zone,
}

impl Filter {
    /// Takes a filter as the configuration writes it: `(&(objectClass=person)(uid={user}))`.
    ///
    /// # Errors
    /// A sentence about what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (field, after) =
                after.split_once('}').ok_or_else(|| format!("'{text}': a '{{' is not closed"))?;
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(match field {
                "user" => Piece::User,
                "zone" => Piece::Zone,
                _ => return Err(format!("'{text}': '{{{field}}}' is not known; use {{user}} and {{zone}}")),
            });
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        let filter = Self(pieces);
        if !filter.0.contains(&Piece::User) {
            return Err(format!("'{text}' must ask for {{user}}, or everybody would be the same entry"));
        }
        let sample = filter.fill("name", "zone");
        if !is_filter(&sample) {
            return Err(format!("'{text}' is not a search filter (RFC 4515), such as (uid={{user}})"));
        }
        Ok(filter)
    }

    /// Whether the filter asks for the user's zone.
    pub fn asks_for_zone(&self) -> bool {
        self.0.contains(&Piece::Zone)
    }

    /// The filter for one user; whatever is in the names is text in it (RFC 4515).
    fn fill(&self, user: &str, zone: &str) -> String {
        self.0
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::User => escaped(user),
                Piece::Zone => escaped(zone),
            })
            .collect()
    }
}

/// A name as text in a filter, whatever is in it (RFC 4515).
fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '\\' => text.push_str("\\5c"),
            '*' => text.push_str("\\2a"),
            '(' => text.push_str("\\28"),
            ')' => text.push_str("\\29"),
            '\0' => text.push_str("\\00"),
            other => text.push(other),
        }
    }
    text
}

/// How deeply a filter may be nested.
const MAX_DEPTH: usize = 20;

/// Whether a text is a search filter (RFC 4515), or the one item of which a filter without parentheses consists.
fn is_filter(text: &str) -> bool {
    if text.starts_with('(') { after_filter(text, 0) == Some("") } else { is_item(text) }
}

/// What follows the filter at the beginning of a text; `None` if there is none.
fn after_filter(text: &str, depth: usize) -> Option<&str> {
    let inner = text.strip_prefix('(').filter(|_| depth < MAX_DEPTH)?;
    if let Some(mut rest) = inner.strip_prefix(['&', '|']) {
        loop {
            rest = after_filter(rest, depth + 1)?;
            if let Some(after) = rest.strip_prefix(')') {
                return Some(after);
            }
        }
    }
    if let Some(negated) = inner.strip_prefix('!') {
        return after_filter(negated, depth + 1)?.strip_prefix(')');
    }
    let (item, after) = inner.split_once(')')?;
    is_item(item).then_some(after)
}

/// Whether a text is an attribute, a comparison and a value.
fn is_item(text: &str) -> bool {
    let Some((attribute, value)) = text.split_once('=') else { return false };
    let attribute = attribute.strip_suffix(['<', '>', '~']).unwrap_or(attribute);
    let of_attribute = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ';' | ':' | '_');
    let is_hex = |at: usize| value.get(at..at + 2).is_some_and(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
    let is_escaped = value.match_indices('\\').all(|(at, _)| is_hex(at + 1));
    !attribute.is_empty()
        && attribute.chars().all(of_attribute)
        && !value.contains(['(', ')', '\0'])
        && is_escaped
}

/// The entry of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its distinguished name.
    pub dn: String,
    /// The OMERO user.
    pub user: OmeroName,
    /// The OMERO group, if one is asked for and there.
    pub group: Option<OmeroName>,
}

/// Why the directory has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// To be asked again.
    WillPass(String),
    /// The directory says something that is no choice, or no name.
    Unusable(String),
}

/// What the directory has to say on a user: an entry, nobody (and why), or nothing that can be used.
type Said = Result<Result<Entry, String>, String>;

/// Asks a directory about a user; the error is that it cannot be asked.
type Ask = fn(&Settings, &IrodsUser) -> Result<Said, String>;

/// The directory and what is remembered of it.
#[derive(Debug, Clone)]
pub struct Directory {
    settings: Settings,
    ask: Ask,
    memory: RefCell<Memory>,
}

#[derive(Debug, Clone, Default)]
struct Memory {
    said: HashMap<IrodsUser, (Instant, Said)>,
    down: Option<(Instant, String)>,
}

impl Directory {
    /// A directory as configured, which the command is to ask; it is not asked yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, ask: helper::ask, memory: RefCell::default() }
    }

    /// The same, asked by this process.
    #[cfg(all(test, feature = "ldap"))]
    fn here(settings: Settings) -> Self {
        Self { settings, ask: here::ask, memory: RefCell::default() }
    }

    /// How it is reached and asked.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The entry of a user; the inner error is a sentence why there is none.
    ///
    /// # Errors
    /// There is no answer.
    pub fn look_up(&self, user: &IrodsUser) -> Result<Result<Entry, String>, Trouble> {
        let now = Instant::now();
        let mut memory = self.memory.borrow_mut();
        if let Some((since, said)) = memory.said.get(user)
            && now.duration_since(*since) < self.remember_for(said)
        {
            return said.clone().map_err(Trouble::Unusable);
        }
        if let Some((since, why)) = &memory.down
            && now.duration_since(*since) < DOWN_FOR
        {
            return Err(Trouble::WillPass(why.clone()));
        }
        if !self.settings.zones.is_empty() && !self.settings.zones.iter().any(|z| z == user.zone()) {
            return Ok(Err(format!("users of {} are not looked up", user.zone())));
        }
        if !is_prepared(user.name()) {
            return Ok(Err(
                "the name holds blanks or characters that a directory takes for others".to_owned()
            ));
        }
        match (self.ask)(&self.settings, user) {
            Ok(said) => {
                memory.down = None;
                if memory.said.len() >= MAX_REMEMBERED {
                    memory.said.clear();
                }
                memory.said.insert(user.clone(), (now, said.clone()));
                said.map_err(Trouble::Unusable)
            }
            Err(why) => {
                let why = format!("the LDAP directory cannot be asked: {why}");
                log::warn!("act=ldap failed=\"{why}\"");
                memory.down = Some((Instant::now(), why.clone()));
                Err(Trouble::WillPass(why))
            }
        }
    }

    fn remember_for(&self, said: &Said) -> Duration {
        match said {
            Ok(Ok(_)) => self.settings.cache,
            Ok(Err(_)) | Err(_) => self.settings.cache.min(NOBODY_FOR),
        }
    }
}

/// Whether a directory's preparation of names for comparing (RFC 4518) leaves this one as it is, but for case.
/// Another would be found under the name of somebody else.
fn is_prepared(name: &str) -> bool {
    name.trim() == name
        && !name.contains("  ")
        && name.nfkc().eq(name.chars())
        && !name
            .chars()
            .any(|c| c.is_control() || (c.is_whitespace() && c != ' ') || super::denied::is_invisible(c))
}

#[cfg(all(test, feature = "ldap"))]
mod tests;
