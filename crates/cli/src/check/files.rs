//! Everything on this host that the stanza points at, as the service account sees it.

use super::{agents, importer, places};
use crate::account::{Account, Wish};
use crate::finding::{Code, Report};
use crate::server_config::{join, read_regular};
use irods_omero_config::identity::{Denied, TableFile};
use irods_omero_importer::secret::{self, SecretError};
use irods_omero_model::form::check_host_path;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// What a path of the stanza is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file with a secret.
    Secret,
    /// A file with a private key.
    Key,
    /// A table of users.
    Table,
    /// A file that is read.
    File,
    /// A vault on the iRODS server; where the importer sees it too, if nothing else is said.
    Vault,
    /// A vault where the importer sees it.
    Directory,
    /// A mounted directory.
    Mount,
    /// A directory of jars.
    Jars,
    /// A logback configuration.
    Logback,
    /// The `omero` command.
    Command,
    /// Our own command.
    Program,
    /// The importer's work directory.
    Work,
}

/// Every key whose value is a path of this host; `*` stands for the place in a list.
pub const PATHS: &[(&str, Kind)] = &[
    ("/users/table_file", Kind::Table),
    ("/users/ldap/bind_password_file", Kind::Secret),
    ("/users/ldap/ca_file", Kind::File),
    ("/users/ldap/command", Kind::Program),
    ("/visibility/vaults/*/prefix", Kind::Vault),
    ("/visibility/vaults/*/importer_prefix", Kind::Directory),
    ("/visibility/mounts/*/mount", Kind::Mount),
    ("/omero/password_file", Kind::Secret),
    ("/importer/command", Kind::Command),
    ("/importer/jars", Kind::Jars),
    ("/importer/logback", Kind::Logback),
    ("/importer/work_directory", Kind::Work),
    ("/importer/agents/*/token_file", Kind::Secret),
    ("/importer/agents/*/ca_file", Kind::File),
    ("/importer/agents/*/cert_file", Kind::File),
    ("/importer/agents/*/key_file", Kind::Key),
];

/// Where the importer works if nothing else is said.
const WORK_DIRECTORY: &str = "/var/lib/irods/omero";

/// The largest logback file that is read, in bytes.
const MAX_LOGBACK: u64 = 1 << 20;

/// What is looked at, and for whom.
pub struct Look<'a> {
    /// The stanza's `plugin_specific_configuration`.
    pub stanza: &'a Value,
    /// Its pointer in server_config.json.
    pub pointer: &'a str,
    /// Pointers below it that the reader does not accept: they are not looked at again.
    pub wrong: &'a [String],
    /// The server's account.
    pub account: &'a Account,
    /// The OMERO accounts nobody is mapped to.
    pub denied: &'a Denied,
}

