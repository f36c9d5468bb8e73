//! The directory asked through the command `irods-omero`, started for one question: the question is one JSON object on its
//! standard input, the answer one on its standard output.
//!
//! The question is `{"user": "alice#tempZone", "ldap": {...}}` with the object of the configuration; the answer
//! `{"dn": "...", "user": "...", "group": "..."}`, or a sentence under `nobody`, `unusable` or `fails`.

use super::{Entry, Said, Settings};
use irods_omero_importer::process::{self, Nobody};
use irods_omero_model::names::{IrodsUser, OmeroName};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The word that makes the command ask the directory.
pub const WORD: &str = "directory";

/// What starting a process takes, at most.
const START: Duration = Duration::from_secs(10);

/// The longest question, in bytes: a pipe holds as much without anybody who reads it.
const MAX_QUESTION: usize = 60_000;

/// Asks the command.
///
/// # Errors
/// The directory, or the command, cannot be asked.
pub(super) fn ask(settings: &Settings, user: &IrodsUser) -> Result<Said, String> {
    let command = settings.command.display();
    let remedy = "install the package of the command irods-omero on this server, or name the command in users/ldap/command";
    let fails = |why: &dyn std::fmt::Display| format!("{command} cannot be run ({why}): {remedy}");
    let question = json!({"user": user.to_string(), "ldap": settings.source}).to_string();
    if question.len() > MAX_QUESTION {
        return Err("its configuration is too long".to_owned());
    }
    let (input, mut output) = std::io::pipe().map_err(|e| fails(&e))?;
    output.write_all(question.as_bytes()).map_err(|e| fails(&e))?;
    drop(output);
    // Each server is connected to, bound to and searched in.
    let servers = u32::try_from(settings.servers.len()).unwrap_or(u32::MAX);
    let limit = settings.timeout.saturating_mul(servers.saturating_mul(4)).saturating_add(START);
    let input = File::from(OwnedFd::from(input));
    let (program, words) = (settings.command.clone().into_os_string(), [WORD.into()]);
    let finished =
        process::run(&program, &words, input, limit, |_| {}, &mut || {}, &Nobody).map_err(|e| fails(&e))?;
    match finished.code() {
        _ if finished.timed_out => Err("it did not answer in time".to_owned()),
        Some(0) => read_answer(&finished.stdout),
        code => {
            let code = code.map_or("no code".to_owned(), |code| code.to_string());
            let complaint: String = finished.stderr.trim().chars().take(200).collect();
            Err(fails(&format!("it ended with {code}: {complaint}")))
        }
    }
}

/// Reads what [`ask`] wrote: the user and the object of the configuration.
///
/// # Errors
/// A sentence.
#[cfg(feature = "ldap")]
pub(super) fn read_question(text: &str) -> Result<(IrodsUser, Value), String> {
    let mut question: Value =
        serde_json::from_str(text).map_err(|e| format!("the question is not JSON: {e}"))?;
    let user = question.get("user").and_then(Value::as_str).ok_or("the question names no user")?;
    let user = IrodsUser::parse(user).map_err(|e| e.to_string())?;
    Ok((user, question["ldap"].take()))
}

/// An answer as the command writes it.
#[cfg(any(test, feature = "ldap"))]
pub(super) fn written(answer: &Result<Said, String>) -> String {
    let value = match answer {
        Ok(Ok(Ok(Entry { dn, user, group }))) => {
            json!({"dn": dn, "user": user.as_str(), "group": group.as_ref().map(OmeroName::as_str)})
        }
        Ok(Ok(Err(nobody))) => json!({"nobody": nobody}),
        Ok(Err(unusable)) => json!({"unusable": unusable}),
        Err(fails) => json!({"fails": fails}),
    };
    value.to_string()
}

/// Reads what [`written`] wrote. Names are looked at again.
fn read_answer(text: &str) -> Result<Said, String> {
    let other = || {
        "the command's answer is not understood: install the version that belongs to the plugin".to_owned()
    };
    let answer: Value = serde_json::from_str(text).map_err(|_| other())?;
    let word = |key: &str| answer.get(key).and_then(Value::as_str);
    let name = |text: &str| OmeroName::parse(text).map_err(|_| other());
    if let (Some(dn), Some(user)) = (word("dn"), word("user")) {
        let group = word("group").map(name).transpose()?;
        return Ok(Ok(Ok(Entry { dn: dn.to_owned(), user: name(user)?, group })));
    }
    let said = |key: &str| word(key).map(str::to_owned);
    match (said("nobody"), said("unusable"), said("fails")) {
        (Some(nobody), _, _) => Ok(Ok(Err(nobody))),
        (_, Some(unusable), _) => Ok(Err(unusable)),
        (_, _, Some(fails)) => Err(fails),
        (None, None, None) => Err(other()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_read_as_it_was_written() {
        let name = |text| OmeroName::parse(text).unwrap();
        let entry = |group| Entry { dn: "uid=a,dc=x".to_owned(), user: name("a.smith"), group };
        for answer in [
            Ok(Ok(Ok(entry(Some(name("Lab 1")))))),
            Ok(Ok(Ok(entry(None)))),
            Ok(Ok(Err("no entry for (uid=a)".to_owned()))),
            Ok(Err("several entries".to_owned())),
            Err("it did not answer in time".to_owned()),
        ] {
            assert_eq!(read_answer(&written(&answer)), answer);
        }
        for other in ["", "{}", "[]", r#"{"dn": "x", "user": "-u"}"#, r#"{"dn": 1}"#] {
            assert!(read_answer(other).unwrap_err().contains("version"), "{other}");
        }
    }
}
