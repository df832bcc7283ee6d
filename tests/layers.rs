//! Does each layer tell on a real API server what its golden file says? Every manifest is made through the API, read
//! by the real sources, changed where it changes later, and gone again when it is deleted; a kind comes and goes with its definition.

#![allow(clippy::unwrap_used)]

mod bed;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bed::rbac::rules;
use bed::{Cluster, ClusterOptions, apply, crds, eventually, manifests, objects};
use kube::Client;
use kubestrata::config::Settings;
use kubestrata::exports::prometheus::{About, Format, encode};
use kubestrata::layers;
use kubestrata::model::Time;
use kubestrata::model::kind::Kind;
use kubestrata::model::layer::Layer;
use kubestrata::model::signal::{NAMED, Read, Signal};
use kubestrata::model::source::Availability;
use kubestrata::model::world::{Delta, World};
use kubestrata::pipeline::{Pipeline, State};
use kubestrata::sources::{self, WatchOptions};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How far ahead of the real time the pipeline looks, so that dwells of hours hold.
const AHEAD: jiff::SignedDuration = jiff::SignedDuration::from_hours(30);

fn real_now() -> Time {
    #[expect(clippy::disallowed_methods, reason = "the API server beside us lives in real time")]
    jiff::Timestamp::now()
}

/// A pipeline that follows the real API server, thirty hours ahead.
struct Follower {
    pipeline: Pipeline,
    world: World,
    inbox: mpsc::Receiver<Vec<Delta>>,
    _tasks: JoinSet<()>,
}

impl Follower {
    fn start(client: &Client, layers: Vec<Layer>) -> Self {
        let opt_in = vec![Kind::HelmSecret, Kind::ConfigMap];
        let pipeline =
            Pipeline::new(Settings { layers, opt_in, ..Settings::default() }, State::default());
        let (out, inbox) = mpsc::channel(256);
        let options = WatchOptions {
            discovery: Duration::from_secs(1),
            longest_interval: Duration::from_secs(1),
            ..WatchOptions::new(pipeline.kinds(), Arc::new(|| real_now() + AHEAD))
        };
        let tasks = sources::start(client, &options, &out).unwrap();
        Self { pipeline, world: World::default(), inbox, _tasks: tasks }
    }

    /// Takes in what comes within `window`, as if it were now or, for what came before, thirty hours ago.
    async fn absorb(&mut self, window: Duration, now: Time) {
        let end = tokio::time::Instant::now() + window;
        while let Ok(Some(batch)) = tokio::time::timeout_at(end, self.inbox.recv()).await {
            for delta in batch {
                self.pipeline.absorb(&mut self.world, delta, now);
            }
        }
    }

    /// What is exported of a layer after its states have been seen for thirty hours.
    async fn exposition(&mut self, layer: Layer) -> BTreeSet<String> {
        // Long enough for what is polled: a state that is first seen thirty hours ahead would begin there.
        self.absorb(Duration::from_millis(1500), real_now()).await;
        self.pipeline.step(&self.world, real_now());
        self.absorb(Duration::from_millis(300), real_now() + AHEAD).await;
        for kind in self.pipeline.kinds() {
            // A watch that is quiet says so every ten seconds; thirty hours were skipped.
            if self.world.source(kind).availability == Availability::Served {
                let alive = kubestrata::model::source::SourceNote::Alive;
                let note = Delta::Note(kind, alive);
                self.pipeline.absorb(&mut self.world, note, real_now() + AHEAD);
            }
        }
        let report = self.pipeline.step(&self.world, real_now() + AHEAD);
        let text = encode(&report.into(), &About::default(), Format::Text).unwrap();
        series(&text, layer)
    }
}

/// Metric and labels of a layer's own series.
fn series(text: &str, layer: Layer) -> BTreeSet<String> {
    let mine = format!("kubestrata_{layer}_");
    let lines = text.lines().filter(|l| l.starts_with(&mine));
    lines.map(|l| l.rsplit_once(' ').map_or(l, |(series, _)| series).to_owned()).collect()
}

/// What the API server does not let a test make, or changes at once, with the reason why.
fn cannot_be_made(manifest: &Value) -> bool {
    let text = |path: &str| manifest.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let name = text("/kind");
    // What an endpoint says is asked of the real one, and what may not be read is not read from the start.
    Kind::by_name(name).is_some_and(|k| !k.is_resource())
        || matches!(name, "EventList" | "SourceFailure")
        // The API server serves these by itself, and rejects others in their place.
        || text("/apiVersion").starts_with("metrics.k8s.io")
        // A deletion begins when it is asked for, and is thirty hours old at once.
        || (!text("/metadata/deletionTimestamp").is_empty() && text("/metadata/name").contains("-fine"))
}

