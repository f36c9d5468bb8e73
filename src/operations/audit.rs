//! `{"operation":"audit",...}`: the doctor. It compares records, replicas, OMERO's filesets and the links in OMERO's repository,
//! page by page, and mends what can be mended without anybody's deciding anything.
//!
//! What is wrong says [`irods_omero_model::doctor`]; here is what is looked at, in which order, and by whose right. A page ends with
//! a cursor, so that whoever asks goes on with the next: neither memory nor time grows with the zone.

mod cursor;
mod facts;
pub(super) mod patrol;
mod repair;

pub use cursor::Cursor;

use super::subject::{Subject, Thing, things};
use super::{Context, OperationError, Request};
use crate::catalog::{Item, Kind, Level, Sight, Which};
use cursor::Phase;
use facts::{Look, Looked};
use irods_omero_importer::Importing;
use irods_omero_importer::inspect::Inspection;
use irods_omero_model::doctor::{Code, Finding, Repair};
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::{CollectionId, DataId, IrodsUser, LogicalPath, OmeroName};
use irods_omero_model::record::State;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How many data objects one page looks at, unless whoever asks says otherwise.
pub const PAGE: u64 = 500;

/// How many data objects one page looks at at most.
pub const LARGEST_PAGE: u64 = 1_000;

/// How many ids of data objects the first question of a page spans.
const FIRST_SPAN: u64 = 2_000;

/// How many ids one question spans at most.
const WIDEST_SPAN: u64 = 200_000;

/// How many questions one page asks for where there is nothing.
const QUESTIONS: usize = 50;

/// How many collections below one are read at a time.
const COLLECTIONS: usize = 100;

/// How many marks and locks are told in one page.
const MARKS: usize = 500;

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// A data object, or a collection; without it the zone.
    pub path: Option<LogicalPath>,
    /// Whether all below the collection is meant too.
    pub recursive: bool,
    /// Only the data of this user.
    pub user: Option<IrodsUser>,
    /// Whether what can be mended is mended.
    pub repair: bool,
    /// Where to go on.
    pub after: Option<Cursor>,
    /// How many data objects to look at.
    pub limit: usize,
}

/// One thing that was found, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    finding: Finding,
    path: String,
    about: About,
    /// What became of its repair.
    outcome: Option<Outcome>,
}

/// What a finding is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum About {
    /// Data in a collection, or the collection itself.
    Data { collection: CollectionId, collection_path: LogicalPath, data: Option<DataId> },
    /// Nothing in iRODS.
    Other,
}

/// What became of a repair.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// It is mended.
    Done,
    /// A job is going to do it.
    Asked,
    /// It is not, and why.
    Failed(String),
}

/// What one page has looked at.
#[derive(Debug, Default)]
struct Page {
    looked_at: u64,
    found: Vec<Found>,
    next: Option<Cursor>,
    /// What could not be looked at, each sentence once.
    blind: BTreeSet<String>,
}

impl Page {
    fn add(&mut self, path: &LogicalPath, about: About, finding: Finding) {
        self.found.push(Found { finding, path: path.display().into_owned(), about, outcome: None });
    }
}

impl Audit {
    /// Looks at one page, and mends what can be mended if that is wanted.
    ///
    /// # Errors
    /// The client may not ask, there is nothing, or the catalog failed.
    pub fn answer(&self, context: &Context<'_>, request: &Request) -> Result<Value, OperationError> {
        let subject = self.permitted(context)?;
        if self.repair && !context.on_provider {
            context.leave_to_provider(request)?;
            return Ok(json!({"queued": true}));
        }
        let mut page = self.page(context, subject.as_ref())?;
        if self.repair {
            repair::all(context, &mut page.found)?;
        }
        Ok(told(&page))
    }

    /// What the path names, if the client may ask for it.
    fn permitted(&self, context: &Context<'_>) -> Result<Option<Subject>, OperationError> {
        if let Some(path) = &self.path {
            return Subject::find(context, path, Level::WRITE).map(Some);
        }
        match (&self.user, context.catalog.client()) {
            (Some(user), Some(client)) if *user == client => {}
            (Some(user), _) => {
                context.administrators_only(&format!("have all data of {user} looked at; name a path"))?;
            }
            (None, _) => context.administrators_only("have the whole zone looked at; name a path")?,
        }
        Ok(None)
    }

