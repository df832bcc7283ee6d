//! Which pods have no node, and what do the nodes lack?

use jiff::SignedDuration;

use super::group::{Groups, Telling};
use crate::model::finding::{Severity, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Condition, Phase, Pod, Status};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::text::Text;
use crate::model::view::{STILL_SPEAKS, View};

pub(super) static UNSCHEDULABLE: Signal = Signal {
    block: "S2.7",
    name: "compute_unschedulable_pods",
    layer: Layer::Compute,
    help: "Workloads with pods that have no node, by what the nodes lack as the scheduler says it; binding: a volume \
           is waited for. Gated pods do not count, nor, for five minutes, those for which an autoscaler brings a node. \
           Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "reason"],
    reasons: REASONS,
    bound: "workloads × 23 reasons",
    needs: &[Kind::Pod],
    uses: &[
        Kind::Event,
        Kind::ReplicaSet,
        Kind::Job,
        Kind::Deployment,
        Kind::StatefulSet,
        Kind::DaemonSet,
        Kind::CronJob,
    ],
    profile: Profile::None,
    read: Read::Rule(unschedulable),
};

const REASONS: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral_storage",
    "pods",
    "extended_resource",
    "taint",
    "affinity",
    "anti_affinity",
    "spread",
    "ports",
    "cordoned",
    "volume_zone",
    "volume_node",
    "volume_limit",
    "volume_capacity",
    "unbound_pvc",
    "pvc_missing",
    "pv_missing",
    "rwop",
    "scheduler_error",
    "binding",
    "no_nodes",
    "other",
];

/// Words of the scheduler's plug-ins and the reason that they tell; the first that is found decides.
const WORDS: &[(&str, &str)] = &[
    ("insufficient cpu", "cpu"),
    ("insufficient memory", "memory"),
    ("insufficient ephemeral-storage", "ephemeral_storage"),
    ("too many pods", "pods"),
    ("insufficient pods", "pods"),
    ("insufficient ", "extended_resource"),
    ("untolerated taint", "taint"),
    ("had taints that the pod didn't tolerate", "taint"),
    ("didn't match pod's node affinity/selector", "affinity"),
    ("didn't match pod anti-affinity rules", "anti_affinity"),
    ("didn't satisfy existing pods anti-affinity rules", "anti_affinity"),
    ("didn't match pod affinity rules", "affinity"),
    ("didn't match pod topology spread constraints", "spread"),
    ("didn't have free ports", "ports"),
    ("were unschedulable", "cordoned"),
    ("no available volume zone", "volume_zone"),
    ("volume node affinity conflict", "volume_node"),
    ("didn't match persistentvolume's node affinity", "volume_node"),
    ("didn't find available persistent volumes to bind", "volume_node"),
    ("exceed max volume count", "volume_limit"),
    ("did not have enough free storage", "volume_capacity"),
    ("unbound immediate persistentvolumeclaims", "unbound_pvc"),
    ("readwriteoncepod access mode", "rwop"),
];

/// The reason of an unschedulable pod: what the nodes lack that it could use, most of them first. The message lists `N <what they lack>`, ends
/// with what preemption would do, and says of a claim in prose.
fn reason(message: &str) -> &'static str {
    let message = message.to_ascii_lowercase();
    let facts = message.split(" preemption: ").next().unwrap_or_default();
    if facts.contains("persistentvolumeclaim \"") && facts.contains("not found") {
        return "pvc_missing";
    }
    if facts.contains("persistentvolume \"") && facts.contains("not found") {
        return "pv_missing";
    }
    if facts.contains("no nodes available") || facts.starts_with("0/0 nodes") {
        return "no_nodes";
    }
    let (_, causes) = facts.split_once("nodes are available: ").unwrap_or(("", facts));
    let mut telling = (0, 0, "other");
    for cause in causes.split(',').map(|cause| cause.trim().trim_end_matches('.')) {
        let nodes = cause.split(' ').next().and_then(|n| n.parse::<u32>().ok()).unwrap_or(1);
        if let Some((_, reason)) = WORDS.iter().find(|(words, _)| cause.contains(words)) {
            telling = telling.max((weight(reason), nodes, reason));
        }
    }
    telling.2
}

/// The scheduler counts a node under the first plug-in that refuses it, and asks for cordons, taints and affinity before
/// all else. So a node that lacks CPU is one that the pod could use, and says more than all that it is kept off.
fn weight(reason: &str) -> u8 {
    u8::from(!matches!(reason, "cordoned" | "taint" | "affinity"))
}

/// How long an autoscaler that answered a pod may take to bring the node.
const NODE_COMES: i64 = 300;

/// Whether an autoscaler says that it brings a node for the pod (cluster-autoscaler, Karpenter), and may still do so.
fn node_comes(view: &View<'_>, pod: &Pod, refused: &Condition) -> bool {
    let answers = ["TriggeredScaleUp", "Nominated", "NotTriggerScaleUp"];
    let said = view.recent_events(Kind::Pod, &pod.meta, STILL_SPEAKS);
    let last = said.filter(|event| answers.contains(&event.reason.as_str())).last();
    let since = refused.since.unwrap_or(pod.meta.created);
    last.is_some_and(|event| event.reason != "NotTriggerScaleUp")
        && view.is_younger(since, NODE_COMES)
}

