//! What does the house have beside workloads? Services and the ways to them, budgets, quotas, autoscalers, monitors.

use serde_json::{Value, json};

use super::controllers::{apiservices, autoscaler, gateway, ingress, leases, reach};
use super::fields::Fields;
use super::kind::Kind;
use super::layout::Tenant;
use super::manifests::{App, CONFIG, CONFIG_KEY, Role};
use super::simulation::Simulation;

/// Whose clients come through the Ingress, and whose through the Gateway.
const BY_INGRESS: &[&str] = &["shop/checkout", "media/uploads", "analytics/ingest"];
const BY_GATEWAY: &[&str] = &["shop/storefront", "accounts/login", "search/query"];
/// What follows its load.
pub(crate) const SCALED: &[&str] =
    &["shop/storefront", "accounts/login", "search/query", "media/thumbnails"];
/// What keeps most of its pods while nodes are drained.
const BUDGETED: &[&str] = &[
    "kube-system/cluster-dns",
    "platform/ingress",
    "shop/checkout",
    "payments/gateway",
    "payments/ledger",
    "search/query",
];
/// What Prometheus scrapes, by the monitor's namespace and name, and the port.
const SCRAPED: &[(&str, &str)] = &[
    ("kube-system/kube-dns", "metrics"),
    ("kube-system/resource-metrics", "https"),
    ("platform/ingress", "http"),
    ("shop/checkout", "http"),
    ("payments/gateway", "http"),
    ("accounts/login", "http"),
];
/// The namespace with a quota, and how much more than its own workloads it may hold.
pub(crate) const LIMITED: &str = "analytics";
const SPARE_PODS: u32 = 10;
/// The namespace with policies for its traffic.
const GUARDED: &str = "payments";
/// The certificate of the Gateway.
pub(crate) const CERTIFICATE: &str = "edge-tls";

/// What belongs to no namespace, or to those of the system.
pub(crate) fn cluster(sim: &mut Simulation) {
    let class = json!({
        "metadata": {"name": ingress::CLASS},
        "spec": {"controller": "ingress.example/controller"},
    });
    sim.create(Kind::IngressClass, class);
    let class = json!({
        "metadata": {"name": gateway::CLASS},
        "spec": {"controllerName": gateway::CONTROLLER},
    });
    sim.create(Kind::GatewayClass, class);
    for (name, group, service) in [
        ("v1.", "", ""),
        ("v1.apps", "apps", ""),
        (apiservices::METRICS, "metrics.k8s.io", "resource-metrics"),
    ] {
        let version = name.split('.').next().unwrap_or_default();
        let mut api = json!({
            "metadata": {"name": name},
            "spec": {"group": group, "version": version, "groupPriorityMinimum": 100, "versionPriority": 100},
        });
        if !service.is_empty() {
            api.put(
                "spec/service",
                json!({"name": service, "namespace": "kube-system", "port": 443}),
            );
        }
        sim.create(Kind::ApiService, api);
    }
    api_server(sim);
}

/// The API server's own Service, whose endpoints it writes itself.
fn api_server(sim: &mut Simulation) {
    let mut own =
        service("default", "kubernetes", &json!({}), &json!([port("https", 443, &json!(6443))]));
    own.drop_field("spec/selector");
    own.put("spec/clusterIP", json!("100.64.0.1"));
    own.put("spec/clusterIPs", json!(["100.64.0.1"]));
    sim.create(Kind::Service, own);
    let slice = json!({
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["198.19.249.1"], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
    });
    sim.create(Kind::EndpointSlice, slice);
}

/// What a namespace has, before its workloads come.
pub(crate) fn tenant(sim: &mut Simulation, tenant: &Tenant) {
    let ns = tenant.ns.as_str();
    match ns {
        "kube-system" => leases::found(sim),
        "platform" => platform(sim),
        GUARDED => guard(sim),
        LIMITED => limit(sim, &tenant.apps),
        _ => {}
    }
    for app in &tenant.apps {
        if matches!(app.role, Role::Deployment { .. } | Role::StatefulSet { .. }) {
            let mut service = service_of(app);
            address(sim, &mut service);
            sim.create(Kind::Service, service);
        }
        let at = format!("{ns}/{}", app.name);
        let has = |list: &[&str]| list.contains(&at.as_str());
        if has(BY_INGRESS) {
            sim.create(Kind::Ingress, ingress_of(app));
        }
        if has(BY_GATEWAY) {
            sim.create(Kind::HttpRoute, route(ns, &app.name, &app.name));
        }
        if has(SCALED) {
            sim.create(Kind::HorizontalPodAutoscaler, autoscaler_of(app));
        }
        if has(BUDGETED) {
            let budget = json!({
                "metadata": {"name": app.name, "namespace": ns},
                "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": app.name}}},
            });
            sim.create(Kind::PodDisruptionBudget, budget);
        }
    }
    for (name, port) in SCRAPED.iter().filter_map(|(at, port)| Some((at.split_once('/')?, port))) {
        if name.0 == ns {
            sim.create(Kind::ServiceMonitor, monitor(ns, name.1, port));
        }
    }
}

