//! What brought each workload, and is that still there? Releases that are gone, and objects with two masters.

use std::collections::{BTreeMap, BTreeSet};

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};
use crate::model::text::Text;
use crate::model::view::{Origin, View};

pub(super) static DRIFT: Signal = Signal {
    block: "S6.5",
    name: "tooling_release_object_orphaned",
    layer: Layer::Tooling,
    help: "Workloads that say they belong to a Helm release, Kustomization, Flux Helm release or application that does \
           not exist, and those that two tools manage. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "reason"],
    reasons: &[
        "release_missing",
        "kustomization_missing",
        "helmrelease_missing",
        "application_missing",
        "two_managers",
    ],
    bound: "workloads × 5 reasons",
    needs: &[Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet],
    uses: &[Kind::HelmSecret, Kind::Kustomization, Kind::HelmRelease, Kind::ArgoApplication],
    profile: Profile::None,
    read: Read::Rule(drift),
};

pub(super) static MANAGED: Signal = Signal {
    block: "S6.6",
    name: "tooling_managed_ratio",
    layer: Layer::Tooling,
    help: "Share of workloads that Argo CD, Flux, Helm or an operator brought, rather than a person, by namespace.",
    unit: Unit::Ratio,
    labels: &["namespace"],
    reasons: &[],
    bound: "namespaces",
    needs: &[Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet],
    uses: &[],
    profile: Profile::Level { bad: Direction::Low, floor: 0.2 },
    read: Read::Gauge(managed),
};

fn drift(view: &View<'_>, out: &mut Verdicts) {
    let releases = releases(view);
    let missing = |kind: Kind, namespace: &str, name: &str| {
        keeps(view, kind) && view.resource(kind, namespace, name).is_none()
    };
    for workload in view.top_workloads().filter(|w| w.meta.deleting.is_none()) {
        let origin = Origin::of(&workload.meta);
        let own = workload.meta.namespace.as_str();
        let (reason, told) = match &origin {
            Origin::Helm { namespace, release } => {
                let namespace = Text::from(if namespace.is_empty() { own } else { namespace });
                let known = releases.as_ref().is_none_or(|r| r.contains(&(&namespace, release)));
                // Helm leaves behind what it was told to keep.
                if known || workload.meta.annotations.value("helm.sh/resource-policy") == "keep" {
                    continue;
                }
                (
                    "release_missing",
                    format!(
                        "belongs to the Helm release {namespace}/{release}, which is not installed: nothing updates it"
                    ),
                )
            }
            Origin::FluxKustomize { namespace, name }
                if missing(Kind::Kustomization, namespace, name) =>
            {
                (
                    "kustomization_missing",
                    format!(
                        "belongs to the Kustomization {namespace}/{name}, which does not exist"
                    ),
                )
            }
            Origin::FluxHelm { namespace, name } if missing(Kind::HelmRelease, namespace, name) => {
                (
                    "helmrelease_missing",
                    format!(
                        "belongs to the Helm release {namespace}/{name} of Flux, which does not exist"
                    ),
                )
            }
            Origin::Argo { application } if application_missing(view, application) => (
                "application_missing",
                format!("belongs to the application {application}, which does not exist"),
            ),
            Origin::Argo { application } if flux(workload) => {
                ("two_managers", format!("is managed by the application {application} and by Flux"))
            }
            _ => continue,
        };
        let reference = View::reference(workload);
        let kind = workload.kind.name();
        let labels = labels![&workload.meta.namespace, kind, &workload.meta.name, reason];
        let severity = if reason == "two_managers" { Severity::Warning } else { Severity::Info };
        out.push(
            Verdict::new(reference.subject(), labels, reason, told).severity(severity).dwell(300),
        );
    }
}

/// Whether objects of a kind are kept in this cluster. Where there is none of it, those that the labels name may be
/// those of another cluster, from which this one is managed.
fn keeps(view: &View<'_>, kind: Kind) -> bool {
    view.sees(kind) && view.resources(kind).next().is_some()
}

/// The Helm releases that are installed, by namespace and name, as the Secrets of their revisions say. `None` where
/// nobody can tell: without the right to see them, or where Helm keeps revisions elsewhere.
fn releases<'a>(view: &'a View<'_>) -> Option<BTreeSet<(&'a Text, &'a str)>> {
    if !keeps(view, Kind::HelmSecret) {
        return None;
    }
    let there = view.resources(Kind::HelmSecret).filter(|secret| {
        // What is left of a release uninstalled with `--keep-history`.
        secret.meta.labels.value("status") != "uninstalled"
    });
    Some(there.map(|s| (&s.meta.namespace, s.meta.labels.value("name"))).collect())
}

