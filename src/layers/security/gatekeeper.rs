//! Does Gatekeeper enforce its constraints, and does it still look?

use crate::labels;
use crate::model::finding::{Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::Resource;
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::view::View;

pub(super) static VIOLATIONS: Signal = Signal {
    block: "S5.13",
    name: "security_gatekeeper_violations",
    layer: Layer::Security,
    help: "Objects that break a constraint of Gatekeeper, as its last audit found. A constraint that was never audited \
           says nothing.",
    unit: Unit::Count,
    labels: &["kind", "constraint", "action"],
    reasons: &[],
    bound: "constraints",
    needs: &[Kind::Constraint],
    uses: &[],
    profile: Profile::Level { bad: Direction::High, floor: 1.0 },
    read: Read::Gauge(violations),
};

pub(super) static AUDIT_AGE: Signal = Signal {
    block: "S5.13",
    name: "security_gatekeeper_audit_age_seconds",
    layer: Layer::Security,
    help: "Age of Gatekeeper's newest audit. Healthy is below a few of its intervals (a minute by default).",
    unit: Unit::Seconds,
    labels: &[],
    reasons: &[],
    bound: "1",
    needs: &[Kind::Constraint],
    uses: &[],
    profile: Profile::Level { bad: Direction::High, floor: 120.0 },
    read: Read::Gauge(audit_age),
};

pub(super) static UNHEALTHY: Signal = Signal {
    block: "S5.13",
    name: "security_gatekeeper_unhealthy",
    layer: Layer::Security,
    help: "Constraints that a pod of Gatekeeper does not enforce or cannot read, templates that do not become a kind, and \
           audits that stopped more than an hour ago; the age of the audit tells earlier what is unusual. Healthy is none.",
    unit: Unit::Count,
    labels: &["kind", "constraint", "reason"],
    reasons: &[
        "not_enforced",
        "constraint_error",
        "template_error",
        "template_not_created",
        "audit_stale",
    ],
    bound: "constraints and templates × 5 reasons",
    needs: &[],
    uses: &[Kind::ConstraintTemplate, Kind::Constraint],
    profile: Profile::None,
    read: Read::Rule(unhealthy),
};

/// Seconds without an audit after which it has stopped. Its interval is a minute unless somebody says otherwise, which
/// nobody can see; an audit of a large cluster takes its time.
const AUDIT_STOPPED: i64 = 3600;

/// The kind and the name of a constraint, which is held as `<kind>/<name>`.
fn parts(constraint: &Resource) -> (&str, &str) {
    constraint.meta.name.split_once('/').unwrap_or(("", &constraint.meta.name))
}

/// What it does with a violation; `deny` where nothing is set.
fn action(constraint: &Resource) -> &'static str {
    let set = constraint.body.text("spec.enforcementAction");
    let set = if set.is_empty() { "deny" } else { set };
    let known = ["deny", "dryrun", "warn", "scoped"];
    known.into_iter().find(|action| *action == set).unwrap_or("other")
}

fn violations(view: &View<'_>, out: &mut Readings) {
    for constraint in view.resources(Kind::Constraint) {
        if let Some(total) = constraint.body.number("status.totalViolations") {
            let (kind, name) = parts(constraint);
            out.push(labels![kind, name, action(constraint)], total);
        }
    }
}

fn audit_age(view: &View<'_>, out: &mut Readings) {
    if let Some(newest) = newest_audit(view) {
        out.push(labels![], view.age_seconds(newest) as f64);
    }
}

fn newest_audit(view: &View<'_>) -> Option<crate::model::record::Time> {
    let times = view.resources(Kind::Constraint);
    times.filter_map(|c| c.body.time("status.auditTimestamp")).max()
}

fn unhealthy(view: &View<'_>, out: &mut Verdicts) {
    for template in view.resources(Kind::ConstraintTemplate).filter(|t| t.meta.deleting.is_none()) {
        judge_template(template, out);
    }
    for constraint in view.resources(Kind::Constraint).filter(|c| c.meta.deleting.is_none()) {
        judge_constraint(constraint, out);
    }
    // Every audit writes every constraint: the newest stands for all. Without any, audits are off.
    if let Some(newest) = newest_audit(view).filter(|at| view.is_older(*at, AUDIT_STOPPED)) {
        let message = format!("Gatekeeper's audits have stopped: the last was at {newest}");
        let verdict = Verdict::new(
            Subject::cluster(),
            labels!["", "", "audit_stale"],
            "audit_stale",
            message,
        );
        out.push(verdict.since(newest).dwell(AUDIT_STOPPED));
    }
}

fn judge_template(template: &Resource, out: &mut Verdicts) {
    let kind = template.body.text("spec.crd.spec.names.kind");
    let mut entries = template.body.items("status.byPod").iter();
    let error = entries.find_map(|pod| pod.items("errors").first());
    let (reason, message) = if let Some(error) = error {
        let words = error.text("message").lines().next().unwrap_or_default();
        ("template_error", format!("its code is not accepted: {words} ({})", error.text("code")))
    } else if template.body.is_false("status.created") {
        ("template_not_created", format!("the kind {kind} was not made of it"))
    } else {
        return;
    };
    out.push(
        Verdict::new(Subject::of(template), labels![kind, "", reason], reason, message).dwell(120),
    );
}

