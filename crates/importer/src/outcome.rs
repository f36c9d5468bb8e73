//! What the `omero` command said, read with distrust: exit codes mean several things at once, results do not
//! name their files, and one line of a log may hold anything a file may be called. What OMERO itself holds
//! after the run decides; the output only explains what is missing.

use crate::ImporterError;
use crate::causes::{Cause, Causes, Told};
use crate::process::Finished;
use irods_omero_model::names::OmeroId;
use serde_json::Value;

/// The fileset ids in the importer's `--output yaml`.
pub fn filesets(stdout: &str) -> Vec<OmeroId> {
    stdout
        .lines()
        .filter_map(|line| line.trim_start_matches("- ").trim().strip_prefix("Fileset:"))
        .filter_map(|id| OmeroId::parse(id.trim()).ok())
        .collect()
}

/// The groups of files that `omero import -f --output yaml` prints. Paths stand there without quotes, so this is
/// read line by line and not as YAML. Gives of each the file that the importer begins with, and all that it uses.
pub fn groups(stdout: &str) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for line in stdout.lines() {
        if let Some(key) = line.strip_prefix("- group: ") {
            groups.push((key.to_owned(), Vec::new()));
        } else if let (Some(path), Some((_, group))) = (line.strip_prefix("   - "), groups.last_mut()) {
            group.push(path.to_owned());
        }
    }
    groups
}

/// The rows of `omero hql --style json`: each a list of columns. Lines before the array (`Previous session
/// expired ...`) are passed over.
///
/// # Errors
/// The output holds no table.
pub fn table(stdout: &str) -> Result<Vec<Vec<String>>, String> {
    let mut rest = stdout;
    while !rest.is_empty() {
        let here = rest;
        // A line ends as it likes (`\r\n` too), so the next one begins where the output says, not where we count.
        rest = here.split_once('\n').map_or("", |(_, after)| after);
        if !here.starts_with('[') {
            continue;
        }
        let Some(Ok(Value::Array(rows))) =
            serde_json::Deserializer::from_str(here).into_iter::<Value>().next()
        else {
            continue;
        };
        return rows
            .iter()
            .map(columns)
            .collect::<Option<_>>()
            .ok_or_else(|| "a row is not an object".to_owned());
    }
    Err("no JSON table in the output of 'omero hql'".to_owned())
}

/// `{"#": "0", "Col1": "55", "Col2": "x"}` → `["55", "x"]`
fn columns(row: &Value) -> Option<Vec<String>> {
    let row = row.as_object()?;
    (1..row.len()).map(|i| row.get(&format!("Col{i}"))?.as_str().map(str::to_owned)).collect()
}

/// The objects `omero obj` made, one a line: `MapAnnotation:12`.
pub fn made(stdout: &str, class: &str) -> Vec<OmeroId> {
    stdout
        .lines()
        .filter_map(|line| line.trim().strip_prefix(class)?.strip_prefix(':'))
        .filter_map(|id| OmeroId::parse(id).ok())
        .collect()
}

/// Whether a command found that its session is not there any more. (It says the same of a server that cannot be
/// reached.) It says so instead of anything else, so no name of ours is taken for it. Code and words: omero-py
/// `plugins/sessions.py`, 523 modulo 256.
pub fn is_session_lost(done: &Finished) -> bool {
    done.code() == Some(11) && done.stderr.contains("Bad session key.")
}

