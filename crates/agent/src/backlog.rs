//! What the zones have not imported, as their iRODS servers told last. It is kept in memory: they tell it again every few
//! minutes.

use irods_omero_importer::wire::Backlog;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The most zones: a caller that may speak for any zone could name as many as it likes.
const MAX_ZONES: usize = 32;

/// The last backlog of each zone.
#[derive(Debug, Default)]
pub struct Backlogs(Mutex<BTreeMap<String, Arc<Backlog>>>);

impl Backlogs {
    /// Takes the backlog of a zone. One too many takes the place of the one that was told longest ago.
    pub fn put(&self, backlog: Backlog) {
        let mut zones = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        zones.insert(backlog.zone.clone(), Arc::new(backlog));
        while zones.len() > MAX_ZONES {
            let oldest = zones.iter().min_by_key(|(_, b)| b.at).map(|(zone, _)| zone.clone());
            let Some(oldest) = oldest else { break };
            zones.remove(&oldest);
        }
    }

    /// Those of the zones that somebody may see.
    pub fn of(&self, may_see: impl Fn(&str) -> bool) -> Vec<Arc<Backlog>> {
        let zones = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        zones.values().filter(|backlog| may_see(&backlog.zone)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backlog(zone: &str, at: u64) -> Backlog {
        Backlog { zone: zone.to_owned(), at, states: BTreeMap::new(), held: Vec::new(), is_cut: false }
    }

    #[test]
    fn the_last_word_of_a_zone_counts_and_no_caller_fills_the_memory() {
        let backlogs = Backlogs::default();
        for at in 0..100 {
            backlogs.put(backlog(&format!("z{at}"), at));
        }
        backlogs.put(backlog("z99", 200));
        let kept = backlogs.of(|_| true);
        assert_eq!(kept.len(), MAX_ZONES);
        assert!(kept.iter().any(|b| b.zone == "z99" && b.at == 200) && kept.iter().all(|b| b.at > 60));
        assert_eq!(backlogs.of(|zone| zone == "z99").len(), 1);
        assert!(backlogs.of(|_| false).is_empty());
    }
}
