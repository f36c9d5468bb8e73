//! From an iRODS user to the OMERO user and group an import runs as: by what the site says, or not at all.

use crate::names::{IrodsUser, OmeroName};
use std::collections::HashMap;

/// Accounts of OMERO itself that nobody is ever mapped to.
const ALWAYS_DENIED: &[&str] = &["root", "guest"];

/// Who an import runs as.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OmeroIdentity {
    /// Login name in OMERO.
    pub user: OmeroName,
    /// The group to import into; `None` means the user's default group.
    pub group: Option<OmeroName>,
}

/// Why a user has no OMERO identity: a sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoIdentity {
    /// No source names the user.
    #[error("{0} has no OMERO user: ask the administrator to add one under 'users' in the configuration")]
    Unmapped(IrodsUser),
    /// The mapping names an account that is never used.
    #[error("{user} is mapped to the OMERO account '{omero}', which imports never run as")]
    Denied {
        /// The iRODS user.
        user: IrodsUser,
        /// The refused OMERO account.
        omero: OmeroName,
    },
}

/// The site's mapping of iRODS users to OMERO users.
#[derive(Debug, Clone, Default)]
pub struct Identities {
    table: HashMap<IrodsUser, OmeroIdentity>,
    same_name_zones: Vec<String>,
    denied: Vec<OmeroName>,
    default_group: Option<OmeroName>,
}

impl Identities {
    /// Adds a row of the table.
    pub fn insert(
        &mut self,
        user: IrodsUser,
        omero: OmeroName,
        group: Option<OmeroName>,
    ) -> Result<(), String> {
        if ALWAYS_DENIED.contains(&omero.as_str()) {
            return Err(format!("imports never run as the OMERO account '{omero}'"));
        }
        self.table.insert(user, OmeroIdentity { user: omero, group });
        Ok(())
    }

    /// Lets the users of a zone keep their names.
    pub fn same_name_in(&mut self, zone: &str) {
        self.same_name_zones.push(zone.to_owned());
    }

    /// Never maps anybody to this account.
    pub fn deny(&mut self, name: OmeroName) {
        self.denied.push(name);
    }

    /// The group of those whose row names none.
    pub fn set_default_group(&mut self, group: OmeroName) {
        self.default_group = Some(group);
    }

    /// Whether nobody can be mapped.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty() && self.same_name_zones.is_empty()
    }

    /// The OMERO identity of an iRODS user.
    ///
    /// # Errors
    /// The sentence for the record where there is none; there is no fallback.
    pub fn resolve(&self, user: &IrodsUser) -> Result<OmeroIdentity, NoIdentity> {
        let mut identity = match self.table.get(user) {
            Some(identity) => identity.clone(),
            None if self.same_name_zones.iter().any(|z| z == user.zone()) => {
                let name = OmeroName::parse(user.name()).map_err(|_| NoIdentity::Unmapped(user.clone()))?;
                OmeroIdentity { user: name, group: None }
            }
            None => return Err(NoIdentity::Unmapped(user.clone())),
        };
        if ALWAYS_DENIED.contains(&identity.user.as_str()) || self.denied.contains(&identity.user) {
            return Err(NoIdentity::Denied { user: user.clone(), omero: identity.user });
        }
        if identity.group.is_none() {
            identity.group.clone_from(&self.default_group);
        }
        Ok(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str) -> IrodsUser {
        IrodsUser::parse(text).unwrap()
    }

    fn omero(text: &str) -> OmeroName {
        OmeroName::parse(text).unwrap()
    }

    #[test]
    fn the_table_names_user_and_group() {
        let mut ids = Identities::default();
        ids.insert(user("alice#z"), omero("a.smith"), Some(omero("lab1"))).unwrap();
        let identity = ids.resolve(&user("alice#z")).unwrap();
        assert_eq!((identity.user.as_str(), identity.group.unwrap().as_str()), ("a.smith", "lab1"));
        assert_eq!(ids.resolve(&user("alice#other")), Err(NoIdentity::Unmapped(user("alice#other"))));
    }

    #[test]
    fn same_name_holds_for_the_named_zone_only() {
        let mut ids = Identities::default();
        assert!(ids.is_empty());
        ids.same_name_in("z");
        assert_eq!(ids.resolve(&user("bob#z")).unwrap().user, omero("bob"));
        assert!(ids.resolve(&user("bob#elsewhere")).is_err());
    }

    #[test]
    fn nobody_becomes_root_guest_or_a_denied_account() {
        let mut ids = Identities::default();
        assert!(ids.insert(user("alice#z"), omero("root"), None).is_err());
        ids.same_name_in("z");
        ids.deny(omero("facility"));
        for name in ["root", "guest", "facility"] {
            let denied = ids.resolve(&user(&format!("{name}#z"))).unwrap_err();
            assert!(matches!(denied, NoIdentity::Denied { .. }), "{denied}");
        }
    }

    #[test]
    fn a_name_omero_could_read_as_an_option_is_not_mapped() {
        let mut ids = Identities::default();
        ids.same_name_in("z");
        assert!(matches!(ids.resolve(&user("-C#z")), Err(NoIdentity::Unmapped(_))));
    }
}
