//! `POST /v1/follow`: iRODS has moved the bytes of imported files, and OMERO's links are to lead to where they are. It is done
//! while the caller waits: whoever asks keeps the note of it, and asks again.

use super::guard::{Known, Submitter};
use super::jobs;
use super::problem::Problem;
use crate::access::is_within;
use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use irods_omero_importer::ImporterError;
use irods_omero_importer::wire::{Follow, FollowAnswer};
use std::path::Path;

/// See the module.
pub async fn follow(
    Known { app, client, .. }: Known<Submitter>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let loaded = app.live.get();
    if app.runner.is_draining() {
        let detail = "the agent is to be stopped and takes nothing new: ask again when it is back";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    }
    let (bytes, _room) = jobs::receive(&app, &headers, body, loaded.config.limits.body_timeout).await?;
    let asked =
        Follow::read(&bytes).map_err(|p| Problem::new(StatusCode::BAD_REQUEST, p.message).at(&p.pointer))?;
    let unprocessable = |detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail);
    if !client.grant.zones.allow(&asked.zone) {
        let detail = format!("{} may not submit for the zone '{}'", client.name, asked.zone);
        return Err(Problem::new(StatusCode::FORBIDDEN, detail).at("/zone"));
    }
    let user = asked.user.as_str();
    let allowed = loaded.config.users.check(user).and_then(|()| client.check_user(user));
    allowed.map_err(|why| unprocessable(why).at("/user"))?;
    let roots = client.roots(&loaded.config.roots).to_vec();
    if let Some(n) = asked.files.iter().position(|file| !is_within(Path::new(&file.path), &roots)) {
        let detail = format!("{} may not have links point to files of that directory", client.name);
        return Err(Problem::new(StatusCode::FORBIDDEN, detail).at(&format!("/files/{n}/path")));
    }
    let server = jobs::server_of(&loaded.config, asked.server.as_deref())?;
    // Each takes a thread and a session in OMERO for as long as it lasts.
    let busy = |_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "other links are being pointed: ask again");
    let _one = app.follows.try_acquire().map_err(busy)?;
    let (zone, caller) = (asked.zone.clone(), client.name.clone());
    let (follow, runner) = (asked.into_follow(), app.runner.clone());
    tracing::info!(act = "follow", caller, zone, fileset = %follow.fileset, files = follow.files.len());
    let inside =
        |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the agent failed inside while it followed");
    let work = move || {
        let done = runner.follow(&loaded.config, &server, &roots, &follow);
        done.map(|outcomes| FollowAnswer::of(&follow, outcomes))
    };
    match tokio::task::spawn_blocking(work).await.map_err(inside)? {
        Ok(answer) => Ok(Json(answer).into_response()),
        Err(ImporterError::WillPass(why)) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why)),
        Err(ImporterError::Refused(why)) => Err(unprocessable(why)),
    }
}
