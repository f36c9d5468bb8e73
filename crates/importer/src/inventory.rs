//! What OMERO has of some files: the filesets of one user, with all that is needed to tell whether one is what a set of files
//! would become.

use crate::ImporterError;
use crate::command::CommandImporter;
use crate::forecast::{Allowed, Set};
use crate::process::Nobody;
use crate::worker::{self, DeleteState, FilesetQuery, Waiting};
use crate::workplace::Workplace;
use irods_omero_model::clock::UnixTime;
use irods_omero_model::names::OmeroId;
use irods_omero_model::record::Version;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How many filesets one request deletes: OMERO takes seconds for each.
const DELETED_AT_ONCE: usize = 5;

/// How long OMERO may take for what is still to be asked when the import has been ended.
const AFTER_THE_END: Duration = Duration::from_secs(10);

/// A file of a fileset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its client path.
    pub path: String,
    /// Its size in bytes, where OMERO knows it.
    pub size: Option<u64>,
    /// Its hash in hexadecimal digits.
    pub hash: Option<String>,
}

/// A fileset in OMERO.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Fileset {
    /// All its files, by the id of the entry; the lowest id is the first file of the forecast.
    pub entries: BTreeMap<u64, Entry>,
    /// Its images; none of one whose import has failed, or goes on.
    pub images: Vec<OmeroId>,
    /// Its plates.
    pub plates: Vec<OmeroId>,
    /// What our map annotation says it is of, where it has one.
    pub mark: Option<String>,
    /// What else our map annotation says, for people.
    pub pairs: Vec<(String, String)>,
    /// When it was made, by the server's clock.
    pub created: Option<UnixTime>,
    /// Whether all its files have come: only then OMERO goes on with it when its importer is no more.
    pub is_uploaded: bool,
    /// Whether its session is closed, so that OMERO has given it up.
    pub is_given_up: bool,
}

/// What a fileset is to a set of files that is to be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Just what the set would become: it bears our mark of one of the set's files, or none and everything fits.
    Same,
    /// It has our mark of a file of the set, and some of the set's files only.
    Part,
    /// No images and no mark: OMERO may still be at work on it, or its import failed.
    Unfinished,
    /// Something else.
    Other,
}

impl Fileset {
    fn of(told: worker::Fileset) -> Self {
        let entry =
            |entry: worker::Entry| (entry.id, Entry { path: entry.path, size: entry.size, hash: entry.hash });
        let (mark, pairs) = told.annotation.map(|a| (a.description, a.pairs)).unzip();
        Self {
            entries: told.entries.into_iter().map(entry).collect(),
            images: told.images,
            plates: told.plates,
            mark,
            pairs: pairs.unwrap_or_default(),
            created: Some(told.created),
            is_uploaded: told.uploaded,
            is_given_up: !told.open,
        }
    }

    /// Whether it has an entry of that client path.
    pub fn has(&self, path: &str) -> bool {
        self.entries.values().any(|entry| entry.path == path)
    }

    /// Its client paths.
    pub fn paths(&self) -> BTreeSet<String> {
        self.entries.values().map(|entry| entry.path.clone()).collect()
    }

    /// What it is to a set.
    pub fn standing(&self, set: &Set, allowed: &Allowed<'_>) -> Standing {
        let files = set.by_client_path();
        let is_whole = self.paths().iter().eq(files.keys());
        let marks = |mark: &String| {
            let of = files.iter().filter(|(path, _)| self.has(path)).map(|(_, known)| allowed.about(*known));
            let bearer = allowed.about(set.bearer);
            of.chain([bearer]).any(|(subject, version, _)| mark_of(subject, version) == *mark)
        };
        match &self.mark {
            Some(mark) if !self.images.is_empty() && marks(mark) => {
                if is_whole {
                    Standing::Same
                } else {
                    Standing::Part
                }
            }
            Some(_) => Standing::Other,
            None if self.images.is_empty() => {
                let first = self.entries.values().next();
                let is_of_key = first.is_some_and(|entry| files.contains_key(&entry.path));
                if is_whole || (is_of_key && self.has(&crate::client_path::of(&set.key))) {
                    Standing::Unfinished
                } else {
                    Standing::Other
                }
            }
            None => {
                let fits = |entry: &Entry| {
                    files.get(&entry.path).is_some_and(|known| {
                        let (_, version, checksum) = allowed.about(*known);
                        entry.size == Some(version.size) && may_be_same(entry.hash.as_deref(), checksum)
                    })
                };
                if is_whole && self.entries.values().all(fits) { Standing::Same } else { Standing::Other }
            }
        }
    }
}

/// What the annotation's description says: which data object in which version. Adoption compares it.
pub(crate) fn mark_of(subject: crate::Subject, version: Version) -> String {
    format!("iRODS {subject} version {version}")
}

/// Whether a hash in OMERO and a checksum in iRODS may be of the same bytes: where both are of one kind they are equal. OMERO
/// keeps SHA-1 (40 digits) unless told otherwise, iRODS SHA-256 or MD5.
fn may_be_same(hash: Option<&str>, checksum: Option<&str>) -> bool {
    let (Some(hash), Some(checksum)) = (hash, checksum) else { return true };
    let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    match (hash.len(), checksum.len()) {
        // MD5 has no name before it in iRODS.
        (32, 32) if is_hex(checksum) => hash.eq_ignore_ascii_case(checksum),
        _ => true,
    }
}

