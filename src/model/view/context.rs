//! What is meant to look unhealthy? Maintenance, scale-down and rollouts, told apart from faults.

use super::View;
use crate::model::kind::Kind;
use crate::model::record::{Node, Status, Strategy, Workload};

/// Why a node is being taken out of service on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum NodeContext {
    Cordoned,
    ScaleDown,
    Disrupted,
    OutOfService,
    Maintenance,
    Deleting,
}

/// Condition types by which administrators announce work on a node (Kubernetes 1.37, gate NodeLifecycleConditions).
const MAINTENANCE: [&str; 5] = [
    "DrainInProgress",
    "Drained",
    "MaintenancePlanned",
    "MaintenanceInProgress",
    "GracefulNodeShutdownInProgress",
];

impl View<'_> {
    /// Whether a node is being taken out of service on purpose, and how that is known.
    #[must_use]
    pub fn node_context(&self, node: &Node) -> Option<NodeContext> {
        let announced = |kind| node.condition(kind).is_some_and(|c| c.status == Status::True);
        if node.meta.deleting.is_some() {
            Some(NodeContext::Deleting)
        } else if node.tainted("ToBeDeletedByClusterAutoscaler") {
            Some(NodeContext::ScaleDown)
        } else if node.tainted("karpenter.sh/disrupted") {
            Some(NodeContext::Disrupted)
        } else if node.tainted("node.kubernetes.io/out-of-service") {
            Some(NodeContext::OutOfService)
        } else if MAINTENANCE.into_iter().any(announced) {
            Some(NodeContext::Maintenance)
        } else if node.unschedulable {
            Some(NodeContext::Cordoned)
        } else {
            None
        }
    }

    /// Whether pods are meant to run on a node and can.
    #[must_use]
    pub fn works(&self, node: &Node) -> bool {
        node.condition("Ready").is_some_and(|c| c.status == Status::True)
            && matches!(self.node_context(node), None | Some(NodeContext::Cordoned))
    }

    /// Whether a workload is replacing its pods: a new spec not yet observed, or old pods still to be replaced.
    /// Restarts, endpoint churn and slow starts of a workload in a rollout are expected.
    #[must_use]
    pub fn in_rollout(&self, workload: &Workload) -> bool {
        let replacing = match workload.kind {
            // It never replaces a pod, and counts none as updated.
            Kind::ReplicaSet => false,
            Kind::StatefulSet => {
                workload.revisions_differ
                    && workload.updated < workload.desired.saturating_sub(workload.partition)
            }
            _ => workload.updated < workload.desired || workload.current > workload.desired,
        };
        !workload.observed() || (replacing && workload.strategy != Strategy::OnDelete)
    }
}
