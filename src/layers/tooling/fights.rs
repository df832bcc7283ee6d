//! Who writes to what somebody else manages? People at objects that a tool keeps, and two controllers at one object.

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts, short_age};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Manager, Meta, Time};
use crate::model::signal::{Observation, Profile, Read, Signal, Unit};
use crate::model::tally::Tallies;
use crate::model::view::{Origin, View};

pub(super) static MANUAL: Signal = Signal {
    block: "S6.7",
    name: "tooling_manual_change",
    layer: Layer::Tooling,
    help: "Workloads kept by Argo CD, Flux or Helm whose last writer within a day was a person: the next sync will undo \
           it, or it is drift. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "reason"],
    reasons: &["kubectl", "dashboard"],
    bound: "managed workloads × 2 reasons",
    needs: &[Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(manual),
};

pub(super) static MANUAL_CHANGES: Signal = Signal {
    block: "S6.7",
    name: "tooling_manual_changes_total",
    layer: Layer::Tooling,
    help: "Changes that people made by hand to workloads, by what they used.",
    unit: Unit::Count,
    labels: &["namespace", "manager"],
    reasons: &[],
    bound: "namespaces × 2 managers",
    needs: &[],
    uses: &[Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet],
    profile: Profile::Rate,
    read: Read::Counter,
};

pub(super) static ALTERNATIONS: Signal = Signal {
    block: "S6.9",
    name: "tooling_reconcile_alternations_total",
    layer: Layer::Tooling,
    help: "Times that the spec of an object was written by another than the one before: each sets back what the other \
           wrote. Scaling does not count. Healthy is near none; several in ten minutes are a fight.",
    unit: Unit::Count,
    labels: &["namespace", "kind", "name"],
    reasons: &[],
    bound: "objects that several write",
    needs: &[],
    uses: WRITTEN,
    profile: Profile::Rate,
    read: Read::Counter,
};

/// The kinds of which alternations count. The generation of some others grows with each write of their status.
const WRITTEN: &[Kind] =
    &[Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet, Kind::Service, Kind::Ingress];

/// How long a change by hand is told.
const RECENT: i64 = 86_400;

/// The class of a manager that a person uses; `None` for a program.
fn person(manager: &str) -> Option<&'static str> {
    match manager {
        // `kubectl apply --server-side` by a pipeline goes by a name of its own, or by `kubectl`.
        "kubectl-edit"
        | "kubectl-patch"
        | "kubectl-client-side-apply"
        | "kubectl-rollout"
        | "kubectl-scale"
        | "kubectl-set"
        | "kubectl-replace"
        | "kubectl-label"
        | "kubectl-annotate" => Some("kubectl"),
        "Mozilla" | "dashboard" | "node-fetch" | "k9s" | "Lens" | "OpenLens" => Some("dashboard"),
        _ => None,
    }
}

/// Who wrote the spec last, other than by scaling.
fn last_writer(meta: &Meta) -> Option<(&Manager, Time)> {
    let spec = meta.managers.iter().filter(|m| m.subresource.is_empty());
    spec.filter_map(|m| Some((m, m.at?))).max_by_key(|(m, at)| (*at, &*m.name))
}

fn manual(view: &View<'_>, out: &mut Verdicts) {
    for workload in view.top_workloads().filter(|w| w.meta.deleting.is_none()) {
        let kept = Origin::of(&workload.meta);
        if matches!(kept, Origin::Unmanaged | Origin::Applied | Origin::Operator) {
            continue;
        }
        let Some((writer, at)) = last_writer(&workload.meta) else { continue };
        let Some(reason) = person(&writer.name).filter(|_| view.is_younger(at, RECENT)) else {
            continue;
        };
        let told = format!(
            "was changed with {} {} ago, though {} keeps it: put the change where it comes from, or it is lost",
            writer.name,
            short_age(view.age_seconds(at)),
            kept.name(),
        );
        let kind = workload.kind.name();
        let labels = labels![&workload.meta.namespace, kind, &workload.meta.name, reason];
        let verdict = Verdict::new(View::reference(workload).subject(), labels, reason, told);
        out.push(verdict.severity(Severity::Info).since(at).dwell(0));
    }
}

