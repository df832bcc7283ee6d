//! Are volumes snapshotted, and do snapshots become ready? A schedule as backup tools keep it, and the snapshot
//! controller with the driver's sidecar (kubernetes-csi/external-snapshotter).

use serde_json::{Value, json};

use super::storage::controller_pod;
use super::{Task, works};
use crate::sim::fields::{Fields, deleting};
use crate::sim::kind::Kind;
use crate::sim::manifests::DRIVER;
use crate::sim::moment::{MINUTE, Moment, SECOND, parse};
use crate::sim::recorder::Actor;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

/// Who keeps the schedule.
pub(crate) const SCHEDULER: (&str, &str) = ("platform", "snapshot-scheduler");
/// Of these claims a snapshot is made this often, and so many are kept.
pub(crate) const CLAIMS: [(&str, &str); 2] =
    [("payments", "data-ledger-0"), ("accounts", "data-directory-0")];
pub(crate) const EVERY: Moment = 20 * MINUTE;
const KEPT: usize = 5;
pub(crate) const CLASS: &str = "block-snapshots";
const RETRY: Moment = 30 * SECOND;

/// Makes the snapshots that are due, and asks to be woken for the next.
pub(crate) fn schedule(sim: &mut Simulation) {
    sim.queue.push(sim.now + EVERY, Task::Snapshots);
    if !works(sim, SCHEDULER) {
        return;
    }
    for (ns, claim) in CLAIMS {
        let source = Key::new(ns, claim);
        if sim.store.get(Kind::PersistentVolumeClaim, &source).is_none() {
            continue;
        }
        let stamp = sim.now / SECOND;
        let snapshot = json!({
            "metadata": {
                "name": format!("{claim}-{stamp}"),
                "namespace": ns,
                "labels": {"app": SCHEDULER.1},
            },
            "spec": {
                "source": {"persistentVolumeClaimName": claim},
                "volumeSnapshotClassName": CLASS,
            },
            "status": {"readyToUse": false},
        });
        sim.create(Kind::VolumeSnapshot, snapshot);
        let of = |s: &Value| s.text("spec/source/persistentVolumeClaimName") == claim;
        let all = sim.store.list(Kind::VolumeSnapshot, Some(ns)).filter(|(_, s)| of(s));
        let keys: Vec<_> = all.map(|(key, _)| key.clone()).collect();
        for key in keys.iter().take(keys.len().saturating_sub(KEPT)) {
            sim.delete(Kind::VolumeSnapshot, key);
        }
    }
}

/// Looks at a snapshot: it becomes ready a few seconds after it was asked for, or tells why not.
pub(crate) fn snapshot(sim: &mut Simulation, key: &Key) {
    let Some(found) = sim.store.get(Kind::VolumeSnapshot, key).cloned() else { return };
    if found.truth("status/readyToUse") || deleting(&found) {
        return;
    }
    let task = Task::Reconcile(Kind::VolumeSnapshot, key.clone());
    if controller_pod(sim, DRIVER).is_none() {
        sim.queue.push(sim.now + RETRY, task);
        return;
    }
    let now = sim.stamp();
    let content = format!("snapcontent-{}", found.text("metadata/uid"));
    let by = Actor::controller("snapshot-controller");
    if let Some(words) = sim.outside.no_snapshots.get(DRIVER).cloned() {
        let message = format!(
            "Failed to check and update snapshot content: failed to take snapshot of the volume: {words:?}"
        );
        sim.store.update(Kind::VolumeSnapshot, key, |s| {
            if s.text("status/error/message") != message {
                s.put("status/error", json!({"message": message, "time": now}));
            }
            s.put("status/boundVolumeSnapshotContentName", json!(content));
        });
        sim.warning(&found, by, "SnapshotContentCheckandUpdateFailed", message);
        sim.queue.push(sim.now + RETRY, task);
        return;
    }
    if found.text("status/boundVolumeSnapshotContentName").is_empty() {
        sim.store.update(Kind::VolumeSnapshot, key, |s| {
            s.put("status/boundVolumeSnapshotContentName", json!(content));
            s.put("status/creationTime", json!(now));
        });
        sim.queue.push(sim.now + SECOND, task);
        return;
    }
    let took = sim.chance.of("snapshot", &content).log_normal(8 * SECOND, 0.5);
    let begun = parse(found.text("status/creationTime"));
    if let Some(done) = begun.map(|at| at + took).filter(|done| *done > sim.now) {
        sim.queue.push(done, task);
        return;
    }
    sim.store.update(Kind::VolumeSnapshot, key, |s| {
        if s.at("status/creationTime").is_none() {
            s.put("status/creationTime", json!(now));
        }
        s.put("status/readyToUse", json!(true));
        s.drop_field("status/error");
    });
    sim.normal(&found, by, "SnapshotReady", format!("Snapshot {key} is ready to use."));
}
