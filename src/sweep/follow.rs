//! Follow: imported data whose bytes lie elsewhere now.
//!
//! iRODS moves bytes when data is renamed, goes into the trash or comes out of it, or is moved to another resource. A link in
//! OMERO's repository leads to where they were. Which data has moved is seen by the record, which says where the link leads:
//! no question is asked of OMERO for data that lies where it lay. Where the link is to lead says the catalog, asked by the data
//! id: to a good replica of the recorded version that OMERO sees. The link is exchanged by whoever imports.
//!
//! It is done for data in collections that are not watched too, the trash among them: what was imported is shown wherever it
//! lies. The mark of the collection is what makes it durable, and the record is written last.

use super::mend::Pointed;
use super::plan::{self, Object, version_of};
use super::rested::Rested;
use super::scribe::NOT_THERE;
use super::unit::Unit;
use super::{Hold, PAGE, Report, Sweeper};
use crate::catalog::{CatalogError, Replica, ReplicaStatus, UnixTime, Which};
use irods_omero_config::Config;
use irods_omero_importer::follow::{Follow, Followed, MovedFile};
use irods_omero_importer::{Importing, Subject, check_path};
use irods_omero_model::decide::{Bytes, Recorded, Replicas};
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::{CollectionId, DataId, LogicalPath, OmeroId};
use irods_omero_model::record::{self, Print, Proof, Record, Retry, State, Triple, Version, Whereabouts};
use irods_omero_model::visibility::Location;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// After so many filesets of which OMERO could not be asked, the rest of a collection is left to the next look.
const ENOUGH_FAILED: usize = 3;

/// The longest wait between two tries.
const LONGEST_WAIT: u64 = 86_400;

/// Where the importer sees a replica of a data object.
pub(super) fn seen(config: &Config, replica: &Replica, path: &LogicalPath) -> Option<Vec<u8>> {
    let location = Location { physical_path: &replica.physical_path, hierarchy: &replica.hierarchy };
    config.visibility.through_vault(&location).or_else(|| config.visibility.through_mount(path))
}

/// Where a link is to lead, and what the record is to say then.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Goal {
    importer_path: String,
    version: Version,
    proof: Option<Proof>,
    at: Option<Whereabouts>,
    is_proved: bool,
}

/// What is to be done about data that does not lie where its link leads.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Course {
    /// Nothing: it has other bytes, which is another matter.
    Nothing,
    /// Nothing yet: it is being written.
    Wait,
    /// The link is to lead there.
    To(Goal),
    /// OMERO does not see it anywhere; a sentence says why and what to do.
    Nowhere(String),
}

/// Data that has moved.
struct Moved {
    subject: Subject,
    path: LogicalPath,
    record: Record,
    goal: Goal,
    place: Print,
}

/// A link that does not lead where it should.
pub(super) struct MovedLink {
    pub subject: Subject,
    pub path: LogicalPath,
    pub record: Record,
    /// Where it leads.
    pub from: Print,
}

/// Whether a record is of images in OMERO whose link is known.
fn has_link(recorded: &Recorded) -> bool {
    matches!(recorded.state, Some(State::Imported | State::Stale))
        && recorded.fileset.is_some()
        && recorded.place.is_some()
}

