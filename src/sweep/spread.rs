//! A whole tree is due: its collections are marked one after the other, and only as many sweeps are queued at a time
//! as the site allows. How far this has come is part of the tree's mark, so that whoever goes on knows.

use super::Sweeper;
use crate::catalog::CatalogError;
use crate::due;
use irods_omero_model::names::{CollectionId, LogicalPath};
use std::time::Duration;

/// The start of the value of a tree's due mark while its collections are being marked.
const SPREADING: &str = "spreading ";

/// The start of the value of a due mark that is set here, for `alice#tempZone`. It is no user's name, so no agent
/// takes it for its own and remembers it.
const OF_TREE: &str = "of a tree for ";

/// Whether a due mark was set for a tree.
pub(super) fn is_of_tree(mark: &str) -> bool {
    mark.starts_with(OF_TREE)
}

/// How long a tree waits for room in the queue.
const WAIT_FOR_ROOM: Duration = Duration::from_secs(10);

/// How many collections are read at a time.
const PAGE: usize = 100;

/// How far the marking of a tree has come.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Progress {
    user: String,
    after: Option<CollectionId>,
}

impl Progress {
    /// From the value of a mark: `spreading after 10023 for alice#tempZone`.
    fn parse(mark: &str) -> Option<Self> {
        let (after, user) = mark.strip_prefix(SPREADING)?.strip_prefix("after ")?.split_once(" for ")?;
        Some(Self { user: user.to_owned(), after: CollectionId::parse(after).ok() })
    }

    fn mark(&self) -> String {
        let after = self.after.map_or_else(|| "0".to_owned(), |id| id.to_string());
        format!("{SPREADING}after {after} for {}", self.user)
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
        // A tree that was moved out of a watched collection: what waits in it no longer does.
        let mut abandoned = None;
        loop {
            let marks = self.catalog.marks(id, attribute)?;
            let (mark, mut progress) = match marks.iter().find_map(|m| Some((m, Progress::parse(m)?))) {
                Some((mark, progress)) => (mark.clone(), progress),
                None => match marks.first() {
                    None => return Ok(None),
                    Some(user) => {
                        let progress = Progress { user: user.clone(), after: None };
                        self.catalog.change_mark(collection, attribute, user, &progress.mark())?;
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
                if !self.watching(path)?.is_of_interest() {
                    if abandoned.is_none() {
                        abandoned = Some(self.with_open_records()?);
                    }
                    if !abandoned.as_ref().is_some_and(|a| a.contains(below)) {
                        continue;
                    }
                }
                self.mark_below(*below, path, &progress.user)?;
            }
            self.catalog.change_mark(collection, attribute, &mark, &progress.mark())?;
        }
    }

    fn mark_below(&self, id: CollectionId, path: &LogicalPath, user: &str) -> Result<(), CatalogError> {
        // What lies within a directory format is looked at with it.
        let is_inside = self.config.unit_of(path.as_bytes()).is_some_and(|unit| unit != path.as_bytes());
        if is_inside {
            return Ok(());
        }
        let (due, soon) = (&self.config.attributes.due, Duration::from_secs(1));
        // Looked at first, because the server logs an error for every test-and-set that finds the mark there.
        if self.catalog.marks(id, due)?.is_empty()
            && self.catalog.set_mark(path, due, &format!("{OF_TREE}{user}"))?
        {
            return due::queue_sweep(self.catalog, id, soon);
        }
        // It may be marked because it waits for just this: a marker, or a tag.
        due::bring_forward(self.catalog, id, self.clock.now(), soon)
    }

    /// How many sweeps may be queued now. One place is kept for the tree's own next sweep.
    pub(super) fn room(&self, own: CollectionId) -> Result<usize, CatalogError> {
        let own = due::sweep_text(own);
        let waiting = self.catalog.queued()?.into_iter().filter(|j| due::is_sweep(&j.text) && j.text != own);
        Ok(self.config.max_queued_sweeps.saturating_sub(waiting.count() + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_reads_back_from_its_mark() {
        for after in [None, CollectionId::parse("10023").ok()] {
            let progress = Progress { user: "alice for b#z".to_owned(), after };
            assert_eq!(Progress::parse(&progress.mark()), Some(progress));
        }
        assert_eq!(Progress::parse("alice#z"), None);
    }
}
