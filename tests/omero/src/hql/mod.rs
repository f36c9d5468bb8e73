//! `omero hql`: a query over OMERO's object model, answered by translating it
//! to SQL over the stand-in's tables. Rows that the session may not read are
//! left out wherever their class appears in the query, as the server does.

mod parse;

use std::collections::HashMap;

use rusqlite::types::ValueRef;

use crate::model::{self, Class, Kind};
use crate::store::{Context, Store};
use crate::sys;
use parse::{Expr, From, Join, Query, parse};

/// One value of a result row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Null,
    Int(i64),
    Float(f64),
    Text(String),
    Bool(bool),
    Time(i64),
    /// A whole object: class and id.
    Object(&'static str, i64),
}

impl Cell {
    /// As the command prints it.
    pub fn show(&self) -> String {
        match self {
            Self::Null => "None".to_owned(),
            Self::Int(i) => i.to_string(),
            Self::Float(f) => format!("{f:?}"),
            Self::Text(t) => t.clone(),
            Self::Bool(b) => if *b { "True" } else { "False" }.to_owned(),
            Self::Time(ms) => ctime(*ms),
            Self::Object(class, id) => format!("{class}I:{id}"),
        }
    }
}

/// `Tue Nov 24 02:10:48 2026`, local time.
fn ctime(ms: i64) -> String {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let c = sys::local_time(ms.div_euclid(1000));
    let name = |all: &[&'static str], i: i32| {
        usize::try_from(i).ok().and_then(|i| all.get(i).copied()).unwrap_or("?")
    };
    format!(
        "{} {} {:2} {:02}:{:02}:{:02} {}",
        name(&DAYS, c.weekday),
        name(&MONTHS, c.month - 1),
        c.day,
        c.hour,
        c.minute,
        c.second,
        c.year
    )
}

/// The permissions of an object, which are those of its group, as the number the server keeps.
fn permissions(alias: &str) -> String {
    format!(
        "(select case permissions when 'rw----' then -120 when 'rwr---' then -56 when 'rwra--' then -40
          when 'rwrw--' then -8 when 'rwr-r-' then -52 end from experimenter_group where id = {alias}.group_id)"
    )
}

/// Runs a query. `all` asks across all groups; a negative limit is none.
pub fn run(
    store: &Store,
    context: &Context,
    text: &str,
    all: bool,
    offset: i64,
    limit: i64,
) -> Result<Vec<Vec<Cell>>, String> {
    let query = parse(text)?;
    let mut t = Translator { store, context, all, text, scopes: Vec::new(), next: 0 };
    let (sql, kinds) = t.query(&query)?;
    let sql = format!("{sql} limit {limit} offset {offset}");
    let failed = |e: rusqlite::Error| format!("could not execute query: {e} [{text}]");
    let mut statement = store.db.prepare(&sql).map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        let mut cells = Vec::with_capacity(kinds.len());
        for (i, kind) in kinds.iter().enumerate() {
            cells.push(cell(row.get_ref(i).map_err(failed)?, *kind));
        }
        found.push(cells);
    }
    Ok(found)
}

fn cell(value: ValueRef<'_>, kind: Kind) -> Cell {
    match (value, kind) {
        (ValueRef::Null, _) => Cell::Null,
        (ValueRef::Integer(i), Kind::Bool) => Cell::Bool(i != 0),
        (ValueRef::Integer(i), Kind::Time) => Cell::Time(i),
        (ValueRef::Integer(i), Kind::Ref(class)) => Cell::Object(class, i),
        (ValueRef::Integer(i), _) => Cell::Int(i),
        (ValueRef::Real(f), _) => Cell::Float(f),
        (ValueRef::Text(t) | ValueRef::Blob(t), _) => Cell::Text(String::from_utf8_lossy(t).into_owned()),
    }
}

