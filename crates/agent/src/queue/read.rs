//! What is read, from committed work only.

use super::{Counts, Event, Job, JobId, Throughput};
use irods_omero_importer::wire::JobState;
use irods_omero_model::clock::UnixTime;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Result, Row, ToSql, params_from_iter};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Connections that read.
#[derive(Debug)]
pub struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

/// How many connections are kept open.
const IDLE: usize = 8;

impl Readers {
    /// Opens the first.
    pub fn open(path: &Path) -> Result<Self> {
        let readers = Self { path: path.to_owned(), idle: Mutex::default() };
        readers.with(|_| Ok(()))?;
        Ok(readers)
    }

    /// Reads on a connection of its own.
    pub fn with<T>(&self, ask: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let answer = ask(&connection);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if answer.is_ok() && idle.len() < IDLE {
            idle.push(connection);
        }
        answer
    }

    fn connect(&self) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        Ok(connection)
    }
}

/// Whose jobs a question is about; without bounds, everybody's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// Of these zones; `None`: of any.
    pub zones: Option<Vec<String>>,
    /// Submitted by these callers; `None`: by any.
    pub callers: Option<Vec<String>>,
}

impl Scope {
    fn holds(&self, zone: &str, caller: &str) -> bool {
        let among =
            |names: &Option<Vec<String>>, name| names.as_ref().is_none_or(|n| n.iter().any(|n| n == name));
        among(&self.zones, zone) && among(&self.callers, caller)
    }
}

/// Which jobs are listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Whose.
    pub scope: Scope,
    /// In one of these states; of any where empty.
    pub states: Vec<JobState>,
    /// Of this OMERO user.
    pub user: Option<String>,
    /// Whether only those are meant that were refused or have files that failed.
    pub failed: bool,
    /// With this text in key, user, group, collection, its path or reason.
    pub text: Option<String>,
    /// Older than this job.
    pub before: Option<JobId>,
    /// At most so many.
    pub limit: usize,
}

/// The columns [`job_of`] reads.
pub const COLUMNS: &str = "id, key, caller, zone, server, user, \"group\", collection, place, priority, files, large, failed, state, \
                           stopping, reason, attempts, submitted, started, ended, next, since, crashes, change";

/// A job from its row.
pub fn job_of(row: &Row<'_>) -> Result<Job> {
    let state: String = row.get("state")?;
    let state = JobState::parse(&state).ok_or_else(|| {
        let why = format!("'{state}' is no state").into();
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, why)
    })?;
    Ok(Job {
        id: JobId(row.get("id")?),
        key: row.get("key")?,
        caller: row.get("caller")?,
        zone: row.get("zone")?,
        server: row.get("server")?,
        user: row.get("user")?,
        group: row.get("group")?,
        collection: row.get("collection")?,
        place: row.get("place")?,
        priority: row.get("priority")?,
        files: row.get("files")?,
        large: row.get("large")?,
        failed: row.get("failed")?,
        state,
        stopping: row.get("stopping")?,
        reason: row.get("reason")?,
        attempts: row.get("attempts")?,
        submitted: row.get("submitted")?,
        started: row.get("started")?,
        ended: row.get("ended")?,
        next: row.get("next")?,
        since: row.get("since")?,
        crashes: row.get("crashes")?,
        change: row.get("change")?,
    })
}

/// A `WHERE` that grows.
#[derive(Default)]
struct Conditions {
    sql: String,
    values: Vec<Box<dyn ToSql>>,
}

impl Conditions {
    /// Adds a condition with one `?`.
    fn and(&mut self, sql: &str, value: impl ToSql + 'static) {
        self.and_of(sql, [Box::new(value) as Box<dyn ToSql>]);
    }

    /// Adds a condition that a column has one of some values.
    fn one_of<T: ToSql + Clone + 'static>(&mut self, column: &str, values: &[T]) {
        let marks = vec!["?"; values.len()].join(",");
        let values = values.iter().map(|v| Box::new(v.clone()) as Box<dyn ToSql>);
        self.and_of(&format!("{column} IN ({marks})"), values);
    }

    fn and_of(&mut self, sql: &str, values: impl IntoIterator<Item = Box<dyn ToSql>>) {
        self.sql.push_str(if self.sql.is_empty() { " WHERE " } else { " AND " });
        self.sql.push_str(sql);
        self.values.extend(values);
    }

    /// The plus sign keeps SQLite from looking up all rows of the zones to sort them: it goes through them in the order
    /// asked for, and stops when it has enough.
    fn scope(&mut self, scope: &Scope) {
        if let Some(zones) = &scope.zones {
            self.one_of("+zone", zones);
        }
        if let Some(callers) = &scope.callers {
            self.one_of("+caller", callers);
        }
    }

    fn jobs(&self, connection: &Connection, order: &str) -> Result<Vec<Job>> {
        connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM job{} {order}", self.sql))?
            .query_map(params_from_iter(&self.values), job_of)?
            .collect()
    }
}

