//! From an iRODS user to the OMERO user and group an import runs as: by what the site says, or not at all.
//!
//! The person is the owner of the data, or for a service account's data the person it was put for
//! ([`behalf`]). The sources are asked in the site's order, and the first that knows the person decides. What is no
//! choice (two names), or names an account that is never used, ends the search: the next source is asked only
//! where one has nothing to say. Where a source cannot answer for now the search ends too, because a later source
//! must not decide in place of an earlier one that is only down.
//!
//! Every step is written down in words, for `who` and for the reason of what is skipped; the import and `who` ask
//! the same function.

mod behalf;
mod denied;
pub mod ldap;
mod rules;
mod table;

pub use behalf::{From, OnBehalf};
pub use denied::Denied;
pub use rules::Rule;
pub use table::{Rows, Table, TableFile, rows};

use behalf::Person;
use irods_omero_model::attributes::Attributes;
use irods_omero_model::catalog::{CatalogError, Holder, Metadata, UserTag};
use irods_omero_model::clock::UnixTime;
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::{IrodsUser, OmeroName};
use irods_omero_model::watch::Place;
use std::collections::BTreeSet;

/// An identity and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Who the import runs as.
    pub identity: OmeroIdentity,
    /// The iRODS user whose mapping it is.
    pub person: IrodsUser,
    /// The source that decided: `table`, `avu on group lab1`, `rule 2`, `ldap uid=alice,ou=people,...`.
    pub by: String,
}

/// Why a user has no OMERO identity: a sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoIdentity {
    /// No source names the user.
    #[error("{user} has no OMERO user: ask the administrator to {remedy}{hints}")]
    Unmapped {
        /// The iRODS user.
        user: IrodsUser,
        /// What would help.
        remedy: String,
        /// What sources said that almost knew the user.
        hints: String,
    },
    /// The mapping names an account that is never used, or one that could be taken for it.
    #[error("{user} is mapped to the OMERO account '{omero}' ({by}), but imports never run as '{denied}'")]
    Denied {
        /// The iRODS user.
        user: IrodsUser,
        /// The refused OMERO account.
        omero: OmeroName,
        /// The denied account it is, or could be taken for.
        denied: String,
        /// The source that named it.
        by: String,
    },
    /// A source says something that is no choice, or no name.
    #[error(
        "the OMERO user of {user} could not be found out: {why}; ask the administrator to correct the mapping"
    )]
    Unusable {
        /// The iRODS user.
        user: IrodsUser,
        /// What is wrong.
        why: String,
    },
    /// The data is a service account's, and nobody is named for whom it was put.
    #[error("{account} puts data on behalf of others, and the plugin could not find out for whom: {why}")]
    NobodyNamed {
        /// The service account.
        account: IrodsUser,
        /// What every way came to.
        why: String,
    },
    /// A source cannot answer for now.
    #[error("the OMERO user of {user} cannot be looked up for now: {why}")]
    WillPass {
        /// The iRODS user.
        user: IrodsUser,
        /// What is wrong.
        why: String,
    },
}

impl NoIdentity {
    /// Whether it is worth asking again by itself.
    pub fn will_pass(&self) -> bool {
        match self {
            Self::WillPass { .. } => true,
            Self::Unmapped { .. }
            | Self::Denied { .. }
            | Self::Unusable { .. }
            | Self::NobodyNamed { .. } => false,
        }
    }
}

/// Where an OMERO user may come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// AVUs on the iRODS user or on its groups.
    Avu,
    /// The explicit table.
    Table(Box<Table>),
    /// Ordered rules.
    Rules(Vec<Rule>),
    /// The site's directory.
    Ldap(Box<ldap::Directory>),
    /// Users of these zones have the same name in OMERO.
    SameName(Vec<String>),
}

/// The site's mapping of iRODS users to OMERO users.
#[derive(Debug, Clone, Default)]
pub struct Identities {
    /// The sources in the order in which they are asked.
    pub sources: Vec<Source>,
    /// How the person is found for the data of service accounts.
    pub on_behalf_of: Vec<OnBehalf>,
    /// The OMERO accounts nobody is mapped to.
    pub denied: Denied,
    /// The group of those for whom nothing else names one.
    pub default_group: Option<OmeroName>,
}

