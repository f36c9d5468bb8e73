//! Which of the given paths are images, and which files belong together: the
//! part that Bio-Formats and the importer's candidate search play.
//!
//! Formats are told by their first bytes. Some marks exist only here, so that
//! tests can make any situation with a few bytes:
//! `BROKEN-TIFF` behind a valid magic makes the reader throw, `STANDIN-SERIES=3`
//! makes three images of one file, `CZI-TEST`, `LIF-TEST` and `ND2-TEST` stand for
//! those formats, and `*.plate-test` is a plate written as text.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::fault::Faults;

/// One well of a plate and how many images it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Well {
    pub row: u32,
    pub column: u32,
    pub images: usize,
}

/// A group of files that is one import.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The file it was found by, later its first used file.
    pub file: String,
    pub used: Vec<String>,
    pub reader: &'static str,
    /// Names of the series, where the format has them.
    pub series: Vec<Option<String>>,
    pub plate: Option<(String, Vec<Well>)>,
}

/// What became of looking at one file.
#[derive(Debug)]
pub enum Looked {
    Candidate(Candidate),
    Unknown,
    Unreadable,
    Broken(String),
}

/// Everything the search found.
#[derive(Default)]
pub struct Found {
    pub candidates: Vec<Candidate>,
    /// Files whose reader threw.
    pub broken: Vec<(String, String)>,
    pub unreadable: Vec<String>,
    pub unknown: usize,
    pub looked: usize,
}

/// Searches paths (files or directories) down to `depth` (negative: no limit).
pub fn search(paths: &[String], depth: i64, faults: &Faults) -> Found {
    let mut search = Search { found: Found::default(), used_by: Vec::new(), place: HashMap::new(), faults };
    for p in paths {
        let path = absolute(p);
        if path.is_dir() {
            search.walk(&path, 0, depth);
        } else {
            search.file(&path);
        }
    }
    search.reduce()
}

/// Absolute, but with symbolic links and `..` left as they are.
pub fn absolute(path: &str) -> PathBuf {
    if path.starts_with('/') {
        PathBuf::from(path)
    } else {
        std::env::current_dir().unwrap_or_else(|_| "/".into()).join(path)
    }
}

struct Search<'a> {
    found: Found,
    /// Used file → the files it was found by, in order of appearance.
    used_by: Vec<(String, Vec<String>)>,
    place: HashMap<String, usize>,
    faults: &'a Faults,
}

impl Search<'_> {
    /// Depth first, in the file system's own order, as the importer does.
    fn walk(&mut self, dir: &Path, level: i64, depth: i64) {
        if depth >= 0 && level >= depth {
            return;
        }
        let Ok(entries) = std::fs::read_dir(dir) else { return };
        for e in entries.filter_map(Result::ok) {
            let path = e.path();
            if path.is_dir() {
                self.walk(&path, level + 1, depth);
            } else {
                self.file(&path);
            }
        }
    }

    fn file(&mut self, path: &Path) {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let text = path.to_string_lossy().into_owned();
        if name.starts_with('.') || self.place.contains_key(&text) {
            return;
        }
        self.found.looked += 1;
        let looked = if self.faults.take("unreadable", None, Some(&text)).is_some() {
            Looked::Unreadable
        } else {
            look(path)
        };
        match looked {
            Looked::Unreadable => self.found.unreadable.push(text),
            Looked::Unknown => self.found.unknown += 1,
            Looked::Broken(why) => self.found.broken.push((text, why)),
            Looked::Candidate(c) => {
                for used in &c.used {
                    let i = *self.place.entry(used.clone()).or_insert_with(|| {
                        self.used_by.push((used.clone(), Vec::new()));
                        self.used_by.len() - 1
                    });
                    self.used_by[i].1.push(text.clone());
                }
                self.found.candidates.push(c);
            }
        }
    }

    /// Drops groups whose key file is used by more others than it uses itself,
    /// and names each group after its first used file.
    fn reduce(mut self) -> Found {
        let mut kept = Vec::new();
        for c in &self.found.candidates {
            let users = self
                .place
                .get(&c.file)
                .map_or(0, |&i| self.used_by[i].1.iter().filter(|u| **u != c.file).count());
            let uses =
                self.used_by.iter().filter(|(f, users)| *f != c.file && users.contains(&c.file)).count();
            // A file that is not among its own used files is no key at all.
            if uses < users || !self.place.contains_key(&c.file) {
                continue;
            }
            let mut c = c.clone();
            c.file.clone_from(&c.used[0]);
            kept.push(c);
        }
        self.found.candidates = kept;
        self.found
    }
}

