//! What the doctor asks of OMERO's side: filesets of one user, with where the links of their files lead. Nothing is changed.

use crate::command::CommandImporter;
use crate::follow::{PATH, repository};
use crate::inventory::{self, Wanted};
use crate::replaced::read_mark;
use crate::worker::{self, FilesetFiles, FilesetQuery, StoredFile};
use crate::workplace::Workplace;
use crate::{ImporterError, Subject, client_path, links};
use irods_omero_model::clock::UnixTime;
use irods_omero_model::doctor::{File, Fileset, Leads, Link, Mark};
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::OmeroId;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::Ordering;

/// Which filesets of a user are inspected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// These, with where their links lead.
    pub ids: BTreeSet<OmeroId>,
    /// Those with a file that was imported from one of these paths on the importer's host, or lies there now.
    pub paths: BTreeSet<String>,
    /// Those with a file below one of these directories on the importer's host, without their files.
    pub below: BTreeSet<String>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspected {
    /// The filesets, by their ids.
    pub filesets: Vec<Fileset>,
    /// Why links could not be looked at, in a sentence, if they could not.
    pub blind: Option<String>,
}

impl CommandImporter<'_> {
    /// See [`crate::Importer::inspect`].
    pub(crate) fn inspect_in_omero(
        &self,
        identity: &OmeroIdentity,
        inspection: &Inspection,
        now: UnixTime,
        alive: &mut dyn FnMut(),
    ) -> Result<Inspected, ImporterError> {
        self.clean_up();
        let (lease, place) = self.begin_for(identity, now, alive)?;
        let done = self.inspect_in(inspection, &place, now, alive);
        if place.lost.load(Ordering::Relaxed) {
            lease.discard();
        }
        done
    }

    fn inspect_in(
        &self,
        inspection: &Inspection,
        place: &Workplace,
        now: UnixTime,
        alive: &mut dyn FnMut(),
    ) -> Result<Inspected, ImporterError> {
        let wanted = Wanted {
            paths: inspection.paths.iter().map(|path| client_path::of(path)).collect(),
            ids: inspection.ids.clone(),
            ..Wanted::default()
        };
        let mut inspected = Inspected::default();
        for (id, fileset) in self.inventory(place, &wanted, alive)? {
            let mut told = self.told(id, &fileset, now);
            if inspection.ids.contains(&id) {
                alive();
                match self.links_of(id, place, alive) {
                    Ok(files) => told.files = files,
                    Err(Blind::Here(why)) => inspected.blind = Some(why),
                    Err(Blind::Omero(error)) => return Err(error),
                }
            }
            inspected.filesets.push(told);
        }
        let below: Vec<String> = inspection
            .below
            .iter()
            .map(|path| client_path::of(path))
            .filter(|path| !path.is_empty())
            .collect();
        if !below.is_empty() {
            let query = FilesetQuery { below: &below, ..FilesetQuery::default() };
            let namespace = &self.omero().server.namespace;
            let answer = place.ask(&mut self.waiting(alive), |worker, key, waiting| {
                worker.filesets(key, query, namespace, waiting)
            })?;
            inspected.filesets.extend(answer.into_iter().map(|told| self.listed(told, now)));
        }
        inspected.filesets.sort_by_key(|fileset| fileset.id);
        inspected.filesets.dedup_by_key(|fileset| fileset.id);
        Ok(inspected)
    }

    fn told(&self, id: OmeroId, fileset: &inventory::Fileset, now: UnixTime) -> Fileset {
        let mark = fileset.mark.as_deref().map(mark_of);
        let file = |entry: &inventory::Entry| File {
            client_path: entry.path.clone(),
            is_client_path_of_link: true,
            size: entry.size,
            hash: entry.hash.clone(),
            link: Link::Unknown,
        };
        Fileset {
            id,
            mark: mark.flatten(),
            is_refused: mark == Some(None),
            path: fileset.pairs.iter().find(|(key, _)| key == PATH).map(|(_, path)| path.clone()),
            has_images: !fileset.images.is_empty(),
            is_open: !fileset.is_given_up && self.is_young(fileset.created, now),
            files: fileset.entries.values().map(file).collect(),
            count: u64::try_from(fileset.entries.len()).unwrap_or(u64::MAX),
        }
    }

    /// One of which only the fileset itself was asked for.
    fn listed(&self, told: worker::Fileset, now: UnixTime) -> Fileset {
        let mark = told.annotation.as_ref().map(|a| mark_of(&a.description));
        let pairs = told.annotation.map(|a| a.pairs).unwrap_or_default();
        Fileset {
            id: told.id,
            mark: mark.flatten(),
            is_refused: mark == Some(None),
            path: pairs.into_iter().find(|(key, _)| key == PATH).map(|(_, path)| path),
            has_images: !told.images.is_empty(),
            is_open: told.open && self.is_young(Some(told.created), now),
            files: Vec::new(),
            count: told.entry_count,
        }
    }

    /// Whether OMERO may still be at work on what was made at that time.
    fn is_young(&self, made: Option<UnixTime>, now: UnixTime) -> bool {
        made.is_some_and(|made| made.saturating_add(self.unfinished_wait().as_secs()) > now)
    }

    /// The files of a fileset, and where they lead.
    fn links_of(&self, id: OmeroId, place: &Workplace, alive: &mut dyn FnMut()) -> Result<Vec<File>, Blind> {
        let files = place
            .ask(&mut self.waiting(alive), |worker, key, waiting| worker.files(key, id, waiting))
            .map_err(|error| Blind::Omero(error.into()))?;
        let root = repository(&files).map_err(Blind::Omero)?;
        let FilesetFiles { prefix, entries, .. } = files;
        let within = format!("{prefix}/");
        entries
            .into_iter()
            .map(|file| {
                let link =
                    if file.stored.starts_with(&within) { link_of(&root, &file)? } else { Link::Unknown };
                let is_client_path_of_link = match &link {
                    Link::To { target, .. } => client_path::of(target) == file.path,
                    Link::Unknown | Link::Copy | Link::Missing => true,
                };
                Ok(File {
                    client_path: file.path,
                    is_client_path_of_link,
                    size: file.size,
                    hash: file.hash,
                    link,
                })
            })
            .collect()
    }
}

