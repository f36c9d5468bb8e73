//! Over the network: TLS only, and callers known by their certificates.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on has failed

mod support;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use support::{Answer, PATIENCE, TOKEN, TestAgent, request, wait_until};

/// Makes an authority, and certificates of it for some names, as files NAME.pem and NAME.key.
fn authority(dir: &Path, authority: &str, names: &[&str]) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    fs::write(dir.join(format!("{authority}.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    for name in names {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec![(*name).to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        fs::write(dir.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
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
    stream.write_all(request.as_bytes()).ok()?;
    let mut bytes = Vec::new();
    // The end may come without TLS's own farewell.
    let _ = stream.read_to_end(&mut bytes);
    (!bytes.is_empty()).then(|| Answer::of(&bytes))
}

#[test]
fn callers_over_the_network_show_a_token_or_a_certificate_that_is_known() {
    let mut agent = TestAgent::new();
    let dir = agent.dir.path().to_owned();
    authority(&dir, "ca", &["localhost", "irods.example.org", "stranger.example.org"]);
    authority(&dir, "other", &["foreign.example.org"]);
    // Free now, and in all likelihood a moment later.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    agent.config["listen"] = json!(format!("127.0.0.1:{port}"));
    let file = |name: &str| dir.join(name);
    agent.config["tls"] = json!({"certificate": file("localhost.pem"), "key": file("localhost.key"), "client_ca": file("ca.pem")});
    agent.config["certificates"] = json!([{"name": "irods.example.org", "zones": ["z"]}]);
    agent.start_unattended();
    let jobs = |token, certificate| {
        ask(&dir, port, certificate, &request("GET", "/v1/jobs", token, "")).map(|a| a.status)
    };
    wait_until("it answers over TLS", || jobs(Some(TOKEN), None));
    assert_eq!(jobs(Some(TOKEN), None), Some(200));
    assert_eq!(jobs(None, Some("irods.example.org")), Some(200));
    assert_eq!(jobs(None, None), Some(401));
    assert_eq!(jobs(None, Some("stranger.example.org")), Some(401));
    let page = |certificate| ask(&dir, port, certificate, &request("GET", "/", None, "")).unwrap();
    assert_eq!((page(None).status, page(Some("irods.example.org")).status), (401, 200));
    let form = format!("token={}", TOKEN.replace(' ', "+"));
    let form = request("POST", "/login", None, &form).replacen(
        "Host: agent",
        "Host: agent\r\nContent-Type: application/x-www-form-urlencoded",
        1,
    );
    let signed_in = ask(&dir, port, None, &form).unwrap();
    assert!(signed_in.status == 303 && signed_in.head.contains("; Secure"), "{signed_in:?}");
    assert_eq!(jobs(Some(TOKEN), Some("foreign.example.org")), None, "a certificate of nobody known ends it");

    let mut plain = TcpStream::connect(("127.0.0.1", port)).unwrap();
    plain.write_all(request("GET", "/healthz", None, "").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    let _ = plain.read_to_end(&mut bytes); // it may be reset
    assert!(!String::from_utf8_lossy(&bytes).contains("HTTP"), "nothing is answered without TLS");
}
