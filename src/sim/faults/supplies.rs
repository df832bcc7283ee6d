//! What goes wrong with snapshots, sizes, pools and the driver on its nodes?

use serde_json::json;

use super::follows::{RESTARTING, UNREADY};
use super::means::{CRASHES, behave, edit, key, recover};
use super::{Class, Fault, FaultKind};
use crate::sim::fields::Fields;
use crate::sim::kind::Kind;
use crate::sim::manifests::DRIVER;
use crate::sim::simulation::Simulation;

const ZONES: [&str; 3] = ["zone-a", "zone-b", "zone-c"];

pub(super) static FAULTS: &[FaultKind] = &[
    FaultKind {
        name: "snapshots-refused",
        layer: "storage",
        class: Class::Moderate,
        summary: "{driver} refuses snapshots",
        root: "CSIDriver {driver}",
        tells: &["storage_snapshot_unhealthy"],
        follows: &[&["storage_snapshot_age_seconds"]],
        within: 1_500,
        lasts: 2_700,
        parameters: &[
            ("driver", DRIVER),
            ("error", "rpc error: code = ResourceExhausted desc = snapshot quota exceeded"),
        ],
        begin: |sim, fault| {
            let (driver, error) = (fault.parameter("driver"), fault.parameter("error"));
            sim.outside.no_snapshots.insert(driver.to_owned(), error.to_owned());
        },
        end: |sim, fault| {
            sim.outside.no_snapshots.remove(fault.parameter("driver"));
        },
    },
    FaultKind {
        name: "snapshots-stopped",
        layer: "storage",
        class: Class::Weak,
        summary: "{scheduler}, which makes the snapshots, is scaled to zero",
        root: "Deployment {scheduler}",
        tells: &["storage_snapshot_unhealthy"],
        follows: &[&["storage_snapshot_age_seconds"]],
        within: 4_200,
        lasts: 5_400,
        parameters: &[("scheduler", "platform/snapshot-scheduler")],
        begin: |sim, fault| {
            let at = fault.parameter("scheduler");
            edit(sim, Kind::Deployment, at, |d| d.put("spec/replicas", json!(0)));
        },
        end: |sim, fault| {
            super::means::restore(sim, Kind::Deployment, fault.parameter("scheduler"));
        },
    },
    FaultKind {
        name: "resize-refused",
        layer: "storage",
        class: Class::Moderate,
        summary: "{driver} refuses to grow claim {claim}",
        root: "CSIDriver {driver}",
        tells: &["storage_resize_or_modify_stuck"],
        follows: &[],
        within: 420,
        lasts: 900,
        parameters: &[
            ("driver", DRIVER),
            ("claim", "payments/data-ledger-0"),
            ("error", "rpc error: code = ResourceExhausted desc = not enough space in the pool"),
        ],
        begin: |sim, fault| {
            let (driver, error) = (fault.parameter("driver"), fault.parameter("error"));
            sim.outside.no_growth.insert(driver.to_owned(), error.to_owned());
            grow(sim, fault);
        },
        end: |sim, fault| {
            sim.outside.no_growth.remove(fault.parameter("driver"));
        },
    },
    FaultKind {
        name: "claim-grows",
        layer: "storage",
        class: Class::Healthy,
        summary: "claim {claim} asks for more and gets it",
        root: "PersistentVolumeClaim {claim}",
        tells: &[],
        follows: &[],
        within: 0,
        lasts: 600,
        parameters: &[("claim", "payments/data-ledger-1")],
        begin: grow,
        end: |_, _| {},
    },
    FaultKind {
        name: "node-plugin-down",
        layer: "storage",
        class: Class::Obvious,
        summary: "the driver's node plugin {plugin} crashes everywhere",
        root: "DaemonSet {plugin}",
        tells: &["storage_csi_driver_unregistered", "compute_crashloop"],
        follows: &[
            UNREADY,
            RESTARTING,
            &[
                "storage_csi_node_coverage_ratio",
                "storage_mount_failing",
                "storage_mount_failures_total",
                "tooling_forgotten_state",
            ],
        ],
        within: 300,
        lasts: 600,
        parameters: &[("plugin", "kube-system/block-csi-node")],
        begin: |sim, fault| behave(sim, fault.parameter("plugin"), CRASHES),
        end: |sim, fault| recover(sim, fault.parameter("plugin")),
    },
    FaultKind {
        name: "pool-low",
        layer: "storage",
        class: Class::Obvious,
        summary: "the pools of {class} have {gibi} GiB left in each zone",
        root: "StorageClass {class}",
        tells: &["storage_capacity_low"],
        follows: &[&["storage_capacity_bytes"]],
        within: 360,
        lasts: 900,
        parameters: &[("class", "block"), ("gibi", "2")],
        begin: |sim, fault| {
            let left = fault.parameter("gibi").parse().unwrap_or(0);
            sim.outside.pools.extend(ZONES.map(|zone| (zone.to_owned(), left)));
        },
        end: |sim, _| sim.outside.pools.clear(),
    },
];

/// The claim asks for ten gibibytes more than it has.
fn grow(sim: &mut Simulation, fault: &Fault) {
    sim.store.update(Kind::PersistentVolumeClaim, &key(fault.parameter("claim")), |claim| {
        let held = claim.text("spec/resources/requests/storage").trim_end_matches("Gi").to_owned();
        let wanted = held.parse::<u32>().unwrap_or(0) + 10;
        claim.put("spec/resources/requests/storage", json!(format!("{wanted}Gi")));
    });
}
