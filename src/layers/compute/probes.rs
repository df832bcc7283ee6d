//! Which probes fail, and how? From the kubelet's `Unhealthy` events, which are rationed: presence and reason count.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::group::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Container, ContainerState, Event, Phase, Pod, Role, Status, Time};
use crate::model::signal::{Observation, Profile, Read, Signal, Unit};
use crate::model::subject::{STANDALONE, WorkloadRef};
use crate::model::tally::Tallies;
use crate::model::view::{View, roll_up};

pub(super) static FAILURES: Signal = Signal {
    block: "S2.9",
    name: "compute_probe_failures_total",
    layer: Layer::Compute,
    help: "Failed probes that the kubelet reported, by probe and reason. Reports are rationed, so the number is a lower \
           bound. A few while a container starts are normal.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "probe", "reason"],
    reasons: REASONS,
    bound: "workloads × 4 probes × 9 reasons",
    needs: &[Kind::Event, Kind::Pod],
    uses: &[Kind::ReplicaSet, Kind::Job, Kind::StatefulSet, Kind::DaemonSet, Kind::Deployment],
    profile: Profile::Rate,
    read: Read::Counter,
};

pub(super) static UNREADY: Signal = Signal {
    block: "S2.9",
    name: "compute_pods_unready",
    layer: Layer::Compute,
    help: "Workloads of which at least half of the pods run but are not ready; of pods without a controller, any. Healthy is \
           none.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "reason"],
    reasons: &["probe", "unknown"],
    bound: "workloads × 2 reasons",
    needs: &[Kind::Pod, Kind::Node],
    uses: &[
        Kind::Event,
        Kind::ReplicaSet,
        Kind::Deployment,
        Kind::StatefulSet,
        Kind::DaemonSet,
        Kind::Job,
    ],
    profile: Profile::None,
    read: Read::Rule(unready),
};

const REASONS: &[&str] = &[
    "timeout",
    "connection_refused",
    "http_5xx",
    "http_4xx",
    "exec",
    "dns",
    "grpc",
    "other",
    "unobserved",
];

/// Words of the kubelet's prober and the reason that they tell; the first that is found decides.
const WORDS: &[(&str, &str)] = &[
    ("connection refused", "connection_refused"),
    ("no such host", "dns"),
    ("server misbehaving", "dns"),
    ("statuscode: 5", "http_5xx"),
    ("statuscode: 4", "http_4xx"),
    ("deadline exceeded", "timeout"),
    ("timed out", "timeout"),
    ("timeout", "timeout"),
    ("grpc", "grpc"),
    ("not_serving", "grpc"),
    ("rpc error", "grpc"),
    ("command ", "exec"),
    ("exec", "exec"),
];

fn probe(note: &str) -> &'static str {
    let kinds = ["Readiness", "Liveness", "Startup"];
    match kinds.into_iter().find(|kind| note.contains(&format!("{kind} probe"))) {
        Some("Readiness") => "readiness",
        Some("Liveness") => "liveness",
        Some(_) => "startup",
        None => "unknown",
    }
}

fn reason(note: &str) -> &'static str {
    let note = note.to_ascii_lowercase();
    WORDS.iter().find(|(words, _)| note.contains(words)).map_or("other", |(_, reason)| reason)
}

/// Counts what a series of events has grown by. The pod tells the workload, so an event that comes before its pod
/// waits for it.
pub(super) fn observe(o: &Observation<'_>, event: &Event, tallies: &mut Tallies) {
    let about = &event.regarding;
    if !is_report(event) {
        return;
    }
    match o.world.pods.get(&about.namespace, &about.name) {
        Some(pod) => count(o, pod, event, tallies),
        // What was there before kubestrata came is marked, not counted, whatever list comes first.
        None if !tallies.is_counting(Kind::Event) => {
            tallies.advance(Kind::Event, event.meta.uid, "probe", u64::from(event.count));
        }
        None => tallies.defer(
            (about.namespace.clone(), about.name.clone()),
            (event.meta.namespace.clone(), event.meta.name.clone()),
        ),
    }
}

