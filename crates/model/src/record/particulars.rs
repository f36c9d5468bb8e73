//! The value of the AVU that names a version: one AVU for all that nobody looks for by its value.
//!
//! `1700000000:1024 id=10045 at=0/0f3c5a1be2d49877 link=7c1f5a0be2d49801 images=7-9,12 plates=3 previous=2 by=table for alice#tempZone`
//!
//! The modify time and the size come first, alone in records of old versions. Words follow, each of which may be missing;
//! `by` is the last, because the name of a source may hold blanks. A word that is not known is passed over.

use super::{Print, Triple, Version};
use crate::attributes::Attributes;
use crate::catalog::Replica;
use crate::names::OmeroId;
use std::fmt::{self, Write as _};

/// The most ids that are read of one list: who writes a record can write any range.
const MAX_IDS: u64 = 100_000;

/// The longest list of images, or of plates, in bytes. An AVU's value holds 2,700.
const MAX_LIST_BYTES: usize = 500;

/// The longest name of a source of a mapping, in bytes.
const MAX_SOURCE_BYTES: usize = 400;

/// Where the bytes of a recorded version lay: tells that they have been moved, without a question to OMERO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Whereabouts {
    /// Number of the replica.
    pub replica: u32,
    /// Stands for its resource hierarchy and its physical path.
    print: u64,
}

impl Whereabouts {
    /// Of a replica.
    pub fn of(replica: &Replica) -> Self {
        let place = [replica.hierarchy.as_bytes(), b"\0", &replica.physical_path].concat();
        Self { replica: replica.number, print: print_of(&place) }
    }

    /// From the word in the AVU.
    pub fn parse(text: &str) -> Option<Self> {
        let (replica, print) = text.split_once('/')?;
        Some(Self { replica: replica.parse().ok()?, print: u64::from_str_radix(print, 16).ok()? })
    }

    /// Whether the replica of that number lies there still.
    pub fn is_of(self, replica: &Replica) -> bool {
        self == Self::of(replica)
    }
}

impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:016x}", self.replica, self.print)
    }
}

/// FNV-1a: nobody gains by two texts of one print, and the print must be the same in every version.
pub(super) fn print_of(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Ids in OMERO. A record has room for some thousands of images that were made one after the other, and says of how many
/// more there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ids {
    /// Those that are named, in their order.
    pub named: Vec<OmeroId>,
    /// How many more there are. OMERO lists them under the fileset.
    pub more: u64,
}

impl Ids {
    /// All of these.
    pub fn of(ids: &[OmeroId]) -> Self {
        let mut named = ids.to_vec();
        named.sort();
        named.dedup();
        Self { named, more: 0 }
    }

    fn parse(text: &str) -> Self {
        let mut ids = Self::default();
        let mut room = MAX_IDS;
        for part in text.split(',') {
            if let Some(more) = part.strip_prefix('+') {
                ids.more = ids.more.saturating_add(more.parse().unwrap_or(0));
                continue;
            }
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Ok(first), Ok(last)) = (OmeroId::parse(first), OmeroId::parse(last)) else { continue };
            let all = (last.number().saturating_add(1)).saturating_sub(first.number());
            let taken = all.min(room);
            room -= taken;
            ids.more = ids.more.saturating_add(all - taken);
            ids.named.extend(
                (first.number()..first.number().saturating_add(taken)).filter_map(OmeroId::from_number),
            );
        }
        ids.named.sort();
        ids.named.dedup();
        ids
    }

    fn is_empty(&self) -> bool {
        self.named.is_empty() && self.more == 0
    }

    /// As many as there is room for, as ranges; the number of the others at the end.
    fn text(&self, max_bytes: usize) -> String {
        let (mut text, mut left) = (String::new(), self.named.as_slice());
        while let Some(first) = left.first().copied() {
            let run = left.iter().zip(first.number()..).take_while(|(id, n)| id.number() == *n).count();
            let part = match run {
                1 => first.to_string(),
                _ => format!("{first}-{}", first.number().saturating_add(run as u64 - 1)),
            };
            if text.len() + part.len() > max_bytes {
                break;
            }
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(&part);
            left = left.get(run..).unwrap_or_default();
        }
        let more = self.more.saturating_add(left.len() as u64);
        if more > 0 {
            let comma = if text.is_empty() { "" } else { "," };
            // Writing to a text does not fail.
            let _ = write!(text, "{comma}+{more}");
        }
        text
    }
}

