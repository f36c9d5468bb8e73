//! Datasets, projects and screens: found by their names or made once, and filled.

use std::collections::HashSet;

use rusqlite::{OptionalExtension, params};
use serde::Deserialize;
use serde_json::json;

use super::filesets::number;
use super::{Answer, Failed, Request, Seat, bounded, listed, rows};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Container {
    session: String,
    target: Target,
    #[serde(default = "yes")]
    make: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    kind: String,
    #[serde(default)]
    id: Option<i64>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    project: Option<Project>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Project {
    #[serde(default)]
    id: Option<i64>,
    #[serde(default)]
    name: Option<String>,
}

enum By {
    Id(i64),
    Name(String),
}

fn by(id: Option<i64>, name: Option<String>) -> Result<By, Failed> {
    match (id, name) {
        (Some(id), None) if id >= 0 => Ok(By::Id(id)),
        (None, Some(name)) if !name.is_empty() => Ok(By::Name(name)),
        _ => Err(Failed::new("bad_params", "a container is named by its id or by its name")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lonely {
    session: String,
    #[serde(default)]
    images: Vec<i64>,
    #[serde(default)]
    plates: Vec<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    session: String,
    kind: String,
    id: i64,
    children: Vec<i64>,
}

/// How many links are saved in one transaction.
const AT_ONCE: usize = 500;

impl Request<'_> {
    pub(super) fn container(&mut self) -> Answer {
        let p: Container = self.params()?;
        let kind = p.target.kind;
        if !["Dataset", "Screen"].contains(&kind.as_str()) {
            return Err(Failed::new("bad_params", "kind is neither Dataset nor Screen"));
        }
        let which = by(p.target.id, p.target.name)?;
        let project = p.target.project.map(|p| by(p.id, p.name)).transpose()?;
        let seat = self.seat(&p.session)?;
        let (id, made) = match (project, which) {
            (None, By::Id(id)) => (Some(by_id(&seat, &kind, id)?), false),
            (None, By::Name(name)) => self.by_name(&seat, &kind, &name, p.make)?,
            (Some(project), By::Name(name)) if kind == "Dataset" => {
                self.in_project(&seat, &project, &name, p.make)?
            }
            _ => return Err(Failed::new("bad_params", "only a dataset that is named lies in a project")),
        };
        Ok(json!({ "kind": kind, "id": id, "made": made }))
    }

    /// A save that a test may let fail.
    fn may_save(&self, what: &str) -> Result<(), Failed> {
        self.faults.strike("answer", Some(what));
        if self.faults.take("save-error", None, Some(what)).is_some() {
            return Err(Failed::new("internal", "ValidationException: stand-in fault"));
        }
        Ok(())
    }

    fn by_name(
        &self,
        seat: &Seat,
        kind: &str,
        name: &str,
        make: bool,
    ) -> Result<(Option<i64>, bool), Failed> {
        let found = choose(seat, find(seat, kind, "o.name = ?1", &[&name])?)?;
        if found.is_some() || !make {
            return Ok((found, false));
        }
        self.may_save(kind)?;
        Ok((Some(new(seat, kind, name)?), true))
    }

    fn in_project(
        &self,
        seat: &Seat,
        project: &By,
        name: &str,
        make: bool,
    ) -> Result<(Option<i64>, bool), Failed> {
        let there = "o.name = ?1 and o.id in (select l.child from project_dataset_link l
             join project p on p.id = l.parent where ";
        let found = match project {
            By::Id(id) => {
                by_id(seat, "Project", *id)?;
                find(seat, "Dataset", &format!("{there} p.id = ?2)"), &[&name, id])?
            }
            By::Name(project) => find(seat, "Dataset", &format!("{there} p.name = ?2)"), &[&name, project])?,
        };
        let found = choose(seat, found)?;
        if found.is_some() || !make {
            return Ok((found, false));
        }
        let parent = match project {
            By::Id(id) => Ok(*id),
            By::Name(name) => choose(seat, find(seat, "Project", "o.name = ?1", &[name])?)?.ok_or(name),
        };
        let free = find(
            seat,
            "Dataset",
            "o.name = ?1 and not exists (select 1 from project_dataset_link l where l.child = o.id)",
            &[&name],
        )?;
        let free = free.iter().find(|(_, owner)| *owner == seat.context.user).map(|(id, _)| *id);
        // Looking and making are two requests: two at a time may make two of one name.
        self.may_save("ProjectDatasetLink")?;
        // The dataset, its project and the link between them: all or nothing.
        let tx =
            rusqlite::Transaction::new_unchecked(&seat.store.db, rusqlite::TransactionBehavior::Immediate)?;
        let parent = match parent {
            Ok(id) => id,
            Err(name) => new(seat, "Project", name)?,
        };
        let child = match free {
            Some(id) => id,
            None => new(seat, "Dataset", name)?,
        };
        link(seat, "project_dataset_link", parent, child)?;
        tx.commit()?;
        Ok((Some(child), free.is_none()))
    }

    pub(super) fn lonely(&mut self) -> Answer {
        let p: Lonely = self.params()?;
        bounded("images", &p.images, 1_000_000)?;
        bounded("plates", &p.plates, 1_000_000)?;
        let seat = self.seat(&p.session)?;
        let without = |table: &str, ids: &[i64]| -> Result<Vec<i64>, Failed> {
            let text = format!("select child from {table} where child in ({})", listed(ids.iter().copied()));
            let linked: HashSet<i64> = rows(&seat.store, &text, &[])?.iter().map(|r| number(&r[0])).collect();
            let mut alone: Vec<i64> = ids.iter().copied().filter(|id| !linked.contains(id)).collect();
            alone.sort_unstable();
            alone.dedup();
            Ok(alone)
        };
        Ok(json!({
            "images": without("dataset_image_link", &p.images)?,
            "plates": without("screen_plate_link", &p.plates)?,
        }))
    }

    pub(super) fn put(&mut self) -> Answer {
        let p: Put = self.params()?;
        bounded("children", &p.children, 1_000_000)?;
        let (table, child, links) = match p.kind.as_str() {
            "Dataset" => ("dataset", "image", "dataset_image_link"),
            "Screen" => ("screen", "plate", "screen_plate_link"),
            _ => return Err(Failed::new("bad_params", "kind is neither Dataset nor Screen")),
        };
        let seat = self.seat(&p.session)?;
        let readable = seat.store.readable(&seat.context, "o", true)?;
        let about: Option<(i64, i64)> = seat
            .store
            .db
            .query_row(
                &format!("select owner_id, group_id from {table} o where o.id = ?1 and {readable}"),
                [p.id],
                |r| Ok((r.get(0)?, r.get(1)?)),
            )
            .optional()?;
        let Some((owner, group)) = about else {
            let text = format!("there is no {}:{} that this user can see", p.kind, p.id);
            return Err(Failed::new("not_found", text));
        };
        let text = format!(
            "select child from {links} where parent = ?1 and child in ({})",
            listed(p.children.clone())
        );
        let there: HashSet<i64> = rows(&seat.store, &text, &[&p.id])?.iter().map(|r| number(&r[0])).collect();
        let mut new: Vec<i64> = p.children.iter().copied().filter(|c| !there.contains(c)).collect();
        new.sort_unstable();
        new.dedup();
        for some in new.chunks(AT_ONCE) {
            self.asked.deadline.check()?;
            let tx = rusqlite::Transaction::new_unchecked(
                &seat.store.db,
                rusqlite::TransactionBehavior::Immediate,
            )?;
            for one in some {
                self.may_save(&format!("{}:{one}", if child == "image" { "Image" } else { "Plate" }))?;
                let same_group = seat
                    .store
                    .db
                    .prepare_cached(&format!("select 1 from {child} where id = ?1 and group_id = ?2"))?
                    .exists([*one, group])?;
                if !same_group {
                    return Err(Failed::new(
                        "internal",
                        format!("ValidationException: no {child} {one} in this group"),
                    ));
                }
                if !seat.store.may_link(&seat.context, owner, group, false)? {
                    return Err(Failed::new(
                        "refused",
                        format!("SecurityViolation: Cannot link to {}:{}", p.kind, p.id),
                    ));
                }
                link(&seat, links, p.id, *one)?;
            }
            tx.commit()?;
        }
        Ok(json!({ "linked": new.len(), "there": there.len() }))
    }
}

fn table(kind: &str) -> &'static str {
    match kind {
        "Dataset" => "dataset",
        "Project" => "project",
        _ => "screen",
    }
}

/// Containers of the session's group that it may see, the newest first, with their owners.
fn find(
    seat: &Seat,
    kind: &str,
    condition: &str,
    values: &[&dyn rusqlite::ToSql],
) -> Result<Vec<(i64, i64)>, Failed> {
    let readable = seat.store.readable(&seat.context, "o", false)?;
    let text = format!(
        "select o.id, o.owner_id from {} o where {condition} and {readable} order by o.id desc",
        table(kind)
    );
    Ok(rows(&seat.store, &text, values)?.iter().map(|r| (number(&r[0]), number(&r[1]))).collect())
}

/// The newest of the user's own, else the newest if members of the group may write.
fn choose(seat: &Seat, found: Vec<(i64, i64)>) -> Result<Option<i64>, Failed> {
    if let Some((id, _)) = found.iter().find(|(_, owner)| *owner == seat.context.user) {
        return Ok(Some(*id));
    }
    let permissions: String = seat.store.db.query_row(
        "select permissions from experimenter_group where id = ?1",
        [seat.context.group],
        |r| r.get(0),
    )?;
    let shared = permissions.as_bytes().get(3) == Some(&b'w');
    Ok(found.first().filter(|_| shared).map(|(id, _)| *id))
}

fn by_id(seat: &Seat, kind: &str, id: i64) -> Result<i64, Failed> {
    let found = find(seat, kind, "o.id = ?1", &[&id])?;
    let (user, group) = (&seat.context.user_name, &seat.context.group_name);
    let Some((_, owner)) = found.first().copied() else {
        let text = format!(
            "the target {kind}:{id} does not exist in the group '{group}' of OMERO, or '{user}' may not see it"
        );
        return Err(Failed::new("not_found", text));
    };
    let leads = seat
        .store
        .db
        .prepare("select 1 from group_experimenter_map where child = ?1 and parent = ?2 and owner = 1")?
        .exists([seat.context.user, seat.context.group])?;
    if choose(seat, found)?.is_none() && !leads {
        let whose: String =
            seat.store
                .db
                .query_row("select ome_name from experimenter where id = ?1", [owner], |r| r.get(0))?;
        let text = format!(
            "the OMERO user '{user}' may not put anything into the target {kind}:{id}, which belongs to '{whose}'"
        );
        return Err(Failed::new("not_linkable", text));
    }
    Ok(id)
}

fn new(seat: &Seat, kind: &str, name: &str) -> Result<i64, Failed> {
    let event = seat.store.event(&seat.context)?;
    seat.store.db.execute(
        &format!(
            "insert into {} (name, owner_id, group_id, creation_event, update_event) values (?1, ?2, ?3, ?4, ?4)",
            table(kind)
        ),
        params![name, seat.context.user, seat.context.group, event],
    )?;
    Ok(seat.store.db.last_insert_rowid())
}

fn link(seat: &Seat, table: &str, parent: i64, child: i64) -> Result<(), Failed> {
    let event = seat.store.event(&seat.context)?;
    seat.store.db.execute(
        &format!(
            "insert or ignore into {table} (parent, child, owner_id, group_id, creation_event, update_event)
             values (?1, ?2, ?3, ?4, ?5, ?5)"
        ),
        params![parent, child, seat.context.user, seat.context.group, event],
    )?;
    Ok(())
}
