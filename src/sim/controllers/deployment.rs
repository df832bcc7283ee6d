//! Which ReplicaSets does a Deployment need, how large, and does its rollout get on?

use std::sync::Arc;

use serde_json::{Value, json};

use super::Task;
use super::rollout::{self, Bounds};
use crate::sim::fields::{Condition, Fields, condition, owner_reference, set_condition};
use crate::sim::kind::Kind;
use crate::sim::moment::{Moment, SECOND, parse};
use crate::sim::recorder::Actor;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

const REVISION: &str = "deployment.kubernetes.io/revision";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MOST: &str = "deployment.kubernetes.io/max-replicas";
const HASH: &str = "pod-template-hash";

/// A Deployment with its ReplicaSets.
struct Fleet {
    deployment: Arc<Value>,
    /// Of the current template.
    new: Arc<Value>,
    old: Vec<Arc<Value>>,
    bounds: Bounds,
}

impl Fleet {
    fn wanted(&self) -> i64 {
        self.deployment.int("spec/replicas")
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Value>> {
        self.old.iter().chain([&self.new])
    }

    fn sum(&self, path: &str) -> i64 {
        self.all().map(|set| set.int(path)).sum()
    }
}

/// Rolls towards the template and writes counts and conditions.
pub(crate) fn reconcile(sim: &mut Simulation, key: &Key) {
    let Some(deployment) = sim.store.get(Kind::Deployment, key).cloned() else { return };
    let Some(fleet) = assemble(sim, key, deployment) else { return };
    if !grow(sim, &fleet) {
        shrink(sim, &fleet);
    }
    write_status(sim, key);
    forget_old(sim, key);
}

/// The fleet, with the ReplicaSet of the current template; `None` while that set's name is taken by another's.
fn assemble(sim: &mut Simulation, key: &Key, deployment: Arc<Value>) -> Option<Fleet> {
    let template = deployment.at("spec/template").unwrap_or(&Value::Null);
    let hash = rollout::revision(template);
    let name = format!("{}-{hash}", key.name);
    let sets = sim.store.owned(deployment.text("metadata/uid"), Kind::ReplicaSet);
    let latest = sets.iter().map(|s| revision_of(s)).max().unwrap_or(0);
    let new_key = Key::new(&key.ns, &name);
    match sets.iter().find(|s| s.text("metadata/name") == name) {
        None => {
            create(sim, key, &deployment, template.clone(), &hash, latest + 1);
        }
        Some(set) if revision_of(set) < latest => set_revision(sim, key, &new_key, latest + 1),
        Some(_) => {}
    }
    let deployment = sim.store.get(Kind::Deployment, key).cloned().unwrap_or(deployment);
    let mut sets = sim.store.owned(deployment.text("metadata/uid"), Kind::ReplicaSet);
    let index = sets.iter().position(|s| s.text("metadata/name") == name)?;
    let new = sets.swap_remove(index);
    sets.sort_by_key(|set| revision_of(set));
    let bounds = rollout::bounds(&deployment);
    Some(Fleet { deployment, new, old: sets, bounds })
}

fn revision_of(set: &Value) -> i64 {
    set.annotation(REVISION).parse().unwrap_or(0)
}

fn set_revision(sim: &mut Simulation, deployment: &Key, set: &Key, revision: i64) {
    let text = revision.to_string();
    sim.store.update(Kind::ReplicaSet, set, |s| s.annotate(REVISION, &text));
    sim.store.update(Kind::Deployment, deployment, |d| d.annotate(REVISION, &text));
}

fn create(
    sim: &mut Simulation,
    key: &Key,
    deployment: &Value,
    mut template: Value,
    hash: &str,
    revision: i64,
) {
    let mut labels = template.at("metadata/labels").cloned().unwrap_or_else(|| json!({}));
    labels.put(HASH, json!(hash));
    template.put("metadata/labels", labels.clone());
    let mut selector = deployment.at("spec/selector").cloned().unwrap_or_default();
    selector.put(&format!("matchLabels/{HASH}"), json!(hash));
    let name = format!("{}-{hash}", key.name);
    let set = json!({
        "metadata": {
            "name": name,
            "namespace": key.ns,
            "labels": labels,
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": {"replicas": 0, "selector": selector, "template": template},
        "status": {"replicas": 0},
    });
    let set_key = sim.create(Kind::ReplicaSet, set);
    set_revision(sim, key, &set_key, revision);
    progress(
        sim,
        key,
        "True",
        "NewReplicaSetCreated",
        &format!("Created new replica set {name:?}"),
    );
}

/// Scales the new ReplicaSet; tells whether it did.
fn grow(sim: &mut Simulation, fleet: &Fleet) -> bool {
    let current = fleet.new.int("spec/replicas");
    let wanted = fleet.wanted();
    let target = if current >= wanted {
        wanted
    } else {
        let room = wanted + fleet.bounds.surge - fleet.sum("spec/replicas");
        current + room.clamp(0, wanted - current)
    };
    scale(sim, fleet, &fleet.new, target)
}

/// Scales old ReplicaSets down: first what does not serve anyway, then as much as availability allows.
fn shrink(sim: &mut Simulation, fleet: &Fleet) {
    let least = fleet.wanted() - fleet.bounds.unavailable;
    let lacking = fleet.new.int("spec/replicas") - fleet.new.int("status/availableReplicas");
    let mut may_go = fleet.sum("spec/replicas") - least - lacking;
    let mut spare = fleet.sum("status/availableReplicas") - least;
    for set in &fleet.old {
        let (size, serving) = (set.int("spec/replicas"), set.int("status/availableReplicas"));
        let broken = (size - serving).clamp(0, may_go.max(0));
        may_go -= broken;
        let healthy = (size - broken).min(spare.max(0)).min(may_go.max(0));
        may_go -= healthy;
        spare -= healthy;
        scale(sim, fleet, set, size - broken - healthy);
    }
}

fn scale(sim: &mut Simulation, fleet: &Fleet, set: &Value, target: i64) -> bool {
    let wanted = fleet.wanted().to_string();
    let most = (fleet.wanted() + fleet.bounds.surge).to_string();
    let size = set.int("spec/replicas");
    let told = |key: &str, value: &str| target == 0 || set.annotation(key) == value;
    if size == target && told(DESIRED, &wanted) && told(MOST, &most) {
        return false;
    }
    let key = Key::of(set);
    sim.store.update(Kind::ReplicaSet, &key, |set| {
        set.put("spec/replicas", json!(target));
        if target > 0 {
            set.annotate(DESIRED, &wanted);
            set.annotate(MOST, &most);
        }
    });
    if size == target {
        return false;
    }
    let way = if target > size { "up" } else { "down" };
    let text = format!("Scaled {way} replica set {} from {size} to {target}", key.name);
    sim.normal(
        &fleet.deployment,
        Actor::controller("deployment-controller"),
        "ScalingReplicaSet",
        text,
    );
    true
}

fn write_status(sim: &mut Simulation, key: &Key) {
    let Some(deployment) = sim.store.get(Kind::Deployment, key).cloned() else { return };
    let Some(fleet) = assemble(sim, key, deployment) else { return };
    let count = |path: &str| fleet.sum(path).max(0) as usize;
    let available = fleet.sum("status/availableReplicas");
    let lacking = (fleet.sum("spec/replicas") - available).max(0) as usize;
    let status = fleet.deployment.at("status").cloned().unwrap_or_else(|| json!({}));
    let mut after = json!({"status": status});
    let generation = fleet.deployment.int("metadata/generation");
    after.put("status/observedGeneration", json!(generation));
    after.put_count("status/replicas", count("status/replicas"));
    after.put_count("status/updatedReplicas", fleet.new.int("status/replicas").max(0) as usize);
    after.put_count("status/readyReplicas", count("status/readyReplicas"));
    after.put_count("status/availableReplicas", count("status/availableReplicas"));
    after.put_count("status/unavailableReplicas", lacking);
    after.put("status/terminatingReplicas", json!(count("status/terminatingReplicas")));
    let enough = available >= fleet.wanted() - fleet.bounds.unavailable;
    let (status, reason, message) = if enough {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    let wanted = Condition { kind: "Available", status, reason, message };
    set_condition(&mut after, wanted, &sim.stamp(), &["lastUpdateTime"]);
    copy_failure(&fleet.new, &mut after, &sim.stamp());
    let verdict = judge(sim.now, &fleet, &after);
    sim.store.update_status(Kind::Deployment, key, |d| *d = after);
    let name = fleet.new.text("metadata/name");
    match verdict {
        Progress::Done => {
            let text = format!("ReplicaSet {name:?} has successfully progressed.");
            progress(sim, key, "True", "NewReplicaSetAvailable", &text);
        }
        Progress::Moving => {
            progress(
                sim,
                key,
                "True",
                "ReplicaSetUpdated",
                &format!("ReplicaSet {name:?} is progressing."),
            );
        }
        Progress::Stuck => {
            let text = format!("ReplicaSet {name:?} has timed out progressing.");
            progress(sim, key, "False", "ProgressDeadlineExceeded", &text);
        }
        Progress::Waiting(until) => {
            sim.queue.push(until, Task::Reconcile(Kind::Deployment, key.clone()));
        }
        Progress::None => {}
    }
}

/// Shows what the new ReplicaSet cannot make.
fn copy_failure(set: &Value, deployment: &mut Value, now: &str) {
    const KIND: &str = "ReplicaFailure";
    if let Some(failure) = condition(set, KIND) {
        let (reason, message) = (failure.text("reason"), failure.text("message"));
        let wanted = Condition { kind: KIND, status: "True", reason, message };
        set_condition(deployment, wanted, now, &["lastUpdateTime"]);
    } else if condition(deployment, KIND).is_some() {
        let all = deployment.items("status/conditions").iter();
        let rest: Vec<Value> = all.filter(|c| c.text("type") != KIND).cloned().collect();
        deployment.put("status/conditions", Value::Array(rest));
    }
}

enum Progress {
    /// Outside a rollout the deadline does not count.
    None,
    Done,
    Moving,
    Stuck,
    Waiting(Moment),
}

/// `syncRolloutStatus` of the Deployment controller.
fn judge(now: Moment, fleet: &Fleet, after: &Value) -> Progress {
    let before = &*fleet.deployment;
    let known = condition(before, "Progressing");
    let reason = known.map_or("", |c| c.text("reason"));
    let wanted = fleet.wanted();
    let count = |d: &Value, field: &str| d.int(&format!("status/{field}"));
    let settled = count(after, "replicas") == count(after, "updatedReplicas");
    if settled && reason == "NewReplicaSetAvailable" {
        return Progress::None;
    }
    let complete = ["replicas", "updatedReplicas", "availableReplicas"]
        .iter()
        .all(|field| count(after, field) == wanted);
    if complete {
        return Progress::Done;
    }
    let old = |d: &Value| count(d, "replicas") - count(d, "updatedReplicas");
    let more = ["updatedReplicas", "readyReplicas", "availableReplicas"]
        .iter()
        .any(|field| count(after, field) > count(before, field));
    if more || old(after) < old(before) {
        return Progress::Moving;
    }
    if reason == "ProgressDeadlineExceeded" {
        return Progress::None;
    }
    let since = known.and_then(|c| parse(c.text("lastUpdateTime"))).unwrap_or(now);
    let deadline = before.at("spec/progressDeadlineSeconds").and_then(Value::as_i64).unwrap_or(600);
    let until = since + deadline * SECOND + SECOND;
    if reason == "NewReplicaSetAvailable" {
        Progress::None
    } else if now >= until {
        Progress::Stuck
    } else {
        Progress::Waiting(until)
    }
}

/// Writes the Progressing condition; its `lastUpdateTime` moves with every step of progress.
fn progress(sim: &mut Simulation, key: &Key, status: &str, reason: &str, message: &str) {
    let now = sim.stamp();
    sim.store.update_status(Kind::Deployment, key, |deployment| {
        let wanted = Condition { kind: "Progressing", status, reason, message };
        set_condition(deployment, wanted, &now, &["lastUpdateTime"]);
        let all = deployment.items("status/conditions");
        if let Some(index) = all.iter().position(|c| c.text("type") == "Progressing") {
            deployment.put(&format!("status/conditions/{index}/lastUpdateTime"), json!(now));
        }
    });
}

/// Deletes ReplicaSets of revisions beyond `spec.revisionHistoryLimit`.
fn forget_old(sim: &mut Simulation, key: &Key) {
    let Some(deployment) = sim.store.get(Kind::Deployment, key) else { return };
    let limit = deployment.at("spec/revisionHistoryLimit").and_then(Value::as_u64).unwrap_or(10);
    let current = deployment.annotation(REVISION).to_owned();
    let mut idle: Vec<_> = sim.store.owned(deployment.text("metadata/uid"), Kind::ReplicaSet);
    idle.retain(|set| {
        set.annotation(REVISION) != current
            && set.int("spec/replicas") == 0
            && set.int("status/replicas") == 0
    });
    idle.sort_by_key(|set| revision_of(set));
    let surplus = idle.len().saturating_sub(limit as usize);
    for set in idle.iter().take(surplus) {
        sim.delete(Kind::ReplicaSet, &Key::of(set));
    }
}
