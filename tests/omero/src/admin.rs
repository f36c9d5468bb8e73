//! `omero standin ...`: what only exists here. It makes a store, adds people,
//! plans faults, makes test files, and shows what is in the store.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};
use serde_json::{Value as Json, json};

use crate::fault::{self, Fault, KINDS, POINTS};
use crate::import::candidates::{Looked, absolute};
use crate::import::readers::Reader;
use crate::make;
use crate::model;
use crate::store::{Context, PRIVILEGES, Store};

const USAGE: &str = "usage: omero standin COMMAND ...
  init --root-password P --sudo-user NAME --sudo-password-file FILE
  user add NAME --group G [--group G2] [--owner-of G] [--password P] [--admin]
  user lock NAME | user unlock NAME | user password NAME P
  group add NAME [--perms rw----|rwr---|rwra--|rwrw--]
  group permissions NAME PERMS
  grant USER PRIVILEGE | revoke USER PRIVILEGE
  session open NAME | session expire KEY | session expire --all
  attach FILE Image:ID|Dataset:ID|Project:ID|Plate:ID|Screen:ID --user NAME
  fault set KIND [--command C] [--times N] [--path P] [--user U] [--where POINT]
        [--seconds S] [--signal N] [--text T] [--ids 1,2] [--bytes N] [--code N] [--until FILE]
  fault clear [KIND] | fault list | fault kinds
  show [--json]
  count images|filesets|datasets|plates|annotations [--owner U]
  repository
  make tiff|companion|ome-tiff|htd|htd-flat|pattern|zarr|plate|fake|broken|png PATH [--series N] [--files N] [--seed N]
  look PATH...
The store is the directory named by OMERO_STANDIN. `look` prints what the readers say of each file by itself.";

type Done = Result<(), String>;

/// Runs an administration command.
pub fn run(words: &[String]) -> i32 {
    match dispatch(words) {
        Ok(()) => 0,
        Err(e) => {
            complain!("omero standin: {e}");
            98
        }
    }
}

/// Words without options, and options with their values.
struct Words {
    plain: Vec<String>,
    options: Vec<(String, String)>,
}

impl Words {
    fn of(words: &[String], flags: &[&str]) -> Result<Self, String> {
        let mut found = Self { plain: Vec::new(), options: Vec::new() };
        let mut i = 0;
        while i < words.len() {
            match words[i].strip_prefix("--") {
                Some(name) if flags.contains(&name) => found.options.push((name.to_owned(), String::new())),
                Some(name) => {
                    i += 1;
                    let value = words.get(i).ok_or_else(|| format!("--{name} needs a value\n{USAGE}"))?;
                    found.options.push((name.to_owned(), value.clone()));
                }
                None => found.plain.push(words[i].clone()),
            }
            i += 1;
        }
        Ok(found)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.options.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.options.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        self.get(name).map(|v| v.parse().map_err(|_| format!("--{name}: {v} is no number"))).transpose()
    }
}

fn text(e: impl std::fmt::Display) -> String {
    e.to_string()
}

