//! Which of the given paths are images, and which files belong together: the part that the importer's candidate
//! search plays. What a file uses is told by `readers`, or by Bio-Formats itself (see `bioformats`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fault::Faults;
use crate::import::readers::Reader;

/// One well of a plate and how many images it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Well {
    pub row: u32,
    pub column: u32,
    pub images: usize,
}

/// A group of files that is one import.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Candidate {
    /// The file it was found by, later its first used file.
    pub file: String,
    pub used: Vec<String>,
    pub reader: String,
    /// Whether the reader is one for screens and plates.
    pub spw: bool,
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
    /// A library that this reader needs is not there.
    MissingLibrary(String),
    Broken(String),
}

/// What the search says of one file that it cannot use, in the order in which it looked.
pub enum Complaint {
    Unreadable(String),
    /// The path and the exception.
    MissingLibrary(String, String),
    /// The path and the exception of the reader.
    Broken(String, String),
}

/// Everything the search found.
#[derive(Default)]
pub struct Found {
    pub candidates: Vec<Candidate>,
    pub complaints: Vec<Complaint>,
    pub unknown: usize,
    pub looked: usize,
}

/// Searches paths (files or directories) down to `depth` (negative: no limit).
pub fn search(paths: &[String], depth: i64, faults: &Faults) -> Found {
    let mut search = Search {
        found: Found::default(),
        used_by: Vec::new(),
        place: HashMap::new(),
        faults,
        reader: Reader::at(std::env::current_dir().unwrap_or_else(|_| "/".into())),
    };
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
    absolute_from(&std::env::current_dir().unwrap_or_else(|_| "/".into()), path)
}

/// Absolute, relative paths being meant from `here`; nothing is made simpler.
pub fn absolute_from(here: &Path, path: &str) -> PathBuf {
    if path.starts_with('/') { PathBuf::from(path) } else { here.join(path) }
}

struct Search<'a> {
    found: Found,
    /// Used file → the files it was found by, in order of appearance.
    used_by: Vec<(String, Vec<String>)>,
    place: HashMap<String, usize>,
    faults: &'a Faults,
    reader: Reader,
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
        self.faults.strike("scan", Some(&text));
        let looked = if self.faults.take("unreadable", None, Some(&text)).is_some() {
            Looked::Unreadable
        } else if let Some(f) = self.faults.take("missing-library", None, Some(&text)) {
            Looked::MissingLibrary(f.text.unwrap_or_else(|| {
                "loci.formats.MissingLibraryException: The JAI Image I/O Tools native library is missing"
                    .to_owned()
            }))
        } else if let Some(f) = self.faults.take("scan-error", None, Some(&text)) {
            Looked::Broken(f.text.unwrap_or_else(|| "java.lang.RuntimeException: stand-in fault".to_owned()))
        } else {
            self.reader.look(path)
        };
        match looked {
            Looked::Unreadable => self.found.complaints.push(Complaint::Unreadable(text)),
            Looked::Unknown => self.found.unknown += 1,
            Looked::MissingLibrary(why) => self.found.complaints.push(Complaint::MissingLibrary(text, why)),
            Looked::Broken(why) => self.found.complaints.push(Complaint::Broken(text, why)),
            Looked::Candidate(mut c) => {
                c.file.clone_from(&text);
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

    /// Drops groups whose key file is used by more others than it uses itself, and names each group after its first
    /// used file. The order is that of the used files, whoever used them first.
    fn reduce(mut self) -> Found {
        let mut by_key: HashMap<String, Candidate> =
            self.found.candidates.drain(..).map(|c| (c.file.clone(), c)).collect();
        for (key, users) in &self.used_by {
            // A file that is not among its own used files is no key at all; it is not found here.
            let Some(mut c) = by_key.remove(key) else { continue };
            let users = users.iter().filter(|u| *u != key).count();
            let uses = c.used.iter().filter(|u| *u != key).count();
            if uses >= users {
                c.file.clone_from(&c.used[0]);
                self.found.candidates.push(c);
            }
        }
        self.found
    }
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
