//! Do syncs and releases succeed? The last attempt of each, why it failed, and how long it took.

use crate::labels;
use crate::layers::conditions::{one_line, words};
use crate::layers::switches::{skipped, switched_off};
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Resource, Status};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::tally::Tallies;
use crate::model::value::Value;
use crate::model::view::View;

use super::changes::revision_of;

pub(super) static FAILED: Signal = Signal {
    block: "S7.3",
    name: "gitops_argo_operation_failed",
    layer: Layer::Gitops,
    help: "Applications whose last sync failed for 5 minutes, by what refused it, or has run for 15. Argo CD does not \
           try a failed commit again by itself. One that is in sync with a newer commit is well. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "project", "application", "reason"],
    reasons: REASONS,
    bound: "applications × 11 reasons",
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
    profile: Profile::Durations,
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
    reasons: &["failed", "rolled_back", "uninstalled", "stuck"],
    bound: "Helm releases × 4 reasons",
    needs: &[Kind::HelmRelease],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(remediating),
};

const REASONS: &[&str] = &[
    "admission",
    "quota",
    "immutable_field",
    "conflict",
    "invalid",
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
    ("failed calling webhook", "admission"),
    ("validatingadmissionpolicy", "admission"),
    ("violates podsecurity", "admission"),
    ("exceeded quota", "quota"),
    ("field is immutable", "immutable_field"),
    ("updates to statefulset spec", "immutable_field"),
    ("may not change once set", "immutable_field"),
    ("no matches for kind", "crd_missing"),
    ("could not find the requested resource", "crd_missing"),
    ("crd is installed", "crd_missing"),
    ("is forbidden: user", "rbac"),
    ("conflict with", "conflict"),
    ("the object has been modified", "conflict"),
    (" is invalid:", "invalid"),
    ("waiting for completion of hook", "hook"),
    ("timeout", "timeout"),
    ("timed out", "timeout"),
    ("deadline exceeded", "timeout"),
];

/// What went wrong in a sync: the hook that failed, else the first object that was refused, else Argo CD's own words.
fn culprit(operation: &Value) -> (Option<&'static str>, String) {
    let results = operation.items("syncResult.resources");
    let failed = |r: &&Value| matches!(r.text("hookPhase").as_str(), "Failed" | "Error");
    let told = |r: &Value| {
        let words = one_line(r.text("message"));
        format!("{} {}: {words}", r.text("kind"), r.text("name"))
    };
    let hook = results.iter().filter(failed).find(|r| !r.text("hookType").is_empty());
    if let Some(hook) = hook {
        return (Some("hook"), format!("hook {}", told(hook)));
    }
    let refused = results.iter().find(|r| r.text("status") == "SyncFailed" || failed(r));
    let words = refused.map_or_else(|| one_line(operation.text("message")), told);
    (None, words)
}

fn failed(view: &View<'_>, out: &mut Verdicts) {
    let live = |a: &&Resource| a.meta.deleting.is_none() && !skipped(a);
    for app in view.resources(Kind::ArgoApplication).filter(live) {
        let operation = app.body.at("status.operationState");
        let (reason, since, dwell, told) = match operation.text("phase").as_str() {
            "Failed" | "Error" if outlived(app) => continue,
            "Failed" | "Error" => {
                let (known, told) = culprit(operation);
                let lower = told.to_ascii_lowercase();
                let words = || WORDS.iter().find(|(text, _)| lower.contains(text)).map(|(_, r)| *r);
                let tries = match operation.count("retryCount") {
                    0 => String::new(),
                    tries => format!(", after {tries} retries"),
                };
                let told = format!("its sync failed{tries}: {told}");
                (known.or_else(words).unwrap_or("other"), operation.time("finishedAt"), 300, told)
            }
            "Running" | "Terminating" => {
                let told = one_line(operation.text("message"));
                let told = format!("its sync has not come to an end: {told}");
                ("running", operation.time("startedAt"), 900, told)
            }
            _ => continue,
        };
        let project = app.body.text("spec.project");
        let labels = labels![&app.meta.namespace, project, &app.meta.name, reason];
        let verdict = Verdict::new(Subject::of(app), labels, reason, told);
        out.push(verdict.since(since).dwell(dwell));
    }
}

/// Whether the cluster is as another commit than the failed one wants it: that attempt no longer matters.
fn outlived(app: &Resource) -> bool {
    let tried = revision_of(app.body.at("status.operationState.syncResult"));
    let newest = revision_of(app.body.at("status.sync"));
    let differs = !tried.is_empty() && !newest.is_empty() && tried != newest;
    differs && app.body.text("status.sync.status") == "Synced"
}

