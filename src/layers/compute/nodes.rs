//! Which nodes are lost or under pressure, apart from those that are being taken out of service?

use jiff::SignedDuration;

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Condition, Node, Phase, Pod, Status};
use crate::model::signal::{Observation, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::tally::Tallies;
use crate::model::text::Text;
use crate::model::view::{NodeContext, View};

pub(super) static NOT_READY: Signal = Signal {
    block: "S2.11",
    name: "compute_node_not_ready",
    layer: Layer::Compute,
    help: "Nodes that are not ready outside of maintenance: the kubelet is lost, or says why. A node that joins has five \
           minutes, one that was drained may be switched off. Healthy is none.",
    unit: Unit::Count,
    labels: &["node", "zone", "instance_type", "reason"],
    reasons: &["kubelet_lost", "network", "runtime", "kubelet"],
    bound: "nodes × 4 reasons",
    needs: &[Kind::Node],
    uses: &[Kind::Pod],
    profile: Profile::None,
    read: Read::Rule(not_ready),
};

pub(super) static READY_FLAPS: Signal = Signal {
    block: "S2.11",
    name: "compute_node_ready_flaps_total",
    layer: Layer::Compute,
    help: "Times that a node stopped being ready.",
    unit: Unit::Count,
    labels: &["node", "zone"],
    reasons: &[],
    bound: "nodes",
    needs: &[Kind::Node],
    uses: &[],
    profile: Profile::Rate,
    read: Read::Counter,
};

pub(super) static CONDITION: Signal = Signal {
    block: "S2.12",
    name: "compute_node_condition",
    layer: Layer::Compute,
    help: "Nodes with a condition that is known to be bad: pressure, or what node-problem-detector and clouds report. \
           Types whose polarity is not known say nothing. Healthy is none.",
    unit: Unit::Count,
    labels: &["node", "zone", "instance_type", "reason"],
    reasons: REASONS,
    bound: "nodes × 9 reasons",
    needs: &[Kind::Node],
    uses: &[Kind::Pod],
    profile: Profile::None,
    read: Read::Rule(conditions),
};

const REASONS: &[&str] = &[
    "memory_pressure",
    "disk_pressure",
    "pid_pressure",
    "network_unavailable",
    "read_only_file_system",
    "kernel",
    "runtime",
    "hardware",
    "not_ready",
];

/// How a type of condition is to be read: the status that is bad, and the reason that it stands for.
struct Polarity {
    /// The whole name, or its end after `*`, or its begin before `*`.
    kind: &'static str,
    bad: Status,
    reason: &'static str,
}

const fn bad_when_true(kind: &'static str, reason: &'static str) -> Polarity {
    Polarity { kind, bad: Status::True, reason }
}

const fn bad_when_false(kind: &'static str, reason: &'static str) -> Polarity {
    Polarity { kind, bad: Status::False, reason }
}

/// Conditions of the kubelet, the route controller, node-problem-detector, EKS' and GKE's node agents. `Ready` has a
/// signal of its own.
const POLARITIES: &[Polarity] = &[
    bad_when_true("MemoryPressure", "memory_pressure"),
    bad_when_true("DiskPressure", "disk_pressure"),
    bad_when_true("PIDPressure", "pid_pressure"),
    bad_when_true("NetworkUnavailable", "network_unavailable"),
    bad_when_true("ReadonlyFilesystem", "read_only_file_system"),
    bad_when_true("KernelDeadlock", "kernel"),
    bad_when_true("XfsShutdown", "read_only_file_system"),
    bad_when_true("CperHardwareErrorFatal", "hardware"),
    bad_when_true("FrequentUnregisterNetDevice", "kernel"),
    bad_when_true("FrequentKubeletRestart", "runtime"),
    bad_when_true("FrequentDockerRestart", "runtime"),
    bad_when_true("FrequentContainerdRestart", "runtime"),
    bad_when_true("KubeletProblem", "runtime"),
    bad_when_true("ContainerRuntimeProblem", "runtime"),
    bad_when_true("CorruptDockerOverlay2", "runtime"),
    bad_when_true("*Deadlock", "kernel"),
    bad_when_true("*Problem", "kernel"),
    bad_when_false("KernelReady", "kernel"),
    bad_when_false("NetworkingReady", "network_unavailable"),
    bad_when_false("StorageReady", "read_only_file_system"),
    bad_when_false("ContainerRuntimeReady", "runtime"),
    bad_when_false("AcceleratedHardwareReady", "hardware"),
    bad_when_false("*Ready", "not_ready"),
];

fn polarity(kind: &str) -> Option<&'static Polarity> {
    let matches = |pattern: &str| match pattern.strip_prefix('*') {
        Some(end) => kind.len() > end.len() && kind.ends_with(end),
        None => kind == pattern,
    };
    POLARITIES.iter().find(|p| matches(p.kind))
}

