//! What agents have done is asked for and written down: one short job that repeats itself for as long as any record
//! names a job of an agent.
//!
//! The agents' feeds tell which jobs have ended since the last look; where each feed was left off is an AVU of ours on the
//! zone's collection, so that no text of a job is believed. A feed alone may miss something: an agent lost its file, a job of ours died on the way, the data was moved
//! meanwhile. So every `sweep_expiry`, and for as long as the end of a feed is not reached for the first time, the records that
//! name a job are looked through and their agents asked about each.

use super::lock::{Lock, Taken};
use super::plan::{self, Object};
use super::scribe::{About, Scribe};
use super::{Hold, PAGE, Report, Sweeper};
use crate::catalog::{CatalogError, UnixTime, Which};
use crate::due;
use irods_omero_importer::agents::{Agent, AgentError, Agents};
use irods_omero_importer::wire::{Job, JobState, Key};
use irods_omero_importer::{FileOutcome, Importing, Subject};
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::{CollectionId, DataId, IrodsUser, LogicalPath};
use irods_omero_model::record::{Cause, Entry, JobName, Record, State};
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// How many jobs are asked for at a time.
const JOBS: usize = 20;

/// How long a job has been running that does more than find out what it waits for, in seconds.
const AT_WORK: u64 = 300;

/// The most questions about changes to one agent in one run.
const MAX_QUESTIONS: usize = 100;

/// How far the agents' feeds are read, as it stands on the zone's collection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Bookmarks {
    /// By the agent's name.
    #[serde(default)]
    agents: BTreeMap<String, Bookmark>,
    /// When all records that name a job were last looked through.
    #[serde(default)]
    checked: UnixTime,
}

/// How far one feed is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Bookmark {
    cursor: u64,
    /// The end of the feed is still to be found. What stands before it ended long ago, or is found by its record.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_new: bool,
    /// Since when the agent does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    silent_since: Option<UnixTime>,
}

impl Bookmarks {
    /// From the value of an AVU. What cannot be read costs no more than a look at every record.
    fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// The value of the AVU that goes on from here.
    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What one look came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Collected {
    /// What was written.
    pub written: Report,
    /// Whether there is more to come.
    pub goes_on: bool,
}

/// What an agent is known to say about a job.
enum Standing {
    /// It has ended.
    Ended(Box<Job>),
    /// It is not there any more.
    Lost(String),
    /// It waits there for something that its reason names.
    Waits(Box<Job>),
    /// It has been at work for some time.
    Works,
    /// It is to be worked on, or cannot be told.
    Open,
}

impl Standing {
    fn of(job: Job, now: UnixTime) -> Self {
        match job.state {
            JobState::Done | JobState::Refused | JobState::Cancelled => Self::Ended(Box::new(job)),
            JobState::Waiting | JobState::Queued if job.reason.is_some() => Self::Waits(Box::new(job)),
            JobState::Running if job.started.is_some_and(|s| s.saturating_add(AT_WORK) <= now) => Self::Works,
            JobState::Waiting | JobState::Queued | JobState::Running => Self::Open,
        }
    }
}

/// A data object or directory whose record names a job.
struct Waiting {
    about: About,
    who: Option<OmeroIdentity>,
    /// When it was given to the agent, if the agent has told nothing of it yet.
    since: UnixTime,
    /// Whether iRODS has other bytes by now.
    has_changed: bool,
}

/// A collection with records that name jobs.
struct Place {
    id: CollectionId,
    path: LogicalPath,
    /// The data objects directly in it, by job.
    objects: BTreeMap<(String, String), Vec<DataId>>,
    /// The job that imports the collection itself, as one directory.
    itself: Option<(String, String)>,
}

impl Sweeper<'_> {
    /// Asks the agents what they have done since the last time, writes it down, and queues the next look. Two never
    /// overlap.
    ///
    /// # Errors
    /// The catalog failed. The next look is not queued then; `sweep_all` sees to it.
    pub fn collect(&self) -> Result<Collected, CatalogError> {
        let Some(Importing::ByAgents(agents)) = self.importing else {
            return self.take_back();
        };
        let (now, expiry) = (self.clock.now(), self.config.sweep_expiry);
        let lock = match Lock::take(self.catalog, due::COLLECT_LOCK, now, expiry)? {
            Taken::Ours(lock, _) => lock,
            Taken::Others(for_at_most) => {
                due::ensure_collect(self.catalog, now, for_at_most)?;
                return Ok(Collected { written: Report::default(), goes_on: true });
            }
        };
        let hold = Hold { lock: RefCell::new(lock), alive: Cell::new(now) };
        let collected = self.collect_from(agents, &hold);
        hold.lock.borrow().release(self.catalog)?;
        collected
    }

