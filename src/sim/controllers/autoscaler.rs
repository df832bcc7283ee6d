//! How many replicas does a workload need for its load? As kube-controller-manager's horizontal pod autoscaler finds
//! (`pkg/controller/podautoscaler`): every 15 s, with 10 % tolerance, up at once, down after 5 minutes.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use super::scheduler::quantity;
use super::{Task, apiservices};
use crate::sim::fields::{Condition, Fields, set_condition};
use crate::sim::kind::Kind;
use crate::sim::load;
use crate::sim::moment::{MINUTE, Moment, SECOND};
use crate::sim::recorder::Actor;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

const COMPONENT: &str = "horizontal-pod-autoscaler";
/// `--horizontal-pod-autoscaler-sync-period`, `-tolerance`, `-downscale-stabilization`.
const EVERY: Moment = 15 * SECOND;
const TOLERANCE: f64 = 0.1;
const STABLE_FOR: Moment = 5 * MINUTE;
/// How many times the founded replicas an autoscaler of the house may make.
pub(crate) const MOST: f64 = 3.0;
/// Share of the target at which the founded replicas run on average.
const AVERAGE: f64 = 0.75;
/// A reading that differs less from the one that is written is not written: it would wake every watcher for nothing.
const WORTH_WRITING: i64 = 5;

/// What was recommended lately, by autoscaler.
#[derive(Debug, Default)]
pub(crate) struct Autoscalers {
    recommended: BTreeMap<Key, VecDeque<(Moment, i64)>>,
}

/// Reads the load and scales the target.
pub(crate) fn reconcile(sim: &mut Simulation, key: &Key) {
    let Some(hpa) = sim.store.get(Kind::HorizontalPodAutoscaler, key).cloned() else {
        sim.memories.autoscalers.recommended.remove(key);
        return;
    };
    // Each keeps its rhythm, whatever wakes it.
    let next = sim.now + EVERY - sim.now.rem_euclid(EVERY);
    sim.queue.push(next, Task::Reconcile(Kind::HorizontalPodAutoscaler, key.clone()));
    if sim.now.rem_euclid(EVERY) != 0 && hpa.at("status/conditions").is_some() {
        return;
    }
    let target = Key::new(&key.ns, hpa.text("spec/scaleTargetRef/name"));
    let Some(workload) = sim.store.get(Kind::Deployment, &target).cloned() else { return };
    let current = workload.int("spec/replicas");
    let able = good("AbleToScale", "ReadyForNewScale", "recommended size matches current size");
    let utilization = match utilization(sim, &hpa, &target, &workload) {
        Ok(utilization) => utilization,
        Err(problem) => {
            blind(sim, key, &hpa, &problem);
            return;
        }
    };
    let goal = hpa.int("spec/metrics/0/resource/target/averageUtilization").max(1);
    let ratio = utilization as f64 / goal as f64;
    let proposed = if (ratio - 1.0).abs() <= TOLERANCE {
        current
    } else {
        (current as f64 * ratio).ceil() as i64
    };
    let wanted = stabilized(sim, key, current, proposed);
    // Scaling up is limited to the double or four more at once.
    let wanted = wanted.min((current * 2).max(current + 4));
    let (least, most) = (hpa.int("spec/minReplicas").max(1), hpa.int("spec/maxReplicas"));
    let (limited, reason) = match wanted {
        n if n > most => ("True", "TooManyReplicas"),
        n if n < least => ("True", "TooFewReplicas"),
        _ => ("False", "DesiredWithinRange"),
    };
    let message = match reason {
        "TooManyReplicas" => "the desired replica count is more than the maximum replica count",
        "TooFewReplicas" => "the desired replica count is less than the minimum replica count",
        _ => "the desired count is within the acceptable range",
    };
    let desired = wanted.clamp(least, most);
    let conditions = [
        able,
        good("ScalingActive", "ValidMetricFound", FOUND),
        Condition { kind: "ScalingLimited", status: limited, reason, message },
    ];
    write(sim, key, &conditions, current, desired, Some(utilization));
    if desired != current {
        rescale(sim, key, &hpa, &target, (current, desired));
    }
}

const FOUND: &str = "the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)";

const fn good<'a>(kind: &'a str, reason: &'a str, message: &'a str) -> Condition<'a> {
    Condition { kind, status: "True", reason, message }
}

