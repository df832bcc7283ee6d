//! What does a Prometheus answer? One instant query for each signal that is read by one.

use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::scrape;
use crate::model::kind::Kind;
use crate::model::record::{Sample, Uid};
use crate::model::source::SourceNote;
use crate::model::text::{Interner, Text};
use crate::model::world::Delta;
use crate::sources::failure::{Failure, root_cause};
use crate::sources::watch::Now;

/// Queries that are asked at once, and how long one may take: one that is slow does not silence the others.
const CONCURRENCY: usize = 4;
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest answer that is read, and the most series that are kept of it.
const ANSWER_LIMIT: usize = 16 << 20;
const SERIES_LIMIT: usize = 5_000;

/// Which Prometheus, and what it is asked.
#[derive(Clone, Debug, Default)]
pub struct PrometheusOptions {
    /// Its URL, with the path before `/api/v1` if any.
    pub url: String,
    /// File that holds a bearer token.
    pub bearer_token_file: Option<PathBuf>,
    /// PEM file of the authority that signed its certificate.
    pub ca_file: Option<PathBuf>,
    /// Names of signals and their queries.
    pub queries: Vec<(&'static str, &'static str)>,
}

/// Why a Prometheus can't be asked.
#[derive(Debug, Error)]
pub enum PrometheusError {
    /// The authority's file can't be used.
    #[error("prometheus.ca_file: could not use {}: {why}; expected a PEM file with a certificate", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// A Prometheus, asked again and again.
pub(super) struct Prometheus {
    options: PrometheusOptions,
    client: Client<HttpsConnector<HttpConnector>, Empty<bytes::Bytes>>,
    now: Now,
    texts: Interner,
}

impl Prometheus {
    pub(super) fn new(options: PrometheusOptions, now: Now) -> Result<Self, PrometheusError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = HttpsConnectorBuilder::new();
        let https = match &options.ca_file {
            None => builder.with_native_roots().map_err(|e| PrometheusError::Authority {
                path: PathBuf::from("the system's authorities"),
                why: e.to_string(),
            })?,
            Some(path) => builder.with_tls_config(trusting(path)?),
        };
        let https = https.https_or_http().enable_all_versions().build();
        let client = Client::builder(TokioExecutor::new()).build(https);
        Ok(Self { options, client, now, texts: Interner::default() })
    }

    /// Asks every query, a few at a time. One that fails is told and leaves no old answer behind; when all fail, so
    /// does the source.
    pub(super) async fn ask(&mut self) -> Result<Vec<Delta>, Failure> {
        let token = self.token()?;
        let mut questions = Vec::new();
        for (name, query) in &self.options.queries {
            let request = self.request(query, token.as_ref())?;
            questions.push(answer(name, self.client.clone(), request));
        }
        let (asked, kind) = (questions.len(), Kind::PrometheusQuery);
        let mut answers = futures::stream::iter(questions).buffered(CONCURRENCY);
        let (mut changes, mut failures) = (Vec::new(), Vec::new());
        while let Some((name, answer)) = answers.next().await {
            let read = answer.and_then(|(status, body)| self.read(name, status, &body));
            match read {
                Ok((samples, beyond)) => {
                    changes.push(scrape(kind, (name, ""), None, (self.now)(), samples));
                    let message = format!(
                        "query of {name}: {beyond} series are beyond the limit and left out"
                    );
                    let note = Delta::Note(kind, SourceNote::Undecodable { message });
                    changes.extend((beyond > 0).then_some(note));
                }
                Err(failure) => {
                    let key = (Text::default(), name.into());
                    changes.push(Delta::Delete { kind, key, uid: Uid::default() });
                    failures.push((name, failure));
                }
            }
        }
        if !failures.is_empty() && failures.len() == asked {
            return Err(failures.swap_remove(0).1);
        }
        let names = failures.iter().map(|(name, _)| (*name).into()).collect();
        let told: Vec<_> =
            failures.iter().map(|(name, f)| format!("{name}: {}", f.message)).collect();
        let message = format!("{} of {asked} queries fail; {}", told.len(), told.join("; "));
        changes.push(Delta::Note(kind, SourceNote::Silent { names, message }));
        Ok(changes)
    }

