//! World → readings and findings. One file per layer, each a table of its signals; this one lists the layers.

mod compute;
mod conditions;
#[cfg(test)]
mod fixtures;
mod gitops;
mod networking;
mod observability;
mod queries;
mod schedule;
mod security;
mod storage;
mod switches;
mod tooling;

use crate::model::signal::{LayerSignals, Signal};

/// The layers whose signals are declared.
pub static ALL: &[&LayerSignals] = &[
    &storage::LAYER,
    &compute::LAYER,
    &networking::LAYER,
    &observability::LAYER,
    &security::LAYER,
    &tooling::LAYER,
    &gitops::LAYER,
];

/// Every signal, in the order of the catalogue.
pub fn signals() -> impl Iterator<Item = &'static Signal> {
    ALL.iter()
        .flat_map(|layer| layer.signals.iter().copied())
        .chain(queries::SIGNALS.iter().copied())
}
