//! Which pods were put out, and by what? Counted once a pod, whatever of it the status shows.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Phase, Pod, Status, Time};
use crate::model::signal::{Observation, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::tally::Tallies;
use crate::model::text::Text;
use crate::model::view::View;

pub(super) static EVICTIONS: Signal = Signal {
    block: "S2.10",
    name: "compute_evictions_total",
    layer: Layer::Compute,
    help: "Pods that were put out, by cause and, for pressure on a node, by the resource that ran out. Those by api \
           and pod_gc are every day's business. Those that leave a node in maintenance have a counter of their own.",
    unit: Unit::Count,
    labels: &["namespace", "reason", "resource"],
    reasons: REASONS,
    bound: "namespaces × 9 causes × 5 resources",
    needs: &[Kind::Pod],
    uses: &[Kind::Node],
    profile: Profile::Rate,
    read: Read::Counter,
};

pub(super) static MOVED: Signal = Signal {
    block: "S2.10",
    name: "compute_maintenance_evictions_total",
    layer: Layer::Compute,
    help: "Pods that left a node in maintenance through the eviction API: moved on purpose, so never an anomaly.",
    unit: Unit::Count,
    labels: &["namespace"],
    reasons: &[],
    bound: "namespaces",
    needs: &[Kind::Pod, Kind::Node],
    uses: &[],
    profile: Profile::None,
    read: Read::Counter,
};

pub(super) static NODE_EVICTING: Signal = Signal {
    block: "S2.10",
    name: "compute_node_evicting",
    layer: Layer::Compute,
    help: "Nodes that put out two or more pods for pressure within 30 minutes. Healthy is none.",
    unit: Unit::Count,
    labels: &["node", "reason"],
    reasons: RESOURCES,
    bound: "nodes × 5 resources",
    needs: &[Kind::Pod, Kind::Node],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(evicting),
};

const REASONS: &[&str] = &[
    "node_pressure",
    "api",
    "preemption",
    "taint",
    "pod_gc",
    "shutdown",
    "admission",
    "node_lost",
    "unobserved",
];

const RESOURCES: &[&str] = &["memory", "disk", "inodes", "pids", "other"];

/// The label of causes that no resource is behind.
const NONE: &str = "none";

/// Why a pod was put out, if it was: its terminal reason, else its disruption.
fn cause(pod: &Pod) -> Option<&'static str> {
    let terminal = match &*pod.reason {
        _ if pod.phase != Phase::Failed => None,
        "Evicted" => Some("node_pressure"),
        "Preempting" => Some("preemption"),
        "NodeShutdown" | "Terminated" | "Shutdown" => Some("shutdown"),
        "NodeLost" => Some("node_lost"),
        "UnexpectedAdmissionError" | "NodeAffinity" | "AppArmor" => Some("admission"),
        reason if reason.starts_with("OutOf") => Some("admission"),
        _ => None,
    };
    let disruption = pod.condition("DisruptionTarget").filter(|c| c.status == Status::True);
    let disruption = disruption.and_then(|c| match &*c.reason {
        "EvictionByEvictionAPI" => Some("api"),
        "PreemptionByScheduler" => Some("preemption"),
        "DeletionByTaintManager" => Some("taint"),
        "DeletionByPodGC" => Some("pod_gc"),
        // The kubelet's own reason is the terminal one: pressure or shutdown.
        "TerminationByKubelet" if c.message.contains("shutdown") => Some("shutdown"),
        "TerminationByKubelet" if c.message.contains("low on resource") => Some("node_pressure"),
        _ => None,
    });
    terminal.or(disruption)
}

/// The resource that the kubelet names: `The node was low on resource: memory. …`.
fn resource(pod: &Pod) -> &'static str {
    let message = pod.message.to_ascii_lowercase();
    let words = [
        ("inodes", "inodes"),
        ("memory", "memory"),
        ("ephemeral", "disk"),
        ("disk", "disk"),
        ("nodefs", "disk"),
        ("imagefs", "disk"),
        ("storage", "disk"),
        ("pids", "pids"),
    ];
    let named = message.split("low on resource:").nth(1).unwrap_or(&message);
    words.iter().find(|(word, _)| named.contains(word)).map_or("other", |(_, resource)| resource)
}

/// Counts a pod the first time that it shows why it was put out. One that leaves a node which is taken out of service
/// on purpose is moved rather than put out.
pub(super) fn observe(o: &Observation<'_>, pod: &Pod, tallies: &mut Tallies) {
    let Some(cause) = cause(pod) else { return };
    if tallies.advance(Kind::Pod, pod.meta.uid, "evicted", 1) == 0 {
        return;
    }
    let view = View::new(o.world, o.now);
    let node = || o.world.nodes.get("", &pod.node).and_then(|node| view.node_context(node));
    if cause == "api" && node().is_some() {
        return tallies.add(&MOVED, labels![&pod.meta.namespace], 1);
    }
    let resource = if cause == "node_pressure" { resource(pod) } else { NONE };
    tallies.add(&EVICTIONS, labels![&pod.meta.namespace, cause, resource], 1);
}