    /// Where the feeds were left off.
    fn bookmarks(&self) -> Result<Vec<String>, CatalogError> {
        self.catalog.marks_at(&self.catalog.zone()?, &self.config.attributes.collected)
    }

    /// Writes where the feeds are left off, if that has changed.
    fn keep(&self, before: &[String], marks: &Bookmarks) -> Result<(), CatalogError> {
        let (zone, attribute, text) = (self.catalog.zone()?, &self.config.attributes.collected, marks.text());
        if !before.contains(&text) {
            self.catalog.set_mark(&zone, attribute, &text)?;
        }
        before
            .iter()
            .filter(|mark| **mark != text)
            .try_for_each(|mark| self.catalog.remove_mark(&zone, attribute, mark))
    }

    fn collect_from(&self, agents: &Agents<'_>, hold: &Hold) -> Result<Collected, CatalogError> {
        let before = self.bookmarks()?;
        let marks = &before.first().map(|text| Bookmarks::read(text)).unwrap_or_default();
        let mut report = Report::default();
        let now = self.clock.now();
        let mut next = Bookmarks { agents: BTreeMap::new(), checked: marks.checked };
        let mut is_more = false;
        let mut check = marks.checked > now || now - marks.checked >= self.config.sweep_expiry.as_secs();
        for agent in agents.all() {
            let mut mark = marks.agents.get(agent.name()).copied().unwrap_or(Bookmark::NEW);
            check |= mark.is_new;
            // Of one that we come to anew we do not know for how long it was silent.
            let may_have_strays = mark.silent_since.is_some() || mark.is_new;
            let read = self.read_feed(agent, &mut mark, now, &mut report, hold)?;
            if may_have_strays && mark.silent_since.is_none() {
                self.cancel_strays(agent)?;
            }
            is_more |= read.is_more;
            check |= read.has_begun_anew || mark.was_given_up_since(agents, marks.checked, now);
            next.agents.insert(agent.name().to_owned(), mark);
        }
        if check && self.check(agents, &next, &mut report, hold)? {
            next.checked = now;
        }
        if !self.is_alive(hold)? {
            // Held up for so long that another is at it, which reads on from where the feeds were left off before.
            log::warn!("act=collect why=\"taken over by another\"");
            return Ok(Collected { written: report, goes_on: true });
        }
        let goes_on = self.is_any_with_an_agent()?;
        if goes_on {
            let wait = if is_more { Duration::from_secs(1) } else { self.collect_interval() };
            self.keep(&before, &next)?;
            due::ensure_collect(self.catalog, now, wait)?;
        } else {
            before.iter().try_for_each(|mark| {
                self.catalog.remove_mark(&self.catalog.zone()?, &self.config.attributes.collected, mark)
            })?;
        }
        if !report.is_empty() {
            log::info!("act=collect {report}");
        }
        self.ensure_recheck(&report)?;
        Ok(Collected { written: report, goes_on })
    }

    /// Where there are no agents any more: has looked at what they were given, in as many collections as there is room for in
    /// the queue. The next look goes on with the others: those are marked already by then, or their data is imported.
    fn take_back(&self) -> Result<Collected, CatalogError> {
        let now = self.clock.now();
        let mut room = self.limits().room(&self.catalog.jobs()?, now);
        let due = &self.config.attributes.due;
        for id in self.places()? {
            let Some(path) = self.catalog.collection_path(id)? else { continue };
            if self.catalog.marks_at(&path, due)?.iter().any(|mark| mark == due::NEW) {
                continue;
            }
            if room == 0 {
                due::ensure_collect(self.catalog, now, due::NEXT_LOOK_WHEN_FULL)?;
                return Ok(Collected { written: Report::default(), goes_on: true });
            }
            self.mark(&path, Duration::from_secs(1))?;
            room -= 1;
        }
        Ok(Collected::default())
    }

    /// Makes sure that what agents do is asked for.
    pub(super) fn ensure_collect(&self) -> Result<(), CatalogError> {
        due::ensure_collect(self.catalog, self.clock.now(), self.collect_interval())
    }

    fn collect_interval(&self) -> Duration {
        self.config.agents.as_ref().map_or(Duration::from_secs(10), |a| a.collect_interval)
    }

