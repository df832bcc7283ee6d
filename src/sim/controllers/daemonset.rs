//! Does each node run its pod of a DaemonSet?

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::scheduler::{AFFINITY, tolerates};
use super::{pods, quota, rollout};
use crate::sim::fields::{Fields, deleting};
use crate::sim::kind::Kind;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

const COMPONENT: &str = "daemonset-controller";
const REVISION: &str = "controller-revision-hash";

/// What the controller adds to every daemon pod: (key, effect).
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// Makes the pods that are missing, gives up those too many, replaces old ones, writes the counts.
pub(crate) fn reconcile(sim: &mut Simulation, key: &Key) {
    let Some(set) = sim.store.get(Kind::DaemonSet, key).cloned() else { return };
    let Some(template) = set.at("spec/template") else { return };
    let revision = rollout::revision(template);
    let template = complete(template, &revision);
    let nodes: Vec<_> = sim.store.list(Kind::Node, None).map(|(_, n)| Arc::clone(n)).collect();
    let eligible: Vec<_> = nodes
        .iter()
        .filter(|n| runs_on(&template, n))
        .map(|n| n.text("metadata/name").to_owned())
        .collect();
    let mut by_node: BTreeMap<String, Vec<Arc<Value>>> = BTreeMap::new();
    for pod in sim.store.owned(set.text("metadata/uid"), Kind::Pod) {
        by_node.entry(node_of(&pod).to_owned()).or_default().push(pod);
    }
    for node in &eligible {
        let mine = by_node.get(node).map_or(&[][..], Vec::as_slice);
        for pod in mine.iter().filter(|p| pods::finished(p)) {
            pods::delete(sim, &set, pod, COMPONENT);
        }
        if mine.is_empty()
            && pods::create_generated(sim, &set, &pinned(&template, node), COMPONENT).is_err()
        {
            quota::again(sim, Kind::DaemonSet, key);
        }
    }
    for (_, surplus) in by_node.iter().filter(|(node, _)| !eligible.contains(node)) {
        for pod in surplus.iter().filter(|p| pods::active(p)) {
            pods::delete(sim, &set, pod, COMPONENT);
        }
    }
    replace_old(sim, &set, &revision);
    write_status(sim, key, &eligible, &revision);
}

/// The template with the revision's label and the controller's tolerations.
fn complete(template: &Value, revision: &str) -> Value {
    let mut template = template.clone();
    let mut labels = template.at("metadata/labels").cloned().unwrap_or_else(|| json!({}));
    labels.put(REVISION, json!(revision));
    template.put("metadata/labels", labels);
    let mut tolerations = template.items("spec/tolerations").to_vec();
    tolerations.extend(
        TOLERATED.map(|(key, effect)| json!({"key": key, "operator": "Exists", "effect": effect})),
    );
    template.put("spec/tolerations", Value::Array(tolerations));
    template
}

fn pinned(template: &Value, node: &str) -> Value {
    let mut template = template.clone();
    template.put(
        "spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms",
        json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]),
    );
    template
}

fn node_of(pod: &Value) -> &str {
    let bound = pod.text("spec/nodeName");
    if bound.is_empty() { pod.text(AFFINITY) } else { bound }
}

/// A lost node keeps its daemon pods: the taints of the node controllers are tolerated.
fn runs_on(template: &Value, node: &Value) -> bool {
    let tolerations = template.items("spec/tolerations");
    node.items("spec/taints").iter().all(|taint| {
        let (key, effect) = (taint.text("key"), taint.text("effect"));
        effect == "PreferNoSchedule"
            || TOLERATED.iter().any(|(k, _)| *k == key)
            || tolerates(tolerations, key, effect)
    })
}

/// Replaces one pod of an old revision at a time, while all others are ready.
fn replace_old(sim: &mut Simulation, set: &Value, revision: &str) {
    let all = sim.store.owned(set.text("metadata/uid"), Kind::Pod);
    let stale = all.iter().find(|p| p.label(REVISION) != revision && !deleting(p));
    if let Some(pod) = stale
        && all.iter().all(|p| !deleting(p) && (pods::ready(p) || Arc::ptr_eq(p, pod)))
    {
        pods::delete(sim, set, pod, COMPONENT);
    }
}

fn write_status(sim: &mut Simulation, key: &Key, eligible: &[String], revision: &str) {
    let Some(set) = sim.store.get(Kind::DaemonSet, key).cloned() else { return };
    let all = sim.store.owned(set.text("metadata/uid"), Kind::Pod);
    let placed: Vec<_> = all
        .iter()
        .filter(|p| pods::active(p) && eligible.iter().any(|n| n == node_of(p)))
        .collect();
    let ready = placed.iter().filter(|p| pods::ready(p)).count();
    let updated = placed.iter().filter(|p| p.label(REVISION) == revision).count();
    let generation = set.int("metadata/generation");
    sim.store.update_status(Kind::DaemonSet, key, |set| {
        set.put("status/currentNumberScheduled", json!(placed.len()));
        set.put("status/numberMisscheduled", json!(0));
        set.put("status/desiredNumberScheduled", json!(eligible.len()));
        set.put("status/numberReady", json!(ready));
        set.put("status/observedGeneration", json!(generation));
        set.put_count("status/updatedNumberScheduled", updated);
        set.put_count("status/numberAvailable", ready);
        set.put_count("status/numberUnavailable", eligible.len() - ready.min(eligible.len()));
    });
}
