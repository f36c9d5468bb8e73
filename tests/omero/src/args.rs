//! A small copy of the *behaviour* of the argument parser that omero-py uses
//! (Python's argparse as of 2.7/3.x, vendored there): unique prefixes of long
//! options, glued short options, options with an optional value, positionals
//! that must stand together, and exit code 2 for whatever does not fit.
//!
//! Hand-written because the traps are in the details: `-dash.tif` is `-d ash.tif`,
//! `/a -f /b` is refused, `--limit -1` is fine but `--target -x` is not.

use crate::Stop;

/// How many values an option takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    Nothing,
    One,
    Perhaps,
}

/// One option: all its spellings, and the name its value is kept under.
#[derive(Clone)]
pub struct Opt {
    pub names: Vec<&'static str>,
    pub dest: &'static str,
    pub takes: Takes,
    pub choices: &'static [&'static str],
    pub int: bool,
    pub append: bool,
}

/// How many values a positional takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Many {
    Optional,
    Any,
    /// A sub-command and everything after it.
    Command,
}

/// One positional argument.
#[derive(Clone)]
pub struct Pos {
    pub dest: &'static str,
    pub many: Many,
    pub choices: &'static [&'static str],
}

/// A parser for one (sub-)command.
#[derive(Clone, Default)]
pub struct Spec {
    pub prog: String,
    pub opts: Vec<Opt>,
    pub pos: Vec<Pos>,
}

/// A parsed value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    None,
    Bool(bool),
    Str(String),
    List(Vec<String>),
}

/// Parsed values in the order in which the options were defined, as Python's
/// namespace keeps them.
#[derive(Clone, Default, Debug)]
pub struct Namespace(pub Vec<(String, Value)>);

impl Namespace {
    pub fn get(&self, dest: &str) -> &Value {
        self.0.iter().find(|(k, _)| k == dest).map_or(&Value::None, |(_, v)| v)
    }

    pub fn set(&mut self, dest: &str, value: Value) {
        match self.0.iter_mut().find(|(k, _)| k == dest) {
            Some((_, v)) => *v = value,
            None => self.0.push((dest.to_owned(), value)),
        }
    }

    /// The string value, `None` also for an empty one (as Python's truth has it).
    pub fn str(&self, dest: &str) -> Option<&str> {
        match self.get(dest) {
            Value::Str(s) if !s.is_empty() => Some(s),
            _ => None,
        }
    }

    pub fn flag(&self, dest: &str) -> bool {
        matches!(self.get(dest), Value::Bool(true))
    }

    pub fn list(&self, dest: &str) -> &[String] {
        match self.get(dest) {
            Value::List(l) => l,
            _ => &[],
        }
    }

    /// Takes the sub-command and its words out.
    pub fn take_command(&mut self) -> Vec<String> {
        let words = self.list("command_args").to_vec();
        self.0.retain(|(k, _)| k != "command_args");
        words
    }

    pub fn int(&self, dest: &str) -> Option<i64> {
        self.str(dest).and_then(|s| s.parse().ok())
    }
}

