//! What goes wrong with those who watch, and with the control plane itself?

use serde_json::json;

use super::follows::{CRASHING, CUT_OFF, FLAPPING, Follows, RESTARTING, SHORT, STARTING, UNREADY};
use super::means::{
    CRASHES, behave, behave_on, edit, nodes_of, recover, remove, restart_on, restore,
};
use super::{Class, Fault, FaultKind};
use crate::sim::controllers::control::{self, Part};
use crate::sim::fields::Fields;
use crate::sim::kind::Kind;
use crate::sim::simulation::Simulation;
use crate::sim::surroundings::Conduct;

/// What follows when the pods of a watcher do not serve.
const DOWN: Follows = &[
    UNREADY,
    CRASHING,
    CUT_OFF,
    &[
        "compute_failed_probes_total",
        "compute_probe_failures_total",
        "observability_monitor_without_targets",
    ],
];

/// What stands still while a part of the control plane does.
const STILL: Follows = &[
    SHORT,
    &[
        "compute_cronjob_overdue",
        "compute_rollout_active",
        "compute_time_to_ready_seconds",
        "compute_unschedulable_pods",
        "observability_events_total",
        "observability_leader_transitions_total",
    ],
];

pub(super) static FAULTS: &[FaultKind] = &[
    FaultKind {
        name: "apiservice-down",
        layer: "observability",
        class: Class::Obvious,
        summary: "{workload}, which serves resource metrics, does not answer",
        root: "Deployment {workload}",
        tells: &["observability_apiservice_unavailable"],
        follows: &[
            UNREADY,
            CUT_OFF,
            &[
                "compute_hpa_unhealthy",
                "compute_failed_probes_total",
                "compute_probe_failures_total",
                "observability_monitor_without_targets",
            ],
        ],
        within: 180,
        lasts: 600,
        parameters: &[("workload", "kube-system/resource-metrics")],
        begin: |sim, fault| behave(sim, fault.parameter("workload"), Conduct::Unready),
        end: |sim, fault| behave(sim, fault.parameter("workload"), Conduct::Serves),
    },
    FaultKind {
        name: "monitor-without-match",
        layer: "observability",
        class: Class::Moderate,
        summary: "the label of Service {service} is renamed by which its monitor selects it",
        root: "Service {service}",
        tells: &["observability_monitor_without_targets"],
        follows: &[&["observability_scraped_ratio"]],
        within: 480,
        lasts: 900,
        parameters: &[("service", "shop/checkout")],
        begin: |sim, fault| {
            edit(sim, Kind::Service, fault.parameter("service"), |service| {
                let renamed = format!("{}-http", service.label("app"));
                service.put("metadata/labels/app", json!(renamed));
            });
        },
        end: |sim, fault| restore(sim, Kind::Service, fault.parameter("service")),
    },
    FaultKind {
        name: "monitor-without-port",
        layer: "observability",
        class: Class::Moderate,
        summary: "ServiceMonitor {monitor} names a port that its Service does not have",
        root: "ServiceMonitor {monitor}",
        tells: &["observability_monitor_without_targets"],
        follows: &[&["observability_scraped_ratio"]],
        within: 480,
        lasts: 900,
        parameters: &[("monitor", "accounts/login")],
        begin: |sim, fault| {
            edit(sim, Kind::ServiceMonitor, fault.parameter("monitor"), |monitor| {
                monitor.put("spec/endpoints/0/port", json!("http-metrics"));
            });
        },
        end: |sim, fault| restore(sim, Kind::ServiceMonitor, fault.parameter("monitor")),
    },
    FaultKind {
        name: "monitors-unselected",
        layer: "observability",
        class: Class::Moderate,
        summary: "Prometheus {prometheus} selects monitors by a label that none has",
        root: "Prometheus {prometheus}",
        tells: &["observability_monitor_not_selected"],
        follows: &[],
        within: 480,
        lasts: 900,
        parameters: &[("prometheus", "platform/main")],
        begin: |sim, fault| {
            edit(sim, Kind::Prometheus, fault.parameter("prometheus"), |server| {
                server.put(
                    "spec/serviceMonitorSelector",
                    json!({"matchLabels": {"release": "main"}}),
                );
            });
        },
        end: |sim, fault| restore(sim, Kind::Prometheus, fault.parameter("prometheus")),
    },
    FaultKind {
        name: "rules-deleted",
        layer: "observability",
        class: Class::Weak,
        summary: "PrometheusRule {rule} is deleted, and its alerts with it",
        root: "PrometheusRule {rule}",
        tells: &["observability_alerts_removed", "observability_alerting_rules"],
        follows: &[],
        within: 900,
        lasts: 3_600,
        parameters: &[("rule", "platform/house")],
        begin: |sim, fault| remove(sim, Kind::PrometheusRule, fault.parameter("rule")),
        end: |sim, fault| restore(sim, Kind::PrometheusRule, fault.parameter("rule")),
    },
    FaultKind {
        name: "prometheus-down",
        layer: "observability",
        class: Class::Obvious,
        summary: "Prometheus, StatefulSet {workload}, does not become ready",
        root: "StatefulSet {workload}",
        tells: &["observability_prometheus_stack_unhealthy"],
        follows: DOWN,
        within: 360,
        lasts: 720,
        parameters: &[("workload", "platform/prometheus-main")],
        begin: |sim, fault| behave(sim, fault.parameter("workload"), Conduct::Unready),
        end: |sim, fault| behave(sim, fault.parameter("workload"), Conduct::Serves),
    },
    FaultKind {
        name: "collector-down",
        layer: "observability",
        class: Class::Obvious,
        summary: "OpenTelemetry Collector {workload} crashes, its configuration is wrong",
        root: "Deployment {workload}",
        tells: &["observability_collector_unhealthy", "compute_crashloop"],
        follows: DOWN,
        within: 360,
        lasts: 720,
        parameters: &[("workload", "platform/otel-collector")],
        begin: |sim, fault| behave(sim, fault.parameter("workload"), CRASHES),
        end: |sim, fault| recover(sim, fault.parameter("workload")),
    },
    FaultKind {
        name: "log-agent-missing",
        layer: "observability",
        class: Class::Moderate,
        summary: "{agent} crashes on every node of {zone}",
        root: "DaemonSet {agent}",
        tells: &["observability_log_agent_uncovered", "compute_crashloop"],
        follows: &[UNREADY, RESTARTING, &["observability_log_agent_coverage_ratio"]],
        within: 600,
        lasts: 1_200,
        parameters: &[("agent", "platform/log-agent"), ("zone", "zone-a")],
        begin: |sim, fault| {
            for node in nodes_of(sim, fault.parameter("zone")) {
                behave_on(sim, fault.parameter("agent"), &node.name, CRASHES);
            }
        },
        end: |sim, fault| {
            for node in nodes_of(sim, fault.parameter("zone")) {
                behave_on(sim, fault.parameter("agent"), &node.name, Conduct::Serves);
                restart_on(sim, fault.parameter("agent"), &node.name);
            }
        },
    },
    FaultKind {
        name: "controller-manager-down",
        layer: "observability",
        class: Class::Moderate,
        summary: "{part} is dead: nothing is made, counted or evicted",
        root: "Lease kube-system/{part}",
        tells: &["observability_leader_lease_stale"],
        follows: STILL,
        within: 240,
        lasts: 600,
        parameters: &[("part", "kube-controller-manager")],
        begin: stop,
        end: start,
    },
    FaultKind {
        name: "scheduler-down",
        layer: "observability",
        class: Class::Moderate,
        summary: "{part} is dead: new pods get no node",
        root: "Lease kube-system/{part}",
        tells: &["observability_leader_lease_stale"],
        follows: STILL,
        within: 240,
        lasts: 600,
        parameters: &[("part", "kube-scheduler")],
        begin: stop,
        end: start,
    },
    FaultKind {
        name: "etcd-unready",
        layer: "observability",
        class: Class::Obvious,
        summary: "the API server's check {check} fails",
        root: "Cluster {check}",
        tells: &["observability_apiserver_check_failed"],
        follows: &[&["observability_apiserver_errors_total", "observability_etcd_errors_total"]],
        within: 120,
        lasts: 480,
        parameters: &[("check", "etcd")],
        begin: |sim, fault| {
            sim.surroundings.failing_checks.insert(fault.parameter("check").to_owned());
        },
        end: |sim, fault| {
            sim.surroundings.failing_checks.remove(fault.parameter("check"));
        },
    },
    FaultKind {
        name: "prometheus-restarted",
        layer: "observability",
        class: Class::Healthy,
        summary: "a pod of Prometheus, {pod}, is replaced",
        root: "Pod {pod}",
        tells: &[],
        follows: &[
            FLAPPING,
            STARTING,
            &["compute_workload_available_ratio", "compute_workloads_degraded"],
        ],
        within: 0,
        lasts: 600,
        parameters: &[("pod", "platform/prometheus-main-0")],
        begin: |sim, fault| sim.delete(Kind::Pod, &super::means::key(fault.parameter("pod"))),
        end: |_, _| {},
    },
];

fn stop(sim: &mut Simulation, fault: &Fault) {
    if let Some(part) = Part::named(fault.parameter("part")) {
        control::stop(sim, part);
    }
}

fn start(sim: &mut Simulation, fault: &Fault) {
    if let Some(part) = Part::named(fault.parameter("part")) {
        control::start(sim, part);
    }
}
