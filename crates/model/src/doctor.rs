//! The doctor: what is wrong between one piece of data in iRODS, its record, and its fileset in OMERO, as one pure function of
//! facts.
//!
//! [`examine`] neither asks nor changes anything. A fact that nobody could find out is a fact too: nothing is concluded from it.
//! A repair is named only where it is certain that what it changes is ours: the fileset is the user's own and bears our
//! annotation of this very data.

use crate::decide::{Bytes, Recorded};
use crate::identity::OmeroIdentity;
use crate::names::OmeroId;
use crate::record::{Cause, Print, State, Version};
use std::fmt::{self, Write};

macro_rules! codes {
    ($($name:ident $word:literal $meaning:literal)*) => {
        /// What kind of thing is wrong. The words are stable: programs may rely on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $(#[doc = $meaning] $name,)* }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The stable word.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// What it means.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }
        }
    };
}

codes! {
    LinkDangles "link-dangles" "A link in OMERO's repository leads to no file."
    LinkElsewhere "link-elsewhere" "A link in OMERO's repository leads to another file than the data's."
    Moved "moved" "The data does not lie where its record says that OMERO's link leads."
    OtherBytes "other-bytes" "The data has other bytes than those that were imported, or than OMERO knows."
    NoGoodReplica "no-good-replica" "No replica of imported data is good."
    FilesetGone "fileset-gone" "The record names a fileset that OMERO does not have any more."
    FilesetWithoutRecord "fileset-without-record" "A fileset of this data that no record names."
    FilesetWithoutData "fileset-without-data" "A fileset of data that is not in iRODS any more."
    Duplicate "duplicate" "A second fileset of one data object and version."
    Leftover "leftover" "A fileset without images, which an import that failed has left."
    OtherPath "other-path" "The annotation or the client path in OMERO names another path than the data's."
    OtherAnnotation "other-annotation" "The fileset does not bear our annotation of this data."
    RecordBroken "record-broken" "A record that contradicts itself, or that was copied from other data."
    Abandoned "abandoned" "A record that waits for an import that nobody is going to do."
    MarkWithoutJob "mark-without-job" "A mark on a collection that no job is going to look at."
    DeadLock "dead-lock" "A lock whose owner has died."
    OtherUser "other-user" "The owner of the data is another OMERO user now than at the import."
    NotLookedAt "not-looked-at" "Something that could not be looked at."
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How something can be mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Repair {
    /// A sweep of the collection looks at it: it follows, imports, adopts, or says in the record what is the matter.
    Sweep,
    /// The link is pointed to where the data is; client path and annotation get its path.
    Point {
        /// Where the link leads now.
        from: Print,
    },
    /// A job asks OMERO about the fileset and writes into the record that it is gone.
    Look,
}

impl Repair {
    /// That of a link that leads to a path.
    pub fn pointing(target: &str) -> Self {
        Self::Point { from: Print::of(target.as_bytes()) }
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sweep => "sweep",
            Self::Point { .. } => "point",
            Self::Look => "look",
        }
    }

    /// What is done, in a few words.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Sweep => "have its collection swept",
            Self::Point { .. } => "point the link to where the data is",
            Self::Look => "have OMERO asked, and the record say that the images are gone",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing.
    pub code: Code,
    /// What is wrong, in a sentence.
    pub sentence: String,
    /// What to do about it.
    pub remedy: String,
    /// How it can be mended without anybody's deciding anything.
    pub repair: Option<Repair>,
}

impl Finding {
    /// One that somebody has to see to.
    pub fn new(code: Code, sentence: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self { code, sentence: sentence.to_string(), remedy: remedy.to_string(), repair: None }
    }

    /// The same with a repair.
    #[must_use]
    pub fn mended_by(self, repair: Repair) -> Self {
        Self { repair: Some(repair), ..self }
    }
}

/// Where a file of OMERO's repository leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// It was not looked at.
    Unknown,
    /// It is no link: OMERO has a copy of its own.
    Copy,
    /// It is not in the repository any more.
    Missing,
    /// To a path on the importer's host.
    To {
        /// The path.
        target: String,
        /// What is there.
        leads: Leads,
    },
}

/// What is at the end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leads {
    /// Nothing.
    Nowhere,
    /// A file of that many bytes.
    File(u64),
    /// Something that is no file, or that this host may not look at.
    Unclear,
}

