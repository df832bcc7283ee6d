//! Which controllers cannot make their pods, and who refuses? The hinge between this layer and security.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::group::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Job, Meta, Status, Time};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::WorkloadRef;
use crate::model::view::{STILL_SPEAKS, View, job_workload};

pub(super) static FAILURES: Signal = Signal {
    block: "S2.14",
    name: "compute_create_failures",
    layer: Layer::Compute,
    help: "Workloads whose pods are refused when their controller makes them, by what refuses. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "reason"],
    reasons: REASONS,
    bound: "workloads × 11 reasons",
    needs: &[Kind::ReplicaSet],
    uses: &[
        Kind::Event,
        Kind::Deployment,
        Kind::StatefulSet,
        Kind::DaemonSet,
        Kind::Job,
        Kind::CronJob,
    ],
    profile: Profile::None,
    read: Read::Rule(failures),
};

const REASONS: &[&str] = &[
    "quota",
    "quota_without_defaults",
    "pod_security",
    "admission_policy",
    "webhook_denied",
    "webhook_down",
    "service_account_missing",
    "namespace_terminating",
    "limit_range",
    "timeout",
    "other",
];

/// Words of the API server's refusals and the reason that they tell; the first that is found decides.
const WORDS: &[(&str, &str)] = &[
    ("exceeded quota", "quota"),
    ("must specify ", "quota_without_defaults"),
    ("violates podsecurity", "pod_security"),
    ("validatingadmissionpolicy", "admission_policy"),
    ("failed calling webhook", "webhook_down"),
    ("denied the request", "webhook_denied"),
    ("serviceaccount", "service_account_missing"),
    ("service account", "service_account_missing"),
    ("being terminated", "namespace_terminating"),
    ("maximum cpu usage", "limit_range"),
    ("maximum memory usage", "limit_range"),
    ("minimum cpu usage", "limit_range"),
    ("minimum memory usage", "limit_range"),
    ("timeout", "timeout"),
    ("timed out", "timeout"),
    ("deadline exceeded", "timeout"),
];

fn reason(message: &str) -> &'static str {
    let message = message.to_ascii_lowercase();
    WORDS.iter().find(|(words, _)| message.contains(words)).map_or("other", |(_, reason)| reason)
}

