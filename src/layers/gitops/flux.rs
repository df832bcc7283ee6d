//! Which objects of Flux are not ready, and which of them is the root? A source before those that wait for it.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use crate::labels;
use crate::layers::conditions::{one_line, words};
use crate::layers::switches::switched_off;
use crate::model::finding::{Severity, Verdict, Verdicts, short_age};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Event, Resource, Status, Time};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::view::View;

pub(super) static NOT_READY: Signal = Signal {
    block: "S7.10",
    name: "gitops_flux_not_ready",
    layer: Layer::Gitops,
    help: "Sources, Kustomizations and Helm releases of Flux that are not ready for 5 minutes, by what failed. Those that \
           only wait for another that is told are left out, and so are suspended ones. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "kind", "name", "reason"],
    reasons: REASONS,
    bound: "Flux objects × 13 reasons",
    needs: &[],
    uses: &[
        Kind::GitRepository,
        Kind::OciRepository,
        Kind::HelmRepository,
        Kind::HelmChart,
        Kind::Bucket,
        Kind::Kustomization,
        Kind::HelmRelease,
        Kind::FluxInstance,
        Kind::ResourceSet,
    ],
    profile: Profile::None,
    read: Read::Rule(not_ready),
};

pub(super) static STALLED: Signal = Signal {
    block: "S7.11",
    name: "gitops_flux_stalled",
    layer: Layer::Gitops,
    help: "Objects of Flux that will not be tried again until their spec changes. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "kind", "name", "reason"],
    reasons: &["stalled"],
    bound: "Flux objects",
    needs: &[],
    uses: APPLIED,
    profile: Profile::None,
    read: Read::Rule(stalled),
};

pub(super) static OVERDUE: Signal = Signal {
    block: "S7.13",
    name: "gitops_flux_reconcile_overdue",
    layer: Layer::Gitops,
    help: "Kustomizations that were last reconciled longer ago than two of their intervals and 5 minutes: their \
           controller is down or overloaded. Needs kustomize-controller 1.7. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "kustomization", "reason"],
    reasons: &["overdue"],
    bound: "Kustomizations",
    needs: &[Kind::Kustomization],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(overdue),
};

pub(super) static NOTIFICATION: Signal = Signal {
    block: "S7.19",
    name: "gitops_notification_not_ready",
    layer: Layer::Gitops,
    help: "Receivers, providers and alerts of Flux that are not ready: pushes fall back to polling, and nobody is told. \
           Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "kind", "name", "reason"],
    reasons: &["not_ready"],
    bound: "receivers, providers and alerts",
    needs: &[],
    uses: &[Kind::FluxReceiver, Kind::FluxProvider, Kind::FluxAlert],
    profile: Profile::None,
    read: Read::Rule(notification),
};

/// What fetches, and what applies what was fetched.
pub(super) const APPLIED: &[Kind] = &[
    Kind::GitRepository,
    Kind::OciRepository,
    Kind::HelmRepository,
    Kind::HelmChart,
    Kind::Bucket,
    Kind::Kustomization,
    Kind::HelmRelease,
    Kind::FluxInstance,
    Kind::ResourceSet,
];

const REASONS: &[&str] = &[
    "source_not_ready",
    "fetch",
    "authentication",
    "verification",
    "storage",
    "build",
    "apply",
    "health_check",
    "dependency",
    "prune",
    "install",
    "upgrade",
    "other",
];

