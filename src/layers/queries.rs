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

/// How often each second a counter grew of late.
macro_rules! rate {
    ($counter:literal) => {
        concat!("rate(", $counter, "[5m])")
    };
}

/// The same for what ingress-nginx counts: where its target has a namespace of its own, as from a ServiceMonitor,
/// Prometheus calls that of the Ingress `exported_namespace`.
macro_rules! ingress_rate {
    ($counter:literal) => {
        concat!(
            "label_replace(rate(",
            $counter,
            "[5m]), \"namespace\", \"$1\", \"exported_namespace\", \"(.+)\")"
        )
    };
}

/// The share of one rate in another by some labels, 0 where the part was never counted: a counter that begins with the
/// first failure would have no past against which to judge it.
macro_rules! share {
    ($by:literal, $part:literal, $whole:literal) => {
        share!($by, $part, $whole, rate)
    };
    ($by:literal, $part:literal, $whole:literal, $rate:ident) => {
        concat!(
            "(sum by (",
            $by,
            ") (",
            $rate!($part),
            ") or 0 * sum by (",
            $by,
            ") (",
            $rate!($whole),
            ")) / sum by (",
            $by,
            ") (",
            $rate!($whole),
            ")"
        )
    };
}

/// A counter's rate by its label `reason`, under another name: each of these, which may be the begin of one, and all
/// others as `other`. Each is 0 where the system is seen but has never counted it, as in [`share!`].
macro_rules! by_reason {
    ($label:literal, $counter:literal, $seen:literal, $first:literal $(| $reason:literal)*) => {
        concat!(
            "sum by (", $label, ") (label_replace(label_replace(rate(", $counter, "[5m]), \"", $label,
            "\", \"other\", \"\", \"\"), \"", $label, "\", \"$1\", \"reason\", \"(", $first
            $(, "|", $reason)*, ").*\")) or 0 * (",
            by_reason!(zero $label, $seen, "other"), " or ", by_reason!(zero $label, $seen, $first),
            $(" or ", by_reason!(zero $label, $seen, $reason),)* ")"
        )
    };
    (zero $label:literal, $seen:literal, $reason:literal) => {
        concat!("label_replace(sum(", $seen, "), \"", $label, "\", \"", $reason, "\", \"\", \"\")")
    };
}

/// A collector's rate of spans, metric points and log records together, and 0 for what was never counted. By version
/// and configuration a counter ends with `_total`, with its unit and `_total`, or with neither. A rate has no name, so
/// three that differ by name alone need a label.
macro_rules! collector_rate {
    ($by:literal, $counter:literal) => {
        concat!(
            "sum by (", $by, ") (",
            collector_rate!(of $counter, "spans"), " or ",
            collector_rate!(of $counter, "metric_points"), " or ",
            collector_rate!(of $counter, "log_records"),
            ") or 0 * count by (", $by, ") ({__name__=~\"otelcol_", $by, "_.+\", ", $by, "!=\"\"})"
        )
    };
    (of $counter:literal, $of:literal) => {
        concat!(
            "label_replace(rate({__name__=~\"", $counter, "_", $of, "(_.*total)?\"}[5m]), \"of\", \"", $of,
            "\", \"\", \"\")"
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
        "nginx_ingress_controller_requests",
        ingress_rate
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
    concat!(
        "histogram_quantile(0.99, sum by (le, namespace, ingress) (",
        ingress_rate!("nginx_ingress_controller_request_duration_seconds_bucket"),
        "))"
    )
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
        "istio_requests_total{reporter=~\"destination|waypoint\",response_code=~\"5..\"}",
        "istio_requests_total{reporter=~\"destination|waypoint\"}"
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
    "7 of Cilium's reasons and other",
    1.0,
    "Packets that Cilium drops each second, by its own reason; rare ones count as other.",
    by_reason!(
        "drop_reason",
        "cilium_drop_count_total",
        "cilium_forward_count_total",
        "Policy denied"
            | "Stale or unroutable IP"
            | "CT: Map insertion failed"
            | "Service backend not found"
            | "No mapping for NAT masquerade"
            | "FIB lookup failed"
            | "Invalid source ip"
    )
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
    "6 of Loki's reasons and other",
    1.0,
    "Log lines that Loki discards each second, by its own reason; rare ones count as other. Healthy is 0.",
    by_reason!(
        "discard_reason",
        "loki_discarded_samples_total",
        "loki_build_info",
        "rate_limited"
            | "per_stream_rate_limit"
            | "stream_limit"
            | "line_too_long"
            | "too_far_behind"
            | "greater_than_max_sample_age"
    )
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
    collector_rate!("exporter", "otelcol_exporter_send_failed")
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
    collector_rate!("receiver", "otelcol_receiver_refused")
);
