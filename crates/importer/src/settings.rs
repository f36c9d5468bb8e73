//! How OMERO, the importer and the agents are reached, as the configuration says.

use irods_omero_model::names::OmeroName;
use std::path::PathBuf;
use std::time::Duration;

/// The OMERO server and the importer that reaches it.
#[derive(Debug, Clone)]
pub struct Omero {
    /// The server and the account that opens sessions for others.
    pub server: Server,
    /// The command that imports.
    pub importer: ImporterCommand,
}

/// The OMERO server, and the account that opens sessions for others.
#[derive(Debug, Clone)]
pub struct Server {
    /// Host name or URL of the OMERO server.
    pub host: String,
    /// Port of the OMERO server.
    pub port: u16,
    /// A restricted administrator with the one privilege `Sudo`.
    pub sudo_user: OmeroName,
    /// The file that holds that account's password; mode 0600 is demanded when it is read.
    pub password_file: PathBuf,
    /// Namespace of the map annotation that ties a fileset to its data object.
    pub namespace: String,
}

/// The port of OMERO at a host name or URL: that of the URL, else the one given, else the usual one of the URL's scheme
/// (omero-py and OMERO's Java client: wss 443, ws 80, ssl 4064, tcp 4063), else 4064.
pub fn port_of(host: &str, given: Option<u16>) -> u16 {
    let Some((scheme, rest)) = host.split_once("://") else {
        return given.unwrap_or(4064);
    };
    let usual = match scheme {
        "wss" => 443,
        "ws" => 80,
        "tcp" => 4063,
        _ => 4064,
    };
    let (_, digits) = host_of(rest);
    digits.and_then(|digits| digits.parse().ok()).or(given).unwrap_or(usual)
}

/// The host name in a host name or URL.
pub fn name_of(host: &str) -> &str {
    host.split_once("://").map_or(host, |(_, rest)| host_of(rest).0)
}

/// Name and digits of the port of what follows the scheme of a URL.
fn host_of(rest: &str) -> (&str, Option<&str>) {
    let authority = rest.split('/').next().unwrap_or(rest);
    match authority.rsplit_once(':') {
        Some((name, digits)) if !digits.contains(']') => (name, Some(digits)),
        _ => (authority, None),
    }
}

/// The `omero` command on this host and how it is run.
#[derive(Debug, Clone)]
pub struct ImporterCommand {
    /// The `omero` command.
    pub command: PathBuf,
    /// The words that start a Python with omero-py, for the worker; none where it is that of the command.
    pub worker: Vec<String>,
    /// Directory of the importer's jars (`--clientdir`).
    pub jars: PathBuf,
    /// Logback file that sends the importer's log to standard error (`--logback`).
    pub logback: PathBuf,
    /// How long one importer run may take.
    pub timeout: Duration,
    /// How long any other `omero` command may take.
    pub command_timeout: Duration,
    /// For how long OMERO is waited for that may still be finishing an import whose importer is gone.
    pub unfinished_wait: Duration,
    /// How the bytes get into OMERO's repository (`--transfer`).
    pub transfer: &'static str,
    /// Further words for the importer's command line, each from the allow-list.
    pub options: Vec<String>,
    /// `JAVA_OPTS` of the importer.
    pub java_options: String,
    /// Further environment of the `omero` command.
    pub environment: Vec<(String, String)>,
    /// Where sessions, temporary files and logs of running imports are kept (mode 0700).
    pub work_directory: PathBuf,
}

/// The agents, and how they are dealt with.
#[derive(Debug, Clone)]
pub struct AgentMode {
    /// The agents, at least one, each with its own name.
    pub agents: Vec<AgentSettings>,
    /// Which of the agents' OMERO servers is meant, and the units of its ids; `None` for their only one.
    pub server: Option<String>,
    /// The account that opens sessions for others, which nobody may be mapped to.
    pub sudo_user: Option<OmeroName>,
    /// How long one request may take.
    pub timeout: Duration,
    /// For how long an agent may be out of reach before what it was given is given to another.
    pub fallback_after: Duration,
    /// How often the agents are asked what has been done.
    pub collect_interval: Duration,
}

/// One agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSettings {
    /// Its name, which records and logs give.
    pub name: String,
    /// Where it listens.
    pub address: Address,
    /// The file with the token it wants; mode 0600 is demanded when it is read.
    pub token_file: Option<PathBuf>,
    /// The certificates that vouch for it; `None` for those of the system.
    pub ca_file: Option<PathBuf>,
    /// The files of our own certificate and its key; mode 0600 of the key is demanded when it is read.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// Where an agent listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Scheme, host and port, without a slash at the end.
    Url(String),
    /// A socket on this host.
    Unix(PathBuf),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_a_url_is_its_own_else_the_one_given_else_its_schemes() {
        for (host, given, port, name) in [
            ("omero.example.org", None, 4064, "omero.example.org"),
            ("omero.example.org", Some(14064), 14064, "omero.example.org"),
            ("wss://omero.example.org/omero-ws", None, 443, "omero.example.org"),
            ("wss://omero.example.org/omero-ws", Some(8443), 8443, "omero.example.org"),
            ("wss://omero.example.org:443", None, 443, "omero.example.org"),
            ("wss://omero.example.org:8443/omero-ws", Some(4064), 8443, "omero.example.org"),
            ("ws://omero.example.org", None, 80, "omero.example.org"),
            ("ssl://omero.example.org", None, 4064, "omero.example.org"),
            ("tcp://omero.example.org", None, 4063, "omero.example.org"),
            ("wss://[::1]/x", None, 443, "[::1]"),
        ] {
            assert_eq!((port_of(host, given), name_of(host)), (port, name), "{host}");
        }
    }
}
