//! What people in OMERO ask to have saved, beside the jobs in the same file.
//!
//! A save is written whole, with all its files, or not at all. What the zone reports of a file stands: the same report again
//! changes nothing, and one that says something else counts while the save has not ended.

use super::write::Writing;
use super::{Queue, QueueError};
use irods_omero_importer::saves::{ChosenFile, Stored};
use irods_omero_importer::wire::{
    FileKind, FileReport, InIrods, OmeroObject, OnConflict, SaveEnd, SaveFileState, SaveState, What,
};
use irods_omero_importer::worker::Place;
use irods_omero_model::clock::UnixTime;
use irods_omero_model::names::{LogicalPath, OmeroId};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Result, Row, params, params_from_iter};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The number of a save within one queue file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SaveId(i64);

/// A save to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSave {
    /// The agent's name of the OMERO server.
    pub server: String,
    /// Who asked.
    pub user: String,
    /// What was asked for.
    pub objects: Vec<OmeroObject>,
    /// What of it.
    pub what: Vec<What>,
    /// What is left out of it.
    pub notes: Vec<String>,
    /// Where to.
    pub collection: Option<String>,
    /// Whether files are copied that are in iRODS already.
    pub again: bool,
    /// What is done where other data has the name.
    pub on_conflict: OnConflict,
    /// The files.
    pub files: Vec<ChosenFile>,
    /// The most that may be open of this user.
    pub most_open: u64,
}

/// A save, without its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Save {
    /// Its number.
    pub id: SaveId,
    /// The agent's name of the OMERO server.
    pub server: String,
    /// Who asked.
    pub user: String,
    /// Which caller has begun with it.
    pub caller: Option<String>,
    /// How far it is.
    pub state: SaveState,
    /// Why it was refused, or what it waits for.
    pub reason: Option<String>,
    /// What was asked for.
    pub objects: Vec<OmeroObject>,
    /// What of it.
    pub what: Vec<What>,
    /// What is left out of it.
    pub notes: Vec<String>,
    /// Where to.
    pub collection: Option<String>,
    /// Whether files are copied that are in iRODS already.
    pub again: bool,
    /// What is done where other data has the name.
    pub on_conflict: OnConflict,
    /// When it was asked for.
    pub created: UnixTime,
    /// When something last became of it.
    pub changed: UnixTime,
    /// How many files it has.
    pub files: u64,
    /// Their bytes together.
    pub bytes: u64,
    /// How many are saved.
    pub saved: u64,
    /// How many were in iRODS already.
    pub already: u64,
    /// How many were refused.
    pub refused: u64,
}

/// A file of a save.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaveFile {
    /// Its number.
    pub n: u64,
    /// What was found of it in OMERO.
    pub chosen: ChosenFile,
    /// What became of it.
    pub state: SaveFileState,
    /// Where it is in iRODS.
    pub target: Option<LogicalPath>,
    /// Why it was refused.
    pub reason: Option<String>,
}

/// Which saves are listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SaveFilter {
    /// Of this user at this server.
    pub of: Option<(String, String)>,
    /// In one of these states; in any where empty.
    pub states: Vec<SaveState>,
    /// After this one.
    pub after: Option<SaveId>,
    /// Newest first.
    pub newest: bool,
    /// At most so many.
    pub limit: usize,
}

/// What became of a report, or of the end of a save.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// The save, as it is now.
    Now(Box<Save>),
    /// A report names a file that the save does not have: at this place in the list.
    NoFile(usize),
    /// It is not done: so many files have no outcome yet.
    NotYet(u64),
    /// It cannot be done, for so many files were refused.
    NotDone(u64),
}

const COLUMNS: &str = "id, server, user, caller, state, reason, objects, what, notes, collection, again, on_conflict, created, \
                       changed, files, bytes, saved, already, refused";

const FILE_COLUMNS: &str =
    "n, fileset, images, kind, place, name, size, sha1, stored, path, in_irods, state, target, reason";

fn bad(column: &str, why: impl std::fmt::Display) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, format!("{column}: {why}").into())
}

fn word<T>(row: &Row<'_>, column: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T> {
    let text: String = row.get(column)?;
    parse(&text).ok_or_else(|| bad(column, format!("'{text}' is no word of it")))
}

fn json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|e| bad(column, e))
}

fn text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
}