/// The sources of rows of one (sub-)query.
#[derive(Default)]
struct Scope {
    aliases: HashMap<String, (&'static Class, String)>,
    /// Joins that follow from a path such as `i.details.owner.omeName`.
    implicit: HashMap<String, (&'static Class, String)>,
    from: String,
    conditions: Vec<String>,
}

struct Translator<'a> {
    store: &'a Store,
    context: &'a Context,
    all: bool,
    text: &'a str,
    scopes: Vec<Scope>,
    next: usize,
}

impl Translator<'_> {
    fn fresh(&mut self) -> String {
        self.next += 1;
        format!("t{}", self.next)
    }

    fn scope(&mut self) -> Result<&mut Scope, String> {
        self.scopes.last_mut().ok_or_else(|| "no scope".to_owned())
    }

    /// The conditions under which rows of a class may be seen at all.
    fn visible(&self, class: &Class, alias: &str) -> Result<Vec<String>, String> {
        let mut all = Vec::new();
        if let Some(f) = class.filter {
            all.push(format!("{alias}.discriminator = '{f}'"));
        }
        if class.owned {
            all.push(self.store.readable(self.context, alias, self.all).map_err(|e| e.to_string())?);
        }
        Ok(all)
    }

    fn query(&mut self, q: &Query) -> Result<(String, Vec<Kind>), String> {
        self.scopes.push(Scope::default());
        for (i, f) in q.from.iter().enumerate() {
            self.source(i, f)?;
        }
        let select = if q.select.is_empty() {
            vec![Expr::Path(vec![q.from[0].alias.clone()])]
        } else {
            q.select.clone()
        };
        self.check_sql_rules(q, &select)?;
        let mut columns = Vec::new();
        let mut kinds = Vec::new();
        for e in &select {
            let (sql, kind) = self.expr(e)?;
            columns.push(sql);
            kinds.push(kind);
        }
        let mut tail = String::new();
        let filter = q.filter.as_ref().map(|e| self.expr(e)).transpose()?;
        if !q.group.is_empty() {
            tail += &format!(" group by {}", self.many(&q.group)?);
        }
        if let Some(h) = &q.having {
            tail += &format!(" having {}", self.expr(h)?.0);
        }
        let mut order = Vec::new();
        for (e, descending) in &q.order {
            order.push(self.expr(e)?.0 + if *descending { " desc" } else { "" });
        }
        if !order.is_empty() {
            tail += &format!(" order by {}", order.join(", "));
        }
        let Some(scope) = self.scopes.pop() else { return Err("no scope".to_owned()) };
        let mut conditions = scope.conditions;
        conditions.extend(filter.map(|(sql, _)| format!("({sql})")));
        let filter = if conditions.is_empty() {
            String::new()
        } else {
            format!(" where {}", conditions.join(" and "))
        };
        let distinct = if q.distinct { "distinct " } else { "" };
        Ok((format!("select {distinct}{} from {}{filter}{tail}", columns.join(", "), scope.from), kinds))
    }

    /// What PostgreSQL refuses and SQLite does not mind.
    fn check_sql_rules(&self, q: &Query, select: &[Expr]) -> Result<(), String> {
        let refused = |why: &str| Err(format!("could not execute query; SQL error: {why} [{}]", self.text));
        if q.distinct && q.order.iter().any(|(e, _)| !select.contains(e)) {
            return refused("for SELECT DISTINCT, ORDER BY expressions must appear in select list");
        }
        let aggregated = |e: &Expr| matches!(e, Expr::Call { name, .. } if ["count", "max", "min", "sum", "avg"].contains(&name.as_str()));
        let grouped = !q.group.is_empty() || select.iter().any(aggregated);
        let plain = |e: &Expr| matches!(e, Expr::Path(_)) && !q.group.contains(e);
        if grouped && (select.iter().any(plain) || q.order.iter().any(|(e, _)| plain(e))) {
            return refused("column must appear in the GROUP BY clause or be used in an aggregate function");
        }
        Ok(())
    }

