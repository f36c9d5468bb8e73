//! The agent's configuration: one TOML file, read into values the rest need not check again. All mistakes are found in
//! one reading, each with its place and a remedy.
//!
//! The tables `omero` and `omero.importer` take the words of the plugin's own configuration and are read by its reader.

use crate::access::{Grant, NameRule, directories, names, texts};
use irods_omero_config::Config as PluginConfig;
use irods_omero_config::identity::Denied;
use irods_omero_importer::LONGEST_IDLE;
use irods_omero_importer::settings::Omero;
use irods_omero_model::form::{Asked, Problem};
use irods_omero_model::form::{Form, Problems};
use irods_omero_model::names::OmeroName;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_rustls::rustls::pki_types::ServerName;

/// Where the queue is kept, if the configuration names no other place.
pub const STATE_DIRECTORY: &str = "/var/lib/irods-omero";

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where callers are listened to.
    pub listen: Listen,
    /// Names under which it may be asked for, beside those that are known of themselves; in lower case.
    pub hosts: Vec<String>,
    /// Certificate and key, where TLS is spoken.
    pub tls: Option<TlsFiles>,
    /// The file with the callers' tokens.
    pub tokens_file: Option<PathBuf>,
    /// Callers known by their certificate.
    pub certificates: Vec<CertificateClient>,
    /// Where the queue is kept.
    pub state_directory: PathBuf,
    /// The directories below which files have to be.
    pub roots: Vec<PathBuf>,
    /// For which OMERO users may be imported.
    pub users: Users,
    /// The OMERO servers by the agent's name of them.
    pub servers: BTreeMap<String, Omero>,
    /// The `ManagedRepository` of some of them, as this host sees it.
    pub repositories: BTreeMap<String, PathBuf>,
    /// Where some of them keep files that belong to no fileset, as this host sees it.
    pub file_directories: BTreeMap<String, PathBuf>,
    /// What people in OMERO may have saved in iRODS.
    pub save: SaveRules,
    /// Where the page leads to.
    pub web: Web,
    /// Bounds.
    pub limits: Limits,
}

/// What people in OMERO may have saved in iRODS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaveRules {
    /// Whether they may at all.
    pub enabled: bool,
    /// Directories below which links in OMERO's repository may lead, beside that itself and the agent's `roots`.
    pub roots: Vec<PathBuf>,
    /// The most files of one request.
    pub files: u64,
    /// The most requests of one person that may be open.
    pub open: u64,
    /// How long OMERO may take to say what belongs to what was chosen.
    pub timeout: Duration,
}

/// Addresses of other web pages, with a field for what is to be shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Web {
    /// An image in OMERO.web, with `{id}`.
    pub omero: Option<String>,
    /// A collection or data object in the site's web client for iRODS, with `{path}`.
    pub irods: Option<String>,
}

/// Where callers are listened to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A socket of this host; who may open it may ask.
    Unix(PathBuf),
    /// An address, with TLS only.
    Tcp(SocketAddr),
}

/// The files TLS needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The agent's certificate and those between it and its root, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The authorities whose certificates callers may show, PEM.
    pub client_ca: Option<PathBuf>,
}

/// A caller known by its certificate.
#[derive(Debug, Clone)]
pub struct CertificateClient {
    /// The DNS name in the certificate.
    pub name: String,
    /// What it may do.
    pub grant: Grant,
    /// Where it stands in the file.
    pub pointer: String,
}

/// For which OMERO users may be imported.
#[derive(Debug, Clone, Default)]
pub struct Users {
    rule: NameRule,
    denied: Denied,
}

impl Users {
    /// Whether may be imported as a user.
    ///
    /// # Errors
    /// A sentence with the remedy.
    pub fn check(&self, user: &str) -> Result<(), String> {
        let name = OmeroName::parse(user).map_err(|e| e.to_string())?;
        if let Some(denied) = self.denied.covers(&name) {
            return Err(format!(
                "nothing is ever imported as the OMERO user '{user}', who is, or could be taken for, '{denied}', an \
                 administrator or a system account"
            ));
        }
        if self.rule.allows(user) {
            return Ok(());
        }
        Err(format!(
            "the agent's configuration does not allow imports as the OMERO user '{user}': the administrator of the \
             agent can add it to [users]"
        ))
    }
}

/// Bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The most imports at once.
    pub imports: u32,
    /// The most imports at once for one OMERO user.
    pub imports_per_user: u32,
    /// A job of more files is large: of several places one is kept free of large jobs.
    pub large_files: u32,
    /// How long jobs that have ended are kept.
    pub retention: Duration,
    /// The first wait before a job is tried again; it doubles...
    pub retry_wait: Duration,
    /// ...up to this.
    pub retry_max_wait: Duration,
    /// For how long a job is tried again.
    pub give_up_after: Duration,
    /// The longest the queue's file may grow, in bytes.
    pub queue_bytes: u64,
    /// The most jobs that may be queued.
    pub queued_jobs: u64,
    /// The most connections.
    pub connections: usize,
    /// The most requests a caller may make in a second.
    pub requests_per_second: u32,
    /// How long a caller may take to send the head of a request, or to read a piece of the answer.
    pub header_timeout: Duration,
    /// How long a caller may take to send a body.
    pub body_timeout: Duration,
    /// How long running imports may go on when the agent is to end.
    pub stop: Duration,
    /// How long an agent that was away holds the jobs it had, so that callers can cancel those that others do.
    pub hand_over: Duration,
    /// How long a session in OMERO is kept that nobody uses.
    pub session_idle: Duration,
    /// How much is kept of what the importer said, in bytes.
    pub log_bytes: usize,
}

impl Limits {
    /// How many large jobs may run.
    pub fn large(&self) -> u32 {
        self.imports.saturating_sub(1).max(1)
    }
}

/// The most imports at once that can be configured.
const MAX_IMPORTS: u64 = 256;

impl Config {
    /// Reads the file.
    ///
    /// # Errors
    /// Every problem found, with its place.
    pub fn read(path: &Path) -> Result<Self, Vec<Problem>> {
        let whole = |message: String| vec![Problem { pointer: path.display().to_string(), message }];
        let text = std::fs::read_to_string(path).map_err(|e| whole(format!("cannot be read: {e}")))?;
        Self::parse(&text).map_err(|problems| {
            let at = |p: Problem| Problem { pointer: format!("{}: {}", path.display(), p.pointer), ..p };
            problems.into_iter().map(at).collect()
        })
    }

    /// Every key that the reader asks for while it reads a text: the reference of the configuration, if the text holds
    /// every table.
    ///
    /// # Errors
    /// The text is no TOML.
    pub fn asked(text: &str) -> Result<Vec<Asked>, toml::de::Error> {
        let value: Value = toml::from_str(text)?;
        let problems = Problems::and_asked();
        if let Some(form) = Form::open(String::new(), &value, &problems) {
            read(form);
        }
        Ok(problems.into_asked())
    }

    /// What differs from the configuration before and holds from a start to the next.
    pub fn changed_but_fixed(&self, before: &Self) -> Vec<Problem> {
        let (now, was) = (&self.limits, &before.limits);
        let same = [
            ("/listen", self.listen == before.listen),
            ("/state_directory", self.state_directory == before.state_directory),
            ("/limits/connections", now.connections == was.connections),
            ("/limits/large_files", now.large_files == was.large_files),
            ("/limits/queue_megabytes", now.queue_bytes == was.queue_bytes),
            ("/limits/queued_jobs", now.queued_jobs == was.queued_jobs),
        ];
        let changed = same.into_iter().filter(|(_, same)| !same);
        let message = "was changed, which needs a restart: systemctl restart irods-omero-agent";
        changed.map(|(key, _)| Problem { pointer: key.to_owned(), message: message.to_owned() }).collect()
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    /// Every problem found, with its place in the file as a pointer.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let value: Value = toml::from_str(text).map_err(|e| {
            vec![Problem { pointer: "/".to_owned(), message: e.to_string().trim().to_owned() }]
        })?;
        let problems = Problems::default();
        let config = Form::open(String::new(), &value, &problems).and_then(read);
        match (config, problems.into_inner()) {
            (Some(config), problems) if problems.is_empty() => Ok(config),
            (_, problems) => Err(problems),
        }
    }
}

