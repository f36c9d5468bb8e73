//! Logging in for somebody, and out.

use serde::Deserialize;
use serde_json::json;

use super::{Answer, Failed, Request, held, password, rows};
use crate::store::{Context, Refusal, Store};

/// Where OMERO is; the stand-in is everywhere, but the text has to be one that a real worker takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Server {
    host: String,
    #[serde(default)]
    port: Option<u16>,
}

impl Server {
    pub(super) fn check(&self) -> Result<(), Failed> {
        let bad = |why: &str| Err(Failed::new("bad_params", why));
        if self.host.is_empty() || self.port == Some(0) {
            return bad("the host is neither a name nor a URL");
        }
        let Some((scheme, rest)) = self.host.split_once("://") else { return Ok(()) };
        let place = rest.split('/').next().unwrap_or_default();
        let known = ["wss", "ws", "ssl", "tcp"].contains(&scheme) || self.port.is_some();
        match place.split_once(':') {
            _ if place.is_empty() => bad("the host is neither a name nor a URL"),
            Some((_, port)) if port.parse::<u16>().is_err() => bad("the host is neither a name nor a URL"),
            None if !known => bad("the host needs a port"),
            _ => Ok(()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Probe {
    server: Server,
    sudo_user: String,
    password_file: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deletions {
    server: Server,
    sudo_user: String,
    password_file: String,
    #[serde(default)]
    after: Option<i64>,
    #[serde(default = "a_thousand")]
    count: i64,
}

fn a_thousand() -> i64 {
    1_000
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    server: Server,
    sudo_user: String,
    password_file: String,
    user: String,
    #[serde(default)]
    group: Option<String>,
    #[serde(default = "fifteen_minutes")]
    idle: u64,
}

fn fifteen_minutes() -> u64 {
    900
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Join {
    server: Server,
    session: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Logout {
    session: String,
    #[serde(default)]
    server: Option<Server>,
    /// For how many seconds what is not finished is waited for.
    #[serde(default)]
    spare: i64,
}

fn about(context: &Context) -> serde_json::Value {
    json!({
        "session": context.session,
        "user": context.user_name,
        "user_id": context.user,
        "group": context.group_name,
        "group_id": context.group,
    })
}

impl Request<'_> {
    /// A session of the sudo user.
    fn admin(&self, server: &Server, user: &str, file: &str) -> Result<(Store, Context), Failed> {
        server.check()?;
        let password = password(file)?;
        let store = self.reach()?;
        self.faults.strike("answer", None);
        let refused = |why: &str| {
            Failed::new(
                "password",
                format!("OMERO refused the password of '{user}': check omero/password_file ({why})"),
            )
        };
        if self.faults.take("wrong-password", None, None).is_some() {
            return Err(refused("Password check failed"));
        }
        let context = store.log_in(user, &password, None).map_err(|e| match e {
            Refusal::Denied(why) => refused(&why),
            Refusal::Security(why) | Refusal::Removed(why) | Refusal::Other(why) => {
                Failed::new("internal", format!("OMERO opened no session for '{user}': {why}"))
            }
        })?;
        Ok((store, context))
    }

    pub(super) fn deletions(&mut self) -> Answer {
        let p: Deletions = self.params()?;
        if p.after.is_some_and(|after| after < 0) || !(1..=10_000).contains(&p.count) {
            return Err(Failed::new("bad_params", "after or count is out of its range"));
        }
        let (store, context) = self.admin(&p.server, &p.sudo_user, &p.password_file)?;
        self.faults.strike("answer", None);
        let last = rows(&store, "select coalesce(max(id), 0) from event_log", &[])?;
        let last = last.first().and_then(|row| row.first()?.as_i64()).unwrap_or(0);
        let found = match p.after {
            Some(after) => rows(
                &store,
                "select l.id, l.entity_id, x.ome_name, e.time / 1000 from event_log l join event e on e.id = l.event
                 join experimenter x on x.id = e.experimenter
                 where l.id > ?1 and l.action = 'DELETE' and l.entity_type = 'ome.model.fs.Fileset' order by l.id limit ?2",
                &[&after, &p.count],
            )?,
            None => Vec::new(),
        };
        store.close_session(&context.session)?;
        let is_more = i64::try_from(found.len()).is_ok_and(|n| n == p.count);
        let cursor = found.last().filter(|_| is_more).map_or(json!(last), |row| row[0].clone());
        let filesets: Vec<_> =
            found.iter().map(|row| json!({ "fileset": row[1], "by": row[2], "at": row[3] })).collect();
        Ok(json!({ "cursor": cursor, "filesets": filesets, "more": is_more }))
    }

    pub(super) fn probe(&self) -> Answer {
        let p: Probe = self.params()?;
        let (store, context) = self.admin(&p.server, &p.sudo_user, &p.password_file)?;
        store.close_session(&context.session)?;
        Ok(json!({
            "server_version": "5.6.12", "privileges": context.privileges, "is_admin": context.admin
        }))
    }

    pub(super) fn login(&self) -> Answer {
        let p: Login = self.params()?;
        if !(30..=86400).contains(&p.idle) {
            return Err(Failed::new("bad_params", "idle is not a whole number from 30 to 86400"));
        }
        let (store, admin) = self.admin(&p.server, &p.sudo_user, &p.password_file)?;
        let made = if self.faults.take("sudo-refused", None, None).is_some() {
            Err(Failed::new(
                "no_privilege",
                format!(
                    "OMERO does not let '{}' open a session for '{}' (Admin restrictions: Sudo)",
                    p.sudo_user, p.user
                ),
            ))
        } else {
            self.open_for(&store, &admin, &p)
        };
        store.close_session(&admin.session)?;
        let made = made?;
        held(&self.shared.sessions).insert(made.session.clone(), p.idle);
        Ok(about(&made))
    }

    fn open_for(&self, store: &Store, admin: &Context, p: &Login) -> Result<Context, Failed> {
        let idle = i64::try_from(p.idle * 1000).unwrap_or(i64::MAX);
        let refusal = match store.sudo(admin, &p.user, p.group.as_deref(), idle, 0) {
            Ok(context) => return Ok(context),
            Err(e) => e,
        };
        let privilege = admin.admin && admin.privileges.iter().any(|p| p == "Sudo");
        let why = match &refusal {
            Refusal::Denied(w) | Refusal::Security(w) | Refusal::Removed(w) | Refusal::Other(w) => w.clone(),
        };
        if !privilege {
            let text = format!(
                "OMERO does not let '{}' open a session for '{}': it needs the privilege Sudo ({why})",
                p.sudo_user, p.user
            );
            return Err(Failed::new("no_privilege", text));
        }
        let Some(user) = store.user(&p.user)? else {
            return Err(Failed::new("no_user", format!("OMERO does not know the user '{}'", p.user)));
        };
        if let Some(group) = &p.group {
            let Some(id) = store.group_id(group)? else {
                return Err(Failed::new("no_group", format!("OMERO does not know the group '{group}'")));
            };
            if !store.is_member(user.id, id)? {
                let text = format!("the OMERO user '{}' is not a member of the group '{group}'", p.user);
                return Err(Failed::new("no_group", text));
            }
        }
        if !user.active {
            return Err(Failed::new("no_user", format!("OMERO has no usable account '{}' ({why})", p.user)));
        }
        let text = format!("OMERO does not let '{}' open a session for '{}' ({why})", p.sudo_user, p.user);
        Err(Failed::new("no_privilege", text))
    }

    pub(super) fn join(&self) -> Answer {
        let p: Join = self.params()?;
        p.server.check()?;
        let store = self.reach()?;
        self.faults.strike("answer", None);
        let context = store
            .join(&p.session)
            .map_err(|_| Failed::new("session_expired", "OMERO does not know the session any more"))?;
        let idle = u64::try_from(context.idle_ms / 1000).unwrap_or(900).max(30);
        held(&self.shared.sessions).insert(p.session, idle);
        Ok(about(&context))
    }

    pub(super) fn logout(&self) -> Answer {
        let p: Logout = self.params()?;
        let known = held(&self.shared.sessions).remove(&p.session).is_some();
        match &p.server {
            Some(server) => server.check()?,
            None if !known => return Ok(json!({ "closed": false, "unfinished": false })),
            None => {}
        }
        let store = self.reach()?;
        self.faults.strike("answer", None);
        let since = crate::sys::now_ms() - p.spare.saturating_mul(1000);
        let is_at_work = p.spare > 0
            && store
                .db
                .prepare(
                    "select 1 from fileset f join event e on e.id = f.creation_event
                     join session s on s.uuid = f.session and s.closed is null
                     where f.session = ?1 and f.uploaded = 1 and e.time > ?2
                     and not exists (select 1 from image i where i.fileset = f.id)",
                )?
                .exists(rusqlite::params![p.session, since])?;
        if is_at_work {
            return Ok(json!({ "closed": false, "unfinished": true }));
        }
        Ok(json!({ "closed": store.close_session(&p.session)?, "unfinished": false }))
    }
}