/// One file of a fileset, as OMERO has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its client path, without the leading slash.
    pub client_path: String,
    /// Whether that is the client path of what its link leads to.
    pub is_client_path_of_link: bool,
    /// Its size in bytes, where OMERO knows it.
    pub size: Option<u64>,
    /// Its hash in hexadecimal digits: SHA-1 unless the site says otherwise.
    pub hash: Option<String>,
    /// Where it leads.
    pub link: Link,
}

/// What our annotation says a fileset is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Whether it is a directory that is one image.
    pub is_collection: bool,
    /// The catalog's number of the data object or collection.
    pub number: u64,
    /// The version.
    pub version: Version,
}

/// A fileset of the OMERO user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fileset {
    /// Its id.
    pub id: OmeroId,
    /// What our annotation says it is of.
    pub mark: Option<Mark>,
    /// Whether it bears an annotation in our namespace that says something else.
    pub is_refused: bool,
    /// The path that the annotation names.
    pub path: Option<String>,
    /// Whether it has images.
    pub has_images: bool,
    /// Whether its import may still go on.
    pub is_open: bool,
    /// Its files, where they were asked for.
    pub files: Vec<File>,
    /// How many files it has.
    pub count: u64,
}

/// A replica that OMERO sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its path on the importer's host.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its checksum, as the catalog has it.
    pub checksum: Option<String>,
    /// Whether it is good.
    pub is_good: bool,
}

/// What is known of OMERO's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Omero {
    /// It was not asked.
    NotAsked,
    /// It was asked.
    Asked {
        /// The fileset that the record names, if it is there.
        own: Option<Fileset>,
        /// Other filesets of the same user with a file at the data's path.
        others: Vec<Fileset>,
    },
}

/// As whom the data would be imported now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mapped {
    /// That was not asked, or cannot be told for now.
    Unknown,
    /// As this user.
    To(OmeroIdentity),
    /// As nobody; a sentence says why.
    Nobody(String),
}

/// All that is known of one data object, or of one directory that is one image.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // each is a fact for itself, none excludes another
pub struct Facts {
    /// Its logical path.
    pub path: String,
    /// The catalog's number of it.
    pub number: u64,
    /// Whether it is a directory that is one image.
    pub is_collection: bool,
    /// What its record says.
    pub recorded: Recorded,
    /// How many filesets the record names.
    pub filesets: usize,
    /// The filesets of versions before.
    pub previous: Vec<OmeroId>,
    /// As whom it was imported.
    pub owner: Option<OmeroIdentity>,
    /// The number of the other data of which the record was copied.
    pub copied_from: Option<u64>,
    /// What its replicas say; nothing of a directory.
    pub bytes: Option<Bytes>,
    /// Whether a replica is being written.
    pub written: bool,
    /// The replicas that OMERO sees.
    pub seen: Vec<Seen>,
    /// Whether it is to be imported.
    pub is_watched: bool,
    /// Whether somebody is going to look at its collection, or is at it.
    pub is_awaited: bool,
    /// As whom it would be imported now.
    pub mapped: Mapped,
    /// OMERO's side.
    pub omero: Omero,
}

impl Facts {
    fn is_imported(&self) -> bool {
        self.recorded.state == Some(State::Imported)
    }

    /// Whether a fileset bears our annotation of this data.
    fn is_ours(&self, fileset: &Fileset) -> bool {
        fileset
            .mark
            .is_some_and(|mark| (mark.number, mark.is_collection) == (self.number, self.is_collection))
    }

    /// The good replicas that OMERO sees.
    fn good(&self) -> impl Iterator<Item = &Seen> {
        self.seen.iter().filter(|seen| seen.is_good)
    }

    /// Whether the record says that the link leads there.
    fn is_place(&self, path: &str) -> bool {
        self.recorded.place == Some(Print::of(path.as_bytes()))
    }

    /// Whether the data has the bytes that were imported, as far as the catalog says.
    fn has_recorded_bytes(&self) -> bool {
        matches!(self.bytes, None | Some(Bytes::Recorded | Bytes::SameBytes))
    }
}

/// Whether a hash of OMERO and a checksum of iRODS are of the same bytes; `None` where they are of different kinds.
///
/// OMERO keeps SHA-1 (40 hexadecimal digits) or, if the site says so, MD5 (32). iRODS writes SHA-1 as `sha1:` and base64, and MD5 as 32
/// digits.
pub fn same_bytes(hash: &str, checksum: &str) -> Option<bool> {
    let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_hex(hash) {
        return None;
    }
    match (hash.len(), checksum.strip_prefix("sha1:")) {
        (40, Some(base64)) => hex_of_base64(base64).map(|hex| hex.eq_ignore_ascii_case(hash)),
        (32, None) if checksum.len() == 32 && is_hex(checksum) => Some(checksum.eq_ignore_ascii_case(hash)),
        _ => None,
    }
}

