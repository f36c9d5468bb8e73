//! Which collections are watched, and how their data is treated: patterns, rules and tags, as values.

mod files;
mod pattern;
mod tag;

pub use files::{FileRules, Marker, NamePattern, patterns};
pub use pattern::{CollectionPattern, glob_matches};
pub use tag::{RawTag, Tag, Wishes, shown};

use crate::names::LogicalPath;
use crate::target::Template;
use std::sync::Arc;
use std::time::Duration;

/// One watched collection pattern with its options.
#[derive(Debug, Clone)]
pub struct Watch {
    /// The collections meant.
    pub pattern: CollectionPattern,
    /// How their data is treated.
    pub rules: Arc<Rules>,
}

/// A collection and how much of its path names the watched collection above it (or itself).
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The collection that directly holds the data.
    pub collection: &'a LogicalPath,
    /// The number of leading elements that name the watched collection.
    pub root: usize,
}

impl<'a> Place<'a> {
    /// An element of the collection's path: from 0 on those below the watched collection, `-1` is the last of
    /// the whole path, `-2` the one before.
    pub fn element(&self, index: i32) -> Option<&'a [u8]> {
        let all: Vec<&[u8]> = self.collection.elements().collect();
        let distance = usize::try_from(index.unsigned_abs()).ok()?;
        let at =
            if index < 0 { all.len().checked_sub(distance)? } else { self.root.checked_add(distance)? };
        all.get(at).copied()
    }
}

/// What happens when imported data is overwritten in iRODS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnOverwrite {
    /// The record says that the images are stale.
    #[default]
    Report,
    /// The new version is imported beside the old images.
    Reimport,
}

impl OnOverwrite {
    /// The words for both, as they are written.
    pub const WORDS: [&'static str; 2] = ["report", "reimport"];

    /// From the word.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "report" => Some(Self::Report),
            "reimport" => Some(Self::Reimport),
            _ => None,
        }
    }
}

/// How the data of a watched collection is treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// How long nothing may have changed before the data counts as complete.
    pub quiet_period: Duration,
    /// What shows that the data is complete, if something does.
    pub complete_marker: Option<Marker>,
    /// Which files are data.
    pub files: FileRules,
    /// Where in OMERO the images go.
    pub target: Template,
    /// Where plates go, if not where images do.
    pub plate_target: Option<Template>,
    /// What happens when imported data is overwritten.
    pub on_overwrite: OnOverwrite,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            quiet_period: Duration::from_secs(30),
            complete_marker: None,
            files: FileRules::default(),
            target: Template::default(),
            plate_target: None,
            on_overwrite: OnOverwrite::default(),
        }
    }
}

/// Whether and how a collection is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watching {
    /// It is not.
    No,
    /// By these rules; `root` is the number of leading elements that name the watched collection.
    Yes {
        /// How.
        rules: Arc<Rules>,
        /// How much of the path names the watched collection.
        root: usize,
    },
    /// It is tagged in a way that cannot be followed: a sentence that names the collection and the tag. Nothing is
    /// imported.
    Unclear(String),
}

impl Watching {
    /// Whether something happens to data there: an import, or a record that says why there is none.
    pub fn is_of_interest(&self) -> bool {
        !matches!(self, Self::No)
    }

    /// The quiet period; `otherwise` where no rules hold.
    pub fn quiet_period(&self, otherwise: Duration) -> Duration {
        match self {
            Self::Yes { rules, .. } => rules.quiet_period,
            Self::No | Self::Unclear(_) => otherwise,
        }
    }
}

/// Whether a path is in a zone's trash.
pub fn is_trash(path: &[u8]) -> bool {
    path.split(|b| *b == b'/').nth(2) == Some(b"trash")
}

/// What the configuration alone says.
pub fn as_configured(configured: Option<(&Watch, usize)>) -> Watching {
    configured.map_or(Watching::No, |(watch, root)| Watching::Yes { rules: Arc::clone(&watch.rules), root })
}

/// The nearest wins: of the tagged collections the deepest, if it is not above the one a pattern names.
pub fn judge(defaults: &Arc<Rules>, configured: Option<(&Watch, usize)>, tags: &[RawTag]) -> Watching {
    let depth = |tag: &RawTag| tag.collection.elements().count();
    let Some(nearest) = tags.iter().map(depth).max() else {
        return as_configured(configured);
    };
    if configured.is_some_and(|(_, root)| root > nearest) {
        return as_configured(configured);
    }
    let base = configured.map_or(defaults, |(watch, _)| &watch.rules);
    let here: Vec<&RawTag> = tags.iter().filter(|t| depth(t) == nearest).collect();
    let Some(collection) = here.first().map(|t| &t.collection) else {
        return as_configured(configured); // cannot be: one of them is the nearest
    };
    match agreed(collection, here.iter().map(|t| (t.value.as_str(), t.units.as_str()))) {
        Ok(Tag::Off) => Watching::No,
        Ok(Tag::On(wishes)) => Watching::Yes { rules: Arc::new(wishes.over(base)), root: nearest },
        Err(why) => Watching::Unclear(why),
    }
}

