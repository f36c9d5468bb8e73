//! The page for people, at `/`: what runs, what waits and why, what failed, and each job by itself. It can be read by
//! whoever may ask for jobs; a button works for who has signed in with a token.

mod html;
mod plot;
mod session;
mod time;
mod view;

pub use session::{Session, Sessions};

use crate::access::May;
use crate::api::guard::{Gate, Visitor};
use crate::api::jobs::{self, Asked, Named, asked, before, known, now, outcomes_of, read_outcomes, states};
use crate::api::{App, Problem};
use crate::auth::{Client, digest_of};
use crate::config::Listen;
use crate::queue::{Filter, Job, JobId, QueueError, Save, SaveFilter, Scope};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Form, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use irods_omero_importer::wire::{Backlog, JobState, Outcome, Submit};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Instant;
use tokio::time::timeout;

/// The cookie that names a session.
const COOKIE: &str = "irods_omero_session";

/// The longest body of a form, in bytes.
const MAX_FORM: usize = 4 << 10;

/// Jobs on a page.
const PAGE: usize = 50;

/// Jobs of a state on the first page.
const SOME: usize = 10;

/// Files on the page of a job.
const FILES: usize = 100;

/// How often all callers together may try to sign in, in a second.
const SIGN_INS: u32 = 10;

/// The routes of the page.
pub fn routes(app: &App) -> Router<Gate> {
    Router::new()
        .route("/", get(overview))
        .route("/backlog", get(backlog))
        .route("/jobs/{id}", get(job))
        .route("/jobs/{id}/retry", post(retry))
        .route("/login", post(login))
        .route("/logout", post(logout))
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .route_layer(from_fn_with_state(app.clone(), in_time))
}

/// Turns away whoever is slow to send.
async fn in_time(State(app): State<App>, request: Request, next: Next) -> Response {
    let limit = app.live.get().config.limits.body_timeout;
    let late = |_| Failure::Told(Problem::new(StatusCode::REQUEST_TIMEOUT, "the request came too slowly"));
    timeout(limit, next.run(request)).await.map_err(late).into_response()
}

/// Why there is no page.
enum Failure {
    /// Nobody known asks.
    SignIn(Option<&'static str>),
    /// Something else.
    Told(Problem),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Told(problem)
    }
}

impl From<QueueError> for Failure {
    fn from(error: QueueError) -> Self {
        Self::Told(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::SignIn(why) => view::sign_in(why),
            Self::Told(problem) => view::failure(problem.status(), problem.detail()),
        }
    }
}

fn forbidden(detail: &str) -> Failure {
    Failure::Told(Problem::new(StatusCode::FORBIDDEN, detail))
}

/// Who looks at the page.
struct Viewer {
    app: App,
    client: Arc<Client>,
    /// Where it has signed in.
    session: Option<Session>,
    /// Whether it could.
    may_sign_in: bool,
}

impl Viewer {
    /// Whether it has a button that tries a job again.
    fn may_retry(&self) -> bool {
        self.session.is_some() && self.client.grant.may >= May::Operate
    }
}

impl FromRequestParts<Gate> for Viewer {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, gate: &Gate) -> Result<Self, Failure> {
        let Visitor { app, who } = Visitor::from_request_parts(parts, gate).await?;
        let (client, session) = who.ok_or(Failure::SignIn(None))?;
        let may_sign_in = app.live.get().clients.have_tokens();
        Ok(Self { app, client, session, may_sign_in })
    }
}

