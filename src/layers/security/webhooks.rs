//! Which webhooks cannot be reached, and what does that block or let through?

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::Resource;
use crate::model::selector;
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::value::Value;
use crate::model::view::View;

pub(super) static DOWN: Signal = Signal {
    block: "S5.1",
    name: "security_webhook_backend_down",
    layer: Layer::Security,
    help: "Webhooks whose Service is missing or has no ready endpoint: one that fails closed refuses the writes that it \
           is asked about, one that fails open lets them pass unchecked. Webhooks behind a URL cannot be told. Healthy \
           is none.",
    unit: Unit::Count,
    labels: &["config", "webhook", "failure_policy", "reason"],
    reasons: &["no_ready_endpoints", "service_missing", "deadlock"],
    bound: "webhooks × 3 reasons",
    needs: &[Kind::Service, Kind::EndpointSlice],
    uses: &[
        Kind::ValidatingWebhookConfiguration,
        Kind::MutatingWebhookConfiguration,
        Kind::CustomResourceDefinition,
        Kind::Deployment,
        Kind::StatefulSet,
        Kind::DaemonSet,
    ],
    profile: Profile::None,
    read: Read::Rule(down),
};

pub(super) const CONFIGURATIONS: &[Kind] =
    &[Kind::ValidatingWebhookConfiguration, Kind::MutatingWebhookConfiguration];

/// Why a Service cannot answer for a webhook, with its `namespace/name`.
fn unreachable(view: &View<'_>, service: &Value) -> Option<(&'static str, String)> {
    let (namespace, name) = (service.text("namespace"), service.text("name"));
    if name.is_empty() || namespace.is_empty() {
        return None;
    }
    let place = format!("{namespace}/{name}");
    if view.resource(Kind::Service, namespace, name).is_none() {
        return Some(("service_missing", place));
    }
    match view.ready_endpoints(namespace, name) {
        Some(0) => Some(("no_ready_endpoints", place)),
        _ => None,
    }
}

fn down(view: &View<'_>, out: &mut Verdicts) {
    for config in view.resources_of(CONFIGURATIONS) {
        for webhook in config.body.items("webhooks") {
            // A configuration that an engine keeps for when there are policies asks about nothing.
            if webhook.items("rules").is_empty() {
                continue;
            }
            let service = webhook.at("clientConfig.service");
            if let Some((reason, place)) = unreachable(view, service) {
                out.push(judge(view, config, webhook, reason, &place));
            }
        }
    }
    // Between one version and itself nothing is converted.
    let several = |d: &&Resource| d.body.items("spec.versions").len() > 1;
    for definition in view.resources(Kind::CustomResourceDefinition).filter(several) {
        let service = definition.body.at("spec.conversion.webhook.clientConfig.service");
        if let Some((reason, place)) = unreachable(view, service) {
            let labels = labels![&definition.meta.name, "conversion", "Fail", reason];
            let message = format!(
                "its objects cannot be converted between versions, which blocks reads and writes: Service {place} {}",
                words(reason)
            );
            let verdict = Verdict::new(Subject::of(definition), labels, reason, message);
            out.push(verdict.severity(Severity::Critical).dwell(15));
        }
    }
}

fn words(reason: &str) -> &'static str {
    if reason == "service_missing" { "is missing" } else { "has no ready endpoint" }
}

fn judge(
    view: &View<'_>,
    config: &Resource,
    webhook: &Value,
    reason: &'static str,
    place: &str,
) -> Verdict {
    let name = webhook.text("name");
    let what = scope(webhook);
    let why = words(reason);
    // `failurePolicy` is `Fail` where it is not set.
    if webhook.text("failurePolicy") == "Ignore" {
        let labels = labels![&config.meta.name, name, "Ignore", reason];
        let message = format!(
            "webhook {name} fails open, so {what} pass unchecked: Service {place} {why}; policy is not enforced"
        );
        return Verdict::new(Subject::of(config), labels, reason, message).dwell(120);
    }
    let locked = blocks_itself(view, webhook);
    let reason = if locked { "deadlock" } else { reason };
    let labels = labels![&config.meta.name, name, "Fail", reason];
    let grave = locked || asks_about_pods(webhook);
    let advice = if locked {
        "; it is asked about the pods of its own backend too, so the backend cannot come back by itself: \
         delete the configuration or exempt the namespace"
    } else {
        ""
    };
    let message =
        format!("webhook {name} fails closed and refuses {what}: Service {place} {why}{advice}");
    Verdict::new(Subject::of(config), labels, reason, message)
        .severity(if grave { Severity::Critical } else { Severity::Warning })
        .dwell(15)
}

