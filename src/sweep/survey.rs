//! One reading of a collection, in a few words for each data object: is it settled, and what has to be decided on?
//!
//! A collection may hold a hundred thousand data objects. What is kept of each here is small; the whole of it is
//! read again, in pages, only of those that are decided on.

use super::watched::Scope;
use crate::catalog::{Catalog, CatalogError, Replica, ReplicaStatus, UnixTime, Which};
use irods_omero_config::Config;
use irods_omero_model::attributes::Attributes;
use irods_omero_model::names::{CollectionId, DataId, LogicalPath, OmeroId};
use irods_omero_model::record::{Proof, Retry, State, Triple, Version};
use irods_omero_model::watch::{Marker, OnOverwrite, Tag, agreed};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// What a reading came to.
#[derive(Debug, Default)]
pub struct Survey {
    /// The data objects to decide on.
    pub todo: BTreeSet<DataId>,
    /// Of those, the ones that are only to say what they wait for.
    pub waiting: BTreeSet<DataId>,
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
}

/// What a record says, in short.
#[derive(Default)]
struct Known {
    state: Option<State>,
    version: Option<Version>,
    proof: Option<Proof>,
    retry: Option<Retry>,
    fileset: Option<OmeroId>,
    is_member: bool,
    previous: Option<OmeroId>,
    is_ignored: bool,
    has_job: bool,
}

/// What the catalog says of a data object, in short.
#[derive(Default)]
#[allow(clippy::struct_excessive_bools)] // each is seen for itself, none excludes another
struct Brief {
    newest: UnixTime,
    in_flux: bool,
    /// A good replica is of the recorded version.
    is_same: bool,
    /// A good replica has the size of the recorded version, and its checksum if that is known.
    is_alike: bool,
    /// The replica that the record is about is there, however it is.
    has_recorded: bool,
}

impl Known {
    fn add(&mut self, names: &Attributes, triple: &Triple) {
        let id = || OmeroId::parse(&triple.value).ok();
        let attribute = triple.attribute.as_str();
        if attribute == names.state {
            self.state = State::parse(&triple.value);
        } else if attribute == names.version {
            self.version = Version::parse(&triple.value);
            self.proof = Proof::parse(&triple.units);
        } else if attribute == names.retry {
            self.retry = Retry::of(triple);
        } else if attribute == names.fileset {
            self.fileset = id();
        } else if attribute == names.member_of {
            self.fileset = id();
            self.is_member = true;
        } else if attribute == names.previous {
            self.previous = self.previous.max(id());
        } else if attribute == names.ignored {
            self.is_ignored = true;
        } else if attribute == names.job {
            self.has_job = true;
        }
    }

    /// As [`Config::is_with_an_agent`].
    fn is_with_an_agent(&self) -> bool {
        self.has_job && self.state == Some(State::Importing)
    }
}

impl Brief {
    fn add(&mut self, replica: &Replica, known: Option<&Known>) {
        self.newest = self.newest.max(replica.modify_time);
        let proof = known.and_then(|k| k.proof.as_ref());
        self.has_recorded |= proof.is_some_and(|p| p.is_in(replica));
        self.in_flux |= matches!(replica.status, ReplicaStatus::Intermediate | ReplicaStatus::Locked);
        if replica.status != ReplicaStatus::Good {
            return;
        }
        let version = Version { modify_time: replica.modify_time, size: replica.size };
        let recorded = known.and_then(|k| k.version);
        self.is_same |= recorded == Some(version);
        let is_proved = match proof {
            Some(Proof::Checksum(checksum)) => replica.checksum.as_ref() == Some(checksum),
            Some(Proof::Replica { .. }) => true,
            None => false,
        };
        self.is_alike |= is_proved && recorded.is_some_and(|v| v.size == version.size);
    }

