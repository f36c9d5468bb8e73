//! What the guard asks of the catalog: which records there are at a path, or below it.
//!
//! The answers come over the connection that the session has (GenQuery1). Only a path that GenQuery1 cannot be asked for (a
//! quote in it, a very long one) is asked by GenQuery2, which opens a connection to the database.

use super::irods::{
    IrodsCatalog, among, below, column, equals, is_at_or_below, plain, quoted, quoted_list, unreadable,
};
use super::{CatalogError, Inquiry};
use irods_omero_model::names::{CollectionId, DataId, LogicalPath, OmeroId, parent_bytes};
use irods_omero_model::record::{Record, Triple};
use std::collections::BTreeMap;

/// The longest path that GenQuery1 is asked for what is below: it holds a condition, which names the path twice, in 2,176
/// bytes.
const LONGEST: usize = 1_000;

/// What has a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordHolder {
    /// A data object, and the collection it is in.
    DataObject(DataId, CollectionId),
    /// A directory that is one image.
    Collection(CollectionId),
}

/// The records at a path, or below it.
pub trait Holdings: Inquiry {
    /// The record of the data object at a path; `None` if it has none, or is not there.
    ///
    /// # Errors
    /// The catalog failed.
    fn record_at(&self, object: &LogicalPath) -> Result<Option<(RecordHolder, Record)>, CatalogError>;

    /// The record of the collection at a path; `None` as above.
    ///
    /// # Errors
    /// The catalog failed.
    fn record_of(&self, collection: &LogicalPath) -> Result<Option<(RecordHolder, Record)>, CatalogError>;

    /// The collections at a path and below it in which data objects name a fileset.
    ///
    /// # Errors
    /// The catalog failed.
    fn collections_in_omero(
        &self,
        tree: &LogicalPath,
    ) -> Result<BTreeMap<LogicalPath, CollectionId>, CatalogError>;

    /// The collections at a path and below it that name a fileset themselves.
    ///
    /// # Errors
    /// The catalog failed.
    fn directories_in_omero(
        &self,
        tree: &LogicalPath,
    ) -> Result<BTreeMap<LogicalPath, CollectionId>, CatalogError>;

    /// The data objects whose records name a fileset.
    ///
    /// # Errors
    /// The catalog failed.
    fn data_of_fileset(&self, fileset: OmeroId) -> Result<BTreeMap<DataId, CollectionId>, CatalogError>;

    /// The directories that are one image whose records name a fileset.
    ///
    /// # Errors
    /// The catalog failed.
    fn directories_of_fileset(&self, fileset: OmeroId) -> Result<Vec<LogicalPath>, CatalogError>;

    /// Name, parent and vault path of every resource; the parent of a root is empty, and so is the vault path of one that
    /// only has children.
    ///
    /// # Errors
    /// The catalog failed.
    fn resources(&self) -> Result<Vec<Resource>, CatalogError>;
}

/// A resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// The catalog's number of it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The number of the resource above it; empty for a root.
    pub parent: String,
    /// Where its replicas lie.
    pub vault: String,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl IrodsCatalog<'_> {
    /// The collections in a tree that themselves, or whose data objects, bear one of some attributes.
    fn bearing(
        &self,
        tree: &LogicalPath,
        attribute: i32,
        entity: &str,
        attributes: &[&str],
    ) -> Result<BTreeMap<LogicalPath, CollectionId>, CatalogError> {
        let (subject, mut found) = (tree.display(), BTreeMap::new());
        let mut note = |id: &str, path: LogicalPath| {
            // The pattern takes `_` for any character.
            if is_at_or_below(path.as_bytes(), tree.as_bytes())
                && let Ok(id) = CollectionId::parse(id)
            {
                found.insert(path, id);
            }
        };
        if let Some(name) = plain(tree.as_bytes()).filter(|n| n.len() <= LONGEST && !n.contains('%')) {
            let wanted = [
                (column::COLL_NAME, format!("= '{name}' || like '{name}/%'")),
                (attribute, among(attributes)),
            ];
            self.list(&[column::COLL_ID, column::COLL_NAME], &wanted, &subject, &mut |cells| {
                if let [id, path] = cells
                    && let Ok(path) = LogicalPath::parse(path)
                {
                    note(&text(id), path);
                }
                true
            })?;
            return Ok(found);
        }
        let query = [
            b"select distinct COLL_ID where (COLL_NAME = ".as_slice(),
            &quoted(tree.as_bytes()),
            b" or COLL_NAME like ",
            &quoted(&below(tree)),
            format!(") and META_{entity}_ATTR_NAME in (").as_bytes(),
            &quoted_list(attributes),
            b") limit 1000000",
        ]
        .concat();
        for id in self.ids(&query, &subject)? {
            if let Some(path) = super::Catalog::collection_path(self, id)? {
                note(&id.to_string(), path);
            }
        }
        Ok(found)
    }

    /// The attributes that name the fileset of data.
    pub(super) fn in_omero(&self) -> [&str; 2] {
        [&self.names.fileset, &self.names.member_of]
    }
}

