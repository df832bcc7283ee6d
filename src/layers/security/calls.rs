//! Which webhooks fail to answer, as the controllers that they stop tell? Those behind a URL and those too slow show
//! here and nowhere else.

use std::collections::BTreeMap;

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Status, Time};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::view::View;

pub(super) static FAILING: Signal = Signal {
    block: "S5.2",
    name: "security_webhook_calls_failing",
    layer: Layer::Security,
    help: "Webhooks that fail closed and that the API server could not ask, as controllers that cannot make their pods \
           report, by what went wrong. Healthy is none.",
    unit: Unit::Count,
    labels: &["webhook", "reason"],
    reasons: &["timeout", "certificate", "connection", "no_endpoints", "not_found", "other"],
    bound: "webhooks × 6 reasons",
    needs: &[],
    uses: &[Kind::ReplicaSet, Kind::Event],
    profile: Profile::None,
    read: Read::Rule(failing),
};

/// Words of a failed call and the reason that they tell; the first that is found decides.
const WORDS: &[(&str, &str)] = &[
    ("no endpoints available", "no_endpoints"),
    ("x509", "certificate"),
    ("certificate", "certificate"),
    ("context deadline exceeded", "timeout"),
    ("client.timeout", "timeout"),
    ("i/o timeout", "timeout"),
    ("timed out", "timeout"),
    ("connection refused", "connection"),
    ("no route to host", "connection"),
    ("connection reset", "connection"),
    ("no such host", "connection"),
    (": eof", "connection"),
    ("not found", "not_found"),
];

/// The webhook that could not be asked, and why.
fn failure(note: &str) -> Option<(&str, &'static str)> {
    let (_, rest) = note.split_once("failed calling webhook \"")?;
    let (name, why) = rest.split_once('"')?;
    let why = why.to_ascii_lowercase();
    let reason = WORDS.iter().find(|(words, _)| why.contains(words)).map_or("other", |(_, r)| r);
    Some((name, reason))
}

fn failing(view: &View<'_>, out: &mut Verdicts) {
    let mut seen: BTreeMap<(&str, &'static str), (Option<Time>, &str)> = BTreeMap::new();
    let mut add = |since: Option<Time>, note| {
        if let Some(key) = failure(note) {
            let first = seen.entry(key).or_insert((since, note));
            // Since the first who suffers; a tie of words goes to the first by text, so that order does not matter.
            *first = ((first.0).min(since), first.1.min(note));
        }
    };
    for set in view.world.replica_sets.iter().filter(|s| s.desired > 0) {
        let failure = set.condition("ReplicaFailure").filter(|c| c.status == Status::True);
        if let Some(condition) = failure {
            add(condition.since, &condition.message);
        }
    }
    // The others only report; who has fallen silent has what it wants, or is gone.
    let others = ["StatefulSet", "DaemonSet", "Job"];
    for event in view.world.events.iter() {
        let recent = view.still_speaks(event);
        if recent && event.reason == "FailedCreate" && others.contains(&&*event.regarding.kind) {
            add(Some(event.first), &event.note);
        }
    }
    for ((webhook, reason), (since, note)) in seen {
        let message = format!("webhook {webhook} cannot be asked and stops pods: {}", line(note));
        let verdict = Verdict::new(Subject::cluster(), labels![webhook, reason], reason, message);
        out.push(verdict.severity(Severity::Critical).since(since).dwell(60));
    }
}

fn line(note: &str) -> &str {
    note.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::fixtures::{condition, deployment, event, judge, objects, reasons, world};
    use crate::model::record::{Condition, Workload};

    const TIMEOUT: &str = "Internal error occurred: failed calling webhook \"v.example\": failed to call webhook: Post \
                           \"https://v.example\": context deadline exceeded";

    #[test]
    fn a_failed_call_tells_what_went_wrong() {
        let of = |why: &str| format!("failed calling webhook \"v\": failed to call webhook: {why}");
        let cases = [
            (
                "Post \"https://x\": dial tcp 10.0.0.1:443: connect: connection refused",
                "connection",
            ),
            ("Post \"https://x\": tls: failed to verify certificate: x509: expired", "certificate"),
            ("Post \"https://x\": context deadline exceeded", "timeout"),
            ("no endpoints available for service \"x\"", "no_endpoints"),
            ("service \"x\" not found", "not_found"),
            ("something new", "other"),
        ];
        for (why, expected) in cases {
            assert_eq!(failure(&of(why)), Some(("v", expected)), "{why}");
        }
        assert_eq!(failure("admission webhook \"v\" denied the request: no"), None);
        assert_eq!(failure("failed calling webhook"), None);
    }

    #[test]
    fn conditions_and_recent_reports_speak_once_for_a_webhook() {
        let message = TIMEOUT.into();
        let stuck = |desired| {
            let failure = Condition {
                message,
                ..condition("ReplicaFailure", Status::True, "FailedCreate", 90)
            };
            Workload {
                kind: Kind::ReplicaSet,
                conditions: [failure].into(),
                ..deployment("web", desired, 0)
            }
        };
        let report = |last| event((Kind::StatefulSet, "db"), "FailedCreate", TIMEOUT, 3600, last);
        let told = judge(&FAILING, &world(&[], objects![stuck(2), report(60)]));
        assert_eq!((told.len(), told[0].reason), (1, "timeout"));
        assert_eq!(told[0].since, Some(crate::layers::fixtures::ago(3600)));
        assert!(reasons(&FAILING, objects![report(3000)]).is_empty(), "long silent");
    }
}
