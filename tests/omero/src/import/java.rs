//! The Java half of the import: options, candidate search, one fileset after
//! another, results on standard output and everything else on standard error.

use std::cell::Cell;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::fault::{FORECAST, Faults};
use crate::hql;
use crate::import::candidates::{self, Candidate, Complaint, Found, client_path};
pub use crate::import::server::TRANSFER_NS;
use crate::import::server::{self, Outcome, Transfer};
use crate::import::target::Target;
use crate::store::{Context, Store};
use crate::sys::put;
use crate::{record, sys};

/// Where log lines go, as the logback file decides.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sink {
    Stderr,
    /// No configuration: everything from DEBUG up on standard output.
    Stdout,
    Nowhere,
}

/// The importer's log.
pub struct Log {
    sink: Sink,
    debug: bool,
    started: Instant,
    /// The thread that speaks.
    thread: Cell<&'static str>,
}

/// The threads of the importer: the first, that of a fileset, that of a file, that of the server's answers.
const MAIN: &str = "main";
const FILESET: &str = "pool-2-thread-1";
const FILE: &str = "pool-3-thread-1";
const ANSWERS: &str = "Ice.ThreadPool.Client-0";

impl Log {
    fn of(configuration: Option<&Path>) -> Self {
        let sink = match configuration.map(std::fs::read_to_string) {
            Some(Ok(xml)) if xml.contains("System.err") => Sink::Stderr,
            Some(Ok(xml)) if xml.contains("ConsoleAppender") => Sink::Stdout,
            Some(Ok(_)) => Sink::Nowhere,
            _ => Sink::Stdout,
        };
        Self { sink, debug: sink == Sink::Stdout, started: Instant::now(), thread: Cell::new(MAIN) }
    }

    fn line(&self, level: &str, logger: &str, message: &str) {
        let now = sys::now_ms();
        let c = sys::local_time(now / 1000);
        let clock = format!("{:02}:{:02}:{:02}", c.hour, c.minute, c.second);
        let ms = now % 1000;
        match self.sink {
            Sink::Nowhere => {}
            Sink::Stdout => {
                put(
                    &mut std::io::stdout(),
                    &format!("{clock}.{ms:03} [{}] {level:5} {logger} - {message}\n", self.thread.get()),
                );
            }
            Sink::Stderr => {
                let ran = self.started.elapsed().as_millis();
                // Of a long name, its end is shown.
                let end = |name: &'_ str, length: usize| name[name.len().saturating_sub(length)..].to_owned();
                let (thread, logger) = (end(self.thread.get(), 10), end(logger, 40));
                let line = format!(
                    "{}-{:02}-{:02} {clock},{ms:03} {ran:<10} [{thread:>10}] {level:<6.6} {logger:>40} - {message}\n",
                    c.year, c.month, c.day
                );
                put(&mut std::io::stderr(), &line);
            }
        }
    }

    /// A line of another thread.
    fn of_thread(&self, thread: &'static str, logger: &str, message: &str) {
        let before = self.thread.replace(thread);
        self.info(logger, message);
        self.thread.set(before);
    }

    pub fn info(&self, logger: &str, message: &str) {
        self.line("INFO", logger, message);
    }

    /// An error with the first lines of a stack.
    pub fn error(&self, logger: &str, message: &str, exception: Option<&str>) {
        let text = exception.map_or_else(
            || message.to_owned(),
            |e| format!("{message}\n{e}\n\tat {logger}.run(Unknown Source)\n\tat java.base/java.lang.Thread.run(Unknown Source)"),
        );
        self.line("ERROR", logger, &text);
    }

    /// A warning with the first lines of a stack.
    pub fn warn(&self, logger: &str, message: &str, exception: &str) {
        self.line(
            "WARN",
            logger,
            &format!("{message}\n{exception}\n\tat {logger}.run(Unknown Source)\n\tat java.base/java.lang.Thread.run(Unknown Source)"),
        );
    }

    pub fn debug(&self, logger: &str, message: &str) {
        if self.debug {
            self.line("DEBUG", logger, message);
        }
    }
}

const IMPORTER: &str = "ome.formats.importer.cli.CommandLineImporter";
const LIBRARY: &str = "ome.formats.importer.ImportLibrary";
const CANDIDATES: &str = "ome.formats.importer.ImportCandidates";
const MONITOR: &str = "ome.formats.importer.cli.LoggingImportMonitor";
const HANDLER: &str = "ome.formats.importer.cli.ErrorHandler";
const CONFIG: &str = "ome.formats.importer.ImportConfig";

