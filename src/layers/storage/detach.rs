//! Which pods wait for a volume that is still attached to another node?

use std::collections::BTreeSet;

use hashbrown::HashMap;
use jiff::SignedDuration;

use super::drivers::is_live;
use super::mounts::{is_held_elsewhere, is_starting};
use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Claim, Pod, Status, VolumeAttachment};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::{Subject, WorkloadRef};
use crate::model::text::Text;
use crate::model::view::{STILL_SPEAKS, View};

pub(super) static BLOCKED: Signal = Signal {
    block: "S1.8",
    name: "storage_detach_blocked",
    layer: Layer::Storage,
    help: "Claims whose pod waits on one node while their volume is attached to another; up to a minute of it is part \
           of moving a pod. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "driver", "reason"],
    reasons: &["node_gone", "node_down", "in_use", "detach_slow", "unknown"],
    bound: "workloads with claims × 5 reasons",
    needs: &[Kind::Pod, Kind::PersistentVolumeClaim],
    uses: &[
        Kind::VolumeAttachment,
        Kind::Event,
        Kind::Node,
        Kind::PersistentVolume,
        Kind::ReplicaSet,
        Kind::Job,
    ],
    profile: Profile::None,
    read: Read::Rule(blocked),
};

type ByVolume<'a> = HashMap<&'a str, Vec<&'a VolumeAttachment>>;

fn blocked(view: &View<'_>, verdicts: &mut Verdicts) {
    let mut waiting = view.counted_pods().filter(|(p, _)| !p.claims.is_empty() && is_starting(p));
    let Some(first) = waiting.next() else { return };
    let mut attachments: ByVolume<'_> = HashMap::new();
    for attachment in view.world.volume_attachments.iter() {
        attachments.entry(&attachment.volume).or_default().push(attachment);
    }
    // Several pods may wait for one claim: the first by name speaks for it.
    let mut told = BTreeSet::new();
    for (pod, workload) in std::iter::once(first).chain(waiting) {
        let claims =
            pod.claims.iter().filter_map(|name| view.world.claims.get(&pod.meta.namespace, name));
        for claim in claims.filter(|c| c.single_node && !c.volume.is_empty()) {
            let Some(hold) = hold(view, pod, claim, &attachments) else { continue };
            if told.insert((&claim.meta.namespace, &claim.meta.name)) {
                verdicts.push(verdict(view, (pod, workload), claim, &hold));
            }
        }
    }
}

/// What keeps a volume from leaving its old node.
struct Hold {
    reason: &'static str,
    severity: Severity,
    message: String,
}

fn hold(view: &View<'_>, pod: &Pod, claim: &Claim, attachments: &ByVolume<'_>) -> Option<Hold> {
    let elsewhere = attachments
        .get(claim.volume.as_str())
        .into_iter()
        .flatten()
        .filter(|a| a.node != pod.node && (a.attached || a.meta.deleting.is_some()))
        .min_by_key(|a| &a.node);
    if let Some(attachment) = elsewhere {
        return Some(held_by(view, pod, claim, &attachment.node));
    }
    if view.sees(Kind::VolumeAttachment) {
        return None;
    }
    let event = view
        .recent_events(Kind::Pod, &pod.meta, STILL_SPEAKS)
        .filter(|e| is_held_elsewhere(e) && e.note.contains(claim.volume.as_str()))
        .last()?;
    Some(Hold {
        reason: "unknown",
        severity: Severity::Warning,
        message: format!("attached elsewhere: \"{}\"", event.note),
    })
}

/// How Kubernetes frees a volume of a node that does not answer (attach-detach controller).
const FORCED: &str = "it is detached by force six minutes after the old pod is gone, or at once with the taint \
                      node.kubernetes.io/out-of-service";

fn held_by(view: &View<'_>, pod: &Pod, claim: &Claim, node: &Text) -> Hold {
    let old = view.world.nodes.get("", node);
    let ready = old.and_then(|n| n.condition("Ready")).is_some_and(|c| c.status == Status::True);
    let user = view
        .pods_using(&claim.meta.namespace, &claim.meta.name)
        .find(|other| other.node == *node && is_live(other) && other.meta.uid != pod.meta.uid);
    let (reason, severity, why) = match (old, user) {
        (None, _) if view.sees(Kind::Node) => {
            ("node_gone", Severity::Critical, "which is no longer there".to_owned())
        }
        (Some(_), _) if !ready => {
            ("node_down", Severity::Critical, format!("which is not Ready; {FORCED}"))
        }
        (_, Some(user)) => {
            let state =
                if user.meta.deleting.is_some() { "is being deleted" } else { "uses it there" };
            let why = format!(
                "where pod {} {state}; pods that share it can't be replaced one by one",
                user.meta.name
            );
            ("in_use", Severity::Warning, why)
        }
        _ => (
            "detach_slow",
            Severity::Warning,
            "where no pod uses it: look at the driver's controller".to_owned(),
        ),
    };
    Hold { reason, severity, message: format!("still attached to node {node}, {why}") }
}