/// Series of golden files that a real API server cannot be made to show as they are, with the reason why. What it tells
/// of itself is driven by tests/apiserver.rs, and its audit log by tests/audit.rs.
const NOT_HERE: &[(&str, &str)] = &[
    ("kubestrata_storage_csi_driver_unregistered", "at the first look every node is young"),
    ("kubestrata_storage_volume_full", "no kubelet runs"),
    ("kubestrata_storage_volume_used_ratio", "no kubelet runs"),
    ("kubestrata_compute_probes_total", "no kubelet runs"),
    ("kubestrata_compute_failed_probes_total", "no kubelet runs"),
    ("kubestrata_networking_addresses_low", "the API server counts its own addresses"),
    ("kubestrata_networking_clusterip_allocation_errors_total", "the API server tells of itself"),
    ("kubestrata_networking_clusterip_used_ratio", "the API server counts its own addresses"),
    ("kubestrata_networking_nodeport_used_ratio", "the API server counts its own ports"),
    ("kubestrata_observability_apiserver", "the API server tells of itself"),
    ("kubestrata_observability_etcd", "the API server tells of itself"),
    ("kubestrata_observability_node_metrics", "nobody measures nodes without kubelets"),
    ("kubestrata_tooling_manual_change{", "it is told for a day, and thirty hours pass"),
    (
        "kubestrata_tooling_forgotten_state{namespace=\"tooling\",kind=\"CronJob\"",
        "the API server says itself that it was written just now",
    ),
    (
        "kubestrata_tooling_forgotten_state{namespace=\"tooling\",kind=\"PodDisruptionBudget\"",
        "the API server says itself that it was written just now",
    ),
    ("kubestrata_security_admission_policy_errors_total", "the API server tells of itself"),
    ("kubestrata_security_admission_policy_violations_total", "the API server tells of itself"),
    ("kubestrata_security_authentication_problems_total", "the API server tells of itself"),
    ("kubestrata_security_authz_denials_total", "nobody audits here"),
    ("kubestrata_security_client_certificates_expiring_total", "the API server tells of itself"),
    ("kubestrata_security_deprecated_api", "the API server tells of itself, and nobody audits"),
    ("kubestrata_security_kubelet_certificate_errors_total", "there is no kubelet"),
    ("kubestrata_security_pod_security_errors_total", "the API server tells of itself"),
    ("kubestrata_security_pod_security_violations_total", "the API server tells of itself"),
    ("kubestrata_security_policy_denials_total", "the API server tells of itself"),
    ("kubestrata_security_webhook_errors_total", "the API server tells of itself"),
    ("kubestrata_security_webhook_fail_open_total", "the API server tells of itself"),
];

/// The manifests of a layer as they are made here: times as old as they are there, events as old reporters write them.
fn manifests_of(layer: Layer) -> Vec<Value> {
    let mut all = manifests::of(layer);
    all.retain(|m| !cannot_be_made(m));
    let is_old = |m: &Value| m["kind"] == "Event" && m["eventTime"].is_null();
    all = all.into_iter().map(|m| if is_old(&m) { apply::as_core_event(m) } else { m }).collect();
    let then: Time = manifests::NOW.parse().unwrap();
    let by = (real_now() + AHEAD).duration_since(then);
    all.iter_mut().for_each(|m| manifests::shift(m, by));
    all
}

/// A client that may read what a layer reads, but for what its manifests call forbidden.
async fn reader(cluster: &Cluster, layer: Layer) -> Client {
    let all = manifests::of(layer);
    let refused = all.iter().filter(|m| m["kind"] == "SourceFailure");
    let refused = refused.map(|m| Kind::by_name(m["source"].as_str().unwrap()).unwrap().plural());
    let refused: Vec<&str> = refused.collect();
    if refused.is_empty() {
        return cluster.client().await;
    }
    let name = format!("{layer}-reader");
    let kubeconfig = cluster.service_account(&name, &rules(&[layer], &refused)).await;
    cluster.client_of(&kubeconfig).await
}

/// Makes the objects of a layer, namespaces first, then changes those that change later, while `follower` looks on, and
/// says which it made and which are refused.
async fn make(
    client: &Client,
    all: &[Value],
    follower: &mut Follower,
) -> (BTreeSet<String>, Vec<String>) {
    let (mut own, mut refused) = (BTreeSet::new(), Vec::new());
    let (later, first): (Vec<&Value>, Vec<&Value>) = all.iter().partition(|m| m["later"] == true);
    let mut note = |manifest: &Value, answer: kube::Result<bool>| {
        let path = apply::path_of(manifest);
        match answer {
            Ok(true) => drop(own.insert(path)),
            Ok(false) => {}
            Err(error) => {
                let told: String = error.to_string().chars().take(400).collect();
                refused.push(format!("refused: {path}: {told}"));
            }
        }
    };
    let namespaces = |m: &&&Value| m["kind"] == "Namespace";
    let made: Vec<Value> = first.iter().filter(namespaces).map(|m| (*m).clone()).collect();
    apply::make_namespaces(client, &made).await;
    for manifest in first.iter().filter(|m| !namespaces(m)) {
        note(manifest, apply::make(client, manifest).await);
    }
    // Long enough for what is polled.
    follower.absorb(Duration::from_millis(1500), real_now()).await;
    for manifest in later {
        note(manifest, apply::change(client, manifest).await);
        // One after the other, as they depend on each other.
        follower.absorb(Duration::from_millis(100), real_now()).await;
    }
    (own, refused)
}