/// What is asked of [`Identities`].
pub struct Asked<'a> {
    /// The catalog.
    pub metadata: &'a dyn Metadata,
    /// The names of our AVUs.
    pub names: &'a Attributes,
    /// Who owns the data.
    pub owner: &'a IrodsUser,
    /// Where the data is; without it nobody can be found for a service account.
    pub place: Option<Place<'a>>,
}

/// The answer, and how it came about.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The identity, or why there is none.
    pub mapping: Result<Mapping, NoIdentity>,
    /// Every step in words.
    pub steps: Vec<String>,
}

/// What one source says.
enum Said {
    /// It knows the person: user, group if it names one, and itself in words.
    Names(OmeroName, Option<OmeroName>, String),
    /// It does not know the person: a sentence.
    Nothing(String),
    /// It does not, but almost: a sentence worth telling to whoever has no OMERO user.
    Almost(String),
    /// It says something that is no choice, or no name.
    Unusable(String),
    /// It cannot answer for now.
    WillPass(String),
}

/// The AVUs of one person, asked for when first needed.
struct Tags<'a> {
    asked: &'a Asked<'a>,
    person: &'a IrodsUser,
    found: Option<Vec<UserTag>>,
}

/// The different values of one attribute.
#[derive(Default)]
struct Values {
    /// On the user.
    own: BTreeSet<String>,
    /// On the user's groups: value and group, so that the values are in order.
    of_groups: BTreeSet<(String, String)>,
}

impl Tags<'_> {
    fn all(&mut self) -> Result<&[UserTag], CatalogError> {
        if self.found.is_none() {
            let names = [self.asked.names.user.as_str(), self.asked.names.group.as_str()];
            self.found = Some(self.asked.metadata.user_tags(self.person, &names)?.unwrap_or_default());
        }
        Ok(self.found.as_deref().unwrap_or_default())
    }

    /// The values of an attribute.
    fn values(&mut self, attribute: &str) -> Result<Values, CatalogError> {
        let Values { mut own, mut of_groups } = Values::default();
        for tag in self.all()?.iter().filter(|t| t.attribute == attribute) {
            match &tag.holder {
                Holder::User => {
                    own.insert(tag.value.clone());
                }
                Holder::Group(group) => {
                    of_groups.insert((tag.value.clone(), group.clone()));
                }
            }
        }
        Ok(Values { own, of_groups })
    }
}

impl Identities {
    /// How the site's directory is reached, if it is a source.
    pub fn directory(&self) -> Option<&ldap::Settings> {
        self.sources.iter().find_map(|source| match source {
            Source::Ldap(directory) => Some(directory.settings()),
            _ => None,
        })
    }

    /// When the mapping changed last, as far as files tell: the table file's change time.
    pub fn changed_at(&self) -> Option<UnixTime> {
        self.sources.iter().find_map(|source| {
            let Source::Table(table) = source else { return None };
            table.file.as_ref()?.changed_at()
        })
    }

    /// Whether nobody can be mapped.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// The OMERO identity for somebody's data, with every step that led to it. There is no fallback.
    ///
    /// # Errors
    /// The catalog failed.
    pub fn resolve(&self, asked: &Asked<'_>) -> Result<Answer, CatalogError> {
        let mut steps = Vec::new();
        let mapping = match self.person(asked, &mut steps)? {
            Err(no_one) => Err(no_one),
            Ok(person) => self.map(asked, &person, &mut steps)?,
        };
        steps.push(match &mapping {
            Ok(Mapping { identity: OmeroIdentity { user, group: Some(group) }, .. }) => {
                format!("imports run as the OMERO user '{user}' in the group '{group}'")
            }
            Ok(Mapping { identity: OmeroIdentity { user, group: None }, .. }) => {
                format!("imports run as the OMERO user '{user}' in that user's default group")
            }
            Err(no) => format!("nothing is imported: {no}"),
        });
        Ok(Answer { mapping, steps })
    }

