//! The importer as the `omero` command on this host.
//!
//! A batch is a handful of commands in one session of the mapped user, opened by the restricted administrator:
//!
//! 1. `omero login --sudo` (the password only in the environment of this one command), unless the session of an import
//!    before is still open (see `session`)
//! 2. `omero hql`: which of the files does OMERO have already? (see `inventory`)
//! 3. `omero import -f ... -`: which files belong together? (see `forecast`)
//! 4. `omero hql` and `obj`: the container they go to, which is made if it is not there (see `containers`)
//! 5. `omero import ... -` with the keys of the sets on standard input
//! 6. `omero hql`: what is there now? This, not the exit code, is the outcome.
//! 7. `omero obj --file -`: the map annotation that ties each fileset to its data object
//! 8. `omero logout`, where the session is not kept
//!
//! What is done in which order, and what becomes of each file, is in `work`.

use crate::causes::{Causes, Log};
use crate::containers::{Containers, Contents, NoContainer};
use crate::fence::{NoFence, Readable};
use crate::ffi::Ruleset;
use crate::files::Identity;
use crate::inventory::{Fileset, mark_of};
use crate::outcome;
use crate::process::{self, Finished, Nobody, Observer};
use crate::session::{self, Lease, SESSION_IDLE_SECONDS, Sessions};
use crate::settings::Omero;
use crate::work::Work;
use crate::workplace::{Purpose, Workplace};
use crate::{Batch, BatchFile, FileOutcome, Importer, ImporterError, Subject, check_path};
use irods_omero_model::clock::UnixTime;
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::{OmeroId, OmeroName};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How deep a directory that is one image is searched for a file that Bio-Formats can begin with.
const DIRECTORY_DEPTH: u32 = 16;

/// How many bytes of client paths one query asks for at once: an argument may have 128 KiB.
const MAX_QUERY_BYTES: usize = 60_000;

/// The highest number of rows asked of one query.
const MAX_ROWS: u32 = 10_000_000;

/// Imports by running the `omero` command.
#[derive(Debug, Clone, Copy)]
pub struct CommandImporter<'a> {
    omero: &'a Omero,
    /// The directories below which the files have to be; unchecked without.
    roots: Option<&'a [PathBuf]>,
    observer: &'a dyn Observer,
    /// Sessions that are kept; without, each batch has its own.
    sessions: Option<&'a Sessions>,
}

impl<'a> CommandImporter<'a> {
    /// An importer as configured.
    pub fn new(omero: &'a Omero) -> Self {
        Self { omero, roots: None, observer: &Nobody, sessions: None }
    }

    /// The same, giving the importer only what lies below these directories, without a link below them, and is what
    /// the catalog says.
    #[must_use]
    pub fn within(self, roots: &'a [PathBuf]) -> Self {
        Self { roots: Some(roots), ..self }
    }

    /// The same, with somebody who looks on and may end it: what was begun then is found at the next import.
    #[must_use]
    pub fn observed(self, observer: &'a dyn Observer) -> Self {
        Self { observer, ..self }
    }

    /// The same, in sessions that all batches of a user share, and that are kept open between them.
    #[must_use]
    pub fn sharing(self, sessions: &'a Sessions) -> Self {
        Self { sessions: Some(sessions), ..self }
    }

    /// The words after `omero` that open the session.
    pub fn login_words(&self, identity: &OmeroIdentity) -> Vec<OsString> {
        let server = &self.omero.server;
        let mut words = strings(&["login", "-q", "-C", "--sudo", server.sudo_user.as_str()]);
        words.extend(strings(&["-u", identity.user.as_str()]));
        if let Some(group) = &identity.group {
            words.extend(strings(&["-g", group.as_str()]));
        }
        words.extend(strings(&["-s", &server.host, "-p", &server.port.to_string()]));
        words.extend(strings(&["-t", &SESSION_IDLE_SECONDS.to_string()]));
        words
    }

