//! What is scraped, what is meant to be, and what is not? Monitors that select nothing, and workloads nobody scrapes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use crate::labels;
use crate::layers::conditions::one_line;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::{Labelled, Resource, Workload};
use crate::model::selector::selects;
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::value::Value;
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

pub(super) static UNSELECTED: Signal = Signal {
    block: "S4.2",
    name: "observability_monitor_not_selected",
    layer: Layer::Observability,
    help: "Monitors, probes, rules and scrape configurations that no Prometheus selects, or that the operator refused. \
           Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "kind", "name", "reason"],
    reasons: &["selected_by_none", "refused"],
    bound: "monitors and rules × 2 reasons",
    needs: &[Kind::Prometheus],
    uses: &[
        Kind::PrometheusAgent,
        Kind::ThanosRuler,
        Kind::ServiceMonitor,
        Kind::PodMonitor,
        Kind::Probe,
        Kind::PrometheusRule,
        Kind::ScrapeConfig,
        Kind::Event,
    ],
    profile: Profile::None,
    read: Read::Rule(unselected),
};

/// What servers select.
const SELECTABLE: &[Kind] = &[
    Kind::ServiceMonitor,
    Kind::PodMonitor,
    Kind::Probe,
    Kind::PrometheusRule,
    Kind::ScrapeConfig,
];

/// How long the operator's report of a refusal speaks: it is repeated every half hour while it lasts.
const REFUSED: SignedDuration = SignedDuration::from_mins(35);

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
        .filter(|s| looks_into(monitor, &s.meta.namespace) && selects(wanted, &s.meta.labels))
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

fn stays(monitor: &Resource) -> bool {
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
        let told =
            format!("none of the {} Services that it selects has a port {port}", selected.len());
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
    let told =
        format!("none of the {} Services that it selects has a ready endpoint", selected.len());
    Some(("no_endpoints", told))
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
    let told =
        format!("none of the {} workloads that it selects has a port {missing}", selected.len());
    Some(("port_missing", told))
}

/// The fields of a Prometheus that select objects of a kind, and their namespaces.
fn fields(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::PodMonitor => ("spec.podMonitorSelector", "spec.podMonitorNamespaceSelector"),
        Kind::Probe => ("spec.probeSelector", "spec.probeNamespaceSelector"),
        Kind::PrometheusRule => ("spec.ruleSelector", "spec.ruleNamespaceSelector"),
        Kind::ScrapeConfig => ("spec.scrapeConfigSelector", "spec.scrapeConfigNamespaceSelector"),
        _ => ("spec.serviceMonitorSelector", "spec.serviceMonitorNamespaceSelector"),
    }
}

/// Whether a kind of server can select a kind of object at all: agents take no rules, and rulers only those.
fn takes(server: Kind, object: Kind) -> bool {
    match server {
        Kind::ThanosRuler => object == Kind::PrometheusRule,
        Kind::PrometheusAgent => object != Kind::PrometheusRule,
        _ => true,
    }
}

/// Whether a Prometheus selects an object. An absent selector selects none, an absent one of namespaces its own.
fn selected_by(view: &View<'_>, server: &Resource, object: &Resource) -> bool {
    let (objects, namespaces) = fields(object.kind);
    let namespace = match server.body.at(namespaces) {
        Value::Null => server.meta.namespace == object.meta.namespace,
        selector => {
            let found = view.world.namespaces.get("", &object.meta.namespace);
            selects(selector, &found.map_or_else(Labelled::default, |n| n.meta.labels.clone()))
        }
    };
    namespace && server.body.has(objects) && selects(server.body.at(objects), &object.meta.labels)
}

fn unselected(view: &View<'_>, out: &mut Verdicts) {
    const SERVERS: &[Kind] = &[Kind::Prometheus, Kind::PrometheusAgent, Kind::ThanosRuler];
    let servers: Vec<&Resource> = view.resources_of(SERVERS).collect();
    // One that cannot be seen may select what no other does.
    let may_say = SERVERS.iter().all(|kind| view.sees(*kind) || !view.is_served(*kind))
        && view.sees(Kind::Namespace);
    for object in view.resources_of(SELECTABLE).filter(|o| stays(o)) {
        let mut able = servers.iter().filter(|s| takes(s.kind, object.kind)).peekable();
        let (reason, told) = match refusal(view, object) {
            Some(why) => ("refused", one_line(&format!("the operator refuses it: {why}"))),
            None if may_say
                && able.peek().is_some()
                && !able.any(|s| selected_by(view, s, object)) =>
            {
                ("selected_by_none", "no Prometheus selects it".to_owned())
            }
            None => continue,
        };
        let labels = labels![&object.meta.namespace, object.kind.name(), &object.meta.name, reason];
        out.push(Verdict::new(Subject::of(object), labels, reason, told).dwell(300));
    }
}

