//! What do operators and clouds do to a cluster on an ordinary day?

use serde_json::{Value, json};

use crate::sim::controllers::{pods, scheduler};
use crate::sim::faults::means;
use crate::sim::fields::{Condition, Fields, controller, deleting, set_condition};
use crate::sim::founding::{image_of, next_tag, set_tag};
use crate::sim::kind::Kind;
use crate::sim::manifests;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// The next version of whatever has a pod template goes out.
pub(super) fn release(sim: &mut Simulation, kind: Kind, at: &str) {
    let bad = sim.surroundings.bad_images();
    sim.store.update(kind, &means::key(at), |workload| {
        let tag = next_tag(image_of(workload), &bad);
        set_tag(workload, &tag);
    });
}

/// `kubectl cordon`, and what the node lifecycle controller makes of it.
pub(super) fn cordon(sim: &mut Simulation, node: &str) {
    let now = sim.stamp();
    sim.store.update(Kind::Node, &Key::cluster(node), |node| {
        let mut taints = node.items("spec/taints").to_vec();
        taints.push(json!({"key": UNSCHEDULABLE, "effect": "NoSchedule", "timeAdded": now}));
        node.put("spec/unschedulable", json!(true));
        node.put("spec/taints", Value::Array(taints));
    });
}

/// `kubectl uncordon`.
pub(super) fn uncordon(sim: &mut Simulation, node: &str) {
    sim.store.update(Kind::Node, &Key::cluster(node), |node| {
        let mut taints = node.items("spec/taints").to_vec();
        taints.retain(|taint| taint.text("key") != UNSCHEDULABLE);
        node.drop_field("spec/unschedulable");
        if taints.is_empty() {
            node.drop_field("spec/taints");
        } else {
            node.put("spec/taints", Value::Array(taints));
        }
    });
    scheduler::room_changed(sim);
}

/// `kubectl drain`: a cordon, then every pod that is not a DaemonSet's is evicted.
pub(super) fn drain(sim: &mut Simulation, node: &str) {
    cordon(sim, node);
    let now = sim.stamp();
    let evicted = Condition {
        kind: "DisruptionTarget",
        status: "True",
        reason: "EvictionByEvictionAPI",
        message: "Eviction API: evicting",
    };
    for key in sim.store.on_node(node) {
        let Some(pod) = sim.store.get(Kind::Pod, &key) else { continue };
        let stays = controller(pod).is_some_and(|owner| owner.text("kind") == "DaemonSet");
        if stays || deleting(pod) || pods::finished(pod) {
            continue;
        }
        sim.store.update(Kind::Pod, &key, |pod| {
            set_condition(pod, evicted, &now, &[]);
        });
        sim.delete(Kind::Pod, &key);
    }
}

/// A machine comes: its kubelet registers it, its CSI plugin too.
pub(super) fn join(sim: &mut Simulation, name: &str) {
    let zone = name.trim_start_matches("node-").chars().next().unwrap_or('a');
    let nth = sim.chance.of("late-node", name).between(500, 900) as u32;
    let node = manifests::node(sim.chance, name, &format!("zone-{zone}"), nth, sim.now);
    sim.create(Kind::Node, node);
    sim.create(Kind::CsiNode, manifests::csi_node(sim.chance, name));
}

/// A machine goes for good: its objects are deleted, and the pods that are left go with it, as the pod garbage
/// collector sees to.
pub(super) fn leave(sim: &mut Simulation, name: &str) {
    for pod in sim.store.on_node(name) {
        sim.store.remove(Kind::Pod, &pod);
    }
    sim.delete(Kind::CsiNode, &Key::cluster(name));
    sim.delete(Kind::Node, &Key::cluster(name));
}

/// Starts a Job by hand from a CronJob, as `kubectl create job --from` does.
pub(super) fn start_job(sim: &mut Simulation, cron_job: &str, name: &str) {
    let from = means::key(cron_job);
    let Some(cron) = sim.store.get(Kind::CronJob, &from) else { return };
    let mut spec = cron.at("spec/jobTemplate/spec").cloned().unwrap_or_default();
    spec.put("template/metadata/labels", json!({"app": name}));
    let job = json!({
        "metadata": {
            "name": name,
            "namespace": from.ns,
            "labels": {"app": name},
            "annotations": {"cronjob.kubernetes.io/instantiate": "manual"},
        },
        "spec": spec,
        "status": {},
    });
    sim.create(Kind::Job, job);
}

/// Makes another Deployment like one that is there.
pub(super) fn install_like(sim: &mut Simulation, model: &str, at: &str, replicas: u32) {
    let key = means::key(at);
    let Some(model) = sim.store.get(Kind::Deployment, &means::key(model)) else { return };
    let mut spec = model.at("spec").cloned().unwrap_or_default();
    let labels = json!({"app": key.name});
    spec.put("replicas", json!(replicas));
    spec.put("selector/matchLabels", labels.clone());
    spec.put("template/metadata/labels", labels.clone());
    let deployment = json!({
        "metadata": {"name": key.name, "namespace": key.ns, "labels": labels},
        "spec": spec,
        "status": {},
    });
    sim.create(Kind::Deployment, deployment);
}

/// Runs a pod of nobody's, as `kubectl run` does.
pub(super) fn run_pod(sim: &mut Simulation, model: &str, at: &str) {
    let key = means::key(at);
    let Some(model) = sim.store.get(Kind::Deployment, &means::key(model)).cloned() else { return };
    let Some(template) = model.at("spec/template") else { return };
    let mut pod = pods::from_template(&model, template, &key.name);
    pod.put("metadata/namespace", json!(key.ns));
    pod.put("metadata/labels", json!({"run": key.name}));
    pod.drop_field("metadata/ownerReferences");
    sim.create(Kind::Pod, pod);
}

/// One pod of an app, the first by name.
pub(super) fn one_pod(sim: &Simulation, workload: &str) -> Option<Key> {
    let Key { ns, name } = means::key(workload);
    let mut all = sim.store.list(Kind::Pod, Some(&ns));
    all.find(|(_, pod)| pod.label("app") == name && !deleting(pod)).map(|(key, _)| key.clone())
}
