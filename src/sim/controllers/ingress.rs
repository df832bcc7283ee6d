//! Which address does an Ingress have? The one of the load balancer before the ingress controller, which writes it
//! while it runs; an Ingress has no conditions.

use serde_json::json;

use super::{balancers, endpoints};
use crate::sim::fields::Fields;
use crate::sim::kind::Kind;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

/// The class that the house's ingress controller serves.
pub(crate) const CLASS: &str = "edge";
/// Its Service; the Deployment of the same name is the controller.
pub(crate) fn service() -> Key {
    Key::new("platform", "ingress")
}

/// Writes the address.
pub(crate) fn reconcile(sim: &mut Simulation, key: &Key) {
    let Some(ingress) = sim.store.get(Kind::Ingress, key) else { return };
    // A controller that does not run leaves everything as it is.
    if ingress.text("spec/ingressClassName") != CLASS || endpoints::ready(sim, &service()) == 0 {
        return;
    }
    let address = balancers::address(sim, &service()).to_owned();
    sim.store.update(Kind::Ingress, key, |ingress| {
        let status =
            if address.is_empty() { json!({}) } else { json!({"ingress": [{"ip": address}]}) };
        ingress.put("status/loadBalancer", status);
    });
}