/// How results are printed.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Output {
    #[default]
    Ids,
    Yaml,
    Legacy,
}

/// The importer's options.
#[derive(Default)]
struct Options {
    key: Option<String>,
    target: Option<String>,
    name: Option<String>,
    description: Option<String>,
    transfer: Transfer,
    exclude: Vec<String>,
    checksum: Option<String>,
    output: Output,
    list_only: bool,
    go_on: bool,
    parallel_upload: i64,
    parallel_fileset: i64,
    namespaces: Vec<String>,
    texts: Vec<String>,
    links: Vec<i64>,
    no_wait: bool,
    completed: bool,
    paths: Vec<String>,
}

/// Long options that take a value, and those that do not.
const WITH_VALUE: &[&str] = &[
    "email",
    "name",
    "description",
    "agent",
    "annotation-ns",
    "annotation-text",
    "annotation-link",
    "transfer",
    "checksum-algorithm",
    "minutes-wait",
    "exclude",
    "target",
    "qa-baseurl",
    "output",
    "encrypted",
    "parallel-upload",
    "parallel-fileset",
    "readers",
    "keep-alive",
    "plate_name",
    "plate-name",
    "plate_description",
    "plate-description",
    "checksum_algorithm",
    "annotation_ns",
    "annotation_text",
    "annotation_link",
    "minutes_wait",
];
const WITHOUT_VALUE: &[&str] = &[
    "report",
    "upload",
    "logs",
    "no-thumbnails",
    "advanced-help",
    "close-completed",
    "wait-completed",
    "auto-close",
    "no-stats-info",
    "no-upgrade-check",
    "no_thumbnails",
    "close_completed",
    "wait_completed",
    "auto_close",
    "debug",
];

/// Stands for the importer's long usage text; it always ends with 1.
fn usage() -> i32 {
    complain!("\n Usage:  importer-cli OPTIONS PATHS\n   or:   importer-cli OPTIONS -\n");
    1
}

/// An exception that nobody catches: the Java machine prints it and ends with 1.
fn uncaught(exception: &str) -> i32 {
    complain!("Exception in thread \"main\" {exception}\n\tat {IMPORTER}.main({IMPORTER}.java)");
    1
}

/// GNU getopt, permuting: options may follow paths, `--` ends them.
fn options(words: &[String], log: &Log) -> Result<Options, i32> {
    let mut o = Options { parallel_upload: 1, parallel_fileset: 1, ..Options::default() };
    let mut i = 0;
    while i < words.len() {
        let word = &words[i];
        i += 1;
        if word == "--" {
            o.paths.extend_from_slice(&words[i..]);
            break;
        }
        if let Some(long) = word.strip_prefix("--") {
            let (typed, glued) = long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v.to_owned())));
            let all = || WITH_VALUE.iter().chain(WITHOUT_VALUE);
            let mut matching: Vec<&str> = all().filter(|n| n.starts_with(typed)).copied().collect();
            if let Some(exact) = all().find(|n| **n == typed) {
                matching = vec![exact];
            }
            let [name] = matching.as_slice() else {
                complain!("importer-cli: unrecognized option '--{typed}'");
                return Err(usage());
            };
            let value = if WITH_VALUE.contains(name) {
                let v = glued.or_else(|| words.get(i).cloned().inspect(|_| i += 1));
                let Some(v) = v else {
                    complain!("importer-cli: option '--{name}' requires an argument");
                    return Err(usage());
                };
                v
            } else {
                glued.unwrap_or_default()
            };
            o.set(name, value, log)?;
        } else if word.starts_with('-') && word.len() > 1 {
            let mut rest = &word[1..];
            while let Some(c) = rest.chars().next() {
                rest = &rest[c.len_utf8()..];
                let value = match c {
                    'c' | 'f' | 'h' => String::new(),
                    'l' | 's' | 'u' | 'w' | 'd' | 'r' | 'T' | 'k' | 'x' | 'n' | 'p' => {
                        let v = if rest.is_empty() {
                            words.get(i).cloned().inspect(|_| i += 1)
                        } else {
                            Some(std::mem::take(&mut rest).to_owned())
                        };
                        let Some(v) = v else {
                            complain!("importer-cli: option requires an argument -- {c}");
                            return Err(usage());
                        };
                        v
                    }
                    other => {
                        complain!("importer-cli: invalid option -- {other}");
                        return Err(usage());
                    }
                };
                o.set(&c.to_string(), value, log)?;
            }
        } else {
            o.paths.push(word.clone());
        }
    }
    Ok(o)
}

