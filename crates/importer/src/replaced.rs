//! Filesets of ours that show other bytes than they were made of: the data at a path was replaced.
//!
//! What a fileset is of says our annotation on it. One without it is never touched.

use crate::command::CommandImporter;
use crate::files::{self, Identity};
use crate::forecast::{Allowed, Known};
use crate::inventory::{Entry, Fileset};
use crate::links::{self, Cut};
use crate::worker::Note;
use crate::workplace::Workplace;
use crate::{ImporterError, Subject};
use irods_omero_model::names::OmeroId;
use irods_omero_model::record::Version;
use rustix::io::read;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// By how much the clocks of OMERO and of a file system may differ, in seconds.
const SKEW: i64 = 300;

/// How much of a file is read at a time, in bytes.
const CHUNK: usize = 1 << 20;

/// How many hexadecimal digits a SHA-1 has, which OMERO keeps of each file unless told otherwise.
const SHA1_DIGITS: usize = 40;

/// The key under which our annotation says which data lies where the files of a fileset lay.
pub(crate) const REPLACED_BY: &str = "iRODS replaced by";

/// How many data objects are named there at most.
const MAX_NAMED: usize = 20;

/// A link that is to show nothing any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    /// The path that it shows, on the importer's host.
    pub shown: String,
    /// What lies there now.
    pub by: Subject,
}

/// What our annotation says a fileset is of; `None` for a text that we do not write of data.
pub(crate) fn read_mark(mark: &str) -> Option<(Subject, Version)> {
    let (subject, version) = mark.strip_prefix("iRODS ")?.split_once(" version ")?;
    let subject = if let Some(id) = subject.strip_prefix("data object ") {
        Subject::parse(&format!("d{id}"))
    } else {
        Subject::parse(&format!("c{}", subject.strip_prefix("collection ")?))
    };
    Some((subject.ok()?, Version::parse(version)?))
}

/// Whether the file at an entry's path has other bytes now than those the fileset was made of; `None` where the file cannot be
/// read. It is read only where neither its size nor the time of its last change tells.
pub(crate) fn has_other_bytes(
    entry: &Entry,
    fileset: &Fileset,
    known: Known,
    allowed: &Allowed<'_>,
    roots: &[PathBuf],
    alive: &mut dyn FnMut(),
) -> Option<bool> {
    let (_, version, _) = allowed.about(known);
    let (identity, file) = files::open_used(allowed.path(known), roots).ok()?;
    if entry.size.is_some_and(|size| size != version.size) {
        return Some(true);
    }
    if is_older(&identity, fileset) {
        return Some(false);
    }
    let Some(hash) = entry.hash.as_ref().filter(|hash| hash.len() == SHA1_DIGITS) else { return Some(true) };
    let now = sha1(&file, alive)?;
    Some(!now.eq_ignore_ascii_case(hash))
}

/// Whether a file is as it was when a fileset was made.
fn is_older(identity: &Identity, fileset: &Fileset) -> bool {
    let made = fileset.created.and_then(|at| i64::try_from(at).ok());
    made.is_some_and(|made| identity.changed_at().saturating_add(SKEW) < made)
}

/// Whether the file at a path has a hash as OMERO keeps it; `None` where that cannot be told.
pub(crate) fn has_hash(
    path: &str,
    hash: Option<&str>,
    roots: &[PathBuf],
    alive: &mut dyn FnMut(),
) -> Option<bool> {
    let hash = hash.filter(|hash| hash.len() == SHA1_DIGITS)?;
    let (_, file) = files::open_used(path, roots).ok()?;
    Some(sha1(&file, alive)?.eq_ignore_ascii_case(hash))
}

fn sha1(file: &OwnedFd, alive: &mut dyn FnMut()) -> Option<String> {
    use std::fmt::Write;
    let mut context = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = read(file, buffer.as_mut_slice()).ok()?;
        if count == 0 {
            break;
        }
        context.update(&buffer[..count]);
        alive();
    }
    let mut text = String::with_capacity(SHA1_DIGITS);
    for byte in context.finish().as_ref() {
        let _ = write!(text, "{byte:02x}"); // writing to a String does not fail
    }
    Some(text)
}

