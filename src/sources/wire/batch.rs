//! What of Jobs and CronJobs is read?

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::meta::{WireCondition, WireMeta, conditions};
use super::template::WireTemplate;
use super::{Wire, text};
use crate::model::kind::Kind;
use crate::model::record::{CronJob, Job, Object, Time};
use crate::model::text::Interner;

/// Kubernetes' own Job controller, where `spec.managedBy` names it.
const JOB_CONTROLLER: &str = "kubernetes.io/job-controller";

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct WireJob {
    metadata: WireMeta,
    spec: JobSpec,
    status: JobStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JobSpec {
    suspend: Option<bool>,
    managed_by: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JobStatus {
    active: u32,
    succeeded: u32,
    failed: u32,
    #[serde(deserialize_with = "super::time")]
    start_time: Option<Time>,
    #[serde(deserialize_with = "super::time")]
    completion_time: Option<Time>,
    conditions: Option<Vec<WireCondition>>,
}

impl Wire for WireJob {
    fn record(self, _: Kind, texts: &mut Interner) -> Object {
        let Self { metadata, spec, status } = self;
        let hooks = ["helm.sh/hook", "argocd.argoproj.io/hook"];
        let elsewhere = spec.managed_by.as_deref().is_some_and(|by| by != JOB_CONTROLLER);
        Object::Job(Box::new(Job {
            suspended: spec.suspend == Some(true),
            active: status.active,
            succeeded: status.succeeded,
            failed: status.failed,
            started: status.start_time,
            completed: status.completion_time,
            hook: hooks.iter().any(|hook| metadata.annotation(hook).is_some()),
            queued: elsewhere || metadata.label("kueue.x-k8s.io/queue-name").is_some(),
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
    job_template: Option<JobTemplate>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JobTemplate {
    spec: JobTemplateSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JobTemplateSpec {
    template: Option<WireTemplate>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CronJobStatus {
    #[serde(deserialize_with = "super::time")]
    last_schedule_time: Option<Time>,
    #[serde(deserialize_with = "super::time")]
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
            template: (spec.job_template.as_ref())
                .and_then(|job| job.spec.template.as_ref())
                .map(|t| Box::new(t.record(texts))),
            meta: metadata.record_managed(texts),
        }))
    }
}
