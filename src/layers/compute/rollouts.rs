//! Have workloads the pods that they are meant to have, and do their rollouts get anywhere?

use jiff::SignedDuration;

use super::group::labels;
use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::{Node, Pod, Status, Strategy, Workload};
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};
use crate::model::view::View;

const WORKLOADS: &[Kind] =
    &[Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet, Kind::ReplicaSet];

pub(super) static AVAILABLE: Signal = Signal {
    block: "S2.1",
    name: "compute_workload_available_ratio",
    layer: Layer::Compute,
    help: "Share of the desired pods of a workload that are available; only of workloads that lack some. Healthy is no \
           series.",
    unit: Unit::Ratio,
    labels: &["namespace", "workload_kind", "workload"],
    reasons: &[],
    bound: "workloads",
    needs: WORKLOADS,
    uses: &[],
    profile: Profile::None,
    read: Read::Gauge(available),
};

pub(super) static UNAVAILABLE: Signal = Signal {
    block: "S2.1",
    name: "compute_workload_unavailable",
    layer: Layer::Compute,
    help: "Workloads that lack pods outside a rollout: none is available, or fewer than are meant to be. Healthy is \
           none.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "reason"],
    reasons: &["none_available", "short"],
    bound: "workloads × 2 reasons",
    needs: WORKLOADS,
    uses: &[Kind::Pod, Kind::Node],
    profile: Profile::None,
    read: Read::Rule(unavailable),
};

pub(super) static DEGRADED: Signal = Signal {
    block: "S2.1",
    name: "compute_workloads_degraded",
    layer: Layer::Compute,
    help: "Workloads of the cluster that lack pods, rollouts included.",
    unit: Unit::Count,
    labels: &[],
    reasons: &[],
    bound: "1",
    needs: WORKLOADS,
    uses: &[],
    profile: Profile::Level { bad: Direction::High, floor: 1.0 },
    read: Read::Gauge(degraded),
};

pub(super) static STALLED: Signal = Signal {
    block: "S2.2",
    name: "compute_rollout_stalled",
    layer: Layer::Compute,
    help: "Rollouts that get nowhere: a Deployment past its deadline, a StatefulSet or DaemonSet whose pods are not \
           replaced. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "reason"],
    reasons: &["deadline_exceeded", "not_replaced", "not_observed"],
    bound: "workloads × 3 reasons",
    needs: WORKLOADS,
    uses: &[Kind::Pod],
    profile: Profile::None,
    read: Read::Rule(stalled),
};

pub(super) static ACTIVE: Signal = Signal {
    block: "S2.3",
    name: "compute_rollout_active",
    layer: Layer::Compute,
    help: "1 for each workload that is replacing its pods: context for its restarts and slow starts.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload"],
    reasons: &[],
    bound: "workloads",
    needs: WORKLOADS,
    uses: &[],
    profile: Profile::None,
    read: Read::Gauge(active),
};

fn short<'a>(view: &View<'a>) -> impl Iterator<Item = &'a Workload> {
    view.counted_workloads().filter(|w| w.observed() && w.available < w.desired)
}

fn available(view: &View<'_>, out: &mut Readings) {
    for w in short(view) {
        let labels = labels(&View::reference(w), []);
        out.push_ratio(labels, u64::from(w.available), u64::from(w.desired));
    }
}

fn degraded(view: &View<'_>, out: &mut Readings) {
    out.push(labels![], short(view).count() as f64);
}

fn active(view: &View<'_>, out: &mut Readings) {
    for w in view.counted_workloads().filter(|w| view.in_rollout(w)) {
        out.push(labels(&View::reference(w), []), 1.0);
    }
}

fn unavailable(view: &View<'_>, out: &mut Verdicts) {
    for w in short(view).filter(|w| w.desired - w.available > excused(view, w)) {
        // During a rollout it may lack what its strategy allows; a Recreate lacks all of them for a while.
        let rolling = view.in_rollout(w);
        let allowed = if rolling { w.max_unavailable } else { 0 };
        let (reason, severity, minutes) = match w.available {
            0 if !(rolling && w.strategy == Strategy::Recreate) => {
                ("none_available", Severity::Critical, 1)
            }
            n if n + allowed < w.desired => ("short", Severity::Warning, 5),
            _ => continue,
        };
        let reference = View::reference(w);
        let since = w.condition("Available").filter(|c| c.status == Status::False);
        out.push(Verdict {
            subject: reference.subject(),
            labels: labels(&reference, [reason]),
            reason,
            severity,
            since: since.and_then(|c| c.since),
            dwell: SignedDuration::from_mins(minutes),
            message: format!("{} of {} pods are available", w.available, w.desired),
        });
    }
}

