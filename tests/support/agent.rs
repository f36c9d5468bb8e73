//! A stand-in for the agent: an HTTP server in this process that keeps the jobs it is given and says of them what the
//! test wants. `tests/agent_mode.rs` also runs the real one.

use super::tls::Authority;
use irods_omero_importer::FileOutcome;
use irods_omero_importer::tls;
use irods_omero_importer::wire::{self, Changes, Job, JobState, Jobs, Outcome, Refusal, Submit};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

/// The token it wants.
pub const TOKEN: &str = "a-token.of_the/test+1=";

/// An agent that does nothing by itself.
#[derive(Clone, Default)]
pub struct StandInAgent(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Each with the number of its last change.
    jobs: Vec<(Submit, Job, u64)>,
    change: u64,
    /// What it answers to everything, if anything.
    answers: Option<Vec<u8>>,
    /// The requests that came: method and path.
    seen: Vec<String>,
}

impl StandInAgent {
    /// One that listens on a socket.
    pub fn on_socket(path: &Path) -> Self {
        let (agent, listener) = (Self::default(), UnixListener::bind(path).unwrap());
        let served = agent.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = served.serve(stream);
            }
        });
        agent
    }

    /// One that listens on a port of this host; gives its URL too.
    pub fn on_port() -> (Self, String) {
        let (agent, listener) = (Self::default(), TcpListener::bind("127.0.0.1:0").unwrap());
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = agent.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = served.serve(stream);
            }
        });
        (agent, url)
    }

    /// One that listens on a port of this host with TLS, has the certificate of `localhost`, and wants one of the same
    /// authority; gives its URL too.
    pub fn on_tls_port(authority: &Authority) -> (Self, String) {
        let (certificate, key) = authority.certificate("localhost");
        let chain: Vec<_> =
            CertificateDer::pem_file_iter(certificate).unwrap().collect::<Result<_, _>>().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(tls::authorities(Some(&authority.file)).unwrap());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), tls::provider());
        let config = ServerConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap())
            .unwrap();
        let (agent, listener) = (Self::default(), TcpListener::bind("127.0.0.1:0").unwrap());
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let (served, config) = (agent.clone(), Arc::new(config));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let _ = served.serve(StreamOwned::new(connection, stream));
            }
        });
        (agent, url)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Answers everything with these bytes from now on; `None` makes it an agent again.
    pub fn answer_with(&self, bytes: Option<&[u8]>) {
        self.state().answers = bytes.map(<[u8]>::to_vec);
    }

    /// The requests that came: method and path.
    pub fn seen(&self) -> Vec<String> {
        self.state().seen.clone()
    }

    /// The jobs it has.
    pub fn jobs(&self) -> Vec<Submit> {
        self.state().jobs.iter().map(|(submit, _, _)| submit.clone()).collect()
    }

    /// Whether it has a job that has not ended.
    pub fn is_busy(&self) -> bool {
        self.state().jobs.iter().any(|(_, job, _)| !job.state.is_final())
    }

    /// Ends every job that has not, with an outcome for each file.
    pub fn finish(&self, mut outcome: impl FnMut(&wire::File) -> FileOutcome) {
        let mut state = self.state();
        let mut change = state.change;
        for (submit, job, changed) in state.jobs.iter_mut().filter(|(_, job, _)| !job.state.is_final()) {
            change += 1;
            *changed = change;
            job.state = JobState::Done;
            job.outcomes = submit.files.iter().map(|f| Outcome::of(f.subject, &outcome(f))).collect();
        }
        state.change = change;
    }

    fn serve(&self, mut stream: impl Read + Write) -> std::io::Result<()> {
        let mut reader = BufReader::new(&mut stream);
        let (mut first, mut length, mut token) = (String::new(), 0, String::new());
        reader.read_line(&mut first)?;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap(),
                "authorization" => value.trim_start_matches("Bearer ").clone_into(&mut token),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let mut words = first.split_whitespace();
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        self.state().seen.push(format!("{method} {path}"));
        if let Some(bytes) = self.state().answers.clone() {
            return stream.write_all(&bytes);
        }
        let (status, body) =
            if token == TOKEN { self.answer(method, path, &body) } else { refusal(401, "wrong token") };
        write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len())?;
        stream.write_all(&body)
    }

    fn answer(&self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut state = self.state();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let asked = |name: &str| query.split('&').find_map(|p| p.strip_prefix(name)?.strip_prefix('='));
        match (method, path) {
            ("POST", "/v1/jobs") => match Submit::read(body) {
                Ok(submit) => state.add(submit),
                Err(problem) => refusal(400, &problem.to_string()),
            },
            ("GET", "/v1/jobs") if asked("state").is_some() => {
                let open = state.jobs.iter().map(|(_, job, _)| job).filter(|job| !job.state.is_final());
                (200, wire::to_json(&Jobs { jobs: open.cloned().collect(), before: None }))
            }
            ("GET", "/v1/jobs") => {
                let job = state.jobs.iter().find(|(_, job, _)| Some(job.key.as_str()) == asked("key"));
                job.map_or_else(|| refusal(404, "no such job"), |(_, job, _)| (200, wire::to_json(job)))
            }
            ("GET", "/v1/changes") => {
                let number = |name| asked(name).unwrap().parse::<u64>().unwrap();
                let after = if number("after") > state.change { 0 } else { number("after") };
                let mut changed: Vec<_> = state.jobs.iter().filter(|j| j.2 > after).collect();
                changed.sort_by_key(|(_, _, change)| *change);
                changed.truncate(usize::try_from(number("limit")).unwrap());
                let cursor = changed.last().map_or(state.change, |(_, _, change)| *change);
                let jobs = changed.into_iter().map(|(_, job, _)| job.clone()).collect();
                (200, wire::to_json(&Changes { cursor, jobs }))
            }
            ("POST", path) => {
                let (id, what) = path.trim_start_matches("/v1/jobs/").split_once('/').unwrap_or_default();
                state.change += 1;
                let change = state.change;
                match state.jobs.iter_mut().find(|(_, job, _)| job.id == id) {
                    Some((_, job, changed)) => {
                        job.state = if what == "cancel" { JobState::Cancelled } else { JobState::Queued };
                        *changed = change;
                        (200, wire::to_json(job))
                    }
                    None => refusal(404, "no such job"),
                }
            }
            _ => refusal(404, "no such place"),
        }
    }
}

impl State {
    fn add(&mut self, submit: Submit) -> (u16, Vec<u8>) {
        if let Some((_, job, _)) = self.jobs.iter().find(|(_, job, _)| job.key == submit.key) {
            return (200, wire::to_json(job));
        }
        self.change += 1;
        let job = Job {
            id: self.change.to_string(),
            key: submit.key.clone(),
            zone: submit.zone.clone(),
            server: "omero.example.org".to_owned(),
            user: submit.user.clone(),
            group: submit.group.clone(),
            collection: submit.collection,
            state: JobState::Queued,
            reason: None,
            attempts: 0,
            submitted: None,
            started: None,
            ended: None,
            next: None,
            progress: None,
            files: submit.files.len() as u64,
            outcomes: Vec::new(),
        };
        let answer = (201, wire::to_json(&job));
        self.jobs.push((submit, job, self.change));
        answer
    }
}

fn refusal(status: u16, detail: &str) -> (u16, Vec<u8>) {
    let refusal = Refusal {
        kind: "about:blank".to_owned(),
        title: String::new(),
        status,
        detail: detail.to_owned(),
        pointer: None,
    };
    (status, wire::to_json(&refusal))
}
