//! A whole tree is due: its collections are marked one after the other, and only as many sweeps are queued at a time
//! as the site allows. How far this has come is part of the tree's mark, so that whoever goes on knows.

use super::Sweeper;
use crate::catalog::CatalogError;
use crate::due;
use irods_omero_model::names::{CollectionId, LogicalPath};
use std::time::Duration;

/// The start of the value of a tree's due mark while its collections are being marked.
const SPREADING: &str = "spreading ";

/// How long a tree waits for room in the queue.
const WAIT_FOR_ROOM: Duration = Duration::from_secs(10);

/// How many collections are read at a time.
const PAGE: usize = 100;

/// How far the marking of a tree has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    after: Option<CollectionId>,
}

impl Progress {
    /// From the value of a mark: `spreading after 10023`. A version before this one wrote a user behind it.
    fn parse(mark: &str) -> Option<Self> {
        let rest = mark.strip_prefix(SPREADING)?.strip_prefix("after ")?;
        Some(Self { after: CollectionId::parse(rest.split(' ').next().unwrap_or_default()).ok() })
    }

    fn mark(self) -> String {
        let after = self.after.map_or_else(|| "0".to_owned(), |id| id.to_string());
        format!("{SPREADING}after {after}")
    }
}

impl Sweeper<'_> {
    /// Marks collections below one whose whole tree is due, as far as there is room in the queue; gives when to go
    /// on, `None` if all are marked.
    ///
    /// An event in the meantime sets the tree's mark anew, which is then spread from its beginning when this is
    /// through. A sweep that dies over it leaves its mark, and the next goes on behind the last page.
    pub(super) fn spread(
        &self,
        id: CollectionId,
        collection: &LogicalPath,
    ) -> Result<Option<Duration>, CatalogError> {
        let attribute = &self.config.attributes.due_tree;
        loop {
            let marks = self.catalog.marks(id, attribute)?;
            let (mark, mut progress) = match marks.iter().find_map(|m| Some((m, Progress::parse(m)?))) {
                Some((mark, progress)) => (mark.clone(), progress),
                None => match marks.first() {
                    None => return Ok(None),
                    Some(set) => {
                        let progress = Progress { after: None };
                        self.catalog.change_mark(collection, attribute, set, &progress.mark())?;
                        (progress.mark(), progress)
                    }
                },
            };
            let room = self.room(id)?.min(PAGE);
            if room == 0 {
                return Ok(Some(WAIT_FOR_ROOM));
            }
            let below = self.catalog.subcollections(collection, progress.after, room)?;
            let Some((last, _)) = below.last() else {
                self.catalog.remove_mark(collection, attribute, &mark)?;
                continue;
            };
            progress.after = Some(*last);
            for (below, path) in &below {
                // A tree that was moved out of a watched collection: what waits in it no longer does, and the links of what was
                // imported lead to where it was.
                if !self.watching(path)?.is_of_interest() && !self.has_record(*below)? {
                    continue;
                }
                self.mark_below(*below, path)?;
            }
            self.catalog.change_mark(collection, attribute, &mark, &progress.mark())?;
        }
    }

    fn mark_below(&self, id: CollectionId, path: &LogicalPath) -> Result<(), CatalogError> {
        // What lies within a directory format is looked at with it.
        let is_inside = self.config.unit_of(path.as_bytes()).is_some_and(|unit| unit != path.as_bytes());
        if is_inside {
            return Ok(());
        }
        let (due, soon) = (&self.config.attributes.due, Duration::from_secs(1));
        // What is in it has moved with it, where the tree has another name now.
        if !self.catalog.marks_at(path, &self.config.attributes.rested)?.is_empty() {
            due::ask_for_all(self.catalog, &self.config.attributes, path)?;
        }
        // Looked at first, because the server logs an error for every mark that is set twice.
        let marks = self.catalog.marks(id, due)?;
        if marks.is_empty() && self.catalog.set_mark(path, due, due::NEW)? {
            return due::queue_sweep(self.catalog, id, soon);
        }
        // It may be marked because it waits for just this: a marker, or a tag.
        due::bring_forward(self.catalog, id, self.clock.now(), soon, self.limits())
    }

    /// How many sweeps a tree may queue now: a part of the room is its own, which events leave free. One place is kept
    /// for the tree's own next sweep.
    fn room(&self, own: CollectionId) -> Result<usize, CatalogError> {
        let (own, jobs, now) = (due::sweep_text(own), self.catalog.jobs()?, self.clock.now());
        let waiting = jobs
            .living(now, self.config.sweep_expiry)
            .filter(|job| due::is_sweep(&job.text) && job.text != own);
        Ok(self.config.max_queued_sweeps.saturating_sub(waiting.count() + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_reads_back_from_its_mark() {
        for after in [None, CollectionId::parse("10023").ok()] {
            let progress = Progress { after };
            assert_eq!(Progress::parse(&progress.mark()), Some(progress));
        }
        assert_eq!(Progress::parse("new"), None);
        let old = Progress::parse("spreading after 10023 for alice for b#z");
        assert_eq!(old.unwrap().after, CollectionId::parse("10023").ok());
    }
}
