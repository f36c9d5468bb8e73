//! `POST /v1/backlog`: a zone tells what it has not imported and why. The page shows it.

use super::guard::{Known, Submitter};
use super::jobs;
use super::problem::Problem;
use super::question::unreadable;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use irods_omero_importer::wire::Backlog;

/// See the module.
pub async fn backlog(
    Known { app, client, .. }: Known<Submitter>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let limit = app.live.get().config.limits.body_timeout;
    let (bytes, _room) = jobs::receive(&app, &headers, body, limit).await?;
    let backlog = Backlog::read(&bytes).map_err(unreadable)?;
    if !client.grant.zones.allow(&backlog.zone) {
        let detail = format!("{} may not speak for the zone '{}'", client.name, backlog.zone);
        return Err(Problem::new(StatusCode::FORBIDDEN, detail).at("/zone"));
    }
    app.backlogs.put(backlog);
    Ok(StatusCode::NO_CONTENT)
}
