//! The explicit table: rows of the configuration, and rows of a file that is read again when it changes.
//!
//! What a file that cannot be read means: its rows are unknown, not absent. So nobody who depends on it is said to
//! have no OMERO user; their data waits. A process that has read the file well before goes on with those rows, but
//! for [`LAST_GOOD_FOR`] only: an editor that is saving takes moments, while rows that somebody has taken out must
//! not live on because the file is broken. A process that has never read it well has nothing to go on with.

use irods_omero_importer::secret;
use irods_omero_model::clock::UnixTime;
use irods_omero_model::form::{Form, Problem, Problems};
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::{IrodsUser, OmeroName};
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the rows read last are good while the file is broken.
const LAST_GOOD_FOR: Duration = Duration::from_secs(600);

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// Rows by user.
pub type Rows = HashMap<IrodsUser, OmeroIdentity>;

/// The table of one site. A row of the configuration counts before one of the file.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// The rows of the configuration.
    pub rows: Rows,
    /// The file with further rows.
    pub file: Option<TableFile>,
}

impl Table {
    /// The row of a user.
    ///
    /// # Errors
    /// Why that cannot be said for now.
    pub fn row(&self, user: &IrodsUser) -> Result<Option<OmeroIdentity>, String> {
        match (self.rows.get(user), &self.file) {
            (Some(row), _) => Ok(Some(row.clone())),
            (None, Some(file)) => file.row(user, Instant::now()),
            (None, None) => Ok(None),
        }
    }
}

impl Table {
    /// The users whose row names an OMERO user.
    ///
    /// # Errors
    /// Why that cannot be said for now.
    pub fn users_of(&self, omero: &OmeroName) -> Result<BTreeSet<IrodsUser>, String> {
        let mut users: BTreeSet<IrodsUser> = users_in(&self.rows, omero).collect();
        if let Some(file) = &self.file {
            users.extend(file.users_of(omero, Instant::now())?);
        }
        Ok(users)
    }
}

fn users_in<'r>(rows: &'r Rows, omero: &'r OmeroName) -> impl Iterator<Item = IrodsUser> + 'r {
    rows.iter().filter(move |(_, row)| row.user == *omero).map(|(user, _)| user.clone())
}

/// A table in a file of its own: one JSON object, written like `users/table`.
#[derive(Debug, Clone)]
pub struct TableFile {
    path: PathBuf,
    known: RefCell<Known>,
}

/// What a process knows of the file.
#[derive(Debug, Clone, Default)]
struct Known {
    rows: Option<Rows>,
    /// What was read last, well or not.
    stamp: Option<Stamp>,
    /// Why and since when the rows are not those of the file as it is now.
    broken: Option<(String, Instant)>,
}

/// What changes when a file changes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp([i64; 7]);

impl Stamp {
    fn of(about: &Metadata) -> Self {
        let whole = |n: u64| i64::from_ne_bytes(n.to_ne_bytes());
        Self([
            whole(about.dev()),
            whole(about.ino()),
            whole(about.size()),
            about.mtime(),
            about.mtime_nsec(),
            about.ctime(),
            about.ctime_nsec(),
        ])
    }
}

impl TableFile {
    /// The file of that path; it is not looked at yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, known: RefCell::default() }
    }

    /// All rows of a file, as a process of the account of that number would take them.
    ///
    /// # Errors
    /// Why it would not.
    pub fn rows_for(path: &Path, account: u32) -> Result<Rows, String> {
        let (file, _) = open(path, account)?;
        read(file)
    }

    /// When the file was changed, or put in place of another; `None` where it cannot be looked at.
    pub fn changed_at(&self) -> Option<UnixTime> {
        let about = std::fs::metadata(&self.path).ok()?;
        u64::try_from(about.ctime()).ok()
    }

    fn row(&self, user: &IrodsUser, now: Instant) -> Result<Option<OmeroIdentity>, String> {
        self.with_rows(now, |rows| rows.get(user).cloned())
    }

    fn users_of(&self, omero: &OmeroName, now: Instant) -> Result<BTreeSet<IrodsUser>, String> {
        self.with_rows(now, |rows| users_in(rows, omero).collect())
    }

    fn with_rows<T>(&self, now: Instant, look: impl FnOnce(&Rows) -> T) -> Result<T, String> {
        let mut known = self.known.borrow_mut();
        known.refresh(&self.path, now);
        match (&known.rows, &known.broken) {
            (Some(rows), None) => Ok(look(rows)),
            (Some(rows), Some((_, since))) if now.duration_since(*since) < LAST_GOOD_FOR => Ok(look(rows)),
            (_, Some((why, _))) => Err(why.clone()),
            (None, None) => Err(format!("the table {} has not been read", self.path.display())),
        }
    }
}

