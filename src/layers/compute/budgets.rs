//! Which disruption budgets stand in the way? Those that never allow a drain, and those that are short of pods.

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Resource, Status};
use crate::model::selector;
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::view::View;

pub(super) static BLOCKING: Signal = Signal {
    block: "S2.17",
    name: "compute_pdb_blocking",
    layer: Layer::Compute,
    help: "Disruption budgets that forbid every eviction by design (posture, until a node with their pods is cordoned \
           for 15 minutes), those short of healthy pods for 10, and those that cannot be reckoned. Budgets over no pods \
           do not count. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "poddisruptionbudget", "reason"],
    reasons: &["never_allows", "blocks_drain", "too_few_healthy", "sync_failed"],
    bound: "budgets × 4 reasons",
    needs: &[Kind::PodDisruptionBudget],
    uses: &[Kind::Pod, Kind::Node],
    profile: Profile::None,
    read: Read::Rule(blocking),
};

fn blocking(view: &View<'_>, out: &mut Verdicts) {
    let budgets = view.resources(Kind::PodDisruptionBudget);
    for budget in budgets.filter(|b| b.meta.deleting.is_none() && b.observed()) {
        let status = |field: &str| budget.body.count(&format!("status.{field}"));
        let (expected, desired) = (status("expectedPods"), status("desiredHealthy"));
        let (healthy, allowed) = (status("currentHealthy"), status("disruptionsAllowed"));
        let refused = budget.condition("DisruptionAllowed").filter(|c| c.status == Status::False);
        let broken = refused.filter(|c| c.reason == "SyncFailed");
        if broken.is_none() && (expected == 0 || allowed > 0) {
            continue;
        }
        let since = refused.and_then(|c| c.since);
        let mut tell = |reason, severity, since, dwell, told: String| {
            let labels = labels![&budget.meta.namespace, &budget.meta.name, reason];
            let verdict = Verdict::new(Subject::of(budget), labels, reason, told);
            out.push(verdict.severity(severity).since(since).dwell(dwell));
        };
        if let Some(condition) = broken {
            // The counts are those of the last time that it worked.
            let told =
                format!("cannot be reckoned, so no eviction is allowed: {}", condition.message);
            tell("sync_failed", Severity::Warning, since, 600, told);
        } else if healthy < desired {
            let told =
                format!("{healthy} of {desired} needed pods are healthy: no eviction is allowed");
            tell("too_few_healthy", Severity::Warning, since, 600, told);
        } else if desired >= expected {
            let told = format!("all of its {expected} pods must stay");
            if let Some(node) = cordoned(view, budget) {
                let told = format!("{told}: the drain of {node} cannot end");
                tell("blocks_drain", Severity::Warning, None, 900, told);
            } else {
                let told = format!("{told}: no node with one can be drained");
                tell("never_allows", Severity::Info, since, 600, told);
            }
        }
    }
}

/// A cordoned node with a pod of the budget.
fn cordoned(view: &View<'_>, budget: &Resource) -> Option<String> {
    let selected = budget.body.at("spec.selector");
    let mine = view
        .pods_in(&budget.meta.namespace)
        .filter(|pod| pod.meta.deleting.is_none() && selector::selects(selected, &pod.meta.labels));
    let mut nodes = mine.filter_map(|pod| view.world.nodes.get("", &pod.node));
    nodes.find(|node| node.unschedulable).map(|node| node.meta.name.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{judge, node, reasons, world};
    use super::*;
    use crate::layers::fixtures::{pod_of, resource};
    use crate::model::record::{Node, Object};

    fn budget(expected: u32, desired: u32, healthy: u32, allowed: u32) -> Object {
        let body = json!({
            "spec": {"selector": {"matchLabels": {"app": "web"}}},
            "status": {"expectedPods": expected, "desiredHealthy": desired, "currentHealthy": healthy,
                "disruptionsAllowed": allowed,
                "conditions": [{"type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods"}]},
        });
        Object::Resource(Box::new(resource(Kind::PodDisruptionBudget, "web", body)))
    }

    #[test]
    fn what_blocks_is_told_by_whether_somebody_wants_to_drain() {
        let cases = [
            (budget(3, 2, 3, 1), vec![]),
            (budget(0, 0, 0, 0), vec![]),
            (budget(3, 3, 3, 0), vec!["never_allows"]),
            (budget(3, 2, 1, 0), vec!["too_few_healthy"]),
            (budget(3, 2, 2, 0), vec![]),
        ];
        for (budget, expected) in cases {
            assert_eq!(reasons(&judge(&BLOCKING, &world([budget]))), expected);
        }
        let Object::Resource(mut broken) = budget(0, 0, 0, 0) else { unreachable!() };
        broken.conditions[0].reason = "SyncFailed".into();
        assert_eq!(reasons(&judge(&BLOCKING, &world([Object::Resource(broken)]))), ["sync_failed"]);
        let cordoned = Node { unschedulable: true, ..node("n1") };
        let drained = [
            budget(1, 1, 1, 0),
            Object::Node(Box::new(cordoned)),
            Object::Pod(Box::new(pod_of("web", "web-1"))),
        ];
        assert_eq!(reasons(&judge(&BLOCKING, &world(drained))), ["blocks_drain"]);
    }
}
