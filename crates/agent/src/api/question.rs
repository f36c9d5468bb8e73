//! What the routes have in common that ask OMERO, or take something new, while their caller waits.

use super::App;
use super::problem::Problem;
use crate::auth::Client;
use crate::config::Config;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use irods_omero_importer::ImporterError;
use irods_omero_model::form;
use irods_omero_model::names::OmeroName;
use serde::Serialize;
use tokio::sync::Semaphore;

/// Turns away what is new while the agent is to be stopped.
pub(super) fn check_takes_new(app: &App) -> Result<(), Problem> {
    if !app.runner.is_draining() {
        return Ok(());
    }
    let detail = "the agent is to be stopped and takes nothing new: ask again when it is back";
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail))
}

/// What is said of a body that cannot be read.
pub(super) fn unreadable(problem: form::Problem) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, problem.message).at(&problem.pointer)
}

/// Whether a caller may ask for a user, in the name of a zone.
pub(super) fn check_caller(
    config: &Config,
    client: &Client,
    zone: &str,
    user: &OmeroName,
) -> Result<(), Problem> {
    if !client.grant.zones.allow(zone) {
        let detail = format!("{} may not submit for the zone '{zone}'", client.name);
        return Err(Problem::new(StatusCode::FORBIDDEN, detail).at("/zone"));
    }
    let user = user.as_str();
    let allowed = config.users.check(user).and_then(|()| client.check_user(user));
    allowed.map_err(|why| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why).at("/user"))
}

/// The answer to a question to OMERO, once there is room for it: each takes a thread and a session in OMERO. `busy` says that
/// there is none, `doing` what the agent was at when it failed inside.
pub(super) async fn answered<T: Serialize + Send + 'static>(
    room: &Semaphore,
    busy: &'static str,
    doing: &'static str,
    ask: impl FnOnce() -> Result<T, ImporterError> + Send + 'static,
) -> Result<Response, Problem> {
    let _one = room.try_acquire().map_err(|_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, busy))?;
    let inside = |_| {
        let detail = format!("the agent failed inside while it {doing}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    };
    match tokio::task::spawn_blocking(ask).await.map_err(inside)? {
        Ok(answer) => Ok(Json(answer).into_response()),
        Err(ImporterError::WillPass(why)) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why)),
        Err(ImporterError::Refused(why)) => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why)),
    }
}
