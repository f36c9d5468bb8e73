//! Every command block of the documents is run, in the order in which it stands there, against the stand-ins.
//!
//! bash runs a block in a copy of the checkout. It finds no command but those of `REPLACED` and the scripts of the
//! checkout: a document that shows another one fails here. A block of `json` that is a stanza is saved as `stanza.json`,
//! as the documents say; one that is an operation is asked of the zone. Paths below `/etc`, `/opt`, `/usr` and `/var` are
//! below the test's directory; the stanza gets a quiet period of one second and a work directory there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::zone::DelayServer;

/// What stands in for a command: the text of a bash script. `$ROOT` is the test's `/`.
const REPLACED: &[(&str, &str)] = &[
    // Who is root here owns the files too, which the service's account could not read: tests of the agent do that.
    (
        "sudo",
        r#"if [ "$1" = -u ]; then [ "$(id -u)" -ne 0 ] || exit 0; shift 2; fi
        # No service runs here: tests of the agent drain one.
        case "$*" in "irods-omero agent drain"*) exit 0 ;; esac
        # Nothing else of this machine is run as root.
        [ "$1" = cp ] || [ -x "$ROOT/bin/$1" ] || { echo "sudo: $1 has no stand-in" >&2; exit 127; }; exec "$@""#,
    ),
    // Owners are left out: the accounts are not there.
    (
        "install",
        r#"while [ "$1" = -o ] || [ "$1" = -g ]; do shift 2; done; exec env PATH="$WHOLE_PATH" install "$@""#,
    ),
    // What cargo built for the tests is installed and packaged.
    (
        "cmake",
        r#"[ "$1" = -S ] && set -- "$@" -DPLUGIN_LIBRARY="$ROOT/built/plugin.so" -DCOMMAND_PROGRAM="$ROOT/built/irods-omero"
           exec env PATH="$WHOLE_PATH" cmake "$@""#,
    ),
    // An .rpm, where rpmbuild is, is made by tests/packages/run.
    ("cpack", r#"exec env PATH="$WHOLE_PATH" cpack -G DEB "$@""#),
    ("cargo", r#"[ "$1" = build ] || exec env PATH="$WHOLE_PATH" cargo "$@""#),
    // Unpacked below the test's directory; tests/packages/run installs them in a clean Debian.
    ("dpkg", r#"[ "$1" = -i ] && shift && for package; do dpkg-deb -x "$package" "$ROOT"; done"#),
    // From where `cpack` has put them.
    (
        "apt",
        r#"[ "$1" = install ] && shift && for package in ${@/#.\//build/}; do dpkg-deb -x "$package" "$ROOT"; done"#,
    ),
    // The accounts are not there.
    ("usermod", r#"[ "$1" = -aG ] && [ $# = 3 ]"#),
    // What an administrator edits in the packaged configuration: the places of this host.
    ("editor", r#"cmp -s "$1" "$ROOT/packaged.toml" && cp "$ROOT/edited.toml" "$1""#),
    // Where the caller is not root. The queue is not there.
    ("sqlite3", r#"[[ "$2" = .backup* ]]"#),
    (
        "omero-stanza",
        r#"exec "$ROOT/usr/sbin/omero-stanza" --config "$ROOT/etc/irods/server_config.json" "$@""#,
    ),
    (
        "irods-omero",
        r#"config=etc/irods/server_config.json
           [ "$1" = agent ] && config=etc/irods-omero/agent.toml
           [ "$1" = check ] && set -- "$@" --plugin-dir "$ROOT/usr/lib/irods/plugins"
           exec "$ROOT/usr/bin/irods-omero" "$@" --config "$ROOT/$config""#,
    ),
    // The stand-in zone reads its own copy, anew for each connection.
    (
        "systemctl",
        r#"[ "$*" = 'enable --now irods-omero-agent' ] ||
           { [ "$*" = 'reload irods' ] && cp "$ROOT/etc/irods/server_config.json" "$ROOT/var/lib/irods/config/"; }"#,
    ),
    ("iput", r#"exec "$ROOT/bin/zone" as alice put "$@""#),
    ("imkdir", r#"exec "$ROOT/bin/zone" as alice mkdir "$@""#),
    // Users are an administrator's to write on; the stand-in calls those of its zone without the zone.
    (
        "imeta",
        r#"who=alice; [[ "$*" = *" -u "* ]] && who=rods && set -- "${@/%#tempZone/}"
           exec "$ROOT/bin/zone" as $who meta "$@""#,
    ),
    // irule -r INSTANCE TEXT null ruleExecOut
    ("irule", r#"exec "$ROOT/bin/zone" as rods rule "$1" "$2" "$3""#),
    (
        "zone",
        r#"exec "$ZONE" -d "$ROOT/var/lib/irods" --plugin-dir "$ROOT/usr/lib/irods/plugins/rule_engines" "$@""#,
    ),
];

/// What is not run, and why not: the document and how the command begins.
const NOT_RUN: &[(&str, &str, &str)] = &[
    ("CONTRIBUTING.md", "script/test", "runs this test"),
    ("CONTRIBUTING.md", "script/demo", "is run where README.md shows it"),
    ("CONTRIBUTING.md", "script/bench", "measures for minutes"),
    ("CONTRIBUTING.md", "script/fuzz", "fuzzes for the better part of an hour"),
    ("CONTRIBUTING.md", "script/dependencies", "is part of script/test, and needs the network"),
    ("CONTRIBUTING.md", "cargo test", "is part of script/test"),
    ("CONTRIBUTING.md", "WRITE_DOCS=1 cargo test", "is part of script/test, without the writing"),
];

/// What is typed where a document asks for a password.
const PASSWORD: &str = "secret of the importer\n";

/// The plugin's instance in the documents.
const INSTANCE: &str = "irods_rule_engine_plugin-omero-instance";

/// Something in a document.
#[derive(Debug)]
struct Block {
    language: String,
    text: String,
}

impl Block {
    /// Its commands; none if it shows none. In a block with prompts the rest is what the commands print.
    fn commands(&self) -> Option<String> {
        match self.language.as_str() {
            "sh" => return Some(self.text.clone()),
            "" | "console" => {}
            "ini" | "json" | "toml" => return None,
            other => panic!("what is a block of '{other}'? {}", self.text),
        }
        let mut goes_on = false;
        let commands: Vec<&str> = self
            .text
            .lines()
            .filter_map(|line| {
                let command = if goes_on { Some(line) } else { line.strip_prefix("$ ") };
                goes_on = command.is_some_and(|command| command.ends_with('\\'));
                command
            })
            .collect();
        (!commands.is_empty()).then(|| commands.join("\n"))
    }
}

/// The fenced blocks of a document, in order.
fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.trim_start().strip_prefix("```") else { continue };
        let indent = line.len() - line.trim_start().len();
        let inside: Vec<&str> = lines
            .by_ref()
            .take_while(|line| line.trim() != "```")
            .map(|line| line.get(indent..).unwrap_or_default())
            .collect();
        blocks.push(Block { language: language.to_owned(), text: inside.join("\n") });
    }
    blocks
}

fn read(document: &str) -> String {
    fs::read_to_string(support::root().join(document)).unwrap_or_else(|e| panic!("{document}: {e}"))
}

/// A host with a checkout on it.
struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let host = Self { dir: tempfile::tempdir().unwrap() };
        for directory in [
            "bin",
            "built",
            "checkout",
            "etc/irods",
            "etc/irods-omero",
            "opt/omero/venv/bin",
            "var/lib/irods",
        ] {
            fs::create_dir_all(host.path(directory)).unwrap();
        }
        for (name, text) in REPLACED {
            host.program(&format!("bin/{name}"), text);
        }
        // What the checkout's scripts are written in.
        symlink("/bin/bash", host.path("bin/bash")).unwrap();
        host.program("bin/python3", r#"exec env PATH="$WHOLE_PATH" python3 "$@""#);
        // Scripts that a block starts see what they would see elsewhere.
        fs::write(host.path("whole-path"), "PATH=$ROOT/bin:$WHOLE_PATH\nunset BASH_ENV\n").unwrap();
        host.copy_the_checkout();
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn program(&self, name: &str, text: &str) {
        fs::write(self.path(name), format!("#!/bin/bash\n{text}\n")).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The checkout without what is built in it, and what cargo built where the scripts look for it.
    fn copy_the_checkout(&self) {
        let script = "tar -C \"$1\" -c --exclude-caches-all --exclude=./target --exclude=./build --exclude=./demo --exclude=./.git . | tar -x";
        let copied = Command::new("bash")
            .args(["-euo", "pipefail", "-c", script, "copy"])
            .arg(support::root())
            .current_dir(self.path("checkout"))
            .status();
        assert!(copied.unwrap().success());
        let built = self.path("checkout/target/debug");
        fs::create_dir_all(&built).unwrap();
        symlink(support::library(), built.join("libirods_rule_engine_plugin_omero.so")).unwrap();
        for (package, name) in
            [("irods-zone-standin", "zone"), ("omero-standin", "omero"), ("irods-omero", "irods-omero")]
        {
            symlink(support::program(package, name), built.join(name)).unwrap();
        }
    }

    /// What is packaged: stripped, or the packages would take minutes to compress.
    fn strip(&self) {
        let built = self.path("checkout/target/debug");
        for (from, to) in
            [("libirods_rule_engine_plugin_omero.so", "plugin.so"), ("irods-omero", "irods-omero")]
        {
            let to = self.path("built").join(to);
            let stripped = Command::new("strip").arg("-g").arg("-o").arg(&to).arg(built.join(from)).status();
            assert!(stripped.unwrap().success());
        }
    }

    /// Paths of the host as paths below the test's directory.
    fn here(&self, text: &str) -> String {
        let mut text = text.to_owned();
        // First those below which the test's directory may itself be.
        for directory in ["var", "opt", "usr", "etc"] {
            for before in [" ", "\"", "="] {
                let there = format!("{before}{}/{directory}/", self.dir.path().display());
                text = text.replace(&format!("{before}/{directory}/"), &there);
            }
        }
        text
    }

    /// Runs the commands of a block, each of which has to succeed; gives what they printed.
    fn run(&self, document: &str, commands: &str) -> String {
        let script = format!("export BASH_ENV=$ROOT/whole-path\n{}", self.here(commands));
        let mut child = Command::new("/bin/bash")
            .args(["-euo", "pipefail", "-c", &script])
            .current_dir(self.path("checkout"))
            .env("ROOT", self.dir.path())
            .env("WHOLE_PATH", std::env::var("PATH").unwrap())
            .env("PATH", self.path("bin"))
            .env("ZONE", self.path("checkout/target/debug/zone"))
            .env("CARGO_TARGET_DIR", self.path("checkout/target"))
            .env_remove("BASH_ENV")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // What is asked for is the password; most blocks ask for nothing and may have ended already.
        let _ = child.stdin.take().unwrap().write_all(PASSWORD.as_bytes());
        let output = child.wait_with_output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{document}:\n{commands}\n{printed}{told}");
        printed
    }

    /// OMERO's side, with the users of the documents' examples.
    fn start_omero(&self) {
        let omero = self.path("checkout/target/debug/omero");
        let store = self.path("omero");
        let stand_in = format!(
            "OMERO_STANDIN={} OMERO_STANDIN_ALLOW_ROOT=1 exec {} \"$@\"",
            store.display(),
            omero.display()
        );
        self.program("opt/omero/venv/bin/omero", &stand_in);
        fs::create_dir_all(self.path("opt/omero/OMERO.java/libs")).unwrap();
        fs::write(self.path("opt/omero/OMERO.java/libs/importer.jar"), b"PK\x03\x04").unwrap();
        // The agent's host: the same, in the places that its packaged configuration names.
        let packaged = fs::read_to_string(support::root().join("packaging/irods-omero-agent.toml")).unwrap();
        fs::write(self.path("packaged.toml"), &packaged).unwrap();
        fs::write(self.path("edited.toml"), self.here(&packaged)).unwrap();
        for (name, there) in
            [("venv3/bin/omero", "venv/bin/omero"), ("OMERO.server/lib/client", "OMERO.java/libs")]
        {
            let name = self.path("opt/omero/server").join(name);
            fs::create_dir_all(name.parent().unwrap()).unwrap();
            symlink(self.path("opt/omero").join(there), name).unwrap();
        }
        let password = self.text("password");
        fs::write(&password, PASSWORD).unwrap();
        for words in [
            &[
                "init",
                "--root-password",
                "r",
                "--sudo-user",
                "irods-importer",
                "--sudo-password-file",
                &password,
            ][..],
            &["group", "add", "lab1"],
            &["user", "add", "alice", "--group", "lab1"],
            &["make", "tiff", &self.text("checkout/image.ome.tif")],
        ] {
            let done = Command::new(self.path("opt/omero/venv/bin/omero"))
                .arg("standin")
                .args(words)
                .output()
                .unwrap();
            assert!(done.status.success(), "{words:?}: {done:?}");
        }
        self.run("the zone", "iput image.ome.tif /tempZone/home/alice/run1/a.tif");
    }

    /// Saves a stanza that a document shows, as the document says.
    fn save_stanza(&self, text: &str) {
        let mut stanza: Value = serde_json::from_str(&self.here(text)).unwrap();
        let configuration = &mut stanza["plugin_specific_configuration"];
        configuration["quiet_period_in_seconds"] = json!(1);
        configuration["importer"]["work_directory"] = json!(self.path("var/lib/irods/omero"));
        // The stand-in is no Python script, which would name the Python of the worker.
        configuration["importer"]["worker"] =
            json!([self.path("opt/omero/venv/bin/omero"), "standin-worker"]);
        fs::write(self.path("checkout/stanza.json"), stanza.to_string()).unwrap();
    }

    /// The iRODS server, with what alice has in it, before the plugin is configured.
    fn start_zone(&self) {
        let config = json!({"zone_name": "tempZone", "zone_user": "rods", "catalog_service_role": "provider",
            "plugin_configuration": {"rule_engines": []}});
        fs::write(self.path("etc/irods/server_config.json"), config.to_string()).unwrap();
        let config = self.text("etc/irods/server_config.json");
        self.run("the zone", &format!("zone init --zone tempZone --config {config}"));
        self.run("the zone", "zone user add alice; zone user add bob; zone group add lab1");
        for collection in ["microscopy/run1", "thesis/drafts", "run1"] {
            self.run("the zone", &format!("zone as alice mkdir -p /tempZone/home/alice/{collection}"));
        }
    }

    /// Waits until what the first page puts is in OMERO.
    fn wait_for_the_image(&self) {
        let state = "imeta ls -d /tempZone/home/alice/microscopy/run1/image.ome.tif";
        let start = Instant::now();
        while !self.run("the zone", state).contains("value: imported") {
            let log = fs::read_to_string(self.path("var/lib/irods/server.log")).unwrap_or_default();
            assert!(start.elapsed() < Duration::from_secs(60), "{}\n{log}", self.run("the zone", state));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn start_delay_server(&self) -> DelayServer {
        DelayServer::spawn(
            Command::new(self.path("checkout/target/debug/zone"))
                .arg("-d")
                .arg(self.path("var/lib/irods"))
                .arg("--plugin-dir")
                .arg(self.path("usr/lib/irods/plugins/rule_engines"))
                .args(["delay-server", "--sleep", "0.05"]),
        )
    }
}

/// The documents, those first that say how everything is installed.
fn documents() -> Vec<String> {
    let mut below_docs: Vec<String> = fs::read_dir(support::root().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| format!("docs/{}", path.file_name().unwrap().to_str().unwrap()))
        .collect();
    let first = ["docs/getting-started.md", "README.md"].map(str::to_owned);
    below_docs.retain(|document| !first.contains(document));
    below_docs.sort();
    let others = ["rules/README.md", "CONTRIBUTING.md"].map(str::to_owned);
    first.into_iter().chain(below_docs).chain(others).collect()
}

/// The first column of a table of commands.
fn tabled(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |")).map(|(command, _)| command)
}

#[test]
fn every_command_block_of_the_documents_does_what_it_says() {
    let host = Host::new();
    host.strip();
    host.start_zone();
    host.start_omero();
    let mut run = Vec::new();
    let mut not_run = Vec::new();
    for document in documents() {
        let text = read(&document);
        let mut commands = Vec::new();
        for block in blocks(&text) {
            if block.language == "json" && block.text.contains("\"plugin_name\"") {
                host.save_stanza(&block.text);
            } else if block.language == "json" && block.text.starts_with("{\"operation\"") {
                commands.push(format!("irule -r {INSTANCE} '{}' null ruleExecOut", block.text));
            }
            commands.extend(block.commands());
        }
        if document == "CONTRIBUTING.md" {
            commands.extend(tabled(&text).map(str::to_owned));
        }
        for command in commands {
            if let Some(reason) = NOT_RUN.iter().find(|(d, c, _)| *d == document && command.starts_with(c)) {
                not_run.push(reason);
            } else {
                host.run(&document, &command);
                run.push(document.clone());
            }
        }
    }
    // Not before: an import at work is no time to retry or ignore it.
    let _delay_server = host.start_delay_server();
    host.wait_for_the_image();
    for document in [
        "docs/getting-started.md",
        "README.md",
        "docs/agent.md",
        "docs/operations.md",
        "docs/using.md",
        "CONTRIBUTING.md",
    ] {
        assert!(run.iter().any(|d| d == document), "{document} shows no command any more: {run:?}");
    }
    assert!(NOT_RUN.iter().all(|listed| not_run.contains(&listed)), "not shown any more: {NOT_RUN:?}");
}