    fn page(&self, context: &Context<'_>, subject: Option<&Subject>) -> Result<Page, OperationError> {
        let mut page = Page::default();
        let mut look = Look::new(context)?;
        match subject {
            None => self.page_of_zone(context, &mut look, &mut page)?,
            Some(subject) => match subject.item {
                Item::Collection(id) if !subject.is_unit => {
                    self.page_of_tree(context, (id, &subject.path), &mut look, &mut page)?;
                }
                Item::Collection(id) => {
                    let (mut all, collection) = (Vec::new(), (id, &subject.path));
                    subject.each(context, false, &mut |thing| {
                        all.push(thing);
                        Ok(())
                    })?;
                    self.examine(context, collection, all, &mut look, &mut page)?;
                }
                Item::DataObject(_, id) => {
                    let parent = subject.path.parent();
                    let parent = parent.ok_or_else(|| OperationError::NotThere(subject.path.clone()))?;
                    let mut all = Vec::new();
                    subject.each(context, false, &mut |thing| {
                        all.push(thing);
                        Ok(())
                    })?;
                    self.examine(context, (id, &parent), all, &mut look, &mut page)?;
                }
            },
        }
        look.finish(&mut page);
        Ok(page)
    }

    /// The whole zone, or all data of a user: marks and locks, data objects by their ids, directories, and OMERO's users.
    fn page_of_zone(
        &self,
        context: &Context<'_>,
        look: &mut Look<'_>,
        page: &mut Page,
    ) -> Result<(), OperationError> {
        let first = Phase::Data { after: 0, span: FIRST_SPAN };
        let cursor = self.after.clone().map_or(first, |cursor| cursor.phase);
        page.next = match cursor {
            Phase::Data { after, span } => {
                if after == 0 && self.user.is_none() {
                    Self::marks(context, &|_| true, page)?;
                }
                self.data_of_zone(context, (after, span), look, page)?
            }
            Phase::Directories { after } => self.directories(context, after, look, page)?,
            Phase::Omero { user, after } => self.filesets(context, (user.as_deref(), after), page)?,
            Phase::Tree { .. } => Err(OperationError::Impossible(
                "/after: is a cursor of another request: begin without one".to_owned(),
            ))?,
        }
        .map(Cursor::at);
        Ok(())
    }

    fn data_of_zone(
        &self,
        context: &Context<'_>,
        (mut after, mut span): (u64, u64),
        look: &mut Look<'_>,
        page: &mut Page,
    ) -> Result<Option<Phase>, OperationError> {
        let (catalog, names) = (context.catalog, &context.config.attributes);
        let last = catalog.last_data()?;
        let mut wanted: BTreeMap<CollectionId, BTreeSet<DataId>> = BTreeMap::new();
        let mut count = 0;
        for _ in 0..QUESTIONS {
            if after >= last || count >= self.limit {
                break;
            }
            let ids = after + 1..=after.saturating_add(span);
            let mut records: BTreeMap<DataId, CollectionId> = BTreeMap::new();
            catalog.records_between(&ids, &mut |id, collection, triple| {
                if triple.attribute == names.state || triple.attribute == names.version {
                    records.insert(id, collection);
                }
            })?;
            let room = self.limit - count;
            let is_full = records.len() > room;
            for (id, collection) in records.into_iter().take(room) {
                (after, count) = (id.number(), count + 1);
                wanted.entry(collection).or_default().insert(id);
            }
            if is_full {
                span = (span / 2).max(FIRST_SPAN / 4);
            } else {
                after = *ids.end();
                span = (span * 2).min(WIDEST_SPAN);
            }
        }
        for (id, ids) in wanted {
            let Some(path) = catalog.collection_path(id)? else { continue };
            let (Some(first), Some(last)) = (ids.first(), ids.last()) else { continue };
            let mut all = things(context, id, &path, Which::Between(*first, *last))?;
            all.retain(|thing| thing.replicas.first().is_some_and(|r| ids.contains(&r.data_id)));
            self.examine(context, (id, &path), all, look, page)?;
        }
        Ok(Some(if after >= last { Phase::Directories { after: 0 } } else { Phase::Data { after, span } }))
    }