impl Known {
    /// Reads the file again if it has changed since the last look.
    fn refresh(&mut self, path: &Path, now: Instant) {
        let (stamp, read) = match open(path, rustix::process::geteuid().as_raw()) {
            Ok((file, stamp)) if self.stamp.as_ref() != Some(&stamp) => (Some(stamp), read(file)),
            Ok(_) => return,
            Err(why) => (None, Err(why)),
        };
        self.stamp = stamp;
        match read {
            Ok(rows) => {
                (self.rows, self.broken) = (Some(rows), None);
            }
            Err(why) => {
                let why = format!("the table {} cannot be used: {why}", path.display());
                let is_new = self.broken.as_ref().is_none_or(|(before, _)| *before != why);
                if is_new {
                    log::error!("act=table failed=\"{why}\"");
                }
                let since = self.broken.take().map_or(now, |(_, since)| since);
                self.broken = Some((why, since));
            }
        }
    }
}

fn open(path: &Path, account: u32) -> Result<(File, Stamp), String> {
    let file = secret::open(path).map_err(|e| e.to_string())?;
    let about = file.metadata().map_err(|e| e.to_string())?;
    if !about.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    if about.mode() & 0o002 != 0 {
        return Err("anybody may write to it; run chmod o-w on it".to_owned());
    }
    if about.uid() != account && about.uid() != 0 {
        return Err("it belongs neither to the service account nor to root".to_owned());
    }
    Ok((file, Stamp::of(&about)))
}

fn read(file: File) -> Result<Rows, String> {
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|e| e.to_string())?;
    if text.len() as u64 > MAX_BYTES {
        return Err("it is larger than 64 MiB".to_owned());
    }
    let entries = entries(&text)?;
    let problems = Problems::default();
    let rows = rows(entries.iter().map(|(name, value)| (name.as_str(), pointer(name), value)), &problems);
    match problems.into_inner().as_slice() {
        [] => Ok(rows),
        [Problem { pointer, message }, more @ ..] => {
            let more = if more.is_empty() { String::new() } else { format!(" (and {} more)", more.len()) };
            Err(format!("{pointer}: {message}{more}"))
        }
    }
}

fn pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// The entries of a JSON object, every one of them: two of one name would not be a choice.
fn entries(text: &str) -> Result<Vec<(String, Value)>, String> {
    struct Entries;
    impl<'de> Visitor<'de> for Entries {
        type Value = Vec<(String, Value)>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object {\"name#zone\": ...}")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = map.next_entry()? {
                entries.push(entry);
            }
            Ok(entries)
        }
    }
    let mut json = serde_json::Deserializer::from_str(text);
    json.deserialize_map(Entries).and_then(|e| json.end().map(|()| e)).map_err(|e| e.to_string())
}