    /// Whether any record says that an agent is at work.
    pub(super) fn is_any_with_an_agent(&self) -> Result<bool, CatalogError> {
        if !matches!(self.importing, Some(Importing::ByAgents(_))) {
            return Ok(false);
        }
        let names = &self.config.attributes;
        Ok(self.catalog.is_borne(&names.state, State::Importing.as_str())?
            || !self.catalog.marked(&[&names.job])?.is_empty())
    }

    /// The collections that bear, or directly hold, what is being imported: all records that name a job, and at most
    /// some that a command of this host left so when it died.
    fn places(&self) -> Result<BTreeSet<CollectionId>, CatalogError> {
        let names = &self.config.attributes;
        let mut ids = self.catalog.collections_with(&names.state, State::Importing.as_str())?;
        ids.extend(self.catalog.marked(&[&names.job])?);
        Ok(ids)
    }

    /// Reads an agent's feed on and writes down what has ended.
    fn read_feed(
        &self,
        agent: &dyn Agent,
        mark: &mut Bookmark,
        now: UnixTime,
        report: &mut Report,
        hold: &Hold,
    ) -> Result<Read, CatalogError> {
        let mut read = Read::default();
        let mut limit = JOBS;
        for _ in 0..MAX_QUESTIONS {
            if !self.is_alive(hold)? {
                break;
            }
            let changes = match agent.changes(mark.cursor, limit) {
                Ok(changes) => changes,
                Err(AgentError::TooLong(_)) if limit > 1 => {
                    limit = (limit / 2).max(1);
                    continue;
                }
                Err(error @ AgentError::TooLong(_)) => {
                    log::error!("act=collect agent={} failed=\"{error}\"", agent.name());
                    return Ok(read);
                }
                Err(error) => {
                    log::warn!("act=collect agent={} failed=\"{error}\"", agent.name());
                    mark.silent_since = mark.silent_since.filter(|since| *since <= now).or(Some(now));
                    return Ok(read);
                }
            };
            mark.silent_since = None;
            let is_end = changes.jobs.is_empty();
            if changes.cursor < mark.cursor {
                read.has_begun_anew = true;
                mark.cursor = 0;
                continue;
            }
            for job in changes.jobs.into_iter().filter(|_| !mark.is_new) {
                self.take_in(agent, job, report)?;
            }
            mark.cursor = changes.cursor;
            // An agent may give fewer than it has, where they are long.
            if is_end {
                mark.is_new = false;
                return Ok(read);
            }
            if written(report) >= self.config.max_files_per_sweep {
                break;
            }
        }
        read.is_more = true;
        Ok(read)
    }

    /// Cancels what an agent that was silent has still to do and no record asks for any more: another agent does it, or
    /// has done it, and two would import it twice. What somebody else submitted, under a key of their own, is theirs.
    fn cancel_strays(&self, agent: &dyn Agent) -> Result<(), CatalogError> {
        let failed = |error| log::warn!("act=cancel agent={} failed=\"{error}\"", agent.name());
        // Records name a job before its agent has it, so what is asked for has a record by now.
        let all = match agent.open() {
            Ok(all) => all,
            Err(error) => {
                failed(error);
                return Ok(());
            }
        };
        let open: Vec<&Job> = all.iter().filter(|job| job.key.is_digest()).collect();
        if open.is_empty() {
            return Ok(());
        }
        let wanted = self.wanted_of(agent)?;
        let mut cancelled = Vec::new();
        for job in open.into_iter().filter(|job| !wanted.contains(job.key.as_str())) {
            if !self.is_ours(job)? {
                continue;
            }
            match agent.cancel(job) {
                Ok(()) => cancelled.push(job),
                Err(error) => failed(error),
            }
            log::info!("act=cancel agent={} key={} why=\"no record names it\"", agent.name(), job.key);
        }
        if cancelled.is_empty() {
            return Ok(());
        }
        // A sweep may have given it one of them just now.
        let wanted = self.wanted_of(agent)?;
        for job in cancelled.into_iter().filter(|job| wanted.contains(job.key.as_str())) {
            agent.retry(job).unwrap_or_else(failed);
        }
        Ok(())
    }

    /// The keys of an agent's jobs that records name.
    fn wanted_of(&self, agent: &dyn Agent) -> Result<BTreeSet<String>, CatalogError> {
        let mut keys = BTreeSet::new();
        for id in self.places()? {
            if let Some(Place { objects, itself, .. }) = self.place(id)? {
                let names = objects.into_keys().chain(itself);
                keys.extend(names.filter(|(_, name)| name == agent.name()).map(|(key, _)| key));
            }
        }
        Ok(keys)
    }

