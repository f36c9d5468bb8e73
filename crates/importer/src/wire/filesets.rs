//! `POST /v1/filesets/look` and `POST /v1/filesets/delete`: whether filesets of imported data are still in OMERO, and that they
//! are to go.

use super::{maybe_word, problem, read, to_json, word};
use crate::{FilesetToDelete, Subject};
use irods_omero_model::form::Problem;
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::{OmeroId, OmeroName};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// The most filesets that are looked for at a time.
pub const MAX_LOOKED_FOR: usize = 1_000;

/// The most filesets that are deleted at a time: OMERO takes seconds for each, and the caller waits for all of them.
pub const MAX_DELETED: usize = 10;

/// The most data objects and collections that one fileset may be of.
const MAX_SUBJECTS: usize = 100_000;

/// The body of `POST /v1/filesets/look`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesetsLook {
    /// The zone that asks.
    #[serde(deserialize_with = "word")]
    pub zone: String,
    /// Which of the agent's OMERO servers is meant; `None` for its only one.
    #[serde(default, deserialize_with = "maybe_word", skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// As whom it is looked.
    pub user: OmeroName,
    /// In which group; `None` for the user's default group.
    pub group: Option<OmeroName>,
    /// The filesets: 1 to [`MAX_LOOKED_FOR`], each once.
    pub filesets: Vec<OmeroId>,
}

impl FilesetsLook {
    /// Asks for some filesets as a user.
    pub fn new(zone: &str, server: Option<&str>, identity: &OmeroIdentity, filesets: &[OmeroId]) -> Self {
        Self {
            zone: zone.to_owned(),
            server: server.map(str::to_owned),
            user: identity.user.clone(),
            group: identity.group.clone(),
            filesets: filesets.to_vec(),
        }
    }

    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong first, with its JSON pointer.
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        let look: Self = read(body)?;
        each_once(look.filesets.iter().copied(), MAX_LOOKED_FOR, "")?;
        Ok(look)
    }

    /// The body.
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }

    /// As whom it is looked.
    pub fn identity(&self) -> OmeroIdentity {
        OmeroIdentity { user: self.user.clone(), group: self.group.clone() }
    }
}

/// The answer to a [`FilesetsLook`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesetsFound {
    /// Those of the filesets that are there, as far as the user sees them.
    pub present: BTreeSet<OmeroId>,
}

/// The body of `POST /v1/filesets/delete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesetsDelete {
    /// The zone whose data they are of.
    #[serde(deserialize_with = "word")]
    pub zone: String,
    /// Which of the agent's OMERO servers is meant; `None` for its only one.
    #[serde(default, deserialize_with = "maybe_word", skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// With whose rights they are deleted.
    pub user: OmeroName,
    /// In which group; `None` for the user's default group.
    pub group: Option<OmeroName>,
    /// The filesets: 1 to [`MAX_DELETED`], each once.
    pub filesets: Vec<FilesetOf>,
}

/// A fileset, and what in iRODS it may be of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesetOf {
    /// The fileset.
    pub fileset: OmeroId,
    /// The files of its set, at least one: our annotation has to name one of them.
    pub subjects: Vec<Subject>,
}

impl FilesetsDelete {
    /// Has some filesets deleted with the rights of a user.
    pub fn new(
        zone: &str,
        server: Option<&str>,
        identity: &OmeroIdentity,
        filesets: &[FilesetToDelete],
    ) -> Self {
        let of = |one: &FilesetToDelete| FilesetOf {
            fileset: one.fileset,
            subjects: one.subjects.iter().copied().collect(),
        };
        Self {
            zone: zone.to_owned(),
            server: server.map(str::to_owned),
            user: identity.user.clone(),
            group: identity.group.clone(),
            filesets: filesets.iter().map(of).collect(),
        }
    }

    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong first, with its JSON pointer.
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        let delete: Self = read(body)?;
        each_once(delete.filesets.iter().map(|one| one.fileset), MAX_DELETED, "/fileset")?;
        for (i, one) in delete.filesets.iter().enumerate() {
            if one.subjects.is_empty() || one.subjects.len() > MAX_SUBJECTS {
                let pointer = format!("/filesets/{i}/subjects");
                return Err(problem(
                    &pointer,
                    format!("must be 1 to {MAX_SUBJECTS} data objects and collections"),
                ));
            }
        }
        Ok(delete)
    }

    /// The body.
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }

    /// With whose rights they are deleted.
    pub fn identity(&self) -> OmeroIdentity {
        OmeroIdentity { user: self.user.clone(), group: self.group.clone() }
    }

    /// The filesets.
    pub fn into_filesets(self) -> Vec<FilesetToDelete> {
        let one = |of: FilesetOf| FilesetToDelete {
            fileset: of.fileset,
            subjects: of.subjects.into_iter().collect(),
        };
        self.filesets.into_iter().map(one).collect()
    }
}

