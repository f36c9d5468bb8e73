//! The server's part of an import: the rows of a fileset are saved first, then
//! files are brought into the managed repository, then images are made. What a
//! failure leaves behind is left behind.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};
use std::process::Stdio;

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use crate::fault::Faults;
use crate::import::candidates::{Candidate, Looked, client_path, safe_component};
use crate::import::readers::Reader;
use crate::import::target::{Container, template};
use crate::store::{Context, Store, hex};
use crate::sys;

/// How files get into the repository.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Transfer {
    #[default]
    Upload,
    UploadRm,
    Link,
    LinkRm,
    Symlink,
    Copy,
    CopyRm,
}

impl Transfer {
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "upload" => Self::Upload,
            "upload_rm" => Self::UploadRm,
            "ln" => Self::Link,
            "ln_rm" => Self::LinkRm,
            "ln_s" => Self::Symlink,
            "cp" => Self::Copy,
            "cp_rm" => Self::CopyRm,
            _ => return None,
        })
    }

    /// The Java class, which the server remembers on the fileset.
    pub fn class(self) -> &'static str {
        match self {
            Self::Upload => "ome.formats.importer.transfers.UploadFileTransfer",
            Self::UploadRm => "ome.formats.importer.transfers.UploadRmFileTransfer",
            Self::Link => "ome.formats.importer.transfers.HardlinkFileTransfer",
            Self::LinkRm => "ome.formats.importer.transfers.MoveFileTransfer",
            Self::Symlink => "ome.formats.importer.transfers.SymlinkFileTransfer",
            Self::Copy => "ome.formats.importer.transfers.CopyFileTransfer",
            Self::CopyRm => "ome.formats.importer.transfers.CopyMoveFileTransfer",
        }
    }

    pub fn removes(self) -> bool {
        matches!(self, Self::UploadRm | Self::LinkRm | Self::CopyRm)
    }

    fn in_place(self) -> bool {
        !matches!(self, Self::Upload | Self::UploadRm)
    }
}

/// The checksum algorithms that the server offers.
pub const HASHERS: &[&str] =
    &["SHA1-160", "File-Size-64", "Adler-32", "CRC-32", "MD5-128", "Murmur3-32", "Murmur3-128"];

/// The namespace of the note that says how a fileset was transferred.
pub const TRANSFER_NS: &str = "openmicroscopy.org/omero/import/fileTransfer";

/// One file on its way into the repository.
#[derive(Clone, Serialize, Deserialize)]
pub struct Entry {
    pub source: String,
    pub location: PathBuf,
    pub original_file: i64,
}

/// A saved fileset.
#[derive(Clone, Serialize, Deserialize)]
pub struct Fileset {
    pub id: i64,
    pub files: Vec<Entry>,
    /// A file lies above what the others have in common, so that the server does not find it again.
    pub leads_up: bool,
}

/// What an import made.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    pub fileset: i64,
    pub images: Vec<i64>,
    pub pixels: Vec<i64>,
    pub plates: Vec<i64>,
}

/// What the user asked for beyond the files.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Wishes {
    pub name: Option<String>,
    pub description: Option<String>,
    pub namespaces: Vec<String>,
    pub texts: Vec<String>,
    pub links: Vec<i64>,
    pub container: Option<Container>,
    /// How to choose among several of a name, the pattern, the directory of the first file.
    pub template: Option<(String, String, String)>,
}

/// What the server has to do once all files are there.
#[derive(Serialize, Deserialize)]
pub struct Job {
    pub context: Context,
    pub candidate: Candidate,
    pub fileset: Fileset,
    pub wishes: Wishes,
    pub faults: Faults,
}

/// Why the server made no images.
#[derive(Serialize, Deserialize)]
pub enum Refusal {
    /// Its answer, as the importer gets it.
    Answer { name: String, exception: String, message: String },
    /// There was no answer.
    Gone(String),
}

/// The name under which the server half of this program runs.
pub const SERVER: &str = "omero-server";

/// Lets the server import a fileset, and waits for it. Where it takes its time, it is a process of its own, which the
/// end of the importer does not concern.
pub fn import(store: &mut Store, job: &Job) -> Result<Outcome, Refusal> {
    let path = job.candidate.file.as_str();
    let takes_time = path.contains("sleepInitFile=")
        || job.faults.planned("server-import", path)
        || job.faults.planned("while-server-imports", path);
    if takes_time { apart(store, job) } else { work(store, job) }
}

