//! What is asked of OMERO about filesets that are there already: whether they still are, and that they go.

use crate::command::CommandImporter;
use crate::inventory::Removal;
use crate::process::Nobody;
use crate::worker::{FilesetQuery, Kind, Waiting};
use crate::workplace::{Purpose, Workplace};
use crate::{ImporterError, session};
use irods_omero_model::clock::UnixTime;
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::OmeroId;
use std::collections::BTreeSet;

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

    /// See [`crate::Importer::delete`].
    pub(crate) fn delete_in_omero(
        &self,
        identity: &OmeroIdentity,
        ids: &BTreeSet<OmeroId>,
        now: UnixTime,
        alive: &mut dyn FnMut(),
    ) -> Result<BTreeSet<OmeroId>, ImporterError> {
        self.visit(identity, now, alive, |place, alive| {
            let left = self.delete(place, ids, Removal::WithImages, alive)?;
            Ok(left.failed.into_iter().chain(left.grown).collect())
        })
    }
}