/// Why links could not be looked at.
enum Blind {
    /// This host does not see the repository.
    Here(String),
    /// OMERO did not answer.
    Omero(ImporterError),
}

/// What our annotation says a fileset is of.
fn mark_of(text: &str) -> Option<Mark> {
    let (subject, version) = read_mark(text)?;
    let is_collection = matches!(subject, Subject::Collection(_));
    Some(Mark { is_collection, number: subject.number(), version })
}

/// Where one file of a repository leads.
fn link_of(root: &Path, file: &StoredFile) -> Result<Link, Blind> {
    let target = links::target(root, &file.stored).map_err(|error| {
        Blind::Here(format!(
            "OMERO's repository {} cannot be looked into on this host ({error}): mount it here and let the importer's account read \
             there",
            root.display()
        ))
    })?;
    Ok(match target {
        Some(target) => Link::To { leads: leads(&target), target },
        None => match fs::symlink_metadata(root.join(&file.stored)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Link::Missing,
            Ok(_) | Err(_) => Link::Copy,
        },
    })
}

/// What is at a path, without following a link there.
fn leads(target: &str) -> Leads {
    match fs::symlink_metadata(target) {
        Ok(about) if about.is_file() => Leads::File(about.len()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Leads::Nowhere
        }
        Ok(_) | Err(_) => Leads::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use irods_omero_model::record::Version;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_is_at_the_end_of_a_link_is_told_without_following_another() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        fs::write(at("file"), "12345").unwrap();
        symlink(at("file"), at("link")).unwrap();
        assert_eq!(leads(&at("file")), Leads::File(5));
        assert_eq!(leads(&at("none")), Leads::Nowhere);
        assert_eq!(leads(&at("file/below")), Leads::Nowhere);
        assert_eq!(leads(&at("link")), Leads::Unclear);
        assert_eq!(leads(&at("")), Leads::Unclear, "a directory");
    }

    #[test]
    fn an_annotation_says_of_which_data_a_fileset_is() {
        let version = Version { modify_time: 1_700_000_000, size: 5 };
        let mark = Mark { is_collection: false, number: 10_007, version };
        assert_eq!(mark_of("iRODS data object 10007 version 1700000000:5"), Some(mark));
        let mark = Mark { is_collection: true, ..mark };
        assert_eq!(mark_of("iRODS collection 10007 version 1700000000:5"), Some(mark));
        assert_eq!(mark_of("iRODS refused: it held a stranger"), None);
    }
}
