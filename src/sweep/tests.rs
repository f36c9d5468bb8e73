//! The sweep over a catalog, an importer and a clock that tests hold in their hands.

use super::scribe::{NOT_THERE, retry_wait};
use super::*;
use crate::catalog::{
    Backlog, Changed, Held, Jobs, Kind, LockRow, Locks, Metadata, QueuedJob, Replica, ReplicaStatus,
    TreeReplica, UserTag,
};
use irods_omero_importer::{Batch, FileOutcome, Importer, ImporterError};
use irods_omero_model::attributes::Attributes;
use irods_omero_model::names::{IrodsUser, OmeroId};
use irods_omero_model::record::{Imported, Record, State, Triple, Version};
use irods_omero_model::watch::RawTag;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const NOW: UnixTime = 1_700_000_000;
const COLLECTION: &str = "/z/home/alice/run1";
const QUIET: u64 = 30;

/// The time, as the test sets it.
#[derive(Default)]
struct TestClock(AtomicU64);

impl TestClock {
    fn set(&self, now: UnixTime) {
        self.0.store(now, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> UnixTime {
        self.0.load(Ordering::Relaxed)
    }
}

/// A catalog of one collection, and of others where a test needs them. `interrupt` is called before every call with the number of calls made so far;
/// it may change the world, or answer with an error, as if the process had died there.
struct TestCatalog {
    clock: Arc<TestClock>,
    replicas: RefCell<Vec<Replica>>,
    /// The other collections, by id, and what is in them.
    others: RefCell<BTreeMap<u64, (LogicalPath, Vec<Replica>)>>,
    /// The marks: collection, attribute, value.
    marks: RefCell<Vec<(LogicalPath, String, String)>>,
    /// How many replicas were listed.
    read: Cell<usize>,
    /// The same of those that say what is at rest.
    rested: RefCell<Vec<(LogicalPath, String, String)>>,
    avus: RefCell<HashMap<Vec<u8>, BTreeSet<Triple>>>,
    /// AVUs of users, by name.
    tags: RefCell<Vec<(String, UserTag)>>,
    queued: RefCell<Vec<QueuedJob>>,
    locks: RefCell<Vec<LockRow>>,
    /// How many locks have been made.
    locked: Cell<u64>,
    calls: Cell<usize>,
    interrupt: RefCell<Option<Interrupt>>,
    gone: Cell<bool>,
    /// Whether the client is an administrator.
    admin: Cell<bool>,
    /// Whether data is being copied.
    copying: Cell<bool>,
    /// The paths of data that is there no longer.
    left: RefCell<BTreeSet<LogicalPath>>,
    /// Whether it tells what has changed. Usually not: no test of the marks must lean on that.
    tells_changes: Cell<bool>,
}

type Interrupt = Box<dyn FnMut(usize, &TestCatalog) -> Result<(), CatalogError> + Send>;

impl TestCatalog {
    fn new(clock: &Arc<TestClock>) -> Self {
        Self {
            clock: Arc::clone(clock),
            replicas: RefCell::default(),
            others: RefCell::default(),
            marks: RefCell::default(),
            rested: RefCell::default(),
            read: Cell::default(),
            avus: RefCell::default(),
            tags: RefCell::default(),
            queued: RefCell::default(),
            locks: RefCell::default(),
            locked: Cell::new(0),
            calls: Cell::new(0),
            interrupt: RefCell::default(),
            gone: Cell::new(false),
            admin: Cell::new(false),
            copying: Cell::new(false),
            left: RefCell::default(),
            tells_changes: Cell::new(false),
        }
    }

    fn step(&self) -> Result<(), CatalogError> {
        let n = self.calls.get();
        self.calls.set(n + 1);
        // Taken out while it runs: what it does may be a call itself.
        let Some(mut interrupt) = self.interrupt.borrow_mut().take() else {
            return Ok(());
        };
        let result = interrupt(n, self);
        *self.interrupt.borrow_mut() = Some(interrupt);
        result
    }

    fn replica(&self, id: u64, path: &str, owner: &str) -> Replica {
        Replica {
            data_id: DataId::parse(&id.to_string()).unwrap(),
            collection: self::id(),
            name: path.rsplit('/').next().unwrap().as_bytes().to_vec(),
            number: 0,
            status: ReplicaStatus::Good,
            size: 10,
            modify_time: self.clock.now(),
            fault: None,
            physical_path: path.replacen("/z/", "/vault/", 1).into_bytes(),
            hierarchy: "demoResc".to_owned(),
            checksum: None,
            owner_name: owner.to_owned(),
            owner_zone: "z".to_owned(),
        }
    }

    fn put(&self, id: u64, name: &str, owner: &str) {
        let replica = self.replica(id, &format!("{COLLECTION}/{name}"), owner);
        self.replicas.borrow_mut().push(replica);
    }

    /// A collection beside the usual one.
    fn make(&self, id: u64, path: &str) -> CollectionId {
        let there = (LogicalPath::parse(path.as_bytes()).unwrap(), Vec::new());
        self.others.borrow_mut().insert(id, there);
        CollectionId::parse(&id.to_string()).unwrap()
    }

    /// Data in such a collection.
    fn put_into(&self, collection: u64, id: u64, name: &str) {
        let path = self.others.borrow()[&collection].0.clone();
        let replica = self.replica(id, &format!("{path}/{name}"), "alice");
        self.others.borrow_mut().get_mut(&collection).unwrap().1.push(replica);
    }

    /// Every collection.
    fn all(&self) -> Vec<CollectionId> {
        let others = self.others.borrow();
        let others = others.keys().filter_map(|id| CollectionId::from_number(*id));
        others.chain([id()]).collect()
    }

    fn path_of(&self, id: CollectionId) -> Option<LogicalPath> {
        if id == super::tests::id() {
            return (!self.gone.get()).then(collection);
        }
        self.others.borrow().get(&id.to_string().parse().unwrap()).map(|(path, _)| path.clone())
    }

    /// The replicas in a collection.
    fn within(&self, id: CollectionId) -> Vec<Replica> {
        if id == super::tests::id() {
            return self.replicas.borrow().clone();
        }
        self.others.borrow().get(&id.to_string().parse().unwrap()).map(|(_, r)| r.clone()).unwrap_or_default()
    }

    fn avus_of(&self, path: &[u8]) -> Vec<Triple> {
        self.avus.borrow().get(path).into_iter().flatten().cloned().collect()
    }

    fn tag(&self, path: &str, value: &str, units: &str) {
        let tag = Triple::new("irods::omero::import", value, units);
        self.avus.borrow_mut().entry(path.as_bytes().to_vec()).or_default().insert(tag);
    }

    fn untag(&self, path: &str) {
        if let Some(avus) = self.avus.borrow_mut().get_mut(path.as_bytes()) {
            avus.retain(|t| t.attribute != "irods::omero::import");
        }
    }

    /// As an agent does after a put: mark, and a sweep if the mark is new.
    fn event(&self, config: &Config) {
        event(self, config, self.clock.now());
    }

    fn value(&self, name: &str, attribute: &str) -> Option<String> {
        let path = format!("{COLLECTION}/{name}").into_bytes();
        let avus = self.avus.borrow();
        avus.get(&path)?.iter().find(|t| t.attribute.ends_with(attribute)).map(|t| t.value.clone())
    }

    fn marks_of(&self, attribute: &str) -> &RefCell<Vec<(LogicalPath, String, String)>> {
        if attribute.ends_with("::rested") { &self.rested } else { &self.marks }
    }

    /// The filesets of versions before that a record names.
    fn previous(&self, name: &str) -> Vec<u64> {
        let triples = self.avus_of(format!("{COLLECTION}/{name}").as_bytes()).into_iter().collect();
        let record = Record { triples, ..Record::default() };
        record
            .previous(&Attributes::default())
            .into_iter()
            .map(irods_omero_model::names::OmeroId::number)
            .collect()
    }

    fn state(&self, name: &str) -> Option<State> {
        self.value(name, "::state").and_then(|s| State::parse(&s))
    }

    /// The waits of the queued jobs, from now; the one that looks for dead sweeps is always there and not counted.
    fn waits(&self) -> Vec<u64> {
        let now = self.clock.now();
        let queued = self.queued.borrow();
        let jobs = queued.iter().filter(|j| j.text != due::SWEEP_ALL);
        jobs.map(|j| j.due_at.saturating_sub(now)).collect()
    }

    fn has_mark(&self, last: &str) -> bool {
        self.marks.borrow().iter().any(|(_, a, _)| a.ends_with(last))
    }

    /// How many sweeps wait in the queue.
    fn sweeps(&self) -> usize {
        self.queued.borrow().iter().filter(|j| due::is_sweep(&j.text)).count()
    }
}

/// What an agent does after a client's operation, as `Plugin::event` does it; `now` is by the agent's clock.
fn event(catalog: &dyn Catalog, config: &Config, now: UnixTime) {
    let quiet = Duration::from_secs(QUIET);
    // What fails is logged, and the client's operation goes on.
    let _ = due::announce(config, catalog, &collection(), false, now, quiet);
}

impl Metadata for TestCatalog {
    fn user_tags(&self, user: &IrodsUser, _: &[&str]) -> Result<Option<Vec<UserTag>>, CatalogError> {
        self.step()?;
        let tags = self.tags.borrow();
        Ok(Some(tags.iter().filter(|(u, _)| u == user.name()).map(|(_, tag)| tag.clone()).collect()))
    }
    fn collection_values(&self, path: &LogicalPath, attribute: &str) -> Result<Vec<String>, CatalogError> {
        let avus = self.avus.borrow();
        let avus = avus.get(path.as_bytes()).into_iter().flatten();
        Ok(avus.filter(|t| t.attribute == attribute).map(|t| t.value.clone()).collect())
    }
    fn may_set_avus(&self, _: &LogicalPath) -> Result<BTreeSet<IrodsUser>, CatalogError> {
        Ok(BTreeSet::new())
    }
    fn collections_with(&self, attribute: &str, value: &str) -> Result<BTreeSet<CollectionId>, CatalogError> {
        self.step()?;
        let avus = self.avus.borrow();
        let bears =
            |triples: &BTreeSet<Triple>| triples.iter().any(|t| t.attribute == attribute && t.value == value);
        let found = avus.iter().filter(|(_, triples)| bears(triples));
        let parents = found.filter_map(|(path, _)| LogicalPath::parse(path).ok()?.parent());
        parents.filter_map(|parent| self.collection_id(&parent).transpose()).collect()
    }
}

impl Locks for TestCatalog {
    fn locks(&self) -> Result<Vec<LockRow>, CatalogError> {
        self.step()?;
        Ok(self.locks.borrow().clone())
    }
    fn make_lock(&self, name: &str) -> Result<bool, CatalogError> {
        self.step()?;
        let mut locks = self.locks.borrow_mut();
        if locks.iter().any(|lock| lock.name == name) {
            return Ok(false);
        }
        self.locked.set(self.locked.get() + 1);
        let id = CollectionId::parse(&(50_000 + self.locked.get()).to_string()).unwrap();
        locks.push(LockRow { id, name: name.to_owned(), since: self.clock.now() });
        Ok(true)
    }
    fn remove_lock(&self, name: &str) -> Result<(), CatalogError> {
        self.step()?;
        self.locks.borrow_mut().retain(|lock| lock.name != name);
        Ok(())
    }
}

impl Catalog for TestCatalog {
    fn collection_path(&self, id: CollectionId) -> Result<Option<LogicalPath>, CatalogError> {
        self.step()?;
        Ok(self.path_of(id))
    }
    fn collection_id(&self, path: &LogicalPath) -> Result<Option<CollectionId>, CatalogError> {
        let others = self.others.borrow();
        let other = others.iter().find(|(_, (p, _))| p == path).map(|(id, _)| id.to_string());
        let usual = || (path.parent().is_some()).then(id);
        Ok(other.map_or_else(usual, |id| CollectionId::parse(&id).ok()))
    }
    fn objects_at(&self, physical: &[u8]) -> Result<Vec<(DataId, CollectionId)>, CatalogError> {
        self.step()?;
        let others: Vec<u64> = self.others.borrow().keys().copied().collect();
        let all = others.iter().filter_map(|id| CollectionId::parse(&id.to_string()).ok()).chain([id()]);
        let there = |r: &Replica| r.physical_path == physical;
        Ok(all
            .flat_map(|id| self.within(id).into_iter().filter(there).map(move |r| (r.data_id, id)))
            .collect())
    }
    fn may_read(&self, user: &IrodsUser, _: DataId, _: CollectionId) -> Result<bool, CatalogError> {
        Ok(user.name() == "everybody")
    }
    fn object_path(&self, data_id: DataId) -> Result<Option<(CollectionId, LogicalPath)>, CatalogError> {
        self.step()?;
        let others: Vec<u64> = self.others.borrow().keys().copied().collect();
        let all = others.iter().filter_map(|id| CollectionId::parse(&id.to_string()).ok()).chain([id()]);
        for id in all {
            let found = self.within(id).into_iter().find(|r| r.data_id == data_id);
            if let Some((replica, path)) = found.zip(self.path_of(id)) {
                return Ok(Some((id, path.join(&replica.name).unwrap())));
            }
        }
        Ok(None)
    }
    fn set_mark(&self, path: &LogicalPath, attribute: &str, value: &str) -> Result<bool, CatalogError> {
        self.step()?;
        let mark = (path.clone(), attribute.to_owned(), value.to_owned());
        let mut marks = self.marks_of(attribute).borrow_mut();
        if marks.contains(&mark) {
            return Ok(false);
        }
        marks.push(mark);
        Ok(true)
    }
    fn marks_at(&self, path: &LogicalPath, attribute: &str) -> Result<Vec<String>, CatalogError> {
        self.step()?;
        let marks = self.marks_of(attribute).borrow();
        let of_it = marks.iter().filter(|(p, a, _)| p == path && a == attribute);
        Ok(of_it.map(|(_, _, m)| m.clone()).collect())
    }
    fn marks(&self, id: CollectionId, attribute: &str) -> Result<Vec<String>, CatalogError> {
        self.step()?;
        let path = self.path_of(id);
        let marks = self.marks.borrow();
        let of_it = marks.iter().filter(|(p, a, _)| Some(p) == path.as_ref() && a == attribute);
        Ok(of_it.map(|(_, _, m)| m.clone()).collect())
    }
    fn remove_mark(&self, path: &LogicalPath, attribute: &str, value: &str) -> Result<(), CatalogError> {
        self.step()?;
        self.marks_of(attribute).borrow_mut().retain(|(p, a, m)| p != path || a != attribute || m != value);
        Ok(())
    }
    fn change_mark(
        &self,
        path: &LogicalPath,
        attribute: &str,
        old: &str,
        new: &str,
    ) -> Result<(), CatalogError> {
        self.step()?;
        let mut marks = self.marks.borrow_mut();
        marks.retain(|(p, a, m)| p != path || a != attribute || m != old);
        marks.push((path.clone(), attribute.to_owned(), new.to_owned()));
        Ok(())
    }
    fn marked(&self, attributes: &[&str]) -> Result<BTreeSet<CollectionId>, CatalogError> {
        self.step()?;
        let marks = self.marks.borrow();
        let marked = marks.iter().filter(|(_, a, _)| attributes.contains(&a.as_str()));
        marked.filter_map(|(p, _, _)| self.collection_id(p).transpose()).collect()
    }
    fn subcollections(
        &self,
        path: &LogicalPath,
        after: Option<CollectionId>,
        limit: usize,
    ) -> Result<Vec<(CollectionId, LogicalPath)>, CatalogError> {
        self.step()?;
        let start = [path.as_bytes(), b"/"].concat();
        let others = self.others.borrow();
        let below = others.iter().filter(|(_, (p, _))| p.as_bytes().starts_with(&start));
        let all = below.map(|(id, (p, _))| (CollectionId::parse(&id.to_string()).unwrap(), p.clone()));
        Ok(all.filter(|(id, _)| after.is_none_or(|a| *id > a)).take(limit).collect())
    }
    fn import_tags(&self, collections: &[LogicalPath], attribute: &str) -> Result<Vec<RawTag>, CatalogError> {
        self.step()?;
        let mut tags = Vec::new();
        for collection in collections {
            for t in self.avus_of(collection.as_bytes()).into_iter().filter(|t| t.attribute == attribute) {
                tags.push(RawTag { collection: collection.clone(), value: t.value, units: t.units });
            }
        }
        Ok(tags)
    }
    fn is_tagged_below(&self, path: &LogicalPath, attribute: &str) -> Result<bool, CatalogError> {
        self.step()?;
        let start = [path.as_bytes(), b"/"].concat();
        let avus = self.avus.borrow();
        let mut below = avus.iter().filter(|(p, _)| p.starts_with(&start));
        Ok(below.any(|(_, t)| t.iter().any(|t| t.attribute == attribute)))
    }
    fn is_any_in_omero(&self, path: &LogicalPath) -> Result<bool, CatalogError> {
        let names = Attributes::default();
        Ok(self.is_tagged_below(path, &names.fileset)? || self.is_tagged_below(path, &names.member_of)?)
    }
    fn in_omero_like(&self, _: &LogicalPath) -> Result<Vec<LogicalPath>, CatalogError> {
        Ok(Vec::new()) // asked by events only
    }
    fn tagged_objects(
        &self,
        id: CollectionId,
        attribute: &str,
    ) -> Result<Vec<(DataId, String, String)>, CatalogError> {
        let mut tags = Vec::new();
        self.object_avus(id, Which::All, &[attribute], &mut |id, t| tags.push((id, t.value, t.units)))?;
        Ok(tags)
    }
    fn avu_is_one_of(&self, _: &[u8], _: &[u8], _: &[&str]) -> Result<bool, CatalogError> {
        Ok(false)
    }
    fn bears(&self, _: &[u8], _: &[u8], _: &[&str]) -> Result<bool, CatalogError> {
        Ok(false)
    }
    fn replicas(
        &self,
        id: CollectionId,
        which: Which,
        visit: &mut dyn FnMut(Replica),
    ) -> Result<(), CatalogError> {
        self.step()?;
        let meant = self.within(id).into_iter().filter(|r| which.means(r.data_id));
        meant.for_each(|replica| {
            self.read.set(self.read.get() + 1);
            visit(replica);
        });
        Ok(())
    }
    fn object_avus(
        &self,
        id: CollectionId,
        which: Which,
        attributes: &[&str],
        visit: &mut dyn FnMut(DataId, Triple),
    ) -> Result<(), CatalogError> {
        self.step()?;
        let Some(path) = self.path_of(id) else { return Ok(()) };
        let mut seen = BTreeSet::new();
        for replica in self.within(id).into_iter().filter(|r| which.means(r.data_id)) {
            let avus = self.avus_of(&[path.as_bytes(), b"/", &replica.name].concat());
            if seen.insert(replica.data_id) {
                let wanted = avus.into_iter().filter(|t| attributes.contains(&t.attribute.as_str()));
                wanted.for_each(|t| visit(replica.data_id, t));
            }
        }
        Ok(())
    }
    fn collection_record(&self, id: CollectionId) -> Result<Record, CatalogError> {
        self.step()?;
        let mut triples = self.path_of(id).map(|p| self.avus_of(p.as_bytes())).unwrap_or_default();
        triples.retain(|t| t.attribute != "irods::omero::import");
        Ok(Record { triples, ..Record::on(id.number()) })
    }
    fn tree(&self, path: &LogicalPath, visit: &mut dyn FnMut(TreeReplica)) -> Result<(), CatalogError> {
        self.step()?;
        let start = [path.as_bytes(), b"/"].concat();
        let mut all: Vec<Replica> = Vec::new();
        for (p, replicas) in self.others.borrow().values() {
            if p == path || p.as_bytes().starts_with(&start) {
                all.extend(replicas.iter().cloned());
            }
        }
        all.sort_by_key(|r| r.data_id);
        for r in all {
            visit(TreeReplica {
                data_id: r.data_id,
                status: r.status,
                size: r.size,
                modify_time: r.modify_time,
                physical_path: r.physical_path,
                resource: r.hierarchy,
            });
        }
        Ok(())
    }
    fn changed_between(
        &self,
        ids: &RangeInclusive<u64>,
        since: Option<UnixTime>,
    ) -> Result<Vec<Changed>, CatalogError> {
        self.step()?;
        if !self.tells_changes.get() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for collection in self.all() {
            for r in self.within(collection) {
                let in_flux = r.status != ReplicaStatus::Good;
                if ids.contains(&r.data_id.number())
                    && since.is_none_or(|since| r.modify_time >= since)
                    && (in_flux || r.size > 0)
                {
                    let version = Version { modify_time: r.modify_time, size: r.size };
                    found.push(Changed { data_id: r.data_id, collection, name: r.name, version, in_flux });
                }
            }
        }
        Ok(found)
    }
    fn changed_in(
        &self,
        id: CollectionId,
        after: u64,
        since: UnixTime,
    ) -> Result<BTreeSet<DataId>, CatalogError> {
        self.step()?;
        let is_meant = |r: &Replica| {
            let is_written = matches!(r.status, ReplicaStatus::Intermediate | ReplicaStatus::Locked);
            r.data_id.number() > after || r.modify_time >= since || is_written
        };
        Ok(self.within(id).into_iter().filter(is_meant).map(|r| r.data_id).collect())
    }
    fn records_between(
        &self,
        ids: &RangeInclusive<u64>,
        visit: &mut dyn FnMut(DataId, CollectionId, Triple),
    ) -> Result<(), CatalogError> {
        let names = Attributes::default();
        for collection in self.all() {
            let wanted = [names.state.as_str(), names.version.as_str()];
            self.object_avus(collection, Which::All, &wanted, &mut |id, triple| {
                if ids.contains(&id.number()) {
                    visit(id, collection, triple);
                }
            })?;
        }
        Ok(())
    }
    fn backlog(&self, limit: usize) -> Result<Backlog, CatalogError> {
        let names = Attributes::default();
        let mut backlog = Backlog::default();
        for id in self.all() {
            let wanted = [names.state.as_str(), names.reason.as_str()];
            self.object_avus(id, Which::All, &wanted, &mut |_, triple| {
                if triple.attribute == names.state {
                    *backlog.states.entry(triple.value).or_default() += 1;
                } else if backlog.held.len() < limit {
                    let (cause, reason) = (triple.units, triple.value);
                    backlog.held.push(Held { cause, reason, collection: id, objects: 1 });
                }
            })?;
        }
        Ok(backlog)
    }
    fn is_borne(&self, attribute: &str, value: &str) -> Result<bool, CatalogError> {
        Ok(!self.collections_with(attribute, value)?.is_empty())
    }
    fn replace(
        &self,
        _: Kind,
        path: &LogicalPath,
        remove: &[Triple],
        add: &[Triple],
    ) -> Result<(), CatalogError> {
        self.step()?;
        if self.left.borrow().contains(path) {
            let (call, subject) = ("rs_atomic_apply_metadata_operations", path.to_string());
            return Err(CatalogError::Call { call, subject, code: NOT_THERE[0] });
        }
        let mut avus = self.avus.borrow_mut();
        let triples = avus.entry(path.as_bytes().to_vec()).or_default();
        for triple in remove {
            triples.remove(triple);
        }
        triples.extend(add.iter().cloned());
        Ok(())
    }
    fn replicate(&self, object: &LogicalPath, resource: &str) -> Result<(), CatalogError> {
        self.copying.set(true);
        let stepped = self.step();
        self.copying.set(false);
        stepped?;
        let now = self.clock.now();
        let mut replicas = self.replicas.borrow_mut();
        let Some(source) = replicas.iter().find(|r| r.name == object.name()).cloned() else {
            return Err(CatalogError::Call {
                call: "rsDataObjRepl",
                subject: object.to_string(),
                code: NOT_THERE[0],
            });
        };
        let path = [format!("/{resource}/").as_bytes(), object.name()].concat();
        let hierarchy = format!("{resource};leaf");
        let number = source.number + 1;
        replicas.push(Replica { number, physical_path: path, hierarchy, modify_time: now, ..source });
        Ok(())
    }
    fn jobs(&self) -> Result<Jobs, CatalogError> {
        self.step()?;
        Ok(Jobs::new(self.queued.borrow().clone()))
    }
    fn queue_as_client(&self, text: &str, delay: Duration) -> Result<(), CatalogError> {
        self.queue(text, delay)
    }
    fn zone(&self) -> Result<LogicalPath, CatalogError> {
        Ok(LogicalPath::parse(b"/z").unwrap())
    }
    fn client_is_service(&self) -> bool {
        true
    }
    fn queue(&self, text: &str, delay: Duration) -> Result<(), CatalogError> {
        self.step()?;
        let due_at = self.clock.now() + delay.as_secs();
        self.queued.borrow_mut().push(QueuedJob { text: text.to_owned(), due_at });
        Ok(())
    }
    fn client(&self) -> Option<IrodsUser> {
        IrodsUser::parse("alice#z").ok()
    }
    fn client_is_admin(&self) -> bool {
        self.admin.get()
    }
}

/// An OMERO that knows what it has by path and version, as the real one is asked before every import.
#[derive(Default)]
struct TestImporter {
    /// Filesets by path.
    has: RefCell<HashMap<String, Vec<OmeroId>>>,
    /// Which paths belong to which set, named by its key file.
    sets: RefCell<HashMap<String, String>>,
    batches: RefCell<Vec<Batch>>,
    answer: RefCell<Option<ImporterError>>,
    unknown_format: Cell<bool>,
    /// The target that OMERO refuses.
    refused: RefCell<Option<String>>,
    /// Paths that belong to what is there already.
    late: RefCell<HashMap<String, OmeroId>>,
    filesets: Cell<u64>,
}

impl TestImporter {
    fn made(&self) -> OmeroId {
        self.filesets.set(self.filesets.get() + 1);
        OmeroId::parse(&self.filesets.get().to_string()).unwrap()
    }
}

impl Importer for TestImporter {
    fn import(
        &self,
        batch: &Batch,
        _: UnixTime,
        alive: &mut dyn FnMut(),
    ) -> Result<Vec<FileOutcome>, ImporterError> {
        self.batches.borrow_mut().push(batch.clone());
        alive();
        if let Some(error) = self.answer.borrow().clone() {
            return Err(error);
        }
        let mut has = self.has.borrow_mut();
        let sets = self.sets.borrow();
        let mut made: HashMap<&str, OmeroId> = HashMap::new();
        let mut outcomes = Vec::new();
        for file in &batch.files {
            let path = &file.importer_path;
            let target = batch.target.with_plates(batch.plate_target.as_ref());
            if self.refused.borrow().as_ref() == Some(&target) {
                outcomes.push(FileOutcome::NoTarget { target, reason: "there is no such target".to_owned() });
                continue;
            }
            if self.unknown_format.get() {
                outcomes.push(FileOutcome::Failed("no reader".to_owned()));
                continue;
            }
            if let Some(fileset) = self.late.borrow().get(path).filter(|_| batch.may_join) {
                outcomes.push(FileOutcome::Joined(vec![*fileset]));
                continue;
            }
            let key = sets.get(path).unwrap_or(path).as_str();
            let there = has.entry(path.clone()).or_default();
            let known = there.iter().rev().find(|id| !file.previous.contains(id)).copied();
            let adopted = known.is_some_and(|id| made.get(key) != Some(&id));
            let fileset = known.unwrap_or_else(|| *made.entry(key).or_insert_with(|| self.made()));
            there.retain(|id| *id != fileset);
            there.push(fileset);
            let (images, plates) = (vec![fileset], vec![]);
            let is_member = key != path;
            let (previous, version) = (vec![], None);
            outcomes.push(FileOutcome::Imported(Imported {
                fileset,
                images,
                plates,
                is_member,
                adopted,
                previous,
                version,
            }));
        }
        Ok(outcomes)
    }
    fn server(&self) -> &'static str {
        "omero.example.org"
    }
}

struct World {
    config: Config,
    clock: Arc<TestClock>,
    catalog: TestCatalog,
    importer: TestImporter,
}

fn collection() -> LogicalPath {
    LogicalPath::parse(COLLECTION.as_bytes()).unwrap()
}

fn id() -> CollectionId {
    CollectionId::parse("100").unwrap()
}

fn world() -> World {
    let table = json!({"alice#z": {"user": "alice", "group": "lab"}, "carol#z": "carol"});
    world_with(|c| c["users"] = json!({"table": table}))
}

/// A world in which a change was made to the configuration, which maps nobody.
fn world_with(change: impl FnOnce(&mut Value)) -> World {
    let mut config = json!({
        "watch": ["/z/home/alice"],
        "quiet_period_in_seconds": QUIET,
        "users": {},
        "visibility": {"vaults": [{"prefix": "/vault"}]},
        "omero": {"server": "omero.example.org", "sudo_user": "importer", "password_file": "/etc/pw"},
        "importer": {"mode": "command", "command": "/usr/bin/omero", "jars": "/opt/omero/jars", "logback": "/opt/omero/logback.xml"},
    });
    change(&mut config);
    let config = Config::parse(&config).unwrap();
    let clock = Arc::new(TestClock(AtomicU64::new(NOW)));
    let catalog = TestCatalog::new(&clock);
    World { config, clock, catalog, importer: TestImporter::default() }
}

/// The same, with each user of the zone mapped to the one of the same name.
fn world_of(change: impl FnOnce(&mut Value)) -> World {
    world_with(|c| {
        c["users"] = json!({"same_name": ["z"]});
        change(c);
    })
}

impl World {
    fn sweeper(&self) -> Sweeper<'_> {
        let Self { config, clock, catalog, importer } = self;
        Sweeper { config, catalog, importing: Some(Importing::Here(importer)), clock: &**clock }
    }

