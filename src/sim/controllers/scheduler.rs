//! Which node does a pod get, and what is said when none fits?

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Task, attach, claims};
use crate::sim::fields::{Condition, Fields, controller, deleting, set_condition};
use crate::sim::kind::Kind;
use crate::sim::moment::{MINUTE, Moment, SECOND};
use crate::sim::recorder::Actor;
use crate::sim::simulation::Simulation;
use crate::sim::store::{Key, Verb};

/// `bindTimeoutSeconds` of the volume binding plugin.
const BIND_TIMEOUT: Moment = 10 * MINUTE;
/// Unschedulable pods are tried again after this time even if nothing changed.
const FLUSH: Moment = 5 * MINUTE;

/// What pods ask for and nodes offer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) milli_cpu: i64,
    pub(crate) memory: i64,
    pub(crate) pods: i64,
}

/// The scheduler's memory.
#[derive(Debug, Default)]
pub(crate) struct Scheduler {
    used: BTreeMap<String, Room>,
    charged: BTreeMap<Key, (String, Room)>,
    parked: BTreeMap<Key, Parked>,
}

/// A pod that found no node, or that waits for its volumes.
#[derive(Clone, Debug)]
struct Parked {
    attempts: u32,
    /// Since when volumes are awaited, and for which node.
    binding: Option<(Moment, String)>,
}

/// Why a node does not fit.
enum Refusal {
    /// Other pods could make room in principle.
    Full(&'static str),
    Unfit(&'static str),
}

/// Keeps the books when a pod changes.
pub(crate) fn account(sim: &mut Simulation, verb: Verb, key: &Key, pod: &Value) {
    let node = pod.text("spec/nodeName");
    let over = verb == Verb::Deleted || matches!(pod.text("status/phase"), "Succeeded" | "Failed");
    if over {
        sim.scheduler.parked.remove(key);
        if let Some((node, room)) = sim.scheduler.charged.remove(key) {
            sim.scheduler.charge(&node, room, -1);
            room_changed(sim);
        }
    } else if !node.is_empty() && !sim.scheduler.charged.contains_key(key) {
        let room = requests(pod);
        sim.scheduler.charge(node, room, 1);
        sim.scheduler.charged.insert(key.clone(), (node.to_owned(), room));
    }
}

/// A node came, went or recovered, or a pod made room: those without a node try again.
pub(crate) fn room_changed(sim: &mut Simulation) {
    for (key, parked) in &sim.scheduler.parked {
        if parked.binding.is_none() {
            let wait = (SECOND << parked.attempts.min(4)).min(10 * SECOND);
            sim.queue.push(sim.now + wait, Task::Schedule(key.clone()));
        }
    }
}

/// A claim changed: the pods that wait for it are looked at.
pub(crate) fn claim_changed(sim: &mut Simulation, claim: &Key) {
    let waiting: Vec<_> =
        sim.scheduler.parked.keys().filter(|k| k.ns == claim.ns).cloned().collect();
    for key in waiting {
        let uses =
            sim.store.get(Kind::Pod, &key).is_some_and(|p| attach::claims(p).any(|c| c == *claim));
        if uses {
            sim.queue.push(sim.now + SECOND / 10, Task::Schedule(key));
        }
    }
}

impl Scheduler {
    fn charge(&mut self, node: &str, room: Room, sign: i64) {
        let used = self.used.entry(node.to_owned()).or_default();
        used.milli_cpu += sign * room.milli_cpu;
        used.memory += sign * room.memory;
        used.pods += sign * room.pods;
    }
}

/// Looks at a pod without a node.
pub(crate) fn schedule(sim: &mut Simulation, key: &Key) {
    let Some(pod) = sim.store.get(Kind::Pod, key).cloned() else { return };
    if !pod.text("spec/nodeName").is_empty() || deleting(&pod) {
        return;
    }
    if let Some((since, node)) = sim.scheduler.parked.get(key).and_then(|p| p.binding.clone()) {
        await_binding(sim, key, &pod, since, &node);
        return;
    }
    if let Err(problem) = claims::ready_to_schedule(sim, &pod) {
        let total = sim.store.list(Kind::Node, None).count();
        // The plugin's own status text follows the list of nodes, which is empty here.
        fail(
            sim,
            key,
            &pod,
            "Unschedulable",
            format!("0/{total} nodes are available: {problem}. not found"),
        );
        return;
    }
    match choose(sim, &pod) {
        Ok(node) if claims::select_node(sim, &pod, &node) => {
            sim.store.update(Kind::Pod, key, |p| p.put("status/nominatedNodeName", json!(node)));
            let since = sim.now;
            park(sim, key).binding = Some((since, node));
            sim.queue.push(sim.now + BIND_TIMEOUT, Task::Schedule(key.clone()));
        }
        Ok(node) => bind(sim, key, &pod, &node),
        Err(message) => fail(sim, key, &pod, "Unschedulable", message),
    }
}

fn park<'a>(sim: &'a mut Simulation, key: &Key) -> &'a mut Parked {
    let new = Parked { attempts: 0, binding: None };
    sim.scheduler.parked.entry(key.clone()).or_insert(new)
}

