//! Which files of a watched collection are data, told by their names. The rest is Bio-Formats's to decide.

use super::pattern::glob_matches_in_any_case;

/// Files beside the data that no importer is asked about, unless the site includes them.
const USUAL: &[&str] = &[
    ".*",
    "~*",
    "*~",
    "*.tmp",
    "*.part",
    "*.partial",
    "*.filepart",
    "thumbs.db",
    "*thumb.jpg",
    "*_thumb.png",
    "*.thumb",
    "desktop.ini",
    "*.log",
    "*.md5",
    "*.md5sum",
    "*.sha1",
    "*.sha256",
    "*.sha512",
    "*.sha2",
    "*.xxh",
    "*.xxh64",
    "*.xxh128",
    "*.crc32",
    "md5sums",
    "sha1sums",
    "sha256sums",
    "checksums.txt",
];

/// Collections beside the data that no importer is asked about, unless the site says otherwise: those of programs
/// (`.gocmd_staging`, `.Trash-1000`, `.ipynb_checkpoints`) and of operating systems.
const SCRATCH: &[&str] = &[".*", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"];

/// The names of collections that are left out if nothing else is said.
pub fn scratch() -> Vec<NamePattern> {
    patterns(SCRATCH)
}

/// A pattern of a file's name, whose letters match in either case; `*` stands for any run of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern {
    glob: Vec<u8>,
    text: String,
}

impl NamePattern {
    /// Takes a pattern as the configuration writes it.
    ///
    /// # Errors
    /// A sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains('/') {
            return Err(format!("'{text}' must be the pattern of a name, without '/', such as \"*.tif\""));
        }
        Ok(Self { glob: text.as_bytes().to_ascii_lowercase(), text: text.to_owned() })
    }

    /// Whether a name fits.
    pub fn fits(&self, name: &[u8]) -> bool {
        // Most patterns are a star and an ending, most names end otherwise.
        match self.glob.strip_prefix(b"*") {
            Some(ending) if !ending.contains(&b'*') => {
                name.len().checked_sub(ending.len()).is_some_and(|at| name[at..].eq_ignore_ascii_case(ending))
            }
            _ => glob_matches_in_any_case(&self.glob, name),
        }
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Which names are data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRules {
    /// Only these; empty for all but the usual exceptions.
    pub include: Vec<NamePattern>,
    /// Never these.
    pub exclude: Vec<NamePattern>,
    usual: Vec<NamePattern>,
}

impl Default for FileRules {
    fn default() -> Self {
        Self::new(Vec::new(), Vec::new())
    }
}

impl FileRules {
    /// Only what `include` names (if anything), and never what `exclude` names.
    pub fn new(include: Vec<NamePattern>, exclude: Vec<NamePattern>) -> Self {
        Self { include, exclude, usual: patterns(USUAL) }
    }

    /// Whether a file of that name is data.
    pub fn admit(&self, name: &[u8]) -> bool {
        let any = |patterns: &[NamePattern]| patterns.iter().any(|p| p.fits(name));
        let included = if self.include.is_empty() { !any(&self.usual) } else { any(&self.include) };
        included && !any(&self.exclude)
    }
}

/// Patterns we wrote ourselves.
pub fn patterns(texts: &[&str]) -> Vec<NamePattern> {
    texts.iter().filter_map(|t| NamePattern::parse(t).ok()).collect()
}

/// What shows that a collection is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Marker {
    /// A file of such a name in the collection.
    File(NamePattern),
    /// An AVU of that attribute on the collection, or above it up to the watched one.
    Avu(String),
}

impl Marker {
    /// Takes a marker as the configuration or a tag writes it: `avu:NAME`, or the pattern of a file's name.
    ///
    /// # Errors
    /// A sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix("avu:") {
            Some("") => Err("'avu:' must be followed by the name of an attribute".to_owned()),
            Some(attribute) => Ok(Self::Avu(attribute.to_owned())),
            None => NamePattern::parse(text).map(Self::File),
        }
    }

    /// The marker in words.
    pub fn describe(&self) -> String {
        match self {
            Self::File(pattern) => format!("the file '{}'", pattern.as_str()),
            Self::Avu(attribute) => format!("the AVU '{attribute}' on the collection"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beside_the_data_is_left_out_and_the_rest_is_for_bio_formats() {
        let rules = FileRules::default();
        for name in
            [".DS_Store", "Thumbs.db", "run.LOG", "a.tif.md5", "checksums.sha256", "desktop.ini", "a.tif.xxh"]
        {
            assert!(!rules.admit(name.as_bytes()), "{name}");
        }
        for name in ["a.tif", "a.companion.ome", "notes.txt", "log", "a.xml", "blog.tif"] {
            assert!(rules.admit(name.as_bytes()), "{name}");
        }
        assert!(rules.admit(b"\xff\xfe.tif"));
    }

    #[test]
    fn a_site_includes_and_excludes_by_name() {
        let list = |texts: &[&str]| patterns(texts);
        let only = FileRules::new(list(&["*.CZI", "*.log"]), list(&["*_mip.czi"]));
        let admitted = |name: &str| only.admit(name.as_bytes());
        assert!(admitted("a.czi") && admitted("a.log"), "what is included is no usual exception");
        assert!(!admitted("a.tif") && !admitted("a_MIP.czi"));
    }

    #[test]
    fn a_pattern_is_of_one_name() {
        assert!(NamePattern::parse("").is_err() && NamePattern::parse("a/b").is_err());
        let inner = NamePattern::parse("run*done*.txt").unwrap();
        assert!(inner.fits(b"RUN7-done-x.txt") && !inner.fits(b"run7.txt"));
        assert!(!NamePattern::parse("*.zarr").unwrap().fits(b"zarr"));
    }

    #[test]
    fn a_marker_is_a_file_or_an_avu() {
        assert_eq!(Marker::parse("avu:done"), Ok(Marker::Avu("done".to_owned())));
        assert!(matches!(Marker::parse("*.done"), Ok(Marker::File(_))));
        assert!(Marker::parse("avu:").is_err() && Marker::parse("a/b").is_err());
    }
}
