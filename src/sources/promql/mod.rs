//! How is a Prometheus reached and asked? Its URL, who vouches for it, a token, and the frame of its answers.

mod history;
mod range;
mod steps;

pub use history::history;
pub use range::{RangeAnswer, RangeError, Series, query_range};
pub use steps::{Steps, StepsError};

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

use super::failure::{Failure, root_cause};

/// Where a Prometheus is, and what it takes to be let in.
#[derive(Clone, Debug, Default)]
pub struct PrometheusAccess {
    /// Its URL, with the path before `/api/v1` if any. A user and a password in it are sent as basic authentication.
    pub url: String,
    /// File that holds a bearer token.
    pub bearer_token_file: Option<PathBuf>,
    /// PEM file of the authority that signed its certificate.
    pub ca_file: Option<PathBuf>,
}

/// Why a Prometheus can't be asked: what was given to reach it can't be used.
#[derive(Debug, Error)]
pub enum PrometheusError {
    /// The authority's file can't be used.
    #[error("could not use {} as the authority of Prometheus: {why}; expected a PEM file with a certificate", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The token's file can't be used.
    #[error("could not use {} as the token for Prometheus: {why}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The URL is none.
    #[error("the URL of Prometheus is none; expected one such as http://prometheus:9090")]
    Url,
}

/// A question, ready to be sent.
pub(super) type Question = Request<Full<Bytes>>;

/// A Prometheus that can be asked.
#[derive(Clone)]
pub(super) struct Server {
    access: PrometheusAccess,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Server {
    pub(super) fn new(access: PrometheusAccess) -> Result<Self, PrometheusError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = HttpsConnectorBuilder::new();
        let https = match &access.ca_file {
            None => builder.with_native_roots().map_err(|e| PrometheusError::Authority {
                path: PathBuf::from("the system's authorities"),
                why: e.to_string(),
            })?,
            Some(path) => builder.with_tls_config(trusting(path)?),
        };
        let https = https.https_or_http().enable_all_versions().build();
        let client = Client::builder(TokioExecutor::new()).build(https);
        Ok(Self { access, client })
    }

    /// Its URL as it may be shown: without a user and a password.
    pub(super) fn shown(&self) -> String {
        match self.base() {
            Ok((_, shown)) => shown,
            Err(_) => "Prometheus".to_owned(),
        }
    }

    /// A question with its parameters in the URL, which who may only read is allowed to ask.
    pub(super) fn get(&self, api: &str, form: &str) -> Result<Question, PrometheusError> {
        self.question(Request::get(self.uri(&format!("{api}?{form}"))?), Bytes::new())
    }

    /// A question with its parameters in the body, however long they are.
    pub(super) fn post(&self, api: &str, form: String) -> Result<Question, PrometheusError> {
        let request =
            Request::post(self.uri(api)?).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.question(request, form.into())
    }

    fn question(
        &self,
        request: http::request::Builder,
        body: Bytes,
    ) -> Result<Question, PrometheusError> {
        let mut request = request.header(ACCEPT, "application/json");
        if let Some(who) = self.credentials()? {
            request = request.header(AUTHORIZATION, who);
        }
        request.body(Full::new(body)).map_err(|_| PrometheusError::Url)
    }

    /// User and password of the URL, if any, and the URL without them and without a slash at its end.
    fn base(&self) -> Result<(Option<String>, String), PrometheusError> {
        let uri: Uri = self.access.url.parse().map_err(|_| PrometheusError::Url)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(PrometheusError::Url);
        };
        let (who, host) = match authority.as_str().rsplit_once('@') {
            Some((who, host)) => (Some(who.to_owned()), host),
            None => (None, authority.as_str()),
        };
        Ok((who, format!("{scheme}://{host}{}", uri.path().trim_end_matches('/'))))
    }

    fn uri(&self, api: &str) -> Result<Uri, PrometheusError> {
        let (_, base) = self.base()?;
        format!("{base}{api}").parse().map_err(|_| PrometheusError::Url)
    }

    /// What the header says of who asks. The token is read anew each time: whoever wrote it may renew it.
    fn credentials(&self) -> Result<Option<HeaderValue>, PrometheusError> {
        let text = match &self.access.bearer_token_file {
            Some(path) => {
                let failed = |why| PrometheusError::Token { path: path.clone(), why };
                let token = std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?;
                format!("Bearer {}", token.trim())
            }
            None => match self.base()?.0 {
                Some(who) => {
                    let who: Vec<u8> = percent_encoding::percent_decode_str(&who).collect();
                    format!("Basic {}", BASE64_STANDARD.encode(who))
                }
                None => return Ok(None),
            },
        };
        let mut value = HeaderValue::try_from(text).map_err(|_| PrometheusError::Token {
            path: self.access.bearer_token_file.clone().unwrap_or_default(),
            why: "it holds what a header can't".to_owned(),
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// The answer as it came, status and body: within this time, and of no more than so many bytes.
    pub(super) async fn send(
        &self,
        question: Question,
        patience: Duration,
        most: usize,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let asked = async {
            let answer = self.client.request(question).await;
            let answer = answer.map_err(|e| Failure::unreachable(&root_cause(&e)))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), most).collect().await;
            let body = body.map_err(|e| match e.is::<LengthLimitError>() {
                true => {
                    Failure::unreachable(&format!("the answer is over {} MiB large", most >> 20))
                }
                false => Failure::unreachable(&root_cause(&*e)),
            })?;
            Ok((status, body.to_bytes()))
        };
        let late = || {
            let why = format!("no answer within {} s", patience.as_secs());
            Err(Failure::unreachable(&why))
        };
        tokio::time::timeout(patience, asked).await.unwrap_or_else(|_| late())
    }
}