    fn many(&mut self, all: &[Expr]) -> Result<String, String> {
        let parts: Result<Vec<String>, String> = all.iter().map(|e| self.expr(e).map(|x| x.0)).collect();
        Ok(parts?.join(", "))
    }

    fn source(&mut self, index: usize, f: &From) -> Result<(), String> {
        let alias = self.fresh();
        let (class, on) = if f.join == Join::Cross && self.lookup(&f.path[0]).is_none() {
            let name = f.path.join(".");
            let class = model::class(&name).ok_or_else(|| format!("{name} is not mapped [{}]", self.text))?;
            (class, None)
        } else {
            let (class, on) = self.joined(&f.path, &alias)?;
            (class, Some(on))
        };
        let visible = self.visible(class, &alias)?;
        self.scope()?.aliases.insert(f.alias.clone(), (class, alias.clone()));
        let with = f.with.as_ref().map(|w| self.expr(w)).transpose()?.map(|(sql, _)| sql);
        let scope = self.scope()?;
        let table = class.table;
        if let Some(on) = on {
            let mut conditions = vec![on];
            conditions.extend(visible);
            conditions.extend(with);
            let word = if f.join == Join::Left { "left join" } else { "join" };
            scope.from += &format!(" {word} {table} {alias} on {}", conditions.join(" and "));
        } else {
            scope.from += &format!("{}{table} {alias}", if index == 0 { "" } else { " join " });
            scope.conditions.extend(visible);
            scope.conditions.extend(with);
        }
        Ok(())
    }

    /// A join along a path: the class reached, and the condition.
    fn joined(&mut self, path: &[String], alias: &str) -> Result<(&'static Class, String), String> {
        let (mut class, mut at) =
            self.lookup(&path[0]).ok_or_else(|| format!("Path expected for join! [{}]", self.text))?;
        for (i, step) in path.iter().enumerate().skip(1) {
            let last = i + 1 == path.len();
            if step == "details" && class.owned && !last {
                continue;
            }
            if let Some(many) = class.many(step) {
                let target = model::class(many.class).ok_or_else(|| self.unknown(step, class))?;
                if last {
                    return Ok((target, format!("{alias}.{} = {at}.id", many.back)));
                }
                return Err(format!("illegal attempt to dereference collection [{}]", self.text));
            }
            let (target, column) = self.reference(class, step, &at, path, i)?;
            if last {
                return Ok((target, format!("{alias}.id = {at}.{column}")));
            }
            at = self.implicit(target, &at, column)?;
            class = target;
        }
        Err(format!("Path expected for join! [{}]", self.text))
    }

    fn reference(
        &self,
        class: &'static Class,
        step: &str,
        _at: &str,
        path: &[String],
        i: usize,
    ) -> Result<(&'static Class, &'static str), String> {
        let via_details = i > 0 && path[i - 1] == "details";
        let found = if via_details {
            match step {
                "owner" => Some(("Experimenter", "owner_id")),
                "group" => Some(("ExperimenterGroup", "group_id")),
                "creationEvent" => Some(("Event", "creation_event")),
                "updateEvent" => Some(("Event", "update_event")),
                _ => None,
            }
        } else {
            match class.prop(step) {
                Some(model::Prop { kind: Kind::Ref(c), column, .. }) => Some((*c, *column)),
                _ => None,
            }
        };
        let (name, column) = found.ok_or_else(|| self.unknown(step, class))?;
        Ok((model::class(name).ok_or_else(|| self.unknown(step, class))?, column))
    }

    fn unknown(&self, property: &str, class: &Class) -> String {
        format!("could not resolve property: {property} of: {} [{}]", class.full_name(), self.text)
    }

    fn lookup(&self, alias: &str) -> Option<(&'static Class, String)> {
        self.scopes.iter().rev().find_map(|s| s.aliases.get(alias).cloned())
    }