/// A job by its number.
pub fn get(connection: &Connection, id: JobId) -> Result<Option<Job>> {
    let sql = format!("SELECT {COLUMNS} FROM job WHERE id = ?1");
    connection.prepare_cached(&sql)?.query_row([id.0], job_of).optional()
}

/// The newest job with a key.
pub fn find(connection: &Connection, key: &str, scope: &Scope) -> Result<Option<Job>> {
    // The index is by zone and key, and there are few zones.
    let mut conditions = Conditions::default();
    conditions.and("key = ?", key.to_owned());
    match &scope.zones {
        Some(zones) => conditions.one_of("zone", zones),
        None => conditions.and_of("zone IN (SELECT zone FROM tally)", []),
    }
    if let Some(callers) = &scope.callers {
        conditions.one_of("+caller", callers);
    }
    Ok(conditions.jobs(connection, "ORDER BY id DESC LIMIT 1")?.pop())
}

/// Jobs, newest first.
pub fn list(connection: &Connection, filter: &Filter) -> Result<Vec<Job>> {
    let mut conditions = Conditions::default();
    if let Some(user) = &filter.user {
        conditions.and("user = ?", user.clone());
    }
    if let Some(text) = &filter.text {
        let columns = "key || ' ' || user || ' ' || coalesce(\"group\", '') || ' ' || collection || ' ' || place || ' ' || \
                       coalesce(reason, '')";
        conditions.and(&format!("instr(lower({columns}), ?) > 0"), text.to_lowercase());
    }
    if filter.failed {
        conditions.and_of("(state = 'refused' OR failed > 0)", []);
    }
    if let Some(before) = filter.before {
        conditions.and("id < ?", before.0);
    }
    let every = filter.scope == Scope::default() && filter.states.is_empty();
    if every || filter.user.is_some() {
        // Through all jobs, or those of the user, in their order.
        conditions.scope(&filter.scope);
        let states: Vec<&'static str> = filter.states.iter().map(|s| s.as_str()).collect();
        if !states.is_empty() {
            conditions.one_of("+state", &states);
        }
        return conditions.jobs(connection, &format!("ORDER BY id DESC LIMIT {}", filter.limit));
    }
    newest_of_each(connection, filter, &conditions)
}