fn number(text: &str) -> Result<i64, i32> {
    text.parse()
        .map_err(|_| uncaught(&format!("java.lang.NumberFormatException: For input string: \"{text}\"")))
}

impl Options {
    fn set(&mut self, name: &str, value: String, log: &Log) -> Result<(), i32> {
        let once = |slot: &mut Option<String>, what: &str, value: String| {
            if slot.is_some() {
                log.error(IMPORTER, &format!("Conflicting arguments setting {what}."), None);
                return Err(usage());
            }
            *slot = Some(value);
            Ok(())
        };
        match name {
            "h" | "advanced-help" => return Err(usage()),
            "k" => self.key = Some(value),
            "n" | "name" | "plate_name" | "plate-name" => once(&mut self.name, "userSpecifiedName", value)?,
            "x" | "description" | "plate_description" | "plate-description" => {
                once(&mut self.description, "userSpecifiedDescription", value)?;
            }
            "T" | "target" => self.target = Some(value),
            "d" | "r" => {
                let class = if name == "d" { "Dataset" } else { "Screen" };
                self.target = Some(if value.starts_with(&format!("{class}:")) {
                    value
                } else {
                    format!("{class}:{}", number(&value)?)
                });
            }
            "p" => {
                number(&value)?;
            }
            "f" => self.list_only = true,
            "c" => self.go_on = true,
            "transfer" => {
                log.info(IMPORTER, &format!("Setting transfer to {value}"));
                self.transfer = Transfer::of(&value).ok_or_else(|| {
                    uncaught(&format!(
                        "java.lang.RuntimeException: Failed to load file transfer class {value}"
                    ))
                })?;
            }
            "exclude" => {
                log.info(IMPORTER, &format!("Adding exclusion: {value}"));
                if value != "filename" && value != "clientpath" {
                    return Err(uncaught(&format!(
                        "java.lang.RuntimeException: Failed to load file exclusion class {value}"
                    )));
                }
                self.exclude.push(value);
            }
            "checksum-algorithm" | "checksum_algorithm" => {
                once(&mut self.checksum, "checksumAlgorithm", value)?;
            }
            "output" => {
                self.output = match value.as_str() {
                    "ids" => Output::Ids,
                    "yaml" => Output::Yaml,
                    "legacy" => Output::Legacy,
                    other => {
                        return Err(uncaught(&format!(
                            "java.lang.IllegalArgumentException: No enum constant {other}"
                        )));
                    }
                }
            }
            "parallel-upload" => self.parallel_upload = number(&value)?,
            "parallel-fileset" => self.parallel_fileset = number(&value)?,
            "annotation-ns" | "annotation_ns" => self.namespaces.push(value),
            "annotation-text" | "annotation_text" => self.texts.push(value),
            "annotation-link" | "annotation_link" => self.links.push(number(&value)?),
            "minutes-wait" | "minutes_wait" => self.no_wait = number(&value)? == 0,
            "auto-close" | "auto_close" => self.no_wait = true,
            "close-completed" | "wait-completed" | "close_completed" | "wait_completed" => {
                self.completed = true
            }
            _ => {}
        }
        Ok(())
    }
}

/// One path a line, trimmed of blanks; blank lines do not count.
fn paths_from_stdin() -> (Vec<String>, String) {
    let mut bytes = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut bytes);
    let text = decode(&bytes);
    let paths = text
        .split(['\n', '\r'])
        .map(|l| l.trim_matches(|c: char| c <= ' '))
        .filter(|l| !l.is_empty())
        .map(str::to_owned)
        .collect();
    (paths, text)
}

/// In a locale that is not UTF-8, Java loses every other character.
fn decode(bytes: &[u8]) -> String {
    if sys::utf8_locale() {
        String::from_utf8_lossy(bytes).into_owned()
    } else {
        bytes.iter().map(|b| if b.is_ascii() { char::from(*b) } else { '\u{fffd}' }).collect()
    }
}

