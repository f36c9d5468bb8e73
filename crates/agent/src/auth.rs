//! Who asks: a token in the head of the request, or the certificate of the connection.

use crate::access::{self, Grant, May, Zones};
use crate::config::{Config, Listen};
use crate::queue::{Job, Scope};
use irods_omero_model::form::Problem;
use irods_omero_model::form::{Form, Problems};
use rustix::fs::OFlags;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use subtle::ConstantTimeEq;

/// A caller.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its name, for jobs, history and log.
    pub name: String,
    /// What it may do, for which zones, files and users.
    pub grant: Grant,
    /// Whose jobs it sees, by the names of those who submitted them; `None`: everybody's, within its zones.
    pub sees: Option<Vec<String>>,
}

impl Client {
    /// The jobs it sees.
    pub fn scope(&self) -> Scope {
        Scope { zones: self.grant.zones.filter(), callers: self.sees.clone() }
    }

    /// The jobs it sees of one zone.
    pub fn scope_of(&self, zone: String) -> Scope {
        let zones = if self.grant.zones.allow(&zone) { vec![zone] } else { Vec::new() };
        Scope { zones: Some(zones), callers: self.sees.clone() }
    }

    /// Whether it sees a job.
    pub fn sees_job(&self, job: &Job) -> bool {
        self.grant.zones.allow(&job.zone)
            && self.sees.as_ref().is_none_or(|names| names.contains(&job.caller))
    }

    /// Whether it may have data imported as an OMERO user, as far as its own section goes.
    ///
    /// # Errors
    /// A sentence with the remedy.
    pub fn check_user(&self, user: &str) -> Result<(), String> {
        if self.grant.users.as_ref().is_none_or(|users| users.allows(user)) {
            return Ok(());
        }
        Err(format!(
            "{} may not have data imported as the OMERO user '{user}': the administrator of the agent can add the user to \
             'users' in the section of this caller",
            self.name
        ))
    }

    /// The directories below which the files are that it may submit, of those that the agent opens at all.
    pub fn roots<'a>(&'a self, all: &'a [PathBuf]) -> &'a [PathBuf] {
        self.grant.roots.as_deref().unwrap_or(all)
    }
}

/// SHA-256 of a token, and whose it is.
type Token = ([u8; 32], Arc<Client>);

/// All callers.
#[derive(Debug, Default)]
pub struct Clients {
    tokens: Vec<Token>,
    certificates: Vec<Arc<Client>>,
    /// Who everybody is, on a socket without tokens.
    anybody: Option<Arc<Client>>,
}

/// What makes a caller known.
enum Credential {
    Token([u8; 32]),
    Certificate,
}

/// A caller's section: where it stands, its name, what makes it known, and what it may do.
struct Section {
    place: String,
    name: String,
    credential: Credential,
    grant: Grant,
}

/// The shortest token that is accepted, in bytes.
const MIN_TOKEN_BYTES: usize = 24;

/// The name of whoever opens a socket without tokens.
const ANYBODY: &str = "the socket's group";

impl Clients {
    /// Reads the callers a configuration names.
    ///
    /// # Errors
    /// Every problem found in the file of tokens and in what callers may do.
    pub fn read(config: &Config) -> Result<Self, Vec<Problem>> {
        let mut sections = config.tokens_file.as_deref().map_or_else(|| Ok(Vec::new()), read_tokens)?;
        sections.extend(config.certificates.iter().map(|c| Section {
            place: c.pointer.clone(),
            name: c.name.clone(),
            credential: Credential::Certificate,
            grant: c.grant.clone(),
        }));
        let problems = problems_of(&sections, &config.roots);
        if !problems.is_empty() {
            return Err(problems);
        }
        let grants: Vec<_> = sections.iter().map(|s| (s.name.clone(), s.grant.clone())).collect();
        let mut clients = Self::default();
        for Section { name, credential, grant, .. } in sections {
            let sees = access::sees(&grant, &grants);
            let client = Arc::new(Client { name, grant, sees });
            match credential {
                Credential::Token(digest) => clients.tokens.push((digest, client)),
                Credential::Certificate => clients.certificates.push(client),
            }
        }
        if config.tokens_file.is_none() && matches!(config.listen, Listen::Unix(_)) {
            let grant = Grant { may: May::Submit, zones: Zones::All, roots: None, users: None };
            clients.anybody = Some(Arc::new(Client { name: ANYBODY.to_owned(), grant, sees: None }));
        }
        Ok(clients)
    }

