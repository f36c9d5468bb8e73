//! The records of data whose tie to OMERO has ended: somebody released it, or deleted its images there.

use crate::attributes::Attributes;
use crate::names::{IrodsUser, OmeroName};
use crate::record::{Cause, Ids, Record, State, Triple, sentence};

/// Who is named as having asked that data is left alone whose images somebody deleted in OMERO.
pub const IN_OMERO: &str = "removed in OMERO";

impl Record {
    /// The record of what somebody released: it names no images, and the data is not imported again unless that is asked
    /// for. `deleted`: its images were deleted in OMERO; else its filesets are those of a version before.
    pub fn released(&self, names: &Attributes, by: &IrodsUser, deleted: bool) -> Vec<Triple> {
        let what = if deleted {
            "and its images in OMERO were deleted"
        } else {
            "its images in OMERO are kept, and show nothing any more when the data goes"
        };
        let reason = format!("released by {by}: {what}; a retry imports it again");
        self.untied(names, &reason, &by.to_string(), !deleted)
    }

    /// The record of data whose images somebody deleted in OMERO, if it is known who: the data is not imported again unless that
    /// is asked for.
    pub fn removed_in_omero(&self, names: &Attributes, by: Option<&OmeroName>) -> Vec<Triple> {
        let fileset =
            self.fileset(names).map_or_else(|| "its fileset".to_owned(), |id| format!("fileset {id}"));
        let by = by.map_or_else(String::new, |user| format!(" by {user}"));
        let reason =
            format!("removed in OMERO{by}: {fileset} is not there any more; a retry imports the data again");
        self.untied(names, &reason, IN_OMERO, false)
    }

    /// The same with a reason, and who is named. `keeps`: whether filesets are named as those of a version before.
    fn untied(&self, names: &Attributes, reason: &str, by: &str, keeps: bool) -> Vec<Triple> {
        let Attributes { owner, mapped_by, version, previous, .. } = names;
        let stays = [owner, mapped_by, version, previous];
        let mut triples: Vec<Triple> =
            self.own(names).iter().filter(|t| stays.contains(&&t.attribute)).cloned().collect();
        if keeps {
            let of_omero = [&names.fileset, &names.member_of];
            let filesets = self.own(names).iter().filter(|t| of_omero.contains(&&t.attribute));
            triples.extend(filesets.map(|t| Triple { attribute: previous.clone(), ..t.clone() }));
        }
        triples.extend([
            Triple::new(&names.state, State::Skipped.as_str(), 0),
            Triple::new(&names.reason, sentence(reason), Cause::Asked.as_str()),
            Triple::new(&names.ignored, by, ""),
        ]);
        let mut triples = self.renewed(names, triples, |all| {
            (all.images, all.plates) = (Ids::default(), Ids::default());
        });
        triples.sort();
        triples.dedup();
        triples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(names: &Attributes) -> Record {
        Record {
            triples: vec![
                Triple::new(&names.state, "imported", 1),
                Triple::new(&names.fileset, "5", "omero"),
                Triple::new(&names.image, "7", "omero"),
                Triple::new(&names.version, "1:2 id=9 images=8", "sha2:x"),
                Triple::new(&names.owner, "alice", "lab"),
            ],
            found_on: Some(9),
        }
    }

    #[test]
    fn what_is_released_names_no_images_and_waits_for_somebody_to_ask() {
        let (names, by) = (Attributes::default(), IrodsUser::parse("alice#z").unwrap());
        let released = Record { triples: record(&names).released(&names, &by, false), ..Record::on(9) };
        assert_eq!((released.state(&names), released.fileset(&names)), (Some(State::Skipped), None));
        assert_eq!(released.ignored_by(&names), Some("alice#z"));
        assert_eq!(released.previous(&names).len(), 1);
        assert_eq!(released.images(&names), Ids::default());
        assert!(released.version(&names).is_some() && released.owner(&names).is_some());
        let again = Record { triples: released.asked_again(&names, "alice asked"), ..Record::on(9) };
        assert_eq!((again.state(&names), again.ignored_by(&names)), (Some(State::Pending), None));
        let deleted = Record { triples: record(&names).released(&names, &by, true), ..Record::on(9) };
        assert_eq!(deleted.previous(&names), []);
    }

    #[test]
    fn of_what_was_deleted_in_omero_the_record_says_so() {
        let names = Attributes::default();
        let removed = Record { triples: record(&names).removed_in_omero(&names, None), ..Record::on(9) };
        assert_eq!((removed.state(&names), removed.fileset(&names)), (Some(State::Skipped), None));
        assert_eq!(removed.ignored_by(&names), Some(IN_OMERO));
        assert!(removed.reason(&names).unwrap().contains("fileset 5"));
        assert_eq!(removed.previous(&names), []);
    }
}
