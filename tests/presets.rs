//! Does each ready-made query tell well from bad? A real Prometheus scrapes what the systems expose, and what it answers
//! goes through the source and the pipeline to `/metrics`. So does a signal of the user's own, through the program.

#![allow(clippy::unwrap_used)]

mod bed;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use bed::{Cluster, Kubestrata, Metrics, Prometheus, Systems, eventually};
use kube::Client;
use kubestrata::clock::Clock;
use kubestrata::config::Settings;
use kubestrata::exports::prometheus::{About, Format, encode};
use kubestrata::layers;
use kubestrata::model::kind::Kind;
use kubestrata::model::signal::Read;
use kubestrata::model::world::{Delta, World};
use kubestrata::pipeline::{Pipeline, State};
use kubestrata::sources::{self, PrometheusAccess, PrometheusOptions, WatchOptions};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How long a phase may take to be seen.
const PATIENCE: Duration = Duration::from_mins(1);

/// The queries look back five minutes, which suits a scrape each half a minute; here it is each second.
fn with_short_windows(query: &str) -> String {
    query.replace("[5m]", "[8s]")
}

/// A series, and its values when all is well and when all is bad.
struct Case {
    signal: &'static str,
    labels: Vec<(&'static str, String)>,
    well: RangeInclusive<f64>,
    bad: RangeInclusive<f64>,
}

const NONE: RangeInclusive<f64> = 0.0..=0.0;
/// Half of what happens fails.
const HALF: RangeInclusive<f64> = 0.3..=0.6;

/// A hundred in each second, of each of so many counters, give or take a late scrape.
fn hundreds(counters: f64) -> RangeInclusive<f64> {
    40.0 * counters..=200.0 * counters
}

/// `signal[label = value, …] well => bad`
macro_rules! cases {
    ($($signal:ident[$($label:ident = $value:expr),*] $well:expr => $bad:expr;)*) => {
        vec![$(Case {
            signal: stringify!($signal),
            labels: vec![$((stringify!($label), $value.to_string())),*],
            well: $well,
            bad: $bad,
        }),*]
    };
}

/// What is seen of the systems. Of each signal with labels one series at least stays well.
fn cases(rules: &Path) -> Vec<Case> {
    let mut all = cases_of_workloads();
    all.extend(cases_of_networks());
    all.extend(cases_of_observers(rules));
    all
}

fn cases_of_workloads() -> Vec<Case> {
    let publish = "/csi.v1.Node/NodePublishVolume";
    cases! {
        storage_mounted_volume_used_ratio[namespace = "shop", persistentvolumeclaim = "data"]
            0.25..=0.25 => 0.98..=0.98;
        storage_mounted_volume_used_ratio[namespace = "shop", persistentvolumeclaim = "logs"]
            0.09..=0.11 => 0.09..=0.11;
        storage_csi_operation_errors_ratio[driver_name = "ebs.csi.aws.com", method_name = publish]
            NONE => HALF;
        storage_csi_operation_errors_ratio[driver_name = "nfs.csi.k8s.io", method_name = publish]
            NONE => NONE;
        compute_scheduler_pending_pods[queue = "unschedulable"] 2.0..=2.0 => 500.0..=500.0;
        compute_scheduler_pending_pods[queue = "active"] NONE => NONE;
        compute_scheduler_pending_pods[queue = "backoff"] NONE => NONE;
        compute_scheduler_pending_pods[queue = "gated"] NONE => NONE;
        compute_probe_failed_ratio[namespace = "shop", probe_type = "Readiness"] NONE => HALF;
        compute_probe_failed_ratio[namespace = "shop", probe_type = "Liveness"] NONE => NONE;
        compute_probe_failed_ratio[namespace = "docs", probe_type = "Readiness"] NONE => NONE;
    }
}

fn cases_of_networks() -> Vec<Case> {
    let (fast, slow) = (0.02..=0.06, 2.0..=5.0);
    cases! {
        // A name that does not exist is no error.
        networking_dns_errors_ratio[] NONE => 0.2..=0.4;
        networking_dns_latency_seconds[] 0.001..=0.003 => 2.0..=4.5;
        networking_ingress_errors_ratio[namespace = "shop", ingress = "web"] NONE => HALF;
        networking_ingress_errors_ratio[namespace = "docs", ingress = "web"] NONE => NONE;
        networking_ingress_errors_ratio[namespace = "bare", ingress = "web"] NONE => HALF;
        networking_ingress_latency_seconds[namespace = "shop", ingress = "web"] fast.clone() => slow.clone();
        networking_ingress_latency_seconds[namespace = "docs", ingress = "web"] fast.clone() => fast.clone();
        networking_ingress_latency_seconds[namespace = "bare", ingress = "web"] fast.clone() => slow.clone();
        networking_istio_errors_ratio[destination_service_namespace = "shop", destination_service_name = "cart"]
            NONE => HALF;
        networking_istio_errors_ratio[destination_service_namespace = "shop", destination_service_name = "pay"]
            NONE => HALF;
        // Only its callers see failures.
        networking_istio_errors_ratio[destination_service_namespace = "shop", destination_service_name = "mail"]
            NONE => NONE;
        networking_linkerd_errors_ratio[namespace = "shop", deployment = "web"] NONE => HALF;
        networking_linkerd_errors_ratio[namespace = "shop", deployment = "batch"] NONE => NONE;
        networking_cilium_drops[drop_reason = "Policy denied"] NONE => hundreds(2.0);
        networking_cilium_drops[drop_reason = "CT: Map insertion failed"] NONE => hundreds(1.0);
        networking_cilium_drops[drop_reason = "FIB lookup failed"] NONE => NONE;
        networking_cilium_drops[drop_reason = "other"] NONE => hundreds(1.0);
    }
}

fn cases_of_observers(rules: &Path) -> Vec<Case> {
    let group = |name: &str| format!("{};{name}", rules.display());
    cases! {
        observability_prometheus_reload_failed[] NONE => 1.0..=1.0;
        observability_rule_evaluation_failures[rule_group = group("pairs")] NONE => 0.3..=3.0;
        observability_rule_evaluation_failures[rule_group = group("alerts")] NONE => NONE;
        observability_notifications_dropped[] NONE => 0.1..=10.0;
        observability_targets_down_ratio[scrape_job = "flaky"] NONE => 1.0..=1.0;
        observability_targets_down_ratio[scrape_job = "loki"] NONE => NONE;
        observability_loki_errors_ratio[route = "loki_api_v1_push"] NONE => HALF;
        observability_loki_errors_ratio[route = "loki_api_v1_query_range"] NONE => NONE;
        observability_loki_discarded[discard_reason = "rate_limited"] NONE => hundreds(1.0);
        observability_loki_discarded[discard_reason = "per_stream_rate_limit"] NONE => NONE;
        observability_loki_discarded[discard_reason = "other"] NONE => hundreds(1.0);
        observability_collector_send_failed[exporter = "otlp"] NONE => hundreds(3.0);
        observability_collector_send_failed[exporter = "otlp/old"] NONE => hundreds(3.0);
        observability_collector_send_failed[exporter = "otlp/units"] NONE => hundreds(3.0);
        observability_collector_send_failed[exporter = "otlp/idle"] NONE => NONE;
        observability_collector_refused[receiver = "otlp"] NONE => hundreds(3.0);
        observability_collector_refused[receiver = "otlp/old"] NONE => hundreds(3.0);
        observability_collector_refused[receiver = "otlp/units"] NONE => hundreds(3.0);
        observability_collector_refused[receiver = "otlp/idle"] NONE => NONE;
    }
}

/// The source and the pipeline, with no signal but those that are read by queries.
struct Daemon {
    inbox: mpsc::Receiver<Vec<Delta>>,
    pipeline: Pipeline,
    world: World,
    clock: Clock,
    _tasks: JoinSet<()>,
}

impl Daemon {
    fn start(prometheus: &Prometheus) -> Self {
        let others = layers::signals().filter(|s| !matches!(s.read, Read::Query(_)));
        let mut settings = Settings {
            disabled_signals: others.map(|s| s.name.to_owned()).collect(),
            ..Settings::default()
        };
        settings.prometheus.url = Some(prometheus.url());
        let pipeline = Pipeline::new(settings, State::default());
        let short = |(name, query): (&'static str, &'static str)| {
            (name, &*Box::leak(with_short_windows(query).into_boxed_str()))
        };
        let clock = Clock::system();
        let now = clock.clone();
        let options = WatchOptions {
            longest_interval: Duration::from_millis(500),
            prometheus: PrometheusOptions {
                access: PrometheusAccess { url: prometheus.url(), ..PrometheusAccess::default() },
                queries: pipeline.queries().into_iter().map(short).collect(),
            },
            ..WatchOptions::new(vec![Kind::PrometheusQuery], Arc::new(move || now.now()))
        };
        let (out, inbox) = mpsc::channel(64);
        let tasks = sources::start(&no_cluster(), &options, &out).unwrap();
        Self { inbox, pipeline, world: World::default(), clock, _tasks: tasks }
    }