    /// Whether callers are known by tokens.
    pub fn have_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// The caller of a name.
    pub fn named(&self, name: &str) -> Option<&Client> {
        let with_tokens = self.tokens.iter().map(|(_, client)| client);
        let mut all = with_tokens.chain(&self.certificates).chain(&self.anybody);
        all.find(|client| client.name == name).map(|client| &**client)
    }

    /// The caller whose token has this SHA-256.
    pub fn with_token(&self, digest: &[u8; 32]) -> Option<Arc<Client>> {
        // All are compared, so that the time taken tells nothing.
        let fits = |(known, client): &Token| bool::from(known.ct_eq(digest)).then(|| Arc::clone(client));
        self.tokens.iter().map(fits).fold(None, Option::or)
    }

    /// The caller with this header `Authorization: Bearer TOKEN`.
    pub fn with_authorization(&self, value: &[u8]) -> Option<Arc<Client>> {
        let (scheme, token) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| self.with_token(&digest_of(token.trim_ascii())))?
    }

    /// The caller who shows nothing in the request itself: by one of the names in the certificate of the connection, or
    /// because anybody may ask who can open the socket. A browser brings this along with every request, whichever page
    /// made it.
    pub fn by_connection(&self, names: &[String]) -> Option<Arc<Client>> {
        let is_shown = |client: &&Arc<Client>| names.contains(&client.name);
        self.certificates.iter().find(is_shown).or(self.anybody.as_ref()).cloned()
    }
}

/// What is wrong with the callers together.
fn problems_of(sections: &[Section], roots: &[PathBuf]) -> Vec<Problem> {
    let problems = Problems::default();
    let mut names = HashSet::new();
    let submitting = sections.iter().filter(|s| s.grant.may == May::Submit).count();
    for Section { place, name, grant, .. } in sections {
        if !names.insert(name) || name == ANYBODY {
            problems
                .add(place, format_args!("there is another caller of the name '{name}': give each its own"));
        }
        for root in grant.roots.iter().flatten().filter(|root| !access::is_within(root, roots)) {
            problems.add(
                &format!("{place}/roots"),
                format_args!("{} lies below none of the agent's own 'roots'", root.display()),
            );
        }
        if grant.may != May::Submit || submitting < 2 {
            continue;
        }
        let why = "several callers may submit, so each says for itself";
        if grant.roots.is_none() {
            let missing =
                format!("is missing: {why} below which directories its files are, as in [\"/srv/vault\"]");
            problems.add(&format!("{place}/roots"), missing);
        }
        if grant.users.is_none() {
            let missing = format!("is missing: {why} as which OMERO users, as in {{ match = \"[a-z]+\" }}");
            problems.add(&format!("{place}/users"), missing);
        }
    }
    problems.into_inner()
}

