//! The OMERO server's memory: one SQLite database in the directory named by
//! `OMERO_STANDIN`. Many commands may use it at the same time.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use crate::sys;

/// The open store.
pub struct Store {
    pub dir: PathBuf,
    pub db: Connection,
}

/// Who is asking, in which group: what OMERO calls the event context.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Context {
    pub session: String,
    pub user: i64,
    pub user_name: String,
    pub group: i64,
    pub group_name: String,
    pub admin: bool,
    pub privileges: Vec<String>,
    pub idle_ms: i64,
    pub live_ms: i64,
}

/// An experimenter as the login needs it.
pub struct User {
    pub id: i64,
    pub name: String,
    password: Option<String>,
    pub active: bool,
}

/// Why the server refused.
#[derive(Debug)]
pub enum Refusal {
    /// Wrong user, password or session key.
    Denied(String),
    /// Known, but not allowed to.
    Security(String),
    /// The account or the session is no longer valid.
    Removed(String),
    /// Anything else.
    Other(String),
}

impl From<rusqlite::Error> for Refusal {
    fn from(e: rusqlite::Error) -> Self {
        Self::Other(format!("exception ::omero::InternalException: {e}"))
    }
}

const IDLE_MS: i64 = 600_000;

fn digest(password: &str) -> String {
    hex(&Sha1::digest(password.as_bytes()))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |s, b| s + &format!("{b:02x}"))
}

/// Every privilege of a full administrator, the ones that matter here.
pub const PRIVILEGES: &[&str] = &[
    "Sudo",
    "WriteOwned",
    "WriteFile",
    "WriteManagedRepo",
    "WriteScriptRepo",
    "Chgrp",
    "Chown",
    "DeleteOwned",
    "DeleteFile",
    "DeleteManagedRepo",
    "DeleteScriptRepo",
    "ModifyGroup",
    "ModifyUser",
    "ModifyGroupMembership",
    "ModifyUserMembership",
    "ReadSession",
];

impl Store {
    /// The directory named by `OMERO_STANDIN`.
    pub fn directory() -> Option<PathBuf> {
        std::env::var_os("OMERO_STANDIN").filter(|v| !v.is_empty()).map(PathBuf::from)
    }

    /// Opens the store that `omero standin init` made.
    pub fn open(dir: &Path) -> Result<Self, String> {
        let file = dir.join("omero.sqlite");
        if !file.exists() {
            return Err(format!("{}: no stand-in OMERO here; run `omero standin init`", dir.display()));
        }
        let db = Connection::open(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        Self::tune(&db).map_err(|e| format!("{}: {e}", file.display()))?;
        Ok(Self { dir: dir.to_owned(), db })
    }

    /// Creates an empty store.
    pub fn create(dir: &Path) -> Result<Self, String> {
        let text = |e: &dyn std::fmt::Display| format!("{}: {e}", dir.display());
        std::fs::create_dir_all(dir.join("ManagedRepository")).map_err(|e| text(&e))?;
        let file = dir.join("omero.sqlite");
        if file.exists() {
            return Err(format!("{}: there is a stand-in OMERO already", dir.display()));
        }
        let db = Connection::open(&file).map_err(|e| text(&e))?;
        db.pragma_update(None, "journal_mode", "wal").map_err(|e| text(&e))?;
        Self::tune(&db).map_err(|e| text(&e))?;
        db.execute_batch(include_str!("schema.sql")).map_err(|e| text(&e))?;
        Ok(Self { dir: dir.to_owned(), db })
    }

    fn tune(db: &Connection) -> rusqlite::Result<()> {
        db.busy_timeout(std::time::Duration::from_secs(60))?;
        // A power cut in the middle of a test is not among the faults.
        db.pragma_update(None, "synchronous", "off")?;
        db.pragma_update(None, "case_sensitive_like", true)
    }

    /// Starts a transaction that holds the write lock from its beginning, so
    /// that what it reads cannot change before it writes.
    pub fn begin(&mut self) -> rusqlite::Result<Transaction<'_>> {
        self.db.transaction_with_behavior(TransactionBehavior::Immediate)
    }