/// The server's part in this process.
fn work(store: &mut Store, job: &Job) -> Result<Outcome, Refusal> {
    let path = job.candidate.file.as_str();
    job.faults.strike("server-import", Some(path));
    if let Some(f) = job.faults.take("import-error", None, Some(path)) {
        let exception = f.text.unwrap_or_else(|| "java.lang.RuntimeException: stand-in".to_owned());
        return Err(Refusal::answer("import-request-failure", exception));
    }
    read_in_repository(store, job)?;
    make_images(store, job).map_err(|why| Refusal::answer("import-request-failure", why))
}

impl Refusal {
    /// The server's answer for an exception, of which the message is what follows its class.
    fn answer(name: &str, exception: String) -> Self {
        let message = exception.split_once(": ").map_or(exception.as_str(), |(_, m)| m).to_owned();
        Self::Answer { name: name.to_owned(), exception, message }
    }
}

/// The server opens what lies in the repository, and uses no file that does not lie there.
fn read_in_repository(store: &Store, job: &Job) -> Result<(), Refusal> {
    let Some(first) = job.fileset.files.first() else { return Ok(()) };
    let exception = match Reader::at("/".into()).look(&first.location) {
        Looked::Candidate(c) => {
            let repository = normal(&store.repository());
            let outside: Vec<&String> =
                c.used.iter().filter(|u| !normal(Path::new(u)).starts_with(&repository)).collect();
            if outside.is_empty() {
                return Ok(());
            }
            let mut text = format!(
                "ome.conditions.SecurityViolation: reader for {} accesses data outside managed repository:",
                first.location.display()
            );
            for path in outside {
                text += &format!("\n\t{path}");
            }
            text
        }
        Looked::Unknown => {
            format!("loci.formats.UnknownFormatException: Unknown file format: {}", first.location.display())
        }
        Looked::Unreadable => {
            format!("java.io.FileNotFoundException: {} (No such file or directory)", first.location.display())
        }
        Looked::MissingLibrary(why) | Looked::Broken(why) => why,
    };
    Err(Refusal::answer("error-on-init", exception))
}

/// A path without `.` and `..`; links stay.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

/// The server's part in a process of its own: in no group of the importer's, with none of its files open.
fn apart(store: &Store, job: &Job) -> Result<Outcome, Refusal> {
    use std::os::unix::process::CommandExt;
    let gone = |e: &dyn std::fmt::Display| Refusal::Gone(format!("Ice.ConnectionLostException: {e}"));
    let jobs = store.dir.join("jobs");
    let file = jobs.join(format!("{}.json", sys::uuid()));
    std::fs::create_dir_all(&jobs).map_err(|e| gone(&e))?;
    std::fs::write(&file, serde_json::to_vec(job).map_err(|e| gone(&e))?).map_err(|e| gone(&e))?;
    let me = std::env::current_exe().map_err(|e| gone(&e))?;
    let kept = std::env::vars_os().filter(|(k, _)| {
        let k = k.to_string_lossy();
        k.starts_with("OMERO_STANDIN") || ["PATH", "HOME", "LC_ALL", "LANG"].contains(&k.as_ref())
    });
    let mut child = std::process::Command::new(me)
        .arg0(SERVER)
        .arg(&file)
        .env_clear()
        .envs(kept)
        .env("OMERO_STANDIN", &store.dir)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| gone(&e))?;
    job.faults.strike("while-server-imports", Some(&job.candidate.file));
    let status = child.wait().map_err(|e| gone(&e))?;
    let answer = std::fs::read(file.with_extension("answer"));
    let _ = std::fs::remove_file(file.with_extension("answer"));
    match answer {
        Ok(text) => serde_json::from_slice(&text).map_err(|e| gone(&e))?,
        Err(_) => Err(gone(&status)),
    }
}

/// The program under the name of the server: does what the file says, and leaves its answer beside it.
pub fn main(file: &Path) -> i32 {
    let Some(dir) = Store::directory() else { return 99 };
    let job: Option<Job> = std::fs::read(file).ok().and_then(|t| serde_json::from_slice(&t).ok());
    let (Some(job), Ok(mut store)) = (job, Store::open(&dir)) else { return 99 };
    let _ = std::fs::remove_file(file);
    let result = work(&mut store, &job);
    let written = serde_json::to_vec(&result)
        .map_err(std::io::Error::from)
        .and_then(|t| std::fs::write(file.with_extension("part"), t))
        .and_then(|()| std::fs::rename(file.with_extension("part"), file.with_extension("answer")));
    i32::from(written.is_err())
}

