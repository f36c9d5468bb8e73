//! Where a file that is saved from OMERO goes in iRODS: the template of the collection, and the names that are tried in it.
//!
//! Names come from OMERO and from whoever asked. What of them could lead elsewhere is taken out of them here, and nowhere
//! else: an element of a path is never empty, `.` or `..`, and holds no `/` and no control character.

use crate::names::{IrodsUser, LogicalPath, OmeroName};

/// The longest element of a path, in bytes: what file systems take.
const MAX_ELEMENT: usize = 255;

/// The longest logical path that is made, in bytes. The server's own limit is 1,087, and a vault's path comes before it.
const MAX_PATH: usize = 900;

/// How many names are tried for one file.
pub const MAX_NAMES: u32 = 100;

/// The words of a template.
const WORDS: &[&str] = &["zone", "user", "omero_user", "group", "project", "dataset", "screen", "plate"];

/// The collection that files are saved to, with places to fill in: `/{zone}/home/{user}/omero/{group}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectionTemplate {
    elements: Vec<Vec<Part>>,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Word(&'static str),
}

/// What a template is filled in with. Names are as OMERO has them.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// The zone.
    pub zone: &'a str,
    /// The iRODS user.
    pub user: &'a IrodsUser,
    /// The OMERO user.
    pub omero_user: &'a OmeroName,
    /// The group in OMERO.
    pub group: &'a str,
    /// The project; of a plate, its screen.
    pub project: Option<&'a str>,
    /// The dataset; of a plate, the plate.
    pub dataset: Option<&'a str>,
    /// The screen.
    pub screen: Option<&'a str>,
    /// The plate.
    pub plate: Option<&'a str>,
}

impl Values<'_> {
    fn of(&self, word: &str) -> Option<String> {
        Some(match word {
            "zone" => self.zone.to_owned(),
            // The home of a user of another zone has both names.
            "user" if self.user.zone() == self.zone => self.user.name().to_owned(),
            "user" => self.user.to_string(),
            "omero_user" => self.omero_user.to_string(),
            "group" => self.group.to_owned(),
            "project" => self.project.or(self.screen)?.to_owned(),
            "dataset" => self.dataset.or(self.plate)?.to_owned(),
            "screen" => self.screen?.to_owned(),
            "plate" => self.plate?.to_owned(),
            _ => return None,
        })
    }
}

impl Default for CollectionTemplate {
    fn default() -> Self {
        let word = |word| vec![Part::Word(word)];
        let text = |text: &str| vec![Part::Text(text.to_owned())];
        Self {
            elements: vec![
                word("zone"),
                text("home"),
                word("user"),
                text("omero"),
                word("group"),
                word("project"),
                word("dataset"),
            ],
            text: "/{zone}/home/{user}/omero/{group}/{project}/{dataset}".to_owned(),
        }
    }
}

impl CollectionTemplate {
    /// Takes a template.
    ///
    /// # Errors
    /// A sentence about what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix('/').ok_or_else(|| {
            format!("'{text}' must begin with '/' and the zone, as in /{{zone}}/home/{{user}}")
        })?;
        let mut elements = Vec::new();
        for element in rest.split('/') {
            if matches!(element, "" | "." | "..") || element.chars().any(char::is_control) {
                return Err(format!(
                    "'{text}' must have no element that is empty, '.' or '..', and no control character"
                ));
            }
            elements.push(parts(element, text)?);
        }
        Ok(Self { elements, text: text.to_owned() })
    }

    /// The text it was made of.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Fills it in. An element of which nothing is left, because what is saved is in no project or dataset, is left out.
    ///
    /// # Errors
    /// A sentence for the person who asked.
    pub fn fill(&self, values: &Values<'_>) -> Result<LogicalPath, String> {
        let mut path = Vec::new();
        for element in &self.elements {
            let filled: String = element
                .iter()
                .map(|part| match part {
                    Part::Text(text) => text.clone(),
                    Part::Word(word) => values.of(word).unwrap_or_default(),
                })
                .collect();
            if !filled.trim().is_empty() {
                path.extend([b"/".as_slice(), clean(&filled).as_bytes()].concat());
            }
        }
        LogicalPath::parse(&path)
            .map_err(|error| format!("the collection '{}' is no path: {error}", self.text))
    }
}

