//! Who a person is that asks from OMERO: OMERO says it, of the session they show. Nobody names a user.
//!
//! The key of the session is used for what is asked with it, and then forgotten. What is remembered for some seconds is whose it
//! was, under a digest of the key, so that a script that waits does not have OMERO asked each time.

use super::guard::{Gate, Known, Level};
use super::{App, Problem};
use crate::auth::digest_of;
use crate::config::Config;
use crate::live::Loaded;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use irods_omero_importer::Observer;
use irods_omero_importer::saves::{ChooseError, Visitor};
use irods_omero_importer::worker::SessionKey;
use irods_omero_model::names::OmeroName;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

const SESSION: HeaderName = HeaderName::from_static("omero-session");
const SERVER: HeaderName = HeaderName::from_static("omero-server");

/// How long whose a session is may be told from memory.
const AGE: Duration = Duration::from_secs(20);

/// How many sessions are remembered.
const REMEMBERED: usize = 1_000;

/// How long OMERO may take to say whose a session is.
const LIMIT: Duration = Duration::from_secs(60);

/// The most requests of people in a second, all together: each may cost a login at OMERO.
const RATE: u32 = 50;

/// The name under which they are counted; no caller of a configuration has it.
const COUNTED_AS: &str = "\0people";

/// A session at a server, as a digest of its key.
type SessionOf = ([u8; 32], String);

/// Whose sessions are, for some seconds.
#[derive(Debug, Default)]
pub struct People(Mutex<HashMap<SessionOf, (OmeroName, Instant)>>);

impl People {
    fn find(&self, key: &SessionOf) -> Option<OmeroName> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).filter(|(_, when)| when.elapsed() < AGE).map(|(user, _)| user.clone())
    }

    fn note(&self, key: SessionOf, user: OmeroName) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (_, when)| when.elapsed() < AGE);
        if known.len() < REMEMBERED {
            known.insert(key, (user, Instant::now()));
        }
    }
}

/// A request of a person who is known by their session in OMERO.
pub struct Person {
    /// The agent.
    pub app: App,
    /// The agent's name of the OMERO server.
    pub server: String,
    /// Who they are.
    pub user: OmeroName,
    /// Their session.
    pub key: SessionKey,
}

/// Ends the asking when the agent ends.
#[derive(Debug)]
pub(super) struct UntilTheEnd(pub tokio::sync::watch::Receiver<bool>);

impl Observer for UntilTheEnd {
    fn stderr(&self, _: &[u8]) {}

    fn stop(&self) -> bool {
        *self.0.borrow()
    }
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, detail)
}

/// The one value of a header; an error where there are several or it is no text.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Problem> {
    let mut values = headers.get_all(name).into_iter();
    let bad =
        || Problem::new(StatusCode::BAD_REQUEST, format!("the header '{name}' is needed once, as text"));
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| bad()),
        (Some(_), Some(_)) => Err(bad()),
    }
}

/// Whether a request shows a session in OMERO.
pub(super) fn shows_session(headers: &HeaderMap) -> bool {
    headers.contains_key(SESSION)
}

/// A key in the form OMERO gives it, a UUID. OMERO joins a session by a login with the key as name and password: what could be
/// an account never gets there.
fn session_key(text: &str) -> Option<SessionKey> {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    let is_uuid = lengths == [8, 4, 4, 4, 12] && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit());
    is_uuid.then(|| SessionKey::parse(text))?
}

/// Whether people may have anything saved.
pub(super) fn check_enabled(config: &Config) -> Result<(), Problem> {
    if config.save.enabled {
        return Ok(());
    }
    let detail = "nothing is saved from OMERO to iRODS here: the administrator of the agent can set 'enabled = true' in [save]";
    Err(Problem::new(StatusCode::FORBIDDEN, detail))
}

impl FromRequestParts<Gate> for Person {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gate: &Gate) -> Result<Self, Problem> {
        let app = gate.person(parts)?;
        if !app.rates.allow(COUNTED_AS, RATE, Instant::now()) {
            let detail = "too many people ask at once: try again in a second";
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail));
        }
        let key = single(&parts.headers, &SESSION)?.ok_or_else(|| {
            unauthorized(
                "show your session in OMERO in the header 'OMERO-Session', as the script in OMERO.web does",
            )
        })?;
        let key = session_key(key)
            .ok_or_else(|| unauthorized("the header 'OMERO-Session' holds no key of a session"))?;
        let loaded = app.live.get();
        check_enabled(&loaded.config)?;
        let server = super::jobs::server_of(&loaded.config, single(&parts.headers, &SERVER)?)?;
        let known = (digest_of(key.as_str().as_bytes()), server.clone());
        let user = if let Some(user) = app.people.find(&known) {
            user
        } else {
            let user = ask(&app, loaded, &server, &key).await?;
            app.people.note(known, user.clone());
            user
        };
        Ok(Self { app, server, user, key })
    }
}

