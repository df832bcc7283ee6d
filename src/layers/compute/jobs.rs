//! Which Jobs failed for good, and which CronJobs do not come when they should?

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::group::labels;
use crate::layers::schedule::Schedule;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{CronJob, Job, Status, Time};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::WorkloadRef;
use crate::model::view::{View, job_workload};

pub(super) static FAILED: Signal = Signal {
    block: "S2.18",
    name: "compute_job_failed",
    layer: Layer::Compute,
    help: "Jobs that failed for good, until one of the same CronJob, or of the same name but for its numbered end, \
           succeeds or the Job goes; retries are no failure, and Helm's and Argo CD's hooks belong to other layers. \
           Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "reason"],
    reasons: &["backoff_limit", "deadline", "pod_failure_policy", "failed_indexes", "other"],
    bound: "Jobs without a CronJob and CronJobs × 5 reasons",
    needs: &[Kind::Job],
    uses: &[Kind::CronJob],
    profile: Profile::None,
    read: Read::Rule(failed),
};

pub(super) static OVERDUE: Signal = Signal {
    block: "S2.18",
    name: "compute_cronjob_overdue",
    layer: Layer::Compute,
    help: "CronJobs that did not start when they should have, have not succeeded for two and a half periods, or have a \
           schedule that cannot be read. Suspended ones do not count. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "reason"],
    reasons: &["not_started", "not_succeeded", "schedule"],
    bound: "CronJobs × 3 reasons",
    needs: &[Kind::CronJob],
    uses: &[Kind::Job],
    profile: Profile::None,
    read: Read::Rule(overdue),
};

fn failed(view: &View<'_>, out: &mut Verdicts) {
    // The newest Job of a CronJob that has ended decides.
    let mut newest: BTreeMap<WorkloadRef, &Job> = BTreeMap::new();
    let ended = |job: &&Job| is(job, "Failed") || is(job, "Complete");
    for job in view.world.jobs.iter().filter(ended).filter(|j| !j.hook && j.meta.deleting.is_none())
    {
        let workload = job_workload(&job.meta);
        let held = newest.entry(workload).or_insert(job);
        if (job.meta.created, &job.meta.name) > (held.meta.created, &held.meta.name) {
            *held = job;
        }
    }
    for (workload, job) in newest {
        let failure = job.condition("Failed").filter(|c| c.status == Status::True);
        let over = view.is_terminating(&job.meta.namespace) || is_superseded(view, job);
        let Some(failure) = failure.filter(|_| !over) else { continue };
        let reason = match &*failure.reason {
            "BackoffLimitExceeded" => "backoff_limit",
            "DeadlineExceeded" => "deadline",
            "PodFailurePolicy" => "pod_failure_policy",
            "FailedIndexes" | "MaxFailedIndexesExceeded" => "failed_indexes",
            _ => "other",
        };
        out.push(Verdict {
            subject: workload.subject(),
            labels: labels(&workload, [reason]),
            reason,
            severity: Severity::Warning,
            since: failure.since,
            dwell: SignedDuration::ZERO,
            message: format!("Job {} failed: {}", job.meta.name, failure.message),
        });
    }
}

/// Whether a newer Job of somebody who makes one after the other by hand has succeeded.
fn is_superseded(view: &View<'_>, job: &Job) -> bool {
    let Some(series) = series(&job.meta.name).filter(|_| job.meta.owner.is_none()) else {
        return false;
    };
    view.world.jobs.iter().any(|other| {
        other.meta.namespace == job.meta.namespace
            && other.meta.created > job.meta.created
            && self::series(&other.meta.name) == Some(series)
            && is(other, "Complete")
    })
}

/// What is left of a name without an end that was made up for one run: a number, a date, or what the API server makes
/// of `generateName`, which has no vowels.
fn series(name: &str) -> Option<&str> {
    let (series, end) = name.rsplit_once('-')?;
    let numbered = end.bytes().any(|b| b.is_ascii_digit());
    let random = end.len() == 5 && !end.bytes().any(|b| b"aeiou".contains(&b));
    (numbered || random).then_some(series)
}

fn is(job: &Job, condition: &str) -> bool {
    job.condition(condition).is_some_and(|c| c.status == Status::True)
}

