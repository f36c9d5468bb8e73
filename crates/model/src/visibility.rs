//! From a replica to the path under which the importer sees the same bytes. Only what lies below a root the
//! site opened is ever given to the importer.

use crate::names::LogicalPath;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// A vault the importer can read: a path prefix on the iRODS server and the same place on the importer's host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vault {
    prefix: Vec<u8>,
    importer_prefix: Vec<u8>,
    /// Only replicas on this resource, if named: it may be any of the replica's hierarchy.
    resource: Option<String>,
}

/// A collection mounted on the importer's host, as NFSRODS does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    zone_prefix: LogicalPath,
    mount: Vec<u8>,
}

/// What a path that the importer sees may stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The replica at this physical path.
    Replica(Vec<u8>),
    /// The data object at this logical path.
    DataObject(LogicalPath),
}

/// All roots of the site.
#[derive(Debug, Clone, Default)]
pub struct Visibility {
    /// Vaults, longest prefix wins.
    pub vaults: Vec<Vault>,
    /// Mounts, longest prefix wins; asked when no vault fits.
    pub mounts: Vec<Mount>,
    /// The (root) resource to which data is copied that is visible neither way.
    pub stage_to: Option<String>,
}

/// A replica as far as visibility is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location<'a> {
    /// Physical path on the iRODS server.
    pub physical_path: &'a [u8],
    /// Resource hierarchy, `root;child;leaf`.
    pub hierarchy: &'a str,
}

impl Location<'_> {
    /// Whether the replica is on a resource, or below it in the hierarchy.
    pub fn is_on(&self, resource: &str) -> bool {
        self.hierarchy.split(';').any(|r| r == resource)
    }
}

impl Vault {
    /// A vault by absolute prefixes; empty and `.` elements, a trailing slash among them, do not matter.
    pub fn new(prefix: &str, importer_prefix: &str, resource: Option<String>) -> Self {
        Self { prefix: tidy(prefix), importer_prefix: tidy(importer_prefix), resource }
    }

    /// The path prefix on the iRODS server.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// The resource that is meant, if not any.
    pub fn resource(&self) -> Option<&str> {
        self.resource.as_deref()
    }
}

impl Mount {
    /// A mounted collection.
    pub fn new(zone_prefix: LogicalPath, mount: &str) -> Self {
        Self { zone_prefix, mount: tidy(mount) }
    }
}

impl Visibility {
    /// Whether nothing is visible.
    pub fn is_empty(&self) -> bool {
        self.vaults.is_empty() && self.mounts.is_empty()
    }

    /// Where the importer sees a replica in a vault.
    pub fn through_vault(&self, replica: &Location<'_>) -> Option<Vec<u8>> {
        let path = normal(replica.physical_path)?;
        self.vaults
            .iter()
            .filter(|v| v.resource.as_deref().is_none_or(|r| replica.is_on(r)))
            .filter_map(|v| below(&v.prefix, &path).map(|rest| (v, rest)))
            // Of the same prefix the one that names the resource.
            .max_by_key(|(v, _)| (v.prefix.len(), v.resource.is_some()))
            .map(|(v, rest)| [v.importer_prefix.as_slice(), rest].concat())
    }

    /// Where the importer sees a data object through a mounted collection.
    pub fn through_mount(&self, path: &LogicalPath) -> Option<Vec<u8>> {
        self.mounts
            .iter()
            .filter_map(|m| below(m.zone_prefix.as_bytes(), path.as_bytes()).map(|rest| (m, rest)))
            .max_by_key(|(m, _)| m.zone_prefix.as_bytes().len())
            .map(|(m, rest)| [m.mount.as_slice(), rest].concat())
    }

    /// What a path of the importer's host may be a replica or a data object of. `.` and `..` are resolved by their words.
    pub fn origins(&self, seen: &[u8]) -> Vec<Origin> {
        let Some(path) = resolved(seen) else { return Vec::new() };
        let vaults = self.vaults.iter().filter_map(|v| {
            let rest = below(&v.importer_prefix, &path)?;
            // A resource whose vault path ends in a slash gives its replicas paths with an empty element.
            let physical = [v.prefix.as_slice(), rest].concat();
            let with_slash = [v.prefix.as_slice(), b"/", rest].concat();
            Some([physical, with_slash].map(Origin::Replica))
        });
        let mounts = self.mounts.iter().filter_map(|m| {
            let rest = below(&m.mount, &path)?;
            LogicalPath::parse(&[m.zone_prefix.as_bytes(), rest].concat()).ok().map(Origin::DataObject)
        });
        vaults.flatten().chain(mounts).collect()
    }

