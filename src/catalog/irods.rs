//! The catalog of the server we are loaded into.
//!
//! Look-ups by path use GenQuery2, which has a real string syntax; listings by id use the older GenQuery, which
//! hands out bytes as they are (GenQuery2's JSON cannot carry names that are not UTF-8) and knows the owner of
//! a data object, for which GenQuery2 of 5.0.2 has no column.

use super::{
    Backlog, Catalog, CatalogError, Changed, Holder, Holdings, Inquiry, Item, Jobs, Kind, Level, LockRow,
    Locks, Metadata, QueuedJob, Replica, ReplicaStatus, Sight, TreeReplica, UnixTime, UserTag, Which,
};
use crate::ffi::{Account, Entity, Session};
use irods_omero_model::attributes::Attributes;
use irods_omero_model::names::{CollectionId, DataId, IrodsUser, LogicalPath, parent_bytes};
use irods_omero_model::record::{Record, Triple, Version};
use irods_omero_model::watch::RawTag;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::time::Duration;

/// `CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME`
const ALREADY_THERE: i64 = -809_000;
/// `CAT_NO_ROWS_FOUND`, `CAT_SUCCESS_BUT_WITH_NO_INFO`: there was nothing to remove.
const NOTHING_THERE: [i64; 2] = [-808_000, -819_000];

/// `create_metadata`, the least permission with which AVUs are set (`irods::experimental::catalog::access_type`).
const CREATE_METADATA: u32 = 1_070;

/// The group that holds a zone's administrators.
const ADMINISTRATORS: &str = "rodsadmin";

/// The most rows asked of one GenQuery2; without a limit it gives 256.
const MAX_ROWS: u32 = 1_000_000;

/// Rows of one page of a tree.
const TREE_PAGE: usize = 4_000;

/// `CAT_UNKNOWN_COLLECTION`, and what the server says where the collection above is not there.
const NO_COLLECTION: [i64; 2] = [-814_000, -310_000];

/// Numbers of GenQuery1's columns (`rodsGenQuery.h`).
pub(super) mod column {
    pub const RESC_ID: i32 = 301;
    pub const RESC_NAME: i32 = 302;
    pub const RESC_VAULT_PATH: i32 = 307;
    pub const RESC_PARENT: i32 = 317;
    pub const DATA_ID: i32 = 401;
    pub const DATA_COLL_ID: i32 = 402;
    pub const DATA_NAME: i32 = 403;
    pub const DATA_REPL_NUM: i32 = 404;
    pub const DATA_SIZE: i32 = 407;
    pub const DATA_PATH: i32 = 410;
    pub const DATA_OWNER_NAME: i32 = 411;
    pub const DATA_OWNER_ZONE: i32 = 412;
    pub const DATA_REPL_STATUS: i32 = 413;
    pub const DATA_CHECKSUM: i32 = 415;
    pub const DATA_MODIFY_TIME: i32 = 420;
    pub const DATA_RESC_HIER: i32 = 422;
    pub const COLL_ID: i32 = 500;
    pub const COLL_NAME: i32 = 501;
    pub const COLL_PARENT_NAME: i32 = 502;
    pub const COLL_CREATE_TIME: i32 = 508;
    pub const META_DATA_ATTR_NAME: i32 = 600;
    pub const META_DATA_ATTR_VALUE: i32 = 601;
    pub const META_DATA_ATTR_UNITS: i32 = 602;
    pub const META_COLL_ATTR_NAME: i32 = 610;
    pub const META_COLL_ATTR_VALUE: i32 = 611;
    pub const META_COLL_ATTR_UNITS: i32 = 612;
    pub const RULE_EXEC_ID: i32 = 1000;
    pub const RULE_EXEC_NAME: i32 = 1001;
    pub const RULE_EXEC_USER_NAME: i32 = 1003;
    pub const RULE_EXEC_TIME: i32 = 1005;
    pub const RULE_EXEC_CONTEXT: i32 = 1012;
}

/// The highest number the catalog can give.
const LAST_ID: u64 = i64::MAX as u64;

/// The longest list of texts that is asked for with GenQuery1, in bytes: its buffers are bounded.
const MAX_LIST: usize = 4_000;

/// The collection, in the service account's home, that holds the locks.
const LOCKS: &str = ".irods_omero_locks";

/// The catalog, asked through one session.
pub struct IrodsCatalog<'a> {
    session: &'a Session<'a>,
    pub(super) names: &'a Attributes,
    instance: &'a str,
    service: Option<&'a IrodsUser>,
}

impl<'a> IrodsCatalog<'a> {
    /// `instance` is where queued rules are addressed to, `service` the account the server runs as in its zone; without
    /// it, as where no configuration could be read, nothing can be written.
    pub fn new(
        session: &'a Session<'a>,
        names: &'a Attributes,
        instance: &'a str,
        service: Option<&'a IrodsUser>,
    ) -> Self {
        Self { session, names, instance, service }
    }