/// Reasons of Flux's controllers, by what failed.
const KNOWN: &[(&str, &str)] = &[
    ("AuthenticationFailed", "authentication"),
    ("VerificationFailed", "verification"),
    ("VerificationError", "verification"),
    ("FetchFailed", "fetch"),
    ("GitOperationFailed", "fetch"),
    ("URLInvalid", "fetch"),
    ("IndexationFailed", "fetch"),
    ("OCIArtifactPullFailed", "fetch"),
    ("OCIArtifactLayerOperationFailed", "fetch"),
    ("ChartPullError", "fetch"),
    ("ChartPullFailed", "fetch"),
    ("BucketOperationFailed", "fetch"),
    ("StorageOperationFailed", "storage"),
    ("DirectoryCreationFailed", "storage"),
    ("StatOperationFailed", "storage"),
    ("ReadOperationFailed", "storage"),
    ("ArchiveOperationFailed", "storage"),
    ("AcquireLockFailed", "storage"),
    ("SymlinkUpdateFailed", "storage"),
    ("CacheOperationFailed", "storage"),
    ("InvalidProviderConfiguration", "authentication"),
    ("ChartVerificationError", "verification"),
    ("SourceUnavailable", "source_not_ready"),
    ("NoSourceArtifact", "source_not_ready"),
    ("InvalidChartReference", "fetch"),
    ("ChartPackageError", "build"),
    ("IncludeUnavailable", "dependency"),
    ("DependencyNotReady", "dependency"),
    ("ArtifactFailed", "source_not_ready"),
    ("SourceNotReady", "source_not_ready"),
    ("BuildFailed", "build"),
    ("ValidationFailed", "build"),
    ("InvalidCELExpression", "build"),
    ("ReconciliationFailed", "apply"),
    ("HealthCheckFailed", "health_check"),
    ("HealthCheckCanceled", "health_check"),
    ("PruneFailed", "prune"),
    ("InstallFailed", "install"),
    ("UninstallSucceeded", "install"),
    ("RollbackSucceeded", "upgrade"),
    ("UpgradeFailed", "upgrade"),
    ("TestFailed", "upgrade"),
    ("RollbackFailed", "upgrade"),
    ("UninstallFailed", "upgrade"),
];

/// Objects that are meant to be reconciled.
fn live<'a>(view: &'a View<'_>, kinds: &'static [Kind]) -> impl Iterator<Item = &'a Resource> {
    view.resources_of(kinds).filter(|r| r.meta.deleting.is_none() && switched_off(r).is_none())
}

fn labelled(object: &Resource, reason: &str) -> crate::model::reading::Labels {
    labels![&object.meta.namespace, object.kind.name(), &object.meta.name, reason]
}

type Name<'a> = (&'static str, &'a Text, &'a Text);

fn name(object: &Resource) -> Name<'_> {
    (object.kind.name(), &object.meta.namespace, &object.meta.name)
}

/// What an object fails at, in its controller's words.
struct Failure {
    reason: Text,
    told: String,
    since: Option<Time>,
}

/// Why an object is not ready. Each new attempt makes it unknown, and dates its condition anew: then what its events
/// have told since it last went well says how long it fails.
fn failure(view: &View<'_>, object: &Resource) -> Option<Failure> {
    let ready = object.condition("Ready").filter(|c| object.is_current(c))?;
    let events: Vec<&Event> = view.recent_events(object.kind, &object.meta, LATELY).collect();
    let well = events.iter().filter(|e| !e.warning).map(|e| e.last).max();
    let failed = events.iter().filter(|e| e.warning && well.is_none_or(|well| e.last > well));
    let begun = |event: &Event| well.map_or(event.first, |well| event.first.max(well));
    match ready.status {
        Status::True => None,
        Status::False => {
            let same = failed.filter(|e| e.reason == ready.reason);
            let since = same.map(|e| begun(e)).chain(ready.since).min();
            Some(Failure { reason: ready.reason.clone(), told: words(ready), since })
        }
        Status::Unknown => {
            let failed = failed.filter(|e| KNOWN.iter().any(|(known, _)| e.reason == *known));
            let last = failed.max_by_key(|e| e.last)?;
            let still = view.still_speaks(last);
            let told =
                format!("{} ({}); it is being tried again", one_line(&last.note), last.reason);
            still.then(|| Failure { reason: last.reason.clone(), told, since: Some(begun(last)) })
        }
    }
}

