//! What goes wrong on the way to programs?

use serde_json::json;

use super::compute::UNSERVED;
use super::follows::{
    CRASHING, CUT_OFF, FLAPPING, Follows, LED_NOWHERE, RESTARTING, STARTING, UNDELIVERED, UNREADY,
};
use super::means::{
    CRASHES, behave, behave_on, edit, edit_template, key, recover, remove, restart_on, restore,
    roll_back,
};
use super::{Class, FaultKind};
use crate::sim::controllers::balancers;
use crate::sim::fields::Fields;
use crate::sim::furnishing;
use crate::sim::kind::Kind;
use crate::sim::surroundings::Conduct;

/// What follows when one node has no network of some kind.
const ONE_NODE: Follows = &[
    UNREADY,
    STARTING,
    CRASHING,
    &[
        "compute_rollout_active",
        "networking_dataplane_coverage_ratio",
        "networking_sandbox_failures_total",
        "observability_log_agent_coverage_ratio",
        "observability_log_agent_uncovered",
        "storage_csi_node_coverage_ratio",
        "storage_csi_driver_unregistered",
    ],
];

pub(super) static FAULTS: &[FaultKind] = &[
    FaultKind {
        name: "selector-broken",
        layer: "networking",
        class: Class::Obvious,
        summary: "the selector of Service {service} means labels that no pod has",
        root: "Service {service}",
        tells: &["networking_selector_orphan"],
        follows: &[
            LED_NOWHERE,
            &[
                "networking_endpoint_flaps_total",
                "networking_service_not_serving",
                "observability_monitor_without_targets",
            ],
        ],
        within: 240,
        lasts: 600,
        parameters: &[("service", "shop/checkout")],
        begin: |sim, fault| {
            edit(sim, Kind::Service, fault.parameter("service"), |service| {
                let renamed = format!("{}-v2", service.text("spec/selector/app"));
                service.put("spec/selector/app", json!(renamed));
            });
        },
        end: |sim, fault| restore(sim, Kind::Service, fault.parameter("service")),
    },
    FaultKind {
        name: "target-port-renamed",
        layer: "networking",
        class: Class::Moderate,
        summary: "a release of Deployment {deployment} renames the port that its Service sends to",
        root: "Deployment {deployment}",
        tells: &["networking_selector_orphan"],
        follows: UNSERVED,
        within: 240,
        lasts: 600,
        parameters: &[("deployment", "search/indexer")],
        begin: |sim, fault| {
            edit_template(sim, fault.parameter("deployment"), |d| {
                d.put("spec/template/spec/containers/0/ports/0/name", json!("web"));
            });
        },
        end: |sim, fault| roll_back(sim, fault.parameter("deployment")),
    },
    FaultKind {
        name: "endpoints-unready",
        layer: "networking",
        class: Class::Obvious,
        summary: "no pod behind Service {service} is ready",
        root: "StatefulSet {service}",
        tells: &["networking_service_not_serving", "compute_workload_unavailable"],
        follows: UNSERVED,
        within: 180,
        lasts: 600,
        parameters: &[("service", "accounts/directory")],
        begin: |sim, fault| behave(sim, fault.parameter("service"), Conduct::Unready),
        end: |sim, fault| behave(sim, fault.parameter("service"), Conduct::Serves),
    },
    FaultKind {
        name: "dns-down",
        layer: "networking",
        class: Class::Obvious,
        summary: "the cluster's DNS, {workload}, answers nobody",
        root: "Deployment {workload}",
        tells: &["networking_dns_degraded"],
        follows: DNS_FOLLOWS,
        within: 150,
        lasts: 600,
        parameters: &[("workload", "kube-system/cluster-dns")],
        begin: |sim, fault| behave(sim, fault.parameter("workload"), Conduct::Unready),
        end: |sim, fault| behave(sim, fault.parameter("workload"), Conduct::Serves),
    },
    FaultKind {
        name: "ingress-backend-missing",
        layer: "networking",
        class: Class::Obvious,
        summary: "Service {service} is deleted, to which an Ingress leads",
        root: "Service {service}",
        tells: &["networking_ingress_backend_broken"],
        follows: &[&["networking_endpoint_flaps_total", "observability_monitor_without_targets"]],
        within: 150,
        lasts: 480,
        parameters: &[("service", "media/uploads")],
        begin: |sim, fault| remove(sim, Kind::Service, fault.parameter("service")),
        end: |sim, fault| restore(sim, Kind::Service, fault.parameter("service")),
    },
    FaultKind {
        name: "listener-certificate-missing",
        layer: "networking",
        class: Class::Obvious,
        summary: "Secret {secret} is deleted, the certificate of a Gateway's listener",
        root: "Secret {secret}",
        tells: &["networking_gateway_not_programmed"],
        follows: &[&["networking_route_unresolved"]],
        within: 150,
        lasts: 480,
        parameters: &[("secret", "platform/edge-tls")],
        begin: |sim, fault| remove(sim, Kind::Secret, fault.parameter("secret")),
        end: |sim, fault| restore(sim, Kind::Secret, fault.parameter("secret")),
    },
    FaultKind {
        name: "gateway-class-invalid",
        layer: "networking",
        class: Class::Obvious,
        summary: "GatewayClass {class} refers to parameters that are not there",
        root: "GatewayClass {class}",
        tells: &["networking_gatewayclass_not_accepted"],
        follows: &[&["networking_gateway_not_programmed"]],
        within: 150,
        lasts: 480,
        parameters: &[("class", "edge")],
        begin: |sim, fault| {
            edit(sim, Kind::GatewayClass, fault.parameter("class"), |class| {
                let missing =
                    json!({"group": "gateway.example", "kind": "Parameters", "name": "next"});
                class.put("spec/parametersRef", missing);
            });
        },
        end: |sim, fault| restore(sim, Kind::GatewayClass, fault.parameter("class")),
    },
    FaultKind {
        name: "route-backend-missing",
        layer: "networking",
        class: Class::Obvious,
        summary: "HTTPRoute {route} is led to a Service that is not there",
        root: "HTTPRoute {route}",
        tells: &["networking_route_unresolved"],
        follows: &[],
        within: 150,
        lasts: 480,
        parameters: &[("route", "shop/storefront")],
        begin: |sim, fault| {
            edit(sim, Kind::HttpRoute, fault.parameter("route"), |route| {
                route.put("spec/rules/0/backendRefs/0/name", json!("storefront-next"));
            });
        },
        end: |sim, fault| restore(sim, Kind::HttpRoute, fault.parameter("route")),
    },
    FaultKind {
        name: "balancer-refused",
        layer: "networking",
        class: Class::Obvious,
        summary: "the cloud makes no load balancer for the new Service {service}: {error}",
        root: "Service {service}",
        tells: &["networking_loadbalancer_pending"],
        follows: &[],
        within: 120,
        lasts: 900,
        parameters: &[
            ("service", "media/streams"),
            (
                "error",
                "googleapi: Error 403: Quota 'FORWARDING_RULES' exceeded. Limit: 75.0 globally.",
            ),
        ],
        begin: |sim, fault| {
            sim.surroundings.balancer_error = Some(fault.parameter("error").to_owned());
            let at = key(fault.parameter("service"));
            let service = furnishing::balanced(&at.ns, &at.name, "uploads");
            sim.create(Kind::Service, service);
        },
        end: |sim, fault| {
            sim.surroundings.balancer_error = None;
            sim.delete(Kind::Service, &key(fault.parameter("service")));
        },
    },
    FaultKind {
        name: "balancer-lost",
        layer: "networking",
        class: Class::Obvious,
        summary: "the load balancer of Service {service} is gone and cannot be made again: {error}",
        root: "Service {service}",
        tells: &["networking_loadbalancer_pending", "networking_loadbalancer_addresses_lost_total"],
        follows: &[&[
            "networking_gateway_not_programmed",
            "networking_ingress_addresses_lost_total",
            "networking_ingress_no_address",
        ]],
        within: 120,
        lasts: 600,
        parameters: &[
            ("service", "platform/ingress"),
            ("error", "AccessDenied: not authorized to perform CreateLoadBalancer"),
        ],
        begin: |sim, fault| {
            sim.surroundings.balancer_error = Some(fault.parameter("error").to_owned());
            balancers::lose(sim, &key(fault.parameter("service")));
        },
        end: |sim, _| {
            sim.surroundings.balancer_error = None;
            balancers::retry(sim);
        },
    },
    FaultKind {
        name: "cni-down",
        layer: "networking",
        class: Class::Obvious,
        summary: "{agent} crashes on node {node} while other agents are restarted there",
        root: "Node {node}",
        tells: &["networking_sandbox_blocked", "networking_dataplane_uncovered"],
        follows: ONE_NODE,
        within: 420,
        lasts: 900,
        parameters: &[("agent", "kube-system/network-agent"), ("node", "node-b1")],
        begin: |sim, fault| {
            let node = fault.parameter("node");
            behave_on(sim, fault.parameter("agent"), node, CRASHES);
            for daemon in ["platform/log-agent", "kube-system/block-csi-node"] {
                restart_on(sim, daemon, node);
            }
        },
        end: |sim, fault| {
            let (agent, node) = (fault.parameter("agent"), fault.parameter("node"));
            behave_on(sim, agent, node, Conduct::Serves);
            restart_on(sim, agent, node);
        },
    },
    FaultKind {
        name: "proxy-missing",
        layer: "networking",
        class: Class::Moderate,
        summary: "{agent} crashes on node {node}, where Services are no longer kept up",
        root: "Node {node}",
        tells: &["networking_dataplane_uncovered", "compute_crashloop"],
        follows: ONE_NODE,
        within: 480,
        lasts: 900,
        parameters: &[("agent", "kube-system/node-proxy"), ("node", "node-c1")],
        begin: |sim, fault| {
            behave_on(sim, fault.parameter("agent"), fault.parameter("node"), CRASHES);
        },
        end: |sim, fault| {
            let (agent, node) = (fault.parameter("agent"), fault.parameter("node"));
            behave_on(sim, agent, node, Conduct::Serves);
            restart_on(sim, agent, node);
        },
    },
    FaultKind {
        name: "policy-cuts",
        layer: "networking",
        class: Class::Moderate,
        summary: "a NetworkPolicy closes all egress of {workload}",
        root: "NetworkPolicy {workload}",
        tells: &[
            "networking_service_not_serving",
            "compute_pods_unready",
            "compute_workload_unavailable",
            "compute_failed_probes_total",
            "compute_probe_failures_total",
        ],
        follows: POLICY_FOLLOWS,
        within: 300,
        lasts: 600,
        parameters: &[("workload", "shop/catalog")],
        begin: |sim, fault| {
            let at = key(fault.parameter("workload"));
            sim.create(Kind::NetworkPolicy, furnishing::policy(&at.ns, &at.name, &json!([])));
        },
        end: |sim, fault| sim.delete(Kind::NetworkPolicy, &key(fault.parameter("workload"))),
    },
    FaultKind {
        name: "policy-allows",
        layer: "networking",
        class: Class::Healthy,
        summary: "a NetworkPolicy lets through what {workload} needs",
        root: "NetworkPolicy {workload}",
        tells: &[],
        follows: &[&["networking_policy_changes_total", "networking_policy_selected_pods_ratio"]],
        within: 0,
        lasts: 600,
        parameters: &[("workload", "shop/catalog")],
        begin: |sim, fault| {
            let at = key(fault.parameter("workload"));
            sim.create(Kind::NetworkPolicy, furnishing::policy(&at.ns, &at.name, &json!([{}])));
        },
        end: |sim, fault| sim.delete(Kind::NetworkPolicy, &key(fault.parameter("workload"))),
    },
    FaultKind {
        name: "balancer-made",
        layer: "networking",
        class: Class::Healthy,
        summary: "a load balancer is made for the new Service {service}",
        root: "Service {service}",
        tells: &[],
        follows: &[&["networking_loadbalancer_address_seconds"]],
        within: 0,
        lasts: 900,
        parameters: &[("service", "media/previews")],
        begin: |sim, fault| {
            let at = key(fault.parameter("service"));
            let service = furnishing::balanced(&at.ns, &at.name, "thumbnails");
            sim.create(Kind::Service, service);
        },
        end: |sim, fault| sim.delete(Kind::Service, &key(fault.parameter("service"))),
    },
    FaultKind {
        name: "dns-released",
        layer: "networking",
        class: Class::Healthy,
        summary: "the cluster's DNS, Deployment {deployment}, gets a new version",
        root: "Deployment {deployment}",
        tells: &[],
        follows: &[
            STARTING,
            &[
                "compute_rollout_active",
                "networking_dns_ready_endpoints",
                "networking_endpoint_flaps_total",
            ],
        ],
        within: 0,
        lasts: 600,
        parameters: &[("deployment", "kube-system/cluster-dns")],
        begin: |sim, fault| {
            super::means::release(sim, fault.parameter("deployment"));
        },
        end: |sim, fault| roll_back(sim, fault.parameter("deployment")),
    },
    FaultKind {
        name: "gateway-controller-down",
        layer: "networking",
        class: Class::Moderate,
        summary: "the Gateway's controller {controller} crashes while HTTPRoute {route} is made",
        root: "Deployment {controller}",
        tells: &[
            "networking_route_unresolved",
            "networking_service_not_serving",
            "compute_crashloop",
        ],
        follows: GATEWAY_FOLLOWS,
        within: 300,
        lasts: 900,
        parameters: &[("controller", "platform/gateway"), ("route", "shop/catalog")],
        begin: |sim, fault| {
            behave(sim, fault.parameter("controller"), CRASHES);
            let route = key(fault.parameter("route"));
            sim.create(Kind::HttpRoute, furnishing::route(&route.ns, &route.name, &route.name));
        },
        end: |sim, fault| {
            recover(sim, fault.parameter("controller"));
            sim.delete(Kind::HttpRoute, &key(fault.parameter("route")));
        },
    },
];

