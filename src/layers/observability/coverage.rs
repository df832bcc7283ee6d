//! What is scraped, what is meant to be, and what is not? Monitors that select nothing, and workloads nobody scrapes.

use std::collections::{BTreeMap, BTreeSet};

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::{Meta, Resource, Workload};
use crate::model::selector::selects;
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::view::{View, roll_up};

pub(super) static TARGETS: Signal = Signal {
    block: "S4.1",
    name: "observability_monitor_without_targets",
    layer: Layer::Observability,
    help: "Service and pod monitors that select nothing, name a port that what they select does not have, or whose \
           Services have no ready endpoint: alerts on their data can no longer fire. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "kind", "name", "reason"],
    reasons: &["no_match", "port_missing", "no_endpoints"],
    bound: "monitors × 3 reasons",
    needs: &[Kind::ServiceMonitor],
    uses: &[
        Kind::PodMonitor,
        Kind::Service,
        Kind::EndpointSlice,
        Kind::Pod,
        Kind::Deployment,
        Kind::StatefulSet,
        Kind::DaemonSet,
        Kind::ReplicaSet,
    ],
    profile: Profile::None,
    read: Read::Rule(targets),
};

pub(super) static WORKLOADS: Signal = Signal {
    block: "S4.3",
    name: "observability_scraped_ratio",
    layer: Layer::Observability,
    help: "Share of workloads with a metrics port or a scrape annotation that a monitor selects, by namespace.",
    unit: Unit::Ratio,
    labels: &["namespace"],
    reasons: &[],
    bound: "namespaces",
    needs: &[Kind::ServiceMonitor, Kind::PodMonitor, Kind::Service],
    uses: &[Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet],
    profile: Profile::Level { bad: Direction::Low, floor: 0.1 },
    read: Read::Gauge(scraped),
};

pub(super) static RULES: Signal = Signal {
    block: "S4.5",
    name: "observability_alerting_rules",
    layer: Layer::Observability,
    help: "Alerting and recording rules in PrometheusRules, by namespace: a drop means that somebody deleted alerts.",
    unit: Unit::Count,
    labels: &["namespace", "type"],
    reasons: &[],
    bound: "namespaces × 2",
    needs: &[Kind::PrometheusRule],
    uses: &[],
    profile: Profile::Level { bad: Direction::Low, floor: 2.0 },
    read: Read::Gauge(rules),
};

/// Whether a monitor looks into a namespace.
fn looks_into(monitor: &Resource, namespace: &Text) -> bool {
    let selector = monitor.body.at("spec.namespaceSelector");
    if selector.is_true("any") {
        return true;
    }
    match selector.items("matchNames") {
        [] => monitor.meta.namespace == *namespace,
        _ => selector.texts("matchNames").any(|n| n == namespace),
    }
}

/// The Services that a monitor selects.
fn services<'a>(view: &'a View<'_>, monitor: &'a Resource) -> impl Iterator<Item = &'a Resource> {
    let wanted = monitor.body.at("spec.selector");
    view.resources(Kind::Service)
        .filter(|s| selects(wanted, &s.meta.labels) && looks_into(monitor, &s.meta.namespace))
}

/// The workloads whose pods a pod monitor selects.
fn workloads<'a>(view: &'a View<'_>, monitor: &'a Resource) -> impl Iterator<Item = &'a Workload> {
    let wanted = monitor.body.at("spec.selector");
    view.top_workloads().filter(|w| {
        let labels = w.template.as_ref().map(|t| &t.labels);
        looks_into(monitor, &w.meta.namespace) && labels.is_some_and(|l| selects(wanted, l))
    })
}

fn targets(view: &View<'_>, out: &mut Verdicts) {
    let sees = |kinds: &[Kind]| kinds.iter().all(|k| view.sees(*k));
    if sees(&[Kind::ServiceMonitor, Kind::Service, Kind::EndpointSlice]) {
        for monitor in view.resources(Kind::ServiceMonitor).filter(|m| stays(m)) {
            if let Some((reason, told)) = of_services(view, monitor) {
                tell(out, monitor, reason, told);
            }
        }
    }
    if sees(&[Kind::PodMonitor, Kind::Pod, Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet]) {
        for monitor in view.resources(Kind::PodMonitor).filter(|m| stays(m)) {
            if let Some((reason, told)) = of_pods(view, monitor) {
                tell(out, monitor, reason, told);
            }
        }
    }
}

/// Whether an object is not about to go.
pub(super) fn stays(monitor: &Resource) -> bool {
    monitor.meta.deleting.is_none()
}

