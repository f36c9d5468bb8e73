//! From a collection to the OMERO container its images go to.
//!
//! A template is one of the forms the importer takes, with fields to fill in. Regex targets are not offered: one
//! that does not match leaves the images nowhere, without an error. A field without a value, or a name of which
//! nothing is left, is an error with a reason, for the same cause.

use crate::catalog::CatalogError;
use crate::clock::UnixTime;
use crate::form::suggestion;
use crate::identity::OmeroIdentity;
use crate::names::{IrodsUser, OmeroId};
use crate::watch::Place;
use std::fmt;

/// Longest name of a container, in characters: OMERO's column.
const MAX_NAME: usize = 255;

/// A target as the configuration writes it, with places to fill in: `Dataset:name:{collection[-1]}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    form: Form<Recipe>,
    text: String,
}

/// A target the importer takes (`-T`), with every place filled in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    form: Form<String>,
    text: String,
}

/// The forms of a target that are offered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form<N> {
    /// A dataset.
    Dataset(By<N>),
    /// A screen, for plates.
    Screen(By<N>),
    /// A dataset in a project.
    InProject {
        /// The project.
        project: By<N>,
        /// The dataset's name.
        dataset: N,
    },
}

/// How a container is named.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum By<N> {
    /// By its number.
    Id(OmeroId),
    /// By its name.
    Name(N),
}

/// The name of a container with places to fill in.
type Recipe = Vec<Part>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field {
        field: Field,
        /// What stands there if the field has no value.
        otherwise: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    /// An element of the collection's path, as [`Place::element`] counts.
    Collection(i32),
    User,
    OmeroUser,
    Date,
    Avu(String),
}

/// Looks up the values of an AVU on the collection or its nearest ancestor that has it, up to the watched one.
pub type AvuValues<'a> = dyn FnMut(&str) -> Result<Vec<String>, CatalogError> + 'a;

/// What a template is filled in with.
pub struct Filling<'a> {
    /// The data's collection.
    pub place: Place<'a>,
    /// The iRODS user whose data it is.
    pub person: &'a IrodsUser,
    /// Who imports it.
    pub identity: &'a OmeroIdentity,
    /// When the replica was modified.
    pub modify_time: UnixTime,
    /// AVUs of the collection.
    pub avu: &'a mut AvuValues<'a>,
}

/// Why a template could not be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTarget {
    /// A sentence for the record.
    #[error("{0}")]
    Reason(String),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// The starts of the forms, as they are written.
const FORMS: &[&str] =
    &["Dataset:name:", "Screen:name:", "Project:name:", "Dataset:id:", "Screen:id:", "Project:id:"];

const FIELDS: &[&str] = &["collection[-1]", "user", "omero_user", "date", "avu:NAME"];

impl Default for Template {
    fn default() -> Self {
        let part = Part::Field { field: Field::Collection(-1), otherwise: None };
        let text = "Dataset:name:{collection[-1]}".to_owned();
        Self { form: Form::Dataset(By::Name(vec![part])), text }
    }
}