pub fn flag(names: &[&'static str], dest: &'static str) -> Opt {
    opt(names, dest, Takes::Nothing)
}

pub fn one(names: &[&'static str], dest: &'static str) -> Opt {
    opt(names, dest, Takes::One)
}

pub fn opt(names: &[&'static str], dest: &'static str, takes: Takes) -> Opt {
    Opt { names: names.to_vec(), dest, takes, choices: &[], int: false, append: false }
}

impl Opt {
    pub fn choices(mut self, choices: &'static [&'static str]) -> Self {
        self.choices = choices;
        self
    }

    pub fn int(mut self) -> Self {
        self.int = true;
        self
    }

    pub fn append(mut self) -> Self {
        self.append = true;
        self
    }
}

/// The options every command that logs in accepts.
pub fn login_options() -> Vec<Opt> {
    vec![
        flag(&["-C", "--create"], "create"),
        one(&["-s", "--server"], "server"),
        one(&["-p", "--port"], "port"),
        one(&["-g", "--group"], "group"),
        one(&["-u", "--user"], "user"),
        one(&["-w", "--password"], "password"),
        one(&["-k", "--key"], "key"),
        one(&["--sudo"], "sudo"),
        flag(&["-q", "--quiet"], "quiet"),
    ]
}

impl Spec {
    pub fn new(prog: &str) -> Self {
        Self { prog: prog.to_owned(), opts: vec![flag(&["-h", "--help"], "help")], pos: Vec::new() }
    }

    pub fn with(mut self, opts: impl IntoIterator<Item = Opt>) -> Self {
        self.opts.extend(opts);
        self
    }

    pub fn pos(mut self, dest: &'static str, many: Many) -> Self {
        self.pos.push(Pos { dest, many, choices: &[] });
        self
    }

    pub fn pos_choice(mut self, dest: &'static str, choices: &'static [&'static str]) -> Self {
        self.pos.push(Pos { dest, many: Many::Optional, choices });
        self
    }

    fn usage(&self) -> String {
        let names: Vec<&str> = self.opts.iter().map(|o| o.names[0]).collect();
        format!("usage: {} [{}] ...", self.prog, names.join("] ["))
    }

    fn error(&self, message: &str) -> Stop {
        Stop::Die(2, format!("{}\n{}: error: {message}", self.usage(), self.prog))
    }

    /// Parses into `ns`, leaving what stands there already as the defaults.
    pub fn parse(&self, args: &[String], ns: &mut Namespace) -> Result<(), Stop> {
        for o in &self.opts {
            if !ns.0.iter().any(|(k, _)| k == o.dest) {
                let default = match o.takes {
                    Takes::Nothing => Value::Bool(false),
                    _ => Value::None,
                };
                ns.set(o.dest, default);
            }
        }
        let mut run = Run { spec: self, ns, args, extras: Vec::new(), pos: self.pos.iter().collect() };
        run.go()?;
        let extras = std::mem::take(&mut run.extras);
        if !extras.is_empty() {
            return Err(self.error(&format!("unrecognized arguments: {}", extras.join(" "))));
        }
        if ns.flag("help") {
            say!("{}", self.usage());
            return Err(Stop::Exit(0));
        }
        Ok(())
    }
}

/// What one argument looks like to the parser.
enum Seen {
    Value,
    /// An option (none if unknown), the spelling used, and a glued value.
    Option(Option<usize>, String, Option<String>),
}

struct Run<'a> {
    spec: &'a Spec,
    ns: &'a mut Namespace,
    args: &'a [String],
    extras: Vec<String>,
    pos: Vec<&'a Pos>,
}

impl Run<'_> {
    fn find(&self, name: &str) -> Option<usize> {
        self.spec.opts.iter().position(|o| o.names.contains(&name))
    }

    fn look(&self, arg: &str) -> Result<Seen, Stop> {
        if !arg.starts_with('-') {
            return Ok(Seen::Value);
        }
        if let Some(i) = self.find(arg) {
            return Ok(Seen::Option(Some(i), arg.to_owned(), None));
        }
        if arg.len() == 1 {
            return Ok(Seen::Value);
        }
        if let Some((name, value)) = arg.split_once('=')
            && let Some(i) = self.find(name)
        {
            return Ok(Seen::Option(Some(i), name.to_owned(), Some(value.to_owned())));
        }
        let candidates = self.by_prefix(arg);
        match candidates.as_slice() {
            [] => {}
            [one] => return Ok(Seen::Option(Some(one.0), one.1.clone(), one.2.clone())),
            more => {
                let names: Vec<&str> = more.iter().map(|m| m.1.as_str()).collect();
                return Err(self
                    .spec
                    .error(&format!("ambiguous option: {arg} could match {}", names.join(", "))));
            }
        }
        if is_negative_number(arg) || arg.contains(' ') {
            return Ok(Seen::Value);
        }
        Ok(Seen::Option(None, arg.to_owned(), None))
    }

    fn by_prefix(&self, arg: &str) -> Vec<(usize, String, Option<String>)> {
        let mut found = Vec::new();
        let all =
            || self.spec.opts.iter().enumerate().flat_map(|(i, o)| o.names.iter().map(move |n| (i, *n)));
        if let Some(long) = arg.strip_prefix("--") {
            let (prefix, value) = match long.split_once('=') {
                Some((p, v)) => (format!("--{p}"), Some(v.to_owned())),
                None => (arg.to_owned(), None),
            };
            for (i, name) in all() {
                if name.starts_with(&prefix) {
                    found.push((i, name.to_owned(), value.clone()));
                }
            }
        } else {
            let mut chars = arg.chars();
            let short: String = chars.by_ref().take(2).collect();
            let glued: String = chars.collect();
            for (i, name) in all() {
                if name == short {
                    found.push((i, name.to_owned(), Some(glued.clone())));
                } else if name.starts_with(arg) {
                    found.push((i, name.to_owned(), None));
                }
            }
        }
        found
    }

    fn go(&mut self) -> Result<(), Stop> {
        // After a bare `--` everything is a value.
        let mut seen = Vec::new();
        let mut only_values = false;
        for a in self.args {
            if only_values {
                seen.push(Seen::Value);
            } else if a == "--" {
                only_values = true;
                seen.push(Seen::Value);
            } else {
                seen.push(self.look(a)?);
            }
        }
        let mut at = 0;
        loop {
            let next = (at..seen.len()).find(|&i| matches!(seen[i], Seen::Option(..)));
            let Some(next) = next else { break };
            if next != at {
                let end = self.positionals(at, next)?;
                if end > at {
                    at = end;
                    continue;
                }
                self.extras.extend(self.args[at..next].iter().cloned());
                at = next;
            }
            at = self.option(at, &seen)?;
            if self.done() {
                return Ok(());
            }
        }
        let end = self.positionals(at, seen.len())?;
        self.extras.extend(self.args[end..].iter().cloned());
        Ok(())
    }

    /// True once the sub-command has swallowed the rest.
    fn done(&self) -> bool {
        !self.ns.list("command_args").is_empty()
    }

    /// Gives the values from `from` on to as many positionals as fit; returns
    /// where it stopped.
    fn positionals(&mut self, from: usize, to: usize) -> Result<usize, Stop> {
        let mut at = from;
        while let Some(&p) = self.pos.first() {
            match p.many {
                Many::Command => {
                    if at >= to {
                        break;
                    }
                    self.ns.set("command_args", Value::List(self.args[at..].to_vec()));
                    self.pos.remove(0);
                    return Ok(self.args.len());
                }
                Many::Optional => {
                    self.pos.remove(0);
                    while at < to && self.args[at] == "--" {
                        at += 1;
                    }
                    if at < to {
                        let v = self.args[at].clone();
                        self.check(p.dest, p.choices, &v)?;
                        self.ns.set(p.dest, Value::Str(v));
                        at += 1;
                    }
                    while at < to && self.args[at] == "--" {
                        at += 1;
                    }
                }
                Many::Any => {
                    self.pos.remove(0);
                    let values: Vec<String> =
                        self.args[at..to].iter().filter(|a| *a != "--").cloned().collect();
                    if !values.is_empty() || !matches!(self.ns.get(p.dest), Value::List(_)) {
                        self.ns.set(p.dest, Value::List(values));
                    }
                    at = to;
                }
            }
        }
        Ok(at)
    }

    fn check(&self, what: &str, choices: &[&str], value: &str) -> Result<(), Stop> {
        if choices.is_empty() || choices.contains(&value) {
            return Ok(());
        }
        Err(self.spec.error(&format!(
            "argument {what}: invalid choice: '{value}'\n\nchoose from:\n\t{}",
            choices.join(", ")
        )))
    }

    fn option(&mut self, at: usize, seen: &[Seen]) -> Result<usize, Stop> {
        let Seen::Option(index, name, glued) = &seen[at] else { return Ok(at + 1) };
        let Some(mut index) = *index else {
            self.extras.push(self.args[at].clone());
            return Ok(at + 1);
        };
        let mut glued = glued.clone();
        let mut name = name.clone();
        loop {
            let o = self.spec.opts[index].clone();
            match (o.takes, glued) {
                (Takes::Nothing, None) => {
                    self.ns.set(o.dest, Value::Bool(true));
                    return Ok(at + 1);
                }
                (Takes::Nothing, Some(rest)) => {
                    // `-qs` is `-q -s`; a long flag takes no `=value`.
                    let next = rest.chars().next().map(|c| format!("-{c}"));
                    let following = next.as_deref().and_then(|n| self.find(n));
                    let (Some(i), false) = (following, name.starts_with("--")) else {
                        return Err(self.spec.error(&format!(
                            "argument {}: ignored explicit argument '{rest}'",
                            o.names.join("/")
                        )));
                    };
                    self.ns.set(o.dest, Value::Bool(true));
                    index = i;
                    name = next.unwrap_or_default();
                    let tail: String = rest.chars().skip(1).collect();
                    glued = if tail.is_empty() { None } else { Some(tail) };
                }
                (_, Some(value)) => {
                    self.store(&o, Some(value))?;
                    return Ok(at + 1);
                }
                (takes, None) => {
                    let value = match (self.args.get(at + 1), seen.get(at + 1)) {
                        (Some(v), Some(Seen::Value)) if v != "--" => Some(v.clone()),
                        _ => None,
                    };
                    if value.is_none() && takes == Takes::One {
                        return Err(self
                            .spec
                            .error(&format!("argument {}: expected one argument", o.names.join("/"))));
                    }
                    let used = usize::from(value.is_some());
                    self.store(&o, value)?;
                    return Ok(at + 1 + used);
                }
            }
        }
    }

    fn store(&mut self, o: &Opt, value: Option<String>) -> Result<(), Stop> {
        let Some(value) = value else {
            self.ns.set(o.dest, Value::None);
            return Ok(());
        };
        if o.int && value.trim().parse::<i64>().is_err() {
            return Err(self
                .spec
                .error(&format!("argument {}: invalid int value: '{value}'", o.names.join("/"))));
        }
        self.check(&o.names.join("/"), o.choices, &value)?;
        if o.append {
            let mut list = self.ns.list(o.dest).to_vec();
            list.push(value);
            self.ns.set(o.dest, Value::List(list));
        } else {
            self.ns.set(o.dest, Value::Str(value));
        }
        Ok(())
    }
}

fn is_negative_number(arg: &str) -> bool {
    let Some(rest) = arg.strip_prefix('-') else { return false };
    let (whole, fraction) = rest.split_once('.').map_or((rest, None), |(w, f)| (w, Some(f)));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    match fraction {
        None => !whole.is_empty() && digits(whole),
        Some(f) => digits(whole) && !f.is_empty() && digits(f),
    }
}