fn evicting(view: &View<'_>, out: &mut Verdicts) {
    // Evicted pods stay as Failed for a while: the recent ones tell what the node does now.
    let mut nodes: BTreeMap<(&Text, &'static str), Vec<(Time, &Pod)>> = BTreeMap::new();
    for (pod, _) in view.all_pods().filter(|(pod, _)| cause(pod) == Some("node_pressure")) {
        let at = pod.condition("DisruptionTarget").and_then(|c| c.since);
        let at = at.or_else(|| pod.containers.iter().find_map(|c| ended(&c.state))).or(pod.started);
        if let Some(at) = at.filter(|at| view.is_younger(*at, 1800)) {
            nodes.entry((&pod.node, resource(pod))).or_default().push((at, pod));
        }
    }
    for ((node, reason), pods) in nodes {
        let Some((since, example)) = pods.iter().min_by_key(|(at, p)| (*at, &p.meta.name)) else {
            continue;
        };
        if pods.len() < 2 || node.is_empty() {
            continue;
        }
        out.push(Verdict {
            subject: Subject::new(Kind::Node, &Text::default(), node),
            labels: labels![node, reason],
            reason,
            severity: Severity::Warning,
            since: Some(*since),
            dwell: SignedDuration::ZERO,
            message: format!(
                "put out {} pods in 30 minutes, as {}: {}",
                pods.len(),
                example.meta.name,
                example.message
            ),
        });
    }
}

fn ended(state: &crate::model::record::ContainerState) -> Option<Time> {
    match state {
        crate::model::record::ContainerState::Terminated(t) => t.finished,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{ago, condition, judge, node, pod, reasons, world};
    use super::*;
    use crate::model::record::{Node, Object};

    fn evicted(name: &str, message: &str) -> Pod {
        Pod {
            phase: Phase::Failed,
            reason: "Evicted".into(),
            message: message.into(),
            started: Some(ago(600)),
            ..pod(name)
        }
    }

    fn disrupted(reason: &str) -> Pod {
        let target = condition("DisruptionTarget", Status::True, reason, 30);
        Pod { conditions: [target].into(), ..pod("web-1") }
    }

    #[test]
    fn a_pod_that_was_put_out_tells_the_cause() {
        let failed =
            |reason: &str| Pod { phase: Phase::Failed, reason: reason.into(), ..pod("web-1") };
        let cases = [
            (evicted("web-1", ""), Some("node_pressure")),
            (failed("NodeShutdown"), Some("shutdown")),
            (failed("OutOfcpu"), Some("admission")),
            (failed("NodeLost"), Some("node_lost")),
            (failed("DeadlineExceeded"), None),
            (disrupted("EvictionByEvictionAPI"), Some("api")),
            (disrupted("PreemptionByScheduler"), Some("preemption")),
            (disrupted("DeletionByTaintManager"), Some("taint")),
            (disrupted("DeletionByPodGC"), Some("pod_gc")),
            (disrupted("SomethingNew"), None),
            (pod("web-1"), None),
        ];
        for (pod, expected) in cases {
            assert_eq!(cause(&pod), expected, "{} {:?}", pod.reason, pod.conditions);
        }
    }

    #[test]
    fn pressure_names_its_resource() {
        let cases = [
            (
                "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. ",
                "memory",
            ),
            ("The node was low on resource: ephemeral-storage. ", "disk"),
            ("The node was low on resource: inodes. ", "inodes"),
            ("The node was low on resource: pids. ", "pids"),
            (
                "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ",
                "disk",
            ),
            ("", "other"),
        ];
        for (message, expected) in cases {
            assert_eq!(resource(&evicted("web-1", message)), expected, "{message}");
        }
    }

    /// How many of these pods were put out and how many moved, each seen in turn beside such a node.
    fn counted(n1: Node, pods: &[Pod]) -> [u64; 2] {
        let world = world([Object::Node(Box::new(n1))]);
        let mut tallies = Tallies::default();
        tallies.synced(Kind::Pod, std::iter::empty());
        for pod in pods {
            let object = Object::Pod(Box::new(pod.clone()));
            let seen = Observation { world: &world, object: &object, now: ago(0) };
            observe(&seen, pod, &mut tallies);
        }
        [&EVICTIONS, &MOVED].map(|signal| tallies.counters(signal).map(|(_, n)| n).sum())
    }

    #[test]
    fn a_pod_counts_once_whatever_it_shows() {
        let pods = [disrupted("TerminationByKubelet"), evicted("web-1", ""), evicted("web-1", "")];
        assert_eq!(counted(node("n1"), &pods), [1, 0]);
    }

    #[test]
    fn a_pod_that_leaves_a_node_in_maintenance_is_not_put_out() {
        let cordoned = || Node { unschedulable: true, ..node("n1") };
        let moved = [disrupted("EvictionByEvictionAPI")];
        assert_eq!(counted(node("n1"), &moved), [1, 0]);
        assert_eq!(counted(cordoned(), &moved), [0, 1]);
        assert_eq!(counted(cordoned(), &[evicted("web-1", "")]), [1, 0], "for pressure");
    }

    #[test]
    fn a_node_that_keeps_putting_pods_out_is_told() {
        let low = "The node was low on resource: memory. ";
        let look = |pods: &[Pod]| {
            let objects = pods.iter().cloned().map(|p| Object::Pod(Box::new(p)));
            reasons(&judge(&NODE_EVICTING, &world(objects)))
        };
        let (one, two) = (evicted("web-1", low), evicted("web-2", low));
        let old = Pod { started: Some(ago(7200)), ..two.clone() };
        assert!(look(std::slice::from_ref(&one)).is_empty());
        assert_eq!(look(&[one.clone(), two]), ["memory"]);
        assert!(look(&[one, old]).is_empty());
    }
}
