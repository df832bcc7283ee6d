//! Would anybody notice? The API server itself, the metrics APIs, Prometheus, Loki, OpenTelemetry, and our own sight.

mod apiserver;
mod apiservices;
mod blindness;
mod collectors;
mod coverage;
mod events;
mod injection;
mod leases;
mod stacks;

use crate::model::layer::Layer;
use crate::model::record::Object;
use crate::model::signal::{LayerSignals, Observation};
use crate::model::tally::Tallies;

/// The observability layer.
pub(super) static LAYER: LayerSignals = LayerSignals {
    layer: Layer::Observability,
    signals: &[
        &coverage::TARGETS,
        &coverage::UNSELECTED,
        &coverage::WORKLOADS,
        &stacks::UNHEALTHY,
        &coverage::RULES,
        &collectors::AGENTS,
        &collectors::UNCOVERED,
        &stacks::LOKI,
        &collectors::COLLECTOR,
        &injection::GAP,
        &apiserver::CHECK,
        &apiserver::ERRORS,
        &apiserver::REJECTED,
        &apiserver::ETCD_ERRORS,
        &apiserver::INFLIGHT,
        &apiserver::STORAGE,
        &apiserver::FULL,
        &apiserver::OBJECTS,
        &apiservices::UNAVAILABLE,
        &apiservices::CUSTOM_METRICS,
        &apiservices::FRESHNESS,
        &apiservices::COVERAGE,
        &apiservices::METRICS,
        &events::EVENTS,
        &leases::STALE,
        &leases::TRANSITIONS,
        &blindness::BLIND,
    ],
    observe,
};

fn observe(o: &Observation<'_>, tallies: &mut Tallies) {
    match o.object {
        Object::Event(event) => events::observe(event, tallies),
        Object::Scrape(scrape) => apiserver::observe(scrape, tallies),
        Object::Resource(resource) => leases::observe(resource, tallies),
        _ => {}
    }
}
