//! Are the monitoring systems themselves well, as their operators say?

use crate::labels;
use crate::layers::conditions::words;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Resource, Status};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::value::Value;
use crate::model::view::View;

pub(super) static UNHEALTHY: Signal = Signal {
    block: "S4.4",
    name: "observability_prometheus_stack_unhealthy",
    layer: Layer::Observability,
    help: "Prometheus servers, agents, Alertmanagers and Thanos Rulers of the Prometheus operator that are not available \
           or not reconciled, and those paused for a day. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "kind", "name", "reason"],
    reasons: &["unavailable", "degraded", "not_reconciled", "paused"],
    bound: "servers × 4 reasons",
    needs: &[],
    uses: &[Kind::Prometheus, Kind::PrometheusAgent, Kind::Alertmanager, Kind::ThanosRuler],
    profile: Profile::None,
    read: Read::Rule(unhealthy),
};

pub(super) static LOKI: Signal = Signal {
    block: "S4.6",
    name: "observability_loki_unhealthy",
    layer: Layer::Observability,
    help: "LokiStacks that failed or are degraded, and parts of Loki, by its Helm labels, without an available pod; fewer \
           than two thirds of ingesters cannot take logs. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "component", "reason"],
    reasons: &["failed", "degraded", "down", "quorum"],
    bound: "Loki's parts × 4 reasons",
    needs: &[],
    uses: &[Kind::LokiStack, Kind::StatefulSet, Kind::Deployment],
    profile: Profile::None,
    read: Read::Rule(loki),
};

/// How the parts of Loki begin without which logs are still taken and read.
const SPARE: &[&str] = &["canary", "memcached", "results-cache", "chunks-cache"];

/// Seconds that a part of Loki may take to start.
const START: i64 = 600;

fn unhealthy(view: &View<'_>, out: &mut Verdicts) {
    // One without replicas is not meant to be available.
    let meant =
        |s: &&Resource| s.meta.deleting.is_none() && s.body.number("spec.replicas") != Some(0.0);
    for server in view.resources_of(UNHEALTHY.uses).filter(meant) {
        let mut tell = |reason, severity, since, dwell, told: String| {
            let labels =
                labels![&server.meta.namespace, server.kind.name(), &server.meta.name, reason];
            let verdict = Verdict::new(Subject::of(server), labels, reason, told);
            out.push(verdict.severity(severity).since(since).dwell(dwell));
        };
        if server.body.is_true("spec.paused") {
            let told = "paused: changes have no effect".to_owned();
            tell("paused", Severity::Info, None, 86_400, told);
        }
        // The status may be `Degraded` besides the usual three, which is read as unknown.
        let available = server.condition("Available").filter(|c| c.status != Status::True);
        if let Some(c) = available {
            let (reason, severity, dwell) = match c.status {
                Status::False => ("unavailable", Severity::Critical, 180),
                // As long as one of its pods may take to come back.
                _ => ("degraded", Severity::Warning, 300),
            };
            tell(reason, severity, c.since, dwell, words(c));
        }
        let reconciled = server.condition("Reconciled").filter(|c| c.status == Status::False);
        if let Some(c) = reconciled.filter(|_| !server.body.is_true("spec.paused")) {
            tell("not_reconciled", Severity::Warning, c.since, 300, words(c));
        }
    }
}

fn loki(view: &View<'_>, out: &mut Verdicts) {
    for stack in view.resources(Kind::LokiStack).filter(|s| s.meta.deleting.is_none()) {
        for (kind, reason, severity) in
            [("Failed", "failed", Severity::Critical), ("Degraded", "degraded", Severity::Warning)]
        {
            if let Some(c) = stack.condition(kind).filter(|c| c.status == Status::True) {
                let labels = labels![&stack.meta.namespace, "stack", reason];
                let verdict = Verdict::new(Subject::of(stack), labels, reason, words(c));
                out.push(verdict.severity(severity).since(c.since).dwell(120));
            }
        }
        let (ready, all) = ingesters(stack.body.at("status.components.ingester"));
        if all > 0 && ready * 3 < all * 2 {
            let told = format!("{ready} of {all} ingesters are ready: logs are refused");
            let labels = labels![&stack.meta.namespace, "ingester", "quorum"];
            let verdict = Verdict::new(Subject::of(stack), labels, "quorum", told);
            out.push(verdict.severity(Severity::Critical).dwell(120));
        }
    }
    for workload in view.counted_workloads().filter(|w| w.available == 0 && w.observed()) {
        let label = |key: &str| workload.meta.labels.value(key);
        let of_stack = workload.meta.owner.as_deref().is_some_and(|o| o.kind == "LokiStack");
        if label("app.kubernetes.io/name") != "loki" || of_stack {
            continue;
        }
        let component = match label("app.kubernetes.io/component") {
            "" => "loki",
            component => component,
        };
        let told = format!("0 of {} pods of Loki's {component} are available", workload.desired);
        let labels = labels![&workload.meta.namespace, component, "down"];
        let subject = View::reference(workload).subject();
        let verdict = Verdict::new(subject, labels, "down", told);
        let spare = SPARE.iter().any(|begin| component.starts_with(begin));
        let severity = if spare { Severity::Warning } else { Severity::Critical };
        // Loki reads its log of writes again before it is ready.
        let young = view.is_younger(workload.meta.created, START);
        let dwell = if young || view.in_rollout(workload) { START } else { 120 };
        out.push(verdict.severity(severity).dwell(dwell));
    }
}

