//! Follow: iRODS has moved bytes that an image in OMERO shows, so the links in OMERO's repository are pointed to where they are
//! now.
//!
//! Which path that is says the catalog, asked by data id; here it is looked at as before an import: a regular file of that size
//! below the opened directories, without a link on the way. Which link is exchanged says OMERO: one of a fileset that belongs
//! to the user, bears our annotation, and leads to where the record says that this data was. Nothing else is touched, so
//! whoever puts other data at an old path gains nothing by it.
//!
//! Every step can be repeated: the link, the client path and the annotation in OMERO, and last the record in iRODS. Who finds a
//! link that leads to the new place already goes on behind it.

use crate::client_path;
use crate::command::CommandImporter;
use crate::files::{self, Expected, Wrong};
use crate::inventory::{Fileset, Wanted, mark_of};
use crate::links::{self, Cut};
use crate::replaced::{REPLACED_BY, has_hash, read_mark};
use crate::worker::{FilesetFiles, Note, StoredFile};
use crate::workplace::Workplace;
use crate::{ImporterError, Subject};
use irods_omero_model::clock::UnixTime;
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::{LogicalPath, OmeroId};
use irods_omero_model::record::{Print, Version};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// By how much the clocks of OMERO and of a file system may differ, in seconds.
const SKEW: i64 = 300;

/// Larger files, in bytes, are not read to see whether their bytes are those that were imported.
const MAX_READ: u64 = 1 << 30;

/// The key under which our annotation says where the data is.
pub(crate) const PATH: &str = "iRODS path";

/// The key under which our annotation says that the files of a set lie apart.
const APART: &str = "iRODS files apart";

/// The files of one fileset whose bytes lie elsewhere now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follow {
    /// Whose the fileset is.
    pub identity: OmeroIdentity,
    /// The fileset.
    pub fileset: OmeroId,
    /// Its files that have moved: at least one.
    pub files: Vec<MovedFile>,
}

/// A file whose bytes lie elsewhere now, or a directory that is one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedFile {
    /// The data object or collection.
    pub subject: Subject,
    /// Its logical path now.
    pub logical_path: LogicalPath,
    /// The path under which the importer sees its bytes now; absolute.
    pub importer_path: String,
    /// The path under which the importer saw them.
    pub place: Print,
    /// The replica's modify time and size now.
    pub version: Version,
    /// Whether the catalog proves that these are the bytes that were imported; else they are looked at.
    pub is_proved: bool,
    /// Whether it is the key file, which the fileset's annotation names.
    pub is_key: bool,
}

/// What became of one file of a [`Follow`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// OMERO sees it where it is.
    Done,
    /// Nothing was done, and nothing will be as things are; a sentence says why and what to do.
    Left(String),
    /// It could not be done for now.
    Later(String),
}

/// One file of the fileset in the repository.
struct Link<'f> {
    file: &'f StoredFile,
    /// Where it leads; `None` if it is no link.
    target: Option<String>,
}