fn too_many() -> Failure {
    Failure::Told(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many requests: try again in a second"))
}

/// What the cookie holds.
pub(crate) fn session_id(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|v| v.to_str().ok());
    let mut pairs = cookies.flat_map(|v| v.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// `GET /`: the filters are those of `GET /v1/jobs`; an empty one is none.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Filters {
    state: String,
    zone: String,
    user: String,
    text: String,
    before: String,
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A job as a line of a table.
struct Line {
    job: Job,
    name: String,
    progress: Option<(u64, u64)>,
}

fn line(app: &App, job: Job) -> Line {
    let progress = app.runner.progress(job.id).filter(|_| job.state == JobState::Running);
    Line { name: app.queue.name(job.id), job, progress }
}

async fn lines(app: &App, filter: Filter) -> Result<Vec<Line>, Failure> {
    Ok(app.queue.list(filter).await?.into_iter().map(|job| line(app, job)).collect())
}

async fn overview(viewer: Viewer, query: Asked<Filters>) -> Result<Response, Failure> {
    let app = viewer.app.clone();
    let filters = asked(query)?;
    let scope = jobs::scope(&viewer.client, given(&filters.zone));
    let filter = Filter {
        scope: scope.clone(),
        states: states(&filters.state)?,
        user: given(&filters.user),
        failed: false,
        text: given(&filters.text),
        before: given(&filters.before).map(|name| before(&app, &name)).transpose()?,
        limit: PAGE,
    };
    let summary =
        if filters == Filters::default() { Some(summary(&app, &viewer, scope).await?) } else { None };
    let found = lines(&app, filter).await?;
    Ok(view::overview(&viewer, &filters, summary.as_ref(), &found, found.len() == PAGE))
}

/// What the first page begins with.
struct Summary {
    counts: crate::queue::Counts,
    closed: Vec<(String, String)>,
    running: Vec<Line>,
    waiting: Vec<Line>,
    failed: Vec<Line>,
    ended: Vec<crate::queue::Throughput>,
    backlogs: Vec<Arc<Backlog>>,
    saves: Vec<(String, Save)>,
}

/// What the zones that a viewer may see have not imported.
fn backlogs(viewer: &Viewer) -> Vec<Arc<Backlog>> {
    viewer.app.backlogs.of(|zone| viewer.client.grant.zones.allow(zone))
}

/// `GET /backlog`: an empty filter is none.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BacklogFilters {
    zone: String,
    /// The word of a cause.
    cause: String,
    /// What the reason or the collection holds.
    text: String,
}

async fn backlog(viewer: Viewer, query: Asked<BacklogFilters>) -> Result<Response, Failure> {
    let filters = asked(query)?;
    let mut found = backlogs(&viewer);
    found.retain(|backlog| filters.zone.is_empty() || backlog.zone == filters.zone);
    Ok(view::backlog(&viewer, &filters, &found))
}

async fn summary(app: &App, viewer: &Viewer, scope: Scope) -> Result<Summary, Failure> {
    let of = |state, limit| Filter { scope: scope.clone(), states: vec![state], limit, ..Filter::default() };
    let failed = Filter {
        scope: scope.clone(),
        states: vec![JobState::Refused, JobState::Done],
        failed: true,
        limit: SOME,
        ..Filter::default()
    };
    let since = now().saturating_sub(plot::LONGEST);
    Ok(Summary {
        counts: app.queue.counts(scope.clone()).await?,
        closed: app.runner.closed().into_iter().collect(),
        running: lines(app, of(JobState::Running, PAGE)).await?,
        waiting: lines(app, of(JobState::Waiting, SOME)).await?,
        failed: lines(app, failed).await?,
        ended: app.queue.throughput(since, scope).await?,
        backlogs: backlogs(viewer),
        saves: newest_saves(app, viewer).await?,
    })
}

/// The newest requests of people in OMERO, with their names, of those that the viewer may know of.
async fn newest_saves(app: &App, viewer: &Viewer) -> Result<Vec<(String, Save)>, Failure> {
    if !app.live.get().config.save.enabled {
        return Ok(Vec::new());
    }
    let filter = SaveFilter { newest: true, limit: PAGE, ..SaveFilter::default() };
    let found = app.queue.list_saves(filter).await?.into_iter();
    let seen = found.filter(|save| crate::api::saves::sees(&viewer.client, save)).take(SOME);
    Ok(seen.map(|save| (app.queue.save_name(save.id), save)).collect())
}

/// `GET /jobs/{id}`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Paging {
    /// The first file shown, counted from zero.
    from: usize,
}

/// A file of a job, and what became of it.
struct FileLine {
    path: String,
    outcome: Option<Outcome>,
}

/// A job with all that is shown of it.
struct Whole {
    line: Line,
    history: Vec<crate::queue::Event>,
    log: Option<String>,
    from: usize,
    files: Vec<FileLine>,
}