    fn sweep(&self) -> Result<Report, CatalogError> {
        self.sweeper().sweep(id())
    }

    fn wait(&self, seconds: u64) {
        self.clock.set(self.clock.now() + seconds);
    }

    fn put(&self, number: u64, name: &str, owner: &str) {
        self.catalog.put(number, name, owner);
        self.catalog.event(&self.config);
    }

    fn filesets(&self) -> usize {
        usize::try_from(self.importer.filesets.get()).unwrap()
    }
}

#[test]
fn a_quiet_collection_is_imported_in_one_batch_and_recorded() {
    let w = world();
    for (n, name) in ["a.tif", "b.tif", "it's \"b\" $objPath %.tif"].iter().enumerate() {
        w.put(n as u64 + 1, name, "alice");
    }
    assert_eq!(w.catalog.waits(), [QUIET]);
    assert_eq!(w.catalog.sweeps(), 1);
    w.wait(QUIET);
    let report = w.sweep().unwrap();
    assert_eq!((report.imported, report.again_in), (3, None));
    let batches = w.importer.batches.borrow();
    assert_eq!(batches.len(), 1);
    assert_eq!(batches[0].identity.user.as_str(), "alice");
    assert_eq!(batches[0].target.as_str(), "Dataset:name:run1");
    assert_eq!(w.catalog.state("a.tif"), Some(State::Imported));
    assert!(w.catalog.value("a.tif", "::fileset").is_some());
    drop(batches);
    assert_eq!(*w.catalog.marks.borrow(), []);
    assert_eq!(*w.catalog.locks.borrow(), []);
    run_queue(&w);
    assert_eq!(*w.catalog.marks.borrow(), []);
    assert_eq!(w.importer.batches.borrow().len(), 1);
}