    /// The words after `omero` that import the paths on standard input, into a container or into none.
    pub fn import_words(&self, target: Option<&str>) -> Vec<OsString> {
        let mut words = strings(&["import", "-q", "-c"]);
        if let Some(jars) = &self.omero.importer.jars {
            words.extend(["--clientdir".into(), jars.into()]);
        }
        if let Some(logback) = &self.omero.importer.logback {
            words.extend(["--logback".into(), logback.into()]);
        }
        words.extend(strings(&["--transfer", self.omero.importer.transfer, "--output", "yaml"]));
        words.extend(self.omero.importer.options.iter().map(OsString::from));
        words.extend(target.map(|t| OsString::from(format!("--target={t}"))));
        words.push("-".into());
        words
    }

    fn add_depth(&self, words: &mut Vec<OsString>, directories: bool) {
        if directories && !self.omero.importer.options.iter().any(|o| o.starts_with("--depth")) {
            // The first file that is not hidden may lie deep: in OME-Zarr 0.4 it is a chunk, below a directory for
            // each axis. The importer's own default is 4.
            words.push(format!("--depth={DIRECTORY_DEPTH}").into());
        }
    }

    /// The words after `omero` that say which of the paths on standard input belong together. No server is asked.
    pub fn forecast_words(&self, directories: bool) -> Vec<OsString> {
        let mut words = strings(&["import", "-q", "-f"]);
        if let Some(jars) = &self.omero.importer.jars {
            words.extend(["--clientdir".into(), jars.into()]);
        }
        if let Some(logback) = &self.omero.importer.logback {
            words.extend(["--logback".into(), logback.into()]);
        }
        words.extend(strings(&["--output", "yaml"]));
        // It has to see what the import sees.
        let shared = |option: &&String| ["--readers", "--depth"].iter().any(|name| option.starts_with(name));
        words.extend(self.omero.importer.options.iter().filter(shared).map(OsString::from));
        self.add_depth(&mut words, directories);
        words.push("-".into());
        words
    }

    /// The words after `omero` that delete filesets.
    pub fn delete_words(ids: &str) -> Vec<OsString> {
        let fileset = format!("Fileset:{ids}");
        strings(&["delete", "-q", &fileset])
    }

    /// The words after `omero` that ask a question.
    pub fn query_words(query: &str) -> Vec<OsString> {
        Self::query_words_of(&["hql", "-q", "--all"], query)
    }

    /// The same, in the session's own group only.
    pub fn query_words_in_group(query: &str) -> Vec<OsString> {
        Self::query_words_of(&["hql", "-q"], query)
    }

    fn query_words_of(start: &[&str], query: &str) -> Vec<OsString> {
        let mut words = strings(start);
        words.extend(strings(&["--style", "json", "--limit", &MAX_ROWS.to_string(), query]));
        words
    }

    /// The words after `omero` that run the `obj` commands on standard input.
    pub fn object_words() -> Vec<OsString> {
        strings(&["obj", "-q", "--file", "-"])
    }

    /// The words after `omero` that end the session. The command takes no option with them.
    pub fn logout_words() -> Vec<OsString> {
        strings(&["logout"])
    }

    /// Runs a command to its end in a directory.
    pub(super) fn run(
        &self,
        place: &Workplace,
        words: &[OsString],
        input: &str,
        password: Option<&str>,
        limit: Duration,
        alive: &mut dyn FnMut(),
    ) -> Result<Finished, ImporterError> {
        let prepare = |command: &mut Command| self.prepare(command, place, password);
        self.run_heard(place, words, input, limit, prepare, alive, &mut |_| {})
    }

    /// Runs the importer's Java, behind a fence where there is one. What it says is read while it speaks.
    pub(crate) fn run_java(
        &self,
        place: &Workplace,
        words: &[OsString],
        paths: &str,
        limit: Duration,
        fence: Option<Ruleset>,
        alive: &mut dyn FnMut(),
    ) -> Result<(Finished, Causes), ImporterError> {
        let is_mixed = self.omero.importer.options.iter().any(|o| o.starts_with("--parallel-fileset"));
        let mut log = if is_mixed { Log::mixed() } else { Log::default() };
        let prepare = |command: &mut Command| {
            self.prepare(command, place, None);
            if let Some(fence) = fence {
                fence.confine(command);
            }
        };
        let done =
            self.run_heard(place, words, paths, limit, prepare, alive, &mut |bytes| log.take(bytes))?;
        Ok((done, log.end()))
    }

