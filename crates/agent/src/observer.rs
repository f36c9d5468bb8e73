//! What is seen of a running import: how far it is, what it says, and whether it is to end.

use irods_omero_importer::Observer;
use regex::bytes::Regex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

/// What the importer logs when a file is in the repository (omero-blitz, `LoggingImportMonitor`).
const LINKED: &[u8] = b"FILE_UPLOAD_COMPLETE";

/// A line is cut for counting after so many bytes.
const MAX_LINE: usize = 8_192;

/// Session keys, which whoever has one may use.
static KEYS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i-u)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b").ok()
});

/// One running import, seen from outside.
#[derive(Debug)]
pub struct Watching {
    stop: AtomicBool,
    linked: AtomicU64,
    of: u64,
    said: Mutex<Said>,
}

#[derive(Debug)]
struct Said {
    /// The line that is not complete yet.
    line: Vec<u8>,
    head: Vec<u8>,
    tail: Vec<u8>,
    limit: usize,
    cut: bool,
}

impl Watching {
    /// For an import of so many files, of whose log so many bytes are kept.
    pub fn new(of: u64, limit: usize) -> Self {
        let said = Said { line: Vec::new(), head: Vec::new(), tail: Vec::new(), limit, cut: false };
        Self { stop: AtomicBool::new(false), linked: AtomicU64::new(0), of, said: Mutex::new(said) }
    }

    /// Has the import ended.
    pub fn end(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Files in the repository, of so many.
    pub fn progress(&self) -> (u64, u64) {
        // A directory that is one image is more than one file.
        (self.linked.load(Ordering::Relaxed).min(self.of), self.of)
    }

    /// The beginning and the end of what was said, without a secret.
    pub fn log(&self, secret: Option<&str>) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = said.head.clone();
        if said.cut {
            bytes.extend_from_slice(b"\n[...]\n");
        }
        bytes.extend_from_slice(&said.tail);
        let masked = match &*KEYS {
            Some(keys) => keys.replace_all(&bytes, &b"***"[..]),
            None => bytes.as_slice().into(),
        };
        let text = String::from_utf8_lossy(&masked);
        match secret {
            Some(secret) if !secret.is_empty() => text.replace(secret, "***"),
            _ => text.into_owned(),
        }
    }
}

impl Observer for Watching {
    fn stderr(&self, bytes: &[u8]) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.keep(bytes);
        let linked = said.count(bytes);
        self.linked.fetch_add(linked, Ordering::Relaxed);
    }

    fn stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Said {
    fn keep(&mut self, bytes: &[u8]) {
        let half = self.limit / 2;
        let room = half.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        self.tail.extend_from_slice(&bytes[room..]);
        if self.tail.len() > self.limit {
            self.tail.drain(..self.tail.len() - half);
            self.cut = true;
        }
    }

    /// How many lines of files that were linked end in these bytes.
    fn count(&mut self, bytes: &[u8]) -> u64 {
        let mut linked = 0;
        let mut pieces = bytes.split(|b| *b == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            let room = MAX_LINE.saturating_sub(self.line.len()).min(piece.len());
            self.line.extend_from_slice(&piece[..room]);
            if pieces.peek().is_some() {
                linked += u64::from(self.line.windows(LINKED.len()).any(|w| w == LINKED));
                self.line.clear();
            }
        }
        linked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linked_files_are_counted_however_the_lines_are_cut() {
        let watching = Watching::new(2, 1_000);
        for part in
            ["INFO FILE_UPLOAD_COM", "PLETE: /a\nINFO FILE_UPLOAD_STARTED: /b\n", "FILE_UPLOAD_COMPLETE: /b"]
        {
            watching.stderr(part.as_bytes());
        }
        assert_eq!(watching.progress(), (1, 2));
        watching.stderr(b"\nFILE_UPLOAD_COMPLETE: /c\n");
        assert_eq!(watching.progress(), (2, 2), "never more than there are files");
    }

    #[test]
    fn the_log_keeps_its_ends_and_no_secret() {
        let watching = Watching::new(1, 1_000);
        watching.stderr(b"first -k 0123ABCD-0123-4567-89ab-0123456789ab hunter2 \xff\n");
        for _ in 0..1_000 {
            watching.stderr(b"0123456789\n");
        }
        watching.stderr(b"last\n");
        let log = watching.log(Some("hunter2"));
        assert!(log.starts_with("first -k *** *** \u{fffd}\n") && log.ends_with("last\n"), "{log}");
        assert!(log.len() < 2_100);
    }
}
