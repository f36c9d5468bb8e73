//! `*.pattern`: a text that names files by a pattern, wherever they lie.
//!
//! What Bio-Formats makes of it (seen with 7.3.1): blanks around the text do not count. A text without a slash names
//! files beside the pattern file; with one, it is a path by itself, resolved against the working directory of the
//! process that reads it. `<1-3>`, `<01-10:3>`, `<A-C>` and `<A,B>` are blocks, the first of which varies fastest; a
//! text without blocks that is no file may be a regular expression, applied to every file below its directory. Only
//! the first file is opened. The others may hold anything, but have to be there.

use std::path::Path;

use regex::Regex;

use crate::import::candidates::{Looked, absolute_from};
use crate::import::readers::{self, directory, files_below, java_join, not_there, set};

const READER: &str = "loci.formats.in.FilePatternReader";

/// Looks at a pattern file with the text `bytes` in a process whose working directory is `here`.
pub fn look(path: &Path, bytes: &[u8], here: &Path) -> Looked {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim();
    let pattern = if text.contains('/') {
        absolute_from(here, text).to_string_lossy().into_owned()
    } else {
        java_join(directory(path), text)
    };
    let files = files(&pattern);
    // A relative name is told as it is written.
    let written = |file: &str| {
        let from_here = here.display().to_string().trim_end_matches('/').to_owned() + "/";
        file.strip_prefix(&from_here)
            .filter(|_| text.contains('/') && !text.starts_with('/'))
            .unwrap_or(file)
            .to_owned()
    };
    let Some(first) = files.first() else { return not_there(&written(&pattern)) };
    if !Path::new(first).is_file() {
        return not_there(&written(first));
    }
    if first.ends_with(".pattern") {
        return Looked::Unknown;
    }
    let opened = match readers::look(Path::new(first), here) {
        Looked::Candidate(c) => c,
        other => return other,
    };
    if let Some((number, missing)) = files.iter().enumerate().skip(1).find(|(_, f)| !Path::new(f).is_file()) {
        return Looked::Broken(format!(
            "loci.formats.FormatException: File #{number} ({}) does not exist.",
            written(missing)
        ));
    }
    let mut used = vec![path.to_string_lossy().into_owned()];
    let mut add = |file: &String| {
        if !used.contains(file) {
            used.push(file.clone());
        }
    };
    if opened.used.len() > 1 {
        // Of a format of several files, each brings the whole set it belongs to.
        for file in &files {
            if let Looked::Candidate(c) = readers::look(Path::new(file), here) {
                c.used.iter().for_each(&mut add);
            }
        }
    } else {
        files.iter().for_each(&mut add);
    }
    Looked::Candidate(set(path, used, READER, opened.series))
}

/// The files that a pattern stands for.
fn files(pattern: &str) -> Vec<String> {
    if pattern.contains('<') || Path::new(pattern).is_file() {
        return expand(pattern);
    }
    let (dir, name) = pattern.rsplit_once('/').unwrap_or(("/", pattern));
    let mut found = Vec::new();
    if let Ok(regex) = Regex::new(&format!("^(?:{name})$")) {
        files_below(Path::new(dir), &mut found);
        found.retain(|f| regex.is_match(f.rsplit('/').next().unwrap_or_default()));
    }
    if found.is_empty() { vec![pattern.to_owned()] } else { found }
}

/// Every combination of the blocks; the first block varies fastest.
fn expand(pattern: &str) -> Vec<String> {
    let Some((before, rest)) = pattern.split_once('<') else { return vec![pattern.to_owned()] };
    let Some((block, after)) = rest.split_once('>') else { return vec![pattern.to_owned()] };
    let values = values(block);
    expand(after).iter().flat_map(|tail| values.iter().map(move |v| format!("{before}{v}{tail}"))).collect()
}

/// The values of one block, `<` and `>` taken off.
fn values(block: &str) -> Vec<String> {
    if block.contains(',') {
        return block.split(',').map(str::to_owned).collect();
    }
    let Some((low, high)) = block.split_once('-') else { return vec![block.to_owned()] };
    let (high, step) = high.split_once(':').map_or((high, 1), |(h, s)| (h, s.parse().unwrap_or(1)));
    if let (Ok(from), Ok(to)) = (low.parse::<u64>(), high.parse::<u64>()) {
        // Of equal length, they are filled up with zeros.
        let width = if low.len() == high.len() { low.len() } else { 0 };
        return (from..=to).step_by(step.max(1)).map(|n| format!("{n:0width$}")).collect();
    }
    match (low.as_bytes(), high.as_bytes()) {
        ([from], [to]) => (*from..=*to).step_by(step.max(1)).map(|b| char::from(b).to_string()).collect(),
        _ => vec![block.to_owned()],
    }
}
