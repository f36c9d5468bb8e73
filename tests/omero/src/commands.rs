//! The smaller commands: `hql`, `sessions`, `delete`, `fs`, `group`, `user`.

use std::path::Path;

use rusqlite::OptionalExtension;

use crate::args::{Many, Namespace, Spec, Takes, flag, login_options, one, opt};
use crate::fault::Faults;
use crate::hql::{self, Cell};
use crate::model;
use crate::session::{Client, Connector, SessionFiles};
use crate::store::{Context, Store};
use crate::table::{STYLES, Style, render};
use crate::{Stop, die, login_spec, session_dir};

pub fn hql_spec(prog: &str) -> Spec {
    Spec::new(&format!("{prog} hql"))
        .with([
            flag(&["--admin", "--all"], "admin"),
            flag(&["--ids-only"], "ids_only"),
            one(&["--limit"], "limit").int(),
            one(&["--offset"], "offset").int(),
            one(&["--style"], "style").choices(STYLES),
        ])
        .with(login_options())
        .pos("query", Many::Optional)
}

fn sql_error(e: rusqlite::Error) -> Stop {
    let text = e.to_string();
    drop(e);
    die(1, format!("Traceback (most recent call last):\nomero.InternalException: {text}"))
}

/// One query, printed as a table.
pub fn hql(dir: &Path, args: &Namespace, faults: &mut Faults) -> Result<(), Stop> {
    let Some(query) = args.str("query") else {
        if args.flag("quiet") {
            return Err(die(67, "Can't ask for query with --quiet option".to_owned()));
        }
        return Err(die(
            1,
            "Traceback (most recent call last):\nEOFError: EOF when reading a line".to_owned(),
        ));
    };
    let client = Connector { dir, faults }.log_in(args)?;
    faults.strike("answer", None);
    if faults.take("bad-query", None, None).is_some() {
        return Err(die(52, "Bad query: stand-in fault".to_owned()));
    }
    let offset = args.int("offset").unwrap_or(0);
    let limit = args.int("limit").unwrap_or(25);
    let rows = hql::run(&client.store, &client.context, query, args.flag("admin"), offset, limit)
        .map_err(|e| die(52, format!("Bad query: {e}")))?;
    if let Some(f) = faults.take("garbage", None, None) {
        say!("{}", f.text.unwrap_or_else(|| "%$ no table".to_owned()));
    }
    if faults.take("no-output", None, None).is_some() {
        return Ok(());
    }
    let (headers, cells) = project(&client.store, &rows, args.flag("ids_only")).map_err(sql_error)?;
    say!("{}", render(Style::of(args.str("style")), &headers, &cells));
    Ok(())
}

/// Rows as the command shows them: a query for one object a row becomes a table
/// of that object's fields, anything else columns `Col1`, `Col2`...
fn project(
    store: &Store,
    rows: &[Vec<Cell>],
    ids_only: bool,
) -> rusqlite::Result<(Vec<String>, Vec<Vec<String>>)> {
    let mut headers = vec!["#".to_owned()];
    let mut table: Vec<Vec<(String, String)>> = Vec::new();
    for row in rows {
        let mut cells = Vec::new();
        if let ([Cell::Object(class, id)], false) = (row.as_slice(), ids_only) {
            cells.push(("Class".to_owned(), format!("{class}I")));
            cells.push(("Id".to_owned(), id.to_string()));
            cells.extend(fields(store, class, *id)?);
        } else {
            cells.extend(row.iter().enumerate().map(|(i, c)| (format!("Col{}", i + 1), c.show())));
        }
        for (name, _) in &cells {
            if !headers.contains(name) {
                headers.push(name.clone());
            }
        }
        table.push(cells);
    }
    let rows = table
        .into_iter()
        .enumerate()
        .map(|(number, cells)| {
            let mut line = vec![number.to_string()];
            for h in &headers[1..] {
                line.push(cells.iter().find(|(n, _)| n == h).map_or_else(String::new, |(_, v)| v.clone()));
            }
            line
        })
        .collect();
    Ok((headers, rows))
}

