//! Secrets come from files that only the service account can read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Why a file is not taken as a secret; never with a word of what is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the password file {path}: {why}")]
pub struct SecretError {
    path: String,
    why: String,
}

/// Longest file that is looked at, in bytes.
const MAX_BYTES: u64 = 16_384;

/// Opens a file for reading without waiting, should it be a pipe.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// The password in the one line of a regular file of mode 0600 that belongs to this account or to root, or of a
/// credential of systemd.
///
/// # Errors
/// What is wrong with the file.
pub fn read(path: &Path) -> Result<String, SecretError> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    read_beside(path, credentials.as_deref().map(Path::new), rustix::process::geteuid().as_raw())
}

/// The whole text of such a file, for a secret of several lines such as a private key.
///
/// # Errors
/// What is wrong with the file.
pub fn read_text(path: &Path) -> Result<String, SecretError> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    checked(path, credentials.as_deref().map(Path::new), rustix::process::geteuid().as_raw())
}

/// Whether the account of that number would take the file; whether it can read it is not looked at.
///
/// # Errors
/// What is wrong with the file.
pub fn check(path: &Path, account: u32) -> Result<(), SecretError> {
    read_beside(path, others_credentials(path), account).map(|_| ())
}

/// The same for a secret of several lines.
///
/// # Errors
/// What is wrong with the file.
pub fn check_text(path: &Path, account: u32) -> Result<(), SecretError> {
    checked(path, others_credentials(path), account).map(|_| ())
}

/// Only the process that is given credentials knows their directory; this is where systemd makes them.
fn others_credentials(path: &Path) -> Option<&Path> {
    path.parent().filter(|parent| parent.starts_with("/run/credentials"))
}

/// The same, where `credentials` is the directory in which systemd hands over credentials (`LoadCredential=`).
fn read_beside(path: &Path, credentials: Option<&Path>, account: u32) -> Result<String, SecretError> {
    let text = checked(path, credentials, account)?;
    let password = text.trim_end_matches(['\n', '\r']);
    if password.is_empty() || password.contains(['\n', '\0']) {
        return Err(refused(path, "must hold the password in its one line"));
    }
    Ok(password.to_owned())
}

fn refused(path: &Path, why: &str) -> SecretError {
    SecretError { path: path.display().to_string(), why: why.to_owned() }
}

fn checked(path: &Path, credentials: Option<&Path>, account: u32) -> Result<String, SecretError> {
    let refuse = |why: &str| refused(path, why);
    let file = open(path).map_err(|e| refuse(&e.to_string()))?;
    let about = file.metadata().map_err(|e| refuse(&e.to_string()))?;
    if !about.is_file() {
        return Err(refuse("is not a regular file"));
    }
    // A credential of systemd is kept from others by its directory; an ACL on it shows as rights of the group.
    let is_credential = credentials.is_some_and(|c| c.is_absolute() && path.parent() == Some(c));
    let open_to = if is_credential { 0o027 } else { 0o077 };
    if about.permissions().mode() & open_to != 0 {
        return Err(refuse("can be read by others; run chmod 0600 on it"));
    }
    if about.uid() != account && about.uid() != 0 {
        return Err(refuse("belongs to another account"));
    }
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(|e| refuse(&e.to_string()))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[test]
    fn the_one_line_is_the_password() {
        let (_dir, path) = file("it's a secret \n", 0o600);
        assert_eq!(read(&path).unwrap(), "it's a secret ");
    }

    #[test]
    fn a_file_others_can_read_is_refused_without_telling_what_is_in_it() {
        for mode in [0o644, 0o640, 0o606] {
            let (_dir, path) = file("hunter2\n", mode);
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains("chmod 0600") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_credential_of_systemd_may_be_readable_by_an_acl() {
        let (dir, path) = file("secret\n", 0o440);
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(read_beside(&path, Some(dir.path()), own).unwrap(), "secret");
        assert!(read_beside(&path, None, own).is_err());
        assert!(read_beside(&path, dir.path().parent(), own).is_err());
        for mode in [0o444, 0o460] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(read_beside(&path, Some(dir.path()), own).is_err(), "{mode:o}");
        }
    }

    #[test]
    fn what_is_no_single_line_is_refused() {
        for text in ["", "\n", "a\nb\n", "a\0b"] {
            let (_dir, path) = file(text, 0o600);
            assert!(read(&path).is_err(), "{text:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).is_err());
        assert!(read(&dir.path().join("missing")).is_err());
    }
}
