//! What the zone has not imported, and why, as the catalog counts it. Collections are named by their ids, because the JSON of a
//! GenQuery2 cannot carry names that are not UTF-8.

use super::irods::{IrodsCatalog, quoted, unreadable};
use super::{CatalogError, Inquiry, Sight};
use irods_omero_model::names::CollectionId;
use std::collections::BTreeMap;

/// What the records of a zone come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many data objects and directories bear each word of a state.
    pub states: BTreeMap<String, u64>,
    /// Those with a reason.
    pub held: Vec<Held>,
    /// Whether there are more than these.
    pub is_cut: bool,
}

/// Data in one collection that bears one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The word of the cause, of the record's units; empty while the data waits.
    pub cause: String,
    /// The sentence.
    pub reason: String,
    /// The collection that holds the data, or the directory itself.
    pub collection: CollectionId,
    /// How many data objects, or 1 for a directory.
    pub objects: u64,
}

impl IrodsCatalog<'_> {
    /// See [`super::Catalog::backlog`].
    pub(super) fn read_backlog(&self, limit: usize) -> Result<Backlog, CatalogError> {
        let mut backlog =
            Backlog { states: self.counts(&self.names.state, Sight::All)?, ..Backlog::default() };
        for (_, triple) in self.collection_avus(&[&self.names.state], Sight::All)? {
            *backlog.states.entry(triple.value).or_default() += 1;
        }
        let subject = "data objects by their reasons";
        for kind in ["DATA", "COLL"] {
            let query = [
                format!(
                    "select META_{kind}_ATTR_VALUE, META_{kind}_ATTR_UNITS, COLL_ID, count(distinct {kind}_ID) \
                     where META_{kind}_ATTR_NAME = "
                )
                .as_bytes(),
                &quoted(self.names.reason.as_bytes()),
                format!(
                    " group by META_{kind}_ATTR_VALUE, META_{kind}_ATTR_UNITS, COLL_ID limit {}",
                    limit.saturating_add(1)
                )
                .as_bytes(),
            ]
            .concat();
            let rows = self.rows(&query, subject)?;
            backlog.is_cut |= rows.len() > limit;
            for row in rows.into_iter().take(limit) {
                let [reason, cause, collection, count]: [String; 4] =
                    row.try_into().map_err(|_| unreadable("rs_genquery2", subject, "not 4 columns"))?;
                let objects = count
                    .parse()
                    .map_err(|_| unreadable("rs_genquery2", subject, "no number of data objects"))?;
                let collection = CollectionId::parse(&collection)
                    .map_err(|error| unreadable("rs_genquery2", subject, &error.to_string()))?;
                backlog.held.push(Held { cause, reason, collection, objects });
            }
        }
        Ok(backlog)
    }
}