/// What the operator says of an object that it did not accept: in its status, where it is set to write that, else in
/// an event.
fn refusal(view: &View<'_>, object: &Resource) -> Option<String> {
    let bindings = object.body.items("status.bindings").iter();
    let generation = object.meta.generation;
    let mut conditions = bindings.flat_map(|b| b.items("conditions")).filter(|c| {
        c.text("type") == "Accepted"
            && c.number("observedGeneration").is_none_or(|seen| seen as i64 >= generation)
    });
    if object.body.has("status.bindings") {
        return conditions
            .find(|c| c.text("status") == "False")
            .map(|c| c.text("message").to_string());
    }
    // What was written since may be well: the operator speaks again if it is not.
    let written = object.meta.managers.iter().filter_map(|m| m.at).max();
    let events = view.recent_events(object.kind, &object.meta, REFUSED);
    let refused = events.filter(|e| e.reason == "InvalidConfiguration").last();
    refused.filter(|e| written.is_none_or(|at| e.last >= at)).map(|e| e.note.to_string())
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
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::layers::fixtures::{
        ago, deployment, event, judge, objects, pod_of, readings, reasons, resource, service,
        slice, world,
    };
    use crate::model::record::{Manager, Meta};

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
    fn selection_follows_the_operators_rules() {
        let server = |spec: Json| resource(Kind::Prometheus, "main", json!({ "spec": spec }));
        let told =
            |spec: Json| reasons(&UNSELECTED, objects![monitor("web", "http"), server(spec)]);
        assert_eq!(told(json!({})), ["selected_by_none"], "an absent selector selects none");
        assert!(
            told(json!({"serviceMonitorSelector": {}})).is_empty(),
            "the empty one selects all"
        );
        assert_eq!(
            told(json!({"serviceMonitorSelector": {"matchLabels": {"team": "b"}}})),
            ["selected_by_none"]
        );
        assert!(
            reasons(&UNSELECTED, objects![monitor("web", "http")]).is_empty(),
            "nobody to select it"
        );
        let refused = resource(
            Kind::PrometheusRule,
            "r",
            json!({"status": {"bindings": [{"conditions": [
            {"type": "Accepted", "status": "False", "message": "bad expression"}]}]}}),
        );
        assert_eq!(reasons(&UNSELECTED, objects![refused]), ["refused"]);
    }

    #[test]
    fn each_kind_of_server_takes_its_own_objects() {
        let rule = || resource(Kind::PrometheusRule, "r", json!({}));
        let agent = || {
            resource(Kind::PrometheusAgent, "a", json!({"spec": {"serviceMonitorSelector": {}}}))
        };
        let ruler = || resource(Kind::ThanosRuler, "t", json!({"spec": {}}));
        assert!(reasons(&UNSELECTED, objects![agent(), rule(), monitor("web", "http")]).is_empty());
        assert!(reasons(&UNSELECTED, objects![ruler(), monitor("web", "http")]).is_empty());
        assert_eq!(reasons(&UNSELECTED, objects![ruler(), rule()]), ["selected_by_none"]);
        let server = resource(Kind::Prometheus, "main", json!({"spec": {}}));
        let all = || objects![server.clone(), agent(), monitor("web", "http")];
        let unseen = world(&[Kind::PrometheusAgent], all());
        assert!(judge(&UNSELECTED, &unseen).is_empty(), "one that cannot be seen may select it");
        let seen = objects![server.clone(), monitor("web", "http")];
        assert_eq!(reasons(&UNSELECTED, seen), ["selected_by_none"]);
    }

    #[test]
    fn a_refusal_is_told_by_an_event_until_the_object_is_written_again() {
        let look = |written: i64, last: i64, reason: &str| {
            let by =
                Manager { name: "helm".into(), at: Some(ago(written)), subresource: "".into() };
            let plain = monitor("web", "http");
            let object = Resource { meta: Meta { managers: [by].into(), ..plain.meta }, ..plain };
            let report = event((Kind::ServiceMonitor, "m"), reason, "bad regexp", 3000, last);
            reasons(&UNSELECTED, objects![object, report])
        };
        assert_eq!(look(3000, 60, "InvalidConfiguration"), ["refused"]);
        assert_eq!(
            look(3000, 1700, "InvalidConfiguration"),
            ["refused"],
            "repeated each half hour"
        );
        assert!(look(30, 60, "InvalidConfiguration").is_empty(), "written since");
        assert!(look(9000, 2900, "InvalidConfiguration").is_empty(), "silent for long");
        assert!(look(3000, 60, "Other").is_empty());
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