/// What the tags of one collection or data object ask for together, each a value and units.
///
/// # Errors
/// A sentence: one is not understood, or two contradict each other.
pub fn agreed<'t>(
    bearer: &LogicalPath,
    tags: impl IntoIterator<Item = (&'t str, &'t str)>,
) -> Result<Tag, String> {
    let in_full = |(value, units): (&str, &str)| shown(format!("{value} {units}").trim());
    let mut agreed: Option<(Tag, (&str, &str))> = None;
    for tag in tags {
        let meant = Tag::parse(tag.0, tag.1).map_err(|why| {
            format!("the tag to import '{}' on {bearer} is not understood: {why}", shown(tag.0))
        })?;
        match &agreed {
            Some((first, other)) if *first != meant => {
                return Err(format!(
                    "two tags to import on {bearer} contradict each other, '{}' and '{}': remove one",
                    in_full(*other),
                    in_full(tag)
                ));
            }
            Some(_) => {}
            None => agreed = Some((meant, tag)),
        }
    }
    agreed.map(|(tag, _)| tag).ok_or_else(|| format!("there is no tag to import on {bearer}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> LogicalPath {
        LogicalPath::parse(text.as_bytes()).unwrap()
    }

    fn tag(collection: &str, value: &str, units: &str) -> RawTag {
        RawTag { collection: path(collection), value: value.to_owned(), units: units.to_owned() }
    }

    fn judged(watch: Option<&str>, tags: &[RawTag]) -> Watching {
        let watch = watch.map(|pattern| Watch {
            pattern: CollectionPattern::parse(pattern).unwrap(),
            rules: Arc::new(Rules { quiet_period: Duration::from_secs(7), ..Rules::default() }),
        });
        let configured =
            watch.as_ref().and_then(|w| Some((w, w.pattern.matches(b"/z/home/alice/project/run")?)));
        judge(&Arc::default(), configured, tags)
    }

    fn root(watching: &Watching) -> Option<usize> {
        match watching {
            Watching::Yes { root, .. } => Some(*root),
            Watching::No | Watching::Unclear(_) => None,
        }
    }

    #[test]
    fn elements_are_counted_from_the_end_or_from_the_watched_collection() {
        let collection = LogicalPath::parse(b"/z/home/alice/project/run 1").unwrap();
        let place = Place { collection: &collection, root: 3 };
        let text = |i| place.element(i).map(|e| std::str::from_utf8(e).unwrap());
        assert_eq!((text(0), text(1), text(2)), (Some("project"), Some("run 1"), None));
        assert_eq!((text(-1), text(-5), text(-6)), (Some("run 1"), Some("z"), None));
        assert_eq!((text(i32::MIN), text(i32::MAX)), (None, None));
    }

    #[test]
    fn of_a_pattern_and_tags_the_nearest_wins() {
        let on = tag("/z/home/alice", "on", "quiet=60");
        let off = tag("/z/home/alice/project", "off", "");
        assert_eq!(root(&judged(None, std::slice::from_ref(&on))), Some(3));
        assert_eq!(judged(None, &[on.clone(), off.clone()]), Watching::No);
        assert_eq!(judged(Some("/z/home"), &[off]), Watching::No);
        assert_eq!(
            root(&judged(Some("/z/home/alice/project"), std::slice::from_ref(&on))),
            Some(4),
            "the pattern is nearer"
        );
        assert_eq!(judged(None, &[]), Watching::No);
        let same = judged(Some("/z/home/alice"), &[on]);
        assert_eq!(
            same.quiet_period(Duration::ZERO),
            Duration::from_secs(60),
            "the tag, on the very collection"
        );
    }

    #[test]
    fn what_a_tag_does_not_say_is_as_in_the_configuration() {
        let watching = judged(Some("/z/home"), &[tag("/z/home/alice", "Dataset:name:x", "")]);
        let Watching::Yes { rules, root: 3 } = watching else { panic!("{watching:?}") };
        assert_eq!((rules.quiet_period.as_secs(), rules.target.as_str()), (7, "Dataset:name:x"));
    }

    #[test]
    fn tags_that_contradict_each_other_on_one_collection_stop_imports_and_name_both() {
        let both = [tag("/z/home/alice", "on", ""), tag("/z/home/alice", "off", "")];
        let Watching::Unclear(why) = judged(None, &both) else { panic!() };
        assert!(why.contains("/z/home/alice") && why.contains("'on'") && why.contains("'off'"), "{why}");
        let same = [tag("/z/home/alice", "on", ""), tag("/z/home/alice", "ON", ";")];
        assert_eq!(root(&judged(None, &same)), Some(3));
        let nearer = [both[0].clone(), both[1].clone(), tag("/z/home/alice/project", "on", "")];
        assert_eq!(root(&judged(None, &nearer)), Some(4), "across levels the nearest wins");
    }

    #[test]
    fn a_tag_that_is_not_understood_names_itself_and_its_collection() {
        let Watching::Unclear(why) = judged(Some("/z/home"), &[tag("/z/home/alice", "yes please", "")])
        else {
            panic!()
        };
        assert!(why.contains("'yes please' on /z/home/alice"), "{why}");
    }

    #[test]
    fn only_the_trash_of_a_zone_is_the_trash() {
        assert!(is_trash(b"/z/trash") && is_trash(b"/z/trash/home/alice"));
        assert!(!is_trash(b"/z/home/trash") && !is_trash(b"/z/trashcan/x") && !is_trash(b"/z"));
    }
}
