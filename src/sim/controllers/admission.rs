//! May a pod be made? The namespace, webhooks, Pod Security, quotas and policies have a say.
//!
//! Texts are those of the API server (`admission/plugin/webhook`, `pod-security-admission`) and of Kyverno.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{pods, quota};
use crate::sim::fields::{Fields, deleting};
use crate::sim::kind::Kind;
use crate::sim::recorder::Actor;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

/// Kyverno's own webhooks carry this in their names.
const KYVERNO: &str = ".kyverno.svc";
const LEVEL: &str = "pod-security.kubernetes.io/enforce";

/// Why the API server refuses a pod; `None` if it does not.
pub(crate) fn refusal(sim: &mut Simulation, pod: &Value) -> Option<String> {
    admit(sim, pod).err()
}

fn admit(sim: &mut Simulation, pod: &Value) -> Result<(), String> {
    let (ns, name) = (pod.text("metadata/namespace"), pod.text("metadata/name"));
    let Some(namespace) = sim.store.get(Kind::Namespace, &Key::cluster(ns)).cloned() else {
        return Ok(());
    };
    if deleting(&namespace) {
        return Err(format!(
            "pods {name:?} is forbidden: unable to create new content in namespace {ns} because it is being terminated"
        ));
    }
    let mutating = call(sim, Kind::MutatingWebhookConfiguration, &namespace)?;
    pod_security(&namespace, pod)?;
    if let Some(words) = quota::refusal(sim, pod) {
        return Err(words);
    }
    let validating = call(sim, Kind::ValidatingWebhookConfiguration, &namespace)?;
    match validating.or(mutating) {
        Some(webhook) => enforce(sim, pod, &webhook),
        None => Ok(()),
    }
}

/// Calls the webhooks that want to know of pods of this namespace; gives Kyverno's, if it was one that answered.
fn call(sim: &Simulation, kind: Kind, namespace: &Value) -> Result<Option<String>, String> {
    let mut kyverno = None;
    for (_, config) in sim.store.list(kind, None) {
        for webhook in config.items("webhooks").iter().filter(|w| asks(w, namespace)) {
            let name = webhook.text("name");
            let service = webhook.at("clientConfig/service").cloned().unwrap_or_default();
            if answers(sim, &service) {
                if name.contains(KYVERNO) {
                    kyverno = Some(name.to_owned());
                }
            } else if webhook.text("failurePolicy") != "Ignore" {
                let (ns, svc) = (service.text("namespace"), service.text("name"));
                let (path, seconds) = (service.text("path"), webhook.int("timeoutSeconds"));
                return Err(format!(
                    "Internal error occurred: failed calling webhook {name:?}: failed to call webhook: Post \
                     \"https://{svc}.{ns}.svc:443{path}?timeout={seconds}s\": no endpoints available for service {svc:?}"
                ));
            }
        }
    }
    Ok(kyverno)
}

/// Whether the webhook is to be asked about new pods of a namespace.
fn asks(webhook: &Value, namespace: &Value) -> bool {
    let has = |rule: &Value, list: &str, name: &str| {
        rule.items(list).iter().any(|item| item == name || item == "*")
    };
    let pods = |rule: &Value| has(rule, "resources", "pods") && has(rule, "operations", "CREATE");
    webhook.items("rules").iter().any(pods)
        && webhook.at("namespaceSelector").is_none_or(|s| selects(s, namespace))
}

/// Whether a label selector selects the object.
pub(crate) fn selects(selector: &Value, object: &Value) -> bool {
    let labels = selector.at("matchLabels").and_then(Value::as_object);
    let equal = labels.is_none_or(|all| all.iter().all(|(k, v)| v == object.label(k)));
    equal
        && selector.items("matchExpressions").iter().all(|term| {
            let value = object.label(term.text("key"));
            let among = term.items("values").iter().any(|v| v == value);
            match term.text("operator") {
                "In" => among,
                "NotIn" => !among,
                "Exists" => !value.is_empty(),
                _ => value.is_empty(),
            }
        })
}

/// Whether a pod behind the Service is ready, by the Service's own selector.
fn answers(sim: &Simulation, service: &Value) -> bool {
    let (ns, name) = (service.text("namespace"), service.text("name"));
    let Some(found) = sim.store.get(Kind::Service, &Key::new(ns, name)) else { return false };
    let Some(selector) = found.at("spec/selector").and_then(Value::as_object) else { return false };
    let mut pods = sim.store.list(Kind::Pod, Some(ns)).map(|(_, pod)| pod);
    pods.any(|pod| {
        selector.iter().all(|(k, v)| v == pod.label(k)) && pods::active(pod) && pods::ready(pod)
    })
}

