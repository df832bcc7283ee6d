//! Does every node run the agents that carry its pods' traffic?

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::{Pod, Status, Time, Workload};
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};
use crate::model::view::View;

use super::services::{changed, lasting};

pub(super) static COVERAGE: Signal = Signal {
    block: "S3.13",
    name: "networking_dataplane_coverage_ratio",
    layer: Layer::Networking,
    help: "Share of the nodes on which an agent of the pod network, of Services or of the DNS cache is available. \
           Healthy is 1.",
    unit: Unit::Ratio,
    labels: &["namespace", "workload_kind", "workload", "role"],
    reasons: &[],
    bound: "network agents, a few",
    needs: &[Kind::DaemonSet],
    uses: &[],
    profile: Profile::Level { bad: Direction::Low, floor: 0.05 },
    read: Read::Gauge(coverage),
};

pub(super) static UNCOVERED: Signal = Signal {
    block: "S3.13",
    name: "networking_dataplane_uncovered",
    layer: Layer::Networking,
    help: "Network agents that are not available on more nodes than are themselves lost or leaving. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "role", "reason"],
    reasons: &["none_available", "short"],
    bound: "network agents × 2 reasons",
    needs: &[Kind::DaemonSet, Kind::Node],
    uses: &[Kind::Pod],
    profile: Profile::None,
    read: Read::Rule(uncovered),
};

/// What an agent is for, and what its DaemonSet is called or labelled by those who make it.
const ROLES: &[(&str, &[&str])] = &[
    (
        "cni",
        &[
            "calico-node",
            "cilium",
            "canal",
            "rke2-canal",
            "kindnet",
            "kube-router",
            "aws-node",
            "azure-cni",
            "azure-cns",
            "antrea-agent",
            "weave-net",
            "flannel",
            "kube-flannel-ds",
            "ovnkube-node",
            "ovs-ovn",
            "kube-ovn-cni",
            "multus",
            "kube-multus-ds",
            "anetd",
            "netd",
        ],
    ),
    ("proxy", &["kube-proxy"]),
    ("dns_cache", &["node-local-dns", "nodelocaldns", "dns-default"]),
];

const LABELS: &[&str] = &["k8s-app", "app", "app.kubernetes.io/name"];

/// Seconds that an agent may be away from a node: while it is replaced, and while it is being rolled out.
const REPLACED: i64 = 180;
const ROLLED_OUT: i64 = 900;

/// What a DaemonSet is to the network, if anything. Agents of the data plane live in the node's own network.
fn role(agent: &Workload) -> Option<&'static str> {
    let template = agent.template.as_ref()?;
    let named = |names: &[&str]| {
        names.contains(&agent.meta.name.as_str())
            || LABELS.iter().any(|label| names.contains(&template.labels.value(label)))
    };
    let (role, _) = ROLES.iter().find(|(_, names)| named(names))?;
    (template.host_network || *role == "dns_cache").then_some(*role)
}

fn agents<'a>(view: &'a View<'_>) -> impl Iterator<Item = (&'a Workload, &'static str)> {
    let meant = |w: &&Workload| {
        w.kind == Kind::DaemonSet && w.observed() && !view.is_terminating(&w.meta.namespace)
    };
    view.counted_workloads().filter(meant).filter_map(|w| Some((w, role(w)?)))
}

fn coverage(view: &View<'_>, out: &mut Readings) {
    for (agent, role) in agents(view) {
        let labels = labels![&agent.meta.namespace, agent.kind.name(), &agent.meta.name, role];
        let available = agent.available.min(agent.desired);
        out.push_ratio(labels, u64::from(available), u64::from(agent.desired));
    }
}

