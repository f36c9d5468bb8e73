//! What OMERO has of some files: the filesets of one user, with all that is needed to tell whether one is what a set of files
//! would become.

use crate::ImporterError;
use crate::command::{CommandImporter, chunks, is_same_user, literal, literal_lists};
use crate::forecast::{Allowed, Set};
use crate::workplace::Workplace;
use irods_omero_model::clock::UnixTime;
use irods_omero_model::names::{OmeroId, OmeroName};
use irods_omero_model::record::Version;
use std::collections::{BTreeMap, BTreeSet};

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
    /// When it was made, by the server's clock.
    pub created: Option<UnixTime>,
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
            let bearer = allowed.about(crate::forecast::Known::File(set.bearer));
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
    /// The filesets of a user that have a file at any of some client paths, or below one of some directories, or one of some
    /// ids. Those of others, which the user may be able to read, are none of the user's data: a client path is what its
    /// importer said it is.
    pub(crate) fn inventory(
        &self,
        place: &Workplace,
        user: &OmeroName,
        wanted: &Wanted,
        alive: &mut dyn FnMut(),
    ) -> Result<BTreeMap<OmeroId, Fileset>, ImporterError> {
        let mut ids = wanted.ids.clone();
        for list in literal_lists(wanted.paths.iter().map(String::as_str)) {
            let query =
                format!("select distinct fe.fileset.id from FilesetEntry fe where fe.clientPath in ({list})");
            ids.extend(one_column(&self.ask(place, &query, alive)?));
        }
        for directory in &wanted.below {
            let below = format!("{directory}/");
            let query = format!(
                "select distinct fe.fileset.id from FilesetEntry fe where substring(fe.clientPath, 1, {}) = {}",
                below.chars().count(),
                literal(&below)
            );
            ids.extend(one_column(&self.ask(place, &query, alive)?));
        }
        let mut found = self.entries(place, user, &ids, alive)?;
        self.contents(place, &mut found, alive)?;
        Ok(found)
    }

    /// The filesets of a user among some, with their files.
    fn entries(
        &self,
        place: &Workplace,
        user: &OmeroName,
        ids: &BTreeSet<OmeroId>,
        alive: &mut dyn FnMut(),
    ) -> Result<BTreeMap<OmeroId, Fileset>, ImporterError> {
        let mut found: BTreeMap<OmeroId, Fileset> = BTreeMap::new();
        for ids in chunks(ids) {
            let query = format!(
                "select fe.fileset.id, fe.id, fe.clientPath, fe.originalFile.size, fe.originalFile.hash, \
                 fe.fileset.details.owner.omeName, fe.fileset.details.creationEvent.time from FilesetEntry fe where \
                 fe.fileset.id in ({ids})"
            );
            for row in self.ask(place, &query, alive)? {
                if let [fileset, entry, path, size, hash, owner, time] = row.as_slice()
                    && is_same_user(owner, user)
                    && let (Ok(fileset), Ok(entry)) = (OmeroId::parse(fileset), entry.parse())
                {
                    let hash = Some(hash.clone()).filter(|hash| hash != "None");
                    let file = Entry { path: path.clone(), size: size.parse().ok(), hash };
                    let fileset = found.entry(fileset).or_default();
                    fileset.entries.insert(entry, file);
                    fileset.created = fileset.created.or_else(|| time_of(time));
                }
            }
        }
        Ok(found)
    }

    /// Adds to filesets their images, plates and marks.
    fn contents(
        &self,
        place: &Workplace,
        found: &mut BTreeMap<OmeroId, Fileset>,
        alive: &mut dyn FnMut(),
    ) -> Result<(), ImporterError> {
        for ids in chunks(&found.keys().copied().collect()) {
            let images =
                format!("select i.fileset.id, i.id from Image i where i.fileset.id in ({ids}) order by i.id");
            let plates = format!(
                "select distinct s.image.fileset.id, p.id from Plate p join p.wells w join w.wellSamples s where \
                 s.image.fileset.id in ({ids})"
            );
            for (query, is_plate) in [(images, false), (plates, true)] {
                for row in self.ask(place, &query, alive)? {
                    if let [fileset, id] = row.as_slice()
                        && let (Ok(fileset), Ok(id)) = (OmeroId::parse(fileset), OmeroId::parse(id))
                        && let Some(fileset) = found.get_mut(&fileset)
                    {
                        if is_plate { fileset.plates.push(id) } else { fileset.images.push(id) }
                    }
                }
            }
            let namespace = literal(&self.omero().server.namespace);
            let marks = format!(
                "select l.parent.id, l.child.description from FilesetAnnotationLink l where l.child.ns = {namespace} \
                 and l.parent.id in ({ids}) order by l.child.id"
            );
            for row in self.ask(place, &marks, alive)? {
                if let [fileset, mark] = row.as_slice()
                    && let Ok(fileset) = OmeroId::parse(fileset)
                    && let Some(fileset) = found.get_mut(&fileset)
                {
                    fileset.mark = Some(mark.clone());
                }
            }
        }
        Ok(())
    }

    /// Deletes filesets with all that is in them. Gives those that are there still.
    pub(crate) fn delete(
        &self,
        place: &Workplace,
        ids: &BTreeSet<OmeroId>,
        alive: &mut dyn FnMut(),
    ) -> Result<BTreeSet<OmeroId>, ImporterError> {
        for ids in chunks(ids) {
            let words = Self::delete_words(&ids);
            self.run(place, &words, "", None, self.command_timeout(), alive)?;
        }
        let mut left = BTreeSet::new();
        for ids in chunks(ids) {
            let query = format!("select f.id from Fileset f where f.id in ({ids})");
            left.extend(one_column(&self.ask(place, &query, alive)?));
        }
        Ok(left)
    }
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

fn one_column(rows: &[Vec<String>]) -> impl Iterator<Item = OmeroId> {
    rows.iter().filter_map(|row| OmeroId::parse(row.first()?).ok())
}

/// `Tue Nov 24 02:10:48 2026`, UTC, as the `omero` command prints a time.
fn time_of(text: &str) -> Option<UnixTime> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let mut words = text.split_whitespace().skip(1);
    let month = MONTHS.find(words.next()?)? as u64 / 3 + 1;
    let day: u64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(str::parse::<u64>);
    let (hour, minute, second) = (clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?);
    let year: u64 = words.next()?.parse().ok()?;
    if year < 1970 || !(1..=31).contains(&day) {
        return None;
    }
    // Days since 1970 by the civil calendar: a year begins in March, so that the leap day is its last.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, month) = (year / 400, (month + 9) % 12);
    let of_era = (year % 400) * 365 + (year % 400) / 4 - (year % 400) / 100 + (153 * month + 2) / 5 + day - 1;
    let days = (era * 146_097 + of_era).checked_sub(719_468)?;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_the_command_prints_them() {
        assert_eq!(time_of("Thu Jan  1 00:00:00 1970"), Some(0));
        assert_eq!(time_of("Sat Nov 28 13:41:26 2026"), Some(1_795_873_286));
        assert_eq!(time_of("Thu Feb 29 23:59:59 2024"), Some(1_709_251_199));
        for bad in ["", "None", "Sat Nov 28", "a Foo 1 1:1:1 2000", "1795873286"] {
            assert_eq!(time_of(bad), None, "{bad}");
        }
    }

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