    /// Whose mapping counts: the owner's, or that of the person for whom a service account put the data.
    fn person(
        &self,
        asked: &Asked<'_>,
        steps: &mut Vec<String>,
    ) -> Result<Result<IrodsUser, NoIdentity>, CatalogError> {
        let account = asked.owner;
        let ways: Vec<&OnBehalf> = self.on_behalf_of.iter().filter(|w| w.account == *account).collect();
        if ways.is_empty() {
            return Ok(Ok(account.clone()));
        }
        steps.push(format!("{account} puts data on behalf of others"));
        let nobody = |why: String| Ok(Err(NoIdentity::NobodyNamed { account: account.clone(), why }));
        let Some(place) = &asked.place else {
            steps.push("on_behalf_of: without a path nobody is named".to_owned());
            return nobody("it depends on the path of the data".to_owned());
        };
        let mut tried = Vec::new();
        for way in ways {
            match way.person(asked.metadata, asked.names, place)? {
                Person::Is(person) if self.on_behalf_of.iter().any(|w| w.account == person) => {
                    steps.push(format!("on_behalf_of: {} names {person}, a service account", way.from));
                    return nobody(format!("{} names {person}, which is a service account too", way.from));
                }
                Person::Is(person) => {
                    steps.push(format!("on_behalf_of: {} names {person}", way.from));
                    return Ok(Ok(person));
                }
                Person::Nobody(why) => {
                    steps.push(format!("on_behalf_of: {why}"));
                    tried.push(why);
                }
                Person::Unusable(why) => {
                    steps.push(format!("on_behalf_of: {why}"));
                    return nobody(why);
                }
            }
        }
        nobody(tried.join("; "))
    }

    /// Asks the sources about a person.
    fn map(
        &self,
        asked: &Asked<'_>,
        person: &IrodsUser,
        steps: &mut Vec<String>,
    ) -> Result<Result<Mapping, NoIdentity>, CatalogError> {
        let mut tags = Tags { asked, person, found: None };
        let mut hints = String::new();
        for source in &self.sources {
            let said = source.ask(person, asked.names, &mut tags)?;
            let word = source.word();
            match said {
                Said::Nothing(why) => steps.push(format!("{word}: {why}")),
                Said::Almost(why) => {
                    steps.push(format!("{word}: {why}"));
                    hints = format!("{hints} ({word}: {why})");
                }
                Said::Unusable(why) => {
                    steps.push(format!("{word}: {why}"));
                    return Ok(Err(NoIdentity::Unusable { user: person.clone(), why }));
                }
                Said::WillPass(why) => {
                    steps.push(format!("{word}: {why}"));
                    return Ok(Err(NoIdentity::WillPass { user: person.clone(), why }));
                }
                Said::Names(user, group, by) => {
                    steps.push(format!("{word}: {person} is '{user}' by {by}"));
                    if let Some(denied) = self.denied.covers(&user) {
                        let denied = denied.to_owned();
                        return Ok(Err(NoIdentity::Denied { user: person.clone(), omero: user, denied, by }));
                    }
                    let group = match self.group(group, &mut tags, steps)? {
                        Ok(group) => group,
                        Err(why) => {
                            steps.push(format!("group: {why}"));
                            return Ok(Err(NoIdentity::Unusable { user: person.clone(), why }));
                        }
                    };
                    let identity = OmeroIdentity { user, group };
                    return Ok(Ok(Mapping { identity, person: person.clone(), by }));
                }
            }
        }
        Ok(Err(NoIdentity::Unmapped {
            user: person.clone(),
            remedy: self.remedy(person, asked.names),
            hints,
        }))
    }

    /// The group: what the source says, else what the AVUs say (where they are a source), else the default.
    fn group(
        &self,
        said: Option<OmeroName>,
        tags: &mut Tags<'_>,
        steps: &mut Vec<String>,
    ) -> Result<Result<Option<OmeroName>, String>, CatalogError> {
        if said.is_some() {
            return Ok(Ok(said));
        }
        if self.sources.iter().any(|s| matches!(s, Source::Avu)) {
            let attribute = tags.asked.names.group.clone();
            match one_of(tags, &attribute)? {
                Err(why) => return Ok(Err(why)),
                Ok(Some((group, by))) => {
                    steps.push(format!("group: '{group}' by {by}"));
                    return Ok(Ok(Some(group)));
                }
                Ok(None) => {}
            }
        }
        if let Some(group) = &self.default_group {
            steps.push(format!("group: '{group}' by default_group"));
        }
        Ok(Ok(self.default_group.clone()))
    }

    /// What an administrator can do for somebody no source knows.
    fn remedy(&self, person: &IrodsUser, names: &Attributes) -> String {
        let avu = format!("run 'imeta add -u {person} {} NAME'", names.user);
        let other = "add one under 'users' in the configuration".to_owned();
        let has = |wanted: fn(&Source) -> bool| self.sources.iter().any(wanted);
        match (has(|s| matches!(s, Source::Avu)), has(|s| !matches!(s, Source::Avu))) {
            (true, true) => format!("{avu} or to {other}"),
            (true, false) => avu,
            (false, _) => other,
        }
    }
}