/// Why a command that logs in failed. Codes: omero-py `cli.py` and `plugins/sessions.py`, modulo 256.
pub fn login_failure(done: &Finished, sudo_user: &str, user: &str) -> ImporterError {
    let said = last_words(&done.stderr);
    if done.timed_out {
        return ImporterError::WillPass("OMERO did not answer the login in time".to_owned());
    }
    match done.code() {
        Some(42) => ImporterError::WillPass("OMERO cannot be reached (connection refused)".to_owned()),
        Some(43) => ImporterError::WillPass(format!("OMERO's host name cannot be found: {said}")),
        Some(45) => ImporterError::Refused(format!(
            "OMERO does not let '{sudo_user}' open a session for '{user}': does that OMERO user (and group) exist, \
             and has '{sudo_user}' the privilege Sudo? ({said})"
        )),
        Some(44) if done.stderr.contains("ApiUsageException") => {
            ImporterError::Refused(format!("OMERO does not know the user '{user}' or its group: {said}"))
        }
        Some(13) => ImporterError::Refused(format!("OMERO has no usable account '{user}': {said}")),
        Some(126 | 127) => {
            ImporterError::WillPass("the 'omero' command cannot be run: check importer/command".to_owned())
        }
        Some(44) if done.stderr.contains("cannot request password") => ImporterError::WillPass(format!(
            "OMERO refused the password of '{sudo_user}': check omero/password_file ({said})"
        )),
        code => ImporterError::WillPass(format!("logging in to OMERO failed ({}): {said}", shown(code))),
    }
}

/// What a run means for a file that has no images in OMERO afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The data's fault, in a form we know.
    Failed(String),
    /// A resource, a library, the configuration or the storage: it will pass, or somebody will mend it.
    Postponed(String),
    /// Nobody can say why.
    Unknown(String),
    /// The file needs another one that is not there, or that the importer may not read: its path.
    Uses(String),
}

/// Exceptions by which Bio-Formats says that it cannot make sense of the bytes of a file. All else it may throw is a
/// fault we do not know.
const DAMAGED: &[&str] = &[
    "loci.formats.FormatException",
    "loci.formats.UnknownFormatException",
    "loci.formats.UnsupportedCompressionException",
    "loci.formats.codec.CodecException",
    "ome.codecs.CodecException",
    "loci.common.enumeration.EnumException",
    "ome.xml.model.enums.EnumerationException",
    "java.io.EOFException",
    "java.io.UTFDataFormatException",
    "java.util.zip.DataFormatException",
    "java.util.zip.ZipException",
    "java.nio.BufferUnderflowException",
    "java.lang.ArrayIndexOutOfBoundsException",
    "java.lang.StringIndexOutOfBoundsException",
    "java.lang.IndexOutOfBoundsException",
    "java.lang.NegativeArraySizeException",
    "java.lang.NumberFormatException",
    "org.xml.sax.SAXException",
    "org.xml.sax.SAXParseException",
    "com.fasterxml.jackson.core.JsonParseException",
];

/// What the causes that name a file mean for it; `None` where there are none.
pub fn of_causes(causes: &[Cause], path: &str) -> Option<Verdict> {
    // A lack explains all else that was said.
    if let Some(need) = causes.iter().find_map(|c| c.needs) {
        return Some(Verdict::Postponed(need.sentence.to_owned()));
    }
    let told = |kind: Told| causes.iter().find(|c| c.told == kind);
    if let Some(cause) = told(Told::MissingLibrary) {
        return Some(Verdict::Postponed(format!(
            "the importer's Java lacks a library for this format ({}): look whether importer/jars is complete, and \
             whether importer/work_directory is on a file system that is mounted noexec",
            first_line(&cause.text)
        )));
    }
    if told(Told::Unreadable).is_some() {
        return Some(Verdict::Postponed(
            "the importer cannot read the file, or it is not there (yet)".to_owned(),
        ));
    }
    if let Some(cause) = told(Told::FileException) {
        return Some(match absent_file(&cause.text) {
            Some(other) if other == path => {
                Verdict::Postponed("the importer cannot read the file, or it is not there (yet)".to_owned())
            }
            Some(other) => Verdict::Uses(other.to_owned()),
            None => exception(&cause.text),
        });
    }
    if let Some(cause) = told(Told::Internal) {
        // What the reader says on the server.
        return Some(if cause.text.contains("accesses data outside managed repository") {
            Verdict::Failed(
                "the file names its other files by paths that OMERO cannot follow: name them without a directory, or \
                 relative to the file"
                    .to_owned(),
            )
        } else if cause.text.contains("loci.formats.FormatException") {
            Verdict::Failed(
                "the OMERO server knows the format but could not read the file: is it damaged?".to_owned(),
            )
        } else {
            Verdict::Unknown(format!(
                "the OMERO server could not import the file: ask its administrator to look at its log ({})",
                said_by_server(&cause.text)
            ))
        });
    }
    causes.first().map(|cause| Verdict::Unknown(format!("the OMERO import failed: {}", said(&cause.text))))
}

