//! Who somebody is in OMERO.

use crate::names::OmeroName;

/// Who an import runs as.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OmeroIdentity {
    /// Login name in OMERO.
    pub user: OmeroName,
    /// The group to import into; `None` means the user's default group.
    pub group: Option<OmeroName>,
}
