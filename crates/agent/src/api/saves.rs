//! Saves: asked for by people in OMERO, fetched by a zone.

use super::guard::{Known, Operator, Reader, Submitter};
use super::jobs::{self, Asked, Named, asked, now};
use super::person::{Asker, Person, check_enabled, in_session, with_visitor};
use super::question::{check_takes_new, unreadable};
use super::{App, Problem};
use crate::access::May;
use crate::auth::Client;
use crate::originals::{OriginalError, Originals};
use crate::queue::{NewSave, Save, SaveFile, SaveFilter, SaveId, Told};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};
use irods_omero_importer::wire::{
    self, MAX_CONTENT_BYTES, MAX_SAVE_FILES, SaveBegin, SaveEnd, SaveFileState, SaveFiles, SaveReport,
    SaveRequest, SaveState, Saves,
};
use irods_omero_model::names::OmeroName;
use serde::Deserialize;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// The most saves on a page.
const MAX_PAGE: usize = 1_000;

/// The most saves on a page that does not say how many.
const USUAL_PAGE: usize = 100;

/// The longest body of a request about a save, in bytes.
const MAX_BODY: usize = 8 << 20;

/// How long it may take to find out where the files of a page are. Those of which it is not known by then are told without.
const LOOK: Duration = Duration::from_secs(20);

/// How much of a file is read at once, in bytes, and how many such pieces wait for whoever reads them.
const PIECE: usize = 256 << 10;
const PIECES: usize = 4;

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

fn no_save() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such save")
}

fn inside(what: impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the queue holds what it should not: {what}"))
}

fn unprocessable(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
}

/// A save as it is told.
fn shown(app: &App, save: Save) -> Result<wire::Save, Problem> {
    Ok(wire::Save {
        id: wire::Key::parse(&app.queue.save_name(save.id)).map_err(inside)?,
        server: save.server,
        user: OmeroName::parse(&save.user).map_err(inside)?,
        state: save.state,
        reason: save.reason,
        objects: save.objects,
        what: save.what,
        collection: save.collection,
        again: save.again,
        on_conflict: save.on_conflict,
        notes: save.notes,
        created: save.created,
        changed: save.changed,
        files: save.files,
        bytes: save.bytes,
        saved: save.saved,
        already: save.already,
        refused: save.refused,
    })
}

async fn body_of(app: &App, headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Problem> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if length.is_none_or(|length| length > MAX_BODY) {
        let detail =
            format!("a body of a request about a save has at most {MAX_BODY} bytes, and says how many");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let limit = app.live.get().config.limits.body_timeout;
    Ok(jobs::receive(app, headers, body, limit).await?.0)
}

/// `POST /v1/saves`: a person asks.
pub async fn ask(person: Person, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let Person { app, server, user, key } = person;
    check_takes_new(&app)?;
    let request = SaveRequest::read(&body_of(&app, &headers, body).await?).map_err(unreadable)?;
    let loaded = app.live.get();
    let rules = loaded.config.save.clone();
    // What is an administrator in OMERO, or belongs to the system, is nobody in iRODS.
    loaded.config.users.check(user.as_str()).map_err(|why| Problem::new(StatusCode::FORBIDDEN, why))?;
    let Some(repository) = loaded.config.repositories.get(&server).cloned() else {
        let detail = "the agent's configuration has no 'managed_repository' for this OMERO server: files are saved from there";
        return Err(unprocessable(detail).at("/server"));
    };
    if request.what.contains(&wire::What::Attachments)
        && !loaded.config.file_directories.contains_key(&server)
    {
        let detail = "attachments cannot be saved here: the agent's configuration has no 'files_directory' for this OMERO \
                      server, which its administrator can add";
        return Err(unprocessable(detail).at("/what"));
    }
    let (asked, of) = (request.clone(), server.clone());
    let chosen = in_session(&app, &app.choices, move |app| {
        with_visitor(app, &loaded.config, &of, &key, rules.timeout, |visitor| {
            visitor.choose(&asked, &repository, rules.files)
        })
    })
    .await?;
    if chosen.user != user {
        return Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "the session became somebody else's: start it again",
        ));
    }
    let save = NewSave {
        server,
        user: user.as_str().to_owned(),
        objects: request.objects,
        what: request.what,
        notes: chosen.notes,
        collection: request.collection,
        again: request.again,
        on_conflict: request.on_conflict,
        files: chosen.files,
        most_open: rules.open,
    };
    let save = app.queue.add_save(save, now()).await?.ok_or_else(|| {
        let detail = format!("{} of your saves have not ended: wait for them, or cancel one", rules.open);
        Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)
    })?;
    tracing::info!(
        act = "save",
        save = app.queue.save_name(save.id),
        server = save.server,
        user = save.user,
        files = save.files,
        bytes = save.bytes
    );
    Ok((StatusCode::CREATED, Json(shown(&app, save)?)).into_response())
}

