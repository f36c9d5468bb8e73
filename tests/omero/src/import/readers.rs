//! What a file uses, format by format: an imitation of Bio-Formats 7.3.1 that `tests/bioformats.rs` holds against the
//! real one.
//!
//! Formats are told by their first bytes, or by their names. Some marks exist only here, so that tests can make any
//! situation with a few bytes: `BROKEN-TIFF` behind a valid magic makes the reader throw, `STANDIN-SERIES=3` makes
//! three images of one file, `CZI-TEST`, `LIF-TEST` and `ND2-TEST` stand for those formats, and `*.plate-test` is a
//! plate written as text.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::import::bioformats::BioFormats;
use crate::import::candidates::{Candidate, Looked, Well};
use crate::import::{ome_xml, pattern};

/// A process's readers, with the working directory that some formats resolve names against.
pub struct Reader {
    here: PathBuf,
    /// The real ones, where `OMERO_STANDIN_BIOFORMATS` names their jar.
    real: Option<BioFormats>,
}

impl Reader {
    /// The readers of a process whose working directory is `here`.
    pub fn at(here: PathBuf) -> Self {
        let real = BioFormats::wanted(&here);
        Self { here, real }
    }

    /// Looks at one file, given by its absolute path.
    pub fn look(&mut self, path: &Path) -> Looked {
        match &mut self.real {
            Some(real) if !exists_only_here(path) => real.look(path),
            _ => look(path, &self.here),
        }
    }
}

/// Whether the real readers know nothing of this file: a mark of the stand-in, or a directory format that
/// Bio-Formats reads with a plug-in.
fn exists_only_here(path: &Path) -> bool {
    let start = head_and_tail(path).unwrap_or_default();
    zarr_root(path).is_some()
        || lower_name(path).ends_with(".plate-test")
        || [&b"CZI-TEST"[..], b"LIF-TEST", b"ND2-TEST"].iter().any(|m| start.starts_with(m))
}

fn lower_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default()
}

fn text_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// `directory/name`, as Java joins them: a name with a leading slash stays below the directory.
pub fn java_join(directory: &Path, name: &str) -> String {
    format!("{}/{}", text_of(directory).trim_end_matches('/'), name.trim_start_matches('/'))
}

/// The directory a file is in.
pub fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new("/"))
}

/// What a reader says of a file that is not there.
pub fn not_there(path: &str) -> Looked {
    Looked::Broken(format!("java.io.FileNotFoundException: {path} (No such file or directory)"))
}

/// A set found by `file`; the files that can be opened by themselves come first in `used`.
pub fn set(file: &Path, used: Vec<String>, reader: &str, series: Vec<Option<String>>) -> Candidate {
    Candidate { file: text_of(file), used, reader: reader.to_owned(), spw: false, series, plate: None }
}

/// How much of a file's beginning and end is read to recognise it.
const LOOK: usize = 1 << 20;

