//! Logging in: which stored session is used, when a new one is made, and what
//! is printed where. Follows the order of decisions of omero-py, since its
//! surprises are what a caller has to live with.

use std::path::{Path, PathBuf};

use crate::args::Namespace;
use crate::fault::Faults;
use crate::store::{Context, Refusal, Store};
use crate::{Stop, die};

const PORT: &str = "4064";

/// The directory of session files: `HOST/USER/UUID` and the `._LAST*` notes.
pub struct SessionFiles {
    dir: PathBuf,
}

/// The last used host, user, session and port.
#[derive(Default, Clone)]
pub struct Last {
    pub host: Option<String>,
    pub user: Option<String>,
    pub session: Option<String>,
    pub port: String,
}

type Props = Vec<(String, String)>;

fn prop<'a>(props: &'a Props, key: &str) -> Option<&'a str> {
    props.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
}

fn set(props: &mut Props, key: &str, value: &str) {
    match props.iter_mut().find(|(k, _)| k == key) {
        Some((_, v)) => value.clone_into(v),
        None => props.push((key.to_owned(), value.to_owned())),
    }
}

/// Percent-encodes everything but unreserved characters.
fn escape_host(host: &str) -> String {
    host.bytes().fold(String::new(), |s, b| {
        if b.is_ascii_alphanumeric() || b"_.-~".contains(&b) {
            s + &char::from(b).to_string()
        } else {
            s + &format!("%{b:02X}")
        }
    })
}

/// The base of what omero keeps for a user: `OMERO_USERDIR` or `~/omero`.
pub fn user_dir() -> PathBuf {
    std::env::var_os("OMERO_USERDIR").filter(|v| !v.is_empty()).map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/".into())).join("omero"),
        PathBuf::from,
    )
}

fn text(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|t| t.trim().to_owned())
}