/// Counts a node that was ready and is not.
pub(super) fn observe(o: &Observation<'_>, node: &Node, tallies: &mut Tallies) {
    let Some(before) = o.world.nodes.get("", &node.meta.name) else { return };
    let ready = |n: &Node| n.condition("Ready").is_some_and(|c| c.status == Status::True);
    if before.meta.uid == node.meta.uid && ready(before) && !ready(node) {
        tallies.add(&READY_FLAPS, labels![&node.meta.name, &node.zone], 1);
    }
}

/// Seconds that a node has to become ready for the first time: its network may come after it.
const JOINING: i64 = 300;

/// Seconds after its creation within which a kubelet says for the first time that its node is not ready.
const FIRST_WORD: i64 = 10;

/// The condition of a node that is not ready and ought to be.
pub(super) fn unready<'a>(view: &View<'_>, node: &'a Node) -> Option<&'a Condition> {
    let ready = node.condition("Ready").filter(|c| c.status != Status::True)?;
    let created = node.meta.created.as_second();
    let never_was = ready.since.is_some_and(|since| since.as_second() <= created + FIRST_WORD);
    (!never_was || !view.is_younger(node.meta.created, JOINING)).then_some(ready)
}

fn not_ready(view: &View<'_>, out: &mut Verdicts) {
    for node in in_service(view) {
        let Some(ready) = unready(view, node) else { continue };
        let message = ready.message.to_ascii_lowercase();
        let reason = match ready.status {
            Status::Unknown => "kubelet_lost",
            _ if message.contains("network") => "network",
            _ if message.contains("runtime") || message.contains("pleg") => "runtime",
            _ => "kubelet",
        };
        let pods = view.pods_on(&node.meta.name).count();
        let told = format!("not ready, with {pods} pods: {}", words(ready));
        tell(out, node, ready, (reason, Severity::Critical, 60), told);
    }
}

fn conditions(view: &View<'_>, out: &mut Verdicts) {
    for node in in_service(view) {
        // A type may be told by several agents; the first bad condition of a reason speaks for it.
        let mut told: Vec<&str> = Vec::new();
        let mut sorted: Vec<&Condition> =
            node.conditions.iter().filter(|c| c.kind != "Ready").collect();
        sorted.sort_by(|a, b| a.kind.cmp(&b.kind));
        for condition in sorted {
            let Some(polarity) = polarity(&condition.kind) else { continue };
            if condition.status != polarity.bad || told.contains(&polarity.reason) {
                continue;
            }
            told.push(polarity.reason);
            let message = format!("{}: {}", condition.kind, words(condition));
            tell(out, node, condition, (polarity.reason, Severity::Warning, 60), message);
        }
    }
}

/// Nodes that are meant to serve: not those that somebody is taking out. A cordoned node has pods to keep up until it
/// is drained.
pub(super) fn in_service<'a>(view: &'a View<'a>) -> impl Iterator<Item = &'a Node> {
    let meant = |node: &&Node| match view.node_context(node) {
        None => true,
        Some(NodeContext::Cordoned) => !is_drained(view, node),
        Some(_) => false,
    };
    view.world.nodes.iter().filter(meant)
}

/// Whether only such pods are left on a node as a drain leaves there.
fn is_drained(view: &View<'_>, node: &Node) -> bool {
    let stays = |pod: &Pod| {
        let owner = pod.meta.owner.as_deref().map_or("", |owner| owner.kind.as_str());
        matches!(owner, "DaemonSet" | "Node")
            || pod.mirror
            || matches!(pod.phase, Phase::Succeeded | Phase::Failed)
    };
    view.sees(Kind::Pod) && view.pods_on(&node.meta.name).all(stays)
}

fn words(condition: &Condition) -> String {
    match (&*condition.message, &*condition.reason) {
        ("", reason) => reason.to_owned(),
        (message, "") => message.to_owned(),
        (message, reason) => format!("{message} ({reason})"),
    }
}

