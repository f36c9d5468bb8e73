//! The one guard in front of every route. What a handler needs of the agent it gets from an extractor of this module, and
//! from nowhere else: one that asks for no caller cannot be mounted by oversight.
//!
//! A browser brings certificates, cookies and its place on this host along with every request, whichever page made it. So
//! a request has to ask for a host the agent has (no other site's name that leads here), and one that changes something
//! has to come from the agent's own page or from no page, with a content type that no foreign form can send.

use super::{App, Problem};
use crate::access::May;
use crate::auth::Client;
use crate::config::Listen;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

/// The state of all routes. What is in it is given out by the extractors of this module alone.
#[derive(Debug, Clone)]
pub struct Gate(App);

impl Gate {
    /// Before this agent.
    pub fn new(app: App) -> Self {
        Self(app)
    }

    /// The agent, for the extractor of [`super::person`]: to a request that has passed the guard, and that no other site's form
    /// can have sent.
    pub(super) fn person(&self, parts: &Parts) -> Result<App, Problem> {
        passed(parts)?;
        check_json(parts)?;
        Ok(self.0.clone())
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peer {
    /// The DNS names in its certificate, in lower case.
    pub names: Arc<[String]>,
}

/// The mark of a request that has passed [`guard`].
#[derive(Debug, Clone, Copy)]
struct Passed {
    /// Whether a browser says that another site's page made it.
    from_elsewhere: bool,
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Turns away what asks for another host, and what another site's page would have changed.
pub async fn guard(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let host = match host_of(&request) {
        Ok(host) => host,
        Err(problem) => return problem.into_response(),
    };
    let loaded = app.live.get();
    if !loaded.terms.is_host(host.host()) {
        let detail = format!(
            "this agent is not '{}': ask for it by a name in its certificate, or add this name to 'hosts' of its configuration",
            host.host()
        );
        return Problem::new(StatusCode::MISDIRECTED_REQUEST, detail).into_response();
    }
    let is_tls = matches!(loaded.config.listen, Listen::Tcp(_));
    let from_elsewhere = is_from_elsewhere(request.headers(), &host, is_tls);
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    if changes && from_elsewhere {
        return elsewhere().into_response();
    }
    request.extensions_mut().insert(Passed { from_elsewhere });
    next.run(request).await
}

fn elsewhere() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "another site's page made this request: open the agent's own page and go on from there",
    )
}

/// For whom a request asks: in its target or in the header `Host`, where both have to say the same.
fn host_of(request: &Request) -> Result<Authority, Problem> {
    let bad = |why: &str| Problem::new(StatusCode::BAD_REQUEST, format!("the header 'Host' {why}"));
    let mut values = request.headers().get_all(header::HOST).into_iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(bad("is needed once"));
    };
    let host = Authority::try_from(value.as_bytes()).map_err(|_| bad("names no host"))?;
    if host.as_str().contains('@') {
        return Err(bad("names no host"));
    }
    match request.uri().authority() {
        Some(target) if *target != host => Err(bad("differs from the target of the request")),
        Some(_) | None => Ok(host),
    }
}

/// Whether a browser says that a page of another site made the request. Programs send neither header.
fn is_from_elsewhere(headers: &HeaderMap, host: &Authority, is_tls: bool) -> bool {
    let is_own_site = |value: &HeaderValue| matches!(value.as_bytes(), b"same-origin" | b"none");
    let is_own_origin = |value: &HeaderValue| {
        let origin = value.to_str().ok().and_then(|text| text.split_once("://"));
        origin.is_some_and(|(scheme, rest)| {
            let scheme_fits = scheme == "https" || (scheme == "http" && !is_tls);
            scheme_fits && rest.eq_ignore_ascii_case(host.as_str())
        })
    };
    !headers.get_all(SEC_FETCH_SITE).into_iter().all(is_own_site)
        || !headers.get_all(header::ORIGIN).into_iter().all(is_own_origin)
}

/// What a request has to have passed before anything is done for it.
fn passed(parts: &Parts) -> Result<Passed, Problem> {
    let missing =
        || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "this route is mounted without the guard");
    parts.extensions.get().copied().ok_or_else(missing)
}

/// Whether the body is said to be of a kind.
fn has_content_type(headers: &HeaderMap, kind: &str) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).into_iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let text = value.to_str().unwrap_or_default();
    text.split(';').next().is_some_and(|word| word.trim().eq_ignore_ascii_case(kind))
}

/// What changes something says that it is JSON, which no form of a page can.
fn check_json(parts: &Parts) -> Result<(), Problem> {
    if parts.method == Method::POST && !has_content_type(&parts.headers, "application/json") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "a request that changes something has to say 'Content-Type: application/json'",
        ));
    }
    Ok(())
}

/// A request whose route needs no caller.
pub struct Anybody(pub App);

impl FromRequestParts<Gate> for Anybody {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gate: &Gate) -> Result<Self, Problem> {
        passed(parts).map(|_| Self(gate.0.clone()))
    }
}

/// A request whose route needs a caller only for some of what may be asked; nobody is turned away before it is.
pub struct Perhaps<L>(pub Result<Known<L>, Problem>);

