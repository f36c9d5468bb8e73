//! A zone and an agent of the tests: what becomes of saves, and of one whose process dies at any step.

use super::*;
use crate::catalog::{Descriptor, How};
use irods_omero_config::Config;
use irods_omero_config::identity::NoUser;
use irods_omero_importer::Subject;
use irods_omero_importer::agent_client::ContentError;
use irods_omero_importer::agents::AgentError;
use irods_omero_importer::wire::{FileKind, InIrods, Key, OnConflict, SaveFiles, Saves, What};
use irods_omero_model::names::{DataId, LogicalPath, OmeroId, OmeroName};
use serde_json::json;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;

const ALICE: &str = "alice#z";
const HOME: &str = "/z/home/alice";

#[derive(Clone)]
struct Data {
    id: u64,
    owner: String,
    bytes: Vec<u8>,
    /// What the catalog says of the size.
    size: u64,
    is_writing: bool,
    has_record: bool,
}

#[derive(Default)]
struct World {
    objects: RefCell<BTreeMap<String, Data>>,
    collections: RefCell<BTreeSet<String>>,
    /// Collections that alice may not write into.
    closed: RefCell<BTreeSet<String>>,
    open: RefCell<BTreeMap<i32, (String, usize, bool)>>,
    note: RefCell<Option<Working>>,
    users: BTreeMap<&'static str, Result<&'static str, &'static str>>,
    now: Cell<u64>,
    next: Cell<u64>,
    steps: Cell<u64>,
    /// The step that is never done: the process dies before it.
    dies_at: Cell<Option<u64>>,
    /// Everything written from here on fails with this code.
    full: Cell<Option<i64>>,
    /// Seconds that each piece takes.
    slow: Cell<u64>,
}

fn error(code: i64) -> CatalogError {
    CatalogError::Call { call: "test", subject: String::new(), code }
}

const DIED: i64 = -1;

impl World {
    fn new() -> Self {
        let world = Self { users: BTreeMap::from([("ann", Ok(ALICE))]), ..Self::default() };
        world.collections.borrow_mut().extend(["/z", "/z/home", HOME].map(str::to_owned));
        world.closed.borrow_mut().extend(["/z", "/z/home"].map(str::to_owned));
        world.next.set(100);
        world.now.set(1_000_000);
        world
    }

    /// One step that changes something, or the death of the process.
    fn step(&self) {
        let step = self.steps.get();
        if self.dies_at.get().is_some_and(|at| step >= at) {
            std::panic::resume_unwind(Box::new("the process died"));
        }
        self.steps.set(step + 1);
    }

    /// Another process comes.
    fn revive(&self) {
        self.dies_at.set(None);
        self.open.borrow_mut().clear();
    }

    fn put(&self, path: &str, owner: &str, bytes: &[u8]) {
        let id = self.next.replace(self.next.get() + 1);
        let data = Data {
            id,
            owner: owner.to_owned(),
            bytes: bytes.to_vec(),
            size: bytes.len() as u64,
            is_writing: false,
            has_record: false,
        };
        self.objects.borrow_mut().insert(path.to_owned(), data);
    }

    fn text(&self, path: &str) -> Option<Vec<u8>> {
        self.objects.borrow().get(path).map(|data| data.bytes.clone())
    }

    /// The names that people see.
    fn visible(&self) -> Vec<String> {
        self.objects.borrow().keys().filter(|path| !path.contains("/.omero-save-")).cloned().collect()
    }

    fn hidden(&self) -> usize {
        self.objects.borrow().len() - self.visible().len()
    }

    fn may_write(&self, path: &str) -> bool {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        self.collections.borrow().contains(parent) && !self.closed.borrow().contains(parent)
    }
}

fn text(path: &LogicalPath) -> String {
    path.display().into_owned()
}