async fn job(viewer: Viewer, name: Named, query: Asked<Paging>) -> Result<Response, Failure> {
    let app = viewer.app.clone();
    let Paging { from } = asked(query)?;
    let job = known(&app, &viewer.client, name).await?;
    let history = app.queue.history(job.id).await?;
    let log = app.queue.log(job.id).await?;
    let outcomes = outcomes_of(&app, &job).await?;
    let files = files(&app, job.id, read_outcomes(outcomes).await?, from).await?;
    let whole = Whole { line: line(&app, job), history, log, from, files };
    Ok(view::job(&viewer, &whole))
}

/// A page of the files of a job.
async fn files(app: &App, id: JobId, outcomes: Vec<Outcome>, from: usize) -> Result<Vec<FileLine>, Failure> {
    let body = app.queue.body(id).await?.unwrap_or_default();
    let read = move || {
        let files = Submit::read(&body).map(|submit| submit.files).unwrap_or_default();
        let shown = files.into_iter().skip(from).take(FILES).map(|file| FileLine {
            path: file.logical_path.to_string(),
            outcome: outcomes.iter().find(|o| o.subject == file.subject).cloned(),
        });
        shown.collect()
    };
    // A job may have a hundred thousand files.
    let ended = |_| Failure::Told(QueueError::Ended.into());
    tokio::task::spawn_blocking(read).await.map_err(ended)
}

#[derive(Deserialize)]
struct Csrf {
    csrf: String,
}

type Sent<T> = Result<Form<T>, axum::extract::rejection::FormRejection>;

async fn retry(viewer: Viewer, name: Named, form: Sent<Csrf>) -> Result<Redirect, Failure> {
    let app = viewer.app.clone();
    let session = viewer.session.as_ref().ok_or(Failure::SignIn(Some("Sign in to try a job again.")))?;
    checked(session, form)?;
    if viewer.client.grant.may < May::Operate {
        return Err(forbidden(
            "your token may look only: 'may = \"operate\"' in its section lets it try jobs again",
        ));
    }
    let id = known(&app, &viewer.client, name).await?.id;
    app.queue.retry(id, viewer.client.name.clone(), now()).await?.ok_or_else(Problem::no_job)?;
    tracing::info!(act = "retry", job = app.queue.name(id), caller = viewer.client.name);
    Ok(Redirect::to(&format!("/jobs/{}", app.queue.name(id))))
}

fn checked(session: &Session, form: Sent<Csrf>) -> Result<(), Failure> {
    if form.is_ok_and(|Form(sent)| session.made(&sent.csrf)) {
        return Ok(());
    }
    Err(forbidden("this form does not belong to your session: go back, load the page again and repeat it"))
}

#[derive(Deserialize)]
struct Login {
    token: String,
}

async fn login(Visitor { app, .. }: Visitor, form: Sent<Login>) -> Result<Response, Failure> {
    if !app.rates.allow("/login", SIGN_INS, Instant::now()) {
        return Err(too_many());
    }
    let wrong = || Failure::SignIn(Some("That is no token of this agent."));
    let Form(sent) = form.map_err(|_| wrong())?;
    let digest = digest_of(sent.token.trim().as_bytes());
    let loaded = app.live.get();
    let client = loaded.clients.with_token(&digest).ok_or_else(wrong)?;
    if client.grant.may < May::Read {
        return Err(Failure::SignIn(Some("That token is for /metrics only.")));
    }
    let no_random = || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the system gives no random numbers");
    let id = app.sessions.open(digest, Instant::now()).ok_or_else(no_random)?;
    tracing::info!(act = "sign in", client = client.name);
    Ok(to_start(&app, &id, session::LIFETIME.as_secs()))
}

async fn logout(viewer: Viewer, headers: HeaderMap, form: Sent<Csrf>) -> Result<Response, Failure> {
    let app = viewer.app.clone();
    if let Some(session) = &viewer.session {
        checked(session, form)?;
        app.sessions.close(session_id(&headers).unwrap_or_default());
    }
    Ok(to_start(&app, "", 0))
}

/// To the first page, with a cookie for so many seconds.
fn to_start(app: &App, id: &str, seconds: u64) -> Response {
    // Over the network there is always TLS; through a socket a browser may come by a forwarded port without.
    let secure = match app.live.get().config.listen {
        Listen::Tcp(_) => "; Secure",
        Listen::Unix(_) => "",
    };
    let cookie = format!("{COOKIE}={id}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response()
}
