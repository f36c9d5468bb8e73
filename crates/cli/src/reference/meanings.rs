//! What each key means, and what is an error beside a value of the wrong type. In the order of the documents.

/// What holds without a key that has to be there.
pub const NEEDED: &str = "needed";

/// The same where the importer is the `omero` command on the iRODS server.
pub const NEEDED_WITH_COMMAND: &str = "needed with `command`";

/// What a value is where the reader's own word for it says too little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// As the reader says.
    AsRead,
    /// A list of texts.
    Texts,
    /// A list of objects.
    Objects,
    /// A list of texts or objects.
    TextsOrObjects,
    /// A text, or a list of texts.
    TextOrTexts,
    /// An object of texts.
    MapOfTexts,
    /// An object of texts or objects.
    MapOfTextsOrObjects,
    /// A text.
    Text,
    /// A whole number that may be negative.
    Integer(i64, i64),
}

/// The description of one key.
#[derive(Debug, Clone)]
pub struct Meaning {
    /// Its pointer below `plugin_specific_configuration`, with `*` for a place in a list or a word of the site.
    pub key: String,
    /// What its value is.
    pub shape: Shape,
    /// What holds without it, where the reader does not say; [`NEEDED`] where it has to be there.
    pub default: &'static str,
    /// What it means.
    pub meaning: String,
    /// What is an error beside a value of another type.
    pub error: &'static str,
}

impl From<&Row> for Meaning {
    fn from(&(key, shape, default, meaning, error): &Row) -> Self {
        Self { key: key.to_owned(), shape, default, meaning: meaning.to_owned(), error }
    }
}

/// Key, shape, default, meaning, error.
pub type Row = (&'static str, Shape, &'static str, &'static str, &'static str);

use Shape::{
    AsRead, Integer, MapOfTexts, MapOfTextsOrObjects, Objects, Text, TextOrTexts, Texts, TextsOrObjects,
};