    /// Whether a good replica has the bytes of the recorded version, whatever its time: see [`Proof::find`].
    fn has_same_bytes(&self) -> bool {
        self.is_alike && !self.has_recorded
    }
}

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
    /// its marker is there and nothing is being written. A time in the future, by more than the quiet period, is a
    /// wrong clock and holds nothing up. What has been quiet itself for `max_wait` goes even if the rest never
    /// settles, but for files that may belong together; what has been in flux for as long is the leftover of a
    /// client that died and is left out. Where a marker is asked for nothing goes without it.
    pub fn survey(&self) -> Result<Survey, CatalogError> {
        let mut survey = Survey::default();
        let known = self.known()?;
        let mut briefs: BTreeMap<DataId, Brief> = BTreeMap::new();
        let marker = self.scope.rules.complete_marker.as_ref();
        let mut is_marked = match marker {
            Some(Marker::Avu(attribute)) => {
                self.catalog.nearest_values(self.collection, attribute, self.scope.root)?.is_some()
            }
            Some(Marker::File(_)) | None => false,
        };
        let mut set_of = None;
        let raw_tags = self.raw_tags()?;
        self.catalog.replicas(self.id, Which::All, &mut |replica| {
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
        })?;
        let has_members = known.values().any(|k| k.is_member);
        if has_members && set_of.is_none() {
            set_of = Some("a fileset of several files that is in OMERO already".to_owned());
        }
        survey.may_join = set_of.is_some() && known.values().any(|k| k.fileset.is_some());
        survey.renewed = self.renewed(&survey, &briefs, &known);
        let mut hold = self.hold(&briefs, marker, is_marked, set_of.as_deref());
        let waits_for_agent = set_of.is_some() && known.values().any(Known::is_with_an_agent);
        if waits_for_agent {
            hold.wait_for_agent(self.config.retry_wait);
        }
        survey.again_in = hold.unsettled;
        for (id, brief) in &briefs {
            let known = known.get(id);
            let fileset_is_renewed =
                known.is_some_and(|k| k.fileset.is_some_and(|f| survey.renewed.contains(&f)));
            if !(needs_work(brief, known) || fileset_is_renewed) {
                continue;
            }
            if brief.in_flux {
                survey.later.insert(*id);
                continue;
            }
            if let Some(wait) = self.wait_of_retry(brief, known) {
                survey.later.insert(*id);
                survey.again_in = Some(survey.again_in.map_or(wait, |w| w.min(wait)));
                continue;
            }
            let is_old = self.age(brief) >= self.config.max_wait.as_secs();
            match (&hold.unsettled, &hold.reason) {
                (None, _) => drop(survey.todo.insert(*id)),
                (Some(_), None) if is_old => drop(survey.todo.insert(*id)),
                (Some(_), Some(_)) if is_old => {
                    survey.todo.insert(*id);
                    survey.waiting.insert(*id);
                }
                (Some(_), _) => drop(survey.later.insert(*id)),
            }
        }
        let is_waiting = hold.is_for_a_marker || waits_for_agent;
        if is_waiting && survey.todo.is_empty() && !Self::anything_to_do(&briefs, &known) {
            survey.again_in = None; // new data or the marker is an event, which brings a sweep of its own
        }
        let youngest = briefs.iter().filter(|(id, _)| survey.todo.contains(id));
        survey.age = youngest.map(|(_, brief)| self.age(brief)).min().unwrap_or(0);
        survey.waits_for = hold.reason;
        Ok(survey)
    }

    fn known(&self) -> Result<HashMap<DataId, Known>, CatalogError> {
        let names = &self.config.attributes;
        let Attributes { state, version, retry, fileset, member_of, previous, ignored, job, .. } = names;
        let wanted = [state, version, retry, fileset, member_of, previous, ignored, job];
        let mut known: HashMap<DataId, Known> = HashMap::new();
        // Where there are no agents any more nobody has a job.
        let wanted = wanted.map(String::as_str);
        let wanted = if self.config.agents.is_some() { &wanted[..] } else { &wanted[..wanted.len() - 1] };
        self.catalog.object_avus(self.id, Which::All, wanted, &mut |id, triple| {
            known.entry(id).or_default().add(names, &triple);
        })?;
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

    /// Whether anything would be done if it were settled.
    fn anything_to_do(briefs: &BTreeMap<DataId, Brief>, known: &HashMap<DataId, Known>) -> bool {
        briefs.iter().any(|(id, brief)| needs_work(brief, known.get(id)))
    }

    /// The filesets of which a file has changed and which are to be imported anew: not only that file, because
    /// Bio-Formats makes images of them together. An import that was begun is such a one too.
    fn renewed(
        &self,
        survey: &Survey,
        briefs: &BTreeMap<DataId, Brief>,
        known: &HashMap<DataId, Known>,
    ) -> BTreeSet<OmeroId> {
        let mut renewed = BTreeSet::new();
        for (id, brief) in briefs {
            let Some(known) = known.get(id) else { continue };
            match known.state {
                Some(State::Imported | State::Stale) => {
                    let changed = known.version.is_some() && !brief.is_same && !brief.has_same_bytes();
                    if changed
                        && self.scope.rules_of(survey.tagged.get(id)).on_overwrite == OnOverwrite::Reimport
                    {
                        renewed.extend(known.fileset);
                    }
                }
                Some(State::Importing) if known.has_job => {}
                Some(State::Pending | State::Importing) => renewed.extend(known.previous),
                Some(State::Failed | State::Skipped | State::Gone) | None => {}
            }
        }
        renewed
    }

    fn age(&self, brief: &Brief) -> u64 {
        self.now.saturating_sub(brief.newest)
    }

    /// How long one data object keeps its collection from being settled, in seconds.
    fn unsettled_by(&self, brief: &Brief) -> u64 {
        let quiet = self.scope.rules.quiet_period.as_secs();
        if brief.newest > self.now.saturating_add(quiet) {
            0
        } else if brief.in_flux {
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
                Hold { unsettled: seconds(unsettled(|b| b.in_flux)), reason: None, is_for_a_marker: false }
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

    /// How long until an import that could not be done is tried again; `None` if that is now.
    fn wait_of_retry(&self, brief: &Brief, known: Option<&Known>) -> Option<Duration> {
        let known = known.filter(|k| k.state == Some(State::Pending) && brief.is_same)?;
        let seconds = known.retry?.next.saturating_sub(self.now);
        (seconds > 0).then(|| Duration::from_secs(seconds))
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

/// Whether a data object has to be looked at: it has no record, its record is not final, or it has changed.
fn needs_work(brief: &Brief, known: Option<&Known>) -> bool {
    let Some(known) = known else { return true };
    if known.is_ignored || known.is_with_an_agent() {
        return false;
    }
    match known.state {
        None | Some(State::Pending | State::Importing | State::Skipped | State::Gone) => true,
        Some(State::Failed | State::Imported | State::Stale) => known.version.is_some() && !brief.is_same,
    }
}
