//! Listening: a Unix socket, or TCP with TLS. A caller that is slow or says nothing costs a descriptor and some memory for
//! a bounded time, and no thread.

use crate::api::Peer;
use crate::auth::secret_text;
use crate::config::{Config, Limits, Listen, TlsFiles};
use crate::live::{Live, Loaded};
use crate::metrics::Metrics;
use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use irods_omero_model::form::Problem;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tower_service::Service;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long requests that have begun may go on when the agent ends.
const FINISH: Duration = Duration::from_secs(5);

/// A pause after the system has no descriptor left.
const BREATH: Duration = Duration::from_millis(100);

/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 64 << 10;

/// What is listened on.
#[derive(Debug)]
pub enum Listener {
    /// A Unix socket.
    Unix(UnixListener),
    /// TCP, with TLS.
    Tcp(TcpListener),
}

impl Listener {
    /// Begins to listen.
    ///
    /// # Errors
    /// A sentence with the address.
    pub async fn bind(listen: &Listen) -> Result<Self, String> {
        match listen {
            Listen::Unix(path) => {
                unix(path).map(Self::Unix).map_err(|e| format!("cannot listen on {}: {e}", path.display()))
            }
            Listen::Tcp(address) => TcpListener::bind(address)
                .await
                .map(Self::Tcp)
                .map_err(|e| format!("cannot listen on {address}: {e}")),
        }
    }
}

fn unix(path: &Path) -> io::Result<UnixListener> {
    // What an agent that died left behind; that none lives is known from the lock of the state directory.
    if std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

fn problem(path: &Path, why: impl std::fmt::Display) -> Problem {
    Problem { pointer: path.display().to_string(), message: why.to_string() }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let found = CertificateDer::pem_file_iter(path).map_err(|e| problem(path, e))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|e| problem(path, e))?;
    if found.is_empty() { Err(problem(path, "holds no certificate in PEM")) } else { Ok(found) }
}

/// Reads certificates and key. Gives how TLS is spoken with them, and the names in the agent's own certificate.
fn tls(files: &TlsFiles) -> Result<(TlsAcceptor, Vec<String>), Problem> {
    let chain = certificates(&files.certificate)?;
    let key = secret_text(&files.key).map_err(|why| problem(&files.key, why))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|e| problem(&files.key, e))?;
    let builder = ServerConfig::builder();
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|e| problem(path, e))?;
            }
            // Who shows no certificate needs a token.
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated();
            builder.with_client_cert_verifier(verifier.build().map_err(|e| problem(path, e))?)
        }
    };
    let names = chain.first().map(names_in).unwrap_or_default();
    let mut config = builder.with_single_cert(chain, key).map_err(|e| problem(&files.certificate, e))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(config)), names))
}

/// The DNS names in a certificate, in lower case. A name with a `*` is the text it is: it fits no host's name.
fn names_in(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else {
        return Vec::new();
    };
    certificate.valid_dns_names().map(str::to_ascii_lowercase).collect()
}

/// What the server needs for each connection; replaced when the configuration is read again.
#[derive(Clone)]
pub struct Terms {
    tls: Option<TlsAcceptor>,
    hosts: Arc<[String]>,
    limits: Limits,
}

impl std::fmt::Debug for Terms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terms").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// As what the plugin asks for the agent through a socket, and people through a forwarded port.
const SOCKET_HOSTS: [&str; 1] = ["agent"];

/// The name of this host for itself, which no other site has.
const LOCAL_HOST: &str = "localhost";

impl Terms {
    /// As configured.
    ///
    /// # Errors
    /// What is wrong with certificate or key.
    pub fn read(config: &Config) -> Result<Self, Problem> {
        let tls = config.tls.as_ref().map(tls).transpose()?;
        let mut hosts = config.hosts.clone();
        hosts.push(LOCAL_HOST.to_owned());
        match (&config.listen, &tls) {
            (Listen::Tcp(_), Some((_, names))) => {
                let is_wildcard = |name: &String| name.contains('*');
                if config.hosts.is_empty() && names.iter().any(is_wildcard) {
                    let why = "the agent's certificate has a name with '*': give the agent's own name in the list 'hosts'";
                    return Err(Problem { pointer: "/hosts".to_owned(), message: why.to_owned() });
                }
                hosts.extend(names.iter().cloned());
            }
            (Listen::Tcp(_), None) => {}
            (Listen::Unix(_), _) => hosts.extend(SOCKET_HOSTS.map(str::to_owned)),
        }
        let tls = tls.map(|(acceptor, _)| acceptor);
        Ok(Self { tls, hosts: hosts.into(), limits: config.limits.clone() })
    }

