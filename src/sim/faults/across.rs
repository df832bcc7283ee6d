//! What goes wrong in one layer and shows in another, or in several at once?

use super::follows::{CUT_OFF, LED_NOWHERE, UNREADY};
use super::means::{key, release};
use super::{Class, FaultKind};
use crate::sim::controllers::{nodes, pods};
use crate::sim::fields::Fields;
use crate::sim::kind::Kind;
use crate::sim::script;
use crate::sim::store::Key;

pub(super) static FAULTS: &[FaultKind] = &[
    FaultKind {
        name: "registry-credentials-expired",
        layer: "security",
        class: Class::Moderate,
        summary: "registry {host} wants new credentials, store {store} cannot bring them, {deployment} is released",
        root: "SecretStore {store}",
        tells: &[
            "security_secret_sync_failed",
            "compute_container_waiting",
            "compute_image_pull_failures_total",
        ],
        follows: &[
            UNREADY,
            &["compute_rollout_active", "compute_rollout_stalled", "gitops_argo_unhealthy"],
        ],
        within: 600,
        lasts: 1_200,
        parameters: &[
            ("store", "payments/vault"),
            ("error", "Code: 403. Errors: * permission denied"),
            ("host", "registry.example"),
            ("deployment", "payments/fraud-scoring"),
        ],
        begin: |sim, fault| {
            super::security::close(sim, fault);
            let host = fault.parameter("host").to_owned();
            sim.outside.rotated.insert(host, sim.now);
            release(sim, fault.parameter("deployment"));
        },
        end: super::security::open,
    },
    FaultKind {
        name: "dead-node-keeps-volume",
        layer: "compute",
        class: Class::Obvious,
        summary: "the node of {pod} is lost, and the pod is deleted by force: its volume stays there for six minutes",
        root: "Pod {pod}",
        tells: &["compute_node_not_ready", "compute_node_heartbeat_late", "storage_detach_blocked"],
        follows: &[
            UNREADY,
            CUT_OFF,
            LED_NOWHERE,
            &[
                "compute_evictions_total",
                "compute_hpa_unhealthy",
                "compute_pdb_blocking",
                "compute_node_evicting",
                "compute_node_heartbeat_age_seconds",
                "compute_node_ready_flaps_total",
                "compute_pod_terminating_overdue",
                "compute_rollout_active",
                "compute_unschedulable_pods",
                "gitops_argo_condition",
                "gitops_argo_unhealthy",
                "gitops_controller_down",
                "networking_dns_degraded",
                "observability_apiservice_unavailable",
                "observability_collector_unhealthy",
                "observability_leader_lease_stale",
                "observability_leader_transitions_total",
                "observability_monitor_without_targets",
                "observability_prometheus_stack_unhealthy",
                "networking_dataplane_uncovered",
                "storage_attach_error",
                "storage_mount_failing",
                "storage_mount_failures_total",
            ],
        ],
        within: 240,
        lasts: 900,
        parameters: &[("pod", "shop/sessions-0")],
        begin: |sim, fault| {
            let pod = key(fault.parameter("pod"));
            let Some(found) = sim.store.get(Kind::Pod, &pod).cloned() else { return };
            let node = Key::cluster(found.text("spec/nodeName"));
            let Some(held) = sim.store.get(Kind::Node, &node).map(|n| (**n).clone()) else {
                return;
            };
            sim.script.before.insert((Kind::Node, node.clone()), held);
            nodes::lose(sim, &node);
            script::later(sim, 60_000, fault, |sim, fault| {
                let pod = key(fault.parameter("pod"));
                let there = sim.store.get(Kind::Pod, &pod).is_some_and(|p| pods::active(p));
                if there {
                    sim.store.remove(Kind::Pod, &pod);
                }
            });
        },
        end: |sim, _| {
            let lost = sim.script.before.keys().filter(|(kind, _)| *kind == Kind::Node);
            let lost: Vec<_> = lost.map(|(_, key)| key.clone()).collect();
            for node in lost {
                sim.script.before.remove(&(Kind::Node, node.clone()));
                nodes::restore(sim, &node);
            }
        },
    },
];