/// How far back events tell since when an object fails.
const LATELY: SignedDuration = SignedDuration::from_hours(1);

fn not_ready(view: &View<'_>, out: &mut Verdicts) {
    let failing: Vec<_> =
        live(view, APPLIED).filter_map(|o| Some((o, failure(view, o)?))).collect();
    let failed: BTreeSet<Name<'_>> = failing.iter().map(|(o, _)| name(o)).collect();
    for (object, failure) in &failing {
        let known = KNOWN.iter().find(|(reason, _)| failure.reason == *reason);
        let mut reason = known.map_or("other", |(_, r)| r);
        let source = source_of(object).filter(|(kind, namespace, name)| {
            failed
                .iter()
                .any(|(k, ns, n)| k == kind && ns.as_str() == namespace && n.as_str() == name)
        });
        // One that waits for another of the set is never a root.
        if reason == "dependency" && dependencies(object).any(|d| failed.contains(&d)) {
            continue;
        }
        let mut told = failure.told.clone();
        if let Some((kind, namespace, name)) = source {
            reason = "source_not_ready";
            told = format!("its source {kind} {namespace}/{name} is not ready: {told}");
        }
        let root = !matches!(reason, "source_not_ready" | "dependency");
        let severity = if root { Severity::Warning } else { Severity::Info };
        let verdict = Verdict::new(Subject::of(object), labelled(object, reason), reason, told);
        out.push(verdict.severity(severity).since(failure.since).dwell(300));
    }
}

/// The kind, namespace and name of what an object is made from.
pub(super) fn source_of(object: &Resource) -> Option<(String, String, String)> {
    let paths = ["spec.sourceRef", "spec.chartRef", "spec.chart.spec.sourceRef"];
    let reference = paths.into_iter().map(|p| object.body.at(p)).find(|r| r.has("name"))?;
    let namespace = match reference.text("namespace").as_str() {
        "" => object.meta.namespace.to_string(),
        own => own.to_owned(),
    };
    Some((reference.text("kind").to_string(), namespace, reference.text("name").to_string()))
}

fn dependencies(object: &Resource) -> impl Iterator<Item = Name<'_>> {
    object.body.items("spec.dependsOn").iter().map(move |d| {
        let namespace = match d.text("namespace") {
            none if none.is_empty() => &object.meta.namespace,
            own => own,
        };
        (object.kind.name(), namespace, d.text("name"))
    })
}

fn stalled(view: &View<'_>, out: &mut Verdicts) {
    for object in live(view, APPLIED) {
        let stalled = object.condition("Stalled").filter(|c| c.status == Status::True);
        if let Some(c) = stalled.filter(|c| object.is_current(c)) {
            let told = format!("will not be tried again until its spec changes: {}", words(c));
            let labels = labelled(object, "stalled");
            out.push(
                Verdict::new(Subject::of(object), labels, "stalled", told).since(c.since).dwell(0),
            );
        }
    }
}

/// A Go duration of whole hours, minutes and seconds, as Flux's intervals are.
pub(super) fn interval(text: &str) -> Option<i64> {
    let (mut total, mut number) = (0_i64, String::new());
    for c in text.chars() {
        if c.is_ascii_digit() || c == '.' {
            number.push(c);
            continue;
        }
        let value: f64 = number.parse().ok()?;
        number.clear();
        let seconds = match c {
            'h' => 3600.0,
            'm' => 60.0,
            's' => 1.0,
            _ => return None,
        };
        total = total.checked_add((value * seconds) as i64).filter(|t| *t < 10 * 365 * 86_400)?;
    }
    (number.is_empty() && total > 0).then_some(total)
}

