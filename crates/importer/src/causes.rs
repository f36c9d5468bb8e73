//! What the importer says on standard error, read line by line while it speaks.
//!
//! Of each file the causes are kept, however long the log is: the line that names the file, the exception behind it and
//! what caused that. Lines below WARN are read for two things only, which file is in hand and which is done. A file is
//! found by its whole name; nothing is matched by its beginning.
//!
//! Layout (omero-blitz 5.7 with the logback file it comes with): `DATE MILLIS [THREAD] LEVEL LOGGER - MESSAGE`, the
//! message followed by lines of an exception. Messages: `ErrorHandler` (`FILE_EXCEPTION: PATH` ...), `ImportLibrary`
//! (`Error on import`), `LoggingImportMonitor` (`IMPORT_DONE Imported file: PATH`).

use std::collections::{BTreeMap, BTreeSet};

/// The longest line that is read, in bytes; what follows on it is passed over.
const MAX_LINE: usize = 16 << 10;

/// The most that is kept of one cause, in bytes.
const MAX_TEXT: usize = 2_000;

/// The most files of which causes are kept.
const MAX_FILES: usize = 200_000;

/// The most causes that name no file.
const MAX_LOOSE: usize = 100;

/// What kind of line tells of a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// Bio-Formats, or the transfer, threw an exception over the file.
    FileException,
    /// The file is not there or cannot be read.
    Unreadable,
    /// A library that the reader needs is not there.
    MissingLibrary,
    /// The server answered with an error.
    Internal,
    /// The import of one set ended with an exception.
    OnImport,
    /// The target was not given by the server.
    Target,
    /// Any other line of level ERROR or FATAL.
    Other,
}

/// Why something was not imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The kind of line.
    pub told: Told,
    /// What the line says, the exception, and what caused that, without the places in the program.
    pub text: String,
    /// The first resource that any line of it names.
    pub needs: Option<&'static Need>,
}

/// Something that is missing and is not the data's fault.
#[derive(Debug, PartialEq, Eq)]
pub struct Need {
    /// Any of these words in a line tells of it.
    words: &'static [&'static str],
    /// A sentence with the remedy.
    pub sentence: &'static str,
}

/// What is known of resources, libraries and configuration.
static NEEDS: &[Need] = &[
    Need {
        words: &["java.lang.OutOfMemoryError"],
        sentence: "Java ran out of memory: give the importer more with -Xmx in importer/java_options",
    },
    Need {
        words: &[
            "Java could not be found",
            "Could not create the Java Virtual Machine",
            "Could not find or load main class",
            "UnsupportedClassVersionError",
            "There is insufficient memory for the Java Runtime Environment",
        ],
        sentence: "Java cannot be started for the importer: look at the importer's host, at importer/jars and at \
                   importer/java_options",
    },
    Need {
        words: &["Too many open files"],
        sentence: "too many files are open: raise the limit of open files of the importer's account (LimitNOFILE)",
    },
    Need {
        words: &["failed to map segment from shared object"],
        sentence: "a native library cannot be loaded from the importer's work directory: mount it without noexec, or \
                   set importer/work_directory to a directory where programs may run",
    },
    Need {
        words: &[
            "java.lang.UnsatisfiedLinkError",
            "MissingLibraryException",
            "java.lang.NoClassDefFoundError",
        ],
        sentence: "the importer's Java lacks a library: look whether importer/jars is complete, and whether \
                   importer/work_directory is on a file system that is mounted noexec",
    },
    Need {
        words: &["No space left on device", "Disk quota exceeded"],
        sentence: "the disk of the OMERO server or of the importer is full",
    },
    Need {
        words: &["You likely do not have access to the ManagedRepository"],
        sentence: "the importer's account on this host may not write into OMERO's ManagedRepository, so nothing can \
                   be imported in place: ask the administrator to check its group and the server's umask",
    },
    Need {
        words: &["the server process has no read access", "The server could not check the size"],
        sentence: "the OMERO server has no read access to the file: mount it on the server's host under the same \
                   path, and let the server's account read it",
    },
    Need {
        words: &["A checksum mismatch has occurred", "ChecksumValidationException"],
        sentence: "the file changed while it was imported",
    },
    Need {
        words: &[
            "Input/output error",
            "Stale file handle",
            "Remote I/O error",
            "Transport endpoint is not connected",
            "Host is down",
        ],
        sentence: "the storage of the file gave an error: look at the file system on the importer's host",
    },
    Need {
        words: &[
            "ould not obtain",
            "annot get a connection",
            "JDBCConnectionException",
            "CannotGetJdbcConnectionException",
        ],
        sentence: "OMERO could not obtain a connection to its database: ask its administrator to look at the \
                   server's log and at the size of the connection pool",
    },
    Need {
        words: &[
            "Ice.ConnectionLostException",
            "Ice.ConnectionRefusedException",
            "Ice.ConnectFailedException",
            "Ice.ConnectTimeoutException",
            "Ice.ConnectionTimeoutException",
            "Ice.CloseConnectionException",
            "Ice.ForcedCloseConnectionException",
            "Ice.ConnectionManuallyClosedException",
            "Ice.CommunicatorDestroyedException",
            "Ice.ObjectNotExistException",
            "Ice.SocketException",
            "Ice.TimeoutException",
            "Ice.DNSException",
            "Glacier2.SessionNotExistException",
            "SessionTimeoutException",
            "RemovedSessionException",
            "omero.SessionException",
            "java.net.SocketException",
            "java.net.ConnectException",
            "java.net.UnknownHostException",
            "java.net.NoRouteToHostException",
        ],
        sentence: "the connection to OMERO was lost during the import",
    },
    Need {
        words: &["Could not load target"],
        sentence: "OMERO did not give the target during the import: the connection was lost, or somebody deleted the \
                   target meanwhile",
    },
    Need {
        words: &["Cannot link to target"],
        sentence: "the target in OMERO may not be linked to by this OMERO user any more",
    },
    Need {
        words: &[
            "ServerOverloadException",
            "DatabaseBusyException",
            "omero.TryAgain",
            "OptimisticLockException",
            "LockTimeout",
        ],
        sentence: "the OMERO server is busy",
    },
];