/// The fields of an object that hold something.
fn fields(store: &Store, class: &str, id: i64) -> rusqlite::Result<Vec<(String, String)>> {
    let Some(class) = model::class(class) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for p in class.props {
        let text = format!("select {} from {} where id = ?1", p.column, class.table);
        let value: Option<rusqlite::types::Value> =
            store.db.query_row(&text, [id], |r| r.get(0)).optional()?;
        let shown = match (value, p.kind) {
            (Some(rusqlite::types::Value::Integer(i)), model::Kind::Ref(c)) => Cell::Object(c, i).show(),
            (Some(rusqlite::types::Value::Integer(i)), model::Kind::Time) => Cell::Time(i).show(),
            (Some(rusqlite::types::Value::Integer(i)), model::Kind::Bool) => Cell::Bool(i != 0).show(),
            (Some(rusqlite::types::Value::Integer(i)), _) => i.to_string(),
            (Some(rusqlite::types::Value::Text(t)), _) if !t.is_empty() => t,
            _ => continue,
        };
        found.push((p.name.to_owned(), shown));
    }
    if class.owned {
        let details = store.db.query_row(
            &format!("select owner_id, group_id from {} where id = ?1", class.table),
            [id],
            |r| Ok(format!("owner={};group={}", r.get::<_, i64>(0)?, r.get::<_, i64>(1)?)),
        )?;
        found.push(("details".to_owned(), details));
    }
    Ok(found)
}

/// `omero sessions ...`
pub fn sessions(
    dir: &Path,
    prog: &str,
    rest: &[String],
    mut ns: Namespace,
    faults: &mut Faults,
) -> Result<i32, Stop> {
    const SUBS: &[&str] =
        &["login", "logout", "open", "close", "key", "file", "list", "timeout", "who", "clear", "keepalive"];
    let prog = format!("{prog} sessions");
    Spec::new(&prog).with(login_options()).pos("command_args", Many::Command).parse(rest, &mut ns)?;
    let words = ns.take_command();
    let Some(sub) = words.first().filter(|s| SUBS.contains(&s.as_str())) else {
        return Err(die(
            2,
            format!("usage: {prog} [-h] ...\n{prog}: error: argument <subcommand>: invalid choice"),
        ));
    };
    let spec = Spec::new(&format!("{prog} {sub}"));
    let rest = &words[1..];
    match sub.as_str() {
        "login" => {
            login_spec(&format!("{prog} login")).parse(rest, &mut ns)?;
            Connector { dir, faults }.log_in(&ns)?;
        }
        "logout" => {
            spec.with([session_dir()]).parse(rest, &mut ns)?;
            Connector { dir, faults }.log_out()?;
        }
        "key" | "file" => {
            spec.with([session_dir()]).parse(rest, &mut ns)?;
            let files = SessionFiles::open()?;
            let last = files.last();
            if let (Some(h), Some(u), Some(s)) = (last.host, last.user, last.session) {
                if sub == "key" {
                    say!("{s}");
                } else {
                    say!("{}", files.file(&h, &u, &s).display());
                }
            }
        }
        "open" => {
            spec.with([
                one(&["--user-id"], "open_user_id"),
                one(&["--user-name"], "open_user"),
                one(&["--group-id"], "open_group_id"),
                one(&["--group-name"], "open_group"),
                opt(&["--timeout"], "timeout", Takes::Perhaps).int(),
            ])
            .parse(rest, &mut ns)?;
            let wanted = ns.int("timeout").unwrap_or(0);
            ns.set("timeout", crate::args::Value::None);
            let client = Connector { dir, faults }.log_in(&ns)?;
            return open_session(&client, &ns, wanted);
        }
        "close" => {
            spec.pos("sessionId", Many::Optional).parse(rest, &mut ns)?;
            let client = Connector { dir, faults }.log_in(&ns)?;
            let key = ns.str("sessionId").unwrap_or_default();
            if client.store.close_session(key).map_err(sql_error)? {
                say!("Session {key} closed.");
            } else {
                complain!("No session with the given ID found.");
            }
        }
        "list" => {
            spec.with([flag(&["--no-purge"], "no_purge"), session_dir()]).parse(rest, &mut ns)?;
            list_sessions(dir, faults, ns.flag("no_purge"))?;
        }
        "clear" => {
            spec.with([flag(&["--all"], "all"), session_dir()]).parse(rest, &mut ns)?;
            let files = SessionFiles::open()?;
            let all = files.all();
            for (host, user, uuid) in &all {
                if let Ok(store) = Store::open(dir) {
                    let _ = store.close_session(uuid);
                }
                files.remove(host, user, uuid);
            }
            say!("{} session(s) cleared", all.len());
        }
        "timeout" => {
            spec.with([one(&["--session"], "session")])
                .pos("seconds", Many::Optional)
                .parse(rest, &mut ns)?;
            let client = Connector { dir, faults }.log_in(&ns)?;
            let key = ns.str("session").unwrap_or(&client.context.session).to_owned();
            let Ok(context) = client.store.join(&key) else {
                return Err(die(557, format!("cannot get session: {key}")));
            };
            match ns.int("seconds") {
                None => {
                    let (s, ms) = (context.idle_ms / 1000, context.idle_ms % 1000);
                    say!("{s}.{}", if ms == 0 { "0".to_owned() } else { format!("{ms:03}") });
                }
                Some(s) => {
                    client.store.set_idle(&key, s * 1000).map_err(sql_error)?;
                }
            }
        }
        "keepalive" => {
            spec.with([one(&["-f", "--frequency"], "frequency").int(), session_dir()])
                .parse(rest, &mut ns)?;
            Connector { dir, faults }.log_in(&ns)?;
            say!("Running keep alive every {} seconds", ns.str("frequency").unwrap_or("60"));
            say!("Press enter to cancel.");
            let _ = std::io::stdin().read_line(&mut String::new());
        }
        _ => {
            spec.with([flag(&["--show-uuid"], "show_uuid")]).parse(rest, &mut ns)?;
            let client = Connector { dir, faults }.log_in(&ns)?;
            who(&client)?;
        }
    }
    Ok(0)
}