/// What is to be done about data that may not lie where its link leads.
fn course(config: &Config, recorded: &Recorded, object: &Object, path: &LogicalPath) -> Course {
    let replicas = Replicas::of(recorded, &object.replicas);
    let bytes = replicas.bytes(Some(recorded));
    if replicas.written {
        return Course::Wait;
    }
    if !matches!(bytes, Bytes::Recorded | Bytes::SameBytes) {
        return Course::Nothing;
    }
    let is_proved = |replica: &Replica| {
        let checksum = recorded.proof.as_ref().and_then(Proof::checksum);
        recorded.version == Some(version_of(replica))
            || checksum.is_some_and(|c| replica.checksum.as_deref() == Some(c))
    };
    // Good replicas have the same bytes, each with a time of its own.
    let has_bytes =
        |replica: &&Replica| is_proved(replica) || recorded.version.is_some_and(|v| v.size == replica.size);
    let good: Vec<&Replica> = object.good().filter(has_bytes).collect();
    let in_vault = good.iter().find_map(|replica| {
        let location = Location { physical_path: &replica.physical_path, hierarchy: &replica.hierarchy };
        config.visibility.through_vault(&location).map(|seen| (*replica, seen))
    });
    let mounted = || {
        let first = good.first().copied()?;
        config.visibility.through_mount(path).map(|seen| (first, seen))
    };
    let Some((replica, seen)) = in_vault.or_else(mounted) else {
        let hierarchies: Vec<&str> = good.iter().map(|r| r.hierarchy.as_str()).collect();
        return Course::Nowhere(format!(
            "its images in OMERO cannot be opened: the data was moved to where OMERO does not see it ({}). Move it back, or \
             replicate it to where OMERO sees it: {}",
            hierarchies.join(", "),
            config.visibility.describe()
        ));
    };
    match check_path(&seen) {
        Ok(seen) => Course::To(Goal {
            importer_path: seen.to_owned(),
            version: version_of(replica),
            proof: Some(Proof::of(replica)),
            at: Some(Whereabouts::of(replica)),
            is_proved: is_proved(replica),
        }),
        Err(why) => Course::Nowhere(format!("its images in OMERO cannot be opened: {why}")),
    }
}

