//! What does a kubelet do when its node runs out of memory or disk? As `pkg/kubelet/eviction`: a condition, and one pod
//! after the other until there is enough again; the node controller's taint keeps new ones away.

use serde_json::{Value, json};

use super::{Task, scheduler};
use crate::sim::fields::{Condition, Fields, deleting, set_condition};
use crate::sim::kind::Kind;
use crate::sim::moment::{Moment, SECOND};
use crate::sim::recorder::Actor;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;
use crate::sim::surroundings::Resource;

/// `monitoringInterval` of the eviction manager.
const EVERY: Moment = 10 * SECOND;

/// What a resource is called by: the condition, its reason, the event, the taint, and the resource itself.
pub(super) struct Words {
    pub(super) condition: &'static str,
    pub(super) reason: &'static str,
    pub(super) message: &'static str,
    taint: &'static str,
    resource: &'static str,
}

pub(super) const fn words(resource: Resource) -> Words {
    match resource {
        Resource::Memory => Words {
            condition: "MemoryPressure",
            reason: "KubeletHasInsufficientMemory",
            message: "kubelet has insufficient memory available",
            taint: "node.kubernetes.io/memory-pressure",
            resource: "memory",
        },
        Resource::Disk => Words {
            condition: "DiskPressure",
            reason: "KubeletHasDiskPressure",
            message: "kubelet has disk pressure",
            taint: "node.kubernetes.io/disk-pressure",
            resource: "ephemeral-storage",
        },
    }
}

/// The node runs short of a resource until so many pods have gone, and stays short until [`relieve`].
pub(crate) fn press(sim: &mut Simulation, node: &Key, resource: Resource, victims: u32) {
    sim.surroundings.press(&node.name, resource, victims);
    sim.queue.push(sim.now + SECOND, Task::Heartbeat(node.clone()));
    sim.queue.push(sim.now + 2 * SECOND, Task::Reconcile(Kind::Node, node.clone()));
}

/// The node has enough again.
pub(crate) fn relieve(sim: &mut Simulation, node: &Key) {
    sim.surroundings.relieve(&node.name);
    sim.queue.push(sim.now + SECOND, Task::Heartbeat(node.clone()));
    sim.queue.push(sim.now + 2 * SECOND, Task::Reconcile(Kind::Node, node.clone()));
}

/// Taints the node by its pressure, and puts out the next pod.
pub(crate) fn reconcile(sim: &mut Simulation, key: &Key) {
    let Some(node) = sim.store.get(Kind::Node, key).cloned() else { return };
    let pressure = sim.surroundings.pressure(&key.name);
    taint(sim, key, pressure.map(|(resource, _)| words(resource).taint));
    let Some((resource, victims)) = pressure.filter(|(_, victims)| *victims > 0) else { return };
    let words = words(resource);
    let text = format!("Attempting to reclaim {}", words.resource);
    sim.warning(&node, Actor::Kubelet(key.name.clone()), "EvictionThresholdMet", text);
    if let Some(victim) = victim(sim, &key.name) {
        evict(sim, &victim, words.resource);
        sim.surroundings.press(&key.name, resource, victims - 1);
        sim.queue.push(sim.now + EVERY, Task::Reconcile(Kind::Node, key.clone()));
    }
}

fn taint(sim: &mut Simulation, key: &Key, wanted: Option<&str>) {
    let ours = [Resource::Memory, Resource::Disk].map(|r| words(r).taint);
    let now = sim.stamp();
    let changed = sim.store.update(Kind::Node, key, |node| {
        let before = node.items("spec/taints").to_vec();
        let mut taints = before.clone();
        taints.retain(|t| !ours.contains(&t.text("key")) || wanted == Some(t.text("key")));
        if let Some(wanted) = wanted.filter(|w| !taints.iter().any(|t| t.text("key") == *w)) {
            taints.push(json!({"key": wanted, "effect": "NoSchedule", "timeAdded": now}));
        }
        if taints.is_empty() {
            node.drop_field("spec/taints");
        } else if taints != before {
            node.put("spec/taints", Value::Array(taints));
        }
    });
    if changed && wanted.is_none() {
        scheduler::room_changed(sim);
    }
}

/// The pod that goes next: not one of the system's, which are critical.
fn victim(sim: &Simulation, node: &str) -> Option<Key> {
    let mut all = sim.store.on_node(node);
    all.retain(|key| {
        let pod = sim.store.get(Kind::Pod, key);
        let stays = pod.is_none_or(|p| {
            deleting(p) || p.text("status/phase") != "Running" || p.truth("spec/hostNetwork")
        });
        key.ns != "kube-system" && !stays
    });
    all.sort_by_cached_key(|key| sim.chance.of("victim", &key.to_string()).bits());
    all.into_iter().next()
}

fn evict(sim: &mut Simulation, key: &Key, resource: &str) {
    let Some(pod) = sim.store.get(Kind::Pod, key).cloned() else { return };
    let by = Actor::Kubelet(pod.text("spec/nodeName").to_owned());
    let name = pod.text("spec/containers/0/name");
    let request = pod.text("spec/containers/0/resources/requests/memory");
    let (threshold, left) = if resource == "memory" { ("100Mi", "61Mi") } else { ("20Gi", "17Gi") };
    let message = format!(
        "The node was low on resource: {resource}. Threshold quantity: {threshold}, available: {left}. Container {name} \
         was using more than its request of {request}, has larger consumption of {resource}. "
    );
    sim.warning(&pod, by, "Evicted", message.clone());
    let now = sim.stamp();
    let target = Condition {
        kind: "DisruptionTarget",
        status: "True",
        reason: "TerminationByKubelet",
        message: &message,
    };
    sim.store.update(Kind::Pod, key, |pod| {
        set_condition(pod, target, &now, &[]);
        for kind in ["Ready", "ContainersReady"] {
            let gone = Condition { kind, status: "False", reason: "PodFailed", message: "" };
            set_condition(pod, gone, &now, &[]);
        }
        pod.put("status/phase", json!("Failed"));
        pod.put("status/reason", json!("Evicted"));
        pod.put("status/message", json!(message));
        for index in 0..pod.items("status/containerStatuses").len() {
            let at = |field: &str| format!("status/containerStatuses/{index}/{field}");
            let started = pod.text(&at("state/running/startedAt")).to_owned();
            let ended = json!({"terminated": {
                "exitCode": 137, "reason": "Error", "startedAt": started, "finishedAt": now,
            }});
            pod.put(&at("state"), ended);
            pod.put(&at("ready"), json!(false));
            pod.put(&at("started"), json!(false));
        }
    });
    sim.kubelets.forget(key);
}
