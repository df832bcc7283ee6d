//! Which objects of Flux are not ready, and which of them is the root? A source before those that wait for it.

use std::collections::BTreeSet;

use crate::labels;
use crate::layers::conditions::words;
use crate::layers::switches::switched_off;
use crate::model::finding::{Severity, Verdict, Verdicts, short_age};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Resource, Status};
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
    uses: APPLIED,
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

/// Objects that are meant to be reconciled, with a status as new as their spec.
fn live<'a>(view: &'a View<'_>, kinds: &'static [Kind]) -> impl Iterator<Item = &'a Resource> {
    view.resources_of(kinds)
        .filter(|r| r.meta.deleting.is_none() && switched_off(r).is_none() && r.observed())
}

fn labelled(object: &Resource, reason: &str) -> crate::model::reading::Labels {
    labels![&object.meta.namespace, object.kind.name(), &object.meta.name, reason]
}

type Name<'a> = (&'static str, &'a Text, &'a Text);

fn name(object: &Resource) -> Name<'_> {
    (object.kind.name(), &object.meta.namespace, &object.meta.name)
}

fn not_ready(view: &View<'_>, out: &mut Verdicts) {
    let failing: Vec<_> = live(view, APPLIED)
        .filter_map(|o| Some((o, o.condition("Ready").filter(|c| c.status == Status::False)?)))
        .collect();
    let failed: BTreeSet<Name<'_>> = failing.iter().map(|(o, _)| name(o)).collect();
    for (object, ready) in &failing {
        let known = KNOWN.iter().find(|(reason, _)| ready.reason == *reason);
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
        let mut told = words(ready);
        if let Some((kind, namespace, name)) = source {
            reason = "source_not_ready";
            told = format!("its source {kind} {namespace}/{name} is not ready: {told}");
        }
        let root = !matches!(reason, "source_not_ready" | "dependency");
        let severity = if root { Severity::Warning } else { Severity::Info };
        let verdict = Verdict::new(Subject::of(object), labelled(object, reason), reason, told);
        out.push(verdict.severity(severity).since(ready.since).dwell(300));
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
        if let Some(c) = object.condition("Stalled").filter(|c| c.status == Status::True) {
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
        total = total.checked_add((value * seconds) as i64)?;
    }
    (number.is_empty() && total > 0).then_some(total)
}

fn overdue(view: &View<'_>, out: &mut Verdicts) {
    for object in live(view, &[Kind::Kustomization]) {
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
        if let Some(c) = object.condition("Ready").filter(|c| c.status == Status::False) {
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
    use crate::layers::fixtures::{ago, condition, judge, objects, reasons, resource, world};
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
