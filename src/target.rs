//! From a collection to the OMERO container its images go to.

use crate::names::LogicalPath;

/// A target as the configuration writes it, with places to fill in: `Dataset:name:{collection[-1]}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// An element of the collection's path, counted from its end (`-1` is the last).
    Collection(usize),
}

/// A target the importer takes (`-T`), with every place filled in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target(String);

/// The starts of the forms that are offered: by id, by name, and a dataset in a project. Regex targets are not,
/// because one that does not match leaves the images nowhere without an error.
const FORMS: &[&str] = &["Dataset:id:", "Screen:id:", "Dataset:name:", "Screen:name:", "Project:name:"];

impl Default for Template {
    fn default() -> Self {
        Self {
            parts: vec![Part::Text("Dataset:name:".to_owned()), Part::Collection(1)],
            text: "Dataset:name:{collection[-1]}".to_owned(),
        }
    }
}

impl Template {
    /// Takes a template.
    ///
    /// # Errors
    /// A sentence that names the part which is not understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(form) = FORMS.iter().find(|f| text.starts_with(**f)) else {
            return Err(format!("'{text}' must start with one of {}", FORMS.join(", ")));
        };
        if *form == "Project:name:" && !text.contains("/Dataset:name:") {
            return Err(format!("'{text}': write 'Project:name:P/Dataset:name:D'"));
        }
        if form.ends_with("id:") && !text[form.len()..].bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!("'{text}': an id is a number"));
        }
        if text.len() == form.len() {
            return Err(format!("'{text}' names nothing"));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((field, after)) = after.split_once('}') else {
                return Err(format!("'{text}': a '{{' is not closed"));
            };
            parts.push(Part::Text(before.to_owned()));
            parts.push(field_part(field).ok_or_else(|| {
                format!(
                    "'{text}': '{{{field}}}' is not known; use {{collection[-1]}}, {{collection[-2]}}, ..."
                )
            })?);
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self { parts, text: text.to_owned() })
    }

    /// Fills in the template for the data of one collection.
    ///
    /// # Errors
    /// A sentence for the record where an element is missing or nothing is left of a name.
    pub fn fill(&self, collection: &LogicalPath) -> Result<Target, String> {
        let elements: Vec<&[u8]> = collection.elements().collect();
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(t) => text.push_str(t),
                Part::Collection(from_end) => {
                    let name =
                        elements.len().checked_sub(*from_end).and_then(|i| elements.get(i)).ok_or_else(
                            || {
                                format!(
                                    "the target '{}' asks for an element that {collection} does not have",
                                    self.text
                                )
                            },
                        )?;
                    let clean = clean(&String::from_utf8_lossy(name));
                    if clean.is_empty() {
                        return Err(format!(
                            "the target '{}' would have an empty name for {collection}",
                            self.text
                        ));
                    }
                    text.push_str(&clean);
                }
            }
        }
        Ok(Target(text))
    }

    /// The template as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Target {
    /// The text after `-T`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn field_part(field: &str) -> Option<Part> {
    let index = field.strip_prefix("collection[-")?.strip_suffix(']')?;
    index.parse().ok().filter(|n| (1..=64).contains(n)).map(Part::Collection)
}

/// A name without what the importer could read as syntax: `/` cannot occur in an element, `:` would be counted
/// from the left only, but is replaced with its look-alike all the same; control characters become a blank.
fn clean(name: &str) -> String {
    let text: String = name
        .chars()
        .map(|c| match c {
            ':' => ';',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect();
    text.trim().chars().take(255).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str, collection: &str) -> Result<String, String> {
        let collection = LogicalPath::parse(collection.as_bytes()).unwrap();
        Template::parse(template).unwrap().fill(&collection).map(|t| t.as_str().to_owned())
    }

    #[test]
    fn elements_are_counted_from_the_end() {
        let target =
            filled("Project:name:{collection[-2]}/Dataset:name:{collection[-1]}", "/z/home/lab/run 1");
        assert_eq!(target.unwrap(), "Project:name:lab/Dataset:name:run 1");
        assert_eq!(filled("Dataset:id:5", "/z/x").unwrap(), "Dataset:id:5");
    }

    #[test]
    fn the_default_is_a_dataset_named_after_the_collection() {
        let collection = LogicalPath::parse(b"/z/home/alice/run1").unwrap();
        assert_eq!(Template::default().fill(&collection).unwrap().as_str(), "Dataset:name:run1");
        assert_eq!(
            Template::parse(Template::default().as_str()).unwrap().fill(&collection).unwrap().as_str(),
            "Dataset:name:run1"
        );
    }

    #[test]
    fn syntax_in_names_is_cleaned_and_missing_elements_are_an_error() {
        assert_eq!(filled("Dataset:name:{collection[-1]}", "/z/a:b\nc").unwrap(), "Dataset:name:a;b c");
        assert!(filled("Dataset:name:{collection[-5]}", "/z/a").unwrap_err().contains("does not have"));
        assert!(filled("Dataset:name:{collection[-1]}", "/z/ \n").unwrap_err().contains("empty name"));
    }

    #[test]
    fn forms_that_fail_silently_are_not_offered() {
        for bad in [
            "regex:(?<Container1>.*)",
            ":.*",
            "Dataset:name:",
            "Dataset:id:x",
            "Project:name:P",
            "Dataset:name:{user",
            "Dataset:name:{nothing}",
            "Image:5",
        ] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }
}
