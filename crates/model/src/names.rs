//! The names iRODS and OMERO give to things, parsed once into types that cannot be wrong.
//!
//! Logical paths are bytes: iRODS stores what the client sent, and a client may send anything.

use std::borrow::Borrow;
use std::fmt;

/// The longest logical path iRODS accepts, in bytes (`MAX_NAME_LEN` 1088 less the terminating NUL and slack).
pub const MAX_PATH_BYTES: usize = 1087;

/// Why a text is not the name it was taken for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The path does not start with `/zone`.
    #[error("'{0}' is not an absolute logical path")]
    NotAbsolute(String),
    /// The path holds an empty, `.` or `..` element.
    #[error("'{0}' holds an empty, '.' or '..' element")]
    BadElement(String),
    /// The path is longer than iRODS allows.
    #[error("a logical path of {0} bytes is longer than iRODS allows ({MAX_PATH_BYTES})")]
    TooLong(usize),
    /// The path holds a NUL byte.
    #[error("'{0}' holds a NUL byte")]
    Nul(String),
    /// Not `name#zone`.
    #[error("'{0}' is not an iRODS user of the form name#zone")]
    User(String),
    /// Not a name an OMERO user or group can have.
    #[error("'{0}' cannot be the name of an OMERO user or group")]
    Omero(String),
    /// Not a positive decimal number.
    #[error("'{0}' is not an id of the catalog")]
    Id(String),
}

/// An absolute, normalised iRODS logical path: `/zone/element/element`, bytes, no trailing slash.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogicalPath(Vec<u8>);

impl LogicalPath {
    /// Takes the bytes of an absolute path. A trailing slash is dropped; everything else must be in order.
    pub fn parse(bytes: &[u8]) -> Result<Self, NameError> {
        let lossy = || String::from_utf8_lossy(bytes).into_owned();
        if bytes.len() > MAX_PATH_BYTES {
            return Err(NameError::TooLong(bytes.len()));
        }
        if bytes.contains(&0) {
            return Err(NameError::Nul(lossy()));
        }
        let Some(rest) = bytes.strip_prefix(b"/") else {
            return Err(NameError::NotAbsolute(lossy()));
        };
        let rest = rest.strip_suffix(b"/").unwrap_or(rest);
        if rest.is_empty() {
            return Err(NameError::NotAbsolute(lossy()));
        }
        if rest.split(|b| *b == b'/').any(|e| matches!(e, b"" | b"." | b"..")) {
            return Err(NameError::BadElement(lossy()));
        }
        Ok(Self(bytes[..=rest.len()].to_vec()))
    }

    /// The bytes of the path, without a terminating NUL.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path's elements from the zone down.
    pub fn elements(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0[1..].split(|b| *b == b'/')
    }

    /// The last element.
    pub fn name(&self) -> &[u8] {
        self.elements().next_back().unwrap_or_default()
    }

    /// The collection that holds this path; `None` for a zone.
    pub fn parent(&self) -> Option<Self> {
        parent_bytes(&self.0).map(|p| Self(p.to_vec()))
    }

    /// This path with one element more.
    pub fn join(&self, name: &[u8]) -> Result<Self, NameError> {
        let mut bytes = self.0.clone();
        bytes.push(b'/');
        bytes.extend_from_slice(name);
        Self::parse(&bytes)
    }

    /// The path as text for people; bytes that are not UTF-8 are shown as U+FFFD.
    pub fn display(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// The path as UTF-8, or `None` where it is not.
    pub fn as_utf8(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

/// The parent of an absolute path given as bytes, without allocating; `None` for a zone or a relative path.
pub fn parent_bytes(path: &[u8]) -> Option<&[u8]> {
    let cut = path.iter().rposition(|b| *b == b'/')?;
    (cut > 0).then(|| &path[..cut])
}

impl fmt::Debug for LogicalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.display())
    }
}

impl fmt::Display for LogicalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display())
    }
}

impl Borrow<[u8]> for LogicalPath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// An iRODS user in full: `name#zone`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IrodsUser {
    name: String,
    zone: String,
}