/// The answer to a [`FilesetsDelete`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesetsLeft {
    /// Those that were not deleted.
    pub left: Vec<FilesetLeft>,
}

/// A fileset that was not deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesetLeft {
    /// The fileset.
    pub fileset: OmeroId,
    /// Why it was left.
    pub reason: String,
}

impl FilesetsLeft {
    /// Says what was left, and why.
    pub fn of(left: BTreeMap<OmeroId, String>) -> Self {
        let one = |(fileset, reason)| FilesetLeft { fileset, reason };
        Self { left: left.into_iter().map(one).collect() }
    }

    /// What was left, and why.
    pub fn into_left(self) -> BTreeMap<OmeroId, String> {
        self.left.into_iter().map(|one| (one.fileset, one.reason)).collect()
    }
}

/// Whether filesets are as many as may be, and each is named once.
fn each_once(ids: impl ExactSizeIterator<Item = OmeroId>, most: usize, key: &str) -> Result<(), Problem> {
    if ids.len() == 0 || ids.len() > most {
        return Err(problem("/filesets", format!("must be 1 to {most} filesets")));
    }
    let mut seen = HashSet::new();
    for (i, id) in ids.enumerate() {
        if !seen.insert(id) {
            return Err(problem(&format!("/filesets/{i}{key}"), format!("fileset {id} is named twice")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use irods_omero_model::names::DataId;

    fn id(text: &str) -> OmeroId {
        OmeroId::parse(text).unwrap()
    }

    #[test]
    fn what_is_asked_and_what_is_answered_read_back() {
        let identity = OmeroIdentity { user: OmeroName::parse("alice").unwrap(), group: None };
        let look = FilesetsLook::new("z", Some("o"), &identity, &[id("5"), id("6")]);
        assert_eq!(FilesetsLook::read(&look.to_json()).unwrap(), look);
        assert_eq!(look.identity(), identity);
        let subjects = [Subject::DataObject(DataId::parse("7").unwrap())].into();
        let filesets = vec![FilesetToDelete { fileset: id("5"), subjects }];
        let delete = FilesetsDelete::new("z", None, &identity, &filesets);
        assert_eq!(FilesetsDelete::read(&delete.to_json()).unwrap().into_filesets(), filesets);
        let left = BTreeMap::from([(id("5"), "it is another's".to_owned())]);
        let answer = FilesetsLeft::of(left.clone());
        assert_eq!(read::<FilesetsLeft>(&to_json(&answer)).unwrap().into_left(), left);
    }

    #[test]
    fn a_fileset_twice_none_at_all_and_one_of_nothing_are_refused() {
        let look = |filesets: &str| {
            let body = format!(r#"{{"zone":"z","user":"u","group":null,"filesets":[{filesets}]}}"#);
            FilesetsLook::read(body.as_bytes()).map_err(|problem| problem.pointer)
        };
        assert!(look(r#""1","2""#).is_ok());
        assert_eq!(look("").unwrap_err(), "/filesets");
        assert_eq!(look(r#""1","1""#).unwrap_err(), "/filesets/1");
        let delete = |filesets: &str| {
            let body = format!(r#"{{"zone":"z","user":"u","group":null,"filesets":[{filesets}]}}"#);
            FilesetsDelete::read(body.as_bytes()).map_err(|problem| problem.pointer)
        };
        let one = r#"{"fileset":"1","subjects":["d7"]}"#;
        assert!(delete(one).is_ok());
        assert_eq!(delete("").unwrap_err(), "/filesets");
        assert_eq!(delete(&format!("{one},{one}")).unwrap_err(), "/filesets/1/fileset");
        assert_eq!(delete(r#"{"fileset":"1","subjects":[]}"#).unwrap_err(), "/filesets/0/subjects");
        assert_eq!(delete(r#"{"fileset":"1","subjects":["x"]}"#).unwrap_err(), "/filesets/0/subjects/0");
    }
}
