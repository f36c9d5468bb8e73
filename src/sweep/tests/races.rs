//! Several processes over one catalog and one OMERO: clients' agents, and executors of the delay server that run the
//! queue. Which of them makes the next call is chosen by a seed, so what fails once fails again.

use super::*;
use std::ops::RangeInclusive;
use std::sync::{Condvar, Mutex, MutexGuard};

/// Numbers that look random (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.roll(range.end() - range.start() + 1)
    }
}

/// How long after a death the next one comes at the soonest, in seconds: twice the time after which a sweep counts as
/// dead, and the longest import. Whoever kills more often than that may make the last mark wait for the next event.
const BETWEEN_DEATHS: u64 = 1_000;

/// What a process waits for.
#[derive(Clone, Copy)]
enum Until {
    /// Its turn.
    Turn,
    /// A time, by the clock that is right.
    Time(UnixTime),
    /// A job that is due.
    Job,
}

/// Whose turn it is.
struct Turns {
    dice: Dice,
    /// Processes that have not ended.
    living: usize,
    waiting: BTreeMap<usize, Until>,
    next: Option<usize>,
    /// Nothing will happen any more.
    over: bool,
}

/// What all processes share.
struct Zone {
    clock: Arc<TestClock>,
    catalog: Mutex<TestCatalog>,
    importer: Mutex<TestImporter>,
    /// Jobs that an executor has taken; those of dead ones stay.
    taken: Mutex<Vec<QueuedJob>>,
    /// How many processes are within the importer, and how many were at most.
    importing: Mutex<(usize, usize)>,
    turns: Mutex<Turns>,
    /// One for each process.
    changed: Vec<Condvar>,
    /// How much the clocks of the executors are ahead, in seconds.
    skews: Vec<i64>,
    /// When an agent of an executor may die next; never at the beginning.
    next_death: AtomicU64,
    /// How often the server has crashed, with all agents of executors.
    crashes: AtomicU64,
    /// The last number that the catalog has given to a data object: each is higher than all before.
    last_id: AtomicU64,
}

/// One process: what it asks of the catalog and of OMERO waits for its turn.
struct Process<'z> {
    zone: &'z Zone,
    me: usize,
    skew: i64,
    calls: Cell<u64>,
    /// After so many calls nothing it does is seen any more.
    dies_after: u64,
    /// How often the server had crashed when it began; `None` if that does not concern it.
    crashes: Option<u64>,
}

impl Zone {
    fn new(seed: u64, agents: usize, skews: &[i64]) -> Self {
        let w = world();
        let processes = agents + skews.len();
        let turns =
            Turns { dice: Dice(seed), living: processes, waiting: BTreeMap::new(), next: None, over: false };
        Self {
            clock: w.clock,
            catalog: Mutex::new(w.catalog),
            importer: Mutex::new(w.importer),
            taken: Mutex::default(),
            importing: Mutex::default(),
            turns: Mutex::new(turns),
            changed: (0..processes).map(|_| Condvar::new()).collect(),
            skews: skews.to_vec(),
            next_death: AtomicU64::new(UnixTime::MAX),
            crashes: AtomicU64::new(0),
            last_id: AtomicU64::new(1_000),
        }
    }

    fn roll(&self, sides: u64) -> u64 {
        self.turns.lock().unwrap().dice.roll(sides)
    }

    /// Waits; false if nothing will happen any more.
    fn wait(&self, me: usize, until: Until) -> bool {
        let mut turns = self.turns.lock().unwrap();
        turns.waiting.insert(me, until);
        self.choose(&mut turns);
        while turns.next != Some(me) && !turns.over {
            turns = self.changed[me].wait(turns).unwrap();
        }
        turns.next = None;
        turns.waiting.remove(&me);
        !turns.over
    }

