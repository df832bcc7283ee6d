//! Does a StatefulSet have its pods and claims, one ordinal after the other?

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{admission, pods, quota, rollout};
use crate::sim::fields::{Fields, deleting};
use crate::sim::kind::Kind;
use crate::sim::recorder::Actor;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

const COMPONENT: &str = "statefulset-controller";
const REVISION: &str = "controller-revision-hash";
/// What a StatefulSet's spec needs for its claims to go with the pods that are scaled away.
const WHEN_SCALED: &str = "spec/persistentVolumeClaimRetentionPolicy/whenScaled";

struct Set {
    key: Key,
    object: Arc<Value>,
    revision: String,
    pods: BTreeMap<i64, Arc<Value>>,
}

impl Set {
    fn load(sim: &Simulation, key: &Key) -> Option<Self> {
        let object = sim.store.get(Kind::StatefulSet, key)?.clone();
        let template = object.at("spec/template")?;
        let revision = format!("{}-{}", key.name, rollout::revision(template));
        let owned = sim.store.owned(object.text("metadata/uid"), Kind::Pod);
        let pods = owned.into_iter().filter_map(|p| Some((ordinal(&p)?, p))).collect();
        Some(Self { key: key.clone(), object, revision, pods })
    }

    fn wanted(&self) -> i64 {
        self.object.int("spec/replicas")
    }

    fn healthy(&self, ordinal: i64) -> bool {
        self.pods.get(&ordinal).is_some_and(|p| pods::active(p) && pods::ready(p))
    }

    fn current(&self, pod: &Value) -> bool {
        pod.label(REVISION) == self.revision
    }
}

fn ordinal(pod: &Value) -> Option<i64> {
    pod.text("metadata/name").rsplit_once('-')?.1.parse().ok()
}

/// Takes the next step: one pod at a time, in order, each only when those before it are ready.
pub(crate) fn reconcile(sim: &mut Simulation, key: &Key) {
    let Some(set) = Set::load(sim, key) else { return };
    if !fill(sim, &set) && !drain(sim, &set) {
        update(sim, &set);
    }
    if let Some(set) = Set::load(sim, key) {
        write_status(sim, &set);
    }
}

/// Makes the first missing pod; tells whether some ordinal is not healthy yet.
fn fill(sim: &mut Simulation, set: &Set) -> bool {
    for ordinal in 0..set.wanted() {
        match set.pods.get(&ordinal) {
            None => {
                create(sim, set, ordinal);
                return true;
            }
            // A pod that failed is made again; one that is on its way out keeps its name until it is gone.
            Some(pod) if pods::finished(pod) => {
                delete(sim, set, pod);
                return true;
            }
            Some(pod) if deleting(pod) => return true,
            Some(_) if set.healthy(ordinal) => {}
            Some(_) => return true,
        }
    }
    false
}

/// Gives up the highest pod beyond the wanted count; tells whether there was one.
fn drain(sim: &mut Simulation, set: &Set) -> bool {
    let Some((ordinal, pod)) = set.pods.iter().next_back().filter(|(o, _)| **o >= set.wanted())
    else {
        drop_claims(sim, set);
        return false;
    };
    if *ordinal >= set.wanted() && !deleting(pod) {
        delete(sim, set, pod);
    }
    true
}

/// Replaces the highest pod of an old revision.
fn update(sim: &mut Simulation, set: &Set) {
    let stale = set.pods.iter().rev().find(|(_, pod)| !set.current(pod) && !deleting(pod));
    if let Some((ordinal, pod)) = stale
        && (ordinal + 1..set.wanted()).all(|o| set.healthy(o))
    {
        delete(sim, set, pod);
    }
}