fn open_session(client: &Client, ns: &Namespace, seconds: i64) -> Result<i32, Stop> {
    let c = &client.context;
    if !c.admin {
        return Err(die(111, "SecurityViolation: Admins only!".to_owned()));
    }
    if !c.privileges.iter().any(|p| p == "Sudo") {
        return Err(die(111, "SecurityViolation: Admins only! Restricted by: Sudo".to_owned()));
    }
    let Some(user) = ns.str("open_user") else {
        return Err(die(156, "No user found".to_owned()));
    };
    let group = ns.str("open_group");
    let made = client
        .store
        .sudo(c, user, group, 0, seconds * 1000)
        .map_err(|e| die(1, format!("Traceback (most recent call last):\n{e:?}")))?;
    let in_group = group.map_or(String::new(), |g| format!(" in group {g}"));
    complain!("Session created for user {user}{in_group} (timeToIdle: 0 sec, timeToLive: {seconds} sec)");
    say!("{}", made.session);
    Ok(0)
}

fn list_sessions(dir: &Path, faults: &mut Faults, keep: bool) -> Result<(), Stop> {
    let files = SessionFiles::open()?;
    let last = files.last();
    let _ = faults;
    let headers: Vec<String> =
        ["Server", "User", "Group", "Session", "Active", "Started"].map(str::to_owned).to_vec();
    let mut rows = Vec::new();
    for (host, user, uuid) in files.all() {
        let joined = Store::open(dir).ok().and_then(|s| s.join(&uuid).ok());
        let (group, mut active) = match joined {
            Some(c) => (c.group_name, "True".to_owned()),
            None if !keep => {
                files.remove(&host, &user, &uuid);
                continue;
            }
            None => ("Unknown".to_owned(), "Unknown exception".to_owned()),
        };
        if last.session.as_deref() == Some(uuid.as_str()) {
            "Logged in".clone_into(&mut active);
        }
        rows.push(vec![host, user, group, uuid, active, "Unknown".to_owned()]);
    }
    say!("{}", render(Style::Sql, &headers, &rows));
    Ok(())
}

