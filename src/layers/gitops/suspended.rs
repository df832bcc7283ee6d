//! What was paused and forgotten? Objects of Flux and Argo CD that no longer follow Git because somebody said so.

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::Resource;
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::view::View;

use super::argo::automated;
use super::flux::APPLIED;

pub(super) static SUSPENDED: Signal = Signal {
    block: "S7.14",
    name: "gitops_suspended",
    layer: Layer::Gitops,
    help: "Objects of Flux that are suspended, and applications of Argo CD that are told to skip reconciliation or whose \
           automated sync was switched off, for a day. Each is meant, until it is forgotten. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "kind", "name", "reason"],
    reasons: &["suspended", "skip_reconcile", "automation_off"],
    bound: "Flux objects and applications × 3 reasons",
    needs: &[],
    uses: &[
        Kind::GitRepository,
        Kind::OciRepository,
        Kind::HelmRepository,
        Kind::HelmChart,
        Kind::Bucket,
        Kind::Kustomization,
        Kind::HelmRelease,
        Kind::ResourceSet,
        Kind::ArgoApplication,
    ],
    profile: Profile::None,
    read: Read::Rule(suspended),
};

/// How long a pause is still somebody's intention.
const FORGOTTEN: i64 = 86_400;

fn suspended(view: &View<'_>, out: &mut Verdicts) {
    let flux = view.resources_of(APPLIED).filter(|o| o.body.is_true("spec.suspend"));
    let flux = flux.map(|o| (o, "suspended"));
    let argo = view.resources(Kind::ArgoApplication).filter_map(|app| {
        let skipped = app.meta.annotations.value("argocd.argoproj.io/skip-reconcile") == "true";
        let off = app.body.has("spec.syncPolicy.automated") && !automated(app);
        match (skipped, off) {
            (true, _) => Some((app, "skip_reconcile")),
            (false, true) => Some((app, "automation_off")),
            (false, false) => None,
        }
    });
    for (object, reason) in flux.chain(argo).filter(|(o, _)| o.meta.deleting.is_none()) {
        let by = last_manager(object);
        let told = match &by {
            Some((name, _)) => format!("{}; last changed by {name}", reason.replace('_', " ")),
            None => reason.replace('_', " "),
        };
        let labels = labels![&object.meta.namespace, object.kind.name(), &object.meta.name, reason];
        let verdict = Verdict::new(Subject::of(object), labels, reason, told);
        let since = by.map(|(_, at)| at);
        out.push(verdict.severity(Severity::Info).since(since).dwell(FORGOTTEN));
    }
}

/// Who changed the spec last, other than the controller itself, and when.
fn last_manager(object: &Resource) -> Option<(String, crate::model::record::Time)> {
    let own = |name: &str| name.ends_with("-controller") || name.starts_with("argocd-");
    let others = object.meta.managers.iter().filter(|m| !own(&m.name) && m.subresource.is_empty());
    others.filter_map(|m| Some((m.name.to_string(), m.at?))).max_by_key(|(_, at)| *at)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{ago, judge, objects, resource, world};
    use crate::model::record::{Labelled, Manager};

    #[test]
    fn a_pause_is_told_with_who_made_it_and_since_when() {
        let mut paused = resource(Kind::Kustomization, "apps", json!({"spec": {"suspend": true}}));
        let manager = |name: &str, age| Manager {
            name: name.into(),
            at: Some(ago(age)),
            subresource: "".into(),
        };
        paused.meta.managers =
            [manager("flux", 100_000), manager("kustomize-controller", 10)].into();
        let running = resource(Kind::Kustomization, "other", json!({"spec": {"suspend": false}}));
        let verdicts = judge(&SUSPENDED, &world(&[], objects![paused, running]));
        assert_eq!(verdicts.len(), 1);
        assert_eq!((verdicts[0].reason, verdicts[0].since), ("suspended", Some(ago(100_000))));
        assert!(verdicts[0].message.contains("by flux"), "{}", verdicts[0].message);
    }

    #[test]
    fn argo_cd_has_two_ways_to_be_switched_off() {
        let app = |automated: serde_json::Value| {
            resource(
                Kind::ArgoApplication,
                "web",
                json!({"spec": {"syncPolicy": {"automated": automated}}}),
            )
        };
        let mut skipped = app(json!({}));
        skipped.meta.annotations = Labelled::from([("argocd.argoproj.io/skip-reconcile", "true")]);
        for (app, expected) in [
            (skipped, vec!["skip_reconcile"]),
            (app(json!({"enabled": false})), vec!["automation_off"]),
            (app(json!({})), vec![]),
        ] {
            let told = judge(&SUSPENDED, &world(&[], objects![app]));
            assert_eq!(told.iter().map(|v| v.reason).collect::<Vec<_>>(), expected);
        }
    }
}
