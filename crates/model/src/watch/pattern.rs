//! Patterns of the configuration, compared element by element.

use crate::names::LogicalPath;

/// A pattern of a collection: the collection itself and all below it match. `*` stands for any run of bytes
/// within one element (`/tempZone/home/*/microscopy`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectionPattern {
    /// The leading elements without a `*`, as one path: most paths differ here already.
    prefix: Vec<u8>,
    /// How many elements the prefix has.
    prefix_depth: usize,
    /// The elements after the prefix.
    rest: Vec<Element>,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Element {
    Exact(Vec<u8>),
    Any,
    Glob(Vec<u8>),
}

impl Element {
    fn fits(&self, element: &[u8]) -> bool {
        match self {
            Self::Any => !element.is_empty(),
            Self::Exact(bytes) => bytes == element,
            Self::Glob(glob) => glob_matches(glob, element),
        }
    }
}

impl CollectionPattern {
    /// Takes a pattern as the configuration writes it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let path = LogicalPath::parse(text.as_bytes()).map_err(|e| e.to_string())?;
        let mut elements = Vec::new();
        for element in path.elements() {
            elements.push(match element {
                b"*" => Element::Any,
                e if e.windows(2).any(|w| w == b"**") => {
                    return Err(format!(
                        "'{text}': '**' has no meaning; a pattern already covers all below it"
                    ));
                }
                e if e.contains(&b'*') => Element::Glob(e.to_vec()),
                e => Element::Exact(e.to_vec()),
            });
        }
        if elements.first().is_some_and(|zone| !matches!(zone, Element::Exact(_))) {
            return Err(format!("'{text}': name the zone; '*' would watch other zones too"));
        }
        let prefix_depth = elements.iter().take_while(|e| matches!(e, Element::Exact(_))).count();
        let rest = elements.split_off(prefix_depth);
        let prefix = path.elements().take(prefix_depth).flat_map(|e| [b"/", e].concat()).collect();
        Ok(Self { prefix, prefix_depth, rest, text: text.to_owned() })
    }

    /// How many elements of `path` name the watched collection itself, if the path is it or lies below it.
    #[inline]
    pub fn matches(&self, path: &[u8]) -> Option<usize> {
        let below = path.strip_prefix(self.prefix.as_slice())?;
        if self.rest.is_empty() {
            return (below.is_empty() || below[0] == b'/').then_some(self.prefix_depth);
        }
        let mut elements = below.strip_prefix(b"/")?.split(|b| *b == b'/');
        for pattern in &self.rest {
            let element = elements.next()?;
            if !pattern.fits(element) {
                return None;
            }
        }
        Some(self.prefix_depth + self.rest.len())
    }

    /// Whether the pattern names an element of a path that fits it (counted from 0 at the zone) as it stands, and not only
    /// by a `*`: then `text` gives what is written there.
    pub fn text_of(&self, element: usize) -> Option<&[u8]> {
        match element.checked_sub(self.prefix_depth) {
            None => self.prefix.split(|b| *b == b'/').nth(element + 1),
            Some(i) => match self.rest.get(i)? {
                Element::Any => None,
                Element::Exact(text) | Element::Glob(text) => Some(text),
            },
        }
    }

    /// Whether the pattern may name a collection that lies below `path`.
    pub fn may_lie_below(&self, path: &[u8]) -> bool {
        let mut below = path.split(|b| *b == b'/').skip(1);
        let fixed = self.prefix.split(|b| *b == b'/').skip(1);
        let mut patterns = fixed.map(|e| Element::Exact(e.to_vec())).chain(self.rest.iter().cloned());
        loop {
            match (below.next(), patterns.next()) {
                (None, rest) => return rest.is_some(),
                (Some(_), None) => return false,
                (Some(element), Some(pattern)) if !pattern.fits(element) => return false,
                (Some(_), Some(_)) => {}
            }
        }
    }

    /// The collection, as the bytes of a path, that all collections the pattern names are, or lie below.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Whether `text` matches `glob`, in which `*` stands for any run of bytes. Takes at most as many steps as the product of
/// both lengths: only the last `*` is ever tried again.
pub fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    matches_by(glob, text, |byte| byte)
}