fn save_of(row: &Row<'_>) -> Result<Save> {
    Ok(Save {
        id: SaveId(row.get("id")?),
        server: row.get("server")?,
        user: row.get("user")?,
        caller: row.get("caller")?,
        state: word(row, "state", SaveState::parse)?,
        reason: row.get("reason")?,
        objects: json(row, "objects")?,
        what: json(row, "what")?,
        notes: json(row, "notes")?,
        collection: row.get("collection")?,
        again: row.get("again")?,
        on_conflict: word(row, "on_conflict", OnConflict::parse)?,
        created: row.get("created")?,
        changed: row.get("changed")?,
        files: row.get("files")?,
        bytes: row.get("bytes")?,
        saved: row.get("saved")?,
        already: row.get("already")?,
        refused: row.get("refused")?,
    })
}

fn file_of(row: &Row<'_>) -> Result<SaveFile> {
    let [group, project, dataset, screen, plate]: [Option<String>; 5] = json(row, "place")?;
    let path: String = row.get("path")?;
    let stored: String = row.get("stored")?;
    let stored = match stored.as_str() {
        "managed" => Stored::Managed(path),
        _ => Stored::Numbered(path.parse().map_err(|e| bad("path", e))?),
    };
    let in_irods: Option<String> = row.get("in_irods")?;
    let in_irods: Option<InIrods> =
        in_irods.map(|data| serde_json::from_str(&data).map_err(|e| bad("in_irods", e))).transpose()?;
    let target: Option<String> = row.get("target")?;
    let target = target.map(|path| LogicalPath::parse(path.as_bytes()).map_err(|e| bad("target", e)));
    let fileset: Option<u64> = row.get("fileset")?;
    Ok(SaveFile {
        n: row.get("n")?,
        chosen: ChosenFile {
            fileset: fileset.and_then(OmeroId::from_number),
            images: json(row, "images")?,
            kind: word(row, "kind", FileKind::parse)?,
            place: Place { group: group.unwrap_or_default(), project, dataset, screen, plate },
            name: row.get("name")?,
            size: row.get("size")?,
            sha1: row.get("sha1")?,
            stored,
            in_irods,
        },
        state: word(row, "state", SaveFileState::parse)?,
        target: target.transpose()?,
        reason: row.get("reason")?,
    })
}

/// A number as SQLite takes it.
fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn get(connection: &Connection, id: SaveId) -> Result<Option<Save>> {
    let sql = format!("SELECT {COLUMNS} FROM save WHERE id = ?1");
    connection.prepare_cached(&sql)?.query_row([id.0], save_of).optional()
}

impl Queue {
    /// The public name of a save: no other queue file gives the same name.
    pub fn save_name(&self, id: SaveId) -> String {
        format!("{}-s{}", self.epoch, id.0)
    }

    /// From the public name; `None` if it is of another queue.
    pub fn save_id(&self, name: &str) -> Option<SaveId> {
        let number = name.strip_prefix(&*self.epoch)?.strip_prefix("-s")?;
        let id: i64 = number.parse().ok()?;
        (id > 0 && number == id.to_string()).then_some(SaveId(id))
    }

    /// Writes a save with all its files. `None` where as many are open of this user as may be.
    ///
    /// # Errors
    /// The queue is full or cannot be written; nothing of the save is.
    pub async fn add_save(&self, save: NewSave, now: UnixTime) -> Result2<Option<Save>> {
        self.writer.write(move |w| w.add_save(&save, now)).await?
    }

