//! Which routes does no Gateway carry, or lead to backends that cannot serve?

use std::collections::BTreeMap;

use super::gateways::{bad_of, conditions, declared, since};
use super::selectors::ROUTES;
use super::services::outage;
use crate::labels;
use crate::layers::conditions::{Polarity, words};
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Resource, Time};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::value::Value;
use crate::model::view::View;

pub(super) static UNRESOLVED: Signal = Signal {
    block: "S3.9",
    name: "networking_route_unresolved",
    layer: Layer::Networking,
    help: "Routes that a Gateway refuses, that name what is not there, that no controller took up, or all of whose \
           backends lack ready endpoints. Healthy is none.",
    unit: Unit::Count,
    labels: &["kind", "namespace", "route", "reason"],
    reasons: REASONS,
    bound: "routes × 14 reasons",
    needs: &[Kind::HttpRoute],
    uses: &[
        Kind::GrpcRoute,
        Kind::TlsRoute,
        Kind::TcpRoute,
        Kind::UdpRoute,
        Kind::Service,
        Kind::EndpointSlice,
        Kind::Pod,
        Kind::Deployment,
        Kind::StatefulSet,
        Kind::DaemonSet,
        Kind::ReplicaSet,
    ],
    profile: Profile::None,
    read: Read::Rule(unresolved),
};

pub(super) static BACKEND_TLS: Signal = Signal {
    block: "S3.9",
    name: "networking_backendtlspolicy_invalid",
    layer: Layer::Networking,
    help: "BackendTLSPolicies that a Gateway refuses or cannot resolve: traffic to their backends fails. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "backendtlspolicy", "reason"],
    reasons: &[
        "TargetNotFound",
        "Conflicted",
        "Invalid",
        "NoValidCACertificate",
        "InvalidCACertificateRef",
        "InvalidKind",
        "other",
    ],
    bound: "policies × 7 reasons",
    needs: &[Kind::BackendTlsPolicy],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(backend_tls),
};

/// The Gateway API's own words, and two of ours: `NotAdopted` and `NoReadyBackends`.
const REASONS: &[&str] = &[
    "NotAllowedByListeners",
    "NoMatchingListenerHostname",
    "NoMatchingParent",
    "UnsupportedValue",
    "Pending",
    "IncompatibleFilters",
    "RefNotPermitted",
    "InvalidKind",
    "BackendNotFound",
    "UnsupportedProtocol",
    "PartiallyInvalid",
    "NotAdopted",
    "NoReadyBackends",
    "other",
];

static TABLE: &[Polarity] = &[
    Polarity::good(ROUTES, "Accepted", 60).or_unknown(120),
    Polarity::good(ROUTES, "ResolvedRefs", 60),
    Polarity::problem(ROUTES, "PartiallyInvalid", 60),
    Polarity::good(&[Kind::BackendTlsPolicy], "Accepted", 60),
    Polarity::good(&[Kind::BackendTlsPolicy], "ResolvedRefs", 60),
];

/// What is wrong with a route for one reason.
struct Fault {
    severity: Severity,
    since: Option<Time>,
    dwell: i64,
    message: String,
}

fn unresolved(view: &View<'_>, out: &mut Verdicts) {
    for route in view.resources_of(ROUTES).filter(|r| r.meta.deleting.is_none()) {
        let mut faults = BTreeMap::new();
        if let Some(fault) = not_adopted(view, route) {
            faults.insert("NotAdopted", fault);
        }
        for parent in route.body.items("status.parents").iter().filter(|p| is_asked(route, p)) {
            refusals(route, parent, REASONS, &mut faults);
        }
        if let Some(fault) = unserved(view, route) {
            faults.insert("NoReadyBackends", fault);
        }
        for (reason, fault) in faults {
            let meta = &route.meta;
            let labels = labels![route.kind.name(), &meta.namespace, &meta.name, reason];
            let verdict = Verdict::new(Subject::of(route), labels, reason, fault.message);
            out.push(verdict.severity(fault.severity).since(fault.since).dwell(fault.dwell));
        }
    }
}

/// Whether the route still names the parent that a controller speaks of.
fn is_asked(route: &Resource, parent: &Value) -> bool {
    let name = parent.text("parentRef.name");
    route.body.items("spec.parentRefs").iter().any(|asked| asked.text("name") == name)
}