fn port(name: &str, number: u32, target: &Value) -> Value {
    json!({"name": name, "port": number, "protocol": "TCP", "targetPort": target})
}

fn service(ns: &str, name: &str, selector: &Value, ports: &Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": ns, "labels": {"app": name}},
        "spec": {
            "type": "ClusterIP",
            "selector": selector,
            "ports": ports,
            "sessionAffinity": "None",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
        },
        "status": {"loadBalancer": {}},
    })
}

/// The Service of an app, which is called as it is but for the cluster's DNS.
fn service_of(app: &App) -> Value {
    let selector = json!({"app": app.name});
    let http = json!([port("http", 80, &json!("http"))]);
    let of = |name: &str, ports: &Value| service(&app.ns, name, &selector, ports);
    match (app.ns.as_str(), app.name.as_str()) {
        ("kube-system", "cluster-dns") => {
            let mut udp = port("dns", 53, &json!(53));
            udp.put("protocol", json!("UDP"));
            let ports = [udp, port("dns-tcp", 53, &json!(53)), port("metrics", 9153, &json!(9153))];
            let mut dns = of(&reach::dns().name, &Value::from(ports.to_vec()));
            dns.put("metadata/labels/k8s-app", json!("kube-dns"));
            dns
        }
        ("kube-system", name @ "resource-metrics") => {
            of(name, &json!([port("https", 443, &json!("http"))]))
        }
        ("platform", name @ ("ingress" | "gateway")) => balanced("platform", name, name),
        (_, name) => {
            let mut service = of(name, &http);
            if matches!(app.role, Role::StatefulSet { .. }) {
                service.put("spec/clusterIP", json!("None"));
            }
            service
        }
    }
}

/// Gives a Service its address, from the range that carriers share (RFC 6598): data only, never dialled.
fn address(sim: &Simulation, service: &mut Value) {
    if service.text("spec/clusterIP") != "None" {
        let name =
            format!("{}/{}", service.text("metadata/namespace"), service.text("metadata/name"));
        let bits = sim.chance.of("cluster-ip", &name).bits();
        let own = format!("100.64.{}.{}", 1 + bits % 250, 1 + (bits >> 8) % 254);
        service.put("spec/clusterIP", json!(own));
    }
    let own = service.text("spec/clusterIP").to_owned();
    service.put("spec/clusterIPs", json!([own]));
}

/// A Service of type `LoadBalancer` for an app.
pub(crate) fn balanced(ns: &str, name: &str, app: &str) -> Value {
    let ports = json!([port("http", 80, &json!("http"))]);
    let mut service = service(ns, name, &json!({"app": app}), &ports);
    service.put("spec/type", json!("LoadBalancer"));
    service.put("spec/externalTrafficPolicy", json!("Cluster"));
    service.put("spec/allocateLoadBalancerNodePorts", json!(true));
    service
}

/// A policy for the egress of an app.
pub(crate) fn policy(ns: &str, app: &str, egress: &Value) -> Value {
    json!({
        "metadata": {"name": app, "namespace": ns},
        "spec": {
            "podSelector": {"matchLabels": {"app": app}},
            "policyTypes": ["Egress"],
            "egress": egress,
        },
    })
}

fn ingress_of(app: &App) -> Value {
    let backend = json!({"service": {"name": app.name, "port": {"name": "http"}}});
    json!({
        "metadata": {"name": app.name, "namespace": app.ns},
        "spec": {
            "ingressClassName": ingress::CLASS,
            "rules": [{
                "host": format!("{}.{}.example", app.name, app.ns),
                "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]},
            }],
        },
        "status": {"loadBalancer": {}},
    })
}

/// A route of the house's Gateway to a Service of its own namespace.
pub(crate) fn route(ns: &str, name: &str, service: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": ns},
        "spec": {
            "parentRefs": [{
                "group": "gateway.networking.k8s.io",
                "kind": "Gateway",
                "name": "edge",
                "namespace": "platform",
            }],
            "hostnames": [format!("{name}.{ns}.example")],
            "rules": [{"backendRefs": [
                {"group": "", "kind": "Service", "name": service, "port": 80, "weight": 1},
            ]}],
        },
        "status": {"parents": []},
    })
}

