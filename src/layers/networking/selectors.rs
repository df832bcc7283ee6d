//! Which Services select nothing, or a port that nobody has?

use std::collections::BTreeSet;

use super::services::selects;
use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Resource, Time, Workload};
use crate::model::selector;
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::view::View;

pub(super) static ORPHAN: Signal = Signal {
    block: "S3.3",
    name: "networking_selector_orphan",
    layer: Layer::Networking,
    help: "Services whose selector matches neither a pod nor a workload, or whose target port no container of theirs \
           names. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "service", "reason"],
    reasons: &["nothing_selected", "port_missing"],
    bound: "services × 2 reasons",
    needs: &[
        Kind::Service,
        Kind::Pod,
        Kind::Deployment,
        Kind::StatefulSet,
        Kind::DaemonSet,
        Kind::ReplicaSet,
    ],
    uses: &[
        Kind::Ingress,
        Kind::HttpRoute,
        Kind::GrpcRoute,
        Kind::TlsRoute,
        Kind::TcpRoute,
        Kind::UdpRoute,
        Kind::ApiService,
        Kind::ValidatingWebhookConfiguration,
        Kind::MutatingWebhookConfiguration,
    ],
    profile: Profile::None,
    read: Read::Rule(orphans),
};

const WEBHOOKS: &[Kind] =
    &[Kind::ValidatingWebhookConfiguration, Kind::MutatingWebhookConfiguration];

pub(super) const ROUTES: &[Kind] =
    &[Kind::HttpRoute, Kind::GrpcRoute, Kind::TlsRoute, Kind::TcpRoute, Kind::UdpRoute];

/// How the ports of containers begin that meshes add to pods, and not to templates.
const INJECTED: &[&str] = &["http-envoy-", "linkerd-", "envoy-"];

/// Seconds within which a change of the Service is held to be the cause.
const LATELY: i64 = 600;

fn orphans(view: &View<'_>, out: &mut Verdicts) {
    let mut referenced: Option<BTreeSet<(Text, Text)>> = None;
    // What an operator makes has the selector that the operator gives it, with or without pods.
    let own = |s: &&Resource| selects(s) && s.meta.owner.is_none();
    for service in view.resources(Kind::Service).filter(own) {
        let meta = &service.meta;
        let wanted = service.body.at("spec.selector");
        let chosen =
            |w: &&Workload| w.template.as_ref().is_some_and(|t| selector::holds(wanted, &t.labels));
        let workloads: Vec<&Workload> = view.workloads_in(&meta.namespace).filter(chosen).collect();
        let nothing = workloads.is_empty() && view.selected_pods(service).next().is_none();
        let (reason, message) = if nothing {
            let labels = words(service);
            ("nothing_selected", format!("no pod and no workload has the labels {labels}"))
        } else if let Some(port) = missing_port(service, &workloads) {
            ("port_missing", format!("no container of its workloads names the port {port}"))
        } else {
            continue;
        };
        let key = (meta.namespace.clone(), meta.name.clone());
        let asked_for = referenced.get_or_insert_with(|| references(view)).contains(&key);
        let severity = if asked_for || !nothing { Severity::Warning } else { Severity::Info };
        let labels = labels![&meta.namespace, &meta.name, reason];
        let verdict = Verdict::new(Subject::of(service), labels, reason, message);
        let verdict = verdict.severity(severity).dwell(120);
        out.push(match changed_lately(view, service) {
            Some(at) => verdict.since(at).dwell(10),
            None => verdict,
        });
    }
}

/// A target port by name that no container of the workloads has.
fn missing_port<'a>(service: &'a Resource, workloads: &[&Workload]) -> Option<&'a Text> {
    if workloads.is_empty() {
        return None;
    }
    let has = |name: &Text| {
        let mut templates = workloads.iter().filter_map(|w| w.template.as_ref());
        templates.any(|t| t.ports.iter().any(|(own, _)| own == name))
    };
    let named = service.body.items("spec.ports").iter().map(|p| p.text("targetPort"));
    let mut named = named.filter(|n| !n.is_empty() && !INJECTED.iter().any(|i| n.starts_with(i)));
    named.find(|name| !has(name))
}

/// The last write of the Service's spec, where that was lately and not when it was made.
fn changed_lately(view: &View<'_>, service: &Resource) -> Option<Time> {
    let last = service.meta.managers.iter().filter_map(|m| m.at).max()?;
    let after = last.as_second() - service.meta.created.as_second();
    (after > 60 && !view.is_older(last, LATELY)).then_some(last)
}

fn words(service: &Resource) -> String {
    let pairs = service.body.entries("spec.selector").iter();
    pairs.map(|(k, v)| format!("{k}={}", v.text(""))).collect::<Vec<_>>().join(", ")
}

