//! One sweep at work: what it was decided to do is written down or gathered in batches, and the batches go to the
//! importer here, whose outcomes are recorded, or to an agent, whose outcomes are collected later.

use super::scribe::{About, Scribe, retry_wait};
use super::usable::usable;
use super::{Hold, PAGE, Planned, Report, Sweeper, Verdict, plan, stage};
use crate::catalog::{CatalogError, UnixTime};
use crate::due;
use irods_omero_importer::agents::{AgentError, Agents};
use irods_omero_importer::wire::Submit;
use irods_omero_importer::{Batch, BatchFile, FileOutcome, Importer, ImporterError, Importing, Subject};
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::{CollectionId, DataId, LogicalPath};
use irods_omero_model::record::{self, Awaited, Cause, Entry, JobName, Print, Proof, State, Triple};
use irods_omero_model::target::Target;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// What the files of one batch have in common.
type Common = (OmeroIdentity, Target, Option<Target>);

/// One sweep at work.
pub(super) struct Run<'a> {
    sweeper: &'a Sweeper<'a>,
    id: CollectionId,
    collection: &'a LogicalPath,
    hold: &'a Hold,
    scribe: Scribe<'a>,
    may_join: bool,
    room: usize,
    /// Whether an agent was given something.
    submitted: bool,
    /// Whether data has to be copied first.
    stages: bool,
    batches: BTreeMap<Common, Vec<BatchFile>>,
    about: HashMap<Subject, About>,
    /// Up to which time a file of another collection was written last that counts as complete.
    settled: UnixTime,
}

impl<'a> Run<'a> {
    pub fn new(
        sweeper: &'a Sweeper<'a>,
        id: CollectionId,
        collection: &'a LogicalPath,
        hold: &'a Hold,
        report: &'a mut Report,
        may_join: bool,
        quiet: Duration,
    ) -> Self {
        let settled = sweeper.clock.now().saturating_sub(quiet.as_secs());
        let room = sweeper.config.max_files_per_sweep;
        let (batches, about) = (BTreeMap::new(), HashMap::new());
        let server = sweeper.importing.as_ref().map_or("", Importing::server);
        let scribe = Scribe::new(sweeper, server, report);
        let (stages, submitted) = (false, false);
        Self {
            sweeper,
            id,
            collection,
            hold,
            scribe,
            may_join,
            room,
            submitted,
            stages,
            batches,
            about,
            settled,
        }
    }

    /// Whether as much has been gathered as one sweep takes.
    pub fn is_full(&self) -> bool {
        self.room == 0
    }

    /// Leaves what is not gathered to the next sweep.
    pub fn leave_rest(&mut self) {
        self.scribe.report.again(Duration::from_secs(1));
    }