fn who(client: &Client) -> Result<(), Stop> {
    let mut q = client
        .store
        .db
        .prepare(
            "select u.ome_name, g.name, s.started from session s join experimenter u on u.id = s.owner
             join experimenter_group g on g.id = s.grp where s.closed is null order by s.id",
        )
        .map_err(sql_error)?;
    let rows: Vec<Vec<String>> = q
        .query_map([], |r| Ok(vec![r.get(0)?, r.get(1)?, Cell::Time(r.get(2)?).show()]))
        .and_then(Iterator::collect)
        .map_err(sql_error)?;
    say!("{}", render(Style::Sql, &["name", "group", "logged in"].map(str::to_owned), &rows));
    Ok(())
}

pub fn delete_spec(prog: &str) -> Spec {
    Spec::new(&format!("{prog} delete"))
        .with([
            one(&["--wait"], "wait").int(),
            one(&["--include"], "include"),
            one(&["--exclude"], "exclude"),
            flag(&["--ordered"], "ordered"),
            flag(&["--report"], "report"),
            flag(&["--dry-run"], "dry_run"),
            flag(&["--force"], "force"),
        ])
        .with(login_options())
        .pos("obj", Many::Any)
}

/// `Image:1,2`, `Image:1-5`: the class, the ids, and whether it was a range.
fn graph_argument(text: &str) -> Option<(String, Vec<i64>, bool)> {
    let (class, list) = text.split_once(':')?;
    let (mut ids, mut range) = (Vec::new(), false);
    for part in list.split(',') {
        match part.split_once('-') {
            Some((low, high)) => {
                range = true;
                ids.extend(low.parse::<i64>().ok()?..=high.parse::<i64>().ok()?);
            }
            None => ids.push(part.parse().ok()?),
        }
    }
    Some((class.to_owned(), ids, range))
}

