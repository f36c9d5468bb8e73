//! What several clients do at one moment, on a real `PostgreSQL`: the locks' own code, and the marks, over connections that run
//! the statements of the server's database plugin (`db_plugin.cpp` of 5.0.2: `db_reg_coll_op`, `_delColl`, `findOrInsertAVU`),
//! each connection in the default isolation, read committed, with a commit at the end of each call.
//!
//! It is a model of the server in SQL, not the server: permissions and policies are left out. The schema is
//! `postgres/schema.sql`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

use irods_omero_model::names::CollectionId;
use irods_rule_engine_plugin_omero::catalog::{CatalogError, LockRow, Locks, UnixTime};
use irods_rule_engine_plugin_omero::sweep::lock::{Lock, Taken};
use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// An account without rights: `PostgreSQL` refuses to run as root.
const NOBODY: u32 = 65_534;

const CLIENTS: usize = 8;
const ROUNDS: usize = 200;
const EXPIRY: Duration = Duration::from_secs(300);
const PARENT: &str = "/tempZone/home/rods/locks";

/// What `PostgreSQL` says of a row that would break a unique index.
const UNIQUE_VIOLATION: &str = "23505";

/// A `PostgreSQL` of its own, reached over a socket in its directory. Ends when dropped.
struct Server {
    process: Child,
    dir: TempDir,
    programs: PathBuf,
}

/// Debian's `PostgreSQL`, the newest that is there.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let number = |path: &PathBuf| path.file_name().and_then(|n| n.to_str()?.parse::<u32>().ok());
    let newest = versions.map(|v| v.path()).filter(|p| p.join("bin/initdb").exists()).max_by_key(number);
    newest.expect("PostgreSQL is missing: run script/bootstrap").join("bin")
}

