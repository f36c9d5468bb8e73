//! The agents that import, for `"mode": "agent"`.

use super::needed_text;
use irods_omero_importer::settings::{Address, AgentMode, AgentSettings};
use irods_omero_model::form::{Form, check_host_path};
use irods_omero_model::names::OmeroName;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use ureq::http::Uri;

/// The parts of the object `omero` that mean something where agents import.
pub(super) type KnownServer = (Option<String>, Option<OmeroName>);

pub(super) fn known_server(form: Form<'_>) -> KnownServer {
    let server = form.text("server").map(str::to_owned);
    let sudo_user = form.omero_name("sudo_user", false);
    form.close();
    (server, sudo_user)
}

pub(super) fn read(form: Form<'_>, (server, sudo_user): KnownServer) -> Option<AgentMode> {
    if form.value("agents").is_none() {
        form.missing(
            "agents",
            "list at least one agent: [{\"name\": \"a1\", \"url\": \"https://HOST:4443\"}]",
        );
    }
    let entries = form.list("agents");
    if entries.is_empty() && form.value("agents").is_some_and(serde_json::Value::is_array) {
        form.problem("agents", "must list at least one agent");
    }
    let mut names = BTreeSet::new();
    let mut agents = Vec::new();
    for (pointer, value) in &entries {
        let agent = Form::open(pointer.clone(), value, form.problems()).and_then(agent);
        if agent.as_ref().is_some_and(|a| !names.insert(a.name.clone())) {
            form.problems().add(&format!("{pointer}/name"), "two agents have this name");
        }
        agents.extend(agent);
    }
    let timeout = form.seconds("timeout_in_seconds", 30, 1..=600);
    let fallback_after = form.seconds("fallback_after_in_seconds", 600, 1..=2_592_000);
    let collect_interval = form.seconds("collect_interval_in_seconds", 10, 1..=3_600);
    form.close();
    let is_complete = !agents.is_empty() && agents.len() == entries.len();
    is_complete.then_some(AgentMode { agents, server, sudo_user, timeout, fallback_after, collect_interval })
}

fn agent(form: Form<'_>) -> Option<AgentSettings> {
    let name = needed_text(&form, "name", "records name the agent by it").map(str::to_owned);
    let url = needed_text(&form, "url", "https://HOST:PORT, or unix:/PATH of its socket");
    let address = url.and_then(|url| address(url).map_err(|m| form.problem("url", m)).ok());
    let file = |key| form.host_path(key).map(PathBuf::from);
    let (token_file, ca_file) = (file("token_file"), file("ca_file"));
    let certificate = match (file("cert_file"), file("key_file")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => {
            form.missing("key_file", "the certificate in 'cert_file' is of no use without its key");
            None
        }
        (None, Some(_)) => {
            form.missing("cert_file", "the key in 'key_file' is of no use without its certificate");
            None
        }
    };
    for secret in ["token", "key"] {
        let file = format!("put it into a file of mode 0600 and name that file in '{secret}_file'");
        form.refuse(secret, &format!("secrets do not belong in server_config.json: {file}"));
    }
    form.close();
    Some(AgentSettings { name: name?, address: address?, token_file, ca_file, certificate })
}

/// Without TLS only this host is spoken to: the token would be there for all to read.
fn address(url: &str) -> Result<Address, String> {
    if let Some(path) = url.strip_prefix("unix:") {
        check_host_path(path)?;
        return Ok(Address::Unix(path.into()));
    }
    let forms = "write https://HOST:PORT, or unix:/PATH of a socket on this host";
    let uri: Uri = url.parse().map_err(|e| format!("'{url}' is not a URL ({e}): {forms}"))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(format!("'{url}' is not a whole URL: {forms}"));
    };
    if authority.as_str().contains('@') || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(format!("'{url}' is more than scheme, host and port: {forms}"));
    }
    match scheme {
        "https" => {}
        "http" if is_this_host(authority.host()) => {}
        "http" => return Err(format!("'{url}' is not encrypted and not this host: use https")),
        other => return Err(format!("'{other}' is not a scheme that agents understand: {forms}")),
    }
    Ok(Address::Url(format!("{scheme}://{authority}")))
}

fn is_this_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_url_without_a_path_or_a_socket_of_this_host() {
        let url = |text: &str| Ok(Address::Url(text.to_owned()));
        assert_eq!(address("https://omero.example.org:4443/"), url("https://omero.example.org:4443"));
        assert_eq!(address("http://[::1]:4443"), url("http://[::1]:4443"));
        assert_eq!(address("unix:/run/a.sock"), Ok(Address::Unix("/run/a.sock".into())));
        for bad in [
            "omero.example.org:4443",
            "http://omero.example.org",
            "http://127.0.0.1.example.org",
            "https://u:p@h",
            "https://h/v1",
            "https://h?x",
            "ftp://h",
            "unix:run/a.sock",
            "",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