impl IrodsUser {
    /// From the two parts as the session or the catalog holds them.
    pub fn new(name: &str, zone: &str) -> Result<Self, NameError> {
        let bad = |s: &str| s.is_empty() || s.chars().any(|c| c == '#' || c.is_control());
        if bad(name) || bad(zone) || name.len() > 63 || zone.len() > 63 {
            return Err(NameError::User(format!("{name}#{zone}")));
        }
        Ok(Self { name: name.to_owned(), zone: zone.to_owned() })
    }

    /// From the text `name#zone`.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        match text.split_once('#') {
            Some((name, zone)) => Self::new(name, zone),
            None => Err(NameError::User(text.to_owned())),
        }
    }

    /// The name without the zone.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The zone the user belongs to.
    pub fn zone(&self) -> &str {
        &self.zone
    }
}

impl fmt::Display for IrodsUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.name, self.zone)
    }
}

/// The login name of an OMERO user, or the name of an OMERO group: not empty, at most 255 bytes, printable,
/// and never something the `omero` command could read as an option.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OmeroName(String);

impl OmeroName {
    /// Takes a name as OMERO knows it.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let fine = !text.is_empty()
            && text.len() <= 255
            && text.trim() == text
            && !text.starts_with('-')
            && !text.chars().any(char::is_control);
        if fine { Ok(Self(text.to_owned())) } else { Err(NameError::Omero(text.to_owned())) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OmeroName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u64);

        impl $name {
            /// From the decimal digits a system prints.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                match text.parse::<u64>() {
                    Ok(n) if n > 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(Self(n)),
                    _ => Err(NameError::Id(text.to_owned())),
                }
            }

            /// From a number; 0 is none.
            pub fn from_number(number: u64) -> Option<Self> {
                (number > 0).then_some(Self(number))
            }

            /// The number.
            pub fn number(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

id_type! {
    /// The catalog's number of a data object (`DATA_ID`).
    DataId
}
id_type! {
    /// The catalog's number of a collection (`COLL_ID`).
    CollectionId
}
id_type! {
    /// The number OMERO gives a fileset, an image or a plate.
    OmeroId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_keeps_every_byte_a_client_may_send() {
        for name in [&b"it's \"here\" 100% $objPath"[..], b"line\nbreak", b"\xff\xfe", &[b'x'; 1000]] {
            let mut full = b"/tempZone/home/".to_vec();
            full.extend_from_slice(name);
            let path = LogicalPath::parse(&full).unwrap();
            assert_eq!(path.as_bytes(), full);
            assert_eq!(path.name(), name);
            assert_eq!(path.parent().unwrap().as_bytes(), b"/tempZone/home");
        }
    }

    #[test]
    fn a_path_that_could_mean_another_is_refused() {
        for bad in [&b""[..], b"/", b"relative", b"/z/../x", b"/z/./x", b"/z//x", b"/z/a\0b"] {
            assert!(LogicalPath::parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        assert!(matches!(LogicalPath::parse(&[b'/'; 2000]), Err(NameError::TooLong(2000))));
    }

    #[test]
    fn a_trailing_slash_is_dropped_and_a_zone_has_no_parent() {
        let path = LogicalPath::parse(b"/tempZone/").unwrap();
        assert_eq!(path.as_bytes(), b"/tempZone");
        assert!(path.parent().is_none());
    }

    #[test]
    fn users_need_both_parts() {
        assert_eq!(IrodsUser::parse("alice#tempZone").unwrap().to_string(), "alice#tempZone");
        for bad in ["alice", "#z", "alice#", "a#b#c", "a\nb#z"] {
            assert!(IrodsUser::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_omero_name_is_never_an_option() {
        assert!(OmeroName::parse("alice").is_ok());
        for bad in ["", "-u", " alice", "a\nb"] {
            assert!(OmeroName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_are_digits_only() {
        assert_eq!(DataId::parse("10023").unwrap().to_string(), "10023");
        for bad in ["", "0", "-1", "+1", "1 ", "99999999999999999999999"] {
            assert!(DataId::parse(bad).is_err(), "{bad}");
        }
    }
}
