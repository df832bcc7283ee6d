//! Do the APIs answer that others serve? Metrics for autoscalers and `kubectl top` above all.

use std::collections::{BTreeMap, BTreeSet};

use crate::labels;
use crate::layers::conditions::words;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::{Labels, Readings};
use crate::model::record::{Node, Resource, Status};
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::view::View;

pub(super) static UNAVAILABLE: Signal = Signal {
    block: "S4.10",
    name: "observability_apiservice_unavailable",
    layer: Layer::Observability,
    help: "Aggregated APIs whose server does not answer: autoscalers are blind, namespaces cannot be deleted, discovery is \
           slow for all. Healthy is none.",
    unit: Unit::Count,
    labels: &["apiservice", "reason"],
    reasons: &["service_missing", "endpoints_missing", "port", "discovery", "access", "other"],
    bound: "aggregated APIs × 6 reasons",
    needs: &[Kind::ApiService],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(unavailable),
};

pub(super) static CUSTOM_METRICS: Signal = Signal {
    block: "S4.12",
    name: "observability_custom_metrics_missing",
    layer: Layer::Observability,
    help: "Autoscalers that scale by custom or external metrics which nobody serves. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "horizontalpodautoscaler", "reason"],
    reasons: &["no_adapter", "adapter_down"],
    bound: "autoscalers × 2 reasons",
    needs: &[Kind::HorizontalPodAutoscaler, Kind::ApiService],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(custom_metrics),
};

pub(super) static FRESHNESS: Signal = Signal {
    block: "S4.11",
    name: "observability_node_metrics_age_seconds",
    layer: Layer::Observability,
    help: "Age of the oldest node's resource metrics when they were last read. Healthy is below 60.",
    unit: Unit::Seconds,
    labels: &[],
    reasons: &[],
    bound: "1",
    needs: &[Kind::NodeMetrics],
    uses: &[],
    profile: Profile::Level { bad: Direction::High, floor: 30.0 },
    read: Read::Gauge(freshness),
};

pub(super) static COVERAGE: Signal = Signal {
    block: "S4.11",
    name: "observability_node_metrics_ratio",
    layer: Layer::Observability,
    help: "Share of ready nodes of which there are resource metrics. Healthy is 1.",
    unit: Unit::Ratio,
    labels: &[],
    reasons: &[],
    bound: "1",
    needs: &[Kind::NodeMetrics, Kind::Node],
    uses: &[],
    profile: Profile::Level { bad: Direction::Low, floor: 0.02 },
    read: Read::Gauge(coverage),
};

pub(super) static METRICS: Signal = Signal {
    block: "S4.11",
    name: "observability_node_metrics_missing",
    layer: Layer::Observability,
    help: "Whether more than one ready node in fifty has no resource metrics, or only old ones, although their API \
           answers: autoscalers do not see the pods there. Healthy is none.",
    unit: Unit::Count,
    labels: &["reason"],
    reasons: &["missing", "stale"],
    bound: "2 reasons",
    needs: &[Kind::NodeMetrics, Kind::Node],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(metrics),
};

/// Seconds after which metrics are old: three of the longest intervals at which metrics-server usually reads them.
const OLD: i64 = 180;

fn unavailable(view: &View<'_>, out: &mut Verdicts) {
    for api in view.resources(Kind::ApiService).filter(|a| a.body.has("spec.service")) {
        let Some(c) = api.condition("Available").filter(|c| c.status == Status::False) else {
            continue;
        };
        let reason = match c.reason.as_str() {
            "ServiceNotFound" => "service_missing",
            "MissingEndpoints" | "EndpointsNotFound" => "endpoints_missing",
            "ServicePortError" => "port",
            "FailedDiscoveryCheck" => "discovery",
            "ServiceAccessError" | "EndpointsAccessError" => "access",
            _ => "other",
        };
        let service = api.body.at("spec.service");
        let (namespace, name) = (service.text("namespace"), service.text("name"));
        let told = format!("its server {namespace}/{name} does not answer: {}", words(c));
        let labels = labels![&api.meta.name, reason];
        let verdict = Verdict::new(Subject::of(api), labels, reason, told);
        out.push(verdict.severity(Severity::Critical).since(c.since));
    }
}

