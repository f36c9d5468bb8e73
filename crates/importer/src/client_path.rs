//! The form in which OMERO keeps the path a file was imported from (`FilesetEntry.clientPath`): the absolute
//! path without its leading slash, empty elements dropped, each element made safe for every file system.
//! Rules: OMERO.blitz `MakePathComponentSafe` and `FilePathRestrictionInstance` (all restrictions together).

/// Names no file may have on some file system, compared without case.
const RESERVED: &[&str] = &[
    "AUX", "CLOCK$", "CON", "NUL", "PRN", "COM1", "COM2", "COM3", "COM4", "COM5", "COM6", "COM7", "COM8",
    "COM9", "LPT1", "LPT2", "LPT3", "LPT4", "LPT5", "LPT6", "LPT7", "LPT8", "LPT9",
];

/// The client path of an absolute path.
pub fn of(path: &str) -> String {
    path.split('/').filter(|e| !e.is_empty()).map(safe).collect::<Vec<_>>().join("/")
}

fn safe(element: &str) -> String {
    let mut text: String = element
        .chars()
        .map(|c| match c {
            '"' => '\'',
            '*' => 'x',
            ':' => ';',
            '<' => '[',
            '>' => ']',
            '?' => '%',
            '\\' | '|' => '!',
            c if (c as u32) < 0x20 || (0x7f..0xa0).contains(&(c as u32)) => '_',
            c => c,
        })
        .collect();
    let upper = text.to_uppercase();
    let reserved_with_ending = |r: &str| upper.strip_prefix(r).is_some_and(|rest| rest.starts_with('.'));
    if text.starts_with('$') || RESERVED.iter().any(|r| reserved_with_ending(r)) {
        text.insert(0, '_');
    }
    if RESERVED.contains(&upper.as_str()) {
        text.push('_');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn the_leading_slash_goes_and_elements_are_made_safe() {
        assert_eq!(of("/data//x/a b.tif"), "data/x/a b.tif");
        assert_eq!(of("/d/a:b*c?d\"e<f>g|h\\i"), "d/a;bxc%d'e[f]g!h!i");
        assert_eq!(of("/d/tab\there"), "d/tab_here");
    }

    #[test]
    fn reserved_names_are_changed_as_omero_does() {
        assert_eq!(of("/d/$objPath"), "d/_$objPath");
        assert_eq!(of("/d/con"), "d/con_");
        assert_eq!(of("/d/con.tif"), "d/_con.tif");
        assert_eq!(of("/d/console.tif"), "d/console.tif");
    }

    #[test]
    fn other_names_stay() {
        for same in ["d/-dash", "d/.dot", "d/ünï", "d/ lead", "d/it's 100%"] {
            assert_eq!(of(&format!("/{same}")), same);
        }
    }
}
