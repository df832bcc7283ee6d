//! Are Gateways and their routes accepted, resolved and programmed? As a controller of the Gateway API writes it, in
//! the words of `sigs.k8s.io/gateway-api/apis/v1`.

use serde_json::{Value, json};

use super::{balancers, endpoints};
use crate::sim::fields::{Condition, Fields, holds, judged};
use crate::sim::kind::Kind;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

/// The class of the house, and who serves it.
pub(crate) const CLASS: &str = "edge";
pub(crate) const CONTROLLER: &str = "gateway.example/controller";

/// The Service before the data plane; the Deployment of the same name is both the controller and the data plane.
pub(crate) fn service() -> Key {
    Key::new("platform", "gateway")
}

/// A controller that does not run judges nothing.
fn runs(sim: &Simulation) -> bool {
    endpoints::ready(sim, &service()) > 0
}

const fn good<'a>(kind: &'a str, reason: &'a str) -> Condition<'a> {
    Condition { kind, status: "True", reason, message: "" }
}

const fn bad<'a>(kind: &'a str, reason: &'a str, message: &'a str) -> Condition<'a> {
    Condition { kind, status: "False", reason, message }
}

/// Accepts a class.
pub(crate) fn class(sim: &mut Simulation, key: &Key) {
    let Some(class) = sim.store.get(Kind::GatewayClass, key).cloned() else { return };
    if class.text("spec/controllerName") != CONTROLLER || !runs(sim) {
        return;
    }
    // Whatever parameters a class may refer to, this controller knows none.
    let accepted = if class.at("spec/parametersRef").is_some() {
        bad("Accepted", "InvalidParameters", "the parameters that the class refers to do not exist")
    } else {
        good("Accepted", "Accepted")
    };
    let wanted = [accepted, good("SupportedVersion", "SupportedVersion")];
    write(sim, Kind::GatewayClass, key, &wanted);
}

/// Programs a Gateway with its listeners.
pub(crate) fn gateway(sim: &mut Simulation, key: &Key) {
    let Some(gateway) = sim.store.get(Kind::Gateway, key).cloned() else { return };
    let class = Key::cluster(gateway.text("spec/gatewayClassName"));
    let accepted = sim.store.get(Kind::GatewayClass, &class).is_some_and(|c| holds(c, "Accepted"));
    if !accepted || !runs(sim) {
        return;
    }
    let address = balancers::address(sim, &service()).to_owned();
    let now = sim.stamp();
    let generation = gateway.int("metadata/generation");
    let mut valid = true;
    let listeners = gateway.items("spec/listeners").iter().map(|listener| {
        let missing = missing_certificate(sim, &key.ns, listener);
        valid &= missing.is_none();
        let message = missing.unwrap_or_default();
        let wanted = match message.as_str() {
            "" => [
                good("Accepted", "Accepted"),
                good("Programmed", "Programmed"),
                good("ResolvedRefs", "ResolvedRefs"),
                bad("Conflicted", "NoConflicts", ""),
            ],
            message => [
                good("Accepted", "Accepted"),
                bad("Programmed", "Invalid", message),
                bad("ResolvedRefs", "InvalidCertificateRef", message),
                bad("Conflicted", "NoConflicts", ""),
            ],
        };
        let name = listener.text("name");
        let held = gateway.items("status/listeners").iter().find(|l| l.text("name") == name);
        let held = held.map_or(&[][..], |l| l.items("conditions"));
        json!({
            "name": name,
            "supportedKinds": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"}],
            "attachedRoutes": attached(sim, key),
            "conditions": judged(held, &wanted, generation, &now),
        })
    });
    let listeners: Vec<Value> = listeners.collect();
    let programmed = match (address.as_str(), valid) {
        ("", _) => bad("Programmed", "AddressNotAssigned", "the load balancer has no address yet"),
        (_, false) => bad("Programmed", "Invalid", "a listener is not valid"),
        _ => good("Programmed", "Programmed"),
    };
    let accepted = if valid { "Accepted" } else { "ListenersNotValid" };
    let wanted = [good("Accepted", accepted), programmed];
    let conditions = judged(gateway.items("status/conditions"), &wanted, generation, &now);
    sim.store.update(Kind::Gateway, key, |gateway| {
        gateway.put("status/conditions", conditions);
        gateway.put("status/listeners", Value::Array(listeners));
        if address.is_empty() {
            gateway.drop_field("status/addresses");
        } else {
            gateway.put("status/addresses", json!([{"type": "IPAddress", "value": address}]));
        }
    });
}

/// What is wrong with the certificates that a listener refers to.
fn missing_certificate(sim: &Simulation, ns: &str, listener: &Value) -> Option<String> {
    let refs = listener.items("tls/certificateRefs").iter();
    let mut keys = refs.map(|r| {
        let own = r.text("namespace");
        Key::new(if own.is_empty() { ns } else { own }, r.text("name"))
    });
    let missing = keys.find(|key| sim.store.get(Kind::Secret, key).is_none())?;
    Some(format!("Secret {missing} does not exist"))
}

fn names(route: &Value, gateway: &Key) -> bool {
    route.items("spec/parentRefs").iter().any(|parent| parent_key(route, parent) == *gateway)
}

fn parent_key(route: &Value, parent: &Value) -> Key {
    let own = parent.text("namespace");
    let ns = if own.is_empty() { route.text("metadata/namespace") } else { own };
    Key::new(ns, parent.text("name"))
}

fn attached(sim: &Simulation, gateway: &Key) -> usize {
    sim.store.list(Kind::HttpRoute, None).filter(|(_, route)| names(route, gateway)).count()
}

/// Attaches a route to its Gateways.
pub(crate) fn route(sim: &mut Simulation, key: &Key) {
    let Some(route) = sim.store.get(Kind::HttpRoute, key).cloned() else { return };
    if !runs(sim) {
        return;
    }
    let now = sim.stamp();
    let generation = route.int("metadata/generation");
    let backends = route.items("spec/rules").iter().flat_map(|rule| rule.items("backendRefs"));
    let missing = backends.map(|b| Key::new(&key.ns, b.text("name")));
    let missing = missing.into_iter().find(|b| sim.store.get(Kind::Service, b).is_none());
    let message = missing.map(|b| format!("Service {b} does not exist")).unwrap_or_default();
    let resolved = match message.as_str() {
        "" => good("ResolvedRefs", "ResolvedRefs"),
        message => bad("ResolvedRefs", "BackendNotFound", message),
    };
    let mut parents = Vec::new();
    for parent in route.items("spec/parentRefs") {
        let gateway = parent_key(&route, parent);
        // Nobody answers for a Gateway that is not there.
        if sim.store.get(Kind::Gateway, &gateway).is_none() {
            continue;
        }
        let held = route.items("status/parents").iter().find(|p| p.at("parentRef") == Some(parent));
        let held = held.map_or(&[][..], |p| p.items("conditions"));
        let wanted = [good("Accepted", "Accepted"), resolved];
        parents.push(json!({
            "parentRef": parent,
            "controllerName": CONTROLLER,
            "conditions": judged(held, &wanted, generation, &now),
        }));
    }
    sim.store.update(Kind::HttpRoute, key, |r| r.put("status/parents", Value::Array(parents)));
}

fn write(sim: &mut Simulation, kind: Kind, key: &Key, wanted: &[Condition<'_>]) {
    let now = sim.stamp();
    sim.store.update(kind, key, |object| {
        let generation = object.int("metadata/generation");
        let conditions = judged(object.items("status/conditions"), wanted, generation, &now);
        object.put("status/conditions", conditions);
    });
}
