//! What is asked in the session of a person, which is theirs: it is neither kept alive nor ended.

use super::answers::{id, ids};
use crate::saves::ImportedFrom;
use irods_omero_model::names::OmeroId;
use serde::Deserialize;

/// Whose session it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Visited {
    /// The user, as OMERO writes the name.
    pub user: String,
}

/// Where something is found in OMERO, by names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
pub struct Place {
    /// The group.
    pub group: String,
    /// The project.
    pub project: Option<String>,
    /// The dataset.
    pub dataset: Option<String>,
    /// The screen.
    pub screen: Option<String>,
    /// The plate.
    pub plate: Option<String>,
}

/// What a person chose.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ChosenObjects {
    /// The places of what is found.
    pub places: Vec<Place>,
    /// The filesets.
    pub filesets: Vec<ChosenFileset>,
    /// The files that are attached.
    pub attachments: Vec<ChosenAttachment>,
    /// How many images have no fileset.
    pub without_files: u64,
    /// How many filesets may be seen and not downloaded.
    pub restricted: u64,
    /// The objects that are not there for this person.
    pub missing: Vec<String>,
}

/// A fileset that was chosen, or of which an image was.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ChosenFileset {
    /// Its id.
    #[serde(deserialize_with = "id")]
    pub id: OmeroId,
    /// Its place, as the position among the places.
    pub place: usize,
    /// Some of its images.
    #[serde(deserialize_with = "ids")]
    pub images: Vec<OmeroId>,
    /// What it was imported from, where our annotation says so.
    pub data: Option<ImportedFrom>,
}

/// A file that is attached to something.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ChosenAttachment {
    /// The number of the `OriginalFile`.
    pub file: u64,
    /// The place of what it is attached to, as the position among the places.
    pub place: usize,
    /// Its name.
    pub name: String,
    /// In bytes.
    pub size: Option<u64>,
    /// The checksum in hexadecimal digits.
    pub hash: Option<String>,
    /// How it was made.
    pub hasher: Option<String>,
    /// Where it is below the repository's root; none where it lies under its number.
    pub stored: Option<String>,
    /// The repository's root, where that is one of OMERO's own.
    pub root: Option<String>,
}

/// A page of the files of filesets.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ChosenFiles {
    /// The files.
    pub entries: Vec<ChosenEntry>,
    /// Where the next page begins; none after the last.
    pub after: Option<u64>,
}

/// One file of a fileset.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ChosenEntry {
    /// The number of the entry.
    pub id: u64,
    /// The fileset.
    #[serde(deserialize_with = "id")]
    pub fileset: OmeroId,
    /// The path the importer was given, as OMERO keeps it.
    pub path: String,
    /// The directory of the fileset, below the repository's root.
    pub prefix: String,
    /// Where it is, below the repository's root.
    pub stored: String,
    /// In bytes.
    pub size: Option<u64>,
    /// The checksum in hexadecimal digits.
    pub hash: Option<String>,
    /// How it was made.
    pub hasher: Option<String>,
    /// The repository's root, where that is one of OMERO's own.
    pub root: Option<String>,
}