const DNS_FOLLOWS: Follows = &[
    UNREADY,
    CUT_OFF,
    LED_NOWHERE,
    UNDELIVERED,
    &[
        "compute_container_restarts_total",
        "compute_create_failures",
        "compute_cronjob_overdue",
        "compute_hpa_unhealthy",
        "compute_pdb_blocking",
        "compute_failed_probes_total",
        "compute_probe_failures_total",
        "compute_rollout_active",
        "gitops_argo_condition",
        "gitops_argo_out_of_sync",
        "gitops_controller_down",
        "gitops_flux_reconcile_overdue",
        "networking_dns_ready_endpoints",
        "observability_collector_unhealthy",
        "observability_monitor_without_targets",
        "observability_prometheus_stack_unhealthy",
        "security_kyverno_engine",
        "security_webhook_backend_down",
        "security_webhook_calls_failing",
    ],
];

const GATEWAY_FOLLOWS: Follows = &[
    UNREADY,
    RESTARTING,
    FLAPPING,
    &["observability_leader_lease_stale", "observability_leader_transitions_total"],
];

const POLICY_FOLLOWS: Follows = &[
    FLAPPING,
    &[
        "compute_workload_available_ratio",
        "compute_workloads_degraded",
        "networking_policy_changes_total",
        "networking_policy_default_deny_ratio",
        "networking_policy_selected_pods_ratio",
    ],
];
