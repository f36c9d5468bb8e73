//! The guard of imported data: what would break an image in OMERO is refused before it is done, or allowed and written into
//! the log, as the site says for each act and each kind of account.
//!
//! What it costs: nothing where the answer is to go on in silence. Else one look over the connection that the session has: at
//! the record of the data object (or of the directory that it is a part of), or at the collections in a tree whose data
//! objects, or which themselves, name a fileset. Only where something imported is found more is asked.
//!
//! Where it cannot tell (the catalog does not answer, there is no session), what it would refuse if the data were imported is
//! refused, and everything else goes on: who asks again loses nothing, and an image is not lost by a fault of the catalog.
//! With mistakes in the stanza it goes by what of it can be read, and by the defaults.
//!
//! Nobody is told of data that they may not read: the server refuses what they ask for by itself.

use super::Refusal;
use super::act::{Attempt, Going, Input, Target, acts_of, attempt};
use crate::catalog::{
    Catalog, CatalogError, Holdings, Item, Kind, Level, RecordHolder, Replica, ReplicaStatus, Resource, Which,
};
use crate::event::Pep;
use irods_omero_config::Config;
use irods_omero_model::attributes::Attributes;
use irods_omero_model::guard::{Act, Doer, Guard, Stance};
use irods_omero_model::names::{CollectionId, DataId, IrodsUser, LogicalPath};
use irods_omero_model::record::{Cause, Record, State, Triple};
use irods_omero_model::visibility::Location;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// `SYS_NOT_ALLOWED`
const NOT_ALLOWED: i64 = -169_000;

/// `CAT_NO_ACCESS_PERMISSION`
const NO_ACCESS: i64 = -818_000;

/// The longest path in a sentence, in bytes: the server keeps 1,024 bytes of a message.
const LONGEST_PATH: usize = 300;

/// Of how many collections, and of how many data objects of each, it is asked whether the client may read them.
const NAMED: usize = 20;

/// The PEPs that a configuration's guard has to be asked about, as a set.
pub fn minded(config: &Config) -> Vec<Pep> {
    let guards = || guards_of(config);
    let minds = |pep: Pep| acts_of(pep).iter().any(|act| guards().any(|guard| guard.minds(*act)));
    Pep::ALL.iter().map(|(pep, _)| *pep).filter(|pep| minds(*pep)).collect()
}

/// The answers of the zone, and of every watch.
fn guards_of(config: &Config) -> impl Iterator<Item = &Guard> {
    std::iter::once(&config.defaults.guard).chain(config.watches.iter().map(|watch| &watch.rules.guard))
}

/// Something imported that the act is about.
struct Found {
    /// A data object, or a directory that is one image.
    path: LogicalPath,
    collection: LogicalPath,
    holder: RecordHolder,
    record: Record,
}

/// Asks the guard about a pre PEP; `None` lets it go on.
pub fn check(
    config: &Config,
    catalog: Option<&dyn Holdings>,
    can_write: bool,
    pep: Pep,
    input: Option<&Input<'_>>,
) -> Option<Refusal> {
    let attempt = input.and_then(|input| attempt(pep, input))?;
    let user = catalog.and_then(Catalog::client);
    let is_admin = catalog.is_some_and(Catalog::client_is_admin);
    let doer = Doer { user: user.as_ref(), is_admin };
    let minds = |guard: &Guard| guard.stance(attempt.act, doer) != Stance::Follow;
    // Mostly nobody minds: then nothing is asked.
    let path = LogicalPath::parse(attempt.target.path()).ok()?;
    let is_minded = match attempt.target {
        Target::Object(_) => minds(guard_at(config, path.parent().as_ref().unwrap_or(&path))),
        Target::Tree(_) | Target::Either(_) => guards_of(config).any(minds),
    };
    if !is_minded {
        return None;
    }
    let asked = catch_unwind(AssertUnwindSafe(|| {
        let catalog = catalog.ok_or_else(|| "there is no session".to_owned())?;
        Keeper { config, catalog, can_write, doer }.answer(&attempt, &path).map_err(|e| e.to_string())
    }));
    let refusal = match asked.unwrap_or_else(|_| Err("internal error".to_owned())) {
        Ok(refusal) => refusal?,
        Err(why) => unclear(config, &attempt, &path, doer, &why)?,
    };
    let user = user.map_or(String::new(), |u| u.to_string());
    log::warn!(
        "act=guard refused={} user={user} path={path} why=\"{}\"",
        attempt.act,
        refusal.sentence.escape_debug()
    );
    Some(refusal)
}