#[test]
fn a_second_sweep_over_the_same_data_imports_nothing() {
    let w = world();
    w.put(1, "a.tif", "alice");
    w.wait(QUIET);
    w.sweep().unwrap();
    w.catalog.event(&w.config);
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().imported, 0);
    assert_eq!(w.importer.batches.borrow().len(), 1);
}

#[test]
fn data_that_still_changes_is_left_due_for_the_rest_of_the_quiet_period() {
    let w = world();
    w.put(1, "a.tif", "alice");
    w.wait(20);
    w.put(2, "b.tif", "alice");
    w.wait(10);
    let report = w.sweep().unwrap();
    assert_eq!((report.imported, report.again_in), (0, Some(Duration::from_secs(20))));
    assert!(w.catalog.has_mark("::due"));
    assert_eq!(w.catalog.waits().last(), Some(&20));
}

#[test]
fn a_replica_being_written_holds_the_collection_until_it_is_a_dead_leftover() {
    let w = world();
    w.put(1, "a.tif", "alice");
    w.put(2, "b.tif", "alice");
    w.catalog.replicas.borrow_mut()[1].status = ReplicaStatus::Intermediate;
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().imported, 0);
    assert!(w.catalog.has_mark("::due"));
    w.wait(3_600);
    let report = w.sweep().unwrap();
    assert_eq!((report.imported, report.again_in), (1, None));
    assert_eq!(w.catalog.state("b.tif"), None);
}