/// The beginning and the end of a file.
pub fn head_and_tail(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::{Read, Seek, SeekFrom};
    let mut f = std::fs::File::open(path)?;
    let length = f.metadata()?.len();
    let mut bytes = Vec::new();
    f.by_ref().take(LOOK as u64).read_to_end(&mut bytes)?;
    if length > 2 * LOOK as u64 {
        f.seek(SeekFrom::End(-i64::try_from(LOOK).unwrap_or(0)))?;
    }
    f.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Looks at one file as a reader would, in a process whose working directory is `here`.
pub fn look(path: &Path, here: &Path) -> Looked {
    let Ok(bytes) = head_and_tail(path) else { return Looked::Unreadable };
    let name = lower_name(path);
    if let Some(root) = zarr_root(path) {
        return zarr(path, &root);
    }
    for (end, reader) in [
        (".companion.ome", ome_xml::companion as fn(&Path, &[u8]) -> Looked),
        (".plate-test", plate),
        (".htd", metaxpress),
        (".nhdr", nrrd),
        (".fake", fake),
    ] {
        if name.ends_with(end) {
            return reader(path, &bytes);
        }
    }
    if name.ends_with(".pattern") {
        return pattern::look(path, &bytes, here);
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
    let found = magics.iter().find(|(m, _)| bytes.starts_with(m));
    let tiff = found.is_some_and(|(_, r)| r.ends_with("TiffDelegateReader"));
    // Whatever bears the name of a NRRD header is taken for its pixels.
    let header = path.with_extension("nhdr");
    if (tiff || found.is_none())
        && header.is_file()
        && let Ok(bytes) = head_and_tail(&header)
    {
        return nrrd(&header, &bytes);
    }
    let Some((magic, reader)) = found else { return by_name(path) };
    let after = &bytes[magic.len()..];
    if contains(&after[..after.len().min(4096)], b"BROKEN-TIFF") {
        return Looked::Broken("loci.formats.FormatException: Invalid TIFF file".to_owned());
    }
    if tiff {
        if let Some(looked) = ome_xml::tiff(path, &bytes) {
            return looked;
        }
        if contains(&bytes, b"<MetaData>") {
            // A TIFF beside the description of its plate is opened as that plate.
            return beside_its_plate(path).unwrap_or_else(|| {
                Looked::Candidate(set(
                    path,
                    vec![text_of(path)],
                    "loci.formats.in.MetamorphTiffReader",
                    vec![None],
                ))
            });
        }
    }
    Looked::Candidate(set(path, vec![text_of(path)], reader, series(&bytes, 1)))
}

/// A file whose first bytes are those of no format: some readers take its name for enough, and then throw.
fn by_name(path: &Path) -> Looked {
    let name = lower_name(path);
    let text = text_of(path);
    let why = match name.rsplit_once('.').map(|(_, suffix)| suffix) {
        Some("tif" | "tiff" | "btf" | "tf2" | "tf8" | "svs") => format!("Invalid TIFF file: {text}"),
        Some("png") => "Invalid PNG signature.".to_owned(),
        Some("gif") => "Not a valid GIF file.".to_owned(),
        Some("lif") => format!("{text} is not a valid Leica LIF file"),
        _ => return Looked::Unknown,
    };
    Looked::Broken(format!("loci.formats.FormatException: {why}"))
}

/// Whether a file begins as a TIFF does.
pub fn is_tiff(path: &Path) -> bool {
    head_and_tail(path)
        .is_ok_and(|b| [&b"II*\0"[..], b"MM\0*", b"II+\0", b"MM\0+"].iter().any(|m| b.starts_with(m)))
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|w| w == what)
}

/// As many series as the mark says, else as given.
pub fn series(bytes: &[u8], otherwise: usize) -> Vec<Option<String>> {
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

/// All files below a directory, sorted.
pub fn files_below(dir: &Path, found: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    let mut paths: Vec<PathBuf> = entries.filter_map(Result::ok).map(|e| e.path()).collect();
    paths.sort();
    for p in paths {
        if p.is_dir() {
            files_below(&p, found);
        } else {
            found.push(text_of(&p));
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
    let mut c = set(path, all, "loci.formats.in.ZarrReader", series(&attributes, images));
    c.spw = plate.is_some();
    c.plate = plate;
    Looked::Candidate(c)
}

fn well(name: &str, images: usize) -> Option<Well> {
    let letter = name.chars().next().filter(char::is_ascii_alphabetic)?.to_ascii_uppercase();
    let column: u32 = name[1..].parse().ok()?;
    Some(Well { row: u32::from(letter) - u32::from('A'), column: column.checked_sub(1)?, images })
}

/// `name NAME` and lines such as `well A1 a1.tif sub/a2.tif`; a well without files has one image in the plate file
/// itself. Names are relative to the plate file, or absolute.
fn plate(path: &Path, bytes: &[u8]) -> Looked {
    let dir = directory(path);
    let mut name = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut used = vec![text_of(path)];
    let mut wells = Vec::new();
    for line in String::from_utf8_lossy(bytes).lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("name") => name = words.collect::<Vec<_>>().join(" "),
            Some("well") => {
                let Some(at) = words.next() else { continue };
                let files: Vec<String> = words.map(|f| text_of(&dir.join(f))).collect();
                match well(at, files.len().max(1)) {
                    Some(w) => wells.push(w),
                    None => return Looked::Broken(format!("loci.formats.FormatException: Bad well {at}")),
                }
                if let Some(missing) = files.iter().find(|f| !Path::new(f).is_file()) {
                    return not_there(missing);
                }
                used.extend(files);
            }
            _ => {}
        }
    }
    let images = wells.iter().map(|w| w.images).sum();
    let mut c = set(path, used, "loci.formats.in.ScreenReader", series(b"", images));
    c.spw = true;
    c.plate = Some((name, wells));
    Looked::Candidate(c)
}

/// A plate of MetaXpress: the text names no file, but tells which there are: wells, sites, wavelengths and
/// time points, the last as directories.
fn metaxpress(path: &Path, bytes: &[u8]) -> Looked {
    let text = String::from_utf8_lossy(bytes);
    let values = |key: &str| -> Vec<String> {
        text.lines()
            .find_map(|l| l.trim().strip_prefix(&format!("\"{key}\",")).map(str::to_owned))
            .map(|v| v.split(',').map(|w| w.trim().trim_matches('"').to_owned()).collect())
            .unwrap_or_default()
    };
    let number = |key: &str| values(key).first().and_then(|v| v.parse::<usize>().ok());
    let is_true = |key: &str| values(key).first().is_some_and(|v| v == "TRUE");
    let (Some(rows), Some(_)) = (number("YWells"), number("XWells")) else {
        return Looked::Broken("java.lang.NullPointerException: no wells".to_owned());
    };
    let stem = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let selected = |key: String| values(&key).iter().filter(|v| *v == "TRUE").count();
    let sites = if is_true("Sites") {
        (1..=number("YSites").unwrap_or(1)).map(|y| selected(format!("SiteSelection{y}"))).sum()
    } else {
        1
    };
    let waves = if is_true("Waves") { number("NWavelengths").unwrap_or(1) } else { 1 };
    let times = number("TimePoints").unwrap_or(1);
    let mut used = vec![text_of(path)];
    let mut wells = Vec::new();
    let mut first_missing = None;
    for row in 0..rows {
        for (column, _) in
            values(&format!("WellsSelection{}", row + 1)).iter().enumerate().filter(|(_, v)| *v == "TRUE")
        {
            wells.push(Well {
                row: u32::try_from(row).unwrap_or(0),
                column: u32::try_from(column).unwrap_or(0),
                images: sites,
            });
            let letter = char::from(b'A' + u8::try_from(row).unwrap_or(0));
            for site in 1..=sites {
                for wave in 1..=waves {
                    for time in 1..=times {
                        let mut name = format!("{stem}_{letter}{:02}", column + 1);
                        if sites > 1 {
                            name += &format!("_s{site}");
                        }
                        if waves > 1 {
                            name += &format!("_w{wave}");
                        }
                        match metaxpress_file(directory(path), time, &name) {
                            Some(found) => used.push(found),
                            None => first_missing = first_missing.or(Some(name)),
                        }
                    }
                }
            }
        }
    }
    if used.len() == 1 {
        return not_there(&java_join(directory(path), &format!("{}.TIF", first_missing.unwrap_or_default())));
    }
    // Only the first is opened; any file will do for the others.
    if !is_tiff(Path::new(&used[1])) {
        return Looked::Broken(format!("loci.formats.FormatException: Invalid TIFF file: {}", used[1]));
    }
    let images = wells.iter().map(|w| w.images).sum::<usize>().max(1);
    let mut c = set(path, used, "loci.formats.in.MetaxpressTiffReader", vec![None; images]);
    // The reader does not say that it is one for plates, and OMERO makes one all the same.
    c.plate = Some((stem, wells));
    Looked::Candidate(c)
}

fn metaxpress_file(dir: &Path, time: usize, name: &str) -> Option<String> {
    [format!("{name}.TIF"), format!("{name}.tif")]
        .iter()
        .flat_map(|n| [format!("TimePoint_{time}/{n}"), n.clone()])
        .map(|n| java_join(dir, &n))
        .find(|p| Path::new(p).is_file())
}

/// A TIFF of a MetaXpress plate whose description is in the same directory.
fn beside_its_plate(path: &Path) -> Option<Looked> {
    let entries = std::fs::read_dir(directory(path)).ok()?;
    let mut plates: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|e| e.path())
        .filter(|p| lower_name(p).ends_with(".htd"))
        .collect();
    plates.sort();
    plates.into_iter().find_map(|p| {
        let bytes = head_and_tail(&p).ok()?;
        match metaxpress(&p, &bytes) {
            Looked::Candidate(mut c) if c.used.contains(&text_of(path)) => {
                c.file = text_of(path);
                Some(Looked::Candidate(c))
            }
            _ => None,
        }
    })
}

/// A NRRD header whose pixels lie in a file of their own. Of a path only what follows its first slash counts, and
/// whether the file is there does not.
fn nrrd(path: &Path, bytes: &[u8]) -> Looked {
    let text = String::from_utf8_lossy(bytes);
    if !text.starts_with("NRRD") {
        return Looked::Unknown;
    }
    let mut used = vec![text_of(path)];
    if let Some(file) = text.lines().find_map(|l| l.strip_prefix("data file:")) {
        let file = file.trim();
        let name = file.split_once('/').map_or(file, |(_, below)| below);
        used.push(java_join(directory(path), name));
    }
    Looked::Candidate(set(path, used, "loci.formats.in.NRRDReader", vec![None]))
}

/// An image that is made up from its name: `x&series=3&sleepInitFile=20000.fake` has three series, and whoever opens
/// it, importer or server, needs 20 seconds.
fn fake(path: &Path, _: &[u8]) -> Looked {
    let name = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let value = |key: &str| {
        name.split('&').skip(1).filter_map(|p| p.split_once('=')).find(|(k, _)| *k == key).map(|(_, v)| v)
    };
    let number = |key: &str, otherwise: usize| value(key).and_then(|v| v.parse().ok()).unwrap_or(otherwise);
    if let Some(ms) = value("sleepInitFile").and_then(|v| v.parse().ok()) {
        std::thread::sleep(Duration::from_millis(ms));
    }
    let mut used = vec![text_of(path)];
    let with = format!("{}.ini", text_of(path));
    if Path::new(&with).is_file() {
        used.push(with);
    }
    let plates = number("plates", 0);
    let (rows, columns, fields) = (number("plateRows", 1), number("plateCols", 1), number("fields", 1));
    let images = if plates > 0 { plates * rows * columns * fields } else { number("series", 1) };
    let mut c = set(path, used, "loci.formats.in.FakeReader", vec![None; images.max(1)]);
    c.spw = true;
    if plates > 0 {
        let wells = (0..rows * columns).map(|i| Well {
            row: u32::try_from(i / columns).unwrap_or(0),
            column: u32::try_from(i % columns).unwrap_or(0),
            images: fields,
        });
        c.plate = Some(("Plate 0".to_owned(), wells.collect()));
    }
    Looked::Candidate(c)
}