impl Sweeper<'_> {
    /// Has OMERO's links lead to where the data objects directly in a collection are now, if it was imported. Gives whether some
    /// do not.
    pub(super) fn follow_objects(
        &self,
        id: CollectionId,
        collection: &LogicalPath,
        hold: &Hold,
        report: &mut Report,
    ) -> Result<bool, CatalogError> {
        let elsewhere = self.elsewhere(id, collection)?;
        if elsewhere.is_empty() {
            return Ok(false);
        }
        let before = report.followed;
        let count = elsewhere.len();
        let names = &self.config.attributes;
        let mut moved: BTreeMap<(OmeroIdentity, OmeroId), Vec<Moved>> = BTreeMap::new();
        let ids: Vec<DataId> = elsewhere.into_iter().collect();
        for page in ids.chunks(PAGE) {
            for (data, (object, record)) in plan::read(self.config, self.catalog, id, page)? {
                let Some(name) = object.replicas.first().map(|r| &r.name) else { continue };
                let Ok(path) = collection.join(name) else { continue };
                let subject = Subject::DataObject(data);
                let recorded = Recorded::of(names, &record);
                let course = course(self.config, &recorded, &object, &path);
                self.gather((subject, path, record), course, &mut moved, report)?;
            }
        }
        self.follow_all(collection, moved, hold, report)?;
        Ok(report.followed - before < count)
    }

    /// The same of a directory that is one image.
    pub(super) fn follow_directory(
        &self,
        id: CollectionId,
        collection: &LogicalPath,
        hold: &Hold,
        report: &mut Report,
    ) -> Result<(), CatalogError> {
        let names = &self.config.attributes;
        let record = self.catalog.collection_record(id)?;
        let recorded = Recorded::of(names, &record);
        if !has_link(&recorded) {
            return Ok(());
        }
        let Ok(object) = Unit::read(self.catalog, id, collection)?.object else { return Ok(()) };
        let place = recorded.place;
        let lies_there = |r: &Replica| seen(self.config, r, collection).map(|seen| Print::of(&seen)) == place;
        if object.replicas.iter().any(lies_there) {
            return Ok(());
        }
        let mut moved = BTreeMap::new();
        let course = course(self.config, &recorded, &object, collection);
        let subject = Subject::Collection(id);
        self.gather((subject, collection.clone(), record), course, &mut moved, report)?;
        self.follow_all(collection, moved, hold, report)
    }

    /// The imported data objects directly in a collection of which no good replica lies where their link leads.
    fn elsewhere(
        &self,
        id: CollectionId,
        collection: &LogicalPath,
    ) -> Result<BTreeSet<DataId>, CatalogError> {
        let names = &self.config.attributes;
        if self.importing.is_none() {
            return Ok(BTreeSet::new());
        }
        let wanted = [&names.state, &names.version, &names.fileset, &names.member_of];
        let mut known: BTreeMap<DataId, Recorded> = BTreeMap::new();
        let parts = self.parts_that_may_have_moved(id, collection)?;
        for part in &parts {
            self.catalog.object_avus(id, *part, &wanted.map(String::as_str), &mut |id, triple| {
                known.entry(id).or_default().add(names, &triple);
            })?;
        }
        known.retain(|_, recorded| has_link(recorded));
        if known.is_empty() {
            return Ok(BTreeSet::new());
        }
        let mut elsewhere: BTreeSet<DataId> = BTreeSet::new();
        let mut there: BTreeSet<DataId> = BTreeSet::new();
        let mut look = |replica: Replica| {
            let Some(recorded) = known.get(&replica.data_id) else { return };
            let mut lies_there = false;
            if replica.status == ReplicaStatus::Good
                && let Ok(path) = collection.join(&replica.name)
            {
                let seen = seen(self.config, &replica, &path);
                lies_there = seen.is_some_and(|seen| Some(Print::of(&seen)) == recorded.place);
            }
            if lies_there {
                there.insert(replica.data_id)
            } else {
                elsewhere.insert(replica.data_id)
            };
        };
        for part in &parts {
            self.catalog.replicas(id, *part, &mut look)?;
        }
        elsewhere.retain(|id| !there.contains(id));
        Ok(elsewhere)
    }

    /// Which data objects of a collection may have moved since all of it was read: those that the sweep reads too.
    fn parts_that_may_have_moved(
        &self,
        id: CollectionId,
        collection: &LogicalPath,
    ) -> Result<Vec<Which>, CatalogError> {
        let said = self.catalog.marks_at(collection, &self.config.attributes.rested)?;
        let [one] = said.as_slice() else { return Ok(vec![Which::All]) };
        let Some(rested) = Rested::parse(one).filter(|rested| rested.is_new(self.clock.now())) else {
            return Ok(vec![Which::All]);
        };
        let ids: Vec<DataId> = self.catalog.changed_in(id, rested.last, rested.before)?.into_iter().collect();
        Ok(plan::runs(&ids).map(|run| run.1).collect())
    }

    /// Whether the next try is due, or the data lies elsewhere than at the last.
    fn is_time(&self, record: &Record, to: Print, report: &mut Report) -> bool {
        let names = &self.config.attributes;
        let wait = record.retry(names).map_or(0, |retry| retry.next.saturating_sub(self.clock.now()));
        if wait == 0 || record.not_followed_to(names).is_some_and(|other| other != to) {
            return true;
        }
        if wait < LONGEST_WAIT / 2 {
            report.again(Duration::from_secs(wait));
        }
        false
    }

    /// Puts data that has moved to the others of its fileset, or writes why its link is left.
    fn gather(
        &self,
        (subject, path, record): (Subject, LogicalPath, Record),
        course: Course,
        moved: &mut BTreeMap<(OmeroIdentity, OmeroId), Vec<Moved>>,
        report: &mut Report,
    ) -> Result<(), CatalogError> {
        let names = &self.config.attributes;
        match course {
            Course::Nothing => Ok(()),
            Course::Wait => {
                report.again(self.config.retry_wait);
                Ok(())
            }
            Course::Nowhere(why) => {
                // Only the catalog was asked, so this costs nothing at the next look.
                if record.reason(names) == Some(record::sentence(&why).as_str()) {
                    return Ok(());
                }
                log::warn!("act=follow path={path} failed={why:?}");
                let triples = record.not_followed(names, &why, None, None);
                self.rewrite(subject, &path, &record, &triples)
            }
            Course::To(goal) => {
                if !self.is_time(&record, Print::of(goal.importer_path.as_bytes()), report) {
                    return Ok(());
                }
                let (Some(who), Some(fileset), Some(place)) =
                    (record.owner(names), record.fileset(names), record.place(names))
                else {
                    return Ok(());
                };
                let all = moved.entry((who, fileset)).or_default();
                all.push(Moved { subject, path, record, goal, place });
                Ok(())
            }
        }
    }

    fn follow_all(
        &self,
        collection: &LogicalPath,
        moved: BTreeMap<(OmeroIdentity, OmeroId), Vec<Moved>>,
        hold: &Hold,
        report: &mut Report,
    ) -> Result<(), CatalogError> {
        let names = &self.config.attributes;
        // What could not be followed before comes last: it must not keep the others from their turn.
        let has_waited = |files: &[Moved]| files.iter().any(|m| m.record.retry(names).is_some());
        let (last, first): (Vec<_>, Vec<_>) = moved.into_iter().partition(|(_, files)| has_waited(files));
        let (mut failed, mut why_not) = (0, String::new());
        for ((identity, fileset), files) in first.into_iter().chain(last) {
            if self.is_taken_over(hold)? {
                log::warn!("act=follow collection={collection} why=\"taken over by another sweep\"");
                report.again(self.config.sweep_expiry);
                return Ok(());
            }
            if failed >= ENOUGH_FAILED {
                for one in &files {
                    self.complain(one, &why_not, true, report)?;
                }
                continue;
            }
            for some in files.chunks(PAGE) {
                let moved = some.iter().map(|one| one.file(self.config)).collect();
                let follow = Follow { identity: identity.clone(), fileset, files: moved };
                match self.ask_to_follow(collection, &follow, hold) {
                    Ok(outcomes) => {
                        for (one, outcome) in some.iter().zip(outcomes) {
                            self.note(one, outcome, report)?;
                        }
                    }
                    Err(why) => {
                        (failed, why_not) = (failed + 1, why);
                        for one in some {
                            self.complain(one, &why_not, true, report)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Has whoever imports point the links. `Err`: why that could not be done.
    fn ask_to_follow(
        &self,
        collection: &LogicalPath,
        follow: &Follow,
        hold: &Hold,
    ) -> Result<Vec<Followed>, String> {
        let now = self.clock.now();
        match self.importing {
            None => Err("nothing is configured that reaches OMERO".to_owned()),
            Some(Importing::Here(importer)) => {
                let mut alive = || {
                    if let Err(error) = self.is_alive(hold) {
                        log::warn!("act=renew collection={collection} failed=\"{error}\"");
                    }
                };
                importer.follow(follow, now, &mut alive).map_err(|error| error.to_string())
            }
            Some(Importing::ByAgents(agents)) => {
                let zone = String::from_utf8_lossy(collection.elements().next().unwrap_or_default());
                agents.follow(&zone, follow)
            }
        }
    }

    /// Points one link that leads elsewhere to where its data is.
    pub(super) fn point_one(
        &self,
        collection: &LogicalPath,
        link: MovedLink,
        object: &Object,
        hold: &Hold,
    ) -> Result<Pointed, CatalogError> {
        let names = &self.config.attributes;
        let MovedLink { subject, path, record, from } = link;
        let recorded = Recorded::of(names, &record);
        let left = |why: &str| Ok(Pointed::Left(why.to_owned()));
        if !has_link(&recorded) {
            return left("its record does not say where its link is to lead");
        }
        let goal = match course(self.config, &recorded, object, &path) {
            Course::To(goal) => goal,
            Course::Nothing => return left("it has other bytes than those that were imported"),
            Course::Wait => return left("it is being written: ask again later"),
            Course::Nowhere(why) => return Ok(Pointed::Left(why)),
        };
        let (Some(identity), Some(fileset)) = (record.owner(names), record.fileset(names)) else {
            return left("its record does not say whose the fileset is");
        };
        let moved = Moved { subject, path, record, goal, place: from };
        let follow = Follow { identity, fileset, files: vec![moved.file(self.config)] };
        let outcome = match self.ask_to_follow(collection, &follow, hold) {
            Ok(outcomes) => outcomes.into_iter().next(),
            Err(why) => return Ok(Pointed::Left(why)),
        };
        match outcome {
            Some(Followed::Done) => {
                self.note(&moved, Followed::Done, &mut Report::default())?;
                Ok(Pointed::Done)
            }
            // The record keeps what it says: whoever asked is told.
            Some(Followed::Left(why) | Followed::Later(why)) => Ok(Pointed::Left(why)),
            None => left("nothing was said of it"),
        }
    }

    /// Writes what became of the link.
    fn note(&self, moved: &Moved, outcome: Followed, report: &mut Report) -> Result<(), CatalogError> {
        let Moved { subject, path, record, goal, .. } = moved;
        match outcome {
            Followed::Done => {
                let place = Print::of(goal.importer_path.as_bytes());
                let names = &self.config.attributes;
                let triples = record.followed(names, goal.version, goal.proof.as_ref(), goal.at, place);
                log::info!("act=follow path={path} subject=\"{subject}\"");
                report.followed += 1;
                self.rewrite(*subject, path, record, &triples)
            }
            Followed::Left(why) => self.complain(moved, &why, false, report),
            Followed::Later(why) => self.complain(moved, &why, true, report),
        }
    }

    /// Writes why a link does not lead to where the data is. `will_pass`: it is tried again.
    fn complain(
        &self,
        moved: &Moved,
        why: &str,
        will_pass: bool,
        report: &mut Report,
    ) -> Result<(), CatalogError> {
        let Moved { subject, path, record, goal, .. } = moved;
        let (names, now) = (&self.config.attributes, self.clock.now());
        let since = record.retry(names).map_or(now, |retry| retry.since);
        let wait = next_wait(self.config.retry_wait.as_secs(), now.saturating_sub(since), will_pass);
        let retry = Retry { next: now.saturating_add(wait), since };
        if will_pass {
            report.again(Duration::from_secs(wait));
        }
        log::warn!("act=follow path={path} failed={why:?}");
        let to = Print::of(goal.importer_path.as_bytes());
        let triples = record.not_followed(names, why, Some(to), Some(retry));
        self.rewrite(*subject, path, record, &triples)
    }

    /// Writes a record. Data that has moved on, or is gone, is no error: its own event marks where it is.
    fn rewrite(
        &self,
        subject: Subject,
        path: &LogicalPath,
        record: &Record,
        triples: &[Triple],
    ) -> Result<(), CatalogError> {
        match self.catalog.replace(subject.kind(), path, &record.triples, triples) {
            Err(CatalogError::Call { code, .. }) if NOT_THERE.contains(&code) => Ok(()),
            written => written,
        }
    }
}

/// How long until the next try, in seconds: twice as long each time, a day at most. What does not pass by itself is looked at
/// again after a day, or when the data moves.
fn next_wait(first: u64, waited: UnixTime, will_pass: bool) -> u64 {
    if will_pass { waited.clamp(first.max(1), LONGEST_WAIT) } else { LONGEST_WAIT }
}

impl Moved {
    fn file(&self, config: &Config) -> MovedFile {
        MovedFile {
            subject: self.subject,
            logical_path: self.path.clone(),
            importer_path: self.goal.importer_path.clone(),
            place: self.place,
            version: self.goal.version,
            is_proved: self.goal.is_proved,
            is_key: !Recorded::of(&config.attributes, &self.record).is_member,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use irods_omero_model::visibility::{Vault, Visibility};

    fn config() -> Config {
        let mut config = Config::parse(&serde_json::json!({})).unwrap();
        let vaults = vec![Vault::new("/vault", "/seen", None)];
        config.visibility = Visibility { vaults, ..Visibility::default() };
        config
    }

    fn replica(number: u32, path: &str, time: UnixTime) -> Replica {
        Replica {
            data_id: DataId::parse("7").unwrap(),
            collection: CollectionId::parse("8").unwrap(),
            name: b"a.tif".to_vec(),
            number,
            status: ReplicaStatus::Good,
            size: 5,
            modify_time: time,
            fault: None,
            physical_path: path.as_bytes().to_vec(),
            hierarchy: "r".to_owned(),
            checksum: None,
            owner_name: "alice".to_owned(),
            owner_zone: "z".to_owned(),
        }
    }

    fn recorded(replica: &Replica) -> Recorded {
        Recorded {
            state: Some(State::Imported),
            version: Some(version_of(replica)),
            proof: Some(Proof::of(replica)),
            place: Some(Print::of(b"/seen/a.tif")),
            ..Recorded::default()
        }
    }

    fn course_of(was: &Replica, now: Vec<Replica>) -> Course {
        let path = LogicalPath::parse(b"/z/a.tif").unwrap();
        course(&config(), &recorded(was), &Object { replicas: now }, &path)
    }

    #[test]
    fn the_link_is_to_lead_to_a_good_replica_with_the_recorded_bytes_that_omero_sees() {
        let was = replica(0, "/vault/a.tif", 1);
        let to = |course: Course| match course {
            Course::To(goal) => (goal.importer_path, goal.is_proved),
            other => panic!("{other:?}"),
        };
        let renamed = replica(0, "/vault/b.tif", 9);
        assert_eq!(to(course_of(&was, vec![renamed.clone()])), ("/seen/b.tif".to_owned(), false));
        let same_time = replica(0, "/vault/b.tif", 1);
        assert_eq!(to(course_of(&was, vec![same_time])), ("/seen/b.tif".to_owned(), true));
        let hidden = replica(0, "/hidden/a.tif", 1);
        assert_eq!(
            to(course_of(&was, vec![hidden.clone(), replica(1, "/vault/2/a.tif", 2)])).0,
            "/seen/2/a.tif"
        );
        assert!(matches!(course_of(&was, vec![hidden]), Course::Nowhere(why) if why.contains("/vault")));
        let bad = replica(0, "/vault/.a.tif", 1);
        assert!(matches!(course_of(&was, vec![bad]), Course::Nowhere(why) if why.contains("dot")));
    }

    #[test]
    fn other_bytes_and_bytes_that_are_being_written_are_not_followed() {
        let was = replica(0, "/vault/a.tif", 1);
        let longer = Replica { size: 6, ..replica(0, "/vault/b.tif", 9) };
        assert_eq!(course_of(&was, vec![longer]), Course::Nothing);
        assert_eq!(
            course_of(&was, vec![replica(0, "/vault/a.tif", 9)]),
            Course::Nothing,
            "overwritten in place"
        );
        let stale = Replica { status: ReplicaStatus::Stale, ..replica(0, "/vault/b.tif", 1) };
        assert_eq!(course_of(&was, vec![stale]), Course::Nothing);
        let written = Replica { status: ReplicaStatus::Intermediate, ..replica(1, "/vault/c.tif", 9) };
        assert_eq!(course_of(&was, vec![replica(0, "/vault/b.tif", 1), written]), Course::Wait);
    }

    #[test]
    fn tries_come_further_and_further_apart() {
        assert_eq!([0, 5, 50, 900_000].map(|waited| next_wait(10, waited, true)), [10, 10, 50, 86_400]);
        assert_eq!(next_wait(10, 0, false), 86_400);
    }
}
