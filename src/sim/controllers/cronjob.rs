//! Is it time for a CronJob's next Job?

use std::sync::Arc;

use serde_json::{Value, json};

use super::Task;
use crate::sim::fields::{Fields, holds, owner_reference};
use crate::sim::kind::Kind;
use crate::sim::moment::{MINUTE, Moment, SECOND, parse, stamp};
use crate::sim::recorder::Actor;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

const COMPONENT: &str = "cronjob-controller";
const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// Starts the Job that is due, sorts out finished ones, and waits for the next time.
pub(crate) fn reconcile(sim: &mut Simulation, key: &Key) {
    let Some(cron) = sim.store.get(Kind::CronJob, key).cloned() else { return };
    let jobs = sim.store.owned(cron.text("metadata/uid"), Kind::Job);
    sort_out(sim, key, &cron, &jobs);
    trim(sim, &cron, &jobs, "Complete", "spec/successfulJobsHistoryLimit", 3);
    trim(sim, &cron, &jobs, "Failed", "spec/failedJobsHistoryLimit", 1);
    let since = parse(cron.text("status/lastScheduleTime"))
        .or_else(|| parse(cron.text("metadata/creationTimestamp")))
        .unwrap_or(sim.now);
    let due = last_due(cron.text("spec/schedule"), since, sim.now);
    if let Some(due) = due
        && !cron.truth("spec/suspend")
    {
        let busy = jobs.iter().any(|job| !over(job));
        if busy && cron.text("spec/concurrencyPolicy") == "Forbid" {
            let text = "Not starting job because prior execution is running and concurrency policy is Forbid";
            sim.normal(&cron, Actor::controller(COMPONENT), "JobAlreadyActive", text.to_owned());
        } else {
            start(sim, key, &cron, due);
        }
    }
    if let Some(next) = next_after(cron.text("spec/schedule"), sim.now) {
        sim.queue.push(next, Task::Reconcile(Kind::CronJob, key.clone()));
    }
}

fn next_after(schedule: &str, at: Moment) -> Option<Moment> {
    let crontab = cronexpr::parse_crontab(&format!("{schedule} UTC")).ok()?;
    let from = cronexpr::MakeTimestamp::from_millisecond(at).ok()?;
    crontab.find_next(from).ok().map(|next| next.timestamp().as_millisecond())
}

/// The latest scheduled time in (`since`, `now`], missed ones skipped.
fn last_due(schedule: &str, since: Moment, now: Moment) -> Option<Moment> {
    let first = next_after(schedule, since).filter(|first| *first <= now)?;
    let period = next_after(schedule, first)? - first;
    // Long gaps are crossed by whole periods before the rest is walked.
    let near = (now - 3 * period - 2 * MINUTE).max(first - SECOND);
    let mut due = first;
    let mut next = next_after(schedule, near)?;
    while next <= now {
        due = next;
        next = next_after(schedule, due)?;
    }
    Some(due)
}

fn over(job: &Value) -> bool {
    holds(job, "Complete") || holds(job, "Failed")
}

