//! Does the cluster follow Git? Argo CD and Flux, and what they change.

mod argo;
mod changes;
mod controlplane;
mod corrections;
mod fights;
mod flux;
mod mass;
mod operations;
mod suspended;
mod windows;

use crate::model::layer::Layer;
use crate::model::record::Object;
use crate::model::signal::{LayerSignals, Observation};
use crate::model::tally::Tallies;

/// The GitOps layer.
pub(super) static LAYER: LayerSignals = LayerSignals {
    layer: Layer::Gitops,
    signals: &[
        &argo::OUT_OF_SYNC,
        &argo::OUT_OF_SYNC_RESOURCES,
        &argo::UNHEALTHY,
        &operations::FAILED,
        &operations::SECONDS,
        &argo::CONDITION,
        &corrections::ARGO,
        &argo::STALE,
        &argo::NOT_RECONCILED,
        &controlplane::DOWN,
        &controlplane::APPLICATION_SET,
        &controlplane::PROJECT,
        &flux::NOT_READY,
        &flux::STALLED,
        &changes::LAG,
        &changes::TIME_TO_APPLY,
        &flux::OVERDUE,
        &suspended::SUSPENDED,
        &operations::REMEDIATIONS,
        &operations::REMEDIATING,
        &corrections::FLUX,
        &corrections::DRIFTED,
        &fights::FIGHT,
        &mass::REMOVED,
        &mass::PRUNING,
        &changes::CHANGES,
        &flux::NOTIFICATION,
    ],
    observe,
    lasted: |_| Vec::new(),
};

fn observe(o: &Observation<'_>, tallies: &mut Tallies) {
    match o.object {
        Object::Resource(resource) => {
            changes::observe(o, resource, tallies);
            corrections::observe(o, resource, tallies);
            operations::observe(resource, tallies);
            mass::observe(o, resource, tallies);
        }
        Object::Event(event) => corrections::observe_event(o, event, tallies),
        _ => {}
    }
}
