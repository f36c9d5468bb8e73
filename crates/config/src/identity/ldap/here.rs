//! The directory asked by this process: what the command `irods-omero` does for the plugin.
//!
//! No thread is started. The library's synchronous interface drives a runtime of the current thread, but would look up a
//! host name in a thread of its own: so the name is looked up here, by the standard library, and the connection is handed
//! over. A test counts the threads.

use super::{Directory, Entry, Said, Server, Settings, helper};
use irods_omero_importer::ffi::ignoring_broken_pipes;
use irods_omero_importer::{secret, tls};
use irods_omero_model::names::{IrodsUser, OmeroName};
use ldap3::result::{LdapError, LdapResult};
use ldap3::{LdapConn, LdapConnSettings, Scope, SearchEntry, SearchOptions, StdStream};
use rustls::{ClientConfig, RootCertStore};
use std::net::{TcpStream, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// `sizeLimitExceeded`: there are more entries than were asked for.
const SIZE_LIMIT_EXCEEDED: u32 = 4;

/// Answers a question of the plugin, as JSON.
///
/// # Errors
/// A sentence: it is no question that this version understands.
pub fn answer(question: &str) -> Result<String, String> {
    let (user, stanza) = helper::read_question(question)?;
    let directory =
        crate::users::directory(&stanza).ok_or("the directory's configuration is not understood")?;
    Ok(helper::written(&ask(Directory::settings(&directory), &user)))
}

/// Asks the first server that answers.
pub(super) fn ask(settings: &Settings, user: &IrodsUser) -> Result<Said, String> {
    let mut why = "no server is configured".to_owned();
    for server in &settings.servers {
        // The library reads what the server sends with expectations that panic.
        let asked = ignoring_broken_pipes(|| {
            catch_unwind(AssertUnwindSafe(|| ask_server(settings, server, user)))
                .unwrap_or_else(|_| Err("it sent what is no LDAP".to_owned()))
        });
        match asked {
            Ok(said) => return Ok(said),
            Err(e) => why = format!("{}: {e}", server.url),
        }
    }
    Err(why)
}

fn ask_server(settings: &Settings, server: &Server, user: &IrodsUser) -> Result<Said, String> {
    let mut connection = connect(settings, server)?;
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
    let attributes: Vec<&str> = [Some(settings.user_attribute.as_str()), settings.group_attribute.as_deref()]
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
    Ok(choose(settings, &filter, &entries))
}

fn connect(settings: &Settings, server: &Server) -> Result<LdapConn, String> {
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
            connecting = connecting.set_config(Arc::new(tls_of(settings)?));
        }
        return LdapConn::with_settings(connecting, &server.url).map_err(|e| in_words(&e));
    }
    Err(why)
}

fn tls_of(settings: &Settings) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for certificate in tls::authorities(settings.ca_file.as_deref())? {
        roots.add(certificate).map_err(|e| e.to_string())?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(roots).with_no_client_auth())
        .map_err(|e| e.to_string())
}

/// What the entries found say.
fn choose(settings: &Settings, filter: &str, entries: &[SearchEntry]) -> Said {
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
    let Some(user) = name(&settings.user_attribute)? else {
        return Ok(Err(format!("'{}' has no attribute {}", entry.dn, settings.user_attribute)));
    };
    let group = settings.group_attribute.as_deref().map(name).transpose()?.flatten();
    Ok(Ok(Entry { dn: entry.dn.clone(), user, group }))
}

fn in_words(error: &LdapError) -> String {
    match error {
        LdapError::Timeout { .. } => "it did not answer in time".to_owned(),
        other => other.to_string(),
    }
}