/// Whether a caller may know of a save. One that fetches sees what none has begun with, and what it has begun with itself.
pub(crate) fn sees(client: &Client, save: &Save) -> bool {
    let of_zone = |path: &str| path.trim_start_matches('/').split('/').next().unwrap_or_default().to_owned();
    let zone = save.collection.as_deref().map(of_zone).filter(|zone| !zone.contains('{'));
    if zone.is_some_and(|zone| !client.grant.zones.allow(&zone)) {
        return false;
    }
    let is_free = save.caller.as_ref().is_none_or(|caller| *caller == client.name);
    if client.grant.may == May::Submit {
        is_free && client.check_user(&save.user).is_ok()
    } else {
        is_free
            || client
                .sees
                .as_ref()
                .is_none_or(|names| save.caller.as_ref().is_some_and(|c| names.contains(c)))
    }
}

/// The save of a name that an asker may know of. Of others' nothing is told, not even whether they are there.
async fn known(app: &App, name: &str, may: impl FnOnce(&Save) -> bool) -> Result<Save, Problem> {
    let id: SaveId = app.queue.save_id(name).ok_or_else(no_save)?;
    app.queue.get_save(id).await?.filter(may).ok_or_else(no_save)
}

async fn known_to<L>(asker: &Asker<L>, name: Named) -> Result<(App, Save), Problem> {
    let Path(name) = name.map_err(|_| no_save())?;
    match asker {
        Asker::Person(person) => {
            let own = |save: &Save| save.server == person.server && save.user == person.user.as_str();
            Ok((person.app.clone(), known(&person.app, &name, own).await?))
        }
        Asker::Caller(caller) => {
            check_enabled(&caller.app.live.get().config)?;
            let save = known(&caller.app, &name, |save| sees(&caller.client, save)).await?;
            Ok((caller.app.clone(), save))
        }
    }
}

/// `GET /v1/saves`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    state: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    newest: bool,
}

fn states(list: &str) -> Result<Vec<SaveState>, Problem> {
    let mut found = Vec::new();
    for word in list.split(',').filter(|word| !word.is_empty()) {
        match (word, SaveState::parse(word)) {
            ("open", _) => found.extend([SaveState::Queued, SaveState::Running]),
            (_, Some(state)) => found.push(state),
            (_, None) => {
                let words = SaveState::ALL.map(SaveState::as_str).join(", ");
                return Err(bad(format!("'state' is a list, with commas, of open, {words}")));
            }
        }
    }
    Ok(found)
}

/// See [`Listed`].
pub async fn list(asker: Asker<Reader>, query: Asked<Listed>) -> Result<Json<Saves>, Problem> {
    let query = asked(query)?;
    let app = match &asker {
        Asker::Person(person) => person.app.clone(),
        Asker::Caller(caller) => {
            check_enabled(&caller.app.live.get().config)?;
            caller.app.clone()
        }
    };
    let limit = query.limit.unwrap_or(USUAL_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(bad(format!("'limit' is a number from 1 to {MAX_PAGE}")));
    }
    let after = query.after.map(|name| app.queue.save_id(&name).ok_or_else(|| bad("'after' names no save")));
    let mut filter = SaveFilter {
        of: None,
        states: states(query.state.as_deref().unwrap_or_default())?,
        after: after.transpose()?,
        newest: query.newest,
        limit,
    };
    if let Asker::Person(person) = &asker {
        filter.of = Some((person.server.clone(), person.user.as_str().to_owned()));
    }
    let found = app.queue.list_saves(filter).await?;
    let last = found.last().filter(|_| found.len() == limit).map(|save| save.id);
    let may = |save: &Save| match &asker {
        Asker::Person(_) => true,
        Asker::Caller(caller) => sees(&caller.client, save),
    };
    let saves = found.into_iter().filter(may).map(|save| shown(&app, save)).collect::<Result<_, _>>()?;
    let after = last.map(|id| wire::Key::parse(&app.queue.save_name(id)).map_err(inside)).transpose()?;
    Ok(Json(Saves { saves, after }))
}

