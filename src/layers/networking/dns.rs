//! Does the cluster's DNS answer, and do pods and nodes get a DNS configuration that works?

use std::collections::BTreeMap;

use super::services::outage;
use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::{Labels, Readings};
use crate::model::record::{Event, Node, Resource, Status, Time, Uid};
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};
use crate::model::subject::{Subject, WorkloadRef};
use crate::model::text::Text;
use crate::model::view::{View, roll_up};

pub(super) static DEGRADED: Signal = Signal {
    block: "S3.10",
    name: "networking_dns_degraded",
    layer: Layer::Networking,
    help: "Services of the cluster's DNS with no ready endpoint, fewer than half of them, one only, or all on one node. \
           Healthy is none: two or more on two nodes or more.",
    unit: Unit::Count,
    labels: &["namespace", "service", "reason"],
    reasons: &["no_ready", "half_ready", "one_endpoint", "one_node"],
    bound: "DNS Services × 4 reasons",
    needs: &[Kind::Service, Kind::EndpointSlice],
    uses: &[Kind::Node, Kind::Pod],
    profile: Profile::None,
    read: Read::Rule(degraded),
};

pub(super) static READY: Signal = Signal {
    block: "S3.10",
    name: "networking_dns_ready_endpoints",
    layer: Layer::Networking,
    help: "Ready endpoints of the cluster's DNS. Healthy is two or more, and stable.",
    unit: Unit::Count,
    labels: &["namespace", "service"],
    reasons: &[],
    bound: "DNS Services",
    needs: &[Kind::Service, Kind::EndpointSlice],
    uses: &[],
    profile: Profile::Level { bad: Direction::Low, floor: 1.0 },
    read: Read::Gauge(ready),
};

pub(super) static CONFIG: Signal = Signal {
    block: "S3.10",
    name: "networking_dns_config",
    layer: Layer::Networking,
    help: "Workloads and nodes whose DNS configuration the kubelet finds fault with. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "node", "reason"],
    reasons: &["limits_exceeded", "cluster_dns_missing", "node_resolv_conf"],
    bound: "workloads × 2 reasons + nodes × 2 reasons",
    needs: &[Kind::Event],
    uses: &[Kind::Pod, Kind::Node],
    profile: Profile::None,
    read: Read::Rule(config),
};

/// Where distributions put the cluster's DNS.
const NAMESPACES: &[&str] = &["kube-system", "openshift-dns"];

/// What its Service is called, or carries as one of [`LABELS`].
const NAMES: &[&str] = &["kube-dns", "coredns", "rke2-coredns-rke2-coredns", "dns-default"];

const LABELS: &[&str] = &["k8s-app", "app.kubernetes.io/name"];

/// The kubelet's reports and what they tell.
const REPORTS: &[(&str, &str)] = &[
    ("DNSConfigForming", "limits_exceeded"),
    ("MissingClusterDNS", "cluster_dns_missing"),
    ("CheckLimitsForResolvConf", "node_resolv_conf"),
];

/// The Services by which pods ask the cluster's DNS: by role, since every distribution has its own name for it.
fn services<'a>(view: &'a View<'_>) -> impl Iterator<Item = &'a Resource> {
    view.resources(Kind::Service).filter(|service| {
        let meta = &service.meta;
        let called = |name: &str| NAMES.contains(&name);
        NAMESPACES.contains(&meta.namespace.as_str())
            && (called(&meta.name) || LABELS.iter().any(|l| called(meta.labels.value(l))))
            && service.body.items("spec.ports").iter().any(|p| p.number("port") == Some(53.0))
    })
}

