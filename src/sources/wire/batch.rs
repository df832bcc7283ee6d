//! What of Jobs and CronJobs is read?

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::meta::{WireCondition, WireMeta, conditions};
use super::{Wire, text};
use crate::model::kind::Kind;
use crate::model::record::{CronJob, Job, Object, Time};
use crate::model::text::Interner;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct WireJob {
    metadata: WireMeta,
    spec: JobSpec,
    status: JobStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JobSpec {
    suspend: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JobStatus {
    active: u32,
    succeeded: u32,
    failed: u32,
    start_time: Option<Time>,
    completion_time: Option<Time>,
    conditions: Option<Vec<WireCondition>>,
}

impl Wire for WireJob {
    fn record(self, _: Kind, texts: &mut Interner) -> Object {
        let Self { metadata, spec, status } = self;
        let hooks = ["helm.sh/hook", "argocd.argoproj.io/hook"];
        Object::Job(Box::new(Job {
            suspended: spec.suspend == Some(true),
            active: status.active,
            succeeded: status.succeeded,
            failed: status.failed,
            started: status.start_time,
            completed: status.completion_time,
            hook: hooks.iter().any(|hook| metadata.annotation(hook).is_some()),
            conditions: conditions(status.conditions.as_deref(), true, texts),
            meta: metadata.record(texts),
        }))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct WireCronJob {
    metadata: WireMeta,
    spec: CronJobSpec,
    status: CronJobStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CronJobSpec {
    schedule: Option<String>,
    time_zone: Option<String>,
    suspend: Option<bool>,
    starting_deadline_seconds: Option<u32>,
    concurrency_policy: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CronJobStatus {
    last_schedule_time: Option<Time>,
    last_successful_time: Option<Time>,
    active: Option<Vec<IgnoredAny>>,
}

impl Wire for WireCronJob {
    fn record(self, _: Kind, texts: &mut Interner) -> Object {
        let Self { metadata, spec, status } = self;
        Object::CronJob(Box::new(CronJob {
            schedule: text(texts, spec.schedule.as_deref()),
            time_zone: text(texts, spec.time_zone.as_deref()),
            suspended: spec.suspend == Some(true),
            starting_deadline: spec.starting_deadline_seconds,
            last_scheduled: status.last_schedule_time,
            last_succeeded: status.last_successful_time,
            active: status.active.map_or(0, |a| u32::try_from(a.len()).unwrap_or(u32::MAX)),
            forbids_overlap: spec.concurrency_policy.as_deref() == Some("Forbid"),
            meta: metadata.record(texts),
        }))
    }
}