/// The program under its name `java`.
pub fn main(words: &[String]) -> i32 {
    use std::os::unix::process::parent_id;
    if let Some(dir) = Store::directory() {
        record::java(&dir, words);
    }
    let at = words.iter().position(|w| w == super::START_CLASS).unwrap_or(words.len());
    let (machine, rest) = words.split_at(at);
    let of = |key: &str| machine.iter().find_map(|w| w.strip_prefix(key));
    let log = Log::of(of("-Dlogback.configurationFile=").map(Path::new));
    let depth = of("-Domero.import.depth=").and_then(|d| d.parse().ok()).unwrap_or(4);
    let arguments: Vec<String> = rest.iter().skip(1).map(|w| decode(w.as_bytes())).collect();
    log.info(CONFIG, "OMERO.blitz Version: 5.7.4");
    log.info(
        CONFIG,
        "Bioformats version: 7.3.1 revision: 41e12f630ad7349caa0293cba23948c17d22732b date: 11 July 2024",
    );
    let mut o = match options(&arguments, &log) {
        Ok(o) => o,
        Err(code) => return code,
    };
    log.info(IMPORTER, "Log levels -- Bio-Formats: ERROR OMERO.importer: INFO");
    if o.completed {
        return if o.paths.is_empty() { 0 } else { 254 };
    }
    let Some(dir) = Store::directory() else {
        complain!("OMERO_STANDIN is not set");
        return 99;
    };
    if o.paths == ["-"] {
        let (paths, text) = paths_from_stdin();
        record::hand_over_stdin(&dir, parent_id(), &text);
        o.paths = paths;
    }
    let command = if o.list_only { FORECAST } else { "import" };
    Importer {
        log,
        o,
        faults: Faults::of(&dir, command),
        dir,
        depth,
        errors: 0,
        lost: false,
        uploaded: 0,
        filesets: 0,
        images: 0,
        plates: 0,
    }
    .start()
}

struct Importer {
    log: Log,
    o: Options,
    dir: PathBuf,
    depth: i64,
    faults: Faults,
    errors: usize,
    /// The connection to the server is gone.
    lost: bool,
    uploaded: usize,
    filesets: usize,
    images: usize,
    plates: usize,
}

fn plural(n: usize, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}

impl Importer {
    fn start(mut self) -> i32 {
        let began = Instant::now();
        self.faults.user = self.user();
        let paths = self.o.paths.clone();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        self.faults.strike_for("start", &paths);
        // A point has to be named for a forecast to be sure that it is meant.
        if let Some(f) = self.faults.take_for("exit", self.o.list_only.then_some("before-transfer"), &paths) {
            return f.code.unwrap_or(1);
        }
        self.strike("before-scan", &paths);
        self.log.info(CANDIDATES, &format!("Depth: {} Metadata Level: MINIMUM", self.depth));
        let found = candidates::search(&self.o.paths, self.depth, &self.faults);
        self.report_search(&found, began);
        if self.o.list_only {
            self.list(&found.candidates);
            return if found.candidates.is_empty() { 125 } else { 0 };
        }
        if found.candidates.is_empty() {
            if self.errors > 0 {
                complain!("No imports due to errors!");
                return 0;
            }
            complain!("No imports found");
            return usage();
        }
        // The server is first spoken to when all files have been looked at.
        let (store, context) = match self.connect() {
            Ok(client) => client,
            Err(why) => {
                self.log.error(IMPORTER, "Error during import process.", Some(&why));
                return 2;
            }
        };
        if let Some(target) = &self.o.target {
            for _ in &found.candidates {
                self.log.info(CONFIG, &format!("Using import target: {target}"));
            }
        }
        self.log.thread.set(FILESET);
        let code = self.import_all(store, &context, found.candidates);
        let ms = began.elapsed().as_millis();
        let plates =
            if self.plates > 0 { format!(", {}", plural(self.plates, "plate")) } else { String::new() };
        complain_on!(
            "\n==> Summary\n{} uploaded, {}{plates} created, {} imported, {} in {}:{:02}:{:02}.{:03}\n",
            plural(self.uploaded, "file"),
            plural(self.filesets, "fileset"),
            plural(self.images, "image"),
            plural(self.errors, "error"),
            ms / 3_600_000,
            ms / 60_000 % 60,
            ms / 1000 % 60,
            ms % 1000
        );
        self.faults.strike("end", None);
        code
    }

    /// Whose session it is, for faults that are only meant for some.
    fn user(&self) -> String {
        let key = self.o.key.as_deref().unwrap_or_default();
        let context = Store::open(&self.dir).ok().and_then(|s| s.join(key).ok());
        context.map(|c| c.user_name).unwrap_or_default()
    }

