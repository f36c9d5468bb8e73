//! Whether what the agent needs is there: OMERO, its command, the jars, the password, the directories, the queue.

use crate::config::Config;
use crate::mounts::Mounts;
use crate::queue::Queue;
use irods_omero_importer::installation::noexec;
use irods_omero_importer::secret;
use irods_omero_importer::settings::{ImporterCommand, Omero, Server, name_of};
use irods_omero_importer::worker;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a look at files may take: longer than the directories themselves have to answer.
const LOOK: Duration = Duration::from_secs(8);

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub name: String,
    /// Whether it is in order.
    pub ok: bool,
    /// What is wrong, with the remedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Finding {
    /// What a look gave.
    pub fn of(name: String, result: Result<(), String>) -> Self {
        Self { name, ok: result.is_ok(), why: result.err() }
    }
}

/// Opens a connection to OMERO and closes it.
///
/// # Errors
/// Why it cannot be reached.
pub async fn connect(server: &Server) -> Result<(), String> {
    // The port is the one that a login uses: the configuration has read it out of a URL.
    let (host, port) = (name_of(&server.host), server.port);
    let unreachable = |why: String| format!("OMERO at {host}:{port} cannot be reached: {why}");
    match timeout(CONNECT, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(e)) => Err(unreachable(e.to_string())),
        Err(_) => Err(unreachable(format!("no answer within {} s", CONNECT.as_secs()))),
    }
}

/// Whether imports into a server are of use now: it can be reached, its password can be read, and its repository can be
/// written, where the configuration names that.
///
/// # Errors
/// Why not, with the remedy.
pub async fn server(omero: &Omero, repository: Option<&Path>) -> Result<(), String> {
    connect(&omero.server).await?;
    let file = omero.server.password_file.clone();
    in_time(move || secret::read(&file).map(drop).map_err(|e| e.to_string())).await?;
    match repository.map(Path::to_owned) {
        Some(path) => in_time(move || writable(&path)).await,
        None => Ok(()),
    }
}

/// The least room in a repository with which imports are begun, in bytes: links and thumbnails need little.
const LEAST_ROOM: u64 = 64 << 20;

/// Whether the agent's account may write into a repository, and there is room in it.
fn writable(repository: &Path) -> Result<(), String> {
    use rustix::fs::{Access, AtFlags, CWD, accessat, statvfs};
    let shown = repository.display();
    accessat(CWD, repository, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).map_err(|e| {
        format!(
            "the repository {shown} cannot be written by the agent's account ({e}): look at its mode and group, and at \
             ReadWritePaths= of the service"
        )
    })?;
    let about = statvfs(repository).map_err(|e| format!("the repository {shown}: {e}"))?;
    let room = about.f_bavail.saturating_mul(about.f_frsize);
    if room < LEAST_ROOM || (about.f_files > 0 && about.f_favail == 0) {
        return Err(format!("the repository {shown} is full: {room} bytes are left"));
    }
    Ok(())
}

/// Does what may hang on a thread of its own, and waits for it for some seconds.
async fn in_time(look: impl FnOnce() -> Result<(), String> + Send + 'static) -> Result<(), String> {
    let looking = tokio::task::spawn_blocking(look);
    match timeout(LOOK, looking).await {
        Ok(Ok(found)) => found,
        Ok(Err(_)) => Err("the agent failed inside while it looked".to_owned()),
        Err(_) => Err(format!("no answer within {} s: does a file system hang?", LOOK.as_secs())),
    }
}

/// Looks at everything.
pub async fn all(config: &Config, queue: &Queue, mounts: &Mounts) -> Vec<Finding> {
    let mut found = vec![Finding::of("queue".to_owned(), queue.probe().await.map_err(|e| e.to_string()))];
    for root in &config.roots {
        let (name, root, mounts) = (format!("root {}", root.display()), root.clone(), mounts.clone());
        found.push(Finding::of(name, in_time(move || mounts.look(&root)).await));
    }
    for (name, omero) in &config.servers {
        found.push(Finding::of(format!("server {name}"), connect(&omero.server).await));
        let file = omero.server.password_file.clone();
        let password = in_time(move || secret::read(&file).map(drop).map_err(|e| e.to_string()));
        found.push(Finding::of(format!("password of {name}"), password.await));
        if let Some(repository) = config.repositories.get(name).cloned() {
            let found_there = in_time(move || writable(&repository)).await;
            found.push(Finding::of(format!("repository of {name}"), found_there));
        }
        let command = omero.importer.clone();
        found.push(Finding::of(format!("importer of {name}"), in_time(move || importer(&command)).await));
    }
    found
}

fn importer(importer: &ImporterCommand) -> Result<(), String> {
    use rustix::fs::{Access, access};
    let command = &importer.command;
    access(command, Access::EXEC_OK).map_err(|e| format!("{} cannot be run: {e}", command.display()))?;
    let jars = &importer.jars;
    let entries = std::fs::read_dir(jars).map_err(|e| format!("{} cannot be read: {e}", jars.display()))?;
    if !entries.flatten().any(|e| e.path().extension().is_some_and(|x| x == "jar")) {
        return Err(format!("{} holds no jar: put the importer's jars there", jars.display()));
    }
    let logback = &importer.logback;
    std::fs::File::open(logback).map_err(|e| format!("{} cannot be read: {e}", logback.display()))?;
    worker::command_of(importer).map_err(|e| e.to_string())?;
    noexec(&importer.work_directory).map_or(Ok(()), Err)
}
