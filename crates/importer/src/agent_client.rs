//! An agent reached over HTTP/1.1: by TLS, or through a socket on this host.
//!
//! No thread may be started in an iRODS process: host names are looked up by the standard library, in this one, and
//! not by the client library, which would take a thread to be able to give up. A test counts the threads.

mod saves;

pub use saves::{ContentError, SaveSource, save_sources};

use crate::Deletions;
use crate::agents::{Agent, AgentError, Agents};
use crate::ffi::ignoring_broken_pipes;
use crate::follow::Followed;
use crate::settings::{Address, AgentMode, AgentSettings};
use crate::wire::{self, Changes, Job, Jobs, Key, MAX_BODY_BYTES, Refusal, Submit};
use crate::{secret, tls};
use irods_omero_model::names::OmeroId;
use once_cell::unsync::OnceCell;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::ToSocketAddrs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::http::{StatusCode, Uri};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, RustlsConnector, TcpConnector, Transport,
};
use ureq::{Error, Timeout};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest answer that is no job, in bytes: a refusal.
const MAX_REFUSAL_BYTES: u64 = 64 << 10;

/// The longest answer about one job, in bytes: its outcomes may be longer than what it was submitted with.
const MAX_JOB_BYTES: u64 = 4 * MAX_BODY_BYTES as u64;

/// The longest answer about several jobs, in bytes; fewer are asked for then.
const MAX_JOBS_BYTES: u64 = 16 << 20;

/// Asks for jobs that have not ended.
const OPEN_JOBS: &str = "/v1/jobs?state=queued,running,waiting&limit=1000";

/// The most pages of them that are asked for.
const MAX_PAGES: usize = 1_000;

/// One agent as configured.
pub struct Client<'a> {
    agent: &'a AgentSettings,
    timeout: Duration,
    /// How many agents there are, where that is known: an only one need not fear that another has its work.
    agents: Option<usize>,
    connection: OnceCell<Connection>,
}

/// The agents of the configuration.
pub fn all(agents: &AgentMode) -> Agents<'_> {
    let number = agents.agents.len();
    let client = |agent| {
        Box::new(Client { agents: Some(number), ..Client::new(agent, agents.timeout) }) as Box<dyn Agent>
    };
    let clients = agents.agents.iter().map(client).collect();
    Agents::new(clients, agents.server.as_deref(), agents.fallback_after)
}

/// What is needed to speak to it.
struct Connection {
    http: ureq::Agent,
    /// Scheme, host and port.
    base: String,
    /// The header that says who we are.
    authorization: Option<String>,
}

/// An answer.
struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

impl<'a> Client<'a> {
    /// The agent; nothing is read or opened yet. No request takes longer than `timeout`.
    pub fn new(agent: &'a AgentSettings, timeout: Duration) -> Self {
        Self { agent, timeout, agents: None, connection: OnceCell::new() }
    }

    fn connection(&self) -> Result<&Connection, AgentError> {
        let wrong = |why| self.not_taken(&format!("cannot be spoken to: {why}"));
        self.connection.get_or_try_init(|| Connection::open(self.agent, self.timeout)).map_err(wrong)
    }

    fn not_taken(&self, why: &str) -> AgentError {
        AgentError::NotTaken(format!("the agent '{}' {why}", self.agent.name))
    }

    fn too_old(&self, what: &str) -> AgentError {
        self.not_taken(&format!(
            "is of a version that cannot {what}: install the same version on the OMERO host as here"
        ))
    }

    fn unclear(&self, why: &str) -> AgentError {
        AgentError::Unclear(format!("the agent '{}' {why}", self.agent.name))
    }