/// A DaemonSet's pods on nodes that are not ready: it wants them all the same, and the nodes have signals of their own.
fn excused(view: &View<'_>, w: &Workload) -> u32 {
    if w.kind != Kind::DaemonSet {
        return 0;
    }
    let lost = |node: &Node| node.condition("Ready").is_some_and(|c| c.status != Status::True);
    let pods = view.pods_of(&View::reference(w)).map(|pod| view.world.nodes.get("", &pod.node));
    pods.filter(|node| node.is_some_and(lost)).count() as u32
}

fn stalled(view: &View<'_>, out: &mut Verdicts) {
    for w in view.counted_workloads().filter(|w| !w.paused) {
        let Some((reason, since, dwell, message)) = stall(view, w) else { continue };
        let reference = View::reference(w);
        out.push(Verdict {
            subject: reference.subject(),
            labels: labels(&reference, [reason]),
            reason,
            severity: Severity::Critical,
            since,
            dwell,
            message,
        });
    }
}

type Stall = (&'static str, Option<crate::model::record::Time>, SignedDuration, String);

fn stall(view: &View<'_>, w: &Workload) -> Option<Stall> {
    if !w.observed() {
        // Nobody has looked at the spec: the controller is down, or far behind.
        let told = "the controller has not seen the newest spec".to_owned();
        return Some(("not_observed", None, SignedDuration::from_mins(2), told));
    }
    let deadline = w
        .condition("Progressing")
        .filter(|c| c.status == Status::False && c.reason == "ProgressDeadlineExceeded");
    if let Some(condition) = deadline {
        let told = format!(
            "{} of {} pods have the new revision: {}",
            w.updated, w.desired, condition.message
        );
        return Some(("deadline_exceeded", condition.since, SignedDuration::ZERO, told));
    }
    // A Deployment says so itself; the others only stand still.
    let stands = matches!(w.kind, Kind::StatefulSet | Kind::DaemonSet)
        && view.in_rollout(w)
        && w.strategy == Strategy::RollingUpdate
        && !moves(view, w);
    stands.then(|| {
        let told = format!(
            "{} of {} pods have the new revision, {} are ready",
            w.updated, w.desired, w.ready
        );
        ("not_replaced", None, SignedDuration::from_mins(10) - MOVES, told)
    })
}

/// How long a pod that was made anew counts as a step of its rollout.
const MOVES: SignedDuration = SignedDuration::from_mins(5);

/// Whether a pod of the workload was made lately, or is going within its grace period.
fn moves(view: &View<'_>, w: &Workload) -> bool {
    let since = view.now() - MOVES;
    let step = |pod: &Pod| {
        pod.meta.created > since || pod.meta.deleting.is_some_and(|due| due > view.now())
    };
    view.pods_of(&View::reference(w)).any(step)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{
        ago, condition, deployment, judge, meta, node, read, reasons, world,
    };
    use super::*;
    use crate::model::record::{Meta, Object, Owner};

    fn seen(signal: &Signal, w: Workload) -> Vec<&'static str> {
        reasons(&judge(signal, &world([Object::Workload(Box::new(w))])))
    }

    fn stateful() -> Workload {
        Workload { kind: Kind::StatefulSet, ..deployment() }
    }

    #[test]
    fn a_workload_that_lacks_pods_is_told_unless_its_rollout_may_lack_them() {
        let ahead = Meta { generation: 5, ..deployment().meta };
        let cases = [
            (deployment(), vec![]),
            (Workload { available: 0, ..deployment() }, vec!["none_available"]),
            (Workload { available: 2, ..deployment() }, vec!["short"]),
            (Workload { available: 2, updated: 1, max_unavailable: 1, ..deployment() }, vec![]),
            (
                Workload { available: 1, updated: 1, max_unavailable: 1, ..deployment() },
                vec!["short"],
            ),
            (
                Workload {
                    available: 0,
                    updated: 1,
                    strategy: Strategy::Recreate,
                    max_unavailable: 3,
                    ..deployment()
                },
                vec![],
            ),
            (Workload { available: 0, desired: 0, ..deployment() }, vec![]),
            (Workload { available: 0, meta: ahead, ..deployment() }, vec![]),
        ];
        for (workload, expected) in cases {
            assert_eq!(seen(&UNAVAILABLE, workload.clone()), expected, "{workload:?}");
        }
    }

    #[test]
    fn a_rollout_that_gets_nowhere_is_told() {
        let late = condition("Progressing", Status::False, "ProgressDeadlineExceeded", 30);
        let done = condition("Progressing", Status::True, "NewReplicaSetAvailable", 30);
        let late = Workload { conditions: [late].into(), updated: 1, ..deployment() };
        let rolling = Workload { revisions_differ: true, updated: 1, ..stateful() };
        let ahead = Meta { generation: 5, ..meta("shop", "web", 900) };
        let cases = [
            (late.clone(), vec!["deadline_exceeded"]),
            (Workload { paused: true, ..late }, vec![]),
            (Workload { conditions: [done].into(), ..deployment() }, vec![]),
            (Workload { updated: 1, ..deployment() }, vec![]),
            (rolling.clone(), vec!["not_replaced"]),
            (Workload { partition: 2, ..rolling.clone() }, vec![]),
            (Workload { strategy: Strategy::OnDelete, ..rolling }, vec![]),
            (Workload { meta: ahead, ..deployment() }, vec!["not_observed"]),
        ];
        for (workload, expected) in cases {
            assert_eq!(seen(&STALLED, workload.clone()), expected, "{workload:?}");
        }
    }

    /// A pod of this age, on `n1`, of the workload `web` of this kind.
    fn pod_of(kind: &str, age: i64) -> Pod {
        let owner = Owner { kind: kind.into(), name: "web".into(), ..Owner::default() };
        let meta = Meta { owner: Some(Box::new(owner)), ..meta("shop", "web-0", age) };
        Pod { meta, node: "n1".into(), ..Pod::default() }
    }

    #[test]
    fn a_rollout_that_replaces_a_pod_now_and_then_is_not_stalled() {
        let rolling = Workload { revisions_differ: true, updated: 1, ..stateful() };
        let going = Meta { deleting: Some(ago(-30)), ..pod_of("StatefulSet", 9000).meta };
        let cases = [
            (pod_of("StatefulSet", 9000), vec!["not_replaced"]),
            (pod_of("StatefulSet", 60), vec![]),
            (Pod { meta: going, ..pod_of("StatefulSet", 9000) }, vec![]),
        ];
        for (pod, expected) in cases {
            let set = Object::Workload(Box::new(rolling.clone()));
            let world = world([set, Object::Pod(Box::new(pod.clone()))]);
            assert_eq!(reasons(&judge(&STALLED, &world)), expected, "{pod:?}");
        }
    }

    #[test]
    fn a_daemon_set_does_not_lack_what_a_lost_node_cannot_run() {
        let daemons = Workload { kind: Kind::DaemonSet, available: 2, ..deployment() };
        let told = |node: Node| {
            let set = Object::Workload(Box::new(daemons.clone()));
            let pod = Object::Pod(Box::new(pod_of("DaemonSet", 9000)));
            reasons(&judge(&UNAVAILABLE, &world([set, pod, Object::Node(Box::new(node))])))
        };
        let lost = condition("Ready", Status::Unknown, "NodeStatusUnknown", 90);
        assert!(told(Node { conditions: [lost].into(), ..node("n1") }).is_empty());
        assert_eq!(told(node("n1")), ["short"]);
    }

    #[test]
    fn a_replica_set_of_its_own_never_rolls() {
        let lacking = Workload { updated: 0, available: 2, max_unavailable: 1, ..deployment() };
        let lacking = Workload { kind: Kind::ReplicaSet, ..lacking };
        let world = world([Object::Workload(Box::new(lacking))]);
        assert_eq!(reasons(&judge(&UNAVAILABLE, &world)), ["short"]);
        assert!(read(&ACTIVE, &world).is_empty());
    }

    #[test]
    fn only_workloads_that_lack_pods_have_a_series() {
        let whole = world([Object::Workload(Box::new(deployment()))]);
        assert!(read(&AVAILABLE, &whole).is_empty());
        assert!(read(&ACTIVE, &whole).is_empty());
        assert_eq!(read(&DEGRADED, &whole)[0].value, 0.0);
        let lacking = Workload { available: 1, updated: 1, ..deployment() };
        let lacking = world([Object::Workload(Box::new(lacking))]);
        let ratio = &read(&AVAILABLE, &lacking)[0];
        assert!((ratio.value - 1.0 / 3.0).abs() < 1e-9 && ratio.population == Some(3));
        assert_eq!(read(&ACTIVE, &lacking).len(), 1);
    }
}
