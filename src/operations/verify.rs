//! `{"operation":"verify","path":...,"recursive":...,"omero":...}`: whether the records of what was imported agree with the
//! catalog. OMERO is asked, by a job, only where that is wanted.

use super::release::{can_ask, look_of};
use super::subject::{Subject, Thing};
use super::{Context, OperationError};
use crate::catalog::{Kind, Level};
use irods_omero_model::attributes::Attributes;
use irods_omero_model::decide::{Decision, Facts, Recorded, Replicas, Why, decide};
use irods_omero_model::names::{LogicalPath, OmeroId};
use irods_omero_model::record::{Record, State, Triple};
use irods_omero_model::watch::OnOverwrite;
use serde_json::{Value, json};
use std::time::Duration;

/// How many disagreements are listed.
const LISTED: usize = 100;

/// What to verify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verify {
    /// A data object, or a collection with what is directly in it.
    pub path: LogicalPath,
    /// Whether all below it is meant too.
    pub recursive: bool,
    /// Whether a job is to ask OMERO if the images are still there.
    pub omero: bool,
}

impl Verify {
    /// Answers whoever may write there.
    ///
    /// # Errors
    /// There is nothing, the client may not write there, or the catalog failed.
    pub fn answer(&self, context: &Context<'_>) -> Result<Value, OperationError> {
        let names = &context.config.attributes;
        let subject = Subject::find(context, &self.path, Level::WRITE)?;
        let (mut verified, mut wrong, mut listed) = (0_u64, 0_u64, Vec::new());
        subject.each(context, self.recursive, &mut |thing| {
            let is_imported = thing.record.state(names) == Some(State::Imported);
            let copied = thing.record.copied_from(names).map(|other| copied_from(names, other));
            if !is_imported && copied.is_none() {
                return Ok(());
            }
            verified += u64::from(is_imported);
            let found = copied.map_or_else(|| disagreements(names, &thing), |what| vec![what]);
            for what in found {
                wrong += 1;
                if listed.len() < LISTED {
                    listed.push(json!({"path": thing.path.display(), "what": what}));
                }
            }
            Ok(())
        })?;
        let asks = self.omero && verified > 0;
        if asks {
            can_ask(context)?;
            context.catalog.queue(&look_of(&subject, self.recursive), Duration::from_secs(1))?;
        }
        Ok(json!({
            "path": subject.path.display(),
            "kind": subject.kind_word(),
            "imported": verified,
            "disagreements": wrong,
            "listed": listed,
            "omero_is_asked": asks,
        }))
    }
}

/// Of AVUs that are a record of other data.
fn copied_from(names: &Attributes, other: u64) -> String {
    format!(
        "the AVUs are the record of other data, whose number in the catalog is {other}, and were copied here ({}): the next \
         sweep of the collection writes one of this data's own: ask for its import",
        names.version
    )
}

/// What of a record of something imported does not agree with the catalog or with itself, in sentences.
fn disagreements(names: &Attributes, thing: &Thing) -> Vec<String> {
    let record = &thing.record;
    let mut found = Vec::new();
    match filesets(names, record).as_slice() {
        [] => found.push("the record names no fileset".to_owned()),
        [one] => {
            if OmeroId::parse(one).is_err() {
                found.push(format!("the record's fileset '{one}' is no id"));
            }
        }
        several => found.push(format!("the record names several filesets: {}", several.join(", "))),
    }
    // Our record is written only when the new data is in OMERO, so what is named there is of other bytes.
    found.extend(record.previous(names).into_iter().map(|old| {
        // Records of old versions have an AVU of each.
        let is_alone = |t: &Triple| t.attribute == names.previous && t.value == old.to_string();
        let remedy = if record.triples.iter().any(is_alone) {
            format!("remove {} {old} here", names.previous)
        } else {
            format!("take {old} out of 'previous=' in the value of {} here", names.version)
        };
        format!(
            "fileset {old} in OMERO is of other data, or of another version, that was at this path before: delete it in \
             OMERO if nobody needs it, and have an administrator {remedy}"
        )
    }));
    // The version of a directory is that of all its files together, which the sweep compares.
    if thing.kind == Kind::DataObject {
        found.extend(other_version(names, thing));
    }
    found
}

fn filesets<'r>(names: &Attributes, record: &'r Record) -> Vec<&'r str> {
    let of_record = record.triples.iter();
    of_record
        .filter(|t| t.attribute == names.fileset || t.attribute == names.member_of)
        .map(|t| t.value.as_str())
        .collect()
}

/// What the sweep would say of the data, if it is not that its images are in OMERO.
fn other_version(names: &Attributes, thing: &Thing) -> Option<String> {
    let recorded = Recorded::of(names, &thing.record);
    let replicas = Replicas::of(&recorded, &thing.replicas);
    if recorded.version.is_none() {
        return Some("the record names no version".to_owned());
    }
    // What is written now has been left as it was so far.
    let facts = Facts { written: false, ignored: false, ..Facts::of(&recorded, replicas, false) };
    let what = match decide(&facts, OnOverwrite::Report, 0) {
        Decision::Rest(_) | Decision::Confirm => return None,
        Decision::Say(_, Why::NoGood) => "no replica is good",
        Decision::Say(_, Why::Unreadable) => "the catalog's entry cannot be read",
        Decision::Say(_, Why::Empty) => "the data object is empty",
        Decision::Say(..)
        | Decision::Wait(_)
        | Decision::Wanted { .. }
        | Decision::Reopen
        | Decision::LeaveAlone => "the data changed in iRODS after it was imported",
    };
    Some(what.to_owned())
}
