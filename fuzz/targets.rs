//! What is fuzzed: each function takes any bytes, and panics where a promise is broken. The fuzzers call them, and a test
//! of the agent calls them with everything in `corpus/`.

use irods_omero_agent::config::Config as AgentConfig;
use irods_omero_agent::observer::Watching;
use irods_omero_config::Config as PluginConfig;
use irods_omero_importer::wire::{Changes, Job, Key, Outcome, Refusal, Submit, read, to_json};
use irods_omero_importer::{Observer, Subject, client_path, outcome};
use irods_omero_model::identity::OmeroIdentity;
use irods_omero_model::names::{IrodsUser, LogicalPath, OmeroName};
use irods_omero_model::record::Version;
use irods_omero_model::target::{Filling, Target, Template};
use irods_omero_model::watch::{CollectionPattern, Marker, NamePattern, Place, Tag, glob_matches};
use irods_rule_engine_plugin_omero::event;
use irods_rule_engine_plugin_omero::operations::{self, Function, Reading};
use serde_json::Value;

/// The name of a function, which is that of its directory in `corpus/`, and the function.
pub type Fuzzed = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: [Fuzzed; 9] = [
    ("submit", submit),
    ("answer", answer),
    ("agent_config", agent_config),
    ("plugin_config", plugin_config),
    ("importer_output", importer_output),
    ("importer_log", importer_log),
    ("names", names),
    ("templates", templates),
    ("rule_text", rule_text),
];

/// Texts that are separated by a NUL; empty ones where there are fewer.
fn parts<const N: usize>(data: &[u8]) -> [&[u8]; N] {
    let mut parts = data.splitn(N, |b| *b == 0);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// The body of `POST /v1/jobs`.
pub fn submit(data: &[u8]) {
    let Ok(submit) = Submit::read(data) else { return };
    let kept = submit.to_json();
    assert_eq!(Submit::read(&kept).as_ref(), Ok(&submit), "what is kept is read again as it was");
    let batch = submit.into_batch();
    for file in &batch.files {
        assert!(file.importer_path.starts_with('/') && !file.importer_path.contains(['\0', '\n', '\r']));
        client_path::of(&file.importer_path);
    }
}

/// What an agent answers.
pub fn answer(data: &[u8]) {
    let again = |job: &Job| assert_eq!(read::<Job>(&to_json(job)).as_ref(), Ok(job));
    if let Ok(job) = read::<Job>(data) {
        again(&job);
    }
    if let Ok(changes) = read::<Changes>(data) {
        changes.jobs.iter().for_each(again);
        for outcome in changes.jobs.into_iter().flat_map(|job| job.outcomes) {
            outcome.into_file_outcome();
        }
    }
    if let Ok(outcomes) = read::<Vec<Outcome>>(data) {
        outcomes.into_iter().filter_map(Outcome::into_file_outcome).for_each(drop);
    }
    let _ = read::<Refusal>(data);
}

/// `agent.toml`.
pub fn agent_config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match AgentConfig::parse(text) {
        Ok(config) => {
            let servers = config.servers.values().map(|s| s.server.sudo_user.as_str());
            for never in servers.chain(["root", "guest", "ROOT"]) {
                assert!(config.users.check(never).is_err(), "{never} is an administrator");
            }
        }
        Err(problems) => assert!(!problems.is_empty() && problems.iter().all(|p| !p.message.is_empty())),
    }
}

/// `plugin_specific_configuration`.
pub fn plugin_config(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    match PluginConfig::parse(&value) {
        Ok(config) => {
            for path in [&b"/"[..], b"/tempZone/home/alice/run1", b"//\xff/"] {
                config.watch_of(path);
                config.unit_of(path);
            }
        }
        Err(problems) => assert!(!problems.is_empty() && problems.iter().all(|p| !p.message.is_empty())),
    }
}

/// What the `omero` command prints on standard output.
pub fn importer_output(data: &[u8]) {
    let said = String::from_utf8_lossy(data);
    let lines = said.lines().count();
    assert!(outcome::filesets(&said).len() <= lines);
    assert!(outcome::made(&said, "MapAnnotation").len() <= lines);
    assert!(outcome::groups(&said).iter().map(|(_, group)| group.len()).sum::<usize>() <= lines);
    if let Err(why) = outcome::table(&said) {
        assert!(!why.is_empty());
    }
}

/// What the importer logs, in whatever pieces it comes. The first byte says how large they are.
pub fn importer_log(data: &[u8]) {
    const SECRET: &str = "hunter2hunter2";
    let Some((size, log)) = data.split_first() else { return };
    let (whole, pieces) = (Watching::new(100, 1_000), Watching::new(100, 1_000));
    whole.stderr(log);
    log.chunks(usize::from(*size).max(1)).for_each(|piece| pieces.stderr(piece));
    assert_eq!(whole.progress(), pieces.progress(), "it does not matter how it is cut");
    assert!(whole.progress().0 <= 100);
    for watching in [whole, pieces] {
        let kept = watching.log(Some(SECRET));
        assert!(!kept.contains(SECRET) && kept.len() <= 3 * 1_600, "{kept}");
    }
}

