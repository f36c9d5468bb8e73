//! The tag to import: an AVU that the owner of a collection sets. Its value is `on`, `off` or a target, its units are
//! options (`quiet=60; on_overwrite=reimport`). Whoever may write metadata on a collection may write anything there,
//! so a tag that is not understood is answered with a sentence, and nothing is imported under it.

use super::{Marker, OnOverwrite, Rules};
use crate::form::suggestion;
use crate::names::LogicalPath;
use crate::target::Template;
use std::time::Duration;

/// The longest quiet period a tag may ask for, in seconds: a day, as in the configuration.
pub const MAX_QUIET: u64 = 86_400;

/// How much of a tag is shown in a sentence, in characters.
const SHOWN: usize = 100;

const OPTIONS: &[&str] = &["quiet", "complete_marker", "on_overwrite"];

/// A tag as it stands in the catalog.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RawTag {
    /// The collection that bears it.
    pub collection: LogicalPath,
    /// Its value.
    pub value: String,
    /// Its units.
    pub units: String,
}

/// What a tag asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tag {
    /// Nothing from here down is imported.
    Off,
    /// What is here is imported.
    On(Box<Wishes>),
}

/// What differs from the rules of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    target: Option<Template>,
    quiet: Option<Duration>,
    complete_marker: Option<Marker>,
    on_overwrite: Option<OnOverwrite>,
}

impl Tag {
    /// Reads a tag's value and units.
    ///
    /// # Errors
    /// A sentence about what is not understood.
    pub fn parse(value: &str, units: &str) -> Result<Self, String> {
        let wishes = options(units)?;
        let value = value.trim();
        if value.eq_ignore_ascii_case("off") {
            return Ok(Self::Off);
        }
        let target = if value.eq_ignore_ascii_case("on") { None } else { Some(Template::parse(value)?) };
        Ok(Self::On(Box::new(Wishes { target, ..wishes })))
    }
}

impl Wishes {
    /// The rules that hold under the tag, where `base` holds without it.
    pub fn over(&self, base: &Rules) -> Rules {
        let mut rules = base.clone();
        if let Some(target) = &self.target {
            // A target of its own for plates has a meaning only beside a dataset.
            rules.plate_target = base.plate_target.clone().filter(|_| !target.is_screen());
            rules.target = target.clone();
        }
        rules.quiet_period = self.quiet.unwrap_or(base.quiet_period);
        rules.complete_marker = self.complete_marker.clone().or_else(|| base.complete_marker.clone());
        rules.on_overwrite = self.on_overwrite.unwrap_or(base.on_overwrite);
        rules
    }
}

fn options(units: &str) -> Result<Wishes, String> {
    let mut wishes = Wishes::default();
    let mut seen: Vec<&str> = Vec::new();
    for option in units.split([';', ' ', '\t']).filter(|o| !o.is_empty()) {
        let Some((name, value)) = option.split_once('=') else {
            return Err(format!("the option '{}' is not of the form name=value", shown(option)));
        };
        if seen.contains(&name) {
            return Err(format!("the option '{name}' stands there twice"));
        }
        match name {
            "quiet" => {
                let seconds = value.parse().ok().filter(|s| *s <= MAX_QUIET);
                let seconds = seconds.ok_or_else(|| {
                    format!("'quiet={}' is not a number of seconds from 0 to {MAX_QUIET}", shown(value))
                })?;
                wishes.quiet = Some(Duration::from_secs(seconds));
            }
            "complete_marker" => wishes.complete_marker = Some(Marker::parse(value)?),
            "on_overwrite" => {
                let rule = OnOverwrite::parse(value);
                wishes.on_overwrite = Some(rule.ok_or_else(|| {
                    format!("'on_overwrite={}' is neither 'report' nor 'reimport'", shown(value))
                })?);
            }
            _ => {
                let hint = suggestion(name, OPTIONS);
                return Err(format!(
                    "there is no option '{}' (but {}){hint}",
                    shown(name),
                    OPTIONS.join(", ")
                ));
            }
        }
        seen.push(name);
    }
    Ok(wishes)
}

/// The beginning of a text somebody else wrote.
pub fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(value: &str, units: &str) -> Rules {
        match Tag::parse(value, units).unwrap() {
            Tag::On(wishes) => wishes.over(&Rules::default()),
            Tag::Off => panic!("'{value}' is off"),
        }
    }

    #[test]
    fn on_off_and_a_target_are_told_apart() {
        assert_eq!(Tag::parse("off", ""), Ok(Tag::Off));
        assert_eq!(rules(" On ", ""), Rules::default());
        assert_eq!(rules("Dataset:name:{user}", "").target.as_str(), "Dataset:name:{user}");
    }

    #[test]
    fn options_stand_behind_each_other_by_semicolon_or_blank() {
        for units in [
            "quiet=60;on_overwrite=reimport",
            "quiet=60 on_overwrite=reimport",
            "; quiet=60 ;on_overwrite=reimport;",
        ] {
            let rules = rules("on", units);
            assert_eq!(
                (rules.quiet_period.as_secs(), rules.on_overwrite),
                (60, OnOverwrite::Reimport),
                "{units}"
            );
        }
        assert!(matches!(rules("on", "complete_marker=avu:done").complete_marker, Some(Marker::Avu(_))));
    }

    #[test]
    fn what_is_not_understood_is_said_and_cut_to_a_readable_length() {
        let long = "x".repeat(2_700);
        for (value, units, said) in [
            ("yes", "", "must start with one of"),
            ("", "", "must start with one of"),
            ("Dataset:name:", "", "names nothing"),
            ("on", "quiet", "name=value"),
            ("on", "quiet=-1", "not a number of seconds"),
            ("on", "quiet=99999999", "not a number of seconds"),
            ("on", "quiet=1 quiet=2", "twice"),
            ("on", "quite=1", "did you mean 'quiet'"),
            ("off", "on_overwrite=never", "neither"),
            ("on", "complete_marker=a/b", "without '/'"),
            (&long, "", "must start with one of"),
            ("on", &long, "name=value"),
        ] {
            let why = Tag::parse(value, units).unwrap_err();
            assert!(why.contains(said), "{why}");
            assert!(why.len() < 3_000);
        }
    }

    #[test]
    fn a_screen_needs_no_target_for_plates() {
        let base = Rules { plate_target: Template::parse("Screen:name:s").ok(), ..Rules::default() };
        let Ok(Tag::On(screen)) = Tag::parse("Screen:name:x", "") else { panic!() };
        assert_eq!(screen.over(&base).plate_target, None);
        let Ok(Tag::On(dataset)) = Tag::parse("Dataset:name:x", "") else { panic!() };
        assert!(dataset.over(&base).plate_target.is_some());
    }
}
