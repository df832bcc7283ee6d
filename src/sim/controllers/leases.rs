//! Who renews which lease? Kubelets, leaders of controllers, the control plane.
//!
//! Renewals are not written: whoever reads a lease is shown when its holder renewed it last ([`shown`]). What is
//! written is the end of a holder and the next one. Rhythms and durations are those of the kubelet
//! (`nodeLeaseDurationSeconds` 40, a renewal every quarter of it), of client-go's leader election (15 s, every 2 s) and
//! of the API server's identity (3600 s, every 10 s).

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Task;
use super::control::Part;
use crate::sim::fields::{Fields, deleting};
use crate::sim::kind::Kind;
use crate::sim::moment::{Moment, SECOND, micro_stamp, parse};
use crate::sim::simulation::Simulation;
use crate::sim::store::{Key, Verb};
use crate::sim::surroundings::Conduct;

const NODES: &str = "kube-node-lease";
const NODE_LASTS: i64 = 40;
const NODE_EVERY: Moment = 10 * SECOND;
const LEADER_LASTS: i64 = 15;
const LEADER_EVERY: Moment = 2 * SECOND;
/// How long a follower takes to notice that the leader's lease is over.
const NOTICE: Moment = LEADER_LASTS * SECOND + 2 * SECOND;
const IDENTITY: &str = "apiserver.kubernetes.io/identity";

/// Leader leases of controllers that run as pods: where, which, and the app whose pods compete for it.
const LEADERS: &[(&str, &str, &str)] = &[
    // Sidecars name their lease after the driver, in their own ways.
    ("kube-system", "block-csi-example", "kube-system/block-csi-controller"),
    (
        "kube-system",
        "external-attacher-leader-block-csi-example",
        "kube-system/block-csi-controller",
    ),
    ("kube-system", "external-resizer-block-csi-example", "kube-system/block-csi-controller"),
    ("platform", "gateway-leader", "platform/gateway"),
];

/// Leases whose holder has ended, and when it renewed them last.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    ended: BTreeMap<Key, Moment>,
}

fn key_of(part: Part) -> Key {
    Key::new("kube-system", part.name())
}

/// Makes the leases of the control plane.
pub(crate) fn found(sim: &mut Simulation) {
    for part in [Part::ControllerManager, Part::Scheduler] {
        let holder = format!("control-a_{}", sim.chance.of("holder", part.name()).uuid());
        make(sim, &key_of(part), &holder, LEADER_LASTS);
    }
    let bits = sim.chance.of("identity", "apiserver").bits();
    let key = Key::new("kube-system", format!("apiserver-{bits:016x}"));
    let holder = format!("{}_{}", key.name, sim.chance.of("holder", &key.name).uuid());
    make(sim, &key, &holder, 3600);
    sim.store.update(Kind::Lease, &key, |lease| {
        lease.put("metadata/labels", json!({IDENTITY: "kube-apiserver"}));
    });
}

fn make(sim: &mut Simulation, key: &Key, holder: &str, lasts: i64) {
    let now = micro_stamp(sim.now);
    let mut spec =
        json!({"holderIdentity": holder, "leaseDurationSeconds": lasts, "renewTime": now});
    if key.ns != NODES {
        spec.put("acquireTime", json!(now));
        spec.put("leaseTransitions", json!(0));
    }
    sim.create(
        Kind::Lease,
        json!({"metadata": {"name": key.name, "namespace": key.ns}, "spec": spec}),
    );
}

/// A node came or went, and with it its lease.
pub(super) fn node_changed(sim: &mut Simulation, verb: Verb, node: &str) {
    let key = Key::new(NODES, node);
    match verb {
        Verb::Added => make(sim, &key, node, NODE_LASTS),
        Verb::Deleted => sim.delete(Kind::Lease, &key),
        Verb::Modified => {}
    }
}

/// A pod changed whose app may hold leases.
pub(super) fn pod_changed(sim: &mut Simulation, pod: &Key, app: &str) {
    for (ns, name, holder) in LEADERS {
        if holder.strip_prefix(&*pod.ns).and_then(|rest| rest.strip_prefix('/')) == Some(app) {
            sim.queue.push(sim.now + SECOND, Task::Reconcile(Kind::Lease, Key::new(*ns, *name)));
        }
    }
}

/// A part of the control plane stopped or came back under a new identity.
pub(super) fn part_changed(sim: &mut Simulation, part: Part) {
    let key = key_of(part);
    if sim.memories.control.down(part).is_some() {
        end(sim, &key);
        return;
    }
    let thing = format!("{}/{}", part.name(), sim.now);
    let holder = format!("control-a_{}", sim.chance.of("holder", &thing).uuid());
    acquire(sim, &key, &holder);
}