/// Every key but those of `attributes`.
#[rustfmt::skip]
pub const MEANINGS: &[Row] = &[
    ("/watch", TextsOrObjects, "empty", "collections whose data is imported: patterns, or objects with options of their own", "no absolute path, a pattern for the zone"),
    ("/tags", AsRead, "", "whether collections and data objects may be tagged to be imported, where `omero`, `importer` and `visibility` are configured", ""),
    ("/tag_cache_in_seconds", AsRead, "", "how long a connection remembers whether a collection is watched", ""),
    ("/target", AsRead, "`Dataset:name:{collection[-1]}`", "the container in OMERO", "another form, an unknown field, an empty name"),
    ("/plate_target", AsRead, "none", "the screen for plates", "no screen; a `target` that is one"),
    ("/quiet_period_in_seconds", AsRead, "", "data counts as complete when nothing in its collection has changed for this long", ""),
    ("/complete_marker", AsRead, "none", "name pattern of a file, or `avu:NAME`: what shows that a collection is complete", "a `/` in it"),
    ("/include", Texts, "all but dot files, thumbnails, logs, checksums and temporary files", "only files of such names are data", "a `/` in it"),
    ("/exclude", Texts, "empty", "files of such names are no data", "a `/` in it"),
    ("/exclude_collections", Texts, "`.*`, `__MACOSX`, `@eaDir`, `$RECYCLE.BIN`, `System Volume Information`", "collections of such names, with all below them, are left out", "a `/` in it"),
    ("/on_overwrite", AsRead, "", "what happens when imported data is overwritten", "another word"),
    ("/on_delete_in_omero", AsRead, "", "what becomes of data whose images somebody deletes in OMERO: [life-after-import.md](life-after-import.md#when-somebody-deletes-in-omero)", "another word"),
    ("/guard", AsRead, "as below", "what may be done to imported data: [life-after-import.md](life-after-import.md#what-is-refused)", ""),
    ("/directory_formats", Texts, "`[\"*.zarr\", \"*.ome.zarr\"]`", "collections that are one image with all below them", "a `/` in it"),
    ("/multi_file_formats", Texts, "`*.companion.ome`, `*.mvd2`, `*.nd` and others", "files that hold a set of several files together", "a `/` in it"),
    ("/max_wait_in_seconds", AsRead, "", "what has been quiet itself for this long is imported even if its collection never settles; what has been half written for this long is left out", ""),
    ("/max_files_per_sweep", AsRead, "", "at most this many data objects go to OMERO in one sweep; the rest follow in the next", ""),
    ("/max_queued_sweeps", AsRead, "", "at most this many sweeps wait in the queue when a whole tree is looked at", ""),
    ("/sweep_expiry_in_seconds", AsRead, "", "a sweep that has given no sign of life for this long is dead, and its collection is taken over", ""),
    ("/sweep_all_interval_in_seconds", AsRead, "", "how often collections are looked for whose sweep was lost", ""),
    ("/retry_wait_in_seconds", AsRead, "", "the first wait before an import is tried again while OMERO is away; it doubles up to an hour", ""),
    ("/retry_max_age_in_seconds", AsRead, "", "for how long an import that cannot be done for now is tried again; 0 means for ever", ""),
    ("/patrol", AsRead, "none", "the doctor's patrol: [life-after-import.md](life-after-import.md#doctor)", ""),
    ("/patrol/days", AsRead, "", "in how many days the patrol looks at everything; 0 means that there is none", ""),
    ("/users", AsRead, "needed with a `watch`", "iRODS user → OMERO user", ""),
    ("/visibility", AsRead, "needed with a `watch`", "replica → path the importer can read", ""),
    ("/omero", AsRead, "needed with a `watch`", "the OMERO server", ""),
    ("/importer", AsRead, "needed with a `watch`", "how imports are run", ""),
    ("/attributes", AsRead, "as in [attributes.md](attributes.md)", "names of the AVUs", "two of one name"),

    ("/watch/*/collection", AsRead, NEEDED, "the pattern", "no absolute path, a pattern for the zone"),
    ("/watch/*/target", AsRead, "as above", "for this watch", "as above"),
    ("/watch/*/plate_target", AsRead, "as above", "for this watch", "as above"),
    ("/watch/*/quiet_period_in_seconds", AsRead, "as above", "for this watch", ""),
    ("/watch/*/complete_marker", AsRead, "as above", "for this watch", "as above"),
    ("/watch/*/include", Texts, "as above", "for this watch; replaces the list above", "as above"),
    ("/watch/*/exclude", Texts, "as above", "for this watch; replaces the list above", "as above"),
    ("/watch/*/exclude_collections", Texts, "as above", "for this watch; replaces the list above", "as above"),
    ("/watch/*/on_overwrite", AsRead, "as above", "for this watch", "as above"),
    ("/watch/*/guard", AsRead, "as above", "for this watch, with the same keys; what it does not say is as above", "as above"),

    ("/guard/people", AsRead, "as below", "the answers to those who are no administrators", ""),
    ("/guard/people/remove", AsRead, "", "removing data for good, from the trash too, or unregistering it", "another word; `follow`"),
    ("/guard/people/trash", AsRead, "", "putting data into the trash", "another word"),
    ("/guard/people/rename", AsRead, "", "giving data another name or collection", "another word"),
    ("/guard/people/trim", AsRead, "", "trimming or moving the last good replica that OMERO sees", "another word; `follow`"),
    ("/guard/people/overwrite", AsRead, "", "writing over data", "another word"),
    ("/guard/people/truncate", AsRead, "", "setting another length", "another word"),
    ("/guard/administrators", AsRead, "as below", "the answers to administrators", ""),
    ("/guard/administrators/remove", AsRead, "", "removing data for good, from the trash too, or unregistering it", "another word; `follow`"),
    ("/guard/administrators/trash", AsRead, "", "putting data into the trash", "another word"),
    ("/guard/administrators/rename", AsRead, "", "giving data another name or collection", "another word"),
    ("/guard/administrators/trim", AsRead, "", "trimming or moving the last good replica that OMERO sees", "another word; `follow`"),
    ("/guard/administrators/overwrite", AsRead, "", "writing over data", "another word"),
    ("/guard/administrators/truncate", AsRead, "", "setting another length", "another word"),
    ("/guard/accounts", AsRead, "empty", "`\"name#zone\"` → the answers to that account, whatever else it is", "a name without zone"),
    ("/guard/accounts/*/remove", AsRead, "as for who it is otherwise", "removing data for good, from the trash too, or unregistering it", "another word; `follow`"),
    ("/guard/accounts/*/trash", AsRead, "as for who it is otherwise", "putting data into the trash", "another word"),
    ("/guard/accounts/*/rename", AsRead, "as for who it is otherwise", "giving data another name or collection", "another word"),
    ("/guard/accounts/*/trim", AsRead, "as for who it is otherwise", "trimming or moving the last good replica that OMERO sees", "another word; `follow`"),
    ("/guard/accounts/*/overwrite", AsRead, "as for who it is otherwise", "writing over data", "another word"),
    ("/guard/accounts/*/truncate", AsRead, "as for who it is otherwise", "setting another length", "another word"),

    ("/watch/*/guard/people", AsRead, "as above", "for this watch", ""),
    ("/watch/*/guard/people/remove", AsRead, "as above", "removing data for good, from the trash too, or unregistering it", "another word; `follow`"),
    ("/watch/*/guard/people/trash", AsRead, "as above", "putting data into the trash", "another word"),
    ("/watch/*/guard/people/rename", AsRead, "as above", "giving data another name or collection", "another word"),
    ("/watch/*/guard/people/trim", AsRead, "as above", "trimming or moving the last good replica that OMERO sees", "another word; `follow`"),
    ("/watch/*/guard/people/overwrite", AsRead, "as above", "writing over data", "another word"),
    ("/watch/*/guard/people/truncate", AsRead, "as above", "setting another length", "another word"),
    ("/watch/*/guard/administrators", AsRead, "as above", "for this watch", ""),
    ("/watch/*/guard/administrators/remove", AsRead, "as above", "removing data for good, from the trash too, or unregistering it", "another word; `follow`"),
    ("/watch/*/guard/administrators/trash", AsRead, "as above", "putting data into the trash", "another word"),
    ("/watch/*/guard/administrators/rename", AsRead, "as above", "giving data another name or collection", "another word"),
    ("/watch/*/guard/administrators/trim", AsRead, "as above", "trimming or moving the last good replica that OMERO sees", "another word; `follow`"),
    ("/watch/*/guard/administrators/overwrite", AsRead, "as above", "writing over data", "another word"),
    ("/watch/*/guard/administrators/truncate", AsRead, "as above", "setting another length", "another word"),
    ("/watch/*/guard/accounts", AsRead, "as above", "`\"name#zone\"` → the answers to that account, whatever else it is", "a name without zone"),
    ("/watch/*/guard/accounts/*/remove", AsRead, "as for who it is otherwise", "removing data for good, from the trash too, or unregistering it", "another word; `follow`"),
    ("/watch/*/guard/accounts/*/trash", AsRead, "as for who it is otherwise", "putting data into the trash", "another word"),
    ("/watch/*/guard/accounts/*/rename", AsRead, "as for who it is otherwise", "giving data another name or collection", "another word"),
    ("/watch/*/guard/accounts/*/trim", AsRead, "as for who it is otherwise", "trimming or moving the last good replica that OMERO sees", "another word; `follow`"),
    ("/watch/*/guard/accounts/*/overwrite", AsRead, "as for who it is otherwise", "writing over data", "another word"),
    ("/watch/*/guard/accounts/*/truncate", AsRead, "as for who it is otherwise", "setting another length", "another word"),

    ("/users/sources", Texts, "`[\"avu\", \"table\", \"rules\", \"ldap\", \"same_name\"]`", "the sources in the order in which they are asked", "an unknown word, one that is there twice, one that is not configured; a configured one left out"),
    ("/users/table", MapOfTextsOrObjects, "none", "`\"name#zone\"` → the OMERO user, or an object", "a name without zone, an OMERO user that is denied"),
    ("/users/table/*/user", AsRead, NEEDED, "the OMERO user", "what cannot be a name in OMERO"),
    ("/users/table/*/group", AsRead, "that user's default group", "the OMERO group", "what cannot be a name in OMERO"),
    ("/users/table_file", AsRead, "none", "a file with such an object, read again when it changes", "no absolute path"),
    ("/users/rules", Objects, "none", "regular expressions, the first that matches counts", ""),
    ("/users/rules/*/match", AsRead, NEEDED, "has to match the whole of `name#zone`", "no expression, or one that is too large"),
    ("/users/rules/*/user", AsRead, NEEDED, "the OMERO user; `$1` for a capture", "a capture that does not exist"),
    ("/users/rules/*/group", AsRead, "that user's default group", "the OMERO group; `$1` for a capture", "a capture that does not exist"),
    ("/users/ldap", AsRead, "none", "the site's directory", ""),
    ("/users/same_name", Texts, "none", "the users of these zones have the same name in OMERO", "what cannot be a zone's name"),
    ("/users/on_behalf_of", Objects, "empty", "for whom a service account puts data", ""),
    ("/users/on_behalf_of/*/account", AsRead, NEEDED, "the service account, `name#zone`", "no zone"),
    ("/users/on_behalf_of/*/from", AsRead, NEEDED, "where the person is named", "another word"),
    ("/users/on_behalf_of/*/element", Integer(-64, 64), "none", "with `path`: which element of the collection's path; `-1` is the last, `0` the first below the watched collection", "with `path`: neither this nor `below`, or both"),
    ("/users/on_behalf_of/*/below", AsRead, "none", "with `path`: the first element below this collection", "no logical path"),
    ("/users/on_behalf_of/*/zone", Text, "the account's; needed with `path`", "the zone of a person who is named without one", "what cannot be a zone's name"),
    ("/users/on_behalf_of/*/attribute", AsRead, "the one of `attributes`", "with `collection_avu`: the attribute", "any but the reserved one"),
    ("/users/denied", Texts, "empty", "OMERO users nobody is mapped to, beside `root`, `guest` and `omero/sudo_user`", "what cannot be a name in OMERO"),
    ("/users/default_group", AsRead, "the user's own default group", "OMERO group of those for whom nothing else names one", "what cannot be a name in OMERO"),
    ("/users/recheck_skipped_in_seconds", AsRead, "", "how often skipped data is looked at again by itself; 0 means never", ""),

    ("/users/ldap/url", TextOrTexts, NEEDED, "the servers, tried in their order", "neither `ldap://HOST[:PORT]` nor `ldaps://HOST[:PORT]`"),
    ("/users/ldap/base", AsRead, NEEDED, "where the search begins", "fields in braces"),
    ("/users/ldap/filter", AsRead, NEEDED, "what is searched for, with `{user}` and `{zone}`", "no filter (RFC 4515), no `{user}`, another field"),
    ("/users/ldap/zones", Texts, "all", "users of which zones are in the directory", "missing, if the filter does not ask for `{zone}`"),
    ("/users/ldap/user_attribute", AsRead, NEEDED, "the attribute with the OMERO user", ""),
    ("/users/ldap/group_attribute", AsRead, "none", "the attribute with the OMERO group", ""),
    ("/users/ldap/bind_dn", AsRead, "anonymous", "who asks", "without `bind_password_file`; in the clear to another host"),
    ("/users/ldap/bind_password_file", AsRead, "anonymous", "the file with the password, as `omero/password_file`", "without `bind_dn`"),
    ("/users/ldap/starttls", AsRead, "", "secures an `ldap://` connection", ""),
    ("/users/ldap/ca_file", AsRead, "the system's", "certificates that vouch for the server's", ""),
    ("/users/ldap/timeout_in_seconds", AsRead, "", "connecting, binding, searching, each", ""),
    ("/users/ldap/cache_in_seconds", AsRead, "", "how long a process remembers an answer", ""),
    ("/users/ldap/command", AsRead, "`/usr/bin/irods-omero`", "the command that asks the directory for the plugin", ""),

    ("/visibility/vaults", Objects, "empty", "replicas whose physical path is below `prefix`", ""),
    ("/visibility/vaults/*/prefix", AsRead, NEEDED, "the vault (or registered directory) on the iRODS server", "`.` or `..` in it; `/`"),
    ("/visibility/vaults/*/importer_prefix", AsRead, "as `prefix`", "the same place as the importer and the OMERO server see it", "`.` or `..` in it; `/`"),
    ("/visibility/vaults/*/resource", AsRead, "any", "only replicas on this resource, or below it in a hierarchy", ""),
    ("/visibility/mounts", Objects, "empty", "collections mounted on the importer's host, as NFSRODS does", ""),
    ("/visibility/mounts/*/zone_prefix", AsRead, NEEDED, "the collection", "no logical path"),
    ("/visibility/mounts/*/mount", AsRead, NEEDED, "where it is mounted", "`.` or `..` in it; `/`"),
    ("/visibility/stage_to", AsRead, "none", "the (root) resource to which data is copied, checksum verified, that is visible neither way; the copy is imported", "a hierarchy; no `vaults`"),

    ("/omero/server", AsRead, NEEDED_WITH_COMMAND, "host name, or `wss://` URL", "`@` or a blank in it"),
    ("/omero/port", AsRead, "`4064`; of a URL its own, else 443 (`wss`), 80 (`ws`), 4064 (`ssl`), 4063 (`tcp`)", "its port", "another one than a URL in `server` names"),
    ("/omero/sudo_user", AsRead, NEEDED_WITH_COMMAND, "a restricted administrator with the privilege `Sudo`", "what cannot be a name in OMERO"),
    ("/omero/password_file", AsRead, NEEDED_WITH_COMMAND, "its password, one line; a regular file of mode 0600 that belongs to the service account (or root), or a systemd credential", "a `password` in the configuration"),
    ("/omero/annotation_namespace", AsRead, "", "namespace of the map annotation on what was imported", ""),

    ("/importer/mode", AsRead, "", "`command`: the `omero` command on the iRODS server; `agent`: programs beside OMERO, with their own keys, which come last here", "another word"),
    ("/importer/command", AsRead, NEEDED_WITH_COMMAND, "the `omero` command", "no absolute path"),
    ("/importer/worker", Texts, "the Python of `command`", "the words that start a Python with omero-py, through which all but the import is asked of OMERO; only needed where `command` is no Python script", "a first word that is no absolute path"),
    ("/importer/jars", AsRead, NEEDED_WITH_COMMAND, "directory of OMERO's Java client jars: without it the command would download them anew for each batch", "no absolute path"),
    ("/importer/logback", AsRead, NEEDED_WITH_COMMAND, "a logback file that logs to standard error, such as `packaging/logback-import.xml`", "no absolute path"),
    ("/importer/timeout_in_seconds", AsRead, "", "one importer run; with agents one request to one, 1 to 600, `30`", ""),
    ("/importer/command_timeout_in_seconds", AsRead, "", "any other question to OMERO", ""),
    ("/importer/unfinished_wait_in_seconds", AsRead, "", "for how long OMERO is waited for that may still be finishing an import whose importer died; after that what is left of it is deleted in OMERO, and the file is imported anew", ""),
    ("/importer/transfer", AsRead, "", "how the bytes get into OMERO's repository", "another word"),
    ("/importer/options", Texts, "`--skip=upgrade`, which is added where it is missing", "further importer options, each as `--name=value`: `--skip`, `--checksum-algorithm`, `--parallel-upload`, `--parallel-fileset`, `--depth`, `--encrypted`, `--readers`", "any other"),
    ("/importer/java_options", AsRead, "none", "`JAVA_OPTS` of the importer; `-XX:TieredStopAtLevel=1` stands before it in forecasts and in imports of up to 128 MiB", ""),
    ("/importer/environment", MapOfTexts, "empty", "further environment of the `omero` command", "a variable that is ours to set, such as `OMERO_PASSWORD`"),
    ("/importer/work_directory", AsRead, "`/var/lib/irods/omero`", "sessions and temporary files of running imports (made with mode 0700)", "no absolute path"),
    ("/importer/agents", Objects, "needed with `agent`", "the agents; each OMERO user's imports go to the same one for as long as it can be reached", "an empty list"),
    ("/importer/collect_interval_in_seconds", AsRead, "", "how often agents are asked what they have done, as far as the delay server wakes up so often", ""),
    ("/importer/fallback_after_in_seconds", AsRead, "", "for how long an agent may be out of reach before what it was given is submitted anew", ""),
    ("/importer/agents/*/name", AsRead, NEEDED, "its name, in records and logs", "two of one name"),
    ("/importer/agents/*/url", AsRead, NEEDED, "where it listens: `https://HOST:PORT`, or `unix:/PATH` of a socket on this host", "`http` to another host; a path, a user"),
    ("/importer/agents/*/token_file", AsRead, "none", "the token it wants, one line; a file of mode 0600 as `password_file`", "no absolute path"),
    ("/importer/agents/*/ca_file", AsRead, "those of the system", "the certificates (PEM) that vouch for it", "no absolute path"),
    ("/importer/agents/*/cert_file", AsRead, "none", "the certificate (PEM) that we show it", "without `key_file`"),
    ("/importer/agents/*/key_file", AsRead, "none", "its key (PEM), a file of mode 0600 as `password_file`", "without `cert_file`"),

    ("/save", AsRead, "nothing is saved", "what people in OMERO may have written into iRODS, and where ([save-and-take-over.md](save-and-take-over.md))", ""),
    ("/save/enabled", AsRead, "", "whether agents are asked what is to be saved", "`true` where the importer is not `agent`"),
    ("/save/collection", AsRead, "`/{zone}/home/{user}/omero/{group}/{project}/{dataset}`", "the collection of a save that names none; `{screen}`, `{plate}` and `{omero_user}` are known too", "an unknown word; `.` or `..`"),
    ("/save/resource", AsRead, "the user's default", "the resource on which data objects are made", "a hierarchy"),
    ("/save/interval_in_seconds", AsRead, "", "how often the agents are asked, as far as the delay server wakes up so often", ""),
];

