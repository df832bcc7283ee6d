//! Are the parts of Argo CD and Flux themselves there, and do generators and projects let applications be?

use crate::labels;
use crate::layers::conditions::{Polarity, bad, one_line, words};
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::view::View;

pub(super) static DOWN: Signal = Signal {
    block: "S7.7",
    name: "gitops_controller_down",
    layer: Layer::Gitops,
    help: "Parts of Argo CD and Flux without an available pod: what they do for GitOps is not done until they are back. \
           Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "component", "reason"],
    reasons: &["argo", "flux"],
    bound: "parts of Argo CD and Flux",
    needs: &[Kind::Deployment, Kind::StatefulSet],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(down),
};

pub(super) static APPLICATION_SET: Signal = Signal {
    block: "S7.8",
    name: "gitops_applicationset_error",
    layer: Layer::Gitops,
    help: "Application sets that cannot generate or update their applications. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "applicationset", "reason"],
    reasons: &["error", "parameters", "not_up_to_date", "rollout_config"],
    bound: "application sets × 4 reasons",
    needs: &[Kind::ArgoApplicationSet],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(sets),
};

pub(super) static PROJECT: Signal = Signal {
    block: "S7.9",
    name: "gitops_project_violation",
    layer: Layer::Gitops,
    help: "Applications that their project does not permit: the repository, the destination or a kind. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "project", "application", "reason"],
    reasons: &["not_permitted", "project_missing"],
    bound: "applications × 2 reasons",
    needs: &[Kind::ArgoApplication],
    uses: &[Kind::ArgoAppProject],
    profile: Profile::None,
    read: Read::Rule(violations),
};

const SETS: &[Kind] = &[Kind::ArgoApplicationSet];

static CONDITIONS: &[Polarity] = &[
    Polarity::problem(SETS, "ErrorOccurred", 180).told("error", Severity::Warning),
    Polarity::good(SETS, "ParametersGenerated", 180).told("parameters", Severity::Warning),
    Polarity::good(SETS, "ResourcesUpToDate", 180).told("not_up_to_date", Severity::Warning),
    Polarity::problem(SETS, "InvalidRolloutConfig", 60).told("rollout_config", Severity::Warning),
];

fn down(view: &View<'_>, out: &mut Verdicts) {
    for workload in view.counted_workloads().filter(|w| w.available == 0 && w.observed()) {
        let label = |key: &str| workload.meta.labels.value(key);
        let reason = match label("app.kubernetes.io/part-of") {
            "argocd" => "argo",
            "flux" => "flux",
            _ => continue,
        };
        let component = match label("app.kubernetes.io/component") {
            "" => workload.meta.name.as_str(),
            component => component,
        };
        let reference = View::reference(workload);
        let (severity, lost) = match ENGINES.contains(&component) {
            true => (Severity::Critical, "nothing that needs it follows Git"),
            false => (Severity::Warning, "syncs go on without it"),
        };
        let told = format!("none of its {} pods is available: {lost}", workload.desired);
        let labels = labels![&workload.meta.namespace, component, reason];
        let verdict = Verdict::new(reference.subject(), labels, reason, told);
        out.push(verdict.severity(severity).dwell(120));
    }
}

/// Parts without which nothing is fetched, rendered or applied.
const ENGINES: &[&str] = &[
    "application-controller",
    "repo-server",
    "redis",
    "source-controller",
    "kustomize-controller",
    "helm-controller",
];

fn sets(view: &View<'_>, out: &mut Verdicts) {
    for set in view.resources(Kind::ArgoApplicationSet).filter(|s| s.meta.deleting.is_none()) {
        for (row, condition, dwell) in bad(set, CONDITIONS) {
            let labels = labels![&set.meta.namespace, &set.meta.name, row.reason];
            let verdict = Verdict::new(Subject::of(set), labels, row.reason, words(condition));
            out.push(verdict.severity(row.severity).since(condition.since).dwell(dwell));
        }
    }
}

fn violations(view: &View<'_>, out: &mut Verdicts) {
    for app in view.resources(Kind::ArgoApplication).filter(|a| a.meta.deleting.is_none()) {
        let project = app.body.text("spec.project");
        let mut tell = |reason, since, told: String| {
            let labels = labels![&app.meta.namespace, project, &app.meta.name, reason];
            out.push(Verdict::new(Subject::of(app), labels, reason, told).since(since).dwell(60));
        };
        let refused =
            app.conditions.iter().find(|c| c.message.contains("not permitted in project"));
        if let Some(c) = refused {
            tell("not_permitted", c.since, one_line(&c.message));
        }
        let known = !view.sees(Kind::ArgoAppProject)
            || view.resource(Kind::ArgoAppProject, &app.meta.namespace, project).is_some()
            // Applications may live outside of Argo CD's own namespace, where the projects are.
            || view.resources(Kind::ArgoAppProject).any(|p| p.meta.name == *project);
        if !known && !project.is_empty() {
            tell("project_missing", None, format!("its project {project} does not exist"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{deployment, judge, objects, reasons, resource, world};
    use crate::model::record::{Labelled, Meta, Workload};

    #[test]
    fn a_part_without_a_pod_is_told() {
        let part = |of: &str, available| {
            let base = deployment("repo-server", 1, available);
            let labels = Labelled::from([("app.kubernetes.io/part-of", of)]);
            Workload { meta: Meta { labels, ..base.meta.clone() }, ..base }
        };
        assert_eq!(reasons(&DOWN, objects![part("argocd", 0)]), ["argo"]);
        assert_eq!(reasons(&DOWN, objects![part("flux", 0)]), ["flux"]);
        let severe = |of| judge(&DOWN, &world(&[], objects![part(of, 0)]))[0].severity;
        assert_eq!(severe("argocd"), Severity::Critical);
        assert!(reasons(&DOWN, objects![part("argocd", 1)]).is_empty());
        assert!(reasons(&DOWN, objects![part("shop", 0)]).is_empty());
    }

    #[test]
    fn a_set_is_read_with_its_polarities() {
        let set = |kind: &str, status: &str| {
            resource(
                Kind::ArgoApplicationSet,
                "s",
                json!({"status": {"conditions": [{"type": kind, "status": status}]}}),
            )
        };
        for (kind, status, expected) in [
            ("ErrorOccurred", "True", vec!["error"]),
            ("ErrorOccurred", "False", vec![]),
            ("ParametersGenerated", "False", vec!["parameters"]),
            ("ResourcesUpToDate", "False", vec!["not_up_to_date"]),
            ("RolloutProgressing", "True", vec![]),
        ] {
            assert_eq!(reasons(&APPLICATION_SET, objects![set(kind, status)]), expected, "{kind}");
        }
    }

    #[test]
    fn an_application_outside_its_project_is_told() {
        let app = |message: &str| {
            resource(
                Kind::ArgoApplication,
                "web",
                json!({"spec": {"project": "shop"},
                "status": {"conditions": [{"type": "InvalidSpecError", "message": message}]}}),
            )
        };
        let project = || resource(Kind::ArgoAppProject, "shop", json!({}));
        let refused = "application destination x is not permitted in project 'shop'";
        assert_eq!(reasons(&PROJECT, objects![app(refused), project()]), ["not_permitted"]);
        assert_eq!(reasons(&PROJECT, objects![app("x")]), ["project_missing"]);
        assert!(reasons(&PROJECT, objects![app("x"), project()]).is_empty());
    }
}
