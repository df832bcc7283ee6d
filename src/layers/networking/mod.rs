//! Does traffic reach the pods that it is meant for?

mod addresses;
mod apiservers;
mod balancers;
mod churn;
mod cni;
mod dataplane;
mod dns;
mod gateways;
mod ingresses;
mod multicluster;
mod policies;
mod reports;
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
        &addresses::CLUSTER_IPS,
        &addresses::NODE_PORTS,
        &addresses::LOW,
        &addresses::ERRORS,
        &addresses::BROKEN,
        &addresses::NODE_RANGE,
        &addresses::SERVICE_CIDR,
        &policies::SELECTED,
        &policies::DEFAULT_DENY,
        &policies::ORPHAN,
        &policies::CHANGES,
        &reports::FAILING,
        &reports::ERRORS,
        &apiservers::ENDPOINTS,
        &apiservers::LOST,
        &multicluster::EXPORT,
        &multicluster::CLUSTERS,
        &multicluster::READY,
    ],
    observe,
};

fn observe(o: &Observation<'_>, tallies: &mut Tallies) {
    match o.object {
        Object::Slice(slice) => churn::observe(o, slice, tallies),
        Object::Event(event) => {
            sandboxes::observe(o, event, tallies);
            reports::observe(event, tallies);
        }
        Object::Scrape(scrape) if scrape.kind == Kind::ApiServerMetrics => {
            addresses::observe(scrape, tallies);
        }
        Object::Resource(resource) => match resource.kind {
            Kind::Service => balancers::observe(o, resource, tallies),
            Kind::Ingress => ingresses::observe(o, resource, tallies),
            Kind::NetworkPolicy => policies::observe(resource, tallies),
            _ => {}
        },
        _ => {}
    }
}

/// When the spec was last written, as far as the object says: what it asks for cannot be late before.
fn written(meta: &Meta) -> Time {
    meta.managers.iter().filter_map(|m| m.at).fold(meta.created, Time::max)
}
