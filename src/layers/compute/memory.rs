//! Which containers are killed for their memory again and again, hours apart? No crash loop: each time they start well.

use std::collections::BTreeMap;

use super::group::{OWNERS, labels};
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Container, Pod, Time};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::WorkloadRef;
use crate::model::text::Text;
use crate::model::view::View;
use crate::model::world::Recall;

pub(super) static KILLED_AGAIN: Signal = Signal {
    block: "S2.5",
    name: "compute_oom_killed_again",
    layer: Layer::Compute,
    help: "Workloads of which a container was killed for its memory at least twice within a day, in one pod or in several: \
           `limit` where it has a memory limit, `no_limit` where it has none. A status shows the last kills only; those \
           before are known as far as kubestrata saw them. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "reason", "container"],
    reasons: &["limit", "no_limit"],
    bound: "containers of workloads × 2 reasons",
    needs: &[Kind::Pod],
    uses: OWNERS,
    profile: Profile::None,
    read: Read::Rule(killed_again),
};

/// Seconds for which a kill is held against a container.
const DAY: i64 = 86_400;

/// The kills of one container of a workload.
#[derive(Default)]
struct Kills<'a> {
    /// When, and in which pod.
    at: Vec<(Time, &'a Pod)>,
    limit: Option<&'a Text>,
    /// Some of the day may be forgotten.
    more: bool,
}

impl<'a> Kills<'a> {
    fn add(&mut self, view: &View<'_>, pod: &'a Pod, container: &'a Container) {
        let before = self.at.len();
        let kills = view.world.recall().kills(pod.meta.uid, &container.name);
        let lately = kills.iter().filter(|at| view.is_younger(**at, DAY));
        self.at.extend(lately.map(|at| (*at, pod)));
        self.more |= self.at.len() - before == Recall::KILLS_KEPT;
        self.limit = Some(&container.memory_limit).filter(|limit| !limit.is_empty());
    }
}

fn killed_again(view: &View<'_>, out: &mut Verdicts) {
    let mut all: BTreeMap<(&WorkloadRef, &Text), Kills<'_>> = BTreeMap::new();
    for (pod, workload) in view.counted_pods() {
        let kills = |c: &&Container| view.world.recall().kills(pod.meta.uid, &c.name);
        for container in pod.containers.iter().filter(|c| !kills(c).is_empty()) {
            all.entry((workload, &container.name)).or_default().add(view, pod, container);
        }
    }
    for ((workload, container), mut kills) in all {
        kills.at.sort_by(|(a, p), (b, q)| (a, &p.meta.name).cmp(&(b, &q.meta.name)));
        let [_, (again, _), ..] = kills.at[..] else { continue };
        let Some((newest, pod)) = kills.at.last() else { continue };
        let (reason, limit) = match kills.limit {
            Some(limit) => ("limit", format!(", with a limit of {limit}")),
            None => ("no_limit", ", without a limit".to_owned()),
        };
        let or_more = if kills.more { " or more" } else { "" };
        out.push(Verdict {
            subject: workload.subject(),
            labels: labels(workload, [reason, container]),
            reason,
            severity: Severity::Warning,
            since: Some(again),
            dwell: jiff::SignedDuration::ZERO,
            message: format!(
                "container {container} was killed for its memory {} times{or_more} within a day{limit}, last in {} at {newest}",
                kills.at.len(),
                pod.meta.name,
            ),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{ago, container, judge, pod, world};
    use super::*;
    use crate::model::record::{ContainerState, Object, Termination};
    use crate::model::world::{Delta, World};

    const HOUR: i64 = 3_600;

    fn ended(reason: &str, finished: i64) -> Termination {
        let reason = reason.into();
        Termination { reason, exit_code: 137, signal: 0, finished: Some(ago(finished)) }
    }

    /// A pod that runs, whose container ended so the last time.
    fn after(name: &str, last: Termination) -> Pod {
        let running = container(ContainerState::Running { since: Some(ago(20)) });
        Pod {
            containers: [Container { restarts: 1, last: Some(last), ..running }].into(),
            ..pod(name)
        }
    }

    fn seen(looks: impl IntoIterator<Item = Pod>) -> World {
        let mut world = world([]);
        for pod in looks {
            world.apply(Delta::Upsert(Object::Pod(Box::new(pod))), ago(0));
        }
        world
    }

    #[test]
    fn one_kill_is_told_once_it_is_not_the_only_one_of_a_day() {
        let oom = |hours: i64| after("web-1", ended("OOMKilled", hours * HOUR));
        let told = |looks: Vec<Pod>| judge(&KILLED_AGAIN, &seen(looks)).len();
        assert_eq!(told(vec![oom(7)]), 0, "one kill");
        assert_eq!(told(vec![oom(7), oom(7)]), 0, "the same kill");
        assert_eq!(told(vec![oom(7), oom(1)]), 1);
        assert_eq!(told(vec![oom(30), oom(7)]), 0, "more than a day apart");
        let crashed = after("web-1", ended("Error", 3 * HOUR));
        assert_eq!(told(vec![oom(7), crashed.clone()]), 0, "one kill and a crash");
        assert_eq!(told(vec![oom(7), crashed, oom(1)]), 1, "a crash between two kills");
        let mut successor = oom(1);
        successor.meta.uid = crate::model::record::Uid(9);
        assert_eq!(told(vec![oom(7), successor]), 0, "another pod of the same name");
    }

    #[test]
    fn kills_of_all_pods_of_a_workload_count_and_the_words_say_how_many() {
        let mut other = after("web-2", ended("OOMKilled", 2 * HOUR));
        other.containers[0].memory_limit = "64Mi".into();
        let killed = after("web-1", ended("OOMKilled", 5 * HOUR));
        let verdicts = judge(&KILLED_AGAIN, &seen([killed.clone(), other.clone()]));
        let [verdict] = &verdicts[..] else { panic!("{verdicts:?}") };
        assert_eq!((verdict.reason, verdict.since), ("limit", Some(ago(2 * HOUR))));
        let expected = format!(
            "container main was killed for its memory 2 times within a day, with a limit of 64Mi, last in web-2 at {}",
            ago(2 * HOUR)
        );
        assert_eq!(verdict.message, expected);
        let mut elsewhere = other;
        elsewhere.containers[0].name = "sidecar".into();
        assert!(judge(&KILLED_AGAIN, &seen([killed, elsewhere])).is_empty(), "two containers");
    }

    #[test]
    fn a_status_can_show_two_kills() {
        let mut pod = after("web-1", ended("OOMKilled", HOUR));
        pod.containers[0].state = ContainerState::Terminated(ended("OOMKilled", 5));
        let verdicts = judge(&KILLED_AGAIN, &seen([pod]));
        assert_eq!(verdicts[0].reason, "no_limit");
    }

    #[test]
    fn of_many_kills_the_newest_are_remembered() {
        let looks = (1..30).rev().map(|n| after("web-1", ended("OOMKilled", n * 300)));
        let verdicts = judge(&KILLED_AGAIN, &seen(looks));
        assert!(verdicts[0].message.contains("10 times or more"), "{}", verdicts[0].message);
        assert!(verdicts[0].message.ends_with(&ago(300).to_string()), "{}", verdicts[0].message);
    }
}
