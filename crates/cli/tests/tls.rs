//! Over the network: TLS only, and callers known by their certificates.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};
use rustix::process::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use support::{Answer, PATIENCE, TOKEN, TestAgent, form, request, wait_until};

/// What is put into a certificate beside its name.
type Change<'a> = &'a dyn Fn(&mut CertificateParams);

/// Makes an authority, and certificates of it for some names, as files NAME.pem and NAME.key.
fn authority(dir: &Path, authority: &str, names: &[&str]) -> Issuer<'static, KeyPair> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    fs::write(dir.join(format!("{authority}.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    for name in names {
        certificate(dir, &issuer, name, name, &|_| {});
    }
    issuer
}

/// Makes a certificate for a name, as files FILE.pem and FILE.key.
fn certificate(dir: &Path, issuer: &Issuer<'_, KeyPair>, file: &str, name: &str, change: Change<'_>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    change(&mut params);
    let pem = params.signed_by(&key, issuer).unwrap().pem();
    fs::write(dir.join(format!("{file}.pem")), pem).unwrap();
    let path = dir.join(format!("{file}.key"));
    fs::write(&path, key.serialize_pem()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// An answer over TLS; `None` if the connection or the handshake fails.
fn ask(dir: &Path, port: u16, certificate: Option<&str>, request: &str) -> Option<Answer> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("ca.pem")).unwrap()).unwrap();
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let config = match certificate {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let chain = vec![CertificateDer::from_pem_file(dir.join(format!("{name}.pem"))).unwrap()];
            let key = PrivateKeyDer::from_pem_file(dir.join(format!("{name}.key"))).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(("127.0.0.1", port)).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = StreamOwned::new(connection, socket);
    let request = request.replacen("Host: agent\r\n", &format!("Host: localhost:{port}\r\n"), 1);
    stream.write_all(request.as_bytes()).ok()?;
    let mut bytes = Vec::new();
    // The end may come without TLS's own farewell.
    let _ = stream.read_to_end(&mut bytes);
    (!bytes.is_empty()).then(|| Answer::of(&bytes))
}

/// An agent over TLS with an authority `ca` and a caller `irods.example.org`, started; gives its port.
fn over_tls(agent: &mut TestAgent) -> (u16, Issuer<'static, KeyPair>) {
    let dir = agent.dir.path().to_owned();
    let issuer = authority(&dir, "ca", &["localhost", "irods.example.org", "stranger.example.org"]);
    // Free now, and in all likelihood a moment later.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    agent.config["listen"] = json!(format!("127.0.0.1:{port}"));
    let file = |name: &str| dir.join(name);
    agent.config["tls"] = json!({"certificate": file("localhost.pem"), "key": file("localhost.key"), "client_ca": file("ca.pem")});
    let caller = json!({"name": "irods.example.org", "zones": ["z"], "roots": [agent.vault], "users": {"match": ".+"}});
    agent.config["certificates"] = json!([caller]);
    agent.start_unattended();
    wait_until("it answers over TLS", || ask(&dir, port, None, &request("GET", "/healthz", None, "")));
    (port, issuer)
}

