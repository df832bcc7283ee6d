//! Does a claim get its volume, and when do both go?

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Task, attach, collector, storage};
use crate::sim::fields::{Fields, deleting};
use crate::sim::kind::Kind;
use crate::sim::moment::{Moment, SECOND};
use crate::sim::recorder::Actor;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

const COMPONENT: &str = "persistentvolume-controller";
/// `--pvclaimbinder-sync-period`: how often pending claims are looked at, and complain.
const RESYNC: Moment = 15 * SECOND;
pub(crate) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
pub(crate) const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";

/// The claim that a volume is for.
pub(crate) fn claim_of(volume: &Value) -> Key {
    Key::new(volume.text("spec/claimRef/namespace"), volume.text("spec/claimRef/name"))
}

fn bound(claim: &Value) -> bool {
    claim.text("status/phase") == "Bound"
}

/// Looks at a claim: binds it, hands it to its provisioner, or says what it waits for.
pub(crate) fn bind(sim: &mut Simulation, key: &Key) {
    let Some(claim) = sim.store.get(Kind::PersistentVolumeClaim, key).cloned() else { return };
    if deleting(&claim) {
        remove_unused(sim, key);
        return;
    }
    if bound(&claim) {
        return;
    }
    let volume = Key::cluster(volume_name(&claim));
    if let Some(found) = sim.store.get(Kind::PersistentVolume, &volume).cloned() {
        marry(sim, key, &claim, &volume, &found);
        return;
    }
    let by = Actor::controller(COMPONENT);
    match storage::class_of(sim, &claim).cloned() {
        None if claim.text("spec/storageClassName").is_empty() => {
            let text = "no persistent volumes available for this claim and no storage class is set";
            sim.normal(&claim, by, "FailedBinding", text.to_owned());
        }
        None => {
            let class = claim.text("spec/storageClassName");
            let text = format!("storageclass.storage.k8s.io {class:?} not found");
            sim.warning(&claim, by, "ProvisioningFailed", text);
        }
        Some(class)
            if storage::waits_for_consumer(&class)
                && claim.annotation(SELECTED_NODE).is_empty() =>
        {
            let text = "waiting for first consumer to be created before binding";
            sim.normal(&claim, by, "WaitForFirstConsumer", text.to_owned());
        }
        Some(class) => hand_over(sim, key, &claim, class.text("provisioner")),
    }
    sim.queue.push(sim.now + RESYNC, Task::Bind(key.clone()));
}

/// What an external provisioner calls the volume of a claim.
pub(crate) fn volume_name(claim: &Value) -> String {
    format!("pvc-{}", claim.text("metadata/uid"))
}

fn hand_over(sim: &mut Simulation, key: &Key, claim: &Value, driver: &str) {
    sim.store.update(Kind::PersistentVolumeClaim, key, |claim| {
        claim.annotate(PROVISIONER, driver);
        claim.annotate("volume.beta.kubernetes.io/storage-provisioner", driver);
    });
    let text = format!(
        "Waiting for a volume to be created either by the external provisioner '{driver}' or manually by the system \
         administrator. If volume creation is delayed, please verify that the provisioner is running and correctly \
         registered."
    );
    sim.normal(claim, Actor::controller(COMPONENT), "ExternalProvisioning", text);
    sim.queue.push(sim.now + SECOND / 10, Task::Provision(key.clone()));
}

fn marry(sim: &mut Simulation, key: &Key, claim: &Value, volume_key: &Key, volume: &Value) {
    let now = sim.stamp();
    sim.store.update(Kind::PersistentVolume, volume_key, |volume| {
        volume.put("status", json!({"phase": "Bound", "lastPhaseTransitionTime": now}));
    });
    sim.store.update(Kind::PersistentVolumeClaim, key, |claim| {
        claim.annotate("pv.kubernetes.io/bind-completed", "yes");
        claim.annotate("pv.kubernetes.io/bound-by-controller", "yes");
        claim.put("spec/volumeName", json!(volume_key.name));
        claim.put("status/phase", json!("Bound"));
        claim.put("status/accessModes", json!(volume.items("spec/accessModes")));
        claim.put("status/capacity", volume.at("spec/capacity").cloned().unwrap_or_default());
    });
    sim.storage.provisioning.remove(claim.text("metadata/uid"));
    // Pods that were bound to a node meanwhile can have their volume attached.
    for pod in attach::users(sim, key) {
        sim.queue.push(sim.now, Task::Attach(pod));
    }
}

/// Whether the pod's claims let it be scheduled, or what the scheduler's plugin says.
pub(crate) fn ready_to_schedule(sim: &Simulation, pod: &Value) -> Result<(), String> {
    for key in attach::claims(pod) {
        let Some(claim) = sim.store.get(Kind::PersistentVolumeClaim, &key) else {
            return Err(format!("persistentvolumeclaim {:?} not found", key.name));
        };
        if deleting(claim) {
            return Err(format!("persistentvolumeclaim {:?} is being deleted", key.name));
        }
        let waits = storage::class_of(sim, claim).is_some_and(storage::waits_for_consumer);
        if !bound(claim) && !waits {
            return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
        }
    }
    Ok(())
}