#[test]
fn what_is_quiet_itself_goes_when_the_collection_never_settles() {
    let w = world();
    w.put(1, "old.tif", "alice");
    w.wait(3_600);
    w.put(2, "new.tif", "alice");
    let report = w.sweep().unwrap();
    assert_eq!(report.imported, 1);
    assert!(report.again_in.is_some());
    assert_eq!((w.catalog.state("old.tif"), w.catalog.state("new.tif")), (Some(State::Imported), None));
}

#[test]
fn a_time_that_is_ahead_of_our_clock_waits_for_the_quiet_period_from_when_it_is_first_seen() {
    let w = world();
    w.put(1, "a.tif", "alice");
    w.put(2, "b.tif", "alice");
    let ahead = |by: u64| w.catalog.replicas.borrow_mut()[0].modify_time = NOW + by;
    ahead(1_000_000);
    w.wait(QUIET);
    // Neither is it taken to be complete, nor what lies beside it.
    let report = w.sweep().unwrap();
    assert_eq!((report.imported, report.pending, report.again_in), (0, 1, Some(Duration::from_secs(QUIET))));
    assert!(w.catalog.value("a.tif", "::reason").unwrap().contains("ahead of this server's clock"));
    // An event, too early.
    w.wait(QUIET - 1);
    assert_eq!(w.sweep().unwrap().imported, 0);
    // It is written again, by the same wrong clock: its wait begins anew.
    ahead(1_000_010);
    w.wait(1);
    assert_eq!(w.sweep().unwrap().imported, 0);
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().imported, 2);
    assert_eq!(w.sweep().unwrap(), Report::default());
}