/// Counts a new spec by who wrote it, and whether another had written the one before.
pub(super) fn observe(o: &Observation<'_>, (kind, meta): (Kind, &Meta), tallies: &mut Tallies) {
    if !WRITTEN.contains(&kind) {
        return;
    }
    let (namespace, name) = (&meta.namespace, &meta.name);
    let workload = o.world.workloads(kind).and_then(|s| s.get(namespace, name)).map(|w| &w.meta);
    let resource = o.world.resources(kind).and_then(|s| s.get(namespace, name)).map(|r| &r.meta);
    let before = workload.or(resource);
    let Some(before) = before.filter(|b| b.uid == meta.uid) else { return };
    if before.generation >= meta.generation || !tallies.is_counting(kind) {
        return;
    }
    let (Some((then, _)), Some((now, at))) = (last_writer(before), last_writer(meta)) else {
        return;
    };
    // A scale through its subresource raises the generation too, and leaves the writers of the spec as they were.
    if last_writer(before).is_some_and(|(m, t)| m.name == now.name && t == at) {
        return;
    }
    if o.world.workloads(kind).is_some()
        && let Some(class) = person(&now.name)
    {
        tallies.add(&MANUAL_CHANGES, labels![&meta.namespace, class], 1);
    }
    if then.name != now.name {
        tallies.add(&ALTERNATIONS, labels![&meta.namespace, kind.name(), &meta.name], 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::fixtures::{Counted, ago, deployment, objects, reasons, resource};
    use crate::layers::tooling::LAYER;
    use crate::model::record::{Labelled, Workload};

    fn written(generation: i64, managers: &[(&str, i64, &str)]) -> Workload {
        let base = deployment("web", 2, 2);
        let manager = |(name, age, subresource): &(&str, i64, &str)| Manager {
            name: (*name).into(),
            at: Some(ago(*age)),
            subresource: (*subresource).into(),
            ..Manager::default()
        };
        let labels = Labelled::from([("kustomize.toolkit.fluxcd.io/name", "apps")]);
        let managers = managers.iter().map(manager).collect();
        Workload { meta: Meta { generation, labels, managers, ..base.meta.clone() }, ..base }
    }

    #[test]
    fn a_hand_at_a_managed_object_is_told_for_a_day() {
        let told =
            |managers: &[(&str, i64, &str)]| reasons(&MANUAL, objects![written(2, managers)]);
        assert_eq!(
            told(&[("kustomize-controller", 900, ""), ("kubectl-edit", 60, "")]),
            ["kubectl"]
        );
        assert!(
            told(&[("kustomize-controller", 30, ""), ("kubectl-edit", 60, "")]).is_empty(),
            "set back"
        );
        assert!(told(&[("kubectl-edit", 100_000, "")]).is_empty(), "long ago");
        assert!(told(&[("kustomize-controller", 30, "")]).is_empty());
    }

    #[test]
    fn alternating_writers_are_counted_and_scaling_is_not() {
        let flux = ("kustomize-controller", 900, "");
        let mut counted = Counted::new(&LAYER, objects![written(1, &[flux])]);
        counted.see(written(2, &[flux, ("kubectl-edit", 800, "")]), 800);
        counted
            .see(written(3, &[("kustomize-controller", 700, ""), ("kubectl-edit", 800, "")]), 700);
        counted.see(
            written(
                4,
                &[("kustomize-controller", 700, ""), ("kube-controller-manager", 600, "scale")],
            ),
            600,
        );
        assert_eq!(counted.totals(&ALTERNATIONS), [("shop Deployment web".to_owned(), 2)]);
        assert_eq!(counted.totals(&MANUAL_CHANGES), [("shop kubectl".to_owned(), 1)]);
    }

    #[test]
    fn a_kind_whose_generation_grows_with_its_status_has_no_fights() {
        let app = |generation, by: &str, age| {
            let mut app = resource(Kind::ArgoApplication, "web", serde_json::json!({}));
            app.meta.generation = generation;
            let (name, at) = (by.into(), Some(ago(age)));
            app.meta.managers = [Manager { name, at, ..Manager::default() }].into();
            app
        };
        let mut counted = Counted::new(&LAYER, objects![app(1, "argocd-server", 900)]);
        counted.see(app(2, "argocd-application-controller", 800), 800);
        assert!(counted.totals(&ALTERNATIONS).is_empty());
    }
}
