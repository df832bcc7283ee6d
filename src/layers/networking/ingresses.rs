//! Which Ingresses send traffic where nobody answers, and which have no address?

use std::collections::{BTreeMap, BTreeSet};

use super::balancers::has_address;
use super::services::outage;
use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Resource, Time};
use crate::model::signal::{Observation, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::tally::Tallies;
use crate::model::value::Value;
use crate::model::view::View;

pub(super) static BROKEN: Signal = Signal {
    block: "S3.6",
    name: "networking_ingress_backend_broken",
    layer: Layer::Networking,
    help: "Ingresses with a path whose Service or port is not there or has no ready endpoint, or whose class does not \
           exist. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "ingress", "ingress_class", "reason"],
    reasons: &["service_missing", "port_missing", "no_ready", "class_missing"],
    bound: "ingresses × 4 reasons",
    needs: &[Kind::Ingress, Kind::Service],
    uses: &[
        Kind::EndpointSlice,
        Kind::IngressClass,
        Kind::Pod,
        Kind::Deployment,
        Kind::StatefulSet,
        Kind::DaemonSet,
        Kind::ReplicaSet,
    ],
    profile: Profile::None,
    read: Read::Rule(broken),
};

pub(super) static NO_ADDRESS: Signal = Signal {
    block: "S3.7",
    name: "networking_ingress_no_address",
    layer: Layer::Networking,
    help: "Ingresses without an address although others of their class have one. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "ingress", "ingress_class", "reason"],
    reasons: &["no_address"],
    bound: "ingresses",
    needs: &[Kind::Ingress],
    uses: &[Kind::IngressClass],
    profile: Profile::None,
    read: Read::Rule(no_address),
};

pub(super) static LOST: Signal = Signal {
    block: "S3.7",
    name: "networking_ingress_addresses_lost_total",
    layer: Layer::Networking,
    help: "Times that an Ingress that had an address stood without one. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "ingress"],
    reasons: &[],
    bound: "ingresses",
    needs: &[Kind::Ingress],
    uses: &[],
    profile: Profile::Rate,
    read: Read::Counter,
};

/// One path of an Ingress that leads to a Service, with its host; the default backend has none.
pub(super) struct Backend<'a> {
    pub(super) host: &'a str,
    pub(super) service: &'a Value,
}

/// The Services that an Ingress names, path by path.
pub(super) fn backends(ingress: &Resource) -> Vec<Backend<'_>> {
    let default = Backend { host: "", service: ingress.body.at("spec.defaultBackend.service") };
    let mut all = vec![default];
    for rule in ingress.body.items("spec.rules") {
        let host = rule.text("host").as_str();
        let paths = rule.items("http.paths").iter();
        all.extend(paths.map(|path| Backend { host, service: path.at("backend.service") }));
    }
    all.retain(|backend| !backend.service.text("name").is_empty());
    all
}

/// The class that an Ingress asks for, or gets where it asks for none.
fn class<'a>(view: &'a View<'_>, ingress: &'a Resource) -> &'a str {
    let own = ingress.body.text("spec.ingressClassName").as_str();
    let legacy = ingress.meta.annotations.value("kubernetes.io/ingress.class");
    if !own.is_empty() || !legacy.is_empty() {
        return if own.is_empty() { legacy } else { own };
    }
    let default = view.resources(Kind::IngressClass).find(|class| {
        class.meta.annotations.value("ingressclass.kubernetes.io/is-default-class") == "true"
    });
    default.map_or("", |class| class.meta.name.as_str())
}

/// The Ingresses that are meant to last: cert-manager's solvers come and go with each challenge.
fn lasting<'a>(view: &'a View<'_>) -> impl Iterator<Item = &'a Resource> {
    view.resources(Kind::Ingress).filter(|ingress| {
        ingress.meta.deleting.is_none()
            && ingress.meta.labels.get("acme.cert-manager.io/http01-solver").is_none()
    })
}

/// What is wrong with the paths of an Ingress for one reason.
#[derive(Default)]
struct Fault<'a> {
    hosts: BTreeSet<&'a str>,
    services: BTreeSet<&'a str>,
    since: Option<Time>,
    dwell: i64,
}