/// `GET /v1/saves/{id}`
pub async fn get(asker: Asker<Reader>, name: Named) -> Result<Json<wire::Save>, Problem> {
    let (app, save) = known_to(&asker, name).await?;
    Ok(Json(shown(&app, save)?))
}

/// `POST /v1/saves/{id}/cancel`
pub async fn cancel(asker: Asker<Operator>, name: Named) -> Result<Json<wire::Save>, Problem> {
    let (app, save) = known_to(&asker, name).await?;
    let by = match &asker {
        Asker::Person(person) => person.user.as_str().to_owned(),
        Asker::Caller(caller) => caller.client.name.clone(),
    };
    tracing::info!(act = "cancel", save = app.queue.save_name(save.id), by);
    let save = app.queue.cancel_save(save.id, by, now()).await?.ok_or_else(no_save)?;
    Ok(Json(shown(&app, save)?))
}

/// `GET /v1/saves/{id}/files`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedFiles {
    state: Option<String>,
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

/// See [`ListedFiles`].
pub async fn files(
    asker: Asker<Reader>,
    name: Named,
    query: Asked<ListedFiles>,
) -> Result<Json<SaveFiles>, Problem> {
    let query = asked(query)?;
    let (app, save) = known_to(&asker, name).await?;
    let limit = query.limit.unwrap_or(USUAL_PAGE);
    if !(1..=MAX_SAVE_FILES).contains(&limit) {
        return Err(bad(format!("'limit' is a number from 1 to {MAX_SAVE_FILES}")));
    }
    let state = query.state.as_deref().map(|word| {
        let words = SaveFileState::ALL.map(SaveFileState::as_str).join(", ");
        SaveFileState::parse(word).ok_or_else(|| bad(format!("'state' is one of {words}")))
    });
    let found = app.queue.save_files(save.id, state.transpose()?, query.after, limit).await?;
    let after = found.last().filter(|_| found.len() == limit).map(|file| file.n);
    // Where the bytes lie on this host is told only to those who fetch them.
    let fetches = matches!(&asker, Asker::Caller(caller) if caller.client.grant.may == May::Submit);
    let places = if fetches { places(&app, &save, &found).await } else { Vec::new() };
    let mut places = places.into_iter();
    let files = found.into_iter().map(|file| shown_file(file, places.next().flatten())).collect();
    Ok(Json(SaveFiles { files, after }))
}

/// Where files are on this host, as far as that is found out in time.
async fn places(app: &App, save: &Save, files: &[SaveFile]) -> Vec<Option<String>> {
    let Ok(place) = Arc::clone(&app.contents).try_acquire_owned() else { return Vec::new() };
    let originals = Originals::of(&app.live.get().config, &save.server, app.runner.mounts());
    let stored: Vec<_> = files.iter().map(|file| file.chosen.stored.clone()).collect();
    let look = move || {
        let find = |stored| originals.find(stored).ok()?.into_os_string().into_string().ok();
        let found: Vec<Option<String>> = stored.iter().map(find).collect();
        drop(place);
        found
    };
    timeout(LOOK, tokio::task::spawn_blocking(look)).await.ok().and_then(Result::ok).unwrap_or_default()
}

fn shown_file(file: SaveFile, host_path: Option<String>) -> wire::SaveFile {
    let SaveFile { n, chosen, state, target, reason } = file;
    wire::SaveFile {
        n,
        fileset: chosen.fileset,
        images: chosen.images,
        kind: chosen.kind,
        group: chosen.place.group,
        project: chosen.place.project,
        dataset: chosen.place.dataset,
        screen: chosen.place.screen,
        plate: chosen.place.plate,
        name: chosen.name,
        size: chosen.size,
        sha1: chosen.sha1,
        host_path,
        in_irods: chosen.in_irods,
        state,
        path: target,
        reason,
    }
}

/// The save that a zone works on.
async fn of_zone(caller: &Known<Submitter>, name: &str) -> Result<Save, Problem> {
    check_enabled(&caller.app.live.get().config)?;
    known(&caller.app, name, |save| sees(&caller.client, save)).await
}