impl Zone for World {
    fn now(&self) -> UnixTime {
        self.now.get()
    }
    fn is_alive(&self) -> Result<bool, CatalogError> {
        Ok(true)
    }
    fn name(&self) -> &'static str {
        "z"
    }
    fn who(&self, omero: &OmeroName) -> Result<Result<IrodsUser, NoUser>, CatalogError> {
        let omero = omero.clone();
        Ok(match self.users.get(omero.as_str()) {
            Some(Ok(user)) => Ok(IrodsUser::parse(user).unwrap()),
            Some(Err(why)) => Err(NoUser::WillPass { omero, why: (*why).to_owned() }),
            None => Err(NoUser::Nobody { omero, hints: String::new() }),
        })
    }
    fn readable(&self, _: &IrodsUser, subject: Subject) -> Result<Option<LogicalPath>, CatalogError> {
        let Subject::DataObject(id) = subject else { return Ok(None) };
        let objects = self.objects.borrow();
        let found = objects.iter().find(|(_, data)| data.id == id.number() && data.owner == ALICE);
        Ok(found.map(|(path, _)| LogicalPath::parse(path.as_bytes()).unwrap()))
    }
    fn there(&self, path: &LogicalPath) -> Result<There, CatalogError> {
        if self.collections.borrow().contains(&text(path)) {
            return Ok(There::Collection);
        }
        Ok(self.objects.borrow().get(&text(path)).map_or(There::Nothing, |data| {
            There::Object(Object {
                id: DataId::parse(&data.id.to_string()).unwrap(),
                owner: IrodsUser::parse(&data.owner).unwrap(),
                size: data.size,
                replica: 0,
                is_good: !data.is_writing,
                is_being_written: data.is_writing,
            })
        }))
    }
    fn may_not_write(&self, _: &IrodsUser, path: &LogicalPath) -> Result<Option<LogicalPath>, CatalogError> {
        let mut here = Some(path.clone());
        while let Some(path) = here {
            if self.collections.borrow().contains(&text(&path)) {
                return Ok(self.closed.borrow().contains(&text(&path)).then_some(path));
            }
            here = path.parent();
        }
        Ok(None)
    }
    fn make_collection(&self, path: &LogicalPath, _: &Origin<'_>) -> Result<(), CatalogError> {
        self.step();
        let mut here = Some(path.clone());
        while let Some(path) = here {
            self.collections.borrow_mut().insert(text(&path));
            here = path.parent();
        }
        Ok(())
    }
    fn open(&self, user: &IrodsUser, path: &LogicalPath, how: How<'_>) -> Result<Descriptor, CatalogError> {
        let path_text = text(path);
        let (at, writes) = match how {
            How::Read(at) => (at, false),
            How::Write(at) => (at, true),
            How::Create(_) => (0, true),
        };
        if writes {
            self.step();
        }
        if matches!(how, How::Create(_)) {
            if self.objects.borrow().contains_key(&path_text) {
                return Err(error(-510_017));
            }
            if !self.may_write(&path_text) {
                return Err(error(-818_000));
            }
            self.put(&path_text, &user.to_string(), b"");
        }
        let mut objects = self.objects.borrow_mut();
        let data = objects.get_mut(&path_text).ok_or(error(-358_000))?;
        if data.is_writing {
            return Err(error(-1_803_000));
        }
        if data.owner != user.to_string() {
            return Err(error(-818_000));
        }
        data.is_writing = writes;
        let number = i32::try_from(self.next.replace(self.next.get() + 1)).unwrap();
        self.open.borrow_mut().insert(number, (path_text, usize::try_from(at).unwrap(), writes));
        Ok(Descriptor::new(number, user, path))
    }
    fn read(&self, open: &Descriptor, into: &mut [u8]) -> Result<usize, CatalogError> {
        let mut all = self.open.borrow_mut();
        let (path, at, _) = all.get_mut(&open.number()).ok_or(error(DIED))?;
        let objects = self.objects.borrow();
        let rest = &objects[path].bytes[*at..];
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        *at += count;
        Ok(count)
    }
    fn write(&self, open: &Descriptor, bytes: &[u8]) -> Result<(), CatalogError> {
        self.step();
        if let Some(code) = self.full.get() {
            return Err(error(code));
        }
        self.now.set(self.now.get() + self.slow.get());
        let mut all = self.open.borrow_mut();
        let (path, at, _) = all.get_mut(&open.number()).ok_or(error(DIED))?;
        let mut objects = self.objects.borrow_mut();
        let data = objects.get_mut(path).ok_or(error(-358_000))?;
        data.bytes.truncate(*at);
        data.bytes.extend(bytes);
        *at += bytes.len();
        Ok(())
    }
    fn close(&self, open: Descriptor) -> Result<(), CatalogError> {
        let (path, _, writes) = self.open.borrow_mut().remove(&open.number()).ok_or(error(DIED))?;
        if writes {
            self.step();
            if let Some(data) = self.objects.borrow_mut().get_mut(&path) {
                (data.is_writing, data.size) = (false, data.bytes.len() as u64);
            }
        }
        Ok(())
    }
    fn rename(&self, _: &IrodsUser, from: &LogicalPath, to: &LogicalPath) -> Result<(), CatalogError> {
        self.step();
        if self.objects.borrow().contains_key(&text(to)) || self.collections.borrow().contains(&text(to)) {
            return Err(error(-834_000));
        }
        if !self.may_write(&text(to)) {
            return Err(error(-818_000));
        }
        let data = self.objects.borrow_mut().remove(&text(from)).ok_or(error(-808_000))?;
        self.objects.borrow_mut().insert(text(to), data);
        Ok(())
    }
    fn remove(&self, _: &IrodsUser, path: &LogicalPath) -> Result<(), CatalogError> {
        self.step();
        self.objects.borrow_mut().remove(&text(path)).map(drop).ok_or(error(-808_000))
    }
    fn checksum(&self, _: &IrodsUser, path: &LogicalPath) -> Result<String, CatalogError> {
        self.step();
        let mut sums = sums::Sums::default();
        sums.add(&self.text(&text(path)).unwrap_or_default());
        Ok(sums.finish().sha2)
    }
    fn mark_stale(&self, path: &LogicalPath, _: u32) -> Result<(), CatalogError> {
        self.step();
        if let Some(data) = self.objects.borrow_mut().get_mut(&text(path)) {
            data.is_writing = false;
        }
        Ok(())
    }
    fn record(&self, path: &LogicalPath, _: &Origin<'_>) -> Result<(), CatalogError> {
        self.step();
        if let Some(data) = self.objects.borrow_mut().get_mut(&text(path)) {
            data.has_record = true;
        }
        Ok(())
    }
    fn noted(&self) -> Result<Option<Working>, CatalogError> {
        Ok(self.note.borrow().clone())
    }
    fn note(&self, working: Option<&Working>) -> Result<(), CatalogError> {
        self.step();
        *self.note.borrow_mut() = working.cloned();
        Ok(())
    }
}