/// SHA-256 of a token or of another secret.
pub fn digest_of(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

fn read_tokens(path: &Path) -> Result<Vec<Section>, Vec<Problem>> {
    let whole = |message: String| vec![Problem { pointer: path.display().to_string(), message }];
    let text = secret_text(path).map_err(whole)?;
    // What the parser says would show the line, which may hold a token.
    let value: Value = toml::from_str(&text).map_err(|e| whole(format!("is no TOML: {}", e.message())))?;
    let problems = Problems::default();
    let mut sections = Vec::new();
    if let Some(table) = value.as_object() {
        for (name, value) in table {
            if let Some(form) = Form::open(format!("{}: /{name}", path.display()), value, &problems) {
                sections.extend(section(name, form));
            }
        }
    }
    let mut problems = problems.into_inner();
    let digest = |s: &Section| match s.credential {
        Credential::Token(digest) => digest,
        Credential::Certificate => [0; 32],
    };
    let digests: HashSet<_> = sections.iter().map(digest).collect();
    if digests.len() < sections.len() {
        problems.extend(whole("gives the same token to two callers".to_owned()));
    }
    if sections.is_empty() && problems.is_empty() {
        problems.extend(whole("names no caller: write a table [NAME] with 'token' and 'zones'".to_owned()));
    }
    if problems.is_empty() { Ok(sections) } else { Err(problems) }
}

/// The longest file of secrets, in bytes.
const MAX_SECRETS: u64 = 4 << 20;

/// The text of a file that holds secrets: one that only root or the agent's account can change, and nobody else read.
///
/// # Errors
/// What is wrong with it; never a word of what is in it.
pub fn secret_text(path: &Path) -> Result<String, String> {
    let cannot = |e: std::io::Error| format!("cannot be read: {e}");
    // Should it be a pipe, nobody is waited for; what is looked at is what is read.
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(cannot)?;
    let about = file.metadata().map_err(cannot)?;
    if !about.is_file() {
        return Err("is not a regular file".to_owned());
    }
    // A credential of systemd is kept from others by its directory.
    let credential = std::env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|d| path.starts_with(d));
    let own = rustix::process::geteuid().as_raw();
    if !credential && (about.permissions().mode() & 0o037 != 0 || ![0, own].contains(&about.uid())) {
        return Err(
            "holds secrets: it must belong to root or the agent's account and have mode 0640 or less"
                .to_owned(),
        );
    }
    let mut text = String::new();
    file.take(MAX_SECRETS).read_to_string(&mut text).map_err(cannot)?;
    Ok(text)
}

fn section(name: &str, form: Form<'_>) -> Option<Section> {
    let digest = token(&form);
    let grant = Grant::read(&form);
    let place = form.at("").trim_end_matches('/').to_owned();
    form.close();
    let credential = Credential::Token(digest?);
    Some(Section { place, name: name.to_owned(), credential, grant: grant? })
}

