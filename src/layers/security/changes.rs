//! Who moved the guards? Webhook configurations and policies that change what they enforce.

use crate::labels;
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::Resource;
use crate::model::signal::{Direction, Observation, Profile, Read, Signal, Unit};
use crate::model::tally::Tallies;
use crate::model::value::Value;
use crate::model::view::View;

use super::rbac::MADE;
use super::webhooks::CONFIGURATIONS;

pub(super) static WEBHOOKS: Signal = Signal {
    block: "S5.4",
    name: "security_webhook_config_changes_total",
    layer: Layer::Security,
    help: "Changes of webhook configurations: made, opened (fails open now), closed, widened to all resources, slowed to a \
           timeout of 15 s or more, and others. New CA bundles do not count. Context.",
    unit: Unit::Count,
    labels: &["config", "change"],
    reasons: &[],
    bound: "configurations × 6 changes",
    needs: &[],
    uses: CONFIGURATIONS,
    profile: Profile::None,
    read: Read::Counter,
};

pub(super) static RELAXED: Signal = Signal {
    block: "S5.10",
    name: "security_policy_relaxed_total",
    layer: Layer::Security,
    help: "Policies and bindings of Kyverno, Gatekeeper and the API server that enforced and now only report. Healthy is \
           none.",
    unit: Unit::Count,
    labels: &["kind"],
    reasons: &[],
    bound: "6 kinds",
    needs: &[],
    uses: ENFORCING,
    profile: Profile::Rate,
    read: Read::Counter,
};

pub(super) static ENFORCED: Signal = Signal {
    block: "S5.10",
    name: "security_enforcing_policies",
    layer: Layer::Security,
    help: "Policies and bindings of Kyverno, Gatekeeper and the API server that refuse what breaks them, and \
           configurations with a webhook that fails closed. A drop is a guard that went.",
    unit: Unit::Count,
    labels: &["kind"],
    reasons: &[],
    bound: "8 kinds",
    needs: &[],
    uses: GUARDS,
    profile: Profile::Level { bad: Direction::Low, floor: 1.0 },
    read: Read::Gauge(enforced),
};

const ENFORCING: &[Kind] = &[
    Kind::ValidatingAdmissionPolicyBinding,
    Kind::KyvernoClusterPolicy,
    Kind::KyvernoPolicy,
    Kind::ValidatingPolicy,
    Kind::ImageValidatingPolicy,
    Kind::Constraint,
];

/// All whose going is a guard that went.
const GUARDS: &[Kind] = &[
    Kind::ValidatingWebhookConfiguration,
    Kind::MutatingWebhookConfiguration,
    Kind::ValidatingAdmissionPolicyBinding,
    Kind::KyvernoClusterPolicy,
    Kind::KyvernoPolicy,
    Kind::ValidatingPolicy,
    Kind::ImageValidatingPolicy,
    Kind::Constraint,
];

/// Whether it refuses what breaks it.
fn enforces(policy: &Resource) -> bool {
    let body = &policy.body;
    match policy.kind {
        Kind::Constraint => matches!(body.text("spec.enforcementAction").as_str(), "" | "deny"),
        Kind::KyvernoClusterPolicy | Kind::KyvernoPolicy => {
            let is_enforce = |text: &str| text.eq_ignore_ascii_case("enforce");
            let rules = body.items("spec.rules");
            let whole = is_enforce(body.text("spec.validationFailureAction"));
            rules.iter().any(|rule| match rule.text("validate.failureAction").as_str() {
                "" => whole,
                own => is_enforce(own),
            }) || (rules.is_empty() && whole)
        }
        Kind::ValidatingAdmissionPolicyBinding
        | Kind::ValidatingPolicy
        | Kind::ImageValidatingPolicy => {
            body.texts("spec.validationActions").any(|action| *action == "Deny")
        }
        Kind::ValidatingWebhookConfiguration | Kind::MutatingWebhookConfiguration => {
            let webhooks = body.items("webhooks").iter();
            let mut asked = webhooks.filter(|w| !w.items("rules").is_empty());
            asked.any(|w| *w.text("failurePolicy") != "Ignore")
        }
        _ => false,
    }
}

fn enforced(view: &View<'_>, out: &mut Readings) {
    for kind in GUARDS {
        if view.sees(*kind) {
            let policies = view.resources(*kind).filter(|p| p.meta.deleting.is_none());
            let count = policies.filter(|p| enforces(p)).count();
            out.push(labels![kind.name()], count as f64);
        }
    }
}

fn before<'a>(o: &Observation<'a>, object: &Resource) -> Option<&'a Resource> {
    let store = o.world.resources(object.kind)?;
    let before = store.get(&object.meta.namespace, &object.meta.name)?;
    (before.meta.uid == object.meta.uid).then_some(before)
}

/// Counts changes of what webhooks and policies enforce.
pub(super) fn observe(o: &Observation<'_>, object: &Resource, tallies: &mut Tallies) {
    if CONFIGURATIONS.contains(&object.kind) {
        let change = match before(o, object) {
            // After a restart nothing is held yet of what was there before.
            None if tallies.advance(object.kind, object.meta.uid, MADE, 1) == 0 => None,
            None => Some("made"),
            Some(before) => change(before, object),
        };
        if let Some(change) = change {
            tallies.add(&WEBHOOKS, labels![&object.meta.name, change], 1);
        }
    }
    if ENFORCING.contains(&object.kind)
        && before(o, object).is_some_and(enforces)
        && !enforces(object)
    {
        tallies.add(&RELAXED, labels![object.kind.name()], 1);
    }
}

