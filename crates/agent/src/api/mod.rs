//! What is asked of the agent over HTTP. `openapi.json` beside the sources is its description.

mod backlog;
mod filesets;
mod follow;
pub mod guard;
pub(crate) mod jobs;
pub(crate) mod person;
mod problem;
mod question;
pub(crate) mod saves;
mod state;

pub use guard::Peer;
pub use problem::Problem;
pub use state::App;

use crate::deep;
use crate::metrics::Now;
use crate::page;
use crate::queue::Scope;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use guard::{Anybody, Gate, Known, Operator, Perhaps, Scraper};
use irods_omero_model::names::OmeroName;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::timeout;

/// The description of the interface.
pub const OPENAPI: &str = include_str!("../../openapi.json");

/// Every route, as method and path, that the description has to have.
pub const ROUTES: [(&str, &str); 30] = [
    ("post", "/v1/jobs"),
    ("get", "/v1/jobs"),
    ("get", "/v1/jobs/{id}"),
    ("post", "/v1/jobs/{id}/cancel"),
    ("post", "/v1/jobs/{id}/retry"),
    ("get", "/v1/changes"),
    ("post", "/v1/follow"),
    ("get", "/v1/deletions"),
    ("post", "/v1/filesets/look"),
    ("post", "/v1/filesets/delete"),
    ("post", "/v1/saves"),
    ("get", "/v1/saves"),
    ("get", "/v1/saves/{id}"),
    ("post", "/v1/saves/{id}/cancel"),
    ("post", "/v1/saves/{id}/begin"),
    ("get", "/v1/saves/{id}/files"),
    ("post", "/v1/saves/{id}/files"),
    ("get", "/v1/saves/{id}/files/{n}/content"),
    ("post", "/v1/saves/{id}/end"),
    ("post", "/v1/backlog"),
    ("get", "/metrics"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/openapi.json"),
    ("get", "/"),
    ("get", "/backlog"),
    ("get", "/jobs/{id}"),
    ("post", "/jobs/{id}/retry"),
    ("post", "/login"),
    ("post", "/logout"),
];

/// All routes, behind the guard.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/v1/jobs", post(jobs::submit).get(jobs::list))
        .route("/v1/jobs/{id}", get(jobs::get))
        .route("/v1/jobs/{id}/cancel", post(jobs::cancel))
        .route("/v1/jobs/{id}/retry", post(jobs::retry))
        .route("/v1/changes", get(jobs::changes))
        .route("/v1/follow", post(follow::follow))
        .route("/v1/deletions", get(filesets::deletions))
        .route("/v1/filesets/look", post(filesets::look))
        .route("/v1/filesets/delete", post(filesets::delete))
        .route("/v1/saves", post(saves::ask).get(saves::list))
        .route("/v1/saves/{id}", get(saves::get))
        .route("/v1/saves/{id}/cancel", post(saves::cancel))
        .route("/v1/saves/{id}/begin", post(saves::begin))
        .route("/v1/saves/{id}/files", get(saves::files).post(saves::report))
        .route("/v1/saves/{id}/files/{n}/content", get(saves::content))
        .route("/v1/saves/{id}/end", post(saves::end))
        .route("/v1/backlog", post(backlog::backlog))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/openapi.json", get(openapi))
        .merge(page::routes(&app))
        .fallback(nothing)
        .method_not_allowed_fallback(not_so)
        .layer(from_fn_with_state(app.clone(), guard::guard))
        .layer(from_fn_with_state(app.clone(), count))
        .with_state(Gate::new(app))
}

async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let method = match *request.method() {
        Method::GET => "GET",
        Method::POST => "POST",
        _ => "other",
    };
    let path = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let mut response = next.run(request).await;
    app.metrics.answered(method, path, response.status().as_u16());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn nothing() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing here: /openapi.json says what there is")
}

async fn not_so() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "not with this method: /openapi.json says with which")
}

async fn openapi(_: Anybody) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// Whether the agent lives: it answers.
async fn healthz(_: Anybody) -> Json<serde_json::Value> {
    Json(json!({"alive": true, "version": env!("CARGO_PKG_VERSION")}))
}

/// `GET /readyz`
#[derive(Debug, serde::Deserialize)]
struct Depth {
    /// The OMERO user for whom a session is opened; empty for the account with `Sudo` itself.
    deep: Option<String>,
}

/// Whether what it needs is there. A deep look does what an import does, short of importing: for whoever may operate.
async fn readyz(
    Anybody(app): Anybody,
    Perhaps(caller): Perhaps<Operator>,
    query: jobs::Asked<Depth>,
) -> Result<Response, Problem> {
    let mut findings = app.findings().await.to_vec();
    if let Some(user) = jobs::asked(query)?.deep {
        let caller = caller?;
        let user = Some(user).filter(|user| !user.is_empty()).map(|user| OmeroName::parse(&user)).transpose();
        let user = user.map_err(|why| Problem::new(StatusCode::BAD_REQUEST, why.to_string()))?;
        let busy =
            |_| Problem::new(StatusCode::TOO_MANY_REQUESTS, "another deep look is going on: try again");
        let _one = app.deep.try_acquire().map_err(busy)?;
        let shown = user.as_ref().map(OmeroName::as_str).unwrap_or_default();
        tracing::info!(act = "look", caller = caller.client.name, user = shown);
        let loaded = app.live.get();
        let look = move || deep::look(&loaded.config, user.as_ref().map(OmeroName::as_str));
        let inside =
            |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the agent failed inside while it looked");
        findings.extend(tokio::task::spawn_blocking(look).await.map_err(inside)?);
    }
    let ready = findings.iter().all(|f| f.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(json!({"ready": ready, "checks": findings}))).into_response())
}

async fn metrics(Known { app, .. }: Known<Scraper>) -> Result<Response, Problem> {
    let counts = app.queue.counts(Scope::default()).await?;
    let saves = app.queue.save_counts().await?;
    let oldest = app.queue.oldest_queued().await?;
    let loaded = app.live.get();
    let config = &loaded.config;
    let written: BTreeSet<PathBuf> = config
        .servers
        .values()
        .map(|omero| omero.importer.work_directory.clone())
        .chain([config.state_directory.clone()])
        .chain(config.repositories.values().cloned())
        .collect();
    // A directory that hangs costs its number, not the answer.
    let free = timeout(STAT, tokio::task::spawn_blocking(move || free_of(written))).await;
    let hung = app.runner.mounts().hung();
    let now = Now {
        counts: &counts,
        saves: &saves,
        servers: config.servers.keys().collect(),
        closed: app.runner.closed(),
        sessions: app.runner.sessions(),
        oldest_queued: oldest.map(|at| jobs::now().saturating_sub(at)),
        draining: app.runner.is_draining(),
        directories: config.roots.iter().map(|root| (root.clone(), hung.contains(root))).collect(),
        free: free.ok().and_then(Result::ok).unwrap_or_default(),
    };
    let text = app.metrics.text(&now);
    let text = text.map_err(|e| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// How long a look at the room in directories may take.
const STAT: Duration = Duration::from_secs(2);

/// The bytes that may still be written into directories.
fn free_of(directories: BTreeSet<PathBuf>) -> Vec<(PathBuf, u64)> {
    let free = |path: &PathBuf| rustix::fs::statvfs(path).ok().map(|s| s.f_bavail.saturating_mul(s.f_frsize));
    directories.into_iter().filter_map(|path| free(&path).map(|bytes| (path, bytes))).collect()
}
