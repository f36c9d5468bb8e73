//! What a person chose in OMERO, found with the rights of that person's own session: which files these are, and where they lie
//! in OMERO's repository. Nothing here opens a file.

use crate::Subject;
use crate::process::Observer;
use crate::settings::Omero;
use crate::wire::{FileKind, InIrods, MAX_IMAGES, SaveRequest, What, clean_name};
use crate::worker::{
    ChosenAttachment, ChosenEntry, ChosenFileset, Kind, Place, SessionKey, Waiting, Worker, WorkerError,
};
use irods_omero_model::names::{NameError, OmeroId, OmeroName};
use std::collections::{HashMap, HashSet};
use std::path::{Component, Path};
use std::time::{Duration, Instant};

/// How many filesets are asked for their files at once.
const FILESETS_AT_ONCE: usize = 200;

/// What a person chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Who they are, as OMERO says.
    pub user: OmeroName,
    /// The files, those of one fileset beside each other.
    pub files: Vec<ChosenFile>,
    /// What is left out, one sentence each.
    pub notes: Vec<String>,
}

/// One file of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenFile {
    /// The fileset it belongs to; none of an attachment.
    pub fileset: Option<OmeroId>,
    /// Images of the fileset, some.
    pub images: Vec<OmeroId>,
    /// What it is.
    pub kind: FileKind,
    /// Where it is found in OMERO.
    pub place: Place,
    /// Its path below the collection.
    pub name: String,
    /// In bytes.
    pub size: u64,
    /// Its SHA-1 in hexadecimal digits, where OMERO has one.
    pub sha1: Option<String>,
    /// Where its bytes are.
    pub stored: Stored,
    /// The data it was imported from.
    pub in_irods: Option<InIrods>,
}

/// Where OMERO keeps the bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// In its `ManagedRepository`, under this path, which is relative and goes nowhere else by itself.
    Managed(String),
    /// In its directory of other files (`Files`), under a path made of this number of the `OriginalFile`.
    Numbered(u64),
}

impl Stored {
    /// The path below the directory of its kind. OMERO puts a thousand files into a directory
    /// (`ome.io.nio.AbstractFileSystemService.getPath`).
    pub fn path(&self) -> String {
        match self {
            Self::Managed(path) => path.clone(),
            Self::Numbered(number) => {
                let (mut path, mut rest) = (number.to_string(), *number);
                while rest > 999 {
                    rest /= 1000;
                    if rest > 0 {
                        path = format!("Dir-{:03}/{path}", rest % 1000);
                    }
                }
                path
            }
        }
    }
}

/// Why nothing was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChooseError {
    /// OMERO does not know the session.
    #[error("OMERO does not know this session (any more): log in again, then start it once more")]
    NoSession,
    /// OMERO could not be asked.
    #[error("OMERO could not be asked: {0}")]
    WillPass(String),
    /// There is nothing to be saved of what was chosen.
    #[error("{0}")]
    Refused(String),
}

impl From<WorkerError> for ChooseError {
    fn from(error: WorkerError) -> Self {
        match error.kind() {
            Some(Kind::SessionExpired) => Self::NoSession,
            // The only request that can be too much is one that asks for too much.
            Some(Kind::Request) => Self::Refused(error.to_string()),
            _ if error.will_pass() => Self::WillPass(error.to_string()),
            _ => Self::Refused(error.to_string()),
        }
    }
}

/// Asks OMERO in the session of a person.
#[derive(Debug)]
pub struct Visitor<'a> {
    worker: &'a dyn Worker,
    omero: &'a Omero,
    key: &'a SessionKey,
    user: OmeroName,
    until: Instant,
    observer: &'a dyn Observer,
}

impl<'a> Visitor<'a> {
    /// Joins the session. All together may take `limit`.
    ///
    /// # Errors
    /// OMERO does not know the session, or could not be asked.
    pub fn join(
        worker: &'a dyn Worker,
        omero: &'a Omero,
        key: &'a SessionKey,
        limit: Duration,
        observer: &'a dyn Observer,
    ) -> Result<Self, ChooseError> {
        let mut waiting = Waiting { limit, alive: &mut || {}, observer };
        let visited = worker.visit(&omero.server, key, &mut waiting)?;
        let user = OmeroName::parse(&visited.user).map_err(|e: NameError| {
            // Whoever is of no use as an OMERO user is nobody here.
            ChooseError::Refused(e.to_string())
        });
        let until = Instant::now() + limit;
        match user {
            Ok(user) => Ok(Self { worker, omero, key, user, until, observer }),
            Err(error) => {
                leave(worker, key, observer);
                Err(error)
            }
        }
    }