/// Nobody has answered for any of the Gateways that the route names. A mesh's routes name Services.
fn not_adopted(view: &View<'_>, route: &Resource) -> Option<Fault> {
    let mut parents = route.body.items("spec.parentRefs").iter();
    let gateway = parents.find(|p| matches!(&**p.text("kind"), "" | "Gateway"))?;
    let message =
        format!("no controller has answered for Gateway {}: is it there?", gateway.text("name"));
    let since = super::waits(view, &route.meta, 120);
    let fault = Fault { severity: Severity::Warning, since, dwell: 120, message };
    route.body.items("status.parents").is_empty().then_some(fault)
}

/// Adds the bad conditions of one entry of a status; the first of each reason speaks for it.
fn refusals(
    object: &Resource,
    entry: &Value,
    reasons: &'static [&'static str],
    faults: &mut BTreeMap<&'static str, Fault>,
) {
    let all = conditions(entry, object.meta.generation);
    for (row, found, dwell) in bad_of(&all, object.kind, TABLE) {
        let reason = match row.condition {
            "PartiallyInvalid" => row.condition,
            _ => declared(&found.reason, reasons),
        };
        let parent = entry.text("parentRef.name");
        let by = if parent.is_empty() { entry.text("ancestorRef.name") } else { parent };
        let message = format!("{} for {by} is bad: {}", row.condition, words(found));
        let since = Some(since(&object.meta, found));
        let severity = Severity::Warning;
        faults.entry(reason).or_insert(Fault { severity, since, dwell, message });
    }
}

/// A rule of the route all of whose backends lack ready endpoints, so that it answers with errors only.
fn unserved(view: &View<'_>, route: &Resource) -> Option<Fault> {
    if !view.sees(Kind::EndpointSlice) {
        return None;
    }
    let rules = route.body.items("spec.rules").iter();
    let faults = rules.filter_map(|rule| {
        let weighed = |b: &&Value| b.number("weight").is_none_or(|weight| weight > 0.0);
        let backends: Vec<&Value> = rule.items("backendRefs").iter().filter(weighed).collect();
        let mut starts = Vec::new();
        for backend in &backends {
            starts.push(outage(view, service(view, route, backend)?)?.since);
        }
        // The last of them to fail made it whole; where one does not say when, nobody can.
        let since =
            starts.into_iter().collect::<Option<Vec<_>>>().and_then(|s| s.into_iter().max());
        let names: Vec<&str> = backends.iter().map(|b| b.text("name").as_str()).collect();
        let message = format!("no backend of a rule has a ready endpoint: {}", names.join(", "));
        let fault = Fault { severity: Severity::Critical, since, dwell: 60, message };
        (!backends.is_empty()).then_some(fault)
    });
    faults.min_by_key(|fault| fault.since)
}

fn service<'a>(view: &View<'a>, route: &Resource, backend: &Value) -> Option<&'a Resource> {
    let plain = matches!(&**backend.text("kind"), "" | "Service");
    if !plain || !backend.text("group").is_empty() {
        return None;
    }
    let own = backend.text("namespace");
    let namespace = if own.is_empty() { &route.meta.namespace } else { own };
    view.resource(Kind::Service, namespace, backend.text("name"))
}

