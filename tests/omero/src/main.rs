//! A stand-in for OMERO: the `omero` command and the server behind it, in one
//! program over a directory of files. It keeps to what the real command does as
//! seen from outside, above all where that is surprising: which stream a line
//! goes to, exit codes, stored sessions, what a failed import leaves behind.
//!
//! `omero standin ...` is not part of the real command: it fills the store,
//! plans faults and shows what has happened.

/// A line on standard output. A reader that has gone away is no reason to end:
/// the real command passes over it, too.
macro_rules! say {
    ($($text:tt)*) => { $crate::sys::put(&mut std::io::stdout(), &(format!($($text)*) + "\n")) };
}
/// Text on standard output without a line's end.
macro_rules! say_on {
    ($($text:tt)*) => { $crate::sys::put(&mut std::io::stdout(), &format!($($text)*)) };
}
/// A line on standard error.
macro_rules! complain {
    ($($text:tt)*) => { $crate::sys::put(&mut std::io::stderr(), &(format!($($text)*) + "\n")) };
}
/// Text on standard error without a line's end.
macro_rules! complain_on {
    ($($text:tt)*) => { $crate::sys::put(&mut std::io::stderr(), &format!($($text)*)) };
}

mod admin;
mod args;
mod commands;
mod fault;
mod hql;
mod import;
mod make;
mod model;
mod obj;
mod record;
mod session;
mod shell;
mod store;
mod sys;
mod table;
mod worker;

use std::path::Path;

use args::{Many, Namespace, Opt, Spec, Takes, flag, login_options, one, opt};
use fault::Faults;
use session::Connector;
use store::Store;

/// The version this stands in for.
const VERSION: &str = "5.23.0";

/// A command ended early.
pub enum Stop {
    Exit(i32),
    /// With a message for standard error.
    Die(i32, String),
}

/// Ends a command with a code and a message.
pub fn die(code: i32, message: String) -> Stop {
    Stop::Die(code, message)
}

impl Stop {
    /// Prints the message, if there is one, and gives the code.
    fn code(self) -> i32 {
        match self {
            Self::Exit(code) => code,
            Self::Die(code, message) => {
                complain!("{message}");
                code
            }
        }
    }
}

fn main() {
    let argv: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    let words = argv.get(1..).unwrap_or_default();
    let code = match (argv.first().map(String::as_str), words.first().map(String::as_str)) {
        (Some("java"), _) => import::java::main(words),
        (Some(import::server::SERVER), Some(job)) => import::server::main(Path::new(job)),
        (_, Some("standin")) => admin::run(&words[1..]),
        (_, Some("standin-worker")) => worker::main(words),
        _ => real(&argv, words),
    };
    std::process::exit(code)
}

/// Everything that the real command has, too.
fn real(argv: &[String], words: &[String]) -> i32 {
    if sys::euid() == 0 && std::env::var_os("OMERO_STANDIN_ALLOW_ROOT").is_none() {
        say!("FATAL: Running {} as root can corrupt your directory permissions.", argv[0]);
        return 1;
    }
    let Some(dir) = Store::directory() else {
        complain!("stand-in: OMERO_STANDIN names no directory");
        return 99;
    };
    if std::env::var_os("DEBUG").is_some() {
        say!("Deprecated warning: use 'omero --debug=x [args]' to debug");
        say!("Running omero with debugging == 1");
    }
    sys::end_with_1_when_interrupted();
    record::started(&dir, words);
    let mut stdin = None;
    let code = Cli { dir: &dir, prog: argv[0].split('-').next().unwrap_or("omero").to_owned() }
        .run(words, &mut stdin)
        .unwrap_or_else(Stop::code);
    record::finished(&dir, words, stdin, code);
    code
}

/// The command line tool: its top-level parser and its sub-commands.
struct Cli<'a> {
    dir: &'a Path,
    prog: String,
}

const COMMANDS: &[&str] = &[
    "delete", "download", "fs", "group", "hql", "import", "load", "login", "logout", "obj", "sessions",
    "user", "version",
];

