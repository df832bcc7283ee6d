//! Who renews which lease? Kubelets, leaders of controllers, the control plane.
//!
//! Renewals are not written: whoever reads a lease is shown when its holder renewed it last ([`shown`]). What is
//! written is the end of a holder and the next one. Rhythms and durations are those of the kubelet
//! (`nodeLeaseDurationSeconds` 40, a renewal every quarter of it), of client-go's leader election (15 s, every 2 s, where
//! a controller has none of its own) and of the API server's identity (3600 s, every 10 s).

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
const IDENTITY: &str = "apiserver.kubernetes.io/identity";
/// What stays in a lease that was given back (client-go's `release`).
const GIVEN_BACK_LASTS: i64 = 1;

/// A lease for which pods compete.
#[derive(Debug)]
struct Seat {
    ns: &'static str,
    name: &'static str,
    /// Namespace and app of the pods.
    app: (&'static str, &'static str),
    /// What a pod calls itself.
    calls: Calls,
    lasts: i64,
    every: Moment,
    /// Whether a leader that is told to end gives the lease back (`ReleaseOnCancel`).
    gives_back: bool,
}

/// What a pod calls itself when it competes for a lease.
#[derive(Clone, Copy, Debug)]
enum Calls {
    /// By its name.
    Name,
    /// With this behind its name.
    Suffix(&'static str),
    /// With something random behind its name, as controller-runtime does it.
    Random,
}

const fn sidecar(name: &'static str) -> Seat {
    Seat {
        ns: "kube-system",
        name,
        app: ("kube-system", "block-csi-controller"),
        calls: Calls::Name,
        lasts: LEADER_LASTS,
        every: LEADER_EVERY,
        gives_back: false,
    }
}

/// Names, identities and rhythms of Flux' controllers (`fluxcd/pkg/runtime/leaderelection`).
const fn flux(name: &'static str, app: &'static str) -> Seat {
    Seat {
        ns: "flux-system",
        name,
        app: ("flux-system", app),
        calls: Calls::Random,
        lasts: 35,
        every: 5 * SECOND,
        gives_back: true,
    }
}

/// Leader leases of controllers that run as pods. Argo CD and external-secrets, by default, elect nobody.
static SEATS: &[Seat] = &[
    // Sidecars name their lease after the driver, in their own ways.
    sidecar("block-csi-example"),
    sidecar("external-attacher-leader-block-csi-example"),
    sidecar("external-resizer-block-csi-example"),
    Seat {
        ns: "platform",
        name: "gateway-leader",
        app: ("platform", "gateway"),
        calls: Calls::Name,
        lasts: LEADER_LASTS,
        every: LEADER_EVERY,
        gives_back: false,
    },
    // cert-manager keeps its lease out of its own namespace.
    Seat {
        ns: "kube-system",
        name: "cert-manager-controller",
        app: ("cert-manager", "cert-manager"),
        calls: Calls::Suffix("-external-cert-manager-controller"),
        lasts: 60,
        every: 15 * SECOND,
        gives_back: true,
    },
    flux("source-controller-leader-election", "source-controller"),
    flux("kustomize-controller-leader-election", "kustomize-controller"),
    flux("helm-controller-leader-election", "helm-controller"),
    Seat {
        ns: "kyverno",
        name: "kyverno",
        app: ("kyverno", "kyverno-admission-controller"),
        calls: Calls::Name,
        lasts: 12,
        every: LEADER_EVERY,
        gives_back: true,
    },
];

impl Seat {
    fn of(lease: &Key) -> Option<&'static Self> {
        SEATS.iter().find(|seat| *seat.ns == lease.ns && *seat.name == lease.name)
    }

    fn key(&self) -> Key {
        Key::new(self.ns, self.name)
    }

    /// Under which identity a pod competes.
    fn identity(&self, sim: &Simulation, pod: &str) -> String {
        match self.calls {
            Calls::Name => pod.to_owned(),
            Calls::Suffix(suffix) => format!("{pod}{suffix}"),
            Calls::Random => format!("{pod}_{}", sim.chance.of("holder", pod).uuid()),
        }
    }