impl Look<'_> {
    /// Looks at every path.
    pub fn at_all(&self, report: &mut Report) {
        let agents = agents::Agents::of(self.stanza);
        for (pattern, kind) in PATHS {
            // Where agents import, their hosts see the files.
            if agents.are_elsewhere() && matches!(kind, Kind::Vault | Kind::Directory | Kind::Mount) {
                continue;
            }
            for (pointer, path) in self.paths(pattern) {
                self.at(&pointer, Path::new(path), *kind, report);
            }
        }
        agents.look(self.pointer, self.account, report);
        let work = "/importer/work_directory";
        let is_here = self.stanza.get("importer").is_some() && agents.is_none();
        if is_here && self.stanza.pointer(work).is_none_or(Value::is_null) {
            self.at(work, Path::new(WORK_DIRECTORY), Kind::Work, report);
        }
    }

    /// The paths at a pattern that the reader accepts, each with its pointer below the stanza.
    fn paths(&self, pattern: &str) -> Vec<(String, &str)> {
        let mut found = vec![(String::new(), self.stanza)];
        for key in pattern.split('/').skip(1) {
            found = found.into_iter().flat_map(|(pointer, value)| below(&pointer, value, key)).collect();
        }
        let paths = found.into_iter().filter_map(|(pointer, value)| Some((pointer, value.as_str()?)));
        paths.filter(|(at, path)| check_host_path(path).is_ok() && !self.wrong.contains(at)).collect()
    }

    fn at(&self, pointer: &str, path: &Path, kind: Kind, report: &mut Report) {
        let place = format!("{}{pointer}", self.pointer);
        let account = self.account;
        let shown = path.display();
        match kind {
            Kind::Secret => self.look_at_secret(&place, path, secret::check(path, account.uid), report),
            Kind::Key => self.look_at_secret(&place, path, secret::check_text(path, account.uid), report),
            Kind::Table => self.look_at_table(&place, path, report),
            Kind::File => {
                self.look_at_file(&place, path, report);
            }
            Kind::Vault if self.has_another(pointer) => {}
            Kind::Vault | Kind::Directory => {
                if self.look_at_directory(&place, path, report) {
                    places::look_at_root(&place, path, !self.names_a_resource(pointer), report);
                }
            }
            Kind::Mount => {
                let is_empty = || fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
                if !self.look_at_directory(&place, path, report) {
                    return;
                }
                places::look_at_root(&place, path, false, report);
                if is_empty() {
                    report.add(
                        Code::MountEmpty,
                        &place,
                        format_args!("the directory {shown} is empty: nothing seems to be mounted there"),
                        "mount the zone there (NFSRODS), and have it mounted before the server starts",
                    );
                }
            }
            Kind::Jars => {
                if self.look_at_directory(&place, path, report) {
                    places::look_at_jars(&place, path, account, report);
                }
            }
            Kind::Logback => {
                let names_stderr = |text: Vec<u8>| String::from_utf8_lossy(&text).contains("System.err");
                let to_stderr = || read_regular(path, MAX_LOGBACK).is_ok_and(names_stderr);
                if self.look_at_file(&place, path, report) && !to_stderr() {
                    report.add(
                        Code::LogbackStdout,
                        &place,
                        format_args!(
                            "the logback file {shown} sends nothing to System.err, so that the importer's \
                                      log may be mixed with its results"
                        ),
                        "take packaging/logback-import.xml",
                    );
                }
            }
            Kind::Program if !account.may(Wish::Run, path) || !path.is_file() => report.add(
                Code::Command,
                &place,
                format_args!("the command {shown} cannot be run by {}", account.name),
                "install the package of the command irods-omero, or name the command",
            ),
            Kind::Program => {}
            Kind::Command => importer::look_at_command(&place, path, &self.environment(), account, report),
            Kind::Work => importer::look_at_work_directory(&place, path, account, report),
        }
    }

    /// The environment that the stanza gives the `omero` command, without what the reader refuses.
    fn environment(&self) -> Vec<(&str, &str)> {
        let variables = self.stanza.pointer("/importer/environment").and_then(Value::as_object);
        let variables = variables.into_iter().flatten().filter(|(name, _)| {
            let at = join("/importer/environment", name);
            !self.wrong.contains(&at) && !name.contains('\0')
        });
        variables.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))).collect()
    }

    /// Whether the importer sees a vault elsewhere than at its prefix.
    fn has_another(&self, prefix: &str) -> bool {
        let entry = prefix.strip_suffix("/prefix").unwrap_or(prefix);
        self.stanza.pointer(&format!("{entry}/importer_prefix")).is_some_and(|v| !v.is_null())
    }

    /// Whether the entry of a vault's path names its resource.
    fn names_a_resource(&self, pointer: &str) -> bool {
        let entry = pointer.rsplit_once('/').map_or(pointer, |(entry, _)| entry);
        self.stanza.pointer(&format!("{entry}/resource")).is_some_and(|v| !v.is_null())
    }

    fn look_at_secret(
        &self,
        place: &str,
        path: &Path,
        checked: Result<(), SecretError>,
        report: &mut Report,
    ) {
        let who = &self.account.name;
        let remedy = format!(
            "write it anew: 'sudo install -o {who} -m 0600 /dev/stdin {}', then the secret and the end of input",
            path.display()
        );
        match checked {
            Err(e) => report.add(Code::SecretFile, place, e, remedy),
            Ok(()) if !self.account.may(Wish::Read, path) => {
                let sentence = format!("the password file {} cannot be read by {who}", path.display());
                report.add(Code::SecretFile, place, sentence, remedy);
            }
            Ok(()) => {}
        }
    }

    fn look_at_table(&self, place: &str, path: &Path, report: &mut Report) {
        let shown = path.display();
        let remedy = "mend the file; until then whoever has no row in users/table waits";
        match TableFile::rows_for(path, self.account.uid) {
            Err(why) => report.add(
                Code::TableFile,
                place,
                format_args!("the table {shown} cannot be used: {why}"),
                remedy,
            ),
            Ok(_) if !self.account.may(Wish::Read, path) => {
                let sentence = format!("the table {shown} cannot be read by {}", self.account.name);
                report.add(Code::TableFile, place, sentence, remedy);
            }
            Ok(rows) => {
                let mut rows: Vec<_> = rows.into_iter().collect();
                rows.sort();
                for (user, omero) in rows.iter().filter(|(_, row)| self.denied.covers(&row.user).is_some()) {
                    report.add(
                        Code::TableRow,
                        &format!("{shown}#{}", join("", &user.to_string())),
                        format_args!(
                            "{user} has a row, but imports never run as the OMERO account '{}'",
                            omero.user
                        ),
                        "name another OMERO user there, or remove the row",
                    );
                }
            }
        }
    }

    /// Whether a file is there and can be read.
    fn look_at_file(&self, place: &str, path: &Path, report: &mut Report) -> bool {
        let wrong = match fs::metadata(path) {
            Err(e) => e.to_string(),
            Ok(about) if !about.is_file() => "it is not a regular file".to_owned(),
            Ok(_) if !self.account.may(Wish::Read, path) => format!("{} cannot read it", self.account.name),
            Ok(_) => return true,
        };
        let sentence = format!("the file {} cannot be used: {wrong}", path.display());
        report.add(
            Code::File,
            place,
            sentence,
            "put the file there, readable by that account, or name another",
        );
        false
    }

    /// Whether a directory is there and can be looked into.
    fn look_at_directory(&self, place: &str, path: &Path, report: &mut Report) -> bool {
        let who = &self.account.name;
        let wrong = match fs::metadata(path) {
            Err(e) => e.to_string(),
            Ok(about) if !about.is_dir() => "it is not a directory".to_owned(),
            Ok(_) if !self.account.may(Wish::Search, path) => format!("{who} cannot look into it"),
            Ok(_) => return true,
        };
        let sentence = format!("the directory {} cannot be used: {wrong}", path.display());
        let remedy =
            format!("name the directory under which the importer sees the files, and let {who} read it");
        report.add(Code::Directory, place, sentence, remedy);
        false
    }
}

/// What stands below a value under a key, or under every place of a list if the key is `*`.
fn below<'v>(pointer: &str, value: &'v Value, key: &str) -> Vec<(String, &'v Value)> {
    match value {
        Value::Array(items) if key == "*" => {
            items.iter().enumerate().map(|(i, v)| (format!("{pointer}/{i}"), v)).collect()
        }
        Value::Object(object) => {
            object.get(key).map(|v| (format!("{pointer}/{key}"), v)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}
