//! `omero obj`: single objects made, changed and read. Commands come as
//! arguments or, with `--file`, one a line; each one is saved by itself.

use std::io::Read;

use rusqlite::{OptionalExtension, params};

use crate::args::{Many, Namespace, Spec, login_options, one};
use crate::fault::Faults;
use crate::model::{self, Class, Kind, Prop};
use crate::session::Connector;
use crate::store::{Context, Store};
use crate::{Stop, die, shell};

const ACTIONS: &[&str] =
    &["new", "update", "null", "map-get", "map-set", "get", "list-get", "ext-info-get", "ext-info-set"];

pub fn spec(prog: &str) -> Spec {
    Spec::new(&format!("{prog} obj"))
        .with(login_options())
        .with([one(&["--file"], "file")])
        .pos_choice("command", ACTIONS)
        .pos("Class", Many::Optional)
        .pos("fields", Many::Any)
}

/// One command: where its result goes, what to do, to which object, how.
#[derive(Debug)]
struct Action {
    variable: Option<String>,
    words: Vec<String>,
}

/// What earlier commands printed, by row and by name.
#[derive(Default)]
struct Results {
    rows: Vec<Option<String>>,
    names: Vec<(String, String)>,
}

/// A Python exception that the command does not catch: traceback, exit 1.
fn uncaught(exception: String) -> Stop {
    die(1, format!("Traceback (most recent call last):\n  File \"obj.py\"\n{exception}"))
}

/// Splits `name = rest` (a blank after the sign is needed).
fn variable(line: &str) -> (Option<String>, &str) {
    let trimmed = line.trim_start();
    let end = trimmed.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(trimmed.len());
    let (name, rest) = trimmed.split_at(end);
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return (None, line);
    }
    match rest.trim_start().strip_prefix('=') {
        Some(r) if r.starts_with(char::is_whitespace) => (Some(name.to_owned()), &r[1..]),
        _ => (None, line),
    }
}

fn parse_line(line: &str) -> Result<Action, Stop> {
    let (name, rest) = variable(line);
    let words = shell::split(rest).map_err(|e| die(1, e))?;
    let Some(first) = words.first() else {
        return Err(uncaught("IndexError: list index out of range".to_owned()));
    };
    if !ACTIONS.contains(&first.as_str()) {
        return Err(die(100, format!("Unknown command: {}", words.join(" "))));
    }
    Ok(Action { variable: name, words })
}

/// Runs the command; `stdin` gets what was read there.
pub fn run(
    args: &Namespace,
    dir: &std::path::Path,
    faults: &mut Faults,
    stdin: &mut Option<String>,
) -> Result<(), Stop> {
    let mut actions = Vec::new();
    if let Some(command) = args.str("command") {
        if let Some(f) = args.str("file") {
            complain!("Ignoring {f}");
        }
        let mut words = vec![command.to_owned()];
        words.extend(args.str("Class").map(str::to_owned));
        words.extend_from_slice(args.list("fields"));
        actions.push(Action { variable: None, words });
    } else if let Some(file) = args.str("file") {
        // Everything is parsed before anything is done. In a file a carriage
        // return ends a line, inside quotes or not; on standard input it does not.
        let text = if file == "-" {
            let mut bytes = Vec::new();
            let _ = std::io::stdin().read_to_end(&mut bytes);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            *stdin = Some(text.clone());
            text
        } else {
            let bytes = std::fs::read(file).map_err(|_| die(337, "Cannot read file".to_owned()))?;
            String::from_utf8_lossy(&bytes).replace("\r\n", "\n").replace('\r', "\n")
        };
        for line in text.split('\n').map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            actions.push(parse_line(line)?);
        }
    } else {
        return Err(die(100, "No command provided".to_owned()));
    }
    if actions.is_empty() {
        return Ok(());
    }
    let client = Connector { dir, faults }.log_in(args)?;
    let mut server =
        Server { store: client.store, context: client.context, faults, results: Results::default() };
    for a in &actions {
        server.act(a)?;
    }
    Ok(())
}

struct Server<'a> {
    store: Store,
    context: Context,
    faults: &'a Faults,
    results: Results,
}

/// A row of an object's table.
struct Object {
    class: &'static Class,
    id: i64,
    owner: i64,
    group: i64,
}

