//! What does a Prometheus know that the API does not? Signals read by a PromQL query, for components that most
//! clusters have; a query about what is not there gives no series.

use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};

/// A signal read by a query, judged against its past on the high side.
macro_rules! query {
    ($name:ident, $block:literal, $layer:ident, $metric:literal, $unit:ident, [$($label:literal),*], $bound:literal,
     $floor:literal, $help:literal, $query:expr) => {
        static $name: Signal = Signal {
            block: $block,
            name: $metric,
            layer: Layer::$layer,
            help: $help,
            unit: Unit::$unit,
            labels: &[$($label),*],
            reasons: &[],
            bound: $bound,
            needs: &[Kind::PrometheusQuery],
            uses: &[],
            profile: Profile::Level { bad: Direction::High, floor: $floor },
            read: Read::Query($query),
        };
    };
}

/// The share of one rate in another by some labels, 0 where the part was never counted: a counter that begins with the
/// first failure would have no past against which to judge it.
macro_rules! share {
    ($by:literal, $part:literal, $whole:literal) => {
        concat!(
            "(sum by (",
            $by,
            ") (rate(",
            $part,
            "[5m])) or 0 * sum by (",
            $by,
            ") (rate(",
            $whole,
            "[5m]))) / sum by (",
            $by,
            ") (rate(",
            $whole,
            "[5m]))"
        )
    };
}

/// Every signal that a query reads, in the order of the layers.
pub(super) static SIGNALS: &[&Signal] = &[
    &VOLUME_USED,
    &CSI_ERRORS,
    &PENDING,
    &PROBES,
    &DNS_ERRORS,
    &DNS_SECONDS,
    &INGRESS_ERRORS,
    &INGRESS_SECONDS,
    &ISTIO_ERRORS,
    &LINKERD_ERRORS,
    &CILIUM_DROPS,
    &RELOAD,
    &RULES,
    &NOTIFICATIONS,
    &TARGETS,
    &LOKI_ERRORS,
    &LOKI_DISCARDED,
    &COLLECTOR_FAILED,
    &COLLECTOR_REFUSED,
];

query!(
    VOLUME_USED,
    "S1.16",
    Storage,
    "storage_mounted_volume_used_ratio",
    Ratio,
    ["namespace", "persistentvolumeclaim"],
    "mounted claims",
    0.05,
    "Share of a mounted volume's bytes that is used, from the kubelets' metrics in Prometheus.",
    "max by (namespace, persistentvolumeclaim) (1 - kubelet_volume_stats_available_bytes / kubelet_volume_stats_capacity_bytes)"
);

query!(
    CSI_ERRORS,
    "S1.20",
    Storage,
    "storage_csi_operation_errors_ratio",
    Ratio,
    ["driver_name", "method_name"],
    "drivers × methods",
    0.05,
    "Share of CSI calls that fail, by driver and method. Healthy is near 0.",
    share!(
        "driver_name, method_name",
        "csi_operations_seconds_count{grpc_status_code!=\"OK\"}",
        "csi_operations_seconds_count"
    )
);

query!(
    PENDING,
    "S2.7",
    Compute,
    "compute_scheduler_pending_pods",
    Count,
    ["queue"],
    "4 queues",
    5.0,
    "Pods in the scheduler's queues.",
    "sum by (queue) (scheduler_pending_pods)"
);

query!(
    PROBES,
    "S2.9",
    Compute,
    "compute_probe_failed_ratio",
    Ratio,
    ["namespace", "probe_type"],
    "namespaces × 3",
    0.05,
    "Share of probes that fail, by namespace and type, from the kubelets' metrics in Prometheus. Healthy is near 0.",
    share!("namespace, probe_type", "prober_probe_total{result=\"failed\"}", "prober_probe_total")
);

query!(
    DNS_ERRORS,
    "S3.10",
    Networking,
    "networking_dns_errors_ratio",
    Ratio,
    [],
    "1",
    0.01,
    "Share of CoreDNS' answers that are SERVFAIL. Healthy is near 0.",
    share!("", "coredns_dns_responses_total{rcode=\"SERVFAIL\"}", "coredns_dns_responses_total")
);

query!(
    DNS_SECONDS,
    "S3.10",
    Networking,
    "networking_dns_latency_seconds",
    Seconds,
    [],
    "1",
    0.02,
    "99th percentile of the time that CoreDNS takes to answer.",
    "histogram_quantile(0.99, sum by (le) (rate(coredns_dns_request_duration_seconds_bucket[5m])))"
);

query!(
    INGRESS_ERRORS,
    "S3.6",
    Networking,
    "networking_ingress_errors_ratio",
    Ratio,
    ["namespace", "ingress"],
    "Ingresses",
    0.01,
    "Share of requests through ingress-nginx that end with a 5xx, as users see it. Healthy is near 0.",
    share!(
        "namespace, ingress",
        "nginx_ingress_controller_requests{status=~\"5..\"}",
        "nginx_ingress_controller_requests"
    )
);