/// Tells the provisioners of the pod's unbound claims which node it is for; whether there are any.
pub(crate) fn select_node(sim: &mut Simulation, pod: &Value, node: &str) -> bool {
    let mut waiting = false;
    for key in attach::claims(pod) {
        if sim.store.get(Kind::PersistentVolumeClaim, &key).is_some_and(|c| !bound(c)) {
            waiting = true;
            sim.store
                .update(Kind::PersistentVolumeClaim, &key, |c| c.annotate(SELECTED_NODE, node));
        }
    }
    waiting
}

/// Whether all claims of the pod are bound.
pub(crate) fn all_bound(sim: &Simulation, pod: &Value) -> bool {
    attach::claims(pod)
        .all(|key| sim.store.get(Kind::PersistentVolumeClaim, &key).is_some_and(|c| bound(c)))
}

/// The zones to which the pod's volumes pin it; `None` if nothing does.
pub(crate) fn zones(sim: &Simulation, pod: &Value) -> Option<BTreeSet<String>> {
    let mut pinned: Option<BTreeSet<String>> = None;
    for key in attach::claims(pod) {
        let claim = sim.store.get(Kind::PersistentVolumeClaim, &key)?;
        let volume = Key::cluster(claim.text("spec/volumeName"));
        let Some(volume) = sim.store.get(Kind::PersistentVolume, &volume) else { continue };
        let terms = "spec/nodeAffinity/required/nodeSelectorTerms/0/matchExpressions/0/values";
        let zones: BTreeSet<_> =
            volume.items(terms).iter().filter_map(|z| z.as_str().map(str::to_owned)).collect();
        pinned = Some(match pinned {
            Some(others) => others.intersection(&zones).cloned().collect(),
            None => zones,
        });
    }
    pinned
}

/// Asks for a claim to be deleted; it stays while a pod uses it.
pub(crate) fn delete(sim: &mut Simulation, key: &Key) {
    let now = sim.stamp();
    sim.store.update(Kind::PersistentVolumeClaim, key, |claim| {
        if !deleting(claim) {
            claim.put("metadata/deletionTimestamp", json!(now));
            claim.put("metadata/deletionGracePeriodSeconds", json!(0));
        }
    });
    remove_unused(sim, key);
}

fn remove_unused(sim: &mut Simulation, key: &Key) {
    if !attach::users(sim, key).is_empty() {
        return;
    }
    collector::release(sim, Kind::PersistentVolumeClaim, key, "kubernetes.io/pvc-protection");
    let Some(claim) = sim.store.get(Kind::PersistentVolumeClaim, key).cloned() else { return };
    if !claim.items("metadata/finalizers").is_empty() {
        return;
    }
    sim.store.remove(Kind::PersistentVolumeClaim, key);
    sim.storage.provisioning.remove(claim.text("metadata/uid"));
    sim.queue.push(sim.now + SECOND / 10, Task::Release(Key::cluster(volume_name(&claim))));
}

/// A pod is gone: claims that waited for it to go follow.
pub(crate) fn pod_gone(sim: &mut Simulation, pod: &Value) {
    let claims: Vec<_> = attach::claims(pod).collect();
    for key in claims {
        if sim.store.get(Kind::PersistentVolumeClaim, &key).is_some_and(|c| deleting(c)) {
            sim.queue.push(sim.now + SECOND / 10, Task::Bind(key));
        }
    }
}

/// Looks at a volume whose claim may be gone: it is released, and deleted by its driver if its policy says so.
pub(crate) fn release(sim: &mut Simulation, key: &Key) {
    let Some(volume) = sim.store.get(Kind::PersistentVolume, key).cloned() else { return };
    let uid = volume.text("spec/claimRef/uid");
    let claim = sim.store.get(Kind::PersistentVolumeClaim, &claim_of(&volume));
    if claim.is_some_and(|c| c.text("metadata/uid") == uid) {
        return;
    }
    if volume.text("status/phase") != "Released" {
        let now = sim.stamp();
        sim.store.update(Kind::PersistentVolume, key, |volume| {
            volume.put("status", json!({"phase": "Released", "lastPhaseTransitionTime": now}));
        });
        sim.queue.push(sim.now + 3 * SECOND, Task::Release(key.clone()));
        return;
    }
    if volume.text("spec/persistentVolumeReclaimPolicy") != "Delete" {
        return;
    }
    let attached = attach::of_volume(sim, &key.name).is_some();
    if !attached && storage::controller_pod(sim, volume.text("spec/csi/driver")).is_some() {
        sim.store.remove(Kind::PersistentVolume, key);
    } else {
        sim.queue.push(sim.now + RESYNC, Task::Release(key.clone()));
    }
}