    /// The directories that are one image.
    fn directories(
        &self,
        context: &Context<'_>,
        after: u64,
        look: &mut Look<'_>,
        page: &mut Page,
    ) -> Result<Option<Phase>, OperationError> {
        let Context { config, catalog, .. } = *context;
        let all = catalog.collection_avus(&[&config.attributes.state], Sight::All)?;
        let ids: BTreeSet<CollectionId> =
            all.into_iter().map(|(id, _)| id).filter(|id| id.number() > after).collect();
        // One of them may have a hundred thousand chunks.
        let some: Vec<CollectionId> = ids.iter().copied().take((self.limit / 10).max(1)).collect();
        for id in &some {
            let Some(path) = catalog.collection_path(*id)? else { continue };
            let record = catalog.collection_record(*id)?;
            let thing = Thing { path: path.clone(), kind: Kind::Collection, record, replicas: Vec::new() };
            self.examine(context, (*id, &path), vec![thing], look, page)?;
        }
        Ok(Some(match some.last() {
            Some(last) if some.len() < ids.len() => Phase::Directories { after: last.number() },
            _ => Phase::Omero { user: None, after: 0 },
        }))
    }

    /// From OMERO's end: filesets of ours whose data is not in iRODS any more, or whose record does not name them. One page is of one
    /// OMERO user.
    fn filesets(
        &self,
        context: &Context<'_>,
        (user, after): (Option<&str>, u64),
        page: &mut Page,
    ) -> Result<Option<Phase>, OperationError> {
        let Context { config, catalog, sweeper, .. } = *context;
        let Some(Importing::Here(importer)) = sweeper.importing else {
            page.blind.insert(Look::no_omero(context));
            return Ok(None);
        };
        // Those who have had anything imported.
        let mut names: BTreeSet<String> = match &self.user {
            Some(user) => facts::identity_of(context, user, None)?
                .map(|i| i.user.as_str().to_owned())
                .into_iter()
                .collect(),
            None => catalog.counts(&config.attributes.owner, Sight::All)?.into_keys().collect(),
        };
        names.retain(|name| user.is_none_or(|user| name.as_str() > user || (name == user && after > 0)));
        let mut rest = names.into_iter();
        let Some(name) = rest.next() else { return Ok(None) };
        let next = |after| Some(Phase::Omero { user: Some(name.clone()), after });
        let Ok(user) = OmeroName::parse(&name) else { return Ok(next(0)) };
        let below =
            config.visibility.roots().iter().map(|root| root.to_string_lossy().into_owned()).collect();
        let inspection = Inspection { below, ..Inspection::default() };
        let identity = OmeroIdentity { user, group: None };
        let inspected = match importer.inspect(&identity, &inspection, sweeper.clock.now(), &mut || {}) {
            Ok(inspected) => inspected,
            Err(error) => {
                page.blind.insert(format!("the filesets of '{name}' in OMERO: {error}"));
                return Ok(next(0));
            }
        };
        let ours = inspected.filesets.into_iter().filter(|f| f.mark.is_some() && f.id.number() > after);
        let mut ours: Vec<_> = ours.collect();
        let is_more = ours.len() > self.limit;
        ours.truncate(self.limit);
        for fileset in &ours {
            page.looked_at += 1;
            page.found.extend(facts::without_data(context, fileset)?);
        }
        Ok(match ours.last() {
            Some(last) if is_more => next(last.id.number()),
            _ => next(0),
        })
    }