impl Template {
    /// Takes a template.
    ///
    /// # Errors
    /// A sentence that names the part which is not understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let form = parse(text, &recipe)?;
        Ok(Self { form, text: text.to_owned() })
    }

    /// Whether it names a screen.
    pub fn is_screen(&self) -> bool {
        matches!(self.form, Form::Screen(_))
    }

    /// Fills in the template for one data object.
    ///
    /// # Errors
    /// A sentence for the record where a value is missing or nothing is left of a name.
    pub fn fill(&self, filling: &mut Filling<'_>) -> Result<Target, NoTarget> {
        let mut name = |recipe: &Recipe| self.name(recipe, filling);
        let form = match &self.form {
            Form::Dataset(By::Name(recipe)) => Form::Dataset(By::Name(name(recipe)?)),
            Form::Dataset(By::Id(id)) => Form::Dataset(By::Id(*id)),
            Form::Screen(By::Name(recipe)) => Form::Screen(By::Name(name(recipe)?)),
            Form::Screen(By::Id(id)) => Form::Screen(By::Id(*id)),
            Form::InProject { project: By::Name(project), dataset } => {
                Form::InProject { project: By::Name(name(project)?), dataset: name(dataset)? }
            }
            Form::InProject { project: By::Id(id), dataset } => {
                Form::InProject { project: By::Id(*id), dataset: name(dataset)? }
            }
        };
        Ok(Target::new(form))
    }

    /// The template as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn name(&self, recipe: &Recipe, filling: &mut Filling<'_>) -> Result<String, NoTarget> {
        let mut text = String::new();
        for part in recipe {
            match part {
                Part::Text(t) => text.push_str(t),
                Part::Field { field, otherwise } => {
                    let value = self.value(field, filling)?.map(|v| clean(&v));
                    match (value.as_deref(), otherwise) {
                        (Some(""), None) => return Err(self.empty(filling)),
                        (None | Some(""), Some(otherwise)) => text.push_str(otherwise),
                        (Some(value), _) => text.push_str(value),
                        (None, None) => {
                            return Err(NoTarget::Reason(format!(
                                "the target '{}' asks for {{{field}}}, which {} does not have",
                                self.text, filling.place.collection
                            )));
                        }
                    }
                }
            }
        }
        let name = shorten(&text);
        if name.is_empty() { Err(self.empty(filling)) } else { Ok(name) }
    }

    fn empty(&self, filling: &Filling<'_>) -> NoTarget {
        let collection = filling.place.collection;
        NoTarget::Reason(format!("the target '{}' would have an empty name for {collection}", self.text))
    }

    fn value(&self, field: &Field, filling: &mut Filling<'_>) -> Result<Option<String>, NoTarget> {
        Ok(match field {
            Field::Collection(index) => {
                filling.place.element(*index).map(|e| String::from_utf8_lossy(e).into_owned())
            }
            Field::User => Some(filling.person.name().to_owned()),
            Field::OmeroUser => Some(filling.identity.user.to_string()),
            Field::Date => Some(date(filling.modify_time)),
            Field::Avu(name) => {
                let mut values = (filling.avu)(name)?;
                values.sort();
                values.dedup();
                if let [one, another, ..] = values.as_slice() {
                    return Err(NoTarget::Reason(format!(
                        "the target '{}' asks for {{{field}}}, and the collection has '{one}' and '{another}': remove one",
                        self.text
                    )));
                }
                values.pop()
            }
        })
    }
}

impl Target {
    fn new(form: Form<String>) -> Self {
        let text = form.to_string();
        Self { form, text }
    }

    /// Takes a target without places to fill in, in a form the importer takes.
    ///
    /// # Errors
    /// A sentence about what is not understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let name = |name: &str| match shorten(&clean(name)) {
            name if name.is_empty() => Err("names nothing".to_owned()),
            name => Ok(name),
        };
        Ok(Self::new(parse(text, &name)?))
    }

    /// The text after `-T`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The target in parts.
    pub fn form(&self) -> &Form<String> {
        &self.form
    }

    /// This target, and that of plates if it is another, as one text: what OMERO may refuse.
    pub fn with_plates(&self, plates: Option<&Self>) -> String {
        plates.map_or_else(|| self.text.clone(), |plates| format!("{} {}", self.text, plates.text))
    }
}

impl fmt::Display for Form<String> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dataset(by) => write!(f, "Dataset:{by}"),
            Self::Screen(by) => write!(f, "Screen:{by}"),
            Self::InProject { project, dataset } => write!(f, "Project:{project}/Dataset:name:{dataset}"),
        }
    }
}

impl fmt::Display for By<String> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "id:{id}"),
            Self::Name(name) => write!(f, "name:{name}"),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Collection(index) => write!(f, "collection[{index}]"),
            Self::User => f.write_str("user"),
            Self::OmeroUser => f.write_str("omero_user"),
            Self::Date => f.write_str("date"),
            Self::Avu(name) => write!(f, "avu:{name}"),
        }
    }
}

fn parse<N>(text: &str, name: &dyn Fn(&str) -> Result<N, String>) -> Result<Form<N>, String> {
    let Some(start) = FORMS.iter().find(|f| text.starts_with(**f)) else {
        return Err(format!("'{text}' must start with one of {}", FORMS.join(", ")));
    };
    let rest = &text[start.len()..];
    let by = |rest: &str| {
        if start.ends_with("id:") {
            OmeroId::parse(rest).map(By::Id).map_err(|_| format!("'{text}': an id is a number"))
        } else {
            name(rest).map(By::Name).map_err(|e| format!("'{text}': {e}"))
        }
    };
    if start.starts_with("Project:") {
        let (project, dataset) = rest
            .split_once("/Dataset:name:")
            .ok_or_else(|| format!("'{text}': write '{start}P/Dataset:name:D'"))?;
        let dataset = name(dataset).map_err(|e| format!("'{text}': {e}"))?;
        return Ok(Form::InProject { project: by(project)?, dataset });
    }
    Ok(if start.starts_with("Screen:") { Form::Screen(by(rest)?) } else { Form::Dataset(by(rest)?) })
}