impl<L: Level> FromRequestParts<Gate> for Perhaps<L> {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, gate: &Gate) -> Result<Self, Self::Rejection> {
        Ok(Self(Known::from_request_parts(parts, gate).await))
    }
}

/// What a route asks of its caller.
pub trait Level: Send {
    /// At least this.
    const MAY: May;
}

macro_rules! level {
    ($name:ident, $may:expr, $doc:literal) => {
        #[doc = $doc]
        pub struct $name;

        impl Level for $name {
            const MAY: May = $may;
        }
    };
}

level!(Scraper, May::Metrics, "One who may read the numbers.");
level!(Reader, May::Read, "One who may read jobs.");
level!(Operator, May::Operate, "One who may try jobs again and cancel them.");
level!(Submitter, May::Submit, "One who may submit.");

/// A request of a program whose caller is known and may do what the route does.
pub struct Known<L> {
    /// The agent.
    pub app: App,
    /// Who asks.
    pub client: Arc<Client>,
    level: PhantomData<L>,
}

impl<L: Level> FromRequestParts<Gate> for Known<L> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gate: &Gate) -> Result<Self, Problem> {
        let app = gate.0.clone();
        let client = caller(parts, &app)?.ok_or_else(|| {
            Problem::new(
                StatusCode::UNAUTHORIZED,
                "show a token of the agent's tokens_file (Authorization: Bearer TOKEN) or a certificate it knows",
            )
        })?;
        admit(&app, &client, L::MAY)?;
        check_json(parts)?;
        Ok(Self { app, client, level: PhantomData })
    }
}

/// Who asks, by the request or by its connection; by the latter nobody whom another site's page has ask.
fn caller(parts: &Parts, app: &App) -> Result<Option<Arc<Client>>, Problem> {
    let clients = &app.live.get().clients;
    if let Some(authorization) = parts.headers.get(header::AUTHORIZATION) {
        return Ok(clients.with_authorization(authorization.as_bytes()));
    }
    let names = parts.extensions.get::<Peer>().map(|p| Arc::clone(&p.names)).unwrap_or_default();
    let client = clients.by_connection(&names);
    if client.is_some() && passed(parts)?.from_elsewhere {
        return Err(elsewhere());
    }
    passed(parts).map(|_| client)
}

/// Whether a caller may do something, and may ask now.
fn admit(app: &App, client: &Client, needed: May) -> Result<(), Problem> {
    if client.grant.may < needed {
        let detail = format!(
            "{} may do less than '{}': 'may' in its section of the agent's configuration says what",
            client.name,
            needed.as_str()
        );
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    if !app.rates.allow(&client.name, app.live.get().config.limits.requests_per_second, Instant::now()) {
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many requests: try again in a second"));
    }
    Ok(())
}

/// A request for a page. Whoever may read jobs has signed in, or is known by the connection.
pub struct Visitor {
    /// The agent.
    pub app: App,
    /// Who has signed in, and with which session; else who is known by the connection.
    pub who: Option<(Arc<Client>, Option<crate::page::Session>)>,
}

impl FromRequestParts<Gate> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gate: &Gate) -> Result<Self, Problem> {
        let app = gate.0.clone();
        passed(parts)?;
        if parts.method == Method::POST
            && !has_content_type(&parts.headers, "application/x-www-form-urlencoded")
        {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "a form of the agent's page is needed",
            ));
        }
        let session =
            crate::page::session_id(&parts.headers).and_then(|id| app.sessions.find(id, Instant::now()));
        let clients = &app.live.get().clients;
        let signed_in = session.and_then(|s| Some((clients.with_token(&s.token)?, Some(s))));
        let who = match signed_in {
            Some(signed_in) => Some(signed_in),
            None => caller(parts, &app)?.map(|client| (client, None)),
        };
        if let Some((client, _)) = &who {
            admit(&app, client, May::Read)?;
        }
        Ok(Self { app, who })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_site_is_known_by_what_the_browser_says() {
        let host: Authority = "localhost:8080".parse().unwrap();
        let elsewhere = |lines: &[(&'static str, &str)], is_tls| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, value.parse().unwrap());
            }
            is_from_elsewhere(&headers, &host, is_tls)
        };
        let (site, origin) = ("sec-fetch-site", "origin");
        for own in [
            &[][..],
            &[(site, "same-origin"), (origin, "http://localhost:8080")],
            &[(site, "none")],
            &[(origin, "http://LOCALHOST:8080")],
        ] {
            assert!(!elsewhere(own, false), "{own:?}");
        }
        for other in [
            &[(site, "cross-site")][..],
            &[(site, "same-site")],
            &[(site, "same-origin"), (site, "cross-site")],
            &[(site, "nonsense")],
            &[(origin, "null")],
            &[(origin, "http://localhost")],
            &[(origin, "http://localhost:8081")],
            &[(origin, "http://evil.example")],
            &[(site, "same-origin"), (origin, "http://evil.example")],
        ] {
            assert!(elsewhere(other, false), "{other:?}");
        }
        assert!(elsewhere(&[(origin, "http://localhost:8080")], true), "a page without TLS is another site");
    }
}
