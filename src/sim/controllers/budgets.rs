//! How many pods may be evicted? As kube-controller-manager's disruption controller reckons
//! (`pkg/controller/disruption`), and as the eviction subresource heeds it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{endpoints, pods};
use crate::sim::fields::{Condition, Fields, controller, deleting, judged, set_condition};
use crate::sim::kind::Kind;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

/// Writes the counts of a budget.
pub(crate) fn reconcile(sim: &mut Simulation, key: &Key) {
    let Some(budget) = sim.store.get(Kind::PodDisruptionBudget, key).cloned() else { return };
    let all: Vec<Arc<Value>> = sim
        .store
        .list(Kind::Pod, Some(&key.ns))
        .filter(|(_, pod)| covers(&budget, pod) && !pods::finished(pod))
        .map(|(_, pod)| Arc::clone(pod))
        .collect();
    let expected = expected(sim, &all);
    let healthy = all.iter().filter(|p| pods::ready(p) && !deleting(p)).count() as i64;
    let desired = match (budget.at("spec/minAvailable"), budget.at("spec/maxUnavailable")) {
        (Some(least), _) => amount(least, expected),
        (None, Some(most)) => (expected - amount(most, expected)).max(0),
        (None, None) => expected - 1,
    };
    let allowed = if expected == 0 { 0 } else { (healthy - desired).max(0) };
    let (status, reason) =
        if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let generation = budget.int("metadata/generation");
    let wanted = [Condition { kind: "DisruptionAllowed", status, reason, message: "" }];
    let conditions = judged(budget.items("status/conditions"), &wanted, generation, &sim.stamp());
    sim.store.update(Kind::PodDisruptionBudget, key, |budget| {
        budget.put("status/conditions", conditions);
        budget.put("status/currentHealthy", json!(healthy));
        budget.put("status/desiredHealthy", json!(desired));
        budget.put("status/disruptionsAllowed", json!(allowed));
        budget.put("status/expectedPods", json!(expected));
        budget.put("status/observedGeneration", json!(generation));
    });
}

/// Whether a budget is about a pod.
pub(super) fn covers(budget: &Value, pod: &Value) -> bool {
    endpoints::selects(budget.at("spec/selector/matchLabels"), pod.at("metadata/labels"))
}

/// A number, or a share of the expected pods, rounded up.
fn amount(value: &Value, expected: i64) -> i64 {
    let percent = value.as_str().and_then(|text| text.strip_suffix('%')?.parse::<i64>().ok());
    match percent {
        Some(percent) => (expected * percent + 99) / 100,
        None => value.as_i64().unwrap_or(0),
    }
}

/// What the controllers of the pods are scaled to.
fn expected(sim: &Simulation, all: &[Arc<Value>]) -> i64 {
    let mut scales: BTreeMap<String, i64> = BTreeMap::new();
    for pod in all {
        let Some(owner) = controller(pod) else { continue };
        let key = Key::new(pod.text("metadata/namespace"), owner.text("name"));
        let found = match owner.text("kind") {
            "ReplicaSet" => sim.store.get(Kind::ReplicaSet, &key).and_then(|set| {
                let top = Key::new(&key.ns, controller(set)?.text("name"));
                sim.store.get(Kind::Deployment, &top)
            }),
            "StatefulSet" => sim.store.get(Kind::StatefulSet, &key),
            _ => None,
        };
        if let Some(found) = found {
            scales.insert(found.text("metadata/uid").to_owned(), found.int("spec/replicas"));
        }
    }
    scales.values().sum()
}

/// Asks for a pod to be evicted; tells whether no budget forbids it. What is refused the API server answers with 429.
pub(crate) fn evict(sim: &mut Simulation, key: &Key) -> bool {
    let Some(pod) = sim.store.get(Kind::Pod, key).cloned() else { return true };
    if deleting(&pod) || pods::finished(&pod) {
        return true;
    }
    let budgets = sim.store.list(Kind::PodDisruptionBudget, Some(&key.ns));
    let mine: Vec<Key> = budgets.filter(|(_, b)| covers(b, &pod)).map(|(k, _)| k.clone()).collect();
    let allows = |k: &Key| {
        let budget = sim.store.get(Kind::PodDisruptionBudget, k);
        budget.is_none_or(|b| b.int("status/disruptionsAllowed") > 0)
    };
    if pods::ready(&pod) && !mine.iter().all(allows) {
        return false;
    }
    let now = sim.stamp();
    let target = Condition {
        kind: "DisruptionTarget",
        status: "True",
        reason: "EvictionByEvictionAPI",
        message: "Eviction API: evicting",
    };
    sim.store.update(Kind::Pod, key, |pod| {
        set_condition(pod, target, &now, &[]);
    });
    sim.delete(Kind::Pod, key);
    for budget in mine {
        reconcile(sim, &budget);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_up() {
        assert_eq!(amount(&json!("50%"), 3), 2);
        assert_eq!(amount(&json!(1), 3), 1);
    }
}