/// A name with fields in braces.
fn recipe(text: &str) -> Result<Recipe, String> {
    if text.is_empty() {
        return Err("names nothing".to_owned());
    }
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (field, after) = after.split_once('}').ok_or("a '{' is not closed")?;
        parts.push(Part::Text(constant(before)));
        let (field, otherwise) = match field.split_once('|') {
            None => (field, None),
            Some((field, otherwise)) => match shorten(&clean(otherwise)) {
                otherwise if otherwise.is_empty() => {
                    return Err(format!("'{{{field}|}}': nothing stands after '|'"));
                }
                otherwise => (field, Some(otherwise)),
            },
        };
        let field = self::field(field)?;
        parts.push(Part::Field { field, otherwise });
        rest = after;
    }
    parts.push(Part::Text(constant(rest)));
    Ok(parts)
}

fn field(text: &str) -> Result<Field, String> {
    let index = text.strip_prefix("collection[").and_then(|t| t.strip_suffix(']'));
    let avu = text.strip_prefix("avu:").filter(|name| !name.is_empty());
    match (text, index.map(str::parse::<i32>), avu) {
        ("user", _, _) => Ok(Field::User),
        ("omero_user", _, _) => Ok(Field::OmeroUser),
        ("date", _, _) => Ok(Field::Date),
        (_, Some(Ok(index)), _) if (-64..=64).contains(&index) => Ok(Field::Collection(index)),
        (_, _, Some(name)) => Ok(Field::Avu(name.to_owned())),
        _ => Err(format!(
            "'{{{text}}}' is not known{}; use {{{}}}",
            suggestion(text, FIELDS),
            FIELDS.join("}, {")
        )),
    }
}

/// Text of the template itself: only what would end a name early or break a line is replaced.
fn constant(text: &str) -> String {
    text.chars().map(safe).collect()
}

/// A value without what could be read as syntax in a target: `/` could begin a dataset's part, and `:` ends one.
fn clean(value: &str) -> String {
    value.chars().map(safe).collect::<String>().trim().to_owned()
}

fn safe(c: char) -> char {
    match c {
        ':' => ';',
        '/' => '_',
        c if c.is_control() => ' ',
        c => c,
    }
}

fn shorten(name: &str) -> String {
    name.trim().chars().take(MAX_NAME).collect::<String>().trim_end().to_owned()
}

