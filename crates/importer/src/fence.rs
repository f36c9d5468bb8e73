//! A fence around the importer's Java: below the opened directories it can read the files of its batch and no others, whatever
//! a file of the batch names meanwhile. What lies elsewhere (Java, the jars, the work directory) stays readable.
//!
//! It is the second line: the forecast tells before the import which files a set uses, and what a fileset holds is compared
//! with that afterwards. Where the kernel has no Landlock the import goes on without it.
//!
//! Landlock only allows. So for each directory above an opened one all that lies beside is allowed, as it is at that moment.

use crate::ffi::Ruleset;
use crate::files::{self, Identity};
use rustix::fs::{Mode, OFlags, open};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Why there is no fence.
#[derive(Debug, thiserror::Error)]
pub enum NoFence {
    /// A file is another one than before.
    #[error("{0}")]
    File(String),
    /// The kernel does not offer it, or refuses.
    #[error("{0}")]
    Kernel(#[from] io::Error),
}

/// What is to be readable below the opened directories.
pub struct Readable<'a> {
    /// The opened directories.
    pub roots: &'a [PathBuf],
    /// Directories and files that the importer itself needs, wherever they are.
    pub needed: &'a [&'a Path],
    /// The files, and which they were when they were looked at.
    pub files: &'a [(&'a str, Identity)],
}

impl Readable<'_> {
    /// The rules.
    ///
    /// # Errors
    /// They could not be made: a file is another one than before, or the kernel refuses.
    pub fn ruleset(&self) -> Result<Ruleset, NoFence> {
        let rules = Ruleset::new()?;
        // One that is not there now may be mounted in a moment.
        let real = |root: &PathBuf| fs::canonicalize(root).unwrap_or_else(|_| root.clone());
        let roots: BTreeSet<PathBuf> = self.roots.iter().map(real).collect();
        if roots.contains(Path::new("/")) {
            return Err(io::Error::other("everything is opened").into());
        }
        allow_beside(Path::new("/"), &roots, &rules)?;
        for path in self.needed {
            // What is not there is not needed.
            if let Ok(path) = name(path, OFlags::empty()) {
                rules.allow(&path)?;
            }
        }
        for (path, identity) in self.files {
            let file = files::open_again(path, identity, self.roots)
                .map_err(|wrong| NoFence::File(wrong.to_string()))?;
            rules.allow(&file)?;
        }
        Ok(rules)
    }
}

/// Allows all of a directory, but for the opened ones below it.
fn allow_beside(directory: &Path, roots: &BTreeSet<PathBuf>, rules: &Ruleset) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if roots.contains(&path) {
            continue;
        }
        if roots.iter().any(|root| root.starts_with(&path)) {
            allow_beside(&path, roots, rules)?;
        } else if let Ok(named) = name(&path, OFlags::NOFOLLOW) {
            // A link leads to what is allowed or not where it is. What is gone again, or no file system's own, is passed over.
            let _ = rules.allow(&named);
        }
    }
    Ok(())
}

fn name(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(open(path, OFlags::PATH | OFlags::CLOEXEC | flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::is_landlock_offered;
    use std::process::Command;

    /// What a command can read that is fenced in with these files of `vault`.
    fn read(vault: &Path, allowed: &[&str], wanted: &Path) -> bool {
        let roots = [vault.to_owned()];
        let paths: Vec<String> = allowed.iter().map(|f| vault.join(f).to_str().unwrap().to_owned()).collect();
        let files: Vec<(&str, Identity)> =
            paths.iter().map(|p| (p.as_str(), files::check_used(p, &roots).unwrap())).collect();
        let rules = Readable { roots: &roots, needed: &[], files: &files }.ruleset().unwrap();
        let mut command = Command::new("cat");
        command.arg(wanted);
        rules.confine(&mut command);
        command.output().unwrap().status.success()
    }

    #[test]
    fn below_the_opened_directories_only_the_files_of_the_batch_can_be_read() {
        if !is_landlock_offered() {
            eprintln!("this kernel has no Landlock: nothing to test");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let vault = fs::canonicalize(dir.path()).unwrap().join("vault");
        fs::create_dir_all(vault.join("alice")).unwrap();
        for file in ["own.tif", "alice/secret.tif", "../beside"] {
            fs::write(vault.join(file), "bytes").unwrap();
        }
        std::os::unix::fs::symlink(vault.join("alice/secret.tif"), vault.join("link.tif")).unwrap();
        for (file, is_readable) in
            [("own.tif", true), ("alice/secret.tif", false), ("link.tif", false), ("../beside", true)]
        {
            assert_eq!(read(&vault, &["own.tif"], &vault.join(file)), is_readable, "{file}");
        }
        assert!(read(&vault, &["alice/secret.tif"], &vault.join("alice/secret.tif")));
    }

    #[test]
    fn a_file_that_was_exchanged_is_not_let_in() {
        let dir = tempfile::tempdir().unwrap();
        let vault = fs::canonicalize(dir.path()).unwrap();
        let path = vault.join("a.tif");
        fs::write(&path, "1").unwrap();
        let roots = [vault.clone()];
        let before = files::check_used(path.to_str().unwrap(), &roots).unwrap();
        fs::write(vault.join("b.tif"), "2").unwrap();
        fs::rename(vault.join("b.tif"), &path).unwrap();
        let files = [(path.to_str().unwrap(), before)];
        if is_landlock_offered() {
            let rules = Readable { roots: &roots, needed: &[], files: &files }.ruleset();
            assert!(matches!(rules, Err(NoFence::File(why)) if why.contains("exchanged")));
        }
    }
}