    /// Whether a job comes from a collection of this zone.
    fn is_ours(&self, job: &Job) -> Result<bool, CatalogError> {
        let path = self.catalog.collection_path(job.collection)?;
        Ok(path.is_some_and(|path| path.elements().next() == Some(job.zone.as_bytes())))
    }

    /// Writes down what became of a job's files that lie where they did when it was submitted, or why it waits.
    fn take_in(&self, agent: &dyn Agent, job: Job, report: &mut Report) -> Result<(), CatalogError> {
        if !job.state.is_final() && job.reason.is_none() {
            return Ok(());
        }
        let Some(place) = self.place(job.collection)? else { return Ok(()) };
        let zone = place.path.elements().next().unwrap_or_default();
        if zone != job.zone.as_bytes() {
            return Ok(()); // another zone's
        }
        let name = (job.key.as_str().to_owned(), agent.name().to_owned());
        self.write_down(&place, &name, &Standing::of(job, self.clock.now()), report).map(drop)
    }

    /// Writes down which files a job has used that it was not asked to import.
    fn take_in_members(
        &self,
        place: &Place,
        name: &(String, String),
        job: &Job,
        outcomes: &HashMap<Subject, FileOutcome>,
        report: &mut Report,
    ) -> Result<(), CatalogError> {
        let given: BTreeSet<DataId> = place.objects.get(name).into_iter().flatten().copied().collect();
        let used = outcomes.iter().filter_map(|(subject, outcome)| match (subject, outcome) {
            (Subject::DataObject(id), FileOutcome::Imported(what)) if what.is_member => Some((*id, what)),
            _ => None,
        });
        let used: Vec<_> = used.filter(|(id, _)| !given.contains(id)).collect();
        let (Some(first), false) = (given.first(), used.is_empty()) else { return Ok(()) };
        // The batch was one OMERO user's, and mostly one owner's.
        let ids: BTreeSet<DataId> = given.iter().copied().take(PAGE).collect();
        let mut owners = BTreeSet::new();
        self.owners_of(place.id, &ids, &mut |_, (name, zone)| {
            owners.extend(IrodsUser::new(&name, &zone).ok());
        })?;
        let read = plan::read(self.config, self.catalog, place.id, &[*first])?;
        let who = read.values().next().and_then(|(_, record)| record.owner(&self.config.attributes));
        let server = self.importing.as_ref().map(Importing::server).filter(|server| !server.is_empty());
        let mut scribe = Scribe::new(self, server.unwrap_or(&job.server), report);
        for (id, what) in used {
            let used = (None, job.submitted.unwrap_or(0));
            self.record_member(&mut scribe, id, what.clone(), used, &owners, who.as_ref())?;
        }
        Ok(())
    }

    /// Looks through all records that name a job. Gives whether that is enough for a while.
    fn check(
        &self,
        agents: &Agents<'_>,
        marks: &Bookmarks,
        report: &mut Report,
        hold: &Hold,
    ) -> Result<bool, CatalogError> {
        let mut known: HashMap<(String, String), Standing> = HashMap::new();
        let mut all_settled = true;
        for id in self.places()? {
            let Some(place) = self.place(id)? else { continue };
            let jobs: BTreeSet<&(String, String)> = place.objects.keys().chain(&place.itself).collect();
            for name in jobs {
                let standing =
                    known.entry(name.clone()).or_insert_with(|| self.standing(agents, marks, name));
                all_settled &= self.write_down(&place, name, standing, report)?;
            }
            if written(report) >= self.config.max_files_per_sweep || !self.is_alive(hold)? {
                return Ok(false);
            }
        }
        Ok(all_settled)
    }

