//! Does a claim that asks for more get it? The driver's external resizer grows the volume
//! (kubernetes-csi/external-resizer), the kubelet its file system.

use serde_json::{Value, json};

use super::{Task, storage};
use crate::sim::fields::{Condition, Fields, deleting, set_condition};
use crate::sim::kind::Kind;
use crate::sim::moment::{MINUTE, Moment, SECOND};
use crate::sim::recorder::Actor;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

/// Retries of the resizer: doubling, from a second to five minutes.
const FIRST_WAIT: Moment = SECOND;
const LONGEST_WAIT: Moment = 5 * MINUTE;
/// The kubelet's volume manager comes by about once in this time.
const NODE_TAKES: Moment = 45 * SECOND;

/// Looks at a claim whose request is not what its volume has.
pub(crate) fn grow(sim: &mut Simulation, key: &Key) {
    let Some(claim) = sim.store.get(Kind::PersistentVolumeClaim, key).cloned() else { return };
    let wanted = claim.text("spec/resources/requests/storage");
    let bound = claim.text("status/phase") == "Bound";
    if !bound || deleting(&claim) || wanted == claim.text("status/capacity/storage") {
        calm(sim, key, &claim);
        return;
    }
    let volume = Key::cluster(claim.text("spec/volumeName"));
    let Some(held) = sim.store.get(Kind::PersistentVolume, &volume).cloned() else { return };
    let driver = held.text("spec/csi/driver").to_owned();
    let task = Task::Resize(key.clone());
    let about = (Kind::PersistentVolumeClaim, key.clone());
    let attempt = sim.outside.attempts.get(&about).copied();
    if let Some(attempt) = attempt.filter(|a| a.until > sim.now) {
        sim.queue.push(attempt.until, task);
        return;
    }
    if storage::controller_pod(sim, &driver).is_none() {
        sim.queue.push(sim.now + 5 * SECOND, task);
        return;
    }
    let by = Actor::Controller(format!("external-resizer {driver}"));
    if held.text("spec/capacity/storage") == wanted {
        finish(sim, key, &claim);
        return;
    }
    let times = attempt.map_or(0, |a| a.times);
    let wait = (FIRST_WAIT << times.min(10)).min(LONGEST_WAIT);
    let until = sim.now + wait.max(4 * SECOND);
    let next = crate::sim::outside::Attempt { since: sim.now, times: times + 1, until };
    sim.outside.attempts.insert(about, next);
    sim.queue.push(until, task);
    if let Some(words) = sim.outside.no_growth.get(&driver).cloned() {
        let text = format!("resize volume {:?} by resizer {driver:?} failed: {words}", volume.name);
        say(sim, key, "ControllerResizeError", "", &text, "ControllerResizeInProgress");
        sim.warning(&claim, by, "VolumeResizeFailed", text);
    } else if times == 0 {
        say(sim, key, "Resizing", "", "", "ControllerResizeInProgress");
        let text = format!("External resizer is resizing volume {}", volume.name);
        sim.normal(&claim, by, "Resizing", text);
    } else {
        let wanted = json!(wanted);
        sim.store.update(Kind::PersistentVolume, &volume, |v| {
            v.put("spec/capacity/storage", wanted);
        });
        let message =
            "Waiting for user to (re-)start a pod to finish file system resize of volume on node.";
        say(sim, key, "FileSystemResizePending", "", message, "NodeResizePending");
        sim.normal(
            &claim,
            by,
            "FileSystemResizeRequired",
            "Require file system resize of volume on node".to_owned(),
        );
        let until = sim.now + NODE_TAKES;
        let about = (Kind::PersistentVolumeClaim, key.clone());
        let next = crate::sim::outside::Attempt { since: sim.now, times: 1, until };
        sim.outside.attempts.insert(about, next);
        sim.queue.push(until, Task::Resize(key.clone()));
    }
}

/// Writes the one condition that holds, and where the resize stands.
fn say(sim: &mut Simulation, key: &Key, kind: &str, reason: &str, message: &str, stands: &str) {
    let now = sim.stamp();
    sim.store.update(Kind::PersistentVolumeClaim, key, |claim| {
        let all = claim.items("status/conditions").iter();
        let left: Vec<_> = all.filter(|c| c.text("type") == kind).cloned().collect();
        claim.put("status/conditions", Value::Array(left));
        set_condition(
            claim,
            Condition { kind, status: "True", reason, message },
            &now,
            &["lastProbeTime"],
        );
        claim.put("status/allocatedResourceStatuses", json!({"storage": stands}));
        let wanted = claim.text("spec/resources/requests/storage").to_owned();
        claim.put("status/allocatedResources/storage", json!(wanted));
    });
}

/// The kubelet has grown the file system.
fn finish(sim: &mut Simulation, key: &Key, claim: &Value) {
    let wanted = claim.text("spec/resources/requests/storage");
    sim.store.update(Kind::PersistentVolumeClaim, key, |c| {
        c.put("status/capacity/storage", json!(wanted));
        clear(c);
    });
    sim.outside.attempts.remove(&(Kind::PersistentVolumeClaim, key.clone()));
    let text = "MountVolume.NodeExpandVolume succeeded for volume".to_owned();
    sim.normal(claim, Actor::controller("kubelet"), "FileSystemResizeSuccessful", text);
}

fn clear(claim: &mut Value) {
    for path in
        ["status/conditions", "status/allocatedResourceStatuses", "status/allocatedResources"]
    {
        claim.drop_field(path);
    }
}

/// A claim that asks for what it has is no longer being resized.
fn calm(sim: &mut Simulation, key: &Key, claim: &Value) {
    if claim.at("status/allocatedResourceStatuses").is_some() {
        sim.store.update(Kind::PersistentVolumeClaim, key, clear);
        sim.outside.attempts.remove(&(Kind::PersistentVolumeClaim, key.clone()));
    }
}
