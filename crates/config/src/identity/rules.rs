//! Ordered rules: a regular expression over `name#zone`, and what the OMERO names are made of.

use irods_omero_model::names::{IrodsUser, OmeroName};
use regex::{Captures, Regex, RegexBuilder};

/// Largest compiled expression, in bytes: enough for any list of names, and soon compiled.
const MAX_COMPILED: usize = 256 << 10;

/// One rule. The expression always has to match the whole of `name#zone`.
#[derive(Debug, Clone)]
pub struct Rule {
    expression: Regex,
    user: Recipe,
    group: Option<Recipe>,
}

/// What a rule says of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It does not match.
    Nothing,
    /// It matches, but what it gives is no name OMERO can have: a sentence.
    Unusable(String),
    /// The OMERO user, and the group if the rule names one.
    Names(OmeroName, Option<OmeroName>),
}

/// A text with captures to fill in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Recipe(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Capture(usize),
}

impl Rule {
    /// Takes a rule's expression.
    ///
    /// # Errors
    /// A sentence about what the expression lacks.
    pub fn expression(text: &str) -> Result<Regex, String> {
        let build = |text: &str| RegexBuilder::new(text).size_limit(MAX_COMPILED).build();
        // By itself first: `a)|(?:b` is only an expression within our brackets, and not anchored by them.
        build(text).and_then(|_| build(&format!(r"\A(?:{text})\z"))).map_err(|e| {
            let why = e.to_string();
            let last = why.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
            format!("'{text}' is not a regular expression: {last}")
        })
    }

    /// Puts a rule together.
    ///
    /// # Errors
    /// Which recipe (`user` or `group`) is wrong, and how.
    pub fn new(expression: Regex, user: &str, group: Option<&str>) -> Result<Self, (&'static str, String)> {
        let user = Recipe::parse(user, &expression).map_err(|e| ("user", e))?;
        let group = group.map(|g| Recipe::parse(g, &expression)).transpose().map_err(|e| ("group", e))?;
        Ok(Self { expression, user, group })
    }

    /// What the rule says of a user.
    pub fn ask(&self, user: &IrodsUser) -> Said {
        let text = user.to_string();
        let Some(captures) = self.expression.captures(&text) else {
            return Said::Nothing;
        };
        let name = |recipe: &Recipe| {
            let filled = recipe.fill(&captures);
            OmeroName::parse(&filled).map_err(|e| e.to_string())
        };
        match (name(&self.user), self.group.as_ref().map(name).transpose()) {
            (Ok(user), Ok(group)) => Said::Names(user, group),
            (Err(why), _) | (_, Err(why)) => Said::Unusable(why),
        }
    }
}

impl Recipe {
    /// `$1`, `${1}`, `${name}`, and `$$` for a dollar sign. What does not exist is an error, where the regex crate
    /// would fill in nothing (`$1_x` means the capture named `1_x` there).
    fn parse(text: &str, expression: &Regex) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            pieces.push(Piece::Text(before.to_owned()));
            rest = if let Some(after) = after.strip_prefix('$') {
                pieces.push(Piece::Text("$".to_owned()));
                after
            } else if let Some(after) = after.strip_prefix('{') {
                let (name, after) =
                    after.split_once('}').ok_or_else(|| format!("'{text}': a '{{' is not closed"))?;
                pieces.push(capture(name, expression, text)?);
                after
            } else {
                let digits = after.bytes().take_while(u8::is_ascii_digit).count();
                if digits == 0 {
                    return Err(format!("'{text}': write '$1' for a capture and '$$' for a dollar sign"));
                }
                pieces.push(capture(&after[..digits], expression, text)?);
                &after[digits..]
            };
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self(pieces))
    }

    fn fill(&self, captures: &Captures<'_>) -> String {
        self.0
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.as_str(),
                Piece::Capture(i) => captures.get(*i).map_or("", |m| m.as_str()),
            })
            .collect()
    }
}

fn capture(name: &str, expression: &Regex, text: &str) -> Result<Piece, String> {
    let index = match name.parse::<usize>() {
        Ok(index) => Some(index).filter(|i| *i < expression.captures_len()),
        Err(_) => expression.capture_names().position(|n| n == Some(name)),
    };
    index.map(Piece::Capture).ok_or_else(|| format!("'{text}': the expression has no capture '{name}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(expression: &str, user: &str, group: Option<&str>) -> Result<Rule, String> {
        Rule::new(Rule::expression(expression)?, user, group).map_err(|(_, why)| why)
    }

    fn said(expression: &str, user: &str, of: &str) -> Option<String> {
        match rule(expression, user, None).unwrap().ask(&IrodsUser::parse(of).unwrap()) {
            Said::Names(name, None) => Some(name.to_string()),
            Said::Names(..) | Said::Nothing | Said::Unusable(_) => None,
        }
    }

    #[test]
    fn captures_make_user_and_group() {
        let rule = rule("^(.+)#labZone$", "$1", Some("lab_${1}_$$")).unwrap();
        let name = |t: &str| OmeroName::parse(t).unwrap();
        let alice = IrodsUser::parse("alice#labZone").unwrap();
        assert_eq!(rule.ask(&alice), Said::Names(name("alice"), Some(name("lab_alice_$"))));
        assert_eq!(rule.ask(&IrodsUser::parse("alice#other").unwrap()), Said::Nothing);
        assert_eq!(said("(?P<who>[a-z]+)[0-9]*#z", "u_${who}x", "bob12#z").as_deref(), Some("u_bobx"));
    }

    #[test]
    fn the_whole_name_has_to_match() {
        for expression in ["alice#z", "alice#z|bob#z", "a.*#z|x"] {
            assert!(said(expression, "alice", "alice#z").is_some(), "{expression}");
            assert!(said(expression, "alice", "malice#z").is_none(), "{expression}");
            assert!(said(expression, "alice", "alice#zz").is_none(), "{expression}");
        }
        assert!(rule("alice#z)|(?:.*", "alice", None).is_err());
    }

    #[test]
    fn a_result_omero_cannot_take_is_no_match_and_says_so() {
        for (user, of) in [("-$1", "alice#z"), ("$1", " alice#z"), ("${2}", "alice#z")] {
            let said = rule("(.+)#z()", user, None).unwrap().ask(&IrodsUser::parse(of).unwrap());
            assert!(matches!(&said, Said::Unusable(why) if why.contains("OMERO")), "{user}: {said:?}");
        }
    }

    #[test]
    fn captures_that_do_not_exist_and_expressions_that_are_none_are_errors() {
        for (expression, user, part) in [
            ("(.+)#z", "$2", "no capture '2'"),
            ("(.+)#z", "${who}", "no capture 'who'"),
            ("(.+)#z", "$who", "'$1' for a capture"),
            ("(.+)#z", "${1", "not closed"),
            ("(.+#z", "$1", "not a regular expression"),
            ("(.{1000}){1000}", "$1", "not a regular expression"),
        ] {
            let error = rule(expression, user, None).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