fn degraded(view: &View<'_>, out: &mut Verdicts) {
    let up = |n: &&Node| n.condition("Ready").is_some_and(|c| c.status == Status::True);
    let nodes = view.world.nodes.iter().filter(up).count();
    for service in services(view) {
        let endpoints = view.endpoints(&service.meta.namespace, &service.meta.name);
        let (ready, all) =
            (endpoints.ready.len(), endpoints.all.difference(&endpoints.draining).count());
        let outage = outage(view, service);
        let (reason, severity, dwell, told) = match ready {
            // Where nothing is meant to run behind it, as in some managed clusters, DNS is served elsewhere.
            0 if all == 0 && outage.is_none() => continue,
            0 => ("no_ready", Severity::Critical, 30, "none of its endpoints is ready"),
            n if n * 2 < all => {
                ("half_ready", Severity::Warning, 120, "fewer than half of its endpoints are ready")
            }
            1 if nodes > 1 => (
                "one_endpoint",
                Severity::Info,
                600,
                "one endpoint only is ready, so that its restart is felt",
            ),
            _ if nodes > 1 && endpoints.nodes.len() == 1 => {
                ("one_node", Severity::Info, 600, "all of its endpoints are on one node")
            }
            _ => continue,
        };
        let labels = labels![&service.meta.namespace, &service.meta.name, reason];
        let message = format!("the cluster's DNS: {told} ({ready} of {all} ready)");
        let verdict = Verdict::new(Subject::of(service), labels, reason, message);
        let since = outage.and_then(|o| o.since);
        out.push(verdict.severity(severity).since(since).dwell(dwell));
    }
}

fn ready(view: &View<'_>, out: &mut Readings) {
    for service in services(view) {
        let endpoints = view.endpoints(&service.meta.namespace, &service.meta.name);
        let labels = labels![&service.meta.namespace, &service.meta.name];
        out.push(labels, endpoints.ready.len() as f64);
    }
}

