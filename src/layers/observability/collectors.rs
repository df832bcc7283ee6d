//! Do logs and traces leave the nodes? Agents on every node, and OpenTelemetry Collectors.

use crate::labels;
use crate::layers::conditions::words;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::{Resource, Status, Workload};
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::view::View;

pub(super) static AGENTS: Signal = Signal {
    block: "S4.6",
    name: "observability_log_agent_coverage_ratio",
    layer: Layer::Observability,
    help: "Share of the nodes on which a log or telemetry agent should run and does. Healthy is 1.",
    unit: Unit::Ratio,
    labels: &["namespace", "workload_kind", "workload"],
    reasons: &[],
    bound: "agents",
    needs: &[Kind::DaemonSet],
    uses: &[],
    profile: Profile::Level { bad: Direction::Low, floor: 0.02 },
    read: Read::Gauge(agents),
};

pub(super) static UNCOVERED: Signal = Signal {
    block: "S4.6",
    name: "observability_log_agent_uncovered",
    layer: Layer::Observability,
    help: "Log or telemetry agents that are not available on more nodes than are themselves lost or leaving: what \
           happens there leaves no logs. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "reason"],
    reasons: &["none_available", "short"],
    bound: "agents × 2 reasons",
    needs: &[Kind::DaemonSet, Kind::Node],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(uncovered),
};

pub(super) static COLLECTOR: Signal = Signal {
    block: "S4.7",
    name: "observability_collector_unhealthy",
    layer: Layer::Observability,
    help: "OpenTelemetry Collectors with fewer ready replicas than they should have, or that cannot be reconciled; being \
           reconciled does not mean to run. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "collector", "mode", "reason"],
    reasons: &["none_ready", "too_few_ready", "not_reconciled"],
    bound: "collectors × 3 reasons",
    needs: &[Kind::OpenTelemetryCollector],
    uses: &[Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet, Kind::Node],
    profile: Profile::None,
    read: Read::Rule(collectors),
};

/// What agents are called, in their DaemonSet's name or label `app.kubernetes.io/name`.
const NAMES: [&str; 9] = [
    "alloy",
    "promtail",
    "fluent-bit",
    "fluentbit",
    "fluentd",
    "vector",
    "filebeat",
    "grafana-agent",
    "opentelemetry-collector",
];

/// Seconds that a rollout may take, pod by pod.
const ROLLED_OUT: i64 = 900;

fn is_agent(daemon: &Workload) -> bool {
    let label = daemon.meta.labels.value("app.kubernetes.io/name");
    let named = |name: &str| NAMES.iter().any(|n| name.contains(n)) || name.contains("otel");
    named(label) || named(&daemon.meta.name)
}

/// The agents that are meant to run.
fn daemons<'a>(view: &'a View<'_>) -> impl Iterator<Item = &'a Workload> {
    let daemons = view.counted_workloads().filter(|w| w.kind == Kind::DaemonSet);
    daemons.filter(|d| is_agent(d) && d.observed())
}

/// Nodes that are lost or leaving: what does not run there is no fault of its own.
fn lost(view: &View<'_>) -> u32 {
    view.world.nodes.iter().filter(|n| !view.works(n)).count() as u32
}

fn agents(view: &View<'_>, out: &mut Readings) {
    for daemon in daemons(view) {
        let labels = labels![&daemon.meta.namespace, "DaemonSet", &daemon.meta.name];
        let (part, whole) =
            (u64::from(daemon.available.min(daemon.desired)), u64::from(daemon.desired));
        out.push_ratio(labels, part, whole);
    }
}

fn uncovered(view: &View<'_>, out: &mut Verdicts) {
    let lost = lost(view);
    for daemon in daemons(view) {
        if daemon.desired.saturating_sub(daemon.available) <= lost {
            continue;
        }
        let none = daemon.available == 0;
        let (reason, severity) = match none {
            true => ("none_available", Severity::Critical),
            false => ("short", Severity::Warning),
        };
        let told = format!(
            "available on {} of {} nodes, {lost} of which are lost or leaving",
            daemon.available, daemon.desired
        );
        let labels = labels![&daemon.meta.namespace, "DaemonSet", &daemon.meta.name, reason];
        let verdict = Verdict::new(View::reference(daemon).subject(), labels, reason, told);
        let dwell = if view.in_rollout(daemon) { ROLLED_OUT } else { 300 };
        out.push(verdict.severity(severity).dwell(dwell));
    }
}

/// Whether a collector lacks one replica for no longer than its rollout takes, or those on lost nodes.
fn patience(view: &View<'_>, collector: &Resource, mode: &str, missing: u32) -> Option<i64> {
    if mode == "daemonset" && missing <= lost(view) {
        return None;
    }
    let name = format!("{}-collector", collector.meta.name);
    let mut own = view
        .top_workloads()
        .filter(|w| w.meta.namespace == collector.meta.namespace && w.meta.name.as_str() == name);
    let rolls = missing == 1 && own.any(|w| view.in_rollout(w));
    Some(if rolls { ROLLED_OUT } else { 180 })
}