/// Looks whether a leader lives, and has another take over where it does not.
pub(crate) fn reconcile(sim: &mut Simulation, key: &Key) {
    let row = LEADERS.iter().find(|(ns, name, _)| *ns == key.ns && *name == key.name);
    let Some((ns, app)) = row.and_then(|(.., app)| app.split_once('/')) else { return };
    let living: Vec<String> = sim
        .store
        .list(Kind::Pod, Some(ns))
        .filter(|(_, pod)| pod.label("app") == app && lives(sim, pod))
        .map(|(key, _)| key.name.clone())
        .collect();
    let Some(lease) = sim.store.get(Kind::Lease, key) else {
        if let Some(first) = living.first() {
            make(sim, key, first, LEADER_LASTS);
        }
        return;
    };
    if living.iter().any(|name| name == lease.text("spec/holderIdentity")) {
        sim.memories.leases.ended.remove(key);
        return;
    }
    let ended = match sim.memories.leases.ended.get(key) {
        Some(at) => *at,
        None => end(sim, key),
    };
    let Some(next) = living.into_iter().next() else { return };
    if ended + NOTICE > sim.now {
        sim.queue.push(ended + NOTICE, Task::Reconcile(Kind::Lease, key.clone()));
    } else {
        acquire(sim, key, &next);
    }
}

/// Whether a pod's process can renew a lease.
fn lives(sim: &Simulation, pod: &Value) -> bool {
    let image = pod.text("spec/containers/0/image");
    pod.at("status/containerStatuses/0/state/running").is_some()
        && !deleting(pod)
        && sim.surroundings.lost(pod.text("spec/nodeName")).is_none()
        && sim.surroundings.conduct(pod, image) != Conduct::Hangs
}

fn end(sim: &mut Simulation, key: &Key) -> Moment {
    let renewed = rhythm(sim, key, LEADER_EVERY, sim.now);
    sim.memories.leases.ended.insert(key.clone(), renewed);
    sim.store.update(Kind::Lease, key, |lease| {
        lease.put("spec/renewTime", json!(micro_stamp(renewed)));
    });
    renewed
}

fn acquire(sim: &mut Simulation, key: &Key, holder: &str) {
    sim.memories.leases.ended.remove(key);
    let now = micro_stamp(sim.now);
    sim.store.update(Kind::Lease, key, |lease| {
        lease.put("spec/holderIdentity", json!(holder));
        lease.put("spec/acquireTime", json!(now));
        lease.put("spec/renewTime", json!(now));
        lease.put("spec/leaseTransitions", json!(lease.int("spec/leaseTransitions") + 1));
    });
}

/// The last of the moments at which something happens every so often.
fn rhythm(sim: &Simulation, key: &Key, every: Moment, now: Moment) -> Moment {
    let phase = sim.chance.of("renewal", &key.to_string()).between(0, every);
    now - (now - phase).rem_euclid(every)
}

/// The node on which a lease's holder runs; empty for the control plane.
fn machine_of(sim: &Simulation, lease: &Key, object: &Value) -> String {
    if lease.ns == NODES {
        return lease.name.clone();
    }
    let pod = Key::new(lease.ns.as_str(), object.text("spec/holderIdentity"));
    sim.store.get(Kind::Pod, &pod).map_or("", |pod| pod.text("spec/nodeName")).to_owned()
}

/// The lease as a reader sees it: renewed, if its holder lives.
pub(crate) fn shown<'a>(sim: &Simulation, lease: &'a Value) -> Cow<'a, Value> {
    let key = Key::of(lease);
    if sim.memories.leases.ended.contains_key(&key) {
        return Cow::Borrowed(lease);
    }
    let renewed = if key.ns == NODES {
        // A machine that is back renews within its rhythm.
        rhythm(sim, &key, NODE_EVERY, sim.surroundings.lost(&key.name).unwrap_or(sim.now))
    } else if lease.label(IDENTITY).is_empty() {
        rhythm(sim, &key, LEADER_EVERY, sim.now)
    } else {
        rhythm(sim, &key, NODE_EVERY, sim.now)
    };
    // A holder writes what the clock of its machine says.
    let skew = sim.surroundings.skew(&machine_of(sim, &key, lease));
    let renewed = renewed + skew;
    let written = parse(lease.text("spec/renewTime"));
    if skew == 0 && written.is_some_and(|written| written >= renewed) {
        return Cow::Borrowed(lease);
    }
    let mut lease = lease.clone();
    lease.put("spec/renewTime", json!(micro_stamp(renewed)));
    Cow::Owned(lease)
}
