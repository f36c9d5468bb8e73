//! What a caller may do: for which zones, files and OMERO users it may submit, and whose jobs it sees.
//!
//! The agent's own `roots` and `[users]` are the outer bounds. What a caller's section names lies within them, and
//! nothing beyond that section is taken from this caller.

use irods_omero_model::form::{Form, check_host_path, text_of};
use irods_omero_model::names::OmeroName;
use regex::Regex;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a caller may do. Each level includes those before it, except that `metrics` sees no job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum May {
    /// Read `/metrics`, and nothing else: for Prometheus.
    Metrics,
    /// Read jobs and the page, too: for people who look.
    Read,
    /// Try jobs again and cancel them, too: for people who operate.
    Operate,
    /// Submit, too: for an iRODS server.
    Submit,
}

impl May {
    const WORDS: [&str; 4] = ["metrics", "read", "operate", "submit"];

    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Submit => "submit",
        }
    }
}

/// For which zones a caller may speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Zones {
    /// For all.
    All,
    /// For these.
    Only(Vec<String>),
}

impl Zones {
    /// Whether a zone is among them.
    pub fn allow(&self, zone: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(zones) => zones.iter().any(|z| z == zone),
        }
    }

    /// As the queue's questions take them.
    pub fn filter(&self) -> Option<Vec<String>> {
        match self {
            Self::All => None,
            Self::Only(zones) => Some(zones.clone()),
        }
    }

    /// From the elements of a list; `"*"` stands for all.
    pub fn of(names: Vec<String>) -> Self {
        if names.iter().any(|n| n == "*") { Self::All } else { Self::Only(names) }
    }

    fn cover(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::Only(_), Self::All) => false,
            (Self::Only(_), Self::Only(zones)) => zones.iter().all(|zone| self.allow(zone)),
        }
    }
}

/// Some OMERO users: those of a list, and those whose whole name fits a pattern.
#[derive(Debug, Clone, Default)]
pub struct NameRule {
    allowed: BTreeSet<String>,
    pattern: Option<Regex>,
}

impl NameRule {
    /// Reads `match` and `allow`.
    pub fn read(form: &Form<'_>) -> Self {
        let whole = |text: &str| whole_name(text).map_err(|why| form.problem("match", why)).ok();
        let pattern = form.text("match").and_then(whole);
        let allowed = names(form, "allow").into_iter().map(|name| name.as_str().to_owned()).collect();
        if form.value("allow").is_none() && form.value("match").is_none() {
            form.missing(
                "allow",
                "nothing would ever be imported: list OMERO users, or give a pattern in 'match'",
            );
        }
        Self { allowed, pattern }
    }

    /// The names of the list.
    pub fn listed(&self) -> impl Iterator<Item = &str> {
        self.allowed.iter().map(String::as_str)
    }

    /// Whether a user is among them.
    pub fn allows(&self, user: &str) -> bool {
        self.allowed.contains(user) || self.pattern.as_ref().is_some_and(|p| p.is_match(user))
    }

    /// Whether all of another rule are surely among them.
    fn cover(&self, other: &Self) -> bool {
        let pattern = |rule: &Self| rule.pattern.as_ref().map(|p| p.as_str().to_owned());
        other.allowed.iter().all(|user| self.allows(user))
            && (other.pattern.is_none() || pattern(self) == pattern(other))
    }
}

/// A pattern that has to fit a whole name, however it is written: `a)|(b` would escape from a group put around it.
fn whole_name(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|e| e.to_string())?;
    Regex::new(&format!(r"\A(?:{text})\z"))
        .map_err(|_| "cannot be held to the whole name: write it without (?x) and comments".to_owned())
}

/// The OMERO users of a list.
pub fn names(form: &Form<'_>, key: &'static str) -> Vec<OmeroName> {
    let name = |text: String| OmeroName::parse(&text).map_err(|why| form.problem(key, why)).ok();
    texts(form, key).into_iter().filter_map(name).collect()
}

/// The texts of a list.
pub fn texts(form: &Form<'_>, key: &'static str) -> Vec<String> {
    let text = |(pointer, value): (String, &serde_json::Value)| {
        text_of(value).map(str::to_owned).map_err(|m| form.problems().add(&pointer, m)).ok()
    };
    form.list(key).into_iter().filter_map(text).collect()
}

/// The directories of a list.
pub fn directories(form: &Form<'_>, key: &'static str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (pointer, value) in form.list(key) {
        let checked = text_of(value).and_then(|text| {
            check_host_path(text)?;
            if text.bytes().all(|b| b == b'/') {
                return Err("'/' would open every file of the host: name the vaults".to_owned());
            }
            Ok(PathBuf::from(text))
        });
        match checked {
            Ok(root) => found.push(root),
            Err(why) => form.problems().add(&pointer, why),
        }
    }
    found
}

/// Whether a path is one of some directories or lies below one, going by its elements.
pub fn is_within(path: &Path, roots: &[PathBuf]) -> bool {
    roots.iter().any(|root| path.starts_with(root))
}

/// A caller's section, as written.
#[derive(Debug, Clone)]
pub struct Grant {
    /// What it may do.
    pub may: May,
    /// For which zones.
    pub zones: Zones,
    /// Below which directories the files are that it may submit.
    pub roots: Option<Vec<PathBuf>>,
    /// As which OMERO users it may have imported.
    pub users: Option<NameRule>,
}