impl SessionFiles {
    /// Opens (makes) the directory; exit 155 when that is not possible.
    pub fn open() -> Result<Self, Stop> {
        use std::os::unix::fs::PermissionsExt;
        let dir = std::env::var_os("OMERO_SESSIONDIR")
            .filter(|v| !v.is_empty())
            .map_or_else(|| user_dir().join("sessions"), PathBuf::from);
        if let Err(e) = std::fs::create_dir_all(&dir) {
            let first = missing_part(&dir);
            let _ = e;
            return Err(die(155, format!("Could not access session dir: {}", first.display())));
        }
        if std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).is_err() {
            say!("WARN: failed to chmod {}", dir.display());
        }
        Ok(Self { dir })
    }

    fn host_dir(&self, host: &str) -> PathBuf {
        self.dir.join(escape_host(host))
    }

    pub fn file(&self, host: &str, user: &str, session: &str) -> PathBuf {
        self.host_dir(host).join(user).join(session)
    }

    pub fn last(&self) -> Last {
        let host = text(&self.dir.join("._LASTHOST_")).filter(|h| !h.is_empty());
        let user = host.as_ref().and_then(|h| text(&self.host_dir(h).join("._LASTUSER_")));
        let session = match (&host, &user) {
            (Some(h), Some(u)) if !u.is_empty() => text(&self.host_dir(h).join(u).join("._LASTSESS_")),
            _ => None,
        };
        let port =
            text(&self.dir.join("._LASTPORT_")).filter(|p| !p.is_empty()).unwrap_or_else(|| PORT.into());
        Last { host, user, session, port }
    }

    fn add(
        &self,
        host: &str,
        user: &str,
        session: &str,
        mut props: Props,
        sudo: Option<&str>,
    ) -> std::io::Result<()> {
        set(&mut props, "omero.host", host);
        set(&mut props, "omero.user", user);
        set(&mut props, "omero.sess", session);
        if let Some(s) = sudo {
            set(&mut props, "omero.sudo", s);
        }
        let lines: String = props.iter().map(|(k, v)| format!("{k}={v}\n")).collect();
        let file = self.file(host, user, session);
        std::fs::create_dir_all(self.host_dir(host).join(user))?;
        std::fs::write(file, lines)
    }

    fn set_last(&self, host: &str, user: &str, session: &str, props: &Props) -> std::io::Result<()> {
        std::fs::create_dir_all(self.host_dir(host).join(user))?;
        std::fs::write(self.dir.join("._LASTHOST_"), host)?;
        std::fs::write(self.dir.join("._LASTPORT_"), prop(props, "omero.port").unwrap_or(PORT))?;
        std::fs::write(self.host_dir(host).join("._LASTUSER_"), user)?;
        std::fs::write(self.host_dir(host).join(user).join("._LASTSESS_"), session)
    }

    fn get(&self, host: &str, user: &str, session: &str) -> std::io::Result<Props> {
        let text = std::fs::read_to_string(self.file(host, user, session))?;
        Ok(text
            .split('\n')
            .filter(|l| !l.is_empty())
            .map(|l| l.split_once('=').unwrap_or((l, "")))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect())
    }

    /// Where the wanted port or group differs from the stored session's.
    fn conflicts(
        &self,
        host: &str,
        user: &str,
        session: &str,
        new: &Props,
        ignore_nulls: bool,
    ) -> std::io::Result<String> {
        let old = self.get(host, user, session)?;
        let mut found = Vec::new();
        for key in ["omero.port", "omero.group"] {
            let (o, n) = (prop(&old, key), prop(new, key));
            let default_port =
                key == "omero.port" && ((o.is_none() && n == Some(PORT)) || (n.is_none() && o == Some(PORT)));
            if (ignore_nulls && n.is_none()) || default_port || o == n {
                continue;
            }
            found.push(format!("{key}: {}!={}", o.unwrap_or("None"), n.unwrap_or("None")));
        }
        Ok(found.join("; "))
    }

    /// Removes a session's file, and the note of the last session if it is this one.
    pub fn remove(&self, host: &str, user: &str, session: &str) {
        let _ = std::fs::remove_file(self.file(host, user, session));
        let last = self.host_dir(host).join(user).join("._LASTSESS_");
        if text(&last).as_deref() == Some(session) {
            let _ = std::fs::remove_file(last);
        }
    }

    fn available(&self, host: &str, user: &str) -> Vec<String> {
        names(&self.host_dir(host).join(user)).into_iter().filter(|n| !n.starts_with('.')).collect()
    }

    /// All stored sessions: host, user, uuid.
    pub fn all(&self) -> Vec<(String, String, String)> {
        let mut found = Vec::new();
        for host in names(&self.dir) {
            for user in names(&self.dir.join(&host)) {
                for uuid in names(&self.dir.join(&host).join(&user)) {
                    if !uuid.starts_with('.') {
                        found.push((host.clone(), user.clone(), uuid));
                    }
                }
            }
        }
        found
    }

    fn user_of(&self, host: &str, key: &str) -> Option<String> {
        let dir = self.dir.join(host);
        names(&dir).into_iter().find(|u| dir.join(u).join(key).exists())
    }
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut all: Vec<String> =
        entries.filter_map(Result::ok).map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    all.sort();
    all
}

/// The first part of a path that does not exist and cannot be made.
fn missing_part(dir: &Path) -> PathBuf {
    let mut at = dir.to_owned();
    while let Some(parent) = at.parent() {
        if parent.exists() {
            break;
        }
        at = parent.to_owned();
    }
    at
}

/// A logged-in client.
pub struct Client {
    pub store: Store,
    pub context: Context,
    pub host: String,
    pub port: String,
}

/// `[user@]server[:port]`; the last `@` splits, a port has 1 to 5 digits.
fn parse_connection(text: &str) -> (String, Option<String>, Option<String>) {
    let (user, rest) = match text.rsplit_once('@') {
        Some((u, r)) if !u.is_empty() => (Some(u.to_owned()), r),
        _ => (None, text),
    };
    match rest.rsplit_once(':') {
        Some((s, p)) if (1..=5).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()) => {
            (s.to_owned(), user, Some(p.to_owned()))
        }
        _ => (rest.to_owned(), user, None),
    }
}

/// Why a connection could not be made.
enum Failure {
    Refused,
    Dns,
    Server(Refusal),
}

/// One run's way to the server.
pub struct Connector<'a> {
    pub dir: &'a Path,
    pub faults: &'a mut Faults,
}

