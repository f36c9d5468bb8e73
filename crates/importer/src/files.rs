//! Whether what is about to be imported is what the catalog says, on the importer's own host: there, a regular file
//! of the catalog's size, readable, and without a symbolic link below the directory that the site has opened.
//!
//! A link below an opened directory is never followed, wherever it leads: whoever can plant one in a vault would
//! have OMERO show them a file of somebody else. The opened directory itself may be reached through links.
//!
//! The importer is given a path, not what was looked at, so a file may still be exchanged between the look and the
//! import. The look is the last thing before the importer starts, and is repeated after it has ended: what is another
//! file then is not recorded as imported. (The agent closes the gap.)

use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, open, openat, openat2};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

/// What the catalog says of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// A file of this size in bytes.
    File(u64),
    /// A directory, which is one image with all below it.
    Directory,
}

/// Which file it is, for as long as it is there, and when it was last changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds of the last change of its bytes, and of anything about it.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    /// When its bytes, or anything else about it, was last changed: seconds since 1970 by the clock of its file system. No
    /// user can set this.
    pub fn changed_at(&self) -> i64 {
        self.changed.0
    }

    /// When its bytes were last changed: seconds since 1970. Who may write the file itself can set this.
    pub fn modified_at(&self) -> i64 {
        self.modified.0
    }

    /// Whether it is the same file, whatever has become of its bytes.
    pub fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// Why a path is not given to the importer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The file's fault; a sentence for the record.
    #[error("{0}")]
    File(String),
    /// The file is not there, or not all of it, or cannot be read: a network storage may show it later.
    #[error("{0}")]
    Late(String),
    /// The opened directory cannot be looked into: it may be not mounted, and that passes.
    #[error("{0}")]
    Root(String),
}

/// Looks at a path below the longest of the opened directories it is in.
///
/// # Errors
/// Why it is not given to the importer.
pub fn check(path: &str, expected: Expected, roots: &[PathBuf]) -> Result<Identity, Wrong> {
    look(path, Some(expected), roots).map(|(identity, _)| identity)
}

/// Looks at a path that Bio-Formats made up, which may go up and down again.
///
/// # Errors
/// Why it is none that may be used.
pub fn check_used(path: &str, roots: &[PathBuf]) -> Result<Identity, Wrong> {
    look(path, None, roots).map(|(identity, _)| identity)
}

/// Opens a file only to name it, as the same file that was looked at before.
///
/// # Errors
/// It is not there, or another.
pub fn open_again(path: &str, identity: &Identity, roots: &[PathBuf]) -> Result<OwnedFd, Wrong> {
    let (now, file) = look(path, None, roots)?;
    if now.is_same_file(identity) {
        Ok(file)
    } else {
        Err(Wrong::Late(format!("the file {path} on the importer's host was exchanged for another")))
    }
}

/// Opens a file to read it.
///
/// # Errors
/// Why it is none that may be used.
pub(crate) fn open_used(path: &str, roots: &[PathBuf]) -> Result<(Identity, OwnedFd), Wrong> {
    look(path, None, roots)
}