    /// A collection, and with `recursive` all below it.
    fn page_of_tree(
        &self,
        context: &Context<'_>,
        (top, top_path): (CollectionId, &LogicalPath),
        look: &mut Look<'_>,
        page: &mut Page,
    ) -> Result<(), OperationError> {
        let Context { config, catalog, .. } = *context;
        let (mut at, mut after, mut span) = match self.after.clone().map(|cursor| cursor.phase) {
            None => {
                let is_inside = |path: &LogicalPath| {
                    let rest = path.as_bytes().strip_prefix(top_path.as_bytes());
                    rest.is_some_and(|rest| {
                        rest.is_empty() || (self.recursive && rest.first() == Some(&b'/'))
                    })
                };
                Self::marks(context, &is_inside, page)?;
                (None, 0, u64::MAX)
            }
            Some(Phase::Tree { collection, after, span }) => (collection, after, span),
            Some(_) => Err(OperationError::Impossible(
                "/after: is a cursor of another request: begin without one".to_owned(),
            ))?,
        };
        let mut room = self.limit;
        loop {
            let here = match at {
                None => Some((top, top_path.clone())),
                // A cursor is what somebody says: it leads nowhere but below the collection that was asked for.
                Some(id) => catalog
                    .collection_path(id)?
                    .filter(|path| is_below(path, top_path))
                    .map(|path| (id, path)),
            };
            if let Some((id, path)) = here {
                let rest = self.part_of(context, (id, &path), (after, span, room), look, page)?;
                room = room.saturating_sub(rest.taken);
                if let Some((after, span)) = rest.next {
                    page.next = Some(Cursor::at(Phase::Tree { collection: at, after, span }));
                    return Ok(());
                }
            }
            if !self.recursive {
                return Ok(());
            }
            // What lies within a directory that is one image has no record of its own.
            let mut last = at;
            let next = loop {
                let some = catalog.subcollections(top_path, last, COLLECTIONS)?;
                let Some((end, _)) = some.last() else { break None };
                last = Some(*end);
                let is_own = |path: &LogicalPath| {
                    config.unit_of(path.as_bytes()).is_none_or(|unit| unit == path.as_bytes())
                };
                if let Some((id, _)) = some.iter().find(|(_, path)| is_own(path)) {
                    break Some(*id);
                }
            };
            let Some(next) = next else { return Ok(()) };
            (at, after, span) = (Some(next), 0, u64::MAX);
            if room == 0 {
                page.next = Some(Cursor::at(Phase::Tree { collection: at, after, span }));
                return Ok(());
            }
        }
    }

    /// Some of the data objects directly in a collection, those with the lowest ids after one; or the collection itself, if it is
    /// one image.
    fn part_of(
        &self,
        context: &Context<'_>,
        (id, path): (CollectionId, &LogicalPath),
        (after, span, room): (u64, u64, usize),
        look: &mut Look<'_>,
        page: &mut Page,
    ) -> Result<Part, OperationError> {
        let Context { config, catalog, .. } = *context;
        if config.unit_of(path.as_bytes()) == Some(path.as_bytes()) {
            let record = catalog.collection_record(id)?;
            let thing = Thing { path: path.clone(), kind: Kind::Collection, record, replicas: Vec::new() };
            self.examine(context, (id, path), vec![thing], look, page)?;
            return Ok(Part { taken: 1, next: None });
        }
        let room = room.max(1);
        let end = after.saturating_add(span).min(i64::MAX.unsigned_abs());
        let (Some(first), Some(last)) = (DataId::from_number(after + 1), DataId::from_number(end)) else {
            return Ok(Part { taken: 0, next: None });
        };
        // The lowest ids; no more are held, however many there are.
        let mut ids: BTreeSet<DataId> = BTreeSet::new();
        let mut is_more = false;
        catalog.replicas(id, Which::Between(first, last), &mut |replica| {
            ids.insert(replica.data_id);
            if ids.len() > room {
                ids.pop_last();
                is_more = true;
            }
        })?;
        let taken = ids.len();
        if let (Some(first), Some(last)) = (ids.first(), ids.last()) {
            let all = things(context, id, path, Which::Between(*first, *last))?;
            self.examine(context, (id, path), all, look, page)?;
        }
        let is_bounded = end < i64::MAX.unsigned_abs();
        let next = match ids.last() {
            // The next question spans about as many ids as these did.
            Some(last) if is_more => {
                let spanned = last.number().saturating_sub(after).max(FIRST_SPAN);
                Some((last.number(), spanned.saturating_mul(2)))
            }
            // A bounded span with little in it says nothing about what is behind it.
            _ if is_bounded => Some((end, u64::MAX)),
            _ => None,
        };
        Ok(Part { taken, next })
    }

