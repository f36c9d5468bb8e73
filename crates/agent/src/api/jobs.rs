//! Jobs: submitted, looked at, cancelled, tried again, and followed.

use super::guard::{Known, Operator, Reader, Submitter};
use super::problem::Problem;
use super::question::{check_caller, check_takes_new};
use super::state::App;
use crate::access::is_within;
use crate::auth::Client;
use crate::config::Config;
use crate::queue::{Cancelled, Event, Filter, Job, JobId, NewJob, Scope, Submitted};
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use irods_omero_importer::wire::{self, Changes, JobState, Key, MAX_BODY_BYTES, Outcome, Progress, Submit};
use irods_omero_model::clock::{Clock, SystemClock};
use irods_omero_model::names::{CollectionId, OmeroName};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

pub(crate) type Asked<T> = Result<Query<T>, QueryRejection>;
pub(crate) type Named = Result<Path<String>, PathRejection>;

/// Larger bodies are read on a thread of their own.
const LARGE_BODY: usize = 256 << 10;

/// A page of the feed ends before the job whose outcomes would make it longer, in bytes.
const MAX_FEED_BYTES: usize = 8 << 20;

/// The longest a question for changes waits, in seconds.
const MAX_WAIT: u64 = 60;

/// The most jobs on a page.
const MAX_PAGE: usize = 1_000;

/// The most jobs on a page that does not say how many.
const USUAL_PAGE: usize = 100;

fn page_size(asked: Option<usize>) -> Result<usize, Problem> {
    let size = asked.unwrap_or(USUAL_PAGE);
    let wrong = || bad(format!("'limit' is a number from 1 to {MAX_PAGE}"));
    (1..=MAX_PAGE).contains(&size).then_some(size).ok_or_else(wrong)
}

pub(crate) fn now() -> u64 {
    SystemClock.now()
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

fn inside(what: impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the queue holds what it should not: {what}"))
}

pub(crate) fn asked<T>(query: Asked<T>) -> Result<T, Problem> {
    query.map(|Query(value)| value).map_err(|e| bad(e.body_text()))
}

/// `POST /v1/jobs`
pub async fn submit(
    Known { app, client, .. }: Known<Submitter>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let loaded = app.live.get();
    let limits = &loaded.config.limits;
    check_takes_new(&app)?;
    // Held until the job is on the disk: the same bytes are in memory as text, as values and as what is written.
    let (bytes, _room) = receive(&app, &headers, body, limits.body_timeout).await?;
    let submit = parse(bytes).await?;
    check_caller(&loaded.config, &client, &submit.zone, &submit.user)?;
    if let Some(place) = of_others(&submit, &client, &loaded.config.roots) {
        let detail = format!(
            "{} may not submit files of that directory: the administrator of the agent can add it to 'roots' in the section \
             of this caller",
            client.name
        );
        return Err(Problem::new(StatusCode::FORBIDDEN, detail).at(&place));
    }
    let server = server_of(&loaded.config, submit.server.as_deref())?;
    let job = NewJob {
        key: submit.key.as_str().to_owned(),
        zone: submit.zone.clone(),
        server,
        user: submit.user.as_str().to_owned(),
        group: submit.group.as_ref().map(|g| g.as_str().to_owned()),
        collection: submit.collection.to_string(),
        place: place(&submit),
        priority: submit.priority.get(),
        files: u32::try_from(submit.files.len()).unwrap_or(u32::MAX),
        // Written anew, so that blanks and the order of keys make no difference.
        body: submit.to_json(),
        caller: client.name.clone(),
        shared: is_shared(&headers),
        peers: client.scope(),
    };
    let (status, job) = match app.queue.submit(job, now()).await? {
        Submitted::New(job) => {
            let (id, caller) = (app.queue.name(job.id), &client.name);
            tracing::info!(
                act = "submit",
                job = id,
                caller,
                zone = job.zone,
                user = job.user,
                files = job.files
            );
            (StatusCode::CREATED, job)
        }
        Submitted::Same(job) => (StatusCode::OK, job),
        Submitted::Conflict(job) => {
            let detail = format!("job {} has this key, and is about something else", app.queue.name(job.id));
            return Err(Problem::new(StatusCode::CONFLICT, detail).at("/key"));
        }
    };
    Ok((status, Json(shown(&app, job, true).await?)).into_response())
}

/// The OMERO server that is meant.
pub(super) fn server_of(config: &Config, named: Option<&str>) -> Result<String, Problem> {
    let wrong = |detail: String| Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).at("/server"));
    let mut servers = config.servers.keys();
    match (named, servers.next(), servers.next()) {
        (Some(name), _, _) if config.servers.contains_key(name) => Ok(name.to_owned()),
        (Some(name), _, _) => {
            let known: Vec<&str> = config.servers.keys().map(String::as_str).collect();
            wrong(format!("this agent has no OMERO server '{name}', only {}", known.join(", ")))
        }
        (None, Some(only), None) => Ok(only.clone()),
        (None, _, _) => wrong("this agent has several OMERO servers: name one".to_owned()),
    }
}