#[test]
fn data_that_is_written_over_and_over_by_a_clock_ahead_of_ours_waits_no_longer_than_max_wait() {
    let w = world();
    w.put(1, "a.tif", "alice");
    let most = w.config.max_wait.as_secs() / QUIET + 2;
    let rounds = (0..most).take_while(|round| {
        w.catalog.replicas.borrow_mut()[0].modify_time = NOW + 1_000_000 + round;
        let imported = w.sweep().unwrap().imported;
        w.wait(QUIET);
        imported == 0
    });
    let waited = rounds.count() as u64 * QUIET;
    let max_wait = w.config.max_wait.as_secs();
    assert!((max_wait..max_wait + 2 * QUIET).contains(&waited), "{waited}");
}

#[test]
fn everybody_imports_as_themselves_and_the_unmapped_are_skipped_with_the_reason() {
    let w = world();
    for (n, (name, owner)) in [("a.tif", "alice"), ("c.tif", "carol"), ("b.tif", "bob")].iter().enumerate() {
        w.put(n as u64 + 1, name, owner);
    }
    w.wait(QUIET);
    let report = w.sweep().unwrap();
    assert_eq!((report.imported, report.skipped), (2, 1));
    let batches = w.importer.batches.borrow();
    let users: Vec<&str> = batches.iter().map(|b| b.identity.user.as_str()).collect();
    assert_eq!(users, ["alice", "carol"]);
    assert_eq!(w.catalog.state("b.tif"), Some(State::Skipped));
    assert!(w.catalog.value("b.tif", "::reason").unwrap().contains("bob#z has no OMERO user"));
}