    fn connect(&mut self) -> Result<(Store, Context), String> {
        let key = self.o.key.clone().ok_or("omero.ClientError: no session key")?;
        self.log.info(
            "ome.formats.OMEROMetadataStoreClient",
            "Attempting initial SSL connection to localhost:4064",
        );
        let store = Store::open(&self.dir)?;
        let context = store
            .join(&key)
            .map_err(|e| format!("Glacier2.PermissionDeniedException\n    reason = \"{e:?}\""))?;
        for line in [
            "Insecure connection requested, falling back",
            "Pinging session every 300s.",
            "Server: 5.6.12",
            "Client: 5.7.4",
            "Java Version: 17.0.15",
        ] {
            self.log.info("ome.formats.OMEROMetadataStoreClient", line);
        }
        Ok((store, context))
    }

    /// Lets happen what is planned for a point; log lines without end are among it.
    fn strike(&self, point: &str, paths: &[&str]) {
        self.faults.strike_for(point, paths);
        let flood = self.faults.take_for("huge-output", Some(point), paths).or_else(|| {
            // Without a point, it comes before the scan.
            let any = (point == "before-scan" && !self.o.list_only)
                .then(|| self.faults.take_for("huge-output", Some("before-transfer"), paths));
            any.flatten()
        });
        if let Some(f) = flood {
            self.flood(f.bytes.unwrap_or(16 << 20));
        }
    }

    fn flood(&self, bytes: u64) {
        let line = "x".repeat(1000);
        let mut written = 0;
        while written < bytes {
            self.log.info(MONITOR, &line);
            written += 1100;
        }
    }

    fn report_search(&mut self, found: &Found, began: Instant) {
        for complaint in &found.complaints {
            match complaint {
                Complaint::Unreadable(path) => self.log.error(
                    HANDLER,
                    &format!("UNREADABLE_FILE: {path}"),
                    Some(&format!("java.io.FileNotFoundException: {path}")),
                ),
                // A warning, which counts as no error.
                Complaint::MissingLibrary(path, why) => {
                    self.log.warn(HANDLER, &format!("MISSING_LIBRARY: {path}"), why);
                }
                Complaint::Broken(path, why) => {
                    self.errors += 1;
                    self.log.error(HANDLER, &format!("FILE_EXCEPTION: {path}"), Some(why));
                }
            }
        }
        let ms = began.elapsed().as_millis();
        self.log.info(
            CANDIDATES,
            &format!(
                "{} file(s) parsed into {} group(s) with {} call(s) to setId in {ms}ms. ({ms}ms total) [{} unknowns]",
                found.candidates.iter().map(|c| c.used.len()).sum::<usize>(),
                found.candidates.len(),
                found.looked,
                found.unknown
            ),
        );
    }

    /// `-f`: the groups and their files, unquoted whatever they hold.
    fn list(&self, all: &[Candidate]) {
        let mut text = String::new();
        if self.o.output == Output::Yaml {
            text += "---\n";
        }
        for c in all {
            let spw = c.spw;
            if self.o.output == Output::Yaml {
                text += &format!("- group: {}\n  spw: {spw}\n  reader: {}\n  files:\n", c.file, c.reader);
                for u in &c.used {
                    text += &format!("   - {u}\n");
                }
            } else {
                text += "#======================================\n";
                text += &format!("# Group: {} SPW: {spw} Reader: {}\n", c.file, c.reader);
                for u in &c.used {
                    text += &format!("{u}\n");
                }
            }
        }
        put(&mut std::io::stdout(), &text);
    }