/// How many agents the caller has, as it says itself.
const AGENTS: &str = "irods-omero-agents";

/// How the plugin begins what it says of itself; one that does not say how many agents it has may have several.
const PLUGIN: &[u8] = b"irods_rule_engine_plugin_omero/";

/// Whether another agent may be given the same job while this one is away.
fn is_shared(headers: &HeaderMap) -> bool {
    let agents = headers.get(AGENTS).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    let is_plugin = || headers.get(header::USER_AGENT).is_some_and(|v| v.as_bytes().starts_with(PLUGIN));
    agents.map_or_else(is_plugin, |agents| agents > 1)
}

/// The first file that lies below a directory of the agent, and below none of this caller: it would be another caller's;
/// as its place in the body. So it is with a file that a set may use. One that lies below none at all fails alone, when its
/// batch is imported.
fn of_others(submit: &Submit, client: &Client, all: &[PathBuf]) -> Option<String> {
    let own = client.roots(all);
    let is_of_others = |path: &String| {
        let path = std::path::Path::new(path);
        is_within(path, all) && !is_within(path, own)
    };
    let files = submit.files.iter().position(|file| is_of_others(&file.path)).map(|n| ("files", n));
    let used = || submit.may_use.iter().position(|file| is_of_others(&file.path)).map(|n| ("may_use", n));
    files.or_else(used).map(|(list, number)| format!("/{list}/{number}/path"))
}

/// Where the first file is.
fn place(submit: &Submit) -> String {
    let parent = submit.files.first().and_then(|file| file.logical_path.parent());
    parent.map(|path| path.display().into_owned()).unwrap_or_default()
}

/// The whole body, within its limits, and the room it takes.
pub(super) async fn receive(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    limit: Duration,
) -> Result<(Vec<u8>, OwnedSemaphorePermit), Problem> {
    let deadline = Instant::now() + limit;
    let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    let length: usize = length.unwrap_or(MAX_BODY_BYTES);
    let too_large =
        || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a body has at most {MAX_BODY_BYTES} bytes"));
    if length > MAX_BODY_BYTES {
        return Err(too_large());
    }
    let late = |_| {
        Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not come within {} s", limit.as_secs()),
        )
    };
    let room = u32::try_from(length).unwrap_or(u32::MAX);
    let no_room =
        || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many large bodies at once: try again");
    let acquired = timeout_at(deadline, Arc::clone(&app.room).acquire_many_owned(room)).await;
    let room = acquired.map_err(|_| no_room())?.map_err(|_| no_room())?;
    let collected = timeout_at(deadline, Limited::new(body, MAX_BODY_BYTES).collect()).await.map_err(late)?;
    match collected {
        Ok(body) => Ok((body.to_bytes().into(), room)),
        Err(e) if e.is::<LengthLimitError>() => Err(too_large()),
        Err(e) => Err(bad(format!("the body did not come to its end: {e}"))),
    }
}

async fn parse(bytes: Vec<u8>) -> Result<Submit, Problem> {
    let large = bytes.len() > LARGE_BODY;
    let read = move || Submit::read(&bytes).map_err(|p| bad(p.message).at(&p.pointer));
    if large { tokio::task::spawn_blocking(read).await.map_err(inside)? } else { read() }
}

/// `GET /v1/jobs`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    key: Option<String>,
    state: Option<String>,
    zone: Option<String>,
    user: Option<String>,
    text: Option<String>,
    before: Option<String>,
    limit: Option<usize>,
}

