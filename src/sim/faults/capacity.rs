//! What goes wrong with room: nodes, zones, quotas, autoscalers, budgets? And with releases that cannot start.

use serde_json::json;

use super::compute::UNSERVED;
use super::follows::{CUT_OFF, Follows, LED_NOWHERE, SHORT, STARTING, UNDELIVERED, UNREADY};
use super::means::{
    behave, clear_evicted, drain, edit, edit_template, key, nodes_of, release, restore, roll_back,
    scale, uncordon,
};
use super::{Class, Fault, FaultKind};
use crate::sim::controllers::{eviction, nodes};
use crate::sim::fields::Fields;
use crate::sim::founding::{image_of, next_tag, set_tag};
use crate::sim::kind::Kind;
use crate::sim::moment::{HOUR, MINUTE, SECOND};
use crate::sim::script;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;
use crate::sim::surroundings::{Conduct, Resource};

/// A kubelet calls a node short for this long after it has enough again (`eviction-pressure-transition-period`).
const CALM: i64 = 5 * MINUTE;
/// How long a node that flaps is away and back.
const AWAY: i64 = 75 * SECOND;
const BACK: i64 = 60 * SECOND;

/// What follows when a node puts pods out, or they have to leave it.
const MOVED: Follows = &[
    UNREADY,
    CUT_OFF,
    STARTING,
    &[
        "compute_evictions_total",
        "compute_rollout_active",
        "compute_unschedulable_pods",
        "observability_leader_transitions_total",
        "storage_attach_error",
        "storage_detach_blocked",
    ],
];

/// What follows when nodes fall silent.
pub(super) const LOST: Follows = &[
    UNREADY,
    CUT_OFF,
    LED_NOWHERE,
    UNDELIVERED,
    &[
        "compute_cronjob_overdue",
        "compute_evictions_total",
        "compute_hpa_unhealthy",
        "compute_node_evicting",
        "compute_node_heartbeat_age_seconds",
        "compute_node_heartbeat_late",
        "compute_node_not_ready",
        "compute_node_ready_flaps_total",
        "compute_pdb_blocking",
        "compute_pod_terminating_overdue",
        "compute_requested_ratio",
        "compute_rollout_active",
        "compute_unschedulable_pods",
        "gitops_argo_condition",
        "gitops_argo_out_of_sync",
        "gitops_controller_down",
        "gitops_flux_reconcile_overdue",
        "networking_dataplane_coverage_ratio",
        "networking_dataplane_uncovered",
        "networking_dns_degraded",
        "networking_dns_ready_endpoints",
        "observability_apiservice_unavailable",
        "observability_collector_unhealthy",
        "observability_leader_lease_stale",
        "observability_leader_transitions_total",
        "observability_log_agent_coverage_ratio",
        "observability_log_agent_uncovered",
        "observability_monitor_without_targets",
        "observability_prometheus_stack_unhealthy",
        "security_kyverno_engine",
        "security_webhook_backend_down",
        "security_webhook_calls_failing",
        "storage_attach_error",
        "storage_csi_controller_lease_stale",
        "storage_csi_driver_unregistered",
        "storage_csi_node_coverage_ratio",
        "storage_detach_blocked",
        "storage_pv_zone_unschedulable",
    ],
];

