//! How much of the cluster do NetworkPolicies cover, and which of them cover nothing?

use std::collections::BTreeMap;

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::{Pod, Resource};
use crate::model::selector;
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::tally::Tallies;
use crate::model::text::Text;
use crate::model::view::View;

pub(super) static SELECTED: Signal = Signal {
    block: "S3.15",
    name: "networking_policy_selected_pods_ratio",
    layer: Layer::Networking,
    help: "Share of the pods of a namespace that a NetworkPolicy selects, by direction, in clusters that have any. \
           Whether it is enforced is up to the CNI. Healthy is as intended, and stable.",
    unit: Unit::Ratio,
    labels: &["namespace", "direction"],
    reasons: &[],
    bound: "namespaces × 2 directions",
    needs: &[Kind::NetworkPolicy, Kind::Pod],
    uses: &[],
    profile: Profile::Level { bad: Direction::Low, floor: 0.1 },
    read: Read::Gauge(selected),
};

pub(super) static DEFAULT_DENY: Signal = Signal {
    block: "S3.15",
    name: "networking_policy_default_deny_ratio",
    layer: Layer::Networking,
    help: "Share of the namespaces with pods that have a NetworkPolicy that denies all by default, by direction, in \
           clusters that have any policy. Healthy is as intended, and stable.",
    unit: Unit::Ratio,
    labels: &["direction"],
    reasons: &[],
    bound: "2 directions",
    needs: &[Kind::NetworkPolicy, Kind::Pod],
    uses: &[],
    profile: Profile::Level { bad: Direction::Low, floor: 0.05 },
    read: Read::Gauge(default_deny),
};

pub(super) static ORPHAN: Signal = Signal {
    block: "S3.15",
    name: "networking_policy_orphan",
    layer: Layer::Networking,
    help: "NetworkPolicies that select neither a pod nor a workload of their namespace. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "networkpolicy", "reason"],
    reasons: &["nothing_selected"],
    bound: "network policies",
    needs: &[
        Kind::NetworkPolicy,
        Kind::Pod,
        Kind::Deployment,
        Kind::StatefulSet,
        Kind::DaemonSet,
        Kind::ReplicaSet,
    ],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(orphans),
};

pub(super) static CHANGES: Signal = Signal {
    block: "S3.15",
    name: "networking_policy_changes_total",
    layer: Layer::Networking,
    help: "NetworkPolicies made or changed: where Services fail soon after, they are a likely cause.",
    unit: Unit::Count,
    labels: &["namespace"],
    reasons: &[],
    bound: "namespaces",
    needs: &[Kind::NetworkPolicy],
    uses: &[],
    profile: Profile::None,
    read: Read::Counter,
};

/// A direction of traffic: the word in labels, the policy's type, and the field with its rules.
struct Way {
    word: &'static str,
    kind: &'static str,
    rules: &'static str,
}

const WAYS: [Way; 2] = [
    Way { word: "ingress", kind: "Ingress", rules: "spec.ingress" },
    Way { word: "egress", kind: "Egress", rules: "spec.egress" },
];

/// Whether a policy isolates what it selects in this direction. The API fills the types in; where it has not, every
/// policy is about ingress, and about egress where it has rules for it.
fn isolates(policy: &Resource, way: &Way) -> bool {
    if policy.body.items("spec.policyTypes").is_empty() {
        way.kind == "Ingress" || !policy.body.items(way.rules).is_empty()
    } else {
        policy.body.texts("spec.policyTypes").any(|kind| kind == way.kind)
    }
}

/// Whether a policy selects all pods of its namespace.
fn selects_all(policy: &Resource) -> bool {
    let selector = policy.body.at("spec.podSelector");
    policy.body.has("spec.podSelector")
        && selector.entries("matchLabels").is_empty()
        && selector.items("matchExpressions").is_empty()
}

fn by_namespace<'a>(view: &'a View<'_>) -> BTreeMap<&'a Text, Vec<&'a Resource>> {
    let mut found: BTreeMap<&Text, Vec<&Resource>> = BTreeMap::new();
    for policy in view.resources(Kind::NetworkPolicy).filter(|p| p.body.has("spec.podSelector")) {
        found.entry(&policy.meta.namespace).or_default().push(policy);
    }
    found
}

/// The counted pods of each namespace: they come in its order.
fn pods<'a>(view: &'a View<'_>) -> Vec<(&'a Text, Vec<&'a Pod>)> {
    let mut found: Vec<(&Text, Vec<&Pod>)> = Vec::new();
    for (pod, _) in view.counted_pods() {
        match found.last_mut() {
            Some((namespace, pods)) if **namespace == pod.meta.namespace => pods.push(pod),
            _ => found.push((&pod.meta.namespace, vec![pod])),
        }
    }
    found
}

fn selected(view: &View<'_>, out: &mut Readings) {
    let policies = by_namespace(view);
    if policies.is_empty() {
        return;
    }
    for (namespace, pods) in pods(view) {
        let own = policies.get(namespace).map_or(&[][..], Vec::as_slice);
        for way in &WAYS {
            let about = own.iter().filter(|p| isolates(p, way));
            let about: Vec<_> = about.map(|p| p.body.at("spec.podSelector")).collect();
            let covered = |pod: &&&Pod| {
                about.iter().any(|wanted| selector::selects(wanted, &pod.meta.labels))
            };
            let count = pods.iter().filter(covered).count();
            out.push_ratio(labels![namespace, way.word], count as u64, pods.len() as u64);
        }
    }
}

