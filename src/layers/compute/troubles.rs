//! What troubles do kubelets report of their nodes that no condition holds?

use jiff::SignedDuration;

use crate::labels;
use crate::model::finding::{Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::Event;
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::view::{STILL_SPEAKS, View};

pub(super) static TROUBLE: Signal = Signal {
    block: "S2.12",
    name: "compute_node_trouble",
    layer: Layer::Compute,
    help: "Nodes whose kernel killed a process for want of memory of the node, or whose kubelet fails again and again \
           to clean up images or containers or to enforce its reservations. Healthy is none.",
    unit: Unit::Count,
    labels: &["node", "zone", "reason"],
    reasons: &["system_oom", "image_gc", "container_gc", "allocatable"],
    bound: "nodes × 4 reasons",
    needs: &[Kind::Node, Kind::Event],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(trouble),
};

/// The kubelet's events, what they stand for, and how many are no accident: while a kubelet starts it cannot clean up yet.
const EVENTS: &[(&str, &str, u32)] = &[
    ("SystemOOM", "system_oom", 1),
    ("ImageGCFailed", "image_gc", 2),
    ("FreeDiskSpaceFailed", "image_gc", 2),
    ("ContainerGCFailed", "container_gc", 2),
    ("FailedNodeAllocatableEnforcement", "allocatable", 2),
];

fn trouble(view: &View<'_>, out: &mut Verdicts) {
    for node in view.world.nodes.iter().filter(|n| n.meta.deleting.is_none()) {
        for reason in TROUBLE.reasons {
            let meant = |event: &&Event| {
                EVENTS.iter().any(|(name, of, _)| event.reason == **name && of == reason)
            };
            let events = view.recent_events(Kind::Node, &node.meta, STILL_SPEAKS).filter(meant);
            let events: Vec<&Event> = events.collect();
            let count = events.iter().fold(0_u32, |sum, event| sum.saturating_add(event.count));
            let least = EVENTS.iter().find(|(_, of, _)| of == reason).map_or(1, |(.., n)| *n);
            let Some(last) = events.last().filter(|_| count >= least) else { continue };
            let subject = Subject::new(Kind::Node, &Text::default(), &node.meta.name);
            let labels = labels![&node.meta.name, &node.zone, *reason];
            let told =
                format!("its kubelet reports {} ({count} times): {}", last.reason, last.note);
            out.push(Verdict {
                since: events.iter().map(|event| event.first).min(),
                dwell: SignedDuration::ZERO,
                ..Verdict::new(subject, labels, reason, told)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{ago, event, judge, node, reasons, world};
    use super::*;
    use crate::model::record::Object;

    fn told(reason: &str, count: u32, last: i64) -> Vec<&'static str> {
        let report = Event { count, last: ago(last), ..event(Kind::Node, "n1", reason, "why") };
        let objects = [Object::Node(Box::new(node("n1"))), Object::Event(Box::new(report))];
        reasons(&judge(&TROUBLE, &world(objects)))
    }

    #[test]
    fn trouble_is_told_unless_it_is_that_of_a_kubelet_that_starts() {
        assert_eq!(told("SystemOOM", 1, 60), ["system_oom"]);
        assert_eq!(told("FreeDiskSpaceFailed", 3, 60), ["image_gc"]);
        assert!(told("ImageGCFailed", 1, 60).is_empty(), "its first try");
        assert!(told("InvalidDiskCapacity", 3, 60).is_empty(), "said by each that starts");
        assert!(told("SystemOOM", 1, 3600).is_empty(), "long ago");
    }
}
