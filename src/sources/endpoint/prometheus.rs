//! What does a Prometheus answer? One instant query for each signal that is read by one.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use serde::Deserialize;

use super::scrape;
use crate::model::kind::Kind;
use crate::model::record::{Sample, Uid};
use crate::model::source::SourceNote;
use crate::model::text::{Interner, Text};
use crate::model::world::Delta;
use crate::sources::failure::Failure;
use crate::sources::promql::{self, PrometheusAccess, PrometheusError, Question, Server};
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
    /// Where it is.
    pub access: PrometheusAccess,
    /// Names of signals and their queries.
    pub queries: Vec<(&'static str, &'static str)>,
}

/// A Prometheus, asked again and again.
pub(super) struct Prometheus {
    server: Server,
    queries: Vec<(&'static str, &'static str)>,
    now: Now,
    texts: Interner,
}

impl Prometheus {
    pub(super) fn new(options: PrometheusOptions, now: Now) -> Result<Self, PrometheusError> {
        let PrometheusOptions { access, queries } = options;
        Ok(Self { server: Server::new(access)?, queries, now, texts: Interner::default() })
    }

    /// Asks every query, a few at a time. One that fails is told and leaves no old answer behind; when all fail, so
    /// does the source.
    pub(super) async fn ask(&mut self) -> Result<Vec<Delta>, Failure> {
        let mut questions = Vec::new();
        for (name, query) in &self.queries {
            let question =
                question(&self.server, query).map_err(|e| Failure::unreachable(&e.to_string()))?;
            questions.push(answer(name, &self.server, question));
        }
        let (asked, kind) = (questions.len(), Kind::PrometheusQuery);
        let mut answers = futures::stream::iter(questions).buffered(CONCURRENCY);
        let (mut changes, mut failures) = (Vec::new(), Vec::new());
        while let Some((name, answer)) = answers.next().await {
            let read = answer.and_then(|(status, body)| read(name, status, &body, &mut self.texts));
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
}

fn question(server: &Server, query: &str) -> Result<Question, PrometheusError> {
    let timeout = format!("{}s", PATIENCE.as_secs());
    server.get("/api/v1/query", &promql::form(&[("timeout", &timeout), ("query", query)]))
}

/// The answer to one query, as it came: status and body.
async fn answer(
    name: &'static str,
    server: &Server,
    question: Question,
) -> (&'static str, Result<(u16, Bytes), Failure>) {
    let answer = server.send(question, PATIENCE, ANSWER_LIMIT).await;
    (name, answer.map(|(status, body)| (status.as_u16(), body)))
}

fn read(name: &str, status: u16, body: &[u8], texts: &mut Interner) -> Result<Read, Failure> {
    match read_answer(name, body, texts) {
        Ok(read) if status == 200 => Ok(read),
        // A Prometheus says why as JSON; what stands before one may not.
        Ok(_) => Err(Failure::of_status(status, "")),
        Err(why) => Err(Failure::of_status(if status == 200 { 502 } else { status }, &why)),
    }
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
    let data = promql::open(body).map_err(|unread| unread.to_string())?;
    let rows: Vec<Row> = match data.result_type.as_str() {
        "vector" => data.result()?,
        "scalar" => vec![Row { metric: std::collections::BTreeMap::new(), value: data.result()? }],
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
