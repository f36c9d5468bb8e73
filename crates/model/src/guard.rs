//! What may be done to imported data: an answer for each act, for people, administrators and named accounts.
//!
//! iRODS holds the bytes that an image in OMERO shows. Some acts lose them for good; others only move or change them, and
//! OMERO can be told. A site says for each act what it wants; a watch may say something else for its data.

use crate::names::IrodsUser;
use std::collections::BTreeMap;
use std::fmt;

/// What somebody is about to do to imported data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Act {
    /// To remove it for good, from the trash included, or to unregister it.
    Remove,
    /// To put it into the trash.
    Trash,
    /// To give it another name or collection.
    Rename,
    /// To trim or move the last good replica that OMERO can see.
    Trim,
    /// To write other bytes in its place.
    Overwrite,
    /// To set another length in place.
    Truncate,
}

impl Act {
    /// All acts, in the order of the documents.
    pub const ALL: [Self; 6] =
        [Self::Remove, Self::Trash, Self::Rename, Self::Trim, Self::Overwrite, Self::Truncate];

    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Remove => "remove",
            Self::Trash => "trash",
            Self::Rename => "rename",
            Self::Trim => "trim",
            Self::Overwrite => "overwrite",
            Self::Truncate => "truncate",
        }
    }

    /// The act in a sentence: what may not be done.
    pub fn done(self) -> &'static str {
        match self {
            Self::Remove => "removed",
            Self::Trash => "put into the trash",
            Self::Rename => "moved",
            Self::Trim => "trimmed or moved out of OMERO's sight",
            Self::Overwrite => "overwritten",
            Self::Truncate => "truncated",
        }
    }

    /// Whether the images can be kept in order afterwards: by pointing OMERO's link to where the bytes are, or by what
    /// `on_overwrite` says of other bytes.
    pub fn can_be_followed(self) -> bool {
        match self {
            Self::Trash | Self::Rename | Self::Overwrite | Self::Truncate => true,
            Self::Remove | Self::Trim => false,
        }
    }
}

/// What a guard answers to an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stance {
    /// It is not done.
    Refuse,
    /// It is done, and OMERO is told afterwards.
    Follow,
    /// It is done, and the log says so.
    Allow,
}

impl Stance {
    /// The words of the configuration.
    pub const WORDS: [&'static str; 3] = ["refuse", "follow", "allow"];

    /// From the word.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "refuse" => Some(Self::Refuse),
            "follow" => Some(Self::Follow),
            "allow" => Some(Self::Allow),
            _ => None,
        }
    }

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Follow => "follow",
            Self::Allow => "allow",
        }
    }
}

/// An answer for some acts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stances {
    of: [Option<Stance>; Act::ALL.len()],
}

impl Stances {
    /// The answer to an act, if there is one.
    pub fn get(&self, act: Act) -> Option<Stance> {
        self.of[act as usize]
    }

    /// Answers an act.
    pub fn set(&mut self, act: Act, stance: Stance) {
        self.of[act as usize] = Some(stance);
    }

    /// What is answered here, and otherwise as in `base`.
    #[must_use]
    pub fn over(&self, base: &Self) -> Self {
        Self { of: std::array::from_fn(|i| self.of[i].or(base.of[i])) }
    }

    fn all(of: fn(Act) -> Stance) -> Self {
        Self { of: Act::ALL.map(|act| Some(of(act))) }
    }
}

/// Who is about to do something.
#[derive(Debug, Clone, Copy)]
pub struct Doer<'a> {
    /// The client user; `None` where the server does not tell.
    pub user: Option<&'a IrodsUser>,
    /// Whether that is an administrator.
    pub is_admin: bool,
}

/// The answers for everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// For those who are no administrators.
    pub people: Stances,
    /// For administrators.
    pub administrators: Stances,
    /// For some accounts, whatever else they are.
    pub accounts: BTreeMap<IrodsUser, Stances>,
}

impl Default for Guard {
    /// What can be followed is followed. What would lose the bytes of an image is refused to people; administrators
    /// know what they do.
    fn default() -> Self {
        let people = |act: Act| if act.can_be_followed() { Stance::Follow } else { Stance::Refuse };
        let administrators = |act: Act| if act.can_be_followed() { Stance::Follow } else { Stance::Allow };
        Self {
            people: Stances::all(people),
            administrators: Stances::all(administrators),
            accounts: BTreeMap::new(),
        }
    }
}

impl Guard {
    /// The answer to an act.
    pub fn stance(&self, act: Act, doer: Doer<'_>) -> Stance {
        let class = if doer.is_admin { &self.administrators } else { &self.people };
        let own = doer.user.and_then(|user| self.accounts.get(user)).and_then(|stances| stances.get(act));
        // The default answers every act, and all else is over it.
        own.or_else(|| class.get(act)).unwrap_or(Stance::Refuse)
    }

    /// Whether somebody's act may be answered by anything but to go on in silence.
    pub fn minds(&self, act: Act) -> bool {
        let minds = |stances: &Stances| stances.get(act).is_some_and(|stance| stance != Stance::Follow);
        minds(&self.people) || minds(&self.administrators) || self.accounts.values().any(minds)
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doer(user: &IrodsUser, is_admin: bool) -> Doer<'_> {
        Doer { user: Some(user), is_admin }
    }

    #[test]
    fn by_default_people_lose_no_image_and_everything_that_can_be_followed_goes_on() {
        let (guard, alice) = (Guard::default(), IrodsUser::parse("alice#z").unwrap());
        for act in Act::ALL {
            let (people, administrators) = (doer(&alice, false), doer(&alice, true));
            if act.can_be_followed() {
                assert_eq!(guard.stance(act, people), Stance::Follow, "{act}");
                assert_eq!(guard.stance(act, administrators), Stance::Follow, "{act}");
                assert!(!guard.minds(act), "{act} costs nobody a look");
            } else {
                assert_eq!(guard.stance(act, people), Stance::Refuse, "{act}");
                assert_eq!(guard.stance(act, administrators), Stance::Allow, "{act}");
                assert!(guard.minds(act), "{act}");
            }
        }
    }

    #[test]
    fn an_account_has_its_own_answer_and_is_otherwise_what_it_is() {
        let tiering = IrodsUser::parse("tiering#z").unwrap();
        let mut guard = Guard::default();
        guard.accounts.entry(tiering.clone()).or_default().set(Act::Trim, Stance::Allow);
        assert_eq!(guard.stance(Act::Trim, doer(&tiering, false)), Stance::Allow);
        assert_eq!(guard.stance(Act::Remove, doer(&tiering, false)), Stance::Refuse);
        let other_zone = IrodsUser::parse("tiering#other").unwrap();
        assert_eq!(guard.stance(Act::Trim, doer(&other_zone, false)), Stance::Refuse);
        assert_eq!(guard.stance(Act::Trim, Doer { user: None, is_admin: false }), Stance::Refuse);
    }

    #[test]
    fn what_is_not_answered_is_as_below() {
        let mut own = Stances::default();
        own.set(Act::Rename, Stance::Refuse);
        let merged = own.over(&Guard::default().people);
        assert_eq!(merged.get(Act::Rename), Some(Stance::Refuse));
        assert_eq!(merged.get(Act::Trash), Some(Stance::Follow));
        for word in Stance::WORDS {
            assert_eq!(Stance::parse(word).map(Stance::as_str), Some(word));
        }
        assert_eq!(Stance::parse("deny"), None);
    }
}
