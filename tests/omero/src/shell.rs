//! Splitting a line into words the way Python's `shlex.split` does.

/// Words of a line; quotes and backslashes as in a POSIX shell, nothing else is
/// special, `#` least of all.
pub fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    let unclosed = |what: &str| format!("Traceback (most recent call last):\nValueError: No {what}");
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\\' => {
                let next = chars.next().ok_or_else(|| unclosed("escaped character"))?;
                word.get_or_insert_default().push(next);
            }
            '\'' => {
                let w = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        None => return Err(unclosed("closing quotation")),
                        Some('\'') => break,
                        Some(c) => w.push(c),
                    }
                }
            }
            '"' => {
                let w = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        None => return Err(unclosed("closing quotation")),
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            None => return Err(unclosed("escaped character")),
                            // Before anything else the backslash stays.
                            Some(c @ ('"' | '\\')) => w.push(c),
                            Some(c) => w.extend(['\\', c]),
                        },
                        Some(c) => w.push(c),
                    }
                }
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}