/// `POST /v1/saves/{id}/begin`: a zone works on it, or waits.
pub async fn begin(
    caller: Known<Submitter>,
    name: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<wire::Save>, Problem> {
    let Path(name) = name.map_err(|_| no_save())?;
    let save = of_zone(&caller, &name).await?;
    let (app, client) = (&caller.app, &caller.client);
    let begin = SaveBegin::read(&body_of(app, &headers, body).await?).map_err(unreadable)?;
    let save = app.queue.begin_save(save.id, client.name.clone(), begin.reason, now()).await?;
    // Another caller may have been faster.
    let save = save.filter(|save| sees(client, save)).ok_or_else(no_save)?;
    Ok(Json(shown(app, save)?))
}

/// `POST /v1/saves/{id}/files`: what became of files.
pub async fn report(
    caller: Known<Submitter>,
    name: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<wire::Save>, Problem> {
    let Path(name) = name.map_err(|_| no_save())?;
    let save = of_zone(&caller, &name).await?;
    let app = &caller.app;
    check_begun(&caller, &save)?;
    let report = SaveReport::read(&body_of(app, &headers, body).await?).map_err(unreadable)?;
    match app.queue.report_files(save.id, report.files, now()).await?.ok_or_else(no_save)? {
        Told::Now(save) => Ok(Json(shown(app, *save)?)),
        Told::NoFile(place) => {
            Err(unprocessable("the save has no file of this number").at(&format!("/files/{place}/n")))
        }
        Told::NotYet(_) | Told::NotDone(_) => Err(inside("a report that ended a save")),
    }
}

/// `POST /v1/saves/{id}/end`: a zone does nothing more about it.
pub async fn end(
    caller: Known<Submitter>,
    name: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<wire::Save>, Problem> {
    let Path(name) = name.map_err(|_| no_save())?;
    let save = of_zone(&caller, &name).await?;
    let app = &caller.app;
    check_begun(&caller, &save)?;
    let end = SaveEnd::read(&body_of(app, &headers, body).await?).map_err(unreadable)?;
    match app.queue.end_save(save.id, end, now()).await?.ok_or_else(no_save)? {
        Told::Now(save) => {
            tracing::info!(
                act = "saved",
                save = app.queue.save_name(save.id),
                state = save.state.as_str(),
                saved = save.saved,
                already = save.already,
                refused = save.refused
            );
            Ok(Json(shown(app, *save)?))
        }
        Told::NotYet(left) => {
            Err(unprocessable(format!("{left} files have no outcome yet: report them first")).at("/state"))
        }
        Told::NotDone(refused) => {
            Err(unprocessable(format!("{refused} files were refused: the state is 'refused'")).at("/state"))
        }
        Told::NoFile(_) => Err(inside("an end that named a file")),
    }
}

fn check_begun(caller: &Known<Submitter>, save: &Save) -> Result<(), Problem> {
    if save.state.is_final() || save.caller.as_deref() == Some(caller.client.name.as_str()) {
        return Ok(());
    }
    Err(Problem::new(StatusCode::CONFLICT, "begin with the save first: POST /v1/saves/{id}/begin"))
}

/// The first and the last byte of a range, of a file of so many bytes.
fn range_of(headers: &HeaderMap, size: u64) -> Result<(u64, u64), Problem> {
    let wrong = || bad("ask for a part of the file: 'Range: bytes=FIRST-LAST'");
    let text = headers.get(header::RANGE).and_then(|v| v.to_str().ok()).ok_or_else(wrong)?;
    let (first, last) = text.strip_prefix("bytes=").and_then(|r| r.split_once('-')).ok_or_else(wrong)?;
    let number = |digits: &str| -> Result<u64, Problem> {
        let fits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse().ok().filter(|_| fits).ok_or_else(wrong)
    };
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if first > last {
        return Err(wrong());
    }
    if first >= size {
        let detail = format!("the file has {size} bytes, and byte {first} was asked for");
        return Err(Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, detail));
    }
    Ok((first, last.min(size - 1).min(first + (MAX_CONTENT_BYTES - 1))))
}

/// `GET /v1/saves/{id}/files/{n}/content`
pub async fn content(
    caller: Known<Submitter>,
    name: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path((name, n)) = name.map_err(|_| no_save())?;
    let save = of_zone(&caller, &name).await?;
    let app = &caller.app;
    check_begun(&caller, &save)?;
    if save.state.is_final() {
        return Err(Problem::new(StatusCode::CONFLICT, format!("the save is {}", save.state.as_str())));
    }
    let no_file = || Problem::new(StatusCode::NOT_FOUND, "the save has no file of this number");
    let n: u64 = n.parse().ok().filter(|n| *n > 0).ok_or_else(no_file)?;
    let found = app.queue.save_files(save.id, None, n - 1, 1).await?;
    let file = found.into_iter().next().filter(|file| file.n == n).ok_or_else(no_file)?;
    let size = file.chosen.size;
    let (first, last) = range_of(&headers, size)?;
    // One that hangs keeps its place, and with it a thread: when all are kept others are told to come again, and nothing
    // else waits.
    let place = Arc::clone(&app.contents).try_acquire_owned().map_err(|_| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "as many files are being read as may be: ask again")
    })?;
    let originals = Originals::of(&app.live.get().config, &save.server, app.runner.mounts());
    let stored = file.chosen.stored;
    let (opened, when_opened) = tokio::sync::oneshot::channel();
    let (pieces, body) = mpsc::channel(PIECES);
    let length = last - first + 1;
    tokio::task::spawn_blocking(move || {
        let file = originals.open(&stored, size);
        match file {
            Ok(file) => {
                if opened.send(Ok(())).is_ok() {
                    read(file, first, length, &pieces);
                }
            }
            Err(error) => _ = opened.send(Err(error)), // whoever asked has gone
        }
        drop(place);
    });
    let hangs =
        |_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the file system of the file does not answer");
    let opened = timeout(LOOK, when_opened).await.map_err(hangs)?;
    match opened.unwrap_or_else(|_| Err(OriginalError::WillPass("the agent failed inside".to_owned()))) {
        Ok(()) => {}
        Err(OriginalError::Refused(why)) => return Err(unprocessable(why)),
        Err(OriginalError::WillPass(why)) => {
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why));
        }
    }
    let mut response = Body::new(Pieces { pieces: body, left: length }).into_response();
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let head = response.headers_mut();
    head.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    head.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    let range = HeaderValue::from_str(&format!("bytes {first}-{last}/{size}")).map_err(inside)?;
    head.insert(header::CONTENT_RANGE, range);
    Ok(response)
}

