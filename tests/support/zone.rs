//! A zone for one test: the stand-in iRODS server with the plugin as cargo built it, and an OMERO behind it.

use super::omero::TestOmero;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The longest a condition is waited for. Only a broken test gets near it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The instance name in the configuration.
pub const INSTANCE: &str = "omero-instance";

/// A zone with the users alice (mapped to alice in OMERO) and bob (not mapped), and its OMERO.
pub struct TestZone {
    dir: TempDir,
    /// Where the OMERO is: not below the opened directory, whose files the importer's fence shuts off.
    _beside: TempDir,
    program: PathBuf,
    /// The OMERO behind the plugin.
    pub omero: TestOmero,
}

/// What a client saw.
#[derive(Debug)]
pub struct Seen {
    /// Whether the verb succeeded.
    pub ok: bool,
    /// Standard output.
    pub output: String,
    /// Standard error: code and messages.
    pub error: String,
}

/// A running delay server; ends when dropped.
pub struct DelayServer(Child);

impl DelayServer {
    /// Runs it in a process group of its own.
    pub fn spawn(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::null()).process_group(0).spawn().unwrap())
    }
}

impl DelayServer {
    /// Kills the delay server alone. Its agents go on to the end of their jobs, which stay locked in the queue: nobody
    /// takes them off, and no other delay server runs them. What is given kills the agents when dropped.
    pub fn kill_alone(mut self) -> DelayServerAgents {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        DelayServerAgents(self)
    }

    /// Kills the delay server and its agents. The jobs stay locked in the queue.
    pub fn kill_with_agents(self) {
        drop(self);
    }
}

