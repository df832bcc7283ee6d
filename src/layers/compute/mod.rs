//! Do workloads run, stay up and have somewhere to run?

mod autoscaling;
mod budgets;
mod capacity;
mod creation;
mod evictions;
#[cfg(test)]
mod fixtures;
mod group;
mod heartbeats;
mod jobs;
mod kubelets;
mod memory;
mod nodes;
mod probes;
mod pulls;
mod quotas;
mod restarts;
mod rollouts;
mod scheduling;
mod startup;
mod terminating;
mod troubles;
mod waiting;
mod zones;

use crate::model::layer::Layer;
use crate::model::record::Object;
use crate::model::signal::{LayerSignals, Observation};
use crate::model::tally::Tallies;

/// The compute layer.
pub(super) static LAYER: LayerSignals = LayerSignals {
    layer: Layer::Compute,
    signals: &[
        &rollouts::AVAILABLE,
        &rollouts::UNAVAILABLE,
        &rollouts::DEGRADED,
        &rollouts::STALLED,
        &rollouts::ACTIVE,
        &restarts::RESTARTS,
        &restarts::CRASHLOOP,
        &restarts::OOM_KILLS,
        &memory::KILLED_AGAIN,
        &waiting::WAITING,
        &pulls::FAILURES,
        &scheduling::UNSCHEDULABLE,
        &startup::TIME_TO_READY,
        &startup::STARTUP,
        &probes::FAILURES,
        &probes::UNREADY,
        &kubelets::PROBES,
        &kubelets::FAILED,
        &evictions::EVICTIONS,
        &evictions::MOVED,
        &evictions::NODE_EVICTING,
        &nodes::NOT_READY,
        &nodes::READY_FLAPS,
        &zones::NOT_READY,
        &nodes::CONDITION,
        &troubles::TROUBLE,
        &heartbeats::AGE,
        &heartbeats::LATE,
        &creation::FAILURES,
        &quotas::USED,
        &autoscaling::HPA,
        &autoscaling::REVERSALS,
        &budgets::BLOCKING,
        &jobs::FAILED,
        &jobs::OVERDUE,
        &terminating::OVERDUE,
        &capacity::REQUESTED,
        &capacity::BLIND,
        &autoscaling::NODES,
    ],
    observe,
    lasted: |_| Vec::new(),
};

fn observe(o: &Observation<'_>, tallies: &mut Tallies) {
    match o.object {
        Object::Pod(pod) => {
            restarts::observe(o, pod, tallies);
            startup::observe(o, pod, tallies);
            evictions::observe(o, pod, tallies);
            probes::observe_pod(o, pod, tallies);
        }
        Object::Node(node) => nodes::observe(o, node, tallies),
        Object::Event(event) => {
            probes::observe(o, event, tallies);
            pulls::observe(event, tallies);
        }
        other => {
            if let Some(hpa) = autoscaling::autoscaler(other) {
                autoscaling::observe(o, hpa, tallies);
            }
            if let Some(scrape) = kubelets::kubelet(other) {
                kubelets::observe(o, scrape, tallies);
            }
        }
    }
}