query!(
    INGRESS_SECONDS,
    "S3.6",
    Networking,
    "networking_ingress_latency_seconds",
    Seconds,
    ["namespace", "ingress"],
    "Ingresses",
    0.1,
    "99th percentile of the time that requests through ingress-nginx take.",
    "histogram_quantile(0.99, sum by (le, namespace, ingress) (rate(nginx_ingress_controller_request_duration_seconds_bucket[5m])))"
);

query!(
    ISTIO_ERRORS,
    "S3.13",
    Networking,
    "networking_istio_errors_ratio",
    Ratio,
    ["destination_service_namespace", "destination_service_name"],
    "Services in the mesh",
    0.01,
    "Share of requests to a Service of an Istio mesh that end with a 5xx. Healthy is near 0.",
    share!(
        "destination_service_namespace, destination_service_name",
        "istio_requests_total{reporter=\"destination\",response_code=~\"5..\"}",
        "istio_requests_total{reporter=\"destination\"}"
    )
);

query!(
    LINKERD_ERRORS,
    "S3.13",
    Networking,
    "networking_linkerd_errors_ratio",
    Ratio,
    ["namespace", "deployment"],
    "Deployments in the mesh",
    0.01,
    "Share of responses of a Deployment in a Linkerd mesh that are failures. Healthy is near 0.",
    share!(
        "namespace, deployment",
        "response_total{classification=\"failure\",direction=\"inbound\"}",
        "response_total{direction=\"inbound\"}"
    )
);

query!(
    CILIUM_DROPS,
    "S3.13",
    Networking,
    "networking_cilium_drops",
    Count,
    ["drop_reason"],
    "Cilium's drop reasons",
    1.0,
    "Packets that Cilium drops each second, by its own reason.",
    "label_replace(sum by (reason) (rate(cilium_drop_count_total[5m])), \"drop_reason\", \"$1\", \"reason\", \"(.*)\")"
);

query!(
    RELOAD,
    "S4.5",
    Observability,
    "observability_prometheus_reload_failed",
    Count,
    [],
    "1",
    0.5,
    "Prometheus servers whose last reload of their configuration failed. Healthy is 0.",
    "sum(prometheus_config_last_reload_successful == bool 0)"
);

query!(
    RULES,
    "S4.5",
    Observability,
    "observability_rule_evaluation_failures",
    Count,
    ["rule_group"],
    "rule groups",
    0.01,
    "Rule evaluations that fail each second, by group. Healthy is 0.",
    "sum by (rule_group) (rate(prometheus_rule_evaluation_failures_total[5m]))"
);

query!(
    NOTIFICATIONS,
    "S4.5",
    Observability,
    "observability_notifications_dropped",
    Count,
    [],
    "1",
    0.01,
    "Alerts that Prometheus could not deliver each second. Healthy is 0.",
    "sum(rate(prometheus_notifications_dropped_total[5m]))"
);

query!(
    TARGETS,
    "S4.5",
    Observability,
    "observability_targets_down_ratio",
    Ratio,
    ["scrape_job"],
    "scrape jobs",
    0.05,
    "Share of a job's targets that cannot be scraped. Healthy is 0.",
    "label_replace(1 - avg by (job) (up), \"scrape_job\", \"$1\", \"job\", \"(.*)\")"
);

query!(
    LOKI_ERRORS,
    "S4.6",
    Observability,
    "observability_loki_errors_ratio",
    Ratio,
    ["route"],
    "Loki's routes",
    0.01,
    "Share of Loki's requests that end with a 5xx, by route. Healthy is near 0.",
    share!(
        "route",
        "loki_request_duration_seconds_count{status_code=~\"5..\"}",
        "loki_request_duration_seconds_count"
    )
);

query!(
    LOKI_DISCARDED,
    "S4.6",
    Observability,
    "observability_loki_discarded",
    Count,
    ["discard_reason"],
    "Loki's reasons",
    1.0,
    "Log lines that Loki discards each second, by its own reason. Healthy is none.",
    "label_replace(sum by (reason) (rate(loki_discarded_samples_total[5m])), \"discard_reason\", \"$1\", \"reason\", \"(.*)\")"
);

query!(
    COLLECTOR_FAILED,
    "S4.7",
    Observability,
    "observability_collector_send_failed",
    Count,
    ["exporter"],
    "exporters",
    1.0,
    "Spans, points and records that an OpenTelemetry Collector fails to send each second, by exporter. Healthy is 0.",
    "sum by (exporter) (rate({__name__=~\"otelcol_exporter_send_failed_(spans|metric_points|log_records)(_total)?\"}[5m]))"
);

query!(
    COLLECTOR_REFUSED,
    "S4.7",
    Observability,
    "observability_collector_refused",
    Count,
    ["receiver"],
    "receivers",
    1.0,
    "Spans, points and records that an OpenTelemetry Collector refuses each second, by receiver. Healthy is 0.",
    "sum by (receiver) (rate({__name__=~\"otelcol_receiver_refused_(spans|metric_points|log_records)(_total)?\"}[5m]))"
);
