//! From an OMERO user back to the iRODS user: by the same sources, and only if that iRODS user leads forward again to that
//! OMERO user.
//!
//! Each source names the iRODS users it can think of; what any of them says is no more than a guess. Each guess is asked
//! forward with the function that an import asks, so a guess can be wrong, or missing, and never makes somebody write
//! as somebody else. Where two users lead forward to the same OMERO user, it is nobody: a shared account is no person.

use super::{Asked, Identities, NoIdentity, Source};
use irods_omero_model::attributes::Attributes;
use irods_omero_model::catalog::{CatalogError, Metadata, People, UserKind};
use irods_omero_model::names::{IrodsUser, OmeroName};
use std::collections::BTreeSet;

/// Why an OMERO user is nobody in iRODS: a sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoUser {
    /// The OMERO account is one that nobody is mapped to, or could be taken for it.
    #[error("nobody in iRODS is the OMERO account '{omero}': '{denied}' is an account that is never used")]
    Denied {
        /// The OMERO user.
        omero: OmeroName,
        /// The denied account.
        denied: String,
    },
    /// No iRODS user leads to the OMERO user.
    #[error(
        "no iRODS user is mapped to the OMERO user '{omero}': ask the administrator of iRODS to map yours{hints}"
    )]
    Nobody {
        /// The OMERO user.
        omero: OmeroName,
        /// What became of those who were thought of.
        hints: String,
    },
    /// Several do.
    #[error(
        "several iRODS users are mapped to the OMERO user '{omero}' ({users}), so it cannot be told who you are: ask the \
         administrator of iRODS to leave one of them"
    )]
    Several {
        /// The OMERO user.
        omero: OmeroName,
        /// The iRODS users.
        users: String,
    },
    /// The one who does is an administrator, the account that the server runs as, or one that puts data for others.
    #[error(
        "the iRODS user {user} is {what}, and nothing is saved in the name of such an account: save as an ordinary user"
    )]
    Unfit {
        /// The iRODS user.
        user: IrodsUser,
        /// What it is.
        what: &'static str,
    },
    /// A source cannot answer for now.
    #[error("who the OMERO user '{omero}' is in iRODS cannot be looked up for now: {why}")]
    WillPass {
        /// The OMERO user.
        omero: OmeroName,
        /// What is wrong.
        why: String,
    },
}

impl NoUser {
    /// Whether it is worth asking again by itself.
    pub fn will_pass(&self) -> bool {
        match self {
            Self::WillPass { .. } => true,
            Self::Denied { .. } | Self::Nobody { .. } | Self::Several { .. } | Self::Unfit { .. } => false,
        }
    }
}

/// The most users that are named in a sentence.
const MAX_NAMED: usize = 5;

/// What is asked of [`Identities::back`].
pub struct Sought<'a> {
    /// The catalog.
    pub people: &'a dyn People,
    /// The same, as the forward mapping asks it.
    pub metadata: &'a dyn Metadata,
    /// The names of our AVUs.
    pub names: &'a Attributes,
    /// The account that the server runs as.
    pub service: Option<&'a IrodsUser>,
    /// Who it is about.
    pub omero: &'a OmeroName,
}

/// The answer, and how it came about.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The iRODS user, or why there is none.
    pub user: Result<IrodsUser, NoUser>,
    /// Every step in words.
    pub steps: Vec<String>,
}

impl Identities {
    /// The iRODS user that an OMERO user is.
    ///
    /// # Errors
    /// The catalog failed.
    pub fn back(&self, sought: &Sought<'_>) -> Result<Origin, CatalogError> {
        let mut steps = Vec::new();
        let user = self.origin(sought, &mut steps)?;
        steps.push(match &user {
            Ok(user) => format!("the OMERO user '{}' saves as the iRODS user {user}", sought.omero),
            Err(no) => format!("nothing is saved: {no}"),
        });
        Ok(Origin { user, steps })
    }