    /// Chooses who goes on, as soon as all wait.
    fn choose(&self, turns: &mut Turns) {
        if turns.next.is_some() || turns.over || turns.waiting.len() < turns.living {
            return;
        }
        let soonest = self.free_jobs().into_iter().map(|j| j.due_at).min();
        let time = |until: &Until| match until {
            Until::Turn => Some(0),
            Until::Time(time) => Some(*time),
            Until::Job => soonest,
        };
        let now = self.clock.now();
        let times: Vec<(usize, UnixTime)> =
            turns.waiting.iter().filter_map(|(p, until)| Some((*p, time(until)?))).collect();
        let Some(first) = times.iter().map(|(_, time)| *time).min() else {
            turns.over = true;
            self.changed.iter().for_each(Condvar::notify_one);
            return;
        };
        let passes = if turns.dice.roll(8) == 0 { turns.dice.roll(4) } else { 0 };
        self.clock.set(first.max(now + passes));
        let ready: Vec<usize> =
            times.iter().filter(|(_, time)| *time <= self.clock.now()).map(|(p, _)| *p).collect();
        let chosen = ready[usize::try_from(turns.dice.roll(ready.len() as u64)).unwrap()];
        turns.next = Some(chosen);
        self.changed[chosen].notify_one();
    }

    fn leave(&self) {
        let mut turns = self.turns.lock().unwrap();
        turns.living -= 1;
        self.choose(&mut turns);
    }

    /// The jobs no executor has taken. (The delay server's clock is the one that is right.)
    fn free_jobs(&self) -> Vec<QueuedJob> {
        let mut free = self.catalog.lock().unwrap().queued.borrow().clone();
        for taken in self.taken.lock().unwrap().iter() {
            if let Some(at) = free.iter().position(|j| j == taken) {
                free.remove(at);
            }
        }
        free
    }

    fn take_job(&self) -> Option<QueuedJob> {
        let due = self.free_jobs().into_iter().filter(|j| j.due_at <= self.clock.now());
        let job = due.min_by_key(|j| j.due_at)?;
        self.taken.lock().unwrap().push(job.clone());
        Some(job)
    }

    fn end_job(&self, job: &QueuedJob) {
        let remove = |jobs: &mut Vec<QueuedJob>| {
            if let Some(at) = jobs.iter().position(|j| j == job) {
                jobs.remove(at);
            }
        };
        remove(&mut self.catalog.lock().unwrap().queued.borrow_mut());
        remove(&mut self.taken.lock().unwrap());
    }

    /// An executor: runs what is due, each job in a new agent, until nothing will happen any more.
    fn execute(&self, me: usize, skew: i64) {
        let config = &world().config;
        while self.wait(me, Until::Job) {
            let Some(job) = self.take_job() else { continue };
            let may_die = self.next_death.load(Ordering::Relaxed) <= self.clock.now() && self.roll(3) == 0;
            let dies_after = if may_die { self.roll(60) } else { u64::MAX };
            if may_die {
                self.next_death.store(UnixTime::MAX, Ordering::Relaxed);
            }
            let crashes = Some(self.crashes.load(Ordering::Relaxed));
            let agent = Process { zone: self, me, skew, calls: Cell::new(0), dies_after, crashes };
            let sweeper =
                Sweeper { config, catalog: &agent, importing: Some(Importing::Here(&agent)), clock: &agent };
            // What fails is logged, and the job is over.
            let _ = match job.text.as_str() {
                due::SWEEP_ALL => sweeper.sweep_all().map(drop),
                due::SWEEP_SKIPPED => sweeper.sweep_skipped().map(drop),
                due::DELETIONS => Ok(()),
                _ => sweeper.sweep(id()).map(drop),
            };
            if may_die {
                self.next_death.store(self.clock.now() + BETWEEN_DEATHS, Ordering::Relaxed);
            }
            // The delay server may have died with it: then the job keeps its lock for ever.
            if agent.is_dead() && self.roll(2) == 0 {
                continue;
            }
            self.end_job(&job);
        }
    }

