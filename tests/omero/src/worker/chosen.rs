//! The session of a person, and what they chose in it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::filesets::{number, word};
use super::sessions::Server;
use super::{Answer, Failed, Request, Seat, bounded, held, listed, rows};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Visit {
    server: Server,
    session: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Leave {
    session: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Chosen {
    session: String,
    objects: Vec<(String, i64)>,
    namespace: String,
    #[serde(default)]
    attachments: bool,
    most: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChosenFiles {
    session: String,
    filesets: Vec<i64>,
    #[serde(default)]
    after: i64,
    #[serde(default = "five_thousand")]
    count: i64,
}

fn five_thousand() -> i64 {
    5000
}

/// Whether a text has the form of a key: anything else could be an account, whose name is its password.
fn is_key(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}

/// Group, project, dataset, screen, plate.
type Place = [Value; 5];

/// What was found until now.
#[derive(Default)]
struct Found {
    places: Vec<Place>,
    /// fileset → place
    filesets: BTreeMap<i64, usize>,
    /// What attachments may hang on beside images: table of the links, id, place.
    containers: Vec<(&'static str, i64, usize)>,
    without_files: usize,
    missing: Vec<String>,
}

impl Found {
    fn place(&mut self, place: Place) -> usize {
        self.places.iter().position(|known| *known == place).unwrap_or_else(|| {
            self.places.push(place);
            self.places.len() - 1
        })
    }
}

impl Request<'_> {
    pub(super) fn visit(&mut self) -> Answer {
        let p: Visit = self.params()?;
        p.server.check()?;
        if !is_key(&p.session) {
            return Err(Failed::new("session_expired", "this is no key of a session in OMERO"));
        }
        let store = self.reach()?;
        self.faults.strike("answer", None);
        let context = store.join(&p.session).map_err(|_| {
            Failed::new("session_expired", "OMERO does not know the session any more: Password check failed")
        })?;
        *held(&self.shared.visits).entry(p.session).or_default() += 1;
        Ok(json!({
            "user": context.user_name, "user_id": context.user, "group": context.group_name, "group_id": context.group
        }))
    }

    pub(super) fn leave(&mut self) -> Answer {
        let p: Leave = self.params()?;
        let mut visits = held(&self.shared.visits);
        let Some(users) = visits.get_mut(&p.session) else { return Ok(json!({ "left": false })) };
        *users -= 1;
        if *users == 0 {
            visits.remove(&p.session);
        }
        Ok(json!({ "left": true }))
    }

    fn visited(&mut self, key: &str) -> Result<Seat, Failed> {
        let expired = |why: &str| Failed::new("session_expired", why);
        if !held(&self.shared.visits).contains_key(key) {
            return Err(expired("the worker does not visit this session"));
        }
        let store = self.reach()?;
        self.faults.strike("answer", None);
        let context = store.join(key).map_err(|_| expired("RemovedSessionException: the session is gone"))?;
        Ok(Seat { store, context })
    }

    pub(super) fn chosen(&mut self) -> Answer {
        let p: Chosen = self.params()?;
        bounded("objects", &p.objects, 1000)?;
        let seat = self.visited(&p.session)?;
        let mut found = Found::default();
        for (kind, id) in &p.objects {
            self.asked.deadline.check()?;
            choose(&seat, kind, *id, &mut found)?;
        }
        if found.filesets.len() > p.most {
            let text = format!("these are more than {} filesets: save them in parts", p.most);
            return Err(Failed::new("too_large", text));
        }
        let mut filesets = Vec::new();
        for (fileset, place) in &found.filesets {
            let images = rows(
                &seat.store,
                "select id from image where fileset = ?1 order by id limit 20",
                &[fileset],
            )?;
            filesets.push(json!({
                "id": fileset, "place": place, "images": images.into_iter().flatten().collect::<Vec<_>>(),
                "data": data(&seat, *fileset, &p.namespace)?,
            }));
        }
        let attachments = if p.attachments { attachments(&seat, &found)? } else { Vec::new() };
        let places: Vec<Value> = found
            .places
            .iter()
            .map(|[group, project, dataset, screen, plate]| {
                json!({
                    "group": group, "project": project, "dataset": dataset, "screen": screen, "plate": plate
                })
            })
            .collect();
        Ok(json!({
            "places": places, "filesets": filesets, "attachments": attachments,
            "without_files": found.without_files, "restricted": 0, "missing": found.missing,
        }))
    }

    pub(super) fn chosen_files(&mut self) -> Answer {
        let p: ChosenFiles = self.params()?;
        bounded("filesets", &p.filesets, 1000)?;
        let seat = self.visited(&p.session)?;
        let readable = seat.store.readable(&seat.context, "f", true)?;
        let text = format!(
            "select e.id, f.id, e.client_path, o.id, o.path, o.name, o.size, o.hash, o.hasher, f.template_prefix, o.repo
             from fileset_entry e join fileset f on f.id = e.fileset join original_file o on o.id = e.original_file
             where f.id in ({}) and e.id > ?1 and {readable} order by e.id limit ?2",
            listed(p.filesets)
        );
        let all = rows(&seat.store, &text, &[&p.after, &(p.count + 1)])?;
        let count = usize::try_from(p.count).unwrap_or(usize::MAX);
        let entries: Vec<Value> = all
            .iter()
            .take(count)
            .map(|e| {
                json!({
                    "id": e[0], "fileset": e[1], "path": e[2], "file": e[3],
                    "prefix": word(&e[9]).trim_end_matches('/'), "stored": format!("{}{}", word(&e[4]), word(&e[5])),
                    "size": e[6], "hash": e[7], "hasher": e[8], "root": root(&seat, &e[10]),
                })
            })
            .collect();
        let after = (all.len() > count).then(|| all[count - 1][0].clone());
        Ok(json!({ "entries": entries, "after": after }))
    }
}

/// The root of the one repository there is; of any other, none.
fn root(seat: &Seat, repo: &Value) -> Value {
    if *repo == "managed" { json!(seat.store.repository()) } else { Value::Null }
}

/// Name and group of an object that the session may read.
fn named(seat: &Seat, table: &str, id: i64) -> Result<Option<(Value, Value)>, Failed> {
    let readable = seat.store.readable(&seat.context, "o", true)?;
    let text = format!(
        "select o.name, g.name from {table} o join experimenter_group g on g.id = o.group_id
         where o.id = ?1 and {readable}"
    );
    let found = rows(&seat.store, &text, &[&id])?;
    Ok(found.into_iter().next().map(|mut row| (row.swap_remove(0), row.pop().unwrap_or_default())))
}

/// What a child was put into first: id and name.
fn parent(seat: &Seat, link: &str, table: &str, child: i64) -> Result<Option<(i64, Value)>, Failed> {
    let readable = seat.store.readable(&seat.context, "p", true)?;
    let text = format!(
        "select p.id, p.name from {link} l join {table} p on p.id = l.parent where l.child = ?1 and {readable}
         order by l.id limit 1"
    );
    let found = rows(&seat.store, &text, &[&child])?;
    Ok(found.into_iter().next().map(|row| (number(&row[0]), row[1].clone())))
}

fn children(seat: &Seat, link: &str, parent: i64) -> Result<Vec<i64>, Failed> {
    let found =
        rows(&seat.store, &format!("select child from {link} where parent = ?1 order by id"), &[&parent])?;
    Ok(found.iter().map(|row| number(&row[0])).collect())
}

fn choose(seat: &Seat, kind: &str, id: i64, found: &mut Found) -> Result<(), Failed> {
    let table = match kind {
        "Image" | "Dataset" | "Project" | "Plate" | "Screen" => kind.to_lowercase(),
        _ => return Err(Failed::new("bad_params", "objects holds something that cannot be chosen")),
    };
    let Some((name, group)) = named(seat, &table, id)? else {
        found.missing.push(format!("{kind}:{id}"));
        return Ok(());
    };
    let none = || Value::Null;
    match kind {
        "Image" => image(seat, id, group, found),
        "Dataset" => {
            let project = parent(seat, "project_dataset_link", "project", id)?.map(|(_, name)| name);
            dataset(seat, id, [group, project.unwrap_or_default(), name, none(), none()], found)
        }
        "Project" => {
            let place = found.place([group, name.clone(), none(), none(), none()]);
            found.containers.push(("project_annotation_link", id, place));
            for child in children(seat, "project_dataset_link", id)? {
                if let Some((own, group)) = named(seat, "dataset", child)? {
                    dataset(seat, child, [group, name.clone(), own, none(), none()], found)?;
                }
            }
            Ok(())
        }
        "Plate" => {
            let screen = parent(seat, "screen_plate_link", "screen", id)?.map(|(_, name)| name);
            plate(seat, id, [group, none(), none(), screen.unwrap_or_default(), name], found)
        }
        _ => {
            let place = found.place([group, none(), none(), name.clone(), none()]);
            found.containers.push(("screen_annotation_link", id, place));
            for child in children(seat, "screen_plate_link", id)? {
                if let Some((own, group)) = named(seat, "plate", child)? {
                    plate(seat, child, [group, none(), none(), name.clone(), own], found)?;
                }
            }
            Ok(())
        }
    }
}

fn image(seat: &Seat, id: i64, group: Value, found: &mut Found) -> Result<(), Failed> {
    let fileset = rows(&seat.store, "select fileset from image where id = ?1", &[&id])?;
    let Some(fileset) = fileset[0][0].as_i64() else {
        found.without_files += 1;
        return Ok(());
    };
    let mut place = [group, Value::Null, Value::Null, Value::Null, Value::Null];
    if let Some((dataset, name)) = parent(seat, "dataset_image_link", "dataset", id)? {
        place[2] = name;
        let project = parent(seat, "project_dataset_link", "project", dataset)?;
        place[1] = project.map(|(_, name)| name).unwrap_or_default();
    } else {
        let plates = rows(
            &seat.store,
            "select p.id, p.name from well_sample s join well w on w.id = s.well join plate p on p.id = w.plate
             where s.image = ?1 order by s.id limit 1",
            &[&id],
        )?;
        if let Some(plate) = plates.first() {
            place[4] = plate[1].clone();
            let screen = parent(seat, "screen_plate_link", "screen", number(&plate[0]))?;
            place[3] = screen.map(|(_, name)| name).unwrap_or_default();
        }
    }
    let place = found.place(place);
    found.filesets.entry(fileset).or_insert(place);
    Ok(())
}

fn dataset(seat: &Seat, id: i64, place: Place, found: &mut Found) -> Result<(), Failed> {
    let place = found.place(place);
    found.containers.push(("dataset_annotation_link", id, place));
    let readable = seat.store.readable(&seat.context, "i", true)?;
    let text = format!(
        "select i.fileset from dataset_image_link l join image i on i.id = l.child
         where l.parent = ?1 and {readable} order by i.id"
    );
    for row in rows(&seat.store, &text, &[&id])? {
        match row[0].as_i64() {
            Some(fileset) => _ = found.filesets.entry(fileset).or_insert(place),
            None => found.without_files += 1,
        }
    }
    Ok(())
}

fn plate(seat: &Seat, id: i64, place: Place, found: &mut Found) -> Result<(), Failed> {
    let place = found.place(place);
    found.containers.push(("plate_annotation_link", id, place));
    let readable = seat.store.readable(&seat.context, "i", true)?;
    let text = format!(
        "select distinct i.fileset from well_sample s join well w on w.id = s.well join image i on i.id = s.image
         where w.plate = ?1 and i.fileset is not null and {readable}"
    );
    for row in rows(&seat.store, &text, &[&id])? {
        found.filesets.entry(number(&row[0])).or_insert(place);
    }
    Ok(())
}

/// What a fileset was imported from, by an annotation of its owner's.
fn data(seat: &Seat, fileset: i64, namespace: &str) -> Result<Value, Failed> {
    let pairs = rows(
        &seat.store,
        "select v.name, v.value from annotation_map_value v where v.annotation = (
           select max(a.id) from annotation a join fileset_annotation_link l on l.child = a.id
           join fileset f on f.id = l.parent
           where f.id = ?1 and a.ns = ?2 and a.discriminator = 'map' and a.owner_id = f.owner_id
             and l.owner_id = f.owner_id) order by v.position desc",
        &[&fileset, &namespace],
    )?;
    let pairs: BTreeMap<&str, &str> = pairs.iter().map(|row| (word(&row[0]), word(&row[1]))).collect();
    let object = pairs.get("iRODS data id").map(|id| format!("d{id}"));
    let subject = object.or_else(|| pairs.get("iRODS collection id").map(|id| format!("c{id}")));
    let (Some(subject), Some(zone), Some(path)) = (subject, pairs.get("iRODS zone"), pairs.get("iRODS path"))
    else {
        return Ok(Value::Null);
    };
    Ok(json!({ "zone": zone, "subject": subject, "path": path }))
}

fn attachments(seat: &Seat, found: &Found) -> Result<Vec<Value>, Failed> {
    let mut annotations: Vec<(i64, usize)> = Vec::new();
    for (link, id, place) in &found.containers {
        annotations.extend(children(seat, link, *id)?.into_iter().map(|child| (child, *place)));
    }
    for (fileset, place) in &found.filesets {
        let of_images = rows(
            &seat.store,
            "select l.child from image_annotation_link l join image i on i.id = l.parent where i.fileset = ?1",
            &[fileset],
        )?;
        annotations.extend(of_images.iter().map(|row| (number(&row[0]), *place)));
    }
    let readable = seat.store.readable(&seat.context, "a", true)?;
    let text = format!(
        "select o.id, o.name, o.path, o.size, o.hash, o.hasher, o.repo from annotation a
         join original_file o on o.id = a.file where a.id = ?1 and a.discriminator = 'file' and {readable}"
    );
    let mut files: BTreeMap<i64, Value> = BTreeMap::new();
    for (annotation, place) in annotations {
        for o in rows(&seat.store, &text, &[&annotation])? {
            let stored = (!o[6].is_null()).then(|| format!("{}{}", word(&o[2]), word(&o[1])));
            files.entry(number(&o[0])).or_insert_with(|| {
                json!({
                    "file": o[0], "place": place, "name": o[1], "size": o[3], "hash": o[4], "hasher": o[5],
                    "stored": stored, "root": root(seat, &o[6]),
                })
            });
        }
    }
    Ok(files.into_values().collect())
}