/// An agent with one save.
struct AgentOfTest {
    save: RefCell<Save>,
    files: RefCell<Vec<SaveFile>>,
    contents: RefCell<BTreeMap<u64, Vec<u8>>>,
    /// After how many bytes of one answer the connection is cut.
    cut: Cell<Option<u64>>,
    /// The number of a file that the agent cannot read.
    unreadable: Cell<Option<u64>>,
    is_down: Cell<bool>,
    reason: RefCell<Option<String>>,
    asked: Cell<u64>,
}

fn sha1(bytes: &[u8]) -> String {
    let mut sums = sums::Sums::default();
    sums.add(bytes);
    sums.finish().sha1
}

fn agent(files: &[(&str, &[u8])]) -> Rc<AgentOfTest> {
    let mut all = Vec::new();
    let mut contents = BTreeMap::new();
    for (i, (name, bytes)) in files.iter().enumerate() {
        let n = i as u64 + 1;
        contents.insert(n, bytes.to_vec());
        all.push(SaveFile {
            n,
            fileset: OmeroId::from_number(5),
            images: vec![],
            kind: FileKind::File,
            group: "lab".to_owned(),
            project: None,
            dataset: Some("d".to_owned()),
            screen: None,
            plate: None,
            name: (*name).to_owned(),
            size: bytes.len() as u64,
            sha1: Some(sha1(bytes)),
            host_path: None,
            in_irods: None,
            state: SaveFileState::Queued,
            path: None,
            reason: None,
        });
    }
    let save = Save {
        id: Key::parse("s1").unwrap(),
        server: "o".to_owned(),
        user: OmeroName::parse("ann").unwrap(),
        state: SaveState::Queued,
        reason: None,
        objects: vec![],
        what: vec![What::Files],
        collection: None,
        again: false,
        on_conflict: OnConflict::Rename,
        created: 1,
        changed: 1,
        notes: vec![],
        files: all.len() as u64,
        bytes: 0,
        saved: 0,
        already: 0,
        refused: 0,
    };
    Rc::new(AgentOfTest {
        save: RefCell::new(save),
        files: RefCell::new(all),
        contents: RefCell::new(contents),
        cut: Cell::default(),
        unreadable: Cell::default(),
        is_down: Cell::default(),
        reason: RefCell::default(),
        asked: Cell::default(),
    })
}