    /// Runs the executors, and beside them what a client's agents do.
    fn run<'z>(&'z self, agents: &[&(dyn Fn(&'z Self, usize) + Sync)]) {
        std::thread::scope(|scope| {
            for (me, agent) in agents.iter().enumerate() {
                scope.spawn(move || {
                    let _leaving = Leaving(self);
                    agent(self, me);
                });
            }
            for (n, skew) in self.skews.iter().enumerate() {
                scope.spawn(move || {
                    let _leaving = Leaving(self);
                    self.execute(agents.len() + n, *skew);
                });
            }
        });
    }

    /// Everything that is there was imported once, one import at a time, and nothing is left to do.
    fn assert_all_imported_once(&self, seed: u64) {
        let catalog = self.catalog.lock().unwrap();
        let importer = self.importer.lock().unwrap();
        let names: BTreeSet<String> =
            catalog.replicas.borrow().iter().map(|r| String::from_utf8(r.name.clone()).unwrap()).collect();
        for name in names {
            assert_eq!(catalog.state(&name), Some(State::Imported), "{name}, seed {seed}");
            let path = format!("{COLLECTION}/{name}").replacen("/z/", "/vault/", 1);
            let filesets = importer.has.borrow().get(&path).map_or(0, Vec::len);
            assert_eq!(filesets, 1, "filesets of {name}, seed {seed}");
        }
        assert_eq!(*catalog.marks.borrow(), [], "seed {seed}");
        assert!(self.importing.lock().unwrap().1 <= 1, "imports at a time, seed {seed}");
        drop(catalog);
        assert_eq!(self.free_jobs(), [], "seed {seed}");
    }
}

/// Tells the others when a process ends, however it ends.
struct Leaving<'z>(&'z Zone);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl<'z> Process<'z> {
    /// The agent of a client.
    fn of_client(zone: &'z Zone, me: usize, skew: i64) -> Self {
        Self { zone, me, skew, calls: Cell::new(0), dies_after: u64::MAX, crashes: None }
    }

    fn is_dead(&self) -> bool {
        let crashes = self.zone.crashes.load(Ordering::Relaxed);
        self.calls.get() > self.dies_after || self.crashes.is_some_and(|then| then != crashes)
    }

    /// Counts a call; the last one may take the whole server with it.
    fn count(&self) {
        self.calls.set(self.calls.get() + 1);
        if self.calls.get() == self.dies_after.saturating_add(1) {
            self.zone.crashes.fetch_add(self.zone.roll(2), Ordering::Relaxed);
        }
    }

    /// The catalog, when it is our turn.
    fn call(&self) -> Result<MutexGuard<'z, TestCatalog>, CatalogError> {
        let dead = || CatalogError::Call { call: "any", subject: "any".to_owned(), code: -1 };
        if !self.is_dead() {
            self.zone.wait(self.me, Until::Turn);
            self.count();
        }
        if self.is_dead() { Err(dead()) } else { Ok(self.zone.catalog.lock().unwrap()) }
    }
}

impl Clock for Process<'_> {
    fn now(&self) -> UnixTime {
        self.zone.clock.now().saturating_add_signed(self.skew)
    }
}

impl Importer for Process<'_> {
    fn import(
        &self,
        batch: &Batch,
        now: UnixTime,
        alive: &mut dyn FnMut(),
    ) -> Result<Vec<FileOutcome>, ImporterError> {
        let zone = self.zone;
        let died = || ImporterError::WillPass("died".to_owned());
        let work = |alive: &mut dyn FnMut()| {
            for _ in 0..zone.roll(20) {
                zone.wait(self.me, Until::Time(zone.clock.now() + zone.roll(10)));
                if self.is_dead() {
                    return;
                }
                self.count();
                alive();
            }
        };
        {
            let mut importing = zone.importing.lock().unwrap();
            importing.0 += 1;
            importing.1 = importing.1.max(importing.0);
        }
        work(alive);
        let done = if self.is_dead() {
            Err(died())
        } else {
            zone.importer.lock().unwrap().import(batch, now, &mut || {})
        };
        work(alive);
        zone.importing.lock().unwrap().0 -= 1;
        done
    }

    fn server(&self) -> &'static str {
        "omero.example.org"
    }
}

