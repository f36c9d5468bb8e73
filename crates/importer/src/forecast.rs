//! What a set of the forecast is, and whether it may be imported: each file that it uses has to be one of those that the
//! catalog was asked for.

use crate::client_path;
use crate::files::{self, Expected, Identity, Wrong};
use crate::{Batch, BatchFile, Subject};
use irods_omero_model::record::Version;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Component, Path, PathBuf};

/// A file that the catalog was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Known {
    /// One of the files to import, by its place in the batch.
    File(usize),
    /// One of those that may be used, by its place among them.
    Usable(usize),
}

/// The most directories of which a file is told that a set uses and the catalog was not asked for.
const MAX_STRANGERS: usize = 500;

/// All files that may reach OMERO with a batch, by their paths.
pub(crate) struct Allowed<'a> {
    batch: &'a Batch,
    by_path: HashMap<&'a str, Known>,
    /// The directories of the batch that are images.
    directories: Vec<(&'a str, usize)>,
}

/// Files that Bio-Formats makes images of together, all of which may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Set {
    /// Its key file.
    pub key: String,
    /// What the importer is given: the key file; of a directory that is an image the directory, whose key file may be
    /// hidden (`.zattrs`), and a hidden file the importer passes over though it is named.
    pub given: String,
    /// Which file bears the fileset: one of the batch, or the key file of a set of which some are in OMERO already.
    pub bearer: Known,
    /// What it uses, as Bio-Formats names it: path, which file that is, and which it was when it was looked at.
    pub members: Vec<(String, Known, Identity)>,
}

/// Why a set is not imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotAllowed {
    /// It uses files that the catalog was not asked for: of each of their directories the first.
    Strangers(Vec<String>),
    /// A file it uses is not there, or not all of it.
    Late(String),
    /// A file it uses is not what the catalog says, and will not become it.
    Wrong(String),
}

impl<'a> Allowed<'a> {
    /// The files of a batch and those it may use.
    pub fn of(batch: &'a Batch) -> Self {
        let usable = batch.may_use.iter().enumerate();
        let files = batch.files.iter().enumerate();
        let mut by_path: HashMap<&str, Known> =
            usable.map(|(i, f)| (f.importer_path.as_str(), Known::Usable(i))).collect();
        by_path.extend(
            files
                .clone()
                .filter(|(_, f)| !f.is_directory())
                .map(|(i, f)| (f.importer_path.as_str(), Known::File(i))),
        );
        let directories =
            files.filter(|(_, f)| f.is_directory()).map(|(i, f)| (f.importer_path.as_str(), i)).collect();
        Self { batch, by_path, directories }
    }

    /// The file of that path in the catalog's words.
    pub fn get(&self, path: &str) -> Option<Known> {
        self.by_path.get(path).copied()
    }

