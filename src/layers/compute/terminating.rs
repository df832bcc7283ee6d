//! Which pods do not go when they are deleted, and who holds them?

use jiff::SignedDuration;

use super::group::{Groups, OWNERS, Telling};
use crate::model::finding::{Severity, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Pod, Status};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::text::Text;
use crate::model::view::View;

pub(super) static OVERDUE: Signal = Signal {
    block: "S2.19",
    name: "compute_pod_terminating_overdue",
    layer: Layer::Compute,
    help: "Workloads with pods that are still there a minute after their grace period: their node is lost, a finalizer \
           holds them, or the runtime does not end them. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "reason"],
    reasons: &["node_lost", "finalizer", "runtime"],
    bound: "workloads × 3 reasons",
    needs: &[Kind::Pod, Kind::Node],
    uses: OWNERS,
    profile: Profile::None,
    read: Read::Rule(overdue),
};

fn overdue(view: &View<'_>, out: &mut Verdicts) {
    let mut groups = Groups::default();
    for (pod, workload) in view.all_pods() {
        // The deletion's time is that of the request plus the grace period.
        let Some(due) = pod.meta.deleting.filter(|due| view.is_over(*due)) else { continue };
        let reason = holder(view, pod);
        let words = match reason {
            "finalizer" => format!("held by {}", pod.meta.finalizers.join(", ")),
            "node_lost" => format!(
                "node {} is lost: it stays until the node comes back, its Node object goes, or it is tainted out-of-service",
                pod.node
            ),
            _ => format!("node {} does not end it", pod.node),
        };
        groups.add((pod, workload), reason, Text::default(), Some(due), &words);
    }
    groups.tell(out, |reason| Telling {
        what: "overdue to go",
        severity: if reason == "node_lost" { Severity::Critical } else { Severity::Warning },
        dwell: SignedDuration::from_mins(1),
    });
}

fn holder(view: &View<'_>, pod: &Pod) -> &'static str {
    let node = view.world.nodes.get("", &pod.node);
    let ready = node.and_then(|n| n.condition("Ready")).is_some_and(|c| c.status == Status::True);
    if !pod.node.is_empty() && !ready {
        "node_lost"
    } else if pod.meta.finalizers.is_empty() {
        "runtime"
    } else {
        "finalizer"
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{ago, condition, judge, node, pod, reasons, world};
    use super::*;
    use crate::model::record::{Meta, Node, Object};

    fn leaving(due: i64, finalizers: &[&str]) -> Pod {
        let finalizers = finalizers.iter().map(|f| Text::from(*f)).collect();
        Pod {
            meta: Meta { deleting: Some(ago(due)), finalizers, ..pod("web-1").meta },
            ..pod("web-1")
        }
    }

    #[test]
    fn a_pod_that_does_not_go_names_its_holder() {
        let lost =
            Node { conditions: [condition("Ready", Status::Unknown, "", 90)].into(), ..node("n1") };
        let cases = [
            (leaving(90, &[]), node("n1"), vec!["runtime"]),
            (leaving(90, &["example/hold"]), node("n1"), vec!["finalizer"]),
            (leaving(90, &[]), lost, vec!["node_lost"]),
            (leaving(-20, &[]), node("n1"), vec![]),
            (pod("web-1"), node("n1"), vec![]),
        ];
        for (pod, node, expected) in cases {
            let world = world([Object::Pod(Box::new(pod)), Object::Node(Box::new(node))]);
            assert_eq!(reasons(&judge(&OVERDUE, &world)), expected);
        }
    }
}