impl Grant {
    /// Reads what a caller's section says of its rights.
    pub fn read(form: &Form<'_>) -> Option<Self> {
        let word = form.choice("may", &May::WORDS, May::Submit.as_str());
        let all = [May::Metrics, May::Read, May::Operate, May::Submit];
        let may = all.into_iter().find(|may| may.as_str() == word)?;
        let zones = texts(form, "zones");
        if zones.is_empty() && may != May::Metrics {
            form.missing("zones", "name the zones the caller may speak for; [\"*\"] is all");
            return None;
        }
        let roots = form.value("roots").is_some().then(|| directories(form, "roots"));
        if roots.as_ref().is_some_and(Vec::is_empty) {
            form.missing("roots", "name a directory, or nothing could ever be submitted");
        }
        let users = form.form("users").map(|users| {
            let rule = NameRule::read(&users);
            users.close();
            rule
        });
        if may != May::Submit {
            for (key, given) in [("roots", roots.is_some()), ("users", users.is_some())] {
                if given {
                    form.problem(
                        key,
                        format_args!("is for a caller that may submit, not for may = \"{word}\""),
                    );
                }
            }
        }
        Some(Self { may, zones: Zones::of(zones), roots, users })
    }

    /// Whether whatever may be submitted under another section may be under this one too.
    fn covers(&self, other: &Self) -> bool {
        let roots = match (&self.roots, &other.roots) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(roots), Some(theirs)) => theirs.iter().all(|root| is_within(root, roots)),
        };
        let users = match (&self.users, &other.users) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(users), Some(theirs)) => users.cover(theirs),
        };
        self.zones.cover(&other.zones) && roots && users
    }
}

/// Whose jobs a caller sees, by the names of those who submitted them; `None`: everybody's, within its zones.
///
/// Who may submit sees the jobs of those who may submit nothing that it may not: its own, and those of its peers, such as
/// the other servers of its zone.
pub fn sees(own: &Grant, all: &[(String, Grant)]) -> Option<Vec<String>> {
    let everything = own.zones == Zones::All && own.roots.is_none() && own.users.is_none();
    if own.may != May::Submit || everything {
        return None;
    }
    let peers = all.iter().filter(|(_, grant)| grant.may == May::Submit && own.covers(grant));
    Some(peers.map(|(name, _)| name.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use irods_omero_model::form::Problems;
    use serde_json::json;

    fn rule(pattern: &str) -> Result<NameRule, String> {
        let (problems, value) = (Problems::default(), json!({"match": pattern}));
        let rule = NameRule::read(&Form::open(String::new(), &value, &problems).unwrap());
        problems.into_inner().first().map_or(Ok(rule), |p| Err(p.to_string()))
    }

    #[test]
    fn a_pattern_fits_whole_names_however_it_is_written() {
        let users = rule("alice|bob").unwrap();
        assert!(users.allows("alice") && users.allows("bob"));
        for bad in ["xalice", "bobx", "alicebob", "alice\n", ""] {
            assert!(!users.allows(bad), "{bad:?}");
        }
        assert!(!rule("(?m)^alice$").unwrap().allows("mallory\nalice"));
        for escape in ["alice)|(?:.*", "alice)|(.*", "(?x) alice # ", "(", "[a"] {
            assert!(rule(escape).is_err(), "{escape}");
        }
    }

    fn grant(zones: &[&str], roots: Option<&[&str]>, users: Option<&str>) -> Grant {
        Grant {
            may: May::Submit,
            zones: Zones::of(zones.iter().map(|z| (*z).to_owned()).collect()),
            roots: roots.map(|roots| roots.iter().map(PathBuf::from).collect()),
            users: users.map(|pattern| rule(pattern).unwrap()),
        }
    }

    #[test]
    fn a_caller_sees_its_own_jobs_and_its_peers_and_nobody_elses() {
        let all: Vec<(String, Grant)> = [
            ("provider", grant(&["z"], Some(&["/v/z"]), Some("a.*"))),
            ("consumer", grant(&["z"], Some(&["/v/z"]), Some("a.*"))),
            ("other vault", grant(&["z"], Some(&["/v/zz"]), Some("a.*"))),
            ("other users", grant(&["z"], Some(&["/v/z"]), Some("b.*"))),
            ("other zone", grant(&["y"], Some(&["/v/z"]), Some("a.*"))),
            ("all", grant(&["*"], None, None)),
        ]
        .map(|(name, grant)| (name.to_owned(), grant))
        .into();
        assert_eq!(sees(&all[0].1, &all).unwrap(), ["provider", "consumer"]);
        assert_eq!(sees(&all[2].1, &all).unwrap(), ["other vault"]);
        assert_eq!(sees(&all[3].1, &all).unwrap(), ["other users"]);
        assert_eq!(sees(&all[4].1, &all).unwrap(), ["other zone"]);
        assert_eq!(sees(&all[5].1, &all), None);
        assert_eq!(sees(&Grant { may: May::Read, ..all[0].1.clone() }, &all), None);
    }

    #[test]
    fn a_path_is_within_a_directory_by_whole_elements() {
        let roots = [PathBuf::from("/srv/vault")];
        assert!(is_within(Path::new("/srv/vault/home/a.tif"), &roots));
        assert!(!is_within(Path::new("/srv/vault2/home/a.tif"), &roots));
        assert!(!is_within(Path::new("/srv"), &roots));
    }
}