    fn origin(
        &self,
        sought: &Sought<'_>,
        steps: &mut Vec<String>,
    ) -> Result<Result<IrodsUser, NoUser>, CatalogError> {
        let omero = sought.omero;
        if let Some(denied) = self.denied.covers(omero) {
            return Ok(Err(NoUser::Denied { omero: omero.clone(), denied: denied.to_owned() }));
        }
        let mut guesses = BTreeSet::new();
        for source in &self.sources {
            match source.guess(sought)? {
                Ok(found) => {
                    let word = source.word();
                    if found.is_empty() {
                        steps.push(format!("{word}: names nobody"));
                    } else {
                        steps.push(format!("{word}: may be {}", named(&found)));
                    }
                    guesses.extend(found);
                }
                Err(why) => {
                    steps.push(format!("{}: {why}", source.word()));
                    return Ok(Err(NoUser::WillPass { omero: omero.clone(), why }));
                }
            }
        }
        let mut found = BTreeSet::new();
        let mut hints = Vec::new();
        for guess in guesses {
            if sought.people.user_kind(&guess)?.is_none() {
                steps.push(format!("{guess} is no user of the iRODS catalog"));
                continue;
            }
            let asked = Asked { metadata: sought.metadata, names: sought.names, owner: &guess, place: None };
            match self.resolve(&asked)?.mapping {
                Ok(mapping) if mapping.person == guess && mapping.identity.user == *omero => {
                    steps.push(format!("{guess} leads forward to '{omero}' by {}", mapping.by));
                    found.insert(guess);
                }
                Ok(mapping) => {
                    let why = format!("{guess} is the OMERO user '{}'", mapping.identity.user);
                    steps.push(format!("{why} by {}", mapping.by));
                    hints.push(why);
                }
                // What cannot be told now could make it two.
                Err(NoIdentity::WillPass { why, .. }) => {
                    steps.push(format!("{guess}: {why}"));
                    return Ok(Err(NoUser::WillPass { omero: omero.clone(), why }));
                }
                Err(no) => steps.push(no.to_string()),
            }
        }
        if found.len() > 1 {
            return Ok(Err(NoUser::Several { omero: omero.clone(), users: named(&found) }));
        }
        let Some(user) = found.pop_first() else {
            hints.truncate(MAX_NAMED);
            let hints = if hints.is_empty() { String::new() } else { format!(" ({})", hints.join("; ")) };
            return Ok(Err(NoUser::Nobody { omero: omero.clone(), hints }));
        };
        let what = if sought.service == Some(&user) {
            Some("the account that the server runs as")
        } else if self.on_behalf_of.iter().any(|way| way.account == user) {
            Some("an account that puts data for others")
        } else if sought.people.user_kind(&user)? != Some(UserKind::Ordinary) {
            Some("an administrator")
        } else {
            None
        };
        Ok(what.map_or_else(|| Ok(user.clone()), |what| Err(NoUser::Unfit { user: user.clone(), what })))
    }
}

fn named(users: &BTreeSet<IrodsUser>) -> String {
    let mut names: Vec<String> = users.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    if users.len() > MAX_NAMED {
        names.push(format!("{} more", users.len() - MAX_NAMED));
    }
    names.join(", ")
}

impl Source {
    /// Who might lead to an OMERO user by this source; the inner error says why that cannot be told for now.
    fn guess(&self, sought: &Sought<'_>) -> Result<Result<BTreeSet<IrodsUser>, String>, CatalogError> {
        let omero = sought.omero.as_str();
        let of_same_name = |zones: &[String]| {
            zones.iter().filter_map(|zone| IrodsUser::new(omero, zone).ok()).collect::<BTreeSet<_>>()
        };
        Ok(Ok(match self {
            Self::Avu => sought.people.users_with(&sought.names.user, omero)?,
            Self::Table(table) => match table.users_of(sought.omero) {
                Ok(users) => users,
                Err(why) => return Ok(Err(why)),
            },
            Self::Rules(rules) => {
                let users = sought.people.users()?;
                users.into_iter().filter(|user| super::by_rules(rules, user).names(sought.omero)).collect()
            }
            // A directory is asked about iRODS users only: of these the one of the same name, in each of its zones.
            Self::Ldap(directory) => {
                let zones = &directory.settings().zones;
                if zones.is_empty() {
                    let users = sought.people.users()?;
                    users.into_iter().filter(|user| user.name() == omero).collect()
                } else {
                    of_same_name(zones)
                }
            }
            Self::SameName(zones) => of_same_name(zones),
        }))
    }
}