    /// Writes down what is said, and gathers what is imported.
    pub fn take(&mut self, planned: Planned) -> Result<(), CatalogError> {
        let names = &self.sweeper.config.attributes;
        let Planned { subject, path, version, proof, whereabouts, record, attempts, verdict } = planned;
        let now = self.sweeper.clock.now();
        let since = record.retry(names).filter(|_| attempts > 0).map_or(now, |r| r.since);
        let previous = record.filesets_before(names);
        let mapped_by = None;
        let mut this = About {
            subject,
            path,
            record,
            version,
            proof,
            whereabouts,
            place: None,
            attempts,
            since,
            mapped_by,
            previous,
        };
        match verdict {
            Verdict::Say(entry) => self.scribe.say(&this, &entry, None)?,
            Verdict::Touched => self.scribe.touch(&this)?,
            Verdict::Await { wait, why } => self.scribe.wait_for_quiet(&this, wait, why)?,
            Verdict::Postpone(why) => {
                this.attempts += 1;
                self.scribe.postpone(&this, Cause::Mapping, &why, None)?;
            }
            Verdict::Stage(resource) => {
                self.stages = true;
                // What an earlier try came to is not written over.
                if this.record.state(names) == Some(State::Pending) {
                    self.scribe.report.pending += 1;
                } else {
                    self.scribe.say(&this, &Entry::Pending(stage::waits_for(&resource)), None)?;
                }
                self.scribe.report.again(retry_wait(self.sweeper.config.retry_wait, attempts + 1));
            }
            Verdict::Import(_) if self.room == 0 => self.leave_rest(),
            Verdict::Import(import) => {
                self.room -= 1;
                this.previous.clone_from(&import.previous);
                this.place = Some(Print::of(import.importer_path.as_bytes()));
                let by = &import.mapping;
                this.mapped_by = Some(Triple::new(&names.mapped_by, record::sentence(&by.by), &by.person));
                let key = (import.mapping.identity, import.target, import.plate_target);
                self.batches.entry(key).or_default().push(BatchFile {
                    subject,
                    logical_path: this.path.clone(),
                    importer_path: import.importer_path,
                    version: this.version,
                    checksum: this.proof.as_ref().and_then(Proof::checksum).map(str::to_owned),
                    owner: import.owner,
                    previous: import.previous,
                });
                self.about.insert(subject, this);
            }
        }
        self.alive()
    }

    /// Gives the batches to the importer, one after the other.
    pub fn import_all(mut self) -> Result<(), CatalogError> {
        if self.stages {
            due::ensure_stage(self.sweeper.catalog, self.id, self.sweeper.clock.now())?;
        }
        for (n, ((identity, target, plate_target), files)) in
            std::mem::take(&mut self.batches).into_iter().enumerate()
        {
            let files = if n == 0 { files } else { self.as_decided(files)? };
            let (files, elsewhere) = self.spread_sets(files, &identity)?;
            if files.is_empty() {
                continue;
            }
            let may_join = self.may_join || !elsewhere.is_empty();
            let may_use = Vec::new();
            let mut batch = Batch { identity, target, plate_target, may_join, files, may_use };
            let Sweeper { catalog, config, .. } = self.sweeper;
            let mut collections = elsewhere;
            collections.extend(self.may_join.then_some(self.id));
            batch.may_use = usable(*catalog, config, &collections, &batch, self.settled)?;
            self.import(&batch)?;
        }
        if self.submitted { self.sweeper.ensure_collect() } else { Ok(()) }
    }

    /// Those of some files that are still as they were decided on: the batches before may have taken hours. What has changed
    /// since is decided on anew by the next sweep.
    fn as_decided(&mut self, files: Vec<BatchFile>) -> Result<Vec<BatchFile>, CatalogError> {
        let mut ids: Vec<DataId> = files.iter().filter_map(|file| object_of(file.subject)).collect();
        ids.sort();
        let mut there = BTreeMap::new();
        for page in ids.chunks(PAGE) {
            there.extend(plan::read(self.sweeper.config, self.sweeper.catalog, self.id, page)?);
        }
        let is_same = |file: &BatchFile| {
            let Some(id) = object_of(file.subject) else { return true };
            let Some(((object, record), this)) = there.get(&id).zip(self.about.get(&file.subject)) else {
                return false;
            };
            let (now, then): (BTreeSet<&Triple>, BTreeSet<&Triple>) =
                (record.triples.iter().collect(), this.record.triples.iter().collect());
            now == then && object.good().any(|replica| plan::version_of(replica) == file.version)
        };
        let (same, others): (Vec<BatchFile>, Vec<BatchFile>) = files.into_iter().partition(is_same);
        for file in &others {
            log::info!("act=import path={} why=\"changed since it was decided on\"", file.logical_path);
            self.about.remove(&file.subject);
        }
        if !others.is_empty() {
            self.leave_rest();
        }
        Ok(same)
    }

