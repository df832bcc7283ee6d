//! Does Kyverno run, and are its policies in force?

use std::collections::BTreeMap;

use crate::labels;
use crate::layers::conditions::words;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Event, Resource, Status, Time};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::view::{STILL_SPEAKS, View};

pub(super) static NOT_READY: Signal = Signal {
    block: "S5.10",
    name: "security_kyverno_policy_not_ready",
    layer: Layer::Security,
    help: "Kyverno's policies that are not in force: not ready, their webhook not configured, rights missing, or not \
           loaded. A policy that has no status yet says nothing. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "kind", "policy", "reason"],
    reasons: &["not_ready", "webhook_not_configured", "rights_missing", "not_loaded"],
    bound: "policies × 4 reasons",
    needs: &[],
    uses: POLICIES,
    profile: Profile::None,
    read: Read::Rule(not_ready),
};

pub(super) static ENGINE: Signal = Signal {
    block: "S5.11",
    name: "security_kyverno_engine",
    layer: Layer::Security,
    help: "Kyverno's controllers without a pod, its webhook that gets no requests, update requests that fail or wait for \
           more than 10 minutes, and policies that end in errors. Healthy is none.",
    unit: Unit::Count,
    labels: &["component", "policy", "reason"],
    reasons: &["unavailable", "webhook_silent", "update_failed", "update_stuck", "policy_error"],
    bound: "policies × 5 reasons",
    needs: &[Kind::KyvernoClusterPolicy],
    uses: &[Kind::Deployment, Kind::Lease, Kind::UpdateRequest, Kind::Event],
    profile: Profile::None,
    read: Read::Rule(engine),
};

const POLICIES: &[Kind] = &[
    Kind::KyvernoClusterPolicy,
    Kind::KyvernoPolicy,
    Kind::ValidatingPolicy,
    Kind::MutatingPolicy,
    Kind::GeneratingPolicy,
    Kind::ImageValidatingPolicy,
    Kind::DeletingPolicy,
];

/// A policy that is not in force: why, since when, and its own words.
fn fault(policy: &Resource) -> Option<(&'static str, Option<Time>, String)> {
    if let Some(ready) = policy.condition("Ready") {
        let bad = ready.status == Status::False && policy.observed();
        return bad.then(|| ("not_ready", ready.since, words(ready)));
    }
    // The newer kinds keep their conditions one level below.
    let status = policy.body.at("status.conditionStatus");
    if !status.is_false("ready") {
        return None;
    }
    let bad = status.items("conditions").iter().find(|c| *c.text("status") == "False");
    let reason = match bad.map_or("", |c| c.text("type")) {
        "WebhookConfigured" => "webhook_not_configured",
        "RBACPermissionsGranted" => "rights_missing",
        "PolicyCached" => "not_loaded",
        _ => "not_ready",
    };
    let message = bad.map_or_else(|| status.text("message"), |c| c.text("message"));
    Some((reason, bad.and_then(|c| c.time("lastTransitionTime")), message.to_string()))
}