    /// The bearer token, read anew each time: whoever wrote it may renew it.
    fn token(&self) -> Result<Option<HeaderValue>, Failure> {
        let Some(path) = &self.options.bearer_token_file else { return Ok(None) };
        let token = std::fs::read_to_string(path).map_err(|e| {
            Failure::unreachable(&format!("could not read {}: {e}", path.display()))
        })?;
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
            .map_err(|_| Failure::unreachable("the bearer token holds what a header can't"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn request(&self, query: &str, token: Option<&HeaderValue>) -> Result<Question, Failure> {
        let base = self.options.url.trim_end_matches('/');
        let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let patience = PATIENCE.as_secs();
        let uri: Uri = format!("{base}/api/v1/query?timeout={patience}s&query={query}")
            .parse()
            .map_err(|_| Failure::unreachable("prometheus.url is no URL"))?;
        let mut request = Request::get(uri).header("accept", "application/json");
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        request.body(Empty::new()).map_err(|e| Failure::unreachable(&e.to_string()))
    }

    fn read(&mut self, name: &str, status: u16, body: &[u8]) -> Result<Read, Failure> {
        match read_answer(name, body, &mut self.texts) {
            Ok(read) if status == 200 => Ok(read),
            // A Prometheus says why as JSON; what stands before one may not.
            Ok(_) => Err(Failure::of_status(status, "")),
            Err(why) => Err(Failure::of_status(if status == 200 { 502 } else { status }, &why)),
        }
    }
}

type Question = Request<Empty<bytes::Bytes>>;

/// The answer to one query, as it came: status and body.
async fn answer(
    name: &'static str,
    client: Client<HttpsConnector<HttpConnector>, Empty<bytes::Bytes>>,
    question: Question,
) -> (&'static str, Result<(u16, bytes::Bytes), Failure>) {
    let asked = async {
        let answer = client.request(question).await;
        let answer = answer.map_err(|e| Failure::unreachable(&root_cause(&e)))?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_LIMIT).collect().await;
        let body = body.map_err(|e| Failure::unreachable(&e.to_string()))?;
        Ok((status, body.to_bytes()))
    };
    let late = || Err(Failure::unreachable(&format!("no answer within {} s", PATIENCE.as_secs())));
    (name, tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| late()))
}

fn trusting(path: &std::path::Path) -> Result<rustls::ClientConfig, PrometheusError> {
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    status: String,
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    #[serde(default)]
    result: Value,
}

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    metric: std::collections::BTreeMap<String, String>,
    value: (f64, String),
}

/// The samples of an answer, and how many were beyond the limit.
pub(in crate::sources) type Read = (Box<[Sample]>, usize);

/// Reads the answer of an instant query (Prometheus HTTP API): a vector, or a scalar.
pub(in crate::sources) fn read_answer(
    name: &str,
    body: &[u8],
    texts: &mut Interner,
) -> Result<Read, String> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|_| "the answer is no answer to a query".to_owned())?;
    let data = match answer.data {
        Some(data) if answer.status == "success" => data,
        _ => return Err(answer.error),
    };
    let rows: Vec<Row> = match data.result_type.as_str() {
        "vector" => serde_json::from_value(data.result).map_err(|e| e.to_string())?,
        "scalar" => {
            let value = serde_json::from_value(data.result).map_err(|e| e.to_string())?;
            vec![Row { metric: std::collections::BTreeMap::new(), value }]
        }
        other => return Err(format!("expected an instant vector or a scalar, found a {other}")),
    };
    let read = |row: Row| {
        let value = row.value.1.parse().ok()?;
        let labels = texts.labels(row.metric.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        Some(Sample { name: texts.text(name), labels, value })
    };
    let beyond = rows.len().saturating_sub(SERIES_LIMIT);
    Ok((rows.into_iter().take(SERIES_LIMIT).filter_map(read).collect(), beyond))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn vectors_and_scalars_are_read_and_errors_say_why() {
        let read = |text: &str| read_answer("q", text.as_bytes(), &mut Interner::default());
        let vector = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"job":"a"},"value":[1700000000.1,"0.5"]},{"metric":{},"value":[1,"NaN"]}]}}"#;
        let (samples, beyond) = read(vector).unwrap();
        assert_eq!((samples.len(), samples[0].value, beyond), (2, 0.5, 0));
        assert_eq!(samples[0].labels.value("job"), "a");
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"3"]}}"#;
        assert_eq!(read(scalar).unwrap().0[0].value, 3.0);
        let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
        assert!(read(matrix).unwrap_err().contains("found a matrix"));
        let error = r#"{"status":"error","errorType":"bad_data","error":"parse error at char 3"}"#;
        assert_eq!(read(error).unwrap_err(), "parse error at char 3");
        assert!(read("<html>").is_err());
    }

    #[test]
    fn series_beyond_the_limit_are_counted() {
        let row = r#"{"metric":{},"value":[1,"1"]}"#;
        let rows = vec![row; SERIES_LIMIT + 2].join(",");
        let text =
            format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{rows}]}}}}"#);
        let (samples, beyond) =
            read_answer("q", text.as_bytes(), &mut Interner::default()).unwrap();
        assert_eq!((samples.len(), beyond), (SERIES_LIMIT, 2));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(text in "\\PC*") {
            let _ = read_answer("q", text.as_bytes(), &mut Interner::default());
            let inside = format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"vector\",\"result\":{text}}}}}");
            let _ = read_answer("q", inside.as_bytes(), &mut Interner::default());
        }
    }
}