    /// Who it is, as OMERO says.
    pub fn user(&self) -> &OmeroName {
        &self.user
    }

    fn ask<T>(
        &self,
        question: impl FnOnce(&mut Waiting<'_>) -> Result<T, WorkerError>,
    ) -> Result<T, ChooseError> {
        let limit = self.until.saturating_duration_since(Instant::now());
        if limit.is_zero() {
            let why = "it took too long; choose less, or try again when OMERO has less to do";
            return Err(ChooseError::WillPass(why.to_owned()));
        }
        let mut waiting = Waiting { limit, alive: &mut || {}, observer: self.observer };
        Ok(question(&mut waiting)?)
    }

    /// Finds the files of what was chosen. `repository`: how the directory of the `ManagedRepository` is called. At most `most`.
    ///
    /// # Errors
    /// There are none, there are more, an object is not there (for this person), or OMERO could not be asked.
    pub fn choose(&self, request: &SaveRequest, repository: &Path, most: u64) -> Result<Chosen, ChooseError> {
        let attachments = request.what.contains(&What::Attachments);
        let namespace = &self.omero.server.namespace;
        let found =
            self.ask(|w| self.worker.chosen(self.key, &request.objects, namespace, attachments, most, w))?;
        if !found.missing.is_empty() {
            let some: Vec<&str> = found.missing.iter().take(10).map(String::as_str).collect();
            return Err(ChooseError::Refused(format!(
                "there is no {} in OMERO that you can see",
                some.join(", no ")
            )));
        }
        let mut files = Vec::new();
        let mut notes = Notes::default();
        notes.add(found.without_files, "images have no original files in OMERO");
        notes.add(
            found.restricted,
            "filesets may be looked at by you, but not downloaded (a setting of OMERO)",
        );
        let mut names = Names::default();
        if request.what.contains(&What::Files) {
            for some in found.filesets.chunks(FILESETS_AT_ONCE) {
                let mut entries = self.entries(some)?;
                for fileset in some {
                    let own = entries.remove(&fileset.id).unwrap_or_default();
                    let Some(place) = found.places.get(fileset.place) else { continue };
                    match files_of(fileset, place, own, repository, &mut names) {
                        Ok(of_it) => files.extend(of_it),
                        Err(why) => notes.add(1, why),
                    }
                }
                check_number(files.len(), most)?;
            }
        }
        let mut attached_names = HashSet::new();
        for attachment in found.attachments {
            let Some(place) = found.places.get(attachment.place) else { continue };
            match attached(&attachment, place, repository, &mut attached_names) {
                Ok(file) => files.push(file),
                Err(why) => notes.add(1, why),
            }
        }
        check_number(files.len(), most)?;
        let notes = notes.sentences();
        if files.is_empty() {
            let why = if notes.is_empty() {
                "what you chose holds no files".to_owned()
            } else {
                format!("nothing is left to be saved: {}", notes.join("; "))
            };
            return Err(ChooseError::Refused(why));
        }
        Ok(Chosen { user: self.user.clone(), files, notes })
    }

    fn entries(&self, filesets: &[ChosenFileset]) -> Result<HashMap<OmeroId, Vec<ChosenEntry>>, ChooseError> {
        let ids: Vec<OmeroId> = filesets.iter().map(|fileset| fileset.id).collect();
        let mut entries: HashMap<OmeroId, Vec<ChosenEntry>> = HashMap::new();
        let mut after = 0;
        loop {
            let page = self.ask(|w| self.worker.chosen_files(self.key, &ids, after, w))?;
            for entry in page.entries {
                entries.entry(entry.fileset).or_default().push(entry);
            }
            match page.after {
                Some(next) if next > after => after = next,
                _ => return Ok(entries),
            }
        }
    }
}

impl Drop for Visitor<'_> {
    fn drop(&mut self) {
        leave(self.worker, self.key, self.observer);
    }
}