/// What a killed delay server left running.
pub struct DelayServerAgents(#[expect(dead_code, reason = "dropping it ends them")] DelayServer);

impl Drop for DelayServer {
    fn drop(&mut self) {
        // The group outlives its leader as long as an agent is in it.
        let _ = rustix::process::kill_process_group(
            rustix::process::Pid::from_child(&self.0),
            rustix::process::Signal::KILL,
        );
        let _ = self.0.wait();
    }
}

impl TestZone {
    /// A zone whose plugin has the usual configuration.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// A zone whose plugin's configuration is changed by `change` first.
    pub fn with(change: impl FnOnce(&mut Value)) -> Self {
        Self::with_dir(|_, stanza| change(stanza))
    }

    /// The same, where `change` may put files into the test's directory.
    pub fn with_dir(change: impl FnOnce(&Path, &mut Value)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let beside = tempfile::tempdir().unwrap();
        let omero = TestOmero::new(beside.path());
        let zone =
            Self { program: super::program("irods-zone-standin", "zone"), omero, dir, _beside: beside };
        let plugins = zone.path("plugins");
        fs::create_dir(&plugins).unwrap();
        let name = "libirods_rule_engine_plugin-omero.so";
        std::os::unix::fs::symlink(super::library(), plugins.join(name)).unwrap();
        let mut stanza = zone.stanza();
        change(zone.dir(), &mut stanza);
        let config = zone.path("server_config.json");
        fs::write(&config, server_config(&stanza).to_string()).unwrap();
        zone.run(&["init", "--zone", "tempZone", "--config", config.to_str().unwrap()]);
        for user in ["alice", "bob", "carol"] {
            zone.run(&["user", "add", user]);
        }
        zone
    }

    /// A path below the test's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn stanza(&self) -> Value {
        json!({
            "watch": ["/tempZone/home"],
            "quiet_period_in_seconds": 1,
            "retry_wait_in_seconds": 1,
            "sweep_expiry_in_seconds": 10,
            "sweep_all_interval_in_seconds": 10,
            "users": {"table": {"alice#tempZone": {"user": "alice", "group": "lab"}, "carol#tempZone": "carol"}},
            "visibility": {"vaults": [{"prefix": self.dir.path()}]},
            "omero": self.omero.server_json(),
            "importer": self.omero.importer_json(),
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-d").arg(self.path("zone")).arg("--plugin-dir").arg(self.path("plugins"));
        command
    }

    fn run(&self, words: &[&str]) -> String {
        let output = self.command().args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// An administration command of the stand-in, such as adding a resource.
    pub fn admin(&self, words: &[&str]) -> String {
        self.run(words)
    }

    /// A catalog consumer with the plugin in the same configuration.
    pub fn add_consumer(&self, name: &str) {
        let text = fs::read_to_string(self.path("server_config.json")).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        config["catalog_service_role"] = json!("consumer");
        let path = self.path(&format!("{name}.json"));
        fs::write(&path, config.to_string()).unwrap();
        self.run(&["server", "add", name, "--config", path.to_str().unwrap()]);
    }

    /// One verb of a user, in a connection of its own.
    pub fn act(&self, user: &str, words: &[&str]) -> Seen {
        self.act_with(&[], user, words)
    }

    /// The same with more in the environment of the server.
    pub fn act_with(&self, environment: &[(&str, &str)], user: &str, words: &[&str]) -> Seen {
        let output =
            self.command().envs(environment.iter().copied()).args(["as", user]).args(words).output().unwrap();
        Seen {
            ok: output.status.success(),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            error: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// One verb of a user at another server of the zone.
    pub fn act_on(&self, server: &str, user: &str, words: &[&str]) -> Seen {
        let output = self.command().args(["--server", server, "as", user]).args(words).output().unwrap();
        Seen {
            ok: output.status.success(),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            error: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// One verb of a user, which must succeed; gives what it printed.
    pub fn does(&self, user: &str, words: &[&str]) -> String {
        let seen = self.act(user, words);
        assert!(seen.ok, "{user} {words:?}: {}", seen.error);
        seen.output
    }

    /// One verb of a user that is not waited for, in a process group of its own.
    pub fn start(&self, user: &str, words: &[&str]) -> DelayServer {
        DelayServer::spawn(self.command().args(["as", user]).args(words))
    }

    /// A command that does for a user what `irule -r INSTANCE TEXT null ruleExecOut` does.
    pub fn irule(&self, user: &str) -> PathBuf {
        let path = self.path(&format!("irule-{user}"));
        let (program, plugins) = (self.program.display(), self.path("plugins"));
        let text = format!(
            "#!/bin/sh\nexec '{program}' -d '{}' --plugin-dir '{}' as {user} rule \"$1\" \"$2\" \"$3\"\n",
            self.path("zone").display(),
            plugins.display()
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    /// Several verbs in one connection, each a JSON array of words; gives an answer for each.
    pub fn script(&self, user: &str, verbs: &[Value]) -> Vec<Value> {
        let mut child = self
            .command()
            .args(["as", user, "script", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines: Vec<String> = verbs.iter().map(ToString::to_string).collect();
        let mut input = child.stdin.take().unwrap();
        // Beside the reading: the zone answers each verb before it reads the next, and a pipe holds only so much.
        let writer = std::thread::spawn(move || input.write_all(lines.join("\n").as_bytes()));
        let output = child.wait_with_output().unwrap();
        let _ = writer.join().unwrap(); // one that dies does not read the rest
        String::from_utf8_lossy(&output.stdout).lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    /// What the plugin cost while a verb of a user ran, in a connection of its own; the verb must succeed. Names are
    /// those of the stand-in's README, among them `database_connections`, `statements`, `genquery1` and `delayexec`;
    /// what was not done is not there. The costs of the connection's start and end are not in it.
    pub fn cost(&self, user: &str, words: &[&str]) -> BTreeMap<String, i64> {
        let mut answers = self.script(user, &[json!(words)]);
        let answer = answers.remove(0);
        assert!(answer["code"].as_i64() >= Some(0), "{user} {words:?}: {answer}");
        serde_json::from_value(answer["cost"].clone()).unwrap()
    }

    /// What the plugin has cost in the whole zone, in all agents that have ended: of connections of clients and of
    /// agents that ran delayed rules.
    pub fn costs(&self) -> (BTreeMap<String, i64>, BTreeMap<String, i64>) {
        let sums: Value = serde_json::from_str(&self.admin(&["costs"])).unwrap();
        let of = |kind: &str| serde_json::from_value(sums[kind].clone()).unwrap();
        (of("clients"), of("rules"))
    }

    /// A small image on the client's disk.
    pub fn image(&self, name: &str) -> String {
        let path = self.path(name);
        self.omero.admin(&["make", "tiff", path.to_str().unwrap()]);
        path.to_str().unwrap().to_owned()
    }

    /// Starts the delay server.
    pub fn delay_server(&self) -> DelayServer {
        self.delay_server_with(&[])
    }

    /// Starts the delay server with more in its environment. What its agents asked of the catalog is in `stats`.
    pub fn delay_server_with(&self, environment: &[(&str, &Path)]) -> DelayServer {
        DelayServer::spawn(
            self.command()
                .arg("--stats")
                .arg(self.path("stats"))
                .args(["delay-server", "--executors", "4", "--sleep", "0.05"])
                .envs(environment.iter().copied()),
        )
    }

    /// The AVUs of ours on a data object or collection (`-d`, `-C`): attribute's last part, value, units.
    pub fn avus(&self, kind: &str, path: &str) -> Vec<(String, String, String)> {
        let seen = self.act("rods", &["meta", "ls", "--json", kind, path]);
        let rows: Vec<[String; 3]> = serde_json::from_str(seen.output.trim()).unwrap_or_default();
        rows.into_iter()
            .filter_map(|[a, v, u]| Some((a.strip_prefix("irods::omero::")?.to_owned(), v, u)))
            .collect()
    }

    /// The value of one of our AVUs on a data object.
    pub fn value(&self, path: &str, attribute: &str) -> Option<String> {
        self.avus("-d", path).into_iter().find(|(a, _, _)| a == attribute).map(|(_, v, _)| v)
    }

    /// What the AVU of a version says under one of its words, such as `images`.
    pub fn told(&self, kind: &str, path: &str, word: &str) -> Option<String> {
        let (_, value, _) = self.avus(kind, path).into_iter().find(|(a, _, _)| a == "version")?;
        let (head, by) = value.split_once(" by=").map_or((value.as_str(), None), |(h, b)| (h, Some(b)));
        let words = head.split(' ').filter_map(|w| w.split_once('='));
        words
            .chain(by.map(|by| ("by", by)))
            .into_iter()
            .find(|(w, _)| *w == word)
            .map(|(_, told)| told.to_owned())
    }

    /// Waits until a condition holds.
    pub fn wait_until(&self, what: &str, condition: impl FnMut(&Self) -> bool) {
        self.wait_patiently_until(what, PATIENCE, condition);
    }

    /// The same for what takes long.
    pub fn wait_patiently_until(
        &self,
        what: &str,
        patience: Duration,
        mut condition: impl FnMut(&Self) -> bool,
    ) {
        let start = Instant::now();
        while !condition(self) {
            if start.elapsed() > patience {
                let log = self.log();
                let told: Vec<&str> = log.lines().filter(|l| !l.contains("act=setup")).collect();
                let reasons = self.run(&[
                    "sql",
                    "select distinct meta_attr_name, meta_attr_value from R_META_MAIN \
                     where meta_attr_name like 'irods::omero::reason%'",
                ]);
                panic!("waited in vain until {what}\n{}\nreasons: {}", told.join("\n"), reasons.trim());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a data object has a state.
    pub fn wait_for(&self, path: &str, state: &str) {
        self.wait_until(&format!("{path} is {state}"), |z| {
            let now = z.value(path, "state");
            let ended = ["imported", "failed", "skipped", "stale"];
            // A state that only a change of the data ends is not waited out.
            let is_end = now.as_deref().is_some_and(|s| s != state && state != "stale" && ended.contains(&s));
            assert!(!is_end, "{path} is {now:?} instead of {state}: {:?}", z.value(path, "reason"));
            now.as_deref() == Some(state)
        });
    }

    /// Waits until no collection is marked.
    pub fn wait_until_nothing_is_due(&self) {
        self.wait_until("nothing is due", |z| {
            let marks = z.run(&[
                "sql",
                "select count(*) from R_META_MAIN m join R_OBJT_METAMAP o on o.meta_id = m.meta_id where \
                 m.meta_attr_name in ('irods::omero::due', 'irods::omero::due_tree', 'irods::omero::sweeping')",
            ]);
            marks.trim() == "0"
        });
    }

    /// The server's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("zone").join("server.log")).unwrap_or_default()
    }

    /// The plugin's lines of the log at level error.
    pub fn errors(&self) -> Vec<String> {
        self.log().lines().filter(|l| l.contains(" error: omero:")).map(str::to_owned).collect()
    }

    /// The test's directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// A server_config.json with the plugin's stanza.
fn server_config(stanza: &Value) -> Value {
    json!({
        "zone_name": "tempZone", "zone_user": "rods", "catalog_service_role": "provider",
        "zone_user": "rods",
        "plugin_configuration": {"rule_engines": [{
            "instance_name": INSTANCE, "plugin_name": "irods_rule_engine_plugin-omero",
            "plugin_specific_configuration": stanza,
        }]},
    })
}