fn not_ready(view: &View<'_>, out: &mut Verdicts) {
    for policy in view.resources_of(POLICIES).filter(|p| p.meta.deleting.is_none()) {
        let Some((reason, since, why)) = fault(policy) else { continue };
        let labels = labels![&policy.meta.namespace, policy.kind.name(), &policy.meta.name, reason];
        let why = if why.is_empty() { "it gives no reason".to_owned() } else { first_line(&why) };
        let message = format!("the policy is not in force: {why}");
        out.push(
            Verdict::new(Subject::of(policy), labels, reason, message).since(since).dwell(120),
        );
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn engine(view: &View<'_>, out: &mut Verdicts) {
    controllers(view, out);
    watchdog(view, out);
    updates(view, out);
    errors(view, out);
}

/// Kyverno's Deployments and the word for each.
const CONTROLLERS: [(&str, &str); 4] = [
    ("kyverno-admission-controller", "admission"),
    ("kyverno-background-controller", "background"),
    ("kyverno-cleanup-controller", "cleanup"),
    ("kyverno-reports-controller", "reports"),
];

fn controllers(view: &View<'_>, out: &mut Verdicts) {
    for workload in view.counted_workloads().filter(|w| w.kind == Kind::Deployment) {
        let known = CONTROLLERS.iter().find(|(name, _)| workload.meta.name == *name);
        let Some((_, component)) = known.filter(|_| workload.observed() && workload.available == 0)
        else {
            continue;
        };
        let since = workload.condition("Available").filter(|c| c.status == Status::False);
        let since = since.and_then(|c| c.since);
        let reason = "unavailable";
        let severity =
            if *component == "admission" { Severity::Critical } else { Severity::Warning };
        let message = format!("none of its {} pods is available", workload.desired);
        let subject = View::reference(workload).subject();
        let verdict = Verdict::new(subject, labels![*component, "", reason], reason, message);
        out.push(verdict.severity(severity).since(since).dwell(120));
    }
}

/// The admission controller asks itself every half minute and notes the last request on its lease.
fn watchdog(view: &View<'_>, out: &mut Verdicts) {
    for lease in view.resources(Kind::Lease).filter(|l| l.meta.name == "kyverno-health") {
        let last = lease.meta.annotations.value("kyverno.io/last-request-time").parse::<Time>();
        let Ok(last) = last else { continue };
        // A lease without its controller that nobody has touched for a day is litter.
        let home = view.world.deployments.get(&lease.meta.namespace, CONTROLLERS[0].0);
        let limit = if home.is_some_and(|d| d.desired > 0) { i64::MAX } else { 86_400 };
        if (600..limit).contains(&view.age_seconds(last)) {
            let reason = "webhook_silent";
            let message = format!("its webhook has had no request since {last}");
            let labels = labels!["admission", "", reason];
            let verdict = Verdict::new(Subject::of(lease), labels, reason, message);
            out.push(verdict.since(last).dwell(600));
        }
    }
}

/// Update requests that do not get done, one finding for each policy.
fn updates(view: &View<'_>, out: &mut Verdicts) {
    let mut stuck: BTreeMap<(&Text, &'static str), (u64, Time, &Resource)> = BTreeMap::new();
    for request in view.resources(Kind::UpdateRequest).filter(|r| r.meta.deleting.is_none()) {
        let reason = match request.body.text("status.state").as_str() {
            "Failed" => "update_failed",
            "Pending" | "" if view.is_older(request.meta.created, 600) => "update_stuck",
            _ => continue,
        };
        let created = request.meta.created;
        let key = (request.body.text("spec.policy"), reason);
        let (count, since, _) = stuck.entry(key).or_insert((0, created, request));
        *count += 1;
        *since = (*since).min(created);
    }
    for ((policy, reason), (count, since, request)) in stuck {
        let what = if reason == "update_failed" { "failed" } else { "wait" };
        let words = match request.body.text("status.message").as_str() {
            "" => String::new(),
            message => format!(": {}", first_line(message)),
        };
        let message = format!("update requests that {what} ({count}){words}");
        let verdict = Verdict::new(
            policy_subject(policy),
            labels!["background", policy, reason],
            reason,
            message,
        );
        out.push(verdict.since(since).dwell(600));
    }
}

/// `name`, or `namespace/name` of a namespaced policy.
fn policy_subject(policy: &str) -> Subject {
    match policy.split_once('/') {
        Some((namespace, name)) => {
            Subject::new(Kind::KyvernoPolicy, &namespace.into(), &name.into())
        }
        None => Subject::new(Kind::KyvernoClusterPolicy, &Text::default(), &policy.into()),
    }
}

/// The controllers that report on policies, with the word for each.
const ACTORS: [(&str, &str); 5] = [
    ("kyverno-admission", "admission"),
    ("kyverno-scan", "reports"),
    ("kyverno-generate", "background"),
    ("kyverno-mutate", "background"),
    ("kyverno-cleanup", "cleanup"),
];

/// Policies that end in errors, by who tried them.
fn errors(view: &View<'_>, out: &mut Verdicts) {
    let mut last: BTreeMap<(&'static str, &Text, &Text), &Event> = BTreeMap::new();
    let from = view.now() - STILL_SPEAKS;
    let told = view.world.events.iter().filter(|e| e.reason == "PolicyError" && e.last >= from);
    for event in told {
        let actor = ACTORS.iter().find(|(actor, _)| event.actor == *actor);
        let Some((_, component)) = actor else { continue };
        let key = (*component, &event.regarding.namespace, &event.regarding.name);
        let newest = last.entry(key).or_insert(event);
        if (newest.last, newest.meta.uid) < (event.last, event.meta.uid) {
            *newest = event;
        }
    }
    for ((component, namespace, name), event) in last {
        let reason = "policy_error";
        // A cluster policy's events may stand in the namespace `default`.
        let cluster = event.regarding.kind == Kind::KyvernoClusterPolicy.name();
        let policy = if namespace.is_empty() || cluster {
            name.clone()
        } else {
            format!("{namespace}/{name}").as_str().into()
        };
        let message = format!("it could not be evaluated: {}", first_line(&event.note));
        let labels = labels![component, &policy, reason];
        let verdict = Verdict::new(policy_subject(&policy), labels, reason, message);
        out.push(verdict.since(event.first).dwell(60));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{
        ago, deployment, event, judge, objects, reasons, resource, world,
    };

    #[test]
    fn a_policy_that_is_not_in_force_is_told_by_what_it_lacks() {
        let ready = |status: &str| {
            let conditions = json!([{"type": "Ready", "status": status, "reason": "Failed"}]);
            (Kind::KyvernoClusterPolicy, json!({"status": {"conditions": conditions}}))
        };
        let newer = |kind: &str, ready: bool| {
            let conditions = json!([{"type": kind, "status": "False", "message": "no"}]);
            let status = json!({"conditionStatus": {"ready": ready, "conditions": conditions}});
            (Kind::ValidatingPolicy, json!({"status": status}))
        };
        let cases = [
            (ready("False"), vec!["not_ready"]),
            (ready("True"), vec![]),
            (ready("Unknown"), vec![]),
            (newer("WebhookConfigured", false), vec!["webhook_not_configured"]),
            (newer("RBACPermissionsGranted", false), vec!["rights_missing"]),
            (newer("PolicyCached", false), vec!["not_loaded"]),
            (newer("Else", false), vec!["not_ready"]),
            (newer("WebhookConfigured", true), vec![]),
            ((Kind::ValidatingPolicy, json!({})), vec![]),
            ((Kind::KyvernoPolicy, json!({"status": "odd"})), vec![]),
        ];
        for ((kind, manifest), expected) in cases {
            let found = reasons(&NOT_READY, objects![resource(kind, "p", manifest.clone())]);
            assert_eq!(found, expected, "{manifest}");
        }
    }

    #[test]
    fn a_controller_without_pods_is_told_and_one_switched_off_is_not() {
        let name = "kyverno-admission-controller";
        assert_eq!(reasons(&ENGINE, objects![deployment(name, 2, 0)]), ["unavailable"]);
        assert!(reasons(&ENGINE, objects![deployment(name, 2, 1)]).is_empty());
        assert!(reasons(&ENGINE, objects![deployment(name, 0, 0)]).is_empty());
        assert!(reasons(&ENGINE, objects![deployment("other", 2, 0)]).is_empty());
    }

    #[test]
    fn a_webhook_that_gets_no_requests_is_silent() {
        let lease = |age| {
            let at = ago(age).to_string();
            let lease = json!({"metadata": {"annotations": {"kyverno.io/last-request-time": at}}});
            resource(Kind::Lease, "kyverno-health", lease)
        };
        for (age, expected) in [(60, vec![]), (1200, vec!["webhook_silent"]), (200_000, vec![])] {
            assert_eq!(reasons(&ENGINE, objects![lease(age)]), expected, "{age}");
        }
        let controller = deployment("kyverno-admission-controller", 1, 1);
        assert_eq!(reasons(&ENGINE, objects![lease(200_000), controller]), ["webhook_silent"]);
    }

    #[test]
    fn update_requests_are_told_once_a_policy() {
        let request = |name: &str, state: &str, age: i64| {
            let manifest = json!({"metadata": {"namespace": "kyverno", "age": age},
                "spec": {"policy": "quota"}, "status": {"state": state, "message": "denied"}});
            resource(Kind::UpdateRequest, name, manifest)
        };
        let objects = objects![
            request("a", "Failed", 60),
            request("b", "Failed", 900),
            request("c", "Pending", 60),
            request("d", "Completed", 9000),
        ];
        let told = judge(&ENGINE, &world(&[], objects));
        assert_eq!(told[0].message, "update requests that failed (2): denied");
        assert_eq!((told.len(), told[0].since), (1, Some(ago(900))));
        assert_eq!(reasons(&ENGINE, objects![request("a", "Pending", 900)]), ["update_stuck"]);
    }

    #[test]
    fn errors_are_told_by_policy_and_violations_are_not() {
        let report = |reason: &str, last| Event {
            actor: "kyverno-scan".into(),
            ..event(
                (Kind::KyvernoClusterPolicy, "tags"),
                reason,
                "failed to load context",
                900,
                last,
            )
        };
        assert_eq!(reasons(&ENGINE, objects![report("PolicyError", 60)]), ["policy_error"]);
        assert!(reasons(&ENGINE, objects![report("PolicyError", 3000)]).is_empty());
        assert!(reasons(&ENGINE, objects![report("PolicyViolation", 60)]).is_empty());
    }
}
