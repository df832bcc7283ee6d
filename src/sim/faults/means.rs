//! By which means are faults caused and ended? What is done to programs, templates and replicas.

use serde_json::{Value, json};

use super::Fault;
use crate::sim::controllers::delivery::hash;
use crate::sim::controllers::{budgets, kubelet, pods, scheduler};
use crate::sim::fields::Fields;
use crate::sim::founding::{delivery, image_of, next_tag, set_tag};
use crate::sim::kind::Kind;
use crate::sim::moment::{Moment, SECOND};
use crate::sim::outside::Wanted;
use crate::sim::script;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;
use crate::sim::surroundings::{Conduct, Crowd};

/// A program that ends as soon as it runs.
pub(super) const CRASHES: Conduct = Conduct::Exits { code: 1, after: 2 * SECOND };

/// The key that `namespace/name`, or a name alone, stands for.
pub(super) fn key(at: &str) -> Key {
    match at.split_once('/') {
        Some((namespace, name)) => Key::new(namespace, name),
        None => Key::cluster(at),
    }
}

/// The pods of a workload behave differently from here on.
pub(super) fn behave(sim: &mut Simulation, workload: &str, conduct: Conduct) {
    let Key { ns, name } = key(workload);
    sim.surroundings.set_app(&ns, &name, conduct);
    kubelet::recheck(sim, &ns, &name);
}

/// A workload serves again, and its pods that are not ready are deleted, as an operator would who does not care to wait
/// for back-offs.
pub(super) fn recover(sim: &mut Simulation, workload: &str) {
    behave(sim, workload, Conduct::Serves);
    replace_unready(sim, workload);
}

fn replace_unready(sim: &mut Simulation, workload: &str) {
    let Key { ns, name } = key(workload);
    let all = sim.store.list(Kind::Pod, Some(&ns));
    let unready = all.filter(|(_, pod)| pod.label("app") == name && !pods::ready(pod));
    let keys: Vec<_> = unready.map(|(key, _)| key.clone()).collect();
    for key in keys {
        sim.delete(Kind::Pod, &key);
    }
}

/// Changes the replicas of a workload by so many.
pub(super) fn scale(sim: &mut Simulation, kind: Kind, workload: &str, by: i64) {
    sim.store.update(kind, &key(workload), |set| {
        let replicas = (set.int("spec/replicas") + by).max(0);
        set.put("spec/replicas", json!(replicas));
    });
}

/// Releases the next version of a Deployment; gives its image.
pub(super) fn release(sim: &mut Simulation, deployment: &str) -> String {
    let bad = sim.surroundings.bad_images();
    edit_template(sim, deployment, |d| {
        let tag = next_tag(image_of(d), &bad);
        set_tag(d, &tag);
    });
    let found = sim.store.get(Kind::Deployment, &key(deployment));
    found.map_or("", |d| image_of(d)).to_owned()
}

/// Edits the template of a Deployment; the one before is kept for [`roll_back`].
pub(super) fn edit_template(sim: &mut Simulation, deployment: &str, edit: impl FnOnce(&mut Value)) {
    let key = key(deployment);
    let Some(before) = sim.store.get(Kind::Deployment, &key).and_then(|d| d.at("spec/template"))
    else {
        return;
    };
    sim.script.before.insert((Kind::Deployment, key.clone()), before.clone());
    sim.store.update(Kind::Deployment, &key, edit);
}

/// Puts the template of a Deployment back to what it was before [`edit_template`].
pub(super) fn roll_back(sim: &mut Simulation, deployment: &str) {
    let key = key(deployment);
    if let Some(before) = sim.script.before.remove(&(Kind::Deployment, key.clone())) {
        sim.store.update(Kind::Deployment, &key, |d| d.put("spec/template", before));
    }
}

/// Changes an object and keeps it whole for [`restore`].
pub(super) fn edit(sim: &mut Simulation, kind: Kind, at: &str, edit: impl FnOnce(&mut Value)) {
    let key = key(at);
    if let Some(before) = sim.store.get(kind, &key).map(|o| (**o).clone()) {
        sim.script.before.entry((kind, key.clone())).or_insert(before);
        sim.store.update(kind, &key, edit);
    }
}

/// Makes an object; its end is [`unmake`].
pub(super) fn make(sim: &mut Simulation, kind: Kind, object: Value) {
    sim.create(kind, object);
}

/// Deletes what [`make`] made.
pub(super) fn unmake(sim: &mut Simulation, kind: Kind, at: &str) {
    sim.delete(kind, &key(at));
}

/// Adds a commit to a repository of manifests.
pub(super) fn push(sim: &mut Simulation, repository: &str) {
    let url = delivery::repository(repository);
    let hash = hash(sim, &url);
    sim.outside.commit(&url, hash);
}

/// Commits a change of an object to a repository: whoever delivers it will apply it. What Git had before is kept for
/// [`revert`].
pub(super) fn commit(
    sim: &mut Simulation,
    repository: &str,
    (kind, at): (Kind, &str),
    edit: impl FnOnce(&mut Value),
) {
    let key = key(at);
    let Some(before) = sim.store.get(kind, &key).map(|o| (**o).clone()) else { return };
    let mut wanted = before.clone();
    edit(&mut wanted);
    sim.script.before.entry((kind, key.clone())).or_insert(before);
    sim.outside.wanted.insert((kind, key), Wanted::Object(wanted));
    push(sim, repository);
}

