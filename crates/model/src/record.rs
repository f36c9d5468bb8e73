//! What became of a data object: the AVUs that say so, read and written as one value.

mod particulars;

pub use particulars::{Ids, Particulars, Whereabouts};

use crate::attributes::Attributes;
use crate::catalog::{Replica, ReplicaStatus};
use crate::clock::UnixTime;
use crate::identity::OmeroIdentity;
use crate::names::{CollectionId, IrodsUser, OmeroId, OmeroName};
use std::collections::BTreeSet;
use std::fmt;

/// One AVU.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Triple {
    /// Attribute.
    pub attribute: String,
    /// Value.
    pub value: String,
    /// Units; empty for none.
    pub units: String,
}

impl Triple {
    /// An AVU from its three parts.
    pub fn new(attribute: &str, value: impl fmt::Display, units: impl fmt::Display) -> Self {
        Self { attribute: attribute.to_owned(), value: value.to_string(), units: units.to_string() }
    }
}

/// What the record says of a data object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// To be imported; the reason says what it waits for.
    Pending,
    /// The importer is at work.
    Importing,
    /// Images are in OMERO.
    Imported,
    /// Cannot be imported until the data or the target changes.
    Failed,
    /// Is not imported: no OMERO user, no path the importer can see, or a tag that cannot be followed.
    Skipped,
    /// Changed in iRODS after the import, or came too late for it.
    Stale,
    /// Removed, or no longer watched, before the import.
    Gone,
}

impl State {
    /// All states, in the order of a life.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Importing,
        Self::Imported,
        Self::Failed,
        Self::Skipped,
        Self::Stale,
        Self::Gone,
    ];

    /// The word in the AVU.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Importing => "importing",
            Self::Imported => "imported",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Stale => "stale",
            Self::Gone => "gone",
        }
    }

    /// From the word in the AVU.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

/// Why data failed, was skipped or is stale, as a word: what has to change before it is looked at again.
///
/// It stands in the units of the reason. Records of versions before this one have none, and are final until the bytes
/// change or somebody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// The bytes: OMERO makes no images of them, or they are others than were imported.
    Bytes,
    /// The name: the importer cannot take a path such as this.
    Name,
    /// What the catalog holds of the data: no good replica, or a row that cannot be read.
    Catalog,
    /// Where it lies: OMERO cannot see it there.
    Place,
    /// Where the images would go.
    Target,
    /// Its owner has no OMERO user.
    Mapping,
    /// A tag that cannot be followed.
    Tag,
    /// The set it belongs to is in OMERO without it.
    Set,
    /// A person's wish.
    Asked,
    /// Nothing of the data's own: OMERO's fault or ours, for too long.
    Ours,
}

impl Cause {
    /// All causes.
    pub const ALL: [Self; 10] = [
        Self::Bytes,
        Self::Name,
        Self::Catalog,
        Self::Place,
        Self::Target,
        Self::Mapping,
        Self::Tag,
        Self::Set,
        Self::Asked,
        Self::Ours,
    ];

    /// The word in the AVU.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Name => "name",
            Self::Catalog => "catalog",
            Self::Place => "place",
            Self::Target => "target",
            Self::Mapping => "mapping",
            Self::Tag => "tag",
            Self::Set => "set",
            Self::Asked => "asked",
            Self::Ours => "ours",
        }
    }

    /// From the units of the AVU: its first word. A number may stand behind it, see [`Record::refused_target`].
    pub fn parse(units: &str) -> Option<Self> {
        let word = units.split(' ').next().unwrap_or_default();
        Self::ALL.into_iter().find(|c| c.as_str() == word)
    }
}

/// Names a target in a few characters, to tell later whether it is still the same.
fn print_of(target: &str) -> String {
    Print::of(target.as_bytes()).to_string()
}

/// A path, or another long text, in a few characters, to tell later whether it is still the same.
///
/// The value of an AVU holds 2,700 characters, its units 250, and a path has up to 4,095 bytes. What is told by it is whether a path has
/// changed, and which of the links in one fileset's own directory is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Print(u64);

impl Print {
    /// Of a text.
    pub fn of(text: &[u8]) -> Self {
        Self(particulars::print_of(text))
    }

    /// From its 16 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_print =
            text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        is_print.then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for Print {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Which state of the bytes was imported: modify time and size of the replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
    /// Modify time of the replica.
    pub modify_time: UnixTime,
    /// Size in bytes.
    pub size: u64,
}

impl Version {
    /// From the value of the AVU, which begins with `modify time:size`; see [`Particulars`] for what may follow.
    pub fn parse(text: &str) -> Option<Self> {
        let (time, size) = text.split(' ').next()?.split_once(':')?;
        Some(Self { modify_time: time.parse().ok()?, size: size.parse().ok()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.modify_time, self.size)
    }
}

/// What shows that the bytes of a recorded version are what they were, though their modify time is another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// A replica has this checksum.
    Checksum(String),
    /// No checksum was registered. A replica with another number, or in another collection, has the bytes of this one
    /// if this one is no more: data is moved (`imv`), or replicated to another resource and then trimmed (`irepl`,
    /// `itrim`, storage tiering), and gets a new time by that. An overwrite leaves it where it is.
    Replica {
        /// Replica number.
        number: u32,
        /// The collection it was in.
        collection: CollectionId,
        /// Its physical path; records of versions before this one do not say.
        path: Option<Print>,
    },
}

impl Proof {
    const REPLICA: &str = "replica ";
    const IN: &str = " in ";
    const AS: &str = " as ";

