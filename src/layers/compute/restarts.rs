//! Which containers restart, why, and which do nothing else?
//!
//! Counted by termination: a container with `restartCount` r that has ended is at its termination r + 1, and its
//! `lastState` is termination r. The API keeps one past termination, so of n restarts between two looks one has a
//! known reason and n − 1 happened unseen.

use jiff::SignedDuration;

use super::group::{Groups, OWNERS, Telling, labels};
use crate::model::finding::{Severity, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Container, ContainerState, Pod, Termination};
use crate::model::signal::{Observation, Profile, Read, Signal, Unit};
use crate::model::tally::Tallies;
use crate::model::view::{View, roll_up};

pub(super) static RESTARTS: Signal = Signal {
    block: "S2.4",
    name: "compute_container_restarts_total",
    layer: Layer::Compute,
    help: "Restarts of containers, by the reason and the exit of the termination before; unobserved: it happened \
           between two looks. Steady crash loops slow down to about 12 an hour.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "container", "reason", "exit_class"],
    reasons: REASONS,
    bound: "containers of workloads × 9 reasons × 2 exit classes",
    needs: &[Kind::Pod],
    uses: OWNERS,
    profile: Profile::Rate,
    read: Read::Counter,
};

pub(super) static OOM_KILLS: Signal = Signal {
    block: "S2.5",
    name: "compute_oom_kills_total",
    layer: Layer::Compute,
    help: "Containers killed for the memory that they used, each termination once. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "container"],
    reasons: &[],
    bound: "containers of workloads",
    needs: &[Kind::Pod],
    uses: OWNERS,
    profile: Profile::Rate,
    read: Read::Counter,
};

pub(super) static CRASHLOOP: Signal = Signal {
    block: "S2.4",
    name: "compute_crashloop",
    layer: Layer::Compute,
    help: "Workloads with containers that end again and again: waiting in CrashLoopBackOff, or up for less than ten \
           minutes after at least three restarts. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "reason", "container"],
    reasons: EXIT_CLASSES,
    bound: "containers of workloads × 8 exit classes",
    needs: &[Kind::Pod],
    uses: OWNERS,
    profile: Profile::None,
    read: Read::Rule(crashloop),
};

/// Kubernetes' own reasons of terminations, what they do not name, and what nobody saw.
const REASONS: &[&str] = &[
    "OOMKilled",
    "Error",
    "Completed",
    "ContainerCannotRun",
    "StartError",
    "DeadlineExceeded",
    "ContainerStatusUnknown",
    "other",
    UNOBSERVED,
];

/// What happened between two looks.
pub(super) const UNOBSERVED: &str = "unobserved";

const EXIT_CLASSES: &[&str] = &[
    "oom",
    "sigkill",
    "sigterm",
    "error",
    "completed",
    "status_unknown",
    "cannot_run",
    UNOBSERVED,
];

/// After ten minutes without an end the kubelet takes its back-off back.
const RECOVERED_AFTER: i64 = 600;

/// Counts restarts and OOM kills of a pod's containers.
pub(super) fn observe(o: &Observation<'_>, pod: &Pod, tallies: &mut Tallies) {
    let touched =
        |c: &Container| c.restarts > 0 || matches!(c.state, ContainerState::Terminated(_));
    if !pod.containers.iter().any(touched) {
        return;
    }
    let workload = roll_up(o.world, pod);
    let uid = pod.meta.uid;
    for container in &pod.containers {
        let name = container.name.as_str();
        let new = tallies.advance(Kind::Pod, uid, name, u64::from(container.restarts));
        let seen = u64::from(container.last.is_some()).min(new);
        if let Some(last) = container.last.as_ref().filter(|_| seen > 0) {
            let (reason, class) = (reason(last), exit_class(last));
            tallies.add(&RESTARTS, labels(&workload, [name, reason, class]), seen);
        }
        tallies.add(&RESTARTS, labels(&workload, [name, UNOBSERVED, UNOBSERVED]), new - seen);
        let kills = oom_kills(container);
        let slot = format!("{name}/oom");
        if let Some(index) = kills {
            let mark = tallies.mark(Kind::Pod, uid, &slot);
            // A count that fell was reset, and the terminations are numbered anew.
            let fresh = index > mark || u64::from(container.restarts) + 1 < mark;
            if fresh && tallies.advance(Kind::Pod, uid, &slot, index) > 0 {
                tallies.add(&OOM_KILLS, labels(&workload, [name]), 1);
            }
        }
    }
}

