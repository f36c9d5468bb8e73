//! What the configuration points at on this host, looked at once when the plugin is set up: the log then says what is
//! broken, and what to do, before any data fails of it. Only this process's own account is asked, nothing is started
//! and nobody is waited for; `irods-omero check` looks further.

use crate::settings::{AgentMode, AgentSettings, ImporterCommand, Omero};
use crate::worker::{self, LaunchError};
use crate::{secret, tls};
use irods_omero_model::form::Problem;
use rustix::fs::{Access, StatVfsMountFlags, access, statvfs};
use std::fs;
use std::path::Path;

/// What is broken of what the keys `omero` and `importer` say: the pointer is below the stanza, the message has the
/// remedy.
pub fn problems(omero: Option<&Omero>, agents: Option<&AgentMode>) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut add = |pointer: &str, message: Option<String>| {
        found.extend(message.map(|message| Problem { pointer: pointer.to_owned(), message }));
    };
    if let Some(omero) = omero {
        add("/omero/password_file", secret(&omero.server.password_file));
        let ImporterCommand { command, worker: words, jars, logback, work_directory, .. } = &omero.importer;
        add("/importer/command", program(command, "the 'omero' command of an OMERO.py"));
        match (words.first(), worker::command_of(&omero.importer)) {
            (Some(python), _) => {
                add("/importer/worker", program(Path::new(python), "the Python that has OMERO.py"));
            }
            (None, Err(LaunchError::NoPython { path })) => {
                let path = path.display();
                let why =
                    format!("{path} does not say which Python runs it: name that Python, which has OMERO.py");
                add("/importer/worker", Some(why));
            }
            // A command that cannot be read has been told of.
            (None, _) => {}
        }
        add("/importer/jars", directory_of_jars(jars));
        add("/importer/logback", file(logback));
        add("/importer/work_directory", writable(work_directory).or_else(|| noexec(work_directory)));
    }
    for (i, agent) in agents.iter().flat_map(|agents| &agents.agents).enumerate() {
        for (key, message) in of_agent(agent) {
            add(&format!("/importer/agents/{i}/{key}"), Some(message));
        }
    }
    found
}

/// What is broken of what the key `users/ldap` points at: the command that asks the directory, and the file with its
/// password.
pub fn problems_of_directory(command: &Path, password: Option<&Path>) -> Vec<Problem> {
    let no_command = is_no_program(command).map(|why| {
        let command = command.display();
        format!("{command} cannot be run ({why}): install the package of the command irods-omero, or name the command")
    });
    let found =
        [("/users/ldap/command", no_command), ("/users/ldap/bind_password_file", password.and_then(secret))];
    let problem = |(pointer, message): (&str, Option<String>)| {
        message.map(|message| Problem { pointer: pointer.to_owned(), message })
    };
    found.into_iter().filter_map(problem).collect()
}

fn of_agent(agent: &AgentSettings) -> Vec<(&'static str, String)> {
    let remedy = "mend or replace it (openssl x509 -in FILE -noout -text shows a certificate)";
    let token = agent.token_file.as_deref().and_then(secret).map(|why| ("token_file", why));
    let of_tls = |key, wrong: Result<(), String>| wrong.err().map(|why| (key, format!("{why}: {remedy}")));
    let ca = agent.ca_file.as_deref().map(|file| tls::authorities(Some(file)).map(drop));
    let own = agent.certificate.as_ref().map(|(certificate, key)| tls::own(certificate, key).map(drop));
    let ca = ca.and_then(|ca| of_tls("ca_file", ca));
    token.into_iter().chain(ca).chain(own.and_then(|own| of_tls("cert_file", own))).collect()
}

/// A file that holds a secret.
fn secret(path: &Path) -> Option<String> {
    let account = rustix::process::geteuid().as_raw();
    let error = secret::check(path, account).err()?;
    Some(format!(
        "{error}: the secret stands in its one line, and the file belongs to the account of the server, with mode 0600"
    ))
}

/// Why a path is none of a program that this account may run.
fn is_no_program(path: &Path) -> Option<String> {
    match fs::metadata(path) {
        Err(e) => Some(e.to_string()),
        Ok(about) if !about.is_file() => Some("it is not a file".to_owned()),
        Ok(_) => access(path, Access::EXEC_OK).err().map(|e| e.to_string()),
    }
}

fn program(path: &Path, what: &str) -> Option<String> {
    let why = is_no_program(path)?;
    let path = path.display();
    Some(format!("{path} cannot be run ({why}): name {what} that this account may run"))
}

fn directory_of_jars(path: &Path) -> Option<String> {
    let why = match fs::read_dir(path) {
        Err(e) => e.to_string(),
        Ok(mut entries) => {
            let is_jar = |name: &Path| name.extension().is_some_and(|e| e == "jar");
            if entries.any(|e| e.is_ok_and(|e| is_jar(&e.path()))) {
                return None;
            }
            "there is no .jar in it".to_owned()
        }
    };
    let path = path.display();
    Some(format!("{path} holds no importer ({why}): unpack OMERO.java of the server's version there"))
}

fn file(path: &Path) -> Option<String> {
    let why = secret::open(path).and_then(|f| f.metadata()).map(|about| about.is_file());
    let why = match why {
        Err(e) => e.to_string(),
        Ok(false) => "it is not a file".to_owned(),
        Ok(true) => return None,
    };
    Some(format!("{} cannot be read ({why}): install it, or name the one the package holds", path.display()))
}

/// Why libraries cannot be loaded from a directory that is there or is to be made: OMERO's Java unpacks its native ones
/// into its work directory.
pub fn noexec(path: &Path) -> Option<String> {
    let here = path.ancestors().find(|p| fs::symlink_metadata(p).is_ok())?;
    let flags = statvfs(here).ok()?.f_flag;
    flags.contains(StatVfsMountFlags::NOEXEC).then(|| {
        format!(
            "{} is on a file system that is mounted noexec, from which Java loads no native library: mount it without \
             noexec, or set importer/work_directory to another directory",
            path.display()
        )
    })
}

/// A directory that is there, or can be made.
fn writable(path: &Path) -> Option<String> {
    let here = path.ancestors().find(|p| fs::symlink_metadata(p).is_ok())?;
    let why = if here.is_dir() {
        access(here, Access::WRITE_OK | Access::EXEC_OK).err()?.to_string()
    } else {
        "it is not a directory".to_owned()
    };
    let (path, here) = (path.display(), here.display());
    Some(format!(
        "{path} cannot be used ({here}: {why}): make it, with mode 0700, for the account of the server"
    ))
}
