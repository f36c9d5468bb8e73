//! The original files that OMERO keeps: found and opened on this host, for those who may have them.
//!
//! A file in OMERO's repository may be a link: that is how data was imported in place. A link is followed, but only to where the
//! configuration lets the agent read at all, and what is opened is the path that was looked at: no link in it is followed any
//! more.

use crate::access::is_within;
use crate::config::Config;
use crate::mounts::Mounts;
use irods_omero_importer::NOWHERE;
use irods_omero_importer::saves::Stored;
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

/// Why a file cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginalError {
    /// It is not what OMERO says, or not to be given: that stays so.
    #[error("{0}")]
    Refused(String),
    /// It may be had later: a file system is away, or the configuration has to be changed.
    #[error("{0}")]
    WillPass(String),
}

/// The files of one OMERO server.
#[derive(Debug, Clone)]
pub struct Originals {
    repository: Option<PathBuf>,
    files: Option<PathBuf>,
    /// Below which links may lead.
    roots: Vec<PathBuf>,
    mounts: Mounts,
}

impl Originals {
    /// Of a server as configured.
    pub fn of(config: &Config, server: &str, mounts: &Mounts) -> Self {
        let repository = config.repositories.get(server).cloned();
        let files = config.file_directories.get(server).cloned();
        let mut roots = config.roots.clone();
        roots.extend(config.save.roots.iter().cloned());
        Self { repository, files, roots, mounts: mounts.clone() }
    }

    /// Where the bytes of a file are, with all links resolved.
    ///
    /// # Errors
    /// It is not there, or lies where the agent does not read.
    pub fn find(&self, stored: &Stored) -> Result<PathBuf, OriginalError> {
        let (directory, key) = match stored {
            Stored::Managed(_) => (self.repository.as_ref(), "managed_repository"),
            Stored::Numbered(_) => (self.files.as_ref(), "files_directory"),
        };
        let directory = directory.ok_or_else(|| {
            OriginalError::WillPass(format!("the agent's configuration has no '{key}' for this OMERO server"))
        })?;
        self.mounts.look(directory).map_err(OriginalError::WillPass)?;
        let place = directory.join(stored.path());
        let about = fs::symlink_metadata(&place).map_err(|e| lost(&place, &e, true))?;
        if about.is_symlink() {
            let target = fs::read_link(&place).map_err(|e| lost(&place, &e, true))?;
            if target.starts_with(NOWHERE) {
                return Err(OriginalError::Refused(format!(
                    "{} leads to {}: other data was put into iRODS where its bytes lay, and OMERO has them no longer",
                    place.display(),
                    target.display()
                )));
            }
            // A file system that hangs is found out by one thread for all.
            if let Some(root) = self.roots.iter().find(|root| target.starts_with(root)) {
                self.mounts.look(root).map_err(OriginalError::WillPass)?;
            }
        }
        let real = fs::canonicalize(&place).map_err(|e| lost(&place, &e, false))?;
        let mut within = vec![directory.clone()];
        within.extend(self.roots.iter().cloned());
        let resolved: Vec<PathBuf> = within.iter().filter_map(|root| fs::canonicalize(root).ok()).collect();
        if is_within(&real, &resolved) {
            return Ok(real);
        }
        Err(OriginalError::Refused(format!(
            "{} leads to {}, which lies outside of what the agent reads: its administrator can add the directory to 'roots' in \
             [save]",
            place.display(),
            real.display()
        )))
    }

    /// Opens a file that has so many bytes.
    ///
    /// # Errors
    /// It is not there, lies where the agent does not read, or has another size.
    pub fn open(&self, stored: &Stored, size: u64) -> Result<File, OriginalError> {
        let path = self.find(stored)?;
        let file = open_without_links(&path).map_err(|e| lost(&path, &e, false))?;
        let about = file.metadata().map_err(|e| lost(&path, &e, false))?;
        if !about.is_file() {
            return Err(OriginalError::Refused(format!("{} is no regular file", path.display())));
        }
        if about.len() != size {
            return Err(OriginalError::Refused(format!(
                "{} has {} bytes, and OMERO says {size}: it was changed outside of OMERO",
                path.display(),
                about.len()
            )));
        }
        Ok(file)
    }
}

fn lost(path: &Path, error: &io::Error, stays: bool) -> OriginalError {
    let said = format!("{} cannot be opened by the agent ({error})", path.display());
    // What a link leads to may be on a file system that is away now.
    if stays && error.kind() == io::ErrorKind::NotFound {
        OriginalError::Refused(format!("{said}: OMERO has lost it"))
    } else {
        OriginalError::WillPass(said)
    }
}

