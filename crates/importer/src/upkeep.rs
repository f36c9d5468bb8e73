//! What is asked of OMERO about filesets that are there already: whether they still are, and that they go.

use crate::command::CommandImporter;
use crate::inventory::{Fileset, Removal, Wanted};
use crate::process::Nobody;
use crate::replaced::read_mark;
use crate::worker::{self, FilesetQuery, Kind, Waiting, Worker, WorkerProcess};
use crate::workplace::{Purpose, Workplace};
use crate::{DeletedFileset, Deletions, FilesetToDelete, ImporterError, Subject, session};
use irods_omero_model::clock::UnixTime;
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::{OmeroId, OmeroName};
use std::collections::{BTreeMap, BTreeSet};

/// The key under which our annotation names the zone.
const ZONE: &str = "iRODS zone";

impl CommandImporter<'_> {
    /// A session of a user for some questions, and a directory to ask them in.
    fn visit<T>(
        &self,
        identity: &OmeroIdentity,
        now: UnixTime,
        alive: &mut dyn FnMut(),
        ask: impl FnOnce(&Workplace, &mut dyn FnMut()) -> Result<T, ImporterError>,
    ) -> Result<T, ImporterError> {
        self.clean_up();
        let lease = session::for_one_batch(self, identity, now, alive)?;
        let mut place = self.workplace(Purpose::Run, now)?;
        lease.lend(&mut place);
        ask(&place, alive)
    }

    /// See [`crate::Importer::present`].
    pub(crate) fn present_in_omero(
        &self,
        identity: &OmeroIdentity,
        ids: &BTreeSet<OmeroId>,
        now: UnixTime,
        alive: &mut dyn FnMut(),
    ) -> Result<BTreeSet<OmeroId>, ImporterError> {
        self.visit(identity, now, alive, |place, alive| {
            let mut waiting = Waiting { limit: self.command_timeout(), alive, observer: &Nobody };
            let wanted: Vec<OmeroId> = ids.iter().copied().collect();
            let query = FilesetQuery { ids: &wanted, ..FilesetQuery::default() };
            let namespace = &self.omero().server.namespace;
            let own = place
                .ask(&mut waiting, |worker, key, waiting| worker.filesets(key, query, namespace, waiting))?;
            let mut present: BTreeSet<OmeroId> = own.into_iter().map(|fileset| fileset.id).collect();
            // Those may have another owner by now.
            for id in ids.iter().filter(|id| !present.contains(id)).copied().collect::<Vec<_>>() {
                match place.ask(&mut waiting, |worker, key, waiting| worker.files(key, id, waiting)) {
                    Ok(_) => {
                        present.insert(id);
                    }
                    Err(error) if error.kind() == Some(Kind::NotFound) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(present)
        })
    }

    /// See [`crate::Importer::deletions`]. The account that opens sessions for others asks: it needs none of them for that.
    pub(crate) fn deletions_in_omero(
        &self,
        after: Option<u64>,
        alive: &mut dyn FnMut(),
    ) -> Result<Deletions, ImporterError> {
        let worker = WorkerProcess::new(self.omero());
        let mut waiting = Waiting { limit: self.command_timeout(), alive, observer: &Nobody };
        let worker: &dyn Worker = &worker;
        worker.check_version(&mut waiting)?;
        let told = worker.deletions(&self.omero().server, after, &mut waiting)?;
        let one = |told: worker::DeletedFileset| DeletedFileset {
            fileset: told.fileset,
            by: told.by.and_then(|name| OmeroName::parse(&name).ok()),
            at: UnixTime::try_from(told.at).unwrap_or_default(),
        };
        let filesets = told.filesets.into_iter().map(one).collect();
        Ok(Deletions { cursor: told.cursor, filesets, is_more: told.more })
    }

    /// See [`crate::Importer::delete`].
    pub(crate) fn delete_in_omero(
        &self,
        identity: &OmeroIdentity,
        zone: &str,
        filesets: &[FilesetToDelete],
        now: UnixTime,
        alive: &mut dyn FnMut(),
    ) -> Result<BTreeMap<OmeroId, String>, ImporterError> {
        self.visit(identity, now, alive, |place, alive| {
            let ids: BTreeSet<OmeroId> = filesets.iter().map(|one| one.fileset).collect();
            // Those of others are not the user's to delete, which OMERO says.
            let own = self.inventory(place, &Wanted { ids: ids.clone(), ..Wanted::default() }, alive)?;
            let mut left = BTreeMap::new();
            for FilesetToDelete { fileset, subjects } in filesets {
                if own.get(fileset).is_some_and(|told| !is_of(told, zone, subjects)) {
                    let why = "our annotation on it does not say that it is of this data, so it is left: delete it in OMERO";
                    left.insert(*fileset, why.to_owned());
                }
            }
            let meant = ids.into_iter().filter(|id| !left.contains_key(id)).collect();
            let still = self.delete(place, &meant, Removal::WithImages, alive)?;
            let why = |id: OmeroId| (id, format!("it is still there: may OMERO user {} delete it?", identity.user));
            left.extend(still.failed.into_iter().chain(still.grown).map(why));
            Ok(left)
        })
    }
}

/// Whether our annotation on a fileset says that it is of something in a zone.
fn is_of(fileset: &Fileset, zone: &str, subjects: &BTreeSet<Subject>) -> bool {
    let of = fileset.mark.as_deref().and_then(read_mark);
    // Two zones give the same numbers to other data.
    let is_of_zone = fileset.pairs.iter().find(|(key, _)| key == ZONE).is_none_or(|(_, name)| name == zone);
    is_of_zone && of.is_some_and(|(subject, _)| subjects.contains(&subject))
}