fn read(form: Form<'_>) -> Option<Config> {
    let listen = listen(&form);
    let tls = form.form("tls").and_then(tls);
    let tokens_file = form.host_path("tokens_file").map(PathBuf::from);
    let certificates: Vec<_> = forms(&form, "certificates").into_iter().filter_map(certificate).collect();
    let hosts = hosts(&form);
    let client_ca = tls.as_ref().is_some_and(|t| t.client_ca.is_some());
    if matches!(listen, Some(Listen::Tcp(_))) {
        if form.value("tls").is_none() {
            form.missing("tls", "an address is listened on with TLS only: name certificate and key");
        }
        if tokens_file.is_none() && (certificates.is_empty() || !client_ca) {
            form.missing(
                "tokens_file",
                "who asks over the network has to show a token, or a certificate ([tls] client_ca and \
                 [[certificates]])",
            );
        }
    }
    if !certificates.is_empty() && !client_ca {
        form.problem("certificates", "callers with certificates need [tls] client_ca");
    }
    let state_directory = form.host_path("state_directory").unwrap_or(STATE_DIRECTORY).into();
    let roots = roots(&form);
    let (mut servers, mut repositories) = (BTreeMap::new(), BTreeMap::new());
    let mut file_directories = BTreeMap::new();
    for entry in forms(&form, "omero") {
        let pointer = entry.at("name");
        let Some((name, server, own)) = server(entry) else { continue };
        repositories.extend(own.managed_repository.map(|path| (name.clone(), path)));
        file_directories.extend(own.files_directory.map(|path| (name.clone(), path)));
        if servers.insert(name.clone(), server).is_some() {
            form.problems().add(&pointer, format_args!("there are two servers of the name '{name}'"));
        }
    }
    if form.value("omero").is_none() {
        form.missing("omero", "describe the OMERO server in a table [[omero]]");
    }
    let users = users(&form, &servers);
    let web = form.form("web").map(web).unwrap_or_default();
    let nothing = json!({});
    let save =
        form.form("save").or_else(|| Form::open(form.at("save"), &nothing, form.problems())).map(save_rules);
    if save.as_ref().is_some_and(|save| save.enabled) && repositories.is_empty() {
        form.problem("save", "needs 'managed_repository' in a table [[omero]]: files are saved from there");
    }
    let limits =
        form.form("limits").or_else(|| Form::open(form.at("limits"), &nothing, form.problems())).map(limits);
    form.close();
    Some(Config {
        listen: listen?,
        hosts,
        tls,
        tokens_file,
        certificates,
        state_directory,
        roots,
        users,
        servers,
        repositories,
        file_directories,
        save: save?,
        web,
        limits: limits?,
    })
}

/// The tables of a list.
fn forms<'a>(form: &Form<'a>, key: &'static str) -> Vec<Form<'a>> {
    let open = |(pointer, value)| Form::open(pointer, value, form.problems());
    form.list(key).into_iter().filter_map(open).collect()
}

fn listen(form: &Form<'_>) -> Option<Listen> {
    let text = match form.value("listen") {
        None => "unix:/run/irods-omero/agent.sock",
        Some(_) => form.text("listen")?,
    };
    if let Some(path) = text.strip_prefix("unix:") {
        return match irods_omero_model::form::check_host_path(path) {
            Ok(()) => Some(Listen::Unix(path.into())),
            Err(why) => {
                form.problem("listen", why);
                None
            }
        };
    }
    let address = text.parse().map(Listen::Tcp);
    address
        .map_err(|_| {
            form.problem(
                "listen",
                format_args!("'{text}' is neither unix:/PATH nor ADDRESS:PORT, e.g. 0.0.0.0:4443"),
            );
        })
        .ok()
}

fn needed_path(form: &Form<'_>, key: &'static str, why: &str) -> Option<PathBuf> {
    if form.value(key).is_none() {
        form.missing(key, why);
    }
    form.host_path(key).map(PathBuf::from)
}

fn tls(form: Form<'_>) -> Option<TlsFiles> {
    let certificate = needed_path(&form, "certificate", "the agent's certificate chain, PEM");
    let key = needed_path(&form, "key", "the certificate's key, PEM");
    let client_ca = form.host_path("client_ca").map(PathBuf::from);
    form.close();
    Some(TlsFiles { certificate: certificate?, key: key?, client_ca })
}