/// `omero delete`: what fails is told on standard error, the exit code stays 0.
pub fn delete(dir: &Path, args: &Namespace, faults: &mut Faults) -> Result<(), Stop> {
    let client = Connector { dir, faults }.log_in(args)?;
    faults.strike("answer", None);
    if args.list("obj").is_empty() {
        return Err(die(440, "no object targets supplied for graph operation".to_owned()));
    }
    let mut shown = Vec::new();
    let mut dry = args.flag("dry_run");
    let mut work = Vec::new();
    for o in args.list("obj") {
        let parsed = graph_argument(o).filter(|(c, ..)| model::class(c).is_some_and(|c| c.owned));
        let Some((class, ids, range)) = parsed else {
            return Err(die(2, format!("omero delete: error: argument obj: invalid GraphArg value: '{o}'")));
        };
        dry |= range && !args.flag("force");
        shown.push(format!("{class}:{}", ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")));
        work.push((class, ids));
    }
    say_on!("omero.cmd.Delete2 {} ", shown.join(" "));
    let tx = client.store.db.unchecked_transaction().map_err(sql_error)?;
    for (class, ids) in &work {
        for id in ids {
            if let Err(why) = delete_one(&client.store, &client.context, class, *id).map_err(sql_error)? {
                complain!("failed: 'graph-fail'\nfailed: {why}");
                return Ok(());
            }
        }
    }
    if dry {
        say!("Dry run performed");
    } else {
        tx.commit().map_err(sql_error)?;
        remove_orphans(&client.store).map_err(sql_error)?;
    }
    say!("ok");
    Ok(())
}

pub fn delete_one(
    store: &Store,
    context: &Context,
    class: &str,
    id: i64,
) -> rusqlite::Result<Result<(), String>> {
    let Some(c) = model::class(class) else { return Ok(Err("no class".to_owned())) };
    let readable = store.readable(context, "o", true)?;
    let found: Option<(i64, i64)> = store
        .db
        .query_row(
            &format!("select owner_id, group_id from {} o where o.id = ?1 and {readable}", c.table),
            [id],
            |r| Ok((r.get(0)?, r.get(1)?)),
        )
        .optional()?;
    let Some((owner, group)) = found else {
        return Ok(Err(format!("cannot read {}[{id}]", c.full_name())));
    };
    if !store.may_link(context, owner, group, false)? {
        return Ok(Err(format!("not permitted to delete ome.model.{}.{class}[{id}]", c.package)));
    }
    let run = |text: &str| store.db.execute(text, [id]);
    match class {
        "Fileset" => {
            // The images of a plate go with the plate alone.
            let held: Option<(i64, i64)> = store
                .db
                .query_row(
                    "select i.id, s.id from image i join well_sample s on s.image = i.id where i.fileset = ?1",
                    [id],
                    |r| Ok((r.get(0)?, r.get(1)?)),
                )
                .optional()?;
            if let Some((image, sample)) = held {
                return Ok(Err(format!("may not delete Image[{image}] while WellSample[{sample}] remains")));
            }
            delete_images(store, "select id from image where fileset = ?1", id)?;
            run("delete from fileset_annotation_link where parent = ?1")?;
            run(
                "update original_file set size = -1 where id in (select original_file from fileset_entry where fileset = ?1)",
            )?;
            run("delete from fileset_entry where fileset = ?1")?;
            run("delete from fileset where id = ?1")?;
            store.log_deletion(context, c.package, class, id)?;
        }
        "Image" => {
            let siblings: i64 = store.db.query_row(
                "select count(*) from image where fileset = (select fileset from image where id = ?1)",
                [id],
                |r| r.get(0),
            )?;
            if siblings > 1 {
                return Ok(Err(format!(
                    "cannot remove ome.model.core.Image[{id}] while its fileset has other images"
                )));
            }
            let fileset: Option<i64> =
                store.db.query_row("select fileset from image where id = ?1", [id], |r| r.get(0))?;
            delete_images(store, "select ?1", id)?;
            if let Some(f) = fileset {
                return delete_one(store, context, "Fileset", f);
            }
        }
        "Plate" => {
            let mut q = store.db.prepare(
                "select distinct i.fileset from image i join well_sample s on s.image = i.id
                 join well w on w.id = s.well where w.plate = ?1 and i.fileset is not null",
            )?;
            let filesets: Vec<i64> = q.query_map([id], |r| r.get(0))?.collect::<Result<_, _>>()?;
            for text in [
                "delete from well_sample where well in (select id from well where plate = ?1)",
                "delete from well where plate = ?1",
                "delete from plate_annotation_link where parent = ?1",
                "delete from screen_plate_link where child = ?1",
                "delete from plate where id = ?1",
            ] {
                run(text)?;
            }
            for fileset in filesets {
                if let Err(why) = delete_one(store, context, "Fileset", fileset)? {
                    return Ok(Err(why));
                }
            }
        }
        _ => {
            for m in c
                .many
                .iter()
                .filter_map(|m| Some((model::class(m.class)?, m.back)))
                .filter(|(c, _)| c.is_link())
            {
                run(&format!("delete from {} where {} = ?1", m.0.table, m.1))?;
            }
            run(&format!("delete from {} where id = ?1", c.table))?;
        }
    }
    Ok(Ok(()))
}

fn delete_images(store: &Store, which: &str, id: i64) -> rusqlite::Result<()> {
    for text in [
        "delete from dataset_image_link where child in",
        "delete from image_annotation_link where parent in",
        "delete from pixels where image in",
        "delete from well_sample where image in",
        "delete from image where id in",
    ] {
        store.db.execute(&format!("{text} ({which})"), [id])?;
    }
    Ok(())
}

/// Files of deleted filesets leave the repository: of a symbolic link only the
/// link, never what it points to.
pub fn remove_orphans(store: &Store) -> rusqlite::Result<()> {
    let mut q = store.db.prepare("select id, path, name from original_file where size = -1")?;
    let rows: Vec<(i64, String, String)> =
        q.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?.collect::<Result<_, _>>()?;
    for (id, path, name) in rows {
        let _ = std::fs::remove_file(store.repository().join(path).join(name));
        store.db.execute("delete from original_file where id = ?1", [id])?;
    }
    Ok(())
}

pub fn download_spec(prog: &str) -> Spec {
    Spec::new(&format!("{prog} download"))
        .with(login_options())
        .pos("object", Many::Optional)
        .pos("filename", Many::Optional)
}

/// `omero download`: one file, or all of a fileset (or of an image's) into a directory. Whoever may read the row of a
/// file gets its bytes, whether or not the import that brought it made an image.
pub fn download(dir: &Path, args: &Namespace, faults: &mut Faults) -> Result<(), Stop> {
    let usage = |what: &str| die(2, format!("omero download: error: {what}"));
    let (Some(object), Some(to)) = (args.str("object"), args.str("filename")) else {
        return Err(usage("too few arguments"));
    };
    let (class, id) = object.split_once(':').unwrap_or(("OriginalFile", object));
    let id: i64 = id.parse().map_err(|_| usage(&format!("argument object: invalid value: '{object}'")))?;
    let client = Connector { dir, faults }.log_in(args)?;
    let rows =
        |query: String| hql::run(&client.store, &client.context, &query, true, 0, -1).map_err(|e| die(1, e));
    let missing = || die(601, format!("No {class} with input ID: {id}"));
    let fileset = match class {
        "OriginalFile" => {
            let found = rows(format!("select f.path, f.name from OriginalFile f where f.id = {id}"))?;
            let row = found.first().ok_or_else(|| die(601, "No OriginalFile with input ID".to_owned()))?;
            return fetch(&client.store, id, &row[0].show(), &row[1].show(), to);
        }
        "Fileset" => id,
        "Image" => {
            let found = rows(format!("select i.fileset.id from Image i where i.id = {id}"))?;
            found.first().and_then(|r| r[0].show().parse().ok()).ok_or_else(missing)?
        }
        _ => return Err(die(601, "Invalid object input. Use e.g. Image:ID".to_owned())),
    };
    let prefix = rows(format!("select f.templatePrefix from Fileset f where f.id = {fileset}"))?;
    let prefix = prefix.first().map(|r| r[0].show()).ok_or_else(missing)?;
    say!("Fileset: {fileset}");
    let files = rows(format!(
        "select f.id, f.path, f.name from FilesetEntry e join e.originalFile f where e.fileset.id = {fileset} order by e.id"
    ))?;
    for file in files {
        let (path, name) = (file[1].show(), file[2].show());
        let directory = Path::new(to).join(path.replace(&prefix, ""));
        std::fs::create_dir_all(&directory).map_err(|e| die(1, e.to_string()))?;
        let target = directory.join(&name);
        fetch(&client.store, file[0].show().parse().unwrap_or(0), &path, &name, &target.to_string_lossy())?;
    }
    Ok(())
}

/// Copies the bytes of one file, through the link in the repository.
fn fetch(store: &Store, id: i64, path: &str, name: &str, to: &str) -> Result<(), Stop> {
    let from = store.repository().join(path).join(name);
    let failed = |e: std::io::Error| {
        die(67, format!("ResourceError: Cannot read OriginalFile:{id} ({}): {e}", from.display()))
    };
    let bytes = std::fs::read(&from).map_err(failed)?;
    if to == "-" {
        say_on!("{}", String::from_utf8_lossy(&bytes));
        return Ok(());
    }
    say!("Downloading file ID: {id} to {to}");
    if Path::new(to).exists() {
        say!("File exists! Skipping...");
        return Ok(());
    }
    std::fs::write(to, bytes).map_err(|e| die(1, format!("Traceback (most recent call last):\n{e}: '{to}'")))
}

/// The id of the managed repository.
pub const REPOSITORY: &str = "00000000-0000-4000-8000-000000000001";

/// `omero fs sets|ls|repos|logfile`
pub fn fs(
    dir: &Path,
    prog: &str,
    rest: &[String],
    mut ns: Namespace,
    faults: &mut Faults,
) -> Result<i32, Stop> {
    let prog = format!("{prog} fs");
    Spec::new(&prog).with(login_options()).pos("command_args", Many::Command).parse(rest, &mut ns)?;
    let words = ns.take_command();
    let sub = words.first().map_or("", String::as_str);
    let rest = words.get(1..).unwrap_or_default();
    let style = || one(&["--style"], "style").choices(STYLES);
    let spec = Spec::new(&format!("{prog} {sub}")).with(login_options());
    match sub {
        "sets" => {
            spec.with([
                style(),
                one(&["--limit"], "limit").int(),
                one(&["--offset"], "offset").int(),
                one(&["--order"], "order").choices(&["newest", "oldest", "prefix"]),
                flag(&["--without-images"], "without_images"),
                one(&["--with-transfer"], "with_transfer").append(),
                flag(&["--check"], "check"),
            ])
            .parse(rest, &mut ns)?;
            let client = Connector { dir, faults }.log_in(&ns)?;
            sets(&client, &ns)?;
        }
        "ls" => {
            spec.pos("fileset", Many::Optional).parse(rest, &mut ns)?;
            let client = Connector { dir, faults }.log_in(&ns)?;
            let id = fileset_id(&ns)?;
            let q = format!(
                "select f.path, f.name from FilesetEntry e join e.originalFile f where e.fileset.id = {id} order by e.id"
            );
            let rows = hql::run(&client.store, &client.context, &q, true, 0, -1).map_err(|e| die(1, e))?;
            for r in rows {
                say!("{}{}", r[0].show(), r[1].show());
            }
        }
        "logfile" => {
            spec.with([flag(&["--name"], "name"), flag(&["--size"], "size")])
                .pos("fileset", Many::Optional)
                .pos("filename", Many::Optional)
                .parse(rest, &mut ns)?;
            let client = Connector { dir, faults }.log_in(&ns)?;
            let id = fileset_id(&ns)?;
            let q = format!("select f.templatePrefix from Fileset f where f.id = {id}");
            let rows = hql::run(&client.store, &client.context, &q, true, 0, -1).map_err(|e| die(1, e))?;
            let Some(prefix) = rows.first().map(|r| r[0].show()) else {
                return Err(die(117, format!("Fileset {id} is not accessible")));
            };
            say!("{}", prefix.trim_end_matches('/').to_owned() + ".log");
        }
        "repos" => {
            spec.with([style(), flag(&["--managed"], "managed")]).parse(rest, &mut ns)?;
            let client = Connector { dir, faults }.log_in(&ns)?;
            let headers = ["#", "Id", "UUID", "Managed", "Path"].map(str::to_owned);
            let path = client.store.repository().display().to_string();
            let row = ["0", "1", REPOSITORY, "True", &path].map(str::to_owned);
            say!("{}", render(Style::of(ns.str("style")), &headers, &[row.to_vec()]));
        }
        _ => {
            return Err(die(
                2,
                format!("usage: {prog} [-h] ...\n{prog}: error: argument <subcommand>: invalid choice"),
            ));
        }
    }
    Ok(0)
}

fn fileset_id(ns: &Namespace) -> Result<i64, Stop> {
    ns.str("fileset")
        .and_then(|f| f.strip_prefix("Fileset:").unwrap_or(f).parse().ok())
        .ok_or_else(|| die(2, "omero fs: error: argument fileset: invalid value".to_owned()))
}

fn sets(client: &Client, ns: &Namespace) -> Result<(), Stop> {
    use crate::import::java::transfer_class;
    let store = &client.store;
    let readable = store.readable(&client.context, "f", true).map_err(sql_error)?;
    let order = match ns.str("order") {
        Some("oldest") => "f.id asc",
        Some("prefix") => "f.template_prefix",
        _ => "f.id desc",
    };
    let empty = if ns.flag("without_images") {
        "and not exists (select 1 from image i where i.fileset = f.id)"
    } else {
        ""
    };
    let text = format!(
        "select f.id, f.template_prefix, (select count(*) from image i where i.fileset = f.id),
                (select count(*) from fileset_entry e where e.fileset = f.id),
                (select a.text_value from annotation a join fileset_annotation_link l on l.child = a.id
                 where l.parent = f.id and a.ns = 'openmicroscopy.org/omero/import/fileTransfer' limit 1)
         from fileset f where {readable} {empty} order by {order} limit {} offset {}",
        ns.int("limit").unwrap_or(25),
        ns.int("offset").unwrap_or(0)
    );
    let mut q = store.db.prepare(&text).map_err(sql_error)?;
    let found: Vec<(i64, String, i64, i64, Option<String>)> = q
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?)))
        .and_then(Iterator::collect)
        .map_err(sql_error)?;
    let wanted: Vec<&str> = ns.list("with_transfer").iter().filter_map(|t| transfer_class(t)).collect();
    let mut headers: Vec<String> =
        ["#", "Id", "Prefix", "Images", "Files", "Transfer"].map(str::to_owned).to_vec();
    if ns.flag("check") {
        headers.push("Check".to_owned());
    }
    let mut rows = Vec::new();
    for (id, prefix, images, files, class) in found {
        let class = class.unwrap_or_default();
        if !wanted.is_empty() && !wanted.contains(&class.as_str()) {
            continue;
        }
        let mut row = vec![
            rows.len().to_string(),
            id.to_string(),
            prefix,
            images.to_string(),
            files.to_string(),
            class,
        ];
        if ns.flag("check") {
            row.push(check(store, id).map_err(sql_error)?);
        }
        rows.push(row);
    }
    say!("{}", render(Style::of(ns.str("style")), &headers, &rows));
    Ok(())
}

