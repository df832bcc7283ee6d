//! Are the rules enforced, the keys valid and the doors shut?

mod webhooks;

use crate::model::layer::Layer;
use crate::model::signal::{LayerSignals, Observation};
use crate::model::tally::Tallies;

/// The security layer.
pub(super) static LAYER: LayerSignals = LayerSignals {
    layer: Layer::Security,
    signals: &[&webhooks::DOWN],
    observe,
};

fn observe(_: &Observation<'_>, _: &mut Tallies) {}