/// The jobs of one zone and caller in one state are in order in an index: the newest of each are put together, so that a
/// zone with few jobs is not looked for among all.
fn newest_of_each(connection: &Connection, filter: &Filter, conditions: &Conditions) -> Result<Vec<Job>> {
    let owners = owners(connection, &filter.scope)?;
    let states = if filter.states.is_empty() { &JobState::ALL[..] } else { &filter.states };
    let and = if conditions.sql.is_empty() { "WHERE" } else { "AND" };
    let sql = format!(
        "SELECT id FROM job INDEXED BY {} {} {and} state = ? AND zone = ? AND caller = ? ORDER BY id DESC LIMIT {}",
        if filter.failed { "job_failed" } else { "job_state" },
        conditions.sql,
        filter.limit
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut ids: Vec<i64> = Vec::new();
    for (zone, caller) in &owners {
        for state in states {
            let (state, own) = (state.as_str(), conditions.values.iter().map(AsRef::as_ref));
            let values = own.chain([&state as &dyn ToSql, zone, caller]);
            for id in statement.query_map(params_from_iter(values), |r| r.get(0))? {
                ids.push(id?);
            }
        }
    }
    ids.sort_unstable_by_key(|id| std::cmp::Reverse(*id));
    ids.truncate(filter.limit);
    let jobs = ids.into_iter().map(|id| get(connection, JobId(id)));
    jobs.filter_map(Result::transpose).collect()
}

/// The zones and callers that have jobs, of a scope.
fn owners(connection: &Connection, scope: &Scope) -> Result<Vec<(String, String)>> {
    let mut owners: Vec<(String, String)> = connection
        .prepare_cached("SELECT DISTINCT zone, caller FROM tally")?
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<Result<_>>()?;
    owners.retain(|(zone, caller)| scope.holds(zone, caller));
    Ok(owners)
}

/// See [`super::Queue::oldest_queued`]. Numbers grow with time, and the index has those of each owner in order.
pub fn oldest_queued(connection: &Connection) -> Result<Option<UnixTime>> {
    let mut oldest: Option<UnixTime> = None;
    let mut first = connection.prepare_cached(
        "SELECT submitted FROM job INDEXED BY job_state WHERE state = 'queued' AND zone = ?1 AND caller = ?2
         ORDER BY id LIMIT 1",
    )?;
    for (zone, caller) in owners(connection, &Scope::default())? {
        let found: Option<UnixTime> = first.query_row([zone, caller], |r| r.get(0)).optional()?;
        oldest = oldest.into_iter().chain(found).min();
    }
    Ok(oldest)
}

/// See [`super::Queue::last_success`].
pub fn last_success(connection: &Connection) -> Result<Option<UnixTime>> {
    connection
        .prepare_cached(
            "SELECT ended FROM job INDEXED BY job_ended WHERE ended IS NOT NULL AND state = 'done' AND failed < files
             ORDER BY ended DESC LIMIT 1",
        )?
        .query_row([], |r| r.get(0))
        .optional()
}

/// Jobs by their newest change, and where to go on.
pub fn changes(connection: &Connection, after: u64, scope: &Scope, limit: usize) -> Result<(u64, Vec<Job>)> {
    let snapshot = connection.unchecked_transaction()?;
    let newest: u64 = snapshot.query_row("SELECT value FROM meta WHERE name = 'change'", [], |r| r.get(0))?;
    // A number that was never given: it is of a queue that is no more, so that everything here is new.
    let after = if after > newest { 0 } else { after };
    let mut conditions = Conditions::default();
    conditions.and("change > ?", after);
    conditions.scope(scope);
    let jobs = conditions.jobs(&snapshot, &format!("ORDER BY change LIMIT {limit}"))?;
    let cursor = if jobs.len() < limit { newest } else { jobs.last().map_or(newest, |j| j.change) };
    Ok((cursor, jobs))
}

/// Files of the jobs that ended since a time, by the hour of their end.
pub fn throughput(connection: &Connection, since: UnixTime, scope: &Scope) -> Result<Vec<Throughput>> {
    let mut conditions = Conditions::default();
    conditions.and("hour >= ?", since / 3_600);
    conditions.scope(scope);
    let sql = format!(
        "SELECT hour, sum(done), sum(others) FROM throughput{} GROUP BY hour HAVING sum(done) + sum(others) > 0 \
         ORDER BY hour",
        conditions.sql
    );
    connection
        .prepare_cached(&sql)?
        .query_map(params_from_iter(&conditions.values), |r| {
            Ok(Throughput { hour: r.get(0)?, done: r.get(1)?, others: r.get(2)? })
        })?
        .collect()
}

/// What happened to a job.
pub fn history(connection: &Connection, id: JobId) -> Result<Vec<Event>> {
    connection
        .prepare_cached("SELECT at, what FROM history WHERE job = ?1 ORDER BY id")?
        .query_map([id.0], |r| Ok(Event { at: r.get::<_, UnixTime>(0)?, what: r.get(1)? }))?
        .collect()
}

/// Bytes that belong to a job.
pub fn blob(connection: &Connection, sql: &str, id: JobId) -> Result<Option<Vec<u8>>> {
    connection.prepare_cached(sql)?.query_row([id.0], |r| r.get(0)).optional()
}

/// What the importer said.
pub fn log(connection: &Connection, id: JobId) -> Result<Option<String>> {
    connection
        .prepare_cached("SELECT text FROM log WHERE job = ?1")?
        .query_row([id.0], |r| r.get(0))
        .optional()
}

/// How many jobs there are in each state.
pub fn counts(connection: &Connection, scope: &Scope) -> Result<Counts> {
    let mut conditions = Conditions::default();
    conditions.scope(scope);
    let sql = format!("SELECT state, sum(jobs) FROM tally{} GROUP BY state", conditions.sql);
    let found: Vec<(String, u64)> = connection
        .prepare_cached(&sql)?
        .query_map(params_from_iter(&conditions.values), |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<Result<_>>()?;
    let count = |state: JobState| found.iter().find(|(s, _)| s == state.as_str()).map_or(0, |(_, n)| *n);
    Ok(JobState::ALL.into_iter().map(|s| (s, count(s))).collect())
}