/// How many ingesters are ready, of how many: the operator lists pods by their state.
fn ingesters(states: &Value) -> (usize, usize) {
    let count = |state: &Value| state.items("").len();
    let states = states.entries("");
    let ready =
        states.iter().filter(|(state, _)| state == "Ready").map(|(_, pods)| count(pods)).sum();
    (ready, states.iter().map(|(_, pods)| count(pods)).sum())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{deployment, judge, objects, reasons, resource, world};
    use crate::model::record::{Labelled, Meta, Workload};

    #[test]
    fn a_server_is_read_with_its_fourth_status() {
        let server = |kind: &str, status: &str| {
            resource(
                Kind::Prometheus,
                "main",
                json!({"status": {"conditions": [{"type": kind, "status": status}]}}),
            )
        };
        for (kind, status, expected) in [
            ("Available", "True", vec![]),
            ("Available", "False", vec!["unavailable"]),
            ("Available", "Degraded", vec!["degraded"]),
            ("Reconciled", "False", vec!["not_reconciled"]),
        ] {
            assert_eq!(
                reasons(&UNHEALTHY, objects![server(kind, status)]),
                expected,
                "{kind} {status}"
            );
        }
        let paused = |kind: &str, replicas: u32| {
            let conditions = json!([{"type": kind, "status": "False"}]);
            let manifest = json!({
                "spec": {"paused": true, "replicas": replicas},
                "status": {"conditions": conditions},
            });
            reasons(&UNHEALTHY, objects![resource(Kind::Alertmanager, "main", manifest)])
        };
        assert_eq!(paused("Reconciled", 1), ["paused"], "by intention");
        assert_eq!(paused("Available", 1), ["paused", "unavailable"]);
        assert!(paused("Available", 0).is_empty(), "none is meant to run");
    }

    #[test]
    fn loki_is_told_by_stack_and_by_part() {
        let stack = |kind: &str, ready: &[&str], pending: &[&str]| {
            resource(
                Kind::LokiStack,
                "logs",
                json!({"status": {
                "conditions": [{"type": kind, "status": "True", "reason": "R"}],
                "components": {"ingester": {"Ready": ready, "Pending": pending}}}}),
            )
        };
        assert!(reasons(&LOKI, objects![stack("Ready", &["a", "b"], &["c"])]).is_empty());
        assert_eq!(reasons(&LOKI, objects![stack("Degraded", &["a", "b"], &[])]), ["degraded"]);
        assert_eq!(reasons(&LOKI, objects![stack("Pending", &["a"], &["b", "c"])]), ["quorum"]);
        let part = |component: &str, updated| {
            let base = deployment("loki-x", 2, 0);
            let labels = Labelled::from([
                ("app.kubernetes.io/component", component),
                ("app.kubernetes.io/name", "loki"),
            ]);
            let part = Workload { updated, meta: Meta { labels, ..base.meta.clone() }, ..base };
            let found = judge(&LOKI, &world(&[], objects![part]));
            (found[0].reason, found[0].severity, found[0].dwell.as_secs())
        };
        assert_eq!(part("read", 2), ("down", Severity::Critical, 120));
        assert_eq!(part("memcached-chunks-cache", 2), ("down", Severity::Warning, 120));
        assert_eq!(part("read", 1), ("down", Severity::Critical, 600), "in a rollout");
    }
}