    fn import_all(&mut self, mut store: Store, context: &Context, all: Vec<Candidate>) -> i32 {
        if self.o.parallel_fileset < 1 || self.o.parallel_upload < 1 {
            self.log.error(
                IMPORTER,
                "Error during import process.",
                Some("java.lang.IllegalArgumentException"),
            );
            return 2;
        }
        let target = match self.o.target.as_deref().map(Target::parse).transpose() {
            Ok(t) => t,
            Err(why) => {
                self.log.error(IMPORTER, "Error during import process.", Some(&why));
                return 2;
            }
        };
        let together = usize::try_from(self.o.parallel_fileset).unwrap_or(1);
        let mut sources = Vec::new();
        let mut done = false;
        let mut successful = true;
        for chunk in all.chunks(together) {
            // Of those that run at once, the last may well be the first to finish.
            let mut outcomes = Vec::new();
            for c in chunk {
                if done {
                    self.strike("between-filesets", &[&c.file]);
                }
                done = true;
                sources.extend(c.used.iter().cloned());
                match self.import_one(&mut store, context, c, target.as_ref()) {
                    Ok(outcome) => outcomes.push((c, outcome)),
                    Err(why) => {
                        let first = why.lines().next().unwrap_or_default();
                        let message =
                            first.strip_prefix("omero.").and_then(|x| x.split_once(": ")).map_or_else(
                                || "Error on import".to_owned(),
                                |(_, m)| format!("Error on import: {m}"),
                            );
                        self.log.error(LIBRARY, &message, Some(&why));
                        if self.o.go_on {
                            self.log.info(LIBRARY, "Continuing after error");
                        } else {
                            self.log.info(LIBRARY, "Exiting on error");
                            successful = false;
                            break;
                        }
                    }
                }
            }
            for (c, outcome) in outcomes.into_iter().rev() {
                if let Some(o) = outcome {
                    self.print(&store, context, c, &o);
                }
            }
            if !successful {
                break;
            }
        }
        if self.o.transfer.removes() && self.errors == 0 {
            let mut failed = 0;
            for s in &sources {
                let refused = self.faults.take("cleanup-failure", None, Some(s)).is_some();
                if refused || std::fs::remove_file(s).is_err() {
                    complain!("{}Cleanup failed!\n{s}", if failed == 0 { "" } else { "\n" });
                    failed += 1;
                }
            }
            if failed > 0 {
                self.log.error(IMPORTER, &format!("Failed to cleanup {failed} files"), None);
                return 3;
            }
        }
        if successful { 0 } else { 2 }
    }

