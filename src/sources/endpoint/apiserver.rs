//! What does the API server say of itself? Its checks (`/readyz?verbose`) and its metrics.

use std::collections::BTreeSet;

use http::Request;
use http_body_util::{BodyExt, Limited};
use kube::Client;
use kube::client::Body;

use super::{Instances, scrape, unread};
use crate::model::fields;
use crate::model::kind::Kind;
use crate::model::record::{Sample, Time};
use crate::model::text::{Interner, Text};
use crate::model::world::Delta;
use crate::sources::exposition::Reader;
use crate::sources::failure::Failure;
use crate::sources::watch::Now;

/// A list of checks is a few kilobytes; a larger answer is something else.
const CHECKS_LIMIT: usize = 1 << 20;

/// The largest exposition that is read, although little of it is kept.
const EXPOSITION_LIMIT: usize = 256 << 20;

/// The API server, asked about itself.
pub(super) struct ApiServer {
    client: Client,
    now: Now,
    texts: Interner,
    instances: Instances,
}

impl ApiServer {
    pub(super) fn new(client: Client, now: Now) -> Self {
        Self { client, now, texts: Interner::default(), instances: Instances::default() }
    }

    /// Its checks.
    pub(super) async fn health(&mut self) -> Result<Vec<Delta>, Failure> {
        let samples = checks(&self.client, &mut self.texts).await?;
        let at = (self.now)();
        Ok(vec![scrape(Kind::ApiServerHealth, ("apiserver", ""), None, at, samples)])
    }

    /// Its metrics. Behind one address there may be several servers: the process tells which one answered.
    pub(super) async fn metrics(&mut self) -> Result<Vec<Delta>, Failure> {
        let kind = Kind::ApiServerMetrics;
        let wanted = fields::metrics(kind).iter().copied().collect();
        let path = "/metrics";
        let Exposition { samples, left_out } =
            exposition(&self.client, path, &wanted, &mut self.texts).await?;
        let started = samples.iter().find(|s| s.name == "process_start_time_seconds");
        let started = started.map_or(0.0, |s| s.value);
        let name = Text::from(format!("{started:.2}").as_str());
        let time = Time::from_second(started as i64).ok();
        let at = (self.now)();
        let mut changes = self.instances.seen(kind, &name, at);
        changes.push(scrape(kind, (&name, ""), time, at, samples.into()));
        changes.extend(unread(kind, path, left_out));
        Ok(changes)
    }
}

async fn get(client: &Client, path: &str) -> Result<http::Response<Body>, Failure> {
    let request =
        Request::get(path).body(Body::empty()).map_err(|e| Failure::unreachable(&e.to_string()))?;
    client.send(request).await.map_err(|e| Failure::from(&e))
}

/// A server that is not ready answers with 500 and the same list.
async fn checks(client: &Client, texts: &mut Interner) -> Result<Box<[Sample]>, Failure> {
    let response = get(client, "/readyz?verbose").await?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), CHECKS_LIMIT).collect().await;
    let body = body.map_err(|e| Failure::unreachable(&e.to_string()))?.to_bytes();
    let samples = read_checks(&String::from_utf8_lossy(&body), texts);
    if samples.is_empty() {
        let why = if status == 200 { "the answer of /readyz names no check" } else { "/readyz" };
        return Err(Failure::of_status(if status == 200 { 502 } else { status }, why));
    }
    Ok(samples)
}

/// `[+]etcd ok` and `[-]etcd failed: reason withheld`, one a line.
pub(in crate::sources) fn read_checks(text: &str, texts: &mut Interner) -> Box<[Sample]> {
    let read = |line: &str| {
        let (value, rest) = match line.trim().strip_prefix("[+]") {
            Some(rest) => (1.0, rest),
            None => (0.0, line.trim().strip_prefix("[-]")?),
        };
        let name = rest.split_ascii_whitespace().next()?;
        let labels = texts.labels([("name", name)].into_iter());
        Some(Sample { name: texts.text("check"), labels, value })
    };
    text.lines().filter_map(read).collect()
}

/// What an exposition says.
pub(super) struct Exposition {
    /// The wanted samples.
    pub(super) samples: Vec<Sample>,
    /// Lines that could not be read, and samples beyond the limit.
    pub(super) left_out: usize,
}

/// Reads an exposition as it comes.
pub(super) async fn exposition(
    client: &Client,
    path: &str,
    wanted: &BTreeSet<&'static str>,
    texts: &mut Interner,
) -> Result<Exposition, Failure> {
    let response = get(client, path).await?;
    let status = response.status().as_u16();
    if status != 200 {
        return Err(Failure::of_status(status, path));
    }
    let mut reader = Reader::new(wanted, texts);
    let mut body = Limited::new(response.into_body(), EXPOSITION_LIMIT);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Failure::unreachable(&e.to_string()))?;
        if let Some(data) = frame.data_ref() {
            reader.feed(data);
        }
    }
    let (samples, left_out) = reader.finish();
    Ok(Exposition { samples, left_out })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_read_whether_they_pass_or_not() {
        let text = "[+]ping ok\n[-]etcd failed: reason withheld\n[+]poststarthook/a ok\nreadyz check failed\n";
        let checks = read_checks(text, &mut Interner::default());
        let told: Vec<_> = checks.iter().map(|s| (s.labels.value("name"), s.value)).collect();
        assert_eq!(told, [("ping", 1.0), ("etcd", 0.0), ("poststarthook/a", 1.0)]);
    }
}
