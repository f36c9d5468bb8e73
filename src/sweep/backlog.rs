//! The agents' page shows what the zone has not imported and why: the regular look tells them.

use super::Sweeper;
use crate::catalog::{CatalogError, Held};
use irods_omero_importer::Importing;
use irods_omero_importer::wire::{self, MAX_HELD, MAX_REASON_BYTES};
use irods_omero_model::names::CollectionId;
use std::collections::BTreeMap;

/// The most rows that are read of either kind of record.
const ROWS: usize = 5_000;

/// So many reasons of one cause are told for one collection; the others are counted together.
const REASONS: usize = 3;

impl Sweeper<'_> {
    /// Tells every agent. One that does not listen shows what it was told last.
    ///
    /// # Errors
    /// The catalog failed.
    pub(super) fn tell_backlog(&self) -> Result<(), CatalogError> {
        let Some(Importing::ByAgents(agents)) = self.importing else { return Ok(()) };
        let found = self.catalog.backlog(ROWS)?;
        let (rows, is_shortened) = told(found.held);
        let mut held = Vec::new();
        for Held { cause, reason, collection, objects } in rows {
            if let Some(collection) = self.catalog.collection_path(collection)? {
                held.push(wire::Held { cause, reason, collection, objects });
            }
        }
        let backlog = wire::Backlog {
            zone: String::from_utf8_lossy(self.catalog.zone()?.name()).into_owned(),
            at: self.clock.now(),
            states: found.states.into_iter().filter(|(word, _)| is_state(word)).collect(),
            held,
            is_cut: found.is_cut || is_shortened,
        };
        for agent in agents.all() {
            if let Err(error) = agent.tell_backlog(&backlog) {
                log::debug!("act=tell_backlog agent={} failed=\"{error}\"", agent.name());
            }
        }
        Ok(())
    }
}

fn is_state(word: &str) -> bool {
    irods_omero_model::record::State::parse(word).is_some()
}

/// The rows to tell, those of most data first, and whether some are left out.
fn told(held: Vec<Held>) -> (Vec<Held>, bool) {
    let mut groups: BTreeMap<(CollectionId, String), Vec<Held>> = BTreeMap::new();
    for one in held {
        groups.entry((one.collection, one.cause.clone())).or_default().push(one);
    }
    let mut rows = Vec::new();
    for ((collection, cause), mut reasons) in groups {
        reasons.sort_by(|a, b| b.objects.cmp(&a.objects).then_with(|| a.reason.cmp(&b.reason)));
        let others = reasons.split_off(REASONS.min(reasons.len()));
        let row = |reason, objects| Held { cause: cut(&cause, 64).to_owned(), reason, collection, objects };
        for one in reasons {
            rows.push(row(cut(&one.reason, MAX_REASON_BYTES).to_owned(), one.objects));
        }
        if !others.is_empty() {
            let reason = "other reasons: the AVU 'irods::omero::reason' of each data object says which";
            rows.push(row(reason.to_owned(), others.iter().map(|one| one.objects).sum()));
        }
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.objects));
    let is_shortened = rows.len() > MAX_HELD;
    rows.truncate(MAX_HELD);
    (rows, is_shortened)
}

/// The beginning of a text, of at most so many bytes.
fn cut(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(collection: &str, reason: &str, objects: u64) -> Held {
        let collection = CollectionId::parse(collection).unwrap();
        Held { cause: "bytes".to_owned(), reason: reason.to_owned(), collection, objects }
    }

    #[test]
    fn the_reasons_of_most_data_are_told_and_the_others_of_a_collection_counted_together() {
        let (rows, is_shortened) = told(vec![
            held("7", "one", 5),
            held("7", "two", 9),
            held("7", "three", 1),
            held("7", "four", 2),
            held("7", "five", 1),
            held("8", "one", 7),
        ]);
        assert!(!is_shortened);
        assert_eq!(rows.iter().map(|row| row.objects).collect::<Vec<_>>(), [9, 7, 5, 2, 2]);
        assert_eq!(rows[1], held("8", "one", 7));
        let other = rows.iter().find(|row| row.reason.starts_with("other reasons")).unwrap();
        assert_eq!((other.collection, other.objects), (rows[0].collection, 2));
    }

    #[test]
    fn no_more_is_told_than_an_agent_takes() {
        let many = (1..1_000).map(|i| held(&i.to_string(), &"ä".repeat(600), 1)).collect();
        let (rows, is_shortened) = told(many);
        assert_eq!((rows.len(), is_shortened), (MAX_HELD, true));
        assert_eq!(rows[0].reason.len(), MAX_REASON_BYTES);
        let even = format!("x{}", "ä".repeat(600));
        assert_eq!(told(vec![held("7", &even, 1)]).0[0].reason.len(), MAX_REASON_BYTES - 1);
    }
}
