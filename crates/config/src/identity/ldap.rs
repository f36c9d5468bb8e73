//! The site's directory: one entry for the user, and an attribute of it with the OMERO name.
//!
//! Asked while a collection is swept or somebody asks `who`, never while a client waits for its own operation.
//!
//! No thread may be started in an iRODS process. The library's synchronous interface drives a runtime of the
//! current thread, but would look up a host name in a thread of its own: so the name is looked up here, by the
//! standard library, and the connection is handed over. A test counts the threads.
//!
//! A directory that is down or slow is an error that passes. It is remembered for a moment, so that a sweep over
//! the data of many users waits for it once. An answer is remembered for `cache_in_seconds`, one that there is
//! nobody for a minute at most. Of an answer's entries two are asked for: more than one is no choice.

use irods_omero_importer::ffi::ignoring_broken_pipes;
use irods_omero_importer::{secret, tls};
use irods_omero_model::names::{IrodsUser, OmeroName};
use ldap3::result::{LdapError, LdapResult};
use ldap3::{LdapConn, LdapConnSettings, Scope, SearchEntry, SearchOptions, StdStream, ldap_escape};
use rustls::{ClientConfig, RootCertStore};
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{TcpStream, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use unicode_normalization::UnicodeNormalization;

/// How long a directory that failed is not asked again.
const DOWN_FOR: Duration = Duration::from_secs(30);
/// The longest memory of an answer that there is nobody.
const NOBODY_FOR: Duration = Duration::from_secs(60);
/// The most answers remembered; when it is full the memory starts anew.
const MAX_REMEMBERED: usize = 10_000;

/// `sizeLimitExceeded`: there are more entries than were asked for.
const SIZE_LIMIT_EXCEEDED: u32 = 4;

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
        if ldap3::parse_filter(&sample).is_err() {
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
                Piece::Text(text) => text.as_str().into(),
                Piece::User => ldap_escape(user),
                Piece::Zone => ldap_escape(zone),
            })
            .collect::<Vec<std::borrow::Cow<'_, str>>>()
            .concat()
    }
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

/// The directory and what is remembered of it.
#[derive(Debug, Clone)]
pub struct Directory {
    settings: Settings,
    memory: RefCell<Memory>,
}

#[derive(Debug, Clone, Default)]
struct Memory {
    said: HashMap<IrodsUser, (Instant, Said)>,
    down: Option<(Instant, String)>,
}

