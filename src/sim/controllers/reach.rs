//! Whom can a program still reach? Its node's network, the cluster's DNS, and what policies let through decide, whatever
//! the program itself does.
//!
//! A kubelet's probes reach pods that a policy isolates; what fails is a readiness check that asks others.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Task, endpoints};
use crate::sim::chance::Chance;
use crate::sim::fields::Fields;
use crate::sim::kind::Kind;
use crate::sim::moment::SECOND;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

/// The agent that wires pods; it lives in its node's own network.
pub(crate) const AGENT: &str = "network-agent";
/// Share of programs whose readiness check looks names up.
const NEEDS_NAMES: f64 = 0.5;

/// The Service of the cluster's DNS.
pub(crate) fn dns() -> Key {
    Key::new("kube-system", "kube-dns")
}

/// Who cannot reach what it needs.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// Namespace and app whose egress is closed altogether.
    cut: BTreeSet<(String, String)>,
    /// Nobody answers for the cluster's DNS.
    nameless: bool,
}

impl Reach {
    /// Whether the program of a pod lacks what its readiness check asks for.
    pub(crate) fn lacks(&self, chance: Chance, pod: &Value) -> bool {
        if self.cut.is_empty() && !self.nameless {
            return false;
        }
        let (ns, app) = (pod.text("metadata/namespace"), pod.label("app"));
        self.cut.contains(&(ns.to_owned(), app.to_owned()))
            || (self.nameless && needs_names(chance, ns, app))
    }
}

fn needs_names(chance: Chance, ns: &str, app: &str) -> bool {
    ns != "kube-system" && chance.of("names", &format!("{ns}/{app}")).unit() < NEEDS_NAMES
}

/// Whether a node's pods get a network: the agent runs there.
pub(crate) fn wired(sim: &Simulation, node: &str) -> bool {
    let pods = sim.store.on_node(node);
    pods.iter().filter(|key| key.ns == "kube-system").any(|key| {
        sim.store.get(Kind::Pod, key).is_some_and(|pod| {
            pod.label("app") == AGENT
                && pod.at("status/containerStatuses/0/state/running").is_some()
        })
    })
}

/// A Service has been looked at: if it is that of the DNS, programs may notice.
pub(super) fn served(sim: &mut Simulation, service: &Key, serving: bool) {
    if *service != dns() || sim.memories.reach.nameless != serving {
        return;
    }
    sim.memories.reach.nameless = !serving;
    let all = sim.store.list(Kind::Pod, None);
    let asking = all.filter(|(key, pod)| needs_names(sim.chance, &key.ns, pod.label("app")));
    let keys: Vec<_> = asking.map(|(key, _)| key.clone()).collect();
    for key in keys {
        // Names are remembered for up to 30 s (the TTL of CoreDNS' records).
        let wait = sim.chance.of("ttl", &key.to_string()).between(0, 30 * SECOND);
        sim.queue.push(sim.now + wait, Task::Sync(key));
    }
}

/// Policies of a namespace changed: which apps are cut off there?
pub(crate) fn policies_changed(sim: &mut Simulation, ns: &str) {
    let policies: Vec<_> = sim
        .store
        .list(Kind::NetworkPolicy, Some(ns))
        .filter(|(_, p)| p.items("spec/policyTypes").iter().any(|t| t == "Egress"))
        .map(|(_, p)| p.clone())
        .collect();
    let mut cut = BTreeSet::new();
    let mut keys = Vec::new();
    for (key, pod) in sim.store.list(Kind::Pod, Some(ns)) {
        keys.push(key.clone());
        let selecting = policies.iter().filter(|policy| selected(policy, pod)).collect::<Vec<_>>();
        let closed = selecting.iter().all(|policy| policy.items("spec/egress").is_empty());
        if !selecting.is_empty() && closed {
            cut.insert((ns.to_owned(), pod.label("app").to_owned()));
        }
    }
    let reach = &mut sim.memories.reach;
    let before: BTreeSet<_> = reach.cut.iter().filter(|(of, _)| of == ns).cloned().collect();
    if before == cut {
        return;
    }
    reach.cut.retain(|(of, _)| of != ns);
    reach.cut.extend(cut);
    for key in keys {
        let wait = sim.chance.of("policy", &key.to_string()).between(SECOND, 10 * SECOND);
        sim.queue.push(sim.now + wait, Task::Sync(key));
    }
}

/// An empty selector of a policy means all pods of its namespace.
fn selected(policy: &Value, pod: &Value) -> bool {
    let wanted = policy.at("spec/podSelector/matchLabels");
    let all = wanted.and_then(Value::as_object).is_none_or(serde_json::Map::is_empty);
    all || endpoints::selects(wanted, pod.at("metadata/labels"))
}
