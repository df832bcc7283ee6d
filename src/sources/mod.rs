//! Cluster → World. The only room that talks to a cluster, and it only reads; but for the Lease of a leader election.
//!
//! One task per kind follows the API server with the client library's watcher and hands slim records over in order;
//! a bounded channel makes a slow reader slow the watch down rather than fill the memory.

mod audit;
mod client;
mod discovery;
mod endpoint;
mod exposition;
mod failure;
mod hearing;
mod lease;
mod list;
mod poll;
mod promql;
mod raw;
mod supervisor;
mod watch;
mod wire;

pub use audit::{AuditError, read_audit};
pub use client::{ConnectError, ConnectOptions, Connection, ServerInfo, connect, preflight};
pub use endpoint::{KubeletAccess, PrometheusOptions};
pub use lease::{Candidate, candidate_identity};
pub use list::list_once;
pub use promql::{
    PrometheusAccess, PrometheusError, RangeAnswer, RangeError, Series, Steps, StepsError, history,
    query_range,
};
pub use watch::{Now, WatchOptions};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::model::kind::Kind;
use crate::model::record::Time;
use crate::model::text::Interner;
use crate::model::world::Delta;

/// Starts what follows the kinds of `options`. It ends when `out` closes, or with the set.
pub fn start(
    client: &kube::Client,
    options: &WatchOptions,
    out: &mpsc::Sender<Vec<Delta>>,
) -> Result<JoinSet<()>, PrometheusError> {
    let mut tasks = JoinSet::new();
    tasks.spawn(supervisor::supervise(client.clone(), options.clone(), out.clone()));
    endpoint::start(&mut tasks, client, options, out)?;
    Ok(tasks)
}

/// Directives that any log filter must have: the client logs the whole body of an answer that it can't read, secrets
/// included, and its watcher repeats what [`SourceNote`](crate::model::source::SourceNote) tells.
pub const LOG_DIRECTIVES: &[&str] =
    &["kube_client=error", "kube_client::client=off", "kube_runtime=off"];

/// Reads one watch event (`{"type": …, "object": …}`) as the API sends it; `None` for bookmarks and errors. For
/// recordings: a live watch goes the same way.
#[must_use]
pub fn read_watch_event(kind: Kind, json: &str, texts: &mut Interner) -> Option<Delta> {
    match serde_json::from_str::<kube::core::WatchEvent<raw::Raw>>(json) {
        Ok(kube::core::WatchEvent::Added(raw) | kube::core::WatchEvent::Modified(raw)) => {
            Some(raw.upsert(kind, texts))
        }
        Ok(kube::core::WatchEvent::Deleted(raw)) => Some(raw.delete(kind, texts)),
        Ok(_) | Err(_) => None,
    }
}

/// Reads an exposition as an endpoint of this kind gives it; for recordings: a live one goes the same way.
#[must_use]
pub fn read_exposition(
    kind: Kind,
    instance: &str,
    text: &[u8],
    now: Time,
    texts: &mut Interner,
) -> Delta {
    if kind == Kind::ApiServerHealth {
        let samples = endpoint::read_checks(&String::from_utf8_lossy(text), texts);
        return endpoint::scrape(kind, (instance, ""), None, now, samples);
    }
    let wanted = crate::model::fields::metrics(kind).iter().copied().collect();
    let mut reader = exposition::Reader::new(&wanted, texts);
    reader.feed(text);
    endpoint::scrape(kind, (instance, ""), None, now, reader.finish().0.into())
}

/// Reads a page of a list, or of a table, of a kind that is polled, as the API sends it.
pub fn read_page(kind: Kind, json: &[u8], texts: &mut Interner) -> Result<Vec<Delta>, String> {
    poll::read_page(kind, json, texts)
}

/// Reads a Prometheus' answer to the query of this signal.
pub fn read_answer(
    signal: &str,
    body: &[u8],
    now: Time,
    texts: &mut Interner,
) -> Result<Delta, String> {
    let (samples, _) = endpoint::read_answer(signal, body, texts)?;
    Ok(endpoint::scrape(Kind::PrometheusQuery, (signal, ""), None, now, samples))
}