/// A pod in `PreBind` shows nothing but its nominated node until its volumes are bound or the time is over.
fn await_binding(sim: &mut Simulation, key: &Key, pod: &Arc<Value>, since: Moment, node: &str) {
    if claims::all_bound(sim, pod) {
        sim.scheduler.parked.remove(key);
        bind(sim, key, pod, node);
    } else if sim.now - since >= BIND_TIMEOUT {
        park(sim, key).binding = None;
        sim.store.update(Kind::Pod, key, |p| p.drop_field("status/nominatedNodeName"));
        let text =
            "running PreBind plugin \"VolumeBinding\": binding volumes: context deadline exceeded";
        fail(sim, key, pod, "SchedulerError", text.to_owned());
    } else {
        sim.queue.push(since + BIND_TIMEOUT, Task::Schedule(key.clone()));
    }
}

fn bind(sim: &mut Simulation, key: &Key, pod: &Value, node: &str) {
    sim.scheduler.parked.remove(key);
    let now = sim.stamp();
    let bound = Condition { kind: "PodScheduled", status: "True", reason: "", message: "" };
    sim.store.update(Kind::Pod, key, |pod| {
        pod.put("spec/nodeName", json!(node));
        set_condition(pod, bound, &now, &[]);
    });
    // The books have to be right before the next pod is looked at.
    let room = requests(pod);
    if !sim.scheduler.charged.contains_key(key) {
        sim.scheduler.charge(node, room, 1);
        sim.scheduler.charged.insert(key.clone(), (node.to_owned(), room));
    }
    let text = format!("Successfully assigned {key} to {node}");
    sim.normal(pod, Actor::Scheduler, "Scheduled", text);
}

fn fail(sim: &mut Simulation, key: &Key, pod: &Value, reason: &str, message: String) {
    let now = sim.stamp();
    let refused = Condition { kind: "PodScheduled", status: "False", reason, message: &message };
    sim.store.update(Kind::Pod, key, |pod| {
        set_condition(pod, refused, &now, &[]);
    });
    park(sim, key).attempts += 1;
    sim.queue.push(sim.now + FLUSH, Task::Schedule(key.clone()));
    sim.warning(pod, Actor::Scheduler, "FailedScheduling", message);
}

/// The best node for the pod, or why there is none.
fn choose(sim: &Simulation, pod: &Value) -> Result<String, String> {
    let wanted = requests(pod);
    let pinned = claims::zones(sim, pod);
    let siblings = siblings(sim, pod);
    let mut best: Option<((i64, i64, i64, u64), String)> = None;
    let mut reasons: BTreeMap<&'static str, usize> = BTreeMap::new();
    let (mut total, mut full) = (0, 0);
    for (key, node) in sim.store.list(Kind::Node, None) {
        total += 1;
        let used = sim.scheduler.used.get(&key.name).copied().unwrap_or_default();
        match fits(pod, node, wanted, used, pinned.as_ref()) {
            Ok(()) => {
                let zone = node.label("topology.kubernetes.io/zone");
                let load = (used.milli_cpu + wanted.milli_cpu) * 1000
                    / quantity(node.text("status/allocatable/cpu"), true).max(1);
                let score = (
                    siblings.zones.get(zone).copied().unwrap_or(0),
                    siblings.nodes.get(&key.name).copied().unwrap_or(0),
                    load / 50,
                    sim.chance
                        .of("tie", &format!("{}{}", pod.text("metadata/uid"), key.name))
                        .bits(),
                );
                if best.as_ref().is_none_or(|(b, _)| score < *b) {
                    best = Some((score, key.name.clone()));
                }
            }
            Err(Refusal::Full(reason)) => {
                full += 1;
                *reasons.entry(reason).or_default() += 1;
            }
            Err(Refusal::Unfit(reason)) => *reasons.entry(reason).or_default() += 1,
        }
    }
    best.map(|(_, node)| node).ok_or_else(|| explain(total, full, &reasons))
}

/// `FitError.Error()` of the scheduler's framework, with what preemption adds.
fn explain(total: usize, full: usize, reasons: &BTreeMap<&str, usize>) -> String {
    if total == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let mut lines: Vec<_> = reasons.iter().map(|(r, n)| format!("{n} {r}")).collect();
    lines.sort();
    let hopeless = total - full;
    let mut preemption = Vec::new();
    if full > 0 {
        preemption.push(format!("{full} No preemption victims found for incoming pod"));
    }
    if hopeless > 0 {
        preemption.push(format!("{hopeless} Preemption is not helpful for scheduling"));
    }
    preemption.sort();
    format!(
        "0/{total} nodes are available: {}. preemption: 0/{total} nodes are available: {}.",
        lines.join(", "),
        preemption.join(", ")
    )
}

struct Siblings {
    nodes: BTreeMap<String, i64>,
    zones: BTreeMap<String, i64>,
}