/// Opens an absolute path none of whose elements is a link, and waits for nothing in it.
fn open_without_links(path: &Path) -> io::Result<File> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = openat(CWD, "/", directory, Mode::empty())?;
    let mut elements = path
        .components()
        .filter_map(|c| match c {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .peekable();
    while let Some(name) = elements.next() {
        if elements.peek().is_some() {
            at = openat(&at, name, directory, Mode::empty())?;
        } else {
            let file = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            return Ok(openat(&at, name, file, Mode::empty())?.into());
        }
    }
    Err(io::ErrorKind::IsADirectory.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    struct Site {
        dir: tempfile::TempDir,
        originals: Originals,
    }

    fn site() -> Site {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["repository/ann_2", "vault", "files", "secret"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        fs::write(at("repository/ann_2/a.tif"), "abc").unwrap();
        fs::write(at("vault/v.tif"), "vault").unwrap();
        fs::write(at("secret/s"), "secret").unwrap();
        let originals = Originals {
            repository: Some(at("repository")),
            files: Some(at("files")),
            roots: vec![at("vault")],
            mounts: Mounts::default(),
        };
        Site { dir, originals }
    }

    fn managed(path: &str) -> Stored {
        Stored::Managed(path.to_owned())
    }

    #[test]
    fn a_file_and_one_that_was_imported_in_place_are_opened() {
        let Site { dir, originals } = site();
        symlink(dir.path().join("vault/v.tif"), dir.path().join("repository/ann_2/l.tif")).unwrap();
        for (path, bytes) in [("ann_2/a.tif", "abc"), ("ann_2/l.tif", "vault")] {
            let mut text = String::new();
            let size = u64::try_from(bytes.len()).unwrap();
            originals.open(&managed(path), size).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, bytes);
        }
        let real = fs::canonicalize(dir.path().join("vault/v.tif")).unwrap();
        assert_eq!(originals.find(&managed("ann_2/l.tif")), Ok(real));
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_refused_however_it_gets_there() {
        let Site { dir, originals } = site();
        let at = |name: &str| dir.path().join(name);
        symlink(at("secret/s"), at("repository/ann_2/out")).unwrap();
        symlink("../../secret/s", at("repository/ann_2/relative")).unwrap();
        symlink(at("secret"), at("vault/door")).unwrap();
        symlink(at("vault/door/s"), at("repository/ann_2/door")).unwrap();
        symlink("/etc/passwd", at("repository/ann_2/passwd")).unwrap();
        for name in ["out", "relative", "door", "passwd"] {
            let refused = originals.open(&managed(&format!("ann_2/{name}")), 6).unwrap_err();
            assert!(matches!(&refused, OriginalError::Refused(why) if why.contains("outside")), "{refused}");
        }
        // No link is followed after the look.
        let real = fs::canonicalize(dir.path()).unwrap();
        assert!(open_without_links(&real.join("vault/door/s")).is_err());
        assert!(open_without_links(&real.join("repository/ann_2/out")).is_err());
    }

    #[test]
    fn what_is_no_file_or_has_another_size_is_refused_and_what_is_away_may_come_back() {
        let Site { dir, originals } = site();
        let refused = |path: &str, size| originals.open(&managed(path), size).unwrap_err();
        assert!(
            matches!(refused("ann_2/a.tif", 4), OriginalError::Refused(why) if why.contains("has 3 bytes"))
        );
        assert!(matches!(refused("ann_2", 3), OriginalError::Refused(_)));
        assert!(matches!(refused("ann_2/none", 3), OriginalError::Refused(_)));
        symlink(dir.path().join("vault/gone.tif"), dir.path().join("repository/ann_2/dangling")).unwrap();
        assert!(matches!(refused("ann_2/dangling", 3), OriginalError::WillPass(_)));
        symlink("/irods-data-replaced/by-data-id-9/v/a.tif", dir.path().join("repository/ann_2/cut"))
            .unwrap();
        assert!(matches!(refused("ann_2/cut", 3), OriginalError::Refused(why) if why.contains("no longer")));
        rustix::fs::mknodat(
            CWD,
            dir.path().join("repository/ann_2/pipe"),
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(
            matches!(refused("ann_2/pipe", 0), OriginalError::Refused(why) if why.contains("no regular file"))
        );
        let without = Originals { files: None, ..originals };
        let why = without.find(&Stored::Numbered(7)).unwrap_err();
        assert!(matches!(why, OriginalError::WillPass(why) if why.contains("files_directory")));
    }
}