impl AgentOfTest {
    fn answer<T>(&self, answer: T) -> Result<T, AgentError> {
        if self.is_down.get() {
            Err(AgentError::NotTaken("the agent is down".to_owned()))
        } else {
            Ok(answer)
        }
    }
    fn state(&self) -> SaveState {
        self.save.borrow().state
    }
    fn file(&self, n: usize) -> SaveFile {
        self.files.borrow()[n - 1].clone()
    }
}

struct Source(Rc<AgentOfTest>);

impl SaveSource for Source {
    fn name(&self) -> &'static str {
        "a1"
    }
    fn open_saves(&self, _: Option<&Key>) -> Result<Saves, AgentError> {
        let save = self.0.save.borrow().clone();
        let saves = if save.state.is_final() { vec![] } else { vec![save] };
        self.0.answer(Saves { saves, after: None })
    }
    fn save(&self, _: &Key) -> Result<Option<Save>, AgentError> {
        self.0.answer(Some(self.0.save.borrow().clone()))
    }
    fn queued_files(&self, _: &Key, after: u64) -> Result<SaveFiles, AgentError> {
        let files = self.0.files.borrow();
        let queued = files.iter().filter(|f| f.n > after && f.state == SaveFileState::Queued);
        self.0.answer(SaveFiles { files: queued.cloned().collect(), after: None })
    }
    fn begin(&self, _: &Key, begin: &SaveBegin) -> Result<Save, AgentError> {
        self.0.answer(())?;
        let mut save = self.0.save.borrow_mut();
        if !save.state.is_final() {
            save.state = SaveState::Running;
            self.0.reason.borrow_mut().clone_from(&begin.reason);
        }
        Ok(save.clone())
    }
    fn report(&self, _: &Key, report: &SaveReport) -> Result<Save, AgentError> {
        self.0.answer(())?;
        let read = SaveReport::read(&report.to_json()).unwrap();
        let mut save = self.0.save.borrow_mut();
        for said in read.files {
            let mut files = self.0.files.borrow_mut();
            let file = files.iter_mut().find(|f| f.n == said.n).unwrap();
            assert_eq!(file.state, SaveFileState::Queued);
            (file.state, file.path, file.reason) = (said.state, said.path, said.reason);
            match said.state {
                SaveFileState::Saved => save.saved += 1,
                SaveFileState::AlreadyInIrods => save.already += 1,
                SaveFileState::Refused => save.refused += 1,
                SaveFileState::Queued => {}
            }
        }
        Ok(save.clone())
    }
    fn end(&self, _: &Key, end: &SaveEnd) -> Result<Save, AgentError> {
        self.0.answer(())?;
        let mut save = self.0.save.borrow_mut();
        (save.state, save.reason) = (end.state, end.reason.clone());
        Ok(save.clone())
    }
    fn content(
        &self,
        _: &Key,
        n: u64,
        from: u64,
        length: u64,
        take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<u64, ContentError> {
        self.0.asked.set(self.0.asked.get() + 1);
        if self.0.unreadable.get() == Some(n) {
            return Err(ContentError::WillPass("its file system is away".to_owned()));
        }
        let contents = self.0.contents.borrow();
        let bytes = &contents[&n];
        let end = (from + length).min(bytes.len() as u64);
        let cut = self.0.cut.get().map_or(end, |cut| end.min(from + cut));
        for piece in bytes[usize::try_from(from).unwrap()..usize::try_from(cut).unwrap()].chunks(3) {
            take(piece)?;
        }
        if cut < from + length {
            return Err(ContentError::WillPass("the connection was cut".to_owned()));
        }
        Ok(length)
    }
}

fn saving(save: serde_json::Value) -> Saving {
    let mut save = save;
    save["enabled"] = json!(true);
    let agents = json!([{"name": "a1", "url": "unix:/run/a.sock"}]);
    let stanza = json!({"save": save, "importer": {"mode": "agent", "agents": agents}});
    Config::parse(&stanza).unwrap().saving.unwrap()
}

fn run(world: &World, agent: &Rc<AgentOfTest>) -> Result<Done, CatalogError> {
    let sources: Vec<Box<dyn SaveSource>> = vec![Box::new(Source(Rc::clone(agent)))];
    let saving = saving(json!({"collection": "/{zone}/home/{user}/omero/{dataset}"}));
    Saver { zone: world, sources: &sources, saving: &saving, server: None }.run()
}

