//! The plugin's stanza among the rule engines: there, once, in the right place.

use crate::finding::{Code, Report};
use crate::server_config::{ENGINES, PLUGIN};
use serde_json::Value;

/// Rule engines that end the server's loop: what one of them has a rule for never reaches those after it.
const END_THE_LOOP: &[&str] = &[
    "irods_rule_engine_plugin-irods_rule_language",
    "irods_rule_engine_plugin-python",
    "irods_rule_engine_plugin-cpp_default_policy",
];

/// The instance name that the documents and packages use.
const INSTANCE: &str = "irods_rule_engine_plugin-omero-instance";

/// The value of `plugin_specific_configuration` of the first stanza of ours, and its pointer.
pub fn find<'j>(json: &'j Value, report: &mut Report) -> Option<(String, &'j Value)> {
    let Some(engines) = json.pointer(ENGINES).and_then(Value::as_array) else {
        let sentence = "there is no list of rule engines";
        report.add(Code::EnginesMissing, ENGINES, sentence, "name the server_config.json of an iRODS server");
        return None;
    };
    let at = engines.iter().position(is_ours);
    let Some((at, engine)) = at.and_then(|i| Some((i, engines.get(i)?))) else {
        let sentence = format!("no rule engine has the plugin_name '{PLUGIN}'");
        report.add(Code::StanzaMissing, ENGINES, sentence, "run 'omero-stanza insert', which puts it first");
        return None;
    };
    for (i, _) in engines.iter().enumerate().skip(at + 1).filter(|(_, engine)| is_ours(engine)) {
        let sentence = format!("the plugin's stanza is here a second time (the first is {ENGINES}/{at})");
        report.add(Code::StanzaTwice, &format!("{ENGINES}/{i}"), sentence, "remove one of them");
    }
    let pointer = format!("{ENGINES}/{at}");
    for (i, before) in engines.iter().take(at).enumerate() {
        let name = name_of(before).unwrap_or_default();
        if END_THE_LOOP.contains(&name) {
            let sentence = format!(
                "the rule engine {ENGINES}/{i} ({name}) is asked before, and what it has a rule for never reaches \
                 this one"
            );
            report.add(Code::StanzaOrder, &pointer, sentence, "put this stanza first in the list");
        }
    }
    look_at_instance(engine, &pointer, engines.iter().filter(|engine| !is_ours(engine)), report);
    let specific = format!("{pointer}/plugin_specific_configuration");
    let value = engine.get("plugin_specific_configuration");
    if value.is_none() {
        let sentence = "the stanza has no plugin_specific_configuration";
        let remedy = "add it; {} is valid, and nothing is watched then";
        report.add(Code::StanzaWrong, &specific, sentence, remedy);
    }
    value.map(|value| (specific, value))
}

fn name_of(engine: &Value) -> Option<&str> {
    engine.get("plugin_name").and_then(Value::as_str)
}

fn is_ours(engine: &Value) -> bool {
    name_of(engine) == Some(PLUGIN)
}

fn look_at_instance<'j>(
    engine: &Value,
    pointer: &str,
    mut others: impl Iterator<Item = &'j Value>,
    report: &mut Report,
) {
    let at = format!("{pointer}/instance_name");
    match engine.get("instance_name").and_then(Value::as_str) {
        None | Some("") => report.add(
            Code::StanzaWrong,
            &at,
            "the stanza has no instance_name",
            format_args!("add \"instance_name\": \"{INSTANCE}\", the same on every server of the zone"),
        ),
        Some(name) if others.any(|e| e.get("instance_name").and_then(Value::as_str) == Some(name)) => report
            .add(
                Code::InstanceTaken,
                &at,
                format_args!("another rule engine is called '{name}' too"),
                format_args!("call this one '{INSTANCE}', on every server of the zone"),
            ),
        Some(_) => {}
    }
}

/// What to do about a key the reader does not accept; `pointer` is below the stanza.
pub fn remedy_of(pointer: &str) -> String {
    let object = pointer.split('/').nth(1).unwrap_or_default();
    let section = match object {
        "watch" | "users" | "visibility" | "omero" | "importer" | "attributes" => format!("#{object}"),
        _ => String::new(),
    };
    format!("mend it as docs/configuration.md{section} says; until then the plugin does nothing")
}