    fn get(&self, path: &str, limit: u64) -> Result<Answer, AgentError> {
        let connection = self.connection()?;
        let request = connection.http.get(format!("{}{path}", connection.base));
        let request = match &connection.authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        };
        self.answer(ignoring_broken_pipes(|| request.call()), limit)
    }

    fn post(&self, path: &str, body: &[u8]) -> Result<Answer, AgentError> {
        let connection = self.connection()?;
        let request = connection.http.post(format!("{}{path}", connection.base));
        let request = request.header("content-type", "application/json");
        let request = match self.agents {
            Some(number) => request.header("irods-omero-agents", number),
            None => request,
        };
        let request = match &connection.authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        };
        self.answer(ignoring_broken_pipes(|| request.send(body)), MAX_JOB_BYTES)
    }

    fn answer(
        &self,
        sent: Result<ureq::http::Response<ureq::Body>, Error>,
        limit: u64,
    ) -> Result<Answer, AgentError> {
        let mut response = sent.map_err(|error| {
            let why = format!("cannot be reached: {}", in_words(&error));
            if was_not_sent(&error) { self.not_taken(&why) } else { self.unclear(&why) }
        })?;
        let status = response.status();
        let limit = if status.is_success() { limit } else { MAX_REFUSAL_BYTES };
        match ignoring_broken_pipes(|| response.body_mut().with_config().limit(limit).read_to_vec()) {
            Ok(body) => Ok(Answer { status, body }),
            Err(Error::BodyExceedsLimit(_)) => Err(AgentError::TooLong(format!(
                "the agent '{}' gave an answer of more than {limit} bytes",
                self.agent.name
            ))),
            Err(error) => Err(self.unclear(&format!("broke off its answer: {}", in_words(&error)))),
        }
    }

    /// What is in an answer that is not the one hoped for.
    fn refusal(&self, answer: &Answer) -> AgentError {
        let name = &self.agent.name;
        let said = match wire::read::<Refusal>(&answer.body) {
            Ok(Refusal { detail, pointer: Some(pointer), .. }) => format!("{pointer}: {detail}"),
            Ok(Refusal { detail, title, .. }) => {
                if detail.is_empty() {
                    title
                } else {
                    detail
                }
            }
            Err(_) => String::new(),
        };
        let said: String = said.chars().filter(|c| !c.is_control()).take(500).collect();
        let status = answer.status.as_u16();
        match status {
            401 | 403 => self.not_taken(&format!(
                "does not let us in: check token_file, cert_file and key_file of importer/agents ({status} {said})"
            )),
            422 => AgentError::Refused(format!("the agent '{name}' refused the import: {said}")),
            429 | 503 => self.not_taken(&format!("has no room now and will be asked again ({status} {said})")),
            400..=499 => self.not_taken(&format!(
                "did not understand us: are plugin and agent of the same version? ({status} {said})"
            )),
            _ => self.unclear(&format!("failed: see its log ({status} {said})")),
        }
    }

    fn read<T: serde::de::DeserializeOwned>(&self, answer: &Answer) -> Result<T, AgentError> {
        wire::read(&answer.body).map_err(|problem| {
            self.unclear(&format!(
                "gave an answer that cannot be read ({problem}): is 'url' that of an agent?"
            ))
        })
    }

    fn job_of(&self, answer: &Answer, key: &Key) -> Result<Job, AgentError> {
        let job: Job = self.read(answer)?;
        if job.key == *key {
            Ok(job)
        } else {
            Err(self.unclear(&format!("answered with another job than was asked for ({})", job.key)))
        }
    }
}

impl Client<'_> {
    /// An id of a job, which is the agent's own word and goes into a path.
    fn word(&self, id: &str) -> Result<Key, AgentError> {
        Key::parse(id).map_err(|_| self.unclear("gave a job an id that is no word"))
    }

    /// Asks for something to be done with a job.
    fn about(&self, job: &Job, what: &str) -> Result<(), AgentError> {
        let answer = self.post(&format!("/v1/jobs/{}/{what}", self.word(&job.id)?), b"")?;
        if answer.status.is_success() { Ok(()) } else { Err(self.refusal(&answer)) }
    }
}

