//! What a host's mounts, modes and clock do to what the stanza points at: things that are only seen when data fails.

use crate::account::{Account, Wish};
use crate::finding::{Code, Report};
use crate::server_config::open_regular;
use rustix::fs::{StatVfsMountFlags, statvfs};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// How many entries of a directory are looked at.
const MAX_ENTRIES: usize = 10_000;

/// How far in the future a directory may have been changed, in seconds, before clocks are said to differ.
const CLOCK_SLACK: i64 = 60;

/// How many things of one kind a sentence names.
const NAMED: usize = 3;

/// Whether programs and libraries cannot be loaded from a directory, or from where it would be made.
pub fn is_noexec(path: &Path) -> bool {
    let there = path.ancestors().find(|p| p.exists());
    let flags = there.and_then(|p| statvfs(p).ok()).map(|about| about.f_flag);
    flags.is_some_and(|flags| flags.contains(StatVfsMountFlags::NOEXEC))
}

/// Whether new files in the vaults can be read by anybody but the server's account. `json` is the whole configuration;
/// its keys hold octal modes in text, which the server gives what it makes.
pub fn look_at_modes(json: &Value, stanza: &Value, report: &mut Report) {
    let vaults = stanza.pointer("/visibility/vaults").and_then(Value::as_array);
    let transfer = stanza.pointer("/importer/transfer").and_then(Value::as_str).unwrap_or("ln_s");
    if vaults.is_none_or(Vec::is_empty) || !["ln_s", "ln"].contains(&transfer) {
        return;
    }
    for (key, needed, better) in [("default_file_mode", 0o044, "0640"), ("default_dir_mode", 0o011, "0750")] {
        let text = json.get(key).and_then(Value::as_str);
        let Some(mode) = text.and_then(|text| u32::from_str_radix(text, 8).ok()) else { continue };
        if mode & needed == 0 {
            report.add(
                Code::VaultMode,
                &format!("/{key}"),
                format_args!(
                    "what the server makes in a vault gets the mode {mode:04o}: OMERO, which reads it in place, cannot \
                     unless it runs as the same account"
                ),
                format_args!(
                    "set \"{better}\" and put OMERO's account into the service account's group; what is there already: \
                     chmod -R g+rX VAULT"
                ),
            );
        }
    }
}

/// Whether each entry of `visibility` can ever be used. `pointer` is the stanza's.
pub fn look_at_prefixes(stanza: &Value, pointer: &str, report: &mut Report) {
    for (list, key) in [("vaults", "prefix"), ("mounts", "zone_prefix")] {
        let entries = stanza.pointer(&format!("/visibility/{list}")).and_then(Value::as_array);
        let mut seen = HashSet::new();
        // Of two that are the same the last is used.
        for (i, entry) in entries.map(Vec::as_slice).unwrap_or_default().iter().enumerate().rev() {
            let Some(prefix) = entry.get(key).and_then(Value::as_str) else { continue };
            let (prefix, place) =
                (prefix.trim_end_matches('/'), format!("{pointer}/visibility/{list}/{i}/{key}"));
            let resource = entry.get("resource").and_then(Value::as_str);
            if prefix.contains("//") {
                let sentence =
                    format!("no path lies below '{prefix}': paths have one slash between two names");
                report.add(Code::PrefixUnused, &place, sentence, "write one slash");
            } else if !seen.insert((prefix, resource)) {
                let of = resource.map_or_else(String::new, |r| format!(" of the resource {r}"));
                let sentence = format!("another entry for '{prefix}'{of} follows, so this one is never used");
                let remedy =
                    "remove one, or name the 'resource' of each, if they are vaults of two resources";
                report.add(Code::PrefixUnused, &place, sentence, remedy);
            }
        }
    }
}

/// A directory whose files are imported: whether what is to be mounted there is, what its clock says, and, for a vault
/// that names no resource, whether there are several.
pub fn look_at_root(place: &str, path: &Path, is_any_resource: bool, report: &mut Report) {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    for away in away(&read("/etc/fstab"), &read("/proc/self/mountinfo"), path) {
        let away = away.display();
        report.add(
            Code::MountAway,
            place,
            format_args!(
                "/etc/fstab says what is to be mounted on {away}, and nothing is: its files are not there"
            ),
            format_args!("sudo mount {away}; have it mounted before the server starts"),
        );
    }
    look_at_clock(place, path, report);
    if is_any_resource {
        let vaults = vaults_in(path);
        if vaults.len() > 1 && !is_vault(path) {
            let named: Vec<_> = vaults.iter().take(NAMED).map(|v| v.display().to_string()).collect();
            report.add(
                Code::SeveralVaults,
                place,
                format_args!(
                    "{} holds {} vaults ({}), and this entry names no resource: of a replica elsewhere with such a path \
                     another file may be found here",
                    path.display(),
                    vaults.len(),
                    named.join(", ")
                ),
                "make an entry for each vault, with its 'resource'",
            );
        }
    }
}

/// Tells of a directory that was changed in the future.
pub fn look_at_clock(place: &str, path: &Path, report: &mut Report) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let Some(changed) = fs::metadata(path).ok().map(|about| about.mtime().max(about.ctime())) else { return };
    let ahead = changed.saturating_sub_unsigned(now);
    if ahead > CLOCK_SLACK {
        report.add(
            Code::Clock,
            place,
            format_args!(
                "{} was changed {ahead} s in the future: the clock of this host is behind, or that of its file server \
                 ahead, and waits and retries count by it",
                path.display()
            ),
            "synchronize the clocks of all hosts of the zone (chrony, systemd-timesyncd)",
        );
    }
}

