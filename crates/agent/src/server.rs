//! Listening: a Unix socket, or TCP with TLS. A caller that is slow or says nothing costs a descriptor and some memory for
//! a bounded time, and no thread.

use crate::api::Peer;
use crate::config::{Config, Limits, Listen, TlsFiles};
use crate::metrics::Metrics;
use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
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
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
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

/// Reads certificates and keys.
///
/// # Errors
/// A sentence with the file.
pub fn tls(files: &TlsFiles) -> Result<TlsAcceptor, String> {
    let about = |path: &Path, e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>, String> {
        let found = CertificateDer::pem_file_iter(path).map_err(|e| about(path, &e))?;
        let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|e| about(path, &e))?;
        if found.is_empty() { Err(about(path, &"holds no certificate in PEM")) } else { Ok(found) }
    };
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| about(&files.key, &e))?;
    let builder = ServerConfig::builder();
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|e| about(path, &e))?;
            }
            // Who shows no certificate needs a token.
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated();
            builder.with_client_cert_verifier(verifier.build().map_err(|e| about(path, &e))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|e| about(&files.certificate, &e))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Which of some names a certificate bears.
fn name_of(certificate: &CertificateDer<'_>, names: &[String]) -> Option<Arc<str>> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let fits = |name: &&String| {
        ServerName::try_from(name.as_str())
            .is_ok_and(|n| certificate.verify_is_valid_for_subject_name(&n).is_ok())
    };
    names.iter().find(fits).map(|name| name.as_str().into())
}

/// What the server needs for each connection; replaced when the configuration is read again.
#[derive(Clone)]
pub struct Terms {
    tls: Option<TlsAcceptor>,
    names: Arc<[String]>,
    limits: Limits,
}

impl Terms {
    /// As configured.
    ///
    /// # Errors
    /// What is wrong with certificate or key.
    pub fn read(config: &Config) -> Result<Self, String> {
        let tls = config.tls.as_ref().map(tls).transpose()?;
        let names = config.certificates.iter().map(|c| c.name.clone()).collect();
        Ok(Self { tls, names, limits: config.limits.clone() })
    }
}

/// Answers until `ending` says so; then what has begun is finished.
pub async fn serve(
    listener: Listener,
    app: Router,
    terms: watch::Receiver<Terms>,
    metrics: Metrics,
    mut ending: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(terms.borrow().limits.connections));
    let all = u32::try_from(terms.borrow().limits.connections).unwrap_or(u32::MAX);
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
        let (app, terms, ending) = (app.clone(), terms.borrow().clone(), ending.clone());
        let counted = metrics.connection();
        tokio::spawn(async move {
            if let Err(error) = attend(io, app, terms, ending).await {
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
    terms: Terms,
    ending: watch::Receiver<bool>,
) -> Result<(), Failure> {
    match (accepted, terms.tls) {
        (Accepted::Plain(stream), _) => answer(stream, Peer::default(), app, &terms.limits, ending).await,
        (Accepted::ForTls(_), None) => Err("there is no certificate for TLS".into()),
        (Accepted::ForTls(stream), Some(tls)) => {
            let stream = timeout(HANDSHAKE, tls.accept(stream)).await??;
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let certificate = shown.and_then(|c| name_of(c, &terms.names));
            answer(Box::new(stream), Peer { certificate }, app, &terms.limits, ending).await
        }
    }
}

async fn answer(
    stream: Box<dyn Stream>,
    peer: Peer,
    app: Router,
    limits: &Limits,
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
        _ = ending.changed() => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
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