fn failures(view: &View<'_>, out: &mut Verdicts) {
    let mut seen: BTreeMap<(WorkloadRef, &'static str), (Option<Time>, String)> = BTreeMap::new();
    let mut add = |workload: WorkloadRef, since: Option<Time>, message: &str| {
        if !view.is_terminating(&workload.namespace) {
            seen.entry((workload, reason(message))).or_insert((since, message.to_owned()));
        }
    };
    // A ReplicaSet keeps its failure as a condition: the state, whatever became of the events.
    for set in view.world.replica_sets.iter().filter(|s| s.desired > 0) {
        let failure = set.condition("ReplicaFailure").filter(|c| c.status == Status::True);
        if let Some(condition) = failure {
            add(top(set.kind, &set.meta), condition.since, &condition.message);
        }
    }
    // The others only report; a controller that makes its pods again falls silent.
    let sets = view.world.stateful_sets.iter().chain(view.world.daemon_sets.iter());
    for set in sets.filter(|s| s.current < s.desired) {
        if let Some((first, note)) = report(view, set.kind, &set.meta) {
            add(top(set.kind, &set.meta), Some(first), &note);
        }
    }
    let ended = |job: &Job| job.condition("Failed").is_some_and(|c| c.status == Status::True);
    let waits = |job: &&Job| job.active == 0 && job.completed.is_none() && !ended(job);
    for job in view.world.jobs.iter().filter(waits) {
        if let Some((first, note)) = report(view, Kind::Job, &job.meta) {
            add(job_workload(&job.meta), Some(first), &note);
        }
    }
    for cron in view.world.cron_jobs.iter().filter(|c| !c.suspended) {
        let report = report(view, Kind::CronJob, &cron.meta);
        // A later run was made.
        if let Some((first, note)) = report.filter(|(at, _)| cron.last_scheduled < Some(*at)) {
            add(top(Kind::CronJob, &cron.meta), Some(first), &note);
        }
    }
    for ((workload, reason), (since, message)) in seen {
        out.push(Verdict {
            subject: workload.subject(),
            labels: labels(&workload, [reason]),
            reason,
            severity: Severity::Critical,
            since,
            dwell: SignedDuration::from_secs(30),
            message: format!("its pods are refused: {message}"),
        });
    }
}

fn report(view: &View<'_>, kind: Kind, meta: &Meta) -> Option<(Time, String)> {
    let events = view.recent_events(kind, meta, STILL_SPEAKS);
    let last = events.filter(|e| e.reason == "FailedCreate").last()?;
    Some((last.first, last.note.to_string()))
}

fn top(kind: Kind, meta: &Meta) -> WorkloadRef {
    let (kind, name) = match meta.owner.as_deref() {
        Some(owner) => (owner.kind.clone(), owner.name.clone()),
        None => (kind.name().into(), meta.name.clone()),
    };
    WorkloadRef { namespace: meta.namespace.clone(), kind, name }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{condition, deployment, event, judge, meta, reasons, world};
    use super::*;
    use crate::model::record::{Condition, Object, Workload};

    #[test]
    fn a_refusal_tells_who_refuses() {
        let cases = [
            ("pods \"q-x\" is forbidden: exceeded quota: rq, requested: pods=1", "quota"),
            ("failed quota: rq: must specify limits.cpu for: c", "quota_without_defaults"),
            (
                "pods \"b-x\" is forbidden: violates PodSecurity \"restricted:latest\": privileged",
                "pod_security",
            ),
            (
                "ValidatingAdmissionPolicy 'nolatest' with binding 'b' denied request: image",
                "admission_policy",
            ),
            ("admission webhook \"v.example\" denied the request: no", "webhook_denied"),
            (
                "Internal error occurred: failed calling webhook \"v.example\": connection refused",
                "webhook_down",
            ),
            (
                "error looking up service account shop/x: serviceaccount \"x\" not found",
                "service_account_missing",
            ),
            (
                "unable to create new content in namespace shop because it is being terminated",
                "namespace_terminating",
            ),
            ("maximum cpu usage per Container is 1, but limit is 2", "limit_range"),
            ("request timed out", "timeout"),
            ("something new", "other"),
        ];
        for (message, expected) in cases {
            assert_eq!(reason(message), expected, "{message}");
            assert!(REASONS.contains(&expected));
        }
    }

    #[test]
    fn a_condition_is_the_state_and_events_speak_for_those_without() {
        let message = "pods \"q-x\" is forbidden: exceeded quota: rq".into();
        let failure =
            Condition { message, ..condition("ReplicaFailure", Status::True, "FailedCreate", 90) };
        let owner = crate::model::record::Owner {
            kind: "Deployment".into(),
            name: "web".into(),
            ..Default::default()
        };
        let meta = crate::model::record::Meta {
            owner: Some(Box::new(owner)),
            ..meta("shop", "web-abc", 90)
        };
        let set =
            Workload { kind: Kind::ReplicaSet, meta, conditions: [failure].into(), ..deployment() };
        let found = judge(&FAILURES, &world([Object::Workload(Box::new(set))]));
        assert_eq!(reasons(&found), ["quota"]);
        assert_eq!(found[0].subject.to_string(), "Deployment shop/web");

        let stateful = |current| Workload { kind: Kind::StatefulSet, current, ..deployment() };
        let report = event(
            Kind::StatefulSet,
            "web",
            "FailedCreate",
            "create Pod web-0 failed: exceeded quota",
        );
        let look = |current| {
            let set = Object::Workload(Box::new(stateful(current)));
            reasons(&judge(&FAILURES, &world([set, Object::Event(Box::new(report.clone()))])))
        };
        assert_eq!(look(1), ["quota"]);
        assert!(look(3).is_empty(), "it has its pods again");
    }
}