fn trusting(path: &Path) -> Result<rustls::ClientConfig, PrometheusError> {
    let failed = |why: String| PrometheusError::Authority { path: path.to_owned(), why };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| failed(e.to_string()))? {
        let certificate = certificate.map_err(|e| failed(e.to_string()))?;
        roots.add(certificate).map_err(|e| failed(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(failed("it holds no certificate".to_owned()));
    }
    Ok(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

/// Parameters as a form has them.
pub(super) fn form(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// The frame of every answer (Prometheus HTTP API, "Format overview").
#[derive(Deserialize)]
struct Frame<'a> {
    status: &'a str,
    #[serde(default)]
    error: String,
    warnings: Option<Vec<String>>,
    #[serde(borrow)]
    data: Option<Data<'a>>,
}

/// What an answer to a query holds.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Data<'a> {
    pub(super) result_type: String,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(skip)]
    pub(super) warnings: Vec<String>,
}

impl<'a> Data<'a> {
    pub(super) fn result<T: Deserialize<'a>>(&self) -> Result<T, String> {
        serde_json::from_str(self.result.map_or("null", RawValue::get)).map_err(|e| e.to_string())
    }
}

/// Why an answer holds nothing.
#[derive(Debug, PartialEq)]
pub(super) enum Unread {
    /// Prometheus says why.
    Refused(String),
    /// It is no answer of a Prometheus.
    Foreign,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => f.write_str(why),
            Self::Foreign => f.write_str("the answer is no answer to a query"),
        }
    }
}

/// Opens the frame of an answer to a query.
pub(super) fn open(body: &[u8]) -> Result<Data<'_>, Unread> {
    let frame: Frame = serde_json::from_slice(body).map_err(|_| Unread::Foreign)?;
    match frame.data {
        Some(data) if frame.status == "success" => {
            Ok(Data { warnings: frame.warnings.unwrap_or_default(), ..data })
        }
        _ => Err(Unread::Refused(frame.error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> Server {
        Server::new(PrometheusAccess { url: url.to_owned(), ..PrometheusAccess::default() })
            .expect("a server")
    }

    #[test]
    fn who_asks_stands_in_the_header_and_nowhere_else() {
        let server = server("http://me:p%40ss@prometheus:9090/prefix/");
        assert_eq!(server.shown(), "http://prometheus:9090/prefix");
        let question = server.post("/api/v1/query_range", form(&[("query", "a b")])).expect("one");
        assert_eq!(*question.uri(), "http://prometheus:9090/prefix/api/v1/query_range");
        let who = &question.headers()[AUTHORIZATION];
        assert_eq!(who, &format!("Basic {}", BASE64_STANDARD.encode("me:p@ss")));
        assert!(who.is_sensitive());
        let folder = tempfile::tempdir().expect("a folder");
        let token = folder.path().join("token");
        std::fs::write(&token, "let-me-in\n").expect("written");
        let mut with_token = server;
        with_token.access.bearer_token_file = Some(token.clone());
        let who =
            |server: &Server| server.get("/x", "").map(|q| q.headers()[AUTHORIZATION].clone());
        assert_eq!(who(&with_token).expect("one"), "Bearer let-me-in");
        std::fs::write(&token, "renewed").expect("written");
        assert_eq!(who(&with_token).expect("one"), "Bearer renewed");
        std::fs::write(&token, "a\u{1}b").expect("written");
        assert!(matches!(who(&with_token), Err(PrometheusError::Token { .. })));
    }

    #[test]
    fn what_is_no_url_and_files_that_cannot_be_used_are_told() {
        for url in ["", "no url", "/path", "prometheus:9090"] {
            assert!(matches!(server(url).get("/x", ""), Err(PrometheusError::Url)), "{url}");
        }
        let missing = PathBuf::from("/none/such");
        let access = PrometheusAccess {
            url: "http://prometheus:9090".to_owned(),
            bearer_token_file: Some(missing.clone()),
            ca_file: None,
        };
        let asked = Server::new(access.clone()).expect("a server").get("/x", "");
        assert!(asked.expect_err("no token").to_string().contains("/none/such"));
        let untrusted = Server::new(PrometheusAccess { ca_file: Some(missing), ..access });
        assert!(matches!(untrusted, Err(PrometheusError::Authority { .. })));
    }
}