impl CommandImporter<'_> {
    /// The filesets of the session's user that have a file at any of some client paths, or below one of some directories,
    /// or one of some ids, with all their files. Those of others, which the user may be able to read, are none of the
    /// user's data: a client path is what its importer said it is.
    pub(crate) fn inventory(
        &self,
        place: &Workplace,
        wanted: &Wanted,
        alive: &mut dyn FnMut(),
    ) -> Result<BTreeMap<OmeroId, Fileset>, ImporterError> {
        self.inventory_within(place, wanted, &mut self.waiting(alive))
    }

    fn inventory_within(
        &self,
        place: &Workplace,
        wanted: &Wanted,
        waiting: &mut Waiting<'_>,
    ) -> Result<BTreeMap<OmeroId, Fileset>, ImporterError> {
        let paths: Vec<String> = wanted.paths.iter().cloned().collect();
        let below: Vec<String> = wanted.below.iter().cloned().collect();
        let ids: Vec<OmeroId> = wanted.ids.iter().copied().collect();
        let query = FilesetQuery { paths: &paths, below: &below, ids: &ids, all_entries: true };
        let namespace = &self.omero().server.namespace;
        let answer =
            place.ask(waiting, |worker, key, waiting| worker.filesets(key, query, namespace, waiting))?;
        let mut found = BTreeMap::new();
        for told in answer {
            let (id, count) = (told.id, told.entry_count);
            let mut fileset = Fileset::of(told);
            // Of one with very many files only some come at once.
            if u64::try_from(fileset.entries.len()).is_ok_and(|known| known < count) {
                let files = place.ask(waiting, |worker, key, waiting| worker.files(key, id, waiting))?;
                let entry = |file: worker::StoredFile| {
                    (file.id, Entry { path: file.path, size: file.size, hash: file.hash })
                };
                fileset.entries = files.entries.into_iter().map(entry).collect();
            }
            found.insert(id, fileset);
        }
        Ok(found)
    }

    /// Removes what an import leaves that was ended before all its files had come: filesets without images and without our mark
    /// that have a file at one of some client paths, were not there before, and of which nothing will come. This is done
    /// after whoever looks on has ended the import, so it takes at most some seconds.
    pub(crate) fn remove_cut_off(
        &self,
        place: &Workplace,
        paths: BTreeSet<String>,
        before: &BTreeSet<OmeroId>,
        alive: &mut dyn FnMut(),
    ) {
        let wanted = Wanted { paths, ..Wanted::default() };
        let limit = self.command_timeout().min(AFTER_THE_END);
        let mut waiting = Waiting { limit, alive, observer: &Nobody };
        let found = self.inventory_within(place, &wanted, &mut waiting);
        let removed = found.and_then(|found| {
            let is_cut_off = |(id, f): &(OmeroId, Fileset)| {
                let is_begun = f.mark.is_none() && f.images.is_empty() && !f.is_uploaded;
                is_begun && !before.contains(id) && f.paths().is_subset(&wanted.paths)
            };
            let ids: Vec<OmeroId> = found.into_iter().filter(is_cut_off).map(|(id, _)| id).collect();
            for some in ids.chunks(DELETED_AT_ONCE) {
                let list: Vec<String> = some.iter().map(ToString::to_string).collect();
                log::info!(
                    "act=delete filesets={} why=\"the import was ended before its files had come\"",
                    list.join(",")
                );
                place.ask(&mut waiting, |worker, key, waiting| worker.delete(key, some, false, waiting))?;
            }
            Ok(())
        });
        if let Err(error) = removed {
            log::info!(
                "act=delete failed=\"{error}\" why=\"the next import removes what this one has left\""
            );
        }
    }

    /// Deletes filesets with all that is in them. Gives those that are there still.
    pub(crate) fn delete(
        &self,
        place: &Workplace,
        ids: &BTreeSet<OmeroId>,
        what: Removal,
        alive: &mut dyn FnMut(),
    ) -> Result<Left, ImporterError> {
        let all: Vec<OmeroId> = ids.iter().copied().collect();
        let mut left = Left::default();
        for some in all.chunks(DELETED_AT_ONCE) {
            let items = place.ask(&mut self.waiting(alive), |worker, key, waiting| {
                worker.delete(key, some, what == Removal::WithImages, waiting)
            })?;
            for item in items {
                match item.state {
                    DeleteState::Deleted | DeleteState::Gone => {}
                    DeleteState::HasImages => {
                        left.grown.insert(item.fileset);
                    }
                    DeleteState::NotOwn | DeleteState::Failed => {
                        let why = item.error.as_ref().map_or("", |(_, why)| why.as_str());
                        log::warn!("act=delete fileset={} failed={why:?}", item.fileset);
                        left.failed.insert(item.fileset);
                    }
                }
            }
        }
        Ok(left)
    }
}

/// What is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    /// What must not be in OMERO, with its images.
    WithImages,
    /// What has no images. What has got some meanwhile is left.
    Leftovers,
}

/// The filesets that a removal has left.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Left {
    /// They could not be deleted.
    pub failed: BTreeSet<OmeroId>,
    /// They have images, and only those without were meant.
    pub grown: BTreeSet<OmeroId>,
}

/// Which filesets are asked for.
#[derive(Debug, Default, Clone)]
pub(crate) struct Wanted {
    /// That have an entry at one of these client paths.
    pub paths: BTreeSet<String>,
    /// That have an entry below one of these.
    pub below: BTreeSet<String>,
    /// These.
    pub ids: BTreeSet<OmeroId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_of_one_kind_have_to_be_equal_and_others_say_nothing() {
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        assert!(may_be_same(Some(md5), Some(md5)));
        assert!(!may_be_same(Some(&md5.replace('d', "e")), Some(md5)));
        assert!(may_be_same(Some("da39a3ee5e6b4b0d3255bfef95601890afd80709"), Some(md5)));
        assert!(may_be_same(Some(md5), Some("sha2:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")));
        assert!(may_be_same(None, Some(md5)) && may_be_same(Some(md5), None));
    }
}