fn broken(view: &View<'_>, out: &mut Verdicts) {
    for ingress in lasting(view) {
        let class = class(view, ingress);
        let tell = |reason: &'static str, message: String| {
            let labels = labels![&ingress.meta.namespace, &ingress.meta.name, class, reason];
            Verdict::new(Subject::of(ingress), labels, reason, message)
        };
        let asked = ingress.body.text("spec.ingressClassName");
        if !asked.is_empty()
            && view.sees(Kind::IngressClass)
            && view.resource(Kind::IngressClass, "", asked).is_none()
        {
            let message = format!("there is no IngressClass {asked}");
            out.push(tell("class_missing", message));
        }
        let all = backends(ingress);
        let hosts: BTreeSet<&str> = all.iter().map(|b| b.host).collect();
        for (reason, fault) in faults(view, ingress, &all) {
            let whole = fault.hosts.len() == hosts.len();
            let severity = if whole { Severity::Critical } else { Severity::Warning };
            let names = fault.services.iter().copied().collect::<Vec<_>>().join(", ");
            let message = format!(
                "{} of {} hosts lead to a Service that {}: {names}",
                fault.hosts.len(),
                hosts.len(),
                in_words(reason),
            );
            let verdict = tell(reason, message).severity(severity);
            out.push(verdict.since(fault.since).dwell(fault.dwell));
        }
    }
}

fn in_words(reason: &str) -> &'static str {
    match reason {
        "service_missing" => "is not there",
        "port_missing" => "lacks the port",
        _ => "has no ready endpoint",
    }
}

fn faults<'a>(
    view: &View<'_>,
    ingress: &Resource,
    backends: &[Backend<'a>],
) -> BTreeMap<&'static str, Fault<'a>> {
    let mut found: BTreeMap<&'static str, Fault<'a>> = BTreeMap::new();
    for backend in backends {
        let Some((reason, since, dwell)) = fault(view, ingress, backend.service) else { continue };
        let fault = found.entry(reason).or_insert_with(|| Fault { dwell, ..Fault::default() });
        fault.hosts.insert(backend.host);
        fault.services.insert(backend.service.text("name"));
        // The first of them to fail began it.
        fault.since = [fault.since, since].into_iter().flatten().min();
        fault.dwell = fault.dwell.min(dwell);
    }
    found
}

fn fault(
    view: &View<'_>,
    ingress: &Resource,
    backend: &Value,
) -> Option<(&'static str, Option<Time>, i64)> {
    let (name, port) = (backend.text("name"), backend.at("port"));
    // The AWS controller takes the name of an action for that of a Service.
    if port.text("name") == "use-annotation" {
        return None;
    }
    let Some(service) = view.resource(Kind::Service, &ingress.meta.namespace, name) else {
        return Some(("service_missing", None, 60));
    };
    if service.body.text("spec.type") == "ExternalName" {
        return None;
    }
    if !has_port(service, port) {
        return Some(("port_missing", None, 60));
    }
    if !view.sees(Kind::EndpointSlice) {
        return None;
    }
    if service.body.entries("spec.selector").is_empty() {
        let none = view.ready_endpoints(&service.meta.namespace, name) == Some(0);
        return none.then_some(("no_ready", None, 60));
    }
    let outage = outage(view, service).filter(|o| o.reason == "no_ready")?;
    Some(("no_ready", outage.since, outage.dwell.max(60)))
}

fn has_port(service: &Resource, wanted: &Value) -> bool {
    let mut ports = service.body.items("spec.ports").iter();
    match (wanted.number("number"), wanted.text("name")) {
        (Some(number), _) => ports.any(|port| port.number("port") == Some(number)),
        (None, name) if !name.is_empty() => ports.any(|port| port.text("name") == name),
        _ => true,
    }
}

fn no_address(view: &View<'_>, out: &mut Verdicts) {
    // Some controllers never write an address.
    let served: BTreeSet<&str> =
        lasting(view).filter(|i| has_address(i)).map(|i| class(view, i)).collect();
    for ingress in lasting(view).filter(|i| !has_address(i)) {
        let class = class(view, ingress);
        if !served.contains(class) {
            continue;
        }
        let labels = labels![&ingress.meta.namespace, &ingress.meta.name, class, "no_address"];
        let message = format!("it has no address although others of class {class:?} do");
        let verdict = Verdict::new(Subject::of(ingress), labels, "no_address", message);
        out.push(verdict.since(super::waits(view, &ingress.meta, 180)).dwell(180));
    }
}

