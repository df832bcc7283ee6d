//! Does the driver's external provisioner make the volume that a claim asks for?

use serde_json::{Value, json};

use super::storage::{Attempt, controller_pod};
use super::{Task, claims, storage};
use crate::sim::fields::{Fields, deleting};
use crate::sim::kind::Kind;
use crate::sim::moment::{MINUTE, Moment, SECOND};
use crate::sim::recorder::Actor;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

/// How soon a provisioner that comes back finds the claims that wait for it.
const NOTICE: Moment = 5 * SECOND;
/// Retries of `sig-storage-lib-external-provisioner`: doubling from the first to the longest wait.
const FIRST_WAIT: Moment = SECOND;
const LONGEST_WAIT: Moment = 5 * MINUTE;

/// Looks at a claim that is handed to a provisioner. While no pod of the driver's controller works, nothing happens.
pub(crate) fn provision(sim: &mut Simulation, key: &Key) {
    let Some(claim) = sim.store.get(Kind::PersistentVolumeClaim, key).cloned() else { return };
    let driver = claim.annotation(claims::PROVISIONER).to_owned();
    let volume = claims::volume_name(&claim);
    let made = sim.store.get(Kind::PersistentVolume, &Key::cluster(&volume)).is_some();
    if driver.is_empty() || made || deleting(&claim) {
        return;
    }
    let Some(pod) = controller_pod(sim, &driver) else {
        sim.queue.push(sim.now + NOTICE, Task::Provision(key.clone()));
        return;
    };
    let uid = claim.text("metadata/uid").to_owned();
    // The provisioner's identity is driver, pod, and a UUID of its own.
    let identity = sim.chance.of("provisioner", &pod).uuid();
    let by = Actor::Controller(format!("{driver}_{pod}_{identity}"));
    let Some(attempt) = sim.storage.provisioning.get(&uid).copied() else {
        let text = format!("External provisioner is provisioning volume for claim \"{key}\"");
        sim.normal(&claim, by, "Provisioning", text);
        let took = sim.chance.of("provision", &uid).log_normal(4 * SECOND, 0.5);
        let took = storage::longer(took, sim.surroundings.slowness(&driver));
        await_back_end(sim, key, uid, Attempt { done: sim.now + took, refusals: 0 });
        return;
    };
    if attempt.done > sim.now {
        sim.queue.push(attempt.done, Task::Provision(key.clone()));
        return;
    }
    if let Some(refusal) = sim.storage.refusing.get(&driver).cloned() {
        let class = claim.text("spec/storageClassName");
        let text = format!("failed to provision volume with StorageClass {class:?}: {refusal}");
        sim.warning(&claim, by, "ProvisioningFailed", text);
        let wait = (FIRST_WAIT << attempt.refusals.min(10)).min(LONGEST_WAIT);
        let next = Attempt { done: sim.now + wait, refusals: attempt.refusals + 1 };
        await_back_end(sim, key, uid, next);
        return;
    }
    let object = volume_object(sim, &claim, &volume, &driver);
    sim.create(Kind::PersistentVolume, object);
    sim.normal(
        &claim,
        by,
        "ProvisioningSucceeded",
        format!("Successfully provisioned volume {volume}"),
    );
}

fn await_back_end(sim: &mut Simulation, key: &Key, uid: String, attempt: Attempt) {
    sim.storage.provisioning.insert(uid, attempt);
    sim.queue.push(attempt.done, Task::Provision(key.clone()));
}

fn volume_object(sim: &Simulation, claim: &Value, name: &str, driver: &str) -> Value {
    let class = storage::class_of(sim, claim);
    let policy = class.map_or("Delete", |c| c.text("reclaimPolicy"));
    let handle = format!("vol-{:016x}", sim.chance.of("volume", name).bits());
    let mut volume = json!({
        "metadata": {
            "name": name,
            "annotations": {"pv.kubernetes.io/provisioned-by": driver},
            "finalizers": ["external-provisioner.volume.kubernetes.io/finalizer", "kubernetes.io/pv-protection"],
        },
        "spec": {
            "capacity": {"storage": claim.text("spec/resources/requests/storage")},
            "accessModes": claim.items("spec/accessModes"),
            "claimRef": {
                "kind": "PersistentVolumeClaim",
                "apiVersion": "v1",
                "namespace": claim.text("metadata/namespace"),
                "name": claim.text("metadata/name"),
                "uid": claim.text("metadata/uid"),
                "resourceVersion": claim.text("metadata/resourceVersion"),
            },
            "csi": {"driver": driver, "fsType": "ext4", "volumeHandle": handle},
            "persistentVolumeReclaimPolicy": policy,
            "storageClassName": claim.text("spec/storageClassName"),
            "volumeMode": "Filesystem",
        },
        "status": {"phase": "Pending"},
    });
    let node = Key::cluster(claim.annotation(claims::SELECTED_NODE));
    if let Some(node) = sim.store.get(Kind::Node, &node) {
        let zone = node.label("topology.kubernetes.io/zone");
        let term =
            json!({"key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone]});
        volume.put(
            "spec/nodeAffinity",
            json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}}),
        );
    }
    volume
}