    /// Asks an agent about a job.
    fn standing(&self, agents: &Agents<'_>, marks: &Bookmarks, (key, agent): &(String, String)) -> Standing {
        let (Some(asked), Ok(key)) = (agents.get(agent), Key::parse(key)) else {
            return Standing::Lost(format!(
                "the agent '{agent}', which had the import, is no longer configured: it is submitted again"
            ));
        };
        let now = self.clock.now();
        let mark = marks.agents.get(agent);
        if let Some(since) = mark.and_then(|m| m.silent_since) {
            return if mark.is_some_and(|m| m.is_given_up(agents, now)) {
                let minutes = now.saturating_sub(since) / 60;
                Standing::Lost(format!(
                    "the agent '{agent}', which has the import, has not answered for {minutes} minutes: is it running?"
                ))
            } else {
                Standing::Open
            };
        }
        match asked.job(&key) {
            Ok(Some(job)) => Standing::of(job, now),
            Ok(None) => Standing::Lost(format!(
                "the agent '{agent}' does not know the import any more: it is submitted again"
            )),
            Err(error) => {
                log::warn!("act=collect agent={agent} key={key} failed=\"{error}\"");
                Standing::Open
            }
        }
    }

    /// The records in a collection that name jobs; `None` if the collection is gone.
    fn place(&self, id: CollectionId) -> Result<Option<Place>, CatalogError> {
        let names = &self.config.attributes;
        let Some(path) = self.catalog.collection_path(id)? else { return Ok(None) };
        let mut objects: BTreeMap<(String, String), Vec<DataId>> = BTreeMap::new();
        self.catalog.object_avus(id, Which::All, &[&names.job], &mut |id, triple| {
            objects.entry((triple.value, triple.units)).or_default().push(id);
        })?;
        for ids in objects.values_mut() {
            ids.sort();
            ids.dedup();
        }
        let own = self.catalog.collection_record(id)?;
        let itself = own.job(names).map(|job| (job.key.to_owned(), job.agent.to_owned()));
        Ok(Some(Place { id, path, objects, itself }))
    }

    /// Writes down what became of a job's files in one collection. Gives whether nothing has to wait for a later look.
    fn write_down(
        &self,
        place: &Place,
        name: &(String, String),
        standing: &Standing,
        report: &mut Report,
    ) -> Result<bool, CatalogError> {
        if matches!(standing, Standing::Open) {
            return Ok(true);
        }
        let job = JobName { key: &name.0, agent: &name.1 };
        let mut here = Report::default();
        let (mut has_changed, mut all_settled) = (false, true);
        let outcomes = outcomes_of(standing);
        if let Standing::Ended(ended) = standing
            && ended.collection == place.id
        {
            self.take_in_members(place, name, ended, &outcomes, &mut here)?;
        }
        let mut settle = |waiting: Waiting| {
            match standing {
                // The sweep that gave it to the agent may still be on its way there.
                Standing::Lost(_) if self.is_young(&waiting) => {
                    all_settled = false;
                    return Ok(());
                }
                Standing::Lost(_) | Standing::Ended(_) => has_changed |= waiting.has_changed,
                Standing::Waits(_) | Standing::Works | Standing::Open => {}
            }
            self.settle(&waiting, job, standing, &outcomes, &mut here)
        };
        for ids in place.objects.get(name).map(Vec::as_slice).unwrap_or_default().chunks(PAGE) {
            for (id, (object, record)) in plan::read(self.config, self.catalog, place.id, ids)? {
                let name = object.replicas.first().map(|r| place.path.join(&r.name));
                if let Some(Ok(path)) = name
                    && let Some(waiting) =
                        self.waiting(Subject::DataObject(id), path, record, job, Some(&object))
                {
                    settle(waiting)?;
                }
            }
        }
        if place.itself.as_ref() == Some(name) {
            let record = self.catalog.collection_record(place.id)?;
            let subject = Subject::Collection(place.id);
            if let Some(waiting) = self.waiting(subject, place.path.clone(), record, job, None) {
                settle(waiting)?;
            }
        }
        let again = here.again_in.or(has_changed.then_some(self.config.defaults.quiet_period));
        if let Some(wait) = again {
            self.mark(&place.path, wait)?;
        }
        report.add(&here);
        Ok(all_settled)
    }

    /// Whether the agent may not have been given it yet.
    fn is_young(&self, waiting: &Waiting) -> bool {
        // Of one with a reason the agent has told.
        let is_known = waiting.about.record.reason(&self.config.attributes).is_some();
        !is_known && self.clock.now() < waiting.since.saturating_add(self.config.sweep_expiry.as_secs())
    }