fn judge_constraint(constraint: &Resource, out: &mut Verdicts) {
    let pods = constraint.body.items("status.byPod");
    let generation = constraint.meta.generation;
    // A pod that has not seen the newest spec says nothing of it.
    let seen = || {
        pods.iter().filter(|p| {
            p.number("observedGeneration").is_none_or(|observed| observed as i64 >= generation)
        })
    };
    let (reason, message) = if let Some(error) = seen().find_map(|p| p.items("errors").first()) {
        let words = error.text("message").lines().next().unwrap_or_default();
        ("constraint_error", format!("it is not accepted: {words}"))
    } else if let Some(pod) = seen().find(|p| p.is_false("enforced")) {
        ("not_enforced", format!("pod {} does not enforce it", pod.text("id")))
    } else {
        return;
    };
    let (kind, name) = parts(constraint);
    let labels = labels![kind, name, reason];
    out.push(Verdict::new(Subject::of(constraint), labels, reason, message).dwell(120));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{ago, objects, readings, reasons, resource};

    fn constraint(spec: &serde_json::Value, status: &serde_json::Value) -> Resource {
        let manifest = json!({"spec": spec, "status": status});
        resource(Kind::Constraint, "K8sRequiredLabels/owner", manifest)
    }

    #[test]
    fn violations_are_told_by_constraint_and_action() {
        let cases = [
            (json!({}), json!({"totalViolations": 3}), vec!["K8sRequiredLabels owner deny 3"]),
            (
                json!({"enforcementAction": "dryrun"}),
                json!({"totalViolations": 0}),
                vec!["K8sRequiredLabels owner dryrun 0"],
            ),
            (json!({}), json!({}), vec![]),
            (json!({}), json!({"totalViolations": "many"}), vec![]),
        ];
        for (spec, status, expected) in cases {
            let told = readings(&VIOLATIONS, objects![constraint(&spec, &status)]);
            let labels = |l: &crate::model::reading::Labels| l.iter().collect::<Vec<_>>().join(" ");
            let told: Vec<_> =
                told.iter().map(|r| format!("{} {}", labels(&r.labels), r.value)).collect();
            assert_eq!(told, expected, "{status}");
        }
    }

    #[test]
    fn an_audit_is_old_by_its_newest_constraint_and_off_without_any() {
        let audited = |name: &str, age| {
            let status = json!({"auditTimestamp": ago(age).to_string()});
            let mut constraint = constraint(&json!({}), &status);
            constraint.meta.name = name.into();
            constraint
        };
        assert_eq!(reasons(&UNHEALTHY, objects![audited("K/a", 4000)]), ["audit_stale"]);
        assert!(reasons(&UNHEALTHY, objects![audited("K/a", 900)]).is_empty(), "a long interval");
        assert!(reasons(&UNHEALTHY, objects![audited("K/a", 4000), audited("K/b", 60)]).is_empty());
        assert!(reasons(&UNHEALTHY, objects![constraint(&json!({}), &json!({}))]).is_empty());
        let ages = readings(&AUDIT_AGE, objects![audited("K/a", 900), audited("K/b", 60)]);
        assert_eq!(ages.iter().map(|r| r.value).collect::<Vec<_>>(), [60.0]);
    }

    #[test]
    fn constraints_and_templates_tell_what_their_pods_say() {
        let pod = |change: serde_json::Value| {
            let mut pod = json!({"id": "gatekeeper-1", "enforced": true, "observedGeneration": 2});
            for (key, value) in change.as_object().unwrap() {
                pod[key.as_str()] = value.clone();
            }
            json!({"byPod": [pod]})
        };
        let cases = [
            (pod(json!({})), vec![]),
            (pod(json!({"enforced": false})), vec!["not_enforced"]),
            (pod(json!({"enforced": false, "observedGeneration": 1})), vec![]),
            (pod(json!({"errors": [{"message": "bad"}]})), vec!["constraint_error"]),
            (json!("odd"), vec![]),
        ];
        for (status, expected) in cases {
            let mut constraint = constraint(&json!({}), &status);
            constraint.meta.generation = 2;
            assert_eq!(reasons(&UNHEALTHY, objects![constraint]), expected, "{status}");
        }
        let cases = [
            (json!({"created": true}), vec![]),
            (json!({}), vec![]),
            (json!({"created": false}), vec!["template_not_created"]),
            (
                json!({"created": true, "byPod": [{"errors": [{"code": "ingest_error", "message": "rego"}]}]}),
                vec!["template_error"],
            ),
        ];
        for (status, expected) in cases {
            let template = resource(Kind::ConstraintTemplate, "t", json!({"status": status}));
            assert_eq!(reasons(&UNHEALTHY, objects![template]), expected, "{status}");
        }
    }
}