/// The CPU that the pods use, in percent of what they request; the error is what the metrics client says.
fn utilization(
    sim: &Simulation,
    hpa: &Value,
    target: &Key,
    workload: &Value,
) -> Result<i64, String> {
    if !apiservices::answers(sim, apiservices::METRICS) {
        let text = "unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: the server \
                    is currently unable to handle the request (get pods.metrics.k8s.io)";
        return Err(text.to_owned());
    }
    let of_container = |field: &str| {
        let container = workload.at("spec/template/spec/containers/0");
        container.map_or("", |container| container.text(field))
    };
    if quantity(of_container("resources/requests/cpu"), true) == 0 {
        let name = of_container("name");
        return Err(format!("missing request for cpu in container {name} of Pod {}", target.name));
    }
    if workload.int("status/readyReplicas") == 0 {
        return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
    }
    let goal = hpa.int("spec/metrics/0/resource/target/averageUtilization");
    let founded = hpa.int("spec/maxReplicas") as f64 / MOST;
    let program = target.to_string();
    let load = load::at(sim.chance, &program, sim.now) * sim.surroundings.busy(&program);
    let work = AVERAGE * founded * goal as f64 * load;
    Ok((work / workload.int("spec/replicas").max(1) as f64).round() as i64)
}

/// The largest recommendation of the last minutes: a dip does not scale down.
fn stabilized(sim: &mut Simulation, key: &Key, current: i64, proposed: i64) -> i64 {
    let now = sim.now;
    let recent = sim.memories.autoscalers.recommended.entry(key.clone()).or_default();
    recent.push_back((now, proposed));
    while recent.front().is_some_and(|(at, _)| at + STABLE_FOR < now) {
        recent.pop_front();
    }
    let largest = recent.iter().map(|(_, n)| *n).max().unwrap_or(proposed);
    if proposed >= current { proposed } else { largest.min(current) }
}

fn blind(sim: &mut Simulation, key: &Key, hpa: &Value, problem: &str) {
    let reason = "FailedGetResourceMetric";
    let message = format!(
        "the HPA was unable to compute the replica count: failed to get cpu utilization: {problem}"
    );
    let current = hpa.int("status/currentReplicas");
    let desired = hpa.int("status/desiredReplicas");
    let inactive = Condition { kind: "ScalingActive", status: "False", reason, message: &message };
    let able = good(
        "AbleToScale",
        "SucceededGetScale",
        "the HPA controller was able to get the target's current scale",
    );
    write(sim, key, &[able, inactive], current, desired, None);
    let by = || Actor::controller(COMPONENT);
    let text = format!("failed to get cpu utilization: {problem}");
    sim.warning(hpa, by(), reason, text.clone());
    let text = format!("invalid metrics (1 invalid out of 1), first error is: {text}");
    sim.warning(hpa, by(), "FailedComputeMetricsReplicas", text);
}

fn write(
    sim: &mut Simulation,
    key: &Key,
    conditions: &[Condition<'_>],
    current: i64,
    desired: i64,
    utilization: Option<i64>,
) {
    const UTILIZATION: &str = "status/currentMetrics/0/resource/current/averageUtilization";
    let Some(hpa) = sim.store.get(Kind::HorizontalPodAutoscaler, key) else { return };
    let held = hpa.at(UTILIZATION).and_then(Value::as_i64);
    let worth = |new: &i64| held.is_none_or(|held| (held - new).abs() >= WORTH_WRITING);
    let utilization = utilization.filter(worth);
    let counts = (hpa.int("status/currentReplicas"), hpa.int("status/desiredReplicas"));
    let stands = conditions.iter().all(|wanted| wanted.is_in(hpa));
    // Most looks change nothing.
    if stands && counts == (current, desired) && utilization.is_none() {
        return;
    }
    let now = sim.stamp();
    sim.store.update_status(Kind::HorizontalPodAutoscaler, key, |hpa| {
        for wanted in conditions {
            set_condition(hpa, *wanted, &now, &[]);
        }
        hpa.put("status/currentReplicas", json!(current));
        hpa.put("status/desiredReplicas", json!(desired));
        let Some(utilization) = utilization else { return };
        let current = json!({"averageUtilization": utilization});
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "current": current}});
        hpa.put("status/currentMetrics", json!([metric]));
    });
}

fn rescale(sim: &mut Simulation, key: &Key, hpa: &Value, target: &Key, change: (i64, i64)) {
    let (current, desired) = change;
    let now = sim.stamp();
    sim.store.update(Kind::Deployment, target, |d| d.put("spec/replicas", json!(desired)));
    let able = good(
        "AbleToScale",
        "SucceededRescale",
        "the HPA controller was able to update the target scale",
    );
    sim.store.update(Kind::HorizontalPodAutoscaler, key, |hpa| {
        set_condition(hpa, able, &now, &[]);
        hpa.put("status/lastScaleTime", json!(now));
    });
    let why = if desired > current {
        "cpu resource utilization (percentage of request) above target"
    } else {
        "All metrics below target"
    };
    let text = format!("New size: {desired}; reason: {why}");
    sim.normal(hpa, Actor::controller(COMPONENT), "SuccessfulRescale", text);
}