/// Without an expectation the path may hold `..`, and anything regular is fine.
fn look(path: &str, expected: Option<Expected>, roots: &[PathBuf]) -> Result<(Identity, OwnedFd), Wrong> {
    let says = |what: &str| format!("the file {path} on the importer's host {what}");
    let (wrong, late) = (|what: &str| Wrong::File(says(what)), |what: &str| Wrong::Late(says(what)));
    let below = roots.iter().filter_map(|root| Some((root, Path::new(path).strip_prefix(root).ok()?)));
    let (root, rest) = below
        .max_by_key(|(root, _)| root.components().count())
        .ok_or_else(|| wrong("is below no directory that is opened in 'visibility'"))?;
    let fits = |c: Component<'_>| match c {
        Component::Normal(_) => true,
        Component::ParentDir | Component::CurDir => expected.is_none(),
        Component::Prefix(_) | Component::RootDir => false,
    };
    if rest.as_os_str().is_empty() || !rest.components().all(fits) {
        return Err(wrong("has a path that leads elsewhere"));
    }
    let directory =
        open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(|e| {
            Wrong::Root(format!("{} on the importer's host cannot be opened: {e}", root.display()))
        })?;
    let file = open_beneath(&directory, rest).map_err(|e| match e {
        Errno::LOOP => wrong(&format!("is, or lies behind, a symbolic link below {}", root.display())),
        Errno::XDEV => wrong("has a path that leads elsewhere"),
        Errno::NXIO => wrong("is not a regular file"),
        Errno::NOENT | Errno::NOTDIR => late("is not there (yet)"),
        Errno::ACCESS | Errno::PERM => {
            late("cannot be read by the importer's account: let that account read it")
        }
        other => late(&format!("cannot be opened: {other}")),
    })?;
    let about = fstat(&file).map_err(|e| late(&format!("cannot be looked at: {e}")))?;
    let kind = rustix::fs::FileType::from_raw_mode(about.st_mode);
    match expected {
        // What the importer finds below it is given to it too.
        Some(Expected::Directory) if kind.is_dir() => {
            let link = link_below(Path::new(path)).map_err(|e| late(&format!("cannot be read: {e}")))?;
            if let Some(link) = link {
                return Err(wrong(&format!("holds a symbolic link: {}", link.display())));
            }
        }
        Some(Expected::Directory) => return Err(wrong("is not a directory")),
        Some(Expected::File(_)) | None if !kind.is_file() => return Err(wrong("is not a regular file")),
        Some(Expected::File(size)) if u64::try_from(about.st_size) != Ok(size) => {
            return Err(late(&format!(
                "has {} bytes, and the catalog of iRODS says {size}: if that stays so, repair it in iRODS",
                about.st_size
            )));
        }
        Some(Expected::File(_)) | None => {}
    }
    let time = |seconds: i64, nanoseconds: u64| (seconds, i64::try_from(nanoseconds).unwrap_or_default());
    let identity = Identity {
        device: about.st_dev,
        inode: about.st_ino,
        size: u64::try_from(about.st_size).unwrap_or_default(),
        modified: time(about.st_mtime, about.st_mtime_nsec),
        changed: time(about.st_ctime, about.st_ctime_nsec),
    };
    Ok((identity, file))
}

/// A symbolic link somewhere below a directory.
fn link_below(directory: &Path) -> std::io::Result<Option<PathBuf>> {
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_symlink() {
                return Ok(Some(entry.path()));
            }
            if kind.is_dir() {
                directories.push(entry.path());
            }
        }
    }
    Ok(None)
}

/// Opens what is below a directory, without following any link and without waiting for a pipe.
fn open_beneath(directory: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    open_beneath_as(directory, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC)
}

/// The same, with flags of the caller's.
pub(crate) fn open_beneath_as(directory: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(directory, path, flags, Mode::empty(), resolve) {
        // An older kernel, or a sandbox that does not know the call. Step by step nothing goes up.
        Err(Errno::NOSYS | Errno::PERM) if !goes_up(path) => walk(directory, path, flags),
        other => other,
    }
}

fn goes_up(path: &Path) -> bool {
    path.components().any(|c| c == Component::ParentDir)
}

/// The same, element by element.
fn walk(directory: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut elements = path.components().map(Component::as_os_str).peekable();
    let mut here = None;
    while let Some(element) = elements.next() {
        let from = here.as_ref().unwrap_or(directory);
        let is_last = elements.peek().is_none();
        let next =
            openat(from, element, if is_last { flags | OFlags::NOFOLLOW } else { step }, Mode::empty());
        here = Some(match next {
            // With these flags a link in the middle is no directory.
            Err(Errno::NOTDIR) if !is_last && is_link(from, element) => return Err(Errno::LOOP),
            other => other?,
        });
    }
    here.ok_or(Errno::NOENT)
}