/// Whether a series is a total of what has happened to nothing that is made and gone here: it stays.
fn stays(series: &str) -> bool {
    let is_total = |s: &&Signal| matches!(s.read, Read::Counter | Read::Histogram(_));
    let mut totals = layers::signals().filter(is_total);
    let of = |s: &Signal| series.starts_with(&format!("kubestrata_{}", s.name));
    let gone = |label: &&str| {
        series.contains(&format!("{{{label}=\"")) || series.contains(&format!(",{label}=\""))
    };
    let named = NAMED.iter().map(|(label, _)| *label);
    // What was counted of a class or a driver is not of that object alone.
    let mut named =
        named.filter(|l| !["storageclass", "driver"].contains(l)).chain(["workload", "name"]);
    totals.any(of) && !named.any(|label| gone(&label))
}

/// What is wrong with what a layer shows, if anything.
async fn layer_follows(cluster: &Cluster, layer: Layer) -> Vec<String> {
    let mut wrong = Vec::new();
    let golden =
        std::fs::read_to_string(manifests::folder().join(format!("{layer}.prom"))).unwrap();
    let client = cluster.client().await;
    let mut follower = Follower::start(&reader(cluster, layer).await, vec![layer]);
    eventually(Duration::from_mins(1), "the sources have synced", async || {
        follower.absorb(Duration::from_millis(500), real_now()).await;
        anyhow::ensure!(follower.pipeline.ready(&follower.world), "not synced");
        Ok(())
    })
    .await;
    let healthy = follower.exposition(layer).await;
    let (own, refused) = make(&client, &manifests_of(layer), &mut follower).await;
    wrong.extend(refused);
    let expected: BTreeSet<String> = series(&golden, layer)
        .into_iter()
        .filter(|s| !NOT_HERE.iter().any(|(prefix, _)| s.starts_with(prefix)))
        .collect();
    let mut shown = BTreeSet::new();
    for _ in 0..10 {
        shown = follower.exposition(layer).await;
        if expected.is_subset(&shown) {
            break;
        }
    }
    wrong.extend(expected.difference(&shown).map(|s| format!("not shown: {s}")));
    let told =
        shown.difference(&healthy).filter(|s| s.contains("-fine\"") && s.contains("reason="));
    wrong.extend(told.map(|s| format!("told though it is well: {s}")));
    apply::unmake(&client, &own).await;
    let mut left = Vec::new();
    for _ in 0..10 {
        shown = follower.exposition(layer).await;
        let gone = |s: &&String| !healthy.contains(*s) && !stays(s);
        left = expected.intersection(&shown).filter(gone).cloned().collect();
        if left.is_empty() {
            break;
        }
    }
    wrong.extend(left.iter().map(|s| format!("still shown: {s}")));
    wrong
}

/// A kind that appears is followed, one that goes leaves no series and is no recovery, and one that comes back is
/// followed again, all without a restart.
async fn a_kind_comes_and_goes(client: &Client) {
    let crd = crds::of(Kind::Certificate);
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let certificate = json!({"apiVersion": "cert-manager.io/v1", "kind": "Certificate",
        "metadata": {"name": "web", "namespace": "default"},
        "status": {"notAfter": objects::now()[..19].to_owned() + "Z"}});
    let mut follower = Follower::start(client, vec![Layer::Security]);
    for round in 0..2 {
        await_kind(&mut follower, Availability::Absent).await;
        objects::create(client, path, &crd).await;
        await_kind(&mut follower, Availability::Served).await;
        objects::create(
            client,
            "/apis/cert-manager.io/v1/namespaces/default/certificates",
            &certificate,
        )
        .await;
        eventually(Duration::from_secs(30), "the certificate is told", async || {
            let shown = follower.exposition(Layer::Security).await;
            anyhow::ensure!(
                shown.iter().any(|s| s.contains("certificate=\"web\"")),
                "round {round}: {shown:#?}"
            );
            Ok(())
        })
        .await;
        objects::delete(client, &format!("{path}/certificates.cert-manager.io")).await;
        await_kind(&mut follower, Availability::Absent).await;
        let shown = follower.exposition(Layer::Security).await;
        assert!(!shown.iter().any(|s| s.contains("certificate=\"web\"")), "a ghost: {shown:#?}");
    }
}

async fn await_kind(follower: &mut Follower, wanted: Availability) {
    eventually(Duration::from_mins(1), "the kind is as it should be", async || {
        follower.absorb(Duration::from_millis(500), real_now()).await;
        let now = follower.world.source(Kind::Certificate).availability;
        anyhow::ensure!(now == wanted, "{now:?}, not {wanted:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_layer_tells_on_a_real_api_server_what_its_golden_file_says() {
    let cluster = Cluster::start(&ClusterOptions {
        without_kwok: true,
        without_scheduler: true,
        without_controller_manager: true,
        ..ClusterOptions::default()
    });
    let client = cluster.client().await;
    a_kind_comes_and_goes(&client).await;
    crds::install(&client).await;
    let mut wrong = Vec::new();
    for layer in Layer::ALL {
        if manifests::folder().join(format!("{layer}.yaml")).exists() {
            wrong.extend(layer_follows(&cluster, layer).await);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