    /// Whether a veto of `--exclude` keeps this fileset out.
    fn excluded(&self, store: &Store, context: &Context, c: &Candidate) -> Result<bool, String> {
        for kind in &self.o.exclude {
            let first = &c.used[0];
            if kind == "clientpath" {
                let path = client_path(first);
                let q = format!(
                    "select fe.id from FilesetEntry fe where fe.clientPath = '{}'",
                    path.replace('\'', "''")
                );
                if !hql::run(store, context, &q, false, 0, -1)?.is_empty() {
                    self.log.info(
                        "ome.formats.importer.exclusions.ClientPathExclusion",
                        &format!("ClientPath match for filename: {path}"),
                    );
                    return Ok(true);
                }
            } else {
                let name = Path::new(first)
                    .file_name()
                    .map(|n| n.to_string_lossy().into_owned())
                    .unwrap_or_default();
                let q = format!(
                    "select f.hasher, f.hash from OriginalFile f where f.name = '{}'",
                    name.replace('\'', "''")
                );
                for row in hql::run(store, context, &q, false, 0, -1)? {
                    let (hasher, hash) = (row[0].show(), row[1].show());
                    // The first row without a hash makes it abstain altogether.
                    if hash == "None" || hasher == "None" {
                        break;
                    }
                    if server::checksum(&hasher, Path::new(first)).is_ok_and(|h| h == hash) {
                        self.log.info(
                            "ome.formats.importer.exclusions.FilenameExclusion",
                            &format!("Checksum match for filename: {name}"),
                        );
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    fn import_one(
        &mut self,
        store: &mut Store,
        context: &Context,
        c: &Candidate,
        target: Option<&Target>,
    ) -> Result<Option<Outcome>, String> {
        let path = c.file.as_str();
        let alive = |store: &Store| {
            store.join(&context.session).map(|_| ()).map_err(|_| {
                "Ice.ObjectNotExistException\n    facet = \"\"\n    operation = \"getSession\"".to_owned()
            })
        };
        let lose = |store: &Store, faults: &Faults, point: &str| {
            if faults.take("session-lost", Some(point), Some(path)).is_some() {
                let _ = store.close_session(&context.session);
            }
        };
        self.lost |= self.faults.take("connection-lost", None, Some(path)).is_some();
        if self.lost {
            // The target is the first thing that is asked of the server.
            if target.is_some() {
                self.log.error(
                    LIBRARY,
                    "Could not load target: ome.formats.importer.targets.ModelImportTarget@6bf2d08e",
                    None,
                );
                return Err("java.lang.RuntimeException: Failed to load target\nCaused by: Ice.ConnectionLostException\n    error = 0".to_owned());
            }
            return Err("Ice.ConnectionLostException\n    error = 0".to_owned());
        }
        lose(store, &self.faults, "before-fileset");
        alive(store)?;
        // The target comes first, so that an excluded fileset leaves its new
        // container behind.
        let mut container = None;
        let mut template = None;
        match target {
            Some(Target::Model(m)) => {
                let log = &self.log;
                let mut say = |level: &str, text: String| {
                    if level == "error" {
                        log.error("ome.formats.importer.targets.ModelImportTarget", &text, None);
                    } else {
                        log.info("ome.formats.importer.targets.ModelImportTarget", &text);
                    }
                };
                // Looking and making are two requests: two runs at once may make
                // two containers of one name, as with the real importer.
                let loaded = m.load(store, context, &mut say).map_err(|e| {
                    self.log.error(
                        LIBRARY,
                        "Could not load target: ome.formats.importer.targets.ModelImportTarget",
                        None,
                    );
                    format!("java.lang.RuntimeException: Failed to load target\nCaused by: {e}")
                })?;
                self.log.info(
                    LIBRARY,
                    &format!("Import target specifies container: {}", server::describe(loaded)),
                );
                container = Some(loaded);
            }
            Some(Target::Template { which, pattern }) => {
                let directory =
                    Path::new(path).parent().map(|d| d.to_string_lossy().into_owned()).unwrap_or_default();
                template = Some((which.clone(), pattern.clone(), directory));
            }
            None => {}
        }
        if self.excluded(store, context, c)? {
            self.log.debug(MONITOR, "FILESET_EXCLUSION");
            return Ok(None);
        }
        if let Some(t) = container
            && !server::may_fill(store, context, t).map_err(|e| e.to_string())?
        {
            self.log.error(LIBRARY, "Cannot link to target", None);
            return Err("java.lang.IllegalArgumentException: Cannot link to target".to_owned());
        }
        self.strike("before-fileset", &[path]);
        let checksum = self.o.checksum.clone().unwrap_or_else(|| "SHA1-160".to_owned());
        if !server::HASHERS.contains(&checksum.as_str()) {
            return Err("java.lang.IllegalArgumentException: unknown checksum algorithm".to_owned());
        }
        self.log.info(MONITOR, "FILESET_UPLOAD_PREPARATION");
        let fileset = server::save_fileset(store, context, c, self.o.transfer)?;
        self.log.info(MONITOR, "FILESET_UPLOAD_START");
        self.faults.strike("after-fileset", Some(path));
        lose(store, &self.faults, "after-fileset");
        self.faults.strike("before-transfer", Some(path));
        lose(store, &self.faults, "before-transfer");
        alive(store)?;
        for file in &fileset.files {
            self.log.of_thread(FILE, self.o.transfer.class(), &format!("Transferring {}...", file.source));
            self.log.of_thread(FILE, MONITOR, &format!("FILE_UPLOAD_STARTED: {}", file.source));
            if let Err(why) = server::transfer(store, file, self.o.transfer, &checksum, &self.faults) {
                // Whatever went wrong, it is told as if the file were to blame.
                self.errors += 1;
                self.log.error(HANDLER, &format!("FILE_EXCEPTION: {}", file.source), Some(&why));
                return Err(why);
            }
            self.uploaded += 1;
            self.log.of_thread(FILE, MONITOR, &format!("FILE_UPLOAD_COMPLETE: {}", file.source));
        }
        // The checksums are compared when all files are there; that counts as no error, and names no file.
        let differs = |f: &server::Entry| self.faults.take("checksum", None, Some(&f.source)).is_some();
        if fileset.leads_up || fileset.files.iter().any(differs) {
            self.log.info(MONITOR, "FILESET_UPLOAD_END");
            return Err("omero.ChecksumValidationException: A checksum mismatch has occurred.".to_owned());
        }
        server::note_upload(store, fileset.id)?;
        self.log.info(MONITOR, "FILESET_UPLOAD_END");
        self.faults.strike("after-transfer", Some(path));
        lose(store, &self.faults, "after-transfer");
        alive(store)?;
        self.log.info(MONITOR, "IMPORT_STARTED Logfile: 1");
        let job = server::Job {
            context: context.clone(),
            candidate: c.clone(),
            fileset,
            wishes: server::Wishes {
                name: self.o.name.clone(),
                description: self.o.description.clone(),
                namespaces: self.o.namespaces.clone(),
                texts: self.o.texts.clone(),
                links: self.o.links.clone(),
                container,
                template,
            },
            faults: self.faults.clone(),
        };
        let outcome = server::import(store, &job).map_err(|refusal| match refusal {
            server::Refusal::Answer { name, exception, message } => {
                self.errors += 1;
                let response = format!(
                    "java.lang.RuntimeException: Failure response on import!\nCategory: ::omero::grid::ImportRequest\nName: {name}\nParameters: {{stacktrace={exception}\n\tat ome.services.blitz.repo.ManagedImportRequestI.open(ManagedImportRequestI.java:763)\n, message={message}}}\n"
                );
                // It is told twice, the second time without a line of its own.
                let twice = format!("{response}\n\tat {LIBRARY}$ImportCallback.onFinished(ImportLibrary.java:807)\n\n{response}");
                let before = self.log.thread.replace(ANSWERS);
                self.log.error(HANDLER, &format!("INTERNAL_EXCEPTION: {path}"), Some(&twice));
                self.log.thread.set(before);
                "java.lang.Exception: Import failure".to_owned()
            }
            server::Refusal::Gone(why) => why,
        })?;
        for step in [
            "METADATA_IMPORTED Step: 1 of 5  Logfile: 1",
            "PIXELDATA_PROCESSED Step: 2 of 5  Logfile: 1",
            "THUMBNAILS_GENERATED Step: 3 of 5  Logfile: 1",
            "METADATA_PROCESSED Step: 4 of 5  Logfile: 1",
            "OBJECTS_RETURNED Step: 5 of 5  Logfile: 1",
        ] {
            self.log.of_thread(ANSWERS, MONITOR, step);
        }
        self.faults.strike("after-images", Some(path));
        lose(store, &self.faults, "after-images");
        if self.o.no_wait {
            self.log.info(LIBRARY, "Disconnecting from import process...");
            return Ok(None);
        }
        self.filesets += 1;
        self.images += outcome.images.len();
        self.plates += outcome.plates.len();
        Ok(Some(outcome))
    }

    fn print(&self, store: &Store, context: &Context, c: &Candidate, o: &Outcome) {
        self.log.of_thread(ANSWERS, MONITOR, &format!("IMPORT_DONE Imported file: {}", c.file));
        let out = &mut std::io::stdout();
        let mut shown = vec![o.clone()];
        if let Some(f) = self.faults.take("garbage", None, Some(&c.file)) {
            put(out, &f.text.unwrap_or_else(|| "%$ not: [a result\n\u{0}{{\n".to_owned()));
        }
        if self.faults.take("no-output", None, Some(&c.file)).is_some() {
            shown.clear();
        }
        if let Some(f) = self.faults.take("foreign-results", None, Some(&c.file)) {
            shown.extend(
                f.ids.unwrap_or_default().iter().filter_map(|id| server::outcome_of(store, *id).ok()),
            );
        }
        let _ = context;
        for o in &shown {
            print_outcome(self.o.output, o);
        }
        if self.errors > 0 {
            self.log.of_thread(ANSWERS, HANDLER, &format!("Number of errors: {}", self.errors));
        }
        self.strike("after-result", &[&c.file]);
    }
}

fn print_outcome(output: Output, o: &Outcome) {
    let list = |ids: &[i64]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let (out, err) = (&mut std::io::stdout(), &mut std::io::stderr());
    let others = |with_images: bool| {
        let mut text = format!("Other imported objects:\nFileset:{}\n", o.fileset);
        if with_images {
            for i in &o.images {
                text += &format!("Image:{i}\n");
            }
        }
        text
    };
    match output {
        Output::Ids => {
            if o.plates.is_empty() {
                put(out, &format!("Image:{}\n", list(&o.images)));
            } else {
                put(out, &format!("Plate:{}\n", list(&o.plates)));
            }
            put(err, &others(!o.plates.is_empty()));
        }
        Output::Legacy => {
            put(err, "Imported pixels:\n");
            for p in &o.pixels {
                put(out, &format!("{p}\n"));
            }
            put(err, &others(true));
        }
        Output::Yaml => {
            put(err, "Imported objects:\n");
            let mut text = format!("---\n- Fileset: {}\n", o.fileset);
            if !o.images.is_empty() {
                text += &format!("  Image: [{}]\n", list(&o.images));
            }
            if !o.plates.is_empty() {
                text += &format!("  Plate: [{}]\n", list(&o.plates));
            }
            put(out, &text);
        }
    }
}

/// The Java class of a kind of transfer, as the server remembers it.
pub fn transfer_class(name: &str) -> Option<&'static str> {
    Transfer::of(name).map(Transfer::class)
}

/// A file's checksum by the name of the algorithm.
pub fn checksum(hasher: &str, path: &Path) -> std::io::Result<String> {
    server::checksum(hasher, path)
}