fn dispatch(words: &[String]) -> Done {
    let w = Words::of(words, &["json", "admin", "all", "directory"])?;
    let plain: Vec<&str> = w.plain.iter().map(String::as_str).collect();
    if let ["make", kind, path] = plain.as_slice() {
        return make::run(
            kind,
            Path::new(path),
            w.number("series")?.unwrap_or(1),
            w.number("files")?.unwrap_or(2),
            w.number("seed")?.unwrap_or(0),
        );
    }
    if let ["look", paths @ ..] = plain.as_slice() {
        return look(paths);
    }
    if let ["fault", "kinds"] = plain.as_slice() {
        for (kind, what) in KINDS {
            say!("{kind:24} {what}");
        }
        say!("points (--where): {}", POINTS.join(" "));
        return Ok(());
    }
    let dir = Store::directory().ok_or("OMERO_STANDIN names no directory")?;
    match plain.as_slice() {
        ["init"] => init(&dir, &w),
        ["user", "add", name] => user_add(&Store::open(&dir)?, name, &w),
        ["user", action @ ("lock" | "unlock"), name] => {
            let active = i64::from(*action == "unlock");
            changed(Store::open(&dir)?.db.execute(
                "update experimenter set active = ?2 where ome_name = ?1",
                params![name, active],
            ))
        }
        ["user", "password", name, p] => changed(Store::open(&dir)?.set_password(name, Some(p))),
        ["group", "add", name] => group_add(&Store::open(&dir)?.db, name, w.get("perms").unwrap_or("rwr---")).map(|_| ()),
        ["group", "permissions", name, permissions] => changed(Store::open(&dir)?.db.execute(
            "update experimenter_group set permissions = ?2 where name = ?1",
            [name, permissions],
        )),
        ["grant", user, privilege] => {
            if !PRIVILEGES.contains(privilege) {
                return Err(format!("{privilege}: no such privilege; there are {}", PRIVILEGES.join(" ")));
            }
            changed(Store::open(&dir)?.db.execute(
                "insert or replace into privilege (experimenter, name) select id, ?2 from experimenter where ome_name = ?1",
                [user, privilege],
            ))
        }
        ["revoke", user, privilege] => changed(Store::open(&dir)?.db.execute(
            "delete from privilege where name = ?2 and experimenter = (select id from experimenter where ome_name = ?1)",
            [user, privilege],
        )),
        ["session", "open", name] => {
            say!("{}", session_open(&Store::open(&dir)?, name)?.session);
            Ok(())
        }
        ["attach", file, object] => attach(&Store::open(&dir)?, Path::new(file), object, &w),
        ["session", "expire"] if w.get("all").is_some() => {
            Store::open(&dir)?.db.execute("update session set closed = 1 where closed is null", []).map(|_| ()).map_err(text)
        }
        ["session", "expire", key] => Store::open(&dir)?.close_session(key).map(|_| ()).map_err(text),
        ["fault", "set", kind] => fault_set(&dir, kind, &w),
        ["fault", "clear"] => fault::clear(&dir, None).map_err(text),
        ["fault", "clear", kind] => fault::clear(&dir, Some(kind)).map_err(text),
        ["fault", "list"] => {
            say_on!("{}", std::fs::read_to_string(dir.join("faults.json")).unwrap_or_else(|_| "[]\n".to_owned()));
            Ok(())
        }
        ["show"] => show(&Store::open(&dir)?, w.get("json").is_some()),
        ["count", what] => count(&Store::open(&dir)?, what, w.get("owner")),
        ["repository"] => {
            say!("{}", Store::open(&dir)?.repository().display());
            Ok(())
        }
        _ => Err(USAGE.to_owned()),
    }
}

/// What the readers of the importer say of each file, whatever the others use: one JSON object a line.
fn look(paths: &[&str]) -> Done {
    let mut reader = Reader::at(std::env::current_dir().map_err(text)?);
    for path in paths {
        let path = absolute(path);
        let said = match reader.look(&path) {
            Looked::Candidate(c) => {
                json!({ "reader": c.reader, "spw": c.spw, "series": c.series.len(), "used": c.used })
            }
            Looked::Unknown => json!("unknown"),
            Looked::Unreadable => json!("unreadable"),
            Looked::MissingLibrary(why) => json!({ "missing_library": why }),
            Looked::Broken(why) => json!({ "broken": why }),
        };
        say!("{}", json!({ "path": path, "said": said }));
    }
    Ok(())
}

fn changed(result: rusqlite::Result<usize>) -> Done {
    match result {
        Ok(0) => Err("no such thing".to_owned()),
        Ok(_) => Ok(()),
        Err(e) => Err(text(e)),
    }
}

/// Root, guest, and the account that may only act for others.
fn init(dir: &Path, w: &Words) -> Done {
    let sudo_user = w.get("sudo-user").unwrap_or("importer").to_owned();
    let password = match w.get("sudo-password-file") {
        Some(f) => {
            let t = std::fs::read_to_string(f).map_err(|e| format!("{f}: {e}"))?;
            Some(t.trim_end_matches(['\n', '\r']).to_owned())
        }
        None => None,
    };
    let store = Store::create(dir)?;
    let db = &store.db;
    let batch = "
        insert into experimenter_group (id, name, permissions) values (0, 'system', 'rw----'), (1, 'user', 'rwr-r-'), (2, 'guest', 'rw----');
        insert into experimenter (id, ome_name, first_name, last_name) values (0, 'root', 'root', 'root'), (1, 'guest', 'Guest', 'Account');
        insert into group_experimenter_map (parent, child, owner) values (0, 0, 1), (1, 0, 0), (2, 1, 0);";
    db.execute_batch(batch).map_err(text)?;
    for p in PRIVILEGES {
        db.execute("insert into privilege (experimenter, name) values (0, ?1)", [p]).map_err(text)?;
    }
    store.set_password("root", Some(w.get("root-password").unwrap_or("omero"))).map_err(text)?;
    db.execute(
        "insert into experimenter (ome_name, first_name, last_name) values (?1, 'Import', 'Service')",
        [&sudo_user],
    )
    .map_err(text)?;
    let id = db.last_insert_rowid();
    db.execute(
        "insert into group_experimenter_map (parent, child, owner) values (0, ?1, 0), (1, ?1, 0)",
        [id],
    )
    .map_err(text)?;
    db.execute("insert into privilege (experimenter, name) values (?1, 'Sudo')", [id]).map_err(text)?;
    store.set_password(&sudo_user, password.as_deref()).map_err(text)?;
    say!("{}", dir.display());
    Ok(())
}