fn uncovered(view: &View<'_>, out: &mut Verdicts) {
    let lost = view.world.nodes.iter().filter(|n| !view.works(n)).count() as u32;
    for (agent, role) in agents(view) {
        let missing = agent.desired.saturating_sub(agent.available);
        if missing <= lost {
            continue;
        }
        let none = agent.available == 0;
        let reason = if none { "none_available" } else { "short" };
        let kind = agent.kind.name();
        let labels = labels![&agent.meta.namespace, kind, &agent.meta.name, role, reason];
        let message = format!(
            "available on {} of {} nodes, {lost} of which are lost or leaving",
            agent.available, agent.desired
        );
        let subject = View::reference(agent).subject();
        let verdict = Verdict::new(subject, labels, reason, message);
        let severity = if none { Severity::Critical } else { Severity::Warning };
        let dwell = if view.in_rollout(agent) { ROLLED_OUT } else { REPLACED };
        let since = lasting(view, since(view, agent), dwell);
        out.push(verdict.severity(severity).since(since).dwell(dwell));
    }
}

/// Since when a pod of the agent on a working node is not ready; nothing where the pods are not there at all.
fn since(view: &View<'_>, agent: &Workload) -> Option<Time> {
    let working = |pod: &&Pod| {
        view.world.nodes.get("", &pod.node).is_some_and(|node| view.works(node))
            && pod.condition("Ready").is_none_or(|c| c.status != Status::True)
    };
    let reference = View::reference(agent);
    let pods = view.pods_of(&reference).filter(working);
    pods.map(changed).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::fixtures::{
        condition, deployment, judge, meta, objects, readings, reasons, world,
    };
    use crate::model::record::{Labelled, Node, Object, Template};

    fn agent(name: &str, label: &str, desired: u32, available: u32) -> Workload {
        let template = Template {
            labels: Labelled::from([("k8s-app", label)]),
            host_network: true,
            ..Template::default()
        };
        Workload {
            kind: Kind::DaemonSet,
            template: Some(Box::new(template)),
            ..deployment(name, desired, available)
        }
    }

    fn node(name: &str, status: Status) -> Node {
        let ready = condition("Ready", status, "", 600);
        Node { meta: meta("", name, 86_400), conditions: [ready].into(), ..Node::default() }
    }

    fn look(agent: Workload, lost: usize) -> Vec<&'static str> {
        let nodes = (0..3).map(|n| {
            let status = if n < lost { Status::Unknown } else { Status::True };
            Object::from(node(&format!("n{n}"), status))
        });
        reasons(&UNCOVERED, nodes.chain(objects![agent]).collect())
    }

    #[test]
    fn an_agent_must_be_on_every_node_that_works() {
        assert_eq!(look(agent("cilium", "cilium", 3, 2), 0), ["short"]);
        assert_eq!(look(agent("x", "kube-proxy", 3, 0), 0), ["none_available"]);
        assert!(look(agent("cilium", "cilium", 3, 3), 0).is_empty());
        assert!(look(agent("cilium", "cilium", 3, 2), 1).is_empty(), "the node is lost");
        assert!(look(agent("fluentd", "fluentd", 3, 1), 0).is_empty(), "no network agent");
        assert!(look(agent("cilium", "cilium", 0, 0), 0).is_empty(), "no node is chosen");
        let template = Template::default();
        let inside = Workload { template: Some(Box::new(template)), ..agent("canal", "", 3, 1) };
        assert!(look(inside, 0).is_empty(), "not in the node's network");
    }

    #[test]
    fn a_rollout_takes_its_time() {
        let rolling = Workload { updated: 1, ..agent("cilium", "cilium", 3, 2) };
        let dwell = |agent| judge(&UNCOVERED, &world(&[], objects![agent]))[0].dwell.as_secs();
        assert_eq!(dwell(rolling), ROLLED_OUT);
        assert_eq!(dwell(agent("cilium", "cilium", 3, 2)), REPLACED);
    }

    #[test]
    fn coverage_is_of_the_nodes_that_are_meant() {
        let found =
            readings(&COVERAGE, objects![agent("aws-node", "", 4, 3), deployment("web", 1, 0)]);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].value, found[0].population), (0.75, Some(4)));
        assert_eq!(found[0].labels.iter().last(), Some("cni"));
    }
}