    /// From the units of the AVU.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix(Self::REPLICA) {
            Some(place) => {
                let (number, place) = place.split_once(Self::IN)?;
                let (collection, path) = match place.split_once(Self::AS) {
                    Some((collection, path)) => (collection, Some(Print::parse(path)?)),
                    None => (place, None),
                };
                let collection = CollectionId::parse(collection).ok()?;
                Some(Self::Replica { number: number.parse().ok()?, collection, path })
            }
            None => (!text.is_empty()).then(|| Self::Checksum(text.to_owned())),
        }
    }

    /// Of the bytes in a replica.
    pub fn of(replica: &Replica) -> Self {
        let Replica { number, collection, .. } = *replica;
        let path = Some(Print::of(&replica.physical_path));
        replica.checksum.clone().map_or(Self::Replica { number, collection, path }, Self::Checksum)
    }

    /// The checksum, if it is one.
    pub fn checksum(&self) -> Option<&str> {
        match self {
            Self::Checksum(checksum) => Some(checksum),
            Self::Replica { .. } => None,
        }
    }

    /// Whether this is the replica that is meant, with whatever bytes: it lies where it lay.
    pub fn is_in(&self, replica: &Replica) -> bool {
        let Self::Replica { number, collection, path } = *self else { return false };
        (number, collection) == (replica.number, replica.collection)
            && path.is_none_or(|path| path == Print::of(&replica.physical_path))
    }

    /// The replica that has the bytes, of all those of a data object.
    pub fn find<'r>(&self, size: u64, replicas: &'r [Replica]) -> Option<&'r Replica> {
        let holds = |replica: &&Replica| match self {
            Self::Checksum(checksum) => replica.checksum.as_ref() == Some(checksum),
            Self::Replica { .. } => !replicas.iter().any(|r| self.is_in(r)),
        };
        let good = replicas.iter().filter(|r| r.status == ReplicaStatus::Good && r.fault.is_none());
        good.filter(|r| r.size == size).find(holds)
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checksum(checksum) => f.write_str(checksum),
            Self::Replica { number, collection, path } => {
                write!(f, "{}{number}{}{collection}", Self::REPLICA, Self::IN)?;
                path.map_or(Ok(()), |path| write!(f, "{}{path}", Self::AS))
            }
        }
    }
}

/// The record of one data object as it is in the catalog.
///
/// AVUs that name another data object than that on which they were found are no record of it (an administrator's
/// `imeta cp` leaves such): it reads as if there were none, and they are replaced when a record is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Every AVU of ours on the object.
    pub triples: Vec<Triple>,
    /// The catalog's number of the data object or collection on which they were found; `None` where that is not known.
    pub found_on: Option<u64>,
}

impl Record {
    /// Of a data object or collection with that number, of which no AVU has been read yet.
    pub fn on(number: u64) -> Self {
        Self { triples: Vec::new(), found_on: Some(number) }
    }

    /// The number of the other data object that the AVUs are a record of, if they are.
    pub fn copied_from(&self, names: &Attributes) -> Option<u64> {
        let own = self.found_on?;
        let versions = self.triples.iter().filter(|t| t.attribute == names.version);
        versions.filter_map(|t| Particulars::subject_of(&t.value)).find(|id| *id != own)
    }

    /// The AVUs that say something about the object on which they are.
    pub(crate) fn own(&self, names: &Attributes) -> &[Triple] {
        if self.copied_from(names).is_some() { &[] } else { &self.triples }
    }

