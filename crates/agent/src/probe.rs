//! Whether what the agent needs is there: OMERO, its command, the jars, the password, the directories, the queue.

use crate::config::Config;
use crate::queue::Queue;
use irods_omero_importer::secret;
use irods_omero_importer::settings::{ImporterCommand, Server, name_of};
use irods_omero_importer::worker;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

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
    fn of(name: String, result: Result<(), String>) -> Self {
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

/// Looks at everything.
pub async fn all(config: &Config, queue: &Queue) -> Vec<Finding> {
    let mut found = vec![Finding::of("queue".to_owned(), queue.probe().await.map_err(|e| e.to_string()))];
    for root in &config.roots {
        found.push(Finding::of(format!("root {}", root.display()), readable(root)));
    }
    for (name, omero) in &config.servers {
        found.push(Finding::of(format!("server {name}"), connect(&omero.server).await));
        let password = secret::read(&omero.server.password_file).map(drop).map_err(|e| e.to_string());
        found.push(Finding::of(format!("password of {name}"), password));
        found.push(Finding::of(format!("importer of {name}"), importer(&omero.importer)));
    }
    found
}

fn readable(directory: &Path) -> Result<(), String> {
    std::fs::read_dir(directory)
        .map(drop)
        .map_err(|e| format!("{} cannot be read by the agent's account: {e}", directory.display()))
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
    worker::command_of(importer).map(drop).map_err(|e| e.to_string())
}