#[test]
fn callers_over_the_network_show_a_token_or_a_certificate_that_is_known() {
    let mut agent = TestAgent::new();
    let dir = agent.dir.path().to_owned();
    let (port, _) = over_tls(&mut agent);
    authority(&dir, "other", &["foreign.example.org"]);
    let jobs = |token, certificate| {
        ask(&dir, port, certificate, &request("GET", "/v1/jobs", token, "")).map(|a| a.status)
    };
    assert_eq!(jobs(Some(TOKEN), None), Some(200));
    assert_eq!(jobs(None, Some("irods.example.org")), Some(200));
    assert_eq!(jobs(None, None), Some(401));
    assert_eq!(jobs(None, Some("stranger.example.org")), Some(401));
    let page = |certificate| ask(&dir, port, certificate, &request("GET", "/", None, "")).unwrap();
    assert_eq!((page(None).status, page(Some("irods.example.org")).status), (401, 200));
    let token = format!("token={}", TOKEN.replace(' ', "+"));
    let signed_in = ask(&dir, port, None, &form("/login", "", &token)).unwrap();
    assert!(signed_in.status == 303 && signed_in.head.contains("; Secure"), "{signed_in:?}");
    assert_eq!(jobs(Some(TOKEN), Some("foreign.example.org")), None, "a certificate of nobody known ends it");

    let mut plain = TcpStream::connect(("127.0.0.1", port)).unwrap();
    plain.write_all(request("GET", "/healthz", None, "").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    let _ = plain.read_to_end(&mut bytes); // it may be reset
    assert!(!String::from_utf8_lossy(&bytes).contains("HTTP"), "nothing is answered without TLS");
}

#[test]
fn a_certificate_that_is_not_exactly_the_callers_lets_nobody_in() {
    let mut agent = TestAgent::new();
    let dir = agent.dir.path().to_owned();
    let (port, issuer) = over_tls(&mut agent);
    let make = |file: &str, name: &str, change: Change<'_>| certificate(&dir, &issuer, file, name, change);
    make("wildcard", "*.example.org", &|_| {});
    make("other-case", "IRODS.example.org", &|_| {});
    make("renewed", "irods.example.org", &|_| {});
    make("expired", "irods.example.org", &|p| p.not_after = date_time_ymd(2020, 1, 1));
    make("to-come", "irods.example.org", &|p| p.not_before = date_time_ymd(2090, 1, 1));
    make("for-servers", "irods.example.org", &|p| {
        p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let jobs = |certificate| {
        ask(&dir, port, Some(certificate), &request("GET", "/v1/jobs", None, "")).map(|a| a.status)
    };
    assert_eq!(jobs("wildcard"), Some(401), "a name with a * is nobody's");
    assert_eq!((jobs("other-case"), jobs("renewed")), (Some(200), Some(200)));
    for ends in ["expired", "to-come", "for-servers"] {
        assert_eq!(jobs(ends), None, "{ends}");
    }
}

#[test]
fn a_browser_with_a_certificate_serves_no_page_of_another_site() {
    let mut agent = TestAgent::new();
    let dir = agent.dir.path().to_owned();
    let (port, _) = over_tls(&mut agent);
    let body = agent.body("k", 1, &[agent.image("a.tif")]).to_string();
    let status = |method: &str, path: &str, head: &str| {
        let plain = request(method, path, None, if method == "POST" { &body } else { "" });
        let request = plain.replacen("Connection: close\r\n", &format!("Connection: close\r\n{head}"), 1);
        ask(&dir, port, Some("irods.example.org"), &request).unwrap().status
    };
    for head in
        ["Sec-Fetch-Site: cross-site\r\n", "Sec-Fetch-Site: same-site\r\n", "Origin: http://localhost\r\n"]
    {
        for (method, path) in
            [("POST", "/v1/jobs"), ("GET", "/v1/jobs"), ("GET", "/v1/changes"), ("GET", "/")]
        {
            assert_eq!(status(method, path, head), 403, "{method} {path} {head}");
        }
    }
    assert_eq!(status("GET", "/", "Sec-Fetch-Site: none\r\n"), 200);
    assert_eq!(status("POST", "/v1/jobs", ""), 201);
}

#[test]
fn a_name_that_only_leads_to_the_agent_is_not_the_agents() {
    let mut agent = TestAgent::new();
    let dir = agent.dir.path().to_owned();
    let (port, _) = over_tls(&mut agent);
    let asked_for = |host: &str| {
        let plain = request("GET", "/healthz", None, "").replace("Host: agent", &format!("Host: {host}"));
        ask(&dir, port, None, &plain).unwrap().status
    };
    for fine in ["localhost", "LOCALHOST:4443", "127.0.0.1:4443", "[::1]:4443"] {
        assert_eq!(asked_for(fine), 200, "{fine}");
    }
    for foreign in ["evil.example", "localhost.evil.example", "irods.example.org"] {
        assert_eq!(asked_for(foreign), 421, "{foreign}");
    }
}

#[test]
fn a_reload_is_applied_whole_or_not_at_all() {
    let mut agent = TestAgent::new();
    let dir = agent.dir.path().to_owned();
    let (port, issuer) = over_tls(&mut agent);
    let status =
        |token| ask(&dir, port, None, &request("GET", "/v1/jobs", Some(token), "")).map(|a| a.status);
    let new = "a new token for the same zone";
    // The tokens are in order; the certificate is not.
    agent.write_tokens(&[(new, "z")]);
    fs::write(dir.join("localhost.pem"), "no certificate").unwrap();
    agent.signal(Signal::HUP);
    wait_until("the mistake is told", || agent.log().contains("holds no certificate").then_some(()));
    assert_eq!((status(TOKEN), status(new)), (Some(200), Some(401)));
    // Nor is its key, which others can read.
    certificate(&dir, &issuer, "localhost", "localhost", &|_| {});
    fs::set_permissions(dir.join("localhost.key"), fs::Permissions::from_mode(0o644)).unwrap();
    agent.signal(Signal::HUP);
    wait_until("the mode is told", || agent.log().contains("have mode 0640 or less").then_some(()));
    assert_eq!((status(TOKEN), status(new)), (Some(200), Some(401)));
    // Nor can what is listened on be changed.
    fs::set_permissions(dir.join("localhost.key"), fs::Permissions::from_mode(0o600)).unwrap();
    let listen = agent.config["listen"].clone();
    agent.config["listen"] = json!("127.0.0.1:1");
    agent.write_config();
    agent.signal(Signal::HUP);
    wait_until("the restart is told", || agent.log().contains("/listen: was changed").then_some(()));
    assert_eq!((status(TOKEN), status(new)), (Some(200), Some(401)));
    // A renewed certificate is served as soon as all is in order.
    agent.config["listen"] = listen;
    agent.write_config();
    agent.signal(Signal::HUP);
    wait_until("the new token is taken", || (status(new) == Some(200)).then_some(()));
    assert_eq!(status(TOKEN), Some(401));
}

#[test]
fn a_certificate_of_the_agents_own_with_a_wildcard_needs_its_name_in_hosts() {
    let mut agent = TestAgent::new();
    let dir = agent.dir.path().to_owned();
    let issuer = authority(&dir, "ca", &[]);
    certificate(&dir, &issuer, "wild", "*.example.org", &|_| {});
    agent.config["listen"] = json!("127.0.0.1:0");
    agent.config["tls"] = json!({"certificate": dir.join("wild.pem"), "key": dir.join("wild.key")});
    let (status, said) = agent.start_in_vain();
    assert!(!status.success() && said.contains("/hosts"), "{said}");
}