pub fn describe(c: Container) -> String {
    match c {
        Container::Dataset(id) => format!("Dataset:{id}"),
        Container::Screen(id) => format!("Screen:{id}"),
    }
}

fn sql(e: rusqlite::Error) -> String {
    let text = e.to_string();
    drop(e);
    format!("omero.InternalException: {text}")
}

/// Whether the session may put something into a container.
pub fn may_fill(store: &Store, context: &Context, c: Container) -> rusqlite::Result<bool> {
    let (table, id) = match c {
        Container::Dataset(id) => ("dataset", id),
        Container::Screen(id) => ("screen", id),
    };
    let (owner, group) =
        store.db.query_row(&format!("select owner_id, group_id from {table} where id = ?1"), [id], |r| {
            Ok((r.get(0)?, r.get(1)?))
        })?;
    store.may_link(context, owner, group, false)
}

/// A new row of a class whose rows have an owner; returns its id.
fn insert(
    db: &Connection,
    context: &Context,
    event: i64,
    table: &str,
    columns: &[(&str, &dyn rusqlite::ToSql)],
) -> rusqlite::Result<i64> {
    let names: Vec<&str> = columns.iter().map(|c| c.0).collect();
    let marks: Vec<String> = (0..columns.len()).map(|i| format!("?{}", i + 1)).collect();
    let text = format!(
        "insert into {table} ({}, owner_id, group_id, creation_event, update_event) values ({}, {}, {}, {event}, {event})",
        names.join(", "),
        marks.join(", "),
        context.user,
        context.group
    );
    let values: Vec<&dyn rusqlite::ToSql> = columns.iter().map(|c| c.1).collect();
    db.prepare_cached(&text)?.execute(values.as_slice())?;
    Ok(db.last_insert_rowid())
}

/// The directory that all used files share, so that formats whose files lie in
/// sub-directories keep them.
fn common_directory(used: &[String]) -> PathBuf {
    let parent = |p: &str| Path::new(p).parent().map_or_else(|| PathBuf::from("/"), Path::to_path_buf);
    let mut common = parent(&used[0]);
    for u in used {
        let mine = parent(u);
        while !mine.starts_with(&common) {
            if !common.pop() {
                break;
            }
        }
    }
    if common.file_name().is_some_and(|n| n.to_string_lossy().to_lowercase().ends_with(".zarr")) {
        common.pop();
    }
    common
}

/// A directory in the managed repository that nobody has: `user_id/yyyy-mm/dd/time`.
fn new_directory(store: &Store, context: &Context) -> Result<String, String> {
    let parents_of = |ms: i64| {
        let c = sys::local_time(ms / 1000);
        (
            format!("{}_{}/{}-{:02}/{:02}", context.user_name, context.user, c.year, c.month, c.day),
            format!("{:02}-{:02}-{:02}.{:03}", c.hour, c.minute, c.second, ms % 1000),
        )
    };
    let mut ms = sys::now_ms();
    loop {
        let (parent, name) = parents_of(ms);
        let dir = store.repository().join(&parent);
        let refused =
            |e: &std::io::Error| format!("omero.ResourceError: Cannot create {}: {e}", dir.display());
        std::fs::create_dir_all(&dir).map_err(|e| refused(&e))?;
        match std::fs::create_dir(dir.join(&name)) {
            Ok(()) => return Ok(format!("{parent}/{name}/")),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => ms += 1,
            Err(e) => return Err(refused(&e)),
        }
    }
}

/// The components of the place in the repository of a file that lies `below` the directory which the used files have in
/// common. A `..` among them leads out of the fileset's own directory, and at most to the repository's root.
fn in_repository(prefix: &str, below: &Path) -> Result<Vec<String>, String> {
    let mut place: Vec<String> = prefix.split('/').filter(|p| !p.is_empty()).map(str::to_owned).collect();
    for part in below.components() {
        match part {
            Component::ParentDir => {
                place.pop().ok_or("omero.ValidationException: Path may not make references above root")?;
            }
            Component::Normal(name) => place.push(safe_component(&name.to_string_lossy())),
            _ => {}
        }
    }
    Ok(place)
}

