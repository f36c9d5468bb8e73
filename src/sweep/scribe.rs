//! Writes records: what is said of a data object or directory, and when it is looked at again.

use super::members::Sought;
use super::{Report, Sweeper};
use crate::catalog::{CatalogError, Kind, UnixTime, Which};
use irods_omero_importer::wire::Job;
use irods_omero_importer::{FileOutcome, Subject};
use irods_omero_model::decide::Recorded;
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::{LogicalPath, OmeroId};
use irods_omero_model::record::{
    self, Awaited, Cause, Details, Entry, JobName, Print, Proof, Record, Retry, Triple, Version, Whereabouts,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// The longest wait between two tries while OMERO is away.
const LONGEST_RETRY: Duration = Duration::from_secs(3_600);

/// What a record needs beside its entry.
pub(super) struct About {
    pub subject: Subject,
    pub path: LogicalPath,
    /// What the record says now.
    pub record: Record,
    pub version: Version,
    pub proof: Option<Proof>,
    pub whereabouts: Option<Whereabouts>,
    /// The path under which the importer sees it, where that is known.
    pub place: Option<Print>,
    pub attempts: u32,
    /// Since when the import is tried.
    pub since: UnixTime,
    /// By which source, and for whom, it was decided as whom it is imported; `None` where there is no import.
    pub mapped_by: Option<Triple>,
    pub previous: Vec<OmeroId>,
}

/// Writes records, and counts them.
pub(super) struct Scribe<'a> {
    sweeper: &'a Sweeper<'a>,
    /// Name of the OMERO server, the units of its ids.
    server: &'a str,
    pub report: &'a mut Report,
}

impl<'a> Scribe<'a> {
    pub fn new(sweeper: &'a Sweeper<'a>, server: &'a str, report: &'a mut Report) -> Self {
        Self { sweeper, server, report }
    }

    /// Writes an entry.
    pub fn say(
        &mut self,
        this: &About,
        entry: &Entry,
        who: Option<&OmeroIdentity>,
    ) -> Result<(), CatalogError> {
        self.write(this, entry, &Details { who, ..Details::default() }).map(drop)
    }

    /// Writes that the import begins, and gives what the record says now.
    pub fn begin(
        &mut self,
        this: &About,
        who: &OmeroIdentity,
        job: Option<JobName<'_>>,
    ) -> Result<Vec<Triple>, CatalogError> {
        let retry = Some(Retry { next: self.sweeper.clock.now(), since: this.since });
        self.write(this, &Entry::Importing, &Details { who: Some(who), retry, job, ..Details::default() })
    }

    /// Writes why an agent's job waits. What the record says already is written again only when the wait has lasted
    /// twice as long as it says: an agent tries every half hour, for weeks.
    pub fn wait(
        &mut self,
        this: &About,
        waits: &Job,
        who: Option<&OmeroIdentity>,
        job: JobName<'_>,
    ) -> Result<(), CatalogError> {
        let (names, now) = (&self.sweeper.config.attributes, self.sweeper.clock.now());
        let why = waits.reason.as_deref().unwrap_or_default();
        let is_said = this.record.reason(names).is_some_and(|said| said.starts_with(&record::sentence(why)));
        let said_for = this.record.retry(names).map_or(0, |r| r.next.saturating_sub(r.since));
        if is_said && now.saturating_sub(this.since) < said_for.saturating_mul(2) {
            return Ok(());
        }
        let tried = match waits.attempts {
            0 => "not yet tried".to_owned(),
            1 => "tried once".to_owned(),
            times => format!("tried {times} times"),
        };
        let reason = format!("{why} ({tried} by the agent '{}')", job.agent);
        let retry = Some(Retry { next: waits.next.unwrap_or(now), since: this.since });
        let details = Details { who, retry, job: Some(job), ..Details::default() };
        self.write(this, &Entry::Waiting(reason), &details).map(drop)
    }

    /// Writes that an agent's job waits no more.
    pub fn resume(
        &mut self,
        this: &About,
        who: Option<&OmeroIdentity>,
        job: JobName<'_>,
    ) -> Result<(), CatalogError> {
        let names = &self.sweeper.config.attributes;
        if this.record.reason(names).is_none() {
            return Ok(());
        }
        let details = Details { who, retry: this.record.retry(names), job: Some(job), ..Details::default() };
        self.write(this, &Entry::Importing, &details).map(drop)
    }