/// Ends the connection; the session goes on, for it is the person's own.
fn leave(worker: &dyn Worker, key: &SessionKey, observer: &dyn Observer) {
    let mut waiting = Waiting { limit: Duration::from_secs(10), alive: &mut || {}, observer };
    if let Err(error) = worker.leave(key, &mut waiting) {
        // The worker forgets it by itself after some minutes.
        log::warn!("act=leave failed={:?}", error.to_string());
    }
}

fn check_number(files: usize, most: u64) -> Result<(), ChooseError> {
    if files as u64 <= most {
        return Ok(());
    }
    Err(ChooseError::Refused(format!("these are more than {most} files: save them in parts")))
}

/// What is left out, and how much of it.
#[derive(Debug, Default)]
struct Notes(Vec<(&'static str, u64)>);

impl Notes {
    fn add(&mut self, count: u64, what: &'static str) {
        if count == 0 {
            return;
        }
        match self.0.iter_mut().find(|(known, _)| *known == what) {
            Some((_, sum)) => *sum += count,
            None => self.0.push((what, count)),
        }
    }

    fn sentences(self) -> Vec<String> {
        self.0.into_iter().map(|(what, count)| format!("left out: {count} {what}")).collect()
    }
}

/// The names of the directories that filesets of several files have, so that each has its own.
#[derive(Debug, Default)]
struct Names(HashMap<(Place, String), OmeroId>);

impl Names {
    fn own(&mut self, place: &Place, name: String, fileset: OmeroId) -> String {
        let owner = *self.0.entry((place.clone(), name.clone())).or_insert(fileset);
        if owner == fileset { name } else { format!("{name} (fileset {fileset})") }
    }
}

const UNFINISHED: &str = "filesets are still being imported";
const ELSEWHERE: &str = "filesets or attachments have files that are not in OMERO's managed repository";

/// The files of a fileset, all or none.
fn files_of(
    fileset: &ChosenFileset,
    place: &Place,
    entries: Vec<ChosenEntry>,
    repository: &Path,
    names: &mut Names,
) -> Result<Vec<ChosenFile>, &'static str> {
    if entries.is_empty() {
        return Err("filesets have no files that you can see");
    }
    let mut relative = Vec::with_capacity(entries.len());
    for entry in &entries {
        let stored = managed(&entry.stored, entry.root.as_deref(), repository).ok_or(ELSEWHERE)?;
        let below = stored.strip_prefix(&entry.prefix).and_then(|rest| rest.strip_prefix('/'));
        relative.push(below.ok_or(ELSEWHERE)?.to_owned());
    }
    let top = match &relative[..] {
        [_] => None,
        several => Some(names.own(place, top_of(several, &entries, fileset.id), fileset.id)),
    };
    let in_irods = fileset.data.as_ref().and_then(|data| {
        // Its owner may have written anything there.
        let subject = Subject::parse(&data.subject).ok()?;
        Some(InIrods { zone: data.zone.clone(), subject, path: data.path.clone() })
    });
    let has_top = shared_top(&relative).is_some();
    let file = |(entry, relative): (ChosenEntry, String)| {
        let name = match (&top, relative.split_once('/')) {
            (None, _) => relative.rsplit('/').next().unwrap_or_default().to_owned(),
            (Some(top), Some((_, rest))) if has_top => format!("{top}/{rest}"),
            (Some(top), _) => format!("{top}/{relative}"),
        };
        Ok(ChosenFile {
            fileset: Some(fileset.id),
            images: fileset.images.iter().copied().take(MAX_IMAGES).collect(),
            kind: FileKind::File,
            place: place.clone(),
            name: clean_name(&name),
            size: entry.size.ok_or(UNFINISHED)?,
            sha1: sha1(entry.hash, entry.hasher.as_deref()),
            stored: Stored::Managed(entry.stored),
            in_irods: in_irods.clone(),
        })
    };
    entries.into_iter().zip(relative).map(file).collect()
}

/// The first directory that all of some paths lie in, if there is one.
fn shared_top(relative: &[String]) -> Option<&str> {
    let tops: Option<Vec<&str>> =
        relative.iter().map(|path| path.split_once('/').map(|(top, _)| top)).collect();
    let tops = tops?;
    let first = *tops.first()?;
    tops.iter().all(|top| *top == first).then_some(first)
}

/// The name of the directory that the files of a fileset of several get: the one that OMERO keeps them in, else the one they were
/// imported from.
fn top_of(relative: &[String], entries: &[ChosenEntry], fileset: OmeroId) -> String {
    if let Some(top) = shared_top(relative) {
        return clean_name(top);
    }
    let mut common: Option<Vec<&str>> = None;
    for entry in entries {
        let mut directories: Vec<&str> = entry.path.split('/').filter(|e| !e.is_empty()).collect();
        directories.pop();
        common = Some(match common {
            None => directories,
            Some(before) => {
                let same = before.iter().zip(&directories).take_while(|(a, b)| a == b).count();
                before[..same].to_vec()
            }
        });
    }
    let name = common.and_then(|common| common.last().map(|name| clean_name(name)));
    name.unwrap_or_else(|| format!("fileset {fileset}"))
}

fn attached(
    attachment: &ChosenAttachment,
    place: &Place,
    repository: &Path,
    names: &mut HashSet<(Place, String)>,
) -> Result<ChosenFile, &'static str> {
    let stored = match &attachment.stored {
        Some(path) => {
            let managed = managed(path, attachment.root.as_deref(), repository).ok_or(ELSEWHERE)?;
            Stored::Managed(managed.to_owned())
        }
        None => Stored::Numbered(attachment.file),
    };
    let name = attachment.name.rsplit('/').next().unwrap_or_default();
    let mut name = clean_name(&format!("attachments/{name}"));
    // Several things may have a file of one name.
    if !names.insert((place.clone(), name.clone())) {
        let (stem, ending) = match name.rsplit_once('.') {
            Some((stem, ending)) if !stem.ends_with('/') => (stem, format!(".{ending}")),
            _ => (name.as_str(), String::new()),
        };
        name = format!("{stem} (file {}){ending}", attachment.file);
    }
    Ok(ChosenFile {
        fileset: None,
        images: Vec::new(),
        kind: FileKind::Attachment,
        place: place.clone(),
        name,
        size: attachment.size.ok_or("attachments are still being uploaded")?,
        sha1: sha1(attachment.hash.clone(), attachment.hasher.as_deref()),
        stored,
        in_irods: None,
    })
}