/// Saves the fileset and where each file came from, before anything is transferred.
pub fn save_fileset(
    store: &mut Store,
    context: &Context,
    c: &Candidate,
    transfer: Transfer,
) -> Result<Fileset, String> {
    let prefix = new_directory(store, context)?;
    let mut base = common_directory(&c.used);
    // So many directories are kept that a `..` stays below the fileset's own.
    let up = |u: &String| {
        let below = Path::new(u).strip_prefix(&base).unwrap_or_else(|_| Path::new(u));
        below.components().take_while(|p| *p == Component::ParentDir).count()
    };
    let ups = c.used.iter().map(up).max().unwrap_or(0);
    if ups > 0 {
        base = base.ancestors().nth(ups + 1).unwrap_or_else(|| Path::new("/")).to_owned();
    }
    let repository = store.repository();
    let tx = store.db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(sql)?;
    let event = event(&tx, context).map_err(sql)?;
    let id = insert(
        &tx,
        context,
        event,
        "fileset",
        &[("template_prefix", &prefix), ("session", &context.session)],
    )
    .map_err(sql)?;
    let mut files = Vec::new();
    for (position, source) in c.used.iter().enumerate() {
        let below = Path::new(source).strip_prefix(&base).unwrap_or_else(|_| Path::new(source));
        let place = in_repository(&prefix, below)?;
        let (name, parents) = place.split_last().ok_or("no file name")?;
        let mut path = String::new();
        let mut location = repository.clone();
        for p in parents {
            path += &format!("{p}/");
            location.push(p);
        }
        std::fs::create_dir_all(&location).map_err(|e| format!("omero.ResourceError: {e}"))?;
        location.push(name);
        let original_file = insert(
            &tx,
            context,
            event,
            "original_file",
            &[
                ("name", name),
                ("path", &path),
                ("repo", &"managed"),
                ("mimetype", &"application/octet-stream"),
            ],
        )
        .map_err(sql)?;
        insert(
            &tx,
            context,
            event,
            "fileset_entry",
            &[
                ("fileset", &id),
                ("original_file", &original_file),
                ("client_path", &client_path(source)),
                ("position", &i64::try_from(position).unwrap_or(0)),
            ],
        )
        .map_err(sql)?;
        files.push(Entry { source: source.clone(), location, original_file });
    }
    let note = insert(
        &tx,
        context,
        event,
        "annotation",
        &[("discriminator", &"comment"), ("ns", &TRANSFER_NS), ("text_value", &transfer.class())],
    )
    .map_err(sql)?;
    insert(&tx, context, event, "fileset_annotation_link", &[("parent", &id), ("child", &note)])
        .map_err(sql)?;
    tx.commit().map_err(sql)?;
    Ok(Fileset { id, files, leads_up: ups > 0 })
}

fn event(db: &Connection, context: &Context) -> rusqlite::Result<i64> {
    db.execute(
        "insert into event (time, experimenter, experimenter_group) values (?1, ?2, ?3)",
        params![sys::now_ms(), context.user, context.group],
    )?;
    Ok(db.last_insert_rowid())
}

fn check_failed(location: &Path, reason: &str) -> String {
    let line = "\n-----------------------------------------------\n";
    format!(
        "java.lang.RuntimeException: {line}Check failed: {} {reason}!\nYou likely do not have access to the \
         ManagedRepository for in-place import.\nAborting...{line}",
        location.display()
    )
}

/// Brings one file to its place and notes its checksum.
pub fn transfer(
    store: &Store,
    file: &Entry,
    how: Transfer,
    hasher: &str,
    faults: &Faults,
) -> Result<(), String> {
    let source = Path::new(&file.source);
    let location = &file.location;
    let path = Some(file.source.as_str());
    if faults.take("disk-full", None, path).is_some() {
        return Err(format!("java.io.IOException: No space left on device: {}", location.display()));
    }
    if how.in_place() {
        if location.symlink_metadata().is_ok() || faults.take("exists", None, path).is_some() {
            return Err(format!("java.lang.RuntimeException: {} exists!", location.display()));
        }
        check_location(location, faults, path)?;
    }
    let io = |e: std::io::Error| match how {
        Transfer::Link | Transfer::LinkRm => format!(
            "java.nio.file.FileSystemException: {} -> {}: {}",
            location.display(),
            file.source,
            os_text(&e)
        ),
        _ => format!("java.io.IOException: {}: {}", location.display(), os_text(&e)),
    };
    match how {
        Transfer::Symlink => symlink(source, location).map_err(io)?,
        Transfer::Link | Transfer::LinkRm => std::fs::hard_link(source, location).map_err(io)?,
        _ => {
            std::fs::copy(source, location).map_err(io)?;
        }
    }
    let unreadable = |e: std::io::Error| {
        format!(
            "java.lang.RuntimeException: omero.ResourceError : {}\nThe server could not check the size of the file:\n\
             -----------------------------------------------\n{}\n-----------------------------------------------\n\
             Most likely the server process has no read access\nand therefore in-place import cannot proceed. You\n\
             should delete this file manually if you are sure\nthat the original is safe.\n",
            os_text(&e),
            location.display()
        )
    };
    let size = std::fs::metadata(location).map_err(unreadable)?.len();
    let local = checksum(hasher, source).map_err(|e| format!("java.io.IOException: {e}"))?;
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    store
        .db
        .execute(
            "update original_file set size = ?2, hash = ?3, hasher = ?4 where id = ?1",
            params![file.original_file, size, local, hasher],
        )
        .map_err(sql)?;
    Ok(())
}

