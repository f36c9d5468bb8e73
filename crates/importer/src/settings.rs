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

/// The `omero` command on this host and how it is run.
#[derive(Debug, Clone)]
pub struct ImporterCommand {
    /// The `omero` command.
    pub command: PathBuf,
    /// The words that start a Python with omero-py, for the worker; none where it is that of the command.
    pub worker: Vec<String>,
    /// Directory of the importer's jars (`--clientdir`).
    pub jars: Option<PathBuf>,
    /// Logback file that sends the importer's log to standard error (`--logback`).
    pub logback: Option<PathBuf>,
    /// How long one importer run may take.
    pub timeout: Duration,
    /// How long any other `omero` command may take.
    pub command_timeout: Duration,
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