impl Cli<'_> {
    fn run(&self, words: &[String], stdin: &mut Option<String>) -> Result<i32, Stop> {
        let top = Spec::new(&self.prog)
            .with([
                flag(&["-v", "--version"], "version"),
                one(&["-d", "--debug"], "debug"),
                one(&["--path"], "plugin_path").append(),
            ])
            .with(login_options())
            .pos("command_args", Many::Command);
        let mut ns = Namespace::default();
        top.parse(words, &mut ns)?;
        if ns.flag("version") {
            say!("{} {VERSION}", self.prog);
            return Ok(0);
        }
        let rest = ns.take_command();
        let Some(command) = rest.first().cloned() else { return Ok(0) };
        if !COMMANDS.contains(&command.as_str()) {
            return Err(die(
                2,
                format!(
                    "usage: {0} [-h] ...\n{0}: error: argument <subcommand>: invalid choice: '{command}'\n\nchoose from:\n\t{1}",
                    self.prog,
                    COMMANDS.join(", ")
                ),
            ));
        }
        let mut faults = Faults::of(self.dir, &command);
        self.command(&command, &rest[1..], ns, &mut faults, stdin)
    }

    fn command(
        &self,
        command: &str,
        rest: &[String],
        mut ns: Namespace,
        faults: &mut Faults,
        stdin: &mut Option<String>,
    ) -> Result<i32, Stop> {
        let prog = self.prog.as_str();
        match command {
            "version" => {
                Spec::new(&format!("{prog} version")).parse(rest, &mut ns)?;
                complain!("OMERO.py version:");
                say!("{VERSION}");
            }
            "login" => {
                login_spec(&format!("{prog} login")).parse(rest, &mut ns)?;
                Connector { dir: self.dir, faults }.log_in(&ns)?;
            }
            "logout" => {
                // It knows no login options of its own: `omero logout -s HOST` is an error.
                Spec::new(&format!("{prog} logout")).with([session_dir()]).parse(rest, &mut ns)?;
                Connector { dir: self.dir, faults }.log_out()?;
            }
            "sessions" => return commands::sessions(self.dir, prog, rest, ns, faults),
            "hql" => {
                commands::hql_spec(prog).parse(rest, &mut ns)?;
                commands::hql(self.dir, &ns, faults)?;
            }
            "obj" => {
                obj::spec(prog).parse(rest, &mut ns)?;
                obj::run(&ns, self.dir, faults, stdin)?;
            }
            "import" => {
                import::spec(prog).parse(rest, &mut ns)?;
                return import::run(&ns, self.dir, faults);
            }
            "delete" => {
                commands::delete_spec(prog).parse(rest, &mut ns)?;
                commands::delete(self.dir, &ns, faults)?;
            }
            "download" => {
                commands::download_spec(prog).parse(rest, &mut ns)?;
                commands::download(self.dir, &ns, faults)?;
            }
            "fs" => return commands::fs(self.dir, prog, rest, ns, faults),
            "group" | "user" => return commands::people(self.dir, prog, command, rest, ns, faults),
            "load" => return self.load(rest, ns, stdin),
            _ => return Err(Stop::Exit(2)),
        }
        Ok(0)
    }

    /// One command a line, from files or standard input.
    fn load(&self, rest: &[String], mut ns: Namespace, stdin: &mut Option<String>) -> Result<i32, Stop> {
        use std::io::Read;
        Spec::new(&format!("{} load", self.prog))
            .with([flag(&["-k", "--keep-going"], "keep_going")])
            .pos("infile", Many::Any)
            .parse(rest, &mut ns)?;
        let mut text = String::new();
        if ns.list("infile").is_empty() {
            let _ = std::io::stdin().read_to_string(&mut text);
            *stdin = Some(text.clone());
        }
        for f in ns.list("infile") {
            text += &std::fs::read_to_string(f)
                .map_err(|e| die(1, format!("Traceback (most recent call last):\n{e}: '{f}'")))?;
        }
        for line in text.lines() {
            if line.trim_start().starts_with('#') {
                continue;
            }
            let words = shell::split(line).map_err(|e| die(1, e))?;
            if words.is_empty() {
                continue;
            }
            let code = self.run(&words, &mut None).unwrap_or_else(Stop::code);
            if code != 0 {
                if !ns.flag("keep_going") {
                    return Ok(code);
                }
                complain!("Ignoring error: {line}");
            }
        }
        Ok(0)
    }
}

fn session_dir() -> Opt {
    one(&["--session-dir"], "session_dir")
}

/// `omero login`, which is also `omero sessions login`.
fn login_spec(prog: &str) -> Spec {
    Spec::new(prog)
        .with(login_options())
        .with([
            one(&["-t", "--timeout"], "timeout").int(),
            opt(&["--retry"], "retry", Takes::Perhaps).int(),
            session_dir(),
        ])
        .pos("connection", Many::Optional)
}