impl CommandImporter<'_> {
    pub(crate) fn follow_files(
        &self,
        follow: &Follow,
        now: UnixTime,
        alive: &mut dyn FnMut(),
    ) -> Result<Vec<Followed>, ImporterError> {
        self.clean_up();
        let (lease, place) = self.begin_for(&follow.identity, now, alive)?;
        let done = self.follow_in(follow, &place, alive);
        if place.lost.load(Ordering::Relaxed) {
            lease.discard();
        }
        done
    }

    fn follow_in(
        &self,
        follow: &Follow,
        place: &Workplace,
        alive: &mut dyn FnMut(),
    ) -> Result<Vec<Followed>, ImporterError> {
        let (id, user) = (follow.fileset, &follow.identity.user);
        let all = |why: String| Ok(vec![Followed::Left(why); follow.files.len()]);
        let wanted = Wanted { ids: [id].into(), ..Wanted::default() };
        let Some(fileset) = self.inventory(place, &wanted, alive)?.remove(&id) else {
            return all(format!(
                "OMERO has no fileset {id} of '{user}' any more, so there is no link to point to where the data is"
            ));
        };
        let Some((bearer, _)) = fileset.mark.as_deref().and_then(read_mark) else {
            return all(format!(
                "the fileset {id} in OMERO does not bear our annotation, so its links are left as they are"
            ));
        };
        let files =
            place.ask(&mut self.waiting(alive), |worker, key, waiting| worker.files(key, id, waiting))?;
        let root = repository(&files)?;
        let within = format!("{}/", files.prefix);
        let mut links = Vec::new();
        for file in files.entries.iter().filter(|file| file.stored.starts_with(&within)) {
            let target = links::target(&root, &file.stored).map_err(|e| unreadable(&root, &e))?;
            links.push(Link { file, target });
        }
        let mut paths = BTreeMap::new();
        let mut outcomes = Vec::new();
        for file in &follow.files {
            alive();
            outcomes.push(if file.is_key && file.subject != bearer {
                Followed::Left(format!(
                    "the annotation of the fileset {id} in OMERO says that it is of {bearer}, so its links are left as they are"
                ))
            } else {
                self.follow_one(file, &fileset, &root, &mut links, &mut paths, alive)
            });
        }
        let written = self.tell_new_places(follow, &fileset, place, &links, &paths, &outcomes, alive);
        if let Err(error) = written {
            let later = |outcome: Followed| match outcome {
                Followed::Done => Followed::Later(error.to_string()),
                left => left,
            };
            outcomes = outcomes.into_iter().map(later).collect();
        }
        Ok(outcomes)
    }

    /// Points the links of one file, or of one directory, to where its bytes are.
    fn follow_one(
        &self,
        moved: &MovedFile,
        fileset: &Fileset,
        root: &Path,
        links: &mut [Link<'_>],
        paths: &mut BTreeMap<u64, String>,
        alive: &mut dyn FnMut(),
    ) -> Followed {
        let roots = self.roots();
        let (new, mut found, mut changed) = (&moved.importer_path, false, false);
        for link in links.iter_mut() {
            let Some(target) = &link.target else { continue };
            let on_the_way = || is_on_the_way(target, link.file.id, moved, fileset).then(|| new.clone());
            let Some(goal) = goal_of(target, moved).or_else(on_the_way) else { continue };
            found = true;
            if let Err(other) = look_at(&goal, link.file, moved, fileset, &roots, alive) {
                return other;
            }
            if goal != *target {
                match links::cut(root, &link.file.stored, target, &goal) {
                    Ok(Cut::Cut) => changed = true,
                    // Somebody else is at it.
                    Ok(Cut::Left) => {
                        return Followed::Later(format!(
                            "the link {} in OMERO's repository was changed at the same moment",
                            link.file.stored
                        ));
                    }
                    Err(error) => {
                        return Followed::Later(format!(
                            "the link {} below {} cannot be pointed to where the data is: {error}; let the importer's account \
                             on this host write there, or have an agent on the OMERO host import (docs/agent.md)",
                            link.file.stored,
                            root.display()
                        ));
                    }
                }
            }
            paths.insert(link.file.id, client_path::of(&goal));
            link.target = Some(goal);
        }
        if changed {
            log::info!(
                "act=follow fileset={} subject=\"{}\" path={:?} to={new:?}",
                fileset_of(fileset),
                moved.subject,
                moved.logical_path.display()
            );
        }
        if found || links.iter().all(|link| link.target.is_none()) {
            return Followed::Done; // OMERO has copies of its own where there are no links
        }
        Followed::Left(
            "no link of its fileset in OMERO's repository leads to where the data was: somebody has changed it, so it is left as \
             it is. If its images cannot be opened, delete them in OMERO and have the data imported again"
                .to_owned(),
        )
    }

    /// Tells OMERO where the files are: their client paths, and our annotation.
    #[allow(clippy::too_many_arguments)] // all that was found out
    fn tell_new_places(
        &self,
        follow: &Follow,
        fileset: &Fileset,
        place: &Workplace,
        links: &[Link<'_>],
        paths: &BTreeMap<u64, String>,
        outcomes: &[Followed],
        alive: &mut dyn FnMut(),
    ) -> Result<(), ImporterError> {
        let is_new =
            |(id, path): &(&u64, &String)| fileset.entries.get(*id).is_none_or(|entry| entry.path != **path);
        let new: Vec<(u64, String)> =
            paths.iter().filter(is_new).map(|(id, path)| (*id, path.clone())).collect();
        if !new.is_empty() {
            place.ask(&mut self.waiting(alive), |worker, key, waiting| {
                worker.relocate(key, follow.fileset, &new, waiting)
            })?;
        }
        let mut pairs = fileset.pairs.clone();
        let mut description = fileset.mark.clone().unwrap_or_default();
        let done = follow.files.iter().zip(outcomes).filter(|(_, outcome)| **outcome == Followed::Done);
        for (file, _) in done.filter(|(file, _)| file.is_key) {
            set(&mut pairs, PATH, file.logical_path.display().into_owned());
            description = mark_of(file.subject, file.version);
        }
        match apart(links) {
            Some(places) => {
                log::warn!(
                    "act=follow fileset={} why=\"the files of this set lie apart now\" in={places:?}",
                    follow.fileset
                );
                set(&mut pairs, APART, places);
            }
            None => pairs.retain(|(key, _)| key != APART),
        }
        // The links show the right bytes again.
        pairs.retain(|(key, _)| key != REPLACED_BY);
        if pairs == fileset.pairs && Some(&description) == fileset.mark.as_ref() {
            return Ok(());
        }
        let note = Note { fileset: follow.fileset, description, pairs };
        let left = self.write_notes(place, vec![note], true, alive);
        if left.is_empty() {
            Ok(())
        } else {
            Err(ImporterError::WillPass(
                "OMERO did not take the annotation that names the new path".to_owned(),
            ))
        }
    }
}

fn set(pairs: &mut Vec<(String, String)>, key: &str, value: String) {
    match pairs.iter_mut().find(|(k, _)| k == key) {
        Some(pair) => pair.1 = value,
        None => pairs.push((key.to_owned(), value)),
    }
}

fn fileset_of(fileset: &Fileset) -> String {
    fileset.mark.clone().unwrap_or_default()
}

/// The root of the repository in which a fileset's files are.
pub(crate) fn repository(files: &FilesetFiles) -> Result<PathBuf, ImporterError> {
    let root = files.repository.as_ref().map(|repository| PathBuf::from(&repository.root));
    let root = root.filter(|root| root.is_absolute() && root != Path::new("/"));
    root.ok_or_else(|| ImporterError::WillPass("OMERO does not tell where its repository is".to_owned()))
}

fn unreadable(root: &Path, error: &io::Error) -> ImporterError {
    ImporterError::WillPass(format!(
        "OMERO's repository {} cannot be looked into on this host ({error}), so the link cannot be pointed to where the data is: \
         mount it here and let the importer's account write there, or have an agent on the OMERO host import (docs/agent.md)",
        root.display()
    ))
}

/// Where a link is to lead that leads to `target`: to where the data is, if it leads to where it was, or to where it is.
fn goal_of(target: &str, moved: &MovedFile) -> Option<String> {
    let new = &moved.importer_path;
    let is_old = |path: &str| Print::of(path.as_bytes()) == moved.place;
    // One that was cut off, because other data had come to the old path, is ours too.
    let target = links::shown_before(target).unwrap_or(target);
    match moved.subject {
        Subject::DataObject(_) => (target == new || is_old(target)).then(|| new.clone()),
        Subject::Collection(_) => {
            // A directory holds many files; the link of each leads somewhere below it.
            let mut slashes =
                target.match_indices('/').map(|(at, _)| target.split_at(at)).filter(|(d, _)| !d.is_empty());
            let of = |(directory, rest): (&str, &str)| {
                (directory == new || is_old(directory)).then(|| format!("{new}{rest}"))
            };
            slashes.find_map(of)
        }
    }
}

/// Whether the only link of a fileset leads to where its data was between the place in the record and the one it has now:
/// whoever pointed it there died before the record was written, and the data was moved again. Then it leads to the client
/// path that OMERO has, or nowhere.
fn is_on_the_way(target: &str, entry: u64, moved: &MovedFile, fileset: &Fileset) -> bool {
    let is_only = moved.is_key && fileset.entries.len() == 1;
    let is_known = || fileset.entries.get(&entry).is_some_and(|entry| entry.path == client_path::of(target));
    let is_gone =
        || std::fs::symlink_metadata(target).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    is_only && matches!(moved.subject, Subject::DataObject(_)) && (is_known() || is_gone())
}

/// Looks at a file as before an import. `Err`: the link is not pointed to it.
fn look_at(
    goal: &str,
    file: &StoredFile,
    moved: &MovedFile,
    fileset: &Fileset,
    roots: &[PathBuf],
    alive: &mut dyn FnMut(),
) -> Result<(), Followed> {
    let size = match moved.subject {
        Subject::DataObject(_) => moved.version.size,
        Subject::Collection(_) => file.size.unwrap_or_default(),
    };
    if file.size.is_some_and(|was| was != size) {
        return Err(Followed::Left(format!(
            "the file has {size} bytes, and OMERO knows it with {}: other bytes are not shown under the old images",
            file.size.unwrap_or_default()
        )));
    }
    let identity = files::check(goal, Expected::File(size), roots).map_err(|wrong| match wrong {
        Wrong::File(why) => Followed::Left(why),
        Wrong::Late(why) | Wrong::Root(why) => Followed::Later(why),
    })?;
    if moved.is_proved || matches!(moved.subject, Subject::Collection(_)) {
        return Ok(());
    }
    // A file that was only renamed was written before its import. One that was copied is read.
    let made = fileset.created.and_then(|at| i64::try_from(at).ok());
    if made.is_some_and(|made| identity.modified_at().saturating_add(SKEW) < made) || size > MAX_READ {
        return Ok(());
    }
    match has_hash(goal, file.hash.as_deref(), roots, alive) {
        Some(false) => Err(Followed::Left(
            "the file does not have the bytes that were imported: they are not shown under the old images"
                .to_owned(),
        )),
        Some(true) | None => Ok(()),
    }
}

/// Where the files of a set lie, if they do not lie to each other as they did when they were imported.
fn apart(links: &[Link<'_>]) -> Option<String> {
    let mut places: Vec<String> = Vec::new();
    let prefix = common(links.iter().map(|link| parent(&link.file.stored)));
    for link in links {
        let Some(target) = &link.target else { continue };
        let relative = parent(&link.file.stored).strip_prefix(&prefix).unwrap_or_default();
        let directory = parent(target);
        let base = directory.strip_suffix(relative).unwrap_or(directory);
        let base = base.trim_end_matches('/').to_owned();
        if !places.contains(&base) {
            places.push(base);
        }
    }
    (places.len() > 1).then(|| {
        places.truncate(10);
        places.join(", ")
    })
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// The directory that several have in common.
fn common<'p>(mut directories: impl Iterator<Item = &'p str>) -> String {
    let mut common = directories.next().unwrap_or_default().to_owned();
    for directory in directories {
        while !(directory == common || directory.starts_with(&format!("{common}/"))) {
            common = parent(&common).to_owned();
            if common.is_empty() {
                break;
            }
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;
    use irods_omero_model::names::{CollectionId, DataId};

    fn moved(subject: Subject, old: &str, new: &str) -> MovedFile {
        MovedFile {
            subject,
            logical_path: LogicalPath::parse(b"/z/a").unwrap(),
            importer_path: new.to_owned(),
            place: Print::of(old.as_bytes()),
            version: Version { modify_time: 1, size: 5 },
            is_proved: true,
            is_key: true,
        }
    }

    fn data() -> Subject {
        Subject::DataObject(DataId::parse("7").unwrap())
    }

    #[test]
    fn only_a_link_that_leads_to_where_the_data_was_or_is_leads_to_it_afterwards() {
        let file = moved(data(), "/v/a.tif", "/v/b.tif");
        for target in ["/v/a.tif", "/v/b.tif"] {
            assert_eq!(goal_of(target, &file).as_deref(), Some("/v/b.tif"), "{target}");
        }
        let cut = "/irods-data-replaced/by-data-id-9/v/a.tif";
        assert_eq!(goal_of(cut, &file).as_deref(), Some("/v/b.tif"), "other data had come to the old path");
        for other in ["/v/c.tif", "/v/a.tif/x", "a.tif", "/irods-data-replaced/by-data-id-9/v/c.tif", ""] {
            assert_eq!(goal_of(other, &file), None, "{other}");
        }
    }

    #[test]
    fn the_links_of_a_directory_lead_below_it_afterwards() {
        let directory = Subject::Collection(CollectionId::parse("7").unwrap());
        let directory = moved(directory, "/v/old/x.zarr", "/v/new/x.zarr");
        for target in ["/v/old/x.zarr/0/.zarray", "/v/new/x.zarr/0/.zarray"] {
            assert_eq!(goal_of(target, &directory).as_deref(), Some("/v/new/x.zarr/0/.zarray"), "{target}");
        }
        for other in ["/v/old/x.zarrs/0", "/v/old/x", "x.zarr/0"] {
            assert_eq!(goal_of(other, &directory), None, "{other}");
        }
    }

    #[test]
    fn files_lie_apart_when_they_do_not_lie_to_each_other_as_in_the_repository() {
        let file = |stored: &str| StoredFile {
            id: 1,
            path: String::new(),
            file: 1,
            name: String::new(),
            stored: stored.to_owned(),
            size: None,
            hash: None,
            hasher: None,
        };
        let files = [file("ann_4/12/x.key"), file("ann_4/12/sub/a.tif"), file("ann_4/12/sub/b.tif")];
        let apart_of = |targets: [&str; 3]| {
            let links: Vec<Link<'_>> = files
                .iter()
                .zip(targets)
                .map(|(file, target)| Link { file, target: Some(target.to_owned()) })
                .collect();
            apart(&links)
        };
        assert_eq!(apart_of(["/v/x.key", "/v/sub/a.tif", "/v/sub/b.tif"]), None);
        assert_eq!(apart_of(["/w/r/renamed.key", "/w/r/sub/a.tif", "/w/r/sub/c.tif"]), None);
        assert_eq!(apart_of(["/v/x.key", "/v/sub/a.tif", "/w/b.tif"]).as_deref(), Some("/v, /w"));
        assert_eq!(apart_of(["/w/x.key", "/v/sub/a.tif", "/v/sub/b.tif"]).as_deref(), Some("/w, /v"));
    }
}
