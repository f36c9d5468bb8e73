//! The account the iRODS server runs as: which one it is, and what it may do on this host.
//!
//! Root is told here which account to become, so nothing is believed that another account could have written: a name
//! counts if root wrote it, or if the account of that very name did.

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::geteuid;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The largest `service_account.config` that is read, in bytes.
const MAX_BYTES: u64 = 65_536;

/// Why the server's account is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// There is none of that name.
    #[error("this host has no account '{0}'")]
    Missing(String),
    /// A server does not run as root, and nothing that a configuration names is looked at as root.
    #[error("the account '{0}' is root's, and a configuration is never used as root")]
    Root(String),
    /// The configuration's owner says nothing.
    #[error("the account the server runs as is not known: {} {why}", config.display())]
    Unclear {
        /// The configuration.
        config: PathBuf,
        /// What is the matter with it.
        why: String,
    },
}

/// The service account of the iRODS server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name, or its number where it has no name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// The number of its first group.
    pub gid: u32,
    /// The numbers of all its groups.
    pub groups: Vec<u32>,
}

/// What the account is to be able to do with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Read a file.
    Read,
    /// List a directory and open what is in it.
    Search,
    /// Make something in a directory.
    Write,
    /// Run a program.
    Run,
    /// Speak to a socket.
    Connect,
}

impl Account {
    /// The account that is named; else the one of `service_account.config` beside the configuration; else the
    /// configuration's owner. Never root.
    ///
    /// # Errors
    /// There is no such account, or none that can be believed.
    pub fn of(config: &Path, named: Option<&str>) -> Result<Self, AccountError> {
        if let Some(name) = named {
            return Self::named(name);
        }
        let beside = config.with_file_name("service_account.config");
        if let Some((text, about)) = read_unlinked(&beside)
            && let Some(name) = service_account(&text)
        {
            if about.uid() == 0 {
                return Self::named(&name);
            }
            let writer = Self::owner(&about);
            if writer.name == name {
                return Ok(writer);
            }
        }
        let unclear = |why: &str| AccountError::Unclear { config: config.to_owned(), why: why.to_owned() };
        let about = fs::symlink_metadata(config).map_err(|e| unclear(&format!("cannot be read: {e}")))?;
        let owner = Self::owner(&about);
        let others = about.mode() & 0o002 != 0 || (about.mode() & 0o020 != 0 && about.gid() != owner.gid);
        if !about.is_file() {
            Err(unclear("is not a regular file"))
        } else if owner.uid == 0 {
            Err(unclear("belongs to root"))
        } else if others {
            Err(unclear("can be written by others than its owner"))
        } else {
            Ok(owner)
        }
    }

    fn named(name: &str) -> Result<Self, AccountError> {
        let missing = || AccountError::Missing(name.to_owned());
        if name.starts_with('-') || name.contains(char::is_control) {
            return Err(missing());
        }
        let number = |flag| id(flag, name).and_then(|n| n.parse().ok());
        let (uid, gid) = number("-u").zip(number("-g")).ok_or_else(missing)?;
        if uid == 0 {
            return Err(AccountError::Root(name.to_owned()));
        }
        let name = id("-un", name).unwrap_or_else(|| name.to_owned());
        Ok(Self { groups: groups(&name, gid), name, uid, gid })
    }

    /// The owner of a file, who may have no name.
    fn owner(about: &Metadata) -> Self {
        let uid = about.uid();
        let number = uid.to_string();
        let name = id("-un", &number).unwrap_or_else(|| number.clone());
        let gid = id("-g", &number).and_then(|n| n.parse().ok()).unwrap_or_else(|| about.gid());
        Self { groups: groups(&name, gid), name, uid, gid }
    }

    /// Whether we are this account.
    pub fn is_us(&self) -> bool {
        geteuid().as_raw() == self.uid
    }

    /// Whether the account, which we are, may do something with a path.
    pub fn may(&self, wish: Wish, path: &Path) -> bool {
        let access = match wish {
            Wish::Read => Access::READ_OK,
            Wish::Search | Wish::Run => Access::READ_OK | Access::EXEC_OK,
            Wish::Write => Access::WRITE_OK | Access::EXEC_OK,
            Wish::Connect => Access::WRITE_OK,
        };
        self.is_us() && accessat(CWD, path, access, AtFlags::EACCESS).is_ok()
    }
}

/// The numbers of all groups of an account.
fn groups(name: &str, gid: u32) -> Vec<u32> {
    let all = id("-G", name).unwrap_or_default();
    let mut all: Vec<u32> = all.split(' ').filter_map(|n| n.parse().ok()).collect();
    if all.is_empty() {
        all.push(gid);
    }
    all
}

/// What the system's user database says of an account; it is asked by name or number.
fn id(flag: &str, who: &str) -> Option<String> {
    let mut command = Command::new("id");
    command.env_clear().args([flag, "--", who]);
    let output = command.output().ok().filter(|o| o.status.success())?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}