    #[allow(clippy::too_many_arguments)] // one process has that many sides
    fn run_heard(
        &self,
        place: &Workplace,
        words: &[OsString],
        input: &str,
        limit: Duration,
        prepare: impl FnOnce(&mut Command),
        alive: &mut dyn FnMut(),
        hear: &mut dyn FnMut(&[u8]),
    ) -> Result<Finished, ImporterError> {
        let program = self.omero.importer.command.clone().into_os_string();
        let start = || -> io::Result<File> {
            let mut file = place.file("input")?;
            file.write_all(input.as_bytes())?;
            file.rewind()?;
            Ok(file)
        };
        let what = |e: io::Error| {
            ImporterError::WillPass(format!("cannot run {}: {e}", Path::new(&program).display()))
        };
        let stdin = start().map_err(what)?;
        let done = process::run_heard(&program, words, stdin, limit, prepare, alive, self.observer, hear)
            .map_err(what)?;
        if self.is_to_end() {
            return Err(Self::ended());
        }
        if outcome::is_session_lost(&done) {
            place.lost.store(true, Ordering::Relaxed);
        }
        Ok(done)
    }

    /// The fence around an import: below the opened directories it can read these files only.
    pub(crate) fn fence(&self, roots: &[PathBuf], files: &[(&str, Identity)]) -> Result<Ruleset, NoFence> {
        let importer = &self.omero.importer;
        let mut needed = vec![importer.work_directory.as_path(), importer.command.as_path()];
        needed.extend(importer.command.parent());
        needed.extend(importer.jars.as_deref());
        needed.extend(importer.logback.as_deref());
        Readable { roots, needed: &needed, files }.ruleset()
    }

    /// The directories below which the files have to be.
    pub(crate) fn roots(&self) -> Vec<PathBuf> {
        self.roots.map_or_else(|| vec![PathBuf::from("/")], <[PathBuf]>::to_vec)
    }

    /// How long one importer run may take.
    pub(crate) fn import_timeout(&self) -> Duration {
        self.omero.importer.timeout
    }

    /// For how long OMERO is waited for that may still be finishing an import.
    pub(crate) fn unfinished_wait(&self) -> Duration {
        self.omero.importer.unfinished_wait
    }

    /// Marks filesets as none that may ever be taken for the data's.
    pub(crate) fn refuse(
        &self,
        place: &Workplace,
        ids: &BTreeSet<OmeroId>,
        why: &str,
        alive: &mut dyn FnMut(),
    ) -> Result<(), ImporterError> {
        let mut lines = Vec::new();
        for (i, id) in ids.iter().enumerate() {
            let namespace = word(&format!("ns={}", self.omero.server.namespace));
            lines.push(format!(
                "m{i} = new MapAnnotation {namespace} {}",
                word(&format!("description=iRODS refused: {why}"))
            ));
            lines.push(format!("new FilesetAnnotationLink parent=Fileset:{id} child@=m{i}"));
        }
        self.objects(place, &lines.join("\n"), "FilesetAnnotationLink", alive).map(drop)
    }

    /// Whether the import is to be ended.
    pub(super) fn is_to_end(&self) -> bool {
        self.observer.stop()
    }

    /// What is said of an import that was ended.
    pub(super) fn ended() -> ImporterError {
        ImporterError::WillPass("the import was ended".to_owned())
    }

    fn prepare(&self, command: &mut Command, place: &Workplace, password: Option<&str>) {
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        command.env_clear().env("PATH", path).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        place.prepare(command);
        if !self.omero.importer.java_options.is_empty() {
            command.env("JAVA_OPTS", &self.omero.importer.java_options);
        }
        command.envs(self.omero.importer.environment.iter().map(|(k, v)| (k, v)));
        if let Some(password) = password {
            command.env("OMERO_PASSWORD", password);
        }
    }

