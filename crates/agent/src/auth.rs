//! Who asks: a token in the head of the request, or the certificate of the connection.

use crate::config::{CertificateClient, Config, Listen, Zones, zones};
use irods_omero_model::form::Problem;
use irods_omero_model::form::{Form, Problems};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use subtle::ConstantTimeEq;

/// A caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its name, for history and log.
    pub name: String,
    /// For which zones it may speak.
    pub zones: Zones,
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

/// The shortest token that is accepted, in bytes.
const MIN_TOKEN_BYTES: usize = 24;

impl Clients {
    /// Reads the callers a configuration names.
    ///
    /// # Errors
    /// Every problem found in the file of tokens.
    pub fn read(config: &Config) -> Result<Self, Vec<Problem>> {
        let tokens = config.tokens_file.as_deref().map_or_else(|| Ok(Vec::new()), read_tokens)?;
        let of = |c: &CertificateClient| Arc::new(Client { name: c.name.clone(), zones: c.zones.clone() });
        let certificates = config.certificates.iter().map(of).collect();
        let open = config.tokens_file.is_none() && matches!(config.listen, Listen::Unix(_));
        let anybody =
            open.then(|| Arc::new(Client { name: "the socket's group".to_owned(), zones: Zones::All }));
        Ok(Self { tokens, certificates, anybody })
    }

    /// The names a certificate may bear.
    pub fn certificate_names(&self) -> impl Iterator<Item = &str> {
        self.certificates.iter().map(|c| c.name.as_str())
    }

    /// Whether callers are known by tokens.
    pub fn have_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// The caller whose token has this SHA-256.
    pub fn with_token(&self, digest: &[u8; 32]) -> Option<Arc<Client>> {
        // All are compared, so that the time taken tells nothing.
        let fits = |(known, client): &Token| bool::from(known.ct_eq(digest)).then(|| Arc::clone(client));
        self.tokens.iter().map(fits).fold(None, Option::or)
    }

    /// The caller with this head `Authorization`, on a connection with a certificate of this name.
    pub fn who(&self, authorization: Option<&[u8]>, certificate: Option<&str>) -> Option<Arc<Client>> {
        if let Some(value) = authorization {
            let (scheme, token) = value.split_at_checked(7)?;
            if !scheme.eq_ignore_ascii_case(b"bearer ") {
                return None;
            }
            return self.with_token(&digest_of(token.trim_ascii()));
        }
        match certificate {
            Some(name) => self.certificates.iter().find(|c| c.name == name).cloned(),
            None => self.anybody.clone(),
        }
    }
}

/// SHA-256 of a token or of another secret.
pub fn digest_of(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

fn read_tokens(path: &Path) -> Result<Vec<Token>, Vec<Problem>> {
    let whole = |message: String| vec![Problem { pointer: path.display().to_string(), message }];
    let about = std::fs::metadata(path).map_err(|e| whole(format!("cannot be read: {e}")))?;
    // A credential of systemd is kept from others by its directory.
    let credential = std::env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|d| path.starts_with(d));
    let own = rustix::process::geteuid().as_raw();
    if !credential && (about.permissions().mode() & 0o037 != 0 || ![0, own].contains(&about.uid())) {
        return Err(whole(
            "holds secrets: it must belong to root or the agent's account and have mode 0640 or less"
                .to_owned(),
        ));
    }
    let text = std::fs::read_to_string(path).map_err(|e| whole(format!("cannot be read: {e}")))?;
    // What the parser says would show the line, which may hold a token.
    let value: Value = toml::from_str(&text).map_err(|e| whole(format!("is no TOML: {}", e.message())))?;
    let problems = Problems::default();
    let mut tokens = Vec::new();
    if let Some(table) = value.as_object() {
        for (name, value) in table {
            if let Some(form) = Form::open(format!("{}: /{name}", path.display()), value, &problems) {
                tokens.extend(token(name, form));
            }
        }
    }
    let mut problems = problems.into_inner();
    let digests: std::collections::HashSet<_> = tokens.iter().map(|(d, _)| *d).collect();
    if digests.len() < tokens.len() {
        problems.extend(whole("gives the same token to two callers".to_owned()));
    }
    if tokens.is_empty() && problems.is_empty() {
        problems.extend(whole("names no caller: write a table [NAME] with 'token' and 'zones'".to_owned()));
    }
    if problems.is_empty() { Ok(tokens) } else { Err(problems) }
}

fn token(name: &str, form: Form<'_>) -> Option<Token> {
    let plain = form.text("token");
    let hash = form.text("sha256");
    let digest = match (plain, hash) {
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
    };
    let zones = zones(&form);
    form.close();
    Some((digest?, Arc::new(Client { name: name.to_owned(), zones: zones? })))
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

    fn tokens(text: &str, mode: u32) -> Result<Vec<Token>, Vec<Problem>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        read_tokens(&path)
    }

    const TWO: &str = r#"
        [irods1]
        token = "0123456789abcdef0123456789abcdef"
        zones = ["zone1"]
        [irods2]
        sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
        zones = ["*"]
    "#;

    #[test]
    fn a_caller_is_known_by_token_or_certificate_and_by_nothing_else() {
        let certificates = vec![Arc::new(Client { name: "c.example.org".to_owned(), zones: Zones::All })];
        let clients = Clients { tokens: tokens(TWO, 0o600).unwrap(), certificates, anybody: None };
        let name = |head: Option<&str>, certificate| {
            clients.who(head.map(str::as_bytes), certificate).map(|c| c.name.clone())
        };
        assert_eq!(name(Some("Bearer 0123456789abcdef0123456789abcdef"), None).as_deref(), Some("irods1"));
        assert_eq!(name(Some("bearer test"), None).as_deref(), Some("irods2"));
        assert_eq!(name(None, Some("c.example.org")).as_deref(), Some("c.example.org"));
        for bad in ["", "Bearer", "Bearer ", "Bearer 0123456789abcdef0123456789abcde", "Basic test"] {
            assert_eq!(name(Some(bad), Some("c.example.org")), None, "{bad}");
        }
        assert_eq!((name(None, None), name(None, Some("d.example.org"))), (None, None));
    }

    #[test]
    fn a_file_of_tokens_is_refused_for_its_mode_and_for_every_mistake_without_showing_a_token() {
        assert!(tokens(TWO, 0o644).is_err() && tokens("", 0o600).is_err());
        let wrong = "[a]\ntoken = \"tooshort\"\nzones = []\n[b]\nsha256 = \"zz\"\nzones = [\"z\"]\nx = 1\n[c]\nzones = [\"z\"]";
        let problems = tokens(wrong, 0o600).unwrap_err();
        let text = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        for place in ["/a/token", "/a/zones", "/b/sha256", "/b/x", "/c/token"] {
            assert!(text.contains(place), "{place}: {text}");
        }
        assert!(!text.contains("tooshort"), "{text}");
        let broken = tokens("[a]\ntoken = \"secret", 0o600).unwrap_err();
        assert!(!broken[0].message.contains("secret"), "{broken:?}");
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