fn overdue(view: &View<'_>, out: &mut Verdicts) {
    let live = view.world.cron_jobs.iter().filter(|c| {
        !c.suspended && c.meta.deleting.is_none() && !view.is_terminating(&c.meta.namespace)
    });
    for cron in live {
        let Some((reason, since, message)) = lateness(view, cron) else { continue };
        let workload = WorkloadRef {
            namespace: cron.meta.namespace.clone(),
            kind: Kind::CronJob.name().into(),
            name: cron.meta.name.clone(),
        };
        out.push(Verdict {
            subject: workload.subject(),
            labels: labels(&workload, [reason]),
            reason,
            severity: Severity::Warning,
            since: Some(since),
            dwell: SignedDuration::ZERO,
            message,
        });
    }
}

fn lateness(view: &View<'_>, cron: &CronJob) -> Option<(&'static str, Time, String)> {
    let schedule = match Schedule::read(&cron.schedule, &cron.time_zone) {
        Ok(schedule) => schedule,
        Err(why) => {
            let told = format!("schedule {:?} cannot be read: {why}", cron.schedule);
            return Some(("schedule", cron.meta.created, told));
        }
    };
    let last = cron.last_scheduled.unwrap_or(cron.meta.created);
    let due = schedule.after(last)?;
    let period = schedule.after(due).map(|next| next.duration_since(due))?;
    // With `Forbid` a run that still goes on is what holds the next one back.
    let held_back = cron.forbids_overlap && cron.active > 0;
    let grace = SignedDuration::from_mins(2).max(period / 10);
    if view.is_over(due + grace) && !held_back {
        return Some(("not_started", due, format!("was due at {due} and has not started")));
    }
    let succeeded = cron.last_succeeded.unwrap_or(cron.meta.created);
    // Runs that are not due say nothing (a weekend), nor do those that were not started (while it was suspended).
    let tried = cron.last_scheduled.filter(|last| *last > succeeded);
    let is_over = |from: Time| schedule.patience(from).is_some_and(|until| view.is_over(until));
    if let Some(last) = tried
        && is_over(succeeded)
        && (cron.active == 0 || is_over(last) || has_failed(view, cron))
    {
        let told = match cron.last_succeeded {
            Some(then) => format!("last succeeded at {then}"),
            None => "has never succeeded".to_owned(),
        };
        return Some(("not_succeeded", succeeded, told));
    }
    None
}

