//! Can workloads get their volumes, reach them and keep them?

mod attachments;
mod drivers;
mod faults;
#[cfg(test)]
mod fixtures;
mod lost;
mod mounts;
mod pending;
mod provisioning;
mod volumes;

use crate::model::layer::Layer;
use crate::model::record::Object;
use crate::model::signal::{LayerSignals, Observation};
use crate::model::tally::Tallies;

/// The storage layer.
pub(super) static LAYER: LayerSignals = LayerSignals {
    layer: Layer::Storage,
    signals: &[
        &pending::PENDING,
        &provisioning::TIME_TO_BOUND,
        &lost::LOST,
        &provisioning::FAILURES,
        &volumes::UNHEALTHY,
        &volumes::RETAINED,
        &volumes::RETAINED_BYTES,
        &attachments::ERROR,
        &attachments::FAILURES,
        &attachments::SECONDS,
        &mounts::FAILING,
        &mounts::FAILURES,
    ],
    observe,
};

fn observe(o: &Observation<'_>, tallies: &mut Tallies) {
    match o.object {
        Object::Claim(claim) => provisioning::observe_claim(o, claim, tallies),
        Object::VolumeAttachment(attachment) => attachments::observe(o, attachment, tallies),
        Object::Event(event) => {
            provisioning::observe_event(o, event, tallies);
            mounts::observe(o, event, tallies);
        }
        _ => {}
    }
}