    /// The rows that answer a question over all groups the session may read.
    pub(super) fn ask(
        &self,
        place: &Workplace,
        query: &str,
        alive: &mut dyn FnMut(),
    ) -> Result<Vec<Vec<String>>, ImporterError> {
        self.answer(place, &Self::query_words(query), alive)
    }

    /// The rows that answer a question over the session's group.
    pub(super) fn ask_in_group(
        &self,
        place: &Workplace,
        query: &str,
        alive: &mut dyn FnMut(),
    ) -> Result<Vec<Vec<String>>, ImporterError> {
        self.answer(place, &Self::query_words_in_group(query), alive)
    }

    /// Runs `obj` commands, one a line, and gives the objects of one class that were made.
    pub(super) fn objects(
        &self,
        place: &Workplace,
        lines: &str,
        class: &str,
        alive: &mut dyn FnMut(),
    ) -> Result<Vec<OmeroId>, ImporterError> {
        let limit = self.omero.importer.command_timeout;
        let done = self.run(place, &Self::object_words(), lines, None, limit, alive)?;
        Ok(outcome::made(&done.stdout, class))
    }

    /// The OMERO server and the command.
    pub(super) fn omero(&self) -> &Omero {
        self.omero
    }

    /// Where running imports keep their files.
    pub(super) fn work_directory(&self) -> &Path {
        &self.omero.importer.work_directory
    }

    /// How long a command that is no import may take.
    pub(super) fn command_timeout(&self) -> Duration {
        self.omero.importer.command_timeout
    }

    fn answer(
        &self,
        place: &Workplace,
        words: &[OsString],
        alive: &mut dyn FnMut(),
    ) -> Result<Vec<Vec<String>>, ImporterError> {
        let limit = self.omero.importer.command_timeout;
        let done = self.run(place, words, "", None, limit, alive)?;
        outcome::table(&done.stdout).map_err(|why| {
            let log: String = done.stderr.trim().chars().take(300).collect();
            ImporterError::WillPass(format!("OMERO did not answer a query: {why} {log}"))
        })
    }

    /// Ties filesets to their data objects. A failure here loses no image and is made up for by the next
    /// adoption, so it is logged only.
    pub(crate) fn annotate(
        &self,
        place: &Workplace,
        keyed: &[(OmeroId, &Fileset, &BatchFile)],
        alive: &mut dyn FnMut(),
    ) {
        if keyed.is_empty() {
            return;
        }
        let mut lines = Vec::new();
        for (_, _, file) in keyed {
            let namespace = word(&format!("ns={}", self.omero.server.namespace));
            let mark = word(&format!("description={}", mark_of(file.subject, file.version)));
            lines.push(format!("new MapAnnotation {namespace} {mark}"));
        }
        let words = Self::object_words();
        let limit = self.omero.importer.command_timeout;
        let annotations = match self.run(place, &words, &lines.join("\n"), None, limit, alive) {
            Ok(done) => outcome::made(&done.stdout, "MapAnnotation"),
            Err(_) => Vec::new(),
        };
        let mut lines = Vec::new();
        for ((id, fileset, file), annotation) in keyed.iter().zip(&annotations) {
            for (key, value) in pairs(file) {
                lines.push(format!(
                    "map-set MapAnnotation:{annotation} mapValue {} {}",
                    word(key),
                    word(&value)
                ));
            }
            let mut link = |class: &str, parent: OmeroId| {
                lines.push(format!(
                    "new {class}AnnotationLink parent={class}:{parent} child=MapAnnotation:{annotation}"
                ));
            };
            if fileset.plates.is_empty() {
                fileset.images.iter().for_each(|image| link("Image", *image));
            }
            fileset.plates.iter().for_each(|plate| link("Plate", *plate));
            // The fileset comes last: its link says that the annotation is whole.
            link("Fileset", *id);
        }
        let linked = match self.run(place, &words, &lines.join("\n"), None, limit, alive) {
            Ok(done) => outcome::made(&done.stdout, "FilesetAnnotationLink").len(),
            Err(_) => 0,
        };
        if linked < keyed.len() {
            log::warn!("act=annotate filesets={} annotated={linked}", keyed.len());
        }
    }

