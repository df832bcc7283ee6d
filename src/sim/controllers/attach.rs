//! Is a pod's volume attached to its node, and when is it detached?

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Task, pods, storage};
use crate::sim::fields::{Fields, deleting};
use crate::sim::kind::Kind;
use crate::sim::moment::{MINUTE, Moment, SECOND};
use crate::sim::recorder::Actor;
use crate::sim::simulation::Simulation;
use crate::sim::store::{Key, Verb};

const COMPONENT: &str = "attachdetach-controller";
const RETRY: Moment = 2 * SECOND;
/// How long a volume stays with a node that no longer says what it has mounted: `maxWaitForUnmountDuration`.
const FORCE_AFTER: Moment = 6 * MINUTE;

/// The claims that a pod uses.
pub(crate) fn claims(pod: &Value) -> impl Iterator<Item = Key> {
    let ns = pod.text("metadata/namespace");
    let names = pod.items("spec/volumes").iter().map(|v| v.text("persistentVolumeClaim/claimName"));
    names.filter(|name| !name.is_empty()).map(move |name| Key::new(ns, name))
}

/// The pods that use a claim and are not over.
pub(crate) fn users(sim: &Simulation, claim: &Key) -> Vec<Key> {
    let pods = sim.store.list(Kind::Pod, Some(&claim.ns));
    pods.filter(|(_, pod)| !pods::finished(pod) && claims(pod).any(|c| c == *claim))
        .map(|(key, _)| key.clone())
        .collect()
}

fn volume_of(sim: &Simulation, claim: &Key) -> Option<Arc<Value>> {
    let claim = sim.store.get(Kind::PersistentVolumeClaim, claim)?;
    let key = Key::cluster(claim.text("spec/volumeName"));
    sim.store.get(Kind::PersistentVolume, &key).cloned()
}

fn attaches(sim: &Simulation, volume: &Value) -> bool {
    let driver = Key::cluster(volume.text("spec/csi/driver"));
    let driver = sim.store.get(Kind::CsiDriver, &driver);
    driver.is_none_or(|d| d.at("spec/attachRequired") != Some(&json!(false)))
}

fn attachment_name(sim: &Simulation, volume: &str, node: &str) -> String {
    let mut draw = sim.chance.of("attachment", &format!("{volume}/{node}"));
    let digits: String = (0..4).map(|_| format!("{:016x}", draw.bits())).collect();
    format!("csi-{digits}")
}

/// The attachment of a volume, to whichever node.
pub(crate) fn of_volume(sim: &Simulation, volume: &str) -> Option<Arc<Value>> {
    let mut all = sim.store.list(Kind::VolumeAttachment, None);
    all.find(|(_, a)| a.text("spec/source/persistentVolumeName") == volume)
        .map(|(_, a)| Arc::clone(a))
}

/// The names of the pod's volumes that are not there yet.
pub(crate) fn missing(sim: &Simulation, pod: &Value, node: &str) -> Vec<String> {
    let mut missing = Vec::new();
    for volume in pod.items("spec/volumes") {
        let claim = volume.text("persistentVolumeClaim/claimName");
        if claim.is_empty() {
            continue;
        }
        let key = Key::new(pod.text("metadata/namespace"), claim);
        let there = volume_of(sim, &key).is_some_and(|pv| {
            let name = attachment_name(sim, pv.text("metadata/name"), node);
            let attachment = sim.store.get(Kind::VolumeAttachment, &Key::cluster(name));
            !attaches(sim, &pv) || attachment.is_some_and(|a| a.truth("status/attached"))
        });
        if !there {
            missing.push(volume.text("name").to_owned());
        }
    }
    missing
}

