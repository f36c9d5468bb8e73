//! OME-TIFF of several files, with or without a companion file. Seen with Bio-Formats 7.3.1:
//!
//! - A name may lead anywhere below or, through `..`, above the file that names it. The path is not made simpler, and a
//!   leading slash means nothing.
//! - Every file that is named has to be there, unless it bears the UUID of the file that is open. One that is there but
//!   is no TIFF is passed over, if it is not the first.
//! - A member of a companion file leads to that file by the name it holds, the link resolved; the names there then are
//!   relative to the directory in which the companion file was found.

use std::path::{Path, PathBuf};

use crate::import::candidates::Looked;
use crate::import::readers::{directory, is_tiff, java_join, not_there, series, set};

const READER: &str = "loci.formats.in.OMETiffReader";

/// The OME-XML in a TIFF's description, if it has one.
fn description(bytes: &[u8]) -> Option<String> {
    let start = bytes.windows(5).position(|w| w == b"<OME " || w == b"<OME>")?;
    let end = bytes[start..].windows(6).position(|w| w == b"</OME>").map_or(bytes.len(), |e| start + e + 6);
    Some(String::from_utf8_lossy(&bytes[start..end]).into_owned())
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

/// The first value of an attribute.
fn attribute(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("{name}=\""))?;
    rest.split_once('"').map(|(value, _)| unescaped(value))
}

/// `<UUID FileName="NAME">UUID</UUID>`, in the order of appearance, each name once.
fn named(xml: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for part in xml.split("FileName=\"").skip(1) {
        let Some((name, rest)) = part.split_once('"') else { continue };
        let name = unescaped(name);
        let uuid = rest
            .split_once('>')
            .and_then(|(_, text)| text.split_once('<'))
            .map(|(uuid, _)| uuid.trim().to_owned())
            .unwrap_or_default();
        if !found.iter().any(|(n, _)| *n == name) {
            found.push((name, uuid));
        }
    }
    found
}

fn image_count(xml: &str) -> usize {
    xml.matches("<Image ").count() + xml.matches("<Image>").count()
}

/// Looks at a TIFF; none if it is an ordinary one.
pub fn tiff(path: &Path, bytes: &[u8]) -> Option<Looked> {
    let xml = description(bytes)?;
    let text = path.to_string_lossy().into_owned();
    if let Some(metadata) = attribute(&xml, "MetadataFile") {
        let found = PathBuf::from(java_join(directory(path), &metadata));
        // Without its companion file it is an ordinary TIFF.
        let companion = found.canonicalize().ok().filter(|p| p.is_file())?;
        let content = std::fs::read(&companion).ok()?;
        return Some(members(&companion, directory(&found), &String::from_utf8_lossy(&content), Some(&text)));
    }
    let own = attribute(&xml, "UUID").unwrap_or_default();
    let mut used = vec![text.clone()];
    for (name, uuid) in named(&xml) {
        let file = java_join(directory(path), &name);
        if file == text || (!Path::new(&file).exists() && !own.is_empty() && uuid == own) {
            continue;
        }
        match member(&name, &uuid, file, used.len() == 1 && first_is(&xml, &name)) {
            Ok(file) => used.extend(file),
            Err(why) => return Some(Looked::Broken(why)),
        }
    }
    Some(Looked::Candidate(set(path, used, READER, series(bytes, image_count(&xml)))))
}

fn first_is(xml: &str, name: &str) -> bool {
    named(xml).first().is_some_and(|(n, _)| n == name)
}

/// One file that the XML names: used, passed over, or the exception with which the reader gives up.
fn member(name: &str, uuid: &str, file: String, first: bool) -> Result<Option<String>, String> {
    let path = Path::new(&file);
    if path.is_dir() {
        return Err(format!("java.io.FileNotFoundException: {file} (Is a directory)"));
    }
    if !path.exists() {
        return Err(format!(
            "loci.formats.FormatException: Missing file {name} associated with UUID {uuid}."
        ));
    }
    if is_tiff(path) {
        return Ok(Some(file));
    }
    if first {
        return Err(format!("loci.formats.FormatException: Invalid file (may be corrupted): {file}"));
    }
    Ok(None)
}

/// Looks at a companion file.
pub fn companion(path: &Path, bytes: &[u8]) -> Looked {
    let xml = String::from_utf8_lossy(bytes);
    if !xml.contains("<OME") {
        return Looked::Broken(
            "loci.formats.FormatException: loci.common.services.ServiceException: Could not get OME-XML version"
                .to_owned(),
        );
    }
    members(path, directory(path), &xml, None)
}

/// The set of a companion file whose names are relative to `dir`; `member` is the TIFF that led to it.
fn members(path: &Path, dir: &Path, xml: &str, from: Option<&str>) -> Looked {
    if image_count(xml) == 0 {
        return Looked::Broken(
            "java.lang.IndexOutOfBoundsException: Index 0 out of bounds for length 0".to_owned(),
        );
    }
    let mut used = vec![path.to_string_lossy().into_owned()];
    for (number, (name, uuid)) in named(xml).iter().enumerate() {
        let file = java_join(dir, name);
        if number == 0 && from.is_none() && !Path::new(&file).exists() {
            return not_there(&file);
        }
        match member(name, uuid, file, number == 0) {
            Ok(file) => used.extend(file),
            Err(why) => return Looked::Broken(why),
        }
    }
    Looked::Candidate(set(path, used, READER, series(xml.as_bytes(), image_count(xml))))
}