/// Whether the files still have the checksums they were imported with.
fn check(store: &Store, fileset: i64) -> rusqlite::Result<String> {
    let mut q = store.db.prepare(
        "select f.path, f.name, f.hash, f.hasher from original_file f
         join fileset_entry e on e.original_file = f.id where e.fileset = ?1",
    )?;
    let rows: Vec<(String, String, Option<String>, Option<String>)> = q
        .query_map([fileset], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?
        .collect::<Result<_, _>>()?;
    if rows.is_empty() {
        return Ok("Empty".to_owned());
    }
    let good = rows.iter().all(|(path, name, hash, hasher)| {
        let file = store.repository().join(path).join(name);
        let (Some(hash), Some(hasher)) = (hash, hasher) else { return false };
        crate::import::java::checksum(hasher, &file).is_ok_and(|h| h == *hash)
    });
    Ok(if good { "OK" } else { "ERROR!" }.to_owned())
}

/// `omero group list`, `omero user list`
pub fn people(
    dir: &Path,
    prog: &str,
    command: &str,
    rest: &[String],
    mut ns: Namespace,
    faults: &mut Faults,
) -> Result<i32, Stop> {
    let prog = format!("{prog} {command}");
    Spec::new(&prog).with(login_options()).pos("command_args", Many::Command).parse(rest, &mut ns)?;
    let words = ns.take_command();
    if words.first().map(String::as_str) != Some("list") {
        return Err(die(
            2,
            format!("usage: {prog} [-h] ...\n{prog}: error: argument <subcommand>: invalid choice"),
        ));
    }
    Spec::new(&format!("{prog} list"))
        .with(login_options())
        .with([one(&["--style"], "style").choices(STYLES)])
        .parse(&words[1..], &mut ns)?;
    let client = Connector { dir, faults }.log_in(&ns)?;
    let (headers, text): (&[&str], &str) = if command == "group" {
        (
            &["id", "name", "perms", "ldap", "members"],
            "select id, name, permissions, case ldap when 0 then 'False' else 'True' end,
                    (select group_concat(child) from group_experimenter_map m where m.parent = g.id)
             from experimenter_group g order by id",
        )
    } else {
        (
            &["id", "login", "first name", "last name", "active"],
            "select id, ome_name, first_name, last_name, case active when 0 then '' else 'Yes' end
             from experimenter order by id",
        )
    };
    let mut q = client.store.db.prepare(text).map_err(sql_error)?;
    let rows: Vec<Vec<String>> = q
        .query_map([], |r| {
            Ok(vec![
                r.get::<_, i64>(0)?.to_string(),
                r.get(1)?,
                r.get(2)?,
                r.get(3)?,
                r.get::<_, Option<String>>(4)?.unwrap_or_default(),
            ])
        })
        .and_then(Iterator::collect)
        .map_err(sql_error)?;
    let headers: Vec<String> = headers.iter().map(|h| (*h).to_owned()).collect();
    say!("{}", render(Style::of(ns.str("style")), &headers, &rows));
    Ok(0)
}
