//! `omero import`: the Python half, which logs in, builds a Java command line
//! and waits for it. The Java half is this program started once more under the
//! name `java`, a process of its own: killing the Python half leaves it working.

mod bioformats;
pub mod candidates;
pub mod java;
mod ome_xml;
mod pattern;
pub mod readers;
pub mod server;
pub mod target;

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::args::{Many, Namespace, Opt, Spec, Takes, Value, flag, login_options, one, opt};
use crate::fault::Faults;
use crate::session::{Connector, user_dir};
use crate::{Stop, die, sys};

/// The class whose name ends the options of the Java machine itself.
pub const START_CLASS: &str = "ome.formats.importer.cli.CommandLineImporter";

/// Values that Python keeps to itself; everything else goes to Java.
const PYTHON_ONLY: &[&str] = &[
    "help",
    "javahelp",
    "skip",
    "file",
    "errs",
    "logback",
    "port",
    "password",
    "group",
    "create",
    "bulk",
    "user",
    "key",
    "path",
    "logprefix",
    "JAVA_DEBUG",
    "quiet",
    "server",
    "depth",
    "clientdir",
    "fetch_jars",
    "sudo",
    "command_args",
    "plugin_path",
    "version",
    "debug",
];

/// The options of `omero import`.
pub fn spec(prog: &str) -> Spec {
    let perhaps = |names: &[&'static str], dest| opt(names, dest, Takes::Perhaps);
    let python: Vec<Opt> = vec![
        flag(&["--javahelp", "--java-help"], "javahelp"),
        perhaps(&["--bulk", "---bulk"], "bulk"),
        perhaps(&["--logprefix", "---logprefix"], "logprefix"),
        perhaps(&["--file", "---file"], "file"),
        perhaps(&["--errs", "---errs"], "errs"),
        one(&["--clientdir"], "clientdir"),
        one(&["--logback"], "logback"),
        one(&["--fetch-jars"], "fetch_jars"),
    ];
    let java = vec![
        one(&["-n", "--name"], "name"),
        one(&["-x", "--description"], "description"),
        one(&["--plate_name"], "plate_name"),
        one(&["--plate_description"], "plate_description"),
        flag(&["--report"], "report"),
        flag(&["--upload"], "upload"),
        flag(&["--logs"], "logs"),
        one(&["--email"], "email"),
        one(&["--qa-baseurl"], "qa_baseurl"),
        one(&["--annotation-ns", "--annotation_ns"], "annotation_ns"),
        one(&["--annotation-text", "--annotation_text"], "annotation_text"),
        one(&["--annotation-link", "--annotation_link"], "annotation_link"),
        flag(&["-f"], "f"),
        flag(&["-c"], "c"),
        one(&["-l", "--readers"], "readers"),
        one(&["-d"], "d"),
        one(&["-r"], "r"),
        one(&["-T", "--target"], "target"),
        one(&["--debug"], "JAVA_DEBUG").choices(&["ALL", "DEBUG", "ERROR", "FATAL", "INFO", "TRACE", "WARN"]),
        one(&["--output"], "output").choices(&["ids", "legacy", "yaml"]),
        one(&["--encrypted"], "encrypted").choices(&["true", "false"]),
        flag(&["--advanced-help"], "advanced_help"),
        perhaps(&["--transfer"], "transfer"),
        perhaps(&["--exclude"], "exclude"),
        perhaps(&["--checksum-algorithm"], "checksum_algorithm"),
        flag(&["--no-stats-info"], "no_stats_info"),
        flag(&["--no-thumbnails"], "no_thumbnails"),
        flag(&["--no-upgrade-check"], "no_upgrade_check"),
        one(&["--parallel-upload"], "parallel_upload"),
        one(&["--parallel-fileset"], "parallel_fileset"),
        one(&["--depth"], "depth").int(),
        one(&["--skip"], "skip").choices(&["all", "checksum", "minmax", "thumbnails", "upgrade"]).append(),
    ];
    Spec::new(&format!("{prog} import")).with(login_options()).with(python).with(java).pos("path", Many::Any)
}

/// Jar files directly in a directory.
fn jars(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|x| x == "jar") && p.is_file())
        .collect()
}

fn classpath_and_logback(args: &Namespace) -> Result<(Vec<PathBuf>, PathBuf), Stop> {
    let tree = std::env::var_os("OMERODIR").map_or_else(|| PathBuf::from("/nonexistent"), PathBuf::from);
    let lib = tree.join("lib/client");
    let logback = args.str("logback").map_or_else(|| tree.join("etc/logback-cli.xml"), PathBuf::from);
    let dir = match args.str("clientdir") {
        Some(d) => PathBuf::from(d),
        None if lib.exists() => lib,
        None => {
            let cache = user_dir().join("cache/jars");
            let Ok(name) = std::fs::read_to_string(cache.join("OMERO.java.txt")) else {
                return Err(die(1, "Downloading https://downloads.openmicroscopy.org/omero/latest/OMERO.java.zip\nTraceback (most recent call last):\nrequests.exceptions.ConnectionError: no network here".to_owned()));
            };
            let libs = cache.join(name.trim()).join("libs");
            complain!("Using {}", name.trim());
            let logback = if args.str("logback").is_some() { logback } else { libs.join("logback-cli.xml") };
            return Ok((jars(&libs), logback));
        }
    };
    let found = jars(&dir);
    if found.is_empty() {
        return Err(die(103, format!("No JAR files found under '{}'", dir.display())));
    }
    Ok((found, logback))
}

