//! What goes wrong with programs, pods and nodes?

use serde_json::json;

use super::follows::{CRASHING, CUT_OFF, Follows, LED_NOWHERE, UNDELIVERED, UNREADY};
use super::means::{behave, edit_template, release, roll_back};
use super::{Class, FaultKind};
use crate::sim::controllers::nodes;
use crate::sim::fields::Fields;
use crate::sim::moment::SECOND;
use crate::sim::store::Key;
use crate::sim::surroundings::Conduct;

/// What follows when the pods of a workload do not serve.
pub(super) const UNSERVED: Follows = &[
    UNREADY,
    CRASHING,
    CUT_OFF,
    LED_NOWHERE,
    UNDELIVERED,
    &[
        "compute_hpa_unhealthy",
        "compute_oom_killed_again",
        "compute_oom_kills_total",
        "compute_pdb_blocking",
        "compute_failed_probes_total",
        "compute_probe_failures_total",
        "compute_rollout_active",
        "compute_rollout_stalled",
        "compute_unschedulable_pods",
        "observability_monitor_without_targets",
    ],
];

pub(super) static FAULTS: &[FaultKind] = &[
    FaultKind {
        name: "crashloop",
        layer: "compute",
        class: Class::Obvious,
        summary: "a release of Deployment {deployment} crashes",
        root: "Deployment {deployment}",
        tells: &["compute_crashloop", "compute_container_restarts_total"],
        follows: UNSERVED,
        within: 180,
        lasts: 540,
        parameters: &[("deployment", "payments/gateway")],
        begin: |sim, fault| {
            let image = release(sim, fault.parameter("deployment"));
            sim.surroundings.set_image(&image, Conduct::Exits { code: 1, after: 4 * SECOND });
        },
        end: |sim, fault| roll_back(sim, fault.parameter("deployment")),
    },
    FaultKind {
        name: "oom",
        layer: "compute",
        class: Class::Moderate,
        summary: "a release of Deployment {deployment} runs out of memory",
        root: "Deployment {deployment}",
        tells: &[
            "compute_oom_killed_again",
            "compute_oom_kills_total",
            "compute_crashloop",
            "compute_container_restarts_total",
        ],
        follows: UNSERVED,
        within: 600,
        lasts: 540,
        parameters: &[("deployment", "search/query")],
        begin: |sim, fault| {
            let image = release(sim, fault.parameter("deployment"));
            sim.surroundings.set_image(&image, Conduct::Leaks { after: 45 * SECOND });
        },
        end: |sim, fault| roll_back(sim, fault.parameter("deployment")),
    },
    FaultKind {
        name: "probe",
        layer: "compute",
        class: Class::Moderate,
        summary: "{workload} fails its readiness probe",
        root: "Deployment {workload}",
        tells: &[
            "compute_pods_unready",
            "compute_failed_probes_total",
            "compute_probe_failures_total",
            "compute_workload_unavailable",
            "networking_service_not_serving",
        ],
        follows: UNSERVED,
        within: 240,
        lasts: 480,
        parameters: &[("workload", "shop/checkout")],
        begin: |sim, fault| behave(sim, fault.parameter("workload"), Conduct::Unready),
        end: |sim, fault| behave(sim, fault.parameter("workload"), Conduct::Serves),
    },
    FaultKind {
        name: "hang",
        layer: "compute",
        class: Class::Moderate,
        summary: "{workload} hangs",
        root: "Deployment {workload}",
        tells: &[
            "compute_pods_unready",
            "compute_failed_probes_total",
            "compute_probe_failures_total",
            "compute_container_restarts_total",
            "compute_workload_unavailable",
            "networking_service_not_serving",
        ],
        follows: UNSERVED,
        within: 240,
        lasts: 480,
        parameters: &[("workload", "accounts/login")],
        begin: |sim, fault| behave(sim, fault.parameter("workload"), Conduct::Hangs),
        end: |sim, fault| behave(sim, fault.parameter("workload"), Conduct::Serves),
    },
    FaultKind {
        name: "node-loss",
        layer: "compute",
        class: Class::Obvious,
        summary: "node {node} is lost",
        root: "Node {node}",
        tells: &["compute_node_not_ready", "compute_node_heartbeat_late"],
        follows: super::capacity::LOST,
        within: 150,
        lasts: 720,
        parameters: &[("node", "node-a1")],
        begin: |sim, fault| nodes::lose(sim, &Key::cluster(fault.parameter("node"))),
        end: |sim, fault| nodes::restore(sim, &Key::cluster(fault.parameter("node"))),
    },
    FaultKind {
        name: "image-pull",
        layer: "compute",
        class: Class::Obvious,
        summary: "registry {host} is down while {first} and {second} are released",
        root: "Deployment {first}",
        tells: &["compute_container_waiting", "compute_image_pull_failures_total"],
        follows: UNSERVED,
        within: 240,
        lasts: 480,
        parameters: &[
            ("host", "registry.example"),
            ("first", "media/thumbnails"),
            ("second", "analytics/ingest"),
        ],
        begin: |sim, fault| {
            sim.surroundings.set_registry(fault.parameter("host"), false);
            release(sim, fault.parameter("first"));
            release(sim, fault.parameter("second"));
        },
        // What was released stays: it starts as soon as it is pulled.
        end: |sim, fault| sim.surroundings.set_registry(fault.parameter("host"), true),
    },
    FaultKind {
        name: "unschedulable",
        layer: "compute",
        class: Class::Obvious,
        summary: "a release of Deployment {deployment} asks for {cpu} CPUs",
        root: "Deployment {deployment}",
        tells: &["compute_unschedulable_pods"],
        follows: UNSERVED,
        within: 180,
        lasts: 420,
        parameters: &[("deployment", "analytics/aggregator"), ("cpu", "64")],
        begin: |sim, fault| {
            edit_template(sim, fault.parameter("deployment"), |d| {
                let cpu = json!(fault.parameter("cpu"));
                d.put("spec/template/spec/containers/0/resources/requests/cpu", cpu);
            });
        },
        end: |sim, fault| roll_back(sim, fault.parameter("deployment")),
    },
    FaultKind {
        name: "cronjob",
        layer: "compute",
        class: Class::Obvious,
        summary: "the Jobs of CronJob {cron_job} fail",
        root: "CronJob {cron_job}",
        tells: &["compute_job_failed", "compute_cronjob_overdue"],
        follows: UNSERVED,
        within: 600,
        lasts: 840,
        parameters: &[("cron_job", "payments/settlement")],
        begin: |sim, fault| {
            let conduct = Conduct::Exits { code: 1, after: 6 * SECOND };
            behave(sim, fault.parameter("cron_job"), conduct);
        },
        end: |sim, fault| behave(sim, fault.parameter("cron_job"), Conduct::Serves),
    },
];