/// Whether the process dies while it runs: it says nothing more to anybody.
fn dies(world: &World, agent: &Rc<AgentOfTest>) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(world, agent))).is_err()
}

const A: &str = "/z/home/alice/omero/d/a.tif";

#[test]
fn a_save_writes_every_file_as_the_person_and_ends() {
    let (world, agent) =
        (World::new(), agent(&[("a.tif", b"bytes of a"), ("s/b.ids", b""), ("s/b.ics", b"bb")]));
    let done = run(&world, &agent).unwrap();
    assert_eq!((done.saved, done.refused), (3, 0));
    assert_eq!(world.text(A).unwrap(), b"bytes of a");
    assert_eq!(world.text("/z/home/alice/omero/d/s/b.ics").unwrap(), b"bb");
    assert!(world.objects.borrow().values().all(|o| o.owner == ALICE && o.has_record && !o.is_writing));
    assert_eq!((world.hidden(), world.noted().unwrap()), (0, None));
    assert_eq!(agent.state(), SaveState::Done);
    assert_eq!(agent.file(1).path.unwrap().display(), A);
}

#[test]
fn whenever_the_process_dies_a_file_is_whole_or_nothing_of_it_is_visible_and_the_next_one_goes_on() {
    let files: &[(&str, &[u8])] = &[("a.tif", b"bytes of a"), ("b.tif", b"other bytes")];
    let world = World::new();
    run(&world, &agent(files)).unwrap();
    let steps = world.steps.get();
    assert!(steps > 20, "{steps}");
    for at in 0..steps {
        let (world, agent) = (World::new(), agent(files));
        world.dies_at.set(Some(at));
        assert!(dies(&world, &agent), "step {at}");
        for path in world.visible() {
            let whole = if path == A { files[0].1 } else { files[1].1 };
            let objects = world.objects.borrow();
            assert_eq!(objects[&path].bytes, whole, "step {at}: {path}");
            assert!(objects[&path].has_record && !objects[&path].is_writing, "step {at}: {path}");
        }
        world.revive();
        // What is wrong of what a dead process wrote is written anew in the next turn.
        for _ in 0..3 {
            run(&world, &agent).unwrap();
        }
        assert_eq!(world.visible(), [A, "/z/home/alice/omero/d/b.tif"], "step {at}");
        assert_eq!(world.text(A).unwrap(), files[0].1, "step {at}");
        assert_eq!((world.hidden(), world.noted().unwrap()), (0, None), "step {at}");
        assert_eq!(agent.state(), SaveState::Done, "step {at}");
    }
}

#[test]
fn a_save_that_is_cancelled_while_a_process_dies_leaves_nothing() {
    let files: &[(&str, &[u8])] = &[("a.tif", b"bytes of a")];
    for at in 3..9 {
        let (world, agent) = (World::new(), agent(files));
        world.dies_at.set(Some(at));
        assert!(dies(&world, &agent));
        world.revive();
        agent.save.borrow_mut().state = SaveState::Cancelled;
        run(&world, &agent).unwrap();
        assert_eq!((world.objects.borrow().len(), world.noted().unwrap()), (0, None), "step {at}");
    }
}

#[test]
fn nothing_is_overwritten() {
    let (world, agent) = (World::new(), agent(&[("a.tif", b"new"), ("a.tif", b"old"), ("s/c", b"c")]));
    world.put(A, ALICE, b"old");
    world.put("/z/home/alice/omero/d/a (2).tif", "bob#z", b"new");
    world.put("/z/home/alice/omero/d/s/c", ALICE, b"C");
    for c in ["/z/home/alice/omero/d", "/z/home/alice/omero/d/s"] {
        world.collections.borrow_mut().insert(c.to_owned());
    }
    run(&world, &agent).unwrap();
    // What bob has is not readable to alice, so nobody can tell that it is the same.
    assert_eq!(agent.file(1).path.unwrap().display(), "/z/home/alice/omero/d/a (3).tif");
    assert_eq!(
        (agent.file(2).state, agent.file(2).path.unwrap().display().into_owned()),
        (SaveFileState::AlreadyInIrods, A.to_owned())
    );
    assert!(agent.file(3).reason.unwrap().contains("nothing is overwritten"));
    assert_eq!(
        (world.text(A).unwrap(), world.text("/z/home/alice/omero/d/s/c").unwrap()),
        (b"old".to_vec(), b"C".to_vec())
    );
    assert_eq!(agent.state(), SaveState::Refused);
}

