//! The stand-in against the real `omero` command: whatever needs no server is
//! run by both and compared, and with them what the real command does with a
//! simulated one (see contract/run-real-omero).
//!
//! The real command is installed by `tests/contract/environment` of the repository, once; `OMERO_REAL_VENV` names
//! one that was made by hand with `contract/setup VENV`.

mod common;
#[path = "../../contract/environment.rs"]
mod environment;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Omero, Ran, SUDO_PASSWORD, finish};
use environment::environment;
use serde_json::Value;

const NOBODY: u32 = 65534;

/// Both commands, each with a client directory of its own.
struct Both {
    standin: Omero,
    dir: tempfile::TempDir,
}

/// One way to call them.
#[derive(Default, Clone, Copy)]
struct Call<'a> {
    args: &'a [&'a str],
    stdin: &'a str,
    env: &'a [(&'a str, &'a str)],
    /// With a simulated server behind the real one.
    simulated: bool,
}

impl Both {
    fn new() -> Self {
        let me = Self { standin: Omero::new(), dir: tempfile::tempdir().unwrap() };
        for d in ["home", "sim", "user"] {
            std::fs::create_dir(me.real(d)).unwrap();
        }
        me.hand_over();
        me
    }

    fn real(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// Everything the real command touches belongs to the user it runs as.
    fn hand_over(&self) {
        if common::is_root() {
            let owner = format!("{NOBODY}:{NOBODY}");
            assert!(
                Command::new("chown").arg("-R").arg(owner).arg(self.dir.path()).status().unwrap().success()
            );
        }
    }

    fn run_real(&self, call: Call<'_>) -> Ran {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("contract");
        // The interpreter and the launcher stand where that user can read them.
        let launcher = self.real("run-real-omero");
        std::fs::copy(here.join("run-real-omero"), &launcher).unwrap();
        let java = self.real("bin/java");
        std::fs::create_dir_all(self.real("bin")).unwrap();
        std::fs::copy(here.join("java-standin/java"), &java).unwrap();
        std::fs::set_permissions(&java, std::fs::Permissions::from_mode(0o755)).unwrap();
        self.hand_over();
        let mut c = if common::is_root() {
            let mut c = Command::new("setpriv");
            c.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".to_owned()]);
            c.arg(environment().join("bin/python"));
            c
        } else {
            Command::new(environment().join("bin/python"))
        };
        c.arg(launcher)
            .args(call.args)
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.real("bin").display()))
            .env("HOME", self.real("home"))
            .env("LC_ALL", "C.UTF-8")
            .env("OMERO_USERDIR", self.real("user"))
            .env("OMERO_SESSIONDIR", self.real("user/sessions"))
            .env("OMERO_TMPDIR", self.real("user/tmp"))
            .env("OMERO_SIM", if call.simulated { self.real("sim") } else { "none".into() })
            .env("JAVA_RECORD", self.real("java.jsonl"))
            .envs(call.env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        give(c, call.stdin)
    }

    fn run_standin(&self, call: Call<'_>) -> Ran {
        let mut c = self.standin.command();
        c.args(call.args)
            .envs(call.env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        give(c, call.stdin)
    }

    /// Runs both; exit code, standard output and the last line of standard error
    /// have to be the same.
    fn same(&self, call: Call<'_>) -> (Ran, Ran) {
        let (real, mine) = (self.run_real(call), self.run_standin(call));
        let what = call.args.join(" ");
        assert_eq!(real.code, mine.code, "exit code of {what}\nreal: {}\nstand-in: {}", real.err, mine.err);
        assert_eq!(real.out, mine.out, "standard output of {what}");
        assert_eq!(last_line(&real.err), last_line(&mine.err), "standard error of {what}");
        (real, mine)
    }

    /// Like `same`, for commands that say nothing but an exit code on purpose.
    fn args(&self, args: &[&str]) -> Ran {
        self.same(Call { args, ..Call::default() }).0
    }

    fn real_java(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.real("java.jsonl")).unwrap();
        argv(&serde_json::from_str(text.lines().last().unwrap()).unwrap())
    }

    fn standin_java(&self) -> Vec<String> {
        argv(self.standin.java_runs().last().unwrap())
    }
}