    /// Hands things of one collection to the doctor.
    fn examine(
        &self,
        context: &Context<'_>,
        (id, path): (CollectionId, &LogicalPath),
        mut all: Vec<Thing>,
        look: &mut Look<'_>,
        page: &mut Page,
    ) -> Result<(), OperationError> {
        if let Some(user) = &self.user {
            let is_theirs = |thing: &Thing| match thing.replicas.first() {
                Some(replica) => replica.owner_name == user.name() && replica.owner_zone == user.zone(),
                // A directory is whose data it is that was imported for.
                None => thing
                    .record
                    .mapped_by(&context.config.attributes)
                    .is_some_and(|by| by.units == user.to_string()),
            };
            all.retain(is_theirs);
        }
        look.take(context, (id, path), all, page)
    }

    /// Marks that nobody looks at, and locks of sweeps that have died.
    fn marks(
        context: &Context<'_>,
        is_meant: &dyn Fn(&LogicalPath) -> bool,
        page: &mut Page,
    ) -> Result<(), OperationError> {
        let Context { catalog, sweeper, .. } = *context;
        let marks = sweeper.forgotten_marks(sweeper.clock.now())?.into_iter().map(|id| {
            let what = "the collection is marked, and no job is going to look at it";
            (id, Code::MarkWithoutJob, what)
        });
        let locks = sweeper.dead_locks()?.into_iter().map(|id| {
            (
                id,
                Code::DeadLock,
                "the lock of a sweep of this collection has given no sign of life for too long",
            )
        });
        let mut told = 0;
        for (id, code, sentence) in marks.chain(locks) {
            let Some(path) = catalog.collection_path(id)?.filter(is_meant) else { continue };
            if told == MARKS {
                page.blind
                    .insert(format!("more than {MARKS} marks and locks: ask again when these are mended"));
                break;
            }
            told += 1;
            let remedy = "a sweep is queued; install_recurring has somebody look for such marks for ever";
            let finding = Finding::new(code, sentence, remedy).mended_by(Repair::Sweep);
            let about = About::Data { collection: id, collection_path: path.clone(), data: None };
            page.add(&path, about, finding);
        }
        Ok(())
    }
}

/// How much of a collection was looked at.
struct Part {
    taken: usize,
    /// Where to go on within it, and how many ids to span.
    next: Option<(u64, u64)>,
}

fn is_below(path: &LogicalPath, top: &LogicalPath) -> bool {
    path.as_bytes().strip_prefix(top.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// The answer.
fn told(page: &Page) -> Value {
    let mut codes: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut mended, mut asked) = (0_u64, 0_u64);
    for one in &page.found {
        *codes.entry(one.finding.code.word()).or_default() += 1;
        mended += u64::from(one.outcome == Some(Outcome::Done));
        asked += u64::from(one.outcome == Some(Outcome::Asked));
    }
    let blind = page.blind.iter().map(|why| {
        json!({
            "code": Code::NotLookedAt.word(), "path": Value::Null, "sentence": format!("not looked at: {why}"),
            "remedy": "see to that, and ask again", "repair": Value::Null, "outcome": Value::Null, "why": Value::Null,
        })
    });
    let findings: Vec<Value> = page.found.iter().map(Found::json).chain(blind).collect();
    if !page.blind.is_empty() {
        codes.insert(Code::NotLookedAt.word(), page.blind.len() as u64);
    }
    json!({
        "looked_at": page.looked_at,
        "codes": codes,
        "mended": mended,
        "asked": asked,
        "findings": findings,
        "next": page.next.as_ref().map(Cursor::text),
    })
}

impl Found {
    fn json(&self) -> Value {
        let Finding { code, sentence, remedy, repair } = &self.finding;
        let (outcome, why) = match &self.outcome {
            None => (None, None),
            Some(Outcome::Done) => (Some("done"), None),
            Some(Outcome::Asked) => (Some("asked"), None),
            Some(Outcome::Failed(why)) => (Some("failed"), Some(why)),
        };
        json!({
            "code": code.word(), "path": self.path, "sentence": sentence, "remedy": remedy,
            "repair": repair.map(Repair::word), "outcome": outcome, "why": why,
        })
    }
}

/// Whether OMERO is asked about what a record says.
fn is_in_omero(state: Option<State>) -> bool {
    matches!(state, Some(State::Imported | State::Stale))
}

/// What was looked at of one thing.
type Batch = BTreeMap<OmeroIdentity, Vec<Looked>>;