impl Agent for Client<'_> {
    fn name(&self) -> &str {
        &self.agent.name
    }

    fn job(&self, key: &Key) -> Result<Option<Job>, AgentError> {
        let answer = self.get(&format!("/v1/jobs?key={key}"), MAX_JOB_BYTES)?;
        match answer.status {
            StatusCode::OK => self.job_of(&answer, key).map(Some),
            StatusCode::NOT_FOUND if wire::read::<Refusal>(&answer.body).is_ok() => Ok(None),
            _ => Err(self.refusal(&answer)),
        }
    }

    fn submit(&self, submit: &Submit) -> Result<Job, AgentError> {
        let body = submit.to_json();
        if body.len() > MAX_BODY_BYTES {
            return Err(
                self.not_taken(&format!("takes no job of {} bytes: lower max_files_per_sweep", body.len()))
            );
        }
        let answer = self.post("/v1/jobs", &body)?;
        match answer.status {
            StatusCode::OK | StatusCode::CREATED => self.job_of(&answer, &submit.key),
            _ => Err(self.refusal(&answer)),
        }
    }

    fn open(&self) -> Result<Vec<Job>, AgentError> {
        let mut open = Vec::new();
        let mut path = OPEN_JOBS.to_owned();
        for _ in 0..MAX_PAGES {
            let answer = self.get(&path, MAX_JOBS_BYTES)?;
            if answer.status != StatusCode::OK {
                return Err(self.refusal(&answer));
            }
            let page: Jobs = self.read(&answer)?;
            open.extend(page.jobs);
            let Some(before) = page.before else { break };
            path = format!("{OPEN_JOBS}&before={}", self.word(&before)?);
        }
        Ok(open)
    }

    fn cancel(&self, job: &Job) -> Result<(), AgentError> {
        self.about(job, "cancel")
    }

    fn retry(&self, job: &Job) -> Result<(), AgentError> {
        self.about(job, "retry")
    }

    fn follow(&self, body: &wire::Follow) -> Result<Vec<Followed>, AgentError> {
        let answer = self.post("/v1/follow", &body.to_json())?;
        match answer.status {
            StatusCode::OK => Ok(self.read::<wire::FollowAnswer>(&answer)?.into_outcomes()),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                Err(self.too_old("point OMERO's links to another place"))
            }
            _ => Err(self.refusal(&answer)),
        }
    }

    fn tell_backlog(&self, backlog: &wire::Backlog) -> Result<(), AgentError> {
        let answer = self.post("/v1/backlog", &backlog.to_json())?;
        if answer.status.is_success() { Ok(()) } else { Err(self.refusal(&answer)) }
    }

    fn look(&self, body: &wire::FilesetsLook) -> Result<BTreeSet<OmeroId>, AgentError> {
        let answer = self.post("/v1/filesets/look", &body.to_json())?;
        match answer.status {
            StatusCode::OK => Ok(self.read::<wire::FilesetsFound>(&answer)?.present),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                Err(self.too_old("look for filesets in OMERO"))
            }
            _ => Err(self.refusal(&answer)),
        }
    }

    fn delete(&self, body: &wire::FilesetsDelete) -> Result<BTreeMap<OmeroId, String>, AgentError> {
        let answer = self.post("/v1/filesets/delete", &body.to_json())?;
        match answer.status {
            StatusCode::OK => Ok(self.read::<wire::FilesetsLeft>(&answer)?.into_left()),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                Err(self.too_old("delete images in OMERO"))
            }
            _ => Err(self.refusal(&answer)),
        }
    }

    fn deletions(&self, after: Option<u64>, server: Option<&str>) -> Result<Deletions, AgentError> {
        let query = wire::DeletionsAfter { after, server: server.map(str::to_owned) };
        let answer = self.get(&format!("/v1/deletions{}", query.to_query()), MAX_JOBS_BYTES)?;
        match answer.status {
            StatusCode::OK => Ok(self.read::<wire::Deletions>(&answer)?.into_deletions()),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                Err(self.too_old("read OMERO's log of events"))
            }
            _ => Err(self.refusal(&answer)),
        }
    }

    fn changes(&self, after: u64, limit: usize) -> Result<Changes, AgentError> {
        let longest = if limit > 1 { MAX_JOBS_BYTES } else { MAX_JOB_BYTES };
        let answer = self.get(&format!("/v1/changes?after={after}&wait=0&limit={limit}"), longest)?;
        match answer.status {
            StatusCode::OK => self.read(&answer),
            _ => Err(self.refusal(&answer)),
        }
    }
}