    /// The pod behind an identity.
    fn pod(&self, identity: &str) -> Key {
        let name = match self.calls {
            Calls::Name => identity,
            Calls::Suffix(suffix) => identity.strip_suffix(suffix).unwrap_or(identity),
            Calls::Random => identity.split('_').next().unwrap_or(identity),
        };
        Key::new(self.app.0, name)
    }

    /// How long others take to notice that a lease is over that lasts so long.
    const fn noticed_after(&self, lasts: i64) -> Moment {
        lasts * SECOND + self.every
    }
}

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
    for seat in SEATS.iter().filter(|seat| seat.app == (pod.ns.as_str(), app)) {
        sim.queue.push(sim.now + SECOND, Task::Reconcile(Kind::Lease, seat.key()));
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
    let Some(seat) = Seat::of(key) else { return };
    let (ns, app) = seat.app;
    let living: Vec<String> = sim
        .store
        .list(Kind::Pod, Some(ns))
        .filter(|(_, pod)| pod.label("app") == app && lives(sim, pod))
        .map(|(key, _)| seat.identity(sim, &key.name))
        .collect();
    let Some(lease) = sim.store.get(Kind::Lease, key) else {
        if let Some(first) = living.first() {
            make(sim, key, first, seat.lasts);
        }
        return;
    };
    let holder = lease.text("spec/holderIdentity").to_owned();
    if living.contains(&holder) {
        sim.memories.leases.ended.remove(key);
        return;
    }
    let ended = match sim.memories.leases.ended.get(key) {
        Some(at) => *at,
        None if seat.gives_back && was_told_to_end(sim, &seat.pod(&holder)) => give_back(sim, key),
        None => end(sim, key),
    };
    let Some(next) = living.into_iter().next() else { return };
    let lasts = sim.store.get(Kind::Lease, key).map_or(0, |l| l.int("spec/leaseDurationSeconds"));
    let noticed = ended + seat.noticed_after(lasts);
    if noticed > sim.now {
        sim.queue.push(noticed, Task::Reconcile(Kind::Lease, key.clone()));
    } else {
        acquire(sim, key, &next);
    }
}

/// Whether a pod is ending, or has ended, because somebody wants it to, and could still say so.
fn was_told_to_end(sim: &Simulation, pod: &Key) -> bool {
    let Some(pod) = sim.store.get(Kind::Pod, pod) else { return true };
    let image = pod.text("spec/containers/0/image");
    deleting(pod)
        && sim.surroundings.lost(pod.text("spec/nodeName")).is_none()
        && sim.surroundings.conduct(pod, image) != Conduct::Hangs
}

/// Whether a pod's process can renew a lease.
fn lives(sim: &Simulation, pod: &Value) -> bool {
    let image = pod.text("spec/containers/0/image");
    pod.at("status/containerStatuses/0/state/running").is_some()
        && !deleting(pod)
        && sim.surroundings.lost(pod.text("spec/nodeName")).is_none()
        && sim.surroundings.conduct(pod, image) != Conduct::Hangs
}

/// The holder has ended well.
fn give_back(sim: &mut Simulation, key: &Key) -> Moment {
    let now = sim.now;
    sim.memories.leases.ended.insert(key.clone(), now);
    sim.store.update(Kind::Lease, key, |lease| {
        lease.put("spec/holderIdentity", json!(""));
        lease.put("spec/leaseDurationSeconds", json!(GIVEN_BACK_LASTS));
        lease.put("spec/acquireTime", json!(micro_stamp(now)));
        lease.put("spec/renewTime", json!(micro_stamp(now)));
    });
    now
}

fn end(sim: &mut Simulation, key: &Key) -> Moment {
    let renewed = rhythm(sim, key, leader_every(key), sim.now);
    sim.memories.leases.ended.insert(key.clone(), renewed);
    sim.store.update(Kind::Lease, key, |lease| {
        lease.put("spec/renewTime", json!(micro_stamp(renewed)));
    });
    renewed
}

