//! Who undoes whose work? Corrections of drift: what Argo CD and Flux set back although Git did not change.

use crate::labels;
use crate::layers::conditions::words;
use crate::layers::switches::switched_off;
use crate::model::finding::{Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Event, Resource, Status};
use crate::model::signal::{Observation, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::tally::Tallies;
use crate::model::view::View;

use super::changes::revision_of;

pub(super) static ARGO: Signal = Signal {
    block: "S7.5",
    name: "gitops_argo_corrections_total",
    layer: Layer::Gitops,
    help: "Automated syncs of an application whose revision did not change: Argo CD set back what somebody had changed. \
           Healthy is near none; several an hour are a fight.",
    unit: Unit::Count,
    labels: &["namespace", "project", "application"],
    reasons: &[],
    bound: "applications",
    needs: &[Kind::ArgoApplication],
    uses: &[],
    profile: Profile::Rate,
    read: Read::Counter,
};

pub(super) static FLUX: Signal = Signal {
    block: "S7.16",
    name: "gitops_flux_corrections_total",
    layer: Layer::Gitops,
    help: "Drift that Flux corrected: objects of a Kustomization configured again at the same revision, and corrections \
           that Helm releases report. Healthy is near none.",
    unit: Unit::Count,
    labels: &["namespace", "kind", "name"],
    reasons: &[],
    bound: "Kustomizations and Helm releases",
    needs: &[Kind::Event],
    uses: &[Kind::Kustomization, Kind::HelmRelease],
    profile: Profile::Rate,
    read: Read::Counter,
};

pub(super) static DRIFTED: Signal = Signal {
    block: "S7.16",
    name: "gitops_helmrelease_drifted",
    layer: Layer::Gitops,
    help: "Helm releases whose objects differ from what was rendered, where drift detection is on. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "helmrelease", "reason"],
    reasons: &["drifted"],
    bound: "Helm releases",
    needs: &[Kind::HelmRelease],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(drifted),
};

/// Counts a sync that began since, by itself, at a revision that was there before.
pub(super) fn observe(o: &Observation<'_>, object: &Resource, tallies: &mut Tallies) {
    if object.kind == Kind::Kustomization {
        note_applied(o, object, tallies);
    }
    if object.kind != Kind::ArgoApplication || !tallies.is_counting(object.kind) {
        return;
    }
    let store = o.world.resources(object.kind);
    let before = store.and_then(|s| s.get(&object.meta.namespace, &object.meta.name));
    let Some(before) = before.filter(|b| b.meta.uid == object.meta.uid) else { return };
    let operation =
        |r: &Resource, path: &str| r.body.text(&format!("status.operationState.{path}")).clone();
    let (then, now) = (operation(before, "startedAt"), operation(object, "startedAt"));
    let automated = object.body.is_true("status.operationState.operation.initiatedBy.automated");
    let at = |r: &'_ Resource| {
        let state = r.body.at("status.operationState");
        let synced = revision_of(state.at("syncResult")).into_owned();
        if synced.is_empty() {
            revision_of(state.at("operation.sync")).into_owned()
        } else {
            synced
        }
    };
    let same = at(before) == at(object) && !at(object).is_empty();
    if automated && !then.is_empty() && then != now && same {
        let labels =
            labels![&object.meta.namespace, object.body.text("spec.project"), &object.meta.name];
        tallies.add(&ARGO, labels, 1);
    }
}

/// The slot in which is kept when a Kustomization was seen to have applied another revision.
const APPLIED: &str = "applied";

/// How long events of a new revision may still come after it was applied: they travel on their own.
const LATE: i64 = 120;

/// Notes when a Kustomization has applied another revision: what it configures then is no correction.
fn note_applied(o: &Observation<'_>, object: &Resource, tallies: &mut Tallies) {
    let store = o.world.resources(object.kind);
    let before = store.and_then(|s| s.get(&object.meta.namespace, &object.meta.name));
    let revision = |r: &Resource| r.body.text("status.lastAppliedRevision").clone();
    if before.is_none_or(|b| revision(b) != revision(object)) {
        let now = u64::try_from(o.now.as_second()).unwrap_or_default();
        tallies.advance(object.kind, object.meta.uid, APPLIED, now);
    }
}

/// What an event of a Kustomization or Helm release says was set back although Git did not change.
pub(super) fn corrected<'e>(object: &Resource, event: &'e Event) -> Option<&'e str> {
    if object.kind == Kind::HelmRelease {
        return (event.reason == "DriftCorrected").then_some(event.note.as_str());
    }
    let revision = event.meta.annotations.value("kustomize.toolkit.fluxcd.io/revision");
    // The very revision that is applied, applied again with changes: somebody had changed them.
    let same = object.body.text("status.lastAppliedRevision") == revision;
    let changed = |l: &&str| l.ends_with(" configured") || l.ends_with(" created");
    event.note.lines().find(changed).filter(|_| same && !revision.is_empty())
}

