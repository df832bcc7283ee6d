//! Are kinds defined, and what goes with a definition that is deleted? As the API server's `establishing` and
//! `crdfinalizer` controllers (`k8s.io/apiextensions-apiserver`) do it.

use serde_json::json;

use super::{Task, collector};
use crate::sim::fields::{Condition, Fields, deleting, set_condition};
use crate::sim::kind::{Kind, SERVED};
use crate::sim::moment::{Moment, SECOND};
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

pub(crate) const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
/// `crdfinalizer` looks at what is left every five seconds.
const RETRY: Moment = 5 * SECOND;

/// Looks at a definition: establishes it, or deletes all objects of its kind before it goes.
pub(crate) fn reconcile(sim: &mut Simulation, key: &Key) {
    let Some(found) = sim.store.get(Kind::CustomResourceDefinition, key).cloned() else { return };
    let now = sim.stamp();
    let set = |sim: &mut Simulation, kind, reason, message| {
        sim.store.update(Kind::CustomResourceDefinition, key, |d| {
            set_condition(d, Condition { kind, status: "True", reason, message }, &now, &[]);
        });
    };
    if !deleting(&found) {
        set(sim, "NamesAccepted", "NoConflicts", "no conflicts found");
        set(sim, "Established", "InitialNamesAccepted", "the initial names have been accepted");
        sim.store.update(Kind::CustomResourceDefinition, key, |d| {
            let version = d.text("spec/versions/0/name").to_owned();
            d.put("status/storedVersions", json!([version]));
        });
        return;
    }
    let (group, plural) = (found.text("spec/group"), found.text("spec/names/plural"));
    let row = SERVED.iter().find(|s| s.group == group && s.plural == plural);
    let message = "CustomResource deletion is in progress";
    set(sim, "Terminating", "InstanceDeletionInProgress", message);
    let Some(kind) = row.map(|s| s.kind) else {
        collector::release(sim, Kind::CustomResourceDefinition, key, FINALIZER);
        return;
    };
    let all = sim.store.list(kind, None).filter(|(_, o)| !deleting(o));
    let keys: Vec<_> = all.map(|(k, _)| k.clone()).collect();
    for object in keys {
        sim.delete(kind, &object);
    }
    if sim.store.list(kind, None).next().is_none() {
        collector::release(sim, Kind::CustomResourceDefinition, key, FINALIZER);
    } else {
        sim.queue
            .push(sim.now + RETRY, Task::Reconcile(Kind::CustomResourceDefinition, key.clone()));
    }
}