fn tell(out: &mut Verdicts, monitor: &Resource, reason: &'static str, told: String) {
    let labels = labels![&monitor.meta.namespace, monitor.kind.name(), &monitor.meta.name, reason];
    // Charts ship monitors for parts that a cluster does not have.
    let severity = if reason == "no_match" { Severity::Info } else { Severity::Warning };
    out.push(
        Verdict::new(Subject::of(monitor), labels, reason, told).severity(severity).dwell(300),
    );
}

fn of_services(view: &View<'_>, monitor: &Resource) -> Option<(&'static str, String)> {
    let selected: Vec<&Resource> = services(view, monitor).collect();
    if selected.is_empty() {
        return Some(("no_match", "selects no Service".to_owned()));
    }
    let ports = monitor.body.items("spec.endpoints").iter().map(|e| e.text("port"));
    let has = |port: &Text| {
        let mut all = selected.iter().flat_map(|s| s.body.items("spec.ports"));
        all.any(|p| p.text("name") == port)
    };
    if let Some(port) = ports.filter(|p| !p.is_empty()).find(|p| !has(p)) {
        let told = lacking("Service", selected.iter().map(|s| &s.meta), &format!("port {port}"));
        return Some(("port_missing", told));
    }
    let ready = |s: &&&Resource| {
        view.ready_endpoints(&s.meta.namespace, &s.meta.name).is_none_or(|n| n > 0)
    };
    // Nobody runs where a target is scaled to zero.
    let wanted = |s: &&&Resource| {
        view.selected_workloads(s).any(|w| w.desired > 0)
            || view.selected_pods(s).any(|pod| view.counts(pod, &roll_up(view.world, pod)))
    };
    let any_ready = selected.iter().any(|s| ready(&s));
    let idle = !selected.iter().any(|s| wanted(&s)) && view.sees(Kind::Deployment);
    if any_ready || idle {
        return None;
    }
    let told = lacking("Service", selected.iter().map(|s| &s.meta), "ready endpoint");
    Some(("no_endpoints", told))
}

/// What a monitor selects, none of which has what it asks for. A single one is named.
fn lacking<'a>(kind: &str, all: impl ExactSizeIterator<Item = &'a Meta>, what: &str) -> String {
    let count = all.len();
    match all.last() {
        Some(one) if count == 1 => format!("selects {kind} {}, which has no {what}", one.name),
        _ => format!("selects {count} {kind}s, none of which has a {what}"),
    }
}

fn of_pods(view: &View<'_>, monitor: &Resource) -> Option<(&'static str, String)> {
    let selected: Vec<&Workload> = workloads(view, monitor).collect();
    if selected.is_empty() {
        // Pods of somebody's own kind, or with labels that were added to them.
        let wanted = monitor.body.at("spec.selector");
        let mut pods = view.all_pods().map(|(pod, _)| pod);
        let some = pods.any(|pod| {
            looks_into(monitor, &pod.meta.namespace) && selects(wanted, &pod.meta.labels)
        });
        let told = || ("no_match", "selects the pods of no workload".to_owned());
        return (!some).then(told);
    }
    let ports = monitor.body.items("spec.podMetricsEndpoints").iter().map(|e| e.text("port"));
    let has = |port: &Text| {
        let mut all = selected.iter().flat_map(|w| w.template.iter()).flat_map(|t| t.ports.iter());
        all.any(|(name, _)| name == port)
    };
    let missing = ports.filter(|p| !p.is_empty()).find(|p| !has(p))?;
    let told = lacking("workload", selected.iter().map(|w| &w.meta), &format!("port {missing}"));
    Some(("port_missing", told))
}

/// Whether a workload's pods say that they have metrics.
fn has_metrics(workload: &Workload) -> bool {
    workload.template.as_ref().is_some_and(|t| {
        let named = |name: &str| {
            name == "metrics" || name.ends_with("-metrics") || name.starts_with("prom")
        };
        t.annotations.value("prometheus.io/scrape") == "true"
            || t.ports.iter().any(|(name, _)| named(name))
    })
}

fn scraped(view: &View<'_>, out: &mut Readings) {
    let mut covered: BTreeSet<(&Text, &Text)> = BTreeSet::new();
    let monitors: Vec<&Resource> = view.resources(Kind::ServiceMonitor).collect();
    for monitor in &monitors {
        for service in services(view, monitor) {
            for workload in view.selected_workloads(service) {
                covered.insert((&workload.meta.namespace, &workload.meta.name));
            }
        }
    }
    let pod_monitors: Vec<&Resource> = view.resources(Kind::PodMonitor).collect();
    for monitor in &pod_monitors {
        covered.extend(workloads(view, monitor).map(|w| (&w.meta.namespace, &w.meta.name)));
    }
    let mut namespaces: BTreeMap<&Text, (u64, u64)> = BTreeMap::new();
    for workload in view.counted_workloads().filter(|w| has_metrics(w)) {
        let (part, whole) = namespaces.entry(&workload.meta.namespace).or_default();
        *whole += 1;
        *part += u64::from(covered.contains(&(&workload.meta.namespace, &workload.meta.name)));
    }
    for (namespace, (part, whole)) in namespaces {
        out.push_ratio(labels![namespace], part, whole);
    }
}