/// What the AVU of the version says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Particulars {
    /// The version of the bytes.
    pub version: Version,
    /// The catalog's number of the data object or collection that the record is about.
    pub subject: Option<u64>,
    /// Where the bytes lay.
    pub at: Option<Whereabouts>,
    /// The path under which the importer saw them, to which OMERO's link leads.
    pub link: Option<Print>,
    /// The images.
    pub images: Ids,
    /// The plates.
    pub plates: Ids,
    /// The filesets of versions before.
    pub previous: Vec<OmeroId>,
    /// By which source, and for which iRODS user, it was decided as whom it is imported.
    pub mapped_by: Option<(String, String)>,
}

impl Particulars {
    /// Of a version, and nothing else.
    pub fn of(version: Version) -> Self {
        let (images, plates) = (Ids::default(), Ids::default());
        Self {
            version,
            subject: None,
            at: None,
            link: None,
            images,
            plates,
            previous: Vec::new(),
            mapped_by: None,
        }
    }

    /// From the value of the AVU.
    pub fn parse(value: &str) -> Option<Self> {
        let mut all = Self::of(Version::parse(value)?);
        for (key, value) in words(value) {
            match key {
                "id" => all.subject = value.parse().ok(),
                "at" => all.at = Whereabouts::parse(value),
                "link" => all.link = Print::parse(value),
                "images" => all.images = Ids::parse(value),
                "plates" => all.plates = Ids::parse(value),
                "previous" => all.previous = Ids::parse(value).named,
                _ => {}
            }
        }
        let by = value.split_once(BY).and_then(|(_, by)| by.rsplit_once(FOR));
        all.mapped_by = by.map(|(source, person)| (source.to_owned(), person.to_owned()));
        Some(all)
    }

    /// The catalog's number of what a record is about, of the value of an AVU that may name a version.
    pub fn subject_of(value: &str) -> Option<u64> {
        words(value).find_map(|(key, value)| value.parse().ok().filter(|_| key == "id"))
    }

    /// Where OMERO's link leads, of the same value.
    pub fn link_of(value: &str) -> Option<Print> {
        words(value).find_map(|(key, value)| Print::parse(value).filter(|_| key == "link"))
    }

    /// The newest of the filesets of versions before, of the same value.
    pub fn newest_before(value: &str) -> Option<OmeroId> {
        let ids = words(value).find_map(|(key, ids)| (key == "previous").then_some(ids))?;
        Ids::parse(ids).named.last().copied()
    }

    /// The AVU. `units`: what proves the version. The filesets of versions before that there is no room for follow as AVUs
    /// of their own: none is ever forgotten.
    pub(super) fn triples(&self, names: &Attributes, units: &str, server: &str) -> Vec<Triple> {
        let Self { version, subject, at, link, images, plates, previous, mapped_by } = self;
        let (kept, others) = previous.split_at(previous.len().min(MAX_PREVIOUS));
        let mut value = version.to_string();
        let mut add = |key: &str, text: Option<String>| {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                // Writing to a text does not fail.
                let _ = write!(value, " {key}={text}");
            }
        };
        add("id", subject.map(|id| id.to_string()));
        add("at", at.map(|at| at.to_string()));
        add("link", link.map(|link| link.to_string()));
        add("images", Some(images).filter(|ids| !ids.is_empty()).map(|ids| ids.text(MAX_LIST_BYTES)));
        add("plates", Some(plates).filter(|ids| !ids.is_empty()).map(|ids| ids.text(MAX_LIST_BYTES)));
        add("previous", Some(Ids::of(kept).text(usize::MAX)));
        if let Some((source, person)) = mapped_by {
            let _ = write!(value, "{BY}{}{FOR}{person}", shortened(source));
        }
        let mut triples = vec![Triple::new(&names.version, value, units)];
        triples.extend(others.iter().map(|id| Triple::new(&names.previous, id, server)));
        triples
    }
}

/// The words of the value, but for its first and its last.
fn words(value: &str) -> impl Iterator<Item = (&str, &str)> {
    let head = value.split_once(BY).map_or(value, |(head, _)| head);
    head.split(' ').filter_map(|word| word.split_once('='))
}

/// How many filesets of versions before stand in the one AVU: of 20 digits they take 420 bytes.
const MAX_PREVIOUS: usize = 20;

