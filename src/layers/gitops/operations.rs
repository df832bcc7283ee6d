//! Do syncs and releases succeed? The last attempt of each, why it failed, and how long it took.

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::Resource;
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::tally::Tallies;
use crate::model::view::View;

pub(super) static FAILED: Signal = Signal {
    block: "S7.3",
    name: "gitops_argo_operation_failed",
    layer: Layer::Gitops,
    help: "Applications whose last sync failed for 5 minutes, by what refused it, or has run for 15. Argo CD does not \
           try a failed commit again by itself. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "project", "application", "reason"],
    reasons: REASONS,
    bound: "applications × 9 reasons",
    needs: &[Kind::ArgoApplication],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(failed),
};

pub(super) static SECONDS: Signal = Signal {
    block: "S7.3",
    name: "gitops_argo_sync_duration_seconds",
    layer: Layer::Gitops,
    help: "How long syncs of applications took, by project.",
    unit: Unit::Seconds,
    labels: &["project"],
    reasons: &[],
    bound: "projects",
    needs: &[Kind::ArgoApplication],
    uses: &[],
    profile: Profile::None,
    read: Read::Histogram(&[1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0]),
};

pub(super) static REMEDIATIONS: Signal = Signal {
    block: "S7.15",
    name: "gitops_helmrelease_failures_total",
    layer: Layer::Gitops,
    help: "Failed installs and upgrades of Flux Helm releases.",
    unit: Unit::Count,
    labels: &["namespace", "helmrelease", "action"],
    reasons: &[],
    bound: "Helm releases × 2 actions",
    needs: &[Kind::HelmRelease],
    uses: &[],
    profile: Profile::Rate,
    read: Read::Counter,
};

pub(super) static REMEDIATING: Signal = Signal {
    block: "S7.15",
    name: "gitops_helmrelease_failed",
    layer: Layer::Gitops,
    help: "Flux Helm releases whose last revision failed or is stuck, or that were rolled back: then users are safe and \
           the change is not. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "helmrelease", "reason"],
    reasons: &["failed", "rolled_back", "stuck"],
    bound: "Helm releases × 3 reasons",
    needs: &[Kind::HelmRelease],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(remediating),
};

const REASONS: &[&str] = &[
    "admission",
    "quota",
    "immutable_field",
    "crd_missing",
    "rbac",
    "hook",
    "timeout",
    "other",
    "running",
];

/// Words of a failed sync and the reason that they tell; the first that is found decides.
const WORDS: &[(&str, &str)] = &[
    ("admission webhook", "admission"),
    ("validatingadmissionpolicy", "admission"),
    ("violates podsecurity", "admission"),
    ("exceeded quota", "quota"),
    ("field is immutable", "immutable_field"),
    ("no matches for kind", "crd_missing"),
    ("could not find the requested resource", "crd_missing"),
    ("is forbidden: user", "rbac"),
    ("hook", "hook"),
    ("timeout", "timeout"),
    ("timed out", "timeout"),
    ("deadline exceeded", "timeout"),
];

fn failed(view: &View<'_>, out: &mut Verdicts) {
    for app in view.resources(Kind::ArgoApplication).filter(|a| a.meta.deleting.is_none()) {
        let operation = app.body.at("status.operationState");
        let message = operation.text("message");
        let (reason, since, dwell) = match operation.text("phase").as_str() {
            "Failed" | "Error" => {
                let words = message.to_ascii_lowercase();
                let known = WORDS.iter().find(|(text, _)| words.contains(text));
                (known.map_or("other", |(_, r)| r), operation.time("finishedAt"), 300)
            }
            "Running" => ("running", operation.time("startedAt"), 900),
            _ => continue,
        };
        let tries = operation.count("retryCount");
        let told = match reason {
            "running" => format!("its sync has not come to an end: {message}"),
            _ if tries > 0 => format!("its sync failed, after {tries} retries: {message}"),
            _ => format!("its sync failed: {message}"),
        };
        let project = app.body.text("spec.project");
        let labels = labels![&app.meta.namespace, project, &app.meta.name, reason];
        let verdict = Verdict::new(Subject::of(app), labels, reason, told);
        out.push(verdict.since(since).dwell(dwell));
    }
}

