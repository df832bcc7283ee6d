//! What goes wrong with volumes?

use serde_json::json;

use super::follows::RESTARTING;
use super::means::{CRASHES, behave, recover, scale};
use super::{Class, FaultKind};
use crate::sim::fields::Fields;
use crate::sim::kind::Kind;
use crate::sim::moment::MINUTE;
use crate::sim::script;

/// How long after a repair a grown StatefulSet shrinks again.
const SHRINK_AFTER: i64 = 4 * MINUTE;

pub(super) static FAULTS: &[FaultKind] = &[
    FaultKind {
        name: "storage",
        layer: "storage",
        class: Class::Obvious,
        summary: "provisioner {controller} crashes, StatefulSet {grows} grows by one pod",
        root: "Deployment {controller}",
        tells: &[
            "storage_pvc_pending_abnormal",
            "storage_csi_controller_lease_stale",
            "compute_crashloop",
        ],
        follows: &[
            RESTARTING,
            &[
                "compute_pods_unready",
                "compute_unschedulable_pods",
                "compute_workload_unavailable",
                "compute_workloads_degraded",
                "networking_endpoint_flaps_total",
                "networking_service_not_serving",
                "observability_leader_lease_stale",
                "storage_attach_error",
                "storage_attach_seconds",
                "storage_mount_failing",
                "storage_pvc_time_to_bound_seconds",
            ],
        ],
        within: 300,
        lasts: 660,
        parameters: &[
            ("controller", "kube-system/block-csi-controller"),
            ("grows", "shop/sessions"),
        ],
        begin: |sim, fault| {
            behave(sim, fault.parameter("controller"), CRASHES);
            scale(sim, Kind::StatefulSet, fault.parameter("grows"), 1);
        },
        end: |sim, fault| {
            recover(sim, fault.parameter("controller"));
            script::later(sim, SHRINK_AFTER, fault, |sim, fault| {
                scale(sim, Kind::StatefulSet, fault.parameter("grows"), -1);
            });
        },
    },
    FaultKind {
        name: "storage-refused",
        layer: "storage",
        class: Class::Obvious,
        summary: "{driver} refuses new volumes, StatefulSet {grows} grows by one pod",
        root: "CSIDriver {driver}",
        tells: &["storage_pvc_pending_abnormal", "storage_provisioning_failures_total"],
        follows: &[&[
            "compute_unschedulable_pods",
            "compute_workload_unavailable",
            "compute_workloads_degraded",
            "storage_pvc_time_to_bound_seconds",
        ]],
        within: 420,
        lasts: 480,
        parameters: &[
            ("driver", "block.csi.example"),
            ("error", "rpc error: code = ResourceExhausted desc = quota of volumes exceeded"),
            ("grows", "search/shards"),
        ],
        begin: |sim, fault| {
            let (driver, error) = (fault.parameter("driver"), fault.parameter("error"));
            sim.storage.refusing.insert(driver.to_owned(), error.to_owned());
            scale(sim, Kind::StatefulSet, fault.parameter("grows"), 1);
        },
        end: |sim, fault| {
            sim.storage.refusing.remove(fault.parameter("driver"));
            script::later(sim, SHRINK_AFTER, fault, |sim, fault| {
                scale(sim, Kind::StatefulSet, fault.parameter("grows"), -1);
            });
        },
    },
    FaultKind {
        name: "default-class-removed",
        layer: "storage",
        class: Class::Obvious,
        summary: "the default StorageClass {class} is deleted, a claim without a class is made",
        root: "StorageClass {class}",
        tells: &["storage_pvc_pending_abnormal", "storage_class_sanity"],
        follows: &[&["compute_unschedulable_pods", "compute_workload_unavailable"]],
        within: 420,
        lasts: 900,
        parameters: &[("class", "block"), ("claim", "analytics/scratch")],
        begin: |sim, fault| {
            super::means::remove(sim, Kind::StorageClass, fault.parameter("class"));
            let key = super::means::key(fault.parameter("claim"));
            let claim = json!({
                "metadata": {"name": key.name, "namespace": key.ns},
                "spec": {"accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem",
                    "resources": {"requests": {"storage": "5Gi"}}},
                "status": {"phase": "Pending"},
            });
            sim.create(Kind::PersistentVolumeClaim, claim);
        },
        end: |sim, fault| {
            super::means::restore(sim, Kind::StorageClass, fault.parameter("class"));
            let key = super::means::key(fault.parameter("claim"));
            sim.delete(Kind::PersistentVolumeClaim, &key);
        },
    },
    FaultKind {
        name: "policy-delete-kept",
        layer: "storage",
        class: Class::Healthy,
        summary: "StorageClass {class} is told to keep volumes",
        root: "StorageClass {class}",
        tells: &[],
        follows: &[],
        within: 0,
        lasts: 900,
        parameters: &[("class", "block")],
        begin: |sim, fault| {
            super::means::edit(sim, Kind::StorageClass, fault.parameter("class"), |class| {
                class.put("reclaimPolicy", json!("Retain"));
            });
        },
        end: |sim, fault| super::means::restore(sim, Kind::StorageClass, fault.parameter("class")),
    },
];