    /// What `/metrics` says once the next answers are in, as of so much later.
    async fn metrics(&mut self, later: jiff::SignedDuration) -> Metrics {
        let mut batches = vec![self.inbox.recv().await.unwrap()];
        while let Ok(batch) = self.inbox.try_recv() {
            batches.push(batch);
        }
        let now = self.clock.now();
        for delta in batches.into_iter().flatten() {
            self.pipeline.absorb(&mut self.world, delta, now);
        }
        let report = self.pipeline.step(&self.world, now + later);
        Metrics::parse(&encode(&report.into(), &About::default(), Format::Text).unwrap())
    }

    /// Waits until `/metrics` is as it should.
    async fn until(&mut self, what: &str, right: impl Fn(&Metrics) -> Result<()>) {
        eventually(PATIENCE, what, async || right(&self.metrics(jiff::SignedDuration::ZERO).await))
            .await;
    }
}

/// A client that nobody asks.
fn no_cluster() -> Client {
    let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        let body = http_body_util::Full::<bytes::Bytes>::default();
        Ok::<_, Infallible>(http::Response::builder().status(404).body(body).unwrap())
    });
    Client::new(service, "default")
}

/// Every series of the cases is there with the value that it should have; all that is not, is in the error.
fn as_expected(metrics: &Metrics, cases: &[Case], bad: bool) -> Result<()> {
    let mut wrong = Vec::new();
    for Case { signal, labels, well, bad: when_bad } in cases {
        let expected = if bad { when_bad } else { well };
        let labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (*k, &**v)).collect();
        let found = metrics.value(&format!("kubestrata_{signal}"), &labels);
        if found.is_none_or(|value| !around(expected, value)) {
            wrong.push(format!("{signal}{labels:?}: {found:?}, not {expected:?}"));
        }
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// No series of a query is anything but well, whatever its labels.
fn nothing_else_is_bad(metrics: &Metrics, cases: &[Case]) {
    for case in cases {
        let all_well = cases.iter().filter(|c| c.signal == case.signal).map(|c| &c.well);
        let all_well: Vec<_> = all_well.collect();
        for sample in metrics.series(&format!("kubestrata_{}", case.signal)) {
            assert!(all_well.iter().any(|w| around(w, sample.value)), "{sample}");
        }
    }
}

fn around(range: &RangeInclusive<f64>, value: f64) -> bool {
    (range.start() - 1e-9..=range.end() + 1e-9).contains(&value)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_ready_made_query_tells_well_from_bad_and_back() {
    let (systems, folder) = (Systems::start().await, tempfile::tempdir().unwrap());
    let (rules, port) = (folder.path().join("rules.json"), bed::free_port());
    std::fs::write(&rules, Systems::rules().to_string()).unwrap();
    let config = systems.prometheus_config(port, &rules);
    let mut prometheus = Prometheus::start_configured(port, &config).await;
    let mut daemon = Daemon::start(&prometheus);
    let cases = cases(&rules);
    let signals: BTreeSet<&str> = cases.iter().map(|c| c.signal).collect();
    let queries: BTreeSet<&str> = daemon.pipeline.queries().iter().map(|(name, _)| *name).collect();
    assert_eq!(signals, queries, "each query has its case");

    daemon.until("all is well", |m| as_expected(m, &cases, false)).await;
    systems.set_bad(true);
    prometheus.reload("no configuration").await.unwrap_err();
    daemon.until("all is bad", |m| as_expected(m, &cases, true)).await;
    systems.set_bad(false);
    prometheus.reload(&config.to_string()).await.unwrap();
    daemon.until("all is well again", |m| as_expected(m, &cases, false)).await;
    let metrics = daemon.metrics(jiff::SignedDuration::ZERO).await;
    nothing_else_is_bad(&metrics, &cases);

    prometheus.stop();
    daemon.until("its end is seen", |m| source_is(m, false)).await;
    let metrics = daemon.metrics(jiff::SignedDuration::from_mins(6)).await;
    for signal in queries {
        let why = [("signal", signal), ("source", "prometheus"), ("reason", "unreachable")];
        assert_eq!(metrics.value("kubestrata_signal_absent", &why), Some(1.0), "{signal}");
        assert!(metrics.series(&format!("kubestrata_{signal}")).is_empty(), "{signal}");
    }
    prometheus.restart().await;
    daemon.until("all is well once more", |m| as_expected(m, &cases, false)).await;
}

fn source_is(metrics: &Metrics, up: bool) -> Result<()> {
    let found = metrics.value("kubestrata_source_up", &[("source", "prometheus")]);
    ensure!(found == Some(f64::from(u8::from(up))), "{found:?}");
    Ok(())
}

/// The configuration that the documentation shows, with this URL.
fn documented(url: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sources.md");
    let page = std::fs::read_to_string(page).unwrap();
    let example = page.split("## A signal of your own").nth(1).unwrap();
    let example = example.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let pace = "tick: 1s\nsources:\n  longest_interval: 1s\n";
    let example = example.replace("http://prometheus.monitoring:9090", url);
    format!("{pace}{}", with_short_windows(&example))
}

const OWN: &str = "kubestrata_networking_checkout_errors_ratio";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_of_the_users_own_is_one_like_any_other() {
    let (systems, folder) = (Systems::start().await, tempfile::tempdir().unwrap());
    let (file, rules) = (folder.path().join("config.yaml"), folder.path().join("rules.json"));
    std::fs::write(&rules, Systems::rules().to_string()).unwrap();
    let port = bed::free_port();
    std::fs::write(&file, documented(&format!("http://127.0.0.1:{port}"))).unwrap();
    let kubeconfig = Cluster::shared().kubeconfig();
    let args =
        ["run", "--config", file.to_str().unwrap(), "--kubeconfig", kubeconfig.to_str().unwrap()];
    let mut daemon = Kubestrata::start(&args);
    daemon.wait_ready().await;
    // Nobody listens there yet.
    let absent = json!({"source": "prometheus", "reason": "unreachable"});
    eventually(PATIENCE, "it is silent with a reason", async || {
        let metrics = daemon.metrics().await?;
        source_is(&metrics, false)?;
        let why = [("signal", "networking_checkout_errors_ratio"), ("reason", "unreachable")];
        ensure!(metrics.value("kubestrata_signal_absent", &why) == Some(1.0), "not told");
        ensure!(metrics.series(OWN).is_empty(), "{:?}", metrics.series(OWN));
        ensure!(own(&daemon).await?["absent"] == absent, "{}", own(&daemon).await?);
        Ok(())
    })
    .await;
    let config = systems.prometheus_config(port, &rules);
    let mut prometheus = Prometheus::start_configured(port, &config).await;
    for (bad, pay) in [(false, NONE), (true, HALF), (false, NONE)] {
        systems.set_bad(bad);
        eventually(PATIENCE, "it says how it is", async || has(&daemon, &pay).await).await;
    }
    let told = own(&daemon).await.unwrap();
    assert_eq!(told["layer"], "networking");
    assert_eq!(told["help"], "Share of checkout requests that fail.");
    assert_eq!((&told["labels"], &told["series"]), (&json!(["route"]), &json!(2)));
    assert_eq!(told["absent"], Value::Null);
    let metrics = daemon.metrics().await.unwrap();
    assert_eq!(metrics.types[OWN], "gauge");
    assert!(
        metrics.text.contains(&format!("# HELP {OWN} Share of checkout requests that fail.\n"))
    );

    prometheus.stop();
    eventually(PATIENCE, "its end is seen", async || source_is(&daemon.metrics().await?, false))
        .await;
    prometheus.restart().await;
    eventually(PATIENCE, "it is back", async || has(&daemon, &NONE).await).await;
}

/// What the API says of the user's own signal.
async fn own(daemon: &Kubestrata) -> Result<Value> {
    let all = daemon.json("/api/v1/signals").await?;
    let found = all.as_array().into_iter().flatten().find(|s| s["name"] == OWN);
    found.cloned().ok_or_else(|| anyhow::anyhow!("{OWN} is not among the signals"))
}

/// The source is up, and the route that may fail does so in this range; the other never does.
async fn has(daemon: &Kubestrata, pay: &RangeInclusive<f64>) -> Result<()> {
    let metrics = daemon.metrics().await?;
    source_is(&metrics, true)?;
    for (route, expected) in [("/pay", pay), ("/cart", &NONE)] {
        let found = metrics.value(OWN, &[("route", route)]);
        ensure!(found.is_some_and(|v| around(expected, v)), "{route}: {found:?}");
    }
    Ok(())
}