    /// Whether the agent may be asked for by a name: one that it has, or an address. A page elsewhere on the web that has
    /// its own name lead here (DNS rebinding) asks for that name.
    pub fn is_host(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        address || (!host.contains('*') && self.hosts.contains(&host))
    }
}

/// Answers until `ending` says so; then what has begun is finished.
pub async fn serve(
    listener: Listener,
    app: Router,
    live: Live,
    metrics: Metrics,
    mut ending: watch::Receiver<bool>,
) {
    let connections = live.get().config.limits.connections;
    let places = Arc::new(Semaphore::new(connections));
    let all = u32::try_from(connections).unwrap_or(u32::MAX);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener) => accepted,
            _ = ending.changed() => break,
        };
        let io = match accepted {
            Ok(io) => io,
            Err(error) => {
                // No descriptor is left, or the caller is gone already.
                tracing::warn!(act = "accept", failed = %error);
                sleep(BREATH).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(
                act = "accept",
                failed = "there are as many connections as the configuration allows"
            );
            continue;
        };
        let (app, live, ending) = (app.clone(), live.changes(), ending.clone());
        let counted = metrics.connection();
        tokio::spawn(async move {
            if let Err(error) = attend(io, app, live, ending).await {
                tracing::debug!(act = "attend", failed = %error);
            }
            drop((place, counted));
        });
    }
    drop(listener);
    let _ = timeout(FINISH, places.acquire_many(all)).await; // who has not ended by then is cut off
}

/// What can be read from and written to.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

enum Accepted {
    Plain(Box<dyn Stream>),
    ForTls(Box<dyn Stream>),
}

async fn accept(listener: &Listener) -> io::Result<Accepted> {
    match listener {
        Listener::Unix(listener) => Ok(Accepted::Plain(Box::new(listener.accept().await?.0))),
        Listener::Tcp(listener) => {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok(Accepted::ForTls(Box::new(stream)))
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn attend(
    accepted: Accepted,
    app: Router,
    live: watch::Receiver<Arc<Loaded>>,
    ending: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let terms = live.borrow().terms.clone();
    match (accepted, terms.tls) {
        (Accepted::Plain(stream), _) => {
            answer(stream, Peer::default(), app, &terms.limits, None, ending).await
        }
        (Accepted::ForTls(_), None) => Err("there is no certificate for TLS".into()),
        (Accepted::ForTls(stream), Some(tls)) => {
            let stream = timeout(HANDSHAKE, tls.accept(stream)).await??;
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let names = shown.map(names_in).unwrap_or_default().into();
            answer(Box::new(stream), Peer { names }, app, &terms.limits, Some(live), ending).await
        }
    }
}

/// Answers what comes over a connection. `vouched`: the configuration by which its caller was let in; when another one is in
/// force, the caller has to come again. Over the socket each request is judged by itself, and a connection that was just
/// opened would be cut off with its first request unread.
async fn answer(
    stream: Box<dyn Stream>,
    peer: Peer,
    app: Router,
    limits: &Limits,
    mut vouched: Option<watch::Receiver<Arc<Loaded>>>,
    mut ending: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        app.clone().call(request)
    });
    let stream = TokioIo::new(Patient::new(stream, limits.header_timeout));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(MAX_HEAD)
        .serve_connection(stream, service);
    tokio::pin!(connection);
    tokio::select! {
        done = &mut connection => return Ok(done?),
        _ = ending.changed() => {}
        () = another(&mut vouched) => {}
    }
    connection.as_mut().graceful_shutdown();
    Ok(connection.await?)
}

/// Waits until another configuration is in force than the one that vouched for a caller; for ever where none did.
async fn another(vouched: &mut Option<watch::Receiver<Arc<Loaded>>>) {
    match vouched {
        Some(live) => _ = live.changed().await,
        None => std::future::pending().await,
    }
}

/// A stream whose other side has to take what is written within a time.
struct Patient {
    stream: Box<dyn Stream>,
    limit: Duration,
    /// Runs while something waits to be written.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: Box<dyn Stream>, limit: Duration) -> Self {
        Self { stream, limit, waiting: None }
    }

    /// Passes on what became of an attempt to write.
    fn written<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.waiting = None;
            return poll;
        }
        let limit = self.limit;
        let waiting =
            self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + limit)));
        match waiting.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(cx);
        self.written(cx, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.written(cx, poll)
    }
}