/// The words for the importer proper, in the order Python puts them.
fn java_words(args: &Namespace, connection: &[String]) -> Vec<String> {
    let mut words = Vec::new();
    if args.flag("javahelp") {
        words.push("-h".to_owned());
    }
    words.extend_from_slice(connection);
    let skip = args.list("skip");
    for (what, word) in [
        ("checksum", "--checksum-algorithm=File-Size-64"),
        ("thumbnails", "--no-thumbnails"),
        ("minmax", "--no-stats-info"),
        ("upgrade", "--no-upgrade-check"),
    ] {
        if skip.iter().any(|s| s == "all" || s == what) {
            words.push(word.to_owned());
        }
    }
    for (key, value) in &args.0 {
        if PYTHON_ONLY.contains(&key.as_str()) {
            continue;
        }
        let name = key.replace('_', "-");
        match value {
            Value::Bool(true) if key.len() == 1 => words.push(format!("-{key}")),
            Value::Bool(true) => words.push(format!("--{name}")),
            Value::Str(v) if v.is_empty() => {}
            Value::Str(v) if key.len() == 1 => words.extend([format!("-{key}"), v.clone()]),
            Value::Str(v) => words.push(format!("--{name}={v}")),
            _ => {}
        }
    }
    words.extend_from_slice(args.list("path"));
    if let Some(level) = args.str("JAVA_DEBUG") {
        words.push(format!("--debug={level}"));
    }
    words
}

/// A file for the output of Java, its directories made.
fn log_file(args: &Namespace, key: &str) -> Result<Option<File>, Stop> {
    let Some(name) = args.str(key) else { return Ok(None) };
    let path =
        args.str("logprefix").map_or_else(|| PathBuf::from(name), |p| PathBuf::from(format!("{p}/{name}")));
    let traceback =
        |e: std::io::Error| die(1, format!("Traceback (most recent call last):\n{e}: '{}'", path.display()));
    if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir).map_err(traceback)?;
    }
    File::create(&path).map(Some).map_err(traceback)
}

/// Runs the command; returns its exit code.
pub fn run(args: &Namespace, dir: &Path, faults: &mut Faults) -> Result<i32, Stop> {
    if let Some(version) = args.str("fetch_jars") {
        return Err(die(1, format!("Downloading {version}")));
    }
    let (classpath, logback) = classpath_and_logback(args)?;
    let mut connection = Vec::new();
    if !args.flag("javahelp") && !args.flag("f") && !args.flag("advanced_help") {
        let client = Connector { dir, faults }.log_in(args)?;
        for (option, value) in [("-s", &client.host), ("-p", &client.port), ("-k", &client.context.session)] {
            connection.extend([option.to_owned(), value.clone()]);
        }
        faults.user.clone_from(&client.context.user_name);
    }
    if args.str("bulk").is_some() {
        if !args.list("path").is_empty() {
            return Err(die(104, "When using bulk import, omit paths".to_owned()));
        }
        return Err(die(99, "stand-in: --bulk is not modelled".to_owned()));
    }
    if let Some(f) = faults.take("kill-python", None, None) {
        sys::die_by_signal(f.signal.unwrap_or(libc::SIGKILL));
    }
    let tmp = std::env::var("OMERO_TMPDIR").unwrap_or_else(|_| "/tmp".to_owned());
    let cp: Vec<String> = classpath.iter().map(|p| p.display().to_string()).collect();
    let mut words = vec![
        "-Dlog4j.configuration=etc/log4j.xml".to_owned(),
        format!("-Dlogback.configurationFile={}", logback.display()),
        format!("-Djava.io.tmpdir={tmp}/omero/{}", std::process::id()),
        "-Xmx1024M".to_owned(),
        "-cp".to_owned(),
        cp.join(":"),
        format!("-Domero.import.depth={}", args.str("depth").unwrap_or("4")),
    ];
    if let Ok(options) = std::env::var("JAVA_OPTS") {
        words.extend(crate::shell::split(&options).map_err(|e| die(1, e))?);
    }
    words.push("-Djava.awt.headless=true".to_owned());
    words.push(START_CLASS.to_owned());
    words.extend(java_words(args, &connection));
    wait_for_java(args, &words)
}

fn wait_for_java(args: &Namespace, words: &[String]) -> Result<i32, Stop> {
    let me = std::env::current_exe().map_err(|e| die(1, e.to_string()))?;
    let mut command = Command::new(me);
    command.arg0("java").args(words);
    if let Some(f) = log_file(args, "file")? {
        command.stdout(Stdio::from(f));
    }
    if let Some(f) = log_file(args, "errs")? {
        command.stderr(Stdio::from(f));
    }
    // Python opens its files close-on-exec and passes nothing but 0, 1 and 2.
    sys::close_on_exec_above_stderr();
    let status = command.status().map_err(|e| die(1, format!("Java could not be found. ({e})")))?;
    Ok(status.code().or_else(|| status.signal().map(|s| -s)).unwrap_or(1))
}