/// SHA-256 of the token of a section.
fn token(form: &Form<'_>) -> Option<[u8; 32]> {
    match (form.text("token"), form.text("sha256")) {
        (Some(token), None) if token.len() >= MIN_TOKEN_BYTES && token.trim() == token => {
            Some(digest_of(token.as_bytes()))
        }
        (Some(_), None) => {
            form.problem(
                "token",
                format_args!(
                    "is shorter than {MIN_TOKEN_BYTES} characters: make one with 'openssl rand -hex 32'"
                ),
            );
            None
        }
        (None, Some(hex)) => {
            let digest = from_hex(hex);
            if digest.is_none() {
                form.problem(
                    "sha256",
                    "must be the 64 hexadecimal digits that sha256sum prints of the token",
                );
            }
            digest
        }
        _ => {
            form.missing("token", "give the token, or its SHA-256 in 'sha256'");
            None
        }
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(bytes)
}

/// How many requests each caller still may make: a bucket that fills with time.
#[derive(Debug, Default)]
pub struct Rates(Mutex<HashMap<String, (f64, Instant)>>);

impl Rates {
    /// Whether a caller may make one request more, where it may make `rate` in a second.
    pub fn allow(&self, name: &str, rate: u32, now: Instant) -> bool {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = f64::from(rate);
        let (left, last) = buckets.entry(name.to_owned()).or_insert((rate, now));
        *left = (*left + now.saturating_duration_since(*last).as_secs_f64() * rate).min(rate);
        *last = now;
        let allowed = *left >= 1.0;
        if allowed {
            *left -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::Duration;

    fn clients(tokens: &str, mode: u32, config: &str) -> Result<Clients, Vec<Problem>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.toml");
        fs::write(&path, tokens).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let config = format!(
            "tokens_file = \"{}\"\nroots = [\"/v\"]\n{config}\n[users]\nmatch = \".+\"\n[[omero]]\nserver = \"h\"\n\
             sudo_user = \"s\"\npassword_file = \"/p\"\n[omero.importer]\ncommand = \"/c\"\njars = \"/j\"\nlogback = \"/l\"\n",
            path.display()
        );
        Clients::read(&Config::parse(&config).unwrap())
    }

    fn text(problems: &[Problem]) -> String {
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    const TWO: &str = r#"
        [irods1]
        token = "0123456789abcdef0123456789abcdef"
        zones = ["zone1"]
        roots = ["/v/1"]
        users = { allow = ["alice"] }
        [irods2]
        sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
        zones = ["*"]
        roots = ["/v/2"]
        users = { match = ".+" }
    "#;

    const CERTIFICATE: &str = "[tls]\ncertificate = \"/c\"\nkey = \"/k\"\nclient_ca = \"/a\"\n[[certificates]]\n\
                               name = \"C.example.org\"\nzones = [\"*\"]\nroots = [\"/v\"]\nusers = { match = \".+\" }\n";

    #[test]
    fn a_caller_is_known_by_token_or_certificate_and_by_nothing_else() {
        let clients = clients(TWO, 0o600, CERTIFICATE).unwrap();
        let token = |head: &str| clients.with_authorization(head.as_bytes()).map(|c| c.name.clone());
        assert_eq!(token("Bearer 0123456789abcdef0123456789abcdef").as_deref(), Some("irods1"));
        assert_eq!(token("bearer test").as_deref(), Some("irods2"));
        for bad in ["", "Bearer", "Bearer ", "Bearer 0123456789abcdef0123456789abcde", "Basic test"] {
            assert_eq!(token(bad), None, "{bad}");
        }
        let by = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            clients.by_connection(&names).map(|c| c.name.clone())
        };
        assert_eq!(by(&["x.example.org", "c.example.org"]).as_deref(), Some("c.example.org"));
        for names in [&[][..], &["d.example.org"], &["*.example.org"], &["irods1"]] {
            assert_eq!(by(names), None, "{names:?}");
        }
    }

    #[test]
    fn a_file_of_tokens_is_refused_for_its_mode_and_for_every_mistake_without_showing_a_token() {
        assert!(clients(TWO, 0o644, "").is_err() && clients("", 0o600, "").is_err());
        let wrong = "[a]\ntoken = \"tooshort\"\nzones = []\n[b]\nsha256 = \"zz\"\nzones = [\"z\"]\nx = 1\n[c]\nzones = [\"z\"]\n\
                     may = \"everything\"\nroots = [\"/\"]\nusers = { match = \"(\" }";
        let found = text(&clients(wrong, 0o600, "").unwrap_err());
        for place in [
            "/a/token",
            "/a/zones",
            "/b/sha256",
            "/b/x",
            "/c/token",
            "/c/may",
            "/c/roots/0",
            "/c/users/match",
        ] {
            assert!(found.contains(place), "{place}: {found}");
        }
        assert!(!found.contains("tooshort"), "{found}");
        let broken = clients("[a]\ntoken = \"secret", 0o600, "").unwrap_err();
        assert!(!broken[0].message.contains("secret"), "{broken:?}");
    }

    #[test]
    fn several_callers_that_may_submit_each_name_their_own_roots_and_users() {
        let lines = |drop: &[&str]| -> String {
            let kept = TWO.lines().filter(|line| !drop.iter().any(|word| line.contains(word)));
            kept.collect::<Vec<_>>().join("\n")
        };
        let found = text(&clients(&lines(&["roots", "users"]), 0o600, "").unwrap_err());
        for place in ["/irods1/roots", "/irods1/users", "/irods2/roots", "/irods2/users"] {
            assert!(found.contains(place), "{place}: {found}");
        }
        // A caller that only looks needs none, and beside it one that submits is alone.
        let read = lines(&["roots", "users"]).replace("zones = [\"*\"]", "zones = [\"*\"]\nmay = \"read\"");
        assert!(clients(&read, 0o600, "").is_ok());
        let outside = TWO.replace("/v/2", "/w");
        assert!(text(&clients(&outside, 0o600, "").unwrap_err()).contains("/irods2/roots"));
        let same = CERTIFICATE.replace("C.example.org", "irods1");
        assert!(text(&clients(TWO, 0o600, &same).unwrap_err()).contains("another caller of the name"));
    }

    #[test]
    fn a_caller_that_asks_too_much_waits_and_others_do_not() {
        let (rates, start) = (Rates::default(), Instant::now());
        let many = (0..10).filter(|_| rates.allow("a", 3, start)).count();
        assert_eq!((many, rates.allow("b", 3, start)), (3, true));
        assert!(rates.allow("a", 3, start + Duration::from_millis(400)));
        assert!(!rates.allow("a", 3, start + Duration::from_millis(400)));
    }
}