/// Notes that all files of a fileset are there, which the server does before it begins with the metadata.
pub fn note_upload(store: &Store, fileset: i64) -> Result<(), String> {
    store.db.execute("update fileset set uploaded = 1 where id = ?1", [fileset]).map(|_| ()).map_err(sql)
}

fn os_text(e: &std::io::Error) -> String {
    let text = e.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// The server writes a random text where the file shall be; whoever imports in
/// place must find it, and be able to change and remove it.
fn check_location(location: &Path, faults: &Faults, path: Option<&str>) -> Result<(), String> {
    let word = sys::uuid();
    let written = std::fs::File::create(location).and_then(|mut f| f.write_all(word.as_bytes()));
    if written.is_err() || faults.take("repository-not-writable", None, path).is_some() {
        let _ = std::fs::remove_file(location);
        return Err(check_failed(location, "cannot be modified locally"));
    }
    match std::fs::read_to_string(location) {
        Err(_) => Err(check_failed(location, "cannot be read")),
        Ok(t) if t != word => Err(check_failed(location, "does not match check text")),
        Ok(_) => {
            std::fs::remove_file(location).map_err(|_| check_failed(location, "could not be cleaned up"))
        }
    }
}

/// A file's checksum as hexadecimal text. Algorithms other than SHA1 and the
/// size are not computed for real: a digest in their name serves.
pub fn checksum(hasher: &str, path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    if hasher == "File-Size-64" {
        return Ok(format!("{:016x}", std::fs::metadata(path)?.len()));
    }
    let mut digest = Sha1::new();
    if hasher != "SHA1-160" {
        digest.update(hasher.as_bytes());
    }
    let mut f = std::fs::File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = f.read(&mut buffer)?;
        if n == 0 {
            return Ok(hex(&digest.finalize()));
        }
        digest.update(&buffer[..n]);
    }
}

/// Makes the images (and the plate) of a fileset that has been transferred.
fn make_images(store: &mut Store, job: &Job) -> Result<Outcome, String> {
    let Job { context, candidate: c, fileset, wishes, .. } = job;
    let container = match &wishes.template {
        Some((which, pattern, directory)) => {
            template(store, context, which, pattern, directory, c.plate.is_some())
        }
        None => wishes.container,
    };
    let tx = store.db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(sql)?;
    // It may have been deleted meanwhile.
    let there = tx.prepare("select 1 from fileset where id = ?1").and_then(|mut q| q.exists([fileset.id]));
    if !there.map_err(sql)? {
        return Err(format!(
            "omero.ValidationException: No row with the given identifier exists: [ome.model.fs.Fileset#{}]",
            fileset.id
        ));
    }
    // Whoever closes a session ends what the server does in it.
    let open = tx
        .prepare("select 1 from session where uuid = ?1 and closed is null")
        .and_then(|mut q| q.exists([&context.session]));
    if !open.map_err(sql)? {
        return Err("omero.cmd.HandleI$Cancel: error-on-init".to_owned());
    }
    let outcome = images(&tx, context, c, fileset, wishes, container).map_err(sql)?;
    tx.commit().map_err(sql)?;
    Ok(outcome)
}