#[test]
fn data_outside_every_visibility_root_is_skipped_with_the_roots() {
    let w = world();
    w.put(1, "a.tif", "alice");
    w.catalog.replicas.borrow_mut()[0].physical_path = b"/elsewhere/a.tif".to_vec();
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().skipped, 1);
    assert!(w.catalog.value("a.tif", "::reason").unwrap().contains("/vault"));
    assert!(w.importer.batches.borrow().is_empty());
}

#[test]
fn a_name_the_importer_cannot_take_fails_alone() {
    let w = world();
    w.put(1, "good.tif", "alice");
    w.put(2, "bad\n.tif", "alice");
    w.wait(QUIET);
    let report = w.sweep().unwrap();
    assert_eq!((report.imported, report.failed), (1, 1));
    assert!(w.catalog.value("bad\n.tif", "::reason").unwrap().contains("line break"));
}

#[test]
fn while_omero_is_away_the_data_waits_longer_and_longer_and_is_imported_when_it_is_back() {
    let w = world();
    w.put(1, "a.tif", "alice");
    w.wait(QUIET);
    *w.importer.answer.borrow_mut() = Some(ImporterError::WillPass("OMERO cannot be reached".to_owned()));
    let mut waits = Vec::new();
    for _ in 0..8 {
        let wait = w.sweep().unwrap().again_in.unwrap();
        assert_eq!(w.catalog.state("a.tif"), Some(State::Pending));
        assert!(w.catalog.has_mark("::due"));
        waits.push(wait.as_secs());
        w.wait(wait.as_secs());
    }
    assert_eq!(waits, [60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
    assert_eq!(retry_wait(Duration::from_secs(60), u32::MAX).as_secs(), 3_600);
    assert!(w.catalog.value("a.tif", "::reason").unwrap().contains("cannot be reached"));
    *w.importer.answer.borrow_mut() = None;
    assert_eq!(w.sweep().unwrap().imported, 1);
    assert_eq!(w.catalog.value("a.tif", "::reason"), None);
}

#[test]
fn an_unknown_format_is_failed_once_and_looked_at_again_when_it_changes() {
    let w = world();
    w.importer.unknown_format.set(true);
    w.put(1, "notes.txt", "alice");
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().failed, 1);
    w.catalog.event(&w.config);
    assert_eq!(w.sweep().unwrap(), Report::default());
    w.catalog.replicas.borrow_mut()[0].size = 11;
    w.catalog.event(&w.config);
    assert_eq!(w.sweep().unwrap().failed, 1);
}

#[test]
fn data_changed_after_its_import_is_reported_stale_and_keeps_its_images() {
    let w = world();
    w.put(1, "a.tif", "alice");
    w.wait(QUIET);
    w.sweep().unwrap();
    w.wait(100);
    w.catalog.replicas.borrow_mut()[0].modify_time = w.clock.now();
    w.catalog.event(&w.config);
    w.wait(QUIET);
    w.sweep().unwrap();
    assert_eq!(w.catalog.state("a.tif"), Some(State::Stale));
    assert!(w.catalog.value("a.tif", "::fileset").is_some());
    assert_eq!(w.importer.batches.borrow().len(), 1);
}

/// An importer over whose work the first data object is overwritten.
struct Overwritten<'a> {
    world: &'a World,
    /// Whether it tells of an import before, of the first bytes, instead of its own.
    finds_old: bool,
}

impl Importer for Overwritten<'_> {
    fn import(
        &self,
        batch: &Batch,
        now: UnixTime,
        alive: &mut dyn FnMut(),
    ) -> Result<Vec<FileOutcome>, ImporterError> {
        let w = self.world;
        if self.finds_old {
            let imported = Imported {
                fileset: OmeroId::parse("77").unwrap(),
                images: vec![],
                plates: vec![],
                is_member: false,
                adopted: true,
                previous: vec![],
                version: Some(Version { modify_time: 1, size: 1 }),
            };
            return Ok(vec![FileOutcome::Imported(imported)]);
        }
        let outcomes = w.importer.import(batch, now, alive);
        w.wait(1);
        w.catalog.replicas.borrow_mut()[0].modify_time = w.clock.now();
        w.catalog.replicas.borrow_mut()[0].size += 1;
        w.catalog.event(&w.config);
        outcomes
    }

    fn server(&self) -> &'static str {
        "omero.example.org"
    }
}

impl World {
    fn sweep_with(&self, importer: &dyn Importer) -> Report {
        Sweeper { importing: Some(Importing::Here(importer)), ..self.sweeper() }.sweep(id()).unwrap()
    }
}

#[test]
fn data_that_changes_while_others_are_imported_is_decided_on_anew_before_its_own_import() {
    let w = world_of(|_| {});
    w.put(1, "b.tif", "bob");
    w.put(2, "a.tif", "alice");
    w.wait(QUIET);
    let report = w.sweep_with(&Overwritten { world: &w, finds_old: false });
    assert_eq!((report.imported, w.importer.batches.borrow().len()), (1, 1));
    assert_eq!((w.catalog.state("a.tif"), w.catalog.state("b.tif")), (Some(State::Imported), None));
    assert!(report.again_in.is_some());
    w.wait(QUIET);
    assert_eq!((w.sweep().unwrap().imported, w.filesets()), (1, 2));
    let new = w.catalog.replicas.borrow()[0].clone();
    let version = Version::parse(&w.catalog.value("b.tif", "::version").unwrap());
    assert_eq!(version, Some(Version { modify_time: new.modify_time, size: new.size }));
}

#[test]
fn data_overwritten_during_its_import_becomes_stale_and_is_not_imported_twice() {
    let w = world();
    w.put(1, "a.tif", "alice");
    w.wait(QUIET);
    assert_eq!(w.sweep_with(&Overwritten { world: &w, finds_old: false }).imported, 1);
    let imported = w.catalog.value("a.tif", "::fileset");
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().stale, 1);
    assert_eq!(w.catalog.state("a.tif"), Some(State::Stale));
    assert_eq!(w.catalog.value("a.tif", "::fileset"), imported);
    assert_eq!((w.importer.batches.borrow().len(), w.filesets()), (1, 1));
}