impl Metadata for Process<'_> {
    fn user_tags(&self, user: &IrodsUser, names: &[&str]) -> Result<Option<Vec<UserTag>>, CatalogError> {
        self.call()?.user_tags(user, names)
    }
    fn collection_values(&self, path: &LogicalPath, attribute: &str) -> Result<Vec<String>, CatalogError> {
        self.call()?.collection_values(path, attribute)
    }
    fn may_set_avus(&self, path: &LogicalPath) -> Result<BTreeSet<IrodsUser>, CatalogError> {
        self.call()?.may_set_avus(path)
    }
    fn collections_with(&self, attribute: &str, value: &str) -> Result<BTreeSet<CollectionId>, CatalogError> {
        self.call()?.collections_with(attribute, value)
    }
}

impl Locks for Process<'_> {
    fn locks(&self) -> Result<Vec<LockRow>, CatalogError> {
        self.call()?.locks()
    }
    fn make_lock(&self, name: &str) -> Result<bool, CatalogError> {
        self.call()?.make_lock(name)
    }
    fn remove_lock(&self, name: &str) -> Result<(), CatalogError> {
        self.call()?.remove_lock(name)
    }
}

impl Catalog for Process<'_> {
    fn objects_at(&self, physical: &[u8]) -> Result<Vec<(DataId, CollectionId)>, CatalogError> {
        self.call()?.objects_at(physical)
    }
    fn may_read(&self, user: &IrodsUser, id: DataId, at: CollectionId) -> Result<bool, CatalogError> {
        self.call()?.may_read(user, id, at)
    }
    fn collection_path(&self, id: CollectionId) -> Result<Option<LogicalPath>, CatalogError> {
        self.call()?.collection_path(id)
    }
    fn collection_id(&self, path: &LogicalPath) -> Result<Option<CollectionId>, CatalogError> {
        self.call()?.collection_id(path)
    }
    fn object_path(&self, id: DataId) -> Result<Option<(CollectionId, LogicalPath)>, CatalogError> {
        self.call()?.object_path(id)
    }
    fn set_mark(&self, path: &LogicalPath, attribute: &str, value: &str) -> Result<bool, CatalogError> {
        self.call()?.set_mark(path, attribute, value)
    }
    fn marks(&self, id: CollectionId, attribute: &str) -> Result<Vec<String>, CatalogError> {
        self.call()?.marks(id, attribute)
    }
    fn remove_mark(&self, path: &LogicalPath, attribute: &str, value: &str) -> Result<(), CatalogError> {
        self.call()?.remove_mark(path, attribute, value)
    }
    fn change_mark(
        &self,
        path: &LogicalPath,
        attribute: &str,
        old: &str,
        new: &str,
    ) -> Result<(), CatalogError> {
        self.call()?.change_mark(path, attribute, old, new)
    }
    fn subcollections(
        &self,
        path: &LogicalPath,
        after: Option<CollectionId>,
        limit: usize,
    ) -> Result<Vec<(CollectionId, LogicalPath)>, CatalogError> {
        self.call()?.subcollections(path, after, limit)
    }
    fn import_tags(&self, paths: &[LogicalPath], attribute: &str) -> Result<Vec<RawTag>, CatalogError> {
        self.call()?.import_tags(paths, attribute)
    }
    fn is_tagged_below(&self, path: &LogicalPath, attribute: &str) -> Result<bool, CatalogError> {
        self.call()?.is_tagged_below(path, attribute)
    }
    fn is_any_in_omero(&self, path: &LogicalPath) -> Result<bool, CatalogError> {
        self.call()?.is_any_in_omero(path)
    }
    fn in_omero_like(&self, path: &LogicalPath) -> Result<Vec<LogicalPath>, CatalogError> {
        self.call()?.in_omero_like(path)
    }
    fn tagged_objects(
        &self,
        id: CollectionId,
        attribute: &str,
    ) -> Result<Vec<(DataId, String, String)>, CatalogError> {
        self.call()?.tagged_objects(id, attribute)
    }
    fn bears(&self, kind: &[u8], name: &[u8], attributes: &[&str]) -> Result<bool, CatalogError> {
        self.call()?.bears(kind, name, attributes)
    }
    fn avu_is_one_of(&self, kind: &[u8], id: &[u8], attributes: &[&str]) -> Result<bool, CatalogError> {
        self.call()?.avu_is_one_of(kind, id, attributes)
    }
    fn marked(&self, attributes: &[&str]) -> Result<BTreeSet<CollectionId>, CatalogError> {
        self.call()?.marked(attributes)
    }
    fn replicas(
        &self,
        id: CollectionId,
        which: Which,
        visit: &mut dyn FnMut(Replica),
    ) -> Result<(), CatalogError> {
        self.call()?.replicas(id, which, visit)
    }
    fn object_avus(
        &self,
        id: CollectionId,
        which: Which,
        attributes: &[&str],
        visit: &mut dyn FnMut(DataId, Triple),
    ) -> Result<(), CatalogError> {
        self.call()?.object_avus(id, which, attributes, visit)
    }
    fn collection_record(&self, id: CollectionId) -> Result<Record, CatalogError> {
        self.call()?.collection_record(id)
    }
    fn tree(&self, path: &LogicalPath, visit: &mut dyn FnMut(TreeReplica)) -> Result<(), CatalogError> {
        self.call()?.tree(path, visit)
    }
    fn changed_between(
        &self,
        ids: &RangeInclusive<u64>,
        since: Option<UnixTime>,
    ) -> Result<Vec<Changed>, CatalogError> {
        self.call()?.changed_between(ids, since)
    }
    fn records_between(
        &self,
        ids: &RangeInclusive<u64>,
        visit: &mut dyn FnMut(DataId, CollectionId, Triple),
    ) -> Result<(), CatalogError> {
        self.call()?.records_between(ids, visit)
    }
    fn backlog(&self, limit: usize) -> Result<Backlog, CatalogError> {
        self.call()?.backlog(limit)
    }
    fn is_borne(&self, attribute: &str, value: &str) -> Result<bool, CatalogError> {
        self.call()?.is_borne(attribute, value)
    }
    fn replace(
        &self,
        kind: Kind,
        path: &LogicalPath,
        remove: &[Triple],
        add: &[Triple],
    ) -> Result<(), CatalogError> {
        self.call()?.replace(kind, path, remove, add)
    }
    fn replicate(&self, object: &LogicalPath, resource: &str) -> Result<(), CatalogError> {
        self.call()?.replicate(object, resource)
    }
    fn jobs(&self) -> Result<Jobs, CatalogError> {
        self.call()?.jobs()
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
    fn changed_in(
        &self,
        id: CollectionId,
        after: u64,
        since: UnixTime,
    ) -> Result<BTreeSet<DataId>, CatalogError> {
        self.call()?.changed_in(id, after, since)
    }
    fn marks_at(&self, path: &LogicalPath, attribute: &str) -> Result<Vec<String>, CatalogError> {
        self.call()?.marks_at(path, attribute)
    }
    fn queue(&self, text: &str, delay: Duration) -> Result<(), CatalogError> {
        let due_at = Clock::now(self) + delay.as_secs().max(1);
        self.call()?.queued.borrow_mut().push(QueuedJob { text: text.to_owned(), due_at });
        Ok(())
    }
    fn client(&self) -> Option<IrodsUser> {
        IrodsUser::parse("alice#z").ok()
    }
    fn client_is_admin(&self) -> bool {
        false
    }
}