impl Server<'_> {
    fn act(&mut self, a: &Action) -> Result<(), Stop> {
        self.faults.strike("answer", a.words.get(1).map(String::as_str));
        self.results.rows.push(None);
        let printed = match a.words[0].as_str() {
            "new" => self.create(a)?,
            "update" => self.update(a)?,
            "null" => self.null(a)?,
            "get" => self.get(a)?,
            "map-set" => self.map_set(a)?,
            "map-get" => self.map_get(a)?,
            "list-get" => self.list_get(a)?,
            other => return Err(die(99, format!("stand-in: obj {other} is not modelled"))),
        };
        say!("{printed}");
        if let Some(row) = self.results.rows.last_mut() {
            *row = Some(printed.clone());
        }
        if let Some(v) = &a.variable {
            self.results.names.retain(|(n, _)| n != v);
            self.results.names.push((v.clone(), printed));
        }
        Ok(())
    }

    fn class(a: &Action) -> Result<&'static Class, Stop> {
        let Some(object) = a.words.get(1) else {
            return Err(die(102, "No object argument provided. Use e.g. 'Image:123'".to_owned()));
        };
        let name = object.split(':').next().unwrap_or_default();
        let short = name.strip_suffix('I').filter(|s| model::class(s).is_some()).unwrap_or(name);
        model::class(short)
            .filter(|c| c.name != "NamedValue")
            .ok_or_else(|| die(102, format!("No class named '{short}I'")))
    }

    fn object(&self, a: &Action) -> Result<Object, Stop> {
        let class = Self::class(a)?;
        let id = a.words[1].split(':').nth(1).and_then(|i| i.trim().parse::<i64>().ok());
        let Some(id) = id else {
            return Err(die(334, format!("No id given for {0}. Use e.g. '{0}:123'", class.name)));
        };
        self.find(class, id)?.ok_or_else(|| die(334, format!("No object found: {}:{id}", class.name)))
    }

    /// An object that the session may read, in whichever group it is.
    fn find(&self, class: &'static Class, id: i64) -> Result<Option<Object>, Stop> {
        let sql = |e: rusqlite::Error| uncaught(format!("omero.InternalException: {e}"));
        if !class.owned {
            return self
                .store
                .db
                .query_row(&format!("select id from {} where id = ?1", class.table), [id], |r| {
                    Ok(Object { class, id: r.get(0)?, owner: 0, group: 0 })
                })
                .optional()
                .map_err(sql);
        }
        let readable = self.store.readable(&self.context, "o", true).map_err(sql)?;
        let filter = class.filter.map_or(String::new(), |f| format!(" and o.discriminator = '{f}'"));
        self.store
            .db
            .query_row(
                &format!(
                    "select o.id, o.owner_id, o.group_id from {} o where o.id = ?1 and {readable}{filter}",
                    class.table
                ),
                [id],
                |r| Ok(Object { class, id: r.get(0)?, owner: r.get(1)?, group: r.get(2)? }),
            )
            .optional()
            .map_err(sql)
    }

    /// `field=value` words as columns and values; `bad` is the exit code for a
    /// value that is no reference.
    fn fields(
        &self,
        class: &'static Class,
        words: &[String],
        bad: i32,
    ) -> Result<Vec<(&'static Prop, rusqlite::types::Value)>, Stop> {
        let mut found = Vec::new();
        for word in words {
            let end = word.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(word.len());
            let (name, rest) = word.split_at(end);
            let (reference, value) = match (rest.strip_prefix("@="), rest.strip_prefix('=')) {
                (Some(v), _) => (true, v),
                (_, Some(v)) => (false, v),
                _ => return Err(uncaught(format!("Exception: Unparseable argument: {word}"))),
            };
            let value = if reference { self.reference(value)? } else { value.to_owned() };
            let Some(prop) = class.prop(name) else {
                let mut capital = name.to_owned();
                if let Some(first) = capital.get_mut(..1) {
                    first.make_ascii_uppercase();
                }
                return Err(uncaught(format!(
                    "AttributeError: '{0}I' object has no attribute 'getSet{capital}' or 'isSet{capital}'",
                    class.name
                )));
            };
            found.push((prop, typed(prop, &value, bad)?));
        }
        Ok(found)
    }

    fn reference(&self, text: &str) -> Result<String, Stop> {
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            let row = text.parse::<usize>().ok().and_then(|i| self.results.rows.get(i));
            return match row {
                Some(Some(r)) => Ok(r.clone()),
                _ => Err(uncaught("IndexError: list index out of range".to_owned())),
            };
        }
        let known = self.results.names.iter().find(|(n, _)| n == text);
        known.map(|(_, v)| v.clone()).ok_or_else(|| uncaught(format!("KeyError: '{text}'")))
    }

    fn create(&mut self, a: &Action) -> Result<String, Stop> {
        let class = Self::class(a)?;
        let fields = self.fields(class, &a.words[2..], 333)?;
        let missing: Vec<&str> = class
            .props
            .iter()
            .filter(|p| p.required && !fields.iter().any(|(f, _)| f.name == p.name))
            .map(|p| p.name)
            .collect();
        if !missing.is_empty() {
            return Err(die(103, format!("required arguments: {}", missing.join(", "))));
        }
        let failed = |why: &str| die(336, format!("Failed to create {} - {why}", class.name));
        if self.faults.take("save-error", None, None).is_some() {
            return Err(failed("stand-in fault"));
        }
        if !class.owned || class.table == "annotation" && class.filter.is_none() {
            return Err(failed("SecurityViolation"));
        }
        if class.is_link() {
            self.check_link(class, &fields).map_err(|e| failed(&e))?;
        }
        let save = || -> rusqlite::Result<i64> {
            let event = self.store.event(&self.context)?;
            let mut columns: Vec<String> = fields.iter().map(|(p, _)| p.column.to_owned()).collect();
            let mut values: Vec<rusqlite::types::Value> = fields.iter().map(|(_, v)| v.clone()).collect();
            if let Some(f) = class.filter {
                columns.push("discriminator".to_owned());
                values.push(f.to_owned().into());
            }
            for (column, value) in [
                ("owner_id", self.context.user),
                ("group_id", self.context.group),
                ("creation_event", event),
                ("update_event", event),
            ] {
                columns.push(column.to_owned());
                values.push(value.into());
            }
            let marks = vec!["?"; values.len()].join(", ");
            self.store.db.execute(
                &format!("insert into {} ({}) values ({marks})", class.table, columns.join(", ")),
                rusqlite::params_from_iter(values),
            )?;
            Ok(self.store.db.last_insert_rowid())
        };
        let id = save().map_err(|e| {
            if e.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) {
                failed("could not insert: duplicate key value violates unique constraint")
            } else {
                failed(&e.to_string())
            }
        })?;
        Ok(format!("{}:{id}", class.name))
    }

    /// Both ends of a link must be readable, in this group, and the parent one
    /// that may be annotated or filled.
    fn check_link(
        &self,
        class: &'static Class,
        fields: &[(&'static Prop, rusqlite::types::Value)],
    ) -> Result<(), String> {
        for (prop, value) in fields {
            let (Kind::Ref(name), rusqlite::types::Value::Integer(id)) = (prop.kind, value) else { continue };
            let target = model::class(name).ok_or("no class")?;
            let o = self.find(target, *id).map_err(|_| "internal".to_owned())?.ok_or_else(|| {
                format!("could not insert: ome.model.{} with id {id} not found", target.name)
            })?;
            if o.group != self.context.group {
                return Err(format!(
                    "MixedGroup: ome.model.{}:{id} is in group {} and not in {}",
                    target.name, o.group, self.context.group
                ));
            }
            let annotation = class.name.ends_with("AnnotationLink");
            if prop.name == "parent"
                && !self
                    .store
                    .may_link(&self.context, o.owner, o.group, annotation)
                    .map_err(|e| e.to_string())?
            {
                return Err(format!("SecurityViolation: Cannot link to ome.model.{}:Id_{id}", target.name));
            }
        }
        Ok(())
    }

    fn may_write(&self, o: &Object) -> Result<(), Stop> {
        let failed = |why: &str| die(336, format!("Failed to update {}:{} - {why}", o.class.name, o.id));
        if self.faults.take("save-error", None, None).is_some() {
            return Err(failed("stand-in fault"));
        }
        match self.store.may_link(&self.context, o.owner, o.group, false) {
            Ok(true) if o.class.owned => Ok(()),
            _ => Err(failed("Updating is not allowed")),
        }
    }

    fn touch(&self, o: &Object) -> Result<(), Stop> {
        let sql = |e: rusqlite::Error| die(336, format!("Failed to update {}:{} - {e}", o.class.name, o.id));
        let event = self.store.event(&self.context).map_err(sql)?;
        self.store
            .db
            .execute(&format!("update {} set update_event = ?2 where id = ?1", o.class.table), [o.id, event])
            .map_err(sql)?;
        Ok(())
    }

    fn update(&mut self, a: &Action) -> Result<String, Stop> {
        let o = self.object(a)?;
        let fields = self.fields(o.class, &a.words[2..], 335)?;
        self.may_write(&o)?;
        for (prop, value) in fields {
            self.store
                .db
                .execute(
                    &format!("update {} set {} = ?2 where id = ?1", o.class.table, prop.column),
                    params![o.id, value],
                )
                .map_err(|e| die(336, format!("Failed to update {}:{} - {e}", o.class.name, o.id)))?;
        }
        self.touch(&o)?;
        Ok(format!("{}:{}", o.class.name, o.id))
    }

    fn null(&mut self, a: &Action) -> Result<String, Stop> {
        let o = self.object(a)?;
        let [_, _, field] = a.words.as_slice() else {
            return Err(die(335, "usage: null OBJ FIELD".to_owned()));
        };
        self.may_write(&o)?;
        if let Some(prop) = o.class.prop(field) {
            self.store
                .db
                .execute(
                    &format!("update {} set {} = null where id = ?1", o.class.table, prop.column),
                    [o.id],
                )
                .map_err(|e| die(336, format!("Failed to update {}:{} - {e}", o.class.name, o.id)))?;
        }
        self.touch(&o)?;
        Ok(format!("{}:{}", o.class.name, o.id))
    }

    fn pairs(&self, o: &Object) -> Result<Vec<(String, String)>, Stop> {
        let sql = |e: rusqlite::Error| uncaught(e.to_string());
        let mut q = self
            .store
            .db
            .prepare("select name, value from annotation_map_value where annotation = ?1 order by position")
            .map_err(sql)?;
        q.query_map([o.id], |r| Ok((r.get(0)?, r.get(1)?))).and_then(Iterator::collect).map_err(sql)
    }

    /// The pairs of a map annotation; any other field has none.
    fn map_of(&self, o: &Object, field: &str) -> Result<Vec<(String, String)>, Stop> {
        if o.class.many("mapValue").is_none() || field != "mapValue" {
            return Err(uncaught(format!(
                "AttributeError: '{}I' object has no attribute '{field}'",
                o.class.name
            )));
        }
        self.pairs(o)
    }

    fn map_set(&mut self, a: &Action) -> Result<String, Stop> {
        let o = self.object(a)?;
        if a.words.len() != 4 && a.words.len() != 5 {
            return Err(die(335, "usage: map-set OBJ FIELD KEY [VALUE]".to_owned()));
        }
        let mut pairs = self.map_of(&o, &a.words[2])?;
        self.may_write(&o)?;
        let key = &a.words[3];
        match a.words.get(4) {
            None => pairs.retain(|(k, _)| k != key),
            Some(v) => match pairs.iter_mut().find(|(k, _)| k == key) {
                Some((_, old)) => v.clone_into(old),
                None => pairs.push((key.clone(), v.clone())),
            },
        }
        let id = o.id;
        let write = |store: &mut Store| -> rusqlite::Result<()> {
            let tx = store.begin()?;
            tx.execute("delete from annotation_map_value where annotation = ?1", [id])?;
            for (i, (k, v)) in pairs.iter().enumerate() {
                tx.execute(
                    "insert into annotation_map_value (annotation, position, name, value) values (?1, ?2, ?3, ?4)",
                    params![id, i64::try_from(i).unwrap_or(0), k, v],
                )?;
            }
            tx.commit()
        };
        write(&mut self.store)
            .map_err(|e| die(336, format!("Failed to update {}:{} - {e}", o.class.name, o.id)))?;
        self.touch(&o)?;
        Ok(format!("{}:{}", o.class.name, o.id))
    }

    fn map_get(&mut self, a: &Action) -> Result<String, Stop> {
        let o = self.object(a)?;
        let [_, _, field, key] = a.words.as_slice() else {
            return Err(die(335, "usage: map-get OBJ FIELD KEY".to_owned()));
        };
        let pairs = self.map_of(&o, field)?;
        Ok(pairs.into_iter().rev().find(|(k, _)| k == key).map_or_else(|| "None".to_owned(), |(_, v)| v))
    }

    fn list_get(&mut self, a: &Action) -> Result<String, Stop> {
        let o = self.object(a)?;
        let [_, _, field, index] = a.words.as_slice() else {
            return Err(die(335, "usage: list-get OBJ FIELD INDEX".to_owned()));
        };
        let pairs = self.map_of(&o, field)?;
        let index: usize =
            index.parse().map_err(|_| uncaught("ValueError: invalid literal for int()".to_owned()))?;
        pairs.get(index).map(|(k, v)| format!("({k},{v})")).ok_or_else(|| {
            die(
                336,
                format!(
                    "Error: field '{field}[{index}]' for {}:{}, ('list index out of range',)",
                    o.class.name, o.id
                ),
            )
        })
    }

    fn get(&mut self, a: &Action) -> Result<String, Stop> {
        let o = self.object(a)?;
        match a.words.as_slice() {
            [_, _, field] => self.field(&o, field),
            [_, _] => {
                let mut names: Vec<&str> = o.class.props.iter().map(|p| p.name).collect();
                names.push("id");
                names.push("version");
                if o.class.many("mapValue").is_some() {
                    names.push("mapValue");
                }
                names.sort_unstable();
                let mut text = String::new();
                for n in names {
                    text += &format!("{n}={}\n", self.field(&o, n)?);
                }
                Ok(text)
            }
            _ => Err(die(335, "usage: get OBJ [FIELD]".to_owned())),
        }
    }

    fn field(&self, o: &Object, name: &str) -> Result<String, Stop> {
        match name {
            "id" => return Ok(o.id.to_string()),
            "version" => return Ok(String::new()),
            "mapValue" if o.class.many("mapValue").is_some() => {
                let pairs = self.pairs(o)?;
                return Ok(pairs.iter().map(|(k, v)| format!("({k},{v})")).collect::<Vec<_>>().join(","));
            }
            _ => {}
        }
        let Some(prop) = o.class.prop(name) else {
            return Err(die(336, format!("('Unknown field \\'{name}\\' for {}:{}',)", o.class.name, o.id)));
        };
        let value: rusqlite::types::Value = self
            .store
            .db
            .query_row(&format!("select {} from {} where id = ?1", prop.column, o.class.table), [o.id], |r| {
                r.get(0)
            })
            .map_err(|e| uncaught(e.to_string()))?;
        Ok(match (value, prop.kind) {
            (rusqlite::types::Value::Null, _) => String::new(),
            (rusqlite::types::Value::Integer(i), Kind::Ref(c)) => format!("{c}:{i}"),
            (rusqlite::types::Value::Integer(i), Kind::Bool) => {
                if i == 0 { "False" } else { "True" }.to_owned()
            }
            (rusqlite::types::Value::Integer(i), _) => i.to_string(),
            (rusqlite::types::Value::Real(f), _) => format!("{f:?}"),
            (rusqlite::types::Value::Text(t), _) => t,
            (rusqlite::types::Value::Blob(b), _) => String::from_utf8_lossy(&b).into_owned(),
        })
    }
}

fn typed(prop: &Prop, value: &str, bad: i32) -> Result<rusqlite::types::Value, Stop> {
    let number = |v: &str| {
        v.trim()
            .parse::<i64>()
            .map_err(|_| uncaught(format!("ValueError: invalid literal for int() with base 10: '{v}'")))
    };
    Ok(match prop.kind {
        Kind::Text => value.to_owned().into(),
        Kind::Int | Kind::Time => number(value)?.into(),
        Kind::Bool => i64::from(!value.is_empty()).into(),
        Kind::Float => value
            .parse::<f64>()
            .map_err(|_| uncaught(format!("ValueError: could not convert string to float: '{value}'")))?
            .into(),
        Kind::Ref(class) => {
            let invalid = || {
                die(
                    bad,
                    format!(
                        "exception ::omero::ClientError\n{{\n    serverStackTrace = \n    serverExceptionClass = \n    message = Invalid proxy string: {value}. Correct format is Class:ID\n}}"
                    ),
                )
            };
            let (name, id) = value.split_once(':').ok_or_else(invalid)?;
            let id: i64 = id.parse().map_err(|_| invalid())?;
            let fits = name == class || (class == "Annotation" && name.ends_with("Annotation"));
            if !fits {
                return Err(uncaught(format!(
                    "ValueError: invalid value for argument 1: {name} is no {class}"
                )));
            }
            id.into()
        }
    })
}
