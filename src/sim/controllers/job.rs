//! Is a Job done, or may it try again?

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Task, pods, quota};
use crate::sim::fields::{Condition, Fields, deleting, holds, set_condition};
use crate::sim::kind::Kind;
use crate::sim::moment::{MINUTE, Moment, SECOND, parse};
use crate::sim::recorder::Actor;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

const COMPONENT: &str = "job-controller";
/// Wait before a failed pod is replaced: doubling from the first to the longest (`DefaultJobPodFailureBackOff`).
const FIRST_WAIT: Moment = 10 * SECOND;
const LONGEST_WAIT: Moment = 10 * MINUTE;

/// Starts a pod, or another after a failure, until one succeeds or `backoffLimit` is passed. One completion only.
pub(crate) fn reconcile(sim: &mut Simulation, key: &Key) {
    let Some(job) = sim.store.get(Kind::Job, key).cloned() else { return };
    if holds(&job, "Complete") || holds(&job, "Failed") {
        return;
    }
    let all = sim.store.owned(job.text("metadata/uid"), Kind::Pod);
    let count = |phase: &str| all.iter().filter(|p| p.text("status/phase") == phase).count();
    let (succeeded, failed) = (count("Succeeded"), count("Failed"));
    let limit = job.at("spec/backoffLimit").and_then(Value::as_u64).unwrap_or(6) as usize;
    if succeeded == 0 && failed <= limit && !all.iter().any(|p| pods::active(p)) {
        let due = retry_at(&all, failed);
        if due <= sim.now {
            if let Some(template) = job.at("spec/template")
                && pods::create_generated(sim, &job, template, COMPONENT).is_err()
            {
                quota::again(sim, Kind::Job, key);
            }
        } else {
            sim.queue.push(due, Task::Reconcile(Kind::Job, key.clone()));
        }
    }
    write_status(sim, key, succeeded, failed);
    if succeeded > 0 {
        conclude(sim, key, true);
    } else if failed > limit {
        conclude(sim, key, false);
    }
}

fn retry_at(all: &[Arc<Value>], failed: usize) -> Moment {
    if failed == 0 {
        return 0;
    }
    let ends = all.iter().filter_map(|pod| {
        parse(pod.text("status/containerStatuses/0/state/terminated/finishedAt"))
    });
    let wait = (FIRST_WAIT << (failed - 1).min(10)).min(LONGEST_WAIT);
    ends.max().map_or(0, |end| end + wait)
}

fn write_status(sim: &mut Simulation, key: &Key, succeeded: usize, failed: usize) {
    let Some(job) = sim.store.get(Kind::Job, key) else { return };
    let all = sim.store.owned(job.text("metadata/uid"), Kind::Pod);
    let active = all.iter().filter(|p| pods::active(p)).count();
    let ready = all.iter().filter(|p| pods::active(p) && pods::ready(p)).count();
    let terminating = all.iter().filter(|p| deleting(p) && !pods::finished(p)).count();
    let now = sim.stamp();
    sim.store.update_status(Kind::Job, key, |job| {
        if job.at("status/startTime").is_none() {
            job.put("status/startTime", json!(now));
        }
        job.put_count("status/active", active);
        job.put_count("status/succeeded", succeeded);
        job.put_count("status/failed", failed);
        job.put("status/ready", json!(ready));
        job.put("status/terminating", json!(terminating));
        job.put("status/uncountedTerminatedPods", json!({}));
    });
}

fn conclude(sim: &mut Simulation, key: &Key, success: bool) {
    let now = sim.stamp();
    let (kinds, reason, message) = if success {
        let message = "Reached expected number of succeeded pods";
        (["SuccessCriteriaMet", "Complete"], "CompletionsReached", message)
    } else {
        let message = "Job has reached the specified backoff limit";
        (["FailureTarget", "Failed"], "BackoffLimitExceeded", message)
    };
    sim.store.update(Kind::Job, key, |job| {
        for kind in kinds {
            let wanted = Condition { kind, status: "True", reason, message };
            set_condition(job, wanted, &now, &["lastProbeTime"]);
        }
        if success {
            job.put("status/completionTime", json!(now));
        }
    });
    let Some(job) = sim.store.get(Kind::Job, key).cloned() else { return };
    let by = Actor::controller(COMPONENT);
    if success {
        sim.normal(&job, by, "Completed", "Job completed".to_owned());
    } else {
        sim.warning(&job, by, reason, message.to_owned());
    }
}
