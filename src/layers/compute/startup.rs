//! How long do pods take until they serve, and which phase takes the time?

use super::group::OWNERS;
use crate::labels;
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Container, ContainerState, Pod, Role, Status, Time};
use crate::model::signal::{Observation, Profile, Read, Signal, Unit};
use crate::model::tally::Tallies;
use crate::model::view::roll_up;

pub(super) static TIME_TO_READY: Signal = Signal {
    block: "S2.8",
    name: "compute_time_to_ready_seconds",
    layer: Layer::Compute,
    help: "Time that pods took in each phase until they were first ready: scheduling, sandbox (network and volumes), \
           init (init containers and their images), pull (images, until the last container runs), ready (start-up and \
           probes). Pods of Jobs do not count.",
    unit: Unit::Seconds,
    labels: &["phase"],
    reasons: &[],
    bound: "5",
    needs: &[Kind::Pod],
    uses: OWNERS,
    profile: Profile::Durations,
    read: Read::Histogram(BUCKETS),
};

pub(super) static STARTUP: Signal = Signal {
    block: "S2.8",
    name: "compute_pod_startup_seconds",
    layer: Layer::Compute,
    help: "Time from the creation of pods until they were first ready, all phases together. Pods of Jobs do not count. \
           Healthy is stable.",
    unit: Unit::Seconds,
    labels: &["namespace"],
    reasons: &[],
    bound: "namespaces",
    needs: &[Kind::Pod],
    uses: OWNERS,
    profile: Profile::Durations,
    read: Read::Histogram(BUCKETS),
};

const BUCKETS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0];

/// Records a pod's phases when it is first seen ready. A later return to ready is another matter.
pub(super) fn observe(o: &Observation<'_>, pod: &Pod, tallies: &mut Tallies) {
    let Some(ready) = reached(pod, "Ready") else { return };
    let uid = pod.meta.uid;
    if tallies.mark(Kind::Pod, uid, "ready") > 0
        || tallies.advance(Kind::Pod, uid, "ready", 1) == 0
        || matches!(&*roll_up(o.world, pod).kind, "Job" | "CronJob")
        // A container that was restarted has been ready before, or never will be in the sense of a first start.
        || pod.containers.iter().any(|c| c.restarts > 0)
    {
        return;
    }
    let steps = [
        ("scheduling", reached(pod, "PodScheduled")),
        ("sandbox", reached(pod, "PodReadyToStartContainers")),
        ("init", reached(pod, "Initialized")),
        ("pull", running(pod)),
        ("ready", Some(ready)),
    ];
    let all = ready.duration_since(pod.meta.created).as_secs_f64();
    tallies.record(&STARTUP, labels![&pod.meta.namespace], all);
    let mut from = pod.meta.created;
    for (phase, until) in steps {
        // A phase that the cluster does not tell of belongs to the next one.
        let Some(until) = until else { continue };
        let seconds = until.duration_since(from).as_secs_f64();
        tallies.record(&TIME_TO_READY, labels![phase], seconds);
        from = from.max(until);
    }
}

/// When the last of a pod's containers was started; `None` while the status does not say it of each.
fn running(pod: &Pod) -> Option<Time> {
    let started = |c: &Container| match &c.state {
        ContainerState::Running { since } => *since,
        _ => None,
    };
    let mains = pod.containers.iter().filter(|c| c.role == Role::Main);
    mains.map(started).collect::<Option<Vec<Time>>>()?.into_iter().max()
}

fn reached(pod: &Pod, condition: &str) -> Option<Time> {
    let condition = pod.condition(condition)?;
    condition.since.filter(|_| condition.status == Status::True)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{ago, condition, container, meta, pod};
    use super::*;
    use crate::model::record::{Meta, Object};
    use crate::model::world::World;

    fn started() -> Pod {
        let reached = |kind, age| condition(kind, Status::True, "", age);
        Pod {
            meta: Meta { created: ago(100), ..pod("web-1").meta },
            conditions: [
                reached("PodScheduled", 99),
                reached("PodReadyToStartContainers", 69),
                reached("Initialized", 69),
                reached("Ready", 9),
            ]
            .into(),
            containers: [50, 39]
                .map(|age| container(ContainerState::Running { since: Some(ago(age)) }))
                .into(),
            ..pod("web-1")
        }
    }

    fn record(tallies: &mut Tallies, pod: &Pod) {
        let object = Object::Pod(Box::new(pod.clone()));
        let world = World::default();
        observe(&Observation { world: &world, object: &object, now: ago(0) }, pod, tallies);
    }

    #[test]
    fn each_phase_of_a_first_start_is_recorded_once() {
        let mut tallies = Tallies::default();
        tallies.synced(Kind::Pod, std::iter::empty());
        record(&mut tallies, &started());
        record(&mut tallies, &started());
        let phases: Vec<_> = (tallies.histograms(&TIME_TO_READY))
            .map(|(l, h)| (l.get(0).unwrap().to_string(), h.sum, h.count))
            .collect();
        let expected = [
            ("init", 0.0),
            ("pull", 30.0),
            ("ready", 30.0),
            ("sandbox", 30.0),
            ("scheduling", 1.0),
        ];
        assert_eq!(phases, expected.map(|(phase, sum)| (phase.to_owned(), sum, 1)));
        let all: Vec<_> = tallies.histograms(&STARTUP).map(|(_, h)| (h.sum, h.count)).collect();
        assert_eq!(all, [(91.0, 1)]);
    }

    #[test]
    fn pods_that_were_there_before_and_pods_of_jobs_do_not_count() {
        let mut tallies = Tallies::default();
        record(&mut tallies, &started());
        tallies.synced(Kind::Pod, std::iter::once(started().meta.uid));
        record(&mut tallies, &started());
        let job = crate::model::record::Owner {
            kind: "Job".into(),
            name: "j".into(),
            ..Default::default()
        };
        let of_job =
            Meta { owner: Some(Box::new(job)), created: ago(100), ..meta("shop", "j-x", 0) };
        record(&mut tallies, &Pod { meta: of_job, ..started() });
        assert_eq!(tallies.histograms(&TIME_TO_READY).count(), 0);
        assert_eq!(tallies.histograms(&STARTUP).count(), 0);
    }
}
