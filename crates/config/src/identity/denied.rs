//! Accounts nobody is mapped to, and what could be taken for one of them.
//!
//! OMERO compares login names exactly, but a server may be told to ignore case, a directory behind it compares
//! after its own preparation of names, and a person reads what the name looks like. So a name is refused if it
//! is a denied one without regard to case, width, accents and invisible characters; if it looks like one (letters
//! of other scripts that are drawn alike); or if it is one but for characters outside ASCII in some places. That
//! refuses a few harmless names that mix scripts, and no plain ASCII name but the denied ones.

use irods_omero_model::names::OmeroName;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Accounts of OMERO itself that nobody is ever mapped to.
const ALWAYS: &[&str] = &["root", "guest"];

/// Letters of other scripts that are drawn like a Latin one, in lower case.
const DRAWN_ALIKE: &[(char, &str)] = &[
    ('a', "аαɑ"),
    ('b', "вьβ"),
    ('c', "сϲ"),
    ('d', "ԁ"),
    ('e', "еεҽ"),
    ('g', "ɡց"),
    ('h', "һհ"),
    ('i', "іιıӏ"),
    ('j', "јϳ"),
    ('k', "кκ"),
    ('l', "ǀⅼ"),
    ('m', "м"),
    ('n', "пηո"),
    ('o', "оοօ๐"),
    ('p', "рρ"),
    ('q', "ԛ"),
    ('r', "гᴦ"),
    ('s', "ѕꜱ"),
    ('t', "тτ"),
    ('u', "υսʋ"),
    ('v', "νѵ"),
    ('w', "ԝω"),
    ('x', "хχ"),
    ('y', "уγү"),
    ('z', "ᴢ"),
];

/// The accounts of one site that nobody is mapped to.
#[derive(Debug, Clone, Default)]
pub struct Denied {
    names: Vec<OmeroName>,
}

impl Denied {
    /// Denies one account more.
    pub fn add(&mut self, name: OmeroName) {
        self.names.push(name);
    }

    /// The denied account that a name is, or could be taken for.
    pub fn covers(&self, name: &OmeroName) -> Option<&str> {
        let skeleton = skeleton(name.as_str());
        let denied = ALWAYS.iter().copied().chain(self.names.iter().map(OmeroName::as_str));
        denied.into_iter().find(|d| could_be(&skeleton, &self::skeleton(d)))
    }
}

/// A name without what does not change how it is read.
fn skeleton(name: &str) -> Vec<char> {
    name.nfkd()
        .flat_map(char::to_lowercase)
        .nfkd()
        .filter(|c| !is_combining_mark(*c) && !is_invisible(*c) && !c.is_whitespace())
        .map(|c| DRAWN_ALIKE.iter().find(|(_, same)| same.contains(c)).map_or(c, |(latin, _)| *latin))
        .collect()
}

/// Whether a character shows nothing.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Whether they are the same, or would be if every character outside ASCII were the right one. A name with no
/// ASCII character at all is another name.
fn could_be(name: &[char], denied: &[char]) -> bool {
    name == denied
        || name.len() == denied.len()
            && name.iter().any(char::is_ascii)
            && name.iter().zip(denied).all(|(a, b)| a == b || !a.is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(name: &str) -> bool {
        let mut denied = Denied::default();
        denied.add(OmeroName::parse("Facility").unwrap());
        denied.covers(&OmeroName::parse(name).unwrap()).is_some()
    }

    #[test]
    fn a_denied_name_is_denied_in_every_case_width_and_accent() {
        for name in
            ["root", "Root", "GUEST", "facility", "ｒｏｏｔ", "röôt", "ro\u{200b}ot", "r\u{ad}oot", "𝐫𝐨𝐨𝐭"]
        {
            assert!(covers(name), "{name}");
        }
    }

    #[test]
    fn what_looks_like_a_denied_name_is_denied() {
        for name in ["rооt", "гооt", "rοοτ", "guеst", "gυest", "fаcility", "r☻☻t"] {
            assert!(covers(name), "{name}");
        }
    }

    #[test]
    fn other_names_are_not() {
        for name in ["alice", "roots", "r00t", "guest1", "иван", "müller", "张三李四", "toor", "facilities"]
        {
            assert!(!covers(name), "{name}");
        }
    }
}