fn config(view: &View<'_>, out: &mut Verdicts) {
    let mut told: BTreeMap<(Subject, &'static str), (Labels, Time, String)> = BTreeMap::new();
    let mut events: Vec<(&Event, &'static str)> = view
        .world
        .events
        .iter()
        .filter(|e| view.still_speaks(e))
        .filter_map(|e| Some((e, REPORTS.iter().find(|(name, _)| e.reason == *name)?.1)))
        .collect();
    events.sort_unstable_by_key(|(e, _)| (e.first, e.meta.uid));
    for (event, reason) in events {
        let Some((subject, labels)) = about(view, event, reason) else { continue };
        let entry = (labels, event.first, event.note.to_string());
        told.entry((subject, reason)).or_insert(entry);
    }
    for ((subject, reason), (labels, since, note)) in told {
        let severity =
            if reason == "cluster_dns_missing" { Severity::Warning } else { Severity::Info };
        let message = format!("the kubelet says: {}", note.lines().next().unwrap_or_default());
        let verdict = Verdict::new(subject, labels, reason, message);
        out.push(verdict.severity(severity).since(since).dwell(300));
    }
}

/// Under what an event counts: the pod's workload, or the node. One about what is gone says nothing.
fn about(view: &View<'_>, event: &Event, reason: &'static str) -> Option<(Subject, Labels)> {
    let about = &event.regarding;
    let none = Text::default();
    match about.kind.as_str() {
        "Pod" => {
            let pod = view.world.pods.get(&about.namespace, &about.name)?;
            let workload = roll_up(view.world, pod);
            let same = about.uid == Uid::default() || about.uid == pod.meta.uid;
            let WorkloadRef { namespace, kind, name } = &workload;
            let labels = labels![namespace, kind, name, &none, reason];
            (same && view.counts(pod, &workload)).then(|| (workload.subject(), labels))
        }
        "Node" => {
            let node = view.world.nodes.get("", &about.name)?;
            let labels = labels![&none, &none, &none, &node.meta.name, reason];
            Some((Subject::new(Kind::Node, &none, &node.meta.name), labels))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{
        condition, event, judge, meta, objects, pod_of, readings, reasons, resource, slice, world,
    };
    use crate::model::record::{Meta, Object, Slice};

    #[allow(clippy::needless_pass_by_value)]
    fn dns(name: &str, labels: serde_json::Value, port: u16) -> Resource {
        let manifest = json!({
            "metadata": {"namespace": "kube-system", "labels": labels},
            "spec": {"selector": {"k8s-app": "kube-dns"}, "ports": [{"port": port}]},
        });
        resource(Kind::Service, name, manifest)
    }

    fn node(name: &str) -> Node {
        let ready = condition("Ready", Status::True, "", 80_000);
        Node { meta: meta("", name, 86_400), conditions: [ready].into(), ..Node::default() }
    }

    fn cluster(ready: &[bool], nodes: usize) -> Vec<Object> {
        let own = slice("kube-dns", ready);
        let slice = Slice { meta: Meta { namespace: "kube-system".into(), ..own.meta }, ..own };
        let mut all = objects![dns("kube-dns", json!({}), 53), slice];
        all.extend((0..nodes).map(|n| Object::from(node(&format!("n{n}")))));
        all
    }

    #[test]
    fn dns_is_judged_by_its_ready_endpoints_and_their_nodes() {
        let cases: [(&[bool], usize, &[&str]); 7] = [
            (&[], 3, &[]),
            (&[false, false], 1, &["no_ready"]),
            (&[true, false, false], 3, &["half_ready"]),
            (&[true], 3, &["one_endpoint"]),
            (&[true], 1, &[]),
            (&[true, true], 3, &[]),
            (&[true, false], 1, &[]),
        ];
        for (ready, nodes, expected) in cases {
            assert_eq!(reasons(&DEGRADED, cluster(ready, nodes)), expected, "{ready:?} {nodes}");
        }
        let own = slice("kube-dns", &[true, true]);
        let mut packed =
            Slice { meta: Meta { namespace: "kube-system".into(), ..own.meta }, ..own };
        packed.endpoints[1].node = "n0".into();
        let all = objects![dns("kube-dns", json!({}), 53), packed, node("n0"), node("n1")];
        assert_eq!(reasons(&DEGRADED, all), ["one_node"]);
        let found = judge(&DEGRADED, &world(&[], cluster(&[false], 3)));
        assert_eq!(found[0].severity, Severity::Critical);
    }

    #[test]
    fn dns_is_found_by_its_role() {
        let told = |service: Resource| !readings(&READY, objects![service]).is_empty();
        assert!(told(dns("x", json!({"k8s-app": "kube-dns"}), 53)));
        assert!(told(dns("rke2-coredns-rke2-coredns", json!({}), 53)));
        assert!(!told(dns("coredns", json!({}), 9153)), "its metrics");
        assert!(!told(dns("web", json!({"k8s-app": "web"}), 53)));
        let spec = json!({"spec": {"ports": [{"port": 53}]}});
        assert!(!told(resource(Kind::Service, "kube-dns", spec)), "a team's own, in shop");
        let values = readings(&READY, cluster(&[true, false, true], 3));
        assert_eq!(values[0].value, 2.0);
    }

    #[test]
    fn what_the_kubelet_finds_fault_with_counts_under_workload_or_node() {
        let pod =
            |name| event((Kind::Pod, name), "DNSConfigForming", "Search Line limits", 900, 60);
        let on = |reason| event((Kind::Node, "n1"), reason, "Resolv.conf", 900, 60);
        let all = objects![
            pod_of("web", "web-1"),
            pod_of("web", "web-2"),
            pod("web-1"),
            pod("web-2"),
            pod("gone"),
            node("n1"),
            on("CheckLimitsForResolvConf"),
            on("MissingClusterDNS"),
        ];
        let found = judge(&CONFIG, &world(&[], all));
        let told: Vec<_> = found.iter().map(|v| (v.subject.to_string(), v.reason)).collect();
        let expected = [
            ("Deployment shop/web", "limits_exceeded"),
            ("Node n1", "cluster_dns_missing"),
            ("Node n1", "node_resolv_conf"),
        ];
        assert_eq!(told, expected.map(|(subject, reason)| (subject.to_owned(), reason)));
        let old = event((Kind::Node, "n1"), "MissingClusterDNS", "x", 9000, 3000);
        assert!(reasons(&CONFIG, objects![node("n1"), old]).is_empty());
    }
}