    fn service(&self) -> Account<'_> {
        self.service
            .map_or(Account { name: "", zone: "" }, |user| Account { name: user.name(), zone: user.zone() })
    }

    /// Rows of GenQuery1, each as many cells as there are columns.
    pub(super) fn list(
        &self,
        columns: &[i32],
        conditions: &[(i32, String)],
        subject: &str,
        visit: &mut dyn FnMut(&[&[u8]]) -> bool,
    ) -> Result<(), CatalogError> {
        self.session.list(columns, conditions, visit).map_err(|code| failed("rsGenQuery", subject, code))
    }

    /// Whether the context of a job, as the server writes it, names the service account as its owner.
    fn is_of_service(&self, context: &[u8]) -> bool {
        let context: Value = serde_json::from_slice(context).unwrap_or_default();
        let of = |key: &str| context.pointer("/user_info_client").and_then(|user| user.get(key)?.as_str());
        let Account { name, zone } = self.service();
        of("name") == Some(name) && of("zone") == Some(zone)
    }

    fn lock_path(&self, name: &str) -> String {
        format!("/{}/home/{}/{LOCKS}/{name}", self.service().zone, self.service().name)
    }

    fn conditions(&self, delay: Duration) -> String {
        format!("<INST_NAME>{}</INST_NAME><PLUSET>{}s</PLUSET>", self.instance, delay.as_secs().max(1))
    }

    pub(super) fn rows(&self, query: &[u8], subject: &str) -> Result<Vec<Vec<String>>, CatalogError> {
        self.rows_seen(query, subject, Sight::All)
    }

    /// Rows about all data, or about that which the session's user may read.
    pub(super) fn rows_seen(
        &self,
        query: &[u8],
        subject: &str,
        sight: Sight,
    ) -> Result<Vec<Vec<String>>, CatalogError> {
        let call = "rs_genquery2";
        let json =
            self.session.query(sight == Sight::All, query).map_err(|code| failed(call, subject, code))?;
        rows_of(&json).map_err(|detail| unreadable(call, subject, &detail))
    }

    /// Ids of collections, of which GenQuery1 gives as many as there are, page by page.
    fn listed_collections(
        &self,
        column: i32,
        wanted: &[(i32, String)],
        subject: &str,
    ) -> Result<BTreeSet<CollectionId>, CatalogError> {
        let (mut ids, mut wrong) = (BTreeSet::new(), None);
        self.list(&[column], wanted, subject, &mut |cells| {
            let id = String::from_utf8_lossy(cells.first().copied().unwrap_or_default());
            match CollectionId::parse(&id) {
                Ok(id) => ids.insert(id),
                Err(error) => {
                    wrong = Some(error.to_string());
                    false
                }
            };
            wrong.is_none()
        })?;
        wrong.map_or(Ok(ids), |detail| Err(unreadable("rsGenQuery", subject, &detail)))
    }

    pub(super) fn ids(&self, query: &[u8], subject: &str) -> Result<BTreeSet<CollectionId>, CatalogError> {
        let rows = self.rows(query, subject)?;
        let ids = rows.iter().flatten().map(|id| CollectionId::parse(id)).collect::<Result<_, _>>();
        ids.map_err(|e| unreadable("rs_genquery2", subject, &e.to_string()))
    }

    fn avu(&self, operation: &str, path: &LogicalPath, entity: Entity, avu: [&str; 3]) -> Result<(), i64> {
        self.session.modify_avu(self.service(), operation, entity, path.as_bytes(), avu)
    }

    fn apply(
        &self,
        path: &LogicalPath,
        entity: Entity,
        changes: &[(&str, &Triple)],
    ) -> Result<(), CatalogError> {
        let Some(name) = path.as_utf8() else {
            return self.apply_one_by_one(path, entity, changes);
        };
        let operations: Vec<Value> = changes
            .iter()
            .map(|(operation, t)| {
                json!({"operation": operation, "attribute": t.attribute, "value": t.value, "units": t.units})
            })
            .collect();
        let entity_type = match entity {
            Entity::DataObject => "data_object",
            Entity::Collection => "collection",
        };
        let request = json!({
            "admin_mode": true, "entity_name": name, "entity_type": entity_type, "operations": operations,
        });
        let call = "rs_atomic_apply_metadata_operations";
        self.session
            .apply_metadata(self.service(), &request.to_string())
            .map_err(|code| failed(call, &path.display(), code))
    }

    /// Tags, over the connection that the session has.
    fn plain_tags(
        &self,
        one_of: String,
        attribute: &str,
        subject: &str,
    ) -> Result<Vec<RawTag>, CatalogError> {
        let columns = [column::COLL_NAME, column::META_COLL_ATTR_VALUE, column::META_COLL_ATTR_UNITS];
        let wanted = [(column::COLL_NAME, one_of), (column::META_COLL_ATTR_NAME, equals(attribute))];
        let mut tags = Vec::new();
        self.list(&columns, &wanted, subject, &mut |cells| {
            if let [name, value, units] = cells
                && let Ok(collection) = LogicalPath::parse(name)
            {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                tags.push(RawTag { collection, value: text(value), units: text(units) });
            }
            true
        })?;
        Ok(tags)
    }

    /// Whether there is an AVU of one of some attributes under a condition.
    fn any_of(
        &self,
        entity: &str,
        condition: &[u8],
        attributes: &[&str],
        subject: &[u8],
    ) -> Result<bool, CatalogError> {
        let query = [
            format!("select distinct META_{entity}_ATTR_NAME where ").as_bytes(),
            condition,
            format!(" and META_{entity}_ATTR_NAME in (").as_bytes(),
            &quoted_list(attributes),
            b")",
        ]
        .concat();
        let rows = self.rows(&query, &String::from_utf8_lossy(subject))?;
        Ok(rows.iter().flatten().any(|cell| !cell.is_empty()))
    }

    /// Takes off what an atomic removal left. It takes the first row of a triple, and the object may hang on another one: of
    /// two servers that write one new triple at a moment each makes a row (seen on 5.0.2 with `PostgreSQL`: two states on one
    /// data object). A removal by itself takes off all.
    fn detach(&self, path: &LogicalPath, entity: Entity, removed: &[&Triple]) -> Result<(), CatalogError> {
        let there = match entity {
            Entity::DataObject => self.record_at(path)?,
            Entity::Collection => self.record_of(path)?,
        };
        let Some((_, there)) = there else { return Ok(()) };
        for left in removed.iter().filter(|t| there.triples.contains(t)) {
            log::debug!("act=record path={path} left={:?}", left.attribute);
            self.take_off(path, entity, [&left.attribute, &left.value, &left.units])?;
        }
        Ok(())
    }

    /// Removes an AVU, by as many rows as it hangs on; one that is gone already is no error.
    fn take_off(&self, path: &LogicalPath, entity: Entity, avu: [&str; 3]) -> Result<(), CatalogError> {
        match self.avu("rm", path, entity, avu) {
            Ok(()) => Ok(()),
            Err(code) if NOTHING_THERE.contains(&code) => Ok(()),
            Err(code) => Err(failed("rsModAVUMetadata", &path.display(), code)),
        }
    }

    /// For paths JSON cannot carry: not atomic, so removals come first and the new state last.
    fn apply_one_by_one(
        &self,
        path: &LogicalPath,
        entity: Entity,
        changes: &[(&str, &Triple)],
    ) -> Result<(), CatalogError> {
        let mut ordered: Vec<_> = changes.iter().collect();
        ordered.sort_by_key(|(operation, t)| (*operation != "remove", t.attribute == self.names.state));
        for (operation, t) in ordered {
            let word = if *operation == "remove" { "rm" } else { "add" };
            match self.avu(word, path, entity, [&t.attribute, &t.value, &t.units]) {
                Ok(()) | Err(ALREADY_THERE) => {}
                Err(code) if NOTHING_THERE.contains(&code) => {}
                Err(code) => return Err(failed("rsModAVUMetadata", &path.display(), code)),
            }
        }
        Ok(())
    }

    /// The catalog's id of a user; `None` if there is none of that name.
    pub(super) fn user_id(&self, user: &IrodsUser, subject: &str) -> Result<Option<String>, CatalogError> {
        let query = [
            b"select USER_ID where USER_NAME = ".as_slice(),
            &quoted(user.name().as_bytes()),
            b" and USER_ZONE = ",
            &quoted(user.zone().as_bytes()),
        ]
        .concat();
        Ok(self.rows(&query, subject)?.into_iter().flatten().next())
    }
}

