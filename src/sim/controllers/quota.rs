//! How much of its quota has a namespace used, and who is refused? As the quota controller and the admission plugin
//! count (`pkg/controller/resourcequota`, `plugin/resourcequota`).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::scheduler::quantity;
use super::{Task, pods};
use crate::sim::fields::Fields;
use crate::sim::kind::Kind;
use crate::sim::moment::{Moment, SECOND};
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

/// Waits of a work queue's rate limiter: 5 ms doubling to 1000 s.
const FIRST_WAIT: Moment = 5;
const LONGEST_WAIT: Moment = 1000 * SECOND;

/// How often controllers were refused in a row.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    in_a_row: BTreeMap<(Kind, Key), u32>,
}

/// Has a controller come back to its object after a refusal, later each time.
pub(crate) fn again(sim: &mut Simulation, kind: Kind, key: &Key) {
    let count = sim.memories.refusals.in_a_row.entry((kind, key.clone())).or_default();
    *count += 1;
    let wait = (FIRST_WAIT << (*count).min(20)).min(LONGEST_WAIT);
    sim.queue.push(sim.now + wait, Task::Reconcile(kind, key.clone()));
}

/// A controller got its pods.
pub(crate) fn accepted(sim: &mut Simulation, kind: Kind, key: &Key) {
    if !sim.memories.refusals.in_a_row.is_empty() {
        sim.memories.refusals.in_a_row.remove(&(kind, key.clone()));
    }
}

/// What of a quota a pod uses: pods, thousandths of CPUs, bytes.
fn charge(pod: &Value, resource: &str) -> i64 {
    let sum = |path: &str, milli: bool| -> i64 {
        pod.items("spec/containers").iter().map(|c| quantity(c.text(path), milli)).sum()
    };
    match resource {
        "pods" => 1,
        "requests.cpu" => sum("resources/requests/cpu", true),
        "requests.memory" => sum("resources/requests/memory", false),
        _ => 0,
    }
}

fn written(resource: &str, amount: i64) -> String {
    match resource {
        "requests.cpu" if amount % 1000 == 0 => (amount / 1000).to_string(),
        "requests.cpu" => format!("{amount}m"),
        "requests.memory" if amount % (1 << 20) == 0 && amount > 0 => format!("{}Mi", amount >> 20),
        _ => amount.to_string(),
    }
}

fn used(sim: &Simulation, ns: &str, resource: &str) -> i64 {
    let counted = sim.store.list(Kind::Pod, Some(ns)).filter(|(_, pod)| !pods::finished(pod));
    counted.map(|(_, pod)| charge(pod, resource)).sum()
}

/// Writes what is used.
pub(crate) fn reconcile(sim: &mut Simulation, key: &Key) {
    let Some(quota) = sim.store.get(Kind::ResourceQuota, key).cloned() else { return };
    let hard = quota.at("spec/hard").cloned().unwrap_or_else(|| json!({}));
    let mut counts = json!({});
    for resource in hard.as_object().into_iter().flatten().map(|(name, _)| name) {
        let text = written(resource, used(sim, &key.ns, resource));
        if let Some(counts) = counts.as_object_mut() {
            counts.insert(resource.clone(), json!(text));
        }
    }
    sim.store.update(Kind::ResourceQuota, key, |quota| {
        quota.put("status/hard", hard);
        quota.put("status/used", counts);
    });
}

/// Why a quota refuses a pod, in the words of the API server.
pub(super) fn refusal(sim: &Simulation, pod: &Value) -> Option<String> {
    let (ns, name) = (pod.text("metadata/namespace"), pod.text("metadata/name"));
    for (key, quota) in sim.store.list(Kind::ResourceQuota, Some(ns)) {
        for (resource, hard) in
            quota.at("spec/hard").and_then(Value::as_object).into_iter().flatten()
        {
            let limit = quantity(hard.as_str().unwrap_or(""), resource == "requests.cpu");
            let (asked, held) = (charge(pod, resource), used(sim, ns, resource));
            if asked > 0 && held + asked > limit {
                let [asked, held] = [asked, held].map(|n| written(resource, n));
                let limit = hard.as_str().unwrap_or("");
                return Some(format!(
                    "pods {name:?} is forbidden: exceeded quota: {}, requested: {resource}={asked}, used: \
                     {resource}={held}, limited: {resource}={limit}",
                    key.name
                ));
            }
        }
    }
    None
}
