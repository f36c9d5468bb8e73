//! The object `save`: what people in OMERO may have written into iRODS, and where.

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
    /// How often the agents are asked for saves.
    pub interval: Duration,
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
    let interval = form.seconds("interval_in_seconds", 30, 1..=3_600);
    if enabled && !has_agents {
        form.problem("enabled", "only agents take saves: set /importer/mode to \"agent\", or leave this out");
    }
    form.close();
    enabled.then(|| Saving { collection: collection.unwrap_or_default(), resource, interval })
}

#[cfg(test)]
mod tests {
    use crate::Config;
    use serde_json::{Value, json};

    fn problems(save: &Value, mode: &str) -> Vec<String> {
        let agents = json!([{"name": "a", "url": "unix:/run/a.sock"}]);
        let stanza = json!({"save": save, "importer": {"mode": mode, "agents": agents}});
        let stanza = if mode == "agent" { stanza } else { json!({"save": save}) };
        Config::parse(&stanza)
            .err()
            .into_iter()
            .flatten()
            .map(|p| format!("{}: {}", p.pointer, p.message))
            .collect()
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
            (json!({"resourc": "a"}), "agent", "/save/resourc"),
        ] {
            let all = problems(&save, mode).join("\n");
            assert!(all.contains(part), "{save}: {all}");
        }
    }
}
