//! One reading of a collection, in a few words for each data object: is it settled, and what has to be decided on?
//!
//! A collection may hold a hundred thousand data objects. What is kept of each here is small; the whole of it is
//! read again, in pages, only of those that are decided on.

use super::plan::runs;
use super::rested::{Rested, print_of};
use super::watched::Scope;
use crate::catalog::{Catalog, CatalogError, Replica, ReplicaStatus, UnixTime, Which};
use irods_omero_config::Config;
use irods_omero_model::decide::{
    Bytes, Decision, Facts, Quiet, Recorded, Renews, Replicas, Rest, Standing, Wait, Watched, Why, decide,
    renews,
};
use irods_omero_model::names::{CollectionId, DataId, LogicalPath, OmeroId};
use irods_omero_model::record::State;
use irods_omero_model::watch::{Marker, Tag, agreed};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// What a reading came to.
#[derive(Debug)]
pub struct Survey {
    /// The data objects to decide on.
    pub todo: BTreeSet<DataId>,
    /// Of those, the ones that are not complete and are only to say so.
    pub quiet: BTreeMap<DataId, Quiet>,
    /// The same of a directory that is one image.
    pub directory: Quiet,
    /// The time of the reading.
    pub now: UnixTime,
    /// The data objects to decide on later: they change, or their collection does, or their next try is to come.
    pub later: BTreeSet<DataId>,
    /// What these wait for, as a sentence.
    pub waits_for: Option<String>,
    /// Filesets that are imported anew as a whole, because one of their files has changed.
    pub renewed: BTreeSet<OmeroId>,
    /// What tags on single data objects ask for.
    pub tagged: HashMap<DataId, Result<Tag, String>>,
    /// When there is something to look at again at the soonest.
    pub again_in: Option<Duration>,
    /// Whether new files may belong to images that are in OMERO already.
    pub may_join: bool,
    /// How long ago the youngest data object to decide on was written, in seconds.
    pub age: u64,
    /// How many data objects were read.
    pub(super) seen: usize,
    /// What is at rest and need not be read again.
    pub(super) rested: Option<Rested>,
}

/// What the catalog says of a data object, in short.
#[derive(Default)]
struct Brief {
    newest: UnixTime,
    replicas: Replicas,
    /// How long its modify time, which is ahead of our clock, is waited for, in seconds.
    wait_for_clock: u64,
}

impl Brief {
    fn add(&mut self, replica: &Replica, known: Option<&Recorded>) {
        self.newest = self.newest.max(replica.modify_time);
        self.replicas.add(replica, known);
    }
}

impl Survey {
    /// Of nothing yet.
    pub fn at(now: UnixTime) -> Self {
        Self {
            todo: BTreeSet::new(),
            quiet: BTreeMap::new(),
            directory: Quiet::Settled,
            now,
            later: BTreeSet::new(),
            waits_for: None,
            renewed: BTreeSet::new(),
            tagged: HashMap::new(),
            again_in: None,
            may_join: false,
            age: 0,
            seen: 0,
            rested: None,
        }
    }

    /// What a decision about a data object depends on. `None` for a directory, which has no tag of its own.
    pub(super) fn facts(
        &self,
        config: &Config,
        scope: &Scope,
        id: Option<DataId>,
        recorded: &Recorded,
        replicas: Replicas,
    ) -> Facts {
        let tag = id.and_then(|id| self.tagged.get(&id));
        let is_renewed = recorded.fileset.is_some_and(|fileset| self.renewed.contains(&fileset));
        Facts {
            watched: if scope.why_unclear(tag).is_some() { Watched::Unclear } else { Watched::Yes },
            renewed: is_renewed,
            quiet: id.map_or(self.directory, |id| self.quiet.get(&id).copied().unwrap_or(Quiet::Settled)),
            ..Facts::of(recorded, replicas, config.agents.is_some())
        }
    }
}

/// The most data objects that are read as a part of a collection, and in how many runs of ids.
const MOST_OF_PART: usize = 5_000;
const MOST_RUNS: usize = 50;

/// Reads a collection.
pub(super) struct Reading<'a> {
    pub config: &'a Config,
    pub catalog: &'a dyn Catalog,
    pub id: CollectionId,
    pub collection: &'a LogicalPath,
    pub scope: &'a Scope,
    pub now: UnixTime,
}