fn autoscaler_of(app: &App) -> Value {
    let replicas = app.replicas();
    let target = json!({"type": "Utilization", "averageUtilization": 70});
    json!({
        "metadata": {"name": app.name, "namespace": app.ns},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": app.name},
            "minReplicas": (replicas * 3).div_ceil(5).max(1),
            "maxReplicas": replicas * autoscaler::MOST as u32,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
        "status": {"currentReplicas": replicas, "desiredReplicas": replicas},
    })
}

fn monitor(ns: &str, app: &str, port: &str) -> Value {
    json!({
        "metadata": {"name": app, "namespace": ns, "labels": {"team": ns}},
        "spec": {
            "selector": {"matchLabels": {"app": app}},
            "endpoints": [{"port": port, "path": "/metrics", "interval": "30s"}],
        },
    })
}

/// The Gateway and the monitoring systems.
fn platform(sim: &mut Simulation) {
    let secret = json!({
        "metadata": {"name": CERTIFICATE, "namespace": "platform"},
        "type": "kubernetes.io/tls",
        "data": {"tls.crt": "", "tls.key": ""},
    });
    sim.create(Kind::Secret, secret);
    let all = json!({"namespaces": {"from": "All"}});
    let listener = |name: &str, port: u32, protocol: &str| json!({"name": name, "port": port, "protocol": protocol, "allowedRoutes": all});
    let mut https = listener("https", 443, "HTTPS");
    https.put(
        "tls",
        json!({
            "mode": "Terminate",
            "certificateRefs": [{"group": "", "kind": "Secret", "name": CERTIFICATE}],
        }),
    );
    let gateway = json!({
        "metadata": {"name": "edge", "namespace": "platform"},
        "spec": {"gatewayClassName": gateway::CLASS, "listeners": [listener("http", 80, "HTTP"), https]},
    });
    sim.create(Kind::Gateway, gateway);
    let prometheus = json!({
        "metadata": {"name": "main", "namespace": "platform"},
        "spec": {
            "replicas": 2,
            "serviceMonitorSelector": {},
            "serviceMonitorNamespaceSelector": {},
            "ruleSelector": {},
            "ruleNamespaceSelector": {},
        },
    });
    sim.create(Kind::Prometheus, prometheus);
    let alert = |name: &str, expr: &str| json!({"alert": name, "expr": expr, "for": "5m"});
    let rules = json!({
        "metadata": {"name": "house", "namespace": "platform"},
        "spec": {"groups": [{"name": "house", "rules": [
            alert("CheckoutErrors", "sum(rate(checkout_errors_total[5m])) > 1"),
            alert("LoginSlow", "histogram_quantile(0.99, rate(login_seconds_bucket[5m])) > 2"),
            {"record": "checkout:requests:rate5m", "expr": "sum(rate(checkout_requests_total[5m]))"},
        ]}]},
    });
    sim.create(Kind::PrometheusRule, rules);
    let collector = json!({
        "metadata": {"name": "otel", "namespace": "platform"},
        "spec": {"mode": "deployment", "replicas": 2, "config": {}},
    });
    sim.create(Kind::OpenTelemetryCollector, collector);
}

/// Policies that let everything through that is needed, and the configuration of the gateway of payments.
fn guard(sim: &mut Simulation) {
    let policy = json!({
        "metadata": {"name": "known-traffic", "namespace": GUARDED},
        "spec": {
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [{"namespaceSelector": {}}]}],
            "egress": [{}],
        },
    });
    sim.create(Kind::NetworkPolicy, policy);
    let config = json!({
        "metadata": {"name": CONFIG, "namespace": GUARDED},
        "data": {CONFIG_KEY: "https://provider.example"},
    });
    sim.create(Kind::ConfigMap, config);
}

/// A quota with room to grow.
fn limit(sim: &mut Simulation, apps: &[App]) {
    let pods: u32 = apps.iter().map(App::replicas).sum();
    let memory: u32 = apps.iter().map(|a| a.replicas() * a.memory_mebi).sum();
    let quota = json!({
        "metadata": {"name": "compute", "namespace": LIMITED},
        "spec": {"hard": {
            "pods": (2 * pods + SPARE_PODS).to_string(),
            "requests.memory": format!("{}Mi", 2 * memory + 1024 * SPARE_PODS),
        }},
    });
    sim.create(Kind::ResourceQuota, quota);
}