/// Whether one of its Jobs has failed: its history keeps the last.
fn has_failed(view: &View<'_>, cron: &CronJob) -> bool {
    view.world.jobs.iter().any(|job| {
        job.meta.namespace == cron.meta.namespace
            && job.meta.owner.as_ref().is_some_and(|owner| owner.uid == cron.meta.uid)
            && is(job, "Failed")
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{ago, condition, judge, meta, reasons, world};
    use super::*;
    use crate::model::record::{Meta, Object, Owner};

    fn job(name: &str, age: i64, outcome: &str, reason: &str) -> Job {
        let owner = Owner { kind: "CronJob".into(), name: "backup".into(), ..Owner::default() };
        let ended = condition(outcome, Status::True, reason, age - 10);
        Job {
            meta: Meta { owner: Some(Box::new(owner)), ..meta("shop", name, age) },
            conditions: [ended].into(),
            ..Job::default()
        }
    }

    fn jobs(jobs: impl IntoIterator<Item = Job>) -> Vec<&'static str> {
        reasons(&judge(&FAILED, &world(jobs.into_iter().map(|j| Object::Job(Box::new(j))))))
    }

    #[test]
    fn a_failure_ends_when_a_newer_job_succeeds() {
        let failed = || job("backup-1", 900, "Failed", "BackoffLimitExceeded");
        assert_eq!(jobs([failed()]), ["backoff_limit"]);
        assert!(jobs([failed(), job("backup-2", 300, "Complete", "")]).is_empty());
        assert_eq!(jobs([failed(), job("backup-0", 1800, "Complete", "")]), ["backoff_limit"]);
        assert!(jobs([job("backup-3", 60, "FailureTarget", "BackoffLimitExceeded")]).is_empty());
        assert!(jobs([Job { hook: true, ..failed() }]).is_empty());
        assert_eq!(jobs([job("backup-1", 900, "Failed", "DeadlineExceeded")]), ["deadline"]);
    }

    fn cron(schedule: &str, scheduled: i64, succeeded: i64) -> CronJob {
        CronJob {
            meta: meta("shop", "backup", 86_400),
            schedule: schedule.into(),
            last_scheduled: Some(ago(scheduled)),
            last_succeeded: Some(ago(succeeded)),
            ..CronJob::default()
        }
    }

    fn late(cron: CronJob) -> Vec<&'static str> {
        reasons(&judge(&OVERDUE, &world([Object::CronJob(Box::new(cron))])))
    }

    #[test]
    fn a_cron_job_is_overdue_when_it_did_not_come_or_does_not_succeed() {
        let cases = [
            (cron("*/5 * * * *", 100, 90), vec![]),
            (cron("*/5 * * * *", 1200, 1100), vec!["not_started"]),
            (cron("*/5 * * * *", 100, 4000), vec!["not_succeeded"]),
            (cron("every now and then", 100, 90), vec!["schedule"]),
            (
                CronJob { time_zone: "Mars/Olympus".into(), ..cron("@hourly", 100, 90) },
                vec!["schedule"],
            ),
            (CronJob { suspended: true, ..cron("*/5 * * * *", 90_000, 90_000) }, vec![]),
            (CronJob { forbids_overlap: true, active: 1, ..cron("*/5 * * * *", 800, 700) }, vec![]),
        ];
        for (cron, expected) in cases {
            assert_eq!(late(cron.clone()), expected, "{cron:?}");
        }
    }

    #[test]
    fn a_run_that_was_not_due_or_not_started_is_no_failure() {
        let at = |text: &str| -> Time { text.parse().unwrap() };
        let weekdays = Schedule::read("0 9 * * 1-5", "").unwrap();
        // From Friday the second run is Tuesday's.
        let until = weekdays.patience(at("2026-03-06T09:05:00Z")).unwrap();
        assert_eq!(until, at("2026-03-10T21:00:00Z"));
        let hourly = Schedule::read("@hourly", "").unwrap().patience(at("2026-03-02T03:05:00Z"));
        assert_eq!(hourly, Some(at("2026-03-02T05:30:00Z")));
        let resumed = cron("*/5 * * * *", 90_100, 90_000);
        assert_eq!(late(resumed), ["not_started"], "no run since its last success");
        let resumed = CronJob { active: 1, ..cron("*/5 * * * *", 10, 4000) };
        assert!(late(resumed.clone()).is_empty(), "its first run has just begun");
        let mut failed = job("backup-1", 310, "Failed", "BackoffLimitExceeded");
        failed.meta.owner = Some(Box::new(Owner { uid: resumed.meta.uid, ..Owner::default() }));
        let both = [Object::CronJob(Box::new(resumed)), Object::Job(Box::new(failed))];
        let told = judge(&OVERDUE, &world(both));
        assert_eq!(reasons(&told), ["not_succeeded"], "the one before it failed");
    }

    #[test]
    fn a_failed_job_made_by_hand_ends_with_the_next_of_its_series() {
        let by_hand = |name, age, outcome| {
            let job = job(name, age, outcome, "BackoffLimitExceeded");
            Job { meta: Meta { owner: None, ..job.meta.clone() }, ..job }
        };
        let failed = || by_hand("migrate-20260101", 900, "Failed");
        assert_eq!(jobs([failed()]), ["backoff_limit"]);
        assert!(jobs([failed(), by_hand("migrate-20260102", 300, "Complete")]).is_empty());
        assert_eq!(jobs([failed(), by_hand("restore-7", 300, "Complete")]), ["backoff_limit"]);
        assert_eq!(jobs([failed(), by_hand("migrate-all", 300, "Complete")]), ["backoff_limit"]);
        assert_eq!(series("migrate-x7k2p"), Some("migrate"));
        assert_eq!(series("migrate-bcdfg"), Some("migrate"));
        assert_eq!(series("migrate-users"), None);
        assert_eq!(series("migrate"), None);
    }
}
