//! Do the servers of aggregated APIs answer? As kube-aggregator's availability controller finds
//! (`pkg/controllers/status/remote`).

use serde_json::Value;

use super::endpoints;
use crate::sim::fields::{Condition, Fields, holds, set_condition};
use crate::sim::kind::Kind;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

/// The resource metrics API.
pub(crate) const METRICS: &str = "v1beta1.metrics.k8s.io";

/// Whether an aggregated API is available.
pub(crate) fn answers(sim: &Simulation, api: &str) -> bool {
    sim.store.get(Kind::ApiService, &Key::cluster(api)).is_some_and(|api| holds(api, "Available"))
}

/// The Service behind an API, if it is not the API server's own.
pub(super) fn backend(api: &Value) -> Option<Key> {
    let service = api.at("spec/service")?;
    Some(Key::new(service.text("namespace"), service.text("name")))
}

/// Writes whether the API is available.
pub(crate) fn reconcile(sim: &mut Simulation, key: &Key) {
    let Some(api) = sim.store.get(Kind::ApiService, key).cloned() else { return };
    let (status, reason, message) = match backend(&api) {
        None => ("True", "Local", "Local APIServices are always available".to_owned()),
        Some(service) => judge(sim, &service),
    };
    let now = sim.stamp();
    let wanted = Condition { kind: "Available", status, reason, message: &message };
    sim.store.update(Kind::ApiService, key, |api| {
        set_condition(api, wanted, &now, &[]);
    });
}

fn judge(sim: &Simulation, service: &Key) -> (&'static str, &'static str, String) {
    let (ns, name) = (&service.ns, &service.name);
    if sim.store.get(Kind::Service, service).is_none() {
        let text = format!("service/{name} in {ns:?} is not present");
        return ("False", "ServiceNotFound", text);
    }
    if endpoints::ready(sim, service) == 0 {
        let text = format!(
            "endpoints for service/{name} in {ns:?} have no addresses with port name \"https\""
        );
        return ("False", "MissingEndpoints", text);
    }
    ("True", "Passed", "all checks passed".to_owned())
}
