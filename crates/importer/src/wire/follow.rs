//! `POST /v1/follow`: the bytes of imported files lie elsewhere now, and OMERO's links are to lead there.

use super::{importer_path, maybe_word, problem, read, to_json, word};
use crate::Subject;
use crate::follow::{Followed, MovedFile};
use irods_omero_model::as_text;
use irods_omero_model::clock::UnixTime;
use irods_omero_model::form::Problem;
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::{LogicalPath, OmeroId, OmeroName};
use irods_omero_model::record::{Print, Version};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// The most files of one question.
pub const MAX_MOVED: usize = 10_000;

/// The body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Follow {
    /// The zone whose data it is.
    #[serde(deserialize_with = "word")]
    pub zone: String,
    /// Which of the agent's OMERO servers is meant; `None` for its only one.
    #[serde(default, deserialize_with = "maybe_word", skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Whose the fileset is.
    pub user: OmeroName,
    /// In which group it was imported; `None` for the user's default group.
    pub group: Option<OmeroName>,
    /// The fileset.
    pub fileset: OmeroId,
    /// Its files that have moved: 1 to [`MAX_MOVED`], each subject once.
    pub files: Vec<Moved>,
}

/// One file that has moved, or one directory that is an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moved {
    /// Its id in the catalog: `d10234` for a data object, `c10234` for a collection.
    pub subject: Subject,
    /// Its logical path now.
    pub logical_path: LogicalPath,
    /// The path under which the importer sees it now.
    #[serde(deserialize_with = "importer_path")]
    pub path: String,
    /// The print of the path under which the importer saw it.
    pub place: PlacePrint,
    /// Modify time of the replica, in seconds since 1970.
    pub modified: UnixTime,
    /// Its size in bytes.
    pub size: u64,
    /// Whether the catalog proves that it has the bytes that were imported.
    pub is_proved: bool,
    /// Whether it is the key file of its set.
    pub is_key: bool,
}

/// A [`Print`] as text: 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacePrint(pub Print);

impl PlacePrint {
    fn parse(text: &str) -> Result<Self, String> {
        Print::parse(text).map(Self).ok_or_else(|| "a place is 16 hexadecimal digits".to_owned())
    }
}

as_text!(PlacePrint, |print: &PlacePrint| print.0.to_string(), PlacePrint::parse);

impl Follow {
    /// Says what is to be followed. `server` is needed where the agent has several.
    pub fn new(zone: &str, server: Option<&str>, follow: &crate::follow::Follow) -> Self {
        let moved = |file: &MovedFile| Moved {
            subject: file.subject,
            logical_path: file.logical_path.clone(),
            path: file.importer_path.clone(),
            place: PlacePrint(file.place),
            modified: file.version.modify_time,
            size: file.version.size,
            is_proved: file.is_proved,
            is_key: file.is_key,
        };
        Self {
            zone: zone.to_owned(),
            server: server.map(str::to_owned),
            user: follow.identity.user.clone(),
            group: follow.identity.group.clone(),
            fileset: follow.fileset,
            files: follow.files.iter().map(moved).collect(),
        }
    }

    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong first, with its JSON pointer.
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        let follow: Self = read(body)?;
        if follow.files.is_empty() || follow.files.len() > MAX_MOVED {
            return Err(problem("/files", format!("must be 1 to {MAX_MOVED} files")));
        }
        let mut seen = HashSet::new();
        for (i, file) in follow.files.iter().enumerate() {
            if !seen.insert(file.subject) {
                let pointer = format!("/files/{i}/subject");
                return Err(problem(&pointer, format!("{} is named twice", file.subject)));
            }
        }
        Ok(follow)
    }

    /// The body.
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }

    /// What is to be followed.
    pub fn into_follow(self) -> crate::follow::Follow {
        let moved = |file: Moved| MovedFile {
            subject: file.subject,
            logical_path: file.logical_path,
            importer_path: file.path,
            place: file.place.0,
            version: Version { modify_time: file.modified, size: file.size },
            is_proved: file.is_proved,
            is_key: file.is_key,
        };
        crate::follow::Follow {
            identity: OmeroIdentity { user: self.user, group: self.group },
            fileset: self.fileset,
            files: self.files.into_iter().map(moved).collect(),
        }
    }
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowAnswer {
    /// What became of each file, in the order of the question.
    pub files: Vec<Became>,
}

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Became {
    /// Which file.
    pub subject: Subject,
    /// What became of it.
    pub state: FollowState,
    /// Why it was not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The kinds of [`Followed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FollowState {
    /// [`Followed::Done`]
    Done,
    /// [`Followed::Left`]
    Left,
    /// [`Followed::Later`]
    Later,
}

