//! Does a node report, and what happens to its pods when it does not?

use serde_json::{Value, json};

use super::{Task, eviction, pods, scheduler};
use crate::sim::fields::{Condition, Fields, deleting, holds, set_condition};
use crate::sim::kind::Kind;
use crate::sim::moment::{MINUTE, Moment, SECOND, parse, stamp};
use crate::sim::recorder::Actor;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

/// A healthy kubelet writes the node's status this often (`nodeStatusReportFrequency`).
const REPORTS_EVERY: Moment = 5 * MINUTE;
/// `--node-monitor-grace-period`, counted from the last renewal of the node's lease.
const GRACE: Moment = 50 * SECOND;
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const COMPONENT: &str = "node-controller";

/// The conditions that a kubelet reports: type, reason and message when all is well.
pub(crate) const CONDITIONS: [(&str, &str, &str); 4] = [
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "KubeletReady", "kubelet is posting ready status"),
];

/// The kubelet writes its node's status. A silent one writes nothing until it is back.
pub(crate) fn heartbeat(sim: &mut Simulation, key: &Key) {
    let Some(node) = sim.store.get(Kind::Node, key).cloned() else { return };
    if sim.surroundings.lost(&key.name).is_some() {
        return;
    }
    let now = stamp(sim.now + sim.surroundings.skew(&key.name));
    let short = sim.surroundings.pressure(&key.name).map(|(resource, _)| eviction::words(resource));
    sim.store.update_status(Kind::Node, key, |node| {
        for (kind, reason, message) in CONDITIONS {
            let status = if kind == "Ready" { "True" } else { "False" };
            let well = Condition { kind, status, reason, message };
            let short = short.as_ref().filter(|words| words.condition == kind);
            let wanted = short.map_or(well, |words| Condition {
                kind,
                status: "True",
                reason: words.reason,
                message: words.message,
            });
            set_condition(node, wanted, &now, &[]);
        }
        let conditions = node.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
        for condition in conditions.into_iter().flatten() {
            condition["lastHeartbeatTime"] = json!(now);
        }
    });
    if !holds(&node, "Ready") {
        let text = format!("Node {} status is now: NodeReady", key.name);
        sim.normal(&node, Actor::Kubelet(key.name.clone()), "NodeReady", text);
    }
    if !node.items("spec/taints").is_empty() {
        sim.queue.push(sim.now + SECOND / 10, Task::Monitor(key.clone()));
    }
    // Each kubelet keeps its own rhythm, whatever time was skipped.
    let phase = sim.chance.of("heartbeat", &key.name).between(0, REPORTS_EVERY);
    let next = sim.now + REPORTS_EVERY - (sim.now - phase).rem_euclid(REPORTS_EVERY);
    sim.queue.push(next, Task::Heartbeat(key.clone()));
}

/// The node's kubelet falls silent; its containers may well go on.
pub(crate) fn lose(sim: &mut Simulation, key: &Key) {
    sim.surroundings.lose(&key.name, sim.now);
    let lag = sim.chance.of("monitor", &format!("{key}/{}", sim.now)).between(0, 5 * SECOND);
    sim.queue.push(sim.now + GRACE + lag, Task::Monitor(key.clone()));
}

/// The node's kubelet is back.
pub(crate) fn restore(sim: &mut Simulation, key: &Key) {
    sim.surroundings.restore(&key.name);
    sim.queue.push(sim.now + SECOND, Task::Heartbeat(key.clone()));
    for pod in sim.store.on_node(&key.name) {
        sim.queue.push(sim.now + SECOND, Task::Sync(pod));
    }
}

/// The node controllers look at a node: first it turns Unknown, then it is tainted, and untainted when it is back.
pub(crate) fn monitor(sim: &mut Simulation, key: &Key) {
    let Some(node) = sim.store.get(Kind::Node, key).cloned() else { return };
    let again = Task::Monitor(key.clone());
    match sim.surroundings.lost(&key.name) {
        None if holds(&node, "Ready") => untaint(sim, key),
        None => {}
        Some(since) if since + GRACE > sim.now => sim.queue.push(since + GRACE, again),
        Some(_) if holds(&node, "Ready") => {
            declare_unknown(sim, key);
            sim.queue.push(sim.now + 100, again);
        }
        Some(_) if !tainted(&node, "NoSchedule") => {
            taint(sim, key, "NoSchedule");
            sim.queue.push(sim.now + 300, again);
        }
        Some(_) if !tainted(&node, "NoExecute") => {
            taint(sim, key, "NoExecute");
            for pod in sim.store.on_node(&key.name) {
                sim.queue.push(sim.now, Task::Evict(pod));
            }
        }
        Some(_) => {}
    }
}