fn give(mut c: Command, stdin: &str) -> Ran {
    use std::io::Write;
    let mut child = c.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    finish(child.wait_with_output().unwrap())
}

fn argv(run: &Value) -> Vec<String> {
    run["argv"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a.as_str().unwrap().to_owned())
        .filter(|a| !a.starts_with("-Djava.io.tmpdir="))
        .collect()
}

/// The last line that says something, without the program's own name.
fn last_line(err: &str) -> String {
    let line = err.lines().rfind(|l| !l.trim().is_empty()).unwrap_or_default();
    match line.split_once(": error: ") {
        Some((_, message)) => message.to_owned(),
        // Exceptions of Python name their module.
        None => line.to_owned(),
    }
}

fn password(p: &str) -> [(&'static str, &str); 1] {
    [("OMERO_PASSWORD", p)]
}

const LOGIN: &[&str] = &[
    "login",
    "-q",
    "-C",
    "--sudo",
    "importer",
    "-u",
    "alice",
    "-g",
    "lab1",
    "-s",
    "localhost",
    "-p",
    "4064",
    "-t",
    "3600",
];

#[test]
fn arguments_and_exit_codes_without_a_server() {
    let b = Both::new();
    for args in [
        &["version"][..],
        &["logout"],
        &["logout", "-q"],
        &["logout", "-q", "-s", "localhost", "-p", "4064", "-u", "alice"],
        &["-q", "-s", "localhost", "-u", "alice", "logout"],
        &["sessions", "key"],
        &["sessions", "file"],
        &["sessions", "list"],
        &["login", "-q", "-C"],
        &["login", "-q", "-C", "-s", "localhost"],
        &["login", "-q", "-C", "-s", "localhost", "-u", "alice"],
        &["login", "-s", "a", "b"],
        &["login", "-u", "a", "b@h"],
        &["login", "-u", "a", "-p", "1", "h:2"],
        &["login", "-t", "soon", "a@h"],
        &["login", "-s"],
        &["hql", "-q"],
        &["hql", "-q", "--limit", "many", "x"],
        &["hql", "-q", "x", "y"],
        &["hql", "-q", "--limit", "-x", "y"],
        &["obj"],
        &["obj", "-q", "--file", "/nonexistent"],
        &["obj", "-q", "map-set", "MapAnnotation:1", "mapValue", "k", "-x"],
        &["import", "--no-such-option"],
        &["import", "--depth", "deep"],
        &["import", "-f", "/a", "-c", "/b"],
        &["import", "--fi", "x", "--clientdir", "/nonexistent", "-f"],
        &["import", "--f", "x"],
        &["import", "-f", "--clientdir", "/nonexistent", "/x"],
        &["load", "-x"],
    ] {
        b.args(args);
    }
}

#[test]
fn choices_are_refused_with_2() {
    let b = Both::new();
    for args in [
        &["import", "--output", "xml"][..],
        &["import", "--skip", "everything"],
        &["import", "--encrypted", "perhaps"],
        &["obj", "frobnicate"],
        &["frobnicate"],
    ] {
        let call = Call { args, ..Call::default() };
        let (real, mine) = (b.run_real(call), b.run_standin(call));
        assert_eq!((real.code, mine.code), (2, 2), "{args:?}");
        assert!(real.err.contains("invalid choice: '") && mine.err.contains("invalid choice: '"));
    }
}

#[test]
fn a_file_of_object_commands_that_cannot_be_parsed() {
    let b = Both::new();
    for text in ["frobnicate Image:1\n", "new Dataset 'name=x\n", "x = \n", "", "# nothing\n\n"] {
        b.same(Call { args: &["obj", "-q", "--file", "-"], stdin: text, ..Call::default() });
    }
}

#[test]
fn a_server_that_is_not_there() {
    let b = Both::new();
    // A port of the loopback interface on which nobody listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    b.standin.standin(&["fault", "set", "server-down"]);
    let login = [
        "login",
        "-q",
        "-C",
        "--sudo",
        "importer",
        "-u",
        "alice",
        "-g",
        "lab1",
        "-s",
        "127.0.0.1",
        "-p",
        &port,
        "-t",
        "3600",
    ];
    let ran = b.same(Call { args: &login, env: &password("x"), ..Call::default() }).0;
    assert_eq!(ran.code, 42);
    let key = "11111111-2222-4333-8444-555555555555";
    assert_eq!(
        b.args(&["hql", "-q", "-s", "127.0.0.1", "-p", &port, "-k", key, "select 1 from Image i"]).code,
        11
    );
    // A stored session is thrown away, and the reason is not told.
    for sessions in [b.real("user/sessions"), b.standin.path("client/sessions")] {
        let host = sessions.join("127.0.0.1");
        std::fs::create_dir_all(host.join("alice")).unwrap();
        std::fs::write(sessions.join("._LASTHOST_"), "127.0.0.1").unwrap();
        std::fs::write(sessions.join("._LASTPORT_"), &port).unwrap();
        std::fs::write(host.join("._LASTUSER_"), "alice").unwrap();
        std::fs::write(host.join("alice/._LASTSESS_"), key).unwrap();
        let text = format!("omero.host=127.0.0.1\nomero.user=alice\nomero.port={port}\nomero.sess={key}\n");
        std::fs::write(host.join("alice").join(key), text).unwrap();
    }
    b.hand_over();
    let ran = b.args(&["hql", "-q", "-s", "127.0.0.1", "-p", &port, "-u", "alice", "select 1 from Image i"]);
    assert_eq!(
        (ran.code, ran.out),
        (44, format!("Previous session expired for alice on 127.0.0.1:{port}\n"))
    );
    for sessions in [b.real("user/sessions"), b.standin.path("client/sessions")] {
        assert!(!sessions.join("127.0.0.1/alice").join(key).exists());
    }
}

#[test]
fn a_host_name_that_is_unknown() {
    let b = Both::new();
    b.standin.standin(&["fault", "set", "bad-host"]);
    let args = ["login", "-q", "-C", "-u", "alice", "-s", "no-such-host.invalid"];
    assert_eq!(b.same(Call { args: &args, env: &password("x"), ..Call::default() }).0.code, 43);
}

#[test]
fn answers_to_a_login() {
    for (answer, fault, code, lines) in [
        ("denied", "wrong-password", 44, 3),
        ("security", "sudo-refused", 45, 1),
        ("other", "connect-failure", 44, 1),
    ] {
        let b = Both::new();
        b.standin.standin(&["fault", "set", fault]);
        let env = [("OMERO_PASSWORD", "x"), ("OMERO_SIM_LOGIN", answer)];
        let real = b.run_real(Call { args: LOGIN, env: &env, simulated: true, ..Call::default() });
        let mine = b.run_standin(Call { args: LOGIN, env: &password(SUDO_PASSWORD), ..Call::default() });
        assert_eq!((real.code, mine.code), (code, code), "{answer}");
        assert_eq!((real.err.lines().count(), mine.err.lines().count()), (lines, lines), "{answer}");
        let first_word = |r: &Ran| last_line(&r.err).split(':').next().unwrap().to_owned();
        assert_eq!(first_word(&real), first_word(&mine), "{answer}");
        assert_eq!((real.out.as_str(), mine.out.as_str()), ("", ""));
    }
}

#[test]
fn which_options_find_the_stored_session() {
    let b = Both::new();
    let simulated = true;
    let login = Call { args: LOGIN, env: &password(SUDO_PASSWORD), ..Call::default() };
    assert_eq!(b.run_real(Call { simulated, ..login }).code, 0);
    assert_eq!(b.run_standin(login).code, 0);
    let query = "select i.id from Image i where i.id = -1";
    for (options, code) in [
        (&["-q"][..], 0),
        (&["-q", "-u", "alice"], 0),
        (&["-q", "-s", "localhost"], 0),
        (&["-q", "-s", "alice@localhost:4064"], 0),
        (&["-q", "-s", "localhost", "-p", "4064", "-u", "alice", "-g", "lab1"], 0),
        (&["-s", "localhost", "-u", "alice", "-g", "lab2"], 44),
        (&["-q", "-s", "localhost", "-u", "alice", "-g", "lab2"], 44),
        (&["-q", "-s", "localhost", "-u", "alice", "-p", "4065"], 44),
        (&["-q", "-s", "localhost", "-u", "bob"], 44),
        (&["-q", "-s", "elsewhere", "-u", "alice"], 44),
        (&["-q", "-C", "-s", "localhost", "-u", "alice"], 44),
        (&["-q", "-C"], 52),
    ] {
        let mut args = vec!["hql"];
        args.extend_from_slice(options);
        args.extend(["--style", "json", query]);
        let (real, _) = b.same(Call { args: &args, simulated, ..Call::default() });
        assert_eq!(real.code, code, "{options:?}");
    }
}

fn session_text(dir: &Path) -> String {
    let last = |f: &str| std::fs::read_to_string(dir.join(f)).unwrap();
    let key = last("localhost/alice/._LASTSESS_");
    let file = last(&format!("localhost/alice/{key}"));
    [last("._LASTHOST_"), last("._LASTPORT_"), last("localhost/._LASTUSER_"), file.replace(&key, "KEY")]
        .join("\n")
}

#[test]
fn the_five_commands_in_a_row() {
    let b = Both::new();
    let simulated = true;
    let real = b.run_real(Call { args: LOGIN, env: &password(SUDO_PASSWORD), simulated, ..Call::default() });
    let mine = b.run_standin(Call { args: LOGIN, env: &password(SUDO_PASSWORD), ..Call::default() });
    for r in [&real, &mine] {
        assert_eq!((r.code, r.out.as_str(), r.err.as_str()), (0, "", ""));
    }
    assert_eq!(session_text(&b.real("user/sessions")), session_text(&b.standin.path("client/sessions")));
    let sessions: Value =
        serde_json::from_str(&std::fs::read_to_string(b.real("sim/sim.json")).unwrap()).unwrap();
    assert!(
        sessions["sessions"]
            .as_object()
            .unwrap()
            .values()
            .any(|s| s["user"] == "alice" && s["tti"] == 3_600_000)
    );

    let at = ["-q", "-s", "localhost", "-p", "4064", "-u", "alice"];
    let with = |command: &str, rest: &[&str]| -> Vec<String> {
        [command].iter().chain(&at).chain(rest).map(|s| (*s).to_owned()).collect()
    };
    let hql = with(
        "hql",
        &["--style", "json", "--limit", "-1", "--all", "select i.id from Image i where i.id = -1"],
    );
    let hql: Vec<&str> = hql.iter().map(String::as_str).collect();
    assert_eq!(b.same(Call { args: &hql, simulated, ..Call::default() }).0.out, "[]\n");

    let (jars, logback) = (b.real("jars"), b.real("logback.xml"));
    std::fs::create_dir(&jars).unwrap();
    std::fs::write(jars.join("a.jar"), "").unwrap();
    std::fs::write(&logback, "<target>System.err</target>").unwrap();
    let import = with(
        "import",
        &[
            "--clientdir",
            jars.to_str().unwrap(),
            "--logback",
            logback.to_str().unwrap(),
            "--transfer",
            "ln_s",
            "--output",
            "yaml",
            "-T",
            "Dataset:name:A B",
            "--skip",
            "upgrade",
            "--skip",
            "checksum",
            "-n",
            "x y",
            "--parallel-upload",
            "4",
            "--depth",
            "7",
            "-",
        ],
    );
    let import: Vec<&str> = import.iter().map(String::as_str).collect();
    let stdin = "/no such/a.tif\n";
    let java_opts = [("JAVA_OPTS", "-Xmx4g '-Dx=a b'")];
    let real = b.run_real(Call { args: &import, stdin, env: &java_opts, simulated });
    assert_eq!(real.code, 0, "{}", real.err);
    b.run_standin(Call { args: &import, stdin, env: &java_opts, ..Call::default() });
    let without_key = |mut argv: Vec<String>| {
        let i = argv.iter().position(|a| a == "-k").unwrap();
        argv[i + 1] = "KEY".to_owned();
        argv
    };
    assert_eq!(without_key(b.real_java()), without_key(b.standin_java()));
    let record: Value =
        serde_json::from_str(std::fs::read_to_string(b.real("java.jsonl")).unwrap().lines().last().unwrap())
            .unwrap();
    assert_eq!(record["stdin"], stdin, "Python takes nothing of it");
    assert_eq!(record["fds"], serde_json::json!([0, 1, 2]));
    assert!(!record["env"].as_array().unwrap().contains(&"OMERO_PASSWORD".into()));

    let logout = Call { args: &["logout"], simulated, ..Call::default() };
    assert_eq!(b.same(logout).0.code, 0);
    for dir in [b.real("user/sessions"), b.standin.path("client/sessions")] {
        assert_eq!(std::fs::read_dir(dir.join("localhost/alice")).unwrap().count(), 0);
    }
    assert_eq!(b.same(logout).0.code, 0, "again");
    let state: Value =
        serde_json::from_str(&std::fs::read_to_string(b.real("sim/sim.json")).unwrap()).unwrap();
    assert!(
        !state["sessions"].as_object().unwrap().values().any(|s| s["user"] == "alice"),
        "killed on the server"
    );
}

#[test]
fn java_gets_the_same_words() {
    let b = Both::new();
    let jars = b.real("jars");
    std::fs::create_dir(&jars).unwrap();
    std::fs::write(jars.join("a.jar"), "").unwrap();
    let jars = jars.to_str().unwrap();
    for more in [
        &["/a b.tif"][..],
        &["-", "--exclude", "clientpath", "--skip", "all", "--encrypted", "true", "-d", "5", "-r", "6"],
        &["-dash.tif"],
        &["--", "-dash.tif"],
        &["--", "--exclude=filename", "--exclude=clientpath", "--keep-alive=60", "/p/a.tif"],
        &["-nx", "-cx=y", "--name=", "/p"],
        &["--debug", "WARN", "--report", "--email", "a@b", "/p"],
        &["--annotation-ns", "n", "--annotation-text", "t", "--annotation_link", "1", "/p"],
        &["--checksum-algorithm", "--transfer", "ln_s", "/p"],
        &["--tran", "ln_s", "--no-stats-info", "--plate_name", "q", "/p", "/q", "-c"],
        &[],
    ] {
        let mut args = vec!["import", "-f", "--clientdir", jars, "--logback", "/nonexistent.xml"];
        args.extend_from_slice(more);
        let call = Call { args: &args, stdin: "", ..Call::default() };
        assert_eq!(b.run_real(call).code, 0, "{more:?}");
        b.run_standin(call);
        assert_eq!(b.real_java(), b.standin_java(), "{more:?}");
    }
}

#[test]
fn exit_codes_of_java_and_signals_pass_through() {
    let b = Both::new();
    let jars = b.real("jars");
    std::fs::create_dir(&jars).unwrap();
    std::fs::write(jars.join("a.jar"), "").unwrap();
    let args = ["import", "-f", "--clientdir", jars.to_str().unwrap(), "/x"];
    for code in ["1", "2", "3", "125", "255"] {
        let ran = b.run_real(Call { args: &args, env: &[("JAVA_EXIT", code)], ..Call::default() });
        assert_eq!(ran.code.to_string(), code);
    }
}

/// Quotes a word for `obj --file`.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\"'\"'"))
}

