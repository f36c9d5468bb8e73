//! What is to be done about a data object, or a directory that is one image: one pure function of facts.
//!
//! Everybody asks it: the sweep, `explain`, `retry`, `ignore`, `verify`, and whoever lets data go that is no longer
//! watched. [`decide`] needs only what the catalog says of the data; [`settle`] is asked of data that is wanted, and names
//! the one question to the catalog that it needs next. Both are tables: the first row that fits counts. Neither knows who
//! asks, so nothing depends on that.

use crate::attributes::Attributes;
use crate::catalog::{Replica, ReplicaStatus};
use crate::clock::UnixTime;
use crate::names::OmeroId;
use crate::record::{Cause, Particulars, Print, Proof, Record, Retry, State, Triple, Version};
use crate::watch::OnOverwrite;

/// What a record says of its data, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// There is no record, or none that can be read.
    New,
    /// It waits; the next try is not before then.
    Pending(Option<UnixTime>),
    /// An import was begun here. Whoever reads this holds the collection, so the one who began it has died.
    Importing,
    /// An agent imports it.
    AtAgent,
    /// Its images are in OMERO.
    Imported,
    /// It cannot be imported; records of old versions do not say why in a word.
    Failed(Option<Cause>),
    /// It was left alone until something is there that is missing.
    Skipped,
    /// Its images are those of other bytes, or do not show it.
    Stale(Option<Cause>),
    /// It went before its import.
    Gone,
}

/// What the replicas say, as against the version that the record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bytes {
    /// A good replica is of the recorded version.
    Recorded,
    /// A good replica has the bytes of the recorded version and another time.
    SameBytes,
    /// The good replicas have other bytes.
    Other,
    /// There are good replicas, and no version is recorded.
    Unrecorded,
    /// The good replicas have no bytes.
    Empty,
    /// The catalog's row of a good replica cannot be read.
    Unreadable,
    /// No replica is good.
    NoGood,
}

/// Whether the data is to be imported, as tags and configuration say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// It is.
    Yes,
    /// The tags that say so contradict each other, or cannot be understood.
    Unclear,
    /// It is not, or no longer.
    No,
}

/// Whether the data is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quiet {
    /// It is.
    Settled,
    /// It or its collection changes.
    Unsettled,
    /// It has been quiet for long; its collection changes, and its files may belong together.
    InSet,
    /// Its modify time is ahead of our clock and tells nothing.
    Ahead,
}

/// What somebody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// That it is tried again.
    TryAgain,
    /// That it is left alone.
    LeaveAlone,
}

/// All that a decision depends on, beside the rules and the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// What its record says.
    pub standing: Standing,
    /// Whether somebody asked earlier that it is left alone.
    pub ignored: bool,
    /// What its replicas say.
    pub bytes: Bytes,
    /// Whether a replica is being written.
    pub written: bool,
    /// Whether it is to be imported.
    pub watched: Watched,
    /// Whether its fileset is imported anew because another file of it has changed.
    pub renewed: bool,
    /// Whether it is complete.
    pub quiet: Quiet,
    /// What somebody asks for now.
    pub wish: Option<Wish>,
}

impl Facts {
    /// Of a record alone: the rest is as if it were watched data that is complete. `agents`: whether there are any.
    pub fn of_record(recorded: &Recorded, agents: bool) -> Self {
        Self {
            standing: recorded.standing(agents),
            ignored: recorded.is_ignored,
            bytes: Bytes::Unrecorded,
            written: false,
            watched: Watched::Yes,
            renewed: false,
            quiet: Quiet::Settled,
            wish: None,
        }
    }

    /// The same of a record and of the replicas it is about.
    pub fn of(recorded: &Recorded, replicas: Replicas, agents: bool) -> Self {
        let bytes = replicas.bytes(Some(recorded));
        Self { bytes, written: replicas.written, ..Self::of_record(recorded, agents) }
    }
}

/// Why nothing is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// There is no record of it.
    NoRecord,
    /// It has no bytes yet.
    Empty,
    /// Somebody asked that it is left alone.
    Ignored,
    /// Its import is at work.
    AtWork,
    /// What is in OMERO is what is in iRODS.
    InOmero,
    /// Its record says that its images are out of date.
    Stale,
    /// Its record says why it failed, and that has not changed.
    Failed,
    /// It is not watched.
    NotWatched,
}