    /// A save by its number.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn get_save(&self, id: SaveId) -> Result2<Option<Save>> {
        self.read(move |c| get(c, id)).await
    }

    /// Saves, the oldest first unless the filter says otherwise.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn list_saves(&self, filter: SaveFilter) -> Result2<Vec<Save>> {
        self.read(move |c| list(c, &filter)).await
    }

    /// Files of a save by their numbers, those after `after`; with a state only those in it.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn save_files(
        &self,
        id: SaveId,
        state: Option<SaveFileState>,
        after: u64,
        limit: usize,
    ) -> Result2<Vec<SaveFile>> {
        self.read(move |c| files(c, id, state, after, limit)).await
    }

    /// Says that a caller works on a save, and with a reason that it waits for something. One that has ended is left as it is.
    ///
    /// # Errors
    /// The queue cannot be used.
    pub async fn begin_save(
        &self,
        id: SaveId,
        caller: String,
        reason: Option<String>,
        now: UnixTime,
    ) -> Result2<Option<Save>> {
        self.writer.write(move |w| w.begin_save(id, &caller, reason.as_deref(), now)).await
    }

    /// Notes what became of files. Of a save that has ended nothing is noted any more.
    ///
    /// # Errors
    /// The queue cannot be used.
    pub async fn report_files(
        &self,
        id: SaveId,
        reports: Vec<FileReport>,
        now: UnixTime,
    ) -> Result2<Option<Told>> {
        self.writer.write(move |w| w.report_files(id, &reports, now)).await
    }

    /// Ends a save; one that has ended is left as it is.
    ///
    /// # Errors
    /// The queue cannot be used.
    pub async fn end_save(&self, id: SaveId, end: SaveEnd, now: UnixTime) -> Result2<Option<Told>> {
        self.writer.write(move |w| w.end_save(id, &end, now)).await
    }

    /// Cancels a save; one that has ended is left as it is.
    ///
    /// # Errors
    /// The queue cannot be used.
    pub async fn cancel_save(&self, id: SaveId, by: String, now: UnixTime) -> Result2<Option<Save>> {
        self.writer.write(move |w| w.cancel_save(id, &by, now)).await
    }

    /// How many saves there are in each state, and files of those that have not ended.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn save_counts(&self) -> Result2<SaveCounts> {
        self.read(counts).await
    }
}

/// The answer of the queue.
type Result2<T> = std::result::Result<T, QueueError>;

/// How many saves there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SaveCounts {
    /// In each state.
    pub saves: Vec<(SaveState, u64)>,
    /// Files of open saves of which nothing has become yet.
    pub queued_files: u64,
}

fn counts(connection: &Connection) -> Result<SaveCounts> {
    let found: Vec<(String, u64)> = connection
        .prepare_cached("SELECT state, count(*) FROM save GROUP BY state")?
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<Result<_>>()?;
    let count = |state: SaveState| found.iter().find(|(s, _)| s == state.as_str()).map_or(0, |(_, n)| *n);
    let queued_files = connection
        .prepare_cached(
            "SELECT coalesce(sum(files - saved - already - refused), 0) FROM save INDEXED BY save_open WHERE ended IS NULL",
        )?
        .query_row([], |r| r.get(0))?;
    Ok(SaveCounts { saves: SaveState::ALL.into_iter().map(|s| (s, count(s))).collect(), queued_files })
}

fn list(connection: &Connection, filter: &SaveFilter) -> Result<Vec<Save>> {
    let mut conditions: Vec<String> = Vec::new();
    let mut values: Vec<Box<dyn rusqlite::ToSql>> = Vec::new();
    if let Some((server, user)) = &filter.of {
        conditions.push("server = ? AND user = ?".to_owned());
        values.push(Box::new(server.clone()));
        values.push(Box::new(user.clone()));
    }
    if let Some(after) = filter.after {
        conditions.push(if filter.newest { "id < ?" } else { "id > ?" }.to_owned());
        values.push(Box::new(after.0));
    }
    if !filter.states.is_empty() {
        if filter.states.iter().all(|state| !state.is_final()) {
            conditions.push("ended IS NULL".to_owned());
        }
        let marks = vec!["?"; filter.states.len()].join(",");
        conditions.push(format!("+state IN ({marks})"));
        values.extend(filter.states.iter().map(|s| Box::new(s.as_str()) as Box<dyn rusqlite::ToSql>));
    }
    let conditions =
        if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    let order = if filter.newest { "DESC" } else { "ASC" };
    let sql = format!("SELECT {COLUMNS} FROM save{conditions} ORDER BY id {order} LIMIT {}", filter.limit);
    connection.prepare_cached(&sql)?.query_map(params_from_iter(&values), save_of)?.collect()
}

fn files(
    connection: &Connection,
    id: SaveId,
    state: Option<SaveFileState>,
    after: u64,
    limit: usize,
) -> Result<Vec<SaveFile>> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let of_state = match state {
        None => String::new(),
        Some(state) => format!(" AND state = '{}'", state.as_str()),
    };
    let sql = format!(
        "SELECT {FILE_COLUMNS} FROM save_file WHERE save = ?1 AND n > ?2{of_state} ORDER BY n LIMIT {limit}"
    );
    connection.prepare_cached(&sql)?.query_map(params![id.0, after], file_of)?.collect()
}