/// Counts the addresses that are lost.
pub(super) fn observe(o: &Observation<'_>, ingress: &Resource, tallies: &mut Tallies) {
    let meta = &ingress.meta;
    let held = o.world.resources(Kind::Ingress).and_then(|s| s.get(&meta.namespace, &meta.name));
    let lost = held.is_some_and(|h| {
        h.meta.uid == meta.uid && has_address(h) && !has_address(ingress) && meta.deleting.is_none()
    });
    tallies.add(&LOST, labels![&meta.namespace, &meta.name], u64::from(lost));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{
        Counted, deployment, judge, objects, reasons, resource, service, slice, world,
    };
    use crate::layers::networking::LAYER;
    use crate::model::record::Object;

    fn to(services: &[(&str, serde_json::Value)]) -> Resource {
        let rules = services.iter().enumerate().map(|(i, (name, port))| {
            let backend = json!({"service": {"name": name, "port": port}});
            json!({"host": format!("h{i}.example"), "http": {"paths": [{"path": "/", "backend": backend}]}})
        });
        let rules: Vec<_> = rules.collect();
        resource(Kind::Ingress, "in", json!({"spec": {"rules": rules}}))
    }

    fn http() -> serde_json::Value {
        json!({"name": "http"})
    }

    #[test]
    fn a_path_that_leads_nowhere_is_told_with_what_it_breaks() {
        let all = objects![
            to(&[("web", http()), ("gone", http())]),
            service("web"),
            slice("web", &[true]),
            deployment("web", 1, 1),
        ];
        let found = judge(&BROKEN, &world(&[], all));
        assert_eq!((found[0].reason, found[0].severity), ("service_missing", Severity::Warning));
        assert_eq!(found[0].message, "1 of 2 hosts lead to a Service that is not there: gone");
        assert_eq!(found[0].subject.to_string(), "Ingress shop/in");
        let down = objects![
            to(&[("web", json!({"number": 80}))]),
            service("web"),
            slice("web", &[false]),
            deployment("web", 1, 0),
        ];
        let found = judge(&BROKEN, &world(&[], down));
        assert_eq!((found[0].reason, found[0].severity), ("no_ready", Severity::Critical));
        for port in [json!({"number": 81}), json!({"name": "grpc"})] {
            let all = objects![to(&[("web", port)]), service("web"), slice("web", &[true])];
            assert_eq!(reasons(&BROKEN, all), ["port_missing"]);
        }
        let bare = resource(Kind::Service, "bare", json!({"spec": {"ports": [{"port": 80}]}}));
        let all = objects![to(&[("bare", json!({"number": 80}))]), bare];
        assert_eq!(reasons(&BROKEN, all), ["no_ready"]);
        let classed = json!({"spec": {"ingressClassName": "nope"}});
        let all = objects![resource(Kind::Ingress, "in", classed)];
        assert_eq!(reasons(&BROKEN, all), ["class_missing"]);
    }

    #[test]
    fn a_path_that_is_served_or_not_meant_to_be_is_silent() {
        let external = json!({"spec": {"type": "ExternalName", "externalName": "x.example"}});
        let solver = json!({
            "metadata": {"labels": {"acme.cert-manager.io/http01-solver": "true"}},
            "spec": {"defaultBackend": {"service": {"name": "gone"}}},
        });
        let bucket =
            json!({"spec": {"defaultBackend": {"resource": {"kind": "Bucket", "name": "b"}}}});
        let cases: Vec<Vec<Object>> = vec![
            objects![to(&[("web", http())]), service("web"), slice("web", &[true, false])],
            objects![to(&[("web", http())]), service("web"), deployment("web", 0, 0)],
            objects![to(&[("x", http())]), resource(Kind::Service, "x", external)],
            objects![to(&[("act", json!({"name": "use-annotation"}))])],
            objects![resource(Kind::Ingress, "in", solver)],
            objects![resource(Kind::Ingress, "in", bucket)],
            objects![resource(Kind::Ingress, "in", json!({"spec": {"rules": "odd"}}))],
        ];
        for (i, case) in cases.into_iter().enumerate() {
            assert!(reasons(&BROKEN, case).is_empty(), "case {i}");
        }
    }

    fn classed(name: &str, class: &str, address: bool) -> Resource {
        let ingress = if address { json!([{"ip": "192.0.2.1"}]) } else { json!([]) };
        let manifest = json!({
            "spec": {"ingressClassName": class},
            "status": {"loadBalancer": {"ingress": ingress}},
        });
        resource(Kind::Ingress, name, manifest)
    }

    #[test]
    fn an_address_is_missed_where_the_class_gives_them() {
        let default = json!({"metadata": {"annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}});
        let look = |class: &str| {
            let all = objects![
                classed("a", "nginx", true),
                classed("b", class, false),
                resource(Kind::IngressClass, "nginx", default.clone()),
            ];
            reasons(&NO_ADDRESS, all)
        };
        assert_eq!(look("nginx"), ["no_address"]);
        assert_eq!(look(""), ["no_address"], "the default class");
        assert!(look("traefik").is_empty(), "a class that never writes one");
    }

    #[test]
    fn a_lost_address_counts_once() {
        let mut seen = Counted::new(&LAYER, objects![classed("a", "nginx", true)]);
        seen.see(classed("a", "nginx", false), 60).see(classed("a", "nginx", false), 50);
        assert_eq!(seen.totals(&LOST), [("shop a".to_owned(), 1)]);
    }
}
