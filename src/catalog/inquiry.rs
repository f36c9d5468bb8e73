//! What people ask of the catalog, beyond what the sweep needs: who may do what, and what there is in the whole zone.

use super::irods::{IrodsCatalog, quoted, quoted_list, unreadable};
use super::{Catalog, CatalogError};
use irods_omero_model::names::{CollectionId, DataId, IrodsUser, LogicalPath, parent_bytes};
use irods_omero_model::record::Triple;
use std::collections::{BTreeMap, BTreeSet};

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// A data object, and the collection that holds it.
    DataObject(DataId, CollectionId),
    /// A collection.
    Collection(CollectionId),
}

/// Of whose data something is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// All data of the zone.
    All,
    /// What the session's user may read.
    Own,
}

/// A level of permission, as `irods::experimental::catalog::access_type` numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(u32);

impl Level {
    /// `read_object`
    pub const READ: Self = Self(1_050);
    /// `modify_object`
    pub const WRITE: Self = Self(1_120);
}

/// What people ask of the catalog.
pub trait Inquiry: Catalog {
    /// What is at a path; `None` for nothing.
    fn item(&self, path: &LogicalPath) -> Result<Option<Item>, CatalogError>;

    /// The highest permission a user has, by name or through a group; `None` for none.
    fn permission(&self, user: &IrodsUser, item: Item) -> Result<Option<Level>, CatalogError>;

    /// How many data objects bear each value of an attribute.
    fn counts(&self, attribute: &str, sight: Sight) -> Result<BTreeMap<String, u64>, CatalogError>;

    /// Data objects with an attribute of one of some values, and their collections; those modified last come first.
    fn newest_with(
        &self,
        attribute: &str,
        values: &[&str],
        sight: Sight,
        limit: usize,
    ) -> Result<Vec<(DataId, CollectionId)>, CatalogError>;

    /// How many data objects bear an attribute, and the first of its values in the order of texts.
    fn first_of(&self, attribute: &str, sight: Sight) -> Result<(u64, Option<String>), CatalogError>;

    /// The highest number of a data object; 0 if there is none.
    fn last_data(&self) -> Result<u64, CatalogError>;

    /// The AVUs of some attributes on collections.
    fn collection_avus(
        &self,
        attributes: &[&str],
        sight: Sight,
    ) -> Result<Vec<(CollectionId, Triple)>, CatalogError>;
}

/// The most rows asked of one query.
const MAX_ROWS: u32 = 1_000_000;

/// A row of as many cells as expected.
fn cells<const N: usize>(row: Vec<String>, subject: &str) -> Result<[String; N], CatalogError> {
    row.try_into().map_err(|_| unreadable("rs_genquery2", subject, &format!("not {N} columns")))
}

fn parsed<T, E: ToString>(found: Result<T, E>, subject: &str) -> Result<T, CatalogError> {
    found.map_err(|e| unreadable("rs_genquery2", subject, &e.to_string()))
}

/// The part of a query that finds a data object by its path.
fn object_at(path: &LogicalPath) -> Vec<u8> {
    let parent = parent_bytes(path.as_bytes()).unwrap_or_default();
    [b"COLL_NAME = ".as_slice(), &quoted(parent), b" and DATA_NAME = ", &quoted(path.name())].concat()
}