    fn all<'r>(&'r self, names: &Attributes, attribute: &str) -> impl Iterator<Item = &'r Triple> {
        self.own(names).iter().filter(move |t| t.attribute == attribute)
    }

    fn value(&self, names: &Attributes, attribute: &str) -> Option<&Triple> {
        self.own(names).iter().find(|t| t.attribute == attribute)
    }

    fn id(&self, names: &Attributes, attribute: &str) -> Option<OmeroId> {
        self.value(names, attribute).and_then(|t| OmeroId::parse(&t.value).ok())
    }

    fn ids(&self, names: &Attributes, attribute: &str) -> Vec<OmeroId> {
        self.all(names, attribute).filter_map(|t| OmeroId::parse(&t.value).ok()).collect()
    }

    /// What the AVU of the version says.
    pub fn particulars(&self, names: &Attributes) -> Option<Particulars> {
        self.value(names, &names.version).and_then(|t| Particulars::parse(&t.value))
    }

    /// The state, if there is one we know.
    pub fn state(&self, names: &Attributes) -> Option<State> {
        self.value(names, &names.state).and_then(|t| State::parse(&t.value))
    }

    /// How often the import was tried.
    pub fn attempts(&self, names: &Attributes) -> u32 {
        self.value(names, &names.state).and_then(|t| t.units.parse().ok()).unwrap_or(0)
    }

    /// The version the state is about.
    pub fn version(&self, names: &Attributes) -> Option<Version> {
        self.value(names, &names.version).and_then(|t| Version::parse(&t.value))
    }

    /// What proves that version.
    pub fn proof(&self, names: &Attributes) -> Option<Proof> {
        self.value(names, &names.version).and_then(|t| Proof::parse(&t.units))
    }

    /// The path under which the importer saw the bytes, and to which OMERO's link leads. It is not known of what was imported by
    /// versions before this one.
    pub fn place(&self, names: &Attributes) -> Option<Print> {
        self.particulars(names)?.link
    }

    /// The record when OMERO's link has been pointed to another place, where the bytes are now.
    pub fn followed(
        &self,
        names: &Attributes,
        version: Version,
        proof: Option<&Proof>,
        at: Option<Whereabouts>,
        place: Print,
    ) -> Vec<Triple> {
        let mut triples = self.without_complaint(names);
        triples.retain(|t| t.attribute != names.version);
        triples.push(version_triple(names, version, proof));
        let known = self.particulars(names);
        self.renewed(names, triples, |all| {
            if let Some(known) = known {
                *all = Particulars { version, at, link: Some(place), ..known };
            }
        })
    }

    /// The record when OMERO's link could not be pointed to where the bytes are, which is at `to` if OMERO sees them anywhere:
    /// why, and when it is tried again.
    pub fn not_followed(
        &self,
        names: &Attributes,
        reason: &str,
        to: Option<Print>,
        retry: Option<Retry>,
    ) -> Vec<Triple> {
        let mut triples = self.without_complaint(names);
        if self.state(names) == Some(State::Imported) {
            triples.retain(|t| t.attribute != names.reason);
            let place = Cause::Place.as_str();
            let units = to.map_or_else(|| place.to_owned(), |to| format!("{place} {to}"));
            triples.push(Triple::new(&names.reason, sentence(reason), units));
        }
        triples.extend(retry.map(|retry| Triple::new(&names.retry, retry.next, retry.since)));
        self.renewed(names, triples, |_| ())
    }

    /// To which place OMERO's link could not be pointed.
    pub fn not_followed_to(&self, names: &Attributes) -> Option<Print> {
        let (word, to) = self.value(names, &names.reason)?.units.split_once(' ')?;
        Print::parse(to).filter(|_| Cause::parse(word) == Some(Cause::Place))
    }

    /// What is recorded but for what [`Self::not_followed`] added.
    fn without_complaint(&self, names: &Attributes) -> Vec<Triple> {
        let is_imported = self.state(names) == Some(State::Imported);
        let is_ours = |t: &Triple| {
            is_imported && t.attribute == names.reason && Cause::parse(&t.units) == Some(Cause::Place)
        };
        let stays = |t: &&Triple| t.attribute != names.retry && !is_ours(t);
        self.own(names).iter().filter(stays).cloned().collect()
    }

    /// The reason of the state.
    pub fn reason(&self, names: &Attributes) -> Option<&str> {
        self.value(names, &names.reason).map(|t| t.value.as_str())
    }

    /// Why it failed, as a word.
    pub fn cause(&self, names: &Attributes) -> Option<Cause> {
        self.value(names, &names.reason).and_then(|t| Cause::parse(&t.units))
    }

    /// Whether this is the target that OMERO refused for this data; `false` too where that is not known.
    pub fn refused_target(&self, names: &Attributes, target: &str) -> bool {
        let reason = self.value(names, &names.reason);
        reason.and_then(|t| t.units.split_once(' ')).is_some_and(|(word, print)| {
            Cause::parse(word) == Some(Cause::Target) && print == print_of(target)
        })
    }

    /// When the import is tried next.
    pub fn retry(&self, names: &Attributes) -> Option<Retry> {
        self.value(names, &names.retry).and_then(Retry::of)
    }

    /// The fileset, of its key file and of its other files.
    pub fn fileset(&self, names: &Attributes) -> Option<OmeroId> {
        self.id(names, &names.fileset).or_else(|| self.id(names, &names.member_of))
    }

    /// Who asked that it is left alone.
    pub fn ignored_by(&self, names: &Attributes) -> Option<&str> {
        self.value(names, &names.ignored).map(|t| t.value.as_str())
    }

    /// The job in which an agent imports it now, or imported it until agents were given up.
    pub fn job(&self, names: &Attributes) -> Option<JobName<'_>> {
        let job = self.value(names, &names.job).filter(|_| self.state(names) == Some(State::Importing))?;
        Some(JobName { key: &job.value, agent: &job.units })
    }

    /// As whom it is imported.
    pub fn owner(&self, names: &Attributes) -> Option<OmeroIdentity> {
        let owner = self.value(names, &names.owner)?;
        let user = OmeroName::parse(&owner.value).ok()?;
        Some(OmeroIdentity { user, group: OmeroName::parse(&owner.units).ok() })
    }

    /// By which source (the value), and for which iRODS user (the units). Records of old versions have an AVU of that.
    pub fn mapped_by(&self, names: &Attributes) -> Option<Triple> {
        let told = self.particulars(names).and_then(|all| all.mapped_by);
        let told = told.map(|(source, person)| Triple::new(&names.mapped_by, source, person));
        told.or_else(|| self.value(names, &names.mapped_by).cloned())
    }

    /// Where the bytes lay that the version is about. Records of old versions do not say.
    pub fn whereabouts(&self, names: &Attributes) -> Option<Whereabouts> {
        self.particulars(names)?.at
    }

    /// The images. In records of old versions each has an AVU of its own.
    pub fn images(&self, names: &Attributes) -> Ids {
        let told = self.particulars(names).map(|all| all.images).unwrap_or_default();
        self.with_avus(names, told, &names.image)
    }

    /// The plates, in the same way.
    pub fn plates(&self, names: &Attributes) -> Ids {
        let told = self.particulars(names).map(|all| all.plates).unwrap_or_default();
        self.with_avus(names, told, &names.plate)
    }

    fn with_avus(&self, names: &Attributes, told: Ids, attribute: &str) -> Ids {
        let mut all = told.named;
        all.extend(self.ids(names, attribute));
        Ids { more: told.more, ..Ids::of(&all) }
    }

    /// The filesets of versions before.
    pub fn previous(&self, names: &Attributes) -> Vec<OmeroId> {
        let told = self.particulars(names).map(|all| all.previous).unwrap_or_default();
        self.with_avus(names, Ids { named: told, more: 0 }, &names.previous).named
    }

    /// The filesets of versions before for a record that is to name none: what it names now is one of them.
    pub fn filesets_before(&self, names: &Attributes) -> Vec<OmeroId> {
        let mut all = self.previous(names);
        all.extend(self.ids(names, &names.fileset));
        all.extend(self.ids(names, &names.member_of));
        Ids::of(&all).named
    }

    /// The other collections in which files of its set lie.
    pub fn awaits(&self, names: &Attributes) -> BTreeSet<Awaited> {
        self.all(names, &names.awaits).filter_map(|t| Awaited::parse(&t.value)).collect()
    }

    /// The record of what somebody asked to be tried again: at once, and as if for the first time. What is in OMERO
    /// already is a version before.
    pub fn asked_again(&self, names: &Attributes, reason: &str) -> Vec<Triple> {
        let mut triples = vec![
            Triple::new(&names.state, State::Pending.as_str(), 0),
            Triple::new(&names.reason, sentence(reason), ""),
        ];
        let in_omero = [&names.fileset, &names.member_of, &names.previous];
        let (mut version, mut before) = (Vec::new(), Vec::new());
        for triple in self.own(names) {
            if triple.attribute == names.version {
                version.push(triple.clone());
            } else if in_omero.contains(&&triple.attribute) {
                before.push(Triple { attribute: names.previous.clone(), ..triple.clone() });
            }
        }
        triples.extend(version);
        triples.extend(before);
        let mut triples = self.renewed(names, triples, |all| {
            (all.images, all.plates, all.mapped_by) = (Ids::default(), Ids::default(), None);
        });
        triples.sort();
        triples.dedup();
        triples
    }

    /// The record of what somebody asked to be left alone. What names images in OMERO is kept.
    pub fn left_alone(&self, names: &Attributes, by: &IrodsUser, reason: &str) -> Vec<Triple> {
        let replaced = [&names.state, &names.reason, &names.retry, &names.ignored];
        let kept = self.own(names).iter().filter(|t| !replaced.contains(&&t.attribute)).cloned();
        let reason = format!("ignored by {by}: {reason}");
        let said = [
            Triple::new(&names.state, State::Skipped.as_str(), 0),
            Triple::new(&names.reason, sentence(&reason), Cause::Asked.as_str()),
            Triple::new(&names.ignored, by, ""),
        ];
        self.renewed(names, kept.chain(said).collect(), |_| ())
    }

    /// The record of what is out of date, or may be: the images in OMERO are still those of the old version, and what names
    /// them is kept. `said`: its new state and reason.
    pub fn outdated(&self, names: &Attributes, said: &[Triple]) -> Vec<Triple> {
        let replaced = [&names.state, &names.reason];
        let said = said.iter().filter(|t| replaced.contains(&&t.attribute)).cloned();
        let kept = self.own(names).iter().filter(|t| !replaced.contains(&&t.attribute)).cloned();
        self.renewed(names, said.chain(kept).collect(), |_| ())
    }

    /// The record that what is in OMERO is this version too.
    pub fn confirmed(&self, names: &Attributes, version: Version, proof: Option<&Proof>) -> Vec<Triple> {
        // A reason beside `imported` is about where the data lies.
        let was_imported = self.state(names) == Some(State::Imported);
        let goes = |t: &&Triple| {
            t.attribute == names.state
                || t.attribute == names.version
                || (t.attribute == names.reason && !was_imported)
        };
        let mut triples: Vec<Triple> = self.own(names).iter().filter(|t| !goes(t)).cloned().collect();
        triples.push(Triple::new(&names.state, State::Imported.as_str(), self.attempts(names)));
        triples.push(version_triple(names, version, proof));
        let known = self.particulars(names);
        self.renewed(names, triples, |all| {
            if let Some(known) = known {
                *all = Particulars { version, ..known };
            }
        })
    }

    /// AVUs of a record in today's form: those that old versions wrote one by one stand in that of the version. Without
    /// a version, which the first versions did not write everywhere, they stay as they are.
    pub(crate) fn renewed(
        &self,
        names: &Attributes,
        triples: Vec<Triple>,
        change: impl FnOnce(&mut Particulars),
    ) -> Vec<Triple> {
        let given = Self { triples, found_on: self.found_on };
        let version = given.value(names, &names.version);
        let Some((mut all, units)) = version.and_then(|t| Some((Particulars::parse(&t.value)?, &t.units)))
        else {
            return given.triples;
        };
        change(&mut all);
        // What is named by AVUs of their own too, `change` has had no say in.
        all.subject = self.found_on.or(all.subject);
        let taken_in = [&names.version, &names.image, &names.plate, &names.previous, &names.mapped_by];
        let joined = |told: Ids, attribute| given.with_avus(names, told, attribute);
        all.images = joined(all.images, &names.image);
        all.plates = joined(all.plates, &names.plate);
        all.previous = joined(Ids { named: all.previous, more: 0 }, &names.previous).named;
        if let (None, Some(by)) = (&all.mapped_by, given.value(names, &names.mapped_by)) {
            all.mapped_by = Some((by.value.clone(), by.units.clone()));
        }
        let server = given.value(names, &names.previous).or_else(|| given.value(names, &names.fileset));
        let written = all.triples(names, units, server.map_or("", |t| &t.units));
        given.triples.iter().filter(|t| !taken_in.contains(&&t.attribute)).cloned().chain(written).collect()
    }
}