fn remediating(view: &View<'_>, out: &mut Verdicts) {
    let live = |r: &&Resource| r.meta.deleting.is_none() && switched_off(r).is_none();
    for release in view.resources(Kind::HelmRelease).filter(live) {
        let newest = release.body.items("status.history").first();
        let status = newest.map_or("", |h| h.text("status"));
        let ready = release.condition("Ready").filter(|c| release.is_current(c));
        if ready.is_none() && !release.observed() {
            continue;
        }
        let remedy = |reason: &str| {
            let done = release.condition("Remediated").filter(|c| c.status == Status::True);
            [ready, done].into_iter().flatten().any(|c| c.reason == reason)
        };
        let well = ready.is_some_and(|c| c.status == Status::True);
        let (reason, severity, dwell) = match status {
            _ if well => continue,
            _ if remedy("RollbackSucceeded") => ("rolled_back", Severity::Warning, 60),
            _ if remedy("UninstallSucceeded") => ("uninstalled", Severity::Critical, 60),
            "failed" => ("failed", Severity::Critical, 120),
            pending if pending.starts_with("pending-") || pending == "uninstalling" => {
                ("stuck", Severity::Warning, 900)
            }
            _ => continue,
        };
        let since = newest.and_then(|h| h.time("lastDeployed"));
        let since = ready.and_then(|c| c.since).or(since);
        let words = ready.map_or_else(String::new, words);
        let chart = newest.map_or("", |h| h.text("chartVersion"));
        let what = match reason {
            "rolled_back" => "its upgrade was rolled back: users are safe, the change is not there",
            "uninstalled" => "its install failed and was undone",
            "failed" => "its last revision failed",
            _ => "its last action has not come to an end",
        };
        let told = format!("{what} (chart {chart}): {words}");
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
    use crate::layers::fixtures::{Counted, ago, judge, objects, reasons, resource, world};
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
            (
                "Failed",
                "Internal error occurred: failed calling webhook \"v\": context deadline exceeded",
                vec!["admission"],
            ),
            ("Failed", "Deployment \"web\" is invalid: spec: Required value", vec!["invalid"]),
            ("Failed", "something", vec!["other"]),
            ("Terminating", "waiting", vec!["running"]),
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
    fn the_hook_or_the_object_that_failed_is_named() {
        let told = |result: &Value| {
            let app = app(&json!({"phase": "Failed", "finishedAt": ago(900).to_string(),
                "message": "one or more synchronization tasks completed unsuccessfully",
                "syncResult": {"resources": [{"kind": "Service", "name": "web", "status": "Synced",
                    "message": "service/web unchanged"}, result]}}));
            let verdict = judge(&FAILED, &world(&[], objects![app])).remove(0);
            (verdict.reason, verdict.message)
        };
        let (reason, words) =
            told(&json!({"kind": "Job", "name": "migrate", "hookType": "PreSync",
            "hookPhase": "Failed", "message": "Job has reached the specified backoff limit"}));
        assert_eq!(reason, "hook");
        assert!(words.contains("hook Job migrate: Job has reached"), "{words}");
        let (reason, words) = told(&json!({"kind": "Deployment", "name": "web",
            "status": "SyncFailed", "message": "exceeded quota: q"}));
        assert_eq!((reason, words.contains("Deployment web")), ("quota", true), "{words}");
    }

    #[test]
    fn a_failure_that_a_newer_commit_has_outlived_is_over() {
        let told = |status: &str, newest: &str| {
            let mut app = json!({"spec": {"project": "shop"}, "status": {
                "sync": {"status": status, "revision": newest},
                "operationState": {"phase": "Failed", "finishedAt": ago(900).to_string(),
                    "syncResult": {"revision": "a"}}}});
            app["status"]["operationState"]["message"] = json!("something");
            reasons(&FAILED, objects![resource(Kind::ArgoApplication, "web", app)])
        };
        assert!(told("Synced", "b").is_empty());
        assert_eq!(told("Synced", "a"), ["other"], "a hook of this very commit");
        assert_eq!(told("OutOfSync", "b"), ["other"]);
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
            ("uninstalled", "UninstallSucceeded", vec!["uninstalled"]),
            ("deployed", "TestFailed", vec![]),
        ] {
            assert_eq!(reasons(&REMEDIATING, objects![release(status, reason)]), expected);
        }
        let mut well = release("failed", "UpgradeSucceeded");
        well.conditions[0].status = Status::True;
        assert!(reasons(&REMEDIATING, objects![well]).is_empty(), "its failure was ignored");
        let mut counted = Counted::new(&LAYER, objects![]);
        counted.see(release("failed", ""), 60).see(release("failed", ""), 30);
        assert_eq!(counted.totals(&REMEDIATIONS), [("shop web upgrade".to_owned(), 2)]);
    }
}