    /// What a record that names a job says; `None` if it names another by now.
    fn waiting(
        &self,
        subject: Subject,
        path: LogicalPath,
        record: Record,
        job: JobName<'_>,
        object: Option<&Object>,
    ) -> Option<Waiting> {
        let names = &self.config.attributes;
        let version = record.version(names)?;
        if record.job(names) != Some(job) {
            return None;
        }
        let retry = record.retry(names);
        let now = self.clock.now();
        let about = About {
            subject,
            path,
            version,
            proof: record.proof(names),
            whereabouts: record.whereabouts(names),
            place: record.place(names),
            attempts: record.attempts(names),
            since: retry.map_or(now, |r| r.since),
            mapped_by: record.mapped_by(names),
            previous: record.previous(names),
            record,
        };
        let who = about.record.owner(names);
        // A directory's bytes are not read here: its sweep, which costs as much, tells.
        let has_changed = object.is_none_or(|o| !o.is_recorded(names, &about.record));
        Some(Waiting { about, who, since: retry.map_or(0, |r| r.next), has_changed })
    }

    fn settle(
        &self,
        waiting: &Waiting,
        job: JobName<'_>,
        standing: &Standing,
        outcomes: &HashMap<Subject, FileOutcome>,
        report: &mut Report,
    ) -> Result<(), CatalogError> {
        let Waiting { about, who, .. } = waiting;
        let who = who.as_ref();
        let server = match (standing, self.importing.as_ref().map_or("", Importing::server)) {
            (Standing::Ended(job), "") => &job.server,
            (_, server) => server,
        };
        let mut scribe = Scribe::new(self, server, report);
        match standing {
            Standing::Open => Ok(()),
            Standing::Waits(waits) => scribe.wait(about, waits, who, job),
            Standing::Works => scribe.resume(about, who, job),
            Standing::Lost(why) => scribe.postpone(about, Cause::Ours, why, who),
            Standing::Ended(ended) => match ended.state {
                JobState::Refused => {
                    let why = ended.reason.clone().unwrap_or_default();
                    scribe.say(about, &Entry::Skipped(Cause::Mapping, why), who)
                }
                JobState::Cancelled => {
                    let why = ended.reason.as_deref().unwrap_or("no reason was given");
                    let reason = format!("the import was cancelled at the agent '{}': {why}", job.agent);
                    scribe.say(about, &Entry::Failed(Cause::Ours, reason), who)
                }
                JobState::Done | JobState::Queued | JobState::Running | JobState::Waiting => {
                    let outcome = outcomes.get(&about.subject).cloned().unwrap_or_else(|| {
                        let agent = job.agent;
                        FileOutcome::Postponed(format!(
                            "the agent '{agent}' did not say what became of the file"
                        ))
                    });
                    scribe.settle(about, outcome, who)
                }
            },
        }
    }
}

impl Bookmark {
    const NEW: Self = Self { cursor: 0, is_new: true, silent_since: None };

    /// Whether the agent has been silent for so long that others do its work.
    fn is_given_up(&self, agents: &Agents<'_>, now: UnixTime) -> bool {
        self.was_given_up_since(agents, 0, now)
    }

    /// The same, and that has come about since a time.
    fn was_given_up_since(&self, agents: &Agents<'_>, time: UnixTime, now: UnixTime) -> bool {
        let patience = agents.fallback_after().as_secs();
        self.silent_since.is_some_and(|since| (time..=now).contains(&since.saturating_add(patience)))
    }
}

/// How the reading of a feed went.
#[derive(Default)]
struct Read {
    /// There is more than was read.
    is_more: bool,
    /// The agent does not know how far we were.
    has_begun_anew: bool,
}

fn outcomes_of(standing: &Standing) -> HashMap<Subject, FileOutcome> {
    let Standing::Ended(job) = standing else { return HashMap::new() };
    let outcome = |o: &irods_omero_importer::wire::Outcome| Some((o.subject, o.clone().into_file_outcome()?));
    job.outcomes.iter().filter_map(outcome).collect()
}

/// How many records were written.
fn written(report: &Report) -> usize {
    report.imported + report.failed + report.skipped + report.pending + report.stale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bookmarks_come_back_from_their_text() {
        let mark = Bookmark { cursor: 7, is_new: false, silent_since: Some(5) };
        let marks = Bookmarks { agents: BTreeMap::from([("a1".to_owned(), mark)]), checked: 9 };
        for marks in [marks, Bookmarks::default()] {
            assert_eq!(Bookmarks::read(&marks.text()), marks);
        }
    }

    #[test]
    fn bookmarks_that_cannot_be_read_begin_anew() {
        for text in ["", "x", r#"{"agents": 5}"#, r#"{"agents": {"a": {"cursor": -1}}}"#] {
            assert_eq!(Bookmarks::read(text), Bookmarks::default());
        }
    }
}