fn group_add(db: &Connection, name: &str, permissions: &str) -> Result<i64, String> {
    db.execute("insert into experimenter_group (name, permissions) values (?1, ?2)", [name, permissions])
        .map_err(text)?;
    Ok(db.last_insert_rowid())
}

/// Adds a user; groups that do not exist yet are made (read-only).
fn user_add(store: &Store, name: &str, w: &Words) -> Done {
    let db = &store.db;
    db.execute("insert into experimenter (ome_name, first_name, last_name) values (?1, ?1, 'Test')", [name])
        .map_err(text)?;
    let id = db.last_insert_rowid();
    let member = |group: &str, owner: bool| -> Done {
        let group_id = match store.group_id(group).map_err(text)? {
            Some(g) => g,
            None => group_add(db, group, "rwr---")?,
        };
        db.execute(
            "insert or replace into group_experimenter_map (parent, child, owner) values (?1, ?2, ?3)",
            params![group_id, id, owner],
        )
        .map_err(text)?;
        Ok(())
    };
    for g in w.all("group") {
        member(g, false)?;
    }
    for g in w.all("owner-of") {
        member(g, true)?;
    }
    member("user", false)?;
    if w.get("admin").is_some() {
        member("system", false)?;
        for p in PRIVILEGES {
            db.execute("insert into privilege (experimenter, name) values (?1, ?2)", params![id, p])
                .map_err(text)?;
        }
    }
    store.set_password(name, Some(w.get("password").unwrap_or(name))).map_err(text)?;
    say!("Experimenter:{id}");
    Ok(())
}

/// A session as that person's own, as OMERO.web has one.
fn session_open(store: &Store, name: &str) -> Result<Context, String> {
    let hour = 3_600_000;
    store.open_for(name, hour, 0).map_err(|e| format!("{e:?}"))
}

/// Attaches a file as a client does that uploads it: it lies under its number, in no repository.
fn attach(store: &Store, file: &Path, object: &str, w: &Words) -> Done {
    let (kind, id) = object.split_once(':').ok_or(USAGE)?;
    let id: i64 = id.parse().map_err(text)?;
    let table = match kind {
        "Image" | "Dataset" | "Project" | "Plate" | "Screen" => kind.to_lowercase(),
        _ => return Err(USAGE.to_owned()),
    };
    let context = session_open(store, w.get("user").ok_or(USAGE)?)?;
    let event = store.event(&context).map_err(text)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let hash = crate::import::server::checksum("SHA1-160", file).map_err(text)?;
    let size = i64::try_from(file.metadata().map_err(text)?.len()).map_err(text)?;
    let owned = params![context.user, context.group, event];
    let row = |sql: &str, values: &[&dyn rusqlite::ToSql]| -> Result<i64, String> {
        let all: Vec<&dyn rusqlite::ToSql> = owned.iter().copied().chain(values.iter().copied()).collect();
        store.db.execute(sql, &all[..]).map_err(text)?;
        Ok(store.db.last_insert_rowid())
    };
    let owner = "owner_id, group_id, creation_event, update_event";
    let original = row(
        &format!(
            "insert into original_file ({owner}, name, path, size, hash, hasher) values (?1, ?2, ?3, ?3, ?4, '/up/', ?5, ?6, 'SHA1-160')"
        ),
        &[&name, &size, &hash],
    )?;
    let annotation = row(
        &format!("insert into annotation ({owner}, discriminator, file) values (?1, ?2, ?3, ?3, 'file', ?4)"),
        &[&original],
    )?;
    row(
        &format!(
            "insert into {table}_annotation_link ({owner}, parent, child) values (?1, ?2, ?3, ?3, ?4, ?5)"
        ),
        &[&id, &annotation],
    )?;
    let mut place = store.dir().join("Files");
    let mut rest = original;
    let mut parts = Vec::new();
    while rest > 999 {
        rest /= 1000;
        parts.push(format!("Dir-{:03}", rest % 1000));
    }
    place.extend(parts.iter().rev());
    std::fs::create_dir_all(&place).map_err(text)?;
    std::fs::copy(file, place.join(original.to_string())).map_err(text)?;
    say!("OriginalFile:{original}");
    Ok(())
}