/// A collection with files that the set of a key file in another one uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Awaited {
    /// The collection.
    pub collection: CollectionId,
    /// Whether they become members of the set's fileset, so that they are not imported by themselves meanwhile. Else they
    /// are only used: they are somebody else's, or lie outside of the watched collection.
    pub claims: bool,
}

impl Awaited {
    /// The value that says of a collection that its files are claimed.
    pub fn claimed(collection: CollectionId) -> String {
        collection.to_string()
    }

    /// From the value of the AVU.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, claims) = text.strip_prefix("read ").map_or((text, true), |id| (id, false));
        Some(Self { collection: CollectionId::parse(id).ok()?, claims })
    }
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.claims {
            f.write_str(&Self::claimed(self.collection))
        } else {
            write!(f, "read {}", self.collection)
        }
    }
}

/// When an import that cannot be done for now is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Not before then.
    pub next: UnixTime,
    /// Since when it has been tried.
    pub since: UnixTime,
}

impl Retry {
    /// From the AVU that says so.
    pub fn of(triple: &Triple) -> Option<Self> {
        Some(Self { next: triple.value.parse().ok()?, since: triple.units.parse().ok()? })
    }
}

/// What is in OMERO for a data object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The fileset.
    pub fileset: OmeroId,
    /// Its images.
    pub images: Vec<OmeroId>,
    /// Its plates.
    pub plates: Vec<OmeroId>,
    /// Whether this file is one of the others of a multi-file fileset, not its key file.
    pub is_member: bool,
    /// Whether the fileset was there before we imported.
    pub adopted: bool,
    /// The filesets of other data, or of other versions, that were imported from the same path before.
    pub previous: Vec<OmeroId>,
    /// The version that was imported, where that is not the version that was to be imported: the data was overwritten
    /// after its import, and nothing is known of the import.
    pub version: Option<Version>,
}

/// What is to be written about a data object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The importer starts.
    Importing,
    /// The agent that imports it waits, and why.
    Waiting(String),
    /// Images are in OMERO.
    Imported(Imported),
    /// Waits, and why.
    Pending(String),
    /// Given up, and why.
    Failed(Cause, String),
    /// Given up because OMERO refused the target, and why.
    Refused {
        /// The target.
        target: String,
        /// Why.
        reason: String,
    },
    /// Left alone, and why.
    Skipped(Cause, String),
    /// Changed after the import, and what to do.
    Stale(Cause, String),
    /// Belongs to files that were imported without it, in these filesets.
    Late(Vec<OmeroId>),
    /// Was not imported, and no longer is to be.
    Gone(String),
}

impl Entry {
    /// The state of the entry.
    pub fn state(&self) -> State {
        match self {
            Self::Importing | Self::Waiting(_) => State::Importing,
            Self::Imported(_) => State::Imported,
            Self::Pending(_) => State::Pending,
            Self::Failed(..) | Self::Refused { .. } => State::Failed,
            Self::Skipped(..) => State::Skipped,
            Self::Stale(..) | Self::Late(_) => State::Stale,
            Self::Gone(_) => State::Gone,
        }
    }

    /// The reason that goes with it.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Importing | Self::Imported(_) => None,
            Self::Waiting(reason)
            | Self::Pending(reason)
            | Self::Failed(_, reason)
            | Self::Refused { reason, .. }
            | Self::Skipped(_, reason)
            | Self::Stale(_, reason)
            | Self::Gone(reason) => Some(sentence(reason)),
            Self::Late(filesets) => {
                let ids: Vec<String> = filesets.iter().map(ToString::to_string).collect();
                let (these, ids) =
                    (if ids.len() == 1 { "that fileset" } else { "those filesets" }, ids.join(", "));
                Some(sentence(&format!(
                    "the file belongs to the same images as what is in OMERO as fileset {ids}, which was imported before it \
                     came and does not show it: to have all of it, delete {these} in OMERO and ask for the import again"
                )))
            }
        }
    }
}

