//! The plugin's library: where the server looks for it, for this machine, and for the iRODS that is installed.

use crate::account::{Account, Wish};
use crate::finding::{Code, Report};
use crate::server_config::{PLUGIN, open_regular};
use irods_omero_model::BUILT_FOR_MARK;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

/// The largest library that is read, in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// Looks at the library below the directory of plugins.
pub fn look(directory: &Path, account: &Account, report: &mut Report) {
    let path = directory.join("rule_engines").join(format!("lib{PLUGIN}.so"));
    let place = path.display().to_string();
    let library = match read(&path, account) {
        Ok(library) => library,
        Err(why) => {
            let remedy =
                "install the package irods-rule-engine-plugin-omero, or name the directory with --plugin-dir";
            return report.add(Code::Library, &place, why, remedy);
        }
    };
    let (built_for, installed) = (built_for(&library), installed(directory));
    if let (Some(built_for), Some(installed)) = (built_for, installed)
        && built_for != installed
    {
        report.add(
            Code::LibraryVersion,
            &place,
            format_args!(
                "the plugin was built for iRODS {built_for} and iRODS {installed} is installed here"
            ),
            format_args!(
                "install the package that was made for iRODS {installed}; this one refuses to work with it"
            ),
        );
    }
}

/// The library's bytes, if it is one for this machine.
fn read(path: &Path, account: &Account) -> Result<Vec<u8>, String> {
    let library = bytes(path, MAX_BYTES).map_err(|e| format!("the plugin's library cannot be read: {e}"))?;
    let us = bytes(Path::new("/proc/self/exe"), 20).unwrap_or_default();
    // Word size and byte order, and the kind of machine.
    let is_other = |at: std::ops::Range<usize>| us.len() == 20 && library.get(at.clone()) != us.get(at);
    if !account.may(Wish::Read, path) {
        Err(format!("the plugin's library cannot be read by {}", account.name))
    } else if library.get(..4) != Some(b"\x7fELF") {
        Err("the plugin's library is no library".to_owned())
    } else if is_other(4..6) || is_other(18..20) {
        Err("the plugin's library is for another kind of machine".to_owned())
    } else {
        Ok(library)
    }
}

fn bytes(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The iRODS version a library says it was built for.
fn built_for(library: &[u8]) -> Option<&str> {
    let mark = BUILT_FOR_MARK.as_bytes();
    let mut marks = library.windows(mark.len()).enumerate().filter(|(_, window)| *window == mark);
    marks.find_map(|(at, _)| {
        let rest = library.get(at + mark.len()..)?;
        let end = rest.iter().position(|b| *b == b'\n').filter(|end| *end < 20)?;
        std::str::from_utf8(rest.get(..end)?).ok().filter(|v| v.starts_with(|c: char| c.is_ascii_digit()))
    })
}

/// The version of the iRODS whose plugins are there, by the names of its libraries two directories above
/// (`libirods_common.so.5.0.2`).
fn installed(plugins: &Path) -> Option<String> {
    let entries = fs::read_dir(plugins.parent()?.parent()?).ok()?;
    let version = |name: &str| {
        let start =
            ["libirods_server.so.", "libirods_common.so."].iter().find_map(|s| name.strip_prefix(s))?;
        (start.split('.').count() == 3).then(|| start.to_owned())
    };
    entries.flatten().find_map(|entry| version(entry.file_name().to_str()?))
}