fn acquire(sim: &mut Simulation, key: &Key, holder: &str) {
    sim.memories.leases.ended.remove(key);
    let now = micro_stamp(sim.now);
    let lasts = Seat::of(key).map_or(LEADER_LASTS, |seat| seat.lasts);
    sim.store.update(Kind::Lease, key, |lease| {
        lease.put("spec/holderIdentity", json!(holder));
        lease.put("spec/leaseDurationSeconds", json!(lasts));
        lease.put("spec/acquireTime", json!(now));
        lease.put("spec/renewTime", json!(now));
        lease.put("spec/leaseTransitions", json!(lease.int("spec/leaseTransitions") + 1));
    });
}

/// How often the leader of a lease renews it.
fn leader_every(lease: &Key) -> Moment {
    Seat::of(lease).map_or(LEADER_EVERY, |seat| seat.every)
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
    let pod = Seat::of(lease).map(|seat| seat.pod(object.text("spec/holderIdentity")));
    let pod = pod.and_then(|pod| sim.store.get(Kind::Pod, &pod));
    pod.map_or("", |pod| pod.text("spec/nodeName")).to_owned()
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
        rhythm(sim, &key, leader_every(&key), sim.now)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::controllers::nodes;
    use crate::sim::founding;
    use crate::sim::layout::Shape;
    use crate::sim::moment::MINUTE;

    const LEASE: &str = "cert-manager-controller";

    fn house() -> Simulation {
        let shape = Shape { nodes: 6, pods: 90, seed: 7 };
        let mut sim = founding::found(shape, 1_764_000_000_000, 8192);
        sim.advance(sim.now + MINUTE);
        sim
    }

    fn scale(sim: &mut Simulation, replicas: i64) {
        let at = Key::new("cert-manager", "cert-manager");
        sim.store.update(Kind::Deployment, &at, |d| d.put("spec/replicas", json!(replicas)));
        sim.advance(sim.now + 5 * MINUTE);
    }

    /// Who holds the lease and for how long it lasts, and how old its last renewal is.
    fn look(sim: &Simulation) -> ((String, i64), Moment) {
        let lease = sim.store.get(Kind::Lease, &Key::new("kube-system", LEASE)).unwrap();
        let lease = shown(sim, lease);
        let holder = lease.text("spec/holderIdentity").to_owned();
        let renewed = parse(lease.text("spec/renewTime")).unwrap();
        ((holder, lease.int("spec/leaseDurationSeconds")), sim.now - renewed)
    }

    #[test]
    fn a_leader_that_is_scaled_away_gives_its_lease_back_and_the_next_takes_it() {
        let mut sim = house();
        let ((first, lasts), age) = look(&sim);
        assert!(first.ends_with("-external-cert-manager-controller"), "{first}");
        assert!(lasts == 60 && age <= 15 * SECOND, "{lasts} {age}");
        scale(&mut sim, 0);
        let (held, age) = look(&sim);
        assert_eq!(held, (String::new(), GIVEN_BACK_LASTS));
        assert!(age > 4 * MINUTE, "{age}");
        scale(&mut sim, 1);
        let ((second, lasts), age) = look(&sim);
        assert!(second != first && second.starts_with("cert-manager-"), "{second}");
        assert!(lasts == 60 && age <= 15 * SECOND, "{lasts} {age}");
    }

    #[test]
    fn a_leader_whose_machine_is_lost_gives_nothing_back() {
        let mut sim = house();
        let key = Key::new("kube-system", LEASE);
        let ((first, _), _) = look(&sim);
        let node = machine_of(&sim, &key, sim.store.get(Kind::Lease, &key).unwrap());
        nodes::lose(&mut sim, &Key::cluster(node));
        sim.advance(sim.now + 2 * MINUTE);
        let (held, age) = look(&sim);
        assert_eq!(held, (first, 60));
        assert!(age > MINUTE, "{age}");
    }
}