impl Connector<'_> {
    fn reach(&self) -> Result<Store, Failure> {
        if self.faults.take("server-down", None, None).is_some() {
            return Err(Failure::Refused);
        }
        if self.faults.take("bad-host", None, None).is_some() {
            return Err(Failure::Dns);
        }
        if self.faults.take("connect-failure", None, None).is_some() {
            return Err(Failure::Server(Refusal::Other("Ice.ConnectTimeoutException".to_owned())));
        }
        Store::open(self.dir).map_err(|e| Failure::Server(Refusal::Other(e)))
    }

    /// Makes a session with a password.
    fn create(
        &self,
        files: &SessionFiles,
        user: &str,
        password: &str,
        props: &Props,
        sudo: Option<&str>,
    ) -> Result<Client, Failure> {
        let store = self.reach()?;
        let group = prop(props, "omero.group");
        let wrong = self.faults.take("wrong-password", None, None).is_some();
        let who = sudo.unwrap_or(user);
        if wrong {
            return Err(Failure::Server(Refusal::Denied(format!("Password check failed for '{who}': []"))));
        }
        let context = match sudo {
            None => store.log_in(user, password, group),
            Some(admin) => store.log_in(admin, password, group).and_then(|a| {
                if self.faults.take("sudo-refused", None, None).is_some() {
                    return Err(Refusal::Security("Admin restrictions: Sudo".to_owned()));
                }
                let rv = store.sudo(&a, user, group, a.idle_ms, 0);
                store.close_session(&a.session)?;
                rv
            }),
        }
        .map_err(Failure::Server)?;
        let client = self.dress(store, context, props);
        let _ = files.add(
            prop(props, "omero.host").unwrap_or_default(),
            &client.context.user_name,
            &client.context.session,
            props.clone(),
            sudo,
        );
        let _ = files.set_last(&client.host, &client.context.user_name, &client.context.session, props);
        Ok(client)
    }

    /// Joins a session by key, as `SessionsStore.attach` does.
    fn join(
        &self,
        files: &SessionFiles,
        key: &str,
        props: &Props,
        new: bool,
        remember: bool,
    ) -> Result<Client, Failure> {
        let store = self.reach()?;
        let context = store.join(key).map_err(Failure::Server)?;
        let client = self.dress(store, context, props);
        if new {
            let _ = files.add(&client.host, &client.context.user_name, key, props.clone(), None);
        }
        if remember {
            let _ = files.set_last(&client.host, &client.context.user_name, key, props);
        }
        Ok(client)
    }

    fn dress(&self, store: Store, mut context: Context, props: &Props) -> Client {
        if let Some(seconds) = prop(props, "omero.timeout").and_then(|t| t.parse::<i64>().ok())
            && seconds > 0
            && seconds * 1000 != context.idle_ms
        {
            let _ = store.set_idle(&context.session, seconds * 1000);
            context.idle_ms = seconds * 1000;
        }
        Client {
            store,
            context,
            host: prop(props, "omero.host").unwrap_or_default().to_owned(),
            port: prop(props, "omero.port").unwrap_or(PORT).to_owned(),
        }
    }

    /// What every command does first: decide on a session and join or make it.
    pub fn log_in(&mut self, args: &Namespace) -> Result<Client, Stop> {
        let files = SessionFiles::open()?;
        let quiet = args.flag("quiet");
        let create = args.flag("create");
        let last = files.last();
        let mut props: Props = Vec::new();
        if let Some(g) = args.str("group") {
            props.push(("omero.group".to_owned(), g.to_owned()));
        }
        let (mut server, mut name, mut port) = wanted(args)?;
        self.faults.user = name.clone().or_else(|| last.user.clone()).unwrap_or_default();
        if self.faults.command != "import" {
            // An import has its own points, in its Java half.
            self.faults.strike("start", None);
            if let Some(f) = self.faults.take("exit", None, None) {
                return Err(Stop::Exit(f.code.unwrap_or(1)));
            }
        }

        if args.str("key").is_none()
            && let (Some(last_host), Some(last_user)) = (&last.host, &last.user)
        {
            let differs = |wanted: &Option<String>, had: &str| wanted.as_deref().is_some_and(|w| w != had);
            if !create
                && !differs(&server, last_host)
                && !differs(&name, last_user)
                && !differs(&port, &last.port)
                && let Some(client) = self.rejoin_last(&files, &last, &props, quiet)
            {
                return Ok(announce(client, "Using", quiet));
            }
        }
        if args.str("key").is_some() && !quiet {
            for (given, message) in [
                (name.is_some(), "Overriding name since session key set"),
                (args.str("group").is_some(), "Ignoring group since session key set"),
                (args.str("password").is_some(), "Ignoring password since session key set"),
            ] {
                if given {
                    complain!("{message}");
                }
            }
        }
        if server.is_none() {
            return Err(die(52, "stdin is not a terminal: cannot request server".to_owned()));
        }
        if let Some(k) = args.str("key") {
            name = Some(k.to_owned());
        }
        let Some(user) = name.take() else {
            return Err(die(52, "stdin is not a terminal: cannot request username".to_owned()));
        };
        let host = server.take().unwrap_or_default();
        set(&mut props, "omero.host", &host);
        set(&mut props, "omero.user", &user);
        if let Some(p) = &port {
            set(&mut props, "omero.port", p);
        }
        if let Some(t) = args.int("timeout").filter(|t| *t != 0) {
            set(&mut props, "omero.timeout", &t.to_string());
        }

        if let Some(key) = args.str("key") {
            return match self.join_key(&files, &host, key, &props) {
                Some(client) => Ok(announce(client, "Joined", quiet)),
                None => {
                    let at = port.take().map_or(host.clone(), |p| format!("{host}:{p}"));
                    Err(die(523, format!("Bad session key. Cannot join {key} on {at}.")))
                }
            };
        }
        if !create {
            let mut joined = None;
            for uuid in files.available(&host, &user) {
                joined = self.check_and_join(&files, &host, &user, &uuid, &props, quiet);
            }
            if let Some(client) = joined {
                return Ok(announce(client, "Reconnected to", quiet));
            }
        }
        let password = args
            .str("password")
            .map(str::to_owned)
            .or_else(|| std::env::var("OMERO_PASSWORD").ok().filter(|p| !p.is_empty()));
        self.with_password(
            &files,
            &user,
            password.as_deref(),
            &props,
            args.str("sudo"),
            (&host, port.as_deref()),
        )
        .map(|c| announce(c, "Created", quiet))
    }

    fn rejoin_last(&self, files: &SessionFiles, last: &Last, props: &Props, quiet: bool) -> Option<Client> {
        let (host, user) = (last.host.as_deref()?, last.user.as_deref()?);
        let attempt = || -> Result<Option<Client>, ()> {
            let Some(session) = last.session.as_deref() else { return Ok(None) };
            let conflicts = files.conflicts(host, user, session, props, true).map_err(|_| ())?;
            if !conflicts.is_empty() {
                return Ok(None);
            }
            let stored = files.get(host, user, session).map_err(|_| ())?;
            self.join(files, session, &stored, false, true).map(Some).map_err(|_| ())
        };
        match attempt() {
            Ok(Some(client)) => Some(client),
            Ok(None) => {
                if !quiet {
                    say!("Previously logged in to {host}:{} as {user}", last.port);
                }
                None
            }
            Err(()) => {
                // Also when the server could not be reached at all, and also
                // with -q: the session file is thrown away.
                say!("Previous session expired for {user} on {host}:{}", last.port);
                if let Some(s) = &last.session {
                    files.remove(host, user, s);
                }
                None
            }
        }
    }

    fn join_key(&self, files: &SessionFiles, host: &str, key: &str, props: &Props) -> Option<Client> {
        match files.user_of(host, key) {
            None => self.join(files, key, props, true, false).ok(),
            Some(user) => {
                let stored = files.get(host, &user, key).ok()?;
                let default = |p: Option<&str>| p.unwrap_or(PORT).to_owned();
                if default(prop(&stored, "omero.port")) != default(prop(props, "omero.port")) {
                    return None;
                }
                let client = self.join(files, key, &stored, false, true).ok();
                if client.is_none() {
                    files.remove(host, &user, key);
                }
                client
            }
        }
    }

    fn check_and_join(
        &self,
        files: &SessionFiles,
        host: &str,
        user: &str,
        uuid: &str,
        props: &Props,
        quiet: bool,
    ) -> Option<Client> {
        let conflicts = files.conflicts(host, user, uuid, props, false).ok()?;
        if !conflicts.is_empty() {
            if !conflicts.contains("omero.port") && !quiet {
                complain!("Skipped session {uuid} due to property conflicts: {conflicts}");
            }
            return None;
        }
        let stored = files.get(host, user, uuid).ok()?;
        let client = self.join(files, uuid, &stored, false, true).ok();
        if client.is_none() {
            // The real command kills it on the server too, which fails as well.
            let _ = std::fs::remove_file(files.file(host, user, uuid));
        }
        client
    }

    fn with_password(
        &self,
        files: &SessionFiles,
        user: &str,
        password: Option<&str>,
        props: &Props,
        sudo: Option<&str>,
        at: (&str, Option<&str>),
    ) -> Result<Client, Stop> {
        let no_terminal = || {
            let m = "stdin is not a terminal: cannot request password";
            complain!("{m}");
            die(556, format!("InternalException: Failed to connect: die called: {m}"))
        };
        let Some(password) = password else { return Err(no_terminal()) };
        self.create(files, user, password, props, sudo).map_err(|f| match f {
            Failure::Refused => {
                let place = at.1.map_or(at.0.to_owned(), |p| format!("{}:{p}", at.0));
                die(554, format!("Ice.ConnectionRefusedException: {place} isn't running"))
            }
            Failure::Dns => die(555, format!("Ice.DNSException: bad host name: '{}'", at.0)),
            Failure::Server(Refusal::Denied(reason)) => {
                complain!("{reason}");
                no_terminal()
            }
            Failure::Server(Refusal::Security(m)) => die(557, format!("SecurityViolation: {m}")),
            Failure::Server(Refusal::Removed(m)) => die(525, format!("User account error: {m}.")),
            Failure::Server(Refusal::Other(m)) => {
                die(556, format!("InternalException: Failed to connect: {m}"))
            }
        })
    }

    /// Ends the last used session, if there is one; never fails.
    pub fn log_out(&mut self) -> Result<(), Stop> {
        let files = SessionFiles::open()?;
        let last = files.last();
        self.faults.user = last.user.clone().unwrap_or_default();
        let (Some(host), Some(user), Some(session)) = (&last.host, &last.user, &last.session) else {
            return Ok(());
        };
        if let Ok(props) = files.get(host, user, session)
            && let Ok(client) = self.join(&files, session, &props, false, true)
        {
            let _ = client.store.close_session(session);
        }
        files.remove(host, user, session);
        Ok(())
    }
}