/// The API that serves a type of metric; `None` for those of the resource metrics API.
fn group(metric: &str) -> Option<&'static str> {
    match metric {
        "Pods" | "Object" => Some("custom.metrics.k8s.io"),
        "External" => Some("external.metrics.k8s.io"),
        _ => None,
    }
}

/// Whether an autoscaler gets its metrics, or does not ask for them since its target is scaled to zero.
fn is_served(hpa: &Resource) -> bool {
    let active = hpa.condition("ScalingActive");
    active.is_some_and(|c| c.status == Status::True || c.reason == "ScalingDisabled")
        || hpa.meta.deleting.is_some()
}

fn custom_metrics(view: &View<'_>, out: &mut Verdicts) {
    let available =
        |api: &&Resource| api.condition("Available").is_some_and(|c| c.status == Status::True);
    for hpa in view.resources(Kind::HorizontalPodAutoscaler).filter(|h| !is_served(h)) {
        let types: BTreeSet<&str> =
            hpa.body.items("spec.metrics").iter().filter_map(|m| group(m.text("type"))).collect();
        for group in types {
            let apis =
                || view.resources(Kind::ApiService).filter(|a| a.body.text("spec.group") == group);
            let (reason, told) = match (apis().next(), apis().find(available)) {
                (None, _) => {
                    ("no_adapter", format!("scales by metrics of {group}, which nobody serves"))
                }
                (Some(api), None) => {
                    let adapter = api.body.at("spec.service");
                    let (namespace, name) = (adapter.text("namespace"), adapter.text("name"));
                    let told = format!(
                        "scales by metrics of {group}, whose adapter {namespace}/{name} does not answer"
                    );
                    ("adapter_down", told)
                }
                (Some(_), Some(_)) => continue,
            };
            let labels = labels![&hpa.meta.namespace, &hpa.meta.name, reason];
            out.push(Verdict::new(Subject::of(hpa), labels, reason, told).dwell(120));
            break;
        }
    }
}

/// The age of each node's metrics when they were read.
fn ages<'a>(view: &'a View<'_>) -> BTreeMap<&'a Text, i64> {
    let source = view.world.source_ref(Kind::NodeMetrics);
    let read = source.and_then(|s| s.last_sync).unwrap_or(view.now());
    let age = |m: &'a Resource| {
        let at = m.body.time("timestamp").unwrap_or(read);
        (&m.meta.name, (read.as_second() - at.as_second()).max(0))
    };
    view.resources(Kind::NodeMetrics).map(age).collect()
}

/// The nodes that should have metrics.
fn measurable<'a>(view: &'a View<'_>) -> impl Iterator<Item = &'a Node> {
    view.world.nodes.iter().filter(|n| {
        // The metrics of a node that has just come take a minute.
        let grown = view.is_older(n.meta.created, 120);
        grown && n.condition("Ready").is_some_and(|c| c.status == Status::True)
    })
}

fn freshness(view: &View<'_>, out: &mut Readings) {
    if let Some(oldest) = ages(view).into_values().max() {
        out.push(Labels::default(), oldest as f64);
    }
}

fn coverage(view: &View<'_>, out: &mut Readings) {
    let ages = ages(view);
    let (mut part, mut whole) = (0, 0);
    for node in measurable(view) {
        whole += 1;
        part += u64::from(ages.contains_key(&node.meta.name));
    }
    out.push_ratio(Labels::default(), part, whole);
}