/// The states of a list with commas; of an empty one, none.
pub(crate) fn states(list: &str) -> Result<Vec<JobState>, Problem> {
    let states = list.split(',').filter(|s| !s.is_empty()).map(JobState::parse);
    let words = JobState::ALL.map(JobState::as_str).join(", ");
    let wrong = || bad(format!("'state' is a list, with commas, of {words}"));
    states.collect::<Option<_>>().ok_or_else(wrong)
}

/// The job a page begins behind.
pub(crate) fn before(app: &App, name: &str) -> Result<JobId, Problem> {
    let wrong = || Problem::new(StatusCode::NOT_FOUND, "'before' names no job");
    app.queue.id(name).ok_or_else(wrong)
}

/// The jobs a caller means, of those it may know of.
pub(crate) fn scope(client: &Client, zone: Option<String>) -> Scope {
    zone.map_or_else(|| client.scope(), |zone| client.scope_of(zone))
}

/// See [`Listed`].
pub async fn list(
    Known { app, client, .. }: Known<Reader>,
    query: Asked<Listed>,
) -> Result<Response, Problem> {
    let query = asked(query)?;
    let scope = scope(&client, query.zone);
    if let Some(key) = query.key {
        let job = app.queue.find(key, scope).await?.ok_or_else(Problem::no_job)?;
        return Ok(Json(shown(&app, job, true).await?).into_response());
    }
    let limit = page_size(query.limit)?;
    let filter = Filter {
        scope,
        states: states(query.state.as_deref().unwrap_or_default())?,
        user: query.user,
        failed: false,
        text: query.text,
        before: query.before.map(|name| before(&app, &name)).transpose()?,
        limit,
    };
    let mut jobs = Vec::new();
    for job in app.queue.list(filter).await? {
        jobs.push(shown(&app, job, false).await?);
    }
    let before = jobs.last().filter(|_| jobs.len() == limit).map(|j| j.id.clone());
    Ok(Json(wire::Jobs { jobs, before }).into_response())
}

/// A job with all that is known of it.
#[derive(Debug, Serialize)]
pub struct Detail {
    #[serde(flatten)]
    job: wire::Job,
    history: Vec<Happened>,
    /// What the importer said at the last attempt.
    log: Option<String>,
}

/// A line of a job's history.
#[derive(Debug, Serialize)]
pub struct Happened {
    at: u64,
    what: String,
}

/// `GET /v1/jobs/{id}`
pub async fn get(Known { app, client, .. }: Known<Reader>, name: Named) -> Result<Json<Detail>, Problem> {
    let job = known(&app, &client, name).await?;
    let history = app.queue.history(job.id).await?;
    let history = history.into_iter().map(|Event { at, what }| Happened { at, what }).collect();
    let log = app.queue.log(job.id).await?;
    Ok(Json(Detail { job: shown(&app, job, true).await?, history, log }))
}

/// `POST /v1/jobs/{id}/cancel`
pub async fn cancel(
    Known { app, client, .. }: Known<Operator>,
    name: Named,
) -> Result<Json<wire::Job>, Problem> {
    let id = known(&app, &client, name).await?.id;
    tracing::info!(act = "cancel", job = app.queue.name(id), caller = client.name);
    let job = match app.queue.cancel(id, client.name.clone(), now()).await?.ok_or_else(Problem::no_job)? {
        Cancelled::Now(job) | Cancelled::Ended(job) => job,
        Cancelled::Running(job) => {
            app.runner.end(job.id);
            job
        }
    };
    Ok(Json(shown(&app, job, false).await?))
}

/// `POST /v1/jobs/{id}/retry`
pub async fn retry(
    Known { app, client, .. }: Known<Operator>,
    name: Named,
) -> Result<Json<wire::Job>, Problem> {
    let id = known(&app, &client, name).await?.id;
    tracing::info!(act = "retry", job = app.queue.name(id), caller = client.name);
    let job = app.queue.retry(id, client.name.clone(), now()).await?.ok_or_else(Problem::no_job)?;
    Ok(Json(shown(&app, job, false).await?))
}

/// A job the caller may know of.
pub(crate) async fn known(app: &App, client: &Client, name: Named) -> Result<Job, Problem> {
    // What is no text is no name.
    let id: Option<JobId> = name.ok().and_then(|Path(name)| app.queue.id(&name));
    let id = id.ok_or_else(Problem::no_job)?;
    let job = app.queue.get(id).await?.filter(|job| client.sees_job(job));
    job.ok_or_else(Problem::no_job)
}