impl Rest {
    /// The same in words.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::NoRecord => "it has no record yet: ask for its import",
            Self::Empty => "it is empty: it is looked at again when something is written into it",
            Self::Ignored => "somebody asked that it is left alone; a retry ends that",
            Self::AtWork => "its import is at work",
            Self::InOmero => "its images are in OMERO",
            Self::Stale => "its images are out of date, and its record says what to do",
            Self::Failed => {
                "no retry is planned: it is tried again when what it failed for changes, or when somebody asks with 'retry'"
            }
            Self::NotWatched => "it is not watched",
        }
    }
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// That a replica is written to its end.
    Written,
    /// The time of the next try.
    Until(UnixTime),
    /// That nothing changes any more.
    Quiet,
}

/// Why a record says what it is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The bytes are not those that were imported.
    Changed,
    /// There are no bytes.
    Empty,
    /// No replica is good.
    NoGood,
    /// The catalog's row cannot be read.
    Unreadable,
    /// The tags are no choice.
    Tag,
    /// The set may not be complete.
    Set,
    /// The modify time tells nothing.
    Ahead,
    /// It is no longer watched.
    Left,
    /// Its owner has no OMERO user.
    Mapping,
    /// OMERO cannot see it where it is.
    Place,
    /// The importer cannot take a file of that name.
    Name,
    /// The target cannot be told.
    Target,
}