/// What an exception over the bytes of a file means. Only its class is told: its message may hold what is in a file.
fn exception(text: &str) -> Verdict {
    let line = first_line(text);
    // An error that is none of Java's exceptions is wrapped in one.
    let line = line.strip_prefix("java.lang.Exception: ").unwrap_or(line);
    let class = line.split_once(':').map_or(line, |(class, _)| class).trim();
    if DAMAGED.contains(&class) {
        let name = class.rsplit('.').next().unwrap_or(class);
        return Verdict::Failed(format!(
            "Bio-Formats knows the format but could not read the file: is it damaged? ({name})"
        ));
    }
    let is_class =
        class.contains('.') && class.chars().all(|c| c.is_ascii_alphanumeric() || "._$".contains(c));
    let class = if is_class { class } else { "without an exception" };
    Verdict::Unknown(format!("Bio-Formats failed over the file ({class})"))
}

/// The file that an exception says is not there, or may not be read.
fn absent_file(text: &str) -> Option<&str> {
    text.lines().find_map(|line| {
        let line = line.strip_prefix("Caused by: ").unwrap_or(line);
        let line = line.strip_prefix("java.lang.Exception: ").unwrap_or(line);
        let path = if let Some(rest) = line.strip_prefix("java.io.FileNotFoundException: ") {
            let reasons = [" (No such file or directory)", " (Permission denied)"];
            reasons.iter().find_map(|reason| rest.strip_suffix(reason)).unwrap_or(rest)
        } else {
            line.strip_prefix("java.nio.file.NoSuchFileException: ")
                .or_else(|| line.strip_prefix("java.nio.file.AccessDeniedException: "))?
        };
        path.starts_with('/').then_some(path)
    })
}

/// Why `path` was not imported by a run, from how the run ended and from what it said. `is_alone`: nothing else was
/// given to it, so that what names no file is about this one.
pub fn missing(done: &Finished, causes: &Causes, path: &str, is_alone: bool) -> Verdict {
    if let Some(verdict) = causes.of.get(path).and_then(|causes| of_causes(causes, path)) {
        return verdict;
    }
    if let Some(why) = ended_by_rule(done) {
        return why;
    }
    if let Some(need) = causes.loose.iter().find_map(|c| c.needs) {
        return Verdict::Postponed(need.sentence.to_owned());
    }
    if let Some(cause) = causes.loose.iter().find(|c| c.told != Told::Other || is_alone) {
        return Verdict::Unknown(format!("the OMERO import failed: {}", said(&cause.text)));
    }
    let code = shown(done.code());
    match done.code() {
        Some(0..=3) if causes.ended => Verdict::Unknown(
            "the importer ended without an error but OMERO has no image of this file".to_owned(),
        ),
        _ => Verdict::Unknown(format!("the OMERO import ended early ({code}): {}", said(&causes.last))),
    }
}

/// What the end of a run says of all that it has not done, if that is known.
pub fn ended_by_rule(done: &Finished) -> Option<Verdict> {
    if done.timed_out {
        return Some(Verdict::Unknown("the OMERO import did not end within its time limit".to_owned()));
    }
    match done.code() {
        Some(42..=44 | 11) => Some(Verdict::Postponed("OMERO cannot be reached".to_owned())),
        Some(126 | 127) => {
            Some(Verdict::Postponed("the 'omero' command cannot be run: check importer/command".to_owned()))
        }
        Some(103) => {
            Some(Verdict::Postponed("the importer's jars are not there: check importer/jars".to_owned()))
        }
        _ => None,
    }
}

/// Whether a forecast has looked at everything it was given.
pub fn is_whole_forecast(done: &Finished) -> bool {
    let ended = match done.code() {
        // It says 125 where there is no set: a command that says nothing at all is another one.
        Some(0) => !groups(&done.stdout).is_empty(),
        Some(125) => true,
        Some(_) | None => false,
    };
    ended && !done.timed_out && !done.is_cut
}