/// `GET /v1/changes`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Following {
    #[serde(default)]
    after: u64,
    #[serde(default)]
    wait: u64,
    limit: Option<usize>,
    zone: Option<String>,
}

/// See [`Following`].
pub async fn changes(
    Known { app, client, .. }: Known<Reader>,
    query: Asked<Following>,
) -> Result<Json<Changes>, Problem> {
    let query = asked(query)?;
    let scope = scope(&client, query.zone);
    let limit = page_size(query.limit)?;
    if query.wait > MAX_WAIT {
        return Err(bad(format!("'wait' is a number of seconds from 0 to {MAX_WAIT}")));
    }
    let deadline = Instant::now() + Duration::from_secs(query.wait);
    let (mut newest, mut ending) = (app.queue.newest(), app.ending.clone());
    let mut after = query.after;
    let (cursor, jobs) = loop {
        newest.mark_unchanged();
        let (cursor, jobs) = app.queue.changes(after, scope.clone(), limit).await?;
        if !jobs.is_empty() || *ending.borrow() {
            break (cursor, jobs);
        }
        // What changed until now concerns other zones.
        after = cursor;
        let changed = async {
            tokio::select! {
                _ = newest.changed() => {}
                _ = ending.changed() => {}
            }
        };
        if timeout_at(deadline, changed).await.is_err() {
            break (cursor, jobs);
        }
    };
    page_of_changes(&app, cursor, jobs).await.map(Json)
}

async fn page_of_changes(app: &App, cursor: u64, jobs: Vec<Job>) -> Result<Changes, Problem> {
    let (mut shown_jobs, mut bytes, mut last) = (Vec::new(), 0, 0);
    for job in jobs {
        let change = job.change;
        let outcomes = outcomes_of(app, &job).await?;
        bytes += outcomes.as_ref().map_or(0, Vec::len);
        if bytes > MAX_FEED_BYTES && !shown_jobs.is_empty() {
            return Ok(Changes { cursor: last, jobs: shown_jobs });
        }
        let outcomes = read_outcomes(outcomes).await?;
        shown_jobs.push(show(app, job, outcomes)?);
        last = change;
    }
    Ok(Changes { cursor, jobs: shown_jobs })
}

/// A job as callers see it.
async fn shown(app: &App, job: Job, with_outcomes: bool) -> Result<wire::Job, Problem> {
    let outcomes = if with_outcomes { outcomes_of(app, &job).await? } else { None };
    let outcomes = read_outcomes(outcomes).await?;
    show(app, job, outcomes)
}

/// The outcomes of a job that has ended, as kept.
pub(crate) async fn outcomes_of(app: &App, job: &Job) -> Result<Option<Vec<u8>>, Problem> {
    if !job.state.is_final() {
        return Ok(None);
    }
    Ok(app.queue.outcomes(job.id).await?)
}

pub(crate) async fn read_outcomes(json: Option<Vec<u8>>) -> Result<Vec<Outcome>, Problem> {
    let Some(json) = json else {
        return Ok(Vec::new());
    };
    let large = json.len() > LARGE_BODY;
    let read = move || wire::read(&json).map_err(inside);
    if large { tokio::task::spawn_blocking(read).await.map_err(inside)? } else { read() }
}

fn show(app: &App, job: Job, outcomes: Vec<Outcome>) -> Result<wire::Job, Problem> {
    let progress = app.runner.progress(job.id).filter(|_| job.state == JobState::Running);
    let held = app.runner.holds(&job);
    Ok(wire::Job {
        id: app.queue.name(job.id),
        key: Key::parse(&job.key).map_err(inside)?,
        zone: job.zone,
        server: job.server,
        user: OmeroName::parse(&job.user).map_err(inside)?,
        group: job.group.as_deref().map(OmeroName::parse).transpose().map_err(inside)?,
        collection: CollectionId::parse(&job.collection).map_err(inside)?,
        state: job.state,
        reason: job.reason.or(held),
        attempts: job.attempts,
        submitted: Some(job.submitted),
        started: job.started,
        ended: job.ended,
        next: job.next,
        progress: progress.map(|(linked, of)| Progress { linked, of }),
        files: job.files.into(),
        outcomes,
    })
}