/// How much of a file's beginning and end is read to recognise it.
const LOOK: usize = 1 << 20;

fn head_and_tail(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::{Read, Seek, SeekFrom};
    let mut f = std::fs::File::open(path)?;
    let length = f.metadata()?.len();
    let mut bytes = Vec::new();
    f.by_ref().take(LOOK as u64).read_to_end(&mut bytes)?;
    if length > 2 * LOOK as u64 {
        f.seek(SeekFrom::End(-i64::try_from(LOOK).unwrap_or(0)))?;
        f.read_to_end(&mut bytes)?;
    } else {
        f.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Looks at one file as a reader would.
pub fn look(path: &Path) -> Looked {
    let Ok(bytes) = head_and_tail(path) else { return Looked::Unreadable };
    let text = path.to_string_lossy().into_owned();
    let name = path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
    if let Some(root) = zarr_root(path) {
        return zarr(path, &root);
    }
    if name.ends_with(".companion.ome") {
        return companion(path, &text, &bytes);
    }
    if name.ends_with(".plate-test") {
        return plate(path, &text, &bytes);
    }
    let magics: [(&[u8], &'static str); 13] = [
        (b"II*\0", "loci.formats.in.TiffDelegateReader"),
        (b"MM\0*", "loci.formats.in.TiffDelegateReader"),
        (b"II+\0", "loci.formats.in.TiffDelegateReader"),
        (b"MM\0+", "loci.formats.in.TiffDelegateReader"),
        (b"\x89PNG\r\n\x1a\n", "loci.formats.in.APNGReader"),
        (b"\xff\xd8\xff", "loci.formats.in.JPEGReader"),
        (b"ZISRAWFILE", "loci.formats.in.ZeissCZIReader"),
        (b"CZI-TEST", "loci.formats.in.ZeissCZIReader"),
        (b"\x70\0\0\0", "loci.formats.in.LIFReader"),
        (b"LIF-TEST", "loci.formats.in.LIFReader"),
        (b"\xda\xce\xbe\x0a", "loci.formats.in.NativeND2Reader"),
        (b"ND2-TEST", "loci.formats.in.NativeND2Reader"),
        (b"GIF8", "loci.formats.in.GIFReader"),
    ];
    let Some((magic, reader)) = magics.iter().find(|(m, _)| bytes.starts_with(m)) else {
        return Looked::Unknown;
    };
    let after = &bytes[magic.len()..];
    if contains(&after[..after.len().min(4096)], b"BROKEN-TIFF") {
        return Looked::Broken("loci.formats.FormatException: Invalid TIFF file".to_owned());
    }
    let tiff = reader.ends_with("TiffDelegateReader");
    if tiff && let Some(xml) = ome_xml(&bytes) {
        return ome_tiff(path, &text, &xml, &bytes);
    }
    Looked::Candidate(Candidate {
        file: text.clone(),
        used: vec![text],
        reader,
        series: series(&bytes, 1),
        plate: None,
    })
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|w| w == what)
}

/// As many series as the mark says, else as given.
fn series(bytes: &[u8], otherwise: usize) -> Vec<Option<String>> {
    let mark = b"STANDIN-SERIES=";
    let marked = bytes.windows(mark.len()).position(|w| w == mark).and_then(|i| {
        let digits: String = bytes[i + mark.len()..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .map(|b| char::from(*b))
            .collect();
        digits.parse::<usize>().ok()
    });
    vec![None; marked.unwrap_or(otherwise).max(1)]
}

/// The OME-XML in a TIFF's description, if it has one.
fn ome_xml(bytes: &[u8]) -> Option<String> {
    let start = bytes.windows(5).position(|w| w == b"<OME " || w == b"<OME>")?;
    let end = bytes[start..].windows(6).position(|w| w == b"</OME>").map_or(bytes.len(), |e| start + e + 6);
    Some(String::from_utf8_lossy(&bytes[start..end]).into_owned())
}

fn attribute_values(xml: &str, attribute: &str) -> Vec<String> {
    let key = format!("{attribute}=\"");
    let mut found = Vec::new();
    let mut rest = xml;
    while let Some(i) = rest.find(&key) {
        rest = &rest[i + key.len()..];
        let Some(end) = rest.find('"') else { break };
        let value = rest[..end]
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&apos;", "'")
            .replace("&amp;", "&");
        if !found.contains(&value) {
            found.push(value);
        }
        rest = &rest[end..];
    }
    found
}

fn image_count(xml: &str) -> usize {
    xml.matches("<Image ").count() + xml.matches("<Image>").count()
}

/// Files named in OME-XML that exist beside it; one that is missing is no
/// error there, its planes are just blank.
fn members(path: &Path, xml: &str) -> Vec<String> {
    let dir = path.parent().unwrap_or_else(|| Path::new("/"));
    attribute_values(xml, "FileName")
        .iter()
        .map(|n| dir.join(n))
        .filter(|p| p.is_file())
        .map(|p| p.to_string_lossy().into_owned())
        .collect()
}

fn ome_tiff(path: &Path, text: &str, xml: &str, bytes: &[u8]) -> Looked {
    // `BinaryOnly`: the metadata stands in the companion file.
    if let Some(metadata) = attribute_values(xml, "MetadataFile").first() {
        let companion_file = path.parent().unwrap_or_else(|| Path::new("/")).join(metadata);
        if let Ok(b) = std::fs::read(&companion_file)
            && let Looked::Candidate(mut c) =
                companion(&companion_file, &companion_file.to_string_lossy(), &b)
        {
            text.clone_into(&mut c.file);
            if !c.used.contains(&c.file) {
                c.used.push(c.file.clone());
            }
            return Looked::Candidate(c);
        }
    }
    let mut used = members(path, xml);
    if !used.iter().any(|u| u == text) {
        used.insert(0, text.to_owned());
    }
    Looked::Candidate(Candidate {
        file: text.to_owned(),
        used,
        reader: "loci.formats.in.OMETiffReader",
        series: series(bytes, image_count(xml)),
        plate: None,
    })
}

fn companion(path: &Path, text: &str, bytes: &[u8]) -> Looked {
    let xml = String::from_utf8_lossy(bytes);
    if !xml.contains("<OME") {
        return Looked::Broken("loci.formats.FormatException: Malformed OME-XML".to_owned());
    }
    let mut used = vec![text.to_owned()];
    used.extend(members(path, &xml));
    Looked::Candidate(Candidate {
        file: text.to_owned(),
        used,
        reader: "loci.formats.in.OMETiffReader",
        series: series(bytes, image_count(&xml)),
        plate: None,
    })
}

/// The outermost directory named `*.zarr` on the way to a file, if it is one.
fn zarr_root(path: &Path) -> Option<PathBuf> {
    let mut root = PathBuf::new();
    let parent = path.parent()?;
    for part in parent.components() {
        root.push(part);
        let is_zarr = part.as_os_str().to_string_lossy().to_lowercase().ends_with(".zarr");
        if is_zarr && [".zattrs", ".zgroup", "zarr.json"].iter().any(|m| root.join(m).is_file()) {
            return Some(root);
        }
    }
    None
}

fn files_below(dir: &Path, found: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    let mut paths: Vec<PathBuf> = entries.filter_map(Result::ok).map(|e| e.path()).collect();
    paths.sort();
    for p in paths {
        if p.is_dir() {
            files_below(&p, found);
        } else {
            found.push(p.to_string_lossy().into_owned());
        }
    }
}

fn zarr(path: &Path, root: &Path) -> Looked {
    let mut all = Vec::new();
    files_below(root, &mut all);
    let is_metadata = |p: &String| {
        [".zattrs", ".zgroup", "zarr.json", ".zarray"].iter().any(|m| p.ends_with(&format!("/{m}")))
    };
    let depth = |p: &String| p.matches('/').count();
    // Metadata first, the root's before the rest.
    all.sort_by_key(|p| if is_metadata(p) { (0, depth(p)) } else { (1, 0) });
    let attributes = std::fs::read(root.join(".zattrs"))
        .or_else(|_| std::fs::read(root.join("zarr.json")))
        .unwrap_or_default();
    let json: serde_json::Value = serde_json::from_slice(&attributes).unwrap_or_default();
    let plate_json = json.get("plate").or_else(|| json.pointer("/attributes/ome/plate"));
    let name = root.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let plate = plate_json.and_then(|p| p.get("wells")).and_then(|w| w.as_array()).map(|wells| {
        let wells: Vec<Well> = wells
            .iter()
            .filter_map(|w| w.get("path")?.as_str()?.split_once('/'))
            .filter_map(|(row, column)| well(&format!("{row}{column}"), 1))
            .collect();
        (name, wells)
    });
    let images = plate.as_ref().map_or(1, |(_, w)| w.len());
    Looked::Candidate(Candidate {
        file: path.to_string_lossy().into_owned(),
        used: all,
        reader: "loci.formats.in.ZarrReader",
        series: series(&attributes, images),
        plate,
    })
}

fn well(name: &str, images: usize) -> Option<Well> {
    let letter = name.chars().next().filter(char::is_ascii_alphabetic)?.to_ascii_uppercase();
    let column: u32 = name[1..].parse().ok()?;
    Some(Well { row: u32::from(letter) - u32::from('A'), column: column.checked_sub(1)?, images })
}

/// `name NAME` and lines such as `well A1 a1.tif a2.tif`; a well without files
/// has one image in the plate file itself.
fn plate(path: &Path, text: &str, bytes: &[u8]) -> Looked {
    let dir = path.parent().unwrap_or_else(|| Path::new("/"));
    let mut name = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut used = vec![text.to_owned()];
    let mut wells = Vec::new();
    for line in String::from_utf8_lossy(bytes).lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("name") => name = words.collect::<Vec<_>>().join(" "),
            Some("well") => {
                let Some(at) = words.next() else { continue };
                let files: Vec<String> = words.map(|f| dir.join(f).to_string_lossy().into_owned()).collect();
                match well(at, files.len().max(1)) {
                    Some(w) => wells.push(w),
                    None => return Looked::Broken(format!("loci.formats.FormatException: Bad well {at}")),
                }
                if let Some(missing) = files.iter().find(|f| !Path::new(f).is_file()) {
                    return Looked::Broken(format!("java.io.FileNotFoundException: {missing}"));
                }
                used.extend(files);
            }
            _ => {}
        }
    }
    let images = wells.iter().map(|w| w.images).sum();
    Looked::Candidate(Candidate {
        file: text.to_owned(),
        used,
        reader: "loci.formats.in.ScreenReader",
        series: series(b"", images),
        plate: Some((name, wells)),
    })
}

/// The path under which the server remembers where a file came from: without
/// the leading slash, and with every component made safe.
pub fn client_path(path: &str) -> String {
    path.split('/').filter(|c| !c.is_empty()).map(safe_component).collect::<Vec<_>>().join("/")
}

/// A file name as the repository may hold it.
pub fn safe_component(name: &str) -> String {
    let mut safe: String = name
        .chars()
        .map(|c| match c {
            '"' => '\'',
            '*' => 'x',
            ':' => ';',
            '<' => '[',
            '>' => ']',
            '?' => '%',
            '\\' | '|' => '!',
            c if c.is_control() => '_',
            c => c,
        })
        .collect();
    let upper = safe.to_uppercase();
    let reserved = |n: &str| {
        ["AUX", "CON", "NUL", "PRN", "CLOCK$"].contains(&n)
            || (n.len() == 4
                && (n.starts_with("COM") || n.starts_with("LPT"))
                && n.as_bytes()[3].is_ascii_digit()
                && n.as_bytes()[3] != b'0')
    };
    if reserved(&upper) {
        safe.push('_');
    }
    let before_dot = upper.split_once('.').map(|(b, _)| b);
    if safe.starts_with('$') || before_dot.is_some_and(reserved) {
        safe.insert(0, '_');
    }
    safe
}