impl Directory {
    /// A directory as configured; it is not asked yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, memory: RefCell::default() }
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
        match self.ask(user) {
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

    /// Asks the first server that answers.
    fn ask(&self, user: &IrodsUser) -> Result<Said, String> {
        let mut why = "no server is configured".to_owned();
        for server in &self.settings.servers {
            // The library reads what the server sends with expectations that panic.
            let asked = ignoring_broken_pipes(|| {
                catch_unwind(AssertUnwindSafe(|| self.ask_server(server, user)))
                    .unwrap_or_else(|_| Err("it sent what is no LDAP".to_owned()))
            });
            match asked {
                Ok(said) => return Ok(said),
                Err(e) => why = format!("{}: {e}", server.url),
            }
        }
        Err(why)
    }

    fn ask_server(&self, server: &Server, user: &IrodsUser) -> Result<Said, String> {
        let settings = &self.settings;
        let mut connection = self.connect(server)?;
        let done = |result: LdapResult| if result.rc == 0 { Ok(()) } else { Err(result.to_string()) };
        if let Some((dn, file)) = &settings.bind {
            let password = secret::read(file).map_err(|e| e.to_string())?;
            connection
                .with_timeout(settings.timeout)
                .simple_bind(dn, &password)
                .map_err(|e| in_words(&e))
                .and_then(|r| done(r).map_err(|e| format!("binding as '{dn}' failed: {e}")))?;
        }
        let filter = settings.filter.fill(user.name(), user.zone());
        let attributes: Vec<&str> =
            [Some(settings.user_attribute.as_str()), settings.group_attribute.as_deref()]
                .into_iter()
                .flatten()
                .collect();
        let seconds = i32::try_from(settings.timeout.as_secs()).unwrap_or(i32::MAX);
        let found = connection
            .with_search_options(SearchOptions::new().sizelimit(2).timelimit(seconds))
            .with_timeout(settings.timeout)
            .search(&settings.base, Scope::Subtree, &filter, attributes)
            .map_err(|e| in_words(&e));
        let ldap3::SearchResult(entries, result) = found?;
        if result.rc != SIZE_LIMIT_EXCEEDED {
            done(result)?;
        }
        // References to other servers and the like are no entries.
        let entries: Vec<SearchEntry> = entries
            .into_iter()
            .filter(|e| !e.is_ref() && !e.is_intermediate())
            .map(SearchEntry::construct)
            .collect();
        let _ = connection.with_timeout(settings.timeout).unbind();
        Ok(self.choose(&filter, &entries))
    }

    fn connect(&self, server: &Server) -> Result<LdapConn, String> {
        let settings = &self.settings;
        let addresses: Vec<_> = (server.host.as_str(), server.port)
            .to_socket_addrs()
            .map_err(|e| format!("its name cannot be looked up: {e}"))?
            .collect();
        let mut why = "its name has no address".to_owned();
        for address in addresses {
            let stream = match TcpStream::connect_timeout(&address, settings.timeout) {
                Ok(stream) => stream,
                Err(e) => {
                    why = e.to_string();
                    continue;
                }
            };
            let mut connecting = LdapConnSettings::new()
                .set_conn_timeout(settings.timeout)
                .set_starttls(settings.starttls)
                .set_std_stream(StdStream::Tcp(stream));
            if server.secure || settings.starttls {
                connecting = connecting.set_config(Arc::new(self.tls()?));
            }
            return LdapConn::with_settings(connecting, &server.url).map_err(|e| in_words(&e));
        }
        Err(why)
    }

    fn tls(&self) -> Result<ClientConfig, String> {
        let mut roots = RootCertStore::empty();
        for certificate in tls::authorities(self.settings.ca_file.as_deref())? {
            roots.add(certificate).map_err(|e| e.to_string())?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map(|builder| builder.with_root_certificates(roots).with_no_client_auth())
            .map_err(|e| e.to_string())
    }

    /// What the entries found say.
    fn choose(&self, filter: &str, entries: &[SearchEntry]) -> Said {
        let entry = match entries {
            [] => return Ok(Err(format!("no entry for {filter}"))),
            [entry] => entry,
            [one, another, ..] => {
                return Err(format!(
                    "the LDAP directory has several entries for {filter}, '{}' and '{}' among them",
                    one.dn, another.dn
                ));
            }
        };
        let name = |attribute: &str| -> Result<Option<OmeroName>, String> {
            let is_it = |name: &String| name.eq_ignore_ascii_case(attribute);
            if entry.bin_attrs.keys().any(is_it) {
                return Err(format!("the attribute {attribute} of '{}' is not text", entry.dn));
            }
            let values: Vec<&String> =
                entry.attrs.iter().filter(|(k, _)| is_it(k)).flat_map(|(_, values)| values).collect();
            match values.as_slice() {
                [] => Ok(None),
                [value] => OmeroName::parse(value)
                    .map(Some)
                    .map_err(|e| format!("the attribute {attribute} of '{}': {e}", entry.dn)),
                [one, another, ..] => Err(format!(
                    "the attribute {attribute} of '{}' has several values, '{one}' and '{another}' among them",
                    entry.dn
                )),
            }
        };
        let Some(user) = name(&self.settings.user_attribute)? else {
            return Ok(Err(format!("'{}' has no attribute {}", entry.dn, self.settings.user_attribute)));
        };
        let group = self.settings.group_attribute.as_deref().map(name).transpose()?.flatten();
        Ok(Ok(Entry { dn: entry.dn.clone(), user, group }))
    }
}

fn in_words(error: &LdapError) -> String {
    match error {
        LdapError::Timeout { .. } => "it did not answer in time".to_owned(),
        other => other.to_string(),
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

#[cfg(test)]
mod tests;