/// The bytes of a base64 text in hexadecimal digits.
fn hex_of_base64(text: &str) -> Option<String> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut held, mut hex) = (0_u32, 0_u32, String::new());
    for byte in text.trim_end_matches('=').bytes() {
        let value = ALPHABET.iter().position(|b| *b == byte)?;
        bits = ((bits << 6) | u32::try_from(value).ok()?) & 0xffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            let _ = write!(hex, "{:02x}", (bits >> held) & 0xff); // writing to a String does not fail
        }
    }
    Some(hex)
}

/// What is wrong.
pub fn examine(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(other) = facts.copied_from {
        found.push(
            Finding::new(
                Code::RecordBroken,
                format_args!("its AVUs are the record of other data, whose number in the catalog is {other}"),
                "a sweep of the collection writes a record of its own",
            )
            .mended_by(Repair::Sweep),
        );
        return found;
    }
    if facts.is_imported() {
        of_record(facts, &mut found);
        of_bytes(facts, &mut found);
        of_place(facts, &mut found);
    }
    if matches!(facts.recorded.state, Some(State::Pending | State::Importing))
        && !facts.is_awaited
        && !facts.recorded.has_job
    {
        found.push(
            Finding::new(
                Code::Abandoned,
                "its record says that it waits for its import, and no mark, lock or job is there to do it",
                "a sweep of the collection decides anew",
            )
            .mended_by(Repair::Sweep),
        );
    }
    of_user(facts, &mut found);
    if let Omero::Asked { own, others } = &facts.omero {
        if facts.is_imported() && facts.recorded.fileset.is_some() {
            match own {
                None => found.push(gone(facts)),
                Some(fileset) => of_fileset(facts, fileset, &mut found),
            }
        }
        for other in others {
            of_other(facts, other, &mut found);
        }
    }
    found
}

fn of_record(facts: &Facts, found: &mut Vec<Finding>) {
    let by_hand = "ask for a retry of it, or have an administrator put the record right";
    let mut broken = |what: String| found.push(Finding::new(Code::RecordBroken, what, by_hand));
    match facts.filesets {
        0 => broken("its record says imported and names no fileset".to_owned()),
        1 if facts.recorded.fileset.is_none() => broken("the fileset in its record is no id".to_owned()),
        1 => {}
        several => broken(format!("its record names {several} filesets")),
    }
    if facts.recorded.version.is_none() {
        broken("its record names no version".to_owned());
    }
}

fn of_bytes(facts: &Facts, found: &mut Vec<Finding>) {
    if facts.written || facts.recorded.version.is_none() {
        return;
    }
    let sweep = "a sweep of the collection writes so into its record, and does what 'on_overwrite' says";
    let finding = match facts.bytes {
        None | Some(Bytes::Recorded | Bytes::SameBytes | Bytes::Unrecorded) => return,
        Some(Bytes::Other) => Finding::new(
            Code::OtherBytes,
            "the catalog says that it has other bytes than those that were imported",
            sweep,
        ),
        Some(Bytes::Empty) => Finding::new(Code::OtherBytes, "it has no bytes any more", sweep),
        Some(Bytes::NoGood) => Finding::new(
            Code::NoGoodReplica,
            "none of its replicas is good",
            "make a replica good (ifsck, irepl); a sweep of the collection writes so into its record meanwhile",
        ),
        Some(Bytes::Unreadable) => Finding::new(
            Code::NoGoodReplica,
            "what the catalog holds of its replica cannot be read",
            "put the modify time of the replica right; a sweep of the collection writes so into its record meanwhile",
        ),
    };
    found.push(finding.mended_by(Repair::Sweep));
}

fn of_place(facts: &Facts, found: &mut Vec<Finding>) {
    if facts.recorded.place.is_none() || !facts.has_recorded_bytes() || facts.written {
        return;
    }
    if facts.good().any(|seen| facts.is_place(&seen.path)) {
        return;
    }
    found.push(match facts.good().next() {
        Some(seen) => Finding::new(
            Code::Moved,
            format_args!("OMERO's link leads to where the data was; OMERO sees it at {} now", seen.path),
            "a sweep of the collection follows it; if it does not, its record says why",
        )
        .mended_by(Repair::Sweep),
        None => Finding::new(
            Code::Moved,
            "OMERO does not see the data where it lies now",
            "move it back, or replicate it to where OMERO sees it",
        ),
    });
}