fn overdue(view: &View<'_>, out: &mut Verdicts) {
    for object in live(view, &[Kind::Kustomization]).filter(|k| k.observed()) {
        // One that fails before it applies anything leaves no entry; that it fails is told.
        if object.condition("Ready").is_some_and(|c| c.status == Status::False) {
            continue;
        }
        let newest = object.body.items("status.history").first();
        let Some(last) = newest.and_then(|h| h.time("lastReconciled")) else { continue };
        let Some(interval) = interval(object.body.text("spec.interval")) else { continue };
        let age = view.age_seconds(last);
        if age > 2 * interval + 300 {
            let told = format!(
                "was last reconciled {} ago, though its interval is {}: its controller is down or overloaded",
                short_age(age),
                short_age(interval)
            );
            let labels = labels![&object.meta.namespace, &object.meta.name, "overdue"];
            let verdict = Verdict::new(Subject::of(object), labels, "overdue", told);
            out.push(verdict.since(last).dwell(0));
        }
    }
}

fn notification(view: &View<'_>, out: &mut Verdicts) {
    for object in live(view, &[Kind::FluxReceiver, Kind::FluxProvider, Kind::FluxAlert]) {
        let ready = object.condition("Ready").filter(|c| c.status == Status::False);
        if let Some(c) = ready.filter(|c| object.is_current(c)) {
            let labels = labelled(object, "not_ready");
            let verdict = Verdict::new(Subject::of(object), labels, "not_ready", words(c));
            out.push(verdict.since(c.since).dwell(300));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::layers::fixtures::{
        ago, condition, event, judge, objects, reasons, resource, world,
    };
    use crate::model::record::Object;

    fn flux(kind: Kind, name: &str, spec: &Value, ready: (&str, &str)) -> Resource {
        let condition =
            json!({"type": "Ready", "status": ready.0, "reason": ready.1, "message": "m"});
        resource(kind, name, json!({"spec": spec, "status": {"conditions": [condition]}}))
    }

    fn chain(source: (&str, &str), apps: (&str, &str)) -> Vec<Object> {
        let source_ref = json!({"sourceRef": {"kind": "GitRepository", "name": "repo"}});
        let mut depends = source_ref.clone();
        depends["dependsOn"] = json!([{"name": "apps"}]);
        objects![
            flux(Kind::GitRepository, "repo", &json!({}), source),
            flux(Kind::Kustomization, "apps", &source_ref, apps),
            flux(Kind::Kustomization, "later", &depends, ("False", "DependencyNotReady")),
        ]
    }

    #[test]
    fn the_root_is_told_and_those_that_wait_say_for_whom() {
        let told = |objects| {
            let verdicts = judge(&NOT_READY, &world(&[], objects));
            verdicts
                .iter()
                .map(|v| (v.subject.name.to_string(), v.reason, v.severity))
                .collect::<Vec<_>>()
        };
        let both = told(chain(("False", "AuthenticationFailed"), ("False", "ArtifactFailed")));
        assert_eq!(
            both.len(),
            2,
            "the one that depends on another that is told is left out: {both:?}"
        );
        assert_eq!(both[1], ("repo".to_owned(), "authentication", Severity::Warning));
        assert_eq!(both[0], ("apps".to_owned(), "source_not_ready", Severity::Info));
        let one = told(chain(("True", "Succeeded"), ("False", "HealthCheckFailed")));
        assert_eq!(one, [("apps".to_owned(), "health_check", Severity::Warning)]);
        let dangling = told(chain(("True", ""), ("True", "")));
        assert_eq!(dangling, [("later".to_owned(), "dependency", Severity::Info)]);
    }

    #[test]
    fn what_is_suspended_reconciling_or_not_yet_observed_is_silent() {
        let suspended =
            flux(Kind::Kustomization, "a", &json!({"suspend": true}), ("False", "BuildFailed"));
        let unknown = flux(Kind::Kustomization, "b", &json!({}), ("Unknown", "Progressing"));
        let mut old = flux(Kind::HelmRelease, "c", &json!({}), ("False", "UpgradeFailed"));
        old.meta.generation = 3;
        old.body = crate::model::value::Value::from(&json!({"status": {"observedGeneration": 2}}));
        assert!(reasons(&NOT_READY, objects![suspended, unknown, old]).is_empty());
    }

    #[test]
    fn a_first_failure_is_told_though_the_status_counts_only_successes() {
        let told = |own: i64| {
            let ready = json!({"type": "Ready", "status": "False", "reason": "BuildFailed",
                "observedGeneration": own});
            let status = json!({"observedGeneration": -1, "conditions": [ready]});
            let mut apps = resource(Kind::Kustomization, "apps", json!({"status": status}));
            apps.meta.generation = 2;
            reasons(&NOT_READY, objects![apps])
        };
        assert_eq!(told(2), ["build"]);
        assert!(told(1).is_empty(), "of an older spec");
    }

    #[test]
    fn one_that_is_tried_again_each_minute_still_fails() {
        let apps = |status: &str, reason: &str| {
            let ready = json!({"type": "Ready", "status": status, "reason": reason, "age": 20});
            let status = json!({"conditions": [ready]});
            resource(Kind::Kustomization, "apps", json!({"status": status}))
        };
        let event = |warning, reason: &str, first, last| {
            let mut event =
                event((Kind::Kustomization, "apps"), reason, "no such file", first, last);
            event.warning = warning;
            event
        };
        let told = |objects| {
            let verdicts = judge(&NOT_READY, &world(&[], objects));
            verdicts.iter().map(|v| (v.reason, v.since)).collect::<Vec<_>>()
        };
        let failed = || event(true, "BuildFailed", 1200, 30);
        let since = |age| vec![("build", Some(ago(age)))];
        assert_eq!(told(objects![apps("False", "BuildFailed"), failed()]), since(1200));
        assert_eq!(told(objects![apps("Unknown", "Progressing"), failed()]), since(1200));
        let well = |age| event(false, "ReconciliationSucceeded", 3000, age);
        let between = objects![apps("False", "BuildFailed"), failed(), well(600)];
        assert_eq!(told(between), since(600), "it went well in between");
        assert!(told(objects![apps("Unknown", "Progressing"), failed(), well(10)]).is_empty());
        assert!(told(objects![apps("True", "ReconciliationSucceeded"), failed()]).is_empty());
        let old = event(true, "BuildFailed", 3000, 1500);
        assert!(told(objects![apps("Unknown", "Progressing"), old]).is_empty());
    }

    #[test]
    fn a_kustomization_is_overdue_against_its_own_interval() {
        let at = |age: i64| {
            resource(
                Kind::Kustomization,
                "a",
                json!({"spec": {"interval": "10m0s"},
                "status": {"history": [{"lastReconciled": ago(age).to_string()}]}}),
            )
        };
        assert_eq!(reasons(&OVERDUE, objects![at(1600)]), ["overdue"]);
        assert!(reasons(&OVERDUE, objects![at(1400)]).is_empty());
        let mut failing = at(1600);
        failing.conditions = [condition("Ready", Status::False, "ArtifactFailed", 1500)].into();
        assert!(reasons(&OVERDUE, objects![failing]).is_empty(), "its source has nothing");
        for (text, expected) in
            [("1h30m", Some(5400)), ("90s", Some(90)), ("5", None), ("x", None), ("", None)]
        {
            assert_eq!(interval(text), expected, "{text}");
        }
    }

    #[test]
    fn stalled_and_silent_notifications_are_told() {
        let stalled = resource(
            Kind::HelmRelease,
            "a",
            json!({"status": {"conditions": [
            {"type": "Stalled", "status": "True", "reason": "RetriesExceeded"}]}}),
        );
        assert_eq!(reasons(&STALLED, objects![stalled]), ["stalled"]);
        let receiver = flux(Kind::FluxReceiver, "a", &json!({}), ("False", "X"));
        assert_eq!(reasons(&NOTIFICATION, objects![receiver]), ["not_ready"]);
    }
}
