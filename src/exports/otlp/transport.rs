//! How are requests sent? Over gRPC, or over HTTP with a client of ours on the same runtime.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, Protocol, WithExportConfig, WithHttpConfig,
    WithTonicConfig,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::runtime::Handle;
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::OtlpError;
use crate::config::{Compression, OtlpProtocol, OtlpSettings};

/// The longest answer that is read: an answer of a collector is a few bytes.
const ANSWER_LIMIT: usize = 1 << 20;

/// The exporter of events.
pub(super) fn logs(settings: &OtlpSettings) -> Result<LogExporter, OtlpError> {
    let endpoint = endpoint(settings, settings.logs_endpoint.as_deref(), "v1/logs");
    let failed = |e: ExporterBuildError| setup(&endpoint, &e);
    match settings.protocol {
        OtlpProtocol::Grpc => {
            let builder = LogExporter::builder().with_tonic();
            grpc(builder, settings, &endpoint)?.build().map_err(failed)
        }
        OtlpProtocol::HttpProtobuf => {
            let builder = LogExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
            http(builder, settings, &endpoint)?.build().map_err(failed)
        }
    }
}

/// The exporter of metrics.
pub(super) fn metrics(settings: &OtlpSettings) -> Result<MetricExporter, OtlpError> {
    let endpoint = endpoint(settings, settings.metrics_endpoint.as_deref(), "v1/metrics");
    let failed = |e: ExporterBuildError| setup(&endpoint, &e);
    match settings.protocol {
        OtlpProtocol::Grpc => {
            let builder = MetricExporter::builder().with_tonic();
            grpc(builder, settings, &endpoint)?.build().map_err(failed)
        }
        OtlpProtocol::HttpProtobuf => {
            let builder = MetricExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
            http(builder, settings, &endpoint)?.build().map_err(failed)
        }
    }
}

fn setup(endpoint: &str, why: &dyn fmt::Display) -> OtlpError {
    OtlpError::Setup { endpoint: endpoint.to_owned(), why: why.to_string() }
}

/// An endpoint of one signal is used as it is; over HTTP the common one gets the signal's path (OTLP exporter
/// specification, "Endpoint URLs for OTLP/HTTP").
fn endpoint(settings: &OtlpSettings, own: Option<&str>, path: &str) -> String {
    let common = settings.endpoint.as_deref().unwrap_or_default();
    match (own, settings.protocol) {
        (Some(own), _) => own.to_owned(),
        (None, OtlpProtocol::Grpc) => common.to_owned(),
        (None, OtlpProtocol::HttpProtobuf) => format!("{}/{path}", common.trim_end_matches('/')),
    }
}

fn grpc<B: WithExportConfig + WithTonicConfig>(
    builder: B,
    settings: &OtlpSettings,
    endpoint: &str,
) -> Result<B, OtlpError> {
    let headers = headers(settings, endpoint)?;
    let mut builder = builder
        .with_endpoint(endpoint)
        .with_timeout(settings.timeout)
        .with_metadata(MetadataMap::from_headers(headers));
    if settings.compression == Compression::Gzip {
        builder = builder.with_compression(opentelemetry_otlp::Compression::Gzip);
    }
    if endpoint.starts_with("https://") {
        let mut tls = ClientTlsConfig::new().with_native_roots();
        if let Some(path) = &settings.ca_file {
            tls = tls.ca_certificate(Certificate::from_pem(read("otlp.ca_file", path)?));
        }
        if let (Some(cert), Some(key)) = (&settings.cert_file, &settings.key_file) {
            let (cert, key) = (read("otlp.cert_file", cert)?, read("otlp.key_file", key)?);
            tls = tls.identity(Identity::from_pem(cert, key));
        }
        builder = builder.with_tls_config(tls);
    }
    Ok(builder)
}

fn http<B: WithExportConfig + WithHttpConfig>(
    builder: B,
    settings: &OtlpSettings,
    endpoint: &str,
) -> Result<B, OtlpError> {
    let headers: HashMap<String, String> = settings.headers.iter().cloned().collect();
    let builder = builder
        .with_endpoint(endpoint)
        .with_timeout(settings.timeout)
        .with_headers(headers)
        .with_http_client(OnRuntime::new(settings, endpoint)?);
    Ok(match settings.compression {
        Compression::None => builder,
        Compression::Gzip => builder.with_compression(opentelemetry_otlp::Compression::Gzip),
    })
}

fn headers(settings: &OtlpSettings, endpoint: &str) -> Result<HeaderMap, OtlpError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &settings.headers {
        let told = |()| setup(endpoint, &format!("{name:?} is no header, or its value is none"));
        let key: HeaderName = name.to_lowercase().parse().map_err(|_| told(()))?;
        let value = HeaderValue::from_str(value).map_err(|_| told(()))?;
        headers.insert(key, value);
    }
    Ok(headers)
}

fn read(field: &'static str, path: &Path) -> Result<Vec<u8>, OtlpError> {
    let path_text = path.display().to_string();
    std::fs::read(path).map_err(|source| OtlpError::File { field, path: path_text, source })
}

/// An HTTP client whose requests run on our runtime, whatever thread asks: the SDK's reader has a thread of its own.
struct OnRuntime {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Handle,
}

impl fmt::Debug for OnRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnRuntime")
    }
}

impl OnRuntime {
    fn new(settings: &OtlpSettings, endpoint: &str) -> Result<Self, OtlpError> {
        let connector = HttpsConnectorBuilder::new();
        let connector = match tls(settings, endpoint)? {
            Some(config) => connector.with_tls_config(config),
            None => connector.with_native_roots().map_err(|e| setup(endpoint, &e))?,
        };
        let connector = connector.https_or_http().enable_all_versions().build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, runtime: Handle::current() })
    }
}

/// TLS with files of the settings; `None` where they name none.
fn tls(settings: &OtlpSettings, endpoint: &str) -> Result<Option<rustls::ClientConfig>, OtlpError> {
    let Some(ca) = &settings.ca_file else { return Ok(None) };
    let failed = |e: &dyn fmt::Display| setup(endpoint, e);
    let mut roots = rustls::RootCertStore::empty();
    let pem = read("otlp.ca_file", ca)?;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.map_err(|e| failed(&e))?).map_err(|e| failed(&e))?;
    }
    let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
    let config = match (&settings.cert_file, &settings.key_file) {
        (Some(cert), Some(key)) => {
            let (cert, key) = (read("otlp.cert_file", cert)?, read("otlp.key_file", key)?);
            let chain = CertificateDer::pem_slice_iter(&cert).collect::<Result<_, _>>();
            let chain = chain.map_err(|e| failed(&e))?;
            let key = PrivateKeyDer::from_pem_slice(&key).map_err(|e| failed(&e))?;
            builder.with_client_auth_cert(chain, key).map_err(|e| failed(&e))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Some(config))
}

#[async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let request = request.map(Full::new);
        let sent = self.runtime.spawn(async move {
            let (head, body) = client.request(request).await?.into_parts();
            let body = Limited::new(body, ANSWER_LIMIT).collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(head, body))
        });
        sent.await?
    }
}