impl Connection {
    fn open(agent: &AgentSettings, timeout: Duration) -> Result<Self, String> {
        let token = agent.token_file.as_deref().map(secret::read).transpose().map_err(|e| e.to_string())?;
        if token.as_ref().is_some_and(|t| t.bytes().any(|b| !b.is_ascii_graphic() && b != b' ')) {
            return Err("the token in token_file holds more than printable ASCII".to_owned());
        }
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("irods_rule_engine_plugin_omero/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_TIMEOUT.min(timeout)))
            .timeout_global(Some(timeout));
        let (http, base) = match &agent.address {
            Address::Unix(path) => {
                let connector = UnixConnector(path.clone());
                (ureq::Agent::with_parts(config.build(), connector, NoAddress), "http://agent".to_owned())
            }
            Address::Url(base) => {
                if base.starts_with("https:") {
                    config = config.tls_config(tls_config(agent)?);
                }
                let connector = ().chain(TcpConnector::default()).chain(RustlsConnector::default());
                (ureq::Agent::with_parts(config.build(), connector, SystemResolver), base.clone())
            }
        };
        Ok(Self { http, base, authorization: token.map(|t| format!("Bearer {t}")) })
    }
}

fn tls_config(agent: &AgentSettings) -> Result<TlsConfig, String> {
    let owned = |der: &[u8]| Certificate::from_der(der).to_owned();
    let roots: Vec<_> =
        tls::authorities(agent.ca_file.as_deref())?.iter().map(|c| owned(c.as_ref())).collect();
    let mut config = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(tls::provider());
    if let Some((certificate, key)) = &agent.certificate {
        let (chain, key) = tls::own(certificate, key)?;
        let chain: Vec<_> = chain.iter().map(|c| owned(c.as_ref())).collect();
        let key = PrivateKey::from_pem(key.as_bytes()).map_err(|e| in_words(&e))?;
        config = config.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
    }
    Ok(config.build())
}

/// Whether it is sure that the agent has not got the request.
fn was_not_sent(error: &Error) -> bool {
    use io::ErrorKind::{
        AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable,
    };
    match error {
        Error::HostNotFound
        | Error::ConnectionFailed
        | Error::BadUri(_)
        | Error::Tls(_)
        | Error::Pem(_)
        | Error::Timeout(Timeout::Resolve | Timeout::Connect) => true,
        Error::Io(e) => matches!(
            e.kind(),
            AddrNotAvailable | ConnectionRefused | HostUnreachable | NetworkDown | NetworkUnreachable
        ),
        // Also what the library may add: rather unclear than twice.
        _ => false,
    }
}

/// What a library's error says, on one line.
fn in_words(error: &Error) -> String {
    let text = match error {
        Error::Io(e) => e.to_string(),
        Error::HostNotFound => "its host name is not known".to_owned(),
        Error::Timeout(_) => format!("it did not answer in time ({error})"),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}

/// Looks up a host name in this thread.
#[derive(Debug)]
struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(Error::HostNotFound);
        };
        let name = DefaultResolver::host_and_port(scheme, authority).ok_or(Error::HostNotFound)?;
        let mut addresses = self.empty();
        // As many as there is room for.
        for address in name.to_socket_addrs().map_err(|_| Error::HostNotFound)?.take(16) {
            addresses.push(address);
        }
        if addresses.is_empty() { Err(Error::HostNotFound) } else { Ok(addresses) }
    }
}

/// Of a socket on this host there is nothing to look up.
#[derive(Debug)]
struct NoAddress;

impl Resolver for NoAddress {
    fn resolve(
        &self,
        _: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let mut nowhere = self.empty();
        nowhere.push(std::net::SocketAddr::from(([0, 0, 0, 0], 0)));
        Ok(nowhere)
    }
}

/// Connects to a socket on this host.
#[derive(Debug)]
struct UnixConnector(PathBuf);

impl Connector<()> for UnixConnector {
    type Out = UnixTransport;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<Self::Out>, Error> {
        // Whatever is wrong with the socket, nothing was sent.
        let stream = connect(&self.0).map_err(|e| io::Error::new(io::ErrorKind::ConnectionRefused, e))?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(UnixTransport { stream, buffers }))
    }
}

/// A server whose queue is full is an error at once: connecting in the usual way would wait for it without end.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// A connection through a socket on this host.
struct UnixTransport {
    stream: UnixStream,
    buffers: LazyBuffers,
}

impl fmt::Debug for UnixTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnixTransport").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl Transport for UnixTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.set_write_timeout(timeout.not_zero().map(|t| *t))?;
        self.stream.write_all(&self.buffers.output()[..amount]).map_err(|e| timed_out(e, &timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.set_read_timeout(timeout.not_zero().map(|t| *t))?;
        let amount = self.stream.read(self.buffers.input_append_buf()).map_err(|e| timed_out(e, &timeout))?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        // A new connection to this host costs nothing, and one that is taken up again may be closed already.
        false
    }
}

fn timed_out(error: io::Error, timeout: &NextTimeout) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Timeout(timeout.reason),
        _ => Error::Io(error),
    }
}