    /// Writes what became of an import.
    pub fn settle(
        &mut self,
        this: &About,
        outcome: FileOutcome,
        who: Option<&OmeroIdentity>,
    ) -> Result<(), CatalogError> {
        match outcome {
            FileOutcome::Imported(what) => self.say(this, &Entry::Imported(what), who),
            FileOutcome::Failed(reason) => self.say(this, &Entry::Failed(Cause::Bytes, reason), who),
            FileOutcome::NoTarget { target, reason } => {
                self.say(this, &Entry::Refused { target, reason }, who)
            }
            FileOutcome::Joined(filesets) => self.say(this, &Entry::Late(filesets), who),
            FileOutcome::Unknown { reason, is_alone: true } if this.attempts >= UNKNOWN_TRIES => {
                let tries = this.attempts;
                let reason = format!(
                    "the OMERO importer failed over this file in {tries} tries, at last with no other beside it: {reason}"
                );
                self.say(this, &Entry::Failed(Cause::Ours, reason), who)
            }
            FileOutcome::Postponed(reason) | FileOutcome::Unknown { reason, .. } => {
                self.postpone(this, Cause::Ours, &reason, who)
            }
            FileOutcome::UsesUnknown { paths } => self.seek(this, &paths, who),
            FileOutcome::NotUsed => Ok(()),
        }
    }

    /// Looks for files that a set uses and the importer was not told of, and writes what is to become of the set.
    fn seek(
        &mut self,
        this: &About,
        paths: &[String],
        who: Option<&OmeroIdentity>,
    ) -> Result<(), CatalogError> {
        let config = self.sweeper.config;
        let known = this.record.awaits(&config.attributes);
        let first = paths.first().map_or("", String::as_str);
        match self.sweeper.look_for(this, paths)? {
            Sought::Refused(why) => self.say(this, &Entry::Failed(Cause::Set, why), who),
            Sought::There(awaits) if awaits.is_subset(&known) => {
                let why = format!(
                    "its set uses the file {first}, but the file there is not, or not yet, the data object that iRODS has for \
                     it: if this stays, check the replica with 'ils -L'"
                );
                self.postpone(this, Cause::Ours, &why, who)
            }
            Sought::There(awaits) => {
                let why = format!("its set uses more files, such as {first}: it is imported with them");
                self.wait_for(this, &why, &awaits, Duration::from_secs(1), who)
            }
            Sought::Late(why, awaits) => {
                let waited = Duration::from_secs(self.sweeper.clock.now().saturating_sub(this.since));
                if waited >= config.max_wait {
                    let why = format!(
                        "{why}; it did not come within {}: put the file, then ask for a retry",
                        in_words(waited)
                    );
                    return self.say(this, &Entry::Failed(Cause::Set, why), who);
                }
                self.wait_for(this, &why, &awaits, config.retry_wait, who)
            }
        }
    }

    /// Writes that data waits to see whether it changes, and since when.
    pub fn wait_for_quiet(&mut self, this: &About, wait: Duration, why: String) -> Result<(), CatalogError> {
        let now = self.sweeper.clock.now();
        let before = Recorded::of(&self.sweeper.config.attributes, &this.record).waits_for_clock();
        let since = before.map_or(now, |retry| retry.since);
        let retry = Some(Retry { next: now.saturating_add(wait.as_secs()), since });
        self.write(this, &Entry::Pending(why), &Details { retry, ..Details::default() })?;
        self.report.again(wait);
        Ok(())
    }

    /// Writes that a set waits for other files, which lie in some collections.
    pub fn wait_for(
        &mut self,
        this: &About,
        why: &str,
        awaits: &BTreeSet<Awaited>,
        wait: Duration,
        who: Option<&OmeroIdentity>,
    ) -> Result<(), CatalogError> {
        let now = self.sweeper.clock.now();
        let retry = Some(Retry { next: now.saturating_add(wait.as_secs()), since: this.since });
        let awaits: Vec<Awaited> = awaits.iter().copied().collect();
        let details = Details { who, retry, awaits: &awaits, ..Details::default() };
        self.write(this, &Entry::Pending(why.to_owned()), &details)?;
        self.report.again(wait);
        Ok(())
    }

    /// Writes that an import could not be done for now and when it is tried again, or that it is given up. `cause`: what
    /// has to change before it is tried again then.
    pub fn postpone(
        &mut self,
        this: &About,
        cause: Cause,
        why: &str,
        who: Option<&OmeroIdentity>,
    ) -> Result<(), CatalogError> {
        let config = self.sweeper.config;
        let now = self.sweeper.clock.now();
        let age = Duration::from_secs(now.saturating_sub(this.since));
        if !config.retry_max_age.is_zero() && age >= config.retry_max_age && this.attempts > 1 {
            let reason = format!("given up after {} tries in {}: {why}", this.attempts, in_words(age));
            return self.say(this, &Entry::Failed(cause, reason), who);
        }
        let wait = retry_wait(config.retry_wait, this.attempts);
        let retry = Some(Retry { next: now.saturating_add(wait.as_secs()), since: this.since });
        self.write(this, &Entry::Pending(why.to_owned()), &Details { who, retry, ..Details::default() })?;
        self.report.again(wait);
        Ok(())
    }