fn unschedulable(view: &View<'_>, out: &mut Verdicts) {
    let mut groups = Groups::default();
    let homeless = |pod: &Pod| pod.phase == Phase::Pending && pod.node.is_empty();
    for (pod, workload) in view.counted_pods().filter(|(pod, _)| homeless(pod)) {
        let member = (pod, workload);
        let refused = pod.condition("PodScheduled").filter(|c| c.status == Status::False);
        let (reason, since, words) = match refused {
            Some(condition) if condition.reason == "SchedulingGated" => continue,
            Some(condition) if condition.reason == "SchedulerError" => {
                ("scheduler_error", condition.since, condition.message.to_string())
            }
            Some(condition) if node_comes(view, pod, condition) => continue,
            Some(condition) => {
                (reason(&condition.message), condition.since, condition.message.to_string())
            }
            // While a volume is provisioned the scheduler keeps the pod to itself, without a condition or an event.
            None if pod.nominated_node.is_empty() => {
                ("binding", None, "the scheduler has not spoken of it".to_owned())
            }
            None => (
                "binding",
                None,
                format!("it waits for its volumes on node {}", pod.nominated_node),
            ),
        };
        let since = Some(since.unwrap_or(pod.meta.created));
        groups.add(member, reason, Text::default(), since, &words);
    }
    groups.tell(out, |reason| Telling {
        what: "without a node",
        severity: Severity::Critical,
        dwell: SignedDuration::from_secs(if reason == "binding" { 120 } else { 60 }),
    });
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{condition, event, judge, pod, reasons, world};
    use super::*;
    use crate::model::record::Object;

    #[test]
    #[allow(clippy::too_many_lines)]
    fn what_the_nodes_lack_is_the_reason() {
        let cases = [
            (
                "0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3 nodes are available: 3 No preemption victims found.",
                "cpu",
            ),
            (
                "0/4 nodes are available: 1 node(s) had untolerated taint(s), 3 Insufficient memory.",
                "memory",
            ),
            (
                "0/4 nodes are available: 3 node(s) had untolerated taint {a: b}, 1 Insufficient cpu.",
                "cpu",
            ),
            ("0/3 nodes are available: 3 node(s) were unschedulable.", "cordoned"),
            (
                "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.",
                "affinity",
            ),
            (
                "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules.",
                "anti_affinity",
            ),
            (
                "0/3 nodes are available: 3 node(s) didn't match pod topology spread constraints.",
                "spread",
            ),
            (
                "0/3 nodes are available: 3 node(s) didn't have free ports for the requested pod ports.",
                "ports",
            ),
            ("0/3 nodes are available: 3 Too many pods.", "pods"),
            ("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.", "extended_resource"),
            ("0/3 nodes are available: 3 Insufficient ephemeral-storage.", "ephemeral_storage"),
            (
                "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found",
                "unbound_pvc",
            ),
            (
                "0/3 nodes are available: persistentvolumeclaim \"x\" not found. not found",
                "pvc_missing",
            ),
            ("0/3 nodes are available: 3 node(s) exceed max volume count.", "volume_limit"),
            (
                "0/3 nodes are available: 3 node(s) had volume node affinity conflict.",
                "volume_node",
            ),
            ("0/3 nodes are available: 3 node(s) had no available volume zone.", "volume_zone"),
            (
                "0/3 nodes are available: 3 node(s) did not have enough free storage.",
                "volume_capacity",
            ),
            (
                "0/1 nodes are available: 1 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod.",
                "rwop",
            ),
            ("0/3 nodes are available: 3 node(s) had untolerated taint(s).", "taint"),
            (
                "0/9 nodes are available: 1 node(s) had untolerated taint(s), 8 node(s) didn't match Pod's node affinity/selector.",
                "affinity",
            ),
            (
                "0/9 nodes are available: 5 node(s) were unschedulable, 4 node(s) had untolerated taint(s).",
                "cordoned",
            ),
            ("no nodes available to schedule pods", "no_nodes"),
            ("something that nobody has said before", "other"),
            ("", "other"),
        ];
        for (message, expected) in cases {
            assert_eq!(reason(message), expected, "{message}");
            assert!(REASONS.contains(&expected));
        }
    }

    fn pending(conditions: &[Condition]) -> Object {
        let conditions = conditions.to_vec().into();
        Object::Pod(Box::new(Pod {
            phase: Phase::Pending,
            node: Text::default(),
            conditions,
            ..pod("web-1")
        }))
    }

    #[test]
    fn a_pod_for_which_a_node_comes_may_wait_for_it() {
        let told = |age, said: &str| {
            let refused = condition("PodScheduled", Status::False, "Unschedulable", age);
            let said = Object::Event(Box::new(event(Kind::Pod, "web-1", said, "")));
            reasons(&judge(&UNSCHEDULABLE, &world([pending(&[refused]), said])))
        };
        assert!(told(120, "TriggeredScaleUp").is_empty());
        assert!(told(120, "Nominated").is_empty());
        assert_eq!(told(400, "TriggeredScaleUp"), ["other"]);
        assert_eq!(told(120, "NotTriggerScaleUp"), ["other"]);
        assert_eq!(told(120, "FailedScheduling"), ["other"]);
    }

    #[test]
    fn a_gated_pod_is_meant_to_wait_and_a_mute_one_waits_for_its_volume() {
        let gated = condition("PodScheduled", Status::False, "SchedulingGated", 600);
        let broken = condition("PodScheduled", Status::False, "SchedulerError", 600);
        assert!(judge(&UNSCHEDULABLE, &world([pending(&[gated])])).is_empty());
        assert_eq!(reasons(&judge(&UNSCHEDULABLE, &world([pending(&[])]))), ["binding"]);
        assert_eq!(
            reasons(&judge(&UNSCHEDULABLE, &world([pending(&[broken])]))),
            ["scheduler_error"]
        );
        assert!(judge(&UNSCHEDULABLE, &world([Object::Pod(Box::new(pod("web-1")))])).is_empty());
    }
}