    /// The path under which the importer sees a file.
    pub fn path(&self, file: Known) -> &'a str {
        match file {
            Known::File(i) => &self.batch.files[i].importer_path,
            Known::Usable(i) => &self.batch.may_use[i].importer_path,
        }
    }

    /// Subject, version and checksum of a file.
    pub fn about(&self, file: Known) -> (Subject, Version, Option<&'a str>) {
        match file {
            Known::File(i) => {
                let BatchFile { subject, version, checksum, .. } = &self.batch.files[i];
                (*subject, *version, checksum.as_deref())
            }
            Known::Usable(i) => {
                let file = &self.batch.may_use[i];
                (file.subject, file.version, file.checksum.as_deref())
            }
        }
    }

    /// The directory of the batch that a path lies in.
    fn directory_of(&self, path: &str) -> Option<usize> {
        let mut all = self.directories.iter();
        let below = |directory: &str| path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'));
        all.find(|(directory, _)| below(directory)).map(|(_, i)| *i)
    }

    /// The files of the batch that a group of the forecast concerns.
    pub fn concerned(&self, group: &[String]) -> BTreeSet<usize> {
        let concerned = |path: &String| match self.identify(path) {
            Some(Known::File(i)) => Some(i),
            Some(Known::Usable(_)) | None => self.directory_of(path),
        };
        group.iter().filter_map(concerned).collect()
    }

    /// Which file a path means, if only by its words.
    fn identify(&self, path: &str) -> Option<Known> {
        self.get(path).or_else(|| self.get(&plain(path)?))
    }

    /// The set of a group of the forecast: its key and what it uses.
    ///
    /// # Errors
    /// Why it is not to be imported.
    pub fn set(&self, key: &str, group: &[String], roots: &[PathBuf]) -> Result<Set, NotAllowed> {
        let stranger = |path: &str| NotAllowed::Strangers(vec![path.to_owned()]);
        // What is no data object is told first: that is what the catalog can be asked for.
        let mut strangers: Vec<String> = Vec::new();
        let mut directories: BTreeSet<&str> = BTreeSet::new();
        for path in group.iter().filter(|path| self.identify(path).is_none()) {
            let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            if strangers.len() < MAX_STRANGERS && directories.insert(directory) {
                strangers.push(path.clone());
            }
        }
        if !strangers.is_empty() {
            return Err(NotAllowed::Strangers(strangers));
        }
        let bearer = match (self.identify(key), self.directory_of(key)) {
            (Some(file @ Known::File(_)), _) => file,
            (_, Some(directory)) => Known::File(directory),
            (Some(usable @ Known::Usable(_)), None) => usable,
            (None, None) => return Err(stranger(key)),
        };
        let mut members = Vec::with_capacity(group.len());
        for path in group {
            let known = self.identify(path).ok_or_else(|| stranger(path))?;
            let (_, version, _) = self.about(known);
            let plain = self.path(known);
            let identity =
                files::check(plain, Expected::File(version.size), roots).map_err(|wrong| match wrong {
                    Wrong::File(why) => NotAllowed::Wrong(why),
                    Wrong::Late(why) | Wrong::Root(why) => NotAllowed::Late(why),
                })?;
            // Only the file system knows where a path leads that goes up.
            if path != plain && files::check_used(path, roots).ok() != Some(identity) {
                return Err(stranger(path));
            }
            members.push((path.clone(), known, identity));
        }
        let directory = self.directory_of(key);
        if group.iter().all(|path| path != key) && directory.is_none() {
            return Err(stranger(key));
        }
        let given = directory.map_or(key, |i| &self.batch.files[i].importer_path).to_owned();
        Ok(Set { key: key.to_owned(), given, bearer, members })
    }
}

impl Set {
    /// The client paths that its fileset has to have.
    pub fn client_paths(&self) -> BTreeSet<String> {
        self.members.iter().map(|(path, _, _)| client_path::of(path)).collect()
    }

    /// Its files, each by its client path.
    pub fn by_client_path(&self) -> BTreeMap<String, Known> {
        self.members.iter().map(|(path, known, _)| (client_path::of(path), *known)).collect()
    }

    /// The batch's files in it, with that which bears the fileset.
    pub fn files(&self) -> BTreeSet<usize> {
        let files = self.members.iter().filter_map(|(_, known, _)| match known {
            Known::File(i) => Some(*i),
            Known::Usable(_) => None,
        });
        let bearer = match self.bearer {
            Known::File(i) => Some(i),
            Known::Usable(_) => None,
        };
        files.chain(bearer).collect()
    }
}

