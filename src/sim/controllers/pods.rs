//! What do all controllers of pods share? How a pod is made from a template, and which pods count.

use std::cmp::Reverse;
use std::sync::Arc;

use serde_json::{Value, json};

use super::admission;
use crate::sim::fields::{Fields, deleting, holds, owner_reference};
use crate::sim::kind::Kind;
use crate::sim::recorder::Actor;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

/// A pod of `owner` from its template, as admission completes it.
pub(crate) fn from_template(owner: &Value, template: &Value, name: &str) -> Value {
    let mut pod = json!({
        "metadata": template.at("metadata").cloned().unwrap_or_else(|| json!({})),
        "spec": template.at("spec").cloned().unwrap_or_else(|| json!({})),
        "status": {"phase": "Pending", "qosClass": "Burstable"},
    });
    pod.put("metadata/name", json!(name));
    pod.put("metadata/namespace", json!(owner.text("metadata/namespace")));
    pod.put("metadata/ownerReferences", json!([owner_reference(owner)]));
    let mut tolerations = pod.items("spec/tolerations").to_vec();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        if !tolerations.iter().any(|t| t.text("key") == key) {
            tolerations.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300,
            }));
        }
    }
    pod.put("spec/tolerations", Value::Array(tolerations));
    pod
}

/// Makes a pod with a generated name and reports it on behalf of `component`; the error is the API server's refusal,
/// reported as well.
pub(crate) fn create_generated(
    sim: &mut Simulation,
    owner: &Value,
    template: &Value,
    component: &str,
) -> Result<(), String> {
    let prefix = owner.text("metadata/name");
    let thing = format!("{}/{}", owner.text("metadata/uid"), sim.store.version());
    let name = format!("{prefix}-{}", sim.chance.of("name", &thing).letters(5));
    let mut pod = from_template(owner, template, &name);
    pod.put("metadata/generateName", json!(format!("{prefix}-")));
    if let Some(refusal) = admission::refusal(sim, &pod) {
        let text = format!("Error creating: {refusal}");
        sim.warning(owner, Actor::controller(component), "FailedCreate", text);
        return Err(refusal);
    }
    sim.create(Kind::Pod, pod);
    sim.normal(
        owner,
        Actor::controller(component),
        "SuccessfulCreate",
        format!("Created pod: {name}"),
    );
    Ok(())
}

/// Deletes a pod and reports it on behalf of `component`.
pub(crate) fn delete(sim: &mut Simulation, owner: &Value, pod: &Value, component: &str) {
    let key = Key::of(pod);
    sim.delete(Kind::Pod, &key);
    let text = format!("Deleted pod: {}", key.name);
    sim.normal(owner, Actor::controller(component), "SuccessfulDelete", text);
}

/// Whether the pod ran to its end.
pub(crate) fn finished(pod: &Value) -> bool {
    matches!(pod.text("status/phase"), "Succeeded" | "Failed")
}

/// Whether the pod counts as one of its controller's.
pub(crate) fn active(pod: &Value) -> bool {
    !finished(pod) && !deleting(pod)
}

/// Whether the pod is ready. `minReadySeconds` is 0 everywhere here, so ready is available.
pub(crate) fn ready(pod: &Value) -> bool {
    holds(pod, "Ready")
}

/// Sorts pods so that those a ReplicaSet gives up first come first: without a node, pending, not ready, younger.
pub(crate) fn rank_for_deletion(pods: &mut [Arc<Value>]) {
    pods.sort_by_cached_key(|pod| {
        (
            !pod.text("spec/nodeName").is_empty(),
            pod.text("status/phase") != "Pending",
            ready(pod),
            Reverse(pod.text("metadata/creationTimestamp").to_owned()),
            pod.text("metadata/name").to_owned(),
        )
    });
}