    /// The session a batch is imported in, and a directory to do it in.
    fn begin(
        &self,
        batch: &Batch,
        now: UnixTime,
        alive: &mut dyn FnMut(),
    ) -> Result<(Lease, Workplace), ImporterError> {
        let lease = match self.sessions {
            Some(sessions) => sessions.lease(self, &batch.identity, now, alive)?,
            None => session::for_one_batch(self, &batch.identity, now, alive)?,
        };
        let place = self.workplace(Purpose::Run, now)?;
        lease.lend(&place).map_err(|e| self.no_workplace(&e))?;
        Ok((lease, place))
    }

    /// A directory of its own below the work directory.
    pub(super) fn workplace(&self, purpose: Purpose, now: UnixTime) -> Result<Workplace, ImporterError> {
        Workplace::new(self.work_directory(), purpose, now).map_err(|e| self.no_workplace(&e))
    }

    fn no_workplace(&self, error: &io::Error) -> ImporterError {
        let directory = self.work_directory().display();
        ImporterError::WillPass(format!("cannot use the importer's work directory {directory}: {error}"))
    }

    /// Logs out and removes what killed processes left behind.
    pub fn clean_up(&self) {
        session::clean_up(self, self.work_directory());
    }

    fn containers<'p>(
        &'p self,
        batch: &'p Batch,
        place: &'p Workplace,
        alive: &'p mut dyn FnMut(),
    ) -> Containers<'p> {
        Containers { importer: self, place, identity: &batch.identity, alive }
    }

    /// What the importer is to be told of the batch's target: the container, which is there then; nothing where it
    /// is decided afterwards what goes where.
    pub(crate) fn target_for(
        &self,
        batch: &Batch,
        place: &Workplace,
        alive: &mut dyn FnMut(),
    ) -> Result<Option<String>, NoContainer> {
        let mut containers = self.containers(batch, place, alive);
        match &batch.plate_target {
            None => containers.ensure(&batch.target).map(|c| Some(c.to_string())),
            Some(plates) => {
                containers.check(&batch.target)?;
                containers.check(plates)?;
                Ok(None)
            }
        }
    }

    /// Puts what was imported without a target where it belongs.
    pub(crate) fn fill_containers(
        &self,
        batch: &Batch,
        place: &Workplace,
        filesets: &BTreeMap<OmeroId, Fileset>,
        alive: &mut dyn FnMut(),
    ) -> Result<(), NoContainer> {
        let Some(plates) = &batch.plate_target else {
            return Ok(());
        };
        let mut contents = Contents::default();
        for fileset in filesets.values() {
            contents.plates.extend(&fileset.plates);
            if fileset.plates.is_empty() {
                contents.images.extend(&fileset.images);
            }
        }
        self.containers(batch, place, alive).fill(&contents, &batch.target, plates)
    }

    /// Imports files whose paths the importer can take.
    fn import_files(
        &self,
        batch: &Batch,
        now: UnixTime,
        alive: &mut dyn FnMut(),
    ) -> Result<Vec<FileOutcome>, ImporterError> {
        self.clean_up();
        let (lease, place) = self.begin(batch, now, alive)?;
        let outcome = Work::new(self, batch, &place, now, alive).perform();
        if !place.lost.load(Ordering::Relaxed) {
            return outcome;
        }
        lease.discard();
        let has_imported = place.has_imported.load(Ordering::Relaxed);
        if outcome.is_ok() || has_imported || !lease.is_old || self.is_to_end() {
            return outcome;
        }
        // It ended while nobody used it: OMERO was started anew, or its administrator ended it.
        drop((lease, place));
        let (lease, place) = self.begin(batch, now, alive)?;
        let outcome = Work::new(self, batch, &place, now, alive).perform();
        if place.lost.load(Ordering::Relaxed) {
            lease.discard();
        }
        outcome
    }
}