fn backend_tls(view: &View<'_>, out: &mut Verdicts) {
    for policy in view.resources(Kind::BackendTlsPolicy).filter(|p| p.meta.deleting.is_none()) {
        let mut faults = BTreeMap::new();
        for ancestor in policy.body.items("status.ancestors") {
            refusals(policy, ancestor, BACKEND_TLS.reasons, &mut faults);
        }
        for (reason, fault) in faults {
            let labels = labels![&policy.meta.namespace, &policy.meta.name, reason];
            let verdict = Verdict::new(Subject::of(policy), labels, reason, fault.message);
            out.push(verdict.since(fault.since).dwell(fault.dwell));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::layers::fixtures::{
        deployment, judge, objects, reasons, resource, service, slice, world,
    };
    use crate::model::record::Object;

    #[allow(clippy::needless_pass_by_value)]
    fn route(backends: Json, parents: Json) -> Resource {
        let manifest = json!({
            "spec": {"parentRefs": [{"name": "edge"}], "rules": [{"backendRefs": backends}]},
            "status": {"parents": parents},
        });
        resource(Kind::HttpRoute, "r", manifest)
    }

    fn says(kind: &str, status: &str, reason: &str) -> Json {
        json!([{
            "parentRef": {"name": "edge"},
            "conditions": [{"type": kind, "status": status, "reason": reason, "message": "no"}],
        }])
    }

    fn accepted() -> Json {
        says("Accepted", "True", "Accepted")
    }

    #[test]
    fn a_route_tells_in_the_words_of_the_api() {
        let cases = [
            (says("Accepted", "False", "NotAllowedByListeners"), vec!["NotAllowedByListeners"]),
            (says("Accepted", "Unknown", "Pending"), vec!["Pending"]),
            (says("ResolvedRefs", "False", "BackendNotFound"), vec!["BackendNotFound"]),
            (says("ResolvedRefs", "False", "New"), vec!["other"]),
            (says("PartiallyInvalid", "True", "UnsupportedValue"), vec!["PartiallyInvalid"]),
            (says("PartiallyInvalid", "False", "x"), vec![]),
            (json!([]), vec!["NotAdopted"]),
            (json!(null), vec!["NotAdopted"]),
            (accepted(), vec![]),
        ];
        for (parents, expected) in cases {
            let found = reasons(&UNRESOLVED, objects![route(json!([]), parents.clone())]);
            assert_eq!(found, expected, "{parents}");
        }
        let mut stale = says("Accepted", "False", "NoMatchingParent");
        stale[0]["parentRef"]["name"] = json!("gone");
        assert!(reasons(&UNRESOLVED, objects![route(json!([]), stale)]).is_empty());
        let mesh = json!({"spec": {"parentRefs": [{"kind": "Service", "name": "web"}]}});
        assert!(reasons(&UNRESOLVED, objects![resource(Kind::GrpcRoute, "m", mesh)]).is_empty());
        assert!(
            reasons(&UNRESOLVED, objects![resource(Kind::TcpRoute, "m", json!({}))]).is_empty()
        );
    }

    #[test]
    fn a_rule_without_a_backend_that_serves_is_critical() {
        let look = |backends: Json, more: Vec<Object>| {
            let all = objects![
                route(backends, accepted()),
                service("web"),
                slice("web", &[false]),
                deployment("web", 1, 0),
                service("db"),
                slice("db", &[true]),
            ];
            judge(&UNRESOLVED, &world(&[], all.into_iter().chain(more)))
        };
        let found = look(json!([{"name": "web", "port": 80}]), vec![]);
        assert_eq!((found[0].reason, found[0].severity), ("NoReadyBackends", Severity::Critical));
        let spare = look(json!([{"name": "web"}, {"name": "db", "weight": 0}]), vec![]);
        assert_eq!(spare.len(), 1, "the other has no weight");
        for backends in [
            json!([{"name": "web"}, {"name": "db"}]),
            json!([{"name": "web", "weight": 0}]),
            json!([{"name": "web", "kind": "Bucket", "group": "example.com"}]),
            json!([{"name": "web", "namespace": "other"}]),
            json!([]),
            json!("odd"),
        ] {
            assert!(look(backends.clone(), vec![]).is_empty(), "{backends}");
        }
        let all = objects![
            route(json!([{"name": "web"}]), accepted()),
            service("web"),
            slice("web", &[false]),
            deployment("web", 1, 0),
        ];
        assert!(judge(&UNRESOLVED, &world(&[Kind::EndpointSlice], all)).is_empty(), "not seen");
        let idle = objects![deployment("web", 0, 0)];
        assert!(look(json!([{"name": "web"}]), idle).is_empty(), "scaled to zero");
    }

    #[test]
    fn a_policy_for_backends_tells_through_its_ancestors() {
        let look = |kind: &str, status: &str, reason: &str| {
            let conditions = json!([{"type": kind, "status": status, "reason": reason}]);
            let ancestors = json!([{"ancestorRef": {"name": "edge"}, "conditions": conditions}]);
            let manifest = json!({"status": {"ancestors": ancestors}});
            reasons(&BACKEND_TLS, objects![resource(Kind::BackendTlsPolicy, "p", manifest)])
        };
        assert_eq!(look("Accepted", "False", "TargetNotFound"), ["TargetNotFound"]);
        assert_eq!(look("ResolvedRefs", "False", "InvalidKind"), ["InvalidKind"]);
        assert!(look("Accepted", "True", "Accepted").is_empty());
        assert!(look("Accepted", "Unknown", "Pending").is_empty());
    }
}