fn create(sim: &mut Simulation, set: &Set, ordinal: i64) {
    let name = format!("{}-{ordinal}", set.key.name);
    let mut volumes = set.object.items("spec/template/spec/volumes").to_vec();
    for template in set.object.items("spec/volumeClaimTemplates") {
        let volume = template.text("metadata/name");
        let claim = format!("{volume}-{name}");
        volumes.push(json!({"name": volume, "persistentVolumeClaim": {"claimName": claim}}));
        if sim.store.get(Kind::PersistentVolumeClaim, &Key::new(&set.key.ns, &claim)).is_none() {
            create_claim(sim, set, template, &claim, &name);
        }
    }
    let Some(template) = set.object.at("spec/template") else { return };
    let mut pod = pods::from_template(&set.object, template, &name);
    pod.put("metadata/generateName", json!(format!("{}-", set.key.name)));
    let mut labels = pod.at("metadata/labels").cloned().unwrap_or_else(|| json!({}));
    if let Some(labels) = labels.as_object_mut() {
        labels.insert(REVISION.to_owned(), json!(set.revision));
        labels.insert("statefulset.kubernetes.io/pod-name".to_owned(), json!(name));
        labels.insert("apps.kubernetes.io/pod-index".to_owned(), json!(ordinal.to_string()));
    }
    pod.put("metadata/labels", labels);
    pod.put("spec/volumes", Value::Array(volumes));
    pod.put("spec/hostname", json!(name));
    if let Some(refusal) = admission::refusal(sim, &pod) {
        let text =
            format!("create Pod {name} in StatefulSet {} failed error: {refusal}", set.key.name);
        sim.warning(&set.object, Actor::controller(COMPONENT), "FailedCreate", text);
        quota::again(sim, Kind::StatefulSet, &set.key);
        return;
    }
    sim.create(Kind::Pod, pod);
    let text = format!("create Pod {name} in StatefulSet {} successful", set.key.name);
    sim.normal(&set.object, Actor::controller(COMPONENT), "SuccessfulCreate", text);
}

fn create_claim(sim: &mut Simulation, set: &Set, template: &Value, claim: &str, pod: &str) {
    let labels = set.object.at("spec/selector/matchLabels").cloned().unwrap_or_default();
    let object = json!({
        "metadata": {
            "name": claim,
            "namespace": set.key.ns,
            "labels": labels,
            "finalizers": ["kubernetes.io/pvc-protection"],
        },
        "spec": template.at("spec").cloned().unwrap_or_default(),
        "status": {"phase": "Pending"},
    });
    sim.create(Kind::PersistentVolumeClaim, object);
    let text = format!("create Claim {claim} Pod {pod} in StatefulSet {} success", set.key.name);
    sim.normal(&set.object, Actor::controller(COMPONENT), "SuccessfulCreate", text);
}

fn delete(sim: &mut Simulation, set: &Set, pod: &Value) {
    let key = Key::of(pod);
    sim.delete(Kind::Pod, &key);
    let text = format!("delete Pod {} in StatefulSet {} successful", key.name, set.key.name);
    sim.normal(&set.object, Actor::controller(COMPONENT), "SuccessfulDelete", text);
}

/// Deletes the claims of ordinals that were scaled away, if the set says so.
fn drop_claims(sim: &mut Simulation, set: &Set) {
    if set.object.text(WHEN_SCALED) != "Delete" {
        return;
    }
    for template in set.object.items("spec/volumeClaimTemplates") {
        let mut ordinal = set.wanted();
        loop {
            let name = format!("{}-{}-{ordinal}", template.text("metadata/name"), set.key.name);
            let key = Key::new(&set.key.ns, name);
            if sim.store.get(Kind::PersistentVolumeClaim, &key).is_none() {
                break;
            }
            super::claims::delete(sim, &key);
            ordinal += 1;
        }
    }
}

fn write_status(sim: &mut Simulation, set: &Set) {
    let all = || set.pods.values();
    let ready = all().filter(|p| pods::active(p) && pods::ready(p)).count();
    let updated = all().filter(|p| set.current(p)).count();
    let done = updated == set.pods.len() && updated as i64 == set.wanted();
    sim.store.update(Kind::StatefulSet, &set.key, |object| {
        if done || object.text("status/currentRevision").is_empty() {
            object.put("status/currentRevision", json!(set.revision));
        }
        let old = object.text("status/currentRevision").to_owned();
        let current = set.pods.values().filter(|p| p.label(REVISION) == old).count();
        object.put("status/updateRevision", json!(set.revision));
        object.put("status/observedGeneration", json!(object.int("metadata/generation")));
        object.put("status/replicas", json!(set.pods.len()));
        object.put_count("status/readyReplicas", ready);
        object.put("status/availableReplicas", json!(ready));
        object.put_count("status/currentReplicas", current);
        object.put_count("status/updatedReplicas", updated);
        object.put("status/collisionCount", json!(0));
    });
}