impl Metadata for IrodsCatalog<'_> {
    fn user_tags(&self, user: &IrodsUser, attributes: &[&str]) -> Result<Option<Vec<UserTag>>, CatalogError> {
        let subject = format!("user {user}");
        let Some(id) = self.user_id(user, &subject)? else {
            return Ok(None);
        };
        // The catalog lists a user as a member of itself, so that one query finds the user and its groups.
        let query = [
            b"select USER_ID, USER_NAME, META_USER_ATTR_NAME, META_USER_ATTR_VALUE where GROUP_MEMBER_ID = "
                .as_slice(),
            &quoted(id.as_bytes()),
            b" and META_USER_ATTR_NAME in (",
            &quoted_list(attributes),
            format!(") limit {MAX_ROWS}").as_bytes(),
        ]
        .concat();
        let rows = self.rows(&query, &subject)?;
        Ok(Some(rows.into_iter().filter_map(|row| tag_of(&id, row)).collect()))
    }

    fn collection_values(
        &self,
        collection: &LogicalPath,
        attribute: &str,
    ) -> Result<Vec<String>, CatalogError> {
        let query = [
            b"select META_COLL_ATTR_VALUE where COLL_NAME = ".as_slice(),
            &quoted(collection.as_bytes()),
            b" and META_COLL_ATTR_NAME = ",
            &quoted(attribute.as_bytes()),
            format!(" limit {MAX_ROWS}").as_bytes(),
        ]
        .concat();
        let rows = self.rows(&query, &collection.display())?;
        Ok(rows.into_iter().flatten().filter(|value| !value.is_empty()).collect())
    }

    fn may_set_avus(&self, collection: &LogicalPath) -> Result<BTreeSet<IrodsUser>, CatalogError> {
        let subject = collection.display();
        let query = [
            b"select distinct COLL_ACCESS_USER_NAME, COLL_ACCESS_USER_ZONE, COLL_ACCESS_PERM_ID where COLL_NAME = "
                .as_slice(),
            &quoted(collection.as_bytes()),
            format!(" limit {MAX_ROWS}").as_bytes(),
        ]
        .concat();
        let mut holders = BTreeSet::new();
        for row in self.rows(&query, &subject)? {
            let [name, zone, level]: [String; 3] =
                row.try_into().map_err(|_| unreadable("rs_genquery2", &subject, "not three columns"))?;
            // A level that is not understood is taken for one that may.
            if level.parse::<u32>().is_ok_and(|level| level < CREATE_METADATA) {
                continue;
            }
            let query = [
                b"select USER_TYPE where USER_NAME = ".as_slice(),
                &quoted(name.as_bytes()),
                b" and USER_ZONE = ",
                &quoted(zone.as_bytes()),
            ]
            .concat();
            let is_admin = self.rows(&query, &subject)?.iter().flatten().any(|kind| kind == "rodsadmin");
            if !is_admin && name != ADMINISTRATORS {
                let user = IrodsUser::new(&name, &zone);
                holders.insert(user.map_err(|e| unreadable("rs_genquery2", &subject, &e.to_string()))?);
            }
        }
        Ok(holders)
    }

    fn collections_with(&self, attribute: &str, value: &str) -> Result<BTreeSet<CollectionId>, CatalogError> {
        let wanted =
            [(column::META_DATA_ATTR_NAME, equals(attribute)), (column::META_DATA_ATTR_VALUE, equals(value))];
        self.listed_collections(column::DATA_COLL_ID, &wanted, "collections by the records in them")
    }
}

impl Locks for IrodsCatalog<'_> {
    fn locks(&self) -> Result<Vec<LockRow>, CatalogError> {
        let parent = self.lock_path("");
        let parent = parent.trim_end_matches('/');
        let columns = [column::COLL_ID, column::COLL_NAME, column::COLL_CREATE_TIME];
        let mut locks = Vec::new();
        self.list(&columns, &[(column::COLL_PARENT_NAME, equals(parent))], "the locks", &mut |cells| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            if let [id, name, since] = cells
                && let (Ok(id), Ok(since)) = (CollectionId::parse(&text(id)), text(since).parse())
            {
                let name = text(name).rsplit('/').next().unwrap_or_default().to_owned();
                locks.push(LockRow { id, name, since });
            }
            true
        })?;
        Ok(locks)
    }

    fn make_lock(&self, name: &str) -> Result<bool, CatalogError> {
        let path = self.lock_path(name);
        let make =
            |path: &str, parents| self.session.make_collection(self.service(), path.as_bytes(), parents);
        let mut outcome = make(&path, false);
        if outcome.is_err_and(|code| NO_COLLECTION.contains(&code)) {
            // The first of all. Two may make this one at a time: then the lock's own name decides.
            let _ = make(self.lock_path("").trim_end_matches('/'), true);
            outcome = make(&path, false);
        }
        match outcome {
            Ok(()) => Ok(true),
            Err(ALREADY_THERE) => Ok(false),
            Err(code) => Err(failed("rsCollCreate", &path, code)),
        }
    }

    fn remove_lock(&self, name: &str) -> Result<(), CatalogError> {
        let path = self.lock_path(name);
        match self.session.remove_collection(self.service(), path.as_bytes()) {
            Ok(()) => Ok(()),
            Err(code) if NOTHING_THERE.contains(&code) || NO_COLLECTION.contains(&code) => Ok(()),
            Err(code) => Err(failed("rsRmColl", &path, code)),
        }
    }
}

