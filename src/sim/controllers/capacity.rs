//! How much can still be provisioned, and on which nodes does the driver work? Storage pools as the external
//! provisioner reports them (`--capacity-poll-interval`, a minute), and drivers as kubelets register them.

use serde_json::json;

use super::{Task, pods, works};
use crate::sim::fields::Fields;
use crate::sim::kind::Kind;
use crate::sim::manifests::{self, CLASS, DRIVER, DRIVER_CONTROLLER};
use crate::sim::moment::{MINUTE, Moment};
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

const POLL: Moment = MINUTE;
/// What a zone's pool has left when nothing is wrong.
const USUAL: u64 = 20_480;
/// The DaemonSet of the driver's node plugin, in `kube-system`.
pub(crate) const NODE_PLUGIN: &str = "block-csi-node";

fn zone_name(zone: &str) -> String {
    format!("csisc-{zone}")
}

/// Reports what the pool of each zone has left.
pub(crate) fn report(sim: &mut Simulation) {
    sim.queue.push(sim.now + POLL, Task::Pools);
    if !works(sim, ("kube-system", DRIVER_CONTROLLER)) {
        return;
    }
    for zone in ["zone-a", "zone-b", "zone-c"] {
        let left = format!("{}Gi", sim.outside.pools.get(zone).copied().unwrap_or(USUAL));
        let key = Key::new("kube-system", zone_name(zone));
        if sim.store.get(Kind::CsiStorageCapacity, &key).is_some() {
            sim.store.update(Kind::CsiStorageCapacity, &key, |c| {
                c.put("capacity", json!(left));
                c.put("maximumVolumeSize", json!(left));
            });
            continue;
        }
        let segment = json!({
            "metadata": {
                "name": key.name,
                "namespace": key.ns,
                "labels": {"csi.storage.k8s.io/drivername": DRIVER},
            },
            "storageClassName": CLASS,
            "nodeTopology": {"matchLabels": {"topology.kubernetes.io/zone": zone}},
            "capacity": left,
            "maximumVolumeSize": left,
        });
        sim.create(Kind::CsiStorageCapacity, segment);
    }
}

/// Looks at a node whose plugin came or went: the kubelet registers what has a socket and forgets what has none.
pub(crate) fn register(sim: &mut Simulation, key: &Key) {
    if sim.store.get(Kind::CsiNode, key).is_none() || sim.surroundings.lost(&key.name).is_some() {
        return;
    }
    let here = sim.store.on_node(&key.name).into_iter().filter(|pod| pod.ns == "kube-system");
    let mut plugins = here.filter_map(|pod| sim.store.get(Kind::Pod, &pod));
    let plugin = plugins.find(|p| p.label("app") == NODE_PLUGIN && !pods::finished(p));
    // Before its first start there was no plugin to forget.
    let Some(runs) = plugin.map(|p| p.at("status/containerStatuses/0/state/running").is_some())
    else {
        return;
    };
    let drivers = if runs {
        manifests::csi_node(sim.chance, &key.name).at("spec/drivers").cloned()
    } else {
        Some(json!([]))
    };
    sim.store.update(Kind::CsiNode, key, |n| n.put("spec/drivers", drivers.unwrap_or_default()));
}

/// Whether the driver is registered on the node.
pub(crate) fn registered(sim: &Simulation, node: &str, driver: &str) -> bool {
    let found = sim.store.get(Kind::CsiNode, &Key::cluster(node));
    found.is_none_or(|n| n.items("spec/drivers").iter().any(|d| d.text("name") == driver))
}