fn tell(
    out: &mut Verdicts,
    node: &Node,
    condition: &Condition,
    (reason, severity, dwell): (&'static str, Severity, i64),
    message: String,
) {
    out.push(Verdict {
        subject: Subject::new(Kind::Node, &Text::default(), &node.meta.name),
        labels: labels![&node.meta.name, &node.zone, &node.instance_type, reason],
        reason,
        severity,
        since: condition.since,
        dwell: SignedDuration::from_secs(dwell),
        message,
    });
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{ago, condition, judge, meta, node, pod, reasons, world};
    use super::*;
    use crate::model::record::{Meta, Object, Owner, Taint};
    use crate::model::world::Delta;

    fn with(conditions: &[Condition]) -> Node {
        Node { conditions: conditions.to_vec().into(), ..node("n1") }
    }

    fn seen(signal: &Signal, node: Node) -> Vec<&'static str> {
        reasons(&judge(signal, &world([Object::Node(Box::new(node))])))
    }

    fn said(message: &str) -> Condition {
        let ready = condition("Ready", Status::False, "KubeletNotReady", 90);
        Condition { message: message.into(), ..ready }
    }

    #[test]
    fn a_node_that_is_not_ready_says_why() {
        let lost = condition("Ready", Status::Unknown, "NodeStatusUnknown", 90);
        let cases = [
            (lost.clone(), "kubelet_lost"),
            (said("container runtime network not ready: NetworkReady=false"), "network"),
            (said("PLEG is not healthy: pleg was last seen active 3m ago"), "runtime"),
            (said("container runtime is down"), "runtime"),
            (said("node is shutting down"), "kubelet"),
        ];
        for (ready, expected) in cases {
            assert_eq!(seen(&NOT_READY, with(&[ready])), [expected]);
        }
        assert!(seen(&NOT_READY, node("n1")).is_empty());
        let scaled = Taint { key: "ToBeDeletedByClusterAutoscaler".into(), ..Taint::default() };
        assert!(
            seen(&NOT_READY, Node { taints: [scaled].into(), ..with(std::slice::from_ref(&lost)) })
                .is_empty()
        );
        let young = |age| Node { meta: meta("", "n1", age), ..with(std::slice::from_ref(&lost)) };
        assert!(seen(&NOT_READY, young(95)).is_empty(), "it never was ready");
        assert_eq!(seen(&NOT_READY, young(200)), ["kubelet_lost"], "it was");
    }

    #[test]
    fn a_cordoned_node_counts_until_it_is_drained() {
        let lost = condition("Ready", Status::Unknown, "NodeStatusUnknown", 90);
        let pressed = condition("MemoryPressure", Status::True, "", 90);
        let cordoned = Node { unschedulable: true, ..with(&[lost, pressed]) };
        let owned = |kind: &str| {
            let owner = Owner { kind: kind.into(), name: "web".into(), ..Owner::default() };
            Pod { meta: Meta { owner: Some(Box::new(owner)), ..pod("a").meta }, ..pod("a") }
        };
        let told = |pod: Pod| {
            let objects = [Object::Node(Box::new(cordoned.clone())), Object::Pod(Box::new(pod))];
            let world = world(objects);
            [reasons(&judge(&NOT_READY, &world)), reasons(&judge(&CONDITION, &world))].concat()
        };
        assert_eq!(told(owned("ReplicaSet")), ["kubelet_lost", "memory_pressure"]);
        assert!(told(owned("DaemonSet")).is_empty());
        assert!(told(Pod { phase: Phase::Succeeded, ..owned("Job") }).is_empty());
    }

    #[test]
    fn conditions_are_read_with_their_polarity() {
        let cases = [
            ("MemoryPressure", Status::True, vec!["memory_pressure"]),
            ("MemoryPressure", Status::False, vec![]),
            ("MemoryPressure", Status::Unknown, vec![]),
            ("ReadonlyFilesystem", Status::True, vec!["read_only_file_system"]),
            ("SomethingProblem", Status::True, vec!["kernel"]),
            ("KernelReady", Status::False, vec!["kernel"]),
            ("KernelReady", Status::True, vec![]),
            ("SomeAgentReady", Status::False, vec!["not_ready"]),
            ("Ready", Status::False, vec![]),
            ("NobodyKnows", Status::True, vec![]),
        ];
        for (kind, status, expected) in cases {
            let found = seen(&CONDITION, with(&[condition(kind, status, "R", 90)]));
            assert_eq!(found, expected, "{kind} {status:?}");
        }
    }

    #[test]
    fn a_flap_is_a_change_from_ready_to_not() {
        let (mut world, mut tallies) = (world([]), Tallies::default());
        let (up, down) = (node("n1"), with(&[condition("Ready", Status::Unknown, "", 0)]));
        for node in [&up, &down, &down, &up, &down] {
            let object = Object::Node(Box::new(node.clone()));
            observe(
                &Observation { world: &world, object: &object, now: ago(0) },
                node,
                &mut tallies,
            );
            world.apply(Delta::Upsert(object), ago(0));
        }
        assert_eq!(tallies.counters(&READY_FLAPS).map(|(_, n)| n).sum::<u64>(), 2);
    }
}