#[test]
fn object_commands_are_parsed_alike() {
    let b = Both::new();
    let login = Call { args: LOGIN, env: &password(SUDO_PASSWORD), ..Call::default() };
    assert_eq!(b.run_real(Call { simulated: true, ..login }).code, 0);
    assert_eq!(b.run_standin(login).code, 0);
    let args = ["obj", "-q", "-s", "localhost", "-p", "4064", "-u", "alice", "--file", "-"];
    let real = |text: &str| b.run_real(Call { args: &args, stdin: text, simulated: true, ..Call::default() });
    let mine = |text: &str| b.run_standin(Call { args: &args, stdin: text, ..Call::default() });
    let (real_id, my_id) = (real("new MapAnnotation ns=n\n").out, mine("new MapAnnotation ns=n\n").out);
    let values = [
        "two  words",
        "#hash",
        " leading",
        "trailing ",
        "-x",
        "--",
        "a=b",
        "it's",
        "\"double\"",
        "back\\slash",
        "\\",
        "é漢字🔬",
        "$HOME `x` $(y)",
        "",
        "''",
        "(a,b),(c,d)",
        "tab\there",
        "x = y",
        "\u{2028}line",
        "nbsp\u{a0}",
        "carriage\rreturn",
    ];
    for (id, run) in [(real_id.trim(), &real as &dyn Fn(&str) -> Ran), (my_id.trim(), &mine)] {
        let mut text = String::new();
        for (i, v) in values.iter().enumerate() {
            text += &format!("map-set {id} mapValue {i} {}\nmap-get {id} mapValue {i}\n", quote(v));
        }
        let ran = run(&text);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let printed: Vec<&str> = ran.out.split('\n').filter(|l| *l != id).collect();
        assert_eq!(printed[..values.len()], values, "{id}");
    }
    // Words in every other dress.
    for (line, words) in [
        ("new Dataset name=plain", "plain"),
        ("new Dataset \"name=a \\\" b \\$ \\\\ c\"", "a \" b \\$ \\ c"),
        ("new Dataset name=a\\ b", "a b"),
        ("new Dataset name='a'\"b\"c", "abc"),
        ("  d = new Dataset name='#'  ", "#"),
        ("d= new Dataset name=e", "e"),
    ] {
        for (run, klass) in [(&real as &dyn Fn(&str) -> Ran, "real"), (&mine, "stand-in")] {
            let ran = run(line);
            assert_eq!(ran.code, 0, "{klass} {line}: {}", ran.err);
            let got = run(&format!("get {} name", ran.out.trim())).out;
            assert_eq!(got, format!("{words}\n"), "{klass} {line}");
        }
    }
    for text in [
        "new Dataset name=D # comment\n",
        "map-set MapAnnotation:77 mapValue k v\n",
        "map-set Fileset:1\n",
        "new Dataset\n",
        "new ImageAnnotationLink parent=Image:1\n",
        "new Nothing\n",
        "new ImageAnnotationLink parent=x child=y\n",
        "new Dataset nothing=x\n",
        "new ImageAnnotationLink parent@=nothing child@=0\n",
        "new Dataset name=a\rnew Dataset name=b\n",
        "new Dataset 'name=a\nb'\n",
        "m = new MapAnnotation ns=n\nmap-set m mapValue k v\n",
    ] {
        let (r, m) = (real(text), mine(text));
        assert_eq!(r.code, m.code, "{text}\nreal: {}\nstand-in: {}", r.err, m.err);
        assert_eq!(r.out.lines().count(), m.out.lines().count(), "{text}");
    }
}