/// Counts the events that came before the pod.
pub(super) fn observe_pod(o: &Observation<'_>, pod: &Pod, tallies: &mut Tallies) {
    let key = (pod.meta.namespace.clone(), pod.meta.name.clone());
    for (namespace, name) in tallies.take_deferred(&key) {
        if let Some(event) = o.world.events.get(&namespace, &name) {
            count(o, pod, event, tallies);
        }
    }
}

fn is_report(event: &Event) -> bool {
    matches!(&*event.reason, "Unhealthy" | "ProbeWarning") && event.regarding.kind == "Pod"
}

fn count(o: &Observation<'_>, pod: &Pod, event: &Event, tallies: &mut Tallies) {
    let (uid, seen) = (event.meta.uid, u64::from(event.count));
    // An older report that comes late must not count as a new series; and a pod that is going may fail its probes.
    if seen < tallies.mark(Kind::Event, uid, "probe") || pod.meta.deleting.is_some() {
        return;
    }
    let new = tallies.advance(Kind::Event, uid, "probe", seen);
    let workload = roll_up(o.world, pod);
    tallies.add(&FAILURES, labels(&workload, [probe(&event.note), reason(&event.note)]), new);
}

/// Pods of a workload: how many run, how many of those are unready, and one of them.
#[derive(Default)]
struct Count<'a> {
    running: u32,
    unready: Vec<&'a Pod>,
}

fn unready(view: &View<'_>, out: &mut Verdicts) {
    let running = || view.counted_pods().filter(|(pod, _)| pod.phase == Phase::Running);
    let mut counts: BTreeMap<&WorkloadRef, Count<'_>> = BTreeMap::new();
    for (pod, workload) in running().filter(|(pod, _)| is_unready(view, pod)) {
        counts.entry(workload).or_default().unready.push(pod);
    }
    if counts.is_empty() {
        return;
    }
    for (_, workload) in running() {
        counts.entry(workload).and_modify(|count| count.running += 1);
    }
    for (workload, count) in counts {
        let (unready, running) = (count.unready.len() as u32, count.running);
        let Some(example) =
            count.unready.first().filter(|_| 2 * unready >= running || workload.name == STANDALONE)
        else {
            continue;
        };
        let report =
            (view.recent_events(Kind::Pod, &example.meta, crate::model::view::STILL_SPEAKS))
                .filter(|e| e.reason == "Unhealthy")
                .last();
        let reason = if report.is_some() { "probe" } else { "unknown" };
        let since = count.unready.iter().copied().filter_map(unready_since).min();
        let words = report.map_or(String::new(), |e| format!(": {}", e.note.trim()));
        out.push(Verdict {
            subject: workload.subject(),
            labels: labels(workload, [reason]),
            reason,
            severity: if unready == running { Severity::Critical } else { Severity::Warning },
            since,
            dwell: SignedDuration::from_mins(2),
            message: format!(
                "{unready} of {running} running pods are not ready, as {}{words}",
                example.meta.name
            ),
        });
    }
}

/// Since when a pod's containers have all run and it has not been ready: in a crash loop they run now and then.
fn unready_since(pod: &Pod) -> Option<Time> {
    let mains = pod.containers.iter().filter(|c| c.role == Role::Main);
    let started = mains.filter_map(|c| match c.state {
        ContainerState::Running { since } => since,
        _ => None,
    });
    let unready = pod.condition("Ready")?.since?;
    Some(started.fold(unready, Time::max))
}