#[test]
fn an_import_of_other_bytes_that_no_record_told_of_makes_the_data_stale() {
    let w = world();
    w.put(1, "a.tif", "alice");
    w.wait(QUIET);
    assert_eq!(w.sweep_with(&Overwritten { world: &w, finds_old: true }).imported, 1);
    let version = w.catalog.value("a.tif", "::version").unwrap();
    assert_eq!(Version::parse(&version), Some(Version { modify_time: 1, size: 1 }), "{version}");
    w.catalog.event(&w.config);
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().stale, 1);
    assert_eq!(w.catalog.value("a.tif", "::fileset").as_deref(), Some("77"));
    assert_eq!(w.filesets(), 0);
}

#[test]
fn an_empty_file_is_never_imported_and_no_failure() {
    let w = world();
    w.put(1, "a.tif", "alice");
    w.catalog.replicas.borrow_mut()[0].size = 0;
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap(), Report::default());
    assert_eq!(w.catalog.state("a.tif"), None);
}

#[test]
fn a_collection_taken_by_a_living_sweep_is_left_and_a_dead_ones_is_taken_over() {
    let w = world();
    w.put(1, "a.tif", "alice");
    w.wait(QUIET);
    assert!(w.catalog.make_lock(&format!("{}.1", id())).unwrap());
    for _ in 0..2 {
        assert_eq!(w.sweep().unwrap(), Report::default());
        assert!(w.catalog.has_mark("::due"));
    }
    w.wait(w.config.sweep_expiry.as_secs() + 1);
    assert_eq!(w.sweep().unwrap().imported, 1);
    assert_eq!(*w.catalog.locks.borrow(), []);
}

#[test]
fn a_collection_that_a_version_before_had_locked_is_swept_and_the_mark_is_gone() {
    let w = world();
    w.put(1, "a.tif", "alice");
    w.catalog.set_mark(&collection(), &w.config.attributes.sweeping, "sweep").unwrap();
    w.catalog.set_mark(&collection(), &w.config.attributes.sweeping, "alive 1700000000").unwrap();
    run_queue(&w);
    assert_eq!(w.filesets(), 1);
    w.sweeper().sweep_all().unwrap();
    run_queue(&w);
    assert_eq!(*w.catalog.marks.borrow(), []);
}

#[test]
fn of_several_heirs_of_a_dead_sweep_one_goes_on() {
    let w = world();
    w.put(1, "a.tif", "alice");
    assert!(w.catalog.make_lock(&format!("{}.1", id())).unwrap());
    w.wait(w.config.sweep_expiry.as_secs() + 1);
    // Another heir comes between our look at the locks and ours.
    *w.catalog.interrupt.borrow_mut() = Some(Box::new(move |_, catalog| {
        let mut locks = catalog.locks.borrow_mut();
        if locks.len() == 1 && locks[0].name.ends_with(".1") && catalog.calls.get() > 10 {
            let other = CollectionId::parse("899999").unwrap();
            locks.push(LockRow { id: other, name: format!("{}.2", id()), since: catalog.clock.now() });
        }
        Ok(())
    }));
    let start = w.catalog.calls.get();
    assert!(start <= 10);
    assert_eq!(w.sweep().unwrap(), Report::default());
    assert!(w.importer.batches.borrow().is_empty());
}

#[test]
fn a_sweep_that_was_held_up_and_taken_over_writes_and_imports_nothing_and_leaves_its_heir_the_lock() {
    let w = world();
    w.put(1, "a.tif", "alice");
    w.wait(QUIET);
    let heir = LockRow { id: CollectionId::parse("899999").unwrap(), name: format!("{}.2", id()), since: 0 };
    let late = heir.clone();
    // While the sweep reads what is there, its lock expires and is taken over.
    let mut taken = false;
    *w.catalog.interrupt.borrow_mut() = Some(Box::new(move |_, catalog| {
        let is_at_work = catalog.locks.borrow().iter().any(|lock| lock.name.ends_with(".1"));
        if is_at_work && !taken && !catalog.has_mark("::due") {
            taken = true;
            catalog.clock.set(catalog.clock.now() + 1_000);
            let heir = LockRow { since: catalog.clock.now(), ..late.clone() };
            *catalog.locks.borrow_mut() = vec![heir];
        }
        Ok(())
    }));
    w.sweep().unwrap();
    assert!(w.importer.batches.borrow().is_empty());
    assert_eq!(w.catalog.state("a.tif"), None);
    assert_eq!(w.catalog.locks.borrow().iter().map(|lock| lock.id).collect::<Vec<_>>(), [heir.id]);
}

#[test]
fn an_installed_sweep_all_queues_itself_although_nothing_is_marked() {
    let w = world();
    assert_eq!((w.sweeper().sweep_all().unwrap(), w.catalog.queued.borrow().len()), (0, 0));
    w.catalog.set_mark(&collection(), &w.config.attributes.recurring, due::RECURRING).unwrap();
    let waits = |w: &World| {
        let now = w.catalog.clock.now();
        let queued = w.catalog.queued.borrow();
        queued.iter().filter(|j| j.text == due::SWEEP_ALL && j.due_at > now).count()
    };
    for _ in 0..5 {
        w.sweeper().sweep_all().unwrap();
        assert_eq!(waits(&w), 2, "the next and one in reserve");
        w.wait(w.config.sweep_all_interval.as_secs());
    }
    w.catalog.remove_mark(&collection(), &w.config.attributes.recurring, due::RECURRING).unwrap();
    w.wait(w.config.sweep_all_interval.as_secs());
    w.sweeper().sweep_all().unwrap();
    assert_eq!(waits(&w), 0);
}

#[test]
fn sweep_all_queues_what_has_no_sweep_and_itself_until_nothing_is_left() {
    let w = world();
    assert_eq!(w.sweeper().sweep_all().unwrap(), 0);
    assert!(w.catalog.queued.borrow().is_empty());
    w.put(1, "a.tif", "alice");
    assert_eq!(w.sweeper().sweep_all().unwrap(), 0, "its sweep waits already");
    w.catalog.queued.borrow_mut().clear();
    assert_eq!(w.sweeper().sweep_all().unwrap(), 1);
    run_queue(&w);
    assert_eq!(w.catalog.state("a.tif"), Some(State::Imported));
    assert!(w.catalog.queued.borrow().is_empty());
}

#[test]
fn a_trees_mark_is_spread_and_removed() {
    let w = world();
    w.catalog.put(1, "a.tif", "alice");
    let tree = &w.config.attributes.due_tree;
    due::mark(&w.catalog, tree, &collection(), NOW, Duration::from_secs(QUIET), due::Limits::of(&w.config))
        .unwrap();
    w.wait(QUIET);
    assert_eq!(w.sweep().unwrap().imported, 1);
    assert!(!w.catalog.has_mark("::due_tree") && !w.catalog.has_mark("::due"));
}

#[test]
fn a_job_whose_process_died_does_not_count_as_waiting() {
    let w = world();
    w.put(1, "a.tif", "alice");
    w.wait(QUIET + w.config.sweep_expiry.as_secs() + 1);
    assert_eq!(w.sweeper().sweep_all().unwrap(), 1);
}

#[test]
fn more_files_than_one_sweep_takes_follow_in_the_next() {
    let mut w = world();
    w.config.max_files_per_sweep = 2;
    for n in 1..=5 {
        w.put(n, &format!("{n}.tif"), "alice");
    }
    w.wait(QUIET);
    let imported: Vec<usize> = (0..3).map(|_| w.sweep().unwrap().imported).collect();
    assert_eq!(imported, [2, 2, 1]);
    run_queue(&w);
    assert!(!w.catalog.has_mark("::due"));
}