/// What stands before the source of a mapping, and between it and the iRODS user.
const BY: &str = " by=";
const FOR: &str = " for ";

fn shortened(source: &str) -> &str {
    let mut end = source.len().min(MAX_SOURCE_BYTES);
    while !source.is_char_boundary(end) {
        end -= 1;
    }
    source.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: impl IntoIterator<Item = u64>) -> Vec<OmeroId> {
        numbers.into_iter().filter_map(OmeroId::from_number).collect()
    }

    fn value(particulars: &Particulars) -> String {
        let names = Attributes::default();
        particulars.triples(&names, "", "o").remove(0).value
    }

    #[test]
    fn what_one_avu_says_reads_back() {
        let version = Version { modify_time: 1_700_000_000, size: 1_024 };
        let all = Particulars {
            version,
            subject: Some(10_045),
            at: Whereabouts::parse("0/0f3c5a1be2d49877"),
            link: Print::parse("00000000000000aa"),
            images: Ids::of(&ids([7, 8, 9, 12])),
            plates: Ids::of(&ids([3])),
            previous: ids([2]),
            mapped_by: Some(("ldap uid=a, ou=by=for x".to_owned(), "alice#tempZone".to_owned())),
        };
        let text = value(&all);
        assert_eq!(
            text,
            "1700000000:1024 id=10045 at=0/0f3c5a1be2d49877 link=00000000000000aa images=7-9,12 plates=3 previous=2 by=ldap uid=a, \
             ou=by=for x for alice#tempZone"
        );
        assert_eq!(Particulars::parse(&text), Some(all));
        assert_eq!(Particulars::subject_of(&text), Some(10_045));
    }

    #[test]
    fn a_version_of_old_stands_alone_and_what_is_not_known_is_passed_over() {
        let version = Version { modify_time: 5, size: 6 };
        assert_eq!(Particulars::parse("5:6"), Some(Particulars::of(version)));
        let later = Particulars::parse("5:6 id=x color=red images=x,7 at=9 by=nobody").unwrap();
        assert_eq!((later.version, later.subject, later.at), (version, None, None));
        assert_eq!((later.images, later.mapped_by), (Ids::of(&ids([7])), None));
        for bad in ["", " 5:6", "id=5", "x:6", "5"] {
            assert_eq!(Particulars::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn ten_thousand_images_fit_one_avu_and_none_is_left_uncounted() {
        let version = Version { modify_time: u64::MAX, size: u64::MAX };
        let long = Some(("ä".repeat(2_000), format!("{}#{}", "u".repeat(63), "z".repeat(63))));
        for step in [1, 2] {
            let many = ids((0..10_000).map(|n| u64::MAX - 30_000 + step * n));
            let all = Particulars {
                subject: Some(u64::MAX),
                at: Whereabouts::parse("4294967295/ffffffffffffffff"),
                link: Print::parse("ffffffffffffffff"),
                images: Ids::of(&many),
                plates: Ids::of(&many),
                previous: ids((1..=20).map(|n| u64::MAX - 2 * n)),
                mapped_by: long.clone(),
                ..Particulars::of(version)
            };
            let text = value(&all);
            assert!(text.len() <= 2_200, "{} bytes", text.len());
            let read = Particulars::parse(&text).unwrap();
            assert_eq!(read.images.named.len() as u64 + read.images.more, 10_000);
            assert_eq!(read.images.more == 0, step == 1);
            assert_eq!(read.previous.len(), 20);
            // What is written again is the same.
            assert_eq!(value(&read), text);
        }
    }

    #[test]
    fn a_range_that_never_ends_takes_no_memory() {
        let ids = Ids::parse("1-18446744073709551615,5-4,7");
        assert_eq!(ids.named.len() as u64, MAX_IDS);
        assert!(ids.more > u64::MAX / 2);
    }

    #[test]
    fn filesets_that_find_no_room_are_avus_of_their_own() {
        let names = Attributes::default();
        let all =
            Particulars { previous: ids(1..=50), ..Particulars::of(Version { modify_time: 1, size: 2 }) };
        let triples = all.triples(&names, "", "o");
        assert_eq!(triples.len(), 1 + 50 - MAX_PREVIOUS);
        assert!(triples[1..].iter().all(|t| t.attribute == names.previous && t.units == "o"));
    }
}