fn certificate(form: Form<'_>) -> Option<CertificateClient> {
    if form.value("name").is_none() {
        form.missing("name", "the DNS name in the caller's certificate");
    }
    let name = form.text("name").map(str::to_ascii_lowercase);
    if let Some(name) = &name
        && (name.contains('*') || !matches!(ServerName::try_from(name.as_str()), Ok(ServerName::DnsName(_))))
    {
        form.problem("name", "must be the DNS name of one host, as in irods.example.org, without a '*'");
    }
    let grant = Grant::read(&form);
    let pointer = form.at("").trim_end_matches('/').to_owned();
    form.close();
    Some(CertificateClient { name: name?, grant: grant?, pointer })
}

fn roots(form: &Form<'_>) -> Vec<PathBuf> {
    if form.value("roots").is_none() {
        form.missing(
            "roots",
            "name the directories below which the files are that may be imported: the vaults",
        );
    }
    directories(form, "roots")
}

/// The names under which the agent may be asked for, beside those that are known of themselves.
fn hosts(form: &Form<'_>) -> Vec<String> {
    let hosts = texts(form, "hosts");
    for host in hosts.iter().filter(|h| h.contains(['*', '/', ':'])) {
        form.problem(
            "hosts",
            format_args!("'{host}' must be a name as it stands in a browser's address, without port or '*'"),
        );
    }
    hosts.iter().map(|host| host.to_ascii_lowercase()).collect()
}

fn web(form: Form<'_>) -> Web {
    let address = |key: &'static str, field: &str| {
        let address = form.text(key)?;
        let is_web = address.starts_with("https://") || address.starts_with("http://");
        if is_web && address.matches(field).count() == 1 && !address.chars().any(char::is_whitespace) {
            return Some(address.to_owned());
        }
        let why = format!("'{address}' must be an address that begins with https:// and holds {field} once");
        form.problem(key, why);
        None
    };
    let (omero, irods) = (address("omero", "{id}"), address("irods", "{path}"));
    form.close();
    Web { omero, irods }
}

/// The directories of an OMERO server, as this host sees them.
struct Directories {
    managed_repository: Option<PathBuf>,
    files_directory: Option<PathBuf>,
}

fn server(form: Form<'_>) -> Option<(String, Omero, Directories)> {
    let (problems, place) = (form.problems(), form.at("").trim_end_matches('/').to_owned());
    let name = form.text("name");
    let directories = Directories {
        managed_repository: form.host_path("managed_repository").map(PathBuf::from),
        files_directory: form.host_path("files_directory").map(PathBuf::from),
    };
    let importer = form.value("importer").cloned();
    if importer.is_none() {
        form.missing("importer", "describe the 'omero' command in a table [omero.importer]");
    }
    let mut server = serde_json::Map::new();
    for key in ["server", "port", "sudo_user", "password_file", "annotation_namespace"] {
        server.extend(form.value(key).map(|v| (key.to_owned(), v.clone())));
    }
    for key in ["password", "sudo_password"] {
        form.refuse(key, "is no place for a password: put it into a file, and name that in 'password_file'");
    }
    if let Some(credential) = form.text("credential") {
        match std::env::var_os("CREDENTIALS_DIRECTORY") {
            _ if server.contains_key("password_file") => {
                form.problem("credential", "there is a 'password_file' too: keep one");
            }
            Some(directory) => {
                let path = Path::new(&directory).join(credential);
                server.insert("password_file".to_owned(), path.to_string_lossy().into());
            }
            None => form.problem(
                "credential",
                "is for a service with LoadCredential=: systemd has set no CREDENTIALS_DIRECTORY here",
            ),
        }
    }
    form.close();
    let mut importer = importer.unwrap_or_else(|| json!({"command": "/", "jars": "/", "logback": "/"}));
    if let Some(importer) = importer.as_object_mut() {
        importer.entry("work_directory").or_insert_with(|| "/var/lib/irods-omero/work".into());
        if let Some(host) = server.get("server").and_then(Value::as_str)
            && let Err(why) = encrypt(host, importer.entry("options").or_insert_with(|| json!([])))
        {
            problems.add(&format!("{place}/server"), why);
        }
    }
    match PluginConfig::parse(&json!({"omero": server, "importer": importer})) {
        Ok(config) => {
            let omero = config.omero?;
            let name = name.unwrap_or(&omero.server.host).to_owned();
            Some((name, omero, directories))
        }
        Err(found) => {
            for problem in found {
                // The plugin's `omero` is our entry, and its `importer` is inside.
                let inner = problem.pointer.strip_prefix("/omero").unwrap_or(&problem.pointer);
                problems.add(&format!("{place}{inner}"), problem.message);
            }
            None
        }
    }
}