async fn ask(app: &App, loaded: Arc<Loaded>, server: &str, key: &SessionKey) -> Result<OmeroName, Problem> {
    let (server, key) = (server.to_owned(), key.clone());
    in_session(app, &app.visits, move |app| {
        with_visitor(app, &loaded.config, &server, &key, LIMIT, |visitor| Ok(visitor.user().clone()))
    })
    .await
}

/// Asks OMERO in the session of a person.
pub(super) fn with_visitor<T>(
    app: &App,
    config: &Config,
    server: &str,
    key: &SessionKey,
    limit: Duration,
    question: impl FnOnce(&Visitor<'_>) -> Result<T, ChooseError>,
) -> Result<T, ChooseError> {
    let Some(omero) = config.servers.get(server) else {
        return Err(ChooseError::WillPass(format!("this agent has no OMERO server '{server}' any more")));
    };
    let worker = app.runner.worker(omero);
    let observer = UntilTheEnd(app.ending.clone());
    let visitor = Visitor::join(&*worker, omero, key, limit, &observer)?;
    question(&visitor)
}

/// Runs a question to OMERO beside the rest, some at a time.
pub(super) async fn in_session<T: Send + 'static>(
    app: &App,
    room: &Arc<Semaphore>,
    question: impl FnOnce(&App) -> Result<T, ChooseError> + Send + 'static,
) -> Result<T, Problem> {
    let place = Arc::clone(room).try_acquire_owned().map_err(|_| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "OMERO is being asked for other people: try again")
    })?;
    let app = app.clone();
    // The place is held until the question has ended, also where whoever asked has gone.
    let work = move || {
        let answer = question(&app);
        drop(place);
        answer
    };
    let inside =
        |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the agent failed inside while it asked OMERO");
    tokio::task::spawn_blocking(work).await.map_err(inside)?.map_err(|error| {
        let status = match &error {
            ChooseError::NoSession => StatusCode::UNAUTHORIZED,
            ChooseError::WillPass(_) => StatusCode::SERVICE_UNAVAILABLE,
            ChooseError::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Problem::new(status, error.to_string())
    })
}

/// A person who is known by their session, or a program with a token or certificate that may do what the route does. A request
/// that shows a session is judged by that alone.
pub enum Asker<L> {
    /// A person.
    Person(Box<Person>),
    /// A program.
    Caller(Box<Known<L>>),
}

impl<L: Level> FromRequestParts<Gate> for Asker<L> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gate: &Gate) -> Result<Self, Problem> {
        if shows_session(&parts.headers) {
            Ok(Self::Person(Box::new(Person::from_request_parts(parts, gate).await?)))
        } else {
            Ok(Self::Caller(Box::new(Known::from_request_parts(parts, gate).await?)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_the_form_of_a_key_is_one() {
        assert!(session_key("8b11ac08-ddd6-4d32-ab20-b32946d6b407").is_some());
        for bad in [
            "",
            "root",
            "ann",
            "8b11ac08-ddd6-4d32-ab20-b32946d6b40",
            "8b11ac08-ddd6-4d32-ab20-b32946d6b407 ",
            "8b11ac08ddd64d32ab20b32946d6b407",
            "zb11ac08-ddd6-4d32-ab20-b32946d6b407",
            "-8b11ac0-ddd6-4d32-ab20-b32946d6b407-",
        ] {
            assert!(session_key(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn whose_a_session_is_is_told_from_memory_for_that_server_alone() {
        let people = People::default();
        let (key, ann) = (digest_of(b"k"), OmeroName::parse("ann").unwrap());
        people.note((key, "a".to_owned()), ann.clone());
        assert_eq!(people.find(&(key, "a".to_owned())), Some(ann));
        assert_eq!(people.find(&(key, "b".to_owned())), None);
        assert_eq!(people.find(&(digest_of(b"l"), "a".to_owned())), None);
    }
}