impl Reading<'_> {
    /// Reads the collection.
    ///
    /// It is settled when no replica is being written and nothing has changed for the quiet period, or as soon as
    /// its marker is there and nothing is being written. A time that is ahead of ours by more than the quiet period tells
    /// nothing: the data waits for as long from when we first see it. What has been quiet itself for `max_wait` goes even if the rest never
    /// settles, but for files that may belong together; what has been in flux for as long is the leftover of a
    /// client that died and is left out. Where a marker is asked for nothing goes without it.
    pub fn survey(&self) -> Result<Survey, CatalogError> {
        let all = [Which::All];
        self.survey_of(&all, None)?.map_or_else(|| Ok(Survey::at(self.now)), Ok)
    }

    /// Reads what may not be at rest in a collection of which much is. `None`: it cannot be told of that part alone, because
    /// files may belong together, or a marker says when all is complete, or it is much itself.
    pub fn survey_part(&self, rested: &Rested) -> Result<Option<Survey>, CatalogError> {
        if self.scope.rules.complete_marker.is_some() || !self.is_plain() {
            return Ok(None);
        }
        let ids = self.catalog.changed_in(self.id, rested.last, rested.before)?;
        let ids: Vec<DataId> = ids.into_iter().collect();
        let parts: Vec<Which> = runs(&ids).map(|run| run.1).collect();
        if ids.len() > MOST_OF_PART || parts.len() > MOST_RUNS {
            return Ok(None);
        }
        self.survey_of(&parts, Some(rested))
    }

    /// Whether all data of the collection is treated alike.
    fn is_plain(&self) -> bool {
        self.scope.covers_all && self.scope.unclear.is_none()
    }

    fn survey_of(&self, parts: &[Which], rested: Option<&Rested>) -> Result<Option<Survey>, CatalogError> {
        let mut survey = Survey::at(self.now);
        let raw_tags = self.raw_tags()?;
        if rested.is_some() && !raw_tags.is_empty() {
            return Ok(None);
        }
        let known = self.known(parts)?;
        let mut briefs: BTreeMap<DataId, Brief> = BTreeMap::new();
        let marker = self.scope.rules.complete_marker.as_ref();
        let mut is_marked = match marker {
            Some(Marker::Avu(attribute)) => {
                self.catalog.nearest_values(self.collection, attribute, self.scope.root)?.is_some()
            }
            Some(Marker::File(_)) | None => false,
        };
        let (mut set_of, mut last) = (None, None);
        let mut read = |replica: Replica| {
            last = last.max(Some(replica.data_id));
            if let Some(Marker::File(pattern)) = marker {
                is_marked |= replica.status == ReplicaStatus::Good && pattern.fits(&replica.name);
            }
            let id = replica.data_id;
            if let Some(tags) = raw_tags.get(&id) {
                survey.tagged.entry(id).or_insert_with(|| self.judge(&replica.name, tags));
            }
            if self.scope.admits(&replica.name, survey.tagged.get(&id)) {
                if set_of.is_none() && self.config.multi_file_formats.iter().any(|p| p.fits(&replica.name)) {
                    set_of = Some(String::from_utf8_lossy(&replica.name).into_owned());
                }
                briefs.entry(id).or_default().add(&replica, known.get(&id));
            }
        };
        for part in parts {
            self.catalog.replicas(self.id, *part, &mut read)?;
        }
        let has_members = known.values().any(|k| k.is_member);
        if has_members && set_of.is_none() {
            set_of = Some("a fileset of several files that is in OMERO already".to_owned());
        }
        if rested.is_some() && set_of.is_some() {
            return Ok(None);
        }
        survey.may_join = set_of.is_some() && known.values().any(|k| k.fileset.is_some());
        survey.renewed = self.renewed(&survey, &briefs, &known);
        let nothing = Recorded::default();
        for (id, brief) in &mut briefs {
            brief.wait_for_clock =
                self.wait_for_clock(&survey, *id, brief, known.get(id).unwrap_or(&nothing));
        }
        let mut hold = self.hold(&briefs, marker, is_marked, set_of.as_deref());
        let is_with_agent = |k: &Recorded| k.standing(self.config.agents.is_some()) == Standing::AtAgent;
        let waits_for_agent = set_of.is_some() && known.values().any(is_with_agent);
        if waits_for_agent {
            hold.wait_for_agent(self.config.retry_wait);
        }
        survey.again_in = hold.unsettled;
        let mut restless = Vec::new();
        for (id, brief) in &briefs {
            let known = known.get(id).unwrap_or(&nothing);
            let quiet = self.quiet(brief, known, &hold, marker.is_none());
            if quiet != Quiet::Settled {
                survey.quiet.insert(*id, quiet);
            }
            let decision = self.decided(&survey, *id, brief, known);
            if !matches!(decision, Decision::Rest(why) if why != Rest::AtWork) {
                restless.push(brief.newest);
            }
            match decision {
                Decision::Rest(_) => {}
                Decision::Wait(Wait::Until(next)) => {
                    survey.later.insert(*id);
                    let wait = Duration::from_secs(next.saturating_sub(self.now));
                    survey.again_in = Some(survey.again_in.map_or(wait, |w| w.min(wait)));
                }
                Decision::Wait(Wait::Written | Wait::Quiet) => drop(survey.later.insert(*id)),
                Decision::Say(..)
                | Decision::Confirm
                | Decision::Wanted { .. }
                | Decision::Reopen
                | Decision::LeaveAlone => drop(survey.todo.insert(*id)),
            }
        }
        let is_waiting = hold.is_for_a_marker || waits_for_agent;
        if is_waiting && survey.todo.is_empty() && survey.later.is_empty() {
            survey.again_in = None; // new data or the marker is an event, which brings a sweep of its own
        }
        let youngest = briefs.iter().filter(|(id, _)| survey.todo.contains(id));
        survey.age = youngest.map(|(_, brief)| self.age(brief)).min().unwrap_or(0);
        survey.waits_for = hold.reason;
        survey.seen = briefs.len();
        if marker.is_none() && set_of.is_none() && raw_tags.is_empty() && self.is_plain() {
            let reading = (self.now, print_of(self.config, self.scope));
            let quiet = self.scope.rules.quiet_period.as_secs();
            survey.rested = Rested::of(reading, rested, last, briefs.len(), quiet, restless.into_iter());
        }
        Ok(Some(survey))
    }

    fn decided(&self, survey: &Survey, id: DataId, brief: &Brief, known: &Recorded) -> Decision {
        let facts = survey.facts(self.config, self.scope, Some(id), known, brief.replicas);
        decide(&facts, self.scope.rules_of(survey.tagged.get(&id)).on_overwrite, self.now)
    }

    /// Whether a data object is complete, in a collection that is held by `hold`.
    fn quiet(&self, brief: &Brief, known: &Recorded, hold: &Hold, by_time: bool) -> Quiet {
        if by_time && brief.wait_for_clock > 0 {
            return Quiet::Ahead;
        }
        let is_old = || {
            let age = match known.waits_for_clock().filter(|_| self.is_ahead(brief)) {
                Some(retry) => self.now.saturating_sub(retry.since),
                None => self.age(brief),
            };
            age >= self.config.max_wait.as_secs()
        };
        match (&hold.unsettled, &hold.reason) {
            (None, _) => Quiet::Settled,
            (Some(_), None) if is_old() => Quiet::Settled,
            (Some(_), Some(_)) if is_old() => Quiet::InSet,
            (Some(_), _) => Quiet::Unsettled,
        }
    }

    fn known(&self, parts: &[Which]) -> Result<HashMap<DataId, Recorded>, CatalogError> {
        let names = &self.config.attributes;
        let wanted = Recorded::attributes(names);
        let mut known: HashMap<DataId, Recorded> = HashMap::new();
        // Where there are no agents any more nobody has a job.
        let wanted = if self.config.agents.is_some() { &wanted[..] } else { &wanted[..wanted.len() - 1] };
        for part in parts {
            self.catalog.object_avus(self.id, *part, wanted, &mut |id, triple| {
                known.entry(id).or_default().add(names, &triple);
            })?;
        }
        // What was copied here from other data says nothing of this.
        known.retain(|id, recorded| recorded.is_of(id.number()));
        Ok(known)
    }

    fn raw_tags(&self) -> Result<HashMap<DataId, Vec<(String, String)>>, CatalogError> {
        let mut tags: HashMap<DataId, Vec<(String, String)>> = HashMap::new();
        if self.config.tags {
            for (id, value, units) in self.catalog.tagged_objects(self.id, &self.config.attributes.import)? {
                tags.entry(id).or_default().push((value, units));
            }
        }
        Ok(tags)
    }

    fn judge(&self, name: &[u8], tags: &[(String, String)]) -> Result<Tag, String> {
        let path = self.collection.join(name).map_err(|e| e.to_string())?;
        agreed(&path, tags.iter().map(|(value, units)| (value.as_str(), units.as_str())))
    }

    /// The filesets of which a file has changed and which are to be imported anew: not only that file, because
    /// Bio-Formats makes images of them together. An import that was begun is such a one too.
    fn renewed(
        &self,
        survey: &Survey,
        briefs: &BTreeMap<DataId, Brief>,
        known: &HashMap<DataId, Recorded>,
    ) -> BTreeSet<OmeroId> {
        let mut renewed = BTreeSet::new();
        for (id, brief) in briefs {
            let Some(known) = known.get(id) else { continue };
            let facts = survey.facts(self.config, self.scope, Some(*id), known, brief.replicas);
            match renews(&facts, self.scope.rules_of(survey.tagged.get(id)).on_overwrite) {
                Renews::Nothing => {}
                Renews::Fileset => renewed.extend(known.fileset),
                Renews::Previous => renewed.extend(known.previous),
            }
        }
        renewed
    }

    /// Whether the modify time is of a clock that is ahead of ours.
    fn is_ahead(&self, brief: &Brief) -> bool {
        brief.newest > self.now.saturating_add(self.scope.rules.quiet_period.as_secs())
    }

    /// How long a modify time that is ahead of our clock keeps the collection from being settled, in seconds: the quiet
    /// period, from when we first see this version, and for no longer than `max_wait`. Its record says since when.
    fn wait_for_clock(&self, survey: &Survey, id: DataId, brief: &Brief, known: &Recorded) -> u64 {
        let (quiet, max_wait) = (self.scope.rules.quiet_period.as_secs(), self.config.max_wait.as_secs());
        let waits = known.waits_for_clock();
        if !self.is_ahead(brief) || waits.is_some_and(|r| self.now.saturating_sub(r.since) >= max_wait) {
            return 0;
        }
        let facts = survey.facts(self.config, self.scope, Some(id), known, brief.replicas);
        let rule = self.scope.rules_of(survey.tagged.get(&id)).on_overwrite;
        match (decide(&Facts { quiet: Quiet::Ahead, ..facts }, rule, self.now), facts.bytes) {
            (Decision::Say(State::Pending, Why::Ahead), _) => quiet,
            (Decision::Wait(Wait::Until(next)), _) if waits.is_some() => next.saturating_sub(self.now),
            (_, Bytes::Recorded | Bytes::SameBytes) => 0,
            // Nothing can be said of what is being written, so the bound is that of its time.
            _ if brief.newest <= self.now.saturating_add(max_wait) => quiet.max(1),
            _ => 0,
        }
    }

    fn age(&self, brief: &Brief) -> u64 {
        self.now.saturating_sub(brief.newest)
    }

    /// How long one data object keeps its collection from being settled, in seconds.
    fn unsettled_by(&self, brief: &Brief) -> u64 {
        let quiet = self.scope.rules.quiet_period.as_secs();
        if self.is_ahead(brief) {
            brief.wait_for_clock
        } else if brief.replicas.written {
            if self.age(brief) >= self.config.max_wait.as_secs() { 0 } else { quiet.max(1) }
        } else {
            (brief.newest + quiet).saturating_sub(self.now)
        }
    }

    /// What keeps the collection from being imported.
    fn hold(
        &self,
        briefs: &BTreeMap<DataId, Brief>,
        marker: Option<&Marker>,
        is_marked: bool,
        set_of: Option<&str>,
    ) -> Hold {
        let seconds = |s: u64| (s > 0).then(|| Duration::from_secs(s));
        let unsettled = |counts: fn(&Brief) -> bool| {
            briefs.values().filter(|b| counts(b)).map(|b| self.unsettled_by(b)).max().unwrap_or(0)
        };
        match marker {
            Some(_) if is_marked => {
                Hold { unsettled: seconds(unsettled(|b| b.replicas.written)), reason: None, is_for_a_marker: false }
            }
            // The marker's arrival is an event, which brings this sweep forward.
            Some(marker) => Hold {
                unsettled: Some(self.config.max_wait.max(self.scope.rules.quiet_period)),
                reason: Some(format!(
                    "waits for {}, which says that the data is complete",
                    marker.describe()
                )),
                is_for_a_marker: true,
            },
            None => Hold {
                unsettled: seconds(unsettled(|_| true)),
                reason: set_of.map(|set| {
                    format!(
                        "waits until nothing in the collection changes any more: its files may belong together ({set})"
                    )
                }),
                is_for_a_marker: false,
            },
        }
    }
}

/// What keeps a collection from being imported.
struct Hold {
    /// For how long at least.
    unsettled: Option<Duration>,
    /// Why not even what has been quiet for long goes.
    reason: Option<String>,
    is_for_a_marker: bool,
}

impl Hold {
    /// What may belong together with files that an agent is importing waits for the end of that.
    fn wait_for_agent(&mut self, wait: Duration) {
        self.unsettled = self.unsettled.max(Some(wait));
        self.reason = Some(
            "waits for the import that is under way in this collection: its files may belong together"
                .to_owned(),
        );
    }
}
