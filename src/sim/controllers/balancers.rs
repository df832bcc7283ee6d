//! Has a Service of type LoadBalancer its address? As the cloud's service controller sees to it
//! (`k8s.io/cloud-provider/controllers/service`): events, finalizer, and retries from 5 s to 5 min.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Task;
use crate::sim::fields::{Fields, deleting};
use crate::sim::kind::Kind;
use crate::sim::moment::{MINUTE, Moment, SECOND};
use crate::sim::recorder::Actor;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

const COMPONENT: &str = "service-controller";
const FINALIZER: &str = "service.kubernetes.io/load-balancer-cleanup";
/// `minRetryDelay`, `maxRetryDelay`.
const FIRST_WAIT: Moment = 5 * SECOND;
const LONGEST_WAIT: Moment = 5 * MINUTE;
/// How long a cloud takes to make a load balancer, typically.
const MADE_IN: Moment = 50 * SECOND;

/// Load balancers that are being made.
#[derive(Debug, Default)]
pub(crate) struct Balancers {
    making: BTreeMap<Key, Making>,
}

#[derive(Debug)]
struct Making {
    due: Moment,
    failures: u32,
}

/// The address of a Service's load balancer, empty while it has none.
pub(crate) fn address<'a>(sim: &'a Simulation, service: &Key) -> &'a str {
    let found = sim.store.get(Kind::Service, service);
    found.map_or("", |s| s.text("status/loadBalancer/ingress/0/ip"))
}

/// Makes the load balancer of a Service that has none.
pub(crate) fn reconcile(sim: &mut Simulation, key: &Key) {
    let Some(service) = sim.store.get(Kind::Service, key).cloned() else {
        sim.memories.balancers.making.remove(key);
        return;
    };
    let wanted = service.text("spec/type") == "LoadBalancer" && !deleting(&service);
    if !wanted || !address(sim, key).is_empty() {
        sim.memories.balancers.making.remove(key);
        return;
    }
    let by = || Actor::controller(COMPONENT);
    let Some(making) = sim.memories.balancers.making.get(key) else {
        sim.store.update(Kind::Service, key, |s| s.put("metadata/finalizers", json!([FINALIZER])));
        sim.normal(&service, by(), "EnsuringLoadBalancer", "Ensuring load balancer".to_owned());
        let thing = format!("{}/{}", service.text("metadata/uid"), sim.now);
        let took = sim.chance.of("balancer", &thing).log_normal(MADE_IN, 0.4);
        // A refusal comes at once, a load balancer does not.
        let took = if sim.surroundings.balancer_error.is_some() { SECOND } else { took };
        plan(sim, key, took, 0);
        return;
    };
    let (due, failures) = (making.due, making.failures);
    if due > sim.now {
        sim.queue.push(due, Task::Reconcile(Kind::Service, key.clone()));
    } else if let Some(error) = sim.surroundings.balancer_error.clone() {
        let text = format!("Error syncing load balancer: failed to ensure load balancer: {error}");
        sim.warning(&service, by(), "SyncLoadBalancerFailed", text);
        plan(sim, key, (FIRST_WAIT << failures.min(10)).min(LONGEST_WAIT), failures + 1);
    } else {
        sim.memories.balancers.making.remove(key);
        let address = new_address(sim, &service);
        sim.store.update(Kind::Service, key, |s| {
            s.put("status/loadBalancer/ingress", json!([{"ip": address, "ipMode": "VIP"}]));
        });
        sim.normal(&service, by(), "EnsuredLoadBalancer", "Ensured load balancer".to_owned());
    }
}

fn plan(sim: &mut Simulation, key: &Key, wait: Moment, failures: u32) {
    let due = sim.now + wait;
    sim.memories.balancers.making.insert(key.clone(), Making { due, failures });
    sim.queue.push(due, Task::Reconcile(Kind::Service, key.clone()));
}

/// 203.0.113.0/24 is reserved for documentation (RFC 5737).
fn new_address(sim: &Simulation, service: &Value) -> String {
    let bits = sim.chance.of("balancer-address", service.text("metadata/uid")).bits();
    format!("203.0.113.{}", 1 + bits % 254)
}

/// The cloud takes a load balancer away.
pub(crate) fn lose(sim: &mut Simulation, key: &Key) {
    sim.store.update(Kind::Service, key, |s| s.put("status/loadBalancer", json!({})));
}

/// The cloud answers again: everything that waits for it is tried at once.
pub(crate) fn retry(sim: &mut Simulation) {
    let keys: Vec<_> = sim.memories.balancers.making.keys().cloned().collect();
    for key in keys {
        plan(sim, &key, 2 * SECOND, 0);
    }
}