type Wanted = (Option<String>, Option<String>, Option<String>);

/// Host, user and port as asked for; naming one twice is an error (3, 4, 5).
fn wanted(args: &Namespace) -> Result<Wanted, Stop> {
    let mut server = args.str("connection").map(str::to_owned);
    if let Some(s) = args.str("server") {
        if let Some(first) = &server {
            return Err(die(3, format!("Server specified twice: {first} and {s}")));
        }
        server = Some(s.to_owned());
    }
    let (mut name, mut port) = (None, None);
    if let Some(s) = server {
        let (s, n, p) = parse_connection(&s);
        server = Some(s).filter(|s| !s.is_empty());
        name = n;
        port = p;
    }
    if let Some(u) = args.str("user") {
        if let Some(n) = &name {
            return Err(die(4, format!("Username specified twice: {n} and {u}")));
        }
        name = Some(u.to_owned());
    }
    if let Some(p) = args.str("port") {
        if let Some(first) = &port {
            return Err(die(5, format!("Port specified twice: {first} and {p}")));
        }
        port = Some(p.to_owned());
    }
    Ok((server, name, port))
}

fn announce(client: Client, action: &str, quiet: bool) -> Client {
    if !quiet {
        let c = &client.context;
        complain!(
            "{action} session for {}@{}:{}.{}{} Current group: {}",
            c.user_name,
            client.host,
            client.port,
            span(c.idle_ms, " Idle timeout: "),
            span(c.live_ms, " Expires in : "),
            c.group_name
        );
    }
    client
}

/// A time span as the command prints it: `10 min.`, below five minutes in seconds.
#[allow(clippy::cast_precision_loss)]
fn span(ms: i64, label: &str) -> String {
    if ms == 0 {
        return String::new();
    }
    let minutes = ms as f64 / 60_000.0;
    if minutes < 5.0 {
        format!("{label}{:.0} s.", minutes * 60.0)
    } else {
        format!("{label}{minutes:.0} min.")
    }
}