/// The path of a file in the managed repository, if it is one that only OMERO's own entry for it can have.
///
/// OMERO keeps each (repository, path, name) once, so nobody has an entry for another's file, as long as the text is the one
/// OMERO itself writes. Anybody can make an entry that names a repository of their own invention, or the same place in other
/// words (`/x`, `x//y`, `x/../y`): these are none.
fn managed<'s>(stored: &'s str, root: Option<&str>, repository: &Path) -> Option<&'s str> {
    let is_ours = Path::new(root?).file_name()? == repository.file_name()?;
    let plain = !stored.is_empty()
        && stored.split('/').all(|element| !matches!(element, "" | "." | ".."))
        && Path::new(stored).components().all(|c| matches!(c, Component::Normal(_)));
    (is_ours && plain).then_some(stored)
}

fn sha1(hash: Option<String>, hasher: Option<&str>) -> Option<String> {
    let hash = hash.filter(|_| hasher == Some("SHA1-160"))?.to_ascii_lowercase();
    (hash.len() == 40 && hash.bytes().all(|b| b.is_ascii_hexdigit())).then_some(hash)
}

/// The data that an annotation of ours says a fileset was imported from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct ImportedFrom {
    /// The zone.
    pub zone: String,
    /// The data object (`d10234`) or collection (`c10234`).
    pub subject: String,
    /// The logical path at that time.
    pub path: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fileset: u64, path: &str, stored: &str) -> ChosenEntry {
        ChosenEntry {
            id: 1,
            fileset: OmeroId::from_number(fileset).unwrap(),
            path: path.to_owned(),
            prefix: "ann_2/t".to_owned(),
            stored: format!("ann_2/t/{stored}"),
            size: Some(3),
            hash: Some("1ACD4134A7BF82ADD372C8F03752F1A11B0C5411".to_owned()),
            hasher: Some("SHA1-160".to_owned()),
            root: Some("/OMERO/ManagedRepository".to_owned()),
        }
    }

    fn names(
        fileset: u64,
        entries: Vec<ChosenEntry>,
        names: &mut Names,
    ) -> Result<Vec<String>, &'static str> {
        let fileset = ChosenFileset {
            id: OmeroId::from_number(fileset).unwrap(),
            place: 0,
            images: Vec::new(),
            data: None,
        };
        let place = Place { group: "lab".to_owned(), ..Place::default() };
        let files = files_of(&fileset, &place, entries, Path::new("/mnt/ManagedRepository"), names)?;
        assert!(files.iter().all(|f| f.sha1.as_deref() == Some("1acd4134a7bf82add372c8f03752f1a11b0c5411")));
        Ok(files.into_iter().map(|f| f.name).collect())
    }

    #[test]
    fn one_file_has_its_name_and_several_keep_their_directories_each_fileset_in_its_own() {
        let mut known = Names::default();
        assert_eq!(names(1, vec![entry(1, "d/a.tif", "d/a.tif")], &mut known), Ok(vec!["a.tif".to_owned()]));
        let zarr = |id| {
            vec![entry(id, "v/x.zarr/.zattrs", "x.zarr/.zattrs"), entry(id, "v/x.zarr/0/0", "x.zarr/0/0")]
        };
        assert_eq!(names(2, zarr(2), &mut known).unwrap(), ["x.zarr/.zattrs", "x.zarr/0/0"]);
        assert_eq!(
            names(3, zarr(3), &mut known).unwrap(),
            ["x.zarr (fileset 3)/.zattrs", "x.zarr (fileset 3)/0/0"]
        );
        let flat = vec![entry(4, "v/run 1/p.pattern", "p.pattern"), entry(4, "v/run 1/t/1.tif", "t/1.tif")];
        assert_eq!(names(4, flat, &mut known).unwrap(), ["run 1/p.pattern", "run 1/t/1.tif"]);
        let nowhere = vec![entry(5, "a.tif", "a.tif"), entry(5, "b.tif", "b.tif")];
        assert_eq!(names(5, nowhere, &mut known).unwrap(), ["fileset 5/a.tif", "fileset 5/b.tif"]);
    }

    #[test]
    fn a_file_that_is_not_surely_omeros_own_is_left_out_with_its_fileset() {
        let with = |stored: &str, root: Option<&str>| {
            let mut bad = entry(1, "b.tif", "b.tif");
            bad.stored = stored.to_owned();
            bad.root = root.map(str::to_owned);
            names(1, vec![entry(1, "a.tif", "a.tif"), bad], &mut Names::default())
        };
        let root = Some("/OMERO/ManagedRepository");
        assert!(with("ann_2/t/b.tif", root).is_ok());
        for stored in [
            "/ann_2/t/b.tif",
            "ann_2/t//b.tif",
            "ann_2/t/../../bob_3/t/b.tif",
            "ann_2/t/./b.tif",
            "bob_3/t/b.tif",
            "",
        ] {
            assert_eq!(with(stored, root), Err(ELSEWHERE), "{stored}");
        }
        for root in [None, Some("/OMERO"), Some("/home/ann/other")] {
            assert_eq!(with("ann_2/t/b.tif", root), Err(ELSEWHERE), "{root:?}");
        }
        let mut unfinished = entry(1, "a.tif", "a.tif");
        unfinished.size = None;
        assert_eq!(names(1, vec![unfinished], &mut Names::default()), Err(UNFINISHED));
    }

    #[test]
    fn numbered_files_lie_where_omero_puts_them() {
        for (number, path) in [
            (7, "7"),
            (999, "999"),
            (1_000, "Dir-001/1000"),
            (12_345, "Dir-012/12345"),
            (1_234_567, "Dir-001/Dir-234/1234567"),
        ] {
            assert_eq!(Stored::Numbered(number).path(), path);
        }
    }
}
