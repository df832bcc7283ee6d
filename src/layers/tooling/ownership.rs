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
    // Secrets of releases say which there are; without the right to see them nobody can tell.
    let releases: Option<BTreeSet<(&Text, &str)>> = view.sees(Kind::HelmSecret).then(|| {
        let secrets = view.resources(Kind::HelmSecret);
        secrets.map(|s| (&s.meta.namespace, s.meta.labels.value("name"))).collect()
    });
    let missing = |kind: Kind, namespace: &str, name: &str| {
        view.sees(kind) && view.resource(kind, namespace, name).is_none()
    };
    for workload in view.top_workloads().filter(|w| w.meta.deleting.is_none()) {
        let origin = Origin::of(&workload.meta);
        let own = workload.meta.namespace.as_str();
        let (reason, told) = match &origin {
            Origin::Helm { namespace, release } => {
                let namespace = Text::from(if namespace.is_empty() { own } else { namespace });
                let known = releases.as_ref().is_none_or(|r| r.contains(&(&namespace, release)));
                if known {
                    continue;
                }
                (
                    "release_missing",
                    format!(
                        "belongs to the Helm release {namespace}/{release}, of which there is no revision"
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

fn flux(workload: &crate::model::record::Workload) -> bool {
    let label = |key: &str| !workload.meta.labels.value(key).is_empty();
    label("kustomize.toolkit.fluxcd.io/name") || label("helm.toolkit.fluxcd.io/name")
}

/// An application in a namespace of its own is tracked as `<namespace>_<name>`.
fn application_missing(view: &View<'_>, application: &str) -> bool {
    let name = application.split_once('_').map_or(application, |(_, name)| name);
    view.sees(Kind::ArgoApplication)
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
        assert_eq!(reasons(&DRIFT, objects![web(&[], &HELM)]), ["release_missing"]);
        let secret = resource(
            Kind::HelmSecret,
            "sh.helm.release.v1.shop.v1",
            json!({"metadata": {"labels": {"owner": "helm", "name": "shop", "version": "1"}}}),
        );
        assert!(reasons(&DRIFT, objects![web(&[], &HELM), secret]).is_empty());
        let flux = [
            ("kustomize.toolkit.fluxcd.io/name", "apps"),
            ("kustomize.toolkit.fluxcd.io/namespace", "shop"),
        ];
        assert_eq!(reasons(&DRIFT, objects![web(&flux, &[])]), ["kustomization_missing"]);
        let there = resource(Kind::Kustomization, "apps", json!({}));
        assert!(reasons(&DRIFT, objects![web(&flux, &[]), there]).is_empty());
    }

    #[test]
    fn two_managers_are_told_and_rendering_is_not_managing() {
        let tracked = ("argocd.argoproj.io/tracking-id", "shop:apps/Deployment:shop/web");
        let app = || resource(Kind::ArgoApplication, "shop", json!({}));
        assert_eq!(reasons(&DRIFT, objects![web(&[], &[tracked])]), ["application_missing"]);
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