/// The gravest change between two versions of a configuration.
fn change(before: &Resource, after: &Resource) -> Option<&'static str> {
    let list = |r: &Resource| -> Vec<Value> { r.body.items("webhooks").to_vec() };
    let (old, new) = (list(before), list(after));
    if old == new {
        return None;
    }
    let pairs: Vec<(&Value, &Value)> = (new.iter())
        .filter_map(|w| Some((old.iter().find(|o| o.text("name") == w.text("name"))?, w)))
        .collect();
    let any = |is: &dyn Fn(&Value) -> bool| pairs.iter().any(|(was, now)| !is(was) && is(now));
    let opens = |w: &Value| *w.text("failurePolicy") == "Ignore";
    let slow = |w: &Value| w.count("timeoutSeconds") >= 15;
    Some(if any(&opens) {
        "opened"
    } else if any(&asks_about_all) {
        "widened"
    } else if any(&|w| !opens(w)) {
        "closed"
    } else if any(&slow) {
        "slowed"
    } else {
        "other"
    })
}

fn asks_about_all(webhook: &Value) -> bool {
    webhook.items("rules").iter().any(|rule| {
        rule.texts("resources").any(|r| *r == "*" || *r == "*/*")
            && rule.texts("apiGroups").any(|g| *g == "*")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{Counted, objects, readings, resource};
    use crate::layers::security::LAYER;

    fn config(change: &serde_json::Value) -> Resource {
        let mut webhook = json!({"name": "w", "failurePolicy": "Fail", "timeoutSeconds": 10,
            "rules": [{"apiGroups": [""], "resources": ["pods"], "operations": ["CREATE"]}]});
        for (key, value) in change.as_object().unwrap() {
            webhook[key.as_str()] = value.clone();
        }
        resource(Kind::MutatingWebhookConfiguration, "c", json!({"webhooks": [webhook]}))
    }

    #[test]
    fn a_change_is_known_by_its_gravest_part() {
        let all = json!([{"apiGroups": ["*"], "resources": ["*/*"], "operations": ["*"]}]);
        let cases = [
            (json!({}), json!({}), None),
            (json!({}), json!({"failurePolicy": "Ignore", "timeoutSeconds": 30}), Some("opened")),
            (json!({"failurePolicy": "Ignore"}), json!({}), Some("closed")),
            (json!({}), json!({"rules": all}), Some("widened")),
            (json!({}), json!({"timeoutSeconds": 20}), Some("slowed")),
            (json!({}), json!({"timeoutSeconds": 5}), Some("other")),
            (json!({}), json!({"name": "x"}), Some("other")),
        ];
        for (old, new, expected) in cases {
            let mut counted = Counted::new(&LAYER, objects![config(&old)]);
            counted.see(config(&new), 0);
            let expected: Vec<_> = expected.map(|c| (format!("c {c}"), 1)).into_iter().collect();
            assert_eq!(counted.totals(&WEBHOOKS), expected, "{old} to {new}");
        }
        let mut counted = Counted::new(&LAYER, Vec::new());
        counted.see(config(&json!({})), 0);
        assert_eq!(counted.totals(&WEBHOOKS), [("c made".to_owned(), 1)]);
    }

    #[test]
    fn a_policy_enforces_or_only_reports() {
        let rule = |action: &str| {
            json!({"spec": {"validationFailureAction": "Audit",
            "rules": [{"validate": {"failureAction": action}}]}})
        };
        let whole = |action: &str| json!({"spec": {"validationFailureAction": action, "rules": [{"name": "r"}]}});
        let actions = |action: &str| json!({"spec": {"validationActions": [action]}});
        let constraint = |action: &str| json!({"spec": {"enforcementAction": action}});
        let webhook = |policy: &str, rules: &serde_json::Value| json!({"webhooks": [{"name": "w", "failurePolicy": policy, "rules": rules}]});
        let cases = [
            (Kind::KyvernoClusterPolicy, rule("Enforce"), true),
            (Kind::KyvernoClusterPolicy, rule("Audit"), false),
            (Kind::KyvernoPolicy, whole("enforce"), true),
            (Kind::KyvernoPolicy, whole("Audit"), false),
            (Kind::ValidatingPolicy, actions("Deny"), true),
            (Kind::ValidatingAdmissionPolicyBinding, actions("Warn"), false),
            (Kind::Constraint, json!({}), true),
            (Kind::Constraint, constraint("dryrun"), false),
            (Kind::KyvernoPolicy, json!("odd"), false),
            (
                Kind::MutatingWebhookConfiguration,
                webhook("Fail", &json!([{"resources": ["pods"]}])),
                true,
            ),
            (
                Kind::MutatingWebhookConfiguration,
                webhook("Ignore", &json!([{"resources": ["pods"]}])),
                false,
            ),
            // An engine's own, while it has no policies.
            (Kind::ValidatingWebhookConfiguration, webhook("Fail", &json!([])), false),
        ];
        for (kind, manifest, expected) in cases {
            assert_eq!(enforces(&resource(kind, "p", manifest.clone())), expected, "{manifest}");
        }
    }

    #[test]
    fn a_guard_that_only_reports_now_counts_and_one_that_begins_to_enforce_does_not() {
        let policy = |action: &str| {
            let spec = json!({"spec": {"validationActions": [action]}});
            resource(Kind::ValidatingPolicy, "p", spec)
        };
        let mut counted = Counted::new(&LAYER, objects![policy("Deny")]);
        counted.see(policy("Audit"), 60).see(policy("Deny"), 30);
        assert_eq!(counted.totals(&RELAXED), [("ValidatingPolicy".to_owned(), 1)]);
        let told = readings(&ENFORCED, objects![policy("Deny")]);
        let deny = told.iter().find(|r| r.labels.get(0).unwrap() == "ValidatingPolicy").unwrap();
        assert_eq!((deny.value, told.len()), (1.0, 8));
    }
}
