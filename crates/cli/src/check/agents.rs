//! The agents that import, as far as this host can tell.

use crate::account::{Account, Wish};
use crate::finding::{Code, Report};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// The addresses of the agents; none where the `omero` command on this host imports.
pub struct Agents<'a>(Vec<&'a str>);

impl<'a> Agents<'a> {
    /// The agents of a stanza.
    pub fn of(stanza: &'a Value) -> Self {
        let importer = stanza.get("importer").filter(|i| i.get("mode") == Some(&Value::from("agent")));
        let agents = importer.and_then(|i| i.get("agents")).and_then(Value::as_array);
        let urls = agents.into_iter().flatten().map(|agent| agent.get("url").and_then(Value::as_str));
        Self(urls.map(Option::unwrap_or_default).collect())
    }

    /// Whether the command on this host imports.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether another host sees the files.
    pub fn are_elsewhere(&self) -> bool {
        self.0.iter().any(|url| socket(url).is_none())
    }

    /// Looks at the sockets of this host. `pointer` is the stanza's.
    pub fn look(&self, pointer: &str, account: &Account, report: &mut Report) {
        if self.are_elsewhere() {
            report.skip(
                "the directories of 'visibility': run 'irods-omero agent --check' where the agents are",
            );
        }
        for (i, path) in self.0.iter().enumerate().filter_map(|(i, url)| Some((i, socket(url)?))) {
            let who = &account.name;
            let wrong = match fs::metadata(path) {
                Err(e) => e.to_string(),
                Ok(about) if !about.file_type().is_socket() => "it is no socket".to_owned(),
                Ok(_) if !account.may(Wish::Connect, path) => format!("{who} may not write to it"),
                Ok(_) => continue,
            };
            report.add(
                Code::AgentSocket,
                &format!("{pointer}/importer/agents/{i}/url"),
                format_args!("the agent's socket {} cannot be used: {wrong}", path.display()),
                format_args!(
                    "start the agent (systemctl start irods-omero-agent), and let {who} into its group"
                ),
            );
        }
    }
}

/// The socket of an agent on this host.
fn socket(url: &str) -> Option<&Path> {
    url.strip_prefix("unix:").map(Path::new)
}
