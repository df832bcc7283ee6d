//! What does a kubelet count? The families of its `/metrics` and `/metrics/probes` that somebody reads, under the real
//! one's names and labels (`pkg/kubelet/metrics`, `pkg/kubelet/prober`).

use super::volumes;
use crate::sim::controllers::{attach, pods};
use crate::sim::exposition::family;
use crate::sim::fields::Fields;
use crate::sim::kind::Kind;
use crate::sim::moment::{SECOND, parse};
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

/// The body of `/metrics` of a node's kubelet, which has run for as long as its node is there.
pub(crate) fn metrics(sim: &Simulation, node: &str) -> String {
    let mut out = String::new();
    let found = sim.store.get(Kind::Node, &Key::cluster(node));
    let born = found.and_then(|n| parse(n.text("metadata/creationTimestamp"))).unwrap_or(sim.now);
    let mut single = |name, kind, value| family(&mut out, name, kind, [(String::new(), value)]);
    single("process_start_time_seconds", "gauge", (born / SECOND) as f64);
    let failed = sim.kubelets.failed_renewals(node) as f64;
    single("kubelet_certificate_manager_client_expiration_renew_errors", "counter", failed);
    single("kubelet_server_expiration_renew_errors", "counter", 0.0);
    let mounted: Vec<_> = mounted(sim, node);
    let mut told = |name: &str, value: fn(&volumes::Room) -> f64| {
        let samples = mounted.iter().map(|(labels, room)| (labels.clone(), value(room)));
        family(&mut out, &format!("kubelet_volume_stats_{name}"), "gauge", samples);
    };
    told("available_bytes", |room| (room.bytes - room.used).max(0.0).round());
    told("capacity_bytes", |room| room.bytes.round());
    told("inodes", |room| room.inodes.round());
    told("inodes_free", |room| (room.inodes - room.inodes_used).max(0.0).round());
    told("used_bytes", |room| room.used.round());
    out
}

/// The labels and the room of each claim that a pod on the node has mounted.
fn mounted(sim: &Simulation, node: &str) -> Vec<(String, volumes::Room)> {
    let mut all = Vec::new();
    for key in sim.store.on_node(node) {
        let Some(pod) = sim.store.get(Kind::Pod, &key) else { continue };
        if pods::finished(pod) || !sim.kubelets.has_started(&key) {
            continue;
        }
        for claim in attach::claims(pod) {
            if let Some(room) = volumes::room(sim, &claim) {
                let (ns, name) = (&claim.ns, &claim.name);
                let labels = format!("{{namespace=\"{ns}\",persistentvolumeclaim=\"{name}\"}}");
                all.push((labels, room));
            }
        }
    }
    all
}

/// The body of `/metrics/probes`.
pub(crate) fn probes(sim: &Simulation, node: &str) -> String {
    let mut samples = Vec::new();
    for key in sim.store.on_node(node) {
        let Some(run) = sim.kubelets.runs.get(&key) else { continue };
        for container in &run.containers {
            for (probe, result, count) in container.probes.counts(sim.now) {
                let labels = format!(
                    "{{container=\"{}\",namespace=\"{}\",pod=\"{}\",pod_uid=\"{}\",probe_type=\"{probe}\",\
                     result=\"{result}\"}}",
                    container.name, key.ns, key.name, run.uid
                );
                samples.push((labels, count as f64));
            }
        }
    }
    let mut out = String::new();
    family(&mut out, "prober_probe_total", "counter", samples);
    out
}