/// The day of a time, UTC, as `YYYY-MM-DD`. The calendar repeats every 400 years, which are 146,097 days; counted
/// from the 1st of March a leap day is the last of its year.
fn date(time: UnixTime) -> String {
    let days = time / 86_400 + 719_468; // since 0000-03-01
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{LogicalPath, OmeroName};

    const ROOT: usize = 2;

    fn filled(template: &str, collection: &str) -> Result<String, String> {
        filled_with(template, collection, &[])
    }

    fn filled_with(template: &str, collection: &str, avus: &[(&str, &str)]) -> Result<String, String> {
        let collection = LogicalPath::parse(collection.as_bytes()).unwrap();
        let mut avu = |name: &str| {
            Ok(avus.iter().filter(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()).collect::<Vec<_>>())
        };
        let mut filling = Filling {
            place: Place { collection: &collection, root: ROOT },
            person: &IrodsUser::parse("alice#z").unwrap(),
            identity: &OmeroIdentity { user: OmeroName::parse("a.smith").unwrap(), group: None },
            modify_time: 1_700_000_000,
            avu: &mut avu,
        };
        let template = Template::parse(template)?;
        template.fill(&mut filling).map(|t| t.as_str().to_owned()).map_err(|e| e.to_string())
    }

    #[test]
    fn elements_are_counted_from_the_end_or_from_the_watched_collection() {
        let target =
            filled("Project:name:{collection[-2]}/Dataset:name:{collection[-1]}", "/z/home/lab/run 1");
        assert_eq!(target.unwrap(), "Project:name:lab/Dataset:name:run 1");
        assert_eq!(filled("Dataset:name:{collection[0]}", "/z/home/lab/run 1").unwrap(), "Dataset:name:lab");
        assert_eq!(filled("Dataset:id:5", "/z/x").unwrap(), "Dataset:id:5");
        assert_eq!(filled("Project:id:5/Dataset:name:x", "/z/x").unwrap(), "Project:id:5/Dataset:name:x");
    }

    #[test]
    fn the_default_is_a_dataset_named_after_the_collection() {
        let template = Template::default();
        assert_eq!(filled(template.as_str(), "/z/home/alice/run1").unwrap(), "Dataset:name:run1");
        assert_eq!(
            Template::parse(template.as_str()).unwrap().form,
            match template.form {
                Form::Dataset(By::Name(mut parts)) => {
                    parts.insert(0, Part::Text(String::new()));
                    parts.push(Part::Text(String::new()));
                    Form::Dataset(By::Name(parts))
                }
                other => other,
            }
        );
    }

    #[test]
    fn users_and_the_date_are_filled_in() {
        let target = filled("Dataset:name:{user} as {omero_user} {date}", "/z/home/x").unwrap();
        assert_eq!(target, "Dataset:name:alice as a.smith 2023-11-14");
    }

    #[test]
    fn dates_are_right_at_the_ends_of_years_and_in_leap_years() {
        for (time, day) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_735_689_599, "2024-12-31"),
            (1_735_689_600, "2025-01-01"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(date(time), day);
        }
    }

    #[test]
    fn an_avu_of_the_collection_is_filled_in_and_may_have_a_fallback() {
        let template = "Project:name:{avu:project|unsorted}/Dataset:name:{collection[1]|top}";
        let target = filled_with(template, "/z/home/a/b", &[("project", "Mitosis")]).unwrap();
        assert_eq!(target, "Project:name:Mitosis/Dataset:name:b");
        assert_eq!(filled(template, "/z/home/a").unwrap(), "Project:name:unsorted/Dataset:name:top");
        let emptied = filled_with(template, "/z/home/a", &[("project", " \n")]).unwrap();
        assert_eq!(emptied, "Project:name:unsorted/Dataset:name:top");
    }

    #[test]
    fn a_missing_value_is_an_error_that_names_it() {
        let error = filled("Dataset:name:{avu:project}", "/z/home/a").unwrap_err();
        assert!(error.contains("{avu:project}") && error.contains("/z/home/a does not have"), "{error}");
        let error = filled("Dataset:name:{collection[0]}", "/z/home").unwrap_err();
        assert!(error.contains("{collection[0]}"), "{error}");
        assert!(filled("Dataset:name:{collection[-5]}", "/z/a").unwrap_err().contains("does not have"));
    }

    #[test]
    fn two_values_of_an_avu_are_no_choice() {
        let avus = [("project", "A"), ("project", "B")];
        let error = filled_with("Dataset:name:{avu:project|x}", "/z/home/a", &avus).unwrap_err();
        assert!(error.contains("'A' and 'B'"), "{error}");
    }

    #[test]
    fn syntax_in_values_is_cleaned() {
        assert_eq!(filled("Dataset:name:{collection[-1]}", "/z/a:b\nc").unwrap(), "Dataset:name:a;b c");
        let avus = [("p", "x/Dataset:id:7")];
        let target = filled_with("Project:name:{avu:p}/Dataset:name:d", "/z/home/a", &avus).unwrap();
        assert_eq!(target, "Project:name:x_Dataset;id;7/Dataset:name:d");
        assert_eq!(Target::parse(&target).unwrap().as_str(), target);
    }

    #[test]
    fn a_name_of_which_nothing_is_left_is_an_error() {
        assert!(filled("Dataset:name:{collection[-1]}", "/z/ \n").unwrap_err().contains("empty name"));
        assert!(filled("Dataset:name: {collection[5]| x}", "/z").is_ok());
        assert!(
            filled_with("Dataset:name:{avu:p}", "/z", &[("p", "\t")]).unwrap_err().contains("empty name")
        );
    }

    #[test]
    fn a_name_is_no_longer_than_omero_can_keep() {
        let long = "ä".repeat(300);
        let target = filled_with("Dataset:name:x{avu:p}", "/z", &[("p", &long)]).unwrap();
        assert_eq!(target.trim_start_matches("Dataset:name:").chars().count(), MAX_NAME);
    }

    #[test]
    fn forms_that_fail_silently_are_not_offered() {
        for bad in [
            "regex:(?<Container1>.*)",
            ":.*",
            "Dataset:name:",
            "Dataset:id:x",
            "Dataset:id:0",
            "Dataset:@name:x",
            "Project:name:P",
            "Project:5/Dataset:name:D",
            "Project:name:P/Dataset:id:5",
            "Dataset:name:{user",
            "Dataset:name:{nothing}",
            "Dataset:name:{avu:}",
            "Dataset:name:{user|}",
            "Dataset:name:{collection[x]}",
            "Image:5",
        ] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
        let error = Template::parse("Dataset:name:{omerouser}").unwrap_err();
        assert!(error.contains("did you mean 'omero_user'"), "{error}");
    }
}