/// The text of a regular file that its owner alone can have written, and that is in no other directory too.
fn read_unlinked(path: &Path) -> Option<(String, Metadata)> {
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
    let file: File =
        OpenOptions::new().read(true).custom_flags(i32::try_from(flags).ok()?).open(path).ok()?;
    let about = file.metadata().ok()?;
    let is_sound = about.is_file() && about.nlink() == 1 && about.mode() & 0o022 == 0;
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    is_sound.then_some((text, about))
}

/// The account's name as the server's set-up wrote it down.
fn service_account(text: &str) -> Option<String> {
    let name = text.lines().rev().find_map(|line| line.strip_prefix("IRODS_SERVICE_ACCOUNT_NAME="))?;
    Some(name.trim().trim_matches('"').to_owned()).filter(|n| !n.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    /// A directory with a configuration that belongs to an account; root alone can give it to another.
    fn configured(owner: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("server_config.json");
        fs::write(&config, "{}").unwrap();
        if geteuid().is_root() {
            chown(&config, Some(owner), Some(owner)).unwrap();
        }
        (dir, config)
    }

    /// Who the tests make believe that the server is.
    fn service() -> u32 {
        if geteuid().is_root() { 65_534 } else { geteuid().as_raw() }
    }

    #[test]
    fn the_account_is_the_configurations_owner_but_never_root() {
        let (_dir, config) = configured(service());
        assert_eq!(Account::of(&config, None).unwrap().uid, service());
        if geteuid().is_root() {
            let (_dir, config) = configured(0);
            let said = Account::of(&config, None).unwrap_err().to_string();
            assert!(said.contains("belongs to root"), "{said}");
        }
        assert_eq!(Account::of(&config, Some("root")), Err(AccountError::Root("root".into())));
        assert_eq!(Account::of(&config, Some("0")), Err(AccountError::Root("0".into())));
        for name in ["no-such-account", "-u", "a\nb"] {
            assert_eq!(Account::of(&config, Some(name)), Err(AccountError::Missing(name.into())));
        }
    }

    #[test]
    fn an_owner_is_no_answer_where_others_can_write_or_a_link_leads_elsewhere() {
        let (dir, config) = configured(service());
        fs::set_permissions(&config, fs::Permissions::from_mode(0o646)).unwrap();
        assert!(matches!(Account::of(&config, None), Err(AccountError::Unclear { .. })));
        fs::set_permissions(&config, fs::Permissions::from_mode(0o640)).unwrap();
        let link = dir.path().join("linked.json");
        symlink(&config, &link).unwrap();
        assert!(matches!(Account::of(&link, None), Err(AccountError::Unclear { .. })));
    }

    #[test]
    fn what_the_set_up_wrote_down_counts_if_root_or_that_account_wrote_it() {
        let (dir, config) = configured(service());
        let beside = dir.path().join("service_account.config");
        let write = |name: &str| {
            let _ = fs::remove_file(&beside);
            fs::write(
                &beside,
                format!("IRODS_SERVICE_ACCOUNT_NAME={name}\nIRODS_SERVICE_GROUP_NAME=irods\n"),
            )
            .unwrap();
        };
        write("daemon");
        let daemon = Account::named("daemon").unwrap();
        let found = Account::of(&config, None).unwrap();
        if !geteuid().is_root() {
            // Somebody else than root says so: the owner of the configuration it is.
            return assert_eq!(found.uid, service());
        }
        assert_eq!(found, daemon, "root says so");
        chown(&beside, Some(service()), None).unwrap();
        assert_eq!(Account::of(&config, None).unwrap().uid, service(), "the service account says so");
        write("root");
        assert_eq!(Account::of(&config, None), Err(AccountError::Root("root".into())));
        chown(&beside, Some(service()), None).unwrap();
        assert_eq!(Account::of(&config, None).unwrap().uid, service());
        write("no-such-account");
        assert_eq!(Account::of(&config, None), Err(AccountError::Missing("no-such-account".into())));
        write("daemon");
        let other = dir.path().join("other");
        fs::hard_link(&beside, &other).unwrap();
        assert_eq!(
            Account::of(&config, None).unwrap().uid,
            service(),
            "a second name may be another's doing"
        );
        fs::remove_file(&beside).unwrap();
        symlink(&other, &beside).unwrap();
        assert_eq!(Account::of(&config, None).unwrap().uid, service(), "a link may be another's doing");
    }

    #[test]
    fn what_another_account_may_do_is_not_known() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        let other = Account { name: "other".into(), uid: geteuid().as_raw() + 1, gid: 1, groups: vec![1] };
        assert!(!other.may(Wish::Read, &file));
        let own = Account { uid: geteuid().as_raw(), ..other };
        assert!(own.may(Wish::Read, &file));
    }
}
