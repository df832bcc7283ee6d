//! How are many pods told as one? By workload and reason, with a count and one of them as example.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::reading::{Label, Labels};
use crate::model::record::{Pod, Time};
use crate::model::subject::WorkloadRef;
use crate::model::text::Text;

/// Kinds that tell under which workload a pod is counted; without them names alone do.
pub(super) const OWNERS: &[Kind] = &[
    Kind::ReplicaSet,
    Kind::Job,
    Kind::Deployment,
    Kind::StatefulSet,
    Kind::DaemonSet,
    Kind::CronJob,
];

/// Namespace, kind and name of a workload, then what else the signal declares.
pub(super) fn labels<'a>(
    workload: &WorkloadRef,
    more: impl IntoIterator<Item = &'a str>,
) -> Labels {
    let own = [&workload.namespace, &workload.kind, &workload.name].map(Label::from);
    Labels::new(own.into_iter().chain(more.into_iter().map(Label::from)))
}

/// Pods of one workload in the same state.
struct Group {
    pods: u32,
    example: Text,
    since: Option<Time>,
    words: String,
}

/// Pods by workload, reason and one more label.
#[derive(Default)]
pub(super) struct Groups(BTreeMap<(WorkloadRef, &'static str, Text), Group>);

/// How a state of pods is told.
pub(super) struct Telling {
    /// What the pods do: `cannot pull their image`.
    pub(super) what: &'static str,
    /// How much it matters.
    pub(super) severity: Severity,
    /// How long it must hold.
    pub(super) dwell: SignedDuration,
}

impl Groups {
    /// Adds a pod. The group is as old as its oldest pod, and speaks in the words of its first.
    pub(super) fn add(
        &mut self,
        (pod, workload): (&Pod, &WorkloadRef),
        reason: &'static str,
        more: Text,
        since: Option<Time>,
        words: &str,
    ) {
        let group = self.0.entry((workload.clone(), reason, more)).or_insert_with(|| Group {
            pods: 0,
            example: pod.meta.name.clone(),
            since,
            words: words.to_owned(),
        });
        group.pods += 1;
        group.since = match (group.since, since) {
            (Some(a), Some(b)) => Some(a.min(b)),
            _ => None,
        };
    }

    /// One verdict a group, its labels being the workload's, then the reason, then the one more if there is any.
    pub(super) fn tell(self, out: &mut Verdicts, telling: impl Fn(&'static str) -> Telling) {
        for ((workload, reason, more), group) in self.0 {
            let Telling { what, severity, dwell } = telling(reason);
            let more = Some(more.as_str()).filter(|m| !m.is_empty());
            let pods = if group.pods == 1 { "pod" } else { "pods" };
            let quote =
                if group.words.is_empty() { String::new() } else { format!(": {}", group.words) };
            out.push(Verdict {
                subject: workload.subject(),
                labels: labels(&workload, std::iter::once(reason).chain(more)),
                reason,
                severity,
                since: group.since,
                dwell,
                message: format!("{} {pods} {what}, as {}{quote}", group.pods, group.example),
            });
        }
    }
}