    /// Joins along a to-one reference in the innermost query, once.
    fn implicit(&mut self, target: &'static Class, at: &str, column: &str) -> Result<String, String> {
        let key = format!("{at}.{column}");
        if let Some((_, alias)) = self.scope()?.implicit.get(&key) {
            return Ok(alias.clone());
        }
        let alias = self.fresh();
        let visible = self.visible(target, &alias)?;
        let scope = self.scope()?;
        scope.implicit.insert(key.clone(), (target, alias.clone()));
        scope.from += &format!(" join {} {alias}", target.table);
        scope.conditions.push(format!("{alias}.id = {key}"));
        scope.conditions.extend(visible);
        Ok(alias)
    }

    fn path(&mut self, path: &[String]) -> Result<(String, Kind), String> {
        let Some((mut class, mut at)) = self.lookup(&path[0]) else {
            return Err(format!("Invalid path: '{}' [{}]", path.join("."), self.text));
        };
        if path.len() == 1 {
            return Ok((format!("{at}.id"), Kind::Ref(class.name)));
        }
        let mut i = 1;
        while i < path.len() {
            let step = path[i].as_str();
            let last = i + 1 == path.len();
            if step == "id" && last {
                return Ok((format!("{at}.id"), Kind::Int));
            }
            if step == "details" && class.owned && path[i + 1..] == ["permissions", "perm1"] {
                return Ok((permissions(&at), Kind::Int));
            }
            if step == "details" && !last && class.owned {
                i += 1;
                let _ = self.reference(class, &path[i], &at, path, i)?;
                let (target, column) = self.reference(class, &path[i], &at, path, i)?;
                (class, at) = match self.end_or_join(target, &at, column, path, &mut i)? {
                    Ok(done) => return Ok(done),
                    Err(next) => next,
                };
                continue;
            }
            match class.prop(step) {
                Some(model::Prop { kind: Kind::Ref(name), column, .. }) => {
                    let target = model::class(name).ok_or_else(|| self.unknown(step, class))?;
                    (class, at) = match self.end_or_join(target, &at, column, path, &mut i)? {
                        Ok(done) => return Ok(done),
                        Err(next) => next,
                    };
                }
                Some(p) if last => return Ok((format!("{at}.{}", p.column), p.kind)),
                _ => return Err(self.unknown(step, class)),
            }
        }
        Err(format!("Invalid path: '{}' [{}]", path.join("."), self.text))
    }

    /// After a reference: its id needs no join, anything behind it does.
    #[allow(clippy::type_complexity)]
    fn end_or_join(
        &mut self,
        target: &'static Class,
        at: &str,
        column: &str,
        path: &[String],
        i: &mut usize,
    ) -> Result<Result<(String, Kind), (&'static Class, String)>, String> {
        *i += 1;
        if *i == path.len() {
            return Ok(Ok((format!("{at}.{column}"), Kind::Ref(target.name))));
        }
        if path[*i] == "id" && *i + 1 == path.len() {
            return Ok(Ok((format!("{at}.{column}"), Kind::Int)));
        }
        let alias = self.implicit(target, at, column)?;
        Ok(Err((target, alias)))
    }

    /// The sub-query that counts a collection.
    fn count(&mut self, path: &[String]) -> Result<String, String> {
        self.scopes.push(Scope::default());
        let alias = self.fresh();
        let (class, on) = self.joined(path, &alias)?;
        let mut conditions = vec![on];
        conditions.extend(self.visible(class, &alias)?);
        let Some(scope) = self.scopes.pop() else { return Err("no scope".to_owned()) };
        conditions.extend(scope.conditions);
        Ok(format!(
            "(select count(*) from {} {alias}{} where {})",
            class.table,
            scope.from,
            conditions.join(" and ")
        ))
    }