fn verdict(
    view: &View<'_>,
    (pod, workload): (&Pod, &WorkloadRef),
    claim: &Claim,
    hold: &Hold,
) -> Verdict {
    let (meta, reason) = (&claim.meta, hold.reason);
    let driver = super::drivers::driver_of(view.world, claim);
    let bound = pod.condition("PodScheduled").and_then(|c| c.since);
    Verdict {
        subject: Subject::new(Kind::PersistentVolumeClaim, &meta.namespace, &meta.name),
        labels: labels![&workload.namespace, &workload.kind, &workload.name, &driver, reason],
        reason,
        severity: hold.severity,
        since: Some(bound.unwrap_or(pod.meta.created)),
        dwell: SignedDuration::from_mins(2),
        message: format!(
            "claim {}/{} cannot follow pod {} to node {}: volume {} is {}",
            meta.namespace, meta.name, pod.meta.name, pod.node, claim.volume, hold.message
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{
        ago, attachment, bound, condition, event, judge, node, objects, pod, reasons, volume, world,
    };
    use super::*;
    use crate::model::record::{Meta, Node, Object, Phase};

    fn dead(name: &str) -> Node {
        Node { conditions: [condition("Ready", Status::Unknown, 400)].into(), ..node(name, "a") }
    }

    /// A pod that came to node `new` while its volume is attached to node `old`, with these others.
    fn moved(others: Vec<Object>) -> Vec<Object> {
        let mut objects = objects![
            pod("db-new", "new", &["data"]),
            bound("data"),
            volume("data"),
            attachment("data", "old"),
            node("new", "a"),
        ];
        objects.extend(others);
        objects
    }

    #[test]
    fn a_claim_that_cannot_follow_its_pod_says_what_holds_it() {
        let user = || Pod { phase: Phase::Running, ..pod("db-old", "old", &["data"]) };
        let leaving = Pod { meta: Meta { deleting: Some(ago(60)), ..user().meta }, ..user() };
        let ended = Pod { phase: Phase::Succeeded, ..user() };
        let cases = [
            ("node gone", moved(vec![]), "node_gone"),
            ("node down", moved(objects![dead("old")]), "node_down"),
            (
                "node down, pod still listed",
                moved(objects![dead("old"), leaving.clone()]),
                "node_down",
            ),
            ("in use", moved(objects![node("old", "a"), user()]), "in_use"),
            ("old pod is leaving", moved(objects![node("old", "a"), leaving]), "in_use"),
            ("old pod has ended", moved(objects![node("old", "a"), ended]), "detach_slow"),
            ("nobody", moved(objects![node("old", "a")]), "detach_slow"),
        ];
        for (name, objects, expected) in cases {
            assert_eq!(reasons(&BLOCKED, objects).join(" "), expected, "{name}");
        }
    }

    #[test]
    fn a_volume_that_is_where_its_pod_is_or_may_be_shared_is_not_held() {
        let pending = VolumeAttachment { attached: false, ..attachment("data", "old") };
        let shared = Claim { single_node: false, ..bound("data") };
        let cases = [
            (
                "here",
                objects![pod("db", "old", &["data"]), bound("data"), attachment("data", "old")],
            ),
            ("not attached yet", objects![pod("db", "new", &["data"]), bound("data"), pending]),
            ("shared", objects![pod("db", "new", &["data"]), shared, attachment("data", "old")]),
            ("no attachments", objects![pod("db", "new", &["data"]), bound("data")]),
            (
                "not bound",
                objects![pod("db", "", &["data"]), bound("data"), attachment("data", "old")],
            ),
        ];
        for (name, objects) in cases {
            assert!(reasons(&BLOCKED, objects).is_empty(), "{name}");
        }
    }

    #[test]
    fn where_attachments_cannot_be_seen_the_event_tells_in_both_wordings() {
        for note in [
            "Multi-Attach error for volume \"pv-data\" Volume is already exclusively attached to one node",
            "Waiting for detach of volume \"pv-data\" from node old",
        ] {
            let told = event((Kind::Pod, "db-new"), "FailedAttachVolume", note, 300, 20);
            let world = world(&[Kind::VolumeAttachment], moved(objects![told]));
            assert_eq!(judge(&BLOCKED, &world)[0].reason, "unknown");
        }
        let other =
            event((Kind::Pod, "db-new"), "FailedAttachVolume", "rpc error: pv-data", 300, 20);
        assert!(
            judge(&BLOCKED, &world(&[Kind::VolumeAttachment], moved(objects![other]))).is_empty()
        );
    }

    #[test]
    fn the_clock_starts_when_the_pod_is_bound_and_the_message_names_both_nodes() {
        let scheduled = condition("PodScheduled", Status::True, 90);
        let pod = Pod { conditions: [scheduled].into(), ..pod("db-new", "new", &["data"]) };
        let verdict = &judge(&BLOCKED, &world(&[], moved(objects![dead("old"), pod])))[0];
        assert_eq!((verdict.since, verdict.dwell.as_secs()), (Some(ago(90)), 120));
        for words in ["shop/data", "db-new", "node new", "node old", "pv-data", "out-of-service"] {
            assert!(verdict.message.contains(words), "{}", verdict.message);
        }
    }

    #[test]
    fn several_waiting_pods_are_one_finding() {
        let second = pod("db-newer", "new", &["data"]);
        assert_eq!(reasons(&BLOCKED, moved(objects![second])), ["node_gone"]);
    }
}
