//! What goes when something is deleted? Finalizers hold an object, a namespace takes everything in it along.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Task;
use crate::sim::fields::{Condition, Fields, deleting, set_condition};
use crate::sim::kind::{Kind, SERVED};
use crate::sim::moment::{Moment, SECOND};
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

/// How soon a namespace that still holds something is looked at again; its controller waits for as long as it
/// estimates (`NamespaceConditionUpdater`, `namespacedResourcesDeleter`), half a minute at most of what happens here.
const RETRY: Moment = 15 * SECOND;

/// Asks for an object to be deleted: it goes at once unless a finalizer holds it.
pub(crate) fn delete(sim: &mut Simulation, kind: Kind, key: &Key) {
    let now = sim.stamp();
    sim.store.update(kind, key, |object| {
        if !deleting(object) {
            object.put("metadata/deletionTimestamp", json!(now));
            object.put("metadata/deletionGracePeriodSeconds", json!(0));
        }
        if kind == Kind::Namespace {
            object.put("status/phase", json!("Terminating"));
        }
    });
    if kind != Kind::Namespace {
        finish(sim, kind, key);
    }
}

/// Removes an object that is being deleted and that nothing holds any more.
pub(crate) fn finish(sim: &mut Simulation, kind: Kind, key: &Key) {
    let free = |o: &Value| deleting(o) && o.items("metadata/finalizers").is_empty();
    if sim.store.get(kind, key).is_some_and(|o| free(o)) {
        sim.store.remove(kind, key);
    }
}

/// An object that is being deleted changed: what its own controllers do not remove goes once nothing holds it.
pub(crate) fn released(sim: &mut Simulation, kind: Kind, key: &Key, object: &Value) {
    let own = matches!(
        kind,
        Kind::Namespace
            | Kind::PersistentVolumeClaim
            | Kind::PersistentVolume
            | Kind::VolumeAttachment
    );
    if !own && object.items("metadata/finalizers").is_empty() {
        finish(sim, kind, key);
    }
}

/// Takes a finalizer away, as its controller does once it has cleaned up.
pub(crate) fn release(sim: &mut Simulation, kind: Kind, key: &Key, finalizer: &str) {
    sim.store.update(kind, key, |object| {
        let left: Vec<_> = object.items("metadata/finalizers").to_vec();
        let left: Vec<_> = left.into_iter().filter(|f| f != finalizer).collect();
        if left.is_empty() {
            object.drop_field("metadata/finalizers");
        } else {
            object.put("metadata/finalizers", Value::Array(left));
        }
    });
}

/// Empties a namespace that is being deleted.
pub(crate) fn namespace(sim: &mut Simulation, key: &Key) {
    let Some(namespace) = sim.store.get(Kind::Namespace, key) else { return };
    if !deleting(namespace) {
        return;
    }
    let kinds = || SERVED.iter().take(Kind::COUNT).filter(|s| s.namespaced);
    for served in kinds() {
        let all = sim.store.list(served.kind, Some(&key.name)).filter(|(_, o)| !deleting(o));
        let keys: Vec<_> = all.map(|(k, _)| k.clone()).collect();
        for inside in keys {
            sim.delete(served.kind, &inside);
        }
    }
    let (mut left, mut held): (Vec<String>, BTreeMap<String, usize>) = Default::default();
    for served in kinds() {
        let mut count = 0;
        for (_, object) in sim.store.list(served.kind, Some(&key.name)) {
            count += 1;
            for finalizer in object.items("metadata/finalizers").iter().filter_map(Value::as_str) {
                *held.entry(finalizer.to_owned()).or_default() += 1;
            }
        }
        if count > 0 {
            left.push(format!("{}.{} has {count} resource instances", served.plural, served.group));
        }
    }
    if left.is_empty() {
        sim.store.remove(Kind::Namespace, key);
        return;
    }
    write_conditions(sim, key, &left, &held);
    sim.queue.push(sim.now + RETRY, Task::Reconcile(Kind::Namespace, key.clone()));
}

/// The conditions and texts of `pkg/controller/namespace/deletion/status_condition_utils.go`.
fn write_conditions(
    sim: &mut Simulation,
    key: &Key,
    left: &[String],
    held: &BTreeMap<String, usize>,
) {
    let remaining = format!("Some resources are remaining: {}", left.join(", "));
    let names: Vec<_> =
        held.iter().map(|(f, n)| format!("{f} in {n} resource instances")).collect();
    let finalizers =
        format!("Some content in the namespace has finalizers remaining: {}", names.join(", "));
    let rows = [
        (
            "NamespaceDeletionDiscoveryFailure",
            "False",
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            "False",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        ("NamespaceContentRemaining", "True", "SomeResourcesRemain", &remaining),
        if held.is_empty() {
            (
                "NamespaceFinalizersRemaining",
                "False",
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished",
            )
        } else {
            ("NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain", &finalizers)
        },
    ];
    let now = sim.stamp();
    sim.store.update(Kind::Namespace, key, |namespace| {
        for (kind, status, reason, message) in rows {
            set_condition(namespace, Condition { kind, status, reason, message }, &now, &[]);
        }
    });
}
