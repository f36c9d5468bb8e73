//! `POST /v1/follow`: iRODS has moved the bytes of imported files, and OMERO's links are to lead to where they are. It is done
//! while the caller waits: whoever asks keeps the note of it, and asks again.

use super::guard::{Known, Submitter};
use super::jobs;
use super::problem::Problem;
use super::question::{answered, check_caller, check_takes_new, unreadable};
use crate::access::is_within;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use irods_omero_importer::wire::{Follow, FollowAnswer};
use std::path::Path;

/// See the module.
pub async fn follow(
    Known { app, client, .. }: Known<Submitter>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let loaded = app.live.get();
    check_takes_new(&app)?;
    let (bytes, _room) = jobs::receive(&app, &headers, body, loaded.config.limits.body_timeout).await?;
    let asked = Follow::read(&bytes).map_err(unreadable)?;
    check_caller(&loaded.config, &client, &asked.zone, &asked.user)?;
    let roots = client.roots(&loaded.config.roots).to_vec();
    if let Some(n) = asked.files.iter().position(|file| !is_within(Path::new(&file.path), &roots)) {
        let detail = format!("{} may not have links point to files of that directory", client.name);
        return Err(Problem::new(StatusCode::FORBIDDEN, detail).at(&format!("/files/{n}/path")));
    }
    let server = jobs::server_of(&loaded.config, asked.server.as_deref())?;
    let (zone, caller) = (asked.zone.clone(), client.name.clone());
    let (follow, runner) = (asked.into_follow(), app.runner.clone());
    tracing::info!(act = "follow", caller, zone, fileset = %follow.fileset, files = follow.files.len());
    answered(&app.follows, "other links are being pointed: ask again", "followed", move || {
        let done = runner.follow(&loaded.config, &server, &roots, &follow);
        done.map(|outcomes| FollowAnswer::of(&follow, outcomes))
    })
    .await
}
