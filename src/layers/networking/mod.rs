//! Does traffic reach the pods that it is meant for?

mod balancers;
mod churn;
mod cni;
mod dataplane;
mod dns;
mod gateways;
mod ingresses;
mod routes;
mod sandboxes;
mod selectors;
mod services;
mod topology;

use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Meta, Object, Time};
use crate::model::signal::{LayerSignals, Observation};
use crate::model::tally::Tallies;

/// The networking layer.
pub(super) static LAYER: LayerSignals = LayerSignals {
    layer: Layer::Networking,
    signals: &[
        &services::NOT_SERVING,
        &services::READY,
        &churn::FLAPS,
        &selectors::ORPHAN,
        &topology::ZONE_SHARE,
        &topology::LOCAL_NODES,
        &balancers::PENDING,
        &balancers::ADDRESS_SECONDS,
        &balancers::LOST,
        &ingresses::BROKEN,
        &ingresses::NO_ADDRESS,
        &ingresses::LOST,
        &gateways::NOT_PROGRAMMED,
        &gateways::CLASS,
        &routes::UNRESOLVED,
        &routes::BACKEND_TLS,
        &dns::DEGRADED,
        &dns::READY,
        &dns::CONFIG,
        &sandboxes::FAILURES,
        &sandboxes::BLOCKED,
        &cni::NODE_DOWN,
        &cni::TIGERA,
        &dataplane::COVERAGE,
        &dataplane::UNCOVERED,
    ],
    observe,
};

fn observe(o: &Observation<'_>, tallies: &mut Tallies) {
    match o.object {
        Object::Slice(slice) => churn::observe(o, slice, tallies),
        Object::Event(event) => sandboxes::observe(o, event, tallies),
        Object::Resource(resource) => match resource.kind {
            Kind::Service => balancers::observe(o, resource, tallies),
            Kind::Ingress => ingresses::observe(o, resource, tallies),
            _ => {}
        },
        _ => {}
    }
}

/// When the spec was last written, as far as the object says: what it asks for cannot be late before.
fn written(meta: &Meta) -> Time {
    meta.managers.iter().filter_map(|m| m.at).fold(meta.created, Time::max)
}
