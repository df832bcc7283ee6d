//! What does a kubelet say on its own port? What a test has it say: the bed's nodes have none.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Probes are told at a path of their own.
const PROBES: &str = "prober_";

/// A kubelet that shows a certificate of its own and takes its time. It ends with the test's runtime.
#[derive(Clone, Debug)]
pub struct Kubelet {
    /// Where it listens on loopback.
    pub port: u16,
    told: Arc<Mutex<String>>,
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Kubelet {
    /// Starts one that has nothing to say yet.
    pub async fn start() -> Self {
        let acceptor = acceptor();
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.unwrap_or_else(|error| panic!("no port: {error}"));
        let port = listener.local_addr().map_or(0, |address| address.port());
        let (told, now, most) = (Arc::default(), Arc::default(), Arc::default());
        let this = Self { port, told, now, most };
        let serving = this.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().answer(acceptor.clone(), stream));
            }
        });
        this
    }

    /// From now on it says this.
    pub fn tell(&self, exposition: &str) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = exposition.to_owned();
    }

    /// How many asked it at once at most.
    pub fn most_at_once(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// The addresses in the status of a node whose kubelet this is.
    pub fn addresses(&self, address: &str) -> Value {
        json!({"addresses": [{"type": "InternalIP", "address": address}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.port}}})
    }

    async fn answer(self, acceptor: TlsAcceptor, stream: TcpStream) {
        let Ok(mut stream) = acceptor.accept(stream).await else { return };
        let Some(asked) = head(&mut stream).await else { return };
        let at_once = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(at_once, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(40)).await;
        let probes = asked.starts_with(b"GET /metrics/probes ");
        assert!(probes || asked.starts_with(b"GET /metrics "), "nothing but nodes/metrics");
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let lines = told.lines().filter(|line| line.starts_with(PROBES) == probes);
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        self.now.fetch_sub(1, Ordering::SeqCst);
        let length = text.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{text}"
        );
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    }
}

/// The head of a request.
async fn head(stream: &mut TlsStream<TcpStream>) -> Option<Vec<u8>> {
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        asked.push(stream.read_u8().await.ok()?);
    }
    Some(asked)
}

fn acceptor() -> TlsAcceptor {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no directory: {error}"));
    let (cert, key) = super::certificate(folder.path(), "kubelet");
    let (chain, key) = (chain_of(&cert), key_of(&key));
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(chain, key);
    TlsAcceptor::from(Arc::new(config.unwrap_or_else(|error| panic!("no certificate: {error}"))))
}

fn chain_of(file: &Path) -> Vec<CertificateDer<'static>> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    read.unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn key_of(file: &Path) -> PrivateKeyDer<'static> {
    let read = PrivateKeyDer::from_pem_file(file);
    read.unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
