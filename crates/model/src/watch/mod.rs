//! Which collections are watched, and how their data is treated: patterns, rules and tags, as values.

mod files;
mod pattern;
mod tag;

pub use files::{FileRules, Marker, NamePattern, patterns, scratch};
pub use pattern::{CollectionPattern, glob_matches};
pub use tag::{RawTag, Tag, Wishes, shown};

use crate::guard::Guard;
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
    /// Names of collections that are left out with all below them, unless they are named by a pattern or tagged.
    pub exclude_collections: Vec<NamePattern>,
    /// Where in OMERO the images go.
    pub target: Template,
    /// Where plates go, if not where images do.
    pub plate_target: Option<Template>,
    /// What happens when imported data is overwritten.
    pub on_overwrite: OnOverwrite,
    /// What may be done to imported data.
    pub guard: Guard,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            quiet_period: Duration::from_secs(30),
            complete_marker: None,
            files: FileRules::default(),
            exclude_collections: scratch(),
            target: Template::default(),
            plate_target: None,
            on_overwrite: OnOverwrite::default(),
            guard: Guard::default(),
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

/// Why a collection is left out although what is above it is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The uppermost collection that is left out: the one asked about, or one above it.
    pub collection: LogicalPath,
    /// The pattern of `exclude_collections` that its name fits.
    pub pattern: String,
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (collection, pattern) = (&self.collection, &self.pattern);
        write!(
            f,
            "{collection} and all below it is left out: its name fits '{pattern}' of exclude_collections"
        )
    }
}

/// Whether a collection is left out because of its name, or of one above it. `root` is the number of leading elements
/// that name the watched collection: if a tag does, they are all named, if the pattern of a watch does, those that it
/// does not leave to a `*`. What is named is never left out by that name; of what lies below, every element counts.
pub fn left_out(
    rules: &Rules,
    pattern: Option<&CollectionPattern>,
    root: usize,
    collection: &LogicalPath,
) -> Option<LeftOut> {
    let fitting = |name: &[u8]| rules.exclude_collections.iter().find(|p| p.fits(name));
    let is_named = |i: usize, by: &NamePattern| {
        i < root && pattern.is_none_or(|watch| watch.text_of(i).is_some_and(|text| by.fits(text)))
    };
    // The zone's own name is nobody's to choose.
    let mut elements = collection.elements().enumerate().skip(1);
    let (i, by) =
        elements.find_map(|(i, name)| fitting(name).filter(|by| !is_named(i, by)).map(|by| (i, by)))?;
    let up_to = collection.elements().take(i + 1).flat_map(|e| [b"/", e].concat()).collect::<Vec<u8>>();
    let pattern = by.as_str().to_owned();
    LogicalPath::parse(&up_to).ok().map(|collection| LeftOut { collection, pattern })
}

/// What the configuration alone says of a collection.
pub fn as_configured(configured: Option<(&Watch, usize)>, collection: &LogicalPath) -> Verdict {
    let Some((watch, root)) = configured else {
        return Verdict::from(Watching::No);
    };
    let left_out = left_out(&watch.rules, Some(&watch.pattern), root, collection);
    Verdict::of(Watching::Yes { rules: Arc::clone(&watch.rules), root }, left_out)
}

/// Whether a collection is watched, and whether that is because it is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether and how it is watched.
    pub watching: Watching,
    /// Why it is not, where it would be but for a name.
    pub left_out: Option<LeftOut>,
}

impl From<Watching> for Verdict {
    fn from(watching: Watching) -> Self {
        Self { watching, left_out: None }
    }
}

impl Verdict {
    fn of(watching: Watching, left_out: Option<LeftOut>) -> Self {
        let watching = if left_out.is_some() { Watching::No } else { watching };
        Self { watching, left_out }
    }
}

/// The nearest wins: of the tagged collections the deepest, if it is not above the one a pattern names. Collections with
/// a name of `exclude_collections` are left out then.
pub fn judge(
    defaults: &Arc<Rules>,
    configured: Option<(&Watch, usize)>,
    tags: &[RawTag],
    collection: &LogicalPath,
) -> Verdict {
    let depth = |tag: &RawTag| tag.collection.elements().count();
    let Some(nearest) = tags.iter().map(depth).max() else {
        return as_configured(configured, collection);
    };
    if configured.is_some_and(|(_, root)| root > nearest) {
        return as_configured(configured, collection);
    }
    let base = configured.map_or(defaults, |(watch, _)| &watch.rules);
    let here: Vec<&RawTag> = tags.iter().filter(|t| depth(t) == nearest).collect();
    let Some(bearer) = here.first().map(|t| &t.collection) else {
        return as_configured(configured, collection); // cannot be: one of them is the nearest
    };
    match agreed(bearer, here.iter().map(|t| (t.value.as_str(), t.units.as_str()))) {
        Ok(Tag::Off) => Verdict::from(Watching::No),
        Ok(Tag::On(wishes)) => {
            let rules = wishes.over(base);
            let left_out = left_out(&rules, None, nearest, collection);
            Verdict::of(Watching::Yes { rules: Arc::new(rules), root: nearest }, left_out)
        }
        Err(why) => Verdict::from(Watching::Unclear(why)),
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

    const COLLECTION: &str = "/z/home/alice/project/run";

    fn judged(watch: Option<&str>, tags: &[RawTag]) -> Watching {
        judged_at(COLLECTION, watch, tags).watching
    }

    fn judged_at(collection: &str, watch: Option<&str>, tags: &[RawTag]) -> Verdict {
        let watch = watch.map(|pattern| Watch {
            pattern: CollectionPattern::parse(pattern).unwrap(),
            rules: Arc::new(Rules { quiet_period: Duration::from_secs(7), ..Rules::default() }),
        });
        let configured = watch.as_ref().and_then(|w| Some((w, w.pattern.matches(collection.as_bytes())?)));
        judge(&Arc::default(), configured, tags, &path(collection))
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
    fn scratch_collections_are_left_out_at_any_depth_unless_they_are_named() {
        let out = |collection: &str, watch: Option<&str>, tags: &[RawTag]| {
            let verdict = judged_at(collection, watch, tags);
            assert_eq!(verdict.left_out.is_some(), verdict.watching == Watching::No, "{collection}");
            verdict.left_out.map(|l| l.collection.to_string())
        };
        for scratch in [".gocmd_staging", ".Trash-1000", ".ipynb_checkpoints", "__MACOSX", "__macosx"] {
            for (below, watch) in [("", "/z/home"), ("/files", "/z/home"), ("/files/x", "/z/home/*")] {
                let uppermost = format!("/z/home/alice/{scratch}");
                assert_eq!(out(&format!("{uppermost}{below}"), Some(watch), &[]), Some(uppermost), "{watch}");
            }
        }
        assert_eq!(out("/z/home/.alice/run", Some("/z/home/*/run"), &[]).as_deref(), Some("/z/home/.alice"));
        for named in ["/z/home/alice/.raw", "/z/home/*/.raw", "/z/home/*/.r*"] {
            assert_eq!(out("/z/home/alice/.raw/run", Some(named), &[]), None, "{named}");
        }
        assert_eq!(out(COLLECTION, Some("/z/home"), &[]), None);
        let on = |collection: &str| [tag(collection, "on", "")];
        assert_eq!(out("/z/home/alice/.raw/run", None, &on("/z/home/alice/.raw")), None, "a tag names it");
        let below = out("/z/home/alice/.raw/.x/y", Some("/z/home"), &on("/z/home/alice/.raw"));
        assert_eq!(below.as_deref(), Some("/z/home/alice/.raw/.x"));
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