fn image_name(c: &Candidate, wishes: &Wishes, series: usize) -> String {
    let file = Path::new(&c.file);
    let file_name = match c.reader.as_str() {
        // A directory format is known by its directory.
        "loci.formats.in.ZarrReader" => file
            .ancestors()
            .filter_map(Path::file_name)
            .map(|n| n.to_string_lossy().into_owned())
            .find(|n| n.to_lowercase().ends_with(".zarr")),
        _ => file.file_name().map(|n| n.to_string_lossy().into_owned()),
    };
    let base = wishes
        .name
        .as_deref()
        .map(str::trim)
        .filter(|n| !n.is_empty())
        .map_or_else(|| file_name.unwrap_or_default(), str::to_owned);
    let name = if c.series.len() > 1 {
        let label = c.series[series].clone().unwrap_or_else(|| series.to_string());
        format!("{base} [{label}]")
    } else {
        base
    };
    let length = name.chars().count();
    if length > 255 { format!("…{}", name.chars().skip(length - 254).collect::<String>()) } else { name }
}

fn images(
    db: &Connection,
    context: &Context,
    c: &Candidate,
    fileset: &Fileset,
    wishes: &Wishes,
    container: Option<Container>,
) -> rusqlite::Result<Outcome> {
    let event = event(db, context)?;
    let mut made = Outcome { fileset: fileset.id, ..Outcome::default() };
    for series in 0..c.series.len() {
        let name = image_name(c, wishes, series);
        let number = i64::try_from(series).unwrap_or(0);
        let image = insert(
            db,
            context,
            event,
            "image",
            &[
                ("name", &name),
                ("description", &wishes.description),
                ("series", &number),
                ("fileset", &fileset.id),
            ],
        )?;
        made.images.push(image);
        made.pixels.push(insert(db, context, event, "pixels", &[("image", &image)])?);
    }
    if let Some((name, wells)) = &c.plate {
        let plate_name = wishes.name.as_ref().unwrap_or(name);
        let plate = insert(
            db,
            context,
            event,
            "plate",
            &[("name", &plate_name), ("description", &wishes.description)],
        )?;
        let mut images = made.images.iter();
        for w in wells {
            let well = insert(
                db,
                context,
                event,
                "well",
                &[("plate", &plate), ("well_column", &w.column), ("well_row", &w.row)],
            )?;
            for _ in 0..w.images {
                if let Some(image) = images.next() {
                    insert(db, context, event, "well_sample", &[("well", &well), ("image", image)])?;
                }
            }
        }
        made.plates.push(plate);
        if let Some(Container::Screen(screen)) = container {
            insert(db, context, event, "screen_plate_link", &[("parent", &screen), ("child", &plate)])?;
        }
    }
    // Into a dataset go images, also those of a plate; a screen has no place for them.
    if let Some(Container::Dataset(dataset)) = container {
        for image in &made.images {
            insert(db, context, event, "dataset_image_link", &[("parent", &dataset), ("child", image)])?;
        }
    }
    annotate(db, context, event, &made, wishes)?;
    Ok(made)
}

/// Comments on every image. Namespaces count only when there are as many as texts.
fn annotate(
    db: &Connection,
    context: &Context,
    event: i64,
    made: &Outcome,
    wishes: &Wishes,
) -> rusqlite::Result<()> {
    let mut comments: Vec<i64> = wishes.links.clone();
    for (i, text) in wishes.texts.iter().enumerate() {
        let ns = if wishes.namespaces.len() == wishes.texts.len() { wishes.namespaces.get(i) } else { None };
        comments.push(insert(
            db,
            context,
            event,
            "annotation",
            &[("discriminator", &"comment"), ("ns", &ns), ("text_value", text)],
        )?);
    }
    for image in &made.images {
        for comment in &comments {
            insert(db, context, event, "image_annotation_link", &[("parent", image), ("child", comment)])?;
        }
    }
    Ok(())
}

/// What a fileset has, whoever imported it.
pub fn outcome_of(store: &Store, fileset: i64) -> rusqlite::Result<Outcome> {
    let ids = |text: &str| -> rusqlite::Result<Vec<i64>> {
        let mut q = store.db.prepare(text)?;
        q.query_map([fileset], |r| r.get(0))?.collect()
    };
    Ok(Outcome {
        fileset,
        images: ids("select id from image where fileset = ?1 order by series, id")?,
        pixels: ids(
            "select p.id from pixels p join image i on i.id = p.image where i.fileset = ?1 order by i.id",
        )?,
        plates: ids("select distinct w.plate from well w join well_sample s on s.well = w.id
             join image i on i.id = s.image where i.fileset = ?1")?,
    })
}
