//! Do logs and traces leave the nodes? Agents on every node, and OpenTelemetry Collectors.

use crate::labels;
use crate::layers::conditions::words;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::{Status, Workload};
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
    uses: &[],
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

fn is_agent(daemon: &Workload) -> bool {
    let label = daemon.meta.labels.value("app.kubernetes.io/name");
    let named = |name: &str| NAMES.iter().any(|n| name.contains(n)) || name.contains("otel");
    named(label) || named(&daemon.meta.name)
}

fn agents(view: &View<'_>, out: &mut Readings) {
    let mut daemons: Vec<&Workload> =
        view.world.daemon_sets.iter().filter(|d| is_agent(d)).collect();
    daemons
        .sort_by(|a, b| (&a.meta.namespace, &a.meta.name).cmp(&(&b.meta.namespace, &b.meta.name)));
    for daemon in daemons.into_iter().filter(|d| d.observed() && d.meta.deleting.is_none()) {
        let labels = labels![&daemon.meta.namespace, "DaemonSet", &daemon.meta.name];
        let (part, whole) =
            (u64::from(daemon.available.min(daemon.desired)), u64::from(daemon.desired));
        out.push_ratio(labels, part, whole);
    }
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
        if ready < total {
            let (reason, severity) = match ready {
                0 => ("none_ready", Severity::Critical),
                _ => ("too_few_ready", Severity::Warning),
            };
            tell(reason, severity, None, 180, format!("{ready} of {total} replicas are ready"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{deployment, objects, readings, reasons, resource};

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
    fn agents_are_known_by_name() {
        let daemon = |name: &str| Workload { kind: Kind::DaemonSet, ..deployment(name, 4, 3) };
        let shares = readings(&AGENTS, objects![daemon("fluent-bit"), daemon("kube-proxy")]);
        assert_eq!((shares.len(), shares[0].value), (1, 0.75));
    }
}