#[test]
fn a_conflict_is_refused_where_the_person_asked_for_that() {
    let (world, agent) = (World::new(), agent(&[("a.tif", b"new")]));
    agent.save.borrow_mut().on_conflict = OnConflict::Refuse;
    world.put(A, ALICE, b"old");
    run(&world, &agent).unwrap();
    assert_eq!((agent.file(1).state, world.visible().len(), world.hidden()), (SaveFileState::Refused, 1, 0));
}

#[test]
fn without_a_checksum_of_omero_the_bytes_themselves_are_compared() {
    let (world, agent) = (World::new(), agent(&[("a.tif", b"same"), ("b.tif", b"new!")]));
    for file in agent.files.borrow_mut().iter_mut() {
        file.sha1 = None;
    }
    world.put(A, ALICE, b"same");
    world.put("/z/home/alice/omero/d/b.tif", ALICE, b"old!");
    run(&world, &agent).unwrap();
    assert_eq!(agent.file(1).state, SaveFileState::AlreadyInIrods);
    assert_eq!(agent.file(2).path.unwrap().display(), "/z/home/alice/omero/d/b (2).tif");
}

#[test]
fn what_was_imported_from_irods_is_named_and_not_copied_unless_asked() {
    let known = |world: &World| InIrods {
        zone: "z".to_owned(),
        subject: Subject::DataObject(
            DataId::parse(&world.objects.borrow()["/z/x.tif"].id.to_string()).unwrap(),
        ),
        path: "/z/before.tif".to_owned(),
    };
    for (owner, again, state) in [
        (ALICE, false, SaveFileState::AlreadyInIrods),
        (ALICE, true, SaveFileState::Saved),
        ("bob#z", false, SaveFileState::Saved),
    ] {
        let (world, agent) = (World::new(), agent(&[("a.tif", b"a")]));
        world.put("/z/x.tif", owner, b"whatever");
        agent.save.borrow_mut().again = again;
        agent.files.borrow_mut()[0].in_irods = Some(known(&world));
        run(&world, &agent).unwrap();
        assert_eq!(agent.file(1).state, state, "{owner} {again}");
    }
}

#[test]
fn bytes_that_are_not_those_that_omero_lists_are_refused_and_removed() {
    let (world, agent) = (World::new(), agent(&[("a.tif", b"listed"), ("b.tif", b"fine")]));
    agent.contents.borrow_mut().insert(1, b"forged".to_vec());
    run(&world, &agent).unwrap();
    assert!(agent.file(1).reason.unwrap().contains("not those that OMERO has the checksum of"));
    assert_eq!((world.visible(), world.hidden()), (vec!["/z/home/alice/omero/d/b.tif".to_owned()], 0));
    assert_eq!(agent.save.borrow().reason.as_deref(), Some("1 of 2 files were refused; each says why"));
}

#[test]
fn a_connection_that_is_cut_again_and_again_costs_no_byte_twice() {
    let (world, agent) = (World::new(), agent(&[("a.tif", b"0123456789")]));
    agent.cut.set(Some(3));
    run(&world, &agent).unwrap();
    assert_eq!(world.text(A).unwrap(), b"0123456789");
    assert_eq!(agent.asked.get(), 4);
    // One that gives nothing at all is waited for.
    let (world, agent) = (World::new(), super::tests::agent(&[("a.tif", b"0123456789")]));
    agent.cut.set(Some(0));
    run(&world, &agent).unwrap();
    assert_eq!((agent.state(), world.visible().len()), (SaveState::Running, 0));
    assert!(agent.reason.borrow().as_ref().unwrap().contains("cut"));
    agent.cut.set(None);
    run(&world, &agent).unwrap();
    assert_eq!((agent.state(), world.text(A).unwrap()), (SaveState::Done, b"0123456789".to_vec()));
}

#[test]
fn a_file_that_cannot_be_read_for_now_keeps_no_other_waiting() {
    let (world, agent) = (World::new(), agent(&[("b.tif", b"away"), ("a.tif", b"0123456789")]));
    agent.unreadable.set(Some(1));
    run(&world, &agent).unwrap();
    assert_eq!(world.text(A).unwrap(), b"0123456789");
    assert_eq!((agent.state(), world.hidden()), (SaveState::Running, 0));
    assert!(agent.reason.borrow().as_ref().unwrap().contains("away"));
    agent.unreadable.set(None);
    run(&world, &agent).unwrap();
    assert_eq!((agent.state(), world.visible().len()), (SaveState::Done, 2));
}