    /// The files that can be given to the importer now, and the other collections in which files of their sets lie. A set
    /// of which some are in the hands of another sweep waits for the end of that.
    fn spread_sets(
        &mut self,
        files: Vec<BatchFile>,
        who: &OmeroIdentity,
    ) -> Result<(Vec<BatchFile>, BTreeSet<CollectionId>), CatalogError> {
        let names = &self.sweeper.config.attributes;
        let awaits = |run: &Self, file: &BatchFile| {
            run.about.get(&file.subject).map(|this| this.record.awaits(names)).unwrap_or_default()
        };
        let all: BTreeSet<Awaited> = files.iter().flat_map(|file| awaits(self, file)).collect();
        let mut claimed: BTreeSet<CollectionId> =
            all.iter().filter(|a| a.claims).map(|a| a.collection).collect();
        claimed.remove(&self.id);
        let busy = self.sweeper.busy_of(&claimed)?;
        let (mut ready, mut collections) = (Vec::new(), BTreeSet::new());
        for file in files {
            let awaits = awaits(self, &file);
            if awaits.iter().any(|a| busy.contains(&a.collection)) {
                if let Some(this) = self.about.remove(&file.subject) {
                    let why = "waits for the end of the import that is at work in another collection with files of its set";
                    let wait = self.sweeper.config.retry_wait;
                    self.scribe.wait_for(&this, why, &awaits, wait, Some(who))?;
                }
            } else {
                collections.extend(awaits.iter().map(|a| a.collection));
                ready.push(file);
            }
        }
        Ok((ready, collections))
    }

    fn import(&mut self, batch: &Batch) -> Result<(), CatalogError> {
        let Some(importing) = self.sweeper.importing else {
            return Ok(());
        };
        if self.sweeper.is_taken_over(self.hold)? {
            // We were held up for so long that another took over; the files are its now.
            log::warn!("act=import collection={} why=\"taken over by another sweep\"", self.collection);
            self.scribe.report.again(self.sweeper.config.sweep_expiry);
            return Ok(());
        }
        let outcomes = match importing {
            Importing::Here(importer) => {
                self.begin(batch, None)?;
                self.import_here(importer, batch)
            }
            Importing::ByAgents(agents) => match self.submit(agents, batch)? {
                None => return Ok(()),
                Some(error) => Err(error),
            },
        };
        match outcomes {
            Ok(outcomes) => {
                let mut outcomes = outcomes.into_iter();
                for (file, outcome) in batch.files.iter().zip(outcomes.by_ref()) {
                    self.settle(file, outcome, &batch.identity)?;
                }
                let owners = batch.files.iter().map(|f| f.owner.clone()).collect();
                // What lies in a directory that is an image is recorded on the directory.
                let is_inside = |path: &str| {
                    let mut directories = batch.files.iter().filter(|f| f.is_directory());
                    directories.any(|d| std::path::Path::new(path).starts_with(&d.importer_path))
                };
                for (file, outcome) in batch.may_use.iter().zip(outcomes) {
                    if is_inside(&file.importer_path) {
                        continue;
                    }
                    if let (Subject::DataObject(id), FileOutcome::Imported(what)) = (file.subject, outcome) {
                        let (used, who) = ((Some(file.version), 0), Some(&batch.identity));
                        self.sweeper.record_member(&mut self.scribe, id, what, used, &owners, who)?;
                    }
                }
                Ok(())
            }
            Err(ImporterError::WillPass(reason)) => batch.files.iter().try_for_each(|file| {
                self.settle(file, FileOutcome::Postponed(reason.clone()), &batch.identity)
            }),
            Err(ImporterError::Refused(reason)) => batch.files.iter().try_for_each(|file| {
                let this = self.about.remove(&file.subject);
                let skipped = Entry::Skipped(Cause::Mapping, reason.clone());
                this.map_or(Ok(()), |this| self.scribe.say(&this, &skipped, Some(&batch.identity)))
            }),
        }
    }