/// How much two executors' clocks and the two of the servers that clients use are ahead, in seconds.
#[derive(Clone, Copy)]
struct Clocks {
    executors: [i64; 2],
    clients: [i64; 2],
}

const RIGHT: Clocks = Clocks { executors: [0, 0], clients: [0, 0] };

#[test]
fn of_two_sweeps_of_one_collection_at_a_time_one_imports() {
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let zone = Zone::new(seed, 0, if seed % 2 == 0 { &[0, 0] } else { &[-90, 90] });
        {
            let catalog = zone.catalog.lock().unwrap();
            for n in 1..=dice.within(1..=3) {
                catalog.put(n, &format!("{n}.tif"), "alice");
            }
            catalog.event(&world().config);
            // A second job for the same, as `sweep_all` or an impatient client queues it.
            catalog.queue(&due::sweep_text(id()), Duration::from_secs(QUIET)).unwrap();
            catalog.queue(&due::sweep_text(id()), Duration::from_secs(dice.within(1..=QUIET))).unwrap();
        }
        zone.run(&[]);
        zone.assert_all_imported_once(seed);
        assert_eq!(zone.importer.lock().unwrap().batches.borrow().len(), 1, "importer runs, seed {seed}");
    }
}

/// A client that puts data, moves data in that is old, and removes some, at random times.
fn client(zone: &Zone, me: usize, skew: i64, acts: &mut Dice) {
    let process = Process::of_client(zone, me, skew);
    let config = world().config;
    let mut number = 100 * (me as u64 + 1);
    for _ in 0..acts.within(1..=4) {
        let wait = if acts.roll(3) == 0 { acts.within(10..=45) } else { acts.roll(4) };
        zone.wait(me, Until::Time(zone.clock.now() + wait));
        number += 1;
        let name = format!("{number}.tif");
        let is_moved = acts.roll(4) == 0;
        {
            let catalog = zone.catalog.lock().unwrap();
            // What is moved in is older than all that is there.
            let id = if is_moved { number } else { zone.last_id.fetch_add(1, Ordering::Relaxed) + 1 };
            let mut replica = catalog.replica(id, &format!("{COLLECTION}/{name}"), "alice");
            replica.modify_time = if is_moved { NOW - 100_000 } else { Clock::now(&process) };
            catalog.replicas.borrow_mut().push(replica);
        }
        if acts.roll(2) == 0 {
            zone.wait(me, Until::Turn);
        }
        if is_moved {
            let _ = due::ask_for_all(&process, &config.attributes, &collection());
        }
        event(&process, &config, Clock::now(&process));
        if acts.roll(4) == 0 {
            zone.wait(me, Until::Time(zone.clock.now() + acts.roll(20)));
            let catalog = zone.catalog.lock().unwrap();
            catalog.replicas.borrow_mut().retain(|r| r.name != name.as_bytes());
            // A data object takes its AVUs with it (`removeMetaMapAndAvu` of the server's database plugin).
            catalog.avus.borrow_mut().remove(format!("{COLLECTION}/{name}").as_bytes());
        }
    }
}