#[test]
fn tables_are_drawn_alike() {
    let b = Both::new();
    assert_eq!(
        b.run_real(Call { args: LOGIN, env: &password(SUDO_PASSWORD), simulated: true, ..Call::default() })
            .code,
        0
    );
    assert_eq!(b.run_standin(Call { args: LOGIN, env: &password(SUDO_PASSWORD), ..Call::default() }).code, 0);
    let names = ["plain", "a, \"b\"", "two\nlines", "é🔬\\", "", "tab\t'"];
    for n in names {
        assert_eq!(b.standin.run(&["obj", "-q", "new", "Dataset", &format!("name={n}")]).code, 0);
    }
    let rows: Vec<Value> =
        names.iter().enumerate().map(|(i, n)| serde_json::json!([i + 1, n, null])).collect();
    let rows = Value::Array(rows).to_string();
    for style in ["csv", "plain", "json", "sql"] {
        for (filter, rows) in [("1 = 1", rows.as_str()), ("1 = 0", "[]")] {
            let query =
                format!("select d.id, d.name, d.description from Dataset d where {filter} order by d.id");
            let args = ["hql", "-q", "--style", style, &query];
            let env = [("OMERO_SIM_ROWS", rows)];
            b.same(Call { args: &args, env: &env, simulated: true, ..Call::default() });
        }
    }
}

#[test]
fn root_is_refused_and_nobody_else() {
    let b = Both::new();
    let real = finish(Command::new(environment().join("bin/omero")).arg("version").output().unwrap());
    let mine =
        finish(b.standin.command().env_remove("OMERO_STANDIN_ALLOW_ROOT").arg("version").output().unwrap());
    for r in [real, mine] {
        if common::is_root() {
            assert_eq!((r.code, r.err.as_str()), (1, ""));
            assert!(
                r.out.starts_with("FATAL: Running ")
                    && r.out.ends_with(" as root can corrupt your directory permissions.\n")
            );
        } else {
            assert_eq!((r.code, r.out.as_str()), (0, "5.23.0\n"));
        }
    }
}