fn rules(view: &View<'_>, out: &mut Readings) {
    let mut counts: BTreeMap<(&Text, &str), u64> = BTreeMap::new();
    for rule in view.resources(Kind::PrometheusRule) {
        let all = rule.body.items("spec.groups").iter().flat_map(|g| g.items("rules"));
        for rule_type in all.map(|r| if r.has("alert") { "alerting" } else { "recording" }) {
            *counts.entry((&rule.meta.namespace, rule_type)).or_default() += 1;
        }
    }
    for ((namespace, rule_type), count) in counts {
        out.push(labels![namespace, rule_type], count as f64);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{
        ago, deployment, objects, pod_of, readings, reasons, resource, service, slice,
    };

    fn monitor(app: &str, port: &str) -> Resource {
        resource(
            Kind::ServiceMonitor,
            "m",
            json!({"metadata": {"labels": {"team": "a"}},
            "spec": {"selector": {"matchLabels": {"app": app}}, "endpoints": [{"port": port}]}}),
        )
    }

    #[test]
    fn a_monitor_is_told_by_what_it_lacks() {
        let told = |monitor, ready: &[bool], replicas| {
            let objects = objects![
                monitor,
                service("web"),
                slice("web", ready),
                deployment("web", replicas, 0)
            ];
            reasons(&TARGETS, objects)
        };
        assert!(told(monitor("web", "http"), &[true], 1).is_empty());
        assert_eq!(told(monitor("gone", "http"), &[true], 1), ["no_match"]);
        assert_eq!(told(monitor("web", "metrics"), &[true], 1), ["port_missing"]);
        assert_eq!(told(monitor("web", "http"), &[false], 1), ["no_endpoints"]);
        assert!(told(monitor("web", "http"), &[], 0).is_empty(), "scaled to zero");
        let of_its_own = objects![
            monitor("web", "http"),
            service("web"),
            slice("web", &[false]),
            pod_of("web", "web-0")
        ];
        assert_eq!(reasons(&TARGETS, of_its_own), ["no_endpoints"], "no workload, but pods");
        let mut leaving = monitor("gone", "http");
        leaving.meta.deleting = Some(ago(0));
        assert!(told(leaving, &[true], 1).is_empty());
        let pods = |port: &str| {
            resource(
                Kind::PodMonitor,
                "p",
                json!({"spec": {
            "selector": {"matchLabels": {"app": "web"}}, "podMetricsEndpoints": [{"port": port}]}}),
            )
        };
        assert_eq!(
            reasons(&TARGETS, objects![pods("metrics"), deployment("web", 1, 1)]),
            ["port_missing"]
        );
        assert!(reasons(&TARGETS, objects![pods("http"), deployment("web", 1, 1)]).is_empty());
        assert_eq!(reasons(&TARGETS, objects![pods("http")]), ["no_match"]);
        let of_its_own = objects![pods("metrics"), pod_of("web", "web-0")];
        assert!(reasons(&TARGETS, of_its_own).is_empty(), "pods of somebody's own kind");
    }

    #[test]
    fn a_single_thing_that_lacks_something_is_named() {
        let all = [service("web"), service("shop")];
        let told = |n: usize| lacking("Service", all[..n].iter().map(|s| &s.meta), "port http");
        assert_eq!(told(1), "selects Service web, which has no port http");
        assert_eq!(told(2), "selects 2 Services, none of which has a port http");
    }

    #[test]
    fn workloads_with_metrics_are_covered_by_what_selects_them() {
        let metrics = |name: &str| {
            let mut workload = deployment(name, 1, 1);
            workload.template.as_mut().unwrap().ports = [("http-metrics".into(), 8080)].into();
            workload
        };
        let objects = objects![
            metrics("web"),
            metrics("other"),
            deployment("plain", 1, 1),
            service("web"),
            monitor("web", "http")
        ];
        let shares = readings(&WORKLOADS, objects);
        assert_eq!((shares[0].value, shares[0].population), (0.5, Some(2)));
    }

    #[test]
    fn rules_are_counted_by_type() {
        let rule = resource(
            Kind::PrometheusRule,
            "r",
            json!({"spec": {"groups": [{"rules": [
            {"alert": "A"}, {"alert": "B"}, {"record": "c"}]}, {"rules": 3}]}}),
        );
        let counts: Vec<f64> = readings(&RULES, objects![rule]).iter().map(|r| r.value).collect();
        assert_eq!(counts, [2.0, 1.0]);
    }
}