fn declare_unknown(sim: &mut Simulation, key: &Key) {
    let now = sim.stamp();
    sim.store.update(Kind::Node, key, |node| {
        for (kind, ..) in CONDITIONS {
            let wanted = Condition {
                kind,
                status: "Unknown",
                reason: "NodeStatusUnknown",
                message: "Kubelet stopped posting node status.",
            };
            let heartbeat = heartbeat_of(node, kind);
            set_condition(node, wanted, &now, &[]);
            let all = node.items("status/conditions");
            if let Some(index) = all.iter().position(|c| c.text("type") == kind) {
                node.put(&format!("status/conditions/{index}/lastHeartbeatTime"), json!(heartbeat));
            }
        }
    });
    let Some(node) = sim.store.get(Kind::Node, key).cloned() else { return };
    let text = format!("Node {} status is now: NodeNotReady", key.name);
    sim.normal(&node, Actor::controller(COMPONENT), "NodeNotReady", text);
    for pod_key in sim.store.on_node(&key.name) {
        let Some(pod) = sim.store.get(Kind::Pod, &pod_key).cloned() else { continue };
        if !holds(&pod, "Ready") {
            continue;
        }
        let gone = Condition { kind: "Ready", status: "False", reason: "", message: "" };
        sim.store.update(Kind::Pod, &pod_key, |pod| {
            set_condition(pod, gone, &now, &[]);
        });
        let text = "Node is not ready".to_owned();
        sim.warning(&pod, Actor::controller(COMPONENT), "NodeNotReady", text);
    }
}

fn heartbeat_of(node: &Value, kind: &str) -> String {
    let found = crate::sim::fields::condition(node, kind);
    found.map_or("", |c| c.text("lastHeartbeatTime")).to_owned()
}

fn tainted(node: &Value, effect: &str) -> bool {
    let matches = |t: &Value| t.text("key") == UNREACHABLE && t.text("effect") == effect;
    node.items("spec/taints").iter().any(matches)
}

fn taint(sim: &mut Simulation, key: &Key, effect: &str) {
    let now = sim.stamp();
    sim.store.update(Kind::Node, key, |node| {
        let mut taints = node.items("spec/taints").to_vec();
        taints.push(json!({"key": UNREACHABLE, "effect": effect, "timeAdded": now}));
        node.put("spec/taints", Value::Array(taints));
    });
}

fn untaint(sim: &mut Simulation, key: &Key) {
    let changed = sim.store.update(Kind::Node, key, |node| {
        let mut taints = node.items("spec/taints").to_vec();
        taints.retain(|t| t.text("key") != UNREACHABLE);
        if taints.is_empty() {
            node.drop_field("spec/taints");
        } else {
            node.put("spec/taints", Value::Array(taints));
        }
    });
    if changed {
        scheduler::room_changed(sim);
    }
}

/// A pod was bound to a node that may be tainted already.
pub(crate) fn pod_bound(sim: &mut Simulation, key: &Key, pod: &Value) {
    let node = Key::cluster(pod.text("spec/nodeName"));
    if sim.store.get(Kind::Node, &node).is_some_and(|n| tainted(n, "NoExecute")) {
        sim.queue.push(sim.now, Task::Evict(key.clone()));
    }
}

/// The taint eviction controller looks at a pod: it goes when it has tolerated the taint for long enough.
pub(crate) fn evict(sim: &mut Simulation, key: &Key) {
    let Some(pod) = sim.store.get(Kind::Pod, key).cloned() else { return };
    let node = Key::cluster(pod.text("spec/nodeName"));
    let Some(node) = sim.store.get(Kind::Node, &node) else { return };
    let is_ours = |t: &&Value| t.text("key") == UNREACHABLE && t.text("effect") == "NoExecute";
    let Some(taint) = node.items("spec/taints").iter().find(is_ours) else { return };
    if deleting(&pod) || pods::finished(&pod) {
        return;
    }
    let tolerated = pod.items("spec/tolerations").iter().find(|t| t.text("key") == UNREACHABLE);
    let patience = match tolerated {
        None => 0,
        Some(toleration) => match toleration.at("tolerationSeconds").and_then(Value::as_i64) {
            None => return,
            Some(seconds) => seconds * SECOND,
        },
    };
    let due = parse(taint.text("timeAdded")).unwrap_or(sim.now) + patience;
    if due > sim.now {
        sim.queue.push(due, Task::Evict(key.clone()));
        return;
    }
    let now = sim.stamp();
    let target = Condition {
        kind: "DisruptionTarget",
        status: "True",
        reason: "DeletionByTaintManager",
        message: "Taint manager: deleting due to NoExecute taint",
    };
    sim.store.update(Kind::Pod, key, |pod| {
        set_condition(pod, target, &now, &[]);
    });
    let text = format!("Marking for deletion Pod {key}");
    sim.normal(&pod, Actor::controller("taint-eviction-controller"), "TaintManagerEviction", text);
    sim.delete(Kind::Pod, key);
}