fn metrics(view: &View<'_>, out: &mut Verdicts) {
    let ages = ages(view);
    let (mut missing, mut stale, mut all) = (BTreeSet::new(), BTreeSet::new(), 0);
    for node in measurable(view) {
        all += 1;
        let name = node.meta.name.as_str();
        match ages.get(&node.meta.name) {
            None => missing.insert(name),
            Some(age) => *age > OLD && stale.insert(name),
        };
    }
    for (reason, nodes, told) in [
        ("missing", missing, "have no resource metrics"),
        ("stale", stale, "have resource metrics older than three minutes only"),
    ] {
        let Some(first) = nodes.first().filter(|_| nodes.len() * 50 > all) else { continue };
        let told = format!("{} of {all} nodes {told}, such as {first}", nodes.len());
        let verdict = Verdict::new(Subject::cluster(), labels![reason], reason, told);
        out.push(verdict.dwell(300));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{ago, condition, meta, objects, readings, reasons, resource};

    fn api(group: &str, status: &str, reason: &str) -> Resource {
        resource(
            Kind::ApiService,
            &format!("v1beta1.{group}"),
            json!({
            "spec": {"group": group, "service": {"namespace": "kube-system", "name": "metrics"}},
            "status": {"conditions": [{"type": "Available", "status": status, "reason": reason, "message": "m"}]}}),
        )
    }

    #[test]
    fn an_api_that_does_not_answer_is_told_and_a_local_one_is_not() {
        for (status, reason, expected) in [
            ("False", "MissingEndpoints", vec!["endpoints_missing"]),
            ("False", "FailedDiscoveryCheck", vec!["discovery"]),
            ("False", "SomethingNew", vec!["other"]),
            ("True", "Passed", vec![]),
        ] {
            let api = api("metrics.k8s.io", status, reason);
            assert_eq!(reasons(&UNAVAILABLE, objects![api]), expected, "{reason}");
        }
        let local = resource(
            Kind::ApiService,
            "v1.",
            json!({"status": {"conditions": [
            {"type": "Available", "status": "False", "reason": "X"}]}}),
        );
        assert!(reasons(&UNAVAILABLE, objects![local]).is_empty());
    }

    #[test]
    fn an_autoscaler_without_its_adapter_is_told() {
        let hpa = |kind: &str| {
            resource(
                Kind::HorizontalPodAutoscaler,
                "web",
                json!({"spec": {"metrics": [{"type": kind}]}}),
            )
        };
        let custom = |status| api("custom.metrics.k8s.io", status, "");
        assert_eq!(reasons(&CUSTOM_METRICS, objects![hpa("Pods")]), ["no_adapter"]);
        assert_eq!(
            reasons(&CUSTOM_METRICS, objects![hpa("Pods"), custom("False")]),
            ["adapter_down"]
        );
        assert!(reasons(&CUSTOM_METRICS, objects![hpa("Pods"), custom("True")]).is_empty());
        assert!(reasons(&CUSTOM_METRICS, objects![hpa("Resource")]).is_empty());
        let said = |status: &str, reason: &str| {
            let conditions = json!([{"type": "ScalingActive", "status": status, "reason": reason}]);
            let spec = json!({"metrics": [{"type": "External"}]});
            let manifest = json!({"spec": spec, "status": {"conditions": conditions}});
            let hpa = resource(Kind::HorizontalPodAutoscaler, "web", manifest);
            reasons(&CUSTOM_METRICS, objects![hpa])
        };
        assert_eq!(said("False", "FailedGetExternalMetric"), ["no_adapter"]);
        assert!(said("False", "ScalingDisabled").is_empty(), "its target is scaled to zero");
        assert!(said("True", "ValidMetricFound").is_empty());
    }

    #[test]
    fn metrics_of_nodes_have_an_age_and_a_coverage() {
        let node = |name: &str| Node {
            meta: meta("", name, 9000),
            conditions: [condition("Ready", Status::True, "", 9000)].into(),
            ..Node::default()
        };
        let metrics = resource(Kind::NodeMetrics, "n1", json!({"timestamp": ago(45).to_string()}));
        let world = || objects![node("n1"), node("n2"), metrics.clone()];
        assert_eq!(readings(&FRESHNESS, world())[0].value, 45.0);
        assert_eq!(readings(&COVERAGE, world())[0].value, 0.5);
        assert_eq!(reasons(&METRICS, world()), ["missing"]);
        let old = resource(Kind::NodeMetrics, "n2", json!({"timestamp": ago(300).to_string()}));
        assert_eq!(
            reasons(&METRICS, objects![node("n1"), node("n2"), metrics.clone(), old]),
            ["stale"]
        );
        let lost = Node { conditions: [].into(), ..node("n2") };
        assert!(reasons(&METRICS, objects![node("n1"), lost, metrics.clone()]).is_empty());
        let young = Node { meta: meta("", "n2", 60), ..node("n2") };
        assert!(reasons(&METRICS, objects![node("n1"), young, metrics.clone()]).is_empty());
    }
}