/// Commits the removal of an object.
pub(super) fn commit_removal(sim: &mut Simulation, repository: &str, kind: Kind, key: &Key) {
    let Some(before) = sim.store.get(kind, key).map(|o| (**o).clone()) else { return };
    sim.script.before.entry((kind, key.clone())).or_insert(before);
    sim.outside.wanted.insert((kind, key.clone()), Wanted::Nothing);
    push(sim, repository);
}

/// Commits what Git had before [`commit`].
pub(super) fn revert(sim: &mut Simulation, repository: &str, kind: Kind, at: &str) {
    let key = key(at);
    if let Some(before) = sim.script.before.remove(&(kind, key.clone())) {
        sim.outside.wanted.insert((kind, key), Wanted::Object(before));
        push(sim, repository);
    }
}

/// Deletes an object and keeps it for [`restore`].
pub(super) fn remove(sim: &mut Simulation, kind: Kind, at: &str) {
    let key = key(at);
    if let Some(before) = sim.store.get(kind, &key).map(|o| (**o).clone()) {
        sim.script.before.entry((kind, key.clone())).or_insert(before);
        sim.delete(kind, &key);
    }
}

/// Puts the spec, labels and annotations of an object back to what they were before [`edit`], or makes it again after
/// [`remove`].
pub(super) fn restore(sim: &mut Simulation, kind: Kind, at: &str) {
    let key = key(at);
    let Some(before) = sim.script.before.remove(&(kind, key.clone())) else { return };
    if sim.store.get(kind, &key).is_none() {
        sim.create(kind, before);
        return;
    }
    sim.store.update(kind, &key, |object| {
        for path in [
            "spec",
            "data",
            "reclaimPolicy",
            "webhooks",
            "rules",
            "metadata/labels",
            "metadata/annotations",
        ] {
            match before.at(path) {
                Some(held) => object.put(path, held.clone()),
                None => object.drop_field(path),
            }
        }
    });
}

/// The pods of an app behave differently on one node from here on.
pub(super) fn behave_on(sim: &mut Simulation, workload: &str, node: &str, conduct: Conduct) {
    let Key { ns, name } = key(workload);
    sim.surroundings.set_place(workload, node, conduct);
    kubelet::recheck(sim, &ns, &name);
}

/// Deletes the pods of a workload on a node.
pub(super) fn restart_on(sim: &mut Simulation, workload: &str, node: &str) {
    let Key { ns, name } = key(workload);
    for pod in sim.store.on_node(node) {
        let mine = pod.ns == ns
            && sim.store.get(Kind::Pod, &pod).is_some_and(|pod| pod.label("app") == name);
        if mine {
            sim.delete(Kind::Pod, &pod);
        }
    }
}

/// Something on a node takes so much from all others from here on; `None` for nothing.
pub(super) fn crowd(sim: &mut Simulation, node: &str, crowd: Option<Crowd>) {
    sim.surroundings.set_crowd(node, crowd);
    kubelet::recheck_node(sim, node);
}

/// The nodes of a zone.
pub(super) fn nodes_of(sim: &Simulation, zone: &str) -> Vec<Key> {
    let all = sim.store.list(Kind::Node, None);
    let mine = all.filter(|(_, node)| node.label("topology.kubernetes.io/zone") == zone);
    mine.map(|(key, _)| key.clone()).collect()
}

/// How often `kubectl drain` asks again for what it was refused.
const ASKS_AGAIN: Moment = 5 * SECOND;

/// Cordons a node and evicts its pods, again and again until it is [`uncordon`]ed.
pub(super) fn drain(sim: &mut Simulation, fault: &Fault, node: &str) {
    sim.store.update(Kind::Node, &Key::cluster(node), |node| {
        node.put("spec/unschedulable", json!(true));
        let taint = json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"});
        node.put("spec/taints", json!([taint]));
    });
    evict_all(sim, fault);
}

fn evict_all(sim: &mut Simulation, fault: &Fault) {
    let nodes = sim.store.list(Kind::Node, None);
    let cordoned: Vec<String> = nodes
        .filter(|(_, node)| node.truth("spec/unschedulable"))
        .map(|(key, _)| key.name.clone())
        .collect();
    let pods: Vec<Key> = cordoned.iter().flat_map(|node| sim.store.on_node(node)).collect();
    for pod in pods {
        let owner = sim.store.get(Kind::Pod, &pod);
        let owner = owner.map_or("", |pod| pod.text("metadata/ownerReferences/0/kind"));
        if owner != "DaemonSet" {
            budgets::evict(sim, &pod);
        }
    }
    if !cordoned.is_empty() {
        script::later(sim, ASKS_AGAIN, fault, evict_all);
    }
}

/// Takes every drained node back into service.
pub(super) fn uncordon(sim: &mut Simulation) {
    let nodes: Vec<Key> = sim.store.list(Kind::Node, None).map(|(key, _)| key.clone()).collect();
    for node in nodes {
        sim.store.update(Kind::Node, &node, |node| {
            if node.truth("spec/unschedulable") {
                node.drop_field("spec/unschedulable");
                node.drop_field("spec/taints");
            }
        });
    }
    scheduler::room_changed(sim);
}

/// Deletes the pods that kubelets put out, as an operator would who has seen why.
pub(super) fn clear_evicted(sim: &mut Simulation) {
    let all = sim.store.list(Kind::Pod, None);
    let over = all.filter(|(_, pod)| pod.text("status/reason") == "Evicted");
    let keys: Vec<Key> = over.map(|(key, _)| key.clone()).collect();
    for key in keys {
        sim.delete(Kind::Pod, &key);
    }
}