    /// Writes that the import of the files begins.
    fn begin(&mut self, batch: &Batch, job: Option<JobName<'_>>) -> Result<(), CatalogError> {
        for file in &batch.files {
            if let Some(mut this) = self.about.remove(&file.subject) {
                this.attempts += 1;
                this.record.triples = self.scribe.begin(&this, &batch.identity, job)?;
                self.about.insert(file.subject, this);
            }
            self.alive()?;
        }
        Ok(())
    }

    fn import_here(
        &mut self,
        importer: &dyn Importer,
        batch: &Batch,
    ) -> Result<Vec<FileOutcome>, ImporterError> {
        let mut lost = None;
        let done = importer.import(batch, self.sweeper.clock.now(), &mut || {
            if let Err(error) = self.alive() {
                lost = Some(error);
            }
        });
        if let Some(error) = lost {
            log::warn!("act=renew collection={} failed=\"{error}\"", self.collection);
        }
        done
    }

    /// Gives a batch to an agent. `None`: it has it, or may have it; what came of it is collected.
    ///
    /// The records name the job before the agent is asked to take it: whoever finds them after a crash asks that
    /// agent, and no other gets the files before its answer.
    fn submit(&mut self, agents: &Agents<'_>, batch: &Batch) -> Result<Option<ImporterError>, CatalogError> {
        let zone = String::from_utf8_lossy(self.collection.elements().next().unwrap_or_default());
        let submit = Submit::new(&zone, agents.wanted_server(), self.id, batch);
        let agent = match agents.choose(&batch.identity.user, &submit.key) {
            Ok(agent) => agent,
            Err(why) => {
                self.count_attempt(batch);
                return Ok(Some(ImporterError::WillPass(why)));
            }
        };
        self.begin(batch, Some(JobName { key: submit.key.as_str(), agent: agent.name() }))?;
        self.submitted = true;
        // One that has ended is wished for again: the data, or what the user did in OMERO, is not as it was.
        let taken = agent
            .submit(&submit)
            .and_then(|job| if job.state.is_final() { agent.retry(&job) } else { Ok(()) });
        Ok(match taken {
            Ok(()) => {
                log::info!(
                    "act=submit collection={} agent={} key={} files={}",
                    self.collection,
                    agent.name(),
                    submit.key,
                    batch.files.len()
                );
                None
            }
            Err(AgentError::Unclear(why) | AgentError::TooLong(why)) => {
                log::warn!("act=submit collection={} key={} unclear=\"{why}\"", self.collection, submit.key);
                None
            }
            Err(AgentError::NotTaken(why)) => Some(ImporterError::WillPass(why)),
            Err(AgentError::Refused(why)) => Some(ImporterError::Refused(why)),
        })
    }

    fn count_attempt(&mut self, batch: &Batch) {
        for file in &batch.files {
            if let Some(this) = self.about.get_mut(&file.subject) {
                this.attempts += 1;
            }
        }
    }

    /// Writes what became of a file.
    fn settle(
        &mut self,
        file: &BatchFile,
        outcome: FileOutcome,
        who: &OmeroIdentity,
    ) -> Result<(), CatalogError> {
        if let Some(this) = self.about.remove(&file.subject) {
            self.scribe.settle(&this, outcome, Some(who))?;
        }
        self.alive()
    }

    /// Gives a sign of life when a third of the time without one is over.
    fn alive(&self) -> Result<(), CatalogError> {
        let (now, last) = (self.sweeper.clock.now(), self.hold.alive.get());
        if now.saturating_sub(last) >= self.sweeper.config.sweep_expiry.as_secs() / 3
            && self.hold.lock.borrow_mut().renew(self.sweeper.catalog)?
        {
            self.hold.alive.set(now);
        }
        Ok(())
    }
}

/// The data object that is meant; `None` for a directory.
fn object_of(subject: Subject) -> Option<DataId> {
    match subject {
        Subject::DataObject(id) => Some(id),
        Subject::Collection(_) => None,
    }
}
