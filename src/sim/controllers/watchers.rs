//! Who else has to look when an object changed? The controllers beside those of workloads: only those whose object may
//! come out differently.

use std::sync::Arc;

use serde_json::Value;

use super::{Task, apiservices, budgets, endpoints, gateway, ingress, leases, monitoring, reach};
use crate::sim::fields::Fields;
use crate::sim::kind::Kind;
use crate::sim::simulation::Simulation;
use crate::sim::store::{Key, Touch, Verb};

/// Wakes them.
pub(super) fn wake(sim: &mut Simulation, touch: &Touch) {
    let object = &*touch.object;
    let key = Key::of(object);
    match touch.kind {
        Kind::Pod => pod(sim, touch.verb, &key, object),
        Kind::Node => leases::node_changed(sim, touch.verb, &key.name),
        Kind::EndpointSlice => {
            let name = object.label("kubernetes.io/service-name");
            service(sim, &Key::new(&key.ns, name));
        }
        Kind::Service => {
            service(sim, &key);
            if touch.verb != Verb::Modified {
                all_in(sim, Kind::HttpRoute, Some(&key.ns));
            }
        }
        Kind::Deployment => {
            if let Some(name) = key.name.strip_suffix(monitoring::COLLECTOR_SUFFIX) {
                look(sim, Kind::OpenTelemetryCollector, Key::new(&key.ns, name));
            }
        }
        Kind::StatefulSet => {
            if let Some(name) = key.name.strip_prefix("prometheus-") {
                look(sim, Kind::Prometheus, Key::new(&key.ns, name));
            }
        }
        Kind::GatewayClass | Kind::Secret => all_in(sim, Kind::Gateway, None),
        Kind::Gateway => all_in(sim, Kind::HttpRoute, None),
        Kind::NetworkPolicy => reach::policies_changed(sim, &key.ns),
        _ => {}
    }
}

fn look(sim: &mut Simulation, kind: Kind, key: Key) {
    sim.queue.push(sim.now + super::REACTION, Task::Reconcile(kind, key));
}

fn all_in(sim: &mut Simulation, kind: Kind, ns: Option<&str>) {
    some_in(sim, kind, ns, |_| true);
}

fn some_in(sim: &mut Simulation, kind: Kind, ns: Option<&str>, wanted: impl Fn(&Value) -> bool) {
    let keys = sim.store.list(kind, ns).filter(|(_, o): &(&Key, &Arc<Value>)| wanted(o));
    let keys: Vec<Key> = keys.map(|(key, _)| key.clone()).collect();
    for key in keys {
        look(sim, kind, key);
    }
}

fn pod(sim: &mut Simulation, verb: Verb, key: &Key, pod: &Value) {
    let (ns, labels) = (Some(key.ns.as_str()), pod.at("metadata/labels"));
    some_in(sim, Kind::Service, ns, |service| {
        endpoints::selects(service.at("spec/selector"), labels)
    });
    some_in(sim, Kind::PodDisruptionBudget, ns, |budget| budgets::covers(budget, pod));
    if verb != Verb::Modified || super::pods::finished(pod) {
        all_in(sim, Kind::ResourceQuota, ns);
    }
    leases::pod_changed(sim, key, pod.label("app"));
}

/// A Service or its endpoints changed: what leads to it, and what is served by it.
fn service(sim: &mut Simulation, key: &Key) {
    some_in(sim, Kind::ApiService, None, |api| apiservices::backend(api).as_ref() == Some(key));
    if *key == ingress::service() {
        all_in(sim, Kind::Ingress, None);
    }
    if *key == gateway::service() {
        for kind in [Kind::GatewayClass, Kind::Gateway, Kind::HttpRoute] {
            all_in(sim, kind, None);
        }
    }
}