/// Counts a correction that an event tells of.
pub(super) fn observe_event(o: &Observation<'_>, event: &Event, tallies: &mut Tallies) {
    let about = &event.regarding;
    let kind = match about.kind.as_str() {
        "HelmRelease" => Kind::HelmRelease,
        "Kustomization" => Kind::Kustomization,
        _ => return,
    };
    let store = o.world.resources(kind);
    let Some(object) = store.and_then(|s| s.get(&about.namespace, &about.name)) else { return };
    let applied = tallies.mark(kind, object.meta.uid, APPLIED);
    let applied = i64::try_from(applied).unwrap_or(i64::MAX);
    let new = kind == Kind::Kustomization && event.last.as_second() <= applied.saturating_add(LATE);
    if corrected(object, event).is_some() && !new {
        let count = u64::from(event.count);
        let n = tallies.advance(Kind::Event, event.meta.uid, "correction", count);
        tallies.add(&FLUX, labels![&about.namespace, kind.name(), &about.name], n);
    }
}

fn drifted(view: &View<'_>, out: &mut Verdicts) {
    let live = |r: &&Resource| r.meta.deleting.is_none() && switched_off(r).is_none();
    for release in view.resources(Kind::HelmRelease).filter(live) {
        let drifted = release.condition("Drifted").filter(|c| c.status == Status::True);
        if let Some(condition) = drifted.filter(|c| release.is_current(c)) {
            let labels = labels![&release.meta.namespace, &release.meta.name, "drifted"];
            let verdict = Verdict::new(Subject::of(release), labels, "drifted", words(condition));
            out.push(verdict.since(condition.since).dwell(300));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{Counted, ago, event, objects, reasons, resource};
    use crate::layers::gitops::LAYER;
    use crate::model::record::Labelled;

    fn synced(started: i64, revision: &str, automated: bool) -> Resource {
        resource(
            Kind::ArgoApplication,
            "web",
            json!({"spec": {"project": "shop"}, "status": {"operationState": {
            "startedAt": ago(started).to_string(), "syncResult": {"revision": revision},
            "operation": {"initiatedBy": {"automated": automated}}}}}),
        )
    }

    #[test]
    fn a_sync_at_the_same_revision_is_a_correction() {
        let mut counted = Counted::new(&LAYER, objects![synced(900, "a", true)]);
        counted.see(synced(900, "a", true), 800).see(synced(700, "b", true), 700);
        assert!(counted.totals(&ARGO).is_empty(), "seen again, and a new revision");
        counted.see(synced(600, "b", true), 600).see(synced(500, "b", false), 500);
        assert_eq!(
            counted.totals(&ARGO),
            [("shop shop web".to_owned(), 1)],
            "by itself, not by hand"
        );
    }

    #[test]
    fn several_sources_have_several_revisions() {
        let synced = |started: i64, revisions: &[&str]| {
            let operation = json!({"startedAt": ago(started).to_string(),
                "syncResult": {"revisions": revisions},
                "operation": {"initiatedBy": {"automated": true}}});
            let body =
                json!({"spec": {"project": "shop"}, "status": {"operationState": operation}});
            resource(Kind::ArgoApplication, "web", body)
        };
        let mut counted = Counted::new(&LAYER, objects![synced(900, &["a", "1"])]);
        counted.see(synced(700, &["a", "2"]), 700);
        assert!(counted.totals(&ARGO).is_empty(), "one of them is new");
        counted.see(synced(600, &["a", "2"]), 600);
        assert_eq!(counted.totals(&ARGO).len(), 1);
    }

    #[test]
    fn events_that_come_late_for_a_new_revision_are_no_corrections() {
        let apps = |revision: &str| {
            let status = json!({"status": {"lastAppliedRevision": revision}});
            resource(Kind::Kustomization, "apps", status)
        };
        let told = |last| {
            let note = "Deployment/shop/web configured";
            let about = (Kind::Kustomization, "apps");
            let mut event = event(about, "Progressing", note, last, last);
            event.count = 1;
            let key = "kustomize.toolkit.fluxcd.io/revision";
            event.meta.annotations = Labelled::from([(key, "main@b")]);
            let mut counted = Counted::new(&LAYER, objects![apps("main@a")]);
            counted.see(apps("main@b"), 900).see(event, last);
            counted.totals(&FLUX).len()
        };
        assert_eq!(told(890), 0, "the revision brought it");
        assert_eq!(told(300), 1);
    }

    #[test]
    fn flux_tells_of_corrections_in_events() {
        let kustomization = resource(
            Kind::Kustomization,
            "apps",
            json!({"status": {"lastAppliedRevision": "main@a"}}),
        );
        let told = |revision: &str, note: &str| {
            let mut event = event((Kind::Kustomization, "apps"), "Progressing", note, 60, 60);
            event.count = 1;
            event.meta.annotations =
                Labelled::from([("kustomize.toolkit.fluxcd.io/revision", revision)]);
            let mut counted = Counted::new(&LAYER, objects![kustomization.clone()]);
            counted.see(event, 30);
            counted.totals(&FLUX).len()
        };
        assert_eq!(told("main@a", "Deployment/shop/web configured"), 1);
        assert_eq!(told("main@b", "Deployment/shop/web configured"), 0, "a new revision");
        assert_eq!(told("main@a", "Reconciliation finished"), 0);
    }

    #[test]
    fn a_drifted_release_is_told() {
        let release = resource(
            Kind::HelmRelease,
            "a",
            json!({"status": {"conditions": [
            {"type": "Drifted", "status": "True", "reason": "DriftDetected"}]}}),
        );
        assert_eq!(reasons(&DRIFTED, objects![release]), ["drifted"]);
    }
}