impl Need {
    fn of(line: &str) -> Option<&'static Self> {
        NEEDS.iter().find(|need| need.words.iter().any(|word| line.contains(word)))
    }
}

/// Everything that a run of the importer said about causes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Causes {
    /// By the path of the file, the first of each kind.
    pub of: BTreeMap<String, Vec<Cause>>,
    /// Those that name no file, and are not known to be of the one in hand.
    pub loose: Vec<Cause>,
    /// The files that were said to be imported.
    pub done: BTreeSet<String>,
    /// Whether the importer came to its end and said so: it has looked at everything then.
    pub ended: bool,
    /// The last line that says anything, of any level.
    pub last: String,
    /// The file whose set was in hand when the importer ended.
    pub in_hand: Option<String>,
    /// Files of sets that the server was told to import.
    pub begun: BTreeSet<String>,
}

/// Reads the log.
#[derive(Debug, Default)]
pub struct Log {
    line: Vec<u8>,
    causes: Causes,
    /// The cause that lines of an exception belong to, and the file it is about.
    open: Option<(Option<String>, Cause)>,
    /// The file whose set is imported now.
    in_hand: Option<String>,
}

/// Levels, from the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Quiet,
    Warn,
    Error,
}

impl Log {
    /// Takes what was said since the last time.
    pub fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let (text, is_end) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            let room = MAX_LINE.saturating_sub(self.line.len()).min(text.len());
            self.line.extend_from_slice(&text[..room]);
            if is_end {
                let line = std::mem::take(&mut self.line);
                self.read(&String::from_utf8_lossy(&line));
            }
        }
    }

    /// What was said.
    pub fn end(mut self) -> Causes {
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.read(&String::from_utf8_lossy(&line));
        }
        self.close();
        self.causes.in_hand = self.in_hand;
        self.causes
    }

    fn read(&mut self, line: &str) {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.trim().is_empty() {
            return;
        }
        if line.starts_with("==> Summary")
            || line.starts_with("No imports found")
            || line.starts_with("No imports due")
        {
            self.close();
            self.causes.ended = true;
        }
        let Some((level, message)) = header(line) else {
            self.go_on(line);
            return;
        };
        self.close();
        self.causes.last = message.chars().take(300).collect();
        if level == Level::Quiet {
            self.pass(message);
            return;
        }
        let (told, path) = told(message);
        // A warning that names no file is no cause.
        if level == Level::Warn && told == Told::Other {
            return;
        }
        let of = match told {
            Told::OnImport | Told::Target => self.in_hand.clone(),
            Told::Other => None,
            Told::FileException | Told::Unreadable | Told::MissingLibrary | Told::Internal => {
                path.map(str::to_owned)
            }
        };
        // What a file is called is no cause.
        let needs = if path.is_some() { None } else { Need::of(message) };
        let text = if path.is_some() { String::new() } else { message.chars().take(MAX_TEXT).collect() };
        self.open = Some((of, Cause { told, text, needs }));
        if told == Told::OnImport {
            self.in_hand = None;
        }
    }

    /// A line below WARN: how far the importer is.
    fn pass(&mut self, message: &str) {
        if let Some(path) = message.strip_prefix("FILE_UPLOAD_STARTED: ") {
            self.in_hand = Some(path.to_owned());
        } else if message.starts_with("FILESET_UPLOAD_PREPARATION") {
            self.in_hand = None;
        } else if message.starts_with("FILESET_UPLOAD_END") || message.starts_with("IMPORT_STARTED") {
            self.causes.begun.extend(self.in_hand.clone().filter(|_| self.causes.begun.len() < MAX_FILES));
        } else if let Some(path) = message.strip_prefix("IMPORT_DONE Imported file: ") {
            self.in_hand = None;
            if self.causes.done.len() < MAX_FILES {
                self.causes.done.insert(path.to_owned());
            }
        }
    }

    /// A line that begins no message: of an exception, or said without the logger.
    fn go_on(&mut self, line: &str) {
        let is_place = line.starts_with(['\t', ' ']);
        if !is_place {
            self.causes.last = line.chars().take(300).collect();
        }
        if let Some((_, cause)) = &mut self.open {
            cause.needs = cause.needs.or_else(|| Need::of(line));
            if !is_place && cause.text.len() < MAX_TEXT {
                if !cause.text.is_empty() {
                    cause.text.push('\n');
                }
                cause.text.extend(line.chars().take(MAX_TEXT));
            }
        } else if let Some(needs) = Need::of(line)
            && !is_place
        {
            // The virtual machine itself, or a program around it.
            let text = line.chars().take(MAX_TEXT).collect();
            self.open = Some((None, Cause { told: Told::Other, text, needs: Some(needs) }));
        }
    }

    /// Files the cause that is being read.
    fn close(&mut self) {
        let Some((of, cause)) = self.open.take() else { return };
        match of {
            Some(path) => {
                let is_full = self.causes.of.len() >= MAX_FILES;
                if is_full && !self.causes.of.contains_key(&path) {
                    return;
                }
                let causes = self.causes.of.entry(path).or_default();
                if causes.iter().all(|c| c.told != cause.told) {
                    causes.push(cause);
                }
            }
            None if self.causes.loose.len() < MAX_LOOSE && !self.causes.loose.contains(&cause) => {
                self.causes.loose.push(cause);
            }
            None => {}
        }
    }
}