/// A path without `.` and `..`, by its words; `None` for one that goes above the top.
fn plain(path: &str) -> Option<String> {
    let mut elements: Vec<&str> = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(element) => elements.push(element.to_str()?),
            Component::ParentDir => drop(elements.pop()?),
            Component::CurDir | Component::RootDir => {}
            Component::Prefix(_) => return None,
        }
    }
    path.starts_with('/').then(|| format!("/{}", elements.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UsableFile;
    use irods_omero_model::identity::OmeroIdentity;
    use irods_omero_model::names::{DataId, IrodsUser, LogicalPath, OmeroName};
    use irods_omero_model::target::Target;
    use std::fs;
    use std::os::unix::fs::symlink;

    struct World {
        dir: tempfile::TempDir,
        batch: Batch,
    }

    fn object(n: u64) -> Subject {
        Subject::DataObject(DataId::parse(&n.to_string()).unwrap())
    }

    /// `files` are to be imported and `usable` may be used; all have five bytes, as has `alice/secret.tif`.
    fn world(files: &[&str], usable: &[&str]) -> World {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &&str| {
            let path = dir.path().join("vault").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "12345").unwrap();
            path.to_str().unwrap().to_owned()
        };
        path(&"alice/secret.tif");
        let version = Version { modify_time: 1, size: 5 };
        let of_file = |(i, name): (usize, &&str)| BatchFile {
            subject: object(i as u64 + 1),
            logical_path: LogicalPath::parse(b"/z/a").unwrap(),
            importer_path: path(name),
            version,
            checksum: None,
            owner: IrodsUser::parse("carol#z").unwrap(),
            previous: vec![],
        };
        let of_usable = |(i, name): (usize, &&str)| UsableFile {
            subject: object(i as u64 + 100),
            importer_path: path(name),
            version,
            checksum: None,
        };
        let batch = Batch {
            identity: OmeroIdentity { user: OmeroName::parse("carol").unwrap(), group: None },
            target: Target::parse("Dataset:name:d").unwrap(),
            plate_target: None,
            may_join: false,
            files: files.iter().enumerate().map(of_file).collect(),
            may_use: usable.iter().enumerate().map(of_usable).collect(),
        };
        World { dir, batch }
    }

    impl World {
        fn path(&self, name: &str) -> String {
            self.dir.path().join("vault").join(name).to_str().unwrap().to_owned()
        }

        fn set(&self, key: &str, members: &[&str]) -> Result<Set, NotAllowed> {
            let group: Vec<String> = members.iter().map(|m| self.path(m)).collect();
            Allowed::of(&self.batch).set(&self.path(key), &group, &[self.dir.path().join("vault")])
        }
    }

    #[test]
    fn a_set_of_files_that_were_asked_for_is_allowed_wherever_they_lie() {
        let w = world(&["x.pattern", "a.tif"], &["sub/b.tif", "../vault/c/d.tif"]);
        let members = ["x.pattern", "a.tif", "sub/b.tif", "sub/../a.tif"];
        let set = w.set("x.pattern", &members).unwrap();
        assert_eq!(set.bearer, Known::File(0));
        assert_eq!(set.files(), BTreeSet::from([0, 1]));
        assert_eq!(set.members[2].1, Known::Usable(0));
    }

    #[test]
    fn a_file_that_the_catalog_was_not_asked_for_is_named_as_bio_formats_names_it() {
        let w = world(&["carol/x.pattern"], &[]);
        for stranger in [
            "alice/secret.tif",
            "carol/../alice/secret.tif",
            "carol/none.tif",
            "../../etc/passwd",
            "../outside.tif",
        ] {
            let refused = w.set("carol/x.pattern", &["carol/x.pattern", stranger]);
            assert_eq!(refused, Err(NotAllowed::Strangers(vec![w.path(stranger)])), "{stranger}");
        }
    }

    #[test]
    fn a_path_that_only_reads_like_an_allowed_one_is_a_stranger() {
        let w = world(&["carol/x.pattern", "carol/secret.tif"], &[]);
        fs::create_dir_all(w.path("alice/deep/er")).unwrap();
        symlink(w.path("alice/deep/er"), w.path("carol/link")).unwrap();
        fs::write(w.path("alice/deep/secret.tif"), "12345").unwrap();
        // By its words that is carol/secret.tif, and on the disk alice/deep/secret.tif.
        let odd = "carol/link/../secret.tif";
        assert_eq!(
            w.set("carol/x.pattern", &["carol/x.pattern", odd]),
            Err(NotAllowed::Strangers(vec![w.path(odd)]))
        );
    }

    #[test]
    fn a_member_that_is_short_or_away_is_late_and_a_link_is_wrong() {
        let w = world(&["x.pattern"], &["a.tif"]);
        let set = || w.set("x.pattern", &["x.pattern", "a.tif"]);
        fs::write(w.path("a.tif"), "123").unwrap();
        assert!(matches!(set(), Err(NotAllowed::Late(why)) if why.contains("has 3 bytes")));
        fs::remove_file(w.path("a.tif")).unwrap();
        assert!(matches!(set(), Err(NotAllowed::Late(why)) if why.contains("not there")));
        symlink(w.path("alice/secret.tif"), w.path("a.tif")).unwrap();
        assert!(matches!(set(), Err(NotAllowed::Wrong(why)) if why.contains("symbolic link")));
    }

    #[test]
    fn all_below_a_directory_has_to_be_asked_for_too() {
        let mut w = world(&["x.zarr/.zattrs"], &["x.zarr/0/0"]);
        w.batch.may_use.push(UsableFile {
            subject: object(200),
            importer_path: w.path("x.zarr/.zattrs"),
            version: Version { modify_time: 1, size: 5 },
            checksum: None,
        });
        let file = &mut w.batch.files[0];
        file.subject = Subject::parse("c7").unwrap();
        file.importer_path = file.importer_path.trim_end_matches("/.zattrs").to_owned();
        let set = w.set("x.zarr/.zattrs", &["x.zarr/.zattrs", "x.zarr/0/0"]).unwrap();
        assert_eq!((set.bearer, set.files()), (Known::File(0), BTreeSet::from([0])));
        fs::write(w.path("x.zarr/0/1"), "12345").unwrap();
        let refused = w.set("x.zarr/.zattrs", &["x.zarr/.zattrs", "x.zarr/0/1"]);
        assert_eq!(refused, Err(NotAllowed::Strangers(vec![w.path("x.zarr/0/1")])));
    }
}
