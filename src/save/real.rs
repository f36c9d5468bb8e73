//! The real zone: what a save asks, of the catalog and the server.

use super::port::{Object, Origin, There, Working, Zone};
use super::{Done, Saver};
use crate::catalog::{
    CatalogError, Descriptor, How, Item, Kind, Level, Replica, ReplicaStatus, UnixTime, Which, Writing,
};
use crate::due;
use crate::sweep::lock::{Lock, Taken};
use irods_omero_config::Config;
use irods_omero_config::identity::{NoUser, Sought};
use irods_omero_importer::Subject;
use irods_omero_importer::agent_client::save_sources;
use irods_omero_model::clock::Clock;
use irods_omero_model::names::{CollectionId, IrodsUser, LogicalPath, OmeroName};
use irods_omero_model::record::{self, Cause, Details, Entry, Proof, Record, Triple, Version};
use irods_omero_model::watch::is_trash;
use std::cell::{Cell, RefCell};
use std::time::Duration;

/// How many images are named in a reason.
const MAX_NAMED: usize = 10;

/// What a turn needs.
pub struct Turn<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The catalog.
    pub catalog: &'a dyn Writing,
    /// The account that the server runs as.
    pub service: Option<&'a IrodsUser>,
    /// The clock.
    pub clock: &'a dyn Clock,
}

/// Does what is to be saved now, and queues the next turn. Two never overlap. `None`: somebody else is at it, or nothing is
/// saved on this server.
///
/// # Errors
/// The catalog failed. The next turn is not queued then; `sweep_all` sees to it.
pub fn turn(turn: &Turn<'_>) -> Result<Option<Done>, CatalogError> {
    let Turn { config, catalog, clock, .. } = *turn;
    let (Some(saving), Some(agents)) = (&config.saving, &config.agents) else { return Ok(None) };
    let (now, expiry) = (clock.now(), config.sweep_expiry);
    let lock = match Lock::take(catalog, due::SAVE_LOCK, now, expiry)? {
        Taken::Ours(lock, _) => lock,
        Taken::Others(for_at_most) => {
            due::ensure_save(catalog, now, for_at_most)?;
            return Ok(None);
        }
    };
    let zone = RealZone {
        turn,
        name: catalog.zone()?.display().trim_start_matches('/').to_owned(),
        lock: RefCell::new(lock),
        renewed: Cell::new(now),
    };
    let sources = save_sources(agents);
    let saver = Saver { zone: &zone, sources: &sources, saving, server: agents.server.as_deref() };
    let done = saver.run();
    let wait = match &done {
        Ok(done) if done.is_more => Duration::from_secs(1),
        Ok(_) | Err(_) => saving.interval,
    };
    zone.lock.borrow().release(catalog)?;
    due::ensure_save(catalog, clock.now(), wait)?;
    done.map(Some)
}

struct RealZone<'a> {
    turn: &'a Turn<'a>,
    name: String,
    lock: RefCell<Lock>,
    renewed: Cell<UnixTime>,
}

impl RealZone<'_> {
    fn catalog(&self) -> &dyn Writing {
        self.turn.catalog
    }

    /// The replicas of a data object.
    fn replicas(&self, path: &LogicalPath) -> Result<Vec<Replica>, CatalogError> {
        let mut all = Vec::new();
        if let Some(Item::DataObject(id, collection)) = self.catalog().item(path)? {
            self.catalog().replicas(collection, Which::Between(id, id), &mut |replica| all.push(replica))?;
        }
        Ok(all)
    }

    /// The record that says where data came from and that it is left alone.
    fn triples(&self, origin: &Origin<'_>, id: u64, replica: Option<&Replica>) -> Vec<Triple> {
        let names = &self.turn.config.attributes;
        let version = Version {
            modify_time: replica.map_or(self.now(), |replica| replica.modify_time),
            size: replica.map_or(0, |replica| replica.size),
        };
        let proof = replica.map(Proof::of);
        let details = Details {
            version: Some(version),
            proof: proof.as_ref(),
            server: origin.server,
            subject: Some(id),
            ..Details::default()
        };
        let mut triples = record::triples(names, &Entry::Skipped(Cause::Asked, reason(origin)), &details);
        triples.push(Triple::new(&names.ignored, origin.user, ""));
        triples
    }

    fn replace(
        &self,
        kind: Kind,
        path: &LogicalPath,
        before: Option<Record>,
        now: &[Triple],
    ) -> Result<(), CatalogError> {
        let before = before.map(|record| record.triples).unwrap_or_default();
        self.catalog().replace(kind, path, &before, now)
    }

    /// Whether a collection is there and holds what is not of a save.
    fn holds_other_data(&self, unit: &LogicalPath) -> Result<bool, CatalogError> {
        let mut is_any = false;
        self.catalog().tree(unit, &mut |_| is_any = true)?;
        Ok(is_any)
    }

    fn unit(&self, path: &LogicalPath) -> Option<LogicalPath> {
        self.turn.config.unit_of(path.as_bytes()).and_then(|unit| LogicalPath::parse(unit).ok())
    }
}

