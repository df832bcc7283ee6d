//! Which runbook helps with a signal? One for each family of signals that go wrong together.

use std::fmt::Write;

use crate::layers;
use crate::model::layer::Layer;
use crate::model::signal::{Read, Signal};

/// Signals of one runbook: its file in `docs/runbooks` without the end, and the names of the signals.
type Family = (&'static str, &'static [&'static str]);

/// The runbook of what is unusual and has none of its own.
const UNUSUAL: &str = "KubestrataAnomalyWarning";

const FAMILIES: &[Family] = &[
    (
        "storage-claims",
        &[
            "storage_pvc_pending_abnormal",
            "storage_pvc_lost",
            "storage_class_sanity",
            "storage_capacity_low",
            "storage_resize_or_modify_stuck",
            "storage_provisioning_failures_total",
            "storage_pvc_time_to_bound_seconds",
            "storage_capacity_bytes",
        ],
    ),
    (
        "storage-volumes",
        &[
            "storage_pv_unhealthy",
            "storage_volume_health",
            "storage_pv_zone_unschedulable",
            "storage_pv_retained_bytes",
        ],
    ),
    (
        "storage-attach-and-mount",
        &[
            "storage_attach_error",
            "storage_mount_failing",
            "storage_detach_blocked",
            "storage_volume_limit_reached",
            "storage_attach_failures_total",
            "storage_attach_seconds",
            "storage_mount_failures_total",
            "storage_volume_limit_headroom_ratio",
        ],
    ),
    (
        "storage-drivers",
        &[
            "storage_csi_driver_unregistered",
            "storage_csi_controller_lease_stale",
            "storage_csi_node_coverage_ratio",
            "storage_csi_operation_errors_ratio",
        ],
    ),
    (
        "storage-full-volumes",
        &["storage_volume_full", "storage_volume_used_ratio", "storage_mounted_volume_used_ratio"],
    ),
    ("storage-snapshots", &["storage_snapshot_unhealthy"]),
    ("storage-deletion", &["storage_delete_stuck"]),
    (
        "compute-crashing",
        &[
            "compute_crashloop",
            "compute_oom_killed_again",
            "compute_container_restarts_total",
            "compute_oom_kills_total",
        ],
    ),
    (
        "compute-containers-not-starting",
        &["compute_container_waiting", "compute_image_pull_failures_total"],
    ),
    (
        "compute-scheduling",
        &["compute_unschedulable_pods", "compute_node_supply", "compute_scheduler_pending_pods"],
    ),
    (
        "compute-workloads",
        &[
            "compute_workload_unavailable",
            "compute_rollout_stalled",
            "compute_pods_unready",
            "compute_workloads_degraded",
            "compute_probe_failures_total",
            "compute_probe_failed_ratio",
        ],
    ),
    (
        "compute-nodes",
        &[
            "compute_node_not_ready",
            "compute_zone_not_ready",
            "compute_node_condition",
            "compute_node_trouble",
            "compute_node_heartbeat_late",
            "compute_node_evicting",
            "compute_evictions_total",
            "compute_node_ready_flaps_total",
        ],
    ),
    ("compute-creation", &["compute_create_failures", "compute_quota_used_ratio"]),
    ("compute-autoscaling", &["compute_hpa_unhealthy", "compute_hpa_rescales_total"]),
    ("compute-disruption-budgets", &["compute_pdb_blocking"]),
    ("compute-jobs", &["compute_job_failed", "compute_cronjob_overdue"]),
    ("compute-terminating", &["compute_pod_terminating_overdue"]),
    (
        "networking-services",
        &[
            "networking_service_not_serving",
            "networking_selector_orphan",
            "networking_endpoint_controller_failing",
            "networking_service_ready_ratio",
            "networking_endpoint_flaps_total",
        ],
    ),
    (
        "networking-load-balancers",
        &[
            "networking_loadbalancer_pending",
            "networking_ingress_backend_broken",
            "networking_ingress_no_address",
            "networking_gateway_not_programmed",
            "networking_gatewayclass_not_accepted",
            "networking_route_unresolved",
            "networking_backendtlspolicy_invalid",
            "networking_ingress_errors_ratio",
            "networking_ingress_latency_seconds",
        ],
    ),
    (
        "networking-dns",
        &[
            "networking_dns_degraded",
            "networking_dns_config",
            "networking_dns_ready_endpoints",
            "networking_dns_errors_ratio",
            "networking_dns_latency_seconds",
        ],
    ),
    (
        "networking-pod-network",
        &[
            "networking_sandbox_blocked",
            "networking_cni_node_down",
            "networking_tigerastatus_unhealthy",
            "networking_dataplane_uncovered",
            "networking_node_cidr_missing",
            "networking_sandbox_failures_total",
            "networking_dataplane_coverage_ratio",
        ],
    ),
    (
        "networking-addresses",
        &[
            "networking_addresses_low",
            "networking_service_allocation_broken",
            "networking_servicecidr_not_ready",
            "networking_clusterip_used_ratio",
            "networking_nodeport_used_ratio",
        ],
    ),
    ("networking-policies", &["networking_policy_orphan"]),
    ("networking-api-servers", &["networking_apiserver_lost", "networking_apiserver_endpoints"]),
    ("networking-multicluster", &["networking_multicluster_export_failed"]),
    (
        "observability-monitoring",
        &[
            "observability_monitor_without_targets",
            "observability_monitor_not_selected",
            "observability_prometheus_stack_unhealthy",
            "observability_alerts_removed",
            "observability_targets_down_ratio",
        ],
    ),
    (
        "observability-logs-and-traces",
        &[
            "observability_log_agent_uncovered",
            "observability_loki_unhealthy",
            "observability_collector_unhealthy",
            "observability_injection_gap",
            "observability_log_agent_coverage_ratio",
        ],
    ),
    (
        "observability-control-plane",
        &[
            "observability_apiserver_check_failed",
            "observability_etcd_nearly_full",
            "observability_leader_lease_stale",
            "observability_etcd_size_ratio",
            "observability_apiserver_errors_total",
        ],
    ),
    (
        "observability-aggregated-apis",
        &[
            "observability_apiservice_unavailable",
            "observability_custom_metrics_missing",
            "observability_node_metrics_missing",
        ],
    ),
    ("observability-kubestrata", &["observability_kubestrata_blind"]),
    (
        "security-webhooks",
        &[
            "security_webhook_backend_down",
            "security_webhook_calls_failing",
            "security_admission_policy_unhealthy",
            "security_webhook_errors_total",
            "security_webhook_fail_open_total",
        ],
    ),
    (
        "security-policy-engines",
        &[
            "security_kyverno_policy_not_ready",
            "security_kyverno_engine",
            "security_policy_report_errors",
            "security_gatekeeper_unhealthy",
        ],
    ),
    ("security-access", &["security_rbac_binding_risk", "security_rbac_powerful_subjects"]),
    ("security-images", &["security_exposed_secrets", "security_scan_stale"]),
    (
        "security-certificates",
        &[
            "security_certificate_unhealthy",
            "security_issuer_not_ready",
            "security_issuance_stuck",
            "security_pod_certificate_late",
            "security_csr_unhealthy",
        ],
    ),
    ("security-secrets", &["security_secret_sync_failed"]),
    ("security-deprecated-apis", &["security_deprecated_api_used"]),
    (
        "tooling-helm",
        &[
            "tooling_helm_release_unhealthy",
            "tooling_helm_history_bloated",
            "tooling_hook_failed",
            "tooling_hook_failures_total",
        ],
    ),
    (
        "tooling-ownership",
        &[
            "tooling_release_object_orphaned",
            "tooling_manual_change",
            "tooling_reconcile_alternations_total",
        ],
    ),
    ("tooling-configuration", &["tooling_config_reference_broken"]),
    ("tooling-crds", &["tooling_crd_unhealthy", "tooling_crd_deletions_total"]),
    ("tooling-forgotten", &["tooling_forgotten_state"]),
    (
        "gitops-argo",
        &[
            "gitops_argo_out_of_sync",
            "gitops_argo_unhealthy",
            "gitops_argo_operation_failed",
            "gitops_argo_condition",
            "gitops_argo_not_reconciled",
            "gitops_applicationset_error",
            "gitops_project_violation",
        ],
    ),
    (
        "gitops-flux",
        &[
            "gitops_flux_not_ready",
            "gitops_flux_stalled",
            "gitops_flux_revision_lag",
            "gitops_flux_reconcile_overdue",
            "gitops_helmrelease_failed",
            "gitops_notification_not_ready",
        ],
    ),
    ("gitops-controllers", &["gitops_controller_down"]),
    (
        "gitops-drift",
        &[
            "gitops_helmrelease_drifted",
            "gitops_drift_fight",
            "gitops_mass_change",
            "gitops_argo_corrections_total",
            "gitops_flux_corrections_total",
        ],
    ),
];

/// The families: the runbook of each, and its signals.
#[must_use]
pub const fn families() -> &'static [(&'static str, &'static [&'static str])] {
    FAMILIES
}

