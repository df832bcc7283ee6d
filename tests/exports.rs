//! Do real programs understand what is exported? Prometheus scrapes it, a collector takes events and metrics.

#![allow(clippy::unwrap_used)]

mod bed;

use std::time::Duration;

use bed::{Cluster, Collector, Kubestrata, Prometheus, check_metrics, eventually};
use serde_json::json;

const OPEN_METRICS: &str =
    "application/openmetrics-text;version=1.0.0;q=0.9,text/plain;version=0.0.4;q=0.1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_scrapes_both_formats_and_promtool_finds_no_fault() {
    let cluster = Cluster::shared();
    let kubeconfig = cluster.kubeconfig();
    let mut daemon = Kubestrata::start(&["run", "--kubeconfig", kubeconfig.to_str().unwrap()]);
    daemon.wait_ready().await;
    let classic = daemon.answer_to("/metrics", &[("accept", "text/plain")]).await.unwrap();
    check_metrics(&classic.text()).unwrap();
    let open = daemon.answer_to("/metrics", &[("accept", OPEN_METRICS)]).await.unwrap();
    assert!(open.text().ends_with("# EOF\n"));
    let prometheus = Prometheus::start(&[&daemon.address()]).await;
    prometheus.wait_up().await;
    let scraped = daemon.metrics().await.unwrap().sum("kubestrata_source_up", &[]);
    for job in ["test", "text"] {
        let up = format!("sum(kubestrata_source_up{{job=\"{job}\"}})");
        let seen = eventually(Duration::from_secs(30), "the series are there", async || {
            prometheus.value(&up).await?.ok_or_else(|| anyhow::anyhow!("no series"))
        })
        .await;
        assert_eq!(seen, scraped, "{job}");
    }
}

/// The same daemon on the embedded cluster, where ten minutes of past are seconds, tells a real collector.
async fn an_anomaly_reaches_the_collector(protocol: &str) {
    let collector = Collector::start().await;
    let endpoint = match protocol {
        "grpc" => collector.grpc_endpoint(),
        _ => collector.http_endpoint(),
    };
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
    ];
    let daemon = Kubestrata::start_with(&["demo", "--scenario", "all", "--speed", "300"], &env);
    let record = eventually(Duration::from_mins(2), "an anomaly is told", async || {
        collector.records().into_iter().find(|r| r.event_name == "kubestrata.anomaly.opened")
    })
    .await;
    let attribute =
        |name: &str| record.attributes.get(name).unwrap_or_else(|| panic!("{name}: {record:?}"));
    assert_eq!(record.resource["service.name"], json!("kubestrata"));
    assert_eq!(record.resource["k8s.cluster.name"], json!("demo"));
    assert!(["INFO", "WARN", "ERROR"].contains(&record.severity.as_str()), "{}", record.severity);
    assert!(attribute("kubestrata.signal").as_str().is_some_and(|s| !s.is_empty()));
    assert!(attribute("kubestrata.subject.kind").as_str().is_some_and(|k| !k.is_empty()));
    for name in ["observed", "expected", "lower", "upper", "score", "p_value"] {
        assert!(attribute(&format!("kubestrata.anomaly.{name}")).as_f64().is_some(), "{name}");
    }
    let explanation = attribute("kubestrata.anomaly.explanation").clone();
    assert!(explanation.as_str().is_some_and(|e| e.contains("was expected")), "{explanation}");
    assert_eq!(record.body, explanation);
    eventually(Duration::from_mins(1), "findings and metrics arrive too", async || {
        let finding =
            collector.records().iter().any(|r| r.event_name == "kubestrata.finding.opened");
        finding && collector.points().iter().any(|p| p.name == "kubestrata_layer_health_ratio")
    })
    .await;
    let sent = daemon.metrics().await.unwrap();
    assert!(sent.sum("kubestrata_otlp_sent_total", &[]) >= 1.0);
    assert_eq!(sent.sum("kubestrata_otlp_dropped_total", &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_anomaly_reaches_the_collector_by_grpc() {
    an_anomaly_reaches_the_collector("grpc").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_anomaly_reaches_the_collector_by_http() {
    an_anomaly_reaches_the_collector("http/protobuf").await;
}