/// Runs two clients and two executors with each of many seeds.
fn clients_and_sweeps(seeds: std::ops::Range<u64>, clocks: Clocks, deadly: bool) {
    for seed in seeds {
        let zone = Zone::new(seed, 2, &clocks.executors);
        if deadly {
            zone.next_death.store(NOW, Ordering::Relaxed);
        }
        let act = |zone: &Zone, me: usize| {
            client(zone, me, clocks.clients[me], &mut Dice(seed.rotate_left(7) ^ me as u64));
        };
        zone.run(&[&act, &act]);
        zone.assert_all_imported_once(seed);
    }
}

#[test]
fn whatever_clients_do_while_sweeps_are_at_work_is_imported_once_and_leaves_nothing_behind() {
    clients_and_sweeps(0..1_000, RIGHT, false);
}

#[test]
fn whatever_clients_do_while_sweeps_die_is_imported_once_and_leaves_nothing_behind() {
    clients_and_sweeps(10_000..10_500, RIGHT, true);
}

#[test]
fn servers_whose_clocks_differ_by_minutes_lose_nothing_and_import_nothing_twice() {
    let hour = 3_600;
    for (n, (executors, clients)) in [
        ([0, 0], [-600, 600]),
        ([0, 0], [-hour, hour]),
        ([0, 180], [0, 0]),
        ([-90, 90], [-600, -600]),
        ([180, 0], [300, -300]),
    ]
    .into_iter()
    .enumerate()
    {
        let first = 20_000 + 1_000 * n as u64;
        clients_and_sweeps(first..first + 100, Clocks { executors, clients }, false);
        clients_and_sweeps(first + 500..first + 550, Clocks { executors, clients }, true);
    }
}
