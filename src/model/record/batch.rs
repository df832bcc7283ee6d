//! What is kept of Jobs and CronJobs?

use super::meta::{Condition, Meta, Time, condition};
use super::workload::Template;
use crate::model::text::Text;

/// A Job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Job {
    /// What every object has; the owner is the CronJob, if one made it.
    pub meta: Meta,
    /// `spec.suspend`.
    pub suspended: bool,
    /// `status.active`.
    pub active: u32,
    /// `status.succeeded`.
    pub succeeded: u32,
    /// `status.failed`: pods that failed; retries within `backoffLimit` are no failure of the Job.
    pub failed: u32,
    /// `status.startTime`.
    pub started: Option<Time>,
    /// `status.completionTime`.
    pub completed: Option<Time>,
    /// A Helm or Argo CD hook (annotations `helm.sh/hook`, `argocd.argoproj.io/hook`).
    pub hook: bool,
    /// Somebody else than the Job controller decides when it runs: `spec.managedBy`, or a queue of Kueue.
    pub queued: bool,
    /// `status.conditions`.
    pub conditions: Box<[Condition]>,
}

impl Job {
    /// The condition of this type, if the Job has it.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        condition(&self.conditions, kind)
    }
}

/// A CronJob.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CronJob {
    /// What every object has.
    pub meta: Meta,
    /// `spec.schedule`, as written.
    pub schedule: Text,
    /// `spec.timeZone`; empty for the controller manager's own zone, taken as UTC.
    pub time_zone: Text,
    /// `spec.suspend`.
    pub suspended: bool,
    /// `spec.startingDeadlineSeconds`.
    pub starting_deadline: Option<u32>,
    /// `status.lastScheduleTime`.
    pub last_scheduled: Option<Time>,
    /// `status.lastSuccessfulTime`.
    pub last_succeeded: Option<Time>,
    /// How many Jobs are in `status.active`.
    pub active: u32,
    /// `spec.concurrencyPolicy` is `Forbid`.
    pub forbids_overlap: bool,
    /// What the pods of its Jobs are made from.
    pub template: Option<Box<Template>>,
}