impl Why {
    /// The word for it in a record, of what failed, was skipped or is stale; `None` for what waits or has gone.
    pub fn cause(self) -> Option<Cause> {
        Some(match self {
            Self::Changed | Self::Empty => Cause::Bytes,
            Self::NoGood | Self::Unreadable => Cause::Catalog,
            Self::Tag => Cause::Tag,
            Self::Mapping => Cause::Mapping,
            Self::Place => Cause::Place,
            Self::Name => Cause::Name,
            Self::Target => Cause::Target,
            Self::Set | Self::Ahead | Self::Left => return None,
        })
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing.
    Rest(Rest),
    /// Nothing now.
    Wait(Wait),
    /// The record is to say this.
    Say(State, Why),
    /// The record is to say that what is in OMERO is what is in iRODS.
    Confirm,
    /// It is to be imported, if [`settle`] finds that it can be. `anew`: over what is in OMERO already.
    Wanted {
        /// Whether OMERO has an earlier version of it.
        anew: bool,
    },
    /// The record is to begin anew.
    Reopen,
    /// The record is to say that it is left alone.
    LeaveAlone,
}

impl Decision {
    /// Whether anything is done now.
    pub fn acts(self) -> bool {
        match self {
            Self::Rest(_) | Self::Wait(_) => false,
            Self::Say(..) | Self::Confirm | Self::Wanted { .. } | Self::Reopen | Self::LeaveAlone => true,
        }
    }
}

/// The decision. The first row that fits counts.
#[rustfmt::skip] // a table
pub fn decide(facts: &Facts, on_overwrite: OnOverwrite, now: UnixTime) -> Decision {
    use Bytes::{Empty, NoGood, Other, Recorded, SameBytes, Unreadable, Unrecorded};
    use Decision::{Confirm, LeaveAlone, Reopen, Say, Wait, Wanted};
    use Standing::{AtAgent, Failed, Gone, Imported, Importing, New, Pending, Skipped, Stale};
    let Facts { standing, ignored, bytes, written, watched, renewed, quiet, wish } = *facts;
    let rest = Decision::Rest;
    let reports = on_overwrite == OnOverwrite::Report;
    match (standing, bytes) {
        // Somebody asks. What is in OMERO, or on its way there, stays as it is.
        (Imported, _)                          if wish.is_some()                  => rest(Rest::InOmero),
        (Importing | AtAgent, _)               if wish.is_some()                  => rest(Rest::AtWork),
        (_, _)                                 if wish == Some(Wish::LeaveAlone)  => LeaveAlone,
        (New, _)                               if wish == Some(Wish::TryAgain)    => rest(Rest::NoRecord),
        (_, _)                                 if wish == Some(Wish::TryAgain)    => Reopen,
        // Others have it, or nobody is to have it.
        (_, _)                                 if ignored                         => rest(Rest::Ignored),
        (AtAgent, _)                                                              => rest(Rest::AtWork),
        (Pending(_) | Importing | Failed(_) | Skipped, _)
                                               if watched == Watched::No          => Say(State::Gone, Why::Left),
        (_, _)                                 if watched == Watched::No          => rest(Rest::NotWatched),
        // The record is about these bytes.
        (Stale(Some(Cause::Bytes | Cause::Catalog)), Recorded)
                                               if !renewed                        => Confirm,
        (Imported, Recorded | Unrecorded)      if !renewed                        => rest(Rest::InOmero),
        (Stale(_), Recorded | Unrecorded)      if !renewed                        => rest(Rest::Stale),
        (Failed(None | Some(Cause::Bytes | Cause::Set | Cause::Ours)), Recorded | Unrecorded)
                                                                                  => rest(Rest::Failed),
        // It is not complete, or its time has not come.
        (New, Empty)                                                              => rest(Rest::Empty),
        (_, _)                                 if written                         => Wait(self::Wait::Written),
        (Pending(Some(next)), Recorded)        if next > now                      => Wait(self::Wait::Until(next)),
        (_, _)                                 if quiet == Quiet::Unsettled       => Wait(self::Wait::Quiet),
        // What is in OMERO is told of before anything else.
        (Imported, SameBytes)                  if !renewed                        => Confirm,
        (Imported | Stale(_), NoGood)                                             => Say(State::Stale, Why::NoGood),
        (Imported | Stale(_), Unreadable)                                         => Say(State::Stale, Why::Unreadable),
        (Imported | Stale(_), Empty)                                              => Say(State::Stale, Why::Empty),
        (Imported | Stale(_), Other | SameBytes)
                                               if reports && !renewed             => Say(State::Stale, Why::Changed),
        // What stands in the way of an import.
        (_, _)                                 if watched == Watched::Unclear     => Say(State::Skipped, Why::Tag),
        (_, _)                                 if quiet == Quiet::InSet           => Say(State::Pending, Why::Set),
        // Of what is recorded we have seen before that it stayed so.
        (_, SameBytes | Other | Unrecorded)    if quiet == Quiet::Ahead           => Say(State::Pending, Why::Ahead),
        (_, NoGood)                                                               => Say(State::Failed, Why::NoGood),
        (_, Unreadable)                                                           => Say(State::Failed, Why::Unreadable),
        (_, Empty)                                                                => Say(State::Failed, Why::Empty),
        // Nothing does.
        (Imported | Stale(_), Recorded | SameBytes | Other | Unrecorded)          => Wanted { anew: true },
        (New | Pending(_) | Importing | Failed(_) | Skipped | Gone, Recorded | SameBytes | Other | Unrecorded)
                                                                                  => Wanted { anew: false },
    }
}

/// Which filesets are imported anew as a whole because of one file: Bio-Formats makes images of all their files
/// together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renews {
    /// None.
    Nothing,
    /// That of its images, because its bytes have changed.
    Fileset,
    /// Those of the version before: its own import anew was begun, and is still to be done.
    Previous,
}

/// Whether a file has its fileset imported anew.
#[rustfmt::skip] // a table
pub fn renews(facts: &Facts, on_overwrite: OnOverwrite) -> Renews {
    match (facts.standing, facts.bytes) {
        (_, _)                                         if facts.ignored                            => Renews::Nothing,
        (Standing::Imported | Standing::Stale(_), Bytes::Other)
                                                       if on_overwrite == OnOverwrite::Reimport    => Renews::Fileset,
        (Standing::Pending(_) | Standing::Importing, _)                                            => Renews::Previous,
        (Standing::New | Standing::AtAgent | Standing::Imported | Standing::Stale(_) | Standing::Failed(_)
            | Standing::Skipped | Standing::Gone, _)                                               => Renews::Nothing,
    }
}

/// Whether the owner has an OMERO user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapped {
    /// Yes.
    Yes,
    /// No.
    No,
    /// That cannot be told for now.
    NotNow,
}

/// Whether OMERO sees the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Yes.
    Visible,
    /// Not where it is, but a copy could be made where it does.
    AfterCopy,
    /// Yes, under a path that the importer cannot take.
    BadName,
    /// No.
    Nowhere,
}

/// Whether it can be told where the images go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// Yes.
    Known,
    /// OMERO refused this very target for this data before.
    RefusedBefore,
    /// No.
    Unknown,
}

