//! The object `save`: what people in OMERO may have written into iRODS, and where.

use super::needed_path;
use irods_omero_model::form::Form;
use irods_omero_model::save::CollectionTemplate;
use std::time::Duration;

/// How saves are done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saving {
    /// The collection of a save that names none.
    pub collection: CollectionTemplate,
    /// The resource that data objects are made on; `None` for the user's default.
    pub resource: Option<String>,
    /// Where a resource sees files of the OMERO host, so that they are registered where they are.
    pub register: Vec<Registered>,
    /// How often the agents are asked for saves.
    pub interval: Duration,
}

/// A directory of the OMERO host that a resource sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// Its path on the OMERO host.
    pub host_prefix: String,
    /// The resource.
    pub resource: String,
    /// Its path on the server of that resource.
    pub prefix: String,
}

impl Registered {
    /// Where the resource sees a file of the OMERO host.
    pub fn seen(&self, host_path: &str) -> Option<String> {
        let rest = host_path.strip_prefix(&self.host_prefix)?;
        let leads_elsewhere = rest.split('/').any(|element| matches!(element, "." | ".."));
        (rest.starts_with('/') && !leads_elsewhere && !host_path.chars().any(char::is_control))
            .then(|| format!("{}{rest}", self.prefix))
    }
}

/// Reads it; `None` where nothing is saved.
pub(super) fn read(form: Form<'_>, has_agents: bool) -> Option<Saving> {
    let enabled = form.flag("enabled", false);
    let collection = form.text("collection").and_then(|text| {
        CollectionTemplate::parse(text).map_err(|message| form.problem("collection", message)).ok()
    });
    let resource = form.text("resource").map(str::to_owned);
    if let Some(resource) = &resource
        && resource.contains(';')
    {
        form.problem("resource", format_args!("'{resource}' is a hierarchy: name its first resource"));
    }
    let mut register = Vec::new();
    for (pointer, value) in form.list("register") {
        register.extend(Form::open(pointer, value, form.problems()).and_then(registered));
    }
    let interval = form.seconds("interval_in_seconds", 30, 1..=3_600);
    if enabled && !has_agents {
        form.problem("enabled", "only agents take saves: set /importer/mode to \"agent\", or leave this out");
    }
    form.close();
    enabled.then(|| Saving { collection: collection.unwrap_or_default(), resource, register, interval })
}

fn registered(form: Form<'_>) -> Option<Registered> {
    let host_prefix = needed_path(&form, "host_prefix", "the directory on the OMERO host");
    let prefix = if form.value("prefix").is_none() {
        host_prefix // the same path on both hosts
    } else {
        form.host_path("prefix")
    };
    let resource = super::needed_text(&form, "resource", "the resource that sees this directory");
    let is_all = super::all_of_the_host(&form, "host_prefix", host_prefix)
        | super::all_of_the_host(&form, "prefix", prefix.filter(|_| form.value("prefix").is_some()));
    form.close();
    let trimmed = |path: &str| path.trim_end_matches('/').to_owned();
    (!is_all).then_some(())?;
    Some(Registered {
        host_prefix: trimmed(host_prefix?),
        prefix: trimmed(prefix?),
        resource: resource?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use serde_json::{Value, json};

    fn problems(save: &Value, mode: &str) -> Vec<String> {
        let agents = json!([{"name": "a", "url": "unix:/run/a.sock"}]);
        let stanza = json!({"save": save, "importer": {"mode": mode, "agents": agents}});
        let stanza = if mode == "agent" { stanza } else { json!({"save": save}) };
        Config::parse(&stanza).err().into_iter().flatten().map(|p| format!("{}: {}", p.pointer, p.message)).collect()
    }

    #[test]
    fn nothing_is_saved_unless_the_site_says_so() {
        assert_eq!(Config::parse(&json!({})).unwrap().saving, None);
        assert_eq!(Config::parse(&json!({"save": {"collection": "/z/{user}"}})).unwrap().saving, None);
    }

    #[test]
    fn a_stanza_with_a_mistake_is_refused_at_its_place() {
        assert_eq!(problems(&json!({"enabled": true}), "agent"), Vec::<String>::new());
        for (save, mode, part) in [
            (json!({"enabled": true}), "command", "/save/enabled: only agents"),
            (json!({"collection": "x"}), "agent", "/save/collection"),
            (json!({"collection": "/z/{who}"}), "agent", "'{who}' is not known"),
            (json!({"resource": "a;b"}), "agent", "/save/resource"),
            (json!({"register": [{"host_prefix": "/r"}]}), "agent", "/save/register/0/resource"),
            (json!({"register": [{"host_prefix": "/", "resource": "r"}]}), "agent", "every file of the host"),
            (json!({"register": true}), "agent", "/save/register"),
            (json!({"resourc": "a"}), "agent", "/save/resourc"),
        ] {
            let all = problems(&save, mode).join("\n");
            assert!(all.contains(part), "{save}: {all}");
        }
    }

    #[test]
    fn a_file_is_seen_below_its_directory_and_nowhere_else() {
        let registered = Registered {
            host_prefix: "/OMERO/Managed".to_owned(),
            resource: "r".to_owned(),
            prefix: "/mnt/omero".to_owned(),
        };
        assert_eq!(registered.seen("/OMERO/Managed/a/b.tif").as_deref(), Some("/mnt/omero/a/b.tif"));
        for elsewhere in ["/OMERO/Managed2/a", "/OMERO/Managed/../x", "/OMERO/Managed", "/etc/passwd", "/OMERO/Managed/a\n"] {
            assert_eq!(registered.seen(elsewhere), None, "{elsewhere:?}");
        }
    }
}