impl Inquiry for IrodsCatalog<'_> {
    fn item(&self, path: &LogicalPath) -> Result<Option<Item>, CatalogError> {
        if let Some(id) = self.collection_id(path)? {
            return Ok(Some(Item::Collection(id)));
        }
        let subject = path.display();
        let query = [b"select distinct DATA_ID, COLL_ID where ".as_slice(), &object_at(path)].concat();
        let Some(row) = self.rows(&query, &subject)?.into_iter().next() else {
            return Ok(None);
        };
        let [id, collection] = cells(row, &subject)?;
        let id = parsed(DataId::parse(&id), &subject)?;
        Ok(Some(Item::DataObject(id, parsed(CollectionId::parse(&collection), &subject)?)))
    }

    fn permission(&self, user: &IrodsUser, item: Item) -> Result<Option<Level>, CatalogError> {
        let subject = format!("permissions of {user}");
        let Some(id) = self.user_id(user, &subject)? else {
            return Ok(None);
        };
        // The catalog lists a user as a member of itself, so that one query finds the user and its groups.
        let query = [
            b"select distinct USER_ID where GROUP_MEMBER_ID = ".as_slice(),
            &quoted(id.as_bytes()),
            format!(" limit {MAX_ROWS}").as_bytes(),
        ]
        .concat();
        let mut holders: BTreeSet<String> = self.rows(&query, &subject)?.into_iter().flatten().collect();
        holders.insert(id);
        let (kind, id) = match item {
            Item::DataObject(id, _) => ("DATA", id.to_string()),
            Item::Collection(id) => ("COLL", id.to_string()),
        };
        let query = format!(
            "select distinct {kind}_ACCESS_USER_ID, {kind}_ACCESS_PERM_ID where {kind}_ID = '{id}' limit {MAX_ROWS}"
        );
        let mut highest = None;
        for row in self.rows(query.as_bytes(), &subject)? {
            let [holder, level] = cells(row, &subject)?;
            if holders.contains(&holder)
                && let Ok(level) = level.parse()
            {
                highest = highest.max(Some(Level(level)));
            }
        }
        Ok(highest)
    }

    fn counts(&self, attribute: &str, sight: Sight) -> Result<BTreeMap<String, u64>, CatalogError> {
        let subject = "data objects by their records";
        let query = [
            b"select META_DATA_ATTR_VALUE, count(distinct DATA_ID) where META_DATA_ATTR_NAME = ".as_slice(),
            &quoted(attribute.as_bytes()),
            b" group by META_DATA_ATTR_VALUE",
        ]
        .concat();
        let mut counts = BTreeMap::new();
        for row in self.rows_seen(&query, subject, sight)? {
            let [value, count] = cells(row, subject)?;
            counts.insert(value, parsed(count.parse::<u64>(), subject)?);
        }
        Ok(counts)
    }

    fn newest_with(
        &self,
        attribute: &str,
        values: &[&str],
        sight: Sight,
        limit: usize,
    ) -> Result<Vec<(DataId, CollectionId)>, CatalogError> {
        let subject = "data objects by their records";
        let query = [
            b"select distinct DATA_ID, COLL_ID, DATA_MODIFY_TIME where META_DATA_ATTR_NAME = ".as_slice(),
            &quoted(attribute.as_bytes()),
            b" and META_DATA_ATTR_VALUE in (",
            &quoted_list(values),
            format!(") order by DATA_MODIFY_TIME desc limit {limit}").as_bytes(),
        ]
        .concat();
        let mut found: Vec<(DataId, CollectionId)> = Vec::new();
        for row in self.rows_seen(&query, subject, sight)? {
            let [id, collection, _] = cells(row, subject)?;
            let item =
                (parsed(DataId::parse(&id), subject)?, parsed(CollectionId::parse(&collection), subject)?);
            // One with several replicas comes several times.
            if !found.contains(&item) {
                found.push(item);
            }
        }
        Ok(found)
    }

    fn first_of(&self, attribute: &str, sight: Sight) -> Result<(u64, Option<String>), CatalogError> {
        let subject = "data objects by their records";
        let query = [
            b"select count(distinct DATA_ID), min(META_DATA_ATTR_VALUE) where META_DATA_ATTR_NAME = "
                .as_slice(),
            &quoted(attribute.as_bytes()),
        ]
        .concat();
        let Some(row) = self.rows_seen(&query, subject, sight)?.into_iter().next() else {
            return Ok((0, None));
        };
        let [count, first] = cells(row, subject)?;
        Ok((parsed(count.parse(), subject)?, Some(first).filter(|first| !first.is_empty())))
    }

    fn last_data(&self) -> Result<u64, CatalogError> {
        let subject = "the last data object";
        let row = self.rows(b"select max(DATA_ID)", subject)?.into_iter().next();
        let last = row.and_then(|row| row.into_iter().next()).filter(|last| !last.is_empty());
        last.map_or(Ok(0), |last| parsed(last.parse(), subject))
    }

    fn collection_avus(
        &self,
        attributes: &[&str],
        sight: Sight,
    ) -> Result<Vec<(CollectionId, Triple)>, CatalogError> {
        let subject = "collections by their AVUs";
        let query = [
            b"select distinct COLL_ID, META_COLL_ATTR_NAME, META_COLL_ATTR_VALUE, META_COLL_ATTR_UNITS where \
              META_COLL_ATTR_NAME in ("
                .as_slice(),
            &quoted_list(attributes),
            format!(") limit {MAX_ROWS}").as_bytes(),
        ]
        .concat();
        let rows = self.rows_seen(&query, subject, sight)?.into_iter();
        rows.map(|row| {
            let [id, attribute, value, units] = cells(row, subject)?;
            Ok((parsed(CollectionId::parse(&id), subject)?, Triple { attribute, value, units }))
        })
        .collect()
    }
}