/// Level and message of a line that begins one. A message may hold what a file is called, so what looks like the
/// beginning of another in it counts for nothing.
fn header(line: &str) -> Option<(Level, &str)> {
    let (head, message) = line.split_once(" - ")?;
    if !head.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[') {
        return None;
    }
    let level = head.split_whitespace().find_map(|word| {
        Some(match word.trim_matches(['[', ']', ':']) {
            "TRACE" | "DEBUG" | "INFO" => Level::Quiet,
            "WARN" | "WARNING" => Level::Warn,
            "ERROR" | "FATAL" | "SEVERE" => Level::Error,
            _ => return None,
        })
    })?;
    Some((level, message))
}

/// What kind of cause a message tells of, and of which file.
fn told(message: &str) -> (Told, Option<&str>) {
    let of_file = |marker: &str| message.strip_prefix(marker)?.strip_prefix(": ");
    for (marker, told) in [
        ("FILE_EXCEPTION", Told::FileException),
        ("UNREADABLE_FILE", Told::Unreadable),
        ("MISSING_LIBRARY", Told::MissingLibrary),
        ("INTERNAL_EXCEPTION", Told::Internal),
    ] {
        if let Some(path) = of_file(marker) {
            return (told, Some(path));
        }
    }
    match message {
        m if m.starts_with("Error on import") => (Told::OnImport, None),
        m if m.starts_with("Could not load target") || m.starts_with("Cannot link to target") => {
            (Told::Target, None)
        }
        _ => (Told::Other, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Causes {
        let mut log = Log::default();
        // However the stream is cut.
        for piece in text.as_bytes().chunks(7) {
            log.take(piece);
        }
        log.end()
    }

    /// A line as the logback file writes it.
    fn line(level: &str, message: &str) -> String {
        let logger = "ome.formats.importer.cli.ErrorHandler";
        format!("2026-11-28 13:42:16,720 4720       [      main] {level:<6} {logger:>40} - {message}\n")
    }

    #[test]
    fn a_cause_belongs_to_the_file_of_that_whole_name() {
        let text = line("ERROR", "FILE_EXCEPTION: /d/run1.tiff")
            + "java.io.EOFException: Attempting to read beyond end of file.\n\tat loci.common.X(X.java:1)\nCaused by: \
               java.nio.BufferUnderflowException: null\n\t... 28 common frames omitted\n";
        let causes = read(&text);
        assert_eq!(causes.of.keys().collect::<Vec<_>>(), ["/d/run1.tiff"]);
        let cause = &causes.of["/d/run1.tiff"][0];
        assert_eq!(cause.told, Told::FileException);
        assert!(cause.text.starts_with("java.io.EOFException: Attempting"), "{}", cause.text);
        assert!(cause.text.ends_with("Caused by: java.nio.BufferUnderflowException: null"), "{}", cause.text);
        assert!(!causes.ended);
    }

    #[test]
    fn a_cause_in_the_middle_of_megabytes_is_kept() {
        let noise = line("INFO", &format!("FILE_UPLOAD_COMPLETE: /d/{}.tif", "x".repeat(200))).repeat(12_000);
        assert!(noise.len() > 3 << 20);
        let cause = line("INFO", "FILE_UPLOAD_STARTED: /d/bad.tif")
            + &line("ERROR", "Error on import: no room")
            + "omero.ResourceError\n";
        let mut log = Log::default();
        [&noise, &cause, &noise, "\n==> Summary\n1 file\n"].map(|text| log.take(text.as_bytes()));
        let causes = log.end();
        assert!(causes.ended);
        assert_eq!(causes.of["/d/bad.tif"][0].text, "Error on import: no room\nomero.ResourceError");
        assert!(causes.loose.is_empty());
    }

    #[test]
    fn what_a_file_is_called_is_no_cause_and_begins_no_line() {
        let name = "/d/x ERROR y - FILE_EXCEPTION: /d/victim.tif";
        let causes = read(&(line("INFO", &format!("IMPORT_DONE Imported file: {name}"))));
        assert!(causes.of.is_empty() && causes.loose.is_empty());
        assert!(causes.done.contains(name));
        let causes = read(&line("ERROR", "FILE_EXCEPTION: /d/java.lang.OutOfMemoryError.tif"));
        assert_eq!(causes.of["/d/java.lang.OutOfMemoryError.tif"][0].needs, None);
    }

    #[test]
    fn a_resource_is_found_anywhere_in_the_exception() {
        for (said, part) in [
            ("java.lang.Exception: java.lang.OutOfMemoryError: Java heap space", "java_options"),
            (
                "java.io.IOException: x\nCaused by: java.io.FileNotFoundException: /d/b (Too many open files)",
                "open files",
            ),
            (
                "java.lang.UnsatisfiedLinkError: /w/libjhdf5.so: failed to map segment from shared object",
                "noexec",
            ),
            ("Parameters: {stacktrace=x could not obtain JDBC connection\n\tat y", "database"),
            ("\tsuppressed\nIce.ConnectionLostException", "connection to OMERO was lost"),
        ] {
            let causes = read(&(line("ERROR", "INTERNAL_EXCEPTION: /d/a.tif") + said + "\n"));
            let needs = causes.of["/d/a.tif"][0].needs.unwrap();
            assert!(needs.sentence.contains(part), "{said}: {}", needs.sentence);
        }
        let causes = read("#\n# java.lang.OutOfMemoryError: cannot create thread\n#\n");
        assert!(causes.loose[0].needs.is_some());
    }

    #[test]
    fn the_end_of_one_set_is_not_taken_for_that_of_the_next() {
        let text = line("INFO", "FILE_UPLOAD_STARTED: /d/a.tif")
            + &line("ERROR", "Error on import: a")
            + &line("ERROR", "Could not load target: Dataset:5")
            + &line("ERROR", "Error on import: Failed to load target");
        let causes = read(&text);
        assert_eq!(causes.of.keys().collect::<Vec<_>>(), ["/d/a.tif"]);
        assert_eq!(causes.loose.len(), 2);
        assert!(causes.loose[0].needs.is_some());
    }

    #[test]
    fn other_layouts_and_garbage_are_read_too() {
        for text in ["13:42 [main] ERROR x.Y - FILE_EXCEPTION: /a\r\n", "ERROR x - FILE_EXCEPTION: /a"] {
            assert!(read(text).of.contains_key("/a"), "{text}");
        }
        let endless = "x".repeat(10 * MAX_LINE) + "\n";
        assert!(read(&endless).last.len() <= 300);
        read("\u{0}\n - \n ERROR - \n[ERROR] - \n\t - ERROR - x\n");
    }
}