    /// The directories of the importer's host below which everything lies that is given to it.
    pub fn roots(&self) -> Vec<PathBuf> {
        let vaults = self.vaults.iter().map(|v| &v.importer_prefix);
        let prefixes = vaults.chain(self.mounts.iter().map(|m| &m.mount));
        prefixes.map(|p| PathBuf::from(OsStr::from_bytes(p))).collect()
    }

    /// The roots in words, for the reason of what is not visible.
    pub fn describe(&self) -> String {
        let vaults = self.vaults.iter().map(|v| match &v.resource {
            Some(r) => format!("resource {r} below {}", String::from_utf8_lossy(&v.prefix)),
            None => format!("replicas below {}", String::from_utf8_lossy(&v.prefix)),
        });
        let mounts = self.mounts.iter().map(|m| format!("collections below {}", m.zone_prefix));
        vaults.chain(mounts).collect::<Vec<_>>().join(", ")
    }
}

/// What follows `prefix` in `path` (with its leading slash), where the prefix ends at an element.
fn below<'a>(prefix: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    path.strip_prefix(prefix).filter(|rest| rest.first() == Some(&b'/') && rest.len() > 1)
}

/// An absolute path without empty and `.` elements, which mean nothing to the file system: a resource whose vault path
/// ends in a slash gives its replicas paths with an empty one. `None` for a path that is relative, or climbs by `..`.
fn normal(path: &[u8]) -> Option<Vec<u8>> {
    let climbs = path.split(|b| *b == b'/').any(|element| element == b"..");
    if climbs { None } else { resolved(path) }
}

/// An absolute path without empty, `.` and `..` elements; `None` for one that is relative, or climbs above the top.
pub fn resolved(path: &[u8]) -> Option<Vec<u8>> {
    let mut elements: Vec<&[u8]> = Vec::new();
    for element in path.strip_prefix(b"/")?.split(|b| *b == b'/') {
        match element {
            b"" | b"." => {}
            b".." => drop(elements.pop()?),
            name => elements.push(name),
        }
    }
    Some([b"/".as_slice(), &elements.join(&b'/')].concat())
}

