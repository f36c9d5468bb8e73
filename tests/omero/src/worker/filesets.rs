//! What is there of filesets, and its removal.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Failed, Request, Seat, bounded, listed, rows};
use crate::commands;

/// Which entries of a fileset are told.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entries {
    #[default]
    Matching,
    All,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filesets {
    session: String,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    below: Vec<String>,
    #[serde(default)]
    ids: Vec<i64>,
    namespace: String,
    #[serde(default)]
    entries: Entries,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Files {
    session: String,
    fileset: i64,
    #[serde(default)]
    after: i64,
    #[serde(default = "five_thousand")]
    count: i64,
}

fn five_thousand() -> i64 {
    5000
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Relocate {
    session: String,
    fileset: i64,
    paths: Vec<(i64, String)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delete {
    session: String,
    filesets: Vec<i64>,
    #[serde(default)]
    with_images: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Leftovers {
    session: String,
    below: Vec<String>,
    older_than: i64,
    #[serde(default = "thousand")]
    count: usize,
}

fn thousand() -> usize {
    1000
}

const MAX_PATHS: usize = 20_000;

fn directory(path: &str) -> String {
    path.trim_end_matches('/').to_owned() + "/"
}

/// The beginning of a text, taken as it is: `like` would take `%` for something else.
const STARTS: &str = "substr(e.client_path, 1, length(?2)) = ?2";

impl Request<'_> {
    pub(super) fn filesets(&mut self) -> Answer {
        let p: Filesets = self.params()?;
        bounded("paths", &p.paths, MAX_PATHS)?;
        bounded("below", &p.below, MAX_PATHS)?;
        bounded("ids", &p.ids, MAX_PATHS)?;
        let seat = self.seat(&p.session)?;
        let (store, me) = (&seat.store, seat.context.user);
        let mut found: BTreeMap<i64, (Vec<Value>, Vec<String>)> = BTreeMap::new();
        for path in &p.paths {
            self.asked.deadline.check()?;
            let entries = rows(
                store,
                "select e.fileset, e.id, o.size, o.hash, o.hasher from fileset_entry e
                 join original_file o on o.id = e.original_file join fileset f on f.id = e.fileset
                 where e.client_path = ?2 and f.owner_id = ?1 order by e.id",
                &[&me, path],
            )?;
            for e in entries {
                let entry = json!({ "id": e[1], "path": path, "size": e[2], "hash": e[3], "hasher": e[4] });
                let entries = &mut found.entry(number(&e[0])).or_default().0;
                if !entries.contains(&entry) {
                    entries.push(entry);
                }
            }
        }
        for path in &p.below {
            self.asked.deadline.check()?;
            let text = format!(
                "select distinct e.fileset from fileset_entry e join fileset f on f.id = e.fileset
                 where f.owner_id = ?1 and {STARTS}"
            );
            for row in rows(store, &text, &[&me, &directory(path)])? {
                let directories = &mut found.entry(number(&row[0])).or_default().1;
                if !directories.contains(path) {
                    directories.push(path.clone());
                }
            }
        }
        let own = format!("select id from fileset where owner_id = ?1 and id in ({})", listed(p.ids));
        for row in rows(store, &own, &[&me])? {
            found.entry(number(&row[0])).or_default();
        }
        let mut all = Vec::new();
        for (id, (mut entries, mut directories)) in found {
            if p.entries == Entries::All {
                let all = "select e.id, e.client_path, o.size, o.hash, o.hasher from fileset_entry e
                     join original_file o on o.id = e.original_file where e.fileset = ?1 order by e.id limit 20000";
                let entry = |e: Vec<Value>| json!({ "id": e[0], "path": e[1], "size": e[2], "hash": e[3], "hasher": e[4] });
                entries = rows(store, all, &[&id])?.into_iter().map(entry).collect();
            }
            entries.sort_by_key(|e| number(&e["id"]));
            directories.sort();
            if let Some(fileset) = describe(&seat, id, &p.namespace, &entries, &directories)? {
                all.push(fileset);
            }
        }
        Ok(json!({ "filesets": all }))
    }

    pub(super) fn relocate(&mut self) -> Answer {
        let p: Relocate = self.params()?;
        bounded("paths", &p.paths, MAX_PATHS)?;
        let seat = self.seat(&p.session)?;
        let (store, me) = (&seat.store, seat.context.user);
        if rows(store, "select id from fileset where id = ?1 and owner_id = ?2", &[&p.fileset, &me])?
            .is_empty()
        {
            return Err(Failed::new("not_found", format!("there is no fileset {} of this user", p.fileset)));
        }
        let mut changed = 0;
        for (id, path) in &p.paths {
            changed += store.db.execute(
                "update fileset_entry set client_path = ?3 where id = ?2 and fileset = ?1 and client_path <> ?3",
                rusqlite::params![p.fileset, id, path],
            )?;
        }
        Ok(json!({ "changed": changed }))
    }

    pub(super) fn files(&mut self) -> Answer {
        let p: Files = self.params()?;
        if !(1..=20_000).contains(&p.count) || p.after < 0 {
            return Err(Failed::new("bad_params", "count is not a whole number from 1 to 20000"));
        }
        let seat = self.seat(&p.session)?;
        let store = &seat.store;
        let readable = store.readable(&seat.context, "f", true)?;
        let about = rows(
            store,
            &format!(
                "select f.template_prefix, u.ome_name, u.id, f.group_id from fileset f
                 join experimenter u on u.id = f.owner_id where f.id = ?1 and {readable}"
            ),
            &[&p.fileset],
        )?;
        let Some(about) = about.first() else {
            let text = format!("there is no fileset {} that this user can see", p.fileset);
            return Err(Failed::new("not_found", text));
        };
        let found = rows(
            store,
            "select e.id, e.client_path, o.id, o.path, o.name, o.size, o.hash, o.hasher from fileset_entry e
             join original_file o on o.id = e.original_file where e.fileset = ?1 and e.id > ?2
             order by e.id limit ?3",
            &[&p.fileset, &p.after, &(p.count + 1)],
        )?;
        let count = usize::try_from(p.count).unwrap_or(usize::MAX);
        let entries: Vec<Value> = found
            .iter()
            .take(count)
            .map(|e| {
                json!({
                    "id": e[0], "path": e[1], "file": e[2], "name": e[4],
                    "stored": format!("{}{}", word(&e[3]), word(&e[4])),
                    "size": e[5], "hash": e[6], "hasher": e[7],
                })
            })
            .collect();
        let repository = if entries.is_empty() {
            Value::Null
        } else {
            json!({ "uuid": commands::REPOSITORY, "root": store.repository() })
        };
        Ok(json!({
            "fileset": p.fileset, "owner": about[1], "user_id": about[2], "group_id": about[3],
            "prefix": word(&about[0]).trim_end_matches('/'), "repository": repository,
            "entries": entries, "more": found.len() > count,
        }))
    }

    pub(super) fn delete(&mut self) -> Answer {
        let p: Delete = self.params()?;
        bounded("filesets", &p.filesets, 1000)?;
        let seat = self.seat(&p.session)?;
        let mut items: Vec<Value> = Vec::new();
        for id in p.filesets {
            if items.iter().any(|i| i["fileset"] == id) {
                continue;
            }
            self.asked.deadline.check()?;
            self.faults.strike("answer", Some(&format!("Fileset:{id}")));
            let (state, error) = match self.delete_one(&seat, id, p.with_images) {
                Ok(state) => (state, Value::Null),
                Err(f) => ("failed", f.as_json()),
            };
            items.push(json!({ "fileset": id, "state": state, "error": error }));
        }
        Ok(json!({ "items": items }))
    }

    fn delete_one(&self, seat: &Seat, id: i64, with_images: bool) -> Result<&'static str, Failed> {
        let store = &seat.store;
        let readable = store.readable(&seat.context, "f", true)?;
        let tx = rusqlite::Transaction::new_unchecked(&store.db, rusqlite::TransactionBehavior::Immediate)?;
        let about = rows(
            store,
            &format!(
                "select f.owner_id, (select count(*) from image i where i.fileset = f.id) from fileset f
                 where f.id = ?1 and {readable}"
            ),
            &[&id],
        )?;
        let Some(about) = about.first() else { return Ok("gone") };
        if about[0] != seat.context.user {
            return Ok("not_own");
        }
        if about[1] != 0 && !with_images {
            return Ok("has_images");
        }
        if self.faults.take("save-error", None, None).is_some() {
            return Err(Failed::new("internal", "OMERO did not do it: stand-in fault"));
        }
        // The images of a plate go with the plate alone, and take their fileset along.
        let plates = rows(
            store,
            "select distinct w.plate from well w join well_sample s on s.well = w.id join image i on i.id = s.image
             where i.fileset = ?1 order by w.plate",
            &[&id],
        )?;
        let plates = plates.iter().filter_map(|row| Some(("Plate", row.first()?.as_i64()?)));
        let mut targets: Vec<(&str, i64)> = plates.collect();
        if targets.is_empty() {
            targets.push(("Fileset", id));
        }
        for (class, id) in targets {
            if let Err(why) = commands::delete_one(store, &seat.context, class, id)? {
                return Err(Failed::new("internal", format!("OMERO did not do it: {why}")));
            }
        }
        tx.commit()?;
        commands::remove_orphans(store)?;
        Ok("deleted")
    }

    pub(super) fn leftovers(&mut self) -> Answer {
        let p: Leftovers = self.params()?;
        bounded("below", &p.below, 1000)?;
        if p.older_than < 0 || !(1..=10_000).contains(&p.count) {
            return Err(Failed::new("bad_params", "count is not a whole number from 1 to 10000"));
        }
        let seat = self.seat(&p.session)?;
        let roots: Vec<String> =
            p.below.iter().map(|r| r.trim_matches('/')).filter(|r| !r.is_empty()).map(directory).collect();
        let before = crate::sys::now_ms() - p.older_than.saturating_mul(1000);
        let candidates = rows(
            &seat.store,
            "select f.id, e.time, f.uploaded from fileset f join event e on e.id = f.creation_event
             where f.owner_id = ?1 and e.time < ?2
             and not exists (select 1 from image i where i.fileset = f.id) order by f.id",
            &[&seat.context.user, &before],
        )?;
        let mut all = Vec::new();
        for c in candidates {
            let paths = rows(
                &seat.store,
                "select client_path from fileset_entry where fileset = ?1 order by client_path",
                &[&number(&c[0])],
            )?;
            let inside = paths.iter().all(|p| roots.iter().any(|r| word(&p[0]).starts_with(r)));
            if paths.is_empty() || !inside {
                continue;
            }
            all.push(json!({
                "id": c[0], "created": number(&c[1]) / 1000, "entry_count": paths.len(), "path": paths[0][0],
                "uploaded": c[2] != 0,
            }));
        }
        let more = all.len() > p.count;
        all.truncate(p.count);
        Ok(json!({ "filesets": all, "more": more }))
    }
}

/// Everything there is to know of a fileset; none if it is gone.
fn describe(
    seat: &Seat,
    id: i64,
    namespace: &str,
    entries: &[Value],
    directories: &[String],
) -> Result<Option<Value>, Failed> {
    let store = &seat.store;
    let about = rows(
        store,
        "select u.ome_name, f.group_id, e.time, f.uploaded,
                (select count(*) from fileset_entry x where x.fileset = f.id),
                (select count(*) from session s where s.uuid = f.session and s.closed is not null)
         from fileset f join experimenter u on u.id = f.owner_id join event e on e.id = f.creation_event
         where f.id = ?1",
        &[&id],
    )?;
    let Some(about) = about.first() else { return Ok(None) };
    let column = |text: &str| -> Result<Vec<Value>, Failed> {
        Ok(rows(store, text, &[&id])?.into_iter().map(|mut r| r.remove(0)).collect())
    };
    let images = column("select id from image where fileset = ?1 order by id")?;
    let plates = column(
        "select distinct w.plate from well w join well_sample s on s.well = w.id
         join image i on i.id = s.image where i.fileset = ?1 order by w.plate",
    )?;
    let noted = rows(
        store,
        "select a.id, a.description from annotation a join fileset_annotation_link l on l.child = a.id
         where l.parent = ?1 and a.ns = ?2 and a.discriminator = 'map' and a.owner_id = ?3 order by a.id desc limit 1",
        &[&id, &namespace, &seat.context.user],
    )?;
    let annotation = match noted.first() {
        None => Value::Null,
        Some(a) => {
            let pairs = rows(
                store,
                "select name, value from annotation_map_value where annotation = ?1 order by position",
                &[&number(&a[0])],
            )?;
            json!({ "id": a[0], "description": word(&a[1]), "pairs": pairs })
        }
    };
    Ok(Some(json!({
        "id": id, "owner": about[0], "group_id": about[1], "created": number(&about[2]) / 1000,
        "entries": entries, "entry_count": about[4], "directories": directories, "uploaded": about[3] != 0,
        "open": about[5] == 0, "images": images, "plates": plates, "annotation": annotation,
    })))
}

/// The number in a column.
pub(super) fn number(v: &Value) -> i64 {
    v.as_i64().unwrap_or(0)
}

/// The text in a column.
pub(super) fn word(v: &Value) -> &str {
    v.as_str().unwrap_or_default()
}
