//! What changed, by whom, and how long did it take from Git to the cluster?

use crate::labels;
use crate::model::finding::{Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::Resource;
use crate::model::signal::{Observation, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::tally::Tallies;
use crate::model::view::View;

use super::flux::source_of;

pub(super) static LAG: Signal = Signal {
    block: "S7.12",
    name: "gitops_flux_revision_lag",
    layer: Layer::Gitops,
    help: "Kustomizations that have not applied their source's newest revision 10 minutes after it was fetched. Healthy \
           is none.",
    unit: Unit::Count,
    labels: &["namespace", "kustomization", "reason"],
    reasons: &["failing", "behind"],
    bound: "Kustomizations × 2 reasons",
    needs: &[Kind::Kustomization],
    uses: SOURCES,
    profile: Profile::None,
    read: Read::Rule(lag),
};

pub(super) static TIME_TO_APPLY: Signal = Signal {
    block: "S7.12",
    name: "gitops_time_to_apply_seconds",
    layer: Layer::Gitops,
    help: "Time from a source's new revision to its being applied, for Flux, by namespace.",
    unit: Unit::Seconds,
    labels: &["namespace"],
    reasons: &[],
    bound: "namespaces with Kustomizations",
    needs: &[Kind::Kustomization],
    uses: SOURCES,
    profile: Profile::None,
    read: Read::Histogram(&[5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0]),
};

pub(super) static CHANGES: Signal = Signal {
    block: "S7.18",
    name: "gitops_changes_total",
    layer: Layer::Gitops,
    help: "Revisions that were applied, by what applied them and whether a person asked for it.",
    unit: Unit::Count,
    labels: &["namespace", "kind", "name", "initiator"],
    reasons: &[],
    bound: "applications, Kustomizations and Helm releases × 2",
    needs: &[],
    uses: &[Kind::ArgoApplication, Kind::Kustomization, Kind::HelmRelease],
    profile: Profile::Rate,
    read: Read::Counter,
};

const SOURCES: &[Kind] = &[Kind::GitRepository, Kind::OciRepository, Kind::Bucket];

fn source(kind: &str) -> Option<Kind> {
    SOURCES.iter().copied().find(|k| k.name() == kind)
}

fn lag(view: &View<'_>, out: &mut Verdicts) {
    for object in view.resources(Kind::Kustomization) {
        if object.body.is_true("spec.suspend") || object.meta.deleting.is_some() {
            continue;
        }
        let Some((kind, namespace, name)) = source_of(object) else { continue };
        let Some(source) = source(&kind).and_then(|k| view.resource(k, &namespace, &name)) else {
            continue;
        };
        let artifact = source.body.at("status.artifact");
        let (newest, applied) =
            (artifact.text("revision"), object.body.text("status.lastAppliedRevision"));
        let Some(since) = artifact.time("lastUpdateTime") else { continue };
        if newest.is_empty() || newest == applied {
            continue;
        }
        let attempted = object.body.text("status.lastAttemptedRevision") == newest;
        let reason = if attempted { "failing" } else { "behind" };
        let told = match attempted {
            true => format!("tried to apply {newest} and still runs {applied}"),
            false => format!("still runs {applied}; its source has had {newest} for a while"),
        };
        let labels = labels![&object.meta.namespace, &object.meta.name, reason];
        out.push(Verdict::new(Subject::of(object), labels, reason, told).since(since).dwell(600));
    }
}

/// What an object has applied, and whether a person asked for it.
fn revision(object: &Resource) -> Option<(String, &'static str)> {
    match object.kind {
        Kind::ArgoApplication => {
            let newest = object.body.items("status.history").last()?;
            let by = newest.text("initiatedBy.username");
            let who = if by.is_empty() { "automated" } else { "person" };
            let id = newest.number("id").map_or(String::new(), |id| id.to_string());
            Some((format!("{id} {}", newest.text("revision")), who))
        }
        Kind::Kustomization => {
            Some((object.body.text("status.lastAppliedRevision").to_string(), "automated"))
        }
        Kind::HelmRelease => {
            let newest = object.body.items("status.history").first()?;
            let version = newest.number("version").map_or(String::new(), |v| v.to_string());
            Some((format!("{version} {}", newest.text("chartVersion")), "automated"))
        }
        _ => None,
    }
}

/// Counts a revision that was not there before, and times it from its source.
pub(super) fn observe(o: &Observation<'_>, object: &Resource, tallies: &mut Tallies) {
    let Some((now, initiator)) = revision(object).filter(|(revision, _)| !revision.is_empty())
    else {
        return;
    };
    let (namespace, name) = (&object.meta.namespace, &object.meta.name);
    let before = o.world.resources(object.kind).and_then(|s| s.get(namespace, name));
    let Some(before) = before.filter(|b| b.meta.uid == object.meta.uid).and_then(revision) else {
        return;
    };
    if before.0 == now || before.0.is_empty() || !tallies.is_counting(object.kind) {
        return;
    }
    tallies.add(&CHANGES, labels![namespace, object.kind.name(), name, initiator], 1);
    if object.kind != Kind::Kustomization {
        return;
    }
    let Some((kind, ns, source_name)) = source_of(object) else { return };
    let store = source(&kind).and_then(|k| o.world.resources(k));
    let Some(source) = store.and_then(|s| s.get(&ns, &source_name)) else { return };
    let artifact = source.body.at("status.artifact");
    // Only of the revision that is the newest can be said when it came.
    if let Some(came) =
        artifact.time("lastUpdateTime").filter(|_| artifact.text("revision") == now.as_str())
    {
        tallies.record(
            &TIME_TO_APPLY,
            labels![namespace],
            o.now.duration_since(came).as_secs_f64(),
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{Counted, ago, objects, reasons, resource};
    use crate::layers::gitops::LAYER;

    fn repository(revision: &str, age: i64) -> Resource {
        let artifact = json!({"revision": revision, "lastUpdateTime": ago(age).to_string()});
        resource(Kind::GitRepository, "repo", json!({"status": {"artifact": artifact}}))
    }

    fn kustomization(applied: &str, attempted: &str) -> Resource {
        resource(
            Kind::Kustomization,
            "apps",
            json!({
            "spec": {"sourceRef": {"kind": "GitRepository", "name": "repo"}},
            "status": {"lastAppliedRevision": applied, "lastAttemptedRevision": attempted}}),
        )
    }

    #[test]
    fn a_revision_that_does_not_arrive_is_told() {
        let told = |applied, attempted| {
            reasons(&LAG, objects![repository("main@b", 900), kustomization(applied, attempted)])
        };
        assert_eq!(told("main@a", "main@b"), ["failing"]);
        assert_eq!(told("main@a", "main@a"), ["behind"]);
        assert!(told("main@b", "main@b").is_empty());
    }

    #[test]
    fn a_change_counts_once_and_is_timed_from_its_source() {
        let mut counted = Counted::new(&LAYER, objects![kustomization("main@a", "main@a")]);
        counted.see(repository("main@b", 100), 100);
        counted
            .see(kustomization("main@b", "main@b"), 40)
            .see(kustomization("main@b", "main@b"), 10);
        assert_eq!(counted.totals(&CHANGES), [("shop Kustomization apps automated".to_owned(), 1)]);
        assert_eq!(counted.durations(&TIME_TO_APPLY), [("shop".to_owned(), 1, 60.0)]);
        let app = |id: u32, by: &str| {
            resource(
                Kind::ArgoApplication,
                "web",
                json!({"status": {"history": [
            {"id": id, "revision": "r", "initiatedBy": {"username": by}}]}}),
            )
        };
        let mut counted = Counted::new(&LAYER, objects![app(1, "")]);
        counted.see(app(2, "jane"), 40);
        assert_eq!(counted.totals(&CHANGES), [("shop Application web person".to_owned(), 1)]);
    }
}