fn is_link(directory: &OwnedFd, element: &std::ffi::OsStr) -> bool {
    rustix::fs::statat(directory, element, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|about| rustix::fs::FileType::from_raw_mode(about.st_mode).is_symlink())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A directory with `root`, which is opened, and `outside`, which is not; both hold files of five bytes.
    fn world() -> (tempfile::TempDir, Vec<PathBuf>) {
        let dir = tempfile::tempdir().unwrap();
        for place in ["root/alice/run", "root/carol", "outside"] {
            fs::create_dir_all(dir.path().join(place)).unwrap();
        }
        for file in ["root/alice/run/a.tif", "root/carol/c.tif", "outside/secret"] {
            fs::write(dir.path().join(file), "12345").unwrap();
        }
        let roots = vec![dir.path().join("root")];
        (dir, roots)
    }

    fn look(dir: &tempfile::TempDir, path: &str, roots: &[PathBuf]) -> Result<Identity, String> {
        let path = dir.path().join(path);
        check(path.to_str().unwrap(), Expected::File(5), roots).map_err(|e| e.to_string())
    }

    #[test]
    fn a_regular_file_of_the_right_size_below_an_opened_directory_is_given() {
        let (dir, roots) = world();
        let first = look(&dir, "root/alice/run/a.tif", &roots).unwrap();
        assert_eq!(look(&dir, "root/alice/run/a.tif", &roots), Ok(first), "and is the same at the next look");
        let path = dir.path().join("root/alice/run/a.tif");
        fs::rename(&path, dir.path().join("root/old")).unwrap();
        fs::write(path, "54321").unwrap();
        assert_ne!(look(&dir, "root/alice/run/a.tif", &roots), Ok(first));
    }

    #[test]
    fn a_link_below_an_opened_directory_is_refused_wherever_it_leads() {
        let (dir, roots) = world();
        let here = |name: &str| dir.path().join(name);
        symlink(here("outside/secret"), here("root/carol/secret.tif")).unwrap();
        symlink(here("root/alice/run/a.tif"), here("root/carol/a.tif")).unwrap();
        symlink("../alice/run", here("root/carol/run")).unwrap();
        symlink("/", here("root/carol/all")).unwrap();
        for path in
            ["root/carol/secret.tif", "root/carol/a.tif", "root/carol/run/a.tif", "root/carol/all/etc/passwd"]
        {
            let why = look(&dir, path, &roots).unwrap_err();
            assert!(why.contains("symbolic link"), "{path}: {why}");
        }
    }

    #[test]
    fn the_walk_refuses_what_the_kernel_refuses() {
        let (dir, roots) = world();
        symlink("../alice/run", dir.path().join("root/carol/run")).unwrap();
        symlink("../alice/run/a.tif", dir.path().join("root/carol/a.tif")).unwrap();
        let root = open(&roots[0], OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        for (path, expected) in [
            ("carol/run/a.tif", Some(Errno::LOOP)),
            ("carol/a.tif", Some(Errno::LOOP)),
            ("carol/c.tif/x", Some(Errno::NOTDIR)),
            ("nobody/x", Some(Errno::NOENT)),
            ("carol/c.tif", None),
        ] {
            let path = Path::new(path);
            assert_eq!(walk(&root, path, OFlags::RDONLY).err(), expected, "{}", path.display());
            assert_eq!(open_beneath(&root, path).err(), expected, "{}", path.display());
        }
    }

    #[test]
    fn an_opened_directory_may_itself_be_reached_through_a_link() {
        let (dir, _) = world();
        let link = dir.path().join("link");
        symlink(dir.path().join("root"), &link).unwrap();
        assert!(look(&dir, "link/alice/run/a.tif", &[link]).is_ok());
    }

    #[test]
    fn what_is_no_such_file_is_refused_with_what_it_is() {
        let (dir, roots) = world();
        fs::write(dir.path().join("root/short"), "1").unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("root/pipe"), Mode::RUSR | Mode::WUSR).unwrap();
        for (path, part) in [
            ("root/alice/run", "not a regular file"),
            ("root/pipe", "not a regular file"),
            ("root/short", "has 1 bytes, and the catalog of iRODS says 5"),
            ("root/nothing", "is not there"),
            ("outside/secret", "no directory that is opened"),
            ("root/../outside/secret", "leads elsewhere"),
            ("rooted/x", "no directory that is opened"),
        ] {
            let why = look(&dir, path, &roots).unwrap_err();
            assert!(why.contains(part), "{path}: {why}");
        }
        let directory = dir.path().join("root/alice/run");
        assert!(check(directory.to_str().unwrap(), Expected::Directory, &roots).is_ok());
        fs::create_dir(directory.join("0")).unwrap();
        symlink(dir.path().join("outside/secret"), directory.join("0/0.0")).unwrap();
        let wrong = check(directory.to_str().unwrap(), Expected::Directory, &roots).unwrap_err();
        assert!(wrong.to_string().contains("holds a symbolic link"), "{wrong}");
    }

    #[test]
    fn an_opened_directory_that_is_not_there_is_a_reason_to_wait() {
        let (dir, mut roots) = world();
        roots.push(dir.path().join("root/not mounted"));
        let path = dir.path().join("root/not mounted/a.tif");
        let wrong = check(path.to_str().unwrap(), Expected::File(5), &roots).unwrap_err();
        assert!(matches!(&wrong, Wrong::Root(why) if why.contains("not mounted")), "{wrong}");
    }
}
