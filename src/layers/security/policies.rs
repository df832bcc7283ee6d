//! Do the API server's own admission policies work, and do they still bind?

use std::collections::BTreeSet;

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::Resource;
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::view::View;

pub(super) static UNHEALTHY: Signal = Signal {
    block: "S5.5",
    name: "security_admission_policy_unhealthy",
    layer: Layer::Security,
    help: "Admission policies that nobody binds, bindings of policies that are not there, policies whose parameters' kind \
           is not defined, and expressions that the API server warns about. Healthy is none.",
    unit: Unit::Count,
    labels: &["kind", "policy", "reason"],
    reasons: &["no_binding", "policy_missing", "param_kind_missing", "expression_warning"],
    bound: "policies × 4 reasons",
    needs: &[],
    uses: &[
        Kind::ValidatingAdmissionPolicy,
        Kind::ValidatingAdmissionPolicyBinding,
        Kind::MutatingAdmissionPolicy,
        Kind::MutatingAdmissionPolicyBinding,
        Kind::CustomResourceDefinition,
        Kind::ApiService,
    ],
    profile: Profile::None,
    read: Read::Rule(unhealthy),
};

/// Policies and their bindings.
const PAIRS: [(Kind, Kind); 2] = [
    (Kind::ValidatingAdmissionPolicy, Kind::ValidatingAdmissionPolicyBinding),
    (Kind::MutatingAdmissionPolicy, Kind::MutatingAdmissionPolicyBinding),
];

fn unhealthy(view: &View<'_>, out: &mut Verdicts) {
    for (policies, bindings) in PAIRS {
        if view.sees(policies) && view.sees(bindings) {
            unbound(view, policies, bindings, out);
        }
        for policy in view.resources(policies).filter(|p| p.meta.deleting.is_none()) {
            param_kind(view, policy, out);
            warnings(policy, out);
        }
    }
}

fn verdict(policy: &Resource, name: &Text, reason: &'static str, message: String) -> Verdict {
    let kind = policy.kind.name().trim_end_matches("Binding");
    Verdict::new(Subject::of(policy), labels![kind, name, reason], reason, message)
}

fn unbound(view: &View<'_>, policies: Kind, bindings: Kind, out: &mut Verdicts) {
    let bound: BTreeSet<&Text> =
        view.resources(bindings).map(|b| b.body.text("spec.policyName")).collect();
    for policy in view.resources(policies).filter(|p| p.meta.deleting.is_none()) {
        if !bound.contains(&policy.meta.name) {
            let message = "no binding names it: it is not enforced".to_owned();
            let verdict = verdict(policy, &policy.meta.name, "no_binding", message);
            out.push(verdict.severity(Severity::Info).since(policy.meta.created).dwell(600));
        }
    }
    for binding in view.resources(bindings).filter(|b| b.meta.deleting.is_none()) {
        let name = binding.body.text("spec.policyName");
        if !name.is_empty() && view.resource(policies, "", name).is_none() {
            let message = format!("binds {name}, which is not there: nothing is enforced");
            out.push(verdict(binding, name, "policy_missing", message).dwell(120));
        }
    }
}

/// A policy whose parameters are of a kind that nobody defines: what it asks about fails or passes by its failure
/// policy.
fn param_kind(view: &View<'_>, policy: &Resource, out: &mut Verdicts) {
    let wanted = policy.body.at("spec.paramKind");
    let (api, kind) = (wanted.text("apiVersion"), wanted.text("kind"));
    let Some((group, version)) = api.split_once('/') else { return };
    // Kubernetes' own groups have no definition: those without a dot, and those of k8s.io.
    let own = !group.contains('.') || group.ends_with(".k8s.io");
    if own || kind.is_empty() || !view.sees(Kind::CustomResourceDefinition) {
        return;
    }
    // An aggregated API may serve it without a definition.
    let aggregated = view.resources(Kind::ApiService).any(|s| {
        s.body.text("spec.group") == group && !s.body.text("spec.service.name").is_empty()
    });
    let mut definitions = view.resources(Kind::CustomResourceDefinition);
    let defined = definitions.any(|d| {
        let versions = d.body.items("spec.versions").iter();
        d.body.text("spec.group") == group
            && d.body.text("spec.names.kind") == kind.as_str()
            && versions.clone().any(|v| v.text("name") == version && v.is_true("served"))
    });
    if !defined && !aggregated {
        let message = format!("its parameters are of kind {kind} of {api}, which is not served");
        out.push(verdict(policy, &policy.meta.name, "param_kind_missing", message).dwell(120));
    }
}

