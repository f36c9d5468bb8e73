//! What is wrong, where, and what to do about it, for people and for programs.

use serde_json::{Value, json};
use std::fmt;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something will not work.
    Error,
    /// Something may not work, or not as meant.
    Warning,
}

impl Severity {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

macro_rules! codes {
    ($($name:ident $word:literal $severity:ident $meaning:literal)*) => {
        /// What kind of thing is wrong. The words are stable: programs may rely on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $(#[doc = $meaning] $name,)* }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The stable word.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// What it means.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }

            /// How bad it is.
            pub fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }
        }
    };
}

codes! {
    ConfigUnreadable "config-unreadable" Error "The configuration cannot be read."
    ConfigNotJson "config-not-json" Error "The configuration is not JSON."
    KeyTwice "key-twice" Warning "A key is in one object twice; the server uses the last one."
    EnginesMissing "engines-missing" Error "The configuration has no list of rule engines."
    StanzaMissing "stanza-missing" Error "The list of rule engines does not contain this plugin."
    StanzaTwice "stanza-twice" Error "The list of rule engines contains this plugin more than once."
    StanzaOrder "stanza-order" Warning "A rule engine before this plugin may keep events from it."
    StanzaWrong "stanza-wrong" Error "A part of the stanza is missing or has the wrong type."
    InstanceTaken "instance-taken" Error "Another rule engine has the same instance name."
    KeyWrong "key-wrong" Error "The plugin does not accept a key or its value."
    SecretFile "secret-file" Error "The plugin would refuse a password file."
    TableFile "table-file" Error "A table of users cannot be used."
    TableRow "table-row" Warning "A row of a table of users is never used."
    File "file" Error "A file that is needed does not exist, is not a regular file, or cannot be read."
    JarsEmpty "jars-empty" Error "The directory of jars contains no jars."
    JarFile "jar-file" Error "A jar cannot be read, or is not a jar."
    JarsMixed "jars-mixed" Error "The directory of jars contains several versions of one jar."
    LogbackStdout "logback-stdout" Warning "The logback file does not log to standard error."
    WorkDirectory "work-directory" Error "The importer's work directory cannot be made or used."
    WorkNoexec "work-noexec" Error "No program can run from the importer's work directory, where Java unpacks its libraries."
    Directory "directory" Error "The importer cannot look into the directory of a vault or mount."
    Unreadable "unreadable" Error "The importer's account cannot read something in a vault or mount."
    MountEmpty "mount-empty" Warning "A mount is empty."
    MountAway "mount-away" Error "`/etc/fstab` lists a file system at a vault or mount, but it is not mounted."
    SeveralVaults "several-vaults" Warning "Several vaults are below one prefix that names no resource."
    PrefixUnused "prefix-unused" Warning "An entry of `visibility` matches no path, or another entry hides it."
    VaultMode "vault-mode" Warning "Only the server's own account can read the files that the server makes in a vault; OMERO cannot."
    Clock "clock" Warning "The clocks of this host and of a file server differ."
    Command "command" Error "The `omero` command is not there or cannot be run."
    CommandVersion "command-version" Error "`omero version` does not answer with a version."
    Worker "worker" Error "The worker's Python cannot run the worker, because omero-py is missing."
    WorkerVersion "worker-version" Warning "The worker's Python and the `omero` command have different versions of omero-py."
    AgentSocket "agent-socket" Error "The socket of an agent on this host does not exist, or may not be used."
    LibraryVersion "library-version" Error "The plugin's library was built for another version of iRODS than the installed one."
    Library "library" Error "The plugin's library does not exist, or is not a library of this plugin."
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing.
    pub code: Code,
    /// Where: a JSON pointer into server_config.json, or a file, `FILE:LINE:COLUMN` where that is known.
    pub place: String,
    /// What is wrong, in a sentence.
    pub sentence: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, place, sentence, remedy } = self;
        write!(f, "{} {} {place}\n    {sentence}\n    {remedy}", code.severity().word(), code.word())
    }
}

/// Everything that was found, and what could not be looked at.
#[derive(Debug, Default)]
pub struct Report {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What was not looked at, and why: sentences.
    pub unchecked: Vec<String>,
}

impl Report {
    /// Notes something wrong.
    pub fn add(&mut self, code: Code, place: &str, sentence: impl fmt::Display, remedy: impl fmt::Display) {
        let (sentence, remedy) = (sentence.to_string(), remedy.to_string());
        self.findings.push(Finding { code, place: place.to_owned(), sentence, remedy });
    }

    /// Notes something that was not looked at.
    pub fn skip(&mut self, why: impl fmt::Display) {
        self.unchecked.push(why.to_string());
    }

    /// How many are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|f| f.code.severity() == severity).count()
    }

    /// The report for programs.
    pub fn json(&self) -> Value {
        let finding = |f: &Finding| {
            json!({"severity": f.code.severity().word(), "code": f.code.word(), "place": f.place,
                   "sentence": f.sentence, "remedy": f.remedy})
        };
        json!({"errors": self.count(Severity::Error), "warnings": self.count(Severity::Warning),
               "findings": self.findings.iter().map(finding).collect::<Vec<_>>(), "unchecked": self.unchecked})
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        for why in &self.unchecked {
            writeln!(f, "not looked at: {why}")?;
        }
        let plural = |n: usize, word| if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") };
        let (errors, warnings) = (self.count(Severity::Error), self.count(Severity::Warning));
        write!(f, "{}, {}", plural(errors, "error"), plural(warnings, "warning"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_word_of_its_own() {
        let mut words: Vec<&str> = Code::ALL.iter().map(|c| c.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Code::ALL.len());
    }
}
