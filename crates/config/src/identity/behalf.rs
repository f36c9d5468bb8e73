//! Data that a service account puts for somebody: who that is.
//!
//! A microscope's account owns what it writes. The person is named by the path, or by an AVU on a collection that
//! only administrators can set. Whoever is named must be a user of the catalog, and goes through the sources as if
//! the data were theirs; if nobody is named, nobody imports it, least of all the service account.

use irods_omero_model::attributes::Attributes;
use irods_omero_model::catalog::{CatalogError, Metadata};
use irods_omero_model::names::{IrodsUser, LogicalPath};
use irods_omero_model::watch::Place;
use std::collections::BTreeSet;
use std::fmt;

/// One way to find the person for the data of a service account.
#[derive(Debug, Clone)]
pub struct OnBehalf {
    /// The service account.
    pub account: IrodsUser,
    /// Where the person is named.
    pub from: From,
    /// The zone of a person who is named without one.
    pub zone: String,
}

/// Where the person is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// An element of the collection's path, as [`Place::element`] counts.
    Element(i32),
    /// The first element below this collection.
    Below(LogicalPath),
    /// An AVU on the collection or on its nearest ancestor that has it.
    Attribute(String),
}

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Element(index) => write!(f, "element {index} of the path"),
            Self::Below(collection) => write!(f, "the element below {collection}"),
            Self::Attribute(attribute) => write!(f, "the AVU {attribute} on the collection or above it"),
        }
    }
}

/// What one way came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Person {
    /// The person.
    Is(IrodsUser),
    /// It names nobody: a sentence.
    Nobody(String),
    /// It names several, or somebody who cannot be: a sentence.
    Unusable(String),
}

impl OnBehalf {
    /// Finds the person for data in a place.
    ///
    /// # Errors
    /// The catalog failed.
    pub fn person(
        &self,
        metadata: &dyn Metadata,
        names: &Attributes,
        place: &Place<'_>,
    ) -> Result<Person, CatalogError> {
        let element = |bytes: Option<&[u8]>| match bytes.map(std::str::from_utf8) {
            None => Person::Nobody(format!("{} is not there in {}", self.from, place.collection)),
            Some(Ok(name)) => self.named(name, &self.from.to_string()),
            Some(Err(_)) => Person::Nobody(format!("{} of {} is not UTF-8", self.from, place.collection)),
        };
        let person = match &self.from {
            From::Element(index) => element(place.element(*index)),
            From::Below(above) => {
                let rest = place.collection.as_bytes().strip_prefix(above.as_bytes());
                let rest = rest.and_then(|r| r.strip_prefix(b"/"));
                element(rest.and_then(|r| r.split(|b| *b == b'/').next()))
            }
            From::Attribute(attribute) => match metadata.nearest_values(place.collection, attribute, 1)? {
                None => Person::Nobody(format!(
                    "neither {} nor a collection above it has the AVU {attribute}",
                    place.collection
                )),
                // The guard refuses the AVU to all but administrators on every route it hears, but a rule text can call
                // a microservice that nobody hears: so it counts only where nobody else could have set it.
                Some((at, _)) if !self.others(metadata, &at)?.is_empty() => {
                    let others: Vec<String> =
                        self.others(metadata, &at)?.iter().map(ToString::to_string).collect();
                    Person::Unusable(format!(
                        "{} may set AVUs on {at}, so the AVU {attribute} there may be theirs: leave the permission to \
                         modify it to {} and administrators",
                        others.join(", "),
                        self.account
                    ))
                }
                Some((at, mut values)) => {
                    values.sort();
                    values.dedup();
                    match values.as_slice() {
                        [one, another, ..] => Person::Unusable(format!(
                            "the AVU {attribute} on {at} names both '{one}' and '{another}'"
                        )),
                        [] => Person::Nobody(format!("the AVU {attribute} on {at} is empty")),
                        [name] => self.named(name, &format!("the AVU {attribute} on {at}")),
                    }
                }
            },
        };
        match &person {
            Person::Is(user) if metadata.user_tags(user, &[names.user.as_str()])?.is_none() => Ok(
                Person::Unusable(format!("{} names {user}, who is no user of the iRODS catalog", self.from)),
            ),
            Person::Is(_) | Person::Nobody(_) | Person::Unusable(_) => Ok(person),
        }
    }

    /// Who beside administrators and the account itself may set AVUs on a collection.
    fn others(
        &self,
        metadata: &dyn Metadata,
        collection: &LogicalPath,
    ) -> Result<BTreeSet<IrodsUser>, CatalogError> {
        let mut may = metadata.may_set_avus(collection)?;
        may.remove(&self.account);
        Ok(may)
    }

    fn named(&self, name: &str, by: &str) -> Person {
        let user = match (&self.from, name.contains('#')) {
            (From::Attribute(_), true) => IrodsUser::parse(name),
            (From::Attribute(_) | From::Element(_) | From::Below(_), _) => IrodsUser::new(name, &self.zone),
        };
        user.map_or_else(|e| Person::Unusable(format!("{by}: {e}")), Person::Is)
    }
}