impl Entry {
    /// The units of the reason: the cause as a word, of a target that OMERO refused with the print of that.
    fn cause(&self) -> String {
        match self {
            Self::Failed(cause, _) | Self::Skipped(cause, _) | Self::Stale(cause, _) => {
                cause.as_str().to_owned()
            }
            Self::Refused { target, .. } => format!("{} {}", Cause::Target.as_str(), print_of(target)),
            Self::Late(_) => Cause::Set.as_str().to_owned(),
            Self::Importing | Self::Imported(_) | Self::Waiting(_) | Self::Pending(_) | Self::Gone(_) => {
                String::new()
            }
        }
    }
}

/// What a record says beside its entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details<'a> {
    /// How often the import was tried.
    pub attempts: u32,
    /// The bytes meant.
    pub version: Option<Version>,
    /// What proves them.
    pub proof: Option<&'a Proof>,
    /// Name of the OMERO server, the units of its ids.
    pub server: &'a str,
    /// Who imports.
    pub who: Option<&'a OmeroIdentity>,
    /// When it is tried again.
    pub retry: Option<Retry>,
    /// The filesets of versions before.
    pub previous: &'a [OmeroId],
    /// The job in which an agent imports it.
    pub job: Option<JobName<'a>>,
    /// The other collections in which files of its set lie.
    pub awaits: &'a [Awaited],
    /// The catalog's number of the data object or collection that the record is about.
    pub subject: Option<u64>,
    /// Where the bytes meant lie.
    pub whereabouts: Option<Whereabouts>,
    /// The path under which the importer sees them.
    pub place: Option<Print>,
    /// By which source (the value), and for which iRODS user (the units), it was decided who imports.
    pub mapped_by: Option<&'a Triple>,
}

/// Names a job of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobName<'a> {
    /// The key it was submitted with.
    pub key: &'a str,
    /// The agent that has it.
    pub agent: &'a str,
}

/// Longest AVU value that is written, in bytes; the column holds 2,700 characters.
const MAX_VALUE_BYTES: usize = 2_000;

/// The AVUs that say `entry`. Of what is imported they are four, of which the state and the owner are the same for much
/// data, so that the catalog has them once.
pub fn triples(names: &Attributes, entry: &Entry, details: &Details<'_>) -> Vec<Triple> {
    let server = details.server;
    let mut triples = vec![Triple::new(&names.state, entry.state().as_str(), details.attempts)];
    let imported = if let Entry::Imported(imported) = entry { Some(imported) } else { None };
    if let Some(who) = details.who {
        let group = who.group.as_ref().map_or("", |g| g.as_str());
        triples.push(Triple::new(&names.owner, &who.user, group));
    }
    match entry {
        Entry::Imported(Imported { fileset, is_member: true, .. }) => {
            triples.push(Triple::new(&names.member_of, fileset, server));
        }
        Entry::Late(filesets) => {
            triples.extend(filesets.iter().map(|id| Triple::new(&names.member_of, id, server)));
        }
        Entry::Imported(imported) => triples.push(Triple::new(&names.fileset, imported.fileset, server)),
        Entry::Importing
        | Entry::Waiting(_)
        | Entry::Pending(_)
        | Entry::Failed(..)
        | Entry::Refused { .. }
        | Entry::Skipped(..)
        | Entry::Stale(..)
        | Entry::Gone(_) => {}
    }
    triples.extend(entry.reason().map(|reason| Triple::new(&names.reason, reason, entry.cause())));
    if matches!(entry, Entry::Pending(_) | Entry::Importing | Entry::Waiting(_)) {
        triples.extend(details.retry.map(|r| Triple::new(&names.retry, r.next, r.since)));
        triples.extend(details.awaits.iter().map(|awaited| Triple::new(&names.awaits, awaited, "")));
    }
    if let (Entry::Importing | Entry::Waiting(_), Some(job)) = (entry, details.job) {
        triples.push(Triple::new(&names.job, job.key, job.agent));
    }
    let mut previous: Vec<OmeroId> = details.previous.to_vec();
    previous.extend(imported.iter().flat_map(|imported| &imported.previous));
    let previous = Ids::of(&previous).named;
    // Of an import that nobody noted it is known which version it was, and not what proves it.
    let other = imported.and_then(|imported| imported.version);
    let Some(version) = other.or(details.version) else {
        triples.extend(details.mapped_by.cloned());
        triples.extend(previous.iter().map(|id| Triple::new(&names.previous, id, server)));
        return triples;
    };
    let proof = details.proof.filter(|_| other.is_none()).map(Proof::to_string).unwrap_or_default();
    let shown = imported.filter(|imported| !imported.is_member);
    let particulars = Particulars {
        subject: details.subject,
        at: details.whereabouts.filter(|_| other.is_none()),
        link: details.place,
        images: shown.map(|shown| Ids::of(&shown.images)).unwrap_or_default(),
        plates: shown.map(|shown| Ids::of(&shown.plates)).unwrap_or_default(),
        previous,
        mapped_by: details.mapped_by.map(|by| (by.value.clone(), by.units.clone())),
        ..Particulars::of(version)
    };
    triples.extend(particulars.triples(names, &proof, server));
    triples
}

/// The AVU that names a version of the bytes, and nothing else.
fn version_triple(names: &Attributes, version: Version, proof: Option<&Proof>) -> Triple {
    Triple::new(&names.version, version, proof.map(Proof::to_string).unwrap_or_default())
}

