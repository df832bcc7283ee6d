//! What only looks wrong? Ordinary work on a cluster, of which nobody wants to be told.

mod deeds;
mod nodes;
mod objects;
mod workloads;

use super::{Class, Fault, FaultKind};
use crate::sim::simulation::Simulation;

pub(super) fn all() -> impl Iterator<Item = &'static FaultKind> {
    [workloads::DISTURBANCES, nodes::DISTURBANCES, objects::DISTURBANCES].into_iter().flatten()
}

type Parameters = &'static [(&'static str, &'static str)];
type Deed = fn(&mut Simulation, &Fault);

/// A disturbance of which nothing may be told: its layer and name, what happens, to what, for how many seconds.
const fn quiet(
    (layer, name): (&'static str, &'static str),
    (summary, root): (&'static str, &'static str),
    lasts: u32,
    parameters: Parameters,
    begin: Deed,
    end: Deed,
) -> FaultKind {
    FaultKind {
        name,
        layer,
        class: Class::Healthy,
        summary,
        root,
        tells: &[],
        follows: &[],
        within: 0,
        lasts,
        parameters,
        begin,
        end,
    }
}

/// What was done stays.
const STAYS: Deed = |_, _| {};