fn of_user(facts: &Facts, found: &mut Vec<Finding>) {
    let Some(owner) = facts.owner.as_ref().filter(|_| facts.is_imported()) else { return };
    let remedy = "put the mapping right (docs/identity.md); or move the images to the other user in OMERO, or release the data \
                  and import it again";
    match &facts.mapped {
        Mapped::Unknown => {}
        Mapped::To(now) if now.user == owner.user => {}
        Mapped::To(now) => found.push(Finding::new(
            Code::OtherUser,
            format_args!(
                "it was imported as the OMERO user '{}', and its owner is '{}' now",
                owner.user, now.user
            ),
            remedy,
        )),
        Mapped::Nobody(why) => found.push(Finding::new(
            Code::OtherUser,
            format_args!(
                "it was imported as the OMERO user '{}', and its owner is nobody in OMERO now: {why}",
                owner.user
            ),
            remedy,
        )),
    }
}

fn gone(facts: &Facts) -> Finding {
    let id = facts.recorded.fileset.map_or_else(String::new, |id| format!(" {id}"));
    Finding::new(
        Code::FilesetGone,
        format_args!("OMERO has no fileset{id} any more: somebody has removed its images"),
        "its record is to say so; ask for a retry if the images are wanted",
    )
    .mended_by(Repair::Look)
}

/// The file of a fileset that is the data object's.
fn file_of<'f>(facts: &Facts, fileset: &'f Fileset) -> Option<&'f File> {
    let files = &fileset.files;
    let leads_to_it = |file: &&File| match &file.link {
        Link::To { target, .. } => {
            facts.is_place(target) || facts.seen.iter().any(|seen| seen.path == *target)
        }
        Link::Unknown | Link::Copy | Link::Missing => false,
    };
    let came_from_it = |file: &&File| {
        let path = format!("/{}", file.client_path);
        facts.is_place(&path) || facts.seen.iter().any(|seen| seen.path == path)
    };
    let only = || if fileset.count == 1 { files.first() } else { None };
    files.iter().find(leads_to_it).or_else(|| files.iter().find(came_from_it)).or_else(only)
}

fn of_fileset(facts: &Facts, fileset: &Fileset, found: &mut Vec<Finding>) {
    let id = fileset.id;
    let is_key = !facts.recorded.is_member;
    if is_key && !facts.is_ours(fileset) {
        let what = match fileset.mark {
            None => format!("the fileset {id} bears no annotation of ours"),
            Some(mark) => format!(
                "the annotation of the fileset {id} says that it is of {} {}",
                if mark.is_collection { "collection" } else { "data object" },
                mark.number
            ),
        };
        found.push(Finding::new(
            Code::OtherAnnotation,
            what,
            "find out who changed it; without the annotation a link is not followed. Release the data and import it again if \
             nobody knows",
        ));
    }
    // The links of a set are ours where the annotation is one of ours, of whichever of its files.
    let is_ours = if is_key { facts.is_ours(fileset) } else { fileset.mark.is_some() };
    let before = found.len();
    if facts.is_collection {
        for file in &fileset.files {
            of_link_of_directory(facts, file, found);
            if found.len() > before {
                break; // one of a hundred thousand chunks is enough
            }
        }
    } else if let Some(file) = file_of(facts, fileset) {
        of_file(facts, fileset, file, is_ours, found);
    } else if !fileset.files.is_empty() && fileset.files.iter().all(|file| file.link != Link::Unknown) {
        found.push(Finding::new(
            Code::LinkElsewhere,
            format_args!("no file of the fileset {id} in OMERO's repository is this data's"),
            "release the data and import it again",
        ));
    }
    // Who moves the data has its path written anew: see `Moved`.
    let is_moved = found.iter().any(|f| f.code == Code::Moved);
    if let Some(told) =
        fileset.path.as_ref().filter(|told| is_key && is_ours && !is_moved && **told != facts.path)
    {
        let finding = Finding::new(
            Code::OtherPath,
            format_args!("the annotation of the fileset {id} says that the data is at {told}"),
            "the annotation is written anew when the link is pointed; until then the images can be opened all the same",
        );
        found.push(match point_from(facts, fileset) {
            Some(from) if found.len() == before => finding.mended_by(Repair::Point { from }),
            _ => finding,
        });
    }
}