impl Importer for CommandImporter<'_> {
    fn import(
        &self,
        batch: &Batch,
        now: UnixTime,
        alive: &mut dyn FnMut(),
    ) -> Result<Vec<FileOutcome>, ImporterError> {
        let failed = |file: &BatchFile| check_path(file.importer_path.as_bytes()).err();
        if batch.files.iter().all(|f| failed(f).is_none()) {
            return self.import_files(batch, now, alive);
        }
        let files: Vec<BatchFile> = batch.files.iter().filter(|f| failed(f).is_none()).cloned().collect();
        let others = if files.is_empty() {
            Vec::new()
        } else {
            self.import_files(&Batch { files, ..batch.clone() }, now, alive)?
        };
        let mut others = others.into_iter();
        let outcome = |file| failed(file).map(FileOutcome::Failed).or_else(|| others.next());
        Ok(batch.files.iter().filter_map(outcome).collect())
    }

    fn server(&self) -> &str {
        &self.omero.server.host
    }
}

fn strings(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// Whether OMERO's name of a user is the one that was mapped to. An OMERO with LDAP may keep names in lower case.
pub(crate) fn is_same_user(name: &str, mapped: &OmeroName) -> bool {
    name.to_lowercase() == mapped.as_str().to_lowercase()
}

/// The key-value pairs a person reads in OMERO.
fn pairs(file: &BatchFile) -> Vec<(&'static str, String)> {
    let zone = file.logical_path.elements().next().unwrap_or_default();
    let mut pairs = vec![
        ("iRODS zone", String::from_utf8_lossy(zone).into_owned()),
        ("iRODS path", file.logical_path.display().into_owned()),
        match file.subject {
            Subject::DataObject(id) => ("iRODS data id", id.to_string()),
            Subject::Collection(id) => ("iRODS collection id", id.to_string()),
        },
    ];
    pairs.extend(file.checksum.iter().map(|c| ("iRODS checksum", c.clone())));
    pairs.push(("iRODS user", file.owner.to_string()));
    pairs
}

/// One word of a line of `omero obj --file`, which is split as a POSIX shell would: in single quotes everything
/// but the single quote is itself. A line break cannot be expressed and becomes a blank.
pub(super) fn word(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("'{}'", line.replace('\'', "'\"'\"'"))
}

/// An HQL string literal.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Numbers joined by commas, in lists that fit an argument.
pub(super) fn chunks(ids: &BTreeSet<OmeroId>) -> Vec<String> {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    ids.chunks(2_000).map(|chunk| chunk.join(",")).collect()
}

/// Literals joined by commas, in lists that fit an argument.
pub(crate) fn literal_lists<'t>(texts: impl Iterator<Item = &'t str>) -> Vec<String> {
    let mut lists: Vec<String> = Vec::new();
    for text in texts {
        let item = literal(text);
        match lists.last_mut() {
            Some(list) if list.len() + item.len() < MAX_QUERY_BYTES => {
                list.push(',');
                list.push_str(&item);
            }
            _ => lists.push(item),
        }
    }
    lists
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_a_shell_reads_them() {
        assert_eq!(word("a b#c"), "'a b#c'");
        assert_eq!(word("it's\n-x"), "'it'\"'\"'s -x'");
    }

    #[test]
    fn a_quote_ends_no_literal_and_lists_fit_an_argument() {
        assert_eq!(literal("it's"), "'it''s'");
        let many: Vec<String> = (0..5_000).map(|i| format!("data/{i:0>60}")).collect();
        let lists = literal_lists(many.iter().map(String::as_str));
        assert!(lists.len() > 1 && lists.iter().all(|l| l.len() <= MAX_QUERY_BYTES));
        assert_eq!(lists.iter().map(|l| l.split(',').count()).sum::<usize>(), 5_000);
    }
}