/// The number of the newest termination that was an OOM kill, if the status shows one.
fn oom_kills(container: &Container) -> Option<u64> {
    let number = u64::from(container.restarts);
    match (&container.state, &container.last) {
        (ContainerState::Terminated(t), _) if t.reason == "OOMKilled" => Some(number + 1),
        (_, Some(t)) if t.reason == "OOMKilled" => Some(number),
        _ => None,
    }
}

fn reason(termination: &Termination) -> &'static str {
    let known = REASONS.iter().find(|r| termination.reason == **r && **r != UNOBSERVED);
    known.copied().unwrap_or("other")
}

fn exit_class(termination: &Termination) -> &'static str {
    match (&*termination.reason, termination.exit_code) {
        ("OOMKilled", _) => "oom",
        ("ContainerStatusUnknown", _) => "status_unknown",
        ("ContainerCannotRun" | "StartError", _) => "cannot_run",
        (_, 137) => "sigkill",
        (_, 143) => "sigterm",
        (_, 0) => "completed",
        _ => "error",
    }
}

fn crashloop(view: &View<'_>, out: &mut Verdicts) {
    let mut groups = Groups::default();
    for (pod, workload) in view.counted_pods() {
        for container in &pod.containers {
            if !is_looping(view, container) {
                continue;
            }
            let class = container.last.as_ref().map_or(UNOBSERVED, exit_class);
            let code = container.last.as_ref().map_or(String::new(), |last| {
                format!(
                    "container {} ended {} times, last with {} ({})",
                    container.name, container.restarts, last.exit_code, last.reason
                )
            });
            let member = (pod, workload);
            groups.add(member, class, container.name.clone(), None, &code);
        }
    }
    groups.tell(out, |class| Telling {
        what: "in a crash loop",
        severity: if class == "completed" { Severity::Warning } else { Severity::Critical },
        dwell: SignedDuration::from_mins(1),
    });
}