impl Writing<'_> {
    fn add_save(&mut self, new: &NewSave, now: UnixTime) -> Result<Result2<Option<Save>>> {
        let open: u64 = self
            .connection
            .prepare_cached("SELECT count(*) FROM save WHERE server = ?1 AND user = ?2 AND ended IS NULL")?
            .query_row([&new.server, &new.user], |r| r.get(0))?;
        if open >= new.most_open {
            return Ok(Ok(None));
        }
        // A row is about so long; the rest of it is what names and paths take.
        let bytes = new.files.iter().map(|f| 200 + f.name.len() + f.stored.path().len()).sum();
        if let Some(full) = self.full(bytes)? {
            return Ok(Err(QueueError::Full(full)));
        }
        let all: u64 = new.files.iter().fold(0, |sum, file| sum.saturating_add(file.size));
        self.run(
            "INSERT INTO save (server, user, state, objects, what, notes, collection, again, on_conflict, created, changed,
                               files, bytes)
             VALUES (?1, ?2, 'queued', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, ?11)",
            params![
                new.server,
                new.user,
                text(&new.objects)?,
                text(&new.what)?,
                text(&new.notes)?,
                new.collection,
                new.again,
                new.on_conflict.as_str(),
                now,
                new.files.len(),
                i64::try_from(all).unwrap_or(i64::MAX),
            ],
        )?;
        let id = SaveId(self.connection.last_insert_rowid());
        for (n, file) in (1_u64..).zip(&new.files) {
            let Place { group, project, dataset, screen, plate } = &file.place;
            let (stored, path) = match &file.stored {
                Stored::Managed(path) => ("managed", path.clone()),
                Stored::Numbered(number) => ("numbered", number.to_string()),
            };
            self.run(
                "INSERT INTO save_file (save, n, fileset, images, kind, place, name, size, sha1, stored, path, in_irods)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
                params![
                    id.0,
                    n,
                    file.fileset.map(OmeroId::number),
                    text(&file.images)?,
                    file.kind.as_str(),
                    text(&[Some(group), project.as_ref(), dataset.as_ref(), screen.as_ref(), plate.as_ref()])?,
                    file.name,
                    i64::try_from(file.size).unwrap_or(i64::MAX),
                    file.sha1,
                    stored,
                    path,
                    file.in_irods.as_ref().map(text).transpose()?,
                ],
            )?;
        }
        Ok(Ok(get(self.connection, id)?))
    }

    fn begin_save(
        &mut self,
        id: SaveId,
        caller: &str,
        reason: Option<&str>,
        now: UnixTime,
    ) -> Result<Option<Save>> {
        self.run(
            "UPDATE save SET state = 'running', caller = ?2, reason = ?3, changed = ?4
             WHERE id = ?1 AND ended IS NULL AND (caller IS NULL OR caller = ?2)",
            params![id.0, caller, reason, now],
        )?;
        get(self.connection, id)
    }

    fn report_files(&mut self, id: SaveId, reports: &[FileReport], now: UnixTime) -> Result<Option<Told>> {
        let Some(save) = get(self.connection, id)? else { return Ok(None) };
        if save.state.is_final() {
            return Ok(Some(Told::Now(Box::new(save))));
        }
        let mut before = Vec::with_capacity(reports.len());
        for (place, report) in reports.iter().enumerate() {
            let found: Option<String> = self
                .connection
                .prepare_cached("SELECT state FROM save_file WHERE save = ?1 AND n = ?2")?
                .query_row(params![id.0, number(report.n)], |r| r.get(0))
                .optional()?;
            match found {
                Some(state) => before.push(SaveFileState::parse(&state)),
                // Nothing of the report has been noted.
                None => return Ok(Some(Told::NoFile(place))),
            }
        }
        let mut change = [0_i64; 3];
        let counted = [SaveFileState::Saved, SaveFileState::AlreadyInIrods, SaveFileState::Refused];
        for (report, before) in reports.iter().zip(before) {
            let target = report.path.as_ref().map(|path| path.display().into_owned());
            self.run(
                "UPDATE save_file SET state = ?3, target = ?4, reason = ?5 WHERE save = ?1 AND n = ?2",
                params![id.0, number(report.n), report.state.as_str(), target, report.reason],
            )?;
            for (change, state) in change.iter_mut().zip(counted) {
                *change += i64::from(report.state == state) - i64::from(before == Some(state));
            }
        }
        let [saved, already, refused] = change;
        self.run(
            "UPDATE save SET changed = ?2, saved = saved + ?3, already = already + ?4, refused = refused + ?5 WHERE id = ?1",
            params![id.0, now, saved, already, refused],
        )?;
        Ok(get(self.connection, id)?.map(Box::new).map(Told::Now))
    }

    fn end_save(&mut self, id: SaveId, end: &SaveEnd, now: UnixTime) -> Result<Option<Told>> {
        let Some(save) = get(self.connection, id)? else { return Ok(None) };
        if save.state.is_final() {
            return Ok(Some(Told::Now(Box::new(save))));
        }
        let left = save.files.saturating_sub(save.saved + save.already + save.refused);
        if end.state == SaveState::Done && left > 0 {
            return Ok(Some(Told::NotYet(left)));
        }
        if end.state == SaveState::Done && save.refused > 0 {
            return Ok(Some(Told::NotDone(save.refused)));
        }
        self.run(
            "UPDATE save SET state = ?2, reason = ?3, changed = ?4, ended = ?4 WHERE id = ?1",
            params![id.0, end.state.as_str(), end.reason, now],
        )?;
        Ok(get(self.connection, id)?.map(Box::new).map(Told::Now))
    }

    fn cancel_save(&mut self, id: SaveId, by: &str, now: UnixTime) -> Result<Option<Save>> {
        self.run(
            "UPDATE save SET state = 'cancelled', reason = ?2, changed = ?3, ended = ?3 WHERE id = ?1 AND ended IS NULL",
            params![id.0, format!("cancelled by {by}"), now],
        )?;
        get(self.connection, id)
    }

    /// Removes saves that ended before a time, the longest ended first, at most `most`.
    pub(super) fn remove_ended_saves(&mut self, before: UnixTime, most: usize) -> Result<usize> {
        self.run(
            "DELETE FROM save WHERE id IN (SELECT id FROM save WHERE ended < ?1 ORDER BY ended LIMIT ?2)",
            params![i64::try_from(before).unwrap_or(i64::MAX), most],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Settings;
    use irods_omero_importer::Subject;
    use std::path::Path;

    fn open(directory: &Path) -> Queue {
        Queue::open(&directory.join("queue.sqlite"), Settings::default(), 1_000).unwrap()
    }

    fn file(name: &str, size: u64) -> ChosenFile {
        ChosenFile {
            fileset: OmeroId::from_number(5),
            images: vec![OmeroId::from_number(6).unwrap()],
            kind: FileKind::File,
            place: Place { group: "lab".to_owned(), dataset: Some("d 'x'".to_owned()), ..Place::default() },
            name: name.to_owned(),
            size,
            sha1: None,
            stored: Stored::Managed(format!("ann_2/t/{name}")),
            in_irods: Some(InIrods {
                zone: "z".to_owned(),
                subject: Subject::parse("d7").unwrap(),
                path: "/z/a".to_owned(),
            }),
        }
    }

    fn new(user: &str, files: Vec<ChosenFile>) -> NewSave {
        NewSave {
            server: "main".to_owned(),
            user: user.to_owned(),
            objects: vec![OmeroObject::parse("Image:6").unwrap()],
            what: vec![What::Files],
            notes: vec!["left out: 1".to_owned()],
            collection: Some("/z/home".to_owned()),
            again: true,
            on_conflict: OnConflict::Refuse,
            files,
            most_open: 2,
        }
    }

    async fn add(queue: &Queue, save: NewSave) -> SaveId {
        queue.add_save(save, 1_000).await.unwrap().unwrap().id
    }

    fn report(n: u64, state: SaveFileState) -> FileReport {
        let path = (state != SaveFileState::Refused).then(|| LogicalPath::parse(b"/z/home/a").unwrap());
        let reason = (state == SaveFileState::Refused).then(|| "no".to_owned());
        FileReport { n, state, path, reason }
    }

    async fn counts_after(queue: &Queue, id: SaveId, reports: Vec<FileReport>) -> (u64, u64, u64) {
        match queue.report_files(id, reports, 2_000).await.unwrap().unwrap() {
            Told::Now(save) => (save.saved, save.already, save.refused),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_save_and_its_files_are_what_they_were_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let numbered =
            ChosenFile { stored: Stored::Numbered(77), in_irods: None, fileset: None, ..file("n", 1) };
        let files = vec![file("a.tif", 10), numbered];
        let queue = open(dir.path());
        let id = add(&queue, new("ann", files.clone())).await;
        let (before, name) = (queue.get_save(id).await.unwrap().unwrap(), queue.save_name(id));
        drop(queue);
        let queue = open(dir.path());
        assert_eq!(queue.save_id(&name), Some(id));
        assert_eq!(queue.get_save(id).await.unwrap(), Some(before.clone()));
        assert_eq!((before.files, before.bytes, before.state), (2, 11, SaveState::Queued));
        let kept: Vec<_> = queue.save_files(id, None, 0, 10).await.unwrap();
        assert_eq!(kept.into_iter().map(|f| f.chosen).collect::<Vec<_>>(), files);
        // The name of a job is none of a save, and the other way round.
        assert_eq!((queue.id(&name), queue.save_id(&name.replace("-s", "-"))), (None, None));
    }

    #[tokio::test]
    async fn the_same_report_again_counts_once_and_the_last_one_that_differs_holds() {
        use SaveFileState::{AlreadyInIrods, Queued, Refused, Saved};
        let dir = tempfile::tempdir().unwrap();
        let queue = open(dir.path());
        let id = add(&queue, new("ann", vec![file("a", 1), file("b", 1), file("c", 1)])).await;
        let some = || vec![report(1, Saved), report(2, Refused)];
        assert_eq!(counts_after(&queue, id, some()).await, (1, 0, 1));
        assert_eq!(counts_after(&queue, id, some()).await, (1, 0, 1));
        assert_eq!(counts_after(&queue, id, vec![report(2, AlreadyInIrods)]).await, (1, 1, 0));
        let queued = queue.save_files(id, Some(Queued), 0, 10).await.unwrap();
        assert_eq!(queued.iter().map(|f| f.n).collect::<Vec<_>>(), [3]);
        // One file that is not there, and nothing of the report is noted.
        let mixed = vec![report(3, Saved), report(4, Saved)];
        assert_eq!(queue.report_files(id, mixed, 1).await.unwrap(), Some(Told::NoFile(1)));
        let end = |state| SaveEnd { state, reason: Some("why".to_owned()) };
        let early = queue.end_save(id, end(SaveState::Done), 1).await.unwrap();
        assert_eq!(early, Some(Told::NotYet(1)));
        assert_eq!(counts_after(&queue, id, vec![report(3, Refused)]).await, (1, 1, 1));
        assert_eq!(queue.end_save(id, end(SaveState::Done), 1).await.unwrap(), Some(Told::NotDone(1)));
        let ended = queue.end_save(id, end(SaveState::Refused), 3_000).await.unwrap();
        assert!(matches!(ended, Some(Told::Now(save)) if save.state == SaveState::Refused));
        // Nothing becomes of one that has ended.
        assert_eq!(counts_after(&queue, id, vec![report(3, Saved)]).await, (1, 1, 1));
        let cancelled = queue.cancel_save(id, "ann".to_owned(), 4_000).await.unwrap().unwrap();
        assert_eq!(cancelled.state, SaveState::Refused);
    }

    #[tokio::test]
    async fn the_first_zone_that_begins_has_it_and_what_ended_long_ago_goes_with_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let queue = open(dir.path());
        let id = add(&queue, new("ann", vec![file("a", 1)])).await;
        let second = add(&queue, new("ann", vec![file("a", 1)])).await;
        assert_eq!(queue.add_save(new("ann", vec![file("a", 1)]), 1).await, Ok(None), "two are open");
        assert!(queue.add_save(new("bob", vec![file("a", 1)]), 1).await.unwrap().is_some());
        let begin = |caller: &str| queue.begin_save(id, caller.to_owned(), None, 1_100);
        assert_eq!(begin("z").await.unwrap().unwrap().caller.as_deref(), Some("z"));
        assert_eq!(begin("y").await.unwrap().unwrap().caller.as_deref(), Some("z"));
        queue.cancel_save(second, "ann".to_owned(), 1_500).await.unwrap();
        assert_eq!(queue.prune(1_500).await.unwrap(), 0);
        assert_eq!(queue.prune(1_501).await.unwrap(), 1);
        assert_eq!(queue.get_save(second).await.unwrap(), None);
        assert!(queue.save_files(second, None, 0, 10).await.unwrap().is_empty());
        let counts = queue.save_counts().await.unwrap();
        assert_eq!(counts.queued_files, 2);
        assert!(
            counts.saves.contains(&(SaveState::Running, 1)) && counts.saves.contains(&(SaveState::Queued, 1))
        );
    }
}
