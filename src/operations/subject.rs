//! What an operation is about: a data object, a collection, or a directory that is one image, and who may ask.

use super::{Context, OperationError};
use crate::catalog::{Item, Kind, Level, Replica, Which};
use irods_omero_model::attributes::Attributes;
use irods_omero_model::names::{CollectionId, DataId, LogicalPath};
use irods_omero_model::record::Record;
use std::collections::BTreeMap;

/// What is at the path somebody named. Within a directory that is one image it is that directory.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its path.
    pub path: LogicalPath,
    /// What it is.
    pub item: Item,
    /// Whether it is a directory that is one image.
    pub is_unit: bool,
}

/// Something that has a record, or may have one.
pub struct Thing {
    /// Its path.
    pub path: LogicalPath,
    /// What it is.
    pub kind: Kind,
    /// Its record.
    pub record: Record,
    /// Its replicas; none for a directory that is one image.
    pub replicas: Vec<Replica>,
}

/// How many collections are read at a time.
const PAGE: usize = 1_000;

impl Subject {
    /// Finds what is at a path and asks whether the client has a permission on it; administrators always have.
    ///
    /// # Errors
    /// There is nothing, the client may not see it, or has not that permission.
    pub fn find(context: &Context<'_>, path: &LogicalPath, wanted: Level) -> Result<Self, OperationError> {
        let Context { config, catalog, .. } = *context;
        let nothing = || OperationError::NotThere(path.clone());
        let item = catalog.item(path)?.ok_or_else(nothing)?;
        let collection = match item {
            Item::Collection(_) => Some(path.clone()),
            Item::DataObject(..) => path.parent(),
        };
        let unit = collection.and_then(|c| LogicalPath::parse(config.unit_of(c.as_bytes())?).ok());
        let subject = match unit {
            Some(unit) => {
                let id = catalog.collection_id(&unit)?.ok_or_else(nothing)?;
                Self { path: unit, item: Item::Collection(id), is_unit: true }
            }
            None => Self { path: path.clone(), item, is_unit: false },
        };
        if catalog.client_is_admin() {
            return Ok(subject);
        }
        let user = catalog.client().ok_or_else(nothing)?;
        match catalog.permission(&user, subject.item)? {
            Some(level) if level >= wanted => Ok(subject),
            Some(level) if level >= Level::READ => Err(OperationError::NotPermitted(format!(
                "{user} may read {} but not change it: ask for write permission",
                subject.path
            ))),
            Some(_) | None => Err(nothing()),
        }
    }

    /// What kind of thing it is, as the catalog has it.
    pub fn kind(&self) -> Kind {
        match self.item {
            Item::DataObject(..) => Kind::DataObject,
            Item::Collection(_) => Kind::Collection,
        }
    }

    /// The kind in words, as answers have it.
    pub fn kind_word(&self) -> &'static str {
        match self.item {
            Item::DataObject(..) => "data_object",
            Item::Collection(_) if self.is_unit => "directory",
            Item::Collection(_) => "collection",
        }
    }

    /// The catalog's number of it.
    pub fn id(&self) -> String {
        match self.item {
            Item::DataObject(id, _) => id.to_string(),
            Item::Collection(id) => id.to_string(),
        }
    }

    /// The collection a sweep would look at, and its number.
    pub fn collection(&self) -> Option<(LogicalPath, CollectionId)> {
        match self.item {
            Item::DataObject(_, id) => Some((self.path.parent()?, id)),
            Item::Collection(id) => Some((self.path.clone(), id)),
        }
    }

    /// Everything in it that has a record or may have one: itself, or the data objects directly in the collection, with
    /// `recursive` also all below it.
    ///
    /// # Errors
    /// The catalog failed, or `visit`.
    pub fn each(
        &self,
        context: &Context<'_>,
        recursive: bool,
        visit: &mut dyn FnMut(Thing) -> Result<(), OperationError>,
    ) -> Result<(), OperationError> {
        match self.item {
            Item::DataObject(id, collection) => {
                let parent = self.path.parent().ok_or_else(|| OperationError::NotThere(self.path.clone()))?;
                things(context, collection, &parent, Which::Between(id, id))?.into_iter().try_for_each(visit)
            }
            Item::Collection(id) if self.is_unit => visit(directory(context, id, &self.path)?),
            Item::Collection(id) => {
                things(context, id, &self.path, Which::All)?.into_iter().try_for_each(&mut *visit)?;
                if recursive { self.each_below(context, visit) } else { Ok(()) }
            }
        }
    }

    fn each_below(
        &self,
        context: &Context<'_>,
        visit: &mut dyn FnMut(Thing) -> Result<(), OperationError>,
    ) -> Result<(), OperationError> {
        let Context { config, catalog, .. } = *context;
        let mut after = None;
        loop {
            let page = catalog.subcollections(&self.path, after, PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(*last);
            for (id, path) in &page {
                match config.unit_of(path.as_bytes()) {
                    Some(unit) if unit == path.as_bytes() => visit(directory(context, *id, path)?)?,
                    // What lies within such a directory has no record of its own.
                    Some(_) => {}
                    None => things(context, *id, path, Which::All)?.into_iter().try_for_each(&mut *visit)?,
                }
            }
        }
    }
}

fn directory(context: &Context<'_>, id: CollectionId, path: &LogicalPath) -> Result<Thing, OperationError> {
    let record = context.catalog.collection_record(id)?;
    Ok(Thing { path: path.clone(), kind: Kind::Collection, record, replicas: Vec::new() })
}

/// The data objects directly in a collection.
///
/// # Errors
/// The catalog failed.
pub fn things(
    context: &Context<'_>,
    id: CollectionId,
    collection: &LogicalPath,
    which: Which,
) -> Result<Vec<Thing>, OperationError> {
    let Context { config, catalog, .. } = *context;
    let mut found: BTreeMap<DataId, Vec<Replica>> = BTreeMap::new();
    catalog.replicas(id, which, &mut |replica| found.entry(replica.data_id).or_default().push(replica))?;
    let mut records = records(context, id, which, &config.attributes)?;
    let thing = |(id, replicas): (DataId, Vec<Replica>)| {
        let path = collection.join(&replicas.first()?.name).ok()?;
        let record = records.remove(&id).unwrap_or_else(|| Record::on(id.number()));
        Some(Thing { path, kind: Kind::DataObject, record, replicas })
    };
    Ok(found.into_iter().filter_map(thing).collect())
}

/// The records of the data objects directly in a collection.
fn records(
    context: &Context<'_>,
    id: CollectionId,
    which: Which,
    names: &Attributes,
) -> Result<BTreeMap<DataId, Record>, OperationError> {
    let mut records: BTreeMap<DataId, Record> = BTreeMap::new();
    context.catalog.object_avus(id, which, &names.record(), &mut |id, triple| {
        let triples = &mut records.entry(id).or_insert_with(|| Record::on(id.number())).triples;
        // Every replica of a data object gives its AVUs again.
        if !triples.contains(&triple) {
            triples.push(triple);
        }
    })?;
    Ok(records)
}