fn remediating(view: &View<'_>, out: &mut Verdicts) {
    let live = |r: &&Resource| r.meta.deleting.is_none() && !r.body.is_true("spec.suspend");
    for release in view.resources(Kind::HelmRelease).filter(live).filter(|r| r.observed()) {
        let newest = release.body.items("status.history").first();
        let status = newest.map_or("", |h| h.text("status"));
        let ready = release.condition("Ready");
        let rolled = ready.is_some_and(|c| c.reason == "RollbackSucceeded")
            || release.condition("Remediated").is_some_and(|c| {
                c.status == crate::model::record::Status::True && c.reason == "RollbackSucceeded"
            });
        let (reason, severity, dwell) = match status {
            _ if rolled => ("rolled_back", Severity::Warning, 60),
            "failed" => ("failed", Severity::Critical, 120),
            pending if pending.starts_with("pending-") || pending == "uninstalling" => {
                ("stuck", Severity::Warning, 900)
            }
            _ => continue,
        };
        let since = newest.and_then(|h| h.time("lastDeployed"));
        let since = ready.and_then(|c| c.since).or(since);
        let words = ready.map_or("", |c| c.message.as_str());
        let chart = newest.map_or("", |h| h.text("chartVersion"));
        let told = format!("{} with chart {chart}: {words}", reason.replace('_', " "));
        let labels = labels![&release.meta.namespace, &release.meta.name, reason];
        let verdict = Verdict::new(Subject::of(release), labels, reason, told);
        out.push(verdict.severity(severity).since(since).dwell(dwell));
    }
}

/// Counts syncs that ended and releases that failed.
pub(super) fn observe(resource: &Resource, tallies: &mut Tallies) {
    match resource.kind {
        Kind::ArgoApplication => {
            let operation = resource.body.at("status.operationState");
            let (Some(started), Some(finished)) =
                (operation.time("startedAt"), operation.time("finishedAt"))
            else {
                return;
            };
            // The mark is a time: what matters is that it moved, not by how much.
            let ended = finished.as_second().max(0) as u64;
            if tallies.advance(resource.kind, resource.meta.uid, "finished", ended) > 0 {
                let seconds = finished.duration_since(started).as_secs_f64();
                tallies.record(&SECONDS, labels![resource.body.text("spec.project")], seconds);
            }
        }
        Kind::HelmRelease => {
            for (action, field) in
                [("install", "status.installFailures"), ("upgrade", "status.upgradeFailures")]
            {
                let value = resource.body.count(field);
                let n = tallies.advance(resource.kind, resource.meta.uid, action, value);
                let labels = labels![&resource.meta.namespace, &resource.meta.name, action];
                tallies.add(&REMEDIATIONS, labels, n);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::layers::fixtures::{Counted, ago, objects, reasons, resource};
    use crate::layers::gitops::LAYER;

    fn app(operation: &Value) -> Resource {
        let body = json!({"spec": {"project": "shop"}, "status": {"operationState": operation}});
        resource(Kind::ArgoApplication, "web", body)
    }

    #[test]
    fn a_failed_sync_tells_what_refused_it() {
        let cases = [
            ("Failed", "admission webhook \"v\" denied the request", vec!["admission"]),
            (
                "Failed",
                "one or more objects failed: no matches for kind \"X\"",
                vec!["crd_missing"],
            ),
            ("Error", "spec.selector: field is immutable", vec!["immutable_field"]),
            ("Failed", "is forbidden: User \"system:serviceaccount:argocd\" cannot", vec!["rbac"]),
            ("Failed", "something", vec!["other"]),
            ("Running", "waiting", vec!["running"]),
            ("Succeeded", "", vec![]),
        ];
        for (phase, message, expected) in cases {
            let app = app(
                &json!({"phase": phase, "message": message, "finishedAt": ago(900).to_string(),
                "startedAt": ago(1000).to_string()}),
            );
            assert_eq!(reasons(&FAILED, objects![app]), expected, "{message}");
        }
    }

    #[test]
    fn each_sync_is_timed_once() {
        let sync = |ended: i64| {
            app(&json!({"phase": "Succeeded", "startedAt": ago(ended + 20).to_string(),
                "finishedAt": ago(ended).to_string()}))
        };
        let mut counted = Counted::new(&LAYER, objects![]);
        counted.see(sync(900), 900).see(sync(900), 800).see(sync(300), 300);
        assert_eq!(counted.durations(&SECONDS), [("shop".to_owned(), 2, 40.0)]);
    }

    #[test]
    fn a_release_that_failed_or_was_rolled_back_is_told() {
        let release = |status: &str, reason: &str| {
            let body = json!({"status": {"history": [{"status": status, "chartVersion": "1.2"}],
                "upgradeFailures": 2,
                "conditions": [{"type": "Ready", "status": "False", "reason": reason, "message": "m"}]}});
            resource(Kind::HelmRelease, "web", body)
        };
        for (status, reason, expected) in [
            ("failed", "UpgradeFailed", vec!["failed"]),
            ("deployed", "RollbackSucceeded", vec!["rolled_back"]),
            ("pending-upgrade", "Progressing", vec!["stuck"]),
            ("deployed", "UpgradeSucceeded", vec![]),
        ] {
            assert_eq!(reasons(&REMEDIATING, objects![release(status, reason)]), expected);
        }
        let mut counted = Counted::new(&LAYER, objects![]);
        counted.see(release("failed", ""), 60).see(release("failed", ""), 30);
        assert_eq!(counted.totals(&REMEDIATIONS), [("shop web upgrade".to_owned(), 2)]);
    }
}
