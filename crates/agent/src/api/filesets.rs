//! `POST /v1/filesets/look` and `POST /v1/filesets/delete`: whether filesets of imported data are still in OMERO, and that they
//! are to go. Both are done while the caller waits, as the OMERO user it names; it keeps the note of it, and asks again.
//! `GET /v1/deletions`: which filesets somebody deleted in OMERO. Nothing of that is kept here: the log is OMERO's, and the cursor
//! the caller's, so neither forgets what happened while the other was away.

use super::App;
use super::guard::{Known, Submitter};
use super::jobs::{self, Asked};
use super::problem::Problem;
use super::question::{self, check_caller, check_takes_new, unreadable};
use crate::auth::Client;
use crate::live::Loaded;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::response::Response;
use irods_omero_importer::ImporterError;
use irods_omero_importer::wire::{
    Deletions, DeletionsAfter, FilesetsDelete, FilesetsFound, FilesetsLeft, FilesetsLook,
};
use irods_omero_model::names::OmeroName;
use serde::Serialize;

/// `POST /v1/filesets/look`
pub async fn look(
    Known { app, client, .. }: Known<Submitter>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let loaded = app.live.get();
    let (bytes, _room) = jobs::receive(&app, &headers, body, loaded.config.limits.body_timeout).await?;
    let asked = FilesetsLook::read(&bytes).map_err(unreadable)?;
    let server = admitted(&loaded, &client, &asked.zone, &asked.user, asked.server.as_deref())?;
    tracing::info!(
        act = "look_in_omero",
        caller = client.name,
        zone = asked.zone,
        filesets = asked.filesets.len()
    );
    let runner = app.runner.clone();
    answered(&app, move || {
        let ids = asked.filesets.iter().copied().collect();
        let present = runner.present(&loaded.config, &server, &asked.identity(), &ids)?;
        Ok(FilesetsFound { present })
    })
    .await
}

/// `POST /v1/filesets/delete`
pub async fn delete(
    Known { app, client, .. }: Known<Submitter>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let loaded = app.live.get();
    check_takes_new(&app)?;
    let (bytes, _room) = jobs::receive(&app, &headers, body, loaded.config.limits.body_timeout).await?;
    let asked = FilesetsDelete::read(&bytes).map_err(unreadable)?;
    let server = admitted(&loaded, &client, &asked.zone, &asked.user, asked.server.as_deref())?;
    let (zone, caller, identity) = (asked.zone.clone(), client.name.clone(), asked.identity());
    let (filesets, runner) = (asked.into_filesets(), app.runner.clone());
    let list: Vec<String> = filesets.iter().map(|one| one.fileset.to_string()).collect();
    let (list, user) = (list.join(","), identity.user.to_string());
    tracing::info!(act = "delete_in_omero", caller, zone, user, filesets = list);
    answered(&app, move || {
        let left = runner.delete(&loaded.config, &server, &identity, &zone, &filesets)?;
        Ok(FilesetsLeft::of(left))
    })
    .await
}

/// `GET /v1/deletions`
pub async fn deletions(
    Known { app, client, .. }: Known<Submitter>,
    query: Asked<DeletionsAfter>,
) -> Result<Response, Problem> {
    let query = jobs::asked(query)?;
    let loaded = app.live.get();
    let server = jobs::server_of(&loaded.config, query.server.as_deref())?;
    let runner = app.runner.clone();
    answered(&app, move || {
        let deletions = runner.deletions(&loaded.config, &server, query.after)?;
        // Whom a caller may not submit for is nobody to it.
        let may_know = |user: &OmeroName| {
            let user = user.as_str();
            loaded.config.users.check(user).and_then(|()| client.check_user(user)).is_ok()
        };
        Ok(Deletions::of(deletions, may_know))
    })
    .await
}

/// The OMERO server that is meant, if the caller may ask there for a user, in the name of a zone.
fn admitted(
    loaded: &Loaded,
    client: &Client,
    zone: &str,
    user: &OmeroName,
    server: Option<&str>,
) -> Result<String, Problem> {
    check_caller(&loaded.config, client, zone, user)?;
    jobs::server_of(&loaded.config, server)
}

/// The answer to a question, once there is room for it.
async fn answered<T: Serialize + Send + 'static>(
    app: &App,
    ask: impl FnOnce() -> Result<T, ImporterError> + Send + 'static,
) -> Result<Response, Problem> {
    let busy = "others ask OMERO for filesets: ask again";
    question::answered(&app.filesets, busy, "asked OMERO", ask).await
}