/// What the record says, for people.
fn reason(origin: &Origin<'_>) -> String {
    let what = match origin.fileset {
        Some(fileset) => {
            let mut images: Vec<String> =
                origin.images.iter().take(MAX_NAMED).map(ToString::to_string).collect();
            if origin.images.len() > MAX_NAMED {
                images.push("more".to_owned());
            }
            let images =
                if images.is_empty() { String::new() } else { format!(", images {}", images.join(", ")) };
            format!("fileset {fileset}{images}")
        }
        None => "an attachment".to_owned(),
    };
    format!(
        "saved from OMERO by {} ({what} on {}), so it is not imported into OMERO again; ask for a retry to import it all the same",
        origin.omero_user, origin.server
    )
}

impl Zone for RealZone<'_> {
    fn now(&self) -> UnixTime {
        self.turn.clock.now()
    }

    fn is_alive(&self) -> Result<bool, CatalogError> {
        let (now, expiry) = (self.now(), self.turn.config.sweep_expiry.as_secs());
        if now.saturating_sub(self.renewed.get()) < expiry / 4 {
            return Ok(true);
        }
        let is_ours = self.lock.borrow_mut().renew(self.catalog())?;
        self.renewed.set(now);
        Ok(is_ours)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn who(&self, omero: &OmeroName) -> Result<Result<IrodsUser, NoUser>, CatalogError> {
        let Turn { config, catalog, service, .. } = *self.turn;
        let sought = Sought { people: catalog, metadata: catalog, names: &config.attributes, service, omero };
        Ok(config.identities.back(&sought)?.user)
    }

    fn readable(&self, user: &IrodsUser, subject: Subject) -> Result<Option<LogicalPath>, CatalogError> {
        let (item, path) = match subject {
            Subject::DataObject(id) => match self.catalog().object_path(id)? {
                Some((collection, path)) => (Item::DataObject(id, collection), path),
                None => return Ok(None),
            },
            Subject::Collection(id) => match self.catalog().collection_path(id)? {
                Some(path) => (Item::Collection(id), path),
                None => return Ok(None),
            },
        };
        let may = self.catalog().permission(user, item)?.is_some_and(|level| level >= Level::READ);
        Ok(Some(path).filter(|path| may && !is_trash(path.as_bytes())))
    }

    fn there(&self, path: &LogicalPath) -> Result<There, CatalogError> {
        let id = match self.catalog().item(path)? {
            None => return Ok(There::Nothing),
            Some(Item::Collection(_)) => return Ok(There::Collection),
            Some(Item::DataObject(id, _)) => id,
        };
        let replicas = self.replicas(path)?;
        let is_good = |replica: &&Replica| replica.status == ReplicaStatus::Good;
        let being_written = replicas.iter().find(|replica| replica.status == ReplicaStatus::Intermediate);
        let Some(best) = being_written.or_else(|| replicas.iter().find(is_good)).or(replicas.first()) else {
            return Ok(There::Nothing); // removed in this moment
        };
        let owner = IrodsUser::new(&best.owner_name, &best.owner_zone).map_err(|e| CatalogError::Answer {
            call: "rsGenQuery",
            subject: path.display().into_owned(),
            detail: e.to_string(),
        })?;
        Ok(There::Object(Object {
            id,
            owner,
            size: best.size,
            replica: best.number,
            is_good: best.status == ReplicaStatus::Good,
            is_being_written: matches!(
                best.status,
                ReplicaStatus::Intermediate | ReplicaStatus::Locked | ReplicaStatus::Unknown
            ),
        }))
    }

    fn may_not_write(
        &self,
        user: &IrodsUser,
        path: &LogicalPath,
    ) -> Result<Option<LogicalPath>, CatalogError> {
        let mut here = Some(path.clone());
        while let Some(collection) = here {
            if let Some(id) = self.catalog().collection_id(&collection)? {
                let level = self.catalog().permission(user, Item::Collection(id))?;
                return Ok(Some(collection).filter(|_| level.is_none_or(|level| level < Level::WRITE)));
            }
            here = collection.parent();
        }
        Ok(Some(path.clone()))
    }

    fn make_collection(&self, path: &LogicalPath, origin: &Origin<'_>) -> Result<(), CatalogError> {
        let unit = self.unit(path);
        let names = &self.turn.config.attributes;
        let is_ours = match &unit {
            None => false,
            Some(unit) => match self.catalog().record_of(unit)? {
                // Somebody's own directory stays what it is.
                None => !self.holds_other_data(unit)?,
                Some((_, record)) => record.triples.is_empty(),
            },
        };
        self.catalog().make_collection_as(origin.user, path)?;
        if let Some(unit) = unit.filter(|_| is_ours)
            && let Some(id) = self.catalog().collection_id(&unit)?
        {
            log::debug!("act=save collection={unit} state={}", names.state);
            self.replace(Kind::Collection, &unit, None, &self.triples(origin, number(id), None))?;
        }
        Ok(())
    }

    fn open(&self, user: &IrodsUser, path: &LogicalPath, how: How<'_>) -> Result<Descriptor, CatalogError> {
        self.catalog().open_as(user, path, how)
    }

    fn read(&self, open: &Descriptor, into: &mut [u8]) -> Result<usize, CatalogError> {
        self.catalog().read(open, into)
    }

    fn write(&self, open: &Descriptor, bytes: &[u8]) -> Result<(), CatalogError> {
        self.catalog().write(open, bytes)
    }

    fn close(&self, open: Descriptor) -> Result<(), CatalogError> {
        self.catalog().close(open)
    }

    fn rename(&self, user: &IrodsUser, from: &LogicalPath, to: &LogicalPath) -> Result<(), CatalogError> {
        self.catalog().rename_as(user, from, to)
    }

    fn remove(&self, user: &IrodsUser, path: &LogicalPath) -> Result<(), CatalogError> {
        self.catalog().remove_as(user, path)
    }

    fn checksum(&self, user: &IrodsUser, path: &LogicalPath) -> Result<String, CatalogError> {
        self.catalog().checksum_as(user, path)
    }

    fn mark_stale(&self, path: &LogicalPath, replica: u32) -> Result<(), CatalogError> {
        self.catalog().mark_stale(path, replica)
    }

    fn record(&self, path: &LogicalPath, origin: &Origin<'_>) -> Result<(), CatalogError> {
        // A directory that is one image has one record.
        if let Some(unit) = self.unit(path)
            && let Some((_, record)) = self.catalog().record_of(&unit)?
            && record.triples.iter().any(|t| t.attribute == self.turn.config.attributes.ignored)
        {
            return Ok(());
        }
        let replicas = self.replicas(path)?;
        let good = replicas.iter().find(|replica| replica.status == ReplicaStatus::Good);
        let Some(id) = replicas.first().map(|replica| replica.data_id.number()) else { return Ok(()) };
        let before = self.catalog().record_at(path)?.map(|(_, record)| record);
        self.replace(Kind::DataObject, path, before, &self.triples(origin, id, good))
    }

    fn noted(&self) -> Result<Option<Working>, CatalogError> {
        let zone = self.catalog().zone()?;
        let notes = self.catalog().marks_at(&zone, &self.turn.config.attributes.saving)?;
        Ok(notes.iter().find_map(|note| serde_json::from_str(note).ok()))
    }

    fn note(&self, working: Option<&Working>) -> Result<(), CatalogError> {
        let (zone, attribute) = (self.catalog().zone()?, &self.turn.config.attributes.saving);
        let before = self.catalog().marks_at(&zone, attribute)?;
        let text = working.map(|working| serde_json::to_string(working).unwrap_or_default());
        if let Some(text) = &text
            && !before.contains(text)
        {
            self.catalog().set_mark(&zone, attribute, text)?;
        }
        before
            .iter()
            .filter(|note| Some(*note) != text.as_ref())
            .try_for_each(|note| self.catalog().remove_mark(&zone, attribute, note))
    }
}

fn number(id: CollectionId) -> u64 {
    id.number()
}