fn default_deny(view: &View<'_>, out: &mut Readings) {
    let policies = by_namespace(view);
    if policies.is_empty() {
        return;
    }
    let namespaces = pods(view);
    for way in &WAYS {
        let denies = |policy: &&Resource| {
            selects_all(policy) && isolates(policy, way) && policy.body.items(way.rules).is_empty()
        };
        let denied = namespaces.iter().filter(|(namespace, _)| {
            policies.get(*namespace).is_some_and(|own| own.iter().any(denies))
        });
        let denied = denied.count() as u64;
        out.push_ratio(labels![way.word], denied, namespaces.len() as u64);
    }
}

fn orphans(view: &View<'_>, out: &mut Verdicts) {
    for (namespace, policies) in by_namespace(view) {
        let templates = || view.workloads_in(namespace).filter_map(|w| w.template.as_ref());
        // In an empty namespace there is nothing to cover yet.
        if view.pods_in(namespace).next().is_none() && templates().next().is_none() {
            continue;
        }
        for policy in policies.into_iter().filter(|p| p.meta.deleting.is_none()) {
            let wanted = policy.body.at("spec.podSelector");
            let some = view.pods_in(namespace).any(|p| selector::selects(wanted, &p.meta.labels))
                || templates().any(|t| selector::selects(wanted, &t.labels));
            if some {
                continue;
            }
            let reason = "nothing_selected";
            let labels = labels![namespace, &policy.meta.name, reason];
            let message = "it selects no pod and no workload of its namespace".to_owned();
            let verdict = Verdict::new(Subject::of(policy), labels, reason, message);
            out.push(verdict.severity(Severity::Info).dwell(600));
        }
    }
}

/// Counts new policies and new specs.
pub(super) fn observe(policy: &Resource, tallies: &mut Tallies) {
    let spec = policy.meta.generation.unsigned_abs();
    let changed = tallies.advance(Kind::NetworkPolicy, policy.meta.uid, "spec", spec) > 0;
    tallies.add(&CHANGES, labels![&policy.meta.namespace], u64::from(changed));
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::layers::fixtures::{
        Counted, deployment, meta, objects, pod_of, readings, reasons, resource,
    };
    use crate::layers::networking::LAYER;
    use crate::model::record::{Meta, Object};

    #[allow(clippy::needless_pass_by_value)]
    fn policy(name: &str, spec: Json) -> Resource {
        resource(Kind::NetworkPolicy, name, json!({"spec": spec}))
    }

    fn shares(signal: &Signal, all: Vec<Object>) -> Vec<(String, f64)> {
        let found = readings(signal, all).into_iter();
        found.map(|r| (r.labels.iter().collect::<Vec<_>>().join(" "), r.value)).collect()
    }

    #[test]
    fn the_share_of_pods_is_by_direction_and_silent_without_policies() {
        let web =
            json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]});
        let pods = || objects![pod_of("web", "web-1"), pod_of("db", "db-1")];
        let all = pods().into_iter().chain(objects![policy("web", web)]).collect();
        let expected = [("shop egress".to_owned(), 0.0), ("shop ingress".to_owned(), 0.5)];
        assert_eq!(shares(&SELECTED, all), expected);
        assert!(shares(&SELECTED, pods()).is_empty());
        let odd = pods().into_iter().chain(objects![policy("odd", json!("x"))]).collect();
        assert!(shares(&SELECTED, odd).is_empty());
    }

    #[test]
    fn a_default_deny_selects_all_and_allows_nothing() {
        let look = |spec: Json| {
            let mut elsewhere = pod_of("db", "db-1");
            elsewhere.meta = Meta { namespace: "data".into(), ..elsewhere.meta };
            shares(&DEFAULT_DENY, objects![pod_of("web", "web-1"), elsewhere, policy("p", spec)])
        };
        let told = |egress: f64, ingress: f64| {
            vec![("egress".to_owned(), egress), ("ingress".to_owned(), ingress)]
        };
        let both = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]});
        assert_eq!(look(both), told(0.5, 0.5));
        assert_eq!(look(json!({"podSelector": {}})), told(0.0, 0.5));
        let open = json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]});
        assert_eq!(look(open), told(0.0, 0.0));
        let some =
            json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]});
        assert_eq!(look(some), told(0.0, 0.0));
    }

    #[test]
    fn a_policy_that_selects_nothing_is_told_where_there_is_something() {
        let about = |app: &str| {
            let expression = json!([{"key": "app", "operator": "In", "values": [app]}]);
            policy("p", json!({"podSelector": {"matchExpressions": expression}}))
        };
        assert_eq!(
            reasons(&ORPHAN, objects![about("gone"), pod_of("web", "w")]),
            ["nothing_selected"]
        );
        let cases: Vec<Vec<Object>> = vec![
            objects![about("web"), pod_of("web", "w")],
            objects![about("web"), deployment("web", 0, 0)],
            objects![about("gone")],
            objects![policy("all", json!({"podSelector": {}})), pod_of("web", "w")],
            objects![policy("odd", json!([])), pod_of("web", "w")],
        ];
        for (i, case) in cases.into_iter().enumerate() {
            assert!(reasons(&ORPHAN, case).is_empty(), "case {i}");
        }
    }

    #[test]
    fn new_policies_and_new_specs_count_once() {
        let at = |name: &str, generation| {
            let plain = policy(name, json!({"podSelector": {}}));
            Resource { meta: Meta { generation, ..meta("shop", name, 60) }, ..plain }
        };
        let mut seen = Counted::new(&LAYER, objects![]);
        seen.see(at("a", 1), 60).see(at("a", 1), 50).see(at("a", 2), 40).see(at("b", 1), 30);
        assert_eq!(seen.totals(&CHANGES), [("shop".to_owned(), 3)]);
    }
}
