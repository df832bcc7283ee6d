//! How much of the nodes is promised to pods, and how many containers promise nothing?

use std::collections::BTreeMap;

use crate::labels;
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::{Phase, Resources, Role, Status};
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};
use crate::model::text::Text;
use crate::model::view::View;

pub(super) static REQUESTED: Signal = Signal {
    block: "S2.20",
    name: "compute_requested_ratio",
    layer: Layer::Compute,
    help: "Share of what ready, schedulable nodes can allocate that is requested by pods on them, by zone and resource.",
    unit: Unit::Ratio,
    labels: &["zone", "resource"],
    reasons: &[],
    bound: "zones × 3",
    needs: &[Kind::Pod, Kind::Node],
    uses: &[],
    profile: Profile::Level { bad: Direction::High, floor: 0.05 },
    read: Read::Gauge(requested),
};

pub(super) static BLIND: Signal = Signal {
    block: "S2.20",
    name: "compute_containers_without_ratio",
    layer: Layer::Compute,
    help: "Share of running containers that have no requests, no memory limit, or no probe: posture, not an alarm.",
    unit: Unit::Ratio,
    labels: &["missing"],
    reasons: &[],
    bound: "3",
    needs: &[Kind::Pod],
    uses: &[],
    profile: Profile::None,
    read: Read::Gauge(blind),
};

#[derive(Default)]
struct Zone {
    allocatable: Resources,
    requested: Resources,
}

fn requested(view: &View<'_>, out: &mut Readings) {
    let mut zones: BTreeMap<&Text, Zone> = BTreeMap::new();
    let serving = view.world.nodes.iter().filter(|node| {
        !node.unschedulable && node.condition("Ready").is_some_and(|c| c.status == Status::True)
    });
    for node in serving {
        let zone = zones.entry(&node.zone).or_default();
        add(&mut zone.allocatable, node.allocatable);
        let holds =
            |p: &&crate::model::record::Pod| !matches!(p.phase, Phase::Succeeded | Phase::Failed);
        for pod in view.pods_on(&node.meta.name).filter(holds) {
            add(&mut zone.requested, Resources { pods: 1, ..pod.requests });
        }
    }
    for (name, zone) in zones {
        let shares = [
            ("cpu", zone.requested.cpu_milli, zone.allocatable.cpu_milli),
            ("memory", zone.requested.memory, zone.allocatable.memory),
            ("pods", u64::from(zone.requested.pods), u64::from(zone.allocatable.pods)),
        ];
        for (resource, part, whole) in shares.into_iter().filter(|(_, _, whole)| *whole > 0) {
            // Amounts, not objects: there is no population to draw from.
            out.push(labels![name, resource], part as f64 / whole as f64);
        }
    }
}

fn add(sum: &mut Resources, more: Resources) {
    sum.cpu_milli = sum.cpu_milli.saturating_add(more.cpu_milli);
    sum.memory = sum.memory.saturating_add(more.memory);
    sum.pods = sum.pods.saturating_add(more.pods);
}

fn blind(view: &View<'_>, out: &mut Readings) {
    let (mut all, mut requests, mut limits, mut probes) = (0, 0, 0, 0);
    for (pod, _) in view.counted_pods() {
        for container in pod.containers.iter().filter(|c| c.role == Role::Main) {
            all += 1;
            requests += u64::from(!container.has_requests);
            limits += u64::from(container.memory_limit.is_empty());
            probes += u64::from(!container.has_probes);
        }
    }
    for (missing, count) in [("requests", requests), ("memory_limit", limits), ("probes", probes)] {
        out.push_ratio(labels![missing], count, all);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{container, node, pod, read, world};
    use super::*;
    use crate::model::record::{Container, ContainerState, Node, Object, Pod};

    #[test]
    fn requests_are_shared_out_over_nodes_that_serve() {
        let requests = Resources { cpu_milli: 1000, memory: 2 << 30, pods: 1 };
        let gone = Pod { phase: Phase::Succeeded, requests, ..pod("done") };
        let cordoned = Node { unschedulable: true, ..node("n2") };
        let world = world([
            Object::Node(Box::new(node("n1"))),
            Object::Node(Box::new(cordoned)),
            Object::Pod(Box::new(Pod { requests, ..pod("web-1") })),
            Object::Pod(Box::new(gone)),
        ]);
        let shares: Vec<_> = read(&REQUESTED, &world)
            .into_iter()
            .map(|r| (r.labels.get(1).unwrap().to_string(), r.value))
            .collect();
        let expected = [("cpu", 0.25), ("memory", 0.25), ("pods", 1.0 / 110.0)];
        assert_eq!(shares, expected.map(|(resource, share)| (resource.to_owned(), share)));
    }

    #[test]
    fn containers_that_promise_nothing_are_a_share() {
        let running = || container(ContainerState::Running { since: None });
        let good = Container { has_requests: true, memory_limit: "1Gi".into(), ..running() };
        let pods = Pod { containers: [good, running()].into(), ..pod("web-1") };
        let readings = read(&BLIND, &world([Object::Pod(Box::new(pods))]));
        let shares: Vec<_> = readings.iter().map(|r| (r.value, r.population)).collect();
        assert_eq!(shares, [(0.5, Some(2)), (1.0, Some(2)), (0.5, Some(2))]);
    }
}
