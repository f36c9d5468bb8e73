//! Against Debian's slapd on loopback, and against servers that are none.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

use super::*;
use ldap3::LdapConn;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

#[path = "../../../../../tests/support/threads.rs"]
mod threads;
use threads::threads_during;

/// A directory of its own for one test; it ends with the test.
struct Slapd {
    dir: tempfile::TempDir,
    process: Child,
    plain: u16,
    secure: u16,
}

impl Drop for Slapd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const BASE: &str = "ou=people,dc=example,dc=org";

fn run(dir: &Path, program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).current_dir(dir).output().unwrap_or_else(|e| {
        panic!("{program} cannot be run ({e}): script/bootstrap installs it (packages slapd and openssl)")
    });
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn entry(uid: &str, more: &str) -> String {
    format!("dn: uid={uid},{BASE}\nobjectClass: inetOrgPerson\ncn: {uid}\nsn: {uid}\nuid: {uid}\n{more}\n\n")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Slapd {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path();
        let at = here.display();
        fs::create_dir(here.join("db")).unwrap();
        fs::write(here.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
        let ca = [
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
        ];
        run(here, "openssl", &[&ca[..], &["-days", "2", "-subj", "/CN=test"]].concat());
        let key = [
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            "key.pem",
            "-out",
            "request.pem",
        ];
        run(here, "openssl", &[&key[..], &["-subj", "/CN=localhost"]].concat());
        let sign =
            ["x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
        run(here, "openssl", &[&sign[..], &["-days", "2", "-extfile", "names", "-out", "cert.pem"]].concat());
        let mut data = String::from(
            "dn: dc=example,dc=org\nobjectClass: domain\ndc: example\n\n\
             dn: ou=people,dc=example,dc=org\nobjectClass: organizationalUnit\nou: people\n\n",
        );
        data += &entry("alice", "employeeType: a.smith\ndepartmentNumber: lab1\nl: z");
        data += &entry("bob", "employeeType: bob\nemployeeType: robert\nl: z");
        data += &entry("carol", "departmentNumber: lab1\nl: z");
        data += &entry("odd", "employeeType: -u\nl: z");
        data += &entry("picture", "employeeType:: w6TDtg==\njpegPhoto:: /9j/4A==\nl: z");
        data += &entry("guest1", "employeeType: root\nl: z");
        data += &entry("two", "employeeType: one\ndepartmentNumber: g1\ndepartmentNumber: g2\nl: z");
        for i in 0..10 {
            data += &entry(&format!("twin{i}"), "cn: many\nemployeeType: twin");
        }
        fs::write(here.join("data.ldif"), data).unwrap();
        fs::write(
            here.join("slapd.conf"),
            format!(
                "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
                 include /etc/ldap/schema/inetorgperson.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n\
                 pidfile {at}/pid\nargsfile {at}/args\nTLSCACertificateFile {at}/ca.pem\n\
                 TLSCertificateFile {at}/cert.pem\nTLSCertificateKeyFile {at}/key.pem\ndatabase mdb\n\
                 maxsize 10485760\nsuffix \"dc=example,dc=org\"\nrootdn \"cn=admin,dc=example,dc=org\"\n\
                 rootpw secret\ndirectory {at}/db\n\
                 access to attrs=jpegPhoto by users read by * none\naccess to * by * read\n"
            ),
        )
        .unwrap();
        run(here, "/usr/sbin/slapadd", &["-f", "slapd.conf", "-l", "data.ldif"]);
        let (plain, secure) = (free_port(), free_port());
        let addresses = format!("ldap://127.0.0.1:{plain} ldaps://127.0.0.1:{secure}");
        let mut process = Command::new("/usr/sbin/slapd")
            .args(["-d", "0", "-f", "slapd.conf", "-h", &addresses])
            .current_dir(here)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while [plain, secure].iter().any(|port| TcpStream::connect(("127.0.0.1", *port)).is_err()) {
            assert!(process.try_wait().unwrap().is_none(), "slapd ended at once");
            std::thread::yield_now();
        }
        Self { dir, process, plain, secure }
    }

    fn settings(&self) -> Settings {
        settings(&format!("ldap://127.0.0.1:{}", self.plain), "(uid={user})")
    }

    fn secret(&self, text: &str) -> PathBuf {
        let path = self.dir.path().join("password");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

fn settings(url: &str, filter: &str) -> Settings {
    Settings {
        servers: vec![Server::parse(url).unwrap()],
        base: BASE.to_owned(),
        filter: Filter::parse(filter).unwrap(),
        zones: vec!["z".to_owned()],
        user_attribute: "employeeType".to_owned(),
        group_attribute: Some("DepartmentNumber".to_owned()),
        bind: None,
        starttls: false,
        ca_file: None,
        timeout: Duration::from_secs(5),
        cache: Duration::from_secs(600),
        command: PathBuf::from("/nonexistent"),
        source: Value::Null,
    }
}

/// `user/group`, or the sentence.
fn said(settings: &Settings, name: &str) -> String {
    shown(&Directory::here(settings.clone()).look_up(&IrodsUser::parse(&format!("{name}#z")).unwrap()))
}

fn shown(answer: &Result<Result<Entry, String>, Trouble>) -> String {
    match answer {
        Ok(Ok(e)) => format!("{}/{}", e.user, e.group.as_ref().map_or("", |g| g.as_str())),
        Ok(Err(why)) => format!("nobody: {why}"),
        Err(Trouble::Unusable(why)) => format!("unusable: {why}"),
        Err(Trouble::WillPass(why)) => format!("will pass: {why}"),
    }
}

#[test]
fn an_entry_gives_user_and_group() {
    let slapd = Slapd::start();
    let settings = slapd.settings();
    assert_eq!(said(&settings, "alice"), "a.smith/lab1");
    let alice = IrodsUser::parse("alice#z").unwrap();
    let entry = Directory::here(settings.clone()).look_up(&alice).unwrap().unwrap();
    assert_eq!(entry.dn, format!("uid=alice,{BASE}"));
    assert_eq!(said(&settings, "dora"), "nobody: no entry for (uid=dora)");
    assert!(said(&settings, "carol").contains("has no attribute employeeType"));
    let by_zone =
        Settings { filter: Filter::parse("(&(uid={user})(l={zone}))").unwrap(), ..settings.clone() };
    assert_eq!(said(&by_zone, "alice"), "a.smith/lab1");
    assert!(said(&by_zone, "twin1").starts_with("nobody"));
}

#[test]
fn users_of_other_zones_are_not_looked_up() {
    let slapd = Slapd::start();
    let directory = Directory::here(slapd.settings());
    let told = shown(&directory.look_up(&IrodsUser::parse("alice#other").unwrap()));
    assert_eq!(told, "nobody: users of other are not looked up");
}

#[test]
fn what_is_no_choice_or_no_name_is_said_to_be_so() {
    let slapd = Slapd::start();
    let settings = slapd.settings();
    let many = Settings { filter: Filter::parse("(cn={user})").unwrap(), ..settings.clone() };
    let told = said(&many, "many");
    assert!(told.starts_with("unusable: the LDAP directory has several entries for (cn=many)"), "{told}");
    assert!(told.contains("uid=twin0") && told.contains("uid=twin1"), "{told}");
    assert!(said(&settings, "bob").contains("'bob' and 'robert'"));
    assert!(said(&settings, "two").contains("'g1' and 'g2'"));
    assert!(said(&settings, "odd").contains("'-u' cannot be"));
    let photo = Settings { user_attribute: "jpegPhoto".to_owned(), ..settings };
    let bound =
        Settings { bind: Some(("cn=admin,dc=example,dc=org".to_owned(), slapd.secret("secret\n"))), ..photo };
    assert!(said(&bound, "picture").contains("is not text"));
}

#[test]
fn whatever_is_in_a_name_is_text_in_the_filter() {
    let slapd = Slapd::start();
    for name in ["*", "alice)(uid=*", "a*", "*)(|(uid=*", "al\\69ce", "a'b\"c", "ali ce", "()", "\\", "&"] {
        let told = said(&slapd.settings(), name);
        assert!(told.starts_with("nobody: no entry for "), "{name}: {told}");
    }
    // What the directory itself would take for alice.
    for name in [" alice", "alice ", "ａlice", "ali\u{ad}ce", "alice\u{200b}", "al  ice"] {
        let told = said(&slapd.settings(), name);
        assert!(told.starts_with("nobody: the name holds blanks or characters"), "{name}: {told}");
    }
    assert_eq!(Filter::parse("(uid={user})").unwrap().fill("a*(b)\\\0", "z"), "(uid=a\\2a\\28b\\29\\5c\\00)");
}

#[test]
fn binding_and_both_ways_of_securing_the_connection_work() {
    let slapd = Slapd::start();
    let admin = "cn=admin,dc=example,dc=org".to_owned();
    let ca_file = Some(slapd.dir.path().join("ca.pem"));
    let bind = Some((admin, slapd.secret("secret\n")));
    let starttls =
        Settings { starttls: true, bind: bind.clone(), ca_file: ca_file.clone(), ..slapd.settings() };
    assert_eq!(said(&starttls, "alice"), "a.smith/lab1");
    let secure = settings(&format!("ldaps://localhost:{}", slapd.secure), "(uid={user})");
    let secure = Settings { bind: bind.clone(), ca_file, ..secure };
    assert_eq!(said(&secure, "alice"), "a.smith/lab1");
    let stranger = Settings { ca_file: None, ..secure.clone() };
    assert!(said(&stranger, "alice").starts_with("will pass: "), "a certificate nobody vouches for");
    slapd.secret("wrong\n");
    let told = said(&secure, "alice");
    assert!(told.contains("binding as 'cn=admin") && !told.contains("wrong"), "{told}");
    fs::set_permissions(slapd.dir.path().join("password"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(said(&secure, "alice").contains("chmod 0600"));
}

#[test]
fn a_base_that_is_not_there_will_pass() {
    let slapd = Slapd::start();
    let settings = Settings { base: "ou=nowhere,dc=example,dc=org".to_owned(), ..slapd.settings() };
    assert!(said(&settings, "alice").starts_with("will pass: "));
}

#[test]
fn answers_are_remembered_and_so_is_that_the_directory_is_down() {
    let slapd = Slapd::start();
    let directory = Directory::here(slapd.settings());
    let (alice, dora) = (IrodsUser::parse("alice#z").unwrap(), IrodsUser::parse("dora#z").unwrap());
    assert_eq!(shown(&directory.look_up(&alice)), "a.smith/lab1");
    assert!(shown(&directory.look_up(&dora)).starts_with("nobody"));
    drop(slapd);
    assert_eq!(shown(&directory.look_up(&alice)), "a.smith/lab1");
    assert!(shown(&directory.look_up(&dora)).starts_with("nobody"));
    let bob = IrodsUser::parse("bob#z").unwrap();
    assert!(shown(&directory.look_up(&bob)).starts_with("will pass: "));
    assert!(directory.memory.borrow().down.is_some());
    let forgetful = Directory::here(Settings { cache: Duration::ZERO, ..directory.settings.clone() });
    assert!(shown(&forgetful.look_up(&alice)).starts_with("will pass: "));
}

#[test]
fn the_second_server_is_asked_when_the_first_is_down() {
    let slapd = Slapd::start();
    let mut settings = slapd.settings();
    settings.servers.insert(0, Server::parse(&format!("ldap://127.0.0.1:{}", free_port())).unwrap());
    settings.servers.insert(1, Server::parse("ldap://no-such-host.invalid").unwrap());
    assert_eq!(said(&settings, "alice"), "a.smith/lab1");
}

/// A server that does `act` with its first connections, until the test has its answer.
fn odd_server(url: &str, act: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().flatten().for_each(act));
    let ca_file = None;
    let settings = settings(&format!("{url}:{port}"), "(uid={user})");
    said(&Settings { timeout: Duration::from_secs(1), ca_file, ..settings }, "alice")
}

#[test]
fn a_server_that_is_slow_silent_or_no_directory_will_pass() {
    for url in ["ldap://127.0.0.1", "ldaps://localhost"] {
        let held = std::sync::Mutex::new(Vec::new());
        let silent = odd_server(url, move |stream| held.lock().unwrap().push(stream));
        assert!(silent.starts_with("will pass: ") && silent.contains("in time"), "{silent}");
        let hangs_up = odd_server(url, drop);
        assert!(hangs_up.starts_with("will pass: "), "{hangs_up}");
        let babbles = odd_server(url, |mut stream| {
            let _ = stream.read(&mut [0; 100]);
            let _ = stream.write_all(&[0x30, 0x03, 0x02, 0x01, 0x01, 0x30, 0x00, 0xff, 0x13, 0x37]);
        });
        assert!(babbles.starts_with("will pass: "), "{babbles}");
    }
}

#[test]
fn an_entry_that_is_none_is_no_panic() {
    // Message 1, a search result entry whose name is a number.
    let told = odd_server("ldap://127.0.0.1", |mut stream| {
        let _ = stream.read(&mut [0; 200]);
        let entry = [0x30, 0x08, 0x02, 0x01, 0x01, 0x64, 0x03, 0x02, 0x01, 0x05];
        let done = [0x30, 0x0c, 0x02, 0x01, 0x01, 0x65, 0x07, 0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00];
        let _ = stream.write_all(&[&entry[..], &done].concat());
        let _ = stream.read(&mut [0; 200]);
    });
    assert!(told.starts_with("will pass: "), "{told}");
}

/// In a process of its own, because the other tests start threads.
#[test]
fn a_look_up_starts_no_thread() {
    const INNER: &str = "LDAP_THREADS_PORTS";
    let Ok(ports) = std::env::var(INNER) else {
        let slapd = Slapd::start();
        let ca = slapd.dir.path().join("ca.pem");
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["identity::ldap::tests::a_look_up_starts_no_thread", "--exact", "--test-threads=1"])
            .env(INNER, format!("{} {} {}", slapd.plain, slapd.secure, ca.display()))
            .output()
            .unwrap();
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
        return;
    };
    let mut ports = ports.split(' ');
    let (plain, secure, ca) = (ports.next().unwrap(), ports.next().unwrap(), ports.next().unwrap());
    let url = format!("ldap://localhost:{plain}");
    // A thread may come and go between two looks: often enough, it is seen.
    let often = |act: &dyn Fn()| threads_during(|| (0..50).for_each(|_| act()));
    let of_the_library = often(&|| drop(LdapConn::new(&url).unwrap()));
    assert!(
        of_the_library > 0,
        "the library no longer looks a name up in a thread, or the watcher sees none"
    );
    let plain = settings(&url, "(uid={user})");
    assert_eq!(often(&|| assert_eq!(said(&plain, "alice"), "a.smith/lab1")), 0);
    let secure = settings(&format!("ldaps://localhost:{secure}"), "(uid={user})");
    let secure = Settings { ca_file: Some(ca.into()), ..secure };
    assert_eq!(often(&|| assert_eq!(said(&secure, "alice"), "a.smith/lab1")), 0);
}

#[test]
fn urls_and_filters_are_checked() {
    for (url, host, port, secure) in [
        ("ldap://h", "h", 389, false),
        ("ldaps://h.example.org/", "h.example.org", 636, true),
        ("ldap://[::1]:3890", "::1", 3890, false),
    ] {
        let server = Server::parse(url).unwrap();
        assert_eq!((server.host.as_str(), server.port, server.secure), (host, port, secure));
    }
    for bad in
        ["h", "http://h", "ldap://", "ldap://h:x", "ldap://h/base", "ldap://u@h", "ldap://[x]", "ldap://h h"]
    {
        assert!(Server::parse(bad).is_err(), "{bad}");
    }
    for good in [
        "uid={user}",
        "(&(objectClass=person)(|(uid={user})(!(mail={user}@x))))",
        "(cn:caseExactMatch:={user})",
        "(uid>={user})",
        "(&(uid={user})(cn=a\\2ab*c))",
    ] {
        assert!(Filter::parse(good).is_ok(), "{good}");
    }
    let deep = format!("{}(uid={{user}}){}", "(!".repeat(MAX_DEPTH), ")".repeat(MAX_DEPTH));
    for bad in [
        "(uid={user})x",
        "(&)(uid={user})",
        "(={user})",
        "(u d={user})",
        "(uid={user}\\zz)",
        "(uid=({user})",
        &deep,
    ] {
        assert!(Filter::parse(bad).is_err(), "{bad}");
    }
    for bad in ["(uid=alice)", "(uid={usr})", "uid={user", "(uid={user}", "((uid={user}))(", "(l={zone})"] {
        assert!(Filter::parse(bad).is_err(), "{bad}");
    }
}
