//! How does the bed ask a server on loopback? With plain HTTP/1.1 requests of this file.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

/// An answer: its status, headers and text.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// The headers.
    pub headers: hyper::HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends a request and reads the whole answer; waits 30 s at most.
pub(super) async fn send(request: Request<Full<Bytes>>) -> Result<Answer> {
    let to = request.uri().clone();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let exchange = async {
        let (parts, body) = client.request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        anyhow::Ok(Answer { status: parts.status, headers: parts.headers, body })
    };
    let answer = tokio::time::timeout(Duration::from_secs(30), exchange).await;
    answer.context("no answer in 30 s").flatten().with_context(|| format!("could not ask {to}"))
}

/// The text at a URL; any status but 200 is an error with the body.
pub(super) async fn get(url: &str) -> Result<String> {
    let answer = send(Request::get(url).body(Full::default())?).await?;
    ensure!(answer.status == 200, "{url} answered {}: {}", answer.status, answer.text());
    Ok(answer.text())
}