/// The runbook of a signal; that of its family, else the one for what is unusual.
#[must_use]
pub fn runbook(signal: &Signal) -> &'static str {
    let of = FAMILIES.iter().find(|(_, signals)| signals.contains(&signal.name));
    of.map_or(UNUSUAL, |(file, _)| file)
}

/// `docs/runbooks/README.md`: for each alert and each signal that is told the page that helps.
#[must_use]
pub fn runbooks_markdown() -> String {
    let mut page = String::from(
        "<!-- Generated from src/catalog/families.rs by tests/generated.rs. Do not edit. -->\n\
         # Runbooks\n\n\
         Each says what it means, what it does to users, how to find the cause, and what to do.\n\
         Begin with the lowest layer that is unhealthy: storage, compute, networking, then the rest.\n\
         Commands use the variables that the alert's labels and kubestrata's page fill: `NAMESPACE`, `WORKLOAD`, `POD`, `NODE`;\n\
         `KUBESTRATA_NAMESPACE` is where kubestrata runs.\n\n\
         ## Alerts\n\n| alert | severity | means |\n|---|---|---|\n",
    );
    for alert in super::alerts() {
        let _ = writeln!(
            page,
            "| [{0}]({0}.md) | {1} | {2} |",
            alert.name, alert.severity, alert.summary
        );
    }
    for layer in Layer::ALL {
        let _ = write!(page, "\n## {layer}\n\n| signal | tells | runbook |\n|---|---|---|\n");
        for signal in layers::signals().filter(|s| s.layer == layer && is_told(s)) {
            let (name, file) = (signal.name, runbook(signal));
            let tells = if matches!(signal.read, Read::Rule(_)) { "findings" } else { "anomalies" };
            let _ =
                writeln!(page, "| <a id=\"{name}\"></a>`{name}` | {tells} | [{file}]({file}.md) |");
        }
    }
    page
}

/// Whether a signal can open a finding or an anomaly.
fn is_told(signal: &Signal) -> bool {
    matches!(signal.read, Read::Rule(_)) || signal.profile.family().is_some()
}