    fn expr(&mut self, e: &Expr) -> Result<(String, Kind), String> {
        let no = |not: bool| if not { "not " } else { "" };
        Ok(match e {
            Expr::Path(p) => self.path(p)?,
            Expr::Text(t) => (quoted(t), Kind::Text),
            Expr::Number(n) => (n.clone(), if n.contains('.') { Kind::Float } else { Kind::Int }),
            Expr::Bool(b) => (u8::from(*b).to_string(), Kind::Bool),
            Expr::Null => ("null".to_owned(), Kind::Text),
            Expr::Star => ("*".to_owned(), Kind::Int),
            Expr::Call { name, distinct, args } => self.call(name, *distinct, args)?,
            Expr::Binary(op, a, b) => {
                let (left, kind) = self.expr(a)?;
                let (right, _) = self.expr(b)?;
                let kind = if matches!(*op, "+" | "-" | "*" | "/" | "||") { kind } else { Kind::Bool };
                (format!("({left} {op} {right})"), kind)
            }
            Expr::Not(a) => (format!("(not {})", self.expr(a)?.0), Kind::Bool),
            Expr::Minus(a) => {
                let (sql, kind) = self.expr(a)?;
                (format!("(-{sql})"), kind)
            }
            Expr::In { value, list, not } => {
                let v = self.expr(value)?.0;
                (format!("({v} {}in ({}))", no(*not), self.many(list)?), Kind::Bool)
            }
            Expr::InQuery { value, query, not } => {
                let v = self.expr(value)?.0;
                (format!("({v} {}in ({}))", no(*not), self.query(query)?.0), Kind::Bool)
            }
            Expr::Like { value, pattern, not } => {
                let v = self.expr(value)?.0;
                let p = self.expr(pattern)?.0;
                (format!("({v} {}like {p} escape '\\')", no(*not)), Kind::Bool)
            }
            Expr::Between { value, low, high, not } => {
                let (v, l, h) = (self.expr(value)?.0, self.expr(low)?.0, self.expr(high)?.0);
                (format!("({v} {}between {l} and {h})", no(*not)), Kind::Bool)
            }
            Expr::IsNull { value, not } => {
                (format!("({} is {}null)", self.expr(value)?.0, no(*not)), Kind::Bool)
            }
            Expr::IsEmpty { path, not } => {
                let op = if *not { ">" } else { "=" };
                (format!("({} {op} 0)", self.count(path)?), Kind::Bool)
            }
            Expr::Exists(q) => (format!("exists ({})", self.query(q)?.0), Kind::Bool),
            Expr::Query(q) => {
                let (sql, kinds) = self.query(q)?;
                (format!("({sql})"), kinds.first().copied().unwrap_or(Kind::Int))
            }
        })
    }

    fn call(&mut self, name: &str, distinct: bool, args: &[Expr]) -> Result<(String, Kind), String> {
        if name == "size"
            && let [Expr::Path(p)] = args
        {
            return Ok((self.count(p)?, Kind::Int));
        }
        let mut parts = Vec::new();
        let mut kind = Kind::Text;
        for a in args {
            let (sql, k) = self.expr(a)?;
            parts.push(sql);
            kind = k;
        }
        let word = if distinct { "distinct " } else { "" };
        let joined = parts.join(", ");
        Ok(match name {
            "count" => (format!("count({word}{joined})"), Kind::Int),
            "max" | "min" | "sum" => {
                let kind = if matches!(kind, Kind::Ref(_)) { Kind::Int } else { kind };
                (format!("{name}({word}{joined})"), kind)
            }
            "avg" => (format!("avg({word}{joined})"), Kind::Float),
            "lower" | "upper" | "trim" => (format!("{name}({joined})"), Kind::Text),
            "length" => (format!("length({joined})"), Kind::Int),
            "coalesce" => (format!("coalesce({joined})"), kind),
            "concat" => (format!("({})", parts.join(" || ")), Kind::Text),
            "substring" => (format!("substr({joined})"), Kind::Text),
            "str" => (format!("cast({joined} as text)"), Kind::Text),
            _ => {
                return Err(format!("No data type for node: MethodNode '{name}' [{}]", self.text));
            }
        })
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