/// Looks at a pod on a node: asks for its volumes to be attached there.
pub(crate) fn attach(sim: &mut Simulation, key: &Key) {
    let Some(pod) = sim.store.get(Kind::Pod, key).cloned() else { return };
    let node = pod.text("spec/nodeName");
    if node.is_empty() || deleting(&pod) || pods::finished(&pod) {
        return;
    }
    let wanted: Vec<_> = claims(&pod).filter_map(|claim| volume_of(sim, &claim)).collect();
    for volume in wanted.iter().filter(|v| attaches(sim, v)).collect::<Vec<_>>() {
        let name = volume.text("metadata/name");
        match of_volume(sim, name) {
            Some(held) if held.text("spec/nodeName") == node && !deleting(&held) => {}
            Some(_) => {
                blocked(sim, &pod, name);
                sim.queue.push(sim.now + RETRY, Task::Attach(key.clone()));
            }
            None => {
                let attachment = json!({
                    "metadata": {"name": attachment_name(sim, name, node)},
                    "spec": {
                        "attacher": volume.text("spec/csi/driver"),
                        "nodeName": node,
                        "source": {"persistentVolumeName": name},
                    },
                    "status": {"attached": false},
                });
                sim.create(Kind::VolumeAttachment, attachment);
            }
        }
    }
}

/// Reported once for a pod and volume, in the words of Kubernetes 1.37.
fn blocked(sim: &mut Simulation, pod: &Value, volume: &str) {
    let once = (pod.text("metadata/uid").to_owned(), volume.to_owned());
    if sim.storage.blocked.insert(once) {
        let text = format!(
            "Waiting for detach for volume {volume:?} Volume is already exclusively attached to one node, waiting on \
             detach before it can be attached to another node"
        );
        sim.warning(pod, Actor::controller(COMPONENT), "FailedAttachVolume", text);
    }
}

/// Pods on the attachment's node that use its volume.
fn pods_of(sim: &Simulation, attachment: &Value) -> Vec<Key> {
    let volume = Key::cluster(attachment.text("spec/source/persistentVolumeName"));
    let Some(volume) = sim.store.get(Kind::PersistentVolume, &volume) else { return Vec::new() };
    let node = attachment.text("spec/nodeName");
    let mut all = users(sim, &super::claims::claim_of(volume));
    all.retain(|key| {
        sim.store.get(Kind::Pod, key).is_some_and(|p| p.text("spec/nodeName") == node)
    });
    all
}

/// Looks at an attachment: attaches or detaches when the back end is done, if the driver's controller works.
pub(crate) fn attachment(sim: &mut Simulation, key: &Key) {
    let Some(object) = sim.store.get(Kind::VolumeAttachment, key).cloned() else { return };
    let users = pods_of(sim, &object);
    let attached = object.truth("status/attached");
    if attached && !users.is_empty() && !deleting(&object) {
        return;
    }
    if users.is_empty()
        && !deleting(&object)
        && still_mounted(sim, key, object.text("spec/nodeName"))
    {
        sim.queue.push(sim.now + 10 * SECOND, Task::Attachment(key.clone()));
        return;
    }
    sim.storage.unmounting.remove(&key.name);
    if users.is_empty() && !deleting(&object) {
        let now = sim.stamp();
        sim.store.update(Kind::VolumeAttachment, key, |a| {
            a.put("metadata/deletionTimestamp", json!(now));
            a.put("metadata/deletionGracePeriodSeconds", json!(0));
        });
        sim.storage.attaching.remove(&key.name);
    }
    if storage::controller_pod(sim, object.text("spec/attacher")).is_none() {
        sim.queue.push(sim.now + RETRY, Task::Attachment(key.clone()));
        return;
    }
    let thing = format!("{}/{}", key.name, sim.now);
    let took = sim.chance.of("attach", &thing).log_normal(2 * SECOND, 0.5);
    let took = storage::longer(took, sim.surroundings.slowness(object.text("spec/attacher")));
    let done = *sim.storage.attaching.entry(key.name.clone()).or_insert(sim.now + took);
    if done > sim.now {
        sim.queue.push(done, Task::Attachment(key.clone()));
        return;
    }
    sim.storage.attaching.remove(&key.name);
    let going = sim.store.get(Kind::VolumeAttachment, key).is_some_and(|a| deleting(a));
    if going {
        sim.store.remove(Kind::VolumeAttachment, key);
    } else {
        let now = sim.stamp();
        sim.store.update(Kind::VolumeAttachment, key, |a| {
            a.put("status/attached", json!(true));
            a.put("metadata/managedFields", json!([status_manager(&now)]));
        });
        let volume = object.text("spec/source/persistentVolumeName");
        let text = format!("AttachVolume.Attach succeeded for volume {volume:?} ");
        for user in users {
            let Some(pod) = sim.store.get(Kind::Pod, &user).cloned() else { continue };
            sim.normal(&pod, Actor::controller(COMPONENT), "SuccessfulAttachVolume", text.clone());
        }
    }
    write_node(sim, object.text("spec/nodeName"));
}