fn start(sim: &mut Simulation, key: &Key, cron: &Value, due: Moment) {
    let name = format!("{}-{}", key.name, due / MINUTE);
    let mut job = json!({
        "metadata": {
            "name": name,
            "namespace": key.ns,
            "annotations": {SCHEDULED_AT: stamp(due)},
            "ownerReferences": [owner_reference(cron)],
        },
        "spec": cron.at("spec/jobTemplate/spec").cloned().unwrap_or_default(),
        "status": {},
    });
    let controller = sim.chance.of("controller-uid", &format!("{key}/{due}")).uuid();
    let mut labels = cron
        .at("spec/jobTemplate/spec/template/metadata/labels")
        .cloned()
        .unwrap_or_else(|| json!({}));
    if let Some(labels) = labels.as_object_mut() {
        labels.insert("batch.kubernetes.io/job-name".to_owned(), json!(name));
        labels.insert("batch.kubernetes.io/controller-uid".to_owned(), json!(controller));
    }
    job.put("metadata/labels", labels.clone());
    job.put("spec/template/metadata/labels", labels);
    job.put("spec/parallelism", json!(1));
    job.put("spec/completions", json!(1));
    job.put("spec/completionMode", json!("NonIndexed"));
    job.put("spec/suspend", json!(false));
    job.put(
        "spec/selector",
        json!({"matchLabels": {"batch.kubernetes.io/controller-uid": controller}}),
    );
    let job_key = sim.create(Kind::Job, job);
    let uid = sim.store.get(Kind::Job, &job_key).map_or("", |j| j.text("metadata/uid")).to_owned();
    sim.store.update(Kind::CronJob, key, |cron| {
        cron.put("status/lastScheduleTime", json!(stamp(due)));
        let mut active = cron.items("status/active").to_vec();
        active.push(json!({
            "apiVersion": "batch/v1", "kind": "Job", "namespace": job_key.ns, "name": job_key.name, "uid": uid,
        }));
        cron.put("status/active", Value::Array(active));
    });
    sim.normal(
        cron,
        Actor::controller(COMPONENT),
        "SuccessfulCreate",
        format!("Created job {name}"),
    );
}

/// Takes finished Jobs off the list of active ones.
fn sort_out(sim: &mut Simulation, key: &Key, cron: &Value, jobs: &[Arc<Value>]) {
    let active = cron.items("status/active");
    let mut left = Vec::new();
    let mut success = cron.text("status/lastSuccessfulTime").to_owned();
    for reference in active {
        let name = reference.text("name");
        let Some(job) = jobs.iter().find(|j| j.text("metadata/name") == name) else { continue };
        if !over(job) {
            left.push(reference.clone());
            continue;
        }
        let condition = if holds(job, "Complete") { "Complete" } else { "Failed" };
        if condition == "Complete" {
            success = job.text("status/completionTime").to_owned();
        }
        let text = format!("Saw completed job: {name}, condition: {condition}");
        sim.normal(cron, Actor::controller(COMPONENT), "SawCompletedJob", text);
    }
    if left.len() == active.len() {
        return;
    }
    sim.store.update(Kind::CronJob, key, |cron| {
        if left.is_empty() {
            cron.drop_field("status/active");
        } else {
            cron.put("status/active", Value::Array(left));
        }
        if !success.is_empty() {
            cron.put("status/lastSuccessfulTime", json!(success));
        }
    });
}

/// Deletes the oldest finished Jobs beyond the history's limit.
fn trim(
    sim: &mut Simulation,
    cron: &Value,
    jobs: &[Arc<Value>],
    end: &str,
    limit: &str,
    default: u64,
) {
    let keep = cron.at(limit).and_then(Value::as_u64).unwrap_or(default) as usize;
    let mut done: Vec<_> = jobs.iter().filter(|j| holds(j, end)).collect();
    done.sort_by_key(|j| j.text("metadata/name").to_owned());
    for job in done.iter().take(done.len().saturating_sub(keep)) {
        let key = Key::of(job);
        sim.delete(Kind::Job, &key);
        let text = format!("Deleted job {}", key.name);
        sim.normal(cron, Actor::controller(COMPONENT), "SuccessfulDelete", text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::moment::DAY;

    #[test]
    fn only_the_latest_of_missed_times_is_due() {
        let every_five = "*/5 * * * *";
        assert_eq!(last_due(every_five, 0, 4 * MINUTE), None);
        assert_eq!(last_due(every_five, 0, 5 * MINUTE), Some(5 * MINUTE));
        assert_eq!(last_due(every_five, 5 * MINUTE, 5 * MINUTE + 1), None);
        assert_eq!(last_due(every_five, 0, 30 * DAY + MINUTE), Some(30 * DAY));
        assert_eq!(last_due("0 3 * * *", 0, 9 * DAY), Some(8 * DAY + 3 * 60 * MINUTE));
        assert_eq!(last_due("nonsense", 0, DAY), None);
    }
}