/// Where the link of the data leads, if pointing it to where the data is changes nothing but what OMERO says of it.
fn point_from(facts: &Facts, fileset: &Fileset) -> Option<Print> {
    if facts.is_collection || !facts.has_recorded_bytes() || facts.good().next().is_none() {
        return None;
    }
    match &file_of(facts, fileset)?.link {
        Link::To { target, .. } => Some(Print::of(target.as_bytes())),
        Link::Unknown | Link::Copy | Link::Missing => None,
    }
}

fn of_link_of_directory(facts: &Facts, file: &File, found: &mut Vec<Finding>) {
    if file.link == Link::Missing {
        found.push(missing(file));
    }
    let Link::To { target, leads } = &file.link else { return };
    let is_inside =
        |directory: &str| target.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'));
    let by_hand = "put the file back; or delete the images in OMERO and ask for a retry";
    let lies_there = facts.good().any(|seen| is_inside(&seen.path));
    match leads {
        Leads::Nowhere if lies_there || facts.good().next().is_some() => found.push(Finding::new(
            Code::LinkDangles,
            format_args!(
                "the link to {target} leads to no file, and images of this directory cannot be opened"
            ),
            by_hand,
        )),
        Leads::File(size) if lies_there && file.size.is_some_and(|known| known != *size) => {
            found.push(Finding::new(
                Code::OtherBytes,
                format_args!(
                    "{target} has {size} bytes, and OMERO knows it with {}",
                    file.size.unwrap_or_default()
                ),
                by_hand,
            ));
        }
        Leads::Nowhere | Leads::File(_) | Leads::Unclear => {}
    }
}

/// A file that is not in OMERO's repository.
fn missing(file: &File) -> Finding {
    Finding::new(
        Code::LinkDangles,
        format_args!(
            "the file that was imported from /{} is not in OMERO's repository any more",
            file.client_path
        ),
        "restore OMERO's repository from backup; or delete the images in OMERO and ask for a retry",
    )
}

fn of_file(facts: &Facts, fileset: &Fileset, file: &File, is_ours: bool, found: &mut Vec<Finding>) {
    let id = fileset.id;
    if file.link == Link::Missing {
        found.push(missing(file));
    }
    if let Link::To { target, leads } = &file.link {
        of_link(facts, (id, target, *leads), is_ours, found);
        let leads_right = facts.good().any(|seen| seen.path == *target);
        if leads_right && !file.is_client_path_of_link {
            let finding = Finding::new(
                Code::OtherPath,
                format_args!(
                    "OMERO says that a file of the fileset {id} came from /{}, and it is at {target}",
                    file.client_path
                ),
                "the client path is written anew when the link is pointed; until then the images can be opened all the same",
            );
            let can_point = is_ours && facts.has_recorded_bytes() && !facts.written;
            found.push(if can_point { finding.mended_by(Repair::pointing(target)) } else { finding });
        }
    }
    let remedy = "find out which of the two is right: other bytes are not shown under the old images by us. Ask for a retry \
                  to have the data imported as it is now";
    let version = facts.recorded.version.filter(|_| !facts.is_collection);
    let is_told = found.iter().any(|f| f.code == Code::OtherBytes);
    if is_told || facts.written || !facts.has_recorded_bytes() {
        return;
    }
    if let (Some(known), Some(version)) = (file.size, version)
        && known != version.size
    {
        found.push(Finding::new(
            Code::OtherBytes,
            format_args!("OMERO knows the file with {known} bytes, and the record says {}", version.size),
            remedy,
        ));
        return;
    }
    let is_other = |seen: &Seen| {
        let pair = file.hash.as_deref().zip(seen.checksum.as_deref());
        pair.and_then(|(hash, checksum)| same_bytes(hash, checksum)) == Some(false)
    };
    if facts.good().any(is_other) {
        found.push(Finding::new(
            Code::OtherBytes,
            "OMERO's checksum of the file is another than that in the catalog",
            remedy,
        ));
    }
}