/// Whether a directory looks like a vault, which has the trees of a zone.
fn is_vault(path: &Path) -> bool {
    path.join("home").is_dir() || path.join("trash").is_dir()
}

fn vaults_in(path: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten().take(MAX_ENTRIES);
    entries.map(|entry| entry.path()).filter(|p| p.is_dir() && is_vault(p)).collect()
}

/// What `/etc/fstab` has mounted at, above or below a directory and `/proc/self/mountinfo` does not tell of.
fn away(fstab: &str, mountinfo: &str, path: &Path) -> Vec<PathBuf> {
    let mounted: HashSet<PathBuf> =
        mountinfo.lines().filter_map(|line| Some(unescaped(line.split(' ').nth(4)?))).collect();
    let wanted = fstab.lines().filter(|line| !line.trim_start().starts_with('#')).filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (point, kind, options) = (words.next()?, words.next()?, words.next().unwrap_or_default());
        let is_for_later = options.split(',').any(|option| option == "noauto") || kind == "swap";
        (point.starts_with('/') && !is_for_later).then(|| unescaped(point))
    });
    let concerns = |point: &PathBuf| path.starts_with(point) || point.starts_with(path);
    if mounted.is_empty() {
        return Vec::new(); // where /proc is not mounted, nothing is known
    }
    wanted.filter(|point| concerns(point) && !mounted.contains(point)).collect()
}

/// A path in which blanks are written `\040`.
fn unescaped(text: &str) -> PathBuf {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\").into()
}

/// The jars: some, each readable and one, each in one version.
pub fn look_at_jars(place: &str, path: &Path, account: &Account, report: &mut Report) {
    let shown = path.display();
    let entries = fs::read_dir(path).into_iter().flatten().flatten().take(MAX_ENTRIES);
    let jars: BTreeSet<PathBuf> =
        entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|x| x == "jar")).collect();
    if jars.is_empty() {
        return report.add(
            Code::JarsEmpty,
            place,
            format_args!("the directory {shown} holds no .jar"),
            "name the directory of OMERO's Java client, 'libs' of an unpacked OMERO.java",
        );
    }
    let bad: Vec<String> = jars
        .iter()
        .filter_map(|jar| Some(format!("{} {}", jar.file_name()?.display(), why_no_jar(jar, account)?)))
        .collect();
    if !bad.is_empty() {
        let more = if bad.len() > NAMED { format!(" and {} more", bad.len() - NAMED) } else { String::new() };
        let named = bad.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        report.add(
            Code::JarFile,
            place,
            format_args!("jars in {shown} cannot be used: {named}{more}"),
            format_args!("unpack OMERO.java of the server's version anew, and let {} read it", account.name),
        );
    }
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, version) in jars.iter().filter_map(|jar| named_version(jar.file_stem()?.to_str()?)) {
        versions.entry(name).or_default().push(version);
    }
    for (name, versions) in versions.into_iter().filter(|(_, versions)| versions.len() > 1) {
        report.add(
            Code::JarsMixed,
            place,
            format_args!(
                "{shown} holds {name} in the versions {}: which one runs is chance",
                versions.join(" and ")
            ),
            "unpack OMERO.java of the server's version into a directory of its own, and name that",
        );
    }
}

/// Why a file is no jar that can be used; a jar is a ZIP file.
fn why_no_jar(jar: &Path, account: &Account) -> Option<String> {
    let mut start = [0_u8; 4];
    match open_regular(jar).and_then(|mut file| file.read_exact(&mut start)) {
        Ok(()) if start == *b"PK\x03\x04" => None,
        _ if !account.may(Wish::Read, jar) => Some(format!("({} cannot read it)", account.name)),
        Ok(()) | Err(_) => Some("(it is no jar)".to_owned()),
    }
}

/// The name and version of `formats-gpl-7.3.1`; nothing where the name has none.
fn named_version(stem: &str) -> Option<(&str, &str)> {
    let dashes = stem.match_indices('-').map(|(at, _)| at);
    let mut parts = dashes.filter_map(|at| Some((stem.get(..at)?, stem.get(at + 1..)?)));
    parts.find(|(_, version)| version.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTED: &str =
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 22 0:40 / /srv/a\\040b rw - nfs4 f:/a rw\n";

    #[test]
    fn what_is_to_be_mounted_and_is_not_is_away() {
        let fstab = "# f:/x /srv/commented nfs4 defaults 0 0\nUUID=1 / ext4 defaults 0 1\nf:/a /srv/a\\040b nfs4 defaults 0 0\n\
                     f:/v /srv/vault nfs4 defaults 0 0\nf:/d /srv/vault/deep nfs4 rw 0 0\nf:/n /srv/n nfs4 rw,noauto 0 0\n\
                     UUID=2 none swap sw 0 0\n";
        let away = |path: &str| {
            let away = super::away(fstab, MOUNTED, Path::new(path));
            away.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(away("/srv/vault"), "/srv/vault /srv/vault/deep");
        assert_eq!(away("/srv/vault/lab"), "/srv/vault");
        for there in ["/srv/a b", "/srv/n", "/srv/commented", "/srv/vaults", "/home"] {
            assert_eq!(away(there), "", "{there}");
        }
        assert!(super::away(fstab, "", Path::new("/srv/vault")).is_empty());
    }

    #[test]
    fn a_jars_name_tells_its_version() {
        assert_eq!(named_version("formats-gpl-7.3.1"), Some(("formats-gpl", "7.3.1")));
        assert_eq!(named_version("ice-3.6.5-x"), Some(("ice", "3.6.5-x")));
        assert_eq!(named_version("omero-blitz"), None);
    }
}