/// Names, paths, ids, keys, versions and patterns.
pub fn names(data: &[u8]) {
    if let Ok(path) = LogicalPath::parse(data) {
        assert_eq!(read::<LogicalPath>(&to_json(&path)).as_ref(), Ok(&path));
        assert_eq!(path.elements().last(), Some(path.name()));
        if let Some(parent) = path.parent() {
            assert_eq!(parent.join(path.name()).as_ref(), Ok(&path));
        }
    }
    let [glob, name] = parts(data);
    // Each star more makes the plain way longer by as much as the name is long.
    if glob.split(|b| *b == b'*').count() <= 4 && name.len() <= 64 {
        assert_eq!(glob_matches(glob, name), naive_glob(glob, name));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(user) = IrodsUser::parse(text) {
        assert_eq!(IrodsUser::parse(&user.to_string()), Ok(user));
    }
    if let Ok(name) = OmeroName::parse(text) {
        assert!(!name.as_str().starts_with('-') && !name.as_str().contains(['\n', '\0']));
    }
    if let Ok(subject) = Subject::parse(text) {
        assert_eq!(Subject::parse(&subject.short()), Ok(subject));
    }
    if let Ok(key) = Key::parse(text) {
        assert_eq!(key.as_str(), text);
    }
    Version::parse(text);
    let (glob, name) = text.split_once('\0').unwrap_or((text, "x"));
    if let Ok(pattern) = NamePattern::parse(glob) {
        pattern.fits(name.as_bytes());
    }
    if let Ok(pattern) = CollectionPattern::parse(glob) {
        pattern.may_lie_below(name.as_bytes());
        if let Ok(path) = LogicalPath::parse(name.as_bytes()) {
            let root = pattern.matches(path.as_bytes());
            assert!(root.is_none_or(|n| n <= path.elements().count()), "{glob} {name}");
        }
    }
}

fn naive_glob(glob: &[u8], text: &[u8]) -> bool {
    match glob.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|n| naive_glob(rest, &text[n..])),
        Some((byte, rest)) => text.split_first().is_some_and(|(b, t)| b == byte && naive_glob(rest, t)),
    }
}

/// Targets, their templates, and tags: a template, the units of a tag, a path, and the value of an AVU.
pub fn templates(data: &[u8]) {
    let [template, units, path, avu] = parts(data);
    let text = String::from_utf8_lossy(template);
    if let Ok(target) = Target::parse(&text) {
        is_a_word_of_the_command(&target);
    }
    let _ = Tag::parse(&text, &String::from_utf8_lossy(units));
    let _ = Marker::parse(&text);
    let (Ok(template), Ok(collection)) = (Template::parse(&text), LogicalPath::parse(path)) else { return };
    assert_eq!(Template::parse(template.as_str()).as_ref(), Ok(&template));
    let (Ok(person), Ok(user)) = (IrodsUser::new("alice", "tempZone"), OmeroName::parse("alice")) else {
        return;
    };
    let identity = OmeroIdentity { user, group: None };
    let avu = String::from_utf8_lossy(avu).into_owned();
    let mut values = |_: &str| Ok(vec![avu.clone()]);
    let place = Place { collection: &collection, root: 1 };
    let mut filling =
        Filling { place, person: &person, identity: &identity, modify_time: 1_700_000_000, avu: &mut values };
    if let Ok(target) = template.fill(&mut filling) {
        is_a_word_of_the_command(&target);
    }
}

/// A target is given to the `omero` command as it is.
fn is_a_word_of_the_command(target: &Target) {
    let text = target.as_str();
    assert!(!text.starts_with('-') && !text.chars().any(char::is_control), "{text:?}");
    assert_eq!(Target::parse(text).as_ref(), Ok(target), "{text:?}");
}

/// What a client may send into the server: rule texts, JSON of policy enforcement points, metadata of puts.
pub fn rule_text(data: &[u8]) {
    match operations::read(data) {
        Reading::Ours(request) => assert_eq!(operations::read_json(&request.json), Reading::Ours(request)),
        Reading::Wrong(why) | Reading::NotOurs(why) => assert!(!why.is_empty()),
    }
    let _ = event::json(data);
    assert!(event::carried(data).map(|part| part.len()).sum::<usize>() <= data.len());
    let [name, argument] = parts(data);
    if let Some(function) = Function::of(name) {
        let _ = function.request(&[argument]);
    }
}
