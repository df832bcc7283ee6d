//! Which pods stand behind a Service, and which of them serve? As kube-controller-manager's EndpointSlice controller
//! writes it (`pkg/controller/endpointslice`, `staging/src/k8s.io/endpointslice`).

use std::sync::Arc;

use serde_json::{Value, json};

use super::{pods, reach};
use crate::sim::fields::{Fields, deleting, owner_reference};
use crate::sim::kind::Kind;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

/// `--max-endpoints-per-slice`.
const PER_SLICE: usize = 100;

/// Whether a selector of labels, which must not be empty, holds of them.
pub(crate) fn selects(selector: Option<&Value>, labels: Option<&Value>) -> bool {
    let wanted = selector.and_then(Value::as_object).filter(|w| !w.is_empty());
    wanted.is_some_and(|w| w.iter().all(|(k, v)| labels.and_then(|l| l.get(k)) == Some(v)))
}

/// Writes the slices of a Service.
pub(crate) fn reconcile(sim: &mut Simulation, key: &Key) {
    let Some(service) = sim.store.get(Kind::Service, key).cloned() else { return };
    let selector = service.at("spec/selector");
    if selector.and_then(Value::as_object).is_none_or(serde_json::Map::is_empty) {
        return;
    }
    let behind: Vec<Arc<Value>> = sim
        .store
        .list(Kind::Pod, Some(&key.ns))
        .filter(|(_, pod)| selects(selector, pod.at("metadata/labels")))
        .filter(|(_, pod)| !pod.text("status/podIP").is_empty() && !pods::finished(pod))
        .map(|(_, pod)| Arc::clone(pod))
        .collect();
    let publish = service.truth("spec/publishNotReadyAddresses");
    let endpoints: Vec<Value> = behind.iter().map(|p| endpoint(sim, p, publish)).collect();
    let ports = ports(&service, behind.first().map(|p| &**p));
    let mut chunks: Vec<Value> =
        endpoints.chunks(PER_SLICE).map(|c| Value::Array(c.to_vec())).collect();
    if chunks.is_empty() {
        // An empty list is written as null.
        chunks.push(Value::Null);
    }
    let mut held = sim.store.owned(service.text("metadata/uid"), Kind::EndpointSlice);
    held.sort_by_key(|slice| Key::of(slice));
    for surplus in held.iter().skip(chunks.len()) {
        sim.delete(Kind::EndpointSlice, &Key::of(surplus));
    }
    for (nth, chunk) in chunks.into_iter().enumerate() {
        if let Some(slice) = held.get(nth) {
            sim.store.update(Kind::EndpointSlice, &Key::of(slice), |slice| {
                slice.put("endpoints", chunk);
                slice.put("ports", ports.clone());
            });
        } else {
            let slice = slice(sim, &service, nth, &chunk, &ports);
            sim.create(Kind::EndpointSlice, slice);
        }
    }
    let serving = endpoints.iter().any(|e| e.truth("conditions/ready"));
    reach::served(sim, key, serving);
}

/// How many endpoints of a Service are ready.
pub(crate) fn ready(sim: &Simulation, service: &Key) -> usize {
    let Some(service) = sim.store.get(Kind::Service, service) else { return 0 };
    let slices = sim.store.owned(service.text("metadata/uid"), Kind::EndpointSlice);
    let ready = |s: &Arc<Value>| {
        s.items("endpoints").iter().filter(|e| e.truth("conditions/ready")).count()
    };
    slices.iter().map(ready).sum()
}

fn endpoint(sim: &Simulation, pod: &Value, publish: bool) -> Value {
    let node = pod.text("spec/nodeName");
    let zone = sim.store.get(Kind::Node, &Key::cluster(node));
    let zone = zone.map_or("", |n| n.label("topology.kubernetes.io/zone"));
    let (serving, terminating) = (pods::ready(pod), deleting(pod));
    json!({
        "addresses": [pod.text("status/podIP")],
        "conditions": {
            "ready": (serving || publish) && !terminating,
            "serving": serving || publish,
            "terminating": terminating,
        },
        "nodeName": node,
        "targetRef": {
            "kind": "Pod",
            "name": pod.text("metadata/name"),
            "namespace": pod.text("metadata/namespace"),
            "uid": pod.text("metadata/uid"),
        },
        "zone": zone,
    })
}

/// The ports of a Service as its pods have them; a name that no container has is left out.
fn ports(service: &Value, pod: Option<&Value>) -> Value {
    let containers = pod.map_or(&[][..], |p| p.items("spec/containers"));
    let named = |name: &str| {
        let mut ports = containers.iter().flat_map(|c| c.items("ports"));
        ports.find(|p| p.text("name") == name).map(|p| p.int("containerPort"))
    };
    let resolved = service.items("spec/ports").iter().filter_map(|port| {
        let number = match port.at("targetPort") {
            Some(Value::String(name)) => named(name)?,
            Some(number) => number.as_i64()?,
            None => port.int("port"),
        };
        Some(json!({"name": port.text("name"), "port": number, "protocol": port.text("protocol")}))
    });
    let resolved: Vec<Value> = resolved.collect();
    if resolved.is_empty() { Value::Null } else { Value::Array(resolved) }
}

fn slice(sim: &Simulation, service: &Value, nth: usize, endpoints: &Value, ports: &Value) -> Value {
    let name = service.text("metadata/name");
    let thing = format!("{}/{nth}", service.text("metadata/uid"));
    json!({
        "metadata": {
            "name": format!("{name}-{}", sim.chance.of("slice", &thing).letters(5)),
            "generateName": format!("{name}-"),
            "namespace": service.text("metadata/namespace"),
            "labels": {
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                "kubernetes.io/service-name": name,
            },
            "ownerReferences": [owner_reference(service)],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": ports,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_needs_every_label_and_an_empty_one_selects_nothing() {
        let labels = json!({"app": "cart", "tier": "web"});
        let selects = |wanted: &Value| selects(Some(wanted), Some(&labels));
        assert!(selects(&json!({"app": "cart"})));
        assert!(!selects(&json!({"app": "cart", "tier": "db"})));
        assert!(!selects(&json!({})));
    }

    #[test]
    fn a_port_by_name_is_the_containers_own() {
        let service = json!({"spec": {"ports": [
            {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"},
            {"name": "gone", "port": 81, "targetPort": "gone", "protocol": "TCP"},
        ]}});
        let pod =
            json!({"spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]}});
        let wanted = json!([{"name": "http", "port": 8080, "protocol": "TCP"}]);
        assert_eq!(ports(&service, Some(&pod)), wanted);
        assert_eq!(ports(&service, None), Value::Null);
    }
}