/// A path that the configuration gives. One that is not absolute or climbs, which it refuses, is no prefix of anything.
fn tidy(path: &str) -> Vec<u8> {
    normal(path.as_bytes()).unwrap_or_else(|| path.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(visibility: &Visibility, path: &str, hierarchy: &str) -> Option<String> {
        let location = Location { physical_path: path.as_bytes(), hierarchy };
        visibility.through_vault(&location).map(|p| String::from_utf8(p).unwrap())
    }

    #[test]
    fn a_path_of_the_importer_leads_back_to_what_it_may_be() {
        let zone = LogicalPath::parse(b"/z/home").unwrap();
        let visibility = Visibility {
            vaults: vec![Vault::new("/vault", "/mnt/a", None)],
            mounts: vec![Mount::new(zone, "/nfs")],
            ..Visibility::default()
        };
        let replica = |path: &str| Origin::Replica(path.as_bytes().to_vec());
        assert_eq!(
            visibility.origins(b"/mnt/a/x/../y/./z.tif"),
            [replica("/vault/y/z.tif"), replica("/vault//y/z.tif")]
        );
        let object = LogicalPath::parse(b"/z/home/alice/a.tif").unwrap();
        assert_eq!(visibility.origins(b"/nfs/alice/a.tif"), [Origin::DataObject(object)]);
        for elsewhere in ["/mnt/a", "/mnt/ab/x", "/mnt/a/../b", "/../mnt/a/x", "mnt/a/x", "/etc/passwd"] {
            assert_eq!(visibility.origins(elsewhere.as_bytes()), [], "{elsewhere}");
        }
    }

    #[test]
    fn the_longest_prefix_that_ends_at_an_element_wins() {
        let visibility = Visibility {
            vaults: vec![Vault::new("/vault/", "/mnt/a", None), Vault::new("/vault/fast", "/mnt/b/", None)],
            ..Visibility::default()
        };
        assert_eq!(seen(&visibility, "/vault/home/x", "r").as_deref(), Some("/mnt/a/home/x"));
        assert_eq!(seen(&visibility, "/vault/fast/x", "r").as_deref(), Some("/mnt/b/x"));
        assert_eq!(seen(&visibility, "/vault/faster/x", "r").as_deref(), Some("/mnt/a/faster/x"));
        assert_eq!(seen(&visibility, "/vaults/x", "r"), None);
        assert_eq!(seen(&visibility, "/vault", "r"), None);
    }

    #[test]
    fn a_physical_path_that_climbs_is_not_visible() {
        let visibility =
            Visibility { vaults: vec![Vault::new("/vault", "/mnt", None)], ..Visibility::default() };
        for bad in [
            "/vault/../etc/passwd",
            "/vault/a/..",
            "/vault//../vault/x",
            "vault/x",
            "",
            "/",
            "/vault/",
            "/vault/.",
        ] {
            assert_eq!(seen(&visibility, bad, "r"), None, "{bad}");
        }
    }

    #[test]
    fn elements_that_mean_nothing_to_the_file_system_make_no_difference() {
        for (prefix, importer) in
            [("/srv/slash", "/mnt"), ("/srv/slash/", "/mnt/"), ("//srv/./slash//", "/mnt/.")]
        {
            let vaults = vec![Vault::new(prefix, importer, None)];
            let visibility = Visibility { vaults, ..Visibility::default() };
            for path in
                ["/srv/slash//home/x", "/srv/slash/home/x", "/srv//slash/./home//x", "//srv/slash/home/x"]
            {
                assert_eq!(seen(&visibility, path, "r").as_deref(), Some("/mnt/home/x"), "{prefix} {path}");
            }
            assert_eq!(seen(&visibility, "/srv/slash..//x", "r"), None);
            assert_eq!(seen(&visibility, "/srv//slasher/x", "r"), None);
            assert_eq!(seen(&visibility, "/srv/slash/...//x", "r").as_deref(), Some("/mnt/.../x"));
        }
    }

    #[test]
    fn a_named_resource_is_any_of_the_hierarchy() {
        let vault = Vault::new("/vault", "/mnt", Some("ufs1".to_owned()));
        let visibility = Visibility { vaults: vec![vault], ..Visibility::default() };
        assert!(seen(&visibility, "/vault/x", "comp;repl;ufs1").is_some());
        assert!(seen(&visibility, "/vault/x", "ufs1;repl;ufs2").is_some());
        assert!(seen(&visibility, "/vault/x", "comp;repl;ufs2").is_none());
    }

    #[test]
    fn a_vault_that_names_the_resource_is_taken_before_one_of_the_same_prefix() {
        let named = Vault::new("/vault", "/mnt/b", Some("b".to_owned()));
        for vaults in [vec![named.clone(), Vault::new("/vault", "/mnt/a", None)], {
            vec![Vault::new("/vault", "/mnt/a", None), named]
        }] {
            let visibility = Visibility { vaults, ..Visibility::default() };
            assert_eq!(seen(&visibility, "/vault/x", "b").as_deref(), Some("/mnt/b/x"));
            assert_eq!(seen(&visibility, "/vault/x", "c").as_deref(), Some("/mnt/a/x"));
        }
    }

    #[test]
    fn a_mount_shows_the_logical_path() {
        let zone = LogicalPath::parse(b"/tempZone/home").unwrap();
        let visibility = Visibility { mounts: vec![Mount::new(zone, "/mnt/irods")], ..Visibility::default() };
        let path = LogicalPath::parse(b"/tempZone/home/alice/a b.tif").unwrap();
        assert_eq!(visibility.through_mount(&path).unwrap(), b"/mnt/irods/alice/a b.tif");
        let outside = LogicalPath::parse(b"/tempZone/homes/x").unwrap();
        assert!(visibility.through_mount(&outside).is_none());
    }
}