/// Has what an importer sends to an OMERO server on another host encrypted: by itself it would be so only while it logs in
/// (omero-blitz, `CommandLineImporter`, option `encrypted`).
///
/// # Errors
/// The address is one of a protocol without encryption.
fn encrypt(host: &str, options: &mut Value) -> Result<(), String> {
    let name = irods_omero_importer::settings::name_of(host);
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    if name == "localhost" || address.is_ok_and(|a| a.is_loopback()) {
        return Ok(());
    }
    match host.split_once("://").map(|(scheme, _)| scheme) {
        Some("tcp" | "ws") => {
            return Err(format!("'{host}' would send passwords and data as they are: use ssl:// or wss://"));
        }
        // The protocol stays that of the address.
        Some(_) => return Ok(()),
        None => {}
    }
    if let Some(options) = options.as_array_mut() {
        let is_said = |o: &Value| o.as_str().is_some_and(|o| o.starts_with("--encrypted"));
        if !options.iter().any(is_said) {
            options.push("--encrypted=true".into());
        }
    }
    Ok(())
}

fn users(form: &Form<'_>, servers: &BTreeMap<String, Omero>) -> Users {
    let Some(form) = form.form("users") else {
        form.missing(
            "users",
            "say for which OMERO users may be imported: allow = [\"alice\"] or match = \"[a-z]+\"",
        );
        return Users::default();
    };
    let rule = NameRule::read(&form);
    let mut denied = Denied::default();
    for name in names(&form, "administrators") {
        denied.add(name);
    }
    for server in servers.values() {
        denied.add(server.server.sudo_user.clone());
    }
    for name in rule.listed() {
        if let Some(denied) =
            OmeroName::parse(name).ok().and_then(|name| denied.covers(&name).map(str::to_owned))
        {
            form.problem(
                "allow",
                format_args!(
                    "'{name}' is, or could be taken for, '{denied}': nothing is ever imported as it"
                ),
            );
        }
    }
    form.close();
    Users { rule, denied }
}

fn save_rules(form: Form<'_>) -> SaveRules {
    let rules = SaveRules {
        enabled: form.flag("enabled", false),
        roots: directories(&form, "roots"),
        files: form.number("files", 100_000, 1..=1_000_000),
        open: form.number("open_per_user", 20, 1..=1_000),
        timeout: form.seconds("timeout_in_seconds", 300, 1..=3_600),
    };
    form.close();
    rules
}