/// What the API server notes when the attacher writes `status.attached`.
fn status_manager(time: &str) -> Value {
    json!({
        "manager": "csi-attacher",
        "operation": "Update",
        "apiVersion": "storage.k8s.io/v1",
        "time": time,
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:status": {"f:attached": {}}},
        "subresource": "status",
    })
}

/// Whether the volume may still be mounted: a silent kubelet does not say, and is believed for a while.
fn still_mounted(sim: &mut Simulation, key: &Key, node: &str) -> bool {
    if sim.surroundings.lost(node).is_none() {
        return false;
    }
    let since = *sim.storage.unmounting.entry(key.name.clone()).or_insert(sim.now);
    sim.now < since + FORCE_AFTER
}

/// Writes `status.volumesAttached` and `volumesInUse` of a node.
fn write_node(sim: &mut Simulation, node: &str) {
    let all = sim.store.list(Kind::VolumeAttachment, None).map(|(_, a)| a);
    let attached: Vec<_> = all
        .filter(|a| a.text("spec/nodeName") == node && a.truth("status/attached"))
        .filter_map(|a| {
            let key = Key::cluster(a.text("spec/source/persistentVolumeName"));
            let volume = sim.store.get(Kind::PersistentVolume, &key)?;
            let handle = volume.text("spec/csi/volumeHandle");
            Some(format!("kubernetes.io/csi/{}^{handle}", a.text("spec/attacher")))
        })
        .collect();
    let list: Vec<_> = attached.iter().map(|n| json!({"name": n, "devicePath": ""})).collect();
    sim.store.update(Kind::Node, &Key::cluster(node), |node| {
        for (path, list) in
            [("status/volumesAttached", json!(list)), ("status/volumesInUse", json!(attached))]
        {
            if attached.is_empty() {
                node.drop_field(path);
            } else {
                node.put(path, list);
            }
        }
    });
}

/// An attachment changed: pods on its node may go on, pods elsewhere may take the volume.
pub(crate) fn attachment_changed(sim: &mut Simulation, verb: Verb, attachment: &Value) {
    let key = Key::of(attachment);
    if verb != Verb::Deleted {
        sim.queue.push(sim.now + SECOND / 10, Task::Attachment(key));
    }
    for pod in pods_of(sim, attachment) {
        sim.queue.push(sim.now + SECOND / 10, Task::Sync(pod));
    }
}

/// A pod is gone: its volumes may be detached.
pub(crate) fn pod_gone(sim: &mut Simulation, pod: &Value) {
    let node = pod.text("spec/nodeName");
    let keys: Vec<_> = claims(pod).collect();
    for claim in keys {
        sim.storage.blocked.retain(|(uid, _)| uid != pod.text("metadata/uid"));
        let Some(volume) = volume_of(sim, &claim) else { continue };
        let name = attachment_name(sim, volume.text("metadata/name"), node);
        sim.queue.push(sim.now + SECOND, Task::Attachment(Key::cluster(name)));
    }
}