impl<'a> Target<'a> {
    fn path(self) -> &'a [u8] {
        match self {
            Self::Object(path) | Self::Tree(path) | Self::Either(path) => path,
        }
    }
}

/// The answers that hold for the data directly in a collection.
pub fn guard_at<'c>(config: &'c Config, collection: &LogicalPath) -> &'c Guard {
    config.watch_of(collection.as_bytes()).map_or(&config.defaults.guard, |(watch, _)| &watch.rules.guard)
}

/// What is answered where it cannot be told whether the data is imported.
fn unclear(
    config: &Config,
    attempt: &Attempt<'_>,
    path: &LogicalPath,
    doer: Doer<'_>,
    why: &str,
) -> Option<Refusal> {
    let refuses = |guard: &Guard| guard.stance(attempt.act, doer) == Stance::Refuse;
    let is_refused = match attempt.target {
        Target::Object(_) => refuses(guard_at(config, path.parent().as_ref().unwrap_or(path))),
        Target::Tree(_) | Target::Either(_) => guards_of(config).any(refuses),
    };
    if !is_refused {
        log::warn!("act=guard allowed={} path={path} failed={why:?}", attempt.act);
        return None;
    }
    Some(Refusal {
        code: NOT_ALLOWED,
        sentence: format!(
            "omero: the server could not check whether '{}' is shown in OMERO, so it was not {} ({why}). Try again, or ask \
             your administrator to look at the server's log",
            shown(path),
            attempt.act.done()
        ),
    })
}

/// The guard at work for one operation.
struct Keeper<'a> {
    config: &'a Config,
    catalog: &'a dyn Holdings,
    /// Whether records can be written and jobs queued here: this server has the catalog.
    can_write: bool,
    doer: Doer<'a>,
}

