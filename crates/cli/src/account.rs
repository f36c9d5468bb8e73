//! The account the iRODS server runs as: which one it is, and what it may do on this host.

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::geteuid;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// The service account of the iRODS server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name, or its number where it has no name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    gid: u32,
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
    /// configuration's owner.
    ///
    /// # Errors
    /// A sentence: there is no such account.
    pub fn of(config: &Path, named: Option<&str>) -> Result<Self, String> {
        if let Some(name) = named {
            return Self::named(name);
        }
        let beside = config.with_file_name("service_account.config");
        if let Some(name) = fs::read_to_string(beside).ok().and_then(|text| service_account(&text)) {
            return Self::named(&name);
        }
        let about = fs::metadata(config).map_err(|e| format!("{} cannot be read: {e}", config.display()))?;
        let name = id(&["-nu", &about.uid().to_string()]).unwrap_or_else(|| about.uid().to_string());
        Ok(Self { name, uid: about.uid(), gid: about.gid() })
    }

    fn named(name: &str) -> Result<Self, String> {
        let number = |flag| id(&[flag, name]).and_then(|n| n.parse().ok());
        match (number("-u"), number("-g")) {
            (Some(uid), Some(gid)) if !name.starts_with('-') => Ok(Self { name: name.to_owned(), uid, gid }),
            _ => Err(format!("this host has no account '{name}'")),
        }
    }

    /// Whether we are this account.
    pub fn is_us(&self) -> bool {
        geteuid().as_raw() == self.uid
    }

    /// Whether we can find out what this account may do: we are it, or root.
    pub fn can_be_tried(&self) -> bool {
        self.is_us() || geteuid().is_root()
    }

    /// Whether the account may do something with a path. Where that cannot be tried, it may.
    pub fn may(&self, wish: Wish, path: &Path) -> bool {
        let (access, letters): (Access, &[&str]) = match wish {
            Wish::Read => (Access::READ_OK, &["-r"]),
            Wish::Search => (Access::READ_OK | Access::EXEC_OK, &["-r", "-x"]),
            Wish::Write => (Access::WRITE_OK | Access::EXEC_OK, &["-w", "-x"]),
            Wish::Connect => (Access::WRITE_OK, &["-w"]),
            Wish::Run => (Access::READ_OK | Access::EXEC_OK, &["-x"]),
        };
        if self.is_us() {
            return accessat(CWD, path, access, AtFlags::EACCESS).is_ok();
        }
        !self.can_be_tried()
            || letters.iter().all(|letter| {
                let mut test = self.command(Path::new("test"));
                test.arg(letter).arg(path).status().is_ok_and(|s| s.success())
            })
    }

    /// A program, to be run as this account.
    pub fn command(&self, program: &Path) -> Command {
        if self.is_us() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={}", self.uid), format!("--regid={}", self.gid)]);
        command.args(["--init-groups", "--"]).arg(program);
        command
    }
}

fn id(words: &[&str]) -> Option<String> {
    let output = Command::new("id").args(words).output().ok().filter(|o| o.status.success())?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}

/// The account's name as the server's set-up wrote it down.
fn service_account(text: &str) -> Option<String> {
    let name = text.lines().rev().find_map(|line| line.strip_prefix("IRODS_SERVICE_ACCOUNT_NAME="))?;
    Some(name.trim().trim_matches('"').to_owned()).filter(|n| !n.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_account_is_the_one_that_the_servers_set_up_wrote_down() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("server_config.json");
        fs::write(&config, "{}").unwrap();
        assert!(Account::of(&config, None).unwrap().is_us(), "the owner");
        let beside = dir.path().join("service_account.config");
        fs::write(&beside, "IRODS_SERVICE_ACCOUNT_NAME=nobody\nIRODS_SERVICE_GROUP_NAME=irods\n").unwrap();
        assert_eq!(Account::of(&config, None).unwrap().name, "nobody");
        fs::write(&beside, "IRODS_SERVICE_ACCOUNT_NAME=no-such-account\n").unwrap();
        assert!(Account::of(&config, None).unwrap_err().contains("no-such-account"));
        assert_eq!(Account::of(&config, Some("root")).unwrap().uid, 0);
    }

    #[test]
    fn what_another_account_may_do_is_tried_as_that_account() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(Account::of(&file, None).unwrap().may(Wish::Read, &file));
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        // Only root can try for another.
        let nobody = Account::of(&file, Some("nobody")).unwrap();
        assert_eq!(nobody.may(Wish::Read, &file), !nobody.can_be_tried());
    }
}