/// The same for a glob in small letters, which the letters of the text match in either case.
pub fn glob_matches_in_any_case(glob: &[u8], text: &[u8]) -> bool {
    matches_by(glob, text, |byte| byte.to_ascii_lowercase())
}

fn matches_by(glob: &[u8], text: &[u8], fold: impl Fn(u8) -> u8) -> bool {
    let (mut g, mut t) = (0, 0);
    let mut retry = None;
    while t < text.len() {
        if glob.get(g) == Some(&b'*') {
            retry = Some((g, t));
            g += 1;
        } else if glob.get(g).copied() == text.get(t).map(|byte| fold(*byte)) {
            g += 1;
            t += 1;
        } else if let Some((star, from)) = retry {
            retry = Some((star, from + 1));
            g = star + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(pattern: &str, path: &str) -> Option<usize> {
        CollectionPattern::parse(pattern).unwrap().matches(path.as_bytes())
    }

    #[test]
    fn a_pattern_covers_the_collection_and_all_below_it() {
        assert_eq!(depth("/z/home/alice", "/z/home/alice"), Some(3));
        assert_eq!(depth("/z/home/alice", "/z/home/alice/run1/a.tif"), Some(3));
        assert_eq!(depth("/z/home/alice", "/z/home/alice2/a.tif"), None);
        assert_eq!(depth("/z/home/alice", "/z/home"), None);
    }

    #[test]
    fn a_star_stays_within_one_element() {
        assert_eq!(depth("/z/home/*/micro", "/z/home/bob/micro/x"), Some(4));
        assert_eq!(depth("/z/home/*/micro", "/z/home/bob/sub/micro/x"), None);
        assert_eq!(depth("/z/home/lab-*", "/z/home/lab-1/x"), Some(3));
        assert_eq!(depth("/z/home/lab-*", "/z/home/lab/x"), None);
    }

    #[test]
    fn what_may_lie_below_a_collection_is_told_from_its_elements() {
        let below = |pattern: &str, path: &str| {
            CollectionPattern::parse(pattern).unwrap().may_lie_below(path.as_bytes())
        };
        assert!(below("/z/home/*/micro", "/z") && below("/z/home/*/micro", "/z/home/bob"));
        assert!(!below("/z/home/*/micro", "/z/home/bob/micro"), "that is the collection itself");
        assert!(!below("/z/home/*/micro", "/z/home/bob/other") && !below("/z/home/lab-*", "/z/home/x"));
    }

    #[test]
    fn patterns_that_would_watch_everything_are_refused() {
        for bad in ["", "home", "/*/home", "/z/**", "/z/../x"] {
            assert!(CollectionPattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn globs_with_several_stars_backtrack() {
        assert!(glob_matches(b"*a*b", b"xxaxxab"));
        assert!(glob_matches(b"*", b""));
        assert!(!glob_matches(b"a*c", b"abd"));
        assert!(glob_matches_in_any_case(b"a*.tif", b"A1.TIF") && !glob_matches(b"a*.tif", b"A1.tif"));
    }

    /// With each `*` tried again for each before it, this would not end.
    #[test]
    fn no_name_makes_a_pattern_of_many_stars_cost_much() {
        let glob = [b"*a".repeat(30).as_slice(), b"*b"].concat();
        assert!(!glob_matches(&glob, &b"a".repeat(1_087)));
        let pattern = CollectionPattern::parse(&format!("/z/{}", String::from_utf8(glob).unwrap())).unwrap();
        assert_eq!(pattern.matches(format!("/z/{}", "a".repeat(1_000)).as_bytes()), None);
    }

    #[test]
    fn what_the_pattern_names_itself_is_told_from_what_a_star_stands_for() {
        let pattern = CollectionPattern::parse("/z/home/*/.raw/run*").unwrap();
        let text = |i| pattern.text_of(i).map(|t| std::str::from_utf8(t).unwrap());
        let all: Vec<_> = (0..6).map(text).collect();
        assert_eq!(all, [Some("z"), Some("home"), None, Some(".raw"), Some("run*"), None]);
    }
}