fn collectors(view: &View<'_>, out: &mut Verdicts) {
    for collector in view.resources(Kind::OpenTelemetryCollector) {
        if collector.meta.deleting.is_some() || !collector.observed() {
            continue;
        }
        let mode = match collector.body.text("spec.mode").as_str() {
            "statefulset" => "statefulset",
            "daemonset" => "daemonset",
            "sidecar" => "sidecar",
            _ => "deployment",
        };
        let mut tell = |reason, severity, since, dwell, told: String| {
            let labels = labels![&collector.meta.namespace, &collector.meta.name, mode, reason];
            let verdict = Verdict::new(Subject::of(collector), labels, reason, told);
            out.push(verdict.severity(severity).since(since).dwell(dwell));
        };
        if let Some(c) = collector.condition("Ready").filter(|c| c.status == Status::False) {
            tell("not_reconciled", Severity::Warning, c.since, 120, words(c));
        }
        // "ready/total", of which a sidecar has none.
        let replicas = collector.body.text("status.scale.statusReplicas");
        let Some((ready, total)) = replicas.split_once('/') else { continue };
        let (Ok(ready), Ok(total)) = (ready.trim().parse::<u32>(), total.trim().parse::<u32>())
        else {
            continue;
        };
        let missing = total.saturating_sub(ready);
        let patience = patience(view, collector, mode, missing).filter(|_| missing > 0);
        if let Some(dwell) = patience {
            let (reason, severity) = match ready {
                0 => ("none_ready", Severity::Critical),
                _ => ("too_few_ready", Severity::Warning),
            };
            tell(reason, severity, None, dwell, format!("{ready} of {total} replicas are ready"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{
        condition, deployment, judge, meta, objects, readings, reasons, resource, world,
    };
    use crate::model::record::{Meta, Node, Object};

    fn node(name: &str, status: Status) -> Object {
        let conditions = [condition("Ready", status, "", 900)].into();
        Node { meta: meta("", name, 9000), conditions, ..Node::default() }.into()
    }

    fn daemon(name: &str, available: u32) -> Workload {
        Workload { kind: Kind::DaemonSet, ..deployment(name, 4, available) }
    }

    #[test]
    fn a_collector_is_judged_by_its_replicas_not_by_being_reconciled() {
        let collector = |replicas: &str, ready: &str| {
            resource(
                Kind::OpenTelemetryCollector,
                "c",
                json!({"spec": {"mode": "deployment"}, "status": {
                "scale": {"statusReplicas": replicas}, "conditions": [{"type": "Ready", "status": ready}]}}),
            )
        };
        for (replicas, ready, expected) in [
            ("2/2", "True", vec![]),
            ("0/2", "True", vec!["none_ready"]),
            ("1/2", "True", vec!["too_few_ready"]),
            ("2/2", "False", vec!["not_reconciled"]),
            ("odd", "True", vec![]),
        ] {
            assert_eq!(
                reasons(&COLLECTOR, objects![collector(replicas, ready)]),
                expected,
                "{replicas}"
            );
        }
    }

    #[test]
    fn a_rollout_or_a_lost_node_is_no_fault_of_the_collector() {
        let look = |mode: &str, replicas: &str, more: Vec<Object>| {
            let manifest = json!({"spec": {"mode": mode},
                "status": {"scale": {"statusReplicas": replicas}}});
            let collector = resource(Kind::OpenTelemetryCollector, "c", manifest);
            let found = judge(&COLLECTOR, &world(&[], objects![collector].into_iter().chain(more)));
            found.first().map(|v| v.dwell.as_secs())
        };
        let rolling = || {
            let own = deployment("c-collector", 3, 2);
            objects![Workload { updated: 1, ..own }]
        };
        assert_eq!(look("deployment", "2/3", objects![]), Some(180));
        assert_eq!(look("deployment", "2/3", rolling()), Some(ROLLED_OUT));
        assert_eq!(look("deployment", "1/3", rolling()), Some(180), "more than a rollout takes");
        let lost = || vec![node("n1", Status::Unknown), node("n2", Status::True)];
        assert_eq!(look("daemonset", "1/2", lost()), None);
        assert_eq!(look("daemonset", "0/2", lost()), Some(180));
    }

    #[test]
    fn agents_are_known_by_name() {
        let shares = readings(&AGENTS, objects![daemon("fluent-bit", 3), daemon("kube-proxy", 3)]);
        assert_eq!((shares.len(), shares[0].value), (1, 0.75));
    }

    #[test]
    fn an_agent_must_be_on_every_node_that_works() {
        let look = |agent: Workload, status: Status| {
            let found = judge(
                &UNCOVERED,
                &world(&[], objects![agent].into_iter().chain([node("n1", status)])),
            );
            found.first().map(|v| (v.reason, v.severity, v.dwell.as_secs()))
        };
        let short = Some(("short", Severity::Warning, 300));
        assert_eq!(look(daemon("promtail", 3), Status::True), short);
        let none = Some(("none_available", Severity::Critical, 300));
        assert_eq!(look(daemon("promtail", 0), Status::True), none);
        let rolling = Workload { updated: 1, ..daemon("promtail", 3) };
        assert_eq!(look(rolling, Status::True).map(|v| v.2), Some(ROLLED_OUT));
        assert_eq!(look(daemon("promtail", 3), Status::False), None, "the node is lost");
        assert_eq!(look(daemon("promtail", 4), Status::True), None);
        assert_eq!(look(daemon("kube-proxy", 3), Status::True), None, "no log agent");
        let leaving = daemon("promtail", 0);
        let deleting = Some(crate::layers::fixtures::ago(0));
        let leaving = Workload { meta: Meta { deleting, ..leaving.meta.clone() }, ..leaving };
        assert_eq!(look(leaving, Status::True), None);
    }
}