fn flux(workload: &crate::model::record::Workload) -> bool {
    let label = |key: &str| !workload.meta.labels.value(key).is_empty();
    label("kustomize.toolkit.fluxcd.io/name") || label("helm.toolkit.fluxcd.io/name")
}

/// An application in a namespace of its own is tracked as `<namespace>_<name>`.
fn application_missing(view: &View<'_>, application: &str) -> bool {
    let name = application.split_once('_').map_or(application, |(_, name)| name);
    keeps(view, Kind::ArgoApplication)
        && !view.resources(Kind::ArgoApplication).any(|a| a.meta.name == *name)
}

fn managed(view: &View<'_>, out: &mut Readings) {
    let mut namespaces: BTreeMap<&Text, (u64, u64)> = BTreeMap::new();
    for workload in view.top_workloads() {
        let (managed, all) = namespaces.entry(&workload.meta.namespace).or_default();
        *all += 1;
        let by_hand = matches!(Origin::of(&workload.meta), Origin::Unmanaged | Origin::Applied);
        *managed += u64::from(!by_hand);
    }
    for (namespace, (managed, all)) in namespaces {
        out.push_ratio(labels![namespace], managed, all);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{deployment, objects, readings, reasons, resource};
    use crate::model::record::{Labelled, Meta, Workload};

    fn web(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> Workload {
        let base = deployment("web", 1, 1);
        let labels = labels.iter().copied().collect();
        let annotations: Labelled = annotations.iter().copied().collect();
        Workload { meta: Meta { labels, annotations, ..base.meta.clone() }, ..base }
    }

    const HELM: [(&str, &str); 2] =
        [("meta.helm.sh/release-name", "shop"), ("meta.helm.sh/release-namespace", "shop")];

    #[test]
    fn an_object_whose_release_is_gone_is_told() {
        let secret = |release: &str, status: &str| {
            let labels =
                json!({"owner": "helm", "name": release, "version": "1", "status": status});
            let name = format!("sh.helm.release.v1.{release}.v1");
            resource(Kind::HelmSecret, &name, json!({"metadata": {"labels": labels}}))
        };
        let other = || secret("other", "deployed");
        let told = |objects| reasons(&DRIFT, objects);
        assert_eq!(told(objects![web(&[], &HELM), other()]), ["release_missing"]);
        assert!(told(objects![web(&[], &HELM), secret("shop", "failed")]).is_empty());
        let left = objects![web(&[], &HELM), secret("shop", "uninstalled")];
        assert_eq!(told(left), ["release_missing"]);
        assert!(told(objects![web(&[], &HELM)]).is_empty(), "Helm keeps its revisions elsewhere");
        let kept = [HELM[0], HELM[1], ("helm.sh/resource-policy", "keep")];
        assert!(told(objects![web(&[], &kept), other()]).is_empty());
        let flux = [
            ("kustomize.toolkit.fluxcd.io/name", "apps"),
            ("kustomize.toolkit.fluxcd.io/namespace", "shop"),
        ];
        let kustomization = |name| resource(Kind::Kustomization, name, json!({}));
        let gone = objects![web(&flux, &[]), kustomization("other")];
        assert_eq!(told(gone), ["kustomization_missing"]);
        assert!(told(objects![web(&flux, &[]), kustomization("apps")]).is_empty());
        assert!(told(objects![web(&flux, &[])]).is_empty(), "managed from another cluster");
    }

    #[test]
    fn two_managers_are_told_and_rendering_is_not_managing() {
        let tracked = ("argocd.argoproj.io/tracking-id", "shop:apps/Deployment:shop/web");
        let app = || resource(Kind::ArgoApplication, "shop", json!({}));
        let other = resource(Kind::ArgoApplication, "other", json!({}));
        let gone = objects![web(&[], &[tracked]), other];
        assert_eq!(reasons(&DRIFT, gone), ["application_missing"]);
        let rendered = web(&[], &[tracked, HELM[0], HELM[1]]);
        assert!(
            reasons(&DRIFT, objects![rendered, app()]).is_empty(),
            "Argo CD renders Helm's labels"
        );
        let both = web(&[("helm.toolkit.fluxcd.io/name", "x")], &[tracked]);
        assert_eq!(reasons(&DRIFT, objects![both, app()]), ["two_managers"]);
    }

    #[test]
    fn what_people_apply_by_hand_is_not_managed() {
        let other =
            Workload { meta: Meta { name: "other".into(), ..web(&[], &[]).meta }, ..web(&[], &[]) };
        let shares = readings(&MANAGED, objects![web(&[], &HELM), other]);
        assert_eq!((shares[0].value, shares[0].population), (0.5, Some(2)));
    }
}