fn warnings(policy: &Resource, out: &mut Verdicts) {
    let warnings = policy.body.items("status.typeChecking.expressionWarnings");
    if let Some(first) = warnings.first().filter(|_| policy.observed()) {
        let words = first.text("warning").lines().next().unwrap_or_default();
        let message = format!(
            "{} of its expressions may fail, first {}: {words}",
            warnings.len(),
            first.text("fieldRef")
        );
        out.push(verdict(policy, &policy.meta.name, "expression_warning", message));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{judge, objects, reasons, resource, world};
    use crate::model::record::Object;

    fn policy(manifest: serde_json::Value) -> Resource {
        resource(Kind::ValidatingAdmissionPolicy, "tags", manifest)
    }

    fn binding(policy: &str) -> Resource {
        let spec = json!({"spec": {"policyName": policy, "validationActions": ["Deny"]}});
        resource(Kind::ValidatingAdmissionPolicyBinding, "tags", spec)
    }

    #[test]
    fn a_policy_and_its_binding_need_each_other() {
        assert!(reasons(&UNHEALTHY, objects![policy(json!({})), binding("tags")]).is_empty());
        assert_eq!(reasons(&UNHEALTHY, objects![policy(json!({}))]), ["no_binding"]);
        assert_eq!(reasons(&UNHEALTHY, objects![binding("gone")]), ["policy_missing"]);
        let blind = world(&[Kind::ValidatingAdmissionPolicyBinding], objects![policy(json!({}))]);
        assert!(judge(&UNHEALTHY, &blind).is_empty(), "bindings cannot be seen");
        assert!(reasons(&UNHEALTHY, objects![binding("")]).is_empty());
    }

    #[test]
    fn parameters_need_a_kind_that_is_served() {
        let of = |api: &str| {
            policy(json!({"spec": {"paramKind": {"apiVersion": api, "kind": "Limit"}}}))
        };
        let definition = |served: bool| {
            let versions = json!([{"name": "v1", "served": served}]);
            let spec = json!({"spec": {"group": "example.com", "names": {"kind": "Limit"}, "versions": versions}});
            resource(Kind::CustomResourceDefinition, "limits.example.com", spec)
        };
        let with = |objects: Vec<Object>| {
            let mut objects = objects;
            objects.push(binding("tags").into());
            reasons(&UNHEALTHY, objects)
        };
        assert_eq!(with(objects![of("example.com/v1")]), ["param_kind_missing"]);
        assert_eq!(with(objects![of("example.com/v1"), definition(false)]), ["param_kind_missing"]);
        assert!(with(objects![of("example.com/v1"), definition(true)]).is_empty());
        assert!(with(objects![of("v1")]).is_empty());
        assert!(with(objects![of("networking.k8s.io/v1")]).is_empty());
    }

    #[test]
    fn warnings_of_the_type_checker_are_told_once_a_policy_and_only_for_the_newest_spec() {
        let warning =
            json!({"fieldRef": "spec.validations[0]", "warning": "undefined field 'x'\n | ..."});
        let status = |observed: u32| {
            let status = json!({"status": {"observedGeneration": observed,
                "typeChecking": {"expressionWarnings": [warning, warning]}}});
            let mut policy = policy(status);
            policy.meta.generation = 2;
            policy
        };
        let told = judge(&UNHEALTHY, &world(&[], objects![status(2), binding("tags")]));
        assert_eq!(
            told[0].message,
            "2 of its expressions may fail, first spec.validations[0]: undefined field 'x'"
        );
        assert!(reasons(&UNHEALTHY, objects![status(1), binding("tags")]).is_empty());
        let odd = policy(json!({"status": {"typeChecking": "odd"}}));
        assert!(reasons(&UNHEALTHY, objects![odd, binding("tags")]).is_empty());
    }
}
