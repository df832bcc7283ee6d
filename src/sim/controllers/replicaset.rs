//! Does a ReplicaSet have as many pods as it should?

use serde_json::json;

use super::{pods, quota};
use crate::sim::fields::{Condition, Fields, deleting, holds, set_condition};
use crate::sim::kind::Kind;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

const COMPONENT: &str = "replicaset-controller";

/// Makes or deletes pods and writes the counts.
pub(crate) fn reconcile(sim: &mut Simulation, key: &Key) {
    let Some(set) = sim.store.get(Kind::ReplicaSet, key).cloned() else { return };
    let all = sim.store.owned(set.text("metadata/uid"), Kind::Pod);
    let mut active: Vec<_> = all.iter().filter(|p| pods::active(p)).cloned().collect();
    let wanted = set.int("spec/replicas").max(0) as usize;
    if let Some(template) = set.at("spec/template") {
        let mut lacking = active.len()..wanted;
        let refused =
            lacking.find_map(|_| pods::create_generated(sim, &set, template, COMPONENT).err());
        write_failure(sim, key, refused.as_deref());
        match refused {
            Some(_) => quota::again(sim, Kind::ReplicaSet, key),
            None => quota::accepted(sim, Kind::ReplicaSet, key),
        }
    }
    if active.len() > wanted {
        pods::rank_for_deletion(&mut active);
        for pod in active.drain(..active.len() - wanted) {
            pods::delete(sim, &set, &pod, COMPONENT);
        }
    }
    write_status(sim, key);
}

/// The API server's refusal stands as a condition until pods are made again.
fn write_failure(sim: &mut Simulation, key: &Key, refused: Option<&str>) {
    let now = sim.stamp();
    sim.store.update_status(Kind::ReplicaSet, key, |set| {
        // While it stands, it keeps the words of the first refusal (`SetCondition` of the controller).
        if refused.is_some() && holds(set, "ReplicaFailure") {
            return;
        }
        if let Some(message) = refused {
            let reason = "FailedCreate";
            let failure = Condition { kind: "ReplicaFailure", status: "True", reason, message };
            set_condition(set, failure, &now, &[]);
        } else if set.at("status/conditions").is_some() {
            set.drop_field("status/conditions");
        }
    });
}

fn write_status(sim: &mut Simulation, key: &Key) {
    let Some(set) = sim.store.get(Kind::ReplicaSet, key).cloned() else { return };
    let all = sim.store.owned(set.text("metadata/uid"), Kind::Pod);
    let active = all.iter().filter(|p| pods::active(p));
    let (count, ready) = active.fold((0, 0), |(n, r), p| (n + 1, r + usize::from(pods::ready(p))));
    let terminating = all.iter().filter(|p| deleting(p) && !pods::finished(p)).count();
    let generation = set.int("metadata/generation");
    sim.store.update_status(Kind::ReplicaSet, key, |set| {
        set.put("status/replicas", json!(count));
        set.put_count("status/fullyLabeledReplicas", count);
        set.put_count("status/readyReplicas", ready);
        set.put_count("status/availableReplicas", ready);
        set.put("status/terminatingReplicas", json!(terminating));
        set.put("status/observedGeneration", json!(generation));
    });
}