    /// Where all of it is kept.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn repository(&self) -> PathBuf {
        self.dir.join("ManagedRepository")
    }

    pub fn user(&self, name: &str) -> rusqlite::Result<Option<User>> {
        self.db
            .query_row(
                "select id, ome_name, password, active from experimenter where ome_name = ?1",
                [name],
                |r| Ok(User { id: r.get(0)?, name: r.get(1)?, password: r.get(2)?, active: r.get(3)? }),
            )
            .optional()
    }

    pub fn group_id(&self, name: &str) -> rusqlite::Result<Option<i64>> {
        self.db
            .query_row("select id from experimenter_group where name = ?1", [name], |r| r.get(0))
            .optional()
    }

    pub fn is_member(&self, user: i64, group: i64) -> rusqlite::Result<bool> {
        self.db
            .prepare("select 1 from group_experimenter_map where child = ?1 and parent = ?2")?
            .exists([user, group])
    }

    fn leads(&self, user: i64, group: i64) -> rusqlite::Result<bool> {
        self.db
            .prepare("select 1 from group_experimenter_map where child = ?1 and parent = ?2 and owner = 1")?
            .exists([user, group])
    }

    fn is_admin(&self, user: i64) -> rusqlite::Result<bool> {
        self.is_member(user, 0)
    }

    pub fn privileges(&self, user: i64) -> rusqlite::Result<Vec<String>> {
        let mut q = self.db.prepare("select name from privilege where experimenter = ?1 order by name")?;
        q.query_map([user], |r| r.get(0))?.collect()
    }

    /// The first group that a user was put into.
    fn default_group(&self, user: i64) -> rusqlite::Result<Option<i64>> {
        self.db
            .query_row(
                "select parent from group_experimenter_map where child = ?1 order by parent = 1, id limit 1",
                [user],
                |r| r.get(0),
            )
            .optional()
    }

    pub fn set_password(&self, name: &str, password: Option<&str>) -> rusqlite::Result<usize> {
        self.db.execute(
            "update experimenter set password = ?2 where ome_name = ?1",
            params![name, password.map(digest)],
        )
    }

    /// Checks a password and opens a session, as `createSession` does.
    pub fn log_in(&self, name: &str, password: &str, group: Option<&str>) -> Result<Context, Refusal> {
        let denied = || Refusal::Denied("Password check failed for '".to_owned() + name + "': []");
        let user = self.user(name)?.ok_or_else(denied)?;
        if !user.active {
            return Err(Refusal::Removed(format!("{name} is not active")));
        }
        if user.password.as_deref() != Some(digest(password).as_str()) {
            return Err(denied());
        }
        let group = self.login_group(&user, group)?;
        self.open_session(&user, group, None, IDLE_MS, 0)
    }

    fn login_group(&self, user: &User, group: Option<&str>) -> Result<i64, Refusal> {
        match group {
            None => self.default_group(user.id)?.ok_or_else(|| {
                Refusal::Other(format!("exception ::omero::ApiUsageException: {} is in no group", user.name))
            }),
            Some(g) => {
                let id = self.group_id(g)?.ok_or_else(|| {
                    Refusal::Other(format!("exception ::omero::ApiUsageException: No such group: {g}"))
                })?;
                if !self.is_member(user.id, id)? && !self.is_admin(user.id)? {
                    return Err(Refusal::Security(format!(
                        "User {} is not a member of group {g} and cannot login",
                        user.id
                    )));
                }
                Ok(id)
            }
        }
    }

    /// Opens a session of `name` on behalf of the session `by`, as
    /// `createSessionWithTimeouts` does for administrators and group owners.
    pub fn sudo(
        &self,
        by: &Context,
        name: &str,
        group: Option<&str>,
        idle_ms: i64,
        live_ms: i64,
    ) -> Result<Context, Refusal> {
        let user = self.user(name)?.ok_or_else(|| {
            Refusal::Other(format!("exception ::omero::ApiUsageException: No such user: {name}"))
        })?;
        if !user.active {
            return Err(Refusal::Removed(format!("{name} is not active")));
        }
        let group_id = self.login_group(&user, group)?;
        if by.admin {
            if !by.privileges.iter().any(|p| p == "Sudo") {
                return Err(Refusal::Security("Admin restrictions: Sudo".to_owned()));
            }
            // A restricted administrator must not become more than it is.
            if self.is_admin(user.id)? && !self.privileges(user.id)?.iter().all(|p| by.privileges.contains(p))
            {
                return Err(Refusal::Security(format!(
                    "Cannot create session for administrator {name} with more privileges"
                )));
            }
        } else if !self.leads(by.user, group_id)? {
            return Err(Refusal::Security(format!(
                "Group sudo is not permitted for group {} (gid={group_id})",
                group.unwrap_or("null")
            )));
        }
        self.open_session(&user, group_id, Some(by.user), idle_ms, live_ms)
    }

    /// A session of a person's own, in their default group.
    pub fn open_for(&self, name: &str, idle_ms: i64, live_ms: i64) -> Result<Context, Refusal> {
        let user = self.user(name)?.ok_or_else(|| Refusal::Other(format!("No such user: {name}")))?;
        let group = self.login_group(&user, None)?;
        self.open_session(&user, group, None, idle_ms, live_ms)
    }

    fn open_session(
        &self,
        user: &User,
        group: i64,
        sudoer: Option<i64>,
        idle_ms: i64,
        live_ms: i64,
    ) -> Result<Context, Refusal> {
        let uuid = sys::uuid();
        let now = sys::now_ms();
        self.db.execute(
            "insert into session (uuid, owner, sudoer, grp, time_to_idle, time_to_live, started, used)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
            params![uuid, user.id, sudoer, group, idle_ms, live_ms, now],
        )?;
        self.join(&uuid)
    }

    /// Joins an open session by its key.
    pub fn join(&self, key: &str) -> Result<Context, Refusal> {
        let now = sys::now_ms();
        let found = self
            .db
            .query_row(
                "select s.owner, u.ome_name, s.grp, g.name, s.time_to_idle, s.time_to_live, s.started, s.used
                 from session s join experimenter u on u.id = s.owner
                 join experimenter_group g on g.id = s.grp
                 where s.uuid = ?1 and s.closed is null",
                [key],
                |r| {
                    Ok((
                        Context {
                            session: key.to_owned(),
                            user: r.get(0)?,
                            user_name: r.get(1)?,
                            group: r.get(2)?,
                            group_name: r.get(3)?,
                            admin: false,
                            privileges: Vec::new(),
                            idle_ms: r.get(4)?,
                            live_ms: r.get(5)?,
                        },
                        r.get::<_, i64>(6)?,
                        r.get::<_, i64>(7)?,
                    ))
                },
            )
            .optional()?;
        let Some((mut context, started, used)) = found else {
            return Err(Refusal::Denied(format!("No such session: {key}")));
        };
        if (context.idle_ms > 0 && now - used > context.idle_ms)
            || (context.live_ms > 0 && now - started > context.live_ms)
        {
            self.close_session(key)?;
            return Err(Refusal::Denied(format!("Session timed out: {key}")));
        }
        self.db.execute("update session set used = ?2 where uuid = ?1", params![key, now])?;
        context.admin = self.is_admin(context.user)?;
        context.privileges = self.privileges(context.user)?;
        Ok(context)
    }

    pub fn close_session(&self, key: &str) -> rusqlite::Result<bool> {
        self.db
            .execute(
                "update session set closed = ?2 where uuid = ?1 and closed is null",
                params![key, sys::now_ms()],
            )
            .map(|n| n > 0)
    }

    pub fn set_idle(&self, key: &str, idle_ms: i64) -> rusqlite::Result<usize> {
        self.db.execute("update session set time_to_idle = ?2 where uuid = ?1", params![key, idle_ms])
    }

    /// A row of the event table: every change is tied to one.
    pub fn event(&self, context: &Context) -> rusqlite::Result<i64> {
        self.db.execute(
            "insert into event (time, experimenter, experimenter_group) values (?1, ?2, ?3)",
            params![sys::now_ms(), context.user, context.group],
        )?;
        Ok(self.db.last_insert_rowid())
    }

    /// Notes in the log of events that something was deleted, as OMERO does for every object.
    pub fn log_deletion(
        &self,
        context: &Context,
        package: &str,
        class: &str,
        id: i64,
    ) -> rusqlite::Result<()> {
        let event = self.event(context)?;
        self.db.execute(
            "insert into event_log (action, entity_type, entity_id, event) values ('DELETE', ?1, ?2, ?3)",
            params![format!("ome.model.{package}.{class}"), id, event],
        )?;
        Ok(())
    }

    /// The SQL condition for the rows of `alias` that this session may read;
    /// `all` asks across groups.
    pub fn readable(&self, context: &Context, alias: &str, all: bool) -> rusqlite::Result<String> {
        if context.admin {
            return Ok(if all { "1".to_owned() } else { format!("{alias}.group_id = {}", context.group) });
        }
        let mut q = self.db.prepare_cached(
            "select g.id, g.permissions, m.owner from experimenter_group g
             join group_experimenter_map m on m.parent = g.id where m.child = ?1",
        )?;
        let groups: Vec<(i64, String, bool)> = q
            .query_map([context.user], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?
            .collect::<Result<_, _>>()?;
        let mut whole = Vec::new();
        let mut own = Vec::new();
        for (id, permissions, leader) in groups {
            if !all && id != context.group {
                continue;
            }
            let shared = permissions.as_bytes().get(2) == Some(&b'r');
            if shared || leader { whole.push(id.to_string()) } else { own.push(id.to_string()) }
        }
        Ok(format!(
            "({alias}.group_id in ({}) or ({alias}.group_id in ({}) and {alias}.owner_id = {}))",
            whole.join(","),
            own.join(","),
            context.user
        ))
    }

    /// Whether the session may hang something on an object of `owner` in `group`:
    /// links need write or (for annotations) annotate rights.
    pub fn may_link(
        &self,
        context: &Context,
        owner: i64,
        group: i64,
        annotate_is_enough: bool,
    ) -> rusqlite::Result<bool> {
        if owner == context.user || self.leads(context.user, group)? {
            return Ok(true);
        }
        if context.admin {
            return Ok(context.privileges.iter().any(|p| p == "WriteOwned"));
        }
        if !self.is_member(context.user, group)? {
            return Ok(false);
        }
        let permissions: String =
            self.db.query_row("select permissions from experimenter_group where id = ?1", [group], |r| {
                r.get(0)
            })?;
        Ok(match permissions.as_bytes().get(3) {
            Some(b'w') => true,
            Some(b'a') => annotate_is_enough,
            _ => false,
        })
    }
}