/// The Services that something sends traffic to.
fn references(view: &View<'_>) -> BTreeSet<(Text, Text)> {
    let mut found = BTreeSet::new();
    for ingress in view.resources(Kind::Ingress) {
        for backend in super::ingresses::backends(ingress) {
            let name = backend.service.text("name").clone();
            found.insert((ingress.meta.namespace.clone(), name));
        }
    }
    for route in view.resources_of(ROUTES) {
        let rules = route.body.items("spec.rules").iter();
        for backend in rules.flat_map(|rule| rule.items("backendRefs")) {
            let own = backend.text("namespace");
            let namespace = if own.is_empty() { &route.meta.namespace } else { own };
            found.insert((namespace.clone(), backend.text("name").clone()));
        }
    }
    for configuration in view.resources_of(WEBHOOKS) {
        for webhook in configuration.body.items("webhooks") {
            let service = webhook.at("clientConfig.service");
            found.insert((service.text("namespace").clone(), service.text("name").clone()));
        }
    }
    for service in view.resources(Kind::ApiService).map(|a| a.body.at("spec.service")) {
        found.insert((service.text("namespace").clone(), service.text("name").clone()));
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{
        ago, deployment, judge, objects, pod_of, reasons, resource, service, world,
    };
    use crate::model::record::{Manager, Meta, Object, Owner};

    #[allow(clippy::needless_pass_by_value)]
    fn aims_at(port: serde_json::Value) -> Resource {
        let spec = json!({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": port}]});
        resource(Kind::Service, "web", json!({"spec": spec}))
    }

    fn severities(all: Vec<Object>) -> Vec<(&'static str, Severity)> {
        judge(&ORPHAN, &world(&[], all)).into_iter().map(|v| (v.reason, v.severity)).collect()
    }

    #[test]
    fn a_selector_that_matches_nothing_matters_where_traffic_is_sent() {
        let lonely = objects![service("web"), deployment("other", 1, 1)];
        assert_eq!(severities(lonely), [("nothing_selected", Severity::Info)]);
        let backend = json!({"spec": {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}});
        let asked = objects![service("web"), resource(Kind::Ingress, "in", backend)];
        assert_eq!(severities(asked), [("nothing_selected", Severity::Warning)]);
        let rule = json!({"spec": {"rules": [{"backendRefs": [{"name": "web"}]}]}});
        let asked = objects![service("web"), resource(Kind::HttpRoute, "r", rule)];
        assert_eq!(severities(asked), [("nothing_selected", Severity::Warning)]);
        let hook = json!({"webhooks": [{"clientConfig": {"service": {"namespace": "shop", "name": "web"}}}]});
        let hook = resource(Kind::ValidatingWebhookConfiguration, "hook", hook);
        assert_eq!(severities(objects![service("web"), hook])[0].1, Severity::Warning);
    }

    #[test]
    fn a_selector_changed_lately_is_told_at_once() {
        let by = Manager { name: "kubectl".into(), at: Some(ago(30)), ..Manager::default() };
        let plain = service("web");
        let changed = Resource { meta: Meta { managers: [by].into(), ..plain.meta }, ..plain };
        let found = judge(&ORPHAN, &world(&[], objects![changed]));
        assert_eq!((found[0].since, found[0].dwell.as_secs()), (Some(ago(30)), 10));
    }

    #[test]
    fn a_target_port_must_be_named_by_a_container() {
        let with = |port| reasons(&ORPHAN, objects![aims_at(port), deployment("web", 1, 1)]);
        assert_eq!(with(json!("metrics")), ["port_missing"]);
        for port in [json!("http"), json!(8080), json!("linkerd-admin"), json!(null), json!([])] {
            assert!(with(port.clone()).is_empty(), "{port}");
        }
        assert!(reasons(&ORPHAN, objects![aims_at(json!("x")), pod_of("web", "p")]).is_empty());
    }

    #[test]
    fn what_selects_something_or_nothing_on_purpose_is_silent() {
        let plain = service("web");
        let owner = Owner { kind: "Prometheus".into(), ..Owner::default() };
        let owned = Meta { owner: Some(Box::new(owner)), ..plain.meta.clone() };
        let cases: Vec<Vec<Object>> = vec![
            objects![service("web"), deployment("web", 0, 0)],
            objects![service("web"), pod_of("web", "web-1")],
            objects![Resource { meta: owned, ..plain }],
            objects![resource(Kind::Service, "kubernetes", json!({"spec": {"ports": []}}))],
            objects![resource(Kind::Service, "odd", json!({"spec": 3}))],
        ];
        for (i, case) in cases.into_iter().enumerate() {
            assert!(reasons(&ORPHAN, case).is_empty(), "case {i}");
        }
    }
}