impl Keeper<'_> {
    fn answer(&self, attempt: &Attempt<'_>, path: &LogicalPath) -> Result<Option<Refusal>, CatalogError> {
        match attempt.target {
            Target::Object(_) => match self.object(path)? {
                Some(found) => self.about_one(attempt, &found),
                None => Ok(None),
            },
            Target::Tree(_) => self.tree(attempt.act, path),
            Target::Either(_) => match self.object(path)? {
                Some(found) => self.about_one(attempt, &found),
                None => self.tree(attempt.act, path),
            },
        }
    }

    fn names(&self) -> &Attributes {
        &self.config.attributes
    }

    fn stance(&self, act: Act, collection: &LogicalPath) -> Stance {
        guard_at(self.config, collection).stance(act, self.doer)
    }

    /// The directory that is one image in which a collection lies, or which it is.
    fn unit_of(&self, collection: &LogicalPath) -> Option<LogicalPath> {
        LogicalPath::parse(self.config.unit_of(collection.as_bytes())?).ok()
    }

    /// The imported data object at a path, or the imported directory that it is a part of.
    fn object(&self, path: &LogicalPath) -> Result<Option<Found>, CatalogError> {
        let Some(collection) = path.parent() else { return Ok(None) };
        let unit = self.unit_of(&collection);
        let found = match &unit {
            Some(unit) => self.catalog.record_of(unit)?,
            None => self.catalog.record_at(path)?,
        };
        let found = found.filter(|(_, record)| is_in_omero(self.names(), record));
        Ok(found.map(|(holder, record)| Found {
            path: unit.unwrap_or_else(|| path.clone()),
            collection,
            holder,
            record,
        }))
    }

    fn about_one(&self, attempt: &Attempt<'_>, found: &Found) -> Result<Option<Refusal>, CatalogError> {
        let act = attempt.act;
        let stance = self.stance(act, &found.collection);
        if stance == Stance::Follow {
            return Ok(None);
        }
        if let Some(going) = &attempt.going
            && !self.leaves_nothing_to_see(LogicalPath::parse(attempt.target.path()).ok(), going)?
        {
            return Ok(None);
        }
        if stance == Stance::Allow {
            self.note(act, found);
            return Ok(None);
        }
        if !self.may_read(found)? {
            // By a ticket they may write all the same, and the server does not say that there is one.
            let is_by_ticket = matches!(act, Act::Overwrite | Act::Truncate);
            let sentence = "omero: this is not allowed here".to_owned();
            return Ok(is_by_ticket.then_some(Refusal { code: NO_ACCESS, sentence }));
        }
        self.look_later(found);
        Ok(Some(self.refusal(act, found, None)))
    }

    /// What is imported in a collection and below it.
    fn tree(&self, act: Act, tree: &LogicalPath) -> Result<Option<Refusal>, CatalogError> {
        // A part of a directory that is one image.
        if let Some(unit) = self.unit_of(tree).filter(|unit| unit != tree)
            && let Some((holder, record)) = self.catalog.record_of(&unit)?
            && is_in_omero(self.names(), &record)
        {
            let found = Found { path: unit, collection: tree.clone(), holder, record };
            let attempt = Attempt { act, target: Target::Tree(tree.as_bytes()), going: None };
            return self.about_one(&attempt, &found);
        }
        let mut found = Vec::new();
        let mut is_refused = false;
        let mut first_allowed = None;
        for (collection, id) in self.catalog.collections_in_omero(tree)? {
            match self.stance(act, &collection) {
                Stance::Follow => {}
                Stance::Allow if first_allowed.is_some() => {}
                stance => {
                    let records = self.imported_in(&collection, id)?;
                    if stance == Stance::Refuse && !records.is_empty() {
                        is_refused = true;
                        found.extend(records.into_iter().take(NAMED));
                    } else {
                        first_allowed = first_allowed.or_else(|| records.into_iter().next());
                    }
                }
            }
            if found.len() >= NAMED {
                break;
            }
        }
        if !self.config.directory_formats.is_empty() && found.len() < NAMED {
            for (path, _) in self.catalog.directories_in_omero(tree)? {
                let stance = self.stance(act, &path);
                if stance == Stance::Follow {
                    continue;
                }
                let Some((holder, record)) = self.catalog.record_of(&path)? else { continue };
                if is_in_omero(self.names(), &record) {
                    let one = Found { collection: path.clone(), path, holder, record };
                    if stance == Stance::Refuse {
                        is_refused = true;
                        found.push(one);
                    } else {
                        first_allowed = first_allowed.or(Some(one));
                    }
                }
            }
        }
        if let Some(allowed) = first_allowed.filter(|_| !is_refused) {
            log::warn!(
                "act=guard allowed={act} user={} path={tree} first={} fileset={}",
                self.who(),
                allowed.path,
                self.fileset(&allowed)
            );
        }
        if !is_refused {
            return Ok(None);
        }
        let mut named = None;
        for one in found.into_iter().take(NAMED) {
            if self.may_read(&one)? {
                named = Some(one);
                break;
            }
        }
        self.look_later_below(tree);
        Ok(Some(match named {
            Some(one) => self.refusal(act, &one, Some(tree)),
            None => Refusal {
                code: NOT_ALLOWED,
                sentence: format!(
                    "omero: '{}' is not {}: data of others in it, which you may not read, is shown in OMERO. Ask your \
                     administrator",
                    shown(tree),
                    act.done()
                ),
            },
        }))
    }

    /// The imported data objects directly in a collection.
    fn imported_in(&self, collection: &LogicalPath, id: CollectionId) -> Result<Vec<Found>, CatalogError> {
        let mut records: BTreeMap<DataId, Record> = BTreeMap::new();
        self.catalog.object_avus(id, Which::All, &self.names().record(), &mut |data_id, triple| {
            let triples = &mut records.entry(data_id).or_insert_with(|| Record::on(data_id.number())).triples;
            if !triples.contains(&triple) {
                triples.push(triple);
            }
        })?;
        let mut found = Vec::new();
        for (data_id, record) in records {
            if found.len() >= NAMED || !is_in_omero(self.names(), &record) {
                continue;
            }
            let Some((_, path)) = self.catalog.object_path(data_id)? else { continue };
            let holder = RecordHolder::DataObject(data_id, id);
            found.push(Found { path, collection: collection.clone(), holder, record });
        }
        Ok(found)
    }

    fn may_read(&self, found: &Found) -> Result<bool, CatalogError> {
        if self.doer.is_admin {
            return Ok(true);
        }
        let Some(user) = self.doer.user else { return Ok(false) };
        let item = match found.holder {
            RecordHolder::DataObject(id, collection) => Item::DataObject(id, collection),
            RecordHolder::Collection(id) => Item::Collection(id),
        };
        Ok(self.catalog.permission(user, item)?.is_some_and(|level| level >= Level::READ))
    }

    fn who(&self) -> String {
        self.doer.user.map_or(String::new(), IrodsUser::to_string)
    }

    fn fileset(&self, found: &Found) -> String {
        found.record.fileset(self.names()).map_or_else(|| "?".to_owned(), |id| id.to_string())
    }

    fn refusal(&self, act: Act, found: &Found, tree: Option<&LogicalPath>) -> Refusal {
        let owner =
            found.record.owner(self.names()).map_or_else(|| "somebody".to_owned(), |o| o.user.to_string());
        let (path, done) = (shown(&found.path), act.done());
        let what = match tree {
            Some(tree) if *tree != found.path => {
                format!("'{}' is not {done}: '{path}' in it is", shown(tree))
            }
            Some(_) | None => format!("'{path}' is not {done}: it is"),
        };
        let then = if self.can_ask() {
            "try again a minute later (OMERO is being asked whether they are gone)"
        } else {
            "release the data then"
        };
        Refusal {
            code: NOT_ALLOWED,
            sentence: format!(
                "omero: {what} shown in OMERO, in fileset {} of user {owner}. Delete these images in OMERO and {then}, or end \
                 the tie to OMERO first: operation 'release', in rules omero_release",
                self.fileset(found)
            ),
        }
    }

    /// Writes down what was allowed: in the log, and in the record of what stays.
    fn note(&self, act: Act, found: &Found) {
        let (user, path) = (self.who(), &found.path);
        log::warn!("act=guard allowed={act} user={user} path={path} fileset={}", self.fileset(found));
        // What other bytes mean is for the sweep to say.
        if !self.can_write || !matches!(act, Act::Trash | Act::Rename | Act::Trim) {
            return;
        }
        let names = self.names();
        let reason = format!("{user} was allowed to have it {}", act.done());
        let reason = Triple::new(&names.reason, reason, Cause::Place.as_str());
        let old: Vec<Triple> =
            found.record.triples.iter().filter(|t| t.attribute == names.reason).cloned().collect();
        let kind = match found.holder {
            RecordHolder::DataObject(..) => Kind::DataObject,
            RecordHolder::Collection(_) => Kind::Collection,
        };
        if let Err(error) = self.catalog.replace(kind, path, &old, &[reason]) {
            log::warn!("act=guard path={path} failed=\"{error}\"");
        }
    }

    /// Whether anything reaches OMERO, on this host or by agents.
    fn can_ask(&self) -> bool {
        self.config.omero.is_some() || self.config.agents.is_some()
    }

    /// Has OMERO asked whether the images are still there: where they are not, the next try goes through.
    fn look_later(&self, found: &Found) {
        let scope = match found.holder {
            RecordHolder::DataObject(id, collection) => (collection, Some(id)),
            RecordHolder::Collection(id) => (id, None),
        };
        self.queue(&look_text(scope.0, scope.1, false));
    }

    fn look_later_below(&self, tree: &LogicalPath) {
        match self.catalog.collection_id(tree) {
            Ok(Some(id)) => {
                self.queue(&look_text(id, None, true));
            }
            Ok(None) => {}
            Err(error) => log::warn!("act=guard path={tree} failed=\"{error}\""),
        }
    }

    /// Queues a job, if it does not wait already.
    fn queue(&self, text: &str) {
        // The server that has the catalog refuses it too, and queues it.
        if !self.can_write || !self.can_ask() {
            return;
        }
        let queued = self.catalog.jobs().and_then(|jobs| {
            let waits = jobs.all().iter().any(|job| job.text == text);
            if waits { Ok(()) } else { self.catalog.queue(text, Duration::from_secs(1)) }
        });
        if let Err(error) = queued {
            log::warn!("act=guard failed=\"{error}\"");
        }
    }

    /// Whether OMERO sees a good replica of a data object now, and none when some have gone.
    fn leaves_nothing_to_see(
        &self,
        object: Option<LogicalPath>,
        going: &Going,
    ) -> Result<bool, CatalogError> {
        let Some(object) = object else { return Ok(false) };
        if self.config.visibility.through_mount(&object).is_some() {
            return Ok(false); // OMERO reads it through iRODS, from any replica
        }
        let Some(Item::DataObject(id, collection)) = self.catalog.item(&object)? else { return Ok(false) };
        let mut replicas = Vec::new();
        self.catalog.replicas(collection, Which::Between(id, id), &mut |replica| replicas.push(replica))?;
        replicas.sort_by_key(|replica| replica.number);
        let is_seen = |r: &&Replica| {
            let location = Location { physical_path: &r.physical_path, hierarchy: &r.hierarchy };
            r.status == ReplicaStatus::Good && self.config.visibility.through_vault(&location).is_some()
        };
        let seen: Vec<u32> = replicas.iter().filter(is_seen).map(|r| r.number).collect();
        let gone = match going {
            Going::To { number, from, resource } => {
                if self.sees_all_of(&self.catalog.resources()?, resource, &object) {
                    return Ok(false);
                }
                let leaves = |r: &&Replica| {
                    number.is_none_or(|n| n == r.number)
                        && from.as_deref().is_none_or(|from| root_of(&r.hierarchy) == from)
                };
                let leaving: Vec<u32> = replicas.iter().filter(leaves).map(|r| r.number).collect();
                // One of them goes.
                if seen.len() > 1 { Vec::new() } else { leaving }
            }
            Going::Number(number) => vec![*number],
            Going::DownTo { kept, resource } => trimmed(&replicas, *kept, resource.as_deref()),
        };
        Ok(!seen.is_empty() && seen.iter().all(|number| gone.contains(number)))
    }

    /// Whether OMERO sees what is put on a root resource, wherever below it that goes.
    fn sees_all_of(&self, resources: &[Resource], root: &str, object: &LogicalPath) -> bool {
        let Some(root) =
            resources.iter().find(|r| r.name == root && (r.parent.is_empty() || r.parent == "0"))
        else {
            return false;
        };
        let mut left = vec![(root, root.name.clone())];
        let mut leaves = Vec::new();
        // No hierarchy is deeper than there are resources.
        while let Some((resource, hierarchy)) = left.pop() {
            if leaves.len() + left.len() > resources.len() {
                return false;
            }
            let mut children = resources.iter().filter(|r| r.parent == resource.id).peekable();
            if children.peek().is_none() {
                leaves.push((resource, hierarchy));
            } else {
                left.extend(children.map(|child| (child, format!("{hierarchy};{}", child.name))));
            }
        }
        let within: Vec<u8> = object.elements().skip(1).flat_map(|e| [b"/", e].concat()).collect();
        leaves.iter().all(|(leaf, hierarchy)| {
            let path = [leaf.vault.as_bytes(), &within].concat();
            self.config.visibility.through_vault(&Location { physical_path: &path, hierarchy }).is_some()
        })
    }
}