impl FollowAnswer {
    /// Says what became of each file.
    pub fn of(follow: &crate::follow::Follow, outcomes: Vec<Followed>) -> Self {
        let became = |(file, outcome): (&MovedFile, Followed)| {
            let (state, reason) = match outcome {
                Followed::Done => (FollowState::Done, None),
                Followed::Left(why) => (FollowState::Left, Some(why)),
                Followed::Later(why) => (FollowState::Later, Some(why)),
            };
            Became { subject: file.subject, state, reason }
        };
        Self { files: follow.files.iter().zip(outcomes).map(became).collect() }
    }

    /// What became of each file.
    pub fn into_outcomes(self) -> Vec<Followed> {
        let outcome = |became: Became| {
            let why = became.reason.unwrap_or_else(|| "the agent gave no reason".to_owned());
            match became.state {
                FollowState::Done => Followed::Done,
                FollowState::Left => Followed::Left(why),
                FollowState::Later => Followed::Later(why),
            }
        };
        self.files.into_iter().map(outcome).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use irods_omero_model::names::DataId;

    #[test]
    fn what_is_to_be_followed_and_what_became_of_it_read_back() {
        let file = |id: &str, is_key| MovedFile {
            subject: Subject::DataObject(DataId::parse(id).unwrap()),
            logical_path: LogicalPath::parse(b"/z/a").unwrap(),
            importer_path: "/v/a".to_owned(),
            place: Print::of(b"/v/b"),
            version: Version { modify_time: 1, size: 2 },
            is_proved: true,
            is_key,
        };
        let identity = OmeroIdentity { user: OmeroName::parse("alice").unwrap(), group: None };
        let files = vec![file("7", true), file("8", false), file("9", false)];
        let follow = crate::follow::Follow { identity, fileset: OmeroId::parse("5").unwrap(), files };
        let body = Follow::new("z", Some("o"), &follow);
        assert_eq!(Follow::read(&body.to_json()).unwrap(), body);
        assert_eq!(body.into_follow(), follow);
        let outcomes =
            vec![Followed::Done, Followed::Left("no".to_owned()), Followed::Later("soon".to_owned())];
        let answer = FollowAnswer::of(&follow, outcomes.clone());
        assert_eq!(read::<FollowAnswer>(&to_json(&answer)).unwrap().into_outcomes(), outcomes);
    }

    #[test]
    fn a_subject_twice_and_no_file_at_all_are_refused() {
        let file = r#"{"subject":"d7","logical_path":"/z/a","path":"/v/a","place":"00000000000000aa","modified":1,"size":2,
                       "is_proved":false,"is_key":true}"#;
        let body = |files: &str| {
            format!(r#"{{"zone":"z","user":"u","group":null,"fileset":"5","files":[{files}]}}"#).into_bytes()
        };
        assert!(Follow::read(&body(file)).is_ok());
        assert_eq!(Follow::read(&body("")).unwrap_err().pointer, "/files");
        assert_eq!(Follow::read(&body(&format!("{file},{file}"))).unwrap_err().pointer, "/files/1/subject");
        let bad = file.replace("00000000000000aa", "../etc");
        assert_eq!(Follow::read(&body(&bad)).unwrap_err().pointer, "/files/0/place");
    }
}