/// Has links of a fileset, by the ids of their entries, show nothing any more. What is not done is told with the remedy; the
/// import goes on.
pub(crate) fn cut(
    importer: &CommandImporter<'_>,
    place: &Workplace,
    fileset: OmeroId,
    links: &BTreeMap<u64, Link>,
    alive: &mut dyn FnMut(),
) {
    let failed = |why: &str| {
        log::error!(
            "act=cut_link fileset={fileset} files={} failed=\"{why}\" why=\"its images show other bytes now than they were \
             made of: delete this fileset in OMERO\"",
            links.len()
        );
    };
    let answer =
        place.ask(&mut importer.waiting(alive), |worker, key, waiting| worker.files(key, fileset, waiting));
    let files = match answer.map_err(ImporterError::from) {
        Ok(files) => files,
        Err(error) => return failed(&error.to_string()),
    };
    let Some(repository) = &files.repository else {
        return failed("OMERO does not tell where its repository is");
    };
    let root = Path::new(&repository.root);
    if !root.is_absolute() || root == Path::new("/") {
        return failed("OMERO does not tell where its repository is");
    }
    let within = format!("{}/", files.prefix);
    for file in &files.entries {
        let Some(link) = links.get(&file.id).filter(|_| file.stored.starts_with(&within)) else { continue };
        let target = links::nowhere(link.by, &link.shown);
        match links::cut(root, &file.stored, &link.shown, &target) {
            Ok(Cut::Cut) => log::warn!(
                "act=cut_link fileset={fileset} path={:?} by=\"{}\" why=\"the data at this path was replaced: the old images \
                 cannot be opened any more\"",
                link.shown,
                link.by
            ),
            Ok(Cut::Left) => log::debug!("act=cut_link fileset={fileset} path={:?} left=true", link.shown),
            Err(error) => failed(&format!(
                "the importer's account cannot change {} below {}: {error}; let that account write there",
                file.stored,
                root.display()
            )),
        }
    }
}

/// Says at a fileset, for who wonders why its images cannot be opened, that other data lies where its files lay.
pub(crate) fn tell(
    importer: &CommandImporter<'_>,
    place: &Workplace,
    id: OmeroId,
    fileset: &Fileset,
    links: &BTreeMap<u64, Link>,
    alive: &mut dyn FnMut(),
) {
    let Some(description) = fileset.mark.clone() else { return };
    let mut by: Vec<String> = links.values().map(|link| link.by.to_string()).collect();
    by.sort();
    by.dedup();
    by.truncate(MAX_NAMED);
    let mut pairs = fileset.pairs.clone();
    pairs.retain(|(key, _)| key != REPLACED_BY);
    pairs.push((REPLACED_BY.to_owned(), by.join(", ")));
    // What is not written is told by the log, and by the record of the new data.
    importer.write_notes(place, vec![Note { fileset: id, description, pairs }], true, alive);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::mark_of;
    use crate::{Batch, BatchFile};
    use irods_omero_model::identity::OmeroIdentity;
    use irods_omero_model::names::{IrodsUser, LogicalPath, OmeroName};
    use irods_omero_model::target::Target;
    use std::fs;

    const VERSION: Version = Version { modify_time: 1_700_000_000, size: 5 };

    #[test]
    fn a_mark_reads_back_and_other_texts_are_none() {
        for subject in ["d10001", "c7"].map(|s| Subject::parse(s).unwrap()) {
            assert_eq!(read_mark(&mark_of(subject, VERSION)), Some((subject, VERSION)));
        }
        for other in [
            "",
            "iRODS refused: a file of it was exchanged",
            "iRODS data object x version 1:2",
            "iRODS data object 5 version 1",
            "data object 5 version 1:2",
        ] {
            assert_eq!(read_mark(other), None, "{other}");
        }
    }

    /// Whether `12345` at the path of a fileset is other bytes, the fileset having a file of this size and hash and being made
    /// so many seconds after the file.
    fn is_other(size: u64, hash: Option<&str>, later: i64) -> Option<bool> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tif");
        fs::write(&path, "12345").unwrap();
        let roots = [dir.path().to_owned()];
        let path = path.to_str().unwrap().to_owned();
        let changed = files::check_used(&path, &roots).unwrap().changed_at();
        let batch = Batch {
            identity: OmeroIdentity { user: OmeroName::parse("alice").unwrap(), group: None },
            target: Target::parse("Dataset:name:d").unwrap(),
            plate_target: None,
            may_join: false,
            files: vec![BatchFile {
                subject: Subject::parse("d1").unwrap(),
                logical_path: LogicalPath::parse(b"/z/a").unwrap(),
                importer_path: path.clone(),
                version: VERSION,
                checksum: None,
                owner: IrodsUser::parse("alice#z").unwrap(),
                previous: vec![],
            }],
            may_use: vec![],
        };
        let entry = Entry { path, size: Some(size), hash: hash.map(str::to_owned) };
        let fileset = Fileset { created: u64::try_from(changed + later).ok(), ..Fileset::default() };
        has_other_bytes(&entry, &fileset, Known::File(0), &Allowed::of(&batch), &roots, &mut || {})
    }

    #[test]
    fn bytes_are_others_by_size_then_by_time_then_by_what_they_are() {
        let right = Some("8cb2237d0679ca88db6464eac60da96345513964");
        assert_eq!(is_other(6, right, 1_000), Some(true));
        assert_eq!(is_other(5, Some(&"0".repeat(40)), 1_000), Some(false), "not changed since");
        assert_eq!(is_other(5, right, 0), Some(false));
        assert_eq!(is_other(5, Some(&"0".repeat(40)), 0), Some(true));
        assert_eq!(is_other(5, None, 0), Some(true), "nothing proves that they are the same");
    }
}