/// Why a file is in no set of a forecast that has looked at everything.
pub fn no_set(causes: &Causes, path: &str) -> Verdict {
    causes.of.get(path).and_then(|causes| of_causes(causes, path)).unwrap_or_else(|| {
        Verdict::Failed("OMERO knows no image format for this file (Bio-Formats found no reader)".to_owned())
    })
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// What a server's answer names as the reason: the beginning of its stack trace, if there is one.
fn said_by_server(text: &str) -> String {
    let stack = text.lines().find_map(|line| line.strip_prefix("Parameters: {stacktrace="));
    stack.map_or_else(|| said(text), said)
}

/// The first two lines of what was said, cut to a readable length.
fn said(text: &str) -> String {
    let text: String = text.lines().take(2).collect::<Vec<_>>().join(" ").chars().take(300).collect();
    if text.trim().is_empty() { "no message".to_owned() } else { text }
}

fn shown(code: Option<i32>) -> String {
    match code {
        Some(code) if code > 128 => {
            format!("killed by signal {}", if code >= 240 { 256 - code } else { code - 128 })
        }
        Some(code) => format!("exit {code}"),
        None => "no exit code".to_owned(),
    }
}

/// The last line of a log that says something, cut to a readable length.
fn last_words(log: &str) -> String {
    let line = log
        .lines()
        .rev()
        .map(str::trim)
        .find(|l| !l.is_empty() && !l.starts_with("at "))
        .unwrap_or("no message");
    line.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    fn done(code: i32, stderr: &str) -> Finished {
        let status = Some(ExitStatus::from_raw(code << 8));
        Finished { status, stdout: String::new(), stderr: stderr.to_owned(), timed_out: false, is_cut: false }
    }

    fn id(n: &str) -> OmeroId {
        OmeroId::parse(n).unwrap()
    }

    #[test]
    fn every_document_of_the_yaml_stream_is_read() {
        let yaml = "---\n- Fileset: 55\n  Image: [1,2]\n---\n- Fileset: 56\n  Image: [3]\n  Plate: [7]\n";
        assert_eq!(filesets(yaml), [id("55"), id("56")]);
    }

    #[test]
    fn groups_of_a_forecast_are_read_whatever_the_paths_hold() {
        let yaml = "chatter\n---\n- group: /d/a: #b.tif\n  spw: false\n  reader: loci.formats.in.TiffReader\n  files:\n   \
                    - /d/a: #b.tif\n   - /d/- c.tif\n- group: /d/e\n  files:\n   - /d/e\n";
        let all: Vec<(String, String)> = groups(yaml).into_iter().map(|(k, f)| (k, f.join("|"))).collect();
        let expected = [("/d/a: #b.tif", "/d/a: #b.tif|/d/- c.tif"), ("/d/e", "/d/e")];
        assert_eq!(all, expected.map(|(k, f)| (k.to_owned(), f.to_owned())));
        assert!(groups("   - /d/stray\n").is_empty());
    }

    #[test]
    fn garbage_gives_no_fileset() {
        assert!(filesets("Fileset: -1\n- Fileset: x\n\u{0}\n- Fileset: 99999999999999999999\n").is_empty());
    }

    #[test]
    fn lines_may_end_as_they_like_and_hold_anything() {
        assert_eq!(
            table("chatter\r\n\u{3b6}[\r\n[{\"#\": \"0\", \"Col1\": \"5\"}]\r\n").unwrap(),
            [vec!["5"]]
        );
        assert!(table("a\r\nb\r\n\u{3b6}\u{3b6}").is_err());
    }

    #[test]
    fn tables_are_read_behind_chatter() {
        let text = "Previous session expired for alice on h:4064\n[{\"#\": \"0\", \"Col1\": \"5\", \"Col2\": \"d/a\"},\n{\"#\": \"1\", \"Col1\": \"6\", \"Col2\": \"b\"}]\n";
        assert_eq!(table(text).unwrap(), [vec!["5", "d/a"], vec!["6", "b"]]);
        assert!(table("[]\n").unwrap().is_empty());
        for bad in ["", "[", "nothing", "[1]"] {
            assert!(table(bad).is_err(), "{bad}");
        }
    }

    /// How the importer writes a line.
    fn line(level: &str, message: &str) -> String {
        format!("2026-11-28 13:42:16,720 4720       [      main] {level:<6} x.y.Handler - {message}\n")
    }

    fn causes(log: &str) -> Causes {
        let mut reader = crate::causes::Log::default();
        reader.take(log.as_bytes());
        reader.end()
    }

    /// What a run that ended so, with that on standard error, means for a file.
    fn judged(code: i32, log: &str, path: &str) -> Verdict {
        missing(&done(code, log), &causes(log), path, false)
    }

    /// What is final, and what is said of it.
    #[test]
    fn only_what_bio_formats_says_of_the_bytes_is_the_datas_fault() {
        let of = |exception: &str| {
            judged(0, &(line("ERROR", "FILE_EXCEPTION: /d/a.tif") + exception + "\n\tat x.Y\n"), "/d/a.tif")
        };
        for own in [
            "loci.formats.FormatException: Invalid TIFF file: /d/a.tif",
            "java.io.EOFException: Attempting to read beyond end of file.",
            "java.lang.ArrayIndexOutOfBoundsException: 7",
        ] {
            assert!(matches!(of(own), Verdict::Failed(why) if why.contains("damaged")), "{own}");
        }
        for unknown in [
            "java.lang.NullPointerException",
            "java.io.IOException: what",
            "java.lang.Exception: java.lang.StackOverflowError",
            "omero.Odd",
        ] {
            assert!(matches!(of(unknown), Verdict::Unknown(_)), "{unknown}: {:?}", of(unknown));
        }
        let secret = of("loci.formats.FormatException: For input string: \"secret\"");
        assert!(matches!(secret, Verdict::Failed(why) if !why.contains("secret")));
    }

    #[test]
    fn a_lack_is_named_with_its_remedy_and_passes() {
        for (log, part) in [
            (
                "FILE_EXCEPTION: /d/a\njava.lang.Exception: java.lang.OutOfMemoryError: Java heap space",
                "java_options",
            ),
            ("INTERNAL_EXCEPTION: /d/a\njava.io.IOException: Too many open files", "open files"),
            ("INTERNAL_EXCEPTION: /d/a\njava.lang.UnsatisfiedLinkError: no jpeg in path", "noexec"),
            ("INTERNAL_EXCEPTION: /d/a\ncould not obtain a connection", "database"),
            ("MISSING_LIBRARY: /d/a\nloci.formats.MissingLibraryException: JAI is missing", "library"),
            ("UNREADABLE_FILE: /d/a\njava.io.FileNotFoundException: /d/a", "not there"),
            (
                "FILE_EXCEPTION: /d/a\njava.io.FileNotFoundException: /d/a (No such file or directory)",
                "not there",
            ),
            ("FILE_EXCEPTION: /d/a\njava.io.IOException: Input/output error", "storage"),
        ] {
            let verdict = judged(1, &(line("ERROR", log) + "No imports found\n"), "/d/a");
            assert!(matches!(&verdict, Verdict::Postponed(why) if why.contains(part)), "{log}: {verdict:?}");
        }
    }

    /// As a server of OMERO 5.6.12 says it.
    #[test]
    fn a_set_that_leads_out_of_omeros_repository_is_the_datas_fault() {
        let log = line("ERROR", "INTERNAL_EXCEPTION: /d/x.pattern")
            + "java.lang.RuntimeException: Failure response on import!\nCategory: ::omero::grid::ImportRequest\n\
               Name: error-on-init\nParameters: {stacktrace=ome.conditions.SecurityViolation: reader for \
               /r/x.pattern accesses data outside managed repository:\n\t/d/t0.tif\n, message=reader for ...}\n";
        assert!(matches!(judged(0, &log, "/d/x.pattern"), Verdict::Failed(why) if why.contains("relative")));
        let other = log.replace("accesses data outside managed repository", "is odd");
        let verdict = judged(0, &other, "/d/x.pattern");
        assert!(
            matches!(&verdict, Verdict::Unknown(why) if why.contains("SecurityViolation: reader")),
            "{verdict:?}"
        );
    }

    #[test]
    fn what_a_server_says_without_a_cause_is_not_known() {
        let log = line("ERROR", "INTERNAL_EXCEPTION: /d/a")
            + "java.lang.RuntimeException: Failure response on import!\nCategory: ::omero::grid::ImportRequest\n";
        assert!(matches!(judged(0, &log, "/d/a"), Verdict::Unknown(why) if why.contains("Failure response")));
    }

    #[test]
    fn a_member_that_is_not_there_is_named() {
        let log = line("ERROR", "FILE_EXCEPTION: /d/x.pattern")
            + "loci.formats.FormatException: x\nCaused by: java.io.FileNotFoundException: /v/al ice/s (1).tif (Permission denied)\n";
        assert_eq!(judged(0, &log, "/d/x.pattern"), Verdict::Uses("/v/al ice/s (1).tif".to_owned()));
    }

    #[test]
    fn a_name_that_begins_as_anothers_does_not_bear_its_reason() {
        let log = line("ERROR", "FILE_EXCEPTION: /d/run1.tiff") + "java.io.EOFException\n==> Summary\n";
        assert!(matches!(judged(0, &log, "/d/run1.tiff"), Verdict::Failed(_)));
        assert!(matches!(judged(0, &log, "/d/run1.tif"), Verdict::Unknown(_)));
    }

    #[test]
    fn a_connection_that_is_lost_in_the_middle_passes_for_all_the_rest() {
        let one = line("ERROR", "Could not load target: ModelImportTarget")
            + &line("ERROR", "Error on import")
            + "java.lang.RuntimeException: Failed to load target\n";
        let log = one.repeat(2_600) + "\n==> Summary\n400 files uploaded\n";
        assert!(
            matches!(judged(0, &log, "/d/x2999.tif"), Verdict::Postponed(why) if why.contains("connection"))
        );
    }

    #[test]
    fn how_a_run_ended_is_said_where_nothing_else_is() {
        for (code, part) in [(42, "cannot be reached"), (127, "importer/command"), (103, "importer/jars")] {
            assert!(
                matches!(judged(code, "", "/d/a"), Verdict::Postponed(why) if why.contains(part)),
                "{code}"
            );
        }
        for (code, log, part) in
            [(247, "", "signal 9"), (0, "", "ended early"), (0, "\n==> Summary\n", "without an error")]
        {
            assert!(
                matches!(judged(code, log, "/d/a"), Verdict::Unknown(why) if why.contains(part)),
                "{code}"
            );
        }
        let mut late = done(124, "");
        late.timed_out = true;
        assert!(
            matches!(missing(&late, &causes(""), "/d/a", true), Verdict::Unknown(why) if why.contains("time limit"))
        );
    }

    #[test]
    fn an_unknown_format_is_the_datas_fault_once_everything_was_looked_at() {
        let told = |code, stdout: &str| Finished { stdout: stdout.to_owned(), ..done(code, "") };
        assert!(is_whole_forecast(&told(0, "- group: /d/b\n  files:\n   - /d/b\n")));
        assert!(is_whole_forecast(&done(125, "")), "there is no set");
        assert!(!is_whole_forecast(&done(0, "")), "a command that says nothing is another one");
        for code in [1, 2, 42, 137, 247] {
            assert!(!is_whole_forecast(&done(code, "")), "{code}");
        }
        assert!(
            matches!(no_set(&causes(""), "/d/a"), Verdict::Failed(why) if why.contains("no image format"))
        );
    }

    #[test]
    fn refused_sudo_is_not_tried_again_and_a_refused_connection_is() {
        assert!(matches!(login_failure(&done(45, "SecurityViolation"), "s", "u"), ImporterError::Refused(_)));
        assert!(matches!(login_failure(&done(42, ""), "s", "u"), ImporterError::WillPass(_)));
        assert!(matches!(login_failure(&done(44, "x"), "s", "u"), ImporterError::WillPass(_)));
    }
}
