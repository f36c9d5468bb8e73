//! Links of OMERO's repository that show other bytes than those their fileset was made of: data in iRODS was replaced, and
//! the new data lies where the old one lay.
//!
//! Such a link is exchanged for one that leads nowhere, so that the old images cannot be opened: an error is noticed, wrong
//! pixels are not. Only a link that leads to exactly the path in question is touched, and only below the root of the
//! repository, without following any other link on the way there.

use crate::Subject;
use crate::files;
use rustix::fs::{AtFlags, Mode, OFlags, open, readlinkat, renameat, symlinkat, unlinkat};
use rustix::io::Errno;
use std::io;
use std::path::{Component, Path};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where a link leads that was cut off. Nothing may be made there.
pub const NOWHERE: &str = "/irods-data-replaced";

/// The longest target of a link, in bytes: `PATH_MAX` less the terminating NUL.
const MAX_TARGET: usize = 4_095;

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// What was done about a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It leads nowhere now.
    Cut,
    /// It leads elsewhere, or is no link, or is not there.
    Left,
}

/// Where a link is to lead that showed `path`, whose bytes are now those of `by`: nowhere, in words that tell what
/// happened.
pub(crate) fn nowhere(by: Subject, path: &str) -> String {
    let by = match by {
        Subject::DataObject(id) => format!("{NOWHERE}/by-data-id-{id}"),
        Subject::Collection(id) => format!("{NOWHERE}/by-collection-id-{id}"),
    };
    let whole = format!("{by}/{}", path.trim_start_matches('/'));
    if whole.len() <= MAX_TARGET { whole } else { by }
}

/// The path that a link showed which leads nowhere now.
pub(crate) fn shown_before(target: &str) -> Option<&str> {
    let by = target.strip_prefix(NOWHERE)?.strip_prefix("/by-")?;
    by.find('/').and_then(|at| by.get(at..))
}

