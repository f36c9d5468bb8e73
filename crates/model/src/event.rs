//! What a client did that concerns watched data, and where it is to be looked at.

use crate::names::LogicalPath;

/// Something a client did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A data object was written and closed, or copied.
    Written(LogicalPath),
    /// A file was registered as a data object, or as a further replica of one.
    Registered(LogicalPath),
    /// A directory tree was registered as a collection.
    TreeRegistered(LogicalPath),
    /// Data objects were put in bulk, or extracted, somewhere below a collection.
    TreeWritten(LogicalPath),
    /// A data object or a collection has a new path: the server does not say which of the two it is.
    Renamed(LogicalPath),
    /// The same, and it is no longer in a watched collection.
    MovedOut(LogicalPath),
    /// A data object has a replica in a new place.
    ReplicaMoved(LogicalPath),
    /// Data that is in OMERO and not in a watched collection, or a collection with such data, lies elsewhere now.
    Displaced(LogicalPath),
    /// A watched data object, or collection, was removed, be it for good or into the trash.
    Removed(LogicalPath),
    /// A data object has a new tag to import it.
    ObjectTagged(LogicalPath),
    /// A collection has a new tag to import what is in it.
    TreeTagged(LogicalPath),
    /// A data object or collection has lost a tag, or has one that ends imports.
    Untagged(LogicalPath),
    /// A data object or collection has lost an AVU, which may have been a tag.
    PerhapsUntagged(LogicalPath),
    /// A collection has the AVU that says that the data in it is complete.
    Completed(LogicalPath),
}

/// Where something is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Affected {
    /// The data objects directly in a collection.
    Collection(LogicalPath),
    /// A collection and all below it.
    Tree(LogicalPath),
    /// If the path is a collection's, its tree; else the collection it is in.
    TreeOrParent(LogicalPath),
    /// The data objects directly in a collection, whether it is watched or not: one of them is tagged.
    Unwatched(LogicalPath),
    /// As [`Affected::TreeOrParent`], although it is not watched: what waited to be imported no longer does.
    Abandoned(LogicalPath),
    /// Wherever there are records of data that is no longer watched.
    Strays,
}

impl Event {
    /// Where something is to be looked at; `None` for a zone.
    pub fn affected(&self) -> Option<Affected> {
        match self {
            Self::Written(path) | Self::Registered(path) | Self::ReplicaMoved(path) => {
                path.parent().map(Affected::Collection)
            }
            Self::TreeRegistered(path)
            | Self::TreeWritten(path)
            | Self::TreeTagged(path)
            | Self::Completed(path) => Some(Affected::Tree(path.clone())),
            Self::Renamed(path) => Some(Affected::TreeOrParent(path.clone())),
            Self::MovedOut(path) | Self::Displaced(path) | Self::Untagged(path) => {
                Some(Affected::Abandoned(path.clone()))
            }
            Self::ObjectTagged(path) => path.parent().map(Affected::Unwatched),
            // Whoever removes many AVUs by their numbers does not have every collection looked at.
            Self::Removed(_) | Self::PerhapsUntagged(_) => Some(Affected::Strays),
        }
    }

    /// Whether it changes which collections are watched.
    pub fn changes_watching(&self) -> bool {
        matches!(self, Self::TreeTagged(_) | Self::Untagged(_) | Self::PerhapsUntagged(_))
    }
}