fn fault_set(dir: &Path, kind: &str, w: &Words) -> Done {
    if !KINDS.iter().any(|(k, _)| *k == kind) {
        return Err(format!("{kind}: no such fault; see `omero standin fault kinds`"));
    }
    if let Some(p) = w.get("where")
        && !POINTS.contains(&p)
    {
        return Err(format!("{p}: no such point; there are {}", POINTS.join(" ")));
    }
    let ids = w
        .get("ids")
        .map(|l| l.split(',').map(|i| i.parse().map_err(|_| format!("--ids: {i} is no number"))).collect())
        .transpose()?;
    let own = |name: &str| w.get(name).map(str::to_owned);
    let fault = Fault {
        kind: kind.to_owned(),
        command: own("command"),
        times: w.number("times")?,
        path: own("path"),
        user: own("user"),
        point: own("where"),
        seconds: w.number("seconds")?,
        signal: w.number("signal")?,
        text: own("text"),
        ids,
        bytes: w.number("bytes")?,
        code: w.number("code")?,
        until: w.get("until").map(PathBuf::from),
    };
    fault::add(dir, fault).map_err(text)
}

fn rows(db: &Connection, query: &str, parameters: impl rusqlite::Params) -> Result<Vec<Json>, String> {
    let mut q = db.prepare(query).map_err(text)?;
    let names: Vec<String> = q.column_names().iter().map(|n| (*n).to_owned()).collect();
    let mut found = q.query(parameters).map_err(text)?;
    let mut all = Vec::new();
    while let Some(row) = found.next().map_err(text)? {
        let mut o = serde_json::Map::new();
        for (i, n) in names.iter().enumerate() {
            let v = match row.get_ref(i).map_err(text)? {
                rusqlite::types::ValueRef::Integer(i) => json!(i),
                rusqlite::types::ValueRef::Real(f) => json!(f),
                rusqlite::types::ValueRef::Text(t) => json!(String::from_utf8_lossy(t)),
                _ => Json::Null,
            };
            o.insert(n.clone(), v);
        }
        all.push(Json::Object(o));
    }
    Ok(all)
}

fn annotations(db: &Connection, table: &str, id: &Json) -> Result<Vec<Json>, String> {
    let query = format!(
        "select a.id, a.discriminator as kind, a.ns, a.text_value as text, u.ome_name as owner
         from annotation a join {table} l on l.child = a.id join experimenter u on u.id = a.owner_id
         where l.parent = ?1 order by a.id"
    );
    let mut all = rows(db, &query, [id.as_i64()])?;
    for a in &mut all {
        if a["kind"] == "map" {
            let pairs = rows(
                db,
                "select name, value from annotation_map_value where annotation = ?1 order by position",
                [a["id"].as_i64()],
            )?;
            a["pairs"] = pairs.iter().map(|p| json!([p["name"], p["value"]])).collect();
        }
    }
    Ok(all)
}

