//! How does the API server tell of refusals? It posts its audit events here, over TLS, and waits when we can't follow.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::AuditSettings;

/// The largest body; API servers cut their batches at 10 MiB (`--audit-webhook-truncate-max-batch-size`).
const BODY_LIMIT: usize = 12 << 20;

/// Bodies that are read at once, the others wait; and how long one may take to come.
const BODIES: usize = 8;
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// Handshakes under way at once, and how long one may take.
const HANDSHAKES: usize = 64;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a body was not taken.
#[derive(Clone, Debug)]
pub enum Refused {
    /// It is no list of audit events.
    Unreadable(String),
    /// What came before is not yet counted; the API server sends it again.
    Busy,
}

/// Takes a body in.
pub type AuditSink = Arc<dyn Fn(&[u8]) -> Result<(), Refused> + Send + Sync>;

/// Why the receiver can't be set up.
#[derive(Debug, Error)]
pub enum ReceiverError {
    /// A file can't be used.
    #[error("{field}: could not use {}: {why}", path.display())]
    File {
        /// The field that names it.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Anybody on the network could send and read.
    #[error(
        "audit.listen: {0} is not a loopback address, so audit.cert_file and audit.key_file are needed"
    )]
    Open(SocketAddr),
}

/// Where audit events are received.
pub struct Receiver {
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Receiver {
    /// A receiver on a listener, with the settings' certificate.
    pub fn new(listener: TcpListener, settings: &AuditSettings) -> Result<Self, ReceiverError> {
        let tls = match (&settings.cert_file, &settings.key_file) {
            (Some(cert), Some(key)) => {
                Some(Arc::new(server_config(cert, key, settings.client_ca_file.as_deref())?))
            }
            _ => {
                let local = listener.local_addr().ok().filter(|a| !a.ip().is_loopback());
                if let Some(address) = local {
                    return Err(ReceiverError::Open(address));
                }
                None
            }
        };
        Ok(Self { listener, tls })
    }

    /// Receives until `shutdown`.
    pub async fn serve(
        self,
        sink: AuditSink,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let router = Router::new()
            .route("/audit", post(receive))
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
            .layer(middleware::from_fn_with_state(Arc::new(Semaphore::new(BODIES)), in_turn))
            .with_state(sink);
        match self.tls {
            None => axum::serve(self.listener, router).with_graceful_shutdown(shutdown).await,
            Some(tls) => {
                let listener = TlsListener::start(self.listener, tls)?;
                axum::serve(listener, router).with_graceful_shutdown(shutdown).await
            }
        }
    }
}

/// Reads so many bodies at once, so that callers bound neither by a certificate nor by good manners cannot fill the
/// memory.
async fn in_turn(State(places): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let Ok(_place) = places.acquire().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let answer = tokio::time::timeout(BODY_TIMEOUT, next.run(request)).await;
    answer.unwrap_or_else(|_| StatusCode::REQUEST_TIMEOUT.into_response())
}

async fn receive(State(sink): State<AuditSink>, body: Bytes) -> Response {
    // Reading may take a while: not on a thread that others need.
    let taken = tokio::task::spawn_blocking(move || sink(&body)).await;
    match taken {
        Ok(Ok(())) => StatusCode::OK.into_response(),
        Ok(Err(Refused::Busy)) => {
            (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")]).into_response()
        }
        Ok(Err(Refused::Unreadable(why))) => {
            (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn server_config(
    cert: &Path,
    key: &Path,
    client_ca: Option<&Path>,
) -> Result<rustls::ServerConfig, ReceiverError> {
    let failed =
        |field, path: &Path, why: String| ReceiverError::File { field, path: path.to_owned(), why };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificates =
        |field, path: &Path| -> Result<Vec<CertificateDer<'static>>, ReceiverError> {
            let read = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let all = read.map_err(|e| failed(field, path, e.to_string()))?;
            if all.is_empty() {
                return Err(failed(field, path, "it holds no certificate".to_owned()));
            }
            Ok(all)
        };
    let chain = certificates("audit.cert_file", cert)?;
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|e| failed("audit.key_file", key, e.to_string()))?;
    let builder = rustls::ServerConfig::builder();
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = rustls::RootCertStore::empty();
            for authority in certificates("audit.client_ca_file", path)? {
                let added = roots.add(authority);
                added.map_err(|e| failed("audit.client_ca_file", path, e.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
            let verifier =
                verifier.map_err(|e| failed("audit.client_ca_file", path, e.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    builder
        .with_single_cert(chain, private)
        .map_err(|e| failed("audit.key_file", key, e.to_string()))
}

/// Connections whose handshake is done; a slow one does not hold up the others.
struct TlsListener {
    address: SocketAddr,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    accepting: tokio::task::JoinHandle<()>,
}

impl TlsListener {
    fn start(listener: TcpListener, tls: Arc<rustls::ServerConfig>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (done, ready) = mpsc::channel(HANDSHAKES);
        let acceptor = TlsAcceptor::from(tls);
        let places = Arc::new(Semaphore::new(HANDSHAKES));
        let accepting = tokio::spawn(async move {
            loop {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                let Ok((stream, peer)) = listener.accept().await else {
                    // Out of file descriptors, most likely: others must end first.
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                };
                let (acceptor, done) = (acceptor.clone(), done.clone());
                tokio::spawn(async move {
                    let handshake =
                        tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
                    if let Ok(Ok(stream)) = handshake.await {
                        // Nobody listens any more only at the end.
                        let _ = done.send((stream, peer)).await;
                    }
                    drop(place);
                });
            }
        });
        Ok(Self { address, ready, accepting })
    }
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            // The accepting task lives as long as this does.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}