/// What the catalog has to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Who the owner is in OMERO.
    Mapping,
    /// Where the images go.
    Target,
}

/// What [`settle`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// This has to be known first.
    Ask(Question),
    /// Nothing is done.
    Rest(Rest),
    /// The record is to say this.
    Say(State, Why),
    /// It is tried again later.
    Postpone,
    /// It is to be copied first.
    Copy,
    /// It is to be imported.
    Import,
}

/// What becomes of data that is wanted. What is `None` has not been asked yet.
#[rustfmt::skip] // a table
pub fn settle(mapped: Option<Mapped>, sight: Sight, aim: Option<Aim>) -> Settlement {
    use Settlement::{Ask, Say};
    match (mapped, sight, aim) {
        (None,                 _,                _)                         => Ask(Question::Mapping),
        (Some(Mapped::NotNow), _,                _)                         => Settlement::Postpone,
        (Some(Mapped::No),     _,                _)                         => Say(State::Skipped, Why::Mapping),
        (Some(Mapped::Yes),    Sight::Nowhere,   _)                         => Say(State::Skipped, Why::Place),
        (Some(Mapped::Yes),    Sight::BadName,   _)                         => Say(State::Failed, Why::Name),
        (Some(Mapped::Yes),    _,                None)                      => Ask(Question::Target),
        (Some(Mapped::Yes),    _,                Some(Aim::Unknown))        => Say(State::Failed, Why::Target),
        (Some(Mapped::Yes),    _,                Some(Aim::RefusedBefore))  => Settlement::Rest(Rest::Failed),
        (Some(Mapped::Yes),    Sight::AfterCopy, Some(Aim::Known))          => Settlement::Copy,
        (Some(Mapped::Yes),    Sight::Visible,   Some(Aim::Known))          => Settlement::Import,
    }
}

/// What a record says, in short: a collection may hold a hundred thousand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The state.
    pub state: Option<State>,
    /// How often the import was tried.
    pub attempts: u32,
    /// The version that the state is about.
    pub version: Option<Version>,
    /// What proves it.
    pub proof: Option<Proof>,
    /// Where OMERO's link leads.
    pub place: Option<Print>,
    /// Why it failed.
    pub cause: Option<Cause>,
    /// When it is tried next.
    pub retry: Option<Retry>,
    /// The fileset it belongs to.
    pub fileset: Option<OmeroId>,
    /// Whether it is one of the other files of that.
    pub is_member: bool,
    /// The newest fileset of versions before.
    pub previous: Option<OmeroId>,
    /// Whether somebody asked that it is left alone.
    pub is_ignored: bool,
    /// Whether it names a job of an agent.
    pub has_job: bool,
    /// The catalog's number of the data object or collection that it is about, where it says so; 0 where it says several.
    pub subject: Option<u64>,
}

impl Recorded {
    /// The attributes that are read.
    pub fn attributes(names: &Attributes) -> [&str; 9] {
        let Attributes { state, version, retry, fileset, member_of, previous, ignored, reason, job, .. } =
            names;
        [state, version, retry, fileset, member_of, previous, ignored, reason, job].map(String::as_str)
    }

    /// From a whole record.
    pub fn of(names: &Attributes, record: &Record) -> Self {
        let mut recorded = Self::default();
        for triple in record.own(names) {
            recorded.add(names, triple);
        }
        recorded
    }

    /// Whether it is a record of what has that number in the catalog, and not one that was copied there.
    pub fn is_of(&self, number: u64) -> bool {
        self.subject.is_none_or(|subject| subject == number)
    }

    /// Takes in one AVU.
    pub fn add(&mut self, names: &Attributes, triple: &Triple) {
        let id = || OmeroId::parse(&triple.value).ok();
        let attribute = triple.attribute.as_str();
        if attribute == names.state {
            self.state = State::parse(&triple.value);
            self.attempts = triple.units.parse().unwrap_or(0);
        } else if attribute == names.version {
            self.version = Version::parse(&triple.value);
            self.proof = Proof::parse(&triple.units);
            self.previous = self.previous.max(Particulars::newest_before(&triple.value));
            let subject = Particulars::subject_of(&triple.value);
            self.subject = match (self.subject, subject) {
                (Some(one), Some(other)) if one != other => Some(0),
                (one, other) => one.or(other),
            };
            self.place = Particulars::link_of(&triple.value);
        } else if attribute == names.reason {
            self.cause = Cause::parse(&triple.units);
        } else if attribute == names.retry {
            self.retry = Retry::of(triple);
        } else if attribute == names.fileset {
            self.fileset = id().or(self.fileset);
        } else if attribute == names.member_of {
            self.fileset = self.fileset.or_else(id);
            self.is_member = true;
        } else if attribute == names.previous {
            self.previous = self.previous.max(id());
        } else if attribute == names.ignored {
            self.is_ignored = true;
        } else if attribute == names.job {
            self.has_job = true;
        }
    }