impl Catalog for IrodsCatalog<'_> {
    fn zone(&self) -> Result<LogicalPath, CatalogError> {
        let zone = format!("/{}", self.service().zone);
        LogicalPath::parse(zone.as_bytes())
            .map_err(|e| unreadable("server_config.json", &zone, &e.to_string()))
    }

    fn collection_path(&self, id: CollectionId) -> Result<Option<LogicalPath>, CatalogError> {
        let (subject, mut found) = (format!("collection {id}"), None);
        self.list(
            &[column::COLL_NAME],
            &[(column::COLL_ID, equals(&id.to_string()))],
            &subject,
            &mut |cells| {
                found = cells.first().map(|c| c.to_vec());
                false
            },
        )?;
        found
            .map(|bytes| LogicalPath::parse(&bytes))
            .transpose()
            .map_err(|e| unreadable("rsGenQuery", &subject, &e.to_string()))
    }

    fn collection_id(&self, path: &LogicalPath) -> Result<Option<CollectionId>, CatalogError> {
        let subject = path.display();
        let id = if let Some(name) = plain(path.as_bytes()) {
            let mut id = None;
            let named = [(column::COLL_NAME, equals(name))];
            self.list(&[column::COLL_ID], &named, &subject, &mut |cells| {
                id = cells.first().map(|c| String::from_utf8_lossy(c).into_owned());
                false
            })?;
            id
        } else {
            let query = [b"select COLL_ID where COLL_NAME = ".as_slice(), &quoted(path.as_bytes())].concat();
            self.rows(&query, &subject)?.into_iter().flatten().next()
        };
        id.map(|id| CollectionId::parse(&id))
            .transpose()
            .map_err(|e| unreadable("rsGenQuery", &subject, &e.to_string()))
    }

    fn object_path(&self, id: DataId) -> Result<Option<(CollectionId, LogicalPath)>, CatalogError> {
        let subject = format!("data object {id}");
        let query =
            [b"select distinct COLL_ID where DATA_ID = ".as_slice(), &quoted(id.to_string().as_bytes())]
                .concat();
        let Some(collection) = self.ids(&query, &subject)?.pop_first() else {
            return Ok(None);
        };
        let mut name = None;
        self.replicas(collection, Which::Between(id, id), &mut |replica| name = Some(replica.name))?;
        let (Some(path), Some(name)) = (self.collection_path(collection)?, name) else {
            return Ok(None); // moved on, or removed, in this moment
        };
        let path = path.join(&name).map_err(|e| unreadable("rsGenQuery", &subject, &e.to_string()))?;
        Ok(Some((collection, path)))
    }

    fn set_mark(&self, collection: &LogicalPath, attribute: &str, value: &str) -> Result<bool, CatalogError> {
        match self.avu("add", collection, Entity::Collection, [attribute, value, ""]) {
            Ok(()) => Ok(true),
            Err(ALREADY_THERE) => Ok(false),
            Err(code) => Err(failed("rsModAVUMetadata", &collection.display(), code)),
        }
    }

    fn marks_at(&self, collection: &LogicalPath, attribute: &str) -> Result<Vec<String>, CatalogError> {
        let Some((name, attribute)) = plain(collection.as_bytes()).zip(plain(attribute.as_bytes())) else {
            return self.collection_values(collection, attribute);
        };
        let mut marks = Vec::new();
        let wanted = [(column::COLL_NAME, equals(name)), (column::META_COLL_ATTR_NAME, equals(attribute))];
        self.list(&[column::META_COLL_ATTR_VALUE], &wanted, &collection.display(), &mut |cells| {
            marks.extend(cells.first().map(|c| String::from_utf8_lossy(c).into_owned()));
            true
        })?;
        Ok(marks)
    }

    fn marks(&self, id: CollectionId, attribute: &str) -> Result<Vec<String>, CatalogError> {
        let query = [
            b"select distinct META_COLL_ATTR_VALUE where COLL_ID = ".as_slice(),
            &quoted(id.to_string().as_bytes()),
            b" and META_COLL_ATTR_NAME = ",
            &quoted(attribute.as_bytes()),
            format!(" limit {MAX_ROWS}").as_bytes(),
        ]
        .concat();
        let rows = self.rows(&query, &format!("collection {id}"))?;
        Ok(rows.into_iter().flatten().filter(|value| !value.is_empty()).collect())
    }

    fn remove_mark(
        &self,
        collection: &LogicalPath,
        attribute: &str,
        value: &str,
    ) -> Result<(), CatalogError> {
        self.take_off(collection, Entity::Collection, [attribute, value, ""])
    }

    fn change_mark(
        &self,
        collection: &LogicalPath,
        attribute: &str,
        old: &str,
        new: &str,
    ) -> Result<(), CatalogError> {
        // Not in one atomic operation: that detaches one of several equal triples only.
        self.set_mark(collection, attribute, new)?;
        if old == new { Ok(()) } else { self.remove_mark(collection, attribute, old) }
    }

    fn marked(&self, attributes: &[&str]) -> Result<BTreeSet<CollectionId>, CatalogError> {
        let wanted = [(column::META_COLL_ATTR_NAME, among(attributes))];
        self.listed_collections(column::COLL_ID, &wanted, "marked collections")
    }

    fn subcollections(
        &self,
        collection: &LogicalPath,
        after: Option<CollectionId>,
        limit: usize,
    ) -> Result<Vec<(CollectionId, LogicalPath)>, CatalogError> {
        let subject = collection.display();
        let after = after.map_or_else(|| "0".to_owned(), |id| id.to_string());
        let query = |columns: &str| {
            [
                format!("select distinct {columns} where COLL_NAME like ").as_bytes(),
                &quoted(&below(collection)),
                format!(" and COLL_ID > '{after}' order by COLL_ID limit {limit}").as_bytes(),
            ]
            .concat()
        };
        let mut found = Vec::new();
        match self.rows(&query("COLL_ID, COLL_NAME"), &subject) {
            Ok(rows) => {
                for row in rows {
                    if let Ok([id, name]) = <[String; 2]>::try_from(row)
                        && let (Ok(id), Ok(path)) =
                            (CollectionId::parse(&id), LogicalPath::parse(name.as_bytes()))
                    {
                        found.push((id, path));
                    }
                }
            }
            // One name that is not UTF-8 fails them all: then each is asked for.
            Err(_) => {
                for id in self.ids(&query("COLL_ID"), &subject)? {
                    found.extend(self.collection_path(id)?.map(|path| (id, path)));
                }
            }
        }
        Ok(found)
    }

    fn import_tags(&self, collections: &[LogicalPath], attribute: &str) -> Result<Vec<RawTag>, CatalogError> {
        let Some(nearest) = collections.first() else {
            return Ok(Vec::new());
        };
        let plain_names: Option<Vec<&str>> = collections.iter().map(|c| plain(c.as_bytes())).collect();
        if let Some((names, attribute)) = plain_names.zip(plain(attribute.as_bytes()))
            && let Some(one_of) = one_of(&names)
        {
            return self.plain_tags(one_of, attribute, &nearest.display());
        }
        let names: Vec<Vec<u8>> = collections.iter().map(|c| quoted(c.as_bytes())).collect();
        // The id and not the name, which JSON may not be able to carry.
        let query = [
            b"select distinct COLL_ID, META_COLL_ATTR_VALUE, META_COLL_ATTR_UNITS where COLL_NAME in ("
                .as_slice(),
            &names.join(b", ".as_slice()),
            b") and META_COLL_ATTR_NAME = ",
            &quoted(attribute.as_bytes()),
            format!(" limit {MAX_ROWS}").as_bytes(),
        ]
        .concat();
        let mut tags = Vec::new();
        let mut paths: HashMap<String, LogicalPath> = HashMap::new();
        for row in self.rows(&query, &nearest.display())? {
            let Ok([id, value, units]) = <[String; 3]>::try_from(row) else { continue };
            let collection = match paths.get(&id) {
                Some(known) => known.clone(),
                None => match CollectionId::parse(&id).ok().map(|id| self.collection_path(id)).transpose()? {
                    Some(Some(path)) => paths.entry(id).or_insert(path).clone(),
                    Some(None) | None => continue,
                },
            };
            tags.push(RawTag { collection, value, units });
        }
        Ok(tags)
    }

    fn is_tagged_below(&self, collection: &LogicalPath, attribute: &str) -> Result<bool, CatalogError> {
        let query = [
            b"select distinct COLL_ID where COLL_NAME like ".as_slice(),
            &quoted(&below(collection)),
            b" and META_COLL_ATTR_NAME = ",
            &quoted(attribute.as_bytes()),
            b" limit 1",
        ]
        .concat();
        Ok(!self.rows(&query, &collection.display())?.is_empty())
    }

    fn is_any_in_omero(&self, collection: &LogicalPath) -> Result<bool, CatalogError> {
        let names = quoted_list(&self.in_omero());
        for kind in ["DATA", "COLL"] {
            let query = [
                b"select COLL_ID where (COLL_NAME = ".as_slice(),
                &quoted(collection.as_bytes()),
                b" or COLL_NAME like ",
                &quoted(&below(collection)),
                format!(") and META_{kind}_ATTR_NAME in (").as_bytes(),
                &names,
                b") limit 1",
            ]
            .concat();
            if !self.rows(&query, &collection.display())?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn in_omero_like(&self, collection: &LogicalPath) -> Result<Vec<LogicalPath>, CatalogError> {
        let names = quoted_list(&self.in_omero());
        let path = collection.as_bytes();
        let mut suffixed = below(collection);
        suffixed.truncate(suffixed.len().saturating_sub(2));
        suffixed.extend_from_slice(b".%");
        let mut found = Vec::new();
        for kind in ["DATA", "COLL"] {
            let query = [
                b"select distinct COLL_ID where (COLL_NAME = ".as_slice(),
                &quoted(path),
                b" or COLL_NAME like ",
                &quoted(&below(collection)),
                b" or COLL_NAME like ",
                &quoted(&suffixed),
                format!(") and META_{kind}_ATTR_NAME in (").as_bytes(),
                &names,
                b") limit 1000",
            ]
            .concat();
            for id in self.ids(&query, &collection.display())? {
                found.extend(self.collection_path(id)?);
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    fn tagged_objects(
        &self,
        id: CollectionId,
        attribute: &str,
    ) -> Result<Vec<(DataId, String, String)>, CatalogError> {
        let mut tags = Vec::new();
        self.object_avus(id, Which::All, &[attribute], &mut |data_id, triple| {
            tags.push((data_id, triple.value, triple.units));
        })?;
        // Every replica of a data object gives its AVUs again.
        tags.sort();
        tags.dedup();
        Ok(tags)
    }

    fn bears(&self, kind: &[u8], name: &[u8], attributes: &[&str]) -> Result<bool, CatalogError> {
        let parent = parent_bytes(name).unwrap_or_default();
        let last = name.strip_prefix(parent).and_then(|n| n.strip_prefix(b"/")).unwrap_or(name);
        let entity = entity_of(kind);
        let condition = match entity {
            "DATA" => {
                [b"COLL_NAME = ", quoted(parent).as_slice(), b" and DATA_NAME = ", &quoted(last)].concat()
            }
            "COLL" => [b"COLL_NAME = ", quoted(name).as_slice()].concat(),
            "RESC" => [b"RESC_NAME = ", quoted(name).as_slice()].concat(),
            _ => [b"USER_NAME = ", quoted(name.split(|b| *b == b'#').next().unwrap_or(name)).as_slice()]
                .concat(),
        };
        self.any_of(entity, &condition, attributes, name)
    }

    fn avu_is_one_of(&self, kind: &[u8], id: &[u8], attributes: &[&str]) -> Result<bool, CatalogError> {
        let entity = entity_of(kind);
        let condition = [format!("META_{entity}_ATTR_ID = ").as_bytes(), &quoted(id)].concat();
        self.any_of(entity, &condition, attributes, id)
    }

    fn replicas(
        &self,
        id: CollectionId,
        which: Which,
        visit: &mut dyn FnMut(Replica),
    ) -> Result<(), CatalogError> {
        let columns = [
            column::DATA_ID,
            column::DATA_NAME,
            column::DATA_REPL_NUM,
            column::DATA_REPL_STATUS,
            column::DATA_SIZE,
            column::DATA_MODIFY_TIME,
            column::DATA_PATH,
            column::DATA_RESC_HIER,
            column::DATA_CHECKSUM,
            column::DATA_OWNER_NAME,
            column::DATA_OWNER_ZONE,
        ];
        let (subject, mut wrong) = (format!("collection {id}"), None);
        self.list(&columns, &objects_in(id, which), &subject, &mut |cells| match replica_of(id, cells) {
            Ok(replica) => {
                visit(replica);
                true
            }
            Err(detail) => {
                wrong = Some(detail);
                false
            }
        })?;
        wrong.map_or(Ok(()), |detail| Err(unreadable("rsGenQuery", &subject, &detail)))
    }

    fn objects_at(&self, physical_path: &[u8]) -> Result<Vec<(DataId, CollectionId)>, CatalogError> {
        let subject = String::from_utf8_lossy(physical_path).into_owned();
        let query =
            [b"select distinct DATA_ID, COLL_ID where DATA_PATH = ".as_slice(), &quoted(physical_path)];
        let parsed = |row: Vec<String>| {
            let [id, collection] = row.try_into().ok()?;
            Some((DataId::parse(&id).ok()?, CollectionId::parse(&collection).ok()?))
        };
        let rows = self.rows(&query.concat(), &subject)?;
        rows.into_iter()
            .map(|row| parsed(row).ok_or_else(|| unreadable("rs_genquery2", &subject, "not two ids")))
            .collect()
    }

    fn may_read(&self, user: &IrodsUser, id: DataId, collection: CollectionId) -> Result<bool, CatalogError> {
        let level = self.permission(user, Item::DataObject(id, collection))?;
        Ok(level.is_some_and(|level| level >= Level::READ))
    }

    fn object_avus(
        &self,
        id: CollectionId,
        which: Which,
        attributes: &[&str],
        visit: &mut dyn FnMut(DataId, Triple),
    ) -> Result<(), CatalogError> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let columns = [
            column::DATA_ID,
            column::META_DATA_ATTR_NAME,
            column::META_DATA_ATTR_VALUE,
            column::META_DATA_ATTR_UNITS,
        ];
        // Of an attribute that has few different values PostgreSQL takes every AVU in the zone before it looks which are in
        // the collection: a million for a hundred (`explain` on a catalog of a million records). Of the version, which is
        // another for almost every data object, it knows that there are many, and begins with the collection. Tags are few.
        let (version, is_tag) = (self.names.version.as_str(), attributes == [self.names.import.as_str()]);
        let is_added = !is_tag && !attributes.contains(&version);
        let names: Vec<&str> = attributes.iter().copied().chain(is_added.then_some(version)).collect();
        let mut wanted = objects_in(id, which);
        wanted.push((column::META_DATA_ATTR_NAME, among(&names)));
        self.list(&columns, &wanted, &format!("collection {id}"), &mut |cells| {
            if let [data_id, attribute, value, units] = cells
                && let Ok(data_id) = DataId::parse(&text(data_id))
                && !(is_added && *attribute == version.as_bytes())
            {
                visit(data_id, Triple::new(&text(attribute), text(value), text(units)));
            }
            true
        })
    }

    fn collection_record(&self, id: CollectionId) -> Result<Record, CatalogError> {
        let query = [
            b"select distinct META_COLL_ATTR_NAME, META_COLL_ATTR_VALUE, META_COLL_ATTR_UNITS where COLL_ID = "
                .as_slice(),
            &quoted(id.to_string().as_bytes()),
            b" and META_COLL_ATTR_NAME in (",
            &quoted_list(&self.names.record()),
            format!(") limit {MAX_ROWS}").as_bytes(),
        ]
        .concat();
        let rows = self.rows(&query, &format!("collection {id}"))?;
        let triple = |row: Vec<String>| {
            let [attribute, value, units]: [String; 3] = row.try_into().ok()?;
            (!attribute.is_empty()).then_some(Triple { attribute, value, units })
        };
        Ok(Record { triples: rows.into_iter().filter_map(triple).collect(), ..Record::on(id.number()) })
    }

    fn tree(&self, collection: &LogicalPath, visit: &mut dyn FnMut(TreeReplica)) -> Result<(), CatalogError> {
        let subject = collection.display();
        let mut after = "0".to_owned();
        loop {
            let query = [
                b"select distinct DATA_ID, DATA_REPL_NUM, DATA_REPL_STATUS, DATA_SIZE, DATA_MODIFY_TIME, DATA_PATH, \
                  RESC_NAME where (COLL_NAME = "
                    .as_slice(),
                &quoted(collection.as_bytes()),
                b" or COLL_NAME like ",
                &quoted(&below(collection)),
                format!(") and DATA_ID > '{after}' order by DATA_ID limit {TREE_PAGE}").as_bytes(),
            ]
            .concat();
            let mut rows = self.rows(&query, &subject)?;
            let full = rows.len() >= TREE_PAGE;
            if full {
                // The page may end within a data object, which the next one then begins with.
                let last = rows.last().and_then(|row| row.first()).cloned().unwrap_or_default();
                let whole = rows.iter().position(|row| row.first() == Some(&last)).unwrap_or(0);
                if whole > 0 {
                    rows.truncate(whole);
                }
            }
            for row in &rows {
                visit(tree_replica_of(row).map_err(|why| unreadable("rs_genquery2", &subject, &why))?);
            }
            match rows.last().and_then(|row| row.first()) {
                Some(last) if full => after.clone_from(last),
                Some(_) | None => return Ok(()),
            }
        }
    }

    fn changed_between(
        &self,
        ids: &RangeInclusive<u64>,
        since: Option<UnixTime>,
    ) -> Result<Vec<Changed>, CatalogError> {
        let columns = [
            column::DATA_ID,
            column::DATA_COLL_ID,
            column::DATA_NAME,
            column::DATA_REPL_NUM,
            column::DATA_REPL_STATUS,
            column::DATA_SIZE,
            column::DATA_MODIFY_TIME,
        ];
        let mut wanted = vec![between(ids)];
        // Times are texts of eleven digits.
        wanted.extend(since.map(|since| (column::DATA_MODIFY_TIME, format!(">= '{since:011}'"))));
        let mut found = Vec::new();
        self.list(&columns, &wanted, "what has changed", &mut |cells| {
            // A row that cannot be read (its owner may set its time to any text) is one that the sweep of its collection
            // tells of.
            found.extend(changed_of(cells));
            true
        })?;
        Ok(found)
    }

    fn changed_in(
        &self,
        id: CollectionId,
        after: u64,
        since: UnixTime,
    ) -> Result<BTreeSet<DataId>, CatalogError> {
        let mut found = BTreeSet::new();
        // GenQuery1 has no `or`. Times are texts of eleven digits; 2, 3 and 4 are the replicas that are being written.
        for condition in [
            between(&(after.saturating_add(1)..=LAST_ID)),
            (column::DATA_MODIFY_TIME, format!(">= '{since:011}'")),
            (column::DATA_REPL_STATUS, "between '2' '4'".to_owned()),
        ] {
            let wanted = [(column::DATA_COLL_ID, equals(&id.to_string())), condition];
            self.list(&[column::DATA_ID], &wanted, &format!("collection {id}"), &mut |cells| {
                let id = cells.first().map(|cell| String::from_utf8_lossy(cell));
                found.extend(id.and_then(|id| DataId::parse(&id).ok()));
                true
            })?;
        }
        Ok(found)
    }

    fn records_between(
        &self,
        ids: &RangeInclusive<u64>,
        visit: &mut dyn FnMut(DataId, CollectionId, Triple),
    ) -> Result<(), CatalogError> {
        let columns = [
            column::DATA_ID,
            column::DATA_COLL_ID,
            column::META_DATA_ATTR_NAME,
            column::META_DATA_ATTR_VALUE,
            column::META_DATA_ATTR_UNITS,
        ];
        // Both, always: see `object_avus`.
        let Attributes { state, version, .. } = self.names;
        let wanted = [between(ids), (column::META_DATA_ATTR_NAME, format!("in ('{state}','{version}')"))];
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.list(&columns, &wanted, "the records", &mut |cells| {
            if let [id, collection, attribute, value, units] = cells
                && let (Ok(id), Ok(collection)) =
                    (DataId::parse(&text(id)), CollectionId::parse(&text(collection)))
            {
                visit(id, collection, Triple::new(&text(attribute), text(value), text(units)));
            }
            true
        })
    }

    fn backlog(&self, limit: usize) -> Result<Backlog, CatalogError> {
        self.read_backlog(limit)
    }

    fn is_borne(&self, attribute: &str, value: &str) -> Result<bool, CatalogError> {
        // Without `distinct`, which would read them all.
        let query = [
            b"select COLL_ID where META_DATA_ATTR_NAME = ".as_slice(),
            &quoted(attribute.as_bytes()),
            b" and META_DATA_ATTR_VALUE = ",
            &quoted(value.as_bytes()),
            b" limit 1",
        ]
        .concat();
        Ok(!self.rows(&query, "the records")?.is_empty())
    }

    fn replace(
        &self,
        kind: Kind,
        path: &LogicalPath,
        remove: &[Triple],
        add: &[Triple],
    ) -> Result<(), CatalogError> {
        let removed: Vec<&Triple> = remove.iter().filter(|t| !add.contains(t)).collect();
        let added = add.iter().filter(|t| !remove.contains(t)).map(|t| ("add", t));
        let changes: Vec<_> = removed.iter().map(|t| ("remove", *t)).chain(added).collect();
        if changes.is_empty() {
            return Ok(());
        }
        let entity = match kind {
            Kind::DataObject => Entity::DataObject,
            Kind::Collection => Entity::Collection,
        };
        self.apply(path, entity, &changes)?;
        if removed.is_empty() { Ok(()) } else { self.detach(path, entity, &removed) }
    }

    fn replicate(&self, object: &LogicalPath, resource: &str) -> Result<(), CatalogError> {
        self.session
            .replicate(object.as_bytes(), resource)
            .map_err(|code| failed("rsDataObjRepl", &object.display(), code))
    }

    fn jobs(&self) -> Result<Jobs, CatalogError> {
        let columns =
            [column::RULE_EXEC_ID, column::RULE_EXEC_NAME, column::RULE_EXEC_TIME, column::RULE_EXEC_CONTEXT];
        // The owner is all that tells a job of ours from a text that anybody may queue.
        let wanted = [
            (column::RULE_EXEC_USER_NAME, equals(self.service().name)),
            (column::RULE_EXEC_NAME, "like '{\"operation\":\"%'".to_owned()),
        ];
        let mut jobs = Vec::new();
        self.list(&columns, &wanted, "the delay queue", &mut |cells| {
            // The column of the owner has a name only: a user of another zone may be called as the service account is.
            if let [_, text, time, context] = cells
                && self.is_of_service(context)
                && let Ok(due_at) = String::from_utf8_lossy(time).trim().parse()
            {
                jobs.push(QueuedJob { text: String::from_utf8_lossy(text).into_owned(), due_at });
            }
            true
        })?;
        Ok(Jobs::new(jobs))
    }

    fn queue(&self, text: &str, delay: Duration) -> Result<(), CatalogError> {
        self.session
            .delay(Some(self.service()), text, &self.conditions(delay))
            .map_err(|code| failed("_delayExec", text, code))
    }

    fn queue_as_client(&self, text: &str, delay: Duration) -> Result<(), CatalogError> {
        self.session
            .delay(None, text, &self.conditions(delay))
            .map_err(|code| failed("_delayExec", text, code))
    }

    fn client_is_service(&self) -> bool {
        self.service.is_some() && self.client().as_ref() == self.service
    }

    fn client(&self) -> Option<IrodsUser> {
        let (name, zone, _) = self.session.client().ok()?;
        IrodsUser::new(&name, &zone).ok()
    }

    fn client_is_admin(&self) -> bool {
        self.session.client().is_ok_and(|(_, _, admin)| admin)
    }
}

fn failed(call: &'static str, subject: &str, code: i64) -> CatalogError {
    CatalogError::Call { call, subject: subject.to_owned(), code }
}

pub(super) fn unreadable(call: &'static str, subject: &str, detail: &str) -> CatalogError {
    CatalogError::Answer { call, subject: subject.to_owned(), detail: detail.to_owned() }
}

/// What GenQuery2 calls a kind of thing that bears AVUs: `-d`, `-C`, ..., in either case.
fn entity_of(kind: &[u8]) -> &'static str {
    match kind.strip_prefix(b"-").and_then(|k| k.first()).map(u8::to_ascii_lowercase) {
        Some(b'd') => "DATA",
        Some(b'c') => "COLL",
        Some(b'r') => "RESC",
        _ => "USER",
    }
}

/// A GenQuery2 string literal: a quote is doubled, and `\xHH` stands for a byte, so a backslash before an `x` has to
/// be written so itself.
pub(super) fn quoted(bytes: &[u8]) -> Vec<u8> {
    let mut text = vec![b'\''];
    for (i, b) in bytes.iter().enumerate() {
        match b {
            b'\'' => text.extend_from_slice(b"''"),
            b'\\' if bytes.get(i + 1) == Some(&b'x') => text.extend_from_slice(br"\x5c"),
            other => text.push(*other),
        }
    }
    text.push(b'\'');
    text
}

/// The pattern, for `like`, of all paths below a collection.
pub(super) fn below(collection: &LogicalPath) -> Vec<u8> {
    let mut pattern = Vec::new();
    for b in collection.as_bytes() {
        if matches!(b, b'%' | b'_' | b'\\') {
            pattern.push(b'\\');
        }
        pattern.push(*b);
    }
    pattern.extend_from_slice(b"/%");
    pattern
}

/// Whether a path is that of a collection, or below it.
pub(super) fn is_at_or_below(path: &[u8], collection: &[u8]) -> bool {
    path.strip_prefix(collection).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// A text that GenQuery1 can be asked for: it has no way to escape a quote, and takes some characters for its own.
pub(super) fn plain(text: &[u8]) -> Option<&str> {
    let is_plain = |b: &u8| *b >= 0x20 && !matches!(b, b'\'' | b'"' | b'|' | b'&' | b'\\' | b'<' | b'>');
    std::str::from_utf8(text).ok().filter(|_| text.iter().all(is_plain))
}

/// A condition of GenQuery1 on a text that is [`plain`].
pub(super) fn equals(text: &str) -> String {
    format!("= '{text}'")
}

/// The same on one of several, if they are not too long together.
fn one_of(texts: &[&str]) -> Option<String> {
    let list: Vec<String> = texts.iter().map(|text| format!("'{text}'")).collect();
    let list = list.join(",");
    (list.len() <= MAX_LIST).then(|| format!("in ({list})"))
}

/// A condition of GenQuery1 that a text is one of several names of attributes.
pub(super) fn among(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    format!("in ({})", names.join(","))
}

/// The data objects with an id in a range, as a condition of GenQuery1.
fn between(ids: &RangeInclusive<u64>) -> (i32, String) {
    (column::DATA_ID, format!("between '{}' '{}'", ids.start(), ids.end()))
}

/// The data objects directly in a collection, as conditions of GenQuery1.
fn objects_in(id: CollectionId, which: Which) -> Vec<(i32, String)> {
    let mut wanted = vec![(column::DATA_COLL_ID, equals(&id.to_string()))];
    if let Which::Between(first, last) = which {
        wanted.push((column::DATA_ID, format!("between '{first}' '{last}'")));
    }
    wanted
}

/// Literals for `in (...)`.
pub(super) fn quoted_list(texts: &[&str]) -> Vec<u8> {
    let quoted: Vec<Vec<u8>> = texts.iter().map(|t| quoted(t.as_bytes())).collect();
    quoted.join(b", ".as_slice())
}

/// An AVU of the user with that id, or of one of its groups, from a row: id and name of the bearer, attribute,
/// value.
fn tag_of(user_id: &str, row: Vec<String>) -> Option<UserTag> {
    let [id, name, attribute, value]: [String; 4] = row.try_into().ok()?;
    let holder = if id == user_id { Holder::User } else { Holder::Group(name) };
    (!value.is_empty()).then_some(UserTag { holder, attribute, value })
}

/// The rows of a GenQuery2 answer: an array of arrays of strings.
fn rows_of(json: &[u8]) -> Result<Vec<Vec<String>>, String> {
    serde_json::from_slice::<Value>(json)
        .ok()
        .as_ref()
        .and_then(Value::as_array)
        .and_then(|rows| {
            rows.iter()
                .map(|row| row.as_array()?.iter().map(|cell| cell.as_str().map(str::to_owned)).collect())
                .collect::<Option<Vec<Vec<String>>>>()
        })
        .ok_or_else(|| "not a JSON array of rows".to_owned())
}

/// A replica that is being written, or is good and not empty, from a row that can be read.
fn changed_of(cells: &[&[u8]]) -> Option<Changed> {
    let [id, collection, name, _, status, size, modified] = cells else { return None };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let in_flux = match ReplicaStatus::parse(&text(status)) {
        ReplicaStatus::Good => false,
        ReplicaStatus::Intermediate | ReplicaStatus::Locked => true,
        ReplicaStatus::Stale | ReplicaStatus::Unknown => return None,
    };
    let size = text(size).parse().unwrap_or(0);
    (in_flux || size > 0).then_some(())?;
    Some(Changed {
        data_id: DataId::parse(&text(id)).ok()?,
        collection: CollectionId::parse(&text(collection)).ok()?,
        name: name.to_vec(),
        version: Version { modify_time: text(modified).parse().ok()?, size },
        in_flux,
    })
}

fn tree_replica_of(row: &[String]) -> Result<TreeReplica, String> {
    let [id, _, status, size, modified, path, resource] = row else {
        return Err(format!("{} columns instead of 7", row.len()));
    };
    Ok(TreeReplica {
        data_id: DataId::parse(id).map_err(|e| e.to_string())?,
        status: ReplicaStatus::parse(status),
        size: size.parse().unwrap_or(0),
        // Its owner may set it to any text, which is nothing to go by.
        modify_time: modified.parse().unwrap_or(0),
        physical_path: path.clone().into_bytes(),
        resource: resource.clone(),
    })
}

fn replica_of(collection: CollectionId, cells: &[&[u8]]) -> Result<Replica, String> {
    let [id, name, number, status, size, modified, path, hierarchy, checksum, owner, zone] = cells else {
        return Err(format!("{} columns instead of 11", cells.len()));
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let number_of = |what: &str, bytes: &[u8]| {
        text(bytes).parse::<u64>().map_err(|_| format!("{what} '{}' is not a number", text(bytes)))
    };
    // Its owner may set it to any text: that is a fact about this one replica, and none about the others.
    let (modify_time, fault) = match number_of("its modify time", modified) {
        Ok(time) => (time, None),
        Err(why) => (0, Some(why)),
    };
    Ok(Replica {
        data_id: DataId::parse(&text(id)).map_err(|e| e.to_string())?,
        collection,
        name: name.to_vec(),
        number: u32::try_from(number_of("replica number", number)?).unwrap_or(u32::MAX),
        status: ReplicaStatus::parse(&text(status)),
        // A size of -1 marks a replica whose writing never ended.
        size: number_of("size", size).unwrap_or(0),
        modify_time,
        fault,
        physical_path: path.to_vec(),
        hierarchy: text(hierarchy),
        checksum: Some(text(checksum)).filter(|c| !c.is_empty()),
        owner_name: text(owner),
        owner_zone: text(zone),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_in_a_path_ends_no_literal() {
        assert_eq!(quoted(b"it's"), b"'it''s'");
    }

    #[test]
    fn a_backslash_in_a_path_is_a_backslash() {
        assert_eq!(quoted(br"/z/\x41\n"), br"'/z/\x5cx41\n'");
    }

    #[test]
    fn what_lies_below_a_collection_is_no_siblings() {
        let pattern = |path: &[u8]| below(&LogicalPath::parse(path).unwrap());
        assert_eq!(pattern(br"/z/a_b%c\d"), br"/z/a\_b\%c\\d/%");
    }

    #[test]
    fn answers_that_are_not_rows_are_refused() {
        assert_eq!(rows_of(br#"[["a","b"],["","c"]]"#).unwrap().len(), 2);
        for bad in ["", "{}", "[1]", "[[1]]", "[[\"a\"]"] {
            assert!(rows_of(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn avus_of_the_user_and_of_its_groups_are_told_apart_by_the_id() {
        let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        let own = tag_of("7", row(["7", "lab", "a", "v"])).unwrap();
        assert_eq!(own.holder, Holder::User);
        let of_group = tag_of("7", row(["8", "lab", "a", "v"])).unwrap();
        assert_eq!(of_group.holder, Holder::Group("lab".to_owned()));
        assert_eq!(tag_of("7", row(["7", "alice", "", ""])), None);
    }

    #[test]
    fn a_replica_row_is_read_by_position() {
        let cells: Vec<&[u8]> =
            vec![b"10", b"a\xff", b"0", b"1", b"5", b"01700000000", b"/v/a", b"r;u", b"", b"alice", b"z"];
        let collection = CollectionId::parse("7").unwrap();
        let replica = replica_of(collection, &cells).unwrap();
        assert_eq!((replica.modify_time, replica.status), (1_700_000_000, ReplicaStatus::Good));
        assert_eq!(replica.checksum, None);
        assert!(replica_of(collection, &cells[1..]).is_err());
    }
}