/// A reason as one line that fits an AVU.
pub fn sentence(reason: &str) -> String {
    let mut text: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.len() > MAX_VALUE_BYTES {
        let mut end = MAX_VALUE_BYTES;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    if text.trim().is_empty() { "no reason was given".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::DataId;

    fn id(n: &str) -> OmeroId {
        OmeroId::parse(n).unwrap()
    }

    #[test]
    fn a_record_reads_back_what_was_written() {
        let names = Attributes::default();
        let version = Version { modify_time: 1_700_000_000, size: 42 };
        let imported = Imported {
            fileset: id("5"),
            images: vec![id("7"), id("8")],
            plates: vec![],
            is_member: false,
            adopted: false,
            previous: vec![id("2"), id("3")],
            version: None,
        };
        let proof = Proof::Checksum("sha2:x".to_owned());
        let details = Details {
            attempts: 2,
            version: Some(version),
            proof: Some(&proof),
            server: "omero",
            previous: &[id("3")],
            ..Details::default()
        };
        let record =
            Record { found_on: None, triples: triples(&names, &Entry::Imported(imported), &details) };
        assert_eq!((record.proof(&names), record.fileset(&names)), (Some(proof), Some(id("5"))));
        assert_eq!(record.previous(&names), [id("2"), id("3")]);
        assert_eq!(record.state(&names), Some(State::Imported));
        assert_eq!(record.attempts(&names), 2);
        assert_eq!(record.version(&names), Some(version));
        assert_eq!(record.images(&names), Ids::of(&[id("7"), id("8")]));
    }

    /// Everything that a record of imported data can say.
    fn whole(names: &Attributes, fileset: OmeroId, images: Vec<OmeroId>) -> Vec<Triple> {
        let imported = Imported {
            fileset,
            images,
            plates: vec![id("4")],
            is_member: false,
            adopted: false,
            previous: vec![id("2"), id("3")],
            version: None,
        };
        let by = Triple::new(&names.mapped_by, "table", "alice#z");
        let who = OmeroIdentity {
            user: OmeroName::parse("alice").unwrap(),
            group: Some(OmeroName::parse("lab").unwrap()),
        };
        let details = Details {
            attempts: 1,
            version: Some(Version { modify_time: 1, size: 2 }),
            proof: Some(&Proof::Checksum("sha2:x".to_owned())),
            server: "o",
            who: Some(&who),
            subject: Some(10_045),
            whereabouts: Whereabouts::parse("0/0f"),
            mapped_by: Some(&by),
            ..Details::default()
        };
        triples(names, &Entry::Imported(imported), &details)
    }

    #[test]
    fn imported_data_has_four_avus_of_which_two_are_words_that_others_have_too() {
        let names = Attributes::default();
        let images = |of: std::ops::Range<u64>| of.filter_map(OmeroId::from_number).collect();
        let one = whole(&names, id("5"), images(7..10_007));
        let other = whole(&names, id("6"), images(20_000..20_001));
        assert_eq!(one.len(), 4, "{one:?}");
        let shared: Vec<&str> =
            one.iter().filter(|t| other.contains(t)).map(|t| t.attribute.as_str()).collect();
        assert_eq!(shared, [&names.state, &names.owner]);
        assert!(one.iter().all(|t| t.value.len() <= MAX_VALUE_BYTES && t.units.len() <= 250));
        let record = Record { triples: one, ..Record::on(10_045) };
        assert_eq!(record.images(&names).named.len(), 10_000);
        assert_eq!(
            (record.plates(&names).named, record.previous(&names)),
            (vec![id("4")], vec![id("2"), id("3")])
        );
        assert_eq!(record.mapped_by(&names), Some(Triple::new(&names.mapped_by, "table", "alice#z")));
        assert_eq!(record.whereabouts(&names), Whereabouts::parse("0/0f"));
    }

    /// What versions before this one wrote.
    fn of_old(names: &Attributes) -> Record {
        let triple = |attribute: &str, value: &str, units: &str| Triple::new(attribute, value, units);
        let mut triples = vec![
            triple(&names.state, "imported", "1"),
            triple(&names.fileset, "5", "o"),
            triple(&names.plate, "4", "o"),
            triple(&names.owner, "alice", "lab"),
            triple(&names.mapped_by, "table", "alice#z"),
            triple(&names.version, "1:2", "sha2:x"),
            triple(&names.previous, "2", "o"),
            triple(&names.previous, "3", "o"),
        ];
        triples.extend((7..10_007).map(|n| triple(&names.image, &n.to_string(), "o")));
        Record { triples, ..Record::on(10_045) }
    }

    #[test]
    fn records_of_old_versions_are_read_and_renewed_whenever_they_are_written() {
        let names = Attributes::default();
        let old = of_old(&names);
        let by = IrodsUser::parse("alice#z").unwrap();
        let new = Version { modify_time: 9, size: 2 };
        let say = |r: &Record| (r.images(&names), r.previous(&names), r.mapped_by(&names), r.fileset(&names));
        let sorted = |mut triples: Vec<Triple>| {
            triples.sort();
            triples
        };
        let stale = triples(&names, &Entry::Stale(Cause::Bytes, "x".to_owned()), &Details::default());
        for (rows, written) in [
            (4, old.confirmed(&names, new, None)),
            (5, old.outdated(&names, &stale)),
            (6, old.left_alone(&names, &by, "x")),
        ] {
            assert_eq!(written.len(), rows, "{written:?}");
            let written = Record { triples: written, ..Record::on(10_045) };
            assert_eq!(say(&written), say(&old));
            assert_eq!(written.particulars(&names).and_then(|all| all.subject), Some(10_045));
            // Written once more it is the same.
            assert_eq!(sorted(written.outdated(&names, &written.triples)), sorted(written.triples));
        }
        let again = Record { triples: old.asked_again(&names, "x"), ..Record::on(10_045) };
        assert_eq!((again.triples.len(), again.previous(&names)), (3, vec![id("2"), id("3"), id("5")]));
        assert_eq!(again.images(&names), Ids::default());
    }

    #[test]
    fn a_record_of_other_data_is_none() {
        let names = Attributes::default();
        let mut copied = Record { triples: whole(&names, id("5"), vec![id("7")]), ..Record::on(10_046) };
        assert_eq!(copied.copied_from(&names), Some(10_045));
        let nothing = (None, None, Vec::new(), Vec::new());
        let say = |r: &Record| {
            (r.state(&names), r.version(&names), r.images(&names).named, r.filesets_before(&names))
        };
        assert_eq!(say(&copied), nothing);
        assert_eq!(copied.asked_again(&names, "x").len(), 2);
        // Beside one of its own too: which AVU is whose cannot be told.
        copied.triples.push(Triple::new(&names.version, "1:2 id=10046", ""));
        assert_eq!(say(&copied), nothing);
        copied.found_on = Some(10_045);
        copied.triples.pop();
        assert_eq!((copied.state(&names), copied.copied_from(&names)), (Some(State::Imported), None));
        // Old records do not say of which data they are.
        assert_eq!(of_old(&names).copied_from(&names), None);
    }

    #[test]
    fn a_member_names_its_fileset_only() {
        let names = Attributes::default();
        let imported = Imported {
            fileset: id("5"),
            images: vec![id("7")],
            plates: vec![],
            is_member: true,
            adopted: true,
            previous: vec![],
            version: None,
        };
        let details = Details { server: "omero", ..Details::default() };
        let triples = triples(&names, &Entry::Imported(imported), &details);
        assert!(triples.iter().any(|t| t.attribute == names.member_of && t.value == "5"));
        assert!(!triples.iter().any(|t| t.attribute == names.fileset || t.attribute == names.image));
    }

    #[test]
    fn of_an_import_that_nobody_noted_the_record_names_the_version_that_was_imported() {
        let names = Attributes::default();
        let (old, new) = (Version { modify_time: 1, size: 2 }, Version { modify_time: 3, size: 4 });
        let imported = Imported {
            fileset: id("5"),
            images: vec![id("7")],
            plates: vec![],
            is_member: false,
            adopted: true,
            previous: vec![],
            version: Some(old),
        };
        let proof = Proof::Checksum("sha2:x".to_owned());
        let details = Details { version: Some(new), proof: Some(&proof), ..Details::default() };
        let record =
            Record { found_on: None, triples: triples(&names, &Entry::Imported(imported), &details) };
        assert_eq!((record.version(&names), record.proof(&names)), (Some(old), None));
    }

    #[test]
    fn what_waits_says_when_it_is_tried_next_and_since_when() {
        let names = Attributes::default();
        let retry = Some(Retry { next: 200, since: 100 });
        let details = Details { attempts: 3, retry, ..Details::default() };
        let pending =
            Record { found_on: None, triples: triples(&names, &Entry::Pending("down".to_owned()), &details) };
        assert_eq!((pending.retry(&names), pending.reason(&names)), (retry, Some("down")));
        let failed = Record {
            found_on: None,
            triples: triples(&names, &Entry::Failed(Cause::Bytes, "no".to_owned()), &details),
        };
        assert_eq!(failed.retry(&names), None);
    }

    #[test]
    fn what_is_asked_for_again_starts_anew_and_remembers_what_is_in_omero() {
        let names = Attributes::default();
        let version = Version { modify_time: 1, size: 2 };
        let retry = Some(Retry { next: 200, since: 100 });
        let details =
            Details { attempts: 3, version: Some(version), retry, server: "o", ..Details::default() };
        let waits =
            Record { found_on: None, triples: triples(&names, &Entry::Pending("down".to_owned()), &details) };
        let again = Record { found_on: None, triples: waits.asked_again(&names, "alice asked") };
        assert_eq!((again.state(&names), again.attempts(&names)), (Some(State::Pending), 0));
        assert_eq!((again.retry(&names), again.version(&names)), (None, Some(version)));
        let late = Record {
            found_on: None,
            triples: triples(&names, &Entry::Late(vec![id("5"), id("6")]), &details),
        };
        let again = Record { found_on: None, triples: late.asked_again(&names, "alice asked") };
        assert_eq!((again.fileset(&names), again.previous(&names)), (None, vec![id("5"), id("6")]));
        assert!(again.triples.iter().any(|t| t.value == "1:2 previous=5-6"), "{again:?}");
    }

    #[test]
    fn what_is_left_alone_says_who_asked_and_keeps_what_names_images() {
        let names = Attributes::default();
        let by = IrodsUser::parse("alice#z").unwrap();
        let details = Details { server: "o", ..Details::default() };
        let late = Record { found_on: None, triples: triples(&names, &Entry::Late(vec![id("5")]), &details) };
        let alone = Record { found_on: None, triples: late.left_alone(&names, &by, "out of focus") };
        assert_eq!((alone.state(&names), alone.ignored_by(&names)), (Some(State::Skipped), Some("alice#z")));
        assert_eq!(alone.reason(&names), Some("ignored by alice#z: out of focus"));
        assert_eq!(alone.fileset(&names), Some(id("5")));
        let twice = Record { found_on: None, triples: alone.left_alone(&names, &by, "still") };
        assert_eq!(twice.triples.len(), alone.triples.len());
        let again = Record { found_on: None, triples: alone.asked_again(&names, "") };
        assert_eq!(again.ignored_by(&names), None);
    }

    #[test]
    fn only_what_is_being_imported_names_its_job() {
        let names = Attributes::default();
        let job = Some(JobName { key: "k", agent: "a1" });
        let details = Details { job, ..Details::default() };
        let importing = Record { found_on: None, triples: triples(&names, &Entry::Importing, &details) };
        assert_eq!(importing.job(&names), job);
        let pending =
            Record { found_on: None, triples: triples(&names, &Entry::Pending("x".to_owned()), &details) };
        assert_eq!(pending.job(&names), None);
    }

    #[test]
    fn what_is_not_imported_yet_says_where_the_rest_of_its_set_lies() {
        let names = Attributes::default();
        let collection = CollectionId::parse("10023").unwrap();
        let awaits = [Awaited { collection, claims: true }, Awaited { collection, claims: false }];
        let details = Details { awaits: &awaits, ..Details::default() };
        for entry in [Entry::Pending("x".to_owned()), Entry::Importing] {
            let record = Record { found_on: None, triples: triples(&names, &entry, &details) };
            assert_eq!(record.awaits(&names), BTreeSet::from(awaits));
            assert!(record.triples.iter().any(|t| t.value == Awaited::claimed(collection)));
        }
        let failed = Record {
            found_on: None,
            triples: triples(&names, &Entry::Failed(Cause::Set, "x".to_owned()), &details),
        };
        assert_eq!(failed.awaits(&names), BTreeSet::new());
        assert_eq!(Awaited::parse("write 10023"), None);
    }

    #[test]
    fn a_reason_is_one_line_that_fits() {
        assert_eq!(sentence("a\nb"), "a b");
        assert_eq!(sentence(""), "no reason was given");
        let long = sentence(&"ä".repeat(5_000));
        assert!(long.len() <= MAX_VALUE_BYTES + '…'.len_utf8());
    }

    #[test]
    fn what_failed_says_what_for_in_a_word_that_reads_back() {
        let names = Attributes::default();
        let read =
            |entry: &Entry| Record { found_on: None, triples: triples(&names, entry, &Details::default()) };
        for cause in Cause::ALL {
            assert_eq!(Cause::parse(cause.as_str()), Some(cause));
            let why = || "why".to_owned();
            for entry in
                [Entry::Failed(cause, why()), Entry::Skipped(cause, why()), Entry::Stale(cause, why())]
            {
                assert_eq!(read(&entry).cause(&names), Some(cause), "{entry:?}");
            }
        }
        for old in ["", "x", "7"] {
            assert_eq!(Cause::parse(old), None, "{old}");
        }
        let long = format!("Dataset:name:{}", "x".repeat(500));
        let refused = read(&Entry::Refused { target: long.clone(), reason: "no".to_owned() });
        assert_eq!(refused.cause(&names), Some(Cause::Target));
        assert!(refused.refused_target(&names, &long) && !refused.refused_target(&names, "Dataset:id:1"));
        assert!(refused.triples.iter().all(|t| t.units.len() <= 250), "longer than the column");
        assert!(!read(&Entry::Failed(Cause::Target, "no".to_owned())).refused_target(&names, &long));
    }

    #[test]
    fn every_state_has_its_own_word() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
        assert_eq!(State::parse("done"), None);
    }

    #[test]
    fn proofs_read_back_and_find_the_replica_with_the_same_bytes() {
        let collection = |id: &str| CollectionId::parse(id).unwrap();
        let recorded = |number| Proof::Replica { number, collection: collection("7"), path: None };
        let lying = |path: &str| Proof::Replica {
            number: 0,
            collection: collection("7"),
            path: Some(Print::of(path.as_bytes())),
        };
        for proof in [Proof::Checksum("sha2:x".to_owned()), recorded(3), lying("/v/a.tif")] {
            assert_eq!(Proof::parse(&proof.to_string()), Some(proof));
        }
        for nothing in ["", "replica x", "replica 1", "replica 1 in x", "replica 1 in 7 as x"] {
            assert_eq!(Proof::parse(nothing), None, "{nothing}");
        }
        let replica = |number, size, status, checksum: Option<&str>| Replica {
            data_id: DataId::parse("1").unwrap(),
            collection: collection("7"),
            name: b"a.tif".to_vec(),
            number,
            status,
            size,
            modify_time: 1,
            fault: None,
            physical_path: b"/v/a.tif".to_vec(),
            hierarchy: "r".to_owned(),
            checksum: checksum.map(str::to_owned),
            owner_name: "alice".to_owned(),
            owner_zone: "z".to_owned(),
        };
        let good = |number, checksum| replica(number, 42, ReplicaStatus::Good, checksum);
        let found = |proof: &Proof, replicas: &[Replica]| proof.find(42, replicas).map(|r| r.number);
        let sum = Proof::Checksum("sha2:x".to_owned());
        assert_eq!(found(&sum, &[good(0, None), good(1, Some("sha2:x"))]), Some(1));
        assert_eq!(found(&sum, &[good(0, Some("sha2:y"))]), None);
        assert_eq!(found(&recorded(0), &[good(1, None)]), Some(1));
        // It is there still, with other bytes: whole, or out of date.
        assert_eq!(found(&recorded(0), &[good(0, None), good(1, None)]), None);
        assert_eq!(found(&recorded(0), &[replica(0, 42, ReplicaStatus::Stale, None), good(1, None)]), None);
        assert_eq!(found(&recorded(0), &[replica(1, 43, ReplicaStatus::Good, None)]), None);
        assert_eq!(found(&recorded(0), &[replica(1, 42, ReplicaStatus::Intermediate, None)]), None);
        let moved = Replica { collection: collection("8"), ..good(0, None) };
        assert_eq!(found(&recorded(0), &[moved]), Some(0));
        // It has another name in the same collection; overwritten it lies where it lay.
        assert_eq!(found(&lying("/v/old.tif"), &[good(0, None)]), Some(0));
        assert_eq!(found(&lying("/v/a.tif"), &[good(0, None)]), None);
    }

    #[test]
    fn a_record_says_where_the_link_leads_and_what_keeps_it_from_being_followed() {
        let names = Attributes::default();
        let (version, later) = (Version { modify_time: 1, size: 2 }, Version { modify_time: 9, size: 2 });
        let [old, new] = ["/v/a.tif", "/v/b.tif"].map(|path| Print::of(path.as_bytes()));
        let proof = Proof::Checksum("sha2:x".to_owned());
        let details =
            Details { version: Some(version), proof: Some(&proof), place: Some(old), ..Details::default() };
        let fileset = Imported {
            fileset: id("5"),
            images: vec![id("7")],
            plates: vec![],
            is_member: false,
            adopted: false,
            previous: vec![],
            version: None,
        };
        let record = Record { triples: triples(&names, &Entry::Imported(fileset), &details), found_on: None };
        assert_eq!((record.place(&names), record.proof(&names)), (Some(old), Some(proof.clone())));
        let retry = Retry { next: 20, since: 10 };
        let stuck = Record {
            triples: record.not_followed(&names, "no room", Some(new), Some(retry)),
            found_on: None,
        };
        assert_eq!((stuck.not_followed_to(&names), record.not_followed_to(&names)), (Some(new), None));
        assert_eq!((stuck.reason(&names), stuck.cause(&names)), (Some("no room"), Some(Cause::Place)));
        assert_eq!((stuck.state(&names), stuck.retry(&names)), (Some(State::Imported), Some(retry)));
        assert_eq!(stuck.place(&names), Some(old), "the link leads where it led");
        let twice = Record {
            triples: stuck.not_followed(&names, "still no room", None, Some(retry)),
            found_on: None,
        };
        assert_eq!(twice.triples.len(), stuck.triples.len());
        let followed =
            Record { triples: twice.followed(&names, later, Some(&proof), None, new), found_on: None };
        assert_eq!((followed.place(&names), followed.version(&names)), (Some(new), Some(later)));
        assert_eq!((followed.reason(&names), followed.retry(&names)), (None, None));
        assert_eq!(followed.fileset(&names), Some(id("5")));
        assert_eq!(followed.images(&names).named, [id("7")]);
        let confirmed = Record { triples: stuck.confirmed(&names, later, Some(&proof)), found_on: None };
        assert_eq!((confirmed.reason(&names), confirmed.place(&names)), (Some("no room"), Some(old)));
        for bad in ["", "0123", "0123456789ABCDEF", "+123456789abcdef"] {
            assert_eq!(Print::parse(bad), None, "{bad}");
        }
    }
}