/// Whether a container waits for its next try, or is up between two ends. A back-off lasts up to five minutes and a
/// try may last as long, so a container that is up for the moment has not recovered.
fn is_looping(view: &View<'_>, container: &Container) -> bool {
    match &container.state {
        ContainerState::Waiting { reason, .. } => reason == "CrashLoopBackOff",
        ContainerState::Running { since } => {
            let ended = container.last.as_ref().and_then(|last| last.finished);
            let lately = |t| view.is_younger(t, RECOVERED_AFTER);
            // A container that once ended three times in a year is no loop: the ends must be close.
            container.restarts >= 3
                && !container.ready
                && ended.is_some_and(lately)
                && since.is_none_or(lately)
        }
        ContainerState::Terminated(_) | ContainerState::Absent => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::fixtures::{self, ago, container, judge, pod, reasons};
    use super::*;
    use crate::model::record::Object;
    use crate::model::world::{Delta, World};

    fn ended(reason: &str, exit_code: i32) -> Termination {
        Termination { reason: reason.into(), exit_code, signal: 0, finished: Some(ago(30)) }
    }

    fn restarted(restarts: u32, last: Option<Termination>) -> Pod {
        let running = ContainerState::Running { since: Some(ago(20)) };
        Pod {
            containers: [Container { restarts, last, ..container(running) }].into(),
            ..pod("web-1")
        }
    }

    /// The restarts by reason after these looks, counting from the first list on.
    fn counted(looks: &[Pod]) -> BTreeMap<String, u64> {
        let (mut world, mut tallies) = (World::default(), Tallies::default());
        tallies.synced(Kind::Pod, std::iter::empty());
        for pod in looks {
            let object = Object::Pod(Box::new(pod.clone()));
            observe(
                &Observation { world: &world, object: &object, now: ago(0) },
                pod,
                &mut tallies,
            );
            world.apply(Delta::Upsert(object), ago(0));
        }
        let totals = tallies.counters(&RESTARTS);
        totals.map(|(l, n)| (l.get(4).unwrap().to_string(), n)).collect()
    }

    #[test]
    fn one_reason_is_known_and_the_rest_unobserved() {
        let counts = counted(&[
            restarted(0, None),
            restarted(1, Some(ended("OOMKilled", 137))),
            restarted(4, Some(ended("Error", 1))),
            restarted(4, Some(ended("Error", 1))),
            restarted(5, None),
        ]);
        let expected = [("Error", 1), ("OOMKilled", 1), (UNOBSERVED, 3)];
        assert_eq!(counts, expected.map(|(r, n)| (r.to_owned(), n)).into());
    }

    #[test]
    fn terminations_have_a_class_by_their_exit() {
        let cases = [
            ("OOMKilled", 137, "oom"),
            ("Error", 137, "sigkill"),
            ("Error", 143, "sigterm"),
            ("Error", 1, "error"),
            ("Completed", 0, "completed"),
            ("ContainerStatusUnknown", 137, "status_unknown"),
            ("StartError", 128, "cannot_run"),
            ("SomethingNew", 3, "error"),
        ];
        for (reason, code, expected) in cases {
            let class = exit_class(&ended(reason, code));
            assert_eq!(class, expected, "{reason} {code}");
            assert!(EXIT_CLASSES.contains(&class));
        }
        assert_eq!(reason(&ended("SomethingNew", 3)), "other");
    }

    #[test]
    fn an_oom_kill_is_counted_once_wherever_it_shows() {
        let (mut world, mut tallies) = (World::default(), Tallies::default());
        tallies.synced(Kind::Pod, std::iter::empty());
        let killed = ContainerState::Terminated(ended("OOMKilled", 137));
        let first = Pod { containers: [container(killed.clone())].into(), ..pod("web-1") };
        let second = restarted(1, Some(ended("OOMKilled", 137)));
        let third = Pod {
            containers: [Container { restarts: 1, ..container(killed) }].into(),
            ..pod("web-1")
        };
        let fourth = restarted(2, Some(ended("OOMKilled", 137)));
        let reset = restarted(1, Some(ended("OOMKilled", 137)));
        let mut totals = Vec::new();
        for pod in [&first, &second, &third, &fourth, &fourth, &reset] {
            let object = Object::Pod(Box::new(pod.clone()));
            observe(
                &Observation { world: &world, object: &object, now: ago(0) },
                pod,
                &mut tallies,
            );
            world.apply(Delta::Upsert(object), ago(0));
            totals.push(tallies.counters(&OOM_KILLS).map(|(_, n)| n).sum::<u64>());
        }
        assert_eq!(totals, [1, 1, 2, 2, 2, 2]);
    }

    #[test]
    fn a_crash_loop_is_told_while_waiting_and_between_tries() {
        let waiting =
            ContainerState::Waiting { reason: "CrashLoopBackOff".into(), message: "".into() };
        let up = |since| ContainerState::Running { since: Some(ago(since)) };
        let looping = |state, restarts, ready, finished| {
            let last = Some(Termination { finished: Some(ago(finished)), ..ended("Error", 1) });
            let container = Container { restarts, ready, last, ..container(state) };
            Pod { containers: [container].into(), ..pod("web-1") }
        };
        let cases = [
            (looping(waiting, 5, false, 60), vec!["error"]),
            (looping(up(30), 5, false, 60), vec!["error"]),
            (looping(up(30), 5, true, 60), vec![]),
            (looping(up(30), 1, false, 60), vec![]),
            (looping(up(700), 5, false, 730), vec![]),
        ];
        for (pod, expected) in cases {
            let world = fixtures::world([Object::Pod(Box::new(pod))]);
            assert_eq!(reasons(&judge(&CRASHLOOP, &world)), expected);
        }
    }

    proptest! {
        /// Whatever is missed between two looks, the sum over reasons is the number of restarts.
        #[test]
        fn totals_are_exact_whatever_was_missed(gaps in prop::collection::vec(0_u32..6, 1..40)) {
            let mut restarts = 0;
            let mut looks = vec![restarted(0, None)];
            for gap in &gaps {
                restarts += gap;
                looks.push(restarted(restarts, Some(ended("Error", 1))));
            }
            let counts = counted(&looks);
            prop_assert_eq!(counts.values().sum::<u64>(), u64::from(restarts));
            let seen = gaps.iter().filter(|g| **g > 0).count() as u64;
            prop_assert_eq!(counts.get("Error").copied().unwrap_or(0), seen);
        }
    }
}
