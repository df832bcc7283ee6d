//! What is read beside the objects of the API? What endpoints say: the API server about itself, each kubelet, and a
//! Prometheus that knows more.

mod apiserver;
mod kubelet;
mod prometheus;

use apiserver::ApiServer;
pub(super) use apiserver::read_checks;
pub use kubelet::KubeletAccess;
use kubelet::Kubelets;
use prometheus::Prometheus;
pub use prometheus::PrometheusOptions;
pub(super) use prometheus::read_answer;

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::failure::Failure;
use super::promql::PrometheusError;
use super::watch::{WatchOptions, send};
use crate::model::kind::{Kind, Origin};
use crate::model::record::{Meta, Object, Sample, Scrape, Time, Uid};
use crate::model::source::{Availability, SourceNote};
use crate::model::text::Text;
use crate::model::world::Delta;

/// Starts one task for each endpoint among the kinds of `options`.
pub(super) fn start(
    tasks: &mut JoinSet<()>,
    client: &kube::Client,
    options: &WatchOptions,
    out: &mpsc::Sender<Vec<Delta>>,
) -> Result<(), PrometheusError> {
    for kind in options.kinds.iter().copied() {
        let Origin::Endpoint(seconds) = kind.origin() else { continue };
        let every = Duration::from_secs(u64::from(seconds)).min(options.longest_interval);
        let out = out.clone();
        let Some(mut endpoint) = Endpoint::of(kind, client, options)? else {
            if let Some(note) = out_of_reach(kind) {
                tasks.spawn(async move {
                    send(&out, vec![note]).await;
                    // A task that ends would be a source that nobody follows any more.
                    out.closed().await;
                });
            }
            continue;
        };
        tasks.spawn(async move {
            while endpoint.ask(every, &out).await {
                tokio::time::sleep(every).await;
            }
        });
    }
    Ok(())
}

/// Asks each endpoint among the kinds of `options` once.
pub(super) async fn once(
    client: &kube::Client,
    options: &WatchOptions,
    out: &mpsc::Sender<Vec<Delta>>,
) -> Result<(), PrometheusError> {
    for kind in options.kinds.iter().copied().filter(|k| !k.is_resource()) {
        if let Some(mut endpoint) = Endpoint::of(kind, client, options)? {
            endpoint.ask(Duration::ZERO, out).await;
        } else if kind == Kind::Audit {
            let why = "audit events come to who waits for them";
            send(out, vec![disabled(kind, why)]).await;
        } else if let Some(note) = out_of_reach(kind) {
            send(out, vec![note]).await;
        }
    }
    Ok(())
}

/// What is told of an endpoint that cannot be asked here; nothing of one that calls by itself.
fn out_of_reach(kind: Kind) -> Option<Delta> {
    (kind == Kind::KubeletMetrics).then(|| disabled(kind, "no kubelet can be reached from here"))
}

fn disabled(kind: Kind, why: &str) -> Delta {
    let (availability, message) = (Availability::Disabled, why.to_owned());
    Delta::Note(kind, SourceNote::Failed { availability, message, backoff_seconds: 0.0 })
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Something that can be asked.
enum Endpoint {
    Health(ApiServer),
    Metrics(ApiServer),
    Kubelets(Box<Kubelets>),
    Prometheus(Box<Prometheus>),
}

impl Endpoint {
    /// The endpoint of a kind; `None` for one that calls by itself.
    fn of(
        kind: Kind,
        client: &kube::Client,
        options: &WatchOptions,
    ) -> Result<Option<Self>, PrometheusError> {
        let api_server = || ApiServer::new(client.clone(), options.now.clone());
        Ok(match kind {
            Kind::ApiServerHealth => Some(Self::Health(api_server())),
            Kind::ApiServerMetrics => Some(Self::Metrics(api_server())),
            Kind::KubeletMetrics => options.kubelets.clone().map(|access| {
                let (skip, now) = (options.kubelet_skip_verify, options.now.clone());
                let kubelets = Kubelets::new(client.clone(), access, skip, now);
                Self::Kubelets(Box::new(kubelets))
            }),
            Kind::PrometheusQuery => {
                let asked = options.prometheus.clone();
                Some(Self::Prometheus(Box::new(Prometheus::new(asked, options.now.clone())?)))
            }
            _ => None,
        })
    }

    const fn kind(&self) -> Kind {
        match self {
            Self::Health(_) => Kind::ApiServerHealth,
            Self::Metrics(_) => Kind::ApiServerMetrics,
            Self::Kubelets(_) => Kind::KubeletMetrics,
            Self::Prometheus(_) => Kind::PrometheusQuery,
        }
    }

    /// Asks once, and says whether somebody still listens.
    async fn ask(&mut self, every: Duration, out: &mpsc::Sender<Vec<Delta>>) -> bool {
        let kind = self.kind();
        let asked = async {
            match self {
                Self::Health(server) => server.health().await,
                Self::Metrics(server) => server.metrics().await,
                Self::Kubelets(kubelets) => kubelets.ask().await,
                Self::Prometheus(prometheus) => prometheus.ask().await,
            }
        };
        // Many answers take their time, each bounded by itself.
        let many = matches!(kind, Kind::KubeletMetrics | Kind::PrometheusQuery);
        let patience = if many { 60 * PATIENCE } else { PATIENCE };
        let late = || {
            let why = format!("no answer within {} s", patience.as_secs());
            Err(Failure::unreachable(&why))
        };
        let batch = match tokio::time::timeout(patience, asked).await.unwrap_or_else(|_| late()) {
            Ok(mut changes) => {
                changes.push(Delta::Synced(kind));
                changes
            }
            Err(Failure { availability, message, .. }) => {
                let backoff_seconds = every.as_secs_f64();
                let note = SourceNote::Failed { availability, message, backoff_seconds };
                vec![Delta::Note(kind, note)]
            }
        };
        send(out, batch).await
    }
}

/// An answer of an instance as a change.
pub(super) fn scrape(
    kind: Kind,
    (name, process): (&str, &str),
    started: Option<Time>,
    at: Time,
    samples: Box<[Sample]>,
) -> Delta {
    let meta = Meta {
        name: name.into(),
        uid: Uid::parse(&format!("{} {name} {process}", kind.source())),
        created: started.unwrap_or(at),
        ..Meta::default()
    };
    Delta::Upsert(Object::Scrape(Box::new(Scrape { kind, meta, at, samples })))
}

/// What is told of lines that could not be read or were beyond a limit.
fn unread(kind: Kind, what: &str, left_out: usize) -> Option<Delta> {
    let message = format!("{what}: {left_out} lines could not be read or were too many");
    (left_out > 0).then_some(Delta::Note(kind, SourceNote::Undecodable { message }))
}

/// Instances that answered lately: behind one address there may be several, and one that is gone is forgotten.
#[derive(Default)]
struct Instances(std::collections::BTreeMap<Text, Time>);

impl Instances {
    /// How long an instance that does not answer any more is held.
    const HELD: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);

    /// Notes that an instance answered, and says which are forgotten.
    fn seen(&mut self, kind: Kind, name: &Text, now: Time) -> Vec<Delta> {
        self.0.insert(name.clone(), now);
        let mut gone = Vec::new();
        self.0.retain(|name, last| {
            let held = now.duration_since(*last) <= Self::HELD;
            if !held {
                let key = (Text::default(), name.clone());
                gone.push(Delta::Delete { kind, key, uid: Uid::default() });
            }
            held
        });
        gone
    }
}