    /// The same as a fact. `agents`: whether there are agents, without whom nobody has a job.
    pub fn standing(&self, agents: bool) -> Standing {
        match self.state {
            None => Standing::New,
            Some(State::Pending) => Standing::Pending(self.retry.map(|r| r.next)),
            Some(State::Importing) if agents && self.has_job => Standing::AtAgent,
            Some(State::Importing) => Standing::Importing,
            Some(State::Imported) => Standing::Imported,
            Some(State::Failed) => Standing::Failed(self.cause),
            Some(State::Skipped) => Standing::Skipped,
            Some(State::Stale) => Standing::Stale(self.cause),
            Some(State::Gone) => Standing::Gone,
        }
    }

    /// The replica that has the bytes of the recorded version, whatever its time, of all those of the data object.
    pub fn find<'r>(&self, replicas: &'r [Replica]) -> Option<&'r Replica> {
        self.proof.as_ref()?.find(self.version?.size, replicas)
    }

    /// Whether it waits because the modify time of the data is ahead of our clock, and was not tried yet.
    pub fn waits_for_clock(&self) -> Option<Retry> {
        self.retry.filter(|_| self.state == Some(State::Pending) && self.attempts == 0)
    }
}

/// The replicas of one data object, in short, as they are read one after the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // each is seen for itself, none excludes another
pub struct Replicas {
    /// Whether one is being written.
    pub written: bool,
    good: bool,
    unreadable: bool,
    has_bytes: bool,
    /// A good one is of the recorded version.
    same: bool,
    /// A good one has the size of the recorded version, and its checksum if that is known.
    alike: bool,
    /// The one that the record is about is there, however it is.
    has_recorded: bool,
}

impl Replicas {
    /// All those of one data object.
    pub fn of(recorded: &Recorded, replicas: &[Replica]) -> Self {
        let mut all = Self::default();
        for replica in replicas {
            all.add(replica, Some(recorded));
        }
        all
    }

    /// Takes in one of them.
    pub fn add(&mut self, replica: &Replica, recorded: Option<&Recorded>) {
        let proof = recorded.and_then(|r| r.proof.as_ref());
        self.has_recorded |= proof.is_some_and(|p| p.is_in(replica));
        self.written |= matches!(replica.status, ReplicaStatus::Intermediate | ReplicaStatus::Locked);
        if replica.status != ReplicaStatus::Good {
            return;
        }
        if replica.fault.is_some() {
            self.unreadable = true;
            return;
        }
        self.good = true;
        self.has_bytes |= replica.size > 0;
        let version = Version { modify_time: replica.modify_time, size: replica.size };
        let known = recorded.and_then(|r| r.version);
        self.same |= known == Some(version);
        let is_proved = match proof {
            Some(Proof::Checksum(checksum)) => replica.checksum.as_ref() == Some(checksum),
            Some(Proof::Replica { .. }) => true,
            None => false,
        };
        self.alike |= is_proved && known.is_some_and(|v| v.size == version.size);
    }

    /// What they say. `recorded`: of the same record as before.
    pub fn bytes(self, recorded: Option<&Recorded>) -> Bytes {
        match self {
            Self { good: false, unreadable: true, .. } => Bytes::Unreadable,
            Self { good: false, unreadable: false, .. } => Bytes::NoGood,
            Self { has_bytes: false, .. } => Bytes::Empty,
            _ if recorded.and_then(|r| r.version).is_none() => Bytes::Unrecorded,
            Self { same: true, .. } => Bytes::Recorded,
            // See `Proof::find`.
            Self { alike: true, has_recorded: false, .. } => Bytes::SameBytes,
            _ => Bytes::Other,
        }
    }
}

#[cfg(test)]
mod tests;