/// One AVU: its key in `attributes`, what bears it, value, units, meaning.
pub type Attribute = (&'static str, &'static str, &'static str, &'static str, &'static str);

/// Every AVU the plugin reads or writes.
#[rustfmt::skip]
pub const ATTRIBUTES: &[Attribute] = &[
    ("import", "collection, data object", "`on`, `off`, or a target", "options, such as `quiet=60`", "the tag: whether and how data here and below is imported"),
    ("state", "data object; collection of a directory format", "`pending`, `importing`, `imported`, `failed`, `skipped`, `stale` or `gone`", "number of the attempt", "what became of the data"),
    ("reason", "with `state`", "a sentence", "the cause as a word, of what failed, was skipped or is stale", "why, when it is not `imported`"),
    ("fileset", "with `state`", "id in OMERO", "the OMERO server", "the fileset"),
    ("image", "with `state`, of versions before", "id in OMERO", "the OMERO server", "an image, which the AVU `version` names now"),
    ("plate", "with `state`, of versions before", "id in OMERO", "the OMERO server", "a plate, which the AVU `version` names now"),
    ("member_of", "the other files of a set of several files", "id in OMERO", "the OMERO server", "the fileset that the file belongs to"),
    ("owner", "with `state`", "OMERO user", "OMERO group", "whose the images are"),
    ("mapped_by", "with `state`, of versions before", "the source, such as `table`", "the iRODS user whose mapping it is", "how that OMERO user was found, which the AVU `version` says now"),
    ("version", "with `state`", "modify time and size, `1700000000:1024`, and [words](#the-avu-of-the-version)", "its checksum if one is registered, otherwise the number of the replica and of its collection, `replica 0 in 10023`", "which state of the bytes of which data the record is about, and what is in OMERO of it"),
    ("retry", "with `state`", "Unix time", "since when it has been tried", "when it is tried next"),
    ("previous", "with `state`, of versions before, and where there are more than 20", "id in OMERO", "the OMERO server", "the fileset of a version before, or of other data that was at this path before; the AVU `version` names it now"),
    ("ignored", "with `state`", "`name#zone`", "", "who asked that the data is left alone"),
    ("job", "with the state `importing`", "key of the job", "the agent's name", "the job in which an agent imports it"),
    ("awaits", "while its set is not imported", "collection id, after `read ` where only used", "", "its set uses files of this other collection, whose data waits for it"),
    ("due", "collection", "`new` of an event; `later` of a sweep", "", "something in the collection is to be looked at"),
    ("due_tree", "collection", "`new`; `spreading` and how far it has come", "", "the same, for the collection and all below it"),
    ("sweeping", "collection", "", "", "lock of a version before this one; it is removed where it is found"),
    ("recurring", "the zone's collection", "`sweep_all`", "", "the look for collections whose sweep was lost goes on for ever"),
    ("collected", "the zone's collection", "JSON", "", "how far the feeds of the agents have been read"),
    ("patrol", "the zone's collection", "JSON", "", "how far the doctor's patrol has come, and what it has found"),
    ("rested", "collection of 1,000 data objects or more", "four numbers, or `all`", "", "up to which id and time its data was at rest when all of it was last read; `all`: all of it is to be read"),
    ("saving", "the zone's collection", "JSON", "", "the hidden data object that a save from OMERO is writing now"),
    ("noticed", "the zone's collection", "JSON, `skipped after ID`, or `deletions JSON`", "", "how far the regular look has come, how far skipped data has been looked at again, and how far OMERO's log of events is read"),
    ("user", "iRODS user or group", "OMERO user", "", "who somebody is in OMERO"),
    ("group", "iRODS user or group", "OMERO group", "", "in which OMERO group somebody's data goes"),
    ("on_behalf_of", "collection", "`name` or `name#zone`", "", "for whom a service account puts data"),
];

/// The descriptions of the keys of `attributes`.
pub fn of_attributes() -> impl Iterator<Item = Meaning> {
    ATTRIBUTES.iter().map(|(key, bearer, _, _, meaning)| Meaning {
        key: format!("/attributes/{key}"),
        shape: Shape::AsRead,
        default: "",
        meaning: format!("on {bearer}: {meaning}"),
        error: "",
    })
}