impl Server {
    fn start() -> Self {
        let (dir, programs) = (tempfile::tempdir().unwrap(), programs());
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let command = |name: &str| {
            let mut command = Command::new(programs.join(name));
            command.env_clear().env("PATH", "/usr/bin:/bin").current_dir(dir.path());
            if is_root {
                command.uid(NOBODY).gid(NOBODY);
            }
            command
        };
        let data = dir.path().join("data");
        let made = command("initdb")
            .args(["--auth=trust", "--username=irods", "--no-sync", "--locale=C", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let sockets = format!("unix_socket_directories={}", dir.path().display());
        let process = command("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", &sockets])
            .stderr(fs::File::create(dir.path().join("log")).unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { process, dir, programs };
        let start = Instant::now();
        while !server.psql().args(["-c", "select 1"]).output().unwrap().status.success() {
            let log = fs::read_to_string(server.dir.path().join("log")).unwrap_or_default();
            assert!(start.elapsed() < Duration::from_secs(60), "PostgreSQL does not start: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
        let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/postgres/schema.sql");
        let made = server.psql().args(["-v", "ON_ERROR_STOP=1", "-q", "-f"]).arg(schema).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server
    }

    fn psql(&self) -> Command {
        let mut command = Command::new(self.programs.join("psql"));
        command.args(["-X", "-U", "irods", "-d", "postgres", "-h"]).arg(self.dir.path());
        command
    }

    fn connect(&self) -> Connection {
        let mut child = self
            .psql()
            .args(["-q", "-A", "-t", "-F", "\t", "-v", "VERBOSITY=sqlstate"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Connection { talk: RefCell::new((input, output)), child }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // At once, and its children with it.
        let id = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(id, rustix::process::Signal::QUIT);
        let _ = self.process.wait();
    }
}

/// One connection of one server process to the catalog.
struct Connection {
    talk: RefCell<(ChildStdin, BufReader<ChildStdout>)>,
    child: Child,
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Connection {
    /// Runs one statement: its rows, or the code of what was wrong.
    fn run(&self, statement: &str) -> Result<Vec<Vec<String>>, String> {
        let (input, output) = &mut *self.talk.borrow_mut();
        writeln!(input, "{statement};\n\\echo ended :SQLSTATE").unwrap();
        let mut rows = Vec::new();
        loop {
            let mut line = String::new();
            assert!(output.read_line(&mut line).unwrap() > 0, "the connection ended over {statement}");
            match line.trim_end_matches('\n').strip_prefix("ended ") {
                Some("00000") => return Ok(rows),
                Some(code) => return Err(code.to_owned()),
                None => rows.push(line.trim_end_matches('\n').split('\t').map(str::to_owned).collect()),
            }
        }
    }

    fn rows(&self, statement: &str) -> Vec<Vec<String>> {
        self.run(statement).unwrap_or_else(|code| panic!("{code}: {statement}"))
    }

    fn one(&self, statement: &str) -> Option<String> {
        self.rows(statement).into_iter().flatten().next()
    }

    /// The row of an AVU, as `findOrInsertAVU` looks for it; the call's transaction begins.
    fn find_avu(&self, attribute: &str, value: &str) -> Option<String> {
        self.rows("begin");
        self.one(&format!(
            "select meta_id from R_META_MAIN where meta_attr_name = '{attribute}' and meta_attr_value = '{value}' \
             and (meta_attr_unit = '' or meta_attr_unit is null)"
        ))
    }

    /// Attaches an AVU to an object, by the row that was found or a new one: false if the object has it by that row.
    fn attach_avu(&self, object: &str, attribute: &str, value: &str, found: Option<String>) -> bool {
        let id = found.unwrap_or_else(|| {
            let id = self.one("select nextval('R_OBJECTID')").unwrap();
            self.rows(&format!("insert into R_META_MAIN values ({id}, '{attribute}', '{value}', '')"));
            id
        });
        let attached = self.run(&format!("insert into R_OBJT_METAMAP values ({object}, {id})"));
        self.rows(if attached.is_ok() { "commit" } else { "rollback" });
        attached.inspect_err(|code| assert_eq!(code, UNIQUE_VIOLATION)).is_ok()
    }

    fn add_avu(&self, object: &str, attribute: &str, value: &str) -> bool {
        let found = self.find_avu(attribute, value);
        self.attach_avu(object, attribute, value, found)
    }

    fn avus(&self, object: &str, attribute: &str) -> Vec<Vec<String>> {
        self.rows(&format!(
            "select m.meta_attr_value from R_META_MAIN m, R_OBJT_METAMAP o where o.meta_id = m.meta_id and \
             o.object_id = {object} and m.meta_attr_name = '{attribute}'"
        ))
    }

    /// `rm` of an AVU: every row of the triple.
    fn remove_avu(&self, object: &str, attribute: &str, value: &str) {
        self.rows(&format!(
            "delete from R_OBJT_METAMAP where object_id = {object} and meta_id in (select meta_id from R_META_MAIN \
             where meta_attr_name = '{attribute}' and meta_attr_value = '{value}')"
        ));
    }
}

fn now() -> UnixTime {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Locks for Connection {
    fn locks(&self) -> Result<Vec<LockRow>, CatalogError> {
        let query = format!(
            "select distinct coll_id, coll_name, create_ts from R_COLL_MAIN where parent_coll_name = '{PARENT}'"
        );
        let lock = |row: Vec<String>| LockRow {
            id: CollectionId::parse(&row[0]).unwrap(),
            name: row[1].rsplit('/').next().unwrap().to_owned(),
            since: row[2].parse().unwrap(),
        };
        Ok(self.rows(&query).into_iter().map(lock).collect())
    }

    fn make_lock(&self, name: &str) -> Result<bool, CatalogError> {
        self.rows("begin");
        let parent = self.one(&format!(
            "select c.coll_id from R_COLL_MAIN c, R_OBJT_ACCESS a where c.coll_name = '{PARENT}' and \
             a.object_id = c.coll_id and a.access_type_id >= 1120"
        ));
        self.rows(&format!("select data_id from R_DATA_MAIN where data_name = '{name}' and coll_id = 9000"));
        let id = self.one("select nextval('R_OBJECTID')").unwrap();
        let made = self.run(&format!(
            "insert into R_COLL_MAIN values ({id}, '{PARENT}', '{PARENT}/{name}', 'rods', 'tempZone', \
             '{now:011}', '{now:011}')",
            now = now()
        ));
        if let Err(code) = made {
            assert_eq!(code, UNIQUE_VIOLATION);
            self.rows("rollback");
            return Ok(false);
        }
        self.rows(&format!(
            "insert into R_OBJT_ACCESS (select {id}, user_id, access_type_id from R_OBJT_ACCESS where object_id = {})",
            parent.unwrap()
        ));
        self.rows("commit");
        Ok(true)
    }

    fn remove_lock(&self, name: &str) -> Result<(), CatalogError> {
        self.rows("begin");
        let path = format!("{PARENT}/{name}");
        if let Some(id) = self.one(&format!("select coll_id from R_COLL_MAIN where coll_name = '{path}'")) {
            self.rows(&format!(
                "select coll_id from R_COLL_MAIN where parent_coll_name = '{path}' union select coll_id from \
                 R_DATA_MAIN where coll_id = {id}"
            ));
            self.rows(&format!("delete from R_COLL_MAIN where coll_name = '{path}' and coll_id = {id}"));
            self.rows(&format!("delete from R_OBJT_ACCESS where object_id = {id}"));
        }
        self.rows("commit");
        Ok(())
    }
}

/// Lets each of some clients do something at one moment, and gives what came of it.
fn at_once<T: Send>(clients: &mut [Connection], what: impl Fn(usize, &Connection) -> T + Sync) -> Vec<T> {
    let start = Barrier::new(clients.len());
    std::thread::scope(|scope| {
        let running: Vec<_> = clients
            .iter_mut()
            .enumerate()
            .map(|(number, client)| {
                let (start, what) = (&start, &what);
                scope.spawn(move || {
                    start.wait();
                    what(number, client)
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// The locks that clients got, and whether an owner before had died.
fn owners(taken: Vec<Taken>) -> Vec<(Lock, bool)> {
    let ours = |taken| match taken {
        Taken::Ours(lock, died) => Some((lock, died)),
        Taken::Others(_) => None,
    };
    taken.into_iter().filter_map(ours).collect()
}

#[test]
fn of_eight_clients_that_take_a_lock_at_one_moment_one_gets_it() {
    let server = Server::start();
    let mut clients: Vec<Connection> = (0..CLIENTS).map(|_| server.connect()).collect();
    for round in 0..ROUNDS {
        // Of two rounds the second takes one that was there before.
        let key = format!("{}", 20_000 + round / 2);
        let taken = at_once(&mut clients, |_, client| Lock::take(client, &key, now(), EXPIRY).unwrap());
        let owners = owners(taken);
        assert_eq!(owners.len(), 1, "winners of round {round}");
        let (lock, died) = &owners[0];
        assert!(!died && clients.iter().all(|client| lock.is_held(client).unwrap()));
        lock.release(&clients[0]).unwrap();
        assert_eq!(clients[1].locks().unwrap(), []);
    }
}

#[test]
fn of_two_executors_and_three_users_that_find_a_dead_sweep_one_is_its_heir() {
    let server = Server::start();
    let mut clients: Vec<Connection> = (0..5).map(|_| server.connect()).collect();
    let (collection, attribute) = ("9000", "irods::omero::due");
    for round in 0..ROUNDS {
        let key = format!("{}", 20_000 + round);
        let Taken::Ours(mut dead, _) = Lock::take(&clients[0], &key, now(), EXPIRY).unwrap() else {
            panic!("nobody else is there");
        };
        let long_ago = now() - EXPIRY.as_secs() - 10;
        clients[0].rows(&format!(
            "update R_COLL_MAIN set create_ts = '{long_ago:011}' where coll_name like '{PARENT}/%'"
        ));
        let taken = at_once(&mut clients, |number, client| {
            // The first two are executors; the others put something, and a job of theirs runs at once.
            if number >= 2 {
                client.add_avu(collection, attribute, "new");
            }
            Lock::take(client, &key, now(), EXPIRY).unwrap()
        });
        let owners = owners(taken);
        assert_eq!(owners.len(), 1, "heirs in round {round}");
        assert!(owners[0].1, "it knows that the sweep before died");
        assert!(clients.iter().all(|client| owners[0].0.is_held(client).unwrap()));
        // The dead one comes to itself: it finds out, and takes nothing away.
        assert!(!dead.is_held(&clients[0]).unwrap() && !dead.renew(&clients[0]).unwrap());
        dead.release(&clients[0]).unwrap();
        assert!(owners[0].0.is_held(&clients[0]).unwrap());
        assert!(!clients[0].avus(collection, attribute).is_empty(), "what the users put is marked");
        owners[0].0.release(&clients[0]).unwrap();
        assert_eq!(clients[0].locks().unwrap(), []);
        clients[0].remove_avu(collection, attribute, "new");
    }
}

#[test]
fn a_living_owner_that_renews_its_lock_is_never_taken_over_by_those_who_look() {
    let server = Server::start();
    let mut clients: Vec<Connection> = (0..4).map(|_| server.connect()).collect();
    for round in 0..ROUNDS / 4 {
        let key = format!("{}", 20_000 + round);
        let Taken::Ours(lock, _) = Lock::take(&clients[0], &key, now(), EXPIRY).unwrap() else {
            panic!("nobody else is there");
        };
        let lock = std::sync::Mutex::new(lock);
        let won = at_once(&mut clients, |number, client| {
            if number == 0 {
                let mut lock = lock.lock().unwrap();
                (0..5).all(|_| lock.renew(client).unwrap())
            } else {
                (0..5).any(|_| matches!(Lock::take(client, &key, now(), EXPIRY).unwrap(), Taken::Ours(..)))
            }
        });
        assert_eq!(won, [true, false, false, false], "round {round}");
        lock.into_inner().unwrap().release(&clients[0]).unwrap();
        assert_eq!(clients[0].locks().unwrap(), []);
    }
}

#[test]
fn of_eight_clients_that_set_one_mark_at_one_moment_one_is_told_that_it_is_new() {
    let server = Server::start();
    let mut clients: Vec<Connection> = (0..CLIENTS).map(|_| server.connect()).collect();
    let attribute = "irods::omero::due";
    // The catalog has had it before: its value is the same for all collections.
    clients[0].add_avu("1", attribute, "new");
    for round in 0..ROUNDS {
        let object = format!("{}", 20_000 + round);
        let new = at_once(&mut clients, |_, client| client.add_avu(&object, attribute, "new"));
        assert_eq!(new.iter().filter(|new| **new).count(), 1, "round {round}");
        assert_eq!(clients[0].avus(&object, attribute).len(), 1);
    }
}

#[test]
fn an_avu_the_catalog_never_had_is_no_lock_and_a_mark_of_several_rows_goes_as_a_whole() {
    let server = Server::start();
    let (one, other) = (server.connect(), server.connect());
    let (object, attribute) = ("20000", "irods::omero::due");
    let found = [one.find_avu(attribute, "new"), other.find_avu(attribute, "new")];
    let [by_one, by_other] = found;
    assert!(one.attach_avu(object, attribute, "new", by_one));
    assert!(other.attach_avu(object, attribute, "new", by_other), "both are told that the mark is new");
    assert_eq!(one.avus(object, attribute).len(), 2);
    one.remove_avu(object, attribute, "new");
    assert_eq!(other.avus(object, attribute), Vec::<Vec<String>>::new());
}