impl Holdings for IrodsCatalog<'_> {
    fn record_at(&self, object: &LogicalPath) -> Result<Option<(RecordHolder, Record)>, CatalogError> {
        let (subject, attributes) = (object.display(), self.names.record());
        let Some(collection) = parent_bytes(object.as_bytes()) else { return Ok(None) };
        let (mut holder, mut record) = (None, Record::default());
        let mut note = |ids: [&str; 2], triple: Triple| {
            if let (Ok(id), Ok(collection)) = (DataId::parse(ids[0]), CollectionId::parse(ids[1])) {
                holder = Some(RecordHolder::DataObject(id, collection));
                record.found_on = Some(id.number());
                // Every replica of a data object gives its AVUs again.
                if !record.triples.contains(&triple) {
                    record.triples.push(triple);
                }
            }
        };
        if let Some((collection, name)) = plain(collection).zip(plain(object.name())) {
            let columns = [
                column::DATA_ID,
                column::DATA_COLL_ID,
                column::META_DATA_ATTR_NAME,
                column::META_DATA_ATTR_VALUE,
                column::META_DATA_ATTR_UNITS,
            ];
            let wanted = [
                (column::COLL_NAME, equals(collection)),
                (column::DATA_NAME, equals(name)),
                (column::META_DATA_ATTR_NAME, among(&attributes)),
            ];
            self.list(&columns, &wanted, &subject, &mut |cells| {
                if let [id, collection, attribute, value, units] = cells {
                    note(
                        [&text(id), &text(collection)],
                        Triple::new(&text(attribute), text(value), text(units)),
                    );
                }
                true
            })?;
        } else {
            let query = [
                b"select distinct DATA_ID, COLL_ID, META_DATA_ATTR_NAME, META_DATA_ATTR_VALUE, META_DATA_ATTR_UNITS \
                  where COLL_NAME = "
                    .as_slice(),
                &quoted(collection),
                b" and DATA_NAME = ",
                &quoted(object.name()),
                b" and META_DATA_ATTR_NAME in (",
                &quoted_list(&attributes),
                b") limit 100000",
            ]
            .concat();
            for row in self.rows(&query, &subject)? {
                let [id, collection, attribute, value, units]: [String; 5] =
                    row.try_into().map_err(|_| unreadable("rs_genquery2", &subject, "not five columns"))?;
                if !attribute.is_empty() {
                    note([&id, &collection], Triple { attribute, value, units });
                }
            }
        }
        Ok(holder.map(|holder| (holder, record)))
    }

    fn record_of(&self, collection: &LogicalPath) -> Result<Option<(RecordHolder, Record)>, CatalogError> {
        let Some(name) = plain(collection.as_bytes()) else {
            let Some(id) = super::Catalog::collection_id(self, collection)? else { return Ok(None) };
            return super::Catalog::collection_record(self, id)
                .map(|record| Some((RecordHolder::Collection(id), record)));
        };
        let columns = [
            column::COLL_ID,
            column::META_COLL_ATTR_NAME,
            column::META_COLL_ATTR_VALUE,
            column::META_COLL_ATTR_UNITS,
        ];
        let wanted =
            [(column::COLL_NAME, equals(name)), (column::META_COLL_ATTR_NAME, among(&self.names.record()))];
        let (mut holder, mut record) = (None, Record::default());
        self.list(&columns, &wanted, &collection.display(), &mut |cells| {
            if let [id, attribute, value, units] = cells
                && let Ok(id) = CollectionId::parse(&text(id))
            {
                holder = Some(RecordHolder::Collection(id));
                record.found_on = Some(id.number());
                record.triples.push(Triple::new(&text(attribute), text(value), text(units)));
            }
            true
        })?;
        Ok(holder.map(|holder| (holder, record)))
    }

    fn collections_in_omero(
        &self,
        tree: &LogicalPath,
    ) -> Result<BTreeMap<LogicalPath, CollectionId>, CatalogError> {
        self.bearing(tree, column::META_DATA_ATTR_NAME, "DATA", &self.in_omero())
    }

    fn directories_in_omero(
        &self,
        tree: &LogicalPath,
    ) -> Result<BTreeMap<LogicalPath, CollectionId>, CatalogError> {
        self.bearing(tree, column::META_COLL_ATTR_NAME, "COLL", &self.in_omero())
    }

    fn data_of_fileset(&self, fileset: OmeroId) -> Result<BTreeMap<DataId, CollectionId>, CatalogError> {
        let wanted = [
            (column::META_DATA_ATTR_NAME, among(&self.in_omero())),
            (column::META_DATA_ATTR_VALUE, equals(&fileset.to_string())),
        ];
        let mut found = BTreeMap::new();
        let columns = [column::DATA_ID, column::DATA_COLL_ID];
        self.list(&columns, &wanted, &format!("fileset {fileset}"), &mut |cells| {
            if let [id, collection] = cells
                && let (Ok(id), Ok(collection)) =
                    (DataId::parse(&text(id)), CollectionId::parse(&text(collection)))
            {
                found.insert(id, collection);
            }
            true
        })?;
        Ok(found)
    }

    fn directories_of_fileset(&self, fileset: OmeroId) -> Result<Vec<LogicalPath>, CatalogError> {
        let wanted = [
            (column::META_COLL_ATTR_NAME, among(&self.in_omero())),
            (column::META_COLL_ATTR_VALUE, equals(&fileset.to_string())),
        ];
        let mut found = Vec::new();
        self.list(&[column::COLL_NAME], &wanted, &format!("fileset {fileset}"), &mut |cells| {
            found.extend(cells.first().and_then(|name| LogicalPath::parse(name).ok()));
            true
        })?;
        Ok(found)
    }

    fn resources(&self) -> Result<Vec<Resource>, CatalogError> {
        let columns = [column::RESC_ID, column::RESC_NAME, column::RESC_PARENT, column::RESC_VAULT_PATH];
        let mut resources = Vec::new();
        self.list(&columns, &[], "the resources", &mut |cells| {
            if let [id, name, parent, vault] = cells {
                let [id, name, parent, vault] = [id, name, parent, vault].map(|cell| text(cell));
                resources.push(Resource { id, name, parent, vault });
            }
            true
        })?;
        Ok(resources)
    }
}