impl Source {
    /// The source as `users/sources` names it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Avu => "avu",
            Self::Table(_) => "table",
            Self::Rules(_) => "rules",
            Self::Ldap(_) => "ldap",
            Self::SameName(_) => "same_name",
        }
    }

    fn ask(&self, person: &IrodsUser, names: &Attributes, tags: &mut Tags<'_>) -> Result<Said, CatalogError> {
        Ok(match self {
            Self::Avu => return by_avu(names, tags),
            Self::Table(table) => match table.row(person) {
                Ok(Some(row)) => Said::Names(row.user, row.group, "table".to_owned()),
                Ok(None) => Said::Nothing(format!("there is no row for {person}")),
                Err(why) => Said::WillPass(why),
            },
            Self::Rules(rules) => by_rules(rules, person),
            Self::Ldap(directory) => match directory.look_up(person) {
                Ok(Ok(entry)) => Said::Names(entry.user, entry.group, format!("ldap {}", entry.dn)),
                Ok(Err(why)) => Said::Nothing(why),
                Err(ldap::Trouble::Unusable(why)) => Said::Unusable(why),
                Err(ldap::Trouble::WillPass(why)) => Said::WillPass(why),
            },
            Self::SameName(zones) if zones.iter().any(|z| z == person.zone()) => {
                match OmeroName::parse(person.name()) {
                    Ok(user) => Said::Names(user, None, "same_name".to_owned()),
                    Err(e) => Said::Almost(e.to_string()),
                }
            }
            Self::SameName(_) => Said::Nothing(format!("{} is not one of its zones", person.zone())),
        })
    }
}

fn by_rules(rules: &[Rule], person: &IrodsUser) -> Said {
    let mut unusable = Vec::new();
    for (i, rule) in rules.iter().enumerate() {
        match rule.ask(person) {
            rules::Said::Nothing => {}
            rules::Said::Unusable(why) => {
                unusable.push(format!("rule {} matches {person}, but {why}", i + 1));
            }
            rules::Said::Names(user, group) => return Said::Names(user, group, format!("rule {}", i + 1)),
        }
    }
    if unusable.is_empty() {
        Said::Nothing(format!("none of {} matches {person}", rules.len()))
    } else {
        Said::Almost(unusable.join("; "))
    }
}

fn by_avu(names: &Attributes, tags: &mut Tags<'_>) -> Result<Said, CatalogError> {
    let (user, by) = match one_of(tags, &names.user)? {
        Ok(Some(found)) => found,
        Ok(None) => {
            let who = tags.person;
            return Ok(Said::Nothing(format!("neither {who} nor a group of that user has {}", names.user)));
        }
        Err(why) => return Ok(Said::Unusable(why)),
    };
    Ok(Said::Names(user, None, by))
}

/// The one OMERO name an attribute gives, and where it stands: on the user, or else on groups. The inner error says
/// why there is no choice.
fn one_of(
    tags: &mut Tags<'_>,
    attribute: &str,
) -> Result<Result<Option<(OmeroName, String)>, String>, CatalogError> {
    let Values { own, of_groups } = tags.values(attribute)?;
    let mut own = own.into_iter();
    let (value, by) = match (own.next(), own.next()) {
        (Some(one), Some(another)) => {
            let who = tags.person;
            return Ok(Err(format!("{who} has two different {attribute}, '{one}' and '{another}'")));
        }
        (Some(value), None) => (value, "avu on user".to_owned()),
        (None, _) => {
            // By value, so that another value is the first that differs.
            let mut of_groups = of_groups.into_iter();
            let Some((value, group)) = of_groups.next() else {
                return Ok(Ok(None));
            };
            if let Some((another, other)) = of_groups.find(|(v, _)| *v != value) {
                return Ok(Err(format!(
                    "the groups {group} and {other} have different {attribute}, '{value}' and '{another}'"
                )));
            }
            (value, format!("avu on group {group}"))
        }
    };
    Ok(match OmeroName::parse(&value) {
        Ok(name) => Ok(Some((name, by))),
        Err(e) => Err(format!("the {attribute} ({by}): {e}")),
    })
}

#[cfg(test)]
pub(crate) mod tests;
