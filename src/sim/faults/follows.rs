//! What usually comes together when something goes wrong? Groups of signals that the records of faults share.

/// Groups of signals that may speak because of a fault.
pub(super) type Follows = &'static [&'static [&'static str]];

/// A workload has fewer pods than it should.
pub(super) const SHORT: &[&str] = &[
    "compute_workload_available_ratio",
    "compute_workload_unavailable",
    "compute_workloads_degraded",
];

/// Pods that run are not ready, and their workload lacks them.
pub(super) const UNREADY: &[&str] = &[
    "compute_pods_unready",
    "compute_workload_available_ratio",
    "compute_workload_unavailable",
    "compute_workloads_degraded",
];

/// Pods come to be.
pub(super) const STARTING: &[&str] =
    &["compute_pod_startup_seconds", "compute_time_to_ready_seconds"];

/// Containers end, and are started again.
pub(super) const RESTARTING: &[&str] =
    &["compute_container_restarts_total", "compute_container_waiting"];

/// They end again and again.
pub(super) const CRASHING: &[&str] =
    &["compute_container_restarts_total", "compute_container_waiting", "compute_crashloop"];

/// Pods come and go behind a Service.
pub(super) const FLAPPING: &[&str] =
    &["networking_endpoint_flaps_total", "networking_service_ready_ratio"];

/// So many go that nobody is left.
pub(super) const CUT_OFF: &[&str] = &[
    "networking_endpoint_flaps_total",
    "networking_service_not_serving",
    "networking_service_ready_ratio",
];

/// What leads to a Service leads nowhere.
pub(super) const LED_NOWHERE: &[&str] =
    &["networking_ingress_backend_broken", "networking_route_unresolved"];

/// Who delivers a workload sees that it is not well.
pub(super) const UNDELIVERED: &[&str] = &["gitops_argo_unhealthy", "gitops_flux_not_ready"];