/// The standard `restricted`, as far as pods here can break it; nothing here breaks `baseline`.
fn pod_security(namespace: &Value, pod: &Value) -> Result<(), String> {
    if namespace.label(LEVEL) != "restricted" {
        return Ok(());
    }
    let loose =
        |c: &&Value| c.at("securityContext/allowPrivilegeEscalation") != Some(&json!(false));
    let Some(container) = pod.items("spec/containers").iter().find(loose) else { return Ok(()) };
    let (pod, container) = (pod.text("metadata/name"), container.text("name"));
    Err(format!(
        "pods {pod:?} is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false \
         (container {container:?} must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities \
         (container {container:?} must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or \
         container {container:?} must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \
         {container:?} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    ))
}

/// Kyverno's policies: each violation is reported, and refused where the policy is enforced.
fn enforce(sim: &mut Simulation, pod: &Value, webhook: &str) -> Result<(), String> {
    let (ns, name) = (pod.text("metadata/namespace"), pod.text("metadata/name"));
    let policies: Vec<Arc<Value>> =
        sim.store.list(Kind::ClusterPolicy, None).map(|(_, p)| Arc::clone(p)).collect();
    let mut blocked = String::new();
    for policy in policies.iter().filter(|p| !deleting(p)) {
        for rule in policy.items("spec/rules") {
            let Some(path) = broken(rule, pod) else { continue };
            let own = rule.text("validate/failureAction");
            let whole = policy.text("spec/validationFailureAction");
            let enforced = if own.is_empty() { whole } else { own } == "Enforce";
            let (rule, words) = (rule.text("name"), rule.text("validate/message"));
            let error = format!("validation error: {words}. rule {rule} failed at path {path}");
            let (fail, by) =
                (if enforced { "fail (blocked)" } else { "fail" }, "kyverno-admission");
            let text = format!("Pod {ns}/{name}: [{rule}] {fail}; {error}");
            sim.warning(policy, Actor::controller(by), "PolicyViolation", text);
            if enforced {
                let policy = policy.text("metadata/name");
                let _ = writeln!(blocked, "{policy}:\n  {rule}: '{error}'");
            }
        }
    }
    if blocked.is_empty() {
        return Ok(());
    }
    Err(format!(
        "admission webhook {webhook:?} denied the request: \n\nresource Pod/{ns}/{name} was blocked due to the \
         following policies \n\n{blocked}"
    ))
}

/// The first path at which a pod breaks a rule's pattern: labels that must be there, images that must not.
fn broken(rule: &Value, pod: &Value) -> Option<String> {
    let labels = rule.at("validate/pattern/metadata/labels").and_then(Value::as_object);
    for (label, _) in labels.into_iter().flatten() {
        if pod.label(label).is_empty() {
            return Some(format!("/metadata/labels/{label}/"));
        }
    }
    let image = rule.text("validate/pattern/spec/containers/0/image");
    let suffix = image.strip_prefix("!*")?;
    let bad = |c: &Value| c.text("image").ends_with(suffix);
    let index = pod.items("spec/containers").iter().position(bad)?;
    Some(format!("/spec/containers/{index}/image/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_select_by_labels_and_expressions() {
        let object = json!({"metadata": {"labels": {"a": "1", "b": "2"}}});
        let term = |op: &str, key: &str| json!({"matchExpressions": [{"key": key, "operator": op, "values": ["1"]}]});
        assert!(
            selects(&json!({}), &object) && selects(&json!({"matchLabels": {"a": "1"}}), &object)
        );
        assert!(!selects(&json!({"matchLabels": {"a": "2"}}), &object));
        assert!(selects(&term("In", "a"), &object) && !selects(&term("NotIn", "a"), &object));
        assert!(
            selects(&term("NotIn", "c"), &object) && selects(&term("DoesNotExist", "c"), &object)
        );
        assert!(selects(&term("Exists", "b"), &object) && !selects(&term("In", "b"), &object));
    }

    #[test]
    fn a_pattern_is_broken_by_a_missing_label_or_a_bad_tag() {
        let pod = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"image": "r/a:latest"}]}});
        let label =
            |name: &str| json!({"validate": {"pattern": {"metadata": {"labels": {name: "?*"}}}}});
        assert_eq!(broken(&label("app"), &pod), None);
        assert_eq!(broken(&label("team"), &pod).as_deref(), Some("/metadata/labels/team/"));
        let tag =
            json!({"validate": {"pattern": {"spec": {"containers": [{"image": "!*:latest"}]}}}});
        assert_eq!(broken(&tag, &pod).as_deref(), Some("/spec/containers/0/image/"));
    }

    #[test]
    fn the_restricted_level_refuses_what_may_gain_privileges() {
        let at = |level: &str| json!({"metadata": {"labels": {LEVEL: level}}});
        let pod = |context: Value| json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "securityContext": context}]}});
        let strict = json!({"allowPrivilegeEscalation": false});
        assert!(pod_security(&at("baseline"), &pod(json!({}))).is_ok());
        assert!(pod_security(&at("restricted"), &pod(strict)).is_ok());
        assert!(pod_security(&at("restricted"), &pod(json!({}))).unwrap_err().contains("violates"));
    }
}
