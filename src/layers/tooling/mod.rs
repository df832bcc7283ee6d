//! Do the tools leave the cluster as they should? Helm, Kustomize, custom resource definitions, and what people change
//! by hand.

mod crds;
mod fights;
mod helm;
mod hygiene;
mod ownership;
mod references;
mod standing;

use crate::model::layer::Layer;
use crate::model::record::Object;
use crate::model::signal::{LayerSignals, Observation};
use crate::model::tally::Tallies;

/// The tooling layer.
pub(super) static LAYER: LayerSignals = LayerSignals {
    layer: Layer::Tooling,
    signals: &[
        &helm::UNHEALTHY,
        &helm::REVISIONS,
        &helm::HISTORY,
        &helm::BLOATED,
        &ownership::DRIFT,
        &ownership::MANAGED,
        &fights::MANUAL,
        &fights::MANUAL_CHANGES,
        &helm::HOOK_FAILED,
        &helm::HOOK_FAILURES,
        &fights::ALTERNATIONS,
        &references::BROKEN,
        &references::UNUSED,
        &crds::UNHEALTHY,
        &crds::OBJECTS_LOST,
        &hygiene::LACKING,
        &standing::FORGOTTEN,
    ],
    observe,
    lasted: |_| Vec::new(),
};

fn observe(o: &Observation<'_>, tallies: &mut Tallies) {
    match o.object {
        Object::Workload(workload) => {
            fights::observe(o, (workload.kind, &workload.meta), tallies);
        }
        Object::Job(job) => helm::observe_job(job, tallies),
        Object::Resource(resource) => {
            helm::observe(resource, tallies);
            crds::observe(o, resource, tallies);
            fights::observe(o, (resource.kind, &resource.meta), tallies);
        }
        _ => {}
    }
}