/// Everything that was imported, as one JSON value.
fn contents(store: &Store) -> Result<Json, String> {
    let db = &store.db;
    let mut filesets = rows(
        db,
        "select f.id, u.ome_name as owner, g.name as \"group\", f.template_prefix as prefix,
                (select a.text_value from annotation a join fileset_annotation_link l on l.child = a.id
                 where l.parent = f.id and a.ns = 'openmicroscopy.org/omero/import/fileTransfer') as transfer
         from fileset f join experimenter u on u.id = f.owner_id join experimenter_group g on g.id = f.group_id
         order by f.id",
        [],
    )?;
    for f in &mut filesets {
        let id = f["id"].as_i64();
        let mut files = rows(
            db,
            "select e.client_path, o.path || o.name as stored, o.size, o.hash, o.hasher
             from fileset_entry e join original_file o on o.id = e.original_file
             where e.fileset = ?1 order by e.position",
            [id],
        )?;
        for file in &mut files {
            let stored = store.repository().join(file["stored"].as_str().unwrap_or_default());
            file["link"] = json!(stored);
            file["target"] = json!(std::fs::read_link(&stored).ok());
            file["present"] = json!(stored.symlink_metadata().is_ok());
            file["readable"] = json!(stored.exists());
        }
        f["files"] = Json::Array(files);
        let mut images = rows(
            db,
            "select i.id, i.name, i.description, i.series, u.ome_name as owner, g.name as \"group\",
                    (select group_concat(d.name, ', ') from dataset d join dataset_image_link l on l.parent = d.id
                     where l.child = i.id) as dataset
             from image i join experimenter u on u.id = i.owner_id join experimenter_group g on g.id = i.group_id
             where i.fileset = ?1 order by i.series, i.id",
            [id],
        )?;
        for i in &mut images {
            i["annotations"] = Json::Array(annotations(db, "image_annotation_link", &i["id"])?);
        }
        f["images"] = Json::Array(images);
        let mut plates = rows(
            db,
            "select distinct p.id, p.name,
                    (select group_concat(s.name, ', ') from screen s join screen_plate_link l on l.parent = s.id
                     where l.child = p.id) as screen
             from plate p join well w on w.plate = p.id join well_sample ws on ws.well = w.id
             join image i on i.id = ws.image where i.fileset = ?1 order by p.id",
            [id],
        )?;
        for p in &mut plates {
            p["annotations"] = Json::Array(annotations(db, "plate_annotation_link", &p["id"])?);
        }
        f["plates"] = Json::Array(plates);
        let mut all = annotations(db, "fileset_annotation_link", &f["id"])?;
        all.retain(|a| a["ns"] != crate::import::java::TRANSFER_NS);
        f["annotations"] = Json::Array(all);
    }
    let container = |table: &str| {
        rows(
            db,
            &format!(
                "select c.id, c.name, u.ome_name as owner, g.name as \"group\" from {table} c
                 join experimenter u on u.id = c.owner_id join experimenter_group g on g.id = c.group_id order by c.id"
            ),
            [],
        )
    };
    let links = rows(
        db,
        "select p.name as project, d.name as dataset, p.id as project_id, d.id as dataset_id
         from project_dataset_link l join project p on p.id = l.parent join dataset d on d.id = l.child order by l.id",
        [],
    )?;
    Ok(json!({
        "filesets": filesets,
        "datasets": container("dataset")?,
        "projects": container("project")?,
        "screens": container("screen")?,
        "project_datasets": links,
        "sessions": rows(db, "select s.uuid, u.ome_name as owner, g.name as \"group\", s.time_to_idle as idle_ms,
            v.ome_name as sudoer from session s join experimenter u on u.id = s.owner
            join experimenter_group g on g.id = s.grp left join experimenter v on v.id = s.sudoer
            where s.closed is null order by s.id", [])?,
    }))
}

fn show(store: &Store, as_json: bool) -> Done {
    let all = contents(store)?;
    if as_json {
        say!("{all:#}");
        return Ok(());
    }
    let word = |v: &Json| v.as_str().unwrap_or("-").to_owned();
    for f in all["filesets"].as_array().into_iter().flatten() {
        say!("Fileset:{}  {} ({})", f["id"], word(&f["owner"]), word(&f["group"]));
        for i in f["images"].as_array().into_iter().flatten() {
            say!("  Image:{}  {}  in {}", i["id"], word(&i["name"]), word(&i["dataset"]));
            notes(i);
        }
        for p in f["plates"].as_array().into_iter().flatten() {
            say!("  Plate:{}  {}  in {}", p["id"], word(&p["name"]), word(&p["screen"]));
            notes(p);
        }
        if f["images"].as_array().is_some_and(Vec::is_empty) {
            say!("  no images: a failed import");
        }
        for file in f["files"].as_array().into_iter().flatten() {
            let target = file["target"].as_str().map_or(String::new(), |t| format!(" -> {t}"));
            say!("  {}  {}{target}", word(&file["client_path"]), word(&file["link"]));
        }
        notes(f);
    }
    Ok(())
}

fn notes(of: &Json) {
    for a in of["annotations"].as_array().into_iter().flatten() {
        say!("    annotation {} {}", a["kind"].as_str().unwrap_or("-"), a["ns"].as_str().unwrap_or("-"));
        for p in a["pairs"].as_array().into_iter().flatten() {
            say!("      {} = {}", p[0].as_str().unwrap_or("-"), p[1].as_str().unwrap_or("-"));
        }
        if let Some(t) = a["text"].as_str() {
            say!("      {t}");
        }
    }
}

fn count(store: &Store, what: &str, owner: Option<&str>) -> Done {
    let class = match what {
        "images" => "Image",
        "filesets" => "Fileset",
        "datasets" => "Dataset",
        "plates" => "Plate",
        "annotations" => "Annotation",
        _ => return Err(USAGE.to_owned()),
    };
    let table = model::class(class).map_or("image", |c| c.table);
    let number: i64 = store
        .db
        .query_row(
            &format!(
                "select count(*) from {table} where ?1 is null
                 or owner_id = (select id from experimenter where ome_name = ?1)"
            ),
            [owner],
            |r| r.get(0),
        )
        .map_err(text)?;
    say!("{number}");
    Ok(())
}
