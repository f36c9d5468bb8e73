//! What the `omero` command said, read with distrust: exit codes mean several things at once, results do not
//! name their files, and one line of a log may hold anything a file may be called. What OMERO itself holds
//! after the run decides; the output only explains what is missing.

use crate::ImporterError;
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
/// read line by line and not as YAML.
pub fn groups(stdout: &str) -> Vec<Vec<String>> {
    let mut groups: Vec<Vec<String>> = Vec::new();
    for line in stdout.lines() {
        if line.starts_with("- group: ") {
            groups.push(Vec::new());
        } else if let (Some(path), Some(group)) = (line.strip_prefix("   - "), groups.last_mut()) {
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

/// What a failed run means for a file that has no images in OMERO afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// The data's fault.
    Failed(String),
    /// Will pass.
    Postponed(String),
}

/// Explains why `path` was not imported, from the importer's log.
pub fn missing(done: &Finished, path: &str) -> Missing {
    let log = &done.stderr;
    let mentions = |marker: &str| {
        log.lines().any(|l| l.split_once(marker).is_some_and(|(_, rest)| rest.trim_start().starts_with(path)))
    };
    if done.timed_out {
        return Missing::Postponed("the OMERO import did not end within its time limit".to_owned());
    }
    if log.contains("You likely do not have access to the ManagedRepository") {
        return Missing::Postponed(
            "the importer's account on this host may not write into OMERO's ManagedRepository, so nothing can be \
             imported in place: ask the administrator to check its group and the server's umask"
                .to_owned(),
        );
    }
    if log.contains("the server process has no read access")
        || log.contains("The server could not check the size")
    {
        return Missing::Postponed("the OMERO server has no read access to the file".to_owned());
    }
    if log.contains("No space left on device") {
        return Missing::Postponed("the disk of the OMERO server or of the importer is full".to_owned());
    }
    if log.contains("Could not load target")
        || log.contains("No unique ")
        || log.contains("Cannot link to target")
    {
        return Missing::Failed(
            "the target in OMERO does not exist, is not unique, or may not be linked to by this OMERO user"
                .to_owned(),
        );
    }
    if mentions("UNREADABLE_FILE:") {
        return Missing::Failed(
            "the importer is not allowed to read the file, or it is not there".to_owned(),
        );
    }
    if mentions("FILE_EXCEPTION:") {
        return Missing::Failed(
            "Bio-Formats knows the format but could not read the file: is it damaged?".to_owned(),
        );
    }
    if mentions("INTERNAL_EXCEPTION:") {
        return Missing::Failed("the OMERO server could not import the file: see its log".to_owned());
    }
    if log.contains("A checksum mismatch has occurred") {
        return Missing::Postponed("the file changed while it was imported".to_owned());
    }
    // Only a run that came to its end has looked at every file.
    let ended =
        log.contains("==> Summary") || log.contains("No imports found") || log.contains("No imports due");
    match done.code() {
        Some(0..=3) if ended && !log.contains("Error on import") => Missing::Failed(
            "OMERO knows no image format for this file (Bio-Formats found no reader)".to_owned(),
        ),
        Some(0..=3) if ended => Missing::Postponed(format!("the OMERO import failed: {}", last_words(log))),
        Some(42..=44 | 11) => Missing::Postponed("OMERO cannot be reached".to_owned()),
        Some(0) => Missing::Postponed(
            "the importer ended without an error but OMERO has no image of this file".to_owned(),
        ),
        Some(126 | 127) => {
            Missing::Postponed("the 'omero' command cannot be run: check importer/command".to_owned())
        }
        code => {
            Missing::Postponed(format!("the OMERO import ended early ({}): {}", shown(code), last_words(log)))
        }
    }
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
        Finished { status, stdout: String::new(), stderr: stderr.to_owned(), timed_out: false }
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
        assert_eq!(groups(yaml), [vec!["/d/a: #b.tif", "/d/- c.tif"], vec!["/d/e"]]);
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

    #[test]
    fn an_unknown_format_is_the_datas_fault_and_a_dead_server_is_not() {
        assert!(matches!(missing(&done(1, "No imports found\n"), "/a"), Missing::Failed(_)));
        assert!(matches!(missing(&done(0, "==> Summary\n1 file"), "/a"), Missing::Failed(_)));
        assert!(matches!(missing(&done(42, ""), "/a"), Missing::Postponed(_)));
        assert!(matches!(missing(&done(0, ""), "/a"), Missing::Postponed(_)));
        assert!(matches!(missing(&done(247, ""), "/a"), Missing::Postponed(r) if r.contains("signal 9")));
    }

    #[test]
    fn a_file_named_in_the_log_gets_its_own_reason() {
        let log = "2026 ERROR FILE_EXCEPTION: /d/a.tif\nstack\n==> Summary\n";
        assert!(matches!(missing(&done(0, log), "/d/a.tif"), Missing::Failed(r) if r.contains("damaged")));
        assert!(
            matches!(missing(&done(0, log), "/d/b.tif"), Missing::Failed(r) if r.contains("no image format"))
        );
    }

    #[test]
    fn refused_sudo_is_not_tried_again_and_a_refused_connection_is() {
        assert!(matches!(login_failure(&done(45, "SecurityViolation"), "s", "u"), ImporterError::Refused(_)));
        assert!(matches!(login_failure(&done(42, ""), "s", "u"), ImporterError::WillPass(_)));
        assert!(matches!(login_failure(&done(44, "x"), "s", "u"), ImporterError::WillPass(_)));
    }
}
