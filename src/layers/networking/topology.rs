//! Would the loss of one zone take a Service with it, and do the nodes behind a load balancer have local endpoints?

use std::collections::BTreeSet;

use super::services::selects;
use crate::labels;
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::{Node, Status};
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};
use crate::model::text::Text;
use crate::model::view::View;

pub(super) static ZONE_SHARE: Signal = Signal {
    block: "S3.4",
    name: "networking_endpoint_zone_share_ratio",
    layer: Layer::Networking,
    help: "Share of the ready endpoints of a Service in the zone that has most of them, of Services with two or more in \
           clusters of two zones or more. At 1 the loss of a zone is the loss of the Service.",
    unit: Unit::Ratio,
    labels: &["namespace", "service"],
    reasons: &[],
    bound: "services",
    needs: &[Kind::Service, Kind::EndpointSlice, Kind::Node],
    uses: &[],
    profile: Profile::Level { bad: Direction::High, floor: 0.2 },
    read: Read::Gauge(zone_share),
};

pub(super) static LOCAL_NODES: Signal = Signal {
    block: "S3.4",
    name: "networking_local_endpoint_nodes_ratio",
    layer: Layer::Networking,
    help: "Share of the ready worker nodes that have a ready endpoint of a load balancer's Service with \
           externalTrafficPolicy Local; the others get no traffic. Healthy is stable.",
    unit: Unit::Ratio,
    labels: &["namespace", "service"],
    reasons: &[],
    bound: "Services of type LoadBalancer",
    needs: &[Kind::Service, Kind::EndpointSlice, Kind::Node],
    uses: &[],
    profile: Profile::Level { bad: Direction::Low, floor: 0.1 },
    read: Read::Gauge(local_nodes),
};

/// Taints of nodes that load balancers leave out.
const CONTROL_PLANE: &[&str] =
    &["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];

fn zone_share(view: &View<'_>, out: &mut Readings) {
    let zones: BTreeSet<&Text> =
        view.world.nodes.iter().map(|n| &n.zone).filter(|z| !z.is_empty()).collect();
    if zones.len() < 2 {
        return;
    }
    for service in view.resources(Kind::Service).filter(|s| selects(s)) {
        let endpoints = view.endpoints(&service.meta.namespace, &service.meta.name);
        let counts =
            || endpoints.zones.iter().filter(|(zone, _)| !zone.is_empty()).map(|(_, n)| *n);
        let (all, most) = (counts().sum::<u32>(), counts().max().unwrap_or(0));
        if all >= 2 {
            let labels = labels![&service.meta.namespace, &service.meta.name];
            out.push_ratio(labels, u64::from(most), u64::from(all));
        }
    }
}

fn local_nodes(view: &View<'_>, out: &mut Readings) {
    let serves = |node: &&Node| {
        node.condition("Ready").is_some_and(|c| c.status == Status::True)
            && !CONTROL_PLANE.iter().any(|taint| node.tainted(taint))
            && view.node_context(node).is_none()
    };
    let nodes: BTreeSet<&Text> =
        view.world.nodes.iter().filter(serves).map(|n| &n.meta.name).collect();
    for service in view.resources(Kind::Service).filter(|s| selects(s)) {
        if service.body.text("spec.type") != "LoadBalancer"
            || service.body.text("spec.externalTrafficPolicy") != "Local"
        {
            continue;
        }
        let endpoints = view.endpoints(&service.meta.namespace, &service.meta.name);
        let local = endpoints.nodes.iter().filter(|n| nodes.contains(n)).count();
        if !endpoints.ready.is_empty() {
            let labels = labels![&service.meta.namespace, &service.meta.name];
            out.push_ratio(labels, local as u64, nodes.len() as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{condition, meta, objects, readings, resource, service, slice};
    use crate::model::record::{Object, Taint};

    fn node(name: &str, zone: &str) -> Node {
        Node {
            meta: meta("", name, 86_400),
            zone: zone.into(),
            conditions: [condition("Ready", Status::True, "", 80_000)].into(),
            ..Node::default()
        }
    }

    fn values(signal: &Signal, all: Vec<Object>) -> Vec<f64> {
        readings(signal, all).into_iter().map(|r| r.value).collect()
    }

    #[test]
    fn the_share_of_the_fullest_zone_where_there_is_a_choice() {
        let spread = |zones: [&str; 2], ready: &[bool]| {
            let nodes = objects![node("n0", zones[0]), node("n1", zones[1])];
            values(
                &ZONE_SHARE,
                nodes.into_iter().chain(objects![service("web"), slice("web", ready)]).collect(),
            )
        };
        assert_eq!(spread(["a", "b"], &[true, true]), [0.5]);
        assert_eq!(spread(["a", "b"], &[true, false, false, true]), [1.0]);
        assert!(spread(["a", "b"], &[true]).is_empty(), "one endpoint has no spread");
        assert!(spread(["a", "a"], &[true, true]).is_empty(), "one zone has no choice");
        assert!(spread(["", ""], &[true, true]).is_empty());
    }

    #[test]
    fn nodes_without_a_local_endpoint_get_no_traffic() {
        let balanced = |policy: &str| {
            let spec = json!({"type": "LoadBalancer", "externalTrafficPolicy": policy, "selector": {"app": "web"}});
            let service = resource(Kind::Service, "web", json!({"spec": spec}));
            let taint = Taint { key: CONTROL_PLANE[0].into(), ..Taint::default() };
            let control = Node { taints: [taint].into(), ..node("c", "a") };
            let lost = Node { conditions: [].into(), ..node("n2", "a") };
            let nodes = objects![node("n0", "a"), node("n1", "b"), control, lost];
            let all = objects![service, slice("web", &[true])];
            values(&LOCAL_NODES, nodes.into_iter().chain(all).collect())
        };
        assert_eq!(balanced("Local"), [0.5]);
        assert!(balanced("Cluster").is_empty());
    }
}