/// Where the other pods of the same controller run: they are kept apart.
fn siblings(sim: &Simulation, pod: &Value) -> Siblings {
    let mut found = Siblings { nodes: BTreeMap::new(), zones: BTreeMap::new() };
    let Some(owner) = controller(pod).filter(|o| o.text("kind") != "DaemonSet") else {
        return found;
    };
    for sibling in sim.store.owned(owner.text("uid"), Kind::Pod) {
        let node = sibling.text("spec/nodeName");
        if node.is_empty() || deleting(&sibling) {
            continue;
        }
        *found.nodes.entry(node.to_owned()).or_default() += 1;
        let zone = sim.store.get(Kind::Node, &Key::cluster(node));
        let zone = zone.map_or("", |n| n.label("topology.kubernetes.io/zone"));
        *found.zones.entry(zone.to_owned()).or_default() += 1;
    }
    found
}

fn fits(
    pod: &Value,
    node: &Value,
    wanted: Room,
    used: Room,
    zones: Option<&BTreeSet<String>>,
) -> Result<(), Refusal> {
    let tolerations = pod.items("spec/tolerations");
    if node.truth("spec/unschedulable")
        && !tolerates(tolerations, "node.kubernetes.io/unschedulable", "NoSchedule")
    {
        return Err(Refusal::Unfit("node(s) were unschedulable"));
    }
    let wanted_node = pod.text(AFFINITY);
    if !wanted_node.is_empty() && wanted_node != node.text("metadata/name") {
        return Err(Refusal::Unfit("node(s) didn't match Pod's node affinity/selector"));
    }
    let untolerated = node.items("spec/taints").iter().any(|taint| {
        taint.text("effect") != "PreferNoSchedule"
            && !tolerates(tolerations, taint.text("key"), taint.text("effect"))
    });
    if untolerated {
        return Err(Refusal::Unfit("node(s) had untolerated taint(s)"));
    }
    if zones.is_some_and(|z| !z.contains(node.label("topology.kubernetes.io/zone"))) {
        return Err(Refusal::Unfit("node(s) didn't match PersistentVolume's node affinity"));
    }
    let offer = |path, milli| quantity(node.text(path), milli);
    let resources = [
        ("Too many pods", wanted.pods, used.pods, offer("status/allocatable/pods", false)),
        (
            "Insufficient cpu",
            wanted.milli_cpu,
            used.milli_cpu,
            offer("status/allocatable/cpu", true),
        ),
        (
            "Insufficient memory",
            wanted.memory,
            used.memory,
            offer("status/allocatable/memory", false),
        ),
    ];
    for (reason, wanted, used, offered) in resources {
        // A pod that is larger than the node cannot be helped by evicting others.
        if wanted > offered {
            return Err(Refusal::Unfit(reason));
        }
        if used + wanted > offered {
            return Err(Refusal::Full(reason));
        }
    }
    Ok(())
}

/// Where a DaemonSet's pod names its node.
pub(crate) const AFFINITY: &str = "spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/\
     nodeSelectorTerms/0/matchFields/0/values/0";

/// Whether one of the tolerations covers the taint. Only `Exists` is used here.
pub(crate) fn tolerates(tolerations: &[Value], key: &str, effect: &str) -> bool {
    tolerations.iter().any(|t| {
        let keys = t.text("key").is_empty() || t.text("key") == key;
        let effects = t.text("effect").is_empty() || t.text("effect") == effect;
        t.text("operator") == "Exists" && keys && effects
    })
}

/// What the pod's containers ask for together.
fn requests(pod: &Value) -> Room {
    let mut room = Room { pods: 1, ..Room::default() };
    for container in pod.items("spec/containers") {
        room.milli_cpu += quantity(container.text("resources/requests/cpu"), true);
        room.memory += quantity(container.text("resources/requests/memory"), false);
    }
    room
}

/// Reads the quantities that are written here: whole numbers with `m`, `Ki`, `Mi`, `Gi` or nothing after them.
pub(crate) fn quantity(text: &str, milli: bool) -> i64 {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: i64 = digits.parse().unwrap_or(0);
    let thousandths = match &text[digits.len()..] {
        "m" => number,
        "Ki" => number * 1024 * 1000,
        "Mi" => number * 1024 * 1024 * 1000,
        "Gi" => number * 1024 * 1024 * 1024 * 1000,
        _ => number * 1000,
    };
    if milli { thousandths } else { thousandths / 1000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_in_their_units() {
        assert_eq!(quantity("250m", true), 250);
        assert_eq!(quantity("8", true), 8000);
        assert_eq!(quantity("32Gi", false), 32 << 30);
        assert_eq!(quantity("110", false), 110);
        assert_eq!(quantity("", false), 0);
    }

    #[test]
    fn a_refusal_reads_like_the_schedulers() {
        let reasons =
            BTreeMap::from([("node(s) had untolerated taint(s)", 1), ("Insufficient cpu", 11)]);
        assert_eq!(
            explain(12, 11, &reasons),
            "0/12 nodes are available: 1 node(s) had untolerated taint(s), 11 Insufficient cpu. preemption: 0/12 nodes \
             are available: 1 Preemption is not helpful for scheduling, 11 No preemption victims found for incoming pod."
        );
    }
}