#[test]
fn a_removed_collection_is_no_error() {
    let w = world();
    w.put(1, "a.tif", "alice");
    w.catalog.gone.set(true);
    assert_eq!(w.sweep().unwrap(), Report::default());
}

/// Runs the queue until it is empty, each job once and at its time, as the delay server does.
fn run_queue(w: &World) {
    for _ in 0..1_000 {
        let next = {
            let mut queued = w.catalog.queued.borrow_mut();
            queued.sort_by_key(|j| j.due_at);
            if queued.is_empty() {
                return;
            }
            queued.remove(0)
        };
        w.clock.set(w.clock.now().max(next.due_at));
        let sweeper = w.sweeper();
        let _ = match next.text.as_str() {
            due::SWEEP_ALL => sweeper.sweep_all().map(|_| ()),
            due::SWEEP_SKIPPED => sweeper.sweep_skipped().map(|_| ()),
            due::DELETIONS => Ok(()),
            sweep => {
                sweeper.sweep(CollectionId::parse(sweep.rsplit('"').nth(1).unwrap()).unwrap()).map(|_| ())
            }
        };
    }
    panic!("the queue never gets empty");
}

/// A world in which one file has been put and another client has moved a second one in, so many seconds before the
/// sweep: an old file, whose time says nothing.
fn moved_in_before_the_sweep(seconds: u64) -> World {
    let w = world();
    w.put(1, "a.tif", "alice");
    w.wait(QUIET - seconds);
    move_in(&w.catalog, 2, "b.tif");
    w.catalog.event(&w.config);
    w.wait(seconds);
    w
}

/// A file that was moved into the collection keeps its time.
fn move_in(catalog: &TestCatalog, number: u64, name: &str) {
    catalog.put(number, name, "alice");
    catalog.replicas.borrow_mut().last_mut().unwrap().modify_time = NOW - 100_000;
}

#[test]
fn what_lands_at_any_point_of_a_sweep_is_imported_once() {
    let mut landed = 0;
    for before in [0, 1, 7, 14, 15, 29] {
        let w = moved_in_before_the_sweep(before);
        let start = w.catalog.calls.get();
        run_queue(&w);
        for point in start..=w.catalog.calls.get() {
            for is_moved in [false, true] {
                let w = moved_in_before_the_sweep(before);
                *w.catalog.interrupt.borrow_mut() = Some(Box::new(move |n, catalog| {
                    if n == point {
                        if is_moved {
                            move_in(catalog, 3, "c.tif");
                        } else {
                            catalog.put(3, "c.tif", "alice");
                        }
                        catalog.event(&world().config);
                    }
                    Ok(())
                }));
                run_queue(&w);
                let what = format!("landed at call {point}, moved {is_moved}, {before} s");
                let files = w.catalog.replicas.borrow().len();
                landed += files - 2;
                assert_eq!(w.filesets(), files, "{what}");
                assert_eq!(w.catalog.state("c.tif"), (files == 3).then_some(State::Imported), "{what}");
                assert_eq!(*w.catalog.marks.borrow(), [], "{what}");
            }
        }
    }
    assert!(landed >= 500, "{landed} only");
}

#[test]
fn a_sweep_that_dies_at_any_point_leaves_one_image_set_in_the_end() {
    let calls = {
        let w = world();
        w.put(1, "a.tif", "alice");
        w.wait(QUIET);
        let start = w.catalog.calls.get();
        w.sweep().unwrap();
        w.catalog.calls.get() - start
    };
    assert!(calls > 20);
    for point in 0..=calls {
        let w = world();
        w.put(1, "a.tif", "alice");
        w.wait(QUIET);
        die_at(&w, w.catalog.calls.get() + point);
        let _ = w.sweep();
        *w.catalog.interrupt.borrow_mut() = None;
        // The job died with its process and is not repeated; the waiting sweep_all finds what is left.
        w.catalog.queued.borrow_mut().retain(|j| j.text == due::SWEEP_ALL);
        run_queue(&w);
        assert_eq!(w.filesets(), 1, "died at call {point}");
        assert_eq!(w.catalog.state("a.tif"), Some(State::Imported), "died at call {point}");
        assert!(!w.catalog.has_mark("::due") && w.catalog.locks.borrow().is_empty(), "died at call {point}");
    }
}

/// As if the process had died at a call: from then on nothing reaches the catalog.
fn die_at(w: &World, call: usize) {
    let dead = || CatalogError::Call { call: "any", subject: "any".to_owned(), code: -1 };
    *w.catalog.interrupt.borrow_mut() =
        Some(Box::new(move |n, _| if n >= call { Err(dead()) } else { Ok(()) }));
}

#[test]
fn a_crash_that_ends_the_look_for_dead_sweeps_too_leaves_nothing_behind() {
    let w = world();
    w.put(1, "a.tif", "alice");
    w.wait(QUIET);
    die_at(&w, w.catalog.calls.get() + 15);
    assert!(w.sweep().is_err());
    assert!(w.sweeper().sweep_all().is_err());
    w.catalog.interrupt.borrow_mut().take();
    // Neither job is run again.
    w.catalog.queued.borrow_mut().retain(|j| !due::is_sweep(&j.text));
    let first = w.catalog.queued.borrow().iter().position(|j| j.text == due::SWEEP_ALL).unwrap();
    w.catalog.queued.borrow_mut().remove(first);
    run_queue(&w);
    assert_eq!(w.catalog.state("a.tif"), Some(State::Imported));
    assert_eq!(*w.catalog.marks.borrow(), []);
}

#[test]
fn an_agent_that_dies_while_it_marks_leaves_no_mark_that_nobody_looks_for() {
    for call in 0..8 {
        let w = world();
        w.catalog.put(1, "a.tif", "alice");
        die_at(&w, call);
        let quiet = Duration::from_secs(QUIET);
        let done = due::announce(&w.config, &w.catalog, &collection(), false, NOW, quiet);
        w.catalog.interrupt.borrow_mut().take();
        let was_marked = w.catalog.has_mark("::due");
        assert!(was_marked || done.is_err(), "died at call {call}");
        run_queue(&w);
        assert_eq!(w.filesets(), usize::from(was_marked), "died at call {call}");
        assert_eq!(*w.catalog.marks.borrow(), [], "died at call {call}");
    }
}

/// The verdicts on all that is in the usual collection.
fn decided(w: &World) -> Vec<Planned> {
    let (config, catalog, collection) = (&w.config, &w.catalog, &collection());
    let scope = w.sweeper().scope(id(), collection).unwrap().unwrap();
    let survey = w.sweeper().survey(id(), collection, &scope).unwrap();
    let todo: Vec<DataId> = survey.todo.iter().copied().collect();
    let place = Place { collection, root: scope.root };
    Decider::new(config, catalog, &scope, &survey, place).page(id(), &todo).unwrap()
}

mod agents;
mod deciding;
mod hostile;
mod identities;
mod leaving;
mod races;
mod rules;
mod sizes;
mod staging;