fn parts(element: &str, whole: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = element;
    while let Some((before, after)) = rest.split_once('{') {
        let (word, after) =
            after.split_once('}').ok_or_else(|| format!("'{whole}': a '{{' is not closed"))?;
        let known = WORDS.iter().find(|known| **known == word).ok_or_else(|| {
            format!("'{whole}': '{{{word}}}' is not known; there are {{{}}}", WORDS.join("}, {"))
        })?;
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        parts.push(Part::Word(known));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

/// A text as one element of a path.
fn clean(text: &str) -> String {
    let mut element: String =
        text.trim().chars().map(|c| if c == '/' || c.is_control() { '_' } else { c }).collect();
    let mut end = element.len().min(MAX_ELEMENT);
    while !element.is_char_boundary(end) {
        end -= 1;
    }
    element.truncate(end);
    match element.as_str() {
        "" | "." | ".." => "_".repeat(element.len().max(1)),
        _ => element,
    }
}

/// The path of a file below its collection: its name, or the `try_`-th other name, `a (2).tif`.
///
/// # Errors
/// A sentence for the person who asked: it is no path, or too long.
pub fn path_of(collection: &LogicalPath, name: &str, try_: u32) -> Result<LogicalPath, String> {
    let mut path = collection.clone();
    let elements: Vec<&str> = name.split('/').collect();
    for (i, element) in elements.iter().enumerate() {
        if matches!(*element, "" | "." | "..") || element.chars().any(char::is_control) {
            return Err(format!("'{}' is no name in iRODS", name.escape_debug()));
        }
        let is_last = i + 1 == elements.len();
        let numbered = if is_last && try_ > 1 { numbered(element, try_) } else { (*element).to_owned() };
        path = path
            .join(numbered.as_bytes())
            .map_err(|error| format!("'{name}' is no name in iRODS: {error}"))?;
    }
    if path.as_bytes().len() > MAX_PATH {
        return Err(format!(
            "the path {} is longer than {MAX_PATH} bytes: save it to a collection with a shorter path",
            path.display()
        ));
    }
    Ok(path)
}

/// A name with a number before its endings: `a (2).ome.tif`.
fn numbered(name: &str, number: u32) -> String {
    // A dot at the beginning begins no ending.
    let begins = name.char_indices().skip(1).find(|(_, c)| *c == '.').map_or(name.len(), |(i, _)| i);
    let (stem, ending) = name.split_at(begins);
    let number = format!(" ({number})");
    let mut end = stem.len().min(MAX_ELEMENT.saturating_sub(number.len() + ending.len()));
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{number}{ending}", stem.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values<'a>(user: &'a IrodsUser, omero_user: &'a OmeroName) -> Values<'a> {
        Values {
            zone: "z",
            user,
            omero_user,
            group: "lab 1",
            project: Some("p"),
            dataset: Some("d"),
            screen: None,
            plate: None,
        }
    }

    fn filled(template: &str, change: impl FnOnce(&mut Values<'_>)) -> String {
        let (user, omero) = (IrodsUser::parse("alice#z").unwrap(), OmeroName::parse("a.smith").unwrap());
        let mut values = values(&user, &omero);
        change(&mut values);
        CollectionTemplate::parse(template).unwrap().fill(&values).unwrap().display().into_owned()
    }

    #[test]
    fn the_default_is_a_collection_for_each_dataset_below_the_home() {
        let default = CollectionTemplate::default();
        assert_eq!(CollectionTemplate::parse(default.as_str()), Ok(default.clone()));
        assert_eq!(filled(default.as_str(), |_| {}), "/z/home/alice/omero/lab 1/p/d");
        let plate = filled(default.as_str(), |v| {
            (v.project, v.dataset, v.screen, v.plate) = (None, None, Some("s"), Some("pl"));
        });
        assert_eq!(plate, "/z/home/alice/omero/lab 1/s/pl");
        let alone = filled(default.as_str(), |v| (v.project, v.dataset) = (None, None));
        assert_eq!(alone, "/z/home/alice/omero/lab 1");
    }

    #[test]
    fn names_of_omero_lead_nowhere_else() {
        let dataset = |name: &'static str| filled("/z/x/{dataset}/y", |v| v.dataset = Some(name));
        assert_eq!(dataset("../../home/bob"), "/z/x/.._.._home_bob/y");
        assert_eq!(dataset(".."), "/z/x/__/y");
        assert_eq!(dataset(" \n"), "/z/x/y");
        assert_eq!(dataset("it's $objPath \"q\" \n%"), "/z/x/it's $objPath \"q\" _%/y");
    }

    #[test]
    fn a_template_with_a_mistake_is_refused() {
        for (template, part) in [
            ("home/x", "begin with"),
            ("/z//x", "no element"),
            ("/z/../x", "no element"),
            ("/z/{who}", "'{who}' is not known"),
            ("/z/{user", "not closed"),
            ("/z/a\u{0}b", "control"),
        ] {
            assert!(CollectionTemplate::parse(template).unwrap_err().contains(part), "{template}");
        }
    }

    #[test]
    fn another_name_has_a_number_before_its_endings() {
        let collection = LogicalPath::parse(b"/z/c").unwrap();
        let path = |name: &str, n| path_of(&collection, name, n).unwrap().display().into_owned();
        assert_eq!(path("a.ome.tif", 1), "/z/c/a.ome.tif");
        assert_eq!(path("a.ome.tif", 2), "/z/c/a (2).ome.tif");
        assert_eq!(path("d/a", 3), "/z/c/d/a (3)");
        assert_eq!(path(".zattrs", 2), "/z/c/.zattrs (2)");
        assert!(path_of(&collection, "a/../b", 1).is_err());
        assert!(path_of(&collection, "a\nb", 1).is_err());
        assert!(path_of(&collection, &format!("{}/x", vec!["d".repeat(200); 5].join("/")), 1).is_err());
    }

    proptest! {
        #[test]
        fn whatever_a_name_is_its_path_lies_below_the_collection(name in ".{0,40}", n in 1..4_u32) {
            let collection = LogicalPath::parse(b"/z/home/alice").unwrap();
            if let Ok(path) = path_of(&collection, &name, n) {
                let rest = path.as_bytes().strip_prefix(b"/z/home/alice/").unwrap();
                prop_assert!(rest.split(|b| *b == b'/').all(|e| !e.is_empty() && e != b"." && e != b".."));
            }
        }

        #[test]
        fn whatever_omero_calls_things_each_is_one_element(group in ".{0,40}", dataset in ".{0,40}") {
            let (user, omero) = (IrodsUser::parse("alice#z").unwrap(), OmeroName::parse("a").unwrap());
            let values = Values { group: &group, dataset: Some(&dataset), ..values(&user, &omero) };
            let path = CollectionTemplate::default().fill(&values).unwrap();
            prop_assert!(path.as_bytes().starts_with(b"/z/home/alice/omero"));
            prop_assert!(path.elements().count() <= 7);
        }
    }
}