/// Has the link `stored` below `root` lead to `target`, in one step, if it leads to exactly `shown` now.
///
/// # Errors
/// The repository cannot be looked into, or written to.
pub(crate) fn cut(root: &Path, stored: &str, shown: &str, target: &str) -> io::Result<Cut> {
    let stored = Path::new(stored);
    let (Some(parent), Some(name)) = (stored.parent(), stored.file_name()) else { return Ok(Cut::Left) };
    let is_plain = stored.components().all(|c| matches!(c, Component::Normal(_)));
    if !is_plain || parent.as_os_str().is_empty() {
        return Ok(Cut::Left);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = open(root, flags, Mode::empty())?;
    let directory = match files::open_beneath_as(&root, parent, flags) {
        Ok(directory) => directory,
        // A link on the way, or nothing there: not what the importer made.
        Err(Errno::LOOP | Errno::XDEV | Errno::NOENT | Errno::NOTDIR) => return Ok(Cut::Left),
        Err(error) => return Err(error.into()),
    };
    let leads_there = || match readlinkat(&directory, name, Vec::new()) {
        Ok(to) => Ok(to.as_bytes() == shown.as_bytes()),
        Err(Errno::INVAL | Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    };
    if !leads_there()? {
        return Ok(Cut::Left);
    }
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let beside = format!(".irods-omero-{}-{number}", std::process::id());
    match symlinkat(target, &directory, &beside) {
        // What a process of the same number left that was killed between the two steps.
        Err(Errno::EXIST) => {
            unlinkat(&directory, &beside, AtFlags::empty())?;
            symlinkat(target, &directory, &beside)?;
        }
        made => made?,
    }
    let done = match leads_there() {
        Ok(true) => renameat(&directory, &beside, &directory, name).map(|()| Cut::Cut),
        Ok(false) => Ok(Cut::Left),
        Err(error) => Err(error),
    };
    if done != Ok(Cut::Cut) {
        let _ = unlinkat(&directory, &beside, AtFlags::empty());
    }
    Ok(done?)
}

/// Where the link `stored` below `root` leads; `None` if it is no link, or not there, or behind another link.
///
/// # Errors
/// The repository cannot be looked into.
pub(crate) fn target(root: &Path, stored: &str) -> io::Result<Option<String>> {
    let stored = Path::new(stored);
    let (Some(parent), Some(name)) = (stored.parent(), stored.file_name()) else { return Ok(None) };
    if parent.as_os_str().is_empty() || !stored.components().all(|c| matches!(c, Component::Normal(_))) {
        return Ok(None);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = open(root, flags, Mode::empty())?;
    let directory = match files::open_beneath_as(&root, parent, flags) {
        Ok(directory) => directory,
        Err(Errno::LOOP | Errno::XDEV | Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match readlinkat(&directory, name, Vec::new()) {
        // A path that is not UTF-8 is never given to the importer.
        Ok(to) => Ok(to.into_string().ok()),
        Err(Errno::INVAL | Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use irods_omero_model::names::DataId;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    /// A repository with `ann/set/a.tif`, a link to `/vault/a.tif`.
    fn repository() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("ManagedRepository");
        fs::create_dir_all(root.join("ann/set")).unwrap();
        symlink("/vault/a.tif", root.join("ann/set/a.tif")).unwrap();
        (dir, root)
    }

    fn data(id: &str) -> Subject {
        Subject::DataObject(DataId::parse(id).unwrap())
    }

    #[test]
    fn a_link_to_the_path_leads_nowhere_afterwards_and_says_why() {
        let (_dir, root) = repository();
        let target = nowhere(data("200"), "/vault/a.tif");
        assert_eq!(target, "/irods-data-replaced/by-data-id-200/vault/a.tif");
        assert_eq!(cut(&root, "ann/set/a.tif", "/vault/a.tif", &target).unwrap(), Cut::Cut);
        assert_eq!(fs::read_link(root.join("ann/set/a.tif")).unwrap(), PathBuf::from(target));
        assert_eq!(fs::read_dir(root.join("ann/set")).unwrap().count(), 1, "nothing is left beside it");
        let again = cut(&root, "ann/set/a.tif", "/vault/a.tif", "/else").unwrap();
        assert_eq!(again, Cut::Left, "and is left then");
    }

    #[test]
    fn a_link_tells_where_it_leads_and_nothing_else_does() {
        let (dir, root) = repository();
        fs::write(root.join("ann/set/file.tif"), "bytes").unwrap();
        symlink(root.join("ann/set"), root.join("ann/way")).unwrap();
        let told = |stored: &str| target(&root, stored).unwrap();
        assert_eq!(told("ann/set/a.tif").as_deref(), Some("/vault/a.tif"));
        for stored in
            ["ann/set/file.tif", "ann/set/none.tif", "ann/way/a.tif", "ann/../ann/set/a.tif", "a.tif", ""]
        {
            assert_eq!(told(stored), None, "{stored}");
        }
        assert!(target(&dir.path().join("none"), "ann/set/a.tif").is_err());
    }

    #[test]
    fn what_is_not_exactly_that_link_is_left_as_it_is() {
        let (dir, root) = repository();
        fs::write(root.join("ann/set/file.tif"), "bytes").unwrap();
        symlink("/vault/b.tif", root.join("ann/set/b.tif")).unwrap();
        symlink("/vault/../vault/a.tif", root.join("ann/set/odd.tif")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        symlink("/vault/a.tif", dir.path().join("outside/a.tif")).unwrap();
        symlink(dir.path().join("outside"), root.join("ann/way")).unwrap();
        symlink("set", root.join("ann/short")).unwrap();
        for stored in [
            "ann/set/file.tif",
            "ann/set/b.tif",
            "ann/set/odd.tif",
            "ann/set/none.tif",
            "ann/none/a.tif",
            "ann/way/a.tif",
            "ann/short/a.tif",
            "../outside/a.tif",
            "ann/../ann/set/a.tif",
            "/ann/set/a.tif",
            "a.tif",
            "",
        ] {
            assert_eq!(cut(&root, stored, "/vault/a.tif", "/nowhere").unwrap(), Cut::Left, "{stored}");
        }
        let outside = fs::read_link(dir.path().join("outside/a.tif")).unwrap();
        assert_eq!(outside, PathBuf::from("/vault/a.tif"));
        assert_eq!(fs::read_link(root.join("ann/set/a.tif")).unwrap(), PathBuf::from("/vault/a.tif"));
    }

    #[test]
    fn a_repository_that_cannot_be_reached_is_an_error() {
        let (dir, _root) = repository();
        assert!(cut(&dir.path().join("none"), "ann/set/a.tif", "/vault/a.tif", "/nowhere").is_err());
    }

    #[test]
    fn a_target_that_no_link_can_hold_is_cut_short() {
        let path = format!("/{}", "x".repeat(4_090));
        assert_eq!(nowhere(data("200"), &path), "/irods-data-replaced/by-data-id-200");
    }
}
