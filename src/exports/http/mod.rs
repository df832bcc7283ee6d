//! What is served? Metrics, probes, the API and the status page, from the last Report.

mod api;
mod audit;
mod page;
mod shared;

use std::future::Future;
use std::io;
use std::io::Write;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;
use tracing::error;

use super::prometheus::{encode, negotiate};
pub use audit::{AuditSink, Receiver, ReceiverError, Refused};
pub use shared::Shared;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What is served, by path.
pub const PATHS: [&str; 9] = [
    "/",
    "/metrics",
    "/livez",
    "/readyz",
    "/api/v1/layers",
    "/api/v1/findings",
    "/api/v1/anomalies",
    "/api/v1/signals",
    "/api/v1/sources",
];

/// Serves until `shutdown`, then lets what is under way end.
pub async fn serve(
    listener: TcpListener,
    shared: Shared,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router(shared)).with_graceful_shutdown(shutdown).await
}

/// The routes.
pub fn router(shared: Shared) -> Router {
    let guards = ServiceBuilder::new()
        .layer(CatchPanicLayer::new())
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, ANSWER_TIMEOUT));
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/api/v1/layers", get(api::layers))
        .route("/api/v1/findings", get(api::findings))
        .route("/api/v1/anomalies", get(api::anomalies))
        .route("/api/v1/signals", get(api::signals))
        .route("/api/v1/sources", get(api::sources))
        .fallback(api::not_found)
        .method_not_allowed_fallback(api::not_allowed)
        .layer(guards)
        .with_state(shared)
}

async fn index(State(shared): State<Shared>) -> Html<String> {
    Html(page::render(&shared.report()))
}

async fn livez(State(shared): State<Shared>) -> Response {
    match shared.silent_for() {
        None => "ok\n".into_response(),
        Some(silence) => {
            let told = format!("no tick for {} s\n", silence.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, told).into_response()
        }
    }
}

async fn readyz(State(shared): State<Shared>) -> Response {
    let report = shared.report();
    if report.myself.ready {
        return "ok\n".into_response();
    }
    let waiting = report.sources.iter().filter(|(_, status, _)| !status.synced);
    let lines = waiting.map(|(kind, status, _)| {
        let why = if status.message.is_empty() { "" } else { ": " };
        format!("{} {}{why}{}\n", kind.source(), status.availability.name(), status.message)
    });
    let told: String = std::iter::once("not synced\n".to_owned()).chain(lines).collect();
    (StatusCode::SERVICE_UNAVAILABLE, told).into_response()
}

async fn metrics(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let header = |name| headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
    let accept = header(header::ACCEPT).collect::<Vec<_>>().join(",");
    let format = negotiate(&accept);
    let accepted = header(header::ACCEPT_ENCODING).collect::<Vec<_>>().join(",");
    let coding = Coding::choose(&accepted);
    // Encoding and compressing take CPU time: not on a thread that the sources need.
    let encoded = tokio::task::spawn_blocking(move || {
        let (report, about) = (shared.report(), shared.about());
        let text = encode(&report, &about, format).map_err(io::Error::other)?;
        coding.compress(text.into_bytes())
    });
    match encoded.await.map_err(io::Error::other).and_then(|outcome| outcome) {
        Ok(body) => {
            let mut response = Bytes::from(body).into_response();
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
            headers.insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
            if let Some(name) = coding.name() {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
            }
            response
        }
        Err(why) => {
            error!(%why, "could not encode the metrics");
            (StatusCode::INTERNAL_SERVER_ERROR, "could not encode the metrics\n").into_response()
        }
    }
}

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Identity,
    Gzip,
    Zstd,
}

impl Coding {
    /// Reads `Accept-Encoding` (RFC 9110 §12.5.3); zstd before gzip where both are as welcome.
    fn choose(accepted: &str) -> Self {
        let quality = |name: &str| {
            let item = accepted.split(',').map(str::trim).find(|item| {
                item.split(';')
                    .next()
                    .is_some_and(|coding| coding.trim().eq_ignore_ascii_case(name))
            })?;
            let quality = item.split_once("q=").and_then(|(_, q)| q.trim().parse::<f32>().ok());
            Some(quality.unwrap_or(1.0)).filter(|q| *q > 0.0)
        };
        match (quality("zstd"), quality("gzip")) {
            (Some(zstd), gzip) if zstd >= gzip.unwrap_or(0.0) => Self::Zstd,
            (_, Some(_)) => Self::Gzip,
            _ => Self::Identity,
        }
    }

    const fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }

    fn compress(self, body: Vec<u8>) -> io::Result<Vec<u8>> {
        match self {
            Self::Identity => Ok(body),
            Self::Gzip => {
                let level = flate2::Compression::fast();
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(&body)?;
                encoder.finish()
            }
            Self::Zstd => zstd::encode_all(body.as_slice(), 1),
        }
    }
}

#[cfg(test)]
mod tests;