/// The link of a data object.
fn of_link(
    facts: &Facts,
    (id, target, leads): (OmeroId, &String, Leads),
    is_ours: bool,
    found: &mut Vec<Finding>,
) {
    let goal = facts.good().next();
    let replica = facts.seen.iter().find(|seen| seen.path == *target);
    let is_moved = found.iter().any(|f| f.code == Code::Moved);
    let can_point = is_ours && goal.is_some() && facts.has_recorded_bytes() && !facts.written;
    let with_repair = |finding: Finding| {
        // A sweep that follows does it where the record says where the link leads.
        let is_follows = is_moved && facts.is_place(target);
        if can_point && !is_follows { finding.mended_by(Repair::pointing(target)) } else { finding }
    };
    match (replica, leads) {
        (Some(seen), Leads::Nowhere) if seen.is_good => found.push(Finding::new(
            Code::LinkDangles,
            format_args!("the catalog says that a good replica lies at {target}, and no file is there"),
            "mount the vault if it is not mounted; else restore the file from backup, or make another replica good where OMERO \
             sees it and trim this one",
        )),
        (Some(seen), Leads::File(size)) if seen.is_good => {
            if size != seen.size && !facts.written {
                found.push(Finding::new(
                    Code::OtherBytes,
                    format_args!("the file at {target} has {size} bytes, and the catalog says {}", seen.size),
                    "find out who wrote into the vault, and restore the file from backup",
                ));
            }
        }
        (Some(seen), Leads::Unclear) if seen.is_good => {}
        (Some(_), _) => found.push(with_repair(Finding::new(
            Code::LinkElsewhere,
            format_args!("a link of the fileset {id} leads to {target}, a replica that is not good"),
            "it is pointed to a good replica that OMERO sees",
        ))),
        // The data has moved, and the sweep has not followed yet.
        (None, _) if is_moved && facts.is_place(target) => {}
        (None, Leads::Nowhere) => found.push(with_repair(Finding::new(
            Code::LinkDangles,
            format_args!("a link of the fileset {id} leads to {target}, where no file is: the images cannot be opened"),
            "it is pointed to a good replica that OMERO sees",
        ))),
        // What is there may be somebody else's file, or a better copy that an administrator knows of.
        (None, Leads::File(_) | Leads::Unclear) => found.push(Finding::new(
            Code::LinkElsewhere,
            format_args!("a link of the fileset {id} leads to {target}, which is none of the data's replicas"),
            "find out who pointed it there, and point it back by hand (ln -sfn); or delete the images in OMERO and ask for a \
             retry",
        )),
    }
}

/// A fileset at the same path that the record does not name.
fn of_other(facts: &Facts, other: &Fileset, found: &mut Vec<Finding>) {
    let id = other.id;
    let own = facts.recorded.fileset;
    if own == Some(id) || facts.previous.contains(&id) || other.is_refused {
        return;
    }
    if other.mark.is_none() {
        // What has images and no annotation is somebody's own import.
        if !other.has_images && !other.is_open && !facts.is_awaited {
            found.push(Finding::new(
                Code::Leftover,
                format_args!(
                    "the fileset {id} at this path has no images: an import that failed has left it"
                ),
                "delete it in OMERO if nothing comes of it",
            ));
        }
        return;
    }
    let Some(mark) = other.mark.filter(|_| facts.is_ours(other)) else { return };
    match own.filter(|_| facts.is_imported()) {
        Some(own) if Some(mark.version) == facts.recorded.version => found.push(Finding::new(
            Code::Duplicate,
            format_args!(
                "the fileset {id} is of the same data and version as the fileset {own} of its record"
            ),
            format_args!("delete the fileset {id} in OMERO if nobody has annotated its images"),
        )),
        Some(own) => found.push(Finding::new(
            Code::FilesetWithoutRecord,
            format_args!(
                "the fileset {id} is of another version of this data; its record names the fileset {own}"
            ),
            format_args!("delete the fileset {id} in OMERO if nobody needs its images"),
        )),
        None => {
            // What is being worked on is nobody's finding, and of what is stale the record tells.
            let recorded = &facts.recorded;
            if facts.is_awaited || recorded.has_job || recorded.state == Some(State::Stale) {
                return;
            }
            let finding = Finding::new(
                Code::FilesetWithoutRecord,
                format_args!("the fileset {id} is of this data, and its record does not name it"),
                "a sweep of the collection takes it for the data's if it is of this version; else delete it in OMERO if nobody \
                 needs its images",
            );
            let is_asked = recorded.is_ignored || recorded.cause == Some(Cause::Asked);
            let is_swept = facts.is_watched && !is_asked;
            found.push(if is_swept { finding.mended_by(Repair::Sweep) } else { finding });
        }
    }
}

#[cfg(test)]
mod tests;