/// Reads a part of a file, piece by piece, as it is taken.
fn read(mut file: File, first: u64, length: u64, pieces: &mpsc::Sender<io::Result<Bytes>>) {
    if let Err(error) = file.seek(SeekFrom::Start(first)) {
        let _ = pieces.blocking_send(Err(error)); // nobody reads any more
        return;
    }
    let mut left = length;
    while left > 0 {
        let mut piece = vec![0; usize::try_from(left).unwrap_or(PIECE).min(PIECE)];
        let came = match file.read(&mut piece) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                piece.truncate(count);
                left -= count as u64;
                Ok(Bytes::from(piece))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let broken = came.is_err();
        if pieces.blocking_send(came).is_err() || broken {
            return;
        }
    }
}

/// A body of pieces that come from a thread.
struct Pieces {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = std::task::ready!(self.pieces.poll_recv(cx));
        if let Some(Ok(bytes)) = &piece {
            self.left = self.left.saturating_sub(bytes.len() as u64);
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_lies_within_the_file_and_within_what_one_answer_holds() {
        let range = |text: &str, size| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, text.parse().unwrap());
            range_of(&headers, size).map_err(|p| p.status().as_u16())
        };
        assert_eq!(range("bytes=0-9", 10), Ok((0, 9)));
        assert_eq!(range("bytes=3-", 10), Ok((3, 9)));
        assert_eq!(range("bytes=3-99", 10), Ok((3, 9)));
        assert_eq!(range("bytes=5-", 1 << 40), Ok((5, 4 + MAX_CONTENT_BYTES)));
        assert_eq!(range("bytes=10-11", 10), Err(416));
        assert_eq!(range("bytes=0-0", 0), Err(416));
        for wrong in ["bytes=-5", "bytes=5-3", "bytes=a-b", "bytes=0-1,3-4", "bytes=+1-2", "lines=1-2", ""] {
            assert_eq!(range(wrong, 10), Err(400), "{wrong}");
        }
    }
}