    /// Writes a record and gives what it says now. A data object that is gone is no error.
    fn write(
        &mut self,
        this: &About,
        entry: &Entry,
        details: &Details<'_>,
    ) -> Result<Vec<Triple>, CatalogError> {
        let names = &self.sweeper.config.attributes;
        // What a set was found to use is known until it is imported or given up.
        let known: Vec<Awaited> = this.record.awaits(names).into_iter().collect();
        let awaits = if details.awaits.is_empty() { &known } else { details.awaits };
        let details = Details {
            awaits,
            attempts: this.attempts,
            version: Some(this.version),
            proof: this.proof.as_ref(),
            place: this.place.or_else(|| this.record.place(names)),
            server: self.server,
            previous: &this.previous,
            subject: Some(this.subject.number()),
            whereabouts: this.whereabouts,
            // By which source, and for whom: a service account's data is somebody else's.
            mapped_by: this.mapped_by.as_ref(),
            ..*details
        };
        let mut triples = record::triples(names, entry, &details);
        if matches!(entry, Entry::Stale(..)) {
            triples = this.record.outdated(names, &triples);
        }
        let is_final = matches!(entry, Entry::Imported(_) | Entry::Late(_));
        if self.replace(this, &triples)? || (is_final && self.follow(this, &triples)?) {
            self.report.count(entry);
        } else {
            log::info!("act=record path={} why=\"gone before its record\"", this.path);
            self.report.gone += 1;
        }
        Ok(triples)
    }

    /// Writes that what is in OMERO is this version too.
    pub fn touch(&mut self, this: &About) -> Result<(), CatalogError> {
        let names = &self.sweeper.config.attributes;
        let triples = this.record.confirmed(names, this.version, this.proof.as_ref());
        self.replace(this, &triples).map(drop)
    }

    /// Writes the record of images that are in OMERO on data that has been moved in the meantime; whether it is still
    /// anywhere.
    fn follow(&self, this: &About, triples: &[Triple]) -> Result<bool, CatalogError> {
        let (catalog, names) = (self.sweeper.catalog, &self.sweeper.config.attributes);
        let Subject::DataObject(id) = this.subject else { return Ok(false) };
        let Some((collection, path)) = catalog.object_path(id)? else { return Ok(false) };
        let mut there = Vec::new();
        catalog
            .object_avus(collection, Which::Between(id, id), &names.record(), &mut |_, t| there.push(t))?;
        log::info!("act=record path={path} why=\"moved from {} during its import\"", this.path);
        catalog.replace(Kind::DataObject, &path, &there, triples)?;
        // Its link leads to where it was: a sweep there follows.
        if let Some(parent) = path.parent() {
            self.sweeper.mark(&parent, Duration::from_secs(1))?;
        }
        Ok(true)
    }

    /// Whether what the record is about is still there.
    fn replace(&self, this: &About, triples: &[Triple]) -> Result<bool, CatalogError> {
        let kind = this.subject.kind();
        match self.sweeper.catalog.replace(kind, &this.path, &this.record.triples, triples) {
            Ok(()) => Ok(true),
            Err(CatalogError::Call { code, .. }) if NOT_THERE.contains(&code) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// How often an import is tried that fails without a cause that is known.
const UNKNOWN_TRIES: u32 = 4;

/// `OBJ_PATH_DOES_NOT_EXIST`, `CAT_UNKNOWN_FILE`, `CAT_INVALID_ARGUMENT`-like answers to a path that is gone:
/// the atomic call says "Entity does not exist" with -130000.
pub(super) const NOT_THERE: [i64; 4] = [-130_000, -358_000, -814_000, -817_000];

/// The wait before the next try: doubling with every attempt, an hour at most.
pub(super) fn retry_wait(first: Duration, attempts: u32) -> Duration {
    let factor = 1_u32 << attempts.saturating_sub(1).min(16);
    first.saturating_mul(factor).min(LONGEST_RETRY.max(first))
}

/// A length of time as a person says it.
fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    let (number, unit) = match seconds {
        0..=7_199 => (seconds / 60, "minutes"),
        7_200..=172_799 => (seconds / 3_600, "hours"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{number} {unit}")
}