pub(super) static FAULTS: &[FaultKind] = &[
    FaultKind {
        name: "quota-exhausted",
        layer: "compute",
        class: Class::Obvious,
        summary: "ResourceQuota {quota} is full while Deployment {grows} grows",
        root: "ResourceQuota {quota}",
        tells: &["compute_create_failures"],
        follows: &[
            SHORT,
            &[
                "compute_cronjob_overdue",
                "compute_quota_used_ratio",
                "compute_rollout_active",
                "security_policy_denials_total",
            ],
        ],
        within: 120,
        lasts: 600,
        parameters: &[("quota", "analytics/compute"), ("grows", "analytics/ingest")],
        begin: |sim, fault| {
            edit(sim, Kind::ResourceQuota, fault.parameter("quota"), |quota| {
                let used = quota.text("status/used/pods").to_owned();
                quota.put("spec/hard/pods", json!(used));
            });
            scale(sim, Kind::Deployment, fault.parameter("grows"), 3);
        },
        end: |sim, fault| {
            restore(sim, Kind::ResourceQuota, fault.parameter("quota"));
            scale(sim, Kind::Deployment, fault.parameter("grows"), -3);
        },
    },
    FaultKind {
        name: "autoscaler-blind",
        layer: "compute",
        class: Class::Moderate,
        summary: "a release of Deployment {deployment} requests no CPU, by which it is scaled",
        root: "Deployment {deployment}",
        tells: &["compute_hpa_unhealthy"],
        follows: UNSERVED,
        within: 300,
        lasts: 600,
        parameters: &[("deployment", "search/query")],
        begin: |sim, fault| {
            edit_template(sim, fault.parameter("deployment"), |d| {
                let at = "spec/template/spec/containers/0/resources/requests";
                let memory = d.text(&format!("{at}/memory")).to_owned();
                d.put(at, json!({"memory": memory}));
            });
        },
        end: |sim, fault| roll_back(sim, fault.parameter("deployment")),
    },
    FaultKind {
        name: "autoscaler-at-limit",
        layer: "compute",
        class: Class::Moderate,
        summary: "{program} has {times} times its load, more than its autoscaler may follow",
        root: "HorizontalPodAutoscaler {program}",
        tells: &["compute_hpa_unhealthy"],
        follows: &[
            STARTING,
            &[
                "compute_hpa_rescales_total",
                "compute_rollout_active",
                "compute_workload_available_ratio",
                "networking_service_ready_ratio",
            ],
        ],
        within: 1_500,
        lasts: 2_400,
        parameters: &[("program", "accounts/login"), ("times", "7")],
        begin: |sim, fault| {
            let times = fault.parameter("times").parse().unwrap_or(7.0);
            sim.surroundings.set_busy(fault.parameter("program"), times);
        },
        end: |sim, fault| sim.surroundings.set_busy(fault.parameter("program"), 1.0),
    },
    FaultKind {
        name: "drain-blocked",
        layer: "compute",
        class: Class::Moderate,
        summary: "a node is drained, and PodDisruptionBudget {budget} allows no eviction",
        root: "PodDisruptionBudget {budget}",
        tells: &["compute_pdb_blocking"],
        follows: MOVED,
        within: 1_200,
        lasts: 1_800,
        parameters: &[("budget", "payments/gateway")],
        begin: |sim, fault| {
            let at = fault.parameter("budget");
            edit(sim, Kind::PodDisruptionBudget, at, |budget| {
                budget.put("spec/maxUnavailable", json!(0));
            });
            let Key { ns, name } = key(at);
            let found = sim.store.list(Kind::Pod, Some(&ns)).find(|(_, p)| p.label("app") == name);
            let node = found.map_or("", |(_, pod)| pod.text("spec/nodeName")).to_owned();
            drain(sim, fault, &node);
        },
        // The drain comes to its end, then the node is taken back.
        end: |sim, fault| {
            restore(sim, Kind::PodDisruptionBudget, fault.parameter("budget"));
            script::later(sim, 2 * MINUTE, fault, |sim, _| uncordon(sim));
        },
    },
    FaultKind {
        name: "node-memory",
        layer: "compute",
        class: Class::Obvious,
        summary: "node {node} runs out of memory and puts pods out",
        root: "Node {node}",
        tells: &["compute_node_condition", "compute_node_evicting"],
        follows: MOVED,
        within: 150,
        lasts: 600,
        parameters: &[("node", "node-b1"), ("pods", "4")],
        begin: |sim, fault| press(sim, fault, Resource::Memory),
        end: relieve,
    },
    FaultKind {
        name: "node-disk",
        layer: "compute",
        class: Class::Obvious,
        summary: "the disk of node {node} is full, pods are put out",
        root: "Node {node}",
        tells: &["compute_node_condition", "compute_node_evicting"],
        follows: MOVED,
        within: 150,
        lasts: 600,
        parameters: &[("node", "node-b2"), ("pods", "3")],
        begin: |sim, fault| press(sim, fault, Resource::Disk),
        end: relieve,
    },
    FaultKind {
        name: "node-flapping",
        layer: "compute",
        class: Class::Moderate,
        summary: "node {node} falls silent and comes back, again and again",
        root: "Node {node}",
        tells: &[
            "compute_node_heartbeat_late",
            "compute_node_not_ready",
            "compute_node_ready_flaps_total",
        ],
        follows: LOST,
        within: 240,
        lasts: 1_200,
        parameters: &[("node", "node-c2")],
        begin: |sim, fault| {
            sim.surroundings.flapping.insert(fault.parameter("node").to_owned());
            flap_away(sim, fault);
        },
        end: |sim, fault| {
            let node = fault.parameter("node");
            sim.surroundings.flapping.remove(node);
            nodes::restore(sim, &Key::cluster(node));
        },
    },
    FaultKind {
        name: "zone-outage",
        layer: "compute",
        class: Class::Obvious,
        summary: "all nodes of {zone} are lost at once",
        root: "Zone {zone}",
        tells: &["compute_zone_not_ready", "compute_node_not_ready"],
        follows: LOST,
        within: 150,
        lasts: 900,
        parameters: &[("zone", "zone-c")],
        begin: |sim, fault| {
            for node in nodes_of(sim, fault.parameter("zone")) {
                nodes::lose(sim, &node);
            }
        },
        end: |sim, fault| {
            for node in nodes_of(sim, fault.parameter("zone")) {
                nodes::restore(sim, &node);
            }
        },
    },
    FaultKind {
        name: "image-missing",
        layer: "compute",
        class: Class::Obvious,
        summary: "a release of Deployment {deployment} names a tag that was never pushed",
        root: "Deployment {deployment}",
        tells: &["compute_container_waiting", "compute_image_pull_failures_total"],
        follows: UNSERVED,
        within: 240,
        lasts: 600,
        parameters: &[("deployment", "shop/cart")],
        begin: |sim, fault| {
            let bad = sim.surroundings.bad_images();
            edit_template(sim, fault.parameter("deployment"), |d| {
                let tag = format!("{}-typo", next_tag(image_of(d), &bad));
                set_tag(d, &tag);
            });
            let found = sim.store.get(Kind::Deployment, &key(fault.parameter("deployment")));
            let image = found.map_or("", |d| image_of(d)).to_owned();
            sim.surroundings.lack_image(&image);
        },
        end: |sim, fault| roll_back(sim, fault.parameter("deployment")),
    },
    FaultKind {
        name: "config-key-missing",
        layer: "compute",
        class: Class::Obvious,
        summary: "ConfigMap {config} loses a key while Deployment {deployment} is released",
        root: "ConfigMap {config}",
        tells: &["compute_container_waiting", "tooling_config_reference_broken"],
        follows: UNSERVED,
        within: 180,
        lasts: 600,
        parameters: &[("config", "payments/gateway-config"), ("deployment", "payments/gateway")],
        begin: |sim, fault| {
            edit(sim, Kind::ConfigMap, fault.parameter("config"), |map| {
                map.put("data", json!({"provider-url": "https://provider.example"}));
            });
            release(sim, fault.parameter("deployment"));
        },
        end: |sim, fault| restore(sim, Kind::ConfigMap, fault.parameter("config")),
    },
    FaultKind {
        name: "slow-start",
        layer: "compute",
        class: Class::Moderate,
        summary: "a release of Deployment {deployment} takes 15 minutes to start",
        root: "Deployment {deployment}",
        tells: &["compute_rollout_stalled", "compute_pods_unready"],
        follows: UNSERVED,
        within: 900,
        lasts: 1_200,
        parameters: &[("deployment", "search/indexer")],
        begin: |sim, fault| {
            let image = release(sim, fault.parameter("deployment"));
            sim.surroundings.set_image(&image, Conduct::StartsAfter { wait: 15 * MINUTE });
        },
        end: |sim, fault| roll_back(sim, fault.parameter("deployment")),
    },
    FaultKind {
        name: "slow-leak",
        layer: "compute",
        class: Class::Creeping,
        summary: "{workload} leaks and is killed for its memory every few hours",
        root: "Deployment {workload}",
        tells: &[
            "compute_oom_killed_again",
            "compute_oom_kills_total",
            "compute_container_restarts_total",
        ],
        follows: UNSERVED,
        within: 43_200,
        lasts: 172_800,
        parameters: &[("workload", "shop/recommendations")],
        begin: |sim, fault| {
            behave(sim, fault.parameter("workload"), Conduct::Leaks { after: 6 * HOUR });
        },
        end: |sim, fault| behave(sim, fault.parameter("workload"), Conduct::Serves),
    },
    FaultKind {
        name: "drain-by-eviction",
        layer: "compute",
        class: Class::Healthy,
        summary: "node {node} is drained and taken back",
        root: "Node {node}",
        tells: &[],
        follows: MOVED,
        within: 0,
        lasts: 600,
        parameters: &[("node", "node-b1")],
        begin: |sim, fault| drain(sim, fault, fault.parameter("node")),
        end: |sim, _| uncordon(sim),
    },
    FaultKind {
        name: "busy-hour",
        layer: "compute",
        class: Class::Healthy,
        summary: "{program} has twice its load, and its autoscaler follows",
        root: "HorizontalPodAutoscaler {program}",
        tells: &[],
        follows: &[
            STARTING,
            &[
                "compute_hpa_rescales_total",
                "compute_rollout_active",
                "compute_workload_available_ratio",
                "networking_service_ready_ratio",
            ],
        ],
        within: 0,
        lasts: 3_600,
        parameters: &[("program", "shop/storefront")],
        begin: |sim, fault| sim.surroundings.set_busy(fault.parameter("program"), 2.0),
        end: |sim, fault| sim.surroundings.set_busy(fault.parameter("program"), 1.0),
    },
];

fn press(sim: &mut Simulation, fault: &Fault, resource: Resource) {
    let pods = fault.parameter("pods").parse().unwrap_or(1);
    eviction::press(sim, &Key::cluster(fault.parameter("node")), resource, pods);
}

fn relieve(sim: &mut Simulation, fault: &Fault) {
    script::later(sim, CALM, fault, |sim, fault| {
        eviction::relieve(sim, &Key::cluster(fault.parameter("node")));
        clear_evicted(sim);
    });
}

fn flap_away(sim: &mut Simulation, fault: &Fault) {
    let node = fault.parameter("node");
    if sim.surroundings.flapping.contains(node) {
        nodes::lose(sim, &Key::cluster(node));
        script::later(sim, AWAY, fault, flap_back);
    }
}

fn flap_back(sim: &mut Simulation, fault: &Fault) {
    let node = fault.parameter("node");
    if sim.surroundings.flapping.contains(node) {
        nodes::restore(sim, &Key::cluster(node));
        script::later(sim, BACK, fault, flap_away);
    }
}