#[test]
fn a_quota_that_is_used_up_is_waited_for_with_a_reason() {
    let (world, agent) = (World::new(), agent(&[("a.tif", b"0123456789")]));
    world.full.set(Some(-110_000));
    run(&world, &agent).unwrap();
    assert!(agent.reason.borrow().as_ref().unwrap().contains("quota"));
    assert_eq!((agent.state(), world.visible().len()), (SaveState::Running, 0));
    world.full.set(None);
    run(&world, &agent).unwrap();
    assert_eq!((agent.state(), world.hidden()), (SaveState::Done, 0));
}

#[test]
fn a_collection_that_the_person_may_not_write_is_refused_before_anything_is_made() {
    for collection in ["/z/home/bob/x", "/z/home", "/other/home/alice", "/z/{nobody}", "/z/home/alice/../bob"]
    {
        let (world, agent) = (World::new(), agent(&[("a.tif", b"a")]));
        world.collections.borrow_mut().insert("/z/home/bob".to_owned());
        world.closed.borrow_mut().insert("/z/home/bob".to_owned());
        agent.save.borrow_mut().collection = Some(collection.to_owned());
        let before = world.collections.borrow().clone();
        run(&world, &agent).unwrap();
        assert_eq!(agent.state(), SaveState::Refused, "{collection}");
        assert_eq!(
            (&*world.collections.borrow(), world.objects.borrow().len()),
            (&before, 0),
            "{collection}"
        );
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused_and_odd_ones_are_kept() {
    let odd = "it's \"$objPath\" %_\\x41 (1).tif";
    let (world, agent) = (World::new(), agent(&[("a", b"a"), ("b", b"b"), ("c", b"c")]));
    for (i, name) in ["../../bob/x", odd, "a\nb"].into_iter().enumerate() {
        agent.files.borrow_mut()[i].name = name.to_owned();
    }
    run(&world, &agent).unwrap();
    assert_eq!(world.visible(), [format!("/z/home/alice/omero/d/{odd}")]);
    assert_eq!((agent.file(1).state, agent.file(3).state), (SaveFileState::Refused, SaveFileState::Refused));
}

#[test]
fn something_of_somebody_else_under_the_hidden_name_is_not_touched() {
    let (world, agent) = (World::new(), agent(&[("a.tif", b"a")]));
    world.put("/z/home/alice/omero/d/.omero-save-s1-1", "bob#z", b"b");
    run(&world, &agent).unwrap();
    assert!(agent.file(1).reason.unwrap().contains("somebody else"));
    assert_eq!(world.text("/z/home/alice/omero/d/.omero-save-s1-1").unwrap(), b"b");
}

#[test]
fn who_is_nobody_in_irods_is_told_so_and_who_cannot_be_looked_up_is_waited_for() {
    let (world, agent) = (World::new(), agent(&[("a.tif", b"a")]));
    agent.save.borrow_mut().user = OmeroName::parse("root").unwrap();
    run(&world, &agent).unwrap();
    assert_eq!((agent.state(), world.objects.borrow().len()), (SaveState::Refused, 0));
    assert!(agent.save.borrow().reason.as_ref().unwrap().contains("no iRODS user"));
    let mut world = World::new();
    world.users.insert("ann", Err("the directory is down"));
    let agent = super::tests::agent(&[("a.tif", b"a")]);
    run(&world, &agent).unwrap();
    assert_eq!(agent.state(), SaveState::Running);
    assert!(agent.reason.borrow().as_ref().unwrap().contains("the directory is down"));
}

#[test]
fn a_large_file_goes_on_in_the_next_turn() {
    let (world, agent) = (World::new(), agent(&[("a.tif", &[7; 100])]));
    world.slow.set(20);
    agent.cut.set(Some(9));
    let first = run(&world, &agent).unwrap();
    assert!(first.is_more && world.visible().is_empty());
    for _ in 0..20 {
        run(&world, &agent).unwrap();
    }
    assert_eq!((agent.state(), world.text(A).unwrap()), (SaveState::Done, vec![7; 100]));
}

#[test]
fn an_agent_that_is_down_holds_up_nobody() {
    let (world, agent) = (World::new(), agent(&[("a.tif", b"a")]));
    agent.is_down.set(true);
    assert_eq!(run(&world, &agent).unwrap(), Done::default());
}