/// Reads rows as the configuration writes them: `"name#zone"` and an OMERO user, or an object of user and group.
pub fn rows<'v>(entries: impl Iterator<Item = (&'v str, String, &'v Value)>, problems: &'v Problems) -> Rows {
    let mut rows = Rows::new();
    for (name, pointer, value) in entries {
        let user = match IrodsUser::parse(name) {
            Ok(user) => user,
            Err(e) => {
                problems.add(&pointer, e);
                continue;
            }
        };
        let identity = if let Some(text) = value.as_str() {
            let parsed = OmeroName::parse(text).map_err(|e| problems.add(&pointer, e)).ok();
            parsed.map(|user| OmeroIdentity { user, group: None })
        } else {
            Form::open(pointer.clone(), value, problems).and_then(|entry| {
                let user = entry.omero_name("user", true);
                let group = entry.omero_name("group", false);
                entry.close();
                user.map(|user| OmeroIdentity { user, group })
            })
        };
        let Some(identity) = identity else { continue };
        if rows.insert(user, identity).is_some() {
            problems.add(&pointer, "this user has two rows");
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    struct Site {
        dir: tempfile::TempDir,
        file: TableFile,
        start: Instant,
    }

    fn site(text: &str) -> Site {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.json");
        let site = Site { file: TableFile::new(path), dir, start: Instant::now() };
        site.write(text);
        site
    }

    impl Site {
        fn path(&self) -> PathBuf {
            self.dir.path().join("table.json")
        }

        fn write(&self, text: &str) {
            fs::write(self.path(), text).unwrap();
        }

        fn after(&self, seconds: u64, user: &str) -> Result<Option<String>, String> {
            let user = IrodsUser::parse(user).unwrap();
            let row = self.file.row(&user, self.start + Duration::from_secs(seconds))?;
            Ok(row.map(|r| format!("{}/{}", r.user, r.group.map(|g| g.to_string()).unwrap_or_default())))
        }
    }

    const GOOD: &str = r#"{"alice#z": "a.smith", "bob#z": {"user": "bob", "group": "lab1"}}"#;

    #[test]
    fn rows_are_read_from_the_file_and_again_when_it_changes() {
        let site = site(GOOD);
        assert_eq!(site.after(0, "alice#z").unwrap().as_deref(), Some("a.smith/"));
        assert_eq!(site.after(0, "bob#z").unwrap().as_deref(), Some("bob/lab1"));
        assert_eq!(site.after(0, "carol#z").unwrap(), None);
        site.write(r#"{"carol#z": "carol"}"#);
        assert_eq!(site.after(0, "alice#z").unwrap(), None);
        assert_eq!(site.after(0, "carol#z").unwrap().as_deref(), Some("carol/"));
    }

    #[test]
    fn a_half_written_file_leaves_the_last_good_rows_for_a_while_only() {
        let site = site(GOOD);
        assert!(site.after(0, "alice#z").unwrap().is_some());
        site.write(&GOOD[..30]);
        assert!(site.after(1, "alice#z").unwrap().is_some());
        assert!(site.after(600, "alice#z").unwrap().is_some());
        let error = site.after(601, "alice#z").unwrap_err();
        assert!(error.contains("table.json") && error.contains("EOF"), "{error}");
        site.write(GOOD);
        assert!(site.after(602, "alice#z").unwrap().is_some());
    }

    #[test]
    fn without_a_last_good_file_nobody_is_said_to_have_no_row() {
        for text in ["", "{", "[]", &GOOD[..30], "{} {}"] {
            assert!(site(text).after(0, "alice#z").is_err(), "{text}");
        }
        let gone = site(GOOD);
        fs::remove_file(gone.path()).unwrap();
        assert!(gone.after(0, "alice#z").is_err());
    }

    #[test]
    fn a_wrong_row_is_named_with_its_place() {
        for (text, part) in [
            (r#"{"alice": "a"}"#, "/alice: "),
            (r#"{"alice#z": "-u"}"#, "/alice#z: "),
            (r#"{"alice#z": {"user": "a", "gruop": "b"}}"#, "did you mean 'group'"),
            (r#"{"alice#z": "a", "alice#z": "b"}"#, "two rows"),
            (r#"{"alice#z": 5, "bob#z": 6}"#, "and 1 more"),
        ] {
            let error = site(text).after(0, "alice#z").unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_anybody_may_write_is_refused() {
        let site = site(GOOD);
        fs::set_permissions(site.path(), fs::Permissions::from_mode(0o666)).unwrap();
        assert!(site.after(0, "alice#z").unwrap_err().contains("chmod o-w"));
        fs::set_permissions(site.path(), fs::Permissions::from_mode(0o664)).unwrap();
        assert!(site.after(0, "alice#z").is_ok());
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = TableFile::new(dir.path().to_owned());
        let error = file.row(&IrodsUser::parse("alice#z").unwrap(), Instant::now()).unwrap_err();
        assert!(error.contains("not a regular file"), "{error}");
    }
}
