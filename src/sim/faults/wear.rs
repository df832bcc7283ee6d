//! What wears on for hours, a little of everything, before anybody calls it a fault?

use super::compute::UNSERVED;
use super::follows::{SHORT, STARTING, UNREADY};
use super::means::{behave, crowd, key, release, scale};
use super::{Class, Fault, FaultKind};
use crate::sim::fields::Fields;
use crate::sim::kind::Kind;
use crate::sim::manifests::DRIVER;
use crate::sim::moment::{MINUTE, Moment, SECOND};
use crate::sim::script;
use crate::sim::simulation::Simulation;
use crate::sim::surroundings::{Conduct, Crowd};

/// How often a registry turns more pulls away, and somebody releases something that has to be pulled.
const RELEASES_EVERY: Moment = 10 * MINUTE;
const MORE_REFUSED: f64 = 0.05;
const MOST_REFUSED: f64 = 0.6;
/// How long a creeping program lives at first, and by how much less after each step.
const FIRST_LIFE: Moment = 3 * 60 * MINUTE;
const SHORTEST_LIFE: Moment = 12 * MINUTE;
const CREEPS_EVERY: Moment = 60 * MINUTE;
/// How often a set whose volumes are slow gets another pod, and for how long.
const GROWS_EVERY: Moment = 20 * MINUTE;
const GROWN_FOR: Moment = 50 * MINUTE;

pub(super) static FAULTS: &[FaultKind] = &[
    FaultKind {
        name: "noisy-neighbour",
        layer: "compute",
        class: Class::Weak,
        summary: "a pod on node {node} takes more than its share: the others start slowly and answer late",
        root: "Node {node}",
        tells: &[
            "compute_container_restarts_total",
            "compute_pods_unready",
            "compute_failed_probes_total",
            "compute_probe_failures_total",
            "networking_endpoint_flaps_total",
        ],
        follows: &[
            SHORT,
            &[
                "compute_rollout_active",
                "networking_service_not_serving",
                "networking_service_ready_ratio",
            ],
        ],
        within: 3_600,
        lasts: 10_800,
        parameters: &[("node", "node-b1")],
        begin: |sim, fault| {
            crowd(sim, fault.parameter("node"), Some(Crowd { times: 4.0, misses: 0.1 }));
        },
        end: |sim, fault| crowd(sim, fault.parameter("node"), None),
    },
    FaultKind {
        name: "clock-behind",
        layer: "compute",
        class: Class::Moderate,
        summary: "the clock of node {node} is {seconds} seconds behind",
        root: "Node {node}",
        tells: &["compute_node_heartbeat_late"],
        follows: &[],
        within: 180,
        lasts: 1_800,
        parameters: &[("node", "node-c1"), ("seconds", "120")],
        begin: |sim, fault| {
            let behind = fault.parameter("seconds").parse::<Moment>().unwrap_or(0);
            sim.surroundings.set_skew(fault.parameter("node"), -behind * SECOND);
        },
        end: |sim, fault| sim.surroundings.set_skew(fault.parameter("node"), 0),
    },
    FaultKind {
        name: "registry-throttles",
        layer: "compute",
        class: Class::Creeping,
        summary: "registry {host} turns more and more pulls away while {first} and {second} are released",
        root: "Deployment {first}",
        tells: &[
            "compute_container_waiting",
            "compute_image_pull_failures_total",
            "compute_rollout_stalled",
            "compute_time_to_ready_seconds",
            "compute_pod_startup_seconds",
        ],
        follows: UNSERVED,
        within: 7_200,
        lasts: 10_800,
        parameters: &[
            ("host", "registry.example"),
            ("first", "media/thumbnails"),
            ("second", "analytics/ingest"),
        ],
        begin: throttle,
        end: |sim, fault| sim.surroundings.set_throttled(fault.parameter("host"), 0.0),
    },
    FaultKind {
        name: "restarts-creep",
        layer: "compute",
        class: Class::Creeping,
        summary: "{workload} ends by itself, every few hours at first, then ever more often",
        root: "Deployment {workload}",
        tells: &["compute_container_restarts_total"],
        follows: UNSERVED,
        within: 21_600,
        lasts: 32_400,
        parameters: &[("workload", "accounts/profiles")],
        begin: creep,
        end: |sim, fault| behave(sim, fault.parameter("workload"), Conduct::Serves),
    },
    FaultKind {
        name: "slow-disks",
        layer: "storage",
        class: Class::Weak,
        summary: "the disks of {driver} take {times} times as long to come, while StatefulSet {set} grows and shrinks",
        root: "CSIDriver {driver}",
        tells: &["storage_attach_seconds", "storage_pvc_time_to_bound_seconds"],
        follows: &[
            UNREADY,
            STARTING,
            &[
                "compute_rollout_active",
                "compute_unschedulable_pods",
                "networking_service_ready_ratio",
            ],
        ],
        within: 3_600,
        lasts: 7_200,
        parameters: &[("driver", DRIVER), ("set", "search/shards"), ("times", "12")],
        begin: |sim, fault| {
            let times = fault.parameter("times").parse::<f64>().unwrap_or(1.0);
            sim.surroundings.set_slowness(fault.parameter("driver"), times);
            grow(sim, fault);
        },
        end: |sim, fault| sim.surroundings.set_slowness(fault.parameter("driver"), 1.0),
    },
];

fn throttle(sim: &mut Simulation, fault: &Fault) {
    sim.surroundings.set_throttled(fault.parameter("host"), MORE_REFUSED);
    script::later(sim, MINUTE, fault, release_more);
}

/// A release of one of the two, as long as the registry turns pulls away.
fn release_more(sim: &mut Simulation, fault: &Fault) {
    let host = fault.parameter("host");
    let share = sim.surroundings.throttled(&format!("{host}/any"));
    if share == 0.0 {
        return;
    }
    sim.surroundings.set_throttled(host, (share + MORE_REFUSED).min(MOST_REFUSED));
    let generation = |at: &&str| {
        let found = sim.store.get(Kind::Deployment, &key(at));
        found.map_or(i64::MAX, |d| d.int("metadata/generation"))
    };
    let both = [fault.parameter("first"), fault.parameter("second")];
    if let Some(at) = both.into_iter().min_by_key(generation) {
        release(sim, at);
    }
    script::later(sim, RELEASES_EVERY, fault, release_more);
}

fn creep(sim: &mut Simulation, fault: &Fault) {
    behave(sim, fault.parameter("workload"), Conduct::Exits { code: 1, after: FIRST_LIFE });
    script::later(sim, CREEPS_EVERY, fault, creep_on);
}

/// The next instances live two thirds as long, as long as it goes on.
fn creep_on(sim: &mut Simulation, fault: &Fault) {
    let workload = fault.parameter("workload");
    let Some(Conduct::Exits { code, after }) = sim.surroundings.of_app(workload) else { return };
    let after = (after * 2 / 3).max(SHORTEST_LIFE);
    behave(sim, workload, Conduct::Exits { code, after });
    script::later(sim, CREEPS_EVERY, fault, creep_on);
}

/// One pod more, for a while, again and again while the disks are slow.
fn grow(sim: &mut Simulation, fault: &Fault) {
    if sim.surroundings.slowness(fault.parameter("driver")) > 1.0 {
        scale(sim, Kind::StatefulSet, fault.parameter("set"), 1);
        script::later(sim, GROWN_FOR, fault, |sim, fault| {
            scale(sim, Kind::StatefulSet, fault.parameter("set"), -1);
        });
        script::later(sim, GROWS_EVERY, fault, grow);
    }
}