fn limits(form: Form<'_>) -> Limits {
    let small = |key, default, range| u32::try_from(form.number(key, default, range)).unwrap_or(u32::MAX);
    let size = |key, default, range| usize::try_from(form.number(key, default, range)).unwrap_or(usize::MAX);
    let limits = Limits {
        imports: small("imports", 4, 1..=MAX_IMPORTS),
        imports_per_user: small("imports_per_user", 2, 1..=MAX_IMPORTS),
        large_files: small("large_files", 1_000, 1..=100_000),
        retention: form.seconds("retention_in_days", 30, 1..=3_650) * 86_400,
        retry_wait: form.seconds("retry_wait_in_seconds", 15, 1..=3_600),
        retry_max_wait: form.seconds("retry_max_wait_in_seconds", 1_800, 1..=86_400),
        give_up_after: form.seconds("give_up_after_in_days", 14, 1..=365) * 86_400,
        queue_bytes: form.number("queue_megabytes", 65_536, 1..=1 << 30) << 20,
        queued_jobs: form.number("queued_jobs", 1_000_000, 1..=100_000_000),
        connections: size("connections", 8_192, 1..=1_000_000),
        requests_per_second: small("requests_per_second", 5_000, 1..=1_000_000),
        header_timeout: form.seconds("header_timeout_in_seconds", 30, 1..=3_600),
        body_timeout: form.seconds("body_timeout_in_seconds", 60, 1..=3_600),
        stop: form.seconds("stop_in_seconds", 60, 0..=86_400),
        hand_over: form.seconds("hand_over_in_seconds", 60, 0..=3_600),
        session_idle: form.seconds("session_idle_in_seconds", 300, 0..=LONGEST_IDLE.as_secs()),
        log_bytes: size("log_kilobytes", 256, 1..=65_536) << 10,
    };
    form.close();
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        roots = ["/data/vault"]
        [users]
        allow = ["alice"]
        match = "lab[0-9]+"
        administrators = ["boss", "lab0"]
        [[omero]]
        server = "omero.example.org"
        sudo_user = "importer"
        password_file = "/etc/irods-omero/password"
        [omero.importer]
        command = "/opt/omero/bin/omero"
        jars = "/opt/omero/jars"
        logback = "/opt/omero/logback.xml"
    "#;

    fn pointers(text: &str) -> Vec<String> {
        Config::parse(text).unwrap_err().into_iter().map(|p| p.pointer).collect()
    }

    #[test]
    fn a_short_configuration_is_enough() {
        let config = Config::parse(GOOD).unwrap();
        assert_eq!(config.listen, Listen::Unix("/run/irods-omero/agent.sock".into()));
        assert_eq!(config.servers.keys().collect::<Vec<_>>(), ["omero.example.org"]);
        assert_eq!((config.limits.imports, config.limits.large()), (4, 3));
        let work = &config.servers["omero.example.org"].importer.work_directory;
        assert_eq!(work, Path::new("/var/lib/irods-omero/work"));
    }

    #[test]
    fn what_goes_to_another_host_is_encrypted_and_an_address_without_encryption_refused() {
        let options = |server: &str, more: &str| {
            let text = GOOD.replace("omero.example.org", server) + more;
            Config::parse(&text).map(|c| c.servers.into_values().next().unwrap().importer.options)
        };
        let encrypted = vec!["--skip=upgrade".to_owned(), "--encrypted=true".to_owned()];
        assert_eq!(options("omero.example.org", "").unwrap(), encrypted);
        let skip = "options = [\"--skip=upgrade\"]";
        assert_eq!(options("192.0.2.7", skip).unwrap(), ["--skip=upgrade", "--encrypted=true"]);
        let off = "options = [\"--encrypted=false\"]";
        assert_eq!(options("omero.example.org", off).unwrap(), ["--skip=upgrade", "--encrypted=false"]);
        for without in ["localhost", "127.0.0.1", "wss://omero.example.org/omero-ws", "tcp://localhost"] {
            assert_eq!(options(without, "").unwrap(), ["--skip=upgrade"], "{without}");
        }
        for plain in ["tcp://omero.example.org", "ws://omero.example.org/ws"] {
            let problems = options(plain, "").unwrap_err();
            assert!(problems.iter().any(|p| p.pointer == "/omero/0/server"), "{plain}: {problems:?}");
        }
    }

    #[test]
    fn only_whole_names_that_are_allowed_and_not_denied_are_imported_as() {
        let users = Config::parse(GOOD).unwrap().users;
        for fine in ["alice", "lab12"] {
            assert_eq!(users.check(fine), Ok(()));
        }
        for (bad, why) in [
            ("root", "is ever"),
            ("Root", "is ever"),
            ("importer", "is ever"),
            ("lab0", "is ever"),
            ("xlab1", "[users]"),
            ("lab1\n", "cannot be the name"),
        ] {
            assert!(users.check(bad).unwrap_err().contains(why), "{bad}");
        }
    }

    #[test]
    fn all_mistakes_are_found_at_once_each_with_its_place() {
        let found = pointers(
            r#"
            listen = "0.0.0.0:4443"
            roots = ["/", "relative", 3]
            rots = []
            [users]
            match = "("
            [limits]
            imports = 0
            import_per_user = 3
            [[omero]]
            server = "-x"
            port = 0
            password = "secret"
            [omero.importer]
            command = "omero"
            "#,
        );
        for place in [
            "/tls",
            "/tokens_file",
            "/roots/0",
            "/roots/1",
            "/roots/2",
            "/rots",
            "/users/match",
            "/limits/imports",
            "/limits/import_per_user",
            "/omero/0/server",
            "/omero/0/port",
            "/omero/0/password",
            "/omero/0/sudo_user",
            "/omero/0/importer/command",
        ] {
            assert!(found.contains(&place.to_owned()), "{place} is not in {found:?}");
        }
    }

    #[test]
    fn what_is_no_toml_says_where() {
        let problems = Config::parse("listen = \n").unwrap_err();
        assert!(problems[0].message.contains("line 1"), "{problems:?}");
        assert!(pointers("").contains(&"/omero".to_owned()));
    }
}
