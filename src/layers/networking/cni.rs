//! Which nodes have no pod network?

use crate::labels;
use crate::layers::conditions::{Polarity, bad, one_line, words};
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Node, Status, Time};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::view::{NodeContext, View};

use super::sandboxes::NODE_START;

pub(super) static NODE_DOWN: Signal = Signal {
    block: "S3.12",
    name: "networking_cni_node_down",
    layer: Layer::Networking,
    help: "Nodes without a working pod network, outside of maintenance: no route, no CNI agent, or a plugin that is not \
           ready. Healthy is none.",
    unit: Unit::Count,
    labels: &["node", "zone", "reason"],
    reasons: &["no_route", "agent_down", "plugin_not_ready", "agent_not_ready"],
    bound: "nodes × 4 reasons",
    needs: &[Kind::Node],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(node_down),
};

pub(super) static TIGERA: Signal = Signal {
    block: "S3.12",
    name: "networking_tigerastatus_unhealthy",
    layer: Layer::Networking,
    help: "Components of Calico that their operator calls degraded or not available. Healthy is none.",
    unit: Unit::Count,
    labels: &["tigerastatus", "reason"],
    reasons: &["degraded", "unavailable"],
    bound: "components × 2 reasons",
    needs: &[Kind::TigeraStatus],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(tigera),
};

/// Taints that CNI agents take off once they work.
const AGENT_TAINTS: &[&str] = &["node.cilium.io/agent-not-ready"];

/// What the kubelet says while its runtime has no network.
const NOT_READY: &[&str] =
    &["networkpluginnotready", "networkready=false", "network plugin is not ready"];

static TIGERA_TABLE: &[Polarity] = &[
    Polarity::problem(&[Kind::TigeraStatus], "Degraded", 60),
    // It is not available while it is installed.
    Polarity::good(&[Kind::TigeraStatus], "Available", 300),
];

fn node_down(view: &View<'_>, out: &mut Verdicts) {
    let serves = |n: &&Node| matches!(view.node_context(n), None | Some(NodeContext::Cordoned));
    for node in view.world.nodes.iter().filter(serves) {
        if view.is_younger(node.meta.created, NODE_START) {
            continue;
        }
        for (reason, since, message) in faults(node) {
            let subject = Subject::new(Kind::Node, &Text::default(), &node.meta.name);
            let labels = labels![&node.meta.name, &node.zone, reason];
            let verdict = Verdict::new(subject, labels, reason, one_line(&message));
            out.push(verdict.severity(Severity::Critical).since(since));
        }
    }
}

fn faults(node: &Node) -> Vec<(&'static str, Option<Time>, String)> {
    let mut found = Vec::new();
    let unavailable = node.condition("NetworkUnavailable").filter(|c| c.status == Status::True);
    if let Some(condition) = unavailable {
        let reason = match condition.reason.as_str() {
            "NoRouteCreated" => "no_route",
            _ => "agent_down",
        };
        found.push((reason, condition.since, format!("NetworkUnavailable: {}", words(condition))));
    }
    if let Some(ready) = node.condition("Ready").filter(|c| c.status == Status::False) {
        let message = ready.message.to_ascii_lowercase();
        if NOT_READY.iter().any(|words| message.contains(words)) {
            found.push(("plugin_not_ready", ready.since, format!("not ready: {}", words(ready))));
        }
    }
    let taint = node.taints.iter().find(|t| AGENT_TAINTS.contains(&t.key.as_str()));
    if let Some(taint) = taint {
        let message = format!("the CNI agent has not taken the taint {} off", taint.key);
        found.push(("agent_not_ready", taint.added, message));
    }
    found
}

fn tigera(view: &View<'_>, out: &mut Verdicts) {
    for status in view.resources(Kind::TigeraStatus) {
        for (row, condition, dwell) in bad(status, TIGERA_TABLE) {
            let reason = if row.condition == "Degraded" { "degraded" } else { "unavailable" };
            let message = format!("{} is bad: {}", row.condition, words(condition));
            let labels = labels![&status.meta.name, reason];
            let verdict = Verdict::new(Subject::of(status), labels, reason, message);
            out.push(verdict.since(condition.since).dwell(dwell));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{condition, judge, meta, objects, reasons, resource, world};
    use crate::model::record::{Condition, Taint};

    fn node(age: i64, conditions: &[Condition]) -> Node {
        Node { meta: meta("", "n1", age), conditions: conditions.into(), ..Node::default() }
    }

    fn tainted(key: &str, node: Node) -> Node {
        let taint = Taint { key: key.into(), ..Taint::default() };
        Node { taints: [taint].into(), ..node }
    }

    fn unavailable(status: Status, reason: &str) -> Condition {
        condition("NetworkUnavailable", status, reason, 600)
    }

    #[test]
    fn a_node_without_a_network_tells_why() {
        let plugin = Condition {
            message: "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady".into(),
            ..condition("Ready", Status::False, "KubeletNotReady", 600)
        };
        let cases = [
            (node(3600, &[unavailable(Status::True, "NoRouteCreated")]), "no_route"),
            (node(3600, &[unavailable(Status::True, "CalicoIsDown")]), "agent_down"),
            (node(3600, &[plugin]), "plugin_not_ready"),
            (tainted("node.cilium.io/agent-not-ready", node(3600, &[])), "agent_not_ready"),
        ];
        for (node, expected) in cases {
            let found = judge(&NODE_DOWN, &world(&[], objects![node]));
            assert_eq!(found.len(), 1);
            assert_eq!((found[0].reason, found[0].severity), (expected, Severity::Critical));
            assert_eq!(found[0].subject.to_string(), "Node n1");
        }
    }

    #[test]
    fn a_node_that_works_starts_or_leaves_is_silent() {
        let down = || unavailable(Status::True, "NoRouteCreated");
        let stopped = Condition {
            message: "Kubelet stopped posting node status.".into(),
            ..condition("Ready", Status::Unknown, "NodeStatusUnknown", 600)
        };
        let other = Condition {
            message: "PLEG is not healthy".into(),
            ..condition("Ready", Status::False, "KubeletNotReady", 600)
        };
        let cases = [
            node(3600, &[unavailable(Status::False, "RouteCreated")]),
            node(3600, &[unavailable(Status::Unknown, "")]),
            node(60, &[down()]),
            tainted("ToBeDeletedByClusterAutoscaler", node(3600, &[down()])),
            node(3600, &[stopped]),
            node(3600, &[other]),
            node(3600, &[]),
        ];
        for (i, node) in cases.into_iter().enumerate() {
            assert!(reasons(&NODE_DOWN, objects![node]).is_empty(), "case {i}");
        }
    }

    #[test]
    fn calicos_operator_speaks_for_its_components() {
        let look = |kind: &str, status: &str| {
            let conditions = json!([{"type": kind, "status": status, "message": "two\nlines"}]);
            let manifest = json!({"status": {"conditions": conditions}});
            reasons(&TIGERA, objects![resource(Kind::TigeraStatus, "calico", manifest)])
        };
        assert_eq!(look("Degraded", "True"), ["degraded"]);
        assert_eq!(look("Available", "False"), ["unavailable"]);
        assert!(look("Available", "True").is_empty() && look("Progressing", "True").is_empty());
    }
}