/// Whether a pod's containers all run and it is not ready all the same, on a node that is. A container that waits or
/// has ended is told by other signals, a node that is lost by its own.
fn is_unready(view: &View<'_>, pod: &Pod) -> bool {
    // One whose startup probe still waits is not late yet: the kubelet ends it when it is.
    let runs = |c: &Container| c.started && matches!(c.state, ContainerState::Running { .. });
    let on_a_ready_node = || {
        let node = view.world.nodes.get("", &pod.node).and_then(|n| n.condition("Ready"));
        node.is_none_or(|ready| ready.status == Status::True)
    };
    pod.condition("Ready").is_some_and(|c| c.status == Status::False)
        && pod.containers.iter().filter(|c| c.role == Role::Main).all(runs)
        && on_a_ready_node()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{
        ago, condition, container, event, judge, node, pod, reasons, world,
    };
    use super::*;
    use crate::model::record::Object;
    use crate::model::world::World;

    #[test]
    fn a_note_tells_the_probe_and_the_reason() {
        let cases = [
            (
                "Readiness probe failed: HTTP probe failed with statuscode: 503",
                "readiness",
                "http_5xx",
            ),
            (
                "Liveness probe failed: HTTP probe failed with statuscode: 404",
                "liveness",
                "http_4xx",
            ),
            (
                "Liveness probe failed: Get \"http://10.0.0.1/\": context deadline exceeded",
                "liveness",
                "timeout",
            ),
            (
                "Startup probe failed: dial tcp 10.0.0.1:80: connect: connection refused",
                "startup",
                "connection_refused",
            ),
            (
                "Readiness probe errored and resulted in unknown state: rpc error: code = Unknown",
                "readiness",
                "grpc",
            ),
            ("Readiness probe failed: dial tcp: lookup db: no such host", "readiness", "dns"),
            ("Readiness probe failed: command \"sh\" timed out", "readiness", "timeout"),
            ("Readiness probe failed: ", "readiness", "other"),
            ("(combined from similar events)", "unknown", "other"),
        ];
        for (note, kind, why) in cases {
            assert_eq!((probe(note), reason(note)), (kind, why), "{note}");
            assert!(REASONS.contains(&why));
        }
    }

    #[test]
    fn a_series_counts_what_it_grows_by() {
        let world = world([Object::Pod(Box::new(pod("web-1")))]);
        let mut tallies = Tallies::default();
        tallies.synced(Kind::Event, std::iter::empty());
        for count in [1, 1, 4, 3, 9] {
            let note = "Readiness probe failed: HTTP probe failed with statuscode: 503";
            let event = Event { count, ..event(Kind::Pod, "web-1", "Unhealthy", note) };
            let object = Object::Event(Box::new(event.clone()));
            observe(
                &Observation { world: &world, object: &object, now: ago(0) },
                &event,
                &mut tallies,
            );
        }
        let totals: Vec<_> = tallies.counters(&FAILURES).collect();
        let (labels, total) = totals[0];
        assert_eq!((totals.len(), total), (1, 9));
        assert_eq!(
            labels.iter().collect::<Vec<_>>(),
            ["shop", "Deployment", "web", "readiness", "http_5xx"]
        );
    }

    fn running(name: &str, ready: Status) -> Pod {
        let state = ContainerState::Running { since: Some(ago(600)) };
        let conditions = [condition("Ready", ready, "ContainersNotReady", 300)].into();
        Pod { containers: [container(state)].into(), conditions, ..pod(name) }
    }

    fn look(pods: &[Pod], node_ready: Status) -> World {
        let mut n1 = node("n1");
        n1.conditions[0].status = node_ready;
        let pods = pods.iter().cloned().map(|p| Object::Pod(Box::new(p)));
        let note = "Readiness probe failed: timeout";
        let report = Object::Event(Box::new(event(Kind::Pod, "web-1", "Unhealthy", note)));
        world(pods.chain([Object::Node(Box::new(n1)), report]))
    }

    #[test]
    fn a_container_that_has_just_been_started_is_given_its_time() {
        let pod = |started: i64| Pod {
            conditions: [condition("Ready", Status::False, "", 900)].into(),
            containers: [container(ContainerState::Running { since: Some(ago(started)) })].into(),
            ..pod("web-1")
        };
        assert_eq!(unready_since(&pod(10)), Some(ago(10)));
        assert_eq!(unready_since(&pod(2000)), Some(ago(900)));
    }

    #[test]
    fn half_of_a_workload_unready_is_a_finding_unless_its_node_is_lost() {
        let (bad, good) = (running("web-1", Status::False), running("web-2", Status::True));
        let both = [bad.clone(), good.clone()];
        assert_eq!(reasons(&judge(&UNREADY, &look(&both, Status::True))), ["probe"]);
        assert!(judge(&UNREADY, &look(&both, Status::Unknown)).is_empty());
        let third = running("web-3", Status::True);
        assert!(judge(&UNREADY, &look(&[bad.clone(), good, third], Status::True)).is_empty());
        let mut starting = bad;
        starting.containers[0].started = false;
        assert!(judge(&UNREADY, &look(&[starting], Status::True)).is_empty());
    }
}
