//! Map annotations of filesets: hundreds at a time, each with its links in one transaction, and never twice.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::params;
use serde::Deserialize;
use serde_json::{Value, json};

use super::filesets::{number, word};
use super::{Answer, Failed, Request, bounded, held, rows, time_limit};
use crate::fault::Faults;
use crate::store::{Context, Store};

/// How many filesets are saved in one transaction.
const AT_ONCE: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Annotate {
    session: String,
    namespace: String,
    items: Vec<Item>,
    #[serde(default)]
    update: bool,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct Item {
    fileset: i64,
    description: String,
    pairs: Vec<(String, String)>,
}

/// A save that may go on after its request was answered.
#[derive(Default)]
struct Saving {
    done: Mutex<Option<Vec<Value>>>,
    ended: Condvar,
}

impl Saving {
    /// What it gave, unless it takes longer than `limit`.
    fn wait(&self, limit: Duration) -> Option<Vec<Value>> {
        let done = held(&self.done);
        let (done, _) = self
            .ended
            .wait_timeout_while(done, limit, |d| d.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        done.clone()
    }
}

/// The saves that are under way, by fileset.
#[derive(Default)]
pub(super) struct Savings(Mutex<HashMap<i64, Arc<Saving>>>);

/// What one save needs to know.
struct Plan {
    dir: std::path::PathBuf,
    context: Context,
    faults: Faults,
    namespace: String,
    update: bool,
    items: Vec<Item>,
}

fn said(fileset: i64, state: &str, annotation: Option<i64>, error: Option<&Failed>) -> Value {
    json!({
        "fileset": fileset, "state": state, "annotation": annotation, "error": error.map(Failed::as_json)
    })
}

impl Request<'_> {
    pub(super) fn annotate(&mut self) -> Answer {
        let p: Annotate = self.params()?;
        bounded("items", &p.items, 5000)?;
        let mut ids: Vec<i64> = p.items.iter().map(|i| i.fileset).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() != p.items.len() {
            return Err(Failed::new("bad_params", "a fileset is named twice"));
        }
        let seat = self.seat(&p.session)?;
        let shared = Arc::clone(self.shared);
        let under_way: Vec<Arc<Saving>> = {
            let all = held(&shared.saving.0);
            ids.iter().filter_map(|id| all.get(id).cloned()).collect()
        };
        for saving in under_way {
            saving.wait(self.asked.deadline.left());
            self.asked.deadline.check()?;
        }
        let mut answers = Vec::new();
        for some in p.items.chunks(AT_ONCE) {
            if self.asked.deadline.left().is_zero() {
                answers.extend(some.iter().map(|i| said(i.fileset, "failed", None, Some(&time_limit()))));
                continue;
            }
            let plan = Plan {
                dir: shared.dir.clone(),
                context: seat.context.clone(),
                faults: self.faults.clone(),
                namespace: p.namespace.clone(),
                update: p.update,
                items: some.to_vec(),
            };
            let saving = Arc::new(Saving::default());
            for item in some {
                held(&shared.saving.0).insert(item.fileset, Arc::clone(&saving));
            }
            let (of_thread, shared) = (Arc::clone(&saving), Arc::clone(&shared));
            std::thread::spawn(move || {
                let result = plan.run();
                for item in &plan.items {
                    let mut all = held(&shared.saving.0);
                    if all.get(&item.fileset).is_some_and(|s| Arc::ptr_eq(s, &of_thread)) {
                        all.remove(&item.fileset);
                    }
                }
                *held(&of_thread.done) = Some(result);
                of_thread.ended.notify_all();
            });
            match saving.wait(self.asked.deadline.left()) {
                Some(result) => answers.extend(result),
                None => {
                    answers.extend(some.iter().map(|i| said(i.fileset, "failed", None, Some(&time_limit()))))
                }
            }
        }
        Ok(json!({ "items": answers }))
    }
}

impl Plan {
    /// Saves all items together; where the server refuses that, each by itself.
    fn run(&self) -> Vec<Value> {
        let Ok(mut store) = Store::open(&self.dir) else {
            let lost = Failed::new("connection", "the connection to OMERO was lost");
            return self.items.iter().map(|i| said(i.fileset, "failed", None, Some(&lost))).collect();
        };
        if let Ok(all) = self.save(&mut store, &self.items) {
            return all;
        }
        let mut all = Vec::new();
        for item in &self.items {
            match self.save(&mut store, std::slice::from_ref(item)) {
                Ok(one) => all.extend(one),
                Err(f) => all.push(said(item.fileset, "failed", None, Some(&f))),
            }
        }
        all
    }

    /// Looks what is there, then saves what is not: two that do so at a time make two annotations, as at a real server.
    fn save(&self, store: &mut Store, items: &[Item]) -> Result<Vec<Value>, Failed> {
        let there: Vec<Option<(i64, String)>> =
            items.iter().map(|i| self.there(store, i.fileset)).collect::<Result<_, _>>()?;
        for item in items {
            let name = format!("Fileset:{}", item.fileset);
            self.faults.strike("answer", Some(&name));
            if self.faults.take("save-error", None, Some(&name)).is_some() {
                return Err(Failed::new("internal", "ValidationException: stand-in fault"));
            }
        }
        let tx = rusqlite::Transaction::new_unchecked(&store.db, rusqlite::TransactionBehavior::Immediate)?;
        let all: Result<Vec<Value>, Failed> =
            items.iter().zip(there).map(|(item, there)| self.one(store, item, there)).collect();
        let all = all?;
        tx.commit()?;
        Ok(all)
    }

    /// The newest annotation of the namespace that a fileset has, and its description.
    fn there(&self, store: &Store, fileset: i64) -> Result<Option<(i64, String)>, Failed> {
        let found = rows(
            store,
            "select a.id, a.description from annotation a join fileset_annotation_link l on l.child = a.id
             where l.parent = ?1 and a.ns = ?2 and a.discriminator = 'map' and a.owner_id = ?3
             order by a.id desc limit 1",
            &[&fileset, &self.namespace, &self.context.user],
        )?;
        Ok(found.first().map(|a| (number(&a[0]), word(&a[1]).to_owned())))
    }

    fn one(&self, store: &Store, item: &Item, there: Option<(i64, String)>) -> Result<Value, Failed> {
        let id = item.fileset;
        let group = rows(
            store,
            "select group_id from fileset where id = ?1 and owner_id = ?2",
            &[&id, &self.context.user],
        )?;
        let Some(group) = group.first().map(|r| number(&r[0])) else {
            let none = Failed::new("not_found", format!("there is no fileset {id} of this user"));
            return Ok(said(id, "failed", None, Some(&none)));
        };
        let context = Context { group, ..self.context.clone() };
        let plates = rows(
            store,
            "select distinct w.plate from well w join well_sample s on s.well = w.id
             join image i on i.id = s.image where i.fileset = ?1",
            &[&id],
        )?;
        let (table, objects) = if plates.is_empty() {
            (
                "image_annotation_link",
                rows(store, "select id from image where fileset = ?1 order by id", &[&id])?,
            )
        } else {
            ("plate_annotation_link", plates)
        };
        let event = store.event(&context)?;
        let mut state = "there";
        let annotation = if let Some((annotation, description)) = there {
            if self.update && differs(store, annotation, &description, item)? {
                store.db.execute(
                    "update annotation set description = ?2, update_event = ?3 where id = ?1",
                    params![annotation, item.description, event],
                )?;
                fill(store, annotation, &item.pairs)?;
                state = "updated";
            }
            annotation
        } else {
            state = "made";
            store.db.execute(
                "insert into annotation (discriminator, ns, description, owner_id, group_id, creation_event, update_event)
                 values ('map', ?1, ?2, ?3, ?4, ?5, ?5)",
                params![self.namespace, item.description, context.user, group, event],
            )?;
            let annotation = store.db.last_insert_rowid();
            fill(store, annotation, &item.pairs)?;
            link(store, "fileset_annotation_link", id, annotation, &context, event)?;
            annotation
        };
        for object in objects {
            let new = link(store, table, number(&object[0]), annotation, &context, event)?;
            if new && state == "there" {
                state = "linked";
            }
        }
        Ok(said(id, state, Some(annotation), None))
    }
}

/// Whether an annotation says something else than it should.
fn differs(store: &Store, annotation: i64, description: &str, item: &Item) -> Result<bool, Failed> {
    let pairs = rows(
        store,
        "select name, value from annotation_map_value where annotation = ?1 order by position",
        &[&annotation],
    )?;
    let same = pairs.len() == item.pairs.len()
        && pairs.iter().zip(&item.pairs).all(|(a, b)| word(&a[0]) == b.0 && word(&a[1]) == b.1);
    Ok(!same || description != item.description)
}

fn fill(store: &Store, annotation: i64, pairs: &[(String, String)]) -> Result<(), Failed> {
    store.db.execute("delete from annotation_map_value where annotation = ?1", [annotation])?;
    for (position, (name, value)) in pairs.iter().enumerate() {
        store.db.execute(
            "insert into annotation_map_value (annotation, position, name, value) values (?1, ?2, ?3, ?4)",
            params![annotation, i64::try_from(position).unwrap_or(0), name, value],
        )?;
    }
    Ok(())
}

/// Makes a link, unless it is there; tells whether it was made.
fn link(
    store: &Store,
    table: &str,
    parent: i64,
    child: i64,
    context: &Context,
    event: i64,
) -> Result<bool, Failed> {
    let made = store.db.execute(
        &format!(
            "insert into {table} (parent, child, owner_id, group_id, creation_event, update_event)
             select ?1, ?2, ?3, ?4, ?5, ?5
             where not exists (select 1 from {table} where parent = ?1 and child = ?2)"
        ),
        params![parent, child, context.user, context.group, event],
    )?;
    Ok(made > 0)
}