/// `CREATE, UPDATE of pods, deployments.apps`, in the order of the rules, not all of a long list.
fn scope(webhook: &Value) -> String {
    const NAMED: usize = 6;
    let (mut operations, mut resources): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for rule in webhook.items("rules") {
        for operation in rule.texts("operations").map(ToString::to_string) {
            if !operations.contains(&operation) {
                operations.push(operation);
            }
        }
        for group in rule.texts("apiGroups") {
            for resource in rule.texts("resources") {
                let full = match group.as_str() {
                    "" => resource.to_string(),
                    group => format!("{resource}.{group}"),
                };
                if !resources.contains(&full) {
                    resources.push(full);
                }
            }
        }
    }
    let more = resources.len().saturating_sub(NAMED);
    resources.truncate(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{} of {}{more}", operations.join(", "), resources.join(", "))
}

fn lists(rule: &Value, path: &str, wanted: &[&str]) -> bool {
    rule.texts(path).any(|text| wanted.contains(&text.as_str()))
}

/// Whether new pods need the webhook's word.
fn asks_about_pods(webhook: &Value) -> bool {
    webhook.items("rules").iter().any(|rule| {
        lists(rule, "operations", &["CREATE", "*"])
            && lists(rule, "apiGroups", &["", "*"])
            && lists(rule, "resources", &["pods", "*", "*/*", "pods/*"])
    })
}

/// Whether the pods behind the webhook need its own word to be made. A match condition is code that may exempt them:
/// with one nobody can tell.
fn blocks_itself(view: &View<'_>, webhook: &Value) -> bool {
    let service = webhook.at("clientConfig.service");
    let (namespace, name) = (service.text("namespace"), service.text("name"));
    let Some(home) = view.world.namespaces.get("", namespace) else { return false };
    if !asks_about_pods(webhook)
        || webhook.has("matchConditions")
        || !selector::selects(webhook.at("namespaceSelector"), &home.meta.labels)
    {
        return false;
    }
    let asked = webhook.at("objectSelector");
    let Some(service) = view.resource(Kind::Service, namespace, name) else { return false };
    let mut backends = view.selected_workloads(service).filter(|w| w.desired > 0);
    backends.any(|w| w.template.as_ref().is_some_and(|t| selector::selects(asked, &t.labels)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{
        deployment, judge as judged, objects, reasons, resource, service, slice, world,
    };
    use crate::model::record::{Labelled, Meta, Namespace, Object};

    fn config(change: &serde_json::Value) -> Resource {
        let mut webhook = json!({
            "name": "pods.example.com",
            "failurePolicy": "Fail",
            "clientConfig": {"service": {"namespace": "shop", "name": "hook"}},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "resources": ["pods"]}],
        });
        for (key, value) in change.as_object().unwrap() {
            webhook[key.as_str()] = value.clone();
        }
        resource(Kind::ValidatingWebhookConfiguration, "hook", json!({"webhooks": [webhook]}))
    }

    fn told(objects: Vec<Object>) -> Vec<(&'static str, Severity, i64)> {
        let verdicts = judged(&DOWN, &world(&[], objects));
        verdicts.iter().map(|v| (v.reason, v.severity, v.dwell.as_secs())).collect()
    }

    #[test]
    fn a_webhook_without_backend_is_told_by_what_it_blocks() {
        use Severity::{Critical, Warning};
        let none = "no_ready_endpoints";
        let deployments = json!({"rules": [
            {"operations": ["UPDATE"], "apiGroups": ["apps"], "resources": ["deployments"]}]});
        let cases = [
            (json!({}), vec![(none, Critical, 15)]),
            (json!({"failurePolicy": null}), vec![(none, Critical, 15)]),
            (deployments, vec![(none, Warning, 15)]),
            (json!({"failurePolicy": "Ignore"}), vec![(none, Warning, 120)]),
            (json!({"rules": []}), vec![]),
            (json!({"clientConfig": {"url": "https://elsewhere"}}), vec![]),
            (json!({"clientConfig": "odd", "rules": "odd"}), vec![]),
        ];
        for (change, expected) in cases {
            let objects = objects![config(&change), service("hook"), slice("hook", &[false])];
            assert_eq!(told(objects), expected, "{change}");
        }
        let missing = objects![config(&json!({}))];
        assert_eq!(told(missing), [("service_missing", Critical, 15)]);
        let healthy = objects![config(&json!({})), service("hook"), slice("hook", &[false, true])];
        assert!(told(healthy).is_empty());
    }

    #[test]
    fn what_is_refused_is_named() {
        let verdicts = judged(&DOWN, &world(&[], objects![config(&json!({}))]));
        assert_eq!(
            verdicts[0].message,
            "webhook pods.example.com fails closed and refuses CREATE of pods: Service shop/hook is missing"
        );
    }

    #[test]
    fn a_webhook_that_holds_up_its_own_backend_is_a_deadlock() {
        let home = || Namespace {
            meta: Meta {
                name: "shop".into(),
                labels: Labelled::from([("kubernetes.io/metadata.name", "shop")]),
                ..Meta::default()
            },
            terminating: false,
        };
        let exempt = json!({"matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["shop"]}]});
        let cases = [
            (json!({}), "deadlock"),
            (json!({"namespaceSelector": exempt}), "no_ready_endpoints"),
            (json!({"objectSelector": {"matchLabels": {"app": "other"}}}), "no_ready_endpoints"),
            (json!({"matchConditions": [{"name": "not-me"}]}), "no_ready_endpoints"),
            (json!({"failurePolicy": "Ignore"}), "no_ready_endpoints"),
        ];
        for (change, expected) in cases {
            let objects = objects![
                home(),
                config(&change),
                service("hook"),
                slice("hook", &[]),
                deployment("hook", 1, 0)
            ];
            assert_eq!(reasons(&DOWN, objects), [expected], "{change}");
        }
    }

    #[test]
    fn a_conversion_without_backend_blocks_its_kind() {
        let definition = |strategy: &serde_json::Value, versions: &[&str]| {
            let versions: Vec<_> = versions.iter().map(|name| json!({"name": name})).collect();
            resource(
                Kind::CustomResourceDefinition,
                "widgets.example.com",
                json!({"spec": {"conversion": strategy, "versions": versions}}),
            )
        };
        let webhook = json!({"webhook": {"clientConfig": {"service": {"namespace": "shop", "name": "gone"}}}});
        let two = definition(&webhook, &["v1", "v1beta1"]);
        assert_eq!(reasons(&DOWN, objects![two]), ["service_missing"]);
        assert!(reasons(&DOWN, objects![definition(&webhook, &["v1"])]).is_empty(), "never asked");
        let none = definition(&json!({}), &["v1", "v1beta1"]);
        assert!(reasons(&DOWN, objects![none]).is_empty());
    }
}
