//! What did somebody switch off? The fields by which objects are told to stand still, and since when they have been.

use crate::model::kind::Kind;
use crate::model::record::{Manager, Meta, Resource, Time};

/// Objects of Flux and Argo CD that can be told to stand still.
pub(super) const SWITCHED: &[Kind] = &[
    Kind::GitRepository,
    Kind::OciRepository,
    Kind::HelmRepository,
    Kind::HelmChart,
    Kind::Bucket,
    Kind::Kustomization,
    Kind::HelmRelease,
    Kind::FluxReceiver,
    Kind::FluxProvider,
    Kind::FluxAlert,
    Kind::FluxInstance,
    Kind::ResourceSet,
    Kind::ArgoApplication,
];

/// How an object of Flux or Argo CD was told to stand still; `None` for one that follows Git. What its status says
/// was true when it was switched off.
pub(super) fn switched_off(object: &Resource) -> Option<&'static str> {
    let annotated = |key: &str, value: &str| object.meta.annotations.value(key) == value;
    let (off, reason) = match object.kind {
        Kind::ArgoApplication if skipped(object) => (true, "skip_reconcile"),
        Kind::ArgoApplication => {
            (object.body.is_false("spec.syncPolicy.automated.enabled"), "automation_off")
        }
        Kind::FluxInstance | Kind::ResourceSet => {
            (annotated("fluxcd.controlplane.io/reconcile", "disabled"), "suspended")
        }
        _ => (object.body.is_true("spec.suspend"), "suspended"),
    };
    off.then_some(reason)
}

/// Whether Argo CD was told not to look at an application: its status stays as it was.
pub(super) fn skipped(application: &Resource) -> bool {
    application.meta.annotations.value("argocd.argoproj.io/skip-reconcile") == "true"
}

/// Who last wrote what an object is switched off by, and when: the switch is no older. `None` where nobody can tell.
pub(super) fn switched_by(meta: &Meta) -> Option<(&Manager, Time)> {
    // Argo CD's controller writes each status through the object itself, so its time says nothing of the switch.
    let told = |m: &&Manager| m.switch && m.name != "argocd-application-controller";
    let times = meta.managers.iter().filter(told).filter_map(|m| Some((m, m.at?)));
    times.max_by_key(|(m, at)| (*at, &*m.name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{ago, resource};

    #[test]
    fn each_tool_has_its_own_switch() {
        let annotated = |kind, key: &str, value: &str| {
            resource(kind, "a", json!({"metadata": {"annotations": {key: value}}}))
        };
        let flux =
            |suspend| resource(Kind::Kustomization, "a", json!({"spec": {"suspend": suspend}}));
        let argo = |automated: serde_json::Value| {
            let spec = json!({"spec": {"syncPolicy": {"automated": automated}}});
            resource(Kind::ArgoApplication, "a", spec)
        };
        let skip = "argocd.argoproj.io/skip-reconcile";
        for (object, expected) in [
            (flux(true), Some("suspended")),
            (flux(false), None),
            (argo(json!({"enabled": false})), Some("automation_off")),
            (argo(json!({})), None),
            (resource(Kind::ArgoApplication, "manual", json!({})), None),
            (annotated(Kind::ArgoApplication, skip, "true"), Some("skip_reconcile")),
            (annotated(Kind::ArgoApplication, skip, "false"), None),
            (
                annotated(Kind::FluxInstance, "fluxcd.controlplane.io/reconcile", "disabled"),
                Some("suspended"),
            ),
            (annotated(Kind::FluxInstance, "fluxcd.controlplane.io/reconcile", "enabled"), None),
        ] {
            assert_eq!(switched_off(&object), expected, "{object:?}");
        }
    }

    #[test]
    fn a_switch_is_as_old_as_the_last_write_of_its_field() {
        let by = |name: &str, age, switch| Manager {
            name: name.into(),
            at: Some(ago(age)),
            switch,
            ..Manager::default()
        };
        let since = |managers: &[Manager]| {
            let meta = Meta { managers: managers.into(), ..Meta::default() };
            switched_by(&meta).map(|(m, at)| (m.name.to_string(), at))
        };
        let told = since(&[by("flux", 900_000, false), by("kustomize-controller", 60, true)]);
        assert_eq!(told, Some(("kustomize-controller".to_owned(), ago(60))));
        assert_eq!(since(&[by("flux", 900_000, false)]), None, "it wrote something else");
        assert_eq!(since(&[by("argocd-application-controller", 5, true)]), None);
    }
}