/// The text of the job that asks OMERO whether images are still there: of one data object, of those directly in a
/// collection, or with `tree` of all below it too.
pub fn look_text(collection: CollectionId, data: Option<DataId>, tree: bool) -> String {
    let data = data.map(|id| format!(r#","data":"{id}""#)).unwrap_or_default();
    let tree = if tree { r#","tree":true"# } else { "" };
    format!(r#"{{"operation":"look_in_omero","collection":"{collection}"{data}{tree}}}"#)
}

fn root_of(hierarchy: &str) -> &str {
    hierarchy.split(';').next().unwrap_or_default()
}

/// The replicas that a trim takes, by `get_list_of_replicas_to_trim` of 5.0.2: stale ones, then good ones, in their order,
/// until so many are left; the last good one never.
fn trimmed(replicas: &[Replica], kept: usize, resource: Option<&str>) -> Vec<u32> {
    let is_meant = |r: &&Replica| resource.is_none_or(|name| root_of(&r.hierarchy) == name);
    let mut gone = Vec::new();
    let mut good = replicas.iter().filter(|r| r.status == ReplicaStatus::Good).count();
    for status in [ReplicaStatus::Stale, ReplicaStatus::Good] {
        for replica in replicas.iter().filter(|r| r.status == status).filter(is_meant) {
            let is_last_good = status == ReplicaStatus::Good && good <= 1;
            if replicas.len() - gone.len() <= kept || is_last_good {
                return gone;
            }
            gone.push(replica.number);
            good -= usize::from(status == ReplicaStatus::Good);
        }
    }
    gone
}

/// Whether images in OMERO are made of data with this record.
pub fn is_in_omero(names: &Attributes, record: &Record) -> bool {
    let has_fileset = record.fileset(names).is_some();
    match record.state(names) {
        Some(State::Imported) => true,
        // What came too late for its set is named with the fileset that does without it.
        Some(State::Stale) => record.cause(names) != Some(Cause::Set),
        Some(State::Skipped) => has_fileset && record.ignored_by(names).is_some(),
        Some(State::Pending | State::Importing | State::Failed | State::Gone) | None => false,
    }
}

/// A path for a sentence: its end, where it is long.
fn shown(path: &LogicalPath) -> String {
    let text: String = path.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.len() <= LONGEST_PATH {
        return text;
    }
    let from = (text.len() - LONGEST_PATH..text.len()).find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    format!("…{}", &text[from..])
}
